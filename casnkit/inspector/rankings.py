"""One query's ranked gallery as the screen needs it: pages, marks, and what the protocol left out and why."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..data.records import JUNK_PID, UNKNOWN_CAMERA, Split
from ..ranking import Ranking
from .state import TILES, pages

# status: (glyph, words)
MARKS = {
    "correct": ("✓", "same person"),
    "wrong": ("✗", "another person"),
    "distractor": ("○", "distractor"),
    "junk": ("–", "junk"),
    "same_camera": ("=", "same person, same camera"),
    "unreadable": ("!", "unreadable"),
}


@dataclass(frozen=True)
class Tile:
    """One gallery image in the list.

    Attributes:
        gallery: index.
        position: 1-based rank among those that count, 0 where it does not.
        status: out of :data:`MARKS`.
        distance: to the query, by what is ranked by; lower is closer.
        pid, camid: as in the files.
    """

    gallery: int
    position: int
    status: str
    distance: float
    pid: int
    camid: int

    @property
    def label(self) -> str:
        """``✓ 3`` or, where it does not count, the glyph alone."""
        return f"{MARKS[self.status][0]} {self.position}" if self.position else MARKS[self.status][0]

    @property
    def words(self) -> str:
        """All of it in words, for a tooltip and for those who cannot see the picture."""
        rank = f"rank {self.position}" if self.position else "no rank"
        camera = "unknown" if self.camid == UNKNOWN_CAMERA else self.camid
        rank += "" if self.position else " (not counted)"
        return (
            f"{rank}: {MARKS[self.status][1]}; person {self.pid}, camera {camera}, distance {self.distance:.4f}; "
            f"gallery image {self.gallery}"
        )


@dataclass(frozen=True, eq=False)
class QueryRanking:
    """A query, its distances and its ranking; the numbers are those of :func:`casnkit.evaluate_ranking`.

    Attributes:
        query, pid, camid: of the query.
        distances: (G,).
        ranking: of the protocol.
        gallery: the gallery's records.
        unreadable: gallery indices without a picture.
    """

    query: int
    pid: int
    camid: int
    distances: np.ndarray
    ranking: Ranking
    gallery: Split
    unreadable: tuple[int, ...] = ()

    def order(self, show_ignored: bool = False) -> np.ndarray:
        """Gallery indices as listed, nearest first."""
        return self.ranking.order if show_ignored else self.ranking.kept

    def page(self, number: int, show_ignored: bool = False, size: int = TILES) -> list[Tile]:
        """The tiles of one 0-based page."""
        return [self.tile(int(j)) for j in self.order(show_ignored)[number * size : (number + 1) * size]]

    def page_of(self, gallery: int, show_ignored: bool = False, size: int = TILES) -> int | None:
        """The page on which a gallery image stands, or None."""
        (place,) = np.nonzero(self.order(show_ignored) == gallery)
        return int(place[0]) // size if len(place) else None

    def num_pages(self, show_ignored: bool = False) -> int:
        """Pages that the gallery takes; at least one."""
        return pages(len(self.order(show_ignored)))

    def tile(self, j: int) -> Tile:
        """What stands below the picture of gallery image ``j``."""
        status = "unreadable" if j in self.unreadable else str(self.ranking.status[j])
        place, distance = int(self.ranking.position[j]), float(self.distances[j])
        return Tile(j, place, status, distance, int(self.gallery.pids[j]), int(self.gallery.camids[j]))

    def first(self) -> int | None:
        """The nearest image that counts; where none does, the nearest of all; None in an empty gallery."""
        order = self.ranking.kept if len(self.ranking.kept) else self.ranking.order
        return int(order[0]) if len(order) else None

    def first_of(self, status: str) -> int | None:
        """The nearest image with that mark (``wrong``: or a distractor), or None."""
        wanted = (status, "distractor") if status == "wrong" else (status,)
        found = [j for j in self.ranking.kept if self.ranking.status[j] in wanted]
        return int(found[0]) if found else None

    @property
    def matches(self) -> np.ndarray:
        """Gallery indices of the true matches, nearest first."""
        return self.ranking.kept[self.ranking.status[self.ranking.kept] == "correct"]

    def left_out(self) -> dict[str, int]:
        """How many gallery images do not count for this query, by reason."""
        status = self.ranking.status
        junk = int((status == "junk").sum()) - len(self.unreadable)
        return {"same_camera": int((status == "same_camera").sum()), "junk": junk, "unreadable": len(self.unreadable)}

    def protocol(self) -> str:
        """One sentence or two: what was left out and why, how many true matches there are, AP and first hit."""
        counts = self.left_out()
        reasons = [
            f"{counts['same_camera']} of the same person and camera" * bool(counts["same_camera"]),
            f"{counts['junk']} junk" * bool(counts["junk"]),
            f"{counts['unreadable']} unreadable" * bool(counts["unreadable"]),
        ]
        reasons = [reason for reason in reasons if reason]
        left = f"{sum(counts.values())} left out ({', '.join(reasons)})" if reasons else "none left out"
        text = f"{len(self.ranking.kept)} of {len(self.ranking.order)} gallery images count, {left}."
        if math.isnan(self.ranking.average_precision):
            why = "it is junk" if self.pid == JUNK_PID else "nobody in the counted gallery is this person"
            return f"{text} No true match: {why}, so this query is left out of every mean."
        return f"{text} True matches: {len(self.matches)}."

    def scores(self) -> str:
        """AP and first hit."""
        if math.isnan(self.ranking.average_precision):
            return "AP undefined, no first hit"
        return f"AP {100 * self.ranking.average_precision:.2f} %, first hit at rank {self.ranking.first_hit + 1}"

    def digits(self) -> str:
        """Both average precisions, every digit."""
        found = self.ranking
        return f"average precision {found.average_precision!r}, by trapezoids {found.average_precision_trapezoid!r}"
