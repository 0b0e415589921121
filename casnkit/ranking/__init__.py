"""Ranking: the protocol and its numbers, attention for all pairs, the fusion of two distances, re-ranking, decisions."""

# ruff: noqa: F401

from casnkit.ranking.extraction import Extracted, extract, feature_distances, fingerprint
from casnkit.ranking.fusion import WEIGHTS, WeightCurve, choose_weight, fuse, normalise_distances
from casnkit.ranking.pairwise import PairwiseResult, attention_distances, pair_maps
from casnkit.ranking.protocol import (
    RankChanges,
    Ranking,
    RankingResult,
    RankingWarning,
    camera_pairs,
    evaluate_ranking,
    ignored_mask,
    matches_mask,
    rank_changes,
    rank_gallery,
)
from casnkit.ranking.rerank import Blocks, rerank, rerank_with_attention
from casnkit.ranking.verification import (
    Decision,
    PairDistances,
    Verification,
    choose_thresholds,
    error_rates,
    pair_distances,
    verify,
)
