"""One query's ranked gallery as the screen needs it: pages, marks, and what the protocol left out and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from casnkit.data.records import JUNK_PID
from casnkit.ranking import Ranking

TILES = 10  # gallery images on a page
MARKS = {  # status of the protocol: (status on the screen, words)
    "correct": ("right", "same person"),
    "wrong": ("wrong", "another person"),
    "distractor": ("distractor", "distractor, counts as another person"),
    "junk": ("junk", "junk, not counted"),
    "same_camera": ("same camera", "same person and camera, not counted"),
    "unreadable": ("junk", "unreadable, not counted"),
    "unknown": ("unknown", "nobody knows who this is"),
}


class Tile(NamedTuple):
    """One gallery image in the list."""

    gallery: int
    position: int  # 1-based rank among those that count, 0 where it does not
    status: str  # out of MARKS
    distance: float  # to the query, by what is ranked by; lower is closer


@dataclass(frozen=True, eq=False)
class QueryRanking:
    """A query and its ranked gallery; the numbers are those of :func:`casnkit.evaluate_ranking`."""

    query: int
    pid: int
    distances: np.ndarray  # (G,)
    ranking: Ranking
    unreadable: tuple[int, ...] = ()  # gallery indices without a picture
    truth: bool = True  # whether it is known who is who

    def order(self, show_ignored: bool = False) -> np.ndarray:
        """Gallery indices as listed, nearest first."""
        return self.ranking.order if show_ignored else self.ranking.kept

    def pages(self, show_ignored: bool = False) -> int:
        """Pages that the list takes; at least one."""
        return max(1, -(-len(self.order(show_ignored)) // TILES))

    def page(self, number: int, show_ignored: bool = False) -> list[Tile]:
        """The tiles of one 0-based page."""
        return [self.tile(int(j)) for j in self.order(show_ignored)[number * TILES : (number + 1) * TILES]]

    def tile(self, j: int) -> Tile:
        """What is said of gallery image ``j``."""
        status = "unreadable" if j in self.unreadable else str(self.ranking.status[j])
        status = status if self.truth or status != "wrong" else "unknown"
        return Tile(j, int(self.ranking.position[j]), status, float(self.distances[j]))

    def first(self) -> int:
        """The nearest image that counts; where none does, the nearest of all."""
        return int((self.ranking.kept if len(self.ranking.kept) else self.ranking.order)[0])

    def first_of(self, status: str) -> int | None:
        """The nearest image with that mark (``wrong``: or a distractor), or None."""
        wanted = (status, "distractor") if status == "wrong" else (status,)
        return next((int(j) for j in self.ranking.kept if self.ranking.status[j] in wanted), None)

    @property
    def matches(self) -> np.ndarray:
        """Gallery indices of the true matches, nearest first."""
        return self.ranking.kept[self.ranking.status[self.ranking.kept] == "correct"]

    def protocol(self) -> str:
        """A sentence or two: what was left out and why, and how many true matches there are."""
        status, unreadable = self.ranking.status, len(self.unreadable)
        left = {"of the same person and camera": int((status == "same_camera").sum()), "unreadable": unreadable}
        left["junk"] = int((status == "junk").sum()) - unreadable
        reasons = ", ".join(f"{count} {words}" for words, count in left.items() if count)
        out = f"{sum(left.values())} left out ({reasons})" if reasons else "none left out"
        text = f"{len(self.ranking.kept)} of {len(status)} gallery images count, {out}."
        if not self.truth:
            return text
        if math.isnan(self.ranking.average_precision):
            why = "it is junk" if self.pid == JUNK_PID else "nobody in the counted gallery is this person"
            return f"{text} No true match: {why}, so this query is left out of every mean."
        return f"{text} True matches: {len(self.matches)}."

    def scores(self) -> str:
        """AP and first hit."""
        if math.isnan(self.ranking.average_precision):
            return "AP undefined, no first hit" if self.truth else "no truth, no AP"
        return f"AP {100 * self.ranking.average_precision:.2f} %, first hit at rank {self.ranking.first_hit + 1}"
