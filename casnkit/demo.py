"""``casnkit demo``: draw people, train the baseline and CASN side by side, test both, save table and pictures.

Everything lies below one folder and every step is skipped when its result is there, so a stopped demo goes on.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from casnkit.data.files import atomic_path, write_json, write_text
from casnkit.data.images import load_images
from casnkit.runs import pick_device
from casnkit.training import say_epoch

from . import evaluation, figures, runs
from .config import Config, profile
from .data import ReidDataset, open_dataset
from .report import draw_comparison, draw_report, tour
from .shipped import load_shipped
from .training import train

DEMO_VARIANTS = ("ide", "casn")
COLUMNS = {
    "variant": "model",
    "ranked by": "ranked by",
    "rank_1": "rank-1",
    "rank_5": "rank-5",
    "mean_ap": "mAP",
    "mean_ap_trapezoid": "mAP (trapezoid)",
    "seeds": "seeds",
}
SPREAD = {"rank_1_range": "range of rank-1", "mean_ap_range": "range of mAP"}


def run_demo(out: Path, profile_name: str = "quick", seeds: int = 1, device: str | None = None) -> list[dict[str, Any]]:
    """The whole demonstration. Returns the rows of the table, which also stand in ``out/results.json``."""
    started, device = time.perf_counter(), pick_device(device)
    if seeds < 1:
        raise ValueError(f"expected at least one seed, got {seeds}")
    dataset = open_dataset("people:tiny" if profile_name == "smoke" else "people:quick")
    print(dataset, flush=True)
    rows, first_runs = [], {}
    for seed in range(seeds):
        images = None
        for variant in DEMO_VARIANTS:
            config = profile(profile_name, variant=variant, seed=seed)
            run = Path(out) / (f"{variant}-seed{seed}" if seed else variant)  # more seeds go on from one
            if images is None and not (run / "model.safetensors").is_file():
                images = load_images(dataset.train, (config.data.height, config.data.width))
            rows += _one(run, dataset, config, images, device, first_runs)
    rows = summarise(rows)
    text = _report_text(rows, dataset, seeds)
    print(f"\n{text}", flush=True)
    pictures = draw_comparison(Path(out), first_runs, dataset)
    results = {"rows": rows, "seeds": seeds, "profile": profile_name, "seconds": round(time.perf_counter() - started)}
    write_json(Path(out) / "results.json", {**results, "device": str(device), "versions": runs.versions()})
    write_text(Path(out) / "results.txt", text + "\n")
    print("\n".join(f"picture: {path}" for path in pictures))
    print(
        f"results: {Path(out) / 'results.json'}\n{time.perf_counter() - started:.0f} s in all, on {device}", flush=True
    )
    return rows


def _one(
    run: Path, dataset: ReidDataset, config: Config, images: Any, device: Any, first_runs: dict[str, Any]
) -> list[dict[str, Any]]:
    print(f"\n{config.variant}, seed {config.train.seed}: {run}", flush=True)
    train(dataset, config, run, device=device, images=images, on_epoch=say_epoch)
    model, info = runs.load_model(run, device)
    result = evaluation.evaluate(model, dataset, config, device=device)
    evaluation.save_results(run, result, dataset, info)
    if config.variant not in first_runs:
        first_runs[config.variant] = (model, result, info)
        draw_report(run, model, dataset, result, info)
    else:
        result = replace(result, query=None, gallery=None)
    rows = [{"variant": config.variant, "seed": config.train.seed, **row} for row in result.rows()]
    return [row for row in rows if row["ranked by"] != "chance" or config.variant == DEMO_VARIANTS[0]]


README_PICTURES = {
    "casn/pictures/pair-right.png": "pair-right.png",
    "casn/pictures/rankings.png": "rankings.png",
    "casn/pictures/identification.png": "identification.png",
    "pictures/attention.png": "attention.png",
}


TOUR = (
    "One query and its first ten gallery images, one after the other: both pictures, where Siamese attention looks in each, "
    "and the row profiles of both maps"
)


def copy_pictures(out: Path, root: Path) -> None:
    """Copy those of the pictures below ``out`` that the README shows to ``root/figures``."""
    for source, name in README_PICTURES.items():
        with atomic_path(root / "figures" / name) as temporary:
            shutil.copyfile(out / source, temporary)


def draw_shipped(out: Path, root: Path) -> int:
    """Draw the README's pictures with the networks that come with the kit. Returns an exit status of 0."""
    dataset, first_runs = open_dataset("people:quick"), {}
    for variant in DEMO_VARIANTS:
        model, info = load_shipped(variant)
        result = evaluation.evaluate(model, dataset, info.config, progress=False)
        first_runs[variant] = (model, result, info)
        draw_report(out / variant, model, dataset, result, info)
    draw_comparison(out, first_runs, dataset)
    copy_pictures(out, root)
    model, result, info = first_runs["casn"]
    figures.save_animation(tour(model, dataset, info.config, result), root / "figures" / "tour.webp", TOUR)
    return 0


def columns_of(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Headings by key; with several seeds also how far the numbers spread (largest minus smallest)."""
    return {**COLUMNS, **(SPREAD if all(key in row for row in rows for key in SPREAD) else {})}


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the seeds for each model and way of ranking, with the spread of rank-1 and mAP where there are several."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        name = "chance" if row["ranked by"] == "chance" else row["variant"]
        groups.setdefault((name, row["ranked by"]), []).append(row)
    summary = []
    for (variant, ranked_by), members in groups.items():
        numbers = {
            key: float(np.mean([m[key] for m in members])) for key in members[0] if isinstance(members[0][key], float)
        }
        spread = {f"{key}_range": float(np.ptp([m[key] for m in members])) for key in ("rank_1", "mean_ap")}
        seeds = {"seeds": len({m["seed"] for m in members})}
        summary.append(
            {"variant": variant, "ranked by": ranked_by, **numbers, **(spread if len(members) > 1 else {}), **seeds}
        )
    return sorted(summary, key=lambda row: row["variant"] == "chance")


def _report_text(rows: list[dict[str, Any]], dataset: ReidDataset, seeds: int) -> str:
    lines = [
        f"{dataset.name}: {len(dataset.query)} queries, {len(dataset.gallery)} gallery images, percent",
        evaluation.table(rows, columns_of(rows)),
    ]
    if seeds == 1:
        lines.append(
            "One seed decides nothing: the baseline alone varies by several points of rank-1 from seed to seed. "
            "`casnkit demo --seeds 3` goes on from here."
        )
    return "\n".join(lines)
