"""What another network, or another way of ranking, does to the ranks of the true matches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..ranking import RankChanges, rank_changes
from .networks import Network
from .rankings import QueryRanking
from .slices import Portion, Steps, finish

SORTS = {"change": "largest change first", "before": "by rank before", "after": "by rank after"}
MOST = 64  # queries at a time


@dataclass(frozen=True)
class Side:
    """A network and by what it ranks."""

    network: Network
    ranked_by: str

    @property
    def label(self) -> str:
        """Network and way of ranking, as one reads them."""
        return f"{self.network.name} by {'both' if self.ranked_by == 'sum' else self.ranked_by}"


@dataclass(frozen=True)
class Move:
    """One true match: gallery index, its 1-based ranks, and the places gained (below 0: lost)."""

    gallery: int
    before: int
    after: int

    @property
    def gain(self) -> int:
        """Places gained; below 0: lost."""
        return self.before - self.after

    @property
    def arrow(self) -> str:
        """Up, down or equal, as a sign that needs no colour."""
        return "▲" if self.gain > 0 else "▼" if self.gain < 0 else "="

    @property
    def text(self) -> str:
        """``#9 → #2  ▲ 7``."""
        moved = f"{self.arrow} {abs(self.gain)}" if self.gain else "= 0"
        return f"rank {self.before:>5} → {self.after:<5} {moved:>7}"


def query_moves(before: QueryRanking, after: QueryRanking, sort: str = "change") -> list[Move]:
    """Every true match of one query under two rankings; empty where it has none."""
    if sort not in SORTS:
        raise ValueError(f"expected an order out of {', '.join(SORTS)}, got {sort!r}")
    moves = [Move(int(j), int(before.ranking.position[j]), int(after.ranking.position[j])) for j in after.matches]
    keys = {"change": lambda m: -abs(m.gain), "before": lambda m: m.before, "after": lambda m: m.after}
    return sorted(moves, key=keys[sort])


def all_moves(
    before: Side, after: Side, progress: Callable[[int, int], object] = lambda done, total: None
) -> RankChanges:
    """Every true match of every query under two rankings.

    Raises:
        ValueError: no query has a match.
    """
    return finish(all_moves_steps(before, after), progress)


def all_moves_steps(before: Side, after: Side) -> Steps[RankChanges]:
    """:func:`all_moves` in slices, some queries at a time."""
    q, g, found = after.network.dataset.query, after.network.dataset.gallery, []
    start, portion = 0, Portion(MOST)
    while start < len(q):
        portion.begin()
        part = np.arange(start, min(start + portion.size, len(q)))
        rows = [side.network.part(part, side.ranked_by) for side in (before, after)]
        try:
            changes = rank_changes(*rows, q.pids[part], q.camids[part], g.pids, g.camids)
        except ValueError as error:
            if "at least one query with a match" not in str(error):
                raise
        else:
            found.append((part[changes.query], changes.gallery, changes.before, changes.after))
        portion.end()
        start += len(part)
        yield start, len(q)
    if not found:
        raise ValueError("no query has a true match in the gallery: there are no ranks to compare")
    return RankChanges(*(np.concatenate(column) for column in zip(*found, strict=True)))


def summary_text(changes: RankChanges) -> str:
    """The counts in one sentence or two."""
    s = changes.summary()
    return (
        f"{s['num_matches']} true matches of {s['num_queries']} queries: {s['improved']} moved up, {s['worsened']} fell, "
        f"{s['unchanged']} stayed; mean rank {s['mean_rank_before']:.1f} → {s['mean_rank_after']:.1f}; rank 1 gained by "
        f"{s['rank_1_gained']} queries, lost by {s['rank_1_lost']}"
    )
