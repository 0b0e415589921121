"""Drawing straight into pixels: an interactive picture must be there in a few hundredths of a second.

Measures are in screen pixels of the page; the picture itself has :data:`SCALE` times as many, so that letters are sharp.
Colours, letters and marks are those of :mod:`casnkit.figures`, where the same pictures are drawn for paper.
"""

from __future__ import annotations

import functools
import io
import itertools
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.font_manager as fonts
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .style import GREY, INK, NOTE

SCALE = 1.5
SMALL, NORMAL, LARGE = 12.5, 13.5, 15.5  # pixels; nothing is smaller than 12
DASHED, DOTTED = (6, 4), (2, 3)

Box = tuple[float, float, float, float]  # left, top, width, height


class Canvas:
    """A white picture of so many screen pixels."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.image = Image.new("RGB", (_px(width), _px(height)), "white")
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = SMALL,
        colour: str = INK,
        bold: bool = False,
        anchor: str = "la",
        width: float | None = None,
    ) -> None:
        """One line; ``anchor`` as in PIL (``la``: left and top). Longer than ``width``, its middle becomes an ellipsis."""
        text = tidy(text) if width is None else fit(text, width, size, bold)
        self.draw.text((x * SCALE, y * SCALE), text, fill=colour, font=_font(size, bold), anchor=anchor)

    def picture(self, pixels: np.ndarray, box: Box, smooth: bool = True) -> None:
        """Put (H, W, 3) uint8 into ``box``; it is stretched to fill it."""
        left, top, width, height = (_px(v) for v in box)
        how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
        image = Image.fromarray(pixels)
        size = max(1, width), max(1, height)
        self.image.paste(image if image.size == size else image.resize(size, how), (left, top))

    def line(
        self,
        points: list[tuple[float, float]],
        colour: str = INK,
        width: float = 1,
        dash: tuple[float, float] | None = None,
    ) -> None:
        """A line through points, whole or dashed."""
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        if dash is None:
            self.draw.line(scaled, fill=colour, width=max(1, _px(width)), joint="curve")
            return
        left = 0.0
        for a, b in itertools.pairwise(scaled):
            left = self._dashes(a, b, colour, max(1, _px(width)), dash, left)

    def frame(self, box: Box, colour: str = GREY, width: float = 1, dash: tuple[float, float] | None = None) -> None:
        """A rectangle whose line lies inside ``box``."""
        x, y, w, h = box
        if dash is None:
            corner = (_px(x), _px(y), max(_px(x), _px(x + w) - 1), max(_px(y), _px(y + h) - 1))
            self.draw.rectangle(corner, outline=colour, width=max(1, _px(width)))
            return
        inset = width / 2
        corners = [(x + inset, y + inset), (x + w - inset, y + inset), (x + w - inset, y + h - inset)]
        corners += [(x + inset, y + h - inset), (x + inset, y + inset)]
        self.line(corners, colour, width, dash)

    def box(self, box: Box, colour: str) -> None:
        """A filled rectangle (left, top, width, height), in pixels of the page."""
        left, top, right, bottom = _px(box[0]), _px(box[1]), _px(box[0] + box[2]) - 1, _px(box[1] + box[3]) - 1
        if right >= left and bottom >= top:  # narrower than a pixel: nothing
            self.draw.rectangle((left, top, right, bottom), fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: str, outline: str | None = None) -> None:
        """A filled circle."""
        r = radius * SCALE
        corner = (x * SCALE - r, y * SCALE - r, x * SCALE + r, y * SCALE + r)
        self.draw.ellipse(corner, fill=colour, outline=outline)

    def polygon(self, points: list[tuple[float, float]], colour: str) -> None:
        """A filled polygon."""
        self.draw.polygon([(x * SCALE, y * SCALE) for x, y in points], fill=colour)

    def png(self) -> bytes:
        """The picture as PNG bytes."""
        return png(self.image)

    def _dashes(self, a: Any, b: Any, colour: str, width: int, dash: tuple[float, float], start: float) -> float:
        """Dashes from a to b; ``start``: how far the pattern has run. Returns that at b."""
        on, period = dash[0] * SCALE, sum(dash) * SCALE
        length = float(np.hypot(b[0] - a[0], b[1] - a[1]))
        if not length:
            return start
        step = (b[0] - a[0]) / length, (b[1] - a[1]) / length
        at = -(start % period)
        while at < length:
            first, last = max(at, 0.0), min(at + on, length)
            if last > first:
                ends = [(a[0] + step[0] * d, a[1] + step[1] * d) for d in (first, last)]
                self.draw.line(ends, fill=colour, width=width)
            at += period
        return start + length


def png(image: Image.Image) -> bytes:
    """A picture as PNG bytes, quickly rather than small."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1, compress_type=3)  # runs of equal bytes: fastest
    return buffer.getvalue()


def tidy(text: str) -> str:
    """One line of letters that the font has: file names can hold anything."""
    known = _letters()
    return "".join(c if ord(c) in known else "□" for c in " ".join(str(text).split()))


def fit(text: str, width: float, size: float = SMALL, bold: bool = False) -> str:
    """``text`` on at most ``width`` pixels, its middle replaced by an ellipsis where it is longer."""
    text = tidy(text)[:400]
    if text_width(text, size, bold) <= width:
        return text
    keep = len(text) - 1
    while keep > 0 and text_width(_shortened(text, keep), size, bold) > width:
        keep -= max(1, keep // 12)
    return _shortened(text, max(keep, 0))


def text_width(text: str, size: float = SMALL, bold: bool = False) -> float:
    """How wide a text will be, in pixels of the page."""
    return _font(size, bold).getlength(text) / SCALE


def _shortened(text: str, keep: int) -> str:
    return text[: (keep + 1) // 2] + "…" + text[len(text) - keep // 2 :]


def _px(value: float) -> int:
    return round(value * SCALE)


@functools.lru_cache(maxsize=32)
def _font(size: float, bold: bool) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_folder() / f"DejaVuSans{'-Bold' if bold else ''}.ttf"), size * SCALE)


@functools.cache
def _folder() -> Path:
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@functools.cache
def _letters() -> frozenset[int]:
    return frozenset(fonts.get_font(str(_folder() / "DejaVuSans.ttf")).get_charmap())


__all__ = [
    "DASHED",
    "DOTTED",
    "GREY",
    "INK",
    "LARGE",
    "NORMAL",
    "NOTE",
    "SCALE",
    "SMALL",
    "Canvas",
    "fit",
    "png",
    "tidy",
]
