"""Features and maps of all images, in memory and on disk, and exact feature distances."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from casnkit import ranking as module
from casnkit.data.images import normalise
from casnkit.ranking import Extracted, extract, feature_distances


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (7, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(make_model):
    return make_model(dtype=torch.float32)


def same(found: Extracted, expected: Extracted) -> None:
    torch.testing.assert_close(found.features, expected.features, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.feature_maps, expected.feature_maps, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_equals_one_image_at_a_time(model, pictures, batch_size):
    found = extract(model, pictures, batch_size)
    with torch.no_grad():
        maps = torch.cat([model.feature_map(normalise(pictures[i : i + 1])) for i in range(7)])
        expected = Extracted(torch.stack([m.mean((1, 2)) for m in maps]), maps)
    same(found, expected)
    assert len(found) == 7
    assert found.features.dtype == torch.float32
    assert not found.feature_maps.requires_grad


def test_an_iterable_of_normalised_batches_is_the_same(model, pictures):
    batches = (normalise(pictures[i : i + 3]) for i in range(0, 7, 3))
    same(extract(model, batches), extract(model, pictures))


def test_without_maps(model, pictures, tmp_path):
    assert extract(model, pictures, keep_maps=False).feature_maps is None
    assert extract(model, pictures, keep_maps=False, cache=tmp_path).feature_maps is None


def test_stripes_keep_all_parts(make_model, pictures):
    model = make_model(dtype=torch.float32, pooling="stripes", stripes=2)
    assert extract(model, pictures).features.shape == (7, 256)


def test_modes_are_restored_also_after_an_error(model, pictures):
    model.train()
    model.pair_head.eval()
    statistics = {name: b.clone() for name, b in model.named_buffers()}
    extract(model, pictures)
    with pytest.raises(ValueError, match="too small"):
        extract(model, pictures[:, :, :4])
    assert model.trunk.training
    assert not model.pair_head.training
    assert all(torch.equal(b, statistics[name]) for name, b in model.named_buffers())


def test_a_cache_is_read_where_nothing_changed(model, pictures, tmp_path, monkeypatch):
    expected = extract(model, pictures)
    same(extract(model, pictures, 3, cache=tmp_path / "a"), expected)
    monkeypatch.setattr(module, "_forward", None)  # a second forward pass would fail
    found = extract(model, pictures, cache=tmp_path / "a")
    same(found, expected)
    found.feature_maps[0] = 0  # copy on write
    same(extract(model, pictures, cache=tmp_path / "a"), expected)


@pytest.mark.parametrize("change", ["weights", "pictures", "maps"])
def test_a_cache_of_something_else_is_renewed(model, pictures, tmp_path, change):
    extract(model, pictures, cache=tmp_path, keep_maps=change != "maps")
    if change == "weights":
        with torch.no_grad():
            next(model.trunk.parameters()).mul_(1.5)
    elif change == "pictures":
        pictures[2, 0, 0, 0] ^= 255
    same(extract(model, pictures, cache=tmp_path), extract(model, pictures))


def test_given_batches_are_computed_again(model, pictures, tmp_path):
    extract(model, [normalise(pictures)], cache=tmp_path)
    other = pictures.flip(0)
    same(extract(model, [normalise(other)], cache=tmp_path), extract(model, other))


def test_an_interrupted_cache_is_never_taken_for_a_whole_one(model, pictures, tmp_path):
    extract(model, pictures, cache=tmp_path)

    def batches():
        yield normalise(pictures[:3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(model, batches(), cache=tmp_path)
    assert not (tmp_path / "complete.json").exists()
    assert not list(tmp_path.glob(".*part*"))
    same(extract(model, pictures, cache=tmp_path), extract(model, pictures))
    assert json.loads((tmp_path / "complete.json").read_text())["shapes"]["features"] == [7, 128]


@pytest.mark.parametrize("bad", [torch.zeros(0, 3, 32, 16, dtype=torch.uint8), []])
def test_no_image(model, bad):
    with pytest.raises(ValueError, match="at least one image"):
        extract(model, bad)


def test_a_float_tensor_is_no_set_of_images(model, pictures):
    with pytest.raises(ValueError, match="expected uint8 images"):
        extract(model, normalise(pictures))


def random_features(count: int, length: int, seed: int) -> torch.Tensor:
    return torch.rand(count, length, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalised", [True, False])
def test_feature_distances_against_scipy(normalised):
    query, gallery = random_features(5, 300, 0), random_features(9, 300, 1)
    found = feature_distances(query, gallery, normalised)
    a, b = query.double().numpy(), gallery.double().numpy()
    if normalised:
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    np.testing.assert_allclose(found, cdist(a, b), rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("offset", [1e-2, 1e-4, 3e-6])
def test_near_duplicates_keep_their_distance(offset):
    query = random_features(4, 2048, 0) * 50
    gallery = query * (1 + offset * random_features(4, 2048, 1))
    found = feature_distances(query, gallery, normalise=False)
    expected = cdist(query.double(), gallery.double())
    # in float32, |a|^2 + |b|^2 - 2ab is wrong from the first digit on at the smallest offset
    np.testing.assert_allclose(np.diag(found), np.diag(expected), rtol=max(1e-6, 1e-8 / offset))


def test_an_image_is_at_no_distance_from_itself():
    features = random_features(6, 2048, 0)
    assert np.diag(feature_distances(features, features)).max() < 1e-6


def test_many_queries_in_blocks(monkeypatch):
    query, gallery = random_features(40, 8, 0), random_features(2**20, 8, 1)[:1000]
    whole = feature_distances(query, gallery)
    parts = np.concatenate([feature_distances(query[i : i + 1], gallery) for i in range(40)])
    np.testing.assert_allclose(whole, parts, rtol=1e-6)


def test_stripes_are_normalised_each_by_itself():
    query, gallery = random_features(3, 12, 0), random_features(4, 12, 1)
    query[:, :6] *= 100
    found = feature_distances(query, gallery, stripes=2)
    halves = [feature_distances(query[:, s], gallery[:, s]) for s in (slice(6), slice(6, None))]
    np.testing.assert_allclose(found**2, (halves[0] ** 2 + halves[1] ** 2) / 2, rtol=1e-5)
    with pytest.raises(ValueError, match="divides the feature length 12"):
        feature_distances(query, gallery, stripes=5)


def test_zero_features_stay_finite():
    found = feature_distances(torch.zeros(2, 4), random_features(3, 4, 0))
    np.testing.assert_allclose(found, np.ones((2, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (torch.full((2, 3), float("nan")), torch.ones(2, 3), "query features: 2 of 2 images"),
        (torch.ones(2, 3), torch.ones(2, 4), "features of one length, got 3"),
        (torch.ones(3), torch.ones(2, 3), r"query features: expected floats \(N, D\)"),
        (torch.ones(2, 3), torch.ones(2, 3, dtype=torch.int64), "gallery features: expected floats"),
    ],
)
def test_features_that_do_not_fit(query, gallery, message):
    with pytest.raises(ValueError, match=message):
        feature_distances(query, gallery)
