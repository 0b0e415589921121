"""Which queries to look at, and in which order: both are said on screen, for a list of the worst is not a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .tables import Table

Test = Callable[[Table, "Table | None", float], np.ndarray]


@dataclass(frozen=True)
class Filter:
    """A choice of queries.

    Attributes:
        label: on screen; ``{x}`` stands for the number.
        test: (table, the other network's table, number) -> (Q,) bool.
        value: the number's default, or None where there is none.
        limits: smallest and largest number, and the step.
        other: whether a second network is needed.
        why: what such queries teach.
    """

    label: str
    test: Test
    value: float | None = None
    limits: tuple[float, float, float] = (0.0, 1.0, 0.05)
    other: bool = False
    why: str = ""

    def text(self, value: float) -> str:
        """The filter in words, with its number."""
        return self.label.format(x=f"{value:g}")


def _inconsistent(table: Table, other: Table | None, x: float) -> np.ndarray:
    known = table.consistency[np.isfinite(table.consistency)]
    return table.consistency >= np.quantile(known, 1 - x) if len(known) else np.zeros(len(table.top), bool)


FILTERS: dict[str, Filter] = {
    "all": Filter("all queries", lambda t, o, x: np.ones(len(t.top), bool)),
    "rank-1 wrong": Filter(
        "first image wrong", lambda t, o, x: (t.num_matches > 0) & ~t.top_right, why="what was taken for the person?"
    ),
    "AP below": Filter("AP below {x}", lambda t, o, x: t.average_precision < x, 0.5, why="hard queries"),
    "better": Filter(
        "AP better under the other model by more than {x}",
        lambda t, o, x: o.average_precision - t.average_precision > x, 0.0, other=True,
        why="what does the other model see?",
    ),
    "worse": Filter(
        "AP worse under the other model by more than {x}",
        lambda t, o, x: t.average_precision - o.average_precision > x, 0.0, other=True,
        why="what did the other model lose?",
    ),
    "confidently wrong": Filter(
        "first image wrong with p(same) at least {x}",
        lambda t, o, x: (t.num_matches > 0) & ~t.top_right & (t.confidence >= x), 0.9, why="sure, and wrong",
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
        "largest change of AP under the other model first",
        lambda t, o: -np.abs(t.average_precision - o.average_precision),
        True,
    ),
    "confidence": Order("most confident first image first", lambda t, o: -t.confidence),
    "depth": Order("deepest true match first", lambda t, o: -t.last_hit.astype(float)),
    "consistency": Order("least consistent attention first", lambda t, o: -t.consistency),
}


def needs(name: str, order: str) -> tuple[bool, bool]:
    """Whether a filter and an order need a table, and that of another network."""
    _known(name, order)
    return name != "all" or order != "data", FILTERS[name].other or ORDERS[order].other


def choose(table: Table, other: Table | None, name: str, value: float, order: str) -> list[int]:
    """Queries that pass a filter, in order.

    Raises:
        ValueError: an unknown name, or no other network where one is needed.
    """
    if needs(name, order)[1] and other is None:
        raise ValueError("this filter or order compares two models: choose one to compare with")
    passed = np.flatnonzero(FILTERS[name].test(table, other, value))
    keys = ORDERS[order].key(table, other)[passed].astype(float)
    return passed[np.argsort(keys, kind="stable")].tolist()  # NaN is sorted last


def _known(name: str, order: str) -> None:
    for value, known, what in ((name, FILTERS, "filter"), (order, ORDERS, "order")):
        if value not in known:
            raise ValueError(f"expected a {what} out of {', '.join(known)}, got {value!r}")
