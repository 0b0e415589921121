"""*people*: synthetic pedestrians, seen by six cameras, with masks, body parts and known look-alikes."""

from casnkit.data.people.look import ATTRIBUTE_PART, DIFFICULTY, PARTS, PEOPLE_VERSION, SIZES, Difficulty, PeopleSize
from casnkit.data.people.write import TABLE, lookalike_pairs, read_attributes, synthesize

__all__ = ["ATTRIBUTE_PART", "DIFFICULTY", "PARTS", "PEOPLE_VERSION", "SIZES", "Difficulty", "PeopleSize"]
__all__ += ["TABLE", "lookalike_pairs", "read_attributes", "synthesize"]
