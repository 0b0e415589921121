"""What a browser may ask for: one table of names and functions. Paths do not travel; files go to the browser as downloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from casnkit.config import check_choice, check_count
from casnkit.inspector.export import exported
from casnkit.inspector.views import TABS

Inspector = Any  # casnkit.inspector.Inspector, which stands above this module
MIMES = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png", "csv": "text/csv", "json": "text/json"}


def change(inspector: Inspector, changes: Mapping[str, Any]) -> None:
    """Change fields of the state."""
    if not isinstance(changes, Mapping):
        raise ValueError(f"expected fields of the state, got {changes!r}")
    check_choice("tab", changes.get("tab", "pair"), TABS)
    inspector.desk.set(**changes)


def _page(inspector: Inspector, to: int) -> None:
    desk = inspector.desk
    last = desk.ranking().pages(desk.current.show_ignored) - 1
    desk.set(page=min(check_count("page", to, 0), last))


def _step(inspector: Inspector, by: int) -> None:
    desk = inspector.desk
    order = desk.ranking().order(desk.current.show_ignored).tolist()
    check_choice("by", by, (-1, 1))
    place = order.index(desk.gallery) + int(by) if desk.gallery in order else 0
    desk.set(gallery=order[min(max(place, 0), len(order) - 1)] if order else desk.gallery)


def _step_query(by: int, inspector: Inspector) -> None:
    found, query = inspector.desk.candidates(), inspector.desk.current.query
    if not found:
        raise ValueError("no query fits the filter: choose another filter, or all queries")
    place = found.index(query) + by if query in found else min(by, 0)
    inspector.desk.set(query=found[place % len(found)])


def _rectangle(inspector: Inspector, side: str = "query", **corners: Any) -> None:
    drawn = {"side": side, **corners} if corners and None not in corners.values() else None
    inspector.desk.set(rectangle=drawn, hide="rectangle", tab="what_if", **({"hide_in": side} if drawn else {}))


def _brush(inspector: Inspector, name: str, low: float | None = None, high: float | None = None) -> None:
    ranges = {key: limits for key, limits in inspector.desk.current.ranges.items() if key != name}
    inspector.desk.set(ranges=ranges | ({} if low is None or high is None else {name: (low, high)}))


def _pin(inspector: Inspector) -> None:
    desk = inspector.desk
    desk.set(pinned=desk.gallery if desk.current.pinned is None else None)


def _note(inspector: Inspector, text: str, tags: Any = ()) -> None:
    desk = inspector.desk
    inspector.notes.put(desk.library.query.key(desk.current.query), text, tags)


def _export(inspector: Inspector, kind: str, view: str = "") -> None:
    name, data = exported(inspector.desk, kind, view if view in TABS else inspector.desk.current.tab)
    inspector.viewer.send({"download": {"name": name, "mime": MIMES[kind]}}, [data])


REQUESTS: dict[str, Callable[..., None]] = {
    "set": change, "page": _page, "step": _step, "rectangle": _rectangle, "brush": _brush, "pin": _pin, "note": _note,
    "export": _export, "cancel": lambda inspector: inspector.cancel(),
    "previous": partial(_step_query, -1), "next": partial(_step_query, 1),
    "clear": lambda inspector: inspector.desk.set(filter="all", order="data", ranges={}),
}  # fmt: skip


def answer(inspector: Inspector, message: Any) -> None:
    """Do what a message of a browser asks for. Raises ValueError for what nobody may ask."""
    fields = dict(message) if isinstance(message, Mapping) else {}
    name = fields.pop("ask", None)
    check_choice("request", name, REQUESTS)
    try:
        REQUESTS[name](inspector, **fields)
    except TypeError as error:
        raise ValueError(f"request {name}: {error}") from error
