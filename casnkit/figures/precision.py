"""How average precision comes about: one ranked list's precision and recall, and the two areas that are called AP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import to_array
from .style import BLUE, GREY, LARGE, LIGHT, MARGIN, NORMAL, ORANGE, figure_style, new_figure, panel, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE, _TALL = 3.75, 2.5  # inches of a panel


def show_precision(hits: Sequence[bool] | Any, title: str = "Two average precisions of one list") -> Figure:
    """Precision over recall of one ranked list: as steps (today's average precision) and joined by trapezoids.

    Args:
        hits: (K,) one entry per gallery image that counts, closest first; true where it shows the query's person.
        title: heading.

    Raises:
        ValueError: not one-dimensional, or without a hit.
    """
    found = to_array(hits).astype(bool)
    if found.ndim != 1 or not found.any():
        raise ValueError(f"expected a list (K,) with at least one hit, got shape {found.shape}, {found.sum()} hits")
    ranks = np.flatnonzero(found)
    precision = np.arange(1, len(ranks) + 1) / (ranks + 1)
    above = np.where(ranks > 0, np.arange(len(ranks)) / np.maximum(ranks, 1), 1.0)
    step, trapezoid = precision.mean(), (above + precision).mean() / 2
    with figure_style():
        figure = new_figure(9.0, _TALL + 1.35)
        write(figure, MARGIN, MARGIN, title, 8.6, LARGE, weight="bold")
        for column, name in enumerate((f"steps: AP = {step:.3f}", f"trapezoids: AP = {trapezoid:.3f}")):
            left = 0.62 + column * (_WIDE + 0.6)
            write(figure, left, 0.5, name, _WIDE, NORMAL)
            ax = panel(figure, left, 0.78, _WIDE, _TALL)
            _draw_areas(ax, precision, precision if column == 0 else above)
            ax.set_xlabel("recall: share of the matches found")
            if column == 0:
                ax.set_ylabel("precision")
    return figure


def _draw_areas(ax: Axes, precision: np.ndarray, start: np.ndarray) -> None:
    """One area per hit, from the precision at its left edge to the one at its right edge, where the hit stands."""
    count = len(precision)
    for i in range(count):
        edges, heights = [i / count, (i + 1) / count], [start[i], precision[i]]
        ax.fill_between(edges, heights, color=BLUE, alpha=0.18 if i % 2 else 0.3, linewidth=0)
        ax.plot(edges, heights, color=BLUE)
    ax.plot((np.arange(count) + 1) / count, precision, "o", color=BLUE, markersize=6)
    if count <= 8:
        for i, value in enumerate(precision):
            place = {"ha": "right", "va": "bottom", "fontsize": 9, "color": ORANGE}
            ax.annotate(f"{value:.2f}", ((i + 1) / count, value), (-4, 5), textcoords="offset points", **place)
    ax.grid(color=LIGHT, linewidth=0.6)
    ax.set(xlim=(0, 1.04), ylim=(0, 1.12), axisbelow=True)
    ax.tick_params(color=GREY)
