r"""Reader of own pictures: one folder for each identity.

Two arrangements are read:

- ``root/{train,query,gallery}/<identity>/*.jpg``: the split is yours;
- ``root/<identity>/*.jpg``: identities are sorted, the first half trains, the second is the test; of a test identity
  the first image of each camera is a query and the rest are gallery.

A camera is taken from a file's name by a pattern with one group, e.g. ``camera_pattern=r"cam(\d+)"``. Without cameras
the same-camera rule of the protocol is off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from casnkit.data.layout import list_pictures, missing_message, require_folder, subfolders
from casnkit.data.market import NAME_PATTERN
from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, UNKNOWN_CAMERA, ReidDataset, Split

SPLITS = ("train", "query", "gallery")
OWN_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_SPECIAL = {"-1": JUNK_PID, "0000": DISTRACTOR_PID}  # Market-1501's own names, kept by conversions to folders
_EXPECTED = "train/, query/ and gallery/ with one folder per identity, or one folder per identity,"


@dataclass(frozen=True)
class _Picture:
    path: Path
    identity: str
    camera: str | None


def open_folder(root: str | Path, camera_pattern: str | None = None, require_train: bool = True) -> ReidDataset:
    """Read own pictures, one folder per identity, below ``root``.

    Raises:
        ValueError: no arrangement is recognised, a split is missing, or the pattern is no expression with one group.
    """
    root = require_folder(root, "folder")
    pattern = _compile(camera_pattern)
    present = [name for name in SPLITS if (root / name).is_dir()]
    if present:
        pictures, notes = _read_splits(root, present, pattern, require_train)
    else:
        pictures, notes = _split_flat(root, _read_identities(root, pattern, notes := []), notes)
    pid_of, camera_of = _numbers(pictures, notes), _cameras(pictures, camera_pattern, notes)
    train, query, gallery = (_to_split(pictures[name], name, pid_of, camera_of) for name in SPLITS)
    notes += _same_files(query, gallery)
    return ReidDataset("folder", root, train, query, gallery, tuple(notes))


def looks_like_folder(root: Path) -> bool:
    """Whether ``root`` has one of the two arrangements (the names alone are looked at)."""
    names = subfolders(root)
    if "query" in names and "gallery" in names:
        return any(subfolders(root / name) for name in ("query", "gallery"))
    reserved = any(name.startswith("bounding_box") or name in ("query", "gallery", "train") for name in names)
    return not reserved and sum(bool(list_pictures(root / name, OWN_SUFFIXES)[0]) for name in names[:50]) >= 2


def _compile(camera_pattern: str | None) -> re.Pattern[str] | None:
    if camera_pattern is None:
        return None
    try:
        pattern = re.compile(camera_pattern)
    except re.error as error:
        raise ValueError(f"camera_pattern: expected a regular expression, got {camera_pattern!r} ({error})") from error
    if pattern.groups != 1:
        raise ValueError(
            rf"camera_pattern: expected exactly one group, e.g. 'cam(\d+)', got {pattern.groups} in {camera_pattern!r}"
        )
    return pattern


def _read_splits(
    root: Path, present: list[str], pattern: re.Pattern[str] | None, require_train: bool
) -> tuple[dict[str, list[_Picture]], list[str]]:
    notes: list[str] = []
    missing = [name for name in SPLITS if name not in present and (require_train or name != "train")]
    if missing:
        raise ValueError(
            f"folder: {root} holds {', '.join(f'{name}/' for name in present)} but lacks "
            f"{', '.join(f'{name}/' for name in missing)}. Each needs one folder per identity; "
            "without train/ only an evaluation is possible (require_train=False)."
        )
    return {name: _read_identities(root / name, pattern, notes) if name in present else [] for name in SPLITS}, notes


def _read_identities(folder: Path, pattern: re.Pattern[str] | None, notes: list[str]) -> list[_Picture]:
    """All pictures of ``folder/<identity>/``, sorted by path."""
    loose = list_pictures(folder, OWN_SUFFIXES)[0]
    names = subfolders(folder)
    found: list[_Picture] = []
    for identity in names:
        for name in list_pictures(folder / identity, OWN_SUFFIXES)[0]:
            match = pattern.search(name) if pattern else None
            found.append(_Picture(folder / identity / name, identity, match[1] if match else None))
    if not found:
        hint = " The pictures lie loose: this is the wrong level, each identity needs a folder." if loose else ""
        raise ValueError(missing_message("folder", folder, SPLITS, _EXPECTED) + hint)
    if loose:
        notes.append(f"{folder.name}: {len(loose)} pictures outside any identity's folder left out")
    empty = set(names) - {picture.identity for picture in found}
    if empty:
        notes.append(f"{folder.name}: {len(empty)} folders without pictures ({', '.join(sorted(empty)[:3])})")
    return found


def _split_flat(root: Path, pictures: list[_Picture], notes: list[str]) -> tuple[dict[str, list[_Picture]], list[str]]:
    identities = sorted({picture.identity for picture in pictures})
    if len(identities) < 2:
        raise ValueError(
            f"folder: {root} holds one identity ({identities[0]}), expected at least two: one trains, one tests."
        )
    half = len(identities) // 2
    trained = set(identities[:half])
    result: dict[str, list[_Picture]] = {
        "train": [p for p in pictures if p.identity in trained],
        "query": [],
        "gallery": [],
    }
    for identity in identities[half:]:
        own = [picture for picture in pictures if picture.identity == identity]
        first = list({picture.camera: picture for picture in reversed(own)}.values())
        if len(first) == len(own):  # one image per camera: keep something to be found
            first = own[:1]
        result["query"] += [picture for picture in own if picture in first]
        result["gallery"] += [picture for picture in own if picture not in first]
    notes.append(
        f"no train/, query/, gallery/: of {len(identities)} identities the first {half} train, the other "
        f"{len(identities) - half} test; their first image of each camera is a query, the rest gallery"
    )
    return result, notes


def _numbers(pictures: dict[str, list[_Picture]], notes: list[str]) -> dict[str, int]:
    """pid of each identity's folder name."""
    names = {split: {picture.identity for picture in own} for split, own in pictures.items()}
    special = {n: pid for n, pid in _SPECIAL.items() if n in names["gallery"] - names["train"] - names["query"]}
    ordinary = sorted(set().union(*names.values()) - set(special))
    if special:
        notes.append(f"gallery/{' and gallery/'.join(special)}: read as Market-1501 means them (-1 junk, 0 distractor)")
    integers = [int(name) for name in ordinary if name.isdecimal() and int(name) > 0]
    if len(set(integers)) == len(ordinary):
        return dict(zip(ordinary, integers, strict=True)) | special
    notes.append(f"identities are numbered 1 .. {len(ordinary)} in the order of their folders' names")
    return {name: i for i, name in enumerate(ordinary, 1)} | special


def _cameras(
    pictures: dict[str, list[_Picture]], camera_pattern: str | None, notes: list[str]
) -> dict[str | None, int]:
    """Camera number of each text that the pattern found; None (nothing found) is unknown."""
    every = [picture for own in pictures.values() for picture in own]
    unknown: dict[str | None, int] = {None: UNKNOWN_CAMERA}
    texts = sorted({picture.camera for picture in every if picture.camera is not None})
    if not texts:
        hint = _pattern_hint(every) if camera_pattern is None else f"; no name fits camera_pattern={camera_pattern!r}"
        notes.append(f"cameras are unknown, so the same-camera rule is off: results look better than with it{hint}")
        return unknown
    without = sum(picture.camera is None for picture in every)
    if without:
        notes.append(f"{without} of {len(every)} names do not fit camera_pattern: for them the same-camera rule is off")
    if all(text.isdecimal() for text in texts):
        return unknown | {text: int(text) for text in texts}
    notes.append("cameras: " + ", ".join(f"{text} is {i}" for i, text in enumerate(texts, 1)))
    return unknown | {text: i for i, text in enumerate(texts, 1)}


def _pattern_hint(every: list[_Picture]) -> str:
    fitting = bool(every) and all(NAME_PATTERN.match(picture.path.name) for picture in every)
    return r"; the names look like Market-1501's: camera_pattern='_c(\d+)' would read them" if fitting else ""


def _to_split(
    pictures: Iterable[_Picture], name: str, pid_of: dict[str, int], camera_of: dict[str | None, int]
) -> Split:
    own = list(pictures)
    return Split(
        [str(p.path) for p in own], [pid_of[p.identity] for p in own], [camera_of[p.camera] for p in own], name
    )


def _same_files(query: Split, gallery: Split) -> list[str]:
    """A note where a query lies in the gallery too (same identity, same bytes): it would find itself."""
    count = 0
    for path, pid in zip(query.paths, query.pids, strict=True):
        size = Path(path).stat().st_size
        same_size = (p for p in gallery.paths[gallery.pids == pid] if Path(p).stat().st_size == size)
        count += any(Path(p).read_bytes() == Path(path).read_bytes() for p in same_size)
    if not count:
        return []
    return [
        f"{count} of {len(query)} queries lie in the gallery as the same file: each finds itself, results are too good"
    ]


__all__ = ["OWN_SUFFIXES", "SPLITS", "looks_like_folder", "open_folder"]
