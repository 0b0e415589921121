"""``casnkit data check PATH``: what lies there, are the counts right, and which images cannot be read.

The expected counts are those that the benchmarks' authors give (:data:`casnkit.data.readers.READERS`). Every image is
decoded once, and all that fail are named together, so that a damaged copy is repaired in one go and not file by file.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.contrib.concurrent import thread_map

from casnkit.data.files import read_json
from casnkit.data.layout import MARKET_FOLDERS
from casnkit.data.readers import READERS, open_dataset
from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, UNKNOWN_CAMERA, ReidDataset, read_image

EXPECTED = {name: reader.expected for name, reader in READERS.items() if reader.expected}
KINDS = {"RGB": "", "1": "grey", "L": "grey", "P": "palette", "RGBA": "alpha", "LA": "alpha", "PA": "alpha"}
Row = tuple[str, int, int | None]


def not_whole(dataset: ReidDataset) -> str:
    """What to say of a set that is laid out like a benchmark and has other numbers of images; empty where all is well."""
    counts = {f"{split.name} images": len(split) for split in (dataset.train, dataset.query, dataset.gallery)}
    expected = _benchmark(dataset.name, counts)
    wrong = [
        f"{count:,} {what} instead of {expected[what]:,}"
        for what, count in counts.items()
        if expected.get(what, count) != count
    ]
    if not wrong:
        return ""
    return (
        f"laid out like {dataset.name} but not that benchmark ({', '.join(wrong)}): published numbers are no yardstick"
    )


def _benchmark(name: str, counts: dict[str, int]) -> dict[str, int]:
    """The benchmark's counts; Market-1501 may come without its junk images, with the same CMC and mAP."""
    expected = dict(EXPECTED.get(name, {}))
    junk = expected.get("gallery junk", 0)
    if junk and counts["gallery images"] == expected["gallery images"] - junk:
        expected |= {"gallery images": counts["gallery images"], "gallery junk": 0}
    return expected


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
    unreadable: tuple[tuple[str, str], ...]
    converted: dict[str, int]
    notes: tuple[str, ...]
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
        for row in self.rows:
            what, found, expected = row
            shown = "-" if expected is None else f"{expected:,}"
            lines.append(f"  {what:<22}{found:>9,}{shown:>10}{'  <- differs' * (row in self.wrong)}")
        lines += [f"  {len(self.unreadable)} files cannot be used:"] * bool(self.unreadable)
        lines += [f"    {path}: {reason}" for path, reason in self.unreadable]
        if self.converted:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.converted.items()))
            lines.append(f"  converted to 8-bit RGB on reading: {kinds}")
        lines += [f"  note: {note}" for note in self.notes] + [f"  do: {advice}" for advice in self.advice]
        return "\n".join([*lines, "  all is well" if self.ok else "  not in order, see above"])


def check(path: str | Path, name: str = "auto", threads: int = 4, progress: bool = False) -> CheckReport:
    """Recognise the set at ``path`` (or read it as ``name``), compare its counts and decode every image.

    Raises:
        ValueError: no set can be opened there; the message says what was found and expected.
    """
    if name.partition(":")[0] == "people":  # a check must never generate what it is asked about
        name = "auto"
    dataset = open_dataset(name, path, require_train=False, progress=progress)
    found, splits = _counts(dataset), (dataset.train, dataset.query, dataset.gallery)
    expected, note = _expectation(dataset, found, given=name != "auto")
    jobs = [(Path(image), split.mask_folder) for split in splits for image in split.paths]
    inspected = thread_map(_inspect, *zip(*jobs, strict=True), max_workers=threads, unit="image", disable=not progress)
    bad = [(str(image), reason) for (image, _), (_, reason) in zip(jobs, inspected, strict=True) if reason]
    converted = Counter(kind for kind, reason in inspected if kind and not reason)
    rows = tuple((what, count, expected.get(what)) for what, count in found.items())
    report = CheckReport(dataset.name, dataset.root, rows, tuple(bad), dict(converted), (*dataset.notes, *note))
    return replace(report, advice=tuple(_advice(report)))


def _counts(dataset: ReidDataset) -> dict[str, int]:
    counts: dict[str, int] = {}
    splits = (dataset.train, dataset.query, dataset.gallery)
    for split in splits:
        counts |= {f"{split.name} images": len(split), f"{split.name} identities": len(split.identities)}
    counts["gallery distractors"] = int((dataset.gallery.pids == DISTRACTOR_PID).sum())
    counts["gallery junk"] = int((dataset.gallery.pids == JUNK_PID).sum())
    cameras = np.unique(np.concatenate([split.camids for split in splits]))
    counts["cameras"] = int((cameras != UNKNOWN_CAMERA).sum())
    for what, folder in (("masks", dataset.query.mask_folder), ("part maps", dataset.query.part_folder)):
        if folder is not None:
            stems = {entry.stem for entry in folder.glob("*.png")}
            counts[what] = sum(Path(path).stem in stems for split in splits for path in split.paths)
    return counts


def _expectation(dataset: ReidDataset, found: dict[str, int], given: bool) -> tuple[dict[str, int], list[str]]:
    """Expected counts by row name, and a note on how they were chosen."""
    total = sum(len(split) for split in (dataset.train, dataset.query, dataset.gallery))
    expected = {what: total for what in ("masks", "part maps") if what in found}
    if dataset.name == "people":  # what the generator noted when it had finished
        header = read_json(dataset.root / "people.json")
        names = zip(("train images", "query images", "gallery images"), MARKET_FOLDERS, strict=True)
        noted = {what: header.get("counts", {}).get(folder) for what, folder in names}
        return expected | noted | {"cameras": header.get("cameras")}, []
    benchmark = _benchmark(dataset.name, found)
    # A damaged benchmark still has a sound part; a set that agrees nowhere is another one in the same layout.
    agrees = any(found[what] == n for what, n in benchmark.items() if what.endswith(("images", "identities")))
    if benchmark and not given and not agrees:
        note = f"laid out like {dataset.name} but no count agrees: taken for a set of your own"
        return expected, [f"{note} (--name {dataset.name} compares with the benchmark)"]
    notes = ["the gallery comes without its junk images: same CMC and mAP, other re-ranking"]
    return expected | benchmark, notes if benchmark.get("gallery junk") == 0 else []


def _inspect(path: Path, mask_folder: Path | None) -> tuple[str, str]:
    """``(kind, reason)``: how an image that must be converted is stored, why it or its mask cannot be used; or ""."""
    if path.is_file() and path.stat().st_size == 0:
        return "", "empty file (zero bytes)"
    mask = mask_folder / f"{path.stem}.png" if mask_folder else None
    try:
        size = read_image(path).size
        with Image.open(path) as image:
            sixteen_bit = image.mode.startswith("I") or image.mode == "F"
            kind = "16-bit" if sixteen_bit else KINDS.get(image.mode, image.mode)
            kind = "alpha" if image.mode == "RGB" and "transparency" in image.info else kind
        if mask is not None and mask.is_file():
            with Image.open(mask) as picture:
                picture.load()
                if picture.size != size:
                    return kind, f"its mask is {picture.size}, the image {size} (width, height)"
    except ValueError as error:
        cause = str(error.__cause__ or error)
        return "", "not an image" if "cannot identify" in cause else cause
    except (OSError, SyntaxError) as error:
        return "", f"its mask cannot be read: {error}"
    return kind, ""


def _advice(report: CheckReport) -> list[str]:
    advice = []
    if report.unreadable:
        advice.append(
            f"restore the {len(report.unreadable)} files named above from the archive; where that is impossible delete "
            "them: the set is then read without them, and results are no longer comparable"
        )
    counts = [(found, expected) for what, found, expected in report.wrong if what not in ("masks", "part maps")]
    if len(counts) < len(report.wrong):
        advice.append("some images have no mask or part map: for them maps cannot be scored; write the missing files")
    if counts:
        short = any(found < expected for found, expected in counts)
        what = "images are missing (an interrupted download?)" if short else "there is more than in the original"
        advice.append(f"{what}: unpack the original again. {READERS[report.name].where}")
    return advice
