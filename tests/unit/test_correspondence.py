"""Correspondence against slow loops, autograd and numbers worked out by hand."""

from importlib import import_module
from itertools import permutations, product

import correspondence as study
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from casnkit.explain import correspondence
from casnkit.ranking import feature_distances

cells = import_module("casnkit.explain.correspondence")
STRIPES = {"pooling": "stripes", "stripes": 3}  # a cell is 8 pixels wide: they do not divide the rows


@pytest.fixture(params=[({}, (32, 16), (32, 16)), ({}, (32, 16), (16, 32)), (STRIPES, (32, 16), (40, 24))])
def pairs(request, make_model, make_images):
    options, *sizes = request.param
    model, images = make_model(**options), [make_images(3, *size, seed=k) for k, size in enumerate(sizes)]
    return model, images, [model.trunk(x).detach() for x in images]


def pooled_alone(feature_map, cell, stripes):
    """What one cell of a map (C, h, w) adds to the feature, by pooling a map that is zero in all others: (stripes * C,)."""
    alone = torch.zeros_like(feature_map).flatten(1)
    alone[:, cell] = feature_map.flatten(1)[:, cell]
    return F.adaptive_avg_pool2d(alone.view_as(feature_map), (stripes, 1))[..., 0].T.flatten()


@pytest.mark.parametrize("weight", cells.WEIGHTS)
def test_against_a_slow_double_loop_and_autograd(pairs, weight):
    model, images, maps = pairs
    f_1, f_2 = map(model.pool, maps)
    lengths, difference = f_1.norm(dim=1) * f_2.norm(dim=1), (f_1 - f_2).requires_grad_()
    (gradient,) = torch.autograd.grad(model.pair_scores(difference)[:, 1].sum(), difference)
    v = {"cosine": torch.ones_like(gradient), "alpha": (gradient > 0).double(), "gradient": gradient}[weight]
    found, raw = (correspondence(model.train(), *images, weight, normalise=way) for way in (True, False))
    assert model.training  # kept
    model.eval()
    torch.testing.assert_close(found.sum((1, 2)), (v * f_1 * f_2).sum(1) / lengths)
    torch.testing.assert_close(raw, found * lengths[:, None, None])
    torch.testing.assert_close(correspondence(model, images[0][1], images[1][1], weight), found[1:2])
    if weight == "cosine":
        np.testing.assert_allclose(found.sum((1, 2)), 1 - feature_distances(f_1, f_2).diagonal() ** 2 / 2, atol=1e-6)
    for i, j in product(range(raw.shape[1]), range(raw.shape[2])):
        first, second = (pooled_alone(m[0], cell, model.stripes) for m, cell in zip(maps, (i, j), strict=True))
        torch.testing.assert_close(raw[0, i, j], (v[0] * first * second).sum())

    def of_scaled_cells(*scales):
        scaled = (m[:1] * s.view(m[:1, :1].shape) for m, s in zip(maps, scales, strict=True))
        return (v[0] * model.pool(next(scaled)) * model.pool(next(scaled))).sum()

    ones = tuple(torch.ones(m[0, 0].numel()).double() for m in maps)
    torch.testing.assert_close(raw[0], torch.autograd.functional.hessian(of_scaled_cells, ones)[0][1])


def test_cosine_of_cells():
    maps = torch.rand(2, 5, 3, 2), torch.rand(2, 5, 2, 4)
    found, flat = study.cell_cosine(*maps), [m.flatten(2) for m in maps]
    for p, i, j in product(*map(range, found.shape)):
        torch.testing.assert_close(found[p, i, j], torch.cosine_similarity(flat[0][p, :, i], flat[1][p, :, j], dim=0))


def test_what_does_not_fit_is_refused(make_model, make_images):
    model, images, flat = make_model(), make_images(2), nn.Flatten()
    for message, ask, *given in (
        ("CASN.*Flatten", correspondence, flat, images, images),
        ("weight.*cosine, alpha, gradient", correspondence, model, images, images, "beta"),
        ("uint8", correspondence, model, images, images.byte()),
        (r"\(2, 3.*\(1, 3", correspondence, model, images, images[:1]),
        ("NoneType", correspondence, model, None, images),
        ("finite", correspondence, model, images, images * torch.nan),
    ):
        with pytest.raises(ValueError, match=message):
            ask(*given)


def test_partners_by_hand():
    matrix = torch.tensor([[[5.0, 1, 4], [6, 2, 1]], [[-1, -2, -3], [0, 0, 0]]])
    assert cells.mutual_best(matrix) == [[(1, 0, 6.0)], []]  # without a positive value no match
    assert cells.mutual_best(matrix.mT)[0] == [(0, 1, 6.0)]
    beyond = study.excess(matrix[:1])
    torch.testing.assert_close(beyond[0, 0], torch.tensor([5 - 10 * 11 / 19, 1 - 10 * 3 / 19, 4 - 10 * 5 / 19]))
    assert [match[:2] for match in cells.mutual_best(beyond)[0]] == [(0, 2), (1, 0)]


def test_parts_and_plausibility_by_hand():
    parts = torch.tensor([[[1, 1], [3, 0]], [[3, 3], [3, 3]]]).repeat_interleave(2, 1)  # two cells each, one above
    areas, matrix = study.part_areas(parts, (2, 1)), torch.tensor([[[3.0, 1], [-1, 2]]])
    assert areas[0, [0, 1, 3]].tolist() == [[0, 0.5], [1, 0], [0, 0.5]]
    own = study.same_part(matrix, areas[:1], areas[:1])[0]  # hair: 3 of 4 on cell 0; torso: all on cell 1, half torso
    assert own.nan_to_num(-1).tolist() == [0.75, -1, 0.5, -1, -1, -1, -1]
    assert study.same_part(matrix, areas[:1], areas[1:])[0, 0].isnan()  # no hair in picture 2
    found = {name: float(of(matrix, areas[:1], areas[:1])) for name, of in study.PLAUSIBILITY.items()}
    expected = {"mutual_cells": 1, "mutual_weight": 5 / 6, "same_place": 5 / 6}
    assert found == pytest.approx(expected | {"on_person": (3 + 1 / 2 + 2 / 4) / 6, "same_parts": (3 + 2 / 4) / 6})


def test_twins_are_the_best_of_all_ways_to_join_them():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values, right = rng.random(9), np.arange(9) < 4
        ways = [np.abs(values[:4] - values[list(way)]) for way in permutations(range(4, 9), 4)]
        near = [gaps[gaps <= 0.5 * values.std()] for gaps in ways]
        rights, wrongs = study.equal_similarity(values, right, caliper=0.5)
        found = len(rights), -np.abs(values[rights] - values[wrongs]).sum()
        assert found == pytest.approx(max((len(gaps), -gaps.sum()) for gaps in near))
        assert right[[*set(rights)]].sum() == (~right)[[*set(wrongs)]].sum() == len(rights)
