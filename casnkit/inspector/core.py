"""The inspector: a desk, its screen, and a static twin of everything on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..data.records import ReidDataset
from .desk import Desk
from .loading import Progress, Source
from .notes import Notes
from .state import State

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Inspector:
    """Look at pairs: a query, its ranked gallery, and where a network looks in two of the images.

        inspector = Inspector(["runs/demo/casn", "runs/demo/ide"], dataset)
        inspector                                # in a notebook: the screen
        inspector.set(query=17, threshold=0.3)   # the same by code
        inspector.figure("pair")                 # the same as a matplotlib figure

    Args:
        runs: networks by name, or a list of run folders. A network is a folder, ``(model, config)``, or what
            ``Session.run`` of a notebook returns. One that cannot be loaded is listed, and says why when it is chosen.
        dataset: its queries and gallery are looked at.
        device: where the networks compute; None: where they are, on the CPU for folders.
        cache: a folder where features and maps are kept between sessions, memory-mapped. None: those of a large gallery
            are kept below the run's folder (up to 2 GiB), the rest in memory.
        notes: file of notes, tags and presets; written when something is noted.
        out: folder for exported files.
        progress: called with what is being done, how much of it is done, and of how much.

    Raises:
        ValueError: no query or gallery image, or no network that can be loaded.
    """

    def __init__(
        self,
        runs: Mapping[str, Source] | Sequence[str | Path] | str | Path,
        dataset: ReidDataset,
        *,
        device: str | torch.device | None = None,
        cache: str | Path | None = None,
        notes: str | Path = "inspector-notes.json",
        out: str | Path = "figures",
        progress: Progress = lambda what, done, total: None,
    ) -> None:
        self._panel: Any = None
        self._progress = progress
        self.notes, self.out = Notes(notes), Path(out)
        self.desk = Desk(runs, dataset, device, cache, self._report)

    @property
    def widget(self) -> Any:
        """The screen, an ipywidgets box, made when it is first asked for. Raises ImportError without ipywidgets."""
        return self.panel.box

    @property
    def panel(self) -> Any:
        """The screen's parts, for tests and for driving it by code."""
        if self._panel is None:
            from .widgets.panel import Panel

            self._panel = Panel(self)
        return self._panel

    def set(self, **changes: Any) -> State:
        """Change fields of the state (see :class:`casnkit.inspector.state.State`); the screen follows.

        Raises:
            ValueError: an unknown field or a value out of range; nothing is changed then.
        """
        self.desk.set(**changes)
        self._follow()
        return self.desk.current

    def state(self) -> dict[str, Any]:
        """The view as plain values, for JSON."""
        return self.desk.current.to_dict()

    def load_state(self, values: Mapping[str, Any]) -> Inspector:
        """Show the view that :meth:`state` described. Raises ValueError where it does not fit; nothing is changed then."""
        self.desk.load(State.from_dict(values))
        self._follow()
        return self

    def figure(self, view: str = "pair") -> Figure:
        """The static twin of a part of the screen, a matplotlib figure.

        Args:
            view: ``ranking``, ``lists``, ``pair``, ``alignment``, ``difference``, ``models``, ``failures`` (figure 8 of
                the paper), ``queries`` or ``what if``.
        """
        from .twins import FIGURES

        if view not in FIGURES:
            raise ValueError(f"expected a view out of {', '.join(FIGURES)}, got {view!r}")
        return FIGURES[view](self.desk)

    def export(self, kind: str = "png", view: str = "pair", folder: str | Path | None = None) -> Path:
        """Write the view (png, svg), the query's ranking (csv) or the state (json); returns the path."""
        from .export import export

        return export(self.desk, self.out if folder is None else folder, kind, view)

    def _follow(self) -> None:
        if self._panel is not None:
            self._panel.changed()

    def _report(self, what: str, done: int, total: int) -> None:
        if self._panel is not None:
            self._panel.busy(f"{what}: {done} of {total}")
        self._progress(what, done, total)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = self.widget._repr_mimebundle_(**kwargs)
        data = self.desk.dataset
        said = f"Pair inspector: {data.name}, {len(data.query)} queries, {len(data.gallery)} gallery images. "
        bundle["text/plain"] = said + "Widgets do not show here; inspector.figure('pair') is the same as a picture."
        return bundle
