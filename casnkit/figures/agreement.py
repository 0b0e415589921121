"""How alike the maps of several methods are, as a table of colours with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._optional import require
from .inputs import to_array
from .style import INK, LARGE, LINE, MARGIN, NOTE, PAGE_WIDTH, SMALL, figure_style, new_figure, panel, text_width, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL = 0.46  # inches, at most


def show_agreement(names: Sequence[str], matrix: Any, title: str = "Which methods say the same?") -> Figure:
    """Correlations between every two methods: blue where they agree, orange where one contradicts the other.

    Args:
        names: n methods.
        matrix: (n, n) correlations in [-1, 1].
        title: heading.

    Raises:
        ValueError: another shape, or numbers outside [-1, 1].
    """
    values = to_array(matrix).astype(float)
    if values.shape != (len(names), len(names)) or not len(names):
        raise ValueError(f"expected one row and one column for each of {len(names)} methods, got {values.shape}")
    if not (np.abs(values) <= 1 + 1e-6).all():
        raise ValueError(f"expected correlations in [-1, 1], got {values.min():g} to {values.max():g}")
    with figure_style():
        return _draw(list(names), values, title)


def _draw(names: list[str], values: np.ndarray, title: str) -> Figure:
    seaborn = require("seaborn", "drawing tables of colours")
    left = MARGIN + max(text_width(name, SMALL) for name in names) + 0.15
    cell = min(_CELL, (PAGE_WIDTH - left - MARGIN) / len(names))
    top, side = MARGIN + 0.55, cell * len(names)
    width = max(left + side + MARGIN, 2 * MARGIN + text_width(title, LARGE, True))
    below = max(text_width(name, SMALL) for name in names) * 0.72 + 0.2
    figure = new_figure(width, top + side + below + 2 * LINE)
    write(figure, MARGIN, MARGIN, title, width - 2 * MARGIN, LARGE, weight="bold")
    ax = panel(figure, left, top, side, side)
    # blue: the same; orange: the opposite
    colours = seaborn.diverging_palette(33, 245, s=85, l=55, as_cmap=True)
    text = np.array([[f"{value:.1f}".replace("-0.0", "0.0") for value in row] for row in values])
    seaborn.heatmap(
        values, vmin=-1, vmax=1, cmap=colours, cbar=False, annot=text, fmt="", linewidths=1, linecolor="white", ax=ax,
        xticklabels=names, yticklabels=names, annot_kws={"size": SMALL},
    )  # fmt: skip
    ax.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    ax.set_xticklabels(names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticklabels(names, rotation=0)
    note = "Correlation of their maps, mean over images: 1 the same up to scale, 0 nothing in common."
    write(figure, MARGIN, top + side + below + 0.05, note, width - 2 * MARGIN, color=NOTE)
    return figure
