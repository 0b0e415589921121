"""Differences with their intervals: which settings are better, worse, or not to be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .style import (
    BLUE,
    GREY,
    LARGE,
    LIGHT,
    LINE,
    MARGIN,
    NOTE,
    ORANGE,
    PAGE_WIDTH,
    SMALL,
    figure_style,
    new_figure,
    panel,
    text_width,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW, _GAP = 0.26, 0.2  # inches: height of a setting, space between panels


def show_differences(
    names: Sequence[str],
    panels: Mapping[str, Sequence[Mapping[str, Any] | None]],
    title: str = "Difference to the default",
    unit: str = "points",
) -> Figure:
    """A point with its 95 % interval for each setting; one panel for each number.

    Args:
        names: of the settings, from top to bottom.
        panels: heading -> estimates in the order of ``names``: mappings with ``mean``, ``low``, ``high`` (the bounds
            may be None for a single seed), or None where nothing was measured.
        title: heading of the figure.
        unit: of the differences.

    Raises:
        ValueError: no names, no panels, or panels of another length.
    """
    if not names or not panels or any(len(values) != len(names) for values in panels.values()):
        lengths = {heading: len(values) for heading, values in panels.items()}
        raise ValueError(f"expected panels of {len(names)} estimates each, one per name, got {lengths}")
    room = min(3.2, max(text_width(name) for name in names) + 0.1)
    width = (PAGE_WIDTH - 2 * MARGIN - room - _GAP * (len(panels) - 1)) / len(panels)
    top, tall = 0.8, _ROW * len(names) + 0.1
    with figure_style():
        figure = new_figure(PAGE_WIDTH, top + tall + 0.72)
        write(figure, MARGIN, MARGIN, title, size=LARGE, weight="bold")
        for i, name in enumerate(names):
            write(figure, MARGIN, top + 0.05 + _ROW * (i + 0.5) - 0.09, name, room - 0.1)
        for k, (heading, values) in enumerate(panels.items()):
            left = MARGIN + room + k * (width + _GAP)
            write(figure, left, top - 0.25, heading, width, weight="bold")
            ax = panel(figure, left, top, width, tall)
            _draw(ax, values)
            ax.set_xlabel(unit, fontsize=SMALL)
        legend = (
            "filled, solid: the interval leaves zero out (blue above, orange below); hollow, dashed: undecided; "
            "arrow: off the axis"
        )
        write(figure, MARGIN, top + tall + 0.72 - LINE, legend, PAGE_WIDTH - 2 * MARGIN, color=NOTE)
    return figure


def _draw(ax: Axes, values: Sequence[Mapping[str, Any] | None]) -> None:
    reach = _reach([value for value in values if value is not None])
    ax.axvline(0, color=GREY, linewidth=1)
    for i, value in enumerate(values):
        if value is None:
            continue
        low, high = value["low"], value["high"]
        clear = low is not None and (low > 0 or high < 0)
        colour = (BLUE if value["mean"] > 0 else ORANGE) if clear else GREY
        if abs(value["mean"]) > reach:  # too far off for the axis: an arrow at its end, and the number
            side = 1 if value["mean"] > 0 else -1
            ax.plot([side * reach], [i], marker=">" if side > 0 else "<", color=colour, clip_on=False)
            place, align = side * reach * 0.93, "right" if side > 0 else "left"
            ax.text(place, i, f"{value['mean']:+.1f}", ha=align, va="center", size=SMALL)
            continue
        if low is not None:
            ax.plot([low, high], [i, i], color=colour, linestyle="-" if clear else (0, (2, 1.5)), linewidth=1.6)
        ax.plot([value["mean"]], [i], marker="o", color=colour, markerfacecolor=colour if clear else "white")
    ax.set(ylim=(len(values) - 0.5, -0.5), yticks=[], xlim=(-reach, reach))
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", color=LIGHT, linewidth=0.6)
    ax.set_axisbelow(True)


def _reach(values: Sequence[Mapping[str, Any]]) -> float:
    """Half of the axis: room for every interval, but for means that lie far beyond most of the others."""
    ends = [max(abs(v[k]) for k in ("mean", "low", "high") if v[k] is not None) for v in values] or [1.0]
    usual = 3 * sorted(ends)[len(ends) // 2]
    near = [end for end, v in zip(ends, values, strict=False) if abs(v["mean"]) <= usual] or ends
    return 1.08 * max(*near, 1e-9)
