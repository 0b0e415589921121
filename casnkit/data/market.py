"""Reader of Market-1501's layout, which DukeMTMC-reID, CUHK03-NP's ready-made folders and the generated people share.

Three folders of pictures called ``<pid>_c<camera>...``: ``0001_c1s1_001051_00.jpg`` (Market-1501),
``0001_c2_f0046302.jpg`` (DukeMTMC-reID), ``0001_c1_1.png`` (CUHK03-NP). pid -1 is junk and pid 0 a distractor: both
stay in the gallery, neither is ever trained on or asked for. The pattern is applied to the file's name alone, because
a path such as ``/data/run-2_c9/...`` would match it too.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from casnkit.data.layout import MARKET_FOLDERS, find_folders, list_pictures, missing_message, require_folder
from casnkit.data.records import DISTRACTOR_PID, UNKNOWN_CAMERA, ReidDataset, Split
from casnkit.files import read_json

NAME_PATTERN = re.compile(r"(-?\d+)_c(\d+)")
_DUKE_NAME = re.compile(r"\d+_c\d+_f\d+")
_DISTRACTOR_FOLDERS = ("images", "distractors", "distractors_500k")
_EXPECTED = f"the folders {MARKET_FOLDERS[0]}, {MARKET_FOLDERS[1]} and {MARKET_FOLDERS[2]}"


def kind_of(folder: Path) -> str:
    """Which set lies in a ``folder`` of Market layout, judged by its tables, its name and its first query's name."""
    if is_people(folder):
        return "people"
    if folder.name in ("detected", "labeled"):
        return f"cuhk03-np-{folder.name}"
    names = list_pictures(folder / "query")[0]
    return "dukemtmc-reid" if names and _DUKE_NAME.match(names[0]) else "market1501"


def is_people(folder: Path) -> bool:
    """Whether ``folder`` holds generated people, complete or not."""
    return (folder / "people.json").is_file() or (folder / "people.part.json").is_file()


def open_market_layout(name: str, root: Path, distractors_500k: bool = False) -> ReidDataset:
    """Read a set of Market layout at or below ``root``; ``name`` is the set's name in messages and results.

    Raises:
        ValueError: the three folders are missing, several sets lie there, or no file name fits the pattern.
    """
    root = require_folder(root, name)
    folder, notes = _choose(name, root, find_folders(root, MARKET_FOLDERS))
    train, query, gallery = (
        _read_split(folder, sub, split, notes)
        for sub, split in zip(MARKET_FOLDERS, ("train", "query", "gallery"), strict=True)
    )
    extra = next((folder / sub for sub in _DISTRACTOR_FOLDERS if (folder / sub).is_dir()), None)
    if distractors_500k:
        gallery = _append_distractors(name, folder, extra, gallery, notes)
    elif extra is not None and name == "market1501":
        notes.append(f"extra distractors lie in {extra.name}/ and are left out; distractors_500k=True adds them")
    tables = {"attributes": folder / "attributes.csv"} if (folder / "attributes.csv").is_file() else {}
    return ReidDataset(name, folder, train, query, gallery, tuple(notes), tables)


def open_people(root: str | Path) -> ReidDataset:
    """Read a folder of generated people (Market layout with masks, body parts and a table of attributes).

    Raises:
        ValueError: nothing was generated there, or the generation was interrupted.
    """
    root = require_folder(root, "people")
    parts = [folder for folder in (root, *find_folders(root, ("people.part.json",))) if is_people(folder)]
    for folder in parts:
        if not (folder / "people.json").is_file():
            raise ValueError(
                f"people: the generation in {folder} was interrupted and the set is incomplete. "
                f"Run `casnkit data synthesize` again with the same folder and size: it goes on where it stopped."
            )
    dataset = open_market_layout("people", root)
    if not (dataset.root / "people.json").is_file():
        raise ValueError(f"people: expected people.json in {dataset.root}, found none: these are not generated people.")
    header = read_json(dataset.root / "people.json")
    told = ", ".join(f"{key} {header[key]}" for key in ("size", "seed", "version") if key in header)
    notes = (f"generated people: {told}",) if told else ()
    return ReidDataset(**{**vars(dataset), "notes": notes + dataset.notes})


def parse_names(names: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(keep, pids, camids)``: which file names fit the pattern, and the numbers of those that do."""
    matches = [NAME_PATTERN.match(name) for name in names]
    keep = np.array([match is not None for match in matches], dtype=bool)
    numbers = np.array([[int(m[1]), int(m[2])] for m in matches if m is not None], dtype=np.int64).reshape(-1, 2)
    return keep, numbers[:, 0], numbers[:, 1]


def _choose(name: str, root: Path, candidates: list[Path]) -> tuple[Path, list[str]]:
    """The one folder that is meant, and notes on doubts about it."""
    if not candidates:
        raise ValueError(missing_message(name, root, MARKET_FOLDERS, _EXPECTED))
    kinds = {folder: kind_of(folder) for folder in candidates}
    fitting = [folder for folder in candidates if kinds[folder] == name] or candidates
    if len(fitting) > 1:
        listed = "; ".join(f"{folder} ({kinds[folder]})" for folder in fitting[:6])
        raise ValueError(f"{name}: {len(fitting)} sets lie below {root}: {listed}. Give the folder of one of them.")
    folder = fitting[0]
    doubt = kinds[folder] != name and not (kinds[folder] == "market1501" and name.startswith("cuhk03-np"))
    return folder, [f"opened as {name}, yet this looks like {kinds[folder]}"] if doubt else []


def _read_split(folder: Path, sub: str, name: str, notes: list[str]) -> Split:
    names, others = list_pictures(folder / sub)
    keep, pids, camids = parse_names(names)
    skipped = others + [n for n, kept in zip(names, keep, strict=True) if not kept]
    if skipped:
        shown = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        notes.append(
            f"{sub}: {len(skipped)} files that are not called <pid>_c<camera>....jpg or .png skipped ({shown})"
        )
    if not len(pids):
        raise ValueError(
            f"{name} is empty: {folder / sub} holds no picture called like 0001_c1s1_000151_00.jpg "
            f"({len(names)} pictures, {len(others)} other files). Unpack the set again; own pictures open as 'folder'."
        )
    paths = np.array([str(folder / sub / n) for n, kept in zip(names, keep, strict=True) if kept])
    split = Split(paths, pids, camids, name, _side(folder, "masks"), _side(folder, "parts"))
    if name != "gallery" and (pids <= 0).any():
        notes.append(f"{sub}: {int((pids <= 0).sum())} junk or distractor images (pid -1 or 0) left out")
        split = split.subset(pids > 0)
    return split


def _side(folder: Path, sub: str) -> Path | None:
    return folder / sub if (folder / sub).is_dir() else None


def _append_distractors(name: str, folder: Path, extra: Path | None, gallery: Split, notes: list[str]) -> Split:
    names = list_pictures(extra)[0] if extra is not None else []
    if not names:
        raise ValueError(
            f"{name}: distractors_500k=True expects pictures in {'/, '.join(_DISTRACTOR_FOLDERS)}/ in {folder}, "
            "found none. Unpack distractors_500k.zip there; it is on the page of Market-1501."
        )
    notes.append(f"{len(names)} extra distractors from {extra.name}/ appended to the gallery (pid 0, camera unknown)")
    return Split(
        np.concatenate([gallery.paths, [str(extra / n) for n in names]]),
        np.concatenate([gallery.pids, np.full(len(names), DISTRACTOR_PID)]),
        np.concatenate([gallery.camids, np.full(len(names), UNKNOWN_CAMERA)]),
        gallery.name,
        gallery.mask_folder,
        gallery.part_folder,
    )
