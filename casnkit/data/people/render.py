"""One image: a person before a scene, seen through a camera and cut out by a detector.

The detector's box moves person, mask, part map and background together: everything is drawn in the box's coordinates,
so they line up by construction. What comes after (response, blur, noise, JPEG) moves no pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .attributes import Person
from .body import FIGURE_HEIGHTS, draw_pose, frame_of
from .brush import SCENE_HEIGHT, SCENE_WIDTH
from .cameras import CAMERAS, Camera
from .clothes import dress
from .dyes import SLOTS, Dyes
from .occluders import draw_thing
from .photograph import coordinates, photograph
from .scenes import FOOT_ROWS, scene
from .settings import HEIGHT, WIDTH, Difficulty
from .shapes import FOLDS, SUPERSAMPLING, View, paint

_JUNK_CROPS = ("above", "below", "beside", "tiny", "far")


@dataclass(frozen=True)
class Picture:
    """A finished image.

    Attributes:
        image: RGB, (64, 128), before JPEG.
        parts: (128, 64) uint8, index of the visible body part, 0 elsewhere; the person mask is ``parts > 0``.
        clean: (256, 128, 3) uint8 and
        clean_parts: (256, 128) uint8: the person alone before downsampling and degradation.
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
    way = (0.0, np.pi, rng.uniform(0, 2 * np.pi))[int(rng.choice(3, p=(0.66, 0.22, 0.12)))]
    turn = camera.turns + way + 0.6 * difficulty.view * rng.standard_normal()
    return Passage(
        float(turn),
        rng.uniform(110, SCENE_WIDTH - 110),
        rng.uniform(*FOOT_ROWS),
        float(camera.sun * rng.uniform(0.4, 1.15)),
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
    x = passage.x + 14 * rng.standard_normal()
    foot = float(np.clip(passage.foot + 5 * rng.standard_normal(), *FOOT_ROWS))
    near = (foot - FOOT_ROWS[0]) / (FOOT_ROWS[1] - FOOT_ROWS[0])
    tall = camera.height * (0.82 + 0.18 * near) * (FIGURE_HEIGHTS[person["height"]] if person else 1.0)
    box = _detect(rng, x, foot, tall, difficulty, junk, person is None)
    light = (difficulty.light * passage.sun, camera.light + 0.15 * float(rng.standard_normal()), 0.75)
    turn = passage.turn + 0.4 * difficulty.view * float(rng.standard_normal())
    view = View(turn, camera.pitch, tall * box.zoom, (x - box.left) * box.zoom, (foot - box.top) * box.zoom)
    clean = np.zeros((HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING, 3), np.uint8)
    clean_parts = np.zeros(clean.shape[:2], np.uint8)
    pixels = _background(camid, box)
    if person is not None:
        clean, clean_parts = _figure(person, view, light, rng, difficulty)
        pixels = _over(_shadow(pixels, view, light), clean, clean_parts > 0)
    parts = clean_parts[1::SUPERSAMPLING, 1::SUPERSAMPLING].copy()
    if rng.random() < difficulty.occluder and person is not None:
        pixels, parts = _occlude(pixels, parts, view, light, rng, difficulty, stranger)
    image, quality = photograph(pixels, camera, rng, difficulty)
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
    jitter = difficulty.jitter * rng.standard_normal((len(SLOTS), 3))
    folds = rng.random((FOLDS, 3)) * (2 * np.pi, 14.0, 0.07) + (0.0, 4.0, 0.015)
    rgb, parts, _ = paint(dress(person, frame, pose, view, Dyes(person, difficulty.tint, jitter)), light, folds)
    return rgb, parts


def _over(pixels: np.ndarray, rgb: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """A supersampled layer (black where not covered) over an image, (H, W, 3) float32."""
    layer = np.asarray(Image.fromarray(rgb).reduce(SUPERSAMPLING), np.float32)
    alpha = np.asarray(Image.fromarray(covered.view(np.uint8) * 255).reduce(SUPERSAMPLING), np.float32) / 255
    return pixels * (1 - alpha[..., None]) + layer


def _shadow(ground: np.ndarray, view: View, light: tuple[float, float, float]) -> np.ndarray:
    """Darken the ground: a pool under the feet, and away from the sun."""
    first = max(0, int(view.y - 0.16 * view.scale))
    if first >= HEIGHT:
        return ground
    rows, columns = (values[first:] for values in coordinates())
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
        other = View(
            rng.uniform(0, 2 * np.pi), view.pitch, view.scale * 1.06, view.x + offset, view.y + 0.04 * view.scale
        )
        rgb, covering = _figure(stranger(), other, light, rng, difficulty)
        covered = covering > 0
    else:
        rgb, covered = draw_thing(kind, view, side, rng)
    pixels = _over(pixels, rgb, covered)
    return pixels, np.where(covered[1::SUPERSAMPLING, 1::SUPERSAMPLING], 0, parts).astype(np.uint8)
