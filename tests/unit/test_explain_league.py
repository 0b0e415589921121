"""The league: which pairs, what is measured, what is remembered, and the sentences that follow."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

import casnkit as ck
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


def test_localisation_of_known_maps(model, people, config):
    """The mask itself as a map is all inside; its complement is all beside; a uniform map is as good as chance."""
    chosen = choose_pairs(Evaluation.of(model, people, config), 12)
    perfect = chosen.localisation(tuple(m.float() for m in chosen.masks))
    assert all(perfect[name]["found"].min() == 1 for name in ("energy", "pointing", "iou"))
    assert perfect["energy"]["chance"].mean() < 0.9
    assert chosen.localisation(tuple((~m).float() for m in chosen.masks))["energy"]["found"].max() == 0
    uniform = chosen.localisation((torch.ones(12, 4, 2),) * 2)["energy"]
    share = torch.stack([m.float().mean((1, 2)) for m in chosen.masks]).mean(0)
    for name in ("found", "chance"):
        np.testing.assert_allclose(uniform[name], share, atol=1e-5)
    alike = chosen.kinds == "look-alike"
    cue = [torch.zeros(12, *m.shape[1:]) for m in chosen.masks]
    for maps, parts in zip(cue, chosen.parts, strict=True):
        maps[torch.from_numpy(alike)] = (parts == torch.from_numpy(chosen.differs_in)[:, None, None] + 1).float()
    hit = chosen.localisation(tuple(cue))["cue"]["found"]
    assert (np.nanmin(hit), len(hit)) == (1, alike.sum())


def test_a_league_from_end_to_end(model, people, config, tmp_path, monkeypatch):
    found = run_league(model, people, config, METHODS, out=tmp_path, **SETTINGS)
    assert found.methods() == ["plain-mean", *METHODS]
    again = league.read_league(tmp_path)
    pd.testing.assert_frame_equal(again.table, found.table)
    assert found.row("plain-mean", "pair classifier").value == pytest.approx(1, abs=1e-5)
    assert found.row("plain-mean", "partner").passed == False  # noqa: E712, a numpy truth value
    assert "plain-mean" not in found.sane()
    assert {"energy", "pointing", "iou", "cue"} <= set(found.table.measure)
    assert found.row("siamese", "seconds_per_pair").value > 0
    mean = found.row("siamese", "energy").value - found.row("plain-mean", "energy").value
    assert found.row("siamese", "energy", "plain-mean").value == pytest.approx(mean, abs=1e-4)  # a paired difference
    monkeypatch.setattr(league, "faithfulness", None)  # again: everything is remembered
    pd.testing.assert_frame_equal(
        run_league(model, people, config, METHODS, out=tmp_path, **SETTINGS).table, found.table
    )


@pytest.mark.filterwarnings("ignore:Exception while loading results")
def test_what_changed_is_measured_again(model, people, config, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"methods: expected one of .* got 'attention'"):
        run_league(model, people, config, ["attention"], **SETTINGS)
    with pytest.raises(ValueError, match="never trained"):
        run_league(model, people, config.replace(variant="ide"), **SETTINGS)
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


def entry(name: str, energy: float, pair: float, over: dict[str, float], passed: bool = False) -> list[dict]:
    """A method's rows; ``over``: its difference in energy to each rival."""
    measured = [
        ("localisation", "energy", energy, 0.02, {"chance": 0.3}),
        ("faithfulness", "deletion_probability", -0.1, 0.02, {}),
        ("sanity", "pair classifier", pair, 0, {"passed": passed}),
        ("sanity", "everything", 0.2, 0, {"passed": True}),
        ("sanity", "partner", 0.9, 0, {"passed": True}),
        ("speed", "seconds_per_pair", 0.0123, math.nan, {}),
        *(("localisation", "energy", value, 0.01, {"than": than}) for than, value in over.items()),
    ]
    row = {"method": name, "than": "", "chance": math.nan, "limit": math.nan, "count": 9}
    return [
        row | {"test": test, "measure": measure, "value": value, "low": value - d, "high": value + d} | more
        for test, measure, value, d, more in measured
    ]


def written(*entries: list[dict]) -> League:
    about = {"variant": "casn", "pooling": "gap", "data": "people", "device": "cpu", "threads": 1}
    about |= {"notes": ["few pairs"], "pairs": {"right": 5, "wrong": 4, "look-alike": 0}}
    return League(pd.DataFrame([row for rows in entries for row in rows]).astype({"passed": "boolean"}), about)


def test_table_by_hand():
    text = league_table(written(entry("plain-mean", 0.6, 1.0, {})))
    row = next(line for line in text.splitlines() if line.startswith("plain-mean"))
    assert row.split() == ["plain-mean", "60", "±2", "(30)", "-10.0", "±2.0", "1.00*", "0.20", "0.90", "no", "12.3"]
    assert "9 test pairs (5 right, 4 wrong, 0 look-alike)" in text


def test_findings_follow_the_numbers():
    plain, over = entry("plain-mean", 0.6, 1.0, {"siamese": -0.05}), {"plain-mean": 0.15, "siamese": 0.1}
    paper, same = (entry("siamese", 0.6 + gain, 0.97, {"plain-mean": gain}) for gain in (0.05, 0.0))
    better = entry("siamese-gradcam", 0.75, 0.1, over, True)
    equal = entry("siamese-gradcam", 0.65, 0.1, over | {"siamese": 0.0}, True)
    for entries, *parts in (
        ([plain, paper, better], "correlates 0.97", "plain mean: +5.0 points [+4.0, +6.0]", "siamese-gradcam (1 of 3"),
        ([plain, paper, better], "Better than equation 4 in both sanity and energy on the person: siamese-gradcam"),
        ([plain, entry("siamese", 0.65, 0.6, {"plain-mean": 0.05})], "depends only in part on the pair classifier"),
        ([plain, same, equal], "as much as the plain mean", "No method is better than equation 4 in both"),
        ([plain, same], "None of 2 methods"),
    ):
        said = " ".join(findings(written(*entries)))
        assert all(part in said for part in parts), said
