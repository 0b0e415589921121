"""Arrays that nobody thought of: the protocol and fusion's scales against their slow loops."""

from __future__ import annotations

import warnings

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_protocol import Problem, slow_evaluation
from test_fusion import slow

from casnkit.ranking import evaluate_ranking, normalise_distances

NAMES = {"step": "mean_ap", "trapezoid": "mean_ap_trapezoid", "inp": "mean_inp"}


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    q, g = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    values = st.floats(allow_nan=False, width=32) | st.integers(0, 3).map(float)
    numbers = [draw(arrays.arrays(np.int64, n, elements=st.integers(-1, 3))) for n in (q, q, g, g)]
    return Problem(draw(arrays.arrays(np.float32, (q, g), elements=values)), *numbers)


@settings(deadline=None, max_examples=150)
@given(problems(), st.integers(1, 30))
def test_the_protocol_is_the_slow_loop(problem: Problem, max_rank: int) -> None:
    expected = slow_evaluation(problem, max_rank)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if expected is None:
            with pytest.raises(ValueError, match="at least one query with a match"):
                evaluate_ranking(*problem.arguments, max_rank=max_rank)
            return
        result = evaluate_ranking(*problem.arguments, max_rank=max_rank)
    np.testing.assert_allclose(result.cmc, expected["cmc"], rtol=0, atol=1e-12)
    assert [getattr(result, name) for name in NAMES.values()] == pytest.approx([expected[key] for key in NAMES])


@settings(deadline=None)
@given(
    arrays.arrays(np.float32, (3, 5), elements=st.integers(-100, 100).map(float)),
    st.sampled_from([1.0, 2.0**120, 2.0**-140, -(2.0**120)]),
    st.sampled_from(["minmax", "zscore"]),
    st.sampled_from(["query", "matrix"]),
)
def test_scales_at_both_ends_of_float32(rows: np.ndarray, factor: float, kind: str, per: str) -> None:
    found = normalise_distances(rows * np.float32(factor), kind, per)
    np.testing.assert_allclose(found, slow(rows.astype(np.float64) * np.sign(factor), kind, per), rtol=0, atol=2e-5)


def test_a_cmc_does_not_grow_without_end() -> None:
    result = evaluate_ranking(np.array([[0.1, 0.2, 0.3]]), [1], [1], [2, 1, 1], [2, 2, 2], max_rank=10**12)
    assert result.cmc.tolist() == [0] + [1] * 999


@pytest.mark.parametrize("change", [torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr, lambda x: x.to("meta")])
def test_distances_without_plain_values_are_refused(change: object) -> None:
    with pytest.raises(ValueError, match=r"distances: expected shape \(1, 2\).*to_dense"):
        evaluate_ranking(change(torch.tensor([[1.0, 0.0]])), [1], [1], [1, 2], [2, 2])
    with pytest.raises(ValueError, match="found MaskedArray"):
        evaluate_ranking(np.ma.masked_array([[1.0, 0.0]]), [1], [1], [1, 2], [2, 2])
