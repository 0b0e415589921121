"""What ranking needs of images, and the distances of all query-gallery pairs: of features, and of attention (paper 4).

The network sees each image once. Attention distances (equations 4 and 5) then are a chain of matrix products: equal to
``attention_distance(*model.siamese_attention_of(A_q, A_g))`` for each pair, but no two feature maps are ever put side by
side. A block of queries meets a block of gallery images. With U = f W_1^T once for each image, the pair classifier
Linear(D, H) - ReLU - Linear(H, 2) has the gradient

    dz_1/df^- = [U_q - U_g + b > 0] diag(w_2) W_1        (pairs, H) @ (H, D)

from which a mode of equation 4 makes channel weights, and these the two maps: weights @ A_q and weights @ A_g. LeakyReLU's
derivative has two values as well; without an activation it is constant. Other pair classifiers go pair by pair.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from tqdm import tqdm

from casnkit import attention
from casnkit.config import check_count
from casnkit.data import images as pictures
from casnkit.models import CASN, eval_view, unwrapped
from casnkit.ranking.protocol import chunks, new_matrix

PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.bfloat16}
HELD_BYTES = 2**29  # of gallery maps on the device and at most of a block's values; on a GPU a quarter of what is free
BLOCK_BYTES = {"cpu": 2**26}  # of a block's values: near the caches; elsewhere 2 GiB


class StreamedMaps:
    """Feature maps (N, C, h, w) that are computed whenever they are asked for, and never kept: all of MSMT17's, for ResNet50
    with stripes, are 137 GiB.

    Indexing chooses images and computes nothing; ``to(device)`` computes, and so does ``mean(1)``, part by part. ``load``
    gives normalised batches of the images with these numbers; ``size`` is (C, h, w).
    """

    def __init__(self, model: CASN, load: Callable[[np.ndarray], Iterable[Tensor]], numbers: np.ndarray, *size: int):
        self.model, self.load, self.numbers, self.shape = model, load, numbers, (len(numbers), *size)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: object) -> "StreamedMaps":
        chosen = self.numbers[index if isinstance(index, slice) else np.asarray(index)]
        return StreamedMaps(self.model, self.load, chosen, *self.shape[1:])

    def to(self, *device: object) -> Tensor:
        """These maps as a tensor."""
        return extract(self.model, self.load(self.numbers), count=len(self)).feature_maps.to(*device)

    def mean(self, dim: int) -> Tensor:
        """Their mean over ``dim``, not the first one."""
        return torch.cat([self[part].to("cpu").mean(dim) for part in chunks(len(self), 1, 1024)])


@dataclass(frozen=True)
class Extracted:
    """What ranking needs of N images, on the CPU."""

    features: Tensor  # (N, D) float32, f of every image, not normalised
    feature_maps: Tensor | StreamedMaps | None = None  # (N, C, h, w) float32, A of every image, or None

    def __len__(self) -> int:
        return len(self.features)

    def subset(self, index: object) -> "Extracted":
        """The images that ``index`` (a slice, integers or a mask) selects."""
        return Extracted(self.features[index], None if self.feature_maps is None else self.feature_maps[index])


def extract(
    model: CASN,
    images: Tensor | Iterable[Tensor],
    batch_size: int = 64,
    device: torch.device | str | None = None,
    keep_maps: bool = True,
    progress: bool = False,
    count: int | None = None,
) -> Extracted:
    """Features and feature maps of all images, on the CPU, with the network in eval mode and without gradients.

    ``images`` are (N, 3, H, W) uint8, seen ``batch_size`` at a time, or batches (b, 3, H, W) of normalised floats, of which
    an iterator says by ``count`` how many images they hold. The model is moved to ``device`` if one is given; every
    submodule keeps the mode (train or eval) that it had.
    """
    if isinstance(images, Tensor):
        if images.dtype != torch.uint8 or not pictures.is_dense(images):
            found = f"{images.layout} {images.dtype}"
            raise ValueError(f"expected uint8 images, or [tensor] for normalised ones, got {found}")
        count = len(images)
        images = map(pictures.normalise, images.split(check_count("batch_size", batch_size)) if count else ())
    elif count is None:
        images = list(images)
        count = sum(map(len, images))
    model, whole, done = unwrapped(model, CASN), [], 0
    model = eval_view(model if device is None else model.to(device))
    with torch.no_grad():
        for batch in tqdm(images, desc="features and maps", unit="batch", leave=False, disable=not progress):
            feature_map = model.feature_map(batch)
            found = [model.pool(feature_map), feature_map][: 1 + keep_maps]
            # made once, for all images: small results that are kept between large ones that are not tear memory to pieces
            whole = whole or [torch.empty(count, *values.shape[1:]) for values in found]
            for rows, values in zip(whole, found, strict=True):
                rows[done : done + len(batch)] = values
            done += len(batch)
    if not done or done != count:
        raise ValueError(f"expected at least one image, and as many as count says, got {done} of {count}")
    return Extracted(*whole)


def feature_distances(
    query_features: Tensor | np.ndarray, gallery_features: Tensor | np.ndarray, normalise: bool = True
) -> np.ndarray:
    """l2 distances between features, lower is closer: (Q, D), (G, D) -> (Q, G) float32, taken in float64.

    ``normalise`` brings features to unit length first; the distance is then in [0, 2], the square root of 2 - 2 cos.
    """
    query, gallery = (torch.as_tensor(features).detach() for features in (query_features, gallery_features))
    for name, features in (("query", query), ("gallery", gallery)):
        if features.dim() != 2 or not features.is_floating_point() or features.shape[1] != query.shape[1]:
            shapes = f"{query.dtype} of {tuple(query.shape)} and {gallery.dtype} of {tuple(gallery.shape)}"
            raise ValueError(f"{name} features: expected floats (N, D), of one length D, got {shapes}")
        _check_finite(f"{name} features", features)

    wide = (lambda features: normalize(features.double())) if normalise else Tensor.double
    # a part of the gallery at a time: in float64 all of it would take several times its memory
    result, parts = new_matrix(len(query), len(gallery)), chunks(len(gallery), query.shape[1], 2**26)
    # what all features share drops out of every difference; without it fewer digits cancel
    shared = sum(wide(gallery[part]).sum(0) for part in parts) / max(1, len(gallery))
    for columns in parts:
        images = wide(gallery[columns]) - shared
        for rows in chunks(len(query), max(len(images), query.shape[1]), 2**24):  # 128 MiB of float64
            result[rows, columns] = torch.cdist(wide(query[rows]) - shared, images).float().cpu().numpy()
    return result


def shortlist(
    query_features: Tensor, gallery_features: Tensor, count: int, normalise: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Each query's ``count`` closest gallery images by features, closest first, and their distances: (Q, count) twice.

    For galleries of hundreds of thousands, without a matrix (Q, G). faiss (``pip install "casnkit[scale]"``) compares every
    image, in float32: only images whose distances agree to about six digits can change places. It copies the features.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError('the shortlist of a large gallery needs faiss: pip install "casnkit[scale]"') from error
    index, scale = faiss.IndexFlatL2(query_features.shape[1]), normalize if normalise else torch.nn.Identity()
    for part in gallery_features.float().split(4096):
        index.add(scale(part).numpy())
    squares, near = index.search(scale(query_features.float()).numpy(), min(count, index.ntotal))
    return near, np.sqrt(squares.clip(0))


class PairwiseResult(NamedTuple):
    """What :func:`attention_distances` gives."""

    distances: np.ndarray  # (Q, G) float32, or (Q, K) to the listed images, lower is closer


def attention_distances(
    model: CASN,
    query: Extracted,
    gallery: Extracted,
    mode: str = "paper",
    order: str = "given",
    threshold: float = 0.5,
    scale: str = "max",
    *,
    precision: str = "float32",
    progress: bool = False,
    listed: np.ndarray | None = None,
) -> PairwiseResult:
    """l2 between the aligned Siamese attention of every query-gallery pair (equation 5), lower is closer.

    Computed where the model is, by which :func:`extract` saw ``query`` and ``gallery`` (their maps may differ in size).
    ``mode``, ``order``: see ``CASN.siamese_attention_of``; ``threshold``, ``scale``: t of the crop and what it refers to, see
    :func:`casnkit.attention.align_rows`; ``precision`` of the products: float32, float64 or bf16; ``listed``: gallery indices
    (Q, K), the only pairs that are computed. Raises ValueError for maps missing or not finite, shapes that do not fit the
    model, or an unknown name.
    """
    model = unwrapped(model, CASN)
    _check(model, query, gallery, mode, order)
    if precision not in PRECISIONS or not 0 <= threshold < 1:
        known = ", ".join(PRECISIONS)
        raise ValueError(f"expected precision: {known}; threshold in [0, 1), got {precision!r} and {threshold!r}")
    near = None if listed is None else np.asarray(listed)
    if near is not None and not (near.ndim == 2 and 0 <= near.min(initial=0) <= near.max(initial=0) < len(gallery)):
        raise ValueError(f"listed: expected gallery indices (Q, K) below {len(gallery)}, got {near.shape}")
    distances = new_matrix(len(query), len(gallery) if near is None else near.shape[1])
    head = model.pair_head.layers() if len(model.pair_head) == 4 else ()
    if head and isinstance(head[1], (nn.Identity, nn.ReLU, nn.LeakyReLU)):
        centre = sum(part.double().sum(0) for part in gallery.features.split(4096)) / len(gallery)
        blocks = _Blocks(model.channels, head, mode, order, PRECISIONS[precision], centre)
        with tqdm(
            total=distances.size, desc="attention of pairs", unit="pair", leave=False, disable=not progress
        ) as bar:
            for rows in chunks(len(query), 4 * math.prod(query.feature_maps.shape[1:]), _free(blocks.device) // 4):
                part = Extracted(query.features[rows], query.feature_maps[rows].to("cpu"))  # computed if not kept
                listed = None if near is None else near[rows]
                blocks.fill(distances[rows], part, gallery, listed, (threshold, scale), bar)
    else:
        columns = np.arange(len(gallery))[None].repeat(len(query), 0) if near is None else near
        index = np.stack([np.indices(columns.shape)[0], columns], -1).reshape(-1, 2)
        batches = _maps(model, query, gallery, index, mode, order)
        found = torch.cat([attention.attention_distance(*maps, threshold, scale) for maps in batches])
        distances[:] = found.float().numpy().reshape(distances.shape)
    return PairwiseResult(distances)


def pair_maps(
    model: CASN, query: Extracted, gallery: Extracted, pairs: np.ndarray, mode: str = "paper", order: str = "given"
) -> tuple[Tensor, Tensor]:
    """Siamese attention of pairs (P, 2) of query and gallery indices: (P, h, w) twice, not normalised, on the CPU."""
    model = unwrapped(model, CASN)
    _check(model, query, gallery, mode, order)
    first, second = zip(*_maps(model, query, gallery, pairs, mode, order), strict=True)
    return torch.cat(first), torch.cat(second)


def _maps(
    model: CASN, query: Extracted, gallery: Extracted, pairs: np.ndarray, mode: str, order: str
) -> Iterator[tuple[Tensor, ...]]:
    pairs, counts = torch.as_tensor(np.asarray(pairs)), torch.tensor([len(query), len(gallery)])
    if pairs.shape[1:] != (2,) or pairs.is_floating_point() or ((pairs < 0) | (pairs >= counts)).any():
        found = f"{pairs.dtype} of {tuple(pairs.shape)}"
        raise ValueError(f"expected query and gallery indices (P, 2) below {counts.tolist()}, got {found}")
    model, parameter = eval_view(model), next(model.parameters())
    with torch.no_grad():
        for part in pairs.long().split(64):
            given = query.feature_maps[part[:, 0]].to(parameter), gallery.feature_maps[part[:, 1]].to(parameter)
            yield tuple(m.cpu() for m in model.siamese_attention_of(*given, mode=mode, order=order))


class _Side(NamedTuple):
    """Images of one side of a block, on the device."""

    maps: Tensor  # (n, C, h w) in the precision of the products; for bf16 see _split_mean
    features: Tensor  # (n, D), at least float32
    hidden: Tensor  # (n, H), U at least in float32
    size: tuple[int, int]  # (h, w)

    def subset(self, index: object) -> "_Side":
        """The images that ``index`` selects."""
        return _Side(*(values[index] for values in self[:3]), self.size)


class _Blocks:
    """What all blocks share: mode, order, precision, and the pair classifier as matrices."""

    def __init__(self, channels: int, head: list, mode: str, order: str, dtype: torch.dtype, centre: Tensor) -> None:
        self.channels, self.weigh, self.order, self.dtype = channels, attention.MODES[mode], order, dtype
        self.wide, self.device = torch.promote_types(dtype, torch.float32), head[0].weight.device
        self.reads_gradient, self.reads_difference = (_reads(self.weigh, k) for k in (0, 1))
        first, act, last = head
        self.first, self.bias = first.weight.detach().double(), first.bias.detach().to(self.wide)
        self.centre = centre.to(self.device)  # of both sides: it drops out of every difference, and digits are saved
        # the activation's derivative is low + (1 - low) [x > 0]: every precision holds zeros and ones exactly
        low = 1.0 if isinstance(act, nn.Identity) else getattr(act, "negative_slope", 0.0)
        matrix = last.weight[1].detach().double()[:, None] * self.first  # (H, D)
        self.matrix = None if low == 1 else ((1 - low) * matrix).to(dtype)
        self.constant = (low * matrix.sum(0)).to(dtype) if low else None

    @torch.no_grad()
    def fill(self, distances: np.ndarray, query: Extracted, gallery: Extracted, near: Any, how: Any, bar: Any) -> None:
        """The distances of all pairs, (q, G), block by block, or to the images that ``near`` (q, K) lists, image by image;
        gallery images are on the device as many as fit. ``how`` is that of :meth:`block`."""
        item, (q, g) = self.dtype.itemsize, (images.feature_maps.shape[1:] for images in (query, gallery))
        budget = _free(self.device) // 4 if self.device.type == "cuda" else HELD_BYTES
        per_pair = 3 * item * query.features.shape[1] + 20 * (math.prod(q[1:]) + math.prod(g[1:]))
        block = min(budget, BLOCK_BYTES.get(self.device.type, 2**31)) // per_pair
        queries = min(len(query), _multiple(int(block**0.5)))
        images, asking = (np.arange(len(gallery)), None) if near is None else (np.unique(near), self.side(query))
        for held in chunks(len(images), 1, max(1, budget // (math.prod(g) * (4 + item)))):
            whole = self.side(gallery.subset(held if near is None else images[held]))  # a slice is no copy
            for rows in chunks(len(query), 1, queries) if near is None else ():
                side = self.side(query.subset(rows))
                found = torch.empty(len(side.maps), len(whole.maps), device=self.device)
                for part in chunks(len(whole.maps), 1, _multiple(block // queries)):
                    found[:, part] = self.block(side, whole.subset(part), *how)
                distances[rows, held] = found.cpu().numpy()
                bar.update(found.numel())
            for k, image in enumerate(images[held] if near is not None else ()):
                rows, columns = np.nonzero(near == image)
                found = self.block(asking.subset(rows), whole.subset([k]), *how)
                distances[rows, columns] = found[:, 0].cpu().numpy()
                bar.update(len(rows))

    def side(self, images: Extracted) -> _Side:
        """These images on the device, with the first layer of the pair classifier applied in float64."""
        maps, features = images.feature_maps.to(self.device).flatten(2), images.features.to(self.device)
        hidden = ((features.double() - self.centre) @ self.first.T).to(self.wide)
        maps = _split_mean(maps) if self.dtype == torch.bfloat16 else maps.to(self.dtype)
        return _Side(maps, features.to(self.wide), hidden, tuple(images.feature_maps.shape[2:]))

    def block(self, query: _Side, gallery: _Side, threshold: float, scale: str) -> Tensor:
        """The distances of equation 5 between all images of two sides, (q, g)."""
        first, second = self.maps(query, gallery)
        if self.order == "both":
            turned = self.maps(gallery, query)[::-1]
            first, second = ((a.relu() + b.relu()) / 2 for a, b in zip((first, second), turned, strict=True))
        rows, aligned = max(query.size[0], gallery.size[0]), []
        for maps, axes in ((first, (0, 2, 1)), (second, (2, 0, 1))):
            maxima = maps.amax(2).clamp_min_(0).div_(maps.shape[1] * maps.shape[2]).permute(axes)  # an axis may be 1
            profile = attention.align_rows(maxima.flatten(0, 1), threshold, rows, scale)
            aligned.append(profile.unflatten(0, maxima.shape[:2]))
        return torch.linalg.vector_norm(aligned[0] - aligned[1], dim=-1)

    def maps(self, first: _Side, second: _Side) -> tuple[Tensor, Tensor]:
        """Maps of pairs (first, second) before the ReLU, times h w: (n, h, w, m) and (m, h', w', n)."""
        nothing = torch.empty(0, dtype=self.dtype, device="meta")
        gradient = self.gradient(first.hidden, second.hidden) if self.reads_gradient else nothing
        difference = first.features[:, None] - second.features if self.reads_difference else nothing
        weights = self.weigh(gradient, difference)  # (n, m, D) twice, or (1, 1, D) where all pairs have the same
        one = self.over_stripes(weights[0])
        other = one if weights[1] is weights[0] else self.over_stripes(weights[1])
        return _weighted_maps(first, one), _weighted_maps(second, other.transpose(0, 1))

    def gradient(self, first: Tensor, second: Tensor) -> Tensor:
        """dz_1/df^- from U of both sides: (n, m, D), or (1, 1, D) where it is the same for all pairs."""
        if self.matrix is None:
            return self.constant[None, None]
        active = torch.empty(len(first), len(second), len(self.bias), dtype=self.dtype, device=self.device)
        torch.gt((first + self.bias)[:, None], second, out=active)  # no detour over bool: a slow cast
        gradient = active @ self.matrix
        return gradient if self.constant is None else gradient.add_(self.constant)

    def over_stripes(self, weights: Tensor) -> Tensor:
        """(..., D) -> (..., C): a channel's weights in all stripes, added."""
        weights = weights.to(self.dtype).unflatten(-1, (-1, self.channels))
        return weights.sum(-2) if weights.shape[-2] > 1 else weights.squeeze(-2)


def _free(device: torch.device) -> int:
    """Bytes that are free in memory, or on the device if that is less."""
    free = psutil.virtual_memory().available
    return min(free, torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free


def _reads(weigh: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], which: int) -> bool:
    """Whether a mode reads its gradient (0) or its difference (1): without its values (torch's ``meta``) it fails then."""
    given = [torch.ones(1, 1, 1, device="meta" if k == which else "cpu") for k in (0, 1)]
    try:
        return any(weights.is_meta for weights in weigh(*given))
    except RuntimeError:
        return True


def _weighted_maps(side: _Side, weights: Tensor) -> Tensor:
    """Sums over channels, weights (n or 1, m, C) -> (n, h, w, m), at least float32."""
    weights, pixels = weights.expand(len(side.maps), -1, -1), math.prod(side.size)
    if side.maps.dtype != torch.bfloat16:
        return (side.maps.transpose(1, 2) @ weights.transpose(1, 2)).unflatten(1, side.size)
    sums = (weights @ side.maps).transpose(1, 2)  # in the order that the libraries do faster
    return sums[:, :pixels].float().add_(sums[:, pixels : pixels + 1]).unflatten(1, side.size)


def _split_mean(maps: Tensor) -> Tensor:
    """A for products in bf16: A minus its mean over pixels, then the mean: (n, C, S) -> (n, C, S + 1 or more)."""
    # In a flat map what differs between pixels is a small part of the sum; apart from what is common, it has bf16's 8 bits
    # for itself. Zeros fill up to a multiple of eight, for which GPUs are fast.
    mean, pixels = maps.mean(-1, keepdim=True), maps.shape[-1]
    split = maps.new_zeros(*maps.shape[:-1], -(-(pixels + 1) // 8) * 8, dtype=torch.bfloat16)
    torch.sub(maps, mean, out=split[..., :pixels])
    split[..., pixels : pixels + 1] = mean
    return split


def _check(model: CASN, query: Extracted, gallery: Extracted, mode: str, order: str) -> None:
    if mode not in attention.MODES or order not in ("given", "both"):
        raise ValueError(f"expected mode: {', '.join(attention.MODES)}; order: given, both, got {mode!r} and {order!r}")
    for name, images in (("query", query), ("gallery", gallery)):
        maps, sizes = images.feature_maps, (len(images), model.channels, model.feature_size)
        if maps is None:
            raise ValueError(f"{name}: attention needs feature maps; extract with keep_maps=True")
        if len(maps.shape) != 4 or not len(maps) or (*maps.shape[:2], *images.features.shape[1:]) != sizes:
            wanted = f"at least one feature map (N, {model.channels}, h, w) and features (N, {model.feature_size})"
            raise ValueError(f"{name}: expected {wanted}, got {tuple(maps.shape)} and {tuple(images.features.shape)}")
        _check_finite(name, images.features, *([maps] if isinstance(maps, Tensor) else []))  # of others f is the mean


def _check_finite(name: str, *values: Tensor) -> None:
    sums = sum(torch.cat([part.flatten(1).sum(1) for part in v.split(256)]) for v in values)
    bad = (~sums.isfinite()).nonzero()[:, 0].tolist()  # NaN and infinity survive a sum
    if bad:
        raise ValueError(f"{name}: {len(bad)} of {len(sums)} images have NaN or infinite values, the first is {bad[0]}")


def _multiple(count: int) -> int:
    """``count`` as a multiple of 32 where there are as many: batched products of odd shapes are slower."""
    return count // 32 * 32 if count >= 32 else max(1, count)
