"""The pairs on which methods are compared: right matches, wrong first matches, look-alikes; and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from casnkit.data.images import load_masks, load_parts
from casnkit.data.people import TABLE

from ..data.people import PARTS, lookalike_pairs
from .localisation import chance, energy_inside, iou, pointing_game
from .parts import right_cue_pairs
from .retrieval import SIDES, Retrieval

KINDS = ("right", "wrong", "look-alike")


@dataclass(frozen=True, eq=False)
class LeaguePairs:
    """P pairs and the truth about their images.

    Attributes:
        pairs: (P, 2) query index and gallery index.
        kinds: (P,) out of :data:`KINDS`.
        masks: two (P, H, W) bool, the persons (queries, gallery images); None where the set has no masks.
        parts: two (P, H, W) part maps of the look-alikes alone; None where there are none.
        differs_in: (number of look-alikes,) the part in which each pair of them differs.
        notes: what a reader must know.
    """

    pairs: np.ndarray
    kinds: np.ndarray
    masks: tuple[Tensor, Tensor] | None
    parts: tuple[Tensor, Tensor] | None
    differs_in: np.ndarray
    notes: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """How many pairs of each kind."""
        return {kind: int((self.kinds == kind).sum()) for kind in KINDS}

    def localisation(self, maps: tuple[Tensor, Tensor], seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
        """Per pair (the mean of its two images; the right cue: of the look-alikes): ``found`` and ``chance``.

        Chance is the same map moved by a random step: as large and as smooth, in a place that means nothing. The right
        cue's is a share of hits too.
        """
        result = {}
        if self.masks is not None:
            for name, measure in (("energy", energy_inside), ("pointing", pointing_game), ("iou", iou)):
                pieces = {"found": [], "chance": []}
                for m, truth in zip(maps, self.masks, strict=True):
                    generator = torch.Generator().manual_seed(seed)
                    pieces["found"].append(measure(m, truth))
                    pieces["chance"].append(chance(measure, m, truth, generator=generator))
                result[name] = {key: torch.stack(values).nanmean(0).numpy() for key, values in pieces.items()}
        if self.parts is not None:
            alike = torch.from_numpy(self.kinds == "look-alike")
            chosen, generator = [m[alike] for m in maps], torch.Generator().manual_seed(seed)
            moved = [
                chance(_cue_of_one, m, p, self.differs_in, generator=generator)
                for m, p in zip(chosen, self.parts, strict=True)
            ]
            cue = right_cue_pairs(tuple(chosen), self.parts, self.differs_in, len(PARTS))
            result["cue"] = {"found": cue.hit.numpy(), "chance": torch.stack(moved).nanmean(0).numpy()}
        return result


def choose_pairs(retrieval: Retrieval, count: int = 200, seed: int = 0) -> LeaguePairs:
    """Pairs of three kinds in equal parts as far as there are so many, queries drawn by ``seed``, ranked by features.

    ``right``: a query and its nearest match. ``wrong``: a query and the first of its ranking, where that is another
    person. ``look-alike`` (drawn people only): a query and the nearest image of the person who differs in one part.

    Raises:
        ValueError: fewer than two pairs could be made.
    """
    partners = _partners(retrieval)
    found: dict[str, list[tuple[int, int, int]]] = {kind: [] for kind in KINDS}
    gallery, order = retrieval.dataset.gallery, np.random.default_rng(seed).permutation(len(retrieval.query))
    for i in order.tolist():
        distances = retrieval.row(i)
        ranking = retrieval.rank(i, distances)
        if ranking.first_hit >= 0:
            found["right"].append((i, int(ranking.kept[ranking.first_hit]), -1))
        if len(ranking.kept) and ranking.first_hit != 0:
            found["wrong"].append((i, int(ranking.kept[0]), -1))
        other, part = partners.get(int(retrieval.dataset.query.pids[i]), (None, -1))
        images = np.flatnonzero(gallery.pids == other) if other is not None else ()
        if len(images):
            found["look-alike"].append((i, int(images[np.argmin(distances[images])]), part))
    quota = _quota({kind: len(rows) for kind, rows in found.items()}, count)
    rows = [(kind, *row) for kind in KINDS for row in found[kind][: quota[kind]]]
    if len(rows) < 2:
        raise ValueError(
            f"expected at least two pairs for a comparison, found {len(rows)}: are there queries with matches?"
        )
    notes = [] if len(rows) == count else [f"{len(rows)} pairs of {count}: the test set has no more of these kinds"]
    kinds, pairs = np.array([row[0] for row in rows]), np.array([row[1:3] for row in rows])
    masks = _truth(retrieval, pairs, load_masks, notes)
    parts = _truth(retrieval, pairs[kinds == "look-alike"], load_parts, notes) if quota["look-alike"] else None
    differs_in = np.array([row[3] for row in rows if row[0] == "look-alike"], dtype=np.int64)
    return LeaguePairs(pairs, kinds, masks, parts, differs_in, tuple(notes))


def _cue_of_one(maps: Tensor, parts: Tensor, differs_in: np.ndarray) -> Tensor:
    from .parts import right_cue

    return right_cue(maps, parts, differs_in, len(PARTS)).hit


def _quota(available: dict[str, int], count: int) -> dict[str, int]:
    """A share for each kind; what one kind lacks the others fill up."""
    quota, left = dict.fromkeys(available, 0), count
    while left > 0 and any(quota[kind] < available[kind] for kind in available):
        open_kinds = [kind for kind in available if quota[kind] < available[kind]]
        for place, kind in enumerate(open_kinds):
            share = left // len(open_kinds) + (place < left % len(open_kinds))
            quota[kind] = min(available[kind], quota[kind] + share)
        left = count - sum(quota.values())
    return quota


def _partners(retrieval: Retrieval) -> dict[int, tuple[int, int]]:
    """Who looks like whom, and in which part they differ, by pid; empty for other sets than drawn people."""
    root = retrieval.dataset.root
    if "attributes" not in retrieval.dataset.tables or not (root / TABLE).is_file():
        return {}
    both = [((a, b), (b, a), PARTS.index(part)) for a, b, part in lookalike_pairs(root) if part in PARTS]
    return {a: (b, part) for *sides, part in both for a, b in sides}


def _truth(retrieval: Retrieval, pairs: np.ndarray, load: Any, notes: list[str]) -> tuple[Tensor, Tensor] | None:
    size = retrieval.config.data.height, retrieval.config.data.width
    try:
        found = [load(retrieval.split(side).subset(pairs[:, k]), size) for k, side in enumerate(SIDES)]
    except ValueError as error:
        notes.append(str(error).split("\n")[0])
        return None
    return None if any(f is None for f in found) else tuple(found)
