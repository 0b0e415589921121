"""The container of a network, a data set and what it saw; tables; two processes against one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from imitations import imitate

import casnkit as ck
from casnkit import evaluation, runs
from casnkit.data.images import load_images, normalise
from casnkit.evaluation import Evaluation, evaluate, pair_probability, table, who_is

CONFIG = ck.profile("smoke", variant="casn", height=32, width=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ck.ReidDataset:
    return ck.open_dataset(str(imitate("market1501", tmp_path_factory.mktemp("market"))))


@pytest.fixture
def model(make_model):
    return make_model(dtype=torch.float32)


def test_evaluation_is_extraction_distances_and_protocol(model, data, tmp_path):
    model.train()
    found = evaluate(model, data, CONFIG, device="cpu", progress=False)
    assert model.training
    images = [load_images(split, (32, 16), progress=False) for split in (data.query, data.gallery)]
    query, gallery = (ck.ranking.extract(model, pixels) for pixels in images)
    torch.testing.assert_close(found.gallery.feature_maps, gallery.feature_maps)
    features = ck.ranking.feature_distances(query.features, gallery.features)
    attention = ck.ranking.attention_distances(model, query, gallery).distances
    np.testing.assert_array_equal(found.distances["features"], features)
    np.testing.assert_array_equal(found.distances["attention"], attention)
    weight = CONFIG.ranking.attention_weight
    np.testing.assert_array_equal(found.distances["sum"], ck.ranking.fuse(features, attention, weight))
    assert list(found.rankings) == list(evaluation.RANKED_BY)
    sides = data.query.pids, data.query.camids, data.gallery.pids, data.gallery.camids
    expected = ck.evaluate_ranking(attention, *sides)
    assert found.rankings["attention"].mean_ap == expected.mean_ap
    assert [row["ranked by"] for row in found.rows()] == [*evaluation.RANKED_BY, "chance"]
    assert found.rows()[1]["rank_5"] == 100 * expected.rank(5)
    saved = evaluation.save_results(tmp_path, found, runs.RunInfo(CONFIG, np.array([1]), {}, {}))
    assert json.loads(saved.read_text())["rows"] == found.rows()
    plain = evaluate(model, data, CONFIG.replace(variant="ide"), device="cpu", progress=False)
    assert list(plain.distances) == ["features"]
    assert plain.gallery.feature_maps is None


def test_who_listens_hears_of_every_batch_and_can_stop_the_work(model, data, monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 5)
    expected, heard, count = Evaluation.of(model, data, CONFIG), [], len(data.query) + len(data.gallery)
    found = Evaluation.of(model, data, CONFIG, progress=lambda done, total: heard.append((done, total)))
    torch.testing.assert_close(found.gallery.features, expected.gallery.features)
    steps = [min(k, len(split)) for split in (data.query, data.gallery) for k in range(5, len(split) + 5, 5)]
    queries = -(-len(data.query) // 5)
    assert heard == [(done + len(data.query) * (k >= queries), count) for k, done in enumerate(steps)]
    with pytest.raises(ZeroDivisionError):
        Evaluation.of(model, data, CONFIG, progress=lambda done, _: 1 / (done < 10))


def test_in_little_memory_the_same_is_found(model, data, monkeypatch):
    expected = evaluate(model, data, CONFIG, device="cpu", progress=False, rerank=True)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100, total=2**40))
    monkeypatch.setattr(evaluation, "READ_AT_ONCE", 3)
    found = evaluate(model, data, CONFIG, device="cpu", progress=False, rerank=True)
    assert isinstance(found.gallery.feature_maps, ck.ranking.StreamedMaps)
    assert list(found.distances) == [*evaluation.RANKED_BY, "re-ranked features"]
    for name, matrix in found.distances.items():
        np.testing.assert_allclose(matrix, expected.distances[name], atol=1e-5)
    assert found.chance.mean_ap == expected.chance.mean_ap
    np.testing.assert_allclose(found.row_of(found.query.subset([1]), 1, "sum"), found.distances["sum"][1], atol=1e-5)


@pytest.mark.parametrize("count", [3, 99])
def test_a_shortlist_is_ranked_anew_ahead_of_all_others(model, data, count):
    whole = evaluate(model, data, CONFIG, device="cpu", progress=False)
    found = evaluate(model, data, CONFIG, device="cpu", progress=False, shortlist=count)
    assert list(found.distances) == ["features", "sum"], "no matrix of attention"
    kinds = [whole.distances[kind] for kind in evaluation.RANKED_BY[:2]]
    for row, features, attention in zip(found.distances["sum"], *kinds, strict=True):
        near, behind = np.split(np.argsort(features), [count])
        scaled = [(v[near] - v[near].min()) / np.ptp(v[near]) for v in (features, attention)]
        weight = CONFIG.ranking.attention_weight
        first = near[np.argsort((1 - weight) * scaled[0] + weight * scaled[1])]
        np.testing.assert_array_equal(np.argsort(row, kind="stable"), [*first, *behind])
    for wrong in ({"shortlist": 0}, {"shortlist": 3, "attention": False}):
        with pytest.raises(ValueError, match="expected a shortlist of 1 or more"):
            evaluate(model, data, CONFIG, device="cpu", progress=False, **wrong)


@pytest.mark.parametrize("large", [False, True])
def test_who_is_this(model, data, monkeypatch, large):
    if large:
        pytest.importorskip("faiss")
        monkeypatch.setattr(evaluation, "LARGE", 3)
    known = data.gallery.subset(data.gallery.pids != -1)
    assert len(known) < len(data.gallery), "there is junk, which is nobody"
    found = who_is(model, known.paths[[4, 1]], data, CONFIG, count=5, attention=False, progress=False)
    assert found.groupby("picture", sort=False).path.first().tolist() == known.paths[[4, 1]].tolist(), "itself first"
    assert found["rank"].tolist() == [1, 2, 3, 4, 5] * 2
    seen = Evaluation.of(model, data, CONFIG).gallery.subset(data.gallery.pids != -1)
    whole = ck.ranking.feature_distances(seen.features[[4, 1]], seen.features)
    expected = np.argsort(whole, axis=1)[:, :5]
    np.testing.assert_array_equal(found.path, known.paths[expected.ravel()])
    np.testing.assert_array_equal(found.pid, known.pids[expected.ravel()])
    np.testing.assert_allclose(found.distance, np.sort(whole, axis=1)[:, :5].ravel(), atol=1e-3)
    both = who_is(model, known.paths[[4, 1]], data, CONFIG, count=5, shortlist=5, progress=False)
    attention = ck.ranking.attention_distances(model, seen.subset([4, 1]), seen).distances
    parts = (np.take_along_axis(values, expected, 1) for values in (whole, attention))
    order = np.argsort(ck.ranking.fuse(*parts, CONFIG.ranking.attention_weight), axis=1)
    assert both.path.tolist() == known.paths[np.take_along_axis(expected, order, 1).ravel()].tolist()
    assert dict(zip(both.path, both.distance, strict=True)) == dict(zip(found.path, found.distance, strict=True))


@pytest.mark.parametrize("per", ["query", "matrix"])
def test_rows_are_those_of_the_whole(model, data, per):
    config = CONFIG.replace(ranking={"normalise_per": per, "attention_weight": 0.3})
    whole = evaluate(model, data, config, device="cpu", progress=False)
    asked = Evaluation.of(model, data, config)
    if per == "matrix":
        with pytest.raises(ValueError, match="needs all distances"):
            asked.row(1, "sum")
        asked = whole
    for kind in evaluation.RANKED_BY:
        row = asked.row_of(asked.query.subset([1]), 1, kind)
        np.testing.assert_allclose(row, whole.distances[kind][1], atol=1e-5)
        np.testing.assert_allclose(asked.row(1, kind), row, atol=1e-6)
        ranking = asked.rank(1, whole.distances[kind][1])
        assert ranking.average_precision == pytest.approx(whole.rankings[kind].average_precision[1], nan_ok=True)


def test_images_and_pair_probability(model, data):
    asked = Evaluation.of(model, data, CONFIG, keep_maps=False)
    with torch.no_grad():
        features = model.pool(model.feature_map(asked.images("gallery", [3, 0])))
    torch.testing.assert_close(features, asked.gallery.features[[3, 0]])
    pixels = load_images(data.gallery.subset([3]), (32, 16), progress=False)
    torch.testing.assert_close(asked.images("gallery", [3]), normalise(pixels))
    found = pair_probability(model, features, features.flip(0))
    wanted = model.pair_scores(features - features.flip(0)).softmax(1)[:, 1].detach()
    torch.testing.assert_close(found, wanted)


PROCESSES = """
import sys, numpy as np, torch
torch.set_num_threads(1)
from accelerate import Accelerator
import casnkit as ck
accelerator = Accelerator(cpu=True)
torch.manual_seed(0)
model = ck.CASN(3, "small", pair_hidden=16)
config = ck.profile("smoke", variant="casn", height=32, width=16)
found = ck.evaluation.evaluate(model, ck.open_dataset(sys.argv[1]), config, progress=False, accelerator=accelerator)
rows = {f"{k}": np.asarray(v) for k, v in found.distances.items()} | {"maps": found.gallery.feature_maps.numpy()}
np.savez(f"{sys.argv[2]}-{accelerator.process_index}.npz", **rows)
"""


def test_two_processes_find_what_one_finds(data, tmp_path):
    pytest.importorskip("accelerate")
    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    path = os.pathsep.join([str(Path(ck.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": path}
    for world in (1, 2):
        launch = ["-m", "torch.distributed.run", f"--nproc-per-node={world}", "--standalone"] if world > 1 else []
        command = [sys.executable, *launch, str(script), str(data.root), str(tmp_path / str(world))]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    one, *two = (np.load(tmp_path / f"{name}.npz") for name in ("1-0", "2-0", "2-1"))
    for name in one:
        for each in two:
            np.testing.assert_allclose(each[name], one[name], atol=1e-5)


def test_a_table_says_the_same_as_text_and_on_a_page():
    rows = [
        {"name": "ide & more", "rank_1": 81.04, "Δ <td>": "-", "seeds": 3},
        {"name": "<casn>" + 60 * "x", "rank_1": float("nan"), "Δ <td>": "**+1.0**", "seeds": 12},
    ]
    found = table(rows)
    assert found["rank-1"].iloc[0] == 81.04  # a data frame, with all digits
    cells = [["ide & more", "81.0", "-", "3"], ["<casn>" + 60 * "x", "-", "**+1.0**", "12"]]
    text = pd.read_fwf(StringIO(str(found)), dtype=str)
    assert (list(text), text.to_numpy().tolist()) == (["name", "rank-1", "Δ <td>", "seeds"], cells)
    cells[1][2] = "+1.0"
    page = ElementTree.fromstring(found._repr_html_())
    assert [["".join(cell.itertext()) for cell in row] for row in page.iter("tr")] == [list(text), *cells]
    assert [cell.text for cell in page.iter("b")] == ["+1.0"]
    rows = [{"a": 1.0, "b": "x", "c": 2.0}, {"a": 3.0, "c": 4.0}]
    assert str(table(rows, {"c": "mAP", "a": "mAP"})).split() == ["mAP", "mAP", "2.0", "1.0", "4.0", "3.0"]
