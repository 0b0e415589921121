"""All-pairs attention distances, held against one pair at a time: by the model, and by differentiating from scratch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casnkit import attention
from casnkit.models import CASN
from casnkit.ranking import Extracted, StreamedMaps, attention_distances, pair_maps, pairwise

Problem = tuple[CASN, Extracted, Extracted]
EXACT = {"precision": "float64"}


def images_of(model: CASN, count: int, seed: int, size: tuple[int, int] = (12, 4)) -> Extracted:
    """Random feature maps, half of their entries zero as after a ReLU, some rows bright and some dim; and features."""
    generator = torch.Generator().manual_seed(seed)
    dtype = next(model.parameters()).dtype
    maps = torch.randn(count, model.channels, *size, generator=generator, dtype=torch.float64).clamp_min(0)
    maps = (maps * torch.rand(count, 1, size[0], 1, generator=generator, dtype=torch.float64)).to(dtype)
    with torch.no_grad():
        return Extracted(model.pool(maps), maps)


@pytest.fixture
def make_problem(make_model: Callable[..., CASN]) -> Callable[..., Problem]:
    """``make_problem(queries=5, images=7, dtype=torch.float64, **options of the model)``."""

    def make(queries: int = 5, images: int = 7, dtype: torch.dtype = torch.float64, **options: object) -> Problem:
        model = make_model(dtype=dtype, **options)
        return model, images_of(model, queries, 1), images_of(model, images, 2)

    return make


def one_by_one(problem: Problem, mode: str = "paper", order: str = "given", threshold: float = 0.5) -> np.ndarray:
    """The definition: one pair at a time through the model."""
    model, query, gallery = problem
    result = np.empty((len(query), len(gallery)))
    for i, j in np.ndindex(*result.shape):
        given = query.feature_maps[i : i + 1], gallery.feature_maps[j : j + 1]
        with torch.no_grad():
            maps = model.siamese_attention_of(*given, mode=mode, order=order)
            result[i, j] = attention.attention_distance(*maps, threshold)
    return result


def paper(gradient: Tensor, difference: Tensor) -> tuple[Tensor, Tensor]:
    return (gradient > 0).to(gradient), (gradient > 0).to(gradient)


def lopsided(gradient: Tensor, difference: Tensor) -> tuple[Tensor, Tensor]:
    """A mode that the kit does not have: other weights for each image, from both arguments."""
    return gradient.clamp_min(0) * difference.abs(), (difference > 0).to(gradient)


def from_scratch(problem: Problem, mode: Callable = paper, threshold: float = 0.5) -> np.ndarray:
    """Equations 4 and 5 by plain autograd and loops; of ours only pooling and pair classifier."""
    model, query, gallery = problem
    result = np.empty((len(query), len(gallery)))
    for i, j in np.ndindex(*result.shape):
        leaves = [s.feature_maps[k : k + 1].clone().requires_grad_() for s, k in ((query, i), (gallery, j))]
        features = [model.pool(leaf) for leaf in leaves]
        difference = (features[0] - features[1]).detach().requires_grad_()
        weights = mode(torch.autograd.grad(model.pair_scores(difference)[0, 1], difference)[0], difference.detach())
        stretched = []
        for leaf, feature, alpha in zip(leaves, features, weights, strict=True):
            (gradient,) = torch.autograd.grad((alpha * feature).sum(), leaf)
            channels, pixels = gradient.mean((2, 3))[0], leaf.detach()[0]
            rows = [max(0.0, *(float(channels @ pixels[:, y, x]) for x in range(4))) for y in range(12)]
            kept = [y for y in range(12) if rows[y] > threshold * max(rows)]
            cropped = torch.tensor([[rows[kept[0] : kept[-1] + 1]]]) / max(rows)
            stretched.append(F.interpolate(cropped, 12, mode="linear")[0, 0])
        result[i, j] = (stretched[0] - stretched[1]).norm()
    return result


@pytest.mark.parametrize(("order", "threshold"), [("given", 0.5), ("both", 0.5), ("given", 0.0), ("both", 0.9)])
@pytest.mark.parametrize("mode", list(attention.MODES))
@pytest.mark.parametrize("act", ["relu", "leaky_relu", "none"])
@pytest.mark.parametrize("pooling", ["gap", "stripes"])
def test_equals_one_pair_at_a_time(make_problem, pooling, act, mode, order, threshold):
    problem = make_problem(pooling=pooling, pair_activation=act)
    found = attention_distances(*problem, mode, order, threshold, **EXACT).distances
    expected = one_by_one(problem, mode, order, threshold)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert expected.std() > 0.05  # or any constant would pass


@pytest.mark.parametrize("mode", [paper, lopsided])
@pytest.mark.parametrize("pooling", ["gap", "stripes"])
def test_equals_equations_4_and_5_from_scratch_also_in_a_mode_added_now(make_problem, monkeypatch, pooling, mode):
    monkeypatch.setitem(attention.MODES, "added", mode)
    problem = make_problem(pooling=pooling, queries=3, images=4)
    found = attention_distances(*problem, "added", **EXACT).distances
    np.testing.assert_allclose(found, from_scratch(problem, mode), rtol=1e-6, atol=1e-6)


def test_equals_captum_pair_by_pair(make_problem):
    """captum's LayerGradCam through a tap behind each branch."""
    layer_grad_cam = pytest.importorskip("captum.attr").LayerGradCam
    problem = model, query, gallery = make_problem(2, 3)

    class Tapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.taps = nn.ModuleList([nn.Identity(), nn.Identity()])

        def forward(self, *maps: Tensor) -> Tensor:
            first, second = (model.pool(tap(m)) for tap, m in zip(self.taps, maps, strict=True))
            alpha = (model.pair_gradient((first - second).detach()) > 0).to(first)
            return (alpha * (first + second)).sum(1)

    tapped, expected = Tapped().eval(), np.empty((2, 3))
    for i, j in np.ndindex(2, 3):
        given = tuple(m.clone().requires_grad_() for m in (query.feature_maps[[i]], gallery.feature_maps[[j]]))
        maps = [layer_grad_cam(tapped, t).attribute(given, relu_attributions=True)[:, 0].detach() for t in tapped.taps]
        expected[i, j] = attention.attention_distance(*maps)
    np.testing.assert_allclose(attention_distances(*problem, **EXACT).distances, expected, rtol=1e-6, atol=1e-6)


GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize(("precision", "mode"), [("bf16", "paper"), *(("float32", mode) for mode in attention.MODES)])
def test_float32_and_bf16_are_nearly_exact(make_problem, precision, mode, device):
    problem = make_problem(queries=20, images=50, dtype=torch.float32, pair_hidden=64)
    exact = attention_distances(*problem, mode, **EXACT).distances
    problem[0].to(device)
    error = np.abs(attention_distances(*problem, mode, precision=precision).distances - exact)
    if device == "cuda":
        assert np.median(error) < (0.02 if precision == "bf16" else 1e-4)
    elif precision == "bf16":
        assert 0 < np.median(error) < 0.01 * exact.mean()
    else:  # differs only where a gradient is nearly zero
        assert (error < 1e-4).mean() > 0.99
        assert error.max() < 0.2


@pytest.mark.parametrize("act", ["relu", "none"])
@pytest.mark.parametrize("budget", [1, 30_000, 200_000])
def test_a_budget_bounds_the_blocks_and_changes_nothing(make_problem, monkeypatch, budget, act):
    problem, seen = make_problem(pair_activation=act), []
    expected = attention_distances(*problem, **EXACT).distances
    usual = attention.MODES["paper"]
    monkeypatch.setitem(attention.MODES, "paper", lambda g, d: (seen.append(g.nbytes), usual(g, d))[1])
    monkeypatch.setattr(pairwise, "HELD_BYTES", budget)
    found = attention_distances(*problem, **EXACT).distances
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert max(seen[2:]) <= max(budget, 128 * 8)


@pytest.mark.parametrize("head", ["relu", "leaky_relu", "none", "tanh"])
@pytest.mark.parametrize("order", ["given", "both"])
def test_listed_pairs_are_those_of_the_whole_matrix(make_problem, monkeypatch, head, order):
    problem = make_problem(pooling="stripes", pair_activation="relu" if head == "tanh" else head)
    if head == "tanh":
        problem[0].pair_head[1] = nn.Tanh()
    expected = one_by_one(problem, order=order)
    near = np.stack([np.random.default_rng(i).permutation([0, 2, 3, 6])[:3] for i in range(5)])  # nobody lists 1, 4, 5
    monkeypatch.setattr(pairwise, "HELD_BYTES", 30_000)
    found = attention_distances(*problem, order=order, listed=near, **EXACT).distances
    np.testing.assert_allclose(found, np.take_along_axis(expected, near, 1), rtol=1e-6, atol=1e-6)
    for bad in (near + 4, near - 1, near[0]):
        with pytest.raises(ValueError, match=r"gallery indices \(Q, K\) below 7"):
            attention_distances(*problem, listed=bad)


@pytest.mark.parametrize("listed", [None, np.array([[0, 6], [3, 3], [2, 5], [6, 1], [4, 0]])])
def test_streamed_maps_give_the_same_and_are_held_a_part_at_a_time(make_problem, monkeypatch, listed):
    model, *sides = make_problem(dtype=torch.float32)
    expected, asked = attention_distances(model, *sides, listed=listed).distances, []
    model.trunk = nn.Identity()  # an "image" is its own feature map here
    model.feature_map = lambda batch: batch

    def streamed(side: Extracted, name: str) -> Extracted:
        load = lambda index: (asked.append((name, len(index))), side.feature_maps[index].split(2))[1]  # noqa: E731
        return Extracted(side.features, StreamedMaps(model, load, np.arange(len(side)), *side.feature_maps.shape[1:]))

    per_image = 4 * sides[0].feature_maps[0].numel()
    monkeypatch.setattr(pairwise, "HELD_BYTES", 2 * 2 * per_image)
    monkeypatch.setattr(pairwise, "_free", lambda device: 4 * 3 * per_image)
    found = attention_distances(model, *map(streamed, sides, "qg"), listed=listed).distances
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [count for name, count in asked if name == "q"] == [3, 2], "each query once"
    assert max(count for name, count in asked if name == "g") == 2
    one = streamed(sides[1], "g").feature_maps
    torch.testing.assert_close(attention.mean_map(one), attention.mean_map(sides[1].feature_maps))


@pytest.mark.parametrize("act", ["relu", "none"])
def test_one_image_or_maps_of_two_sizes(make_problem, act):
    for queries, images, size in [(1, 1, (12, 4)), (1, 6, (12, 4)), (6, 1, (12, 4)), (5, 4, (7, 5))]:
        model, query, _ = make_problem(queries, pair_activation=act)
        problem = model, query, images_of(model, images, 3, size)
        found = attention_distances(*problem, **EXACT).distances
        np.testing.assert_allclose(found, one_by_one(problem), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("scale", "threshold"), [("raw", 0.3), ("absolute", 0.02)])
def test_every_scale_of_the_profiles_and_a_classifier_with_batchnorm(make_problem, scale, threshold):
    model, query, gallery = make_problem(pair_norm=True)
    found = attention_distances(model, query, gallery, threshold=threshold, scale=scale, **EXACT).distances
    index = np.indices(found.shape).reshape(2, -1).T
    maps = pair_maps(model, query, gallery, index)
    expected = attention.attention_distance(*maps, threshold, scale).reshape(found.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert (
        np.abs(found - attention_distances(model, query, gallery, threshold=threshold, **EXACT).distances).max() > 1e-3
    )


@pytest.mark.parametrize("mode", ["paper", "v1"])
def test_any_other_pair_classifier_is_differentiated(make_problem, mode):
    problem = make_problem(pooling="stripes")
    for change in (lambda head: head.__setitem__(1, nn.Tanh()), lambda head: head.append(nn.Linear(2, 2).double())):
        change(problem[0].pair_head)
        found = attention_distances(*problem, mode, "both", **EXACT).distances
        np.testing.assert_allclose(found, one_by_one(problem, mode, "both"), rtol=1e-6, atol=1e-6)


def test_modes_and_gradients_are_left_as_they_were_and_dropout_is_off(make_problem):
    problem = make_problem(pair_dropout=0.9)
    expected, (model, *_) = one_by_one(problem), problem
    model.train()
    model.trunk.eval()
    np.testing.assert_allclose(attention_distances(*problem, **EXACT).distances, expected, atol=1e-6)
    pair_maps(*problem, [(0, 0)])
    assert (model.training, model.pair_head.training, model.trunk.training) == (True, True, False)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bf16", 0.03), ("float64", 1e-4)])
@pytest.mark.parametrize("act", ["relu", "none"])
def test_a_zero_map_has_the_distance_of_the_other_profile(make_problem, act, precision, tolerance):
    model, query, gallery = make_problem(dtype=torch.float32, pair_activation=act)
    for images, k in ((query, 2), (gallery, 4)):
        images.feature_maps[k], images.features[k] = 0, 0
    found = attention_distances(model, query, gallery, precision=precision).distances
    assert np.isfinite(found).all()
    assert found[2, 4] == 0
    maps = pair_maps(model, query, gallery, [(2, 0), (1, 4)])
    assert not maps[0][0].any()
    for place, profile in (((2, 0), maps[1][:1]), ((1, 4), maps[0][1:])):
        assert found[place] == pytest.approx(float(attention.aligned_profile(profile).norm()), rel=tolerance)
    same = query.subset([0] * 5)  # a collapsed model
    assert not attention_distances(model, same, same, **EXACT).distances.any()


def spoilt(images: Extracted, place: str, value: float) -> Extracted:
    getattr(images, place)[3].view(-1)[2] = value
    return images


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (None, {"mode": "other"}, "mode: paper, .* got 'other'"),
        (None, {"order": "first"}, "order: given, both, .* 'first'"),
        (None, {"precision": "int8"}, "precision: float32, .* 'int8'"),
        (None, {"threshold": 1.0}, r"threshold in \[0, 1\), .* 1.0"),
        (lambda f, m: Extracted(f), {}, "attention needs feature maps"),
        (lambda f, m: Extracted(f, m[:3]), {}, "expected at least one feature map"),
        (lambda f, m: Extracted(f[:0], m[:0]), {}, "expected at least one feature map"),
        (lambda f, m: Extracted(f, m[:, :9]), {}, r"\(N, 128, h, w\)"),
        (lambda f, m: Extracted(f[:, :9], m), {}, r"features \(N, 128\)"),
        (lambda f, m: spoilt(Extracted(f, m), "features", float("nan")), {}, r"1 of \d images .*the first is 3"),
        (lambda f, m: spoilt(Extracted(f, m), "feature_maps", float("inf")), {}, r"1 of \d images .*the first is 3"),
    ],
)
@pytest.mark.parametrize("side", [1, 2])
def test_what_does_not_fit_is_named(make_problem, side, spoil, options, message):
    problem = list(make_problem())
    if spoil:
        problem[side] = spoil(problem[side].features, problem[side].feature_maps)
        message = f"{('query', 'gallery')[side - 1]}: .*{message}"
    with pytest.raises(ValueError, match=message):
        attention_distances(*problem, **options)


@pytest.mark.parametrize(("mode", "order"), [("paper", "given"), ("signed", "both")])
def test_maps_of_chosen_pairs(make_problem, mode, order):
    model, query, gallery = make_problem()
    pairs = np.array([(4, 0), (0, 6), (2, 2)] * 30)  # more than a batch
    found = pair_maps(model, query, gallery, pairs, mode, order)
    given = query.feature_maps[pairs[:, 0]], gallery.feature_maps[pairs[:, 1]]
    for one, wanted in zip(found, model.siamese_attention_of(*given, mode=mode, order=order), strict=True):
        torch.testing.assert_close(one, wanted.detach())
    for bad in ([0, 1], [(0, 7)], [(5, 0)], [(-1, 0)], [(0.5, 1)]):
        with pytest.raises(ValueError, match="indices"):
            pair_maps(model, query, gallery, bad)
