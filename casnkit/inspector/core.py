"""The inspector: a desk, the viewer in the browser that shows it, what a browser may ask for, and static twins of it all."""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import torch
import traitlets
from IPython.display import display

from casnkit import figures
from casnkit.config import check_choice
from casnkit.data.files import atomic_path, printable
from casnkit.data.records import ReidDataset
from casnkit.inspector.desk import Desk, Pending
from casnkit.inspector.export import FIGURES, exported
from casnkit.inspector.networks import Source
from casnkit.inspector.notes import Notes
from casnkit.inspector.page import write_page
from casnkit.inspector.state import State
from casnkit.inspector.views import TABS, view_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # loaded when the first figure is drawn


AT_ONCE = {"tab": "pair", "filter": "all", "order": "data", "ranges": {}}  # needs no table, and no other network


class Viewer(anywidget.AnyWidget):
    """The viewer in the browser: one synced dict for each section of the view."""

    _esm = Path(__file__).with_name("viewer.js")
    _css = Path(__file__).with_name("viewer.css")
    state, controls, strip, pair, compare, failures, what_if, notes, busy, error = (
        traitlets.Dict().tag(sync=True) for _ in range(10)
    )


class Inspector:
    """Look at pairs: a query, its ranked gallery, and where a network looks in two of the images.

        inspector = Inspector(["runs/demo/casn", "runs/demo/ide"], dataset)
        inspector                                # in a notebook: the screen
        inspector.set(query=17, threshold=0.3)   # the same by code
        inspector.figure("pair")                 # the same as a matplotlib figure

    Args:
        runs: networks by name, or run folders. A network is a folder, the name of one of the kit, ``(model, config)``, or
            what a notebook's ``Session.run`` returns, whose features are taken over. One that cannot be opened is listed,
            and says why when it is chosen.
        dataset: its queries and gallery are looked at.
        device: where the networks compute; None: where they are, on the CPU for folders.
        notes: file of notes and tags; None: ``notes.json`` in ``out``, the folder for exported files.

    Raises ValueError where there is no query or gallery image, or no network that can be opened.
    """

    def __init__(self, runs: Mapping[str, Source] | Sequence[Any] | str | Path, dataset: ReidDataset, *,
                 device: str | torch.device | None = None, notes: str | Path | None = None,
                 out: str | Path = "inspector") -> None:  # fmt: skip
        self.out = Path(out).expanduser()
        self.notes = Notes(self.out / "notes.json" if notes is None else Path(notes).expanduser())
        self.desk, self._viewer = Desk(runs, dataset, device), None
        self.desk.notes = self.notes
        self.busy: dict[str, Any] = {}  # the section of that name
        self._job: tuple[asyncio.Task, State] | None = None  # what is being computed, and the state from which

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
        before = self.desk.current
        self.refresh(before, self._tried(lambda: self._answer(message), before, message))

    def _answer(self, message: Any) -> None:
        fields = dict(message) if isinstance(message, Mapping) else {}
        name = fields.pop("ask", None)
        check_choice("request", name, REQUESTS)
        try:
            REQUESTS[name](self, **fields)
        except TypeError as error:
            raise ValueError(f"request {name}: {error}") from error

    def refresh(self, before: State | None = None, error: Exception | None = None) -> None:
        """Show what is, and maybe what went wrong; what takes long is begun, and shown when it is done."""
        if self._viewer is None:
            return
        shown: dict[str, Any] = {"state": self.desk.current.to_dict()}
        if failed := self._tried(lambda: shown.update(view_of(self.desk)), before or self.desk.current):
            shown |= {name: {} for name in TABS}
        wrong = error or failed
        shown |= {"busy": self.busy, "error": {"text": printable(wrong)} if wrong else {}}
        with self._viewer.hold_sync():
            for name, section in shown.items():
                self._viewer.set_trait(name, section)

    def _tried(self, function: Callable[[], object], before: State, message: Any = None) -> Exception | None:
        """Call a function that may not take long; what does is begun. Returns what went wrong."""
        with contextlib.suppress(RuntimeError):
            self.desk.patient = not asyncio.get_running_loop()
        try:
            function()
        except Pending as pending:
            if self.busy.get("what") != pending.what:  # in the place of another
                self._drop()
                self.busy = {"what": pending.what, "done": 0, "total": 0, "can_cancel": True}
                self._job = asyncio.ensure_future(self._work(pending, message)), before
        except (ValueError, OSError) as error:
            return error
        finally:
            self.desk.patient = True
        return None

    async def _work(self, pending: Pending, message: Any) -> None:
        """Long work beside the event loop, which hears the page meanwhile; then what was asked for."""
        job, loop = asyncio.current_task(), asyncio.get_running_loop()

        def wanted() -> bool:
            return self._job is not None and self._job[0] is job and not job.done()

        def tell(done: int, total: int) -> None:
            if wanted():
                self.viewer.busy = self.busy = {**self.busy, "done": done, "total": total}

        def progress(done: int, total: int) -> None:  # in the other thread
            if not wanted():
                raise asyncio.CancelledError
            loop.call_soon_threadsafe(tell, done, total)

        try:
            await asyncio.to_thread(pending.function, progress)
        except (ValueError, OSError, RuntimeError) as error:
            self.cancel()
            self.refresh(error=error)
        else:
            self._job, self.busy = None, {}
            self.refresh() if message is None else self.ask(message)

    def _drop(self) -> None:
        if self._job is not None:
            self._job[0].cancel()
        self._job, self.busy = None, {}

    def cancel(self) -> None:
        """Stop what is being computed, and show again what was before it was asked for."""
        if self._job is not None:
            before = self._job[1]
            self.desk.current = before.changed(AT_ONCE) if before == self.desk.current else before
            self._drop()

    def set(self, **changes: Any) -> State:
        """Change fields of the state (see :class:`casnkit.inspector.state.State`); the screen follows.

        Raises ValueError for an unknown field or a value out of range; nothing is changed then.
        """
        self.desk.set(**changes)
        self.refresh()
        return self.desk.current

    def state(self) -> dict[str, Any]:
        """The view as plain values, for JSON and for :meth:`set`."""
        return self.desk.current.to_dict()

    def figure(self, view: str = "pair") -> Figure:
        """A part of the screen as a matplotlib figure, drawn from the same state; ``view``: a key of ``export.FIGURES``."""
        check_choice("view", view, FIGURES)
        return FIGURES[view](self.desk)

    def export(self, kind: str = "png", view: str = "pair") -> Path:
        """Write the view (pdf, svg, png), the query's ranking (csv) or the state (json) into ``out``; returns the path."""
        name, data = exported(self.desk, kind, view)
        with atomic_path(self.out / name) as temporary:
            temporary.write_bytes(data)
        return self.out / name

    def page(self, path: str | Path, pairs: Sequence[tuple[int, int]] | None = None, about: str = "") -> Path:
        """The viewer with 1 to 50 pairs, (query, gallery image) each, as one file that needs no kernel and no network.

        Default: the query with the open page of its ranking. ``about``: a text at the page's end. Raises ValueError for
        another number of pairs, or another kind of file than HTML.
        """
        return write_page(path, self.desk, pairs, about)

    def close(self) -> None:
        """Stop what is being computed, and let the screen and all that was computed go."""
        self._drop()
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None
        self.desk.forget()

    def _ipython_display_(self) -> None:
        """The screen, and behind it its twin: a page hides it where the screen lives, and shows it after a restart."""
        display(self.viewer)
        state, drawn = self.desk.current, []
        view = state.tab if state.tab in FIGURES else "pair"
        self._tried(lambda: drawn.append(figures.figure_png(self.figure(view), 120)), state)
        figures.show_twin(f"Twin of the inspector: {view} view of query {state.query}, {state.network}", *drawn)


def _export(inspector: Inspector, kind: str, view: str = "pair") -> None:
    name, data = exported(inspector.desk, kind, view)
    inspector.viewer.send({"download": {"name": name, "mime": mimetypes.guess_type(name)[0]}}, [data])


REQUESTS: dict[str, Callable[..., object]] = {  # of a browser; paths do not travel, files go to it as downloads
    "set": lambda inspector, changes: inspector.desk.set(**changes),
    "step": lambda inspector, by: inspector.desk.step(by),
    "previous": lambda inspector: inspector.desk.turn(-1),
    "next": lambda inspector: inspector.desk.turn(1),
    "note": lambda inspector, text, tags: inspector.notes.put(inspector.desk.key, text, tags),
    "export": _export,
    "cancel": Inspector.cancel,
}
