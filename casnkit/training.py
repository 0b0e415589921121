"""One readable training loop: pairs in, two forward-backward passes, SGD, a JSON line per epoch.

A run is a pure function of its configuration and data: pairs, augmentation and dropout of an epoch depend on (seed, epoch)
alone, so a run that was stopped goes on exactly where the last finished epoch ended.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import runs
from ._optional import require
from .config import Config, TrainConfig
from .data.augment import Augmentation, augment
from .data.loading import load_images
from .data.records import ReidDataset, labels_of
from .data.sampling import PairSampler
from .losses import CASNLoss
from .models import CASN

CHECK_EVERY = 20  # steps between two looks at the losses; each look makes a GPU wait


class DivergenceError(ValueError):
    """The loss became infinite or not a number; the state after the last good epoch is kept."""


def train(
    dataset: ReidDataset,
    config: Config,
    out: str | Path,
    *,
    device: str | torch.device | None = None,
    progress: bool = True,
    images: Tensor | None = None,
    on_epoch: Callable[[int, CASN, dict[str, float]], None] | None = None,
) -> CASN:
    """Train one network, or go on with the run in ``out``, and return it in eval mode.

    Args:
        dataset: its ``train`` split is used.
        config: every choice; saved in ``out/run.json``.
        out: the run's folder. An unfinished run of the same configuration is resumed; of another, refused.
        device: default: a GPU if there is one.
        images: (N, 3, H, W) uint8, the decoded training images, if the caller has them already.
        on_epoch: called with (finished epochs, model, log row) after each epoch.

    Raises:
        ValueError: the data cannot train this network, or ``out`` holds another run.
        DivergenceError: a loss is not finite.
    """
    out, device = Path(out), pick_device(device)
    labels, pid_of_label = labels_of(dataset.train.pids)
    describe_run(out, dataset, config, pid_of_label)
    sampler = pair_sampler(dataset, config)
    state, record = runs.load_checkpoint(out)
    with seeded(config.train.seed, 0):
        start = config if state is None else config.replace(weights=None)  # a checkpoint needs no ImageNet weights
        model = CASN.from_config(len(pid_of_label), start.model).to(device, memory_format=torch.channels_last)
    optimiser = make_optimiser(model, config.train)
    if state is not None:
        runs.restore(model, optimiser, state)
    if record["epoch"] < config.train.epochs and images is None:
        images = load_images(dataset.train, (config.data.height, config.data.width), progress=progress)
    loss = CASNLoss(config.loss)
    for epoch in range(record["epoch"], config.train.epochs):
        plan = sampler.epoch(epoch)
        row = train_epoch(model, optimiser, loss, images, torch.from_numpy(labels), plan, config, epoch, progress)
        runs.save_checkpoint(out, model, optimiser, epoch + 1)
        runs.append_log(out, row)
        if on_epoch:
            on_epoch(epoch + 1, model, row)
    runs.save_tensors(out / "model.safetensors", model.state_dict(), {"variant": config.variant})
    return model.eval()


def train_epoch(
    model: CASN,
    optimiser: torch.optim.Optimizer,
    loss: CASNLoss,
    images: Tensor,
    labels: Tensor,
    plan: np.ndarray,
    config: Config,
    epoch: int,
    progress: bool = True,
) -> dict[str, Any]:
    """One pass over the plan's pairs, (steps, P, 2) indices. Returns the epoch's log row.

    Raises:
        DivergenceError: a loss term is infinite or not a number.
    """
    device = next(model.parameters()).device
    augmentation = Augmentation(config.data.flip, config.data.padding, config.data.erase)
    sums: dict[str, Tensor] = {}
    started = time.perf_counter()
    model.train()
    with seeded(config.train.seed, epoch + 1), bar(plan, f"epoch {epoch + 1}/{config.train.epochs}", progress) as steps:
        generator = torch.Generator().manual_seed(torch.initial_seed())
        for step, pairs in enumerate(steps):
            set_learning_rate(optimiser, config.train, epoch + step / len(plan))
            index = torch.from_numpy(pairs.T.reshape(-1))  # first images, then their partners
            batch = augment(images[index].to(device), augmentation, generator)
            batch = batch.contiguous(memory_format=torch.channels_last)
            y = labels[index].to(device)
            share = (epoch + step / len(plan)) / config.train.epochs
            terms = loss(model, *batch.chunk(2), *y.chunk(2), progress=share)
            optimiser.zero_grad(set_to_none=True)
            terms["total"].backward()
            if config.train.clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), config.train.clip_norm)
            optimiser.step()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.detach()
            if step % CHECK_EVERY == 0 or step == len(plan) - 1:
                check_finite(sums, epoch, step)
                show(steps, sums["total"].item() / (step + 1))
    seconds = time.perf_counter() - started
    row = {"epoch": epoch + 1, **{name: value.item() / len(plan) for name, value in sums.items()}}
    row |= {"learning_rate": learning_rate(config.train, epoch), "seconds": round(seconds, 3)}
    return row | {
        "images_per_second": round(2 * plan.shape[0] * plan.shape[1] / seconds, 1),
        "memory_mib": peak_memory(device),
    }


def describe_run(out: Path, dataset: ReidDataset, config: Config, pid_of_label: np.ndarray) -> None:
    """Write ``run.json``, or make sure that the one there describes the same run."""
    counts = {split.name or key: len(split) for key, split in vars(dataset).items() if hasattr(split, "pids")}
    data = {"name": dataset.name, "root": str(dataset.root), "images": counts}
    if (out / "run.json").is_file():
        there = runs.read_run(out)
        if there.config != config or there.pid_of_label.tolist() != pid_of_label.tolist():
            raise ValueError(
                f"{out} holds another run ({there.config.profile}, {there.config.variant}, "
                f"{len(there.pid_of_label)} identities; {_first_difference(there.config, config)}): "
                "choose another --out, or remove that folder"
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and holds no run: choose a new folder for --out")
    info = runs.RunInfo(config, pid_of_label, data, runs.versions())
    from .files import write_json

    write_json(out / "run.json", info.to_dict())


def _first_difference(there: Config, here: Config) -> str:
    a, b = there.to_dict(), here.to_dict()
    for group, values in a.items():
        if values != b[group]:
            if not isinstance(values, dict):
                return f"{group} is {values!r} there, {b[group]!r} here"
            name = next(name for name in values if values[name] != b[group][name])
            return f"{group}.{name} is {values[name]!r} there, {b[group][name]!r} here"
    return "other identities"


def pair_sampler(dataset: ReidDataset, config: Config) -> PairSampler:
    """The run's source of pairs."""
    data, split = config.data, dataset.train
    return PairSampler(
        split.pids, split.camids, data.batch_size, data.positive_share, data.across_cameras, config.train.seed
    )


def make_optimiser(model: CASN, config: TrainConfig) -> torch.optim.SGD:
    """SGD with momentum; trunk and classifiers in two groups, each with its share of the learning rate."""
    trunk = list(model.trunk.parameters())
    inside = {id(p) for p in trunk}
    heads = [p for p in model.parameters() if id(p) not in inside]
    groups = [{"params": trunk, "share": config.trunk_rate}, {"params": heads, "share": 1.0}]
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay)


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """The classifiers' learning rate at a (fractional) epoch: linear warm-up, then divided at each milestone."""
    share = epoch / config.epochs
    rate = config.learning_rate * config.decay ** sum(share >= milestone for milestone in config.milestones)
    return rate * min(1.0, (share + 1e-3) / config.warmup) if config.warmup else rate


def set_learning_rate(optimiser: torch.optim.Optimizer, config: TrainConfig, epoch: float) -> None:
    """Give each parameter group its share of the learning rate."""
    rate = learning_rate(config, epoch)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]


def check_finite(sums: dict[str, Tensor], epoch: int, step: int) -> None:
    """Stop at the first look at which a loss is not finite."""
    wrong = [name for name, value in sums.items() if not math.isfinite(value.item())]
    if wrong:
        raise DivergenceError(
            f"the loss {', '.join(wrong)} is not finite in epoch {epoch + 1}, by step {step + 1}; the state after epoch "
            f"{epoch} is kept. Try a lower --learning-rate, --warmup 0.1 or --clip-norm 5, or ia_score=probability "
            "(the literal logit has no lower bound)"
        )


@contextlib.contextmanager
def seeded(seed: int, stream: int) -> Iterator[None]:
    """torch's random state set from (seed, stream) inside the block and put back after it."""
    number = int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(number)
        yield


@contextlib.contextmanager
def bar(items: Any, title: str, wanted: bool) -> Iterator[Any]:
    """The items behind a progress bar, or as they are."""
    if not wanted:
        yield items
        return
    with require("tqdm.auto", "showing progress").tqdm(items, desc=title, leave=False, unit="step") as shown:
        yield shown


def show(steps: Any, total: float) -> None:
    """Put the running loss beside the bar, where there is one."""
    if hasattr(steps, "set_postfix"):
        steps.set_postfix(loss=f"{total:.3f}", refresh=False)


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, else a GPU if there is one, else the CPU. Raises ValueError for a GPU that is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for, but torch sees no GPU here: use --device cpu")
    return device


def peak_memory(device: torch.device) -> float | None:
    """Peak memory in MiB: of the GPU's tensors, or of the whole process on a CPU; None where it is not known (Windows)."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
