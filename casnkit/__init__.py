"""casnkit: see why a network thinks two pictures show the same person.

Consistent Attentive Siamese Networks (Zheng, Karanam, Wu, Radke, CVPR 2019) as a thin library for notebooks:

    data        pictures of people, real and drawn        models, losses, training    the network and how it learns
    attention   equations as functions of tensors         ranking                     the protocol, attention for all pairs
    figures     every picture                             cli                         the same without a notebook

Importing it needs torch, torchvision, numpy and pillow; whatever else a part needs is imported where it is used.
"""

__version__ = "0.1.0"

from . import attention
from .config import Config, paper_literal, profile
from .data import ReidDataset, Split, open_dataset
from .losses import CASNLoss
from .models import CASN
from .ranking import evaluate_ranking

__all__ = [
    "CASN",
    "CASNLoss",
    "Config",
    "ReidDataset",
    "Split",
    "attention",
    "evaluate_ranking",
    "open_dataset",
    "paper_literal",
    "profile",
]
