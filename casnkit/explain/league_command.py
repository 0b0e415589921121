"""``casnkit league``: from its options to the table, what it says, and with ``--publish`` the pages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(group: Any) -> None:
    """``casnkit league`` for :mod:`casnkit.cli`."""
    league = group.add_parser("league", help="compare all explanations: localisation, faithfulness, sanity, speed")
    league.add_argument("--run", type=Path, help="the run's folder; default: the newest below runs/")
    league.add_argument("--data", help="the data set; default: what the run was trained on")
    league.add_argument("--out", type=Path, help="folder for the results; default: RUN/league")
    league.add_argument("--pairs", type=int, default=200, help="test pairs; default: 200")
    league.add_argument("--methods", nargs="+", metavar="NAME", help="default: all")
    league.add_argument("--steps", type=int, default=6, help="of deletion and insertion; default: 6")
    league.add_argument("--seed", type=int, default=0)
    league.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    league.add_argument("--publish", action="store_true", help="renew figures/ and the pages' numbers in this folder")
    league.set_defaults(command=run_command)


def run_command(options: argparse.Namespace) -> None:
    """Measure, print the table and what it says."""
    from casnkit.runs import pick_device

    from .. import pages, runs
    from ..commands import newest_run
    from ..data import open_dataset
    from .league import findings, league_table, run_league
    from .league_pictures import draw_league
    from .retrieval import Retrieval

    run = options.run or newest_run(Path("runs"))
    model, info = runs.load_model(run, pick_device(options.device))
    dataset = open_dataset(options.data or info.data["root"])
    out = options.out or Path(run) / "league"
    result = run_league(
        model, dataset, info.config, options.methods, options.pairs, options.seed, out=out, steps=options.steps
    )
    text = league_table(result)
    print(text, *findings(result), f"results: {out / 'league.json'}", sep="\n")
    if options.publish:
        pages.publish("league", result)
        draw_league(Path("figures"), result, Retrieval.of(model, dataset, info.config, keep_maps=False))
