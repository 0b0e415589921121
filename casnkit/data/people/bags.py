"""Backpacks, shoulder bags, bags across the body and in the hand."""

from __future__ import annotations

import numpy as np

from .attributes import Person
from .body import Frame, Pose
from .dyes import PART_INDEX, Dyes
from .shapes import Cloth, Solid, View, limb, turned


def bag(p: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes) -> list[Solid]:
    """The bag and its straps, or nothing."""
    if p["bag"] == "none":
        return []
    colour = dyes("bag", p["bag_colour"])
    dark = tuple(c * 0.62 for c in colour)
    side = 0 if p["bag_side"] == "left" else 1
    make = {"backpack": _backpack, "shoulder": _shoulder_bag, "crossbody": _crossbody, "handbag": _handbag}[p["bag"]]
    return make(frame, pose, view, Cloth(colour, dark, pattern="panel", folds=0.8), Cloth(dark, folds=0), side)


def _backpack(frame: Frame, pose: Pose, view: View, cloth: Cloth, strap: Cloth, side: int) -> list[Solid]:
    part, deep = PART_INDEX["bag"], -(frame.chest * frame.depth + 0.05)
    rings = [(0.83, 0.045, 0.03, 0, deep), (0.815, 0.078, 0.05, 0, deep), (0.72, 0.088, 0.06, 0, deep)]
    rings += [(0.6, 0.086, 0.062, 0, deep), (0.575, 0.07, 0.05, 0, deep)]
    rings = [(y - pose.sink, *rest) for y, *rest in rings]
    facing = float(np.cos(view.turn))
    solids = [turned(view, 0.3 if facing > -0.1 else 4.6, part, cloth, rings)]
    for sign in (+1, -1):
        x, front = sign * 0.066, frame.chest * frame.depth * 0.95
        top, bottom = (x, 0.825 - pose.sink, 0.01), (x * 1.15, 0.63 - pose.sink, front)
        if view.project(*bottom)[2] > 0 or (abs(facing) < 0.5 and view.project(x, 0.7, 0)[2] > 0):
            solids.append(limb(view, 4.5, part, strap, top, bottom, (0.012, 0.011)))
    return solids


def _sack(x: float, y: float, z: float, size: tuple[float, float, float]) -> list[tuple[float, ...]]:
    height, half, deep = size
    return [
        (y, half * 0.82, deep * 0.6, x, z),
        (y - height * 0.15, half * 0.9, deep, x, z),
        (y - height, half, deep, x, z),
    ]


def _shoulder_bag(frame: Frame, pose: Pose, view: View, cloth: Cloth, strap: Cloth, side: int) -> list[Solid]:
    part, sign = PART_INDEX["bag"], 1 if side == 0 else -1
    x = sign * (frame.shoulder + 0.022)
    order = 5.5 if view.project(x, 0.5, 0)[2] > -0.05 else 0.3
    bag = turned(view, order, part, cloth, _sack(x, 0.63 - pose.sink, -0.01, (0.15, 0.045, 0.085)))
    top = (sign * (frame.shoulder - 0.035), 0.822 - pose.sink, 0.0)
    return [bag, limb(view, order - 0.01, part, strap, top, (x, 0.62 - pose.sink, 0.0), (0.01, 0.01))]


def _crossbody(frame: Frame, pose: Pose, view: View, cloth: Cloth, strap: Cloth, side: int) -> list[Solid]:
    part, sign = PART_INDEX["bag"], 1 if side == 0 else -1
    x, z = sign * (frame.hip + 0.02), -0.01
    order = 5.5 if view.project(x, 0.5, z)[2] > -0.05 else 0.3
    bag = turned(view, order, part, cloth, _sack(x, 0.56 - pose.sink, z, (0.11, 0.045, 0.075)))
    facing = float(np.cos(view.turn))
    deep = frame.chest * frame.depth * (1 if facing >= 0 else -1)
    top = (-sign * (frame.shoulder - 0.045), 0.824 - pose.sink, 0.0)
    middle = (0.0, 0.69 - pose.sink, deep)
    low = (sign * frame.hip, 0.555 - pose.sink, 0.3 * deep)
    return [
        bag,
        limb(view, 4.5, part, strap, top, middle, (0.011, 0.011)),
        limb(view, 4.5, part, strap, middle, low, (0.011, 0.011)),
    ]


def _handbag(frame: Frame, pose: Pose, view: View, cloth: Cloth, strap: Cloth, side: int) -> list[Solid]:
    part = PART_INDEX["bag"]
    raised = pose.hands[side][1] > pose.elbows[side][1] - 0.05
    x, y, z = pose.elbows[side] if raised else pose.hands[side]  # a raised arm carries it in the crook
    order = 5.6 if view.project(*pose.shoulders[side])[2] > -0.04 else 0.4
    bag = turned(view, order, part, cloth, _sack(x, y - 0.06, z, (0.14, 0.04, 0.085)))
    return [bag, limb(view, order - 0.01, part, strap, (x, y - 0.01, z), (x, y - 0.07, z), (0.016, 0.03))]
