"""A query and a gallery image side by side: two maps, their row profiles, and every number that is said of the pair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from casnkit import attention
from casnkit.config import Config
from casnkit.evaluation import pair_probability
from casnkit.explain import explain
from casnkit.inspector.networks import Network
from casnkit.inspector.rankings import QueryRanking
from casnkit.models import CASN
from casnkit.ranking import normalise_distances, pair_maps

Maps = tuple[np.ndarray, np.ndarray]


class Pair(NamedTuple):
    """What is said of a pair."""

    network: str
    judges: bool  # whether the pair classifier was trained
    probability: float  # of "same person", in [0, 1]; means nothing where ``judges`` is False
    same: bool | None  # whether they are; None where one of them has no identity, or nobody knows
    feature: float  # distances of the pair, lower is closer
    attention: float
    terms: dict[str, tuple[float, float]]  # of the fused score: name -> (normalised distance, weight), where known

    @property
    def fused(self) -> float | None:
        """The fused score: the weighted sum of the normalised distances, lower is closer."""
        return sum(value * weight for value, weight in self.terms.values()) if self.terms else None

    @property
    def verdict(self) -> str:
        """What the pair classifier says, with a mark where it is known whether it is right."""
        if not self.judges:
            return f"{self.network} judges nothing: its pair classifier was not trained"
        says = self.probability >= 0.5
        words = f"judged {'the same person' if says else 'different people'}, p(same) = {self.probability:.3f}"
        if self.same is None:
            return words
        return (
            f"{'✓' if says == self.same else '✗'} {words}; truth: {'same person' if self.same else 'different people'}"
        )


class Rows(NamedTuple):
    """Equation 5 for one pair of maps and one threshold."""

    bounds: tuple[tuple[int, int], ...]  # first and last row above t, inclusive, for each image
    aligned: Maps  # M* of both, (h,) each
    distance: float  # || M*_1 - M*_2 ||_2, what the consistency loss is made of


def pair_of(network: Network, ranking: QueryRanking, j: int, whole: bool = True) -> Pair:
    """Everything said of a query and gallery image ``j``.

    The terms of the fused score need the query's attention distance to every gallery image; ``whole=False`` does without.
    """
    i, pids, options = ranking.query, (ranking.pid, int(network.dataset.gallery.pids[j])), network.config.ranking
    query, gallery, terms = network.one("query", i), network.one("gallery", j), {}
    distances = [float(network.row(i)[j]), float(network.between(query, gallery, "attention")[0, 0])]
    if network.pair_trained and whole and options.normalise_per == "query":
        weights = {"features": 1 - options.attention_weight, "attention": options.attention_weight}
        rows = {
            name: normalise_distances(network.row(i, name)[None], options.normalisation, "query")[0] for name in weights
        }
        terms = {name: (float(row[j]), weights[name]) for name, row in rows.items()}
    probability = float(pair_probability(network.model, query.features, gallery.features)[0])
    same = None if min(pids) < 0 or not ranking.truth else pids[0] == pids[1] > 0
    return Pair(network.name, network.pair_trained, probability, same, *distances, terms)


def maps_of(
    network: Network, i: int, j: int, method: str = "siamese", target: str = "same", random: bool = False
) -> Maps:
    """The two maps (h, w) of a pair, not normalised, by any method of ``casnkit.explain``; ``random``: of random weights.

    The Siamese map follows from feature maps that are there already; other methods see the two images again.
    """
    if (method, target, random) == ("siamese", "same", False):
        options, sides = network.config.ranking, (network.one("query", i), network.one("gallery", j))
        maps = pair_maps(network.model, *sides, np.array([[0, 0]]), options.siamese_mode, options.pair_order)
        return tuple(m[0].numpy() for m in maps)
    images = network.images("query", [i]), network.images("gallery", [j])
    return explained(network.random_twin if random else network.model, *images, method, target, network.config)


def explained(model: CASN, query: Tensor, gallery: Tensor, method: str, target: str, config: Config) -> Maps:
    """Maps of two normalised images (1, 3, H, W) by a method of ``casnkit.explain``, each (h, w)."""
    if (method, target) == ("siamese", "same"):
        with torch.no_grad():
            maps = model.siamese_attention(query, gallery, config.ranking.siamese_mode, config.ranking.pair_order)
    else:
        found = explain(model, query, gallery, method=method, target=target)
        maps = found.query, found.gallery
    return tuple(m[0].detach().float().cpu().numpy() for m in maps)


def rows_of(maps: Maps, threshold: float) -> Rows:
    """Bounds at t of the row profiles, the aligned profiles and their distance (paper 3.2.2, equation 5)."""
    values, height = [torch.from_numpy(np.ascontiguousarray(m))[None] for m in maps], max(map(len, maps))
    bounds = [attention.crop_bounds(attention.row_profile(m), threshold) for m in values]
    aligned = tuple(attention.aligned_profile(m, threshold, height)[0].numpy() for m in values)
    kept = tuple((int(first), int(last)) for first, last in bounds)
    return Rows(kept, aligned, float(attention.attention_distance(*values, threshold)))
