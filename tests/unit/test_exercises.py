"""Checking cells: open before an answer, wrong with the reason, right; a crash in an answer is an answer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from casnkit.notebook.exercises import Verdict, check_choice, check_function, check_number


def test_number() -> None:
    mistakes = {"counted from 0": 4.0}
    assert check_number(None, 5.0, mistakes).state == "open"
    assert check_number(..., 5.0).state == "open"
    assert check_number(5.0004, 5.0, mistakes).right
    assert check_number(torch.tensor(5.0), 5.0).right
    assert repr(check_number(4, 5.0, mistakes)) == "✗ not yet: counted from 0"
    assert "too large" in check_number(7, 5.0, mistakes).text
    assert "too small" in check_number(-7, 5.0, mistakes).text
    assert "expected a number, got list" in check_number([5], 5.0).text
    assert not check_number(float("nan"), 5.0).right


def test_choice() -> None:
    reasons = {"rises": "no: look again", "falls": "yes: so it is"}
    assert check_choice(None, "falls", reasons) == Verdict("open", "no answer yet: choose one of 'rises', 'falls'")
    assert check_choice("falls", "falls", reasons) == Verdict("right", "yes: so it is")
    assert check_choice("rises", "falls", reasons) == Verdict("wrong", "no: look again")
    assert "expected one of" in check_choice("fals", "falls", reasons).text
    with pytest.raises(ValueError, match="out of 'rises', 'falls', got 'stays'"):
        check_choice("falls", "stays", reasons)


def first_over(values: np.ndarray, t: float) -> float:
    return float(values[values > t][0])


def stops(values: np.ndarray, t: float) -> float:
    raise KeyError("t")


CASES = {"two over": (np.array([1.0, 3.0, 5.0]), 2.0), "all over": (np.array([3.0, 4.0]), 1.0)}


@pytest.mark.parametrize(
    ("function", "state", "text"),
    [
        (first_over, "right", "two over, all over"),
        (lambda values, t: None, "open", "returns nothing"),
        (lambda values, t: ..., "open", "returns nothing"),
        (stops, "wrong", "two over: the function stops with KeyError"),
        (lambda values, t: values, "wrong", "expected the shape (), got (3,)"),
        (lambda values, t: "3", "right", ""),
        (lambda values, t: {}, "wrong", "expected numbers, got dict"),
        (lambda values, t: float("nan"), "wrong", "NaN"),
        (lambda values, t: values[0] + 2, "wrong", "all over: expected 3, got 5"),
        (lambda values, t: values.max(), "wrong", "two over: the first one, not the largest"),
    ],
)
def test_function(function: Callable[..., Any], state: str, text: str) -> None:
    mistakes = {"the first one, not the largest": lambda values, t: values.max()}
    verdict = check_function(function, first_over, CASES, mistakes)
    assert (verdict.state, text in verdict.text) == (state, True), verdict


def test_function_on_tensors_and_tuples() -> None:
    cases = {"a tensor": (torch.arange(6.0).reshape(2, 3),)}
    assert check_function(lambda x: x.sum(1), lambda x: x.sum(1), cases).right
    assert "got (3,)" in check_function(lambda x: x.sum(0), lambda x: x.sum(1), cases).text
    assert "at (1,)" in check_function(lambda x: x.sum(1) * torch.tensor([1, 2]), lambda x: x.sum(1), cases).text
    nan = {"NaN": (torch.tensor([1.0, float("nan")]),)}
    assert check_function(lambda x: x, lambda x: x, nan).right
    assert not check_function(lambda x: x.flip(0), lambda x: x, nan).right, "NaN at another place"
    both = {"a tensor": (torch.ones(3),)}
    assert check_function(lambda x: (x, 1), lambda x: (x, 1), both).right
    assert "expected 2 results, got 1" in check_function(lambda x: x, lambda x: (x, 1), both).text
    assert "expected 2, got 1" in check_function(lambda x: (x, 1), lambda x: (x, 2), both).text
