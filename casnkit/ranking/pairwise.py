"""Attention distances for every query-gallery pair, or for a shortlist (paper 3.2.3, equation 5).

Equal to ``attention_distance(*model.siamese_attention_of(A_q, A_g))`` for each pair, but without a pair of feature maps ever
being put side by side: a tile of queries meets a tile of gallery images in matrix products (:mod:`casnkit.ranking.tiles`).
Three engines, chosen by the model:

- ``closed_form``: f is a mean over pixels and the pair classifier has two layers;
- ``linear``: moreover nothing bends between the two layers, so alpha is the same for every pair. A map then depends on
  its own image alone, and the cost falls from pairs to images;
- ``autograd``: anything else, by differentiating, some hundred times slower.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from casnkit import attention
from casnkit.files import read_json, write_json
from casnkit.models.casn import evaluating
from casnkit.ranking import tiles
from casnkit.ranking.extract import Extracted, fingerprint

if TYPE_CHECKING:
    from casnkit.models.casn import CASN

ENGINES = ("linear", "closed_form", "autograd")


@dataclass(frozen=True)
class PairwiseResult:
    """All distances, and how they came about.

    Attributes:
        distances: (Q, G) float32, or (Q, K) for a shortlist; lower is closer. Memory-mapped where ``resume`` was given.
        engine: ``linear``, ``closed_form`` or ``autograd``.
        precision: of the matrix products.
        seconds: wall clock of this call.
        pairs_computed: by this call; fewer than all where an interrupted run was resumed.
        tile: queries and gallery images per tile.
    """

    distances: np.ndarray
    engine: str
    precision: str
    seconds: float
    pairs_computed: int
    tile: tuple[int, int]

    @property
    def pairs_per_second(self) -> float:
        return self.pairs_computed / max(self.seconds, 1e-9)


def choose_engine(model: CASN, mode: str = "paper") -> str:
    """The fastest engine that is exact for this model: ``linear``, ``closed_form`` or ``autograd``."""
    head = getattr(model, "pair_head", None)
    two_layers = (
        isinstance(head, nn.Sequential)
        and len(head) == 4
        and all(isinstance(head[i], nn.Linear) for i in (0, 3))
        and isinstance(head[2], nn.Dropout)
        and isinstance(head[1], (nn.Identity, nn.ReLU, nn.LeakyReLU))
    )
    if not model.has_closed_form or not two_layers:
        return "autograd"
    return "linear" if isinstance(head[1], nn.Identity) and mode != "v1" else "closed_form"
