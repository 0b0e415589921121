"""The arithmetic of one tile of query-gallery pairs: Siamese attention in closed form, as a chain of matrix products.

For the pair classifier Linear(D, H) - activation - Linear(H, 2) the gradient of equation 4 is, with
U = f W_1^T once per image,

    dz_1/df^- = act'(U_q - U_g + b) diag(w_2) W_1        (pairs, H) @ (H, D)

and the two maps are alpha @ A_q and alpha @ A_g, batched over the images of the tile. Row maxima, crop, resize and l2
are those of :mod:`casnkit.attention`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from casnkit import attention

if TYPE_CHECKING:
    from casnkit.models import CASN

FLOAT64_ROWS = 256  # images at a time where the first layer is applied in float64


@dataclass(frozen=True)
class Head:
    """The pair classifier as matrices, in the precision of the products.

    The derivative of ReLU and LeakyReLU has two values, low and 1: low + (1 - low) [x > 0]. The product is then one
    with a matrix of zeros and ones, which every precision holds exactly.

    Attributes:
        bias: (H,) of the first layer, at least float32.
        matrix: (H, D), (1 - low) diag(w_2) W_1.
        constant: (D,), low times the sum of diag(w_2) W_1 over H, or None for ReLU.
    """

    bias: Tensor
    matrix: Tensor
    constant: Tensor | None

    def gradient(self, active: Tensor) -> Tensor:
        """dz_1/df^- from which hidden units are active: (..., H) bool -> (..., D)."""
        gradient = active.to(self.matrix.dtype) @ self.matrix
        return gradient if self.constant is None else gradient.add_(self.constant)


def head_of(model: CASN, device: torch.device, dtype: torch.dtype) -> Head:
    """The pair classifier of a model as a :class:`Head`."""
    first, act, _, last = model.pair_head
    low = 1.0 if isinstance(act, nn.Identity) else float(getattr(act, "negative_slope", 0.0))
    matrix = last.weight.detach().cpu().double()[1][:, None] * first.weight.detach().cpu().double()
    constant = (low * matrix.sum(0)).to(device, dtype) if low else None
    bias = first.bias.detach().to(device, torch.promote_types(dtype, torch.float32))
    return Head(bias, ((1 - low) * matrix).to(device, dtype), constant)


def first_layer(model: CASN, features: Tensor, centre: Tensor, dtype: torch.dtype) -> Tensor:
    """U = (f - centre) W_1^T of every image: (N, D) -> (N, H), summed in float64.

    One ``centre`` (D,) for queries and gallery drops out of every difference, and what is left holds more digits.
    """
    weight = model.pair_head[0].weight.detach().cpu().double()
    parts = [((part.double() - centre) @ weight.T).to(dtype) for part in features.split(FLOAT64_ROWS)]
    return torch.cat(parts)


def branch_weights(gradient: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    """:func:`casnkit.attention.siamese_weights` for the modes that use the gradient, which is overwritten."""
    if mode == "signed":
        negative = gradient.lt(0).to(gradient.dtype)
        return gradient.gt_(0), negative
    if mode == "paper":
        gradient.gt_(0)
        return gradient, gradient
    return gradient, -gradient


@dataclass(frozen=True)
class Side:
    """The images of one side of a tile, on the device.

    Attributes:
        maps: (n, C, h * w) in the precision of the products; for bf16 see :func:`split_mean`.
        vectors: (n, H) first layer of the pair classifier, or (n, D) features for mode ``v1``; float32 or float64.
        size: (h, w).
    """

    maps: Tensor
    vectors: Tensor
    size: tuple[int, int]

    def __getitem__(self, index: slice) -> Side:
        return Side(self.maps[index], self.vectors[index], self.size)


@dataclass(frozen=True)
class ClosedForm:
    """What is the same for all tiles of a request.

    Attributes:
        head: None in mode ``v1``, which asks the features alone.
        mode, order: see :func:`casnkit.attention.siamese_weights` and ``CASN.siamese_attention``.
        channels: C; the gradient's length is a multiple of it, one for each stripe.
    """

    head: Head | None
    mode: str
    order: str
    channels: int

    def profiles(self, query: Side, gallery: Side) -> tuple[Tensor, Tensor]:
        """Row-wise maxima of the two maps of every pair: (q, g, h_query) and (q, g, h_gallery)."""
        first, second = self._maps(query, gallery, swapped=False)
        if self.order == "both":
            turned = self._maps(query, gallery, swapped=True)
            first = first.clamp_min_(0).add_(turned[0].clamp_min_(0)).mul_(0.5)
            second = second.clamp_min_(0).add_(turned[1].clamp_min_(0)).mul_(0.5)
        return row_maxima(first, query.size).transpose(1, 2), row_maxima(second, gallery.size).permute(2, 0, 1)

    def _maps(self, query: Side, gallery: Side, swapped: bool) -> tuple[Tensor, Tensor]:
        """Maps before the ReLU, times h w: (q, S_query, g) and (g, S_gallery, q), at least float32."""
        weights_query, weights_gallery = self._weights(query, gallery, swapped)
        maps = weighted_sums(query.maps, weights_query), weighted_sums(gallery.maps, weights_gallery.transpose(0, 1))
        if maps[0].dtype != torch.bfloat16:
            return maps
        return join_mean(maps[0], query.size), join_mean(maps[1], gallery.size)

    def _weights(self, query: Side, gallery: Side, swapped: bool) -> tuple[Tensor, Tensor]:
        """Channel weights of the query's and of the gallery's map, (q, g, C) twice.

        ``swapped`` asks the pair classifier for (gallery, query): its first image is then the gallery's.
        """
        first, second = (gallery, query) if swapped else (query, gallery)
        first, second = first.vectors, second.vectors
        if self.head is not None:
            first = first + self.head.bias
        shapes = ((1, -1), (-1, 1)) if swapped else ((-1, 1), (1, -1))
        active = first.unflatten(0, shapes[0]) > second.unflatten(0, shapes[1])  # (q, g, H), or (q, g, D) in mode v1
        if self.head is None:
            pair = (active.to(query.maps.dtype),) * 2
        else:
            pair = branch_weights(self.head.gradient(active), self.mode)
        one = self._over_stripes(pair[0])
        other = one if pair[1] is pair[0] else self._over_stripes(pair[1])
        return (other, one) if swapped else (one, other)

    def _over_stripes(self, weights: Tensor) -> Tensor:
        if weights.shape[-1] == self.channels:
            return weights
        return weights.unflatten(-1, (-1, self.channels)).sum(-2)


def weighted_sums(maps: Tensor, weights: Tensor) -> Tensor:
    """Sums over channels, (n, C, S) and (n, m, C) -> (n, S, m), in the order that the libraries do faster."""
    if maps.dtype == torch.bfloat16:
        return (weights @ maps).transpose(1, 2)
    return maps.transpose(1, 2) @ weights.transpose(1, 2)


def split_mean(maps: Tensor) -> Tensor:
    """A for products in bf16: A minus its mean over pixels, then the mean: (n, C, S) -> (n, C, S + 1 or more).

    A product in bf16 is summed in float32 but rounded to 8 bits. In a flat map what differs between pixels is a small
    part of the sum; apart from what is common, it has 8 bits of its own. Zeros fill up to a multiple of eight columns,
    for which GPUs have their fast kernels.
    """
    mean = maps.mean(-1, keepdim=True)
    pixels = maps.shape[-1]
    split = maps.new_zeros(*maps.shape[:-1], -(-(pixels + 1) // 8) * 8, dtype=torch.bfloat16)
    torch.sub(maps, mean, out=split[..., :pixels])
    split[..., pixels : pixels + 1] = mean
    return split


def join_mean(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The sums that belong to :func:`split_mean`: (n, S + 1 or more, m) bf16 -> (n, S, m) float32."""
    pixels = size[0] * size[1]
    return maps[:, :pixels].float().add_(maps[:, pixels : pixels + 1])


def row_maxima(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """ReLU and row-wise maximum of maps times h w: (n, h * w, m) -> (n, h, m), divided by h w."""
    return maps.unflatten(1, size).amax(2).clamp_min_(0).div_(size[0] * size[1])


def aligned(profile: Tensor, threshold: float, rows: int) -> Tensor:
    """M* of equation 5 from row-wise maxima: own maximum, crop, resize to ``rows``. (..., h) -> (n, rows)."""
    profile = attention.normalise_map(profile.flatten(0, -2), "max")
    return attention.resize_rows(profile, *attention.crop_bounds(profile, threshold), rows)


def profile_distances(query: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    """|| M*_q - M*_g ||_2 from row-wise maxima of the same pairs: (..., h_query), (..., h_gallery) -> (...)."""
    rows = max(query.shape[-1], gallery.shape[-1])
    difference = aligned(query, threshold, rows) - aligned(gallery, threshold, rows)
    return torch.linalg.vector_norm(difference, dim=-1).view(query.shape[:-1])
