"""Ranking: the protocol and its numbers, attention for all pairs, the fusion of two distances, and what it changes.

The protocol needs numpy alone; what computes with torch is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from casnkit.ranking.breakdown import CameraPairs, camera_pairs
from casnkit.ranking.changes import RankChanges, rank_changes
from casnkit.ranking.fusion import fuse, normalise_distances
from casnkit.ranking.matching import QueryMatches, ignored_mask, iterate_matches, matches_mask
from casnkit.ranking.protocol import evaluate_ranking, rank_gallery
from casnkit.ranking.rerank import Blocks, rerank, rerank_features, rerank_with_attention
from casnkit.ranking.results import Ranking, RankingResult, RankingWarning
from casnkit.ranking.verification import (
    Decision,
    PairDistances,
    Verification,
    choose_thresholds,
    error_rates,
    pair_distances,
    verify,
)
from casnkit.ranking.weighting import WeightCurve, choose_weight

if TYPE_CHECKING:
    from casnkit.ranking.extract import Extracted, feature_distances
    from casnkit.ranking.pairs import nearest_gallery, pair_maps, row_profiles
    from casnkit.ranking.pairwise import PairwiseResult, attention_distances
    from casnkit.ranking.request import choose_engine

_HOME = {
    "Extracted": "extract",
    "PairwiseResult": "pairwise",
    "attention_distances": "pairwise",
    "choose_engine": "request",
    "feature_distances": "extract",
    "nearest_gallery": "pairs",
    "pair_maps": "pairs",
    "row_profiles": "pairs",
}

__all__ = [
    "Blocks",
    "CameraPairs",
    "Decision",
    "Extracted",
    "PairDistances",
    "PairwiseResult",
    "QueryMatches",
    "RankChanges",
    "Ranking",
    "RankingResult",
    "RankingWarning",
    "Verification",
    "WeightCurve",
    "attention_distances",
    "camera_pairs",
    "choose_engine",
    "choose_thresholds",
    "choose_weight",
    "error_rates",
    "evaluate_ranking",
    "feature_distances",
    "fuse",
    "ignored_mask",
    "iterate_matches",
    "matches_mask",
    "nearest_gallery",
    "normalise_distances",
    "pair_distances",
    "pair_maps",
    "rank_changes",
    "rank_gallery",
    "rerank",
    "rerank_features",
    "rerank_with_attention",
    "row_profiles",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"casnkit.ranking.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
