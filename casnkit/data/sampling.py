"""Which two pictures are compared: the pairs of every training step, as indices into a split.

The paper trains its Siamese branch on same and different pairs (section 3.2) and leaves open how they are drawn; here
the share of positive pairs is exact in every batch and the rest is an argument. A plan is a pure function of
(seed, epoch), so training that stops in the middle of an epoch continues with exactly the pairs that were left.
"""

from __future__ import annotations

import operator
from typing import SupportsIndex

import numpy as np

from casnkit.data.records import DISTRACTOR_PID, JUNK_PID, UNKNOWN_CAMERA


class PairSampler:
    """Plans of pairs over a training split; holds no state between epochs.

    Every image is the first member (the anchor) of one pair per epoch. The last batch is filled up with further random
    anchors, so all batches are full; a split smaller than one batch gives one full batch. Each batch holds exactly
    ``positives_per_batch`` positive pairs, at random places, as long as there are enough anchors for them.

    A positive partner is drawn uniformly from the same person's images of *other* cameras, or, where there are none (or
    with ``across_cameras=False``), from all of that person's other images; never the anchor itself. An unknown camera
    (-1) counts as one camera. A person with a single image is never part of a positive pair. A negative partner is
    drawn uniformly over the *images* of all other people: who has more pictures is met more often, as in the gallery.

    Attributes:
        steps: batches per epoch, ``ceil(N / batch_size)``.
        positives_per_batch: ``round(positive_share * batch_size)``, Python's rounding (half to even).
        notes: sentences for the reader of a run: what could not be had as asked.

    Raises:
        ValueError: an empty split, junk (-1) or distractors (0) in it, no identity with two images although positive
            pairs are asked for, one identity although negative pairs are asked for, or an argument out of its range.
    """

    def __init__(
        self,
        pids: np.ndarray,
        camids: np.ndarray,
        batch_size: int = 16,
        positive_share: float = 0.5,
        across_cameras: bool = True,
        seed: int = 0,
    ) -> None:
        self.pids, self.camids = _checked_identities(pids, camids)
        self.batch_size = _whole_number("batch_size", batch_size, at_least=1)
        self.seed = _whole_number("seed", seed, at_least=0)
        if not 0.0 <= positive_share <= 1.0:
            raise ValueError(f"positive_share: expected a number from 0 to 1, got {positive_share!r}")
        self.positive_share = float(positive_share)
        self.across_cameras = bool(across_cameras)
        self.steps = -(-len(self.pids) // self.batch_size)
        self.positives_per_batch = round(self.positive_share * self.batch_size)
        self._index_people()
        self._check_possible()
        self._quotas = self._positive_quotas()
        self.notes = self._write_notes()

    def __len__(self) -> int:
        return self.steps

    def epoch(self, e: int) -> np.ndarray:
        """Plan of epoch ``e`` (0, 1, ...): (steps, batch_size, 2) int64, pairs of indices into the split."""
        rng = np.random.default_rng([self.seed, _whole_number("epoch", e, at_least=0)])
        positive = self._place_positives(rng)  # (T,) with T = steps * batch_size
        anchors = self._draw_anchors(positive, rng)  # (T,)
        partners = np.empty_like(anchors)
        partners[positive] = self._draw_positives(anchors[positive], rng)
        partners[~positive] = self._draw_negatives(anchors[~positive], rng)
        return np.stack([anchors, partners], axis=-1).reshape(self.steps, self.batch_size, 2)

    def is_positive(self, pairs: np.ndarray) -> np.ndarray:
        """Whether the two images of each pair show the same person: (..., 2) indices -> (...) bool."""
        pairs = np.asarray(pairs)
        if pairs.shape[-1:] != (2,):
            raise ValueError(f"pairs: expected an array of shape (..., 2), got {pairs.shape}")
        return self.pids[pairs[..., 0]] == self.pids[pairs[..., 1]]

    def _index_people(self) -> None:
        """Sort images by (pid, camid): a person, and a person's camera, is then one block ``[start, stop)``."""
        self._sorted = np.lexsort((self.camids, self.pids))
        pids, camids = self.pids[self._sorted], self.camids[self._sorted]
        new_person = np.r_[True, pids[1:] != pids[:-1]]
        new_camera = new_person | np.r_[True, camids[1:] != camids[:-1]]
        # All of these are indexed by the image, and hold places in the sorted order.
        self._own = np.argsort(self._sorted)
        self._person = tuple(bound[self._own] for bound in _block_bounds(new_person))
        camera = tuple(bound[self._own] for bound in _block_bounds(new_camera))
        size = self._person[1] - self._person[0]
        other_camera = (camera[1] - camera[0] < size) & self.across_cameras
        self._barred = tuple(np.where(other_camera, camera[i], self._own + i) for i in (0, 1))
        self._paired = size > 1  # images whose person has another one
        self._one_camera = self._paired & (camera[1] - camera[0] == size)

    def _check_possible(self) -> None:
        if self.positive_share > 0 and not self._paired.any():
            raise ValueError(
                f"positive_share={self.positive_share}: a positive pair needs two images of one person, but each of "
                f"the {len(self.pids)} identities has a single image. Add images, check that the file names give the "
                "right pids (casnkit data check PATH), or set positive_share=0."
            )
        if self.positives_per_batch < self.batch_size and len(np.unique(self.pids)) < 2:
            raise ValueError(
                f"a negative pair needs two people, but all {len(self.pids)} images are of pid {self.pids[0]}. "
                "Add people, check that the file names give the right pids (casnkit data check PATH), or set "
                "positive_share=1."
            )

    def _positive_quotas(self) -> np.ndarray:
        """Positive pairs per batch among the regular anchors, (steps,), without those of the last batch's filling."""
        extra = self.steps * self.batch_size - len(self.pids)
        wanted = np.full(self.steps, self.positives_per_batch)
        wanted[-1] = max(0, self.positives_per_batch - extra)
        available, total = int(self._paired.sum()), int(wanted.sum())
        if total <= available:
            return wanted
        return np.diff(np.cumsum(wanted) * available // total, prepend=0)  # too few: spread evenly, each one used

    def _place_positives(self, rng: np.random.Generator) -> np.ndarray:
        """Mark the places of positive pairs, (T,) bool, at random within each batch."""
        keys = rng.random((self.steps, self.batch_size))
        regular = self.batch_size - (self.steps * self.batch_size - len(self.pids))
        fillers = keys[-1, regular:].argsort().argsort()
        keys[-1, regular:] = 2.0  # behind every regular place, all of which are below 1
        positive = keys.argsort(axis=1).argsort(axis=1) < self._quotas[:, None]
        positive[-1, regular:] = fillers < self.positives_per_batch
        return positive.reshape(-1)

    def _draw_anchors(self, positive: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Put every image at one of the first N places and further random ones behind, (T,) int64."""
        n = len(self.pids)
        order = rng.permutation(n)
        can_be_positive = self._paired[order]
        first, rest = order[can_be_positive], order[~can_be_positive]
        number = int(positive[:n].sum())
        anchors = np.empty(len(positive), dtype=np.int64)
        anchors[:n][positive[:n]] = first[:number]
        anchors[:n][~positive[:n]] = rng.permutation(np.concatenate([first[number:], rest]))
        filler = positive[n:]
        anchors[n:][filler] = _draw(np.flatnonzero(self._paired), int(filler.sum()), rng)
        anchors[n:][~filler] = _draw(np.arange(n), int((~filler).sum()), rng)
        return anchors

    def _draw_positives(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Uniform over the person's block without the barred block inside it (its camera, or the image itself)."""
        start, stop = (bound[anchors] for bound in self._person)
        barred_start, barred_stop = (bound[anchors] for bound in self._barred)
        place = start + rng.integers(0, (stop - start) - (barred_stop - barred_start))
        place += np.where(place >= barred_start, barred_stop - barred_start, 0)
        return self._sorted[place]

    def _draw_negatives(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Uniform over all images without the person's block."""
        start, stop = (bound[anchors] for bound in self._person)
        place = rng.integers(0, len(self.pids) - (stop - start))
        place += np.where(place >= start, stop - start, 0)
        return self._sorted[place]

    def _write_notes(self) -> tuple[str, ...]:
        notes = []
        people = len(np.unique(self.pids))
        singles = int((~self._paired).sum())
        if singles:
            notes.append(f"{singles} of {people} identities have one image: they appear in negative pairs only")
        unknown = self.camids == UNKNOWN_CAMERA
        one_camera, nobody_knows = (
            len(np.unique(self.pids[chosen])) for chosen in (self._one_camera & ~unknown, self._paired & unknown)
        )
        if self.across_cameras and one_camera and self.positives_per_batch:
            notes.append(
                f"{one_camera} of {people} identities have several images but one camera: "
                "their positive pairs stay within it"
            )
        if self.across_cameras and nobody_knows and self.positives_per_batch:
            notes.append(
                f"the cameras of {nobody_knows} of {people} identities are unknown: their positive pairs may show one "
                "camera and one minute, which makes them easy"
            )
        extra = self.steps * self.batch_size - len(self.pids)
        got = int(self._quotas.sum()) + min(extra, self.positives_per_batch)
        if got < self.steps * self.positives_per_batch:
            notes.append(
                f"{got} positive pairs per epoch instead of {self.steps * self.positives_per_batch}: too few images "
                "belong to an identity with two images"
            )
        if self.positive_share > 0 and not self.positives_per_batch:
            notes.append(f"positive_share {self.positive_share} of {self.batch_size} pairs rounds to no positive pair")
        return tuple(notes)


def _block_bounds(is_first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and stop of each element's block, where ``is_first`` marks the blocks' first elements; both (N,)."""
    starts = np.flatnonzero(is_first)
    block = np.cumsum(is_first) - 1
    return starts[block], np.append(starts[1:], len(is_first))[block]


def _draw(pool: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``number`` elements, none twice unless the pool is too small."""
    return rng.choice(pool, number, replace=number > len(pool)) if number else pool[:0]


def _whole_number(name: str, value: SupportsIndex, at_least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = at_least - 1
    if number < at_least:
        raise ValueError(f"{name}: expected a whole number of at least {at_least}, got {value!r}")
    return number


def _checked_identities(pids: np.ndarray, camids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pids, camids = np.asarray(pids), np.asarray(camids)
    if pids.ndim != 1 or pids.shape != camids.shape:
        raise ValueError(f"expected pids and camids of one shape (N,), got {pids.shape} and {camids.shape}")
    if not len(pids):
        raise ValueError("expected at least one training image, got an empty split")
    for pid, meaning in ((JUNK_PID, "junk"), (DISTRACTOR_PID, "distractors")):
        if number := int((pids == pid).sum()):
            raise ValueError(
                f"{number} of {len(pids)} images have pid {pid} ({meaning}), which is nobody: expected people only. "
                "Train on split.subset(split.pids > 0)."
            )
    if (pids < 0).any():
        raise ValueError(f"expected pids above 0, got {int(pids.min())}")
    return pids.astype(np.int64), camids.astype(np.int64)


__all__ = ["PairSampler"]
