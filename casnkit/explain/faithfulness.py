"""Faithfulness for retrieval: does what a map calls important matter to the score and to the query's average precision?

**Deletion** hides the strongest pixels first, **insertion** shows nothing but them, in steps of equal area; the changed
image is then looked at again. The partner stays whole: two equal grey pictures would be at distance zero. Hiding a third
of a picture hurts wherever it lies, and a hole is something that the network has never seen, so every map is held against
random masks of the same area and shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from torch import Generator, Tensor

from casnkit.config import check_choice, check_count
from casnkit.evaluation import SIDES, Evaluation, pair_probability
from casnkit.explain.masks import apply_mask, pixel_ranks, random_like
from casnkit.ranking import extract, feature_distances, matches_mask

WAYS = ("deletion", "insertion")
AXES = ("probability", "average_precision")


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """What became of P pairs while more and more pixels were hidden (deletion) or shown (insertion), in S steps."""

    pairs: np.ndarray  # (P, 2) query index and gallery index
    right: np.ndarray  # (P,) bool, whether the pair is a match
    shares: np.ndarray  # (S,) share of the pixels hidden or shown, from 0 to 1
    # (P, S) by kind, "deletion" or "insertion", with "random_" before it of random masks of the same area and shape, and by
    # axis: "probability" of one person (softmax of z); the query's "average_precision", NaN where it has no match
    curves: Mapping[str, Mapping[str, np.ndarray]]

    def area(self, kind: str, axis: str = "probability") -> np.ndarray:
        """(P,) area under each pair's curve by trapezoids, in [0, 1]; precision of right pairs alone, NaN for others."""
        check_choice("axis", axis, AXES)
        areas = scipy.integrate.trapezoid(self.curves[kind][axis], self.shares, axis=1)
        return np.where(self.right | (axis == "probability"), areas, np.nan)

    def gain(self, kind: str, axis: str = "probability") -> np.ndarray:
        """(P,) area under the curve minus the random masks' own: below 0 is good for deletion, above 0 for insertion."""
        return self.area(kind, axis) - self.area(f"random_{kind}", axis)


def faithfulness(
    retrieval: Evaluation,
    pairs: np.ndarray | Sequence[tuple[int, int]],
    query_maps: Tensor,
    gallery_maps: Tensor,
    *,
    where: str = "query",
    steps: int = 10,
    fill: str = "mean",
    seed: int = 0,
) -> Faithfulness:
    """Deletion and insertion for pairs (P, 2) of query and gallery index, by maps (P, h, w), and by random masks.

    Args:
        where: the image that is changed: ``query``, ``gallery``, or ``alternate``: the one in every other pair.
        steps: of equal area; a curve has a point more.
        fill: of hidden pixels, see :func:`casnkit.explain.masks.apply_mask`.
        seed: of random masks, of noise, and of the order of equal pixels.
    """
    check_choice("where", where, (*SIDES, "alternate"))
    check_count("steps", steps)
    pairs, maps = np.asarray(pairs), [m.detach().float().cpu() for m in (query_maps, gallery_maps)]
    if not len(pairs) == len(maps[0]) == len(maps[1]):
        raise ValueError(f"expected a map per pair, got {len(pairs)} pairs, {len(maps[0])} and {len(maps[1])} maps")
    column = np.arange(len(pairs)) % 2 if where == "alternate" else np.full(len(pairs), SIDES.index(where))
    dice, found = Generator().manual_seed(seed), {}
    for name in ("", "random_"):
        shown = [random_like(m, dice) if name else m for m in maps]
        changed = enumerate(zip(pairs.tolist(), column, strict=True))
        curves = [_curves(retrieval, pair, k, shown[k][[p]], steps, fill, dice) for p, (pair, k) in changed]
        for kind, values in zip(WAYS, np.stack(curves, 2), strict=True):
            found[name + kind] = dict(zip(AXES, values, strict=True))
    q, g = retrieval.dataset.query, retrieval.dataset.gallery
    right = matches_mask(q.pids, q.camids, g.pids, g.camids)[pairs[:, 0], pairs[:, 1]]
    return Faithfulness(pairs, right, np.linspace(0, 1, steps + 1), found)


def _curves(
    retrieval: Evaluation, pair: Sequence[int], k: int, own: Tensor, steps: int, fill: str, dice: Generator
) -> np.ndarray:
    """(kinds, axes, steps + 1) for one pair, whose image ``k`` (0: the query) is changed by its map ``own``, (1, h, w)."""
    whole = [seen.features[[i]] for seen, i in zip((retrieval.query, retrieval.gallery), pair, strict=True)]
    image, normalise = retrieval.images(SIDES[k], [pair[k]]), retrieval.config.ranking.normalise_features
    ranks = pixel_ranks(own, image.shape[2:], dice).to(image.device)
    counts = [round(ranks.numel() * step / steps) for step in range(1, steps + 1)]
    counts = torch.tensor(counts, device=image.device)[:, None, None]
    hidden = torch.cat([ranks < counts, ranks >= counts[:-1]])[:, None].float()
    images = apply_mask(image.repeat(len(hidden), 1, 1, 1), hidden, fill, dice)
    changed, found = extract(retrieval.model, [images], keep_maps=False).features, []
    for features in (torch.cat([whole[k], changed[:steps]]), torch.cat([changed[steps - 1 :], whole[k]])):
        sides = [w.expand_as(features) for w in whole]
        sides[k] = features
        rows = feature_distances(sides[0], retrieval.gallery.features, normalise)
        if k:  # of the whole gallery one image is another one now
            rows[:, pair[1]] = feature_distances(whole[0], features, normalise)[0]
        precision = [retrieval.rank(pair[0], row).average_precision for row in rows]
        found.append([pair_probability(retrieval.model, *sides).numpy(), precision])
    return np.array(found)
