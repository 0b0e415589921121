"""The laboratory: arms x worlds x open points x seeds, trained and tested so that a difference can be told from noise.

    OUT/rows/NAME.json     one row per finished trial, with its configuration, seed, versions and times
    OUT/runs/NAME/         the run itself (the weights of a study of open points are dropped)
    OUT/table.csv          all rows of the last study

A trial whose row is there is not run again, and one that was stopped goes on where it was. The name ends in a checksum of
configuration and data: a changed default is another trial.
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from casnkit import attention, evaluation, figures, ranking, runs, training
from casnkit.config import PROFILES, Config, assignments, check_choice
from casnkit.data import ReidDataset, open_dataset
from casnkit.data.files import check_place, read_json, write_json, write_text
from casnkit.data.people import DIFFICULTY, SIZES, synthesize
from casnkit.data.records import hold_out
from casnkit.experiments import PEOPLE, report
from casnkit.experiments.claims import measure_claims
from casnkit.experiments.design import OPEN_POINTS, POOLINGS, WORLDS, Setting, arms, open_points, tries
from casnkit.experiments.report import HOW_TO, STUDIES, estimate, model_name, picture, published, verdict, verdicts

__all__ = ["HOW_TO", "OPEN_POINTS", "estimate", "evidence", "picture", "published", "report", "run_trials", "verdicts"]

VALIDATION_SEED = 1  # of the generator: people who are neither trained on nor tested on
HOLD_OUT = 0.2  # share of the training identities that a study on validation takes from a set that cannot be drawn anew
TRIES_SEED = 10  # of the trainings that choose an arm's strength: one that no comparison uses
FUSION_WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # of attention in the sum; 0.5 is the paper's


@dataclass(frozen=True)
class Trial:
    """One training with its test."""

    study: str
    setting: Setting
    config: Config
    data: str  # as casnkit.open_dataset takes it
    common: str = ""  # what was changed in the whole study
    on: str = "test"  # or validation: people drawn anew or, where a set cannot be drawn, taken out of its training

    @property
    def name(self) -> str:
        """Of the row and the run: readable, and unique to configuration and data."""
        values = [self.config.to_dict(), self.data, self.on]
        code = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        parts = [self.setting.variant.replace("+", "_").replace(", ", "_"), self.config.model.pooling, self.on]
        return "-".join([*parts, f"seed{self.config.train.seed}", code])

    def row_file(self, out: Path) -> Path:
        """Where its row lies below a study's folder."""
        return out / "rows" / f"{self.name}.json"

    def datasets(self) -> tuple[ReidDataset, ReidDataset]:
        """What it trains on and what it is tested on."""
        dataset = open_people(self.data) if self.data.startswith("people:") else open_dataset(self.data, progress=False)
        if self.on == "test":
            return dataset, dataset
        if self.data.startswith("people:"):
            return dataset, open_people(self.data, VALIDATION_SEED)
        held = max(1, round(HOLD_OUT * len(dataset.train.identities)))
        return hold_out(dataset, held, seed=0)  # the same people for every seed of training

    def identity(self) -> dict[str, Any]:
        """Where its row belongs."""
        point, config = self.setting.point, self.config
        row = {"study": self.study, "common": self.common, "point": point}
        row |= {"setting": f"{point}={self.setting.value}" if point else "default", "variant": self.setting.variant}
        row |= {"pooling": config.model.pooling, "seed": config.train.seed, "profile": config.profile}
        return row | {"split": self.on}


def open_people(data: str, seed: int = 0) -> ReidDataset:
    """``people:SIZE`` or ``people:SIZE:WORLD``, with a world of :data:`WORLDS`, drawn with a seed of the generator."""
    size, _, world = data.removeprefix("people:").partition(":")
    check_choice("size of people", size, SIZES)
    check_choice("world", world, WORLDS)
    usual = open_dataset(f"people:{size}", progress=False).root
    if not seed and not world:
        return open_dataset(str(usual), progress=False)
    folder = usual.with_name("-".join([usual.name, *filter(None, [world]), *([f"seed{seed}"] if seed else [])]))
    difficulty = dataclasses.replace(DIFFICULTY, **WORLDS[world])
    return open_dataset(str(synthesize(folder, size, seed, difficulty=difficulty)), progress=False)


def run_trials(
    trials: list[Trial], out: Path, processes: int = 1, device: str | None = None, keep: bool = True
) -> pd.DataFrame:
    """Run what is not there yet, some ``processes`` at a time; the rows of all ``trials``, in their order.

    A trial that fails raises its error; those that were finished are kept. ``keep``: the trained weights, in ``out/runs``.
    """
    missing = [trial for trial in trials if not trial.row_file(out).is_file()]
    if missing and processes > 1:
        missing[0].datasets()  # drawn here where it is missing, so that the processes need not wait for each other
    jobs = (delayed(run_trial)(trial, out, device, keep) for trial in missing)
    list(tqdm(Parallel(processes, return_as="generator_unordered")(jobs), "trials", len(missing)))
    return finished_rows(trials, out)


def finished_rows(trials: list[Trial], out: Path) -> pd.DataFrame:
    """The rows that are there, under these trials' own labels: what is a default today may have been tried before."""
    found = []
    for file, trial in ((trial.row_file(out), trial) for trial in trials):
        found += [read_json(file) | trial.identity()] if file.is_file() else []
        if found and not isinstance(found[-1].get("mean_ap"), (int, float)):
            raise ValueError(f"{file}: expected a trial's row with its mean_ap: delete it, and run the study again")
    if not found:
        raise ValueError(f"none of {len(trials)} trials is finished in {out}: run `casnkit ablate` without --read-only")
    return pd.json_normalize(found)


def run_trial(trial: Trial, out: Path, device: str | None, keep: bool) -> None:
    """Train, test and write the row of one trial."""
    device, config, run = runs.pick_device(device), trial.config, out / "runs" / trial.name
    (dataset, tested), started = trial.datasets(), time.perf_counter()
    training.train(dataset, config, run, device=device, progress=False)
    model, trained = runs.load_model(run, device)
    row = {"trial": trial.name, **trial.identity(), "data": tested.name, "identities": len(tested.query.identities)}
    row |= {"queries": len(tested.query), "gallery": len(tested.gallery)}
    result = evaluation.evaluate(model, tested, config, device=device, progress=False)
    for name, found in result.rankings.items():
        prefix = "" if name == "features" else f"{name}_"
        row |= {prefix + key: value for key, value in evaluation.headline(found).items()}
    tests = {"": result}
    if trial.on == "test" and trial.data.startswith("people:"):
        others = open_people(trial.data, VALIDATION_SEED)
        tests["validation_"] = evaluation.evaluate(model, others, config, device=device, progress=False)
    options = {"normalisation": config.ranking.normalisation, "per": config.ranking.normalise_per}
    for prefix, seen in tests.items():
        known = seen.distances
        maps = seen if "attention" in known else evaluation.Evaluation.of(model, seen.dataset, config, device)
        ways = {"plain_": plain_distances(maps.query, maps.gallery, config.ranking.threshold)}
        ways |= {"": known["attention"]} if "attention" in known else {}
        for way, own in ways.items():
            row[f"{prefix}{way}mean_ap_at_weight"] = at_weights(
                seen.dataset, known["features"], own, weights=FUSION_WEIGHTS, **options
            )
    row |= measure_claims(model, tested, config, trained)
    row |= {"seconds": round(time.perf_counter() - started, 1), "device": str(device), **runs.versions()}
    write_json(trial.row_file(out), row | {"config": config.to_dict()})
    # the state of the optimiser is as large as the weights
    shutil.rmtree(run / "checkpoints" if keep else run, ignore_errors=True)


def plain_distances(query: ranking.Extracted, gallery: ranking.Extracted, threshold: float) -> np.ndarray:
    """(Q, G) distances of equation 5 between plain mean maps, which know neither partner nor pair classifier: what they
    add to the features, the pair classifier did not."""
    maps = (attention.mean_map(side.feature_maps) for side in (query, gallery))
    return torch.cdist(*(attention.aligned_profile(each, threshold) for each in maps)).numpy()


def at_weights(dataset: ReidDataset, features: np.ndarray, attention: np.ndarray, **options: Any) -> dict[str, float]:
    """Mean average precision in percent by attention's weight in the sum; ``options`` as :func:`ranking.choose_weight`'s."""
    sides = [getattr(split, name) for split in (dataset.query, dataset.gallery) for name in ("pids", "camids")]
    curve = ranking.choose_weight(features, attention, *sides, **options)
    return dict(zip(map(str, curve.weights.tolist()), (100 * curve.mean_ap).tolist(), strict=True))


def evidence(*points: str, folder: Path | None = None) -> list[str]:
    """One line for each value that was tried in the place of the default of ``points``, as published, with the change of
    mAP; last, on whom it was measured. A study of a few points goes before that of all."""
    lines, where, rows = [], {}, report.read_results("open-points", folder)
    studies = [] if rows is None else rows["study"].unique()
    for point in points:
        check_choice("open point", point, OPEN_POINTS)
        study = next((name for name in studies if point in name.split("-")), "open-points")
        result = published(study, folder) or {"groups": []}
        tried = [entry for entry in result["groups"] if entry["point"] == point and entry["differences"]]
        for entry in tried:
            change = entry["differences"]["mean_ap"]
            says = verdict(change, "better", "worse", "undecided", "one seed says nothing")
            seeds = f"{change.count} seed{'s' * (change.count > 1)}"
            lines.append(f"{model_name(entry)}, {entry['setting']}: mAP {change:+} ({seeds}), {says}")
        if not tried:
            lines.append(f"{point}: not measured yet; casnkit ablate --study open-points --points {point}")
            continue
        data, pooled = result["data"], ", intervals by the spread of all settings" * (len(result["groups"]) > 2)
        common = f" with {data['common']}" if data["common"] else ""
        people = f"{data['identities']} {data['split']} people of {data['data']!r}"
        where[f"(against the default{common}, on {people}{pooled})"] = None
    return [*lines, *where]


def add_parser(group: Any) -> None:
    """Add ``ablate`` to the command line."""
    ablate = group.add_parser("ablate", help="train variants or open points with several seeds; table with intervals")
    ablate.add_argument("--study", choices=STUDIES, default="variants", help="default: variants, the paper's rows")
    ablate.add_argument("--points", nargs="*", help="open points to try; default: all (with --study open-points)")
    ablate.add_argument("--pooling", nargs="*", choices=POOLINGS, help="default: both for variants, gap otherwise")
    ablate.add_argument("--data", default="people", help="what to train on; default: people, drawn")
    ablate.add_argument("--profile", choices=PROFILES, default="quick", help="default: quick")
    ablate.add_argument("--seeds", type=int, default=3, help="trainings of each setting; default: 3")
    ablate.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="for all trials: any field")
    ablate.add_argument("--processes", type=int, default=1, help="trials at a time; default: 1")
    ablate.add_argument("--out", type=Path, default=Path("runs/ablation"), help="default: runs/ablation")
    ablate.add_argument("--read-only", action="store_true", help="train nothing: report the rows that are there")
    ablate.set_defaults(command=run_study)


def run_study(options: argparse.Namespace) -> None:
    """Run one study, print its table, write its files."""
    trials, out = plan(options), options.out
    check_place(out)
    print(f"{options.study}: {len(trials)} trials, on {trials[0].on} people, in {out}", flush=True)
    if not options.read_only:
        run_trials(trials, out, options.processes, options.device, keep=options.study in ("variants", "misaligned"))
    rows, image = finished_rows(trials, out), out / f"ablation-{options.study}-{trials[0].on}.png"
    result = report.summary(rows)
    text = report.to_text(result)
    if any(entry["differences"] for entry in result["groups"]):
        alt = f"Differences with 95 % intervals. {' '.join(report.power_lines(result))}"
        print(f"picture: {figures.save_figure(picture(result), image, alt=alt)}")
    rows.to_csv(out / "table.csv", index=False)
    write_text(image.with_suffix(".txt"), text + "\n")
    print(f"{text}\ntable: {out / 'table.csv'}\nresult: {image.with_suffix('.txt')}")


def plan(options: argparse.Namespace) -> list[Trial]:
    """The trials of a study: every setting with every seed."""
    if not 1 <= options.seeds <= 1000 or options.processes < 1:
        given = f"{options.seeds} seeds in {options.processes} processes"
        raise ValueError(f"expected at least one seed, at most 1000, and one process, got {given}")
    changes, study, on, seeds = assignments(options.set), options.study, "test", range(options.seeds)
    data = PEOPLE[options.profile] if options.data == "people" else options.data
    settings = arms(options.pooling or (POOLINGS if study == "variants" else POOLINGS[:1]))
    if study == "misaligned":
        if not data.startswith("people:"):
            raise ValueError(f"expected --data people for the study misaligned, which draws its own, got {data!r}")
        data = f"{data}:{study}"
    elif study == "tries":
        settings, on, seeds = tries(), "validation", (TRIES_SEED,)
    elif study == "open-points":
        of_pooling = (open_points(options.profile, options.points, p, **changes) for p in options.pooling or ("gap",))
        settings, on = list(itertools.chain.from_iterable(of_pooling)), "validation"
        study = "-".join([study, *(options.points or ())])
    grid = itertools.product(seeds, settings)
    configs = [(setting, setting.config(options.profile, seed, **changes)) for seed, setting in grid]
    return [Trial(study, setting, config, data, ", ".join(options.set), on) for setting, config in configs]
