"""``casnkit bench attention``: pairs per second of four ways to the same distances, from the same maps, side by side.

- the engine of :mod:`casnkit.ranking.pairwise`;
- its floor: the bare matrix products that it needs, in the same shapes and precision;
- a batched version by autograd: pair classifier, then pooling, differentiated as equation 4 says;
- captum's LayerGradCam, pair by pair, through a tap behind each branch.

The contestants take turns in one process, so that a machine whose speed drifts slows all of them alike. Besides: what a
map costs over a plain forward pass, peak memory at several budgets, and the time for benchmarks up to Market-1501's
size: on a GPU in full, on a CPU extrapolated from the pairs that were timed.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from casnkit.data.files import write_json
from casnkit.models import evaluating
from casnkit.ranking import Extracted, attention_distances

from ..models import CASN
from ..runs import versions
from .rivals import Contestant, bare_products, by_autograd, captum_pair

LADDER = {"1/16 of Market-1501": (842, 4933), "1/4 of Market-1501": (1684, 9866), "Market-1501": (3368, 19732)}
_SAMPLE = {"cpu": (128, 192), "cuda": (512, 4096)}  # queries and gallery images that the engine is timed on


def run(
    device: str = "cpu",
    quick: bool = False,
    out: Path | None = None,
    repeats: int = 5,
    budgets: tuple[int, ...] = (2**30, 2**32, 2**34),
    sample: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Measure all of the above.

    Args:
        device: cpu or cuda.
        quick: the small trunk's maps (128 x 16 x 8, hidden 128); else ResNet50's (2048 x 9 x 5, hidden 512).
        out: a JSON file for the result.
        repeats: rounds, after one that warms up; medians are reported.
        budgets: bytes, for the peak memory.
        sample: queries and gallery images that are timed; None is 128 x 192 on a CPU, 512 x 4096 on a GPU.

    Returns:
        settings and versions, ``rows`` (one for each contestant), ``errors`` (of the distances against float64),
        ``memory``, ``ladder`` and ``map_over_forward``. Times in seconds, memory in bytes.
    """
    kind = torch.device(device).type
    model, size = _model(quick), ((16, 8) if quick else (9, 5))
    queries, images = sample or _SAMPLE.get(kind, _SAMPLE["cuda"])
    query, gallery = _random_images(model, queries, size, 0), _random_images(model, images, size, 1)
    model.to(device)
    rows = _race(_contestants(model, query, gallery, torch.device(device)), repeats)
    result: dict[str, Any] = {"bench": "attention", "device": device, "device_name": _device_name(device)}
    result |= {"threads": torch.get_num_threads(), "repeats": repeats, "sample": [queries, images]}
    result |= {"channels": model.channels, "map": list(size), "hidden": model.pair_head[0].out_features}
    result |= {
        "rows": rows,
        "errors": _errors(model, query, gallery),
        "memory": _memory(model, query, gallery, budgets),
    }
    result |= {
        "ladder": _ladder(model, query, gallery, rows),
        "map_over_forward": _map_over_forward(model, quick, repeats),
    }
    result["versions"] = versions()
    if out:
        write_json(out, result)
    return result


def to_text(result: dict[str, Any]) -> str:
    """The result as text for a terminal."""
    size = "x".join(map(str, (result["channels"], *result["map"])))
    lines = [
        f"maps {size}, hidden {result['hidden']}, {result['device_name']}, {result['threads']} threads, "
        f"median of {result['repeats']}",
        f"{'':32}{'pairs/s':>12}{'over autograd':>15}{'over its floor':>16}",
    ]
    for row in result["rows"]:
        floor = f"{row['time_over_floor']:.2f}" if row["time_over_floor"] else ""
        lines.append(f"{row['name']:32}{row['pairs_per_second']:12,.0f}{row['speed_over_autograd']:15.1f}{floor:>16}")
    lines += [f"distances in {e['precision']}: median error {e['median']:.1e}, largest {e['largest']:.1e}, "
              f"of {e['mean_distance']:.2f} on average" for e in result["errors"]]  # fmt: skip
    for step in result["ladder"]:
        how = "extrapolated from the sample" if step["extrapolated"] else "the engine in full"
        times = ", ".join(f"{name} {_duration(seconds)}" for name, seconds in step["seconds"].items())
        lines.append(f"{step['name']} ({step['pairs']:,} pairs, {how}): {times}")
    lines += [f"peak memory at a budget of {m['budget'] / 2**30:.2f} GiB: {m['peak'] / 2**30:.3f} GiB"
              for m in result["memory"] if m["peak"] is not None]  # fmt: skip
    lines.append(f"identification map over a plain forward pass: {result['map_over_forward']:.2f}")
    return "\n".join(lines)


def _model(quick: bool) -> CASN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CASN(2, "small", pair_hidden=128) if quick else CASN(2, "resnet50", pair_hidden=512)


def _random_images(model: CASN, count: int, size: tuple[int, int], seed: int) -> Extracted:
    """Maps as after a ReLU: half of the entries are zero. Rows differ in brightness, so that crops do something."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, model.channels, *size, generator=generator).clamp_min_(0)
    maps *= torch.rand(count, 1, size[0], 1, generator=generator)
    return Extracted(maps.mean((2, 3)), maps)


def _contestants(
    model: CASN, query: Extracted, gallery: Extracted, device: torch.device, batch: int = 64
) -> dict[str, Contestant]:
    pairs = len(query) * len(gallery)
    found: dict[str, Contestant] = {}
    for precision in ("float32", "bf16") if device.type == "cpu" else ("float32", "tf32", "bf16"):
        found[f"engine, {precision}"] = (
            partial(attention_distances, model, query, gallery, precision=precision),
            pairs,
        )
        found[f"bare products, {precision}"] = bare_products(model, query, gallery, device, precision)
    maps = [images.feature_maps[:batch].to(device) for images in (query, gallery)]
    index = torch.arange(batch, device=device)
    places = index % len(maps[0]), index * 7 % len(maps[1])
    found["autograd, batches of 64"] = (lambda: by_autograd(model, maps[0][places[0]], maps[1][places[1]]), batch)
    found["captum, pair by pair"] = (captum_pair(model, maps[0][:1], maps[1][:1]), 1)
    return found


def _race(contestants: dict[str, Contestant], repeats: int) -> list[dict[str, Any]]:
    """Everybody once to warm up, then ``repeats`` rounds; ratios are medians of the ratios within a round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}  # seconds per pair
    for turn in range(repeats + 1):
        for name, (work, pairs) in contestants.items():
            seconds = _timed(work)
            if turn:
                times[name].append(seconds / pairs)
    rows = []
    for name, own in times.items():
        floor = times.get(name.replace("engine", "bare products")) if name.startswith("engine") else None
        row = {"name": name, "pairs": contestants[name][1], "pairs_per_second": 1 / statistics.median(own)}
        row["speed_over_autograd"] = _median_ratio(times["autograd, batches of 64"], own)
        row["speed_over_captum"] = _median_ratio(times["captum, pair by pair"], own)
        rows.append(row | {"time_over_floor": _median_ratio(own, floor) if floor else None})
    return rows


def _timed(work: Callable[[], object]) -> float:
    _wait()
    start = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _median_ratio(numerator: list[float], denominator: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def _errors(model: CASN, query: Extracted, gallery: Extracted) -> list[dict[str, Any]]:
    """Each precision against float64, on part of the sample."""
    few = query.subset(slice(32)), gallery.subset(slice(64))
    exact = attention_distances(model, *few, precision="float64").distances
    found = []
    for precision in ("float32", "tf32", "bf16"):
        error = np.abs(attention_distances(model, *few, precision=precision).distances - exact)
        figures = {"median": np.median(error), "99th percentile": np.quantile(error, 0.99), "largest": error.max()}
        found.append({"precision": precision, **{k: float(v) for k, v in figures.items()}})
        found[-1]["mean_distance"] = float(exact.mean())
    return found


def _memory(model: CASN, query: Extracted, gallery: Extracted, budgets: tuple[int, ...]) -> list[dict[str, Any]]:
    """Peak bytes above what was held before, on the device; None where it cannot be read."""
    found = []
    for budget in budgets:
        result, peak = _peak(partial(attention_distances, model, query, gallery, memory_budget=budget), model)
        found.append({"budget": budget, "peak": peak, "tile": list(result.tile)})
    return found


def _peak(work: Callable[[], Any], model: CASN) -> tuple[Any, int | None]:
    device = next(model.parameters()).device
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return work(), torch.cuda.max_memory_allocated(device) - before
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return work(), None
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory, which would hide what is used again
    clear.write_text("5")  # Linux: forget the peak so far
    before = _status("VmRSS")
    result = work()
    return result, max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def _ladder(model: CASN, query: Extracted, gallery: Extracted, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Seconds for whole benchmarks; on a GPU the engine does them, from maps in main memory to distances there."""
    device = next(model.parameters()).device
    steps = []
    for name, (queries, images) in LADDER.items():
        pairs = queries * images
        seconds = {row["name"]: pairs / row["pairs_per_second"] for row in rows}
        if device.type == "cuda":
            whole = _repeated(query, queries), _repeated(gallery, images)
            budget = int(0.7 * torch.cuda.mem_get_info(device)[0])
            for precision in ("tf32", "bf16"):
                work = partial(attention_distances, model, *whole, precision=precision, memory_budget=budget)
                seconds[f"engine, {precision}"] = _timed(work)
        steps.append({"name": name, "pairs": pairs, "extrapolated": device.type != "cuda", "seconds": seconds})
    return steps


def _repeated(images: Extracted, count: int) -> Extracted:
    return images.subset(torch.arange(count) % len(images))


def _map_over_forward(model: CASN, quick: bool, repeats: int) -> float:
    """Time of images -> identification maps over images -> features, without gradients."""
    device = next(model.parameters()).device
    size = (128, 64) if quick else (288, 144)
    images = torch.randn(4, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.zeros(4, dtype=torch.long, device=device)

    def forward() -> None:
        model.pool(model.feature_map(images))

    def maps() -> None:
        model.identification_attention(images, labels)

    with evaluating(model), torch.no_grad():
        times = [[_timed(forward), _timed(maps)] for _ in range(repeats + 1)][1:]
    return statistics.median(b / a for a, b in times)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.{max(0, 1 - math.floor(math.log10(seconds)))}f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"
