"""Small imitations of benchmarks on disk, to try a command and for tests: their folders and names, with coloured
blocks for pictures. A person's colours depend on the identity alone, the background on the camera.
"""

import colorsys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from casnkit.data.records import MARKET_FOLDERS, SPLITS

LAYOUTS = {  # where each benchmark keeps a picture
    "market1501": "{folder}/{pid:04d}_c{camid}s1_{frame:06d}_0{index}.jpg",
    "dukemtmc-reid": "{folder}/{pid:04d}_c{camid}_f{pid}{index:06d}.jpg",
    "occluded-duke": "Occluded_Duke/{folder}/{pid:04d}_c{camid}_f{pid}{index:06d}.jpg",
    "cuhk03-np-detected": "detected/{folder}/{pid:04d}_c{camid}_{index}.png",
    "cuhk03-np-labeled": "labeled/{folder}/{pid:04d}_c{camid}_{index}.png",
    "folder": "{split}/person{pid:02d}/cam{camid}_{index:02d}.png",
    "folder-flat": "person{pid:02d}/cam{camid}_{index:02d}.png",
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


def imitate(name: str, root: str | Path, shape: Shape | None = None) -> Path:
    """Write a small set that is laid out and named like benchmark ``name``, one of ``LAYOUTS``, into ``root``; return it."""
    if name not in LAYOUTS:
        raise ValueError(f"expected one of {', '.join(LAYOUTS)} to imitate, got {name!r}")
    root, shape, rng = Path(root), shape or Shape(), np.random.default_rng(0)
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
