"""The pictures of a split, read when they are looked at; one that cannot be read is a grey one that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from casnkit.data.images import IMAGENET_MEAN, load_images, normalise

from ..data.records import JUNK_PID, Split
from .caches import Recent

TALLEST = 640  # rows of a picture that is kept for the screen
CHUNK = 64  # pictures decoded at a time
GREY = np.array([round(255 * m) for m in IMAGENET_MEAN], np.uint8)  # the data's mean: it says least to a network


class Pictures:
    """A split's pictures for the screen, the last few kept.

    Args:
        split: the images.
        keep: pictures held in memory.
    """

    def __init__(self, split: Split, keep: int = 192) -> None:
        self.split = split
        self.errors: dict[int, str] = {}  # unreadable images, by index
        self._arrays = Recent(keep)

    def array(self, i: int) -> np.ndarray:
        """Picture ``i`` as (H, W, 3) uint8, at most :data:`TALLEST` rows; grey where it cannot be read."""
        return self._arrays.get(i, lambda: self._read(i))

    def name(self, i: int) -> str:
        """The file's name: data, to be escaped wherever it is shown."""
        return Path(self.split.paths[i]).name

    def readable(self) -> Split:
        """The split with unreadable pictures as junk: the protocol then leaves them out, and their places stay."""
        if not self.errors:
            return self.split
        pids = self.split.pids.copy()
        pids[list(self.errors)] = JUNK_PID
        return replace(self.split, pids=pids)

    def _read(self, i: int) -> np.ndarray:
        try:
            image = self.split.image(i)
        except ValueError as error:
            self.errors.setdefault(i, str(error))
            return np.broadcast_to(GREY, (128, 64, 3)).copy()
        if image.height > TALLEST:
            image = image.resize((max(1, image.width * TALLEST // image.height), TALLEST), Image.Resampling.BILINEAR)
        return np.asarray(image)


def batches(
    pictures: Pictures, size: tuple[int, int], advance: Callable[[int], None] = lambda done: None
) -> Iterator[torch.Tensor]:
    """All pictures of a split for a network, (b, 3, H, W) normalised, a chunk at a time; ``advance(done)`` after each.

    Unreadable pictures become the data's mean colour and are entered in ``pictures.errors``.
    """
    split = pictures.split
    for start in range(0, len(split), CHUNK):
        index = np.arange(start, min(start + CHUNK, len(split)))
        try:
            images = load_images(split.subset(index), size, progress=False)
        except ValueError:
            images = torch.stack([_one(pictures, int(i), size) for i in index])
        yield normalise(images)
        advance(int(index[-1]) + 1)


def _one(pictures: Pictures, i: int, size: tuple[int, int]) -> torch.Tensor:
    try:
        return load_images(pictures.split.subset([i]), size, threads=1, progress=False)[0]
    except ValueError as error:
        pictures.errors[i] = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        return torch.from_numpy(GREY)[:, None, None].expand(3, *size).contiguous()
