"""Finding a data set on a disk: folders by search, and messages that say what was found, expected and to be done.

Every project asks for another directory name, so only the folders that hold the pictures are looked for, at the given
folder or a few levels below it. Nothing is decoded and nothing is fetched here.
"""

import difflib
import filecmp
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, UNKNOWN_CAMERA

SPLITS = ("train", "query", "gallery")
MARKET_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z")
# Beside Market-1501's folders these hold pictures only, and listing half a million names takes time.
LEAVES = {*MARKET_FOLDERS, "gt_bbox", "gt_query", "masks", "parts", "images", "distractors", "distractors_500k"}
DEPTH, CROWDED, MOST_FOLDERS = 3, 200, 20_000  # levels below; subfolders of a folder that holds identities; in all


class NotFound(ValueError):  # noqa: N818
    """A data set is not where it was looked for."""


def listing(folder: Path) -> tuple[list[str], list[str], list[str]]:
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
            names = listing(folder)[0] if level < depth else []
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


def to_folder(root: str | Path, name: str) -> Path:
    """``root`` as an absolute path. Raises NotFound, naming the nearest folders, where it is no folder."""
    path = Path(root).expanduser().absolute()
    if path.is_dir():
        return path
    if path.is_file():
        packed = "a packed archive: unpack it first" if path.name.lower().endswith(ARCHIVES) else "a file"
        raise NotFound(f"{name}: expected a folder, found {path}, {packed}. Give the folder that holds the pictures.")
    parent = next(folder for folder in path.parents if folder.is_dir())
    near = difflib.get_close_matches(path.relative_to(parent).parts[0], listing(parent)[0], n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(str(parent / n) for n in near)}?" if near else ""
    raise NotFound(f"{name}: expected a folder at {path}, found none ({parent} is there).{hint}")


def missing(name: str, root: Path, wanted: tuple[str, ...], expected: str = "") -> NotFound:
    """The error that the set ``name`` is not at ``root``: what was expected, what lies there, and near misses."""
    folders, pictures, others = listing(root)
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
    packed = [str(folder / name) for folder in walk(root, 1) for name in listing(folder)[2]]
    packed = [path for path in packed if path.lower().endswith(ARCHIVES)]
    if packed:
        told.append(f"Still packed: {', '.join(packed[:4])}; unpack it first.")
    return NotFound(" ".join(told))


MARKET_NAME = re.compile(r"(-?\d+)_c(\d+)")


def market_images(folder: Path, notes: list[str]) -> list[tuple]:
    """``(split, path, pid, camid)`` in Market-1501's layout, shared by DukeMTMC-reID, CUHK03-NP and the drawn people.

    Three folders of pictures called ``0001_c1s1_001051_00.jpg``, ``0001_c2_f0046302.jpg``, ``0001_c1_1.png``. The pattern
    is applied to the file's name alone, because a path such as ``/data/run-2_c9/...`` would match it too.
    """
    images = []
    for sub, split in zip(MARKET_FOLDERS, SPLITS, strict=True):
        _, pictures, skipped = listing(folder / sub)
        for file in pictures:
            if match := MARKET_NAME.match(file):
                images.append((split, str(folder / sub / file), int(match[1]), int(match[2])))
            else:
                skipped.append(file)
        if skipped:
            shown = ", ".join(skipped[:3]) + ", ..." * (len(skipped) > 3)
            notes.append(f"{sub}: {len(skipped)} files that are not called <pid>_c<camera>....jpg skipped ({shown})")
    return images


MSMT_LINE = re.compile(r"((?:.*/)?[^/_]+_[^/_]+_(\d+)_[^/]*) (\d+)")


def msmt_images(file: Path, pictures: Path, split: str, offset: int) -> list[tuple]:
    """``(split, path, pid, camid)`` of each line ``<path> <number>`` of a list of MSMT17; pid is number + ``offset``.

    The third field of a picture's name is its camera.
    """
    images = []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if match := MSMT_LINE.fullmatch(line.strip().replace("\\", "/")):
            images.append((split, str(pictures / match[1]), int(match[3]) + offset, int(match[2])))
        elif line.strip():
            expected = "`0000/0000_000_01_....jpg 0`"
            raise NotFound(f"msmt17: expected {expected} in line {number} of {file}, found {line.strip()[:80]!r}.")
    # Listing folders: a hundred thousand single look-ups are slow on a network disk.
    folders = {Path(path).parent for _, path, _, _ in images}
    there = {str(folder / name) for folder in folders if folder.is_dir() for name in listing(folder)[1]}
    absent = sorted(path for _, path, _, _ in images if path not in there)
    if absent:
        raise NotFound(f"msmt17: {file.name} names {len(absent)} of {len(images)} absent pictures: {absent[:3]}")
    return images


OWN_SPECIAL = {"-1": JUNK_PID, "0000": DISTRACTOR_PID}  # Market-1501's own names, kept by conversions to folders


def holds_own(root: Path) -> bool:
    """Whether own pictures lie in ``root``, in one of the two arrangements of :func:`own_images`."""
    names = listing(root)[0]
    if {"query", "gallery"} <= set(names):
        return any(listing(root / name)[0] for name in ("query", "gallery"))
    reserved = any(name.startswith("bounding_box") or name in SPLITS for name in names)
    return not reserved and sum(bool(listing(root / name)[1]) for name in names[:50]) >= 2


def own_images(root: Path, notes: list[str], camera_pattern: str | None, require_train: bool) -> pd.DataFrame:
    """Own pictures, ``root/{train,query,gallery}/<identity>/*.jpg`` or ``root/<identity>/*.jpg``: split, path, pid, camid.

    Of the second arrangement the first half of the identities trains and the rest is the test. The camera is what
    ``camera_pattern``, a regular expression with one group, finds in a file's name; else the same-camera rule is off.
    """
    try:
        groups = re.compile(camera_pattern or "()").groups
    except re.error as error:
        raise ValueError(f"camera_pattern: expected a regular expression, got {camera_pattern!r} ({error})") from error
    if groups != 1:
        raise ValueError(rf"camera_pattern: expected one group, e.g. 'cam(\d+)', got {groups} in {camera_pattern!r}")
    present = [split for split in SPLITS if (root / split).is_dir()]
    lacking = [split for split in SPLITS if split not in present and (require_train or split != "train")]
    if present and lacking:
        raise NotFound(f"folder: {root} holds {'/, '.join(present)}/ but lacks {'/, '.join(lacking)}/.")
    places = [(split, identity) for split in present or [""] for identity in listing(root / split)[0]]
    found = [(*place, file) for place in places for file in listing(root.joinpath(*place))[1]]
    loose = sum(len(listing(root / split)[1]) for split in present or [""])
    if not found:
        hint = " The pictures lie loose: this is the wrong level, each identity needs a folder." if loose else ""
        raise NotFound(f"{missing('folder', root, SPLITS, 'one folder per identity')}{hint}")
    empty = len(places) - len({place[:2] for place in found})
    if loose or empty:
        notes.append(f"left out: {loose} pictures outside any identity's folder, {empty} folders without pictures")
    table = pd.DataFrame(found, columns=["split", "identity", "file"])
    table["path"] = [str(root.joinpath(*place)) for place in found]
    table["camera"] = table.file.str.extract(camera_pattern, expand=False) if camera_pattern else None
    if not present:
        table["split"] = _halves(root, table, notes)
    table["pid"], table["camid"] = _own_pids(table, notes), _own_cameras(table, camera_pattern, notes)
    if same := sum(_in_gallery(table, query) for query in table[table.split == "query"].itertuples()):
        notes.append(f"{same} queries lie in the gallery as the same file: results are too good")
    return table


def _in_gallery(table: pd.DataFrame, query: tuple) -> bool:
    """Whether a query's very file lies in the gallery too: it would find itself."""
    own = table.path[(table.split == "gallery") & (table.pid == query.pid)]
    return any(filecmp.cmp(query.path, path, shallow=False) for path in own)


def _halves(root: Path, table: pd.DataFrame, notes: list[str]) -> np.ndarray:
    """The split of each picture: the first half of the people trains; first pictures of each camera are queries."""
    identities = sorted(set(table.identity))
    half = len(identities) // 2
    if not half:
        raise ValueError(f"folder: {root} holds one identity ({identities[0]}), expected two: one trains, one tests.")
    counts = f"of {len(identities)} identities the first {half} train, the other {len(identities) - half} test"
    notes.append(
        f"no train/, query/, gallery/: {counts}; their first image of each camera is a query, the rest gallery"
    )
    first = ~table.duplicated(["identity", "camera"])
    all_first = first.groupby(table.identity).transform("all")  # one image per camera: keep something to be found
    query = first & ~(all_first & table.duplicated("identity"))
    return np.select([table.identity.isin(identities[:half]), query], ["train", "query"], "gallery")


def _own_pids(table: pd.DataFrame, notes: list[str]) -> pd.Series:
    gallery_alone = set(table.identity) - set(table.identity[table.split != "gallery"])
    special = {name: pid for name, pid in OWN_SPECIAL.items() if name in gallery_alone}
    if special:
        notes.append(f"gallery/{' and gallery/'.join(special)}: read as Market-1501 means them (-1 junk, 0 distractor)")
    names = sorted(set(table.identity) - set(special))
    pids = {name: int(name) for name in names if name.isdecimal() and int(name) > 0}
    if len(set(pids.values())) < len(names):
        pids = {name: i for i, name in enumerate(names, 1)}
        notes.append(f"identities are numbered 1 .. {len(names)} in the order of their folders' names")
    return table.identity.map(pids | special)


def _own_cameras(table: pd.DataFrame, camera_pattern: str | None, notes: list[str]) -> list[int]:
    texts, unknown = sorted(table.camera.dropna().unique()), int(table.camera.isna().sum())
    if unknown:
        looks = not camera_pattern and all(map(MARKET_NAME.match, table.file))
        hint = r"; the names look like Market-1501's: camera_pattern='_c(\d+)' would read them" if looks else ""
        notes.append(
            f"{unknown} of {len(table)} cameras are unknown (camera_pattern={camera_pattern!r}): for them the same-camera "
            f"rule is off, and results look better than with it{hint}"
        )
    camids = {text: int(text) for text in texts if text.isdecimal()}
    if len(camids) < len(texts):
        camids = {text: i for i, text in enumerate(texts, 1)}
        notes.append("cameras: " + ", ".join(f"{text} is {i}" for text, i in camids.items()))
    return [camids.get(text, UNKNOWN_CAMERA) for text in table.camera]
