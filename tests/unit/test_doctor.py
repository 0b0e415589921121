"""The doctor: what is missing is said with what to do, times are steps times a step, and nothing is left behind."""

import importlib.metadata
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from casnkit.__main__ import main
from casnkit.config import profile
from casnkit.data import open_dataset
from casnkit.data.imitate import imitate
from casnkit.data.people import synthesize
from casnkit.notebook import doctor
from casnkit.training import pair_sampler


def test_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("CASNKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["torch>=2.6", "captum>=0.9"])
    assert main(["doctor", "--no-speed", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("ready")
    assert list(tmp_path.iterdir()) == [], "the doctor wrote something"
    assert main(["doctor", "--no-speed", "--data", str(tmp_path / "nowhere")]) == 1
    assert f"{tmp_path / 'nowhere'}: no data set found" in capsys.readouterr().out


@pytest.mark.parametrize("requirement", ["no-such-package-of-ours>=2.1", "numpy>=99", "numpy==0.*"])
def test_packages_that_are_missing_or_of_another_version(requirement: str) -> None:
    topic, state, text, advice = doctor.find_packages("packages", [requirement, "pytest>=1", "extra>=2; extra == 'x'"])
    assert (topic, state, advice) == ("packages", "missing", f'pip install --upgrade "{requirement}"')
    assert f"pytest {importlib.metadata.version('pytest')}" in text


def test_data_that_is_there(tmp_path: Path) -> None:
    market, msmt = imitate("market1501", tmp_path / "Market-1501"), imitate("msmt17", tmp_path / "MSMT17")
    assert doctor.find_data(market, "missing") == [("data: market1501", "ok", str(market), "")]
    found = {topic: text for topic, _, text, _ in doctor.find_data(tmp_path, "missing")}
    assert found == {"data: market1501": str(market), "data: msmt17": str(msmt)}


def test_times_are_the_samplers_steps_times_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset("people", synthesize(tmp_path, "tiny", processes=1, progress=False))
    config = profile("smoke")
    before = torch.get_rng_state()
    assert 0 < doctor.step_seconds(config, 12, torch.device("cpu")) < 60
    assert torch.equal(before, torch.get_rng_state())
    monkeypatch.setattr(doctor, "step_seconds", lambda *_: 2.0)
    _, state, text, _ = doctor.find_times(torch.device("cpu"))[0]
    steps = config.train.epochs * len(pair_sampler(dataset, config).epoch(0))
    assert state == "ok"
    assert f"about {timedelta(seconds=2 * steps)} ({steps} steps of 2000 ms)" in text
