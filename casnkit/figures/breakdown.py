"""Where the numbers come from: camera by camera, and as the share of attention grows.

The numbers come from :mod:`casnkit.ranking.breakdown` and :mod:`casnkit.ranking.weighting`, as plain arrays.
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
    MARGIN,
    MASK_COLOURS,
    NORMAL,
    NOTE,
    PAGE_WIDTH,
    SERIES,
    SMALL,
    colour_bar,
    figure_style,
    fit,
    frame,
    new_figure,
    panel,
    text_width,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def show_camera_pairs(
    values: Any,
    counts: Any,
    query_cameras: Any,
    gallery_cameras: Any,
    title: str = "Camera by camera",
    label: str = "rank-1 (%)",
) -> Figure:
    """A number for every pair of cameras, queries in rows and gallery in columns; small below it, its queries.

    Args:
        values: (A, B) shares in [0, 1]; NaN where there is nothing to find, drawn as an empty cell.
        counts: (A, B) whole numbers, queries with a match.
        query_cameras: (A,) names or numbers.
        gallery_cameras: (B,) names or numbers.
        title: heading; what the colours mean is added to it.
        label: what the values are.

    Raises:
        ValueError: shapes that do not fit, or no number at all.
    """
    shares, numbers = 100 * to_array(values).astype(float), to_array(counts)
    names = [[str(c) for c in np.asarray(side).tolist()] for side in (query_cameras, gallery_cameras)]
    expected = tuple(len(side) for side in names)
    if shares.shape != expected or numbers.shape != expected:
        raise ValueError(
            f"expected values and counts of shape {expected}, one for each pair of cameras, got {shares.shape} and "
            f"{numbers.shape}"
        )
    known = shares[np.isfinite(shares)]
    if not known.size:
        raise ValueError("expected at least one pair of cameras with a number, found none")
    low, high = 10 * np.floor(known.min() / 10), 10 * np.ceil(known.max() / 10)
    limits = float(low), float(high) if high > low else float(low) + 10
    with figure_style():
        return _draw_camera_pairs(shares, numbers, names, limits, title, label)


def _draw_camera_pairs(
    shares: np.ndarray,
    counts: np.ndarray,
    names: list[list[str]],
    limits: tuple[float, float],
    title: str,
    label: str,
) -> Figure:
    rows, columns = shares.shape
    wide, tall = min(0.95, (PAGE_WIDTH - 2.0) / columns), 0.46
    heading = f"{title} \u00b7 {label}, below it the queries"
    width = max(1.0 + columns * wide + 1.0, text_width(heading, LARGE, True) + 2 * MARGIN)
    width, left, top = min(PAGE_WIDTH, width), 0.85, 0.85
    figure = new_figure(width, top + rows * tall + 0.6)
    write(figure, MARGIN, MARGIN, heading, width - 2 * MARGIN, LARGE, weight="bold")
    write(figure, left + columns * wide / 2, 0.58, "gallery camera", align="center")
    ax = panel(figure, left, top, columns * wide, rows * tall)
    cells = np.ma.masked_invalid(shares)
    ax.imshow(cells, cmap=MASK_COLOURS, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="nearest")
    for i, j in np.ndindex(shares.shape):
        _write_cell(ax, i, j, shares[i, j], int(counts[i, j]), np.mean(limits))
    ax.set_xticks(range(columns), [fit(n, wide - 0.05) for n in names[1]])
    ax.set_yticks(range(rows), [fit(n, 0.45) for n in names[0]])
    ax.tick_params(length=0)
    ax.set_ylabel("query camera")
    frame(ax, LIGHT, "-", 0.8)
    bar = colour_bar(figure, left + columns * wide + 0.2, top, 0.13, rows * tall, MASK_COLOURS)
    bar.set_yticks([0, 0.5, 1], [f"{v:.0f}" for v in (limits[0], np.mean(limits), limits[1])])
    return figure


def _write_cell(ax: Axes, row: int, column: int, share: float, count: int, middle: float) -> None:
    if np.isnan(share):
        ax.text(column, row, "\u2013", ha="center", va="center", size=NORMAL, color=NOTE)
        return
    colour = "white" if share < middle else INK
    ax.text(column, row - 0.04, f"{share:.0f}", ha="center", va="bottom", size=NORMAL, color=colour)
    ax.text(column, row + 0.04, f"{count}", ha="center", va="top", size=SMALL, color=colour)


def show_weight_curve(
    curves: Mapping[str, tuple[Any, Any]],
    best: Mapping[str, float] | None = None,
    title: str = "How much should attention count?",
    label: str = "mAP on validation people (%)",
    mark: float | None = 0.5,
) -> Figure:
    """A measure against the share of attention in the sum, one curve per way to put the distances on one scale.

    Args:
        curves: name -> (weights, shares), both (K,) in [0, 1]; weights ascend.
        best: name -> the weight that was chosen, drawn as a ring; it has to be one of the curve's.
        title: heading.
        label: of the y axis.
        mark: a weight to mark by a vertical line: 0.5 is the paper's plain sum.

    Raises:
        ValueError: no curve, values outside [0, 1], or a best weight that was not tried.
    """
    if not curves:
        raise ValueError("expected at least one curve, got none")
    checked = {str(name): _checked_weights(str(name), *curve) for name, curve in curves.items()}
    for name, weight in (best or {}).items():
        if name not in checked or not np.isclose(checked[name][0], weight).any():
            raise ValueError(
                f"expected the best weight of a curve that is shown, and one it tried, got {name}: {weight}"
            )
    with figure_style():
        figure = new_figure(6.4, 4.1)
        write(figure, MARGIN, MARGIN, title, 6.1, LARGE, weight="bold")
        ax = panel(figure, 0.75, 0.55, 5.45, 2.9)
        if mark is not None:
            ax.axvline(mark, color=GREY, linewidth=1.2, linestyle=(0, (1, 2)), label="the paper's sum")
        for number, (name, (weights, shares)) in enumerate(checked.items()):
            colour, line, marker = SERIES[number % len(SERIES)]
            chosen = (best or {}).get(name)
            text = fit(name, 2.4) + ("" if chosen is None else f": best at {chosen:g}")
            ax.plot(weights, 100 * shares, color=colour, linestyle=line, marker=marker, markersize=3.5, label=text)
            if chosen is not None:
                at = int(np.argmin(np.abs(weights - chosen)))
                ring = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "markeredgewidth": 2}
                ax.plot(weights[at], 100 * shares[at], color=colour, linestyle="", **ring)
        ax.set(xlabel="share of attention: 0 features alone, 1 attention alone", ylabel=label, xlim=(-0.03, 1.03))
        ax.set_xticks(np.linspace(0, 1, 6))
        ax.grid(axis="y", color=LIGHT, linewidth=0.6)
        ax.set_axisbelow(True)
        ax.legend(loc="best", fontsize=SMALL, handlelength=3.2)
    return figure


def _checked_weights(name: str, weights: Any, shares: Any) -> tuple[np.ndarray, np.ndarray]:
    arrays = [to_array(values).astype(float) for values in (weights, shares)]
    if arrays[0].ndim != 1 or arrays[0].shape != arrays[1].shape or not arrays[0].size:
        raise ValueError(f"{name}: expected two vectors of one length, got {arrays[0].shape} and {arrays[1].shape}")
    for values in arrays:
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ValueError(f"{name}: expected values in [0, 1], got {values.min()} to {values.max()}")
    return arrays[0], arrays[1]
