"""What a browser may ask for: one table of names and functions. Paths do not travel; files go to the browser as downloads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from casnkit.config import check_choice
from casnkit.inspector.export import KINDS, exported
from casnkit.inspector.views import TABS

if TYPE_CHECKING:
    from casnkit.inspector.core import Inspector

MIMES = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png", "csv": "text/csv", "json": "application/json"}
PRESET = ("filter", "filter_value", "order", "ranges")  # what a named choice of queries keeps


def change(inspector: Inspector, changes: Mapping[str, Any]) -> None:
    """Change fields of the state."""
    if not isinstance(changes, Mapping):
        raise ValueError(f"expected fields of the state, got {changes!r}")
    check_choice("tab", changes.get("tab", "pair"), TABS)
    inspector.desk.set(**{str(name): value for name, value in changes.items()})


def page(inspector: Inspector, to: int) -> None:
    """Another page of the ranking, kept within the list."""
    desk = inspector.desk
    last = desk.ranking().pages(desk.current.show_ignored) - 1
    desk.set(page=min(max(_whole(to), 0), last))


def step(inspector: Inspector, by: int) -> None:
    """Another gallery picture, so many places further in the list."""
    desk = inspector.desk
    order = desk.ranking().order(desk.current.show_ignored).tolist()
    place = order.index(desk.gallery) + _whole(by) if desk.gallery in order else 0
    if order:
        desk.set(gallery=order[min(max(place, 0), len(order) - 1)])


def step_query(inspector: Inspector, by: int) -> None:
    """Another query, so many places further in the chosen list, around its ends."""
    found, query = inspector.desk.candidates(), inspector.desk.current.query
    if not found:
        raise ValueError("no query fits the filter: choose another filter, or all queries")
    place = found.index(query) + _whole(by) if query in found else min(by, 0)
    inspector.desk.set(query=found[place % len(found)])


def rectangle(inspector: Inspector, side: str = "query", **corners: Any) -> None:
    """Hide a rectangle of one picture; without corners, hide none."""
    drawn = {"side": side, **corners} if corners and None not in corners.values() else None
    hidden = {"hide_in": side} if drawn else {}
    inspector.desk.set(rectangle=drawn, hide="rectangle", tab="what_if", **hidden)


def brush(inspector: Inspector, name: str, low: float | None = None, high: float | None = None) -> None:
    """Queries whose quantity lies between two numbers; without numbers, all."""
    ranges = {key: limits for key, limits in inspector.desk.current.ranges.items() if key != name}
    inspector.desk.set(ranges=ranges | ({} if low is None or high is None else {name: (low, high)}))


def clear(inspector: Inspector) -> None:
    """All queries again."""
    inspector.desk.set(filter="all", order="data", ranges={})


def pin(inspector: Inspector) -> None:
    """Keep the gallery picture to compare with, or let it go."""
    desk = inspector.desk
    desk.set(pinned=desk.gallery if desk.current.pinned is None else None)


def note(inspector: Inspector, text: str, tags: Any = ()) -> None:
    """Write the note on the query."""
    desk = inspector.desk
    inspector.notes.put(desk.library.query.key(desk.current.query), text, tags)


def preset(inspector: Inspector, name: str, use: bool = False) -> None:
    """Keep the choice of queries under a name, or use the one of that name."""
    if not use:
        state = inspector.desk.current.to_dict()
        inspector.notes.put_preset(name, {field: state[field] for field in PRESET})
        return
    check_choice("preset", name, inspector.notes.presets)
    kept = inspector.notes.presets[name]
    inspector.desk.set(**{field: kept[field] for field in PRESET if field in kept})


def export(inspector: Inspector, kind: str, view: str = "") -> None:
    """Send a file to the browser."""
    check_choice("kind of file", kind, KINDS)
    name, data = exported(inspector.desk, kind, view if view in TABS else inspector.desk.current.tab)
    inspector.viewer.send({"download": {"name": name, "mime": MIMES[kind]}}, [data])


def cancel(inspector: Inspector) -> None:
    """Stop what is being computed."""
    inspector.jobs.stop()


REQUESTS: dict[str, Callable[..., None]] = {
    "set": change, "page": page, "step": step, "rectangle": rectangle, "brush": brush, "clear": clear, "pin": pin,
    "note": note, "preset": preset, "export": export, "cancel": cancel,
    "previous": lambda inspector: step_query(inspector, -1), "next": lambda inspector: step_query(inspector, 1),
}  # fmt: skip


def answer(inspector: Inspector, message: Any) -> str:
    """Do what a message of a browser asks for; returns its name. Raises ValueError for what nobody may ask."""
    fields = dict(message) if isinstance(message, Mapping) else {}
    name = fields.pop("ask", None)
    check_choice("request", name, REQUESTS)
    try:
        call = inspect.signature(REQUESTS[name]).bind(inspector, **fields)
    except TypeError as error:
        raise ValueError(f"request {name}: {error}") from error
    REQUESTS[name](*call.args, **call.kwargs)
    return name


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {value!r}")
    return value
