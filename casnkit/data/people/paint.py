"""From solids to pixels: limbs and turned solids, projected, drawn over each other and coloured pixel by pixel.

A visible pixel lies at ``t`` along its solid's axis (0 at its start, 1 at its end) and at the azimuth ``psi`` (0 = front,
positive to the person's left). Patterns are functions of the two: a logo vanishes when the person turns.
"""

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from casnkit.data.people.look import HEIGHT, PART_INDEX, PARTS, WIDTH

SUPERSAMPLING = 2
CANVAS = (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING)
_BINS = 16  # samples of a solid's half width along its axis
_GRID = (np.arange(_BINS) + 0.5) / _BINS
_ARC = np.linspace(-np.pi / 2, np.pi / 2, 7)
_CAP = np.stack([np.cos(_ARC), np.sin(_ARC)], axis=1)
_SOLIDS = 12  # of one part that have folds of their own
FOLDS = _SOLIDS * (len(PARTS) + 1)  # rows of random numbers that paint needs

Values = np.ndarray  # one for each covered pixel
Point = tuple[float, float, float] | np.ndarray  # (left, up, forward) in body heights
Colour = tuple[float, float, float]
Column = float | Sequence[float] | np.ndarray  # a number for each ring of a solid, or one for all
Layer = tuple[np.ndarray, np.ndarray]  # RGB of the canvas, black where not covered; part index, or where it covers


def _dots(psi: Values, t: Values, v: Values) -> Values:
    row = np.floor(v / 0.042)
    return ((psi * 2.4 + 0.5 * (row % 2)) % 1.0 - 0.5) ** 2 + ((v / 0.042) % 1.0 - 0.5) ** 2 < 0.085


def _face(psi: Values, t: Values, v: Values, *features: str) -> Values:
    """Hair (1) above the line and behind, or a bald head; eyes or glasses and a mouth (2)."""
    front, (hairline, back) = np.abs(psi), (-1.0, 0.0) if "bald" in features else (0.3, 0.62)
    behind = ((front > 1.25) & (t < back)) | ((front > 1.9) & (t < back + 0.15))
    hair = (t < hairline + 0.06 * np.cos(2.5 * psi)) | behind
    high, middle, wide = (0.06, 0.45, 0.3) if "glasses" in features else (0.05, 0.42, 0.14)
    eyes = (np.abs(t - 0.5) < high) & (np.abs(front - middle) < wide)
    mouth = (np.abs(t - 0.79) < 0.03) & (front < 0.25)
    return np.where(hair, 1, np.where(eyes | mouth, 2, 0))


# which of a solid's colours (class 0, 1 or 2) a point has, by psi, t and v, which is t in body heights
_PATTERNS: dict[str, Callable[..., Values]] = {
    "plain": lambda psi, t, v: np.zeros(len(t)),
    "hstripes": lambda psi, t, v: (v / 0.062) % 1.0 < 0.45,
    "vstripes": lambda psi, t, v: (psi * 2.8) % 1.0 < 0.36,
    "checks": lambda psi, t, v: ((psi * 2.6) % 1.0 < 0.38) | ((v / 0.045) % 1.0 < 0.38),
    "dots": _dots,
    "logo": lambda psi, t, v: (np.abs(psi) < 0.62) & (np.abs(t - 0.36) < 0.13),
    "block": lambda psi, t, v: t > 0.5,
    "open": lambda psi, t, v: np.abs(psi) < 0.42 - 0.12 * t,
    "zip": lambda psi, t, v: (np.abs(psi) < 0.09) | ((t < 0.16) & (np.abs(psi) < 1.2)),
    "sidestripe": lambda psi, t, v: np.abs(np.abs(psi) - np.pi / 2) < 0.42,
    "faded": lambda psi, t, v: (np.abs(psi) < 0.75) & ((t - 0.5) ** 2 + (psi / 1.6) ** 2 < 0.16),
    "hem": lambda psi, t, v: np.abs(t - 0.86) < 0.07,
    "panel": lambda psi, t, v: (t > 0.5) & (t < 0.9) & (np.cos(psi) < 0.3),
    "face": _face,
    "hood": lambda psi, t, v: np.where((t < 0.24) | (np.abs(psi) > 0.85) | (t > 0.9), 1, _face(psi, t, v, "bald")),
}


# what covers a solid: the colours of classes 0, 1 and 2, and of the skin, which shows past ``cut`` along the axis; the
# pattern of the classes; how strong folds are; how deep, as a share of the axis, a throat of class 2 reaches in front; the
# body part of class 1, where it is another one (hair on a head)
_PLAIN = (*[(0.0, 0.0, 0.0)] * 3, "plain", 2.0, 1.0, 0.0, "")
Cloth = namedtuple("Cloth", "colour second third skin pattern cut folds neckline second_part", defaults=_PLAIN)
# one projected solid, in pixels of the canvas: small orders are drawn first; outline (n, 2) columns and rows; start and end
# of its axis, and half widths along it; length in body heights; dim is a factor of the brightness
Solid = namedtuple("Solid", "order part cloth outline start end half_widths length dim")


class View(NamedTuple):
    """Orthographic projection; ``turn`` 0 shows the front, pi/2 somebody who walks to the right, pi the back."""

    turn: float  # the person's rotation about the vertical axis, radians
    pitch: float  # how far the camera looks down, as the sine of the angle
    scale: float  # image pixels per body height
    x: float  # where the ground under the person lies, in image pixels
    y: float
    light: tuple[float, float, float]  # strength of the shading, and the light's direction (right, towards the camera)

    def project(self, x: Column, y: Column, z: Column) -> tuple[Column, Column, Column]:
        """Body coordinates to column and row, in pixels of the canvas, and depth towards the camera."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        depth = z * cos - x * sin
        column, row = self.x + (x * cos + z * sin) * self.scale, self.y - (y - self.pitch * depth) * self.scale
        return column * SUPERSAMPLING, row * SUPERSAMPLING, depth

    def depth(self, point: Point) -> float:
        """How far a point of the body lies towards the camera."""
        return self.project(*point)[2]

    def limb(self, order: float, part: str, cloth: Cloth, a: Point, b: Point, radii: tuple, dim: float = 1) -> Solid:
        """A tapered limb with round ends between two points of the body, ``a`` and ``b``."""
        (x0, y0, _), (x1, y1, _) = self.project(*a), self.project(*b)
        unit = self.scale * SUPERSAMPLING
        r0, r1 = radii[0] * unit, radii[1] * unit
        dx, dy = x1 - x0, y1 - y0
        length = max((dx * dx + dy * dy) ** 0.5, 1e-3)
        dx, dy = dx / length, dy / length
        frame = np.array([[dx, dy], [-dy, dx]])
        outline = np.concatenate([(-_CAP * r0) @ frame + (x0, y0), (_CAP * r1) @ frame + (x1, y1)])
        if length < 2:  # seen end on: give it an axis to hang a texture on
            x0, y0, x1, y1 = x0, y0 - r0, x0, y0 + r0
        widths = r0 + (r1 - r0) * _GRID
        return Solid(order, part, cloth, outline, (x0, y0), (x1, y1), widths, length / unit, dim)

    def turned(self, order: float, part: str, cloth: Cloth, rings: tuple[Column, ...], dim: float = 1) -> Solid:
        """A solid of elliptic rings from top to bottom: heights, half widths, half depths, x and z of the centres."""
        up, wide, deep, x, z = np.broadcast_arrays(*(np.asarray(column, float) for column in rings))
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        half = np.sqrt((wide * cos) ** 2 + (deep * sin) ** 2) * self.scale * SUPERSAMPLING
        columns, rows, _ = self.project(x, up, z)
        left, right = np.stack([columns - half, rows], 1), np.stack([columns + half, rows], 1)
        widths = np.interp(_GRID, (rows - rows[0]) / max(rows[-1] - rows[0], 1e-3), half)
        start, end = (columns[0], rows[0]), (columns[-1], max(rows[-1], rows[0] + 1e-3))
        outline, length = np.concatenate([left, right[::-1]]), float(abs(up[0] - up[-1]))
        return Solid(order, part, cloth, outline, start, end, widths, length, dim)


def paint(solids: Sequence[Solid], view: View, folds: np.ndarray) -> Layer:
    """Draw at most 255 solids of a view over each other: RGB and part index of the canvas, uint8, 0 outside.

    Each part uses rows of its own of ``folds``, (FOLDS, 3) random phases, frequencies and amplitudes, so that what one
    part wears leaves the others as they are.
    """
    own = [PART_INDEX[solid.part] for solid in solids]
    rows = [part * _SOLIDS + min(own[:number].count(part), _SOLIDS - 1) for number, part in enumerate(own)]
    drawn = sorted(range(len(solids)), key=lambda number: solids[number].order)
    solids, folds = [solids[number] for number in drawn], folds[[rows[number] for number in drawn]]
    canvas = Image.new("L", CANVAS)
    draw = ImageDraw.Draw(canvas)
    for number, solid in enumerate(solids, start=1):
        draw.polygon(solid.outline.ravel().tolist(), fill=number)
    ids = np.asarray(canvas)
    covered = ids > 0
    k = ids[covered].astype(np.intp) - 1  # the solid of each covered pixel
    t, s = _locate(solids, covered, k)
    strength, right, front = view.light
    shade = 1.0 + strength * (0.55 * (np.sqrt(1.0 - s * s) * front + s * right) - 0.42)
    phase, frequency, amplitude = folds.astype(np.float32).T
    amplitude = amplitude * np.float32([solid.cloth.folds for solid in solids])
    shade += amplitude[k] * np.sin(phase[k] + frequency[k] * t + 2.2 * s)
    shade *= np.float32([solid.dim for solid in solids])[k]
    rgb, parts = np.zeros((*ids.shape, 3), np.uint8), np.zeros(ids.shape, np.uint8)
    colours, parts[covered] = _colour(solids, view.turn, k, t, s)
    rgb[covered] = (colours * shade[:, None]).clip(0, 255).astype(np.uint8)
    return rgb, parts


def _locate(solids: Sequence[Solid], covered: np.ndarray, k: Values) -> tuple[Values, Values]:
    """Where each pixel lies on its solid: t in [0, 1] along the axis, s in [-1, 1] across it."""
    start = np.float32([solid.start for solid in solids])
    axis = np.float32([solid.end for solid in solids]) - start
    square = np.maximum((axis**2).sum(1), 1e-6)
    along = axis / square[:, None]
    across = np.stack([axis[:, 1], -axis[:, 0]], 1) / np.sqrt(square)[:, None]
    y, x = (values.astype(np.float32) for values in np.nonzero(covered))
    t = np.clip(along[k, 0] * x + along[k, 1] * y - (along * start).sum(1)[k], 0.0, 0.9999)
    lateral = across[k, 0] * x + across[k, 1] * y - (across * start).sum(1)[k]
    widths = np.maximum(np.float32([solid.half_widths for solid in solids]), 0.5)
    return t, np.clip(lateral / widths[k, (t * _BINS).astype(np.intp)], -1.0, 1.0)


def _colour(solids: Sequence[Solid], turn: float, k: Values, t: Values, s: Values) -> tuple[Values, Values]:
    """Colour (n, 3) and part index (n,) of each pixel."""
    table = np.float32([solid.cloth[:4] for solid in solids])  # its four colours
    choice = np.zeros(len(k), np.intp)
    part = np.array([PART_INDEX[solid.part] for solid in solids], np.uint8)[k]
    for number, solid in enumerate(solids):
        cloth = solid.cloth
        if cloth.pattern == "plain" and not cloth.neckline:
            continue
        here = np.flatnonzero(k == number)
        psi = (np.arcsin(s[here]) - turn + np.pi) % (2 * np.pi) - np.pi
        name, *features = cloth.pattern.split("-")
        chosen = _PATTERNS[name](psi, t[here], t[here] * solid.length, *features).astype(np.intp)
        if cloth.neckline:
            chosen[t[here] < cloth.neckline * (1 - np.abs(psi))] = 2
        choice[here] = chosen
        if cloth.second_part:
            part[here[chosen == 1]] = PART_INDEX[cloth.second_part]
    choice[t > np.float32([solid.cloth.cut for solid in solids])[k]] = 3
    return table.reshape(-1, 3)[k * 4 + choice], part
