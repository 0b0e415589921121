"""Means over seeds with 95 % intervals, and what a study can and cannot see."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student


@dataclass(frozen=True)
class Estimate:
    """A mean over ``count`` seeds, the bounds of its interval (Student's t) and the standard deviation; for a single seed
    bounds and deviation are NaN."""

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

    def plain(self) -> dict[str, Any]:
        """As a dict for JSON: None in the place of NaN."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}


def estimate(values: Sequence[float], pooled: tuple[float, int] | None = None) -> Estimate:
    """Mean of independent values with Student's 95 % interval.

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
    margin = float(student.ppf(0.975, freedom)) * deviation / math.sqrt(count) if freedom else math.nan
    return Estimate(mean, mean - margin, mean + margin, own, count)


def pooled_deviation(estimates: Iterable[Estimate]) -> tuple[float, int]:
    """One deviation of several estimates, with its degrees of freedom; (NaN, 0) where all are of single seeds."""
    known = [(e.deviation, e.count - 1) for e in estimates if e.count > 1]
    freedom = sum(count for _, count in known)
    if not freedom:
        return math.nan, 0
    return math.sqrt(sum(count * value**2 for value, count in known) / freedom), freedom


def paired(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """``ours - theirs`` by seed (the same seed draws the same pairs and images): one row for each seed that both have.

    Args:
        ours, theirs: a row for each training with ``seed`` and numbers; a number that one of them lacks is left out.

    Raises:
        ValueError: two rows with one seed.
    """
    for rows in (ours, theirs):
        if rows["seed"].duplicated().any():
            raise ValueError(f"expected one row per seed, found seeds {sorted(rows['seed'])}")
    first, second = (rows.set_index("seed").dropna(axis=1) for rows in (ours, theirs))
    return (first - second).dropna(how="all").dropna(axis=1)


def smallest_difference(deviation: float, seeds: int, freedom: int | None = None) -> float:
    """The difference that ``seeds`` paired seeds would show with a probability of 80 %.

    Args:
        deviation: of the paired difference over seeds.
        freedom: degrees of freedom behind ``deviation``; default: those of the seeds alone.
    """
    freedom = freedom or seeds - 1
    if seeds < 1 or not freedom:
        return math.inf
    return float(student.ppf([0.975, 0.8], freedom).sum()) * deviation / math.sqrt(seeds)


def seeds_needed(deviation: float, difference: float, most: int = 1000) -> int | None:
    """How many paired seeds would show ``difference``; None where ``most`` do not suffice."""
    return next((n for n in range(2, most + 1) if smallest_difference(deviation, n) <= difference), None)
