"""``casnkit data check PATH``: what lies there, are the counts right, and which images cannot be read.

The expected counts are those that the benchmarks' authors give (:data:`casnkit.data.readers.READERS`). Every image is
decoded once, and all that fail are named together, so that a damaged copy is repaired in one go and not file by file.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm.contrib.concurrent import thread_map

from casnkit.data.files import read_json
from casnkit.data.layout import MARKET_FOLDERS, SPLITS
from casnkit.data.readers import READERS, open_dataset
from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, ReidDataset, read_image

EXPECTED = {name: reader.expected for name, reader in READERS.items() if reader.expected}
KINDS = {"RGB": "", "1": "grey", "L": "grey", "P": "palette", "RGBA": "alpha", "LA": "alpha", "PA": "alpha"}
SIDES = ("masks", "part maps")


def not_whole(dataset: ReidDataset) -> str:
    """What to say of a set that is laid out like a benchmark and has other numbers of images; empty where all is well."""
    counts = {f"{split} images": len(getattr(dataset, split)) for split in SPLITS}
    expected = _benchmark(dataset.name, counts)
    wrong = [what for what, count in counts.items() if expected.get(what, count) != count]
    listed = ", ".join(f"{counts[what]:,} {what} instead of {expected[what]:,}" for what in wrong)
    told = f"laid out like {dataset.name} but not that benchmark ({listed}): published numbers are no yardstick"
    return told if wrong else ""


def _benchmark(name: str, counts: dict[str, int]) -> dict[str, int]:
    """The benchmark's counts; Market-1501 may come without its junk images, with the same CMC and mAP."""
    expected = dict(EXPECTED.get(name, {}))
    junk = expected.get("gallery junk", 0)
    if junk and counts["gallery images"] == expected["gallery images"] - junk:
        expected |= {"gallery images": counts["gallery images"], "gallery junk": 0}
    return expected


@dataclass(frozen=True)
class CheckReport:
    """What ``check`` found."""

    dataset: ReidDataset
    counts: pd.DataFrame  # found and expected, by what is counted; NA where no number is known
    unreadable: tuple[tuple[str, str], ...]  # (path, reason) of every image or mask that cannot be used
    converted: dict[str, int]  # images by kind (CMYK, grey, 16-bit, alpha, palette) that become 8-bit RGB on reading
    notes: tuple[str, ...]  # what a reader of results must know

    @property
    def wrong(self) -> pd.DataFrame:
        """The counts that differ from the expected ones."""
        return self.counts[(self.counts.found != self.counts.expected).fillna(False)]

    @property
    def ok(self) -> bool:
        """Every image can be read and every count with an expectation meets it."""
        return not self.unreadable and self.wrong.empty

    @property
    def advice(self) -> list[str]:
        """What to do; empty where all is well."""
        advice, wrong = [], self.wrong.drop(list(SIDES), errors="ignore")
        if self.unreadable:
            what = f"restore the {len(self.unreadable)} files named above from the archive, or delete them"
            advice.append(f"{what}: the set is then read without them, and results are no longer comparable")
        if len(wrong) < len(self.wrong):
            advice.append("some images have no mask or part map: write the missing files, or maps cannot be scored")
        if len(wrong):
            short = (wrong.found < wrong.expected).any()
            what = "images are missing (an interrupted download?)" if short else "there is more than in the original"
            advice.append(f"{what}: unpack the original again. {READERS[self.dataset.name].where}")
        return advice

    def to_text(self) -> str:
        """The report as text: counts, every unreadable file, conversions, notes, advice, and the verdict last."""
        marks = [" <- differs" if what in self.wrong.index else "" for what in self.counts.index]
        lines = [f"{self.dataset.name} in {self.dataset.root}"]
        lines += self.counts.astype("string").fillna("-").assign(**{"": marks}).to_string().splitlines()
        lines += [f"{len(self.unreadable)} files cannot be used:"] * bool(self.unreadable)
        lines += [f"  {path}: {reason}" for path, reason in self.unreadable]
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.converted.items()))
        lines += [f"converted to 8-bit RGB on reading: {kinds}"] * bool(kinds)
        lines += [f"note: {note}" for note in self.notes] + [f"do: {advice}" for advice in self.advice]
        return "\n  ".join([*lines, "all is well" if self.ok else "not in order, see above"])


def check(path: str | Path, name: str = "auto", threads: int = 4, progress: bool = False) -> CheckReport:
    """Recognise the set at ``path`` (or read it as ``name``), compare its counts and decode every image.

    Raises:
        ValueError: no set can be opened there; the message says what was found and expected.
    """
    if name.partition(":")[0] == "people":  # a check must never generate what it is asked about
        name = "auto"
    dataset = open_dataset(name, path, require_train=False, progress=progress)
    found, notes = _counts(dataset), list(dataset.notes)
    expected = _expectation(dataset, found, notes, given=name != "auto")
    counts = pd.DataFrame({"found": found, "expected": expected}, index=list(found), dtype="Int64")
    splits = [getattr(dataset, split) for split in SPLITS]
    jobs = [(Path(image), split.mask_folder) for split in splits for image in split.paths]
    inspected = thread_map(_inspect, *zip(*jobs, strict=True), max_workers=threads, unit="image", disable=not progress)
    bad = tuple((str(image), reason) for (image, _), (_, reason) in zip(jobs, inspected, strict=True) if reason)
    converted = Counter(kind for kind, reason in inspected if kind and not reason)
    return CheckReport(dataset, counts, bad, dict(converted), tuple(notes))


def _counts(dataset: ReidDataset) -> dict[str, int]:
    counts: dict[str, int] = {}
    splits = [getattr(dataset, split) for split in SPLITS]
    for split in splits:
        counts |= {f"{split.name} images": len(split), f"{split.name} identities": len(split.identities)}
    counts["gallery distractors"] = int((dataset.gallery.pids == DISTRACTOR_PID).sum())
    counts["gallery junk"] = int((dataset.gallery.pids == JUNK_PID).sum())
    counts["cameras"] = len({camid for split in splits for camid in split.camids.tolist() if camid >= 0})
    for what, folder in zip(SIDES, (dataset.query.mask_folder, dataset.query.part_folder), strict=True):
        if folder is not None:
            stems = {entry.stem for entry in folder.glob("*.png")}
            counts[what] = sum(Path(path).stem in stems for split in splits for path in split.paths)
    return counts


def _expectation(dataset: ReidDataset, found: dict[str, int], notes: list[str], given: bool) -> dict[str, int]:
    """Expected counts by what is counted; adds a note on how they were chosen."""
    expected = dict.fromkeys(SIDES, sum(len(getattr(dataset, split)) for split in SPLITS))
    if dataset.name == "people":  # what the generator noted when it had finished
        header = read_json(dataset.root / "people.json")
        noted = [header.get("counts", {}).get(folder) for folder in MARKET_FOLDERS]
        images = {f"{split} images": count for split, count in zip(SPLITS, noted, strict=True)}
        return expected | images | {"cameras": header.get("cameras")}
    benchmark = _benchmark(dataset.name, found)
    agrees = any(found[what] == n for what, n in benchmark.items() if what.endswith(("images", "identities")))
    # A damaged benchmark still has a sound part; a set that agrees nowhere is another one in the same layout.
    if benchmark and not given and not agrees:
        note = f"laid out like {dataset.name} but no count agrees: taken for a set of your own"
        notes.append(f"{note} (--name {dataset.name} compares with the benchmark)")
        return expected
    if benchmark.get("gallery junk") == 0:
        notes.append("the gallery comes without its junk images: same CMC and mAP, other re-ranking")
    return expected | benchmark


def _inspect(path: Path, mask_folder: Path | None) -> tuple[str, str]:
    """``(kind, reason)``: how an image that must be converted is stored, why it or its mask cannot be used; or ""."""
    if path.is_file() and path.stat().st_size == 0:
        return "", "empty file (zero bytes)"
    mask = mask_folder / f"{path.stem}.png" if mask_folder else None
    try:
        size = read_image(path).size
        with Image.open(path) as image:
            kind = "16-bit" if image.mode[0] in "IF" else KINDS.get(image.mode, image.mode)
            kind = "alpha" if image.mode == "RGB" and "transparency" in image.info else kind
    except ValueError as error:
        cause = str(error.__cause__ or error)
        return "", "not an image" if "cannot identify" in cause else cause
    try:
        if mask is not None and mask.is_file():
            with Image.open(mask) as picture:
                picture.load()
                wrong = f"its mask is {picture.size}, the image {size} (width, height)"
                return kind, wrong if picture.size != size else ""
    except (OSError, SyntaxError) as error:
        return "", f"its mask cannot be read: {error}"
    return kind, ""
