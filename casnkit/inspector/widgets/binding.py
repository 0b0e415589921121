"""What every part of the screen needs: guarded callbacks, coalesced redrawing, text that is never HTML.

A control changes the state at once; pictures follow a moment later, once for however many events came in between. No
part of the state lives in a widget, and nothing is drawn into an ``Output``.

The last event wins: a control is written to only where the *state* has changed since the two last agreed. One that
shows another value than the state is being moved, and its event is on the way; written to now, it would jump back.
Kernels may answer the events of a page on another thread than the cells, so events and redrawing share a lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import html
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import ipywidgets
import traitlets

from ..slices import Pending

WRAPPED = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "2px 8px"}  # of a row of controls
DELAY = 0.03  # seconds within which events are answered together
_AGREED: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # the value on which a control and the state last agreed


def widgets() -> Any:
    """ipywidgets, imported when a screen is wanted."""
    return ipywidgets


def safe(text: object) -> str:
    """Data as text for an HTML widget: escaped, and without the signs that would make a notebook typeset it as maths."""
    plain = str(text).replace("$", "\uff04").replace("\\", "\uff3c")
    return html.escape("".join(c if c.isprintable() else "\u25a1" for c in plain))


@functools.cache
def _picture_class() -> type:
    w = widgets()

    class Picture(w.Image):
        """The core image, with the empty description that its view looks for before it shows a tooltip."""

        description = traitlets.Unicode("").tag(sync=True)

    return Picture


def picture(alt: str, **options: Any) -> Any:
    """An Image widget with an alternative text.

    Core images have none of their own. Their tooltip becomes the ``title`` of the ``img``, which is its name to those
    who listen, and which the mouse shows.
    """
    return _picture_class()(format="png", tooltip=alt, **options)


def hidden(text: str) -> str:
    """Words for those who listen alone."""
    return f'<span class="casnkit-hidden">{safe(text)}</span>'


def clip(text: str, length: int = 60) -> str:
    """The text with its middle left out where it is longer."""
    return text if len(text) <= length else f"{text[: length // 2]}…{text[-(length // 2 - 1) :]}"


class Later:
    """Runs a function once, a moment after the first of many calls; at once where no event loop runs.

    The moment counts from the first call, so a slider that is dragged on and on is answered all the while. A call from
    the loop of another thread does not wait for the first one, which may be busy for long.
    """

    def __init__(self, function: Callable[[], object], delay: float = DELAY) -> None:
        self.function, self.delay = function, delay
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.TimerHandle] | None = None

    def __call__(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.function()
            return
        if self._waiting is None or self._waiting[0] is not loop:
            self._waiting = loop, loop.call_later(self.delay, self._run)

    def flush(self) -> None:
        """Do now what is waiting."""
        if self._waiting is not None:
            self._waiting[1].cancel()
            self._run()

    def _run(self) -> None:
        self._waiting = None
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

    def without(self, job: Pending) -> None:
        """Say that something is missing, whose computing was stopped; it is not begun again unasked."""

    def refresh(self) -> None:
        """Draw again if what the part shows has changed."""
        key = self.key()
        if key != self._shown:
            self.draw()
            self._shown = key

    def on(self, control: Any, function: Callable[[Any], object]) -> Any:
        """Call ``function(value)`` when a person changes a control. Returns the control."""

        def heard(change: dict[str, Any]) -> None:
            with self.panel.lock:
                if not self.panel.silent:
                    self.panel.answer(lambda: told(control, change["new"], function))

        control.observe(heard, "value")
        return control

    def click(self, button: Any, function: Callable[[], object]) -> Any:
        """Call ``function()`` on a click. Returns the button."""

        def heard(_: Any) -> None:
            with self.panel.lock:
                self.panel.answer(function)

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


def told(control: Any, value: Any, function: Callable[[Any], object]) -> None:
    """``function(value)``, and the control and the state agree on it; if it fails, the control will follow the state."""
    try:
        function(value)
    except Pending as pending:  # until it is decided, the control keeps what was chosen
        pending.control = control
        raise
    except Exception:
        forget(control)
        raise
    _AGREED[control] = value


def forget(control: Any) -> None:
    """Let a control show the state's value again, whatever it shows now."""
    _AGREED.pop(control, None)


def put(control: Any, value: Any, options: Any = None) -> None:
    """Show a value of the state in a control; nothing is sent for nothing.

    A control that shows something else although the state has not changed is being moved by a person: it is left alone.
    """
    if options is not None and list(control.options) != list(options):
        if isinstance(control, widgets().Select):
            control.value = None
        control.options = options
    elif control in _AGREED and near(_AGREED[control], value):
        return
    _AGREED[control] = value
    if not near(control.value, value):
        control.value = value


def near(a: Any, b: Any) -> bool:
    """Whether two values of a control are the same, up to the rounding of numbers: 0.6999999999999998 is 0.7."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(near, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) < 1e-6
    return a == b


def set_image(image: Any, data: bytes, alt: str) -> None:
    """Give a picture new bytes, unless it shows them already, and say in words what it shows."""
    if bytes(image.value) != data:
        image.value = data
    if image.tooltip != alt:
        image.tooltip = alt


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
