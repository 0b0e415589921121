"""A few pairs to be looked at, and the shortlist of pairs worth looking at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from casnkit import attention
from casnkit.models import evaluating
from casnkit.ranking import tiles
from casnkit.ranking.extraction import Extracted
from casnkit.ranking.request import Request

if TYPE_CHECKING:
    from casnkit.models import CASN


def pair_maps(
    model: CASN,
    query: Extracted,
    gallery: Extracted,
    pairs: np.ndarray | Tensor,
    mode: str = "paper",
    order: str = "given",
    per_stripe: bool = False,
    batch_size: int = 64,
) -> tuple[Tensor, Tensor]:
    """Siamese attention of a few pairs, to be looked at: (P, h, w) for the queries and for the gallery, not normalised.

    Args:
        pairs: (P, 2) integers, query index and gallery index.
        mode, order, per_stripe: see ``CASN.siamese_attention_of``.

    Raises:
        ValueError: as :func:`casnkit.ranking.pairwise.attention_distances`, or indices out of range.
    """
    Request.of(model, query, gallery, mode, order, 0.0, None, "float32")
    pairs = torch.as_tensor(np.asarray(pairs))
    if pairs.dim() != 2 or pairs.shape[1] != 2 or pairs.is_floating_point():
        raise ValueError(f"expected pairs of indices (P, 2), got {pairs.dtype} of {tuple(pairs.shape)}")
    limits = torch.tensor([len(query), len(gallery)])
    if ((pairs < 0) | (pairs >= limits)).any():
        raise ValueError(
            f"expected indices below {len(query)} (query) and {len(gallery)} (gallery), got {pairs.tolist()}"
        )
    parameter = next(model.parameters())
    maps = []
    with evaluating(model), torch.no_grad():
        for part in pairs.long().split(batch_size):
            given = query.feature_maps[part[:, 0]].to(parameter), gallery.feature_maps[part[:, 1]].to(parameter)
            found = model.siamese_attention_of(*given, mode=mode, order=order, per_stripe=per_stripe)
            maps.append([m.cpu() for m in found])
    first, second = zip(*maps, strict=True)
    return torch.cat(first), torch.cat(second)


def row_profiles(
    model: CASN,
    query: Extracted,
    gallery: Extracted,
    pairs: np.ndarray | Tensor,
    mode: str = "paper",
    order: str = "given",
    threshold: float | None = 0.5,
) -> tuple[Tensor, Tensor]:
    """M* of equation 5 for a few pairs: row maxima in [0, 1], cropped and resized, (P, h) for queries and for gallery.

    ``threshold=None`` leaves out crop and resize. Arguments and errors as :func:`pair_maps`.
    """
    maps = pair_maps(model, query, gallery, pairs, mode, order)
    if threshold is None:
        return tuple(attention.normalise_map(attention.row_profile(m), "max") for m in maps)
    rows = max(m.shape[1] for m in maps)
    return tuple(tiles.aligned(attention.row_profile(m), threshold, rows) for m in maps)


def nearest_gallery(distances: np.ndarray, count: int) -> np.ndarray:
    """A shortlist: each query's ``count`` nearest gallery images, nearest first, (Q, G) -> (Q, count) int64."""
    distances = np.asarray(distances)
    if distances.ndim != 2 or not 1 <= count <= distances.shape[1]:
        raise ValueError(f"expected distances (Q, G) and a count in 1 .. G, got {distances.shape} and {count}")
    nearest = np.sort(np.argpartition(distances, count - 1, axis=1)[:, :count], axis=1)
    rank = np.argsort(np.take_along_axis(distances, nearest, 1), axis=1, kind="stable")
    return np.take_along_axis(nearest, rank, 1)


__all__ = ["nearest_gallery", "pair_maps", "row_profiles"]
