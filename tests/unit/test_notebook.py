"""What every notebook starts with: runs are found again, never mixed up, and networks of the kit are used where they fit."""

import dataclasses
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import casnkit as ck
from casnkit import notebook
from casnkit.data import ReidDataset, Split
from casnkit.data.files import write_json
from casnkit.data.imitate import Shape, imitate
from casnkit.data.people import DIFFICULTY
from casnkit.experiments import shipped
from casnkit.notebook import Session, report
from casnkit.ranking import RankingWarning


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CASNKIT_PROFILE", "CASNKIT_DATASET", "CASNKIT_RUNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return ck.notebook.start("smoke", "people", folder=tmp_path)


@pytest.fixture
def market(tmp_path: Path) -> Session:
    return notebook.start("smoke", str(imitate("market1501", tmp_path / "data")), folder=tmp_path / "runs")


def test_a_run_is_trained_once(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    first = session.run("ide", epochs=1)
    model, result, info = again = session.run("ide", epochs=1)
    assert (again.folder, again.folder.parent) == (first.folder, session.folder)
    assert "in the package" not in capsys.readouterr().out, "smoke: the shipped ones are quick"
    assert again.log == first.log, "the log holds each epoch's speed: equal only if nothing was trained again"
    assert result.rankings["features"].mean_ap == first.result.rankings["features"].mean_ap
    assert (info.config, model.num_ids) == (session.config("ide", epochs=1), 12)
    other = session.run("ide", epochs=1, weight_decay=0.0)
    assert other.folder != first.folder
    assert (first.folder / "model.safetensors").is_file(), "other settings are another run beside it"
    assert session.run("ide", epochs=1, weight_decay=0.0).folder == other.folder
    shutil.copytree(other.folder, session.folder / "demo" / "ide")
    assert session.run("ide", epochs=1, weight_decay=0.0).folder == session.folder / "demo" / "ide"
    assert session.run("ide", epochs=1).folder == first.folder


def test_a_run_on_other_people_of_the_same_folder_is_another_run(market: Session, tmp_path: Path) -> None:
    first = market.run("ide", epochs=1)
    assert first.model.num_ids == 4
    shutil.rmtree(tmp_path / "data")
    imitate("market1501", tmp_path / "data", shape=Shape(num_train=5))
    again = dataclasses.replace(market, dataset=ck.open_dataset(str(tmp_path / "data")))
    second = again.run("ide", epochs=1)
    assert second.folder != first.folder
    assert second.model.num_ids == 5
    assert again.run("ide", epochs=1).folder == second.folder


def test_watching_a_training_where_everybody_has_one_gallery_picture(market: Session) -> None:
    gallery = market.dataset.gallery
    one_each = gallery.subset(np.unique(gallery.pids, return_index=True)[1])
    alone = dataclasses.replace(market, dataset=dataclasses.replace(market.dataset, gallery=one_each))
    assert len(alone.run("ide", live=True, epochs=1).log) == 1


def test_profile_and_folder_of_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a profile out of"):
        notebook.start("../x")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert notebook.default_folder() == Path("../runs")
    monkeypatch.setenv("CASNKIT_RUNS", str(tmp_path))
    assert notebook.default_folder() == tmp_path


def test_what_is_expected_of_drawn_people_is_a_finding_elsewhere(
    market: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    market.expect(True, "never said")
    market.expect(False, "the network ranks no better than chance")
    assert "Look out: the network ranks no better than chance." in capsys.readouterr().out
    drawn = dataclasses.replace(market, dataset=dataclasses.replace(market.dataset, name="people"))
    drawn.expect(True, "never said")
    with pytest.raises(ValueError, match="no better than chance"):
        drawn.expect(False, "the network ranks no better than chance")


def test_warnings_of_the_kit_become_sentences_once(market: Session, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *message, **_: told.append(str(message[0]))
        notebook._say_warnings()
        notebook._say_warnings()  # a second start in one notebook
        capsys.readouterr()
        for _ in range(2):
            warnings.warn("two queries have no match", RankingWarning, stacklevel=1)
            warnings.warn("another library's business", stacklevel=1)
            warnings.warn_explicit("they form no pair", UserWarning, ck.training.__file__, 1)
    assert capsys.readouterr().out.splitlines() == ["note: two queries have no match", "note: they form no pair"]
    assert told == ["another library's business"] * 2


def test_sentences_break_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["word" + "s" * (k % 7) for k in range(60)]
    notebook.say("short", " ".join(words), width=40)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "short"
    assert max(map(len, said)) <= 40
    assert " ".join(line.strip() for line in said[1:]).split() == words


def split_of(name: str, images: int, people: np.ndarray | None = None) -> Split:
    """Records without pictures: as many as asked for, of these people in turn."""
    people = np.array([1]) if people is None else people
    return Split([f"{i}.jpg" for i in range(images)], np.resize(people, images), np.ones(images), name)


def people_like(place: Path, root: Path, **header: object) -> ReidDataset:
    """The data set on which the shipped network in ``place`` was trained, as far as its records go."""
    there = ck.runs.read_run(place)
    write_json(root / "people.json", {"seed": 0, "difficulty": dataclasses.asdict(DIFFICULTY), **header})
    counts = there.data["images"]
    splits = [split_of("train", counts["train"], there.pid_of_label)]
    splits += [split_of(name, counts[name]) for name in ("query", "gallery")]
    return ReidDataset("people", root, *splits)


def test_a_shipped_network_belongs_to_its_own_people_alone(market: Session, tmp_path: Path) -> None:
    place = shipped.FOLDER / "gap-ide"
    assert shipped.fits(dataclasses.replace(market, profile="quick").config("ide")) == place
    assert not shipped.trained_on(place, market.dataset)
    own = people_like(place, tmp_path)
    assert shipped.trained_on(place, own)
    assert not shipped.trained_on(place, dataclasses.replace(own, name="market1501"))
    assert not shipped.trained_on(place, dataclasses.replace(own, gallery=split_of("gallery", 999)))
    others = dataclasses.replace(own.train, pids=own.train.pids + 1)
    assert not shipped.trained_on(place, dataclasses.replace(own, train=others)), "other people in training"
    assert not shipped.trained_on(place, people_like(place, tmp_path, seed=1)), "drawn anew: the same pids, other faces"
    harder = dataclasses.asdict(DIFFICULTY) | {"blur": 2.0}
    assert not shipped.trained_on(place, people_like(place, tmp_path, difficulty=harder))


def test_a_query_without_a_match_is_no_wrong_match(market: Session) -> None:
    data = market.dataset
    distances = np.where(data.query.pids[:, None] == data.gallery.pids, 0.0, 1.0)  # a perfect network
    assert set(report.choose_pairs(data, distances)) == {"right"}
    kept = data.gallery.pids != data.query.pids[0]  # nobody can find the first person now
    fewer = dataclasses.replace(data, gallery=data.gallery.subset(kept))
    assert set(report.choose_pairs(fewer, distances[:, kept])) == {"right"}
    chosen = report.choose_pairs(data, 1 - distances)
    assert set(chosen) == {"wrong"}
    i, j = chosen["wrong"]
    assert data.query.pids[i] != data.gallery.pids[j]


def test_queries_from_the_hardest_to_the_easiest() -> None:
    precision = np.array([0.9, np.nan, 0.1, 0.5, 0.7])
    assert report.spread_queries(precision, 2) == [2, 0]
    assert report.spread_queries(precision, 9) == [2, 3, 4, 0]
    assert report.spread_queries(precision[1:2], 3) == []


def test_who_has_a_mask(tmp_path: Path) -> None:
    data = ck.open_dataset(str(imitate("market1501", tmp_path, extras=True)))
    assert report.has_mask(data.train, 0)
    empty = data.train.mask_folder / f"{Path(data.train.paths[1]).stem}.png"
    Image.new("L", (32, 64)).save(empty)
    assert not report.has_mask(data.train, 1), "a mask with nobody in it"
    empty.unlink()
    assert not report.has_mask(data.train, 1)
    assert not report.has_mask(dataclasses.replace(data.train, mask_folder=None), 0)
