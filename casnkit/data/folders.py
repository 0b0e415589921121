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
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import lazy_loader
import numpy as np

from casnkit.data.records import JUNK_PID, MARKET_FOLDERS, SPLITS, UNKNOWN_CAMERA

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
ARRANGEMENTS = (  # of own pictures, as paths below a split: the one that fits most of them tells people and cameras
    r"^(?P<pid>[^/]+)/(?:(?P<camid>"
    + CAMERA
    + r")/)?[^/]+$",  # a folder for each person, in it perhaps one for each camera
    r"^(?P<camid>" + CAMERA + r")/(?P<pid>[^/]+)/[^/]+$",
    r"^" + MARKET_NAME + r"[^/]*$",
)
PART = re.compile(  # of a data set: nobody is called so
    CAMERA + r"|(?i:(.*[_ -])?(train(ing)?|val(id(ation)?)?|test(ing)?|quer(y|ies)|gallery|probe|images?|imgs?|labels?|"
    r"annotations?|masks?|rgb|depth|sketch|detected|labeled|crops)([_ -].*|\d*)|(part|set|fold|split|batch)[_ -]?\d+)"
)
OTHER_NAMES = r"--name-pattern '(?P<pid>\d+)_c(?P<camid>\d+)' (name_pattern) reads people and cameras from other names"


class NotFound(ValueError):  # noqa: N818
    """A data set is not where it was looked for."""


def is_visible(name: str) -> bool:
    """Whether a file or folder counts: not hidden, not half-written (``*.part``), not left behind by an archive."""
    return name[0] != "." and name not in LEFT_BEHIND and not name.endswith(".part")


def listing(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Sorted names of subfolders, pictures and other files that are visible."""
    if not folder.is_dir():
        found = "a file (an archive has to be unpacked first)" if folder.is_file() else "nothing"
        raise NotFound(f"expected a folder at {folder}, found {found}.")
    with os.scandir(folder) as entries:
        found = sorted((e.name, e.is_dir()) for e in entries if is_visible(e.name))
    files = [name for name, is_folder in found if not is_folder]
    pictures = [name for name in files if name.lower().endswith(PICTURES)]
    return [name for name, is_folder in found if is_folder], pictures, sorted(set(files) - set(pictures))


def files_below(folder: Path, depth: int = DEPTH) -> Iterator[str]:
    """Paths of the files in ``folder`` and up to ``depth`` levels below it; a link to a folder above is not followed."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=_fail, followlinks=True):
        below = os.path.relpath(place, folder)
        level = 0 if below == "." else below.count(os.sep) + 1
        new = (real := os.path.realpath(place)) not in seen
        seen.add(real)
        folders[:] = sorted(filter(is_visible, folders)) if new and level < depth else []
        yield from (os.path.normpath(f"{below}/{file}") for file in sorted(filter(is_visible, files)) if new)


def _fail(error: OSError) -> None:
    raise error


def pictures_below(folder: Path) -> tuple[list[str], list[str]]:
    """Paths below ``folder`` of its pictures, sorted, and of other files."""
    files = sorted(files_below(folder))
    pictures = [file for file in files if file.lower().endswith(PICTURES)]
    return pictures, sorted(set(files) - set(pictures))


def first_pictures(folder: Path, most: int = 200) -> list[str]:
    """Some paths of pictures below a folder; none where there is no folder that can be read."""
    try:
        return list(islice((file for file in files_below(folder) if file.lower().endswith(PICTURES)), most))
    except OSError:
        return []


def walk(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """``root`` and the folders up to ``depth`` levels below it, nearest first, without looking into picture folders;
    of a folder and links to it only one."""
    yield root
    level, seen = [root], {os.path.realpath(root)}
    for _ in range(depth):
        below = sorted((folder / name for folder in level for name in _worth_a_look(folder)), key=os.path.islink)
        level = [at for at in below if not ((real := os.path.realpath(at)) in seen or seen.add(real))][:MOST_FOLDERS]
        yield from level


def _worth_a_look(folder: Path) -> list[str]:
    try:
        names = listing(folder)[0]
    except (OSError, NotFound):  # unreadable or vanished
        return []
    whole = set(MARKET_FOLDERS) <= {name.lower() for name in names}  # nothing but pictures below
    return [] if whole or len(names) > CROWDED else names


def inside(folder: Path, path: str) -> Path | None:
    """What lies at ``path`` in a folder, in capitals or not; None where nothing does."""
    for part in path.split("/"):
        there = folder / part
        if not there.exists() and folder.is_dir():
            alike = [name for name in os.listdir(folder) if name.lower() == part.lower()]
            there = folder / alike[0] if alike else there
        folder = there
    return folder if folder.exists() else None


def holds(folder: Path, names: Iterable[str]) -> bool:
    """Whether all of these lie in a folder, in capitals or not."""
    return all(inside(folder, name) for name in names)


def missing(name: str, root: Path, wanted: Sequence[str], expected: str = "") -> NotFound:
    """The error that the set ``name`` is not at ``root``: what was expected, what lies there, and near misses."""
    folders, pictures, others = listing(root)
    found = ", ".join([*(f"{folder}/" for folder in folders), *others][:12]) or "no folders"
    text = f"{name}: expected {expected or ', '.join(wanted)} in {root} or up to {DEPTH} levels below it. "
    below, unread = pictures_below(root)
    text += f"Found there: {found}; {len(pictures)} pictures{', such as ' + below[0] if below else ''}."
    text += f" Not read: {by_suffix(unread)}; pictures end in {', '.join(PICTURES)}." if unread and not below else ""
    lacking = {f: [each for each in wanted if not inside(f, each)] for f in (*walk(root), root.parent)}
    best = min(lacking, key=lambda folder: len(lacking[folder]))
    if not lacking[best] and best != root:
        text += f" This is the wrong level of folder: give {best}."
    elif len(lacking[best]) < len(wanted):
        text += f" {best} lacks {', '.join(lacking[best]) or 'pictures that can be read'}: unpack the set again."
    return NotFound(text)


def by_suffix(files: Iterable[str]) -> str:
    """How many files there are of each kind, as text."""
    counts = Counter(os.path.splitext(file)[1] or "no suffix" for file in files)
    return ", ".join(f"{count} files ({suffix})" for suffix, count in counts.most_common(5))


def not_read(places: Iterable[Path]) -> list[str]:
    """A note on folders with pictures that stand beside ``places`` and are no split, masks or part maps."""
    places = list(places)
    beside = {at.parent / name for at in places for name in listing(at.parent)[0] if name not in ("masks", "parts")}
    extra = sorted(folder for folder in beside if not any(place.is_relative_to(folder) for place in places))
    counts = {folder.name: len(pictures_below(folder)[0]) for folder in extra}
    told = ", ".join(f"{name}/ ({count} pictures)" for name, count in counts.items() if count)
    return [f"not read: {told}"] if told else []


def compiled(what: str, pattern: str | None) -> re.Pattern | None:
    """A pattern that a user gave. Raises ValueError where it is none, or has no group."""
    try:
        found = re.compile(pattern) if pattern is not None else None
        if found is not None and not found.groups:
            raise re.error("it has no group in parentheses")
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{what}: expected a regular expression with a group, got {pattern!r} ({error})") from error
    return found


def read_own(
    name: str,
    root: Path,
    notes: list[str],
    name_pattern: str | None = None,
    camera_pattern: str | None = None,
    sure: bool = True,
    **_: Any,
) -> Found:
    """Own pictures, see the top. Without splits the first half of the people trains; of the rest, the first picture of
    each is a query. ``sure``: a folder's odd content is no reason to doubt that it is a person's."""
    patterns = compiled("name_pattern", name_pattern), compiled("camera_pattern", camera_pattern)
    while len(folders := listing(root)[0]) == 1 and not listing(root)[1]:  # an archive's own folder
        root = root / folders[0]
    there = {s: next(filter(None, (inside(root, each) for each in names)), root) for s, names in SPLIT_FOLDERS.items()}
    places = {split: place for split, place in there.items() if place != root}
    if places and not {"query", "gallery"} <= set(places):
        alone = "/, ".join(place.name for place in places.values())
        raise NotFound(f"{name}: expected query/ and gallery/ in {root}, found {alone}/ alone.")
    found = {split: pictures_below(place) for split, place in (places or {"": root}).items()}
    if unread := [file for _, others in found.values() for file in others]:
        notes.append(f"not read: {by_suffix(unread)}; pictures end in {', '.join(PICTURES)}")
    if there["train"].name.lower() == "train_all":
        notes.append("train_all/ is taken for training")
    rows = [(split, str(there.get(split, root) / path), path) for split, (paths, _) in found.items() for path in paths]
    if not rows:
        raise missing(name, root, SPLITS, "one folder of pictures for each person")
    table = _people(pd.DataFrame(rows, columns=["split", "path", "below"]), *patterns, root, notes)
    if not name_pattern:
        table = _without_parts(table, root, sure or bool(places), notes)
    notes += not_read(places.values())
    table = table if places else _halved(table, notes)
    return root, _tested(table.assign(pid=numbers(table.person), camid=numbers(table.camera)), notes)


def _people(
    table: pd.DataFrame, own: re.Pattern | None, camera: re.Pattern | None, root: Path, notes: list[str]
) -> pd.DataFrame:
    """``table`` with ``person`` and ``camera``, text, of the pictures that have a person."""
    tried = [_groups(table, pattern) for pattern in ([own] if own else map(re.compile, ARRANGEMENTS))]
    groups = max(tried, key=lambda each: each.iloc[:, 0].notna().sum())
    person = groups.get("pid", groups.iloc[:, 0])
    if rest := table.below[person.isna()].tolist():
        told = (
            f"{len(rest)} pictures outside any person's folder, and their names tell no person ({', '.join(rest[:3])})"
        )
        if len(rest) == len(table):
            raise NotFound(
                f"folder: expected one folder of pictures for each person in {root}, found {told}: {OTHER_NAMES}."
            )
        notes.append(f"left out: {told}")
    table = table.assign(person=person, camera=groups.get("camid", groups.get(1)))
    table = table if camera is None else table.assign(camera=_groups(table, camera).iloc[:, 0])
    return table[person.notna()]


def _groups(table: pd.DataFrame, pattern: re.Pattern) -> pd.DataFrame:
    """A pattern's groups in the files' names, or in their paths below the split where the pattern has a ``/``."""
    return (table.below if "/" in pattern.pattern else table.below.map(os.path.basename)).str.extract(pattern)


def _without_parts(table: pd.DataFrame, root: Path, sure: bool, notes: list[str]) -> pd.DataFrame:
    """``table`` without folders that are no person's. Raises NotFound where half of them are none, or where one of them
    has half of all pictures, or names that begin with many people's numbers."""
    is_part = table.person.map(lambda person: PART.fullmatch(person) is not None)
    parts, table, told = table[is_part], table[~is_part], ""
    sizes, names = table.person.value_counts(), table.below.map(os.path.basename)
    leading = names.str.extract(r"^(\d{1,6})_")[0].groupby(table.person).nunique()
    listed = ", ".join(f"{person}/" for person in parts.person.unique()[:6])
    if parts.person.nunique() >= max(1, len(sizes)):
        told = f"{listed} look like cameras or parts of a data set, not like people (pictures such as {parts.below.iloc[0]})"
    elif not sure and sizes.iloc[0] >= max(8, len(table) / 2):
        told = f"{sizes.index[0]}/ alone holds {sizes.iloc[0]} of {len(table)} pictures"
    elif not sure and leading.max() >= 5:
        told = f"{leading.idxmax()}/ has pictures of {leading.max()} different numbers, such as {names.iloc[0]}"
    if told:
        named = (
            ""
            if len(parts)
            else ". If each folder is a person's, name the set: --as folder, open_dataset('folder', root)"
        )
        raise NotFound(
            f"folder: expected one folder of pictures for each person in {root}: {told}. {OTHER_NAMES}{named}."
        )
    if len(parts):
        notes.append(f"left out: {listed} ({len(parts)} pictures) looks like a camera or a part of a data set")
    return table


def _halved(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """``table`` with splits: half of the people train, of the others the first picture of each is a query."""
    names = sorted(set(table.person))
    half = names[: len(names) // 2]
    others = ~table.person.isin(half)
    first = ~table.duplicated("person") & table.duplicated("person", keep=False)
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
