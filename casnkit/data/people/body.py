"""A walking skeleton, dressed: attributes and a pose become solids, each of one body part.

Joints and rings are in body heights: x to the person's left, y up, z forward. Orders run from 0 (farthest) to 10.
"""

from collections import namedtuple
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from casnkit.data.people.look import LOOKS, PALETTE, Difficulty, Person, Rng, palette
from casnkit.data.people.paint import FOLDS, Cloth, Colour, Column, Layer, Point, Solid, View, paint

_DEPTH = 0.62  # of the trunk, relative to its width
# hands swing with the gait, rest in a pocket, hold a phone, hold a strap: how often, and the angles of upper arm and
# forearm, outwards and inwards
_GESTURES = (0.74, 0.14, 0.08, 0.04)
_ANGLES = (None, (-0.35, 0.3, 0.3, 0.25), (0.3, 2.3, 0.15, 0.3), (0.1, 2.5, 0.4, 0.35))

_OFF_WHITE = (225.0, 225.0, 222.0)
_COLOURS = {"hair": palette("hair_colours"), "skin": palette("skin_colours")}  # of what is no cloth
_SLOTS = ("upper", "second", "lower", "bag", "shoe", "hat", "hair", "skin")
_EGG = np.array([(np.cos(angle), float(np.sin(angle)) ** 0.8) for angle in np.linspace(0.0, np.pi, 11)]).T

_Frame = namedtuple("_Frame", "shoulder chest waist hip limb head")  # half widths and sizes of one body


def _egg(top: float, bottom: float, half: float, deep: float, jaw: float = 0.0) -> tuple[Column, Column, Column]:
    """Rings of an egg between two heights; ``jaw`` narrows its lower half."""
    up, size = _EGG
    size = size * (1 - jaw * np.maximum(0.0, -up))
    return (top + bottom) / 2 + (top - bottom) / 2 * up, half * size, deep * size


def _leg(phase: float, stride: float, frame: _Frame, side: int) -> np.ndarray:
    """Hip, knee, ankle and toe; the knee bends most while the leg swings forward."""
    thigh = 0.37 * stride * np.sin(phase) + 0.08 * stride
    shin = thigh - (0.06 + stride * (0.12 + 0.8 * max(0.0, float(np.cos(phase + 0.35))) ** 1.3))
    x = side * frame.hip * 0.5
    knee = (x * 0.95, 0.51 - 0.235 * np.cos(thigh), 0.235 * np.sin(thigh))
    ankle = (x * 0.85, knee[1] - 0.235 * np.cos(shin), knee[2] + 0.235 * np.sin(shin))
    tilt, reach = min(0.25, shin * 0.75 + 0.12), 0.098
    toe = (x * 0.95 + side * 0.012, ankle[1] - 0.022 + reach * np.sin(tilt), ankle[2] + reach * np.cos(tilt))
    return np.array([(x, 0.51, 0.0), knee, ankle, toe])


def _arm(phase: float, stride: float, frame: _Frame, side: int, angles: tuple | None) -> np.ndarray:
    """Shoulder, elbow and hand."""
    swing = 0.5 * stride * np.sin(phase)
    bend = 0.3 + 0.25 * stride * max(0.0, float(np.sin(phase)))
    upper, fore, out, inwards = angles or (swing - 0.05, swing + bend, 0.13, 0.0)
    x, reach = side * (frame.shoulder - 0.02), 0.165
    elbow = (x + side * reach * np.sin(out), 0.79 - reach * np.cos(out) * np.cos(upper), reach * np.sin(upper))
    hand_x = elbow[0] - side * reach * np.sin(inwards - 0.04)
    hand = (hand_x, elbow[1] - reach * np.cos(fore), elbow[2] + reach * np.sin(fore))
    return np.array([(x, 0.79, 0.0), elbow, hand])


class _Figure(dict):
    """A person's attributes, and a pose drawn at random, as one camera sees it, in this image's colours."""

    def __init__(self, person: Person, view: View, rng: Rng, difficulty: Difficulty) -> None:
        super().__init__(person.attributes)
        wobble = 1.0 + 0.03 * np.random.default_rng([person.look, 1]).standard_normal(6).clip(-2, 2)
        build, male = LOOKS["builds"][self["build"]], self["frame"] == "male"
        base = (0.124, 0.108, 0.094, 0.096) if male else (0.108, 0.095, 0.078, 0.101)
        growth = (0.6 + 0.4 * build, build, 0.1 + 0.9 * build * build**0.4, build)
        limb = (0.95 if male else 0.86) * (0.45 + 0.55 * build) * wobble[4]
        head = LOOKS["head_sizes"][self["height"]] * (1.0 if male else 0.97) * wobble[5]
        self.frame = _Frame(*(np.array(base) * wobble[:4] * growth).tolist(), float(limb), float(head))
        phase = rng.uniform(0, 2 * np.pi)  # of the walk; one in five hardly moves
        stride = difficulty.pose * (rng.uniform(0.65, 1.15) if rng.random() < 0.8 else rng.uniform(0.05, 0.2))
        left, right = (_ANGLES[gesture] for gesture in rng.choice(len(_GESTURES), 2, p=_GESTURES))
        behind = phase + np.pi  # the other leg, and the arm above this one
        self.leg_joints = [_leg(phase, stride, self.frame, +1), _leg(behind, stride, self.frame, -1)]
        self.arm_joints = [_arm(behind, stride, self.frame, +1, left), _arm(phase, stride, self.frame, -1, right)]
        lowest = min((joints[2:, 1] - (0.045, 0.022)).min() for joints in self.leg_joints)  # ankles and toes
        self.view = view._replace(y=view.y + lowest * view.scale)  # the foot that stands is on the ground
        self.facing = float(np.cos(view.turn))  # 1 = we see the front, -1 = the back
        jitter = difficulty.jitter * rng.standard_normal((len(_SLOTS), 3))
        self.folds = rng.random((FOLDS, 3)) * (2 * np.pi, 14.0, 0.07) + (0.0, 4.0, 0.015)
        own = np.random.default_rng([person.look, 2]).standard_normal((len(_SLOTS), 3)).clip(-2, 2) * difficulty.tint
        own[6:] *= 0.6  # hair and skin vary less than cloth
        self.dyes = dict(zip(_SLOTS, own + jitter, strict=True))
        self.skin = self.dye("skin", "skin")
        self.bare = Cloth(self.skin, folds=0.3)

    def dye(self, slot: str, attribute: str) -> Colour:
        """The colour that an attribute names, this garment's dye, and a little of the moment's."""
        named = np.asarray(_COLOURS.get(slot, PALETTE).get(self[attribute], _OFF_WHITE), float)  # what is not worn: any
        return tuple((named + self.dyes[slot]).clip(6, 245))

    def legs(self) -> Iterator[Solid]:
        size, lower, pattern, view = self.frame.limb, self["lower"], self["lower_pattern"], self.view
        hems, sole = LOOKS["skirt_hems"], LOOKS["soles"][self["shoes"]]
        colour, shoe = self.dye("lower", "lower_colour"), self.dye("shoe", "shoe_colour")
        trimmed = pattern in ("sidestripe", "hem") and sum(colour) < 480
        trim = _OFF_WHITE if trimmed else tuple(min(245.0, value * 1.1 + 18) for value in colour)
        upper = shin = cloth = Cloth(colour, trim, pattern=pattern)
        thigh, knee, ankle = (radius * size for radius in LOOKS["trouser_legs"][self["lower_fit"]].values())
        if lower in hems:
            upper, shin, thigh, knee, ankle = self.bare, self.bare, 0.056 * size, 0.042 * size, 0.028 * size
        elif lower == "shorts":
            upper, shin = cloth._replace(cut=0.82, skin=self.skin), self.bare
            thigh, knee, ankle = thigh * 1.08, 0.043 * size, 0.03 * size
        tucked = lower in hems or self["lower_fit"] != "wide"  # boots over the trousers, or under wide ones
        for hip, knees, ankles, toes in self.leg_joints:
            depth = view.depth(ankles) + 2 * view.depth(hip)
            dim, order = 0.86 if depth < -0.06 else 1.0, 1.0 + depth * 0.4
            heel = ankles - (0, 0.022, 0.012)
            yield view.limb(order - 0.001, "shoes", Cloth(shoe, folds=0.4), heel, toes, (sole, sole * 0.72), dim)
            yield view.limb(order, "legs", shin, knees, ankles, (knee, ankle), dim)
            yield view.limb(order + 0.001, "legs", upper, hip, knees, (thigh, knee), dim)
            if self["shoes"] == "boots":
                top, low = ankles + 0.38 * (knees - ankles), order + (0.0005 if tucked else -0.1)
                radii = (max(ankle, 0.03) * 1.22 + 0.003, max(ankle, 0.03) * 1.12)
                yield view.limb(low, "shoes", Cloth(shoe, folds=0.5), top, ankles, radii, dim)
        if lower in hems:
            spread = max(0.03, *(abs(knees[2]) for _, knees, _, _ in self.leg_joints))
            hip, waist, flare = self.frame.hip + 0.004, self.frame.waist, LOOKS["flare"][self["lower_fit"]]
            wide = (waist + 0.004, hip, hip + flare * 0.5, hip * 0.98 + flare)
            deep = (waist * 0.68, hip * 0.72, hip * 0.68 + spread * 0.4, hip * 0.55 + spread * 0.8 + flare)
            yield view.turned(2.0, "legs", cloth, ((0.59, 0.52, 0.42, hems[lower]), wide, deep, 0, 0))

    def trunk(self) -> Iterator[Solid]:
        coat, (fit, hem, neckline, _) = self["upper"] == "coat", LOOKS["upper_cut"][self["upper"]].values()
        throat = (224.0, 224.0, 220.0) if coat else self.skin
        colours = (self.dye("upper", "upper_colour"), self.dye("second", "upper_second"), throat)
        cloth = Cloth(*colours, pattern=self["upper_pattern"], folds=1.3, neckline=neckline)
        shoulder, d = self.frame.shoulder, _DEPTH
        chest, waist, hip = self.frame.chest + fit, self.frame.waist + fit * 1.5, self.frame.hip + fit
        belly = (chest + waist) / 2
        up = (0.848, 0.834, 0.82, 0.803, 0.77, 0.71, 0.66, 0.61, 0.53)
        wide = (0.04, 0.062, shoulder * 0.82, shoulder * 0.97, shoulder * 0.98, chest, belly, waist, hip)
        deep = (0.04, 0.05, 0.056, 0.064, chest * d, chest * d * 1.06, belly * d, waist * d * 1.04, hip * d * 1.12)
        forward = (0, 0, 0, 0, 0, 0.006, 0.004, 0, -0.004)
        below = ((hem,), (hip * 0.99,), (hip * d * 1.1,), (-0.002,))
        if coat:
            below = ((0.42, hem), (hip * 1.02, hip * 1.1), (hip * 0.78, hip * 0.92), (0, 0))
        up, wide, deep, forward = (a + b for a, b in zip((up, wide, deep, forward), below, strict=True))
        yield self.view.turned(3.0, "torso", cloth, (up, wide, deep, 0, forward))

    def arms(self) -> Iterator[Solid]:
        bare, size, view = self.bare, self.frame.limb, self.view
        pattern = "hstripes" if self["sleeve_pattern"] == "striped" else "plain"
        sleeve = Cloth(self.dye("upper", "sleeve_colour"), self.dye("second", "sleeve_second"), pattern=pattern)
        short = sleeve._replace(cut=0.62, skin=self.skin)
        upper, fore = {"none": (bare, bare), "short": (short, bare), "long": (sleeve, sleeve)}[self["sleeves"]]
        thick = size * LOOKS["upper_cut"][self["upper"]]["sleeves"]
        radii = (0.036 * thick, 0.03 * thick, 0.023 * (thick if self["sleeves"] == "long" else size))
        for shoulder, elbow, hand in self.arm_joints:
            far = view.depth(shoulder) < -0.04
            forward = (view.depth(elbow) + view.depth(hand)) / 2
            order, dim = (0.5, 0.86) if far else (5.0, 1.0)
            crossing = 5.2 if forward > 0 and not far else 0.45  # before the trunk or behind it
            low_order = order + 0.01 if abs(forward) < 0.06 else crossing
            wrist, fingers = hand + 0.06 * (elbow - hand), hand - 0.2 * (elbow - hand)
            yield view.limb(low_order - 0.005, "arms", bare, hand, fingers, (0.019 * size, 0.017 * size), dim * 0.97)
            yield view.limb(low_order, "arms", fore, elbow, wrist, radii[1:], dim)
            yield view.limb(order + 0.02, "arms", upper, shoulder, elbow, radii[:2], dim)

    def head(self) -> Iterator[Solid]:
        size, hood = self.frame.head, self["hat"] == "hood"
        chin, grow = 1.0 - 0.138 * size, 1.22 if hood else 1.0
        pattern = "hood" if hood else f"face-{self['hair']}-{self['glasses']}"
        hair, hat = self.dye("hair", "hair_colour"), self.dye("hat", "hat_colour")
        colours = (self.skin, hat if hood else hair, (52.0, 38.0, 36.0))
        cloth = Cloth(*colours, pattern=pattern, folds=0.25, second_part="hair")
        skull = _egg(1.0 + 0.012 * (grow - 1) * 5, chin - 0.012 * hood, 0.049 * size * grow, 0.06 * size * grow, 0.2)
        throat, nape = (0, chin - 0.045, -0.004), (0, chin + 0.03, 0.004)
        yield self.view.limb(2.9, "face", Cloth(self.skin, folds=0.2), throat, nape, (0.032 * size,) * 2, 0.85)
        yield self.view.turned(4.0, "face", cloth, (*skull, 0, 0.012))
        if not hood:
            yield from self._hair(Cloth(hair, folds=0.7), size)
            yield from self._hat(hat, size)

    def _hair(self, cloth: Cloth, size: float) -> Iterator[Solid]:
        behind = self.facing > -0.35  # the back of the head is turned away
        order = 2.85 if behind else 4.7
        if self["hair"] == "long":
            up = (1.006, 0.97, 1 - 0.09 * size, 1 - 0.15 * size, 1 - 0.2 * size)
            wide, deep = size * np.array([(0.02, 0.05, 0.06, 0.064, 0.058), (0.02, 0.045, 0.04, 0.034, 0.026)])
            back = (-0.004, -0.014, -0.026, -0.034, -0.04)
            yield self.view.turned(order, "hair", cloth, (up, wide, deep, 0, back))
        elif self["hair"] == "bun":
            rings = _egg(1.012, 1 - 0.045 * size, 0.028 * size, 0.03 * size)
            yield self.view.turned(3.9 if behind else 4.3, "hair", cloth, (*rings, 0, -0.058 * size))
        elif self["hair"] == "ponytail":
            start, end = (0, 1 - 0.04 * size, -0.062 * size), (0, 1 - 0.17 * size, -0.085 * size)
            yield self.view.limb(order, "hair", cloth, start, end, (0.016 * size, 0.022 * size))

    def _hat(self, colour: Colour, size: float) -> Iterator[Solid]:
        hat = self["hat"]
        if hat == "none":
            return
        low = 1 - (0.056 if hat == "beanie" else 0.05) * size
        wide, deep = size * np.array([(0.016, 0.034, 0.048, 0.054, 0.055), (0.018, 0.04, 0.058, 0.066, 0.067)])
        rings = ((1.016, 1.011, 0.994, 1 - 0.025 * size, low), wide, deep, 0, (0.008, 0.008, 0.009, 0.01, 0.01))
        yield self.view.turned(4.4, "hair", Cloth(colour, folds=0.4), rings)
        stiff = Cloth(colour, folds=0)
        if hat == "cap":
            brim, order = _egg(low + 0.014, low - 0.01, 0.046 * size, 0.05 * size), 3.95 if self.facing < -0.1 else 4.45
            yield self.view.turned(order, "hair", stiff, (*brim, 0, 0.075 * size), 0.82)
        elif hat == "brimmed":
            brim = _egg(low + 0.018, low - 0.012, 0.105 * size, 0.112 * size)
            yield self.view.turned(4.35, "hair", stiff, (*brim, 0, 0.01), 0.85)

    def bag(self) -> Iterator[Solid]:
        if self["bag"] == "none":
            return
        colour = self.dye("bag", "bag_colour")
        dark = tuple(c * 0.62 for c in colour)
        cloth, strap = Cloth(colour, dark, pattern="panel", folds=0.8), Cloth(dark, folds=0)
        side = 1 if self["bag_side"] == "left" else -1
        yield from getattr(self, f"_{self['bag']}")(cloth, strap, side)  # the method that has the bag's name

    def _backpack(self, cloth: Cloth, strap: Cloth, side: int) -> Iterator[Solid]:
        trunk, view = self.frame.chest * _DEPTH, self.view
        wide, deep = (0.045, 0.078, 0.088, 0.086, 0.07), (0.03, 0.05, 0.06, 0.062, 0.05)
        rings = ((0.83, 0.815, 0.72, 0.6, 0.575), wide, deep, 0, -(trunk + 0.05))
        yield view.turned(0.3 if self.facing > -0.1 else 4.6, "bag", cloth, rings)
        for x in (0.066, -0.066):
            top, bottom = (x, 0.825, 0.01), (x * 1.15, 0.63, trunk * 0.95)
            if view.depth(bottom) > 0 or (abs(self.facing) < 0.5 and view.depth((x, 0.7, 0)) > 0):
                yield view.limb(4.5, "bag", strap, top, bottom, (0.012, 0.011))

    def _sack(self, order: float, cloth: Cloth, top: Point, size: Point) -> Solid:
        (x, y, z), (height, half, deep) = top, size
        up, wide = (y, y - height * 0.15, y - height), (half * 0.82, half * 0.9, half)
        return self.view.turned(order, "bag", cloth, (up, wide, (deep * 0.6, deep, deep), x, z))

    def _shoulder(self, cloth: Cloth, strap: Cloth, side: int) -> Iterator[Solid]:
        x, top = side * (self.frame.shoulder + 0.022), (side * (self.frame.shoulder - 0.035), 0.822, 0.0)
        order = 5.5 if self.view.depth((x, 0.5, 0)) > -0.05 else 0.3
        yield self._sack(order, cloth, (x, 0.63, -0.01), (0.15, 0.045, 0.085))
        yield self.view.limb(order - 0.01, "bag", strap, top, (x, 0.62, 0.0), (0.01, 0.01))

    def _crossbody(self, cloth: Cloth, strap: Cloth, side: int) -> Iterator[Solid]:
        x, z, frame = side * (self.frame.hip + 0.02), -0.01, self.frame
        order = 5.5 if self.view.depth((x, 0.5, z)) > -0.05 else 0.3
        deep = frame.chest * _DEPTH * (1 if self.facing >= 0 else -1)
        top, low = (-side * (frame.shoulder - 0.045), 0.824, 0.0), (side * frame.hip, 0.555, 0.3 * deep)
        yield self._sack(order, cloth, (x, 0.56, z), (0.11, 0.045, 0.075))
        for ends in pairwise((top, (0.0, 0.69, deep), low)):
            yield self.view.limb(4.5, "bag", strap, *ends, (0.011, 0.011))

    def _handbag(self, cloth: Cloth, strap: Cloth, side: int) -> Iterator[Solid]:
        shoulder, elbow, hand = self.arm_joints[0 if side > 0 else 1]
        x, y, z = elbow if hand[1] > elbow[1] - 0.05 else hand  # a raised arm carries it in the crook
        order = 5.6 if self.view.depth(shoulder) > -0.04 else 0.4
        yield self._sack(order, cloth, (x, y - 0.06, z), (0.14, 0.04, 0.085))
        yield self.view.limb(order - 0.01, "bag", strap, (x, y - 0.01, z), (x, y - 0.07, z), (0.016, 0.03))


def draw_figure(person: Person, view: View, rng: Rng, difficulty: Difficulty) -> Layer:
    """The person alone on the canvas; nothing that is drawn from ``rng`` depends on what look-alikes differ in."""
    f = _Figure(person, view, rng, difficulty)
    return paint([*f.legs(), *f.trunk(), *f.head(), *f.arms(), *f.bag()], view, f.folds)
