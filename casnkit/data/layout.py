"""Finding a benchmark on a disk: folders by search, and messages that say what was found, expected and to be done.

Every project asks for another directory name, so only the folders that hold the pictures are looked for, at the given
folder or a few levels below it. Nothing is decoded and nothing is fetched here.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

MARKET_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
SEARCH_DEPTH = 3
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z")
# Beside the three folders these hold pictures only, and listing half a million names takes time.
_LEAVES = {*MARKET_FOLDERS, "gt_bbox", "gt_query", "masks", "parts", "images", "distractors", "distractors_500k"}
_CROWDED = 200  # a folder with more subfolders holds identities, not data sets
_MOST_FOLDERS = 20_000

WHERE_TO_GET = {
    "people": "It is generated: `casnkit data synthesize` writes it.",
    "market1501": "The authors hand it out at https://zheng-lab-anu.github.io/Project/project_reid.html.",
    "dukemtmc-reid": (
        "DukeMTMC-reID was withdrawn by its authors in 2019: casnkit reads a copy that you hold and fetches none."
    ),
    "cuhk03-np": (
        "Ready-made folders and the new-protocol .mat files are described at "
        "https://github.com/zhunzhong07/person-re-ranking; cuhk-03.mat comes from "
        "https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html."
    ),
    "msmt17": "It is given on request at https://www.pkuvmc.com/dataset.html.",
    "folder": "See `casnkit.data.folder` for the two arrangements of own pictures that are read.",
}


def where_to_get(name: str) -> str:
    """One sentence on where the set ``name`` can be had; empty for ``auto``."""
    return WHERE_TO_GET.get("cuhk03-np" if name.startswith("cuhk03-np") else name, "")


def list_pictures(folder: Path, suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> tuple[list[str], list[str]]:
    """Sorted names of the pictures directly in ``folder``, and of its other files; hidden files are ignored."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir())
    pictures = [name for name in names if name.lower().endswith(suffixes)]
    return pictures, [name for name in names if not name.lower().endswith(suffixes)]


def subfolders(folder: Path) -> list[str]:
    """Sorted names of the folders directly in ``folder``; hidden and half-written (``*.part``) ones are ignored."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError:  # unreadable or vanished: as good as empty for a search
        return []
    return sorted(name for name in names if not name.startswith(".") and not name.endswith(".part"))


def walk(root: Path, depth: int = SEARCH_DEPTH) -> Iterator[Path]:
    """``root`` and the folders up to ``depth`` levels below it, nearest first, without looking into picture folders."""
    level, seen = [Path(root)], 0
    for remaining in range(depth, -1, -1):
        following = []
        for folder in level:
            seen += 1
            if seen > _MOST_FOLDERS:
                return
            yield folder
            if remaining:
                names = subfolders(folder)
                leaves = _LEAVES if any(name in MARKET_FOLDERS for name in names) else ()
                following += [folder / name for name in names if name not in leaves and len(names) <= _CROWDED]
        level = following


def find_folders(root: Path, wanted: tuple[str, ...], depth: int = SEARCH_DEPTH) -> list[Path]:
    """All folders at or below ``root`` that contain every folder or file named in ``wanted``."""
    return [folder for folder in walk(root, depth) if all((folder / name).exists() for name in wanted)]


def find_file(root: Path, name: str, depth: int = SEARCH_DEPTH) -> Path | None:
    """The nearest file called ``name`` at or below ``root``, or None."""
    return next((folder / name for folder in walk(root, depth) if (folder / name).is_file()), None)


def require_folder(root: str | Path, name: str) -> Path:
    """``root`` as an absolute path.

    Raises:
        ValueError: there is no such folder (the nearest names are listed), or it is a file or an archive.
    """
    path = Path(root).expanduser().absolute()
    if path.is_dir():
        return path
    if path.is_file():
        what = "a packed archive: unpack it first and give" if is_archive(path.name) else "a file: give"
        raise ValueError(f"{name}: expected a folder, found {path}, {what} the folder that holds its pictures.")
    parent = next(folder for folder in path.parents if folder.is_dir())
    near = difflib.get_close_matches(path.relative_to(parent).parts[0], subfolders(parent), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(str(parent / n) for n in near)}?" if near else ""
    raise ValueError(
        f"{name}: expected a folder at {path}, found none ({parent} is there).{hint} {where_to_get(name)}".rstrip()
    )


def is_archive(name: str) -> bool:
    """Whether a file name is that of a packed archive."""
    return name.lower().endswith(_ARCHIVES)


def missing_message(name: str, root: Path, wanted: tuple[str, ...], expected: str) -> str:
    """Why the set ``name`` was not found at ``root``: what lies there, near misses, and where the set can be had."""
    found = [f"{folder}/" for folder in subfolders(root)] + list_pictures(root)[1]
    pictures = len(list_pictures(root)[0])
    shown = ", ".join(found[:12]) + (f" and {len(found) - 12} more" if len(found) > 12 else "")
    parts = [shown] if shown else []
    parts += [f"{pictures} pictures"] if pictures else []
    message = [
        f"{name}: expected {expected} in {root} or up to {SEARCH_DEPTH} levels below it.",
        f"Found there: {'; '.join(parts) or 'nothing, the folder is empty'}.",
        *_near_misses(root, wanted),
        where_to_get(name),
    ]
    return " ".join(message)


def _near_misses(root: Path, wanted: tuple[str, ...]) -> Iterator[str]:
    for above in list(root.parents)[:2]:
        if all((above / name).exists() for name in wanted):
            yield f"This is the wrong level of folder: give {above}, which holds {', '.join(wanted)}."
            return
    if root.name in wanted:
        yield f"This is the wrong level of folder, it looks like a part of the set: give the one above, {root.parent}."
    partial = {folder: [name for name in wanted if (folder / name).exists()] for folder in walk(root)}
    best = max(partial, key=lambda folder: len(partial[folder]))
    if partial[best]:
        missing = [name for name in wanted if name not in partial[best]]
        yield f"{best} holds {', '.join(partial[best])} but lacks {', '.join(missing)}."
    packed = [
        str(folder / name) for folder in walk(root, depth=1) for name in list_pictures(folder)[1] if is_archive(name)
    ]
    if packed:
        yield f"Still packed: {', '.join(packed[:4])}; unpack it first."
