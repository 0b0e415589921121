"""From files to batches: decoding, where decoded images live, augmentation, normalisation. ``size`` is (height, width).

A split is decoded once and kept on the GPU, in memory or in a temporary file: Market-1501's 12,936 training images at
128x64 are 318 MB as uint8. ``torchvision.transforms.v2`` draws once per call, so a batch would be flipped as a whole; here
the draws are per sample and from a CPU generator, so a seed gives the same pictures on a CPU and on a GPU.
"""

import math
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from tqdm.contrib.concurrent import thread_map

from casnkit.config import DataConfig, check_choice, check_count
from casnkit.data.files import disk_array
from casnkit.data.records import Split

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MEAN_COLOUR = [round(255 * mean) for mean in IMAGENET_MEAN]  # of padded and erased places
ERASED_AREA, ERASED_ASPECT = (0.02, 0.4), 0.3  # share of the image; smallest height / width (Zhong et al., AAAI 2020)


def normalise(images: Tensor) -> Tensor:
    """(x / 255 - mean) / std with ImageNet's values: uint8 (..., 3, H, W) -> float32 of the same shape."""
    if images.dtype != torch.uint8:
        raise ValueError(f"expected uint8 images (0 to 255), got {images.dtype}: are they normalised already?")
    scaled = v2.functional.to_dtype(images, torch.float32, scale=True)
    return v2.functional.normalize(scaled, list(IMAGENET_MEAN), list(IMAGENET_STD), inplace=True)


def is_dense(values: object, meta: bool = False) -> bool:
    """Whether it is a tensor that is not sparse and has values; ``meta``: or has none."""
    return isinstance(values, Tensor) and values.layout == torch.strided and values.is_meta <= meta


def denormalise(images: Tensor) -> Tensor:
    """Undo :func:`normalise` for display: float (..., 3, H, W) -> new uint8 tensor, rounded and clipped to 0 to 255."""
    if not images.is_floating_point():
        raise ValueError(f"expected normalised float images, got {images.dtype}")
    mean, std = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def augment(images: Tensor, config: DataConfig, generator: torch.Generator, rows: tuple | None = None) -> Tensor:
    """Flip, pad and crop, erase (Zhong et al. 2020), normalise: uint8 (B, 3, H, W) -> float32, ready for the network.

    ``rows = (index, total)``: the images are rows ``index`` of a batch of ``total`` whose other rows are with other
    processes; each image gets the chance that it has in the whole batch.
    """
    index, total = (slice(None), len(images)) if rows is None else rows
    if config.flip > 0:
        mirrored = (torch.rand(total, generator=generator)[index] < config.flip).to(images.device, non_blocking=True)
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if config.padding > 0:
        shifts = torch.randint(0, 2 * config.padding + 1, (total, 2), generator=generator)[index].tolist()
        padded, (height, width) = v2.functional.pad(images, [config.padding] * 4, fill=MEAN_COLOUR), images.shape[-2:]
        images = torch.stack([p[:, y : y + height, x : x + width] for p, (y, x) in zip(padded, shifts, strict=True)])
    if config.erase > 0:
        draws = torch.rand(total, 5, generator=generator)[index]
        images = _erase(images, draws[:, 0] < config.erase, draws[:, 1:].double())
    return normalise(images)


def _erase(images: Tensor, chosen: Tensor, draws: Tensor) -> Tensor:
    """Paint one rectangle of each chosen image (B,) in the mean colour; ``draws`` (B, 4) in [0, 1) say which.

    The area is uniform, height / width log-uniform in ``[aspect, 1 / aspect]`` as in torchvision. Where Zhong et al. draw
    again until a rectangle fits, here the ratio is drawn only among those that fit, so every chosen image is erased.
    """
    height, width = images.shape[-2:]
    pixels = (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * draws[:, 0]) * (height * width)
    # height = sqrt(pixels * ratio) <= H and width = sqrt(pixels / ratio) <= W bound the ratio from both sides
    fitting = (pixels / width**2).log(), (height**2 / pixels).log()
    low, high = (torch.full_like(pixels, sign * math.log(ERASED_ASPECT)).clamp(*fitting) for sign in (1, -1))
    ratio = (low + (high - low) * draws[:, 1]).exp()
    tall = (pixels * ratio).sqrt().round().clamp(1, height)
    wide = (pixels / ratio).sqrt().round().clamp(1, width)
    top = (draws[:, 2] * (height - tall + 1)).floor()
    left = (draws[:, 3] * (width - wide + 1)).floor()
    places = torch.stack([torch.arange(len(images)), top, top + tall, left, left + wide], 1)[chosen].long().tolist()
    images, colour = images.clone(), torch.tensor(MEAN_COLOUR, device=images.device)[:, None, None]
    for i, top, bottom, left, right in places:
        images[i, :, top:bottom, left:right] = colour
    return images


def load_images(split: Split, size: tuple[int, int], progress: bool = True, out: np.ndarray | None = None) -> Tensor:
    """All images of a split, resized to ``size`` (H, W): (N, 3, H, W) uint8 RGB (bilinear, antialiased, PIL's).

    ``out`` is an array to fill, such as a memory-mapped file. Raises ValueError where images cannot be read, all named
    together.
    """
    size = tuple(check_count("size", side) for side in size)

    def read(i: int) -> np.ndarray:
        return np.asarray(split.image(i).resize(size[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1)

    return _load(split, read, (3, *size), progress, out)


def load_masks(split: Split, size: tuple[int, int]) -> Tensor | None:
    """Person masks of a split, (N, H, W) bool, resized to the nearest pixel; None where the set has no masks. Raises
    ValueError where only some images have a mask, or masks cannot be read; they are named together."""
    masks = _load_side_files(split, size, split.mask_folder, split.mask)
    return None if masks is None else masks.bool()


def load_parts(split: Split, size: tuple[int, int]) -> Tensor | None:
    """Body-part maps of a split, (N, H, W) uint8, 0 = background; otherwise as :func:`load_masks`."""
    return _load_side_files(split, size, split.part_folder, split.parts)


def _load_side_files(split: Split, size: tuple[int, int], folder: Path | None, get: Callable) -> Tensor | None:
    if folder is None or not any((folder / f"{Path(path).stem}.png").is_file() for path in split.paths):
        return None

    def read(i: int) -> np.ndarray:
        labels = get(i)
        if labels is None:
            raise ValueError(f"{split.paths[i]} has no <stem>.png in {folder}: expected one for every image, or none")
        return np.asarray(Image.fromarray(labels.astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST))

    return _load(split, read, tuple(size))


def _load(split: Split, read: Callable, shape: tuple, progress: bool = False, out: np.ndarray | None = None) -> Tensor:
    """``read(i)`` of every image, stacked; one error names all that failed."""
    out, failures = np.empty((len(split), *shape), np.uint8) if out is None else out, {}

    def work(i: int) -> None:
        try:
            out[i] = read(i)
        except ValueError as error:
            failures[i] = str(error)

    bar = {"desc": f"reading {split.name}", "unit": "image", "leave": False, "disable": not progress}
    thread_map(work, range(len(split)), max_workers=min(joblib.cpu_count(), 16), **bar)  # PIL releases Python's lock
    if failures:
        named = "\n  ".join([failures[i] for i in sorted(failures)[:10]] + ["..."] * (len(failures) > 10))
        told = f"{len(failures)} of {len(split)} images of split {split.name!r} could not be read:\n  {named}"
        folder = Path(split.paths[min(failures)]).parent.parent
        raise ValueError(f"{told}\n`casnkit data check {folder}` lists every one: replace or remove these files.")
    return torch.from_numpy(out)


def open_images(split: Split, size: tuple[int, int], device: torch.device, place: str, progress: bool) -> Tensor:
    """The images, (N, 3, H, W) uint8, decoded to where they live: ``device``, ``memory``, ``disk`` (a temporary file in
    ``$TMPDIR``) or ``auto``, the first of these that is large enough.

    Raises ValueError for an unknown place, a full disk, or images that cannot be read.
    """
    check_choice("place", place, ("auto", "device", "memory", "disk"))
    needed, out = 3 * len(split) * size[0] * size[1], None
    if place == "auto":  # some of what is free is left to the network
        on_device = device.type == "cuda" and needed < 0.3 * torch.cuda.mem_get_info(device)[0]
        in_memory = needed < 0.5 * psutil.virtual_memory().available
        place = "device" if on_device else "memory" if in_memory else "disk"
    if place == "disk":
        out = disk_array((len(split), 3, *size), np.uint8)
    images = load_images(split, size, progress, out)
    return images.to(device) if place == "device" else images
