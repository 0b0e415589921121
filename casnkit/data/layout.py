"""Finding a data set on a disk: folders by search, and messages that say what was found, expected and to be done.

Every project asks for another directory name, so only the folders that hold the pictures are looked for, at the given
folder or a few levels below it. Nothing is decoded and nothing is fetched here.
"""

import difflib
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

MARKET_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z")
# Beside Market-1501's folders these hold pictures only, and listing half a million names takes time.
LEAVES = {*MARKET_FOLDERS, "gt_bbox", "gt_query", "masks", "parts", "images", "distractors", "distractors_500k"}
DEPTH, CROWDED, MOST_FOLDERS = 3, 200, 20_000  # levels below; subfolders of a folder that holds identities; in all


class NotFound(ValueError):  # noqa: N818
    """A data set is not where it was looked for."""


def contents(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Sorted names of subfolders, pictures and other files; hidden and half-written (``*.part``) ones are ignored."""
    with os.scandir(folder) as entries:
        found = sorted((e.name, e.is_dir()) for e in entries if e.name[0] != "." and not e.name.endswith(".part"))
    files = [name for name, is_folder in found if not is_folder]
    pictures = [name for name in files if name.lower().endswith(PICTURES)]
    others = [name for name in files if not name.lower().endswith(PICTURES)]
    return [name for name, is_folder in found if is_folder], pictures, others


def walk(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """``root`` and the folders up to ``depth`` levels below it, nearest first, without looking into picture folders."""
    waiting, seen = deque([(root, 0)]), 0
    while waiting and seen < MOST_FOLDERS:
        folder, level = waiting.popleft()
        seen += 1
        yield folder
        try:
            names = contents(folder)[0] if level < depth else []
        except OSError:  # unreadable or vanished: as good as empty for a search
            continue
        leaves = LEAVES if set(names) & set(MARKET_FOLDERS) else set()
        if len(names) <= CROWDED:
            waiting += [(folder / name, level + 1) for name in names if name not in leaves]


def holds(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether a folder has every subfolder and file named."""
    return all((folder / name).exists() for name in names)


def find_folders(root: Path, wanted: tuple[str, ...]) -> list[Path]:
    """All folders at or below ``root`` that contain every folder or file named in ``wanted``."""
    return [folder for folder in walk(root) if holds(folder, wanted)]


def require_folder(root: str | Path, name: str) -> Path:
    """``root`` as an absolute path. Raises NotFound, naming the nearest folders, where it is no folder."""
    path = Path(root).expanduser().absolute()
    if path.is_dir():
        return path
    if path.is_file():
        packed = "a packed archive: unpack it first" if path.name.lower().endswith(ARCHIVES) else "a file"
        raise NotFound(f"{name}: expected a folder, found {path}, {packed}. Give the folder that holds the pictures.")
    parent = next(folder for folder in path.parents if folder.is_dir())
    near = difflib.get_close_matches(path.relative_to(parent).parts[0], contents(parent)[0], n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(str(parent / n) for n in near)}?" if near else ""
    raise NotFound(f"{name}: expected a folder at {path}, found none ({parent} is there).{hint}")


def missing(name: str, root: Path, wanted: tuple[str, ...], expected: str = "") -> NotFound:
    """The error that the set ``name`` is not at ``root``: what was expected, what lies there, and near misses."""
    folders, pictures, others = contents(root)
    found = [f"{folder}/" for folder in folders] + others
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    told = [
        f"{name}: expected {expected or ', '.join(wanted)} in {root} or up to {DEPTH} levels below it.",
        f"Found there: {', '.join(found[:12]) or 'no folders'}{more}; {len(pictures)} pictures.",
    ]
    above = next((folder for folder in list(root.parents)[:2] if holds(folder, wanted)), None)
    if above:
        told.append(f"This is the wrong level of folder: give {above}, which holds {', '.join(wanted)}.")
    partial = {folder: [name for name in wanted if (folder / name).exists()] for folder in walk(root)}
    best = max(partial, key=lambda folder: len(partial[folder]))
    if partial[best]:
        lacking = ", ".join(name for name in wanted if name not in partial[best])
        told.append(f"{best} holds {', '.join(partial[best])} but lacks {lacking}.")
    packed = [str(folder / name) for folder in walk(root, 1) for name in contents(folder)[2]]
    packed = [path for path in packed if path.lower().endswith(ARCHIVES)]
    if packed:
        told.append(f"Still packed: {', '.join(packed[:4])}; unpack it first.")
    return NotFound(" ".join(told))
