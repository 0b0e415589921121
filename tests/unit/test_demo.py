"""The demonstration from first to last at its smallest, stopped and resumed; and the README's table against its file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from casnkit import demo
from casnkit.bench import attention, ranking, train
from casnkit.files import read_json
from casnkit.readme import fenced, with_block

ROOT = Path(__file__).parents[2]


def test_demo_stops_resumes_and_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CASNKIT_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    trained, real = [], demo.train

    def stopped_at_casn(dataset: object, config: object, run: Path, **options: object) -> object:
        if config.variant == "casn":
            raise KeyboardInterrupt
        return real(dataset, config, run, **options)

    with monkeypatch.context() as patch:
        patch.setattr(demo, "train", stopped_at_casn)
        with pytest.raises(KeyboardInterrupt):
            demo.run_demo(Path("runs/demo"), "smoke")

    def counted(dataset: object, config: object, run: Path, **options: object) -> object:
        trained.append((config.variant, (run / "model.safetensors").is_file()))
        return real(dataset, config, run, **options)

    monkeypatch.setattr(demo, "train", counted)
    rows = demo.run_demo(Path("runs/demo"), "smoke")
    assert trained == [("ide", True), ("casn", False)]
    assert [(r["variant"], r["ranked by"], r["seeds"]) for r in rows] == [
        ("ide", "features", 1),
        ("casn", "features", 1),
        ("casn", "attention", 1),
        ("casn", "sum", 1),
        ("chance", "chance", 1),
    ]
    assert "One seed decides nothing" in capsys.readouterr().out
    Path("README.md").write_text("a\n<!-- demo -->\nold\n<!-- /demo -->\nb\n")
    demo.publish(Path("runs/demo"), Path())
    text = Path("README.md").read_text()
    assert f"| {rows[1]['rank_1']:.1f} |" in text
    assert "old" not in text
    assert text.startswith("a\n")
    assert text.endswith("b\n")
    assert sorted(p.name for p in Path("figures").iterdir()) == sorted([*demo.README_PICTURES.values(), "demo.json"])


def test_means_and_spread_over_seeds() -> None:
    base = {"variant": "ide", "ranked by": "features", "rank_5": 1.0}
    rows = [
        {**base, "seed": s, "rank_1": r, "mean_ap": m}
        for s, r, m in ((0, 70.0, 60.0), (1, 76.0, 61.0), (2, 73.0, 65.0))
    ]
    (row,) = demo.summarise(rows)
    assert (row["rank_1"], row["mean_ap"], row["seeds"]) == (73.0, 62.0, 3)
    assert (row["rank_1_range"], row["mean_ap_range"]) == (6.0, 5.0)
    assert "range of mAP" in demo.columns_of([row]).values()
    assert "range of mAP" not in demo.columns_of(demo.summarise(rows[:1])).values()


def test_the_readmes_numbers_are_those_that_commands_wrote() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    results = read_json(ROOT / "figures" / "demo.json")
    assert with_block(text, "demo", demo.markdown_table(results)) == text
    for module in (attention, ranking, train):
        name = f"bench {module.__name__.split('.')[-1]}"
        figures = read_json(ROOT / "figures" / f"{name.replace(' ', '-')}.json")
        assert with_block(text, name, fenced(module.to_text(figures))) == text


def test_the_readmes_pictures_and_links_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for alt, target in re.findall(r"(!?\[[^\]]*\])\(([^)]+)\)", text):
        if "://" not in target:
            assert (ROOT / target).exists(), target
            assert not alt.startswith("![") or len(alt) > 30, f"{target} needs alternative text"
