"""Optimiser and learning rate: SGD with momentum, divided by ten at the milestones (paper 4.1)."""

from __future__ import annotations

from typing import Any

import torch

from .config import TrainConfig
from .models import CASN


def make_optimiser(model: CASN, config: TrainConfig) -> torch.optim.SGD:
    """SGD with momentum, fused; trunk and classifiers in groups, each with its share of the learning rate."""
    trunk = list(model.trunk.parameters())
    inside = {id(p) for p in trunk}
    heads, pair = [p for p in model.parameters() if id(p) not in inside], list(model.pair_head.parameters())
    groups: list[dict[str, Any]] = [{"params": trunk, "share": config.trunk_rate}, {"params": heads, "share": 1.0}]
    if (config.pair_rate, config.pair_weight_decay) != (1.0, None):
        inside = {id(p) for p in pair}
        groups[1]["params"] = [p for p in heads if id(p) not in inside]
        decay = config.weight_decay if config.pair_weight_decay is None else config.pair_weight_decay
        groups.append({"params": pair, "share": config.pair_rate, "weight_decay": decay})
    options = {"momentum": config.momentum, "weight_decay": config.weight_decay}
    optimiser = torch.optim.SGD(groups, lr=config.learning_rate, fused=True, **options)
    for group in optimiser.param_groups if config.momentum else ():
        for parameter in group["params"]:  # the fused step cannot begin some buffers later than others
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


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
