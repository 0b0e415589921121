"""Dressing a posed skeleton: attributes become solids, each of one body part."""

from __future__ import annotations

import numpy as np

from .attributes import HAIR_COLOURS, PALETTE, SKINS, Person
from .body import Frame, Pose
from .settings import PARTS
from .shapes import Cloth, Colour, Solid, View, limb, turned

PART_INDEX = {name: number for number, name in enumerate(PARTS, start=1)}
_FIT = {"tshirt": 0.004, "shirt": 0.007, "hoodie": 0.014, "jacket": 0.016, "coat": 0.018}
_HEM = {"tshirt": 0.475, "shirt": 0.462, "hoodie": 0.468, "jacket": 0.458, "coat": 0.27}
_LEG_FIT = {"slim": (0.058, 0.04, 0.026), "straight": (0.064, 0.047, 0.036), "wide": (0.07, 0.058, 0.052)}
_SLOTS = ("upper", "second", "lower", "bag", "shoe", "hat", "hair", "skin")
_UNIT_RING = np.linspace(0.0, np.pi, 11)


class Dyes:
    """The colours of one person in one image: the palette's, this garment's dye, and a little of the moment's."""

    def __init__(self, person: Person, tint: float, jitter: np.ndarray) -> None:
        own = np.random.default_rng([person.look, 2]).standard_normal((len(_SLOTS), 3)).clip(-2, 2) * tint
        own[6:] *= 0.6  # hair and skin vary less than cloth
        self._offset = dict(zip(_SLOTS, own + jitter[: len(_SLOTS)], strict=True))

    def __call__(self, slot: str, name: str) -> Colour:
        table = {"hair": HAIR_COLOURS, "skin": SKINS}.get(slot, PALETTE)
        return tuple((np.asarray(table[name], float) + self._offset[slot]).clip(6, 245))


def dress(person: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes) -> list[Solid]:
    """All solids of a person; orders run from 0 (farthest) to 10 (nearest)."""
    skin = dyes("skin", person["skin"])
    solids = _legs(person, frame, pose, view, dyes, skin)
    solids += _trunk(person, frame, pose, view, dyes)
    solids += _head(person, frame, pose, view, dyes, skin)
    solids += _arms(person, frame, pose, view, dyes, skin)
    return solids + _bag(person, frame, pose, view, dyes)


def _lower(y: float, pose: Pose) -> float:
    return y - pose.sink


def _legs(p: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes, skin: Colour) -> list[Solid]:
    part, shoe_part = PART_INDEX["legs"], PART_INDEX["shoes"]
    colour = dyes("lower", p["lower_colour"])
    bright = tuple(min(245.0, c * 1.15 + 32) for c in colour)
    second = (225.0, 225.0, 222.0) if p["lower_pattern"] == "sidestripe" and sum(colour) < 480 else bright
    pattern = p["lower_pattern"]
    thigh, knee, ankle = (r * frame.limb for r in _LEG_FIT[p["lower_fit"]])
    skirt = p["lower"] in ("skirt", "longskirt")
    cloth = Cloth(colour, second, pattern=pattern, skin=skin)
    upper, shin = cloth, cloth
    if p["lower"] == "shorts":
        upper, shin = Cloth(colour, second, pattern=pattern, cut=0.82, skin=skin), Cloth(skin, folds=0.3)
        knee, ankle = 0.043 * frame.limb, 0.03 * frame.limb
        thigh *= 1.08
    elif skirt:
        upper = shin = Cloth(skin, folds=0.3)
        thigh, knee, ankle = 0.056 * frame.limb, 0.042 * frame.limb, 0.028 * frame.limb
    solids = []
    for side in (0, 1):
        depth = view.project(*pose.ankles[side])[2] + 2 * view.project(*pose.hips[side])[2]
        dim = 0.86 if depth < -0.06 else 1.0
        order = 1.0 + depth * 0.4
        solids.append(_shoe(p, frame, pose, view, dyes, side, order - 0.001, dim))
        solids.append(limb(view, order, part, shin, pose.knees[side], pose.ankles[side], (knee, ankle), dim))
        solids.append(limb(view, order + 0.001, part, upper, pose.hips[side], pose.knees[side], (thigh, knee), dim))
    if p["shoes"] == "boots":
        for side in (0, 1):
            top = tuple(a + 0.38 * (k - a) for a, k in zip(pose.ankles[side], pose.knees[side], strict=True))
            boot = Cloth(dyes("shoe", p["shoe_colour"]), folds=0.5)
            order = solids[3 * side].order + 0.0015 if p["lower_fit"] != "wide" or skirt else solids[3 * side].order - 0.1
            radii = (max(ankle, 0.03) * 1.22 + 0.003, max(ankle, 0.03) * 1.12)
            solids.append(limb(view, order, shoe_part, boot, top, pose.ankles[side], radii, solids[3 * side].dim))
    if skirt:
        solids.append(_skirt(p, frame, pose, view, cloth))
    return solids


def _shoe(
    p: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes, side: int, order: float, dim: float
) -> Solid:
    ankle, toe = np.asarray(pose.ankles[side]), np.asarray(pose.toes[side])
    heel = ankle + (0.0, -0.022, -0.012)
    height = {"sneakers": 0.028, "boots": 0.03, "flats": 0.022}[p["shoes"]]
    cloth = Cloth(dyes("shoe", p["shoe_colour"]), folds=0.4)
    return limb(view, order, PART_INDEX["shoes"], cloth, heel, toe, (height, height * 0.72), dim)


def _skirt(p: Person, frame: Frame, pose: Pose, view: View, cloth: Cloth) -> Solid:
    bottom = 0.3 if p["lower"] == "skirt" else 0.13
    spread = max(abs(pose.knees[0][2]), abs(pose.knees[1][2]), 0.03)
    flare = {"slim": 0.0, "straight": 0.018, "wide": 0.045}[p["lower_fit"]]
    hip = frame.hip + 0.004
    rings = [
        (0.59, frame.waist + 0.004, frame.waist * 0.68, 0, 0),
        (0.52, hip, hip * 0.72, 0, 0),
        (0.42, hip + flare * 0.5, hip * 0.68 + spread * 0.4, 0, 0),
        (bottom, hip * 0.98 + flare, hip * 0.55 + spread * 0.8 + flare, 0, 0),
    ]
    rings = [(_lower(y, pose), *rest) for y, *rest in rings]
    return turned(view, 2.0, PART_INDEX["legs"], cloth, rings)


def _trunk(p: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes) -> list[Solid]:
    cloth = Cloth(
        dyes("upper", p["upper_colour"]), dyes("second", p["upper_second"]), pattern=p["upper_pattern"], folds=1.3
    )
    fit, hem, d = _FIT[p["upper"]], _HEM[p["upper"]], frame.depth
    sh, chest, waist, hip = frame.shoulder, frame.chest + fit, frame.waist + fit * 1.5, frame.hip + fit
    rings = [
        (0.848, 0.04, 0.04, 0, 0.0),
        (0.834, 0.062, 0.05, 0, 0.0),
        (0.82, sh * 0.82, 0.056, 0, 0.0),
        (0.803, sh * 0.97, 0.064, 0, 0.0),
        (0.77, sh * 0.98, chest * d, 0, 0.0),
        (0.71, chest, chest * d * 1.06, 0, 0.006),
        (0.66, (chest + waist) / 2, (chest + waist) * d / 2, 0, 0.004),
        (0.61, waist, waist * d * 1.04, 0, 0.0),
        (0.53, hip, hip * d * 1.12, 0, -0.004),
    ]
    if p["upper"] == "coat":
        rings += [(0.42, hip * 1.02, hip * 0.78, 0, 0), (hem, hip * 1.1, hip * 0.92, 0, 0)]
    else:
        rings.append((hem, hip * 0.99, hip * d * 1.1, 0, -0.002))
    rings = [(_lower(y, pose), *rest) for y, *rest in rings]
    return [turned(view, 3.0, PART_INDEX["torso"], cloth, rings)]


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


def _head(p: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes, skin: Colour) -> list[Solid]:
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
        view, 2.9, face, Cloth(skin, folds=0.2), (0, chin - 0.045, -0.004), (0, chin + 0.03, 0.004), (0.032 * size,) * 2, 0.85
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
        return [limb(view, 3.9 if behind else 4.7, part, cloth, start, end, (0.016 * size, 0.022 * size))]
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


def _arms(p: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes, skin: Colour) -> list[Solid]:
    part = PART_INDEX["arms"]
    colour, second = dyes("upper", p["sleeve_colour"]), dyes("second", p["sleeve_second"] if p["sleeve_second"] != "none" else "white")
    thick = {"tshirt": 1.0, "shirt": 1.02, "hoodie": 1.18, "jacket": 1.2, "coat": 1.22}[p["upper"]]
    sleeve = Cloth(colour, second, pattern=p["sleeve_pattern"], skin=skin)
    bare = Cloth(skin, folds=0.3)
    upper, fore = {
        "long": (sleeve, sleeve),
        "short": (Cloth(colour, second, pattern=p["sleeve_pattern"], cut=0.62, skin=skin), bare),
        "none": (bare, bare),
    }[p["sleeves"]]
    long = p["sleeves"] == "long"
    solids = []
    for side in (0, 1):
        shoulder, elbow, hand = pose.shoulders[side], pose.elbows[side], pose.hands[side]
        depth = view.project(*shoulder)[2]
        lower_depth = (view.project(*elbow)[2] + view.project(*hand)[2]) / 2
        far, dim = depth < -0.04, 0.86 if depth < -0.04 else 1.0
        order = 0.5 if far else 5.0
        low_order = order + 0.01 if abs(lower_depth) < 0.06 else (5.2 if lower_depth > 0 and not far else 0.45)
        r = [size * frame.limb * f for size, f in zip((0.036, 0.03, 0.023), (thick, thick, thick if long else 1), strict=True)]
        hand_dim = dim * 0.97
        wrist = tuple(h + 0.06 * (e - h) for h, e in zip(hand, elbow, strict=True))
        reach = tuple(h + 0.2 * (h - e) for h, e in zip(hand, elbow, strict=True))
        palm = (0.019 * frame.limb, 0.017 * frame.limb)
        solids.append(limb(view, low_order - 0.005, part, bare, hand, reach, palm, hand_dim))
        solids.append(limb(view, low_order, part, fore, elbow, wrist, (r[1], r[2]), dim))
        solids.append(limb(view, order + 0.02, part, upper, shoulder, elbow, (r[0], r[1]), dim))
    return solids


def _bag(p: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes) -> list[Solid]:
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
    rings = [(_lower(y, pose), *rest) for y, *rest in rings]
    facing = float(np.cos(view.turn))
    solids = [turned(view, 0.3 if facing > -0.1 else 4.6, part, cloth, rings)]
    for sign in (+1, -1):
        x, front = sign * 0.066, frame.chest * frame.depth * 0.95
        top, bottom = (x, _lower(0.825, pose), 0.01), (x * 1.15, _lower(0.63, pose), front)
        if view.project(*bottom)[2] > 0 or (abs(facing) < 0.5 and view.project(x, 0.7, 0)[2] > 0):
            solids.append(limb(view, 4.5, part, strap, top, bottom, (0.012, 0.011)))
    return solids


def _sack(x: float, y: float, z: float, size: tuple[float, float, float]) -> list[tuple[float, ...]]:
    height, half, deep = size
    return [(y, half * 0.82, deep * 0.6, x, z), (y - height * 0.15, half * 0.9, deep, x, z), (y - height, half, deep, x, z)]


def _shoulder_bag(frame: Frame, pose: Pose, view: View, cloth: Cloth, strap: Cloth, side: int) -> list[Solid]:
    part, sign = PART_INDEX["bag"], 1 if side == 0 else -1
    x = sign * (frame.shoulder + 0.022)
    order = 5.5 if view.project(x, 0.5, 0)[2] > -0.05 else 0.3
    bag = turned(view, order, part, cloth, _sack(x, _lower(0.63, pose), -0.01, (0.15, 0.045, 0.085)))
    top = (sign * (frame.shoulder - 0.035), _lower(0.822, pose), 0.0)
    return [bag, limb(view, order - 0.01, part, strap, top, (x, _lower(0.62, pose), 0.0), (0.01, 0.01))]


def _crossbody(frame: Frame, pose: Pose, view: View, cloth: Cloth, strap: Cloth, side: int) -> list[Solid]:
    part, sign = PART_INDEX["bag"], 1 if side == 0 else -1
    x, z = sign * (frame.hip + 0.02), -0.01
    order = 5.5 if view.project(x, 0.5, z)[2] > -0.05 else 0.3
    bag = turned(view, order, part, cloth, _sack(x, _lower(0.56, pose), z, (0.11, 0.045, 0.075)))
    facing = float(np.cos(view.turn))
    deep = frame.chest * frame.depth * (1 if facing >= 0 else -1)
    top = (-sign * (frame.shoulder - 0.045), _lower(0.824, pose), 0.0)
    middle = (0.0, _lower(0.69, pose), deep)
    low = (sign * frame.hip, _lower(0.555, pose), 0.3 * deep)
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
