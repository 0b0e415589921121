"""The whole screen: heading, query, ranking, and tabs for the pair, models, failures, what-if and notes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .binding import STYLE, Later, Part, quiet, safe, widgets
from .choosing import Gallery, Heading, Query
from .failures import FailuresView
from .models import ModelsView
from .notes import NotesView
from .pair import PairView
from .whatif import WhatIfView

TITLES = {"pair": "Pair", "models": "Models", "failures": "Failures", "what if": "What if", "notes": "Notes and export"}


class Panel:
    """Binds widgets to an inspector; holds no state of its own but what is drawn.

    Args:
        inspector: has ``desk`` (with the state), ``notes`` and ``export``.
    """

    def __init__(self, inspector: Any) -> None:
        w = widgets()
        self.inspector, self.desk = inspector, inspector.desk
        self.silent, self.rng, self.error, self._busy = False, np.random.default_rng(0), "", False
        self.later = Later(self.redraw)
        self.status, self.notes = w.HTML(), w.HTML()
        with quiet(self):
            self.always: list[Part] = [Heading(self), Query(self), Gallery(self)]
            self.heading, self.query, self.gallery = self.always
            self.tabs: dict[str, Part] = {"pair": PairView(self), **self._more()}
        self.tab = w.Tab([part.box for part in self.tabs.values()], layout={"margin": "6px 0 0"})
        self.tab.titles = [TITLES[name] for name in self.tabs]
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
            self.status,
            self.tab,
        ]
        self.box = w.VBox(parts)
        self.box.add_class("casnkit-inspector")
        self.redraw()

    def _more(self) -> dict[str, Part]:
        parts = {"models": ModelsView, "failures": FailuresView, "what if": WhatIfView, "notes": NotesView}
        return {name: kind(self) for name, kind in parts.items()}

    def changed(self) -> None:
        """The state was changed: redraw soon."""
        self.later()

    def redraw(self) -> None:
        """Bring what can be seen up to date; an error goes to the status line and leaves the rest as it was."""
        with quiet(self):
            names = list(self.tabs)
            if self.desk.current.view in names and self.tab.selected_index != names.index(self.desk.current.view):
                self.tab.selected_index = names.index(self.desk.current.view)
            for part in [*self.always, self.tabs.get(self.desk.current.view, self.tabs["pair"])]:
                with self.guarded(clear=False):
                    part.refresh()
            if self._busy and not self.error:
                self.hint("")

    def show(self, view: str) -> None:
        """Open a tab."""
        self.desk.set(view=view)

    def _turned(self, change: dict[str, Any]) -> None:
        if not self.silent and change["new"] is not None:
            with self.guarded():
                self.desk.set(view=list(self.tabs)[change["new"]])
                self.changed()

    @contextlib.contextmanager
    def guarded(self, clear: bool = True) -> Iterator[None]:
        """An error inside the block is shown in the status line; the next success takes it away."""
        if clear:
            self.hint("")
        try:
            yield
        except Exception as error:
            message = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self.warn(message)
            if clear:  # a control may show what could not be done
                self.later()

    def warn(self, message: str) -> None:
        """Say that something is wrong, where it is seen."""
        self.error = message
        text = safe(message[:1200]).replace("\n", "<br>")
        self.status.value = f'<div class="casnkit-warn" role="alert"><b>⚠</b> {text}</div>'

    def hint(self, message: str) -> None:
        """Say something, or nothing."""
        self.error, self._busy = "", False
        note = f'<div class="casnkit-note" role="status">{safe(message)}</div>' if message else ""
        if self.status.value != note:
            self.status.value = note

    def busy(self, message: str) -> None:
        """Say what is being computed; the next hint takes it away."""
        self._busy = True
        self.status.value = f'<div class="casnkit-note" role="status">computing … {safe(message)}</div>'
