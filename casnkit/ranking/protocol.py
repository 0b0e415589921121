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
several times cheaper than sorting the row. Distances pass through in chunks of rows, from any device.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike as Ids
from torch import Tensor

from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, UNKNOWN_CAMERA

Matrix = np.ndarray | Tensor
RANKS = (1, 5, 10, 20)
CHUNK_VALUES = 2_000_000  # distances looked at together: 8 MB of float32
SORT_SHARE = 1 / 64  # share of matches in the gallery above which one sort is cheaper than a sweep for each match
PROBES = 64  # gallery images looked at before a query is suspected of collapsed distances


class RankingWarning(UserWarning):
    """Something about the data or the distances that a reader of the ranking's numbers must know."""


@dataclass(frozen=True, eq=False)
class RankingResult:
    """The protocol's numbers: shares in [0, 1]; arrays (Q,) have one entry for each query, in order."""

    cmc: np.ndarray  # (max_rank,), non-decreasing; cmc[k - 1] is the share of queries with a match in the first k
    mean_ap: float  # mean step average precision, the headline
    mean_ap_trapezoid: float  # mean trapezoid average precision, as in Market-1501's official script
    mean_inp: float  # mean inverse negative penalty: how far down the last match is
    num_valid: int  # queries with at least one match, over which the means run
    num_queries: int
    average_precision: np.ndarray  # (Q,) step, NaN without a match
    average_precision_trapezoid: np.ndarray  # (Q,), NaN without a match
    inverse_negative_penalty: np.ndarray  # (Q,), NaN without a match
    first_hit: np.ndarray  # (Q,) int64, 0-based rank of the first match, -1 without one
    num_matches: np.ndarray  # (Q,) int64, matches left in the gallery after dropping
    num_ignored: np.ndarray  # (Q,) int64, gallery images dropped: junk, and those of the query's person and camera
    notes: tuple[str, ...] = ()  # sentences to print with the numbers

    def rank(self, k: int) -> float:
        """CMC at rank ``k`` (1-based), in [0, 1]. Raises ValueError outside 1 ... max_rank."""
        if not 1 <= k <= len(self.cmc):
            raise ValueError(f"expected a rank from 1 to max_rank = {len(self.cmc)}, got {k}")
        return float(self.cmc[k - 1])


@dataclass(frozen=True, eq=False)
class Ranking:
    """One query's gallery in order, for pictures and inspection."""

    order: np.ndarray  # (G,) gallery indices by distance, equal distances by index; ignored images included
    kept: np.ndarray  # (K,) the same order without the ignored images
    status: np.ndarray  # (G,) by gallery index: correct, wrong, distractor; ignored: junk, same_camera
    position: np.ndarray  # (G,) int64 by gallery index: 1-based rank among the kept images, 0 where ignored
    average_precision: float  # step, NaN without a match; the very number of evaluate_ranking
    average_precision_trapezoid: float  # NaN without a match
    first_hit: int  # 0-based rank of the first match among the kept, -1 without one


class QueryMatches(NamedTuple):
    """One query's matches."""

    gallery: np.ndarray  # (n,) int64 gallery indices, ascending
    ranks: np.ndarray  # (n,) int64, their 0-based ranks among the kept gallery images
    num_ignored: int  # gallery images dropped: junk, and those of the query's person and camera
    collapsed: bool  # whether most of the gallery lies at one and the same distance


def evaluate_ranking(
    distances: Matrix, query_pids: Ids, query_camids: Ids, gallery_pids: Ids, gallery_camids: Ids, max_rank: int = 50
) -> RankingResult:
    """Score a retrieval by the rules at the head of this module.

    Args:
        distances: (Q, G) on any device, any real dtype; lower is closer. +inf is allowed, NaN is not.
        query_pids, query_camids, gallery_pids, gallery_camids: (Q,) and (G,) integers, see the rules.
        max_rank: length of the CMC; a shorter gallery pads it with its last value.

    Raises:
        ValueError: shapes that do not fit, NaN distances, pids or camids below -1, or no query with a match.
    """
    if isinstance(max_rank, bool) or not isinstance(max_rank, (int, np.integer)) or max_rank < 1:
        raise ValueError(f"expected max_rank to be a positive integer, got {max_rank!r}")
    sides = checked_sides(query_pids, query_camids, gallery_pids, gallery_camids)
    found = list(iterate_matches(distances, *sides))
    num_matches = np.array([len(one.ranks) for one in found], np.int64)
    first_hit = np.array([one.ranks.min() if len(one.ranks) else -1 for one in found], np.int64)
    num_ignored = np.array([one.num_ignored for one in found], np.int64)
    scores = np.array([_scores(one.ranks) for one in found]).reshape(-1, 3)
    valid = num_matches > 0
    notes = _notes(sides[0], valid, sum(one.collapsed for one in found))
    for note in notes:
        warnings.warn(note, RankingWarning, stacklevel=2)
    cmc = np.bincount(first_hit[valid & (first_hit < max_rank)], minlength=max_rank).cumsum() / valid.sum()
    means, counts = scores[valid].mean(axis=0).tolist(), (int(valid.sum()), len(valid))
    return RankingResult(cmc, *means, *counts, *scores.T.copy(), first_hit, num_matches, num_ignored, notes)


def rank_gallery(
    distances: Matrix, query_pid: int, query_camid: int, gallery_pids: Ids, gallery_camids: Ids
) -> Ranking:
    """Rank the gallery for one query, with or without a match; ``distances`` is (G,), lower is closer.

    Errors as :func:`evaluate_ranking`.
    """
    if getattr(distances, "ndim", None) != 1:
        shape = tuple(getattr(distances, "shape", ())) or type(distances).__name__
        raise ValueError(f"distances: expected one query's array or tensor of shape (G,), found {shape}")
    sides = checked_sides([query_pid], [query_camid], gallery_pids, gallery_camids)
    (found,) = iterate_matches(distances[None], *sides)
    order, ignored = np.argsort(to_numpy(distances), kind="stable"), ignored_mask(*sides)[0]
    kept = order[~ignored[order]]
    position = np.zeros(len(order), np.int64)
    position[kept] = np.arange(1, len(kept) + 1)
    status = np.full(len(order), "wrong", "U11")
    status[sides[2] == DISTRACTOR_PID] = "distractor"
    status[ignored] = "same_camera"
    status[sides[2] == JUNK_PID] = "junk"
    status[found.gallery] = "correct"
    step, trapezoid, _ = _scores(found.ranks)
    return Ranking(order, kept, status, position, step, trapezoid, int(found.ranks.min()) if len(found.ranks) else -1)


def iterate_matches(
    distances: Matrix, query_pids: Ids, query_camids: Ids, gallery_pids: Ids, gallery_camids: Ids
) -> Iterator[QueryMatches]:
    """Every query's matches with their ranks, in order; arguments and errors as :func:`evaluate_ranking`."""
    q_pids, q_cams, g_pids, g_cams = checked_sides(query_pids, query_camids, gallery_pids, gallery_camids)
    check_shape(distances, len(q_pids), len(g_pids))
    no_junk = np.flatnonzero(g_pids != JUNK_PID)
    pids, cams = g_pids[no_junk], g_cams[no_junk]
    by_pid = np.argsort(pids, kind="stable")
    starts, ends = (np.searchsorted(pids[by_pid], q_pids, side) for side in ("left", "right"))
    step = max(1, CHUNK_VALUES // max(1, len(g_pids)))
    for first in range(0, len(q_pids), step):
        rows = to_numpy(distances[first : first + step])
        if np.isnan(rows).any():
            i, j = np.argwhere(np.isnan(rows))[0].tolist()
            raise ValueError(
                f"distances: expected numbers, found {np.isnan(rows).sum()} NaN, the first for query {first + i} and "
                f"gallery image {j}: look for NaN in the features of these images"
            )
        rows = rows if len(no_junk) == len(g_pids) else rows[:, no_junk]
        collapsed = _collapsed(rows) & (q_pids[first : first + len(rows)] != JUNK_PID)
        for i, row in enumerate(rows, start=first):
            same_pid = by_pid[starts[i] : ends[i]] if q_pids[i] > DISTRACTOR_PID else by_pid[:0]
            drop = (cams[same_pid] == q_cams[i]) & (q_cams[i] != UNKNOWN_CAMERA)
            ranks = _ranks(row, same_pid[~drop], same_pid[drop])
            num_ignored = len(g_pids) - len(row) + int(drop.sum())
            yield QueryMatches(no_junk[same_pid[~drop]], ranks, num_ignored, bool(collapsed[i - first]))


def matches_mask(query_pids: Ids, query_camids: Ids, gallery_pids: Ids, gallery_camids: Ids) -> np.ndarray:
    """(Q, G) bool: True where the gallery image is a right answer to the query, and not dropped."""
    q_pids, q_cams, g_pids, g_cams = checked_sides(query_pids, query_camids, gallery_pids, gallery_camids)
    other_camera = (q_cams[:, None] != g_cams) | (g_cams == UNKNOWN_CAMERA)
    return (q_pids[:, None] == g_pids) & (g_pids > DISTRACTOR_PID) & other_camera


def ignored_mask(query_pids: Ids, query_camids: Ids, gallery_pids: Ids, gallery_camids: Ids) -> np.ndarray:
    """(Q, G) bool: True where the gallery image is dropped for the query (junk, or its person and camera)."""
    q_pids, q_cams, g_pids, g_cams = checked_sides(query_pids, query_camids, gallery_pids, gallery_camids)
    same_camera = (q_cams[:, None] == g_cams) & (g_cams != UNKNOWN_CAMERA)
    same_pid = (q_pids[:, None] == g_pids) & (g_pids > DISTRACTOR_PID)
    return (same_pid & same_camera) | (g_pids == JUNK_PID)


def camera_pairs(
    distances: Matrix, query_pids: Ids, query_camids: Ids, gallery_pids: Ids, gallery_camids: Ids
) -> pd.DataFrame:
    """The protocol camera by camera: each camera's queries are ranked in each camera's gallery alone.

    A row for each pair: ``query camera`` and ``gallery camera`` (-1 is unknown); ``rank_1``, ``rank_5``, ``rank_10``,
    ``rank_20`` and ``mean_ap`` in percent, NaN without a match; ``queries`` with a match; ``gallery`` images. Compare
    pairs with each other, not with the headline: there are fewer wrong answers and fewer right ones. Within one camera
    there is nothing to find. Errors as :func:`evaluate_ranking`.
    """
    q_pids, q_cams, g_pids, g_cams = checked_sides(query_pids, query_camids, gallery_pids, gallery_camids)
    check_shape(distances, len(q_pids), len(g_pids))
    cells = []
    for q_cam, g_cam in ((q, g) for q in np.unique(q_cams).tolist() for g in np.unique(g_cams).tolist()):
        rows, columns = np.flatnonzero(q_cams == q_cam), np.flatnonzero(g_cams == g_cam)
        sides = q_pids[rows], q_cams[rows], g_pids[columns], g_cams[columns]
        numbers = dict.fromkeys([*(f"rank_{k}" for k in RANKS), "mean_ap"], np.nan) | {"queries": 0}
        if matches_mask(*sides).any():
            with warnings.catch_warnings():  # that a query has no match in *this* camera is what the counts say
                warnings.simplefilter("ignore", RankingWarning)
                result = evaluate_ranking(distances[rows][:, columns], *sides, max_rank=max(RANKS))
            numbers = {f"rank_{k}": 100 * result.rank(k) for k in RANKS}
            numbers |= {"mean_ap": 100 * result.mean_ap, "queries": result.num_valid}
        cells.append({"query camera": q_cam, "gallery camera": g_cam, **numbers, "gallery": len(columns)})
    return pd.DataFrame(cells)


@dataclass(frozen=True, eq=False)
class RankChanges:
    """What a second distance does to every true match's rank: parallel arrays, by query and then gallery index."""

    query: np.ndarray  # (M,) int64 index of the query
    gallery: np.ndarray  # (M,) int64 index of the matching gallery image
    before: np.ndarray  # (M,) int64, 1-based rank among the kept gallery images under the first distances
    after: np.ndarray  # (M,) int64, the same under the second

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
        found = {"num_matches": len(self), "num_queries": len(np.unique(self.query))}
        for name, moved in (("improved", self.gain > 0), ("worsened", self.gain < 0), ("unchanged", self.gain == 0)):
            found[name] = int(moved.sum())
        found |= {"mean_rank_before": float(self.before.mean()), "mean_rank_after": float(self.after.mean())}
        return found | {"rank_1_gained": len(self.rank_1_gained()), "rank_1_lost": len(self.rank_1_lost())}


def rank_changes(distances_before: Matrix, distances_after: Matrix, *sides: Ids) -> RankChanges:
    """Compare every true match's rank under two (Q, G) matrices; ``sides`` and errors as :func:`evaluate_ranking`."""
    before, after = (list(iterate_matches(distances, *sides)) for distances in (distances_before, distances_after))
    counts = [len(one.ranks) for one in before]
    if not sum(counts):
        raise ValueError(_no_match(checked_sides(*sides)[0]))
    ranks = (np.concatenate([one.ranks for one in found]) + 1 for found in (before, after))
    return RankChanges(np.repeat(np.arange(len(counts)), counts), np.concatenate([o.gallery for o in before]), *ranks)


def checked_sides(*sides: Ids) -> list[np.ndarray]:
    """Pids and camids of queries and of gallery as int64 arrays, one camid for each pid."""
    checked = []
    for name, values in zip(("query_pids", "query_camids", "gallery_pids", "gallery_camids"), sides, strict=True):
        array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        expected = (len(checked[-1]),) if len(checked) % 2 else (array.size,)
        if array.shape != expected:
            raise ValueError(f"{name}: expected shape {expected}, one number for each image, found {array.shape}")
        if array.size and array.dtype.kind not in "iu":
            raise ValueError(f"{name}: expected integers, found dtype {array.dtype}")
        if array.size and array.min() < -1:
            raise ValueError(f"{name}: expected -1 (junk or unknown), 0 or a positive number, found {array.min()}")
        checked.append(array.astype(np.int64))
    return checked


def check_shape(distances: Matrix, num_queries: int, num_gallery: int) -> None:
    """Raise ValueError unless ``distances`` is an array or a tensor with a row per query and a column per image."""
    if not isinstance(distances, (np.ndarray, Tensor)):
        raise ValueError(f"distances: expected a NumPy array or a torch tensor, found {type(distances).__name__}")
    if tuple(distances.shape) != (num_queries, num_gallery):
        raise ValueError(
            f"distances: expected shape ({num_queries}, {num_gallery}), from the pids one row per query and one column "
            f"per gallery image, found {tuple(distances.shape)}"
        )


def to_numpy(values: Matrix) -> np.ndarray:
    """``values`` on the CPU as float32 or, where that keeps order and ties, as float64."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if values.dtype.kind not in "fiub":
        raise ValueError(f"distances: expected real numbers, found dtype {values.dtype}")
    return values.astype(np.result_type(values.dtype, np.float32), copy=False)


def _ranks(row: np.ndarray, matches: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """0-based ranks (n,) of ``matches`` in a row of distances (G,), as a stable sort without ``dropped`` gives them."""
    if len(dropped):
        row = row.copy()
        row[dropped] = np.nan  # neither smaller than anything nor equal to it, and last in a sort
    if len(matches) > SORT_SHARE * len(row):
        position = np.empty(len(row), np.int64)
        position[np.argsort(row, kind="stable")] = np.arange(len(row))
        return position[matches]
    # An equal distance is ahead if its index is lower: <= before the match, < behind it.
    counts = [np.count_nonzero(row[:m] <= row[m]) + np.count_nonzero(row[m + 1 :] < row[m]) for m in matches.tolist()]
    return np.array(counts, np.int64)


def _collapsed(rows: np.ndarray) -> np.ndarray:
    """(n,) bool: rows in which more than half of the distances, and at least three, are one value."""
    count, found = rows.shape[1], np.zeros(len(rows), bool)
    if count < 3:
        return found
    probes = np.sort(rows[:, np.linspace(0, count - 1, PROBES).astype(np.int64)], axis=1)
    suspects = (probes[:, PROBES // 3 :] == probes[:, : -(PROBES // 3)]).any(axis=1)  # a third of them at one distance
    for i in np.flatnonzero(suspects):
        median = np.partition(rows[i], count // 2)[count // 2]
        found[i] = np.count_nonzero(rows[i] == median) > max(2, count // 2)
    return found


def _scores(ranks: np.ndarray) -> tuple[float, float, float]:
    """Step AP, trapezoid AP and inverse negative penalty of 0-based ranks (n,) in any order; NaN where n = 0."""
    if len(ranks) == 0:
        return np.nan, np.nan, np.nan
    ranks, hits = np.sort(ranks), np.arange(1, len(ranks) + 1)
    precision = hits / (ranks + 1)
    before = np.where(ranks == 0, 1, (hits - 1) / np.maximum(ranks, 1))
    return float(precision.mean()), float((before + precision).mean() / 2), float(len(ranks) / (ranks[-1] + 1))


def _notes(query_pids: np.ndarray, valid: np.ndarray, num_collapsed: int) -> tuple[str, ...]:
    """What a reader of the means must know. Raises ValueError where no query is valid."""
    if not valid.any():
        raise ValueError(_no_match(query_pids))
    count, num_junk = len(valid), int((query_pids == JUNK_PID).sum())
    num_unmatched = count - int(valid.sum()) - num_junk
    notes = {
        f"{num_junk} of {count} queries have pid {JUNK_PID} (junk): they are left out.": num_junk,
        f"{num_unmatched} of {count} queries have no match in the gallery (no image of the person, or only from the same "
        "camera): they are left out of every mean.": num_unmatched,
        f"For {num_collapsed} of {count} queries more than half of the gallery lies at one and the same distance: the "
        "features may have collapsed. Equal distances are ranked by gallery index, so these numbers partly reflect the "
        "order of the files.": num_collapsed,
    }
    return tuple(note for note, number in notes.items() if number)


def _no_match(query_pids: np.ndarray) -> str:
    junk, distractors = int((query_pids == JUNK_PID).sum()), int((query_pids == DISTRACTOR_PID).sum())
    return (
        f"expected at least one query with a match in the gallery, found none among {len(query_pids)} queries ({junk} junk, "
        f"{distractors} distractors). A match has the query's pid and another camera: check that both sides number people "
        "alike, and pass camid -1 where cameras are unknown."
    )
