"""The league: which pairs, what is measured, what is remembered, and the sentences that follow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import casnkit as ck
from casnkit import runs
from casnkit.cli import main
from casnkit.data.imitate import Shape, imitate
from casnkit.data.people import PARTS, lookalike_pairs, synthesize
from casnkit.explain import league
from casnkit.explain import league as league_pairs
from casnkit.explain.league import choose_pairs, findings, league_table, run_league
from casnkit.explain.pair import Retrieval
from casnkit.ranking import matches_mask

METHODS = ["siamese", "siamese-gradcam", "saliency"]
SETTINGS = {"pairs": 9, "steps": 2, "sanity_pairs": 3, "progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    root = synthesize(tmp_path_factory.mktemp("people"), size="tiny", processes=1, progress=False)
    return ck.open_dataset("people", root=root)


@pytest.fixture(scope="module")
def config():
    return ck.profile("smoke", height=32, width=16)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    shape = Shape(num_train=1, num_test=4, num_cameras=3, per_camera=2, size=(16, 32))
    return ck.open_dataset(str(imitate("market1501", tmp_path_factory.mktemp("market"), shape=shape, extras=True)))


@pytest.fixture
def model(make_model):
    return make_model(dtype=torch.float32)


def test_pairs_are_what_they_are_called(model, people, config):
    retrieval = Retrieval.of(model, people, config)
    chosen = choose_pairs(retrieval, 12)
    assert len(chosen.pairs) == 12
    assert chosen.counts() == {"right": 4, "wrong": 4, "look-alike": 4}
    q, g = people.query, people.gallery
    match = matches_mask(q.pids, q.camids, g.pids, g.camids)
    alike = {(a, b): part for a, b, part in lookalike_pairs(people.root)}
    parts = []
    for (i, j), kind in zip(chosen.pairs, chosen.kinds, strict=True):
        ranking = retrieval.rank(i, retrieval.row(i))
        if kind == "right":
            assert match[i, j]
            assert ranking.position[j] == ranking.first_hit + 1
        elif kind == "wrong":
            assert not match[i, j]
            assert ranking.position[j] == 1
        else:
            key = tuple(sorted((int(q.pids[i]), int(g.pids[j]))))
            parts.append(PARTS.index(alike[key]))
            same = np.flatnonzero(g.pids == g.pids[j])
            assert j == same[np.argmin(retrieval.row(i)[same])]
    assert chosen.differs_in.tolist() == parts
    again, other = choose_pairs(retrieval, 12), choose_pairs(retrieval, 12, seed=1)
    np.testing.assert_array_equal(again.pairs, chosen.pairs)
    assert not np.array_equal(other.pairs, chosen.pairs)


def test_what_one_kind_lacks_the_others_fill():
    assert league_pairs._quota({"a": 9, "b": 9, "c": 9}, 10) == {"a": 4, "b": 3, "c": 3}
    assert league_pairs._quota({"a": 9, "b": 1, "c": 0}, 8) == {"a": 7, "b": 1, "c": 0}
    assert league_pairs._quota({"a": 2, "b": 1, "c": 0}, 8) == {"a": 2, "b": 1, "c": 0}


def test_other_sets_have_no_lookalikes_and_say_so(model, blocks, config):
    chosen = choose_pairs(Retrieval.of(model, blocks, config), 1000)
    assert chosen.counts()["look-alike"] == 0
    assert chosen.parts is None
    assert "pairs of 1000" in chosen.notes[0]


def test_pets_with_their_masks(model, config):
    root = Path(__file__).parents[3] / "shared" / "data" / "pets-small"
    if not root.is_dir():
        pytest.skip(f"no real pictures at {root}")
    chosen = choose_pairs(Retrieval.of(model, ck.open_dataset(str(root)), config), 8)
    assert [m.shape for m in chosen.masks] == [(8, 32, 16)] * 2
    found = chosen.localisation(tuple(torch.rand(8, 4, 2) for _ in range(2)))
    assert set(found) == {"energy", "pointing", "iou"}
    assert 0 < found["energy"]["found"].mean() < 1


def test_localisation_of_known_maps(model, people, config):
    """The mask itself as a map is all inside; its complement is all beside; a uniform map is as good as chance."""
    chosen = choose_pairs(Retrieval.of(model, people, config), 12)
    perfect = chosen.localisation(tuple(m.float() for m in chosen.masks))
    assert perfect["energy"]["found"].min() == 1
    assert perfect["pointing"]["found"].min() == 1
    assert perfect["iou"]["found"].min() == 1
    assert perfect["energy"]["chance"].mean() < 0.9
    beside = chosen.localisation(tuple((~m).float() for m in chosen.masks))
    assert beside["energy"]["found"].max() == 0
    uniform = chosen.localisation(tuple(torch.ones(12, 4, 2) for _ in range(2)))
    share = torch.stack([m.float().mean((1, 2)) for m in chosen.masks]).mean(0)
    np.testing.assert_allclose(uniform["energy"]["found"], share, atol=1e-5)
    np.testing.assert_allclose(uniform["energy"]["chance"], share, atol=1e-5)
    alike = chosen.kinds == "look-alike"
    cue = [torch.zeros(12, *m.shape[1:]) for m in chosen.masks]
    for maps, parts in zip(cue, chosen.parts, strict=True):
        maps[torch.from_numpy(alike)] = (parts == torch.from_numpy(chosen.differs_in)[:, None, None] + 1).float()
    hit = chosen.localisation(tuple(cue))["cue"]["found"]
    assert np.nanmin(hit) == 1
    assert len(hit) == alike.sum()


def test_a_league_from_end_to_end(model, people, config, tmp_path, monkeypatch):
    result = run_league(model, people, config, METHODS, out=tmp_path, **SETTINGS)
    assert [e["method"] for e in result["methods"]] == ["plain-mean", *METHODS]
    assert json.loads((tmp_path / "league.json").read_text()) == result
    plain, paper, gradcam, _ = result["methods"]
    lines = {e["method"]: {line["name"]: line for line in e["sanity"]["lines"]} for e in result["methods"]}
    assert lines["plain-mean"]["pair classifier"]["value"] == pytest.approx(1, abs=1e-5)
    assert lines["plain-mean"]["partner"]["passed"] is False
    assert not plain["sanity"]["passed"]
    assert set(paper["localisation"]) == {"energy", "pointing", "iou", "cue"}
    assert paper["seconds_per_pair"] > 0
    assert "plain-mean" in paper["over"]
    mean = paper["localisation"]["energy"]["mean"] - plain["localisation"]["energy"]["mean"]
    assert paper["over"]["plain-mean"]["energy"]["mean"] == pytest.approx(mean, abs=1e-4)  # a paired difference
    assert {row["curve"] for row in gradcam["faithfulness"]} == {"deletion", "insertion"}
    assert all("values" not in e for e in result["methods"])
    # again: everything is remembered
    monkeypatch.setattr(league._Measured, "measure", None)
    assert run_league(model, people, config, METHODS, out=tmp_path, **SETTINGS) == result


def test_what_changed_is_measured_again(model, people, config, tmp_path, monkeypatch):
    run_league(model, people, config, ["siamese"], out=tmp_path, **SETTINGS)
    measured, real = [], league._Measured.measure
    monkeypatch.setattr(league._Measured, "measure", lambda self, name, o: measured.append(name) or real(self, name, o))
    run_league(model, people, config, ["siamese", "siamese-v1"], out=tmp_path, **SETTINGS)
    assert measured == ["siamese-v1"]
    (tmp_path / "siamese.json").write_text('{"key": ')  # cut off
    run_league(model, people, config, ["siamese"], out=tmp_path, **SETTINGS)
    assert measured == ["siamese-v1", "siamese"]
    with torch.no_grad():
        model.pair_head[3].weight.mul_(1.1)
    run_league(model, people, config, ["siamese"], out=tmp_path, **SETTINGS)
    assert measured[2:] == ["plain-mean", "siamese"]
    run_league(model, people, config, ["siamese"], out=tmp_path, **(SETTINGS | {"steps": 3}))
    assert measured[4:] == ["plain-mean", "siamese"]


def test_a_method_whose_package_is_missing_is_left_out_aloud(model, people, config, monkeypatch):
    real = league._Measured.measure

    def measure(self, name, options):
        if name == "saliency":
            raise ImportError("no captum")
        return real(self, name, options)

    monkeypatch.setattr(league._Measured, "measure", measure)
    result = run_league(model, people, config, ["saliency"], **SETTINGS)
    assert [e["method"] for e in result["methods"]] == ["plain-mean"]
    assert "saliency is left out: no captum" in result["notes"]
    assert "note: saliency is left out" in league_table(result)


def test_refusals(model, people, config):
    with pytest.raises(ValueError, match="expected methods out of"):
        run_league(model, people, config, ["attention"], **SETTINGS)
    with pytest.raises(ValueError, match="never trained"):
        run_league(model, people, config.replace(variant="ide"), **SETTINGS)


def entry(name: str, energy: float, pair: float, over: dict, passed: bool) -> dict:
    interval = {"mean": energy, "low": energy - 0.02, "high": energy + 0.02, "count": 9, "chance": 0.3}
    names = {"pair classifier": pair, "everything": 0.2, "partner": 0.9}
    lines = [{"name": n, "value": v, "passed": v < 0.95} for n, v in names.items()]
    curves = [
        {"curve": "deletion", "axis": "probability", "difference": -0.1, "low": -0.12, "high": -0.08},
        {"curve": "insertion", "axis": "probability", "difference": None, "low": None, "high": None},
    ]
    over = {rival: {"energy": {"mean": m, "low": m - 0.01, "high": m + 0.01}} for rival, m in over.items()}
    return {
        "method": name,
        "cost": "many" if name == "occlusion" else "forward",
        "localisation": {"energy": interval},
        "faithfulness": curves,
        "sanity": {"passed": passed, "lines": lines},
        "seconds_per_pair": 0.0123,
        "over": over,
    }


def written(*entries: dict) -> dict:
    return {
        "variant": "casn",
        "pooling": "gap",
        "data": "people",
        "device": "cpu",
        "threads": 1,
        "pairs": {"right": 5, "wrong": 4, "look-alike": 0},
        "notes": [],
        "methods": list(entries),
    }


def test_table_by_hand():
    text = league_table(written(entry("plain-mean", 0.6, 1.0, {}, False)))
    row = next(line for line in text.splitlines() if line.startswith("plain-mean"))
    assert row.split() == ["plain-mean", "60", "±2", "(30)", "-10.0", "±2.0", "1.00*", "0.20", "0.90", "no", "12.3"]
    assert "9 test pairs (5 right, 4 wrong, 0 look-alike), cpu (1 thread)" in text
    assert "pointing" not in text.splitlines()[1]  # nobody has it


def test_findings_follow_the_numbers():
    plain = entry("plain-mean", 0.6, 1.0, {"siamese": -0.05}, False)
    paper = entry("siamese", 0.65, 0.97, {"plain-mean": 0.05}, False)
    good = entry("siamese-gradcam", 0.75, 0.1, {"plain-mean": 0.15, "siamese": 0.1}, True)
    said = " ".join(findings(written(plain, paper, good)))
    assert "hardly depends on the pair classifier: with a random one it correlates 0.97" in said
    assert "Equation 4's map has more of its energy on the person than the plain mean: +5.0 points [+4.0, +6.0]" in said
    assert "passed by siamese-gradcam (1 of 3 methods)" in said
    assert (
        "Better than equation 4 in both sanity and energy on the person: siamese-gradcam (+10.0 points); of these"
        in said
    )
    half = entry("siamese", 0.65, 0.6, {"plain-mean": 0.05}, False)
    half["sanity"]["lines"][0]["passed"] = False
    assert "depends only in part on the pair classifier" in " ".join(findings(written(plain, half)))
    slow = entry("occlusion", 0.75, 0.1, {"plain-mean": 0.15, "siamese": 0.1}, True)
    assert "occlusion (+10.0 points); all of them cost more" in " ".join(findings(written(plain, paper, slow)))
    paper["over"]["plain-mean"]["energy"] = {"mean": 0.0, "low": -0.01, "high": 0.01}
    good["over"]["siamese"]["energy"] = {"mean": 0.0, "low": -0.01, "high": 0.01}
    said = " ".join(findings(written(plain, paper, good)))
    assert "as much as the plain mean" in said
    assert "No method is better than equation 4 in both" in said
    good["sanity"]["passed"] = False
    assert "None of 3 methods" in " ".join(findings(written(plain, paper, good)))


def test_the_command(model, people, config, tmp_path, monkeypatch, capsys):
    (tmp_path / "README.md").write_text("x\n<!-- league -->\nformer\n<!-- /league -->\n")
    monkeypatch.chdir(tmp_path)
    info = runs.RunInfo(config, np.arange(5), {"root": str(people.root)}, {})
    monkeypatch.setattr(runs, "load_model", lambda run, device: (model, info))
    arguments = ["league", "--run", "run", "--methods", "siamese", "--pairs", "6", "--steps", "2", "--publish"]
    assert main([*arguments, "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    readme = (tmp_path / "README.md").read_text()
    assert "Equation 4's map" in said
    assert "former" not in readme
    assert "```text\ncasn (gap) on people: 6 test pairs" in readme
    published = json.loads((tmp_path / "figures" / "league.json").read_text())
    assert published == json.loads((tmp_path / "run" / "league" / "league.json").read_text())
    for name, described in (("league", "95 % intervals"), ("explanations", "siamese, plain-mean")):
        picture = Image.open(tmp_path / "figures" / f"{name}.png")
        assert described in picture.text["Description"]
        assert np.asarray(picture.convert("L")).std() > 10, "a blank picture"
