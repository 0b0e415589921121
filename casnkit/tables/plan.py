"""What stands in the paper's tables: which benchmarks, which rows of ours, and the configuration of each.

The paper names its benchmarks in this order throughout: CUHK03-NP, DukeMTMC-reID, Market-1501; its result tables are
numbered here alike. The ablation (each attention alone) is part of every table, since it asks for the same trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casnkit.config import Config, profile


@dataclass(frozen=True)
class Row:
    """One network of ours.

    Attributes:
        key: short name, used on the command line and in folders.
        name: as the table shows it.
        variant, pooling: which losses are on; gap is the paper's IDE, stripes its PCB.
        backbone: None for the profile's own (ResNet50 in the paper).
    """

    key: str
    name: str
    variant: str
    pooling: str
    backbone: str | None = None

    def config(self, profile_name: str, seed: int, changes: Mapping[str, Any] | None = None) -> Config:
        """Its configuration at a profile."""
        own: dict[str, Any] = {"variant": self.variant, "pooling": self.pooling, "seed": seed}
        if self.backbone:
            own["backbone"] = self.backbone
        return profile(profile_name, **{**(changes or {}), **own})


ROWS = {
    row.key: row
    for row in (
        Row("ide", "IDE", "ide", "gap"),
        Row("ide+ia", "IDE+IA", "ide+ia", "gap"),
        Row("ide+sa", "IDE+SA", "ide+sa", "gap"),
        Row("ide-casn", "CASN (IDE)", "casn", "gap"),
        Row("pcb", "PCB", "ide", "stripes"),
        Row("pcb+ia", "PCB+IA", "ide+ia", "stripes"),
        Row("pcb+sa", "PCB+SA", "ide+sa", "stripes"),
        Row("pcb-casn", "CASN (PCB)", "casn", "stripes"),
        Row("densenet", "DenseNet121 (IDE)", "ide", "gap", "densenet121"),
        Row("densenet-casn", "CASN (DenseNet121)", "casn", "gap", "densenet121"),
    )
}
TABLES = {
    1: ("CUHK03-NP", ("cuhk03-np-detected", "cuhk03-np-labeled")),
    2: ("DukeMTMC-reID", ("dukemtmc-reid",)),
    3: ("Market-1501", ("market1501",)),
}


@dataclass(frozen=True)
class Plan:
    """What one call of ``casnkit table`` is about.

    Attributes:
        number: of the table, 1 to 3.
        benchmarks: those of the table that are wanted.
        rows: those of ours that are wanted.
        seeds: of the trainings; none of them named: every seed that a reader finds.
        out: the folder that holds the runs and the tables.
        changes: settings changed in every row, as :meth:`casnkit.Config.replace` takes them.
    """

    number: int
    benchmarks: tuple[str, ...]
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    profile: str
    out: Path
    changes: Mapping[str, Any]

    def folder(self, benchmark: str, row: Row, seed: int) -> Path:
        """Where a run lies, or will."""
        return self.out / f"{benchmark}-{self.profile}-{row.key.replace('+', '_')}-seed{seed}"

    def config(self, row: Row, seed: int) -> Config:
        """A run's configuration."""
        return row.config(self.profile, seed, self.changes)


def make_plan(
    number: int,
    out: str | Path,
    profile_name: str = "paper",
    rows: Sequence[str] | None = None,
    benchmarks: Sequence[str] | None = None,
    seeds: int | None = 1,
    changes: Mapping[str, Any] | None = None,
) -> Plan:
    """A plan from plain names.

    Raises:
        ValueError: there is no such table, row or benchmark in it, or less than one seed is asked for.
    """
    if number not in TABLES:
        raise ValueError(f"expected a table out of {', '.join(map(str, TABLES))}, got {number!r}")
    wanted = _known("rows", rows, tuple(ROWS))
    sets = _known(f"benchmarks of table {number}", benchmarks, TABLES[number][1])
    if seeds is not None and seeds < 1:
        raise ValueError(f"expected at least one seed, got {seeds}")
    plan = Plan(
        number,
        sets,
        tuple(ROWS[key] for key in wanted),
        tuple(range(seeds or 0)),
        profile_name,
        Path(out),
        changes or {},
    )
    plan.config(plan.rows[0], 0)  # unknown settings are refused before anything is trained
    return plan


def _known(what: str, given: Sequence[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [name for name in given or () if name not in known]
    if wrong:
        raise ValueError(f"{what}: expected some of {', '.join(known)}, got {', '.join(map(repr, wrong))}")
    return tuple(name for name in known if not given or name in given)
