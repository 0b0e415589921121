"""Two maps of one image and their difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import as_map, scaled
from .style import (
    ATTENTION_COLOURS,
    DIFFERENCE_COLOURS,
    GREY,
    LARGE,
    MARGIN,
    NORMAL,
    PAGE_WIDTH,
    colour_bar,
    ends_inside,
    figure_style,
    frame,
    new_figure,
    panel,
    text_width,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OWN_MAXIMUM, SHARED_MAXIMUM = "each map divided by its own maximum", "both maps divided by the larger maximum"


def show_difference(
    map_1: Any,
    map_2: Any,
    titles: tuple[str, str] = ("map 1", "map 2"),
    title: str = "Difference of two maps",
    aspect: float = 2.0,
    normalisation: str = "own maximum",
    ax: Axes | None = None,
) -> Figure:
    """Two maps of one image and their difference, in diverging colours with symmetric limits.

    Args:
        map_1: (h, w).
        map_2: (h, w).
        titles: names of the two.
        title: heading.
        aspect: the image's height over its width, in which the maps are drawn.
        normalisation: ``"own maximum"`` or ``"shared"`` (both by the larger maximum).
        ax: draw the difference alone into these axes and return their figure.

    Raises:
        ValueError: maps of different shapes, NaN, an unknown normalisation.
    """
    first, second = as_map(map_1, "map 1"), as_map(map_2, "map 2")
    if first.shape != second.shape:
        raise ValueError(f"expected two maps of one shape, got {first.shape} and {second.shape}")
    limits = map_limits(first, second, normalisation)
    values = [scaled(first, limits[0]), scaled(second, limits[1])]
    difference = values[0] - values[1]
    limit = float(np.abs(difference).max()) or 1.0
    if ax is not None:
        ax.imshow(difference, cmap=DIFFERENCE_COLOURS, vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto")
        return ax.figure
    with figure_style():
        return _draw_difference(values, difference, limit, titles, title, aspect, normalisation)


def map_limits(map_1: np.ndarray, map_2: np.ndarray, normalisation: str) -> tuple[float, float]:
    """What each map is divided by.

    Raises:
        ValueError: ``normalisation`` is neither ``"own maximum"`` nor ``"shared"``.
    """
    if normalisation not in ("own maximum", "shared"):
        raise ValueError(f"expected the normalisation 'own maximum' or 'shared', got {normalisation!r}")
    own = float(map_1.max()), float(map_2.max())
    return own if normalisation == "own maximum" else (max(own), max(own))


def _draw_difference(
    values: list[np.ndarray],
    difference: np.ndarray,
    limit: float,
    titles: tuple[str, str],
    title: str,
    aspect: float,
    normalisation: str,
) -> Figure:
    wide, tall = 1.5, 1.5 * aspect
    how = OWN_MAXIMUM if normalisation == "own maximum" else SHARED_MAXIMUM
    heading = f"{title} \u00b7 {how}"
    width = min(PAGE_WIDTH, max(2 * MARGIN + 3 * wide + 0.6, text_width(heading, LARGE, True) + 2 * MARGIN))
    left = (width - 3 * wide - 0.5) / 2
    figure = new_figure(width, MARGIN + 0.64 + tall + 0.62 + MARGIN)
    write(figure, MARGIN, MARGIN, heading, width - 2 * MARGIN, LARGE, weight="bold")
    heads = (*titles, "first \u2212 second")
    top = MARGIN + 0.64
    for i, (picture, head) in enumerate(zip([*values, difference], heads, strict=True)):
        corner = left + i * (wide + 0.25)
        write(figure, corner + wide / 2, top - 0.24, head, wide + 0.2, NORMAL, "center")
        ax = panel(figure, corner, top, wide, tall)
        colours, low, high = (ATTENTION_COLOURS, 0, 1) if i < 2 else (DIFFERENCE_COLOURS, -limit, limit)
        ax.imshow(picture, cmap=colours, vmin=low, vmax=high, interpolation="nearest", aspect="auto")
        ax.set(xticks=[], yticks=[])
        frame(ax, GREY, "-", 0.6)
        bar = colour_bar(figure, corner, top + tall + 0.1, wide, 0.11, colours)
        bar.set_xticks([0, 0.5, 1] if i == 2 else [0, 1])
        bar.set_xticklabels([f"\u2212{limit:.2f}", "0", f"+{limit:.2f}"] if i == 2 else ["0", "1"])
        ends_inside(bar)
    return figure
