"""What the inspector shows, as plain values: a frozen record, and pure functions from one record to the next.

A state is made of numbers and names only, so it goes through JSON and back unchanged, and a view in a paper or a test is
one line: ``inspector.load_state({...})``. Nothing here reads an image or asks a network.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TILES = 10  # gallery images on a page
RANKED_BY = ("features", "attention", "sum")
NORMALISATIONS = ("own maximum", "shared")
COLOURS = ("inferno", "viridis", "cividis", "gray")
VIEWS = ("pair", "models", "failures", "what if", "notes")
SIDES = ("query", "gallery")
EDITS = ("none", "rows", "part", "rectangle", "attended", "unattended", "soft mask")
FILLS = ("mean", "black", "blur", "noise")
PARTS = ("upper third", "middle third", "lower third")  # where no part maps say it better


@dataclass(frozen=True)
class Edit:
    """What is hidden in one of the two images.

    Attributes:
        kind: out of :data:`EDITS`.
        side: whose pixels, out of :data:`SIDES`.
        rows, columns: the band or rectangle, as shares of the image's height and width, from and to.
        part: a body part, as the data set names it, or out of :data:`PARTS`.
        share: of the pixels, for the attended and the unattended area.
        slope, centre: a and b of the paper's soft mask.
        fill: what is put there, out of :data:`FILLS`.
    """

    kind: str = "none"
    side: str = "query"
    rows: tuple[float, float] = (0.3, 0.6)
    columns: tuple[float, float] = (0.0, 1.0)
    part: str = "middle third"
    share: float = 0.25
    slope: float = 10.0
    centre: float = 0.5
    fill: str = "mean"

    def __post_init__(self) -> None:
        for name, known in (("kind", EDITS), ("side", SIDES), ("fill", FILLS)):
            _choice(f"edit.{name}", getattr(self, name), known)
        if not isinstance(self.part, str):
            raise ValueError(f"edit.part: expected a name, got {self.part!r}")
        for name in ("rows", "columns"):
            first, last = (_number(f"edit.{name}", v, 0, 1) for v in _two(f"edit.{name}", getattr(self, name)))
            object.__setattr__(self, name, (min(first, last), max(first, last)))
        for name, low, high in (("share", 0, 1), ("slope", 0, 1000), ("centre", 0, 1)):
            object.__setattr__(self, name, _number(f"edit.{name}", getattr(self, name), low, high))


@dataclass(frozen=True)
class State:
    """One view of the inspector.

    Attributes:
        query: index of the query.
        gallery: index of the gallery image that is looked at; None: the first of the ranking.
        pinned: a second gallery image to compare with, or None.
        model, other: names of the checkpoint and of one to compare with ("": none).
        ranked_by: out of :data:`RANKED_BY`.
        page: of the ranking, 0-based.
        show_ignored: show the images that the protocol leaves out too.
        method, target: of the explanation, as ``casnkit.explain`` names them.
        normalisation: of the colours, out of :data:`NORMALISATIONS`.
        colours: out of :data:`COLOURS`.
        opacity: of the map over the image, in [0, 1].
        threshold: t of equation 5, in [0, 1).
        random_weights: show the map of the same network with random weights as well.
        pid, camid: look only at queries of this person, this camera; None: any.
        filter, filter_value: which queries, and the number in that filter's name.
        order: of the queries.
        edit: what is hidden.
        view: the open tab, out of :data:`VIEWS`.
    """

    query: int = 0
    gallery: int | None = None
    pinned: int | None = None
    model: str = ""
    other: str = ""
    ranked_by: str = "features"
    page: int = 0
    show_ignored: bool = False
    method: str = "siamese"
    target: str = "same"
    normalisation: str = "own maximum"
    colours: str = "inferno"
    opacity: float = 0.55
    threshold: float = 0.5
    random_weights: bool = False
    pid: int | None = None
    camid: int | None = None
    filter: str = "all"
    filter_value: float = 0.5
    order: str = "data"
    edit: Edit = field(default_factory=Edit)
    view: str = "pair"

    def __post_init__(self) -> None:
        for name, known in (("ranked_by", RANKED_BY), ("normalisation", NORMALISATIONS), ("colours", COLOURS)):
            _choice(name, getattr(self, name), known)
        _choice("view", self.view, VIEWS)
        for name in ("query", "page"):
            _whole(name, getattr(self, name), least=0)
        for name in ("gallery", "pinned", "pid", "camid"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), least=0 if name in ("gallery", "pinned") else -1)
        for name in ("model", "other", "method", "target", "filter", "order"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}: expected a name, got {getattr(self, name)!r}")
        for name in ("show_ignored", "random_weights"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: expected true or false, got {getattr(self, name)!r}")
        object.__setattr__(self, "opacity", _number("opacity", self.opacity, 0, 1))
        object.__setattr__(self, "threshold", _number("threshold", self.threshold, 0, 0.999))
        object.__setattr__(self, "filter_value", _number("filter_value", self.filter_value, -math.inf, math.inf))
        if not isinstance(self.edit, Edit):
            object.__setattr__(self, "edit", _build(Edit, self.edit, "edit"))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = dataclasses.asdict(self)
        values["edit"] = {k: list(v) if isinstance(v, tuple) else v for k, v in values["edit"].items()}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> State:
        """The inverse of :meth:`to_dict`; what is missing keeps its default.

        Raises:
            ValueError: an unknown field, or a value out of range.
        """
        return _build(cls, values, "state")


def with_query(state: State, query: int) -> State:
    """Another query: its first page, its first match, nothing pinned and nothing hidden in it."""
    if query == state.query:
        return state
    return dataclasses.replace(state, query=query, gallery=None, pinned=None, page=0, edit=_without(state.edit))


def with_gallery(state: State, gallery: int) -> State:
    """Another gallery image beside the query."""
    return dataclasses.replace(state, gallery=gallery)


def toggle_pin(state: State, gallery: int) -> State:
    """Pin a gallery image, or let it go if it is pinned."""
    return dataclasses.replace(state, pinned=None if state.pinned == gallery else gallery)


def step(candidates: list[int], query: int, by: int) -> int:
    """The query ``by`` places further in the list, around its ends; from outside the list, the first (or the last)."""
    if not candidates:
        raise ValueError("no query fits the filter: choose another filter, or all queries")
    if query not in candidates:
        return candidates[0 if by >= 0 else -1]
    return candidates[(candidates.index(query) + by) % len(candidates)]


def pages(entries: int, size: int = TILES) -> int:
    """Pages of so many entries; at least one, maybe empty."""
    return max(1, -(-entries // size))


def turn(state: State, to: int | str, entries: int) -> State:
    """Another page: ``first``, ``previous``, ``next``, ``last`` or a 0-based number, kept within the list."""
    last = pages(entries) - 1
    places = {"first": 0, "previous": state.page - 1, "next": state.page + 1, "last": last}
    if isinstance(to, str) and to not in places:
        raise ValueError(f"expected a page out of {', '.join(places)} or a number, got {to!r}")
    page = places[to] if isinstance(to, str) else int(to)
    return dataclasses.replace(state, page=min(max(page, 0), last))


def _without(edit: Edit) -> Edit:
    return dataclasses.replace(edit, kind="none")


def _build(kind: type, values: Any, what: str) -> Any:
    if not isinstance(values, Mapping):
        raise ValueError(f"{what}: expected settings by name, got {type(values).__name__}")
    unknown = [name for name in values if name not in kind.__dataclass_fields__]
    if unknown:
        known = ", ".join(kind.__dataclass_fields__)
        raise ValueError(f"{what}: there is no {', '.join(map(repr, unknown))}; known are {known}")
    return kind(**values)


def _choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: expected a whole number from {least}, got {value!r}")


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name}: expected a number from {low} to {high}, got {value!r}")
    return round(float(value), 4)  # a slider moved by keys ends in 0.6999999999999998


def _two(name: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"{name}: expected two numbers, from and to, got {value!r}")
    return value[0], value[1]
