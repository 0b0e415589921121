"""The re-identification protocol: from a matrix of distances to CMC, two average precisions and mINP.

The rules are those of Market-1501 (single query), which DukeMTMC-reID, CUHK03-NP and MSMT17 share:
- Gallery images of the query's person **and** camera are dropped. A ``camid`` of -1 is unknown and drops nothing.
- pid -1 is junk: in the gallery it never counts, as a query it is left out.
- pid 0 is a distractor: it stays in the gallery as a wrong answer, and as a query it has no match.
- Queries without a match are left out of every mean, and counted aloud (``notes`` and a ``RankingWarning``).
- Equal distances are ranked by gallery index.

With the matches of a query at 0-based ranks r_1 < ... < r_n, the precision at hit i is p_i = i / (r_i + 1) and just
above it o_i = (i - 1) / r_i (1 where r_i = 0). The step AP is the mean of p_i (today's habit, the headline), the
trapezoid AP the mean of (o_i + p_i) / 2 (Market-1501's official script), the inverse negative penalty p_n.
"""

import math
import warnings
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import psutil
import torch
from numpy.typing import ArrayLike as Ids
from torch import Tensor

from casnkit.config import check_count
from casnkit.data.files import disk_array
from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, UNKNOWN_CAMERA

Matrix = np.ndarray | Tensor
MOST_PADDED = 1000  # ranks of a CMC that may lie behind the end of the gallery
CHUNK_VALUES = 2_000_000  # distances looked at together: 8 MB of float32
NO_MATCH = (
    "expected at least one query with a match in the gallery, found none. A match has the query's pid and another camera: "
    "do both sides number people alike? Pass camid -1 where cameras are unknown."
)


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
    first_hit: np.ndarray  # (Q,) int64, 0-based rank of the first match, -1 without one
    num_matches: np.ndarray  # (Q,) int64, matches left in the gallery after dropping
    num_ignored: np.ndarray  # (Q,) int64, gallery images dropped: junk, and those of the query's person and camera
    notes: tuple[str, ...] = ()  # sentences to print with the numbers

    def rank(self, k: int) -> float:
        """CMC at rank ``k`` (1-based), in [0, 1]. Raises ValueError outside 1 ... max_rank."""
        if not 1 <= check_count("k", k) <= len(self.cmc):
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
    first_hit: int  # 0-based rank of the first match among the kept, -1 without one


def evaluate_ranking(
    distances: Matrix, query_pids: Ids, query_camids: Ids, gallery_pids: Ids, gallery_camids: Ids, max_rank: int = 50
) -> RankingResult:
    """Score a retrieval by the rules at the head of this module.

    ``distances`` are (Q, G) on any device, of any real dtype, lower is closer; +inf is allowed, NaN is not. Pids and camids
    are (Q,) and (G,) integers, see the rules; ``max_rank`` is the CMC's length, padded up to :data:`MOST_PADDED` where the
    gallery is shorter. Raises ValueError for shapes that do not fit, NaN distances, pids or camids below -1, or no query
    with a match.
    """
    sides = checked_sides(query_pids, query_camids, gallery_pids, gallery_camids)
    max_rank = min(check_count("max_rank", max_rank), max(len(sides[2]), MOST_PADDED))
    query, _, ranks, num_ignored = find_matches(distances, *sides)
    scores, first_hit, num_matches = _scores(query, ranks, len(num_ignored))
    valid = num_matches > 0
    if not valid.any():
        raise ValueError(NO_MATCH)
    notes = _notes(sides[0], valid, _collapsed(distances, sides[0], sides[2]))
    for note in notes:
        warnings.warn(note, RankingWarning, stacklevel=2)
    cmc = np.bincount(first_hit[valid & (first_hit < max_rank)], minlength=max_rank).cumsum() / valid.sum()
    means, counts = scores[:, valid].mean(axis=1).tolist(), (int(valid.sum()), len(valid))
    return RankingResult(cmc, *means, *counts, scores[0], first_hit, num_matches, num_ignored, notes)


def rank_gallery(
    distances: Matrix, query_pid: int, query_camid: int, gallery_pids: Ids, gallery_camids: Ids
) -> Ranking:
    """Rank the gallery for one query, with or without a match; ``distances`` is (G,), lower is closer."""
    sides = checked_sides([query_pid], [query_camid], gallery_pids, gallery_camids)
    query, matches, ranks, _ = find_matches(distances[None], *sides)
    order, ignored = np.argsort(to_numpy(distances), kind="stable"), ignored_mask(*sides)[0]
    kept = order[~ignored[order]]
    position = np.zeros(len(order), np.int64)
    position[kept] = np.arange(1, len(kept) + 1)
    junk, distractor = (sides[2] == pid for pid in (JUNK_PID, DISTRACTOR_PID))
    status = np.select([junk, ignored, distractor], ["junk", "same_camera", "distractor"], "wrong")
    status[matches] = "correct"
    scores, (first_hit,), _ = _scores(query, ranks, 1)
    return Ranking(order, kept, status, position, float(scores[0, 0]), int(first_hit))


def find_matches(distances: Matrix, *sides: Ids) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every match, by query and then gallery index: both indices and its 0-based rank (M,); images ignored (Q,)."""
    q_pids, q_cams, *gallery = checked_sides(*sides)
    check_shape(distances, len(q_pids), len(gallery[0]))
    pairs, ranks, num_ignored = [np.empty((2, 0), np.int64)], [], []
    for part in chunks(len(q_pids), len(gallery[0]), CHUNK_VALUES // 8):  # what is near the caches is faster
        rows = to_numpy(distances[part])
        if np.isnan(rows.min(initial=0)):
            i, j = np.argwhere(np.isnan(rows))[0].tolist()
            found = f"{np.isnan(rows).sum()} NaN, the first for query {part.start + i} and gallery image {j}"
            raise ValueError(f"distances: expected numbers, found {found}: look for NaN in these images' features")
        right, ignored = pair_masks(q_pids[part], q_cams[part], *gallery)
        kept = np.where(ignored, np.nan, rows)  # NaN is neither smaller than anything nor equal to it
        query, match = right.nonzero()
        for i, m in zip(query.tolist(), match.tolist(), strict=True):  # matches are few: cheaper than to sort the row
            row = kept[i]  # of equal distances the lower index is ahead
            ranks.append(np.count_nonzero(row[:m] <= row[m]) + np.count_nonzero(row[m + 1 :] < row[m]))
        pairs.append(np.stack([part.start + query, match]))
        num_ignored += np.count_nonzero(ignored, axis=1).tolist()
    return *np.concatenate(pairs, axis=1), np.array(ranks, np.int64), np.array(num_ignored, np.int64)


def matches_mask(query_pids: Ids, query_camids: Ids, gallery_pids: Ids, gallery_camids: Ids) -> np.ndarray:
    """(Q, G) bool: True where the gallery image is a right answer to the query, and not dropped."""
    return pair_masks(*checked_sides(query_pids, query_camids, gallery_pids, gallery_camids))[0]


def ignored_mask(query_pids: Ids, query_camids: Ids, gallery_pids: Ids, gallery_camids: Ids) -> np.ndarray:
    """(Q, G) bool: True where the gallery image is dropped for the query (junk, or its person and camera)."""
    return pair_masks(*checked_sides(query_pids, query_camids, gallery_pids, gallery_camids))[1]


def pair_masks(q_pids: np.ndarray, q_cams: np.ndarray, g_pids: np.ndarray, g_cams: np.ndarray) -> list[np.ndarray]:
    """Both masks, (Q, G) each, of sides that are checked."""
    person = (q_pids[:, None] == g_pids) & (g_pids > DISTRACTOR_PID)
    same_camera = (q_cams[:, None] == g_cams) & (g_cams != UNKNOWN_CAMERA)
    return [person & ~same_camera, person & same_camera | (g_pids == JUNK_PID)]


def camera_pairs(distances: Matrix, *sides: Ids) -> pd.DataFrame:
    """The protocol camera by camera: each camera's queries are ranked in each camera's gallery alone.

    A row for each pair: ``query camera`` and ``gallery camera`` (-1 is unknown); ``rank_1``, ``rank_5``, ``rank_10``,
    ``rank_20`` and ``mean_ap`` in percent, NaN without a match; ``queries`` with a match; ``gallery`` images. Compare
    pairs with each other, not with the headline: there are fewer wrong answers and fewer right ones.
    """
    q_pids, q_cams, g_pids, g_cams = checked_sides(*sides)
    check_shape(distances, len(q_pids), len(g_pids))
    cells, ranks = [], {f"rank_{k}": k for k in (1, 5, 10, 20)}
    for q_cam, g_cam in product(np.unique(q_cams).tolist(), np.unique(g_cams).tolist()):
        rows, columns = np.flatnonzero(q_cams == q_cam), np.flatnonzero(g_cams == g_cam)
        part = q_pids[rows], q_cams[rows], g_pids[columns], g_cams[columns]
        cell = {"query camera": q_cam, "gallery camera": g_cam, "queries": 0, "gallery": len(columns)}
        if matches_mask(*part).any():
            with warnings.catch_warnings():  # that a query has no match in *this* camera is what the counts say
                warnings.simplefilter("ignore", RankingWarning)
                result = evaluate_ranking(distances[rows][:, columns], *part)
            cell |= {name: 100 * result.rank(k) for name, k in ranks.items()}
            cell |= {"mean_ap": 100 * result.mean_ap, "queries": result.num_valid}
        cells.append(cell)
    return pd.DataFrame(cells, columns=["query camera", "gallery camera", *ranks, "mean_ap", "queries", "gallery"])


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
        return RankChanges(self.query, self.gallery, self.after, self.before).top_gains(count)

    def rank_1_gained(self) -> np.ndarray:
        """Indices of the queries that have a match at rank 1 after, and had none before."""
        return np.setdiff1d(self.query[self.after == 1], self.query[self.before == 1])

    def rank_1_lost(self) -> np.ndarray:
        """Indices of the queries that had a match at rank 1 before, and have none after."""
        return np.setdiff1d(self.query[self.before == 1], self.query[self.after == 1])

    def summary(self) -> dict[str, float | int]:
        """Counts of moves, mean ranks (1-based) of all matches, and the queries that gained or lost rank 1."""
        moves = {"improved": self.gain > 0, "worsened": self.gain < 0, "unchanged": self.gain == 0}
        found = {"num_matches": len(self), "num_queries": len(np.unique(self.query))}
        found |= {name: int(moved.sum()) for name, moved in moves.items()}
        found |= {"mean_rank_before": float(self.before.mean()), "mean_rank_after": float(self.after.mean())}
        return found | {"rank_1_gained": len(self.rank_1_gained()), "rank_1_lost": len(self.rank_1_lost())}


def rank_changes(distances_before: Matrix, distances_after: Matrix, *sides: Ids) -> RankChanges:
    """Compare every true match's rank under two (Q, G) matrices; ``sides`` and errors as :func:`evaluate_ranking`."""
    query, gallery, before, _ = find_matches(distances_before, *sides)
    after = find_matches(distances_after, *sides)[2]
    if not len(query):
        raise ValueError(NO_MATCH)
    return RankChanges(query, gallery, before + 1, after + 1)


def checked_sides(*sides: Ids) -> list[np.ndarray]:
    """Pids and camids of queries and of gallery as int64 arrays, one camid for each pid."""
    checked = []
    for name, values in zip(("query_pids", "query_camids", "gallery_pids", "gallery_camids"), sides, strict=True):
        array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        expected = (len(checked[-1]),) if len(checked) % 2 else (array.size,)
        if array.shape != expected or (array.size and array.dtype.kind not in "iu"):
            found = f"{array.dtype} of shape {array.shape}"
            raise ValueError(f"{name}: expected integers of shape {expected}, one for each image, found {found}")
        if array.min(initial=0) < -1:
            raise ValueError(f"{name}: expected -1 (junk or unknown), 0 or a positive number, found {array.min()}")
        checked.append(array.astype(np.int64))
    return checked


def check_shape(distances: Matrix, num_queries: int, num_gallery: int, name: str = "distances") -> None:
    """Raise ValueError unless ``distances`` is an array or a tensor with a row per query and a column per image."""
    expected, found = (num_queries, num_gallery), type(distances).__name__
    if isinstance(distances, Tensor) and (distances.layout != torch.strided or distances.is_meta):
        found = f"{distances.layout} on {distances.device}: use to_dense()"
    elif isinstance(distances, np.ndarray | Tensor) and not isinstance(distances, np.ma.MaskedArray):
        found = tuple(distances.shape)
    if found != expected:
        raise ValueError(f"{name}: expected shape {expected}, an array or a tensor, one row per query, found {found}")


def to_numpy(values: Matrix) -> np.ndarray:
    """``values`` on the CPU as float32 or, where that keeps order and ties, as float64."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() and values.itemsize < 4 else values).numpy()
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"distances: expected real numbers, found dtype {values.dtype}")
    return values.astype(np.result_type(values.dtype, np.float32), copy=False)


def chunks(count: int, width: int, values: int | None = None) -> list[slice]:
    """``count`` rows of that width in parts of about ``values`` values."""
    step = max(1, (values or CHUNK_VALUES) // max(1, width))
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def new_matrix(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """An array to fill: in memory, or where it would take an eighth of what is free as :func:`disk_array` makes it."""
    fits = math.prod(shape) * np.dtype(dtype).itemsize <= psutil.virtual_memory().available // 8
    return np.empty(shape, dtype) if fits else np.asarray(disk_array(shape, dtype))


def _collapsed(distances: Matrix, query_pids: np.ndarray, gallery_pids: np.ndarray) -> int:
    """Queries for which one value is more than half of 64 distances, evenly spaced, and at least three of them."""
    columns = np.flatnonzero(gallery_pids != JUNK_PID)
    probes = columns[np.unique(np.linspace(0, len(columns) - 1, 64).astype(np.int64))]
    values, half = np.sort(to_numpy(distances[:, probes])[query_pids != JUNK_PID], axis=1), len(probes) // 2
    return int((values[:, half:] == values[:, : len(probes) - half]).any(axis=1).sum()) if len(probes) > 2 else 0


def _scores(query: np.ndarray, ranks: np.ndarray, num_queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step AP, trapezoid AP and inverse negative penalty of each query (3, Q); its first hit; its number of matches."""
    scores, first_hit = np.full((3, num_queries), np.nan), np.full(num_queries, -1)
    ranks = ranks[np.lexsort((ranks, query))]
    matched, starts, count = np.unique(query, return_index=True, return_counts=True)
    hits = np.arange(len(ranks)) - np.repeat(starts, count)  # before this one
    precision = (hits + 1) / (ranks + 1)
    trapezoid = (np.where(ranks == 0, 1, hits / np.maximum(ranks, 1)) + precision) / 2
    scores[:2, matched] = np.add.reduceat([precision, trapezoid], starts, axis=1) / count
    scores[2, matched] = precision[starts + count - 1]
    first_hit[matched] = ranks[starts]
    return scores, first_hit, np.bincount(query, minlength=num_queries)


def _notes(query_pids: np.ndarray, valid: np.ndarray, num_collapsed: int) -> tuple[str, ...]:
    num_junk = int((query_pids == JUNK_PID).sum())
    found = {
        "have pid -1 (junk): they are left out.": num_junk,
        "have no match in the gallery (no image of the person, or only from the same camera): they are left out of every "
        "mean.": int((~valid).sum()) - num_junk,
        "have more than half of the gallery at one and the same distance: the features may have collapsed. Equal "
        "distances are ranked by gallery index, so these numbers reflect the order of the files.": num_collapsed,
    }
    return tuple(f"{number} of {len(valid)} queries {words}" for words, number in found.items() if number)
