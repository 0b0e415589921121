r"""What lies in folders, and one's own pictures there, by names alone; the benchmarks are in :mod:`casnkit.data.readers`.

Own pictures lie in a folder for each person, in ``train``, ``query`` and ``gallery`` (or :data:`SPLIT_FOLDERS`' other
names), or all in one place. Cameras may have folders too. Where a name tells the person, as in ``0007_c2_01.jpg``, no
folder is needed: a pattern with the groups ``pid`` and ``camid`` reads other names.
"""

from __future__ import annotations

import filecmp
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lazy_loader
import numpy as np

from casnkit.data.records import JUNK_PID, MARKET_FOLDERS, UNKNOWN_CAMERA

pd = lazy_loader.load("pandas")
Found = tuple[Path, "list[tuple] | pd.DataFrame"]  # a set's folder, and its images: split, path, pid, camid
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MARKET_NAME = r"(?P<pid>-?\d+)_c(?P<camid>\d+)"  # 0001_c1s1_001051_00.jpg, 0001_c2_f0046302.jpg, 0001_c1_1.png
DEPTH, CROWDED, MOST_FOLDERS = 3, 200, 20_000  # levels below; subfolders of a folder that holds identities; on a level
LEFT_BEHIND = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")  # by archives and disks, beside the pictures
SPLIT_FOLDERS = {  # the first that is there holds the split
    "train": ("train", "training", "bounding_box_train", "image_train", "train_all"),
    "query": ("query", "queries", "probe", "image_query"),
    "gallery": ("gallery", "bounding_box_test", "image_test", "test"),
}
CAMERA = r"(?i:(?:cam|camera|kamera|view)[ _-]?(?:\d+|[a-z])|c\d{1,2})"
ARRANGEMENTS = (  # of own pictures below a split's folder; the one that fits most of them tells people and cameras
    rf"^(?P<pid>[^/]+)/(?:(?P<camid>{CAMERA})/)?[^/]+$",  # a folder for each person, in it some for cameras, or not
    rf"^(?P<camid>{CAMERA})/(?P<pid>[^/]+)/[^/]+$",
    rf"^{MARKET_NAME}[^/]*$",
)
PART = re.compile(  # of a data set: nobody is called so
    CAMERA + r"|(?i:(.*[_ -])?(train(ing)?|val(id(ation)?)?|test(ing)?|quer(y|ies)|gallery|probe|images?|imgs?|labels?|"
    r"annotations?|masks?|rgb|depth|sketch|detected|labeled|crops)([_ -].*|\d*)|(part|set|fold|split|batch)[_ -]?\d+)"
)
OTHER_NAMES = r"--name-pattern '(?P<pid>\d+)_c(?P<camid>\d+)' (name_pattern) reads people and cameras from other names"


class NotFound(ValueError):  # noqa: N818
    """A data set is not where it was looked for."""


def visible(names: Iterable[str]) -> list[str]:
    """Names that count, sorted: not hidden, not half-written (``*.part``), not left behind by an archive."""
    return sorted(n for n in names if n[0] != "." and n not in LEFT_BEHIND and not n.endswith(".part"))


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in a folder, links last. Raises NotFound where it is none."""
    if not folder.is_dir():
        found = "a file (an archive has to be unpacked first)" if folder.is_file() else "nothing"
        raise NotFound(f"expected a folder at {folder}, found {found}.")
    with os.scandir(folder) as entries:
        names = visible(entry.name for entry in entries if entry.is_dir())
    return sorted((folder / name for name in names), key=os.path.islink)


def files_below(folder: Path, depth: int = DEPTH) -> Iterator[str]:
    """Paths of the visible files in ``folder`` and up to ``depth`` levels below it, each folder once, whatever links."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        below, real = os.path.relpath(place, folder).removeprefix("."), os.path.realpath(place)
        yield from (os.path.join(below, file) for file in visible(files) if real not in seen)
        folders[:] = visible(folders) if real not in seen and len(Path(below).parts) < depth else []
        seen.add(real)


def pictures_below(folder: Path) -> Iterator[str]:
    """Those of :func:`files_below` that have a picture's suffix."""
    return (file for file in files_below(folder) if file.lower().endswith(PICTURES))


def walk(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """``root`` and the folders up to ``depth`` levels below it, nearest first, each once, without looking into picture
    folders."""
    level, seen = [root], {os.path.realpath(root)}
    for _ in range(depth + 1):
        yield from level
        below = []
        for folder in level:
            with suppress(OSError, NotFound):  # unreadable or vanished
                inner = subfolders(folder)
                whole = set(MARKET_FOLDERS) <= {path.name.lower() for path in inner}  # nothing but pictures below
                below += [] if whole or len(inner) > CROWDED else inner
        level = [p for p in below[:MOST_FOLDERS] if not ((real := os.path.realpath(p)) in seen or seen.add(real))]


def inside(folder: Path, path: str) -> Path | None:
    """What lies at ``path`` in a folder, in capitals or not; None where nothing does."""
    for part in path.split("/"):
        alike = [part] if os.path.exists(folder / part) else []
        with suppress(OSError):
            alike = alike or [name for name in os.listdir(folder) if name.lower() == part.lower()]
        if not alike:
            return None
        folder = folder / alike[0]
    return folder


def holds(folder: Path, names: Iterable[str]) -> bool:
    """Whether all of these lie in a folder, see :func:`inside`."""
    return all(inside(folder, name) for name in names)


def missing(name: str, root: Path, wanted: Sequence[str], expected: str = "") -> NotFound:
    """The error that the set ``name`` is not at ``root``: what was expected, what lies there, and near misses."""
    subfolders(root)  # is there a folder at all?
    there, files = [f"{p.name}/" if p.is_dir() else p.name for p in sorted(root.iterdir())], list(files_below(root))
    text = f"{name}: expected {expected or ', '.join(wanted)} in {root} or up to {DEPTH} levels below it. "
    text += f"Found there: {', '.join(there[:12]) or 'nothing'}; below it {counted(files)}"
    text += f" (pictures end in {', '.join(PICTURES)})."
    lacking = {f: [each for each in wanted if not inside(f, each)] for f in (*walk(root), root.parent)}
    best = min(lacking, key=lambda folder: len(lacking[folder]))
    if not lacking[best]:
        text += f" This is the wrong level of folder: give {best}."
    elif len(lacking[best]) < len(wanted):
        text += f" {best} lacks {', '.join(lacking[best])}: unpack the set again."
    return NotFound(text)


def counted(files: Sequence[str], also: str = "") -> str:
    """How many files there are of each kind, ``also`` what became of them, and some of them, as text."""
    counts = Counter(os.path.splitext(file)[1] or "no suffix" for file in files)
    kinds = ", ".join(f"{count} files ({suffix})" for suffix, count in counts.most_common(5)) or "no files"
    return kinds + also + (f", such as {', '.join(files[:3])}" if files else "")


def not_read(places: Collection[Path]) -> list[str]:
    """A note on folders with pictures that stand beside ``places`` and are no split, masks or part maps."""
    beside = {path for place in places for path in subfolders(place.parent) if path.name not in ("masks", "parts")}
    others = sorted(path for path in beside if not any(place.is_relative_to(path) for place in places))
    counts = {path.name: sum(1 for _ in pictures_below(path)) for path in others}
    told = ", ".join(f"{name}/ ({count} pictures)" for name, count in counts.items() if count)
    return [f"not read: {told}"] if told else []


def gather(name: str, places: Mapping, patterns: Sequence[str], notes: list[str], named: bool = False) -> Any:
    """A table of the pictures in each split's folder: ``split``, ``path``, and ``pid`` and ``camid`` as text.

    The pattern that fits most of them is searched in files' names, or where it has a ``/`` in their paths below the
    split's folder (``named``: with that folder's name). Raises NotFound where none fits in a folder that holds files.
    """
    files = [(split, place, file) for split, place in places.items() for file in files_below(place)]
    rows = sorted((s, str(place / file), f"{place.name}/{file}" if named else file) for s, place, file in files)
    table = pd.DataFrame(rows, columns=["split", "path", "below"], dtype=object)
    below, good = table.below, table.below.str.lower().str.endswith(PICTURES)
    tried = [(below if "/" in p else below.map(os.path.basename)).where(good).str.extract(p) for p in patterns]
    groups = max(tried, key=lambda found: found.iloc[:, 0].notna().sum())
    table = table.assign(pid=groups.get("pid", groups.iloc[:, 0]), camid=groups.get("camid", groups.get(1)))
    for split, place in places.items():
        part = table[table.split == split]
        rest = part.below[part.pid.isna()].tolist()
        told = counted(rest, " skipped")
        if len(rest) == len(part) > 0:
            wanted = f"pictures ({', '.join(PICTURES)}) in a folder for each person, or with names that tell the person"
            raise NotFound(f"{name}: expected {wanted}, in {place}, found none: {told}. {OTHER_NAMES}.")
        notes += [f"{place.name}: {told}: no pictures, or neither folder nor name tells a person"] if rest else []
    return table[table.pid.notna()]


def read_own(name: str, root: Path, notes: list[str], patterns: Mapping, sure: bool = True, **_: Any) -> Found:
    """Own pictures, see the top. Without splits the first half of the people trains; of the rest, the first picture of
    each is a query. ``patterns``: those of names and of cameras, or None. ``sure``: a folder's odd content is no reason to
    doubt that it is a person's."""
    for what, pattern in patterns.items():
        try:
            found = re.compile("" + (pattern or "()"))
            if not found.groups or (what == "name_pattern" and "pid" not in (found.groupindex or ["pid"])):
                raise re.error("it has no group in parentheses, or none called pid")
        except (re.error, TypeError, RecursionError, OverflowError) as error:
            wanted = f"{what}: expected a regular expression with a group"
            raise ValueError(f"{wanted}, got {pattern!r} ({error})") from error
    name_pattern, camera_pattern = map(patterns.get, ("name_pattern", "camera_pattern"))
    while len(inner := subfolders(root)) == 1 and not any(files_below(root, 0)) and not PART.fullmatch(inner[0].name):
        root = inner[0]  # what an archive was packed in
    there = {split: [inside(root, each) for each in names] for split, names in SPLIT_FOLDERS.items()}
    places = {split: next(filter(None, found)) for split, found in there.items() if any(found)}
    if places and not {"query", "gallery"} <= set(places):
        alone = "/, ".join(place.name for place in places.values())
        raise NotFound(f"{name}: expected query/ and gallery/ in {root}, found {alone}/ alone.")
    if "train" in places and places["train"].name.lower() == "train_all":
        notes.append("train_all/ is taken for training")
    table = gather(name, places or {"": root}, [name_pattern] if name_pattern else ARRANGEMENTS, notes)
    table = table if name_pattern else _without_parts(table, root, sure or bool(places), notes)
    if camera_pattern is not None:
        text = table.below if "/" in camera_pattern else table.below.map(os.path.basename)
        table = table.assign(camid=text.str.extract(camera_pattern)[0])
    notes += not_read(places.values())
    table = table if places else _halved(table, notes)
    return root, _tested(table.assign(pid=numbers(table.pid), camid=numbers(table.camid)), notes)


def _without_parts(table: pd.DataFrame, root: Path, sure: bool, notes: list[str]) -> pd.DataFrame:
    """``table`` without folders that are no person's. Raises NotFound where half of them are none, or where one of them
    has half of all pictures, or names that begin with many people's numbers."""
    is_part = table.pid.map(lambda person: PART.fullmatch(person) is not None)
    parts, table = table[is_part], table[~is_part]
    sizes, names = table.pid.value_counts(), table.below.map(os.path.basename)
    leading = names.str.extract(r"^(\d{1,6})_")[0].groupby(table.pid).nunique()
    some = f"{len(parts)} pictures, such as {', '.join(parts.below[:3])}"
    listed = f"{'/, '.join(parts.pid.unique()[:6])}/ ({some})"
    told, instead = "", "; if they are people, --as folder, open_dataset('folder', root), says so"
    if parts.pid.nunique() >= max(1, len(sizes)):
        told, instead = f"{listed} look like cameras or parts of a data set, not like people", ""
    elif not sure and sizes.iloc[0] >= max(8, len(table) / 2):
        told = f"{sizes.index[0]}/ alone holds {sizes.iloc[0]} of {len(table)} pictures"
    elif not sure and leading.max() >= 5:
        told = f"{leading.idxmax()}/ has pictures of {leading.max()} different numbers, such as {names.iloc[0]}"
    if told:
        raise NotFound(f"folder: expected a folder for each person in {root}: {told}. {OTHER_NAMES}{instead}.")
    if len(parts):
        notes.append(f"left out: {listed} looks like a camera or a part of a data set")
    return table


def _halved(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """``table`` with splits: half of the people train, of the others the first picture of each is a query."""
    names = sorted(set(table.pid))
    half = names[: len(names) // 2]
    others = ~table.pid.isin(half)
    first = ~table.duplicated("pid") & table.duplicated("pid", keep=False)
    if not (first & others).any():
        found = f"{len(table)} pictures of {len(names)} people"
        raise NotFound(f"folder: a query and its match need two pictures of one person, found {found}, one of each.")
    notes.append(f"no query/ and gallery/: the first {len(half)} of {len(names)} people train, the others test")
    return table.assign(split=np.where(others, np.where(first, "query", "gallery"), "train"))


def _tested(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """``table``, after a look for cameras that are unknown and for queries that would find themselves."""
    if unknown := int((table.camid == UNKNOWN_CAMERA).sum()):
        told = "the same-camera rule is off for them, and results look better than with it"
        hint = r"camera_pattern='_c(\d+)' reads names like Market-1501's"
        notes.append(f"{unknown} of {len(table)} cameras are unknown: {told} ({hint})")
    pairs = table[table.split == "query"].merge(table[table.split == "gallery"], on="pid")
    pairs = pairs[pairs.path_x.map(os.path.isfile) & pairs.path_y.map(os.path.isfile)]
    if same := sum(filecmp.cmp(a, b, shallow=False) for a, b in zip(pairs.path_x, pairs.path_y, strict=True)):
        notes.append(f"{same} queries lie in the gallery as the same file: results are too good")
    return table


def numbers(names: pd.Series) -> pd.Series:
    """The numbers that names are, or 1, 2, ... in their order where some are none, less than 1, too long or equal; -1
    for none and for ``-1``."""
    distinct = sorted(set(names.dropna()) - {str(JUNK_PID)})
    values = {name: int(name) for name in distinct if name.isdecimal() and len(name) < 19 and int(name) > 0}
    if len(set(values.values())) < len(distinct):
        values = {name: i for i, name in enumerate(distinct, 1)}
    return names.map(values).fillna(UNKNOWN_CAMERA).astype(int)
