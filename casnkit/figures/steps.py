"""Equation 5 in pictures: two row profiles, step by step, from maps to one distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..attention import attention_distance, crop_bounds
from .difference import OWN_MAXIMUM
from .inputs import as_image, as_map
from .maps import overlay
from .pairs import aligned_rows, draw_profile
from .style import (
    LARGE,
    LIGHT,
    LINE,
    MARGIN,
    NORMAL,
    PAGE_WIDTH,
    SERIES,
    figure_style,
    new_figure,
    panel,
    picture_panel,
    wrap,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _SPACE = 1.2, 0.4  # inches: panels of a row profile and the space between them


def show_alignment(
    images: tuple[Any, Any],
    maps: tuple[Any, Any],
    threshold: float = 0.5,
    titles: tuple[str, str] = ("image 1", "image 2"),
    title: str = "From map to M*",
) -> Figure:
    """Equation 5 step by step (paper 3.2.2, figure 6): map, row-wise maximum, threshold and crop, resize, distance.

    Args:
        images: the two images.
        maps: the two maps (h, w).
        threshold: t, a share of each profile's own maximum, in [0, 1).
        titles: names of the two images.
        title: heading.

    Raises:
        ValueError: wrong shapes, NaN, a threshold out of range.
    """
    _check_threshold(threshold)
    pictures = [as_image(image) for image in images]
    values = [as_map(m, f"map {i + 1}") for i, m in enumerate(maps)]
    aligned = aligned_rows(values, threshold)
    heads = ("image", "map", "row maximum and t", "cropped", "resized: M*", "both")
    tall = 2.1
    with figure_style():
        figure = new_figure(PAGE_WIDTH, MARGIN + 0.68 + 2 * (tall + 0.5) + 0.1)
        heading = f"{title} \u00b7 t = {threshold:g} \u00b7 {OWN_MAXIMUM}"
        write(figure, MARGIN, MARGIN, heading, PAGE_WIDTH - 2 * MARGIN, LARGE, weight="bold")
        places = [0.2, 1.4, 2.85, 4.35, 5.85, 7.4]
        widths = [tall / 2, tall / 2, _WIDTH, _WIDTH, _WIDTH, 1.3]
        for left, wide, head in zip(places, widths, heads, strict=True):
            write(figure, left + wide / 2, MARGIN + 0.38, head, wide + _SPACE, align="center")
        for i in range(2):
            top = MARGIN + 0.68 + i * (tall + 0.5)
            _draw_steps(figure, places, widths, top, tall, pictures[i], values[i], aligned[i], threshold, i)
            for k, line in enumerate(wrap(titles[i], 2.3)):
                write(figure, 0.2, top + tall + 0.08 + k * LINE, line, 2.5, color=SERIES[i][0], weight="bold")
        top = MARGIN + 0.68 + (tall + 0.5) / 2
        ax = panel(figure, places[-1], top, widths[-1], tall)
        _draw_both(ax, aligned, threshold)
        text = f"\u2113\u2082 distance {_distance(values, threshold):.3f}"
        write(figure, places[-1] + widths[-1] / 2, top + tall + 0.28, text, 1.5, NORMAL, "center", weight="bold")
    return figure


def _draw_steps(
    figure: Figure,
    places: list[float],
    widths: list[float],
    top: float,
    tall: float,
    picture: np.ndarray,
    values: np.ndarray,
    aligned: np.ndarray,
    threshold: float,
    number: int,
) -> None:
    """One image's row of :func:`show_alignment`, without the panel that both share."""
    ratio = picture.shape[1] / picture.shape[0]
    wide = min(widths[0], tall * ratio)
    for left, shown in zip(places, (picture, overlay(picture, values)), strict=False):
        picture_panel(figure, left + (widths[0] - wide) / 2, top, wide, wide / ratio, shown)
    colour = SERIES[number][0]
    profile = values.max(1) / (values.max() or 1.0)
    ax = panel(figure, places[2], top, widths[2], tall)
    draw_profile(ax, values, picture.shape[0], threshold, values.max(), colour)
    first, last = (int(b) for b in crop_bounds(torch.from_numpy(profile)[None], threshold))
    for left, rows, entries in (
        (places[3], np.arange(first + 1, last + 2), profile[first : last + 1]),
        (places[4], np.arange(1, len(aligned) + 1), aligned),
    ):
        ax = panel(figure, left, top, widths[3], tall)
        ax.barh(rows, entries, height=0.86, color=colour)
        ax.set(xlim=(0, 1.04), ylim=(len(aligned) + 0.5, 0.5), xticks=[0, 1], yticks=sorted({rows[0], rows[-1]}))


def show_thresholds(
    maps: tuple[Any, Any], thresholds: Sequence[float] = (0.25, 0.5, 0.75), image_rows: int = 128
) -> Figure:
    """What t does: for each threshold the two profiles with their cuts, and the aligned profiles with their distance.

    Args:
        maps: the two maps (h, w).
        thresholds: up to three values in [0, 1).
        image_rows: H of the images, for the profiles' axis.

    Raises:
        ValueError: wrong shapes, NaN, no or too many thresholds, or one out of range.
    """
    if not 1 <= len(thresholds) <= 3:
        raise ValueError(f"expected one to three thresholds, got {len(thresholds)}")
    for threshold in thresholds:
        _check_threshold(threshold)
    values = [as_map(m, f"map {i + 1}") for i, m in enumerate(maps)]
    block, tall = (PAGE_WIDTH - 2 * MARGIN) / 3, 2.2
    with figure_style():
        figure = new_figure(2 * MARGIN + block * len(thresholds), MARGIN + 0.68 + tall + 0.55)
        for i, threshold in enumerate(thresholds):
            left = MARGIN + i * block
            text = f"t = {threshold:g}: distance {_distance(values, threshold):.3f}"
            write(figure, left, MARGIN, text, block - 0.1, NORMAL, weight="bold")
            for j, head in enumerate(("map 1", "map 2")):
                write(figure, left + 0.39 + 0.85 * j, MARGIN + 0.34, head, 0.8, align="center", color=SERIES[j][0])
                ax = panel(figure, left + 0.02 + 0.85 * j, MARGIN + 0.62, 0.74, tall)
                draw_profile(ax, values[j], image_rows, threshold, values[j].max(), SERIES[j][0])
            write(figure, left + 2.22, MARGIN + 0.34, "aligned", 1.0, align="center")
            ax = panel(figure, left + 1.8, MARGIN + 0.62, 0.85, tall)
            _draw_both(ax, aligned_rows(values, threshold), threshold)
            ax.set_yticks([])
    return figure


def _draw_both(ax: Axes, aligned: Sequence[np.ndarray], threshold: float) -> None:
    """Two aligned profiles, the area between them shaded."""
    rows = np.arange(1, len(aligned[0]) + 1)
    ax.fill_betweenx(rows, *aligned, color=LIGHT, linewidth=0)
    for profile, (colour, line, _) in zip(aligned, SERIES, strict=False):
        ax.plot(profile, rows, color=colour, linestyle=line, linewidth=2)
    ticks = {0.0: "0", threshold: "t", 1.0: "1"} if 0.2 < threshold < 0.8 else {0.0: "0", 1.0: "1"}
    ax.set(xlim=(0, 1.04), ylim=(len(rows) + 0.5, 0.5), yticks=sorted({1, len(rows)}))
    ax.set_xticks(list(ticks), list(ticks.values()))


def _distance(maps: list[np.ndarray], threshold: float) -> float:
    first, second = (torch.from_numpy(m)[None] for m in maps)
    return float(attention_distance(first, second, threshold))


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold < 1:
        raise ValueError(f"expected a threshold in [0, 1), a share of the maximum, got {threshold}")
