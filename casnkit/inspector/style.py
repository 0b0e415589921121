"""What the inspector's static pictures are placed with: panels in inches, text that is measured and shortened."""

from __future__ import annotations

import functools
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

from casnkit.figures.style import (
    BLUE,
    DIFFERENCE_COLOURS,
    GREY,
    INK,
    LARGE,
    LIGHT,
    NOTE,
    ORANGE,
    SERIES,
    SMALL,
    Picture,
    figure_style,
    short,
)

MARGIN = 0.15  # inches
LINE = 0.19  # inches from one line of small text to the next
_FONT = "DejaVu Sans"


def new_figure(width: float, height: float) -> Picture:
    """An empty white figure of that many inches; a notebook shows it at 100 pixels per inch."""
    return Picture(figsize=(width, height), dpi=100)


def panel(figure: Picture, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at ``left`` and ``top`` inches from the figure's top left corner, ``width`` by ``height`` inches."""
    total_width, total_height = figure.get_size_inches()
    box = (left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height)
    ax = figure.add_axes(box)
    ax.tick_params(labelsize=SMALL, labelcolor=INK, color=GREY, length=3, labelfontfamily=_FONT)
    return ax


def write(
    figure: Picture,
    left: float,
    top: float,
    text: str,
    width: float | None = None,
    size: float = SMALL,
    align: str = "left",
    **kwargs: Any,
) -> None:
    """Write one line whose box begins ``top`` inches below the figure's top edge.

    ``left`` is the line's left end, centre or right end, by ``align``; longer than ``width`` inches, it is shortened.
    """
    total_width, total_height = figure.get_size_inches()
    text = short(text, len(text) + 1)
    if width is not None:
        text = fit(text, width, size, kwargs.get("weight") == "bold")
    height = (top + size / 72) / total_height  # baseline: one font size below the top, whatever letters there are
    figure.text(left / total_width, 1 - height, text, ha=align, va="baseline", size=size, **kwargs)


def fit(text: str, width: float, size: float = SMALL, bold: bool = False) -> str:
    """``text`` on one line of at most ``width`` inches, its middle replaced by an ellipsis where it is longer."""
    keep = len(text)
    while keep > 3 and text_width(short(text, keep), size, bold) > width:
        keep -= 1
    return short(text, keep)


@functools.lru_cache(maxsize=4096)
def text_width(text: str, size: float = SMALL, bold: bool = False) -> float:
    """Width of one line in inches, with a little to spare: the grid of pixels widens letters by up to 3 %."""
    font = FontProperties(family=_FONT, size=size, weight="bold" if bold else "normal")
    return RendererAgg(8, 8, 72).get_text_width_height_descent(text, font, False)[0] / 72 * 1.03 if text else 0.0


__all__ = [
    "BLUE", "DIFFERENCE_COLOURS", "GREY", "INK", "LARGE", "LIGHT", "LINE", "MARGIN", "NOTE", "ORANGE", "SERIES", "SMALL",
    "figure_style", "new_figure", "panel", "write",
]  # fmt: skip
