"""The paper's tables, measured beside published, one command for each; the ablation is part of every table.

``published.csv`` holds what was published, in percent, single query without re-ranking, and where else each number stands.
A number counts as *confirmed* where a second text says the same, and for the two baselines, which the paper takes from
PCB's; the tables show a dash for the others. No number is an estimate.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from casnkit import evaluation, runs, training
from casnkit.config import PROFILES, Config, assignments, profile
from casnkit.data import ReidDataset, open_dataset
from casnkit.data.check import EXPECTED
from casnkit.data.files import read_json, write_json, write_text
from casnkit.data.readers import kind_of
from casnkit.experiments.report import markdown_table
from casnkit.figures.style import GREY, INK, LIGHT, SERIES, figure_style

NUMBERS = ("rank_1", "rank_5", "rank_10", "mean_ap", "mean_ap_trapezoid")
COMPARED = ("rank_1", "mean_ap")
HEADINGS = {"rank_1": "rank-1", "rank_5": "rank-5", "rank_10": "rank-10", "mean_ap": "mAP"}


class Published(NamedTuple):
    """One number pair, in percent, of one system on one benchmark; ``system`` is the key of a row of ours, or a name."""

    system: str
    benchmark: str
    rank_1: float
    mean_ap: float
    paper: str
    confirmed_in: str
    confirmed: bool


class Row(NamedTuple):
    """One network of ours; pooling gap is the paper's IDE, stripes its PCB; backbone None: the profile's, ResNet50."""

    key: str
    name: str
    variant: str
    pooling: str
    backbone: str | None = None

    def config(self, profile_name: str, seed: int, changes: Mapping[str, Any] | None = None) -> Config:
        """Its configuration at a profile."""
        own: dict[str, Any] = {"variant": self.variant, "pooling": self.pooling, "seed": seed}
        own |= {"backbone": self.backbone} if self.backbone else {}
        return profile(profile_name, **{**(changes or {}), **own})


_FACTS = pd.read_csv(Path(__file__).with_name("published.csv"))
PUBLISHED = tuple(Published(*row) for row in _FACTS.itertuples(index=False))
_ROWS = [
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
]
ROWS = {row.key: row for row in _ROWS}
TABLES = {
    1: ("CUHK03-NP", ("cuhk03-np-detected", "cuhk03-np-labeled")),
    2: ("DukeMTMC-reID", ("dukemtmc-reid",)),
    3: ("Market-1501", ("market1501",)),
}


def published(system: str, benchmark: str, unconfirmed: bool = False) -> Published | None:
    """What is known of a system on a benchmark; None where nothing is, or nothing confirmed."""
    found = [p for p in PUBLISHED if (p.system, p.benchmark) == (system, benchmark) and (p.confirmed or unconfirmed)]
    return found[0] if found else None


def other_systems(benchmark: str) -> list[Published]:
    """Other people's systems on a benchmark, in rising order of mAP."""
    found = [p for p in PUBLISHED if p.benchmark == benchmark and p.system not in ROWS]
    return sorted(found, key=lambda p: p.mean_ap)


@dataclass(frozen=True)
class Plan:
    """What one call of ``casnkit table`` is about; no ``seeds``: every seed that is found; ``changes`` hold for all rows."""

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


def make_plan(
    number: int,
    out: str | Path,
    profile_name: str = "paper",
    rows: Sequence[str] | None = None,
    benchmarks: Sequence[str] | None = None,
    seeds: int | None = 1,
    changes: Mapping[str, Any] | None = None,
) -> Plan:
    """A plan from plain names; ``seeds=None`` reads every seed that is there.

    Raises:
        ValueError: there is no such table, row, benchmark in it or setting, or less than one seed is asked for.
    """
    if number not in TABLES:
        raise ValueError(f"expected a table out of {', '.join(map(str, TABLES))}, got {number!r}")
    wanted, sets = rows or tuple(ROWS), benchmarks or TABLES[number][1]
    for what, given, known in (("rows", wanted, ROWS), (f"benchmarks of table {number}", sets, TABLES[number][1])):
        wrong = [name for name in given if name not in known]
        if wrong:
            raise ValueError(f"{what}: expected some of {', '.join(known)}, got {', '.join(map(repr, wrong))}")
    if seeds is not None and seeds < 1:
        raise ValueError(f"expected at least one seed, got {seeds}")
    chosen = tuple(row for key, row in ROWS.items() if key in wanted)
    chosen[0].config(profile_name, 0, changes)  # unknown settings are refused before anything is trained
    sets = tuple(name for name in TABLES[number][1] if name in sets)
    return Plan(number, sets, chosen, tuple(range(seeds or 0)), profile_name, Path(out), changes or {})


def open_benchmark(name: str, root: str | Path | None) -> ReidDataset:
    """The benchmark ``name`` at or below ``root`` (default: ``$CASNKIT_DATA``), and no other one by mistake.

    :func:`casnkit.open_dataset` notes its doubts. Here numbers will stand beside published ones, so a doubt is refused
    with a ValueError that names the folder.
    """
    dataset = open_dataset(name, root)
    kind = kind_of(Path(dataset.root))
    if kind != name:
        looked, hint = "$CASNKIT_DATA" if root is None else Path(root).expanduser().absolute(), ""
        if name.startswith("cuhk03-np"):
            folder = name.rpartition("-")[2]
            hint = f" CUHK03-NP's folder has to be called {folder} here, as in the ready-made download."
        raise ValueError(
            f"{name}: looked in {looked} and up to three levels below, found only {kind} (in {dataset.root}).{hint}"
        )
    return dataset


def count_note(name: str, counts: Mapping[str, Any]) -> str | None:
    """What to say where the counts are not those of the benchmark; Market-1501 may come without its junk images."""
    wrong = []
    for split in ("train", "query", "gallery"):
        number = EXPECTED[name][f"{split} images"]
        spare = EXPECTED[name].get("gallery junk", 0) if split == "gallery" else 0
        if counts.get(split) not in (number, number - spare):
            wrong.append(f"{split} {counts[split]} (expected {number})")
    text = f"{name}: {', '.join(wrong)} images: not the whole benchmark, so published numbers are no yardstick"
    return text if wrong else None


def measure(
    plan: Plan,
    root: str | Path | None = None,
    device: str | None = None,
    say: Callable[[str], None] | None = None,
    progress: bool = True,
) -> dict[str, dict[str, str]]:
    """Train and test every run of a plan that is not finished. Stopped anywhere, the same call goes on there.

    Args:
        root: a folder at or above the benchmarks; default: ``$CASNKIT_DATA``.
        say: called in the main process with a line for each step.

    Returns:
        ``{"missing": {benchmark: why}, "failed": {run: why}}``.
    """
    accelerator = training.make_accelerator(device)
    speak = say if say and accelerator.is_main_process else lambda line: None
    on_epoch = training.say_epoch if say else None
    problems: dict[str, dict[str, str]] = {"missing": {}, "failed": {}}
    for benchmark in plan.benchmarks:
        try:
            dataset = open_benchmark(benchmark, root)
        except ValueError as error:
            problems["missing"][benchmark] = str(error)
            speak(f"missing: {error}")
            continue
        speak(str(dataset))
        for row, seed in ((row, seed) for row in plan.rows for seed in plan.seeds or (0,)):
            folder, config = plan.folder(benchmark, row, seed), row.config(plan.profile, seed, plan.changes)
            accelerator.wait_for_everyone()  # every process must see the same files when it decides
            if is_finished(folder, config, dataset):
                speak(f"{row.name}, seed {seed}: read from {folder}")
                continue
            speak(f"{row.name}, seed {seed}: {folder}")
            try:
                training.train(dataset, config, folder, device=device, progress=progress, on_epoch=on_epoch)
            except training.DivergenceError as error:
                if accelerator.num_processes > 1:  # the others wait for this one: nothing can go on
                    raise
                problems["failed"][folder.name] = str(error)
                speak(f"{folder.name}: {error}")
                continue
            model, info = runs.load_model(folder, accelerator.device)
            result = evaluation.evaluate(model, dataset, config, accelerator=accelerator, progress=progress)
            if accelerator.is_main_process:
                evaluation.save_results(folder, result, dataset, info)
            accelerator.wait_for_everyone()
    return problems


def is_finished(folder: Path, config: Config, dataset: ReidDataset) -> bool:
    """Whether a folder holds the results of exactly this run on exactly these images."""
    try:
        info, results = runs.read_run(folder), read_json(folder / "results.json")
    except ValueError:
        return False
    counts = {split: len(getattr(dataset, split)) for split in ("train", "query", "gallery")}
    return info.config == config and info.data["images"] == counts and _results_fit(results, info)


def _results_fit(results: object, info: runs.RunInfo) -> bool:
    """Whether a ``results.json`` belongs to the run beside it and was made on the data that it was trained on."""
    if not isinstance(results, dict) or not results.get("rows"):
        return False
    config, images = info.config, info.data["images"]
    made_of = [results.get(key) for key in ("variant", "pooling", "seed", "profile", "data")]
    data = {"name": info.data["name"], "query": images["query"], "gallery": images["gallery"]}
    return made_of == [config.variant, config.model.pooling, config.train.seed, config.profile, data]


class _Found(NamedTuple):
    """A run's folder, what it says of itself, and its results or why there are none."""

    folder: Path
    info: runs.RunInfo
    results: dict[str, Any] | None
    why_not: str


def _find_runs(out: Path) -> list[_Found]:
    """The runs at or below a folder, those with results first, then the newest first."""
    found = []
    for file in sorted(out.glob("**/run.json"), key=lambda file: -file.stat().st_mtime):
        with contextlib.suppress(ValueError, KeyError, TypeError):  # other files of that name, other formats
            folder, info, results = file.parent, runs.read_run(file.parent), None
            if not (folder / "model.safetensors").is_file():
                done = len(runs.read_log(folder))
                why_not = f"unfinished: {done} of {info.config.train.epochs} epochs ({folder})"
            elif not (folder / "results.json").is_file():
                why_not = f"trained, not tested yet ({folder})"
            else:
                why_not = f"its results.json is of another run or other data ({folder})"
                results = read_json(folder / "results.json")
            found.append(_Found(folder, info, results if _results_fit(results, info) else None, why_not))
    return sorted(found, key=lambda run: run.results is None)


def read_table(
    plan: Plan, problems: Mapping[str, Mapping[str, str]] | None = None, unconfirmed: bool = False
) -> dict[str, Any]:
    """A table as plain values, ready for JSON: what was measured, what was published, the difference, what is missing.

    Reads the finished runs below ``plan.out``, and trains nothing. ``problems`` is what :func:`measure` returned;
    ``unconfirmed``: also use published numbers that only notes of the paper bear out.
    """
    found, records, notes = _find_runs(plan.out), [], []
    for benchmark in plan.benchmarks:
        for entry in other_systems(benchmark):
            records += _records({"benchmark": benchmark, "row": None, "name": entry.system}, entry, (None,), [])
        used: list[_Found] = []
        for row in plan.rows:
            own = _one_per_seed(found, plan, benchmark, row)
            ways = ("features", "sum") if row.variant in ("ide+sa", "casn") else ("features",)  # the paper's comes last
            base = {"benchmark": benchmark, "row": row.key, "name": row.name}
            records += _records(base, published(row.key, benchmark, unconfirmed), ways, own)
            used += [run for run in own if run.results]
        notes += _notes(benchmark, used, plan)
    problems = problems or {"missing": {}, "failed": {}}
    head = {"table": plan.number, "title": TABLES[plan.number][0], "profile": plan.profile, "folder": str(plan.out)}
    tail = {"unconfirmed_shown": unconfirmed, "versions": runs.versions()}
    return {**head, "benchmarks": list(plan.benchmarks), "records": records, **problems, "notes": notes, **tail}


def _one_per_seed(found: Sequence[_Found], plan: Plan, benchmark: str, row: Row) -> list[_Found]:
    """The runs that a row asks for, at whatever settings: the one in the table's own folder before others, a finished one
    before an unfinished one."""
    chosen: dict[int, _Found] = {}
    wanted = row.config(plan.profile, 0, plan.changes)
    for run in found:
        here, seed = run.info.config, run.info.config.train.seed
        same = (here.variant, here.model.pooling, here.model.backbone, here.profile, run.info.data["name"])
        if same != (row.variant, row.pooling, wanted.model.backbone, plan.profile, benchmark):
            continue
        own = run.results and run.folder == plan.folder(benchmark, row, seed)
        if (own or seed not in chosen) and (not plan.seeds or seed in plan.seeds):
            chosen[seed] = run
    return [chosen[seed] for seed in sorted(chosen)]


def _records(
    base: dict[str, Any], known: Published | None, ways: Sequence[str | None], found: Sequence[_Found]
) -> list[dict[str, Any]]:
    """One record for each way of ranking that was measured, or one that says what is missing."""
    done, pending = [run for run in found if run.results], [run.why_not for run in found if not run.results]
    names = (*COMPARED, "paper", "confirmed", "confirmed_in")
    base |= {"published": {name: getattr(known, name) for name in names} if known else None}
    base |= {"seeds": [r.info.config.train.seed for r in done], "folders": [str(run.folder) for run in done]}
    if not done:
        nothing = {"ranked_by": ways[-1], "measured": None, "spread": None, "difference": None}
        return [{**base, **nothing, "pending": pending or ["not trained yet"]}]
    records = []
    for way in ways:
        lines = pd.DataFrame([line for run in done for line in run.results["rows"] if line["ranked by"] == way])
        measured = lines[list(NUMBERS)].mean().to_dict()
        own = {"ranked_by": way, "measured": measured, "pending": pending if way == ways[-1] else []}
        own["spread"] = {name: float(np.ptp(lines[name])) for name in COMPARED} if len(done) > 1 else None
        own["difference"] = {name: measured[name] - getattr(known, name) for name in COMPARED} if known else None
        records.append(base | own)
    return records


def _notes(benchmark: str, used: Sequence[_Found], plan: Plan) -> list[str]:
    notes = [count_note(benchmark, run.info.data["images"]) for run in used]
    notes += [f"{benchmark}: {change}" for run in used for change in _changed_settings(run.info.config)]
    for run in used:
        valid, queries = run.results.get("queries_with_a_match"), run.info.data["images"]["query"]
        if valid not in (None, queries):
            notes.append(
                f"{benchmark}: {queries - valid} of {queries} queries have no match and are left out of the means"
            )
    if used and plan.profile != "paper":
        notes.append(f"profile {plan.profile} is not the paper's setting (section 4.1): differences mean nothing")
    return list(dict.fromkeys(filter(None, notes)))


def _changed_settings(config: Config) -> list[str]:
    """In which settings a run departs from its profile, beside what its row and seed ask for."""
    own = {"variant": config.variant, "pooling": config.model.pooling, "backbone": config.model.backbone}
    plain = profile(config.profile, seed=config.train.seed, **own).to_dict()
    return [
        f"{group}.{name} is {value!r} (profile {config.profile}: {plain[group][name]!r})"
        for group, values in config.to_dict().items()
        if isinstance(values, dict)
        for name, value in values.items()
        if value != plain[group][name]
    ]


def to_text(result: dict[str, Any]) -> str:
    """The whole table with what is missing, for a terminal."""
    parts = [f"{name}\n{evaluation.table(_cells(result, name))}" for name in result["benchmarks"]]
    return "\n\n".join([_head(result), *parts, "\n".join(_remarks(result))])


def to_markdown(result: dict[str, Any]) -> str:
    """The same in Markdown."""
    parts = [f"{name}\n\n{markdown_table(_cells(result, name), 3)}" for name in result["benchmarks"]]
    return "\n\n".join([f"**{_head(result)}**", *parts, "\n".join(f"- {line}" for line in _remarks(result))])


def _head(result: dict[str, Any]) -> str:
    return f"Table {result['table']}: {result['title']}, profile {result['profile']}, runs in {result['folder']}"


def _cells(result: dict[str, Any], benchmark: str) -> list[dict[str, str]]:
    """One line for each record, a dash where there is nothing to say; with several seeds also the largest minus the
    smallest."""
    records = [r for r in result["records"] if r["benchmark"] == benchmark]
    kinds = ("published", "difference", *(["range"] if any(r["spread"] for r in records) else []))
    lines = []
    for record in records:
        measured, known = record["measured"] or {}, record["published"] or {}
        line = {"system": record["name"], "ranked by": record["ranked_by"] if measured else "-"}
        line["seeds"] = ",".join(map(str, record["seeds"])) or "-"
        for name, heading in HEADINGS.items():
            line[heading] = _number(measured.get(name))
        found = {"published": known, "difference": record["difference"] or {}, "range": record["spread"] or {}}
        for kind, name in itertools.product(kinds, COMPARED):
            line[f"{kind} {HEADINGS[name]}"] = _number(found[kind].get(name), "+" if kind == "difference" else "")
            if kind == "published" and known and not known["confirmed"]:
                line[f"{kind} {HEADINGS[name]}"] += "?"
        lines.append(line)
    return lines


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.1f}"


def _remarks(result: dict[str, Any]) -> Iterator[str]:
    """What a reader of the numbers must know, and what is missing."""
    yield "percent; difference: measured minus published. The paper ranks by the sum wherever there is Siamese attention."
    yield "mAP: mean of the precision at each hit; the paper names no definition, the trapezoid's value is in the JSON"
    ours = [r for r in result["records"] if r["row"]]
    for benchmark in result["benchmarks"]:
        names = dict.fromkeys(r["name"] for r in ours if r["benchmark"] == benchmark and not r["published"])
        if names:
            yield f"{benchmark}: published but not confirmed, or not published, and so a dash: {', '.join(names)}"
    if result["unconfirmed_shown"]:
        yield "? marks a published number that no second text bears out"
    if max((len(r["seeds"]) for r in ours if r["measured"]), default=0) == 1:
        yield "one seed: the baseline alone moves by points from seed to seed (--seeds 3 goes on from here)"
    yield from result["notes"]
    yield from (f"missing: {reason}" for reason in result["missing"].values())
    yield from (f"failed: {name}: {reason}" for name, reason in result["failed"].items())
    for benchmark in (name for name in result["benchmarks"] if name not in result["missing"]):
        own, never = [r for r in ours if r["benchmark"] == benchmark], []
        for record in own:
            if record["pending"] == ["not trained yet"]:
                never.append(record["name"])
            else:
                yield from (f"{benchmark}, {record['name']}: {reason}" for reason in record["pending"])
        if never:
            yield f"{benchmark}: not trained yet: {'every row' if len(never) == len(own) else ', '.join(never)}"


def show_table(result: dict[str, Any], benchmark: str | None = None) -> Figure:
    """Rank-1 and mAP of every system on one benchmark (default: the first), a line for each: published and confirmed as a
    ring, measured as a filled mark. Raises ValueError where the table of :func:`read_table` is not about that benchmark.
    """
    benchmark = benchmark or result["benchmarks"][0]
    if benchmark not in result["benchmarks"]:
        raise ValueError(f"expected a benchmark out of {', '.join(result['benchmarks'])}, got {benchmark!r}")
    marks = _marks([r for r in result["records"] if r["benchmark"] == benchmark])
    names = list(dict.fromkeys(mark["name"] for mark in marks))
    with figure_style():
        figure = Figure(figsize=(9, 1.6 + 0.26 * len(names)), dpi=100, layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for ax, name, heading in zip(axes, COMPARED, ("rank-1 (%)", "mAP (%)"), strict=True):
            for mark in marks:
                line = names.index(mark["name"])
                ax.plot(mark[name], line, linestyle="none", markersize=6, label=mark["label"], **mark["style"])
            ax.set(title=heading, ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names)
            ax.grid(color=LIGHT, linewidth=0.6)
            ax.set_axisbelow(True)
        handles = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
        figure.suptitle(f"{benchmark}, profile {result['profile']}: published and measured", weight="bold")
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    return figure


def _marks(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is drawn: name of the line, rank-1, mAP, legend and style."""
    marks = []
    for record in records:
        known, measured, name = record["published"], record["measured"], record["name"]
        if known and known["confirmed"]:
            whose, colour = ("this paper's rows", INK) if record["row"] else ("other systems", GREY)
            style = {"marker": "o", "color": colour, "markerfacecolor": "none"}
            marks.append({"name": name, "label": f"published, {whose}", "style": style, **known})
        if measured:
            colour, _, marker = SERIES[record["ranked_by"] == "sum"]
            label, style = f"measured, by the {record['ranked_by']}", {"marker": marker, "color": colour}
            marks.append({"name": name, "label": label, "style": style, **measured})
    return marks


def add_parser(group: Any) -> None:
    """Add ``table`` to the command line."""
    several = "Several GPUs: accelerate launch -m casnkit table 3 --root PATH. Stopped, the same command goes on."
    table = group.add_parser("table", help="a table of the paper: measured beside published", description=several)
    numbers = "; ".join(f"{number} = {title}" for number, (title, _) in TABLES.items())
    table.add_argument("number", type=int, choices=tuple(TABLES), help=numbers)
    table.add_argument("--root", type=Path, help="folder at or above the benchmarks; default: $CASNKIT_DATA")
    table.add_argument("--profile", choices=PROFILES, default="paper", help="default: paper (ImageNet weights, a GPU)")
    table.add_argument("--out", type=Path, default=Path("runs/tables"), help="default: runs/tables")
    table.add_argument("--rows", nargs="+", metavar="ROW", help=f"some of {', '.join(ROWS)}; default: all")
    sets = ", ".join(name for _, names in TABLES.values() for name in names)
    table.add_argument("--benchmarks", nargs="+", metavar="NAME", help=f"some of the table's ({sets}); default: all")
    table.add_argument("--seeds", type=int, help="trainings of each row; default: 1; with --read-only: all there are")
    table.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="for all rows: any setting")
    table.add_argument("--read-only", action="store_true", help="train nothing: read the finished runs below --out")
    table.add_argument("--unconfirmed", action="store_true", help="also show published numbers that are not confirmed")
    table.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    table.set_defaults(command=make_table)


def make_table(options: argparse.Namespace) -> int:
    """One table from its options to its last printed line. Returns 1 where nothing could be measured."""
    seeds = options.seeds if options.seeds is not None or options.read_only else 1
    changes = assignments(options.set)
    plan = make_plan(options.number, options.out, options.profile, options.rows, options.benchmarks, seeds, changes)
    problems = None if options.read_only else measure(plan, options.root, options.device, print)
    if not training.make_accelerator(options.device).is_main_process:
        return 0
    result = read_table(plan, problems, options.unconfirmed)
    stem = plan.out / f"table{plan.number}"
    write_json(stem.with_suffix(".json"), result)
    write_text(stem.with_suffix(".md"), to_markdown(result) + "\n")
    write_text(stem.with_suffix(".txt"), to_text(result) + "\n")
    print(f"\n{to_text(result)}\nwritten: {stem}.json, .md and .txt", flush=True)
    return int(not options.read_only and not any(record["measured"] for record in result["records"]))
