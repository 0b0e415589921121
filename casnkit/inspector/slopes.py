"""Rank changes as lines: where each true match stands under one ranking, and where under the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..figures.style import BLUE, LIGHT, ORANGE
from .canvas import DASHED, GREY, INK, NOTE, SMALL, Canvas
from .changes import Move

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
    _labels(canvas, [m.before for m in moves], last, left - 8, "rm")
    _labels(canvas, [m.after for m in moves], last, right + 8, "lm")
    return canvas.png()


def place(rank: int, last: int) -> float:
    """Height of a rank on the page."""
    share = math.log(rank) / math.log(last) if last > 1 else 0.0
    return _TOP + share * (HEIGHT - _TOP - _BOTTOM)


def _labels(canvas: Canvas, ranks: list[int], last: int, x: float, anchor: str) -> None:
    """Ranks beside the ends of their lines; one that would touch the one above moves down, past the page it is left out."""
    above = -math.inf
    for rank in sorted(set(ranks)):
        y = max(place(rank, last), above + 13.5)
        if y <= HEIGHT - 6:
            canvas.text(x, y, str(rank), SMALL, INK, True, anchor)
            above = y
