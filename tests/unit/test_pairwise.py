"""All-pairs attention distances, held against one pair at a time: by the model, and by differentiating from scratch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casnkit import attention
from casnkit import ranking as engines
from casnkit import ranking as pairwise
from casnkit import ranking as tiles
from casnkit.bench import attention as bench
from casnkit.bench import rivals
from casnkit.models import CASN
from casnkit.ranking import Extracted, attention_distances, choose_engine, nearest_gallery, pair_maps, row_profiles

MODES = attention.SIAMESE_MODES
Problem = tuple[CASN, Extracted, Extracted]


def images_of(model: CASN, count: int, seed: int, size: tuple[int, int] = (12, 4)) -> Extracted:
    """Random feature maps, half of their entries zero as after a ReLU, some rows bright and some dim; and features."""
    generator = torch.Generator().manual_seed(seed)
    dtype = next(model.parameters()).dtype
    maps = torch.randn(count, model.channels, *size, generator=generator, dtype=torch.float64).clamp_min(0)
    maps = (maps * torch.rand(count, 1, size[0], 1, generator=generator, dtype=torch.float64)).to(dtype)
    with torch.no_grad():
        return Extracted(model.pool(maps), maps)


@pytest.fixture
def make_problem(make_model: Callable[..., CASN]) -> Callable[..., Problem]:
    """``make_problem(queries=5, images=7, dtype=torch.float64, **options of the model)``."""

    def make(queries: int = 5, images: int = 7, dtype: torch.dtype = torch.float64, **options: object) -> Problem:
        model = make_model(dtype=dtype, **options)
        return model, images_of(model, queries, 1), images_of(model, images, 2)

    return make


def one_by_one(problem: Problem, mode: str = "paper", order: str = "given", threshold: float = 0.5) -> np.ndarray:
    """The definition: one pair at a time through the model."""
    model, query, gallery = problem
    result = np.empty((len(query), len(gallery)))
    with torch.no_grad():
        for i in range(len(query)):
            for j in range(len(gallery)):
                given = query.feature_maps[i : i + 1], gallery.feature_maps[j : j + 1]
                maps = model.siamese_attention_of(*given, mode=mode, order=order)
                result[i, j] = attention.attention_distance(*maps, threshold)
    return result


def from_scratch(problem: Problem, threshold: float = 0.5) -> np.ndarray:
    """Equations 4 and 5, mode ``paper``, by plain autograd and loops; of ours only pooling and pair classifier."""
    model, query, gallery = problem
    result = np.empty((len(query), len(gallery)))
    for i, j in np.ndindex(*result.shape):
        leaves = [s.feature_maps[k : k + 1].clone().requires_grad_() for s, k in ((query, i), (gallery, j))]
        features = [model.pool(leaf) for leaf in leaves]
        difference = (features[0] - features[1]).detach().requires_grad_()
        alpha = (torch.autograd.grad(model.pair_scores(difference)[0, 1], difference)[0] > 0).to(difference)
        stretched = []
        for leaf, feature in zip(leaves, features, strict=True):
            (gradient,) = torch.autograd.grad((alpha * feature).sum(), leaf)
            weights, pixels = gradient.mean((2, 3))[0], leaf.detach()[0]
            rows = [max(0.0, *(float(weights @ pixels[:, y, x]) for x in range(4))) for y in range(12)]
            kept = [y for y in range(12) if rows[y] > threshold * max(rows)]
            cropped = torch.tensor([[rows[kept[0] : kept[-1] + 1]]]) / max(rows)
            stretched.append(F.interpolate(cropped, 12, mode="linear")[0, 0])
        result[i, j] = (stretched[0] - stretched[1]).norm()
    return result


@pytest.mark.parametrize("order", ["given", "both"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("act", ["relu", "leaky_relu", "none"])
@pytest.mark.parametrize("pooling", ["gap", "stripes"])
def test_equals_one_pair_at_a_time(make_problem, pooling, act, mode, order):
    problem = make_problem(pooling=pooling, pair_activation=act)
    found = attention_distances(*problem, mode, order, precision="float64")
    expected = one_by_one(problem, mode, order)
    assert found.engine == ("linear" if act == "none" and mode != "v1" else "closed_form")
    assert found.distances.dtype == np.float32
    assert found.distances.shape == (5, 7)
    np.testing.assert_allclose(found.distances, expected, rtol=1e-6, atol=1e-6)
    assert expected.std() > 0.05  # or any constant would pass


@pytest.mark.parametrize("pooling", ["gap", "stripes"])
def test_equals_equations_4_and_5_from_scratch(make_problem, pooling):
    problem = make_problem(pooling=pooling, queries=3, images=4)
    found = attention_distances(*problem, precision="float64").distances
    np.testing.assert_allclose(found, from_scratch(problem), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_float32_differs_only_where_a_gradient_is_nearly_zero(make_problem, mode):
    problem = make_problem(queries=20, images=50, dtype=torch.float32, pair_hidden=64)
    exact = attention_distances(*problem, mode, precision="float64").distances
    found = attention_distances(*problem, mode, precision="float32").distances
    assert (np.abs(found - exact) < 1e-4).mean() > 0.99
    assert np.abs(found - exact).max() < 0.2


def test_bf16_keeps_distances_to_the_third_digit(make_problem):
    problem = make_problem(queries=20, images=50, dtype=torch.float32, pair_hidden=64)
    exact = attention_distances(*problem, precision="float64").distances
    found = attention_distances(*problem, precision="bf16")
    error = np.abs(found.distances - exact)
    assert found.precision == "bf16"
    assert 0 < np.median(error) < 0.01 * exact.mean()


def test_the_mean_kept_apart_makes_flat_bf16_maps_more_exact():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(5, 512, 48, generator=generator)
    weights = (torch.rand(5, 9, 512, generator=generator) > 0.5).float()
    exact = weights.double() @ maps.double()
    sums = tiles.weighted_sums(tiles.split_mean(maps), weights.bfloat16())
    split = tiles.join_mean(sums, (12, 4)).transpose(1, 2)
    plain = (weights.bfloat16() @ maps.bfloat16()).float()

    def shape_error(found: Tensor) -> float:
        return float((found / found.amax(-1, keepdim=True) - exact / exact.amax(-1, keepdim=True)).abs().mean())

    assert shape_error(split) < 0.6 * shape_error(plain)


@pytest.mark.parametrize("chunk", [(1, 1), (2, 3), (3, 7), (64, 64)])
@pytest.mark.parametrize("tile", [(1, 1), (2, 3), (3, 7), (5, 4), (99, 99)])
def test_tiles_of_every_size(make_problem, monkeypatch, tile, chunk):
    problem = make_problem()
    expected = attention_distances(*problem, precision="float64").distances
    plan = engines.ClosedFormEngine._plan

    def planned(self: engines.ClosedFormEngine, *given: object) -> None:
        plan(self, *given)
        self.tile, self.chunk = tile, chunk

    monkeypatch.setattr(engines.ClosedFormEngine, "_plan", planned)
    np.testing.assert_array_equal(attention_distances(*problem, precision="float64").distances, expected)


@pytest.mark.parametrize("act", ["relu", "none"])
@pytest.mark.parametrize(("queries", "images"), [(1, 1), (1, 6), (6, 1)])
def test_one_query_or_one_gallery_image(make_problem, queries, images, act):
    problem = make_problem(queries, images, pair_activation=act)
    found = attention_distances(*problem, precision="float64").distances
    np.testing.assert_allclose(found, one_by_one(problem), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("act", ["relu", "none"])
def test_maps_of_two_sizes(make_problem, act):
    model, query, _ = make_problem(pair_activation=act)
    problem = model, query, images_of(model, 4, 3, (7, 5))
    found = attention_distances(*problem, precision="float64").distances
    np.testing.assert_allclose(found, one_by_one(problem), rtol=1e-6, atol=1e-6)
    turned = attention_distances(model, problem[2], query, precision="float64").distances
    assert turned.shape == (4, 5)


@pytest.mark.parametrize("threshold", [0.0, 0.9])
def test_threshold(make_problem, threshold):
    problem = make_problem(3, 4)
    found = attention_distances(*problem, threshold=threshold, precision="float64").distances
    np.testing.assert_allclose(found, one_by_one(problem, threshold=threshold), rtol=1e-6, atol=1e-6)
    assert np.abs(found - one_by_one(problem)).max() > 0.01


@pytest.mark.parametrize("act", ["relu", "none"])
@pytest.mark.parametrize("feature", ["pooled", "reduced"])
def test_shortlist_takes_its_entries_from_the_whole(make_problem, feature, act):
    problem = make_problem(feature=feature, pair_activation=act)
    whole = attention_distances(*problem, precision="float64").distances
    shortlist = np.array([[6, 0, 3], [1, 1, 1], [0, 6, 5], [2, 3, 4], [5, 4, 3]])
    found = attention_distances(*problem, precision="float64", shortlist=shortlist)
    np.testing.assert_allclose(found.distances, np.take_along_axis(whole, shortlist, 1), atol=1e-6)


def test_shortlist_longer_than_the_gallery_or_in_small_tiles(make_problem, monkeypatch):
    problem = make_problem()
    shortlist = np.random.default_rng(0).integers(0, 7, (5, 20))
    expected = np.take_along_axis(one_by_one(problem), shortlist, 1)
    monkeypatch.setitem(engines._CHUNK_BYTES, "cpu", 20_000)
    found = attention_distances(*problem, precision="float64", shortlist=torch.from_numpy(shortlist))
    assert found.tile[1] < 20
    np.testing.assert_allclose(found.distances, expected, atol=1e-6)


@pytest.mark.parametrize("bad", [[[0], [1]], [[7]] * 5, [[-1]] * 5, [[0.5]] * 5])
def test_a_wrong_shortlist(make_problem, bad):
    with pytest.raises(ValueError, match="gallery indices"):
        attention_distances(*make_problem(), shortlist=np.array(bad))


@pytest.mark.parametrize("mode", ["paper", "v1"])
def test_reduced_features_go_through_autograd_and_say_so(make_problem, mode):
    problem = make_problem(3, 2, feature="reduced", pooling="stripes")
    found = attention_distances(*problem, mode)
    assert found.engine == "autograd"
    assert found.precision == "float64"
    np.testing.assert_allclose(found.distances, one_by_one(problem, mode), rtol=1e-6, atol=1e-6)


def test_an_unknown_activation_goes_through_autograd(make_problem):
    problem = make_problem()
    problem[0].pair_head[1] = nn.Tanh()
    found = attention_distances(*problem)
    assert found.engine == "autograd"
    np.testing.assert_allclose(found.distances, one_by_one(problem), rtol=1e-6, atol=1e-6)


def test_a_deeper_head_goes_through_autograd(make_problem):
    model = make_problem()[0]
    model.pair_head.append(nn.Linear(2, 2))
    assert choose_engine(model) == "autograd"
    assert choose_engine(model, "v1") == "closed_form"


def test_modes_gradients_and_precision_are_left_as_they_were(make_problem):
    model, query, gallery = make_problem()
    model.train()
    model.trunk.eval()
    before = torch.get_float32_matmul_precision()
    attention_distances(model, query, gallery, precision="tf32")
    assert model.training
    assert model.pair_head.training
    assert not model.trunk.training
    assert torch.is_grad_enabled()
    assert torch.get_float32_matmul_precision() == before


def test_a_dropout_in_training_mode_is_off(make_problem):
    problem = make_problem(pair_dropout=0.9, feature="reduced")
    expected = one_by_one(problem)
    problem[0].train()
    np.testing.assert_allclose(attention_distances(*problem).distances, expected, atol=1e-6)


@pytest.mark.parametrize("act", ["relu", "none"])
@pytest.mark.parametrize("stop_after", [0, 1, 3])
def test_interrupted_and_resumed(make_problem, tmp_path, monkeypatch, stop_after, act):
    problem = make_problem(pair_activation=act)
    expected = attention_distances(*problem, precision="float64").distances
    kind = engines.LinearEngine if act == "none" else engines.ClosedFormEngine
    block, init = kind.block, kind.__init__
    calls = []

    def planned(self: object, *given: object) -> None:
        init(self, *given)
        self.tile = (1, 7) if act == "none" else (2, 3)

    def interrupted(self: object, *given: object) -> np.ndarray:
        calls.append(given)
        if len(calls) > stop_after:
            raise KeyboardInterrupt
        return block(self, *given)

    monkeypatch.setattr(kind, "__init__", planned)
    monkeypatch.setattr(kind, "block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attention_distances(*problem, precision="float64", resume=tmp_path / "run")
    left = np.isnan(np.load(tmp_path / "run" / "distances.npy")).sum()
    assert left == 35 - stop_after * (7 if act == "none" else 6) + (2 if stop_after == 3 and act != "none" else 0) * 2
    monkeypatch.setattr(kind, "block", block)
    monkeypatch.setattr(kind, "__init__", init)  # goes on with other tiles than before
    resumed = attention_distances(*problem, precision="float64", resume=tmp_path / "run")
    np.testing.assert_array_equal(resumed.distances, expected)
    assert resumed.pairs_computed >= left
    again = attention_distances(*problem, precision="float64", resume=tmp_path / "run")
    assert again.pairs_computed == 0
    np.testing.assert_array_equal(again.distances, expected)


@pytest.mark.parametrize("change", ["mode", "threshold", "weights", "features", "maps", "shortlist"])
def test_a_folder_of_another_run_is_refused(make_problem, tmp_path, change):
    model, query, gallery = make_problem()
    attention_distances(model, query, gallery, resume=tmp_path)
    before = np.load(tmp_path / "distances.npy")
    options = {
        "mode": {"mode": "v1"},
        "threshold": {"threshold": 0.4},
        "shortlist": {"shortlist": np.zeros((5, 7), int)},
    }
    if change == "weights":
        with torch.no_grad():
            model.pair_head[3].bias[0] += 1
    elif change == "features":
        gallery.features[3, 5] += 1
    elif change == "maps":
        gallery.feature_maps[0, 0, 0, 0] += 1
    with pytest.raises(ValueError, match="another run"):
        attention_distances(model, query, gallery, resume=tmp_path, **options.get(change, {}))
    np.testing.assert_array_equal(np.load(tmp_path / "distances.npy"), before)


@pytest.mark.parametrize("options", [{}, {"pair_activation": "none"}, {"feature": "reduced"}, {"pooling": "stripes"}])
def test_a_budget_too_small_says_the_least_that_would_do(make_problem, options):
    problem = make_problem(**options)
    with pytest.raises(ValueError, match="memory_budget: 1000 bytes are too few") as error:
        attention_distances(*problem, memory_budget=1000)
    least = int(str(error.value).split("problem, ")[1].split()[0])
    expected = attention_distances(*problem).distances
    np.testing.assert_allclose(attention_distances(*problem, memory_budget=least).distances, expected, atol=1e-5)
    with pytest.raises(ValueError, match="too few"):
        attention_distances(*problem, memory_budget=least - 1)


_MEASURE = """
import sys, torch
from casnkit.models import CASN
from casnkit.ranking.extraction import Extracted
from casnkit.ranking.pairwise import attention_distances
torch.set_num_threads(1)
model = CASN(2, "small", pair_hidden=512)
def images(count):
    maps = torch.rand(count, 128, 48, 24)
    return Extracted(maps.mean((2, 3)), maps)
def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024
query, gallery = images(24), images(64)
for budget in (2**23, 2**25):
    for precision in ("float32", "bf16"):
        few = query.subset(slice(1)), gallery.subset(slice(1))
        attention_distances(model, *few, precision=precision)  # load the libraries
        before = status("VmRSS")
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # forget the peak so far
        result = attention_distances(model, query, gallery, precision=precision, memory_budget=budget)
        print(precision, budget, status("VmHWM") - before, result.tile[0] * result.tile[1])
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_peak_memory_stays_in_the_budget():
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # freed memory goes back at once
    command = [sys.executable, "-c", _MEASURE]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    tile = {}
    for line in printed.splitlines():
        precision, budget, peak, size = line.split()
        assert int(peak) <= int(budget) + 2**21, line  # the maps of 64 images alone are 36 MiB
        tile[precision, int(budget)] = int(size)
    assert len(tile) == 4
    assert all(tile[p, 2**23] < tile[p, 2**25] for p in ("float32", "bf16"))


@pytest.mark.parametrize("side", ["query", "gallery"])
@pytest.mark.parametrize("where", ["features", "feature maps"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_name_the_image(make_problem, side, where, value):
    model, query, gallery = make_problem()
    images = query if side == "query" else gallery
    (images.features if where == "features" else images.feature_maps)[3].view(-1)[2] = value
    with pytest.raises(ValueError, match=rf"{side}: {where} of 1 of \d images .*images 3\)"):
        attention_distances(model, query, gallery)


@pytest.mark.parametrize("precision", ["float32", "bf16", "float64"])
@pytest.mark.parametrize("act", ["relu", "none"])
def test_a_zero_map_has_the_distance_of_the_other_profile(make_problem, act, precision):
    model, query, gallery = make_problem(dtype=torch.float32, pair_activation=act)
    query.feature_maps[2] = 0
    query.features[2] = 0
    gallery.feature_maps[4] = 0
    gallery.features[4] = 0
    found = attention_distances(model, query, gallery, precision=precision).distances
    assert np.isfinite(found).all()
    assert found[2, 4] == 0
    profiles = row_profiles(model, query, gallery, [(2, 0), (1, 4)])
    assert not profiles[0][0].any()
    tolerance = 0.03 if precision == "bf16" else 1e-4
    assert found[2, 0] == pytest.approx(float(profiles[1][0].norm()), rel=tolerance)
    assert found[1, 4] == pytest.approx(float(profiles[0][1].norm()), rel=tolerance)


@pytest.mark.parametrize("act", ["relu", "none"])
def test_a_collapsed_model_has_distance_zero_everywhere(make_problem, act):
    model, query, gallery = make_problem(pair_activation=act)
    query.feature_maps[:] = query.feature_maps[:1]
    query.features[:] = query.features[:1]
    gallery = Extracted(query.features[:1].expand(7, -1), query.feature_maps[:1].expand(7, -1, -1, -1))
    found = attention_distances(model, query, gallery, precision="float64").distances
    np.testing.assert_array_equal(found, np.zeros((5, 7)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "other"}, "mode: expected one of paper"),
        ({"order": "first"}, "order: expected one of given, both"),
        ({"precision": "int8"}, "precision: expected one of float32"),
        ({"threshold": 1.0}, "threshold: expected a fraction"),
    ],
)
def test_unknown_options(make_problem, options, message):
    with pytest.raises(ValueError, match=message):
        attention_distances(*make_problem(), **options)


def test_images_that_do_not_fit(make_problem):
    model, query, gallery = make_problem()
    for bad, message in (
        (Extracted(query.features), "query: attention needs feature maps"),
        (Extracted(query.features, query.feature_maps[:3]), "query: expected at least one feature map"),
        (Extracted(query.features[:0], query.feature_maps[:0]), "query: expected at least one feature map"),
        (Extracted(query.features, query.feature_maps[:, :9]), r"\(N, 128, h, w\)"),
        (Extracted(query.features[:, :9], query.feature_maps), "features of length 128"),
    ):
        with pytest.raises(ValueError, match=message):
            attention_distances(model, bad, gallery)


def test_maps_and_profiles_of_chosen_pairs(make_problem):
    model, query, gallery = make_problem()
    pairs = [(4, 0), (0, 6), (2, 2)]
    for mode, order in (("paper", "given"), ("signed", "both")):
        maps = pair_maps(model, query, gallery, pairs, mode, order, batch_size=2)
        given = (
            torch.stack([query.feature_maps[i] for i, _ in pairs]),
            torch.stack([gallery.feature_maps[j] for _, j in pairs]),
        )
        expected = model.siamese_attention_of(*given, mode=mode, order=order)
        for found, wanted in zip(maps, expected, strict=True):
            torch.testing.assert_close(found, wanted)
        profiles = row_profiles(model, query, gallery, pairs, mode, order)
        distances = attention_distances(model, query, gallery, mode, order, precision="float64").distances
        wanted = torch.tensor([distances[i, j] for i, j in pairs])
        torch.testing.assert_close((profiles[0] - profiles[1]).norm(dim=1).float(), wanted)
    raw = row_profiles(model, query, gallery, pairs, threshold=None)
    torch.testing.assert_close(raw[0].amax(1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("bad", [[0, 1], [(0, 7)], [(5, 0)], [(-1, 0)], [(0.5, 1)]])
def test_wrong_pairs(make_problem, bad):
    with pytest.raises(ValueError, match="indices"):
        pair_maps(*make_problem(), bad)


def test_nearest_gallery_against_a_full_sort():
    distances = np.random.default_rng(0).integers(0, 30, (6, 40)).astype(np.float32)
    found = nearest_gallery(distances, 12)
    np.testing.assert_array_equal(np.take_along_axis(distances, found, 1), np.sort(distances, 1)[:, :12])
    assert all(len(set(row)) == 12 for row in found)
    with pytest.raises(ValueError, match="count"):
        nearest_gallery(distances, 41)


def test_progress_bar_counts_every_pair(make_problem, capsys):
    pytest.importorskip("tqdm")
    attention_distances(*make_problem(), progress=True)
    assert "attention of pairs" in capsys.readouterr().err


def test_speed_follows_the_pairs_computed():
    result = pairwise.PairwiseResult(np.zeros((2, 3), np.float32), "linear", "float32", 2.0, 6, (1, 1))
    assert result.pairs_per_second == 3


def test_the_rivals_of_the_benchmark_compute_the_same(make_problem):
    pytest.importorskip("captum")
    problem = make_problem(2, 3)
    model, query, gallery = problem
    expected = one_by_one(problem)
    pairs = list(np.ndindex(2, 3))
    maps = (torch.stack([images.feature_maps[p[k]] for p in pairs]) for k, images in enumerate((query, gallery)))
    np.testing.assert_allclose(rivals.by_autograd(model, *maps).view(2, 3), expected, rtol=1e-9)
    for i, j in pairs:
        captum = rivals.captum_pair(model, query.feature_maps[i : i + 1], gallery.feature_maps[j : j + 1])
        assert float(captum()) == pytest.approx(expected[i, j], rel=1e-9)


def test_benchmark_reports_every_contestant(tmp_path):
    pytest.importorskip("captum")
    out = tmp_path / "bench.json"
    result = bench.run(quick=True, out=out, repeats=1, sample=(4, 6), budgets=(2**28,))
    assert json.loads(out.read_text()) == result
    names = [row["name"] for row in result["rows"]]
    assert names[:2] == ["engine, float32", "bare products, float32"]
    assert names[-2:] == ["autograd, batches of 64", "captum, pair by pair"]
    assert all(row["pairs_per_second"] > 0 for row in result["rows"])
    market = result["ladder"][-1]
    assert market["pairs"] == 3368 * 19732
    assert market["extrapolated"]
    assert market["seconds"]["engine, bf16"] * result["rows"][2]["pairs_per_second"] == pytest.approx(market["pairs"])
    text = bench.to_text(result)
    assert all(name in text for name in names)
