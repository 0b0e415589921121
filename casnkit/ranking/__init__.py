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
    from casnkit.ranking.extraction import Extracted, feature_distances
    from casnkit.ranking.pairs import nearest_gallery, pair_maps, row_profiles
    from casnkit.ranking.pairwise import PairwiseResult, attention_distances
    from casnkit.ranking.request import choose_engine

_HOME = {
    "Extracted": "extraction",
    "PairwiseResult": "pairwise",
    "attention_distances": "pairwise",
    "choose_engine": "request",
    "feature_distances": "extraction",
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


def _before_facade(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"casnkit.ranking.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# facade: to be replaced
_FACADE = {
    "attention_distances": "casnkit.ranking.pairwise",
    "Extracted": "casnkit.ranking.extraction",
    "extract": "casnkit.ranking.extraction",
    "feature_distances": "casnkit.ranking.extraction",
    "pair_maps": "casnkit.ranking.pairs",
    "fingerprint": "casnkit.ranking.extraction",
    "weighted_sums": "casnkit.ranking.tiles",
    "PRECISIONS": "casnkit.ranking.request",
    "Request": "casnkit.ranking.request",
    "ClosedFormEngine": "casnkit.ranking.engines",
    "PairDistances": "casnkit.ranking.verification",
    "choose_thresholds": "casnkit.ranking.verification",
    "error_rates": "casnkit.ranking.verification",
    "pair_distances": "casnkit.ranking.verification",
    "verify": "casnkit.ranking.verification",
    "Blocks": "casnkit.ranking.rerank",
    "rerank": "casnkit.ranking.rerank",
    "rerank_features": "casnkit.ranking.rerank",
    "rerank_with_attention": "casnkit.ranking.rerank",
    "WEIGHTS": "casnkit.ranking.weighting",
    "choose_weight": "casnkit.ranking.weighting",
    "RANKS": "casnkit.ranking.breakdown",
    "camera_pairs": "casnkit.ranking.breakdown",
    "choose_engine": "casnkit.ranking.request",
    "nearest_gallery": "casnkit.ranking.pairs",
    "row_profiles": "casnkit.ranking.pairs",
}
_FACADE_MODULES = [
    "casnkit.ranking.engines",
    "casnkit.ranking.extraction",
    "casnkit.ranking.matching",
    "casnkit.ranking.neighbours",
    "casnkit.ranking.pairwise",
    "casnkit.ranking.tiles",
    "casnkit.ranking.verification",
]


def __getattr__(name):
    from importlib import import_module

    if name in _FACADE:
        return getattr(import_module(_FACADE[name]), name)
    if not name.startswith("__"):
        for module in _FACADE_MODULES:
            if module != __name__:
                found = import_module(module)
                if hasattr(found, name):
                    return getattr(found, name)
    return _before_facade(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
