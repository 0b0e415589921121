"""What every part of the screen needs: guarded callbacks, coalesced redrawing, text that is never HTML.

A control changes the state at once; pictures follow a moment later, once for however many events came in between. No
part of the state lives in a widget, and nothing is drawn into an ``Output``.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
from collections.abc import Callable, Iterator
from typing import Any

from ..._optional import require

WRAPPED = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "2px 8px"}  # of a row of controls
DELAY = 0.03  # seconds within which events are answered together


def widgets() -> Any:
    """ipywidgets, imported when a screen is wanted."""
    return require("ipywidgets", "the inspector's screen")


def safe(text: object) -> str:
    """Data as text for an HTML widget: escaped, and without the signs that would make a notebook typeset it as maths."""
    plain = str(text).replace("$", "\uff04").replace("\\", "\uff3c")
    return html.escape("".join(c if c.isprintable() else "\u25a1" for c in plain))


def hidden(text: str) -> str:
    """Words for those who listen: core image widgets can carry no alternative text of their own."""
    return f'<span class="casnkit-hidden">{safe(text)}</span>'


def clip(text: str, length: int = 60) -> str:
    """The text with its middle left out where it is longer."""
    return text if len(text) <= length else f"{text[: length // 2]}…{text[-(length // 2 - 1) :]}"


class Later:
    """Runs a function once, a moment after the first of many calls; at once where no event loop runs.

    The moment counts from the first call, so a slider that is dragged on and on is answered all the while.
    """

    def __init__(self, function: Callable[[], object], delay: float = DELAY) -> None:
        self.function, self.delay = function, delay
        self._handle: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.function()
            return
        if self._handle is None:
            self._handle = loop.call_later(self.delay, self._run)

    def flush(self) -> None:
        """Do now what is waiting."""
        if self._handle is not None:
            self._handle.cancel()
            self._run()

    def _run(self) -> None:
        self._handle = None
        self.function()


class Part:
    """A piece of the screen that is redrawn only when what it shows has changed.

    Subclasses build ``self.box`` and answer ``key`` (what it shows), ``draw`` (make it so) and ``sync`` (set controls
    from the state, whose events are then not heard).
    """

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self._shown: object = None
        self.box = self.build()

    @property
    def desk(self) -> Any:
        """The state and everything computed from it."""
        return self.panel.desk

    @property
    def state(self) -> Any:
        """What is chosen now."""
        return self.panel.desk.current

    def build(self) -> Any:
        """Make the controls and return the box that holds them; called once."""
        raise NotImplementedError

    def key(self) -> object:
        """What the part shows: it is drawn again when this changes."""
        raise NotImplementedError

    def draw(self) -> None:
        """Show what is chosen now."""
        raise NotImplementedError

    def sync(self) -> None:
        """Set the controls from the state; nothing to do for a part without controls."""

    def refresh(self) -> None:
        """Bring the part up to date."""
        self.sync()
        key = self.key()
        if key != self._shown:
            self.draw()
            self._shown = key

    def on(self, control: Any, function: Callable[[Any], object]) -> Any:
        """Call ``function(value)`` when a person changes a control. Returns the control."""

        def heard(change: dict[str, Any]) -> None:
            if not self.panel.silent:
                with self.panel.guarded():
                    function(change["new"])
                    self.panel.changed()

        control.observe(heard, "value")
        return control

    def click(self, button: Any, function: Callable[[], object]) -> Any:
        """Call ``function()`` on a click. Returns the button."""

        def heard(_: Any) -> None:
            with self.panel.guarded():
                function()
                self.panel.changed()

        button.on_click(heard)
        return button

    def binds(self, control: Any, field: str) -> Any:
        """A control whose value is a field of the state. Returns the control."""
        return self.on(control, lambda value: self.desk.set(**{field: value}))


@contextlib.contextmanager
def quiet(panel: Any) -> Iterator[None]:
    """Events inside the block are not heard."""
    before, panel.silent = panel.silent, True
    try:
        yield
    finally:
        panel.silent = before


def put(control: Any, value: Any, options: Any = None) -> None:
    """Set a control, and first its options, only where they differ: nothing is sent for nothing."""
    if options is not None and list(control.options) != list(options):
        control.options = options
    near = isinstance(value, float) and abs(control.value - value) < 1e-6  # 0.6999999999999998 is the state's 0.7
    if control.value != value and not near:
        control.value = value


def set_image(image: Any, data: bytes) -> None:
    """Give an Image widget new bytes, unless it shows them already."""
    if bytes(image.value) != data:
        image.value = data


STYLE = """<style>
.casnkit-inspector {max-width: 1160px; min-width: 760px; color: var(--jp-ui-font-color1, #222); padding: 4px 2px;}
.casnkit-inspector .widget-html-content, .casnkit-inspector .jupyter-widgets {font-size: 13px;}
.casnkit-inspector .widget-html-content {line-height: 1.45;}
.casnkit-inspector .jupyter-button {border-radius: 4px;}
.casnkit-inspector button:focus-visible, .casnkit-inspector input:focus-visible, .casnkit-inspector select:focus-visible,
.casnkit-inspector textarea:focus-visible, .casnkit-inspector .noUi-handle:focus, .casnkit-inspector
.lm-TabBar-tab:focus-visible {outline: 3px solid #0072B2 !important; outline-offset: 1px;}
.casnkit-inspector .casnkit-title {white-space: nowrap; font-size: 19px; font-weight: 650; letter-spacing: -.2px;}
.casnkit-inspector .casnkit-note {color: var(--jp-ui-font-color2, #555);}
.casnkit-inspector .casnkit-score {font-size: 15px; font-weight: 650;}
.casnkit-inspector .casnkit-warn {background: #FFF3E6; border-left: 4px solid #D55E00; padding: 3px 10px; color: #222;}
.casnkit-inspector .casnkit-card {border: 1px solid var(--jp-border-color2, #ddd); border-radius: 6px; padding: 8px;}
.casnkit-inspector .casnkit-tile img {width: 100%; height: auto; display: block;}
.casnkit-inspector select[multiple], .casnkit-inspector .widget-select select {font-family: var(--jp-code-font-family,
monospace); font-size: 13px; line-height: 1.5;}
.casnkit-centre {line-height: 1.4; text-align: center; overflow: hidden; white-space: nowrap;}
.casnkit-hidden {position: absolute; left: -10000px; width: 1px; height: 1px; overflow: hidden;}
.casnkit-inspector .casnkit-wide img {max-width: 100%; height: auto;}
</style>"""
