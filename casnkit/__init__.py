"""casnkit: see why a network thinks two pictures show the same person.

Consistent Attentive Siamese Networks (Zheng, Karanam, Wu, Radke, CVPR 2019) as a thin library for notebooks:

    data        pictures of people, real and drawn        models, losses, training    the network and how it learns
    attention   equations as functions of tensors         ranking                     the protocol, attention for all pairs
    explain     other explanations, and how good they are claims, ablation            what is true of attention
    figures     every picture                             inspector                   query, gallery, two maps, sliders
    cli         the same without a notebook

Names are imported when they are first used: ranking a finished distance matrix loads no torch. Nothing here needs more
than torch, torchvision, numpy and pillow; whatever else a part needs is imported where it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "CASN": "models",
    "CASNLoss": "losses",
    "Config": "config",
    "Inspector": "inspector",
    "ReidDataset": "data",
    "Split": "data",
    "evaluate_ranking": "ranking",
    "load_shipped": "shipped",
    "open_dataset": "data",
    "paper_literal": "config",
    "profile": "config",
}
_MODULES = (
    "attention",
    "claims",
    "data",
    "evaluation",
    "explain",
    "figures",
    "inspector",
    "models",
    "notebook",
    "ranking",
    "runs",
    "training",
)

__all__ = [
    "CASN",
    "CASNLoss",
    "Config",
    "Inspector",
    "ReidDataset",
    "Split",
    "attention",
    "claims",
    "data",
    "evaluate_ranking",
    "evaluation",
    "explain",
    "figures",
    "inspector",
    "load_shipped",
    "models",
    "notebook",
    "open_dataset",
    "paper_literal",
    "profile",
    "ranking",
    "runs",
    "training",
]

if TYPE_CHECKING:
    from . import (
        attention,
        claims,
        data,
        evaluation,
        explain,
        figures,
        inspector,
        models,
        notebook,
        ranking,
        runs,
        training,
    )
    from .config import Config, paper_literal, profile
    from .data import ReidDataset, Split, open_dataset
    from .inspector import Inspector
    from .losses import CASNLoss
    from .models import CASN
    from .ranking import evaluate_ranking
    from .shipped import load_shipped


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
