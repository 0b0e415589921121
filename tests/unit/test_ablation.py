"""The laboratory: studies, statistics against worked numbers and a simulation, rows that are resumed, tables."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from casnkit.attention import attention_distance, mean_map
from casnkit.cli import main
from casnkit.experiments.ablation import (
    OPEN_POINTS,
    Setting,
    Trial,
    compare,
    estimate,
    evidence,
    markdown,
    model_name,
    open_points,
    pooled_deviation,
    read_rows,
    run_trials,
    seeds_needed,
    smallest_difference,
    summarise,
    summary,
    to_text,
    variants,
)


def test_interval_worked_by_hand() -> None:
    """1, 2, 3: mean 2, deviation 1, t(0.975, 2) = 4.3027, margin 4.3027 / sqrt(3) = 2.4841."""
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.deviation, found.count) == (2.0, 1.0, 3)
    assert found.high - 2 == pytest.approx(2.4841, abs=1e-4)
    assert not found.is_clear
    assert str(found) == "2.0 ± 2.5" == str(found)


def test_one_seed_has_no_interval() -> None:
    found = estimate([4.0])
    assert found.mean == 4.0
    assert math.isnan(found.low)
    assert not found.is_clear
    with pytest.raises(ValueError, match="finite numbers"):
        estimate([math.nan])


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(3.0, 2.0, (4000, 4))
    covered = np.mean([e.low <= 3.0 <= e.high for e in map(estimate, draws)])
    assert 0.94 < covered < 0.96


def test_pooled_deviation_is_the_root_of_the_mean_variance() -> None:
    first, second = estimate([0.0, 2.0]), estimate([0.0, 1.0, 2.0])  # variances 2 (1 degree) and 1 (2 degrees)
    deviation, freedom = pooled_deviation([first, second, estimate([5.0])])
    assert freedom == 3
    assert deviation == pytest.approx(math.sqrt((2 * 1 + 1 * 2) / 3))
    single = estimate([1.0], pooled=(1.0, 1000))
    assert single.high - single.mean == pytest.approx(1.962, abs=1e-3)


def test_differences_are_paired_by_seed() -> None:
    ours = [{"seed": s, "mean_ap": v} for s, v in ((0, 11.0), (1, 21.0), (2, 31.0), (9, 0.0))]
    theirs = [{"seed": s, "mean_ap": v} for s, v in ((2, 30.0), (0, 10.0), (1, 20.0))]
    found = compare(ours, theirs, "mean_ap")
    assert (found.mean, found.deviation, found.count) == (1.0, 0.0, 3)
    with pytest.raises(ValueError, match="a seed that both have"):
        compare(ours[3:], theirs, "mean_ap")
    with pytest.raises(ValueError, match="two of seed 0"):
        compare(ours + ours, theirs, "mean_ap")


def test_power_against_a_simulation() -> None:
    """A difference as large as ``smallest_difference`` says is found in about 80 of 100 studies."""
    rng, seeds = np.random.default_rng(1), 6
    difference = smallest_difference(1.5, seeds)
    studies = rng.normal(difference, 1.5, (3000, seeds))
    assert 0.76 < np.mean([estimate(study).low > 0 for study in studies]) < 0.86
    assert (
        smallest_difference(1.5, seeds_needed(1.5, 2.0)) <= 2.0 < smallest_difference(1.5, seeds_needed(1.5, 2.0) - 1)
    )
    assert smallest_difference(1.5, 1) == math.inf


def test_variants_are_the_papers_eight_rows() -> None:
    names = [model_name({"variant": s.variant, "pooling": s.pooling}) for s in variants()]
    assert names == ["IDE", "IDE+IA", "IDE+SA", "CASN (IDE)", "PCB", "PCB+IA", "PCB+SA", "CASN (PCB)"]


@pytest.mark.parametrize("point", OPEN_POINTS)
def test_every_open_point_changes_the_configuration_and_nothing_else(point: str) -> None:
    settings = open_points("quick", [point])
    defaults = {s.variant: s.config("quick", 0) for s in settings if not s.point}
    tried = [s for s in settings if s.point]
    assert tried, "an open point without an alternative tests nothing"
    for setting in tried:
        here, there = setting.config("quick", 0).to_dict(), defaults[setting.variant].to_dict()
        changed = {(g, k) for g in here if isinstance(here[g], dict) for k in here[g] if here[g][k] != there[g][k]}
        assert {name for _, name in changed} == {point}


def test_unknown_point_suggests_the_closest() -> None:
    with pytest.raises(ValueError, match="did you mean 'mask_centre'"):
        open_points("quick", ["mask_center"])


def test_default_value_of_the_study_is_left_out() -> None:
    labels = [s.label for s in open_points("quick", ["ia_score"], ia_score="logit")]
    assert "ia_score=logit" not in labels
    assert "ia_score=probability" in labels


def test_a_point_in_two_groups_keeps_what_the_study_changed_there() -> None:
    base = {"loss": {"ia_score": "logit"}, "ranking": {"attention_weight": 0.5}}
    setting = next(s for s in open_points("quick", ["threshold"], **base) if s.point)
    config = setting.config("quick", 0, **base)
    assert (config.loss.threshold, config.ranking.threshold) == (0.5, 0.5)
    assert (config.loss.ia_score, config.ranking.attention_weight) == ("logit", 0.5)
    assert setting.label == "threshold=0.5"


def _trial(seed: int = 0, **changes: object) -> Trial:
    config = Setting("ide").config("smoke", seed, **{"epochs": 1, **changes})
    return Trial("variants", "", "default", config, "people:tiny")


def test_name_depends_on_configuration_and_data() -> None:
    assert _trial().name == _trial().name
    assert len({_trial().name, _trial(1).name, _trial(epochs=2).name}) == 3


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ablation")
    run_trials([_trial(0), _trial(1)], out, progress=False)
    return out


def test_rows_are_complete_and_not_run_again(study: Path) -> None:
    rows = read_rows(study)
    assert [row["seed"] for row in rows] == [0, 1]
    for name in ("rank_1", "rank_20", "mean_ap", "mean_ap_trapezoid", "mean_inp", "seconds", "version_torch"):
        assert all(isinstance(row[name], (int, float, str)) for row in rows), name
    assert rows[0]["config"]["train"]["epochs"] == 1
    before = {path: path.stat().st_mtime_ns for path in (study / "rows").iterdir()}
    again = run_trials([_trial(1), _trial(0)], study, progress=False)
    assert [row["seed"] for row in again] == [1, 0]
    assert {path: path.stat().st_mtime_ns for path in (study / "rows").iterdir()} == before


def test_table_has_one_line_per_row(study: Path) -> None:
    with open(study / "table.csv", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["mean_ap"]) for line in lines] == [row["mean_ap"] for row in read_rows(study)]
    assert lines[0]["config.train.epochs"] == "1"


def test_weights_are_kept_or_dropped(study: Path, tmp_path: Path) -> None:
    assert len(list(study.glob("runs/*/model.safetensors"))) == 2
    run_trials([_trial()], tmp_path, keep=False, progress=False)
    assert not list(tmp_path.glob("runs/*"))
    assert len(read_rows(tmp_path)) == 1


def test_no_rows_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="casnkit ablate"):
        read_rows(tmp_path)


def _row(variant: str, seed: int, mean_ap: float, setting: str = "default", point: str = "") -> dict:
    return {
        "study": "variants", "point": point, "setting": setting, "variant": variant, "pooling": "gap", "seed": seed,
        "mean_ap": mean_ap, "rank_1": 2 * mean_ap, "seconds": 1.0, "data": "people", "split": "test", "identities": 3,
        "queries": 4, "gallery": 5, "profile": "smoke", "device": "cpu",
    }  # fmt: skip


def test_summary_of_worked_rows() -> None:
    rows = [_row("ide", s, v) for s, v in enumerate((10.0, 12.0))] + [
        _row("casn", s, v) for s, v in ((0, 13.0), (1, 15.5))
    ]
    result = {"study": "variants", "on": "test", **summary(rows)}
    casn = next(entry for entry in result["groups"] if entry["variant"] == "casn")
    assert casn["differences"]["mean_ap"]["mean"] == pytest.approx(3.25)
    assert casn["against"] == "ide, default"
    assert result["power"]["mean_ap"]["deviation_of_differences"] == pytest.approx(np.std([3, 3.5], ddof=1))
    assert result["groups"][0]["variant"] == "ide", "the baseline comes first"
    assert "+3.2" in to_text(result)
    assert "**" in markdown(result)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_open_point_stands_against_its_own_default() -> None:
    rows = [_row("casn", 0, 5.0), _row("casn", 0, 6.0, "ia_score=logit", "ia_score"), _row("ide", 0, 1.0)]
    found = {(e["variant"], e["setting"]): e.get("against") for e in summary(rows)["groups"]}
    assert found == {
        ("ide", "default"): None,
        ("casn", "default"): "ide, default",
        ("casn", "ia_score=logit"): "casn, default",
    }


def test_evidence_of_an_open_point_is_read_from_the_study(tmp_path: Path) -> None:
    rows = [_row("ide+ia", s, v) for s, v in enumerate((50.0, 52.0))]
    for label, values in {"ia_score=logit": (10.0, 11.0), "ia_score=sigmoid": (51.0, 51.5)}.items():
        rows += [_row("ide+ia", s, v, label, "ia_score") for s, v in enumerate(values)]
    assert evidence("ia_score", folder=tmp_path) == [
        "ia_score: not measured yet; casnkit ablate --study open-points --points ia_score"
    ]
    result = {"study": "open-points", "on": "validation", **summary(rows)}
    (tmp_path / "open-points.json").write_text(json.dumps(result))
    logit, sigmoid, other, where = evidence("ia_score", "mask_slope", folder=tmp_path)
    assert logit.startswith("IDE+IA, ia_score=logit: mAP -40.5 ±")
    assert logit.endswith("(2 seeds), worse")
    assert "mAP +0.2 ±" in sigmoid
    assert sigmoid.endswith("undecided")
    assert "mask_slope: not measured yet" in other
    assert "3 validation people" in where
    with pytest.raises(ValueError, match="mask_centre"):
        evidence("mask_center")


def test_command_from_nothing_to_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["ablate", "--study", "open-points", "--points", "id_activation", "--profile", "smoke", "--seeds", "1"]
    options += ["--set", "epochs=1", "--out", str(tmp_path)]
    assert main(options) == 0
    said = capsys.readouterr().out
    assert "validation: 24 queries of 10 people" in said
    assert "id_activation=none" in said
    assert (tmp_path / "ablation-open-points-validation.png").is_file()
    assert main([*options, "--read-only"]) == 0
    assert main([*options[:4], "nonsense", *options[5:]]) == 2


def test_validation_people_are_not_the_test_people(tmp_path: Path) -> None:
    from casnkit.experiments.ablation import _datasets

    trial = Trial(
        "open-points", "", "default", Setting("ide").config("smoke", 0), "people:tiny", "validation", "people:tiny@1"
    )
    trained, tested = _datasets(trial)
    first, other = trained.query.image(0), tested.query.image(0)
    assert np.asarray(first).tobytes() != np.asarray(other).tobytes()
    held = Trial("open-points", "", "default", trial.config, "people:tiny", "validation", hold_out=4)
    trained, tested = _datasets(held)
    assert not set(trained.train.pids) & set(tested.query.pids)


def test_test_time_chooses_on_validation_and_reports_on_test() -> None:
    def row(seed: int, split: str, **mean_ap: float) -> dict:
        weights = {"0.0": mean_ap["w0"], "0.2": mean_ap["w2"], "0.5": mean_ap["w5"]}
        reading = {"mode": "paper", "threshold": 0.5, "normalisation": "minmax", "per": "query"}
        return {"variant": "casn", "pooling": "gap", "seed": seed, "split": split, **reading, "mean_ap": weights}

    rows = [row(0, "validation", w0=50.0, w2=52.0, w5=40.0), row(1, "validation", w0=50.0, w2=51.0, w5=40.0)]
    rows += [row(0, "test", w0=60.0, w2=59.0, w5=70.0), row(1, "test", w0=61.0, w2=61.0, w5=70.0)]
    (entry,) = summarise(rows)
    assert entry["chosen"] == "0.2", "0.5 is better on the test, which must not be seen"
    assert entry["test"]["mean"] == 60.0
    assert entry["gain"]["mean"] == pytest.approx(-0.5)
    assert entry["validation_gain"] == pytest.approx(1.5)
    assert entry["paper_sum"]["mean"] == 70.0


def test_plain_distances_are_those_of_the_mean_maps(study: Path) -> None:
    from casnkit.experiments.ablation import _distances
    from casnkit.ranking import Extracted

    maps = torch.rand(5, 3, 6, 4)
    found = _distances(None, Extracted(None, maps[:2]), Extracted(None, maps[2:]), "plain", 0.3)
    for q in range(2):
        for g in range(3):
            expected = attention_distance(mean_map(maps[q : q + 1]), mean_map(maps[2 + g : 3 + g]), 0.3)
            assert found[q, g] == pytest.approx(expected.item(), abs=1e-5)
