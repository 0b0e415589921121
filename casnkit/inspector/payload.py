"""What the viewer draws, as plain values: functions from arrays and PIL images to JSON; nothing here knows a network.

A *view* is a dict of sections (``state``, ``controls``, ``strip``, ``pair``, ...). In a notebook each section is a trait of
the widget, in a page without a kernel all of them are embedded as JSON, with one more section, ``pairs``. Maps travel as
numbers and are normalised, coloured and cropped where they are drawn.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

SECTIONS = ("state", "controls", "strip", "pair", "compare", "failures", "what_if", "notes", "busy", "error")
STATUSES = ("right", "wrong", "junk", "distractor", "same camera", "unknown")
COLOURS = ("inferno", "cividis", "viridis", "grey")
PICTURE_ROWS, TILE_ROWS = 384, 96  # tallest picture and tile that is sent
UNTRAINED = "The pair classifier of this network was not trained: it judges nothing."
_LARGEST = 2**15 - 1  # of the whole numbers in which a correspondence travels

STATE: dict[str, Any] = {  # fields that the browser changes alone; the inspector adds its own
    "tab": "pair", "opacity": 0.55, "threshold": 0.5, "colours": "inferno", "scale": "own", "contour": True,
    "correspondence": True, "theme": "auto", "projector": False, "rectangle": None,
}  # fmt: skip


def control(name: str, kind: str, label: str, **fields: Any) -> dict[str, Any]:
    """A native control for a field of the state, or a button for an action; ``options``: [(value, text), ...]."""
    return {"name": name, "kind": kind, "label": label, **fields}


LOOK = [  # how a pair is drawn: the browser answers these without asking
    control("opacity", "range", "Opacity", min=0, max=1, step=0.01),
    control("threshold", "range", "Threshold t", min=0, max=0.99, step=0.01, hint="share of the map's maximum"),
    control("colours", "select", "Colours", options=[[name, name] for name in COLOURS]),
    control("scale", "select", "Scale", options=[["own", "each map's own maximum"], ["shared", "one for both maps"]]),
    control("contour", "check", "Contour at t"),
    control("correspondence", "check", "Like with like", hint="a cell's partners in the other picture, and lines"),
    control("projector", "check", "Projector", hint="larger letters and pictures"),
    control("theme", "select", "Theme", options=[["auto", "as the page"], ["light", "light"], ["dark", "dark"]]),
    control("png", "button", "Save as PNG", hint="what is on screen, at twice its size"),
]


def jpeg(image: Image.Image, rows: int = PICTURE_ROWS, quality: int = 88) -> dict[str, Any]:
    """``src`` (a data URI), ``width`` and ``height`` of a picture, made smaller where it has more than ``rows`` rows."""
    image = image.convert("RGB")
    size = image.width, image.height
    if image.height > rows:
        image = image.resize((max(1, round(image.width * rows / image.height)), rows), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"src": f"data:image/jpeg;base64,{data}", "width": size[0], "height": size[1]}


def picture(
    image: Image.Image | None, title: str = "", name: str = "", error: str = "", **fields: Any
) -> dict[str, Any]:
    """One of a pair's pictures; without an image, ``error`` says why it cannot be shown."""
    shown = jpeg(image) if image is not None else {"src": "", "width": 64, "height": 128}
    if image is None and not error:
        error = "This picture cannot be read."
    return {**shown, "title": title, "name": name, "error": error, **fields}


def tile(image: Image.Image | None, status: str, caption: str = "", **fields: Any) -> dict[str, Any]:
    """An entry of a strip. ``fields``: gallery or pair, rank, distance (text), name, chosen, pinned, query (a picture)."""
    if status not in STATUSES:
        raise ValueError(f"expected a status out of {', '.join(STATUSES)}, got {status!r}")
    shown = jpeg(image, TILE_ROWS, 80) if image is not None else {"src": "", "width": 64, "height": 128}
    return {**shown, "rank": None, "status": status, "caption": caption, "distance": "", "name": "", **fields}


def strip(
    title: str, tiles: Sequence[Mapping[str, Any]], page: int = 0, pages: int = 1, note: str = ""
) -> dict[str, Any]:
    """A row of tiles; ``note`` says what the protocol left out."""
    return {"title": title, "page": page, "pages": pages, "note": note, "tiles": list(tiles)}


def method(name: str, title: str, maps: Sequence[Any], *, target: str = "", signed: bool = False, judges: bool = True,
           league: str = "", note: str = "") -> dict[str, Any]:  # fmt: skip
    """Two raw maps (h, w), not normalised, of one method; an empty map gets a note that says so."""
    maps = [np.asarray(values, np.float64) for values in maps]
    for values in maps:
        if values.ndim != 2 or not np.isfinite(values).all():
            raise ValueError(f"expected two finite maps (h, w), got one of shape {values.shape}")
    empty = [side for side, values in zip(("query", "gallery"), maps, strict=True) if not values.any()]
    if empty and not note:
        note = f"The map of the {' and of the '.join(empty)} picture is 0 everywhere: nothing speaks for the target."
    numbers = [[float(f"{value:.4g}") for value in values.ravel()] for values in maps]
    about = {"target": target, "signed": signed, "judges": judges, "league": league, "note": note}
    return {"name": name, "title": title, "grid": [list(values.shape) for values in maps], "maps": numbers, **about}


def correspondence(
    matrix: Any, grids: Sequence[Sequence[int]], score: float, title: str = "cosine, exact"
) -> dict[str, Any]:
    """A matrix (h1 * w1, h2 * w2) whose entries sum to ``score``, as whole numbers times a scale (2 bytes an entry).

    ``mutual``: cells that are each other's best partner, [i, j, share of the score], strongest first.
    """
    matrix = np.asarray(matrix, np.float64)
    expected = tuple(int(height) * int(width) for height, width in grids)
    if matrix.shape != expected or not np.isfinite(matrix).all():
        raise ValueError(f"expected a finite matrix {expected} for the grids {list(grids)}, got {matrix.shape}")
    scale = float(np.abs(matrix).max()) / _LARGEST or 1.0
    whole = np.rint(matrix / scale).astype("<i2")
    best = matrix.argmax(1)
    mutual = [(i, int(j)) for i, j in enumerate(best) if matrix[:, j].argmax() == i and matrix[i, j] > 0]
    mutual.sort(key=lambda cells: -matrix[cells])
    total = score or 1.0
    return {
        "title": title, "score": float(score), "grids": [list(map(int, grid)) for grid in grids], "scale": scale,
        "values": base64.b64encode(whole.tobytes()).decode(),
        "mutual": [[i, j, float(f"{matrix[i, j] / total:.4g}")] for i, j in mutual],
    }  # fmt: skip


def number(name: str, text: str, hint: str = "") -> dict[str, str]:
    """One number that is said of a pair, as text."""
    return {"name": name, "text": text, "hint": hint}


def pair(query: Mapping[str, Any], gallery: Mapping[str, Any], status: str, methods: Sequence[Mapping[str, Any]],
         **fields: Any) -> dict[str, Any]:  # fmt: skip
    """Two pictures and all that is drawn and said of them.

    ``fields``: heading, judges, verdict, correspondence, numbers, note. With ``judges=False`` the verdict is what is said of
    every network whose pair classifier was not trained.
    """
    found = {"heading": "", "judges": True, "verdict": "", "correspondence": {}, "numbers": [], "note": "", **fields}
    if not found["judges"]:
        found["verdict"] = UNTRAINED
    return {"query": dict(query), "gallery": dict(gallery), "status": status, "methods": list(methods), **found}
