"""The demonstration from first to last at its smallest, stopped and resumed."""

import json
from pathlib import Path

import pytest

from casnkit.notebook import demo


def test_demo_stops_resumes_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CASNKIT_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    trained, real, stops = [], demo.train, ["casn"]

    def train(dataset: object, config: object, run: Path, **options: object) -> object:
        if config.variant in stops:
            stops.clear()
            raise KeyboardInterrupt
        trained.append((config.variant, (run / "model.safetensors").is_file()))
        return real(dataset, config, run, **options)

    monkeypatch.setattr(demo, "train", train)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(Path("runs/demo"), "smoke")
    demo.run_demo(Path("runs/demo"), "smoke")
    assert trained == [("ide", False), ("ide", True), ("casn", False)]
    rows = json.loads(Path("runs/demo/results.json").read_text())["rows"]
    ways = [("ide", "features"), ("casn", "features"), ("casn", "attention"), ("casn", "sum"), ("chance", "chance")]
    assert [(row["variant"], row["ranked by"]) for row in rows] == ways
    assert "One seed decides nothing" in capsys.readouterr().out
    pictures = {str(path.relative_to("runs/demo")) for path in Path("runs/demo").rglob("*.png")}
    assert {"pictures/cmc.png", "pictures/attention.png", "casn/pictures/rankings.png"} <= pictures


def test_means_and_range_over_seeds() -> None:
    base = {"variant": "ide", "ranked by": "features", "rank_5": 1.0, "mean_ap_trapezoid": 1.0}
    numbers = ((0, 70.0, 60.0), (1, 76.0, 61.0), (2, 73.0, 65.0))
    rows = [{**base, "seed": s, "rank_1": r, "mean_ap": m} for s, r, m in numbers]
    (row,) = demo.summarise(rows)
    assert (row["rank_1"], row["mean_ap"], row["seeds"]) == (73.0, 62.0, 3)
    assert (row["range of rank-1"], row["range of mAP"]) == (6.0, 5.0)
    (row,) = demo.summarise(rows[:1])
    assert "range of mAP" not in row
