"""``casnkit renew``: every figure, and every number in the README and the notebooks, made again by one command.

Each step is a command that can be run by itself. What a step has finished stays below ``runs/``, so that a renewal that
was stopped goes on; ``--steps`` picks some. Run it in the project's folder.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from casnkit.data.files import write_json

from . import pages, runs
from ._optional import require
from .config import PROFILES

ABLATION = ["--set", "precision=bf16"]
BEFORE = ["positive_share=0.5", "loss.threshold=0.5", "ranking.threshold=0.5", "ranking.attention_weight=0.5"]
BEFORE += ["pair_rate=1.0", "pair_weight_decay=none"]
STEPS: dict[str, list[str]] = {
    "variants": ["ablate", "--study", "variants", "--processes", "2", "--publish", *ABLATION],
    "open-points": [
        "ablate",
        "--study",
        "open-points",
        "--seeds",
        "2",
        "--processes",
        "2",
        "--publish",
        *ABLATION,
        *BEFORE,
    ],
    "siamese-points": [
        *["ablate", "--study", "open-points", "--points", "pair_rate", "siamese_mode", "pair_activation", "pair_order"],
        *["--seeds", "2", "--processes", "2", "--publish", *ABLATION],
    ],
    "test-time": ["ablate", "--study", "test-time", "--publish", *ABLATION],
    "ship": ["ship", *ABLATION],
    "pictures": [],
    "league": ["league", "--run", "casnkit/weights/gap-casn", "--data", "people", "--out", "runs/league", "--publish"],
    "bench-attention": ["bench", "attention", "--publish"],
    "bench-train": ["bench", "train", "--publish"],
    "bench-ranking": ["bench", "ranking", "--publish"],
    "bench-explain": ["bench", "explain", "--publish"],
    "bench-inspector": ["bench", "inspector", "--publish"],
    "notebooks": [],
}
WORK = {"pictures": "the README's pictures, with the networks of the kit", "notebooks": "all notebooks"}


def add_parser(group: Any) -> None:
    """Add ``renew`` to the command line."""
    renew = group.add_parser("renew", help="make every figure and every published number again (hours on two cores)")
    renew.add_argument("--steps", nargs="*", choices=STEPS, help="default: all of them, in order")
    renew.add_argument("--profile", default="quick", choices=PROFILES, help="of the notebooks")
    renew.add_argument("--list", action="store_true", help="print the commands and run none")
    renew.set_defaults(command=renew_all)


def renew_all(options: argparse.Namespace) -> int:
    """Run the chosen steps. Returns the status of the first that fails."""
    from .cli import main

    chosen = options.steps or list(STEPS)
    commands = {name: "casnkit " + " ".join(STEPS[name]) if STEPS[name] else WORK[name] for name in chosen}
    if options.list:
        print("\n".join(f"{name:16} {command}" for name, command in commands.items()))
        return 0
    if not (Path("pyproject.toml").is_file() and Path("figures").is_dir()):
        raise ValueError(f"expected the project's folder, with pyproject.toml and figures/, found {Path.cwd()}")
    for name, command in commands.items():
        print(f"\n[{name}] {command}", flush=True)
        started = time.perf_counter()
        status = main(STEPS[name]) if STEPS[name] else _work(name, options.profile)
        if status:
            print(f"[{name}] failed; `casnkit renew --steps {name}` goes on there")
            return status
        print(f"[{name}] {time.perf_counter() - started:.0f} s", flush=True)
    return 0


def _work(name: str, profile: str) -> int:
    if name == "notebooks":
        return run_notebooks(Path("notebooks"), profile)
    from .demo import draw_shipped

    return draw_shipped(Path("runs/pictures"), Path())


def run_notebooks(folder: Path, profile: str, say: Callable[[str], None] = print) -> int:
    """Run every notebook of a folder from first to last and write their times to ``figures/notebooks-PROFILE.json``."""
    seconds, previous = {}, os.environ.get("CASNKIT_PROFILE")
    os.environ["CASNKIT_PROFILE"] = profile
    try:
        for path in sorted(folder.glob("*.ipynb")):
            seconds[path.stem] = round(run_notebook(path), 1)
            say(f"{path.stem}: {seconds[path.stem]} s")
    finally:
        os.environ.pop("CASNKIT_PROFILE")
        if previous is not None:
            os.environ["CASNKIT_PROFILE"] = previous
    result = {"profile": profile, "seconds": seconds, "cores": os.cpu_count(), "versions": runs.versions()}
    write_json(folder.parent / "figures" / f"notebooks-{profile}.json", result)
    pages.renew_pages(folder.parent)
    return 0


def run_notebook(path: Path, timeout: int = 3600) -> float:
    """Run one notebook where it lies; nothing is written into it. Returns the seconds.

    Raises:
        ValueError: a cell failed; the message holds its last lines.
    """
    nbformat = require("nbformat", "running notebooks")
    nbclient = require("nbclient", "running notebooks", "test")
    started = time.perf_counter()
    place = {"metadata": {"path": str(path.parent.resolve())}}
    notebook = nbformat.read(path, as_version=4)
    try:
        nbclient.NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources=place).execute()
    except nbclient.exceptions.CellExecutionError as error:
        raise ValueError(f"{path.name} stopped: {_end(str(error).splitlines())}") from error
    return time.perf_counter() - started


def _end(lines: Sequence[str]) -> str:
    return " | ".join(line.strip() for line in lines if line.strip())[-600:]
