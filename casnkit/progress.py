"""What a training shows while it runs: a bar for the steps, a line for each epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ._optional import require

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def bar(total: int, start: int, title: str, wanted: bool) -> Iterator[Callable[[Tensor | None], None]]:
    """A progress bar as a function that is called after every step, now and then with the mean loss so far."""
    if not wanted:
        yield lambda loss: None
        return
    tqdm = require("tqdm.auto", "showing progress").tqdm
    with tqdm(total=total, initial=start, desc=title, leave=False, unit="step") as shown:

        def advance(loss: Tensor | None) -> None:
            if loss is not None:
                shown.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            shown.update()

        yield advance


def say_epoch(epoch: int, _: Any, row: dict[str, Any]) -> None:
    """Print one epoch's loss terms, learning rate and speed."""
    terms = "  ".join(f"{k} {row[k]:.3f}" for k in ("total", "ide", "ia", "bce", "consistency") if k in row)
    print(
        f"epoch {epoch:3d}  {terms}  lr {row['learning_rate']:.4g}  {row['images_per_second']:.0f} images/s", flush=True
    )
