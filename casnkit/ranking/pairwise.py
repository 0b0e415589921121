"""Attention distances of all query-gallery pairs (paper 3.2.3, equations 4 and 5), as a chain of matrix products.

Equal to ``attention_distance(*model.siamese_attention_of(A_q, A_g))`` for each pair, but no two feature maps are ever put
side by side: a block of queries meets a block of gallery images. With U = f W_1^T once for each image, the pair classifier
Linear(D, H) - ReLU - Linear(H, 2) has the gradient

    dz_1/df^- = [U_q - U_g + b > 0] diag(w_2) W_1        (pairs, H) @ (H, D)

from which a mode of equation 4 makes channel weights, and these the two maps: weights @ A_q and weights @ A_g, batched over
the images of a block. The derivative of LeakyReLU has two values as well, and without an activation it is constant: then
a map depends on its own image alone. Any other pair classifier is differentiated in batches of pairs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from casnkit import attention
from casnkit.attention import MODES
from casnkit.models import CASN, evaluating
from casnkit.ranking.extraction import Extracted

PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.bfloat16}
BLOCK_BYTES = {"cpu": 2**26}  # intermediate values at a time: near the caches


@dataclass(frozen=True)
class PairwiseResult:
    """(Q, G) float32 distances, or (Q, K) for a shortlist, lower is closer; and the seconds that they took."""

    distances: np.ndarray
    seconds: float


def attention_distances(
    model: CASN,
    query: Extracted,
    gallery: Extracted,
    mode: str = "paper",
    order: str = "given",
    threshold: float = 0.5,
    *,
    precision: str = "float32",
    device: torch.device | str | None = None,
    memory_budget: int | None = None,
    shortlist: np.ndarray | Tensor | None = None,
    progress: bool = False,
) -> PairwiseResult:
    """l2 between the aligned Siamese attention of every query-gallery pair (equation 5), lower is closer.

    Args:
        model: the network that ``query`` and ``gallery`` were extracted with.
        query, gallery: from :func:`casnkit.ranking.extract`, with maps. The maps may differ in size.
        mode, order: see ``CASN.siamese_attention_of``.
        threshold: t of the crop, as a fraction of a profile's own maximum.
        precision: of the matrix products: float32, float64 or bf16.
        device: where to compute; None is where the model is.
        memory_budget: bytes, about, for gallery maps on the device and intermediate values; the result comes on top.
            None: 1 GiB, or half of what is free on a GPU.
        shortlist: (Q, K) gallery indices: only these pairs, in the model's precision.

    Raises:
        ValueError: maps missing or not finite, shapes that do not fit the model, or an unknown mode, order or precision.
    """
    started = time.perf_counter()
    _check(model, query, gallery, mode, order, precision)
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold: expected a fraction of the maximum in [0, 1), got {threshold!r}")
    if shortlist is None:
        device = torch.device(device) if device is not None else next(model.parameters()).device
        with evaluating(model), torch.no_grad():
            centre = gallery.features.mean(0, dtype=torch.float64)
            pairs = _Pairs(model, mode, order, precision, device, centre)
            distances = _in_blocks(pairs, query, gallery, threshold, memory_budget, progress)
    else:
        listed = np.asarray(shortlist)
        if listed.ndim != 2 or len(listed) != len(query) or listed.dtype.kind not in "iu":
            raise ValueError(f"expected gallery indices ({len(query)}, K), got {listed.dtype} of {listed.shape}")
        index = np.stack([np.repeat(np.arange(len(query)), listed.shape[1]), listed.ravel()], axis=1)
        maps = pair_maps(model, query, gallery, index, mode, order)
        distances = attention.attention_distance(*maps, threshold).float().numpy().reshape(listed.shape)
    return PairwiseResult(distances, time.perf_counter() - started)


def pair_maps(
    model: CASN,
    query: Extracted,
    gallery: Extracted,
    pairs: np.ndarray | Tensor,
    mode: str = "paper",
    order: str = "given",
) -> tuple[Tensor, Tensor]:
    """Siamese attention of chosen pairs (P, 2), query index and gallery index: (P, h, w) twice, not normalised, on the CPU.

    Errors as :func:`attention_distances`, or for indices out of range.
    """
    _check(model, query, gallery, mode, order)
    pairs = torch.as_tensor(np.asarray(pairs))
    if pairs.dim() != 2 or pairs.shape[1] != 2 or pairs.is_floating_point():
        raise ValueError(f"expected pairs of indices (P, 2), got {pairs.dtype} of {tuple(pairs.shape)}")
    if ((pairs < 0) | (pairs >= torch.tensor([len(query), len(gallery)]))).any():
        raise ValueError(f"expected query indices below {len(query)} and gallery indices below {len(gallery)}")
    parameter, maps = next(model.parameters()), []
    with evaluating(model), torch.no_grad():
        for part in pairs.long().split(64):
            given = query.feature_maps[part[:, 0]].to(parameter), gallery.feature_maps[part[:, 1]].to(parameter)
            maps.append([m.cpu() for m in model.siamese_attention_of(*given, mode=mode, order=order)])
    first, second = zip(*maps, strict=True)
    return torch.cat(first), torch.cat(second)


def _in_blocks(
    pairs: _Pairs, query: Extracted, gallery: Extracted, threshold: float, budget: int | None, progress: bool
) -> np.ndarray:
    """All distances: gallery images on the device as many as fit, block by block under blocks of queries."""
    if budget is None:
        budget = torch.cuda.mem_get_info(pairs.device)[0] // 2 if pairs.device.type == "cuda" else 2**30
    item, (q, g) = pairs.dtype.itemsize, (images.feature_maps[0] for images in (query, gallery))
    per_pair = 3 * item * query.features.shape[1] + 20 * (q[0].numel() + g[0].numel())
    block = min(budget // 2, BLOCK_BYTES.get(pairs.device.type, 2**31)) // per_pair
    queries = min(len(query), _multiple(int(block**0.5)))
    images, held = _multiple(block // queries), max(1, budget // 2 // (g.numel() * (4 + item)))
    distances = np.empty((len(query), len(gallery)), np.float32)
    bar = tqdm(total=distances.size, desc="attention of pairs", unit="pair", leave=False, disable=not progress)
    with bar:
        for columns in _slices(len(gallery), held):
            whole = pairs.side(gallery.subset(columns))
            for rows in _slices(len(query), queries):
                side = pairs.side(query.subset(rows))
                found = torch.empty(len(side.maps), len(whole.maps), device=pairs.device)
                for part in _slices(len(whole.maps), images):
                    profiles = pairs.profiles(side, whole[part])
                    found[:, part] = _profile_distances(*profiles, threshold)
                distances[rows, columns] = found.cpu().numpy()
                bar.update(found.numel())
    return distances


@dataclass(frozen=True)
class _Side:
    """Images of one side of a block, on the device."""

    maps: Tensor  # (n, C, h w) in the precision of the products; for bf16 see _split_mean
    features: Tensor  # (n, D), at least float32
    hidden: Tensor | None  # (n, H), U at least in float32, where the pair classifier has a closed form
    size: tuple[int, int]  # (h, w)

    def __getitem__(self, part: slice) -> _Side:
        hidden = None if self.hidden is None else self.hidden[part]
        return _Side(self.maps[part], self.features[part], hidden, self.size)


class _Pairs:
    """What all blocks share: mode, order, precision, and the pair classifier as matrices."""

    def __init__(
        self, model: CASN, mode: str, order: str, precision: str, device: torch.device, centre: Tensor
    ) -> None:
        self.model, self.order, self.dtype, self.device = model, order, PRECISIONS[precision], device
        dtype, self.wide = self.dtype, torch.promote_types(self.dtype, torch.float32)
        self.weigh, self.nothing = MODES[mode], torch.empty(0, dtype=dtype, device="meta")
        self.kept: dict[str, Tensor] = {}
        self.reads_gradient, self.reads_difference = (_reads(self.weigh, k) for k in (0, 1))
        layers = [layer for layer in model.pair_head.children() if not isinstance(layer, nn.Dropout)]
        kinds = nn.Linear, (nn.Identity, nn.ReLU, nn.LeakyReLU), nn.Linear
        self.closed = len(layers) == 3 and all(map(isinstance, layers, kinds))
        if self.closed:
            first, act, last = layers
            self.first, self.bias = first.weight.to(device).double(), first.bias.to(device, self.wide)
            self.centre = centre.to(device)  # of both sides: it drops out of every difference, and digits are saved
            # the activation's derivative is low + (1 - low) [x > 0]: every precision holds zeros and ones exactly
            low = 1.0 if isinstance(act, nn.Identity) else getattr(act, "negative_slope", 0.0)
            matrix = last.weight[1].to(device).double()[:, None] * self.first  # (H, D)
            self.matrix = None if low == 1 else ((1 - low) * matrix).to(dtype)
            self.constant = (low * matrix.sum(0)).to(dtype) if low else None

    def side(self, images: Extracted) -> _Side:
        """These images on the device, with the first layer of the pair classifier applied in float64."""
        maps, features = images.feature_maps.to(self.device).flatten(2), images.features.to(self.device)
        hidden = ((features.double() - self.centre) @ self.first.T).to(self.wide) if self.closed else None
        maps = _split_mean(maps) if self.dtype == torch.bfloat16 else maps.to(self.dtype)
        return _Side(maps, features.to(self.wide), hidden, tuple(images.feature_maps.shape[2:]))

    def profiles(self, query: _Side, gallery: _Side) -> tuple[Tensor, Tensor]:
        """Row-wise maxima of both maps of every pair: (q, g, h) and (q, g, h'); an axis of 1 where all are the same."""
        first, second = self.maps(query, gallery)
        if self.order == "both":
            turned = self.maps(gallery, query)[::-1]
            first, second = ((a.relu() + b.relu()) / 2 for a, b in zip((first, second), turned, strict=True))
        return _row_maxima(first, query.size).transpose(1, 2), _row_maxima(second, gallery.size).permute(2, 0, 1)

    def maps(self, first: _Side, second: _Side) -> tuple[Tensor, Tensor]:
        """Maps of pairs (first, second) before the ReLU, times h w: (n, h w, m) and (m, h' w', n), at least float32."""
        gradient = difference = self.nothing
        if self.reads_difference or not self.closed:
            difference = first.features[:, None] - second.features
        if self.reads_gradient:
            gradient = self.gradient(first, second, difference)
        weights = self.weigh(gradient, difference)  # (n, m, D) twice, or (1, 1, D) where all pairs have the same
        one = self.over_stripes(weights[0])
        other = one if weights[1] is weights[0] else self.over_stripes(weights[1])
        sums_1 = _weighted_sums(first.maps, one.expand(len(first.maps), -1, -1))
        sums_2 = _weighted_sums(second.maps, other.expand(-1, len(second.maps), -1).transpose(0, 1))
        return _join_mean(sums_1, first.size), _join_mean(sums_2, second.size)

    def gradient(self, first: _Side, second: _Side, difference: Tensor) -> Tensor:
        """dz_1/df^-: (n, m, D), or (1, 1, D) where it is the same for all pairs."""
        if not self.closed:
            like = next(self.model.parameters())
            return self.model.pair_gradient(difference.flatten(0, 1).to(like)).to(self.dtype).view_as(difference)
        if self.matrix is None:
            return self.constant[None, None]
        pairs, (hidden, depth) = (len(first.hidden), len(second.hidden)), self.matrix.shape
        active, gradient = self.memory("active", *pairs, hidden), self.memory("gradient", *pairs, depth)
        torch.gt((first.hidden + self.bias)[:, None], second.hidden, out=active)  # no detour over bool: a slow cast
        torch.mm(active.flatten(0, 1), self.matrix, out=gradient.flatten(0, 1))
        return gradient if self.constant is None else gradient.add_(self.constant)

    def memory(self, name: str, *shape: int) -> Tensor:
        """Room for a block's values, the same for every block: fresh memory costs a CPU more than a pass over it."""
        size = math.prod(shape)
        if name not in self.kept or self.kept[name].numel() < size:
            self.kept[name] = torch.empty(size, dtype=self.dtype, device=self.device)
        return self.kept[name][:size].view(shape)

    def over_stripes(self, weights: Tensor) -> Tensor:
        """(..., D) -> (..., C): a channel's weights in all stripes, added."""
        weights, channels = weights.to(self.dtype), self.model.channels
        return weights if weights.shape[-1] == channels else weights.unflatten(-1, (-1, channels)).sum(-2)


def _reads(weigh: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], which: int) -> bool:
    """Whether a mode reads the values of its gradient (0) or of its difference (1).

    On torch's ``meta`` device a tensor has a type and a shape but no values: weights that have some did not read it.
    """
    given = [torch.ones(1, 1, 1), torch.ones(1, 1, 1)]
    given[which] = given[which].to("meta")
    try:
        return any(weights.is_meta for weights in weigh(*given))
    except RuntimeError:  # values were needed
        return True


def _weighted_sums(maps: Tensor, weights: Tensor) -> Tensor:
    """Sums over channels, (n, C, S) and (n, m, C) -> (n, S, m), in the order that the libraries do faster."""
    if maps.dtype == torch.bfloat16:
        return (weights @ maps).transpose(1, 2)
    return maps.transpose(1, 2) @ weights.transpose(1, 2)


def _split_mean(maps: Tensor) -> Tensor:
    """A for products in bf16: A minus its mean over pixels, then the mean: (n, C, S) -> (n, C, S + 1 or more).

    A product in bf16 is summed in float32 but rounded to 8 bits. In a flat map what differs between pixels is a small
    part of the sum; apart from what is common, it has 8 bits of its own. Zeros fill up to a multiple of eight columns,
    for which GPUs have their fast kernels.
    """
    mean, pixels = maps.mean(-1, keepdim=True), maps.shape[-1]
    split = maps.new_zeros(*maps.shape[:-1], -(-(pixels + 1) // 8) * 8, dtype=torch.bfloat16)
    torch.sub(maps, mean, out=split[..., :pixels])
    split[..., pixels : pixels + 1] = mean
    return split


def _join_mean(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The sums that belong to :func:`_split_mean`: (n, S + 1 or more, m) bf16 -> (n, S, m) float32; others as they are."""
    pixels = size[0] * size[1]
    return maps if maps.shape[1] == pixels else maps[:, :pixels].float().add_(maps[:, pixels : pixels + 1])


def _row_maxima(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """ReLU and row-wise maximum of maps times h w: (n, h * w, m) -> (n, h, m), divided by h w."""
    return maps.unflatten(1, size).amax(2).clamp_min_(0).div_(size[0] * size[1])


def _profile_distances(query: Tensor, gallery: Tensor, threshold: float) -> Tensor:
    """|| M*_q - M*_g ||_2 of equation 5 from row-wise maxima of the same pairs: (q, g, h), (q, g, h') -> (q, g)."""
    rows, aligned = max(query.shape[-1], gallery.shape[-1]), []
    for maxima in (query, gallery):
        profile = attention.normalise_map(maxima.flatten(0, 1), "max")
        profile = attention.resize_rows(profile, *attention.crop_bounds(profile, threshold), rows)
        aligned.append(profile.unflatten(0, maxima.shape[:2]))
    return torch.linalg.vector_norm(aligned[0] - aligned[1], dim=-1)


def _check(model: CASN, query: Extracted, gallery: Extracted, mode: str, order: str, precision: str = "bf16") -> None:
    """Raise ValueError for an unknown name, and for images that do not fit the model or are not finite."""
    known = {"mode": (mode, MODES), "order": (order, ("given", "both")), "precision": (precision, PRECISIONS)}
    for name, (value, names) in known.items():
        if value not in names:
            raise ValueError(f"{name}: expected one of {', '.join(names)}, got {value!r}")
    for name, images in (("query", query), ("gallery", gallery)):
        maps, features = images.feature_maps, images.features
        if maps is None:
            raise ValueError(f"{name}: attention needs feature maps; extract with keep_maps=True")
        wanted = (len(features), model.channels), (len(features), model.feature_size)
        if maps.dim() != 4 or not len(maps) or (maps.shape[:2], features.shape) != wanted:
            raise ValueError(
                f"{name}: expected at least one feature map (N, {model.channels}, h, w) and features (N, "
                f"{model.feature_size}), got {tuple(maps.shape)} and {tuple(features.shape)}: were they extracted with "
                "another model?"
            )
        for kind, values in (("features", features), ("feature maps", maps)):
            sums = torch.cat([part.flatten(1).sum(1) for part in values.split(256)])  # NaN and infinity survive a sum
            bad = (~sums.isfinite()).nonzero()[:, 0].tolist()
            if bad:
                raise ValueError(
                    f"{name}: {kind} of {len(bad)} of {len(maps)} images are NaN or infinite, the first of image {bad[0]}: "
                    "the model has diverged or its weights are damaged"
                )


def _multiple(count: int) -> int:
    """``count`` as a multiple of 32 where there are as many: batched products of odd shapes are slower."""
    return count // 32 * 32 if count >= 32 else max(1, count)


def _slices(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
