"""From files to one tensor: a whole split is decoded once and stays in memory as uint8.

People crops are small: Market-1501's training set at 288x144 is 1.5 GiB, and then no step waits for a file. Decoding
runs in threads, because PIL releases the interpreter's lock there. Each image has its own row of the result, so the
number of threads changes nothing but the time. ``size`` is always (height, width): people are taller than wide.
"""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from casnkit._optional import require
from casnkit.data.augment import normalise
from casnkit.data.records import Split

_NAMED = 10  # unreadable files that an error message lists
_CHUNK = 32  # images per task: few enough for a smooth progress bar


def memory_needed(n: int, size: tuple[int, int]) -> int:
    """Bytes that :func:`load_images` needs for ``n`` images of ``size`` (H, W): 3 * n * H * W."""
    height, width = _height_width(size)
    return 3 * int(n) * height * width


def load_images(split: Split, size: tuple[int, int], threads: int | None = None, progress: bool = True) -> Tensor:
    """Decode and resize all images of a split (bilinear with antialiasing, PIL's).

    Args:
        split: the images.
        size: (H, W) in pixels.
        threads: threads that decode; None is one for each usable core, at most 16.
        progress: show a bar on stderr, where tqdm is installed.

    Returns:
        (N, 3, H, W) uint8 RGB, in the split's order, the same whatever the number of threads.

    Raises:
        ValueError: images that cannot be read, all named together; a wrong size; or not enough memory.
    """
    height, width = _height_width(size)

    def read(i: int) -> np.ndarray:
        image = split.image(i)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image).transpose(2, 0, 1)

    images = _empty((len(split), 3, height, width), torch.uint8)
    _fill(images.numpy(), split, read, threads, progress)
    return images


def load_masks(split: Split, size: tuple[int, int], threads: int | None = None) -> Tensor | None:
    """Person masks of a split, (N, H, W) bool, resized to the nearest pixel; None where the set has no masks.

    Raises:
        ValueError: some images have a mask and others none, or masks that cannot be read, named together.
    """
    labels = _load_side_files(split, size, threads, split.mask, split.mask_folder, "mask")
    return None if labels is None else labels.bool()


def load_parts(split: Split, size: tuple[int, int], threads: int | None = None) -> Tensor | None:
    """Body-part maps of a split, (N, H, W) uint8, 0 = background, resized to the nearest pixel; None: no maps.

    Raises:
        ValueError: some images have a map and others none, or maps that cannot be read, named together.
    """
    return _load_side_files(split, size, threads, split.parts, split.part_folder, "part map")


def iterate_batches(images: Tensor, batch_size: int, device: torch.device | str | None = None) -> Iterator[Tensor]:
    """Yield normalised float batches (b, 3, H, W) of uint8 images in order, on ``device``; the last may be smaller."""
    if batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size!r}")
    for start in range(0, len(images), batch_size):
        yield normalise(images[start : start + batch_size].to(device or images.device))


def _load_side_files(
    split: Split,
    size: tuple[int, int],
    threads: int | None,
    get: Callable[[int], np.ndarray | None],
    folder: Path | None,
    kind: str,
) -> Tensor | None:
    height, width = _height_width(size)
    if folder is None:
        return None
    missing = [i for i in range(len(split)) if not (Path(folder) / f"{Path(split.paths[i]).stem}.png").is_file()]
    if missing and len(missing) == len(split):
        return None
    if missing:
        names = ", ".join(Path(split.paths[i]).name for i in missing[:_NAMED])
        raise ValueError(
            f"{len(missing)} of {len(split)} images of split {split.name!r} have no {kind} in {folder}: {names}"
            f"{', ...' if len(missing) > _NAMED else ''}. Expected one <stem>.png for every image, or none at all."
        )

    def read(i: int) -> np.ndarray:
        labels = Image.fromarray(np.asarray(get(i), dtype=np.uint8))
        return np.asarray(labels.resize((width, height), Image.Resampling.NEAREST))

    result = _empty((len(split), height, width), torch.uint8)
    _fill(result.numpy(), split, read, threads, progress=False)
    return result


def _fill(
    rows: np.ndarray, split: Split, read: Callable[[int], np.ndarray], threads: int | None, progress: bool
) -> None:
    """Write ``read(i)`` to ``rows[i]`` for every image; raise one error that names all the files that failed."""
    failures: dict[int, str] = {}

    def work(start: int) -> int:
        stop = min(start + _CHUNK, len(split))
        for i in range(start, stop):
            try:
                rows[i] = read(i)
            except ValueError as error:
                failures[i] = str(error)
        return stop - start

    pool = ThreadPoolExecutor(_thread_count(threads))
    try:
        tasks = [pool.submit(work, start) for start in range(0, len(split), _CHUNK)]
        with _progress_bar(len(split), f"reading {split.name}".strip(), progress) as advance:
            for task in as_completed(tasks):
                advance(task.result())
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C: finish the chunks in hand, start no other
    if failures:
        raise ValueError(_describe(failures, split))


def _describe(failures: dict[int, str], split: Split) -> str:
    lines = [f"{len(failures)} of {len(split)} images of split {split.name!r} could not be read:"]
    lines += [f"  {failures[i]}" for i in sorted(failures)[:_NAMED]]
    if len(failures) > _NAMED:
        lines.append(f"  ... and {len(failures) - _NAMED} more")
    folder = Path(split.paths[min(failures)]).parent
    lines.append(f"Run `casnkit data check {folder.parent}` to list every one, then replace or remove these files.")
    return "\n".join(lines)


@contextlib.contextmanager
def _progress_bar(total: int, title: str, wanted: bool) -> Iterator[Callable[[int], object]]:
    """Yield the function that moves the bar on; without tqdm it does nothing, for a bar is only a comfort."""
    tqdm = None
    if wanted:
        with contextlib.suppress(ImportError):
            tqdm = require("tqdm", "a progress bar")
    if tqdm is None:
        yield lambda number: None
        return
    with tqdm.tqdm(total=total, desc=title, unit="image", leave=False) as bar:
        yield bar.update


def _thread_count(threads: int | None) -> int:
    if threads is None:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(usable, 16)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads: expected a whole number of at least 1, or None, got {threads!r}")
    return threads


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    try:
        return torch.empty(shape, dtype=dtype)
    except RuntimeError as error:  # torch's allocator raises no MemoryError
        gib = np.prod(shape, dtype=np.float64) / 2**30
        raise ValueError(
            f"no memory for {shape[0]} images of {shape[-2]}x{shape[-1]} ({gib:.1f} GiB): "
            "choose a smaller size or a subset"
        ) from error


def _height_width(size: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        raise ValueError(f"size: expected two whole numbers (height, width), got {size!r}") from None
    if height < 1 or width < 1:
        raise ValueError(f"size: expected a height and a width of at least 1 pixel, got {size!r}")
    return height, width


__all__ = ["iterate_batches", "load_images", "load_masks", "load_parts", "memory_needed"]
