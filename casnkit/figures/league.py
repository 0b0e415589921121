"""Explanations compared: their maps side by side, and the league of all that was measured of them.

The numbers come from :mod:`casnkit.explain`; whatever has the same attributes or keys is drawn too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import as_image, as_map, as_mask, same_length
from .maps import _grid, overlay
from .style import (
    ATTENTION_COLOURS,
    BLUE,
    GREY,
    INK,
    LARGE,
    LIGHT,
    LINE,
    MARGIN,
    NOTE,
    ORANGE,
    PAGE_WIDTH,
    SMALL,
    figure_style,
    new_figure,
    panel,
    text_width,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BRIGHTEST = 99.0  # percentile of a pair's values that gets the brightest colour: single pixels would darken the rest
_ROW = 0.25  # inches: height of a method in the league
_ENERGY = "energy\non the person"
_SEAM = 4  # white pixels between the two images of a pair


def show_gallery_of_methods(
    pairs: Sequence[tuple[Any, Any]],
    maps_by_method: Mapping[str, Sequence[tuple[Any, Any]]],
    labels: Sequence[str] | None = None,
    masks: Sequence[tuple[Any, Any] | None] | None = None,
    title: str = "Explanations of pairs",
) -> Figure:
    """A row per pair, a column per method, both images in each; the persons' outlines where masks are given.

    Negative values are drawn as zero. Each method has one scale for both images of a pair, up to the 99th percentile.

    Args:
        pairs: P pairs of images.
        maps_by_method: method -> P pairs of maps (h, w), each method in its own resolution.
        labels: P row labels.
        masks: P pairs of person masks (H, W), bool, at the images' size; None where there are none.
        title: heading; the scale is added to it.

    Raises:
        ValueError: nothing to show, other numbers of maps, masks or labels than pairs, wrong shapes, NaN.
    """
    pictures = [[as_image(x, f"{s} of pair {i}") for s, x in zip("12", p, strict=True)] for i, p in enumerate(pairs)]
    if not pictures or not maps_by_method:
        raise ValueError(f"expected pairs and maps, got {len(pictures)} pairs and {len(maps_by_method)} methods")
    labels, masks = labels or [""] * len(pictures), masks or [None] * len(pictures)
    same_length(pairs=pictures, labels=labels, masks=masks, **{f"maps of {k}": v for k, v in maps_by_method.items()})
    rows = []
    for i, both in enumerate(pictures):
        columns = [_side_by_side(both)]
        for name, maps in maps_by_method.items():
            values = [as_map(m, f"map of {name}, pair {i}").clip(0) for m in maps[i]]
            joined = np.concatenate([v.ravel() for v in values])
            top = float(np.percentile(joined, BRIGHTEST)) or float(joined.max())
            shown = [overlay(x, v, vmax=top) for x, v in zip(both, values, strict=True)]
            columns.append(_side_by_side(shown))
        rows.append((labels[i], columns))
    outlines = [_outline(both, mask) for both, mask in zip(pictures, masks, strict=True)]
    bars = [(0, len(maps_by_method), ATTENTION_COLOURS, "share of 99th percentile")]
    heading = f"{title} \u00b7 values above zero, one scale per pair and method"
    with figure_style():
        return _grid(rows, ["pair", *(name.replace("-", " ") for name in maps_by_method)], heading, bars, outlines)


def show_league(result: Mapping[str, Any], title: str = "Explanations compared") -> Figure:
    """Each method's localisation, faithfulness and sanity as points with 95 % intervals.

    Args:
        result: of :func:`casnkit.explain.league.run_league`, or read from its ``league.json``.
        title: heading; data and number of pairs are added to it.

    Raises:
        ValueError: no method was measured.
    """
    entries = list(result["methods"])
    if not entries:
        raise ValueError("expected at least one measured method, got none")
    columns = _league_columns(entries)
    if _ENERGY in columns:
        best = [-(columns[_ENERGY][0][i] or {"mean": -1})["mean"] for i in range(len(entries))]
        order = np.argsort(best, kind="stable")
    else:
        order = np.arange(len(entries))
    names = [("\u2713 " if entries[i]["sanity"]["passed"] else "\u2717 ") + entries[i]["method"] for i in order]
    room, gap = max(map(text_width, names)) + 0.15, 0.16
    wide = (PAGE_WIDTH - 2 * MARGIN - room - gap * (len(columns) - 1)) / len(columns)
    top, tall = 1.05, _ROW * len(names) + 0.1
    heading = f"{title} \u00b7 {result['data']}, {sum(result['pairs'].values())} test pairs"
    with figure_style():
        figure = new_figure(PAGE_WIDTH, top + tall + 1.3)
        write(figure, MARGIN, MARGIN, heading, PAGE_WIDTH - 2 * MARGIN, LARGE, weight="bold")
        for i, name in enumerate(names):
            write(figure, MARGIN, top + tall / len(names) * (i + 0.5) - 0.09, name, room - 0.08)
        for k, (head, (values, line, unit)) in enumerate(columns.items()):
            corner = MARGIN + room + k * (wide + gap)
            for number, part in enumerate(head.split("\n")):
                write(figure, corner, top - 0.5 + LINE * number, part, wide, weight="bold" if not number else "normal")
            ax = panel(figure, corner, top, wide, tall)
            _draw_league(ax, [values[i] for i in order], line)
            ax.set_xlabel(unit, fontsize=SMALL)
        notes = (
            "\u2713 passed all sanity checks, \u2717 failed one. Filled: clearly better (blue dot) or worse (orange square)",
            "than the line; hollow: undecided. Line: plain mean (energy), half (cue), random masks (deletion, insertion),",
            "the limit (correlation with the map beside a random pair classifier). Grey tick: chance, the same map moved.",
        )
        for number, note in enumerate(notes):
            write(figure, MARGIN, top + tall + 0.6 + number * LINE, note, PAGE_WIDTH - 2 * MARGIN, color=NOTE)
    return figure


def _league_columns(entries: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[dict[str, Any] | None], float, str]]:
    """Panel -> (a point for each method, the vertical line, the unit); a point's ``side`` is 1 (better), -1 or 0."""
    found: dict[str, tuple[list[dict[str, Any] | None], float, str]] = {}
    plain = next((e["localisation"] for e in entries if e["method"] == "plain-mean"), {})
    for head, key in ((_ENERGY, "energy"), ("right cue\nof look-alikes", "cue")):
        points = [_point(e["localisation"].get(key), 100) for e in entries]
        line = 50.0 if key == "cue" else 100 * plain.get(key, {}).get("mean", 0)
        for entry, point in zip(entries, points, strict=True):
            if point and key == "energy":
                over = entry["over"].get("plain-mean", {}).get(key)
                point["side"] = _side(over["low"], over["high"]) if over else 0
            elif point:
                point["side"] = _side(point["low"] - line, point["high"] - line) if point["low"] < point["high"] else 0
        if any(points):
            found[head] = points, line, "percent"
    for kind, sign in (("deletion", -1), ("insertion", 1)):
        rows = [_row_of(e["faithfulness"], curve=kind, axis="probability") for e in entries]
        points = [_point(row, 100, "difference") for row in rows]
        for point in filter(None, points):
            point["side"] = sign * _side(point["low"], point["high"])
        found[f"{kind}\ngood: {'below' if sign < 0 else 'above'} 0"] = points, 0.0, "points"
    lines = [_row_of(e["sanity"]["lines"], name="pair classifier") for e in entries]
    points = [_point(line, 1, "value") for line in lines]
    limit = next((line["limit"] for line in lines if line), 0.5)
    for point in filter(None, points):
        point["side"] = _side(limit - point["high"], limit - point["low"])
    found["randomised\ngood: below line"] = points, limit, "correlation"
    return found


def _row_of(rows: Sequence[Mapping[str, Any]], **wanted: str) -> Mapping[str, Any] | None:
    return next((row for row in rows if all(row[k] == v for k, v in wanted.items())), None)


def _point(found: Mapping[str, Any] | None, scale: float, key: str = "mean") -> dict[str, Any] | None:
    if found is None or any(found[name] is None for name in (key, "low", "high")):
        return None
    chance = found.get("chance")
    values = {"mean": scale * found[key], "low": scale * found["low"], "high": scale * found["high"]}
    return values | {"chance": None if chance is None else scale * chance}


def _side(low: float, high: float) -> int:
    return 1 if low > 0 else -1 if high < 0 else 0


def _draw_league(ax: Axes, points: Sequence[Mapping[str, Any] | None], line: float) -> None:
    ax.axvline(line, color=INK, linewidth=1, linestyle=(0, (4, 2)), zorder=0)
    for i, point in enumerate(points):
        if point is None:
            continue
        colour = {1: BLUE, -1: ORANGE, 0: GREY}[point["side"]]
        ax.plot(
            [point["low"], point["high"]],
            [i, i],
            color=colour,
            linestyle="-" if point["side"] else (0, (2, 1)),
            linewidth=1.6,
        )
        face = colour if point["side"] else "white"
        marker = {1: "o", -1: "s", 0: "o"}[point["side"]]
        ax.plot([point["mean"]], [i], marker=marker, markersize=5.5, color=colour, markerfacecolor=face)
        if point["chance"] is not None:
            ax.plot([point["chance"]], [i], marker="|", markersize=9, markeredgewidth=1.8, color=GREY)
    ax.set(ylim=(len(points) - 0.5, -0.5), yticks=[])
    ax.locator_params(axis="x", nbins=3)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="both", color=LIGHT, linewidth=0.6)
    ax.set_axisbelow(True)


def _side_by_side(both: Sequence[np.ndarray], blank: int = 255) -> np.ndarray:
    """Two images (H, W, ...) at one height, that of the first, with a seam between them."""
    first, second = both
    if second.shape[0] != first.shape[0]:
        rows = np.arange(first.shape[0]) * second.shape[0] // first.shape[0]
        columns = round(second.shape[1] * first.shape[0] / second.shape[0])
        second = second[rows][:, np.arange(columns) * second.shape[1] // columns]
    seam = np.full((first.shape[0], _SEAM, *first.shape[2:]), blank, first.dtype)
    return np.concatenate([first, seam, second], 1)


def _outline(pictures: Sequence[np.ndarray], masks: Any) -> np.ndarray | None:
    if masks is None or any(m is None for m in masks):
        return None
    return _side_by_side([as_mask(m, x) > 0.5 for m, x in zip(masks, pictures, strict=True)], False)
