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


# facade: to be replaced
_FACADE = {
    "TABLE": "casnkit.data.people.table",
    "WorkerError": "casnkit.data.people.worker",
    "FOLDS": "casnkit.data.people.shapes",
    "View": "casnkit.data.people.shapes",
    "paint": "casnkit.data.people.shapes",
    "draw_passage": "casnkit.data.people.render",
    "render": "casnkit.data.people.render",
    "make_plan": "casnkit.data.people.plan",
    "spread": "casnkit.data.people.plan",
    "PART_INDEX": "casnkit.data.people.dyes",
    "SLOTS": "casnkit.data.people.dyes",
    "Dyes": "casnkit.data.people.dyes",
    "dress": "casnkit.data.people.clothes",
    "CAMERAS": "casnkit.data.people.cameras",
    "draw_pose": "casnkit.data.people.body",
    "frame_of": "casnkit.data.people.body",
    "Person": "casnkit.data.people.attributes",
    "differing_parts": "casnkit.data.people.attributes",
    "draw_lookalike": "casnkit.data.people.attributes",
    "draw_person": "casnkit.data.people.attributes",
    "draw_population": "casnkit.data.people.attributes",
}
_FACADE_MODULES = ["casnkit.data.people.settings", "casnkit.data.people.synthesize"]


def __getattr__(name):
    from importlib import import_module

    if name in _FACADE:
        return getattr(import_module(_FACADE[name]), name)
    if not name.startswith("__"):
        for module in _FACADE_MODULES:
            if module != __name__:
                found = import_module(module)
                if hasattr(found, name):
                    return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
