"""Publish the league of explanations: figures/results/league.csv, figures/league.png, figures/explanations.png.

python figures/make/league.py --run RUN [--data DATA]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from casnkit import figures
from casnkit.data import open_dataset
from casnkit.explain import explain
from casnkit.explain.league import League, choose_pairs, findings, league_table, run_league
from casnkit.explain.pair import SIDES, Retrieval
from casnkit.runs import load_model, pick_device

SHOWN = ("siamese", "siamese-gradcam", "plain-mean", "evidence", "integrated-gradients", "occlusion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument("--data", help="the data set; default: what the run was trained on")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1], help="default: this checkout's figures/")
    options = parser.parse_args()
    model, info = load_model(options.run, pick_device(options.device))
    dataset = open_dataset(options.data or info.data["root"])
    league = run_league(model, dataset, info.config, pairs=options.pairs, out=options.run / "league")
    league.write(options.out / "results")
    draw(league, Retrieval.of(model, dataset, info.config, keep_maps=False), options.out)
    print(league_table(league), *findings(league), sep="\n")


def draw(league: League, retrieval: Retrieval, out: Path) -> None:
    """Every method's numbers, and what some of them see in the first pair of each kind."""
    alt = "Points with 95 % intervals for each explanation: energy on the person, deletion, insertion, sanity."
    figures.save_figure(figures.show_league(league), out / "league.png", alt)
    alt = f"A right match, a wrong one and a look-alike, each with maps by {', '.join(SHOWN)}, laid over both images."
    seen = figures.show_gallery_of_methods(**examples(league, retrieval), title="Why the same person?")
    figures.save_figure(seen, out / "explanations.png", alt)


def examples(league: League, retrieval: Retrieval) -> dict[str, Any]:
    chosen = choose_pairs(retrieval, league.settings["settings"]["pairs"], league.settings["settings"]["seed"])
    first = [int(np.flatnonzero(chosen.kinds == kind)[0]) for kind in dict.fromkeys(chosen.kinds.tolist())]
    splits = [retrieval.split(side) for side in SIDES]
    images = [retrieval.images(side, chosen.pairs[first, k]) for k, side in enumerate(SIDES)]
    found = {name: explain(retrieval.model, *images, name).cpu() for name in SHOWN}
    pictures, masks = (
        [tuple(getattr(split, what)(j) for split, j in zip(splits, chosen.pairs[p], strict=True)) for p in first]
        for what in ("image", "mask")
    )
    maps = {name: list(zip(m.query, m.gallery, strict=True)) for name, m in found.items()}
    labels = [str(chosen.kinds[p]) + " match" * (chosen.kinds[p] != "look-alike") for p in first]
    return {"pairs": pictures, "maps_by_method": maps, "labels": labels, "masks": masks}


if __name__ == "__main__":
    main()
