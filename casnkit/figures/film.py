"""Training as pictures: where the network looks from epoch to epoch, and the curves beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .curves import _TERMS, _dress, _number
from .difference import OWN_MAXIMUM
from .inputs import as_image, same_length
from .maps import overlay
from .style import (
    ATTENTION_COLOURS,
    LARGE,
    LINE,
    MARGIN,
    NORMAL,
    NOTE,
    PAGE_WIDTH,
    SERIES,
    SMALL,
    colour_bar,
    figure_style,
    new_figure,
    panel,
    text_width,
    wrap,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP, _BREAK = 0.05, 0.2  # inches between tiles, and between groups of rows
_WIDEST, _TALLEST = 0.8, 1.12  # inches of a tile
_VALIDATION = {"validation_mean_ap": "mAP", "validation_rank_1": "rank-1"}
_PANELS = {**{name: {name: heading} for name, heading in _TERMS.items()}, "validation (%)": _VALIDATION}


def show_film(
    images: Sequence[Any],
    maps_by_epoch: Sequence[Sequence[Any]],
    epochs: Sequence[int],
    title: str = "Attention by epoch",
    labels: Sequence[str] | None = None,
    columns: int = 10,
    room: int = 0,
    group: int = 2,
    pixels: int = 200,
) -> Figure:
    """A film strip: one row per image, one column per epoch, each map by its own maximum.

    Args:
        images: N images.
        maps_by_epoch: for each epoch the N maps, (h, w) each; any number of epochs, also none.
        epochs: the epochs' numbers.
        title: heading.
        labels: N row labels.
        columns: so many epochs are shown at most, evenly spread, the first and the last among them.
        room: columns whose place is kept where there are fewer epochs, so that a growing strip keeps its size.
        group: rows that belong together, e.g. 2 for pairs; a gap stands between groups.
        pixels: the strip's own resolution per inch; 100 is enough for a quick look and faster.

    Raises:
        ValueError: no images, other numbers of maps or labels than images or of epochs, wrong shapes, NaN.
    """
    pictures = [as_image(image, f"image {i}") for i, image in enumerate(images)]
    if not pictures or columns < 1 or group < 1:
        raise ValueError(f"expected images, columns and groups, got {len(pictures)}, {columns} and {group}")
    labels = [""] * len(pictures) if labels is None else list(labels)
    same_length(images=pictures, labels=labels)
    same_length(epochs=epochs, maps=maps_by_epoch)
    for epoch, maps in zip(epochs, maps_by_epoch, strict=True):
        same_length(images=pictures, **{f"maps of epoch {epoch}": maps})
    chosen = spread_evenly(len(epochs), columns)
    frames = [maps_by_epoch[i] for i in chosen]
    with figure_style():
        heads = [str(epochs[i]) for i in chosen]
        return _draw_film(pictures, frames, heads, f"{title} · {OWN_MAXIMUM}", labels, room, group, pixels)


def spread_evenly(count: int, most: int) -> list[int]:
    """At most ``most`` places in 0 .. count - 1, evenly spread: the first and last among them (the last, if one)."""
    if most == 1:
        return list(range(count))[-1:]
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _draw_film(
    pictures: list[np.ndarray],
    frames: Sequence[Sequence[Any]],
    heads: list[str],
    title: str,
    labels: list[str],
    room: int,
    group: int,
    pixels: int,
) -> Figure:
    count = 1 + max(len(frames), room)
    longest = max(text_width(label) for label in labels)
    label_width = min(0.95, longest + 0.12) if longest else 0.0
    shape = min(3.0, max(p.shape[0] / p.shape[1] for p in pictures))
    space = (PAGE_WIDTH - 2 * MARGIN - label_width - _BREAK - _GAP * (count - 1)) / count
    tile = min(_WIDEST, _TALLEST / shape, space)
    strip = _strip(pictures, frames, tile, tile * shape, count, group, pixels)
    wide, tall = strip.shape[1] / pixels, strip.shape[0] / pixels
    whole = 2 * MARGIN + label_width + wide
    width = max(whole, min(PAGE_WIDTH, text_width(title, LARGE, True) + 2 * MARGIN))
    left, top = MARGIN + label_width + (width - whole) / 2, MARGIN + 0.36 + 2 * LINE + 0.04
    figure = new_figure(width, top + tall + 0.62 + MARGIN)
    write(figure, MARGIN, MARGIN, title, width - 2 * MARGIN, LARGE, weight="bold")
    ax = panel(figure, left, top, wide, tall)
    ax.imshow(strip, aspect="auto", interpolation="antialiased")
    ax.set_axis_off()
    places = [_left(column, tile) for column in range(1 + len(frames))]
    write(figure, left, top - LINE - 0.02, "image")
    for place, head in zip(places[1:], heads, strict=True):
        write(figure, left + place + tile / 2, top - LINE - 0.02, head, tile + _GAP, align="center")
    if heads:
        write(figure, left + places[1], top - 2 * LINE - 0.02, "epoch", color=NOTE)
    for i, label in enumerate(labels):
        lines = wrap(label, label_width - 0.06, 3) if label else []
        down = top + _top(i, tile * shape, group) + tile * shape / 2 - LINE * len(lines) / 2
        for j, text in enumerate(lines):
            write(figure, left - label_width, down + j * LINE, text)
    middle = left + wide / 2
    colour_bar(figure, middle - 1.1, top + tall + 0.1, 2.2, 0.11, ATTENTION_COLOURS)
    write(figure, middle, top + tall + 0.44, "share of maximum", align="center")
    return figure


def _strip(
    pictures: list[np.ndarray],
    frames: Sequence[Sequence[Any]],
    tile: float,
    height: float,
    count: int,
    group: int,
    pixels: int,
) -> np.ndarray:
    """All tiles in one picture: a panel for each of sixty would take seconds to draw. Sizes in inches."""
    rows = round(pixels * (_top(len(pictures) - 1, height, group) + height))
    strip = np.full((rows, round(pixels * (_left(count - 1, tile) + tile)), 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        scale = pixels * min(tile / picture.shape[1], height / picture.shape[0])
        size = max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale))
        small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
        down = int(pixels * _top(i, height, group) + (pixels * height - size[1]) / 2)
        for column, shown in enumerate([small, *(overlay(small, maps[i]) for maps in frames)]):
            across = int(pixels * _left(column, tile) + (pixels * tile - size[0]) / 2)
            strip[down : down + size[1], across : across + size[0]] = shown
    return strip


def _left(column: int, tile: float) -> float:
    """The left edge of a column; the images themselves stand a little apart."""
    return column * (tile + _GAP) + (_BREAK - _GAP if column else 0)


def _top(row: int, height: float, group: int) -> float:
    return row * (height + _GAP) + row // group * (_BREAK - _GAP)


def show_progress(rows: Sequence[Mapping[str, Any]], epochs: int | None = None, title: str = "Training") -> Figure:
    """Loss terms, learning rate, speed and, where there is any, validation of one run by epoch.

    Args:
        rows: the run's log rows, as for :func:`casnkit.figures.show_losses`; ``validation_mean_ap`` and
            ``validation_rank_1`` (percent) may be in some rows only, their points are joined.
        epochs: the run's length, to which the axes reach from the start; None: as far as the rows go.
        title: heading.

    Raises:
        ValueError: no rows with anything to show.
    """
    rows = [row for row in rows if "epoch" in row]
    panels = {name: _points(rows, terms) for name, terms in _PANELS.items()}
    panels = {name: points for name, points in panels.items() if points}
    if not panels:
        raise ValueError(f"expected log rows with 'epoch' and some of {', '.join(_PANELS)}, got {len(rows)}")
    with figure_style():
        return _draw_progress(panels, max(epochs or 1, *(row["epoch"] for row in rows)), title)


def _points(rows: Sequence[Mapping[str, Any]], terms: Mapping[str, str]) -> dict[str, list[tuple[int, float]]]:
    """Epoch and value by term, without what is missing or not finite."""
    points = {t: [(row["epoch"], _number(row.get(t))) for row in rows] for t in terms}
    points = {t: [point for point in found if math.isfinite(point[1])] for t, found in points.items()}
    return {t: found for t, found in points.items() if found}


def _draw_progress(panels: Mapping[str, dict[str, list[tuple[int, float]]]], epochs: int, title: str) -> Figure:
    columns, gap_x, gap_y, tall = min(4 if len(panels) > 6 else 3, len(panels)), 0.56, 0.55, 1.15
    wide = (PAGE_WIDTH - 2 * MARGIN) / 4 - gap_x
    lines = math.ceil(len(panels) / columns)
    figure = new_figure(2 * MARGIN + columns * (wide + gap_x), MARGIN + 0.4 + lines * (tall + gap_y) + 0.14)
    write(figure, MARGIN, MARGIN, title, columns * (wide + gap_x), LARGE, weight="bold")
    for i, (name, points) in enumerate(panels.items()):
        left = MARGIN + 0.48 + (i % columns) * (wide + gap_x)
        down = MARGIN + 0.64 + (i // columns) * (tall + gap_y)
        write(figure, left, down - 0.25, _TERMS.get(name, name), wide + 0.05, NORMAL)
        ax = panel(figure, left, down, wide, tall)
        for number, (term, found) in enumerate(points.items()):
            _draw_line(ax, found, number, _VALIDATION.get(term))
        _dress(ax, name, last=i + columns >= len(panels))
        ax.set_xlim(1 - 0.03 * epochs, epochs + 0.03 * epochs)
    return figure


def _draw_line(ax: Axes, points: list[tuple[int, float]], number: int, label: str | None) -> None:
    colour, line, marker = SERIES[number]
    size = 3.5 if len(points) <= 15 else 0
    ax.plot(*zip(*points, strict=True), color=colour, linestyle=line, marker=marker, markersize=size, label=label)
    if label:
        ax.legend(loc="lower right", fontsize=SMALL, handlelength=2.2)


__all__ = ["show_film", "show_progress", "spread_evenly"]
