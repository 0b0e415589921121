"""What the viewer draws, as plain values: functions from arrays and PIL images to JSON; nothing here knows a network.

A *view* is a dict of sections (``state``, ``controls``, ``strip``, ``pair``, ...). In a notebook each section is a trait of
the widget, in a page without a kernel all of them are embedded as JSON, with one more section, ``pairs``. Maps travel as
numbers and are normalised, coloured and cropped where they are drawn.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from casnkit.explain.correspondence import mutual_best

_LARGEST = 2**15 - 1  # of the whole numbers in which a correspondence travels


def jpeg(image: Image.Image, rows: int, quality: int = 88) -> str:
    """A picture as a data URI, made smaller where it has more than ``rows`` rows."""
    small, buffer = image.convert("RGB"), io.BytesIO()
    small.thumbnail((image.width, rows), Image.Resampling.BILINEAR, reducing_gap=None)
    small.save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def picture(image: Image.Image | None, title: str = "", name: str = "", error: str = "") -> dict[str, Any]:
    """One of a pair's pictures; without an image, ``error`` says why it cannot be shown."""
    width, height = image.size if image else (64, 128)
    shown = {"src": jpeg(image, rows=384) if image else "", "width": width, "height": height}
    error = error or "This picture cannot be read." * (image is None)
    return {**shown, "title": title, "name": name, "error": error}


def method(name: str, title: str, maps: Sequence[Any], *, target: str = "", signed: bool = False, judges: bool = True,
           league: str = "", note: str = "") -> dict[str, Any]:  # fmt: skip
    """Two raw maps (h, w), not normalised, of one method; an empty map gets a note that says so."""
    maps = [np.asarray(values, np.float64) for values in maps]
    empty = [side for side, values in zip(("query", "gallery"), maps, strict=True) if not values.any()]
    if empty and not note:
        note = f"The map of the {' and of the '.join(empty)} picture is 0 everywhere: nothing speaks for the target."
    numbers = [[float(f"{value:.4g}") for value in values.ravel()] for values in maps]
    about = {"target": target, "signed": signed, "judges": judges, "league": league, "note": note}
    return {"name": name, "title": title, "grid": [list(values.shape) for values in maps], "maps": numbers, **about}


def correspondence(matrix: Any, grids: Sequence[Sequence[int]]) -> dict[str, Any]:
    """A matrix (h1 * w1, h2 * w2), whose entries sum to the score, as whole numbers times a scale (2 bytes an entry).

    ``mutual``: cells that are each other's best partner, [i, j, share of the score], strongest first.
    """
    matrix = np.asarray(matrix, np.float64)
    expected = tuple(int(height) * int(width) for height, width in grids)
    if matrix.shape != expected or not np.isfinite(matrix).all():
        raise ValueError(f"expected a finite matrix {expected} for the grids {list(grids)}, got {matrix.shape}")
    score, scale = float(matrix.sum()), float(np.abs(matrix).max()) / _LARGEST or 1.0
    (mutual,) = mutual_best(torch.from_numpy(matrix)[None])
    return {
        "title": "cosine, exact", "score": score, "grids": [list(map(int, grid)) for grid in grids], "scale": scale,
        "values": base64.b64encode(np.rint(matrix / scale).astype("<i2").tobytes()).decode(),
        "mutual": [[i, j, float(f"{value / (score or 1.0):.4g}")] for i, j, value in mutual],
    }  # fmt: skip


def pair(query: Mapping[str, Any], gallery: Mapping[str, Any], status: str, methods: Sequence[Mapping[str, Any]],
         heading: str = "", **fields: Any) -> dict[str, Any]:  # fmt: skip
    """Two pictures and all that is drawn and said of them; ``fields``: judges, verdict, correspondence, numbers, note."""
    found = {"query": query, "gallery": gallery, "status": status, "methods": list(methods), "heading": heading}
    return {**found, "judges": True, **fields}
