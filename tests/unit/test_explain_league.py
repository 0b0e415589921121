"""The league: which pairs, what is measured, what is remembered, and the sentences that follow."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

import casnkit as ck
from casnkit.data.imitate import Shape, imitate
from casnkit.data.people import PARTS, lookalike_pairs, synthesize
from casnkit.evaluation import Evaluation
from casnkit.explain import league
from casnkit.explain.league import League, choose_pairs, findings, league_table, run_league
from casnkit.ranking import matches_mask

METHODS = ["siamese", "siamese-gradcam", "saliency"]
SETTINGS = {"pairs": 9, "steps": 2}


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
    retrieval = Evaluation.of(model, people, config)
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


def test_other_sets_have_no_lookalikes_and_say_so(model, blocks, config):
    chosen = choose_pairs(Evaluation.of(model, blocks, config), 1000)
    assert chosen.counts()["look-alike"] == 0
    assert chosen.parts is None
    assert "pairs of 1000" in chosen.notes[0]


def test_localisation_of_known_maps(model, people, config):
    """The mask itself as a map is all inside; its complement is all beside; a uniform map is as good as chance."""
    chosen = choose_pairs(Evaluation.of(model, people, config), 12)
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
    found = run_league(model, people, config, METHODS, out=tmp_path, **SETTINGS)
    assert found.methods() == ["plain-mean", *METHODS]
    again = league.read_league(tmp_path)
    pd.testing.assert_frame_equal(again.table, found.table)
    assert again.settings == found.settings
    assert found.row("plain-mean", "pair classifier").value == pytest.approx(1, abs=1e-5)
    assert found.row("plain-mean", "partner").passed == False  # noqa: E712, a numpy truth value
    assert "plain-mean" not in found.sane()
    assert {"energy", "pointing", "iou", "cue"} <= set(found.table.measure)
    assert found.row("siamese", "seconds_per_pair").value > 0
    mean = found.row("siamese", "energy").value - found.row("plain-mean", "energy").value
    assert found.row("siamese", "energy", "plain-mean").value == pytest.approx(mean, abs=1e-4)  # a paired difference
    assert not found.table.duplicated(["method", "measure", "than"]).any()
    assert "note" not in league_table(found)
    monkeypatch.setattr(league, "faithfulness", None)  # again: everything is remembered
    pd.testing.assert_frame_equal(
        run_league(model, people, config, METHODS, out=tmp_path, **SETTINGS).table, found.table
    )


@pytest.mark.filterwarnings("ignore:Exception while loading results")
def test_what_changed_is_measured_again(model, people, config, tmp_path, monkeypatch):
    measured, real = [], league.faithfulness
    monkeypatch.setattr(league, "faithfulness", lambda *args, **more: measured.append(1) or real(*args, **more))

    def times(names: list[str], **changes: int) -> int:
        measured.clear()
        run_league(model, people, config, names, out=tmp_path, **(SETTINGS | changes))
        return len(measured)

    assert times(["siamese"]) == 2
    assert times(["siamese", "siamese-v1"]) == 1
    files = list((tmp_path / "measured").rglob("output.pkl"))
    assert len(files) == 3
    files[0].write_bytes(files[0].read_bytes()[:40])  # cut off
    assert times(["siamese", "siamese-v1"]) == 1
    with torch.no_grad():
        model.pair_head[3].weight.mul_(1.1)
    assert times(["siamese"]) == 2
    assert times(["siamese"], steps=3) == 2


def test_refusals(model, people, config):
    with pytest.raises(ValueError, match=r"expected methods out of .* got 'attention'"):
        run_league(model, people, config, ["attention"], **SETTINGS)
    with pytest.raises(ValueError, match="never trained"):
        run_league(model, people, config.replace(variant="ide"), **SETTINGS)


def entry(name: str, energy: float, pair: float, over: dict[str, float], passed: bool = False) -> list[dict]:
    """A method's rows; ``over``: its difference in energy to each rival."""
    rows = [
        league._row("localisation", "energy", (energy, energy - 0.02, energy + 0.02, 9), chance=0.3),
        league._row("localisation", "pointing", (math.nan,) * 3 + (0,)),
        league._row("faithfulness", "deletion_probability", (-0.1, -0.12, -0.08, 9)),
        league._row("sanity", "pair classifier", (pair, pair, pair, 9), passed=passed),
        league._row("sanity", "everything", (0.2, 0.2, 0.2, 9), passed=True),
        league._row("sanity", "partner", (0.9, 0.9, 0.9, 9), passed=True),
        league._row("speed", "seconds_per_pair", (0.0123, math.nan, math.nan, 9)),
        *(league._row("localisation", "energy", (d, d - 0.01, d + 0.01, 9), than) for than, d in over.items()),
    ]
    return [{"method": name, **row} for row in rows]


def written(*entries: list[dict]) -> League:
    about = {"variant": "casn", "pooling": "gap", "data": "people", "device": "cpu", "threads": 1}
    about |= {"notes": ["few pairs"], "pairs": {"right": 5, "wrong": 4, "look-alike": 0}}
    return League(pd.DataFrame([row for rows in entries for row in rows]).astype({"passed": "boolean"}), about)


def test_table_by_hand():
    text = league_table(written(entry("plain-mean", 0.6, 1.0, {})))
    row = next(line for line in text.splitlines() if line.startswith("plain-mean"))
    assert row.split() == ["plain-mean", "60", "±2", "(30)", "-10.0", "±2.0", "1.00*", "0.20", "0.90", "no", "12.3"]
    assert "9 test pairs (5 right, 4 wrong, 0 look-alike), cpu (1 thread)" in text
    assert "pointing" not in text.splitlines()[1]  # not measured for any method
    assert text.endswith("note: few pairs")


def test_findings_follow_the_numbers():
    plain = entry("plain-mean", 0.6, 1.0, {"siamese": -0.05})
    paper = entry("siamese", 0.65, 0.97, {"plain-mean": 0.05})
    over = {"plain-mean": 0.15, "siamese": 0.1}
    said = " ".join(findings(written(plain, paper, entry("siamese-gradcam", 0.75, 0.1, over, True))))
    assert "hardly depends on the pair classifier: with a random one it correlates 0.97" in said
    assert "Equation 4's map has more of its energy on the person than the plain mean: +5.0 points [+4.0, +6.0]" in said
    assert "passed by siamese-gradcam (1 of 3 methods)" in said
    assert (
        "Better than equation 4 in both sanity and energy on the person: siamese-gradcam (+10.0 points); of these"
        in said
    )
    half = entry("siamese", 0.65, 0.6, {"plain-mean": 0.05})
    assert "depends only in part on the pair classifier" in " ".join(findings(written(plain, half)))
    slow = entry("occlusion", 0.75, 0.1, over, True)
    assert "occlusion (+10.0 points); all of them cost more" in " ".join(findings(written(plain, paper, slow)))
    same = entry("siamese", 0.6, 0.97, {"plain-mean": 0.0})
    said = " ".join(findings(written(plain, same, entry("siamese-gradcam", 0.65, 0.1, over | {"siamese": 0.0}, True))))
    assert "as much as the plain mean" in said
    assert "No method is better than equation 4 in both" in said
    assert "None of 2 methods" in " ".join(findings(written(plain, same)))


def test_the_published_league_can_be_read():
    published = league.read_league()
    assert set(METHODS) < set(published.methods())
    assert published.row("siamese", "pair classifier").value > published.row("siamese-gradcam", "pair classifier").value
    assert "200 test pairs" in league_table(published)


def test_examples_are_the_first_pair_of_each_kind(model, people, config):
    retrieval = Evaluation.of(model, people, config)
    about = {"settings": {"pairs": 6, "seed": 0}}
    found = league.league_examples(retrieval, written(entry("siamese", 0.5, 0.5, {}))._replace(settings=about))
    assert found["labels"] == ["right match", "wrong match", "look-alike"]
    assert {name: len(maps) for name, maps in found["maps_by_method"].items()} == {"siamese": 3}
    chosen = choose_pairs(retrieval, 6)
    for p, (i, j) in enumerate(chosen.pairs[[0, 2, 4]]):
        assert found["pairs"][p] == (people.query.image(i), people.gallery.image(j))
        np.testing.assert_array_equal(found["masks"][p][1], people.gallery.mask(j))
