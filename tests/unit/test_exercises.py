"""Checking cells: open before an answer, wrong with the reason, right; a crash in an answer is an answer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from casnkit.notebook.exercises import check_choice, check_function, check_number


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, "○ no answer yet"),
        (5.0004, "✓ right: 5"),
        (torch.tensor(5.0), "✓ right"),
        ("10/2", "✓ right"),
        (" 5.0", "✓ right"),
        ("1/0", "✗ expected a number, got str"),
        (4, "✗ not yet: counted from 0"),
        (7, "✗ not yet: 7 is too large"),
        (-7, "✗ not yet: -7 is too small"),
        ([5], "✗ expected a number, got list"),
        (float("nan"), "✗"),
    ],
)
def test_number(answer: Any, text: str) -> None:
    assert repr(check_number(answer, 5.0, {"counted from 0": 4.0})).startswith(text)


def test_choice() -> None:
    reasons = {"rises": "no: look again", "falls": "yes: so it is"}
    assert check_choice(None, "falls", reasons) == "○ no answer yet: choose one of 'rises', 'falls'"
    assert check_choice("falls", "falls", reasons) == "✓ yes: so it is"
    assert check_choice(' "Falls".', "falls", reasons) == "✓ yes: so it is"
    assert check_choice("rises", "falls", reasons) == "✗ no: look again"
    assert "expected one of" in check_choice("fals", "falls", reasons)


def first_over(values: np.ndarray, t: float) -> float:
    return float(values[values > t][0])


@pytest.mark.parametrize(
    ("function", "mark", "text"),
    [
        (first_over, "✓", "two over, all over"),
        (lambda values, t: ..., "○", "returns nothing"),
        (lambda values, t: {}[t], "✗", "two over: the function stops with KeyError"),
        (lambda values, t: values, "✗", "expected the shape (), got (3,)"),
        (lambda values, t: float("nan"), "✗", "two over: expected 3, got nan"),
        (lambda values, t: values[0] + 2, "✗", "all over: expected 3, got 5"),
        (lambda values, t: values.max(), "✗", "two over: the first one, not the largest"),
    ],
)
def test_function(function: Callable[..., Any], mark: str, text: str) -> None:
    cases = {"two over": (np.array([1.0, 3.0, 5.0]), 2.0), "all over": (np.array([3.0, 4.0]), 1.0)}
    mistakes = {"the first one, not the largest": lambda values, t: values.max()}
    verdict = check_function(function, first_over, cases, mistakes)
    assert (verdict[0], text in verdict) == (mark, True), verdict


def test_function_on_tensors_and_tuples() -> None:
    x = torch.arange(6.0).reshape(2, 3)

    def check(mine: Callable[..., Any], right: Callable[..., Any], argument: torch.Tensor = x) -> str:
        return check_function(mine, right, {"a tensor": (argument,)}, {})

    assert check(lambda x: x.sum(1), lambda x: x.sum(1)) == "✓ right in all cases: a tensor"
    assert "got (3,)" in check(lambda x: x.sum(0), lambda x: x.sum(1))
    assert "expected 12 at (1,), got 24" in check(lambda x: x.sum(1) * torch.tensor([1, 2]), lambda x: x.sum(1))
    assert "expected 1 at (0,), got nan" in check(lambda x: x.flip(0), lambda x: x, torch.tensor([1.0, torch.nan]))
    assert "expected 2 results, got 1" in check(lambda x: x, lambda x: (x, 1))
    assert "expected 2, got 1" in check(lambda x: (x, 1), lambda x: (x, 2))
