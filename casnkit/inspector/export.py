"""A view as files: picture, ranking, state."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from casnkit.data.files import write_json, write_text

from ..figures import save_figure
from .desk import Desk
from .twins import FIGURES
from .views import verdict

KINDS = ("png", "svg", "csv", "json")
COLUMNS = ("rank", "mark", "distance", "gallery_index", "person", "camera", "file")


def export(desk: Desk, folder: str | Path, kind: str, view: str = "pair") -> Path:
    """Write the view ``view`` (png, svg), the query's whole ranking (csv) or the state (json); returns the path.

    The file's name says the network, the query, and the method.

    Raises:
        ValueError: an unknown kind or view; or no room on the disk.
    """
    if kind not in KINDS:
        raise ValueError(f"expected a kind of file out of {', '.join(KINDS)}, got {kind!r}")
    path = (
        Path(folder)
        / f"{file_stem(desk, view if kind in ('png', 'svg') else 'ranking' if kind == 'csv' else 'state')}.{kind}"
    )
    if kind == "json":
        write_json(path, desk.current.to_dict())
    elif kind == "csv":
        write_text(path, ranking_csv(desk))
    else:
        if view not in FIGURES:
            raise ValueError(f"expected a view out of {', '.join(FIGURES)}, got {view!r}")
        save_figure(FIGURES[view](desk), path, describe(desk, view))
    return path


def file_stem(desk: Desk, view: str) -> str:
    """``casn_gap-query17-siamese-pair``: letters, digits, dashes only, whatever a model is called."""
    state = desk.current
    parts = [state.model, f"query{state.query}", state.method, view]
    return "-".join("".join(c if c.isascii() and c.isalnum() else "_" for c in part).strip("_")[:40] for part in parts)


def ranking_csv(desk: Desk) -> str:
    """The query's whole gallery in order, ignored images included (their rank is empty)."""
    ranking, names = desk.ranking(), desk.library.gallery
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for j in ranking.order(show_ignored=True):
        tile = ranking.tile(int(j))
        rank = tile.position or ""
        writer.writerow(
            [rank, tile.status, repr(tile.distance), tile.gallery, tile.pid, tile.camid, names.name(int(j))]
        )
    return buffer.getvalue()


def describe(desk: Desk, view: str) -> str:
    """The picture in words, for those who cannot see it."""
    state, ranking = desk.current, desk.ranking()
    text = f"{view} view of query {state.query} (person {ranking.pid}), {state.model}: {ranking.scores()}."
    if view in ("pair", "alignment", "difference", "what if"):
        text += f" Beside gallery image {desk.gallery}: {verdict(desk.pair())[2]}."
    return text
