"""The six cameras' panoramas, painted: ``python figures/make/scenes.py`` writes ``casnkit/data/people/scenes.png``.

They are the same for every seed, so the kit ships them: one below the other, before stains and grain. The picture's note
``grain`` holds the states of the generators behind the painting, from which ``scene`` goes on.
"""

import json
from collections import namedtuple
from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from casnkit.data.files import atomic_path
from casnkit.data.people.scene import PAINTED, SCENE_HEIGHT, SCENE_WIDTH

_ZOOM = 2  # scenes are painted enlarged and then reduced, for smooth edges
_WALL_FOOT = 168  # the row in which walls meet the ground
RGB = tuple[int, int, int]


class Brush(namedtuple("Brush", "draw rng")):
    """Draws in scene coordinates on an enlarged canvas."""

    def box(self, left: float, top: float, right: float, bottom: float, colour: RGB, at: Iterable[int] = (0,)) -> None:
        for x in at:
            self.draw.rectangle([v * _ZOOM for v in (x + left, top, x + right, bottom)], fill=colour)

    def bands(self, *rows: tuple[float, float, RGB]) -> None:
        for top, bottom, colour in rows:
            self.box(0, top, SCENE_WIDTH, bottom, colour)

    def shape(self, points: Iterable[tuple[float, float]], colour: RGB) -> None:
        self.draw.polygon([(x * _ZOOM, y * _ZOOM) for x, y in points], fill=colour)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: RGB, width: float = 1.0) -> None:
        self.draw.line([v * _ZOOM for v in (x0, y0, x1, y1)], fill=colour, width=max(1, round(width * _ZOOM)))

    def blob(self, x: float, y: float, rx: float, ry: float, colour: RGB) -> None:
        self.draw.ellipse([v * _ZOOM for v in (x - rx, y - ry, x + rx, y + ry)], fill=colour)

    def vary(self, colour: RGB, by: float) -> RGB:
        shift = float(self.rng.normal(0, by))
        return tuple(int(np.clip(c + shift, 0, 255)) for c in colour)

    def sky(self, bottom: int, high: RGB, low: RGB) -> None:
        for row in range(bottom):
            colour = tuple(int(a + (b - a) * (row / bottom)) for a, b in zip(high, low, strict=True))
            self.bands((row, row + 1, colour))

    def tiles(self, top: float, colour: RGB, joint: RGB, columns: float, first: float = 3.0) -> None:
        """Paving in perspective from ``top`` to the bottom."""
        centre, horizon, upper, step = SCENE_WIDTH / 2, top - 90, top, first
        while upper < SCENE_HEIGHT:
            lower = upper + step
            far, near = (columns * (row - horizon) / 90 for row in (upper, lower))
            for i in range(-40, 40):
                x = (centre + i * far, centre + (i + 1) * far, centre + (i + 1) * near, centre + i * near)
                if max(x) >= 0 and min(x) <= SCENE_WIDTH:
                    self.shape(list(zip(x, (upper, upper, lower, lower), strict=True)), self.vary(colour, 5))
            self.line(0, upper, SCENE_WIDTH, upper, joint, 0.8)
            upper, step = lower, step * 1.22
        for i in range(-40, 41):
            far, near = (centre + i * columns * (row - horizon) / 90 for row in (top, SCENE_HEIGHT))
            self.line(far, top, near, SCENE_HEIGHT, joint, 0.8)

    def tree(self, x: float, foot: float, tall: float, leaf: RGB) -> None:
        half, fork = tall * 0.045, foot - tall * 0.6
        self.shape([(x - half, foot), (x + half, foot), (x + half * 0.5, fork), (x - half * 0.5, fork)], (86, 68, 52))
        for _ in range(70):
            angle, reach = self.rng.uniform(0, 2 * np.pi), np.sqrt(self.rng.random())
            dx, dy = np.cos(angle) * reach * tall * 0.33, np.sin(angle) * reach * tall * 0.3
            colour = self.vary(tuple(int(c * (1 - dy / tall)) for c in leaf), 9)
            self.blob(x + dx, foot - tall * 0.72 + dy, tall * 0.085, tall * 0.07, colour)

    def window(self, x: float, y: float, wide: float, tall: float, frame: RGB, glass: RGB) -> None:
        self.box(x - 2, y - 2, x + wide + 2, y + tall + 2, frame)
        self.box(x, y, x + wide, y + tall, self.vary(glass, 8))
        low = y + tall
        gleam = [(x + wide * 0.15, low), (x + wide * 0.45, y), (x + wide * 0.7, y), (x + wide * 0.4, low)]
        self.shape(gleam, tuple(min(255, c + 32) for c in glass))
        self.box(x + wide / 2 - 0.8, y, x + wide / 2 + 0.8, y + tall, frame)

    def car(self, x: float, y: float, colour: RGB) -> None:
        """A parked car with its left end on the ground at (x, y)."""
        body = ((0, 0), (0, 22), (22, 27), (42, 47), (98, 47), (122, 26), (140, 21), (142, 0))
        front, rear = ((30, 28), (45, 43), (66, 43), (66, 28)), ((70, 28), (70, 43), (95, 43), (113, 28))
        for outline, fill in ((body, colour), (front, (58, 70, 82)), (rear, (58, 70, 82))):
            self.shape([(x + dx, y - dy) for dx, dy in outline], fill)
        for wheel in (x + 28, x + 114):
            self.blob(wheel, y, 13, 13, (30, 30, 32))
            self.blob(wheel, y, 6, 6, (150, 152, 156))

    def plaza(self) -> None:
        self.sky(120, (176, 198, 222), (216, 224, 230))
        for x in range(0, SCENE_WIDTH, 190):  # an office front of glass and concrete
            self.box(x, 18, x + 176, _WALL_FOOT, self.vary((176, 174, 168), 5))
            for row, column in product(range(4), range(6)):
                self.window(x + 9 + column * 28, 28 + row * 34, 19, 24, (120, 124, 128), (92, 116, 138))
        for x in range(30, SCENE_WIDTH, 120):
            self.box(x, _WALL_FOOT - 16, x + 62, _WALL_FOOT + 3, (118, 116, 112))
            for _ in range(26):
                dx, dy = self.rng.uniform(2, 60), self.rng.uniform(0, 12)
                self.blob(x + dx, _WALL_FOOT - 18 - dy, 7, 6, self.vary((66, 102, 58), 10))
        self.tiles(_WALL_FOOT + 2, (182, 176, 166), (148, 142, 132), 34)

    def lawn(self) -> None:
        self.sky(150, (160, 192, 226), (214, 226, 232))
        self.box(120, 66, 420, 170, (198, 182, 154))
        for x, y in product(range(134, 410, 34), (76, 106, 136)):
            self.window(x, y, 16, 19, (228, 220, 204), (84, 98, 110))
        self.shape([(112, 68), (428, 68), (404, 46), (136, 46)], (132, 74, 58))
        for x in range(-20, SCENE_WIDTH + 60, 46):
            aside, down = self.rng.uniform(-14, 14), self.rng.uniform(-6, 4)
            self.tree(x + aside, 172 + down, self.rng.uniform(90, 170), (70, 116, 56))
        self.bands((166, SCENE_HEIGHT, (102, 142, 72)))
        for _ in range(9000):
            x, y = self.rng.uniform(0, SCENE_WIDTH), 166 + 134 * self.rng.random() ** 1.2
            self.line(x, y, x + self.rng.normal(0, 1.5), y - 1.5 - (y - 166) * 0.03, self.vary((98, 140, 68), 14), 0.6)
        self.shape([(0, 210), (SCENE_WIDTH, 196), (SCENE_WIDTH, 252), (0, 262)], (188, 176, 150))
        self.line(0, 210, SCENE_WIDTH, 196, (150, 146, 118), 2)
        self.line(0, 262, SCENE_WIDTH, 252, (150, 146, 118), 2.5)

    def brick(self) -> None:
        self.bands((0, _WALL_FOOT, (176, 158, 142)))
        for row, y in enumerate(np.arange(0, _WALL_FOOT, 7)):
            for x in np.arange(-17 * (row % 2) / 2, SCENE_WIDTH, 17):
                self.box(x, y, x + 15.8, min(y + 5.8, _WALL_FOOT), self.vary((152, 84, 66), 9))
        for x in range(24, SCENE_WIDTH, 128):
            self.box(x - 5, 98, x + 57, 104, (196, 188, 172))
            self.window(x, 34, 52, 64, (222, 216, 204), (66, 78, 92))
        for x in (92, 480):  # doors
            self.box(x - 4, 74, x + 44, _WALL_FOOT, (206, 200, 186))
            self.box(x, 78, x + 40, _WALL_FOOT, (58, 86, 72))
            self.blob(x + 34, 126, 2, 2, (220, 200, 120))
        self.bands((_WALL_FOOT - 12, _WALL_FOOT, (120, 112, 106)))
        self.box(0, 0, 5, _WALL_FOOT, (92, 92, 96), at=(70, 330, 610))  # pipes
        self.tiles(_WALL_FOOT, (150, 146, 142), (116, 112, 108), 52, 5.0)

    def shop(self) -> None:
        self.bands((0, _WALL_FOOT, (206, 196, 182)))
        goods = ((190, 60, 60), (230, 190, 70), (70, 130, 170), (240, 240, 232), (120, 170, 110), (60, 60, 70))
        for number, x in enumerate(range(-10, SCENE_WIDTH, 154)):
            awning = ((150, 44, 50), (44, 88, 74), (52, 70, 120))[number % 3]
            self.box(x, 20, x + 148, 44, awning)
            self.box(0, 28, 8, 36, (240, 232, 214), at=range(x + 18, x + 130, 16))  # letters
            self.box(x + 6, 62, x + 96, 156, (74, 70, 66))
            self.box(x + 9, 65, x + 93, 150, (110, 122, 128))
            for _ in range(16):
                gx, gy = x + 12 + self.rng.uniform(0, 66), 118 + self.rng.uniform(0, 20)
                self.box(gx, gy, gx + self.rng.uniform(6, 14), 150, goods[int(self.rng.integers(6))])
            self.shape([(x + 20, 150), (x + 48, 65), (x + 62, 65), (x + 34, 150)], (140, 152, 158))
            self.box(x + 104, 66, x + 142, _WALL_FOOT, (66, 60, 56))
            self.box(x + 109, 72, x + 137, _WALL_FOOT - 8, (128, 142, 148))
            for i in range(12):  # the awning's stripes
                left, right = x + 148 * i / 12, x + 148 * (i + 1) / 12
                self.shape([(left, 44), (right, 44), (right, 62), (left, 62)], awning if i % 2 else (236, 230, 218))
        self.bands((_WALL_FOOT - 10, _WALL_FOOT, (96, 90, 86)))
        self.tiles(_WALL_FOOT, (168, 160, 156), (138, 130, 126), 22, 3.0)

    def road(self) -> None:
        self.sky(110, (196, 204, 214), (222, 224, 226))
        for x in range(0, SCENE_WIDTH, 96):
            self.box(x, 40 + self.rng.uniform(-26, 26), x + 96, 150, self.vary((164, 158, 152), 14))
            for row, column in product(range(3), range(4)):
                self.window(x + 8 + 22 * column, 70 + 26 * row, 11, 15, (140, 138, 136), (84, 92, 104))
        self.bands((138, 152, (74, 106, 62)), (150, 192, (98, 98, 102)))
        colours = ((170, 38, 40), (222, 222, 220), (52, 60, 78), (120, 126, 130), (36, 78, 128))
        for number, x in enumerate(range(-30, SCENE_WIDTH, 168)):
            self.car(x + self.rng.uniform(0, 16), 176, colours[number % 5])
        self.box(0, 184, 30, 187, (214, 212, 204), at=range(0, SCENE_WIDTH, 56))
        self.bands((192, 199, (186, 184, 178)), (197, 200, (128, 126, 122)))
        self.tiles(200, (158, 156, 154), (132, 130, 128), 42, 7.0)

    def stairs(self) -> None:
        self.bands((0, 70, (142, 140, 136)))
        self.box(0, 0, 2, 70, (118, 116, 112), at=range(0, SCENE_WIDTH, 76))
        self.box(18, 8, 58, 50, (70, 78, 84), at=range(0, SCENE_WIDTH, 76))
        for y in range(62, 170, 12):  # the steps
            light, dark = self.vary((186, 182, 174), 3), self.vary((128, 124, 118), 3)
            self.bands((y, y + 5, light), (y + 5, y + 12, dark))
        for x in range(40, SCENE_WIDTH, 150):
            for rail in (0, 6):
                self.line(x + rail, 40, x + 26 + rail, 150, (62, 66, 72), 2.2)
            for i in range(5):
                self.line(x + 5 * i, 44 + 22 * i, x + 5 * i, 74 + 22 * i, (62, 66, 72), 2)
        for x in range(110, SCENE_WIDTH, 220):
            self.box(x, 96, x + 40, 172, (112, 108, 104))
            for _ in range(40):
                self.blob(x + self.rng.uniform(-2, 42), 92 - self.rng.uniform(0, 20), 8, 7, self.vary((58, 88, 54), 10))
        self.tiles(170, (166, 160, 150), (136, 130, 122), 60, 8.0)


SCENES = {1: Brush.plaza, 2: Brush.lawn, 3: Brush.brick, 4: Brush.shop, 5: Brush.road, 6: Brush.stairs}


def painted(camid: int) -> tuple[Image.Image, dict[str, Any]]:
    """The panorama of a camera, (SCENE_WIDTH, SCENE_HEIGHT) RGB, and the state in which it leaves its generator."""
    rng = np.random.default_rng([20_19, camid])
    image = Image.new("RGB", (SCENE_WIDTH * _ZOOM, SCENE_HEIGHT * _ZOOM), (150, 150, 150))
    SCENES[camid](Brush(ImageDraw.Draw(image), rng))
    return image.reduce(_ZOOM), rng.bit_generator.state


def main() -> None:
    """Write the picture."""
    images, states = zip(*map(painted, SCENES), strict=True)
    note = PngInfo()
    note.add_text("grain", json.dumps(states))
    with atomic_path(PAINTED) as temporary:
        Image.fromarray(np.concatenate(images)).save(temporary, optimize=True, pnginfo=note)


if __name__ == "__main__":
    main()
