"""A table as a picture: one line for each system, what was published as a ring, what was measured as a filled mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casnkit.figures.style import (
    GREY,
    INK,
    LARGE,
    LIGHT,
    MARGIN,
    NORMAL,
    PAGE_WIDTH,
    SERIES,
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

_LINE = 0.26  # inches from one system to the next
_PANELS = {"rank_1": "rank-1 (%)", "mean_ap": "mAP (%)"}
_KEYS = (("published, other systems", GREY, "o", "none"), ("published, this paper's rows", INK, "o", "none"))
_FEATURES, _SUM = SERIES[0], SERIES[1]


def show_table(result: dict[str, Any], benchmark: str | None = None) -> Figure:
    """Rank-1 and mAP of every system on one benchmark; published numbers only where they are confirmed.

    Args:
        result: what :func:`casnkit.tables.read_table` returns.
        benchmark: one of the table's; default: its first.

    Raises:
        ValueError: the table is not about that benchmark.
    """
    benchmark = benchmark or result["benchmarks"][0]
    if benchmark not in result["benchmarks"]:
        raise ValueError(f"expected a benchmark out of {', '.join(result['benchmarks'])}, got {benchmark!r}")
    records = [r for r in result["records"] if r["benchmark"] == benchmark and _is_drawn(r)]
    with figure_style():
        return _draw(records, f"{benchmark}, profile {result['profile']}: published and measured")


def _is_drawn(record: dict[str, Any]) -> bool:
    return bool(record["measured"] or (record["published"] and record["published"]["confirmed"]))


def _draw(records: list[dict[str, Any]], title: str) -> Figure:
    names = list(dict.fromkeys(r["name"] for r in records))
    left = MARGIN + 0.1 + max(text_width(name) for name in names)
    wide, top = (PAGE_WIDTH - left - MARGIN - 0.3) / 2, MARGIN + 0.85
    figure = new_figure(PAGE_WIDTH, top + _LINE * len(names) + 0.5)
    write(figure, MARGIN, MARGIN, title, PAGE_WIDTH - 2 * MARGIN, LARGE, weight="bold")
    _draw_keys(figure)
    for number, (key, heading) in enumerate(_PANELS.items()):
        place = left + number * (wide + 0.3)
        write(figure, place, top - 0.24, heading, wide, NORMAL)
        ax = panel(figure, place, top, wide, _LINE * len(names))
        ax.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names if number == 0 else [])
        ax.grid(axis="both", color=LIGHT, linewidth=0.6)
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        for record in records:
            _draw_record(ax, record, key, names.index(record["name"]))
    return figure


def _draw_record(ax: Axes, record: dict[str, Any], key: str, line: int) -> None:
    if record["published"] and record["published"]["confirmed"]:
        colour = INK if record["row"] else GREY
        ax.plot(record["published"][key], line, marker="o", markersize=7, markerfacecolor="none", color=colour)
    if record["measured"]:
        colour, _, marker = _SUM if record["ranked_by"] == "sum" else _FEATURES
        ax.plot(record["measured"][key], line, marker=marker, markersize=6, color=colour, linestyle="none")


def _draw_keys(figure: Figure) -> None:
    measured = (("measured, by features", *_FEATURES[::2], _FEATURES[0]), ("measured, by the sum", *_SUM[::2], _SUM[0]))
    used = MARGIN
    for name, colour, marker, fill in (*_KEYS, *measured):
        key = panel(figure, used, MARGIN + 0.34, 0.14, 0.14)
        key.plot(0, 0, marker=marker, markersize=6, color=colour, markerfacecolor=fill)
        key.set_axis_off()
        write(figure, used + 0.2, MARGIN + 0.31, name, size=SMALL)
        used += 0.2 + text_width(name) + 0.25
