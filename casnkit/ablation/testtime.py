"""What attention adds at test time: every reading of the paper's sum, on networks that are trained already.

For each reading (mode of equation 4, threshold t, normalisation) attention's weight in the sum is chosen on people that
neither training nor test knows, and reported on the test's. ``plain`` is the same distance between the row profiles of
the plain mean map, which knows neither partner nor pair classifier: what it adds, the pair classifier did not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from casnkit import attention, evaluation, runs
from casnkit._optional import require
from casnkit.config import Config
from casnkit.data import ReidDataset
from casnkit.data.files import read_json, write_json
from casnkit.data.images import load_images
from casnkit.ranking import Extracted, attention_distances, extract, feature_distances, fuse

from .statistics import Estimate, estimate
from .trials import Trial, _datasets, _open_people

THRESHOLDS = (0.0, 0.2, 0.5)
WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
NORMALISATIONS = (("minmax", "query"), ("minmax", "matrix"), ("zscore", "query"))
MODES = ("paper", "signed", "gradcam", "v1", "plain")


@dataclass(frozen=True)
class Reading:
    """One way to compute attention's distance and to add it to the features'."""

    mode: str
    threshold: float
    normalisation: str = "minmax"
    per: str = "query"

    def __str__(self) -> str:
        return f"{self.mode}, t {self.threshold}, {self.normalisation} per {self.per}"


def measure_run(trial: Trial, out: Path, device: str | None = None) -> list[dict[str, Any]]:
    """Every reading of one trained network on the people to choose by and on the test's; kept in ``out/test-time``."""
    file = Path(out) / "test-time" / f"{trial.name}.json"
    if file.is_file():
        return read_json(file)
    model, _ = runs.load_model(Path(out) / "runs" / trial.name, device or "cpu")
    rows = []
    places = {"validation": _open_people(trial.choose_on), "test": _datasets(trial)[1]}
    for split, dataset in places.items():
        for reading, weights in _readings(model, dataset, trial.config):
            rows.append({"split": split, **asdict(reading), "mean_ap": weights})
    identity = {"variant": trial.config.variant, "pooling": trial.config.model.pooling, "seed": trial.config.train.seed}
    write_json(file, [{**identity, **row} for row in rows])
    return read_json(file)


def _readings(model: Any, dataset: ReidDataset, config: Config) -> Iterator[tuple[Reading, dict[str, float]]]:
    size = (config.data.height, config.data.width)
    query, gallery = (
        extract(model, load_images(split, size, progress=False), keep_maps=True, progress=False)
        for split in (dataset.query, dataset.gallery)
    )
    features = np.asarray(
        feature_distances(query.features, gallery.features, normalise=config.ranking.normalise_features)
    )
    for mode, threshold in itertools.product(MODES, THRESHOLDS):
        if mode not in ("paper", "plain") and threshold != config.ranking.threshold:
            continue  # the other modes at the default t alone: each costs as much as the paper's
        distances = _distances(model, query, gallery, mode, threshold)
        for normalisation, per in NORMALISATIONS:
            found = {}
            for weight in WEIGHTS:
                fused = np.asarray(fuse(features, distances, weight, normalisation, per))
                found[str(weight)] = 100 * evaluation.rank(fused, dataset).mean_ap
            yield Reading(mode, threshold, normalisation, per), found


def _distances(model: Any, query: Extracted, gallery: Extracted, mode: str, threshold: float) -> np.ndarray:
    if mode != "plain":
        found = attention_distances(model, query, gallery, mode, "given", threshold, progress=False)
        return np.asarray(found.distances)
    first, second = (
        attention.aligned_profile(attention.mean_map(part.feature_maps.float()), threshold) for part in (query, gallery)
    )
    return torch.cdist(first, second).numpy()


def measure_runs(trials: Sequence[Trial], out: Path, device: str | None, progress: bool = True) -> list[dict[str, Any]]:
    """:func:`measure_run` for those of ``trials`` that trained a pair classifier.

    Raises:
        ValueError: none of them did, or a run's weights are not there.
    """
    able = [trial for trial in trials if trial.config.loss.siamese_attention and trial.choose_on]
    if not able:
        raise ValueError("expected networks with Siamese attention, trained on people, found none: their sum is no sum")
    tqdm = require("tqdm.auto", "showing progress").tqdm
    return [
        row for trial in tqdm(able, desc="test time", disable=not progress) for row in measure_run(trial, out, device)
    ]


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each pooling, variant and reading: the weight chosen on validation, and what it gives on the test.

    Returns:
        dicts with ``reading``, ``chosen`` (weight), ``validation``, ``test``, ``features`` (means over seeds, test) and
        ``gain`` (test, over features alone, paired by seed) as estimates; the best on validation first.
    """
    keys = ("pooling", "variant", "mode", "threshold", "normalisation", "per")
    groups: dict[tuple[Any, ...], dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        splits = groups.setdefault(tuple(row[key] for key in keys), {"validation": [], "test": []})
        splits[row["split"]].append(row)
    found = []
    for key, splits in groups.items():
        chosen = max(splits["validation"][0]["mean_ap"], key=lambda w: _mean(splits["validation"], w))
        test, alone = ([row["mean_ap"][w] for row in splits["test"]] for w in (chosen, "0.0"))
        gain = estimate([a - b for a, b in zip(test, alone, strict=True)])
        numbers = {"test": estimate(test), "features": estimate(alone), "gain": gain}
        literal = estimate([row["mean_ap"]["0.5"] for row in splits["test"]])
        found.append(
            {
                **dict(zip(keys, key, strict=True)),
                "chosen": chosen,
                "validation": _mean(splits["validation"], chosen),
                "validation_gain": _mean(splits["validation"], chosen) - _mean(splits["validation"], "0.0"),
                "paper_sum": _plain(literal),
                **{name: _plain(value) for name, value in numbers.items()},
            }
        )
    return sorted(found, key=lambda entry: (entry["pooling"], entry["variant"], -entry["validation"]))


def _mean(rows: Sequence[Mapping[str, Any]], weight: str) -> float:
    return float(np.mean([row["mean_ap"][weight] for row in rows]))


def _plain(value: Estimate) -> dict[str, Any]:
    return {name: None if v != v else v for name, v in asdict(value).items()}


def best_per_mode(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each pooling, variant and mode the reading that was best on validation."""
    first: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry in entries:
        first.setdefault((entry["pooling"], entry["variant"], entry["mode"]), dict(entry))
    return list(first.values())
