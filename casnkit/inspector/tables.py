"""One line for every query: what filters, orders and histograms look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from casnkit.attention import attention_distance
from casnkit.evaluation import pair_probability
from casnkit.inspector.networks import CHUNK, Network, Steps
from casnkit.ranking import pair_maps


@dataclass(frozen=True, eq=False)
class Table:
    """Parallel arrays (Q,), for one network and one way of ranking; NaN and -1 where a query has none."""

    average_precision: np.ndarray  # step AP
    last_hit: np.ndarray  # 1-based rank of the last true match
    num_matches: np.ndarray  # true matches that count
    top: np.ndarray  # gallery index of the first image that counts
    top_right: np.ndarray  # whether that is a true match
    nearest_wrong: np.ndarray  # gallery indices
    nearest_right: np.ndarray
    margin: (
        np.ndarray
    )  # (distance of the nearest wrong - of the nearest right) / the larger; below 0 the wrong is ahead
    confidence: np.ndarray  # p(same person) of the query and its first image, NaN where the network judges nothing
    consistency: np.ndarray  # attention distance (equation 5) of the query and its nearest true match


def table_steps(network: Network, ranked_by: str) -> Steps:
    """A network's :class:`Table`, in slices. A matrix that is small enough is kept: later rankings are taken from it."""
    count, lines, rows = len(network.query), [], []
    for part in np.array_split(np.arange(count), -(-count // CHUNK)):
        distances = network.part(part, ranked_by)
        lines += [_line(network, i, row) for i, row in zip(part.tolist(), distances, strict=True)]
        rows += [distances] if network.is_small else []
        yield len(lines), count
    if rows:
        network.distances.setdefault(ranked_by, np.concatenate(rows))
    columns = dict(zip(Table.__dataclass_fields__, map(np.array, zip(*lines, strict=True)), strict=False))
    confidence, consistency = np.full((2, count), np.nan)
    for part in np.array_split(np.arange(count), -(-count // 256)):
        _judge(network, part[columns["top"][part] >= 0], columns["top"], confidence)
        _compare(network, part[columns["nearest_right"][part] >= 0], columns["nearest_right"], consistency)
        yield count, count
    return Table(**columns, confidence=confidence, consistency=consistency)


def _line(network: Network, i: int, distances: np.ndarray) -> tuple:
    """One query's line, up to the margin."""
    found = network.rank(i, distances)
    right = found.status[found.kept] == "correct"
    hits, misses, margin = np.flatnonzero(right), np.flatnonzero(~right), np.nan
    first_right, first_wrong = (int(found.kept[places[0]]) if len(places) else -1 for places in (hits, misses))
    if len(hits) and len(misses):
        wrong, good = float(distances[first_wrong]), float(distances[first_right])
        margin = (wrong - good) / max(wrong, good, 1e-12)
    top, last = (int(found.kept[0]) if len(found.kept) else -1), (int(hits[-1]) + 1 if len(hits) else -1)
    right_first = bool(len(hits) and not hits[0])
    return found.average_precision, last, len(hits), top, right_first, first_wrong, first_right, margin


def _judge(network: Network, queries: np.ndarray, partner: np.ndarray, out: np.ndarray) -> None:
    if len(queries) and network.pair_trained:
        sides = network.query.features[queries], network.gallery.features[partner[queries]]
        out[queries] = pair_probability(network.model, *sides).numpy()


def _compare(network: Network, queries: np.ndarray, partner: np.ndarray, out: np.ndarray) -> None:
    if len(queries) and network.gallery.feature_maps is not None:
        sides, options = (
            (network.query.subset(queries), network.gallery.subset(partner[queries])),
            network.config.ranking,
        )
        pairs = np.arange(len(queries))[:, None].repeat(2, axis=1)
        maps = pair_maps(network.model, *sides, pairs, options.siamese_mode, options.pair_order)
        out[queries] = attention_distance(*maps, options.threshold).numpy()
