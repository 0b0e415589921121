"""CUHK03 in its raw form: ``cuhk-03.mat`` and the new protocol's ``cuhk03_new_protocol_config_<variant>.mat``.

The pictures are written out once as PNG, in the arrangement of the ready-made folders, beside the ``.mat`` file; from
then on the set is read like the others. An interrupted extraction stays as ``<variant>.part`` and is continued.

Inside ``cuhk-03.mat`` (MATLAB 7.3, thus HDF5) ``detected`` and ``labeled`` are (1, 5) arrays of references, one for
each pair of cameras; each leads to (10, people) references, image 1-5 from the first view and 6-10 from the second;
each of those to an image of shape (3, W, H), or to an empty cell. The protocol names an image by pair, person, view and
number: ``1_001_1_01.png``.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from casnkit._optional import require
from casnkit.data.layout import (
    MARKET_FOLDERS,
    find_file,
    find_folders,
    missing_message,
    require_folder,
    subfolders,
    where_to_get,
)
from casnkit.data.market import open_market_layout
from casnkit.data.records import ReidDataset
from casnkit.files import atomic_path

VARIANTS = ("detected", "labeled")
RAW_FILE = "cuhk-03.mat"
EXTRACTED = "cuhk03-np-extracted"
_EXPECTED = "{variant}/{{bounding_box_train,query,bounding_box_test}}, or cuhk-03.mat with {config},"
_INDEX_KEYS = ("train_idx", "query_idx", "gallery_idx")


def config_name(variant: str) -> str:
    """Name of the new protocol's file for ``variant``."""
    return f"cuhk03_new_protocol_config_{variant}.mat"


def open_cuhk03(name: str, root: str | Path, progress: bool = True) -> ReidDataset:
    """Read CUHK03-NP at or below ``root``; ``name`` is ``cuhk03-np-detected`` or ``cuhk03-np-labeled``.

    Ready-made folders are preferred; otherwise the raw files are extracted beside ``cuhk-03.mat``, once.

    Raises:
        ValueError: neither form is there, only the other variant is, or the raw files are damaged.
        ImportError: the raw form needs h5py and scipy.
    """
    root = require_folder(root, name)
    variant = name.rpartition("-")[2]
    folders = find_folders(root, MARKET_FOLDERS)
    named = [folder for folder in folders if folder.name == variant]
    unnamed = [folder for folder in folders if folder.name not in VARIANTS]
    raw = find_file(root, RAW_FILE)
    if named:
        folder = named[0]
    elif raw is not None:
        folder = extract(raw, _find_config(root, raw, variant), variant, progress=progress)
    elif len(unnamed) == 1:
        folder = unnamed[0]
    else:
        raise ValueError(_nothing_found(name, variant, root))
    dataset = open_market_layout(name, folder)
    note = f"CUHK03-NP: the {variant} boxes are in use ({', '.join(_others(variant))} ones give other numbers)"
    if folder.name not in VARIANTS:
        note += f"; the folder is not called so ({folder}): taken from the name that you gave"
    return ReidDataset(**{**vars(dataset), "notes": (note, *dataset.notes)})


def extract(raw: Path, config: Path, variant: str, progress: bool = True) -> Path:
    """Write the pictures of ``variant`` as PNG into ``cuhk03-np-extracted/<variant>`` beside ``raw``; return it.

    Raises:
        ValueError: a file cannot be read, a picture of the protocol is not in ``cuhk-03.mat``, or the disk is full.
    """
    target = raw.parent / EXTRACTED / variant
    if target.is_dir():
        return target
    h5py = require("h5py", "reading cuhk-03.mat", extra="raw")
    jobs = _jobs(config)
    partial = target.with_name(f"{variant}.part")
    try:
        with h5py.File(raw, "r") as file:
            _write_pictures(file, _table(file, variant, raw), jobs, partial, raw, progress)
    except PermissionError as error:
        raise ValueError(
            f"cannot read {raw} or write beside it ({error}): copy the .mat files to a folder of your own."
        ) from error
    except OSError as error:
        if target.is_dir():  # another process finished the same extraction meanwhile
            return target
        raise ValueError(
            f"expected a MATLAB 7.3 file at {raw}, could not read it: {error}. Unpack it again."
        ) from error
    if target.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        os.replace(partial, target)
    return target


def _others(variant: str) -> list[str]:
    return [other for other in VARIANTS if other != variant]


def _nothing_found(name: str, variant: str, root: Path) -> str:
    message = missing_message(
        name, root, MARKET_FOLDERS, _EXPECTED.format(variant=variant, config=config_name(variant))
    )
    other = _others(variant)[0]
    if root.name == other or other in subfolders(root):
        message += f" The {other} boxes are there: open them as cuhk03-np-{other}."
    return message


def _find_config(root: Path, raw: Path, variant: str) -> Path:
    config = find_file(root, config_name(variant)) or find_file(raw.parent, config_name(variant), depth=1)
    if config is None:
        raise ValueError(
            f"cuhk03-np-{variant}: found {raw}, but no {config_name(variant)} below {root}: it says which pictures are "
            f"for training, query and gallery. {where_to_get('cuhk03-np')}"
        )
    return config


def _jobs(config: Path) -> list[tuple[str, str]]:
    """``(name in the protocol, path to write)`` of every picture."""
    matlab = require("scipy.io.matlab", "reading CUHK03's protocol", extra="raw")
    try:
        protocol: dict[str, Any] = matlab.loadmat(config)
        names = [str(np.asarray(entry).ravel()[0]) for entry in protocol["filelist"].ravel()]
        labels, cameras = (protocol[key].ravel().astype(np.int64) for key in ("labels", "camId"))
        indices = [protocol[key].ravel().astype(np.int64) - 1 for key in _INDEX_KEYS]  # MATLAB counts from 1
    except (KeyError, IndexError, ValueError, TypeError, NotImplementedError, OSError, matlab.MatReadError) as error:
        raise ValueError(
            f"expected filelist, labels, camId, {', '.join(_INDEX_KEYS)} in {config}, could not read them ({error}). "
            f"{where_to_get('cuhk03-np')}"
        ) from error
    pids = labels + (1 if labels.min() == 0 else 0)  # 0 would mean distractor
    return [
        (names[i], f"{folder}/{pids[i]:04d}_c{cameras[i]}_{Path(names[i]).stem}.png")
        for folder, index in zip(MARKET_FOLDERS, indices, strict=True)
        for i in index
    ]


def _table(file: Any, variant: str, raw: Path) -> list[np.ndarray]:
    """For each pair of cameras the references to its images, (people, 10)."""
    if variant not in file:
        raise ValueError(f"expected {variant!r} in {raw}, found {', '.join(file) or 'nothing'}.")
    pairs = [np.asarray(file[reference]) for reference in np.asarray(file[variant]).ravel()]
    return [pair.T if pair.shape[0] == 10 else pair for pair in pairs]


def _write_pictures(
    file: Any, table: list[np.ndarray], jobs: list[tuple[str, str]], partial: Path, raw: Path, progress: bool
) -> None:
    tqdm = require("tqdm.auto", "the progress bar").tqdm
    for folder in MARKET_FOLDERS:
        (partial / folder).mkdir(parents=True, exist_ok=True)
    for name, relative in tqdm(jobs, desc=f"extracting {raw.name}", unit="image", disable=not progress):
        path = partial / relative
        if path.is_file():  # whole, since every picture is renamed only when complete
            continue
        pixels = _pixels(file, table, name)
        if pixels is None:
            raise ValueError(
                f"the protocol names {name}, but {raw} holds no such image: the files do not belong together."
            )
        with atomic_path(path) as temporary:
            Image.fromarray(pixels).save(temporary)


def _pixels(file: Any, table: list[np.ndarray], name: str) -> np.ndarray | None:
    """Image ``<pair>_<person>_<view>_<image>``, (H, W, 3) uint8; None where the cell is empty or does not exist."""
    try:
        pair, person, _, image = (int(part) for part in Path(name).stem.split("_"))
        if min(pair, person, image) < 1:
            return None
        values = np.asarray(file[table[pair - 1][person - 1, image - 1]])
    except (IndexError, ValueError, KeyError):
        return None
    # (3, W, H) as MATLAB's column order arrives in HDF5; an empty cell is a short vector of sizes
    return np.ascontiguousarray(values.transpose(2, 1, 0)) if values.ndim == 3 else None


__all__ = ["EXTRACTED", "RAW_FILE", "config_name", "extract", "open_cuhk03"]
