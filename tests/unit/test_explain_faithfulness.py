"""Deletion and insertion: known curves of a linear network, a slow loop, invariances, and the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import casnkit as ck
from casnkit.data.images import load_images, normalise
from casnkit.data.imitate import Shape, imitate
from casnkit.explain.faithfulness import AXES, Curves, faithfulness
from casnkit.explain.league import bootstrap
from casnkit.explain.masks import random_like
from casnkit.explain.pair import Retrieval
from casnkit.ranking import Extracted

SIZE = 32, 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    shape = Shape(num_train=1, num_test=4, num_cameras=3, per_camera=2, size=(16, 32))
    return ck.open_dataset(str(imitate("market1501", tmp_path_factory.mktemp("market"), shape=shape)))


@pytest.fixture
def config():
    return ck.profile("smoke", height=32, width=16)


class Sum(nn.Module):
    """A network whose every step is known: f = mean brightness above black, z = (0, f_1 - f_2)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def feature_map(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(1, keepdim=True) * self.weight

    def pool(self, feature_map: torch.Tensor) -> torch.Tensor:
        return feature_map.mean((2, 3))

    def pair_scores(self, difference: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(difference), difference], 1)


class Given(Retrieval):
    """A retrieval over images that are given, not read."""

    def images(self, side, index):
        return self.distances[f"{side}_images"][torch.as_tensor(index)]


def linear(dataset, config, generator) -> Given:
    model, seen, images = Sum(), {}, {}
    for side in ("query", "gallery"):
        pixels = torch.rand(len(getattr(dataset, side)), 1, *SIZE, generator=generator).expand(-1, 3, -1, -1)
        images[f"{side}_images"] = pixels
        seen[side] = Extracted(model.pool(model.feature_map(pixels)).detach())
    config = config.replace(normalise_features=False)
    return Given(model, dataset, config, seen["query"], seen["gallery"], images)


def test_a_linear_network_by_hand(dataset, config):
    """With brightness as the score and as the map, the sum of what is hidden is a sum of sorted pixels."""
    retrieval = linear(dataset, config, torch.Generator().manual_seed(0))
    pairs, steps = np.array([[0, 3], [1, 0], [2, 7]]), 4
    images = retrieval.images("query", pairs[:, 0])[:, 0]
    found = faithfulness(retrieval, pairs, images, torch.zeros(3, 2, 2), steps=steps)
    for p, (_, j) in enumerate(pairs):
        ordered = images[p].flatten().sort(descending=True).values.double()
        other = float(retrieval.gallery.features[j])
        for s in range(steps + 1):
            count = 512 * s // steps
            left, shown = float(ordered[count:].sum()) / 512, float(ordered[:count].sum()) / 512
            for curves, feature in ((found.deletion, left), (found.insertion, shown)):
                assert curves.probability[p, s] == pytest.approx(1 / (1 + np.exp(other - feature)), abs=1e-5)
    assert found.deletion.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    # no order of pixels takes more away early, or gives more: the map of this network beats every random one
    assert (found.gain("deletion") < 0).all()
    assert (found.gain("insertion") > 0).all()
    worst = faithfulness(retrieval, pairs, -images, torch.zeros(3, 2, 2), steps=steps)
    assert (worst.gain("deletion") > 0).all()
    assert (worst.gain("insertion") < 0).all()


def test_the_gallery_side_lowers_the_other_way(dataset, config):
    """z_1 = f_q - f_g falls with the query's brightness and rises as the gallery's is hidden."""
    retrieval = linear(dataset, config, torch.Generator().manual_seed(0))
    pairs = np.array([[0, 3], [1, 0]])
    images = retrieval.images("gallery", pairs[:, 1])[:, 0]
    found = faithfulness(retrieval, pairs, torch.zeros(2, 2, 2), images, where="gallery", steps=4)
    assert (np.diff(found.deletion.probability, axis=1) > 0).all()
    assert (np.diff(found.insertion.probability, axis=1) < 0).all()


@pytest.fixture
def retrieval(dataset, config, make_model):
    return Retrieval.of(make_model(dtype=torch.float32), dataset, config, keep_maps=False)


def slow(retrieval, i: int, j: int, hidden: dict[str, np.ndarray]) -> tuple[float, float, float]:
    """Probability, reciprocal rank and average precision with pixels (H, W) of either image set to zero, by loops."""
    features = {}
    with torch.no_grad():
        for side, index in (("query", i), ("gallery", j)):
            images = normalise(load_images(retrieval.split(side), SIZE, progress=False))
            if side in hidden:
                images[index][:, torch.from_numpy(hidden[side])] = 0
            features[side] = retrieval.model.feature_map(images).mean((2, 3))
        z = retrieval.model.pair_scores(features["query"][[i]] - features["gallery"][[j]])[0]
    unit = {s: (f / f.norm(dim=1, keepdim=True)).double() for s, f in features.items()}
    distances = [float((unit["query"][i] - f).norm()) for f in unit["gallery"]]
    q, g = retrieval.dataset.query, retrieval.dataset.gallery
    kept = [k for k in range(len(g)) if g.pids[k] != -1 and (g.pids[k], g.camids[k]) != (q.pids[i], q.camids[i])]
    kept.sort(key=lambda k: distances[k])
    hits, precisions = 0, []
    for rank, k in enumerate(kept, 1):
        if g.pids[k] == q.pids[i]:
            hits += 1
            precisions.append(hits / rank)
    rank = 1 / (kept.index(j) + 1) if j in kept else np.nan
    return float(z.softmax(0)[1]), rank, float(np.mean(precisions))


@pytest.mark.parametrize("where", ["query", "gallery", "alternate"])
def test_against_a_slow_loop(retrieval, where):
    pairs, steps = np.array([[0, 4], [3, 5], [2, 1]]), 3
    maps = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    found = faithfulness(retrieval, pairs, *maps, where=where, steps=steps, batch_size=8)
    for p, (i, j) in enumerate(pairs):
        for s in range(steps + 1):
            for kind in ("deletion", "insertion"):
                hidden = {}
                for side, values in zip(("query", "gallery"), maps, strict=True):
                    order = values[p].flatten().argsort(descending=True).numpy()
                    one = np.zeros(512, dtype=bool)
                    count = round(512 * s / steps)
                    one[order[:count] if kind == "deletion" else order[count:]] = True
                    if side == (("query", "gallery")[p % 2] if where == "alternate" else where):
                        hidden[side] = one.reshape(SIZE)
                expected = slow(retrieval, i, j, hidden)
                curves = getattr(found, kind)
                values = [getattr(curves, axis)[p, s] for axis in AXES]
                np.testing.assert_allclose(values, expected, atol=2e-5)


def test_scale_offset_and_batches_change_nothing(retrieval):
    pairs = np.array([[0, 4], [1, 5], [2, 1]])
    maps = torch.rand(3, 8, 4, generator=torch.Generator().manual_seed(1))
    found = faithfulness(retrieval, pairs, maps, maps, steps=3)
    other = faithfulness(retrieval, pairs, 3 * maps - 2, maps, steps=3, batch_size=1)
    np.testing.assert_allclose(found.deletion.probability, other.deletion.probability, atol=1e-5)
    np.testing.assert_allclose(found.insertion.probability, other.insertion.probability, atol=1e-5)


@pytest.mark.parametrize("fill", ["mean", "blur", "noise"])
def test_curves_begin_and_end_alike_for_every_map(retrieval, fill):
    """Nothing hidden is the image, everything hidden is the fill: whatever the map says."""
    pairs = np.array([[0, 4], [1, 5]])
    maps = torch.rand(2, 8, 4, generator=torch.Generator().manual_seed(1))
    found = faithfulness(retrieval, pairs, maps, maps, steps=3, fill=fill)
    for deletion, insertion in (
        (found.deletion, found.insertion),
        (found.random_deletion, found.random_insertion),
    ):
        for axis in AXES:
            first, second = getattr(deletion, axis), getattr(insertion, axis)
            np.testing.assert_array_equal(first[:, 0], second[:, -1])
            np.testing.assert_array_equal(first[:, -1], second[:, 0])
    np.testing.assert_array_equal(found.deletion.probability[:, 0], found.random_deletion.probability[:, 0])
    again = faithfulness(retrieval, pairs, maps, maps, steps=3, fill=fill)
    np.testing.assert_array_equal(found.random_insertion.probability, again.random_insertion.probability)


def test_random_maps_are_no_better_than_random_masks(retrieval):
    """Over many pairs the difference of a map that knows nothing includes zero, for the network as for the brightness."""
    rng = np.random.default_rng(0)
    pairs = np.stack([rng.integers(len(retrieval.query), size=60), rng.integers(len(retrieval.gallery), size=60)], 1)
    maps = torch.rand(60, 8, 4, generator=torch.Generator().manual_seed(2))
    maps = random_like(maps, torch.Generator().manual_seed(3), "smooth")
    found = faithfulness(retrieval, pairs, maps, maps, steps=4)
    for kind in ("deletion", "insertion"):
        interval = bootstrap(found.gain(kind), rng, level=0.999)
        assert interval.low < 0 < interval.high


def test_rows_use_right_pairs_for_rank_and_precision(retrieval):
    q, g = retrieval.dataset.query, retrieval.dataset.gallery
    match = np.flatnonzero((g.pids == q.pids[0]) & (g.camids != q.camids[0]))[0]
    wrong = np.flatnonzero((g.pids != q.pids[0]) & (g.pids > 0))[0]
    own = np.flatnonzero((g.pids == q.pids[0]) & (g.camids == q.camids[0]))[0]
    pairs = np.array([[0, match], [0, wrong], [0, own]])
    maps = torch.rand(3, 8, 4, generator=torch.Generator().manual_seed(1))
    found = faithfulness(retrieval, pairs, maps, maps, steps=2)
    assert found.right.tolist() == [True, False, False]
    assert np.isnan(found.deletion.reciprocal_rank[2]).all()  # same person and camera: the protocol gives it no rank
    rows = {(r["curve"], r["axis"]): r for r in found.rows(np.random.default_rng(0))}
    assert len(rows) == 6
    assert rows["deletion", "probability"]["pairs"] == 3
    assert rows["deletion", "reciprocal_rank"]["pairs"] == 1
    expected = found.deletion.auc("reciprocal_rank")[0] - found.random_deletion.auc("reciprocal_rank")[0]
    assert rows["deletion", "reciprocal_rank"]["difference"] == pytest.approx(expected)
    only_wrong = faithfulness(retrieval, pairs[1:2], maps[1:2], maps[1:2], steps=2)
    assert {r["axis"] for r in only_wrong.rows(np.random.default_rng(0))} == {"probability"}


def test_area_by_hand():
    flat = np.array([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0], [np.nan] * 3])
    curves = Curves(np.array([0, 0.5, 1]), flat, flat, flat)
    np.testing.assert_allclose(curves.auc(), [0.5, 1.0, np.nan])
    with pytest.raises(ValueError, match="axis: expected one of probability"):
        curves.auc("rank")


def test_bootstrap_covers_as_often_as_it_says():
    """95 % intervals of the mean of 50 normal values hold the true mean in nine to ten of ten draws."""
    rng = np.random.default_rng(0)
    intervals = [bootstrap(rng.normal(3, 1, 50), rng, 400) for _ in range(300)]
    held = np.mean([i.low <= 3 <= i.high for i in intervals])
    assert 0.9 < held < 0.98
    width = np.mean([i.high - i.low for i in intervals])
    assert width == pytest.approx(2 * 1.96 / 50**0.5, rel=0.05)


def test_bootstrap_leaves_out_what_is_not_defined():
    found = bootstrap(np.array([1.0, np.nan, 3.0]), np.random.default_rng(0))
    assert (found.mean, found.count) == (2, 2)
    nothing = bootstrap(np.array([np.nan]), np.random.default_rng(0))
    assert nothing.count == 0
    assert np.isnan(nothing.mean)
    assert bootstrap(np.full(9, 0.25), np.random.default_rng(0)) == (0.25, 0.25, 0.25, 9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": np.array([[0, 999]])}, "expected indices below"),
        ({"pairs": np.zeros((0, 2), int)}, r"expected pairs \(P, 2\)"),
        ({"query_maps": torch.zeros(2, 4, 2)}, r"query_maps: expected \(1, h, w\)"),
        ({"query_maps": torch.full((1, 4, 2), float("nan"))}, "finite maps"),
        ({"where": "train"}, "where: expected one of query, gallery, alternate"),
        ({"steps": 0}, "steps: expected 1 or more"),
        ({"fill": "grey"}, "fill out of"),
        ({"random": "uniform"}, "kind of random mask"),
    ],
)
def test_bad_input(retrieval, changes, message):
    given = {"pairs": np.array([[0, 0]]), "query_maps": torch.rand(1, 4, 2), "gallery_maps": torch.rand(1, 4, 2)}
    with pytest.raises(ValueError, match=message):
        faithfulness(retrieval, **{**given, **changes})
