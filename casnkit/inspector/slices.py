"""Long work in slices: a generator that stops to breathe, so that a screen can say how far it is, and be told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

Result = TypeVar("Result")
Steps = Generator[tuple[int, int], None, Result]  # yields (done, total), returns the result

SHORT, LONG = 0.25, 0.6  # seconds of work between two breaths: what a click on the screen waits for


class Pending(Exception):  # noqa: N818 - nothing went wrong: it is only not there yet
    """Something was asked for that takes long, where nobody should be kept waiting.

    Attributes:
        what: the work in words; the same words mean the same work.
        steps: does it, slice by slice.
        keep: takes the result: asked again, it is there.
        control: the control that asked for it, or None.
    """

    def __init__(self, what: str, steps: Steps[Any], keep: Callable[[Any], object]) -> None:
        super().__init__(what)
        self.what, self.steps, self.keep = what, steps, keep
        self.control: Any = None


def finish(steps: Steps[Result], progress: Callable[[int, int], object] = lambda done, total: None) -> Result:
    """Do all of it at once; ``progress(done, total)`` is called between the slices, and may raise to stop."""
    while True:
        try:
            done, total = next(steps)
        except StopIteration as end:
            return end.value
        progress(done, total)


class Portion:
    """How much to do before the next breath: ``size`` follows the time that the last portion took.

    It grows up to ``SHORT``, for a portion costs something whatever its size, and shrinks only above ``LONG``.

    Args:
        most: the largest size.
    """

    def __init__(self, most: int) -> None:
        self.size, self.most = 1, most
        self._began = time.perf_counter()

    def begin(self) -> None:
        """The next portion begins."""
        self._began = time.perf_counter()

    def end(self) -> None:
        """It is done: twice as much next time, or half of it, or the same."""
        took = time.perf_counter() - self._began
        if took < SHORT:
            self.size = min(2 * self.size, self.most)
        elif took > LONG:
            self.size = max(1, self.size // 2)
