"""Re-ranking with k-reciprocal neighbours (Zhong, Zheng, Cao, Li: CVPR 2017), on any distance.

Two images are *k-reciprocal* neighbours if each is among the other's k nearest. With all N = Q + G images in one pool,

    R(p, k)     the k-reciprocal neighbours of p (equations 1, 2; p itself is one of them)
    R*(p)       R(p, k1), and of each candidate q in it R(q, k1 / 2), if more than 2/3 of that lies in R(p, k1) (eq. 3)
    V_p         exp(-d(p, g)) for g in R*(p), else 0, divided by its sum (eq. 7), averaged over p's k2 nearest (eq. 11)
    d_J(p, g)   1 - sum min(V_p, V_g) / sum max(V_p, V_g) (eq. 10);  d* = (1 - lambda) d_J + lambda d (eq. 12)

As in the authors' code, which published numbers come from, and not in their text: d is the squared distance divided by
the image's largest one, V has sum 1, "2/3 or more" is "more than 2/3", and an image counts among its own k2 nearest.

V has some dozens of entries in a row, and distances are read a few rows at a time: beside what the caller holds, nothing
of size N x N ever exists, and the peak is the result (Q, G). An image's distance to itself is taken as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from torch import Tensor

from casnkit.ranking.fusion import fuse
from casnkit.ranking.protocol import CHUNK_VALUES, Matrix, to_numpy

Rows = Callable[[int, int], np.ndarray]  # first and last (exclusive) image of the pool -> a fresh (n, N) float32 array


@dataclass(frozen=True, eq=False)
class Blocks:
    """Distances among all images of a test, lower is closer; arrays, memory maps or tensors."""

    query_gallery: np.ndarray  # (Q, G)
    query_query: np.ndarray  # (Q, Q)
    gallery_gallery: np.ndarray  # (G, G); where d(a, b) and d(b, a) differ, row a is what a sees

    def __post_init__(self) -> None:
        for name in ("query_gallery", "query_query", "gallery_gallery"):
            block = getattr(self, name)
            if not isinstance(block, (np.ndarray, Tensor)):
                raise ValueError(f"{name}: expected a NumPy array or a torch tensor, found {type(block).__name__}")
            object.__setattr__(self, name, to_numpy(block))
        if self.query_gallery.ndim != 2:
            raise ValueError(f"query_gallery: expected shape (Q, G), found {self.query_gallery.shape}")
        queries, gallery = self.query_gallery.shape
        for name, count in (("query_query", queries), ("gallery_gallery", gallery)):
            if getattr(self, name).shape != (count, count):
                raise ValueError(
                    f"{name}: expected shape {(count, count)} beside query_gallery of {(queries, gallery)}, found "
                    f"{getattr(self, name).shape}"
                )

    def rows(self, first: int, last: int) -> np.ndarray:
        """Distances from images ``first`` to ``last`` (exclusive) of the pool to all: queries first, then gallery."""
        queries, parts = len(self.query_query), []
        if first < queries:
            above = slice(first, min(last, queries))
            parts.append(np.concatenate([self.query_query[above], self.query_gallery[above]], axis=1))
        if last > queries:
            below = slice(max(first - queries, 0), last - queries)
            parts.append(np.concatenate([self.query_gallery[:, below].T, self.gallery_gallery[below]], axis=1))
        return np.concatenate(parts).astype(np.float32, copy=False)


def rerank(
    query_gallery: Matrix,
    query_query: Matrix,
    gallery_gallery: Matrix,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> np.ndarray:
    """Re-ranked distances from three blocks of any distance: of features, of attention, or of their sum.

    Args:
        query_gallery, query_query, gallery_gallery: (Q, G), (Q, Q), (G, G), finite and not negative, lower is closer.
        k1: how many neighbours make a neighbourhood (the authors': 20).
        k2: neighbours over which V is averaged; 1 leaves that out (the authors': 6).
        lambda_value: share of the given distance in the result (the authors': 0.3); 1 keeps every query's order.

    Returns:
        (Q, G) float32 in [0, 1], lower is closer.
    """
    blocks = Blocks(query_gallery, query_query, gallery_gallery)
    return _rerank(blocks.rows, *blocks.query_gallery.shape, k1, k2, lambda_value)


def rerank_with_attention(
    features: Blocks,
    attention: Blocks,
    attention_weight: float = 0.5,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    normalisation: str = "minmax",
    per: str = "query",
) -> dict[str, np.ndarray]:
    """What re-ranking and attention do alone and together: (Q, G) distances by name, ready for the protocol.

    ``features``, ``attention`` and their ``sum`` (:func:`casnkit.ranking.fuse` with ``attention_weight``,
    ``normalisation`` and ``per``); each of them ``re-ranked``; and ``re-ranked features + attention``, where attention is
    added after features were re-ranked. The ``sum`` that is re-ranked divides each distance by the largest of all its
    blocks: scaled per query, a pair of images would have two distances, and neighbourhoods would fail to be reciprocal
    for no reason of the images.
    """
    options = attention.query_gallery, attention_weight, normalisation, per
    found = {"features": features.query_gallery, "attention": attention.query_gallery}
    found["sum"] = fuse(features.query_gallery, *options)
    blocks = [vars(part).values() for part in (features, attention)]
    largest = [np.float32(max(part.max(initial=0) for part in own) or 1) for own in blocks]

    def summed(first: int, last: int) -> np.ndarray:
        one, other = features.rows(first, last) / largest[0], attention.rows(first, last) / largest[1]
        return fuse(one, other, attention_weight, "none")

    for name, rows in {"features": features.rows, "attention": attention.rows, "sum": summed}.items():
        found[f"re-ranked {name}"] = _rerank(rows, *features.query_gallery.shape, k1, k2, lambda_value)
    found["re-ranked features + attention"] = fuse(found["re-ranked features"], *options)
    return found


def _rerank(rows: Rows, queries: int, gallery: int, k1: int, k2: int, lambda_value: float) -> np.ndarray:
    for name, value in (("k1", k1), ("k2", k2)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"expected {name} to be a positive integer, got {value!r}")
    if not 0 <= lambda_value <= 1:
        raise ValueError(f"expected lambda_value in [0, 1], the share of the given distance, got {lambda_value!r}")
    if not queries or not gallery:
        return np.zeros((queries, gallery), np.float32)
    nearest, largest = _nearest_images(rows, queries + gallery, max(k1 + 1, k2))
    encoded = _encodings(rows, _reciprocal_sets(nearest, k1), largest)
    if k2 > 1:  # the mean of V over each image's nearest, itself among them (equation 11)
        near = nearest[:, :k2]
        encoded = _listed(near, np.float32(1 / near.shape[1])) @ encoded
    result = _jaccard_distances(encoded, queries)
    result *= 1 - lambda_value
    for first, last in _chunks(queries, queries + gallery):
        given = rows(first, last)[:, queries:]
        result[first:last] += lambda_value * np.square(given / largest[first:last, None])
    return result


def _nearest_images(rows: Rows, count: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Every image's nearest images, itself first, (N, k) int64; and its largest distance (1 where all are 0), (N,)."""
    wanted = min(wanted, count)
    nearest, largest = np.empty((count, wanted), np.int64), np.empty(count, np.float32)
    for first, last in _chunks(count, count):
        part = rows(first, last)
        bad = ~np.isfinite(part) | (part < 0)
        if bad.any():
            i, j = np.argwhere(bad)[0]
            raise ValueError(
                f"expected finite distances of at least 0, found {part[i, j]} between images {first + i} and {j} "
                "(counted with the queries first): z-scores can be negative, give distances; or look for NaN in the "
                "features"
            )
        itself = np.arange(last - first), np.arange(first, last)
        part[itself] = 0
        largest[first:last] = part.max(1)
        part[itself] = -1  # before all others, twins too
        chosen = np.sort(np.argpartition(part, wanted - 1, axis=1)[:, :wanted], axis=1)
        values = np.take_along_axis(part, chosen, 1)
        nearest[first:last] = np.take_along_axis(chosen, np.argsort(values, axis=1, kind="stable"), 1)
        crowded = np.count_nonzero(part <= values.max(1, keepdims=True), axis=1) > wanted
        for i in np.flatnonzero(crowded):  # a partition takes any of the equal values at its border
            nearest[first + i] = np.argsort(part[i], kind="stable")[:wanted]
    return nearest, np.where(largest > 0, largest, 1)


def _reciprocal_sets(nearest: np.ndarray, k1: int) -> csr_array:
    """R* of every image: a sparse (N, N) matrix with 1 for each member (equation 3)."""
    mutual = []
    for count in (k1 + 1, int(np.around(k1 / 2)) + 1):
        forward = _listed(nearest[:, :count], np.int32(1))
        mutual.append(forward.multiply(forward.T).tocsr())
    whole, half = mutual
    shared = (whole @ half.T).multiply(whole).tocoo()  # what R(q, k1 / 2) has in common with R(p, k1), q in R(p, k1)
    taken = 3 * shared.data > 2 * half.sum(1)[shared.col]
    ones = np.ones(taken.sum(), np.int32)
    candidates = csr_array((ones, (shared.row[taken], shared.col[taken])), shape=whole.shape)
    members = (whole + candidates @ half).tocsr()
    members.data[:] = 1
    return members


def _listed(columns: np.ndarray, value: np.generic) -> csr_array:
    """A sparse (N, N) matrix with ``value`` in these columns (N, k) of each row."""
    starts = np.arange(len(columns) + 1) * columns.shape[1]
    return csr_array((np.full(columns.size, value), columns.ravel(), starts), shape=(len(columns), len(columns)))


def _encodings(rows: Rows, members: csr_array, largest: np.ndarray) -> csr_array:
    """V of every image (equation 7): sparse (N, N) float32, each row of sum 1."""
    encoded, count = members.astype(np.float32), len(largest)
    for first, last in _chunks(count, count):
        inside = slice(encoded.indptr[first], encoded.indptr[last])
        row = np.repeat(np.arange(last - first), np.diff(encoded.indptr[first : last + 1]))
        column = encoded.indices[inside]
        distances = np.where(column == first + row, 0, rows(first, last)[row, column])
        weights = np.exp(-np.square(distances / largest[first + row]))
        encoded.data[inside] = weights / np.bincount(row, weights, last - first)[row]
    return encoded


def _jaccard_distances(encoded: csr_array, queries: int) -> np.ndarray:
    """Equation 10 for the first ``queries`` images against all others, (Q, G) float32 in [0, 1].

    Only entries that two images share count, so a query meets the columns of its own entries alone.
    """
    by_column = encoded[queries:].tocsc()
    result = np.empty((queries, by_column.shape[0]), np.float32)
    for i in range(queries):
        entries = slice(encoded.indptr[i], encoded.indptr[i + 1])
        met = by_column[:, encoded.indices[entries]]
        common = np.minimum(met.data, np.repeat(encoded.data[entries], np.diff(met.indptr)))
        shared = np.bincount(met.indices, common, by_column.shape[0])
        result[i] = 1 - shared / (2 - shared)  # both have sum 1: the maxima add up to 2 less the minima
    return result.clip(0, 1, out=result)


def _chunks(count: int, width: int) -> Iterator[tuple[int, int]]:
    """First and last (exclusive) of ``count`` rows of that width, a few at a time."""
    step = max(1, CHUNK_VALUES // width)
    for first in range(0, count, step):
        yield first, min(first + step, count)
