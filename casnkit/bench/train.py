"""``casnkit bench train``: what a training step costs, with each part of CASN on, as a ratio to the baseline's step.

The four variants take turns on the same batch in one process, so that a machine whose speed drifts slows all of them alike.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch

from ..config import VARIANTS, Config, profile
from ..evaluation import table
from ..files import write_json
from ..losses import CASNLoss
from ..models import CASN
from ..runs import versions
from ..schedule import make_optimiser


def run(device: str = "cpu", quick: bool = False, out: Path | None = None, steps: int = 0) -> dict[str, Any]:
    """Time every variant. ``quick`` uses the small trunk; else ResNet50 at the paper's sizes.

    Returns:
        settings, versions, and rows with the median seconds of a step and the median ratio to ``ide`` in the same round.
    """
    steps = steps or (30 if quick else 6)
    name, pairs, ids = ("quick", 16, 150) if quick else ("paper", 4, 751)
    rows = []
    for pooling in ("gap", "stripes"):
        config = profile(name, pooling=pooling, weights=None)
        rows += _rows(_time_variants(config, pairs, ids, torch.device(device), steps), config, pairs)
    result = {"bench": "train", "device": device, "threads": torch.get_num_threads(), "steps": steps, "pairs": pairs}
    result |= {"rows": rows, "versions": versions()}
    if out:
        write_json(out, result)
    return result


def to_text(result: dict[str, Any]) -> str:
    """The rows as a table."""
    head = f"{result['steps']} steps of {result['pairs']} pairs on {result['device']}, {result['threads']} threads"
    return f"{head}\n{table(result['rows'])}"


def _time_variants(config: Config, pairs: int, ids: int, device: torch.device, steps: int) -> dict[str, list[float]]:
    generator = torch.Generator().manual_seed(0)
    size = (2 * pairs, 3, config.data.height, config.data.width)
    images = torch.randn(size, generator=generator).to(device)
    labels = torch.randint(0, ids, (pairs,), generator=generator).to(device)
    partners = torch.where(torch.arange(pairs, device=device) % 2 == 0, labels, (labels + 1) % ids)
    model = CASN.from_config(ids, config.model).to(device).train()
    optimiser = make_optimiser(model, config.train)
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for round_ in range(steps + 2):  # two rounds warm up
        for variant in VARIANTS:
            loss = CASNLoss(config.replace(variant=variant).loss)
            _wait(device)
            started = time.perf_counter()
            optimiser.zero_grad(set_to_none=True)
            loss(model, *images.chunk(2), labels, partners)["total"].backward()
            optimiser.step()
            _wait(device)
            if round_ >= 2:
                times[variant].append(time.perf_counter() - started)
    return times


def _rows(times: dict[str, list[float]], config: Config, pairs: int) -> list[dict[str, Any]]:
    rows = []
    for variant, seconds in times.items():
        ratios = [mine / base for mine, base in zip(seconds, times["ide"], strict=True)]
        rows.append(
            {
                "network": f"{config.model.backbone} {config.model.pooling} {config.data.height}x{config.data.width}",
                "variant": variant,
                "ms per step": 1000 * statistics.median(seconds),
                "images/s": 2 * pairs / statistics.median(seconds),
                "ratio to ide": f"{statistics.median(ratios):.2f}",
            }
        )
    return rows


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
