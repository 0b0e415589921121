"""Tensors on disk: weights, and the states of model and optimiser from which a training goes on.

Tensors are safetensors, the rest is JSON: nothing that is loaded can run code. Everything is written to a temporary name
and renamed, and ``last.json`` last of all, so an interrupted write costs the new state, never the old one.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from casnkit.data.files import atomic_path, read_json, write_json

from .models import CASN


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
    load_state(model, without_prefix(state, "model."), "the checkpoint")
    buffers = without_prefix(state, "momentum.")
    for name, parameter in _named_parameters(model, optimiser):
        if name in buffers:
            buffer = torch.empty_like(parameter).copy_(buffers[name])  # in the parameter's own memory format
            optimiser.state[parameter]["momentum_buffer"] = buffer


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


def without_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


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
