"""New distances from old ones: the paper's sum of feature and attention distances (section 4), and re-ranking.

The paper says neither how to normalise nor over what, so both are arguments. The weighted mean that :func:`fuse` returns is
half the paper's sum at ``weight=0.5``: the same ranking.

Re-ranking is that with k-reciprocal neighbours (Zhong, Zheng, Cao, Li: CVPR 2017): two images of which each is among the
other's k nearest. With all N = Q + G images in one pool,

    R(p, k)     the k-reciprocal neighbours of p (equations 1, 2; p itself is one of them)
    R*(p)       R(p, k1), and of each candidate q in it R(q, k1 / 2), if more than 2/3 of that lies in R(p, k1) (eq. 3)
    V_p         exp(-d(p, g)) for g in R*(p), else 0, divided by its sum (eq. 7), averaged over p's k2 nearest (eq. 11)
    d_J(p, g)   1 - sum min(V_p, V_g) / sum max(V_p, V_g) (eq. 10);  d* = (1 - lambda) d_J + lambda d (eq. 12)

As in the authors' code, not in their text: d is the squared distance divided by the image's largest one, V has sum 1,
"2/3 or more" is "more than 2/3", and an image counts among its own k2 nearest. Nothing of size N x N is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

from casnkit.config import check_count
from casnkit.ranking.protocol import Ids, Matrix, check_shape, chunks, evaluate_ranking, to_numpy

NORMALISATIONS = ("minmax", "zscore", "none")
SCOPES = {"query": 1, "matrix": None}  # the axis over which a distance is normalised
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))


def normalise_distances(distances: Matrix, kind: str = "minmax", per: str = "query") -> Matrix:
    """Finite distances (Q, G), NumPy or torch, on a common scale without changing any query's order: a copy.

    ``kind`` is ``"minmax"`` (to [0, 1]), ``"zscore"`` (to mean 0 and standard deviation 1; zeros where all distances are
    equal) or ``"none"``; ``per`` is ``"query"`` (a query's ranking then depends on no other) or ``"matrix"``. Half precision
    is raised to float32, whole numbers to float64.
    """
    if kind not in NORMALISATIONS or per not in SCOPES:
        known = f"{NORMALISATIONS} per {tuple(SCOPES)}"
        raise ValueError(f"expected a normalisation out of {known}, found {kind!r} per {per!r}")
    values = np.array(to_numpy(distances))
    bad = np.count_nonzero(~np.isfinite(values))
    if values.ndim != 2 or bad:
        found = f"{values.shape} with {bad} NaN or infinite"
        raise ValueError(f"expected finite distances of shape (Q, G), found {found}: look at these images' features")
    if kind != "none" and values.size:
        over = {"axis": SCOPES[per], "keepdims": True}
        values = np.ldexp(values, -np.frexp(np.abs(values).max(**over))[1])  # to about 1, exactly: no sum can overflow
        low, high = values.min(**over), values.max(**over)
        offset, scale = (low, high - low) if kind == "minmax" else (values.mean(**over), values.std(**over))
        # rounding leaves a constant row a tiny deviation: its extrema are compared with each other, not the scale with 0
        constant = (low == high) | (scale == 0)
        values = (values - offset) / np.where(constant, 1, scale) * ~constant
    return torch.from_numpy(values).to(distances.device) if isinstance(distances, torch.Tensor) else values


def fuse(
    features: Matrix, attention: Matrix, weight: float = 0.5, normalisation: str = "minmax", per: str = "query"
) -> Matrix:
    """Section 4: ``(1 - weight) * features + weight * attention`` of two (Q, G) matrices of distances, both normalised.

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
    """Mean average precision for every share of attention that was tried, and the best one."""

    weights: np.ndarray  # (K,) share of the attention distance, ascending
    mean_ap: np.ndarray  # (K,) in [0, 1]
    best: float  # the weight with the highest mean AP; of equal ones the smallest, for features alone cost less
    normalisation: str
    per: str


def choose_weight(
    features: Matrix,
    attention: Matrix,
    *sides: Ids,
    weights: Sequence[float] = WEIGHTS,
    normalisation: str = "minmax",
    per: str = "query",
) -> WeightCurve:
    """Rank by :func:`fuse` with each weight; choose by mean AP. ``sides``: as in :func:`evaluate_ranking`.

    Choose on people who are neither in training nor in the test (:func:`casnkit.data.hold_out`): on the test the weight
    would be fitted to its own answer.
    """
    tried = np.unique(weights)
    matrices = [normalise_distances(d, normalisation, per) for d in (features, attention)]
    mean_ap = np.array([evaluate_ranking(fuse(*matrices, w, "none"), *sides).mean_ap for w in tried.tolist()])
    return WeightCurve(tried, mean_ap, float(tried[mean_ap.argmax()]), normalisation, per)


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

    def rows(self, part: slice) -> np.ndarray:
        """Distances from images ``part`` of the pool to all: queries first, then gallery."""
        queries = len(self.query_query)
        above = slice(part.start, min(part.stop, queries))
        below = slice(max(part.start - queries, 0), max(part.stop - queries, 0))
        upper = np.concatenate([self.query_query[above], self.query_gallery[above]], axis=1)
        lower = np.concatenate([self.query_gallery[:, below].T, self.gallery_gallery[below]], axis=1)
        return np.concatenate([upper, lower]).astype(np.float32, copy=False)


def rerank(blocks: Blocks, k1: int = 20, k2: int = 6, lambda_value: float = 0.3) -> np.ndarray:
    """Re-ranked distances, (Q, G) float32 in [0, 1].

    ``k1`` neighbours make a neighbourhood; V is averaged over ``k2``, where 1 leaves that out; ``lambda_value`` is the
    share of the given distance in the result, where 1 keeps every query's order. The defaults are the authors'.
    """
    k1, k2 = check_count("k1", k1), check_count("k2", k2)
    if not 0 <= lambda_value <= 1:
        raise ValueError(f"expected lambda in [0, 1], got {lambda_value}")
    queries, count = len(blocks.query_query), sum(blocks.query_gallery.shape)
    if not blocks.query_gallery.size:
        return np.zeros(blocks.query_gallery.shape, np.float32)
    nearest, largest = _nearest_images(blocks, count, min(count, max(k1 + 1, k2)))
    near = nearest[:, :k2]  # over which V is averaged (equation 11); an image is the first of its own
    encoded = _listed(near, np.float32(1 / near.shape[1])) @ _encodings(blocks, _reciprocal_sets(nearest, k1), largest)
    given = np.square(blocks.query_gallery / largest[:queries, None])
    return (1 - lambda_value) * _jaccard_distances(encoded, queries) + np.float32(lambda_value) * given


def rerank_with_attention(features: Blocks, attention: Blocks, attention_weight: float = 0.5) -> dict[str, np.ndarray]:
    """What re-ranking and attention do alone and together: (Q, G) distances by name, ready for the protocol.

    ``features``, ``attention`` and their ``sum`` (see :func:`fuse`); each of them ``re-ranked``; and ``re-ranked features +
    attention``, added after re-ranking. The ``sum`` that is re-ranked divides each distance by the largest of all its
    blocks: scaled per query, a pair would have two distances, and be reciprocal or not for no reason of the images.
    """
    options, scaled = (attention.query_gallery, attention_weight), []
    for blocks in (features, attention):
        largest = np.float32(max(block.max(initial=0) for block in vars(blocks).values()) or 1)
        scaled.append([block / largest for block in vars(blocks).values()])
    summed = Blocks(*(fuse(a, b, attention_weight, "none") for a, b in zip(*scaled, strict=True)))
    found = {"features": features.query_gallery, "attention": attention.query_gallery}
    found["sum"] = fuse(features.query_gallery, *options)
    for name, blocks in {"features": features, "attention": attention, "sum": summed}.items():
        found[f"re-ranked {name}"] = rerank(blocks)
    found["re-ranked features + attention"] = fuse(found["re-ranked features"], *options)
    return found


def _nearest_images(blocks: Blocks, count: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Every image's nearest images, itself first, (N, k) int64; and its largest distance (1 where all are 0), (N,)."""
    nearest, largest = np.empty((count, wanted), np.int64), np.empty(count, np.float32)
    for part in chunks(count, count):
        rows = blocks.rows(part)
        if not (np.isfinite(rows) & (rows >= 0)).all():
            found = f"{rows.min()} ... {rows.max()} from images {part.start} ... {part.stop - 1}, queries first"
            raise ValueError(f"expected finite distances of at least 0 (no z-scores), found {found}: look for NaN")
        itself = np.arange(len(rows)), np.arange(part.start, part.stop)
        rows[itself] = 0
        largest[part] = rows.max(1)
        rows[itself] = -1  # before all others, twins too
        border = np.partition(rows, wanted - 1, axis=1)[:, wanted - 1]
        for i, row in enumerate(rows):
            near = np.flatnonzero(row <= border[i])  # more than are wanted where distances are equal
            nearest[part.start + i] = near[np.argsort(row[near], kind="stable")[:wanted]]
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
    for part in chunks(count, count):
        starts = encoded.indptr[part.start : part.stop + 1]
        row, column = np.repeat(np.arange(len(starts) - 1), np.diff(starts)), encoded.indices[starts[0] : starts[-1]]
        distances = np.where(column == part.start + row, 0, blocks.rows(part)[row, column])
        weights = np.exp(-np.square(distances / largest[part][row]))
        encoded.data[starts[0] : starts[-1]] = weights / np.bincount(row, weights)[row]
    return encoded


def _jaccard_distances(encoded: csr_array, queries: int) -> np.ndarray:
    """Equation 10 for the first ``queries`` images against all others, (Q, G) float32 in [0, 1]."""
    by_column = encoded[queries:].tocsc()  # only entries that two images share count: those of the query
    result = np.empty((queries, by_column.shape[0]), np.float32)
    for i in range(queries):
        entries = slice(encoded.indptr[i], encoded.indptr[i + 1])
        met = by_column[:, encoded.indices[entries]]
        common = np.minimum(met.data, np.repeat(encoded.data[entries], np.diff(met.indptr)))
        shared = np.bincount(met.indices, common, by_column.shape[0])
        result[i] = 1 - shared / (2 - shared)  # both have sum 1: the maxima add up to 2 less the minima
    return result.clip(0, 1, out=result)
