"""One readable training loop: pairs in, two forward-backward passes, SGD, a JSON line per epoch.

A run is a pure function of its configuration and data. Pairs depend on (seed, epoch), augmentation and dropout on
(seed, epoch, step), and nothing on the number of processes. The state is kept after every epoch: the same call goes on
from the last finished epoch and ends with the same weights, to the bit on a CPU.
"""

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from casnkit import runs
from casnkit.config import Config, TrainConfig
from casnkit.data.images import augment, open_images
from casnkit.data.pairs import PairSampler
from casnkit.data.records import ReidDataset, labels_of
from casnkit.losses import CASNLoss
from casnkit.models import CASN, fork_random, seeded

CHECK_EVERY = 20  # steps between two looks at the losses; each look makes a GPU wait
TERMS = ("total", "ide", "ia", "bce", "consistency")


class DivergenceError(ValueError):
    """The loss or the weights became infinite or not a number; the last good state is kept."""


class TrainingStep(nn.Module):
    """One step as a module, network and losses together, so that a launcher can spread it over processes."""

    def __init__(self, model: CASN, loss: CASNLoss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, images: Tensor, labels: Tensor, progress: float, positives: float) -> dict[str, Tensor]:
        """Loss terms of a batch of pairs: all first images, then all second ones, (2P, 3, H, W) and (2P,)."""
        return self.loss(self.model, *images.chunk(2), *labels.chunk(2), progress=progress, positives=positives)


@dataclass
class Run:
    """Everything that one training holds in its hands."""

    config: Config
    accelerator: Accelerator
    model: CASN
    step: nn.Module
    optimiser: torch.optim.Optimizer
    scheduler: LambdaLR
    sampler: PairSampler
    labels: Tensor
    finished: int  # epochs
    more: int  # the epochs after which a finished run goes on, else 0
    images: Tensor | None = None  # all training images, wherever they live


def train(
    dataset: ReidDataset,
    config: Config,
    out: str | Path,
    *,
    device: str | torch.device | None = None,
    progress: bool = True,
    on_epoch: Callable[[int, CASN, dict[str, Any]], None] | None = None,
    validate: Callable[[CASN], dict[str, float]] | None = None,
    place: str = "auto",
) -> CASN:
    """Train one network, or go on with the run in ``out``, and return it in eval mode.

    Args:
        out: the run's folder. An unfinished run of the same configuration is resumed; another is a ValueError.
        on_epoch: called in the main process with (finished epochs, model, log row) after each epoch.
        validate: gives numbers for each epoch's log row; ``best.safetensors`` keeps the highest ``validation_mean_ap``.
        place: where the decoded images live, see :func:`casnkit.data.images.open_images`.
    """
    out, size = Path(out), (config.data.height, config.data.width)
    run = _prepare(dataset, config, out, device)
    accelerator, main = run.accelerator, run.accelerator.is_main_process
    if main and run.finished >= config.train.epochs:
        warnings.warn(f"{out} is already finished ({run.finished} epochs): nothing is trained", stacklevel=2)
    with runs.locked(out) if main else contextlib.nullcontext(), _explain_out_of_memory(config):
        if main:
            runs.describe(out, dataset, config, run.more, run.scheduler.get_last_lr()[1])
        if run.finished < config.train.epochs:
            run.images = open_images(dataset.train, size, accelerator.device, place, progress)
        for epoch in range(run.finished, config.train.epochs):
            row = train_epoch(run, epoch, progress) | (validate(run.model) if validate else {})
            check_finite(run.model.state_dict(), f"after epoch {epoch + 1}")
            if main:
                runs.save_epoch(out, run.model, run.optimiser, row)
                if on_epoch:
                    on_epoch(epoch + 1, run.model, row)
        if main:
            runs.save_tensors(out / "model.safetensors", run.model.state_dict(), {"variant": config.variant})
        accelerator.wait_for_everyone()
    return run.model.eval()


def _prepare(dataset: ReidDataset, config: Config, out: Path, device: Any) -> Run:
    """All that a training needs but its images, from the last finished epoch in ``out`` if there is one; writes nothing."""
    idle = DistributedDataParallelKwargs(find_unused_parameters=not config.loss.siamese_attention)
    options = {"gradient_accumulation_steps": config.train.accumulate, "kwargs_handlers": [idle]}
    accelerator = make_accelerator(device, **options)
    (labels, pid_of_label), size = labels_of(dataset.train.pids), config.data.batch_size
    parts = config.train.accumulate * accelerator.num_processes
    if size % parts:
        told = f"{accelerator.num_processes} processes with accumulate={config.train.accumulate} parts each"
        raise ValueError(f"a batch_size of {size} pairs cannot be shared evenly by {told}")
    runs.blueprint(config, len(pid_of_label), accelerator.device, images=2 * size // parts)
    sampler = pair_sampler(dataset, config)
    more = runs.check_folder(out, config, dataset)
    state, finished = runs.load_checkpoint(out)
    with seeded(config.train.seed, 0):
        start = config if state is None else config.replace(weights=None)  # a checkpoint needs no ImageNet weights
        model = CASN.from_config(len(pid_of_label), start.model)
    model.to(accelerator.device, memory_format=torch.channels_last)
    if config.train.sync_batchnorm and accelerator.num_processes > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.precision = {"float32": torch.float32, "bf16": torch.bfloat16}[config.train.precision]
    if config.train.compile:
        model.trunk.compile()
    optimiser = make_optimiser(model, config.train)
    if state is not None:
        runs.restore(model, optimiser, state)
    scheduler = make_scheduler(optimiser, config.train, len(sampler), finished)
    step = accelerator.prepare_model(TrainingStep(model, CASNLoss(config.loss)))
    targets = torch.from_numpy(labels).to(accelerator.device)
    accelerator.wait_for_everyone()  # all have looked at the folder before one of them writes
    return Run(config, accelerator, model, step, optimiser, scheduler, sampler, targets, finished, more)


def train_epoch(run: Run, epoch: int, progress: bool = False) -> dict[str, Any]:
    """One pass over the epoch's pairs. Returns the epoch's log row."""
    config, accelerator = run.config, run.accelerator
    plan = run.sampler.epoch(epoch)
    positives_first = np.argsort(~run.sampler.is_positive(plan), axis=1, kind="stable")
    plan = np.take_along_axis(plan, positives_first[..., None], axis=1)
    rate, sums, started = run.scheduler.get_last_lr()[1], {}, time.perf_counter()
    run.model.train()
    shown, title = progress and accelerator.is_main_process, f"epoch {epoch + 1}/{config.train.epochs}"
    with fork_random(), tqdm(plan, title, leave=False, disable=not shown, unit="step") as bar:
        for step, pairs in enumerate(bar):
            for name, value in train_step(run, pairs, epoch, step).items():
                sums[name] = sums.get(name, 0.0) + value
            if step % CHECK_EVERY == 0 or step == len(plan) - 1:
                check_finite(sums, f"in epoch {epoch + 1}, by step {step + 1}")
                bar.set_postfix(loss=f"{sums['total'].item() / (step + 1):.3f}", refresh=False)
    seconds = time.perf_counter() - started
    means = {name: accelerator.reduce(value, "mean").item() / len(plan) for name, value in sums.items()}
    images = 2 * len(plan) * config.data.batch_size
    cuda = accelerator.device.type == "cuda"
    memory = torch.cuda.max_memory_allocated(accelerator.device) if cuda else psutil.Process().memory_info().rss
    speed = {"seconds": round(seconds, 3), "images_per_second": round(images / seconds, 1)}
    return {"epoch": epoch + 1, **means, "learning_rate": rate, **speed, "memory_mib": round(memory / 2**20, 1)}


def train_step(run: Run, pairs: np.ndarray, epoch: int, step: int) -> dict[str, Tensor]:
    """One step of SGD: forward and backward for each part of the batch, then the update. Returns detached terms."""
    config, accelerator = run.config, run.accelerator
    share = (epoch + step / len(run.sampler)) / config.train.epochs
    parts = config.train.accumulate * accelerator.num_processes
    positives = int(run.sampler.is_positive(pairs).sum()) / parts
    seed = int(np.random.SeedSequence([config.train.seed, epoch + 1, step]).generate_state(1, np.uint64)[0]) >> 2
    terms: dict[str, Tensor] = {}
    run.optimiser.zero_grad()
    for part, rows in _parts(run, pairs):
        generator = torch.Generator().manual_seed(seed)  # the whole batch's draws, of which each part takes its rows
        index = torch.from_numpy(pairs.T.reshape(-1))[rows]
        images = run.images[index.to(run.images.device)].to(accelerator.device, non_blocking=True)
        images = augment(images, config.data, generator, rows=(rows, 2 * len(pairs)))
        labels = run.labels[index.to(run.labels.device)]
        torch.manual_seed(seed + part)  # dropout
        with accelerator.accumulate(run.step):
            found = run.step(images.contiguous(memory_format=torch.channels_last), labels, share, positives)
            scale = parts if config.loss.reduction == "sum" else 1
            accelerator.backward(scale * found["total"])  # divided by the number of parts, exchanged after the last one
        for name, value in found.items():
            terms[name] = terms.get(name, 0.0) + value.detach() / config.train.accumulate
    if config.train.clip_norm:
        accelerator.clip_grad_norm_(run.model.parameters(), config.train.clip_norm)
    run.optimiser.step()
    run.scheduler.step()
    return terms


def make_accelerator(device: str | torch.device | None = None, **options: Any) -> Accelerator:
    """accelerate's ``Accelerator`` for the processes of a launcher, which take one GPU each, or for this one alone."""
    alone, wanted = int(os.environ.get("WORLD_SIZE", "1")) == 1, runs.pick_device(device)
    if alone:  # accelerate keeps one state for a process; here every training may want another device, in threads too
        for state in (PartialState, AcceleratorState, GradientState):
            state._shared_state = {}
    # precision is the trunk's own matter, see CASN.precision
    accelerator = Accelerator(cpu=wanted.type == "cpu", mixed_precision="no", **options)
    if alone:
        accelerator.state.device = wanted
    return accelerator


def pair_sampler(dataset: ReidDataset, config: Config) -> PairSampler:
    """The sampler of the training pairs that ``config`` describes; what it has to say is warned of."""
    data = config.data
    how = data.batch_size, data.positive_share, data.across_cameras, config.train.seed, data.anchor_share
    sampler = PairSampler(dataset.train.pids, dataset.train.camids, *how)
    for note in sampler.notes:
        warnings.warn(note, stacklevel=3)
    return sampler


def make_optimiser(model: CASN, config: TrainConfig) -> torch.optim.SGD:
    """SGD with momentum (paper 4); trunk, ID classifier and pair classifier, each with its rate and decay."""
    decay = config.weight_decay if config.pair_weight_decay is None else config.pair_weight_decay
    groups = [
        {"params": model.trunk.parameters(), "lr": config.learning_rate * config.trunk_rate},
        {"params": model.identity_head.parameters(), "lr": config.learning_rate},
        {"params": model.pair_head.parameters(), "lr": config.learning_rate * config.pair_rate, "weight_decay": decay},
    ]
    return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)


def make_scheduler(optimiser: torch.optim.Optimizer, config: TrainConfig, steps: int, finished: int = 0) -> LambdaLR:
    """The rates of ``steps`` steps per epoch: linear warm-up, then divided at each milestone (paper 4)."""

    def factor(step: int) -> float:
        share = (finished * steps + step) / steps / config.epochs
        rise = min(1.0, (share + 1e-3) / config.warmup) if config.warmup else 1.0
        return rise * config.decay ** sum(share >= milestone for milestone in config.milestones)

    return LambdaLR(optimiser, factor)


def _parts(run: Run, pairs: np.ndarray) -> Iterator[tuple[int, Tensor]]:
    """The parts of a batch that this process computes: number, and rows of the 2P images (first ones, then second ones).

    Part p of n takes the pairs p, p + n, ...; with the positive pairs in front, all parts hold equally many of them.
    """
    world = run.accelerator.num_processes
    for part in range(run.accelerator.process_index, run.config.train.accumulate * world, world):
        mine = torch.arange(part, len(pairs), run.config.train.accumulate * world)
        yield part, torch.cat([mine, mine + len(pairs)])


def check_finite(tensors: Mapping[str, Tensor], when: str) -> None:
    """Raise DivergenceError, with a name and what to try, for losses or weights that are not finite."""
    if wrong := [name for name, value in tensors.items() if not value.isfinite().all()]:
        advice = "a lower --learning-rate, --warmup 0.1, --clip-norm 5 or ia_score=probability"
        raise DivergenceError(f"not finite {when}: {', '.join(wrong[:5])}; the last good state is kept. Try {advice}")


@contextlib.contextmanager
def _explain_out_of_memory(config: Config) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "not enough memory" not in str(error):
            raise
        what = f"{config.data.batch_size} pairs of {config.data.height}x{config.data.width} did not fit into memory"
        parts = f"--set accumulate={2 * config.train.accumulate} (the same training in smaller parts), precision=bf16"
        raise ValueError(f"{what}: try {parts}, a smaller --batch-size, or --images disk") from error


def say_epoch(epoch: int, _: Any, row: dict[str, Any]) -> None:
    """Print one epoch's loss terms, learning rate and speed; for the ``on_epoch`` of commands."""
    terms = "  ".join(f"{k} {row[k]:.3f}" for k in TERMS if k in row)
    rate, speed = f"lr {row['learning_rate']:.4g}", f"{row['images_per_second']:.0f} images/s"
    print(f"epoch {epoch:3d}  {terms}  {rate}  {speed}", flush=True)
