"""The laboratory: studies, statistics against worked numbers and a simulation, rows that are resumed, tables."""

import math
import re
from pathlib import Path

import numpy as np
import pages
import pandas as pd
import publish
import pytest
import readings
import torch
from imitations import imitate

from casnkit.__main__ import main
from casnkit.attention import attention_distance, mean_map
from casnkit.experiments import report
from casnkit.experiments.ablation import Trial, evidence, open_people, plain_distances, run_trials
from casnkit.experiments.design import ARMS, OPEN_POINTS, Setting, arms, chosen, open_points, tries
from casnkit.experiments.report import estimate, paired, pooled_deviation, smallest_difference
from casnkit.ranking import Extracted


def test_interval_worked_by_hand() -> None:
    """1, 2, 3: mean 2, deviation 1, t(0.975, 2) = 4.3027, margin 4.3027 / sqrt(3) = 2.4841."""
    found, single = estimate([1.0, 2.0, 3.0]), estimate([4.0])
    assert (found.mean, found.deviation, found.count, found.is_clear) == (2.0, 1.0, 3, False)
    assert found.high - 2 == pytest.approx(2.4841, abs=1e-4)
    assert (f"{found:+}", f"{single}", single.is_clear) == ("+2.0 ± 2.5", "4.0", False)
    with pytest.raises(ValueError, match="finite numbers"):
        estimate([math.nan])


def test_intervals_and_power_against_simulations() -> None:
    """95 of 100 intervals cover the truth; 80 of 100 studies find a difference as large as ``smallest_difference``."""
    draws = np.random.default_rng(0).normal(3.0, 2.0, (4000, 4))
    assert 0.94 < np.mean([e.low <= 3.0 <= e.high for e in map(estimate, draws)]) < 0.96
    studies = np.random.default_rng(1).normal(smallest_difference(1.5, 6, 5), 1.5, (3000, 6))
    assert 0.76 < np.mean([estimate(study).low > 0 for study in studies]) < 0.86


def test_pooled_deviation_is_the_root_of_the_mean_variance() -> None:
    deviation, freedom = pooled_deviation([[0.0, 2.0], [0.0, 1.0, 2.0], [5.0]])  # variances 2 (1 degree), 1 (2 degrees)
    assert freedom == 3
    assert deviation == pytest.approx(math.sqrt((2 * 1 + 1 * 2) / 3))
    single = estimate([1.0], pooled=(1.0, 1000))
    assert single.high - single.mean == pytest.approx(1.962, abs=1e-3)


def test_differences_are_paired_by_seed() -> None:
    ours = pd.DataFrame({"variant": "casn", "mean_ap": [11.0, 21.0, 31.0, 0.0], "seed": [0, 1, 2, 9]})
    theirs = pd.DataFrame({"variant": "ide", "mean_ap": [30.0, 10.0, 20.0], "seed": [2, 0, 1]})
    rows = pd.concat([theirs, ours]).assign(pooling="gap", setting="default")
    found = paired(rows)["mean_ap"].loc["gap", "casn", "default"]
    assert found.to_dict() == {0: 1.0, 1: 1.0, 2: 1.0}
    assert len(paired(rows)) == 3, "the baseline has nothing to be compared with, nor has seed 9"
    with pytest.raises(ValueError, match="one row per seed"):
        paired(pd.concat([rows, rows]))


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


def test_variants_points_and_what_the_study_changed() -> None:
    names = [report.model_name({"variant": s.variant, "pooling": s.pooling}) for s in arms()]
    gap = ["IDE", "IDE, erased", "BCE (IDE)", "IDE+SA", "IDE+SA, margin", "IDE+IA", "IDE+IA, mask", "CASN (IDE)"]
    assert names == gap + [name.replace("IDE", "PCB") for name in gap]
    with pytest.raises(ValueError, match=r"mask_centre.*got 'mask_center'"):
        open_points("quick", ["mask_center"])
    base = {"loss": {"ia_score": "logit"}, "ranking": {"attention_weight": 0.5}}
    setting = next(s for s in open_points("quick", ["threshold"], **base) if s.point)
    config = setting.config("quick", 0, **base)
    assert (config.loss.threshold, config.ranking.threshold) == (0.5, 0.5)
    assert (config.loss.ia_score, config.ranking.attention_weight) == ("logit", 0.5)


def test_every_arm_has_as_many_tries_and_takes_the_best(tmp_path: Path, monkeypatch) -> None:
    assert {len(arm.values) for arm in ARMS.values()} == {3}
    found = [(s.variant, f"{s.point}={s.value}", 50 + (s.value == ARMS[s.variant].values[1])) for s in tries()]
    pd.DataFrame(found, columns=["variant", "setting", "mean_ap"]).to_csv(tmp_path / "tries.csv")
    for folder, which in ((tmp_path, 1), (tmp_path / "nowhere", 0)):
        monkeypatch.setattr("casnkit.experiments.design.results_path", folder.joinpath)
        for arm, (*_, field, values) in ARMS.items():
            assert chosen(arm) == {field: values[which]}
            (setting,) = (s for s in arms(["gap"]) if s.variant == arm)
            config = setting.config("quick", 3)
            assert config == Setting(arm, "gap", field, values[which]).config("quick", 3)


def test_the_arms_differ_in_what_they_are_named_for() -> None:
    configs = {arm: Setting(arm).config("quick", 0) for arm in ARMS}
    assert len({str(config) for config in configs.values()}) == len(ARMS)
    assert configs["ide, erased"].data.erase == 0.5
    assert configs["ide+ia, mask"].loss.ia_gradient == "mask"
    assert (configs["ide+sa, margin"].loss.consistency_margin, configs["bce"].loss.consistency_weight) == (0.5, 0.0)
    assert [configs[arm].variant for arm in ("ide+sa, margin", "ide+ia, mask", "bce")] == ["ide+sa", "ide+ia", "bce"]


def test_a_world_is_the_same_people_in_worse_boxes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CASNKIT_DATA", str(tmp_path))
    usual, worse = map(open_people, ("people:tiny", "people:tiny:misaligned"))
    others = open_people("people:tiny", 1)
    assert len({str(each.root) for each in (usual, worse, others)}) == 3
    assert worse.train.identities.tolist() == usual.train.identities.tolist()
    assert any(a.tobytes() != b.tobytes() for a, b in ((usual.train.image(i), worse.train.image(i)) for i in range(5)))
    with pytest.raises(ValueError, match="world: expected one of , misaligned, got 'foggy'"):
        open_people("people:tiny:foggy")


def test_primary_comparisons_by_hand() -> None:
    """Two arms, three seeds: differences 1, 2, 3 and -1, 0, 1 with a pooled deviation of 1 and 4 degrees of freedom."""
    values = {"ide": [10.0, 20, 30], "bce": [11.0, 22, 33], "casn": [9.0, 20, 31]}
    rows = _rows(*((arm, "default", own) for arm, own in values.items()))
    for weight, gain in (("0.0", 0.0), ("0.5", 4.0)):  # other people prefer a weight of 0.5, for both
        for way in ("", "plain_"):
            rows[f"{way}mean_ap_at_weight.{weight}"] = rows["mean_ap"] + gain + (0 if way else 1)
            rows[f"validation_{way}mean_ap_at_weight.{weight}"] = 50 + gain
    own = [name for name in rows if name.startswith(("mean_ap_at", "validation_mean"))]
    rows.loc[rows["variant"] == "ide", own] = math.nan
    found = pages.compared(rows).set_index(["measure", "arm"])
    expected = {("fused mAP", "bce"): 3.0, ("mAP", "bce"): 2.0, ("fused mAP", "casn"): 1.0, ("mAP", "casn"): 0.0}
    assert found["difference"].to_dict() == expected
    # t = 2 / (1 / sqrt(3)) = 3.4641 with 4 degrees: p = 0.02572; 3 * sqrt(3) = 5.1962: p = 0.00653; sqrt(3): p = 0.1583
    assert found["p"].tolist() == pytest.approx([0.00653, 0.02572, 0.1583, 1], abs=5e-5)
    assert found["p_holm"].tolist() == pytest.approx([4 * 0.00653, 3 * 0.02572, 2 * 0.1583, 1], abs=2e-4)


def _trial(seed: int = 0, **changes: object) -> Trial:
    setting = Setting("ide")
    return Trial("variants", setting, setting.config("smoke", seed, **{"epochs": 1, **changes}), "people:tiny")


def test_rows_are_complete_and_not_run_again(tmp_path: Path) -> None:
    assert len({_trial().name, _trial(1).name, _trial(epochs=2).name}) == 3
    rows = run_trials([_trial(0), _trial(1)], tmp_path)
    assert rows["seed"].tolist() == [0, 1]
    assert rows[["rank_1", "mean_ap", "mean_ap_trapezoid", "mean_inp", "seconds", "torch"]].notna().all(axis=None)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    assert run_trials([_trial(1), _trial(0)], tmp_path)["seed"].tolist() == [1, 0]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()} == before
    assert len(list(tmp_path.glob("runs/*/model.safetensors"))) == 2


def _rows(*lines: tuple[str, str, list[float]], study: str = "variants") -> pd.DataFrame:
    """Rows of (variant, setting, mAP by seed)."""
    given = {"study": study, "common": "", "profile": "smoke", "split": "validation", "data": "people", "identities": 3}
    given |= {"queries": 4, "gallery": 5, "device": "cpu", "casnkit": "1", "python": "3", "torch": "2"}
    rows = []
    for variant, setting, values in lines:
        point = setting.partition("=")[0] if "=" in setting else ""
        own = {"point": point, "setting": setting, "variant": variant, "pooling": "gap"}
        rows += [{**given, **own, "seed": s, "mean_ap": v, "rank_1": 2 * v} for s, v in enumerate(values)]
    return pd.DataFrame(rows)


def test_summary_of_worked_rows() -> None:
    """mAP 3.0 and 3.2 better, rank-1 twice that: t = 3.1 / 0.1 with one degree of freedom, p = 0.0205, twice that by Holm."""
    result = report.summary(_rows(("ide", "default", [10.0, 12.0]), ("casn", "default", [13.0, 15.2])))
    found = result["groups"][1]["differences"]["mean_ap"]
    assert (found.mean, found.p) == (pytest.approx(3.1), pytest.approx(2 * 0.02053, abs=1e-4))
    assert result["deviation"]["mean_ap"] == pytest.approx((np.std([3, 3.2], ddof=1), 1))
    assert "| **+3.1 ± 1.3** |" in report.to_text(result, report.markdown_table)
    assert "CASN (IDE)  finds people better (mAP): yes, +3.1 ± 1.3 over 2 seeds" in report.verdicts(result)
    # 3.0 and 3.5: the interval leaves zero out (p = 0.0489), the corrected p does not say so
    result = report.summary(_rows(("ide", "default", [10.0, 12.0]), ("casn", "default", [13.0, 15.5])))
    assert result["groups"][1]["differences"]["mean_ap"].low > 0
    assert "| +3.2 ± 3.2 |" in report.to_text(result, report.markdown_table)
    assert "CASN (IDE)  finds people better (mAP): not decided, +3.2 ± 3.2 over 2 seeds" in report.verdicts(result)


def test_holm_by_hand() -> None:
    assert report.holm([0.04, 0.01, math.nan, 0.03]) == pytest.approx([0.06, 0.03, math.nan, 0.06], nan_ok=True)
    assert report.holm([0.9, 0.8]).tolist() == [1, 1]


def test_weight_of_the_sum_is_chosen_on_validation_people_alone() -> None:
    rows = _rows(("casn", "default", [70.0, 72.0]))
    curves = {"0.0": ([60, 62], [70, 72]), "0.1": ([64, 61], [69, 70]), "0.5": ([40, 41], [90, 90])}
    for weight, (validation, test) in curves.items():
        rows[f"validation_{report.CURVE}{weight}"], rows[report.CURVE + weight] = validation, test
    entry = report.summary(rows)["groups"][0]
    assert entry["weight"] == "0.1", "0.5 is better on the test, which must not be seen"
    assert entry["numbers"]["weighted_mean_ap"].mean == 69.5
    assert entry["numbers"]["paper_sum_mean_ap"].mean == 90.0
    # an open point stands against its own default
    rows = _rows(("casn", "default", [5.0]), ("casn", "ia_score=logit", [6.0]), ("ide", "default", [1.0]))
    _, casn, logit = (entry["differences"] for entry in report.summary(rows)["groups"])
    assert (casn["mean_ap"].mean, logit["mean_ap"].mean) == (4.0, 1.0)


def test_evidence_of_an_open_point_is_read_from_the_published_rows(tmp_path: Path) -> None:
    tried = ("ide+ia", "ia_score=logit", [10.0, 11.0]), ("ide+ia", "ia_score=sigmoid", [51.0, 51.5])
    rows = _rows(("ide+ia", "default", [50.0, 52.0]), *tried, study="open-points")
    rows.to_csv(tmp_path / "open-points.csv", index=False)
    logit, sigmoid, other, *_ = evidence("ia_score", "mask_slope", folder=tmp_path)
    assert re.fullmatch(r"IDE\+IA, ia_score=logit: mAP -40.5 ± .* \(2 seeds\), worse", logit)
    assert (sigmoid.split()[-1], other.split(";")[0]) == ("undecided", "mask_slope: not measured yet")


def test_command_from_nothing_to_published_rows(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["ablate", "--study", "open-points", "--profile", "smoke", "--seeds", "1", "--set", "epochs=1"]
    options += ["--points", "id_activation"]
    assert main([*options, "--read-only"]) == 2
    assert "none of 2 trials is finished" in capsys.readouterr().err
    assert main(options) == 0
    assert "id_activation=none" in capsys.readouterr().out
    publish.publish(Path("runs/ablation"), Path("figures"))
    assert not list(Path("runs/ablation/runs").iterdir()), "the weights of a sweep are dropped"
    first = pd.read_csv("figures/results/open-points.csv")
    assert main([*options, "--read-only"]) == 0
    publish.publish(Path("runs/ablation"), Path("figures"))
    pd.testing.assert_frame_equal(pd.read_csv("figures/results/open-points.csv"), first)


def test_validation_people_are_not_the_test_people(tmp_path: Path) -> None:
    config = Setting("ide").config("smoke", 0)
    trained, tested = Trial("open-points", Setting("ide"), config, "people:tiny", on="validation").datasets()
    assert np.asarray(trained.query.image(0)).tobytes() != np.asarray(tested.query.image(0)).tobytes()
    data = str(imitate("market1501", tmp_path))  # cannot be drawn anew
    trained, tested = Trial("open-points", Setting("ide"), config, data, on="validation").datasets()
    assert not set(trained.train.pids) & set(tested.query.pids)


def test_test_time_chooses_on_validation_and_reports_on_test() -> None:
    reading = {"variant": "casn", "pooling": "gap", "mode": "paper", "threshold": 0.5}
    reading |= {"normalisation": "minmax", "per": "query"}
    values = {("validation", 0): (50, 52, 40), ("validation", 1): (50, 51, 40), ("test", 0): (60, 59, 70)}
    values["test", 1] = (61, 61, 70)
    rows = [reading | {"split": s, "seed": k, "0.0": a, "0.2": b, "0.5": c} for (s, k), (a, b, c) in values.items()]
    (entry,) = readings.best_readings(pd.DataFrame(rows)).to_dict("records")
    assert entry["chosen"] == "0.2", "0.5 is better on the test, which must not be seen"
    assert (entry["test.mean"], entry["paper_sum.mean"]) == (60.0, 70.0)
    assert entry["gain.mean"] == pytest.approx(-0.5)


def test_plain_distances_are_those_of_the_mean_maps() -> None:
    maps = torch.rand(5, 3, 6, 4)
    found = plain_distances(Extracted(None, maps[:2]), Extracted(None, maps[2:]), 0.3)
    for q in range(2):
        for g in range(3):
            expected = attention_distance(mean_map(maps[q : q + 1]), mean_map(maps[2 + g : 3 + g]), 0.3)
            assert found[q, g] == pytest.approx(expected.item(), abs=1e-5)
