"""A run is a folder.

    RUN/run.json             configuration with every open-point choice, identities, seed, data, versions
    RUN/log.jsonl            one line per finished epoch: loss terms, learning rate, images per second, memory
    RUN/checkpoints/         the states of model and optimiser after the last two finished epochs
    RUN/model.safetensors    the trained weights; best.safetensors: those of the best validation, if there was one

Nothing that is loaded can run code. A file is renamed to its name when it is complete: an interruption costs no old one.
"""

import contextlib
import json
import platform
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
import torchvision
from filelock import FileLock, Timeout
from torch import Tensor

import casnkit
from casnkit.config import Config
from casnkit.data.files import atomic_path, read_json, write_json, write_text
from casnkit.data.records import SPLITS, ReidDataset, Split, data_fingerprint, labels_of
from casnkit.data.weights import load_state, read_tensors
from casnkit.models import CASN

RUN_FORMAT = 1


@dataclass(frozen=True)
class RunInfo:
    """What ``run.json`` says."""

    config: Config
    pid_of_label: np.ndarray  # (num_ids,) pids of the training identities, in the order of the ID classifier's outputs
    data: dict[str, Any]  # name, root and image counts of the data that it was trained on
    versions: dict[str, str]  # of Python, torch, torchvision, numpy and the kit

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in ``run.json``."""
        own = {"format": RUN_FORMAT, "variant": self.config.variant, "config": self.config.to_dict()}
        return own | {"pid_of_label": self.pid_of_label.tolist(), "data": self.data, "versions": self.versions}


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = {package.__name__: package.__version__ for package in (casnkit, torch, torchvision, np)}
    return packages | {"python": platform.python_version()}


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, else a GPU if there is one, else the CPU. Raises ValueError for one that is not there."""
    count = torch.cuda.device_count()
    try:
        device = torch.device(device or ("cuda" if count else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"expected a device such as cpu, cuda or cuda:1, got {device!r}") from error
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(f"device '{device}' was asked for, but torch sees {count or 'no'} GPU here: use --device cpu")
    return device


def read_run(run: str | Path) -> RunInfo:
    """Read ``run.json``. Raises ValueError where there is no run in that folder, or one of another format."""
    file = Path(run) / "run.json"
    if not file.is_file():
        found = "no run.json in it" if Path(run).is_dir() else "no such folder"
        raise ValueError(f"expected a run at {run}, found {found}: train one (casnkit train --data PATH --out RUN)")
    values = read_json(file)
    found = values.get("format") if isinstance(values, dict) else type(values).__name__
    if found != RUN_FORMAT:
        raise ValueError(f"{file}: expected format {RUN_FORMAT}, found {found!r}; train the run again")
    try:
        config = Config.from_dict(values["config"])
        pids, data, made = (values[name] for name in ("pid_of_label", "data", "versions"))
        whole = [isinstance(each, int) and -(2**62) < each < 2**62 for each in (*pids, *data["images"].values())]
        texts = [isinstance(each, str) for each in (data["name"], data["root"], *made.values())]
        if not all((*whole, *texts, len(pids), set(data["images"]) == set(SPLITS))):
            raise TypeError("a value of another type")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        wanted = "config, pid_of_label, data (name, root, images) and versions, as casnkit writes them"
        found = f"{type(error).__name__}: {str(error)[:200]}"
        raise ValueError(f"{file}: expected {wanted}, found otherwise ({found}); restore it, or train again") from error
    return RunInfo(config, np.asarray(pids, dtype=np.int64), data, made)


def read_log(run: str | Path) -> list[dict[str, Any]]:
    """The log's rows, one per finished epoch; empty where there is none."""
    file = Path(run) / "log.jsonl"
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
        if not all(isinstance(row, dict) and isinstance(row.get("epoch"), int) for row in rows):
            raise ValueError("a line without its epoch")
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file}: expected a JSON object with its epoch on each line ({error}); restore it") from error
    return rows


def trained_on(info: RunInfo, train: Split) -> np.ndarray:
    """Which of these images (N,) a run learned from: none of another data set, even where it numbers people alike."""
    own, mark = np.isin(train.pids, info.pid_of_label), info.data.get("fingerprint")
    learned = train.subset(own)
    if mark:
        return own & (mark == data_fingerprint(learned))
    counts = len(learned), learned.identities.tolist()  # all that runs of 0.1.0 and the kit's networks know
    return own & (counts == (info.data["images"]["train"], info.pid_of_label.tolist()))


def load_model(run: str | Path, device: str | torch.device = "cpu", which: str = "last") -> tuple[CASN, RunInfo]:
    """The trained network of a run, in eval mode, with what is known of it.

    ``which``: ``last``, or ``best``, the weights of the best validation. Raises ValueError where there is no run, no
    finished epoch, no validation, or weights of another network than ``run.json`` describes.
    """
    info, file = read_run(run), Path(run) / f"{'model' if which == 'last' else which}.safetensors"
    if which == "best" and not file.is_file():
        raise ValueError(f"{run} has no {file.name}: train it with --validate N, or take its last weights")
    tensors, epoch = (None, 0) if file.is_file() else load_checkpoint(run)
    if tensors is not None:
        warnings.warn(f"{run} is not finished: using its state after epoch {epoch}", stacklevel=2)
    state = read_tensors(file) if tensors is None else _part(tensors, "model.")
    model = CASN.from_config(len(info.pid_of_label), info.config.replace(weights=None).model)
    load_state(model, state, file)
    return model.to(device, memory_format=torch.channels_last).eval(), info


def check_folder(out: Path, config: Config, dataset: ReidDataset) -> None:
    """Raise ValueError unless a folder is free for a run, or holds the same one, on the same pictures. Writes nothing."""
    if (out / "run.json").is_file():
        there, (_, pid_of_label) = read_run(out), labels_of(dataset.train.pids)
        (old,), (new,) = (pd.json_normalize(each.to_dict()).to_dict("records") for each in (there.config, config))
        differs = [f"{name} is {old[name]!r} there, {new[name]!r} here" for name in old if old[name] != new[name]]
        known = there.data.get("fingerprint")  # runs of 0.1.0 have none
        same = there.pid_of_label.tolist() == pid_of_label.tolist()
        if not same or (known and known != data_fingerprint(dataset.train)):
            sets = (
                f"{there.data['images']['train']} training images of {there.data['name']} in {there.data['root']} there"
            )
            what = "pictures of these identities" if same else "identities"
            differs.append(f"other {what}: {sets}, {len(dataset.train)} of {dataset.name} in {dataset.root} here")
        if differs:
            raise ValueError(f"{out} holds another run ({differs[0]}): nothing was changed, choose another --out")
    elif out.is_dir() and any(path.name != ".lock" for path in out.iterdir()):
        raise ValueError(f"{out} is not empty and holds no run: choose a new folder for --out")


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run's folder for this process; the operating system gives it back however the process ends."""
    run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run / ".lock", timeout=0):
            yield
    except Timeout:
        raise ValueError(f"another process is training in {run}: wait for it, or choose another --out") from None


def describe(run: Path, dataset: ReidDataset, config: Config) -> None:
    """Write ``run.json`` where there is none yet."""
    if not (run / "run.json").is_file():
        counts = {name: len(getattr(dataset, name)) for name in ("train", "query", "gallery")}
        data = {"name": dataset.name, "root": str(dataset.root), "images": counts}
        data["fingerprint"] = data_fingerprint(dataset.train)
        _, pid_of_label = labels_of(dataset.train.pids)
        write_json(run / "run.json", RunInfo(config, pid_of_label, data, versions()).to_dict())


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors."""
    data = safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def save_epoch(run: Path, model: CASN, optimiser: torch.optim.Optimizer, row: dict[str, Any]) -> None:
    """Keep a finished epoch: the best weights if it is the best validation, its line in the log, and then the state.

    The line of the same epoch that an interrupted run left behind is replaced. Of older states the last one is kept.
    """
    rows = [old for old in read_log(run) if old["epoch"] < row["epoch"]]
    score = row.get("validation_mean_ap")
    if score is not None and score > max((old.get("validation_mean_ap", -1.0) for old in rows), default=-1.0):
        note = {"epoch": str(row["epoch"]), "validation_mean_ap": str(score)}
        save_tensors(run / "best.safetensors", model.state_dict(), note)
    write_text(run / "log.jsonl", "".join(json.dumps(each, allow_nan=False) + "\n" for each in [*rows, row]))
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        if "momentum_buffer" in optimiser.state.get(parameter, {}):
            tensors[f"momentum.{name}"] = optimiser.state[parameter]["momentum_buffer"]
    folder = run / "checkpoints"
    save_tensors(folder / f"epoch-{row['epoch']:06d}.safetensors", tensors)
    for file in set(folder.glob("*.safetensors")).difference(_states(run)[:2]):
        file.unlink(missing_ok=True)  # also what a killed run left half-written


def load_checkpoint(run: str | Path) -> tuple[dict[str, Tensor] | None, int]:
    """The newest readable state and its number of finished epochs, (None, 0) without any; a damaged one is warned of."""
    for file in _states(run):
        try:
            return read_tensors(file), int(file.stem.removeprefix("epoch-"))
        except ValueError as error:
            warnings.warn(f"{error}; trying the state before it", stacklevel=2)
    return None, 0


def restore(model: CASN, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put a state back into model and optimiser (SGD momentum)."""
    load_state(model, _part(tensors, "model."), "of the checkpoint")
    momentum = _part(tensors, "momentum.")
    for name, parameter in model.named_parameters():
        if name in momentum:  # in the parameter's own memory format
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum[name])


def _states(run: str | Path) -> list[Path]:
    return sorted(Path(run).glob("checkpoints/epoch-??????.safetensors"), reverse=True)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
