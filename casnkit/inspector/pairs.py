"""A query's ranked gallery, and a pair out of it: its two maps, their row profiles, and every number that is said of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from torch import Tensor

from casnkit.data.records import JUNK_PID, NO_TRUTH
from casnkit.evaluation import RANKED_BY, pair_probability
from casnkit.explain import explain
from casnkit.inspector.networks import Network
from casnkit.inspector.state import SCREEN
from casnkit.ranking import Ranking, extract, normalise_distances, pair_maps

Maps = tuple[np.ndarray, np.ndarray]
TILES = 10  # gallery images on a page
LARGE_GALLERY = 4000  # images above which attention is not computed for a whole row unless it is asked for
MARKS = SCREEN["marks"]  # status of the protocol: (status on the screen, words)


class Tile(NamedTuple):
    """One gallery image in the list."""

    position: int  # 1-based rank among those that count, 0 where it does not
    status: str  # out of MARKS
    distance: float  # to the query, by what is ranked by; lower is closer


class Pair(NamedTuple):
    """What is said of a pair."""

    network: Network
    probability: float  # of "same person", in [0, 1]; means nothing where the network judges nothing
    same: bool | None  # whether they are; None where one of them has no identity, or nobody knows
    feature: float  # distances of the pair, lower is closer
    attention: float
    terms: dict[str, tuple[float, float]]  # of the fused score: name -> (normalised distance, weight), where known

    @property
    def fused(self) -> float | None:
        """The fused score: the weighted sum of the normalised distances, lower is closer."""
        return sum(value * weight for value, weight in self.terms.values()) if self.terms else None

    @property
    def verdict(self) -> str:
        """What the pair classifier says, with a mark where it is known whether it is right."""
        if not self.network.pair_trained:
            return f"{self.network.name} judges nothing: its pair classifier was not trained"
        says, names = self.probability >= 0.5, ("different people", "same person")
        words = f"judged {'the ' * says}{names[says]}, p(same) = {self.probability:.3f}"
        return words if self.same is None else f"{'✗✓'[says == self.same]} {words}; truth: {names[self.same]}"


@dataclass(frozen=True, eq=False)
class QueryRanking:
    """A query and its gallery, ranked by any distances; the numbers are those of :func:`casnkit.evaluate_ranking`."""

    network: Network
    query: int
    ranked_by: str
    distances: np.ndarray  # (G,)

    @cached_property
    def ranking(self) -> Ranking:
        """The gallery in order, by the protocol."""
        return self.network.rank(self.query, self.distances)

    @property
    def label(self) -> str:
        """The network and by what it ranks."""
        return f"{self.network.name} by {self.ranked_by}"

    @property
    def truth(self) -> bool:
        """Whether it is known who is who."""
        return self.network.dataset.name != NO_TRUTH

    @property
    def matches(self) -> np.ndarray:
        """Gallery indices of the true matches, nearest first."""
        return self.ranking.kept[self.ranking.status[self.ranking.kept] == "correct"]

    def order(self, show_ignored: bool = False) -> np.ndarray:
        """Gallery indices as listed, nearest first."""
        return self.ranking.order if show_ignored else self.ranking.kept

    def pages(self, show_ignored: bool = False) -> int:
        """Pages that the list takes; at least one."""
        return max(1, -(-len(self.order(show_ignored)) // TILES))

    def page(self, number: int, show_ignored: bool = False) -> list[int]:
        """Gallery indices on one 0-based page."""
        return self.order(show_ignored)[number * TILES : (number + 1) * TILES].tolist()

    def tile(self, j: int) -> Tile:
        """What is said of gallery image ``j``."""
        status = "unreadable" if self.network.dataset.gallery.error(j) else str(self.ranking.status[j])
        status = status if self.truth or status != "wrong" else "unknown"
        return Tile(int(self.ranking.position[j]), status, float(self.distances[j]))

    def first(self) -> int:
        """The nearest image that counts; where none does, the nearest of all."""
        return int((self.ranking.kept if len(self.ranking.kept) else self.ranking.order)[0])

    def first_of(self, status: str) -> int | None:
        """The nearest image with that mark (``wrong``: or a distractor), or None."""
        wanted = (status, "distractor") if status == "wrong" else (status,)
        return next((int(j) for j in self.ranking.kept if self.ranking.status[j] in wanted), None)

    def protocol(self) -> str:
        """A sentence or two: what was left out and why, and how many true matches there are."""
        status, unreadable = self.ranking.status, len(self.network.dataset.gallery.unreadable())
        left = {"of the same person and camera": int((status == "same_camera").sum()), "unreadable": unreadable}
        left["junk"] = int((status == "junk").sum()) - unreadable
        reasons = ", ".join(f"{count} {words}" for words, count in left.items() if count)
        out = f"{sum(left.values())} left out ({reasons})" if reasons else "none left out"
        text = f"{len(self.ranking.kept)} of {len(status)} gallery images count, {out}."
        if not self.truth:
            return text
        if math.isnan(self.ranking.average_precision):
            junk = self.network.dataset.query.pids[self.query] == JUNK_PID
            why = "it is junk" if junk else "nobody in the counted gallery is this person"
            return f"{text} No true match: {why}, so this query is left out of every mean."
        return f"{text} True matches: {len(self.matches)}."

    def scores(self) -> str:
        """AP and first hit."""
        if math.isnan(self.ranking.average_precision):
            return "AP undefined, no first hit" if self.truth else "no truth, no AP"
        return f"AP {100 * self.ranking.average_precision:.2f} %, first hit at rank {self.ranking.first_hit + 1}"

    def pair(self, j: int) -> Pair:
        """Everything said of the query and gallery image ``j``.

        The terms of the fused score need the query's attention distance to every image: a large gallery does without,
        unless attention ranks it.
        """
        network, i, terms = self.network, self.query, {}
        options, data = network.config.ranking, network.dataset
        query, gallery = network.one("query", i), network.one("gallery", j)
        whole = network.pair_trained and (len(network.gallery) <= LARGE_GALLERY or self.ranked_by != "features")
        rows = [network.row(i, kind) for kind in RANKED_BY[:2]] if whole else []
        distances = [row[j] for row in rows] or [network.between(query, gallery, by)[0, 0] for by in RANKED_BY[:2]]
        if rows and options.normalise_per == "query":
            weights = 1 - options.attention_weight, options.attention_weight
            for name, row, weight in zip(RANKED_BY, rows, weights, strict=False):
                terms[name] = float(normalise_distances(row[None], options.normalisation, "query")[0, j]), weight
        probability = float(pair_probability(network.model, query.features, gallery.features)[0])
        pids = int(data.query.pids[i]), int(data.gallery.pids[j])
        same = pids[0] == pids[1] > 0 if self.truth and min(pids) >= 0 else None
        return Pair(network, probability, same, *map(float, distances), terms)


def maps_of(network: Network, i: int, j: int, method: str = "siamese", target: str = "same", random: bool = False,
            images: Sequence[Tensor] = ()) -> Maps:  # fmt: skip
    """The two maps (h, w) of a pair, not normalised, by any method of ``casnkit.explain``.

    ``random``: of random weights. ``images``: in place of the pair's own, normalised (1, 3, H, W) each.
    """
    model, options = network.random_twin if random else network.model, network.config.ranking
    siamese = (method, target) == ("siamese", "same")  # as the configuration has it
    if not images and (random or not siamese):  # else their feature maps are there already
        images = network.images("query", [i]), network.images("gallery", [j])
    if siamese:
        seen = [extract(model, [image]) for image in images] or (network.one("query", i), network.one("gallery", j))
        maps = pair_maps(model, *seen, np.array([[0, 0]]), options.siamese_mode, options.pair_order)
    else:
        found = explain(model, *images, method=method, target=target)
        maps = found.query, found.gallery
    return tuple(m[0].float().cpu().numpy() for m in maps)
