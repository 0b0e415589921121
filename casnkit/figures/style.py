"""One look for every picture, and figures as files: colours, type, alternative text inside, no timestamp.

Figures are at most :data:`PAGE_WIDTH` inches wide and letters at least :data:`SMALL` points tall: shown 900 pixels wide,
as in a README, the smallest letter is 12.5 px. matplotlib's constrained layout places the panels and their labels.
"""

import base64
import html
import io
import os
import textwrap
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib.style
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.image import AxesImage
from matplotlib.text import Text

from casnkit.data.files import atomic_path

_LOOK = matplotlib.rc_params_from_file(Path(__file__).with_name("casnkit.mplstyle"), use_default_template=False)
PAGE_WIDTH = 9.0  # inches
SMALL, NORMAL = _LOOK["legend.fontsize"], _LOOK["font.size"]  # points
INK, GREY, LIGHT = (_LOOK[name] for name in ("text.color", "axes.edgecolor", "grid.color"))
BLUE, ORANGE, NOTE = "#0072B2", "#D55E00", "#555555"
DASHED, DOTTED = (0, (4, 2)), (0, (1, 1.5))
ATTENTION_COLOURS, MASK_COLOURS, DIFFERENCE_COLOURS = "inferno", "cividis", "RdBu_r"
# Runs, methods and the two images of a pair: never the blue and orange that mean right and wrong.
_COLOURS = ("#332288", "#AA4499", "#117733", "#999933", "#882255", "#44AA99")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (3, 3)))
SERIES = tuple(zip(_COLOURS, _LINES, "os^DvP", strict=True))
_KNOWN_CHARACTERS = frozenset(get_font(findfont(*_LOOK["font.family"])).get_charmap())
_METADATA = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}


def figure_style() -> AbstractContextManager[None]:
    """The kit's style, as a ``with`` block or a decorator; matplotlib's settings are restored afterwards."""
    return matplotlib.style.context(_LOOK, after_reset=True)


class Picture(Figure):
    """A figure that has the kit's style wherever it is drawn, and that a notebook shows sharp, with its words."""

    draw = figure_style()(Figure.draw)  # ticks are made only now

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """PNG for tools that take pictures out of a notebook, and an HTML image for its page: only that has an ``alt``."""
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        png, alt = base64.b64encode(figure_png(self, dpi=200)).decode(), describe(self)
        size = f'width="{width}" height="{height}" style="height: auto"'
        page = f'<img alt="{html.escape(alt)}" {size} src="data:image/png;base64,{png}">'
        return {"image/png": png, "text/html": page}, {"image/png": {"width": width, "height": height, "alt": alt}}


def new_figure(width: float, height: float, title: str = "", note: str = "", layout: str = "constrained") -> Picture:
    """An empty figure of so many inches with a heading at its top left and a remark at its bottom left."""
    figure, rim = Picture(figsize=(width, height), dpi=100, layout=layout), 0.1
    figure.get_layout_engine().set(rect=(rim / width, rim / height, 1 - 2 * rim / width, 1 - 2 * rim / height))
    if title:
        figure.suptitle(fold(short(title, 16 * width), 9 * width - 2), x=rim / width, ha="left")
    if note:
        figure.supxlabel(fold(note, 12.5 * width, 3), x=rim / width, ha="left", color=NOTE)
    return figure


def describe(figure: Figure, most: int = 400) -> str:
    """The words that stand in a figure, heading first, for a reader who cannot see it; not the axes' numbers."""
    ticks = {text for axis in figure.findobj(Axis) for text in axis.findobj(Text) if text is not axis.label}
    texts = [*figure.texts, *(text for text in figure.findobj(Text) if text not in ticks)]
    words = "; ".join(dict.fromkeys(filter(None, (" ".join(text.get_text().split()) for text in texts))))
    pictures = len(figure.findobj(AxesImage))
    kind = f"Figure with {pictures} images" if pictures else "Diagram"
    return f"{kind}: {words if len(words) <= most else words[: most - 1] + '…'}"


def series(number: int) -> dict[str, Any]:
    """Colour, line style and marker of a run; beyond the first six, new pairings of the same ones."""
    colour, _, marker = SERIES[number % len(SERIES)]
    return {"color": colour, "linestyle": SERIES[(number + number // len(SERIES)) % len(SERIES)][1], "marker": marker}


def short(text: Any, letters: float) -> str:
    """One line of at most so many characters: an ellipsis in its middle, and a box for what the font does not have."""
    text = "".join(c if ord(c) in _KNOWN_CHARACTERS else "□" for c in " ".join(str(text).split()))
    keep = max(int(letters), 3) - 1
    return text if len(text) <= keep + 1 else text[: (keep + 1) // 2] + "…" + text[len(text) - keep // 2 :]


def fold(text: Any, letters: float, lines: int = 2) -> str:
    """``text`` broken between words into at most so many lines of so many characters, with an ellipsis at its end."""
    return "\n".join(textwrap.wrap(short(text, 999), max(int(letters), 3), max_lines=lines, placeholder="…"))


def frame(ax: Axes) -> None:
    """Draw all four sides of ``ax`` and leave out its ticks."""
    ax.spines[:].set(visible=True, color=LIGHT)
    ax.set(xticks=[], yticks=[])


def figure_png(figure: Figure, dpi: float = 100, kind: str = ".png", **metadata: str) -> bytes:
    """The figure as PNG (or SVG, PDF), ``dpi`` pixels per inch."""
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format=kind[1:], dpi=dpi, metadata={**_METADATA[kind], **metadata})
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | os.PathLike, alt: str, dpi: float = 150) -> Path:
    """Write a figure as PNG, atomically, and return the path.

    ``alt`` says what the picture shows, for a reader who cannot see it: the PNG's text ``Description``. Without it, or for
    another kind of file, a ``ValueError`` is raised; ``figure.savefig`` writes those.
    """
    path, alt = Path(path), " ".join(str(alt or "").split())
    if not alt or path.suffix.lower() != ".png":
        raise ValueError(f"expected a .png and alternative text, got {path.name!r} and {alt!r}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(figure_png(figure, dpi, Description=alt))
    return path


def show_twin(alt: str, png: bytes = b"") -> None:
    """A picture, or its words alone, behind a viewer, for a page without a kernel."""
    bundle = {"image/png": base64.b64encode(png).decode()} if png else {}
    display(bundle | {"text/plain": alt}, metadata={"image/png": {"alt": alt}}, raw=True)
