"""Curves and distributions: training, ranking, verification, deletion and insertion, sanity checks."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import auc

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
_DOTTED = {"color": style.GREY, "linestyle": style.DOTTED, "linewidth": 1.5}


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


def _lines(title: str, curves: Mapping, say: Callable, rings: Mapping) -> Axes:
    """For each name a line, its words in the legend ended by ``say``, and rings: x and shares in [0, 1], both (K,)."""
    ax, ring = new_figure(6.4, 4.2, title).subplots(), {"marker": "o", "ms": 10, "mfc": "none", "ls": ""}
    for number, (name, curve) in enumerate(curves.items()):
        x, shares = (to_array(values).astype(float) for values in curve)
        if not (shares.min() >= 0 and shares.max() <= 1):
            raise ValueError(f"{name}: expected shares in [0, 1], got {shares.min():.3g} to {shares.max():.3g}")
        label = f"{short(name, 36)}: {say(name, x, shares)}"
        ax.plot(x, 100 * shares, label=label, markevery=max(1, len(x) // 20), **series(number))
        if name in rings:
            ax.plot(rings[name][0], 100 * np.asarray(rings[name][1]), color=series(number)["color"], **ring)
    ax.grid()
    return ax


@figure_style()
def show_cmc(results: Mapping[str, Any], title: str = "Cumulative matching characteristic") -> Figure:
    """How often the right person is among the first 1 to 20: method -> (ranks,) rising shares, entry 0 is rank 1."""
    curves = {name: (np.arange(len(cmc[:20])) + 1, cmc[:20]) for name, cmc in results.items()}
    ax = _lines(title, curves, lambda name, ranks, shares: f"rank-1 {100 * shares[0]:.1f} %", {})
    lowest, ranks = min(line.get_ydata()[0] for line in ax.lines), max(len(cmc) for _, cmc in curves.values())
    ax.set(xlabel="rank k", ylabel="right person among the first k (%)", ylim=(max(0, 10 * (lowest // 10) - 10), 102))
    ax.set_xticks([1, *range(5, ranks + 1, 5)])
    ax.legend(loc="lower right" if lowest > 40 else "best")
    return ax.figure


@figure_style()
def show_weight_curve(curves: Mapping[str, tuple], best: Mapping[str, float]) -> Figure:
    """mAP against attention's share in the sum: name -> (weights, mAP), both (K,) in [0, 1]; a ring at the ``best``."""
    rings = {name: (best[name], np.interp(best[name], *curve)) for name, curve in curves.items()}
    ax = _lines("How much should attention count?", curves, lambda name, *_: f"best at {best[name]:g}", rings)
    ax.axvline(0.5, **_DOTTED, label="the paper's sum")
    ax.set(xlabel="share of attention: 0 features alone, 1 attention alone", ylabel="mAP on validation people (%)")
    ax.legend()
    return ax.figure


@figure_style()
def show_roc(curves: Mapping[str, tuple], points: Mapping[str, tuple] = {}, title: str = "Same person?") -> Figure:
    """Method -> (false, true accept rates of pairs), rising in [0, 1]; rings: the same at chosen thresholds."""
    rates = np.concatenate([[0.1], *(to_array(false) for false, _ in curves.values())])
    low = float(10.0 ** np.floor(np.log10(max(rates[rates > 0].min(), 1e-6))))  # a logarithmic axis has no zero
    drawn = {name: (100 * np.maximum(false, low), true) for name, (false, true) in curves.items()}
    rings = {name: (100 * np.maximum(false, low), true) for name, (false, true) in points.items()}
    ax = _lines(title, drawn, lambda name, *_: f"area {auc(*curves[name]):.3f}", rings)
    chance = 100 * np.geomspace(low, 1, 200)
    ax.plot(chance, chance, **_DOTTED, label="by chance")
    ax.set(xlabel="false accepts: pairs of two people called one (%)", ylabel="pairs of one person called one (%)")
    ax.set(ylim=(-2, 102), xscale="log", xlim=(100 * low, 100))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.legend(loc="upper left", frameon=True, facecolor="white", edgecolor="none", framealpha=0.85)
    return ax.figure


@figure_style()
def show_precision(hits: Any) -> Figure:
    """Precision over recall of one ranked list: as steps (today's average precision) and joined by trapezoids.

    ``hits``: (K,), closest first, without images that do not count; true where one shows the query's person.
    """
    ranks = np.flatnonzero(to_array(hits).astype(bool))
    found = np.arange(1, len(ranks) + 1)
    recall, precision = found / len(ranks), found / (ranks + 1)
    before = np.where(ranks > 0, (found - 1) / np.maximum(ranks, 1), 1.0)
    axes = new_figure(style.PAGE_WIDTH, 3.8, "Two average precisions of one list").subplots(1, 2, sharey=True)
    for ax, name, start in zip(axes, ("steps", "trapezoids"), (precision, before), strict=True):
        edges, heights = np.repeat([0, *recall], 2)[1:-1], np.column_stack([start, precision]).ravel()
        ax.fill_between(edges, heights, color=style.BLUE, alpha=0.25, linewidth=0)
        ax.plot(edges, heights, color=style.BLUE)
        ax.plot(recall, precision, "o", color=style.BLUE, markersize=6)
        for x, y in zip(recall[:8], precision[:8], strict=True):
            ax.text(x, y + 0.02, f"{y:.2f}", ha="right", color=style.ORANGE)
        ax.set(title=f"{name}: AP = {(start + precision).mean() / 2:.3f}", xlabel="recall: share of the matches found")
        ax.set(xlim=(0, 1.04), ylim=(0, 1.12), ylabel="precision")
        ax.grid()
    return axes[0].figure


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


def show_distance_histograms(same: Any, different: Any, thresholds: Any = None, title: str = "") -> Figure:
    """Distances of pairs of one person (n,) and of two people (m,), with up to four named thresholds."""
    samples = {"pairs of one person": same, "pairs of two people": different}
    return show_distributions(samples, "distance, lower is closer", title, 60, marks=thresholds)


@figure_style()
def show_curves(found: Mapping[str, Any]) -> Figure:
    """Method -> :class:`casnkit.explain.faithfulness.Faithfulness` as columns: mean probability with its 95 % band."""
    heading = f"Deletion and insertion: probability, mean of {len(next(iter(found.values())).pairs)} pairs"
    note = "dotted: random masks of the same area; points: area minus theirs (good: deletion below 0, insertion above)"
    figure = new_figure(min(style.PAGE_WIDTH, 3.2 * max(2, len(found))), 6.0, heading, note)
    axes = figure.subplots(2, len(found), sharex=True, sharey=True, squeeze=False)
    for column, (name, curves) in enumerate(found.items()):
        for ax, kind, pixels in zip(axes[:, column], ("deletion", "insertion"), ("hidden", "shown"), strict=True):
            for name_of, look in ((kind, series(column) | {"marker": ""}), (f"random_{kind}", _DOTTED)):
                drawn = pd.DataFrame(curves.curves[name_of]["probability"], columns=curves.shares).melt()
                seaborn.lineplot(drawn, x="variable", y="value", errorbar=("se", 1.96), ax=ax, **look)
            points = 100 * float(np.nanmean(curves.gain(kind)))
            ax.set_title(f"{short(name, 24)}\n{kind}: {points:+.1f} points", size=style.SMALL)
            ax.set(xlim=(0, 1), xticks=[0, 0.5, 1], xlabel=f"share of pixels {pixels}", ylabel="probability")
            ax.grid()
    return figure


@figure_style()
def show_sanity(reports: Mapping[str, Any]) -> Figure:
    """Method -> :class:`casnkit.explain.sanity.SanityReport`: how much of a map stays as the network forgets."""
    names = ["trained", *next(iter(reports.values())).steps, "another partner", "order turned"]
    ax = new_figure(style.PAGE_WIDTH, 4.9, "Sanity checks: correlation with the map of the trained network").subplots()
    for k, (name, report) in enumerate(reports.items()):
        values = np.array([(1, 1, 1, 0), *report.steps.values(), report["partner"], report["order"]])
        places = np.arange(len(names)) + 0.1 * (k - len(reports) / 2)
        ax.vlines(places, values[:, 1], values[:, 2], color=series(k)["color"], linewidth=1.4)
        ax.plot(places[:-2], values[:-2, 0], label=short(name, 36), **series(k))
        ax.plot(places[-2:], values[-2:, 0], **series(k) | {"linestyle": ""})
    ax.axvline(len(names) - 2.5, color=style.LIGHT)
    ax.axhline(0.5, color=style.INK, linewidth=1, linestyle=style.DASHED, zorder=0)
    ax.set(ylim=(None, 1.08), ylabel="correlation", title="made random, one part after the other; asked something else")
    ax.set_xlabel("above the dashed line without the pair classifier, a map does not explain its score")
    ax.set_xticks(range(len(names)), names, rotation=25, ha="right", rotation_mode="anchor")
    ax.grid(axis="y")
    ax.figure.legend(loc="outside lower left", ncols=3)
    return ax.figure


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
