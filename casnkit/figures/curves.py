"""Curves and distributions: training, ranking, samples side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from casnkit.figures import style
from casnkit.figures.images import to_array
from casnkit.figures.style import figure_style, fold, new_figure, series, short

# What is drawn, in this order, where a run has it: the key of a log row and its panel's heading.
_TERMS = {
    "total": "total (eq. 6)",
    "ide": "identity (eq. 1)",
    "ia": "attention (eq. 2)",
    "bce": "pairs (eq. 3)",
    "consistency": "consistency (eq. 5)",
    "learning_rate": "learning rate",
    "images_per_second": "images per second",
    "validation_mean_ap": "validation: mAP (%)",
    "validation_rank_1": "validation: rank-1 (%)",
}


@figure_style()
def show_losses(log_rows: Sequence | Mapping, title: str = "Training", epochs: int = 0) -> Figure:
    """Every term of the loss by epoch, unweighted, one panel each; learning rate, speed and validation where logged.

    ``log_rows``: the rows of one run's ``log.jsonl``, or run name -> rows, which share the panels. What is None, missing
    or not finite is left out, and so is a panel without any value. ``epochs``: where the axes of an unfinished run end.
    """
    runs = log_rows if isinstance(log_rows, Mapping) else {"": log_rows}
    logs = [pd.DataFrame(list(rows), columns=["epoch", *_TERMS], dtype=float) for rows in runs.values()]
    logs = [log.replace([-np.inf, np.inf], np.nan).set_index("epoch") for log in logs]
    terms = [term for term in _TERMS if any(log[term].count() for log in logs)]
    columns, lines = max(3, math.ceil(len(terms) / 2)), 2 if len(terms) > 3 else 1
    figure = new_figure(style.PAGE_WIDTH, 1.75 * lines + 0.7 + 0.2 * len(runs) * (len(runs) > 1), title)
    for i, term in enumerate(terms):
        xlabel = "epoch" if i + columns >= len(terms) else ""
        ax = figure.add_subplot(lines, columns, i + 1, title=_TERMS[term], xlabel=xlabel)
        for number, (name, log) in enumerate(zip(runs, logs, strict=True)):
            curve = log[term].dropna()
            ax.plot(curve, label=short(name, 40), markevery=max(1, len(curve) // 8), **series(number))
        values = pd.concat([log[term] for log in logs])
        if values.min() >= 0:
            ax.set_ylim(0, 1.08 * values.max() or 1)
        ax.grid(axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        if epochs:
            ax.set_xlim(1 - 0.03 * epochs, 1.03 * epochs)
    if len(runs) > 1:
        figure.legend(handles=figure.axes[0].lines, loc="outside lower left", ncols=2)
    return figure


@figure_style()
def show_cmc(results: Mapping[str, Any], title: str = "Cumulative matching characteristic") -> Figure:
    """How often the right person is among the first 1 to 20: method -> (ranks,) rising shares, entry 0 is rank 1."""
    ax = new_figure(6.4, 4.2, title).subplots()
    for number, (name, cmc) in enumerate(results.items()):
        shares = to_array(cmc).astype(float)[:20]
        if not (shares.min() >= 0 and shares.max() <= 1):
            raise ValueError(f"{name}: expected shares in [0, 1], got {shares.min():.3g} to {shares.max():.3g}")
        label = f"{short(name, 36)}: rank-1 {100 * shares[0]:.1f} %"
        ax.plot(np.arange(len(shares)) + 1, 100 * shares, label=label, **series(number))
    lowest = min(line.get_ydata()[0] for line in ax.lines)
    ax.set(xlabel="rank k", ylabel="right person among the first k (%)", ylim=(max(0, 10 * (lowest // 10) - 10), 102))
    ax.set_xticks([1, *range(5, 21, 5)])
    ax.grid()
    ax.legend(loc="lower right" if lowest > 40 else "best")
    return ax.figure


@figure_style()
def show_weights(weights: Any, title: str = "Channel weights", label: str = "weight") -> Figure:
    """The ten most positive and ten most negative entries of (C,) as bars, and how many of each sign there are."""
    values = pd.Series(to_array(weights).astype(float))
    ordered = values[values != 0].sort_values(ascending=False, kind="stable")
    ends = ordered if len(ordered) <= 20 else pd.concat([ordered[:10], ordered[-10:]])
    heading = f"{title} \u00b7 {(values > 0).sum()} of {len(values)} channels above zero, {(values < 0).sum()} below"
    ax = new_figure(style.PAGE_WIDTH, 2.75, heading).subplots()
    ax.bar(ends.index.astype(str), ends, color=np.where(ends > 0, style.SERIES[0][0], style.SERIES[1][0]))
    ax.axhline(0, color=style.INK, linewidth=0.8)
    ax.set(xlabel="channel", ylabel=label)
    return ax.figure


@figure_style()
def show_distributions(
    samples: Mapping[str, Any], label: str, title: str = "", bins: int = 40, limits: Any = None, marks: Any = None
) -> Figure:
    """Histograms of several samples under each other on one axis, named ``label``, each with its median.

    ``samples``: name -> values of any shape; NaN ("no answer for this image") is left out and counted. ``limits``: ends of
    the axis; ``marks``: name -> value, a line across all histograms.
    """
    frame = {name: pd.Series(to_array(v).ravel(), dtype=float) for name, v in samples.items()}
    table = pd.DataFrame(frame).replace([-np.inf, np.inf], np.nan)
    low, high = limits or (table.min().min(), table.max().max())
    high = high if high > low else low + 1
    decimals = max(0, 3 - math.floor(math.log10(high - low)))
    figure = new_figure(style.PAGE_WIDTH, 0.75 * len(frame) + 0.95 + 0.4 * bool(marks), title)
    axes = figure.subplots(len(frame), 1, sharex=True, squeeze=False)[:, 0]
    for number, (ax, name) in enumerate(zip(axes, table, strict=True)):
        colour, sample = series(number)["color"], table[name].dropna()
        ax.hist(sample.clip(low, high), np.linspace(low, high, bins + 1), color=colour, alpha=0.75)
        ax.axvline(sample.median(), color="white", linewidth=3)
        ax.axvline(sample.median(), color=style.INK, linewidth=1.4, linestyle=style.DASHED)
        for (mark, value), line in zip((marks or {}).items(), ("-", style.DOTTED, "-.", "--"), strict=False):
            ax.axvline(value, color=style.ORANGE, linestyle=line, label=f"{short(mark, 30)}: {value:.3g}")
        ax.set(xlim=(low, high), yticks=[])
        ax.set_ylabel(fold(name, 26), color=colour, weight="bold", rotation=0, ha="right", va="center")
        left_out = frame[name].size - sample.size
        text = f"median {sample.median():.{decimals}f}\nn = {sample.size}" + f", {left_out} undefined" * bool(left_out)
        ax.annotate(text, (1, 0.5), (8, 0), "axes fraction", "offset points", va="center", size=style.SMALL)
    axes[-1].set_xlabel(label)
    if marks:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=4)
    return figure


@figure_style()
def show_ranks(before: Any, after: Any, labels: Sequence[str], title: str = "Ranks") -> Figure:
    """Each true match as a line from its rank (from 1, on top) under one ranking to that under another."""
    moves, figure = np.array([before, after], dtype=int).reshape(2, -1), new_figure(5.8, 4.2, title)
    left, most = figure.subplots(), max(2, moves.max(initial=2))
    for start, end in moves.T:
        better = (style.BLUE, "-") if end < start else (style.ORANGE, "--") if end > start else (style.GREY, "-")
        left.plot([0, 1], [start, end], color=better[0], linestyle=better[1], marker="o")
    for ax, ranks, label in zip((left, left.twinx()), moves, labels, strict=True):
        ax.set_yscale("log")
        ax.set(ylim=(1.15 * most, 0.9), ylabel=label, xlim=(-0.05, 1.05), xticks=[])
        ticks = [1]
        for rank in np.unique(ranks):  # labels that would touch are left out
            ticks += [rank] if np.log(rank / ticks[-1]) > 0.05 * np.log(most) else []
        ax.set_yticks(ticks, ticks)
        ax.minorticks_off()
    return figure
