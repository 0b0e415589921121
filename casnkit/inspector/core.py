"""The inspector: a desk, the viewer in the browser that shows it, and static twins of everything on the screen."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import torch
import traitlets
from IPython.display import display
from matplotlib.figure import Figure

from casnkit.config import check_choice
from casnkit.data.files import atomic_path
from casnkit.data.records import ReidDataset
from casnkit.figures import figure_png
from casnkit.inspector import payload
from casnkit.inspector.desk import Desk, Pending
from casnkit.inspector.export import FIGURES, exported
from casnkit.inspector.networks import Source
from casnkit.inspector.notes import Notes
from casnkit.inspector.page import check_pairs, write_page
from casnkit.inspector.requests import answer, change
from casnkit.inspector.state import State
from casnkit.inspector.views import TABS, pair_of, tile_of, view_of

PAUSE = 0.01  # seconds between two slices of long work: a kernel takes its messages one at a time


class Viewer(anywidget.AnyWidget):
    """The viewer in the browser: one synced dict for each section of the view."""

    _esm = Path(__file__).with_name("viewer.js")
    _css = Path(__file__).with_name("viewer.css")
    state, controls, strip, pair, compare, failures, what_if, notes, busy, error = (
        traitlets.Dict().tag(sync=True) for _ in payload.SECTIONS
    )


class Inspector:
    """Look at pairs: a query, its ranked gallery, and where a network looks in two of the images.

        inspector = Inspector(["runs/demo/casn", "runs/demo/ide"], dataset)
        inspector                                # in a notebook: the screen
        inspector.set(query=17, threshold=0.3)   # the same by code
        inspector.figure("pair")                 # the same as a matplotlib figure

    Args:
        runs: networks by name, or a list of run folders. A network is a folder, the name of one of the kit, ``(model,
            config)``, or what ``Session.run`` of a notebook returns, whose features are then taken over. One that cannot be
            opened is listed, and says why when it is chosen.
        dataset: its queries and gallery are looked at.
        device: where the networks compute; None: where they are, on the CPU for folders.
        notes: file of notes, tags and presets, written when something is noted; None: ``notes.json`` in ``out``.
        out: folder for exported files.
        progress: called with what is being done, how much of it is done, and of how much, where one waits for it.

    Raises ValueError where there is no query or gallery image, or no network that can be opened.
    """

    def __init__(self, runs: Mapping[str, Source] | Sequence[Any] | str | Path, dataset: ReidDataset, *,
                 device: str | torch.device | None = None, notes: str | Path | None = None,
                 out: str | Path = "inspector",
                 progress: Callable[[str, int, int], object] = lambda what, done, total: None) -> None:  # fmt: skip
        self.out = Path(out).expanduser()
        self.notes = Notes(self.out / "notes.json" if notes is None else Path(notes).expanduser())
        self.desk, self.jobs = Desk(runs, dataset, device, progress), Jobs(self)
        self._viewer: Viewer | None = None
        self._error = ""

    @property
    def viewer(self) -> Viewer:
        """The widget, made when it is first asked for."""
        if self._viewer is None:
            self._viewer = Viewer()
            self._viewer.on_msg(lambda _, message, __: self.ask(message))
            self.refresh()
        return self._viewer

    def ask(self, message: Any) -> None:
        """Answer a message of a browser: do what it asks for, and show what follows. Nothing that it sends is an error."""
        before, self._error = self.desk.current, ""
        self.desk.patient = not _loop_runs()
        try:
            answer(self, message)
        except Pending as pending:
            self.jobs.start(pending, before, message)
        except (ValueError, OSError) as error:
            self._error = str(error)
        finally:
            self.desk.patient = True
        self.refresh(before)

    def refresh(self, before: State | None = None) -> None:
        """Show what is; what takes long is begun, and shown when it is done."""
        if self._viewer is None:
            return
        self.desk.patient = not _loop_runs()
        try:
            shown = view_of(self.desk, self.notes)
        except Pending as pending:
            self.jobs.start(pending, before or self.desk.current)
            shown = {"state": self.desk.current.to_dict()}
        except (ValueError, OSError) as error:
            shown = {name: {} for name in TABS} | {"state": self.desk.current.to_dict()}
            self._error = self._error or str(error)
        finally:
            self.desk.patient = True
        shown |= {"busy": self.jobs.progress, "error": {"text": self._error} if self._error else {}}
        with self._viewer.hold_sync():
            for name, section in shown.items():
                self._viewer.set_trait(name, section)

    def fail(self, error: Exception) -> None:
        """Say on the screen that something went wrong."""
        self._error = str(error)
        self.refresh()

    def set(self, **changes: Any) -> State:
        """Change fields of the state (see :class:`casnkit.inspector.state.State`); the screen follows.

        Raises ValueError for an unknown field or a value out of range; nothing is changed then.
        """
        change(self, changes)
        self.refresh()
        return self.desk.current

    def state(self) -> dict[str, Any]:
        """The view as plain values, for JSON."""
        return self.desk.current.to_dict()

    def load_state(self, values: Mapping[str, Any]) -> Inspector:
        """Show the view that :meth:`state` described. Raises ValueError where it does not fit; nothing is changed then."""
        state = State.from_dict(values)
        check_choice("tab", state.tab, TABS)
        self.desk.load(state)
        self.refresh()
        return self

    def figure(self, view: str = "pair") -> Figure:
        """A part of the screen as a matplotlib figure, drawn from the same state; ``view``: a key of ``export.FIGURES``."""
        check_choice("view", view, FIGURES)
        return FIGURES[view](self.desk)

    def export(self, kind: str = "png", view: str = "pair", folder: str | Path | None = None) -> Path:
        """Write the view (pdf, svg, png), the query's ranking (csv) or the state (json); returns the path."""
        name, data = exported(self.desk, kind, view)
        path = (self.out if folder is None else Path(folder).expanduser()) / name
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
        return path

    def page(self, path: str | Path, pairs: Sequence[tuple[int, int]] | None = None, about: str = "") -> Path:
        """The viewer with 1 to 50 pairs, (query, gallery image) each, as one file that needs no kernel and no network.

        Default: the query with the open page of its ranking. ``about``: a text at the page's end.
        """
        desk, kept = self.desk, self.desk.current
        chosen = pairs or [(kept.query, tile.gallery) for tile in desk.ranking().page(kept.page, kept.show_ignored)]
        check_pairs(path, len(chosen))
        try:
            found = [self._page_entry(int(i), int(j)) for i, j in chosen]
        finally:
            desk.current = kept
        state = kept.changed({"tab": "pair", "page": 0}).to_dict()
        return write_page(path, {"state": state, "pairs": found}, about=about)

    def _page_entry(self, i: int, j: int) -> dict[str, Any]:
        self.desk.set(query=i, gallery=j)
        tile = tile_of(self.desk, self.desk.ranking().tile(j), query=i)
        del tile["src"]  # the page shows the pair's own pictures, small
        return tile | {"pair": pair_of(self.desk)}

    def close(self) -> None:
        """Stop what is being computed, and let the screen and all that was computed go."""
        self.jobs.stop()
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None
        self.desk.forget()

    def twin(self) -> tuple[dict[str, str], dict[str, Any]]:
        """The open tab as a picture, for a page without a kernel: MIME bundle and metadata."""
        state, view = self.desk.current, self.desk.current.tab if self.desk.current.tab in FIGURES else "pair"
        alt = f"Twin of the inspector: {view} view of query {state.query}, {state.network}"
        try:
            png = base64.b64encode(figure_png(self.figure(view), 120)).decode()
        except ValueError as error:
            return {"text/plain": f"{alt}: {error}"}, {}
        return {"image/png": png, "text/plain": alt}, {"image/png": {"alt": alt}}

    def _ipython_display_(self) -> None:
        """The screen, and behind it its twin: a page hides it where the screen lives, and shows it after a restart."""
        display(self.viewer)
        bundle, metadata = self.twin()
        display(bundle, metadata=metadata, raw=True)


class Jobs:
    """Long work on the event loop, one at a time: a slice, a breath in which the kernel hears the page, the next slice."""

    def __init__(self, inspector: Inspector) -> None:
        self.inspector, self.progress = inspector, {}  # the section "busy"
        self._job: Pending | None = None
        self._before: State | None = None
        self._again: Any = None

    def start(self, job: Pending, before: State, message: Any = None) -> None:
        """Begin a work, in the place of another one; ``message`` is asked again at its end, ``before`` is shown if stopped."""
        if self._job is not None and self._job.what == job.what:
            return
        self._drop()
        self._job, self._before, self._again = job, before, message
        self.progress = {"what": job.what, "done": 0, "total": 0, "can_cancel": True}
        asyncio.get_running_loop().call_later(PAUSE, self._slice, job)

    def stop(self) -> None:
        """Stop what is being computed, and show again what was before it was asked for."""
        if self._job is not None:
            plain = {"tab": "pair", "filter": "all", "order": "data", "ranges": {}}
            desk, again = self.inspector.desk, self._before == self.inspector.desk.current
            desk.current = desk.current.changed(plain) if again else self._before
            self._drop()

    def _slice(self, job: Pending) -> None:
        if self._job is not job:
            return
        try:
            done, total = next(job.steps)
        except StopIteration as end:
            job.keep(end.value)
            again = self._again
            self._drop()
            self.inspector.ask(again) if again is not None else self.inspector.refresh()
        except (ValueError, OSError, RuntimeError) as error:
            self.stop()
            self.inspector.fail(error)
        else:
            self.progress = {"what": job.what, "done": done, "total": total, "can_cancel": True}
            self.inspector.viewer.busy = self.progress
            asyncio.get_running_loop().call_later(PAUSE, self._slice, job)

    def _drop(self) -> None:
        job, self._job, self.progress = self._job, None, {}
        if job is not None:
            job.steps.close()


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
