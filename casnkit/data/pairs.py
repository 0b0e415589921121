"""Which two pictures are compared: the pairs of every training step, as indices into a split.

The paper trains its Siamese branch on same and different pairs (section 3.2) and leaves open how they are drawn; here
the share of positive pairs is exact in every batch and the rest is an argument. A plan is a pure function of
(seed, epoch), so training that stops in the middle of an epoch continues with exactly the pairs that were left.
"""

import numpy as np

from casnkit.data.records import UNKNOWN_CAMERA


class PairSampler:
    """Plans of pairs over a training split; holds no state between epochs.

    Every image is the first member (the anchor) of one pair per epoch; further random anchors fill the last batch. Each
    of the ``steps`` batches holds exactly ``positives_per_batch`` positive pairs, ``round(positive_share * batch_size)``,
    at random places, as long as there are enough anchors for them. ``notes`` say what could not be had as asked.

    A positive partner is drawn uniformly from the same person's images of *other* cameras, or, where there are none (or
    with ``across_cameras=False``), from all of that person's other images; never the anchor itself. An unknown camera
    (-1) counts as one camera. A person with a single image is never part of a positive pair. A negative partner is
    drawn uniformly over the *images* of all other people: who has more pictures is met more often, as in the gallery.

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
        self.pids, self.camids = np.asarray(pids, np.int64), np.asarray(camids, np.int64)
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0)):
            if not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
        if not 0.0 <= positive_share <= 1.0:
            raise ValueError(f"positive_share: expected a number from 0 to 1, got {positive_share!r}")
        self.batch_size, self.positive_share, self.across_cameras = batch_size, positive_share, across_cameras
        self.seed = seed
        self.steps = -(-len(self.pids) // batch_size)
        self.positives_per_batch = round(positive_share * batch_size)
        self._check_people()
        self._index_people()
        self._quotas = self._positive_quotas()
        self.notes = self._write_notes()

    def __len__(self) -> int:
        return self.steps

    def epoch(self, e: int) -> np.ndarray:
        """Plan of epoch ``e`` (0, 1, ...): (steps, batch_size, 2) int64, pairs of indices into the split."""
        if e < 0:
            raise ValueError(f"epoch: expected 0 or more, got {e!r}")
        rng = np.random.default_rng([self.seed, e])
        positive = self._place_positives(rng)  # (T,) with T = steps * batch_size
        anchors = self._draw_anchors(positive, rng)  # (T,)
        partners = np.empty_like(anchors)
        partners[positive] = self._draw_partners(anchors[positive], self._person, self._barred, rng)
        everybody = np.zeros_like(self.pids), np.full_like(self.pids, len(self.pids))
        partners[~positive] = self._draw_partners(anchors[~positive], everybody, self._person, rng)
        return np.stack([anchors, partners], axis=-1).reshape(self.steps, self.batch_size, 2)

    def is_positive(self, pairs: np.ndarray) -> np.ndarray:
        """Whether the two images of each pair show the same person: (..., 2) indices -> (...) bool."""
        return self.pids[pairs[..., 0]] == self.pids[pairs[..., 1]]

    def _check_people(self) -> None:
        pids, people = self.pids, len(np.unique(self.pids))
        if pids.ndim != 1 or pids.shape != self.camids.shape:
            raise ValueError(f"expected pids and camids of one shape (N,), got {pids.shape} and {self.camids.shape}")
        if not people:
            raise ValueError("expected at least one training image, got an empty split")
        if nobody := int((pids <= 0).sum()):
            what = f"{nobody} of {len(pids)} images have pid 0 (distractors) or less (-1: junk)"
            raise ValueError(f"expected people only, got {what}: train on split.subset(split.pids > 0)")
        advice = (
            "Add images, check that file names give the right pids (casnkit data check PATH), or set positive_share"
        )
        if self.positive_share > 0 and people == len(pids):
            what = f"a positive pair needs two images of one person, but {people} people have a single image each"
            raise ValueError(f"positive_share={self.positive_share}: {what}. {advice}=0.")
        if self.positives_per_batch < self.batch_size and people < 2:
            raise ValueError(f"a negative pair needs two people, but all images are of pid {pids[0]}. {advice}=1.")

    def _index_people(self) -> None:
        """Sort images by (pid, camid): a person, and a person's camera, is then one block ``[start, stop)``."""
        self._sorted = np.lexsort((self.camids, self.pids))
        pids, camids = self.pids[self._sorted], self.camids[self._sorted]
        new_person = np.r_[True, pids[1:] != pids[:-1]]
        new_camera = new_person | np.r_[True, camids[1:] != camids[:-1]]
        # All of these are indexed by the image, and hold places in the sorted order.
        own = np.argsort(self._sorted)
        self._person = tuple(bound[own] for bound in _block_bounds(new_person))
        camera = tuple(bound[own] for bound in _block_bounds(new_camera))
        size = self._person[1] - self._person[0]
        self._paired = size > 1  # images whose person has another one
        self._one_camera = self._paired & (camera[1] - camera[0] == size)
        other_camera = (camera[1] - camera[0] < size) & self.across_cameras
        self._barred = tuple(np.where(other_camera, camera[i], own + i) for i in (0, 1))

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
        first, rest = order[self._paired[order]], order[~self._paired[order]]
        number, filler = int(positive[:n].sum()), positive[n:]
        anchors = np.empty(len(positive), dtype=np.int64)
        anchors[:n][positive[:n]] = first[:number]
        anchors[:n][~positive[:n]] = rng.permutation(np.concatenate([first[number:], rest]))
        for places, pool in ((filler, np.flatnonzero(self._paired)), (~filler, np.arange(n))):
            wanted = int(places.sum())  # none is drawn twice unless the pool is too small
            anchors[n:][places] = rng.choice(pool, wanted, replace=wanted > len(pool)) if wanted else []
        return anchors

    def _draw_partners(
        self,
        anchors: np.ndarray,
        block: tuple[np.ndarray, ...],
        barred: tuple[np.ndarray, ...],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Uniform over each anchor's ``block`` without the ``barred`` one inside it (a camera, a person, the image)."""
        (start, stop), (barred_start, barred_stop) = (
            [bound[anchors] for bound in bounds] for bounds in (block, barred)
        )
        place = start + rng.integers(0, (stop - start) - (barred_stop - barred_start))
        place += np.where(place >= barred_start, barred_stop - barred_start, 0)
        return self._sorted[place]

    def _write_notes(self) -> tuple[str, ...]:
        """What could not be had as asked, or makes the pairs easier than they look."""
        unknown = self.camids == UNKNOWN_CAMERA
        cameras = self.across_cameras and self.positives_per_batch > 0
        people, singles, one_camera, unseen = (
            len(np.unique(self.pids[chosen]))
            for chosen in (self.pids > 0, ~self._paired, self._one_camera & ~unknown, self._paired & unknown)
        )
        extra, asked = self.steps * self.batch_size - len(self.pids), self.steps * self.positives_per_batch
        got = int(self._quotas.sum()) + min(extra, self.positives_per_batch)
        share = f"positive_share {self.positive_share} of {self.batch_size} pairs"
        notes = (
            (singles, f"{singles} of {people} people have one image: they appear in negative pairs only"),
            (
                cameras and one_camera,
                f"{one_camera} of {people} people were seen by one camera: their pairs stay within it",
            ),
            (
                cameras and unseen,
                f"the cameras of {unseen} of {people} people are unknown: their pairs may show one camera",
            ),
            (got < asked, f"{got} positive pairs per epoch instead of {asked}: too few people have two images"),
            (self.positive_share > 0 and not self.positives_per_batch, f"{share} rounds to no positive pair"),
        )
        return tuple(note for holds, note in notes if holds)


def _block_bounds(is_first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and stop of each element's block, where ``is_first`` marks the blocks' first elements; both (N,)."""
    starts = np.flatnonzero(is_first)
    block = np.cumsum(is_first) - 1
    return starts[block], np.append(starts[1:], len(is_first))[block]
