"""The whole screen: heading, query, ranking, and tabs for the pair, models, failures, what-if and notes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..slices import Pending
from .binding import STYLE, Later, Part, quiet, safe, widgets
from .choosing import Gallery, Heading, Query
from .failures import FailuresView
from .models import ModelsView
from .notes import NotesView
from .pair import PairView
from .whatif import WhatIfView
from .work import Work

TABS: dict[str, tuple[str, type[Part]]] = {  # view -> title and part: a tab is one entry
    "pair": ("Pair", PairView),
    "models": ("Models", ModelsView),
    "failures": ("Failures", FailuresView),
    "what if": ("What if", WhatIfView),
    "notes": ("Notes and export", NotesView),
}


class Panel:
    """Binds widgets to an inspector; holds no state of its own but what is drawn.

    Args:
        inspector: has ``desk`` (with the state), ``notes`` and ``export``.
    """

    def __init__(self, inspector: Any) -> None:
        w = widgets()
        self.inspector, self.desk = inspector, inspector.desk
        self.silent, self.rng, self.error, self._busy = False, np.random.default_rng(0), "", False
        self.lock, self._opened = threading.RLock(), self.desk.current.view
        self.later, self.work = Later(self.redraw), Work(self)
        self.status, self.notes = w.HTML(), w.HTML()
        with quiet(self):
            self.always: list[Part] = [Heading(self), Query(self), Gallery(self)]
            self.heading, self.query, self.gallery = self.always
            self.tabs = {name: kind(self) for name, (_, kind) in TABS.items()}
        self.tab = w.Tab([part.box for part in self.tabs.values()], layout={"margin": "6px 0 0"})
        self.tab.titles = [title for title, _ in TABS.values()]
        self.tab.observe(self._turned, "selected_index")
        row = w.HBox([self.query.box, self.gallery.row], layout={"align_items": "stretch", "margin": "4px 0"})
        parts = [
            w.HTML(STYLE),
            self.heading.box,
            self.query.bar,
            self.gallery.bar,
            row,
            self.gallery.box,
            self.notes,
            w.HBox([self.status, self.work.button], layout={"align_items": "center", "grid_gap": "2px 8px"}),
            self.tab,
        ]
        self.box = w.VBox(parts)
        self.box.add_class("casnkit-inspector")
        self.redraw()

    def answer(self, function: Callable[[], object]) -> None:
        """Do what a person asked for; what takes long is computed in slices, and then asked for again."""
        try:
            with self.guarded(), self._hurried():
                function()
                self.changed()
        except Pending as job:
            self.work.start(job, lambda: self.answer(function), of_person=True)

    def changed(self) -> None:
        """The state was changed: the controls follow at once, the pictures soon."""
        with self.lock, self._hurried():
            self._sync()
        self.later()

    def redraw(self) -> None:
        """Bring what can be seen up to date; an error goes to the status line and leaves the rest as it was."""
        with self.lock, self._hurried():
            self._sync()
            for part in self._visible():
                with self.guarded(clear=False), quiet(self), self._waiting(part):
                    part.refresh()
            if self._busy and not self.error:
                self.hint("")

    def show(self, view: str) -> None:
        """Open a tab."""
        self.desk.set(view=view)

    def _visible(self) -> list[Part]:
        return [*self.always, self.tabs.get(self.desk.current.view, self.tabs["pair"])]

    def _sync(self) -> None:
        """Set every visible control from the state."""
        with quiet(self):
            names, view = list(self.tabs), self.desk.current.view
            if view in names and view != self._opened:
                self._opened, self.tab.selected_index = view, names.index(view)
            for part in self._visible():
                with self.guarded(clear=False):
                    part.sync()

    @contextlib.contextmanager
    def _waiting(self, part: Part) -> Iterator[None]:
        """A part may show something that takes long: it is computed in slices, unless it was stopped before."""
        try:
            yield
        except Pending as job:
            if job.what in self.work.declined:
                part.without(job)
            else:
                self.work.start(job, self.changed)

    @contextlib.contextmanager
    def _hurried(self) -> Iterator[None]:
        """Long work is not waited for inside the block, where an event loop runs that can do it in slices."""
        before, self.desk.patient = self.desk.patient, not _loop_runs()
        try:
            yield
        finally:
            self.desk.patient = before

    def _turned(self, change: dict[str, Any]) -> None:
        with self.lock:
            if not self.silent and change["new"] is not None:
                self._opened = list(self.tabs)[change["new"]]
                self.answer(lambda: self.desk.set(view=self._opened))

    @contextlib.contextmanager
    def guarded(self, clear: bool = True) -> Iterator[None]:
        """An error inside the block is shown in the status line; the next success takes it away."""
        if clear:
            self.hint("")
        try:
            yield
        except Pending:
            raise
        except Exception as error:
            self.fail(error)
            if clear:  # a control may show what could not be done
                self.changed()

    def fail(self, error: Exception) -> None:
        """Say what went wrong."""
        self.warn(str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")

    def warn(self, message: str) -> None:
        """Say that something is wrong, where it is seen."""
        self.error = message
        text = safe(message[:1200]).replace("\n", "<br>")
        self.status.value = f'<div class="casnkit-warn" role="alert"><b>⚠</b> {text}</div>'

    def hint(self, message: str) -> None:
        """Say something, or nothing: then what is being computed, if anything is."""
        self.error, self._busy = "", False
        if self.work.running and not message:
            self.busy(self.work.note)
            return
        note = f'<div class="casnkit-note" role="status">{safe(message)}</div>' if message else ""
        if self.status.value != note:
            self.status.value = note

    def busy(self, message: str) -> None:
        """Say what is being computed; the next hint takes it away."""
        self._busy = True
        self.status.value = f'<div class="casnkit-note" role="status">computing … {safe(message)}</div>'


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
