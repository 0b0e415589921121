r"""``open_dataset``: every set that casnkit reads, opened by name or recognised by what lies in a folder.

:data:`READERS`, at the end, holds all that the kit knows of each set; a new one is one more entry, at best its folders
and a pattern of its pictures' names. Opening reads names, never pixels, and fetches nothing. What a reader of the results
must know (the variant in use, rules that are off, files left out) comes back as ``dataset.notes``.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lazy_loader
import numpy as np
import scipy
from PIL import Image
from tqdm.auto import tqdm

from casnkit.data import people
from casnkit.data.files import atomic_path, read_json
from casnkit.data.records import MARKET_FOLDERS, SPLITS, UNKNOWN_CAMERA, ReidDataset, Split

pd = lazy_loader.load("pandas")
Found = tuple[Path, "list[tuple] | pd.DataFrame"]  # a set's folder, and its images: split, path, pid, camid
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MARKET_NAME = r"(?P<pid>-?\d+)_c(?P<camid>\d+)"  # 0001_c1s1_001051_00.jpg, 0001_c2_f0046302.jpg, 0001_c1_1.png
VARIANTS = ("detected", "labeled")
RAW_FILE, PROTOCOL_FILE = "cuhk-03.mat", "cuhk03_new_protocol_config_{}.mat"  # of a variant
MSMT_LINE = r"(?P<path>(?:.*/)?[^/_]+_[^/_]+_(?P<camid>\d+)_[^/]*) (?P<pid>\d+)\s*$"
MSMT_LISTS = ("list_train.txt", "list_query.txt", "list_gallery.txt")
DEPTH, CROWDED, MOST_FOLDERS = 3, 200, 20_000  # levels below; subfolders of a folder that holds identities; on a level


class NotFound(ValueError):  # noqa: N818
    """A data set is not where it was looked for."""


def open_dataset(
    name: str, root: str | Path | None = None, *, camera_pattern: str | None = None, progress: bool = True
) -> ReidDataset:
    """Open a data set.

    Args:
        name: a key of ``READERS``, ``"people:tiny"``, ``"people:quick"``, ``"people:market"``, or the path of a folder,
            where whatever lies there is recognised, as by ``("auto", path)``.
        root: the set's folder or one up to three levels above it; default ``$CASNKIT_DATA``, for generated people also
            ``~/.cache/casnkit``.
        camera_pattern: ``folder`` only: regular expression; its first group finds the camera in a file's name.

    Raises:
        ValueError: unknown name; the set is missing, incomplete, empty, or the same person is in training and test.
        ImportError: CUHK03's raw ``.mat`` file needs h5py (``pip install "casnkit[raw]"``).
    """
    name, size, root = _resolve(str(name), root)
    if name == "people" and (size or not root.exists() or (root.is_dir() and not any(root.iterdir()))):
        root = people.synthesize(root, size=size or "quick", progress=progress)
    if name == "auto":
        name, root = recognise(root)
    if camera_pattern and name != "folder":
        raise ValueError(f"camera_pattern is for own pictures: {name} has its cameras in its files' names")
    reader, notes = READERS[name], []
    try:
        folder, images = reader.read(name, root, notes, camera_pattern=camera_pattern, progress=progress)
    except NotFound as error:
        raise ValueError(f"{error} {reader.where}") from None
    if (kind := kind_of(folder)) not in (name, ""):
        notes.append(f"opened as {name}, yet this looks like {kind} ({folder})")
    return _to_dataset(name, folder, pd.DataFrame(images, columns=["split", "path", "pid", "camid"]), notes)


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
    market = _holds(folder, MARKET_FOLDERS)  # its file names are unique
    sides = [folder / side if market and (folder / side).is_dir() else None for side in ("masks", "parts")]
    own = {split: images[(images.split == split) & ~nobody] for split in SPLITS}
    train, query, gallery = (Split(part.path, part.pid, part.camid, split, *sides) for split, part in own.items())
    for split in (query, gallery):
        if not len(split):
            told = f"the {split.name} split in {folder} is empty ({'; '.join(notes)})"
            raise ValueError(f"{name}: {told}; unpack the set again")
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


def _listing(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Sorted names of subfolders, pictures and other files; hidden and half-written (``*.part``) ones are ignored."""
    if not folder.is_dir():
        found = "a file (an archive has to be unpacked first)" if folder.is_file() else "nothing"
        raise NotFound(f"expected a folder at {folder}, found {found}.")
    with os.scandir(folder) as entries:
        found = sorted((e.name, e.is_dir()) for e in entries if e.name[0] != "." and not e.name.endswith(".part"))
    files = [name for name, is_folder in found if not is_folder]
    pictures = [name for name in files if name.lower().endswith(PICTURES)]
    return [name for name, is_folder in found if is_folder], pictures, sorted(set(files) - set(pictures))


def _walk(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """``root`` and the folders up to ``depth`` levels below it, nearest first, without looking into picture folders."""
    yield root
    level = [root]
    for _ in range(depth):
        level = [folder / name for folder in level for name in _worth_a_look(folder)][:MOST_FOLDERS]
        yield from level


def _worth_a_look(folder: Path) -> list[str]:
    try:
        names = _listing(folder)[0]
    except (OSError, NotFound):  # unreadable or vanished
        return []
    whole = set(MARKET_FOLDERS) <= set(names)  # nothing but pictures below
    return [] if whole or len(names) > CROWDED else names


def _holds(folder: Path, names: Sequence[str]) -> bool:
    return all((folder / name).exists() for name in names)


def _choose(name: str, root: Path, expected: str = "") -> Path:
    """The folder of the set ``name`` ("auto": of any); where several have its layout, the one that looks like it."""
    wanted = READERS[name].folders if name in READERS else ()
    kinds = {folder: kind for folder in _walk(root) if _holds(folder, wanted) and (kind := kind_of(folder))}
    found = [folder for folder, kind in kinds.items() if kind == name] or list(kinds)
    if not found and name == "auto" and _holds_own(root):
        return root
    if not found:
        raise _missing(name, root, wanted or MARKET_FOLDERS, expected)
    if name == "auto" and all(kind.startswith("cuhk03-np") for kind in kinds.values()):
        return min(found, key=lambda folder: (folder.name not in VARIANTS, folder.name))  # ready-made, detected
    if len(found) > 1:
        listed = "; ".join(f"{folder} ({kinds[folder]})" for folder in found[:6])
        raise ValueError(f"{name}: {len(found)} sets lie below {root}: {listed}. Give the folder of one of them.")
    return found[0]


def _missing(name: str, root: Path, wanted: Sequence[str], expected: str = "") -> NotFound:
    """The error that the set ``name`` is not at ``root``: what was expected, what lies there, and near misses."""
    folders, pictures, others = _listing(root)
    found = ", ".join([*(f"{folder}/" for folder in folders), *others][:12]) or "no folders"
    text = f"{name}: expected {expected or ', '.join(wanted)} in {root} or up to {DEPTH} levels below it. "
    text += f"Found there: {found}; {len(pictures)} pictures."
    lacking = {f: [each for each in wanted if not (f / each).exists()] for f in (*_walk(root), root.parent)}
    best = min(lacking, key=lambda folder: len(lacking[folder]))
    if not lacking[best]:
        text += f" This is the wrong level of folder: give {best}."
    elif len(lacking[best]) < len(wanted):
        text += f" {best} lacks {', '.join(lacking[best])}: unpack the set again."
    return NotFound(text)


def _read_named(name: str, root: Path, notes: list[str], expected: str = "", **_: Any) -> Found:
    """Three folders of pictures whose names, as the set's pattern reads them, say who is seen by which camera.

    Only a file's name is read, because a path such as ``/data/run-2_c9/...`` would fit the pattern too.
    """
    reader, images, folder = READERS[name], [], _choose(name, root, expected)
    for place, split in zip(map(folder.joinpath, reader.folders), SPLITS, strict=True):
        _, pictures, others = _listing(place)
        found = {file: match for file in pictures if (match := re.match(reader.pattern, file))}
        images += [(split, str(place / file), int(m["pid"]), int(m["camid"])) for file, m in found.items()]
        if skipped := [file for file in pictures if file not in found] + others:
            told = "files skipped, their names tell no person and camera"
            notes.append(f"{place.name}: {len(skipped)} {told} ({', '.join(skipped[:3])}, ...)")
    return folder, images


def _begins_named(name: str, folder: Path) -> bool:
    return _holds(folder, READERS[name].folders) and any(folder.glob(READERS[name].sign))


def _read_people(name: str, root: Path, notes: list[str], **_: Any) -> Found:
    for folder in _walk(root):
        if (folder / "people.part.json").exists() and not (folder / "people.json").exists():
            raise ValueError(
                f"{folder}: generation was interrupted; `casnkit data synthesize` with this folder and size completes it"
            )
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
    there = {folder.name for folder in _walk(root) if _holds(folder, MARKET_FOLDERS)}
    raw = _find(RAW_FILE, _walk(root))
    if variant not in there and raw:
        protocol = _find(config, [*_walk(root), *_walk(raw.parents[1], 1)])
        if protocol is None:
            raise NotFound(f"found {raw}, but no {config} in {root}: it says which image is what.")
        root = _extract(raw, protocol, variant, progress)
    elif variant not in there and there & set(VARIANTS):
        raise NotFound(f"{name}: expected {variant}/ in {root}, found the boxes of the other variant alone.")
    notes.append(f"CUHK03-NP: the {variant} boxes are in use (detected and labeled ones give other numbers)")
    expected = f"{variant}/ with {', '.join(MARKET_FOLDERS)}, or {RAW_FILE} with {config},"
    return _read_named(name, root, notes, expected)


def _begins_cuhk03(name: str, folder: Path) -> bool:
    variant = name.rpartition("-")[2]
    if _holds(folder, [RAW_FILE]):
        return _find(PROTOCOL_FILE.format(variant), _walk(folder.parent, 1)) is not None
    return folder.name == variant and _begins_named(name, folder)


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
    except (LookupError, ValueError, TypeError, NotImplementedError, OSError, scipy.io.matlab.MatReadError) as error:
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
    folder = _choose(name, root)
    lists = [file for file in ("list_train.txt", "list_val.txt") if (folder / file).is_file()]
    training = pd.concat([_read_list(folder / file, "train", 1) for file in lists])
    first = max(training.pid, default=0) + 1
    notes.append(f"training takes {' and '.join(lists)}, {len(training)} images; test people count from {first}")
    tests = [_read_list(folder / f"list_{split}.txt", split, first) for split in SPLITS[1:]]
    return folder, pd.concat([training, *tests]).sort_values("path")


def _read_list(file: Path, split: str, first: int) -> pd.DataFrame:
    """Each line ``<path> <number>`` of a list of MSMT17; the third field of a picture's name is its camera."""
    half = "train" if split == "train" else "test"
    names = half, f"mask_{half}_v2"  # version 2 masks faces
    pictures = next((file.with_name(name) for name in names if file.with_name(name).is_dir()), None)
    if pictures is None:
        raise NotFound(f"msmt17: expected {'/ or '.join(names)}/ beside {file}.")
    lines = pd.Series(file.read_text(encoding="utf-8", errors="replace").replace("\\", "/").splitlines(), dtype=str)
    table = lines[lines.str.strip() != ""].str.extract(MSMT_LINE)
    for i in table.index[table.path.isna()]:
        raise NotFound(f"expected `0000/0000_000_01_....jpg 0` in line {i + 1} of {file}, found {lines[i][:80]!r}.")
    table = table.astype({"pid": int, "camid": int}).assign(split=split, path=f"{pictures}/" + table.path)
    if absent := sorted(set(table.path) - set(map(str, pictures.rglob("*")))):
        raise NotFound(f"msmt17: {file.name} names {len(absent)} of {len(table)} absent pictures: {absent[:3]}")
    return table.assign(pid=table.pid + first)


def _holds_own(root: Path) -> bool:
    """Whether own pictures lie in ``root``, in one of the two arrangements of :func:`_read_own`."""
    names = _listing(root)[0]
    if {"query", "gallery"} <= set(names):
        return any(_listing(root / name)[0] for name in ("query", "gallery"))
    return not set(names) & {*SPLITS, *MARKET_FOLDERS} and sum(bool(_listing(root / n)[1]) for n in names[:50]) >= 2


def _read_own(name: str, root: Path, notes: list[str], camera_pattern: str | None, **_: Any) -> Found:
    """Own pictures, ``root/{train,query,gallery}/<identity>/*.jpg`` or ``root/<identity>/*.jpg``.

    Of the second arrangement the first half of the people trains; of the rest, the first picture of each is a query.
    """
    splits = [split for split in SPLITS if (root / split).is_dir()] or [""]
    if splits != [""] and not {"query", "gallery"} <= set(splits):
        raise NotFound(f"folder: expected query/ and gallery/ in {root}, found {'/, '.join(splits)}/ alone.")
    folders = [(split, person, root / split / person) for split in splits for person in _listing(root / split)[0]]
    images = [(*of, str(folder / file)) for *of, folder in folders for file in _listing(folder)[1]]
    if not images:
        raise _missing("folder", root, SPLITS, "one folder of pictures for each person")
    if loose := sum(len(_listing(root / split)[1]) for split in splits):
        notes.append(f"left out: {loose} pictures outside any person's folder")
    table = pd.DataFrame(images, columns=["split", "person", "path"])
    if splits == [""]:
        names = sorted(set(table.person))
        half = names[: len(names) // 2]
        table["split"] = np.where(table.duplicated("person"), "gallery", "query")
        table.loc[table.person.isin(half), "split"] = "train"
        notes.append(f"no query/ and gallery/: the first {len(half)} of {len(names)} people train, the others test")
    cameras = table.path.map(os.path.basename).str.extract(camera_pattern or "(?!)()")[0]  # (?!) is found nowhere
    table = table.assign(pid=_numbers(table.person), camid=_numbers(cameras))
    if unknown := int(cameras.isna().sum()):
        told = "the same-camera rule is off for them, and results look better than with it"
        hint = r"camera_pattern='_c(\d+)' reads names like Market-1501's"
        notes.append(f"{unknown} of {len(table)} cameras are unknown: {told} ({hint})")
    pairs = table[table.split == "query"].merge(table[table.split == "gallery"], on="pid")
    if same := sum(filecmp.cmp(a, b, shallow=False) for a, b in zip(pairs.path_x, pairs.path_y, strict=True)):
        notes.append(f"{same} queries lie in the gallery as the same file: results are too good")
    return root, table


def _numbers(names: pd.Series) -> pd.Series:
    """The numbers that names are, or 1, 2, ... in their order where some are none, less than 1 or equal; -1 for none."""
    distinct = sorted(set(names.dropna()))
    numbers = {name: int(name) for name in distinct if name.isdecimal() and int(name) > 0}
    if len(set(numbers.values())) < len(distinct):
        numbers = {name: i for i, name in enumerate(distinct, 1)}
    return names.map(numbers).fillna(UNKNOWN_CAMERA).astype(int)


@dataclass(frozen=True)
class Reader:
    """All that the kit knows of a data set."""

    where: str  # one sentence on where the set can be had
    counts: tuple[int, ...] = ()  # that its authors give, in the order of check.COUNTED
    read: Callable[..., Found] = _read_named  # (name, root, notes, **options): finds the set at or below root
    begins_in: Callable[[str, Path], bool] = _begins_named  # (name, folder): do the names in a folder fit the set?
    folders: tuple[str, ...] = MARKET_FOLDERS  # of training, query and gallery pictures, or files that mark the set
    sign: str = "*"  # what a folder must hold too (glob), to tell the set from others of these folders
    pattern: str = MARKET_NAME  # of a picture's name: groups pid and camid


PEOPLE = "It is generated: `casnkit data synthesize` writes it."
DUKE = "DukeMTMC-reID was withdrawn by its authors in 2019: casnkit reads a copy that you hold and fetches none."
MARKET = "The authors hand it out at https://zheng-lab-anu.github.io/Project/project_reid.html."
MSMT17 = "It is given on request at https://www.pkuvmc.com/dataset.html."
OWN = "Own pictures need one folder for each person, in train/, query/ and gallery/ or all in one."
CUHK03 = (
    "Ready-made folders and the new-protocol .mat files are described at https://github.com/zhunzhong07/"
    "person-re-ranking; cuhk-03.mat comes from https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html."
)
READERS = {  # a folder is taken for the first set that begins in it
    "people": Reader(PEOPLE, (), _read_people, lambda _, folder: any(folder.glob("people.*json"))),
    "dukemtmc-reid": Reader(DUKE, (16522, 702, 2228, 702, 17661, 8), sign="query/[0-9]*_c[0-9]*_f[0-9]*"),
    "cuhk03-np-detected": Reader(CUHK03, (7365, 767, 1400, 700, 5332, 2, 700), _read_cuhk03, _begins_cuhk03),
    "cuhk03-np-labeled": Reader(CUHK03, (7368, 767, 1400, 700, 5328, 2, 700), _read_cuhk03, _begins_cuhk03),
    "market1501": Reader(MARKET, (12936, 751, 3368, 750, 19732, 6, 750, 2798, 3819)),
    "msmt17": Reader(MSMT17, (32621, 1041, 11659, 3060, 82161, 15, 3060), _read_msmt17, folders=MSMT_LISTS),
    "folder": Reader(OWN, (), _read_own, lambda *_: False),  # begins nowhere: taken where nothing else does
}
