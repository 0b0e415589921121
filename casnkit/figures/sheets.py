"""Contact sheets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .inputs import as_image, same_length
from .style import LINE, MARGIN, PAGE_WIDTH, figure_style, new_figure, picture_panel, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP = 0.11  # inches between images


def show_batch(images: Sequence[Any], captions: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """A contact sheet: images in reading order, each with its caption below.

    Args:
        images: (N, H, W, 3) uint8 array, (N, 3, H, W) uint8 tensor, or a sequence of PIL images.
        captions: one short line each; None for none.
        columns: images per line.

    Raises:
        ValueError: no images, or another number of captions.
    """
    images = [as_image(image, f"image {i}") for i, image in enumerate(images)]
    if not images or columns < 1:
        raise ValueError(f"expected at least one image and one column, got {len(images)} and {columns}")
    captions = [""] * len(images) if captions is None else list(captions)
    same_length(images=images, captions=captions)
    columns = min(columns, len(images))
    with figure_style():
        tile = min(1.2, (PAGE_WIDTH - 2 * MARGIN - _GAP * (columns - 1)) / columns)
        height = tile * min(3.0, max(image.shape[0] / image.shape[1] for image in images))
        step = height + _GAP + (LINE + 0.04 if any(captions) else 0)
        lines = math.ceil(len(images) / columns)
        figure = new_figure(2 * MARGIN + columns * tile + (columns - 1) * _GAP, 2 * MARGIN + lines * step - _GAP)
        for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
            left, top = MARGIN + (i % columns) * (tile + _GAP), MARGIN + (i // columns) * step
            scale = min(tile / image.shape[1], height / image.shape[0])
            wide, tall = image.shape[1] * scale, image.shape[0] * scale
            picture_panel(figure, left + (tile - wide) / 2, top + height - tall, wide, tall, image)
            write(figure, left + tile / 2, top + height + 0.05, caption, tile, align="center")
    return figure
