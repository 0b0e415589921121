"""The static twin of everything on the screen: matplotlib figures by the functions of :mod:`casnkit.figures`."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from . import filters, views
from .desk import Desk
from .methods import method_words
from .render import PairPicture
from .slopes import spread
from .style import (
    BLUE,
    GREY,
    INK,
    LARGE,
    LIGHT,
    LINE,
    MARGIN,
    NOTE,
    ORANGE,
    SMALL,
    figure_style,
    new_figure,
    panel,
    write,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEFT, _TOP, _WIDE, _TALL = 0.75, 0.85, 4.3, 3.1  # inches: the axes of the rank changes
_SIDE = 0.14  # beside the ends of the lines, whose distance is 1: room for the ranks


def ranking(desk: Desk) -> Figure:
    """The open page of the ranked gallery."""
    state = desk.current
    row = _list(desk, "", state.page)
    return figures.show_rankings([row], f"{desk.network().name}, ranked by {desk.ranked_by()}, page {state.page + 1}")


def lists(desk: Desk) -> Figure:
    """The first page of the query's ranking under both networks (or ways of ranking)."""
    before, after = desk.sides()
    rows = []
    for side in (after, before):
        found = desk.ranking(model=side.network.name, by=side.ranked_by)
        rows.append({**_row(desk, found, found.page(0)), "title": f"{side.label}: {found.scores()}"})
    return figures.show_rankings(rows, f"query {desk.current.query} under two rankings")


def pair(desk: Desk) -> Figure:
    """The chosen pair; under it the pinned one, the other network's and the random twin's, where the state asks."""
    return stacked([_pair(desk, row, numbers) for row, numbers in views.pictures(desk)])


def alignment(desk: Desk) -> Figure:
    """Equation 5 for the chosen pair, step by step."""
    row = views.picture(desk)
    return figures.show_alignment(row.images, row.maps, desk.current.threshold, row.titles)


def difference(desk: Desk) -> Figure:
    """The two maps of the chosen pair and their difference. Raises ValueError where their shapes differ."""
    row = views.picture(desk)
    image = row.images[0]
    return figures.show_difference(
        *row.maps, row.titles, "Difference of the two maps", image.shape[0] / image.shape[1], desk.current.normalisation
    )


def models(desk: Desk) -> Figure:
    """Every true match's rank under both networks (or ways of ranking), rank 1 on top."""
    before, after = desk.sides()
    moves = desk.moves()
    with figure_style():
        figure = new_figure(5.8, 4.2)
        title = f"query {desk.current.query}: ranks of the {len(moves)} true matches"
        write(figure, MARGIN, MARGIN, title, 5.1, LARGE, weight="bold")
        ax = panel(figure, _LEFT, _TOP, _WIDE, _TALL)
        for move in moves:
            colour, line = (BLUE, "-") if move.gain > 0 else (ORANGE, "--") if move.gain < 0 else (GREY, "-")
            ax.plot([0, 1], [move.before, move.after], color=colour, linestyle=line, marker="o")
        for x, side in ((0, before), (1, after)):
            write(figure, _LEFT + _WIDE * _share(x), 0.52, side.label, 2.3, align="center")
        ax.set_yscale("log")
        ax.set(xlim=(-_SIDE, 1 + _SIDE), xticks=[], ylabel="rank")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.minorticks_off()
        last = max([2, *(max(m.before, m.after) for m in moves)])
        ax.set_ylim(last * 1.15, 0.9)
        _ranks(ax, [m.before for m in moves], -0.03, "right")
        _ranks(ax, [m.after for m in moves], 1.03, "left")
        if not moves:
            ax.text(0.5, 1.3, "no true match", ha="center", color=NOTE)
    return figure


def _share(x: float) -> float:
    """Of the axes' width, where 0 and 1 are the two ends of the lines."""
    return (x + _SIDE) / (1 + 2 * _SIDE)


def _ranks(ax: Any, ranks: list[int], x: float, align: str) -> None:
    """Ranks beside the ends of their lines, moved apart where they would touch."""
    bottom, top = (math.log(limit) for limit in ax.get_ylim())  # rank 1 is on top
    inches = {rank: _TALL * (math.log(rank) - top) / (bottom - top) for rank in ranks}
    look = {"transform": ax.transAxes, "size": SMALL, "weight": "bold", "color": INK}
    for rank, y in spread(inches, LINE, LINE / 2, _TALL - LINE / 2).items():
        ax.text(_share(x), 1 - y / _TALL, str(rank), ha=align, va="center", **look)


def failures(desk: Desk) -> Figure:
    """The paper's figure 8 for this query: (a) the nearest wrong image, (b) the nearest true match."""
    return stacked([_pair(desk, row, numbers) for row, numbers in views.figure_8(desk)])


def queries(desk: Desk) -> Figure:
    """Average precision of the listed queries, in their order; the chosen one is marked."""
    found, state, table = desk.candidates(), desk.current, desk.table()
    with figure_style():
        figure = new_figure(9.0, 3.0)
        words = f"{filters.FILTERS[state.filter].text(state.filter_value)}, {filters.ORDERS[state.order].label}"
        write(figure, MARGIN, MARGIN, f"{len(found)} of {len(table.top)} queries: {words}", 8.7, LARGE, weight="bold")
        ax = panel(figure, 0.75, 0.6, 8.0, 1.8)
        values = table.average_precision[found]
        ax.bar(np.arange(1, len(found) + 1), np.nan_to_num(values), color=LIGHT, width=0.9)
        if state.query in found:
            place = found.index(state.query)
            ax.bar([place + 1], [np.nan_to_num(values[place])], color=INK, width=0.9)
        ax.set(ylim=(0, 1), ylabel="AP", xlabel="place in the list", xlim=(0.4, max(1, len(found)) + 0.6))
    return figure


def what_if(desk: Desk) -> Figure:
    """The chosen pair as it is, and with a part of one image hidden. Raises ValueError where nothing is hidden."""
    before, after = views.picture(desk), views.edited_picture(desk)
    numbers = desk.pair()
    found = desk.outcome().found
    figures_ = [_pair(desk, before, numbers)]
    figures_.append(_draw(desk, after, numbers.same, found.probability[1], None, "hidden: " + desk.outcome().note))
    return stacked(figures_)


FIGURES: dict[str, Callable[[Desk], Any]] = {
    "ranking": ranking, "lists": lists, "pair": pair, "alignment": alignment, "difference": difference, "models": models,
    "failures": failures, "queries": queries, "what if": what_if,
}  # fmt: skip


def stacked(drawn: list[Figure]) -> Figure:
    """One figure as it is; several one under the other, as pixels of 200 to the inch."""
    if len(drawn) == 1:
        return drawn[0]
    from PIL import Image

    sizes = [figure.get_size_inches() for figure in drawn]
    with figure_style():
        whole = new_figure(max(size[0] for size in sizes), sum(size[1] for size in sizes))
        top = 0.0
        for figure, (width, height) in zip(drawn, sizes, strict=True):
            ax = panel(whole, 0, top, width, height)
            ax.imshow(np.asarray(Image.open(io.BytesIO(figures.figure_png(figure, 200))).convert("RGB")), aspect="auto")
            ax.set_axis_off()
            top += height
    return whole


def _pair(desk: Desk, row: PairPicture, numbers: Any) -> Figure:
    probability = None if numbers is None else numbers.probability
    distance = None if numbers is None else numbers.feature
    return _draw(desk, row, None if numbers is None else numbers.same, probability, distance, row.heading)


def _draw(
    desk: Desk, row: PairPicture, same: bool | None, probability: float | None, distance: float | None, name: str
) -> Figure:
    state = desk.current
    return figures.show_pair(
        *row.images, *row.maps, state.threshold, row.titles, same, probability, distance, state.normalisation,
        f"{name}: {method_words(state.method)}",
    )  # fmt: skip


def _list(desk: Desk, title: str, page: int) -> dict[str, Any]:
    found = desk.ranking()
    return {**_row(desk, found, found.page(page, desk.current.show_ignored)), "title": title or found.scores()}


def _row(desk: Desk, found: Any, tiles: list[Any]) -> dict[str, Any]:
    return {
        "query_image": desk.library.query.array(found.query),
        "query_pid": found.pid,
        "query_camid": found.camid,
        "gallery_images": [desk.library.gallery.array(t.gallery) for t in tiles],
        "statuses": ["junk" if t.status == "unreadable" else t.status for t in tiles],
        "distances": [t.distance for t in tiles],
        "pids": [t.pid for t in tiles],
        "camids": [t.camid for t in tiles],
    }
