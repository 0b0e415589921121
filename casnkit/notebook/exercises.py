"""Exercises that check themselves: the checking cell behind an answer says what is wrong, not what is right.

An answer that is still ``None`` (or ``...``) is no mistake: notebooks run from first to last before anybody has answered.
Every function returns a :class:`Verdict`, which a notebook shows as one line.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Verdict(NamedTuple):
    """What a checking cell found: ``open`` (no answer yet), ``wrong`` or ``right``; what to do, or why."""

    state: str
    text: str

    @property
    def right(self) -> bool:
        """True where the answer is right."""
        return self.state == "right"

    def __repr__(self) -> str:
        marks = {"open": "○", "wrong": "✗", "right": "✓"}
        return f"{marks[self.state]} {self.text}"


def check_number(
    answer: float | None, expected: float, mistakes: Mapping[str, float] | None = None, tolerance: float = 1e-3
) -> Verdict:
    """Compare a number with the right one, up to an absolute ``tolerance``.

    ``mistakes``: what was done wrong -> the number that comes of it; such a number is answered with the mistake's name.
    """
    if answer is None or answer is ...:
        return Verdict("open", "no answer yet: put a number in the cell above")
    try:
        value = float(answer)
    except (TypeError, ValueError):
        return Verdict("wrong", f"expected a number, got {type(answer).__name__}")
    if abs(value - expected) <= tolerance:
        return Verdict("right", f"right: {expected:.4g}")
    for mistake, number in (mistakes or {}).items():
        if abs(value - number) <= tolerance:
            return Verdict("wrong", f"not yet: {mistake}")
    return Verdict("wrong", f"not yet: {value:.4g} is {'too small' if value < expected else 'too large'}")


def check_choice(answer: str | None, right: str, reasons: Mapping[str, str]) -> Verdict:
    """Compare a prediction with what turned out to be ``right``; ``reasons``: choice -> what to say to who took it.

    Raises:
        ValueError: ``right`` is none of the choices (a mistake of the notebook, not of the student).
    """
    choices = ", ".join(map(repr, reasons))
    if right not in reasons:
        raise ValueError(f"expected the right choice out of {choices}, got {right!r}")
    if answer is None or answer is ...:
        return Verdict("open", f"no answer yet: choose one of {choices}")
    if answer not in reasons:
        return Verdict("wrong", f"expected one of {choices}, got {answer!r}")
    return Verdict("right" if answer == right else "wrong", reasons[answer])


def check_function(
    function: Callable[..., Any],
    reference: Callable[..., Any],
    cases: Mapping[str, Sequence[Any]],
    mistakes: Mapping[str, Callable[..., Any]] | None = None,
    tolerance: float = 1e-5,
) -> Verdict:
    """Run a student's function and a reference on the same arguments and compare; one that returns None is not written yet.

    Args:
        cases: what is special about a case -> arguments.
        mistakes: what was done wrong -> a function that does it.
        tolerance: largest difference of a value, as a share of the largest right value of the case.
    """
    for name, arguments in cases.items():
        try:
            got = function(*arguments)
        except Exception as error:  # whatever a half-written function raises is an answer, not a crash
            return Verdict("wrong", f"{name}: the function stops with {type(error).__name__}: {error}")
        if got is None or got is ...:
            return Verdict("open", "no answer yet: the function above returns nothing")
        problem = _difference(got, reference(*arguments), tolerance)
        if problem:
            for text, wrong in (mistakes or {}).items():
                if not any(_difference(function(*case), wrong(*case), tolerance) for case in cases.values()):
                    problem = text
                    break
            return Verdict("wrong", f"{name}: {problem}")
    return Verdict("right", f"right in all cases: {', '.join(cases)}")


def _difference(got: Any, expected: Any, tolerance: float) -> str:
    """How two results differ; empty where they agree. Tuples are compared one by one."""
    if isinstance(expected, tuple):
        if not isinstance(got, tuple) or len(got) != len(expected):
            return f"expected {len(expected)} results, got {len(got) if isinstance(got, tuple) else 1}"
        problems = (_difference(mine, right, tolerance) for mine, right in zip(got, expected, strict=True))
        return next(filter(None, problems), "")
    try:
        mine, right = _numbers(got), _numbers(expected)
    except (TypeError, ValueError):
        return f"expected numbers, got {type(got).__name__}"
    if mine.shape != right.shape:
        return f"expected the shape {right.shape}, got {mine.shape}"
    if np.isnan(mine).any() != np.isnan(right).any():
        return "there is NaN in the result" if np.isnan(mine).any() else "expected NaN, got numbers"
    apart = abs(np.nan_to_num(mine) - np.nan_to_num(right))  # NaN here and a number there is a difference
    if apart.max(initial=0.0) <= tolerance * abs(np.nan_to_num(right)).max(initial=1.0):
        return ""
    place = np.unravel_index(apart.argmax(), apart.shape)
    where = f" at {tuple(map(int, place))}" if place else ""
    return f"expected {right[place]:.4g}{where}, got {mine[place]:.4g}"


def _numbers(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu().double()
    return np.asarray(values, dtype=np.float64)
