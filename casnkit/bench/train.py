"""``casnkit bench train``: what a training step costs with each part of CASN on, as a ratio to the baseline's step.

The four variants take turns on the same batch in one process, so that a machine whose speed drifts slows all of them
alike. A last row sets the whole of a CASN step with its input (indexing, augmentation) beside the same step on random
tensors that lie on the device already.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from casnkit.data.files import write_json
from casnkit.data.images import Augmentation, augment
from casnkit.training import make_optimiser, peak_memory

from ..config import VARIANTS, Config, profile
from ..evaluation import table
from ..losses import CASNLoss
from ..models import CASN
from ..runs import versions

WARM_UP = 2  # rounds


def run(device: str = "cpu", quick: bool = False, out: Path | None = None, steps: int = 0) -> dict[str, Any]:
    """Time every variant. ``quick`` uses the small trunk at 128x64; else ResNet50 at the paper's sizes.

    Returns:
        settings, versions, peak memory, and rows with the median seconds of a step and the median ratio to ``ide`` in the
        same round.
    """
    place = torch.device(device)
    name, pairs, ids = ("quick", 16, 150) if quick else ("paper", 16 if place.type == "cuda" else 4, 751)
    steps = steps or (20 if quick or place.type == "cuda" else 5)
    rows = []
    for precision in ("float32", "bf16"):
        for pooling in ("gap", "stripes"):
            config = profile(name, pooling=pooling, weights=None, precision=precision)
            rows += _variant_rows(config, pairs, ids, place, steps)
    result = {"bench": "train", "device": device, "threads": torch.get_num_threads(), "steps": steps, "pairs": pairs}
    result |= {"rows": rows, "peak_memory_mib": peak_memory(place), "versions": versions()}
    if out:
        write_json(out, result)
    return result


def to_text(result: dict[str, Any]) -> str:
    """The rows as a table."""
    head = f"{result['steps']} steps of {result['pairs']} pairs on {result['device']}, {result['threads']} threads"
    return f"{head}; peak memory {result['peak_memory_mib']} MiB\n{table(result['rows'])}"


def _variant_rows(config: Config, pairs: int, ids: int, device: torch.device, steps: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    size = (8 * pairs, 3, config.data.height, config.data.width)
    stored = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8).to(device)
    labels = torch.randint(0, ids, (pairs,), generator=generator).to(device)
    partners = torch.where(torch.arange(pairs, device=device) % 2 == 0, labels, (labels + 1) % ids)
    model = CASN.from_config(ids, config.model).to(device, memory_format=torch.channels_last).train()
    model.precision = torch.bfloat16 if config.train.precision == "bf16" else torch.float32
    optimiser = make_optimiser(model, config.train)
    ready = torch.randn(2 * pairs, *size[1:], generator=generator).to(device, memory_format=torch.channels_last)

    def step(variant: str, images: Callable[[], Tensor]) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss = CASNLoss(config.replace(variant=variant).loss)
        loss(model, *images().chunk(2), labels, partners)["total"].backward()
        optimiser.step()

    def from_store() -> Tensor:
        index = torch.from_numpy(np.random.default_rng(0).integers(0, len(stored), 2 * pairs)).to(device)
        batch = augment(stored[index], Augmentation(config.data.flip, config.data.padding), generator)
        return batch.contiguous(memory_format=torch.channels_last)

    tasks = {variant: (lambda v=variant: step(v, lambda: ready)) for variant in VARIANTS}
    tasks["casn with its input"] = lambda: step("casn", from_store)
    times = _take_turns(tasks, steps, device)
    return [_row(name, seconds, times["ide"], config, pairs) for name, seconds in times.items()]


def _take_turns(tasks: dict[str, Callable[[], None]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for round_ in range(rounds + WARM_UP):
        for name, task in tasks.items():
            _wait(device)
            started = time.perf_counter()
            task()
            _wait(device)
            if round_ >= WARM_UP:
                times[name].append(time.perf_counter() - started)
    return times


def _row(name: str, seconds: list[float], base: list[float], config: Config, pairs: int) -> dict[str, Any]:
    ratios = [mine / other for mine, other in zip(seconds, base, strict=True)]
    return {
        "network": f"{config.model.backbone} {config.model.pooling} {config.data.height}x{config.data.width}",
        "precision": config.train.precision,
        "step": name,
        "ms per step": 1000 * statistics.median(seconds),
        "images/s": 2 * pairs / statistics.median(seconds),
        "ratio to ide": f"{statistics.median(ratios):.2f}",
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
