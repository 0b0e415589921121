"""``casnkit bench ranking``: the protocol at Market-1501's size beside what sorting alone costs, in one run.

Random features, so every rank occurs. numpy's sort of the same matrix is the floor of any evaluator that sorts, argsort
that of one which keeps the order; ours does neither. torchreid's compiled evaluator runs beside them where it is there:
the package on PyPI comes without its source (``rank_cy.pyx``), so it has to be built from the repository. Where two
evaluators run, their values are compared, and a difference is an error.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from casnkit.data.files import write_json

from ..evaluation import table
from ..ranking import evaluate_ranking
from ..runs import versions

MARKET = (3368, 19732)
TOLERANCE = 1e-4  # torchreid adds up thousands of values in float32
RIVAL = "torchreid (Cython)"


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
    sides = people[0], cameras[0], people[1], cameras[1]
    tasks: dict[str, Callable[[], Any]] = {
        "evaluate_ranking": lambda: evaluate_ranking(distances, *sides),
        "numpy sort": lambda: np.sort(distances, axis=1),
        "numpy argsort": lambda: np.argsort(distances, axis=1),
    }
    rival, note = compiled_torchreid()
    result = {"bench": "ranking", "queries": queries, "gallery": gallery, "repeats": repeats, "torchreid": note}
    if rival is not None:
        order = people[0], people[1], cameras[0], cameras[1]
        tasks[RIVAL] = lambda: rival.evaluate_cy(distances, *order, 50)
        result["difference"] = _difference(tasks["evaluate_ranking"](), *tasks[RIVAL]())
    times = [{name: _timed(task) for name, task in tasks.items()} for _ in range(repeats)]
    result["seconds"] = {name: statistics.median(one[name] for one in times) for name in tasks}
    result["mib"] = {name: _allocated(task) for name, task in tasks.items()}
    result |= {"matrix_mib": distances.nbytes / 2**20, "versions": versions()}
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
    lines = [head, table(rows)]
    if "difference" in result:
        worst = max(result["difference"].values())
        lines.append(f"{RIVAL} and evaluate_ranking: the same CMC and mAP, largest difference {worst:.1e}")
    else:
        lines.append(f"{RIVAL}: {result.get('torchreid', 'not tried')}")
    return "\n".join(lines)


def compiled_torchreid() -> tuple[ModuleType | None, str]:
    """torchreid's compiled evaluator, from its file (the package itself needs much else); and what was found."""
    spec = importlib.util.find_spec("torchreid")
    if spec is None or spec.origin is None:
        return None, 'not installed: pip install "torchreid==0.2.5"'
    folders = [Path(spec.origin).parent / part / "metrics" / "rank_cylib" for part in ("reid", ".")]
    files = [file for folder in folders for pattern in ("rank_cy*.so", "rank_cy*.pyd") for file in folder.glob(pattern)]
    if not files:
        return None, "not compiled here: rank_cy.pyx comes with torchreid's repository, not with the package"
    module_spec = importlib.util.spec_from_file_location("rank_cy", files[0])
    try:
        module = importlib.util.module_from_spec(module_spec)
        module_spec.loader.exec_module(module)
    except ImportError as error:
        return None, f"compiled for another Python or numpy: {error}"
    return module, "compiled"


def _difference(ours: Any, cmc: np.ndarray, mean_ap: float) -> dict[str, float]:
    """Largest absolute differences in CMC and mAP, in [0, 1].

    Raises:
        ValueError: they are larger than rounding.
    """
    found = {"cmc": float(np.abs(ours.cmc - cmc).max()), "mean_ap": abs(ours.mean_ap - float(mean_ap))}
    if max(found.values()) > TOLERANCE:
        raise ValueError(f"expected {RIVAL} and evaluate_ranking to agree up to {TOLERANCE}, found differences {found}")
    return found


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
