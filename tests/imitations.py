"""Imitations of every set that is read: those of the kit, and here the ones with lists, folders or numbers of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from casnkit.data import imitate as kit
from casnkit.data.imitate import Shape, draw
from casnkit.data.records import SPLITS

__all__ = ["LAYOUTS", "Shape", "draw", "imitate"]
OWN = {
    "msmt17": "{half}/{number:04d}/{number:04d}_{index:03d}_{camid:02d}_0303morning_{frame:04d}_0.jpg",
    "veri776": "{folder}/{pid:04d}_c{camid:03d}_{frame:08d}_0.jpg",
    "ltcc": "{folder}/{zero:03d}_1_c{camid}_{index:06d}.png",
    "prcc": "rgb/{folder}cropped_rgb{camid}{index:02d}.jpg",
    "viper": "cam_{letter}/{zero:03d}_{angle}.bmp",
    "mars": "bbox_{half}/{pid:04d}/{pid:04d}C{camid}T{index:04d}F001.jpg",
}
FOLDERS = {
    "veri776": ("image_train", "image_query", "image_test"),
    "ltcc": ("train", "query", "test"),
    "prcc": ("train/{pid:03d}/A_", "test/C/{pid:03d}/", "test/A/{pid:03d}/"),
}
LAYOUTS = kit.LAYOUTS | OWN


def imitate(name: str, root: Path, shape: Shape | None = None) -> Path:
    if name not in OWN:
        return kit.imitate(name, root, shape)
    shape, rng, written = shape or Shape(), np.random.default_rng(0), []
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
