"""One trial: train a network, test it, measure the paper's claims, write one row. Many trials: several processes.

    OUT/rows/NAME.json     one row per finished trial, with its configuration, seed, versions and times
    OUT/runs/NAME/         the run itself (weights are kept for the variants, dropped after a sweep unless asked for)
    OUT/table.csv          all rows

A trial whose row is there is not run again, and one that was stopped goes on where it was; so a study is resumed by
the same command. The name ends in a checksum of configuration and data: a changed default is another trial.
"""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from casnkit import evaluation, runs
from casnkit._optional import require
from casnkit.config import Config
from casnkit.data import ReidDataset, open_dataset
from casnkit.data.files import atomic_path, read_json, write_json
from casnkit.data.images import load_images
from casnkit.ranking import choose_weight
from casnkit.training import train

FUSION_WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # of attention in the sum; 0.5 is the paper's


@dataclass(frozen=True)
class Trial:
    """One training with its test.

    Attributes:
        study, label, variant, pooling: where the row belongs.
        data: what :func:`casnkit.open_dataset` is given for training.
        test: where query and gallery come from, as ``people:SIZE@SEED``; None: from ``data``.
        split: ``test``, or ``validation`` where the people are others than the test's.
        hold_out: identities taken out of training for validation; 0 where ``test`` names other people.
        choose_on: people, as for ``test``, on whom the weight of attention in the sum is chosen; None: nowhere.
    """

    study: str
    point: str
    label: str
    config: Config
    data: str
    split: str = "test"
    test: str | None = None
    hold_out: int = 0
    choose_on: str | None = None

    @property
    def name(self) -> str:
        """Of the row and the run: readable, and unique to configuration and data."""
        config = self.config.to_dict()
        for field, usual in (("pair_rate", 1.0), ("pair_weight_decay", None)):
            if config["train"][field] == usual:
                del config["train"][field]  # rows from before there was such a field keep their names
        values = [config, self.data, self.split, self.test, self.hold_out]
        code = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        parts = [self.config.variant.replace("+", "_"), self.config.model.pooling, self.split]
        return "-".join([*parts, f"seed{self.config.train.seed}", code])


def run_trials(
    trials: Iterable[Trial],
    out: str | Path,
    *,
    processes: int = 1,
    device: str | None = None,
    keep: bool = True,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Run what is not there yet, and return the rows of all ``trials``, in their order.

    Args:
        out: folder of the study.
        processes: trials at a time; each gets its share of the processor's cores.
        keep: keep the trained weights below ``out/runs``.

    Raises:
        ValueError: a trial failed; those that were finished are kept, and the same command goes on.
    """
    trials, out = list(trials), Path(out)
    missing = [trial for trial in trials if not _row_file(out, trial).is_file()]
    threads = max(1, (os.cpu_count() or 1) // max(1, processes))
    tqdm = require("tqdm.auto", "showing progress").tqdm
    finished = len(trials) - len(missing)
    with tqdm(total=len(trials), initial=finished, desc="trials", unit="trial", disable=not progress) as shown:
        if processes == 1:
            for trial in missing:
                run_trial(trial, out, device, keep, None)
                shown.update()
        elif missing:
            _datasets(missing[0])  # drawn here where it is missing, so that the processes need not wait for each other
            # spawn: a forked copy of torch's thread pool hangs
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(processes, mp_context=context) as pool:
                jobs = [pool.submit(run_trial, trial, out, device, keep, threads) for trial in missing]
                for job in as_completed(jobs):
                    job.result()
                    shown.update()
    write_table(out)
    return finished_rows(trials, out)


def finished_rows(trials: Iterable[Trial], out: str | Path) -> list[dict[str, Any]]:
    """The rows that are there, under these trials' own labels: what is a default today may have been tried before."""
    rows = []
    for trial in trials:
        if _row_file(Path(out), trial).is_file():
            labels = {"study": trial.study, "point": trial.point, "setting": trial.label}
            rows.append({**read_json(_row_file(Path(out), trial)), **labels})
    return rows


def run_trial(trial: Trial, out: Path, device: str | None, keep: bool, threads: int | None) -> None:
    """Train, test and write the row of one trial."""
    if threads:
        torch.set_num_threads(threads)
    started, run = time.perf_counter(), Path(out) / "runs" / trial.name
    dataset, tested = _datasets(trial)
    size = (trial.config.data.height, trial.config.data.width)
    images = load_images(dataset.train, size, progress=False) if device in (None, "cpu") else None
    train(dataset, trial.config, run, device=device, images=images, progress=False)
    trained = time.perf_counter() - started
    model, info = runs.load_model(run, device or "cpu")
    row = {**_identity(trial, tested), **measure(model, tested, trial.config)}
    if trial.choose_on is not None:
        row |= validate_weights(model, _open_people(trial.choose_on), trial)
    row |= {"seconds": round(time.perf_counter() - started, 1), "training_seconds": round(trained, 1)}
    row |= {"device": str(next(model.parameters()).device), "threads": torch.get_num_threads()}
    row |= {f"version_{name}": value for name, value in runs.versions().items()}
    row["config"] = info.config.to_dict()
    write_json(_row_file(Path(out), trial), row)
    if keep:
        shutil.rmtree(run / "checkpoints", ignore_errors=True)  # the state of the optimiser, as large as the weights
    else:
        shutil.rmtree(run)


def measure(model: Any, dataset: ReidDataset, config: Config) -> dict[str, Any]:
    """Every number of a row: the protocol by features, attention and their sum, and the paper's claims."""
    from casnkit.claims import measure_claims

    result = evaluation.evaluate(model, dataset, config, device=next(model.parameters()).device, progress=False)
    row: dict[str, Any] = {}
    for name, ranking in result.rankings.items():
        prefix = "" if name == "features" else f"{name}_"
        row |= {prefix + key: value for key, value in evaluation.headline(ranking).items()}
    row["mean_ap_at_weight"] = _at_weights(result, dataset, config)
    return row | measure_claims(model, dataset, config)


def validate_weights(model: Any, people: ReidDataset, trial: Trial) -> dict[str, Any]:
    """The same network's mean average precision on people that the test does not know, by attention's weight."""
    result = evaluation.evaluate(model, people, trial.config, device=next(model.parameters()).device, progress=False)
    return {"chosen_on": trial.choose_on, "validation_mean_ap_at_weight": _at_weights(result, people, trial.config)}


def _at_weights(result: evaluation.Evaluation, dataset: ReidDataset, config: Config) -> dict[str, float]:
    if "attention" not in result.distances:
        return {}
    sides = [getattr(split, name) for split in (dataset.query, dataset.gallery) for name in ("pids", "camids")]
    matrices, options = (result.distances[name] for name in ("features", "attention")), config.ranking
    curve = choose_weight(*matrices, *sides, FUSION_WEIGHTS, options.normalisation, options.normalise_per)
    return dict(zip(map(str, curve.weights.tolist()), (100 * curve.mean_ap).tolist(), strict=True))


def _datasets(trial: Trial) -> tuple[ReidDataset, ReidDataset]:
    dataset = open_dataset(trial.data, progress=False)
    if trial.hold_out:
        from casnkit.data.records import hold_out

        return hold_out(dataset, trial.hold_out, seed=0)  # the same people for every seed of training
    return dataset, dataset if trial.test is None else _open_people(trial.test)


def _open_people(name: str) -> ReidDataset:
    """``people:SIZE@SEED``: people drawn with another seed, beside those of seed 0, whose test people are new to all."""
    size, _, seed = name.partition("@")
    from casnkit.data.people import synthesize

    usual = open_dataset(size, progress=False).root
    return open_dataset(str(synthesize(usual.with_name(f"{usual.name}-seed{seed}"), size.partition(":")[2], int(seed))))


def _identity(trial: Trial, tested: ReidDataset) -> dict[str, Any]:
    config = trial.config
    return {
        "trial": trial.name,
        "study": trial.study,
        "point": trial.point,
        "setting": trial.label,
        "variant": config.variant,
        "pooling": config.model.pooling,
        "seed": config.train.seed,
        "profile": config.profile,
        "split": trial.split,
        "data": tested.name,
        "identities": len(tested.query.identities),
        "queries": len(tested.query),
        "gallery": len(tested.gallery),
    }


def _row_file(out: Path, trial: Trial) -> Path:
    return out / "rows" / f"{trial.name}.json"


def read_rows(out: str | Path) -> list[dict[str, Any]]:
    """All rows of a study's folder, by name. Raises ValueError where there is none."""
    files = sorted((Path(out) / "rows").glob("*.json"))
    if not files:
        raise ValueError(f"expected rows of trials below {Path(out) / 'rows'}, found none: run `casnkit ablate` first")
    return [read_json(file) for file in files]


def write_table(out: str | Path) -> Path:
    """Write all rows to ``out/table.csv``, one column per number, and return its path."""
    rows = [_flat(row) for row in read_rows(out)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    path = Path(out) / "table.csv"
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
