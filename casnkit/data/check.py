"""``casnkit data check PATH``: what lies there, are the counts right, and which images cannot be read.

The expected counts are those that the benchmarks' authors give (:data:`casnkit.data.readers.READERS`). Every image is
decoded once, and all that fail are named together, so that a damaged copy is repaired in one go.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.contrib.concurrent import thread_map

from casnkit.data.files import read_json
from casnkit.data.readers import EXPECTED, READERS, open_dataset
from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, MARKET_FOLDERS, SPLITS, ReidDataset, Split, unfit


def not_whole(name: str, counts: Mapping[str, int]) -> str:
    """What to say of numbers of images (by split) that are not those of the benchmark ``name``; empty where all is well."""
    found = {f"{split} images": counts[split] for split in SPLITS}
    expected = found | _benchmark(name, found)
    wrong = [f"{n:,} {what} instead of {expected[what]:,}" for what, n in found.items() if n != expected[what]]
    return f"{name}: {', '.join(wrong)}: not the whole benchmark, published numbers are no yardstick" if wrong else ""


def _benchmark(name: str, counts: dict[str, int]) -> dict[str, int]:
    """The benchmark's counts; Market-1501 may come without its junk images, with the same CMC and mAP."""
    expected = EXPECTED.get(name, {})
    junk = expected.get("gallery junk", 0)
    if junk and counts["gallery images"] == expected["gallery images"] - junk:
        return expected | {"gallery images": counts["gallery images"], "gallery junk": 0}
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
        table = self.counts.astype("string").fillna("-").assign(**{"": marks}).to_string()
        lines = [f"{self.dataset.name} in {self.dataset.root}", *table.splitlines(), *self.faults]
        lines += [f"note: {note}" for note in self.notes]
        if not self.wrong.empty or self.faults not in ([], [unfit(self.dataset)]):
            restore = "restore what is named or missing above from the original, or delete it"
            where = READERS.get(self.dataset.name, READERS["folder"]).where
            lines.append(f"do: {restore} (results are then no longer comparable). {where}")
        lines.append("all is well" if self.ok else "not in order, see above")
        # control characters of a file's name are shown, not sent to the terminal
        return "\n  ".join("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines)


def check(path: str | Path, name: str = "auto", **opening: Any) -> CheckReport:
    """Recognise the set at ``path`` (or read it as ``name``), compare its counts and decode every image.

    ``opening``: other options of :func:`casnkit.open_dataset`.
    """
    drawn = name.partition(":")[0] == "people"  # a check must never generate what it is asked about
    dataset = open_dataset("auto" if drawn else name, path, **opening)
    splits, notes, found = [getattr(dataset, split) for split in SPLITS], list(dataset.notes), {}
    for split in splits:
        found |= {f"{split.name} images": len(split), f"{split.name} identities": len(split.identities)}
    for what, pid in (("distractors", DISTRACTOR_PID), ("junk", JUNK_PID)):
        found[f"gallery {what}"] = int((dataset.gallery.pids == pid).sum())
    found["cameras"] = len({camid for split in splits for camid in split.camids.tolist() if camid >= 0})
    for what, folder in (("masks", dataset.gallery.mask_folder), ("part maps", dataset.gallery.part_folder)):
        if folder is not None:
            stems = {entry.stem for entry in folder.glob("*.png")}
            found[what] = sum(Path(path).stem in stems for split in splits for path in split.paths)
    expected = dict.fromkeys(("masks", "part maps"), sum(map(len, splits)))
    if dataset.name == "people":  # what the generator noted when it had finished
        header = read_json(dataset.root / "people.json")
        noted = header.get("counts", {})
        expected |= {f"{split} images": noted.get(sub) for split, sub in zip(SPLITS, MARKET_FOLDERS, strict=True)}
        expected["cameras"] = header.get("cameras")
    expected |= _expectation(dataset.name, found, notes, given=name != "auto")
    counts = pd.DataFrame({"found": found, "expected": expected}, index=list(found), dtype="Int64")
    images = [(split, i) for split in splits for i in range(len(split))]
    faults = thread_map(_inspect, *zip(*images, strict=True), max_workers=4, unit="image", disable=None)
    return CheckReport(dataset, counts, [*filter(None, (*faults, unfit(dataset)))], notes)


def _expectation(name: str, found: dict[str, int], notes: list[str], given: bool) -> dict[str, int]:
    """The benchmark's counts where the set is taken for it, and a note on how they were chosen."""
    benchmark = _benchmark(name, found)
    agrees = any(found[what] == n for what, n in benchmark.items() if what.endswith(("images", "identities")))
    # A damaged benchmark still has a sound part; a set that agrees nowhere is another one in the same layout.
    if benchmark and not given and not agrees:
        note = f"laid out like {name} but no count agrees: taken for a set of your own"
        notes.append(f"{note} (--as {name} compares with the benchmark)")
        return {}
    if benchmark.get("gallery junk") == 0:
        notes.append("the gallery comes without its junk images: same CMC and mAP, other re-ranking")
    return benchmark


def _inspect(split: Split, i: int) -> str:
    """Why image ``i`` or its mask cannot be used; empty where they can."""
    try:
        size, mask = split.image(i).size, split.mask(i)
    except ValueError as error:
        return str(error)
    if mask is not None and mask.shape[::-1] != size:
        return f"{split.paths[i]}: its mask is {mask.shape[::-1]}, the image {size} (width, height)"
    return ""
