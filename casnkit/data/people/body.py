"""A walking skeleton: where the joints of a person are, in body heights (x to the person's left, y up, z forward)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .attributes import Person

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Frame:
    """Lengths and half widths of one body, in body heights."""

    shoulder: float
    chest: float
    waist: float
    hip: float
    limb: float
    head: float
    depth: float = 0.62  # of the trunk, relative to its width


@dataclass(frozen=True)
class Pose:
    """Joints of the left (0) and right (1) side, and how high the pelvis has sunk below its standing height."""

    hips: tuple[Point, Point]
    knees: tuple[Point, Point]
    ankles: tuple[Point, Point]
    toes: tuple[Point, Point]
    shoulders: tuple[Point, Point]
    elbows: tuple[Point, Point]
    hands: tuple[Point, Point]
    sink: float


_BUILDS = {"slim": 0.88, "average": 1.0, "broad": 1.17}
_HEADS = {"short": 1.07, "medium": 1.0, "tall": 0.95}
FIGURE_HEIGHTS = {"short": 0.955, "medium": 1.0, "tall": 1.04}
_GESTURES = ("swing", "pocket", "phone", "strap")


def between(one: Point, other: Point, share: float) -> Point:
    """The point at ``share`` of the way from ``one`` to ``other``."""
    return tuple(a + share * (b - a) for a, b in zip(one, other, strict=True))


def frame_of(person: Person) -> Frame:
    """The body of a person; ``person.look`` adds what no attribute names."""
    wobble = 1.0 + 0.03 * np.random.default_rng([person.look, 1]).standard_normal(6).clip(-2, 2)
    build = _BUILDS[person["build"]]
    male = person["frame"] == "male"
    base = (0.124, 0.108, 0.094, 0.096) if male else (0.108, 0.095, 0.078, 0.101)
    shoulder, chest, waist, hip = (float(b * w) for b, w in zip(base, wobble[:4], strict=True))
    growth = (0.6 + 0.4 * build, build, 0.1 + 0.9 * build * build**0.4, build)
    return Frame(
        shoulder * growth[0],
        chest * growth[1],
        waist * growth[2],
        hip * growth[3],
        float((0.95 if male else 0.86) * (0.45 + 0.55 * build) * wobble[4]),
        float(_HEADS[person["height"]] * (1.0 if male else 0.97) * wobble[5]),
    )


def draw_pose(rng: np.random.Generator, frame: Frame, strength: float) -> Pose:
    """A moment of a walk, or somebody standing; arms swing, rest in a pocket, hold a phone or a strap."""
    phase = rng.uniform(0, 2 * np.pi)
    stride = strength * (rng.uniform(0.65, 1.15) if rng.random() < 0.8 else rng.uniform(0.05, 0.2))
    legs = [_leg(phase, stride, frame, +1), _leg(phase + np.pi, stride, frame, -1)]
    lowest = min(min(leg[2][1] - 0.045, leg[3][1] - 0.022) for leg in legs)
    gestures = [_GESTURES[int(i)] for i in rng.choice(4, 2, p=(0.74, 0.14, 0.08, 0.04))]
    sides = ((phase + np.pi, +1), (phase, -1))
    arms = [_arm(p, stride, frame, side, g) for (p, side), g in zip(sides, gestures, strict=True)]
    drop = [[(x, y - lowest, z) for x, y, z in limb] for limb in (*legs, *arms)]
    joints = list(zip(*drop[:2], strict=True)) + list(zip(*drop[2:], strict=True))
    return Pose(*joints, sink=float(lowest))


def _leg(phase: float, stride: float, frame: Frame, side: int) -> tuple[Point, Point, Point, Point]:
    """Hip, knee, ankle and toe; the knee bends most while the leg swings forward."""
    thigh = 0.37 * stride * np.sin(phase) + 0.08 * stride
    bend = 0.06 + stride * (0.12 + 0.8 * max(0.0, float(np.cos(phase + 0.35))) ** 1.3)
    x = side * frame.hip * 0.5
    hip = (x, 0.51, 0.0)
    knee = (x * 0.95, 0.51 - 0.235 * np.cos(thigh), 0.235 * np.sin(thigh))
    shin = thigh - bend
    ankle = (x * 0.85, knee[1] - 0.235 * np.cos(shin), knee[2] + 0.235 * np.sin(shin))
    tilt = min(0.25, shin * 0.75 + 0.12)
    reach = 0.098
    toe = (x * 0.95 + side * 0.012, ankle[1] - 0.022 + reach * np.sin(tilt), ankle[2] + reach * np.cos(tilt))
    return hip, knee, ankle, toe


def _arm(phase: float, stride: float, frame: Frame, side: int, gesture: str) -> tuple[Point, Point, Point]:
    """Shoulder, elbow and hand."""
    swing = 0.5 * stride * np.sin(phase)
    upper, fore, out = swing - 0.05, swing + 0.3 + 0.25 * stride * max(0.0, float(np.sin(phase))), 0.13
    inwards = 0.0
    if gesture == "pocket":
        upper, fore, out, inwards = -0.35, 0.3, 0.3, 0.25
    elif gesture == "phone":
        upper, fore, out, inwards = 0.3, 2.3, 0.15, 0.3
    elif gesture == "strap":
        upper, fore, out, inwards = 0.1, 2.5, 0.4, 0.35
    x = side * (frame.shoulder - 0.02)
    shoulder = (x, 0.79, 0.0)
    elbow = (x + side * 0.165 * np.sin(out), 0.79 - 0.165 * np.cos(out) * np.cos(upper), 0.165 * np.sin(upper))
    reach = 0.165
    hand = (
        elbow[0] - side * reach * np.sin(inwards - 0.04),
        elbow[1] - reach * np.cos(fore),
        elbow[2] + reach * np.sin(fore),
    )
    return shoulder, elbow, hand
