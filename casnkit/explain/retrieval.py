"""A network and what it saw of a data set, from which rankings are asked again after something was changed.

The distances are those of :mod:`casnkit.evaluation`, a row at a time: by features, by attention, or by the sum of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from casnkit.data.images import load_images, normalise
from casnkit.models import CASN, evaluating
from casnkit.ranking import Extracted, attention_distances, extract, feature_distances

from ..config import Config
from ..data.records import ReidDataset, Split
from ..ranking import Ranking, fuse, rank_gallery

SIDES = ("query", "gallery")
RANKED_BY = ("features", "attention", "sum")


@dataclass(frozen=True, eq=False)
class Retrieval:
    """A network and what it saw in a data set: all that is needed to ask "what if" again and again.

    Attributes:
        config: its image size and its ``ranking`` group are used.
        query, gallery: features (and, to rank by attention, feature maps) of all images.
        distances: (Q, G) matrices by name, as ``Evaluation.distances``; a missing one is computed row by row.
    """

    model: CASN
    dataset: ReidDataset
    config: Config
    query: Extracted
    gallery: Extracted
    distances: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: CASN,
        dataset: ReidDataset,
        config: Config,
        evaluation: Any = None,
        device: torch.device | str | None = None,
        keep_maps: bool = True,
    ) -> Retrieval:
        """From a finished evaluation (its ``query``, ``gallery`` and ``distances``), or by looking at all images."""
        if evaluation is not None:
            return cls(model, dataset, config, evaluation.query, evaluation.gallery, evaluation.distances)
        size = config.data.height, config.data.width
        seen = [
            extract(model, load_images(split, size, progress=False), device=device, keep_maps=keep_maps)
            for split in (dataset.query, dataset.gallery)
        ]
        return cls(model, dataset, config, *seen)

    def split(self, side: str) -> Split:
        """The data set's queries or gallery."""
        if side not in SIDES:
            raise ValueError(f"expected 'query' or 'gallery', got {side!r}")
        return getattr(self.dataset, side)

    def images(self, side: str, index: Sequence[int] | np.ndarray) -> Tensor:
        """Images as the network takes them, on its device: (B, 3, H, W) float, normalised."""
        size = self.config.data.height, self.config.data.width
        pixels = load_images(self.split(side).subset(np.asarray(index, np.int64)), size, progress=False)
        return normalise(pixels).to(next(self.model.parameters()).device)

    def row(self, query_index: int, ranked_by: str = "features") -> np.ndarray:
        """One query's distances to the gallery, (G,), lower is closer."""
        if ranked_by in self.distances:
            return np.asarray(self.distances[ranked_by][query_index])
        return self.rows(self.query.subset([query_index]), query_index, ranked_by)

    def rows(self, query: Extracted, query_index: int, ranked_by: str = "features") -> np.ndarray:
        """The distances, (G,), of one image that takes the place of query ``query_index``."""
        if ranked_by != "sum":
            return self.between(query, self.gallery, ranked_by)[0]
        return self.fused(query_index, *(self.between(query, self.gallery, kind)[0] for kind in RANKED_BY[:2]))

    def between(self, query: Extracted, gallery: Extracted, kind: str) -> np.ndarray:
        """Distances by features or by attention between any images, (q, g) float32, as the configuration has them."""
        options = self.config.ranking
        if kind == "features":
            return feature_distances(query.features, gallery.features, normalise=options.normalise_features)
        found = attention_distances(
            self.model, query, gallery, options.siamese_mode, options.pair_order, options.threshold
        )
        return np.asarray(found.distances)

    def fused(self, query_index: int, features: np.ndarray, attention: np.ndarray) -> np.ndarray:
        """The sum of both distances for one query, (G,), normalised as the configuration has it."""
        options = self.config.ranking
        how = options.attention_weight, options.normalisation, options.normalise_per
        if options.normalise_per == "query":
            return fuse(features[None], attention[None], *how)[0]
        if not {"features", "attention"} <= set(self.distances):
            raise ValueError(
                'ranking.normalise_per="matrix" needs all distances: give Retrieval the matrices "features" and '
                '"attention", as Evaluation.distances has them'
            )
        whole = [np.array(self.distances[kind]) for kind in RANKED_BY[:2]]
        for matrix, row in zip(whole, (features, attention), strict=True):
            matrix[query_index] = row
        return fuse(*whole, *how)[query_index]

    def rank(self, query_index: int, distances: np.ndarray) -> Ranking:
        """The gallery in order of ``distances`` (G,), by the protocol."""
        q, g = self.dataset.query, self.dataset.gallery
        return rank_gallery(distances, q.pids[query_index], q.camids[query_index], g.pids, g.camids)


def pair_probability(model: CASN, features_1: Tensor, features_2: Tensor) -> Tensor:
    """Probability that both show one person, softmax of z: (P, D), (P, D) -> (P,) in [0, 1], on the CPU."""
    parameter = next(model.parameters())
    with evaluating(model), torch.no_grad():
        scores = model.pair_scores(features_1.to(parameter) - features_2.to(parameter))
    return scores.softmax(1)[:, 1].float().cpu()
