"""Thumbnails with their marks, the legend, and ranked lists in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .canvas import DASHED, DOTTED, GREY, INK, NORMAL, NOTE, SMALL, Canvas, fit, text_width
from .rankings import MARKS, Tile
from .style import BLUE, LIGHT, ORANGE

# status: colour, dash, width. The glyph and the line say it again without the colour.
LINES = {
    "correct": (BLUE, None, 3.0),
    "wrong": (ORANGE, DASHED, 3.0),
    "distractor": (INK, DOTTED, 2.5),
    "junk": (GREY, None, 1.5),
    "same_camera": (GREY, DASHED, 1.5),
    "unreadable": (INK, DOTTED, 1.5),
}
WIDTH, RIM = 96, 5  # of a thumbnail with its frame, and of the frame


def thumbnail_height(aspect: float, width: float = WIDTH) -> float:
    """Of a thumbnail with its frame, for pictures of that height over width; the same for a whole page."""
    return round(min(max(aspect, 0.75), 2.2) * (width - 2 * RIM)) + 2 * RIM


def draw_thumbnail(
    canvas: Canvas, left: float, top: float, size: tuple[float, float], pixels: np.ndarray, status: str,
    selected: bool = False, pinned: bool = False,
) -> None:  # fmt: skip
    """A picture in its frame with its glyph; pale where it does not count, on a dark ground where it is chosen."""
    width, height = size
    if selected:
        canvas.box((left, top, width, height), INK)
        canvas.box((left + 2, top + 2, width - 4, height - 4), "white")
    inside = fitted((left + RIM, top + RIM, width - 2 * RIM, height - 2 * RIM), pixels)
    canvas.box((left + RIM, top + RIM, width - 2 * RIM, height - 2 * RIM), "#F2F2F2")
    if status in ("junk", "same_camera", "unreadable"):
        pixels = (0.45 * pixels + 0.55 * 255).astype(np.uint8)
    canvas.picture(pixels, inside)
    colour, dash, weight = LINES[status]
    rim = (left + 2.5, top + 2.5, width - 5, height - 5)
    canvas.frame(rim, colour, weight, dash)
    _badge(canvas, left + 14, top + 14, MARKS[status][0], colour)
    if pinned:
        _badge(canvas, left + width - 14, top + 14, "◆", INK)


def thumbnail(
    pixels: np.ndarray, status: str, height: float, selected: bool = False, pinned: bool = False, width: float = WIDTH
) -> bytes:
    """:func:`draw_thumbnail` as PNG."""
    canvas = Canvas(width, height)
    draw_thumbnail(canvas, 0, 0, (width, height), pixels, status, selected, pinned)
    return canvas.png()


def plain(pixels: np.ndarray, width: float, height: float, colour: str = INK) -> bytes:
    """A picture in a thin frame, as large as fits, as PNG."""
    canvas = Canvas(width, height)
    box = fitted((1, 1, width - 2, height - 2), pixels)
    canvas.picture(pixels, box)
    canvas.frame((box[0] - 1, box[1] - 1, box[2] + 2, box[3] + 2), colour, 2)
    return canvas.png()


def legend(width: float = 1120) -> bytes:
    """Every mark with its frame and its words."""
    canvas, left = Canvas(width, 24), 2.0
    for status, (glyph, words) in MARKS.items():
        colour, dash, weight = LINES[status]
        canvas.frame((left, 5, 26, 15), colour, weight, dash)
        canvas.text(left + 13, 13, glyph, SMALL, colour, True, "mm")
        canvas.text(left + 32, 13, words, SMALL, NOTE, anchor="lm")
        left += 32 + text_width(words) + 16
    canvas.text(left - 4, 13, "(– = ! do not count)", SMALL, NOTE, anchor="lm")
    left += text_width("(– = ! do not count)") + 16
    for glyph, words in (("", "chosen"), ("◆", "pinned")):
        canvas.frame((left, 5, 18, 15), INK, 2)
        canvas.text(left + 9, 13, glyph, SMALL, INK, True, "mm")
        canvas.text(left + 24, 13, words, SMALL, NOTE, anchor="lm")
        left += 24 + text_width(words) + 14
    return canvas.png()


def strips(
    rows: Sequence[tuple[str, str, Sequence[tuple[Tile, np.ndarray]]]], width: float = 1120, columns: int = 10
) -> bytes:
    """Ranked lists one under the other: (name, a line of numbers, tiles with their pictures) for each."""
    step = width / columns
    wide = min(WIDTH, step - 8)
    aspects = [pixels.shape[0] / pixels.shape[1] for _, _, tiles in rows for _, pixels in tiles] or [2.0]
    tall = thumbnail_height(float(np.median(aspects)), wide)
    canvas = Canvas(width, len(rows) * (tall + 62))
    for number, (name, line, tiles) in enumerate(rows):
        top = number * (tall + 62)
        shown = fit(name, width / 2, NORMAL, True)
        canvas.text(2, top + 4, shown, NORMAL, INK, True)
        canvas.text(2 + text_width(shown, NORMAL, True) + 14, top + 5, line, SMALL, NOTE, width=width / 2)
        for column, (tile, pixels) in enumerate(tiles[:columns]):
            left = column * step
            draw_thumbnail(canvas, left, top + 26, (wide, tall), pixels, tile.status)
            text = f"{tile.label}  {tile.distance:.3f}"
            canvas.text(left + wide / 2, top + 28 + tall, text, SMALL, LINES[tile.status][0], anchor="ma")
    return canvas.png()


def fitted(box: tuple[float, float, float, float], pixels: np.ndarray) -> tuple[float, float, float, float]:
    """The largest box of the picture's shape within ``box``, centred."""
    left, top, width, height = box
    rows, columns = pixels.shape[:2]
    scale = min(width / columns, height / rows)
    wide, tall = columns * scale, rows * scale
    return left + (width - wide) / 2, top + (height - tall) / 2, wide, tall


def _badge(canvas: Canvas, x: float, y: float, glyph: str, colour: str) -> None:
    canvas.disc(x, y, 9, "white")
    canvas.disc(x, y, 8, colour)
    canvas.text(x, y, glyph, SMALL, "white", True, "mm")


__all__ = ["LIGHT", "LINES", "WIDTH", "draw_thumbnail", "legend", "plain", "strips", "thumbnail", "thumbnail_height"]
