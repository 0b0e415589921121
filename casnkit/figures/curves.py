"""Curves and distributions: training, ranking, verification, deletion and insertion, sanity checks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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
}
_VALIDATION = {"validation_mean_ap": "mAP", "validation_rank_1": "rank-1"}
Points = list[tuple[int, float]]


@figure_style()
def show_losses(
    log_rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]], title: str = "Training"
) -> Figure:
    """Every term of the loss by epoch, unweighted, one panel each; several runs share the panels.

    ``log_rows``: the rows of one run's log, or run name -> rows. A row is a mapping with ``epoch`` and any of ``total``,
    ``ide``, ``ia``, ``bce``, ``consistency``, ``learning_rate``, ``images_per_second``. What is None, missing or not finite
    is left out, and so is a panel that no run has anything for.
    """
    runs = dict(log_rows) if isinstance(log_rows, Mapping) else {"": log_rows}
    panels = {head: {str(run): _points(rows, term) for run, rows in runs.items()} for term, head in _TERMS.items()}
    figure = _draw_panels(panels, title, 0.2 * len(runs) * (len(runs) > 1))
    if len(runs) > 1:
        longest = max(len(short(name, 40)) for name in runs)
        figure.legend(handles=figure.axes[0].lines, loc="outside lower left", ncols=max(1, 100 // (longest + 10)))
    return figure


@figure_style()
def show_progress(rows: Sequence[Mapping[str, Any]], epochs: int, title: str = "Training") -> Figure:
    """Loss terms, learning rate, speed and, where there is any, validation of one run by epoch.

    ``rows`` are as for :func:`show_losses`, with ``validation_mean_ap`` and ``validation_rank_1`` (percent) in some;
    ``epochs`` is the run's length, to which the axes reach from the start.
    """
    panels = {head: {"": _points(rows, term)} for term, head in _TERMS.items()}
    panels["validation (%)"] = {name: _points(rows, term) for term, name in _VALIDATION.items()}
    figure = _draw_panels(panels, title)
    for ax in figure.axes:
        ax.set_xlim(1 - 0.03 * epochs, 1.03 * epochs)
        if len(ax.lines) > 1:
            ax.legend(loc="lower right", handlelength=2.2)
    return figure


def _points(rows: Sequence[Mapping[str, Any]], term: str) -> Points:
    found = [(row["epoch"], row[term]) for row in rows if "epoch" in row and row.get(term) is not None]
    return [(epoch, float(value)) for epoch, value in found if math.isfinite(value)]


def _draw_panels(panels: Mapping[str, Mapping[str, Points]], title: str, below: float = 0.0) -> Figure:
    """A panel for each heading that has points, by epoch, with a line for each name."""
    panels = {head: curves for head, curves in panels.items() if any(curves.values())}
    if not panels:
        raise ValueError(f"expected log rows with 'epoch' and some of {', '.join((*_TERMS, *_VALIDATION))}, found none")
    columns = 4 if len(panels) > 6 else 3
    lines = math.ceil(len(panels) / columns)
    figure = new_figure(style.PAGE_WIDTH, 1.75 * lines + 0.7 + below, title)
    for i, (heading, curves) in enumerate(panels.items()):
        ax = figure.add_subplot(lines, columns, i + 1)
        for number, (name, points) in enumerate(curves.items()):
            epochs, values = zip(*points, strict=True) if points else ((), ())
            ax.plot(epochs, values, label=short(name, 40), markevery=max(1, len(points) // 8), **series(number))
        ax.set_title(heading)
        ax.grid(axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        values = sorted(value for points in curves.values() for _, value in points)
        if heading == _TERMS["learning_rate"] and values[0] > 0:  # a logarithmic axis with the rates as ticks
            ax.set(yscale="log", ylim=(values[0] / 2, values[-1] * 2))
            ax.minorticks_off()
            ax.set_yticks([values[0], values[-1]], [f"{values[0]:.2g}", f"{values[-1]:.2g}"])
        elif values[0] >= 0:
            ax.set_ylim(0, 1.08 * values[-1] or 1)
        if i + columns >= len(panels):
            ax.set_xlabel("epoch")
    return figure


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
            ring = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 2, "linestyle": ""}
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
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.legend(loc="lower right" if lowest > 40 else "best")
    return ax.figure


@figure_style()
def show_weight_curve(
    curves: Mapping[str, tuple], best: Mapping[str, float], title: str = "How much should attention count?"
) -> Figure:
    """mAP against the share of attention in the sum, one curve per way to put the distances on one scale.

    ``curves``: name -> (weights, shares), both (K,) in [0, 1]; ``best``: name -> the chosen one of its weights, drawn as a
    ring. A vertical line marks 0.5, the paper's plain sum.
    """
    same_length(curves=curves)
    lines, rings = {}, {}
    for name, curve in curves.items():
        weights, shares = _shares(str(name), *curve, rising=False)
        label, at = f"{short(name, 36)}: best at {best[name]:g}", np.abs(weights - best[name]).argmin()
        lines[label], rings[label] = (weights, 100 * shares), (weights[at], 100 * shares[at])
    ax = _lines(title, lines, rings)
    ax.axvline(0.5, color=style.GREY, linewidth=1.2, linestyle=style.DOTTED, label="the paper's sum")
    ax.set(xlabel="share of attention: 0 features alone, 1 attention alone", ylabel="mAP on validation people (%)")
    ax.legend()
    return ax.figure


@figure_style()
def show_roc(
    curves: Mapping[str, tuple], points: Mapping[str, tuple] | None = None, title: str = "Same person?"
) -> Figure:
    """How many pairs of one person are accepted, at every rate of false accepts; the area below in the legend.

    ``curves``: method -> (false accept rates, true accept rates), both ascending in [0, 1]; ``points``: the same two for
    chosen thresholds, drawn as rings on top.
    """
    same_length(curves=curves)
    checked = {name: _shares(str(name), *rates, rising=True) for name, rates in curves.items()}
    smallest = min(float(false[false > 0].min(initial=0.1)) for false, _ in checked.values())
    low = float(10.0 ** np.floor(np.log10(max(smallest, 1e-6))))  # a logarithmic axis has no zero
    lines, rings = {}, {}
    for name, (false, true) in checked.items():
        label = f"{short(name, 36)}: area {np.trapezoid(true, false):.3f}"
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
    count = len(ranks)
    precision, recall = np.arange(1, count + 1) / (ranks + 1), np.arange(1, count + 1) / count
    before = np.where(ranks > 0, np.arange(count) / np.maximum(ranks, 1), 1.0)
    axes = new_figure(style.PAGE_WIDTH, 3.8, "Two average precisions of one list").subplots(1, 2, sharey=True)
    for ax, name, start in zip(axes, ("steps", "trapezoids"), (precision, before), strict=True):
        ax.set_title(f"{name}: AP = {(start + precision).mean() / 2:.3f}")
        for i in range(count):  # one area per hit, which stands at its right edge
            edges, heights = [recall[i] - 1 / count, recall[i]], [start[i], precision[i]]
            ax.fill_between(edges, heights, color=style.BLUE, alpha=0.18 if i % 2 else 0.3, linewidth=0)
            ax.plot(edges, heights, color=style.BLUE)
            if count <= 8:
                ax.text(recall[i], precision[i] + 0.02, f"{precision[i]:.2f}", ha="right", color=style.ORANGE)
        ax.plot(recall, precision, "o", color=style.BLUE, markersize=6)
        ax.set(xlim=(0, 1.04), ylim=(0, 1.12), xlabel="recall: share of the matches found")
        ax.grid()
    axes[0].set_ylabel("precision")
    return axes[0].figure


@figure_style()
def show_weights(weights: Any, title: str = "Channel weights", label: str = "weight") -> Figure:
    """The ten most positive and ten most negative entries of (C,) as bars, and how many of each sign there are."""
    values = to_array(weights).astype(np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"weights: expected finite values in one vector of shape (channels,), got {values.shape}")
    order = np.argsort(-values, kind="stable")
    top = [k for k in order[:10] if values[k] > 0]
    bottom = [k for k in order[-10:] if values[k] < 0]
    counted = f"{(values > 0).sum()} of {len(values)} channels above zero, {(values < 0).sum()} below"
    ax = new_figure(style.PAGE_WIDTH, 2.75, f"{title} \u00b7 {counted}").subplots()
    places = [*range(len(top)), *range(len(top) + 1, len(top) + 1 + len(bottom))]
    ax.bar(places[: len(top)], values[top], color=style.SERIES[0][0])
    ax.bar(places[len(top) :], values[bottom], color=style.SERIES[1][0], hatch="///", edgecolor="white", linewidth=0.5)
    ax.axhline(0, color=style.INK, linewidth=0.8)
    ax.set(xlabel="channel", ylabel=label)
    ax.set_xticks(places, [str(k) for k in (*top, *bottom)])
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

    ``samples``: name -> values of any shape; NaN ("no answer for this image") is left out and counted. ``label`` is that of
    the axis they share, with its unit or direction; ``limits`` default to the least and the largest value of all;
    ``marks``: name -> value at which a line crosses all histograms.
    """
    values = {str(name): to_array(v).astype(np.float64).ravel() for name, v in samples.items()}
    kept = {name: v[np.isfinite(v)] for name, v in values.items()}
    same_length(samples=kept)
    for name, sample in kept.items():
        same_length(**{f"finite values of {name}": sample})
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
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
        ax.annotate(text, (1, 0.5), (8, 0), size=style.SMALL, **place)
    axes[-1].set_xlabel(label)
    if marks:
        figure.legend(handles=axes[0].get_legend_handles_labels()[0], loc="outside lower left", ncols=4)
    return figure


def show_distance_histograms(
    same: Any, different: Any, thresholds: Mapping[str, float] | None = None, title: str = "Distances of pairs"
) -> Figure:
    """Distances of pairs of one person (n,) and of two people (m,), with thresholds (the first four are drawn).

    ``thresholds``: name -> distance up to which a pair is called the same person.
    """
    samples = {"pairs of one person": same, "pairs of two people": different}
    return show_distributions(samples, "distance, lower is closer", title, 60, marks=thresholds)


@figure_style()
def show_curves(found: Mapping[str, Any], axis: str = "probability") -> Figure:
    """Mean curves over pairs with their 95 % band, and those of random masks (dotted): a column for each method.

    ``found``: method -> :class:`casnkit.explain.faithfulness.Faithfulness`, of the same pairs; ``axis``: ``probability``,
    ``reciprocal_rank`` or ``average_precision``.
    """
    same_length(methods=found)
    heading = f"Deletion and insertion: {axis.replace('_', ' ')}, mean of {len(next(iter(found.values())).pairs)} pairs"
    note = "dotted: random masks of the same area; points: area minus theirs (good: deletion below 0, insertion above)"
    figure = new_figure(min(style.PAGE_WIDTH, 3.2 * max(2, len(found))), 6.0, heading, note)
    axes = figure.subplots(2, len(found), sharex=True, sharey=True, squeeze=False)
    for column, (name, curves) in enumerate(found.items()):
        for ax, kind, pixels in zip(axes[:, column], ("deletion", "insertion"), ("hidden", "shown"), strict=True):
            own, random = getattr(curves, kind), getattr(curves, f"random_{kind}")
            points = 100 * float(np.nanmean(own.auc(axis)) - np.nanmean(random.auc(axis)))
            _draw_curve(ax, own, axis, **series(column) | {"marker": ""})
            _draw_curve(ax, random, axis, color=style.GREY, linestyle=style.DOTTED)
            ax.set_title(f"{short(name, 24)}\n{kind}: {points:+.1f} points", size=style.SMALL)
            ax.set(xlim=(0, 1), xlabel=f"share of pixels {pixels}", ylabel="" if column else axis.replace("_", " "))
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            ax.grid()
    return figure


def _draw_curve(ax: Axes, curves: Any, axis: str, **look: Any) -> None:
    """Mean over pairs, and where the mean could lie by 1.96 standard errors."""
    values, shares = to_array(getattr(curves, axis)).astype(float), to_array(curves.shares)
    mean, count = np.nanmean(values, 0), np.maximum(np.isfinite(values).sum(0), 1)
    error = 1.96 * np.nanstd(values, 0) / np.sqrt(count)
    band = np.clip(mean - error, 0, 1), np.clip(mean + error, 0, 1)
    ax.fill_between(shares, *band, color=look["color"], alpha=0.15, linewidth=0)
    ax.plot(shares, mean, **look)


@figure_style()
def show_sanity(reports: Mapping[str, Any], limit: float = 0.5) -> Figure:
    """How much of a map stays as the network forgets, step by step; and beside another partner, or in the other order.

    ``reports``: method -> :class:`casnkit.explain.sanity.SanityReport`, all with the same steps; above the correlation
    ``limit`` a map is blind to what was taken away.
    """
    steps = {tuple(name for name, _ in report.steps) for report in reports.values()}
    if len(steps) != 1:
        raise ValueError(f"expected reports with the same steps, got {' and '.join(map(str, steps)) or 'none'}")
    figure = new_figure(style.PAGE_WIDTH, 4.9, "Sanity checks: correlation with the map of the trained network")
    ways, others = figure.subplots(1, 2, sharey=True, width_ratios=[2.2, 1])
    for k, (name, report) in enumerate(reports.items()):
        path = np.array([[1, 1, 1], *([v.mean, v.low, v.high] for _, v in report.steps)])
        beside = np.array([[v.value, v.low, v.high] for v in (report["partner"], report["order"])])
        for ax, values, joined in ((ways, path, {}), (others, beside, {"linestyle": ""})):
            places = np.arange(len(values)) + 0.12 * (k - (len(reports) - 1) / 2)
            ax.vlines(places, values[:, 1], values[:, 2], color=series(k)["color"], linewidth=1.4)
            ax.plot(places, values[:, 0], label=short(name, 36), **(series(k) | joined))
    ways.axhline(limit, color=style.INK, linewidth=1, linestyle=style.DASHED, zorder=0)
    for ax, names in ((ways, ["trained", *steps.pop()]), (others, ("another partner", "order turned"))):
        ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(None, 1.08))
        ax.set_xticks(range(len(names)), names, rotation=25, ha="right", rotation_mode="anchor")
        ax.grid(axis="y")
    ways.set(title="made random, one part after the other", ylabel="correlation")
    ways.set_xlabel(f"above the dashed line ({limit:g}) without the pair classifier, a map does not explain its score")
    others.set(title="asked something else")
    figure.legend(handles=ways.lines[: len(reports)], loc="outside lower left", ncols=3)
    return figure
