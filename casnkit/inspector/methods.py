"""The explanations that can be chosen, and the scores that each of them explains, in words."""

from __future__ import annotations

from ..explain.methods import METHODS

TARGETS = {
    "same": "same person",
    "different": "different people",
    "log-odds": "log-odds of same",
    "identity": "the identities",
    "similarity": "feature similarity",
}


def method_options() -> list[tuple[str, str]]:
    """(words, name) of every method, the paper's first."""
    return [(clip(record.label), name) for name, record in METHODS.items()]


def target_options(method: str) -> list[tuple[str, str]]:
    """(words, name) of the scores that a method explains."""
    check_method(method)
    return [(TARGETS.get(name, name), name) for name in METHODS[method].targets]


def method_words(method: str) -> str:
    """The method's label, with what is drawn where it is signed."""
    check_method(method)
    return METHODS[method].label + (" (its positive part)" if METHODS[method].signed else "")


def check_method(method: str, target: str | None = None) -> None:
    """Raises ValueError for an unknown method, or a target that it does not explain."""
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if target is not None and target not in METHODS[method].targets:
        known = ", ".join(METHODS[method].targets)
        raise ValueError(f"target: {method} explains {known}, not {target!r}")


def clip(text: str, length: int = 46) -> str:
    """The text with its end left out where it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"
