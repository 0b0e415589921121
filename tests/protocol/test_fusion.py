"""Normalisation and fusion against a slow loop over rows, for NumPy and torch."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch

from casnkit.ranking import WEIGHTS, choose_weight, evaluate_ranking, fuse, normalise_distances

ARRAYS = [np.asarray, torch.from_numpy]
ARRAY_NAMES = ["numpy", "torch"]
GOOD = np.array([[1.0, 2.0]])


def slow_row(values: list[float], kind: str) -> list[float]:
    low, high = min(values), max(values)
    if low == high:
        return [0.0] * len(values)
    if kind == "minmax":
        return [(value - low) / (high - low) for value in values]
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)
    return [(value - mean) / deviation for value in values]


def slow(distances: np.ndarray, kind: str, per: str) -> np.ndarray:
    if per == "matrix":
        return np.array(slow_row(distances.ravel().tolist(), kind)).reshape(distances.shape)
    return np.array([slow_row(row, kind) for row in distances.tolist()])


@pytest.mark.parametrize("array", ARRAYS, ids=ARRAY_NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("per", ["query", "matrix"])
@pytest.mark.parametrize("kind", ["minmax", "zscore"])
def test_equals_the_slow_loop(kind: str, per: str, dtype: type, array: type) -> None:
    distances = (np.random.default_rng(0).random((5, 40)) * [[1], [100], [3], [7], [2]] + 5).astype(dtype)
    distances[2] = 0.1  # a constant row
    copy = distances.copy()
    found = normalise_distances(array(distances), kind, per)
    tolerance = 1e-12 if dtype is np.float64 else 2e-5
    np.testing.assert_allclose(np.asarray(found), slow(distances.astype(np.float64), kind, per), rtol=0, atol=tolerance)
    assert isinstance(found, type(array(distances)))
    assert found.dtype == array(distances).dtype
    np.testing.assert_array_equal(distances, copy)


@pytest.mark.parametrize("array", ARRAYS, ids=ARRAY_NAMES)
@pytest.mark.parametrize("kind", ["minmax", "zscore"])
@pytest.mark.parametrize("per", ["query", "matrix"])
def test_constant_distances_become_zeros(array: type, kind: str, per: str) -> None:
    for shape in [(3, 1), (1, 1), (2, 1000), (0, 4), (4, 0)]:
        found = np.asarray(normalise_distances(array(np.full(shape, 0.1, dtype=np.float32)), kind, per))
        assert found.shape == shape
        assert (found == 0).all()


def test_other_dtypes_are_raised() -> None:
    assert normalise_distances(np.zeros((1, 2), np.float16)).dtype == np.float32
    assert normalise_distances(torch.zeros(1, 2, dtype=torch.bfloat16)).dtype == torch.float32
    assert normalise_distances(torch.zeros(1, 2, dtype=torch.int64)).dtype == torch.float64


@pytest.mark.parametrize("array", ARRAYS, ids=ARRAY_NAMES)
def test_fuse_is_the_weighted_sum_and_half_ranks_as_the_papers(array: type) -> None:
    rng = np.random.default_rng(2)
    features, attention = rng.random((20, 80)), rng.random((20, 80)) * 50
    sides = rng.integers(1, 6, 20), rng.integers(1, 4, 20), rng.integers(1, 6, 80), rng.integers(1, 4, 80)
    parts = slow(features, "minmax", "query"), slow(attention, "minmax", "query")
    for weight in (0, 0.25, np.float64(0.5), 1):
        found = np.asarray(fuse(array(features), array(attention), weight))
        np.testing.assert_allclose(found, (1 - weight) * parts[0] + weight * parts[1], rtol=0, atol=1e-12)
    wanted = {0.5: parts[0] + parts[1], 0.0: features, 1.0: attention}
    for weight, distances in wanted.items():
        found = evaluate_ranking(fuse(features, attention, weight), *sides)
        assert found.mean_ap == evaluate_ranking(distances, *sides).mean_ap
    assert len({evaluate_ranking(one, *sides).mean_ap for one in wanted.values()}) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: normalise_distances(GOOD, "softmax"), "'minmax', 'zscore', 'none'.* found 'softmax'"),
        (lambda: normalise_distances(GOOD, per="gallery"), "'query', 'matrix'.* found .* per 'gallery'"),
        (lambda: normalise_distances(GOOD[0]), r"shape \(Q, G\), found \(2,\)"),
        (lambda: normalise_distances(np.array([[1.0, np.nan], [np.inf, 1]])), "with 2 NaN or infinite"),
        (lambda: normalise_distances(GOOD * 1j), "real numbers, found dtype complex128"),
        (lambda: fuse(GOOD, GOOD.T), r"\(1, 2\)\) and .*\(2, 1\)"),
        (lambda: fuse(GOOD, torch.from_numpy(GOOD)), "found .*ndarray.* and .*Tensor"),
        (lambda: fuse(GOOD, GOOD, weight=1.5), r"weight in \[0, 1\], .* found 1\.5"),
        (lambda: fuse(GOOD, GOOD, weight=float("nan")), r"weight in \[0, 1\], .* found nan"),
        (lambda: choose_weight(*validation(2)[:2], *validation(2)[2], weights=[0.5, 2]), r"in \[0, 1\]"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def validation(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Features and attention that each see half of what tells people apart."""
    rng = np.random.default_rng(seed)
    centres, pids = rng.normal(size=(20, 8)), [np.repeat(np.arange(20), n) for n in (2, 6)]
    halves = []
    for part, noise in ((slice(0, 4), 0.8), (slice(4, 8), 1.2)):
        sides = [centres[p, part] + noise * rng.normal(size=(len(p), 4)) for p in pids]
        halves.append(np.sqrt(((sides[0][:, None] - sides[1]) ** 2).sum(2)))
    labels = pids[0] + 1, np.zeros(40, int), pids[1] + 1, np.ones(120, int)
    return *halves, labels


@pytest.mark.parametrize(("normalisation", "per"), [("minmax", "query"), ("zscore", "matrix")])
def test_the_best_weight_is_the_best_of_all_that_were_tried(normalisation: str, per: str) -> None:
    features, attention, labels = validation(0)
    curve = choose_weight(features, attention, *labels, normalisation=normalisation, per=per)
    assert curve.weights.tolist() == list(WEIGHTS)
    for weight, mean_ap in zip(curve.weights, curve.mean_ap, strict=True):
        result = evaluate_ranking(fuse(features, attention, weight, normalisation, per), *labels)
        assert mean_ap == pytest.approx(result.mean_ap, abs=1e-12)
    assert curve.mean_ap[list(curve.weights).index(curve.best)] == curve.mean_ap.max()
    assert 0 < curve.best < 1
    assert curve.mean_ap.max() > max(curve.mean_ap[0], curve.mean_ap[-1])


def test_of_equal_weights_the_smallest_and_in_any_order() -> None:
    features, _, labels = validation(1)
    assert choose_weight(features, features, *labels, weights=[0.9, 0.2, 0.5]).best == 0.2
    noise = np.random.default_rng(0).random(features.shape)
    assert choose_weight(features, noise, *labels).best < 0.2
    assert choose_weight(noise, features, *labels).best > 0.8
