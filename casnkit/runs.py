"""A run is a folder: its configuration, a log with one JSON line per epoch, checkpoints, and the final weights.

    RUN/run.json             configuration with every open-point choice, identities, seed, data, versions
    RUN/log.jsonl            one line per epoch: loss terms, learning rate, images per second, memory
    RUN/checkpoints/         the last two states of model and optimiser, and last.json that names them with checksums
    RUN/model.safetensors    the trained weights; best.safetensors: those of the best validation, if there was one

How tensors are written, and why an interruption cannot hurt them, stands in :mod:`casnkit.checkpoints`.
"""

from __future__ import annotations

import contextlib
import json
import platform
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from filelock import FileLock, Timeout

from casnkit.data.files import atomic_path, read_json, write_json

from .checkpoints import load_checkpoint, load_state, read_tensors, save_tensors, without_prefix
from .config import Config
from .data.records import ReidDataset
from .models import CASN

RUN_FORMAT = 1


@dataclass(frozen=True)
class RunInfo:
    """What ``run.json`` says.

    Attributes:
        config: every choice.
        pid_of_label: (num_ids,) pids of the training identities, in the order of the ID classifier's outputs.
        data: name, root and image counts of the data that it was trained on.
        versions: of Python, torch, torchvision, numpy and the kit.
    """

    config: Config
    pid_of_label: np.ndarray
    data: dict[str, Any]
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in ``run.json``."""
        return {
            "format": RUN_FORMAT,
            "variant": self.config.variant,
            "config": self.config.to_dict(),
            "pid_of_label": self.pid_of_label.tolist(),
            "data": self.data,
            "versions": self.versions,
        }


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    from . import __version__

    return {
        "casnkit": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
    }


def read_run(run: str | Path) -> RunInfo:
    """Read ``run.json``.

    Raises:
        ValueError: there is no run in that folder, or one of another format.
    """
    run = Path(run)
    if not (run / "run.json").is_file():
        raise ValueError(
            f"expected a run (a folder with run.json) at {run}, found {_listing(run)}: "
            "train one with `casnkit train --data PATH --out RUN`"
        )
    values = read_json(run / "run.json")
    if not isinstance(values, dict) or values.get("format") != RUN_FORMAT:
        found = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"{run / 'run.json'}: expected format {RUN_FORMAT}, found {found!r}; train the run again")
    pids = np.asarray(values["pid_of_label"], dtype=np.int64)
    return RunInfo(Config.from_dict(values["config"]), pids, values["data"], values["versions"])


def load_model(run: str | Path, device: str | torch.device = "cpu") -> tuple[CASN, RunInfo]:
    """The trained network of a run, in eval mode, with what is known of it.

    Raises:
        ValueError: no run there, no finished weights, or weights of another network than ``run.json`` describes.
    """
    run = Path(run)
    info = read_run(run)
    file = run / "model.safetensors"
    if file.is_file():
        state = read_tensors(file)
    else:
        state, record = load_checkpoint(run)
        if state is None:
            raise ValueError(f"expected trained weights at {file}, found none: finish the run with `casnkit train`")
        warnings.warn(f"{run} is not finished: using its state after epoch {record['epoch']}", stacklevel=2)
        state = without_prefix(state, "model.")
    model = CASN.from_config(len(info.pid_of_label), info.config.replace(model={"weights": None}).model)
    load_state(model, state, str(file))
    return model.to(device, memory_format=torch.channels_last).eval(), info


def check_folder(out: Path, config: Config, pid_of_label: np.ndarray) -> None:
    """Make sure that a folder is free for a run, or holds the same one. Writes nothing.

    Raises:
        ValueError: the folder holds another run, or other things.
    """
    if (out / "run.json").is_file():
        there = read_run(out)
        if there.config != config or there.pid_of_label.tolist() != pid_of_label.tolist():
            raise ValueError(
                f"{out} holds another run ({there.config.profile}, {there.config.variant}, "
                f"{len(there.pid_of_label)} identities; {_first_difference(there.config, config)}): "
                "choose another --out, or remove that folder"
            )
    elif out.is_dir() and any(path.name != ".lock" for path in out.iterdir()):
        raise ValueError(f"{out} is not empty and holds no run: choose a new folder for --out")


def describe(out: Path, dataset: ReidDataset, config: Config, pid_of_label: np.ndarray) -> None:
    """Write ``run.json`` where there is none yet."""
    if not (out / "run.json").is_file():
        counts = {name: len(getattr(dataset, name)) for name in ("train", "query", "gallery")}
        data = {"name": dataset.name, "root": str(dataset.root), "images": counts}
        write_json(out / "run.json", RunInfo(config, pid_of_label, data, versions()).to_dict())


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run's folder for this process; the operating system gives it back however the process ends.

    Raises:
        ValueError: another process trains in the folder.
    """
    Path(run).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(run) / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"another process is training in {run}: wait for it, or choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def append_log(run: Path, row: dict[str, Any]) -> None:
    """Add one epoch's line to the log; a line of the same epoch, left by an interrupted run, is replaced."""
    rows = [old for old in read_log(run) if old["epoch"] < row["epoch"]] + [row]
    with atomic_path(Path(run) / "log.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(r, allow_nan=False) + "\n" for r in rows), encoding="utf-8")


def read_log(run: str | Path) -> list[dict[str, Any]]:
    """The log's rows, one per finished epoch; empty where there is none."""
    file = Path(run) / "log.jsonl"
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def keep_best(run: Path, model: CASN, row: dict[str, Any]) -> None:
    """Keep the weights as ``best.safetensors`` if this epoch's ``validation_mean_ap`` is the highest so far."""
    scores = [old.get("validation_mean_ap", -1.0) for old in read_log(run) if old["epoch"] < row["epoch"]]
    if row["validation_mean_ap"] > max(scores, default=-1.0):
        note = {"epoch": str(row["epoch"]), "validation_mean_ap": str(row["validation_mean_ap"])}
        save_tensors(Path(run) / "best.safetensors", model.state_dict(), note)


def _listing(folder: Path) -> str:
    if not folder.exists():
        return "no such folder"
    names = (
        sorted(p.name for p in folder.iterdir())[:6]
        if folder.is_dir()
        else [f"a file of {folder.stat().st_size} bytes"]
    )
    return ", ".join(names) if names else "an empty folder"


def _first_difference(there: Config, here: Config) -> str:
    a, b = there.to_dict(), here.to_dict()
    for group, values in a.items():
        if values != b[group]:
            if not isinstance(values, dict):
                return f"{group} is {values!r} there, {b[group]!r} here"
            name = next(name for name in values if values[name] != b[group][name])
            return f"{group}.{name} is {values[name]!r} there, {b[group][name]!r} here"
    return "other identities"


# facade: to be replaced
_FACADE = {
    "pick_device": "casnkit.processes",
    "load_state": "casnkit.checkpoints",
    "read_tensors": "casnkit.checkpoints",
    "save_tensors": "casnkit.checkpoints",
}
_FACADE_MODULES = ["casnkit.checkpoints"]


def __getattr__(name):
    from importlib import import_module

    if name in _FACADE:
        return getattr(import_module(_FACADE[name]), name)
    if not name.startswith("__"):
        for module in _FACADE_MODULES:
            if module != __name__:
                found = import_module(module)
                if hasattr(found, name):
                    return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
