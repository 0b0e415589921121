"""Curves and distributions: training, ranking, verification, deletion and insertion, sanity checks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import auc

from casnkit.figures import style
from casnkit.figures.images import same_length, to_array
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
def show_losses(
    log_rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]], title: str = "Training"
) -> Figure:
    """Every term of the loss by epoch, unweighted, one panel each; learning rate, speed and validation where logged.

    ``log_rows``: the rows of one run's log, or run name -> rows, which share the panels. A row has ``epoch`` and any of
    ``total``, ``ide``, ``ia``, ``bce``, ``consistency``, ``learning_rate``, ``images_per_second``, ``validation_mean_ap``,
    ``validation_rank_1``. What is None, missing or not finite is left out, and so is a panel without any value.
    """
    runs = dict(log_rows) if isinstance(log_rows, Mapping) else {"": log_rows}
    panels = {head: [_points(rows, term) for rows in runs.values()] for term, head in _TERMS.items()}
    panels = {head: curves for head, curves in panels.items() if any(curves)}
    if not panels:
        raise ValueError(f"expected log rows with 'epoch' and some of {', '.join(_TERMS)}, found none")
    columns = max(3, math.ceil(len(panels) / 2))
    lines = math.ceil(len(panels) / columns)
    figure = new_figure(style.PAGE_WIDTH, 1.75 * lines + 0.7 + 0.2 * len(runs) * (len(runs) > 1), title)
    for i, (heading, curves) in enumerate(panels.items()):
        ax = figure.add_subplot(lines, columns, i + 1)
        for number, (name, points) in enumerate(zip(runs, curves, strict=True)):
            epochs, values = zip(*points, strict=True) if points else ((), ())
            ax.plot(epochs, values, label=short(name, 40), markevery=max(1, len(points) // 8), **series(number))
        least, most = min(v for points in curves for _, v in points), max(v for points in curves for _, v in points)
        if heading == _TERMS["learning_rate"] and least > 0:
            ax.set(yscale="log", ylim=(least / 2, most * 2))
            ax.minorticks_off()
            ax.set_yticks(sorted({least, most}), [f"{rate:.2g}" for rate in sorted({least, most})])
        elif least >= 0:
            ax.set_ylim(0, 1.08 * most or 1)
        ax.set(title=heading, xlabel="epoch" if i + columns >= len(panels) else "")
        ax.grid(axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    if len(runs) > 1:
        longest = max(len(short(name, 40)) for name in runs)
        figure.legend(handles=figure.axes[0].lines, loc="outside lower left", ncols=max(1, 100 // (longest + 10)))
    return figure


def show_progress(rows: Sequence[Mapping[str, Any]], epochs: int, title: str = "Training") -> Figure:
    """One run's :func:`show_losses` while it is trained: the axes reach to its last of ``epochs`` from the start."""
    figure = show_losses(rows, title)
    for ax in figure.axes:
        ax.set_xlim(1 - 0.03 * epochs, 1.03 * epochs)
    return figure


def _points(rows: Sequence[Mapping[str, Any]], term: str) -> list[tuple[int, float]]:
    found = [(row["epoch"], row[term]) for row in rows if "epoch" in row and row.get(term) is not None]
    return [(epoch, float(value)) for epoch, value in found if math.isfinite(value)]


def _shares(name: str, *vectors: Any, rising: bool) -> list[np.ndarray]:
    """Vectors of one length as float64, their values in [0, 1]; ``rising``: they never fall."""
    arrays = [to_array(values).astype(float) for values in vectors]
    if arrays[0].ndim != 1 or not arrays[0].size or any(a.shape != arrays[0].shape for a in arrays):
        raise ValueError(f"{name}: expected vectors of one length, got {' and '.join(str(a.shape) for a in arrays)}")
    for values in arrays:
        if not (values.min() >= 0 and values.max() <= 1) or (rising and (np.diff(values) < -1e-9).any()):
            falls = " that never fall" if rising else ""
            raise ValueError(f"{name}: expected values in [0, 1]{falls}, got {values.min():.3g} to {values.max():.3g}")
    return arrays


def _lines(title: str, curves: Mapping[str, tuple[Any, Any]], rings: Mapping[str, tuple] | None = None) -> Axes:
    """A line for each label, with rings on top where there are any, and a grid."""
    ax = new_figure(6.4, 4.2, title).subplots()
    for number, (label, (x, y)) in enumerate(curves.items()):
        ax.plot(x, y, label=label, markevery=max(1, len(x) // 20), **series(number))
        if label in (rings or {}):
            ring = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "linestyle": ""}
            ax.plot(*rings[label], **series(number) | ring)
    ax.grid()
    return ax


@figure_style()
def show_cmc(results: Mapping[str, Any], title: str = "Cumulative matching characteristic") -> Figure:
    """How often the right person is among the first 1 to 20: one curve per method, its rank-1 in the legend.

    ``results``: method -> (ranks,) shares in [0, 1] that never fall, entry 0 is rank 1.
    """
    same_length(curves=results)
    curves = {}
    for name, cmc in results.items():
        shares = 100 * _shares(str(name), cmc, rising=True)[0][:20]
        curves[f"{short(name, 36)}: rank-1 {shares[0]:.1f} %"] = np.arange(1, len(shares) + 1), shares
    ax = _lines(title, curves)
    lowest = min(shares[0] for _, shares in curves.values())
    ax.set(xlabel="rank k", ylabel="right person among the first k (%)", ylim=(max(0, 10 * (lowest // 10) - 10), 102))
    ax.set_xticks([1, *range(5, max(len(ranks) for ranks, _ in curves.values()) + 1, 5)])
    ax.legend(loc="lower right" if lowest > 40 else "best")
    return ax.figure


@figure_style()
def show_weight_curve(curves: Mapping[str, tuple], best: Mapping[str, float]) -> Figure:
    """mAP against the share of attention in the sum, one curve per way to put the distances on one scale.

    ``curves``: name -> (weights, shares), both (K,) in [0, 1]; ``best``: name -> the chosen weight, which gets a ring.
    """
    same_length(curves=curves)
    lines, rings = {}, {}
    for name, curve in curves.items():
        weights, shares = _shares(str(name), *curve, rising=False)
        label, at = f"{short(name, 36)}: best at {best[name]:g}", np.abs(weights - best[name]).argmin()
        lines[label], rings[label] = (weights, 100 * shares), (weights[at], 100 * shares[at])
    ax = _lines("How much should attention count?", lines, rings)
    ax.axvline(0.5, color=style.GREY, linewidth=1.2, linestyle=style.DOTTED, label="the paper's sum")
    ax.set(xlabel="share of attention: 0 features alone, 1 attention alone", ylabel="mAP on validation people (%)")
    ax.legend()
    return ax.figure


@figure_style()
def show_roc(
    curves: Mapping[str, tuple], points: Mapping[str, tuple] | None = None, title: str = "Same person?"
) -> Figure:
    """How many pairs of one person are accepted, at every rate of false accepts; the area below in the legend.

    ``curves``: method -> (false accept rates, true accept rates), ascending in [0, 1]; ``points``, rings: chosen thresholds.
    """
    same_length(curves=curves)
    checked = {name: _shares(str(name), *rates, rising=True) for name, rates in curves.items()}
    smallest = min(float(false[false > 0].min(initial=0.1)) for false, _ in checked.values())
    low = float(10.0 ** np.floor(np.log10(max(smallest, 1e-6))))  # a logarithmic axis has no zero
    lines, rings = {}, {}
    for name, (false, true) in checked.items():
        label = f"{short(name, 36)}: area {auc(false, true):.3f}"
        lines[label] = 100 * np.maximum(false, low), 100 * true
        if name in (points or {}):
            false, true = (100 * np.atleast_1d(to_array(v).astype(float)) for v in points[name])
            rings[label] = np.maximum(false, 100 * low), true
    ax = _lines(title, lines, rings)
    chance = 100 * np.geomspace(low, 1, 200)
    ax.plot(chance, chance, color=style.GREY, linestyle=style.DOTTED, linewidth=1.2, label="by chance")
    ax.set(xlabel="false accepts: pairs of two people called one (%)", ylabel="pairs of one person called one (%)")
    ax.set(ylim=(-2, 102), xscale="log", xlim=(100 * low, 100))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.legend(loc="upper left", frameon=True, facecolor="white", edgecolor="none", framealpha=0.85)
    return ax.figure


@figure_style()
def show_precision(hits: Sequence[bool] | Any) -> Figure:
    """Precision over recall of one ranked list: as steps (today's average precision) and joined by trapezoids.

    ``hits``: (K,) one entry per gallery image that counts, closest first; true where it shows the query's person.
    """
    ranks = np.flatnonzero(to_array(hits).astype(bool))
    same_length(hits=ranks)
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
        ax.set(title=f"{name}: AP = {(start + precision).mean() / 2:.3f}", ylabel="precision")
        ax.set(xlim=(0, 1.04), ylim=(0, 1.12), xlabel="recall: share of the matches found")
        ax.grid()
    return axes[0].figure


@figure_style()
def show_weights(weights: Any, title: str = "Channel weights", label: str = "weight") -> Figure:
    """The ten most positive and ten most negative entries of (C,) as bars, and how many of each sign there are."""
    values = to_array(weights).astype(np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"weights: expected finite values in one vector of shape (channels,), got {values.shape}")
    order = np.argsort(-values, kind="stable")
    ends = [k for k in dict.fromkeys((*order[:10], *order[-10:])) if values[k]]
    counted = f"{(values > 0).sum()} of {len(values)} channels above zero, {(values < 0).sum()} below"
    ax = new_figure(style.PAGE_WIDTH, 2.75, f"{title} \u00b7 {counted}").subplots()
    colours = np.where(values[ends] > 0, style.SERIES[0][0], style.SERIES[1][0])
    ax.bar(range(len(ends)), values[ends], color=colours, tick_label=[str(k) for k in ends])
    ax.axhline(0, color=style.INK, linewidth=0.8)
    ax.set(xlabel="channel", ylabel=label)
    return ax.figure


@figure_style()
def show_distributions(
    samples: Mapping[str, Any],
    label: str,
    title: str = "Distribution",
    bins: int = 40,
    limits: tuple[float, float] | None = None,
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Histograms of several samples under each other on one axis, each with its median.

    ``samples``: name -> values of any shape; NaN ("no answer for this image") is left out and counted. ``label``: of the
    axis they share, with unit or direction; ``marks``: name -> value at which a line crosses all histograms.
    """
    values = {str(name): to_array(v).astype(np.float64).ravel() for name, v in samples.items()}
    kept = {name: v[np.isfinite(v)] for name, v in values.items()}
    same_length(samples=kept)
    if empty := [name for name, sample in kept.items() if not sample.size]:
        raise ValueError(f"expected finite values in each sample, got none in {', '.join(empty)}")
    low, high = limits or (min(v.min() for v in kept.values()), max(v.max() for v in kept.values()))
    high = high if high > low else low + 1
    edges, decimals = np.linspace(low, high, bins + 1), max(0, 3 - math.floor(math.log10(high - low)))
    figure = new_figure(style.PAGE_WIDTH, 0.75 * len(kept) + 0.95 + 0.4 * bool(marks), title)
    axes = figure.subplots(len(kept), 1, sharex=True, squeeze=False)[:, 0]
    for number, (ax, (name, sample)) in enumerate(zip(axes, kept.items(), strict=True)):
        colour, median, left_out = series(number)["color"], np.median(sample), values[name].size - sample.size
        counts, _ = np.histogram(np.clip(sample, low, high), edges)
        ax.stairs(counts / counts.max(), edges, fill=True, color=colour, alpha=0.75)
        ax.axvline(median, color="white", linewidth=3)
        ax.axvline(median, color=style.INK, linewidth=1.4, linestyle=style.DASHED)
        for (mark, value), line in zip((marks or {}).items(), ("-", style.DOTTED, "-.", "--"), strict=False):
            ax.axvline(value, color=style.ORANGE, linestyle=line, label=f"{short(mark, 30)}: {value:.3g}")
        ax.set(xlim=(low, high), ylim=(0, 1.08))
        ax.set_yticks([0.5], [fold(name, 26)], color=colour, weight="bold")
        ax.tick_params(axis="y", length=0)
        text = f"median {median:.{decimals}f}\nn = {sample.size}" + (f", {left_out} undefined" if left_out else "")
        ax.annotate(text, (1, 0.5), (8, 0), "axes fraction", "offset points", va="center", size=style.SMALL)
    axes[-1].set_xlabel(label)
    if marks:
        figure.legend(handles=axes[0].get_legend_handles_labels()[0], loc="outside lower left", ncols=4)
    return figure


def show_distance_histograms(
    same: Any, different: Any, thresholds: Mapping[str, float] | None = None, title: str = "Distances of pairs"
) -> Figure:
    """Distances of pairs of one person (n,) and of two people (m,), with up to four named thresholds."""
    samples = {"pairs of one person": same, "pairs of two people": different}
    return show_distributions(samples, "distance, lower is closer", title, 60, marks=thresholds)


@figure_style()
def show_curves(found: Mapping[str, Any]) -> Figure:
    """Mean probability over pairs with its 95 % band, and that of random masks (dotted): a column for each method.

    ``found``: method -> :class:`casnkit.explain.faithfulness.Faithfulness`, of the same pairs.
    """
    same_length(methods=found)
    heading = f"Deletion and insertion: probability, mean of {len(next(iter(found.values())).pairs)} pairs"
    note = "dotted: random masks of the same area; points: area minus theirs (good: deletion below 0, insertion above)"
    figure = new_figure(min(style.PAGE_WIDTH, 3.2 * max(2, len(found))), 6.0, heading, note)
    axes = figure.subplots(2, len(found), sharex=True, sharey=True, squeeze=False)
    for column, (name, curves) in enumerate(found.items()):
        for ax, kind, pixels in zip(axes[:, column], ("deletion", "insertion"), ("hidden", "shown"), strict=True):
            own, random = getattr(curves, kind), getattr(curves, f"random_{kind}")
            looks = series(column) | {"marker": ""}, {"color": style.GREY, "linestyle": style.DOTTED}
            for drawn, look in zip((own, random), looks, strict=True):
                shares = np.tile(to_array(drawn.shares), len(drawn.probability))
                seaborn.lineplot(x=shares, y=to_array(drawn.probability).ravel(), errorbar=("se", 1.96), ax=ax, **look)
            points = 100 * float(np.nanmean(curves.gain(kind)))
            ax.set_title(f"{short(name, 24)}\n{kind}: {points:+.1f} points", size=style.SMALL)
            ax.set(xlim=(0, 1), xticks=[0, 0.5, 1], xlabel=f"share of pixels {pixels}")
            ax.set_ylabel("" if column else "probability")
            ax.grid()
    return figure


@figure_style()
def show_sanity(reports: Mapping[str, Any]) -> Figure:
    """How much of a map stays as the network forgets, step by step; and beside another partner, or in the other order.

    ``reports``: method -> :class:`casnkit.explain.sanity.SanityReport`, all with the same steps.
    """
    steps = {tuple(report.steps) for report in reports.values()}
    if len(steps) != 1:
        raise ValueError(f"expected reports with the same steps, got {' and '.join(map(str, steps)) or 'none'}")
    names = ["trained", *steps.pop(), "another partner", "order turned"]
    ax = new_figure(style.PAGE_WIDTH, 4.9, "Sanity checks: correlation with the map of the trained network").subplots()
    for k, (name, report) in enumerate(reports.items()):
        made = [(1, 1, 1), *((v.value, v.low, v.high) for v in report.steps.values())]
        asked = [(line.value, line.low, line.high) for line in (report["partner"], report["order"])]
        values, places = np.array([*made, *asked]), np.arange(len(names)) + 0.1 * (k - len(reports) / 2)
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
