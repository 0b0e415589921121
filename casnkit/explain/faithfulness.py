"""Faithfulness for retrieval: does what a map calls important matter to the score, to the rank, to the average precision?

**Deletion** hides the strongest pixels first, **insertion** shows nothing but them, both in steps of equal area. At each
step the changed image is looked at again, and three things are read off: the probability that the pair is one person
(softmax of z), the reciprocal rank of the pair's gallery image, and the query's average precision. For a right match a
faithful map makes all three fall soon under deletion and rise soon under insertion. The partner stays whole: two equal
grey pictures would be at distance zero.

A curve alone says little, for hiding a third of a picture hurts wherever it lies, and a hole is something that the
network has never seen. So every map is held against itself in another place: random masks of the same area and shape.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from casnkit.evaluation import Evaluation, pair_probability
from casnkit.explain.localisation import bootstrap
from casnkit.explain.masks import apply_mask, pixel_ranks, random_like
from casnkit.explain.pair import check_choice, check_count
from casnkit.ranking import RankingWarning, evaluate_ranking, extract, feature_distances, ignored_mask, matches_mask

AXES = ("probability", "reciprocal_rank", "average_precision")
WHERE = ("query", "gallery", "alternate")


@dataclass(frozen=True, eq=False)
class Curves:
    """What became of P pairs while more and more pixels were hidden (deletion) or shown (insertion)."""

    shares: np.ndarray  # (S,) share of the pixels hidden or shown, from 0 to 1
    probability: np.ndarray  # (P, S) of "same person", in [0, 1]
    reciprocal_rank: np.ndarray  # (P, S) of the pair's gallery image, in (0, 1]; NaN where the protocol ignores it
    average_precision: np.ndarray  # (P, S) of the query; NaN where it has no match. Its mean over pairs is the mAP

    def auc(self, axis: str = "probability") -> np.ndarray:
        """(P,) area under each pair's curve by trapezoids, in [0, 1]."""
        check_choice("an axis", axis, AXES)
        return trapezoid(getattr(self, axis), self.shares, axis=1)


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Curves of a method's maps, and of random masks of the same area and shape."""

    pairs: np.ndarray  # (P, 2) query index and gallery index
    right: np.ndarray  # (P,) bool, whether the pair is a match
    deletion: Curves
    insertion: Curves
    random_deletion: Curves
    random_insertion: Curves

    def gain(self, kind: str, axis: str = "probability") -> np.ndarray:
        """(P,) area under the curve minus the random masks' own: below 0 is good for deletion, above 0 for insertion."""
        return getattr(self, kind).auc(axis) - getattr(self, f"random_{kind}").auc(axis)

    def table(self, rng: np.random.Generator) -> pd.DataFrame:
        """A row per curve and axis: its gain with the 95 % interval, and the random masks' area (``chance``).

        Rank and average precision are those of the right pairs: for a wrong one a fall is no loss.
        """
        rows = []
        for kind in ("deletion", "insertion"):
            for axis in AXES:
                chosen = self.right | (axis == "probability")
                if chosen.any():
                    found = bootstrap(self.gain(kind, axis)[chosen], rng)
                    areas = getattr(self, f"random_{kind}").auc(axis)[chosen]
                    random = float(np.nanmean(areas)) if found.count else float("nan")
                    rows.append({"curve": kind, "axis": axis, **found._asdict(), "chance": random})
        return pd.DataFrame(rows)


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
    batch_size: int = 128,
) -> Faithfulness:
    """Deletion and insertion for P pairs, and the same with random masks.

    Args:
        pairs: (P, 2) query index and gallery index.
        query_maps, gallery_maps: (P, h, w), larger = more important; signed maps are taken as they are.
        where: the image that is changed: ``query``, ``gallery``, or ``alternate``: the query of the first pair, the
            gallery image of the second, and so on, which judges both maps at the price of one.
        steps: equal steps of area; ``steps + 1`` points of a curve.
        fill: of hidden pixels, see :func:`casnkit.explain.masks.apply_mask`.
        seed: of random masks, of noise, and of the order of equal pixels.
        batch_size: images per forward pass.
    """
    pairs = _checked_pairs(retrieval, pairs, query_maps, gallery_maps)
    check_choice("where", where, WHERE)
    check_count("steps", steps)
    column = np.arange(len(pairs)) % 2 if where == "alternate" else np.full(len(pairs), WHERE.index(where))
    work = _Work(retrieval, pairs, column, steps, fill, batch_size, torch.Generator().manual_seed(seed))
    maps, found = [m.detach().float().cpu() for m in (query_maps, gallery_maps)], {}
    for name in ("", "random_"):
        seen = work.features([random_like(m, work.generator) if name else m for m in maps])
        deletion, insertion = seen.split([steps, steps - 1], 1)
        found[f"{name}deletion"] = work.curves(torch.cat([work.whole, deletion], 1))
        found[f"{name}insertion"] = work.curves(torch.cat([deletion[:, -1:], insertion, work.whole], 1))
    q, g = retrieval.dataset.query, retrieval.dataset.gallery
    return Faithfulness(pairs, matches_mask(q.pids, q.camids, g.pids, g.camids)[pairs[:, 0], pairs[:, 1]], **found)


@dataclass(frozen=True, eq=False)
class _Work:
    """What both curves of both kinds of map have in common; ``column`` (P,) says which image of a pair is changed."""

    retrieval: Evaluation
    pairs: np.ndarray
    column: np.ndarray
    steps: int
    fill: str
    batch_size: int
    generator: torch.Generator

    @property
    def seen(self) -> tuple[Tensor, Tensor]:
        """Features of all queries and of the whole gallery."""
        return self.retrieval.query.features, self.retrieval.gallery.features

    @property
    def whole(self) -> Tensor:
        """(P, 1, D) features of the changed images as they were."""
        found = [self.seen[k][pair[k]] for pair, k in zip(self.pairs, self.column, strict=True)]
        return torch.stack(found)[:, None]

    def features(self, maps: Sequence[Tensor]) -> Tensor:
        """(P, 2 steps - 1, D) features of each pair's changed image, with more and more hidden, then more and more shown."""
        order, parts = [], []
        for k in np.unique(self.column):
            rows = np.flatnonzero(self.column == k)
            found = extract(self.retrieval.model, self._batches(maps[k], k, rows), keep_maps=False).features
            parts.append(found.unflatten(0, (len(rows), -1)))
            order.append(rows)
        return torch.cat(parts)[torch.from_numpy(np.argsort(np.concatenate(order)))]

    def _batches(self, maps: Tensor, k: int, rows: np.ndarray) -> Iterator[Tensor]:
        """Masked images, a few pairs at a time, each pair's behind one another."""
        at_once = max(1, self.batch_size // max(1, 2 * self.steps - 2))
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            images = self.retrieval.images(WHERE[k], self.pairs[part, k])
            height, width = images.shape[2:]
            ranks = pixel_ranks(maps[part], (height, width), self.generator).to(images.device)[:, None]
            counts = [round(height * width * step / self.steps) for step in range(1, self.steps + 1)]
            counts = torch.tensor(counts, device=images.device)[:, None, None]
            hidden = torch.cat([ranks < counts, ranks >= counts[:-1]], 1)[:, :, None].float()
            repeated = images.repeat_interleave(hidden.shape[1], 0)
            yield apply_mask(repeated, hidden.flatten(0, 1), self.fill, self.generator)

    def curves(self, changed: Tensor) -> Curves:
        """Probability, rank and average precision from the changed features (P, S, D)."""
        seen, (count, points, _) = self.seen, changed.shape
        is_query = torch.from_numpy(self.column == 0)[:, None, None]
        sides = [
            torch.where(is_query == (k == 0), changed, seen[k][self.pairs[:, k]][:, None]).flatten(0, 1) for k in (0, 1)
        ]
        probability = pair_probability(self.retrieval.model, *sides).view(count, points)
        normalise = self.retrieval.config.ranking.normalise_features
        distances = feature_distances(sides[0], seen[1], normalise).reshape(count, points, -1)
        for p in np.flatnonzero(self.column == 1):  # one gallery image is another one now
            own = seen[0][self.pairs[p, :1]]
            distances[p, :, self.pairs[p, 1]] = feature_distances(own, changed[p], normalise)[0]
        q, g = self.retrieval.dataset.query, self.retrieval.dataset.gallery
        pids, camids = q.pids[self.pairs[:, 0]], q.camids[self.pairs[:, 0]]
        ignored = ignored_mask(pids, camids, g.pids, g.camids)
        ranks = [_reciprocal_ranks(*row) for row in zip(distances, self.pairs[:, 1], ignored, strict=True)]
        precision = np.full(count * points, np.nan)
        if matches_mask(pids, camids, g.pids, g.camids).any():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RankingWarning)  # queries without a match are known, and become NaN
                repeated = np.repeat(pids, points), np.repeat(camids, points)
                found = evaluate_ranking(distances.reshape(count * points, -1), *repeated, g.pids, g.camids)
            precision = found.average_precision
        shares = np.linspace(0, 1, points)
        return Curves(shares, probability.numpy(), np.stack(ranks), precision.reshape(count, points))


def _reciprocal_ranks(distances: np.ndarray, j: int, ignored: np.ndarray) -> np.ndarray:
    """(S,) 1 / rank of gallery image j in each row of (S, G); equal distances by index, as the protocol ranks them."""
    if ignored[j]:
        return np.full(len(distances), np.nan)
    own, before = distances[:, [j]], np.arange(distances.shape[1]) < j
    ahead = ((distances < own) | ((distances == own) & before)) & ~ignored
    return 1 / (1 + ahead.sum(1))


def _checked_pairs(retrieval: Evaluation, pairs: object, query_maps: Tensor, gallery_maps: Tensor) -> np.ndarray:
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu" or not len(pairs):
        raise ValueError(f"expected pairs (P, 2) of query and gallery indices, got {pairs.dtype} of {pairs.shape}")
    limits = len(retrieval.query), len(retrieval.gallery)
    if (pairs < 0).any() or (pairs >= limits).any():
        raise ValueError(f"expected indices below {limits[0]} (query) and {limits[1]} (gallery), got others in pairs")
    for name, maps in (("query_maps", query_maps), ("gallery_maps", gallery_maps)):
        if maps.dim() != 3 or len(maps) != len(pairs):
            raise ValueError(f"{name}: expected ({len(pairs)}, h, w), one map per pair, got {tuple(maps.shape)}")
    return pairs
