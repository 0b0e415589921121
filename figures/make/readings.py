"""What attention adds at test time, by every reading of the sum; write ``figures/results/test-time.csv``.

    python figures/make/readings.py --set precision=bf16

A reading is a mode of equation 4, a threshold t and a normalisation. The networks with Siamese attention are those of
``casnkit ablate`` with the same options; those that are missing are trained. The best weight of attention is chosen on people
who are neither trained on nor tested on.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from casnkit import attention, evaluation, ranking, runs
from casnkit.config import assignments
from casnkit.data.files import atomic_path
from casnkit.experiments import ablation, design
from casnkit.experiments.report import Estimate, cell, estimate, model_name

RESULTS = Path(__file__).parents[1] / "results" / "test-time.csv"
WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)  # of attention in the sum; 0.5 is the paper's
CAPTION = (
    "mAP in percent on the test people; t, normalisation and attention's weight chosen on other people; mean ± half "
    "of the 95 % interval over seeds, gains paired by seed, marked where the interval leaves zero out. "
    "plain: row profiles of the plain mean map instead of Siamese attention. The paper's sum: weight 0.5."
)


def main() -> None:
    """Train what is missing, measure every reading and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ablation", type=Path, default=Path("runs/ablation"), help="folder of `casnkit ablate`")
    parser.add_argument("--profile", default="quick", choices=("smoke", "quick"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="as given to `casnkit ablate`")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: figures/results/test-time.csv")
    options = parser.parse_args()
    changes, trials = assignments(options.set), []
    for seed, setting in itertools.product(range(options.seeds), design.arms()):
        if setting.variant in ("ide+sa", "casn"):
            config = setting.config(options.profile, seed, **changes)
            trials.append(ablation.Trial("test-time", setting, config, ablation.PEOPLE[options.profile]))
    ablation.run_trials(trials, options.ablation)
    found = itertools.chain.from_iterable(readings(trial, options.ablation) for trial in tqdm(trials, "test time"))
    rows = best_readings(pd.DataFrame(found))
    rows = rows.assign(study="test-time", profile=options.profile, torch=torch.__version__)
    with atomic_path(options.out) as temporary:
        rows.round(6).to_csv(temporary, index=False)
    print(to_text(rows), options.out, sep="\n")


def readings(trial: ablation.Trial, out: Path) -> Iterator[dict[str, Any]]:
    """Every reading of one trained network's sum, with its mean average precision by attention's weight, on the people to
    choose by and on the test's."""
    model, _ = runs.load_model(out / "runs" / trial.name, runs.pick_device())
    for split, dataset in {
        "validation": ablation.open_people(trial.data, ablation.VALIDATION_SEED),
        "test": trial.datasets()[1],
    }.items():
        seen = evaluation.Evaluation.of(model, dataset, trial.config)
        features = seen.between(seen.query, seen.gallery, "features")
        for mode, threshold in itertools.product((*attention.MODES, "plain"), (0.0, 0.2, 0.5)):
            if mode == "plain":
                distances = ablation.plain_distances(seen.query, seen.gallery, threshold)
            elif mode == "paper" or threshold == trial.config.ranking.threshold:  # the others at the default t alone
                how = mode, "given", threshold
                distances = ranking.attention_distances(model, seen.query, seen.gallery, *how).distances
            else:
                continue
            for normalisation, per in (("minmax", "query"), ("minmax", "matrix"), ("zscore", "query")):
                row = trial.identity() | {"split": split, "mode": mode, "threshold": threshold}
                row |= {"normalisation": normalisation, "per": per}
                yield row | ablation.at_weights(
                    dataset, features, distances, weights=WEIGHTS, normalisation=normalisation, per=per
                )


def best_readings(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each network and reading with the weight that is ``chosen`` on validation, and :class:`Estimate` columns of
    what it gives on the test (``test.mean``, ``test.low``, ...), also for ``features`` alone, the ``gain`` over them (paired
    by seed) and the ``paper_sum`` (weight 0.5); the best on validation first."""
    keys = ["pooling", "variant", "mode", "threshold", "normalisation", "per"]
    weights, found = [name for name in rows if name[0].isdigit()], []
    for key, group in rows.groupby(keys, sort=False):
        validation = group.loc[group["split"] == "validation", weights].mean()
        test, best = group[group["split"] == "test"], validation.idxmax()
        entry = dict(zip(keys, key, strict=True)) | {"chosen": best, "validation": validation[best]}
        entry["validation_gain"] = validation[best] - validation["0.0"]
        sums = {"test": test[best], "features": test["0.0"], "paper_sum": test["0.5"], "gain": test[best] - test["0.0"]}
        found.append(entry | {name: estimate(values)._asdict() for name, values in sums.items()})
    order = {"by": ["pooling", "variant", "validation"], "ascending": [True, True, False]}
    return pd.json_normalize(found).sort_values(**order, kind="stable", ignore_index=True)


def to_text(rows: pd.DataFrame) -> str:
    """Of each network and mode the reading of :func:`best_readings` that was best on validation, one line each."""
    lines = []
    for _, row in rows.drop_duplicates(["pooling", "variant", "mode"]).iterrows():
        names = ("features", "test", "gain", "paper_sum")
        features, test, gain, paper_sum = (
            Estimate(*(row[f"{n}.{part}"] for part in ("mean", "low", "high", "deviation", "count"))) for n in names
        )
        line = {"model": model_name(row), "attention": f"{row['mode']}, t {row['threshold']}"}
        line |= {"normalised": f"{row['normalisation']} per {row['per']}", "weight": str(row["chosen"])}
        line |= {"features alone": f"{features}", "with attention": f"{test}", "gain": cell(gain)}
        lines.append(line | {"the paper's sum": f"{paper_sum}"})
    return f"{CAPTION}\n{evaluation.table(lines)}"


if __name__ == "__main__":
    main()
