"""Agreement of methods: against a plain loop, and as a picture."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from casnkit import figures
from casnkit.explain.sanity import agreement


def maps(*shape: int, seed: int = 0) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(seed)
    return SimpleNamespace(
        query=torch.randn(*shape, generator=generator), gallery=torch.randn(*shape, generator=generator)
    )


def test_same_as_a_loop_over_images() -> None:
    found = {"one": maps(3, 8, 4), "two": maps(3, 8, 4, seed=1)}
    matrix = agreement(found)
    pairs = [
        np.corrcoef(np.maximum(a, 0).ravel(), np.maximum(b, 0).ravel())[0, 1]
        for side in ("query", "gallery")
        for a, b in zip(*(getattr(m, side).numpy() for m in found.values()), strict=True)
    ]
    assert matrix[0, 1] == pytest.approx(np.mean(pairs), abs=1e-5)
    assert np.allclose(matrix, matrix.T)
    assert np.allclose(np.diag(matrix), 1)


def test_a_fine_map_is_averaged_to_the_coarse_grid() -> None:
    coarse = maps(2, 4, 2)
    fine = SimpleNamespace(
        **{
            side: getattr(coarse, side).clamp_min(0).repeat_interleave(8, 1).repeat_interleave(8, 2)
            for side in vars(coarse)
        }
    )
    assert agreement({"coarse": coarse, "fine": fine})[0, 1] == pytest.approx(1, abs=1e-5)


def test_a_map_without_pattern_agrees_with_none() -> None:
    flat = SimpleNamespace(query=torch.zeros(2, 4, 2), gallery=torch.ones(2, 4, 2))
    assert agreement({"flat": flat, "other": maps(2, 4, 2)})[0, 1] == 0
    with pytest.raises(ValueError, match="same pairs"):
        agreement({"two": maps(2, 4, 2), "three": maps(3, 4, 2)})
    with pytest.raises(ValueError, match="nothing"):
        agreement({})


def test_picture_shows_every_number() -> None:
    figure = figures.show_agreement(["a", "b"], [[1, -0.26], [-0.26, 1]])
    shown = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert shown == ["1.0", "-0.3", "-0.3", "1.0"]
    with pytest.raises(ValueError, match="one column"):
        figures.show_agreement(["a"], [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="correlations"):
        figures.show_agreement(["a"], [[2.0]])
