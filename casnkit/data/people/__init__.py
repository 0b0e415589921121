"""*people*: synthetic pedestrians, seen by six cameras, with masks, body parts and known look-alikes."""

from __future__ import annotations

from .attributes import ATTRIBUTE_PART
from .settings import DIFFICULTY, PARTS, PEOPLE_VERSION, SIZES, Difficulty, PeopleSize
from .sheet import contact_sheet
from .synthesize import synthesize
from .table import lookalike_pairs, read_attributes

__all__ = [
    "ATTRIBUTE_PART",
    "DIFFICULTY",
    "PARTS",
    "PEOPLE_VERSION",
    "SIZES",
    "Difficulty",
    "PeopleSize",
    "contact_sheet",
    "lookalike_pairs",
    "read_attributes",
    "synthesize",
]
