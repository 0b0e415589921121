"""What a camera makes of the light: colour response, exposure, resolution, blur, noise. No pixel moves."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from .cameras import Camera
from .settings import HEIGHT, WIDTH, Difficulty

_NOISE_BANK = 512


@lru_cache(maxsize=1)
def coordinates() -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every pixel, (128, 64) float32."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    return rows, columns


@lru_cache(maxsize=1)
def _noise_bank() -> np.ndarray:
    rng = np.random.default_rng(64_128)
    noise = 0.8 * rng.standard_normal((_NOISE_BANK, _NOISE_BANK, 1)) + 0.5 * rng.standard_normal(
        (_NOISE_BANK, _NOISE_BANK, 3)
    )
    return noise.astype(np.float32)  # mostly of brightness, as a camera's own processing leaves it


def photograph(
    pixels: np.ndarray, camera: Camera, rng: np.random.Generator, difficulty: Difficulty
) -> tuple[Image.Image, int]:
    """The camera's optics, colour response, exposure and noise; returns the image and its JPEG quality."""
    strength = difficulty.camera
    matrix = np.eye(3) + strength * (np.asarray(camera.matrix) - np.eye(3))
    gain = camera.gain**strength * 2.0 ** (difficulty.exposure * rng.standard_normal())
    tilt = 0.06 * rng.standard_normal(2)
    balance = 1 + 0.015 * strength * rng.standard_normal(3)
    detail, sharpness = camera.detail * rng.uniform(0.85, 1.1), camera.blur * difficulty.blur * rng.uniform(0.6, 1.5)
    rows, columns = coordinates()
    matrix = (matrix * balance[:, None]).astype(np.float32)
    channels = [pixels[..., 0] * row[0] + pixels[..., 1] * row[1] + pixels[..., 2] * row[2] for row in matrix]
    pixels = np.stack(channels, axis=-1)  # sums of its own: a matrix product's last bit depends on the threads
    pixels *= (gain * (1 + tilt[0] * (rows / HEIGHT - 0.5) + tilt[1] * (columns / WIDTH - 0.5)))[..., None]
    image = Image.fromarray(_response(camera.gamma**strength)[pixels.clip(0, 255).astype(np.uint8)])
    if detail < 0.95 and difficulty.blur > 0:
        small = (round(WIDTH * detail), round(HEIGHT * detail))
        image = image.resize(small, Image.Resampling.BILINEAR).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    image = _soften(image, sharpness)
    sigma = camera.noise * difficulty.noise * rng.uniform(0.6, 1.4)
    row, column = rng.integers(0, _NOISE_BANK - HEIGHT, 2)
    noise = _noise_bank()[row : row + HEIGHT, column : column + WIDTH]
    pixels = (np.asarray(image, np.float32) + np.float32(sigma) * noise + 0.5).clip(0, 255)
    return Image.fromarray(pixels.astype(np.uint8)), int(rng.integers(difficulty.jpeg, 93))


@lru_cache(maxsize=64)
def _response(gamma: float) -> np.ndarray:
    return np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)


def _soften(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.BoxBlur(radius)) if radius > 0.1 else image
