"""What lies behind the people: one wide scene for each camera, painted once.

An image's background is a crop of its camera's scene, so that backgrounds of one camera resemble each other without
being equal. The world is the same for every seed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from .brush import SCENE_HEIGHT, SCENE_WIDTH, ZOOM, Brush
from .cameras import CAMERAS

FOOT_ROWS = (202.0, 242.0)  # where people may stand; nearer is lower and larger
_WALL_FOOT = 168  # the row in which walls meet the ground


@lru_cache(maxsize=16)
def scene(camid: int) -> Image.Image:
    """The panorama of a camera, (SCENE_WIDTH, SCENE_HEIGHT) RGB, before the camera's colour response."""
    painters = {"plaza": _plaza, "lawn": _lawn, "brick": _brick, "shop": _shop, "road": _road, "stairs": _stairs}
    rng = np.random.default_rng([20_19, camid])
    image = Image.new("RGB", (SCENE_WIDTH * ZOOM, SCENE_HEIGHT * ZOOM), (150, 150, 150))
    painters[CAMERAS[camid].scene](Brush(image, rng))
    return _weather(image.reduce(ZOOM), rng)


def _weather(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Stains and grain, so that no surface is one colour."""
    pixels = np.asarray(image, np.float32)
    for cell, strength in ((60, 4.0), (11, 3.0), (2, 4.0)):
        shape = (SCENE_HEIGHT // cell + 2, SCENE_WIDTH // cell + 2)
        coarse = Image.fromarray((128 + 40 * rng.standard_normal(shape)).clip(0, 255).astype(np.uint8))
        fine = np.asarray(coarse.resize((SCENE_WIDTH, SCENE_HEIGHT), Image.Resampling.BICUBIC), np.float32)
        pixels = pixels + ((fine - 128) / 40 * strength)[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _plaza(b: Brush) -> None:
    b.sky(120, (176, 198, 222), (216, 224, 230))
    for x in range(0, SCENE_WIDTH, 190):  # an office front of glass and concrete
        b.box(x, 18, x + 176, _WALL_FOOT, b.vary((176, 174, 168), 5))
        for row in range(4):
            for column in range(6):
                b.window(x + 9 + column * 28, 28 + row * 34, 19, 24, (120, 124, 128), (92, 116, 138))
    for x in range(30, SCENE_WIDTH, 120):
        b.box(x, _WALL_FOOT - 16, x + 62, _WALL_FOOT + 3, (118, 116, 112))
        for _ in range(26):
            b.blob(x + b.rng.uniform(2, 60), _WALL_FOOT - 18 - b.rng.uniform(0, 12), 7, 6, b.vary((66, 102, 58), 10))
    b.tiles(_WALL_FOOT + 2, (182, 176, 166), (148, 142, 132), 34)


def _lawn(b: Brush) -> None:
    b.sky(150, (160, 192, 226), (214, 226, 232))
    b.box(120, 66, 420, 170, (198, 182, 154))
    for x in range(134, 410, 34):
        for y in (76, 106, 136):
            b.window(x, y, 16, 19, (228, 220, 204), (84, 98, 110))
    b.shape([(112, 68), (428, 68), (404, 46), (136, 46)], (132, 74, 58))
    for x in range(-20, SCENE_WIDTH + 60, 46):
        b.tree(x + b.rng.uniform(-14, 14), 172 + b.rng.uniform(-6, 4), b.rng.uniform(90, 170), (70, 116, 56))
    b.box(0, 166, SCENE_WIDTH, SCENE_HEIGHT, (102, 142, 72))
    for _ in range(9000):
        x, y = b.rng.uniform(0, SCENE_WIDTH), 166 + 134 * b.rng.random() ** 1.2
        b.line(x, y, x + b.rng.normal(0, 1.5), y - 1.5 - (y - 166) * 0.03, b.vary((98, 140, 68), 14), 0.6)
    b.shape([(0, 210), (SCENE_WIDTH, 196), (SCENE_WIDTH, 252), (0, 262)], (188, 176, 150))
    b.line(0, 210, SCENE_WIDTH, 196, (150, 146, 118), 2)
    b.line(0, 262, SCENE_WIDTH, 252, (150, 146, 118), 2.5)


def _brick(b: Brush) -> None:
    b.bricks(0, _WALL_FOOT, (152, 84, 66), (176, 158, 142), (17, 7))
    for x in range(24, SCENE_WIDTH, 128):
        b.box(x - 5, 98, x + 57, 104, (196, 188, 172))
        b.window(x, 34, 52, 64, (222, 216, 204), (66, 78, 92))
    for x in (92, 480):
        b.box(x - 4, 74, x + 44, _WALL_FOOT, (206, 200, 186))
        b.box(x, 78, x + 40, _WALL_FOOT, (58, 86, 72))
        b.blob(x + 34, 126, 2, 2, (220, 200, 120))
    b.box(0, _WALL_FOOT - 12, SCENE_WIDTH, _WALL_FOOT, (120, 112, 106))
    for x in (70, 330, 610):
        b.box(x, 0, x + 5, _WALL_FOOT, (92, 92, 96))
    b.tiles(_WALL_FOOT, (150, 146, 142), (116, 112, 108), 52, 5.0)


def _shop(b: Brush) -> None:
    b.box(0, 0, SCENE_WIDTH, _WALL_FOOT, (206, 196, 182))
    goods = ((190, 60, 60), (230, 190, 70), (70, 130, 170), (240, 240, 232), (120, 170, 110), (60, 60, 70))
    for number, x in enumerate(range(-10, SCENE_WIDTH, 154)):
        awning = ((150, 44, 50), (44, 88, 74), (52, 70, 120))[number % 3]
        b.box(x, 20, x + 148, 44, awning)
        for i in range(7):
            b.box(x + 18 + i * 16, 28, x + 26 + i * 16, 36, (240, 232, 214))
        b.box(x + 6, 62, x + 96, 156, (74, 70, 66))
        b.box(x + 9, 65, x + 93, 150, (110, 122, 128))
        for _ in range(16):
            gx, gy = x + 12 + b.rng.uniform(0, 66), 118 + b.rng.uniform(0, 20)
            b.box(gx, gy, gx + b.rng.uniform(6, 14), 150, goods[int(b.rng.integers(6))])
        b.shape([(x + 20, 150), (x + 48, 65), (x + 62, 65), (x + 34, 150)], (140, 152, 158))
        b.box(x + 104, 66, x + 142, _WALL_FOOT, (66, 60, 56))
        b.box(x + 109, 72, x + 137, _WALL_FOOT - 8, (128, 142, 148))
        stripes = [(x + 148 * i / 12, x + 148 * (i + 1) / 12) for i in range(12)]
        for i, (left, right) in enumerate(stripes):
            b.shape([(left, 44), (right, 44), (right, 62), (left, 62)], awning if i % 2 else (236, 230, 218))
    b.box(0, _WALL_FOOT - 10, SCENE_WIDTH, _WALL_FOOT, (96, 90, 86))
    b.tiles(_WALL_FOOT, (168, 160, 156), (138, 130, 126), 22, 3.0)


def _road(b: Brush) -> None:
    b.sky(110, (196, 204, 214), (222, 224, 226))
    for x in range(0, SCENE_WIDTH, 96):
        b.box(x, 40 + b.rng.uniform(-26, 26), x + 96, 150, b.vary((164, 158, 152), 14))
        for row in range(3):
            for column in range(4):
                b.window(x + 8 + 22 * column, 70 + 26 * row, 11, 15, (140, 138, 136), (84, 92, 104))
    b.box(0, 138, SCENE_WIDTH, 152, (74, 106, 62))
    b.box(0, 150, SCENE_WIDTH, 192, (98, 98, 102))
    colours = ((170, 38, 40), (222, 222, 220), (52, 60, 78), (120, 126, 130), (36, 78, 128))
    for number, x in enumerate(range(-30, SCENE_WIDTH, 168)):
        b.car(x + b.rng.uniform(0, 16), 176, colours[number % 5])
    for x in range(0, SCENE_WIDTH, 56):
        b.box(x, 184, x + 30, 187, (214, 212, 204))
    b.box(0, 192, SCENE_WIDTH, 199, (186, 184, 178))
    b.box(0, 197, SCENE_WIDTH, 200, (128, 126, 122))
    b.tiles(200, (158, 156, 154), (132, 130, 128), 42, 7.0)


def _stairs(b: Brush) -> None:
    b.box(0, 0, SCENE_WIDTH, 70, (142, 140, 136))
    for x in range(0, SCENE_WIDTH, 76):
        b.box(x, 0, x + 2, 70, (118, 116, 112))
        b.box(x + 18, 8, x + 58, 50, (70, 78, 84))
    steps = 9
    for step in range(steps):
        y = 62 + step * 12
        b.box(0, y, SCENE_WIDTH, y + 5, b.vary((186, 182, 174), 3))
        b.box(0, y + 5, SCENE_WIDTH, y + 12, b.vary((128, 124, 118), 3))
    for x in range(40, SCENE_WIDTH, 150):
        for rail in (0, 6):
            b.line(x + rail, 40, x + 26 + rail, 150, (62, 66, 72), 2.2)
        for i in range(5):
            b.line(x + 5 * i, 44 + 22 * i, x + 5 * i, 74 + 22 * i, (62, 66, 72), 2)
    for x in range(110, SCENE_WIDTH, 220):
        b.box(x, 96, x + 40, 172, (112, 108, 104))
        for _ in range(40):
            b.blob(x + b.rng.uniform(-2, 42), 92 - b.rng.uniform(0, 20), 8, 7, b.vary((58, 88, 54), 10))
    b.tiles(170, (166, 160, 150), (136, 130, 122), 60, 8.0)
