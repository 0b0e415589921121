r"""``open_dataset``: every set that casnkit reads, opened by name or recognised by what lies in a folder.

:data:`READERS`, at the end, holds all that the kit knows of each set; a new one is one more entry. Opening reads names
only, never pixels. What a reader of the results must know (the variant in use, rules that are off, files left out) comes
back as ``dataset.notes``.
"""

import difflib
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from casnkit.data import cuhk03, layout, people
from casnkit.data.files import read_json
from casnkit.data.layout import MARKET_FOLDERS, SPLITS, NotFound, find_folders, holds, listing, missing, to_folder, walk
from casnkit.data.records import DISTRACTOR_PID, UNKNOWN_CAMERA, ReidDataset, Split

COLUMNS = ["split", "path", "pid", "camid"]
Found = tuple[Path, list[tuple] | pd.DataFrame]  # a set's folder, and its images in these columns


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
        name: one of ``NAMES``, ``"people:tiny"``, ``"people:quick"``, ``"people:market"``, or the path of an existing
            folder, which means ``("auto", path)``: whatever lies there is recognised.
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
    reader, notes = READERS[name], []
    options = {"distractors_500k": distractors_500k, "camera_pattern": camera_pattern}
    refused = [option for option, value in options.items() if value and option not in reader.options]
    if refused:
        raise ValueError(f"{refused[0]} is no option of {name}")
    options |= {"require_train": require_train, "progress": progress}
    try:
        taken = {option: options[option] for option in reader.options}
        folder, images = reader.read(name, to_folder(root, name), notes, **taken)
    except NotFound as error:
        raise ValueError(f"{error} {reader.where}") from None
    return _to_dataset(name, folder, pd.DataFrame(images, columns=COLUMNS), notes, require_train)


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
        where = READERS[name].where if name in READERS else ""
        raise ValueError(f"{name}: expected its folder: root=PATH, --data PATH, or the variable CASNKIT_DATA. {where}")
    return kind, size, Path(root or home).expanduser()


def kind_of(folder: Path) -> str:
    """Which set begins in ``folder``, judged by names alone: the first entry of ``READERS`` that fits, or ""."""
    return next((name for name, reader in READERS.items() if reader.begins_in and reader.begins_in(folder)), "")


def recognise(root: str | Path) -> tuple[str, Path]:
    """``(name, folder)`` of the set at or below ``root``. Raises ValueError where there is none, or several."""
    root = to_folder(root, "auto")
    found = {folder: kind for folder in walk(root) if (kind := kind_of(folder))}
    if not found and layout.holds_own(root):
        return "folder", root
    if not found:
        expected = f"the folders of one of {', '.join(READERS)}"
        raise ValueError(f"{missing('nothing recognised', root, MARKET_FOLDERS, expected)} {READERS['folder'].where}")
    if all(kind.startswith("cuhk03-np") for kind in found.values()):  # ready-made before raw, detected before labeled
        found = {folder: kind for folder, kind in found.items() if folder.name in cuhk03.VARIANTS} or found
        if len({folder.parent for folder in found}) == 1 and "cuhk03-np-detected" in found.values():
            found = {folder: kind for folder, kind in found.items() if kind == "cuhk03-np-detected"}
    folder = _only_one("auto", root, found)
    return found[folder], folder


def _only_one(name: str, root: Path, found: dict[Path, str]) -> Path:
    if len(found) > 1:
        listed = "; ".join(f"{folder} ({kind})" for folder, kind in list(found.items())[:6])
        raise ValueError(f"{name}: {len(found)} sets lie below {root}: {listed}. Give the folder of one of them.")
    return next(iter(found))


def _choose(name: str, root: Path, wanted: tuple[str, ...], notes: list[str], expected: str = "") -> Path:
    """The one folder that holds what is ``wanted``; where several do, the one that looks like the set ``name``."""
    kinds = {folder: kind_of(folder) for folder in find_folders(root, wanted)}
    if not kinds:
        raise missing(name, root, wanted, expected)
    folder = _only_one(name, root, {folder: kind for folder, kind in kinds.items() if kind == name} or kinds)
    if kinds[folder] != name:
        notes.append(f"opened as {name}, yet this looks like {kinds[folder]} ({folder})")
    return folder


def _to_dataset(name: str, folder: Path, images: pd.DataFrame, notes: list[str], require_train: bool) -> ReidDataset:
    """Raises ValueError where a split is empty or people are on both sides."""
    nobody = (images.pid <= 0) & (images.split != "gallery")
    if nobody.any():
        notes.append(f"{nobody.sum()} junk or distractor images (pid -1 or 0) in training or queries left out")
    market = holds(folder, MARKET_FOLDERS)  # its file names are unique
    sides = [folder / side if market and (folder / side).is_dir() else None for side in ("masks", "parts")]
    own = {split: images[(images.split == split) & ~nobody] for split in SPLITS}
    train, query, gallery = (Split(part.path, part.pid, part.camid, split, *sides) for split, part in own.items())
    for split in (train, query, gallery):
        if not len(split) and (require_train or split is not train):
            told = "; ".join(notes)
            raise ValueError(f"{name}: the {split.name} split in {folder} is empty ({told}); unpack the set again")
    test = np.union1d(query.identities, gallery.identities)
    shared = np.intersect1d(train.identities, test).tolist()
    if shared:
        told = f"{len(shared)} of {len(test)} test people are in training too, pids {shared[:5]} in {folder}"
        raise ValueError(f"{name}: {told}. Tests need people never trained on: move each person to one side.")
    counts = np.unique(train.pids, return_counts=True)[1]
    if single := int((counts == 1).sum()):
        notes.append(f"{single} of {len(counts)} training people have one image: they form no positive pair")
    if lonely := int(queries_without_match(query, gallery).sum()):
        notes.append(f"{lonely} of {len(query)} queries have no match in the gallery: they are left out of the means")
    tables = {"attributes": folder / "attributes.csv"} if holds(folder, ("attributes.csv",)) else {}
    return ReidDataset(name, folder, train, query, gallery, tuple(notes), tables)


def queries_without_match(query: Split, gallery: Split) -> np.ndarray:
    """(N,) bool: queries for which the gallery holds no image of the same person from another camera."""
    seen = Counter(zip(gallery.pids.tolist(), gallery.camids.tolist(), strict=True))
    own = Counter(gallery.pids.tolist())
    pairs = zip(query.pids.tolist(), query.camids.tolist(), strict=True)
    return np.array([own[p] == (0 if c == UNKNOWN_CAMERA else seen[p, c]) for p, c in pairs], dtype=bool)


DUKE_NAME = re.compile(r"\d+_c\d+_f\d+")
DISTRACTORS = ("images", "distractors", "distractors_500k")


def _read_market(name: str, root: Path, notes: list[str], distractors_500k: bool = False) -> Found:
    folder = _choose(name, root, MARKET_FOLDERS, notes)
    images = layout.market_images(folder, notes)
    extra = next((sub for sub in DISTRACTORS if name == "market1501" and (folder / sub).is_dir()), None)
    if distractors_500k and not extra:
        raise NotFound(f"{name}: expected the distractors in {'/, '.join(DISTRACTORS)}/ in {folder}, found none.")
    if distractors_500k:
        added = listing(folder / extra)[1]
        images += [("gallery", str(folder / extra / file), DISTRACTOR_PID, UNKNOWN_CAMERA) for file in added]
        notes.append(f"{len(added)} extra distractors from {extra}/ appended to the gallery (pid 0, camera unknown)")
    elif extra:
        notes.append(f"extra distractors lie in {extra}/ and are left out; distractors_500k=True adds them")
    return folder, images


def _begins_duke(folder: Path) -> bool:
    queries = listing(folder / "query")[1] if holds(folder, MARKET_FOLDERS) else []
    return any(map(DUKE_NAME.match, queries[:1]))


def _begins_people(folder: Path) -> bool:
    return holds(folder, ("people.json",)) or holds(folder, ("people.part.json",))


def _read_people(name: str, root: Path, notes: list[str]) -> Found:
    for folder in filter(_begins_people, walk(root)):
        if not (folder / "people.json").is_file():
            advice = "Run `casnkit data synthesize` again with the same folder and size to complete it"
            raise ValueError(f"people: the generation in {folder} was interrupted. {advice}.")
    folder, images = _read_market(name, root, notes)
    header = read_json(folder / "people.json")
    told = [f"{key} {header[key]}" for key in ("size", "seed", "version") if key in header]
    if told:
        notes.insert(0, f"generated people: {', '.join(told)}")
    return folder, images


def _read_cuhk03(name: str, root: Path, notes: list[str], progress: bool) -> Found:
    """Ready-made folders; else the raw files, extracted once; else folders of another name."""
    variant = name.rpartition("-")[2]
    (other,) = set(cuhk03.VARIANTS) - {variant}
    there = {folder.name for folder in find_folders(root, MARKET_FOLDERS)}
    if variant not in there:
        extracted = cuhk03.extract(root, variant, progress)
        if other in there and not extracted:
            advice = f"The {other} boxes are there: open them as cuhk03-np-{other}"
            raise NotFound(f"{name}: expected {variant}/ in {root}. {advice}.")
        root = extracted or root
    notes.append(f"CUHK03-NP: the {variant} boxes are in use ({other} ones give other numbers)")
    raw = f"{cuhk03.RAW_FILE} with {cuhk03.config_name(variant)}"
    folder = _choose(name, root, MARKET_FOLDERS, notes, f"{variant}/ with {', '.join(MARKET_FOLDERS)}, or {raw},")
    return folder, layout.market_images(folder, notes)


def _begins_cuhk03(folder: Path, variant: str) -> bool:
    if holds(folder, MARKET_FOLDERS):
        return folder.name == variant
    raw = holds(folder, (cuhk03.RAW_FILE,)) and not (folder / cuhk03.EXTRACTED).is_dir()
    return raw and any(holds(place, (cuhk03.config_name(variant),)) for place in walk(folder.parent, 1))


MSMT_LISTS = ("list_train.txt", "list_query.txt", "list_gallery.txt")
MSMT_PICTURES = (("train", "test"), ("mask_train_v2", "mask_test_v2"))  # version 2 masks faces


def _read_msmt17(name: str, root: Path, notes: list[str]) -> Found:
    """Training takes list_train and list_val together (32,621 images).

    The lists count people from 0 both in training and in test; here training people are 1, 2, ... and test people follow
    them, for 0 means distractor.
    """
    folder = _choose(name, root, MSMT_LISTS, notes)
    pictures = next((pair for pair in MSMT_PICTURES if holds(folder, pair)), None)
    if pictures is None:
        wanted = " or ".join(f"{train}/ and {test}/" for train, test in MSMT_PICTURES)
        raise NotFound(f"{name}: expected {wanted} beside the lists in {folder}, found neither.")
    lists = [file for file in ("list_train.txt", "list_val.txt") if (folder / file).is_file()]
    images = sorted(
        row for file in lists for row in layout.msmt_images(folder / file, folder / pictures[0], "train", 1)
    )
    notes.append(f"training takes {' and '.join(lists)}, {len(images)} images")
    offset = max((pid for _, _, pid, _ in images), default=0) + 1
    notes.append(f"test people are numbered from {offset} on: number in the list plus {offset}")
    for split in SPLITS[1:]:
        images += sorted(layout.msmt_images(folder / f"list_{split}.txt", folder / pictures[1], split, offset))
    return folder, images


def _read_own(name: str, root: Path, notes: list[str], camera_pattern: str | None, require_train: bool) -> Found:
    return root, layout.own_images(root, notes, camera_pattern, require_train)


@dataclass(frozen=True)
class Reader:
    """All that the kit knows of a data set."""

    read: Callable[..., Found]  # (name, root, notes, **options): finds the set at or below root, and adds notes
    begins_in: Callable[[Path], bool] | None  # do its names lie right in a folder? None: taken where nothing else is
    where: str  # one sentence on where the set can be had
    expected: dict[str, int] = field(default_factory=dict)  # counts that its authors give, by what is counted
    options: tuple[str, ...] = ()  # arguments of open_dataset that ``read`` takes


def _counts(train: tuple[int, int], query: tuple[int, int], gallery: int, cameras: int, **more: int) -> dict[str, int]:
    counts = {"train images": train[0], "train identities": train[1], "query images": query[0]}
    counts |= {"query identities": query[1], "gallery images": gallery, "cameras": cameras}
    return counts | {key.replace("_", " "): value for key, value in more.items()}


CUHK03 = (
    "Ready-made folders and the new-protocol .mat files are described at https://github.com/zhunzhong07/"
    "person-re-ranking; cuhk-03.mat comes from https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html."
)
READERS = {  # a folder is taken for the first set that begins in it
    "people": Reader(_read_people, _begins_people, "It is generated: `casnkit data synthesize` writes it."),
    "dukemtmc-reid": Reader(
        _read_market,
        _begins_duke,
        "DukeMTMC-reID was withdrawn by its authors in 2019: casnkit reads a copy that you hold and fetches none.",
        _counts((16522, 702), (2228, 702), 17661, 8),
    ),
    "cuhk03-np-detected": Reader(
        _read_cuhk03,
        lambda folder: _begins_cuhk03(folder, "detected"),
        CUHK03,
        _counts((7365, 767), (1400, 700), 5332, 2, gallery_identities=700),
        ("progress",),
    ),
    "cuhk03-np-labeled": Reader(
        _read_cuhk03,
        lambda folder: _begins_cuhk03(folder, "labeled"),
        CUHK03,
        _counts((7368, 767), (1400, 700), 5328, 2, gallery_identities=700),
        ("progress",),
    ),
    "market1501": Reader(
        _read_market,
        lambda folder: holds(folder, MARKET_FOLDERS),
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
