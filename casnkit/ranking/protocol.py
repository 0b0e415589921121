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

A match's rank is a count of smaller distances: with few matches in a large gallery, one comparison sweep for each is
several times cheaper than sorting the row.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, UNKNOWN_CAMERA

if TYPE_CHECKING:
    import torch

_CHUNK_VALUES = 2_000_000  # distances converted at a time: 8 MB of float32
_SORT_SHARE = 1 / 64  # share of matches in the gallery above which one sort is cheaper than a sweep per match
_PROBES = 64  # gallery images looked at before a query is suspected of collapsed distances


class RankingWarning(UserWarning):
    """Something about the data or the distances that a reader of the ranking's numbers must know."""


@dataclass(frozen=True, eq=False)
class RankingResult:
    """What :func:`evaluate_ranking` found. Shares are in [0, 1]; per-query arrays have one entry per query, in order.

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
        average_precision: step AP, NaN without a match; the very number of :func:`evaluate_ranking`.
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


@dataclass(frozen=True, eq=False)
class QueryMatches:
    """One query's matches.

    Attributes:
        query: index of the query.
        gallery: (n,) int64 gallery indices of the matches, ascending.
        ranks: (n,) int64, their 0-based ranks among the kept gallery images.
        num_ignored: gallery images dropped: junk, and those of the query's person and camera.
        collapsed: whether most of the kept gallery lies at one and the same distance.
    """

    query: int
    gallery: np.ndarray
    ranks: np.ndarray
    num_ignored: int
    collapsed: bool


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
    query_pids = _numbers(query_pids, "query_pids")
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
    gallery_pids, gallery_camids = _numbers(gallery_pids, "gallery_pids"), _numbers(gallery_camids, "gallery_camids")
    (found,) = iterate_matches(distances[None], [query_pid], [query_camid], gallery_pids, gallery_camids)
    status = _status(int(query_pid), int(query_camid), gallery_pids, gallery_camids)
    order = np.argsort(_to_numpy(distances), kind="stable")
    ignored = ignored_mask([query_pid], [query_camid], gallery_pids, gallery_camids)[0]
    kept = order[~ignored[order]]
    position = np.zeros(len(order), dtype=np.int64)
    position[kept] = np.arange(1, len(kept) + 1)
    step, trapezoid, _ = _scores(found.ranks)
    first_hit = int(found.ranks.min()) if len(found.ranks) else -1
    return Ranking(order, kept, status, position, step, trapezoid, first_hit)


def matches_mask(
    query_pids: ArrayLike, query_camids: ArrayLike, gallery_pids: ArrayLike, gallery_camids: ArrayLike
) -> np.ndarray:
    """(Q, G) bool: True where the gallery image is a right answer to the query, and not dropped."""
    query_pids, gallery_pids = _numbers(query_pids, "query_pids"), _numbers(gallery_pids, "gallery_pids")
    same_pid = (query_pids[:, None] == gallery_pids) & (gallery_pids > DISTRACTOR_PID)
    return same_pid & ~ignored_mask(query_pids, query_camids, gallery_pids, gallery_camids)


def ignored_mask(
    query_pids: ArrayLike, query_camids: ArrayLike, gallery_pids: ArrayLike, gallery_camids: ArrayLike
) -> np.ndarray:
    """(Q, G) bool: True where the gallery image is dropped for the query (junk, or its person and camera)."""
    query_pids, gallery_pids = _numbers(query_pids, "query_pids"), _numbers(gallery_pids, "gallery_pids")
    query_camids = _numbers(query_camids, "query_camids", len(query_pids))
    gallery_camids = _numbers(gallery_camids, "gallery_camids", len(gallery_pids))
    same_pid = (query_pids[:, None] == gallery_pids) & (gallery_pids > DISTRACTOR_PID)
    same_camera = (query_camids[:, None] == gallery_camids) & (gallery_camids != UNKNOWN_CAMERA)
    return (same_pid & same_camera) | (gallery_pids == JUNK_PID)


def iterate_matches(
    distances: np.ndarray | torch.Tensor,
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
) -> Iterator[QueryMatches]:
    """Yield every query's matches with their ranks; arguments and errors as in :func:`evaluate_ranking`."""
    query_pids, gallery_pids = _numbers(query_pids, "query_pids"), _numbers(gallery_pids, "gallery_pids")
    query_camids = _numbers(query_camids, "query_camids", len(query_pids))
    gallery_camids = _numbers(gallery_camids, "gallery_camids", len(gallery_pids))
    _check_distances(distances, len(query_pids), len(gallery_pids))
    no_junk = np.flatnonzero(gallery_pids != JUNK_PID)
    pids, camids = gallery_pids[no_junk], gallery_camids[no_junk]
    by_pid = np.argsort(pids, kind="stable")
    limits = (np.searchsorted(pids[by_pid], query_pids, side) for side in ("left", "right"))
    starts, ends = (limit.tolist() for limit in limits)
    for first, rows in _chunks(distances):
        if len(no_junk) < len(gallery_pids):
            rows = rows[:, no_junk]
        suspects = _suspects(rows)
        for i, row in enumerate(rows, start=first):
            same_pid = by_pid[starts[i] : ends[i]] if query_pids[i] > DISTRACTOR_PID else by_pid[:0]
            drop = (camids[same_pid] == query_camids[i]) & (query_camids[i] != UNKNOWN_CAMERA)
            dropped, matches = same_pid[drop], same_pid[~drop]
            num_kept = len(row) - len(dropped)
            collapsed = bool(suspects[i - first]) and query_pids[i] != JUNK_PID and _is_collapsed(row, dropped)
            ranks = _ranks(row, matches, dropped)
            yield QueryMatches(i, no_junk[matches], ranks, len(gallery_pids) - num_kept, collapsed)


def _ranks(row: np.ndarray, matches: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """0-based ranks (n,) of ``matches`` in a row of distances (G,), as a stable sort without ``dropped`` gives them."""
    if len(dropped):
        row = row.copy()
        row[dropped] = np.nan  # neither smaller than anything nor equal to it, and last in a sort
    if len(matches) > _SORT_SHARE * len(row):
        position = np.empty(len(row), dtype=np.int64)
        position[np.argsort(row, kind="stable")] = np.arange(len(row))
        return position[matches]
    # An equal distance is ahead if its index is lower: <= before the match, < behind it.
    counts = [np.count_nonzero(row[:m] <= row[m]) + np.count_nonzero(row[m + 1 :] < row[m]) for m in matches.tolist()]
    return np.array(counts, dtype=np.int64)


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


def _suspects(rows: np.ndarray) -> np.ndarray:
    """(n,) bool: rows in which a third of some evenly spaced images lie at one distance; cheap, and generous."""
    if rows.shape[1] <= _PROBES:
        return np.ones(len(rows), dtype=bool)
    columns = np.linspace(0, rows.shape[1] - 1, _PROBES).astype(np.int64)
    probes = np.sort(rows[:, columns], axis=1)
    run = _PROBES // 3
    return (probes[:, run:] == probes[:, :-run]).any(axis=1)


def _is_collapsed(row: np.ndarray, dropped: np.ndarray) -> bool:
    """Whether more than half of the kept distances, and at least three, are one value (then it is their median)."""
    kept = np.delete(row, dropped)
    if len(kept) < 3:
        return False
    middle = np.partition(kept, len(kept) // 2)[len(kept) // 2]
    return np.count_nonzero(kept == middle) > max(2, len(kept) // 2)


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


def _numbers(values: ArrayLike | torch.Tensor, name: str, length: int | None = None) -> np.ndarray:
    """``values`` as (N,) int64, checked: one-dimensional, whole, none below -1, and as many as expected."""
    array = values.detach().cpu().numpy() if is_tensor(values) else np.asarray(values)
    if array.ndim != 1 or (length is not None and len(array) != length):
        expected = "(N,)" if length is None else f"({length},), one per pid,"
        raise ValueError(f"{name}: expected shape {expected} found {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected integers, found dtype {array.dtype}")
    if array.size and array.min() < -1:
        raise ValueError(f"{name}: expected -1 (junk or unknown), 0 or a positive number, found {array.min()}")
    return array.astype(np.int64)


def _check_distances(distances: np.ndarray | torch.Tensor, num_queries: int, num_gallery: int) -> None:
    if not isinstance(distances, np.ndarray) and not is_tensor(distances):
        raise ValueError(f"distances: expected a NumPy array or a torch tensor, found {type(distances).__name__}")
    if tuple(distances.shape) != (num_queries, num_gallery):
        raise ValueError(
            f"distances: expected shape ({num_queries}, {num_gallery}), from the pids one row per query and one column "
            f"per gallery image, found {tuple(distances.shape)}"
        )
    count, places = 0, []
    for first, rows in _chunks(distances):
        bad = np.isnan(rows)
        if bad.any():
            count += int(np.count_nonzero(bad))
            places += [(first + int(i), int(j)) for i, j in np.argwhere(bad)[: 3 - len(places)]]
    if count:
        raise ValueError(
            f"distances: expected numbers, found {count} NaN of {num_queries * num_gallery} values, the first at "
            f"(query, gallery) {', '.join(map(str, places))}: look for NaN in the features of these images"
        )


def _chunks(distances: np.ndarray | torch.Tensor) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index of the first row, rows as float32 or float64 NumPy), a few at a time to keep memory low."""
    size = max(1, _CHUNK_VALUES // max(1, distances.shape[1]))
    for first in range(0, len(distances), size):
        yield first, _to_numpy(distances[first : first + size])


def is_tensor(values: object) -> bool:
    """Whether ``values`` is a torch tensor; torch itself is not imported for it, it would cost some 400 MB."""
    torch_module = sys.modules.get("torch")
    return torch_module is not None and isinstance(values, torch_module.Tensor)


def _to_numpy(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """``values`` on the CPU; half precisions become float32 and integers float64, which keeps order and ties."""
    if is_tensor(values):
        half = values.is_floating_point() and values.dtype.itemsize < 4
        values = (values.detach().float() if half else values.detach()).cpu().numpy()
    if values.dtype.kind not in "fiub":
        raise ValueError(f"distances: expected real numbers, found dtype {values.dtype}")
    if values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float32 if values.dtype == np.float16 else np.float64)


__all__ = [
    "QueryMatches",
    "Ranking",
    "RankingResult",
    "RankingWarning",
    "evaluate_ranking",
    "ignored_mask",
    "iterate_matches",
    "matches_mask",
    "rank_gallery",
]
