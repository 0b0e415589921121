"""Ranking: the protocol and its numbers, the fusion of two distances, and what a fusion changes."""

from __future__ import annotations

from casnkit.ranking.changes import RankChanges, rank_changes
from casnkit.ranking.fusion import fuse, normalise_distances
from casnkit.ranking.protocol import (
    QueryMatches,
    Ranking,
    RankingResult,
    RankingWarning,
    evaluate_ranking,
    ignored_mask,
    iterate_matches,
    matches_mask,
    rank_gallery,
)

__all__ = [
    "QueryMatches",
    "RankChanges",
    "Ranking",
    "RankingResult",
    "RankingWarning",
    "evaluate_ranking",
    "fuse",
    "ignored_mask",
    "iterate_matches",
    "matches_mask",
    "normalise_distances",
    "rank_changes",
    "rank_gallery",
]
