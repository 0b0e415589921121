"""Two tests of explanations in pictures: deletion and insertion beside random masks, and sanity step by step.

The numbers come from :mod:`casnkit.explain.faithfulness` and :mod:`casnkit.explain.sanity`; whatever has the same
attributes is drawn too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import to_array
from .style import (
    GREY,
    INK,
    LARGE,
    LIGHT,
    LINE,
    MARGIN,
    NOTE,
    PAGE_WIDTH,
    SERIES,
    ends_inside,
    figure_style,
    fit,
    new_figure,
    panel,
    text_width,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def show_curves(found: Mapping[str, Any], axis: str = "probability", title: str = "Deletion and insertion") -> Figure:
    """Mean curves over pairs with their 95 % band, and those of random masks (dotted): a column for each method.

    Args:
        found: method -> :class:`casnkit.explain.faithfulness.Faithfulness`, of the same pairs.
        axis: ``probability``, ``reciprocal_rank`` or ``average_precision``.
        title: heading.

    Raises:
        ValueError: no method, or no such axis.
    """
    if not found or not all(hasattr(f.deletion, axis) for f in found.values()):
        raise ValueError(
            f"expected curves with the axis {axis!r} of at least one method, got {', '.join(found) or 'none'}"
        )
    gap, left = 0.24, 0.72
    wide, tall = min(3.4, (PAGE_WIDTH - left - MARGIN - gap * (len(found) - 1)) / len(found)), 1.75
    count = len(next(iter(found.values())).pairs)
    heading = f"{title}: {axis.replace('_', ' ')}, mean of {count} pair{'s' * (count != 1)}"
    with figure_style():
        width = max(left + len(found) * (wide + gap) - gap + MARGIN, text_width(heading, LARGE, True) + 2 * MARGIN)
        figure = new_figure(min(PAGE_WIDTH, width), 6.25)
        write(figure, MARGIN, MARGIN, heading, PAGE_WIDTH - 2 * MARGIN, LARGE, weight="bold")
        for column, (name, curves) in enumerate(found.items()):
            corner = left + column * (wide + gap)
            write(figure, corner, 0.55, name, wide, weight="bold")
            for row, kind in enumerate(("deletion", "insertion")):
                top = 1.02 + row * (tall + 0.82)
                ax = panel(figure, corner, top, wide, tall)
                own, random = getattr(curves, kind), getattr(curves, f"random_{kind}")
                points = 100 * (_area(own, axis) - _area(random, axis))
                write(figure, corner, top - 0.23, f"{kind}: {points:+.1f} points of area", wide)
                _draw_curve(ax, own, axis, *SERIES[column % len(SERIES)][:2])
                _draw_curve(ax, random, axis, GREY, (0, (1, 1.5)))
                ax.set(xlim=(0, 1))
                ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
                ends_inside(ax)
                ax.set_xlabel("share of pixels hidden" if row == 0 else "share of pixels shown")
                if not column:
                    ax.set_ylabel(axis.replace("_", " "))
                ax.tick_params(labelleft=not column)
        low, high = min(ax.dataLim.y0 for ax in figure.axes), max(ax.dataLim.y1 for ax in figure.axes)
        for ax in figure.axes:  # one scale for all
            ax.set_ylim(max(-0.02, low - 0.05), min(1.02, high + 0.05))
        note = (
            "dotted: random masks of the same area; points: area minus theirs (good: deletion below 0, insertion above)"
        )
        write(figure, MARGIN, 6.25 - LINE - 0.06, note, figure.get_size_inches()[0] - 2 * MARGIN, color=NOTE)
    return figure


def show_sanity(reports: Mapping[str, Any], limit: float = 0.5, title: str = "Sanity checks") -> Figure:
    """How much of a map stays as the network forgets, step by step; and beside another partner, or in the other order.

    Args:
        reports: method -> :class:`casnkit.explain.sanity.SanityReport`, all with the same steps.
        limit: above this correlation a map is blind to what was taken away.
        title: heading.

    Raises:
        ValueError: no report, or reports with other steps.
    """
    steps = [tuple(name for name, _ in report.steps) for report in reports.values()]
    if not steps or len(set(steps)) > 1:
        raise ValueError(f"expected reports with the same steps, got {' and '.join(map(str, set(steps))) or 'none'}")
    heads, others = ["trained", *steps[0]], ("partner", "order")
    left, tall, right = 0.72, 2.5, 2.3
    wide = PAGE_WIDTH - left - right - 0.65 - MARGIN
    with figure_style():
        figure = new_figure(PAGE_WIDTH, 4.75)
        heading = f"{title}: correlation with the map of the trained network"
        write(figure, MARGIN, MARGIN, heading, PAGE_WIDTH - 2 * MARGIN, LARGE, weight="bold")
        write(figure, left, 0.5, "made random, one part after the other", wide, weight="bold")
        write(figure, left + wide + 0.65, 0.5, "asked something else", right, weight="bold")
        ax, side = panel(figure, left, 0.78, wide, tall), panel(figure, left + wide + 0.65, 0.78, right, tall)
        for k, (name, report) in enumerate(reports.items()):
            colour, line, marker = SERIES[k % len(SERIES)]
            shift = 0.12 * (k - (len(reports) - 1) / 2)
            values = np.array([[1, 1, 1], *([v.mean, v.low, v.high] for _, v in report.steps)])
            ax.plot(np.arange(len(heads)) + shift, values[:, 0], color=colour, linestyle=line, label=fit(name, 2.6))
            _draw_bars(ax, np.arange(len(heads)) + shift, values, colour, marker)
            lines = [report[other] for other in others]
            _draw_bars(side, np.arange(2) + shift, np.array([[v.value, v.low, v.high] for v in lines]), colour, marker)
        ax.axhline(limit, color=INK, linewidth=1, linestyle=(0, (4, 2)), zorder=0)
        lowest = min(-0.1, *(part.dataLim.y0 - 0.05 for part in (ax, side)))
        for part, names in ((ax, heads), (side, ("another partner", "order turned"))):
            part.set(ylim=(lowest, 1.08), xlim=(-0.5, len(names) - 0.5))
            part.set_xticks(
                range(len(names)), names, rotation=0 if part is side else 30, ha="center" if part is side else "right"
            )
            part.grid(axis="y", color=LIGHT, linewidth=0.6)
            part.set_axisbelow(True)
        ax.set_ylabel("correlation")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=3, handlelength=3)
        note = f"dashed line, left: a map that stays above {limit:g} without the pair classifier does not explain its score"
        write(figure, MARGIN, 4.75 - LINE - 0.06, note, PAGE_WIDTH - 2 * MARGIN, color=NOTE)
    return figure


def _draw_curve(ax: Axes, curves: Any, axis: str, colour: str, line: Any) -> None:
    """Mean over pairs, and where the mean could lie by 1.96 standard errors."""
    values, shares = to_array(getattr(curves, axis)).astype(float), to_array(curves.shares)
    mean, count = np.nanmean(values, 0), np.maximum(np.isfinite(values).sum(0), 1)
    error = 1.96 * np.nanstd(values, 0) / np.sqrt(count)
    ax.fill_between(
        shares, np.clip(mean - error, 0, 1), np.clip(mean + error, 0, 1), color=colour, alpha=0.15, linewidth=0
    )
    ax.plot(shares, mean, color=colour, linestyle=line)
    ax.grid(color=LIGHT, linewidth=0.6)
    ax.set_axisbelow(True)


def _area(curves: Any, axis: str) -> float:
    return float(np.nanmean(curves.auc(axis)))


def _draw_bars(ax: Axes, places: np.ndarray, values: np.ndarray, colour: str, marker: str) -> None:
    """Points with intervals: (n, 3) of mean, low, high; NaN is left out."""
    ax.vlines(places, values[:, 1], values[:, 2], color=colour, linewidth=1.4)
    ax.plot(places, values[:, 0], color=colour, linestyle="", marker=marker, markersize=5.5)
