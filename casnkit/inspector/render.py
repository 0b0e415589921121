"""The pair's picture: image, map and row profile of both, the aligned profiles, and the difference of the maps.

One row for each pair; everything in a row has the height of the images, so a bar of a profile lies beside the pixels that
it speaks of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib
import numpy as np

from casnkit.figures import map_limits, overlay, upsample

from .canvas import DASHED, GREY, INK, LARGE, NORMAL, NOTE, SCALE, SMALL, Canvas, text_width
from .pairs import Agreement, Rows
from .style import DIFFERENCE_COLOURS, LIGHT, SERIES

PAGE = 1120.0  # width on the page
TALL, SEVERAL = 292.0, 232.0  # of the images: one row, several rows
PROFILE, ALIGNED, DIFFERENCE = 84.0, 128.0, 94.0
NEAR, SIDE, FAR, LABEL = 8.0, 26.0, 34.0, 24.0
HEAD, FOOT = 62.0, 44.0  # above and below the images
COLOURS = tuple(colour for colour, _, _ in SERIES[:2])


@dataclass(frozen=True, eq=False)
class Look:
    """How the maps are shown: colour map, opacity, threshold t, ``own maximum`` or ``shared``."""

    colours: str = "inferno"
    opacity: float = 0.55
    threshold: float = 0.5
    normalisation: str = "own maximum"


@dataclass(frozen=True, eq=False)
class PairPicture:
    """One row of the picture.

    Attributes:
        images: two (H, W, 3) uint8.
        maps: two (h, w), not normalised; clipped at zero where they are signed.
        titles: of the two images.
        heading: of the row.
        mark: glyph, colour and words of the verdict.
        rows: equation 5.
        agreement: of the maps, or None.
    """

    images: tuple[np.ndarray, np.ndarray]
    maps: tuple[np.ndarray, np.ndarray]
    titles: tuple[str, str]
    heading: str
    mark: tuple[str, str, str]
    rows: Rows
    agreement: Agreement | None


def draw_pairs(pairs: Sequence[PairPicture], look: Look, width: float = PAGE, brief: bool = False) -> bytes:
    """All rows in one PNG; ``brief``: without the difference of the maps."""
    if brief:
        pairs = [replace(pair, agreement=None) for pair in pairs]
    tallest = TALL if len(pairs) == 1 else SEVERAL
    heights = [min(tallest, _height(pair, width)) for pair in pairs]
    canvas = Canvas(width, sum(h + HEAD + FOOT for h in heights))
    top = 0.0
    for pair, height in zip(pairs, heights, strict=True):
        _draw_pair(canvas, pair, look, top, height)
        top += HEAD + height + FOOT
    return canvas.png()


def _height(pair: PairPicture, width: float) -> float:
    ratios = sum(image.shape[1] / image.shape[0] for image in pair.images)
    fixed = 4 * NEAR + 2 * PROFILE + SIDE + FAR + ALIGNED + 2 + (FAR + DIFFERENCE if pair.agreement else 0)
    return max(90.0, min(TALL, (width - fixed) / (2 * ratios)))


def _draw_pair(canvas: Canvas, pair: PairPicture, look: Look, top: float, height: float) -> None:
    glyph, colour, words = pair.mark
    canvas.text(2, top + 2, pair.heading, LARGE, INK, True, width=canvas.width / 2)
    left = 2 + min(text_width(pair.heading, LARGE, True), canvas.width / 2) + 16
    canvas.text(left, top + 2, glyph, LARGE, colour, True)
    canvas.text(left + 20, top + 4, words, NORMAL, INK, width=canvas.width - left - 24)
    limits = map_limits(*(np.maximum(m, 0) for m in pair.maps), look.normalisation)
    left, body = 1.0, top + HEAD
    for side in range(2):
        left = _draw_side(canvas, pair, look, limits[side], side, left, body, height) + SIDE
    left += FAR - SIDE
    _draw_aligned(canvas, pair.rows, look.threshold, left, body, height)
    if pair.agreement:
        _draw_difference(canvas, pair, left + ALIGNED + FAR, body, height)


def _draw_side(
    canvas: Canvas, pair: PairPicture, look: Look, limit: float, side: int, left: float, top: float, height: float
) -> float:
    """Image, map and profile of one image; returns the right edge."""
    image, attention = pair.images[side], np.maximum(pair.maps[side], 0)
    width = height * image.shape[1] / image.shape[0]
    canvas.text(left, top - 38, pair.titles[side], SMALL, COLOURS[side], True, width=2 * width + 2 * NEAR + PROFILE)
    canvas.picture(image, (left, top, width, height))
    canvas.frame((left, top, width, height), LIGHT)
    canvas.text(left + width / 2, top - 18, "image", SMALL, NOTE, anchor="ma")
    left += width + NEAR
    _draw_map(canvas, image, attention, look, limit, (left, top, width, height))
    canvas.text(left + width / 2, top - 18, "map", SMALL, NOTE, anchor="ma")
    first, last = pair.rows.bounds[side]
    count = len(pair.rows.profiles[side])
    edges = [top + height * first / count, top + height * (last + 1) / count]
    right = left + width + NEAR + PROFILE
    _draw_profile(canvas, pair, look, limit, side, (left + width + NEAR, top, PROFILE, height))
    for edge in edges:
        canvas.line([(left, edge), (left + width, edge)], "white", 1.4, DASHED)
        canvas.line([(left + width + 1, edge), (right, edge)], INK, 1)
    return right


def _draw_map(canvas: Canvas, image: np.ndarray, attention: np.ndarray, look: Look, limit: float, box: tuple) -> None:
    """The map over the image, the contour of t, and the colour bar below."""
    left, top, width, height = box
    size = max(1, round(width * SCALE)), max(1, round(height * SCALE))
    from PIL import Image

    pixels = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    shown = overlay(pixels, attention, look.opacity, look.colours, limit)
    level = look.threshold * attention.max()
    if attention.max() > 0:
        shown = _contour(shown, upsample(attention, size[1], size[0]) > level)
    canvas.picture(shown, box)
    canvas.frame(box, LIGHT)
    ramp = _colours(look.colours, np.linspace(0, 1, 128))[None]
    canvas.picture(ramp, (left, top + height + 7, width, 9))
    canvas.frame((left, top + height + 7, width, 9), GREY)
    canvas.text(left, top + height + 19, "0", SMALL, NOTE)
    canvas.text(left + width, top + height + 19, "max" if look.normalisation == "own maximum" else "shared max",
                SMALL, NOTE, anchor="ra")  # fmt: skip


def _contour(pixels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A white line with a dark rim around the places that are inside."""
    pixels = pixels.copy()
    core = _edge(inside)
    pixels[_grown(core)] = (20, 20, 20)
    pixels[core] = (255, 255, 255)
    return pixels


def _edge(inside: np.ndarray) -> np.ndarray:
    edge = np.zeros_like(inside)
    edge[1:] |= inside[1:] != inside[:-1]
    edge[:, 1:] |= inside[:, 1:] != inside[:, :-1]
    return edge


def _grown(mask: np.ndarray) -> np.ndarray:
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out


def _draw_profile(canvas: Canvas, pair: PairPicture, look: Look, limit: float, side: int, box: tuple) -> None:
    """Row maxima as bars, each beside its rows; those outside first .. last row above t are pale."""
    left, top, width, height = box
    profile, (first, last) = pair.rows.profiles[side], pair.rows.bounds[side]
    largest = float(np.maximum(pair.maps[side], 0).max())
    share = largest / limit if limit > 0 else 0.0
    step = height / len(profile)
    canvas.text(left + width / 2, top - 18, "row maximum", SMALL, NOTE, anchor="ma")
    for row, value in enumerate(profile):
        colour = COLOURS[side] if first <= row <= last else LIGHT
        canvas.box((left, top + row * step + step * 0.08, width * float(value) * share, step * 0.84), colour)
    at = left + width * look.threshold * share
    canvas.line([(at, top), (at, top + height)], "white", 3)
    canvas.line([(at, top), (at, top + height)], INK, 1.2, DASHED)
    canvas.line([(left, top), (left, top + height)], GREY, 1)
    canvas.text(at, top + height + 4, "t", SMALL, INK, anchor="ma")
    if share:
        canvas.text(left, top + height + 19, f"rows {first + 1}–{last + 1} of {len(profile)}", SMALL, NOTE)
    else:
        canvas.text(left + width / 2, top + height / 2, "map is 0", SMALL, NOTE, anchor="mm")


def _draw_aligned(canvas: Canvas, rows: Rows, threshold: float, left: float, top: float, height: float) -> None:
    """Both profiles cropped and stretched to the same rows; the area between them is what the loss punishes."""
    canvas.text(left + ALIGNED / 2, top - 38, "aligned rows M*", SMALL, INK, True, "ma")
    canvas.text(left + ALIGNED / 2, top - 18, f"ℓ₂ distance {rows.distance:.3f}", SMALL, NOTE, anchor="ma")
    canvas.box((left, top, ALIGNED, height), "#FAFAFA")
    count = len(rows.aligned[0])
    down = [top + height * (k + 0.5) / count for k in range(count)]
    lines = [[(left + 4 + (ALIGNED - 8) * float(v), y) for v, y in zip(p, down, strict=True)] for p in rows.aligned]
    if count > 1:
        canvas.polygon([*lines[0], *reversed(lines[1])], "#DDD6E4")
        canvas.line(lines[0], COLOURS[0], 2.2)
        canvas.line(lines[1], COLOURS[1], 2.2, DASHED)
    for line, colour in zip(lines, COLOURS, strict=True):
        for point in line:
            canvas.disc(*point, 2, colour)
    canvas.frame((left, top, ALIGNED, height), LIGHT)
    for share, text in ((0.0, "0"), (threshold, "t"), (1.0, "1")):
        if share in (0.0, 1.0) or 0.12 < share < 0.88:
            canvas.text(left + 4 + (ALIGNED - 8) * share, top + height + 4, text, SMALL, NOTE, anchor="ma")
    for number, (name, at) in enumerate((("query", 0.0), ("gallery", 62.0))):
        y = top + height + 28
        canvas.line([(left + at, y), (left + at + 16, y)], COLOURS[number], 2.2, DASHED if number else None)
        canvas.text(left + at + 20, y, name, SMALL, COLOURS[number], anchor="lm")


def _draw_difference(canvas: Canvas, pair: PairPicture, left: float, top: float, height: float) -> None:
    found = pair.agreement
    limit = float(np.abs(found.difference).max()) or 1.0
    width = min(DIFFERENCE, height * pair.images[0].shape[1] / pair.images[0].shape[0])
    canvas.text(left + DIFFERENCE / 2, top - 38, "difference", SMALL, INK, True, "ma")
    canvas.text(left + DIFFERENCE / 2, top - 18, "query − gallery", SMALL, NOTE, anchor="ma")
    box = (left + (DIFFERENCE - width) / 2, top, width, height)
    canvas.picture(_colours(DIFFERENCE_COLOURS, found.difference / (2 * limit) + 0.5), box, smooth=False)
    canvas.frame(box, LIGHT)
    canvas.text(left + DIFFERENCE / 2, top + height + 4, f"IoU at t {found.iou:.2f}", SMALL, INK, anchor="ma")
    text = f"correlation {found.correlation:.2f}"
    canvas.text(left + DIFFERENCE / 2, top + height + 22, text, SMALL, INK, anchor="ma")


def _colours(name: str, values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as (..., 3) uint8."""
    table = matplotlib.colormaps[name]
    return table(values, bytes=True)[..., :3]
