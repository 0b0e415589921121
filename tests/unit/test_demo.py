"""The demonstration from first to last at its smallest, stopped and resumed."""

import json
from pathlib import Path

import pandas as pd
import pytest

from casnkit.notebook import demo


def test_demo_stops_resumes_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CASNKIT_DATA", str(tmp_path / "data"))
    trained, real, stops, out = [], demo.train, ["casn"], tmp_path / "demo"

    def train(dataset: object, config: object, run: Path, **options: object) -> object:
        if config.variant in stops:
            stops.clear()
            raise KeyboardInterrupt
        trained.append((config.variant, (run / "model.safetensors").is_file()))
        return real(dataset, config, run, **options)

    monkeypatch.setattr(demo, "train", train)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(out, "smoke")
    demo.run_demo(out, "smoke")
    assert trained == [("ide", False), ("ide", True), ("casn", False)]
    rows = json.loads((out / "results.json").read_text())["rows"]
    ways = [("ide", "features"), ("casn", "features"), ("casn", "attention"), ("casn", "sum"), ("chance", "chance")]
    assert [(row["variant"], row["ranked by"]) for row in rows] == ways
    assert "One seed decides nothing" in capsys.readouterr().out
    pictures = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    assert {"pictures/cmc.png", "pictures/attention.png", "casn/pictures/rankings.png"} <= pictures


def test_means_and_range_over_seeds() -> None:
    seeds = pd.DataFrame({"seed": [0, 1, 2], "rank_1": [70.0, 76.0, 73.0], "mean_ap": [60.0, 61.0, 65.0]})
    rows = seeds.assign(variant="ide", **{"ranked by": "features"}).to_dict("records")
    (row,) = demo.summarise(rows).to_dict("records")
    assert (row["rank_1"], row["mean_ap"], row["seeds"]) == (73.0, 62.0, 3)
    assert (row["range of rank-1"], row["range of mAP"]) == (6.0, 5.0)
    assert "range of mAP" not in demo.summarise(rows[:1])
