"""Random numbers that belong to a place in the training, and torch's own state left as it was found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch


def step_seed(seed: int, epoch: int, step: int) -> int:
    """A number that depends on all three."""
    return int(np.random.SeedSequence([seed, epoch + 1, step]).generate_state(1, np.uint64)[0] >> np.uint64(2))


@contextlib.contextmanager
def fork_random() -> Iterator[None]:
    """torch's random state is put back after the block, on the CPU and on every GPU."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextlib.contextmanager
def seeded(seed: int, stream: int) -> Iterator[None]:
    """torch's random state set from (seed, stream) inside the block and put back after it."""
    with fork_random():
        torch.manual_seed(int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1)))
        yield
