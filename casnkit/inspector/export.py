"""The screen as matplotlib figures drawn from the same state, and a view, a ranking or a state as a file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from casnkit import figures
from casnkit.config import check_choice
from casnkit.explain import METHODS
from casnkit.figures import figure_png, figure_style, style
from casnkit.figures.images import SCALES
from casnkit.figures.pairs import draw_pair, map_limits
from casnkit.figures.style import describe, fold, new_figure
from casnkit.inspector import filters, views
from casnkit.inspector.desk import Desk
from casnkit.inspector.networks import printable
from casnkit.inspector.pairs import labels
from casnkit.inspector.rankings import QueryRanking

KINDS = ("pdf", "svg", "png", "csv", "json")
COLUMNS = ("rank", "mark", "distance", "gallery_index", "person", "camera", "file")
TALL = 2.6  # inches of a picture


def pair(desk: Desk) -> Figure:
    """The chosen pair by all maps on the screen; under it the pinned picture."""
    shown = [(desk.gallery, views.methods_of(desk, desk.gallery))]
    if desk.current.pinned not in (None, desk.gallery):
        shown.append((desk.current.pinned, views.methods_of(desk, desk.current.pinned)[:1]))
    rows = [(heading(desk, j, method["title"]), images_of(desk, j), maps_of(method)) for j, methods in shown
            for method in methods]  # fmt: skip
    return stacked(desk, rows, numbers(desk))


def alignment(desk: Desk) -> Figure:
    """Equation 5 for the chosen pair, step by step."""
    images, maps = images_of(desk, desk.gallery), desk.maps(desk.current.query, desk.gallery)
    return figures.show_alignment(images, maps, desk.current.threshold, titles(desk, desk.gallery))


def figure_8(desk: Desk) -> Figure:
    """The paper's figure 8 for this query: (a) the nearest wrong image, (b) the nearest true match."""
    found, rows = desk.ranking(), []
    for letter, status, words in (("a", "wrong", "nearest wrong"), ("b", "correct", "nearest true match")):
        j = found.first_of(status)
        if j is not None:
            name = f"({letter}) {words}, rank {found.tile(j).position}"
            rows.append((heading(desk, j, name), images_of(desk, j), desk.maps(desk.current.query, j)))
    if not rows:
        raise ValueError("no gallery picture counts for this query: there is nothing to compare")
    return stacked(desk, rows, found.scores())


def what_if(desk: Desk) -> Figure:
    """The chosen pair as it is, and with a part of one image hidden. Raises ValueError where nothing is hidden."""
    state, j, outcome = desk.current, desk.gallery, desk.outcome()
    before = images_of(desk, j)
    after = [outcome.picture, before[1]] if state.hide_in == "query" else [before[0], outcome.picture]
    found = "; ".join(f"{n['name']} {n['text']}" for n in views.effects(outcome.found, desk.network()))
    control = "; ".join(f"{n['name']} {n['text']}" for n in views.effects(outcome.control, desk.network())[:2])
    rows = [(heading(desk, j, "as it is"), before, desk.maps(state.query, j)), (f"hidden: {outcome.note}", after, outcome.maps)]
    return stacked(desk, rows, f"{found}. Control, {outcome.control_note}: {control}. {untrained(desk)}")


def ranking(desk: Desk) -> Figure:
    """The open page of the ranked gallery."""
    found, page = desk.ranking(), desk.current.page
    row = row_of(desk, found, found.page(page, desk.current.show_ignored), found.scores())
    return figures.show_rankings([row], f"{desk.network().name}, ranked by {desk.ranked_by()}, page {page + 1}")


def compare(desk: Desk) -> Figure:
    """The first page of the query's ranking under both networks (or ways of ranking)."""
    sides = zip(reversed(desk.sided()), reversed(desk.sides()), strict=True)
    rows = [row_of(desk, found, found.page(0), f"{side.label}: {found.scores()}") for found, side in sides]
    return figures.show_rankings(rows, f"query {desk.current.query} under two rankings")


@figure_style()
def ranks(desk: Desk) -> Figure:
    """Every true match's rank under both networks (or ways of ranking), rank 1 on top."""
    before, after = desk.sided()
    moves = np.array([[found.ranking.position[j] for found in (before, after)] for j in after.matches]).reshape(-1, 2)
    figure = new_figure(5.8, 4.2, f"query {desk.current.query}: ranks of the {len(moves)} true matches")
    left = figure.subplots()
    for start, end in moves:
        colour, dashes = (style.BLUE, "-") if end < start else (style.ORANGE, "--") if end > start else (style.GREY, "-")
        left.plot([0, 1], [start, end], color=colour, linestyle=dashes, marker="o")
    for ax, values, side in zip((left, left.twinx()), moves.T, desk.sides(), strict=True):
        ax.set_yscale("log")
        ax.set(ylim=(1.15 * max(2, moves.max(initial=2)), 0.9), ylabel=side.label, xlim=(-0.05, 1.05), xticks=[])
        kept: list[int] = []
        for rank in sorted(set(values.tolist())):  # labels that would touch are left out
            if not kept or np.log(rank / kept[-1]) > 0.05 * np.log(max(2, moves.max())):
                kept.append(rank)
        ax.set_yticks(kept, list(map(str, kept)))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_minor_formatter(NullFormatter())
    return figure


@figure_style()
def queries(desk: Desk) -> Figure:
    """Average precision of the listed queries, in their order; the chosen one is marked."""
    found, table = desk.candidates(), desk.table()
    figure = new_figure(9.0, 3.0, f"{len(found)} of {len(table.top)} queries: {desk.words()}")
    ax, values = figure.subplots(), np.nan_to_num(table.average_precision[found])
    marked = [style.INK if i == desk.current.query else style.LIGHT for i in found]
    ax.bar(np.arange(1, len(found) + 1), values, color=marked, width=0.9)
    ax.set(ylim=(0, 1), ylabel="AP", xlabel="place in the list", xlim=(0.4, max(1, len(found)) + 0.6))
    return figure


@figure_style()
def failures(desk: Desk) -> Figure:
    """Histograms of all queries, what is brushed shaded."""
    table, found = desk.table(), desk.candidates()
    figure = new_figure(9.0, 2.8, f"{len(found)} of {len(table.top)} queries: {desk.words()}", untrained(desk))
    for ax, name in zip(figure.subplots(1, len(filters.HISTOGRAMS)), filters.HISTOGRAMS, strict=True):
        edges, counts = filters.histogram(table, name)
        ax.bar(edges[:-1], counts, np.diff(edges), align="edge", color=style.LIGHT)
        if name in desk.current.ranges:
            ax.axvspan(*desk.current.ranges[name], color=style.BLUE, alpha=0.2)
        ax.set(ylabel="queries", xlabel=fold(filters.HISTOGRAMS[name][0], 30))
    return figure


FIGURES: dict[str, Callable[[Desk], Figure]] = {
    "pair": pair, "compare": compare, "failures": failures, "what_if": what_if,  # the tabs
    "ranking": ranking, "alignment": alignment, "figure 8": figure_8, "ranks": ranks, "queries": queries,
}  # fmt: skip


@figure_style()
def stacked(desk: Desk, rows: Sequence[tuple[str, Sequence, Sequence]], note: str) -> Figure:
    """Pairs one under the other, as the screen draws them: (heading, images, maps) each."""
    state, wide = desk.current, style.PAGE_WIDTH
    scale = "own maximum" if state.scale == "own" else "shared"
    figure = new_figure(wide, len(rows) * (TALL + 1.15) + 1.0, f"{labels(state.method)} \u00b7 {SCALES[scale]} \u00b7 t = {state.threshold:g}", note)
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (head, images, maps) in zip(parts, rows, strict=True):
        part.suptitle(fold(head, 105), x=0.02, ha="left", size=style.NORMAL, weight="normal")
        values = [np.asarray(m, np.float32) for m in maps]
        arrays = [np.asarray(image) for image in images]
        ratios = [array.shape[1] / array.shape[0] * TALL for array in arrays]
        axes = part.subplots(1, 7, width_ratios=[*[r for ratio in ratios for r in (ratio, ratio, 0.75)], 1.45])
        look = {"opacity": state.opacity, "colormap": state.colours.replace("grey", "gray")}
        limits = map_limits(*values, scale)
        draw_pair(axes, arrays, values, state.threshold, limits, ("query", "gallery"), look, state.contour)
        for ax, width in zip(axes[[2, 5, 6]], (0.75, 0.75, 1.45), strict=True):
            ax.set_box_aspect(TALL / width)
    return figure


def heading(desk: Desk, j: int, name: str) -> str:
    """A row's heading: what it shows, of whom, and what the pair classifier says."""
    people, said = desk.library, desk.pair(j)
    mark = {None: "", True: "\u2713 ", False: "\u2717 "}[said.verdict[1]]
    whom = f"query {desk.current.query} ({people.query.who(desk.current.query)}), gallery {j} ({people.gallery.who(j)})"
    return f"{name} \u00b7 {whom} \u00b7 {mark}{said.verdict[0]}"


def numbers(desk: Desk) -> str:
    """All that is said of the pair."""
    said = views.numbers_of(desk.pair(), desk.ranking())
    return "; ".join(f"{entry['name']} {entry['text']}" for entry in said) + f". {untrained(desk)}"


def untrained(desk: Desk) -> str:
    """What must be said wherever a network judges nothing."""
    return "" if desk.network().pair_trained else f"{desk.pair().verdict[0]}."


def titles(desk: Desk, j: int) -> list[str]:
    """The names of both pictures."""
    return [f"query, {desk.library.query.who(desk.current.query)}", f"gallery, {desk.library.gallery.who(j)}"]


def images_of(desk: Desk, j: int) -> list[Any]:
    """Both pictures."""
    return [desk.library.query.image(desk.current.query), desk.library.gallery.image(j)]


def maps_of(method: dict[str, Any]) -> list[np.ndarray]:
    """A method's maps as they were sent; of a signed one the positive part, as a figure shows it."""
    maps = [np.reshape(values, grid) for values, grid in zip(method["maps"], method["grid"], strict=True)]
    return [np.maximum(m, 0) for m in maps] if METHODS[method["name"]].signed else maps


def row_of(desk: Desk, found: QueryRanking, tiles: Sequence[Any], title: str) -> dict[str, Any]:
    """Some of a ranking as :func:`casnkit.figures.show_rankings` takes it."""
    statuses = [{"unreadable": "junk", "unknown": "distractor"}.get(tile.status, tile.status) for tile in tiles]
    images = [desk.library.gallery.image(tile.gallery) for tile in tiles]
    query = {"query_image": desk.library.query.image(found.query), "query_pid": found.pid, "query_camid": found.camid}
    columns = {"distances": [t.distance for t in tiles], "pids": [t.pid for t in tiles], "camids": [t.camid for t in tiles]}
    return {**query, "gallery_images": images, "statuses": statuses, **columns, "title": title}


def exported(desk: Desk, kind: str, view: str) -> tuple[str, bytes]:
    """The name and the bytes of a file: the view (pdf, svg, png), the query's ranking (csv) or the state (json)."""
    check_choice("kind of file", kind, KINDS)
    if kind == "json":
        return f"{file_stem(desk, 'state')}.json", (json.dumps(desk.current.to_dict(), indent=2) + "\n").encode()
    if kind == "csv":
        return f"{file_stem(desk, 'ranking')}.csv", ranking_csv(desk).encode()
    view = view if view in FIGURES else "pair"
    figure = FIGURES[view](desk)
    about = {"Subject" if kind == "pdf" else "Description": describe(figure)}
    with figure_style(), style.matplotlib.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):  # text stays text
        data = figure_png(figure, 200, f".{kind}", **about)
    return f"{file_stem(desk, view)}.{kind}", data


def file_stem(desk: Desk, view: str) -> str:
    """What is shown, of which pair, by which network and method, and how: letters, digits and dashes only."""
    state = desk.current
    against = f"against {state.other}" if state.other and view in ("compare", "ranks") else ""
    how = f"{state.method}-{state.target}", f"t{state.threshold:g}", state.colours
    parts = [view, f"query{state.query}", f"gallery{desk.gallery}", state.network, against, f"by {desk.ranked_by()}", *how]
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_")[:40] for part in parts if part)


def ranking_csv(desk: Desk) -> str:
    """The query's whole gallery in order, ignored images included (their rank is empty)."""
    found, names, buffer = desk.ranking(), desk.library.gallery, io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for j in found.order(show_ignored=True).tolist():
        tile = found.tile(j)
        name = printable(names.key(j))
        safe = f"'{name}" if name.startswith(("=", "+", "-", "@")) else name  # a spreadsheet would take it for a formula
        writer.writerow([tile.position or "", tile.status, repr(tile.distance), j, tile.pid, tile.camid, safe])
    return buffer.getvalue()
