"""Which queries to look at, and in which order: both are said on screen, for a list of the worst is not a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from casnkit.config import check_choice
from casnkit.inspector.tables import Table

Test = Callable[[Table, "Table | None", float], np.ndarray]


@dataclass(frozen=True)
class Filter:
    """A choice of queries."""

    label: str  # on screen; {x} stands for the number
    test: Test  # (table, the other network's table, number) -> (Q,) bool
    value: float | None = None  # the number's default, or None where there is none
    limits: tuple[float, float, float] = (0.0, 1.0, 0.05)  # smallest and largest number, and the step
    other: bool = False  # whether a second network is needed
    why: str = ""  # what such queries teach

    def text(self, value: float) -> str:
        """The filter in words, with its number."""
        return self.label.format(x=f"{value:g}")


def _wrong(t: Table) -> np.ndarray:
    return (t.num_matches > 0) & ~t.top_right


def _inconsistent(table: Table, other: Table | None, x: float) -> np.ndarray:
    known = table.consistency[np.isfinite(table.consistency)]
    return table.consistency >= np.quantile(known, 1 - x) if len(known) else np.zeros(len(table.top), bool)


FILTERS: dict[str, Filter] = {
    "all": Filter("all queries", lambda t, o, x: np.ones(len(t.top), bool)),
    "rank-1 wrong": Filter("first image wrong", lambda t, o, x: _wrong(t), why="what was taken for the person?"),
    "AP below": Filter("AP below {x}", lambda t, o, x: t.average_precision < x, 0.5, why="hard queries"),
    "better": Filter(
        "AP better under the other network by more than {x}",
        lambda t, o, x: o.average_precision - t.average_precision > x, 0.0, other=True, why="what does the other see?",
    ),
    "worse": Filter(
        "AP worse under the other network by more than {x}",
        lambda t, o, x: t.average_precision - o.average_precision > x, 0.0, other=True, why="what did the other lose?",
    ),
    "confidently wrong": Filter(
        "first image wrong with p(same) at least {x}", lambda t, o, x: _wrong(t) & (t.confidence >= x), 0.9,
        why="sure, and wrong",
    ),
    "deep match": Filter(
        "a true match below rank {x}", lambda t, o, x: t.last_hit > x, 50.0, (1.0, 10000.0, 1.0),
        why="what makes the same person so different?",
    ),
    "inconsistent": Filter(
        "attention to the nearest match among the {x} least consistent", _inconsistent, 0.1,
        why="the two maps of one person disagree (equation 5)",
    ),
    "look-alike": Filter(
        "a stranger nearer than the nearest match, or at most {x} farther", lambda t, o, x: t.margin <= x, 0.1,
        why="nearly the same distance: what decides?",
    ),
    "no match": Filter("no true match in the gallery", lambda t, o, x: t.num_matches == 0, why="left out of every mean"),
}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """An order of queries: the smallest key first; queries without a key come last."""

    label: str
    key: Callable[[Table, Table | None], np.ndarray]
    other: bool = False


ORDERS: dict[str, Order] = {
    "data": Order("as in the data", lambda t, o: np.arange(len(t.top))),
    "AP": Order("lowest AP first", lambda t, o: t.average_precision),
    "change": Order(
        "largest change of AP under the other network first",
        lambda t, o: -np.abs(t.average_precision - o.average_precision), True,
    ),
    "confidence": Order("most confident first image first", lambda t, o: -t.confidence),
    "depth": Order("deepest true match first", lambda t, o: -t.last_hit.astype(float)),
    "consistency": Order("least consistent attention first", lambda t, o: -t.consistency),
}  # fmt: skip

HISTOGRAMS: dict[str, tuple[str, Callable[[Table], np.ndarray], tuple[float, float] | None]] = {
    "AP": ("average precision", lambda t: t.average_precision, (0.0, 1.0)),
    "margin": ("margin: nearest stranger against nearest match", lambda t: t.margin, None),
    "p": ("p(same) of the first image", lambda t: t.confidence, (0.0, 1.0)),
}  # name: (label, values of the queries, limits)


def needs(name: str, order: str, ranges: Mapping[str, object]) -> tuple[bool, bool]:
    """Whether a filter, an order and brushed ranges need a table, and that of another network."""
    check_choice("filter", name, FILTERS)
    check_choice("order", order, ORDERS)
    for brushed in ranges:
        check_choice("ranges", brushed, HISTOGRAMS)
    return name != "all" or order != "data" or bool(ranges), FILTERS[name].other or ORDERS[order].other


def choose(table: Table, other: Table | None, name: str, value: float, order: str,
           ranges: Mapping[str, tuple[float, float]]) -> list[int]:  # fmt: skip
    """Queries that pass a filter and the brushed ranges, in order. Raises ValueError where another network is needed."""
    if needs(name, order, ranges)[1] and other is None:
        raise ValueError("this filter or order compares two networks: choose one to compare with")
    passed = FILTERS[name].test(table, other, value)
    for brushed, (low, high) in ranges.items():
        values = HISTOGRAMS[brushed][1](table)
        passed = passed & (values >= low) & (values <= high)
    chosen = np.flatnonzero(passed)
    keys = ORDERS[order].key(table, other)[chosen].astype(float)
    return chosen[np.argsort(keys, kind="stable")].tolist()  # NaN is sorted last


def histogram(table: Table, name: str, bins: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """(edges, counts) of a quantity of all queries; those without it are left out."""
    _, values_of, limits = HISTOGRAMS[name]
    values = values_of(table)
    counts, edges = np.histogram(values[np.isfinite(values)], bins, limits)
    return edges, counts
