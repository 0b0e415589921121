"""The equations in pictures: channels, their weights, indicators, distributions.

Each function shows one intermediate result of :mod:`casnkit.attention`, given as plain arrays or tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import as_image, as_map, same_length, to_array
from .maps import overlay
from .style import (
    ATTENTION_COLOURS,
    DIFFERENCE_COLOURS,
    INK,
    LARGE,
    LIGHT,
    LINE,
    MARGIN,
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


def _vector(values: Any, name: str) -> np.ndarray:
    array = to_array(values).astype(np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name}: expected one vector of shape (channels,), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite values, found NaN or infinite ones")
    return array
