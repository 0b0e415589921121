"""One process or many: Hugging Face accelerate where a launcher started several, nothing at all where there is one.

The same code runs in both. A batch is drawn as a whole, from the seed alone; process ``rank`` takes its rows
``rank, rank + world, ...``, so the pairs and their augmentation do not depend on the number of processes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ._optional import require


@dataclass(frozen=True)
class Processes:
    """Who else computes.

    Attributes:
        rank, world: this process's number, and how many there are.
        device: what it computes on.
        accelerator: accelerate's object; None for a single process.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    accelerator: Any = None

    @property
    def is_main(self) -> bool:
        """True in the process that prints and writes."""
        return self.rank == 0

    def prepare(self, step: nn.Module) -> nn.Module:
        """The module whose forward is one training step, wrapped so that gradients are averaged over processes."""
        return step if self.accelerator is None else self.accelerator.prepare_model(step)

    @contextlib.contextmanager
    def local_gradients(self, step: nn.Module, local: bool) -> Iterator[None]:
        """Inside, gradients are not exchanged yet (accumulation) where ``local`` is true."""
        if local and self.accelerator is not None:
            with self.accelerator.no_sync(step):
                yield
        else:
            yield

    def mean(self, values: Tensor) -> Tensor:
        """Mean over processes."""
        return values if self.accelerator is None else self.accelerator.reduce(values, "mean")

    def any(self, flag: bool) -> bool:
        """True in every process if it is in one."""
        if self.accelerator is None:
            return flag
        return bool(self.accelerator.reduce(torch.tensor([float(flag)], device=self.device), "sum").item())

    def gather_rows(self, mine: Tensor, total: int) -> Tensor:
        """Put together rows ``rank::world`` of a tensor of ``total`` rows from all processes, in order."""
        if self.accelerator is None:
            return mine
        longest = -(-total // self.world)
        padded = torch.cat([mine, mine.new_zeros(longest - len(mine), *mine.shape[1:])])
        every = self.accelerator.gather(padded.to(self.device).contiguous()).unflatten(0, (self.world, longest))
        return every.transpose(0, 1).flatten(0, 1)[:total].to(mine.device)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


def find_processes(device: str | torch.device | None = None, idle_parameters: bool = False) -> Processes:
    """The processes that a launcher started (``accelerate launch``, ``torchrun``, ``notebook_launcher``), or this one.

    Args:
        device: cpu or cuda; default: a GPU if there is one.
        idle_parameters: some weights take no part in a step, as the pair classifier without Siamese attention.

    Raises:
        ImportError: several processes were started and accelerate is not installed.
        ValueError: a device that is not there.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(device=pick_device(device))
    accelerate = require("accelerate", "training in several processes", "scale")
    cpu = device is not None and torch.device(device).type == "cpu"
    accelerator = accelerate.Accelerator(
        cpu=cpu or not torch.cuda.is_available(),
        mixed_precision="no",  # precision is the trunk's own matter, see CASN.precision
        kwargs_handlers=[accelerate.DistributedDataParallelKwargs(find_unused_parameters=idle_parameters)],
    )
    return Processes(accelerator.process_index, accelerator.num_processes, accelerator.device, accelerator)


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, else a GPU if there is one, else the CPU. Raises ValueError for one that is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"expected a device such as cpu, cuda or cuda:1, got {device!r}") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(
            f"device {str(device)!r} was asked for, but torch sees {count or 'no'} GPU here: use --device cpu"
        )
    return device
