"""Long work on the event loop: a slice, a breath in which the kernel hears the page, the next slice; and a way to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..slices import Pending
from .binding import forget, widgets

PAUSE = 0.01  # seconds between two slices: a kernel takes its messages one at a time


class Work:
    """At most one long work at a time, and the button that stops it.

    Args:
        panel: says what is being done; its lock is held while a slice is computed.
    """

    def __init__(self, panel: Any) -> None:
        self.panel, self.note = panel, ""
        self.declined: set[str] = set()  # stopped by a person: not begun again until one asks for it
        self._job: Pending | None = None
        self._then: Callable[[], object] = lambda: None
        self._of_person = False
        hidden = {"width": "80px", "display": "none"}
        self.button = widgets().Button(
            description="Cancel", tooltip="stop computing; what is shown stays", layout=hidden
        )
        self.button.on_click(lambda _: self.stop())

    @property
    def running(self) -> bool:
        """Whether something is being computed in slices."""
        return self._job is not None

    def start(self, job: Pending, then: Callable[[], object], of_person: bool = False) -> None:
        """Begin a work, and call ``then`` at its end; what a person asks for takes the place of another one."""
        if of_person:
            self.declined.discard(job.what)
        if self._job is not None and (job.what == self._job.what or not of_person):
            if of_person:  # it is on the way already; more is to be done at its end
                self._then, self._of_person, self._job.control = then, True, job.control
            return
        self._end()
        self._job, self._then, self._of_person = job, then, of_person
        self.button.layout.display = None
        self._say(job.what)
        asyncio.get_running_loop().call_later(PAUSE, self._slice, job)

    def stop(self) -> None:
        """Stop what is being computed; the control that asked for it shows again what is."""
        with self.panel.lock:
            job = self._job
            if job is not None:
                self.declined.add(job.what)
                self._end()
                self.panel.hint(f"stopped: {job.what}")
                self.panel.changed()

    def give_way(self) -> None:
        """A person asks for something else now: what was asked for before is not done any more."""
        if self._of_person:
            self._end()

    def _slice(self, job: Pending) -> None:
        with self.panel.lock:
            if self._job is not job:
                return
            try:
                done, total = next(job.steps)
            except StopIteration as end:
                job.keep(end.value)
                self._finish()
            except Exception as error:  # it would fail again: said once
                self.declined.add(job.what)
                self._end()
                self.panel.fail(error)
                self.panel.changed()
            else:
                self._say(f"{job.what}: {done} of {total}")
                asyncio.get_running_loop().call_later(PAUSE, self._slice, job)

    def _say(self, note: str) -> None:
        self.note = note
        self.panel.busy(note)

    def _finish(self) -> None:
        then, self._job, self._of_person = self._then, None, False
        self.button.layout.display = "none"
        self.panel.hint("")
        then()

    def _end(self) -> None:
        """Drop the work, and let its control follow the state again."""
        job, self._job, self._of_person = self._job, None, False
        self.button.layout.display = "none"
        if job is not None:
            job.steps.close()
            if job.control is not None:
                forget(job.control)
