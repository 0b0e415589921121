"""What every notebook starts with: runs are found again, never mixed up, and networks of the kit are used where they fit."""

from __future__ import annotations

from pathlib import Path

import pytest

import casnkit as ck
from casnkit import notebook
from casnkit.notebook import Session


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    for name in ("CASNKIT_PROFILE", "CASNKIT_DATASET"):
        monkeypatch.delenv(name, raising=False)
    return ck.notebook.start("smoke", "people", folder=tmp_path)


def test_a_run_is_trained_once(session: Session) -> None:
    first = session.run("ide", epochs=1)
    log = first.log
    again = session.run("ide", epochs=1)
    assert again.folder == first.folder
    assert again.log == log, "the log holds each epoch's speed: equal only if nothing was trained again"
    assert again.result.rankings["features"].mean_ap == first.result.rankings["features"].mean_ap


def test_other_settings_are_another_run_beside_it(session: Session) -> None:
    first = session.run("ide", epochs=1)
    other = session.run("ide", epochs=1, weight_decay=0.0)
    assert other.folder != first.folder
    assert other.info.config.train.weight_decay == 0.0
    assert (first.folder / "model.safetensors").is_file()
    assert session.run("ide", epochs=1, weight_decay=0.0).folder == other.folder


def test_networks_of_the_kit_are_not_used_for_other_settings(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = session.run("ide", epochs=1)  # smoke: the shipped ones are quick
    assert trained.folder.parent == session.folder
    assert "in the package" not in capsys.readouterr().out


@pytest.mark.parametrize("given", ["", "../x"])
def test_unknown_profile(given: str) -> None:
    with pytest.raises(ValueError, match="expected a profile out of"):
        notebook.start(given)


def test_folder_of_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CASNKIT_RUNS", str(tmp_path))
    assert notebook.default_folder() == tmp_path
    monkeypatch.delenv("CASNKIT_RUNS")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert notebook.default_folder() == Path("../runs")
