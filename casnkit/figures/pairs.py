"""Two images with their maps: row profiles, and the distance of equation 5 as an area."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from casnkit.attention import aligned_profile, crop_bounds
from casnkit.figures import style
from casnkit.figures.images import SCALES, as_images, as_map, colour_bar, overlay, scaled, upsample
from casnkit.figures.style import figure_style, fold, new_figure, short

_NAMES = ("image 1", "image 2")


def show_pair(
    image_1: Any,
    image_2: Any,
    map_1: Any,
    map_2: Any,
    threshold: float = 0.5,
    titles: Sequence[str] = _NAMES,
    same: bool | None = None,
    probability: float | None = None,
    distance: float | None = None,
    title: str = "Siamese attention",
) -> Figure:
    """Where a Siamese map looks in each of two images, row by row, and how far apart the two are (paper 3.2.2, eq. 5).

    Maps (h, w) of any scale; ``threshold``: t of equation 5, a share of each profile's own maximum, in [0, 1). Where they
    are known: whether it is the ``same`` person, the pair classifier's ``probability`` of that, and the ``distance`` of the
    two features.
    """
    note = f"Bars: largest value of each row; t = {threshold:g} of their maximum. Pale rows are cut off (equation 5)."
    row = (image_1, image_2), (map_1, map_2), *_verdict(same, probability, distance)
    return show_pairs([row], threshold, title=title, note=note, titles=titles)


def draw_pair(
    axes: Any, images: Any, maps: Any, t: float, limits: Any = (None, None), titles: Any = _NAMES,
    look: Mapping[str, Any] = {}, contour: bool = False,
) -> None:  # fmt: skip
    """Each image, its map over it and the map's row maxima, then both profiles as equation 5 compares them.

    ``look``: opacity and colormap of :func:`casnkit.figures.overlay`; ``contour``: a line around what exceeds t.
    """
    for i, (image, values) in enumerate(zip(images, maps, strict=True)):
        (picture, over, profile), (rows, columns) = axes[3 * i : 3 * i + 3], image.shape[:2]
        picture.set_title(short(titles[i], 26), color=style.SERIES[i][0], weight="bold", size=style.SMALL, pad=20)
        over.set_title("map", size=style.SMALL)
        profile.set_title("row max.", size=style.SMALL)
        for ax, shown in ((picture, image), (over, overlay(image, values, vmax=limits[i], **look))):
            ax.imshow(shown, extent=(0, columns, rows, 0), interpolation="antialiased")
            style.frame(ax)
        if contour:
            over.contour(upsample(scaled(values), rows, columns), [t], colors="white", linewidths=1)
        for edge in _draw_profile(profile, values, rows, t, i, limits[i]):
            over.axhline(edge, color="white", linewidth=1.1, linestyle=style.DASHED)
    _draw_aligned(axes[6], maps, t)


@figure_style()
def show_pairs(
    rows: Sequence[tuple], threshold: float = 0.5, normalisation: str = "own maximum", title: str = "", note: str = "",
    contour: bool = False, titles: Sequence[str] = ("query", "gallery"), **look: Any,
) -> Figure:  # fmt: skip
    """Pairs one under the other: two images, two maps, heading and maybe its colour each, otherwise as :func:`draw_pair`."""
    pairs = [(as_images(images), _checked_maps(maps, threshold), *heading) for images, maps, *heading in rows]
    ratios = [[image.shape[1] / image.shape[0] for image in images] for images, *_ in pairs]
    widest = max(map(sum, ratios))
    tall = min(2.8, 2.3 / widest)  # inches of a picture; the sum of all widths stays on the page
    width, title = min(style.PAGE_WIDTH, 2 * tall * widest + 4.1), f"{title} \u00b7 {SCALES[normalisation]}"
    headings = [fold(heading, 12 * width) for _, _, heading, *_ in pairs]
    more = sum(text.count("\n") for text in (*headings, fold(title, 9 * width - 2)))  # lines
    figure = new_figure(width, len(rows) * (tall + 1.2) + 0.9 + 0.2 * more, title, note)
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, own, heading, (images, maps, _, *colour) in zip(parts, ratios, headings, pairs, strict=True):
        look_of_heading = {"size": style.NORMAL, "weight": "normal", "color": (*colour, style.INK)[0]}
        part.suptitle(heading, x=0, ha="left", **look_of_heading)
        widths = *(width for ratio in own for width in (tall * ratio, tall * ratio, 0.75)), 1.45
        axes = part.subplots(1, 7, width_ratios=widths)
        limits = [float(values.max()) for values in maps]
        limits = limits if normalisation == "own maximum" else [max(limits)] * 2
        draw_pair(axes, images, maps, threshold, limits, titles, look, contour)
        for k in (2, 5, 6):
            axes[k].set_box_aspect(tall / widths[k])
        for ax in axes[[1, 4]]:
            colour_bar(ax, style.ATTENTION_COLOURS, 0, 1, cax=ax.inset_axes((0, -0.2 / tall, 1, 0.1 / tall)))
    return figure


def _checked_maps(maps: Sequence, threshold: float) -> list[np.ndarray]:
    if not 0 <= threshold < 1:
        raise ValueError(f"expected a threshold in [0, 1), a share of the maximum, got {threshold}")
    return [as_map(values, f"map {i}") for i, values in enumerate(maps, 1)]


def _verdict(same: bool | None, probability: float | None, distance: float | None) -> tuple[str, str]:
    """A mark once both truth and judgement are known, then both in words; the colour."""
    judged = probability is not None and probability >= 0.5
    words = [
        probability is not None and f"judged {'same' if judged else 'different'}, p(same) = {probability:.2f}",
        same is not None and f"truth: {'same person' if same else 'different people'}",
        distance is not None and f"feature distance {distance:.3f}",
    ]
    text = " \u00b7 ".join(filter(None, words))
    if same is None or probability is None:
        return text, style.INK
    return (f"\u2713 {text}", style.BLUE) if judged == bool(same) else (f"\u2717 {text}", style.ORANGE)


def _cropped(attention: np.ndarray, threshold: float, limit: float | None = None) -> tuple[np.ndarray, int, int]:
    """Row-wise maxima in [0, 1], and the first and the last row that equation 5 keeps."""
    profile = scaled(attention.max(1), limit)
    first, last = crop_bounds(torch.from_numpy(profile)[None], threshold)
    return profile, int(first), int(last)


def _draw_profile(ax: Axes, attention: np.ndarray, image_rows: int, t: float, number: int, limit: Any = None) -> tuple:
    """Row-wise maxima as bars beside the image's rows; returns the edges outside which equation 5 cuts: pale bars."""
    profile, first, last = _cropped(attention, t, limit)
    rows, step, line = np.arange(len(profile)), image_rows / len(profile), t * profile.max()
    colours = np.where((rows >= first) & (rows <= last), style.SERIES[number][0], style.LIGHT)
    ax.barh((rows + 0.5) * step, profile, height=step * 0.86, color=colours)
    ax.axvline(line, color="white", linewidth=2.6)  # so that the dashes show on dark bars too
    ax.axvline(line, color=style.INK, linewidth=1.2, linestyle=style.DASHED)
    edges = first * step, (last + 1) * step
    ax.hlines(edges, 0, 1.04, color=style.INK, linewidth=0.8)
    _share_axis(ax, line, image_rows, 0, [])
    if not profile.any():
        ax.text(0.5, image_rows / 2, "map is zero", ha="center", va="center", rotation=90, color=style.GREY)
    return edges


def _share_axis(ax: Axes, t: float, bottom: float, top: float, rows: Sequence[int]) -> None:
    """From 0 to 1 across, with t where there is room for it, and downwards; ticks at ``rows``."""
    ticks = {0.0: "0", 1.0: "1"} | ({t: "t"} if 0.15 < t < 0.85 else {})
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.set(xlim=(0, 1.04), ylim=(bottom, top), yticks=sorted(set(rows)))


def _aligned_rows(maps: Sequence[np.ndarray], threshold: float) -> list[np.ndarray]:
    """M*_1 and M*_2 of equation 5, with the number of rows of the taller map."""
    rows = max(map(len, maps))
    return [aligned_profile(torch.from_numpy(values)[None], threshold, rows)[0].numpy() for values in maps]


def _draw_aligned(ax: Axes, maps: Sequence[np.ndarray], threshold: float) -> None:
    """Both profiles cropped and stretched to the same rows, the area between them shaded; their distance above."""
    aligned = _aligned_rows(maps, threshold)
    rows = np.arange(1, len(aligned[0]) + 1)
    ax.fill_betweenx(rows, *aligned, color=style.LIGHT, linewidth=0)
    for number, profile in enumerate(aligned):
        ax.plot(profile, rows, label=f"map {number + 1}", **style.series(number) | {"marker": ""})
    _share_axis(ax, threshold, len(rows) + 0.5, 0.5, [1, len(rows)])
    distance = np.linalg.norm(aligned[0] - aligned[1])
    ax.set_title(f"aligned rows\n\u2113\u2082 distance {distance:.3f}", size=style.SMALL)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=2, handlelength=1.6, columnspacing=0.8)


@figure_style()
def show_alignment(images: Sequence, maps: Sequence, threshold: float = 0.5, titles: Sequence[str] = _NAMES) -> Figure:
    """Equation 5 step by step (paper 3.2.2, figure 6): map, row-wise maximum, threshold and crop, resize, distance."""
    values, pictures = _checked_maps(maps, threshold), as_images(images)
    heading = f"From map to M* \u00b7 t = {threshold:g} \u00b7 {SCALES['own maximum']}"
    figure, widest = new_figure(style.PAGE_WIDTH, 5.6, heading), max(p.shape[1] / p.shape[0] for p in pictures)
    grid = figure.add_gridspec(2, 6, width_ratios=[widest, widest, 0.6, 0.6, 0.6, 0.7])
    axes = [[figure.add_subplot(grid[i, k]) for k in range(5)] for i in range(2)]
    draw_pair([*axes[0][:3], *axes[1][:3], figure.add_subplot(grid[:, 5])], pictures, values, threshold, titles=titles)
    for i, star in enumerate(_aligned_rows(values, threshold)):
        profile, first, last = _cropped(values[i], threshold)
        parts = ("cropped", profile[first : last + 1], first + 1), ("resized: M*", star, 1)
        for ax, (head, entries, start) in zip(axes[i][3:], parts, strict=True):
            rows = np.arange(start, start + len(entries))
            ax.barh(rows, entries, height=0.86, color=style.SERIES[i][0])
            _share_axis(ax, 0, len(star) + 0.5, 0.5, rows[[0, -1]])
            ax.set_title(head, size=style.SMALL)
        for ax in axes[i][2:]:
            ax.set_box_aspect(1 / 0.6)
    return figure
