"""``casnkit bench inspector``: from a person's event to the bytes of the new picture, and memory over many of them.

The screen is used as a notebook would use it, without a browser: a control is changed, and the clock stops when the
pictures' bytes are set. The drawn people are repeated up to the size of the gallery, so files are read as they are in a
benchmark. Which checkpoint it was stands in the result; an untrained one of the same architecture costs the same.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from casnkit.data.files import write_json
from casnkit.experiments.shipped import load_shipped

from ..config import profile
from ..data import ReidDataset, open_dataset
from ..evaluation import table
from ..inspector import Inspector
from ..models import CASN
from ..runs import versions

GALLERY, MARKET, QUERIES = 2000, 19732, 100
LIMITS = {"page change": 150, "slider": 100, "map, first time": 1000, "map, again": 50}  # milliseconds


def run(device: str = "cpu", quick: bool = False, out: Path | None = None, interactions: int = 500) -> dict[str, Any]:
    """Time pages, maps and sliders on a gallery of 2,000; memory over ``interactions``; a gallery of Market-1501's size.

    Args:
        device: where the network computes.
        quick: a gallery of 200, a tenth of the interactions, and no large gallery.
        out: a JSON file for the result.
        interactions: clicks over which memory is watched.
    """
    size, interactions = (GALLERY // 10, interactions // 10) if quick else (GALLERY, interactions)
    people = open_dataset("people:tiny" if quick else "people:quick")
    network, name = _network(quick, device)
    result: dict[str, Any] = {"bench": "inspector", "checkpoint": name, "gallery": size, "device": device}
    with tempfile.TemporaryDirectory() as folder:
        inspector = Inspector({"casn": network}, _repeated(people, size), notes=Path(folder) / "notes.json")
        rounds = 8 if quick else 40
        result["milliseconds"] = {key: _figures(values) for key, values in _times(inspector, rounds).items()}
        result["memory"] = _memory(inspector, interactions)
        if not quick:
            result["large"] = _large(network, people, Path(folder))
    result |= {"limits": LIMITS, "threads": torch.get_num_threads(), "versions": versions()}
    if out:
        write_json(out, result)
    return result


def to_text(result: dict[str, Any]) -> str:
    """The result as text for a terminal."""
    rows = []
    for name, found in result["milliseconds"].items():
        limit = LIMITS.get(name)
        rows.append({"event to bytes": name, "median ms": found["median"], "95 % ms": found["p95"],
                     "limit": "" if limit is None else f"{limit} ms"})  # fmt: skip
    memory = result["memory"]
    lines = [f"{result['checkpoint']}, gallery of {result['gallery']}, {result['device']}", table(rows)]
    lines.append(
        f"memory: {memory['before']:.0f} MiB, after {memory['interactions']} interactions {memory['after']:.0f} MiB"
        if memory["before"]
        else "memory: not known on this system"
    )
    if "large" in result:
        large = result["large"]
        lines.append(
            f"gallery of {large['gallery']}: {large['opening']:.0f} s to see all images once, another query "
            f"{large['query']:.2f} s, a page {1000 * large['page']:.0f} ms, ranking by both {large['both']:.1f} s a query"
        )
    return "\n".join(lines)


def _network(quick: bool, device: str) -> tuple[tuple[CASN, Any], str]:
    """The CASN that comes with the kit, or an untrained one, small and quick."""
    if not quick:
        model, info = load_shipped("casn", device=device)
        return (model, info.config), f"gap-casn of the kit ({info.config.profile})"
    config = profile("smoke" if quick else "quick")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CASN.from_config(20, config.model).to(device).eval()
    return (model, config), f"untrained network ({config.profile})"


def _repeated(people: ReidDataset, size: int) -> ReidDataset:
    """The same people with as many gallery images, each picture several times."""
    gallery = people.gallery.subset(np.resize(np.arange(len(people.gallery)), size))
    return replace(people, query=people.query.subset(np.arange(min(QUERIES, len(people.query)))), gallery=gallery)


def _times(inspector: Inspector, rounds: int) -> dict[str, list[float]]:
    panel, desk, rng = inspector.panel, inspector.desk, np.random.default_rng(0)
    pair, turns, buttons = panel.tabs["pair"], panel.gallery.turns, panel.gallery.buttons
    queries = rng.permutation(len(inspector.desk.dataset.query))
    times: dict[str, list[float]] = {
        key: [] for key in ("another query", "page change", "map, first time", "map, again", "slider", "hide")
    }
    for k in range(rounds):
        _clock(times["another query"], lambda k=k: setattr(panel.query.index, "value", int(queries[k % len(queries)])))
        _clock(times["page change"], turns[2].click)
        _clock(times["map, first time"], buttons[1 + k % 9].click)
        _clock(times["map, again"], lambda: desk.maps(desk.current.query, desk.gallery))
        for value in (0.2 + 0.01 * (k % 30), 0.6 + 0.01 * (k % 30)):
            _clock(times["slider"], lambda value=value: setattr(pair.threshold, "value", value))
    for k in range(max(3, rounds // 4)):
        inspector.set(view="what if", edit={"kind": "rows", "rows": (0.1, 0.3 + 0.01 * k)})
        controls = panel.tabs["what if"].controls
        _clock(times["hide"], lambda k=k, c=controls: setattr(c["rows"], "value", (0.3, 0.62 + 0.02 * (k % 15))))
    inspector.set(view="pair")
    return times


def _memory(inspector: Inspector, interactions: int) -> dict[str, Any]:
    """Resident memory before and after many clicks; the caches are filled first."""
    panel, rng = inspector.panel, np.random.default_rng(1)

    def click(count: int) -> None:
        for k in range(count):
            panel.query.index.value = int(rng.integers(len(inspector.desk.dataset.query)))
            (panel.gallery.turns[2].click if k % 2 else panel.gallery.buttons[int(rng.integers(10))].click)()
            panel.tabs["pair"].threshold.value = float(rng.integers(10, 90)) / 100

    click(max(20, interactions // 3))
    before = _resident()
    click(interactions)
    return {"interactions": interactions, "before": before, "after": _resident()}


def _large(network: tuple[CASN, Any], people: ReidDataset, folder: Path) -> dict[str, float]:
    started = time.perf_counter()
    inspector = Inspector({"casn": network}, _repeated(people, MARKET), cache=folder, notes=folder / "large.json")
    panel = inspector.panel
    found: dict[str, Any] = {"gallery": MARKET, "opening": time.perf_counter() - started}
    times: dict[str, list[float]] = {"query": [], "page": []}
    for i in (40, 80, 20):
        _clock(times["query"], lambda i=i: setattr(panel.query.index, "value", i))
        _clock(times["page"], panel.gallery.turns[2].click)
    found |= {name: statistics.median(values) for name, values in times.items()}
    started = time.perf_counter()
    panel.gallery.by.value = "sum"
    return {**found, "both": time.perf_counter() - started}


def _clock(times: list[float], event: Callable[[], object]) -> None:
    started = time.perf_counter()
    event()
    times.append(time.perf_counter() - started)


def _figures(seconds: list[float]) -> dict[str, float]:
    values = 1000 * np.array(seconds)
    return {"median": float(np.median(values)), "p95": float(np.quantile(values, 0.95)), "count": len(values)}


def _resident() -> float | None:
    """MiB of this process in memory, or None where the system does not say."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
