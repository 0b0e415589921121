"""Means over seeds with 95 % intervals, differences paired by seed, and what a study can and cannot see."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from casnkit._optional import require


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval (Student's t over seeds).

    Attributes:
        mean, low, high: the mean and the bounds of the interval; the bounds are NaN for a single seed.
        deviation: standard deviation over seeds, NaN for a single one.
        count: seeds.
    """

    mean: float
    low: float
    high: float
    deviation: float
    count: int

    @property
    def is_clear(self) -> bool:
        """True where the interval leaves zero out."""
        return bool(self.low > 0 or self.high < 0)

    def __str__(self) -> str:
        margin = (self.high - self.low) / 2
        return f"{self.mean:.1f}" + ("" if math.isnan(margin) else f" ± {margin:.1f}")


def estimate(values: Sequence[float], confidence: float = 0.95, pooled: tuple[float, int] | None = None) -> Estimate:
    """Mean of independent values with Student's interval.

    Args:
        pooled: deviation and degrees of freedom to use instead of the values' own: few seeds say little about their
            deviation, many settings with few seeds each say more together.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"expected finite numbers, one per seed, got {list(values)}")
    mean, count = float(numbers.mean()), len(numbers)
    own = float(numbers.std(ddof=1)) if count > 1 else math.nan
    deviation, freedom = pooled or (own, count - 1)
    if not freedom:
        return Estimate(mean, math.nan, math.nan, math.nan, 1)
    margin = _quantile(0.5 + confidence / 2, freedom) * deviation / math.sqrt(count)
    return Estimate(mean, mean - margin, mean + margin, own, count)


def pooled_deviation(estimates: Iterable[Estimate]) -> tuple[float, int]:
    """One deviation of several estimates, with its degrees of freedom; (NaN, 0) where all are of single seeds."""
    known = [(e.deviation, e.count - 1) for e in estimates if e.count > 1]
    freedom = sum(count for _, count in known)
    if not freedom:
        return math.nan, 0
    return math.sqrt(sum(count * value**2 for value, count in known) / freedom), freedom


def compare(
    ours: Sequence[Mapping[str, Any]],
    theirs: Sequence[Mapping[str, Any]],
    number: str,
    confidence: float = 0.95,
    pooled: tuple[float, int] | None = None,
) -> Estimate:
    """Mean of ``ours - theirs`` over the seeds that both have (the same seed draws the same pairs and images).

    Raises:
        ValueError: no seed in common, or two rows with one seed.
    """
    first, second = (_by_seed(rows, number) for rows in (ours, theirs))
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise ValueError(f"expected a seed that both have, got {sorted(first)} and {sorted(second)}")
    return estimate([first[seed] - second[seed] for seed in seeds], confidence, pooled)


def smallest_difference(
    deviation: float, seeds: int, power: float = 0.8, confidence: float = 0.95, freedom: int | None = None
) -> float:
    """The difference that ``seeds`` paired seeds would show with probability ``power``.

    Args:
        deviation: of the paired difference over seeds.
        freedom: degrees of freedom behind ``deviation``; default: those of the seeds alone.
    """
    freedom = freedom or seeds - 1
    if seeds < 1 or not freedom:
        return math.inf
    quantiles = _quantile(0.5 + confidence / 2, freedom) + _quantile(power, freedom)
    return quantiles * deviation / math.sqrt(seeds)


def seeds_needed(deviation: float, difference: float, power: float = 0.8, most: int = 1000) -> int | None:
    """How many paired seeds would show ``difference``; None where ``most`` do not suffice."""
    return next((n for n in range(2, most + 1) if smallest_difference(deviation, n, power) <= difference), None)


def _quantile(share: float, freedom: int) -> float:
    return float(require("scipy.stats", "intervals").t.ppf(share, freedom))


def _by_seed(rows: Sequence[Mapping[str, Any]], number: str) -> dict[int, float]:
    found: dict[int, float] = {}
    for row in rows:
        if row.get(number) is None:
            continue
        if row["seed"] in found:
            raise ValueError(f"expected one row per seed, found two of seed {row['seed']} ({row.get('setting', '')})")
        found[row["seed"]] = float(row[number])
    return found
