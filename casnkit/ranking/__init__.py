"""Ranking: the protocol and its numbers, attention for all pairs, fusion and re-ranking of distances, decisions.

Names load on first use, so that the protocol costs no more than NumPy and torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["fusion", "pairwise", "protocol", "verification"],
    submod_attrs={
        "fusion": [
            *("WEIGHTS", "WeightCurve", "choose_weight", "fuse", "normalise_distances"),
            *("Blocks", "rerank", "rerank_with_attention"),
        ],
        "pairwise": [
            *("Extracted", "StreamedMaps", "extract", "feature_distances", "fingerprint", "shortlist"),
            *("PairwiseResult", "attention_distances", "pair_maps"),
        ],
        "protocol": [
            *("Ranking", "RankingResult", "RankingWarning", "evaluate_ranking", "ignored_mask", "matches_mask"),
            *("RankChanges", "camera_pairs", "rank_changes", "rank_gallery"),
        ],
        "verification": [
            *("Decision", "PairDistances", "Verification"),
            *("choose_thresholds", "error_rates", "pair_distances", "verify"),
        ],
    },
)
