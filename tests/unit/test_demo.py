"""The demonstration from first to last at its smallest, stopped and resumed."""

import json
from pathlib import Path

import pandas as pd
import pytest

from casnkit.notebook import demo


def test_demo_resumes_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASNKIT_DATA", str(tmp_path / "data"))
    out = tmp_path / "demo"
    with monkeypatch.context() as stopped:
        stopped.setattr(demo, "draw_report", None)
        with pytest.raises(TypeError):
            demo.run_demo(out, "smoke")
    assert [path.parent.name for path in out.rglob("model.safetensors")] == ["ide"]
    trained = (out / "ide" / "log.jsonl").read_text()
    demo.run_demo(out, "smoke")
    assert (out / "ide" / "log.jsonl").read_text() == trained, "the log holds each epoch's speed"
    rows = json.loads((out / "results.json").read_text())["rows"]
    ways = [("ide", "features"), ("casn", "features"), ("casn", "attention"), ("casn", "sum"), ("chance", "chance")]
    assert [(row["variant"], row["ranked by"]) for row in rows] == ways
    pictures = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    assert {"pictures/cmc.png", "pictures/attention.png", "casn/pictures/rankings.png"} <= pictures


def test_means_and_range_over_seeds() -> None:
    seeds = pd.DataFrame({"seed": [0, 1, 2], "rank_1": [70.0, 76.0, 73.0], "mean_ap": [60.0, 61.0, 65.0]})
    seeds = seeds.assign(variant="ide", rank_5=1.0, mean_ap_trapezoid=1.0, **{"ranked by": "features"})
    (row,) = demo.summarise(seeds.to_dict("records")).to_dict("records")
    assert (row["rank_1"], row["mean_ap"], row["seeds"]) == (73.0, 62.0, 3)
    assert (row["range of rank-1"], row["range of mAP"]) == (6.0, 5.0)
