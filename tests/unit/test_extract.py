"""Features and maps of all images, and exact feature distances."""

from __future__ import annotations

import shutil
import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from scipy.spatial.distance import cdist

from casnkit.data.images import normalise
from casnkit.ranking import Extracted, extract, feature_distances, pairwise, shortlist
from casnkit.ranking.protocol import new_matrix


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (7, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(make_model):
    return make_model(dtype=torch.float32)


def same(found: Extracted, expected: Extracted) -> None:
    torch.testing.assert_close(found.features, expected.features, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.feature_maps, expected.feature_maps, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_equals_one_image_at_a_time(model, pictures, batch_size):
    found = extract(model, pictures, batch_size)
    with torch.no_grad():
        maps = torch.cat([model.feature_map(normalise(pictures[i : i + 1])) for i in range(7)])
    same(found, Extracted(maps.mean((2, 3)), maps))
    same(extract(model, (normalise(part) for part in pictures.split(batch_size))), found)
    assert extract(model, pictures, keep_maps=False).feature_maps is None


def test_modes_are_restored_also_after_an_error(model, pictures):
    model.train()
    model.pair_head.eval()
    statistics = {name: b.clone() for name, b in model.named_buffers()}
    extract(model, pictures)
    for bad, message in (
        (pictures[:, :, :4], "too small"),
        (pictures[:0], "at least one image"),
        ([], "at least one image"),
        (normalise(pictures), "expected uint8 images"),
    ):
        with pytest.raises(ValueError, match=message):
            extract(model, bad)
    assert (model.trunk.training, model.pair_head.training) == (True, False)
    assert all(torch.equal(b, statistics[name]) for name, b in model.named_buffers())


def random_features(count: int, length: int, seed: int) -> torch.Tensor:
    return torch.rand(count, length, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("offset", [1e-2, 1e-4, 3e-6])
def test_feature_distances_are_scipys_also_of_near_duplicates(offset):
    query = random_features(4, 2048, 0) * 50
    gallery = query * (1 + offset * random_features(4, 2048, 1))
    found = feature_distances(query, gallery, normalise=False)
    expected = cdist(query.double(), gallery.double())
    # in float32, |a|^2 + |b|^2 - 2ab is wrong from the first digit on at the smallest offset
    np.testing.assert_allclose(found, expected, rtol=max(1e-6, 1e-8 / offset))
    assert np.diag(feature_distances(query, query)).max() < 1e-6
    a, b = (x.double() / x.double().norm(dim=1, keepdim=True) for x in (query, random_features(9, 2048, 2)))
    found = feature_distances(query, random_features(9, 2048, 2))
    np.testing.assert_allclose(found, cdist(a, b), rtol=1e-6)
    assert found.dtype == np.float32


def test_many_queries_in_blocks_and_zero_features():
    query, gallery = random_features(40, 8, 0), random_features(2**19, 8, 1)
    query[3] = 0
    whole = feature_distances(query, gallery)  # 32 queries in a block
    parts = np.concatenate([feature_distances(query[i : i + 1], gallery) for i in (3, 39)])
    np.testing.assert_allclose(whole[[3, 39]], parts, rtol=1e-5)
    np.testing.assert_allclose(whole[3], np.ones(2**19), rtol=1e-6)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_shortlist_is_the_head_of_the_whole_ranking(monkeypatch, normalise):
    pytest.importorskip("faiss")
    query, gallery = random_features(6, 32, 0) * 3, random_features(9000, 32, 1)  # more than a part
    near, distances = shortlist(query, gallery, 10, normalise)
    whole = feature_distances(query, gallery, normalise)
    np.testing.assert_array_equal(near, np.argsort(whole, axis=1)[:, :10])
    np.testing.assert_allclose(distances, np.sort(whole, axis=1)[:, :10], rtol=1e-4)
    assert shortlist(query, gallery[:3], 10)[0].shape == (6, 3)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "casnkit\[scale\]"'):
        shortlist(query, gallery, 10)


def test_a_large_matrix_is_a_file_if_the_disk_has_room(monkeypatch):
    query, gallery = random_features(3, 8, 0), random_features(5, 8, 1)
    expected = feature_distances(query, gallery)
    assert expected.base is None
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * 59))
    monkeypatch.setattr(pairwise, "chunks", lambda count, *_: [slice(k, k + 1) for k in range(count)])
    found = feature_distances(query, gallery)  # in parts of one image
    assert type(found.base) is np.memmap
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=59))
    with pytest.raises(ValueError, match=r"an array of 3 x 5 needs .* set TMPDIR"):
        new_matrix(3, 5)


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (torch.full((2, 3), float("nan")), torch.ones(2, 3), "query features: 2 of 2 images .* first is 0"),
        (torch.ones(2, 3), torch.ones(2, 4), r"gallery features: .* one length D, got .*\(2, 3\) and .*\(2, 4\)"),
        (torch.ones(3), torch.ones(2, 3), r"query features: expected floats \(N, D\)"),
        (torch.ones(2, 3), torch.ones(2, 3, dtype=torch.int64), "gallery features: expected floats"),
    ],
)
def test_features_that_do_not_fit(query, gallery, message):
    with pytest.raises(ValueError, match=message):
        feature_distances(query, gallery)
