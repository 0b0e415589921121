"""Which gallery images answer a query, and at which ranks they stand, by the rules of :mod:`casnkit.ranking.protocol`.

A match's rank is a count of smaller distances: with few matches in a large gallery, one comparison sweep for each is
several times cheaper than sorting the row. Distances pass through in chunks of rows, from any device.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, UNKNOWN_CAMERA

if TYPE_CHECKING:
    import torch

_CHUNK_VALUES = 2_000_000  # distances converted at a time: 8 MB of float32
_SORT_SHARE = 1 / 64  # share of matches in the gallery above which one sort is cheaper than a sweep per match
_PROBES = 64  # gallery images looked at before a query is suspected of collapsed distances


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


def iterate_matches(
    distances: np.ndarray | torch.Tensor,
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
) -> Iterator[QueryMatches]:
    """Yield every query's matches with their ranks; arguments and errors as in :func:`casnkit.ranking.evaluate_ranking`."""
    query_pids, gallery_pids = whole_numbers(query_pids, "query_pids"), whole_numbers(gallery_pids, "gallery_pids")
    query_camids = whole_numbers(query_camids, "query_camids", len(query_pids))
    gallery_camids = whole_numbers(gallery_camids, "gallery_camids", len(gallery_pids))
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


def matches_mask(
    query_pids: ArrayLike, query_camids: ArrayLike, gallery_pids: ArrayLike, gallery_camids: ArrayLike
) -> np.ndarray:
    """(Q, G) bool: True where the gallery image is a right answer to the query, and not dropped."""
    query_pids, gallery_pids = whole_numbers(query_pids, "query_pids"), whole_numbers(gallery_pids, "gallery_pids")
    same_pid = (query_pids[:, None] == gallery_pids) & (gallery_pids > DISTRACTOR_PID)
    return same_pid & ~ignored_mask(query_pids, query_camids, gallery_pids, gallery_camids)


def ignored_mask(
    query_pids: ArrayLike, query_camids: ArrayLike, gallery_pids: ArrayLike, gallery_camids: ArrayLike
) -> np.ndarray:
    """(Q, G) bool: True where the gallery image is dropped for the query (junk, or its person and camera)."""
    query_pids, gallery_pids = whole_numbers(query_pids, "query_pids"), whole_numbers(gallery_pids, "gallery_pids")
    query_camids = whole_numbers(query_camids, "query_camids", len(query_pids))
    gallery_camids = whole_numbers(gallery_camids, "gallery_camids", len(gallery_pids))
    same_pid = (query_pids[:, None] == gallery_pids) & (gallery_pids > DISTRACTOR_PID)
    same_camera = (query_camids[:, None] == gallery_camids) & (gallery_camids != UNKNOWN_CAMERA)
    return (same_pid & same_camera) | (gallery_pids == JUNK_PID)


def whole_numbers(values: ArrayLike | torch.Tensor, name: str, length: int | None = None) -> np.ndarray:
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


def is_tensor(values: object) -> bool:
    """Whether ``values`` is a torch tensor; torch itself is not imported for it, it would cost some 400 MB."""
    torch_module = sys.modules.get("torch")
    return torch_module is not None and isinstance(values, torch_module.Tensor)


def to_numpy(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """``values`` on the CPU; half precisions become float32 and integers float64, which keeps order and ties."""
    if is_tensor(values):
        half = values.is_floating_point() and values.dtype.itemsize < 4
        values = (values.detach().float() if half else values.detach()).cpu().numpy()
    if values.dtype.kind not in "fiub":
        raise ValueError(f"distances: expected real numbers, found dtype {values.dtype}")
    if values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float32 if values.dtype == np.float16 else np.float64)


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
        yield first, to_numpy(distances[first : first + size])
