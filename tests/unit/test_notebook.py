"""What every notebook starts with: runs are found again, never mixed up, and networks of the kit are used where they fit."""

import dataclasses
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from imitations import Shape, imitate

import casnkit as ck
from casnkit import experiments, notebook
from casnkit.data import ReidDataset, Split
from casnkit.data.files import write_json
from casnkit.data.people import DIFFICULTY
from casnkit.notebook import Session, report


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    for name in ("CASNKIT_PROFILE", "CASNKIT_DATASET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    return notebook.start("smoke", str(imitate("market1501", tmp_path / "data")), folder=tmp_path / "runs")


def test_a_run_is_trained_once_and_others_beside_it(market: Session, tmp_path: Path) -> None:
    first = market.run("ide", epochs=1)
    _, result, _ = again = market.run("ide", epochs=1)
    assert again.log == first.log, "the log holds each epoch's speed: equal only if nothing was trained again"
    assert result.rankings["features"].mean_ap == first.result.rankings["features"].mean_ap
    assert market.run("ide", epochs=1, weight_decay=0.0).log != first.log
    assert market.run("ide", epochs=1).log == first.log, "other settings are another run beside it"
    shutil.rmtree(tmp_path / "data")
    imitate("market1501", tmp_path / "data", shape=Shape(num_train=5))
    again = dataclasses.replace(market, dataset=ck.open_dataset(str(tmp_path / "data")))
    assert (first.model.num_ids, again.run("ide", epochs=1).model.num_ids) == (4, 5), "other people: another run"


def test_profile_and_folder_of_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CASNKIT_PROFILE", "../x")
    with pytest.raises(ValueError, match="profile: expected one of"):
        notebook.start()
    monkeypatch.setenv("CASNKIT_RUNS", str(tmp_path))
    assert notebook.default_folder() == tmp_path


def test_findings_and_warnings_are_said(market: Session, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    market.expect(True, "never said")
    market.expect(False, "no better than chance")
    drawn = dataclasses.replace(market, dataset=dataclasses.replace(market.dataset, name="people"))
    drawn.expect(True, "never said")
    with pytest.raises(ValueError, match="no better than chance"):
        drawn.expect(False, "no better than chance")
    for _ in range(2):
        warnings.showwarning(UserWarning("a note"), UserWarning, "/machine/path.py", 1)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Look out: no better than chance. ")
    assert said[-1].strip() == "note: a note"
    assert len(said) <= 3, "once"


def test_a_shipped_network_belongs_to_its_own_people_alone(market: Session, tmp_path: Path) -> None:
    place, drawn = experiments.FOLDER / "gap-ide", {"seed": 0, "difficulty": dataclasses.asdict(DIFFICULTY)}
    config, there = dataclasses.replace(market, profile="quick").config("ide"), ck.runs.read_run(place)
    pids = {name: np.resize(there.pid_of_label, count) for name, count in there.data["images"].items()}
    splits = {name: Split([f"{i}.jpg" for i in range(len(p))], p, np.ones(len(p)), name) for name, p in pids.items()}
    own = ReidDataset("people", tmp_path, **splits)  # as many records as there were, without pictures

    def trained_on(header: dict[str, object], **changes: object) -> bool:
        write_json(tmp_path / "people.json", header)
        return experiments.fits(config, dataclasses.replace(own, **changes)) == place

    assert trained_on(drawn)
    assert not trained_on(drawn, name="market1501")
    assert not trained_on(drawn, gallery=own.gallery.subset(range(9)))
    assert not trained_on(drawn, train=dataclasses.replace(own.train, pids=own.train.pids + 1)), "other people"
    assert not trained_on(drawn | {"seed": 1}), "drawn anew: the same pids, other faces"
    assert not trained_on(drawn | {"difficulty": drawn["difficulty"] | {"blur": 2.0}})


def test_which_pairs_and_queries_are_shown(market: Session) -> None:
    data = market.dataset
    distances = np.where(data.query.pids[:, None] == data.gallery.pids, 0.0, 1.0)  # a perfect network
    assert set(report.choose_pairs(data, distances)) == {"right"}
    kept = data.gallery.pids != data.query.pids[0]  # nobody can find the first person now
    fewer = dataclasses.replace(data, gallery=data.gallery.subset(kept))
    assert set(report.choose_pairs(fewer, distances[:, kept])) == {"right"}
    assert set(report.choose_pairs(data, 1 - distances)) == {"wrong"}
    precision = np.array([0.9, np.nan, 0.1, 0.5, 0.7])
    assert report.spread_queries(precision, 9) == [2, 3, 4, 0], "from the hardest to the easiest"
