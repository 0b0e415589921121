"""Pictures and pairs of a test on which claims are measured, and every kind of map of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from casnkit import attention
from casnkit.config import Config
from casnkit.data.images import load_images, load_masks, load_parts
from casnkit.data.records import UNKNOWN_CAMERA, ReidDataset, Split
from casnkit.models import CASN, evaluating
from casnkit.ranking import Extracted, extract, matches_mask, pair_maps

MAPS = ("ia", "siamese", "plain")
BATCH = 128  # maps at a time, in the network's head and at the size of pictures


@dataclass(frozen=True)
class Pictures:
    """Images, what the network made of them, and the truth.

    Attributes:
        pids: (N,).
        found: features and feature maps.
        masks: (N, H, W) bool at the network's input size; None where the set has none.
        parts: (N, H, W) uint8, 0 = background; None where the set has none.
    """

    pids: np.ndarray
    found: Extracted
    masks: Tensor | None
    parts: Tensor | None


def draw_pairs(
    dataset: ReidDataset, queries: int, pairs: int, rng: np.random.Generator
) -> tuple[list[Split], np.ndarray, np.ndarray, np.ndarray]:
    """Queries with matches as two splits, and pairs (P, 2) of indices into both together: each query with its drawn
    matches, all pairs of one person, pairs of two people; all pairs seen by two cameras, as in the test."""
    query, gallery = dataset.query, dataset.gallery
    right = matches_mask(query.pids, query.camids, gallery.pids, gallery.camids)
    able = np.flatnonzero(right.any(1))
    if not len(able):
        raise ValueError(f"expected queries with a match in the gallery of {dataset.name}, found none")
    first = np.sort(rng.permutation(able)[: max(queries, 1)])
    each = max(1, queries // len(first))
    drawn = [(i, j) for i in first for j in rng.permutation(np.flatnonzero(right[i]))[:each]]
    second = np.unique([j for _, j in drawn])
    matched = np.array([[np.searchsorted(first, i), len(first) + np.searchsorted(second, j)] for i, j in drawn])
    cameras = query.camids[first][:, None] != gallery.camids[second]
    cameras |= gallery.camids[second] == UNKNOWN_CAMERA
    two_people = cameras & (query.pids[first][:, None] != gallery.pids[second])
    offset = np.array([0, len(first)])  # gallery images stand behind the queries
    truths = right[np.ix_(first, second)], two_people
    same, different = (some_of(np.argwhere(truth) + offset, pairs, rng) for truth in truths)
    return [query.subset(first), gallery.subset(second)], matched, same, different


def some_of(pairs: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most ``count`` of the pairs, in order."""
    return pairs[np.sort(rng.permutation(len(pairs))[:count])]


def take(model: CASN, splits: list[Split], config: Config, device: str | torch.device | None) -> Pictures:
    """All images of some splits, one after the other, at the network's input size."""
    splits, size = [s for s in splits if len(s)], (config.data.height, config.data.width)
    images = torch.cat([load_images(s, size, progress=False) for s in splits])
    truth = [[load(s, size) for s in splits] for load in (load_masks, load_parts)]
    masks, parts = (None if any(part is None for part in found) else torch.cat(found) for found in truth)
    return Pictures(np.concatenate([s.pids for s in splits]), extract(model, images, device=device), masks, parts)


def maps_of(model: CASN, found: Extracted, pairs: np.ndarray, config: Config) -> dict[str, Tensor]:
    """Every kind of map of the pairs' first images, then of the second ones: (2P, h, w) each."""
    rows = torch.from_numpy(pairs.T.reshape(-1))
    return {
        "ia": identification_maps(model, found)[rows],
        "siamese": torch.cat(siamese_maps(model, found, pairs, config)),
        "plain": attention.mean_map(found.feature_maps)[rows],
    }


def siamese_maps(model: CASN, found: Extracted, pairs: np.ndarray, config: Config) -> tuple[Tensor, Tensor]:
    """Equation 4 in the test's mode and order, (P, h, w) twice."""
    return pair_maps(model, found, found, pairs, config.ranking.siamese_mode, config.ranking.pair_order)


def identification_maps(model: CASN, found: Extracted, labels: Tensor | None = None) -> Tensor:
    """Maps of all images for given labels, or for the identity that the network finds most likely."""
    parameter, maps = next(model.parameters()), []
    with evaluating(model), torch.no_grad():
        for i in range(0, len(found), BATCH):
            batch = found.subset(slice(i, i + BATCH))
            own = model.id_scores(batch.features.to(parameter)).argmax(1) if labels is None else labels[i : i + BATCH]
            maps.append(model.identification_attention_of(batch.feature_maps.to(parameter), own.to(parameter.device)))
    return torch.cat(maps).cpu()


def difference_maps(model: CASN, found: Extracted, pairs: np.ndarray) -> tuple[Tensor, Tensor]:
    """Grad-CAM of -z_1 for the images of each pair, (P, h, w) twice."""
    parameter, sides = next(model.parameters()), []
    with evaluating(model), torch.no_grad():
        for part in torch.from_numpy(pairs).split(BATCH):
            first, second = (found.feature_maps[part[:, k]].to(parameter) for k in (0, 1))
            gradient = model.pair_gradient(model.pool(first) - model.pool(second))
            sides.append([attention.siamese_map(m, g).cpu() for m, g in ((first, -gradient), (second, gradient))])
    return tuple(torch.cat(side) for side in zip(*sides, strict=True))
