"""The laboratory: variants x open points x seeds, trained and tested so that a difference can be told from noise.

:mod:`studies` says what is tried, :mod:`trials` trains one network and writes one row, :mod:`statistics` turns rows into
means with intervals, :mod:`summary` puts a study together, :mod:`report` prints and draws it, and :mod:`evidence` says
what it found of one open point.
"""

from . import report
from .evidence import evidence
from .report import HOW_TO, picture, published, verdicts
from .statistics import Estimate, compare, estimate, pooled_deviation, seeds_needed, smallest_difference
from .studies import OPEN_POINTS, STUDIES, Setting, open_points, variants
from .trials import Trial, read_rows, run_trials

__all__ = [
    "HOW_TO",
    "OPEN_POINTS",
    "STUDIES",
    "Estimate",
    "Setting",
    "Trial",
    "compare",
    "estimate",
    "evidence",
    "open_points",
    "picture",
    "pooled_deviation",
    "published",
    "read_rows",
    "report",
    "run_trials",
    "seeds_needed",
    "smallest_difference",
    "variants",
    "verdicts",
]
