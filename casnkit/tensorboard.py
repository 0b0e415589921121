"""A run's log rows as TensorBoard scalars; for :func:`casnkit.training.train`'s ``on_epoch``."""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ._optional import require
from .models import CASN

_GROUPS = {
    **dict.fromkeys(("total", "ide", "ia", "bce", "consistency"), "loss"),
    **dict.fromkeys(("images_per_second", "memory_mib", "seconds"), "speed"),
}


class TensorBoardLog:
    """Writes every number of a log row under ``loss/``, ``validation/``, ``speed/`` or its plain name.

        with TensorBoardLog(out / "tensorboard") as log:
            train(dataset, config, out, on_epoch=log)

    Each epoch is flushed, so a killed run loses nothing. The file begins with the first epoch that is logged; in a
    resumed run, what an earlier one logged from that epoch on is hidden. A file that cannot be written is warned of
    once and ends the logging, never the training.

    Args:
        folder: for the event files; ``tensorboard --logdir FOLDER`` reads it.

    Raises:
        ImportError: the package tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        require("tensorboard", "writing TensorBoard logs")
        self.folder = Path(folder)
        self._writer: Any = None
        self._closed = False

    def __call__(self, epoch: int, model: CASN, row: Mapping[str, Any]) -> None:
        """Log one row; the model is not looked at."""
        if self._closed:
            return
        try:
            writer = self._open(epoch)
            for name, value in row.items():
                if name != "epoch" and isinstance(value, int | float) and not isinstance(value, bool):
                    writer.add_scalar(_tag(name), value, epoch)
            writer.flush()
        except OSError as error:
            self.close()
            with contextlib.suppress(UserWarning):  # where warnings are errors, training still goes on
                warnings.warn(f"no more TensorBoard logs in {self.folder}: {error}", UserWarning, stacklevel=2)

    def close(self) -> None:
        """End the file; later calls log nothing."""
        self._closed = True
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._finish()

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, epoch: int) -> Any:
        if self._writer is None:
            module = require("torch.utils.tensorboard", "writing TensorBoard logs")
            self._writer = module.SummaryWriter(str(self.folder), purge_step=epoch)
            self._finish = weakref.finalize(self, self._writer.close)  # also at the end of a notebook's kernel
        return self._writer


def _tag(name: str) -> str:
    if name.startswith("validation_"):
        return f"validation/{name.removeprefix('validation_')}"
    return f"{_GROUPS[name]}/{name}" if name in _GROUPS else name


__all__ = ["TensorBoardLog"]
