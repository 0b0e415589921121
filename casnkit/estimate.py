"""How long a training would take here: one measured step, times the steps that a configuration and its data make.

Two variants are timed, because CASN's step costs about twice the baseline's. Test time is that of the forward pass; what
attention for all pairs costs is measured by ``casnkit bench attention``.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from casnkit.models import seeded
from casnkit.training import make_optimiser

from .config import Config, profile
from .data.people import SIZES
from .losses import CASNLoss
from .models import CASN

PEOPLE_OF_PROFILE = {"smoke": "tiny", "quick": "quick", "paper": "market"}
_FEW = 2  # pairs of a probe on a processor where the batch would take many seconds


@dataclass(frozen=True)
class Estimate:
    """What one profile's training and test would take on one device.

    Attributes:
        profile: smoke, quick or paper, on the people of the size that belongs to it.
        variant: ide or casn.
        steps: of the whole training.
        step_seconds: measured, of one step.
        train_seconds: steps times that.
        test_seconds: measured forward pass, times the number of query and gallery images.
    """

    profile: str
    variant: str
    steps: int
    step_seconds: float
    train_seconds: float
    test_seconds: float


def estimate(device: torch.device, profiles: tuple[str, ...] = ("smoke", "quick", "paper")) -> list[Estimate]:
    """Time a step and a forward pass of ``ide`` and ``casn`` at each profile; some seconds in all."""
    rows = []
    for name in profiles:
        size = SIZES[PEOPLE_OF_PROFILE[name]]
        for variant in ("ide", "casn"):
            config = profile(name, variant=variant, weights=None)
            step, image = probe(config, size.train_ids, device)
            steps = count_steps(config, size.train_images)
            test = image * (size.queries + size.gallery + size.distractors + size.junk)
            rows.append(Estimate(name, variant, steps, step, steps * step, test))
    return rows


def count_steps(config: Config, train_images: int) -> int:
    """Steps of a whole training: in an epoch every training image is once the first of a pair."""
    return config.train.epochs * math.ceil(train_images / config.data.batch_size)


def probe(config: Config, num_ids: int, device: torch.device) -> tuple[float, float]:
    """Median seconds of a training step at the configuration's batch size, and of one image's forward pass.

    On a processor a batch of large images is timed with few pairs and scaled up. No state is left behind: weights are
    random, and torch's random state is put back.
    """
    large = config.data.height * config.data.width > 128 * 64
    pairs = min(_FEW, config.data.batch_size) if large and device.type == "cpu" else config.data.batch_size
    with seeded(0, 0):
        model = CASN.from_config(num_ids, config.model).to(device, memory_format=torch.channels_last)
        images = torch.randn(2 * pairs, 3, config.data.height, config.data.width).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(pairs, device=device) % num_ids
    partners = torch.where(labels % 2 == 0, labels, (labels + 1) % num_ids)
    optimiser, loss = make_optimiser(model, config.train), CASNLoss(config.loss)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss(model, *images.chunk(2), labels, partners)["total"].backward()
        optimiser.step()

    def forward() -> None:
        with torch.no_grad():
            model.pool(model.feature_map(images))

    rounds = 1 if large and device.type == "cpu" else 3
    step_seconds = _median_seconds(step, rounds, device) * config.data.batch_size / pairs
    model.eval()
    return step_seconds, _median_seconds(forward, rounds, device) / len(images)


def _median_seconds(task: Callable[[], None], rounds: int, device: torch.device) -> float:
    times = []
    for _ in range(rounds + 1):  # the first is for warming up
        started = time.perf_counter()
        task()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def spoken(seconds: float) -> str:
    """A duration with one unit: ``12 s``, ``4 min``, ``3.5 h``, ``2.1 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
