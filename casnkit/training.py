"""One readable training loop: pairs in, two forward-backward passes, SGD, a JSON line per epoch.

A run is a pure function of its configuration and data. Pairs depend on (seed, epoch), augmentation and dropout on
(seed, epoch, step), and nothing on the number of processes. The state is kept after every epoch: a run that was stopped
goes on from its last finished epoch and ends with the same weights.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from casnkit import runs
from casnkit.config import Config, TrainConfig
from casnkit.data.images import Augmentation, ImageSource, augment, open_images
from casnkit.data.pairs import PairSampler
from casnkit.data.records import ReidDataset, labels_of
from casnkit.losses import CASNLoss
from casnkit.models import CASN, fork_random, map_size, seeded
from casnkit.runs import pick_device

try:
    import resource
except ImportError:  # Windows has no such module
    resource = None

CHECK_EVERY = 20  # steps between two looks at the losses; each look makes a GPU wait


class DivergenceError(ValueError):
    """The loss or the weights became infinite or not a number; the last good state is kept."""


class TrainingStep(nn.Module):
    """One step as a module, network and losses together, so that a launcher can spread it over processes."""

    def __init__(self, model: CASN, loss: CASNLoss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, images: Tensor, labels: Tensor, progress: float, positives: float) -> dict[str, Tensor]:
        """Loss terms of a batch of pairs: all first images, then all second ones, (2P, 3, H, W) and (2P,)."""
        first, second = images.chunk(2), labels.chunk(2)
        return self.loss(self.model, *first, *second, progress=progress, positives=positives)


@dataclass
class Run:
    """Everything that one training holds in its hands."""

    config: Config
    accelerator: Accelerator
    model: CASN
    step: nn.Module
    optimiser: torch.optim.Optimizer
    scheduler: LambdaLR
    source: ImageSource
    labels: Tensor
    sampler: PairSampler


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
    log_with: str | None = None,
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
        place, workers: where images live, see :func:`casnkit.data.images.open_images`.
        log_with: a tracker that accelerate knows; ``"tensorboard"`` writes into ``out/tensorboard``.
        on_epoch: called in the main process with (finished epochs, model, log row) after each epoch.
        validate: called after each epoch; its numbers go into the log, and the weights with the highest
            ``validation_mean_ap`` are kept as ``best.safetensors``.

    Raises:
        ValueError: the data cannot train this network, ``out`` holds another run, another process trains in it, or a
            batch does not fit into memory.
        DivergenceError: a loss or a weight is not finite; the last good state is kept.
        ImportError: the tracker's package is not installed.
    """
    out, idle = Path(out), not config.loss.siamese_attention
    accelerator = make_accelerator(device, config.train.accumulate, idle, log_with, out)
    labels, pid_of_label = labels_of(dataset.train.pids)
    sampler = pair_sampler(dataset, config)
    _check_parts(config, accelerator)
    runs.check_folder(out, config, pid_of_label)
    state, finished = runs.load_checkpoint(out)
    model = _make_model(config, len(pid_of_label), accelerator, new=state is None)
    optimiser = make_optimiser(model, config.train)
    if state is not None:
        runs.restore(model, optimiser, state)
    scheduler = make_scheduler(optimiser, config.train, len(sampler), finished)
    size = (config.data.height, config.data.width)
    map_size(model, *size)  # images too small for the network are refused before anything is written
    accelerator.wait_for_everyone()
    main = accelerator.is_main_process
    with runs.locked(out) if main else contextlib.nullcontext(), _explain_out_of_memory(config):
        if main:
            runs.describe(out, dataset, config, pid_of_label)
        if finished < config.train.epochs:
            source = open_images(dataset.train, size, accelerator.device, place, workers, progress, images)
            if progress:
                accelerator.print(source, flush=True)
            targets = torch.from_numpy(labels).to(accelerator.device)
            step = accelerator.prepare_model(TrainingStep(model, CASNLoss(config.loss)))
            run = Run(config, accelerator, model, step, optimiser, scheduler, source, targets, sampler)
            with _tracking(accelerator, finished) as track:
                for epoch in range(finished, config.train.epochs):
                    row = train_epoch(run, epoch, progress)
                    row |= validate(model) if validate else {}
                    check_weights(model)
                    if main:
                        runs.save_epoch(out, model, optimiser, row)
                        track(row)
                        if on_epoch:
                            on_epoch(epoch + 1, model, row)
        if main:
            runs.save_tensors(out / "model.safetensors", model.state_dict(), {"variant": config.variant})
        accelerator.wait_for_everyone()
    return model.eval()


def train_epoch(run: Run, epoch: int, progress: bool) -> dict[str, Any]:
    """One pass over the epoch's pairs. Returns the epoch's log row.

    Raises:
        DivergenceError: a loss term is infinite or not a number.
    """
    config, accelerator = run.config, run.accelerator
    plan = [_positives_first(pairs, run.sampler) for pairs in run.sampler.epoch(epoch)]
    feed = iter(run.source.batches([pairs.T.reshape(-1)[rows] for pairs in plan for _, rows in _parts(run, pairs)]))
    rate, sums, started = run.scheduler.get_last_lr()[1], {}, time.perf_counter()
    run.model.train()
    shown, title = progress and accelerator.is_main_process, f"epoch {epoch + 1}/{config.train.epochs}"
    with fork_random(), tqdm(plan, title, leave=False, disable=not shown, unit="step") as bar:
        for step, pairs in enumerate(bar):
            for name, value in train_step(run, pairs, feed, epoch, step).items():
                sums[name] = sums.get(name, 0.0) + value
            if step % CHECK_EVERY == 0 or step == len(plan) - 1:
                check_finite(sums, epoch, step)
                bar.set_postfix(loss=f"{sums['total'].item() / (step + 1):.3f}", refresh=False)
    seconds = time.perf_counter() - started
    row = {name: accelerator.reduce(value, "mean").item() / len(plan) for name, value in sums.items()}
    row = {"epoch": epoch + 1, **row, "learning_rate": rate, "seconds": round(seconds, 3)}
    row["images_per_second"] = round(2 * len(plan) * config.data.batch_size / seconds, 1)
    return row | {"memory_mib": peak_memory(accelerator.device)}


def train_step(run: Run, pairs: np.ndarray, feed: Iterator[Tensor], epoch: int, step: int) -> dict[str, Tensor]:
    """One step of SGD: forward and backward for each part of the batch, then the update. Returns detached terms."""
    config, accelerator = run.config, run.accelerator
    share = (epoch + step / len(run.sampler)) / config.train.epochs
    parts = config.train.accumulate * accelerator.num_processes
    positives = int(run.sampler.is_positive(pairs).sum()) / parts
    augmentation = Augmentation(config.data.flip, config.data.padding, config.data.erase)
    seed = _step_seed(config.train.seed, epoch, step)
    terms: dict[str, Tensor] = {}
    run.optimiser.zero_grad()
    for part, rows in _parts(run, pairs):
        generator = torch.Generator().manual_seed(seed)  # the whole batch's draws, of which each part takes its rows
        images = augment(next(feed), augmentation, generator, rows=(rows, 2 * len(pairs)))
        labels = run.labels[torch.from_numpy(pairs.T.reshape(-1))[rows].to(run.labels.device)]
        torch.manual_seed(seed + part)  # dropout
        with accelerator.accumulate(run.step):
            found = run.step(images.contiguous(memory_format=torch.channels_last), labels, share, positives)
            accelerator.backward(found["total"])  # divided by the number of parts, exchanged after the last one
        for name, value in found.items():
            terms[name] = terms.get(name, 0.0) + value.detach() / config.train.accumulate
    if config.train.clip_norm:
        accelerator.clip_grad_norm_(run.model.parameters(), config.train.clip_norm)
    run.optimiser.step()
    run.scheduler.step()
    return terms


# --- what a training is made of


def make_accelerator(
    device: str | torch.device | None = None,
    accumulate: int = 1,
    idle_parameters: bool = False,
    log_with: str | None = None,
    folder: Path | None = None,
) -> Accelerator:
    """Device, processes and trackers, for the processes of a launcher (``accelerate launch``, ``torchrun``) or this one.

    Args:
        device: cpu, cuda or cuda:1; default: a GPU if there is one. A launcher's processes take one GPU each.
        accumulate: parts of a batch between two updates.
        idle_parameters: some weights take no part in a step, as the pair classifier without Siamese attention.
        log_with, folder: a tracker's name and where it writes.

    Raises:
        ValueError: a device that is not there.
        ImportError: the tracker's package is not installed.
    """
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if alone:  # accelerate keeps one state for a process; here every training may want another device, in threads too
        wanted = pick_device(device)
        for state in (PartialState, AcceleratorState, GradientState):
            state._shared_state = {}
    cpu = wanted.type == "cpu" if alone else torch.device(device or "cuda").type == "cpu"
    accelerator = Accelerator(
        cpu=cpu or not torch.cuda.is_available(),
        mixed_precision="no",  # precision is the trunk's own matter, see CASN.precision
        gradient_accumulation_steps=accumulate,
        log_with=log_with,
        project_dir=folder,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=idle_parameters)],
    )
    if alone:
        accelerator.state.device = wanted
    if log_with and not accelerator.log_with:
        raise ImportError(f"{log_with} logs need the package {log_with!r}: pip install {log_with}")
    return accelerator


def pair_sampler(dataset: ReidDataset, config: Config) -> PairSampler:
    """The sampler of the training pairs that ``config`` describes; what it has to say is warned of."""
    data, split = config.data, dataset.train
    sampler = PairSampler(
        split.pids, split.camids, data.batch_size, data.positive_share, data.across_cameras, config.train.seed
    )
    for note in sampler.notes:
        warnings.warn(note, stacklevel=3)
    return sampler


def make_optimiser(model: CASN, config: TrainConfig) -> torch.optim.SGD:
    """SGD with momentum (paper 4.1); trunk, ID classifier and pair classifier, each with its rate and decay."""
    decay = config.weight_decay if config.pair_weight_decay is None else config.pair_weight_decay
    groups = [
        {"params": model.trunk.parameters(), "lr": config.learning_rate * config.trunk_rate},
        {"params": model.identity_head.parameters(), "lr": config.learning_rate},
        {"params": model.pair_head.parameters(), "lr": config.learning_rate * config.pair_rate, "weight_decay": decay},
    ]
    return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)


def make_scheduler(optimiser: torch.optim.Optimizer, config: TrainConfig, steps: int, finished: int = 0) -> LambdaLR:
    """The rates of ``steps`` steps per epoch: linear warm-up, then divided at each milestone (paper 4.1)."""

    def factor(step: int) -> float:
        share = (finished * steps + step) / steps / config.epochs
        rise = min(1.0, (share + 1e-3) / config.warmup) if config.warmup else 1.0
        return rise * config.decay ** sum(share >= milestone for milestone in config.milestones)

    return LambdaLR(optimiser, factor)


def _make_model(config: Config, num_ids: int, accelerator: Accelerator, new: bool) -> CASN:
    with seeded(config.train.seed, 0):
        start = config if new else config.replace(weights=None)  # a checkpoint needs no ImageNet weights
        model = CASN.from_config(num_ids, start.model).to(accelerator.device, memory_format=torch.channels_last)
    if config.train.sync_batchnorm and accelerator.num_processes > 1:
        if accelerator.device.type != "cuda":
            raise ValueError("sync_batchnorm needs GPUs: torch cannot synchronise BatchNorm on CPUs; leave it off here")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if config.train.precision == "bf16":
        model.precision = torch.bfloat16
    if config.train.compile:
        model.trunk.compile()
    return model


# --- parts of a batch: part p of n takes the pairs p, p + n, ... of a batch that has its positive pairs in front


def _check_parts(config: Config, accelerator: Accelerator) -> None:
    parts = config.train.accumulate * accelerator.num_processes
    if config.data.batch_size % parts:
        raise ValueError(
            f"a batch of {config.data.batch_size} pairs cannot be shared evenly by {accelerator.num_processes} processes "
            f"with {config.train.accumulate} parts each: choose a batch_size that is a multiple of {parts}"
        )


def _positives_first(pairs: np.ndarray, sampler: PairSampler) -> np.ndarray:
    return pairs[np.argsort(~sampler.is_positive(pairs), kind="stable")]


def _parts(run: Run, pairs: np.ndarray) -> Iterator[tuple[int, Tensor]]:
    """The parts that this process computes: number, and rows of a batch of 2P images (first ones, then second ones)."""
    world = run.accelerator.num_processes
    for part in range(run.accelerator.process_index, run.config.train.accumulate * world, world):
        mine = torch.arange(part, len(pairs), run.config.train.accumulate * world)
        yield part, torch.cat([mine, mine + len(pairs)])


def _step_seed(seed: int, epoch: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, epoch + 1, step]).generate_state(1, np.uint64)[0] >> np.uint64(2))


# --- what can go wrong, and what is said


def check_finite(sums: dict[str, Tensor], epoch: int, step: int) -> None:
    """Raise DivergenceError at the first look at which a loss is not finite, with its name and what to try."""
    wrong = [name for name, value in sums.items() if not math.isfinite(value.item())]
    if wrong:
        raise DivergenceError(
            f"the loss {', '.join(wrong)} is not finite in epoch {epoch + 1}, by step {step + 1}; the last good state is "
            "kept. Try a lower --learning-rate, --warmup 0.1 or --clip-norm 5, or ia_score=probability (the literal logit "
            "has no lower bound)"
        )


def check_weights(model: nn.Module) -> None:
    """Raise DivergenceError for weights that are not finite: a finite loss may still have an infinite gradient."""
    state = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    finite = torch.stack([value.isfinite().all() for value in state.values()]).tolist()
    wrong = [name for name, good in zip(state, finite, strict=True) if not good]
    if wrong:
        raise DivergenceError(
            f"{len(wrong)} of the network's tensors are not finite after an update (first: {wrong[0]}); the last good state "
            "is kept. Try a lower --learning-rate, --warmup 0.1 or --clip-norm 5"
        )


@contextlib.contextmanager
def _explain_out_of_memory(config: Config) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "not enough memory" in str(error)
        if not known:
            raise
        data, parts = config.data, config.train.accumulate
        raise ValueError(
            f"a batch of {data.batch_size} pairs of {data.height}x{data.width} did not fit into memory. The same training "
            f"in smaller parts: --set accumulate={2 * parts}; less memory: --set precision=bf16, a smaller --batch-size, "
            "smaller images (--set height=... width=...). Images elsewhere: --images memory or disk"
        ) from error


_GROUPS = {
    **dict.fromkeys(("total", "ide", "ia", "bce", "consistency"), "loss"),
    **dict.fromkeys(("images_per_second", "memory_mib", "seconds"), "speed"),
}


@contextlib.contextmanager
def _tracking(accelerator: Accelerator, finished: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Log rows for accelerate's tracker, from the first unfinished epoch on; an error of the disk ends only the log."""

    def track(row: dict[str, Any]) -> None:
        tagged = {name.replace("validation_", "validation/"): value for name, value in row.items() if value is not None}
        tagged = {f"{_GROUPS[name]}/{name}" if name in _GROUPS else name: value for name, value in tagged.items()}
        try:
            accelerator.log(tagged, step=tagged.pop("epoch"))
        except OSError as error:
            accelerator.trackers = []
            warnings.warn(f"no more logs by {accelerator.log_with[0]}: {error}", stacklevel=2)

    if accelerator.log_with:
        accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": {"purge_step": finished + 1}})
    try:
        yield track
    finally:
        for tracker in getattr(accelerator, "trackers", []):
            tracker.finish()


def say_epoch(epoch: int, _: Any, row: dict[str, Any]) -> None:
    """Print one epoch's loss terms, learning rate and speed; for the ``on_epoch`` of commands."""
    terms = "  ".join(f"{k} {row[k]:.3f}" for k in ("total", "ide", "ia", "bce", "consistency") if k in row)
    print(
        f"epoch {epoch:3d}  {terms}  lr {row['learning_rate']:.4g}  {row['images_per_second']:.0f} images/s", flush=True
    )


def peak_memory(device: torch.device) -> float | None:
    """Peak memory in MiB: of the GPU's tensors, or of the whole process on a CPU; None where it is not known (Windows)."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
