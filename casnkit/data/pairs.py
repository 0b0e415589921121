"""Which two pictures are compared: the pairs of every training step, as indices into a split.

The paper trains its Siamese branch on same and different pairs (section 3.2) and leaves open how they are drawn; here
the share of positive pairs is exact in every batch and the rest is an argument. A plan is a pure function of
(seed, epoch), so training that stops in the middle of an epoch continues with exactly the pairs that were left.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from casnkit.config import check_count
from casnkit.data.records import whole_numbers


@dataclass(eq=False)
class PairSampler:
    """Plans of pairs over a training split; holds no state between epochs.

    Every image (or an ``anchor_share`` of them, drawn anew in each epoch) is the anchor, the first member, of one pair per
    epoch; further random anchors fill the last batch. Each of the ``steps`` batches holds exactly
    ``round(positive_share * batch_size)`` positive pairs, at random places, as long as there are enough anchors for them;
    ``notes`` say where there are not.

    A positive partner is drawn uniformly from the person's images of *other* cameras, or, where there are none (or with
    ``across_cameras=False``), from all the person's other images. An unknown camera (-1) counts as one camera. A negative
    partner is drawn uniformly over the *images* of all other people: who has more pictures is met more often. Raises
    ValueError for a split from which such pairs cannot be drawn.
    """

    pids: np.ndarray
    camids: np.ndarray
    batch_size: int = 16
    positive_share: float = 0.5
    across_cameras: bool = True
    seed: int = 0
    anchor_share: float = 1.0

    def __post_init__(self) -> None:
        self.pids, self.camids = whole_numbers("pids", self.pids), whole_numbers("camids", self.camids)
        self.batch_size = check_count("batch_size", self.batch_size)
        self.anchors = max(1, round(self.anchor_share * len(self.pids)))
        self.steps = -(-self.anchors // self.batch_size)
        self.extra = self.steps * self.batch_size - self.anchors  # random anchors at the end of the last batch
        self.positives_per_batch = round(self.positive_share * self.batch_size)
        self._index_people()
        wanted = np.full(self.steps, self.positives_per_batch)  # positive pairs of the regular anchors in each batch
        wanted[-1] = max(0, self.positives_per_batch - self.extra)
        available, total = int(self._paired.sum()), int(wanted.sum())
        if total > available:  # too few: spread evenly, each one used
            wanted = np.diff(np.cumsum(wanted) * available // total, prepend=0)
        self._quotas, asked = wanted, self.steps * self.positives_per_batch
        got, share = wanted.sum() + min(self.extra, self.positives_per_batch), self.positive_share
        told = f"positive_share {share}: {got} positive pairs per epoch, too few people or places in a batch"
        self.notes = (told,) if got < asked or (share > 0 and not asked) else ()

    def __len__(self) -> int:
        return self.steps

    def epoch(self, e: int) -> np.ndarray:
        """Plan of epoch ``e`` (0, 1, ...): (steps, batch_size, 2) int64, pairs of indices into the split."""
        rng = np.random.default_rng([self.seed, e])
        keys = rng.random((self.steps, self.batch_size))  # mark the places of positive pairs, at random in each batch
        regular = self.batch_size - self.extra
        fillers = keys[-1, regular:].argsort().argsort()
        keys[-1, regular:] = 2.0  # behind every regular place, all of which are below 1
        positive = keys.argsort(axis=1).argsort(axis=1) < self._quotas[:, None]
        positive[-1, regular:] = fillers < self.positives_per_batch
        positive = positive.reshape(-1)  # (T,) with T = steps * batch_size
        anchors = self._draw_anchors(positive, rng)  # (T,)
        partners, first, others = np.empty_like(anchors), anchors[positive], anchors[~positive]
        partners[positive] = self._draw_partners(self._person[:, first], self._barred[:, first], rng)
        partners[~positive] = self._draw_partners(np.array([[0], [len(self.pids)]]), self._person[:, others], rng)
        return np.stack([anchors, partners], axis=-1).reshape(self.steps, self.batch_size, 2)

    def is_positive(self, pairs: np.ndarray) -> np.ndarray:
        """Whether the two images of each pair show the same person: (..., 2) indices -> (...) bool."""
        return self.pids[pairs[..., 0]] == self.pids[pairs[..., 1]]

    def _index_people(self) -> None:
        """Sort images by (pid, camid): a person, and a person's camera, is then one block ``[start, stop)``."""
        images, nobody = len(self.pids), int((self.pids <= 0).sum())
        if self.pids.shape != self.camids.shape or not images or nobody:
            found = f"{nobody} of {images} pids are 0 (distractor) or less (junk), {len(self.camids)} camids"
            raise ValueError(f"expected training images, people only, and a camid for each pid: {found}")
        self._sorted = np.lexsort((self.camids, self.pids))
        own = np.argsort(self._sorted)  # each image's place in that order
        table = pd.DataFrame({"pid": self.pids, "camid": self.camids, "place": own})
        self._person, camera = (
            np.stack([places.transform("min"), places.transform("max") + 1])  # (2, N): start and stop by image
            for places in (table.groupby(keys).place for keys in (["pid"], ["pid", "camid"]))
        )
        size = self._person[1] - self._person[0]
        self._paired = size > 1  # images whose person has another one
        other_camera = (camera[1] - camera[0] < size) & self.across_cameras
        self._barred = np.where(other_camera, camera, [own, own + 1])
        all_positive = self.positives_per_batch == self.batch_size
        if (self.positive_share > 0 and not self._paired.any()) or (size[0] == images and not all_positive):
            needs = "a positive pair needs two images of one person, a negative pair needs two people"
            found = f"found {images} images of {table.pid.nunique()} people"
            told = f"positive_share={self.positive_share}: {needs}; {found}"
            raise ValueError(f"{told}: set it to 0 or 1, or see casnkit data check")

    def _draw_anchors(self, positive: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Put each anchor's image at one of the first places and further random ones behind, (T,) int64."""
        n, images = self.anchors, len(self.pids)
        order = rng.permutation(images)
        first, rest = order[self._paired[order]], order[~self._paired[order]]
        number, filler = int(positive[:n].sum()), positive[n:]
        anchors = np.empty(len(positive), dtype=np.int64)
        anchors[:n][positive[:n]] = first[:number]
        anchors[:n][~positive[:n]] = rng.permutation(np.concatenate([first[number:], rest]))[: n - number]
        for places, pool in ((filler, np.flatnonzero(self._paired)), (~filler, np.arange(images))):
            wanted = int(places.sum())  # none is drawn twice unless the pool is too small
            anchors[n:][places] = rng.choice(pool, wanted, replace=wanted > len(pool)) if wanted else []
        return anchors

    def _draw_partners(self, block: np.ndarray, barred: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Uniform over each anchor's ``block`` without the ``barred`` one inside it (a camera, a person, the image)."""
        (start, stop), (barred_start, barred_stop) = block, barred
        place = start + rng.integers(0, (stop - start) - (barred_stop - barred_start))
        place += np.where(place >= barred_start, barred_stop - barred_start, 0)
        return self._sorted[place]
