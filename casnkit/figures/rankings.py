"""Ranked lists with marks for right and wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._optional import require
from .inputs import as_image, same_length, to_array
from .style import (
    BLUE,
    GREY,
    INK,
    LARGE,
    LINE,
    MARGIN,
    NORMAL,
    ORANGE,
    PAGE_WIDTH,
    figure_style,
    new_figure,
    picture_panel,
    text_width,
    write,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# status: (glyph, colour, line style, line width, legend). The glyph and the line say it again without the colour.
MARKS = {
    "correct": ("\u2713", BLUE, "-", 2.4, "same person"),
    "wrong": ("\u2717", ORANGE, (0, (3, 1.8)), 2.2, "another person"),
    "distractor": ("\u25cb", INK, (0, (1, 1.3)), 2.2, "distractor (counts as another person)"),
    "junk": ("\u2013", GREY, "-", 1.4, "junk (does not count)"),
    "same_camera": ("=", GREY, (0, (6, 2)), 1.4, "same person and camera (does not count)"),
}
STATUSES = tuple(MARKS)
_UNCOUNTED = ("junk", "same_camera")
_GAP, _QUERY_GAP, _TILE = 0.16, 0.32, 0.95  # inches; the last is a tile's largest width
RIM = 0.035  # inches from an image's edge to the middle of its frame


def show_ranking(
    query_image: Any,
    gallery_images: Sequence[Any],
    statuses: Sequence[str],
    distances: Sequence[float],
    pids: Sequence[int],
    camids: Sequence[int],
    query_pid: int,
    query_camid: int,
    title: str | None = None,
    columns: int = 10,
) -> Figure:
    """A query and its ranked gallery images, closest first; see :func:`show_rankings`."""
    row = {
        "query_image": query_image,
        "gallery_images": gallery_images,
        "statuses": statuses,
        "distances": distances,
        "pids": pids,
        "camids": camids,
        "query_pid": query_pid,
        "query_camid": query_camid,
    }
    return show_rankings([row], title, columns)


def show_rankings(rows: Sequence[Mapping[str, Any]], title: str | None = None, columns: int = 10) -> Figure:
    """Several queries, each with its ranked gallery images, one under the other.

    Args:
        rows: for each query a mapping with ``query_image``, ``query_pid``, ``query_camid`` and, parallel and closest
            first, ``gallery_images``, ``statuses`` (out of :data:`STATUSES`), ``distances`` (lower is closer), ``pids``
            and ``camids`` (-1: unknown); optionally ``title``.
        title: heading of the whole figure.
        columns: gallery images per line; longer lists go on below.

    Images that the protocol leaves out (junk, same person and camera) are pale and take no rank number.

    Raises:
        ValueError: no rows, lists of different lengths, an unknown status, a distance that is NaN.
    """
    if not rows:
        raise ValueError("expected at least one query to show, got none")
    if columns < 1:
        raise ValueError(f"expected at least one column, got {columns}")
    lists = [_checked(row) for row in rows]
    shown = [status for status in STATUSES if any(status in entry["statuses"] for entry in lists)]
    with figure_style():
        return _draw(lists, shown, title, min(columns, max(len(entry["statuses"]) for entry in lists) or 1))


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("gallery_images", "statuses", "distances", "pids", "camids")
    missing = [key for key in (*keys, "query_image", "query_pid", "query_camid") if key not in row]
    if missing:
        raise ValueError(f"expected a ranking with {', '.join(missing)}, found only {', '.join(row) or 'nothing'}")
    same_length(**{key: row[key] for key in keys})
    for status in row["statuses"]:
        if status not in MARKS:
            raise ValueError(f"expected a status out of {', '.join(STATUSES)}, got {status!r}")
    distances = to_array(row["distances"]).astype(float)
    if np.isnan(distances).any():
        raise ValueError("expected distances that are numbers, got NaN; have the features diverged?")
    images = [as_image(image, f"gallery image {i}") for i, image in enumerate(row["gallery_images"])]
    query = as_image(row["query_image"], "query image")
    return {**row, "gallery_images": images, "query_image": query, "distances": distances}


def _draw(lists: list[dict[str, Any]], shown: list[str], title: str | None, columns: int) -> Figure:
    tile = min(_TILE, (PAGE_WIDTH - 2 * MARGIN - _QUERY_GAP - _GAP * (columns - 1)) / (columns + 1))
    width = 2 * MARGIN + tile * (columns + 1) + _QUERY_GAP + _GAP * (columns - 1)
    width = min(PAGE_WIDTH, max(width, 4.5, 2 * MARGIN + text_width(title or "", LARGE, True)))
    legend = _legend_lines(shown, width - 2 * MARGIN)
    heights = [_tile_height(entry, tile) for entry in lists]
    blocks = [_block_height(entry, h, columns) for entry, h in zip(lists, heights, strict=True)]
    heading = 0.38 if title else 0.0
    figure = new_figure(width, 2 * MARGIN + heading + sum(blocks) + 0.26 * len(legend))
    if title:
        write(figure, MARGIN, MARGIN, title, width - 2 * MARGIN, LARGE, weight="bold")
    top = MARGIN + heading
    for entry, height, block in zip(lists, heights, blocks, strict=True):
        _draw_list(figure, entry, top, tile, height, columns)
        top += block
    for line in legend:
        _draw_legend(figure, line, top)
        top += 0.26
    return figure


def _tile_height(entry: Mapping[str, Any], tile: float) -> float:
    shapes = [image.shape for image in (entry["query_image"], *entry["gallery_images"])]
    return tile * min(3.0, max(height / width for height, width, _ in shapes))


def _block_height(entry: Mapping[str, Any], height: float, columns: int) -> float:
    lines = max(1, math.ceil(len(entry["statuses"]) / columns))
    return (0.28 if entry.get("title") else 0.0) + lines * (height + 4 * LINE + 0.32)


def _draw_list(figure: Figure, entry: Mapping[str, Any], top: float, tile: float, height: float, columns: int) -> None:
    if entry.get("title"):
        write(figure, MARGIN, top, entry["title"], figure.get_size_inches()[0] - 2 * MARGIN, NORMAL)
        top += 0.28
    captions = ("query", "", f"id {entry['query_pid']}", _camera(entry["query_camid"]))
    draw_tile(figure, MARGIN, top, tile, height, entry["query_image"], captions, (INK, "-", 1.4))
    start = MARGIN + tile + _QUERY_GAP
    if not len(entry["statuses"]):
        write(figure, start, top + LINE + height / 2, "no gallery image to rank", size=NORMAL, color=GREY)
    rank = 0
    for i, status in enumerate(entry["statuses"]):
        glyph, colour, line, weight, _ = MARKS[status]
        counted = status not in _UNCOUNTED
        rank += counted
        image = entry["gallery_images"][i]
        left, down = start + (i % columns) * (tile + _GAP), top + (i // columns) * (height + 4 * LINE + 0.32)
        head = f"{rank} {glyph}" if counted else glyph
        captions = (head, f"{entry['distances'][i]:.3f}", f"id {entry['pids'][i]}", _camera(entry["camids"][i]))
        image = image if counted else (255 - (255 - image.astype(float)) * 0.45).astype(np.uint8)
        draw_tile(figure, left, down, tile, height, image, captions, (colour, line, weight))


def _camera(camid: int) -> str:
    return f"cam {camid}" if camid >= 0 else "cam ?"


def draw_tile(
    figure: Figure,
    left: float,
    top: float,
    tile: float,
    height: float,
    image: np.ndarray,
    captions: tuple[str, ...],
    mark: tuple[str, Any, float],
) -> None:
    """One image in its frame, the first caption above it, the others below."""
    rows, columns = image.shape[:2]
    scale = min(tile / columns, height / rows)
    wide, tall = columns * scale, rows * scale
    centre = left + tile / 2
    write(figure, centre, top, captions[0], tile, NORMAL, "center", color=mark[0], weight="bold")
    box = (centre - wide / 2, top + LINE + 0.06 + height - tall, wide, tall)
    picture_panel(figure, *box, image)
    _border(figure, box, mark)
    for i, caption in enumerate(caption for caption in captions[1:] if caption):
        write(figure, centre, top + LINE + height + 0.14 + i * LINE, caption, tile + _GAP / 2, align="center")


def _border(figure: Figure, box: tuple[float, float, float, float], mark: tuple[str, Any, float]) -> None:
    """A frame around ``box`` (left, top, width, height in inches), on the white outside it, where its line shows."""
    colour, line, weight = mark
    left, top, wide, tall = box
    total_width, total_height = figure.get_size_inches()
    corner = ((left - RIM) / total_width, 1 - (top + tall + RIM) / total_height)
    size = ((wide + 2 * RIM) / total_width, (tall + 2 * RIM) / total_height)
    patches = require("matplotlib.patches", "drawing figures")
    style = {"edgecolor": colour, "linestyle": line, "linewidth": weight, "facecolor": "none", "capstyle": "butt"}
    figure.add_artist(patches.Rectangle(corner, *size, transform=figure.transFigure, **style))


def _legend_lines(statuses: list[str], width: float) -> list[list[tuple[str, float]]]:
    """The legend's entries with their left edges, broken into lines of at most ``width`` inches."""
    lines: list[list[tuple[str, float]]] = []
    used = width + 1
    for status in statuses:
        length = 0.68 + text_width(MARKS[status][4]) + 0.28
        if used + length - 0.28 > width:
            lines.append([])
            used = 0.0
        lines[-1].append((status, MARGIN + used))
        used += length
    return lines


def _draw_legend(figure: Figure, entries: list[tuple[str, float]], top: float) -> None:
    for status, left in entries:
        glyph, colour, line, weight, text = MARKS[status]
        _border(figure, (left + RIM, top + 0.03, 0.28, 0.13), (colour, line, weight))
        write(figure, left + 0.5, top + 0.02, glyph, size=NORMAL, align="center", color=colour, weight="bold")
        write(figure, left + 0.64, top + 0.02, text)
