"""Put the ablation's networks of one seed into the package, in half precision; train those that are missing.

    python figures/make/ship.py --set precision=bf16

Run it in the project's folder. What is written, and where: :mod:`casnkit.experiments`.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import pandas as pd
from torch import Tensor

from casnkit import runs
from casnkit.config import assignments
from casnkit.data.files import write_json, write_text
from casnkit.experiments import FOLDER, shipped_name
from casnkit.experiments.ablation import PEOPLE, Trial, run_trials
from casnkit.experiments.design import POOLINGS, Setting

LIMIT = 12_000_000  # bytes, all files together
SHIPPED = [Setting(v, p) for p in POOLINGS for v in ("ide", "ide+ia", "ide+sa", "casn")] + [Setting("bce")]


def main() -> None:
    """Train what is missing and write all nine."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ablation", type=Path, default=Path("runs/ablation"), help="folder of `casnkit ablate`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", default="quick", choices=("smoke", "quick"))
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="as given to `casnkit ablate`")
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time")
    parser.add_argument("--out", type=Path, default=FOLDER, help="default: the package's own folder")
    options = parser.parse_args()
    changes, data = assignments(options.set), PEOPLE[options.profile]
    common, trials = ", ".join(options.set), []
    for setting in SHIPPED:
        config = setting.config(options.profile, options.seed, **changes)
        trials.append(Trial("variants", setting, config, data, common))
    run_trials(trials, options.ablation, processes=options.processes)
    for trial in trials:
        place = put(options.ablation / "runs" / trial.name, options.out)
        print(f"{place}: {sum(f.stat().st_size for f in place.iterdir()) / 1e6:.2f} MB", flush=True)
    write_text(options.out / "networks.csv", networks(options.out).to_csv(index=False))
    total = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    if total > LIMIT:
        raise SystemExit(f"expected at most {LIMIT / 1e6:.0f} MB for all networks, they take {total / 1e6:.2f} MB")
    print(f"{len(trials)} networks, {total / 1e6:.2f} MB, in {options.out}")


def networks(folder: Path) -> pd.DataFrame:
    """Name, seed and SHA-256 of every network's weights in a folder."""
    rows = []
    for file in sorted(folder.glob("*/model.safetensors")):
        seed = runs.read_run(file.parent).config.train.seed
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append({"network": file.parent.name, "seed": seed, "sha256": digest})
    return pd.DataFrame(rows)


def put(run: Path, out: Path) -> Path:
    """Write one finished run in half precision to ``out/NAME``. Returns that folder."""
    _, info = runs.load_model(run)
    place = Path(out) / shipped_name(info.config.variant, info.config.model.pooling)
    place.mkdir(parents=True, exist_ok=True)
    state = {name: _half(name, value) for name, value in runs.read_tensors(run / "model.safetensors").items()}
    if not info.config.loss.siamese_attention:  # never trained: random, and drawn anew when it is loaded
        state = {name: value for name, value in state.items() if not name.startswith("pair_head.")}
    runs.save_tensors(place / "model.safetensors", state)
    write_json(place / "run.json", info.to_dict() | {"data": {**info.data, "root": ""}})  # no path of this machine
    write_text(place / "log.jsonl", (run / "log.jsonl").read_text(encoding="utf-8"))
    return place


def _half(name: str, value: Tensor) -> Tensor:
    statistics = "running_" in name  # variances can leave half precision's range, and are few
    return value.half() if value.is_floating_point() and not statistics else value


if __name__ == "__main__":
    main()
