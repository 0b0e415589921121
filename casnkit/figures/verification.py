"""Same person or not: ROC curves, and how far apart pairs of one person and of two people lie.

The numbers come from :mod:`casnkit.ranking.verification`, as plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import to_array
from .style import (
    BLUE,
    GREY,
    INK,
    LARGE,
    LIGHT,
    LINE,
    MARGIN,
    ORANGE,
    PAGE_WIDTH,
    SERIES,
    SMALL,
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

_LEAST_RATE = 1e-6  # a logarithmic axis has no zero


def show_roc(
    curves: Mapping[str, tuple[Any, Any]],
    points: Mapping[str, tuple[Any, Any]] | None = None,
    title: str = "Same person?",
    logarithmic: bool = True,
) -> Figure:
    """How many pairs of one person are accepted, at every rate of false accepts; the area below in the legend.

    Args:
        curves: method -> (false accept rates, true accept rates), both ascending in [0, 1] from 0 to 1.
        points: method -> the same two for chosen thresholds, drawn as rings on top.
        title: heading.
        logarithmic: false accepts on a logarithmic axis, where the rates that matter in use can be told apart.

    Raises:
        ValueError: no curve, points of a method without a curve, or rates that are no such curve.
    """
    if not curves:
        raise ValueError("expected at least one curve, got none")
    checked = {str(name): _checked_rates(str(name), *rates) for name, rates in curves.items()}
    unknown = [str(name) for name in points or {} if str(name) not in checked]
    if unknown:
        raise ValueError(f"expected points of the methods {', '.join(checked)}, got some of {', '.join(unknown)}")
    with figure_style():
        figure = new_figure(6.4, 4.3)
        write(figure, MARGIN, MARGIN, title, 6.1, LARGE, weight="bold")
        ax = panel(figure, 0.75, 0.55, 5.45, 3.15)
        low = _lowest(checked) if logarithmic else 0.0
        for number, (name, (false, true)) in enumerate(checked.items()):
            colour, line, marker = SERIES[number % len(SERIES)]
            area = float((np.diff(false) * (true[1:] + true[:-1]) / 2).sum())
            shown = np.maximum(false, low)
            ax.plot(100 * shown, 100 * true, color=colour, linestyle=line, label=f"{fit(name, 2.4)}: area {area:.3f}")
            if points and name in points:
                rings = [100 * np.atleast_1d(to_array(v).astype(float)) for v in points[name]]
                style = {"linestyle": "", "marker": marker, "markersize": 8, "markeredgewidth": 1.8}
                ax.plot(np.maximum(rings[0], 100 * low), rings[1], color=colour, markerfacecolor="white", **style)
        diagonal = np.geomspace(low, 1, 200) if logarithmic else np.array([0, 1])
        ax.plot(100 * diagonal, 100 * diagonal, color=GREY, linestyle=(0, (1, 2)), linewidth=1.2, label="by chance")
        _dress_roc(ax, low, logarithmic)
    return figure


def _dress_roc(ax: Axes, low: float, logarithmic: bool) -> None:
    ax.set(xlabel="false accepts: pairs of two people called one (%)", ylabel="pairs of one person called one (%)")
    ax.set(ylim=(-2, 102), yticks=range(0, 101, 20))
    if logarithmic:
        ax.set_xscale("log")
        ax.set_xlim(100 * low, 100)
        decades = [d for d in (1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100) if d >= 100 * low * 0.999]
        ax.set_xticks(decades, [f"{d:g}" for d in decades])
        ax.set_xticks([], minor=True)
    else:
        ax.set(xlim=(-2, 102), xticks=range(0, 101, 20))
    ax.grid(color=LIGHT, linewidth=0.6)
    ax.set_axisbelow(True)
    legend = ax.legend(loc="upper left" if logarithmic else "lower right", fontsize=SMALL, handlelength=3.2)
    legend.set_frame_on(True)
    legend.get_frame().set(facecolor="white", edgecolor="none", alpha=0.85)


def _lowest(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> float:
    """The power of ten below the smallest rate above zero: further left no curve has anything to show."""
    smallest = min(float(false[false > 0].min(initial=1)) for false, _ in curves.values())
    return float(10.0 ** np.floor(np.log10(max(min(smallest, 0.1), _LEAST_RATE))))


def _checked_rates(name: str, false: Any, true: Any) -> tuple[np.ndarray, np.ndarray]:
    rates = [to_array(values).astype(float) for values in (false, true)]
    if rates[0].ndim != 1 or rates[0].shape != rates[1].shape or len(rates[0]) < 2:
        raise ValueError(f"{name}: expected two vectors of one length, got {rates[0].shape} and {rates[1].shape}")
    for values in rates:
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 and (np.diff(values) >= 0).all()):
            raise ValueError(f"{name}: expected rates in [0, 1] that never fall, got {values.min()} to {values.max()}")
    return rates[0], rates[1]


def show_distance_histograms(
    same: Any,
    different: Any,
    thresholds: Mapping[str, float] | None = None,
    title: str = "Distances of pairs",
    label: str = "distance, lower is closer",
    bins: int = 60,
) -> Figure:
    """Distances of pairs of one person and of two people, each kind as shares of its own pairs, with thresholds.

    Args:
        same: (n,) distances of pairs of one person, finite.
        different: (m,) distances of pairs of two people, finite.
        thresholds: name -> distance, up to which a pair is called the same person.
        title: heading.
        label: of the axis.
        bins: of both histograms.

    Raises:
        ValueError: no distances of a kind, or some that are not finite.
    """
    kinds = {"one person": to_array(same), "two people": to_array(different)}
    kinds = {name: values.astype(float).ravel() for name, values in kinds.items()}
    for name, values in kinds.items():
        if not values.size or not np.isfinite(values).all():
            raise ValueError(f"{name}: expected finite distances, got {values.size} of which some are not, or none")
    low, high = (f([f(values) for values in kinds.values()]) for f in (np.min, np.max))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    lines = dict(sorted((thresholds or {}).items(), key=lambda item: item[1]))
    with figure_style():
        size = PAGE_WIDTH - 0.95, 2.3 + LINE * len(lines)
        figure = new_figure(PAGE_WIDTH, size[1] + 1.4)
        write(figure, MARGIN, MARGIN, title, PAGE_WIDTH - 2 * MARGIN, LARGE, weight="bold")
        ax = panel(figure, 0.75, 0.8, *size)
        for (name, values), colour, style in zip(kinds.items(), (BLUE, ORANGE), ("-", (0, (4, 1.5))), strict=True):
            shares = 100 * np.histogram(values, edges)[0] / values.size
            ax.stairs(shares, edges, fill=True, color=colour, alpha=0.25)
            text = f"{name} ({values.size:,} pairs)"
            ax.stairs(shares, edges, color=colour, linestyle=style, linewidth=1.8, label=text)
        ax.set(xlabel=label, ylabel="share of the kind's pairs (%)", xlim=(edges[0], edges[-1]))
        _draw_thresholds(ax, lines, size)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=2, fontsize=SMALL, handlelength=3.2)
    return figure


def _draw_thresholds(ax: Axes, lines: Mapping[str, float], size: tuple[float, float]) -> None:
    """Dashed lines with their names on steps that descend to the right, so that no line crosses another's name.

    ``size`` is that of the axes in inches.
    """
    room = LINE * (len(lines) + 0.3) / size[1]
    ax.set_ylim(0, ax.get_ylim()[1] / (1 - room))
    left, right = ax.get_xlim()
    for i, (name, threshold) in enumerate(lines.items()):
        place, height = (threshold - left) / (right - left), 1 - LINE * (i + 1) / size[1]
        if not 0 <= place <= 1:
            continue
        ax.axvline(threshold, ymax=height + 0.7 * LINE / size[1], color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
        text = fit(f"{name}: {threshold:.3g}", 2.4)
        beyond = (1 - place) * size[0] < text_width(text) + 0.1
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        where = place + (-0.06 if beyond else 0.06) / size[0], height
        ax.text(*where, text, transform=ax.transAxes, ha="right" if beyond else "left", size=SMALL, bbox=box)
