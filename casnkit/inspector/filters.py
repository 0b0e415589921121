"""Which queries to look at, and in which order: both are said on screen, for a list of the worst is not a sample.

Filters, orders and histograms look at a table with a line for every query, for one network and one way of ranking.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from casnkit.attention import attention_distance
from casnkit.config import check_choice
from casnkit.evaluation import pair_probability
from casnkit.inspector.networks import Network, Progress
from casnkit.inspector.pairs import QueryRanking
from casnkit.inspector.state import SCREEN, State
from casnkit.ranking import pair_maps
from casnkit.ranking.protocol import chunks

WHOLE = 20_000_000  # distances that are kept as one matrix
CHUNK = 32  # queries between two words of progress


def table_of(network: Network, ranked_by: str, progress: Progress) -> np.recarray:
    """A network's table. A matrix that is small enough is kept: later rankings are taken from it."""
    count, lines, rows = len(network.query), [], []
    small = count * len(network.gallery) <= WHOLE
    for part in np.array_split(np.arange(count), -(-count // CHUNK)):
        distances = network.part(part, ranked_by)
        ranked = [QueryRanking(network, i, ranked_by, row) for i, row in zip(part.tolist(), distances, strict=True)]
        lines += map(_line, ranked)
        rows += [distances] if small else []
        progress(len(lines), count)
    if rows:
        network.distances.setdefault(ranked_by, np.concatenate(rows))
    table = pd.DataFrame(lines).to_records(index=False)
    if network.pair_trained:
        known = table.top >= 0
        sides = network.query.features[known], network.gallery.features[table.top[known]]
        table.confidence[known] = pair_probability(network.model, *sides)
    matched = np.flatnonzero(table.nearest_right >= 0) if network.gallery.feature_maps is not None else []
    for part in chunks(len(matched), 1, 256):
        i, options = matched[part], network.config.ranking
        sides = network.query.subset(i), network.gallery.subset(table.nearest_right[i])
        pairs = np.arange(len(i))[:, None].repeat(2, axis=1)
        maps = pair_maps(network.model, *sides, pairs, options.siamese_mode, options.pair_order)
        table.consistency[i] = attention_distance(*maps, options.threshold)
        progress(count, count)
    return table


def _line(found: QueryRanking) -> dict[str, Any]:
    """One query's line; NaN and -1 where it has none."""
    ranking, nearest = found.ranking, [found.first_of(status) for status in ("correct", "wrong")]
    right, wrong = (np.nan if j is None else float(found.distances[j]) for j in nearest)
    margin = (wrong - right) / max(right, wrong, 1e-12)
    return {
        "average_precision": ranking.average_precision,  # step AP
        "last_hit": ranking.position[found.matches].max(initial=-1),  # 1-based rank of the last true match
        "num_matches": len(found.matches),  # true matches that count
        "top": ranking.kept[:1].max(initial=-1),  # gallery index of the first image that counts
        "top_right": ranking.first_hit == 0,  # whether that is a true match
        "nearest_right": -1 if nearest[0] is None else nearest[0],  # gallery indices
        "nearest_wrong": -1 if nearest[1] is None else nearest[1],
        "right": right,  # their distances
        "wrong": wrong,
        "margin": margin,  # below 0: the nearest wrong is ahead of the nearest right
        "confidence": np.nan,  # p(same person) of the query and its first image, NaN where the network judges nothing
        "consistency": np.nan,  # attention distance (equation 5) of the query and its nearest true match
    }


class Filter(NamedTuple):
    """A choice of queries."""

    label: str  # on screen; {x} stands for the number
    test: str  # as pandas' DataFrame.query takes it: of a table's columns, its gain, and the number @x
    value: float | None = None  # the number's default, or None where there is none
    limits: tuple[float, float, float] = (0.0, 1.0, 0.05)  # smallest and largest number, and the step
    other: bool = False  # whether a second network is needed
    why: str = ""  # what such queries teach

    def text(self, value: float) -> str:
        """The filter in words, with its number."""
        return self.label.format(x=f"{value:g}")


FILTERS = {name: Filter(**fields) for name, fields in SCREEN["filters"].items()}
ORDERS = SCREEN["orders"]  # label; what DataFrame.eval takes, the smallest first; whether a second network is needed
HISTOGRAMS = SCREEN["histograms"]  # quantities to be brushed: label, column, limits


def histogram(table: np.recarray, name: str, bins: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """(counts, edges) of all queries; those without the quantity are left out."""
    _, column, limits = HISTOGRAMS[name]
    return np.histogram(table[column][np.isfinite(table[column])], bins, limits)


def needs(state: State) -> tuple[bool, bool]:
    """Whether a state's filter, order and brushed ranges need a table, and that of another network."""
    check_choice("filter", state.filter, FILTERS)
    check_choice("order", state.order, ORDERS)
    for brushed in state.ranges:
        check_choice("ranges", brushed, HISTOGRAMS)
    chosen = state.filter != "all" or state.order != "data" or bool(state.ranges)
    return chosen, FILTERS[state.filter].other or ORDERS[state.order][2]


def choose(table: np.recarray, other: np.recarray | None, state: State) -> list[int]:
    """Queries that pass a filter and the brushed ranges, in order. Raises ValueError where another network is needed."""
    if needs(state)[1] and other is None:
        raise ValueError("this filter or order compares two networks: choose one to compare with")
    gain = np.nan if other is None else other.average_precision - table.average_precision
    found = pd.DataFrame(table).assign(gain=gain)
    found = found.query(FILTERS[state.filter].test, local_dict={"x": state.filter_value})
    for brushed, (low, high) in state.ranges.items():
        found = found[found[HISTOGRAMS[brushed][1]].between(low, high)]
    keys = pd.Series(found.eval(ORDERS[state.order][1]), found.index)
    return keys.sort_values(kind="stable").index.tolist()  # NaN is sorted last
