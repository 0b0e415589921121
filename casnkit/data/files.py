"""Writing files so that nothing is ever half there.

Every result, picture and checkpoint goes through :func:`atomic_path`: it is written under a temporary name in the same
folder and renamed only when complete, so a reader sees the old file or the new one, never a part.
"""

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file. Raises ValueError, naming the file, where it is missing, unreadable or no JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON in {path}, could not read it ({error})") from error


def results_path(name: str) -> Path:
    """Where a published result lies: ``casnkit/results`` in an installed kit, ``figures/results`` in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "results" / name
    return installed if installed.is_file() else package.parent / "figures" / "results" / name
