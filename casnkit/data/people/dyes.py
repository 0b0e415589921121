"""The exact colours of one person in one image."""

from __future__ import annotations

import numpy as np

from .attributes import Person
from .palette import HAIR_COLOURS, PALETTE, SKINS
from .settings import PARTS
from .shapes import Colour

PART_INDEX = {name: number for number, name in enumerate(PARTS, start=1)}
SLOTS = ("upper", "second", "lower", "bag", "shoe", "hat", "hair", "skin")
_UNSEEN = (225, 225, 222)  # of what somebody does not wear


class Dyes:
    """The colours of one person in one image: the palette's, this garment's dye, and a little of the moment's."""

    def __init__(self, person: Person, tint: float, jitter: np.ndarray) -> None:
        own = np.random.default_rng([person.look, 2]).standard_normal((len(SLOTS), 3)).clip(-2, 2) * tint
        own[6:] *= 0.6  # hair and skin vary less than cloth
        self._offset = dict(zip(SLOTS, own + jitter[: len(SLOTS)], strict=True))

    def __call__(self, slot: str, name: str) -> Colour:
        table = {"hair": HAIR_COLOURS, "skin": SKINS}.get(slot, PALETTE)
        return tuple((np.asarray(table.get(name, _UNSEEN), float) + self._offset[slot]).clip(6, 245))
