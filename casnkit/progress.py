"""The training's progress bar."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import Tensor

from ._optional import require


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
