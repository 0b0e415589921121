"""The sparse middle of re-ranking: who is whose neighbour, and the vectors V (:mod:`casnkit.ranking.rerank`).

Distances come through a function that gives some images' rows at a time; what is kept of them is sparse. Products of
sparse matrices count what two neighbourhoods share, so there is no loop over pairs of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from casnkit._optional import require

_CHUNK_VALUES = 16_000_000  # distances held at a time: 64 MB of float32
_SORT_VALUES = 2_000_000  # distances sorted at a time, by indices of twice their size
Rows = Callable[[int, int], np.ndarray]  # first and last (exclusive) image -> a fresh (n, N) float32 array


def nearest_images(rows: Rows, count: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Every image's nearest images, itself first, (N, k) int64; and its largest distance, (N,) float32.

    Raises:
        ValueError: a distance that is negative or not finite.
    """
    wanted = min(wanted, count)
    nearest, largest = np.empty((count, wanted), np.int64), np.empty(count, np.float32)
    for first, last in chunks(count, count):
        part = _checked(rows(first, last), first)
        itself = np.arange(last - first), np.arange(first, last)
        part[itself] = 0
        largest[first:last] = part.max(1)
        part[itself] = -1  # before all others, twins too
        for top, end in chunks(last - first, count, _SORT_VALUES):
            nearest[first + top : first + end] = _smallest(part[top:end], wanted)
    return nearest, largest


def _smallest(part: np.ndarray, count: int) -> np.ndarray:
    """Columns of each row's ``count`` smallest values, ascending, equal ones by index."""
    chosen = np.sort(np.argpartition(part, count - 1, axis=1)[:, :count], axis=1)
    values = np.take_along_axis(part, chosen, 1)
    found = np.take_along_axis(chosen, np.argsort(values, axis=1, kind="stable"), 1)
    crowded = np.flatnonzero(np.count_nonzero(part <= values.max(1, keepdims=True), axis=1) > count)
    for i in crowded:  # a partition takes any of the equal values at its border
        found[i] = np.argsort(part[i], kind="stable")[:count]
    return found


def reciprocal_sets(nearest: np.ndarray, k1: int) -> Any:
    """R* of every image: a sparse (N, N) matrix with 1 for each member (equation 3)."""
    whole, half = _reciprocal(nearest, k1 + 1), _reciprocal(nearest, int(np.around(k1 / 2)) + 1)
    shared = (whole @ half.T).multiply(whole).tocoo()  # what R(q, k1 / 2) has in common with R(p, k1), q in R(p, k1)
    sizes = np.asarray(half.sum(1)).ravel()
    taken = 3 * shared.data > 2 * sizes[shared.col]
    places = shared.row[taken], shared.col[taken]
    sparse = require("scipy.sparse", "re-ranking")
    candidates = sparse.csr_matrix((np.ones(len(places[0]), np.int32), places), shape=whole.shape)
    members = (whole + candidates @ half).tocsr()
    members.data = np.ones_like(members.data)
    return members


def _reciprocal(nearest: np.ndarray, count: int) -> Any:
    """R of every image, sparse (N, N), 1 for each member: both are among the other's ``count`` nearest."""
    forward = _listed(nearest[:, :count], 1)
    return forward.multiply(forward.T).tocsr()


def _listed(columns: np.ndarray, value: float) -> Any:
    """A sparse (N, N) matrix with ``value`` in these columns (N, k) of each row."""
    sparse = require("scipy.sparse", "re-ranking")
    starts = np.arange(len(columns) + 1) * columns.shape[1]
    data = np.full(columns.size, value, np.int32 if isinstance(value, int) else np.float32)
    return sparse.csr_matrix((data, columns.ravel(), starts), shape=(len(columns), len(columns)))


def encodings(rows: Rows, members: Any, largest: np.ndarray) -> Any:
    """V of every image (equation 7): sparse (N, N) float32, each row of sum 1."""
    encoded, count = members.astype(np.float32), len(largest)
    for first, last in chunks(count, count):
        part = rows(first, last)
        inside = slice(encoded.indptr[first], encoded.indptr[last])
        row = np.repeat(np.arange(last - first), np.diff(encoded.indptr[first : last + 1]))
        column = encoded.indices[inside]
        distances = np.where(column == first + row, 0, part[row, column])
        weights = np.exp(-scaled_squares(distances, largest[first + row]))
        encoded.data[inside] = weights / np.bincount(row, weights, last - first)[row]
    return encoded


def averaged(encoded: Any, nearest: np.ndarray) -> Any:
    """The mean of V over each image's nearest (N, k2), itself among them (equation 11)."""
    return encoded if nearest.shape[1] == 1 else _listed(nearest, 1 / nearest.shape[1]) @ encoded


def jaccard_distances(encoded: Any, queries: int) -> np.ndarray:
    """Equation 10 for the first ``queries`` images against all others, (Q, G) float32 in [0, 1].

    Only entries that two images share count, so a query meets the columns of its own entries alone.
    """
    by_column = encoded[queries:].tocsc()
    result = np.empty((queries, by_column.shape[0]), np.float32)
    for i in range(queries):
        entries = slice(encoded.indptr[i], encoded.indptr[i + 1])
        columns, values = encoded.indices[entries], encoded.data[entries]
        counts = np.diff(by_column.indptr)[columns]
        where = _ranges(by_column.indptr[columns], counts)
        common = np.minimum(by_column.data[where], np.repeat(values, counts))
        shared = np.bincount(by_column.indices[where], common, by_column.shape[0])
        result[i] = 1 - shared / (2 - shared)  # both have sum 1: the maxima add up to 2 less the minima
    return result.clip(0, 1, out=result)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, ... (count of them) for each start, one after the other."""
    offsets = np.cumsum(counts) - counts
    return np.arange(counts.sum()) + np.repeat(starts - offsets, counts)


def scaled_squares(distances: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Squares of distances divided by each image's largest; 0 for an image with which all others coincide."""
    return np.square(distances / np.where(largest > 0, largest, 1))


def chunks(count: int, width: int, values: int | None = None) -> Iterator[tuple[int, int]]:
    """First and last (exclusive) of ``count`` rows of that width, so many at a time that ``values`` are held."""
    step = max(1, (values or _CHUNK_VALUES) // max(1, width))
    for first in range(0, count, step):
        yield first, min(first + step, count)


def _checked(part: np.ndarray, first: int) -> np.ndarray:
    bad = ~np.isfinite(part) | (part < 0)
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise ValueError(
            f"expected finite distances of at least 0, found {part[i, j]} between images {first + i} and {j} (counted "
            "with the queries first): z-scores can be negative, give distances; or look for NaN in the features"
        )
    return part
