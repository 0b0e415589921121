"""What the inspector shows, as plain values: a frozen record that goes through JSON and back unchanged."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from casnkit.config import Settings, check_choice, one_of, within
from casnkit.data.files import read_json
from casnkit.evaluation import RANKED_BY, SIDES
from casnkit.explain.masks import FILLS

CORNERS = ("x0", "y0", "x1", "y1")
SCREEN = read_json(Path(__file__).with_name("screen.json"))  # what is on it and no code: controls, filters, words


@dataclass(frozen=True)
class State(Settings):
    """One view of the inspector. Names of networks, methods, filters and the like are checked where they are known."""

    tab: str = one_of("pair", SCREEN["controls"])
    query: int = within(0, 0)
    gallery: int | None = within(None, 0)  # the gallery image that is looked at; None: the first of the ranking
    pinned: int | None = within(None, 0)  # a second gallery image, to compare with
    network: str = ""
    other: str = ""  # a network to compare with; "": none, two ways of ranking are compared
    ranked_by: str = one_of("features", RANKED_BY)
    page: int = within(0, 0)  # of the ranking
    show_ignored: bool = False  # list the images too that the protocol leaves out
    method: str = "siamese"  # as casnkit.explain names it, and what it explains
    target: str = "same"
    beside: str = "nothing"  # more maps of the same pair, out of views.BESIDE
    random_weights: bool = False  # the map of the same network with random weights too
    colours: str = one_of("inferno", ("inferno", "cividis", "viridis", "grey"))
    opacity: float = within(0.55, 0, 1)  # of the map over the image
    threshold: float = within(0.5, 0, 0.999)  # t of equation 5
    scale: str = one_of("own", ("own", "shared"))  # a map's colours are divided by its own maximum, or that of both
    contour: bool = True
    correspondence: bool = True
    theme: str = one_of("auto", ("auto", "light", "dark"))
    projector: bool = False
    filter: str = "all"  # which queries, the number in that filter's words, and their order
    filter_value: float = 0.5
    order: str = "data"
    ranges: dict[str, list[float]] = field(default_factory=dict)  # brushed histograms: name -> [low, high]
    hide: str = "rectangle"  # what is hidden in one image, out of whatif.HIDES
    hide_in: str = one_of("query", SIDES)
    rectangle: dict[str, Any] | None = None  # {side, x0, y0, x1, y1} in shares of the image; None: none was drawn
    share: float = within(0.25, 0.01, 0.99)  # of the pixels, for attended and unattended areas
    fill: str = one_of("mean", FILLS)  # what is put there

    def __post_init__(self) -> None:
        if not isinstance(self.ranges, Mapping):
            raise ValueError(f"ranges: expected [low, high] by name, got {self.ranges!r}")
        ranges = {str(name): _ends(f"ranges.{name}", ends) for name, ends in self.ranges.items()}
        object.__setattr__(self, "rectangle", _rectangle(self.rectangle))
        object.__setattr__(self, "ranges", ranges)
        super().__post_init__()
        for name, value in vars(self).items():
            if isinstance(value, float):  # a slider moved by keys ends in 0.6999999999999998
                object.__setattr__(self, name, round(value, 4))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    def changed(self, changes: Mapping[str, Any]) -> "State":
        """With other values. Raises ValueError for an unknown field or a value out of range."""
        if unknown := set(changes) - set(State.__dataclass_fields__):
            known = ", ".join(State.__dataclass_fields__)
            raise ValueError(f"the state has no {', '.join(map(repr, unknown))}; known are {known}")
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "State":
        """The inverse of :meth:`to_dict`; what is missing keeps its default. Raises ValueError for what does not fit."""
        return cls().changed(values)


def _rectangle(values: Any) -> dict[str, Any] | None:
    if values is None:
        return None
    if not isinstance(values, Mapping) or set(values) != {"side", *CORNERS}:
        raise ValueError(f"rectangle: expected side, {', '.join(CORNERS)}, got {values!r}")
    check_choice("rectangle.side", values["side"], SIDES)
    across, down = (_ends(f"rectangle.{axis}", (values[f"{axis}0"], values[f"{axis}1"]), 0, 1) for axis in "xy")
    return {"side": values["side"], "x0": across[0], "y0": down[0], "x1": across[1], "y1": down[1]}


def _ends(name: str, ends: Any, low: float = -math.inf, high: float = math.inf) -> list[float]:
    """Two numbers, the smaller one first."""
    pair = isinstance(ends, (list, tuple)) and len(ends) == 2
    if not pair or not all(isinstance(end, Real) and low <= end <= high for end in ends):
        raise ValueError(f"{name}: expected two numbers from {low} to {high}, got {ends!r}")
    return sorted(round(float(end), 4) for end in ends)
