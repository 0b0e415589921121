"""The doctor: what is missing is said with what to do, times are steps times a step, and nothing is left behind."""

from __future__ import annotations

import argparse
import importlib.metadata
from pathlib import Path

import pytest
import torch

from casnkit.config import profile
from casnkit.data import open_dataset
from casnkit.data.imitate import imitate
from casnkit.data.people import synthesize
from casnkit.notebook import doctor
from casnkit.notebook import doctor as estimate
from casnkit.notebook import doctor as installed
from casnkit.training import pair_sampler


def parse(*arguments: str) -> argparse.Namespace:
    top = argparse.ArgumentParser()
    doctor.add_parser(top.add_subparsers())
    return top.parse_args(["doctor", *arguments])


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASNKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CASNKIT_RUNS", str(tmp_path / "runs"))


def test_report_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = parse("--no-speed", "--device", "cpu")
    assert options.command(options) == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    for package in ("torch", "ipywidgets", "captum"):
        assert f"{package} {importlib.metadata.version(package)}" in out
    assert "sliders will show" in out
    assert out.splitlines()[-1].startswith("ready")
    assert list(tmp_path.iterdir()) == [], "the doctor wrote something"


@pytest.mark.parametrize(
    ("requirement", "text", "advice"),
    [
        ("no-such-package-of-ours>=2.1", "not installed", 'pip install "no-such-package-of-ours>=2.1"'),
        ("numpy>=99", "at least 99 is needed", 'pip install --upgrade "numpy>=99"'),
    ],
)
def test_packages_that_are_missing_or_old(requirement: str, text: str, advice: str) -> None:
    findings = installed.find_packages([requirement, "pip>=1.0"])
    assert [f.state for f in findings] == ["ok", "missing"]
    assert text in findings[1].text
    assert findings[1].advice == advice
    report = doctor.to_text(findings)
    assert advice in report
    assert report.splitlines()[-1].startswith("not ready: ")


def test_optional_extras_are_not_essential() -> None:
    assert [f.state for f in installed.find_packages(["no-such-package-of-ours>=2; extra == 'x'"])] == ["ok"]


def test_widgets_of_versions_that_do_not_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"ipywidgets": "8.1.9", "jupyterlab_widgets": "1.1.7", "jupyterlab": "4.6", "ipykernel": "7.0"}
    monkeypatch.setattr(installed, "_version", versions.get)
    assert installed.find_widgets().state == "missing"
    monkeypatch.setitem(versions, "jupyterlab_widgets", "3.0.1")
    assert installed.find_widgets().state == "ok"
    monkeypatch.delitem(versions, "ipykernel")
    assert installed.find_widgets().advice == "pip install ipykernel"


def test_data_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    market = imitate("market1501", tmp_path / "disk" / "Market-1501")
    synthesize(tmp_path / "data" / "people-tiny-1.0", "tiny", processes=1, progress=False)
    states = {f.topic: f.state for f in doctor.find_people()}
    assert states == {"people:tiny": "ok", "people:quick": "note", "people:market": "note"}
    found = [f for f in doctor.find_benchmarks([tmp_path / "disk"]) if f.state == "ok"]
    counts = len(open_dataset("market1501", market).query)
    assert [f.topic for f in found] == ["data: market1501"]
    assert f" / {counts} / " in found[0].text
    options = parse("--no-speed", "--data", str(tmp_path / "no-such-folder"))
    assert options.command(options) == 1
    assert "no-such-folder" in capsys.readouterr().out


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CASNKIT_RUNS", str(tmp_path / "file" / "runs"))
    findings = {f.topic: f for f in doctor.find_folders()}
    assert findings["folder of data"].state == "ok"
    assert findings["folder of runs"].state == "missing"
    assert "CASNKIT_RUNS" in findings["folder of runs"].advice


def test_steps_are_the_samplers_steps(tmp_path: Path) -> None:
    dataset = open_dataset("people", synthesize(tmp_path / "people", "tiny", processes=1, progress=False))
    config = profile("smoke", epochs=3)
    by_sampler = 3 * len(list(pair_sampler(dataset, config).epoch(0)))
    assert estimate.count_steps(config, len(dataset.train)) == by_sampler


def test_estimate_is_steps_times_a_step_and_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    rows = estimate.estimate(torch.device("cpu"), ("smoke",))
    assert torch.equal(before, torch.get_rng_state())
    assert [row.variant for row in rows] == ["ide", "casn"]
    for row in rows:
        assert row.train_seconds == pytest.approx(row.steps * row.step_seconds)
        assert 0 < row.test_seconds < row.train_seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.4, "3 s"), (240, "4 min"), (12600, "3.5 h"), (2.1 * 86400, "2.1 days")]
)
def test_durations(seconds: float, text: str) -> None:
    assert estimate.spoken(seconds) == text
