"""A query and a gallery image side by side: two maps, their row profiles, and every number that is said of the pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from casnkit.data.images import load_images, normalise
from casnkit.explain.pair import pair_probability
from casnkit.ranking import pair_maps

from .. import attention
from ..config import Config
from ..data.records import Split
from ..models import CASN
from ..ranking import normalise_distances
from .networks import Network
from .rankings import QueryRanking


@dataclass(frozen=True, eq=False)
class Pair:
    """What the pair's picture and its captions are made of.

    Attributes:
        query, gallery: indices.
        model: name of the network.
        maps: the two maps (h, w), not normalised.
        method, target: of the explanation.
        probability: of "same person", in [0, 1].
        same: whether they are; None where one of them has no identity (junk).
        feature, attention: distances of the pair, lower is closer.
        terms: of the fused score: name -> (normalised distance, weight); empty where the pair classifier is untrained.
        judges: whether the pair classifier was trained; one that was not says nothing.
    """

    query: int
    gallery: int
    model: str
    maps: tuple[np.ndarray, np.ndarray]
    method: str
    target: str
    probability: float
    same: bool | None
    feature: float
    attention: float
    terms: dict[str, tuple[float, float]]
    judges: bool = True

    @property
    def fused(self) -> float | None:
        """The fused score: the weighted mean of the normalised distances, lower is closer."""
        return sum(value * weight for value, weight in self.terms.values()) if self.terms else None


@dataclass(frozen=True, eq=False)
class Rows:
    """Equation 5 for one pair of maps and one threshold.

    Attributes:
        profiles: row maxima divided by their own maximum, (h,) each.
        bounds: first and last row above t, inclusive, for each image.
        aligned: M* of both, (h,) each.
        distance: || M*_1 - M*_2 ||_2, what the consistency loss is made of.
    """

    profiles: tuple[np.ndarray, np.ndarray]
    bounds: tuple[tuple[int, int], tuple[int, int]]
    aligned: tuple[np.ndarray, np.ndarray]
    distance: float


@dataclass(frozen=True, eq=False)
class Agreement:
    """How alike two maps of one shape are, place by place.

    Attributes:
        difference: (h, w), first minus second, each divided by its own maximum.
        iou: intersection over union of the places above t times the maximum, in [0, 1].
        correlation: Pearson's, in [-1, 1].
    """

    difference: np.ndarray
    iou: float
    correlation: float


def numbers_of(network: Network, ranking: QueryRanking, j: int, whole: bool = True) -> dict[str, Any]:
    """Probability, distances and the terms of the fused score of a query and gallery image ``j``.

    The terms need the query's attention distance to every gallery image; ``whole=False`` leaves them out.
    """
    i = ranking.query
    query, gallery = network.query.subset([i]), network.gallery.subset([j])
    feature = float(network.row(i, "features")[j])
    rows = {"features": network.row(i, "features")}
    if network.pair_trained and whole:
        rows["attention"] = network.row(i, "attention")
        distance = float(rows["attention"][j])
    else:
        distance = float(network.between(query, gallery, "attention")[0, 0])
    return {
        "probability": float(pair_probability(network.model, query.features, gallery.features)[0]),
        "same": _same(ranking.pid, int(ranking.gallery.pids[j])),
        "feature": feature,
        "attention": distance,
        "terms": _terms(network, rows, j) if len(rows) == 2 else {},
        "judges": network.pair_trained,
    }


def maps_of(network: Network, i: int, j: int, method: str = "siamese", target: str = "same") -> tuple[Any, Any]:
    """The two maps (h, w) of a pair by any method of ``casnkit.explain``.

    The Siamese map follows from feature maps that are there already; other methods see the two images again.
    """
    options = network.config.ranking
    if method == "siamese" and target == "same":
        pair = np.array([[i, j]])
        first, second = pair_maps(
            network.model, network.query, network.gallery, pair, options.siamese_mode, options.pair_order
        )
        return first[0].numpy(), second[0].numpy()
    images = images_of(network, "query", i), images_of(network, "gallery", j)
    return explained(network.model, *images, method, target, network.config)


def explained(
    model: CASN, query: Tensor, gallery: Tensor, method: str, target: str, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Maps of two normalised images (1, 3, H, W) by a method of ``casnkit.explain``, each (h, w)."""
    if method == "siamese" and target == "same":
        with torch.no_grad():
            options = config.ranking
            maps = model.siamese_attention(query, gallery, options.siamese_mode, options.pair_order)
    else:
        from ..explain import explain

        found = explain(model, query, gallery, method=method, target=target)
        maps = found.query, found.gallery
    return tuple(torch.as_tensor(m)[0].detach().float().cpu().numpy() for m in maps)


def images_of(network: Network, side: str, i: int) -> Tensor:
    """One image as the network takes it, (1, 3, H, W), on its device. Raises ValueError where it cannot be read."""
    split: Split = getattr(network.dataset, side)
    pixels = load_images(split.subset([i]), network.size, threads=1, progress=False)
    return normalise(pixels).to(next(network.model.parameters()).device)


def rows_of(maps: tuple[np.ndarray, np.ndarray], threshold: float) -> Rows:
    """Row profiles, their bounds at t, the aligned profiles and their distance (paper 3.2.2, equation 5)."""
    values = [torch.from_numpy(np.ascontiguousarray(m))[None] for m in maps]
    height = max(m.shape[1] for m in values)
    profiles, bounds, aligned = [], [], []
    for m in values:
        profile = attention.normalise_map(attention.row_profile(m), "max")
        first, last = attention.crop_bounds(profile, threshold)
        profiles.append(profile[0].numpy())
        bounds.append((int(first), int(last)))
        aligned.append(attention.resize_rows(profile, first, last, height)[0].numpy())
    distance = float(attention.attention_distance(values[0], values[1], threshold))
    return Rows(tuple(profiles), tuple(bounds), tuple(aligned), distance)


def agreement(maps: tuple[np.ndarray, np.ndarray], threshold: float) -> Agreement | None:
    """Difference, overlap at t and correlation of two maps; None where they have different shapes."""
    if maps[0].shape != maps[1].shape:
        return None
    values = [attention.normalise_map(torch.from_numpy(np.ascontiguousarray(m))[None], "max") for m in maps]
    above = [v > threshold for v in values]
    union = int((above[0] | above[1]).sum())
    iou = int((above[0] & above[1]).sum()) / union if union else 0.0
    return Agreement((values[0] - values[1])[0].numpy(), iou, float(attention.map_correlation(*values)))


def _same(query_pid: int, gallery_pid: int) -> bool | None:
    if query_pid < 0 or gallery_pid < 0:
        return None
    return query_pid == gallery_pid and query_pid > 0


def _terms(network: Network, rows: dict[str, np.ndarray], j: int) -> dict[str, tuple[float, float]]:
    """Both distances on the common scale on which they are added, with their weights."""
    options = network.config.ranking
    weights = {"features": 1 - options.attention_weight, "attention": options.attention_weight}
    if options.normalise_per == "matrix":
        return {}
    return {
        name: (float(normalise_distances(row[None], options.normalisation, "query")[0, j]), weights[name])
        for name, row in rows.items()
    }
