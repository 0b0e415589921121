"""One query beside its ranked gallery images, one after the other: the frames of a moving picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import as_image, as_map
from .maps import overlay
from .pairs import ALIGNED_WIDTH, draw_aligned
from .rankings import MARKS, draw_tile
from .style import (
    INK,
    LARGE,
    LINE,
    MARGIN,
    NORMAL,
    NOTE,
    PAGE_WIDTH,
    SERIES,
    figure_style,
    new_figure,
    picture_panel,
    write,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TALL, _NEAR, _FAR = 2.7, 0.09, 0.5  # inches: height of the pair, gap of image and map, gap to the next
_TILE, _TILE_GAP = 0.69, 0.17


def show_step(
    row: Mapping[str, Any],
    current: int,
    map_1: Any,
    map_2: Any,
    threshold: float = 0.5,
    title: str = "Where Siamese attention looks, partner by partner",
) -> Figure:
    """The query and one image of its ranking with their Siamese maps (paper 3.2), above the ranking itself.

    Args:
        row: as :func:`show_rankings` takes it: ``query_image``, ``gallery_images``, ``statuses`` ...
        current: place in the row of the gallery image that is shown large, from 0.
        map_1: (h, w) map of the query beside this partner, any scale.
        map_2: (h, w) map of the gallery image.
        threshold: t of equation 5.
        title: heading.

    Raises:
        ValueError: no such place in the row, wrong shapes, or maps that are not numbers.
    """
    if not 0 <= current < len(row["statuses"]):
        raise ValueError(f"expected a place in the row, 0 to {len(row['statuses']) - 1}, got {current}")
    gallery = [as_image(image, f"gallery image {i}") for i, image in enumerate(row["gallery_images"])]
    images = [as_image(row["query_image"], "query image"), gallery[current]]
    maps = [as_map(map_1, "map 1"), as_map(map_2, "map 2")]
    with figure_style():
        return _draw({**row, "gallery_images": gallery}, current, images, maps, threshold, title)


def _draw(
    row: Mapping[str, Any],
    current: int,
    images: list[np.ndarray],
    maps: list[np.ndarray],
    threshold: float,
    title: str,
) -> Figure:
    top = MARGIN + 0.36 + 2 * LINE + 0.12
    strip = top + _TALL + 0.8
    tall = _TILE * min(3.0, max(image.shape[0] / image.shape[1] for image in row["gallery_images"]))
    figure = new_figure(PAGE_WIDTH, strip + tall + 2 * LINE + 0.35)
    write(figure, MARGIN, MARGIN, title, PAGE_WIDTH - 2 * MARGIN, LARGE, weight="bold")
    left = MARGIN + 0.25
    glyph, colour, *_, said = MARKS[row["statuses"][current]]
    heads = ("query", f"number {current + 1}: {glyph} {said.partition(' (')[0]}")
    for number, (image, values) in enumerate(zip(images, maps, strict=True)):
        wide = _TALL * image.shape[1] / image.shape[0]
        head = SERIES[0][0] if number == 0 else colour
        write(figure, left, top - LINE - 0.1, heads[number], 2 * wide + 1.2, NORMAL, color=head, weight="bold")
        picture_panel(figure, left, top, wide, _TALL, image)
        picture_panel(figure, left + wide + _NEAR, top, wide, _TALL, overlay(image, values))
        left += 2 * wide + _NEAR + _FAR
    note = f"distance by features {row['distances'][current]:.3f}"
    write(figure, left - _FAR, top + _TALL + 0.1, note, 3.0, align="right", color=NOTE)
    draw_aligned(figure, PAGE_WIDTH - MARGIN - ALIGNED_WIDTH - 0.1, top, _TALL, maps, threshold)
    _ranking(figure, row, current, strip, tall)
    return figure


def _ranking(figure: Figure, row: Mapping[str, Any], current: int, top: float, tall: float) -> None:
    """The gallery images in their order; the one that is shown large stands under a bar."""
    left = MARGIN + 0.25
    for place, (image, status) in enumerate(zip(row["gallery_images"], row["statuses"], strict=True)):
        glyph, colour, line, weight, _ = MARKS[status]
        draw_tile(figure, left, top, _TILE, tall, image, (f"{place + 1} {glyph}", ""), (colour, line, weight))
        if place == current:
            write(figure, left + _TILE / 2, top - 0.17, "\u25bc", align="center", color=INK)
        left += _TILE + _TILE_GAP
    note = "the query's ranked gallery: \u2713 same person, \u2717 another, \u25cb a passer-by who is no query's person"
    write(figure, MARGIN + 0.25, top + tall + LINE + 0.17, note, PAGE_WIDTH - 2 * MARGIN, color=NOTE)
