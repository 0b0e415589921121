"""One trained network on one data set, asked again and again: its distances follow a query at a time and are remembered.

Nothing is computed for all pairs unless someone asks for all queries: a row of feature distances is a small product, a
row of attention distances one call of :func:`casnkit.ranking.attention_distances`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from casnkit.evaluation import Evaluation
from casnkit.ranking import Extracted

from ..models import CASN
from ..ranking import fuse
from .caches import Recent

BLOCK = 32  # queries whose feature distances are computed together: one product, not 32
WHOLE = 20_000_000  # distances that are kept as one matrix where all queries were asked for


@dataclass(frozen=True, eq=False)
class Network(Evaluation):
    """A :class:`casnkit.evaluation.Evaluation` with a name and a memory.

    Attributes:
        name: shown on screen.
        unreadable: gallery indices without a picture; they count as junk, as far away as the farthest other image.
    """

    name: str = ""
    unreadable: tuple[int, ...] = ()
    _blocks: Recent = field(default_factory=lambda: Recent(12), repr=False)
    _rows: Recent = field(default_factory=lambda: Recent(48), repr=False)
    _random: list[CASN] = field(default_factory=list, repr=False)

    @property
    def pair_trained(self) -> bool:
        """Whether the run trained the pair classifier; if not, its attention says nothing about a pair."""
        return self.config.loss.siamese_attention

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images that the network sees."""
        return self.config.data.height, self.config.data.width

    @property
    def num_pairs(self) -> int:
        """Queries times gallery images."""
        return len(self.query) * len(self.gallery)

    def row(self, query_index: int, ranked_by: str = "features") -> np.ndarray:
        """One query's distances to the gallery, (G,), lower is closer; the last few are remembered."""
        return self._rows.get((query_index, ranked_by), lambda: self._row(query_index, ranked_by))

    def _row(self, i: int, ranked_by: str) -> np.ndarray:
        if ranked_by in self.distances:
            return np.asarray(self.distances[ranked_by][i])
        if ranked_by == "features":
            start = i - i % BLOCK
            part = np.arange(start, min(start + BLOCK, len(self.query)))
            return self._blocks.get(start, lambda: self.between(self.query.subset(part), self.gallery, "features"))[
                i - start
            ]
        if ranked_by == "sum" and self.config.ranking.normalise_per == "matrix":
            return self._whole_sum()[i]
        if ranked_by == "sum":
            return self.fused(i, self.row(i, "features"), self.row(i, "attention"))
        return self.row_of(self.query.subset([i]), i, ranked_by)

    def between(self, query: Extracted, gallery: Extracted, kind: str) -> np.ndarray:
        """As :meth:`Evaluation.between`; unreadable gallery images are moved to the end."""
        found = super().between(query, gallery, kind)
        if not self.unreadable or len(gallery) != len(self.gallery) or len(self.unreadable) == len(gallery):
            return found
        found, away = found.copy(), list(self.unreadable)
        found[:, away] = np.delete(found, away, axis=1).max(1, keepdims=True)
        return found

    def part(self, queries: np.ndarray, ranked_by: str) -> np.ndarray:
        """Distances of several queries, (n, G); they are not remembered one by one."""
        if ranked_by in self.distances:
            return np.asarray(self.distances[ranked_by][queries])
        if ranked_by == "sum" and self.config.ranking.normalise_per == "matrix":
            return self._whole_sum()[queries]
        if ranked_by != "sum":
            return self.between(self.query.subset(queries), self.gallery, ranked_by)
        both = [self.part(queries, kind) for kind in ("features", "attention")]
        return np.stack([self.fused(int(i), *rows) for i, *rows in zip(queries, *both, strict=True)])

    def _whole_sum(self) -> np.ndarray:
        """All fused distances: the only way where a run normalises them over the whole matrix."""
        for kind in ("features", "attention"):
            if kind not in self.distances:
                self.distances[kind] = self.between(self.query, self.gallery, kind)
        if "sum" not in self.distances:
            options = self.config.ranking
            both = (np.asarray(self.distances[kind]) for kind in ("features", "attention"))
            self.distances["sum"] = fuse(*both, options.attention_weight, options.normalisation, "matrix")
        return np.asarray(self.distances["sum"])

    def remember(self, ranked_by: str, matrix: np.ndarray) -> None:
        """Keep a whole matrix of distances: rows are then taken from it."""
        self.distances[ranked_by] = matrix
        self._rows.clear()

    def random_twin(self, seed: int = 0) -> CASN:
        """The same architecture with random weights; the global random state is left alone."""
        if not self._random:
            plain = dataclasses.replace(self.model.config, weights=None)
            parameter = next(self.model.parameters())
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = CASN.from_config(self.model.num_ids, plain)
            self._random.append(model.to(parameter).eval())
        return self._random[0]


def network_of(name: str, model: CASN, dataset: Any, config: Any, seen: tuple[Extracted, Extracted],
               distances: dict[str, np.ndarray] | None = None, unreadable: tuple[int, ...] = ()) -> Network:  # fmt: skip
    """A :class:`Network` that owns its dictionary of matrices."""
    return Network(model, dataset, config, *seen, dict(distances or {}), name=name, unreadable=unreadable)
