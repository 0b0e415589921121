"""From images to what ranking needs of them: one feature and one feature map for each image.

The network sees each image once; every distance between two images, of features or of attention, follows from these two
tensors. Market-1501's gallery of ResNet50 maps (2048 x 9 x 5) is 7.3 GB in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import joblib
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from casnkit.data.images import normalise
from casnkit.models import CASN, evaluating


@dataclass(frozen=True)
class Extracted:
    """What ranking needs of N images, on the CPU."""

    features: Tensor  # (N, D) float32, f of every image, not normalised
    feature_maps: Tensor | None = None  # (N, C, h, w) float32, A of every image, or None

    def __len__(self) -> int:
        return len(self.features)

    def subset(self, index: object) -> Extracted:
        """The images that ``index`` (a slice, integers or a mask) selects."""
        return Extracted(self.features[index], None if self.feature_maps is None else self.feature_maps[index])


def extract(
    model: CASN,
    images: Tensor | Iterable[Tensor],
    batch_size: int = 64,
    device: torch.device | str | None = None,
    keep_maps: bool = True,
    progress: bool = False,
) -> Extracted:
    """Features and feature maps of all images, on the CPU, with the network in eval mode and without gradients.

    Args:
        model: is moved to ``device`` if one is given; every submodule keeps the mode (train or eval) that it had.
        images: (N, 3, H, W) uint8, seen ``batch_size`` at a time, or batches (b, 3, H, W) of normalised floats.
        keep_maps: False keeps features alone.
    """
    if isinstance(images, Tensor):
        if images.dtype != torch.uint8:
            raise ValueError(
                f"expected uint8 images, or [tensor] for a normalised batch, got a tensor of {images.dtype}"
            )
        images = map(normalise, images.split(batch_size) if len(images) else ())
    model = model if device is None else model.to(device)
    device = next(model.parameters()).device
    features, maps = [], []
    with evaluating(model), torch.no_grad():
        for batch in tqdm(images, desc="features and maps", unit="batch", leave=False, disable=not progress):
            feature_map = model.feature_map(batch.to(device, non_blocking=True))
            features.append(model.pool(feature_map).float().cpu())
            if keep_maps:
                maps.append(feature_map.float().cpu())
    if not features:
        raise ValueError("expected at least one image, got none")
    return Extracted(_joined(features), _joined(maps) if keep_maps else None)


def feature_distances(
    query_features: Tensor | np.ndarray, gallery_features: Tensor | np.ndarray, normalise: bool = True
) -> np.ndarray:
    """l2 distances between features, lower is closer: (Q, D), (G, D) -> (Q, G) float32, taken in float64.

    ``normalise`` brings features to unit length first; the distance is then in [0, 2], the square root of 2 - 2 cos.
    """
    query, gallery = _checked(query_features, "query"), _checked(gallery_features, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"expected features of one length, got {query.shape[1]} (query) and {gallery.shape[1]} (gallery)"
        )
    if normalise:
        query, gallery = normalize(query), normalize(gallery)
    if len(gallery):  # what all features share drops out of every difference; without it fewer digits cancel
        query, gallery = query - gallery.mean(0), gallery - gallery.mean(0)
    gallery_squares = gallery.square().sum(1)
    result = np.empty((len(query), len(gallery)), np.float32)
    step = max(1, 2**24 // max(1, len(gallery)))  # 128 MiB of float64 at a time
    for start in range(0, len(query), step):
        part = query[start : start + step]
        squares = torch.addmm(gallery_squares + part.square().sum(1, keepdim=True), part, gallery.T, alpha=-2)
        result[start : start + step] = squares.clamp_min_(0).sqrt_().float().cpu().numpy()
    return result


def fingerprint(settings: dict[str, object], *tensors: Tensor) -> str:
    """A digest of plain settings and of the bytes, shapes and types of tensors."""
    return joblib.hash([sorted(settings.items()), *(t.detach().cpu().contiguous().numpy() for t in tensors)])


def _joined(parts: list[Tensor]) -> Tensor:
    """One tensor of all parts; each part is freed as it is copied, so that a gallery's maps are never held twice."""
    whole = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:])
    for target in whole.split([len(part) for part in parts]):
        target.copy_(parts.pop(0))
    return whole


def _checked(features: Tensor | np.ndarray, name: str) -> Tensor:
    features = torch.as_tensor(features).detach()
    if features.dim() != 2 or not features.is_floating_point():
        raise ValueError(f"{name} features: expected floats (N, D), got {features.dtype} of {tuple(features.shape)}")
    bad = (~features.isfinite()).any(1)
    if bad.any():
        count, first = int(bad.sum()), int(bad.nonzero()[0])
        raise ValueError(
            f"{name} features: {count} of {len(features)} images have NaN or infinity, the first is {first}"
        )
    return features.double()
