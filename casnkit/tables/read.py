"""Finished runs beside published numbers: one record for each row and way of ranking. Needs no data and trains nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from casnkit import runs
from casnkit.config import Config
from casnkit.data.files import read_json

from .benchmarks import count_note
from .plan import TABLES, Plan, Row
from .published import Published, other_systems, published
from .run import results_fit

NUMBERS = ("rank_1", "rank_5", "rank_10", "mean_ap", "mean_ap_trapezoid")
COMPARED = ("rank_1", "mean_ap")


@dataclass(frozen=True)
class Found:
    """A run's folder, what it says of itself, and its results or why there are none."""

    folder: Path
    info: runs.RunInfo
    results: dict[str, Any] | None
    why_not: str = ""

    def fits(self, benchmark: str, row: Row, plan: Plan) -> bool:
        """Whether it is one of the runs that a row asks for, at whatever settings."""
        here, wanted = self.info.config, plan.config(row, 0)
        same = here.model.backbone == wanted.model.backbone and here.model.pooling == row.pooling
        chosen = not plan.seeds or here.train.seed in plan.seeds
        same = same and here.variant == row.variant and here.profile == plan.profile
        return same and chosen and self.info.data["name"] == benchmark


def find_runs(out: str | Path) -> list[Found]:
    """The runs at or below a folder, those with results first, then the newest first."""
    found = []
    for file in Path(out).glob("**/run.json"):
        with contextlib.suppress(ValueError, KeyError, TypeError):  # other files of that name, other formats
            found.append(_look(file.parent))
    return sorted(found, key=lambda run: (run.results is None, -(run.folder / "run.json").stat().st_mtime))


def _look(folder: Path) -> Found:
    info = runs.read_run(folder)
    if not (folder / "model.safetensors").is_file():
        epochs = len(runs.read_log(folder))
        return Found(folder, info, None, f"unfinished: {epochs} of {info.config.train.epochs} epochs ({folder})")
    if not (folder / "results.json").is_file():
        return Found(folder, info, None, f"trained, not tested yet ({folder})")
    results = read_json(folder / "results.json")
    if not results_fit(results, info):
        return Found(folder, info, None, f"its results.json is of another run or other data ({folder})")
    return Found(folder, info, results)


def read_table(
    plan: Plan, problems: Mapping[str, Mapping[str, str]] | None = None, unconfirmed: bool = False
) -> dict[str, Any]:
    """A table as plain values, ready for JSON: what was measured, what was published, the difference, what is missing.

    Args:
        problems: what :func:`casnkit.tables.measure` returned.
        unconfirmed: also use published numbers that only notes of the paper bear out.
    """
    found, missing = find_runs(plan.out), dict((problems or {}).get("missing", {}))
    records: list[dict[str, Any]] = []
    notes: list[str] = []
    for benchmark in plan.benchmarks:
        used: list[Found] = []
        records += [_published_record(p) for p in other_systems(benchmark)]
        for row in plan.rows:
            own = _one_per_seed([run for run in found if run.fits(benchmark, row, plan)], plan, benchmark, row)
            records += _row_records(benchmark, row, own, unconfirmed)
            used += [run for run in own if run.results is not None]
        notes += _notes(benchmark, used, plan)
    return {
        "table": plan.number,
        "title": TABLES[plan.number][0],
        "profile": plan.profile,
        "folder": str(plan.out),
        "benchmarks": list(plan.benchmarks),
        "records": records,
        "missing": missing,
        "failed": dict((problems or {}).get("failed", {})),
        "notes": notes,
        "unconfirmed_shown": unconfirmed,
        "versions": runs.versions(),
    }


def _one_per_seed(runs_found: Sequence[Found], plan: Plan, benchmark: str, row: Row) -> list[Found]:
    """The run in the table's own folder before others, a finished one before an unfinished one."""
    chosen: dict[int, Found] = {}
    for run in runs_found:
        seed = run.info.config.train.seed
        better = run.folder == plan.folder(benchmark, row, seed) and run.results is not None
        if seed not in chosen or better:
            chosen[seed] = run
    return [chosen[seed] for seed in sorted(chosen)]


def _row_records(benchmark: str, row: Row, found: Sequence[Found], unconfirmed: bool) -> list[dict[str, Any]]:
    paper_ranks_by = "sum" if row.variant in ("ide+sa", "casn") else "features"
    base = {"benchmark": benchmark, "row": row.key, "name": row.name, "paper_ranks_by": paper_ranks_by}
    known = published(row.key, benchmark, unconfirmed)
    base |= {"published": _numbers_of(known)}
    done = [run for run in found if run.results is not None]
    pending = [run.why_not for run in found if run.results is None]
    if not done:
        nothing = {"ranked_by": paper_ranks_by, "seeds": [], "folders": [], "measured": None, "spread": None}
        return [{**base, **nothing, "difference": None, "pending": pending or ["not trained yet"]}]
    records = []
    for ranked_by in ("features", "sum") if paper_ranks_by == "sum" else ("features",):
        lines = [next(line for line in run.results["rows"] if line["ranked by"] == ranked_by) for run in done]
        columns = {name: [float(line[name]) for line in lines] for name in NUMBERS}
        measured = {name: float(np.mean(values)) for name, values in columns.items()}
        own = {"ranked_by": ranked_by, "seeds": [run.info.config.train.seed for run in done], "measured": measured}
        own |= {"folders": [str(run.folder) for run in done], "pending": pending}
        own |= {"spread": {name: float(np.ptp(columns[name])) for name in COMPARED} if len(done) > 1 else None}
        own |= {"difference": {n: measured[n] - getattr(known, n) for n in COMPARED} if known else None}
        records.append({**base, **own})
    return records


def _published_record(entry: Published) -> dict[str, Any]:
    nothing = {"ranked_by": None, "paper_ranks_by": None, "seeds": [], "folders": [], "measured": None}
    nothing |= {"spread": None, "difference": None, "pending": []}
    head = {"benchmark": entry.benchmark, "row": None, "name": entry.system, "published": _numbers_of(entry)}
    return {**head, **nothing}


def _numbers_of(entry: Published | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    numbers = {name: getattr(entry, name) for name in COMPARED}
    return {**numbers, "paper": entry.paper, "confirmed": entry.confirmed, "confirmed_in": entry.confirmed_in}


def _notes(benchmark: str, used: Sequence[Found], plan: Plan) -> list[str]:
    notes = [count_note(benchmark, run.info.data["images"]) for run in used]
    notes += [f"{benchmark}: {change}" for run in used for change in changed_settings(run.info.config)]
    for run in used:
        valid, queries = run.results.get("queries_with_a_match"), run.info.data["images"]["query"]
        if valid is not None and valid != queries:
            notes.append(
                f"{benchmark}: {queries - valid} of {queries} queries have no match and are left out of the means"
            )
    if used and plan.profile != "paper":
        notes.append(f"profile {plan.profile} is not the paper's setting (section 4.1): differences mean nothing")
    return list(dict.fromkeys(note for note in notes if note))


def changed_settings(config: Config) -> list[str]:
    """In which settings a run departs from its profile, beside what its row and seed ask for."""
    from casnkit.config import profile

    own = {"variant": config.variant, "pooling": config.model.pooling, "backbone": config.model.backbone}
    plain = profile(config.profile, seed=config.train.seed, **own).to_dict()
    here = config.to_dict()
    return [
        f"{group}.{name} is {value!r} (profile {config.profile}: {plain[group][name]!r})"
        for group, values in here.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if value != plain[group][name]
    ]
