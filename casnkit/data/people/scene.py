"""Six cameras: what lies behind the people, what may stand before them, and what each camera makes of the light.

A scene is one wide picture of a camera, the same for every seed; an image's background is a crop of it.
"""

import json
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from casnkit.data.people.look import HEIGHT, LOOKS, WIDTH, Difficulty, Rng
from casnkit.data.people.paint import CANVAS, SUPERSAMPLING, Layer, View

SCENE_WIDTH, SCENE_HEIGHT = 760, 300
FOOT_ROWS = (202.0, 242.0)  # where people may stand; nearer is lower and larger
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)  # of an image's pixels
_NOISE_BANK = 512
PAINTED = Path(__file__).with_name("scenes.png")  # by figures/make/scenes.py: one below the other, without grain

# factors of red, green and blue; saturation, gain and gamma; blur in pixels, noise in grey levels; its habitual viewpoint
# in radians (0 = front), and how far it looks down, as a sine; a person's height at the nearest foot row, in scene pixels;
# where the light comes from (-1 left .. 1 right) and how hard it is; the share of the resolution that survives
CAMERAS = {int(camid): SimpleNamespace(**facts) for camid, facts in LOOKS["cameras"].items()}


@lru_cache(maxsize=len(CAMERAS))
def scene(camid: int) -> Image.Image:
    """The panorama of a camera, (SCENE_WIDTH, SCENE_HEIGHT) RGB, before the camera's colour response."""
    rng, top = np.random.default_rng(), SCENE_HEIGHT * (camid - 1)
    with Image.open(PAINTED) as image:
        rng.bit_generator.state = json.loads(image.text["grain"])[camid - 1]
        pixels = np.asarray(image.crop((0, top, SCENE_WIDTH, top + SCENE_HEIGHT)), np.float32)
    for cell, strength in ((60, 4.0), (11, 3.0), (2, 4.0)):  # stains and grain, so that no surface is one colour
        shape = (SCENE_HEIGHT // cell + 2, SCENE_WIDTH // cell + 2)
        coarse = Image.fromarray((128 + 40 * rng.standard_normal(shape)).clip(0, 255).astype(np.uint8))
        fine = np.asarray(coarse.resize((SCENE_WIDTH, SCENE_HEIGHT), Image.Resampling.BICUBIC), np.float32)
        pixels = pixels + ((fine - 128) / 40 * strength)[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def background(camid: int, left: float, top: float, height: float) -> np.ndarray:
    """What a box in the scene, half as wide as high, shows, (HEIGHT, WIDTH, 3) float32; moved inside where it juts out."""
    height = min(height, SCENE_HEIGHT - 1.0)
    left = max(0.0, min(left, SCENE_WIDTH - height / 2 - 0.5))
    top = max(0.0, min(top, SCENE_HEIGHT - height - 0.5))
    area = (left, top, left + height / 2, top + height)
    return np.asarray(scene(camid).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=area), np.float32)


def draw_thing(kind: int, view: View, side: int, rng: Rng) -> Layer:
    """A pole (0), a bush (1) or a bicycle (2) at the person's left or right: RGB of the canvas, and where it covers."""
    layer = Image.new("RGBA", CANVAS)
    draw, unit = ImageDraw.Draw(layer), view.scale * SUPERSAMPLING
    x, y = (view.x * SUPERSAMPLING + side * unit * rng.uniform(0.05, 0.2)), view.y * SUPERSAMPLING + 0.04 * unit
    grey = int(rng.integers(50, 150))
    if kind == 0:
        half = unit * rng.uniform(0.018, 0.035)
        for i, tone in enumerate((0.8, 1.1, 0.95, 0.7)):
            left = x - half + i * half / 2
            draw.rectangle([left, 0, left + half / 2 + 1, y], fill=(int(min(255, grey * tone)),) * 3)
    elif kind == 1:
        for _ in range(90):
            dx, dy, r = rng.normal(0, 0.1) * unit, abs(rng.normal(0, 0.12)) * unit, unit * 0.035
            tone = rng.uniform(0.7, 1.2) + dy / unit * 0.8
            colour = tuple(int(min(255, c * tone)) for c in (58, 92, 46))
            draw.ellipse([x + dx - r, y - dy - r, x + dx + r, y - dy + r * 0.8], fill=colour)
    else:
        colour = tuple(rng.integers(20, 200, 3).tolist())
        wide, wheel, dark = max(2, int(unit * 0.014)), unit * 0.15, (25, 25, 25)
        places = np.array([(-0.22, -0.15), (0.22, -0.15), (-0.1, -0.36), (-0.02, -0.15), (0.15, -0.38)]) * unit + (x, y)
        rear, front, seat, crank, bar = map(tuple, places.tolist())
        for hub, axle in (rear, front):
            draw.ellipse([hub - wheel, axle - wheel, hub + wheel, axle + wheel], outline=(28, 28, 30), width=wide)
        for line in ([rear, seat, crank, rear], [seat, bar, crank], [bar, front]):
            draw.line(line, fill=colour, width=wide + 1)
        draw.line([(seat[0] - unit * 0.05, seat[1]), (seat[0] + unit * 0.05, seat[1])], fill=dark, width=wide * 2)
        draw.line([bar, (bar[0] - unit * 0.06, bar[1] - unit * 0.04)], fill=dark, width=wide)
    values = np.asarray(layer)
    covered = values[..., 3] > 0
    return np.ascontiguousarray(values[..., :3]) * covered[..., None], covered


@lru_cache(maxsize=1)
def _noise_bank() -> np.ndarray:
    """Mostly noise of brightness, as a camera's own processing leaves it."""
    rng = np.random.default_rng(64_128)
    grey, colour = (rng.standard_normal((_NOISE_BANK, _NOISE_BANK, channels)) for channels in (1, 3))
    return (0.8 * grey + 0.5 * colour).astype(np.float32)


def photograph(
    pixels: np.ndarray, camera: SimpleNamespace, rng: Rng, difficulty: Difficulty
) -> tuple[Image.Image, int]:
    """The camera's optics, colour response, exposure and noise; no pixel moves. The image and its JPEG quality."""
    strength = difficulty.camera
    saturated = camera.saturation * np.eye(3) + (1 - camera.saturation) * np.full((3, 3), 1 / 3)
    matrix = np.eye(3) + strength * (np.diag(camera.balance) @ saturated - np.eye(3))
    gain = camera.gain**strength * 2.0 ** (difficulty.exposure * rng.standard_normal())
    tilt = 0.06 * rng.standard_normal(2)
    balance = 1 + 0.015 * strength * rng.standard_normal(3)
    detail, softness = camera.detail * rng.uniform(0.85, 1.1), camera.blur * difficulty.blur * rng.uniform(0.6, 1.5)
    matrix = (matrix * balance[:, None]).astype(np.float32)
    channels = [pixels[..., 0] * row[0] + pixels[..., 1] * row[1] + pixels[..., 2] * row[2] for row in matrix]
    pixels = np.stack(channels, axis=-1)  # sums of its own: a matrix product's last bit depends on the threads
    pixels *= (gain * (1 + tilt[0] * (ROWS / HEIGHT - 0.5) + tilt[1] * (COLUMNS / WIDTH - 0.5)))[..., None]
    response = np.rint(255 * (np.arange(256) / 255) ** (camera.gamma**strength)).astype(np.uint8)
    image = Image.fromarray(response[pixels.clip(0, 255).astype(np.uint8)])
    if detail < 0.95 and difficulty.blur > 0:
        small = (round(WIDTH * detail), round(HEIGHT * detail))
        image = image.resize(small, Image.Resampling.BILINEAR).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    if softness > 0.1:
        image = image.filter(ImageFilter.BoxBlur(softness))
    sigma = camera.noise * difficulty.noise * rng.uniform(0.6, 1.4)
    row, column = rng.integers(0, _NOISE_BANK - HEIGHT, 2)
    noise = _noise_bank()[row : row + HEIGHT, column : column + WIDTH]
    pixels = (np.asarray(image, np.float32) + np.float32(sigma) * noise + 0.5).clip(0, 255)
    return Image.fromarray(pixels.astype(np.uint8)), int(rng.integers(difficulty.jpeg, 93))
