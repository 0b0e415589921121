r"""``open_dataset``: every set that casnkit reads, opened by name or recognised by what lies in a folder.

:data:`READERS`, at the end, holds all that the kit knows of each set; a new one is one more entry. Opening reads names
only, never pixels. What a reader of the results must know (the variant in use, rules that are off, files left out) comes
back as ``dataset.notes``.
"""

import difflib
import filecmp
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from casnkit.data import cuhk03, people
from casnkit.data.files import read_json
from casnkit.data.layout import (
    MARKET_FOLDERS,
    MissingData,
    contents,
    find_folders,
    holds,
    missing,
    require_folder,
    walk,
)
from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, UNKNOWN_CAMERA, ReidDataset, Split

SPLITS = ("train", "query", "gallery")
Row = tuple[str, str, int, int]  # split, path, pid, camid


def open_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    distractors_500k: bool = False,
    camera_pattern: str | None = None,
    require_train: bool = True,
    progress: bool = True,
) -> ReidDataset:
    """Open a data set.

    Args:
        name: one of ``NAMES``; ``"people:tiny"``, ``"people:quick"`` or ``"people:market"``; ``"auto"`` recognises what
            lies at ``root``; the path of an existing folder means ``("auto", path)``.
        root: the set's folder or one up to three levels above it. None: generated people go to ``$CASNKIT_DATA`` or
            ``~/.cache/casnkit``; the other sets are searched for in ``$CASNKIT_DATA``.
        distractors_500k: Market-1501 only: append the 500k extra distractors to the gallery.
        camera_pattern: ``folder`` only: regular expression with one group, applied to file names.
        require_train: False allows a set without training images (evaluation only).
        progress: show a progress bar where something is generated or extracted.

    Raises:
        ValueError: unknown name; the set is missing, incomplete, empty, or the same person is in training and test.
        ImportError: CUHK03's raw ``.mat`` file needs h5py (``pip install "casnkit[raw]"``).
    """
    name, size, root = _resolve(str(name), root)
    if name == "people" and (size or not root.exists() or (root.is_dir() and not any(root.iterdir()))):
        root = people.synthesize(root, size=size or "quick", progress=progress)
    if name == "auto":
        name, root = recognise(root)
    reader = READERS[name]
    options = {"distractors_500k": distractors_500k, "camera_pattern": camera_pattern}
    for option, value in options.items():
        if value and option not in reader.options:
            owners = ", ".join(other for other in READERS if option in READERS[other].options)
            raise ValueError(f"{option} is an option of {owners}, got it for {name}")
    options |= {"require_train": require_train, "progress": progress}
    try:
        found = reader.read(name, require_folder(root, name), **{key: options[key] for key in reader.options})
    except MissingData as error:
        raise ValueError(f"{error} {reader.where}") from None
    return _to_dataset(name, *found, require_train)


def _resolve(name: str, root: str | Path | None) -> tuple[str, str, Path]:
    """``(name, size of the people to draw or "", folder)``."""
    kind, _, size = name.partition(":")
    if name not in NAMES and not (kind == "people" and size in people.SIZES):
        if root is None and (Path(name).expanduser().exists() or set(name) & set("/\\.")):
            return "auto", "", Path(name)
        near = difflib.get_close_matches(name.lower(), NAMES, n=1, cutoff=0.3)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        every = ", ".join((*NAMES, *(f"people:{each}" for each in people.SIZES)))
        raise ValueError(f"expected the name of a data set ({every}) or an existing folder, got {name!r}.{hint}")
    home = os.environ.get("CASNKIT_DATA")
    if root is None and kind == "people":  # the version in the folder's name keeps an older one out of the way
        size = size or "quick"
        root = Path(home or "~/.cache/casnkit") / f"people-{size}-{people.PEOPLE_VERSION}"
    if root is None and not home:
        raise ValueError(
            f"{name}: expected the folder of the set: open_dataset({name!r}, root=...), --data PATH, or the environment "
            f"variable CASNKIT_DATA. {READERS[name].where if name in READERS else ''}"
        )
    return kind, size, Path(root or home).expanduser()


def kind_of(folder: Path) -> str:
    """Which set begins in ``folder``, judged by names alone: the first entry of ``READERS`` that fits, or ""."""
    return next((name for name, reader in READERS.items() if reader.begins_in and reader.begins_in(folder)), "")


def recognise(root: str | Path) -> tuple[str, Path]:
    """``(name, folder)`` of the set at or below ``root``. Raises ValueError where there is none, or several."""
    root = require_folder(root, "auto")
    found = {folder: kind for folder in walk(root) if (kind := kind_of(folder))}
    if not found and _holds_own(root):
        return "folder", root
    if not found:
        expected = f"the folders of one of {', '.join(READERS)}"
        raise ValueError(f"{missing('nothing recognised', root, MARKET_FOLDERS, expected)} {READERS['folder'].where}")
    if all(kind.startswith("cuhk03-np") for kind in found.values()):  # ready-made before raw, detected before labeled
        found = {folder: kind for folder, kind in found.items() if folder.name in cuhk03.VARIANTS} or found
        if len({folder.parent for folder in found}) == 1 and "cuhk03-np-detected" in found.values():
            found = {folder: kind for folder, kind in found.items() if kind == "cuhk03-np-detected"}
    return next((kind, folder) for folder, kind in _only_one("auto", root, found).items())


def _only_one(name: str, root: Path, found: dict[Path, str]) -> dict[Path, str]:
    if len(found) > 1:
        listed = "; ".join(f"{folder} ({kind})" for folder, kind in list(found.items())[:6])
        raise ValueError(f"{name}: {len(found)} sets lie below {root}: {listed}. Give the folder of one of them.")
    return found


def _choose(name: str, root: Path, wanted: tuple[str, ...], notes: list[str], expected: str = "") -> Path:
    """The one folder that holds what is ``wanted``; where several do, the one that looks like the set ``name``."""
    kinds = {folder: kind_of(folder) for folder in find_folders(root, wanted)}
    if not kinds:
        raise missing(name, root, wanted, expected)
    fitting = {folder: kind for folder, kind in kinds.items() if kind == name} or kinds
    folder, kind = next(iter(_only_one(name, root, fitting).items()))
    if kind != name:
        notes.append(f"opened as {name}, yet this looks like {kind} ({folder})")
    return folder


def _to_dataset(name: str, folder: Path, rows: list[Row], notes: list[str], require_train: bool) -> ReidDataset:
    """The data set of a reader's rows. Raises ValueError where a split is empty or people are on both sides."""
    table = pd.DataFrame(rows, columns=["split", "path", "pid", "camid"])
    nobody = (table.pid <= 0) & (table.split != "gallery")
    if nobody.any():
        notes.append(f"{nobody.sum()} junk or distractor images (pid -1 or 0) in training or queries left out")
    own = [table[(table.split == split) & ~nobody] for split in SPLITS]
    for split, part in zip(SPLITS, own, strict=True):
        if part.empty and (require_train or split != "train"):
            raise ValueError(
                f"{name}: the {split} split in {folder} is empty ({'; '.join(notes)}); unpack the set again"
            )
    market = holds(folder, MARKET_FOLDERS)  # its file names are unique
    sides = [folder / side if market and (folder / side).is_dir() else None for side in ("masks", "parts")]
    train, query, gallery = (Split(o.path, o.pid, o.camid, s, *sides) for o, s in zip(own, SPLITS, strict=True))
    test = np.union1d(query.identities, gallery.identities)
    shared = np.intersect1d(train.identities, test)
    if len(shared):
        raise ValueError(
            f"{name}: {len(shared)} of {len(test)} test people are in training too (pids "
            f"{', '.join(map(str, shared[:5]))}{', ...' * (len(shared) > 5)}) in {folder}. "
            "Re-identification is tested on people never trained on: move each person's images to one side."
        )
    counts = np.unique(train.pids, return_counts=True)[1]
    if single := int((counts == 1).sum()):
        notes.append(f"{single} of {len(counts)} training people have one image: they form no positive pair")
    if lonely := int(queries_without_match(query, gallery).sum()):
        notes.append(f"{lonely} of {len(query)} queries have no match in the gallery: they are left out of the means")
    attributes = folder / "attributes.csv"
    tables = {"attributes": attributes} if attributes.is_file() else {}
    return ReidDataset(name, folder, train, query, gallery, tuple(notes), tables)


def queries_without_match(query: Split, gallery: Split) -> np.ndarray:
    """(N,) bool: queries for which the gallery holds no image of the same person from another camera."""
    seen = Counter(zip(gallery.pids.tolist(), gallery.camids.tolist(), strict=True))
    own = Counter(gallery.pids.tolist())
    pairs = zip(query.pids.tolist(), query.camids.tolist(), strict=True)
    return np.array([own[p] == (0 if c == UNKNOWN_CAMERA else seen[p, c]) for p, c in pairs], dtype=bool)


# Market-1501's layout, shared by DukeMTMC-reID, CUHK03-NP and the drawn people: three folders of pictures called
# 0001_c1s1_001051_00.jpg, 0001_c2_f0046302.jpg, 0001_c1_1.png. The pattern is applied to the file's name alone, because
# a path such as /data/run-2_c9/... would match it too.

MARKET_NAME = re.compile(r"(-?\d+)_c(\d+)")
DISTRACTORS = ("images", "distractors", "distractors_500k")


def _read_market(name: str, root: Path, distractors_500k: bool = False) -> tuple[Path, list[Row], list[str]]:
    notes: list[str] = []
    folder = _choose(name, root, MARKET_FOLDERS, notes)
    rows = _market_rows(folder, notes)
    extra = next((sub for sub in DISTRACTORS if name == "market1501" and (folder / sub).is_dir()), None)
    if distractors_500k and extra is None:
        raise MissingData(f"{name}: expected the distractors in {'/, '.join(DISTRACTORS)}/ in {folder}, found none.")
    if distractors_500k:
        added = contents(folder / extra)[1]
        rows += [("gallery", str(folder / extra / file), DISTRACTOR_PID, UNKNOWN_CAMERA) for file in added]
        notes.append(f"{len(added)} extra distractors from {extra}/ appended to the gallery (pid 0, camera unknown)")
    elif extra:
        notes.append(f"extra distractors lie in {extra}/ and are left out; distractors_500k=True adds them")
    return folder, rows, notes


def _market_rows(folder: Path, notes: list[str]) -> list[Row]:
    rows: list[Row] = []
    for sub, split in zip(MARKET_FOLDERS, SPLITS, strict=True):
        _, pictures, skipped = contents(folder / sub)
        for file in pictures:
            if match := MARKET_NAME.match(file):
                rows.append((split, str(folder / sub / file), int(match[1]), int(match[2])))
            else:
                skipped.append(file)
        if skipped:
            shown = ", ".join(skipped[:3]) + ", ..." * (len(skipped) > 3)
            notes.append(
                f"{sub}: {len(skipped)} files that are no pictures called <pid>_c<camera>... skipped ({shown})"
            )
    return rows


def _begins_market(folder: Path) -> bool:
    return holds(folder, MARKET_FOLDERS)


def _begins_duke(folder: Path) -> bool:
    names = contents(folder / "query")[1] if holds(folder, MARKET_FOLDERS) else []
    return bool(names) and re.match(r"\d+_c\d+_f\d+", names[0]) is not None


def _begins_people(folder: Path) -> bool:
    return (folder / "people.json").is_file() or (folder / "people.part.json").is_file()


def _read_people(name: str, root: Path) -> tuple[Path, list[Row], list[str]]:
    for folder in filter(_begins_people, walk(root)):
        if not (folder / "people.json").is_file():
            raise ValueError(
                f"people: the generation in {folder} was interrupted and the set is incomplete. "
                "Run `casnkit data synthesize` again with the same folder and size to complete it."
            )
    folder, rows, notes = _read_market(name, root)
    header = read_json(folder / "people.json")
    told = ", ".join(f"{key} {header[key]}" for key in ("size", "seed", "version") if key in header)
    return folder, rows, [f"generated people: {told}"] * bool(told) + notes


def _read_cuhk03(name: str, root: Path, progress: bool) -> tuple[Path, list[Row], list[str]]:
    """Ready-made folders; else the raw files, extracted once; else folders of another name."""
    variant = name.rpartition("-")[2]
    (other,) = set(cuhk03.VARIANTS) - {variant}
    folders, config = find_folders(root, MARKET_FOLDERS), cuhk03.config_name(variant)
    notes = [f"CUHK03-NP: the {variant} boxes are in use ({other} ones give other numbers)"]
    if not any(folder.name == variant for folder in folders):
        root = cuhk03.extract(root, variant, progress) or root
        if any(folder.name == other for folder in folders) and root.name != variant:
            raise MissingData(
                f"{name}: expected {variant}/. The {other} boxes are there: open them as cuhk03-np-{other}."
            )
    expected = f"{variant}/ with {', '.join(MARKET_FOLDERS)}, or {cuhk03.RAW_FILE} with {config},"
    folder = _choose(name, root, MARKET_FOLDERS, notes, expected)
    return folder, _market_rows(folder, notes), notes


def _begins_cuhk03(variant: str) -> Callable[[Path], bool]:
    def begins(folder: Path) -> bool:
        if holds(folder, MARKET_FOLDERS):
            return folder.name == variant
        raw = holds(folder, (cuhk03.RAW_FILE,)) and not (folder / cuhk03.EXTRACTED).is_dir()
        return raw and any(holds(place, (cuhk03.config_name(variant),)) for place in walk(folder.parent, 1))

    return begins


# MSMT17: lists of `<path> <number>` lines beside two folders of pictures. The third field of a name is the camera. The
# lists count people from 0 both in training and in test; here training people are 1, 2, ... and test people follow them.

MSMT_LISTS = ("list_train.txt", "list_query.txt", "list_gallery.txt")
MSMT_PICTURES = (("train", "test"), ("mask_train_v2", "mask_test_v2"))  # version 2 masks faces
MSMT_LINE = re.compile(r"((?:.*/)?[^/_]+_[^/_]+_(\d+)_[^/]*) (\d+)")


def _read_msmt17(name: str, root: Path) -> tuple[Path, list[Row], list[str]]:
    """Training takes list_train and list_val together (32,621 images)."""
    notes: list[str] = []
    folder = _choose(name, root, MSMT_LISTS, notes)
    train, test = next((pair for pair in MSMT_PICTURES if holds(folder, pair)), ("", ""))
    if not train:
        wanted = " or ".join(f"{train}/ and {test}/" for train, test in MSMT_PICTURES)
        raise MissingData(f"{name}: expected {wanted} beside the lists in {folder}, found neither.")
    rows = _msmt_rows(folder / "list_train.txt", folder / train, "train", 1)
    if (folder / "list_val.txt").is_file():
        more = _msmt_rows(folder / "list_val.txt", folder / train, "train", 1)
        notes.append(f"training takes list_train ({len(rows)} images) and list_val ({len(more)}) together")
        rows = sorted(rows + more)
    else:
        notes.append("list_val.txt is missing: training takes list_train.txt alone")
    offset = max((pid for _, _, pid, _ in rows), default=0) + 1
    notes.append(f"test people are numbered from {offset} on: number in the list plus {offset}")
    for split in SPLITS[1:]:
        rows += _msmt_rows(folder / f"list_{split}.txt", folder / test, split, offset)
    return folder, rows, notes


def _msmt_rows(file: Path, pictures: Path, split: str, offset: int) -> list[Row]:
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if match := MSMT_LINE.fullmatch(line.strip().replace("\\", "/")):
            rows.append((split, str(pictures / match[1]), int(match[3]) + offset, int(match[2])))
        elif line.strip():
            raise MissingData(
                f"msmt17: expected `0000/0000_000_01_....jpg 0` in line {number} of {file}, found {line.strip()[:80]!r}."
            )
    # Listing folders: a hundred thousand single look-ups are slow on a network disk.
    folders = {Path(path).parent for _, path, _, _ in rows}
    there = {str(folder / name) for folder in folders if folder.is_dir() for name in contents(folder)[1]}
    absent = sorted(path for _, path, _, _ in rows if path not in there)
    if absent:
        raise MissingData(
            f"msmt17: {file.name} names {len(absent)} of {len(rows)} pictures that are not there, e.g. "
            f"{', '.join(absent[:3])}. Unpack the set again."
        )
    return sorted(rows)


# Own pictures, one folder for each identity: root/{train,query,gallery}/<identity>/*.jpg, or root/<identity>/*.jpg, of
# which the first half of the identities trains and the rest is the test.

OWN_SPECIAL = {"-1": JUNK_PID, "0000": DISTRACTOR_PID}  # Market-1501's own names, kept by conversions to folders


def _holds_own(root: Path) -> bool:
    names = contents(root)[0]
    if {"query", "gallery"} <= set(names):
        return any(contents(root / name)[0] for name in ("query", "gallery"))
    reserved = any(name.startswith("bounding_box") or name in SPLITS for name in names)
    return not reserved and sum(bool(contents(root / name)[1]) for name in names[:50]) >= 2


def _read_own(
    name: str, root: Path, camera_pattern: str | None, require_train: bool
) -> tuple[Path, list[Row], list[str]]:
    """The camera is what ``camera_pattern`` finds in a file's name; where it finds none the camera rule is off."""
    try:
        groups = re.compile(camera_pattern or "()").groups
    except re.error as error:
        raise ValueError(f"camera_pattern: expected a regular expression, got {camera_pattern!r} ({error})") from error
    if groups != 1:
        raise ValueError(rf"camera_pattern: expected one group, e.g. 'cam(\d+)', got {groups} in {camera_pattern!r}")
    present = [split for split in SPLITS if (root / split).is_dir()]
    lacking = [split for split in SPLITS if split not in present and (require_train or split != "train")]
    if present and lacking:
        raise MissingData(f"{name}: {root} holds {'/, '.join(present)}/ but lacks {'/, '.join(lacking)}/.")
    notes: list[str] = []
    found = [row for split in present or [""] for row in _own_files(root, split, notes)]
    table = pd.DataFrame(found, columns=["split", "identity", "file"])
    paths = [str(root / split / identity / file) for split, identity, file in found]
    table["camera"] = table.file.str.extract(camera_pattern, expand=False) if camera_pattern else None
    if not present:
        table["split"] = _halves(root, table, notes)
    pids, camids = _own_pids(table, notes), _own_cameras(table, camera_pattern, notes)
    rows = list(zip(table.split, paths, pids, camids, strict=True))
    gallery: dict[int, list[str]] = {pid: [] for pid in pids}
    for split, path, pid, _ in rows:
        if split == "gallery":
            gallery[pid].append(path)
    queries = [row for row in rows if row[0] == "query"]
    same = sum(any(filecmp.cmp(path, other, shallow=False) for other in gallery[pid]) for _, path, pid, _ in queries)
    if same:
        notes.append(f"{same} of {len(queries)} queries lie in the gallery as the same file: results are too good")
    return root, rows, notes


def _own_files(root: Path, split: str, notes: list[str]) -> list[tuple[str, str, str]]:
    """``(split, identity, file name)`` of every picture of ``root/split/<identity>/``, sorted."""
    identities, loose, _ = contents(root / split)
    found = {identity: contents(root / split / identity)[1] for identity in identities}
    if not any(found.values()):
        expected = "train/, query/ and gallery/ with one folder per identity, or one folder per identity,"
        hint = " The pictures lie loose: this is the wrong level, each identity needs a folder." if loose else ""
        raise MissingData(f"{missing('folder', root / split, SPLITS, expected)}{hint}")
    empty = [identity for identity in identities if not found[identity]]
    if loose or empty:
        notes.append(f"{split or root.name}: left out {len(loose)} loose pictures and {len(empty)} empty folders")
    return [(split, identity, file) for identity in identities for file in found[identity]]


def _halves(root: Path, table: pd.DataFrame, notes: list[str]) -> np.ndarray:
    """The split of each picture: the first half of the people trains; first pictures of each camera are queries."""
    identities = sorted(set(table.identity))
    half = len(identities) // 2
    if not half:
        raise ValueError(f"folder: {root} holds one identity ({identities[0]}), expected two: one trains, one tests.")
    notes.append(
        f"no train/, query/, gallery/: of {len(identities)} identities the first {half} train, the other "
        f"{len(identities) - half} test; their first image of each camera is a query, the rest gallery"
    )
    first = ~table.duplicated(["identity", "camera"])
    all_first = first.groupby(table.identity).transform("all")  # one image per camera: keep something to be found
    query = first & ~(all_first & table.duplicated("identity"))
    return np.select([table.identity.isin(identities[:half]), query], ["train", "query"], "gallery")


def _own_pids(table: pd.DataFrame, notes: list[str]) -> list[int]:
    gallery_alone = set(table.identity) - set(table.identity[table.split != "gallery"])
    special = {name: pid for name, pid in OWN_SPECIAL.items() if name in gallery_alone}
    if special:
        notes.append(f"gallery/{' and gallery/'.join(special)}: read as Market-1501 means them (-1 junk, 0 distractor)")
    names = sorted(set(table.identity) - set(special))
    numbers = [int(name) if name.isdecimal() else 0 for name in names]
    if 0 in numbers or len(set(numbers)) < len(numbers):
        notes.append(f"identities are numbered 1 .. {len(names)} in the order of their folders' names")
        numbers = list(range(1, len(names) + 1))
    return table.identity.map(dict(zip(names, numbers, strict=True)) | special).tolist()


def _own_cameras(table: pd.DataFrame, camera_pattern: str | None, notes: list[str]) -> list[int]:
    texts, unknown = sorted(table.camera.dropna().unique()), int(table.camera.isna().sum())
    if not texts:
        hint = f"; no name fits camera_pattern={camera_pattern!r}" if camera_pattern else ""
        if not camera_pattern and all(map(MARKET_NAME.match, table.file)):
            hint = r"; the names look like Market-1501's: camera_pattern='_c(\d+)' would read them"
        notes.append(f"cameras are unknown, so the same-camera rule is off: results look better than with it{hint}")
    elif unknown:
        notes.append(f"{unknown} of {len(table)} names do not fit camera_pattern: for them the same-camera rule is off")
    numbers = {text: int(text) for text in texts if text.isdecimal()}
    if len(numbers) < len(texts):
        numbers = {text: i for i, text in enumerate(texts, 1)}
        notes.append("cameras: " + ", ".join(f"{text} is {i}" for text, i in numbers.items()))
    return [numbers.get(text, UNKNOWN_CAMERA) for text in table.camera]


@dataclass(frozen=True)
class Reader:
    """All that the kit knows of a data set.

    Attributes:
        read: ``(name, root, **options)`` -> the set's folder at or below ``root``, its rows, and notes.
        begins_in: whether the set's own names lie right in a folder; None: recognised where nothing else is.
        where: one sentence on where the set can be had.
        expected: counts that its authors give, by what is counted.
        options: arguments of ``open_dataset`` that ``read`` takes.
    """

    read: Callable[..., tuple[Path, list[Row], list[str]]]
    begins_in: Callable[[Path], bool] | None
    where: str
    expected: dict[str, int] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def _counts(train: tuple[int, int], query: tuple[int, int], gallery: int, cameras: int, **more: int) -> dict[str, int]:
    counts = {"train images": train[0], "train identities": train[1], "query images": query[0]}
    counts |= {"query identities": query[1], "gallery images": gallery, "cameras": cameras}
    return counts | {key.replace("_", " "): value for key, value in more.items()}


DUKE = "DukeMTMC-reID was withdrawn by its authors in 2019: casnkit reads a copy that you hold and fetches none."
CUHK03 = (
    "Ready-made folders and the new-protocol .mat files are described at https://github.com/zhunzhong07/"
    "person-re-ranking; cuhk-03.mat comes from https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html."
)
DETECTED = _counts((7365, 767), (1400, 700), 5332, 2, gallery_identities=700)
LABELED = _counts((7368, 767), (1400, 700), 5328, 2, gallery_identities=700)
# A folder is taken for the first set that begins in it.
READERS = {
    "people": Reader(_read_people, _begins_people, "It is generated: `casnkit data synthesize` writes it."),
    "dukemtmc-reid": Reader(_read_market, _begins_duke, DUKE, _counts((16522, 702), (2228, 702), 17661, 8)),
    "cuhk03-np-detected": Reader(_read_cuhk03, _begins_cuhk03("detected"), CUHK03, DETECTED, ("progress",)),
    "cuhk03-np-labeled": Reader(_read_cuhk03, _begins_cuhk03("labeled"), CUHK03, LABELED, ("progress",)),
    "market1501": Reader(
        _read_market,
        _begins_market,
        "The authors hand it out at https://zheng-lab-anu.github.io/Project/project_reid.html.",
        _counts((12936, 751), (3368, 750), 19732, 6, gallery_distractors=2798, gallery_junk=3819),
        ("distractors_500k",),
    ),
    "msmt17": Reader(
        _read_msmt17,
        lambda folder: holds(folder, MSMT_LISTS),
        "It is given on request at https://www.pkuvmc.com/dataset.html.",
        _counts((32621, 1041), (11659, 3060), 82161, 15, gallery_identities=3060),
    ),
    "folder": Reader(
        _read_own,
        None,
        "Own pictures need one folder for each person, in train/, query/ and gallery/ or all in one.",
        options=("camera_pattern", "require_train"),
    ),
}
NAMES = (*READERS, "auto")
