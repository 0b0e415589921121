"""Why do two pictures match? Their similarity, spread over pairs of cells, one of each picture.

A pooled feature is a sum over the cells (places) of the feature map, f = sum_i S_i: with ``gap`` S_i = A_i / (h w), with
``stripes`` a cell has a share in the features of its own stripe alone. Give component k of f the weight v_k. Then

    s = sum_k v_k f_1k f_2k / (|f_1| |f_2|)  =  sum_(i, j) M_ij,    M_ij = sum_k v_k S_1ik S_2jk / (|f_1| |f_2|),

without remainder. :data:`WEIGHTS` says which v, and so which score s. Not in the paper, whose two maps of a pair do
not tell which place goes with which. A matrix (P, n_1, n_2) has a row for each of the n_1 = h_1 * w_1 cells of picture 1
(from the top left, row by row), and a column for each cell of picture 2.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from casnkit import attention
from casnkit.config import check_choice
from casnkit.explain.pair import checked_images
from casnkit.models import CASN, eval_view

# v, (P, D), from the network and f^- = f_1 - f_2: a weight is one entry here. Then s is
WEIGHTS: dict[str, Callable[[CASN, Tensor], Tensor]] = {
    "cosine": lambda _, d: torch.ones_like(d),  # the features' cosine
    "alpha": lambda model, d: attention.siamese_weights(model.pair_gradient(d), d)[0],  # its part in eq. 4's channels
    "gradient": lambda model, d: model.pair_gradient(d),  # its products, each counted dz_1/df^-_k times, with the sign
}


def correspondence(
    model: CASN, images_1: Tensor, images_2: Tensor, weight: str = "cosine", normalise: bool = True
) -> Tensor:
    """The score s (above) of P pairs of pictures, spread over their cells: (P, h1 * w1, h2 * w2), whose sums are the scores.

    Args:
        images_1, images_2: normalised floats (P, 3, H, W) or (3, H, W); the two sides may differ in size.
        weight: a key of :data:`WEIGHTS`.
        normalise: divide by both lengths; False spreads the inner product, for ``normalise_features=False``.

    Raises ValueError for a network that is no CASN, an unknown weight, images that do not fit, or maps not finite.
    """
    check_choice("weight", weight, WEIGHTS)
    if not isinstance(model, CASN):
        raise ValueError(f"expected a CASN, whose pooling is known, got a {type(model).__name__}")
    images, model = checked_images(model, images_1, images_2, one_size=False), eval_view(model)
    with torch.no_grad():
        maps = [model.feature_map(x) for x in images]
        if not all(m.isfinite().all() for m in maps):
            raise ValueError("expected finite feature maps, got NaN or infinity: load or train the model again")
        return correspondence_of(model, *maps, weight, normalise)


def correspondence_of(
    model: CASN, map_1: Tensor, map_2: Tensor, weight: str = "cosine", normalise: bool = True
) -> Tensor:
    """:func:`correspondence` from feature maps, (P, C, h1, w1) and (P, C, h2, w2) -> (P, h1 * w1, h2 * w2)."""
    shares_1, shares_2 = cell_shares(map_1, model.stripes), cell_shares(map_2, model.stripes)
    f_1, f_2 = shares_1.sum(2), shares_2.sum(2)
    weights = WEIGHTS[weight](model, f_1 - f_2)
    if normalise:
        lengths = f_1.norm(dim=1, keepdim=True) * f_2.norm(dim=1, keepdim=True)
        weights = weights / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)
    return (shares_1 * weights[..., None]).transpose(1, 2) @ shares_2


def cell_shares(feature_map: Tensor, stripes: int = 1) -> Tensor:
    """S, what each cell adds to the feature: (B, C, h, w) -> (B, stripes * C, h * w); the sum over cells is ``CASN.pool``."""
    rows = attention.stripe_matrix(feature_map.shape[2], stripes, feature_map) / feature_map.shape[3]
    return torch.einsum("bchw,ph->bpchw", feature_map, rows).flatten(3).flatten(1, 2)


class Match(NamedTuple):
    """Two cells that are each other's best partner."""

    cell_1: int  # row * width + column in the feature map of picture 1
    cell_2: int
    value: float  # of the matrix


def mutual(matrix: Tensor) -> Tensor:
    """(P, n_1, n_2) bool: the two cells are each other's best partner, with a value above zero."""
    of_1, of_2 = matrix.argmax(2), matrix.argmax(1)
    none = torch.zeros_like(matrix, dtype=torch.bool)
    return none.scatter(2, of_1[:, :, None], True) & none.scatter(1, of_2[:, None], True) & (matrix > 0)


def mutual_best(matrix: Tensor) -> list[list[Match]]:
    """For each pair of pictures its cell-to-cell matches, the largest value first; no cell is in two of them."""
    both, matches = mutual(matrix), [[] for _ in matrix]
    for pair, i, j in both.nonzero().tolist():
        matches[pair].append(Match(i, j, float(matrix[pair, i, j])))
    return [sorted(found, key=lambda match: -match.value) for found in matches]
