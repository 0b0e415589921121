"""Experiments: ablation, claims, the paper's tables; and here the trained networks that come with the kit.

    weights/POOLING-VARIANT/model.safetensors       half precision; BatchNorm's statistics in single precision
    weights/POOLING-VARIANT/run.json, log.jsonl     configuration, identities, versions; how it was trained

The paper's eight rows and ``bce`` with the small trunk, trained on *people*: they show trained attention within seconds;
they are one seed each and compare nothing. ``figures/make/ship.py`` makes them from the runs of ``casnkit ablate``, and lists
seeds and hashes in ``networks.csv``.
"""

import dataclasses
from pathlib import Path

import torch

from casnkit import runs
from casnkit.config import VARIANTS, Config, check_choice
from casnkit.data.files import read_json
from casnkit.data.people import DIFFICULTY
from casnkit.data.records import SPLITS, ReidDataset
from casnkit.models import CASN

FOLDER = Path(__file__).parent / "weights"
PEOPLE = {"smoke": "people:tiny", "quick": "people:quick", "paper": "people:market"}  # what a profile trains on


def shipped_name(variant: str, pooling: str = "gap") -> str:
    """The folder's name: ``gap-casn``, ``stripes-ide_ia``."""
    return f"{pooling}-{variant.replace('+', '_')}"


def list_shipped() -> list[str]:
    """Names of the networks that are there, the paper's order of variants within each pooling."""
    names = [shipped_name(variant, pooling) for pooling in ("gap", "stripes") for variant in VARIANTS]
    return [name for name in names if (FOLDER / name / "model.safetensors").is_file()]


def load_shipped(
    variant: str = "casn", pooling: str = "gap", device: str | torch.device = "cpu"
) -> tuple[CASN, runs.RunInfo]:
    """A trained network that comes with the kit, in eval mode and float32, and what is known of it."""
    name = shipped_name(variant, pooling)
    check_choice("network of the kit", name, list_shipped())
    return runs.load_model(FOLDER / name, device)


def load_run(run: str | Path, device: str | torch.device = "cpu", which: str = "last") -> tuple[CASN, runs.RunInfo]:
    """The network of a run's folder, or a shipped one by its name, such as ``gap-casn``; see :func:`runs.load_model`."""
    named = str(run) in list_shipped() and not Path(run).exists()
    return runs.load_model(FOLDER / run if named else run, device, which)


def results_folder(run: str | Path) -> Path:
    """Where the results of a run belong: its own folder, or ``runs/NAME`` for a network of the kit."""
    shipped = not Path(run).is_dir() or FOLDER.resolve() in Path(run).resolve().parents
    return Path("runs") / Path(run).resolve().name if shipped else Path(run)


def fits(config: Config, dataset: ReidDataset) -> Path | None:
    """The shipped network that this configuration would train (at any precision) on this very data set; None if none is."""
    place = FOLDER / shipped_name(config.variant, config.model.pooling)
    if place.name not in list_shipped():
        return None
    there = runs.read_run(place)
    counts = {split: len(getattr(dataset, split)) for split in SPLITS}
    own = config, dataset.name, counts, dataset.train.identities.tolist()
    its = there.config.replace(precision=config.train.precision), there.data["name"], there.data["images"]
    if own != (*its, there.pid_of_label.tolist()):
        return None
    drawn = read_json(dataset.root / "people.json")  # people drawn with another seed have the same pids and other faces
    return place if (drawn.get("seed"), drawn.get("difficulty")) == (0, dataclasses.asdict(DIFFICULTY)) else None
