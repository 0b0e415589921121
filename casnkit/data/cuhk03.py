"""CUHK03's raw ``cuhk-03.mat``, written out once as PNG files, arranged and named like the ready-made folders.

In it (MATLAB 7.3, thus HDF5) ``detected`` and ``labeled`` are (1, 5) arrays of references, one for each pair of cameras,
to (10, people) references, image 1-5 from the first view and 6-10 from the second, each to an image (3, W, H) or an empty
cell. The protocol's file names an image by pair, person, view and number: ``1_001_1_01.png``.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from tqdm.auto import tqdm

from casnkit.data.files import atomic_path
from casnkit.data.records import MARKET_FOLDERS

VARIANTS = ("detected", "labeled")
RAW_FILE = "cuhk-03.mat"
PROTOCOL_FILE = "cuhk03_new_protocol_config_{}.mat"  # of a variant
EXTRACTED = "cuhk03-np-extracted"


def extract(raw: Path, protocol: Path, variant: str, progress: bool = True) -> Path:
    """Write the pictures of ``variant`` into ``cuhk03-np-extracted/<variant>`` beside the raw file, and return that folder.

    What was interrupted (``<variant>.part``) is continued. Raises ValueError where a file cannot be read, a picture that
    the protocol names is not in ``raw``, or the disk is full; ImportError without h5py.
    """
    target, partial = (raw.parent / EXTRACTED / name for name in (variant, f"{variant}.part"))
    if target.is_dir():
        return target
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f'{RAW_FILE} needs the package h5py: pip install "casnkit[raw]"') from error
    jobs = tqdm(_read_protocol(protocol), f"extracting {raw.name}", disable=not progress)
    try:
        with h5py.File(raw, "r") as file:
            _write_pictures(file, variant, jobs, partial)
        os.replace(partial, target)
    except (OSError, KeyError) as error:
        if target.is_dir():  # another process finished the same extraction meanwhile
            shutil.rmtree(partial, ignore_errors=True)
            return target
        advice = "unpack it again, or copy it to where you may write"
        raise ValueError(f"expected a MATLAB 7.3 file at {raw}, could not read it ({error}): {advice}") from error
    return target


def _read_protocol(path: Path) -> list[tuple[str, str]]:
    """``(name in the protocol, path to write)`` of every picture."""
    keys = ("filelist", "labels", "camId", "train_idx", "query_idx", "gallery_idx")
    try:
        protocol = loadmat(path, variable_names=keys)
        files = [str(np.asarray(file).ravel()[0]) for file in protocol["filelist"].ravel()]
        pids, cameras, *indices = (protocol[key].ravel().astype(int) for key in keys[1:])
    except (KeyError, IndexError, ValueError, TypeError, NotImplementedError, OSError, MatReadError) as error:
        raise ValueError(f"expected {', '.join(keys)} in {path}, could not read them: {error}") from error
    pids += pids.min() == 0  # 0 would mean distractor
    return [
        (files[i], f"{folder}/{pids[i]:04d}_c{cameras[i]}_{Path(files[i]).stem}.png")
        for folder, index in zip(MARKET_FOLDERS, indices, strict=True)
        for i in index - 1  # MATLAB counts from 1
    ]


def _write_pictures(file: Any, variant: str, jobs: Any, partial: Path) -> None:
    pairs = [np.asarray(file[reference]) for reference in np.asarray(file[variant]).ravel()]
    table = [pair.T if pair.shape[0] == 10 else pair for pair in pairs]  # (people, 10) references each
    for name, relative in jobs:
        if (partial / relative).is_file():  # whole, since every picture is renamed only when complete
            continue
        try:
            pair, person, _, image = (int(part) for part in Path(name).stem.split("_"))
            # (3, W, H) as MATLAB's column order arrives in HDF5; an empty cell is a short vector of sizes
            pixels = np.asarray(file[table[pair - 1][person - 1, image - 1]]).transpose(2, 1, 0)
        except (IndexError, ValueError, KeyError) as error:
            told = "holds no such image: the files do not belong together"
            raise ValueError(f"the protocol names {name}, but {file.filename} {told}") from error
        with atomic_path(partial / relative) as temporary:
            Image.fromarray(np.ascontiguousarray(pixels)).save(temporary)
