"""Exercises that check themselves: the checking cell behind an answer says what is wrong, not what is right.

An answer that is still ``None`` (or ``...``) is no mistake: notebooks run from first to last before anybody has answered.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch


class Verdict(str):
    """What a checking cell found, in one line: ``○`` no answer yet, ``✗`` wrong and why, ``✓`` right."""

    __repr__ = str.__str__  # shown without quotes


def check_number(answer: Any, expected: float, mistakes: Mapping[str, float], tolerance: float = 1e-3) -> Verdict:
    """Compare a number, or a text such as ``"8/58"``, with the right one, up to an absolute ``tolerance``.

    ``mistakes``: what was done wrong -> the number that comes of it; such a number is answered with the mistake's name.
    """
    if answer is None or answer is ...:
        return Verdict("○ no answer yet: put a number in the cell above")
    try:
        value = float(Fraction(answer) if isinstance(answer, str) else answer)
    except (TypeError, ValueError, ZeroDivisionError):
        return Verdict(f"✗ expected a number, got {type(answer).__name__}")
    if abs(value - expected) <= tolerance:
        return Verdict(f"✓ right: {expected:.4g}")
    found = [mistake for mistake, number in mistakes.items() if abs(value - number) <= tolerance]
    found.append(f"{value:.4g} is {'too small' if value < expected else 'too large'}")
    return Verdict(f"✗ not yet: {found[0]}")


def check_choice(answer: str | None, right: str, reasons: Mapping[str, str]) -> Verdict:
    """Compare a prediction with what turned out to be ``right``; ``reasons``: choice, in small letters -> what to say."""
    choices = ", ".join(map(repr, reasons))
    if answer is None or answer is ...:
        return Verdict(f"○ no answer yet: choose one of {choices}")
    answer = answer.strip(" .\"'").lower() if isinstance(answer, str) else answer
    text = reasons.get(answer, f"expected one of {choices}, got {answer!r}")
    return Verdict(f"{'✓' if answer == right else '✗'} {text}")


def check_function(function: Callable, reference: Callable, cases: Mapping, mistakes: Mapping) -> Verdict:
    """Compare a student's function with a reference.

    ``cases``: what is special about a case -> arguments. ``mistakes``: what was done wrong -> a function that does it.
    """
    for name, arguments in cases.items():
        try:
            got = function(*arguments)
        except Exception as error:  # whatever a half-written function raises is an answer, not a crash
            return Verdict(f"✗ {name}: the function stops with {type(error).__name__}: {error}")
        if got is None or got is ...:
            return Verdict("○ no answer yet: the function above returns nothing")
        if problem := _difference(got, reference(*arguments)):
            for mistake, wrong in mistakes.items():
                if not any(_difference(function(*case), wrong(*case)) for case in cases.values()):
                    return Verdict(f"✗ {name}: {mistake}")
            return Verdict(f"✗ {name}: {problem}")
    return Verdict(f"✓ right in all cases: {', '.join(cases)}")


def _difference(got: Any, expected: Any) -> str:
    """How two results differ by more than 1e-5 of the largest right value; empty where they agree. Tuples one by one."""
    if isinstance(expected, tuple):
        got = got if isinstance(got, tuple) else (got,)
        if len(got) != len(expected):
            return f"expected {len(expected)} results, got {len(got)}"
        return next(filter(None, map(_difference, got, expected)), "")
    try:
        mine, right = (torch.as_tensor(v, dtype=torch.float64).detach().cpu().numpy() for v in (got, expected))
    except (TypeError, ValueError, RuntimeError):
        return f"expected numbers, got {type(got).__name__}"
    if mine.shape != right.shape:
        return f"expected the shape {right.shape}, got {mine.shape}"
    tolerance = 1e-5 * abs(np.nan_to_num(right)).max(initial=1.0)
    for place in map(tuple, np.argwhere(~np.isclose(mine, right, rtol=0, atol=tolerance, equal_nan=True)).tolist()):
        return f"expected {right[place]:.4g}{f' at {place}' if place else ''}, got {mine[place]:.4g}"
    return ""
