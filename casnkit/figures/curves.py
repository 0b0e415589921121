"""Curves: a run's losses, and cumulative matching characteristics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import to_array
from .style import (
    GREY,
    LARGE,
    LIGHT,
    MARGIN,
    NORMAL,
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

# What is drawn, in this order, where a run has it: the key of a log row and the panel's heading.
_TERMS = {
    "total": "total (eq. 6)",
    "ide": "identity (eq. 1)",
    "ia": "attention (eq. 2)",
    "bce": "pairs (eq. 3)",
    "consistency": "consistency (eq. 5)",
    "learning_rate": "learning rate",
    "images_per_second": "images per second",
}
_GAP_X, _GAP_Y, _TALL = 0.6, 0.62, 1.5  # inches: room for tick labels, room for a heading, height of a panel


def show_losses(
    log_rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]], title: str = "Training"
) -> Figure:
    """Every term of the loss by epoch, unweighted, one panel each; several runs share the panels.

    Args:
        log_rows: the rows of one run's log, or run name -> rows. A row is a mapping with ``epoch`` and any of
            ``total``, ``ide``, ``ia``, ``bce``, ``consistency``, ``learning_rate``, ``images_per_second``. A term that
            is None or missing leaves a gap, one that no run has leaves out its panel.
        title: heading.

    Raises:
        ValueError: no rows, rows without ``epoch``, or none of the terms.
    """
    runs = dict(log_rows) if isinstance(log_rows, Mapping) else {"": log_rows}
    runs = {str(name): list(rows) for name, rows in runs.items()}
    if not runs or not all(runs.values()):
        empty = ", ".join(repr(name) for name, rows in runs.items() if not rows)
        raise ValueError(f"expected log rows of at least one epoch, got none{f' for {empty}' if empty else ''}")
    if any("epoch" not in row for rows in runs.values() for row in rows):
        raise ValueError("expected every log row to have 'epoch', found one without")
    terms = [t for t in _TERMS if any(math.isfinite(_number(row.get(t))) for rows in runs.values() for row in rows)]
    if not terms:
        raise ValueError(f"expected log rows with some of {', '.join(_TERMS)}, found none of them")
    with figure_style():
        return _draw_losses(runs, terms, title)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _draw_losses(runs: dict[str, list[Mapping[str, Any]]], terms: list[str], title: str) -> Figure:
    columns = min(4 if len(terms) > 6 else 3, len(terms))
    lines = math.ceil(len(terms) / columns)
    wide = (PAGE_WIDTH - 2 * MARGIN - max(columns, 3) * _GAP_X) / max(columns, 3)
    width = PAGE_WIDTH if len(runs) > 1 else 2 * MARGIN + columns * (wide + _GAP_X)
    keys = _key_lines(list(runs), width - 2 * MARGIN) if len(runs) > 1 else []
    top = MARGIN + 0.4 + 0.26 * len(keys)
    figure = new_figure(width, top + lines * (_TALL + _GAP_Y) + 0.14 + MARGIN)
    write(figure, MARGIN, MARGIN, title, width - 2 * MARGIN, LARGE, weight="bold")
    for line, entries in enumerate(keys):
        _draw_keys(figure, entries, MARGIN + 0.36 + 0.26 * line)
    for i, term in enumerate(terms):
        left = MARGIN + 0.48 + (i % columns) * (wide + _GAP_X)
        down = top + 0.28 + (i // columns) * (_TALL + _GAP_Y)
        write(figure, left, down - 0.25, _TERMS[term], wide, NORMAL)
        ax = panel(figure, left, down, wide, _TALL)
        for number, rows in enumerate(runs.values()):
            _draw_run(ax, rows, term, number)
        _dress(ax, term, last=i + columns >= len(terms))
    return figure


def _series(number: int) -> tuple[str, Any, str]:
    """Colour, line style and marker of a run; beyond the first six, new pairings of the same ones."""
    shift = number // len(SERIES)
    colour, _, marker = SERIES[number % len(SERIES)]
    return colour, SERIES[(number + shift) % len(SERIES)][1], marker


def _key_lines(names: list[str], width: float) -> list[list[tuple[int, str, float]]]:
    """The legend's entries (number, name, left edge in inches), broken into lines of at most ``width`` inches."""
    lines: list[list[tuple[int, str, float]]] = []
    used = width + 1
    for number, name in enumerate(names):
        name = fit(name, 2.6)
        length = 0.7 + text_width(name)
        if used + length - 0.22 > width:
            lines.append([])
            used = 0.0
        lines[-1].append((number, name, MARGIN + used))
        used += length
    return lines


def _draw_keys(figure: Figure, entries: list[tuple[int, str, float]], top: float) -> None:
    for number, name, left in entries:
        colour, line, marker = _series(number)
        key = panel(figure, left, top + 0.02, 0.42, 0.12)
        key.plot([0, 0.5, 1], [0, 0, 0], color=colour, linestyle=line, marker=marker, markevery=[1], markersize=5)
        key.set_axis_off()
        write(figure, left + 0.48, top, name, color=colour)


def _draw_run(ax: Axes, rows: list[Mapping[str, Any]], term: str, number: int) -> None:
    colour, line, marker = _series(number)
    epochs, values = [row["epoch"] for row in rows], [_number(row.get(term)) for row in rows]
    every = max(1, len(rows) // 8)
    ax.plot(epochs, values, color=colour, linestyle=line, marker=marker, markersize=4, markevery=every)


def _dress(ax: Axes, term: str, last: bool) -> None:
    ax.grid(axis="y", color=LIGHT, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.xaxis.get_major_locator().set_params(integer=True, nbins=6, min_n_ticks=1)
    values = [v for line in ax.lines for v in np.asarray(line.get_ydata(), float) if math.isfinite(v)]
    if term == "learning_rate" and values and min(values) > 0:
        _mark_rates(ax, sorted(set(values)))
    elif values and min(values) >= 0:
        ax.set_ylim(0, 1.08 * max(values) or 1)
    if last:
        ax.set_xlabel("epoch")


def _mark_rates(ax: Axes, rates: list[float]) -> None:
    """A logarithmic axis whose ticks are the rates themselves, where they are few."""
    ax.set_yscale("log")
    ax.set_ylim(rates[0] / 2, rates[-1] * 2)
    shown = rates if len(rates) <= 4 else [rates[0], rates[-1]]
    ax.set_yticks([])
    ax.set_yticks([], minor=True)
    ax.set_yticks(shown, [f"{rate:.2g}" for rate in shown])


def show_cmc(
    results: Mapping[str, Any],
    max_rank: int = 20,
    title: str = "Cumulative matching characteristic",
    ax: Axes | None = None,
) -> Figure:
    """How often the right person is among the first k: one curve per method, its rank-1 in the legend.

    Args:
        results: method -> (ranks,) shares in [0, 1] that never fall, entry 0 is rank 1.
        max_rank: how many ranks to show.
        title: heading.
        ax: draw into these axes and return their figure.

    Raises:
        ValueError: nothing to show, or something that is no such curve.
    """
    if not results:
        raise ValueError("expected at least one curve, got none")
    curves = {str(name): _checked_curve(str(name), curve) for name, curve in results.items()}
    with figure_style():
        if ax is None:
            figure = new_figure(6.4, 4.0)
            write(figure, MARGIN, MARGIN, title, 6.1, LARGE, weight="bold")
            ax = panel(figure, 0.75, 0.55, 5.45, 2.85)
        for number, (name, curve) in enumerate(curves.items()):
            colour, line, marker = _series(number)
            shares = 100 * curve[:max_rank]
            label = f"{fit(name, 2.4)}: rank-1 {shares[0]:.1f} %"
            style = {"color": colour, "linestyle": line, "marker": marker, "markersize": 4.5}
            ax.plot(np.arange(1, len(shares) + 1), shares, label=label, **style)
        lowest = min(100 * curve[0] for curve in curves.values())
        ax.set(
            xlabel="rank k", ylabel="right person among the first k (%)", ylim=(max(0, 10 * (lowest // 10) - 10), 102)
        )
        longest = min(max_rank, max(map(len, curves.values())))
        ax.set(
            xlim=(0.5, longest + 0.5), xticks=[1, *range(5, longest + 1, 5)] if longest > 5 else range(1, longest + 1)
        )
        ax.grid(axis="y", color=LIGHT, linewidth=0.6)
        ax.legend(loc="lower right" if lowest > 40 else "best", fontsize=SMALL, handlelength=3.2)
        ax.tick_params(color=GREY)
    return ax.figure


def _checked_curve(name: str, curve: Any) -> np.ndarray:
    values = to_array(curve).astype(float)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"{name}: expected a curve of shape (ranks,), got shape {values.shape}")
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"{name}: expected shares in [0, 1], got {values.min():.3g} to {values.max():.3g}")
    if (np.diff(values) < -1e-9).any():
        raise ValueError(f"{name}: expected a curve that never falls (cumulative), found one that does")
    return values
