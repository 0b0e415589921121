"""The equations in pictures: channels, their weights, indicators, row profiles step by step, distributions.

Each function shows one intermediate result of :mod:`casnkit.attention`, given as plain arrays or tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..attention import attention_distance, crop_bounds
from .difference import OWN_MAXIMUM
from .inputs import as_image, as_map, same_length, to_array
from .maps import overlay
from .pairs import aligned_rows, draw_profile
from .style import (
    ATTENTION_COLOURS,
    DIFFERENCE_COLOURS,
    INK,
    LARGE,
    LIGHT,
    LINE,
    MARGIN,
    NORMAL,
    PAGE_WIDTH,
    SERIES,
    colour_bar,
    ends_inside,
    figure_style,
    frame,
    new_figure,
    panel,
    picture_panel,
    text_width,
    wrap,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP = 0.11  # inches between tiles
_STEP_WIDTH, _STEP_GAP = 1.2, 0.4  # inches: panels of a row profile and the space between them


def show_channels(
    image: Any,
    maps: Sequence[Any],
    captions: Sequence[str],
    columns: int = 8,
    signed: bool = False,
    title: str = "Channels",
) -> Figure:
    """An image and maps of it, all on one scale: channels of A, or sums of them.

    Args:
        image: shown first.
        maps: N maps (h, w). Unsigned ones lie over the image; signed ones stand alone in diverging colours, whose
            limits are symmetric.
        captions: one short line for each map.
        columns: pictures per line, the image among them.
        signed: whether negative values count; without it they are drawn as zero.
        title: heading; the scale is added to it.

    Raises:
        ValueError: no map, another number of captions, wrong shapes, NaN.
    """
    picture, values = as_image(image), [as_map(m, f"map {i}") for i, m in enumerate(maps)]
    same_length(maps=values, captions=captions)
    if not values or columns < 2:
        raise ValueError(f"expected at least one map and two columns, got {len(values)} and {columns}")
    limit = float(max(np.abs(v).max() if signed else v.max() for v in values)) or 1.0
    with figure_style():
        return _draw_channels(picture, values, list(captions), min(columns, len(values) + 1), signed, limit, title)


def _draw_channels(
    picture: np.ndarray,
    maps: list[np.ndarray],
    captions: list[str],
    columns: int,
    signed: bool,
    limit: float,
    title: str,
) -> Figure:
    heading = f"{title} \u00b7 one scale for all maps"
    tile = min(1.2, (PAGE_WIDTH - 2 * MARGIN - _GAP * (columns - 1)) / columns)
    tall = tile * min(3.0, picture.shape[0] / picture.shape[1])
    wide = tall * picture.shape[1] / picture.shape[0]
    lines, step = math.ceil((len(maps) + 1) / columns), tall + LINE + _GAP + 0.06
    width = max(2 * MARGIN + columns * (tile + _GAP) - _GAP, text_width(heading, LARGE, True) + 2 * MARGIN)
    width = min(PAGE_WIDTH, width)
    figure = new_figure(width, MARGIN + 0.38 + lines * step + 0.5)
    write(figure, MARGIN, MARGIN, heading, width - 2 * MARGIN, LARGE, weight="bold")
    for i, (values, caption) in enumerate(zip([None, *maps], ["image", *captions], strict=True)):
        left = MARGIN + (i % columns) * (tile + _GAP)
        top = MARGIN + 0.38 + (i // columns) * step
        corner = left + (tile - wide) / 2
        if values is None or not signed:
            shown = picture if values is None else overlay(picture, values, vmax=limit)
            picture_panel(figure, corner, top, wide, tall, shown)
        else:
            _draw_signed(panel(figure, corner, top, wide, tall), values, limit)
        write(figure, left + tile / 2, top + tall + 0.05, caption, tile + _GAP / 2, align="center")
    bar = colour_bar(
        figure,
        MARGIN,
        MARGIN + 0.38 + lines * step + 0.06,
        2.4,
        0.11,
        DIFFERENCE_COLOURS if signed else ATTENTION_COLOURS,
    )
    bar.set_xticks([0, 0.5, 1] if signed else [0, 1])
    bar.set_xticklabels([f"\u2212{limit:.2g}", "0", f"+{limit:.2g}"] if signed else ["0", f"{limit:.2g}"])
    ends_inside(bar)
    return figure


def _draw_signed(ax: Axes, values: np.ndarray, limit: float) -> None:
    ax.imshow(values, cmap=DIFFERENCE_COLOURS, vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto")
    ax.set(xticks=[], yticks=[])
    frame(ax, LIGHT, "-", 0.8)


def show_weights(weights: Any, count: int = 10, title: str = "Channel weights", label: str = "weight") -> Figure:
    """The most positive and the most negative entries of a vector as bars, and how many of each sign there are.

    Args:
        weights: (C,).
        count: bars for each sign, at most.
        title: heading.
        label: of the y axis.

    Raises:
        ValueError: not one vector, or values that are not finite.
    """
    values = _vector(weights, "weights")
    order = np.argsort(-values, kind="stable")
    top = [int(k) for k in order[:count] if values[k] > 0]
    bottom = [int(k) for k in order[::-1][:count] if values[k] < 0][::-1]
    places = [*range(len(top)), *range(len(top) + 1, len(top) + 1 + len(bottom))]
    counted = f"{(values > 0).sum()} of {len(values)} channels above zero, {(values < 0).sum()} below"
    with figure_style():
        figure = new_figure(PAGE_WIDTH, 2.75)
        write(figure, MARGIN, MARGIN, f"{title} \u00b7 {counted}", PAGE_WIDTH - 2 * MARGIN, LARGE, weight="bold")
        ax = panel(figure, 0.95, 0.55, PAGE_WIDTH - 1.15, 1.55)
        for chosen, where, series in ((top, places[: len(top)], 0), (bottom, places[len(top) :], 1)):
            hatch = "///" if series else None
            ax.bar(where, values[chosen], color=SERIES[series][0], hatch=hatch, edgecolor="white", linewidth=0.5)
        ax.axhline(0, color=INK, linewidth=0.8)
        ax.set(xlim=(-0.8, max(len(places), 1) + 0.8), xlabel="channel", ylabel=label)
        ax.set_xticks(places, [str(k) for k in (*top, *bottom)])
        ax.yaxis.get_major_locator().set_params(nbins=4)
    return figure


def show_distributions(
    samples: Mapping[str, Any],
    label: str,
    title: str = "Distribution",
    bins: int = 40,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Histograms of several samples under each other on one axis, each with its median.

    Args:
        samples: name -> values of any shape. NaN ("no answer for this image") is left out and counted.
        label: of the axis they share, with its unit or direction.
        title: heading.
        bins: of each histogram.
        limits: of the axis; default: from the least to the largest value of all samples.

    Raises:
        ValueError: no sample, or one without a finite value.
    """
    values = {str(name): to_array(v).astype(np.float64).ravel() for name, v in samples.items()}
    kept = {name: v[np.isfinite(v)] for name, v in values.items()}
    if not kept or not all(v.size for v in kept.values()):
        empty = ", ".join(name for name, v in kept.items() if not v.size)
        raise ValueError(f"expected samples with finite values, got none{f' for {empty}' if empty else ''}")
    low, high = limits or (min(v.min() for v in kept.values()), max(v.max() for v in kept.values()))
    high = high if high > low else low + 1
    edges, decimals = np.linspace(low, high, bins + 1), max(0, 3 - math.floor(math.log10(high - low)))
    with figure_style():
        figure = new_figure(PAGE_WIDTH, MARGIN + 0.42 + 0.72 * len(kept) + 0.6)
        write(figure, MARGIN, MARGIN, title, PAGE_WIDTH - 2 * MARGIN, LARGE, weight="bold")
        for i, (name, sample) in enumerate(kept.items()):
            top, last = MARGIN + 0.42 + 0.72 * i, i == len(kept) - 1
            for j, line in enumerate(wrap(name, 1.95, 2)):
                write(figure, MARGIN, top + 0.12 + j * LINE, line, color=SERIES[i % len(SERIES)][0], weight="bold")
            ax = panel(figure, 2.3, top, 4.75, 0.6)
            _draw_histogram(ax, sample, edges, i)
            write(figure, 7.2, top + 0.12, f"median {np.median(sample):.{decimals}f}", 1.7)
            left_out = values[name].size - sample.size
            count = f"n = {sample.size}" + (f", {left_out} undefined" if left_out else "")
            write(figure, 7.2, top + 0.12 + LINE, count, 1.7)
            ax.set_xlabel(label) if last else ax.set_xticklabels([])
    return figure


def _draw_histogram(ax: Axes, sample: np.ndarray, edges: np.ndarray, number: int) -> None:
    counts, _ = np.histogram(np.clip(sample, edges[0], edges[-1]), edges)
    ax.stairs(counts / counts.max(), edges, fill=True, color=SERIES[number % len(SERIES)][0], alpha=0.75)
    ax.axvline(np.median(sample), color="white", linewidth=3)
    ax.axvline(np.median(sample), color=INK, linewidth=1.4, linestyle=(0, (4, 2)))
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.08), yticks=[])


def show_indicators(alpha: Any, labels: Sequence[str], title: str = "Indicator \u03b1") -> Figure:
    """Which channels are on, for several pairs: a row for each pair, a column for each channel, dark = on.

    Args:
        alpha: (P, C), zero and non-zero.
        labels: P short names.
        title: heading.

    Raises:
        ValueError: not two axes, or another number of labels.
    """
    on = to_array(alpha) != 0
    if on.ndim != 2 or 0 in on.shape:
        raise ValueError(f"expected indicators of shape (pairs, channels), got {on.shape}")
    same_length(pairs=on, labels=labels)
    order = np.argsort(-on.mean(0), kind="stable")
    row = 0.27
    with figure_style():
        figure = new_figure(PAGE_WIDTH, MARGIN + 0.42 + row * len(on) + 0.5)
        write(figure, MARGIN, MARGIN, title, PAGE_WIDTH - 2 * MARGIN, LARGE, weight="bold")
        ax = panel(figure, 2.2, MARGIN + 0.42, PAGE_WIDTH - 3.2, row * len(on))
        ax.imshow(on[:, order], cmap="Greys", vmin=0, vmax=1.15, aspect="auto", interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        for i, label in enumerate(labels):
            ax.axhline(i - 0.5, color="white", linewidth=2)
            top = MARGIN + 0.45 + row * i
            write(figure, MARGIN, top, label, 1.95)
            write(figure, PAGE_WIDTH - 0.9, top, f"{on[i].sum()} on", 0.8)
        write(figure, 2.2, MARGIN + 0.5 + row * len(on), "channels, those that are on most often first")
    return figure


def show_alignment(
    images: tuple[Any, Any],
    maps: tuple[Any, Any],
    threshold: float = 0.5,
    titles: tuple[str, str] = ("image 1", "image 2"),
    title: str = "From map to M*",
) -> Figure:
    """Equation 5 step by step (paper 3.2.2, figure 6): map, row-wise maximum, threshold and crop, resize, distance.

    Args:
        images: the two images.
        maps: the two maps (h, w).
        threshold: t, a share of each profile's own maximum, in [0, 1).
        titles: names of the two images.
        title: heading.

    Raises:
        ValueError: wrong shapes, NaN, a threshold out of range.
    """
    _check_threshold(threshold)
    pictures = [as_image(image) for image in images]
    values = [as_map(m, f"map {i + 1}") for i, m in enumerate(maps)]
    aligned = aligned_rows(values, threshold)
    heads = ("image", "map", "row maximum and t", "cropped", "resized: M*", "both")
    tall = 2.1
    with figure_style():
        figure = new_figure(PAGE_WIDTH, MARGIN + 0.68 + 2 * (tall + 0.5) + 0.1)
        heading = f"{title} \u00b7 t = {threshold:g} \u00b7 {OWN_MAXIMUM}"
        write(figure, MARGIN, MARGIN, heading, PAGE_WIDTH - 2 * MARGIN, LARGE, weight="bold")
        places = [0.2, 1.4, 2.85, 4.35, 5.85, 7.4]
        widths = [tall / 2, tall / 2, _STEP_WIDTH, _STEP_WIDTH, _STEP_WIDTH, 1.3]
        for left, wide, head in zip(places, widths, heads, strict=True):
            write(figure, left + wide / 2, MARGIN + 0.38, head, wide + _STEP_GAP, align="center")
        for i in range(2):
            top = MARGIN + 0.68 + i * (tall + 0.5)
            _draw_steps(figure, places, widths, top, tall, pictures[i], values[i], aligned[i], threshold, i)
            write(figure, 0.2, top + tall + 0.08, titles[i], 2.5, color=SERIES[i][0], weight="bold")
        top = MARGIN + 0.68 + (tall + 0.5) / 2
        ax = panel(figure, places[-1], top, widths[-1], tall)
        _draw_both(ax, aligned, threshold)
        text = f"\u2113\u2082 distance {_distance(values, threshold):.3f}"
        write(figure, places[-1] + widths[-1] / 2, top + tall + 0.28, text, 1.5, NORMAL, "center", weight="bold")
    return figure


def _draw_steps(
    figure: Figure,
    places: list[float],
    widths: list[float],
    top: float,
    tall: float,
    picture: np.ndarray,
    values: np.ndarray,
    aligned: np.ndarray,
    threshold: float,
    number: int,
) -> None:
    """One image's row of :func:`show_alignment`, without the panel that both share."""
    ratio = picture.shape[1] / picture.shape[0]
    wide = min(widths[0], tall * ratio)
    for left, shown in zip(places, (picture, overlay(picture, values)), strict=False):
        picture_panel(figure, left + (widths[0] - wide) / 2, top, wide, wide / ratio, shown)
    colour = SERIES[number][0]
    profile = values.max(1) / (values.max() or 1.0)
    ax = panel(figure, places[2], top, widths[2], tall)
    draw_profile(ax, values, picture.shape[0], threshold, values.max(), colour)
    first, last = (int(b) for b in crop_bounds(torch.from_numpy(profile)[None], threshold))
    for left, rows, entries in (
        (places[3], np.arange(first + 1, last + 2), profile[first : last + 1]),
        (places[4], np.arange(1, len(aligned) + 1), aligned),
    ):
        ax = panel(figure, left, top, widths[3], tall)
        ax.barh(rows, entries, height=0.86, color=colour)
        ax.set(xlim=(0, 1.04), ylim=(len(aligned) + 0.5, 0.5), xticks=[0, 1], yticks=sorted({rows[0], rows[-1]}))


def show_thresholds(
    maps: tuple[Any, Any], thresholds: Sequence[float] = (0.25, 0.5, 0.75), image_rows: int = 128
) -> Figure:
    """What t does: for each threshold the two profiles with their cuts, and the aligned profiles with their distance.

    Args:
        maps: the two maps (h, w).
        thresholds: up to three values in [0, 1).
        image_rows: H of the images, for the profiles' axis.

    Raises:
        ValueError: wrong shapes, NaN, no or too many thresholds, or one out of range.
    """
    if not 1 <= len(thresholds) <= 3:
        raise ValueError(f"expected one to three thresholds, got {len(thresholds)}")
    for threshold in thresholds:
        _check_threshold(threshold)
    values = [as_map(m, f"map {i + 1}") for i, m in enumerate(maps)]
    block, tall = (PAGE_WIDTH - 2 * MARGIN) / 3, 2.2
    with figure_style():
        figure = new_figure(2 * MARGIN + block * len(thresholds), MARGIN + 0.68 + tall + 0.55)
        for i, threshold in enumerate(thresholds):
            left = MARGIN + i * block
            text = f"t = {threshold:g}: distance {_distance(values, threshold):.3f}"
            write(figure, left, MARGIN, text, block - 0.1, NORMAL, weight="bold")
            for j, head in enumerate(("map 1", "map 2")):
                write(figure, left + 0.39 + 0.85 * j, MARGIN + 0.34, head, 0.8, align="center", color=SERIES[j][0])
                ax = panel(figure, left + 0.02 + 0.85 * j, MARGIN + 0.62, 0.74, tall)
                draw_profile(ax, values[j], image_rows, threshold, values[j].max(), SERIES[j][0])
            write(figure, left + 2.22, MARGIN + 0.34, "aligned", 1.0, align="center")
            ax = panel(figure, left + 1.8, MARGIN + 0.62, 0.85, tall)
            _draw_both(ax, aligned_rows(values, threshold), threshold)
            ax.set_yticks([])
    return figure


def _draw_both(ax: Axes, aligned: Sequence[np.ndarray], threshold: float) -> None:
    """Two aligned profiles, the area between them shaded."""
    rows = np.arange(1, len(aligned[0]) + 1)
    ax.fill_betweenx(rows, *aligned, color=LIGHT, linewidth=0)
    for profile, (colour, line, _) in zip(aligned, SERIES, strict=False):
        ax.plot(profile, rows, color=colour, linestyle=line, linewidth=2)
    ticks = {0.0: "0", threshold: "t", 1.0: "1"} if 0.2 < threshold < 0.8 else {0.0: "0", 1.0: "1"}
    ax.set(xlim=(0, 1.04), ylim=(len(rows) + 0.5, 0.5), yticks=sorted({1, len(rows)}))
    ax.set_xticks(list(ticks), list(ticks.values()))


def _distance(maps: list[np.ndarray], threshold: float) -> float:
    first, second = (torch.from_numpy(m)[None] for m in maps)
    return float(attention_distance(first, second, threshold))


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold < 1:
        raise ValueError(f"expected a threshold in [0, 1), a share of the maximum, got {threshold}")


def _vector(values: Any, name: str) -> np.ndarray:
    array = to_array(values).astype(np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name}: expected one vector of shape (channels,), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite values, found NaN or infinite ones")
    return array
