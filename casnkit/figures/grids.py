"""Ranked lists with marks for right and wrong, tables of colours, and many methods' numbers with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from casnkit.figures import style
from casnkit.figures.images import Row, as_image, as_images, sheet, to_array
from casnkit.figures.style import figure_style, new_figure, short

# status: (glyph, colour, line style, line width, legend). The glyph and the line say it again without the colour.
MARKS = {
    "correct": ("\u2713", style.BLUE, "-", 2.4, "same person"),
    "wrong": ("\u2717", style.ORANGE, (0, (3, 1.8)), 2.2, "another person"),
    "distractor": ("\u25cb", style.INK, (0, (1, 1.3)), 2.2, "distractor (counts as another person)"),
    "junk": ("\u2013", style.GREY, "-", 1.4, "junk (does not count)"),
    "same_camera": ("=", style.GREY, (0, (6, 2)), 1.4, "same person and camera (does not count)"),
    "candidate": ("?", style.INK, "-", 1.4, "candidate: near, perhaps somebody else"),
}
STATUSES = tuple(MARKS)


def show_rankings(rows: Sequence[Mapping[str, Any]], title: str = "", columns: int = 10) -> Figure:
    """Queries with their ranked gallery images; those that the protocol leaves out are pale and take no rank number.

    A row: ``query_image``, ``query_pid``, ``query_camid``; parallel and closest first ``gallery_images``, ``statuses`` (out
    of :data:`STATUSES`), ``distances``, ``pids``, ``camids`` (-1: unknown); maybe a ``title``. ``columns``: images per line.
    """
    columns, lines = min(columns, max(len(row["statuses"]) for row in rows) or 1), []
    for row in rows:
        caption, frame = f"id {row['query_pid']}\ncam {row['query_camid']}", (style.INK, "-", 1.4)
        query = as_image(row["query_image"], "query image"), "query", caption, frame
        tiles, words = gallery_tiles(row), row.get("title", "") if len(row["statuses"]) else "no gallery image to rank"
        for start in range(0, len(tiles) or 1, columns):
            images, heads, captions, frames = zip(query, *tiles[start : start + columns], strict=True)
            if start:
                images, words = (None, *images[1:]), ""
            lines.append(Row(images, heads, captions, title=words, frames=frames))
    found, keys = {status for row in rows for status in row["statuses"]}, []
    for glyph, colour, line, width, text in (MARKS[status] for status in MARKS if status in found):
        look = {"edgecolor": colour, "linestyle": line, "linewidth": width, "fill": False}
        keys.append(Rectangle((0, 0), 1, 1, label=f"{glyph} {text}", **look))
    return sheet(lines, title, columns + 1, widest=0.95, keys=keys)


def gallery_tiles(row: Mapping[str, Any]) -> list[tuple]:
    """Picture, rank with its mark, caption and frame of a ranking's gallery images; one that does not fit is refused."""
    if unknown := set(row["statuses"]) - set(MARKS):
        raise ValueError(f"expected a status out of {', '.join(STATUSES)}, got {', '.join(map(repr, unknown))}")
    tiles, rank = [], 0
    columns = as_images(row["gallery_images"]), *(row[key] for key in ("statuses", "distances", "pids", "camids"))
    for image, status, distance, pid, camid in zip(*columns, strict=True):
        glyph, *frame, _ = MARKS[status]
        counted = status not in ("junk", "same_camera")
        rank += counted
        shown = image if counted else (255 - (255 - image.astype(float)) * 0.45).astype(np.uint8)
        caption = f"{distance:.3f}\nid {pid}\ncam {camid if camid >= 0 else '?'}"
        tiles.append((shown, f"{rank} {glyph}" if counted else glyph, caption, frame))
    return tiles


@figure_style()
def show_indicators(alpha: Any, labels: Sequence[str], title: str = "Indicator \u03b1") -> Figure:
    """Which channels are on: ``alpha`` (P, C), zero or not, as a row for each of P labelled pairs, dark = on."""
    on = to_array(alpha) != 0
    names = [f"{short(label, 28)}: {row.sum()} on" for label, row in zip(labels, on, strict=True)]
    ax = new_figure(style.PAGE_WIDTH, 0.27 * len(on) + 0.9, title).subplots()
    shown = on[:, np.argsort(-on.mean(0), kind="stable")]
    seaborn.heatmap(shown, ax=ax, cmap="Greys", vmin=0, vmax=1.15, cbar=False, yticklabels=names, xticklabels=False)
    ax.hlines(np.arange(1, len(on)), 0, on.shape[1], color="white", linewidth=2)
    ax.set_xlabel("channels, those that are on most often first")
    ax.tick_params(length=0)
    return ax.figure


@figure_style()
def show_differences(names: Sequence, panels: Mapping, title: str = "Difference to the default") -> Figure:
    """A point with its 95 % interval for each of the named settings, from top to bottom; one panel for each number.

    Heading -> for each name ``mean``, ``low``, ``high`` (bounds of a single seed: NaN) and ``clear``, whether it is filled;
    or None where nothing is known.
    """
    note = "filled: clear after the correction (blue above, orange below); hollow: undecided; arrow: off the axis"
    drawn = {}
    for heading, values in panels.items():
        table = pd.DataFrame([value or {} for value in values], columns=["mean", "low", "high", "clear"], dtype=float)
        drawn[heading] = table.assign(side=np.sign(table["mean"]) * table["clear"]), 0, "points"
    return _intervals(names, drawn, title, note)


def _intervals(names: Sequence[str], panels: Mapping[str, tuple], title: str, note: str) -> Figure:
    """Panels side by side with a row for each name: a table in their order, the vertical line, the unit."""
    figure = new_figure(style.PAGE_WIDTH, 0.26 * len(names) + 1.9, title, note)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (heading, (table, line, unit)) in zip(axes, panels.items(), strict=True):
        ax.set_title(heading, size=style.SMALL)
        ax.set_xlabel(unit)
        ax.axvline(line, color=style.INK, linewidth=1, linestyle=style.DASHED, zorder=1)
        _draw_points(ax, table.assign(row=range(len(names))).dropna(subset="mean"), line)
        if unit == "percent":  # chance
            ax.plot(table.chance, range(len(names)), "|", markersize=9, markeredgewidth=1.8, color=style.GREY)
        ax.grid()
        ax.locator_params(axis="x", nbins=3)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(names)), [short(name, 48) for name in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return figure


def _draw_points(ax: Axes, table: pd.DataFrame, line: float) -> None:
    """Points and intervals by their side; a mean thrice as far from the line as most is an arrow with its number."""
    off = (table["mean"] - line).abs()
    far = off > 3 * off.median() + 1
    looks = {1: (style.BLUE, "o", "-"), -1: (style.ORANGE, "s", "-"), 0: (style.GREY, "o", style.DASHED)}
    for side, (colour, marker, dashes) in looks.items():
        part, hollow = table[(table.side == side) & ~far], {} if side else {"markerfacecolor": "white"}
        ax.hlines(part.row, part.low, part.high, color=colour, linestyle=dashes, linewidth=1.8)
        ax.plot(part["mean"], part.row, marker, markersize=6, color=colour, **hollow)
        for point in table[(table.side == side) & far].itertuples():
            left = point.mean < line
            text, align = (f"\u25c0 {point.mean:+.1f}", "left") if left else (f"{point.mean:+.1f} \u25b6", "right")
            ax.text(1 - left, point.row, text, ha=align, va="center", color=colour, transform=ax.get_yaxis_transform())


@figure_style()
def show_league(league: Any) -> Figure:
    """Each method's measures with 95 % intervals; ``league``: as :func:`casnkit.explain.league.read_league` gives it."""
    table, about = league.table, league.settings
    own = table[(table.than == "") & table.value.notna()]
    first = own[own.measure == "energy"].sort_values("value", ascending=False)
    methods = list(dict.fromkeys([*first.method, *table.method]))
    failed = set(table.method[table.passed.eq(False).fillna(False)])
    names = [("\u2717 " if name in failed else "\u2713 ") + name for name in methods]

    def panel(measure: str, line: float, unit: str = "points", sign: int = 1, rows: pd.DataFrame = own) -> tuple:
        found = rows[rows.measure == measure].set_index("method")[["value", "low", "high", "chance"]]
        scaled = (1 if unit == "correlation" else 100) * found.reindex(methods).rename(columns={"value": "mean"})
        above = (scaled.low > line).astype(int) - (scaled.high < line)  # 1 above the line, -1 below, 0 undecided
        return scaled.assign(side=sign * above), line, unit

    plain = np.nan_to_num(100 * first.value[first.method == "plain-mean"].max())
    limit = own.limit[own.measure == "pair classifier"].max()
    panels = {
        "energy\non the person": panel("energy", plain, "percent"),
        "right cue\nof look-alikes": panel("cue", 50, "percent"),
        "deletion\ngood: below 0": panel("deletion_probability", 0, sign=-1),
        "insertion\ngood: above 0": panel("insertion_probability", 0),
        "randomised\ngood: below line": panel("pair classifier", limit, "correlation", -1),
    }
    panels["energy\non the person"][0]["side"] = panel("energy", 0, rows=table[table.than == "plain-mean"])[0].side
    note = (
        "\u2713 passed all sanity checks, \u2717 failed one. Filled: clearly better (blue dot) or worse (orange square) "
        "than the line; hollow: undecided. Line: plain mean (energy), half (cue), random masks (deletion, insertion), "
        "the limit (correlation with the map beside a random pair classifier). Grey tick: chance, the same map moved."
    )
    heading = f"Explanations compared \u00b7 {about['data']}, {sum(about['pairs'].values())} test pairs"
    return _intervals(names, {h: found for h, found in panels.items() if found[0]["mean"].count()}, heading, note)
