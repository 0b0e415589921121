"""Records: which pictures there are, of whom, from which camera. No pixels are read until they are asked for.

Numbers keep the meaning that they have in the file names: ``pid`` is the person (0 = distractor, -1 = junk) and
``camid`` the camera as written there (``c1`` is 1). A ``camid`` of -1 means "camera unknown": the same-camera rule of the
protocol does not apply to such an image.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lazy_loader
import numpy as np
from PIL import ExifTags, Image, ImageOps

pd = lazy_loader.load("pandas")
SPLITS = ("train", "query", "gallery")
MARKET_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")  # the same in Market-1501 and its followers
JUNK_PID = -1
DISTRACTOR_PID = 0
UNKNOWN_CAMERA = -1
NO_TRUTH = "pictures"  # the name of a data set of which nobody knows who is who
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # never PostScript: Pillow hands it to another program


def decode(path: str | Path) -> Image.Image:
    """The one place where a picture is opened: a regular file in one of :data:`FORMATS`, upright by its EXIF orientation,
    which its ``info`` keeps with the size as ``stored``.

    Raises ValueError, naming the file, for anything else, for a damaged picture, and for one too large to be decoded.
    """
    try:
        if not Path(path).is_file():  # a named pipe or a device would never end
            raise OSError("there is no such file" if not Path(path).exists() else "this is no regular file")
        with Image.open(path, formats=FORMATS) as image:
            stored = image.size, image.getexif().get(ExifTags.Base.Orientation, 1)
            upright = ImageOps.exif_transpose(image)
            upright.info["stored"] = stored
            return upright
    except Exception as error:  # Pillow raises many types for damaged files
        wanted = f"expected an image ({', '.join(FORMATS)}) at {path}"
        raise ValueError(f"{wanted}, could not read it: {error or type(error).__name__}") from error


def read_image(path: str | Path) -> Image.Image:
    """One picture as 8-bit RGB, by scales that are the same for every picture: more than 8 bits of grey (also 32-bit
    integers) are 0 to 65535, floats 0 to 1.

    Transparent pixels become grey. Raises ValueError, naming the file, where that fails.
    """
    image = decode(path)
    if image.mode.startswith("I") or image.mode == "F":
        values, most = np.asarray(image, dtype=np.float64), 1.0 if image.mode == "F" else 65535.0
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= most):
            found = f"{values.min():g} to {values.max():g}"
            raise ValueError(f"expected pixels from 0 to {most:g} (mode {image.mode}) at {path}, found {found}")
        image = Image.fromarray(np.rint(values * (255 / most)).astype(np.uint8))
    if image.has_transparency_data:
        grey = Image.new("RGBA", image.size, (128, 128, 128, 255))
        image = Image.alpha_composite(grey, image.convert("RGBA"))
    return image.convert("RGB")


def whole_numbers(name: str, values: Any) -> np.ndarray:
    """``values`` as int64, flat; ValueError for NaN, 1.5, "5" and the like. A table's 2.0 is 2."""
    array = np.asarray(values)
    array = np.array(array.tolist() if array.dtype == object else array).reshape(-1)
    most = 2.0**53 if array.dtype.kind == "f" else 2.0**63  # beyond, a float stands for many numbers
    if array.dtype.kind not in "iuf" or not ((np.rint(array) == array) & (abs(array) < most)).all():
        raise ValueError(f"{name}: expected whole numbers, in int64, got {array.tolist()!s:.99}")
    return array.astype(np.int64)


@dataclass(frozen=True)
class Split:
    """Part of a data set: parallel arrays, one entry per image, sorted by file name."""

    paths: np.ndarray  # (N,) strings
    pids: np.ndarray  # (N,) int64, the persons' numbers as in the files; -1 junk, 0 distractor
    camids: np.ndarray  # (N,) int64, the cameras' numbers as in the files; -1 unknown
    name: str = ""  # "train", "query" or "gallery"
    mask_folder: Path | None = None  # of person masks <stem>.png (non-zero = person), if the set has one
    part_folder: Path | None = None  # of body-part maps <stem>.png (0 = background), if the set has one

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", np.asarray(self.paths, dtype=str).reshape(-1))
        for key in ("pids", "camids"):
            object.__setattr__(self, key, whole_numbers(f"split {self.name!r}, {key}", getattr(self, key)))
        if not len(self.paths) == len(self.pids) == len(self.camids):
            got = f"{len(self.paths)} paths, {len(self.pids)} pids and {len(self.camids)} camids"
            raise ValueError(f"split {self.name!r}: expected as many pids and camids as paths, got {got}")

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        cameras = len(set(self.camids.tolist()) - {UNKNOWN_CAMERA})
        seen_by = f"{cameras} camera{'s' * (cameras > 1)}" if cameras else "unknown cameras"
        return f"Split({self.name!r}: {len(self)} images, {len(self.identities)} identities, {seen_by})"

    @property
    def identities(self) -> np.ndarray:
        """Sorted pids of real people, without junk (-1) and distractors (0)."""
        return np.unique(self.pids[self.pids > 0])

    def image(self, i: int) -> Image.Image:
        """Image ``i`` as :func:`read_image` gives it."""
        return read_image(self.paths[i])

    def mask(self, i: int) -> np.ndarray | None:
        """Person mask of image ``i``, (H, W) bool, or None where the set has none. One of the stored picture's size turns
        with it, by the picture's EXIF orientation."""
        values = self._side_file(self.mask_folder, i)
        return None if values is None else values > 0

    def parts(self, i: int) -> np.ndarray | None:
        """Body-part map of image ``i``, (H, W) uint8 with 0 for background, or None where the set has none."""
        return self._side_file(self.part_folder, i)

    def subset(self, index: Sequence[int] | np.ndarray) -> Split:
        """The images at ``index`` (integers or a boolean mask), in that order."""
        index = np.asarray(index)
        return replace(self, paths=self.paths[index], pids=self.pids[index], camids=self.camids[index])

    def _side_file(self, folder: Path | None, i: int) -> np.ndarray | None:
        path = Path(folder or "") / f"{Path(self.paths[i]).stem}.png"
        if folder is None or not path.is_file():
            return None
        side, (size, orientation) = decode(path), decode(self.paths[i]).info["stored"]
        side = side if side.mode in ("L", "P", "1") or side.mode.startswith("I") else side.convert("L")
        if side.size == size:
            side.getexif()[ExifTags.Base.Orientation] = orientation
        return np.clip(ImageOps.exif_transpose(side), 0, 255).astype(np.uint8)


def data_fingerprint(split: Split, most: int = 2000) -> str:
    """A digest of a split: names (with the folder above), pids, cameras, and the bytes of its pictures: of all, or of
    ``most`` evenly spread ones of a larger split. Moving the folder changes nothing, another picture does."""
    digest = hashlib.sha256()
    for path, pid, camid in zip(split.paths, split.pids, split.camids, strict=True):
        digest.update(f"{'/'.join(Path(path).parts[-2:])}|{pid}|{camid}\n".encode(errors="surrogateescape"))
    for i in np.unique(np.linspace(0, len(split) - 1, min(most, len(split))).astype(int)):
        with contextlib.suppress(OSError):  # a picture that cannot be read is named when it is decoded
            if (path := Path(split.paths[i])).is_file():  # a named pipe or a device would never end
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class ReidDataset:
    """A benchmark: training images, queries and gallery, and what a reader of its results must be told."""

    name: str  # e.g. "market1501", "people", "folder"
    root: Path  # the folder in which the three splits were found
    train: Split
    query: Split
    gallery: Split
    notes: tuple[str, ...] = ()  # sentences that a command prints once: which variant is in use, rules that are off
    tables: dict[str, Path] = field(default_factory=dict)  # extra tables by name, {"attributes": .../attributes.csv}
    opening: dict[str, str | bool] = field(default_factory=dict)  # what open_dataset was told besides the folder

    def __repr__(self) -> str:
        lines = [f"ReidDataset {self.name!r} in {self.root}"]
        lines += [f"  {split!r}" for split in (self.train, self.query, self.gallery)]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def unfit(dataset: ReidDataset, to_train: bool = False) -> str:
    """Why a set cannot be tested on (or trained on), and what helps; empty where it can."""
    if to_train and not len(dataset.train):
        return f"{dataset.name} in {dataset.root} has no training pictures: it is a set to test on (evaluate)"
    sides = [pd.DataFrame({"pid": s.pids, "camid": s.camids}) for s in (dataset.query, dataset.gallery)]
    pairs = sides[0].drop_duplicates().merge(sides[1].drop_duplicates(), on="pid").query("pid > 0")
    if ((pairs.camid_x != pairs.camid_y) | (pairs.camid_x == UNKNOWN_CAMERA)).any():
        return ""
    told = f"no query of {dataset.name} in {dataset.root} has a match: every gallery picture of its person"
    if not len(pairs):
        return f"{told} is missing"
    told += " is from its own camera, which the protocol ignores. --camera-pattern (camera_pattern) reads cameras"
    return f"{told} from names, --ignore-cameras (ignore_cameras=True) switches the rule off"


def camera_text(camid: int, short: bool = False) -> str:
    """A camera in words: ``camera 3`` or ``camera unknown``; short: ``cam 3`` or ``cam ?``."""
    unknown = "?" if short else "unknown"
    return f"{'cam' if short else 'camera'} {unknown if camid == UNKNOWN_CAMERA else camid}"


def labels_of(pids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(labels, pid_of_label)`` of training images: classes (N,) int64 in ``0 .. num_ids - 1``, enumerated from the
    sorted pids, and (num_ids,) pids that undo the mapping."""
    pid_of_label, labels = np.unique(whole_numbers("pids", pids), return_inverse=True)
    return labels.astype(np.int64), pid_of_label


def hold_out(dataset: ReidDataset, identities: int, seed: int = 0) -> tuple[ReidDataset, ReidDataset]:
    """Take people out of the training split, drawn by ``seed``, and make a validation set of them.

    Of each person, the first image from each camera is a query; the gallery holds all images. People seen by one camera
    have no query and stay in the gallery as negatives. Images of an unknown camera (-1) match all others: of several,
    the first is a query and left out of the gallery, for it would find itself.

    Returns ``(training, validation)``, both with the smaller ``train``; the second's ``query`` and ``gallery`` show the
    people held out. With one seed, a smaller number's people are among a larger one's. Raises ValueError where fewer
    than two people would remain, or none can be searched for.
    """
    train, there = dataset.train, len(dataset.train.identities)
    if not isinstance(identities, int | np.integer) or not 1 <= identities <= there - 2:
        range_ = f"from 1 to {max(there - 2, 0)} of the {there} training identities of {dataset.name!r}"
        raise ValueError(f"expected to hold out {range_}, so that 2 remain to train on, got {identities!r}")
    held = np.isin(train.pids, np.random.default_rng(seed).permutation(train.identities)[:identities])
    images = train.subset(held)
    table, unknown = pd.DataFrame({"pid": images.pids, "camid": images.camids}), images.camids == UNKNOWN_CAMERA
    from_elsewhere = table.groupby("pid").camid.transform("nunique") > 1
    from_same_camera = table.groupby(["pid", "camid"]).camid.transform("size") > 1
    is_query = (~table.duplicated() & from_elsewhere.where(~unknown, from_same_camera)).to_numpy()
    if not is_query.any():
        none = f"none of the {identities} held-out identities was seen by two cameras, so no query would have a match"
        raise ValueError(f"{none}: hold out more identities, or choose another seed")
    notes = (*dataset.notes, f"{identities} training identities held out for validation (seed {seed})")
    smaller = replace(dataset, train=train.subset(~held), notes=notes)
    query = replace(images.subset(is_query), name="query")
    gallery = replace(images.subset(~(is_query & unknown)), name="gallery")
    return smaller, replace(smaller, name=f"{dataset.name}-validation", query=query, gallery=gallery)
