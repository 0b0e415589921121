"""What if a part of a picture were not to be seen? One image is changed, looked at again, and the gallery ranked anew.

Everything else is remembered (:class:`Retrieval`): a changed query costs one image through the trunk and one row of
distances, a changed gallery image one image and one distance.

    retrieval = Retrieval.of(model, data, config, evaluation)           # evaluation: of casnkit.evaluation.evaluate
    mask = masking.rectangle_mask((0.0, 0, 0.5, 1), size)               # the upper half
    found = counterfactual(retrieval, query_index=3, mask=mask, where="query")
    found.probability, found.position, found.changes.summary()
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from casnkit.ranking import Extracted, extract

from ..ranking import RankChanges, Ranking, rank_changes
from .masking import apply_mask, check_mask
from .retrieval import RANKED_BY, SIDES, Retrieval, pair_probability


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """What a change of one image did to one query's ranking.

    Attributes:
        where: the image that was changed, ``query`` or ``gallery``.
        query_index, gallery_index: the pair that is looked at.
        ranked_by: ``features``, ``attention`` or ``sum``.
        image: (3, H, W) float on the CPU, normalised: the changed picture.
        hidden: share of the picture that was hidden, in [0, 1].
        probability: of "same person" for the pair, before and after, in [0, 1].
        distances_before, distances_after: (G,), lower is closer.
        before, after: the rankings.
        changes: every true match's rank before and after; None where the query has no match.
    """

    where: str
    query_index: int
    gallery_index: int
    ranked_by: str
    image: Tensor
    hidden: float
    probability: tuple[float, float]
    distances_before: np.ndarray
    distances_after: np.ndarray
    before: Ranking
    after: Ranking
    changes: RankChanges | None

    @property
    def distance(self) -> tuple[float, float]:
        """Of the pair, before and after; lower is closer."""
        return float(self.distances_before[self.gallery_index]), float(self.distances_after[self.gallery_index])

    @property
    def position(self) -> tuple[int, int]:
        """1-based rank of the pair's gallery image, before and after; 0 where the protocol ignores it."""
        return int(self.before.position[self.gallery_index]), int(self.after.position[self.gallery_index])

    def moved(self, count: int = 10) -> list[dict[str, Any]]:
        """The gallery images (at most ``count``) whose rank changed most: index, status, rank before and after, places."""
        gain = self.before.position - self.after.position
        order = np.argsort(-np.abs(gain), kind="stable")
        return [
            {
                "gallery": int(j),
                "status": str(self.before.status[j]),
                "before": int(self.before.position[j]),
                "after": int(self.after.position[j]),
                "gain": int(gain[j]),
            }
            for j in order[:count]
            if gain[j]
        ]


def counterfactual(
    retrieval: Retrieval,
    query_index: int,
    mask: Tensor,
    *,
    where: str = "query",
    gallery_index: int | None = None,
    keep: bool = False,
    fill: str = "mean",
    ranked_by: str = "features",
    generator: torch.Generator | None = None,
    image: Tensor | None = None,
) -> Counterfactual:
    """Hide (or keep nothing but) a region of one image and rank the gallery again.

    Args:
        query_index: the query whose ranking is looked at.
        mask: (H, W) or (1, 1, H, W) in [0, 1] at the image's size, 1 = hidden; see :mod:`casnkit.explain.masking`.
        where: change the query, or the gallery image ``gallery_index``.
        gallery_index: the other image of the pair; None (for a changed query): the first of the ranking.
        keep: hide everything but the mask.
        fill: ``mean``, ``black``, ``blur`` or ``noise`` (with a ``generator``).
        ranked_by: ``features``, ``attention`` or ``sum`` (both).
        image: (3, H, W) normalised, in place of reading the file again.

    Raises:
        ValueError: indices out of range, an unknown name, a mask that does not fit, an unreadable image.
    """
    _check(retrieval, query_index, gallery_index, where, ranked_by)
    row_before = retrieval.row(query_index, ranked_by)
    before = retrieval.rank(query_index, row_before)
    if gallery_index is None:
        gallery_index = int((before.kept if len(before.kept) else before.order)[0])
    index = query_index if where == "query" else gallery_index
    given = retrieval.images(where, [index]) if image is None else image[None].to(next(retrieval.model.parameters()))
    hidden = float(check_mask(given, mask).mean())
    hidden = 1 - hidden if keep else hidden
    changed = apply_mask(given, mask, fill, generator, keep)
    maps = ranked_by != "features"
    old = getattr(retrieval, where).subset([index])
    new = extract(retrieval.model, [changed], keep_maps=maps) if hidden else old
    if where == "query":
        row_after = retrieval.rows(new, query_index, ranked_by) if hidden else row_before
        features = [(f, retrieval.gallery.features[gallery_index]) for f in (old.features[0], new.features[0])]
    else:
        row_after = _with_entry(retrieval, query_index, gallery_index, new, ranked_by) if hidden else row_before
        features = [(retrieval.query.features[query_index], f) for f in (old.features[0], new.features[0])]
    after = retrieval.rank(query_index, row_after)
    return Counterfactual(
        where,
        int(query_index),
        gallery_index,
        ranked_by,
        changed[0].detach().cpu(),
        hidden,
        tuple(pair_probability(retrieval.model, *(torch.stack(side) for side in zip(*features, strict=True))).tolist()),
        row_before,
        row_after,
        before,
        after,
        _changes(retrieval, query_index, row_before, row_after) if before.first_hit >= 0 else None,
    )


def _check(retrieval: Retrieval, query_index: int, gallery_index: int | None, where: str, ranked_by: str) -> None:
    for name, value, known in (("where", where, SIDES), ("ranked_by", ranked_by, RANKED_BY)):
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    if where == "gallery" and gallery_index is None:
        raise ValueError('where="gallery" needs gallery_index: which gallery image is to be changed?')
    for name, value, count in (
        ("query_index", query_index, len(retrieval.query)),
        ("gallery_index", gallery_index, len(retrieval.gallery)),
    ):
        if value is not None and not 0 <= value < count:
            raise ValueError(f"{name}: expected 0 .. {count - 1}, got {value}")


def _with_entry(retrieval: Retrieval, i: int, j: int, new: Extracted, ranked_by: str) -> np.ndarray:
    """Row i of the distances with gallery image j replaced by ``new``."""
    own = retrieval.query.subset([i])
    rows = []
    for kind in RANKED_BY[:2] if ranked_by == "sum" else [ranked_by]:
        row = np.array(retrieval.row(i, kind))
        row[j] = retrieval.between(own, new, kind)[0, 0]
        rows.append(row)
    return retrieval.fused(i, *rows) if ranked_by == "sum" else rows[0]


def _changes(retrieval: Retrieval, i: int, before: np.ndarray, after: np.ndarray) -> RankChanges:
    q, g = retrieval.dataset.query, retrieval.dataset.gallery
    found = rank_changes(before[None], after[None], q.pids[[i]], q.camids[[i]], g.pids, g.camids)
    return dataclasses.replace(found, query=np.full_like(found.query, i))


__all__ = ["RANKED_BY", "SIDES", "Counterfactual", "Retrieval", "counterfactual", "pair_probability"]
