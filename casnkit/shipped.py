"""Trained networks that come with the kit: the paper's eight rows with the small trunk, trained on *people*.

    casnkit/weights/POOLING-VARIANT/model.safetensors   half precision; BatchNorm's statistics in single precision
    casnkit/weights/POOLING-VARIANT/run.json            configuration, identities, versions
    casnkit/weights/POOLING-VARIANT/log.jsonl           how it was trained, one line per epoch
    casnkit/weights/POOLING-VARIANT/results.json        its row of the ablation: data, seed, numbers, times

``casnkit ship`` makes them anew from the runs of ``casnkit ablate``, training those that are missing. They are there so
that a notebook or the inspector shows trained attention within seconds; they are one seed each and compare nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from casnkit.data.files import read_json, write_json, write_text
from casnkit.models import seeded
from casnkit.runs import load_state, read_tensors, save_tensors

from . import runs
from .config import VARIANTS, Config
from .data.people import DIFFICULTY
from .data.records import ReidDataset
from .models import CASN

FOLDER = Path(__file__).parent / "weights"
PAIR_HEAD = "pair_head."
LIMIT = 10_000_000  # bytes, all files together


def shipped_name(variant: str, pooling: str = "gap") -> str:
    """The folder's name: ``gap-casn``, ``stripes-ide_ia``."""
    return f"{pooling}-{variant.replace('+', '_')}"


def list_shipped(folder: Path | None = None) -> list[str]:
    """Names of the networks that are there, the paper's order of variants within each pooling."""
    names = [shipped_name(variant, pooling) for pooling in ("gap", "stripes") for variant in VARIANTS]
    return [name for name in names if ((folder or FOLDER) / name / "model.safetensors").is_file()]


def load_shipped(
    variant: str = "casn", pooling: str = "gap", device: str | torch.device = "cpu", folder: Path | None = None
) -> tuple[CASN, runs.RunInfo]:
    """A trained network that comes with the kit, in eval mode and float32, and what is known of it.

    Raises:
        ValueError: there is none of that variant and pooling; the message names those that are there.
    """
    folder = Path(folder or FOLDER)
    place = folder / shipped_name(variant, pooling)
    if not (place / "model.safetensors").is_file():
        known = ", ".join(list_shipped(folder)) or "none"
        raise ValueError(f"expected a network {place.name} in {folder}, found {known}: `casnkit ship` makes all eight")
    info = runs.read_run(place)
    with seeded(0, 0):
        model = CASN.from_config(len(info.pid_of_label), info.config.replace(model={"weights": None}).model)
    stored = read_tensors(place / "model.safetensors")
    state = {name: value.float() if value.is_floating_point() else value for name, value in stored.items()}
    untrained = {name: value for name, value in model.state_dict().items() if name.startswith(PAIR_HEAD)}
    load_state(model, state if info.config.loss.siamese_attention else {**untrained, **state}, str(place))
    return model.to(device, memory_format=torch.channels_last).eval(), info


def fits(config: Config, folder: Path | None = None) -> Path | None:
    """The shipped network that this configuration would train, apart from the trunk's precision; None if none is."""
    place = Path(folder or FOLDER) / shipped_name(config.variant, config.model.pooling)
    if not (place / "model.safetensors").is_file():
        return None
    there = runs.read_run(place).config
    return place if there.replace(precision=config.train.precision) == config else None


def trained_on(place: Path, dataset: ReidDataset) -> bool:
    """Whether the shipped network in ``place`` was trained on this very data set.

    Its own size of *people*, its own people in training, and drawn as hard as usual: people drawn with another seed have
    the same pids and other faces, and a network that names them would name them wrongly.
    """
    there = runs.read_run(place)
    counts = {split: len(getattr(dataset, split)) for split in ("train", "query", "gallery")}
    if dataset.name != there.data["name"] or counts != there.data["images"]:
        return False
    if dataset.train.identities.tolist() != there.pid_of_label.tolist():
        return False
    drawn = read_json(dataset.root / "people.json")
    return (drawn.get("seed"), drawn.get("difficulty")) == (0, dataclasses.asdict(DIFFICULTY))


def add_parser(group: Any) -> None:
    """Add ``ship`` to the command line."""
    ship = group.add_parser("ship", help="put the ablation's networks of one seed into the package, in half precision")
    ship.add_argument("--ablation", type=Path, default=Path("runs/ablation"), help="folder of `casnkit ablate`")
    ship.add_argument("--seed", type=int, default=0)
    ship.add_argument("--profile", default="quick", choices=("smoke", "quick"))
    ship.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="as given to `casnkit ablate`")
    ship.add_argument("--processes", type=int, default=1, help="trainings at a time")
    ship.add_argument("--out", type=Path, default=FOLDER, help="default: the package's own folder")
    ship.set_defaults(command=_ship)


def _ship(options: argparse.Namespace) -> None:
    from casnkit.experiments.ablation import Trial, run_trials, variants

    from .commands import assignments

    changes = assignments(options.set)
    data = "people:tiny" if options.profile == "smoke" else "people:quick"
    common = ", ".join(options.set)
    label = f"default [{common}]" if common else "default"
    trials = [
        Trial(
            "variants", "", label, setting.config(options.profile, options.seed, **changes), data, choose_on=f"{data}@1"
        )
        for setting in variants()
    ]
    rows = run_trials(trials, options.ablation, processes=options.processes)
    for trial, row in zip(trials, rows, strict=True):
        place = put(options.ablation / "runs" / trial.name, row, options.out)
        print(f"{place}: {sum(f.stat().st_size for f in place.iterdir()) / 1e6:.2f} MB", flush=True)
    total = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    if total > LIMIT:
        raise ValueError(f"expected at most {LIMIT / 1e6:.0f} MB for all networks, they take {total / 1e6:.2f} MB")
    print(f"{len(trials)} networks, {total / 1e6:.2f} MB, in {options.out}")


def put(run: Path, row: dict[str, Any], out: Path) -> Path:
    """Write one finished run in half precision to ``out/NAME`` with its row of results. Returns that folder."""
    _, info = runs.load_model(run)
    place = Path(out) / shipped_name(info.config.variant, info.config.model.pooling)
    place.mkdir(parents=True, exist_ok=True)
    state = {name: _half(name, value) for name, value in read_tensors(run / "model.safetensors").items()}
    if not info.config.loss.siamese_attention:  # never trained: random, and drawn anew when it is loaded
        state = {name: value for name, value in state.items() if not name.startswith(PAIR_HEAD)}
    save_tensors(place / "model.safetensors", state)
    description = info.to_dict()
    description["data"] = {**info.data, "root": ""}  # no path of the machine that trained it
    write_json(place / "run.json", description)
    write_json(place / "results.json", row)
    write_text(place / "log.jsonl", (run / "log.jsonl").read_text(encoding="utf-8"))
    return place


def shipped_results(variant: str = "casn", pooling: str = "gap", folder: Path | None = None) -> dict[str, Any]:
    """The ablation's row of a shipped network: data, seed, numbers, versions, times."""
    return read_json(Path(folder or FOLDER) / shipped_name(variant, pooling) / "results.json")


def _half(name: str, value: Tensor) -> Tensor:
    statistics = "running_" in name  # variances can leave half precision's range, and are few
    return value.half() if value.is_floating_point() and not statistics else value
