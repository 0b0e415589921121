"""Faithfulness for retrieval: does what a map calls important matter to the score and to the query's average precision?

**Deletion** hides the strongest pixels first, **insertion** shows nothing but them, in steps of equal area; the changed
image is then looked at again. The partner stays whole: two equal grey pictures would be at distance zero. Hiding a third
of a picture hurts wherever it lies, and a hole is something that the network has never seen, so every map is held against
random masks of the same area and shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import trapezoid
from torch import Generator, Tensor

from casnkit.config import check_choice, check_count
from casnkit.evaluation import SIDES, Evaluation, pair_probability
from casnkit.explain.masks import apply_mask, pixel_ranks, random_like
from casnkit.ranking import extract, feature_distances, matches_mask

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
        areas = trapezoid(self.curves[kind][axis], self.shares, axis=1)
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
    generator, found = Generator().manual_seed(seed), {}
    for name in ("", "random_"):
        shown = [random_like(m, generator) if name else m for m in maps]
        changed = _seen_anew(retrieval, pairs, shown, column, steps, fill, generator)
        for kind, features in zip(("deletion", "insertion"), changed, strict=True):
            found[f"{name}{kind}"] = dict(zip(AXES, _scores(retrieval, pairs, column, features), strict=True))
    q, g = retrieval.dataset.query, retrieval.dataset.gallery
    right = matches_mask(q.pids, q.camids, g.pids, g.camids)[pairs[:, 0], pairs[:, 1]]
    return Faithfulness(pairs, right, np.linspace(0, 1, steps + 1), found)


def _seen_anew(
    retrieval: Evaluation, pairs: np.ndarray, maps: list, column: np.ndarray, steps: int, fill: str, dice: Generator
) -> tuple[Tensor, Tensor]:
    """Features (P, steps + 1, D) of each pair's changed image along deletion, and along insertion."""
    seen, deletion, insertion = (retrieval.query.features, retrieval.gallery.features), [], []
    for p, k in enumerate(column):
        image, whole = retrieval.images(SIDES[k], pairs[p, [k]]), seen[k][pairs[p, [k]]]
        ranks = pixel_ranks(maps[k][[p]], image.shape[2:], dice).to(image.device)
        counts = [round(ranks.numel() * step / steps) for step in range(1, steps + 1)]
        counts = torch.tensor(counts, device=image.device)[:, None, None]
        hidden = torch.cat([ranks < counts, ranks >= counts[:-1]])[:, None].float()
        images = apply_mask(image.repeat(len(hidden), 1, 1, 1), hidden, fill, dice)
        changed = extract(retrieval.model, [images], keep_maps=False).features
        deletion.append(torch.cat([whole, changed[:steps]]))
        insertion.append(torch.cat([changed[steps - 1 :], whole]))
    return torch.stack(deletion), torch.stack(insertion)


def _scores(retrieval: Evaluation, pairs: np.ndarray, column: np.ndarray, changed: Tensor) -> list[np.ndarray]:
    """Probability and average precision from the changed features (P, S, D)."""
    count, points, _ = changed.shape
    seen, is_query = (
        (retrieval.query.features, retrieval.gallery.features),
        torch.from_numpy(column == 0)[:, None, None],
    )
    query = torch.where(is_query, changed, seen[0][pairs[:, 0]][:, None]).flatten(0, 1)
    gallery = torch.where(is_query, seen[1][pairs[:, 1]][:, None], changed).flatten(0, 1)
    probability = pair_probability(retrieval.model, query, gallery).view(count, points)
    normalise = retrieval.config.ranking.normalise_features
    distances = feature_distances(query, seen[1], normalise).reshape(count, points, -1)
    for p in np.flatnonzero(column == 1):  # one gallery image is another one now
        own = seen[0][pairs[p, :1]]
        distances[p, :, pairs[p, 1]] = feature_distances(own, changed[p], normalise)[0]
    rows = zip(np.repeat(pairs[:, 0], points), distances.reshape(count * points, -1), strict=True)
    precision = np.array([retrieval.rank(i, row).average_precision for i, row in rows])
    return [probability.numpy(), precision.reshape(count, points)]
