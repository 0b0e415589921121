"""``casnkit data check PATH``: what lies there, are the counts right, and which images cannot be read.

The expected counts are those that the benchmarks' authors give (:data:`casnkit.data.readers.READERS`). Every image is
decoded once, and all that fail are named together, so that a damaged copy is repaired in one go and not file by file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm.contrib.concurrent import thread_map

from casnkit.data.files import read_json
from casnkit.data.readers import COUNTED, READERS, open_dataset
from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, MARKET_FOLDERS, SPLITS, ReidDataset, Split

EXPECTED = {name: dict(zip(COUNTED, reader.counts, strict=False)) for name, reader in READERS.items() if reader.counts}


def not_whole(name: str, counts: Mapping[str, int]) -> str:
    """What to say of numbers of images (by split) that are not those of the benchmark ``name``; empty where all is well."""
    found = {f"{split} images": counts[split] for split in SPLITS}
    expected = found | _benchmark(name, found)
    wrong = [f"{n:,} {what} instead of {expected[what]:,}" for what, n in found.items() if n != expected[what]]
    return f"{name}: {', '.join(wrong)}: not the whole benchmark, published numbers are no yardstick" if wrong else ""


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
    faults: list[str]  # file and reason of every image or mask that cannot be used
    notes: list[str]  # what a reader of results must know

    @property
    def wrong(self) -> pd.DataFrame:
        """The counts that differ from the expected ones."""
        return self.counts[(self.counts.found != self.counts.expected).fillna(False)]

    @property
    def ok(self) -> bool:
        """Every image can be read and every count with an expectation meets it."""
        return not self.faults and self.wrong.empty

    def to_text(self) -> str:
        """The report as text: counts, every fault, notes, what to do, and the verdict last."""
        marks = [" <- differs" if what in self.wrong.index else "" for what in self.counts.index]
        lines = [f"{self.dataset.name} in {self.dataset.root}"]
        lines += self.counts.astype("string").fillna("-").assign(**{"": marks}).to_string().splitlines()
        lines += [*self.faults, *(f"note: {note}" for note in self.notes)]
        if self.ok:
            return "\n  ".join([*lines, "all is well"])
        restore = "restore what is named or missing above from the original, or delete it (results are then no longer"
        lines += [f"do: {restore} comparable). {READERS[self.dataset.name].where}", "not in order, see above"]
        return "\n  ".join(lines)


def check(path: str | Path, name: str = "auto") -> CheckReport:
    """Recognise the set at ``path`` (or read it as ``name``), compare its counts and decode every image.

    Raises ValueError where no set can be opened there; the message says what was found and expected.
    """
    if name.partition(":")[0] == "people":  # a check must never generate what it is asked about
        name = "auto"
    dataset = open_dataset(name, path)
    found, notes = _counts(dataset), list(dataset.notes)
    expected = _expectation(dataset, found, notes, given=name != "auto")
    counts = pd.DataFrame({"found": found, "expected": expected}, index=list(found), dtype="Int64")
    splits = [getattr(dataset, split) for split in SPLITS]
    images = [(split, i) for split in splits for i in range(len(split))]
    faults = thread_map(_inspect, *zip(*images, strict=True), max_workers=4, unit="image", disable=None)
    return CheckReport(dataset, counts, [fault for fault in faults if fault], notes)


def _counts(dataset: ReidDataset) -> dict[str, int]:
    splits, counts = [getattr(dataset, split) for split in SPLITS], {}
    for split in splits:
        counts |= {f"{split.name} images": len(split), f"{split.name} identities": len(split.identities)}
    counts["gallery distractors"] = int((dataset.gallery.pids == DISTRACTOR_PID).sum())
    counts["gallery junk"] = int((dataset.gallery.pids == JUNK_PID).sum())
    counts["cameras"] = len({camid for split in splits for camid in split.camids.tolist() if camid >= 0})
    for what, folder in (("masks", dataset.query.mask_folder), ("part maps", dataset.query.part_folder)):
        if folder is not None:
            stems = {entry.stem for entry in folder.glob("*.png")}
            counts[what] = sum(Path(path).stem in stems for split in splits for path in split.paths)
    return counts


def _expectation(dataset: ReidDataset, found: dict[str, int], notes: list[str], given: bool) -> dict[str, int]:
    """Expected counts by what is counted; adds a note on how they were chosen."""
    expected = dict.fromkeys(("masks", "part maps"), sum(len(getattr(dataset, split)) for split in SPLITS))
    if dataset.name == "people":  # what the generator noted when it had finished
        header = read_json(dataset.root / "people.json")
        noted = header.get("counts", {})
        images = {f"{split} images": noted.get(folder) for split, folder in zip(SPLITS, MARKET_FOLDERS, strict=True)}
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


def _inspect(split: Split, i: int) -> str:
    """Why image ``i`` or its mask cannot be used; empty where they can."""
    try:
        size, mask = split.image(i).size, split.mask(i)
    except ValueError as error:
        return str(error)
    if mask is not None and mask.shape[::-1] != size:
        return f"{split.paths[i]}: its mask is {mask.shape[::-1]}, the image {size} (width, height)"
    return ""
