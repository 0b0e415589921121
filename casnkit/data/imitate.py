"""Small imitations of the benchmarks on disk: their folders and names, with coloured blocks for pictures.

For tests, and for trying a command before a benchmark is at hand. A person's colours (hair, upper, lower) depend on the
identity alone, the background on the camera. These are no people: ``casnkit.data.people`` draws those.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from casnkit._optional import require
from casnkit.data.cuhk03_raw import RAW_FILE, config_name
from casnkit.data.layout import MARKET_FOLDERS
from casnkit.files import atomic_path, write_text

NAMES = (
    "market1501",
    "dukemtmc-reid",
    "cuhk03-np-detected",
    "cuhk03-np-labeled",
    "cuhk03-raw",
    "msmt17",
    "folder",
    "folder-flat",
)


@dataclass(frozen=True)
class Shape:
    """How large an imitation is; test people are numbered after the training people."""

    num_train: int = 4
    num_test: int = 3
    num_cameras: int = 2
    per_camera: int = 2
    size: tuple[int, int] = (32, 64)  # (W, H)


def imitate(name: str, root: str | Path, seed: int = 0, shape: Shape | None = None, extras: bool = False) -> Path:
    """Write a small set that is laid out and named like benchmark ``name`` into ``root``; return ``root``.

    Args:
        name: one of ``NAMES``; ``cuhk03-raw`` writes ``.mat`` files of both variants (needs h5py and scipy).
        root: folder to write into.
        seed: of the pixel noise; names and counts do not depend on it.
        shape: numbers of people, cameras and images.
        extras: Market-1501 only: also write masks, 500k-style distractors in ``images/``, and stray files.

    Raises:
        ValueError: unknown name.
    """
    if name not in NAMES:
        raise ValueError(f"expected one of {', '.join(NAMES)} to imitate, got {name!r}")
    root, shape, rng = Path(root), shape or Shape(), np.random.default_rng(seed)
    if name == "cuhk03-raw":
        _write_cuhk03_raw(root, shape, rng)
    elif name == "msmt17":
        _write_msmt17(root, shape, rng)
    elif name.startswith("folder"):
        _write_folder(root, shape, rng, flat=name == "folder-flat")
    else:
        sub = root / name.rpartition("-")[2] if name.startswith("cuhk03-np") else root
        _write_market(name, sub, shape, rng, extras)
    return root


def draw(pid: int, camid: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A person of coloured blocks, (H, W, 3) uint8, before a background that depends on the camera."""
    width, height = size
    pixels = np.full((height, width, 3), 60 + 35 * (camid % 5), dtype=np.float32)
    for part, (top, bottom, left, right) in enumerate(_BODY):
        rows, columns = slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width))
        # steps of the golden ratio keep neighbouring pids apart in hue
        hue = (0.618034 * (pid + 1) * (part + 1)) % 1.0
        pixels[rows, columns] = np.array(colorsys.hsv_to_rgb(hue, 0.75, 0.85)) * 255
    return np.clip(pixels + rng.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)


# top, bottom, left, right of head, upper body and legs as fractions of the image
_BODY = ((0.06, 0.2, 0.36, 0.64), (0.2, 0.55, 0.22, 0.78), (0.55, 0.96, 0.3, 0.7))


def draw_mask(size: tuple[int, int]) -> np.ndarray:
    """The person of ``draw``, (H, W) uint8, 255 on the person."""
    width, height = size
    mask = np.zeros((height, width), dtype=np.uint8)
    for top, bottom, left, right in _BODY:
        mask[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = 255
    return mask


def _save(pixels: np.ndarray, path: Path) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def _images(shape: Shape) -> Iterator[tuple[str, int, int, int]]:
    """``(split, pid, camid, index)``: test people show one image per camera as query, all the others as gallery."""
    for pid in range(1, shape.num_train + shape.num_test + 1):
        for camid in range(1, shape.num_cameras + 1):
            for index in range(shape.per_camera):
                yield "train" if pid <= shape.num_train else ("gallery" if index else "query"), pid, camid, index


def _market_name(name: str, pid: int, camid: int, index: int) -> str:
    if name == "dukemtmc-reid":
        return f"{pid:04d}_c{camid}_f{1000 * pid + index:07d}.jpg"
    if name.startswith("cuhk03-np"):
        return f"{pid:04d}_c{camid}_{index + 1}.png"
    return f"{pid if pid < 0 else f'{pid:04d}'}_c{camid}s1_{100 * index + 1:06d}_0{index}.jpg"


def _write_market(name: str, root: Path, shape: Shape, rng: np.random.Generator, extras: bool) -> None:
    folders = dict(zip(("train", "query", "gallery"), MARKET_FOLDERS, strict=True))
    images = list(_images(shape))
    if name == "market1501":
        images += [("gallery", pid, camid, index) for pid in (-1, 0) for camid in (1, 2) for index in range(2)]
    for split, pid, camid, index in images:
        file = _market_name(name, pid, camid, index)
        _save(draw(pid, camid, shape.size, rng), root / folders[split] / file)
        if extras:
            _save(draw_mask(shape.size), root / "masks" / f"{Path(file).stem}.png")
    if extras:
        write_text(root / "bounding_box_test" / "Thumbs.db", "not a picture")
        write_text(root / "readme.txt", "an imitation")
        for i in range(3):
            _save(draw(1000 + i, 1, shape.size, rng), root / "images" / f"{i:08d}.jpg")


def _write_msmt17(root: Path, shape: Shape, rng: np.random.Generator) -> None:
    lines: dict[str, list[str]] = {"train": [], "val": [], "query": [], "gallery": []}
    for split, pid, camid, index in _images(shape):
        number = pid - 1 if split == "train" else pid - 1 - shape.num_train  # both count from 0
        relative = f"{number:04d}/{number:04d}_{index:03d}_{camid:02d}_0303morning_{10 * index:04d}_0.jpg"
        _save(draw(pid, camid, shape.size, rng), root / ("train" if split == "train" else "test") / relative)
        last = split == "train" and index == shape.per_camera - 1
        lines["val" if last and camid == shape.num_cameras else split].append(f"{relative} {number}")
    for name, own in lines.items():
        write_text(root / f"list_{name}.txt", "\n".join(own) + "\n")


def _write_folder(root: Path, shape: Shape, rng: np.random.Generator, flat: bool) -> None:
    for split, pid, camid, index in _images(shape):
        folder = root / f"person{pid:02d}" if flat else root / split / f"person{pid:02d}"
        _save(draw(pid, camid, shape.size, rng), folder / f"cam{camid}_{index:02d}.png")


def _write_cuhk03_raw(root: Path, shape: Shape, rng: np.random.Generator) -> None:
    """One pair of cameras holds everybody; the other four are empty, as is every tenth picture of a person."""
    h5py = require("h5py", "imitating cuhk-03.mat", extra="raw")
    people, per_view = shape.num_train + shape.num_test, min(shape.per_camera, 5)
    with atomic_path(root / RAW_FILE) as temporary, h5py.File(temporary, "w", userblock_size=512) as file:
        for variant in ("detected", "labeled"):
            pairs = file.create_dataset(variant, (1, 5), dtype=h5py.ref_dtype)
            for pair in range(5):
                cells = file.create_dataset(
                    f"#refs#/{variant}{pair}", (10, people if pair == 0 else 0), dtype=h5py.ref_dtype
                )
                pairs[0, pair] = cells.ref
                for image, person in np.ndindex(cells.shape):
                    pixels = draw(person + 1, image // 5 + 1, shape.size, rng) if image % 5 < per_view else None
                    # MATLAB's column order: (H, W, 3) arrives as (3, W, H); an empty cell as its sizes
                    value = np.zeros(2, dtype=np.uint64) if pixels is None else pixels.transpose(2, 1, 0)
                    cells[image, person] = file.create_dataset(f"#refs#/{variant}_{person}_{image}", data=value).ref
    for variant in ("detected", "labeled"):
        _write_protocol(root / config_name(variant), shape, per_view)


def _write_protocol(path: Path, shape: Shape, per_view: int) -> None:
    savemat = require("scipy.io", "imitating CUHK03's protocol", extra="raw").savemat
    names, labels, cameras = [], [], []
    index: dict[str, list[int]] = {"train": [], "query": [], "gallery": []}
    for person in range(1, shape.num_train + shape.num_test + 1):
        for view in (1, 2):
            for image in range(per_view):
                names.append(f"1_{person:03d}_{view}_{5 * (view - 1) + image + 1:02d}.png")
                labels.append(person)
                cameras.append(view)
                split = "train" if person <= shape.num_train else ("gallery" if image else "query")
                index[split].append(len(names))  # MATLAB counts from 1
    filelist = np.empty((len(names), 1), dtype=object)
    filelist[:, 0] = names
    columns = {"labels": labels, "camId": cameras} | {f"{split}_idx": own for split, own in index.items()}
    with atomic_path(path) as temporary:
        savemat(temporary, {"filelist": filelist} | {key: np.array(own)[:, None] for key, own in columns.items()})
