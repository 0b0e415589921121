"""Ranked lists with marks for right and wrong, tables of colours, and many methods' numbers with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from casnkit.figures import style
from casnkit.figures.images import Row, as_image, same_length, sheet, to_array
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
def show_rankings(rows: Sequence[Mapping[str, Any]], title: str | None = None, columns: int = 10) -> Figure:
    """Several queries, each with its ranked gallery images, one under the other.

    Images that the protocol leaves out (junk, same person and camera) are pale and take no rank number.

    ``rows``: for each query a mapping with ``query_image``, ``query_pid``, ``query_camid`` and, parallel and closest first,
    ``gallery_images``, ``statuses`` (out of :data:`STATUSES`), ``distances`` (lower is closer), ``pids`` and ``camids`` (-1:
    unknown); optionally ``title``. ``columns``: gallery images per line; longer lists go on below.
    """
    same_length(queries=rows)
    checked = [_checked_ranking(row) for row in rows]
    columns = min(columns, max(len(row["statuses"]) for row in checked) or 1)
    lines = []
    for row in checked:
        for start in range(0, len(row["statuses"]) or 1, columns):
            line = gallery_row(row, range(start, min(start + columns, len(row["statuses"]))))
            line.title = "" if start else row.get("title") or ""
            line.images.insert(0, None if start else row["query_image"])
            line.heads.insert(0, "query")
            line.frames.insert(0, (style.INK, "-", 1.4))
            line.captions.insert(0, f"id {row['query_pid']}\n{_camera(row['query_camid'])}")
            lines.append(line)
        lines[-1].space = 0.15
    keys = []
    for status, (glyph, colour, line, width, text) in MARKS.items():
        if any(status in row["statuses"] for row in checked):
            look = {"edgecolor": colour, "linestyle": line, "linewidth": width, "fill": False}
            keys.append(Rectangle((0, 0), 1, 1, label=f"{glyph} {text}", **look))
    note = "" if keys else "no gallery image to rank"
    return sheet(lines, title or "", columns + 1, 0.14, widest=0.95, keys=keys, note=note)


def _checked_ranking(row: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("gallery_images", "statuses", "distances", "pids", "camids")
    if len(row["statuses"]):
        same_length(**{key: row[key] for key in keys})
    unknown = [status for status in row["statuses"] if status not in MARKS]
    if unknown:
        raise ValueError(f"expected a status out of {', '.join(STATUSES)}, got {unknown[0]!r}")
    if np.isnan(to_array(row["distances"]).astype(float)).any():
        raise ValueError("expected distances that are numbers, got NaN; have the features diverged?")
    images = [as_image(image, f"gallery image {i}") for i, image in enumerate(row["gallery_images"])]
    return {**row, "gallery_images": images, "query_image": as_image(row["query_image"], "query image")}


def gallery_row(row: Mapping[str, Any], places: Sequence[int]) -> Row:
    """Some places of a checked ranking as a row of pictures with their marks."""
    ranks = np.cumsum([status not in _UNCOUNTED for status in row["statuses"]])
    out = Row([], [], [], frames=[])
    for i in places:
        glyph, *frame, _ = MARKS[row["statuses"][i]]
        image, counted = row["gallery_images"][i], row["statuses"][i] not in _UNCOUNTED
        out.images.append(image if counted else (255 - (255 - image.astype(float)) * 0.45).astype(np.uint8))
        out.heads.append(f"{ranks[i]} {glyph}" if counted else glyph)
        out.frames.append(tuple(frame))
        out.captions.append(f"{row['distances'][i]:.3f}\nid {row['pids'][i]}\n{_camera(row['camids'][i])}")
    return out


def _camera(camid: int) -> str:
    return f"cam {camid}" if camid >= 0 else "cam ?"


@figure_style()
def show_indicators(alpha: Any, labels: Sequence[str], title: str = "Indicator \u03b1") -> Figure:
    """Which channels are on, for several pairs: a row for each pair, a column for each channel, dark = on.

    ``alpha`` is (P, C), zero and non-zero; there are P ``labels``.
    """
    on = to_array(alpha) != 0
    same_length(pairs=on, labels=labels)
    order = np.argsort(-on.mean(0), kind="stable")
    ax = new_figure(style.PAGE_WIDTH, 0.27 * len(on) + 0.9, title).subplots()
    ax.imshow(on[:, order], cmap="Greys", vmin=0, vmax=1.15, aspect="auto")
    ax.hlines(np.arange(1, len(on)) - 0.5, -0.5, on.shape[1] - 0.5, color="white", linewidth=2)
    ax.set(xticks=[], xlabel="channels, those that are on most often first")
    ax.set_yticks(range(len(on)), [short(label, 28) for label in labels])
    counts = ax.secondary_yaxis("right")
    counts.set_yticks(range(len(on)), [f"{row.sum()} on" for row in on])
    for side in (ax, counts):
        side.tick_params(length=0)
        side.spines[:].set_visible(False)
    return ax.figure


@figure_style()
def show_agreement(names: Sequence[str], matrix: Any, title: str = "Which methods say the same?") -> Figure:
    """Correlations (n, n) in [-1, 1] of n methods: blue where they agree, orange where one contradicts the other."""
    values, count = to_array(matrix).astype(float), len(names)
    if values.shape != (count, count) or not count:
        raise ValueError(f"expected one row and one column for each of {count} methods, got {values.shape}")
    if not (np.abs(values) <= 1 + 1e-6).all():
        raise ValueError(f"expected correlations in [-1, 1], got {values.min():g} to {values.max():g}")
    note = "Correlation of their maps, mean over images: 1 the same up to scale, 0 nothing in common."
    side = min(style.PAGE_WIDTH, 0.46 * count + 2.2)
    ax = new_figure(max(5.5, side), side, title, note).subplots()
    text = [[f"{value:.1f}".replace("-0.0", "0.0") for value in row] for row in values]
    colours = seaborn.diverging_palette(33, 245, s=85, l=55, as_cmap=True)
    look = {"vmin": -1, "vmax": 1, "cmap": colours, "square": True, "cbar": False}
    return _heatmap(ax, values, text, [[short(name, 28) for name in names]] * 2, **look)


def _heatmap(ax: Axes, values: np.ndarray, text: list[list[str]], names: Sequence[list[str]], **look: Any) -> Figure:
    labels = {"yticklabels": names[0], "xticklabels": names[1], "annot_kws": {"size": style.SMALL}}
    seaborn.heatmap(values, annot=np.array(text), fmt="", linewidths=1, ax=ax, **labels, **look)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)
    if max(map(len, names[1])) > 4:
        ax.set_xticklabels(names[1], rotation=45, ha="right", rotation_mode="anchor")
    return ax.figure


@figure_style()
def show_camera_pairs(
    values: Any,
    counts: Any,
    query_cameras: Any,
    gallery_cameras: Any,
    title: str = "Camera by camera",
    label: str = "rank-1 (%)",
) -> Figure:
    """A number for every pair of cameras, A queries' in rows and B gallery's in columns; below it, how many queries.

    ``values`` are (A, B) shares in [0, 1], NaN where there is nothing to find; ``counts`` (A, B) queries with a match;
    ``label`` says what the values are.
    """
    shares, numbers = 100 * to_array(values).astype(float), to_array(counts)
    names = [[short(c, 16) for c in np.asarray(side).tolist()] for side in (query_cameras, gallery_cameras)]
    rows, columns = map(len, names)
    if shares.shape != (rows, columns) or numbers.shape != (rows, columns) or not np.isfinite(shares).any():
        came = f"{shares.shape} and {numbers.shape} with {np.isfinite(shares).sum()} numbers"
        raise ValueError(f"expected values and counts of shape {(rows, columns)} with at least one number, got {came}")
    low, high = 10 * np.floor(np.nanmin(shares) / 10), 10 * np.ceil(np.nanmax(shares) / 10)
    width = min(style.PAGE_WIDTH, max(5.5, 0.85 * columns + 1.6))
    ax = new_figure(
        width, 0.5 * rows + 1.3 + 0.06 * max(map(len, names[1])), f"{title} \u00b7 {label}, below it the queries"
    ).subplots()
    for row, column in np.argwhere(np.isnan(shares)):
        ax.text(column + 0.5, row + 0.5, "\u2013", ha="center", va="center", color=style.NOTE)
    text = [[f"{s:.0f}\n{n}" for s, n in zip(*row, strict=True)] for row in zip(shares, numbers, strict=True)]
    look = {"mask": np.isnan(shares), "cmap": style.MASK_COLOURS, "vmin": low, "vmax": max(high, low + 10)}
    _heatmap(ax, shares, text, names, **look)
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
    note = (
        "filled, solid: the interval leaves zero out (blue above, orange below); hollow, dashed: undecided; "
        "arrow: off the axis"
    )
    axes = _interval_panels(names, len(panels), title, note)
    for ax, (heading, values) in zip(axes, panels.items(), strict=True):
        ax.set(title=heading, xlabel="points")
        ax.axvline(0, color=style.GREY, linewidth=1)
        bounds = [[abs(value[k]) for k in ("mean", "low", "high") if value[k] is not None] for value in values if value]
        ends = [max(ends) for ends in bounds] or [1e-9]
        usual = 3 * sorted(ends)[len(ends) // 2]  # room for every interval, but for means far beyond most of the others
        reach = 1.08 * max([end for end in ends if end <= usual] or ends)
        ax.set_xlim(-reach, reach)
        for i, value in enumerate(values):
            if value is not None:
                _draw_estimate(ax, i, value, _side(value["low"], value["high"]), reach)
    return axes[0].figure


def _side(low: float | None, high: float | None, line: float = 0.0) -> int:
    """1: the interval lies above the line, -1: below, 0: undecided."""
    return 0 if low is None else int(low > line) - int(high < line)


def _interval_panels(names: Sequence[str], count: int, title: str, note: str) -> Sequence[Axes]:
    """Panels side by side that share a row for each name."""
    figure = new_figure(style.PAGE_WIDTH, 0.26 * len(names) + 1.9, title, note)
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for ax in axes:
        ax.grid(axis="both")
        ax.locator_params(axis="x", nbins=3)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(names)), [short(name, 48) for name in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return axes


def _draw_estimate(ax: Axes, row: int, point: Mapping[str, Any], side: int, reach: float = np.inf) -> None:
    """A point and its interval: blue, orange or hollow grey by ``side``; beyond ``reach`` an arrow with its number."""
    colour, marker = {1: (style.BLUE, "o"), -1: (style.ORANGE, "s"), 0: (style.GREY, "o")}[side]
    mean, low, high = (point[key] for key in ("mean", "low", "high"))
    if abs(mean) > reach:
        marker, align = (">", "right") if mean > 0 else ("<", "left")
        ax.plot(np.copysign(reach, mean), row, marker=marker, markersize=6, color=colour, clip_on=False)
        place = np.copysign(0.93 * reach, mean)
        ax.text(place, row, f"{mean:+.1f}", ha=align, va="center", size=style.SMALL)
        return
    if low is not None:
        ax.plot([low, high], [row, row], color=colour, linestyle="-" if side else (0, (2, 1)))
    ax.plot(mean, row, marker=marker, markersize=6, color=colour, markerfacecolor=colour if side else "white")


ENERGY, CUE = "energy\non the person", "right cue\nof look-alikes"


@figure_style()
def show_league(league: Any, title: str = "Explanations compared") -> Figure:
    """Each method's localisation, faithfulness and sanity as points with 95 % intervals.

    ``league`` has a tidy ``table`` and ``settings``, as :func:`casnkit.explain.league.read_league` gives them.
    """
    table, about = league.table, league.settings
    same_length(measured_methods=table.method.tolist())
    panels = _league_panels(table)
    energy = panels.get(ENERGY, ({},))[0]
    order = sorted(table.method.unique(), key=lambda name: -energy[name]["mean"] if name in energy else 1)
    failed = set(table.method[table.passed.eq(False).fillna(False)])
    note = (
        "\u2713 passed all sanity checks, \u2717 failed one. Filled: clearly better (blue dot) or worse (orange square) "
        "than the line; hollow: undecided. Line: plain mean (energy), half (cue), random masks (deletion, insertion), "
        "the limit (correlation with the map beside a random pair classifier). Grey tick: chance, the same map moved."
    )
    heading = f"{title} \u00b7 {about['data']}, {sum(about['pairs'].values())} test pairs"
    names = [("\u2717 " if name in failed else "\u2713 ") + name for name in order]
    axes = _interval_panels(names, len(panels), heading, note)
    for ax, (head, (points, line, unit)) in zip(axes, panels.items(), strict=True):
        ax.set_xlabel(unit)
        ax.set_title(head, size=style.SMALL)
        ax.axvline(line, color=style.INK, linewidth=1, linestyle=style.DASHED, zorder=1)
        for i, point in enumerate(map(points.get, order)):
            if point is not None:
                _draw_estimate(ax, i, point, point["side"])
                if head in (ENERGY, CUE) and np.isfinite(point["chance"]):
                    ax.plot(point["chance"], i, marker="|", markersize=9, markeredgewidth=1.8, color=style.GREY)
    return axes[0].figure


def _league_panels(table: Any) -> dict[str, tuple[dict[str, dict[str, Any]], float, str]]:
    """Panel -> (a point for each method, the vertical line, the unit); a point's ``side`` is 1 (better), -1 or 0."""

    def points(measure: str, scale: float = 100, line: float = 0.0, sign: int = 1, than: str = "") -> dict[str, Any]:
        rows = table[(table.measure == measure) & (table.than == than) & table.value.notna()].set_index("method")
        numbers = (scale * rows[["value", "low", "high", "chance"]]).rename(columns={"value": "mean"})
        side = [sign * _side(row.low, row.high, line) for row in numbers.itertuples()]
        return numbers.assign(side=side).to_dict("index")

    energy, over, cue = points("energy"), points("energy", than="plain-mean"), points("cue", line=50)
    for name, point in energy.items():
        point["side"] = over[name]["side"] if name in over else 0
    for point in cue.values():
        point["side"] *= point["low"] < point["high"]
    limits = table.limit[(table.measure == "pair classifier") & table.limit.notna()].tolist()
    limit = limits[0] if limits else 0.5
    panels = {
        ENERGY: (energy, energy["plain-mean"]["mean"] if "plain-mean" in energy else 0, "percent"),
        CUE: (cue, 50.0, "percent"),
        "deletion\ngood: below 0": (points("deletion_probability", sign=-1), 0.0, "points"),
        "insertion\ngood: above 0": (points("insertion_probability"), 0.0, "points"),
        "randomised\ngood: below line": (points("pair classifier", 1, limit, -1), limit, "correlation"),
    }
    return {head: panel for head, panel in panels.items() if panel[0]}
