"""A query and a gallery image side by side: two maps, their row profiles, and every number that is said of the pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from casnkit import attention
from casnkit.config import Config, check_choice
from casnkit.evaluation import pair_probability
from casnkit.explain import METHODS, explain
from casnkit.inspector.networks import Network
from casnkit.inspector.rankings import QueryRanking
from casnkit.models import CASN
from casnkit.ranking import normalise_distances, pair_maps

Maps = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Pair:
    """What is said of a pair."""

    query: int
    gallery: int
    network: str
    probability: float  # of "same person", in [0, 1]; means nothing where ``judges`` is False
    same: bool | None  # whether they are; None where one of them has no identity, or nobody knows
    feature: float  # distances of the pair, lower is closer
    attention: float
    terms: dict[str, tuple[float, float]]  # of the fused score: name -> (normalised distance, weight), where known
    judges: bool  # whether the pair classifier was trained

    @property
    def fused(self) -> float | None:
        """The fused score: the weighted sum of the normalised distances, lower is closer."""
        return sum(value * weight for value, weight in self.terms.values()) if self.terms else None

    @property
    def verdict(self) -> tuple[str, bool | None]:
        """What the pair classifier says, in words, and whether it is right; None where it judges nothing or none knows."""
        if not self.judges:
            return f"{self.network} judges nothing: its pair classifier was not trained", None
        says = self.probability >= 0.5
        words = f"judged {'the same person' if says else 'different people'}, p(same) = {self.probability:.3f}"
        truth = {None: "", True: "; truth: same person", False: "; truth: different people"}[self.same]
        return words + truth, None if self.same is None else says == self.same


@dataclass(frozen=True, eq=False)
class Rows:
    """Equation 5 for one pair of maps and one threshold."""

    profiles: Maps  # row maxima divided by their own maximum, (h,) each
    bounds: tuple[tuple[int, int], tuple[int, int]]  # first and last row above t, inclusive, for each image
    aligned: Maps  # M* of both, (h,) each
    distance: float  # || M*_1 - M*_2 ||_2, what the consistency loss is made of


def pair_of(network: Network, ranking: QueryRanking, j: int, whole: bool = True) -> Pair:
    """Everything said of a query and gallery image ``j``.

    The terms of the fused score need the query's attention distance to every gallery image; ``whole=False`` does without.
    """
    i, pids = ranking.query, (ranking.pid, int(ranking.gallery.pids[j]))
    query, gallery = network.one("query", i), network.one("gallery", j)
    rows = {"features": network.row(i, "features")}
    if network.pair_trained and whole:
        rows["attention"] = network.row(i, "attention")
    distance = rows["attention"][j] if len(rows) == 2 else network.between(query, gallery, "attention")[0, 0]
    probability = float(pair_probability(network.model, query.features, gallery.features)[0])
    same = None if min(pids) < 0 or not ranking.truth else pids[0] == pids[1] > 0
    terms = _terms(network, rows, j) if len(rows) == 2 else {}
    numbers = float(rows["features"][j]), float(distance), terms, network.pair_trained
    return Pair(i, j, network.name, probability, same, *numbers)


def _terms(network: Network, rows: dict[str, np.ndarray], j: int) -> dict[str, tuple[float, float]]:
    """Both distances on the common scale on which they are added, with their weights."""
    options = network.config.ranking
    if options.normalise_per == "matrix":
        return {}
    weights = {"features": 1 - options.attention_weight, "attention": options.attention_weight}
    scaled = {name: normalise_distances(row[None], options.normalisation, "query")[0, j] for name, row in rows.items()}
    return {name: (float(value), weights[name]) for name, value in scaled.items()}


def maps_of(network: Network, i: int, j: int, method: str = "siamese", target: str = "same") -> Maps:
    """The two maps (h, w) of a pair, not normalised, by any method of ``casnkit.explain``.

    The Siamese map follows from feature maps that are there already; other methods see the two images again.
    """
    if (method, target) == ("siamese", "same"):
        options, sides = network.config.ranking, (network.one("query", i), network.one("gallery", j))
        maps = pair_maps(network.model, *sides, np.array([[0, 0]]), options.siamese_mode, options.pair_order)
        return tuple(m[0].numpy() for m in maps)
    images = network.images("query", [i]), network.images("gallery", [j])
    return explained(network.model, *images, method, target, network.config)


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
    """Row profiles, their bounds at t, the aligned profiles and their distance (paper 3.2.2, equation 5)."""
    values = [torch.from_numpy(np.ascontiguousarray(m))[None] for m in maps]
    profiles = [attention.normalise_map(attention.row_profile(m), "max") for m in values]
    bounds = [attention.crop_bounds(profile, threshold) for profile in profiles]
    height = max(m.shape[1] for m in values)
    aligned = [attention.resize_rows(p, *b, height)[0].numpy() for p, b in zip(profiles, bounds, strict=True)]
    kept = tuple((int(first), int(last)) for first, last in bounds)
    distance = float(attention.attention_distance(*values, threshold))
    return Rows(tuple(p[0].numpy() for p in profiles), kept, tuple(aligned), distance)


def check_method(method: str, target: str) -> None:
    """Raises ValueError for an unknown method, or a target that it does not explain."""
    check_choice("method", method, METHODS)
    check_choice(f"target of {method}", target, METHODS[method].targets)


def labels(method: str) -> str:
    """The method's name as it is read, with what is drawn where it is signed."""
    return METHODS[method].label + (" (its positive part)" if METHODS[method].signed else "")
