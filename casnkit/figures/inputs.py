"""What a picture is drawn from, checked: images as (H, W, 3) bytes, maps as (h, w) float64, upsampling.

People are taller than wide, so a swapped axis is a likely mistake: shapes are compared and named, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image


def to_array(values: Any) -> np.ndarray:
    """A numpy view of an array, a sequence or a tensor on any device, without its graph."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def as_image(image: Any, name: str = "image") -> np.ndarray:
    """An image as (H, W, 3) uint8.

    Args:
        image: a PIL image, a (H, W, 3) or (H, W) uint8 array, or a (3, H, W) uint8 tensor.
        name: what an error calls it.

    Raises:
        ValueError: another shape or type.
    """
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    array = to_array(image)
    if isinstance(image, torch.Tensor) and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8:
        raise ValueError(
            f"{name}: expected 8-bit values (uint8, 0 to 255), got {array.dtype}; "
            "undo the normalisation and multiply by 255 first"
        )
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(f"{name}: expected a PIL image, a (H, W, 3) array or a (3, H, W) tensor, got {_shape(image)}")
    return array


def as_map(values: Any, name: str = "attention") -> np.ndarray:
    """A map as (h, w) float64; a leading axis of one, as in (1, h, w), is dropped.

    Raises:
        ValueError: another number of axes, no entries, or values that are not finite.
    """
    array = to_array(values)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name}: expected one map of shape (h, w), got {_shape(values)}; index a batch first")
    array = array.astype(np.float64)
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise ValueError(f"{name}: expected finite values, got {bad} of {array.size} that are NaN or infinite")
    return array


def as_mask(values: Any, image: np.ndarray, name: str = "mask") -> np.ndarray:
    """A mask as (H, W) float64 in [0, 1] that fits ``image`` (H, W, 3).

    Raises:
        ValueError: another size than the image's, or values outside [0, 1].
    """
    mask = as_map(values, name)
    if mask.shape != image.shape[:2]:
        hint = "; height and width are swapped" if mask.shape == image.shape[1::-1] else ""
        raise ValueError(f"{name}: expected the image's size (H, W) = {image.shape[:2]}, got {mask.shape}{hint}")
    if mask.min() < 0 or mask.max() > 1:
        raise ValueError(f"{name}: expected values in [0, 1], got {mask.min():.3g} to {mask.max():.3g}")
    return mask


def scaled(attention: np.ndarray, maximum: float | None = None) -> np.ndarray:
    """Divide by ``maximum`` (default: the map's own) and clip to [0, 1]; a map without positive values becomes zero."""
    maximum = float(attention.max()) if maximum is None else maximum
    return np.clip(attention / maximum, 0, 1) if maximum > 0 else np.zeros_like(attention)


def upsample(attention: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel centres aligned as in the network's own upsampling: (h, w) -> (height, width)."""
    values = torch.from_numpy(np.ascontiguousarray(attention))[None, None]
    return F.interpolate(values, size=(height, width), mode="bilinear", align_corners=False)[0, 0].numpy()


def same_length(**named: Sequence) -> int:
    """The common length of parallel sequences.

    Raises:
        ValueError: they differ; the message gives each one's length.
    """
    lengths = {name: len(values) for name, values in named.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(f"expected one entry per image everywhere, got {listed}")
    return next(iter(lengths.values()))


def _shape(values: Any) -> str:
    return f"shape {to_array(values).shape}"
