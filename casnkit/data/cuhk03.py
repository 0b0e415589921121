"""CUHK03 in its raw form: ``cuhk-03.mat`` and the new protocol's ``cuhk03_new_protocol_config_<variant>.mat``.

The pictures are written out once as PNG, in the arrangement of the ready-made folders, beside the ``.mat`` file; from
then on the set is read like the others. An interrupted extraction stays as ``<variant>.part`` and is continued.

Inside ``cuhk-03.mat`` (MATLAB 7.3, thus HDF5) ``detected`` and ``labeled`` are (1, 5) arrays of references, one for each
pair of cameras, to (10, people) references, image 1-5 from the first view and 6-10 from the second, each to an image
(3, W, H) or an empty cell. The protocol names an image by pair, person, view and number: ``1_001_1_01.png``.
"""

import os
import shutil
from pathlib import Path
from types import ModuleType
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
EXTRACTED = "cuhk03-np-extracted"


def config_name(variant: str) -> str:
    """Name of the new protocol's file for ``variant``."""
    return f"cuhk03_new_protocol_config_{variant}.mat"


def import_h5py() -> ModuleType:
    """The package that reads MATLAB 7.3 files. Raises ImportError, naming the extra, where it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f'{RAW_FILE} needs the package h5py: pip install "casnkit[raw]"') from error
    return h5py


def extract(raw: Path, config: Path, variant: str, progress: bool = True) -> Path:
    """Write the pictures of ``variant`` into ``cuhk03-np-extracted/<variant>`` beside the raw file, once.

    Returns that folder. Raises ValueError where a file cannot be read, a picture that the protocol names is not in
    ``raw``, or the disk is full.
    """
    target, partial = (raw.parent / EXTRACTED / name for name in (variant, f"{variant}.part"))
    if target.is_dir():
        return target
    jobs = _read_protocol(config)
    try:
        with import_h5py().File(raw, "r") as file:
            _write_pictures(file, variant, tqdm(jobs, f"extracting {raw.name}", disable=not progress), partial)
        os.replace(partial, target)
    except (OSError, KeyError) as error:
        if target.is_dir():  # another process finished the same extraction meanwhile
            shutil.rmtree(partial, ignore_errors=True)
            return target
        advice = "unpack it again, or copy it to where you may write"
        raise ValueError(f"expected a MATLAB 7.3 file at {raw}, could not read it ({error}): {advice}") from error
    return target


def _read_protocol(config: Path) -> list[tuple[str, str]]:
    """``(name in the protocol, path to write)`` of every picture."""
    keys = ("filelist", "labels", "camId", "train_idx", "query_idx", "gallery_idx")
    try:
        protocol = loadmat(config, variable_names=keys)
        files = [str(np.asarray(file).ravel()[0]) for file in protocol["filelist"].ravel()]
        pids, cameras, *indices = (protocol[key].ravel().astype(int) for key in keys[1:])
    except (KeyError, IndexError, ValueError, TypeError, NotImplementedError, OSError, MatReadError) as error:
        raise ValueError(f"expected {', '.join(keys)} in {config}, could not read them: {error}") from error
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
