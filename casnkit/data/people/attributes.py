"""What a person is: twenty-odd attributes, each of one body part, and look-alikes that differ in one part alone.

Colours follow what streets look like (much black, grey and blue), so that many people share an attribute and only the
combination tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .palette import COMMON, DARK, PALETTE, SHOES
from .settings import Difficulty

_Choices = Mapping[str, float]
_CHOICES: dict[str, _Choices] = {
    "frame": {"male": 5, "female": 5},
    "build": {"slim": 3, "average": 5, "broad": 2.5},
    "height": {"short": 3, "medium": 5, "tall": 3},
    "skin": {"light": 4, "medium": 4, "tan": 2, "dark": 2},
    "hair_colour": {"black": 5, "darkbrown": 4, "brown": 3, "blond": 2.5, "grey": 1.5, "ginger": 1},
    "hat": {"none": 15, "cap": 2.5, "beanie": 1.5, "brimmed": 1, "hood": 1},
    "glasses": {"none": 4, "glasses": 1},
    "upper": {"tshirt": 4, "shirt": 3, "hoodie": 3, "jacket": 3.5, "coat": 1.7},
    "lower": {"trousers": 7, "shorts": 2.5},
    "lower_fit": {"slim": 4, "straight": 4, "wide": 1.5},
    "lower_pattern": {"plain": 8, "sidestripe": 1.2, "faded": 1.8},
    "bag": {"none": 8, "backpack": 5, "shoulder": 2.5, "crossbody": 2.5, "handbag": 2},
    "bag_side": {"left": 1, "right": 1},
    "shoes": {"sneakers": 6.5, "boots": 1.2, "flats": 2.3},
}
_PATTERNS: dict[str, _Choices] = {
    "tshirt": {"plain": 4, "hstripes": 2, "logo": 3, "dots": 1, "block": 1},
    "shirt": {"plain": 3, "vstripes": 2, "checks": 3, "dots": 1},
    "hoodie": {"plain": 4, "logo": 3, "block": 2, "hstripes": 1},
    "jacket": {"plain": 2, "open": 4, "zip": 2, "block": 2, "checks": 0.7},
    "coat": {"plain": 3, "open": 2, "zip": 2, "checks": 1},
}

ATTRIBUTE_PART: dict[str, str] = {
    "frame": "body",
    "build": "body",
    "height": "body",
    "skin": "body",
    "hair": "hair",
    "hair_colour": "hair",
    "hat": "hair",
    "hat_colour": "hair",
    "glasses": "face",
    "upper": "torso",
    "upper_colour": "torso",
    "upper_pattern": "torso",
    "upper_second": "torso",
    "sleeves": "arms",
    "sleeve_colour": "arms",
    "sleeve_pattern": "arms",
    "sleeve_second": "arms",
    "lower": "legs",
    "lower_colour": "legs",
    "lower_fit": "legs",
    "lower_pattern": "legs",
    "bag": "bag",
    "bag_colour": "bag",
    "bag_side": "bag",
    "shoes": "shoes",
    "shoe_colour": "shoes",
}
"""The part of each attribute; ``"body"`` marks those of the whole figure, which look-alikes always share."""

_HOODED = ("hoodie", "jacket", "coat")
LOOKALIKE_PARTS = {"hair": 2.0, "torso": 3.0, "arms": 1.5, "bag": 2.5, "legs": 2.5, "shoes": 1.5}
_VISIBLE_STEP = 85.0  # least distance of two colours that count as different at a glance, 0-255 RGB


@dataclass(frozen=True)
class Person:
    """One person: named attributes, and ``look``, a number that fixes body details and the exact dye of each garment.

    Look-alikes share ``look``, so what their table says is equal is equal to the last bit.
    """

    attributes: Mapping[str, str]
    look: int

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]


def _pick(rng: np.random.Generator, choices: _Choices) -> str:
    weights = np.fromiter(choices.values(), dtype=float)
    return list(choices)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _colour(rng: np.random.Generator, weights: tuple[float, ...], count: int, unlike: str | None = None) -> str:
    names = list(PALETTE)[:count]
    allowed = {n: weights[i] for i, n in enumerate(names) if unlike is None or _distance(n, unlike) > _VISIBLE_STEP}
    if not allowed:
        raise ValueError(f"expected a colour unlike {unlike} among {names}, found none; raise Difficulty.colours")
    return _pick(rng, allowed)


def _distance(one: str, other: str) -> float:
    return float(np.linalg.norm(np.subtract(PALETTE[one], PALETTE[other])))


def draw_person(rng: np.random.Generator, difficulty: Difficulty) -> Person:
    """Draw one person's attributes."""
    count = difficulty.colours
    a = {name: _pick(rng, choices) for name, choices in _CHOICES.items()}
    female = a["frame"] == "female"
    a["hair"] = _pick(
        rng,
        {"short": 2, "long": 5, "bun": 2, "ponytail": 2} if female else {"short": 8, "bald": 1.2, "long": 0.8},
    )
    if female:
        a["lower"] = _pick(rng, {"trousers": 6, "shorts": 1.5, "skirt": 2.5, "longskirt": 1.5})
    if a["hat"] == "hood" and a["upper"] not in _HOODED:
        a["hat"] = "none"
    if a["upper"] == "coat" and a["lower"] in ("skirt", "shorts"):  # would be hidden
        a["lower"] = "trousers"
    if a["lower"] in ("skirt", "longskirt"):
        a["lower_pattern"] = {"sidestripe": "plain", "faded": "hem"}.get(a["lower_pattern"], "plain")
    a["hat_colour"] = _colour(rng, COMMON, count) if a["hat"] != "none" else "none"
    a["upper_colour"] = _colour(rng, COMMON, count)
    a["upper_pattern"] = _pick(rng, _PATTERNS[a["upper"]])
    plain = a["upper_pattern"] == "plain"
    a["upper_second"] = "none" if plain else _colour(rng, COMMON, count, a["upper_colour"])
    a["sleeves"] = _pick(rng, _sleeves_of(a["upper"]))
    contrast = rng.random() < 0.15
    a["sleeve_colour"] = _colour(rng, COMMON, count, a["upper_colour"]) if contrast else a["upper_colour"]
    a["sleeve_pattern"] = "striped" if a["upper_pattern"] == "hstripes" and not contrast else "plain"
    a["sleeve_second"] = a["upper_second"] if a["sleeve_pattern"] == "striped" else "none"
    a["lower_colour"] = _colour(rng, DARK, count)
    a["bag_colour"] = _colour(rng, DARK, count) if a["bag"] != "none" else "none"
    if a["bag"] in ("none", "backpack"):
        a["bag_side"] = "none" if a["bag"] == "none" else "both"
    a["shoe_colour"] = _colour(rng, SHOES, count)
    return Person({name: a[name] for name in ATTRIBUTE_PART}, int(rng.integers(2**31)))


def _sleeves_of(upper: str) -> _Choices:
    if upper == "tshirt":
        return {"short": 6, "none": 1}
    return {"long": 6, "short": 2} if upper == "shirt" else {"long": 1}


def draw_lookalike(rng: np.random.Generator, person: Person, difficulty: Difficulty) -> tuple[Person, str]:
    """Somebody who differs from ``person`` in exactly one body part, clearly, and that part's name."""
    part = _pick(rng, LOOKALIKE_PARTS)
    a = dict(person.attributes)
    count = difficulty.colours
    if part == "hair":
        _change_hair(rng, a, count)
    elif part == "torso":
        a["upper_colour"] = _colour(rng, COMMON, count, a["upper_colour"])
        if a["upper_pattern"] != "plain":  # a shared second colour must still stand out
            a["upper_second"] = _colour(rng, COMMON, count, a["upper_colour"])
    elif part == "arms":
        a["sleeve_colour"] = _colour(rng, COMMON, count, a["sleeve_colour"])
        a["sleeve_pattern"], a["sleeve_second"] = "plain", "none"
        if a["sleeves"] == "none":
            a["sleeves"] = "short"
    elif part == "bag":
        _change_bag(rng, a, count)
    elif part == "legs":
        a["lower_colour"] = _colour(rng, DARK, count, a["lower_colour"])
    else:
        a["shoe_colour"] = _colour(rng, SHOES, count, a["shoe_colour"])
    return Person(a, person.look), part


def _change_hair(rng: np.random.Generator, a: dict[str, str], count: int) -> None:
    if a["hat"] != "none":
        a["hat_colour"] = _colour(rng, COMMON, count, a["hat_colour"])
    elif rng.random() < 0.5:
        unfit = ("none",) if a["upper"] in _HOODED else ("none", "hood")
        a["hat"] = _pick(rng, {name: weight for name, weight in _CHOICES["hat"].items() if name not in unfit})
        a["hat_colour"] = _pick(rng, {n: 1.0 for n in list(PALETTE)[:count] if n not in ("black", "brown", "grey")})
    else:
        dark = a["hair_colour"] in ("black", "darkbrown", "brown")
        a["hair_colour"] = _pick(rng, {"blond": 2, "grey": 1, "ginger": 1} if dark else {"black": 1, "darkbrown": 1})
        a["hair"] = {"bald": "short"}.get(a["hair"], a["hair"])


def _change_bag(rng: np.random.Generator, a: dict[str, str], count: int) -> None:
    others = {n: w for n, w in _CHOICES["bag"].items() if n not in (a["bag"], "none")}
    if a["bag"] != "none" and rng.random() < 0.5:
        a["bag_colour"] = _colour(rng, COMMON, count, a["bag_colour"])
    elif a["bag"] != "none" and rng.random() < 0.6:
        a["bag"] = a["bag_colour"] = a["bag_side"] = "none"
    else:
        a["bag"] = _pick(rng, others)
        a["bag_colour"] = _colour(rng, COMMON, count, a["upper_colour"])
        a["bag_side"] = "both" if a["bag"] == "backpack" else _pick(rng, _CHOICES["bag_side"])


def differing_parts(one: Person, other: Person) -> set[str]:
    """Names of the parts in which two people's attributes differ (``"body"`` for build, height, skin and frame)."""
    return {part for name, part in ATTRIBUTE_PART.items() if one[name] != other[name]}


def draw_population(
    seed: int, stream: int, count: int, difficulty: Difficulty
) -> tuple[list[Person], dict[int, tuple[int, str]]]:
    """``count`` people with different attributes, and look-alikes as ``{index: (partner's index, part)}``, both ways.

    The first ``lookalike_share`` of the people come in pairs at neighbouring indices.
    """
    people: list[Person] = []
    partners: dict[int, tuple[int, str]] = {}
    taken: set[tuple[str, ...]] = set()
    paired = round(count * difficulty.lookalike_share / 2) * 2
    for index in range(count):
        for attempt in range(1000):
            rng = np.random.default_rng([seed, stream, index, attempt])
            if index < paired and index % 2:
                person, part = draw_lookalike(rng, people[-1], difficulty)
            else:
                person, part = draw_person(rng, difficulty), ""
            key = tuple(person.attributes.values())
            if key not in taken:
                break
        else:
            raise ValueError(
                f"expected {count} people with different attributes, found no room for number {index + 1}: "
                f"raise Difficulty.colours (now {difficulty.colours})"
            )
        taken.add(key)
        people.append(person)
        if part:
            partners[index], partners[index - 1] = (index - 1, part), (index, part)
    return people, partners
