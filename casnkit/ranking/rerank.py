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

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from casnkit.ranking import neighbours
from casnkit.ranking.fusion import fuse
from casnkit.ranking.matching import is_tensor
from casnkit.ranking.neighbours import Rows

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Blocks:
    """Distances among all images of a test, lower is closer; arrays, memory maps or tensors.

    Attributes:
        query_gallery: (Q, G).
        query_query: (Q, Q).
        gallery_gallery: (G, G). Where d(a, b) and d(b, a) differ, row a is what a sees.
    """

    query_gallery: np.ndarray
    query_query: np.ndarray
    gallery_gallery: np.ndarray

    def __post_init__(self) -> None:
        for name in ("query_gallery", "query_query", "gallery_gallery"):
            block = getattr(self, name)
            if is_tensor(block):
                object.__setattr__(self, name, block.detach().float().cpu().numpy())
            elif not isinstance(block, np.ndarray):
                raise ValueError(f"{name}: expected a NumPy array or a torch tensor, found {type(block).__name__}")
        queries, gallery = self.query_gallery.shape if self.query_gallery.ndim == 2 else (-1, -1)
        expected = {
            "query_gallery": (queries, gallery),
            "query_query": (queries,) * 2,
            "gallery_gallery": (gallery,) * 2,
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape or queries < 0:
                wanted = "(Q, G)" if queries < 0 else f"{shape} beside query_gallery of {(queries, gallery)}"
                raise ValueError(f"{name}: expected shape {wanted}, found {getattr(self, name).shape}")

    def largest(self) -> float:
        """The largest distance of all three."""
        return max(float(part.max(initial=0)) for part in (self.query_gallery, self.query_query, self.gallery_gallery))


def rerank(
    query_gallery: np.ndarray | torch.Tensor,
    query_query: np.ndarray | torch.Tensor,
    gallery_gallery: np.ndarray | torch.Tensor,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> np.ndarray:
    """Re-ranked distances from three blocks of any distance: of features, of attention, or of their sum.

    Args:
        query_gallery: (Q, G), finite and not negative, lower is closer; a memory map is read in parts.
        query_query: (Q, Q).
        gallery_gallery: (G, G).
        k1: how many neighbours make a neighbourhood (the authors': 20).
        k2: neighbours over which V is averaged; 1 leaves that out (the authors': 6).
        lambda_value: share of the given distance in the result (the authors': 0.3); 1 keeps every query's order.

    Returns:
        (Q, G) float32 in [0, 1], lower is closer.

    Raises:
        ValueError: shapes that do not fit, distances that are negative or not finite, k1 or k2 below 1, or a
            lambda_value outside [0, 1].
    """
    blocks = Blocks(query_gallery, query_query, gallery_gallery)
    return _rerank(_rows_of(blocks), *blocks.query_gallery.shape, k1, k2, lambda_value)


def rerank_features(
    query_features: np.ndarray | torch.Tensor,
    gallery_features: np.ndarray | torch.Tensor,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    normalise: bool = True,
    device: torch.device | str | None = None,
) -> np.ndarray:
    """:func:`rerank` on l2 distances of features (Q, D) and (G, D), computed when they are needed and never all held.

    Each distance is computed twice; in return a gallery of 20,000 images needs no 1.6 GB for its own distances.
    ``normalise``, ``device`` and the errors are those of :func:`casnkit.ranking.feature_distances`.
    """
    from casnkit.ranking.extraction import feature_distances

    both = np.concatenate(
        [f.detach().cpu() if is_tensor(f) else np.asarray(f) for f in (query_features, gallery_features)]
    )

    def rows(first: int, last: int) -> np.ndarray:
        return feature_distances(both[first:last], both, normalise=normalise, device=device)

    return _rerank(rows, len(query_features), len(gallery_features), k1, k2, lambda_value)


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

    ``features``, ``attention`` and their ``sum``; each of them ``re-ranked``; and ``re-ranked features + attention``,
    where attention is added after features were re-ranked. The ``sum`` that is re-ranked divides each distance by the
    largest of all its blocks: scaled per query, as :func:`casnkit.ranking.fuse` does, a pair of images would have two
    distances, and neighbourhoods would fail to be reciprocal for no reason of the images.

    Args:
        features, attention: blocks of one shape.
        attention_weight: share of the attention distance in the sums, in [0, 1].
        normalisation, per: of :func:`casnkit.ranking.fuse`, for the two sums of (Q, G) matrices.

    Raises:
        ValueError: as :func:`rerank` and :func:`casnkit.ranking.fuse`.
    """
    shape, settings = features.query_gallery.shape, (k1, k2, lambda_value)
    summed = _sum_rows(features, attention, attention_weight)
    sources = {"features": _rows_of(features), "attention": _rows_of(attention), "sum": summed}
    again = {f"re-ranked {name}": _rerank(rows, *shape, *settings) for name, rows in sources.items()}
    found = {"features": features.query_gallery, "attention": attention.query_gallery}
    options = (attention.query_gallery, attention_weight, normalisation, per)
    found["sum"] = fuse(features.query_gallery, *options)
    return {**found, **again, "re-ranked features + attention": fuse(again["re-ranked features"], *options)}


def _rerank(rows: Rows, queries: int, gallery: int, k1: int, k2: int, lambda_value: float) -> np.ndarray:
    for name, value in (("k1", k1), ("k2", k2)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"expected {name} to be a positive integer, got {value!r}")
    if not 0 <= lambda_value <= 1:
        raise ValueError(f"expected lambda_value in [0, 1], the share of the given distance, got {lambda_value!r}")
    if not queries or not gallery:
        return np.zeros((queries, gallery), np.float32)
    nearest, largest = neighbours.nearest_images(rows, queries + gallery, max(k1 + 1, k2))
    members = neighbours.reciprocal_sets(nearest, k1)
    encoded = neighbours.averaged(neighbours.encodings(rows, members, largest), nearest[:, :k2])
    result = neighbours.jaccard_distances(encoded, queries)
    result *= 1 - lambda_value
    for first, last in neighbours.chunks(queries, queries + gallery):
        given = rows(first, last)[:, queries:]
        result[first:last] += lambda_value * neighbours.scaled_squares(given, largest[first:last, None])
    return result


def _rows_of(blocks: Blocks) -> Rows:
    queries = len(blocks.query_query)

    def rows(first: int, last: int) -> np.ndarray:
        above, below = slice(first, min(last, queries)), slice(max(first - queries, 0), max(last - queries, 0))
        parts = []
        if first < queries:
            parts.append(np.concatenate([blocks.query_query[above], blocks.query_gallery[above]], 1))
        if last > queries:
            parts.append(np.concatenate([blocks.query_gallery[:, below].T, blocks.gallery_gallery[below]], 1))
        return np.concatenate(parts).astype(np.float32, copy=False)

    return rows


def _sum_rows(features: Blocks, attention: Blocks, weight: float) -> Rows:
    if features.query_gallery.shape != attention.query_gallery.shape:
        raise ValueError(
            "expected blocks of the same images, found query_gallery of "
            f"{features.query_gallery.shape} (features) and {attention.query_gallery.shape} (attention)"
        )
    sources = [(_rows_of(blocks), blocks.largest() or 1.0) for blocks in (features, attention)]

    def rows(first: int, last: int) -> np.ndarray:
        one, other = (source(first, last) / np.float32(largest) for source, largest in sources)
        return fuse(one, other, weight, "none")

    return rows


__all__ = ["Blocks", "rerank", "rerank_features", "rerank_with_attention"]
