"""Masks, fills, and what a ranking becomes when one image is changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

import casnkit as ck
from casnkit.data.files import write_text
from casnkit.data.images import load_images, normalise
from casnkit.data.imitate import Shape, imitate
from casnkit.explain import masks as masking
from casnkit.explain.pair import Retrieval, counterfactual

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
    return Retrieval.of(model, dataset, config)


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


def test_equal_pixels_are_hidden_in_drawn_order():
    flat = torch.zeros(2, 4, 2)
    in_order = masking.area_mask(flat, 0.5, SIZE)
    assert in_order[:, :, :16].min() == 1  # reading order: the upper half
    drawn = masking.area_mask(flat, 0.5, SIZE, generator=generator())
    assert not torch.equal(drawn, in_order)
    assert drawn.sum((1, 2, 3)).tolist() == [256, 256]
    assert torch.equal(drawn, masking.area_mask(flat, 0.5, SIZE, generator=generator()))
    distinct = torch.arange(8.0).view(1, 4, 2)  # nothing is equal, so nothing is drawn
    whole = masking.pixel_ranks(distinct, (4, 2), generator())
    assert whole.tolist() == [[[7, 6], [5, 4], [3, 2], [1, 0]]]


def test_attended_rows_by_hand():
    one = torch.zeros(1, 4, 2)
    one[0, 0, 1], one[0, 2, 0], one[0, 1, 0] = 1.0, 0.6, 0.4
    rows = masking.row_mask(one, 0.5, (8, 3))[0, 0, :, 0].tolist()
    assert rows == [1, 1, 0, 0, 1, 1, 0, 0]
    span = masking.row_mask(one, 0.5, (8, 3), span=True)[0, 0, :, 0].tolist()
    assert span == [1, 1, 1, 1, 1, 1, 0, 0]
    assert masking.row_mask(torch.zeros(1, 4, 2), 0.5, (8, 3), span=True).sum() == 0


def test_parts_and_rectangles_by_hand():
    parts = torch.tensor([[[0, 1], [2, 3]]], dtype=torch.uint8)
    assert masking.part_mask(parts, [1, 2]).tolist() == [[[[0, 1], [1, 0]]]]
    assert masking.part_mask(parts, 3, (4, 4))[0, 0].tolist() == [[0] * 4, [0] * 4, [0, 0, 1, 1], [0, 0, 1, 1]]
    half = masking.rectangle_mask((0.5, 0, 1, 1), (4, 2))
    assert half[0, 0].tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]
    assert torch.equal(masking.rectangle_mask((2, -3, 99, 2), (4, 2), "pixel"), half)
    with pytest.raises(ValueError, match="at least one pixel of 4x2"):
        masking.rectangle_mask((0.5, 0, 0.5, 1), (4, 2))
    with pytest.raises(ValueError, match="whole numbers"):
        masking.part_mask(parts.float(), 1)


@pytest.mark.parametrize("kind", masking.RANDOM_KINDS)
def test_random_masks_keep_area_and_move(maps, kind):
    mask = masking.area_mask(maps, 0.25, SIZE)
    found = masking.random_like(mask, generator(), kind)
    assert found.shape == mask.shape
    assert torch.equal(found.flatten(1).sort(1).values, mask.flatten(1).sort(1).values)
    assert all(not torch.equal(a, b) for a, b in zip(found, mask, strict=True))
    assert torch.equal(found, masking.random_like(mask, generator(), kind))
    soft = ck.attention.image_mask(maps, SIZE)
    assert torch.equal(
        masking.random_like(soft, generator(), kind).flatten(1).sort(1).values, soft.flatten(1).sort(1)[0]
    )


def test_smooth_masks_are_blobs_not_dust():
    mask = masking.area_mask(torch.zeros(1, 4, 2), 0.5, (64, 32), generator=generator())
    edges = [int((m.diff(dim=-1).abs() + 0).sum()) for m in (mask, masking.random_like(mask, generator(), "smooth"))]
    assert edges[1] < edges[0] / 4


@pytest.mark.parametrize("fill", masking.FILLS)
@pytest.mark.parametrize("keep", [True, False])
def test_fills_touch_nothing_but_what_is_hidden(make_images, fill, keep):
    images = make_images(2)
    mask = masking.rectangle_mask((0.25, 0, 0.5, 1), SIZE)
    found = masking.apply_mask(images, mask, fill, generator(), keep)
    inside = found[:, :, 8:16]
    outside = torch.cat([found[:, :, :8], found[:, :, 16:]], 2)
    kept, hidden = (inside, outside) if keep else (outside, inside)
    original = images[:, :, 8:16], torch.cat([images[:, :, :8], images[:, :, 16:]], 2)
    assert torch.equal(kept, original[0] if keep else original[1])
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


def test_masks_and_fills_that_do_not_fit(make_images):
    images = make_images(2)
    with pytest.raises(ValueError, match="fill out of mean, black, blur, noise"):
        masking.fill_values(images, "grey")
    with pytest.raises(ValueError, match="needs a generator"):
        masking.fill_values(images, "noise")
    with pytest.raises(ValueError, match=r"bring a map to the image's size"):
        masking.apply_mask(images, torch.zeros(2, 1, 8, 4))
    with pytest.raises(ValueError, match=r"mask values in \[0, 1\], got 0 to 2"):
        masking.apply_mask(images, torch.tensor([0.0, 2.0]).repeat(32, 8))
    with pytest.raises(ValueError, match="finite maps"):
        masking.area_mask(torch.full((1, 2, 2), float("nan")), 0.5, SIZE)


def by_hand(retrieval, where: str, index: int, i: int) -> np.ndarray:
    """Distances of query i after the upper half of one image is the mean, everything seen anew."""
    features = {}
    for side in ("query", "gallery"):
        images = normalise(load_images(retrieval.split(side), SIZE, progress=False))
        if side == where:
            images[index, :, :16] = 0
        with torch.no_grad():
            features[side] = retrieval.model.feature_map(images).mean((2, 3)).double().numpy()
    unit = {side: f / np.linalg.norm(f, axis=1, keepdims=True) for side, f in features.items()}
    return cdist(unit["query"][[i]], unit["gallery"])[0]


@pytest.mark.parametrize("where", ["query", "gallery"])
def test_counterfactual_is_the_ranking_of_the_changed_files(retrieval, where):
    i, j = 2, 5
    mask = masking.rectangle_mask((0, 0, 0.5, 1), SIZE)
    found = counterfactual(retrieval, i, mask, where=where, gallery_index=j)
    expected = by_hand(retrieval, where, i if where == "query" else j, i)
    np.testing.assert_allclose(found.distances_after, expected, atol=1e-5)
    q, g = retrieval.dataset.query, retrieval.dataset.gallery
    ignored = (g.pids == -1) | ((g.pids == q.pids[i]) & (g.camids == q.camids[i]))
    order = [k for k in np.argsort(expected, kind="stable") if not ignored[k]]
    assert found.after.kept.tolist() == order
    assert found.position[1] == (order.index(j) + 1 if j in order else 0)
    matches = np.flatnonzero((g.pids == q.pids[i]) & ~ignored)
    assert found.changes.after.tolist() == [order.index(k) + 1 for k in matches]
    assert set(found.changes.query.tolist()) == {i}
    assert found.hidden == 0.5
    changed = retrieval.images(where, [i if where == "query" else j])[0]
    changed[:, :16] = 0
    torch.testing.assert_close(found.image, changed)
    untouched = np.delete(np.arange(len(g)), j)
    if where == "gallery":  # one distance changes and no other
        assert np.array_equal(found.distances_after[untouched], found.distances_before[untouched])
        assert found.distance[0] != found.distance[1]


def test_probability_is_the_pair_classifiers(retrieval):
    mask = masking.rectangle_mask((0, 0, 0.5, 1), SIZE)
    found = counterfactual(retrieval, 1, mask, gallery_index=4)
    image, other = retrieval.images("query", [1]), retrieval.images("gallery", [4])
    with torch.no_grad():
        for picture, probability in zip((image, found.image[None]), found.probability, strict=True):
            f = retrieval.model.pool(retrieval.model.feature_map(torch.cat([picture, other])))
            z = retrieval.model.pair_scores(f[:1] - f[1:])[0]
            assert float(1 / (1 + torch.exp(z[0] - z[1]))) == pytest.approx(probability, abs=1e-5)
    assert found.probability[0] != found.probability[1]


@pytest.mark.parametrize("ranked_by", ["features", "attention", "sum"])
@pytest.mark.parametrize("where", ["query", "gallery"])
def test_attention_and_sum_are_those_of_the_evaluation(retrieval, dataset, ranked_by, where):
    """With the matrices of an evaluation at hand: the row before is theirs, and hiding nothing changes no bit."""
    evaluation = ck.evaluation.evaluate(
        retrieval.model, dataset, retrieval.config, device="cpu", progress=False, attention=True
    )
    given = Retrieval.of(retrieval.model, dataset, retrieval.config, evaluation)
    nothing = counterfactual(given, 3, torch.zeros(SIZE), where=where, gallery_index=6, ranked_by=ranked_by)
    assert np.array_equal(nothing.distances_before, evaluation.distances[ranked_by][3])
    assert np.array_equal(nothing.distances_after, nothing.distances_before)
    assert nothing.probability[0] == nothing.probability[1]
    assert not nothing.moved()
    found = counterfactual(retrieval, 3, torch.ones(SIZE), where=where, gallery_index=6, ranked_by=ranked_by)
    np.testing.assert_allclose(found.distances_before, nothing.distances_before, atol=1e-4)
    given = counterfactual(given, 3, torch.ones(SIZE), where=where, gallery_index=6, ranked_by=ranked_by)
    np.testing.assert_allclose(found.distances_after, given.distances_after, atol=1e-4)


def test_sum_normalised_over_the_matrix_changes_one_row_of_it(retrieval, dataset):
    config = retrieval.config.replace(normalise_per="matrix")
    evaluation = ck.evaluation.evaluate(retrieval.model, dataset, config, device="cpu", progress=False, attention=True)
    given = Retrieval.of(retrieval.model, dataset, config, evaluation)
    found = counterfactual(given, 2, torch.ones(SIZE), where="gallery", gallery_index=1, ranked_by="sum")
    parts = [np.array(evaluation.distances[kind], dtype=np.float64) for kind in ("features", "attention")]
    for kind, matrix in zip(("features", "attention"), parts, strict=True):
        one = counterfactual(given, 2, torch.ones(SIZE), where="gallery", gallery_index=1, ranked_by=kind)
        matrix[2, 1] = one.distance[1]
    scaled = [(m - m.min()) / (m.max() - m.min()) for m in parts]
    weight = config.ranking.attention_weight
    np.testing.assert_allclose(found.distances_after, (1 - weight) * scaled[0][2] + weight * scaled[1][2], atol=1e-5)
    with pytest.raises(ValueError, match="needs all distances"):
        counterfactual(Retrieval.of(retrieval.model, dataset, config), 2, torch.ones(SIZE), ranked_by="sum")


def test_moved_lists_the_largest_moves_first(retrieval):
    found = counterfactual(retrieval, 0, masking.rectangle_mask((0, 0, 0.7, 1), SIZE), fill="black")
    moves = found.moved(100)
    assert moves
    assert [abs(m["gain"]) for m in moves] == sorted((abs(m["gain"]) for m in moves), reverse=True)
    for move in moves:
        assert move["gain"] == move["before"] - move["after"]
        assert found.after.kept[move["after"] - 1] == move["gallery"]
    assert found.gallery_index == found.before.kept[0]  # nobody named: the first of the ranking


def test_nothing_of_the_model_changes(retrieval):
    retrieval.model.train()
    state = {k: v.clone() for k, v in retrieval.model.state_dict().items()}
    counterfactual(retrieval, 0, torch.ones(SIZE), fill="noise", generator=generator())
    assert retrieval.model.trunk.training
    assert retrieval.model.pair_head.training
    assert all(torch.equal(v, state[k]) for k, v in retrieval.model.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query_index": 99}, "query_index: expected 0 .. "),
        ({"query_index": 0, "gallery_index": -1}, "gallery_index: expected 0 .. "),
        ({"query_index": 0, "where": "gallery"}, "needs gallery_index"),
        ({"query_index": 0, "where": "train"}, "where: expected one of query, gallery"),
        ({"query_index": 0, "ranked_by": "both"}, "ranked_by: expected one of"),
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
    given = Retrieval(retrieval.model, changed, retrieval.config, retrieval.query.subset([0]), retrieval.gallery)
    assert counterfactual(given, 0, torch.ones(SIZE)).changes is None
    with pytest.raises(ValueError, match=broken.name):
        counterfactual(given, 0, torch.ones(SIZE), where="gallery", gallery_index=0)
