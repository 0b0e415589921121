"""What a second distance does to the ranking of the first: every true match's rank before and after.

A mean over queries hides which pictures a method moves. Here each pair of a query and one of its true matches keeps
its rank (1-based, among the gallery images that the protocol keeps) under both distances, so that the largest gains and
losses can be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from casnkit.ranking.matching import iterate_matches

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class RankChanges:
    """Parallel arrays, one entry per true match of a query, by query and then gallery index.

    Attributes:
        query: (M,) int64 index of the query.
        gallery: (M,) int64 index of the matching gallery image.
        before: (M,) int64, 1-based rank under the first distances.
        after: (M,) int64, 1-based rank under the second distances.
    """

    query: np.ndarray
    gallery: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    @property
    def gain(self) -> np.ndarray:
        """(M,) places that the match moved up; negative where it fell."""
        return self.before - self.after

    def top_gains(self, count: int = 10) -> np.ndarray:
        """Entries (at most ``count``) that moved up, the largest move first; equal moves in entry order."""
        order = np.argsort(-self.gain, kind="stable")
        return order[self.gain[order] > 0][:count]

    def top_losses(self, count: int = 10) -> np.ndarray:
        """Entries (at most ``count``) that fell, the largest fall first; equal falls in entry order."""
        order = np.argsort(self.gain, kind="stable")
        return order[self.gain[order] < 0][:count]

    def rank_1_gained(self) -> np.ndarray:
        """Indices of the queries that have a match at rank 1 after, and had none before."""
        return np.setdiff1d(self.query[self.after == 1], self.query[self.before == 1])

    def rank_1_lost(self) -> np.ndarray:
        """Indices of the queries that had a match at rank 1 before, and have none after."""
        return np.setdiff1d(self.query[self.before == 1], self.query[self.after == 1])

    def summary(self) -> dict[str, float | int]:
        """Counts of moves, mean ranks (1-based) of all matches, and the queries that gained or lost rank 1."""
        return {
            "num_matches": len(self),
            "num_queries": len(np.unique(self.query)),
            "improved": int((self.gain > 0).sum()),
            "worsened": int((self.gain < 0).sum()),
            "unchanged": int((self.gain == 0).sum()),
            "mean_rank_before": float(self.before.mean()),
            "mean_rank_after": float(self.after.mean()),
            "rank_1_gained": len(self.rank_1_gained()),
            "rank_1_lost": len(self.rank_1_lost()),
        }


def rank_changes(
    distances_before: np.ndarray | torch.Tensor,
    distances_after: np.ndarray | torch.Tensor,
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
) -> RankChanges:
    """Compare the ranks of every query's true matches under two (Q, G) matrices of distances, lower is closer.

    Raises:
        ValueError: as :func:`casnkit.ranking.protocol.evaluate_ranking`, for either matrix.
    """
    sides = (query_pids, query_camids, gallery_pids, gallery_camids)
    queries, galleries, before = _match_ranks(distances_before, *sides)
    _, _, after = _match_ranks(distances_after, *sides)
    if len(queries) == 0:
        raise ValueError(
            "expected at least one query with a match in the gallery, found none: a match has the query's pid and "
            "another camera"
        )
    return RankChanges(queries, galleries, before, after)


def _match_ranks(distances: np.ndarray | torch.Tensor, *sides: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query index, gallery index and 1-based rank of every true match, each (M,), by query and gallery index."""
    found = list(iterate_matches(distances, *sides))
    if not found:
        return (np.zeros(0, dtype=np.int64),) * 3
    queries = np.repeat([one.query for one in found], [len(one.ranks) for one in found])
    galleries, ranks = (np.concatenate([getattr(one, key) for one in found]) for key in ("gallery", "ranks"))
    return queries, galleries, ranks + 1


__all__ = ["RankChanges", "rank_changes"]
