"""Ranked lists with marks for right and wrong, tables of colours, and many methods' numbers with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from casnkit.figures import style
from casnkit.figures.images import Row, as_image, as_images, same_length, sheet, to_array
from casnkit.figures.style import figure_style, new_figure, short

# status: (glyph, colour, line style, line width, legend). The glyph and the line say it again without the colour.
MARKS = {
    "correct": ("\u2713", style.BLUE, "-", 2.4, "same person"),
    "wrong": ("\u2717", style.ORANGE, (0, (3, 1.8)), 2.2, "another person"),
    "distractor": ("\u25cb", style.INK, (0, (1, 1.3)), 2.2, "distractor (counts as another person)"),
    "junk": ("\u2013", style.GREY, "-", 1.4, "junk (does not count)"),
    "same_camera": ("=", style.GREY, (0, (6, 2)), 1.4, "same person and camera (does not count)"),
}
STATUSES = tuple(MARKS)
_UNCOUNTED = ("junk", "same_camera")


@figure_style()
def show_rankings(rows: Sequence[Mapping[str, Any]], title: str = "", columns: int = 10) -> Figure:
    """Queries with their ranked gallery images; those that the protocol leaves out are pale and take no rank number.

    ``rows``: for each query a mapping with ``query_image``, ``query_pid``, ``query_camid`` and, parallel and closest first,
    ``gallery_images``, ``statuses`` (out of :data:`STATUSES`), ``distances`` (lower is closer), ``pids`` and ``camids`` (-1:
    unknown); optionally ``title``. ``columns``: gallery images per line; longer lists go on below.
    """
    same_length(queries=rows)
    columns = min(columns, max(len(row["statuses"]) for row in rows) or 1)
    lines = []
    for row in rows:
        marked, count = gallery_row(row), len(row["statuses"])
        for start in range(0, count or 1, columns):
            part, first = slice(start, start + columns), not start
            line = Row([as_image(row["query_image"], "query image") if first else None, *marked.images[part]])
            line.heads, line.frames = ["query", *marked.heads[part]], [(style.INK, "-", 1.4), *marked.frames[part]]
            line.captions = [f"id {row['query_pid']}\n{_camera(row['query_camid'])}", *marked.captions[part]]
            line.title = row.get("title", "") if first else ""
            lines.append(line)
    found = {status for row in rows for status in row["statuses"]}
    keys = [
        Rectangle((0, 0), 1, 1, label=f"{glyph} {text}", edgecolor=colour, linestyle=line, linewidth=width, fill=False)
        for status, (glyph, colour, line, width, text) in MARKS.items()
        if status in found
    ]
    note = "" if keys else "no gallery image to rank"
    return sheet(lines, title, columns + 1, widest=0.95, keys=keys, note=note)


def gallery_row(row: Mapping[str, Any]) -> Row:
    """The gallery images of a ranking as a row of pictures with their marks; a ranking that does not fit is refused."""
    keys = ("gallery_images", "statuses", "distances", "pids", "camids")
    if len(row["statuses"]):
        same_length(**{key: row[key] for key in keys})
    if unknown := set(row["statuses"]) - set(MARKS):
        raise ValueError(f"expected a status out of {', '.join(STATUSES)}, got {', '.join(map(repr, unknown))}")
    if np.isnan(to_array(row["distances"]).astype(float)).any():
        raise ValueError("expected distances that are numbers, got NaN; have the features diverged?")
    out, rank = Row([], [], [], frames=[]), 0
    for image, status, distance, pid, camid in zip(as_images(row[keys[0]]), *(row[k] for k in keys[1:]), strict=True):
        glyph, *frame, _ = MARKS[status]
        counted = status not in _UNCOUNTED
        rank += counted
        out.images.append(image if counted else (255 - (255 - image.astype(float)) * 0.45).astype(np.uint8))
        out.heads.append(f"{rank} {glyph}" if counted else glyph)
        out.frames.append(tuple(frame))
        out.captions.append(f"{distance:.3f}\nid {pid}\n{_camera(camid)}")
    return out


def _camera(camid: int) -> str:
    return f"cam {camid}" if camid >= 0 else "cam ?"


@figure_style()
def show_indicators(alpha: Any, labels: Sequence[str], title: str = "Indicator \u03b1") -> Figure:
    """Which channels are on: ``alpha`` (P, C), zero or not, as a row for each of P labelled pairs, dark = on."""
    on = to_array(alpha) != 0
    same_length(pairs=on, labels=labels)
    order = np.argsort(-on.mean(0), kind="stable")
    ax = new_figure(style.PAGE_WIDTH, 0.27 * len(on) + 0.9, title).subplots()
    ax.imshow(on[:, order], cmap="Greys", vmin=0, vmax=1.15, aspect="auto")
    ax.hlines(np.arange(1, len(on)) - 0.5, -0.5, on.shape[1] - 0.5, color="white", linewidth=2)
    ax.set(xticks=[], xlabel="channels, those that are on most often first")
    names = [f"{short(label, 28)}: {row.sum()} on" for label, row in zip(labels, on, strict=True)]
    ax.set_yticks(range(len(on)), names)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax.figure


@figure_style()
def show_agreement(names: Sequence[str], matrix: Any) -> Figure:
    """Correlations (n, n) in [-1, 1] of n methods: blue where they agree, orange where one contradicts the other."""
    values, count = to_array(matrix).astype(float), len(names)
    if values.shape != (count, count) or not count or not (np.abs(values) <= 1 + 1e-6).all():
        raise ValueError(
            f"expected {count} x {count} correlations in [-1, 1], got {values.shape} up to {values.max():g}"
        )
    note = "Correlation of their maps, mean over images: 1 the same up to scale, 0 nothing in common."
    side = min(style.PAGE_WIDTH, 0.46 * count + 2.2)
    ax = new_figure(max(5.5, side), side, "Which methods say the same?", note).subplots()
    colours = seaborn.diverging_palette(33, 245, s=85, l=55, as_cmap=True)
    labels = [short(name, 28) for name in names]
    return _heatmap(ax, values, np.round(values, 1) + 0.0, labels, labels, vmin=-1, vmax=1, cmap=colours, square=True)


def _heatmap(
    ax: Axes, values: np.ndarray, text: np.ndarray, rows: list[str], columns: list[str], **look: Any
) -> Figure:
    look |= {"annot": text, "fmt": "", "annot_kws": {"size": style.SMALL}, "linewidths": 1, "cbar": False}
    seaborn.heatmap(values, ax=ax, yticklabels=rows, xticklabels=columns, **look)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)
    if max(map(len, columns)) > 4:
        ax.set_xticklabels(columns, rotation=45, ha="right", rotation_mode="anchor")
    return ax.figure


@figure_style()
def show_camera_pairs(
    values: Any, counts: Any, query_cameras: Any, gallery_cameras: Any, title: str, label: str
) -> Figure:
    """A number for every pair of cameras, A queries' in rows and B gallery's in columns; below it, how many queries.

    ``values``: (A, B) shares in [0, 1], NaN where there is nothing to find; ``counts``: (A, B) queries with a match.
    """
    shares, numbers = 100 * to_array(values).astype(float), to_array(counts)
    rows, columns = ([short(c, 16) for c in np.asarray(side).tolist()] for side in (query_cameras, gallery_cameras))
    shape = len(rows), len(columns)
    if shares.shape != shape or numbers.shape != shape or not np.isfinite(shares).any():
        raise ValueError(
            f"expected values, at least one, and counts of shape {shape}, got {shares.shape}, {numbers.shape}"
        )
    size = min(style.PAGE_WIDTH, max(5.5, 0.85 * shape[1] + 1.6)), 0.5 * shape[0] + 1.3 + 0.06 * max(map(len, columns))
    ax = new_figure(*size, f"{title} \u00b7 {label}, below it the queries").subplots()
    text = np.array([f"{s:.0f}\n{n}" for s, n in zip(shares.flat, numbers.flat, strict=True)]).reshape(shape)
    _heatmap(ax, shares, text, rows, columns, mask=np.isnan(shares), cmap=style.MASK_COLOURS)
    ax.set(xlabel="gallery camera", ylabel="query camera")
    return ax.figure


@figure_style()
def show_differences(
    names: Sequence[str], panels: Mapping[str, Sequence], title: str = "Difference to the default"
) -> Figure:
    """A point with its 95 % interval for each of the named settings, from top to bottom; one panel for each number.

    ``panels``: heading -> estimates in the order of ``names``: mappings with ``mean``, ``low``, ``high`` (the bounds may
    be None for a single seed), or None where nothing was measured.
    """
    same_length(names=names, **{f"estimates each, one per name: {heading}": v for heading, v in panels.items()})
    note = "filled: the interval leaves zero out (blue above, orange below); hollow: undecided; arrow: off the axis"
    points = {
        head: ([v and {**v, "side": _side(v["low"], v["high"])} for v in values], 0, "points")
        for head, values in panels.items()
    }
    return _intervals(names, points, title, note)


def _side(low: float | None, high: float | None, line: float = 0.0) -> int:
    """1: the interval lies above the line, -1: below, 0: undecided."""
    return 0 if low is None else int(low > line) - int(high < line)


def _intervals(names: Sequence[str], panels: Mapping[str, tuple], title: str, note: str) -> Figure:
    """Panels side by side with a row for each name: points (or None), the vertical line, the unit.

    A mean more than three times as far from the line as most others are is an arrow at the edge, with its number.
    """
    figure = new_figure(style.PAGE_WIDTH, 0.26 * len(names) + 1.9, title, note)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (heading, (points, line, unit)) in zip(axes, panels.items(), strict=True):
        ax.set_title(heading, size=style.SMALL)
        ax.set_xlabel(unit)
        ax.axvline(line, color=style.INK, linewidth=1, linestyle=style.DASHED, zorder=1)
        far = 3 * np.median([abs(point["mean"] - line) for point in points if point] or [0]) + 1
        for i, point in enumerate(points):
            if point:
                _draw_point(ax, i, point, line, far)
        ax.grid()
        ax.locator_params(axis="x", nbins=3)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(names)), [short(name, 48) for name in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return figure


def _draw_point(ax: Axes, row: int, point: Mapping[str, Any], line: float, far: float) -> None:
    """A point and its interval: blue, orange or hollow grey by its ``side``; a grey tick at ``chance``."""
    colour, marker = {1: (style.BLUE, "o"), -1: (style.ORANGE, "s"), 0: (style.GREY, "o")}[point["side"]]
    mean, fill = point["mean"], colour if point["side"] else "white"
    if abs(mean - line) > far:
        align = "left" if mean < line else "right"
        text = f"\u25c0 {mean:+.1f}" if mean < line else f"{mean:+.1f} \u25b6"
        ax.text(align == "right", row, text, transform=ax.get_yaxis_transform(), ha=align, va="center", color=colour)
        return
    if point["low"] is not None:
        ax.plot(
            [point["low"], point["high"]], [row, row], color=colour, linestyle="-" if point["side"] else style.DASHED
        )
    ax.plot(mean, row, marker=marker, markersize=6, color=colour, markerfacecolor=fill)
    if np.isfinite(point.get("chance", np.nan)):
        ax.plot(point["chance"], row, marker="|", markersize=9, markeredgewidth=1.8, color=style.GREY)


@figure_style()
def show_league(league: Any) -> Figure:
    """Each method's localisation, faithfulness and sanity as points with 95 % intervals.

    ``league`` has a tidy ``table`` and ``settings``, as :func:`casnkit.explain.league.read_league` gives them.
    """
    table, about = league.table, league.settings
    same_length(measured_methods=table.method.tolist())
    own = table[(table.than == "") & table.value.notna()]
    first = own[own.measure == "energy"].sort_values("value", ascending=False)
    methods = list(dict.fromkeys([*first.method, *table.method]))
    failed = set(table.method[table.passed.eq(False).fillna(False)])
    names = [("\u2717 " if name in failed else "\u2713 ") + name for name in methods]
    plain = 100 * first.value[first.method == "plain-mean"].max()
    limit = own.limit[own.measure == "pair classifier"].max()
    panels = {
        "energy\non the person": _panel(own, methods, "energy", np.nan_to_num(plain), unit="percent"),
        "right cue\nof look-alikes": _panel(own, methods, "cue", 50, unit="percent"),
        "deletion\ngood: below 0": _panel(own, methods, "deletion_probability", sign=-1),
        "insertion\ngood: above 0": _panel(own, methods, "insertion_probability"),
        "randomised\ngood: below line": _panel(own, methods, "pair classifier", limit, -1, 1, "correlation"),
    }
    better = _panel(table[table.than == "plain-mean"], methods, "energy")[0]
    for point, difference in zip(panels["energy\non the person"][0], better, strict=True):
        if point:
            point["side"] = difference["side"] if difference else 0
    note = (
        "\u2713 passed all sanity checks, \u2717 failed one. Filled: clearly better (blue dot) or worse (orange square) "
        "than the line; hollow: undecided. Line: plain mean (energy), half (cue), random masks (deletion, insertion), "
        "the limit (correlation with the map beside a random pair classifier). Grey tick: chance, the same map moved."
    )
    heading = f"Explanations compared \u00b7 {about['data']}, {sum(about['pairs'].values())} test pairs"
    return _intervals(names, {head: found for head, found in panels.items() if any(found[0])}, heading, note)


def _panel(
    table: Any,
    methods: Sequence[str],
    measure: str,
    line: float = 0,
    sign: int = 1,
    scale: float = 100,
    unit: str = "points",
) -> tuple[list[dict[str, Any] | None], float, str]:
    """A point for each method that has a row; ``sign``: 1 where more is better, -1 where less is."""
    rows = table[table.measure == measure].set_index("method")
    numbers = (scale * rows[["value", "low", "high", "chance"]]).rename(columns={"value": "mean"})
    numbers["chance"] = numbers.chance if unit == "percent" else np.nan
    numbers["side"] = [sign * _side(row.low, row.high, line) for row in numbers.itertuples()]
    points = numbers.to_dict("index")
    return [points.get(name) for name in methods], line, unit
