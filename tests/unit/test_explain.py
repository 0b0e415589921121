"""Each method against an independent computation: plain autograd, a closed form, captum's own call, a slow loop."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from captum import attr
from torch import Tensor, nn

from casnkit import attention
from casnkit.explain import METHODS, Method, explain
from casnkit.models import CASN

POOLINGS = [{"pooling": "gap"}, {"pooling": "stripes", "stripes": 2}]
PIXELS = {"guided-gradcam", "saliency", "input-x-gradient", "integrated-gradients", "smoothgrad", "occlusion"}
PIXELS |= {"feature-ablation"}
FAST = {"occlusion": {"window": (16, 8)}, "integrated-gradients": {"steps": 4}, "smoothgrad": {"samples": 2}}


@pytest.fixture
def pair(make_model: Callable[..., CASN], make_images: Callable[..., Tensor]) -> tuple[CASN, Tensor, Tensor]:
    """Three pairs whose score, maps and gradients all differ."""
    model = make_model(pair_activation="leaky_relu")
    nn.init.zeros_(model.pair_head[0].bias)  # else it decides which hidden units are active, for all pairs alike
    return model, make_images(3), make_images(3, seed=7)


def tensors_of(maps: object) -> tuple[Tensor, Tensor]:
    return maps.query, maps.gallery


def close(found: Sequence[Tensor], expected: Sequence[Tensor], rtol: float = 1e-9) -> None:
    assert not torch.allclose(expected[0], expected[1])  # a test that mixes up the images has to fail
    for one, other in zip(found, expected, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other.detach(), rtol=rtol, atol=rtol / 1000)


def pixel_gradients(model: CASN, query: Tensor, gallery: Tensor, output: int = 1) -> list[Tensor]:
    """d z / d pixels by plain autograd, one branch after the other."""
    leaves = [x.clone().requires_grad_() for x in (query, gallery)]
    features = [model.pool(model.feature_map(x)) for x in leaves]
    return list(torch.autograd.grad(model.pair_scores(features[0] - features[1])[:, output].sum(), leaves))


def test_layer_gradcam_is_manual_autograd(pair):
    model, query, gallery = pair
    leaves = [model.trunk(x).detach().requires_grad_() for x in (query, gallery)]
    z = model.pair_scores(model.pool(leaves[0]) - model.pool(leaves[1]))
    z[:, 1].sum().backward()
    expected = [(x.grad.mean((2, 3), keepdim=True) * x.detach()).sum(1).clamp_min(0) for x in leaves]
    found = explain(model, query, gallery, "layer-gradcam")
    close(tensors_of(found), expected)
    torch.testing.assert_close(found.scores, z[:, 1].detach())
    close(tensors_of(explain(model, query, gallery, "siamese-gradcam")), expected)  # the same thing in closed form


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("mode", ["paper", "signed", "gradcam", "v1"])
def test_siamese_by_captum_is_the_closed_form(make_model, make_images, pooling, mode):
    """s_j = <alpha_j, f_j> with constant alpha, as a module of one branch, explained by captum."""
    model = make_model(pair_activation="leaky_relu", **pooling)
    images = make_images(2), make_images(2, seed=7)
    features = [model.pool(model.feature_map(x)).detach() for x in images]
    difference = (features[0] - features[1]).requires_grad_()
    (gradient,) = torch.autograd.grad(model.pair_scores(difference)[:, 1].sum(), difference)
    weights = attention.siamese_weights(gradient, difference.detach(), mode)

    class Branch(nn.Module):
        def __init__(self, alpha: Tensor) -> None:
            super().__init__()
            self.tap, self.alpha = nn.Identity(), alpha

        def forward(self, x: Tensor) -> Tensor:
            return (self.alpha * model.pool(self.tap(model.feature_map(x)))).sum(1)

    expected = []
    for alpha, x in zip(weights, images, strict=True):
        branch = Branch(alpha)
        expected.append(attr.LayerGradCam(branch, branch.tap).attribute(x, relu_attributions=True)[:, 0])
    name = "siamese" if mode == "paper" else f"siamese-{mode}"
    close(tensors_of(explain(model, *images, name)), expected)


def test_siamese_of_another_target_swaps_the_output(pair):
    """z_0 is z_1 of a head whose two outputs are exchanged."""
    model, query, gallery = pair
    found = tensors_of(explain(model, query, gallery, "siamese", "different"))
    with torch.no_grad():
        for p in (model.pair_head[3].weight, model.pair_head[3].bias):
            p.copy_(p.flip(0).clone())
    close(found, model.siamese_attention(query, gallery))


def test_identification_and_plain_mean(pair):
    model, query, gallery = pair
    logits = [model.id_scores(model.pool(model.feature_map(x))).detach() for x in (query, gallery)]
    found, classes = explain(model, query, gallery, "identification"), [y.argmax(1) for y in logits]
    expected = [model.identification_attention(x, y) for x, y in zip((query, gallery), classes, strict=True)]
    close(tensors_of(found), expected)
    torch.testing.assert_close(found.scores, sum(y.amax(1) for y in logits))
    assert found.target == "identity"
    close(tensors_of(explain(model, query, gallery, "plain-mean")), [model.trunk(x).mean(1) for x in (query, gallery)])


def test_pixel_gradients_are_plain_autograd(pair):
    model, query, gallery = pair
    for target, output in (("same", 1), ("different", 0)):
        gradients = pixel_gradients(model, query, gallery, output)
        close(tensors_of(explain(model, query, gallery, "saliency", target)), [g.abs().amax(1) for g in gradients])
        products = [(g * x).sum(1) for g, x in zip(gradients, (query, gallery), strict=True)]
        close(tensors_of(explain(model, query, gallery, "input-x-gradient", target)), products)
    still = explain(model, query, gallery, "smoothgrad", samples=3, noise=0.0)
    close(tensors_of(still), [g.abs().amax(1) for g in pixel_gradients(model, query, gallery)])
    noisy = explain(model, query, gallery, "smoothgrad", samples=9, noise=0.2, seed=1)
    assert torch.equal(noisy.query, explain(model, query, gallery, "smoothgrad", samples=9, noise=0.2, seed=1).query)
    assert not torch.equal(noisy.query, explain(model, query, gallery, "smoothgrad", samples=9, noise=0.2).query)
    assert attention.map_correlation(noisy.query, still.query).min() > 0.7


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_guided_gradcam_is_captums(pair):
    """captum's own class, once for each branch, with a tap that belongs to that branch."""
    model, query, gallery = pair

    class Tapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.taps = model, nn.ModuleList([nn.Identity(), nn.Identity()])

        def forward(self, *images: Tensor) -> Tensor:
            f = [model.pool(tap(model.feature_map(x))) for tap, x in zip(self.taps, images, strict=True)]
            return model.pair_scores(f[0] - f[1])

    tapped = Tapped()
    given = query.clone().requires_grad_(), gallery.clone().requires_grad_()
    expected = [
        attr.GuidedGradCam(tapped, tap).attribute(given, target=1)[i].sum(1) for i, tap in enumerate(tapped.taps)
    ]
    close(tensors_of(explain(model, query, gallery, "guided-gradcam", interpolate="nearest")), expected)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("baseline", ["zero", "partner", None])
def test_maps_along_a_path_are_complete(make_model, make_images, pooling, baseline):
    """Both maps add up to the difference of the scores, up to delta, and delta falls with the steps."""
    model = make_model(pair_activation="leaky_relu" if baseline else "relu", **pooling)
    query, gallery = make_images(3), make_images(3, seed=7)
    method, options = ("integrated-gradients", {"baseline": baseline}) if baseline else ("score-decomposition", {})
    z = partial(score, model)
    if baseline == "zero":
        expected = z(query, gallery) - z(torch.zeros_like(query), torch.zeros_like(gallery))
    else:
        expected = z(query, gallery) - z(query, query)
        expected += z(query, gallery) - z(gallery, gallery) if baseline else 0
    deltas = []
    for steps in (4, 64 if baseline else 256):
        found = explain(model, query, gallery, method, steps=steps, **options)
        sums = sum(m.sum((1, 2)) for m in tensors_of(found))
        torch.testing.assert_close(sums - expected, found.delta, rtol=1e-6, atol=1e-9)
        deltas.append(found.delta.abs().mean())
    assert deltas[1] < min(0.2 * deltas[0], 0.02 * expected.abs().mean())


def score(model: CASN, query: Tensor, gallery: Tensor) -> Tensor:
    f = [model.pool(model.feature_map(x)) for x in (query, gallery)]
    return model.pair_scores(f[0] - f[1])[:, 1].detach()


@pytest.mark.parametrize(
    ("method", "window", "stride", "options"),
    [
        ("occlusion", (12, 6), (8, 4), {"window": (12, 6), "stride": (8, 4)}),  # the last window is cut off at the edge
        ("occlusion", (8, 16), (8, 16), {"window": (8, 16), "stride": (8, 16)}),
        ("feature-ablation", (8, 16), (8, 16), {"rows": 4}),
    ],
)
def test_occlusion_is_a_loop_over_windows(pair, method, window, stride, options):
    model, query, gallery = pair
    whole = score(model, query, gallery)
    sums, counts = torch.zeros(2, 3, 32, 16, dtype=query.dtype), torch.zeros(32, 16, dtype=query.dtype)
    for top, left in itertools.product(range(0, 32, stride[0]), range(0, 16, stride[1])):
        place = (slice(top, top + window[0]), slice(left, left + window[1]))
        counts[place] += 1
        for i in range(2):
            images = [query.clone(), gallery.clone()]
            images[i][(..., *place)] = 0
            sums[(i, slice(None), *place)] += (whole - score(model, *images))[:, None, None]
    close(tensors_of(explain(model, query, gallery, method, **options)), list(sums / counts), rtol=1e-5)


@pytest.mark.parametrize("options", [*POOLINGS, {"pooling": "stripes", "stripes": 3}])
@pytest.mark.parametrize("kind", ["similarity", "correlation"])
def test_similarity_is_a_sum_over_places(make_model, make_images, options, kind):
    """One place by itself, on maps that are not square; stripes of 3 overlap in 4 rows."""
    model, query, gallery = make_model(**options), make_images(2), make_images(2, seed=7)
    maps = [model.feature_map(x).detach() for x in (query, gallery)]
    features = [model.pool(m) for m in maps]
    if kind == "correlation":
        features = [f - f.mean(1, keepdim=True) for f in features]
    found, expected = explain(model, query, gallery, kind), F.cosine_similarity(*features)
    for value in (found.scores, *(m.sum((1, 2)) for m in tensors_of(found))):
        torch.testing.assert_close(value, expected)
    assert found.delta.abs().max() < 1e-12
    alone = torch.zeros_like(maps[0])
    alone[:, :, 1, 1] = maps[0][:, :, 1, 1]  # only this place of the query's map is left: its part of a linear pooling
    lengths = features[0].norm(dim=1) * features[1].norm(dim=1)
    torch.testing.assert_close(found.query[:, 1, 1], (model.pool(alone) * features[1]).sum(1) / lengths)


def test_centred_siamese_takes_a_multiple_of_the_mean_out(pair):
    model, query, gallery = pair
    maps = [model.feature_map(x).detach() for x in (query, gallery)]
    difference = model.pool(maps[0]) - model.pool(maps[1])
    share = (model.pair_gradient(difference) > 0).double().mean(1)
    siamese = model.siamese_attention(query, gallery)
    expected = [
        (s - share[:, None, None] * m.sum(1) / m[0, 0].numel()).clamp_min(0) for s, m in zip(siamese, maps, strict=True)
    ]
    close(tensors_of(explain(model, query, gallery, "siamese-centred")), expected)


def test_evidence_counts_what_both_images_have(pair):
    model, query, gallery = pair
    maps = [model.feature_map(x).detach() for x in (query, gallery)]
    f = [model.pool(m) for m in maps]
    for target, amounts in {
        "same": (torch.minimum(*f), torch.minimum(*f)),
        "different": ((f[0] - f[1]).clamp_min(0), (f[1] - f[0]).clamp_min(0)),
    }.items():
        found = explain(model, query, gallery, "evidence", target, steps=8)
        leaf = torch.zeros_like(f[0]).requires_grad_()  # the mean gradient on the way from zero, all of it at once
        way = [model.pair_scores(leaf + (f[0] - f[1]) * (s + 0.5) / 8)[:, int(target == "same")] for s in range(8)]
        gradient = torch.autograd.grad(sum(way).sum(), leaf)[0] / 8
        for m, a, amount in zip(tensors_of(found), maps, amounts, strict=True):
            listens = gradient.abs() - gradient.abs().mean(1, keepdim=True)
            share = a / a.sum((2, 3), keepdim=True).clamp_min(1e-300)
            expected = (share * (listens * amount)[..., None, None]).sum(1)
            assert (expected > 0).any()
            torch.testing.assert_close(m, expected.clamp_min(0))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_treats_each_pair_by_itself(pair, method):
    """A batch gives what its pairs give one by one; the maps have the promised size and sign and no graph."""
    model, query, gallery = pair
    options = dict(FAST.get(method, {}))
    if method == "smoothgrad":
        options["noise"] = 0.0
    whole = explain(model, query, gallery, method, **options)
    assert (whole.method, whole.seconds > 0) == (method, True)
    size = (32, 16) if method in PIXELS else (4, 2)
    for name in ("query", "gallery", "scores", *(["delta"] if whole.delta is not None else [])):
        value = getattr(whole, name)
        assert value.shape == ((3, *size) if name in ("query", "gallery") else (3,))
        assert not value.requires_grad
        ones = [getattr(explain(model, query[i], gallery[i], method, **options), name) for i in range(3)]
        torch.testing.assert_close(value, torch.cat(ones), rtol=1e-7, atol=1e-12)
    if method not in ("similarity", "correlation"):  # of features >= 0: none of it is below zero here
        assert (min(m.min() for m in tensors_of(whole)) < 0) == METHODS[method].signed
    other = explain(model, query, gallery.flip(0), method, **options).query  # two of three have another partner
    assert torch.allclose(whole.query[[0, 2]], other[[0, 2]]) == (method in ("identification", "plain-mean"))


@pytest.mark.parametrize("target", ["same", "different", "log-odds", "identity", "agreement", "similarity"])
def test_every_target_has_its_score(pair, target):
    model, query, gallery = pair
    found = explain(model, query, gallery, "layer-gradcam", target)
    f = [model.pool(model.feature_map(x)).detach() for x in (query, gallery)]
    z = model.pair_scores(f[0] - f[1])
    best = [model.id_scores(x).amax(1) for x in f]
    expected = {
        "same": z[:, 1],
        "different": z[:, 0],
        "log-odds": z[:, 1] - z[:, 0],
        "identity": best[0] + best[1],
        "agreement": (model.id_scores(f[0]).softmax(1) * model.id_scores(f[1]).softmax(1)).sum(1).log(),
        "similarity": F.cosine_similarity(*f),
    }
    assert found.target == target
    torch.testing.assert_close(found.scores, expected[target].detach())


def test_a_new_method_and_a_new_mode_are_one_entry_each(pair, monkeypatch):
    model, *images = pair
    work = lambda pair, *, power=1: tuple(m.mean(1) ** power for m in pair.leaves()[0])  # noqa: E731
    monkeypatch.setitem(METHODS, "mine", Method("Mine", work))
    plain = explain(model, *images, "plain-mean")
    close(tensors_of(explain(model, *images, "mine", power=2)), [m**2 for m in tensors_of(plain)])
    monkeypatch.setitem(attention.MODES, "all", lambda gradient, difference: (torch.ones_like(gradient),) * 2)
    close(tensors_of(explain(model, *images, "siamese-all")), [model.channels / 8 * m for m in tensors_of(plain)])


def test_captum_returns_the_second_image_only(pair):
    """Should captum ever change, this test tells: the advice in the documentation would then need another word."""
    model, query, gallery = pair
    expected = explain(model, query, gallery, "siamese-gradcam")

    class CalledTwice(nn.Module):  # the natural way to write a Siamese network, and the trap
        def __init__(self) -> None:
            super().__init__()
            self.trunk = model.trunk

        def forward(self, *images: Tensor) -> Tensor:
            f_1, f_2 = (model.pool(self.trunk(x)) for x in images)
            return model.pair_scores(f_1 - f_2)

    wrapper = CalledTwice()
    found = attr.LayerGradCam(wrapper, wrapper.trunk).attribute((query, gallery), target=1, relu_attributions=True)
    assert isinstance(found, Tensor)  # one map for two images
    torch.testing.assert_close(found[:, 0].detach(), expected.gallery, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(found[:, 0], expected.query)
