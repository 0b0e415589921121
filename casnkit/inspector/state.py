"""What the inspector shows, as plain values: a frozen record that goes through JSON and back unchanged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from casnkit.config import check_choice
from casnkit.evaluation import RANKED_BY, SIDES
from casnkit.explain.masks import FILLS
from casnkit.inspector.payload import COLOURS

CHOICES = {"ranked_by": RANKED_BY, "colours": COLOURS, "scale": ("own", "shared"), "theme": ("auto", "light", "dark"),
           "fill": FILLS, "hide_in": SIDES}  # fmt: skip
NUMBERS = {"opacity": (0, 1), "threshold": (0, 0.999), "share": (0.01, 0.99), "filter_value": (-math.inf, math.inf)}
NAMES = ("tab", "network", "other", "method", "target", "beside", "filter", "order", "hide")
CHECKS = ("show_ignored", "random_weights", "contour", "correspondence", "projector")
CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class State:
    """One view of the inspector. Names of networks, methods, filters and the like are checked where they are known."""

    tab: str = "pair"
    query: int = 0
    gallery: int | None = None  # the gallery image that is looked at; None: the first of the ranking
    pinned: int | None = None  # a second gallery image, to compare with
    network: str = ""
    other: str = ""  # a network to compare with; "": none, two ways of ranking are compared
    ranked_by: str = "features"
    page: int = 0  # of the ranking
    show_ignored: bool = False  # list the images too that the protocol leaves out
    method: str = "siamese"  # as casnkit.explain names it, and what it explains
    target: str = "same"
    beside: str = "nothing"  # more maps of the same pair, out of views.BESIDE
    random_weights: bool = False  # the map of the same network with random weights too
    colours: str = "inferno"
    opacity: float = 0.55  # of the map over the image
    threshold: float = 0.5  # t of equation 5
    scale: str = "own"  # what the colours of a map are divided by: its own maximum, or that of both
    contour: bool = True
    correspondence: bool = True
    theme: str = "auto"
    projector: bool = False
    filter: str = "all"  # which queries, the number in that filter's words, and their order
    filter_value: float = 0.5
    order: str = "data"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # brushed histograms: name -> (low, high)
    hide: str = "rectangle"  # what is hidden in one image, out of whatif.HIDES
    hide_in: str = "query"
    rectangle: Mapping[str, Any] | None = None  # {side, x0, y0, x1, y1} in shares of the image; None: none was drawn
    share: float = 0.25  # of the pixels, for attended and unattended areas
    fill: str = "mean"  # what is put there

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            check_choice(name, getattr(self, name), known)
        for name in ("query", "page", "gallery", "pinned"):
            value = getattr(self, name)
            missing = value is None and name in ("gallery", "pinned")
            if not missing and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise ValueError(f"{name}: expected a whole number from 0, got {value!r}")
        for name, kind, words in [(n, str, "a name") for n in NAMES] + [(n, bool, "true or false") for n in CHECKS]:
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name}: expected {words}, got {getattr(self, name)!r}")
        for name, limits in NUMBERS.items():
            object.__setattr__(self, name, _number(name, getattr(self, name), *limits))
        object.__setattr__(self, "rectangle", _rectangle(self.rectangle))
        object.__setattr__(self, "ranges", _ranges(self.ranges))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self) | {"ranges": {name: list(limits) for name, limits in self.ranges.items()}}

    def changed(self, changes: Mapping[str, Any]) -> State:
        """With other values. Raises ValueError for an unknown field or a value out of range."""
        fields = set(State.__dataclass_fields__)
        if not isinstance(changes, Mapping) or not set(changes) <= fields:
            unknown = ", ".join(map(repr, [name for name in changes if name not in fields]))
            raise ValueError(f"the state has no {unknown}; known are {', '.join(State.__dataclass_fields__)}")
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> State:
        """The inverse of :meth:`to_dict`; what is missing keeps its default. Raises ValueError for what does not fit."""
        return cls().changed(values)


def _rectangle(values: Any) -> dict[str, Any] | None:
    if values is None:
        return None
    if not isinstance(values, Mapping) or set(values) != {"side", *CORNERS}:
        raise ValueError(f"rectangle: expected side, {', '.join(CORNERS)}, got {values!r}")
    check_choice("rectangle.side", values["side"], SIDES)
    left, top, right, bottom = (_number(f"rectangle.{name}", values[name], 0, 1) for name in CORNERS)
    corners = min(left, right), min(top, bottom), max(left, right), max(top, bottom)
    return {"side": values["side"], **dict(zip(CORNERS, corners, strict=True))}


def _ranges(values: Any) -> dict[str, tuple[float, float]]:
    if not isinstance(values, Mapping) or not all(
        isinstance(v, (list, tuple)) and len(v) == 2 for v in values.values()
    ):
        raise ValueError(f"ranges: expected (low, high) by name, got {values!r}")
    limits = {str(k): [_number(f"ranges.{k}", v, -math.inf, math.inf) for v in pair] for k, pair in values.items()}
    return {name: (min(pair), max(pair)) for name, pair in limits.items()}


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name}: expected a number from {low} to {high}, got {value!r}")
    return round(float(value), 4)  # a slider moved by keys ends in 0.6999999999999998
