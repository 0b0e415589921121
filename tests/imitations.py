"""Small imitations on disk of every set that is read: folders and names as there, coloured blocks for pictures."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from casnkit.data.records import MARKET_FOLDERS, SPLITS

LAYOUTS = {  # where each set keeps a picture
    "market1501": "{folder}/{pid:04d}_c{camid}s1_{frame:06d}_0{index}.jpg",
    "dukemtmc-reid": "{folder}/{pid:04d}_c{camid}_f{pid}{index:06d}.jpg",
    "occluded-duke": "Occluded_Duke/{folder}/{pid:04d}_c{camid}_f{pid}{index:06d}.jpg",
    "cuhk03-np-detected": "detected/{folder}/{pid:04d}_c{camid}_{index}.png",
    "cuhk03-np-labeled": "labeled/{folder}/{pid:04d}_c{camid}_{index}.png",
    "folder": "{split}/person{pid:02d}/cam{camid}_{index:02d}.png",
    "folder-flat": "person{pid:02d}/cam{camid}_{index:02d}.png",
}
OWN = {  # with lists, folders or numbers of their own
    "msmt17": "{half}/{number:04d}/{number:04d}_{index:03d}_{camid:02d}_0303morning_{frame:04d}_0.jpg",
    "veri776": "{folder}/{pid:04d}_c{camid:03d}_{frame:08d}_0.jpg",
    "ltcc": "{folder}/{zero:03d}_1_c{camid}_{index:06d}.png",
    "prcc": "rgb/{folder}cropped_rgb{camid}{index:02d}.jpg",
    "viper": "cam_{letter}/{zero:03d}_{angle}.bmp",
    "mars": "bbox_{half}/{pid:04d}/{pid:04d}C{camid}T{index:04d}F001.jpg",
}
LAYOUTS |= OWN
FOLDERS = {
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


def _usual(name: str, root: Path, shape: Shape) -> Path:
    rng = np.random.default_rng(0)
    images = shape.images()
    if name == "market1501":
        images += [("gallery", pid, camid, index) for pid in (-1, 0) for camid in (1, 2) for index in range(2)]
    for split, pid, camid, index in images:
        place = {"folder": MARKET_FOLDERS[SPLITS.index(split)], "split": split, "frame": 100 * index + 1}
        file = root / LAYOUTS[name].format(pid=pid, camid=camid, index=index, **place).replace("/-001_", "/-1_")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(pid, camid, shape.size, rng)).save(file)
    return root


def draw(pid: int, camid: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A person of coloured blocks, (H, W, 3) uint8, before a background that depends on the camera."""
    width, height = size
    pixels = np.full((height, width, 3), 60 + 35 * (camid % 5), np.float32)
    for part, (top, bottom, left, right) in enumerate(BODY, 1):
        hue = (0.618034 * (pid + 1) * part) % 1.0  # steps of the golden ratio keep neighbouring pids apart
        colour = np.array(colorsys.hsv_to_rgb(hue, 0.75, 0.85)) * 255
        pixels[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = colour
    return np.clip(pixels + rng.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)


def imitate(name: str, root: str | Path, shape: Shape | None = None) -> Path:
    """Write a small set that is laid out and named like one of ``LAYOUTS`` into ``root``; return it."""
    root, shape, rng, written = Path(root), shape or Shape(), np.random.default_rng(0), []
    if name not in OWN:
        return _usual(name, root, shape)
    for split, pid, camid, index in shape.images():
        number = pid - 1 if split == "train" else pid - 1 - shape.num_train  # both count from 0
        half, folder = "train" if split == "train" else "test", FOLDERS.get(name, SPLITS)[SPLITS.index(split)]
        values = {"half": half, "number": number, "frame": 100 * index + 1, "zero": pid - 1, "angle": 45 * index}
        values |= {"folder": folder.format(pid=pid), "letter": "_abc"[camid % 4], "pid": pid, "camid": camid}
        path = root / OWN[name].format(index=index, **values)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(pid, camid, shape.size, rng)).save(path)
        last = split == "train" and (camid, index) == (shape.num_cameras, shape.per_camera - 1)
        written.append((half, "val" if last else split, path, pid, camid, number))
    for half in ("train", "test"):
        rows = [row[1:] for row in written if row[0] == half]
        if name == "msmt17":
            for split in ("train", "val") if half == "train" else ("query", "gallery"):
                lines = [f"{path.relative_to(root / half)} {row[-1]}\n" for there, path, *row in rows if there == split]
                (root / f"list_{split}.txt").write_text("".join(lines))
        if name == "mars":
            (root / "info").mkdir(exist_ok=True)
            (root / "info" / f"{half}_name.txt").write_text("\n".join(row[1].name for row in rows))
            table = np.array([(i, i, pid, camid) for i, (_, _, pid, camid, _) in enumerate(rows, 1)])
            savemat(root / "info" / f"tracks_{half}_info.mat", {f"track_{half}_info": table})
            queries = [i for i, row in enumerate(rows, 1) if row[0] == "query"]
            savemat(root / "info" / "query_IDX.mat", {"query_IDX": queries})
    return root
