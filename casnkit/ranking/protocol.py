"""The re-identification protocol: from a matrix of distances to CMC, two average precisions and mINP.

The rules are those of Market-1501 (single query), which DukeMTMC-reID, CUHK03-NP and MSMT17 share:

- Gallery images of the query's person **and** camera are dropped. A ``camid`` of -1 means "unknown": such an image, as
  query or in the gallery, is never dropped for its camera.
- pid -1 is junk: in the gallery it never counts, as a query it is left out.
- pid 0 is a distractor: it stays in the gallery as a wrong answer, and as a query it has no match.
- Queries without a match are left out of every mean, and counted aloud (``notes`` and a ``RankingWarning``).
- Equal distances are ranked by gallery index.

With the matches of a query at 0-based ranks r_1 < ... < r_n, the precision at hit i is p_i = i / (r_i + 1) and just
above it o_i = (i - 1) / r_i (1 where r_i = 0). The step AP is the mean of p_i (today's habit, the headline), the
trapezoid AP the mean of (o_i + p_i) / 2 (Market-1501's official script), the inverse negative penalty n / (r_n + 1).
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from casnkit.data.records import DISTRACTOR_PID, JUNK_PID
from casnkit.ranking.matching import ignored_mask, iterate_matches, matches_mask, to_numpy, whole_numbers
from casnkit.ranking.results import Ranking, RankingResult, RankingWarning

if TYPE_CHECKING:
    import torch


def evaluate_ranking(
    distances: np.ndarray | torch.Tensor,
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
    max_rank: int = 50,
) -> RankingResult:
    """Score a retrieval by the rules at the head of this module.

    Args:
        distances: (Q, G) on any device, any real dtype; lower is closer. +inf is allowed, NaN is not.
        query_pids: (Q,) integers.
        query_camids: (Q,) integers, -1 where unknown.
        gallery_pids: (G,) integers.
        gallery_camids: (G,) integers, -1 where unknown.
        max_rank: length of the CMC; a shorter gallery pads it with its last value.

    Raises:
        ValueError: shapes that do not fit, NaN distances, pids or camids below -1, or no query with a match.
    """
    if isinstance(max_rank, bool) or not isinstance(max_rank, (int, np.integer)) or max_rank < 1:
        raise ValueError(f"expected max_rank to be a positive integer, got {max_rank!r}")
    query_pids = whole_numbers(query_pids, "query_pids")
    num_queries = len(query_pids)
    scores = np.full((num_queries, 3), np.nan)
    counts = np.zeros((num_queries, 3), dtype=np.int64)  # first hit, matches, ignored
    num_collapsed = 0
    for found in iterate_matches(distances, query_pids, query_camids, gallery_pids, gallery_camids):
        scores[found.query] = _scores(found.ranks)
        first_hit = found.ranks.min() if len(found.ranks) else -1
        counts[found.query] = first_hit, len(found.ranks), found.num_ignored
        num_collapsed += found.collapsed
    valid = counts[:, 1] > 0
    if not valid.any():
        raise ValueError(_no_valid_query(query_pids))
    notes = _notes(query_pids, int(valid.sum()), num_collapsed)
    for note in notes:
        warnings.warn(note, RankingWarning, stacklevel=2)
    mean_ap, mean_ap_trapezoid, mean_inp = scores[valid].mean(axis=0).tolist()
    return RankingResult(
        cmc=_cmc(counts[valid, 0], int(max_rank)),
        mean_ap=mean_ap,
        mean_ap_trapezoid=mean_ap_trapezoid,
        mean_inp=mean_inp,
        num_valid=int(valid.sum()),
        num_queries=num_queries,
        average_precision=scores[:, 0].copy(),
        average_precision_trapezoid=scores[:, 1].copy(),
        inverse_negative_penalty=scores[:, 2].copy(),
        first_hit=counts[:, 0].copy(),
        num_matches=counts[:, 1].copy(),
        num_ignored=counts[:, 2].copy(),
        notes=notes,
    )


def rank_gallery(
    distances: np.ndarray | torch.Tensor,
    query_pid: int,
    query_camid: int,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
) -> Ranking:
    """Rank the gallery for one query; ``distances`` is (G,), lower is closer.

    Raises:
        ValueError: as :func:`evaluate_ranking`; a query without a match is no error here.
    """
    if getattr(distances, "ndim", None) != 1:
        found_shape = tuple(getattr(distances, "shape", ())) or type(distances).__name__
        raise ValueError(f"distances: expected one query's array or tensor of shape (G,), found {found_shape}")
    gallery_pids, gallery_camids = (
        whole_numbers(gallery_pids, "gallery_pids"),
        whole_numbers(gallery_camids, "gallery_camids"),
    )
    (found,) = iterate_matches(distances[None], [query_pid], [query_camid], gallery_pids, gallery_camids)
    status = _status(int(query_pid), int(query_camid), gallery_pids, gallery_camids)
    order = np.argsort(to_numpy(distances), kind="stable")
    ignored = ignored_mask([query_pid], [query_camid], gallery_pids, gallery_camids)[0]
    kept = order[~ignored[order]]
    position = np.zeros(len(order), dtype=np.int64)
    position[kept] = np.arange(1, len(kept) + 1)
    step, trapezoid, _ = _scores(found.ranks)
    first_hit = int(found.ranks.min()) if len(found.ranks) else -1
    return Ranking(order, kept, status, position, step, trapezoid, first_hit)


def _scores(ranks: np.ndarray) -> tuple[float, float, float]:
    """Step AP, trapezoid AP and inverse negative penalty of 0-based ranks (n,) in any order; NaN where n = 0."""
    if len(ranks) == 0:
        return math.nan, math.nan, math.nan
    ranks = np.sort(ranks)
    hits = np.arange(1, len(ranks) + 1)
    precision = hits / (ranks + 1)
    before = (hits - 1) / np.maximum(ranks, 1)
    if ranks[0] == 0:
        before[0] = 1.0
    return float(precision.mean()), float((before + precision).mean() / 2), float(len(ranks) / (ranks[-1] + 1))


def _cmc(first_hits: np.ndarray, max_rank: int) -> np.ndarray:
    """(max_rank,) share of queries whose first hit (0-based) lies within each rank; padding needs no special case."""
    histogram = np.bincount(first_hits[first_hits < max_rank], minlength=max_rank)
    return np.cumsum(histogram) / len(first_hits)


def _status(pid: int, camid: int, gallery_pids: np.ndarray, gallery_camids: np.ndarray) -> np.ndarray:
    status = np.full(len(gallery_pids), "wrong", dtype="U11")
    status[gallery_pids == DISTRACTOR_PID] = "distractor"
    status[ignored_mask([pid], [camid], gallery_pids, gallery_camids)[0]] = "same_camera"
    status[gallery_pids == JUNK_PID] = "junk"
    status[matches_mask([pid], [camid], gallery_pids, gallery_camids)[0]] = "correct"
    return status


def _notes(query_pids: np.ndarray, num_valid: int, num_collapsed: int) -> tuple[str, ...]:
    notes = []
    num_junk = int((query_pids == JUNK_PID).sum())
    num_unmatched = len(query_pids) - num_valid - num_junk
    if num_junk:
        notes.append(f"{num_junk} of {len(query_pids)} queries have pid {JUNK_PID} (junk): they are left out.")
    if num_unmatched:
        notes.append(
            f"{num_unmatched} of {len(query_pids)} queries have no match in the gallery "
            "(no image of the person, or only from the same camera): they are left out of every mean."
        )
    if num_collapsed:
        notes.append(
            f"For {num_collapsed} of {len(query_pids)} queries more than half of the gallery lies at one and the same "
            "distance: the features may have collapsed. Equal distances are ranked by gallery index, so these numbers "
            "partly reflect the order of the files."
        )
    return tuple(notes)


def _no_valid_query(query_pids: np.ndarray) -> str:
    junk, distractors = int((query_pids == JUNK_PID).sum()), int((query_pids == DISTRACTOR_PID).sum())
    return (
        f"expected at least one query with a match in the gallery, found none among {len(query_pids)} queries "
        f"({junk} with pid {JUNK_PID}, {distractors} with pid {DISTRACTOR_PID}). A match has the query's pid and "
        "another camera: check that both sides number people alike, and pass camid -1 where cameras are unknown."
    )
