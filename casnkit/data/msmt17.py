"""Reader of MSMT17: four lists of ``<path> <number>`` lines beside two folders of pictures.

Version 1 has ``train/`` and ``test/``, version 2 (faces masked) ``mask_train_v2/`` and ``mask_test_v2/``. The camera
is the third field of a file's name (``0000_015_03_0303morning_0031_1.jpg`` is camera 3). The lists count people from 0
both in training and in test; here training people are 1, 2, ... and test people follow them: 0 means distractor.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from casnkit.data.layout import find_folders, list_pictures, missing_message, require_folder
from casnkit.data.records import ReidDataset, Split

LISTS = ("list_train.txt", "list_query.txt", "list_gallery.txt")
_PICTURES = (("train", "test"), ("mask_train_v2", "mask_test_v2"))
_EXPECTED = "list_train.txt, list_val.txt, list_query.txt and list_gallery.txt beside train/ and test/"


def open_msmt17(root: str | Path) -> ReidDataset:
    """Read MSMT17 at or below ``root``; training takes list_train and list_val together (32,621 images).

    Raises:
        ValueError: lists or folders are missing, a line is no ``<path> <number>``, or listed files are not there.
    """
    root = require_folder(root, "msmt17")
    candidates = find_folders(root, LISTS)
    if not candidates:
        raise ValueError(missing_message("msmt17", root, LISTS, _EXPECTED))
    if len(candidates) > 1:
        raise ValueError(
            f"msmt17: several copies lie below {root}: {', '.join(map(str, candidates))}. Give one of them."
        )
    folder = candidates[0]
    train_folder, test_folder = _picture_folders(folder)
    notes: list[str] = []
    train = _train(folder, train_folder, notes)
    offset = int(train.pids.max(initial=0)) + 1
    query, gallery = (
        _read_list(folder / f"list_{name}.txt", test_folder, offset, name) for name in ("query", "gallery")
    )
    notes.append(f"test people are numbered from {offset} on: number in the list plus {offset}")
    return ReidDataset("msmt17", folder, train, query, gallery, tuple(notes))


def _picture_folders(folder: Path) -> tuple[Path, Path]:
    for train, test in _PICTURES:
        if (folder / train).is_dir() and (folder / test).is_dir():
            return folder / train, folder / test
    expected = " or ".join(f"{train}/ and {test}/" for train, test in _PICTURES)
    raise ValueError(f"msmt17: expected {expected} beside the lists in {folder}, found neither. Unpack the set again.")


def _train(folder: Path, pictures: Path, notes: list[str]) -> Split:
    train = _read_list(folder / "list_train.txt", pictures, 1, "train")
    if not (folder / "list_val.txt").is_file():
        notes.append("list_val.txt is missing: training takes list_train.txt alone")
        return train
    validation = _read_list(folder / "list_val.txt", pictures, 1, "train")
    notes.append(f"training takes list_train ({len(train)} images) and list_val ({len(validation)}) together")
    paths = np.concatenate([train.paths, validation.paths])
    order = np.argsort(paths, kind="stable")
    pids, camids = (np.concatenate([getattr(s, key) for s in (train, validation)]) for key in ("pids", "camids"))
    return Split(paths[order], pids[order], camids[order], "train")


def _read_list(file: Path, pictures: Path, offset: int, name: str) -> Split:
    rows = sorted(_parse(file, number, line) for number, line in enumerate(_lines(file), 1) if line.strip())
    _require_present(file, pictures, [row[0] for row in rows])
    paths = [str(pictures / relative) for relative, _, _ in rows]
    return Split(paths, [pid + offset for _, pid, _ in rows], [camid for _, _, camid in rows], name)


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines()


def _parse(file: Path, number: int, line: str) -> tuple[str, int, int]:
    """``(relative path, number in the list, camera)`` of one line."""
    relative, _, pid = line.strip().replace("\\", "/").rpartition(" ")
    fields = relative.rpartition("/")[2].split("_")
    if not pid.isdigit() or len(fields) < 4 or not fields[2].isdigit():
        raise ValueError(
            f"msmt17: expected `0000/0000_000_01_....jpg 0` in line {number} of {file}, found {line.strip()[:80]!r}. "
            "The list may be damaged: unpack the set again."
        )
    return relative.strip(), int(pid), int(fields[2])


def _require_present(file: Path, pictures: Path, relative: list[str]) -> None:
    """Compare the list with folder listings: a hundred thousand single look-ups are slow on a network disk."""
    folders = {path.rpartition("/")[0] for path in relative}
    there = {
        f"{sub}/{name}" if sub else name
        for sub in folders
        if (pictures / sub).is_dir()
        for name in list_pictures(pictures / sub)[0]
    }
    missing = [path for path in relative if path not in there]
    if missing:
        raise ValueError(
            f"msmt17: {file.name} names {len(missing)} of {len(relative)} pictures that are not in {pictures}, "
            f"e.g. {', '.join(missing[:3])}. Unpack the set again."
        )
