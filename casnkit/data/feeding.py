"""Where the training images live: on the GPU, in memory, or on disk; chosen by size, said aloud.

People crops are small. Market-1501's 12,936 images at 128x64 are 318 MB: a GPU holds them whole, and no step waits for a
file. Sets that fit nowhere are read by worker processes, some batches ahead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from casnkit.data.loading import load_images, memory_needed
from casnkit.data.records import Split

PLACES = ("auto", "device", "memory", "disk")
SHARE_OF_DEVICE, SHARE_OF_MEMORY = 0.3, 0.5  # of what is free; the network needs room too


@dataclass(frozen=True)
class ImageSource:
    """Decoded images by index, as uint8 batches on the device.

    Attributes:
        split, size: what is read, at (H, W).
        device: where batches go.
        place: ``device``, ``memory`` or ``disk``.
        workers: processes that read from disk; 0 reads in this one.
        images: (N, 3, H, W) uint8, None for ``disk``.
    """

    split: Split
    size: tuple[int, int]
    device: torch.device
    place: str
    workers: int = 0
    images: Tensor | None = None

    def batches(self, indices: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """One (len(index), 3, H, W) uint8 batch on the device for each array of indices, in order."""
        if self.images is None:
            yield from (batch.to(self.device, non_blocking=True) for batch in self._read(indices))
            return
        for index in indices:
            where = torch.from_numpy(np.ascontiguousarray(index)).to(self.images.device)
            yield self.images[where].to(self.device, non_blocking=True)

    def __str__(self) -> str:
        mib = memory_needed(len(self.split), self.size) / 2**20
        words = {
            "device": f"on {self.device}",
            "memory": "in main memory",
            "disk": f"read from disk by {self.workers} processes" if self.workers else "read from disk by this process",
        }
        return (
            f"{len(self.split)} training images of {self.size[0]}x{self.size[1]} ({mib:.0f} MiB): {words[self.place]}"
        )

    def _read(self, indices: Sequence[np.ndarray]) -> DataLoader:
        pin = self.device.type == "cuda"
        return DataLoader(
            _Files(self.split, self.size, indices), batch_size=None, num_workers=self.workers, pin_memory=pin
        )


class _Files(Dataset):
    """Batches of decoded files; picklable, so that it works with spawned workers too."""

    def __init__(self, split: Split, size: tuple[int, int], indices: Sequence[np.ndarray]) -> None:
        self.split, self.size, self.indices = split, size, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, step: int) -> Tensor:
        height, width = self.size
        images = [self.split.image(i) for i in self.indices[step]]
        images = [
            i if i.size == (width, height) else i.resize((width, height), Image.Resampling.BILINEAR) for i in images
        ]
        return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).contiguous()


def open_images(
    split: Split,
    size: tuple[int, int],
    device: torch.device,
    place: str = "auto",
    workers: int | None = None,
    progress: bool = True,
    images: Tensor | None = None,
) -> ImageSource:
    """Decide where the images live and decode them if it is not the disk.

    Args:
        place: ``auto`` prefers the GPU, then main memory, then the disk, by what is free.
        workers: for ``disk``; None: one for each core, at most 8.
        images: the decoded images, if the caller has them.

    Raises:
        ValueError: an unknown place, or images that cannot be read.
    """
    if place not in PLACES:
        raise ValueError(f"expected a place out of {', '.join(PLACES)}, got {place!r}")
    if place == "auto":
        place = _choose(memory_needed(len(split), size), device)
    if place == "disk" and images is None:
        count = min(os.cpu_count() or 1, 8) if workers is None else workers
        return ImageSource(split, size, device, "disk", count)
    images = load_images(split, size, progress=progress) if images is None else images
    if place == "device":
        images = images.to(device)
    return ImageSource(split, size, device, "memory" if place == "disk" else place, images=images)


def _choose(needed: int, device: torch.device) -> str:
    if device.type == "cuda" and needed < SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    free = _free_memory()
    return "memory" if free is None or needed < SHARE_OF_MEMORY * free else "disk"


def _free_memory() -> int | None:
    """Bytes of main memory that are free; None where the system does not say."""
    try:
        import psutil  # comes with jupyterlab and with accelerate; a guess without it is good enough
    except ImportError:
        names = getattr(os, "sysconf_names", {})
        if "SC_AVPHYS_PAGES" not in names:
            return None
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(psutil.virtual_memory().available)
