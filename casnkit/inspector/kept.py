"""What a network saw of a large split, kept on disk: the next time, the inspector opens in seconds.

    FOLDER/features.bin, maps.bin   plain float32, image after image
    FOLDER/kept.json                what they are of: read back only where weights, pictures and size are the same

Plain numbers and JSON: nothing is unpickled. A picture is known by its path, its size in bytes and its time of change;
whoever changes one and sets its time back is not noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from casnkit.data.files import atomic_path, read_json, write_json
from casnkit.experiments import results_folder
from casnkit.ranking import Extracted, fingerprint

from ..data.records import Split
from ..models import CASN

FORMAT, MARKER, NAMES = 1, "kept.json", ("features", "maps")
LEAST_IMAGES, MOST_BYTES = 1000, 2 * 2**30  # what is kept unasked: worth the while, and not too much of a disk


def key_of(model: CASN, split: Split, size: tuple[int, int]) -> str:
    """A digest of all that features and maps depend on: weights and their device, pictures, size of the images."""
    digest = hashlib.blake2b(digest_size=16)
    for path in split.paths:
        with contextlib.suppress(OSError):  # one that is missing is known by its name alone
            found = Path(path).stat()
            digest.update(f"{found.st_size} {found.st_mtime_ns} ".encode())
        digest.update(f"{path}\n".encode(errors="surrogateescape"))
    parameter = next(model.parameters())
    settings = {"format": FORMAT, "pictures": digest.hexdigest(), "size": size, "model": str(model.config),
                "type": str(parameter.dtype), "device": parameter.device.type, "torch": torch.__version__}  # fmt: skip
    return fingerprint(settings, *model.state_dict().values())


def read(folder: Path, key: str) -> tuple[Extracted, dict[int, str]] | None:
    """What is kept there, memory-mapped, and the unreadable pictures; None where it is of something else or damaged."""
    try:
        marker = read_json(folder / MARKER)
        if marker["format"] != FORMAT or marker["key"] != key:
            return None
        shapes = [tuple(map(int, marker["shapes"][name])) for name in NAMES]
        features, maps = (_opened(folder / f"{name}.bin", s) for name, s in zip(NAMES, shapes, strict=True))
        errors = {int(i): str(text) for i, text in marker["errors"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return None
    return Extracted(features.clone(), maps), errors


def write(folder: Path, key: str, outputs: Iterator[Extracted], errors: dict[int, str]) -> None:
    """Keep ``outputs``, batch after batch; the marker comes last, with ``errors`` as they are by then.

    Raises:
        DiskFullError: there is no room; nothing is kept then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).unlink(missing_ok=True)
    first, count = next(outputs), 0
    shapes = dict(zip(NAMES, (first.features.shape[1:], first.feature_maps.shape[1:]), strict=True))
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(stack.enter_context(atomic_path(folder / f"{n}.bin")).open("wb")) for n in NAMES]
        for part in itertools.chain([first], outputs):
            for file, tensor in zip(files, (part.features, part.feature_maps), strict=True):
                tensor.contiguous().numpy().tofile(file)
            count += len(part)
    whole: dict[str, Any] = {name: [count, *shape] for name, shape in shapes.items()}
    texts = {str(i): text for i, text in errors.items()}
    write_json(folder / MARKER, {"format": FORMAT, "key": key, "shapes": whole, "errors": texts})


def place_of(source: Any, cache: Path | None, name: str, split: Split, size: int) -> Path | None:
    """Where a split's features and maps are kept, or None: below ``cache``, or unasked below the run's own folder.

    Args:
        source: of the network; only a run's folder has a place of its own.
        cache: the folder that was asked for, or None.
        name: of the network.
        size: bytes of all features and maps.
    """
    if cache is not None:
        return cache / _file_name(name) / split.name
    if not isinstance(source, (str, Path)) or len(split) < LEAST_IMAGES or size > MOST_BYTES:
        return None
    with contextlib.suppress(OSError):
        folder = results_folder(source)  # never the package's
        if shutil.disk_usage(folder).free > 2 * size:
            return folder / "inspector" / split.name
    return None


def _opened(path: Path, shape: tuple[int, ...]) -> Tensor:
    if path.stat().st_size != 4 * int(np.prod(shape)):
        raise ValueError(f"{path}: expected {shape} numbers")
    # copy on write: torch wants writable memory, and the file must stay as it is
    return torch.from_numpy(np.memmap(path, np.float32, "c", shape=shape))


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)[:80]
