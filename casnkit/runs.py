"""A run is a folder.

    RUN/run.json             configuration with every open-point choice, identities, seed, data, versions
    RUN/log.jsonl            one line per finished epoch: loss terms, learning rate, images per second, memory
    RUN/checkpoints/         the states of model and optimiser after the last two finished epochs
    RUN/model.safetensors    the trained weights; best.safetensors: those of the best validation, if there was one

Nothing that is loaded can run code. A file is renamed to its name when it is complete: an interruption costs no old one.
"""

import contextlib
import json
import math
import os
import platform
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import safetensors.torch
import torch
import torchvision
from filelock import FileLock, Timeout
from torch import Tensor

import casnkit
from casnkit.config import Config, check_choice
from casnkit.data.files import atomic_path, check_place, read_json, read_text, write_json, write_text
from casnkit.data.records import SPLITS, ReidDataset, Split, data_fingerprint, labels_of
from casnkit.data.weights import load_state, read_tensors
from casnkit.models import CASN, seeded

RUN_FORMAT = 1
KEPT = torch.nn.Conv2d, torch.nn.BatchNorm2d  # layers of a trunk whose results training keeps
WEIGHTS = {"last": "model.safetensors", "best": "best.safetensors"}  # of a run: those of the last epoch, the best one


@dataclass(frozen=True)
class RunInfo:
    """What ``run.json`` says."""

    config: Config
    pid_of_label: np.ndarray  # (num_ids,) pids of the training identities, in the order of the ID classifier's outputs
    data: dict[str, Any]  # name, root and image counts of the data that it was trained on
    versions: dict[str, str]  # of Python, torch, torchvision, numpy and the kit
    extended: tuple[int, ...] = ()  # epochs after which it was finished, and then went on by the schedule of more

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in ``run.json``."""
        own = {"format": RUN_FORMAT, "variant": self.config.variant, "config": self.config.to_dict()}
        own |= {"pid_of_label": self.pid_of_label.tolist(), "data": self.data, "versions": self.versions}
        return own | {"extended": list(self.extended)}


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
    try:  # not on a GPU: every process would take memory of the first one
        torch.ones(1, device="cpu" if device.type == "cuda" else device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(f"torch cannot compute on the device '{device}' here: use --device cpu") from error
    return device


def read_run(run: str | Path) -> RunInfo:
    """Read ``run.json``. Raises ValueError where there is no run in that folder, or one of another format."""
    file = Path(run) / "run.json"
    if not file.is_file():
        found = "no run.json in it" if Path(run).is_dir() else "no such folder"
        raise ValueError(f"expected a run at {run}, found {found}: train one (casnkit train --data PATH --out RUN)")
    values = read_json(file)
    if (found := values.get("format")) != RUN_FORMAT:
        raise ValueError(f"{file}: expected format {RUN_FORMAT}, found {str(found)[:50]}; train the run again")
    try:
        config = Config.from_dict(values["config"])
        pids, data, made = (values[name] for name in ("pid_of_label", "data", "versions"))
        more, digest = values.get("extended", []), data.get("fingerprint", "")
        whole = [type(each) is int and -(2**62) < each < 2**62 for each in (*pids, *data["images"].values(), *more)]
        whole += [isinstance(each, str) for each in (data["name"], data["root"], digest, *made.values())]
        if not all((*whole, len(pids), pids == sorted(set(pids)), set(data["images"]) == set(SPLITS))):
            raise TypeError("a value of another type, or identities out of order")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        wanted = "config, pid_of_label, data (name, root, images) and versions, as casnkit writes them"
        found = f"{type(error).__name__}: {str(error)[:200]}"
        raise ValueError(f"{file}: expected {wanted}, found otherwise ({found}); restore it, or train again") from error
    return RunInfo(config, np.asarray(pids, dtype=np.int64), data, made, tuple(more))


def read_log(run: str | Path) -> list[dict[str, Any]]:
    """The log's rows, one per finished epoch; empty where there is none."""
    file = Path(run) / "log.jsonl"
    try:
        lines = read_text(file).splitlines() if os.path.lexists(file) else []
        rows = [json.loads(line) for line in lines if line.strip()]
        finite = all(math.isfinite(number) for row in rows for number in row.values())
        epochs = [row["epoch"] for row in rows if {"total", "learning_rate"} <= row.keys()]
        if not finite or len(epochs) < len(rows) or epochs != sorted(set(epochs)):
            raise ValueError("out of order, or a number is not finite or missing")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        wanted = "a JSON object with its epoch, total, learning_rate and other numbers on each line"
        raise ValueError(f"{file}: expected {wanted} ({type(error).__name__}: {error}); restore it") from error
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
    """The trained network of a run, in eval mode and float32, with what is known of it; takes no random numbers.

    ``which``: ``last``, or ``best``, the weights of the best validation. Raises ValueError where there is no run, no
    finished epoch, no validation, or weights of another network than ``run.json`` describes.
    """
    check_choice("weights", which, WEIGHTS)
    info, file = read_run(run), Path(run) / WEIGHTS[which]
    if which == "best" and not file.is_file():
        raise ValueError(f"{run} has no {file.name}: train it with --validate N, or take its last weights")
    tensors, epoch = (None, 0) if file.is_file() else load_checkpoint(run)
    if tensors is not None:
        warnings.warn(f"{run} is not finished: using its state after epoch {epoch}", stacklevel=2)
    state = read_tensors(file) if tensors is None else _part(tensors, "model.")
    model = blueprint(info.config, len(info.pid_of_label), device)
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    if not info.config.loss.siamese_attention and not _part(state, "pair_head."):  # never trained: the kit's have none
        with seeded(0, 0):
            drawn = CASN.from_config(model.num_ids, model.config).state_dict()
        state |= {key: value for key, value in drawn.items() if key.startswith("pair_head.")}
    load_state(model, state, file, assign=True)
    return model.to(device, memory_format=torch.channels_last).eval(), info


def blueprint(config: Config, num_ids: int, device: str | torch.device = "cpu", images: int = 0) -> CASN:
    """The network that a configuration describes, in shapes alone (torch's device ``meta``): it takes no memory.

    Raises ValueError, with the estimate, where the device's memory could hold neither its weights nor, with ``images`` in
    each part of a batch, a step of its training: weights, gradients, momentum, and what the layers give, at the least.
    """
    data, layers = config.data, []
    try:
        with torch.device("meta"), torch.no_grad():
            model = CASN.from_config(num_ids, config.replace(weights=None).model).eval()
            for layer in (layer for layer in model.trunk.modules() if isinstance(layer, KEPT)):
                layer.register_forward_hook(lambda _, __, found: layers.append(found.numel()))
            if images:
                model(torch.empty(1, 3, data.height, data.width))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"no network has such sizes: {str(error).splitlines()[0]}") from error
    weights = sum(parameter.numel() for parameter in model.parameters())
    image = sum(layers) * (2 if config.train.precision == "bf16" else 4) * (1 + config.loss.identification_attention)
    image += 12 * (data.height + 2 * data.padding) * (data.width + 2 * data.padding)
    needed = 12 * weights + images * image + 100 * data.batch_size if images else 4 * weights
    cuda = torch.device(device).type == "cuda"
    there = torch.cuda.mem_get_info(device)[1] if cuda else psutil.virtual_memory().total
    if needed > there:
        what = f"training on {data.batch_size} pairs of {data.height}x{data.width}" if images else "the network"
        told = f"{what} needs at least {needed / 2**30:,.0f} GiB of memory, this machine has {there / 2**30:,.0f}"
        raise ValueError(f"{told}: choose smaller images, batches or layers, or accumulate=N parts of a batch")
    return model


def check_folder(out: Path, config: Config, dataset: ReidDataset) -> int:
    """Raise ValueError unless a folder is free for a run, or holds the same one, on the same pictures. Writes nothing.

    Returns the epochs after which a finished run is to go on to more; 0 for any other.
    """
    check_place(out)
    if (out / "checkpoints").is_symlink():
        raise ValueError(f"{out / 'checkpoints'} is a link to another folder, where nothing may be deleted: remove it")
    if not (out / "run.json").is_file() and out.is_dir() and {path.name for path in out.iterdir()} - {".lock"}:
        raise ValueError(f"{out} is not empty and holds no run: choose a new folder for --out")
    if not (out / "run.json").is_file() or _untouched(out):
        return 0
    there, (_, pid_of_label) = read_run(out), labels_of(dataset.train.pids)
    known, last = there.data.get("fingerprint"), there.config.train.epochs  # runs of 0.1.0 have no fingerprint
    more = last if last < config.train.epochs and _state(out, last).is_file() else 0
    own = config.replace(epochs=more or config.train.epochs)
    (old,), (new,) = (pd.json_normalize(each.to_dict()).to_dict("records") for each in (there.config, own))
    differs = [f"{name} is {old[name]!r} there, {new[name]!r} here" for name in old if old[name] != new[name]]
    same = there.pid_of_label.tolist() == pid_of_label.tolist()
    if not same or (known and known != data_fingerprint(dataset.train)):
        what = "pictures of these identities" if same else "identities"
        sets = f"{there.data['images']['train']} training images of {there.data['name']} in {there.data['root']}"
        differs.append(f"other {what}: {sets} there, {len(dataset.train)} of {dataset.name} in {dataset.root} here")
    if differs:
        hint = "; only a finished run with its checkpoints goes on to more" * differs[0].startswith("train.epochs")
        told = f"{out} holds another run ({differs[0][:300]}{hint})"
        raise ValueError(f"{told}: nothing was changed, choose another --out")
    return more


_OWN = (".run.", ".log.", ".model.", ".best.", ".epoch-")  # beginnings of the temporary names of its files


def _untouched(run: Path) -> bool:
    """Whether no epoch of a run was finished: its folder is free for another one."""
    return not any(os.path.lexists(run / name) for name in ("log.jsonl", *WEIGHTS.values())) and not _states(run)


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run's folder for this process; the operating system gives it back however the process ends.

    Where the block fails before an epoch is finished, what was made for it is removed.
    """
    made = [folder for folder in (run, *run.absolute().parents) if not folder.exists()]
    run.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(run / ".lock", timeout=0).acquire()
    except Timeout:
        raise ValueError(f"another process is training in {run}: wait for it, or choose another --out") from None
    with lock:
        for file in run.rglob(".*.part.*"):
            if file.name.startswith(_OWN):  # what a killed run left half-written
                file.unlink(missing_ok=True)
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                for path in (run / "run.json", run / ".lock", *made) if _untouched(run) else ():
                    path.rmdir() if path in made else path.unlink(missing_ok=True)
            raise


def describe(run: Path, dataset: ReidDataset, config: Config, more: int = 0, rate: float = 0.0) -> None:
    """Write ``run.json`` where there is none of a started run. Of a finished one that goes on after ``more`` epochs it says
    so, and warns of the learning ``rate`` with which it does."""
    if more:
        there, before = read_run(run), sum(row["learning_rate"] for row in read_log(run)[-1:])
        (run / WEIGHTS["last"]).unlink(missing_ok=True)  # the same stand in the state
        write_json(run / "run.json", replace(there, config=config, extended=(*there.extended, more)).to_dict())
        told = f"{run} was finished after {more} epochs and goes on to {config.train.epochs}, whose schedule it follows"
        told += f": the learning rate was {before:.3g} in the last epoch and is {rate:.3g} in the next"
        warnings.warn(f"{told}; {config.train.epochs} epochs in one go end with other weights", stacklevel=3)
    elif _untouched(run):
        counts = {name: len(getattr(dataset, name)) for name in SPLITS}
        data = {"name": dataset.name, "root": str(dataset.root), "images": counts}
        data |= {"fingerprint": data_fingerprint(dataset.train), "opening": dataset.opening}
        info = RunInfo(config, labels_of(dataset.train.pids)[1], data, versions())
        write_json(run / "run.json", info.to_dict())


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors."""
    data = safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def save_epoch(run: Path, model: CASN, optimiser: torch.optim.Optimizer, row: dict[str, Any]) -> None:
    """Keep a finished epoch: the best weights if it is the best validation, its line in the log, and then the state.

    The line of the same epoch that an interrupted run left behind is replaced. Of older states the last one is kept; files
    of other names stay. Raises ValueError where the run's folder has gone meanwhile.
    """
    if not (run / "run.json").is_file():
        raise ValueError(f"{run / 'run.json'} has gone while training went on: start again, or choose another --out")
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
    save_tensors(_state(run, row["epoch"]), tensors)
    for epoch in range(max(1, row["epoch"] - 3), row["epoch"] - 1):  # two: a run may have been killed before the first
        _state(run, epoch).unlink(missing_ok=True)


def load_checkpoint(run: str | Path) -> tuple[dict[str, Tensor] | None, int]:
    """The newest readable state and its number of finished epochs, (None, 0) without any; others are warned of.

    A finished run whose states were removed is its last weights.
    """
    log = read_log(run)
    for file in _states(run):
        try:
            epoch = int(file.stem.removeprefix("epoch-"))
            if log and epoch > log[-1]["epoch"]:
                raise ValueError(f"{file} is no state of this run, whose log ends with epoch {log[-1]['epoch']}")
            tensors = read_tensors(file)
            if not _part(tensors, "momentum.") and read_run(run).config.train.momentum:
                raise ValueError(f"{file} has lost the optimiser's momentum: no run goes on from it as it was")
            return tensors, epoch
        except ValueError as error:
            warnings.warn(f"{error}; trying the state before it", stacklevel=2)
    if (file := Path(run) / WEIGHTS["last"]).is_file():
        return {f"model.{key}": value for key, value in read_tensors(file).items()}, read_run(run).config.train.epochs
    return None, 0


def restore(model: CASN, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put a state back into model and optimiser (SGD momentum)."""
    load_state(model, _part(tensors, "model."), "of the checkpoint")
    momentum = _part(tensors, "momentum.")
    for name, parameter in model.named_parameters():
        if name in momentum and momentum[name].shape != parameter.shape:
            raise ValueError(f"the momentum of {name} in the checkpoint has another shape: delete that checkpoint")
        if name in momentum:  # in the parameter's own memory format
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum[name])


def _state(run: str | Path, epoch: int) -> Path:
    return Path(run) / "checkpoints" / f"epoch-{epoch:06d}.safetensors"


def _states(run: str | Path) -> list[Path]:
    return sorted(Path(run).glob(f"checkpoints/epoch-{'[0-9]' * 6}.safetensors"), reverse=True)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
