"""Dressing a posed skeleton: attributes become solids, each of one body part."""

from __future__ import annotations

from dataclasses import replace

from .attributes import Person
from .bags import bag
from .body import Frame, Pose, between
from .dyes import PART_INDEX, Dyes
from .heads import head
from .shapes import Cloth, Colour, Solid, View, limb, turned

_FIT = {"tshirt": 0.004, "shirt": 0.007, "hoodie": 0.014, "jacket": 0.016, "coat": 0.018}
_HEM = {"tshirt": 0.475, "shirt": 0.462, "hoodie": 0.468, "jacket": 0.458, "coat": 0.27}
_NECKLINE = {"tshirt": 0.16, "shirt": 0.2, "hoodie": 0.0, "jacket": 0.12, "coat": 0.12}
_THICKNESS = {"tshirt": 1.0, "shirt": 1.02, "hoodie": 1.18, "jacket": 1.2, "coat": 1.22}  # of sleeves
_SKIRTS = ("skirt", "longskirt")
_LEG_FIT = {"slim": (0.058, 0.04, 0.026), "straight": (0.064, 0.047, 0.036), "wide": (0.07, 0.058, 0.052)}


def dress(person: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes) -> list[Solid]:
    """All solids of a person; orders run from 0 (farthest) to 10 (nearest)."""
    skin = dyes("skin", person["skin"])
    solids = _legs(person, frame, pose, view, dyes, skin)
    solids += _trunk(person, frame, pose, view, dyes, skin)
    solids += head(person, frame, pose, view, dyes, skin)
    solids += _arms(person, frame, pose, view, dyes, skin)
    return solids + bag(person, frame, pose, view, dyes)


def _leg_cloths(p: Person, frame: Frame, dyes: Dyes, skin: Colour) -> tuple[Cloth, Cloth, tuple[float, float, float]]:
    """What covers thigh and shin, and the radii at hip, knee and ankle."""
    colour, bare = dyes("lower", p["lower_colour"]), Cloth(skin, folds=0.3)
    if p["lower"] in _SKIRTS:
        return bare, bare, (0.056 * frame.limb, 0.042 * frame.limb, 0.028 * frame.limb)
    thigh, knee, ankle = (radius * frame.limb for radius in _LEG_FIT[p["lower_fit"]])
    cloth = Cloth(colour, _trim(p, colour), pattern=p["lower_pattern"])
    if p["lower"] == "shorts":
        return replace(cloth, cut=0.82, skin=skin), bare, (thigh * 1.08, 0.043 * frame.limb, 0.03 * frame.limb)
    return cloth, cloth, (thigh, knee, ankle)


def _trim(p: Person, colour: Colour) -> Colour:
    if p["lower_pattern"] in ("sidestripe", "hem") and sum(colour) < 480:
        return (225.0, 225.0, 222.0)
    return tuple(min(245.0, value * 1.1 + 18) for value in colour)


def _legs(p: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes, skin: Colour) -> list[Solid]:
    part = PART_INDEX["legs"]
    upper, shin, (thigh, knee, ankle) = _leg_cloths(p, frame, dyes, skin)
    tucked = p["lower"] in _SKIRTS or p["lower_fit"] != "wide"  # boots over the trousers, or under wide ones
    solids = []
    for side in (0, 1):
        depth = view.project(*pose.ankles[side])[2] + 2 * view.project(*pose.hips[side])[2]
        dim = 0.86 if depth < -0.06 else 1.0
        order = 1.0 + depth * 0.4
        solids.append(_shoe(p, pose, view, dyes, side, order - 0.001, dim))
        solids.append(limb(view, order, part, shin, pose.knees[side], pose.ankles[side], (knee, ankle), dim))
        solids.append(limb(view, order + 0.001, part, upper, pose.hips[side], pose.knees[side], (thigh, knee), dim))
        if p["shoes"] == "boots":
            solids.append(_boot(p, pose, view, dyes, side, order + (0.0005 if tucked else -0.1), ankle, dim))
    if p["lower"] in _SKIRTS:
        colour = dyes("lower", p["lower_colour"])
        solids.append(_skirt(p, frame, pose, view, Cloth(colour, _trim(p, colour), pattern=p["lower_pattern"])))
    return solids


def _boot(p: Person, pose: Pose, view: View, dyes: Dyes, side: int, order: float, ankle: float, dim: float) -> Solid:
    top = between(pose.ankles[side], pose.knees[side], 0.38)
    cloth = Cloth(dyes("shoe", p["shoe_colour"]), folds=0.5)
    radii = (max(ankle, 0.03) * 1.22 + 0.003, max(ankle, 0.03) * 1.12)
    return limb(view, order, PART_INDEX["shoes"], cloth, top, pose.ankles[side], radii, dim)


def _shoe(p: Person, pose: Pose, view: View, dyes: Dyes, side: int, order: float, dim: float) -> Solid:
    x, y, z = pose.ankles[side]
    height = {"sneakers": 0.028, "boots": 0.03, "flats": 0.022}[p["shoes"]]
    cloth = Cloth(dyes("shoe", p["shoe_colour"]), folds=0.4)
    return limb(
        view,
        order,
        PART_INDEX["shoes"],
        cloth,
        (x, y - 0.022, z - 0.012),
        pose.toes[side],
        (height, height * 0.72),
        dim,
    )


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
    rings = [(y - pose.sink, *rest) for y, *rest in rings]
    return turned(view, 2.0, PART_INDEX["legs"], cloth, rings)


def _trunk(p: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes, skin: Colour) -> list[Solid]:
    throat = (224.0, 224.0, 220.0) if p["upper"] == "coat" else skin
    cloth = Cloth(
        dyes("upper", p["upper_colour"]),
        dyes("second", p["upper_second"]),
        throat,
        p["upper_pattern"],
        folds=1.3,
        neckline=_NECKLINE[p["upper"]],
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
    rings = [(y - pose.sink, *rest) for y, *rest in rings]
    return [turned(view, 3.0, PART_INDEX["torso"], cloth, rings)]


def _sleeves(p: Person, dyes: Dyes, skin: Colour) -> tuple[Cloth, Cloth]:
    """What covers upper arm and forearm."""
    bare = Cloth(skin, folds=0.3)
    if p["sleeves"] == "none":
        return bare, bare
    sleeve = Cloth(dyes("upper", p["sleeve_colour"]), dyes("second", p["sleeve_second"]), pattern=p["sleeve_pattern"])
    return (sleeve, sleeve) if p["sleeves"] == "long" else (replace(sleeve, cut=0.62, skin=skin), bare)


def _arms(p: Person, frame: Frame, pose: Pose, view: View, dyes: Dyes, skin: Colour) -> list[Solid]:
    part = PART_INDEX["arms"]
    upper, fore = _sleeves(p, dyes, skin)
    thick = frame.limb * _THICKNESS[p["upper"]]
    radii = (0.036 * thick, 0.03 * thick, 0.023 * (thick if p["sleeves"] == "long" else frame.limb))
    palm = (0.019 * frame.limb, 0.017 * frame.limb)
    solids = []
    for side in (0, 1):
        shoulder, elbow, hand = pose.shoulders[side], pose.elbows[side], pose.hands[side]
        far = view.project(*shoulder)[2] < -0.04
        forward = (view.project(*elbow)[2] + view.project(*hand)[2]) / 2
        order, dim = (0.5, 0.86) if far else (5.0, 1.0)
        crossing = 5.2 if forward > 0 and not far else 0.45  # before the trunk or behind it
        low_order = order + 0.01 if abs(forward) < 0.06 else crossing
        wrist, fingers = between(hand, elbow, 0.06), between(hand, elbow, -0.2)
        solids.append(limb(view, low_order - 0.005, part, Cloth(skin, folds=0.3), hand, fingers, palm, dim * 0.97))
        solids.append(limb(view, low_order, part, fore, elbow, wrist, radii[1:], dim))
        solids.append(limb(view, order + 0.02, part, upper, shoulder, elbow, radii[:2], dim))
    return solids
