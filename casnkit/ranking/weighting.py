"""How much should attention count? The share that ranks best, chosen where it may be chosen.

Section 3.4 of the paper adds the two normalised distances with equal weight. Whether that is the right share depends on
how well either ranks by itself, and can be found out on people who are neither in the training nor in the test
(:func:`casnkit.data.holdout.hold_out`). Chosen on the test, it would be a number fitted to its own answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from casnkit.ranking.fusion import fuse, normalise_distances
from casnkit.ranking.protocol import evaluate_ranking

WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))


@dataclass(frozen=True, eq=False)
class WeightCurve:
    """The protocol's numbers for every share of attention that was tried.

    Attributes:
        weights: (K,) share of the attention distance, ascending: 0 features alone, 1 attention alone.
        mean_ap: (K,) in [0, 1].
        rank_1: (K,) in [0, 1].
        best: the weight with the highest mean AP; of equal ones the smallest, for features alone cost less.
        normalisation, per: how the distances were brought on one scale.
        num_valid: queries with a match.
    """

    weights: np.ndarray
    mean_ap: np.ndarray
    rank_1: np.ndarray
    best: float
    normalisation: str
    per: str
    num_valid: int


def choose_weight(
    feature_distances: np.ndarray,
    attention_distances: np.ndarray,
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
    weights: Sequence[float] = WEIGHTS,
    normalisation: str = "minmax",
    per: str = "query",
) -> WeightCurve:
    """Rank by :func:`casnkit.ranking.fuse` with each weight; choose by mean AP.

    Args:
        feature_distances, attention_distances: (Q, G) of the validation's queries and gallery, lower is closer.
        weights: shares of the attention distance in [0, 1], in any order.
        normalisation, per: of :func:`casnkit.ranking.normalise_distances`.

    Raises:
        ValueError: no weight, or as ``fuse`` and :func:`casnkit.ranking.evaluate_ranking`.
    """
    tried = np.unique(np.asarray(list(weights), dtype=np.float64))
    if not len(tried):
        raise ValueError("expected at least one weight to try, got none")
    matrices = [normalise_distances(d, normalisation, per) for d in (feature_distances, attention_distances)]
    labels = query_pids, query_camids, gallery_pids, gallery_camids
    results = [evaluate_ranking(fuse(*matrices, weight, "none"), *labels, max_rank=1) for weight in tried.tolist()]
    mean_ap, rank_1 = (np.array([v(r) for r in results]) for v in (lambda r: r.mean_ap, lambda r: r.rank(1)))
    best = float(tried[int(np.argmax(mean_ap))])
    return WeightCurve(tried, mean_ap, rank_1, best, normalisation, per, results[0].num_valid)


__all__ = ["WEIGHTS", "WeightCurve", "choose_weight"]
