"""Re-ranking against the definition spelled out with sets, against torchreid's, and by what it must not change."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from slow_protocol import blocks_of, people

from casnkit.ranking import Blocks, evaluate_ranking, fuse, protocol, rerank, rerank_with_attention


def slow_rerank(query_gallery, query_query, gallery_gallery, k1=20, k2=6, lambda_value=0.3) -> np.ndarray:
    """The definition at the head of casnkit/ranking/rerank.py, one image and one pair at a time, in float64."""
    queries, gallery = query_gallery.shape
    whole = np.block([[query_query, query_gallery], [query_gallery.T, gallery_gallery]]).astype(np.float32)
    whole = whole.astype(np.float64)
    images = range(queries + gallery)
    for i in images:
        whole[i, i] = 0
    order = [sorted(images, key=lambda j, i=i: (j != i, whole[i, j], j)) for i in images]
    d = [[(whole[i, j] / (whole[i].max() or 1)) ** 2 for j in images] for i in images]

    def reciprocal(p: int, k: int) -> set[int]:
        return {g for g in order[p][: k + 1] if p in order[g][: k + 1]}

    encoded = []
    for p in images:
        base = reciprocal(p, k1)
        members = set(base)
        for q in base:
            candidates = reciprocal(q, int(np.around(k1 / 2)))
            if 3 * len(candidates & base) > 2 * len(candidates):
                members |= candidates
        total = sum(math.exp(-d[p][g]) for g in members)
        encoded.append({g: math.exp(-d[p][g]) / total for g in members})
    mean = []
    for p in images:
        near = order[p][:k2]
        mean.append({g: sum(encoded[n].get(g, 0) for n in near) / len(near) for n in near for g in encoded[n]})
    result = np.empty((queries, gallery))
    for i in range(queries):
        for j in range(gallery):
            one, other = mean[i], mean[queries + j]
            least = sum(min(one.get(g, 0), other.get(g, 0)) for g in one.keys() | other.keys())
            most = sum(max(one.get(g, 0), other.get(g, 0)) for g in one.keys() | other.keys())
            result[i, j] = (1 - lambda_value) * (1 - least / most) + lambda_value * d[i][queries + j]
    return result


SETTINGS = [(20, 6, 0.3), (5, 1, 0.0), (7, 3, 0.5), (1, 1, 0.3), (12, 60, 0.1), (100, 6, 0.3), (9, 4, 1.0)]


@pytest.mark.parametrize(("k1", "k2", "lambda_value"), SETTINGS)
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definition(seed: int, k1: int, k2: int, lambda_value: float) -> None:
    blocks = blocks_of(*people(seed))
    found = rerank(Blocks(*blocks), k1, k2, lambda_value)
    np.testing.assert_allclose(found, slow_rerank(*blocks, k1, k2, lambda_value), rtol=0, atol=1e-5)
    assert found.dtype == np.float32


def test_equals_the_definition_with_ties_twins_and_one_sided_distances() -> None:
    rng = np.random.default_rng(0)
    coarse = [np.round(block) for block in blocks_of(*people(1))]  # many equal distances, some of them zero
    one_sided = [rng.random(shape).astype(np.float32) for shape in ((7, 40), (7, 7), (40, 40))]
    for block in one_sided[1:]:
        np.fill_diagonal(block, 5)  # what an image's distance to itself is said to be does not matter
    alike = [np.zeros_like(block) for block in coarse]
    tiny = [blocks_of(*people(2, *size)) for size in ((1, 1), (3, 1), (1, 5))]
    for blocks in (coarse, one_sided, alike, *tiny):
        np.testing.assert_allclose(rerank(Blocks(*blocks), 6, 3), slow_rerank(*blocks, 6, 3), rtol=0, atol=1e-5)
    assert len(np.unique(coarse[0])) < 12


def test_arguments_are_left_alone_and_neither_scale_nor_chunks_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = blocks_of(*people(4, 9, 60))
    copies = [block.copy() for block in blocks]
    found = rerank(Blocks(*blocks), 8, 3)
    for block, copy in zip(blocks, copies, strict=True):
        np.testing.assert_array_equal(block, copy)
    np.testing.assert_allclose(rerank(Blocks(*(block * 1000 for block in blocks)), 8, 3), found, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(rerank(Blocks(*map(torch.from_numpy, blocks)), 8, 3), found)
    for size in (1, 100, 300, 1000):
        monkeypatch.setattr(protocol, "CHUNK_VALUES", size)
        np.testing.assert_array_equal(rerank(Blocks(*blocks), 8, 3), found)


def test_lambda_one_keeps_the_order_and_re_ranking_helps_where_people_are_clusters() -> None:
    rng = np.random.default_rng(6)
    centres, pids = rng.normal(size=(40, 8)), [rng.integers(0, 40, n) + 1 for n in (60, 600)]
    blocks = blocks_of(*(centres[p - 1] + 0.6 * rng.normal(size=(len(p), 8)) for p in pids))
    sides = pids[0], np.zeros(60, int), pids[1], np.ones(600, int)
    before = evaluate_ranking(blocks[0], *sides).mean_ap
    same = rerank(Blocks(*blocks), lambda_value=1.0)
    assert evaluate_ranking(same, *sides).mean_ap == pytest.approx(before, abs=1e-3)
    assert evaluate_ranking(rerank(Blocks(*blocks)), *sides).mean_ap > before + 0.02


def test_no_square_matrix_of_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = blocks_of(*people(7, 100, 3000))
    monkeypatch.setattr(protocol, "CHUNK_VALUES", 100_000)
    rerank(Blocks(*blocks))  # imports are done
    tracemalloc.start()
    rerank(Blocks(*blocks))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3100 * 3100 * 4, f"{peak / 2**20:.0f} MiB, the square alone would be {3100**2 * 4 / 2**20:.0f}"


def test_with_attention_names_what_it_did() -> None:
    features, attention = (Blocks(*blocks_of(*people(seed))) for seed in (8, 9))
    found = rerank_with_attention(features, attention, 0.3)
    np.testing.assert_array_equal(found["features"], features.query_gallery)
    np.testing.assert_array_equal(found["attention"], attention.query_gallery)
    np.testing.assert_array_equal(found["sum"], fuse(features.query_gallery, attention.query_gallery, 0.3))
    parts = [(b.query_gallery, b.query_query, b.gallery_gallery) for b in (features, attention)]
    again = slow_rerank(*parts[0])
    np.testing.assert_allclose(found["re-ranked features"], again, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["re-ranked attention"], slow_rerank(*parts[1]), rtol=0, atol=1e-5)
    largest = [max(part.max() for part in own) for own in parts]
    summed = [0.7 * one / largest[0] + 0.3 * other / largest[1] for one, other in zip(*parts, strict=True)]
    np.testing.assert_allclose(found["re-ranked sum"], slow_rerank(*summed), rtol=0, atol=2e-5)
    after = fuse(again, attention.query_gallery, 0.3)
    np.testing.assert_allclose(found["re-ranked features + attention"], after, rtol=0, atol=1e-4)
    assert len(found) == 7


GOOD = blocks_of(*people(0, 3, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Blocks(GOOD[0], GOOD[2], GOOD[1]), r"query_gallery: expected shape \(4, 3\).* found \(3, 4\)"),
        (lambda: Blocks(GOOD[0][0], *GOOD[1:]), r"query_gallery: expected shape \(3, 4\).* found \(4,\)"),
        (lambda: Blocks(GOOD[0].tolist(), *GOOD[1:]), "query_gallery: .* found list"),
        (lambda: rerank(Blocks(-GOOD[0], *GOOD[1:])), "at least 0 .* found -"),
        (lambda: rerank(Blocks(GOOD[0], GOOD[1], GOOD[2] * np.nan)), "finite distances .* found nan"),
        (lambda: rerank(Blocks(*GOOD), k1=0), "expected k1 .* at least 1, got 0"),
        (lambda: rerank(Blocks(*GOOD), lambda_value=1.1), r"expected lambda in \[0, 1\], got 1.1"),
        (lambda: rerank_with_attention(Blocks(*GOOD), Blocks(*blocks_of(*people(0, 4, 4)))), "of one shape"),
    ],
)
def test_bad_input_is_named(call: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
