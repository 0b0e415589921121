"""A pair with its two attention maps, their row profiles, and the distance of equation 5 as an area."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..attention import attention_distance, crop_bounds, normalise_map, resize_rows, row_profile
from .difference import OWN_MAXIMUM, SHARED_MAXIMUM, map_limits
from .inputs import as_image, as_map, scaled
from .maps import overlay
from .style import (
    ATTENTION_COLOURS,
    BLUE,
    GREY,
    INK,
    LARGE,
    LIGHT,
    LINE,
    MARGIN,
    NORMAL,
    NOTE,
    ORANGE,
    PAGE_WIDTH,
    SERIES,
    SMALL,
    colour_bar,
    figure_style,
    new_figure,
    panel,
    picture_panel,
    text_width,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PROFILE, ALIGNED_WIDTH = 0.78, 1.55  # widths in inches
_NEAR, _SIDE, _FAR = 0.09, 0.32, 0.46  # gaps: image to overlay, first side to second, second side to aligned rows


def show_pair(
    image_1: Any,
    image_2: Any,
    map_1: Any,
    map_2: Any,
    threshold: float = 0.5,
    titles: tuple[str, str] = ("image 1", "image 2"),
    same: bool | None = None,
    probability: float | None = None,
    distance: float | None = None,
    normalisation: str = "own maximum",
    title: str = "Siamese attention",
) -> Figure:
    """Where a Siamese map looks in each of two images, row by row, and how far apart the two are (paper 3.2.2, eq. 5).

    Args:
        image_1: PIL image, (H, W, 3) uint8 array or (3, H, W) uint8 tensor.
        image_2: the other one.
        map_1: (h, w) map of image 1, any scale.
        map_2: (h, w) map of image 2.
        threshold: t of equation 5, a share of each profile's own maximum, in [0, 1).
        titles: names of the two images; a file name is shortened in its middle.
        same: whether they are the same person; None: unknown.
        probability: the pair classifier's p(same person), in [0, 1].
        distance: distance of the two features, lower is closer.
        normalisation: how maps become colours: ``"own maximum"`` or ``"shared"``; it stands in the heading. The
            distance does not depend on it: equation 5 divides each profile by its own maximum.
        title: heading.

    Raises:
        ValueError: wrong shapes, NaN, a threshold or a probability out of range, an unknown normalisation.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"expected a threshold in [0, 1), a share of the maximum, got {threshold}")
    if probability is not None and not 0 <= probability <= 1:
        raise ValueError(f"expected a probability in [0, 1], got {probability}")
    images = [as_image(image_1, "image 1"), as_image(image_2, "image 2")]
    maps = [as_map(map_1, "map 1"), as_map(map_2, "map 2")]
    limits = map_limits(*maps, normalisation)
    how = OWN_MAXIMUM if normalisation == "own maximum" else SHARED_MAXIMUM
    with figure_style():
        return _draw(
            images,
            maps,
            limits,
            threshold,
            titles,
            (title, how),
            same,
            probability,
            distance,
        )


def _draw(
    images: list[np.ndarray],
    maps: list[np.ndarray],
    limits: tuple[float, float],
    threshold: float,
    titles: tuple[str, str],
    heading: tuple[str, str],
    same: bool | None,
    probability: float | None,
    distance: float | None,
) -> Figure:
    ratios = [image.shape[1] / image.shape[0] for image in images]
    fixed = 2 * MARGIN + 2 * _PROFILE + 4 * _NEAR + _SIDE + _FAR + ALIGNED_WIDTH
    height = min(3.4, (PAGE_WIDTH - fixed) / (2 * sum(ratios)))
    width = fixed + 2 * sum(ratios) * height
    whole = " \u00b7 ".join(heading)
    moved = text_width(whole, LARGE, True) > width - 2 * MARGIN  # the scale, to the line below
    verdict = _verdict(same, probability, distance) or (("", INK, "") if moved else None)
    top = MARGIN + 0.36 + (0.27 if verdict else 0) + 2 * LINE + 0.1
    figure = new_figure(width, top + height + 0.82)
    write(figure, MARGIN, MARGIN, heading[0] if moved else whole, width - 2 * MARGIN, LARGE, weight="bold")
    if verdict:
        mark, colour, text = verdict
        text = " \u00b7 ".join(filter(None, (text, heading[1] if moved else "")))
        write(figure, MARGIN, MARGIN + 0.33, mark, size=NORMAL + 2, color=colour, weight="bold")
        indent = 0.22 if mark else 0.0
        write(figure, MARGIN + indent, MARGIN + 0.35, text, width - 2 * MARGIN - indent, NORMAL)
    left = MARGIN
    for i in range(2):
        box = (left, top, ratios[i] * height, height)
        left = _draw_side(figure, box, images[i], maps[i], limits[i], threshold, titles[i], i) + _SIDE
    note = f"Bars: largest value of each row; t = {threshold:g} of their maximum. Pale rows are cut off (equation 5)."
    write(figure, MARGIN, top + height + 0.45, note, left - _SIDE - MARGIN, color=NOTE)
    draw_aligned(figure, left - _SIDE + _FAR, top, height, maps, threshold)
    return figure


def _verdict(same: bool | None, probability: float | None, distance: float | None) -> tuple[str, str, str] | None:
    """The line under the heading: a mark (once both truth and judgement are known), its colour, the text."""
    parts, mark, colour = [], "", INK
    if probability is not None:
        judged = probability >= 0.5
        parts.append(f"judged {'same' if judged else 'different'}, p(same) = {probability:.2f}")
        if same is not None:
            mark, colour = ("\u2713", BLUE) if judged == bool(same) else ("\u2717", ORANGE)
    if same is not None:
        parts.append("truth: same person" if same else "truth: different people")
    if distance is not None:
        parts.append(f"feature distance {distance:.3f}")
    return (mark, colour, " \u00b7 ".join(parts)) if parts else None


def _draw_side(
    figure: Figure,
    box: tuple[float, float, float, float],
    image: np.ndarray,
    attention: np.ndarray,
    limit: float,
    threshold: float,
    title: str,
    number: int,
) -> float:
    """Image, overlay and profile of one image; returns the right edge in inches."""
    left, top, wide, tall = box
    room = 2 * wide + 2 * _NEAR + _PROFILE + (_FAR if number else _SIDE) - 0.1
    looks = [(NORMAL, "bold"), (SMALL, "bold"), (SMALL, "normal")]
    size, weight = next((look for look in looks if text_width(title, look[0], look[1] == "bold") <= room), looks[-1])
    write(figure, left, top - 2 * LINE - 0.05, title, room, size, color=SERIES[number][0], weight=weight)
    picture_panel(figure, left, top, wide, tall, image)
    left += wide + _NEAR
    write(figure, left + wide / 2, top - LINE - 0.02, "attention" if wide > 0.75 else "map", wide, align="center")
    shown = picture_panel(figure, left, top, wide, tall, overlay(image, attention, vmax=limit))
    colour_bar(figure, left, top + tall + 0.09, wide, 0.1, ATTENTION_COLOURS)
    left += wide + _NEAR
    write(figure, left + _PROFILE / 2, top - LINE - 0.02, "row max.", _PROFILE + 0.1, align="center")
    ax = panel(figure, left, top, _PROFILE, tall)
    edges = draw_profile(ax, attention, image.shape[0], threshold, limit, SERIES[number][0])
    for edge in edges:
        shown.axhline(edge, color="white", linewidth=1.1, linestyle=(0, (4, 2)))
    return left + _PROFILE


def draw_profile(
    ax: Axes, attention: np.ndarray, image_rows: int, threshold: float, limit: float, colour: str
) -> tuple[float, float]:
    """Row-wise maxima as bars; the y axis counts the image's rows, 0 at the top. Rows that eq. 5 cuts off are pale.

    Args:
        ax: where to draw.
        attention: (h, w).
        image_rows: H.
        threshold: t, a share of the profile's maximum: a dashed line.
        limit: what the values are divided by.
        colour: of the rows that stay.

    Returns:
        top edge of the first and bottom edge of the last row that stay, in image rows.
    """
    maximum = torch.from_numpy(attention)[None].amax(-1)
    first, last = (int(bound) for bound in crop_bounds(maximum, threshold))
    profile = scaled(maximum[0].numpy(), limit)
    step = image_rows / len(profile)
    kept = (np.arange(len(profile)) >= first) & (np.arange(len(profile)) <= last)
    centres = (np.arange(len(profile)) + 0.5) * step
    ax.barh(centres, profile, height=step * 0.86, color=np.where(kept, colour, LIGHT))
    line = threshold * profile.max()
    ax.axvline(line, color="white", linewidth=2.6)  # so that the dashes show on dark bars too
    ax.axvline(line, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
    edges = first * step, (last + 1) * step
    for edge in edges:
        ax.axhline(edge, color=INK, linewidth=0.8)
    ticks = {0.0: "0", line: "t", 1.0: "1"} if 0.15 < line < 0.85 else {0.0: "0", 1.0: "1"}
    ax.set(xlim=(0, 1.04), ylim=(image_rows, 0), yticks=[], xticks=list(ticks), xticklabels=list(ticks.values()))
    if not profile.any():
        ax.text(0.5, 0.5, "map is zero", transform=ax.transAxes, ha="center", size=SMALL, rotation=90, color=GREY)
    return edges


def aligned_rows(maps: list[np.ndarray], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """M*_1 and M*_2 of equation 5, with the number of rows of the taller map."""
    rows = max(attention.shape[0] for attention in maps)
    out = []
    for attention in maps:
        profile = normalise_map(row_profile(torch.from_numpy(attention)[None]), "max")
        out.append(resize_rows(profile, *crop_bounds(profile, threshold), rows)[0].numpy())
    return out[0], out[1]


def draw_aligned(
    figure: Figure, left: float, top: float, height: float, maps: list[np.ndarray], threshold: float
) -> None:
    """Both profiles cropped and stretched to the same rows, the area between them shaded."""
    profiles = aligned_rows(maps, threshold)
    first, second = (torch.from_numpy(attention)[None] for attention in maps)
    total = float(attention_distance(first, second, threshold))
    write(
        figure,
        left + ALIGNED_WIDTH / 2,
        top - 2 * LINE - 0.05,
        "aligned rows",
        ALIGNED_WIDTH,
        NORMAL,
        "center",
        weight="bold",
    )
    text = f"\u2113\u2082 distance {total:.3f}"
    write(figure, left + ALIGNED_WIDTH / 2, top - LINE - 0.02, text, ALIGNED_WIDTH + 0.2, align="center")
    ax = panel(figure, left, top, ALIGNED_WIDTH, height)
    rows = np.arange(1, len(profiles[0]) + 1)
    ax.fill_betweenx(rows, *profiles, color=LIGHT, linewidth=0)
    for number, (profile, (colour, line, _)) in enumerate(zip(profiles, SERIES, strict=False)):
        ax.plot(profile, rows, color=colour, linestyle=line, linewidth=2)
        corner = left - 0.1 + number * 0.86
        key = panel(figure, corner, top + height + 0.47, 0.3, 0.1)
        key.plot([0, 1], [0, 0], color=colour, linestyle=line, linewidth=2)
        key.set_axis_off()
        write(figure, corner + 0.36, top + height + 0.45, f"map {number + 1}", color=colour)
    count = len(rows)
    ax.set(xlim=(0, 1.04), ylim=(count + 0.5, 0.5), xticks=[0, threshold, 1], yticks=[1, count] if count > 1 else [1])
    ax.set_xticklabels(["0", "t" if 0.15 < threshold < 0.85 else "", "1"])
