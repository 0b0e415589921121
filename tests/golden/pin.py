"""The numbers that a rebuilt house must give again; ``python tests/golden/pin.py`` writes them beside this file."""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch
from imitations import imitate

import casnkit as ck

FILE = Path(__file__).with_name("golden.json")
VARIANTS = ("ide", "ide+ia", "ide+sa", "casn")
SIZES = {"gap": {"height": 64, "width": 32}, "stripes": {"height": 96, "width": 32}}
TERMS = ("total", "ide", "ia", "bce", "consistency")


def people_bytes(root: Path) -> dict[str, str]:
    """SHA-256 of every file of a drawn data set, folder by folder."""
    sums: dict[str, hashlib._Hash] = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root)
        total = sums.setdefault(name.parts[0] if len(name.parts) > 1 else name.name, hashlib.sha256())
        total.update(name.as_posix().encode() + path.read_bytes())
    return {name: total.hexdigest() for name, total in sums.items()}


def losses(folder: Path, dataset: ck.ReidDataset, variant: str, pooling: str) -> list[list[float]]:
    """Loss terms of 20 steps at one thread: epochs of a few steps, one row each."""
    steps = -(-len(dataset.train) // 4)
    config = ck.profile(
        "smoke", variant=variant, pooling=pooling, batch_size=4, epochs=-(-20 // steps), padding=1, **SIZES[pooling]
    )
    ck.training.train(dataset, config, folder, device="cpu", progress=False)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [[row[term] for term in TERMS if term in row] for row in rows]


def distances(dataset: ck.ReidDataset, pooling: str) -> dict[str, object]:
    """Distances of a shipped network in three ways: each matrix by its corner, its mean and its weighted sum."""
    model, info = ck.load_shipped("casn", pooling)
    found = ck.evaluation.evaluate(model, dataset, info.config, device="cpu", progress=False)
    values: dict[str, object] = {}
    for name, matrix in found.distances.items():
        matrix = np.asarray(matrix, np.float64)
        ramp = np.arange(matrix.size).reshape(matrix.shape) / matrix.size
        values[name] = [*matrix[:2, :4].ravel().tolist(), matrix.mean(), (matrix * ramp).sum()]
    columns = ("rank_1", "rank_5", "mean_ap", "mean_ap_trapezoid", "mean_inp")
    rankings = {name: result for name, result in found.rankings.items()}
    values["table"] = {
        name: [100 * float(v) for v in (r.rank(1), r.rank(5), r.mean_ap, r.mean_ap_trapezoid, r.mean_inp)]
        for name, r in rankings.items()
    }
    values["columns"] = list(columns)
    return values


def measure(people: Path) -> dict[str, object]:
    """All of it. ``people`` is an empty folder, where people:tiny is drawn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tiny = ck.open_dataset("people:tiny", root=people)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            market = ck.open_dataset(str(imitate("market1501", folder / "market")))
            found = {
                f"{pooling} {variant}": losses(folder / f"{pooling}-{variant}", market, variant, pooling)
                for pooling in SIZES
                for variant in VARIANTS
            }
        return {
            "people": people_bytes(Path(tiny.root)),
            "losses": found,
            "distances": {pooling: distances(tiny, pooling) for pooling in SIZES},
        }
    finally:
        torch.set_num_threads(threads)


def machine() -> dict[str, str]:
    """What float32 sums depend on."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__.split("+")[0], "cpu": f"{platform.machine()} {capability}"}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        FILE.write_text(json.dumps({"machine": machine(), **measure(Path(place))}, indent=1) + "\n")
