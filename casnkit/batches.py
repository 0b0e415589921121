"""Batches of pairs: how they are drawn, and how one is divided into parts, for processes and for accumulation.

Part ``p`` of ``n`` takes the pairs ``p, p + n, ...`` of a batch that has its positive pairs in front.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from casnkit.data.pairs import PairSampler

from .config import Config
from .data.records import ReidDataset
from .processes import Processes


def pair_sampler(dataset: ReidDataset, config: Config) -> PairSampler:
    """The sampler of the training pairs that ``config`` describes; what it has to say is warned of."""
    data, split = config.data, dataset.train
    sampler = PairSampler(
        split.pids, split.camids, data.batch_size, data.positive_share, data.across_cameras, config.train.seed
    )
    for note in sampler.notes:
        warnings.warn(note, stacklevel=3)
    return sampler


def check_parts(config: Config, processes: Processes) -> None:
    """Make sure that all parts of a batch are of one size. Raises ValueError where they cannot be."""
    parts = config.train.accumulate * processes.world
    if config.data.batch_size % parts:
        raise ValueError(
            f"a batch of {config.data.batch_size} pairs cannot be shared evenly by {processes.world} processes with "
            f"{config.train.accumulate} parts each: choose a batch_size that is a multiple of {parts}"
        )


def positives_first(pairs: np.ndarray, sampler: PairSampler) -> np.ndarray:
    """(P, 2) with positive pairs in front, so that strided parts hold equally many of them."""
    return pairs[np.argsort(~sampler.is_positive(pairs), kind="stable")]


def part_rows(pairs: int, part: int, parts: int) -> Tensor:
    """Rows of a batch of 2P images (first ones, then second ones) that belong to part ``part``."""
    mine = torch.arange(part, pairs, parts)
    return torch.cat([mine, mine + pairs])


def image_parts(plan: list[np.ndarray], processes: Processes, accumulate: int) -> list[np.ndarray]:
    """The image indices of every part of every step that this process computes, in order."""
    parts = accumulate * processes.world
    mine = [part * processes.world + processes.rank for part in range(accumulate)]
    return [pairs.T.reshape(-1)[part_rows(len(pairs), part, parts).numpy()] for pairs in plan for part in mine]
