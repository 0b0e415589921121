"""The frames of README's moving picture: one query beside each of its first gallery images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import ExifTags, Image

from casnkit import figures
from casnkit.config import Config
from casnkit.data.files import atomic_path
from casnkit.data.records import ReidDataset
from casnkit.evaluation import Evaluation
from casnkit.figures import style
from casnkit.figures.grids import MARKS, gallery_row
from casnkit.figures.images import as_images, draw_row
from casnkit.figures.pairs import draw_pair
from casnkit.figures.style import figure_style, new_figure
from casnkit.models import CASN, eval_view
from casnkit.notebook.report import ranking_row, spread_queries
from casnkit.ranking import rank_gallery


def tour(model: CASN, dataset: ReidDataset, config: Config, result: Evaluation, shown: int = 10) -> list[Figure]:
    """Both pictures of each pair, where Siamese attention looks in them, and the row profiles of both maps.

    The query is the middle one, by average precision, of those whose first images are of both kinds (at least two right
    and two wrong, the first one right); where there is none, the middle one of all.
    """
    query, gallery, options = dataset.query, dataset.gallery, config.ranking
    distances = result.distances["features"]
    ordered = spread_queries(result.rankings["features"].average_precision, len(query))
    nearest, mixed = {}, []
    for i in ordered:
        ranking = rank_gallery(distances[i], query.pids[i], query.camids[i], gallery.pids, gallery.camids)
        nearest[i] = ranking.kept[:shown]
        seen = ranking.status[nearest[i]].tolist()
        if seen[0] == "correct" and min(seen.count("correct"), seen.count("wrong")) >= 2:
            mixed.append(i)
    candidates = mixed or ordered
    i = candidates[len(candidates) // 2]
    row = ranking_row(dataset, distances, i, shown=shown)
    model = eval_view(model)
    with torch.no_grad():
        A_2 = model.feature_map(result.images("gallery", nearest[i]))
        A_1 = model.feature_map(result.images("query", [i])).expand_as(A_2)
        maps = model.siamese_attention_of(A_1, A_2, mode=options.siamese_mode, order=options.pair_order)
    return [show_step(row, k, [m[k].double().cpu().numpy() for m in maps], options.threshold) for k in range(len(A_2))]


@figure_style()
def show_step(row: Mapping[str, Any], current: int, maps: Sequence[np.ndarray], threshold: float) -> Figure:
    """The query and one image of its ranking with their Siamese maps (h, w), above the ranking itself.

    ``row`` is as ``show_rankings`` takes it, ``current`` the place in it of the gallery image that is shown large, from 0.
    """
    images, strip = as_images([row["query_image"], row["gallery_images"][current]]), gallery_row(row)
    ratios = [image.shape[1] / image.shape[0] for image in images]
    note = "the query's ranked gallery: \u2713 same person, \u2717 another, \u25cb a passer-by who is no query's person"
    figure = new_figure(style.PAGE_WIDTH, 6.1, "Where Siamese attention looks, partner by partner", note)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.75, 1])
    axes = upper.subplots(1, 7, width_ratios=[part for ratio in ratios for part in (ratio, ratio, 0.3)] + [0.55])
    for ax, width in zip(axes[[2, 5, 6]], (0.3, 0.3, 0.55), strict=True):
        ax.set_box_aspect(1 / width)
    draw_pair(axes, images, maps, threshold, titles=("query", ""))
    glyph, colour, *_, said = MARKS[row["statuses"][current]]
    said = f"number {current + 1}: {glyph} {said.partition(' (')[0]}"
    axes[3].set_title(said, color=colour, weight="bold", size=style.SMALL, pad=20)
    axes[4].set_xlabel(f"distance by features {row['distances'][current]:.3f}", loc="right")
    strip.captions = ["\u25b2" if place == current else " " for place in range(len(strip.images))]
    draw_row(lower.subplots(), strip, len(strip.images))
    return figure


def save_animation(frames: Sequence[Figure], path: Path, alt: str, milliseconds: int = 1600) -> None:
    """Write figures of one size as a ``.webp`` picture that runs in a circle, with ``alt`` as its description."""
    images, description = (
        [Image.open(io.BytesIO(figures.figure_png(frame))).convert("RGB") for frame in frames],
        Image.Exif(),
    )
    description[ExifTags.Base.ImageDescription] = alt
    options = {"duration": milliseconds, "loop": 0, "quality": 85, "exif": description}
    with atomic_path(path) as temporary:  # WebP keeps the colours of maps, which GIF does not
        images[0].save(temporary, "WEBP", save_all=True, append_images=images[1:], **options)
