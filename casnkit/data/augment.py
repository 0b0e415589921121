"""Augmentation of a whole batch at once, with its own chance for every sample, on any device.

``torchvision.transforms.v2`` is the well-kept library for this, but its random transforms draw once per call: a batch
would be flipped as a whole, and erased at one place. Looping over samples doubles the time. So the draws here are per
sample and the pixels are moved in one vectorised step; what needs no chance (mirroring, padding, normalisation) is
torchvision's own function.

All random numbers come from the CPU generator that the caller passes in, as one small tensor per operation: a seed
gives the same pictures on a CPU and on a GPU. Integer images are 0 to 255; float images are taken as normalised, so
that zero is the mean colour of ImageNet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Rows = tuple[Tensor, int] | None
"""Which rows of a larger batch a batch is: their indices, and the size of the whole; None: it is the whole."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images; by default a mirrored half, as PCB trains (Sun et al. 2018).

    Raises:
        ValueError: a value is out of its range.
    """

    flip: float = 0.5  # probability of a mirrored image; 0.5 everywhere, 0 to switch it off
    padding: int = 0  # pixels on each side before a random crop to the old size; 10 at 256x128 is common, 0 = off
    erase: float = 0.0  # probability of an erased rectangle; 0.5 is common in re-identification (Zhong et al. 2020)
    erase_area: tuple[float, float] = (0.02, 0.4)  # share of the image (Zhong et al.); torchvision: 0.02 to 0.33
    erase_aspect: float = 0.3  # height / width lies in [0.3, 1 / 0.3] (Zhong et al.)

    def __post_init__(self) -> None:
        _check_probability("flip", self.flip)
        _check_padding(self.padding)
        _check_erasing(self.erase, self.erase_area, self.erase_aspect)


def flip(images: Tensor, generator: torch.Generator, probability: float = 0.5, rows: Rows = None) -> Tensor:
    """Mirror each image left to right with the given probability: (B, 3, H, W) -> (B, 3, H, W)."""
    _check_batch(images)
    _check_probability("flip", probability)
    mirrored = _mine(_rand((_total(images, rows),), generator), rows) < probability
    return torch.where(_to(mirrored, images)[:, None, None, None], v2.functional.horizontal_flip(images), images)


def pad_crop(
    images: Tensor,
    padding: int,
    generator: torch.Generator,
    fill: float | Sequence[float] | None = None,
    rows: Rows = None,
) -> Tensor:
    """Pad by ``padding`` pixels on every side and cut out the old size at a place of its own for each sample.

    Args:
        images: (B, 3, H, W), uint8 or float.
        padding: pixels; 0 returns the images as they are and draws nothing.
        generator: a CPU generator.
        fill: one value or three, in the images' own scale; None is the mean colour.

    Returns:
        (B, 3, H, W) of the same dtype; image b is shifted by up to ``padding`` pixels each way.
    """
    _check_batch(images)
    _check_padding(padding)
    if padding == 0:
        return images
    batch, channels, height, width = images.shape
    padded = v2.functional.pad(images, [padding] * 4, fill=_fill_values(images, fill))  # (B, 3, H + 2p, W + 2p)
    _check_generator(generator)
    shifts = torch.randint(0, 2 * padding + 1, (_total(images, rows), 2), generator=generator)
    offsets = _to(_mine(shifts, rows), images)
    lines = offsets[:, :1] + torch.arange(height, device=images.device)  # (B, H)
    columns = offsets[:, 1:] + torch.arange(width, device=images.device)  # (B, W)
    places = lines[:, :, None] * padded.shape[-1] + columns[:, None, :]  # (B, H, W)
    places = places.reshape(batch, 1, height * width).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, places).reshape(images.shape)


def random_erase(
    images: Tensor,
    probability: float,
    area: tuple[float, float],
    aspect: float,
    generator: torch.Generator,
    fill: float | Sequence[float] | None = None,
    rows: Rows = None,
) -> Tensor:
    """Paint over one rectangle per chosen image (random erasing, Zhong et al., AAAI 2020).

    The area is uniform in ``area``, height / width log-uniform in ``[aspect, 1 / aspect]`` as in torchvision. Where
    Zhong et al. draw again until a rectangle fits, here the ratio is drawn only among those that fit, so the area that
    was drawn is kept and every chosen image is erased.

    Args:
        images: (B, 3, H, W), uint8 or float; not changed.
        probability: share of images that are erased.
        area: smallest and largest share of the image, in (0, 1].
        aspect: smallest height / width, in (0, 1].
        generator: a CPU generator.
        fill: one value or three, in the images' own scale; None is the mean colour.
    """
    _check_batch(images)
    _check_erasing(probability, area, aspect)
    height, width = images.shape[-2:]
    draws = _mine(_rand((_total(images, rows), 5), generator), rows)
    tops, bottoms, lefts, rights = _to(_rectangles(draws[:, 1:], (height, width), area, aspect), images).unbind()
    y = torch.arange(height, device=images.device)
    x = torch.arange(width, device=images.device)
    in_rows = (y >= tops[:, None]) & (y < bottoms[:, None])  # (B, H)
    in_columns = (x >= lefts[:, None]) & (x < rights[:, None])  # (B, W)
    chosen = _to(draws[:, 0] < probability, images)
    inside = chosen[:, None, None] & in_rows[:, :, None] & in_columns[:, None, :]  # (B, H, W)
    colour = torch.tensor(_fill_values(images, fill), dtype=images.dtype)
    return torch.where(inside[:, None], _to(colour, images)[:, None, None], images)


def normalise(images: Tensor) -> Tensor:
    """(x / 255 - mean) / std with ImageNet's values: uint8 (..., 3, H, W) -> float32 of the same shape.

    Raises:
        ValueError: the images are not uint8, for instance because they are normalised already.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"expected uint8 images (0 to 255), got {images.dtype}: are they normalised already?")
    scaled = v2.functional.to_dtype(images, torch.float32, scale=True)
    return v2.functional.normalize(scaled, list(IMAGENET_MEAN), list(IMAGENET_STD), inplace=True)


def denormalise(images: Tensor) -> Tensor:
    """Undo :func:`normalise` for display: float (..., 3, H, W) -> new uint8 tensor, rounded and clipped to 0 to 255."""
    if not images.is_floating_point():
        raise ValueError(f"expected normalised float images, got {images.dtype}")
    mean, std = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def augment(images: Tensor, config: Augmentation, generator: torch.Generator, rows: Rows = None) -> Tensor:
    """Flip, pad and crop, erase, normalise: uint8 (B, 3, H, W) -> float32, ready for the network.

    ``rows = (index, total)`` says that the images are rows ``index`` of a batch of ``total``, whose other rows are with
    other processes: each image gets the chance that it has in the whole batch.

    The pixels move as uint8, a quarter of the memory; padded and erased places are the mean colour to half a level.
    """
    if config.flip > 0:
        images = flip(images, generator, config.flip, rows)
    images = pad_crop(images, config.padding, generator, rows=rows)
    if config.erase > 0:
        images = random_erase(images, config.erase, config.erase_area, config.erase_aspect, generator, rows=rows)
    return normalise(images)


def _rectangles(draws: Tensor, size: tuple[int, int], area: tuple[float, float], aspect: float) -> Tensor:
    """Rectangles (top, bottom, left, right), each (B,), as (4, B) int64 from (B, 4) numbers in [0, 1)."""
    height, width = size
    draws = draws.double()
    pixels = (area[0] + (area[1] - area[0]) * draws[:, 0]) * (height * width)
    # height = sqrt(pixels * ratio) <= H and width = sqrt(pixels / ratio) <= W bound the ratio from both sides
    fitting = (pixels / width**2).log(), (height**2 / pixels).log()
    low = torch.full_like(pixels, math.log(aspect)).clamp(*fitting)
    high = torch.full_like(pixels, -math.log(aspect)).clamp(*fitting)
    ratio = (low + (high - low) * draws[:, 1]).exp()
    tall = (pixels * ratio).sqrt().round().clamp(1, height)
    wide = (pixels / ratio).sqrt().round().clamp(1, width)
    top = (draws[:, 2] * (height - tall + 1)).floor()
    left = (draws[:, 3] * (width - wide + 1)).floor()
    return torch.stack([top, top + tall, left, left + wide]).long()


def _fill_values(images: Tensor, fill: float | Sequence[float] | None) -> list[float]:
    """The colour as one or three plain numbers (no tensor: reading one back would wait for the GPU)."""
    if fill is None:
        return [round(255 * mean) for mean in IMAGENET_MEAN] if images.dtype == torch.uint8 else [0.0]
    values = [fill] if isinstance(fill, int | float) else list(fill)
    if len(values) not in (1, 3):
        raise ValueError(f"fill: expected one value or three, got {len(values)}")
    return values


def _total(images: Tensor, rows: Rows) -> int:
    return len(images) if rows is None else rows[1]


def _mine(draws: Tensor, rows: Rows) -> Tensor:
    return draws if rows is None else draws[rows[0]]


def _to(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.device, non_blocking=True)


def _rand(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    _check_generator(generator)
    return torch.rand(shape, generator=generator)


def _check_generator(generator: torch.Generator) -> None:
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise ValueError(
            f"expected a CPU generator, got {getattr(generator, 'device', generator)}: pass "
            "torch.Generator().manual_seed(seed); drawn on the CPU, the results do not depend on the device"
        )


def _check_batch(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"expected images of shape (B, 3, H, W), got {tuple(images.shape)}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ValueError(f"expected uint8 or normalised float images, got {images.dtype}")


def _check_probability(name: str, probability: float) -> None:
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"{name}: expected a probability from 0 to 1, got {probability!r}")


def _check_padding(padding: int) -> None:
    if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
        raise ValueError(f"padding: expected a whole number of pixels, 0 or more, got {padding!r}")


def _check_erasing(probability: float, area: tuple[float, float], aspect: float) -> None:
    _check_probability("erase", probability)
    if len(area) != 2 or not 0.0 < area[0] <= area[1] <= 1.0:
        raise ValueError(f"erase_area: expected shares with 0 < smallest <= largest <= 1, got {area!r}")
    if not 0.0 < aspect <= 1.0:
        raise ValueError(f"erase_aspect: expected a number in (0, 1], the smallest height / width, got {aspect!r}")


__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Augmentation",
    "augment",
    "denormalise",
    "flip",
    "normalise",
    "pad_crop",
    "random_erase",
]
