"""One readable training loop: pairs in, two forward-backward passes, SGD, a JSON line per epoch.

A run is a pure function of its configuration and data. Pairs depend on (seed, epoch), augmentation and dropout on
(seed, epoch, step), and nothing on the number of processes; so a run that was stopped at any step goes on exactly there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from casnkit.data.images import Augmentation, ImageSource, augment, open_images
from casnkit.data.pairs import PairSampler

from . import checkpoints, runs
from .batches import check_parts, image_parts, pair_sampler, part_rows, positives_first
from .config import Config
from .data.records import ReidDataset, labels_of
from .guards import DivergenceError, Interruption, check_finite, check_weights, explain_out_of_memory, peak_memory
from .losses import CASNLoss
from .models import CASN, map_size
from .processes import Processes, find_processes, pick_device
from .progress import bar
from .randomness import fork_random, seeded, step_seed
from .schedule import learning_rate, make_optimiser, set_learning_rate

CHECK_EVERY = 20  # steps between two looks at the losses; each look makes a GPU wait

__all__ = ["DivergenceError", "TrainingStep", "pick_device", "train"]


class TrainingStep(nn.Module):
    """One step as a module, network and losses together, so that a launcher can spread it over processes."""

    def __init__(self, model: CASN, loss: CASNLoss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, images: Tensor, labels: Tensor, progress: float, positives: float | None) -> dict[str, Tensor]:
        """Loss terms of a batch of pairs: all first images, then all second ones, (2P, 3, H, W) and (2P,)."""
        first, second = images.chunk(2), labels.chunk(2)
        return self.loss(self.model, *first, *second, progress=progress, positives=positives)


@dataclass
class Run:
    """Everything that one training holds in its hands."""

    folder: Path
    config: Config
    processes: Processes
    model: CASN
    step: nn.Module
    optimiser: torch.optim.Optimizer
    source: ImageSource
    labels: Tensor
    sampler: PairSampler
    progress: bool
    checkpoint_minutes: float
    saved: float = field(default_factory=time.monotonic)

    def save(self, epoch: int, step: int = 0, sums: dict[str, float] | None = None, seconds: float = 0.0) -> None:
        """Write the state after ``step`` steps of epoch ``epoch`` (counted from 0), in the main process.

        Raises:
            DivergenceError: the last update left weights that are not finite, though its loss was; nothing is written.
        """
        check_weights(self.model)
        if self.processes.is_main:
            checkpoints.save_checkpoint(self.folder, self.model, self.optimiser, epoch, step, sums or {}, seconds)
        self.saved = time.monotonic()

    @property
    def is_due(self) -> bool:
        """True where the last state was written longer ago than the interval between two."""
        return time.monotonic() - self.saved > 60 * self.checkpoint_minutes


def train(
    dataset: ReidDataset,
    config: Config,
    out: str | Path,
    *,
    device: str | torch.device | None = None,
    progress: bool = True,
    images: Tensor | None = None,
    place: str = "auto",
    workers: int | None = None,
    checkpoint_minutes: float = 10.0,
    on_epoch: Callable[[int, CASN, dict[str, Any]], None] | None = None,
    validate: Callable[[CASN], dict[str, float]] | None = None,
) -> CASN:
    """Train one network, or go on with the run in ``out``, and return it in eval mode.

    Args:
        dataset: its ``train`` split is used.
        config: every choice; saved in ``out/run.json``.
        out: the run's folder. An unfinished run of the same configuration is resumed; of another, refused.
        device: default: a GPU if there is one, or what the launcher gives each process.
        images: (N, 3, H, W) uint8, the decoded training images, if the caller has them already.
        place, workers: where images live, see :func:`casnkit.data.feeding.open_images`.
        checkpoint_minutes: the state is saved after each epoch, and within it after so many minutes.
        on_epoch: called in the main process with (finished epochs, model, log row) after each epoch.
        validate: called after each epoch; its numbers go into the log, and the weights with the highest
            ``validation_mean_ap`` are kept as ``best.safetensors``.

    Raises:
        ValueError: the data cannot train this network, ``out`` holds another run, or another process trains in it.
        DivergenceError: a loss is not finite; the last good state is kept.
        KeyboardInterrupt: Ctrl-C; the step was finished and the state saved.
    """
    out, processes = Path(out), find_processes(device, idle_parameters=not config.loss.siamese_attention)
    labels, pid_of_label = labels_of(dataset.train.pids)
    sampler = pair_sampler(dataset, config)
    check_parts(config, processes)
    runs.check_folder(out, config, pid_of_label)
    state, record = checkpoints.load_checkpoint(out)
    model, optimiser = _build(config, len(pid_of_label), processes, state)
    source = None
    if record["epoch"] < config.train.epochs:
        size = (config.data.height, config.data.width)
        map_size(model, *size)  # images too small for the network are refused before anything is written
        source = open_images(dataset.train, size, processes.device, place, workers, progress, images)
    processes.wait()
    with runs.locked(out) if processes.is_main else contextlib.nullcontext():
        if processes.is_main:
            runs.describe(out, dataset, config, pid_of_label)
        if source is not None:
            if progress and processes.is_main:
                print(source, flush=True)
            step = processes.prepare(TrainingStep(model, CASNLoss(config.loss)))
            targets = torch.from_numpy(labels).to(processes.device)
            run = Run(
                out, config, processes, model, step, optimiser, source, targets, sampler, progress, checkpoint_minutes
            )
            with Interruption() as interruption, explain_out_of_memory(config):
                _run_epochs(run, record, interruption, on_epoch, validate)
        if processes.is_main:
            checkpoints.save_tensors(out / "model.safetensors", model.state_dict(), {"variant": config.variant})
        processes.wait()
    return model.eval()


def _run_epochs(
    run: Run,
    record: dict[str, Any],
    interruption: Interruption,
    on_epoch: Callable[[int, CASN, dict[str, Any]], None] | None,
    validate: Callable[[CASN], dict[str, float]] | None,
) -> None:
    for epoch in range(record["epoch"], run.config.train.epochs):
        row = train_epoch(run, epoch, record if epoch == record["epoch"] else {}, interruption)
        if validate:
            row |= validate(run.model)
        if run.processes.is_main:
            if validate:
                runs.keep_best(run.folder, run.model, row)
            runs.append_log(run.folder, row)  # before the state: a state never stands there without its line
        run.save(epoch + 1)
        if on_epoch and run.processes.is_main:
            on_epoch(epoch + 1, run.model, row)


def train_epoch(run: Run, epoch: int, record: dict[str, Any], interruption: Interruption) -> dict[str, Any]:
    """One pass over the epoch's pairs, from the step at which ``record`` stopped. Returns the epoch's log row.

    Raises:
        DivergenceError: a loss term is infinite or not a number.
        KeyboardInterrupt: the step at hand was finished and the state saved.
    """
    config, processes = run.config, run.processes
    plan = [positives_first(pairs, run.sampler) for pairs in run.sampler.epoch(epoch)]
    start, before = record.get("step", 0), record.get("seconds", 0.0)
    sums = {name: torch.tensor(value, device=processes.device) for name, value in record.get("sums", {}).items()}
    started = time.perf_counter()
    run.model.train()
    shown = run.progress and processes.is_main
    with fork_random(), bar(len(plan), start, f"epoch {epoch + 1}/{config.train.epochs}", shown) as advance:
        feed = iter(run.source.batches(image_parts(plan[start:], processes, config.train.accumulate)))
        for step in range(start, len(plan)):
            terms = train_step(run, plan, epoch, step, feed)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            last = step == len(plan) - 1
            looks = step % CHECK_EVERY == 0 or last
            if looks:
                check_finite(sums, epoch, step)
            advance(sums["total"] / (step + 1) if looks else None)
            stopped = (
                interruption.requested if processes.world == 1 else looks and processes.any(interruption.requested)
            )
            if stopped or (run.is_due and not last):  # the end of an epoch has a state of its own
                check_finite(sums, epoch, step)
                seconds = before + time.perf_counter() - started
                run.save(epoch, step + 1, {name: value.item() for name, value in sums.items()}, seconds)
            if stopped:
                raise KeyboardInterrupt
    seconds = before + time.perf_counter() - started
    means = {name: processes.mean(value).item() / len(plan) for name, value in sums.items()}
    images = 2 * len(plan) * config.data.batch_size
    row = {"epoch": epoch + 1, **means, "learning_rate": learning_rate(config.train, epoch)}
    row |= {"seconds": round(seconds, 3), "images_per_second": round(images / seconds, 1)}
    return row | {"memory_mib": peak_memory(processes.device)}


def train_step(run: Run, plan: list[np.ndarray], epoch: int, step: int, feed: Iterator[Tensor]) -> dict[str, Tensor]:
    """One step of SGD: forward and backward for each part of the batch, then the update. Returns detached terms."""
    config, train_config, processes = run.config, run.config.train, run.processes
    pairs, parts = plan[step], train_config.accumulate
    set_learning_rate(run.optimiser, train_config, epoch + step / len(plan))
    share = (epoch + step / len(plan)) / train_config.epochs
    positives = int(run.sampler.is_positive(pairs).sum()) / (parts * processes.world)
    augmentation = Augmentation(config.data.flip, config.data.padding, config.data.erase)
    seed = step_seed(train_config.seed, epoch, step)
    terms: dict[str, Tensor] = {}
    run.optimiser.zero_grad(set_to_none=True)
    for part in range(parts):
        rows = part_rows(len(pairs), part * processes.world + processes.rank, parts * processes.world)
        generator = torch.Generator().manual_seed(seed)  # the whole batch's draws, of which each part takes its rows
        images = augment(next(feed), augmentation, generator, rows=(rows, 2 * len(pairs)))
        labels = run.labels[torch.from_numpy(pairs.T.reshape(-1))[rows].to(run.labels.device)]
        torch.manual_seed(seed + part * processes.world + processes.rank)  # dropout
        with processes.local_gradients(run.step, part < parts - 1):
            images = images.contiguous(memory_format=torch.channels_last)
            part_terms = run.step(images, labels, share, positives)
            (part_terms["total"] / parts).backward()
        for name, value in part_terms.items():
            terms[name] = terms.get(name, 0.0) + value.detach() / parts
    if train_config.clip_norm:
        nn.utils.clip_grad_norm_(run.model.parameters(), train_config.clip_norm)
    run.optimiser.step()
    return terms


def _build(
    config: Config, num_ids: int, processes: Processes, state: dict[str, Tensor] | None
) -> tuple[CASN, torch.optim.Optimizer]:
    with seeded(config.train.seed, 0):
        start = config if state is None else config.replace(weights=None)  # a checkpoint needs no ImageNet weights
        model = CASN.from_config(num_ids, start.model).to(processes.device, memory_format=torch.channels_last)
    if config.train.sync_batchnorm and processes.world > 1:
        if processes.device.type != "cuda":
            raise ValueError(
                "sync_batchnorm needs GPUs: torch has no synchronised BatchNorm for CPUs; leave it off here"
            )
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if config.train.precision == "bf16":
        model.precision = torch.bfloat16
    if config.train.compile:
        model.trunk.compile()
    optimiser = make_optimiser(model, config.train)
    if state is not None:
        checkpoints.restore(model, optimiser, state)
    return model, optimiser


# facade: to be replaced
_FACADE = {
    "Processes": "casnkit.processes",
    "make_optimiser": "casnkit.schedule",
    "find_processes": "casnkit.processes",
    "TensorBoardLog": "casnkit.tensorboard",
    "say_epoch": "casnkit.progress",
    "DivergenceError": "casnkit.guards",
    "peak_memory": "casnkit.guards",
    "pair_sampler": "casnkit.batches",
    "learning_rate": "casnkit.schedule",
}
_FACADE_MODULES = ["casnkit.batches", "casnkit.guards", "casnkit.schedule"]


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
