"""IDE at its default learning rate, in both worlds of the ablation; rows to ``figures/results/control.csv``.

    python figures/make/control.py [--out runs/ablation] [--processes 2] [--seeds 5]

Not part of the design. The tries chose 0.045 for IDE, on one training, while every other arm kept 0.03: what an arm gains
over IDE may be the learning rate's. What is finished is not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from casnkit.data.files import atomic_path
from casnkit.experiments import report
from casnkit.experiments.ablation import Trial, run_trials
from casnkit.experiments.design import Setting

OUT = Path(__file__).parents[1] / "results" / "control.csv"
WORLDS = {"variants": "people:quick", "misaligned": "people:quick:misaligned"}  # study -> its people
COMMON = {"precision": "bf16"}


def main() -> None:
    """Train what is missing and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    setting = Setting("ide")
    grid = [(study, data, seed) for seed in range(options.seeds) for study, data in WORLDS.items()]
    trials = [Trial(study, setting, setting.config("quick", seed, **COMMON), data) for study, data, seed in grid]
    rows = run_trials(trials, options.out, options.processes, keep=False)
    rows = rows[[name for name in rows if name in {*report.IDENTITY, *report.HEADINGS}]].round(6)
    with atomic_path(OUT) as temporary:
        rows.to_csv(temporary, index=False)
    print(rows.pivot_table(index="seed", columns="study", values=["rank_1", "mean_ap"]), OUT, sep="\n")


if __name__ == "__main__":
    main()
