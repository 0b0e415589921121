"""Sanity checks: explainers that are known to be bad must fail, and for the right reason; networks are forgotten rightly."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from casnkit import attention
from casnkit.explain.sanity import CHECKS, agreement, cascade, compute_maps, correlation, randomised, sanity_checks
from casnkit.models import CASN, TRUNKS

PAIRS = 8


@pytest.fixture
def case(make_model, make_images):
    model = make_model(dtype=torch.float32)
    return model, make_images(PAIRS, dtype=torch.float32, seed=1), make_images(PAIRS, dtype=torch.float32, seed=2)


def flat(model, query, gallery):
    return torch.full((len(query), 4, 2), 0.7), torch.full((len(query), 4, 2), 0.7)


def one_pattern(model, query, gallery):
    """The same blob whatever is asked: people stand in the middle, so it may well localise."""
    blob = torch.tensor([[0, 1, 0], [1, 4, 1], [0, 1, 0.0]])
    return blob.expand(len(query), 3, 3), blob.expand(len(query), 3, 3)


class Dice:
    """Another random map at every call."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, model, query, gallery):
        return tuple(torch.rand(len(query), 8, 4, generator=self.generator) for _ in range(2))


def edges(model, query, gallery):
    """Looks at the image and never at the network."""
    return tuple(x.mean(1).diff(dim=2)[:, 1:].abs() + x.mean(1).diff(dim=1)[:, :, 1:].abs() for x in (query, gallery))


def plain_mean(model, query, gallery):
    return tuple(attention.mean_map(model.feature_map(x)) for x in (query, gallery))


def closed_form(mode):
    return lambda model, query, gallery: [m.detach() for m in model.siamese_attention(query, gallery, mode=mode)]


def gradient(model, query, gallery):
    """Pixel times gradient of z_1, by autograd."""
    leaves = query.clone().requires_grad_(), gallery.clone().requires_grad_()
    features = [model.pool(model.feature_map(x)) for x in leaves]
    slopes = torch.autograd.grad(model.pair_scores(features[0] - features[1])[:, 1].sum(), leaves)
    return tuple((x * g).sum(1) for x, g in zip((query, gallery), slopes, strict=True))


@pytest.mark.parametrize(
    ("explainer", "failed"),
    [
        (flat, {"flat", "repeat", "image", "pair classifier", "everything", "partner"}),
        (one_pattern, {"image", "pair classifier", "everything", "partner"}),
        (Dice(), {"repeat"}),
        (edges, {"pair classifier", "everything", "partner"}),
        (plain_mean, {"pair classifier", "partner"}),
    ],
    ids=["flat", "one pattern", "dice", "edges", "plain mean"],
)
def test_bad_explainers_fail_for_the_right_reason(case, explainer, failed, monkeypatch):
    monkeypatch.setitem(CHECKS, "everything", (0.97, "an untrained network is not far from a new one"))
    report = sanity_checks(explainer, *case)
    assert {line.name for line in report.lines if line.passed is False} == failed
    assert not report.passed
    assert report.table()[""].str.contains("failed").sum() == len(failed)


@pytest.mark.parametrize("explainer", [gradient, closed_form("gradcam")], ids=["gradient", "gradcam"])
def test_gradient_explainers_pass_on_random_networks(case, explainer, monkeypatch):
    monkeypatch.setitem(CHECKS, "partner", (0.9999, "random heads listen little to the partner"))
    report = sanity_checks(explainer, *case)
    assert report["everything"].value < 0.4
    assert report["pair classifier"].value < 0.4
    assert report.passed, report.table().to_string()


def test_limits_decide_and_are_said(case, monkeypatch):
    value = sanity_checks(closed_form("paper"), *case)["partner"].value
    for limit, passed in ((value + 0.01, True), (value - 0.01, False)):
        monkeypatch.setitem(CHECKS, "partner", (limit, "why"))
        report = sanity_checks(closed_form("paper"), *case)
        assert report["partner"].passed == passed
        assert report["partner"].why == f"why (at most {limit:g})"
    assert report["order"].passed is None  # reported only


def test_correlation_against_numpy():
    maps = [torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(s)) for s in range(4)]
    found = correlation((maps[0], maps[1]), (maps[2], maps[3]))
    for p in range(5):
        each = [np.corrcoef(a[p].flatten(), b[p].flatten())[0, 1] for a, b in ((maps[0], maps[2]), (maps[1], maps[3]))]
        assert found[p] == pytest.approx(np.mean(each), abs=1e-5)


def test_flat_maps_have_no_correlation_with_a_pattern_and_none_with_each_other():
    pattern, flat_map = torch.rand(1, 4, 3), torch.ones(1, 4, 3)
    assert correlation((pattern, pattern), (flat_map, 2 * pattern)) == pytest.approx(0.5)
    assert correlation((flat_map, pattern), (flat_map, pattern)) == pytest.approx(1)
    assert np.isnan(correlation((flat_map, flat_map), (flat_map, flat_map))).all()


def test_what_is_asked_by_a_loop(case, monkeypatch):
    """Each line's value by single pairs: another partner, the other order, each step of the cascade on top of the last."""
    monkeypatch.setattr("casnkit.explain.sanity._BATCH", 3)
    model, query, gallery = case
    explainer, images = closed_form("paper"), torch.cat([query, gallery])
    report = sanity_checks(explainer, model, query, gallery, seed=3)
    networks, taken = [], []
    for prefixes in cascade(model).values():
        taken += prefixes
        networks.append(randomised(model, taken, 3, images))
    found = {"partner": [], "order": [], "steps": []}
    for p in range(PAIRS):
        before, after = (p - 1) % PAIRS, (p + 1) % PAIRS
        own = explainer(model, query[[p]], gallery[[p]])
        mine = explainer(model, query[[p]], gallery[[before]])[0]
        theirs = explainer(model, query[[after]], gallery[[p]])[1]
        found["partner"].append(correlation(own, (mine, theirs)))
        found["order"].append(correlation(own, explainer(model, gallery[[p]], query[[p]])[::-1]))
        found["steps"].append([correlation(own, explainer(net, query[[p]], gallery[[p]])) for net in networks])
    for name in ("partner", "order"):
        assert report[name].value == pytest.approx(np.mean(found[name]), abs=1e-4)
    assert [name for name, _ in report.steps] == list(cascade(model))
    steps = [interval.mean for _, interval in report.steps]
    np.testing.assert_allclose(steps, np.mean(found["steps"], 0)[:, 0], atol=1e-4)
    assert (report["pair classifier"].value, report["everything"].value) == (steps[0], steps[-1])
    assert sanity_checks(explainer, model, query, gallery, seed=3, every_step=False).lines == report.lines


def test_a_linear_pair_classifier_has_no_partner(make_model, case):
    """Without an activation alpha is one constant vector: the map cannot move with the partner."""
    model = make_model(dtype=torch.float32, pair_activation="none")
    report = sanity_checks(closed_form("paper"), model, *case[1:])
    assert report["partner"].value == pytest.approx(1, abs=1e-5)
    assert report["order"].value == pytest.approx(1, abs=1e-5)
    assert report["partner"].passed is False


@pytest.mark.parametrize("backbone", sorted(set(TRUNKS) - {"vgg16"}))
def test_cascade_takes_every_weight_once_from_the_last_to_the_first(backbone):
    model = CASN(3, backbone, pair_hidden=4, id_hidden=4)
    names = list(model.state_dict())
    steps = cascade(model)
    owners = [[step for step, prefixes in steps.items() if name.startswith(prefixes)] for name in names]
    assert all(len(owner) == 1 for owner in owners)
    order = [list(steps).index(owner[0]) for name, owner in zip(names, owners, strict=True) if name.startswith("trunk")]
    assert all(a >= b for a, b in itertools.pairwise(order))  # state dicts list the first layer first
    assert 3 <= len(steps) - 2 <= 4


def test_a_part_is_forgotten_and_nothing_else(case):
    model, query, _ = case
    model.trunk.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    changed = randomised(model, ["trunk.stages.2."], 1, query)
    again = randomised(model, ["trunk.stages.2."], 1, query)
    other = randomised(model, ["trunk.stages.2."], 2, query)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.trunk.training
    assert not changed.trunk.training
    for name, value in changed.state_dict().items():
        if "running" in name or "num_batches" in name:
            continue  # measured anew
        if name.startswith("trunk.stages.2."):
            assert value.shape == before[name].shape
            assert not torch.equal(value, before[name]), name
        else:
            assert torch.equal(value, before[name])
        assert torch.equal(value, again.state_dict()[name])
    weight = "trunk.stages.2.first.0.weight"
    assert not torch.equal(changed.state_dict()[weight], other.state_dict()[weight])
    with pytest.raises(ValueError, match=r"expected a casnkit\.CASN, got a SmallTrunk"):
        randomised(model.trunk, ["stem."])


def test_statistics_of_a_forgotten_trunk_are_those_of_the_images(case):
    model, query, _ = case
    changed = randomised(model, ["trunk."], 0, query)
    first, norm = changed.trunk.stem[0], changed.trunk.stem[1]
    with torch.no_grad():
        values = first(query)
    torch.testing.assert_close(norm.running_mean, values.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, values.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == model.trunk.stem[1].momentum
    maps = plain_mean(changed, query, query)[0]
    assert float(maps.std((1, 2)).min() / maps.mean()) > 1e-3  # alive: what it shows is not one value


def test_explainers_by_name_as_functions_and_in_batches(case, monkeypatch):
    monkeypatch.setattr("casnkit.explain.sanity._BATCH", 3)
    model, query, gallery = case
    direct = model.siamese_attention(query, gallery, mode="signed")
    for explainer in (closed_form("signed"), "siamese-signed"):
        found = compute_maps(explainer, model, query, gallery)
        for mine, expected in zip(found, direct, strict=True):
            torch.testing.assert_close(mine, expected.detach(), rtol=1e-4, atol=1e-6)
            assert not mine.requires_grad


def test_one_pair_is_too_few(case):
    model, query, gallery = case
    with pytest.raises(ValueError, match="at least two pairs"):
        sanity_checks(flat, model, query[:1], gallery[:1])


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
