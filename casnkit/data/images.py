"""From files to batches: decoding, the place where decoded images live, augmentation and normalisation.

People crops are small: Market-1501's 12,936 training images at 128x64 are 318 MB as uint8. A split is decoded once and
kept on the GPU or in memory, so that no step waits for a file. ``size`` is always (height, width).

``torchvision.transforms.v2`` draws once per call: a batch would be flipped as a whole. So the draws here are per sample,
from a CPU generator, and the pixels are moved in one step: a seed gives the same pictures on a CPU and on a GPU.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from tqdm.contrib.concurrent import thread_map

from casnkit.data.records import Split

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MEAN_COLOUR = [round(255 * mean) for mean in IMAGENET_MEAN]  # of padded and erased places
ERASED_AREA, ERASED_ASPECT = (0.02, 0.4), 0.3  # share of the image; smallest height / width (Zhong et al., AAAI 2020)
PLACES = ("auto", "device", "memory", "disk")
SHARE_OF_DEVICE, SHARE_OF_MEMORY = 0.3, 0.5  # of what is free; the network needs room too
NAMED = 10  # unreadable files that an error message lists


def normalise(images: Tensor) -> Tensor:
    """(x / 255 - mean) / std with ImageNet's values: uint8 (..., 3, H, W) -> float32 of the same shape."""
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


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images; by default a mirrored half, as PCB trains (Sun et al. 2018)."""

    flip: float = 0.5  # probability of a mirrored image; 0.5 everywhere, 0 to switch it off
    padding: int = 0  # pixels on each side before a random crop to the old size; 10 at 256x128 is common, 0 = off
    erase: float = 0.0  # probability of an erased rectangle; 0.5 is common in re-identification (Zhong et al. 2020)


def augment(
    images: Tensor, config: Augmentation, generator: torch.Generator, rows: tuple[Tensor, int] | None = None
) -> Tensor:
    """Flip, pad and crop, erase, normalise: uint8 (B, 3, H, W) -> float32, ready for the network.

    ``rows = (index, total)`` says that the images are rows ``index`` of a batch of ``total``, whose other rows are with
    other processes: each image gets the chance that it has in the whole batch.

    Raises:
        ValueError: images of another shape or type, or a generator that is not on the CPU.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"expected images of shape (B, 3, H, W), got {tuple(images.shape)}")
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise ValueError(f"expected a CPU generator, torch.Generator().manual_seed(seed), got {generator!r}")
    index, total = (slice(None), len(images)) if rows is None else rows
    if config.flip > 0:
        mirrored = (torch.rand(total, generator=generator)[index] < config.flip).to(images.device, non_blocking=True)
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if config.padding > 0:
        shifts = torch.randint(0, 2 * config.padding + 1, (total, 2), generator=generator)[index]
        images = _shift(images, config.padding, shifts.to(images.device, non_blocking=True))
    if config.erase > 0:
        draws = torch.rand(total, 5, generator=generator)[index]
        images = _erase(images, draws[:, 0] < config.erase, draws[:, 1:].double())
    return normalise(images)


def _shift(images: Tensor, padding: int, shifts: Tensor) -> Tensor:
    """Pad every side with the mean colour and cut out the old size at ``shifts`` (B, 2), rows and columns."""
    batch, channels, height, width = images.shape
    padded = v2.functional.pad(images, [padding] * 4, fill=MEAN_COLOUR)  # (B, 3, H + 2p, W + 2p)
    lines = shifts[:, :1] + torch.arange(height, device=images.device)  # (B, H)
    columns = shifts[:, 1:] + torch.arange(width, device=images.device)  # (B, W)
    places = lines[:, :, None] * padded.shape[-1] + columns[:, None, :]  # (B, H, W)
    places = places.reshape(batch, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, places).reshape(images.shape)


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
    edges = torch.stack([top, top + tall, left, left + wide, chosen]).int().to(images.device, non_blocking=True)
    top, bottom, left, right, chosen = edges[:, :, None, None]
    y, x = torch.arange(height, device=images.device)[:, None], torch.arange(width, device=images.device)
    inside = chosen.bool() & (y >= top) & (y < bottom) & (x >= left) & (x < right)  # (B, H, W)
    colour = torch.tensor(MEAN_COLOUR, dtype=torch.uint8)[:, None, None].to(images.device, non_blocking=True)
    return torch.where(inside[:, None], colour, images)


def iterate_batches(images: Tensor, batch_size: int, device: torch.device | str | None = None) -> Iterator[Tensor]:
    """Yield normalised float batches (b, 3, H, W) of uint8 images in order, on ``device``; the last may be smaller."""
    if batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size!r}")
    for start in range(0, len(images), batch_size):
        yield normalise(images[start : start + batch_size].to(device or images.device))


def memory_needed(n: int, size: tuple[int, int]) -> int:
    """Bytes that :func:`load_images` needs for ``n`` images of ``size`` (H, W): 3 * n * H * W."""
    return 3 * n * size[0] * size[1]


def load_images(split: Split, size: tuple[int, int], threads: int | None = None, progress: bool = True) -> Tensor:
    """All images of a split, resized to ``size`` (H, W): (N, 3, H, W) uint8 RGB (bilinear, antialiased, PIL's).

    ``threads`` decode, by default one for each usable core and at most 16; their number changes nothing but the time.

    Raises:
        ValueError: images that cannot be read, all named together; or a wrong size.
    """
    return _load(split, size, lambda i: _decode(split, i, size), (3,), threads, progress)


def load_masks(split: Split, size: tuple[int, int]) -> Tensor | None:
    """Person masks of a split, (N, H, W) bool, resized to the nearest pixel; None where the set has no masks.

    Raises ValueError where only some images have a mask, or masks cannot be read; they are named together.
    """
    masks = _load_side_files(split, size, split.mask_folder, split.mask)
    return None if masks is None else masks.bool()


def load_parts(split: Split, size: tuple[int, int]) -> Tensor | None:
    """Body-part maps of a split, (N, H, W) uint8, 0 = background; otherwise as :func:`load_masks`."""
    return _load_side_files(split, size, split.part_folder, split.parts)


def _load_side_files(
    split: Split, size: tuple[int, int], folder: Path | None, get: Callable[[int], np.ndarray | None]
) -> Tensor | None:
    if folder is None or not any((Path(folder) / f"{Path(path).stem}.png").is_file() for path in split.paths):
        return None

    def read(i: int) -> np.ndarray:
        labels = get(i)
        if labels is None:
            raise ValueError(f"{split.paths[i]} has no <stem>.png in {folder}: expected one for every image, or none")
        picture = Image.fromarray(labels.astype(np.uint8))
        return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.NEAREST))

    return _load(split, size, read)


def _decode(split: Split, i: int, size: tuple[int, int]) -> np.ndarray:
    """Image ``i``, (3, H, W) uint8."""
    image = split.image(i)
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def _load(
    split: Split,
    size: tuple[int, int],
    read: Callable[[int], np.ndarray],
    channels: tuple[int, ...] = (),
    threads: int | None = None,
    progress: bool = False,
) -> Tensor:
    """``read(i)`` of every image, (N, *channels, H, W) uint8; one error names all the files that failed."""
    if np.shape(size) != (2,) or not all(isinstance(side, int | np.integer) and side > 0 for side in size):
        raise ValueError(f"size: expected two whole numbers (height, width) of at least 1 pixel, got {size!r}")
    images, failures = np.empty((len(split), *channels, *size), dtype=np.uint8), {}

    def work(i: int) -> None:
        try:
            images[i] = read(i)
        except ValueError as error:
            failures[i] = str(error)

    workers = threads or min(joblib.cpu_count(), 16)  # PIL releases the interpreter's lock
    bar = {"desc": f"reading {split.name}", "unit": "image", "leave": False, "disable": not progress}
    thread_map(work, range(len(split)), max_workers=workers, **bar)
    if failures:
        folder = Path(split.paths[min(failures)]).parent.parent
        lines = [f"{len(failures)} of {len(split)} images of split {split.name!r} could not be read:"]
        lines += [f"  {failures[i]}" for i in sorted(failures)[:NAMED]]
        lines += [f"  ... and {len(failures) - NAMED} more"] * (len(failures) > NAMED)
        lines += [f"Run `casnkit data check {folder}` to list every one, then replace or remove these files."]
        raise ValueError("\n".join(lines))
    return torch.from_numpy(images)


@dataclass(frozen=True)
class ImageSource:
    """Decoded images by index, as uint8 batches on the device."""

    split: Split
    size: tuple[int, int]  # (H, W)
    device: torch.device  # where batches go
    place: str  # "device", "memory" or "disk"
    workers: int = 0  # processes that read from disk; 0 reads in this one
    images: Tensor | None = None  # (N, 3, H, W) uint8, None for "disk"

    def batches(self, indices: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """One (len(index), 3, H, W) uint8 batch on the device for each array of indices, in order."""
        if self.images is None:
            files, pin = _Files(self.split, self.size, indices), self.device.type == "cuda"
            found = DataLoader(files, batch_size=None, num_workers=self.workers, pin_memory=pin)
        else:
            found = (self.images[torch.from_numpy(index.copy()).to(self.images.device)] for index in indices)
        for batch in found:
            yield batch.to(self.device, non_blocking=True)

    def __str__(self) -> str:
        by = f"{self.workers} processes" if self.workers else "this process"
        words = {"device": f"on {self.device}", "memory": "in main memory", "disk": f"read from disk by {by}"}
        mib = memory_needed(len(self.split), self.size) / 2**20
        height, width = self.size
        return f"{len(self.split)} training images of {height}x{width} ({mib:.0f} MiB): {words[self.place]}"


@dataclass(frozen=True)
class _Files(Dataset):
    """Batches of decoded files; picklable, so that it works with spawned workers too."""

    split: Split
    size: tuple[int, int]
    indices: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, step: int) -> Tensor:
        return torch.from_numpy(np.stack([_decode(self.split, i, self.size) for i in self.indices[step]]))


def open_images(
    split: Split,
    size: tuple[int, int],
    device: torch.device,
    place: str = "auto",
    workers: int | None = None,
    progress: bool = True,
    images: Tensor | None = None,
) -> ImageSource:
    """Decode the images to where they live: on the GPU, in main memory, or on disk (then batch by batch).

    ``place`` is one of ``PLACES``; ``auto`` takes the first in this order that is large enough. ``workers`` read from
    disk; None: one for each core, at most 8. ``images`` are the decoded images, if the caller has them.

    Raises:
        ValueError: an unknown place, or images that cannot be read.
    """
    if place not in PLACES:
        raise ValueError(f"expected a place out of {', '.join(PLACES)}, got {place!r}")
    if place == "auto":
        needed = memory_needed(len(split), size)
        on_device = device.type == "cuda" and needed < SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0]
        in_memory = needed < SHARE_OF_MEMORY * psutil.virtual_memory().available
        place = "device" if on_device else "memory" if in_memory else "disk"
    if place == "disk" and images is None:
        return ImageSource(split, size, device, place, min(joblib.cpu_count(), 8) if workers is None else workers)
    images = load_images(split, size, progress=progress) if images is None else images
    if place == "device":
        images = images.to(device)
    return ImageSource(split, size, device, "memory" if place == "disk" else place, images=images)
