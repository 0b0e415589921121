"""The doctor: what is missing is said with what to do, times are steps times a step, and nothing is left behind."""

import argparse
import importlib.metadata
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from casnkit.config import profile
from casnkit.data import open_dataset
from casnkit.data.imitate import imitate
from casnkit.data.people import synthesize
from casnkit.notebook import doctor
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
    required = ["torch>=2.6", "captum>=0.9"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "requires", lambda name: required)
        options = parse("--no-speed", "--device", "cpu")
        assert options.command(options) == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    for package in ("torch", "captum", "ipywidgets"):
        assert f"{package} {importlib.metadata.version(package)}" in out
    assert out.splitlines()[-1].startswith("ready")
    assert list(tmp_path.iterdir()) == [], "the doctor wrote something"


@pytest.mark.parametrize(
    ("requirement", "text"),
    [("no-such-package-of-ours>=2.1", "is not installed"), ("numpy>=99", "expected >=99"), ("numpy==0.*", "==0.*")],
)
def test_packages_that_are_missing_or_of_another_version(requirement: str, text: str) -> None:
    findings = doctor.find_packages("packages", [requirement, "pytest>=1.0", "no-such-extra>=2; extra == 'x'"])
    assert [f.state for f in findings] == ["ok", "missing"]
    assert text in findings[1].text
    assert findings[1].advice == f'pip install --upgrade "{requirement}"'
    report = doctor.to_text(findings)
    assert findings[1].advice in report
    assert report.splitlines()[-1] == "not ready: packages"


def test_widgets_of_versions_that_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"ipywidgets": "8.1.9", "jupyterlab_widgets": "1.1.7", "jupyterlab": "4.6", "ipykernel": "7.0"}
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    assert "jupyterlab_widgets 1.1.7" in doctor.find_packages("widgets", doctor.WIDGETS)[1].text
    versions["jupyterlab_widgets"] = "3.0.1"
    assert [f.state for f in doctor.find_packages("widgets", doctor.WIDGETS)] == ["ok"]


def test_data_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk, cache = tmp_path / "disk", tmp_path / "data" / "people-tiny-1.0"
    market, msmt = imitate("market1501", disk / "Market-1501"), imitate("msmt17", disk / "MSMT17")
    assert [f.state for f in doctor.find_data([market])] == ["ok", "note"], "people are drawn when first used"
    synthesize(cache, "tiny", processes=1, progress=False)
    found = {f.topic: f.text for f in doctor.find_data([disk]) if f.state == "ok"}
    assert found == {"data: market1501": str(market), "data: msmt17": str(msmt), "data: people": str(cache)}
    options = parse("--no-speed", "--data", str(tmp_path / "no-such-folder"))
    assert options.command(options) == 1
    assert f"{tmp_path / 'no-such-folder'}: no such folder" in capsys.readouterr().out


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CASNKIT_RUNS", str(tmp_path / "file" / "runs"))
    data, runs = doctor.find_folders()
    assert (data.topic, data.state, runs.state) == ("folder of data", "ok", "missing")
    assert "CASNKIT_RUNS" in runs.advice


def test_steps_are_the_samplers_steps(tmp_path: Path) -> None:
    dataset = open_dataset("people", synthesize(tmp_path / "people", "tiny", processes=1, progress=False))
    config = profile("smoke", epochs=3)
    by_sampler = 3 * len(list(pair_sampler(dataset, config).epoch(0)))
    assert doctor.count_steps(config, len(dataset.train)) == by_sampler


def test_times_are_steps_times_a_step_and_the_random_state_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_rng_state()
    measured = doctor.probe(profile("smoke", variant="casn"), 12, torch.device("cpu"))
    assert torch.equal(before, torch.get_rng_state())
    assert 0 < measured[1] < measured[0]
    monkeypatch.setattr(doctor, "probe", lambda *_: (2.0, 0.5))
    ide, casn, note = doctor.find_times("cpu", ("smoke",))
    steps = doctor.count_steps(profile("smoke"), 72)
    assert (ide.topic, casn.topic, note.state) == ("smoke, ide", "smoke, casn", "note")
    assert f"about {timedelta(seconds=2 * steps)} ({steps:,} steps of 2000 ms)" in casn.text
    assert casn.text.endswith(str(timedelta(seconds=(24 + 48 + 8 + 8) // 2)))
