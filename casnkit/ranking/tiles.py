"""The arithmetic of one tile of query-gallery pairs: Siamese attention in closed form, as a chain of matrix products.

For the pair classifier Linear(D, H) - activation - Linear(H, 2) the gradient of equation 4 is, with U = f W_1^T once per image,

    dz_1/df^- = act'(U_q - U_g + b) diag(w_2) W_1        (pairs, H) @ (H, D)

and the two maps are alpha @ A_q and alpha @ A_g, batched over the images of the tile. Row maxima, crop, resize and l2 are
those of :mod:`casnkit.attention`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from casnkit import attention

if TYPE_CHECKING:
    from casnkit.models.casn import CASN


@dataclass(frozen=True)
class Head:
    """The pair classifier as matrices, in the precision of the products.

    Attributes:
        matrix: (H, D), diag(w_2) W_1, scaled so that the activation's derivative is 0 or 1 where it has two values.
        constant: (D,), what is added to the product, or None where that is zero.
        bend: the activation, where its derivative has more than two values; else None.
    """

    matrix: Tensor
    constant: Tensor | None
    bend: nn.Module | None

    def gradient(self, before: Tensor) -> Tensor:
        """dz_1/df^- from the values before the activation, which are overwritten: (n, H) -> (n, D)."""
        if self.bend is None:
            before = before.gt_(0)
        else:
            before = attention.score_gradient(lambda x: self.bend(x).sum(-1), before)
        before = before.to(self.matrix.dtype)
        if self.constant is None:
            return before @ self.matrix
        return torch.addmm(self.constant, before, self.matrix)


def head_of(model: CASN, device: torch.device, dtype: torch.dtype) -> Head:
    """The pair classifier of a model as a :class:`Head`."""
    first, act, _, last = model.pair_head
    matrix = last.weight.detach()[1][:, None].double() * first.weight.detach().double()
    # ReLU and LeakyReLU have a derivative of two values, low and 1: low + (1 - low) [x > 0]
    low = {nn.ReLU: 0.0, nn.LeakyReLU: getattr(act, "negative_slope", 0.0)}.get(type(act))
    bend = act if low is None else None
    constant = (low * matrix.sum(0)).to(device, dtype) if low else None
    return Head((matrix * (1 - (low or 0.0))).to(device, dtype), constant, bend)


def first_layer(model: CASN, query: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U of every query and gallery image and the bias: (Q, H), (G, H), (H,) float64.

    The gallery's mean is taken from both: it drops out of every difference, and float32 then keeps more digits of it.
    """
    layer = model.pair_head[0]
    weight = layer.weight.detach().cpu().double()
    u_query, u_gallery = query.cpu().double() @ weight.T, gallery.cpu().double() @ weight.T
    centre = u_gallery.mean(0)
    return u_query - centre, u_gallery - centre, layer.bias.detach().cpu().double()


def branch_weights(gradient: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    """:func:`casnkit.attention.siamese_weights` that may overwrite the gradient, for the modes that use it."""
    if mode == "paper":
        indicator = gradient.gt_(0)
        return indicator, indicator
    if mode == "signed":
        negative = (gradient < 0).to(gradient.dtype)
        return gradient.gt_(0), negative
    return gradient, -gradient


def row_maxima(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """ReLU and row-wise maximum of maps (..., h * w) -> (..., h) in at least float32, divided by h w (closed form)."""
    height, width = size
    profile = maps.unflatten(-1, size).amax(-1)
    profile = profile.float() if profile.dtype.itemsize < 4 else profile
    return profile.clamp_min_(0).div_(height * width)


def aligned(profile: Tensor, threshold: float, rows: int) -> Tensor:
    """M* of equation 5 from row-wise maxima: own maximum, crop, resize to ``rows``. (n, h) -> (n, rows)."""
    profile = attention.normalise_map(profile, "max")
    return attention.resize_rows(profile, *attention.crop_bounds(profile, threshold), rows)
