"""Verification against loops over single pairs, and against what must hold for any curve."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from slow_protocol import Problem, random_problem

from casnkit.ranking import (
    PairDistances,
    choose_thresholds,
    error_rates,
    pair_distances,
    protocol,
    verification,
    verify,
)


def slow_pairs(problem: Problem) -> tuple[list[float], list[float]]:
    """Same and different, one pair at a time, by the rules at the head of casnkit/ranking/verification.py."""
    same, different = [], []
    for q, g in itertools.product(range(len(problem.query_pids)), range(len(problem.gallery_pids))):
        pids, cameras = (problem.query_pids[q], problem.gallery_pids[g]), problem.query_camids[q]
        if pids[0] < 1 or pids[1] == -1:
            continue
        if pids[0] != pids[1]:
            different.append(problem.distances[q, g])
        elif cameras != problem.gallery_camids[g] or cameras == -1:
            same.append(problem.distances[q, g])
    return same, different


def made(same: list[float], different: list[float]) -> PairDistances:
    return PairDistances(np.array(same, float), np.array(different, float), len(same), len(different))


def gaussians(seed: int, same: int = 300, different: int = 5000) -> PairDistances:
    rng = np.random.default_rng(seed)
    values = rng.normal(1, 0.3, same).astype(np.float32), rng.normal(2, 0.5, different).astype(np.float32)
    return PairDistances(*values, same, different)


def test_pairs_are_those_of_the_protocol() -> None:
    compared = 0
    for seed in range(100):
        problem = random_problem(seed)
        same, different = slow_pairs(problem)
        if not same or not different:
            with pytest.raises(ValueError, match="pairs of one person, by two cameras"):
                pair_distances(*problem.arguments)
            continue
        found = pair_distances(*problem.arguments)
        np.testing.assert_array_equal(np.sort(found.same), np.sort(same))
        np.testing.assert_array_equal(np.sort(found.different), np.sort(different))
        assert (found.num_same, found.num_different) == (len(same), len(different))
        compared += 1
    assert compared > 40


def test_a_part_is_drawn_evenly_and_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CHUNK_VALUES", 30 * 500)
    rng = np.random.default_rng(0)
    pids, cameras = ([rng.integers(1, high, n) for n in (400, 500)] for high in (30, 7))
    distances = np.arange(400 * 500).reshape(400, 500).astype(float)  # a distance tells its pair
    arguments = torch.from_numpy(distances), pids[0], cameras[0], pids[1], cameras[1]
    whole = pair_distances(*arguments)
    monkeypatch.setattr(verification, "MAX_PAIRS", 40_000)
    drawn = pair_distances(*arguments)
    assert len(drawn.different) == 40_000 == len(set(drawn.different.tolist()) & set(whole.different.tolist()))
    assert (drawn.num_same, drawn.num_different) == (len(whole.same), len(whole.different))
    np.testing.assert_array_equal(np.sort(drawn.same), np.sort(whole.same))
    parts, all_parts = (np.histogram(one.different, 4, (0, 200_000))[0] for one in (drawn, whole))
    np.testing.assert_allclose(parts / 40_000, all_parts / len(whole.different), rtol=0.05)


def test_rates_by_hand() -> None:
    pairs = made([1, 2, 3, 6], [4, 5, 6, 7, 8, 9, 10, 11, 12, 13])
    decision = error_rates(pairs, 5)
    assert (decision.false_accept, decision.false_reject, decision.precision) == (0.2, 0.25, 3 / 5)
    assert math.isnan(error_rates(pairs, 0).precision)
    chosen = choose_thresholds(pairs, [0.1, 0.2, 0.35])
    assert [4 <= chosen[0.1].threshold < 5, 5 <= chosen[0.2].threshold < 6] == [True, True]
    assert [(d.false_accept, d.false_reject) for d in chosen.values()] == [(0.1, 0.25), (0.2, 0.25), (0.3, 0)]
    chosen = choose_thresholds(made([1], [2] * 4 + [3] * 6), [0.2, 0.5])  # equal distances: all or none
    assert [d.false_accept for d in chosen.values()] == [0, 0.4]


@pytest.mark.parametrize("seed", range(5))
def test_curve_equals_a_loop_over_thresholds(seed: int) -> None:
    pairs = gaussians(seed, 40, 150)
    curve = verify(pairs)
    decisions = [error_rates(pairs, threshold) for threshold in curve.thresholds]
    np.testing.assert_allclose([d.false_accept for d in decisions], curve.false_accept, atol=1e-12)
    np.testing.assert_allclose([1 - d.false_reject for d in decisions], curve.true_accept, atol=1e-12)
    assert (np.diff(curve.thresholds) > 0).all()
    assert (curve.false_accept[0], curve.true_accept[0], curve.false_accept[-1], curve.true_accept[-1]) == (0, 0, 1, 1)


def test_area_is_how_often_the_one_persons_pair_is_closer() -> None:
    for same, different in ([[1, 2, 2, 5], [2, 3, 5, 5, 9]], [[1, 1], [1, 1]], [[3], [1]], [[1, np.inf], [2, np.inf]]):
        closer = np.mean([(s < d) + 0.5 * (s == d) for s, d in itertools.product(same, different)])
        assert verify(made(same, different)).auc == pytest.approx(closer)


def test_equal_error_rate_lies_where_the_rates_cross() -> None:
    assert verify(made([1, 2, 3], [4, 5, 6])).equal_error_rate == 0
    assert verify(made([4, 5, 6], [1, 2, 3])).equal_error_rate == 1
    assert verify(made([1, 2, 3, 6], [4, 5, 7, 8])).equal_error_rate == pytest.approx(0.25)
    assert verify(made([1, 1], [1, 1])).equal_error_rate == pytest.approx(0.5)
    pairs = gaussians(1)
    tried = [error_rates(pairs, t) for t in np.linspace(0, 3, 3001)]
    at = min(tried, key=lambda d: abs(d.false_accept - d.false_reject))
    assert verify(pairs).equal_error_rate == pytest.approx((at.false_accept + at.false_reject) / 2, abs=0.005)


def test_a_threshold_keeps_its_promise_on_other_pairs() -> None:
    for rate, decision in choose_thresholds(gaussians(2, different=20000), [0.01, 0.1]).items():
        assert decision.false_accept <= rate
        other = error_rates(gaussians(3, different=20000), decision.threshold)
        assert other.false_accept == pytest.approx(rate, rel=0.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: choose_thresholds(gaussians(0), [0]), r"in \(0, 1\), .* got 0"),
        (lambda: choose_thresholds(made([1], [2] * 99), [0.01]), "one or more of 99 pairs, got 0.01"),
        (lambda: pair_distances(np.zeros((2, 3)), [1], [1], [1], [2]), r"shape \(1, 1\).*found \(2, 3\)"),
        (lambda: pair_distances(np.array([[1, np.nan]]), [1], [1], [1, 2], [2, 2]), "found NaN"),
    ],
)
def test_bad_input_is_named(call: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
