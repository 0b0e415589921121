"""The screen as matplotlib figures drawn from the same state, and a view, a ranking or a state as a file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casnkit import figures
from casnkit.config import check_choice
from casnkit.data.files import printable
from casnkit.explain import METHODS
from casnkit.inspector import filters, views
from casnkit.inspector.desk import Desk
from casnkit.inspector.pairs import QueryRanking
from casnkit.inspector.state import SCREEN

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _pair(desk: Desk) -> Figure:
    """The chosen pair by all maps on the screen; under it the pinned picture."""
    shown = [(desk.gallery, method) for method in views.methods_of(desk, desk.gallery)]
    if desk.current.pinned not in (None, desk.gallery):
        shown.append((desk.current.pinned, views.methods_of(desk, desk.current.pinned)[0]))
    rows = [(method["title"], j, _maps_of(method)) for j, method in shown]
    return _pairs_of(desk, rows, _said(views.numbers_of(desk, desk.gallery)))


def _what_if(desk: Desk) -> Figure:
    j, outcome = desk.gallery, desk.outcome()
    rows = [("as it is", j, desk.maps(desk.current.query, j)), ("hidden", j, outcome.maps, outcome.picture)]
    effects, control = (_said(views.effects(desk, found)[:4]) for found in (outcome.found, outcome.control))
    return _pairs_of(desk, rows, f"Hidden: {outcome.note}. {effects}. Control, {outcome.control_note}: {control}")


def _pairs_of(desk: Desk, rows: Sequence[tuple], note: str) -> Figure:
    """Pairs as the screen draws them, with what the pair classifier says: name, gallery image, maps, and maybe the picture
    in which something is hidden."""
    state, people, shown = desk.current, desk.library, []
    for name, j, maps, *hidden in rows:
        images = [people.query.image(state.query), people.gallery.image(j)]
        images[state.hide_in == "gallery"] = hidden[0] if hidden else images[state.hide_in == "gallery"]
        whom = f"query {state.query} ({people.query.who(state.query)}), gallery {j} ({people.gallery.who(j)})"
        shown.append((images, maps, f"{name} \u00b7 {whom} \u00b7 {desk.pair(j).verdict}"))
    scale, title = {"own": "own maximum"}.get(state.scale, state.scale), METHODS[state.method].label
    look = {"opacity": state.opacity, "colormap": state.colours, "contour": state.contour}
    return figures.show_pairs(shown, state.threshold, scale, f"{title} \u00b7 t = {state.threshold:g}", note, **look)


def _ranking(desk: Desk) -> Figure:
    found, page = desk.ranking(), desk.current.page
    row = _row_of(desk, found, found.page(page, desk.current.show_ignored), found.scores())
    return figures.show_rankings([row], f"{found.network.name}, ranked by {found.ranked_by}, page {page + 1}")


def _compare(desk: Desk) -> Figure:
    rows = [_row_of(desk, side, side.page(0), f"{side.label}: {side.scores()}") for side in reversed(desk.sides())]
    return figures.show_rankings(rows, f"query {desk.current.query} under two rankings")


def _failures(desk: Desk) -> Figure:
    """Average precision of the listed queries in their order, the chosen one marked; histograms, what is brushed shaded."""
    table, found, ranges, style = desk.table(), desk.candidates(), desk.current.ranges, figures.style
    with style.figure_style():
        figure = style.new_figure(9.0, 5.2, f"{len(found)} of {len(table.top)} queries: {desk.words()}")
        axes = figure.subplot_mosaic([["queries"] * len(filters.HISTOGRAMS), list(filters.HISTOGRAMS)])
        marked = [style.INK if i == desk.current.query else style.LIGHT for i in found]
        ap = np.nan_to_num(table.average_precision[found])
        axes["queries"].bar(np.arange(1, len(found) + 1), ap, color=marked, width=0.9)
        axes["queries"].set(ylim=(0, 1), ylabel="AP", xlabel="place in the list", xlim=(0.4, max(1, len(found)) + 0.6))
        for name, (label, *_) in filters.HISTOGRAMS.items():
            counts, edges = filters.histogram(table, name)
            axes[name].bar(edges[:-1], counts, np.diff(edges), align="edge", color=style.LIGHT)
            axes[name].set(ylabel="queries", xlabel=style.fold(label, 30))
            if name in ranges:
                axes[name].axvspan(*ranges[name], color=style.BLUE, alpha=0.2)
        return figure


FIGURES: dict[str, Callable[[Desk], Figure]] = {
    "pair": _pair, "compare": _compare, "failures": _failures, "what_if": _what_if,  # the tabs
    "ranking": _ranking,
}  # fmt: skip


def _maps_of(method: dict[str, Any]) -> list[np.ndarray]:
    """A method's maps as they were sent; of a signed one the positive part, as a figure shows it."""
    maps = [np.reshape(values, grid) for values, grid in zip(method["maps"], method["grid"], strict=True)]
    return [np.maximum(m, 0) if method["signed"] else m for m in maps]


def _said(numbers: Sequence[dict[str, str]]) -> str:
    return "; ".join(f"{number['name']} {number['text']}" for number in numbers)


def _row_of(desk: Desk, found: QueryRanking, listed: Sequence[int], title: str) -> dict[str, Any]:
    """Some of a ranking as :func:`casnkit.figures.show_rankings` takes it."""
    i, q, g, tiles = found.query, desk.library.query, desk.library.gallery, [found.tile(j) for j in listed]
    return {
        "title": title, "query_image": q.image(i), "query_pid": int(q.pids[i]), "query_camid": int(q.camids[i]),
        "gallery_images": [g.image(j) for j in listed], "distances": [tile.distance for tile in tiles],
        "pids": g.pids[listed].tolist(), "camids": g.camids[listed].tolist(),
        "statuses": [{"unreadable": "junk", "unknown": "distractor"}.get(tile.status, tile.status) for tile in tiles],
    }  # fmt: skip


def exported(desk: Desk, kind: str, view: str) -> tuple[str, bytes]:
    """The name and the bytes of a file: the view (pdf, svg, png), the query's ranking (csv) or the state (json)."""
    check_choice("kind of file", kind, SCREEN["exports"])
    if kind == "csv":
        return f"{_file_stem(desk, 'ranking')}.csv", _ranking_csv(desk).encode()
    if kind == "json":
        return f"{_file_stem(desk, 'state')}.json", f"{json.dumps(desk.current.to_dict(), indent=2)}\n".encode()
    view = view if view in FIGURES else "pair"
    figure = FIGURES[view](desk)
    about = {"Subject" if kind == "pdf" else "Description": figures.style.describe(figure)}
    return f"{_file_stem(desk, view)}.{kind}", figures.figure_png(figure, 200, f".{kind}", **about)


def _file_stem(desk: Desk, view: str) -> str:
    """What is shown, of which pair, by which network and method, and how: letters, digits and dashes only."""
    state = desk.current
    against = f"against {state.other}" if state.other and view == "compare" else ""
    parts = [view, f"query{state.query}", f"gallery{desk.gallery}", state.network, against, f"by {desk.ranked_by()}"]
    parts += [f"{state.method}-{state.target}", f"t{state.threshold:g}", state.colours]
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_")[:40] for part in parts if part)


def _ranking_csv(desk: Desk) -> str:
    """The query's whole gallery in order, ignored images included (their rank is empty)."""
    found, people = desk.ranking(), desk.library.gallery
    order = found.order(show_ignored=True)
    table = pd.DataFrame(map(found.tile, order.tolist()))
    names = pd.Series([printable(people.key(j)) for j in order])
    columns = {"rank": table.position.replace(0, ""), "mark": table.status, "distance": table.distance.map(repr)}
    columns |= {"gallery_index": order, "person": people.pids[order], "camera": people.camids[order]}
    columns["file"] = names.str.replace(r"^(?=[=+@-])", "'", regex=True)  # no name is a spreadsheet's formula
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")
