"""Small imitations of the benchmarks on disk, for tests and to try a command: their folders and names, with coloured
blocks for pictures. A person's colours depend on the identity alone, the background on the camera.
"""

import colorsys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from casnkit.data.files import write_text
from casnkit.data.records import MARKET_FOLDERS, SPLITS

LAYOUTS = {  # where each benchmark keeps a picture
    "market1501": "{folder}/{pid:04d}_c{camid}s1_{frame:06d}_0{index}.jpg",
    "dukemtmc-reid": "{folder}/{pid:04d}_c{camid}_f{pid}{index:06d}.jpg",
    "cuhk03-np-detected": "detected/{folder}/{pid:04d}_c{camid}_{index}.png",
    "cuhk03-np-labeled": "labeled/{folder}/{pid:04d}_c{camid}_{index}.png",
    "msmt17": "{half}/{number:04d}/{number:04d}_{index:03d}_{camid:02d}_0303morning_{frame:04d}_0.jpg",
    "occluded-duke": "Occluded_Duke/{folder}/{pid:04d}_c{camid}_f{pid}{index:06d}.jpg",
    "veri776": "{folder}/{pid:04d}_c{camid:03d}_{frame:08d}_0.jpg",
    "ltcc": "{folder}/{zero:03d}_1_c{camid}_{index:06d}.png",
    "prcc": "rgb/{folder}cropped_rgb{camid}{index:02d}.jpg",
    "viper": "cam_{letter}/{zero:03d}_{angle}.bmp",
    "mars": "bbox_{half}/{pid:04d}/{pid:04d}C{camid}T{index:04d}F001.jpg",
    "folder": "{split}/person{pid:02d}/cam{camid}_{index:02d}.png",
    "folder-flat": "person{pid:02d}/cam{camid}_{index:02d}.png",
}
FOLDERS = {  # where they are not Market-1501's
    "veri776": ("image_train", "image_query", "image_test"),
    "ltcc": ("train", "query", "test"),
    "prcc": ("train/{pid:03d}/A_", "test/C/{pid:03d}/", "test/A/{pid:03d}/"),
}
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

    def images(self) -> list[tuple[str, int, int, int]]:
        """``(split, pid, camid, index)``: test people show one image per camera as query, all others as gallery."""
        return [
            ("train" if pid < self.num_train else "gallery" if index else "query", pid + 1, camid + 1, index)
            for pid, camid, index in np.ndindex(self.num_train + self.num_test, self.num_cameras, self.per_camera)
        ]


def imitate(name: str, root: str | Path, shape: Shape | None = None, extras: bool = False) -> Path:
    """Write a small set that is laid out and named like benchmark ``name`` into ``root``; return ``root``.

    ``name`` is one of ``LAYOUTS``; ``extras``: person masks too, for Market-1501.
    """
    if name not in LAYOUTS:
        raise ValueError(f"expected one of {', '.join(LAYOUTS)} to imitate, got {name!r}")
    root, shape, rng = Path(root), shape or Shape(), np.random.default_rng(0)
    images, lists = shape.images(), dict.fromkeys(("train", "val", "query", "gallery"), "")
    if name == "market1501":
        images += [("gallery", pid, camid, index) for pid in (-1, 0) for camid in (1, 2) for index in range(2)]
    tracks = {"train": [], "test": []}
    for split, pid, camid, index in images:
        number = pid - 1 if split == "train" else pid - 1 - shape.num_train  # both count from 0
        half, folder = "train" if split == "train" else "test", FOLDERS.get(name, MARKET_FOLDERS)[SPLITS.index(split)]
        values = {"half": half, "number": number, "frame": 100 * index + 1, "split": split, "zero": pid - 1}
        values |= {"folder": folder.format(pid=pid), "letter": "_abc"[camid % 4], "angle": 45 * index}
        file = LAYOUTS[name].format(pid=pid, camid=camid, index=index, **values).replace("/-001_", "/-1_")
        _save(draw(pid, camid, shape.size, rng), root / file)
        if extras:
            _save(_paint(np.zeros(shape.size[::-1], np.uint8), [255] * 3), root / "masks" / f"{Path(file).stem}.png")
        tracks[half].append((Path(file).name, pid, camid, split == "query"))
        last = split == "train" and (camid, index) == (shape.num_cameras, shape.per_camera - 1)
        lists["val" if last else split] += f"{file.partition('/')[2]} {number}\n"
    if name == "msmt17":
        for split, text in lists.items():
            write_text(root / f"list_{split}.txt", text)
    for half, rows in tracks.items() if name == "mars" else ():
        write_text(root / "info" / f"{half}_name.txt", "\n".join(row[0] for row in rows))
        table = np.array([(i, i, pid, camid) for i, (_, pid, camid, _) in enumerate(rows, 1)])
        savemat(root / "info" / f"tracks_{half}_info.mat", {f"track_{half}_info": table})
        savemat(root / "info" / "query_IDX.mat", {"query_IDX": [i for i, row in enumerate(rows, 1) if row[3]]})
    return root


def draw(pid: int, camid: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A person of coloured blocks, (H, W, 3) uint8, before a background that depends on the camera."""
    # steps of the golden ratio keep neighbouring pids apart in hue
    hues = [(0.618034 * (pid + 1) * part) % 1.0 for part in (1, 2, 3)]
    colours = [np.array(colorsys.hsv_to_rgb(hue, 0.75, 0.85)) * 255 for hue in hues]
    pixels = _paint(np.full((size[1], size[0], 3), 60 + 35 * (camid % 5), np.float32), colours)
    return np.clip(pixels + rng.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)


def _paint(pixels: np.ndarray, colours: list) -> np.ndarray:
    height, width = pixels.shape[:2]
    for (top, bottom, left, right), colour in zip(BODY, colours, strict=True):
        pixels[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = colour
    return pixels


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
