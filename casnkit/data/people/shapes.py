"""Two kinds of solid, limbs and turned solids, projected and coloured pixel by pixel.

Every visible pixel knows where on its solid it lies: ``t`` along the axis (0 at its start, 1 at its end) and ``psi``,
the azimuth around it (0 = the person's front, positive towards the person's left). Patterns are functions of the two,
so a stripe runs around a body and a logo vanishes when the person turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .patterns import PATTERNS, wrap
from .settings import HEIGHT, WIDTH

SUPERSAMPLING = 2
_BINS = 16  # samples of a solid's half width along its axis
_ARC = np.linspace(-np.pi / 2, np.pi / 2, 7)
_CAP = np.stack([np.cos(_ARC), np.sin(_ARC)], axis=1)
FOLDS = 12 * 8  # rows of random numbers that paint needs
_GRID = (np.arange(_BINS) + 0.5) / _BINS

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Cloth:
    """What covers a solid: a pattern and the colours of its classes 0, 1 and 2; past ``cut`` along the axis, skin."""

    colour: Colour
    second: Colour = (0.0, 0.0, 0.0)
    third: Colour = (0.0, 0.0, 0.0)
    pattern: str = "plain"
    cut: float = 2.0
    skin: Colour = (0.0, 0.0, 0.0)
    folds: float = 1.0
    neckline: float = 0.0  # a throat of class 2 as deep as this share of the axis, in front


@dataclass(frozen=True)
class Solid:
    """One projected solid: ``order`` (small = drawn first), part index, outline and how to find t and s in it."""

    order: float
    part: int
    cloth: Cloth
    outline: list[tuple[float, float]]
    start: tuple[float, float]
    end: tuple[float, float]
    half_widths: np.ndarray
    turn: float
    length: float
    dim: float = 1.0
    second_part: int = 0  # part of the pixels of class 1, where another one (hair on a head)


@dataclass(frozen=True)
class View:
    """Orthographic projection; ``turn`` 0 shows the front, pi/2 somebody who walks to the right, pi the back.

    Attributes:
        turn: the person's rotation about the vertical axis, radians.
        pitch: how far the camera looks down, as the sine of the angle.
        scale: pixels per body height, ``x``/``y``: where the ground under the person lies; all in image pixels.
    """

    turn: float
    pitch: float
    scale: float
    x: float
    y: float

    def project(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """Body coordinates (left, up, forward; in body heights) to (column, row, depth towards the camera)."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        depth = float(z * cos - x * sin)
        column = self.x + (x * cos + z * sin) * self.scale
        row = self.y - (y - self.pitch * depth) * self.scale
        return float(column) * SUPERSAMPLING, float(row) * SUPERSAMPLING, depth


def limb(
    view: View,
    order: float,
    part: int,
    cloth: Cloth,
    start: Sequence[float],
    end: Sequence[float],
    radii: tuple[float, float],
    dim: float = 1.0,
) -> Solid:
    """A tapered limb with round ends between two points of the body."""
    x0, y0, _ = view.project(*start)
    x1, y1, _ = view.project(*end)
    unit = view.scale * SUPERSAMPLING
    r0, r1 = radii[0] * unit, radii[1] * unit
    dx, dy = x1 - x0, y1 - y0
    length = max((dx * dx + dy * dy) ** 0.5, 1e-3)
    dx, dy = dx / length, dy / length
    frame = np.array([[dx, dy], [-dy, dx]])
    first = (-_CAP * r0) @ frame + (x0, y0)
    last = (_CAP * r1) @ frame + (x1, y1)
    outline = list(map(tuple, np.concatenate([first, last]).tolist()))
    widths = r0 + (r1 - r0) * _GRID
    if length < 2:  # seen end on: give it an axis to hang a texture on
        x0, y0, x1, y1 = x0, y0 - r0, x0, y0 + r0
    return Solid(order, part, cloth, outline, (x0, y0), (x1, y1), widths, view.turn, length / unit, dim)


def turned(
    view: View,
    order: float,
    part: int,
    cloth: Cloth,
    rings: Sequence[Sequence[float]],
    dim: float = 1.0,
    second: int = 0,
) -> Solid:
    """A solid of elliptic rings ``(height, half width, half depth, x, z)`` from top to bottom."""
    r = np.asarray(rings, dtype=float)
    cos, sin = np.cos(view.turn), np.sin(view.turn)
    unit = view.scale * SUPERSAMPLING
    half = np.sqrt((r[:, 1] * cos) ** 2 + (r[:, 2] * sin) ** 2) * unit
    columns = view.x * SUPERSAMPLING + (r[:, 3] * cos + r[:, 4] * sin) * unit
    depth = r[:, 4] * cos - r[:, 3] * sin
    rows = view.y * SUPERSAMPLING - (r[:, 0] - view.pitch * depth) * unit
    left, right = np.stack([columns - half, rows], 1), np.stack([columns + half, rows], 1)
    outline = list(map(tuple, np.concatenate([left, right[::-1]]).tolist()))
    along = (rows - rows[0]) / max(rows[-1] - rows[0], 1e-3)
    widths = np.interp(_GRID, along, half)
    start, end = (columns[0], rows[0]), (columns[-1], max(rows[-1], rows[0] + 1e-3))
    length = float(abs(r[0, 0] - r[-1, 0]))
    return Solid(order, part, cloth, outline, start, end, widths, view.turn, length, dim, second)


def paint(
    solids: Sequence[Solid], light: tuple[float, float, float], folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw solids over each other at the supersampled size.

    Args:
        solids: at most 255, in any order.
        light: strength of the shading, and the light's direction (right, towards the camera).
        folds: (FOLDS, 3) random phase, frequency and amplitude of folds; each part uses rows of its own, so that what
            one part wears leaves the others as they are.

    Returns:
        RGB (h, w, 3) uint8, black outside; part index (h, w) uint8; covered (h, w) bool; h, w = 2 x the image's.
    """
    size = (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING)
    canvas = Image.new("L", size)
    draw = ImageDraw.Draw(canvas)
    rows = _fold_rows(solids)
    drawn = sorted(range(len(solids)), key=lambda number: solids[number].order)
    solids, folds = [solids[number] for number in drawn], folds[[rows[number] for number in drawn]]
    for number, solid in enumerate(solids, start=1):
        draw.polygon(solid.outline, fill=number)
    ids = np.asarray(canvas).reshape(-1)
    index = np.flatnonzero(ids)
    rgb = np.zeros((size[0] * size[1], 3), np.uint8)
    parts = np.zeros(size[0] * size[1], np.uint8)
    if len(index):
        k = ids[index].astype(np.intp) - 1
        t, s = _locate(solids, index, k, size[0])
        base, part = _colour(solids, k, t, s)
        rgb[index] = (base * _shade(solids, k, t, s, light, folds)[:, None]).clip(0, 255).astype(np.uint8)
        parts[index] = part
    shape = (size[1], size[0])
    return rgb.reshape(*shape, 3), parts.reshape(shape), (ids > 0).reshape(shape)


def _fold_rows(solids: Sequence[Solid]) -> list[int]:
    seen: dict[int, int] = {}
    rows = []
    for solid in solids:
        seen[solid.part] = seen.get(solid.part, -1) + 1
        rows.append(solid.part * 12 + min(seen[solid.part], 11))
    return rows


def _locate(solids: Sequence[Solid], index: np.ndarray, k: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel lies on its solid: t in [0, 1] along the axis, s in [-1, 1] across it."""
    start = np.array([solid.start for solid in solids], np.float32)
    axis = np.array([solid.end for solid in solids], np.float32) - start
    square = np.maximum((axis**2).sum(1), 1e-6)
    along = axis / square[:, None]
    across = np.stack([axis[:, 1], -axis[:, 0]], 1) / np.sqrt(square)[:, None]
    rows, columns = np.divmod(index.astype(np.int32), width)
    x, y = columns.astype(np.float32), rows.astype(np.float32)
    offset_t = -(along * start).sum(1)
    offset_s = -(across * start).sum(1)
    t = np.clip(along[k, 0] * x + along[k, 1] * y + offset_t[k], 0.0, 0.9999)
    lateral = across[k, 0] * x + across[k, 1] * y + offset_s[k]
    widths = np.maximum(np.array([solid.half_widths for solid in solids], np.float32), 0.5)
    return t, np.clip(lateral / widths[k, (t * _BINS).astype(np.intp)], -1.0, 1.0)


def _colour(solids: Sequence[Solid], k: np.ndarray, t: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = np.array([(c.colour, c.second, c.third, c.skin) for c in (solid.cloth for solid in solids)], np.float32)
    choice = np.zeros(len(k), np.intp)
    part = np.array([solid.part for solid in solids], np.uint8)[k]
    for number, solid in enumerate(solids):
        cloth = solid.cloth
        if cloth.pattern == "plain" and not cloth.neckline:
            continue
        here = np.flatnonzero(k == number)
        psi = wrap(np.arcsin(s[here]) - solid.turn)
        chosen = PATTERNS[cloth.pattern](psi, t[here], t[here] * solid.length).astype(np.intp)
        if cloth.neckline:
            chosen[t[here] < cloth.neckline * (1 - np.abs(psi))] = 2
        choice[here] = chosen
        if solid.second_part:
            part[here[chosen == 1]] = solid.second_part
    cut = np.array([solid.cloth.cut for solid in solids], np.float32)
    if (cut < 1).any():
        choice[t > cut[k]] = 3
    return table.reshape(-1, 3)[k * 4 + choice], part


def _shade(
    solids: Sequence[Solid],
    k: np.ndarray,
    t: np.ndarray,
    s: np.ndarray,
    light: tuple[float, float, float],
    folds: np.ndarray,
) -> np.ndarray:
    strength, right, front = light
    facing = np.sqrt(1.0 - s * s) * front + s * right
    shade = 1.0 + strength * (0.55 * facing - 0.42)
    phase, frequency, amplitude = folds.astype(np.float32).T
    amplitude = amplitude * np.array([solid.cloth.folds for solid in solids], np.float32)
    shade += amplitude[k] * np.sin(phase[k] + frequency[k] * t + 2.2 * s)
    return shade * np.array([solid.dim for solid in solids], np.float32)[k]
