"""Things that stand between camera and person."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .settings import HEIGHT, WIDTH
from .shapes import SUPERSAMPLING, View


def draw_thing(kind: int, view: View, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A pole (0), a bush (1) or a bicycle (2) at the person's left or right: supersampled RGB, and where it covers."""
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
        seat, crank, bar = (
            (x - unit * 0.1, y - unit * 0.36),
            (x - unit * 0.02, axle),
            (x + unit * 0.15, y - unit * 0.38),
        )
        for line in ([(left, axle), seat, crank, (left, axle)], [seat, bar, crank], [bar, (right, axle)]):
            draw.line(line, fill=(*hue, 255), width=wide + 1)
        draw.line(
            [(seat[0] - unit * 0.05, seat[1]), (seat[0] + unit * 0.05, seat[1])], fill=(25, 25, 25, 255), width=wide * 2
        )
        draw.line([bar, (bar[0] - unit * 0.06, bar[1] - unit * 0.04)], fill=(25, 25, 25, 255), width=wide)
    values = np.asarray(layer)
    covered = values[..., 3] > 0
    return np.ascontiguousarray(values[..., :3]) * covered[..., None], covered
