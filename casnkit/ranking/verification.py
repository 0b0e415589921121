"""One pair, one question: the same person? From distances to error rates, and a threshold that was chosen elsewhere.

A threshold on the distance errs in two ways: a *false accept* says "same" of two people, a *false reject* says "different"
of one. It is chosen on one set of pairs and its errors are reported on another: on its own set it looks better than it is.

Pairs are those of the protocol: junk is left out, and gallery images of the query's person *and* camera; so are queries
that are nobody (pid 0 or -1), of which nothing can be said.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import auc, roc_curve

from casnkit.data.records import DISTRACTOR_PID
from casnkit.ranking.protocol import Ids, Matrix, check_shape, checked_sides, chunks, pair_masks, to_numpy

MAX_PAIRS = 1_000_000  # of each kind; of more, that many are drawn


@dataclass(frozen=True, eq=False)
class PairDistances:
    """Distances of pairs of which the truth is known, lower is closer."""

    same: np.ndarray  # (n,) of one person
    different: np.ndarray  # (m,) of two people
    num_same: int  # how many pairs there are; more than n and m where only a part was drawn
    num_different: int


@dataclass(frozen=True, eq=False)
class Verification:
    """The curve of all thresholds. Rates are in [0, 1] and have one entry for each threshold."""

    thresholds: np.ndarray  # (K,) ascending; "the same" is a distance of at most that. The first, -inf, accepts nothing
    false_accept: np.ndarray  # (K,) share of the pairs of two people that are called one
    true_accept: np.ndarray  # (K,) share of the pairs of one person that are called one
    auc: float  # how often a random pair of one person is closer than one of two (ties half)
    equal_error_rate: float  # where false accepts and false rejects are equally frequent, interpolated
    num_same: int  # pairs of one person


@dataclass(frozen=True)
class Decision:
    """A threshold and its errors on one set of pairs."""

    threshold: float  # a distance; at most this far apart means "the same person"
    false_accept: float
    false_reject: float
    precision: float  # share of one person's pairs among the accepted, NaN without any; depends on how many there are


def pair_distances(distances: Matrix, *sides: Ids) -> PairDistances:
    """The distances of all pairs that count, or of :data:`MAX_PAIRS` of each kind; arguments as the protocol's."""
    q_pids, q_cams, *gallery = checked_sides(*sides)
    check_shape(distances, len(q_pids), len(gallery[0]))
    rng, counts, kept = np.random.default_rng(0), [0, 0], [np.empty((2, 0)), np.empty((2, 0))]
    for part in chunks(len(q_pids), len(gallery[0])):
        values, (same, ignored) = to_numpy(distances[part]), pair_masks(q_pids[part], q_cams[part], *gallery)
        different = (q_pids[part, None] > DISTRACTOR_PID) & ~same & ~ignored
        for k, chosen in enumerate((values[same], values[different])):
            counts[k] += len(chosen)
            kept[k] = np.concatenate([kept[k], [chosen, rng.random(len(chosen))]], axis=1)
            if kept[k].shape[1] > MAX_PAIRS:  # those with the smallest random keys stay
                kept[k] = kept[k][:, np.argpartition(kept[k][1], MAX_PAIRS)[:MAX_PAIRS]]
    if not all(counts):
        raise ValueError(f"expected pairs of one person, by two cameras, and of two people, found {counts}")
    same, different = (values.astype(to_numpy(distances[:1]).dtype) for values, _ in kept)
    if np.isnan([same.sum(), different.sum()]).any():
        raise ValueError("distances: expected numbers, found NaN: look for NaN in the features of these images")
    return PairDistances(same, different, *counts)


def verify(pairs: PairDistances) -> Verification:
    """The ROC curve of "same person?" with its area and its equal error rate, by scikit-learn."""
    truth = np.repeat([1, 0], [len(pairs.same), len(pairs.different)])
    scores = -np.concatenate([pairs.same, pairs.different])
    finite = np.finfo(scores.dtype)
    false_accept, true_accept, thresholds = roc_curve(truth, scores.clip(finite.min, finite.max))
    thresholds = np.concatenate([[-np.inf], -thresholds[1:]])  # the first one accepts nothing, whatever it is called
    excess = false_accept - (1 - true_accept)  # of false accepts over false rejects: rises from -1 to 1
    equal = float(np.interp(0, excess, false_accept))
    area = float(auc(false_accept, true_accept))
    return Verification(thresholds, false_accept, true_accept, area, equal, pairs.num_same)


def choose_thresholds(
    pairs: PairDistances, false_accept_rates: Sequence[float] = (0.001, 0.01, 0.1)
) -> dict[float, Decision]:
    """For each rate the largest threshold that accepts at most that share of these pairs of two people.

    The errors in the result are those on these very pairs; :func:`error_rates` gives them for another set.
    """
    ordered, chosen = np.sort(pairs.different), {}
    for rate in false_accept_rates:
        allowed = math.floor(rate * len(ordered) + 1e-9)
        if not 1 <= allowed < len(ordered):
            wanted = f"a false accept rate in (0, 1), of one or more of {len(ordered)} pairs"
            raise ValueError(f"expected {wanted}, got {rate}")
        refused = ordered[allowed]  # the first that must not be accepted
        chosen[float(rate)] = error_rates(pairs, float(np.nextafter(refused, -np.inf, dtype=ordered.dtype)))
    return chosen


def error_rates(pairs: PairDistances, threshold: float) -> Decision:
    """What a threshold that was chosen elsewhere does on these pairs."""
    true_accept, false_accept = (np.mean(values <= threshold) for values in (pairs.same, pairs.different))
    right, wrong = true_accept * pairs.num_same, false_accept * pairs.num_different
    precision = right / (right + wrong) if right + wrong else math.nan
    return Decision(float(threshold), float(false_accept), float(1 - true_accept), float(precision))
