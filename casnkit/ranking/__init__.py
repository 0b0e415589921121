"""Ranking: the protocol and its numbers, attention for all pairs, fusion and re-ranking of distances, decisions."""

import lazy_loader

_NAMES = {
    "fusion": "WEIGHTS Blocks WeightCurve choose_weight fuse normalise_distances rerank rerank_with_attention",
    "pairwise": "Extracted PairwiseResult StreamedMaps attention_distances extract feature_distances pair_maps "
    "shortlist",
    "protocol": "RankChanges Ranking RankingResult RankingWarning camera_pairs evaluate_ranking ignored_mask matches_mask "
    "rank_changes rank_gallery",
    "verification": "Decision PairDistances Verification choose_thresholds error_rates pair_distances verify",
}
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=list(_NAMES), submod_attrs={module: names.split() for module, names in _NAMES.items()}
)
