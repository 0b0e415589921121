"""The paper's distance at test time: feature distance and attention distance, each normalised, summed.

Section 3.4 says neither how to normalise nor over what, so both are arguments here: ``"minmax"`` to [0, 1] or ``"zscore"``
to mean 0 and standard deviation 1, per query (a query's ranking then depends on no other query) or over the whole matrix.
The weighted mean that :func:`fuse` returns is half the paper's sum at ``weight=0.5``: the same ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from casnkit.ranking.protocol import Ids, Matrix, evaluate_ranking, to_numpy

NORMALISATIONS = ("minmax", "zscore", "none")
SCOPES = ("query", "matrix")
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))


def normalise_distances(distances: Matrix, kind: str = "minmax", per: str = "query") -> Matrix:
    """Finite distances (Q, G), NumPy or torch, on a common scale without changing any query's order: a copy.

    ``kind`` is ``"minmax"``, ``"zscore"`` (zeros where all distances are equal) or ``"none"``; ``per`` is ``"query"`` or
    ``"matrix"``. Half precision is raised to float32, whole numbers to float64.
    """
    if kind not in NORMALISATIONS or per not in SCOPES:
        raise ValueError(f"expected a normalisation out of {NORMALISATIONS} per {SCOPES}, found {kind!r} per {per!r}")
    if np.ndim(distances) != 2:
        raise ValueError(f"distances: expected shape (Q, G), found {np.shape(distances)}")
    values = np.array(to_numpy(distances))
    if not np.isfinite(values).all():
        raise ValueError(
            f"expected finite distances, found {np.count_nonzero(~np.isfinite(values))} NaN or infinite in shape "
            f"{values.shape}: look at the features or attention of these images"
        )
    if kind != "none" and values.size:
        axis = 1 if per == "query" else None
        low, high = values.min(axis=axis, keepdims=True), values.max(axis=axis, keepdims=True)
        offset, scale = low, high - low
        if kind == "zscore":
            offset, scale = values.mean(axis=axis, keepdims=True), values.std(axis=axis, keepdims=True)
        # rounding leaves a constant row a tiny deviation: its extrema are compared with each other, not the scale with 0
        constant = (low == high) | (scale == 0)
        values = (values - offset) / np.where(constant, 1, scale) * ~constant
    return torch.from_numpy(values).to(distances.device) if isinstance(distances, torch.Tensor) else values


def fuse(
    features: Matrix, attention: Matrix, weight: float = 0.5, normalisation: str = "minmax", per: str = "query"
) -> Matrix:
    """Section 3.4: ``(1 - weight) * features + weight * attention`` of two (Q, G) matrices of distances, both normalised.

    ``weight`` is attention's share: 0 is features alone, 0.5 the paper's sum (halved), 1 attention alone;
    ``normalisation`` and ``per`` are those of :func:`normalise_distances`.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"expected a weight in [0, 1], the share of the attention distance, found {weight}")
    kinds = [(type(d).__name__, np.shape(d)) for d in (features, attention)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"expected two arrays or two tensors of one shape (Q, G), found {kinds[0]} and {kinds[1]}")
    features, attention = (normalise_distances(d, normalisation, per) for d in (features, attention))
    weight = float(weight)  # a NumPy scalar would raise float32 to float64
    return (1 - weight) * features + weight * attention


@dataclass(frozen=True, eq=False)
class WeightCurve:
    """The protocol's numbers for every share of attention that was tried, and the best one."""

    weights: np.ndarray  # (K,) share of the attention distance, ascending
    mean_ap: np.ndarray  # (K,) in [0, 1]
    rank_1: np.ndarray  # (K,) in [0, 1]
    best: float  # the weight with the highest mean AP; of equal ones the smallest, for features alone cost less
    normalisation: str
    per: str


def choose_weight(
    features: Matrix,
    attention: Matrix,
    query_pids: Ids,
    query_camids: Ids,
    gallery_pids: Ids,
    gallery_camids: Ids,
    weights: Sequence[float] = WEIGHTS,
    normalisation: str = "minmax",
    per: str = "query",
) -> WeightCurve:
    """Rank by :func:`fuse` with each weight; choose by mean AP.

    Choose on people who are neither in the training nor in the test (:func:`casnkit.data.records.hold_out`): on the test
    the weight would be a number fitted to its own answer.
    """
    tried, sides = np.unique(weights), (query_pids, query_camids, gallery_pids, gallery_camids)
    matrices = [normalise_distances(d, normalisation, per) for d in (features, attention)]
    results = [evaluate_ranking(fuse(*matrices, weight, "none"), *sides, max_rank=1) for weight in tried.tolist()]
    mean_ap, rank_1 = np.array([[r.mean_ap, r.rank(1)] for r in results]).T
    return WeightCurve(tried, mean_ap, rank_1, float(tried[mean_ap.argmax()]), normalisation, per)
