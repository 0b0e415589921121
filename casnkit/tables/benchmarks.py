"""Opening the benchmark that a table is about, and no other one by mistake.

:func:`casnkit.open_dataset` opens what it is told to and notes its doubts. A table sets numbers beside published ones, so
here a doubt is a refusal: DukeMTMC-reID's folders must not become a row of Market-1501.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from casnkit.data import ReidDataset, open_dataset
from casnkit.data.check import EXPECTED
from casnkit.data.readers import kind_of


def open_benchmark(name: str, root: str | Path | None) -> ReidDataset:
    """The benchmark ``name`` at or below ``root`` (default: ``$CASNKIT_DATA``).

    Raises:
        ValueError: it is not there, several copies are, or what lies there is another set; the folder is named.
    """
    dataset = open_dataset(name, root)
    kind = kind_of(Path(dataset.root))
    if kind != name:
        looked = "$CASNKIT_DATA" if root is None else Path(root).expanduser().absolute()
        hint = ""
        if name.startswith("cuhk03-np"):
            hint = (
                f" CUHK03-NP's folder has to be called {name.rpartition('-')[2]} here, as in the ready-made download."
            )
        raise ValueError(
            f"{name}: looked in {looked} and up to three levels below, found only {kind} (in {dataset.root}).{hint}"
        )
    return dataset


def counts_of(dataset: ReidDataset) -> dict[str, int]:
    """Images in each split."""
    return {split: len(getattr(dataset, split)) for split in ("train", "query", "gallery")}


def count_note(name: str, counts: Mapping[str, Any]) -> str | None:
    """What to say where the counts are not those of the benchmark; Market-1501 may come without its junk images."""
    expected = {split: EXPECTED[name][f"{split} images"] for split in ("train", "query", "gallery")}
    spare = EXPECTED[name].get("gallery junk", 0)
    wrong = [
        f"{split} {counts[split]} (expected {number})"
        for split, number in expected.items()
        if counts.get(split) not in (number, number - (spare if split == "gallery" else 0))
    ]
    if not wrong:
        return None
    return f"{name}: {', '.join(wrong)} images: not the whole benchmark, so published numbers are no yardstick"
