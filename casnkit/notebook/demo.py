"""``casnkit demo``: draw people, train the baseline and CASN side by side, test both, save table and pictures.

Everything lies below one folder and every step is skipped when its result is there, so a stopped demo resumes.
"""

import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from casnkit import evaluation, runs
from casnkit.config import PROFILES, profile
from casnkit.data import open_dataset
from casnkit.data.files import write_json
from casnkit.notebook import PEOPLE_SIZES
from casnkit.notebook.report import draw_comparison, draw_report
from casnkit.training import say_epoch, train

ONE_SEED = "One seed decides nothing: seeds differ by several points of rank-1. Go on with `casnkit demo --seeds 3`."


def add_parser(group: Any) -> None:
    """Add ``demo`` to the command line."""
    demo = group.add_parser("demo", help="draw people, train the baseline and CASN, compare them, save pictures")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for runs, results and pictures")
    demo.add_argument("--profile", choices=PROFILES[:2], default="quick", help="smoke takes seconds, quick minutes")
    demo.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    demo.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    demo.set_defaults(command=lambda given: run_demo(given.out, given.profile, given.seeds, given.device))


def run_demo(out: Path, profile_name: str = "quick", seeds: int = 1, device: str | None = None) -> None:
    """The whole demonstration; the rows of its table also stand in ``out/results.json``."""
    if seeds < 1:
        raise ValueError(f"expected at least one seed, got {seeds}")
    device, dataset = runs.pick_device(device), open_dataset(PEOPLE_SIZES[profile_name])
    print(dataset, flush=True)
    rows, first = [], {}
    for seed, variant in itertools.product(range(seeds), ("ide", "casn")):
        config = profile(profile_name, variant=variant, seed=seed)
        run = out / (f"{variant}-seed{seed}" if seed else variant)  # more seeds go on from one
        print(f"\n{variant}, seed {seed}: {run}", flush=True)
        train(dataset, config, run, device=device, on_epoch=say_epoch)
        model, info = runs.load_model(run, device)
        result = evaluation.evaluate(model, dataset, config, device=device)
        evaluation.save_results(run, result, dataset, info)
        *own, chance = result.rows()
        rows += [{"variant": variant, "seed": seed, **row} for row in own]
        if variant not in first:
            first[variant] = model, result, info
            draw_report(run, model, dataset, result, info)
    table = summarise([*rows, {"variant": "chance", "seed": 0, **chance}]).to_dict("records")
    print(f"\n{dataset.name}: {len(dataset.query)} queries, {len(dataset.gallery)} gallery images, percent")
    print(evaluation.table(table), *([ONE_SEED] if seeds == 1 else []), sep="\n", flush=True)
    for path in draw_comparison(out, first, dataset):
        print(f"picture: {path}")
    facts = {"seeds": seeds, "profile": profile_name, "device": str(device), "versions": runs.versions()}
    write_json(out / "results.json", {"rows": table, **facts})
    print(f"results: {out / 'results.json'}")


def summarise(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Means over the seeds for each model and way of ranking; largest minus smallest where there are several seeds."""
    groups = pd.DataFrame(rows).groupby(["variant", "ranked by"], sort=False)
    table = groups[["rank_1", "rank_5", "mean_ap", "mean_ap_trapezoid"]].mean()
    if groups.size().max() > 1:
        spread = groups[["rank_1", "mean_ap"]].max() - groups[["rank_1", "mean_ap"]].min()
        table = table.join(spread.set_axis(["range of rank-1", "range of mAP"], axis=1))
    return table.assign(seeds=groups.size()).reset_index()
