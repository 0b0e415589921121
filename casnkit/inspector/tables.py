"""One line for every query: what filters and orders look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from casnkit.attention import attention_distance
from casnkit.explain.pair import pair_probability
from casnkit.ranking import pair_maps

from .networks import WHOLE, Network
from .slices import Portion, Steps, finish

MOST = 32  # queries at a time: between two portions one can stop


@dataclass(frozen=True, eq=False)
class Table:
    """Parallel arrays (Q,), for one network and one way of ranking; NaN and -1 where a query has none.

    Attributes:
        model, ranked_by: what it is of.
        average_precision: step AP.
        first_hit, last_hit: 1-based ranks of the first and the last true match, -1 without one.
        num_matches: true matches that count.
        top: gallery index of the first image that counts, -1 where none does.
        top_right: whether that is a true match.
        confidence: p(same person) of the query and that image.
        nearest_wrong, nearest_right: gallery indices, -1 where there is none.
        margin: (distance of the nearest wrong - of the nearest right) / the larger; below 0 the wrong one is ahead.
        consistency: attention distance (equation 5) of the query and its nearest true match.
    """

    model: str
    ranked_by: str
    average_precision: np.ndarray
    first_hit: np.ndarray
    last_hit: np.ndarray
    num_matches: np.ndarray
    top: np.ndarray
    top_right: np.ndarray
    confidence: np.ndarray
    nearest_wrong: np.ndarray
    nearest_right: np.ndarray
    margin: np.ndarray
    consistency: np.ndarray


def build_table(
    network: Network, ranked_by: str, progress: Callable[[int, int], object] = lambda done, total: None
) -> Table:
    """Rank the gallery for every query. ``progress(done, total)`` may raise to stop; nothing is kept then."""
    return finish(table_steps(network, ranked_by), progress)


def table_steps(network: Network, ranked_by: str) -> Steps[Table]:
    """:func:`build_table` in slices.

    Where the matrix is small enough it is remembered at the end, so that later rankings are taken from it.
    """
    count, width = len(network.query), len(network.gallery)
    names = ("first_hit", "last_hit", "num_matches", "top", "nearest_wrong", "nearest_right")
    whole = {name: np.full(count, -1, np.int64) for name in names}
    floats = {name: np.full(count, np.nan) for name in ("average_precision", "margin")}
    right = np.zeros(count, bool)
    keep = np.empty((count, width), np.float32) if network.num_pairs <= WHOLE else None
    start, portion = 0, Portion(MOST)
    while start < count:
        portion.begin()
        part = np.arange(start, min(start + portion.size, count))
        rows = network.part(part, ranked_by)
        if keep is not None:
            keep[part] = rows
        for i, row in zip(part.tolist(), rows, strict=True):
            right[i] = _one(network, i, row, whole, floats)
        portion.end()
        start += len(part)
        yield start, count
    if keep is not None and ranked_by not in network.distances:
        network.remember(ranked_by, keep)
    confidence = _confidence(network, whole["top"])
    consistency = yield from _consistency(network, whole["nearest_right"])
    return Table(
        network.name, ranked_by, top_right=right, confidence=confidence, consistency=consistency, **whole, **floats
    )


def _one(network: Network, i: int, row: np.ndarray, whole: dict, floats: dict) -> bool:
    """Enter one query's line; returns whether its first image is a true match."""
    found = network.rank(i, row)
    status = found.status[found.kept]
    hits, misses = (np.flatnonzero(status == "correct"), np.flatnonzero(status != "correct"))
    floats["average_precision"][i] = found.average_precision
    whole["num_matches"][i] = len(hits)
    for name, places in (("nearest_right", hits), ("nearest_wrong", misses)):
        if len(places):
            whole[name][i] = found.kept[places[0]]
    if len(found.kept):
        whole["top"][i] = found.kept[0]
    if len(hits):
        whole["first_hit"][i], whole["last_hit"][i] = hits[0] + 1, hits[-1] + 1
        if len(misses):
            wrong, good = float(row[found.kept[misses[0]]]), float(row[found.kept[hits[0]]])
            floats["margin"][i] = (wrong - good) / max(wrong, good, 1e-12)
    return bool(len(hits) and hits[0] == 0)


def _confidence(network: Network, top: np.ndarray) -> np.ndarray:
    out, known = np.full(len(top), np.nan), np.flatnonzero(top >= 0)
    for part in np.array_split(known, max(1, len(known) // 512)):
        if len(part):
            features = (
                network.query.features[torch.from_numpy(part)],
                network.gallery.features[torch.from_numpy(top[part])],
            )
            out[part] = pair_probability(network.model, *features).numpy()
    return out


def _consistency(network: Network, right: np.ndarray) -> Steps[np.ndarray]:
    out, known, options = np.full(len(right), np.nan), np.flatnonzero(right >= 0), network.config.ranking
    for part in np.array_split(known, max(1, len(known) // 256)):
        if len(part):
            gallery, query = network.gallery.subset(torch.from_numpy(right[part])), network.query.subset(part)
            pairs = np.arange(len(part))[:, None].repeat(2, axis=1)
            maps = pair_maps(network.model, query, gallery, pairs, options.siamese_mode, options.pair_order)
            out[part] = attention_distance(*maps, options.threshold).numpy()
            yield len(right), len(right)
    return out
