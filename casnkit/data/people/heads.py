"""Head, hair and hat."""

from __future__ import annotations

import numpy as np

from .attributes import Person
from .body import Frame, Pose
from .dyes import PART_INDEX, Dyes
from .shapes import Cloth, Colour, Solid, View, limb, turned

_UNIT_RING = np.linspace(0.0, np.pi, 11)


def _ball(
    top: float, bottom: float, half: float, deep: float, z: float = 0.0, jaw: float = 0.0
) -> list[tuple[float, ...]]:
    """Rings of an egg between two heights; ``jaw`` narrows its lower half."""
    middle, radius = (top + bottom) / 2, (top - bottom) / 2
    rings = []
    for angle in _UNIT_RING:
        below = max(0.0, -float(np.cos(angle)))
        size = float(np.sin(angle)) ** 0.8 * (1 - jaw * below)
        rings.append((middle + radius * float(np.cos(angle)), half * size, deep * size, 0.0, z))
    return rings


def head(p: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes, skin: Colour) -> list[Solid]:
    """Neck, head with face and hair, and what is worn on it."""
    face, hair_part = PART_INDEX["face"], PART_INDEX["hair"]
    hair = dyes("hair", p["hair_colour"])
    size, top = frame.head, 1.0 - pose.sink
    chin = top - 0.138 * size
    half, deep = 0.049 * size, 0.06 * size
    hood = p["hat"] == "hood"
    pattern = "hood" if hood else "face" + ("-bald" if p["hair"] == "bald" else "")
    if p["glasses"] == "glasses" and not hood:
        pattern += "-glasses"
    covering = dyes("hat", p["hat_colour"]) if p["hat"] != "none" else hair
    cloth = Cloth(skin, covering if hood else hair, (52.0, 38.0, 36.0), pattern, folds=0.25)
    grow = 1.22 if hood else 1.0
    skull = _ball(top + 0.012 * (grow - 1) * 5, chin - 0.012 * hood, half * grow, deep * grow, 0.012, 0.2)
    neck = limb(
        view,
        2.9,
        face,
        Cloth(skin, folds=0.2),
        (0, chin - 0.045, -0.004),
        (0, chin + 0.03, 0.004),
        (0.032 * size,) * 2,
        0.85,
    )
    solids = [neck, turned(view, 4.0, face, cloth, skull, second=hair_part)]
    if not hood:
        solids += _hair(p, view, hair, top, size, hair_part)
        solids += _hat(p, view, covering, top, size, hair_part)
    return solids


def _hair(p: Person, view: View, hair: Colour, top: float, size: float, part: int) -> list[Solid]:
    cloth = Cloth(hair, folds=0.7)
    behind = float(np.cos(view.turn)) > -0.35  # the back of the head is turned away
    if p["hair"] == "long":
        rings = [
            (top + 0.006, 0.02 * size, 0.02 * size, 0, -0.004),
            (top - 0.03, 0.05 * size, 0.045 * size, 0, -0.014),
            (top - 0.09 * size, 0.06 * size, 0.04 * size, 0, -0.026),
            (top - 0.15 * size, 0.064 * size, 0.034 * size, 0, -0.034),
            (top - 0.2 * size, 0.058 * size, 0.026 * size, 0, -0.04),
        ]
        return [turned(view, 2.85 if behind else 4.7, part, cloth, rings)]
    if p["hair"] == "bun":
        rings = _ball(top + 0.012, top - 0.045 * size, 0.028 * size, 0.03 * size, -0.058 * size)
        return [turned(view, 3.9 if behind else 4.3, part, cloth, rings)]
    if p["hair"] == "ponytail":
        start, end = (0, top - 0.04 * size, -0.062 * size), (0, top - 0.17 * size, -0.085 * size)
        return [limb(view, 2.85 if behind else 4.7, part, cloth, start, end, (0.016 * size, 0.022 * size))]
    return []


def _hat(p: Person, view: View, colour: Colour, top: float, size: float, part: int) -> list[Solid]:
    cloth, away = Cloth(colour, folds=0.4), float(np.cos(view.turn)) < -0.1
    if p["hat"] == "none":
        return []
    low = top - (0.05 if p["hat"] != "beanie" else 0.056) * size
    dome = [
        (top + 0.016, 0.016 * size, 0.018 * size, 0, 0.008),
        (top + 0.011, 0.034 * size, 0.04 * size, 0, 0.008),
        (top - 0.006, 0.048 * size, 0.058 * size, 0, 0.009),
        (top - 0.025 * size, 0.054 * size, 0.066 * size, 0, 0.01),
        (low, 0.055 * size, 0.067 * size, 0, 0.01),
    ]
    solids = [turned(view, 4.4, part, cloth, dome)]
    if p["hat"] == "cap":
        brim = _ball(low + 0.014, low - 0.01, 0.046 * size, 0.05 * size, 0.075 * size)
        solids.append(turned(view, 3.95 if away else 4.45, part, Cloth(colour, folds=0), brim, 0.82))
    elif p["hat"] == "brimmed":
        brim = _ball(low + 0.018, low - 0.012, 0.105 * size, 0.112 * size, 0.01)
        solids.append(turned(view, 4.35, part, Cloth(colour, folds=0), brim, 0.85))
    return solids
