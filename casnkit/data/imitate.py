"""Small imitations of the benchmarks on disk: their folders and names, with coloured blocks for pictures.

For tests, and for trying a command before a benchmark is at hand. A person's colours (hair, upper, lower) depend on the
identity alone, the background on the camera. These are no people: ``casnkit.data.people`` draws those.
"""

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from casnkit.data.cuhk03 import RAW_FILE, VARIANTS, config_name, import_h5py
from casnkit.data.files import atomic_path, write_text
from casnkit.data.layout import MARKET_FOLDERS

MARKET = {  # names of pictures in Market-1501's layout
    "market1501": "{person}_c{camid}s1_{frame:06d}_0{index}.jpg",
    "dukemtmc-reid": "{person}_c{camid}_f{duke:07d}.jpg",
    "cuhk03-np-detected": "{person}_c{camid}_{number}.png",
    "cuhk03-np-labeled": "{person}_c{camid}_{number}.png",
}
NAMES = (*MARKET, "cuhk03-raw", "msmt17", "folder", "folder-flat")
# top, bottom, left, right of head, upper body and legs as fractions of the image
BODY = ((0.06, 0.2, 0.36, 0.64), (0.2, 0.55, 0.22, 0.78), (0.55, 0.96, 0.3, 0.7))


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
        name: one of ``NAMES``; ``cuhk03-raw`` writes ``.mat`` files of both variants (needs h5py).
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
    elif name in MARKET:
        _write_market(name, root, shape, rng, extras)
    else:
        for split, pid, camid, index in _images(shape):
            folder = root / f"person{pid:02d}" if name == "folder-flat" else root / split / f"person{pid:02d}"
            _save(draw(pid, camid, shape.size, rng), folder / f"cam{camid}_{index:02d}.png")
    return root


def draw(pid: int, camid: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A person of coloured blocks, (H, W, 3) uint8, before a background that depends on the camera."""
    pixels = np.full((size[1], size[0], 3), 60 + 35 * (camid % 5), dtype=np.float32)
    for part, place in enumerate(_places(size)):
        # steps of the golden ratio keep neighbouring pids apart in hue
        hue = (0.618034 * (pid + 1) * (part + 1)) % 1.0
        pixels[place] = np.array(colorsys.hsv_to_rgb(hue, 0.75, 0.85)) * 255
    return np.clip(pixels + rng.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)


def _places(size: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Rows and columns of head, upper body and legs."""
    width, height = size
    return [
        (slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width)))
        for top, bottom, left, right in BODY
    ]


def _save(pixels: np.ndarray, path: Path) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def _images(shape: Shape) -> Iterator[tuple[str, int, int, int]]:
    """``(split, pid, camid, index)``: test people show one image per camera as query, all the others as gallery."""
    for pid in range(1, shape.num_train + shape.num_test + 1):
        for camid in range(1, shape.num_cameras + 1):
            for index in range(shape.per_camera):
                yield "train" if pid <= shape.num_train else ("gallery" if index else "query"), pid, camid, index


def _write_market(name: str, root: Path, shape: Shape, rng: np.random.Generator, extras: bool) -> None:
    root = root / name.rpartition("-")[2] if name.startswith("cuhk03-np") else root
    folders = dict(zip(("train", "query", "gallery"), MARKET_FOLDERS, strict=True))
    images = list(_images(shape))
    if name == "market1501":
        images += [("gallery", pid, camid, index) for pid in (-1, 0) for camid in (1, 2) for index in range(2)]
    for split, pid, camid, index in images:
        numbers = {"frame": 100 * index + 1, "duke": 1000 * pid + index, "number": index + 1}
        person = f"{pid:04d}" if pid >= 0 else pid
        file = MARKET[name].format(person=person, camid=camid, index=index, **numbers)
        _save(draw(pid, camid, shape.size, rng), root / folders[split] / file)
        if extras:
            mask = np.zeros(shape.size[::-1], dtype=np.uint8)
            for place in _places(shape.size):
                mask[place] = 255
            _save(mask, root / "masks" / f"{Path(file).stem}.png")
    if extras:
        write_text(root / "bounding_box_test" / "Thumbs.db", "not a picture")
        write_text(root / "readme.txt", "an imitation")
        for i in range(3):
            _save(draw(1000 + i, 1, shape.size, rng), root / "images" / f"{i:08d}.jpg")


def _write_msmt17(root: Path, shape: Shape, rng: np.random.Generator) -> None:
    lines: dict[str, str] = {"train": "", "val": "", "query": "", "gallery": ""}
    for split, pid, camid, index in _images(shape):
        number = pid - 1 if split == "train" else pid - 1 - shape.num_train  # both count from 0
        relative = f"{number:04d}/{number:04d}_{index:03d}_{camid:02d}_0303morning_{10 * index:04d}_0.jpg"
        _save(draw(pid, camid, shape.size, rng), root / ("train" if split == "train" else "test") / relative)
        last = split == "train" and (camid, index) == (shape.num_cameras, shape.per_camera - 1)
        lines["val" if last else split] += f"{relative} {number}\n"
    for name, text in lines.items():
        write_text(root / f"list_{name}.txt", text)


def _write_cuhk03_raw(root: Path, shape: Shape, rng: np.random.Generator) -> None:
    """One pair of cameras holds everybody; the other four are empty, as are the pictures that a person lacks."""
    h5py = import_h5py()
    people, per_view = shape.num_train + shape.num_test, min(shape.per_camera, 5)
    with atomic_path(root / RAW_FILE) as temporary, h5py.File(temporary, "w", userblock_size=512) as file:
        for variant in VARIANTS:
            pairs = file.create_dataset(variant, (1, 5), dtype=h5py.ref_dtype)
            for pair in range(5):
                shown = (10, 0 if pair else people)
                cells = file.create_dataset(f"#refs#/{variant}{pair}", shown, dtype=h5py.ref_dtype)
                pairs[0, pair] = cells.ref
                for image, person in np.ndindex(shown):
                    value = np.zeros(2, dtype=np.uint64)  # an empty cell arrives as its sizes
                    if image % 5 < per_view:  # MATLAB's column order: (H, W, 3) arrives as (3, W, H)
                        value = draw(person + 1, image // 5 + 1, shape.size, rng).transpose(2, 1, 0)
                    cells[image, person] = file.create_dataset(f"#refs#/{variant}_{person}_{image}", data=value).ref
    images = list(_images(Shape(shape.num_train, shape.num_test, 2, per_view)))
    names = [f"1_{pid:03d}_{view}_{5 * (view - 1) + index + 1:02d}.png" for _, pid, view, index in images]
    columns = {"labels": [pid for _, pid, _, _ in images], "camId": [view for _, _, view, _ in images]}
    for split in ("train", "query", "gallery"):  # MATLAB counts from 1
        columns[f"{split}_idx"] = [i for i, image in enumerate(images, 1) if image[0] == split]
    protocol = {"filelist": np.array(names, dtype=object)[:, None]}
    protocol |= {key: np.array(values)[:, None] for key, values in columns.items()}
    for variant in VARIANTS:
        with atomic_path(root / config_name(variant)) as temporary:
            savemat(temporary, protocol)
