"""The paper's rows and BCE on photographs, from a trunk that ImageNet trained; rows to ``figures/results/photographs.csv``.

    python figures/make/photographs.py FOLDER WEIGHTS [--processes 2] [--seeds 3]

FOLDER: photographs of animals, one folder for each (``train``, ``query``, ``gallery``); no picture of it comes into the
project. WEIGHTS: what ``imagenet_mobilenet.py`` wrote. Everything but trunk, size and length is profile ``paper``: the
paper's own schedule and weights of the losses. What is finished is not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from casnkit.data.files import atomic_path
from casnkit.experiments import report
from casnkit.experiments.ablation import Trial, run_trials
from casnkit.experiments.design import Setting

OUT = Path(__file__).parents[1] / "results" / "photographs.csv"
SIZES = {
    "gap": (64, 96),
    "stripes": (96, 96),
}  # height and width: animals are longer than tall; six stripes need six rows
COMMON = "mobilenet_v2 from ImageNet, 6 epochs, 64x96 (stripes 96x96), precision=bf16"
ROWS = [Setting(variant, "gap") for variant in ("ide", "bce", "ide+ia", "ide+sa", "casn")]
ROWS += [Setting(variant, "stripes") for variant in ("ide", "ide+ia", "ide+sa", "casn")]


def main() -> None:
    """Train what is missing, and write one row for each training."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="of the rows with global pooling; stripes get one")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/photographs"))
    options = parser.parse_args()
    trials = []
    for seed in range(options.seeds):
        for setting in (each for each in ROWS if each.pooling == "gap" or seed == 0):
            height, width = SIZES[setting.pooling]
            model = {"backbone": "mobilenet_v2", "weights": str(options.weights), "last_stride": 1}
            changes = {"model": model, "height": height, "width": width, "epochs": 6, "precision": "bf16"}
            config = setting.config("paper", seed, **changes)
            trials.append(Trial("photographs", setting, config, str(options.folder), COMMON))
    rows = run_trials(trials, options.runs, options.processes).assign(data="nyala-small, 237 antelopes")
    keys = {*report.IDENTITY, *report.HEADINGS, "seconds"}
    with atomic_path(OUT) as temporary:
        rows[[name for name in rows if name in keys]].round(6).to_csv(temporary, index=False)
    print(report.to_text(report.summary(rows)), OUT, sep="\n")


if __name__ == "__main__":
    main()
