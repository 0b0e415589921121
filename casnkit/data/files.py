"""Writing files so that nothing is ever half there.

Every result, picture and checkpoint goes through :func:`atomic_path`: it is written under a temporary name in the same
folder and renamed only when complete, so a reader sees the old file or the new one, never a part.
"""

import contextlib
import errno
import json
import math
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


class DiskFullError(ValueError):
    """There was no room (or no quota) left for a file; whatever stood there before is untouched."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block ends well, remove it if not.

    Raises DiskFullError where the disk or the quota is full; the file that stood at ``path`` is kept.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem[:40]}.{uuid.uuid4().hex[:8]}.part{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        told = f"no space left on the disk while writing {target}, which was not changed: free some"
        raise DiskFullError(f"{told}, or choose another folder (--out), and run the same command again") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN and infinity are refused: JSON has no such numbers."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_text(path: str | os.PathLike) -> str:
    """The text of a regular file, UTF-8. Raises OSError for others (a named pipe would never end), ValueError for bytes."""
    if os.path.lexists(path) and not Path(path).is_file():
        raise OSError("it is no regular file")
    return Path(path).read_text(encoding="utf-8-sig")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """The object in a JSON file. Raises ValueError, naming the file, where it is missing, unreadable or anything else."""
    try:
        values = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON in {path}, could not read it ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object in {path}, found {type(values).__name__}")
    return values


def check_place(folder: str | os.PathLike) -> None:
    """Raise ValueError unless files can be written in a folder, or the folder made; nothing is left behind."""
    place, there = Path(folder).absolute(), None
    try:
        if Path(__file__).parents[1] in place.resolve().parents:
            raise ValueError("it lies in the package")
        while there is None:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                there = place.lstat() and place
            place = place.parent
        with tempfile.TemporaryFile(dir=there):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot write to {str(folder)[:300]}: {reason}; choose another folder") from error


def disk_array(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array to fill, in a temporary file in ``$TMPDIR``. Raises ValueError, with the sizes, where there is no room."""
    needed, place = math.prod(shape) * np.dtype(dtype).itemsize, tempfile.gettempdir()
    if needed > (free := shutil.disk_usage(place).free):
        sizes = f"{' x '.join(map(str, shape))} needs {needed / 2**30:.1f} GiB, {place} has {free / 2**30:.1f}"
        raise ValueError(f"an array of {sizes}: set TMPDIR to a folder on a larger disk, or take fewer images")
    return np.memmap(tempfile.TemporaryFile(), dtype, shape=shape)


def results_path(name: str) -> Path:
    """Where a published result lies: ``casnkit/results`` in an installed kit, ``figures/results`` in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "results" / name
    return installed if installed.is_file() else package.parent / "figures" / "results" / name


def printable(text: object) -> str:
    """Text of a stranger for the screen: control and bidirectional signs, and bytes that are no letters, as boxes."""
    return "".join(c if c.isprintable() else "\u25a1" for c in str(text))
