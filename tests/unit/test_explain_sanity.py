"""Sanity checks: explainers that are known to be bad must fail, and for the right reason; networks are forgotten rightly."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from casnkit import attention
from casnkit.explain.sanity import CHECKS, agreement, cascade, correlation, passes, randomised, sanity_checks
from casnkit.models import CASN, TRUNKS

PAIRS = 8
DICE = torch.Generator().manual_seed(0)
SIDES = "query", "gallery"


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


def dice(model, query, gallery):
    """Another random map at every call."""
    return tuple(torch.rand(len(query), 8, 4, generator=DICE) for _ in range(2))


def edges(model, query, gallery):
    """Looks at the image and never at the network."""
    return tuple(x.mean(1).diff(dim=2)[:, 1:].abs() + x.mean(1).diff(dim=1)[:, :, 1:].abs() for x in (query, gallery))


def plain_mean(model, query, gallery):
    return tuple(attention.mean_map(model.feature_map(x)) for x in (query, gallery))


def closed_form(mode):
    return lambda model, query, gallery: [m.detach() for m in model.siamese_attention(query, gallery, mode=mode)]


def failures(report):
    return {name for name, found in report.checks.items() if passes(name, found.value) is False}


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
        (dice, {"repeat"}),
        (edges, {"pair classifier", "everything", "partner"}),
        (plain_mean, {"pair classifier", "partner"}),
    ],
    ids=["flat", "one pattern", "dice", "edges", "plain mean"],
)
def test_bad_explainers_fail_for_the_right_reason(case, explainer, failed, monkeypatch):
    monkeypatch.setitem(CHECKS, "everything", (0.97, "an untrained network is not far from a new one"))
    report = sanity_checks(explainer, *case)
    assert failures(report) == failed
    assert not report.passed
    assert report.table()[""].str.contains("failed").sum() == len(failed)


@pytest.mark.parametrize("explainer", [gradient, closed_form("gradcam")], ids=["gradient", "gradcam"])
def test_gradient_explainers_pass_on_random_networks(case, explainer, monkeypatch):
    monkeypatch.setitem(CHECKS, "partner", (0.9999, "random heads listen little to the partner"))
    report = sanity_checks(explainer, *case)
    assert report["everything"].value < 0.4
    assert report["pair classifier"].value < 0.4
    assert report.passed, report.table().to_string()


def test_correlation_against_numpy():
    maps = [torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(s)) for s in range(4)]
    found = correlation((maps[0], maps[1]), (maps[2], maps[3]))
    for p in range(5):
        each = [np.corrcoef(a[p].flatten(), b[p].flatten())[0, 1] for a, b in ((maps[0], maps[2]), (maps[1], maps[3]))]
        assert found[p] == pytest.approx(np.mean(each), abs=1e-5)
    pattern, flat_map = maps[0][:1], torch.ones(1, 4, 3)  # no correlation with a pattern, none defined with each other
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
    assert list(report.steps) == list(cascade(model))
    steps = [interval.value for interval in report.steps.values()]
    np.testing.assert_allclose(steps, np.mean(found["steps"], 0)[:, 0], atol=1e-4)
    assert (report["pair classifier"].value, report["everything"].value) == (steps[0], steps[-1])
    assert sanity_checks(explainer, model, query, gallery, seed=3, every_step=False).checks == report.checks


def test_a_linear_pair_classifier_has_no_partner(make_model, case):
    """Without an activation alpha is one constant vector: the map cannot move with the partner."""
    model = make_model(dtype=torch.float32, pair_activation="none")
    report = sanity_checks("siamese", model, *case[1:])
    assert report["partner"].value == pytest.approx(1, abs=1e-5)
    assert report["order"].value == pytest.approx(1, abs=1e-5)
    assert failures(report) >= {"partner"}
    assert "order" not in failures(report)  # reported only
    with pytest.raises(ValueError, match="at least two pairs"):
        sanity_checks(flat, model, *(x[:1] for x in case[1:]))


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
    state, part = torch.random.get_rng_state(), "trunk.stages.2."
    changed, again, other = (randomised(model, [part], seed, query).state_dict() for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.trunk.training
    for name, value in changed.items():
        if "running" not in name and "num_batches" not in name:  # these are measured anew
            assert torch.equal(value, before[name]) != name.startswith(part), name
            assert torch.equal(value, again[name])
    assert not torch.equal(changed[part + "first.0.weight"], other[part + "first.0.weight"])
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


def test_agreement_is_a_loop_over_images_and_averages_fine_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    found = {name: SimpleNamespace(**{s: torch.randn(3, 8, 4, generator=generator) for s in SIDES}) for name in "ab"}
    large = {s: getattr(found["a"], s).clamp_min(0).repeat_interleave(8, 1).repeat_interleave(8, 2) for s in SIDES}
    found |= {"fine": SimpleNamespace(**large), "flat": SimpleNamespace(**dict.fromkeys(SIDES, torch.ones(3, 8, 4)))}
    matrix = agreement(found)
    pairs = [
        np.corrcoef(np.maximum(a, 0).ravel(), np.maximum(b, 0).ravel())[0, 1]
        for side in SIDES
        for a, b in zip(*(getattr(found[name], side).numpy() for name in "ab"), strict=True)
    ]
    assert matrix[0, 1] == pytest.approx(np.mean(pairs), abs=1e-5)
    assert matrix[0, 2] == pytest.approx(1, abs=1e-5)
    assert matrix[0, 3] == 0
    assert np.allclose(matrix, matrix.T)
