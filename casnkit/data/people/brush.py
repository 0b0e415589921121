"""Things that scenes are made of: paving in perspective, brick walls, windows, trees, cars."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

SCENE_WIDTH, SCENE_HEIGHT = 760, 300
ZOOM = 2  # scenes are painted enlarged and then reduced, for smooth edges

Colour = tuple[int, int, int]


class Brush:
    """Draws in scene coordinates on an enlarged canvas."""

    def __init__(self, image: Image.Image, rng: np.random.Generator) -> None:
        self.image, self.rng, self.draw = image, rng, ImageDraw.Draw(image)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle."""
        self.draw.rectangle([left * ZOOM, top * ZOOM, right * ZOOM, bottom * ZOOM], fill=colour)

    def shape(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """A filled polygon."""
        self.draw.polygon([(x * ZOOM, y * ZOOM) for x, y in points], fill=colour)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, width: float = 1.0) -> None:
        """A line of ``width`` scene pixels."""
        self.draw.line([x0 * ZOOM, y0 * ZOOM, x1 * ZOOM, y1 * ZOOM], fill=colour, width=max(1, round(width * ZOOM)))

    def blob(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """A filled ellipse."""
        box = [(x - rx) * ZOOM, (y - ry) * ZOOM, (x + rx) * ZOOM, (y + ry) * ZOOM]
        self.draw.ellipse(box, fill=colour)

    def vary(self, colour: Colour, by: float) -> Colour:
        """``colour``, lighter or darker by a random amount."""
        shift = float(self.rng.normal(0, by))
        return tuple(int(np.clip(c + shift, 0, 255)) for c in colour)

    def sky(self, bottom: float, top_colour: Colour, low_colour: Colour) -> None:
        """A vertical gradient from the top to ``bottom``."""
        for row in range(int(bottom)):
            share = row / bottom
            self.box(
                0,
                row,
                SCENE_WIDTH,
                row + 1,
                tuple(int(a + (b - a) * share) for a, b in zip(top_colour, low_colour, strict=True)),
            )

    def tiles(self, top: float, colour: Colour, joint: Colour, columns: float, first: float = 3.0) -> None:
        """Paving in perspective from ``top`` to the bottom."""
        edges, step = [top], first
        while edges[-1] < SCENE_HEIGHT:
            edges.append(edges[-1] + step)
            step *= 1.22
        vanishing = (SCENE_WIDTH / 2, top - 90)
        for upper, lower in pairwise(edges):
            wide = [columns * (row - vanishing[1]) / 90 for row in (upper, lower)]
            for i in range(-40, 40):
                corners = [vanishing[0] + i * wide[0], vanishing[0] + (i + 1) * wide[0]]
                corners += [vanishing[0] + (i + 1) * wide[1], vanishing[0] + i * wide[1]]
                if max(corners) < 0 or min(corners) > SCENE_WIDTH:
                    continue
                rows = (upper, upper, lower, lower)
                self.shape(list(zip(corners, rows, strict=True)), self.vary(colour, 5))
            self.line(0, upper, SCENE_WIDTH, upper, joint, 0.8)
        for i in range(-40, 41):
            x0 = vanishing[0] + i * columns * (top - vanishing[1]) / 90
            x1 = vanishing[0] + i * columns * (SCENE_HEIGHT - vanishing[1]) / 90
            self.line(x0, top, x1, SCENE_HEIGHT, joint, 0.8)

    def bricks(self, top: float, bottom: float, colour: Colour, joint: Colour, size: tuple[float, float]) -> None:
        """A wall of bricks ``size`` wide and high."""
        self.box(0, top, SCENE_WIDTH, bottom, joint)
        for row, y in enumerate(np.arange(top, bottom, size[1])):
            for x in np.arange(-size[0] * (row % 2) / 2, SCENE_WIDTH, size[0]):
                self.box(x, y, x + size[0] - 1.2, min(y + size[1] - 1.2, bottom), self.vary(colour, 9))

    def tree(self, x: float, foot: float, tall: float, leaf: Colour) -> None:
        """A trunk and a cloud of leaves."""
        width = tall * 0.045
        trunk = [
            (x - width, foot),
            (x + width, foot),
            (x + width * 0.5, foot - tall * 0.6),
            (x - width * 0.5, foot - tall * 0.6),
        ]
        self.shape(trunk, (86, 68, 52))
        for _ in range(70):
            angle, reach = self.rng.uniform(0, 2 * np.pi), np.sqrt(self.rng.random())
            dx, dy = np.cos(angle) * reach * tall * 0.33, np.sin(angle) * reach * tall * 0.3
            colour = self.vary(tuple(int(c * (1 - dy / tall)) for c in leaf), 9)
            self.blob(x + dx, foot - tall * 0.72 + dy, tall * 0.085, tall * 0.07, colour)

    def window(self, x: float, y: float, wide: float, tall: float, frame: Colour, glass: Colour) -> None:
        """A window with a cross bar and a reflection."""
        self.box(x - 2, y - 2, x + wide + 2, y + tall + 2, frame)
        self.box(x, y, x + wide, y + tall, self.vary(glass, 8))
        bright = tuple(min(255, c + 32) for c in glass)
        self.shape(
            [(x + wide * 0.15, y + tall), (x + wide * 0.45, y), (x + wide * 0.7, y), (x + wide * 0.4, y + tall)], bright
        )
        self.box(x + wide / 2 - 0.8, y, x + wide / 2 + 0.8, y + tall, frame)

    def car(self, x: float, y: float, colour: Colour) -> None:
        """A parked car with its left wheel's ground at (x, y)."""
        self.shape(
            [
                (x, y),
                (x, y - 22),
                (x + 22, y - 27),
                (x + 42, y - 47),
                (x + 98, y - 47),
                (x + 122, y - 26),
                (x + 140, y - 21),
                (x + 142, y),
            ],
            colour,
        )
        self.shape([(x + 30, y - 28), (x + 45, y - 43), (x + 66, y - 43), (x + 66, y - 28)], (58, 70, 82))
        self.shape([(x + 70, y - 28), (x + 70, y - 43), (x + 95, y - 43), (x + 113, y - 28)], (58, 70, 82))
        for wheel in (x + 28, x + 114):
            self.blob(wheel, y, 13, 13, (30, 30, 32))
            self.blob(wheel, y, 6, 6, (150, 152, 156))
