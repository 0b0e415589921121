"""Attention maps, and what the losses and the ranking make of them: one function for each equation of the paper.

Tensors in, tensors out; batched, differentiable, on the device and in the precision of the input. Notation: feature map
A (B, C, h, w), pooled feature f (B, D) with D = stripes * C (one "stripe" for global average pooling), pair (1, 2).

**Closed form.** A channel's weight is the spatial mean of ds/dA_k. Where f is a mean over pixels that mean is
(ds/df_k) / (h w), summed over the stripes: no map needs a backward pass through the trunk (:func:`score_gradient`).
:func:`autograd_map` differentiates through an arbitrary pooling instead and serves as oracle.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def score_gradient(score: Callable[[Tensor], Tensor], feature: Tensor, create_graph: bool = False) -> Tensor:
    """d score / d feature, (B, D) -> (B, D), where ``score`` maps (B, D) to (B,), each sample by itself (BatchNorm in eval
    mode). With ``create_graph`` the gradient can be differentiated itself. Works under ``no_grad``, ``inference_mode``.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = feature if create_graph and feature.requires_grad else feature.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(score(leaf).sum(), leaf, create_graph=create_graph)
    return gradient


def stripe_matrix(height: int, stripes: int, like: Tensor) -> Tensor:
    """(stripes, height) matrix R whose row p averages the rows of stripe p: pooled = R @ A.mean(-1).

    The bins are those of adaptive average pooling, disjoint where ``stripes`` divides ``height``; one is global pooling.
    """
    if not 1 <= stripes <= height:
        found = f"{height} rows of the feature map for {stripes} stripes"
        raise ValueError(f"expected at least one row for a stripe, got {found}: use taller images or last_stride=1")
    p = torch.arange(stripes, device=like.device)
    first = (p * height) // stripes
    last = -(-(p + 1) * height // stripes)  # exclusive, rounded up
    row = torch.arange(height, device=like.device)
    inside = ((row >= first[:, None]) & (row < last[:, None])).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def channel_weights(gradient: Tensor, channels: int, height: int, width: int) -> Tensor:
    """w_k = GAP(ds/dA_k) from the gradient ds/df, (B, stripes * channels): its sum over stripes / (h w), (B, channels)."""
    if gradient.shape[-1] % channels:
        raise ValueError(f"expected a feature length that is a multiple of {channels}, got {gradient.shape[-1]}")
    return gradient.unflatten(-1, (-1, channels)).sum(-2) / (height * width)


def weighted_map(feature_map: Tensor, weights: Tensor) -> Tensor:
    """ReLU(sum_k w_k A_k): (B, C, h, w) and (B, C) give (B, h, w)."""
    return F.relu(torch.einsum("bchw,bc->bhw", feature_map, weights))


def identification_map(feature_map: Tensor, gradient: Tensor) -> Tensor:
    """Identification attention (paper 3.1.2): M = ReLU(sum_k w_k A_k), w_k = GAP(dy_c / dA_k).

    (B, C, h, w) and dy_c/df of the label's score, (B, D), give (B, h, w), >= 0, not normalised.
    """
    return weighted_map(feature_map, channel_weights(gradient, *feature_map.shape[-3:]))


def _indicator(values: Tensor) -> Tensor:
    """[x > 0] as zeros and ones of the same type, without a gradient: a step's derivative is zero."""
    values = values.detach()
    return torch.gt(values, 0, out=torch.empty_like(values))


# Equation 4's variants, each from (dz_1/df^-, f^-), both (P, D), to the weights alpha_1, alpha_2 of the branches' features.
# A variant is one entry here: losses, ranking, explanations and the checks of the configuration know it at once.
MODES: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "paper": lambda gradient, _: (_indicator(gradient),) * 2,  # alpha = [dz_1/df^- > 0] for both images
    "signed": lambda gradient, _: (_indicator(gradient), _indicator(-gradient)),  # as dz_1/df_2 = -dz_1/df^-
    "gradcam": lambda gradient, _: (gradient, -gradient),  # the derivatives themselves
    "v1": lambda _, difference: (_indicator(difference),) * 2,  # alpha = [f^- > 0], in an earlier version of the paper
}


def siamese_weights(gradient: Tensor, difference: Tensor, mode: str = "paper") -> tuple[Tensor, Tensor]:
    """Equation 4: the vectors alpha_1, alpha_2 with which each branch's feature is weighed, two (P, D) tensors.

    ``gradient`` is dz_1/df^- of the "same person" score at f^- = f_1 - f_2, the ``difference``, both (P, D).
    """
    if mode not in MODES:
        raise ValueError(f"expected a Siamese mode out of {', '.join(MODES)}, got {mode!r}")
    return MODES[mode](gradient, difference)


def siamese_map(feature_map: Tensor, weights: Tensor) -> Tensor:
    """Equation 4: M_j = ReLU(sum_k GAP(ds_j/dA_j)_k A_jk) with s_j = <alpha_j, f_j>, for one branch.

    With global average pooling and A >= 0, alpha >= 0 the map sums to s_j exactly. (P, C, h, w), (P, D) -> (P, h, w).
    """
    return identification_map(feature_map, weights)


def autograd_map(feature_map: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Grad-CAM by definition: ReLU(sum_k GAP(ds/dA_k) A_k), differentiating ``score`` through whatever lies above A.

    ``score`` maps (B, C, h, w) to (B,), each sample by itself. The channel weights are constants; the map (B, h, w) keeps
    the graph of ``feature_map``.
    """
    return weighted_map(feature_map, score_gradient(score, feature_map).mean((2, 3)))


def mean_map(feature_map: Tensor) -> Tensor:
    """The plain mean over channels, (B, C, h, w) -> (B, h, w): the baseline that every attention map must be held against."""
    return feature_map.mean(1)


def normalise_map(attention: Tensor, kind: str = "max") -> Tensor:
    """Scale each map by itself: ``max`` divides by the maximum, ``minmax`` maps [min, max] to [0, 1].

    (B, h, w) or (B, h) -> same shape. A zero (``max``) or constant (``minmax``) map becomes zero, with a finite gradient;
    constant means: up to the rounding of its type. NaN stays NaN.
    """
    if kind not in ("max", "minmax"):
        raise ValueError(f"expected a normalisation 'max' or 'minmax', got {kind!r}")
    axes, facts = tuple(range(1, attention.dim())), torch.finfo(attention.dtype)
    limit = attention.new_full((), 4 * facts.tiny)
    if kind == "minmax":
        size = attention.detach().abs().amax(axes, keepdim=True)
        limit = torch.maximum(limit, facts.eps * size)
        attention = torch.where(size > facts.max / 4, attention / 4, attention)  # differences stay finite
        attention = attention - attention.amin(axes, keepdim=True)
    largest = attention.amax(axes, keepdim=True)
    empty = largest <= limit
    return torch.where(empty, 0.0, attention / torch.where(empty, 1.0, largest))


def map_correlation(map_1: Tensor, map_2: Tensor) -> Tensor:
    """Pearson's correlation over the places of each map, in [-1, 1]: (B, h, w) twice -> (B,).

    1 = the same up to scale and offset. A constant map has no pattern to compare: its correlation is 0.
    """
    if map_1.shape != map_2.shape:
        raise ValueError(f"expected two maps of one shape (B, h, w), got {tuple(map_1.shape)} and {tuple(map_2.shape)}")
    flat = [normalise_map(attention, "minmax").flatten(1) for attention in (map_1, map_2)]
    return torch.cosine_similarity(*(values - values.mean(1, keepdim=True) for values in flat))


def soft_mask(attention: Tensor, slope: float = 10.0, centre: float = 0.5) -> Tensor:
    """S(M) = sigmoid(a (M - b)) of a map in [0, 1] (paper 3.1.2). Any shape; values in (0, 1)."""
    return torch.sigmoid(slope * (attention - centre))


def image_mask(attention: Tensor, size: tuple[int, int], slope: float = 10.0, centre: float = 0.5) -> Tensor:
    """Soft mask of a raw map at image size (H, W): min-max, bilinear upsampling, sigmoid; (B, h, w) -> (B, 1, H, W)."""
    scaled = normalise_map(attention, "minmax")[:, None]
    return soft_mask(F.interpolate(scaled, size=size, mode="bilinear", align_corners=False), slope, centre)


def hide(images: Tensor, mask: Tensor, fill: Tensor | float = 0.0) -> Tensor:
    """The masked image of equation 2: I * (1 - S) + fill * S. Zero is the data's mean where images are normalised."""
    return images * (1 - mask) + fill * mask


def row_profile(attention: Tensor) -> Tensor:
    """Row-wise maximum of a map (paper 3.2.2): (P, h, w) -> (P, h)."""
    return attention.amax(-1)


def crop_bounds(profile: Tensor, threshold: float = 0.5, relative: bool = True) -> tuple[Tensor, Tensor]:
    """First and last row (inclusive) above ``threshold``, by default times the profile's maximum: (P, h) -> two (P,) int64.

    Where no row is above (a zero profile), the whole profile is kept.
    """
    rows = profile.shape[-1]
    above = profile > (threshold * profile.amax(-1, keepdim=True) if relative else threshold)
    index = torch.arange(rows, device=profile.device)
    first = torch.where(above, index, rows).amin(-1)
    last = torch.where(above, index, -1).amax(-1)
    empty = last < 0
    return torch.where(empty, 0, first), torch.where(empty, rows - 1, last)


def resize_rows(profile: Tensor, first: Tensor, last: Tensor, rows: int | None = None) -> Tensor:
    """Rows first..last of each profile, resized linearly to ``rows`` entries (default: as many as the profile has).

    The sample's own rows are interpolated as an image would be: pixel centres, no aligned corners (the same as
    ``F.interpolate(profile[first:last + 1], rows, mode="linear")``). (P, h), (P,), (P,) -> (P, rows).
    """
    rows, first, last = rows or profile.shape[-1], first[:, None], last[:, None]
    length = last - first + 1
    exact = torch.promote_types(profile.dtype, torch.float32)  # bfloat16 cannot even count the rows of a tall map
    centre = (torch.arange(rows, device=profile.device, dtype=exact) + 0.5) * length / rows - 0.5
    centre = torch.minimum(centre.clamp_min(0), (length - 1).to(exact))
    low = centre.floor()
    share = centre - low
    low = low.long() + first
    high = torch.minimum(low + 1, last)
    return (profile.gather(-1, low) * (1 - share) + profile.gather(-1, high) * share).to(profile.dtype)


SCALES = ("max", "raw", "absolute")  # of equation 5's profiles, see align_rows


def align_rows(profile: Tensor, threshold: float = 0.5, rows: int | None = None, scale: str = "max") -> Tensor:
    """M* of equation 5 from row maxima (P, h): cropped to first..last row above t, resized to (P, rows), by default (P, h).

    ``scale``: ``max`` divides each profile by its own maximum first, so that t is a share of it; ``raw`` leaves the values
    and reads t the same way; ``absolute`` compares the raw values with t itself. Crop bounds are constants for the gradient.
    """
    if scale not in SCALES:
        raise ValueError(f"expected a scale of the profiles out of {', '.join(SCALES)}, got {scale!r}")
    if scale == "max":
        profile = normalise_map(profile, "max")
    return resize_rows(profile, *crop_bounds(profile, threshold, relative=scale != "absolute"), rows)


def aligned_profile(attention: Tensor, threshold: float = 0.5, rows: int | None = None, scale: str = "max") -> Tensor:
    """M* of equation 5 from a map: (P, h, w) -> (P, rows), see :func:`align_rows`; a zero map gives zeros."""
    return align_rows(row_profile(attention), threshold, rows, scale)


def attention_distance(attention_1: Tensor, attention_2: Tensor, threshold: float = 0.5, scale: str = "max") -> Tensor:
    """|| M*_1 - M*_2 ||_2 of equation 5, one number per pair, lower is closer: (P, h, w) twice -> (P,).

    Maps of different heights are resized to the taller one's number of rows. The gradient at distance zero is zero.
    """
    rows = max(attention_1.shape[-2], attention_2.shape[-2])
    first, second = (aligned_profile(each, threshold, rows, scale) for each in (attention_1, attention_2))
    return torch.linalg.vector_norm(first - second, dim=-1)
