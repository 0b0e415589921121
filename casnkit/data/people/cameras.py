"""Six cameras: where each stands, how it looks down and at whom, and how it renders colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """One camera. ``matrix`` maps scene RGB to its own, then gain, then gamma; blur in pixels, noise in grey levels.

    Attributes:
        turns: habitual viewpoint, radians (0 = front, pi = back); the opposite direction has a third of the weight.
        pitch: sine of the angle by which it looks down.
        height: of a person at the nearest foot row, in scene pixels.
        light: direction of the light (-1 left .. 1 right), ``sun`` how hard it and its shadows are.
        detail: share of the resolution that survives (far people are small and were enlarged).
    """

    scene: str
    matrix: tuple[tuple[float, float, float], ...]
    gain: float
    gamma: float
    blur: float
    noise: float
    turns: float
    pitch: float
    height: float
    light: float
    sun: float
    detail: float


def _mix(red: float, green: float, blue: float, saturation: float) -> tuple[tuple[float, float, float], ...]:
    grey = np.full((3, 3), 1 / 3)
    matrix = np.diag([red, green, blue]) @ (saturation * np.eye(3) + (1 - saturation) * grey)
    return tuple(tuple(float(v) for v in row) for row in matrix)


CAMERAS: dict[int, Camera] = {
    1: Camera("plaza", _mix(1.0, 1.0, 1.0, 1.05), 1.05, 0.95, 0.35, 2.5, 0.25, 0.16, 150, -0.7, 1.0, 1.0),
    2: Camera("lawn", _mix(1.02, 1.04, 0.9, 1.12), 1.0, 1.05, 0.45, 3.0, 2.8, 0.2, 145, 0.8, 1.1, 0.85),
    3: Camera("brick", _mix(1.1, 0.98, 0.86, 0.9), 0.92, 1.1, 0.4, 4.0, 1.45, 0.12, 155, -0.4, 0.5, 1.0),
    4: Camera("shop", _mix(0.92, 1.0, 1.12, 0.95), 1.02, 0.9, 0.5, 4.5, -1.35, 0.14, 150, 0.5, 0.6, 0.75),
    5: Camera("road", _mix(0.98, 1.0, 1.05, 0.8), 1.12, 0.85, 0.35, 3.5, -0.6, 0.22, 140, 0.7, 0.9, 0.8),
    6: Camera("stairs", _mix(1.04, 0.99, 0.98, 0.85), 0.82, 1.2, 0.55, 6.0, 2.2, 0.18, 145, -0.8, 0.7, 0.7),
}
