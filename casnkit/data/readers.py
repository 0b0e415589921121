r"""``open_dataset``: every set that casnkit reads, opened by name or recognised by what lies in a folder.

:data:`READERS`, at the end, holds all that the kit knows of each set; a new one is one more entry. Every project asks
for another directory name, so only the folders that hold the pictures are looked for, at the given folder or a few
levels below it. Opening reads names, never pixels, and fetches nothing. What a reader of the results must know (the
variant in use, rules that are off, files left out) comes back as ``dataset.notes``.
"""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lazy_loader
import numpy as np

from casnkit.data import cuhk03, people
from casnkit.data.files import read_json
from casnkit.data.records import MARKET_FOLDERS, SPLITS, UNKNOWN_CAMERA, ReidDataset, Split

COLUMNS = ["split", "path", "pid", "camid"]
pd = lazy_loader.load("pandas")
Found = tuple[Path, "list[tuple] | pd.DataFrame"]  # a set's folder, and its images in these columns
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MARKET_NAME = re.compile(r"(-?\d+)_c(\d+)")  # 0001_c1s1_001051_00.jpg, 0001_c2_f0046302.jpg, 0001_c1_1.png
DUKE_NAME = re.compile(r"\d+_c\d+_f\d+")
MSMT_LINE = r"(?P<path>(?:.*/)?[^/_]+_[^/_]+_(?P<camid>\d+)_[^/]*) (?P<number>\d+)\s*$"
MSMT_LISTS = ("list_train.txt", "list_query.txt", "list_gallery.txt")
MSMT_PICTURES = (("train", "test"), ("mask_train_v2", "mask_test_v2"))  # version 2 masks faces
# Beside Market-1501's folders these hold pictures only, and listing many names takes time.
LEAVES = {*MARKET_FOLDERS, "gt_bbox", "gt_query", "masks", "parts", "images"}
DEPTH, CROWDED, MOST_FOLDERS = 3, 200, 20_000  # levels below; subfolders of a folder that holds identities; on a level


class NotFound(ValueError):  # noqa: N818
    """A data set is not where it was looked for."""


def open_dataset(
    name: str, root: str | Path | None = None, *, camera_pattern: str | None = None, progress: bool = True
) -> ReidDataset:
    """Open a data set.

    Args:
        name: one of ``NAMES``, ``"people:tiny"``, ``"people:quick"``, ``"people:market"``, or the path of a folder, where
            whatever lies there is recognised, as by ``("auto", path)``.
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
        root = to_folder(root, name)
        folder, images = reader.read(name, root, notes, camera_pattern=camera_pattern, progress=progress)
    except NotFound as error:
        raise ValueError(f"{error} {reader.where}") from None
    return _to_dataset(name, folder, pd.DataFrame(images, columns=COLUMNS), notes)


def _resolve(name: str, root: str | Path | None) -> tuple[str, str, Path]:
    """``(name, size of the people to draw or "", folder)``."""
    kind, _, size = name.partition(":")
    if name not in NAMES and not (kind == "people" and size in people.SIZES):
        if root is None and (Path(name).expanduser().exists() or set(name) & set("/\\.")):
            return "auto", "", Path(name)
        every = ", ".join((*NAMES, *(f"people:{each}" for each in people.SIZES)))
        raise ValueError(f"expected the name of a data set ({every}) or an existing folder, got {name!r}")
    home = os.environ.get("CASNKIT_DATA")
    if root is None and kind == "people":  # the version in the folder's name keeps an older one out of the way
        size = size or "quick"
        root = Path(home or "~/.cache/casnkit") / f"people-{size}-{people.PEOPLE_VERSION}"
    if root is None and not home:
        where = READERS[name].where if name in READERS else ""
        raise ValueError(f"{name}: expected its folder: root=PATH, --data PATH, or the variable CASNKIT_DATA. {where}")
    return kind, size, Path(root or home).expanduser()


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
            told = "; ".join(notes)
            raise ValueError(f"{name}: the {split.name} split in {folder} is empty ({told}); unpack the set again")
    test = np.union1d(query.identities, gallery.identities)
    if shared := np.intersect1d(train.identities, test).tolist():
        told = f"{len(shared)} of {len(test)} test people are in training too, pids {shared[:5]} in {folder}"
        raise ValueError(f"{name}: {told}. Tests need people never trained on: move each person to one side.")
    tables = {"attributes": folder / "attributes.csv"} if (folder / "attributes.csv").exists() else {}
    return ReidDataset(name, folder, train, query, gallery, tuple(notes), tables)


def kind_of(folder: Path) -> str:
    """Which set begins in ``folder``, judged by names alone: the first entry of ``READERS`` that fits, or ""."""
    return next((name for name, reader in READERS.items() if reader.begins_in and reader.begins_in(folder)), "")


def recognise(root: str | Path) -> tuple[str, Path]:
    """``(name, folder)`` of the set at or below ``root``. Raises ValueError where there is none, or several."""
    root = to_folder(root, "auto")
    found = {folder: kind for folder in walk(root) if (kind := kind_of(folder))}
    if not found and _holds_own(root):
        return "folder", root
    if not found:
        expected = f"one of {', '.join(READERS)} (one folder of pictures for each person)"
        raise missing("nothing recognised", root, MARKET_FOLDERS, expected)
    if all(kind.startswith("cuhk03-np") for kind in found.values()):  # ready-made before raw, detected before labeled
        folder = min(found, key=lambda folder: (folder.name not in cuhk03.VARIANTS, folder.name))
    else:
        folder = _only_one("auto", root, found)
    return found[folder], folder


def listing(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Sorted names of subfolders, pictures and other files; hidden and half-written (``*.part``) ones are ignored."""
    with os.scandir(folder) as entries:
        found = sorted((e.name, e.is_dir()) for e in entries if e.name[0] != "." and not e.name.endswith(".part"))
    files = [name for name, is_folder in found if not is_folder]
    pictures = [name for name in files if name.lower().endswith(PICTURES)]
    return [name for name, is_folder in found if is_folder], pictures, sorted(set(files) - set(pictures))


def walk(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """``root`` and the folders up to ``depth`` levels below it, nearest first, without looking into picture folders."""
    yield root
    level = [root]
    for _ in range(depth):
        level = [folder / name for folder in level for name in _worth_a_look(folder)][:MOST_FOLDERS]
        yield from level


def _worth_a_look(folder: Path) -> list[str]:
    try:
        names = listing(folder)[0]
    except OSError:  # unreadable or vanished: as good as empty for a search
        return []
    leaves = LEAVES if set(names) & set(MARKET_FOLDERS) else set()
    return [name for name in names if name not in leaves] if len(names) <= CROWDED else []


def holds(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether a folder has every subfolder and file named."""
    return all((folder / name).exists() for name in names)


def find_folders(root: Path, *wanted: str) -> list[Path]:
    """All folders at or below ``root`` that contain every folder or file named in ``wanted``."""
    return [folder for folder in walk(root) if holds(folder, wanted)]


def to_folder(root: str | Path, name: str) -> Path:
    """``root`` as an absolute path; raises NotFound where it is no folder."""
    path = Path(root).expanduser().absolute()
    if not path.is_dir():
        found = "a file (an archive has to be unpacked first)" if path.is_file() else "nothing"
        raise NotFound(f"{name}: expected a folder at {path}, found {found}.")
    return path


def missing(name: str, root: Path, wanted: tuple[str, ...], expected: str = "") -> NotFound:
    """The error that the set ``name`` is not at ``root``: what was expected, what lies there, and near misses."""
    folders, pictures, others = listing(root)
    found = ", ".join([*(f"{folder}/" for folder in folders), *others][:12]) or "no folders"
    text = f"{name}: expected {expected or ', '.join(wanted)} in {root} or up to {DEPTH} levels below it."
    text += f" Found there: {found}; {len(pictures)} pictures."
    best = max(walk(root), key=lambda folder: sum((folder / each).exists() for each in wanted))
    lacking = [each for each in wanted if not (best / each).exists()]
    if holds(root.parent, wanted):
        text += f" This is the wrong level of folder: give {root.parent}."
    elif len(lacking) < len(wanted):
        text += f" {best} lacks {', '.join(lacking)}: unpack the set again."
    return NotFound(text)


def _only_one(name: str, root: Path, found: dict[Path, str]) -> Path:
    if len(found) > 1:
        listed = "; ".join(f"{folder} ({kind})" for folder, kind in list(found.items())[:6])
        raise ValueError(f"{name}: {len(found)} sets lie below {root}: {listed}. Give the folder of one of them.")
    return next(iter(found))


def _choose(name: str, root: Path, wanted: tuple[str, ...], notes: list[str], expected: str = "") -> Path:
    """The one folder that holds what is ``wanted``; where several do, the one that looks like the set ``name``."""
    kinds = {folder: kind_of(folder) for folder in find_folders(root, *wanted)}
    if not kinds:
        raise missing(name, root, wanted, expected)
    folder = _only_one(name, root, {folder: kind for folder, kind in kinds.items() if kind == name} or kinds)
    if kinds[folder] != name:
        notes.append(f"opened as {name}, yet this looks like {kinds[folder]} ({folder})")
    return folder


def _read_market(name: str, root: Path, notes: list[str], expected: str = "", **_: Any) -> Found:
    """Market-1501's layout, shared by DukeMTMC-reID, CUHK03-NP and the drawn people: three folders of pictures.

    The pattern is applied to a file's name alone, because a path such as ``/data/run-2_c9/...`` would match it too.
    """
    folder, images = _choose(name, root, MARKET_FOLDERS, notes, expected), []
    for sub, split in zip(MARKET_FOLDERS, SPLITS, strict=True):
        _, pictures, others = listing(folder / sub)
        matches = {file: MARKET_NAME.match(file) for file in pictures}
        images += [(split, str(folder / sub / file), int(m[1]), int(m[2])) for file, m in matches.items() if m]
        if skipped := [file for file, match in matches.items() if not match] + others:
            wanted = "files that are not called <pid>_c<camera>....jpg"
            notes.append(f"{sub}: {len(skipped)} {wanted} skipped ({', '.join(skipped[:3])}, ...)")
    return folder, images


def _begins_market(folder: Path) -> bool:
    return holds(folder, MARKET_FOLDERS)


def _begins_duke(folder: Path) -> bool:
    return _begins_market(folder) and any(map(DUKE_NAME.match, listing(folder / "query")[1][:1]))


def _begins_people(folder: Path) -> bool:
    return (folder / "people.json").exists() or (folder / "people.part.json").exists()


def _read_people(name: str, root: Path, notes: list[str], **_: Any) -> Found:
    for folder in filter(_begins_people, walk(root)):
        if not (folder / "people.json").is_file():
            advice = "Run `casnkit data synthesize` again with the same folder and size to complete it"
            raise ValueError(f"people: the generation in {folder} was interrupted. {advice}.")
    folder, images = _read_market(name, root, notes)
    header = read_json(folder / "people.json")
    notes.insert(0, "generated people: " + ", ".join(f"{k} {header.get(k)}" for k in ("size", "seed", "version")))
    return folder, images


def _read_cuhk03(name: str, root: Path, notes: list[str], progress: bool, **_: Any) -> Found:
    """Ready-made folders; else the raw files, extracted once; else folders of another name."""
    variant = name.rpartition("-")[2]
    config = cuhk03.config_name(variant)
    there = {folder.name for folder in find_folders(root, *MARKET_FOLDERS)}
    raw = find_folders(root, cuhk03.RAW_FILE)
    if variant not in there and raw:
        protocol = find_folders(root, config) or [
            folder for folder in walk(raw[0].parent, 1) if holds(folder, (config,))
        ]
        if not protocol:
            raise NotFound(
                f"found {cuhk03.RAW_FILE} in {raw[0]}, but no {config} in {root}: it says which image is what."
            )
        root = cuhk03.extract(raw[0] / cuhk03.RAW_FILE, protocol[0] / config, variant, progress)
    elif variant not in there and there & set(cuhk03.VARIANTS):
        raise NotFound(f"{name}: expected {variant}/ in {root}, found the boxes of the other variant alone.")
    notes.append(f"CUHK03-NP: the {variant} boxes are in use (detected and labeled ones give other numbers)")
    expected = f"{variant}/ with {', '.join(MARKET_FOLDERS)}, or {cuhk03.RAW_FILE} with {config},"
    return _read_market(name, root, notes, expected)


def _begins_cuhk03(variant: str, folder: Path) -> bool:
    if _begins_market(folder):
        return folder.name == variant
    config = (cuhk03.config_name(variant),)
    return (folder / cuhk03.RAW_FILE).exists() and any(holds(place, config) for place in walk(folder.parent, 1))


def _read_msmt17(name: str, root: Path, notes: list[str], **_: Any) -> Found:
    """Training takes list_train and list_val together (32,621 images).

    The lists count people from 0 both in training and in test; here training people are 1, 2, ... and test people follow
    them, for 0 means distractor.
    """
    folder = _choose(name, root, MSMT_LISTS, notes)
    pictures = next((pair for pair in MSMT_PICTURES if holds(folder, pair)), None)
    if pictures is None:
        raise NotFound(
            f"{name}: expected train/ and test/, or mask_train_v2/ and mask_test_v2/, beside lists in {folder}."
        )
    lists = [file for file in ("list_train.txt", "list_val.txt") if (folder / file).is_file()]
    training = pd.concat([_read_list(folder / file, folder / pictures[0], "train", 1) for file in lists])
    offset = max(training.pid, default=0) + 1
    notes.append(
        f"training takes {' and '.join(lists)}, {len(training)} images; test people are numbered from {offset}"
    )
    tests = [_read_list(folder / f"list_{split}.txt", folder / pictures[1], split, offset) for split in SPLITS[1:]]
    return folder, pd.concat([part.sort_values("path") for part in (training, *tests)])


def _read_list(file: Path, pictures: Path, split: str, offset: int) -> pd.DataFrame:
    """Each line ``<path> <number>`` of a list of MSMT17; the third field of a picture's name is its camera."""
    lines = pd.Series(file.read_text(encoding="utf-8", errors="replace").replace("\\", "/").splitlines(), dtype=str)
    table = lines[lines.str.strip() != ""].str.extract(MSMT_LINE)
    for i in table.index[table.path.isna()]:
        told = f"in line {i + 1} of {file}, found {lines[i][:80]!r}"
        raise NotFound(f"msmt17: expected `0000/0000_000_01_....jpg 0` {told}.")
    paths = [str(pictures / path) for path in table.path]
    if absent := sorted(set(paths) - set(map(str, pictures.rglob("*")))):
        raise NotFound(f"msmt17: {file.name} names {len(absent)} of {len(paths)} absent pictures: {absent[:3]}")
    return table.assign(split=split, path=paths, pid=table.number.astype(int) + offset, camid=table.camid.astype(int))


def _holds_own(root: Path) -> bool:
    """Whether own pictures lie in ``root``, in one of the two arrangements of :func:`_read_own`."""
    names = set(listing(root)[0])
    if {"query", "gallery"} <= names:
        return any(listing(root / name)[0] for name in ("query", "gallery"))
    return not names & {*SPLITS, *MARKET_FOLDERS} and sum(bool(listing(root / n)[1]) for n in sorted(names)[:50]) >= 2


def _read_own(name: str, root: Path, notes: list[str], camera_pattern: str | None, **_: Any) -> Found:
    """Own pictures, ``root/{train,query,gallery}/<identity>/*.jpg`` or ``root/<identity>/*.jpg``.

    Of the second arrangement the first half of the people trains; of the rest, the first picture of each is a query.
    Where no camera is found in a file's name, it is unknown and the same-camera rule is off.
    """
    splits = [split for split in SPLITS if (root / split).is_dir()] or [""]
    if splits != [""] and not {"query", "gallery"} <= set(splits):
        raise NotFound(f"folder: expected query/ and gallery/ in {root}, found {'/, '.join(splits)}/ alone.")
    places = [(split, identity) for split in splits for identity in listing(root / split)[0]]
    rows = [
        (*place, str(root.joinpath(*place, file))) for place in places for file in listing(root.joinpath(*place))[1]
    ]
    if not rows:
        raise missing("folder", root, SPLITS, "one folder of pictures for each person")
    if loose := sum(len(listing(root / split)[1]) for split in splits):
        notes.append(f"left out: {loose} pictures outside any person's folder")
    table = pd.DataFrame(rows, columns=["split", "identity", "path"])
    if splits == [""]:
        names = sorted(set(table.identity))
        training = table.identity.isin(names[: len(names) // 2])
        table["split"] = np.select([training, ~table.duplicated("identity")], ["train", "query"], "gallery")
        notes.append(
            f"no query/ and gallery/: the first {len(names) // 2} of {len(names)} people train, the others test"
        )
    table["pid"] = table.identity.map(_numbers(set(table.identity)))
    cameras = table.path.map(os.path.basename).str.extract(camera_pattern or "(?!)()")[0]  # (?!) is found nowhere
    table["camid"] = cameras.map(_numbers(set(cameras.dropna()))).fillna(UNKNOWN_CAMERA).astype(int)
    if unknown := int(cameras.isna().sum()):
        rule = "for them the same-camera rule is off, and results look better than with it"
        hint = r"camera_pattern='_c(\d+)' reads names like Market-1501's"
        notes.append(f"{unknown} of {len(table)} cameras are unknown: {rule} ({hint})")
    queries, gallery = (table.loc[table.split == split, ["pid", "path"]] for split in SPLITS[1:])
    pairs = queries.merge(gallery, on="pid")
    if same := sum(filecmp.cmp(a, b, shallow=False) for a, b in zip(pairs.path_x, pairs.path_y, strict=True)):
        notes.append(f"{same} queries lie in the gallery as the same file: results are too good")
    return root, table


def _numbers(names: set[str]) -> dict[str, int]:
    """The numbers that names are, or 1, 2, ... in their order where some are none, less than 1 or equal."""
    numbers = {name: int(name) for name in names if name.isdecimal() and int(name) > 0}
    return (
        numbers if len(set(numbers.values())) == len(names) else {name: i + 1 for i, name in enumerate(sorted(names))}
    )


@dataclass(frozen=True)
class Reader:
    """All that the kit knows of a data set."""

    read: Callable[..., Found]  # (name, root, notes, **options): finds the set at or below root, and adds notes
    begins_in: Callable[[Path], bool] | None  # do its names lie right in a folder? None: taken where nothing else is
    where: str  # one sentence on where the set can be had
    counts: tuple[int, ...] = ()  # that its authors give, in the order of COUNTED


COUNTED = ("train images", "train identities", "query images", "query identities", "gallery images", "cameras")
COUNTED += ("gallery identities", "gallery distractors", "gallery junk")
DUKE = "DukeMTMC-reID was withdrawn by its authors in 2019: casnkit reads a copy that you hold and fetches none."
MARKET = "The authors hand it out at https://zheng-lab-anu.github.io/Project/project_reid.html."
MSMT17 = "It is given on request at https://www.pkuvmc.com/dataset.html."
OWN = "Own pictures need one folder for each person, in train/, query/ and gallery/ or all in one."
CUHK03 = (
    "Ready-made folders and the new-protocol .mat files are described at https://github.com/zhunzhong07/"
    "person-re-ranking; cuhk-03.mat comes from https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html."
)
DETECTED, LABELED = (7365, 767, 1400, 700, 5332, 2, 700), (7368, 767, 1400, 700, 5328, 2, 700)
READERS = {  # a folder is taken for the first set that begins in it
    "people": Reader(_read_people, _begins_people, "It is generated: `casnkit data synthesize` writes it."),
    "dukemtmc-reid": Reader(_read_market, _begins_duke, DUKE, (16522, 702, 2228, 702, 17661, 8)),
    "cuhk03-np-detected": Reader(_read_cuhk03, partial(_begins_cuhk03, "detected"), CUHK03, DETECTED),
    "cuhk03-np-labeled": Reader(_read_cuhk03, partial(_begins_cuhk03, "labeled"), CUHK03, LABELED),
    "market1501": Reader(_read_market, _begins_market, MARKET, (12936, 751, 3368, 750, 19732, 6, 750, 2798, 3819)),
    "msmt17": Reader(
        _read_msmt17, lambda folder: holds(folder, MSMT_LISTS), MSMT17, (32621, 1041, 11659, 3060, 82161, 15, 3060)
    ),
    "folder": Reader(_read_own, None, OWN),
}
NAMES = (*READERS, "auto")
