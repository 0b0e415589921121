"""Figures to bytes and to files: alternative text inside, no timestamp, so the same picture is the same bytes."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from PIL import ExifTags, Image

from casnkit.data.files import atomic_path

from .style import figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METADATA = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}


def figure_png(figure: Figure, dpi: float = 100) -> bytes:
    """The figure as PNG, ``dpi`` pixels per inch."""
    return _render(figure, ".png", dpi, {})


def save_figure(figure: Figure, path: str | os.PathLike, alt: str, dpi: float = 150) -> Path:
    """Write a figure with its alternative text, atomically, and return the path.

    Args:
        figure: what a ``show_...`` function returned.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.
        alt: what the picture shows, for a reader who cannot see it. In the PNG it is the text ``Description``, in the
            SVG its ``<desc>``, in the PDF the subject.
        dpi: pixels per inch; 150 makes a page-wide figure 1350 pixels wide.

    Raises:
        ValueError: no alternative text, or another kind of file.
        DiskFullError: no room; what stood at ``path`` is kept.
    """
    path, alt = Path(path), " ".join(str(alt or "").split())
    if not alt:
        raise ValueError(
            f"expected alternative text for {path.name} (a sentence that says what is to be seen), got none"
        )
    kind = path.suffix.lower()
    if kind not in _METADATA:
        raise ValueError(f"expected a figure file that ends in .png, .svg or .pdf, got {path.name!r}")
    data = _render(figure, kind, dpi, {"Subject": alt} if kind == ".pdf" else {"Description": alt})
    if kind == ".svg":
        data = _described(data.decode("utf-8"), alt).encode("utf-8")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return path


def save_animation(
    figures: Sequence[Figure], path: str | os.PathLike, alt: str, milliseconds: int = 1600, dpi: float = 100
) -> Path:
    """Write figures of one size as a moving picture that runs in a circle, atomically, and return the path.

    Args:
        figures: the frames.
        path: ends in ``.webp``, which browsers show and which, other than GIF, keeps the colours of maps.
        alt: what is to be seen; it is kept as the file's description.
        milliseconds: how long each frame stands.
        dpi: pixels per inch; 100 makes a page-wide picture 900 pixels wide.

    Raises:
        ValueError: no frames, frames of several sizes, no alternative text, or another kind of file.
        DiskFullError: no room; what stood at ``path`` is kept.
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
    with atomic_path(path) as temporary:
        frames[0].save(temporary, "WEBP", save_all=True, append_images=frames[1:], **options)
    return path


def _render(figure: Figure, kind: str, dpi: float, metadata: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format=kind[1:], dpi=dpi, metadata={**_METADATA[kind], **metadata})
    return buffer.getvalue()


def _described(svg: str, alt: str) -> str:
    """Put ``<desc>`` right behind the opening tag, where browsers and screen readers look for it."""
    start = svg.index("<svg")
    end = svg.index(">", start)
    return f'{svg[:end]} role="img">\n <desc>{escape(alt)}</desc>{svg[end + 1 :]}'
