"""``casnkit data check PATH``: what lies there, are the counts right, and which images cannot be read.

The expected counts are those that the benchmarks' authors give. Every image is decoded once, and all that fail are
named together, so that a damaged copy is repaired in one go and not file by file.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from casnkit._optional import require
from casnkit.data.benchmarks import open_dataset
from casnkit.data.layout import MARKET_FOLDERS, where_to_get
from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, UNKNOWN_CAMERA, ReidDataset, read_image
from casnkit.files import read_json

_COLUMNS = ("images", "identities")
_SIDES = ("masks", "part maps")
Row = tuple[str, int, "int | None"]


def _expected(
    train: tuple[int, int], query: tuple[int, int], gallery: int, cameras: int, **more: int
) -> dict[str, int]:
    counts = {"train images": train[0], "train identities": train[1], "query images": query[0]}
    counts |= {"query identities": query[1], "gallery images": gallery, "cameras": cameras}
    return counts | {key.replace("_", " "): value for key, value in more.items()}


EXPECTED: dict[str, dict[str, int]] = {
    "market1501": _expected((12936, 751), (3368, 750), 19732, 6, gallery_distractors=2798, gallery_junk=3819),
    "dukemtmc-reid": _expected((16522, 702), (2228, 702), 17661, 8),
    "cuhk03-np-detected": _expected((7365, 767), (1400, 700), 5332, 2, gallery_identities=700),
    "cuhk03-np-labeled": _expected((7368, 767), (1400, 700), 5328, 2, gallery_identities=700),
    "msmt17": _expected((32621, 1041), (11659, 3060), 82161, 15, gallery_identities=3060),
}
MARKET_WITHOUT_JUNK = 15913
_KINDS = {"CMYK": "CMYK", "L": "grey", "1": "grey", "P": "palette", "RGBA": "alpha", "LA": "alpha", "PA": "alpha"}


def not_whole(dataset: ReidDataset) -> str:
    """What to say of a set that is laid out like a benchmark and has other numbers of images; empty where all is well."""
    expected = EXPECTED.get(dataset.name, {})
    counts = {f"{split.name} images": len(split) for split in (dataset.train, dataset.query, dataset.gallery)}
    wrong = [what for what, count in counts.items() if what in expected and count != expected[what]]
    if wrong == ["gallery images"] and dataset.name == "market1501":  # it may come without its junk
        wrong = wrong if counts["gallery images"] != MARKET_WITHOUT_JUNK else []
    if not wrong:
        return ""
    listed = ", ".join(f"{counts[what]:,} {what} instead of {expected[what]:,}" for what in wrong)
    return f"laid out like {dataset.name} but not that benchmark ({listed}): published numbers are no yardstick"


@dataclass(frozen=True)
class CheckReport:
    """What ``check`` found.

    Attributes:
        name: the set, as ``open_dataset`` calls it.
        root: the folder in which its three splits lie.
        rows: ``(what, found, expected)``; expected is None where no number is known.
        unreadable: ``(path, reason)`` of every image or mask that cannot be used.
        converted: number of images by kind (CMYK, grey, 16-bit, alpha, palette) that become 8-bit RGB on reading.
        notes: what a reader of results must know.
        advice: what to do; empty where all is well.
    """

    name: str
    root: Path
    rows: tuple[Row, ...]
    unreadable: tuple[tuple[str, str], ...] = ()
    converted: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Every image can be read and every count with an expectation meets it."""
        return not self.unreadable and not self.wrong

    @property
    def wrong(self) -> tuple[Row, ...]:
        """Rows whose count differs from the expected one."""
        return tuple(row for row in self.rows if row[2] is not None and row[1] != row[2])

    def to_text(self) -> str:
        """The report as text: counts, every unreadable file, conversions, notes, advice, and the verdict last."""
        lines = [f"{self.name} in {self.root}", f"  {'':<22}{'found':>9}{'expected':>10}"]
        for what, found, expected in self.rows:
            mark = "" if expected is None or found == expected else "  <- differs"
            lines.append(f"  {what:<22}{found:>9,}{'-' if expected is None else f'{expected:,}':>10}{mark}")
        if self.unreadable:
            lines += [
                f"  {len(self.unreadable)} files cannot be used:",
                *(f"    {p}: {why}" for p, why in self.unreadable),
            ]
        if self.converted:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.converted.items()))
            lines.append(f"  converted to 8-bit RGB on reading: {kinds}")
        lines += [f"  note: {note}" for note in self.notes] + [f"  do: {advice}" for advice in self.advice]
        return "\n".join([*lines, "  all is well" if self.ok else "  not in order, see above"])


def check(
    path: str | Path,
    name: str = "auto",
    threads: int = 4,
    progress: bool = False,
    camera_pattern: str | None = None,
) -> CheckReport:
    """Recognise the set at ``path`` (or read it as ``name``), compare its counts and decode every image.

    Raises:
        ValueError: no set can be opened there; the message says what was found and expected.
    """
    if name == "people" or name.startswith("people:"):  # a check must never generate what it is asked about
        name = "auto"
    dataset = open_dataset(name, path, camera_pattern=camera_pattern, require_train=False, progress=progress)
    found = _counts(dataset)
    expected, notes = _expectation(dataset, found, given=name != "auto")
    unreadable, converted = _decode(dataset, threads, progress)
    rows = tuple((what, count, expected.get(what)) for what, count in found.items())
    report = CheckReport(dataset.name, dataset.root, rows, tuple(unreadable), dict(converted), (*dataset.notes, *notes))
    return CheckReport(**{**vars(report), "advice": tuple(_advice(report))})


def _counts(dataset: ReidDataset) -> dict[str, int]:
    counts: dict[str, int] = {}
    splits = (dataset.train, dataset.query, dataset.gallery)
    for split in splits:
        counts[f"{split.name} images"] = len(split)
        counts[f"{split.name} identities"] = len(split.identities)
    counts["gallery distractors"] = int((dataset.gallery.pids == DISTRACTOR_PID).sum())
    counts["gallery junk"] = int((dataset.gallery.pids == JUNK_PID).sum())
    cameras = np.unique(np.concatenate([split.camids for split in splits]))
    counts["cameras"] = int((cameras != UNKNOWN_CAMERA).sum())
    for what, folder in zip(_SIDES, (dataset.query.mask_folder, dataset.query.part_folder), strict=True):
        if folder is not None:
            stems = {entry.stem for entry in Path(folder).glob("*.png")}
            counts[what] = sum(Path(p).stem in stems for split in splits for p in split.paths)
    return counts


def _expectation(dataset: ReidDataset, found: dict[str, int], given: bool) -> tuple[dict[str, int], list[str]]:
    """Expected counts by row name, and notes on how they were chosen."""
    total = sum(found[f"{split} images"] for split in ("train", "query", "gallery"))
    sides = {what: total for what in _SIDES if what in found}
    if dataset.name == "people":
        return sides | _generated(dataset.root), []
    expected = dict(EXPECTED.get(dataset.name, {}))
    images = [f"{split} {column}" for split in ("train", "query", "gallery") for column in _COLUMNS]
    known = [what for what in images if what in expected]
    # A damaged benchmark still has a sound part; a set that agrees nowhere is another one in the same layout.
    if known and not given and not any(found[what] == expected[what] for what in known):
        note = f"laid out like {dataset.name} but no count agrees: taken for a set of your own"
        return sides, [f"{note} (--name {dataset.name} compares with the benchmark)"]
    if dataset.name == "market1501" and found["gallery junk"] == 0 and found["gallery images"] == MARKET_WITHOUT_JUNK:
        expected |= {"gallery images": MARKET_WITHOUT_JUNK, "gallery junk": 0}
        return sides | expected, ["the gallery comes without its 3,819 junk images: same CMC and mAP, other re-ranking"]
    return sides | expected, []


def _generated(root: Path) -> dict[str, int]:
    """Counts that the generator noted when it had finished."""
    header = read_json(root / "people.json")
    noted = header.get("counts", {})
    names = zip(("train images", "query images", "gallery images"), MARKET_FOLDERS, strict=True)
    expected = {what: noted[folder] for what, folder in names if folder in noted}
    return expected | ({"cameras": header["cameras"]} if "cameras" in header else {})


def _decode(dataset: ReidDataset, threads: int, progress: bool) -> tuple[list[tuple[str, str]], Counter[str]]:
    """Decode every image; ``(unreadable, converted by kind)`` in the order of the splits."""
    splits = (dataset.train, dataset.query, dataset.gallery)
    jobs = [(str(path), _mask_of(path, split.mask_folder)) for split in splits for path in split.paths]
    unreadable, converted = [], Counter()
    with ThreadPoolExecutor(max(1, threads)) as pool:
        results = pool.map(lambda job: inspect(*job), jobs)
        if progress:
            results = require("tqdm.auto", "the progress bar").tqdm(
                results, total=len(jobs), unit="image", desc="reading"
            )
        for (path, _), (kind, reason) in zip(jobs, results, strict=True):
            if reason:
                unreadable.append((path, reason))
            if kind:
                converted[kind] += 1
    return unreadable, converted


def _mask_of(path: str, folder: Path | None) -> Path | None:
    return None if folder is None else Path(folder) / f"{Path(path).stem}.png"


def inspect(path: str, mask: Path | None = None) -> tuple[str, str]:
    """``(kind, reason)``: how an image that must be converted is stored, why it or its mask cannot be used; or ""."""
    if not Path(path).is_file():
        return "", "no such file"
    if Path(path).stat().st_size == 0:
        return "", "empty file (zero bytes)"
    try:
        size = read_image(path).size
        with Image.open(path) as image:
            mode, transparent = image.mode, "transparency" in image.info
        if mask is not None and mask.is_file():
            with Image.open(mask) as picture:
                picture.load()
                wrong = "" if picture.size == size else f"its mask is {picture.size}, the image {size} (width, height)"
                return _kind(mode, transparent), wrong
    except ValueError as error:
        return "", _reason(error)
    except (OSError, SyntaxError) as error:
        return "", f"its mask cannot be read: {error}"
    return _kind(mode, transparent), ""


def _kind(mode: str, transparent: bool) -> str:
    if mode == "RGB":
        return "alpha" if transparent else ""
    if mode.startswith("I") or mode == "F":
        return "16-bit"
    return _KINDS.get(mode, mode)


def _reason(error: ValueError) -> str:
    cause = str(error.__cause__ or error)
    return "not an image" if "cannot identify" in cause else cause


def _advice(report: CheckReport) -> list[str]:
    advice = []
    if report.unreadable:
        advice.append(
            f"restore the {len(report.unreadable)} files named above from the archive; where that is impossible delete "
            "them: the set is then read without them, and results are no longer comparable"
        )
    counts = [row for row in report.wrong if row[0] not in _SIDES]
    if len(counts) < len(report.wrong):
        advice.append("some images have no mask or part map: for them maps cannot be scored; write the missing files")
    if counts:
        short = any(found < expected for _, found, expected in counts if expected is not None)
        what = (
            "images are missing (an interrupted download or unpacking?)"
            if short
            else "there is more than in the original"
        )
        advice.append(f"{what}: unpack the original again. {where_to_get(report.name)}")
    return advice
