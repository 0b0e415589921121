"""From images to what ranking needs of them: one feature and one feature map per image, in memory or on disk.

The network sees each image once; every distance between two images, of features or of attention, follows from these
two tensors. Market-1501's gallery of ResNet50 maps (2048 x 9 x 5) is 7.3 GB in float32: ``cache`` names a folder in
which the maps are memory-mapped instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from casnkit.data.files import atomic_path, read_json, write_json
from casnkit.data.images import iterate_batches
from casnkit.models import evaluating

if TYPE_CHECKING:
    from casnkit.models import CASN

_MARKER = "complete.json"  # written last: a folder without it is a cache that was never finished


@dataclass(frozen=True)
class Extracted:
    """What ranking needs of N images, on the CPU.

    Attributes:
        features: (N, D) float32, f of every image, not normalised.
        feature_maps: (N, C, h, w) float32, A of every image (memory-mapped where a cache was given), or None.
    """

    features: Tensor
    feature_maps: Tensor | None = None

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
    cache: str | Path | None = None,
    progress: bool = False,
) -> Extracted:
    """Features and feature maps of all images, with the network in eval mode and without gradients.

    Args:
        model: is moved to ``device`` if one is given; every submodule keeps the mode (train or eval) that it had.
        images: (N, 3, H, W) uint8, or batches (b, 3, H, W) of normalised floats.
        batch_size: images per forward pass; of no effect on given batches.
        device: where to compute; None is where the model is. The result lies on the CPU.
        keep_maps: False keeps features alone.
        cache: a folder for the result. One that holds the same images seen by the same weights is read instead of
            computed; given batches cannot be compared before they are seen, so they are always computed.
        progress: show a bar, where tqdm is installed.

    Raises:
        ValueError: no image, or images that are neither uint8 nor batches.
    """
    device = torch.device(device) if device is not None else next(model.parameters()).device
    model.to(device)
    if isinstance(images, Tensor) and images.dtype != torch.uint8:
        raise ValueError(
            f"expected uint8 images (N, 3, H, W) or an iterable of normalised batches, got one tensor of "
            f"{images.dtype}: pass [tensor] if it is one normalised batch"
        )
    key = None
    if cache is not None and isinstance(images, Tensor):
        key = fingerprint({"maps": keep_maps}, *model.state_dict().values(), images)
        found = _read_cache(Path(cache), key)
        if found is not None:
            return found
    batches = iterate_batches(images, batch_size) if isinstance(images, Tensor) else iter(images)
    batches = _with_bar(batches, -(-len(images) // batch_size) if isinstance(images, Tensor) else None, progress)
    outputs = _forward(model, batches, device, keep_maps)
    if cache is not None:
        return _write_cache(Path(cache), key, outputs)
    return _collect(outputs, len(images) if isinstance(images, Tensor) else None)


def feature_distances(
    query_features: Tensor | np.ndarray,
    gallery_features: Tensor | np.ndarray,
    normalise: bool = True,
    stripes: int = 1,
    device: torch.device | str | None = None,
) -> np.ndarray:
    """l2 distances between features, lower is closer: (Q, D), (G, D) -> (Q, G) float32.

    |a|^2 + |b|^2 - 2ab cancels where two images are nearly the same; the products are therefore taken in float64, a
    block of queries at a time, and rounded once.

    Args:
        normalise: to unit length first; the distance is then in [0, 2], the square root of 2 - 2 cos.
        stripes: normalise each of this many equal parts by itself (and divide by the root of their number).
        device: where to compute; None is the features' own.

    Raises:
        ValueError: shapes that do not fit, or features that are not finite.
    """
    query, gallery = (
        _checked_features(f, name) for f, name in ((query_features, "query"), (gallery_features, "gallery"))
    )
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"expected features of one length, got {query.shape[1]} (query) and {gallery.shape[1]} (gallery)"
        )
    query, gallery = (f.to(device or f.device).double() for f in (query, gallery))
    if normalise:
        query, gallery = _unit(query, stripes), _unit(gallery, stripes)
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
    digest = hashlib.blake2b(repr(sorted(settings.items())).encode(), digest_size=16)
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        for start in range(0, len(flat), 2**26):
            digest.update(flat[start : start + 2**26].view(torch.uint8).numpy())
    return digest.hexdigest()


def _forward(model: CASN, batches: Iterable[Tensor], device: torch.device, keep_maps: bool) -> Iterator[tuple]:
    with evaluating(model), torch.no_grad():
        for batch in batches:
            feature_map = model.feature_map(batch.to(device, non_blocking=True))
            feature = model.pool(feature_map).float().cpu()
            yield feature, feature_map.float().cpu() if keep_maps else None


def _collect(outputs: Iterator[tuple], count: int | None) -> Extracted:
    first = _first(outputs)
    if count is None:
        features, maps = zip(*itertools.chain([first], outputs), strict=True)
        return Extracted(torch.cat(features), None if maps[0] is None else torch.cat(maps))
    whole = [None if part is None else part.new_empty((count, *part.shape[1:])) for part in first]
    start = 0
    for parts in itertools.chain([first], outputs):
        for target, part in zip(whole, parts, strict=True):
            if part is not None:
                target[start : start + len(part)] = part
        start += len(parts[0])
    return Extracted(*whole)


def _first(outputs: Iterator[tuple]) -> tuple:
    first = next(outputs, None)
    if first is None:
        raise ValueError("expected at least one image, got none")
    return first


def _write_cache(folder: Path, key: str | None, outputs: Iterator[tuple]) -> Extracted:
    """Append each batch to plain binary files (the number of images need not be known); the marker comes last."""
    first = _first(outputs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARKER).unlink(missing_ok=True)
    count = 0
    with contextlib.ExitStack() as stack:
        names = ["features"] + ["maps"] * (first[1] is not None)
        files = [stack.enter_context(stack.enter_context(atomic_path(folder / f"{n}.bin")).open("wb")) for n in names]
        for parts in itertools.chain([first], outputs):
            count += len(parts[0])
            for file, part in zip(files, parts, strict=False):
                part.contiguous().numpy().tofile(file)
    shapes = {name: [count, *part.shape[1:]] for name, part in zip(names, first, strict=False)}
    write_json(folder / _MARKER, {"fingerprint": key, "shapes": shapes})
    return _open_cache(folder, shapes)


def _read_cache(folder: Path, key: str) -> Extracted | None:
    if not (folder / _MARKER).is_file():
        return None
    marker = read_json(folder / _MARKER)
    if marker.get("fingerprint") != key:
        return None
    return _open_cache(folder, marker["shapes"])


def _open_cache(folder: Path, shapes: dict[str, list[int]]) -> Extracted:
    def opened(name: str) -> Tensor:
        # copy on write: torch wants writable memory, and the file must stay as it is
        return torch.from_numpy(np.memmap(folder / f"{name}.bin", np.float32, "c", shape=tuple(shapes[name])))

    return Extracted(opened("features").clone(), opened("maps") if "maps" in shapes else None)


def _with_bar(batches: Iterable[Tensor], total: int | None, wanted: bool) -> Iterator[Tensor]:
    if wanted:
        with contextlib.suppress(ImportError):
            from tqdm import tqdm

            batches = tqdm(batches, total=total, desc="features and maps", unit="batch", leave=False)
    return iter(batches)


def _checked_features(features: Tensor | np.ndarray, name: str) -> Tensor:
    features = torch.as_tensor(features)
    if features.dim() != 2 or not features.is_floating_point():
        raise ValueError(f"{name} features: expected floats (N, D), got {features.dtype} of {tuple(features.shape)}")
    bad = (~features.isfinite()).any(1)
    if bad.any():
        raise ValueError(
            f"{name} features: {int(bad.sum())} of {len(features)} images have NaN or infinite values (first: image "
            f"{int(bad.nonzero()[0])}); the model may have diverged, or its weights file is damaged"
        )
    return features.detach()


def _unit(features: Tensor, stripes: int) -> Tensor:
    if stripes < 1 or features.shape[1] % stripes:
        raise ValueError(
            f"expected a number of stripes that divides the feature length {features.shape[1]}, got {stripes}"
        )
    parts = torch.nn.functional.normalize(features.unflatten(1, (stripes, -1)), dim=-1)
    return parts.flatten(1) / stripes**0.5


__all__ = ["Extracted", "extract", "feature_distances", "fingerprint"]
