"""One image: a person before a scene, seen through a camera and cut out by a detector.

The detector's box moves person, mask, part map and background together: everything is drawn in the box's coordinates,
so they line up by construction. What comes after (response, blur, noise, JPEG) moves no pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from .attributes import Person
from .body import FIGURE_HEIGHTS, draw_pose, frame_of
from .clothes import Dyes, dress
from .scenes import CAMERAS, FOOT_ROWS, SCENE_HEIGHT, SCENE_WIDTH, Camera, scene, soften
from .settings import HEIGHT, WIDTH, Difficulty
from .shapes import FOLDS, SUPERSAMPLING, View, paint

_NOISE_BANK = 512
_JUNK_CROPS = ("above", "below", "beside", "tiny", "far")


@dataclass(frozen=True)
class Picture:
    """A finished image.

    Attributes:
        image: RGB, (64, 128), before JPEG.
        parts: (128, 64) uint8, index of the visible body part, 0 elsewhere; the person mask is ``parts > 0``.
        clean: (384, 192, 3) uint8 and
        clean_parts: (384, 192) uint8: the person alone before downsampling and degradation.
        quality: JPEG quality.
    """

    image: Image.Image
    parts: np.ndarray
    clean: np.ndarray
    clean_parts: np.ndarray
    quality: int


@dataclass(frozen=True)
class Box:
    """A detector's box in scene coordinates; its width is half its height."""

    left: float
    top: float
    height: float

    @property
    def zoom(self) -> float:
        """Image pixels per scene pixel."""
        return HEIGHT / self.height


@dataclass(frozen=True)
class Passage:
    """What stays alike while one person crosses one camera's view: direction, place and weather."""

    turn: float
    x: float
    foot: float
    sun: float


def draw_passage(rng: np.random.Generator, camera: Camera, difficulty: Difficulty) -> Passage:
    """A person's way past a camera: mostly in its habitual direction, sometimes back, sometimes across."""
    way = rng.choice(3, p=(0.66, 0.22, 0.12))
    turn = camera.turns + (0.0, np.pi, rng.uniform(0, 2 * np.pi))[int(way)] + 0.6 * difficulty.view * rng.standard_normal()
    return Passage(
        float(turn), rng.uniform(110, SCENE_WIDTH - 110), rng.uniform(*FOOT_ROWS), float(camera.sun * rng.uniform(0.4, 1.15))
    )


def render(
    person: Person | None,
    camid: int,
    passage: Passage,
    rng: np.random.Generator,
    difficulty: Difficulty,
    junk: bool = False,
    stranger: Callable[[], Person] | None = None,
) -> Picture:
    """Render one image.

    Args:
        person: whom to draw; None: a false alarm, background alone.
        camid: 1 .. 6.
        passage: as drawn for this person and camera.
        rng: the image's own.
        difficulty: how hard.
        junk: cut the box so that less than half of the person is in it.
        stranger: makes somebody who may walk through the picture as an occluder.
    """
    camera = CAMERAS[camid]
    x, foot = passage.x + 14 * rng.standard_normal(), float(np.clip(passage.foot + 5 * rng.standard_normal(), *FOOT_ROWS))
    near = (foot - FOOT_ROWS[0]) / (FOOT_ROWS[1] - FOOT_ROWS[0])
    tall = camera.height * (0.82 + 0.18 * near) * (FIGURE_HEIGHTS[person["height"]] if person else 1.0)
    box = _detect(rng, x, foot, tall, difficulty, junk, person is None)
    light = (difficulty.light * passage.sun, camera.light + 0.15 * float(rng.standard_normal()), 0.75)
    turn = passage.turn + 0.4 * difficulty.view * float(rng.standard_normal())
    view = View(turn, camera.pitch, tall * box.zoom, (x - box.left) * box.zoom, (foot - box.top) * box.zoom)
    clean = np.zeros((HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING, 3), np.uint8)
    clean_parts = np.zeros(clean.shape[:2], np.uint8)
    ground = _background(camid, box)
    alpha = np.zeros((HEIGHT, WIDTH), np.float32)
    pixels = ground
    if person is not None:
        clean, clean_parts = _figure(person, view, light, rng, difficulty)
        pixels = _shadow(ground, view, light)
        pixels, alpha = _over(pixels, clean, clean_parts > 0)
    parts = clean_parts[1::SUPERSAMPLING, 1::SUPERSAMPLING].copy()
    if rng.random() < difficulty.occluder and person is not None:
        pixels, parts = _occlude(pixels, parts, view, light, rng, difficulty, stranger)
    image, quality = _photograph(pixels, camera, rng, difficulty)
    return Picture(image, parts, clean, clean_parts, quality)


def _detect(
    rng: np.random.Generator, x: float, foot: float, tall: float, difficulty: Difficulty, junk: bool, empty: bool
) -> Box:
    shift_x, shift_y, grow = (difficulty.crop * rng.standard_normal(3)).clip(-0.1, 0.1)
    height, middle, centre = tall * (1.1 + grow), foot - 0.49 * tall + shift_y * tall, x + shift_x * tall
    bad = rng.random() < difficulty.bad_crop
    kind, size = int(rng.integers(4)), rng.uniform(0.5, 1.0)
    if junk:
        kind = _JUNK_CROPS[int(rng.integers(len(_JUNK_CROPS)))]
        middle += {"above": -0.62, "below": 0.6}.get(kind, 0.0) * tall * (0.9 + 0.2 * size)
        centre += tall * (0.3 if rng.random() < 0.5 else -0.3) * (0.9 + 0.3 * size) if kind == "beside" else 0.0
        height *= {"tiny": 0.34, "far": 1.75}.get(kind, 1.0)
    elif empty:
        height, middle = height * rng.uniform(0.4, 1.2), middle - rng.uniform(-0.2, 0.5) * tall
    elif bad:
        if kind == 0:  # the feet are cut off
            middle -= 0.2 * size * tall
            height *= 1 - 0.08 * size
        elif kind == 1:  # much sky
            middle -= 0.1 * size * tall
            height *= 1 + 0.22 * size
        elif kind == 2:  # off-centre
            centre += tall * 0.13 * size * (1 if rng.random() < 0.5 else -1)
        else:  # too wide or too tight
            height *= 1 + (0.3 * size if rng.random() < 0.5 else -0.12 * size)
    return Box(centre - height / 4, middle - height / 2, height)


def _background(camid: int, box: Box) -> np.ndarray:
    height = min(box.height, SCENE_HEIGHT - 1.0)
    left = max(0.0, min(box.left, SCENE_WIDTH - height / 2 - 0.5))
    top = max(0.0, min(box.top, SCENE_HEIGHT - height - 0.5))
    area = (left, top, left + height / 2, top + height)
    crop = scene(camid).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=area)
    return np.asarray(crop, np.float32)


def _figure(
    person: Person, view: View, light: tuple[float, float, float], rng: np.random.Generator, difficulty: Difficulty
) -> tuple[np.ndarray, np.ndarray]:
    """The person alone at the supersampled size: colours and part indices."""
    frame = frame_of(person)
    pose = draw_pose(rng, frame, difficulty.pose)
    jitter = difficulty.jitter * rng.standard_normal((8, 3))
    folds = rng.random((FOLDS, 3)) * (2 * np.pi, 14.0, 0.07) + (0.0, 4.0, 0.015)
    rgb, parts, _ = paint(dress(person, frame, pose, view, Dyes(person, difficulty.tint, jitter)), light, folds)
    return rgb, parts


def _over(pixels: np.ndarray, rgb: np.ndarray, covered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A supersampled layer (black where not covered) over an image: (H, W, 3) float32, and the layer's alpha."""
    layer = np.asarray(Image.fromarray(rgb).reduce(SUPERSAMPLING), np.float32)
    alpha = np.asarray(Image.fromarray(covered.view(np.uint8) * 255).reduce(SUPERSAMPLING), np.float32) / 255
    return pixels * (1 - alpha[..., None]) + layer, alpha


@lru_cache(maxsize=1)
def _coordinates() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    return rows, columns


def _shadow(ground: np.ndarray, view: View, light: tuple[float, float, float]) -> np.ndarray:
    """Darken the ground: a pool under the feet, and away from the sun."""
    first = max(0, int(view.y - 0.16 * view.scale))
    if first >= HEIGHT:
        return ground
    rows, columns = (values[first:] for values in _coordinates())
    dy = (rows - view.y) / (0.028 * view.scale)
    dx = (columns - view.x) / (0.15 * view.scale)
    cast = (columns - view.x + light[1] * 0.24 * view.scale) / (0.3 * view.scale)
    dark = 0.5 * np.exp(-dx * dx - dy * dy) + 0.32 * light[0] * np.exp(-cast * cast - dy * dy)
    shaded = ground.copy()
    shaded[first:] *= (1 - dark.clip(0, 0.75))[..., None]
    return shaded


def _occlude(
    pixels: np.ndarray,
    parts: np.ndarray,
    view: View,
    light: tuple[float, float, float],
    rng: np.random.Generator,
    difficulty: Difficulty,
    stranger: Callable[[], Person] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Put a pole, a bush, a bicycle or another person in front; what is hidden leaves mask and part map."""
    kind = int(rng.integers(4))
    side = 1 if rng.random() < 0.5 else -1
    if kind == 3 and stranger is not None:
        offset = side * view.scale * rng.uniform(0.2, 0.32)
        other = View(rng.uniform(0, 2 * np.pi), view.pitch, view.scale * 1.06, view.x + offset, view.y + 0.04 * view.scale)
        rgb, covering = _figure(stranger(), other, light, rng, difficulty)
        covered = covering > 0
    else:
        rgb, covered = _thing(kind, view, side, rng)
    pixels, alpha = _over(pixels, rgb, covered)
    return pixels, np.where(covered[1::SUPERSAMPLING, 1::SUPERSAMPLING], 0, parts).astype(np.uint8)


def _thing(kind: int, view: View, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    layer = Image.new("RGBA", (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING))
    draw, unit = ImageDraw.Draw(layer), view.scale * SUPERSAMPLING
    x, y = (view.x * SUPERSAMPLING + side * unit * rng.uniform(0.05, 0.2)), view.y * SUPERSAMPLING + 0.04 * unit
    grey = int(rng.integers(50, 150))
    if kind == 0:  # pole
        half = unit * rng.uniform(0.018, 0.035)
        for i, tone in enumerate((0.8, 1.1, 0.95, 0.7)):
            left = x - half + i * half / 2
            draw.rectangle([left, 0, left + half / 2 + 1, y], fill=(*(int(min(255, grey * tone)),) * 3, 255))
    elif kind == 1:  # bush
        for _ in range(90):
            dx, dy, r = rng.normal(0, 0.1) * unit, abs(rng.normal(0, 0.12)) * unit, unit * 0.035
            tone = rng.uniform(0.7, 1.2) + dy / unit * 0.8
            colour = tuple(int(min(255, c * tone)) for c in (58, 92, 46))
            draw.ellipse([x + dx - r, y - dy - r, x + dx + r, y - dy + r * 0.8], fill=(*colour, 255))
    else:  # bicycle
        wide, wheel = max(2, int(unit * 0.014)), unit * 0.15
        hue = tuple(int(v) for v in rng.integers(20, 200, 3))
        left, right, axle = x - unit * 0.22, x + unit * 0.22, y - wheel
        for hub in (left, right):
            draw.ellipse([hub - wheel, axle - wheel, hub + wheel, axle + wheel], outline=(28, 28, 30, 255), width=wide)
        seat, crank, bar = (x - unit * 0.1, y - unit * 0.36), (x - unit * 0.02, axle), (x + unit * 0.15, y - unit * 0.38)
        for line in ([(left, axle), seat, crank, (left, axle)], [seat, bar, crank], [bar, (right, axle)]):
            draw.line(line, fill=(*hue, 255), width=wide + 1)
        draw.line([(seat[0] - unit * 0.05, seat[1]), (seat[0] + unit * 0.05, seat[1])], fill=(25, 25, 25, 255), width=wide * 2)
        draw.line([bar, (bar[0] - unit * 0.06, bar[1] - unit * 0.04)], fill=(25, 25, 25, 255), width=wide)
    values = np.asarray(layer)
    covered = values[..., 3] > 0
    return np.ascontiguousarray(values[..., :3]) * covered[..., None], covered


@lru_cache(maxsize=1)
def _noise_bank() -> np.ndarray:
    return np.random.default_rng(64_128).standard_normal((_NOISE_BANK, _NOISE_BANK, 3)).astype(np.float32)


def _photograph(
    pixels: np.ndarray, camera: Camera, rng: np.random.Generator, difficulty: Difficulty
) -> tuple[Image.Image, int]:
    """The camera's optics, colour response, exposure and noise; returns the image and its JPEG quality."""
    strength = difficulty.camera
    matrix = np.eye(3) + strength * (np.asarray(camera.matrix) - np.eye(3))
    gain = camera.gain**strength * 2.0 ** (difficulty.exposure * rng.standard_normal())
    tilt = 0.06 * rng.standard_normal(2)
    balance = 1 + 0.015 * strength * rng.standard_normal(3)
    detail, sharpness = camera.detail * rng.uniform(0.85, 1.1), camera.blur * difficulty.blur * rng.uniform(0.6, 1.5)
    rows, columns = _coordinates()
    pixels = pixels @ (matrix * balance[:, None]).T.astype(np.float32)
    pixels *= (gain * (1 + tilt[0] * (rows / HEIGHT - 0.5) + tilt[1] * (columns / WIDTH - 0.5)))[..., None]
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    image = image.point(_response(camera.gamma**strength))
    if detail < 0.95 and difficulty.blur > 0:
        small = (round(WIDTH * detail), round(HEIGHT * detail))
        image = image.resize(small, Image.Resampling.BILINEAR).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    image = soften(image, sharpness)
    sigma = camera.noise * difficulty.noise * rng.uniform(0.6, 1.4)
    row, column = rng.integers(0, _NOISE_BANK - HEIGHT, 2)
    noise = _noise_bank()[row : row + HEIGHT, column : column + WIDTH]
    pixels = (np.asarray(image, np.float32) + np.float32(sigma) * noise + 0.5).clip(0, 255)
    return Image.fromarray(pixels.astype(np.uint8)), int(rng.integers(difficulty.jpeg, 93))


@lru_cache(maxsize=64)
def _response(gamma: float) -> list[int]:
    return [round(255 * (value / 255) ** gamma) for value in range(256)] * 3
