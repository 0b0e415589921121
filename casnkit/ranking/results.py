"""What a ranking yields: the numbers of a whole retrieval, and one query's gallery in order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


class RankingWarning(UserWarning):
    """Something about the data or the distances that a reader of the ranking's numbers must know."""


@dataclass(frozen=True, eq=False)
class RankingResult:
    """The protocol's numbers. Shares are in [0, 1]; per-query arrays have one entry per query, in order.

    Attributes:
        cmc: (max_rank,) float64, non-decreasing; ``cmc[k - 1]`` is the share of queries with a match in the first k.
        mean_ap: mean step average precision, the headline.
        mean_ap_trapezoid: mean trapezoid average precision, as in Market-1501's official script.
        mean_inp: mean inverse negative penalty (how far down the last match is).
        num_valid: queries with at least one match, over which the means run.
        num_queries: all queries given.
        average_precision: (Q,) step AP, NaN without a match.
        average_precision_trapezoid: (Q,) trapezoid AP, NaN without a match.
        inverse_negative_penalty: (Q,), NaN without a match.
        first_hit: (Q,) int64, 0-based rank of the first match, -1 without one.
        num_matches: (Q,) int64, matches left in the gallery after dropping.
        num_ignored: (Q,) int64, gallery images dropped: junk, and those of the query's person and camera.
        notes: sentences to print with the numbers.
    """

    cmc: np.ndarray
    mean_ap: float
    mean_ap_trapezoid: float
    mean_inp: float
    num_valid: int
    num_queries: int
    average_precision: np.ndarray
    average_precision_trapezoid: np.ndarray
    inverse_negative_penalty: np.ndarray
    first_hit: np.ndarray
    num_matches: np.ndarray
    num_ignored: np.ndarray
    notes: tuple[str, ...] = ()

    def rank(self, k: int) -> float:
        """CMC at rank ``k`` (1-based), in [0, 1]. Raises ValueError outside 1 ... max_rank."""
        if not 1 <= k <= len(self.cmc):
            raise ValueError(f"expected a rank from 1 to max_rank = {len(self.cmc)}, got {k}")
        return float(self.cmc[k - 1])

    def to_dict(self, per_query: bool = False) -> dict[str, Any]:
        """The numbers as plain Python values for JSON; with ``per_query`` the arrays too (None for NaN)."""
        keys = ("mean_ap", "mean_ap_trapezoid", "mean_inp", "num_valid", "num_queries")
        values: dict[str, Any] = {key: getattr(self, key) for key in keys}
        values |= {f"rank_{k}": self.rank(k) for k in (1, 5, 10, 20) if k <= len(self.cmc)}
        values |= {"cmc": self.cmc.tolist(), "notes": list(self.notes)}
        if per_query:
            scores = ("average_precision", "average_precision_trapezoid", "inverse_negative_penalty")
            values |= {key: [None if math.isnan(v) else v for v in getattr(self, key).tolist()] for key in scores}
            values |= {key: getattr(self, key).tolist() for key in ("first_hit", "num_matches", "num_ignored")}
        return values

    def to_text(self) -> str:
        """A few lines for a terminal: the numbers in percent, how many queries they stand on, and the notes."""
        lines = [f"rank-{k:<3}  {100 * self.rank(k):6.2f} %" for k in (1, 5, 10, 20) if k <= len(self.cmc)]
        lines.append(f"mAP       {100 * self.mean_ap:6.2f} %   ({100 * self.mean_ap_trapezoid:.2f} % by trapezoids)")
        lines.append(f"mINP      {100 * self.mean_inp:6.2f} %")
        lines.append(f"queries   {self.num_valid} of {self.num_queries}")
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


@dataclass(frozen=True, eq=False)
class Ranking:
    """One query's gallery in order, for pictures and inspection.

    Attributes:
        order: (G,) gallery indices by distance, equal distances by index; ignored images included.
        kept: (K,) the same order without the ignored images.
        status: (G,) by gallery index: "correct", "wrong", "distractor"; ignored: "junk", "same_camera".
        position: (G,) int64 by gallery index: 1-based rank among the kept images, 0 where ignored.
        average_precision: step AP, NaN without a match; the very number of :func:`casnkit.ranking.evaluate_ranking`.
        average_precision_trapezoid: trapezoid AP, NaN without a match.
        first_hit: 0-based rank of the first match among the kept, -1 without one.
    """

    order: np.ndarray
    kept: np.ndarray
    status: np.ndarray
    position: np.ndarray
    average_precision: float
    average_precision_trapezoid: float
    first_hit: int
