"""One line for every query: what filters, orders and histograms look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from casnkit.attention import attention_distance
from casnkit.evaluation import pair_probability
from casnkit.inspector.networks import CHUNK, WHOLE, Network, Steps
from casnkit.ranking import pair_maps


@dataclass(frozen=True, eq=False)
class Table:
    """Parallel arrays (Q,), for one network and one way of ranking; NaN and -1 where a query has none."""

    network: str
    ranked_by: str
    average_precision: np.ndarray  # step AP
    first_hit: np.ndarray  # 1-based ranks of the first and the last true match, -1 without one
    last_hit: np.ndarray
    num_matches: np.ndarray  # true matches that count
    top: np.ndarray  # gallery index of the first image that counts, -1 where none does
    top_right: np.ndarray  # whether that is a true match
    nearest_wrong: np.ndarray  # gallery indices, -1 where there is none
    nearest_right: np.ndarray
    margin: np.ndarray  # (distance of the nearest wrong - of the nearest right) / the larger; below 0 the wrong is ahead
    confidence: np.ndarray  # p(same person) of the query and its first image, NaN where the network judges nothing
    consistency: np.ndarray  # attention distance (equation 5) of the query and its nearest true match


def table_steps(network: Network, ranked_by: str) -> Steps:
    """A network's :class:`Table`, in slices. A matrix that is small enough is kept: later rankings are taken from it."""
    count, rows = len(network.query), []
    keep = network.num_pairs <= WHOLE and ranked_by not in network.distances
    matrix = np.empty((count, len(network.gallery)), np.float32) if keep else None
    for start in range(0, count, CHUNK):
        part = np.arange(start, min(start + CHUNK, count))
        distances = network.part(part, ranked_by)
        rows += [_line(network, i, row) for i, row in zip(part.tolist(), distances, strict=True)]
        if keep:
            matrix[part] = distances
        yield start + len(part), count
    if keep:
        network.distances[ranked_by] = matrix
    names = "average_precision first_hit last_hit num_matches top top_right nearest_wrong nearest_right margin".split()
    columns = dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))
    confidence, consistency = np.full(count, np.nan), np.full(count, np.nan)
    for part in np.array_split(np.arange(count), max(1, count // 256)):
        _judge(network, part[columns["top"][part] >= 0], columns["top"], confidence)
        _compare(network, part[columns["nearest_right"][part] >= 0], columns["nearest_right"], consistency)
        yield count, count
    return Table(network.name, ranked_by, **columns, confidence=confidence, consistency=consistency)


def _line(network: Network, i: int, distances: np.ndarray) -> tuple:
    """One query's line, up to the margin."""
    found = network.rank(i, distances)
    right = found.status[found.kept] == "correct"
    hits, misses = np.flatnonzero(right), np.flatnonzero(~right)
    first_right, first_wrong = (int(found.kept[places[0]]) if len(places) else -1 for places in (hits, misses))
    margin = np.nan
    if len(hits) and len(misses):
        wrong, good = float(distances[first_wrong]), float(distances[first_right])
        margin = (wrong - good) / max(wrong, good, 1e-12)
    ends = (int(hits[0]) + 1, int(hits[-1]) + 1) if len(hits) else (-1, -1)
    top = int(found.kept[0]) if len(found.kept) else -1
    top_right = bool(len(hits) and not hits[0])
    return found.average_precision, *ends, len(hits), top, top_right, first_wrong, first_right, margin


def _judge(network: Network, queries: np.ndarray, partner: np.ndarray, out: np.ndarray) -> None:
    if len(queries) and network.pair_trained:
        sides = network.query.features[queries], network.gallery.features[partner[queries]]
        out[queries] = pair_probability(network.model, *sides).numpy()


def _compare(network: Network, queries: np.ndarray, partner: np.ndarray, out: np.ndarray) -> None:
    if len(queries) and network.gallery.feature_maps is not None:
        sides, options = (network.query.subset(queries), network.gallery.subset(partner[queries])), network.config.ranking
        pairs = np.arange(len(queries))[:, None].repeat(2, axis=1)
        maps = pair_maps(network.model, *sides, pairs, options.siamese_mode, options.pair_order)
        out[queries] = attention_distance(*maps, options.threshold).numpy()
