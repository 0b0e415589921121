"""The benches run, and their ratios are what their times say."""

from __future__ import annotations

from pathlib import Path

import pytest

from casnkit.bench import ranking, train
from casnkit.cli import main
from casnkit.data.files import read_json


def test_bench_ranking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "ranking", "--quick", "--out", str(tmp_path / "ranking.json")]) == 0
    result = read_json(tmp_path / "ranking.json")
    assert set(result["seconds"]) >= {"evaluate_ranking", "numpy sort", "numpy argsort"}
    assert result["queries"] * result["gallery"] * 4 / 2**20 == result["matrix_mib"]
    assert ranking.to_text(result) in capsys.readouterr().out


def test_bench_train_times_every_variant() -> None:
    result = train.run(quick=True, steps=1)
    rows = result["rows"]
    assert len(rows) == 2 * 2 * 5
    assert {row["step"] for row in rows} == {"ide", "ide+ia", "ide+sa", "casn", "casn with its input"}
    for row in rows:
        assert row["images/s"] == pytest.approx(2 * result["pairs"] / row["ms per step"] * 1000)
        assert row["step"] != "ide" or row["ratio to ide"] == "1.00"
    assert "casn with its input" in train.to_text(result)
