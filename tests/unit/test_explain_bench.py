"""The bench of explanations runs, and what it sets side by side is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from casnkit.bench import explain
from casnkit.data.files import read_json

pytest.importorskip("captum.attr")


def test_bench_explain(tmp_path: Path) -> None:
    methods = ("siamese", "layer-gradcam", "smoothgrad")
    result = explain.run(quick=True, out=tmp_path / "explain.json", repeats=1, methods=methods)
    assert read_json(tmp_path / "explain.json") == result
    own = {row["method"]: row for row in result["rows"] if not row["rival"]}
    assert tuple(own) == methods
    for row in own.values():
        assert row["over_forward"] == pytest.approx(row["ms_per_pair"] / result["forward_ms"])
    rivals = [row for row in result["rows"] if row["rival"]]
    assert {row["method"] for row in rivals} == set(methods[1:])
    for row in rivals:
        assert row["over_ours"] == pytest.approx(row["ms_per_pair"] / own[row["method"]]["ms_per_pair"])
        if row["method"] == "smoothgrad":
            assert row["difference"] is None
        else:
            assert row["difference"] < 1e-3
    assert "captum's own call" in explain.to_text(result)
