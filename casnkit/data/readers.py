r"""``open_dataset``: every set that casnkit reads, opened by name or recognised by what lies in a folder.

:data:`READERS`, at the end, has one entry for each set, with its facts from ``benchmarks.json``. Opening reads names, never
pixels, and fetches nothing; what a reader of the results must know (the variant, rules that are off, files left out) comes
back as ``dataset.notes``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import lazy_loader
import numpy as np
import scipy
from PIL import Image
from tqdm.auto import tqdm

from casnkit.data import folders, people
from casnkit.data.files import atomic_path, read_json
from casnkit.data.folders import MARKET_NAME, Found, NotFound, gather, holds, inside, pictures_below, read_own, walk
from casnkit.data.records import MARKET_FOLDERS, SPLITS, UNKNOWN_CAMERA, ReidDataset, Split

pd = lazy_loader.load("pandas")
VARIANTS = ("detected", "labeled")
RAW_FILE, PROTOCOL_FILE = "cuhk-03.mat", "cuhk03_new_protocol_config_{}.mat"  # of a variant
MSMT_LINE = r"(?P<path>(?:.*/)?[^/_]+_[^/_]+_(?P<camid>\d+)_[^/]*) (?P<pid>\d{1,9})\s*$"
# what scipy's reader of MATLAB files raises: the fourth for files of version 7.3, the last for empty ones
UNREADABLE = LookupError, ValueError, TypeError, NotImplementedError, OSError, scipy.io.matlab.MatReadError


def open_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    name_pattern: str | None = None,
    camera_pattern: str | None = None,
    ignore_cameras: bool | None = False,
    progress: bool = True,
) -> ReidDataset:
    r"""Open a data set.

    Args:
        name: a key of ``READERS``, ``"people:tiny"``, ``"people:quick"``, ``"people:market"``, or the path of a folder,
            where whatever lies there is recognised, as by ``("auto", path)``.
        root: the set's folder or one up to three levels above it; default ``$CASNKIT_DATA``, for generated people also
            ``~/.cache/casnkit``.
        name_pattern: own pictures only: regular expression that finds a file's person (group ``pid``, or the first) and
            camera (``camid``, or the second, where there is one) in its name: ``r"(?P<pid>\d+)_cam(?P<camid>\d+)"``. With
            a ``/`` in it, it is searched in the path below the split's folder.
        camera_pattern: own pictures only, likewise: its first group is the camera.
        ignore_cameras: take every picture as from a camera of its own (camid -1): the same-camera rule is off.

    Raises:
        ValueError: unknown name; the set is missing, incomplete, empty, or the same person is in training and test.
        ImportError: CUHK03's raw ``.mat`` file needs h5py (``pip install "casnkit[raw]"``).
    """
    asked, size, root = _resolve(str(name), root)
    patterns = {"name_pattern": name_pattern, "camera_pattern": camera_pattern}
    name, notes = ("folder" if name_pattern and asked == "auto" else asked), []
    if name == "people" and (size or not root.exists() or (root.is_dir() and not any(root.iterdir()))):
        root = people.synthesize(root, size=size or "quick", progress=progress)
    try:
        if name == "auto":
            name, root = recognise(root)
            name = "folder" if name == "market1501" and camera_pattern else name  # its names are many sets' names
        if name != "folder" and (given := [what for what, pattern in patterns.items() if pattern]):
            raise ValueError(f"{given[0]} is for own pictures: {name} has its people and cameras in its files' names")
        how = {"patterns": patterns, "progress": progress, "sure": asked != "auto"}
        folder, images = READERS[name].read(name, root, notes, **how)
    except NotFound as error:
        where = READERS["folder" if name == "auto" else name].where
        raise ValueError(f"{error} {_resemblance(root)}{where}") from None
    if asked != "auto" and (kind := kind_of(folder)) not in (name, ""):
        notes.append(f"opened as {name}, yet this looks like {kind} ({folder})")
    images = pd.DataFrame(images, columns=["split", "path", "pid", "camid"])
    if asked == "auto" and name == "market1501" and not _agrees(images, EXPECTED[name]):
        name = folder.name if folder.name not in READERS else f"own-{folder.name}"
        notes.append("named like Market-1501 but no count agrees: taken for a set of your own (name it to compare)")
        zero = set(images.split[images.pid == 0])
        if zero & {"train", "query"} and zero != {"train", "gallery"}:
            images.pid += images.pid >= 0
            notes.append("people count from 0: 1 is added to each pid, for 0 means distractor")
    if ignore_cameras:
        images["camid"] = UNKNOWN_CAMERA
        notes.append("cameras are ignored: the same-camera rule is off, and results look better than with it")
    opening = {key: value for key, value in (*patterns.items(), ("ignore_cameras", ignore_cameras)) if value}
    found = _to_dataset(name, folder, images, notes)
    return replace(found, opening=opening | ({} if asked in ("auto", "people") else {"name": name}))


def _agrees(images: pd.DataFrame, expected: dict[str, int]) -> bool:
    """Whether the number of images or of people of any split is the one that the authors give."""
    sizes = images.groupby("split").pid.agg(images="size", identities=lambda pids: pids[pids > 0].nunique())
    return any(expected.get(f"{split} {what}") == n for (split, what), n in sizes.stack().items())


def _resemblance(root: Path) -> str:
    """Which set the names of a folder's pictures belong to, where its other files are missing; empty for none."""
    for name, reader in READERS.items():
        own = re.compile(reader.sign or reader.pattern)
        fits = own.pattern != MARKET_NAME and next(filter(own.match, map(os.path.basename, pictures_below(root))), "")
        if fits and not holds(root, reader.folders):
            return f"Names such as {fits} are those of {name}, which comes with {', '.join(reader.folders)}. "
    return ""


def _resolve(name: str, root: str | Path | None) -> tuple[str, str, Path]:
    """``(name, size of the people to draw or "", folder)``."""
    known = [*READERS, "auto", *(f"people:{size}" for size in people.SIZES)]
    if name not in known and root is None and (Path(name).expanduser().exists() or set(name) & set("/\\.")):
        name, root = "auto", name
    if name not in known:
        raise ValueError(f"expected the name of a data set ({', '.join(known)}) or an existing folder, got {name!r}")
    (kind, _, size), home = name.partition(":"), os.environ.get("CASNKIT_DATA")
    if root is None and kind == "people":  # the version in the folder's name keeps an older one out of the way
        size = size or "quick"
        root = Path(home or "~/.cache/casnkit") / f"people-{size}-{people.PEOPLE_VERSION}"
    if root is None and not home:
        where = READERS[name].where if name in READERS else ""
        raise ValueError(f"{name}: expected its folder: root=PATH, --data PATH, or the variable CASNKIT_DATA. {where}")
    return kind, size, Path(root or home).expanduser().absolute()


def _to_dataset(name: str, folder: Path, images: pd.DataFrame, notes: list[str]) -> ReidDataset:
    """Raises ValueError where there is no test or people are on both sides; a set without training can be tested on."""
    nobody = (images.pid <= 0) & (images.split != "gallery")
    if nobody.any():
        notes.append(f"{nobody.sum()} junk or distractor images (pid -1 or 0) in training or queries left out")
    market = holds(folder, MARKET_FOLDERS)  # its file names are unique
    sides = [folder / side if market and (folder / side).is_dir() else None for side in ("masks", "parts")]
    own = {split: images[(images.split == split) & ~nobody] for split in SPLITS}
    train, query, gallery = (Split(part.path, part.pid, part.camid, split, *sides) for split, part in own.items())
    for split in (query, gallery):
        if not len(split):
            told = f"the {split.name} split in {folder} is empty ({'; '.join(notes)})"
            raise ValueError(f"{name}: {told}: unpack the set again, or open it as 'folder' with a name_pattern")
    test = np.union1d(query.identities, gallery.identities)
    if shared := np.intersect1d(train.identities, test).tolist():
        told = f"{len(shared)} of {len(test)} test people are in training too, pids {shared[:5]} in {folder}"
        raise ValueError(f"{name}: {told}. Tests need people never trained on: move each person to one side.")
    tables = {"attributes": folder / "attributes.csv"} if (folder / "attributes.csv").exists() else {}
    return ReidDataset(name, folder, train, query, gallery, tuple(notes), tables)


def kind_of(folder: Path) -> str:
    """Which set begins in ``folder``, judged by names alone: the first entry of ``READERS`` that fits, or ""."""
    return next((name for name, reader in READERS.items() if reader.begins_in(name, folder)), "")


def recognise(root: Path) -> tuple[str, Path]:
    """``(name, folder)`` of the set at or below ``root``. Raises ValueError where there is none, or several."""
    folder = _choose("auto", root, f"one of {', '.join(READERS)} (one folder of pictures for each person)")
    return kind_of(folder) or "folder", folder


def _choose(name: str, root: Path, expected: str = "") -> Path:
    """The folder of the set ``name`` ("auto": of any); where several have its layout, the one that looks like it."""
    wanted = READERS[name].folders if name in READERS else ()
    needed = wanted[1:] if name in READERS and READERS[name].read is _read_named else wanted  # tested without training
    there = [folder for folder in walk(root) if holds(folder, needed)]
    kinds = {folder: kind_of(folder) if name == "auto" or len(there) > 1 else name for folder in there}
    found = [f for f in there if kinds[f] == name] or [f for f in there if kinds[f] or name != "auto"]
    if not found and name == "auto" and any(pictures_below(root)) and not kind_of(root.parent):
        return read_own("folder", root, [], {}, sure=False)[0]
    if not found:
        raise folders.missing(name, root, wanted or MARKET_FOLDERS, expected)
    if name == "auto" and all(kinds[folder].startswith("cuhk03-np") for folder in found):
        return min(found, key=lambda folder: (folder.name not in VARIANTS, folder.name))  # ready-made, detected
    if len(found) > 1:
        listed = "; ".join(f"{folder} ({kinds[folder]})" for folder in found[:6])
        raise ValueError(f"{name}: {len(found)} sets lie below {root}: {listed}. Give the folder of one of them.")
    return found[0]


def _read_named(name: str, root: Path, notes: list[str], expected: str = "", **_: Any) -> Found:
    """Three folders of pictures whose names, as the set's pattern reads them, say who is seen by which camera.

    Only a file's name is read, because a path such as ``/data/run-2_c9/...`` would fit the pattern too, or, where the
    pattern has a ``/``, the path below the set's folder. Without the first folder, the set is there to test on.
    """
    reader, folder = READERS[name], _choose(name, root, expected)
    places = {split: inside(folder, sub) for sub, split in zip(reader.folders, SPLITS, strict=True)}
    if places["train"] is None:
        notes.append(f"no {reader.folders[0]}/: a set to test on, not to train on")
        del places["train"]
    table = gather(name, places, [reader.anchored], notes, named=True)
    if deep := int((table.below.str.count("/") > 1 + reader.pattern.count("/")).sum()):
        notes.append(f"{deep} pictures from folders inside a split's folder are read too")
    notes += filter(None, [reader.note, *folders.not_read(places.values())])
    return folder, table.assign(pid=table.pid.map(_number) + reader.first, camid=table.camid.map(_number))


def _number(text: str) -> int:
    """001 is 1, -1 and MARS's 00-1 are -1; a camera's letter counts from A."""
    return ord(text.lower()) - ord("a") + 1 if text.isalpha() else int(text.lstrip("0") or 0)


def _begins_named(name: str, folder: Path) -> bool:
    """Whether folders and names fit; where other sets have the same ones, the folder's name or the counts decide."""
    reader = READERS[name]
    places = [inside(folder, sub) for sub in reader.folders]
    if not all(places[1:]) or not any(map(reader.fits, places[1:])):
        return False
    if not reader.called or re.fullmatch(reader.called, folder.name, re.IGNORECASE):
        return True
    counts = [reader.counts.get(f"{split} images") for split in SPLITS]
    return all(p and sum(1 for _ in pictures_below(p)) == n for p, n in zip(places, counts, strict=True))


def _read_halved(name: str, root: Path, notes: list[str], **_: Any) -> Found:
    """A set without splits of its own: read as own pictures are, by its pattern."""
    return read_own(name, _choose(name, root), notes, {"name_pattern": READERS[name].pattern})


def _read_mars(name: str, root: Path, notes: list[str], **_: Any) -> Found:
    """The first picture of each tracklet. ``info`` says where each begins in the list of names, and which are queries."""
    folder, images = _choose(name, root), []
    try:
        queries = set(scipy.io.loadmat(folder / "info/query_IDX.mat")["query_IDX"].ravel().tolist())
        for side in ("train", "test"):
            names = (folder / f"info/{side}_name.txt").read_text(encoding="utf-8-sig").split()
            tracks = scipy.io.loadmat(folder / f"info/tracks_{side}_info.mat")[f"track_{side}_info"].astype(int)
            for i, (begin, _end, pid, camid) in enumerate(tracks.tolist(), 1):  # MATLAB counts from 1
                split = "train" if side == "train" else "query" if i in queries else "gallery"
                picture = folder / f"bbox_{side}" / names[begin - 1][:4] / names[begin - 1]
                images.append((split, str(picture.resolve(strict=True)), pid, camid))
    except UNREADABLE as error:
        raise NotFound(f"mars: expected lists in {folder}/info, and their pictures: {error}.") from error
    notes.append(READERS[name].note)
    return folder, images


def _read_people(name: str, root: Path, notes: list[str], **_: Any) -> Found:
    for folder in walk(root):
        if (folder / "people.part.json").exists() and not (folder / "people.json").exists():
            told = f"{folder}: generation was interrupted"
            raise ValueError(f"{told}; `casnkit data synthesize` with this folder and size completes it")
    folder, images = _read_named(name, root, notes)
    header = read_json(folder / "people.json")
    notes.insert(0, "generated people: " + ", ".join(f"{k} {header.get(k)}" for k in ("size", "seed", "version")))
    return folder, images


def _find(file: str, folders: Iterable[Path]) -> Path | None:
    return next((folder / file for folder in folders if (folder / file).exists()), None)


def _read_cuhk03(name: str, root: Path, notes: list[str], progress: bool, **_: Any) -> Found:
    """Ready-made folders; else the raw files, extracted once; else folders of another name."""
    variant = name.rpartition("-")[2]
    config = PROTOCOL_FILE.format(variant)
    there = {folder.name for folder in walk(root) if holds(folder, MARKET_FOLDERS)}
    raw = _find(RAW_FILE, walk(root))
    if variant not in there and raw:
        protocol = _find(config, [*walk(root), *walk(raw.parents[1], 1)])
        if protocol is None:
            raise NotFound(f"found {raw}, but no {config} in {root}: it says which image is what.")
        root = _extract(raw, protocol, variant, progress)
    elif variant not in there and there & set(VARIANTS):
        raise NotFound(f"{name}: expected {variant}/ in {root}, found the boxes of the other variant alone.")
    notes.append(f"CUHK03-NP: the {variant} boxes are in use (detected and labeled ones give other numbers)")
    expected = f"{variant}/ with {', '.join(MARKET_FOLDERS)}, or {RAW_FILE} with {config},"
    return _read_named(name, root, notes, expected)


def _begins_cuhk03(name: str, folder: Path) -> bool:
    if holds(folder, [RAW_FILE]):
        return _find(PROTOCOL_FILE.format(name.rpartition("-")[2]), walk(folder.parent, 1)) is not None
    return _begins_named(name, folder)


def _extract(raw: Path, protocol: Path, variant: str, progress: bool) -> Path:
    """Write a variant's pictures once, like the ready-made folders, into the folder returned; continue what was begun."""
    target, partial = (raw.parent / "cuhk03-np-extracted" / name for name in (variant, f"{variant}.part"))
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
        if not target.is_dir():
            advice = "unpack it again, or copy it to where you may write"
            raise ValueError(f"expected a MATLAB 7.3 file at {raw}, could not read it ({error}): {advice}") from error
        shutil.rmtree(partial, ignore_errors=True)  # another process finished the same extraction meanwhile
    return target


def _read_protocol(path: Path) -> list[tuple[str, str]]:
    """``(name in the protocol, path to write)`` of every picture."""
    keys = ("filelist", "labels", "camId", "train_idx", "query_idx", "gallery_idx")
    try:
        protocol = scipy.io.loadmat(path, variable_names=keys)
        files = [str(np.asarray(file).ravel()[0]) for file in protocol["filelist"].ravel()]
        pids, cameras, *indices = (protocol[key].ravel().astype(int) for key in keys[1:])
    except UNREADABLE as error:
        raise ValueError(f"expected {', '.join(keys)} in {path}, could not read them: {error}") from error
    pids += pids.min() == 0  # 0 would mean distractor
    return [
        (files[i], f"{folder}/{pids[i]:04d}_c{cameras[i]}_{Path(files[i]).stem}.png")
        for folder, index in zip(MARKET_FOLDERS, indices, strict=True)
        for i in index - 1  # MATLAB counts from 1
    ]


def _write_pictures(file: Any, variant: str, jobs: Iterable[tuple[str, str]], target: Path) -> None:
    """``file[variant]`` refers to (10, people) tables, one for each pair of cameras: image 1-5 from the first view, 6-10
    from the second. The protocol's names give pair, person, view and image: ``1_001_1_01.png``."""
    pairs = [np.asarray(file[reference]) for reference in np.asarray(file[variant]).ravel()]
    table = [pair.T if pair.shape[0] == 10 else pair for pair in pairs]  # (people, 10) references each
    for name, relative in jobs:
        if (target / relative).is_file():  # whole, since every picture is renamed only when complete
            continue
        try:
            pair, person, _, image = (int(part) for part in Path(name).stem.split("_"))
            # (3, W, H) as MATLAB's column order arrives in HDF5; an empty cell is a short vector of sizes
            pixels = np.asarray(file[table[pair - 1][person - 1, image - 1]]).transpose(2, 1, 0)
        except (IndexError, ValueError, KeyError) as error:
            raise ValueError(f"the protocol's {name} is not in {file.filename}: files of two releases?") from error
        with atomic_path(target / relative) as temporary:
            Image.fromarray(np.ascontiguousarray(pixels)).save(temporary)


def _read_msmt17(name: str, root: Path, notes: list[str], **_: Any) -> Found:
    """Training takes list_train and list_val together (32,621 images).

    The lists count training and test people from 0 each; here they are 1, 2, ... together, for 0 means distractor.
    """
    folder, files = _choose(name, root), ["list_train.txt", "list_val.txt", *READERS[name].folders[1:]]
    files = [file for file in files if (folder / file).is_file()]
    table = pd.concat([_read_list(folder / file) for file in files])
    training = table.split == "train"
    first = max(table.pid[training], default=-1) + 2
    notes.append(f"training takes {' and '.join(files[:-2])}, {training.sum()} images; test people count from {first}")
    return folder, table.assign(pid=table.pid + np.where(training, 1, first)).sort_values("path")


def _read_list(file: Path) -> pd.DataFrame:
    """Each line ``<path> <number>`` of a list of MSMT17; the third field of a picture's name is its camera."""
    split = "train" if file.name in ("list_train.txt", "list_val.txt") else file.stem.removeprefix("list_")
    half = "train" if split == "train" else "test"
    places = [file.with_name(name) for name in (half, f"mask_{half}_v2")]  # version 2 masks faces
    pictures = next(filter(Path.is_dir, places), None)
    if pictures is None:
        raise NotFound(f"msmt17: expected {'/ or '.join(place.name for place in places)}/ beside {file}.")
    lines = pd.Series(file.read_text(encoding="utf-8-sig", errors="replace").replace("\\", "/").splitlines(), dtype=str)
    table = lines[lines.str.strip() != ""].str.extract(MSMT_LINE)
    for i in table.index[table.path.isna()]:
        raise NotFound(f"expected `0000/0000_000_01_....jpg 0` in line {i + 1} of {file}, found {lines[i][:80]!r}.")
    table = table.astype({"pid": int, "camid": int}).assign(split=split, path=f"{pictures}/" + table.path)
    if absent := sorted(set(table.path) - set(map(str, pictures.rglob("*")))):
        raise NotFound(f"msmt17: {file.name} names {len(absent)} of {len(table)} absent pictures: {absent[:3]}")
    return table


@dataclass(frozen=True)
class Reader:
    """All that the kit knows of a data set."""

    where: str  # one sentence on where the set can be had
    counts: Mapping[str, int] = field(default_factory=dict)  # that its authors give: "train images", ...
    read: Callable[..., Found] = _read_named  # (name, root, notes, **options): finds the set at or below root
    begins_in: Callable[[str, Path], bool] = _begins_named  # (name, folder): do the names in a folder fit the set?
    folders: Sequence[str] = MARKET_FOLDERS  # of training, query and gallery pictures, or files that mark the set
    pattern: str = MARKET_NAME  # of a picture's name, with a "/" of its path from the split's folder: pid, camid
    sign: str = ""  # a pattern that tells the set by its names where the other one reads names of several sets
    called: str = ""  # a pattern of the folder's name, where other sets have the same layout
    first: int = 0  # added to pids: 1 where people count from 0
    note: str = ""  # what a reader of results must know

    @property
    def anchored(self) -> str:
        """``pattern`` at the beginning of a name, its numbers short enough to be counted with."""
        return rf"^(?!.*\d{{19}})(?:{self.pattern})"

    def fits(self, place: Path) -> bool:
        """Whether a folder holds a picture that is called as this set's are."""
        sign, some = re.compile(self.sign or self.anchored), islice(pictures_below(place), 1000)
        return any(sign.match(f"{place.name}/{f}" if "/" in self.pattern else os.path.basename(f)) for f in some)


def _holds_all(name: str, folder: Path) -> bool:
    return holds(folder, READERS[name].folders)


_CUHK03 = {"read": _read_cuhk03, "begins_in": _begins_cuhk03}
_CODE = {  # of sets that are not three folders of pictures whose names say all
    "people": {"read": _read_people, "begins_in": lambda _, folder: any(folder.glob("people.*json"))},
    "cuhk03-np-detected": _CUHK03,
    "cuhk03-np-labeled": _CUHK03,
    "msmt17": {"read": _read_msmt17, "begins_in": _holds_all},
    "viper": {"read": _read_halved},
    "mars": {"read": _read_mars, "begins_in": _holds_all},
    "folder": {"read": read_own, "begins_in": lambda *_: False},  # taken where no other set begins
}
_KNOWN = read_json(Path(__file__).with_name("benchmarks.json"))  # a folder is taken for the first set that begins in it
READERS = {name: Reader(**facts, **_CODE.get(name, {})) for name, facts in _KNOWN.items()}
EXPECTED = {name: reader.counts for name, reader in READERS.items() if reader.counts}
