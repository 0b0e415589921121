"""What can go wrong in a long training, and how it ends well: a loss that explodes, Ctrl-C, memory that runs out."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from .config import Config


class DivergenceError(ValueError):
    """The loss became infinite or not a number; the last good state is kept."""


class OutOfMemoryError(ValueError):
    """The batch did not fit into memory."""


def check_finite(sums: dict[str, Tensor], epoch: int, step: int) -> None:
    """Stop at the first look at which a loss is not finite.

    Raises:
        DivergenceError: the message names the term, the step, and what to try.
    """
    wrong = [name for name, value in sums.items() if not math.isfinite(value.item())]
    if wrong:
        raise DivergenceError(
            f"the loss {', '.join(wrong)} is not finite in epoch {epoch + 1}, by step {step + 1}; the last good state is "
            "kept. Try a lower --learning-rate, --warmup 0.1 or --clip-norm 5, or ia_score=probability (the literal logit "
            "has no lower bound)"
        )


def check_weights(model: nn.Module) -> None:
    """Refuse to keep weights or running statistics that are not finite: a finite loss may still have an infinite gradient.

    Raises:
        DivergenceError: the message names the first tensor that is wrong.
    """
    state = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    finite = torch.stack([value.isfinite().all() for value in state.values()]).tolist()
    wrong = [name for name, good in zip(state, finite, strict=True) if not good]
    if wrong:
        raise DivergenceError(
            f"{len(wrong)} of the network's tensors are not finite after an update (first: {wrong[0]}); the last good state "
            "is kept. Try a lower --learning-rate, --warmup 0.1 or --clip-norm 5"
        )


class Interruption:
    """Inside the block the first Ctrl-C is only noted, so that a step can end and be saved; the second one interrupts."""

    def __init__(self) -> None:
        self.requested = False
        self._before: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, _: int, __: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def explain_out_of_memory(config: Config) -> Iterator[None]:
    """Turn an allocation that failed into an error that names the knobs.

    Raises:
        OutOfMemoryError: there was not enough memory on the GPU or the CPU.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "not enough memory" in str(error)
        if not known:
            raise
        data, parts = config.data, config.train.accumulate
        raise OutOfMemoryError(
            f"a batch of {data.batch_size} pairs of {data.height}x{data.width} did not fit into memory. The same training "
            f"in smaller parts: --set accumulate={2 * parts}; less memory: --set precision=bf16, a smaller --batch-size, "
            "smaller images (--set height=... width=...). Images elsewhere: --images memory or disk"
        ) from error


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
