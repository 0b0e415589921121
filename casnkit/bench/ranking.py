"""``casnkit bench ranking``: the protocol at Market-1501's size beside what sorting alone costs, in one run.

Random features, so every rank occurs. numpy's sort of the same matrix is the floor of any evaluator that sorts, argsort
that of one which keeps the order; ours does neither.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation import table
from ..files import write_json
from ..ranking import evaluate_ranking
from ..runs import versions

MARKET = (3368, 19732)


def run(device: str = "cpu", quick: bool = False, out: Path | None = None, repeats: int = 3) -> dict[str, Any]:
    """Time the evaluator, sort and argsort in turns on the same (Q, G) float32 matrix.

    Args:
        device: is not used; the protocol runs on the CPU.
        quick: a sixteenth of the size.
        out: a JSON file for the result.
        repeats: rounds; medians are reported.
    """
    queries, gallery = (MARKET[0] // 4, MARKET[1] // 4) if quick else MARKET
    rng = np.random.default_rng(0)
    features = [rng.standard_normal((n, 256), dtype=np.float32) for n in (queries, gallery)]
    a, b = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in features)
    distances = 1 - a @ b.T
    people = [rng.integers(0, 751, n) for n in (queries, gallery)]
    cameras = [rng.integers(1, 7, n) for n in (queries, gallery)]
    tasks: dict[str, Callable[[], object]] = {
        "evaluate_ranking": lambda: evaluate_ranking(distances, people[0], cameras[0], people[1], cameras[1]),
        "numpy sort": lambda: np.sort(distances, axis=1),
        "numpy argsort": lambda: np.argsort(distances, axis=1),
    }
    seconds = {name: statistics.median(_timed(task) for _ in range(repeats)) for name, task in tasks.items()}
    added = {name: _allocated(task) for name, task in tasks.items()}
    result = {"bench": "ranking", "queries": queries, "gallery": gallery, "repeats": repeats, "mib": added}
    result |= {"seconds": seconds, "matrix_mib": distances.nbytes / 2**20, "versions": versions()}
    if out:
        write_json(out, result)
    return result


def to_text(result: dict[str, Any]) -> str:
    """The result as text for a terminal."""
    head = f"{result['queries']} x {result['gallery']} distances ({result['matrix_mib']:.0f} MiB), "
    head += f"median of {result['repeats']}; memory: the most that numpy held beyond the matrix"
    base, rows = result["seconds"]["numpy sort"], []
    for name, seconds in result["seconds"].items():
        row = {"": name, "seconds": f"{seconds:.2f}", "over numpy sort": f"{seconds / base:.2f}"}
        rows.append({**row, "memory (MiB)": f"{result['mib'][name]:.0f}"})
    return f"{head}\n{table(rows)}"


def _timed(task: Callable[[], object]) -> float:
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def _allocated(task: Callable[[], object]) -> float:
    """MiB that Python and numpy held at most while the task ran."""
    tracemalloc.start()
    task()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20
