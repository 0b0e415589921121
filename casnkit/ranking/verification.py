"""One pair, one question: the same person? From distances to error rates, and a threshold that was chosen elsewhere.

A ranking always has a first place, also where the person is not in the gallery. Whoever must say yes or no needs a
threshold on the distance, and then errs in two ways: a *false accept* says "same" of two people, a *false reject* says
"different" of one. The threshold is chosen on one set of pairs and its errors are reported on another: on its own set it
looks better than it is.

Pairs are those of the protocol: junk is left out, and gallery images of the query's person *and* camera; so are queries
that are nobody (pid 0 or -1), of which nothing can be said. The curve is scikit-learn's ``roc_curve``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from casnkit._optional import require
from casnkit.data.records import DISTRACTOR_PID
from casnkit.ranking.matching import ignored_mask, matches_mask, to_numpy, whole_numbers

if TYPE_CHECKING:
    import torch

FALSE_ACCEPT_RATES = (0.001, 0.01, 0.1)
_CHUNK_VALUES = 2_000_000  # pairs looked at together


@dataclass(frozen=True, eq=False)
class PairDistances:
    """Distances of pairs of which the truth is known, lower is closer.

    Attributes:
        same: (n,) of one person.
        different: (m,) of two people.
        num_same, num_different: how many pairs there are; more than n and m where only a part was drawn.
    """

    same: np.ndarray
    different: np.ndarray
    num_same: int
    num_different: int


@dataclass(frozen=True, eq=False)
class Verification:
    """The curve of all thresholds. Rates are in [0, 1] and have one entry per threshold, which ascend.

    Attributes:
        thresholds: (K,) distances; a pair is called the same person where its distance is at most the threshold. The
            first is -inf: nothing is accepted.
        false_accept: (K,) share of the pairs of two people that are called one.
        true_accept: (K,) share of the pairs of one person that are called one.
        auc: area under the curve: how often a random pair of one person is closer than one of two (ties half).
        equal_error_rate: where false accepts and false rejects are equally frequent, between thresholds interpolated.
        num_same, num_different: pairs that there are.
    """

    thresholds: np.ndarray
    false_accept: np.ndarray
    true_accept: np.ndarray
    auc: float
    equal_error_rate: float
    num_same: int
    num_different: int


@dataclass(frozen=True)
class Decision:
    """A threshold and its errors on one set of pairs.

    Attributes:
        threshold: a distance; at most this far apart means "the same person".
        false_accept, false_reject: rates in [0, 1].
        precision: share of one person's pairs among the accepted; depends on how many of each kind the set has. NaN
            where none is accepted.
    """

    threshold: float
    false_accept: float
    false_reject: float
    precision: float


def pair_distances(
    distances: np.ndarray | torch.Tensor,
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
    max_pairs: int = 1_000_000,
    seed: int = 0,
) -> PairDistances:
    """The distances of all pairs that count, or of at most ``max_pairs`` of each kind, drawn without replacement.

    Args:
        distances: (Q, G), lower is closer.
        seed: of the draw.

    Raises:
        ValueError: shapes that do not fit, NaN among the pairs, or no pair of either kind.
    """
    sides = [whole_numbers(v, n) for v, n in ((query_pids, "query_pids"), (gallery_pids, "gallery_pids"))]
    query_pids, gallery_pids = sides
    cameras = [whole_numbers(v, n) for v, n in ((query_camids, "query_camids"), (gallery_camids, "gallery_camids"))]
    if tuple(distances.shape) != (len(query_pids), len(gallery_pids)):
        raise ValueError(
            f"distances: expected shape ({len(query_pids)}, {len(gallery_pids)}), found {tuple(distances.shape)}"
        )
    persons = np.flatnonzero(query_pids > DISTRACTOR_PID)
    labels = query_pids, cameras[0], gallery_pids, cameras[1]
    counts = np.array([[m.sum() for m in kinds] for _, kinds in _kinds(persons, *labels)]).reshape(-1, 2)
    if not counts.sum(0).all():
        raise ValueError(
            f"expected pairs of one person and of two, found {counts[:, 0].sum()} and {counts[:, 1].sum()}: a pair of "
            "one person has two cameras"
        )
    rng = np.random.default_rng(seed)
    shares = [_shares(column, max_pairs, rng) for column in counts.T]
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for number, (rows, kinds) in enumerate(_kinds(persons, *labels)):
        part = to_numpy(distances[rows])
        for kept, mask, share in zip(found, kinds, shares, strict=True):
            values = part[mask]
            kept.append(values if share[number] == len(values) else rng.choice(values, share[number], replace=False))
    same, different = (np.concatenate(kept) for kept in found)
    if np.isnan(same).any() or np.isnan(different).any():
        raise ValueError("distances: expected numbers, found NaN: look for NaN in the features of these images")
    return PairDistances(same, different, int(counts[:, 0].sum()), int(counts[:, 1].sum()))


def verify(pairs: PairDistances) -> Verification:
    """The ROC curve of "same person?" with its area and its equal error rate.

    Raises:
        ImportError: scikit-learn is missing.
    """
    metrics = require("sklearn.metrics", "the ROC curve")
    truth = np.repeat([1, 0], [len(pairs.same), len(pairs.different)])
    scores = -np.concatenate([pairs.same, pairs.different])
    finite = np.finfo(scores.dtype)
    false_accept, true_accept, thresholds = metrics.roc_curve(truth, scores.clip(finite.min, finite.max))
    thresholds = np.concatenate([[-np.inf], -thresholds[1:]])  # the first one accepts nothing, whatever it is called
    auc = float(metrics.auc(false_accept, true_accept))
    equal = _equal_error(false_accept, 1 - true_accept)
    return Verification(thresholds, false_accept, true_accept, auc, equal, pairs.num_same, pairs.num_different)


def choose_thresholds(
    pairs: PairDistances, false_accept_rates: Sequence[float] = FALSE_ACCEPT_RATES
) -> dict[float, Decision]:
    """For each rate the largest threshold that accepts at most that share of these pairs of two people.

    The errors in the result are those on these very pairs; :func:`error_rates` gives them for another set.

    Raises:
        ValueError: a rate outside (0, 1), or one below one pair in all that there are.
    """
    ordered, chosen = np.sort(pairs.different), {}
    for rate in false_accept_rates:
        if not 0 < rate < 1:
            raise ValueError(f"expected false accept rates in (0, 1), got {rate!r}")
        allowed = math.floor(rate * len(ordered) + 1e-9)
        if allowed < 1:
            raise ValueError(
                f"expected at least {math.ceil(1 / rate)} pairs of two people for a false accept rate of {rate}, got "
                f"{len(ordered)}: take more pairs, or a higher rate"
            )
        beyond = ordered[allowed]
        threshold = float(np.nextafter(beyond, -np.inf, dtype=ordered.dtype))  # the first that must not be accepted
        chosen[float(rate)] = error_rates(pairs, threshold)
    return chosen


def error_rates(pairs: PairDistances, threshold: float) -> Decision:
    """What a threshold that was chosen elsewhere does on these pairs."""
    accepted = [np.count_nonzero(values <= threshold) / len(values) for values in (pairs.same, pairs.different)]
    right, wrong = accepted[0] * pairs.num_same, accepted[1] * pairs.num_different
    precision = right / (right + wrong) if right + wrong else math.nan
    return Decision(float(threshold), accepted[1], 1 - accepted[0], precision)


def _kinds(
    persons: np.ndarray, query_pids: np.ndarray, query_camids: np.ndarray, *gallery: np.ndarray
) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    """Some queries at a time, and (n, G) masks of their pairs of one person and of two."""
    step = max(1, _CHUNK_VALUES // max(1, len(gallery[0])))
    for first in range(0, len(persons), step):
        rows = persons[first : first + step]
        labels = query_pids[rows], query_camids[rows], *gallery
        same = matches_mask(*labels)
        yield rows, (same, ~same & ~ignored_mask(*labels))


def _shares(counts: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """How many pairs each part gives to a draw of at most ``most`` out of all parts together."""
    if counts.sum() <= most:
        return counts
    return rng.multivariate_hypergeometric(counts, most, method="marginals")


def _equal_error(false_accept: np.ndarray, false_reject: np.ndarray) -> float:
    """Where the two rates cross; both lines are straight between two thresholds."""
    after = int(np.argmax(false_accept >= false_reject))
    if after == 0:
        return float(false_accept[0])
    gap = false_reject[after - 1 : after + 1] - false_accept[after - 1 : after + 1]
    share = gap[0] / (gap[0] - gap[1])
    return float(false_accept[after - 1] + share * (false_accept[after] - false_accept[after - 1]))


__all__ = [
    "FALSE_ACCEPT_RATES",
    "Decision",
    "PairDistances",
    "Verification",
    "choose_thresholds",
    "error_rates",
    "pair_distances",
    "verify",
]
