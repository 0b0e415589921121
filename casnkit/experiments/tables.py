"""The paper's tables, measured beside published, one command for each; the ablation is part of every table.

``published.csv`` holds every number of the paper's tables 1 to 3, and those of its section 4.1, in percent, single query
without re-ranking. Where a system stands in two tables its numbers are the same.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from casnkit import evaluation, runs, training
from casnkit.config import PROFILES, Config, assignments, profile
from casnkit.data import ReidDataset, open_dataset
from casnkit.data.check import not_whole
from casnkit.data.files import check_place, read_json, write_json, write_text
from casnkit.data.readers import kind_of
from casnkit.data.records import SPLITS
from casnkit.experiments.design import Setting
from casnkit.experiments.report import markdown_table, model_name

COMPARED = ["rank_1", "mean_ap"]
HEADINGS = {"rank_1": "rank-1", "rank_5": "rank-5", "rank_10": "rank-10", "mean_ap": "mAP"}
NUMBERS = [*HEADINGS, "mean_ap_trapezoid"]
NOTES = (
    "percent; difference: measured minus published. The paper ranks by the sum wherever there is Siamese attention.",
    "mAP: mean of the precision at each hit; the paper names no definition, the trapezoid's value is in the JSON",
    "published: as in the paper's tables; the rows of other systems, and the two baselines, are quoted there from others",
)
# In percent, where it stands, of one system (a row of ours by its key, or a name) on one benchmark.
_READ = pd.read_csv(Path(__file__).with_name("published.csv")).astype(object)
PUBLISHED = list(_READ.where(_READ.notna(), None).itertuples(index=False, name="Published"))


# Our rows by key: the paper's name and the setting; a pooling of gap is the paper's IDE, stripes its PCB.
ROWS = {
    base + end: (model_name({"variant": variant, "pooling": pooling}), Setting(variant, pooling))
    for base, pooling in (("ide", "gap"), ("pcb", "stripes"))
    for end, variant in {"": "ide", "+ia": "ide+ia", "+sa": "ide+sa", "-casn": "casn"}.items()
}
EIGHT = tuple(ROWS)
ROWS["densenet"] = "DenseNet121 (IDE)", Setting("ide", "gap", "backbone", "densenet121")
ROWS["densenet-casn"] = "CASN (DenseNet121)", Setting("casn", "gap", "backbone", "densenet121")
TABLES = {  # title, benchmarks, our rows in it
    1: ("CUHK03-NP", ("cuhk03-np-detected", "cuhk03-np-labeled"), ("ide-casn", "pcb-casn", "densenet-casn")),
    2: ("DukeMTMC-reID and Market-1501", ("dukemtmc-reid", "market1501"), ("ide-casn", "pcb-casn")),
    3: ("ablation", ("cuhk03-np-detected", "dukemtmc-reid", "market1501"), EIGHT),
}


def published(system: str, benchmark: str) -> Any:
    """What the paper prints of a system on a benchmark; None where it prints nothing."""
    return next((p for p in PUBLISHED if (p.system, p.benchmark) == (system, benchmark)), None)


def published_table(number: int) -> pd.DataFrame:
    """A table of the paper as it stands there: a line for each system, rank-1 and mAP on each benchmark, in percent."""
    entries = [entry for entry in PUBLISHED if entry.where == f"table {number}"]
    names = [ROWS[entry.system][0] if entry.system in ROWS else entry.system for entry in entries]
    shown = itertools.product(zip(names, entries, strict=True), COMPARED)
    cells = {(name, entry.benchmark, HEADINGS[key]): getattr(entry, key) for (name, entry), key in shown}
    return pd.Series(cells).dropna().map("{:.1f}".format).unstack([1, 2], fill_value="", sort=False)


class _Run(NamedTuple):
    folder: Path
    info: runs.RunInfo
    results: dict[str, Any] | None  # those of this very run, on the data that it was trained on


@dataclass
class Plan:
    """What one call of ``casnkit table`` is about."""

    number: int
    out: str | Path
    profile: str = "paper"
    rows: Sequence[str] | None = None  # of ROWS; default: the paper's
    seeds: int | None = 1  # None reads every seed that is there
    changes: Mapping[str, Any] | None = None  # for all rows

    def __post_init__(self) -> None:
        seeds, rows = range(1) if self.seeds is None else range(self.seeds), set(self.rows or ())
        if self.number not in TABLES or not seeds or not rows <= set(ROWS):
            raise ValueError(
                f"expected a table out of {', '.join(map(str, TABLES))}, at least one seed, some of the rows "
                f"{', '.join(ROWS)}, got table {self.number!r}, seeds {self.seeds}, rows {self.rows}"
            )
        self.title, self.benchmarks, usual = TABLES[self.number]
        self.rows, self.out = [key for key in ROWS if key in (self.rows or usual)], Path(self.out)
        self.config(self.rows[0], 0)  # unknown settings are refused before anything is trained

    def folder(self, benchmark: str, row: str, seed: int | str) -> Path:
        """Where a run lies, or will."""
        return self.out / f"{benchmark}-{self.profile}-{row.replace('+', '_')}-seed{seed}"

    def config(self, row: str, seed: int) -> Config:
        """The configuration of a run."""
        return ROWS[row][1].config(self.profile, seed, **(self.changes or {}))

    def runs(self, benchmark: str, row: str) -> list[_Run]:
        """What is there of a row."""
        seeds = ["*"] if self.seeds is None else range(self.seeds)
        files = (self.out.glob(f"{self.folder(benchmark, row, seed).name}/run.json") for seed in seeds)
        return [_read(file.parent) for file in sorted(itertools.chain.from_iterable(files))]


def open_benchmark(name: str, root: str | Path | None) -> ReidDataset:
    """The benchmark ``name`` at or below ``root`` (default: ``$CASNKIT_DATA``). Where :func:`casnkit.open_dataset` notes a
    doubt, a ValueError refuses: numbers will stand beside published ones."""
    dataset = open_dataset(name, root)
    kind = kind_of(Path(dataset.root))
    if kind != name:
        hint = f" (its folder has to be called {name.rpartition('-')[2]})" if name.startswith("cuhk03-np") else ""
        raise ValueError(f"{name}: looked in {root or '$CASNKIT_DATA'}, found only {kind} in {dataset.root}{hint}")
    return dataset


def measure(
    plan: Plan, root: str | Path | None = None, device: str | None = None, progress: bool = True
) -> dict[str, dict[str, str]]:
    """Train and test every run of a plan that is not finished. Stopped anywhere, the same call goes on there.

    ``root``: as in :func:`open_benchmark`. Returns ``{"missing": {benchmark: why}, "failed": {run: why}}``.
    """
    accelerator = training.make_accelerator(device)
    say, on_epoch = (accelerator.print, training.say_epoch) if progress else (lambda line: None, None)
    problems: dict[str, dict[str, str]] = {"missing": {}, "failed": {}}
    for benchmark in plan.benchmarks:
        try:
            dataset = open_benchmark(benchmark, root)
        except ValueError as error:
            problems["missing"][benchmark] = str(error)
            continue
        say(dataset)
        for row, seed in itertools.product(plan.rows, range(plan.seeds or 1)):
            folder, config = plan.folder(benchmark, row, seed), plan.config(row, seed)
            accelerator.wait_for_everyone()  # every process must see the same files when it decides
            if is_finished(folder, config, dataset):
                continue
            say(f"{ROWS[row][0]}, seed {seed}: {folder}")
            try:
                training.train(dataset, config, folder, device=device, progress=progress, on_epoch=on_epoch)
            except training.DivergenceError as error:
                if accelerator.num_processes > 1:  # the others wait for this one: nothing can go on
                    raise
                problems["failed"][folder.name] = str(error)
                continue
            model, info = runs.load_model(folder, accelerator.device)
            result = evaluation.evaluate(model, dataset, config, accelerator=accelerator, progress=progress)
            if accelerator.is_main_process:
                evaluation.save_results(folder, result, info)
            accelerator.wait_for_everyone()
    return problems


def _read(folder: Path) -> _Run:
    info, file = runs.read_run(folder), folder / "results.json"
    config, images, results = info.config, info.data["images"], read_json(file) if file.is_file() else {}
    own = {"variant": config.variant, "pooling": config.model.pooling, "seed": config.train.seed}
    own["data"] = {"name": info.data["name"], "query": images["query"], "gallery": images["gallery"]}
    rows = results.get("rows", [])
    if not isinstance(rows, list) or not all({"ranked by", *NUMBERS} <= set(row) for row in rows):
        raise ValueError(f"{file}: expected rows with {', '.join(NUMBERS)}, found otherwise: evaluate the run again")
    return _Run(folder, info, results if {key: results.get(key) for key in own} == own else None)


def is_finished(folder: Path, config: Config, dataset: ReidDataset) -> bool:
    """Whether a folder holds the results of exactly this run on exactly these images."""
    if not (folder / "run.json").is_file():
        return False
    run, counts = _read(folder), {split: len(getattr(dataset, split)) for split in SPLITS}
    return bool(run.results) and run.info.config == config and run.info.data["images"] == counts


def read_table(plan: Plan, problems: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, Any]:
    """A table as plain values, ready for JSON: what was measured, what was published, the difference, what is missing.

    Trains nothing. ``problems`` is what :func:`measure` returned.
    """
    records, notes = [], list(NOTES)
    for benchmark in plan.benchmarks:
        others = [entry for entry in PUBLISHED if entry.benchmark == benchmark and entry.system not in ROWS]
        for entry in others if plan.number != 3 else ():  # the ablation compares nobody
            name = entry.system if entry.where.startswith("table") else f"{entry.system} ({entry.where})"
            records += _records({"benchmark": benchmark, "row": None, "name": name}, entry, [])
        blank: dict[str, list[str]] = {"not in the paper, and so a dash": [], "not trained yet": []}
        for row in plan.rows:
            name, own, known = ROWS[row][0], plan.runs(benchmark, row), published(row, benchmark)
            records += _records({"benchmark": benchmark, "row": row, "name": name}, known, own)
            notes += itertools.chain.from_iterable(_notes(benchmark, name, run) for run in own)
            for names, there in zip(blank.values(), (known, own), strict=True):
                names += [] if there else [name]
        notes += [f"{benchmark}: {what}: {', '.join(names)}" for what, names in blank.items() if names]
    measured = [record for record in records if record["measured"]]
    if measured and plan.profile != "paper":
        notes.append(f"profile {plan.profile} is not the paper's setting (section 4): differences mean nothing")
    if measured and not any(record["range"] for record in measured):
        notes.append("one seed: the baseline alone moves by points from seed to seed (--seeds 3 goes on from here)")
    for what, reasons in (problems or {}).items():
        notes += [f"{what}: {name}: {reason}" for name, reason in reasons.items()]
    title = f"Table {plan.number}: {plan.title}, profile {plan.profile}, runs in {plan.out}"
    result = {"title": title, "profile": plan.profile, "benchmarks": list(plan.benchmarks), "records": records}
    return {**result, "notes": list(dict.fromkeys(notes)), "versions": runs.versions()}


def _records(base: dict[str, Any], known: Any, own: Sequence[_Run]) -> list[dict[str, Any]]:
    """One record for each way of ranking that was measured, or one without numbers of ours."""
    done = [run for run in own if run.results]
    base |= {"published": known and known._asdict(), "folders": [str(run.folder) for run in done]}
    base |= {"seeds": [run.info.config.train.seed for run in done]}
    base |= dict.fromkeys(("ranked_by", "measured", "difference", "range"))
    rows = [line for run in done for line in run.results["rows"] if line["ranked by"] in ("features", "sum")]
    records = []
    for way, lines in pd.DataFrame(rows, columns=["ranked by", *NUMBERS]).groupby("ranked by"):
        record = base | {"ranked_by": way, "measured": lines[NUMBERS].mean().to_dict()}
        if known:
            record["difference"] = {name: record["measured"][name] - getattr(known, name) for name in COMPARED}
        if len(done) > 1:
            record["range"] = np.ptp(lines[COMPARED], 0).to_dict()
        records.append(record)
    return records or [base]


def _notes(benchmark: str, name: str, run: _Run) -> Iterator[str]:
    """What a run lacks, in what it is not the benchmark's, or departs from its profile beside what its row asks for."""
    config, images = run.info.config, run.info.data["images"]
    if not run.results:
        done = f"{len(runs.read_log(run.folder))} of {config.train.epochs} epochs"
        yield f"{benchmark}, {name}: no results yet, {done} ({run.folder})"
        return
    if note := not_whole(benchmark, images):
        yield note
    if without := images["query"] - run.results["queries_with_a_match"]:
        yield f"{benchmark}: {without} of {images['query']} queries have no match and are left out of the means"
    own = {"variant": config.variant, "pooling": config.model.pooling, "backbone": config.model.backbone}
    both = config, profile(config.profile, seed=config.train.seed, **own)
    (given,), (usual,) = (pd.json_normalize(each.to_dict()).to_dict("records") for each in both)
    for field in (field for field in given if given[field] != usual[field]):
        yield f"{benchmark}: {field} is {given[field]!r} (profile {config.profile}: {usual[field]!r})"


def to_text(result: dict[str, Any], table: Callable[..., Any] = evaluation.table) -> str:
    """The whole table with what must be known of its numbers and what is missing."""
    parts = [f"{name}\n\n{table(_cells(result, name))}" for name in result["benchmarks"]]
    return "\n\n".join([result["title"], *parts, "\n".join(f"- {note}" for note in result["notes"])])


def to_markdown(result: dict[str, Any]) -> str:
    """The same in Markdown."""
    return to_text(result, lambda cells: markdown_table(cells, 3))


def _cells(result: dict[str, Any], benchmark: str) -> list[dict[str, str]]:
    """One line for each record, a dash where there is nothing to say; with several seeds also the largest minus the
    smallest."""
    records = [record for record in result["records"] if record["benchmark"] == benchmark]
    kinds = {"measured": list(HEADINGS), "published": COMPARED, "difference": COMPARED}
    kinds |= {"range": COMPARED} if any(record["range"] for record in records) else {}
    lines = []
    for record in records:
        line = {"system": record["name"], "ranked by": record["ranked_by"] or "-"}
        line["seeds"] = ",".join(map(str, record["seeds"])) or "-"
        for kind, name in ((kind, name) for kind, names in kinds.items() for name in names):
            value, sign = (record[kind] or {}).get(name), "+" if kind == "difference" else ""
            heading = f"{kind} {HEADINGS[name]}".removeprefix("measured ")
            line[heading] = "-" if value is None else f"{value:{sign}.1f}"
        lines.append(line)
    return lines


def add_parser(group: Any) -> None:
    """Add ``table`` to the command line."""
    several = "Several GPUs: accelerate launch -m casnkit table 3 --root PATH. Stopped, the same command goes on."
    table = group.add_parser("table", help="a table of the paper: measured beside published", description=several)
    numbers = "; ".join(f"{number} = {title}" for number, (title, *_) in TABLES.items())
    table.add_argument("number", type=int, choices=tuple(TABLES), help=numbers)
    table.add_argument("--root", type=Path, help="folder at or above the benchmarks; default: $CASNKIT_DATA")
    table.add_argument("--profile", choices=PROFILES, default="paper", help="default: paper (ImageNet weights, a GPU)")
    table.add_argument("--out", type=Path, default=Path("runs/tables"), help="default: runs/tables")
    table.add_argument("--rows", nargs="+", metavar="ROW", help=f"some of {', '.join(ROWS)}; default: the paper's")
    table.add_argument("--seeds", type=int, help="trainings of each row; default: 1; with --read-only: all there are")
    table.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="for all rows: any setting")
    table.add_argument("--read-only", action="store_true", help="train nothing: read the finished runs below --out")
    table.add_argument("--published", action="store_true", help="print the paper's table alone; needs no data")
    table.set_defaults(command=make_table)


def make_table(options: argparse.Namespace) -> int:
    """One table from its options to its last printed line. Returns 1 where nothing could be measured."""
    if options.published:
        print(f"Table {options.number}: {TABLES[options.number][0]}, as published\n\n{published_table(options.number)}")
        return 0
    seeds = options.seeds if options.seeds is not None or options.read_only else 1
    given = options.number, options.out, options.profile, options.rows, seeds
    plan = Plan(*given, assignments(options.set))
    check_place(plan.out)
    problems = None if options.read_only else measure(plan, options.root, options.device)
    if not training.make_accelerator(options.device).is_main_process:
        return 0
    result = read_table(plan, problems)
    stem = plan.out / f"table{plan.number}"
    write_json(stem.with_suffix(".json"), result)
    write_text(stem.with_suffix(".md"), to_markdown(result) + "\n")
    write_text(stem.with_suffix(".txt"), to_text(result) + "\n")
    print(f"\n{to_text(result)}\nwritten: {stem}.json, .md and .txt", flush=True)
    return int(not options.read_only and not any(record["measured"] for record in result["records"]))
