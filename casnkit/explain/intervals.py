"""A mean is worth as much as its interval: bootstrap over pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean over pairs with its bootstrap interval; ``count`` pairs had a value, the others (NaN) are left out."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap(values: np.ndarray, rng: np.random.Generator, repeats: int = 1000, level: float = 0.95) -> Interval:
    """Mean of (P,) values and its percentile interval over resampled pairs; NaN values are left out.

    Where nothing is left, all three numbers are NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    means = values[rng.integers(len(values), size=(repeats, len(values)))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values))
