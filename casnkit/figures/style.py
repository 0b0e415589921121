"""One look for every picture, and figures as files: colours, type, alternative text inside, no timestamp.

Figures are at most :data:`PAGE_WIDTH` inches wide and letters at least :data:`SMALL` points tall: shown 900 pixels wide,
as in a README, the smallest letter is 12.5 px. matplotlib's constrained layout places the panels and their labels.
"""

import base64
import contextlib
import functools
import html
import io
import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Annotation
from PIL import ExifTags, Image

from casnkit.data.files import atomic_path

PAGE_WIDTH = 9.0  # inches
SMALL, NORMAL, LARGE = 9.0, 10.0, 12.0  # points
BLUE, ORANGE, GREY, LIGHT, INK, NOTE = "#0072B2", "#D55E00", "#8C8C8C", "#D9D9D9", "#222222", "#555555"
DASHED, DOTTED = (0, (4, 2)), (0, (1, 1.5))
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
    "text.color": INK,
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.labelsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": NORMAL,
    "figure.labelsize": SMALL,
    "figure.titlesize": LARGE,
    "figure.titleweight": "bold",
    "grid.color": LIGHT,
    "grid.linewidth": 0.6,
    "image.interpolation": "nearest",
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "svg.hashsalt": "casnkit",
    **{f"{axis}tick.color": GREY for axis in "xy"},
    **{f"{axis}tick.labelcolor": INK for axis in "xy"},
    **{f"{axis}tick.labelsize": SMALL for axis in "xy"},
}
_METADATA = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the kit's style inside the block; matplotlib's settings are restored afterwards."""
    with matplotlib.style.context(_RC, after_reset=True):
        yield


class Picture(Figure):
    """A figure that has the kit's style wherever it is drawn, and that a notebook shows sharp, with its words."""

    def draw(self, renderer: Any) -> None:
        """Draw in the kit's style: ticks are made only now."""
        with figure_style():
            super().draw(renderer)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = self.get_size_inches()
        return figure_png(self, dpi=200), {"width": round(width * 100), "height": round(height * 100)}

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """PNG for tools that take pictures out of a notebook, and an HTML image for its page: only that has an ``alt``."""
        data, size = self._repr_png_()
        png, alt = base64.b64encode(data).decode(), describe(self)
        shown = " ".join(f'{name}="{value}"' for name, value in size.items())
        page = f'<img alt="{html.escape(alt)}" {shown} style="height: auto" src="data:image/png;base64,{png}">'
        return {"image/png": png, "text/html": page}, {"image/png": {**size, "alt": alt}}


def new_figure(width: float, height: float, title: str = "", note: str = "", layout: str = "constrained") -> Picture:
    """An empty figure of so many inches with a heading at its top left and a remark at its bottom left."""
    figure = Picture(figsize=(width, height), dpi=100, layout=layout)
    rim = 0.1  # inches
    figure.get_layout_engine().set(rect=(rim / width, rim / height, 1 - 2 * rim / width, 1 - 2 * rim / height))
    if title:
        figure.suptitle(fold(title, 9 * width - 2), x=rim / width, ha="left")
    if note:
        figure.supxlabel(fold(note, 12.5 * width, 3), x=rim / width, ha="left", color=NOTE)
    return figure


def describe(figure: Figure, most: int = 400) -> str:
    """The words that stand in a figure, for a reader who cannot see it: headings, captions, axes, legends."""
    words, legends = [text.get_text() for text in (*figure.texts, *figure.findobj(Annotation))], list(figure.legends)
    for ax in figure.axes:
        words += [ax.get_title(loc) for loc in ("left", "center")]
        words += [ax.get_xlabel(), ax.get_ylabel()] if ax.axison else []
        legends += [ax.get_legend()] if ax.get_legend() else []
    words += [text.get_text() for legend in legends for text in legend.get_texts()]
    pictures = sum(len(ax.images) for ax in figure.axes)
    kind = f"Figure with {pictures} images" if pictures else "Diagram"
    found = "; ".join(dict.fromkeys(filter(None, (" ".join(word.split()) for word in words))))
    return f"{kind}: {found if len(found) <= most else found[: most - 1] + '…'}" if found else kind


def series(number: int) -> dict[str, Any]:
    """Colour, line style and marker of a run; beyond the first six, new pairings of the same ones."""
    colour, _, marker = SERIES[number % len(SERIES)]
    return {"color": colour, "linestyle": SERIES[(number + number // len(SERIES)) % len(SERIES)][1], "marker": marker}


def short(text: Any, letters: float) -> str:
    """One line of at most so many characters: an ellipsis in its middle, and a box for what the font does not have."""
    text = "".join(c if ord(c) in _known_characters() else "□" for c in " ".join(str(text).split()))
    keep = max(int(letters), 3) - 1
    return text if len(text) <= keep + 1 else text[: (keep + 1) // 2] + "…" + text[len(text) - keep // 2 :]


def fold(text: Any, letters: float, lines: int = 2) -> str:
    """``text`` broken between words into at most so many lines of so many characters, shortened in its middle."""
    width = max(int(letters), 3)
    for keep in range(width * lines, 2, -1):
        broken = textwrap.wrap(short(text, keep), width)
        if len(broken) <= lines:
            break
    return "\n".join(broken)


@functools.cache
def _known_characters() -> frozenset[int]:
    return frozenset(get_font(findfont(_FONT)).get_charmap())


def frame(ax: Axes, colour: str = LIGHT) -> None:
    """Draw all four sides of ``ax`` and leave out its ticks."""
    ax.spines[:].set(visible=True, color=colour)
    ax.set(xticks=[], yticks=[])


def figure_png(figure: Figure, dpi: float = 100) -> bytes:
    """The figure as PNG, ``dpi`` pixels per inch."""
    return _render(figure, ".png", dpi, {})


def _render(figure: Figure, kind: str, dpi: float, metadata: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format=kind[1:], dpi=dpi, metadata={**_METADATA[kind], **metadata})
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | os.PathLike, alt: str, dpi: float = 150) -> Path:
    """Write a figure with its alternative text, atomically, and return the path.

    Args:
        figure: what a ``show_...`` function returned.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.
        alt: what the picture shows, for a reader who cannot see it: the PNG's text ``Description``, the SVG's ``<desc>``,
            the PDF's subject. Without it, or for another kind of file, a ``ValueError`` is raised.
        dpi: pixels per inch; 150 makes a page-wide figure 1350 pixels wide.
    """
    path, alt = Path(path), " ".join(str(alt or "").split())
    kind = path.suffix.lower()
    if not alt:
        raise ValueError(
            f"expected alternative text for {path.name}: a sentence that says what is to be seen, got none"
        )
    if kind not in _METADATA:
        raise ValueError(f"expected a figure file that ends in .png, .svg or .pdf, got {path.name!r}")
    data = _render(figure, kind, dpi, {"Subject" if kind == ".pdf" else "Description": alt})
    if kind == ".svg":  # <desc> right behind the opening tag, where browsers and screen readers look for it
        head, _, rest = data.decode().partition("<svg")
        tag, _, body = rest.partition(">")
        data = f'{head}<svg{tag} role="img">\n <desc>{escape(alt)}</desc>{body}'.encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return path


def save_animation(
    figures: Sequence[Figure], path: str | os.PathLike, alt: str, milliseconds: int = 1600, dpi: float = 100
) -> Path:
    """Write figures of one size as a WebP picture that runs in a circle, atomically, and return the path.

    ``alt`` says what is to be seen and is kept as the file's description; each frame stands for ``milliseconds``.
    No frames, frames of several sizes, no ``alt`` or another ending than ``.webp`` raise a ``ValueError``.
    """
    path, alt = Path(path), " ".join(str(alt or "").split())
    if not alt or path.suffix.lower() != ".webp":
        raise ValueError(f"expected a file that ends in .webp and alternative text, got {path.name!r} and {alt!r}")
    frames = [Image.open(io.BytesIO(figure_png(figure, dpi))).convert("RGB") for figure in figures]
    if len({frame.size for frame in frames}) != 1:
        raise ValueError(f"expected frames of one size, got {sorted({frame.size for frame in frames}) or 'none'}")
    description = Image.Exif()
    description[ExifTags.Base.ImageDescription] = alt
    options = {"duration": milliseconds, "loop": 0, "quality": 85, "exif": description}
    with atomic_path(path) as temporary:  # WebP keeps the colours of maps, which GIF does not
        frames[0].save(temporary, "WEBP", save_all=True, append_images=frames[1:], **options)
    return path
