"""Rank changes as lines: where each true match stands under one ranking, and where under the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .canvas import DASHED, GREY, INK, NOTE, SMALL, Canvas
from .changes import Move
from .style import BLUE, LIGHT, ORANGE

WIDTH, HEIGHT = 430.0, 300.0
_TOP, _BOTTOM, _LEFT, _RIGHT = 46.0, 24.0, 84.0, 84.0


def draw_slopes(moves: Sequence[Move], labels: tuple[str, str], chosen: int | None = None) -> bytes:
    """A line per true match on a logarithmic scale of ranks, rank 1 on top: solid blue up, dashed orange down."""
    canvas = Canvas(WIDTH, HEIGHT)
    left, right = _LEFT, WIDTH - _RIGHT
    canvas.text(left, 2, labels[0], SMALL, NOTE, anchor="ma", width=2 * _LEFT - 6)
    canvas.text(right, 2, labels[1], SMALL, NOTE, anchor="ma", width=2 * _RIGHT - 6)
    if not moves:
        canvas.text(WIDTH / 2, HEIGHT / 2, "no true match", SMALL, NOTE, anchor="mm")
        return canvas.png()
    last = max(max(m.before, m.after) for m in moves)
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000) if t <= last * 1.3]
    for tick in ticks:
        y = place(tick, last)
        canvas.line([(left, y), (right, y)], LIGHT, 1)
        canvas.text(left - 40, y, str(tick), SMALL, NOTE, anchor="rm")
    for x in (left, right):
        canvas.line([(x, _TOP - 6), (x, HEIGHT - _BOTTOM + 6)], GREY, 1)
    for move in sorted(moves, key=lambda m: m.gallery == chosen):
        colour = BLUE if move.gain > 0 else ORANGE if move.gain < 0 else GREY
        ends = [(left, place(move.before, last)), (right, place(move.after, last))]
        wide = 4.0 if move.gallery == chosen else 2.0
        canvas.line(ends, colour, wide, DASHED if move.gain < 0 else None)
        for x, y in ends:
            canvas.disc(x, y, 4.5 if move.gallery == chosen else 3.5, colour)
    for ranks, x, anchor in (([m.before for m in moves], left - 8, "rm"), ([m.after for m in moves], right + 8, "lm")):
        heights = {rank: place(rank, last) for rank in ranks}
        for rank, y in spread(heights, 13.5, _TOP - 6, HEIGHT - 7).items():
            canvas.text(x, y, str(rank), SMALL, INK, True, anchor)
    return canvas.png()


def place(rank: int, last: int) -> float:
    """Height of a rank on the page."""
    share = math.log(rank) / math.log(last) if last > 1 else 0.0
    return _TOP + share * (HEIGHT - _TOP - _BOTTOM)


def spread(places: Mapping[int, float], gap: float, low: float, high: float) -> dict[int, float]:
    """Places for labels, at least ``gap`` apart and within ``low`` .. ``high``, each as near to its own as that allows.

    Where not all fit, the last one is kept and as many before it as there is room for, the first ones first.

    Args:
        places: where each label would like to be.
        gap, low, high: in the units of the places.
    """
    wanted = sorted(places.items(), key=lambda item: (item[1], item[0]))
    room = max(1, int((high - low) / gap + 1e-9) + 1)
    if len(wanted) > room:
        wanted = [*wanted[: room - 1], wanted[-1]]
    out: list[float] = []
    for _, y in wanted:  # downwards: each below the one before it
        out.append(max(y, low, out[-1] + gap if out else low))
    bottom = high
    for k in reversed(range(len(out))):  # and up again, where the last ones left the page
        out[k] = min(out[k], bottom)
        bottom = out[k] - gap
    return {label: y for (label, _), y in zip(wanted, out, strict=True)}
