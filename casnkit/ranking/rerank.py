"""Re-ranking with k-reciprocal neighbours (Zhong, Zheng, Cao, Li: CVPR 2017), on any distance.

Two images are *k-reciprocal* neighbours if each is among the other's k nearest. With all N = Q + G images in one pool,

    R(p, k)     the k-reciprocal neighbours of p (equations 1, 2; p itself is one of them)
    R*(p)       R(p, k1), and of each candidate q in it R(q, k1 / 2), if more than 2/3 of that lies in R(p, k1) (eq. 3)
    V_p         exp(-d(p, g)) for g in R*(p), else 0, divided by its sum (eq. 7), averaged over p's k2 nearest (eq. 11)
    d_J(p, g)   1 - sum min(V_p, V_g) / sum max(V_p, V_g) (eq. 10);  d* = (1 - lambda) d_J + lambda d (eq. 12)

As in the authors' code, not in their text: d is the squared distance divided by the image's largest one, V has sum 1,
"2/3 or more" is "more than 2/3", and an image counts among its own k2 nearest. Nothing of size N x N is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from casnkit.ranking.fusion import fuse
from casnkit.ranking.protocol import check_shape, chunks, to_numpy


@dataclass(frozen=True, eq=False)
class Blocks:
    """Distances among all images of a test, finite and not negative, lower is closer; arrays, memory maps or tensors."""

    query_gallery: np.ndarray  # (Q, G)
    query_query: np.ndarray  # (Q, Q)
    gallery_gallery: np.ndarray  # (G, G); where d(a, b) and d(b, a) differ, row a is what a sees

    def __post_init__(self) -> None:
        counts = {"query": len(self.query_query), "gallery": len(self.gallery_gallery)}
        for name, block in vars(self).items():
            check_shape(block, *(counts[side] for side in name.split("_")), name)
            object.__setattr__(self, name, to_numpy(block))

    def rows(self, first: int, last: int) -> np.ndarray:
        """Distances from images ``first`` to ``last`` (exclusive) of the pool to all: queries first, then gallery."""
        queries = len(self.query_query)
        above, below = slice(first, min(last, queries)), slice(max(first - queries, 0), max(last - queries, 0))
        upper = np.concatenate([self.query_query[above], self.query_gallery[above]], axis=1)
        lower = np.concatenate([self.query_gallery[:, below].T, self.gallery_gallery[below]], axis=1)
        return np.concatenate([upper, lower]).astype(np.float32, copy=False)


def rerank(blocks: Blocks, k1: int = 20, k2: int = 6, lambda_value: float = 0.3) -> np.ndarray:
    """Re-ranked distances, (Q, G) float32 in [0, 1].

    ``k1`` neighbours make a neighbourhood; V is averaged over ``k2``, where 1 leaves that out; ``lambda_value`` is the
    share of the given distance in the result, where 1 keeps every query's order. The defaults are the authors'.
    """
    if min(k1, k2) < 1 or not 0 <= lambda_value <= 1:
        raise ValueError(f"expected k1 and k2 of at least 1 and lambda in [0, 1], got {k1}, {k2} and {lambda_value}")
    queries, gallery = blocks.query_gallery.shape
    if not queries or not gallery:
        return np.zeros((queries, gallery), np.float32)
    nearest, largest = _nearest_images(blocks, queries + gallery, max(k1 + 1, k2))
    encoded = _encodings(blocks, _reciprocal_sets(nearest, k1), largest)
    if k2 > 1:  # the mean of V over each image's nearest, itself among them (equation 11)
        near = nearest[:, :k2]
        encoded = _listed(near, np.float32(1 / near.shape[1])) @ encoded
    given = np.square(blocks.query_gallery / largest[:queries, None])
    return (1 - lambda_value) * _jaccard_distances(encoded, queries) + np.float32(lambda_value) * given


def rerank_with_attention(
    features: Blocks,
    attention: Blocks,
    attention_weight: float = 0.5,
    normalisation: str = "minmax",
    per: str = "query",
) -> dict[str, np.ndarray]:
    """What re-ranking and attention do alone and together: (Q, G) distances by name, ready for the protocol.

    ``features``, ``attention`` and their ``sum`` (see :func:`casnkit.ranking.fuse`); each of them ``re-ranked``; and
    ``re-ranked features + attention``, where attention is added after features were re-ranked. The ``sum`` that is
    re-ranked divides each distance by the largest of all its blocks: scaled per query, a pair of images would have two
    distances, and neighbourhoods would fail to be reciprocal for no reason of the images.
    """
    options = attention.query_gallery, attention_weight, normalisation, per
    found = {"features": features.query_gallery, "attention": attention.query_gallery}
    found["sum"] = fuse(features.query_gallery, *options)
    parts = [list(vars(blocks).values()) for blocks in (features, attention)]
    one, other = (np.float32(max(part.max(initial=0) for part in own) or 1) for own in parts)
    summed = Blocks(*(fuse(a / one, b / other, attention_weight, "none") for a, b in zip(*parts, strict=True)))
    for name, blocks in {"features": features, "attention": attention, "sum": summed}.items():
        found[f"re-ranked {name}"] = rerank(blocks)
    found["re-ranked features + attention"] = fuse(found["re-ranked features"], *options)
    return found


def _nearest_images(blocks: Blocks, count: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Every image's nearest images, itself first, (N, k) int64; and its largest distance (1 where all are 0), (N,)."""
    wanted = min(wanted, count)
    nearest, largest = np.empty((count, wanted), np.int64), np.empty(count, np.float32)
    for first, last in chunks(count, count):
        part = blocks.rows(first, last)
        if not (np.isfinite(part) & (part >= 0)).all():
            raise ValueError(
                f"expected finite distances of at least 0, found {part.min()} ... {part.max()} from images {first} ... "
                f"{last - 1} (the queries come first): z-scores can be negative, give distances; or look for NaN"
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
    forward = [_listed(nearest[:, : count + 1], np.int32(1)) for count in (k1, int(np.around(k1 / 2)))]
    whole, half = (one.multiply(one.T).tocsr() for one in forward)
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


def _encodings(blocks: Blocks, members: csr_array, largest: np.ndarray) -> csr_array:
    """V of every image (equation 7): sparse (N, N) float32, each row of sum 1."""
    encoded, count = members.astype(np.float32), len(largest)
    for first, last in chunks(count, count):
        inside = slice(encoded.indptr[first], encoded.indptr[last])
        row = np.repeat(np.arange(last - first), np.diff(encoded.indptr[first : last + 1]))
        column = encoded.indices[inside]
        distances = np.where(column == first + row, 0, blocks.rows(first, last)[row, column])
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
