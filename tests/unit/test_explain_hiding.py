"""Masks, fills, what a ranking becomes when one image is changed; deletion and insertion of many such changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from imitations import Shape, imitate
from scipy.spatial.distance import cdist

import casnkit as ck
from casnkit.data.files import write_text
from casnkit.data.images import load_images, normalise
from casnkit.evaluation import Evaluation, evaluate
from casnkit.explain import masks as masking
from casnkit.explain.faithfulness import AXES, faithfulness
from casnkit.explain.localisation import bootstrap
from casnkit.explain.pair import counterfactual

SIZE = 32, 16


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.rand(4, 8, 4, generator=generator())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    shape = Shape(num_train=1, num_test=5, num_cameras=3, per_camera=2, size=(16, 32))
    return ck.open_dataset(str(imitate("market1501", tmp_path_factory.mktemp("market"), shape=shape)))


@pytest.fixture
def retrieval(dataset, make_model):
    model = make_model(dtype=torch.float32)
    config = ck.profile("smoke", height=32, width=16)
    return Evaluation.of(model, dataset, config)


@pytest.mark.parametrize("share", [0.0, 0.1, 1 / 3, 1.0])
@pytest.mark.parametrize("top", [True, False])
def test_area_mask_hides_the_strongest_pixels(maps, share, top):
    mask = masking.area_mask(maps, share, SIZE, top)
    values = torch.nn.functional.interpolate(maps[:, None], SIZE, mode="bilinear")
    for one, hidden in zip(values.flatten(1), mask.flatten(1).bool(), strict=True):
        assert int(hidden.sum()) == round(share * 32 * 16)
        if 0 < hidden.sum() < len(hidden):
            inside, outside = (one[hidden], one[~hidden]) if top else (-one[hidden], -one[~hidden])
            assert inside.min() >= outside.max()


def test_rows_parts_and_rectangles_by_hand():
    one = torch.tensor([[[0, 1], [0.4, 0], [0.6, 0], [0, 0]]])
    assert masking.row_mask(one, 0.5, (8, 3))[0, 0, :, 0].tolist() == [1, 1, 0, 0, 1, 1, 0, 0]
    assert masking.row_mask(0 * one, 0.5, (8, 3)).sum() == 0
    parts = torch.tensor([[[0, 1], [2, 3]]], dtype=torch.uint8)
    assert masking.part_mask(parts, [1, 2], (2, 2)).tolist() == [[[[0, 1], [1, 0]]]]
    assert masking.part_mask(parts, 3, (4, 4))[0, 0].tolist() == [[0] * 4, [0] * 4, [0, 0, 1, 1], [0, 0, 1, 1]]
    half = masking.rectangle_mask((0.5, 0, 1, 1), (4, 2))
    assert half[0, 0].tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]
    assert torch.equal(masking.rectangle_mask((0.5, -3, 9, 2), (4, 2)), half)


def test_random_masks_keep_area_and_move(maps):
    mask = masking.area_mask(maps, 0.25, SIZE)
    found = masking.random_like(mask, generator())
    assert found.shape == mask.shape
    assert torch.equal(found.flatten(1).sort(1).values, mask.flatten(1).sort(1).values)
    assert all(not torch.equal(a, b) for a, b in zip(found, mask, strict=True))
    assert torch.equal(found, masking.random_like(mask, generator()))


@pytest.mark.parametrize("fill", masking.FILLS)
def test_fills_touch_nothing_but_what_is_hidden(make_images, fill):
    images = make_images(2)
    found = masking.apply_mask(images, masking.rectangle_mask((0.25, 0, 0.5, 1), SIZE), fill, generator())
    hidden = found[:, :, 8:16]
    assert torch.equal(found[:, :, :8], images[:, :, :8])
    assert torch.equal(found[:, :, 16:], images[:, :, 16:])
    if fill == "mean":
        assert hidden.abs().max() == 0
    elif fill == "black":
        colour = normalise(torch.zeros(3, 1, 1, dtype=torch.uint8)).to(hidden)
        torch.testing.assert_close(hidden, colour.expand_as(hidden), rtol=1e-5, atol=1e-5)
    elif fill == "noise":
        assert abs(hidden.mean()) < 0.2
        assert 0.8 < hidden.std() < 1.2
    else:
        assert hidden.std() < 0.8 * images.std()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda images: masking.apply_mask(images, torch.ones(SIZE), "grey"), "fill out of mean, black, blur, noise"),
        (lambda images: masking.apply_mask(images, torch.ones(SIZE), "noise"), "'noise' with a generator"),
        (lambda images: masking.apply_mask(images, torch.zeros(2, 1, 8, 4)), "expected a mask"),
        (lambda images: masking.apply_mask(images, 2 * torch.eye(32, 16)), "with values 0 to 2"),
        (lambda images: masking.area_mask(images[0] * float("nan"), 0.5, SIZE), "finite maps"),
        (lambda images: masking.rectangle_mask((0.5, 0, 0.5, 1), (4, 2)), "at least one pixel of 4x2"),
    ],
)
def test_masks_and_fills_that_do_not_fit(make_images, call, message):
    with pytest.raises(ValueError, match=message):
        call(make_images(2))


def seen_anew(retrieval, i: int, j: int, hidden: dict[str, np.ndarray]) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """Features, and distances of query i, with pixels (H, W) of query i or gallery image j set to zero."""
    features = {}
    with torch.no_grad():
        for side, index in (("query", i), ("gallery", j)):
            images = normalise(load_images(retrieval.split(side), SIZE, progress=False))
            if side in hidden:
                images[index][:, torch.from_numpy(hidden[side])] = 0
            features[side] = retrieval.model.feature_map(images).mean((2, 3))
    unit = {side: (f / f.norm(dim=1, keepdim=True)).double() for side, f in features.items()}
    return features, cdist(unit["query"][[i]], unit["gallery"])[0]


def slow(retrieval, i: int, j: int, hidden: dict[str, np.ndarray]) -> tuple[float, float]:
    """Probability and average precision by loops."""
    features, distances = seen_anew(retrieval, i, j, hidden)
    with torch.no_grad():
        z = retrieval.model.pair_scores(features["query"][[i]] - features["gallery"][[j]])[0]
    q, g = retrieval.dataset.query, retrieval.dataset.gallery
    kept = [k for k in range(len(g)) if g.pids[k] != -1 and (g.pids[k], g.camids[k]) != (q.pids[i], q.camids[i])]
    kept.sort(key=lambda k: distances[k])
    ranks = [rank for rank, k in enumerate(kept, 1) if g.pids[k] == q.pids[i]]
    return float(z.softmax(0)[1]), float(np.mean([hit / rank for hit, rank in enumerate(ranks, 1)]))


@pytest.mark.parametrize("where", ["query", "gallery"])
def test_counterfactual_is_the_ranking_of_the_changed_files(retrieval, where):
    i, j, upper = 2, 5, np.zeros(SIZE, dtype=bool)
    upper[:16] = True
    expected = seen_anew(retrieval, i, j, {where: upper})[1]
    state = {k: v.clone() for k, v in retrieval.model.train().state_dict().items()}
    found = counterfactual(retrieval, i, masking.rectangle_mask((0, 0, 0.5, 1), SIZE), where=where, gallery_index=j)
    assert retrieval.model.trunk.training
    assert all(torch.equal(v, state[k]) for k, v in retrieval.model.state_dict().items())
    np.testing.assert_allclose(found.distances_after, expected, atol=1e-5)
    q, g = retrieval.dataset.query, retrieval.dataset.gallery
    ignored = (g.pids == -1) | ((g.pids == q.pids[i]) & (g.camids == q.camids[i]))
    order = [k for k in np.argsort(expected, kind="stable") if not ignored[k]]
    assert found.after.kept.tolist() == order
    assert found.position[1] == (order.index(j) + 1 if j in order else 0)
    assert found.hidden == 0.5
    changed = retrieval.images(where, [i if where == "query" else j])[0]
    changed[:, :16] = 0
    torch.testing.assert_close(found.image, changed)
    if where == "gallery":  # one distance changes and no other
        assert np.flatnonzero(found.distances_after != found.distances_before).tolist() == [j]
    moves = found.moved(100)
    assert [abs(m["gain"]) for m in moves] == sorted((abs(m["gain"]) for m in moves), reverse=True)
    for move in moves:
        assert move["gain"] == move["before"] - move["after"]
        assert order[move["after"] - 1] == move["gallery"]


@pytest.mark.parametrize("ranked_by", ["features", "attention", "sum"])
@pytest.mark.parametrize("where", ["query", "gallery"])
def test_attention_and_sum_are_those_of_the_evaluation(retrieval, dataset, ranked_by, where):
    """With the matrices of an evaluation at hand: the row before is theirs, and hiding nothing changes no bit."""
    given = evaluate(retrieval.model, dataset, retrieval.config, device="cpu", progress=False, attention=True)
    options = {"where": where, "gallery_index": 6, "ranked_by": ranked_by}
    nothing = counterfactual(given, 3, torch.zeros(SIZE), **options)
    assert np.array_equal(nothing.distances_before, given.distances[ranked_by][3])
    assert np.array_equal(nothing.distances_after, nothing.distances_before)
    assert nothing.probability[0] == nothing.probability[1]
    assert not nothing.moved()
    found, wanted = (counterfactual(one, 3, torch.ones(SIZE), **options) for one in (retrieval, given))
    np.testing.assert_allclose(found.distances_before, wanted.distances_before, atol=1e-4)
    np.testing.assert_allclose(found.distances_after, wanted.distances_after, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query_index": 99}, "query_index: expected 0 .. "),
        ({"query_index": 0, "gallery_index": -1}, "gallery_index: expected 0 .. "),
        ({"query_index": 0, "where": "gallery"}, "needs gallery_index"),
        ({"query_index": 0, "where": "train"}, "where: expected one of query, gallery"),
        ({"query_index": 0, "ranked_by": "both"}, "ranked_by: expected one of features"),
        ({"query_index": 0, "mask": torch.ones(3, 3)}, "expected a mask"),
    ],
)
def test_bad_input(retrieval, arguments, message):
    with pytest.raises(ValueError, match=message):
        counterfactual(retrieval, **{"mask": torch.ones(SIZE), **arguments})


def test_a_query_without_a_match_and_an_unreadable_image(retrieval, dataset, tmp_path):
    lonely = ck.Split(dataset.query.paths[:1], [777], [1], "query")
    broken = tmp_path / "0001_c1s1_000001_00.jpg"
    write_text(broken, "no picture")
    gallery = ck.Split([broken, *dataset.gallery.paths[1:]], dataset.gallery.pids, dataset.gallery.camids, "gallery")
    changed = ck.ReidDataset("t", tmp_path, dataset.train, lonely, gallery)
    given = Evaluation(retrieval.model, changed, retrieval.config, retrieval.query.subset([0]), retrieval.gallery)
    assert counterfactual(given, 0, torch.ones(SIZE)).after.first_hit == -1
    with pytest.raises(ValueError, match=broken.name):
        counterfactual(given, 0, torch.ones(SIZE), where="gallery", gallery_index=0)


@pytest.mark.parametrize("where", ["query", "gallery", "alternate"])
def test_against_a_slow_loop(retrieval, where):
    pairs, steps = np.array([[0, 4], [3, 5], [2, 1]]), 3
    maps = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    found = faithfulness(retrieval, pairs, *maps, where=where, steps=steps)
    assert found.shares.tolist() == [0, 1 / 3, 2 / 3, 1]
    np.testing.assert_allclose(found.gain("deletion"), found.area("deletion") - found.area("random_deletion"))
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
                curves = found.curves[kind]
                values = [curves[axis][p, s] for axis in AXES]
                np.testing.assert_allclose(values, expected, atol=2e-5)


@pytest.mark.parametrize("fill", ["mean", "blur", "noise"])
def test_curves_begin_and_end_alike_for_every_map(retrieval, fill):
    """Nothing hidden is the image, everything hidden is the fill: whatever the map says."""
    pairs = np.array([[0, 4], [1, 5]])
    maps = torch.rand(2, 8, 4, generator=torch.Generator().manual_seed(1))
    found = faithfulness(retrieval, pairs, maps, maps, steps=3, fill=fill)
    for kind in ("", "random_"):
        deletion, insertion = (found.curves[f"{kind}{name}"] for name in ("deletion", "insertion"))
        for axis in AXES:
            first, second = deletion[axis], insertion[axis]
            np.testing.assert_array_equal(first[:, 0], second[:, -1])
            np.testing.assert_array_equal(first[:, -1], second[:, 0])
    np.testing.assert_array_equal(
        found.curves["deletion"]["probability"][:, 0], found.curves["random_deletion"]["probability"][:, 0]
    )
    again = faithfulness(retrieval, pairs, 4 * maps, maps, steps=3, fill=fill)  # scale changes nothing
    np.testing.assert_array_equal(
        found.curves["random_insertion"]["probability"], again.curves["random_insertion"]["probability"]
    )


def test_precision_is_of_right_pairs_alone(retrieval):
    q, g = retrieval.dataset.query, retrieval.dataset.gallery
    same, own = g.pids == q.pids[0], g.camids == q.camids[0]
    pairs = np.array([[0, np.flatnonzero(kind)[0]] for kind in (same & ~own, ~same & (g.pids > 0), same & own)])
    maps = torch.rand(3, 8, 4, generator=generator(1))
    found = faithfulness(retrieval, pairs, maps, maps, steps=2)
    assert found.right.tolist() == [True, False, False]
    assert np.isfinite(found.gain("deletion")).all()
    assert np.isfinite(found.gain("deletion", "average_precision")).tolist() == [True, False, False]
    curve = found.curves["deletion"]["average_precision"][0]
    assert found.area("deletion", "average_precision")[0] == pytest.approx((curve[0] / 2 + curve[1] + curve[2] / 2) / 2)


def test_bootstrap_leaves_out_what_is_not_defined():
    draw = np.random.default_rng(0)
    assert bootstrap(np.array([1.0, np.nan, 3.0]), draw)[::3] == (2, 2)
    nothing = bootstrap(np.array([np.nan]), draw)
    assert np.isnan(nothing[:3]).all()
    assert bootstrap(np.full(9, 0.25), draw) == (0.25, 0.25, 0.25, 9)
    wide = bootstrap(draw.normal(3, 1, 400), draw)
    assert wide.high - wide.low == pytest.approx(2 * 1.96 / 20, rel=0.1)  # as the normal distribution has it


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_maps": torch.zeros(2, 4, 2)}, "got 1 pairs, 2 and 1 maps"),
        ({"query_maps": torch.full((1, 4, 2), float("nan"))}, "finite maps"),
        ({"where": "train"}, "where: expected one of query, gallery, alternate"),
        ({"steps": 0}, "steps as a whole number of at least 1"),
        ({"fill": "grey"}, "fill out of"),
    ],
)
def test_curves_refuse_bad_input(retrieval, changes, message):
    given = {"pairs": np.array([[0, 0]]), "query_maps": torch.rand(1, 4, 2), "gallery_maps": torch.rand(1, 4, 2)}
    with pytest.raises(ValueError, match=message):
        faithfulness(retrieval, **{**given, **changes})
