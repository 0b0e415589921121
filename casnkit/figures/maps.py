"""Attention over images: overlays, the soft mask at work, and methods side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._optional import require
from .difference import OWN_MAXIMUM
from .inputs import as_image, as_map, as_mask, same_length, scaled, upsample
from .style import (
    ATTENTION_COLOURS,
    LARGE,
    LINE,
    MARGIN,
    MASK_COLOURS,
    PAGE_WIDTH,
    colour_bar,
    figure_style,
    new_figure,
    picture_panel,
    text_width,
    wrap,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP = 0.1  # inches between pictures


def overlay(
    image: Any, attention: Any, opacity: float = 0.55, colormap: str = ATTENTION_COLOURS, vmax: float | None = None
) -> np.ndarray:
    """An attention map laid over its image: (H, W, 3) uint8.

    Args:
        image: PIL image, (H, W, 3) uint8 array or (3, H, W) uint8 tensor.
        attention: (h, w) map of any scale; upsampled bilinearly, negative values are drawn as zero.
        opacity: share of the map in the mixture where the map is at two fifths of its range, in [0, 1]. It rises with
            the map, from 2/3 of ``opacity`` at zero to 3/2 of it (at most 1) at the maximum: the picture stays legible
            where the map is silent, and its peak stays the brightest colour on dark clothes.
        colormap: name of a matplotlib colour map.
        vmax: the value that gets the map's brightest colour; None: the map's own maximum. A zero map stays dark.

    Raises:
        ValueError: wrong shapes, NaN, or an opacity outside [0, 1].
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"expected an opacity in [0, 1], got {opacity}")
    pixels, values = as_image(image), scaled(as_map(attention), vmax)
    values = upsample(values, *pixels.shape[:2])
    share = np.minimum(opacity * (2 / 3 + 5 / 6 * values), 1)[:, :, None]
    return ((1 - share) * pixels + share * _coloured(values, colormap)).round().astype(np.uint8)


def _coloured(values: np.ndarray, colormap: str) -> np.ndarray:
    """(H, W) in [0, 1] -> (H, W, 3) in [0, 255]."""
    return require("matplotlib", "drawing figures").colormaps[colormap](values)[..., :3] * 255


def show_identification(
    image: Any,
    attention: Any,
    mask: Any,
    masked_image: Any,
    label_text: str | Sequence[str] = "",
    title: str | None = None,
) -> Figure:
    """Identification attention at work (paper 3.1, figure 4): image, map, soft mask, and what the mask leaves.

    Args:
        image: an image, or a list of images, one per row; then all other arguments are lists of that length too.
        attention: (h, w) raw map, or a list.
        mask: (H, W) soft mask in [0, 1] at the image's size, or a list.
        masked_image: the image without what the mask covers, or a list.
        label_text: whose score was differentiated, e.g. ``"id 12, p = 0.97"``, or a list.
        title: heading of the whole figure.

    Raises:
        ValueError: lists of different lengths, a mask of another size than its image, NaN.
    """
    several = isinstance(image, (list, tuple))
    columns = [list(value) if several else [value] for value in (image, attention, mask, masked_image, label_text)]
    same_length(images=columns[0], maps=columns[1], masks=columns[2], masked_images=columns[3], labels=columns[4])
    rows = []
    for image_, map_, mask_, masked, label in zip(*columns, strict=True):
        pixels = as_image(image_)
        soft = _coloured(as_mask(mask_, pixels), MASK_COLOURS).astype(np.uint8)
        rows.append((label, [pixels, overlay(pixels, map_), soft, as_image(masked, "masked image")]))
    heads = ["image", "attention", "soft mask S", "image \u00d7 (1 \u2212 S)"]
    bars = [(1, 1, ATTENTION_COLOURS, "share of maximum"), (2, 2, MASK_COLOURS, "mask value")]
    heading = title or "Identification attention"
    with figure_style():
        return _grid(rows, heads, f"{heading} \u00b7 {OWN_MAXIMUM}", bars)


def show_maps(
    images: Sequence[Any],
    maps_by_name: Mapping[str, Sequence[Any]],
    shared: bool | str = True,
    masks: Sequence[Any] | None = None,
    labels: Sequence[str] | None = None,
    title: str = "Attention maps",
) -> Figure:
    """Methods side by side: a row per image, a column per method; the person's outline where masks are given.

    Args:
        images: N images.
        maps_by_name: method -> N maps (h, w), each method in its own resolution if need be.
        shared: True: one scale for the whole grid; ``"method"``: one per column; False: each map by its own maximum.
            Which one was used stands in the heading.
        masks: N person masks (H, W), bool; None entries where there is none.
        labels: N row labels.
        title: heading.

    Raises:
        ValueError: nothing to show, other numbers of maps or masks than images, wrong shapes, NaN.
    """
    pictures = [as_image(image, f"image {i}") for i, image in enumerate(images)]
    if not pictures or not maps_by_name:
        raise ValueError(f"expected images and maps, got {len(pictures)} images and {len(maps_by_name)} methods")
    if shared not in (True, False, "method"):
        raise ValueError(f"expected shared to be True, False or 'method', got {shared!r}")
    masks = [None] * len(pictures) if masks is None else masks
    labels = [""] * len(pictures) if labels is None else labels
    same_length(images=pictures, masks=masks, labels=labels, **{f"maps of {k}": v for k, v in maps_by_name.items()})
    maps = {name: [as_map(values, f"map of {name}") for values in row] for name, row in maps_by_name.items()}
    largest = {name: max(float(values.max()) for values in row) for name, row in maps.items()}
    whole = max(largest.values())
    outlines = [None if m is None else as_mask(m, pictures[i], f"mask {i}") > 0.5 for i, m in enumerate(masks)]
    rows = []
    for i, picture in enumerate(pictures):
        limits = {name: {True: whole, "method": largest[name], False: None}[shared] for name in maps}
        rows.append((labels[i], [picture, *(overlay(picture, maps[n][i], vmax=limits[n]) for n in maps)]))
    how = {True: "one scale for all maps", "method": "one scale per method", False: OWN_MAXIMUM}[shared]
    bars = [(1, len(maps), ATTENTION_COLOURS, "share of maximum")]
    with figure_style():
        return _grid(rows, ["image", *maps], f"{title} \u00b7 {how}", bars, outlines)


def _grid(
    rows: list[tuple[str, list[np.ndarray]]],
    heads: list[str],
    title: str,
    bars: list[tuple[int, int, str, str]],
    outlines: Sequence[np.ndarray | None] = (),
) -> Figure:
    """Rows of pictures under column heads; ``bars``: first and last column over a colour bar, its colours, label."""
    count = len(heads)
    longest = max(text_width(label) for label, _ in rows)
    label_width = min(1.25, longest + 0.18) if longest else 0.0
    tile = min(1.45, (PAGE_WIDTH - 2 * MARGIN - label_width - _GAP * (count - 1)) / count)
    heights = [tile * min(3.0, max(p.shape[0] / p.shape[1] for p in pictures)) for _, pictures in rows]
    left = MARGIN + label_width
    width = max(
        left + count * (tile + _GAP) - _GAP + MARGIN, min(PAGE_WIDTH, text_width(title, LARGE, True) + 2 * MARGIN)
    )
    spare = width - MARGIN - left - count * (tile + _GAP) + _GAP  # beside the grid, where the heading is wider
    left += spare / 2
    head_lines = [wrap(head, tile + _GAP / 2, 2) for head in heads]
    top = MARGIN + 0.36 + LINE * max(map(len, head_lines)) + 0.06
    figure = new_figure(width, top + sum(heights) + _GAP * (len(rows) - 1) + 0.62 + MARGIN)
    write(figure, MARGIN, MARGIN, title, width - 2 * MARGIN, LARGE, weight="bold")
    for column, lines in enumerate(head_lines):
        for i, line in enumerate(lines):
            down = top - 0.06 - LINE * (len(lines) - i)
            write(figure, left + column * (tile + _GAP) + tile / 2, down, line, align="center")
    for i, ((label, pictures), height) in enumerate(zip(rows, heights, strict=True)):
        for j, text in enumerate(wrap(label, label_width - 0.1, 3) if label else []):
            write(figure, left - label_width, top + height / 2 - LINE + j * LINE, text)
        for column, picture in enumerate(pictures):
            scale = min(tile / picture.shape[1], height / picture.shape[0])
            wide, tall = picture.shape[1] * scale, picture.shape[0] * scale
            corner = left + column * (tile + _GAP) + (tile - wide) / 2
            ax = picture_panel(figure, corner, top + (height - tall) / 2, wide, tall, picture)
            if i < len(outlines) and outlines[i] is not None:
                draw_outline(ax, outlines[i])
        top += height + _GAP
    for first, last, colours, label in bars:
        centre = left + (first + last) / 2 * (tile + _GAP) + tile / 2
        wide = tile if first == last else min(2.4, 2 * tile)
        colour_bar(figure, centre - wide / 2, top + 0.02, wide, 0.11, colours)
        write(figure, centre, top + 0.36, label, wide + _GAP, align="center")
    return figure


def draw_outline(ax: Axes, mask: np.ndarray) -> None:
    """The contour of a (H, W) bool mask in pixels of ``ax``, white on black so that it shows on any picture."""
    if mask.all() or not mask.any():
        return
    padded = np.pad(mask.astype(float), 1)  # closes the line where the person is cut by the picture's edge
    rows, columns = (np.arange(-1, size + 1) + 0.5 for size in mask.shape)
    limits = ax.get_xlim(), ax.get_ylim()
    for colour, width in (("black", 2.4), ("white", 1.1)):
        ax.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=[width])
    ax.set(xlim=limits[0], ylim=limits[1])
