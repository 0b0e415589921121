"""A run is a folder: its configuration, a log with one JSON line per epoch, checkpoints, and the final weights.

    RUN/run.json             configuration with every open-point choice, identities, seed, data, versions
    RUN/log.jsonl            one line per epoch: loss terms, learning rate, images per second, memory
    RUN/checkpoints/         the last two states of model and optimiser, and last.json that names them with checksums
    RUN/model.safetensors    the trained weights; best.safetensors: those of the best validation, if there was one

Tensors are safetensors, the rest is JSON: nothing that is loaded can run code. Everything is written to a temporary name
and renamed, and ``last.json`` last of all, so an interrupted write costs the new state, never the old one.
"""

from __future__ import annotations

import contextlib
import hashlib
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
from torch import Tensor

from .config import Config
from .data.records import ReidDataset
from .files import atomic_path, read_json, write_json
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


def _listing(folder: Path) -> str:
    if not folder.exists():
        return "no such folder"
    names = (
        sorted(p.name for p in folder.iterdir())[:6]
        if folder.is_dir()
        else [f"a file of {folder.stat().st_size} bytes"]
    )
    return ", ".join(names) if names else "an empty folder"


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
        state = _strip(state, "model.")
    model = CASN.from_config(len(info.pid_of_label), info.config.replace(model={"weights": None}).model)
    load_state(model, state, str(file))
    return model.to(device, memory_format=torch.channels_last).eval(), info


def load_state(model: CASN, state: dict[str, Tensor], name: str) -> None:
    """Fill a model with the tensors of a checkpoint of the same network.

    Raises:
        ValueError: names or shapes differ; the message says how many, which first, and what the model is.
    """
    own = model.state_dict()
    wrong = sorted(key for key in own.keys() | state.keys() if key not in own or key not in state)
    wrong += [key for key in own if key in state and own[key].shape != state[key].shape]
    if wrong:
        key = wrong[0]
        shapes = [tuple(side[key].shape) if key in side else "nothing" for side in (own, state)]
        raise ValueError(
            f"the weights in {name} belong to another network: {len(wrong)} of {len(own)} tensors differ; {key}: "
            f"expected {shapes[0]}, found {shapes[1]}. This model is {model.config.backbone} / {model.config.pooling} "
            f"with {model.num_ids} identities"
        )
    model.load_state_dict(state)


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    """Write tensors as safetensors, atomically. Returns the file's SHA-256."""
    from safetensors.torch import save

    data = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read safetensors, checking the checksum if one is given.

    Raises:
        ValueError: the file is missing, truncated or altered.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"expected weights at {path}, found no file") from None
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path} is damaged: its checksum is not the one that was recorded when it was written")
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}); it may be truncated") from error


def save_checkpoint(
    run: Path,
    model: CASN,
    optimiser: torch.optim.Optimizer,
    epoch: int,
    step: int = 0,
    sums: dict[str, float] | None = None,
    seconds: float = 0.0,
) -> None:
    """Write the state after ``epoch`` epochs and ``step`` steps; the state before it is kept as a fallback, older ones go.

    Args:
        sums, seconds: the unfinished epoch's loss terms so far, and its time.
    """
    folder = Path(run) / "checkpoints"
    file = f"epoch-{epoch:04d}-step-{step:06d}.safetensors"
    checksum = save_tensors(folder / file, _state_tensors(model, optimiser))
    records = [r for r in _records(folder) if r["file"] != file][:1]
    record = {"file": file, "sha256": checksum, "epoch": epoch, "step": step, "sums": sums or {}, "seconds": seconds}
    write_json(folder / "last.json", [record, *records])
    kept = {record["file"], *(r["file"] for r in records)}
    for old in folder.iterdir():
        if old.name not in kept and old.suffix == ".safetensors":
            old.unlink(missing_ok=True)  # also what an interrupted write left behind


def keep_best(run: Path, model: CASN, row: dict[str, Any]) -> None:
    """Keep the weights as ``best.safetensors`` if this epoch's ``validation_mean_ap`` is the highest so far."""
    scores = [old.get("validation_mean_ap", -1.0) for old in read_log(run) if old["epoch"] < row["epoch"]]
    if row["validation_mean_ap"] > max(scores, default=-1.0):
        note = {"epoch": str(row["epoch"]), "validation_mean_ap": str(row["validation_mean_ap"])}
        save_tensors(Path(run) / "best.safetensors", model.state_dict(), note)


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


def _first_difference(there: Config, here: Config) -> str:
    a, b = there.to_dict(), here.to_dict()
    for group, values in a.items():
        if values != b[group]:
            if not isinstance(values, dict):
                return f"{group} is {values!r} there, {b[group]!r} here"
            name = next(name for name in values if values[name] != b[group][name])
            return f"{group}.{name} is {values[name]!r} there, {b[group][name]!r} here"
    return "other identities"


def load_checkpoint(run: Path) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
    """The newest readable state of a run, ``(None, {"epoch": 0, ...})`` without any; a damaged one is passed over, aloud."""
    folder = Path(run) / "checkpoints"
    for record in _records(folder):
        try:
            return read_tensors(folder / record["file"], record["sha256"]), record
        except ValueError as error:
            warnings.warn(f"{error}; trying the state before it", stacklevel=2)
    return None, {"epoch": 0, "step": 0}


def restore(model: CASN, optimiser: torch.optim.Optimizer, state: dict[str, Tensor]) -> None:
    """Put a checkpoint's tensors back into model and optimiser (SGD momentum)."""
    load_state(model, _strip(state, "model."), "the checkpoint")
    buffers = _strip(state, "momentum.")
    for name, parameter in _named_parameters(model, optimiser):
        if name in buffers:
            buffer = torch.empty_like(parameter).copy_(buffers[name])  # in the parameter's own memory format
            optimiser.state[parameter]["momentum_buffer"] = buffer


def _records(folder: Path) -> list[dict[str, Any]]:
    if not (folder / "last.json").is_file():
        return []
    try:
        return read_json(folder / "last.json")
    except ValueError as error:
        warnings.warn(f"{error}; starting from the beginning", stacklevel=3)
        return []


def _state_tensors(model: CASN, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for name, parameter in _named_parameters(model, optimiser):
        buffer = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            tensors[f"momentum.{name}"] = buffer
    return tensors


def _named_parameters(model: CASN, optimiser: torch.optim.Optimizer) -> list[tuple[str, torch.nn.Parameter]]:
    optimised = {id(p) for group in optimiser.param_groups for p in group["params"]}
    return [(name, p) for name, p in model.named_parameters() if id(p) in optimised]


def _strip(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


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
