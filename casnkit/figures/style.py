"""One look for every picture: colours, type, and panels placed in inches.

Widths are at most :data:`PAGE_WIDTH` inches and text at least :data:`SMALL` points: shown 900 pixels wide, as in a
README, the smallest letter is 12.5 px. Panels are placed by hand, so that rows of neighbouring panels line up to the
pixel and no label is cut; text is measured and shortened with an ellipsis where it would not fit.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import html
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .._optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE_WIDTH = 9.0  # inches
SMALL, NORMAL, LARGE = 9.0, 10.0, 12.0  # points
MARGIN = 0.15  # inches
LINE = 0.19  # inches from one line of small text to the next
BLUE, ORANGE, GREY, LIGHT, INK, NOTE = "#0072B2", "#D55E00", "#8C8C8C", "#D9D9D9", "#222222", "#555555"
ATTENTION_COLOURS, MASK_COLOURS, DIFFERENCE_COLOURS = "inferno", "cividis", "RdBu_r"
# Runs, methods and the two images of a pair: never the blue and orange that mean right and wrong.
SERIES = (
    ("#332288", "-", "o"),
    ("#AA4499", "--", "s"),
    ("#117733", "-.", "^"),
    ("#999933", ":", "D"),
    ("#882255", (0, (5, 1, 1, 1)), "v"),
    ("#44AA99", (0, (3, 3)), "P"),
)
_FONT = "DejaVu Sans"  # comes with matplotlib: the same picture on every machine
_RC = {
    "font.family": _FONT,
    "font.size": NORMAL,
    "text.parse_math": False,  # a "$" in a file name is a dollar sign
    "text.usetex": False,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.labelsize": SMALL,
    "axes.titlesize": NORMAL,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "image.interpolation": "nearest",
    "svg.hashsalt": "casnkit",
}


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the kit's style inside the block; matplotlib's settings are restored afterwards."""
    with require("matplotlib.style", "drawing figures").context(_RC, after_reset=True):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of that many inches with its own canvas; a notebook shows it at 100 pixels per inch."""
    figure = require("matplotlib.figure", "drawing figures").Figure(figsize=(width, height), dpi=100)
    require("matplotlib.backends.backend_agg", "drawing figures").FigureCanvasAgg(figure)
    figure._repr_png_ = functools.partial(_notebook_png, figure)
    figure._repr_mimebundle_ = functools.partial(_notebook_bundle, figure)
    return figure


def _notebook_png(figure: Figure) -> tuple[bytes, dict[str, int]]:
    from .saving import figure_png

    width, height = figure.get_size_inches()
    return figure_png(figure, dpi=200), {"width": round(width * 100), "height": round(height * 100)}


def _notebook_bundle(figure: Figure, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """PNG for tools that take pictures out of a notebook, and an HTML image for its page: only that has an ``alt``."""
    data, size = _notebook_png(figure)
    png, alt = base64.b64encode(data).decode(), describe(figure)
    shown = " ".join(f'{name}="{value}"' for name, value in size.items())
    page = f'<img alt="{html.escape(alt)}" {shown} style="height: auto" src="data:image/png;base64,{png}">'
    return {"image/png": png, "text/html": page}, {"image/png": {**size, "alt": alt}}


def describe(figure: Figure, most: int = 400) -> str:
    """The words that stand in a figure, for a reader who cannot see it: headings, captions, axes, legends."""
    words = [text.get_text() for text in figure.texts]
    for ax in figure.axes:
        words += [ax.get_title(), *([ax.get_xlabel(), ax.get_ylabel()] if ax.axison else [])]
        words += [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []
    pictures = sum(bool(ax.images) for ax in figure.axes)
    kind = f"Figure with {pictures} images" if pictures else "Diagram"
    found = "; ".join(dict.fromkeys(filter(None, (" ".join(word.split()) for word in words))))
    return f"{kind}: {found if len(found) <= most else found[: most - 1] + chr(0x2026)}" if found else kind


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at ``left`` and ``top`` inches from the figure's top left corner, ``width`` by ``height`` inches."""
    total_width, total_height = figure.get_size_inches()
    box = (left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height)
    ax = figure.add_axes(box)
    # Ticks are made when the figure is first drawn, maybe outside the style: their look is fixed here.
    ax.tick_params(labelsize=SMALL, labelcolor=INK, color=GREY, length=3, labelfontfamily=_FONT)
    return ax


def picture_panel(figure: Figure, left: float, top: float, width: float, height: float, image: np.ndarray) -> Axes:
    """A panel that shows ``image``: its y axis counts the image's rows, 0 at the top."""
    ax = panel(figure, left, top, width, height)
    rows, columns = image.shape[:2]
    smooth = "antialiased" if image.ndim == 3 else "nearest"
    ax.imshow(image, extent=(0, columns, rows, 0), aspect="auto", interpolation=smooth)
    ax.set(xticks=[], yticks=[])
    frame(ax, LIGHT, "-", 0.8)
    return ax


def frame(ax: Axes, colour: str, line: Any, width: float) -> None:
    """Draw all four sides of ``ax`` in one colour and line style."""
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linestyle=line, linewidth=width)


def write(
    figure: Figure,
    left: float,
    top: float,
    text: str,
    width: float | None = None,
    size: float = SMALL,
    align: str = "left",
    **kwargs: Any,
) -> None:
    """Write one line whose box begins ``top`` inches below the figure's top edge.

    ``left`` is the line's left end, centre or right end, by ``align``; longer than ``width`` inches, it is shortened.
    """
    total_width, total_height = figure.get_size_inches()
    bold = kwargs.get("weight") == "bold"
    text = tidy(text) if width is None else fit(text, width, size, bold)
    height = (top + size / 72) / total_height  # baseline: one font size below the top, whatever letters there are
    figure.text(left / total_width, 1 - height, text, ha=align, va="baseline", size=size, **kwargs)


def tidy(text: str) -> str:
    """One line of characters that the font has: white space is joined, others become a box."""
    known = _known_characters()
    return "".join(letter if ord(letter) in known else "\u25a1" for letter in " ".join(str(text).split()))


def fit(text: str, width: float, size: float = SMALL, bold: bool = False) -> str:
    """``text`` on one line of at most ``width`` inches, its middle replaced by an ellipsis where it is longer."""
    text = tidy(text)
    if text_width(text, size, bold) <= width:
        return text
    low, high = 0, len(text) - 1  # characters kept: the most that fit, by bisection
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(_shortened(text, middle), size, bold) <= width else (low, middle - 1)
    return _shortened(text, low)


def _shortened(text: str, keep: int) -> str:
    return text[: (keep + 1) // 2] + "\u2026" + text[len(text) - keep // 2 :]


def wrap(text: str, width: float, lines: int = 2, size: float = SMALL) -> list[str]:
    """``text`` broken between words into at most ``lines`` lines of ``width`` inches; what remains is shortened."""
    words, out = tidy(text).split(" "), []
    while words and len(out) < lines - 1:
        count = len(words)
        while count > 1 and text_width(" ".join(words[:count]), size) > width:
            count -= 1
        out.append(fit(" ".join(words[:count]), width, size))
        words = words[count:]
    return [*out, fit(" ".join(words), width, size)] if words else out


@functools.lru_cache(maxsize=4096)
def text_width(text: str, size: float = SMALL, bold: bool = False) -> float:
    """Width of one line in inches, with a little to spare: the grid of pixels widens letters by up to 3 %."""
    text = tidy(text)
    renderer, properties = _ruler()
    properties.set_size(size)
    properties.set_weight("bold" if bold else "normal")
    return renderer.get_text_width_height_descent(text, properties, False)[0] / 72 * 1.03 if text else 0.0


@functools.cache
def _ruler() -> tuple[Any, Any]:
    agg = require("matplotlib.backends.backend_agg", "drawing figures")
    fonts = require("matplotlib.font_manager", "drawing figures")
    return agg.RendererAgg(8, 8, 72), fonts.FontProperties(family=_FONT)


@functools.cache
def _known_characters() -> frozenset[int]:
    fonts = require("matplotlib.font_manager", "drawing figures")
    return frozenset(fonts.get_font(fonts.findfont(_FONT)).get_charmap())


def colour_bar(figure: Figure, left: float, top: float, width: float, height: float, colours: str) -> Axes:
    """A colour bar from 0 to 1, upright where it is taller than wide; ticks at 0 and 1 stay inside its length."""
    ramp = np.linspace(0, 1, 256)
    upright = height > width
    ax = panel(figure, left, top, width, height)
    extent = (0, 1, 0, 1)
    ax.imshow(ramp[:, None] if upright else ramp[None], cmap=colours, aspect="auto", extent=extent, origin="lower")
    frame(ax, GREY, "-", 0.6)
    ax.set(xticks=[] if upright else [0, 1], yticks=[0, 0.5, 1] if upright else [])
    if upright:
        ax.yaxis.tick_right()
        ax.set_yticklabels(["0", "0.5", "1"])
    else:
        ax.set_xticklabels(["0", "1"])
        ends_inside(ax)
    return ax


def ends_inside(ax: Axes) -> None:
    """Keep the first and last tick label of the x axis within its ends, away from the neighbour's."""
    labels = ax.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")
