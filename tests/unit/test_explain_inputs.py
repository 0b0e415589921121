"""Bad input is refused in clear words, the model stays as it was, and networks that are not CASN are explained too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import reduce

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casnkit.explain import METHODS, explain
from casnkit.models import CASN

GENERAL = [name for name, m in METHODS.items() if "similarity" in m.targets]
FAST = {"occlusion": {"window": (16, 8)}, "integrated-gradients": {"steps": 2}, "smoothgrad": {"samples": 2}}


@pytest.fixture
def pair(make_model: Callable[..., CASN], make_images: Callable[..., Tensor]) -> tuple[CASN, Tensor, Tensor]:
    return make_model(), make_images(2), make_images(2, seed=7)


def state_of(model: nn.Module) -> dict[str, object]:
    return {
        "modes": [m.training for m in model.modules()],
        "hooks": [[list(v.items()) for k, v in vars(m).items() if "hooks" in k and v] for m in model.modules()],
        "flags": [p.requires_grad for p in model.parameters()],
        "gradients": [p.grad for p in model.parameters()],
        "weights": [v.clone() for v in model.state_dict().values()],
        "modules": [name for name, _ in model.named_modules()],
        "random": [torch.get_rng_state()],
    }


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    before = state_of(model)
    yield
    after = state_of(model)
    for name in ("weights", "random"):
        assert all(map(torch.equal, before.pop(name), after.pop(name))), name
    assert all(a is b for a, b in zip(before.pop("gradients"), after.pop("gradients"), strict=True))
    assert before == after


def unusual(model: CASN) -> CASN:
    """A model with its own hook, a gradient, a frozen weight and one part in train mode."""
    model.trunk.register_forward_hook(lambda *_: None)
    model.trunk.stages[0].relu.register_forward_pre_hook(lambda *_: None)
    model.identity_head.dropout.train()
    for parameter in model.pair_head.parameters():
        parameter.grad = torch.ones_like(parameter)
    next(model.trunk.parameters()).requires_grad_(False)
    return model


@pytest.mark.parametrize("method", METHODS)
def test_nothing_changes(pair, method):
    model, query, gallery = unusual(pair[0]), *pair[1:]
    given = query.clone(), gallery.clone()
    query.requires_grad_()
    with unchanged(model), torch.no_grad():
        explain(model, query, gallery, method, **FAST.get(method, {}))
    assert torch.equal(query, given[0])
    assert torch.equal(gallery, given[1])
    assert query.grad is None
    assert query.requires_grad
    assert not gallery.requires_grad


def test_train_mode_is_explained_in_eval_mode(pair):
    expected = explain(*pair)
    pair[0].train()
    with unchanged(pair[0]), pytest.warns(UserWarning, match=r"train mode.*eval mode"):
        torch.testing.assert_close(explain(*pair).query, expected.query)


def test_bad_images(pair):
    model, query, gallery = pair
    cases = [
        (query, gallery[:, :, :-4], "of one size"),
        (query, gallery[:1], "as many query as gallery images"),
        (query[:, :2], gallery, r"query images as normalised floats .* torch.float64 of \(2, 2, 32, 16\)"),
        (query, (gallery * 50).to(torch.uint8), "gallery images as normalised floats .* torch.uint8"),
        (query.tolist(), gallery, "got a list"),
        (query[None], gallery, r"\(1, 2, 3, 32, 16\)"),
        (query[:0], gallery[:0], r"\(0, 3, 32, 16\)"),
        (query * float("nan"), gallery, "query images hold values that are not finite"),
        (query[..., :8], gallery[..., :8], "too small for the backbone"),
    ]
    for first, second, message in cases:
        with unchanged(model), pytest.raises(ValueError, match=message):
            explain(model, first, second)


def test_bad_questions(pair):
    model, query, gallery = pair
    cases = [
        ({"method": "siamesee"}, "method: expected one of siamese,"),
        ({"target": "alike"}, "target: expected one of same, different"),
        ({"target": "identity"}, "'siamese' explains same or different or log-odds, got target 'identity'"),
        ({"method": "identification", "target": "different"}, "explains identity, got target 'different'"),
        ({"mode": "signed"}, "'siamese' has the options none, got mode"),
        ({"method": "occlusion", "rows": 3}, "has the options window, stride, got rows"),
        ({"method": "occlusion", "window": (64, 4)}, r"window as \(height, width\) of 1 to \(32, 16\)"),
        ({"method": "occlusion", "window": (4, 4), "stride": (8, 4)}, r"stride as \(height, width\) of 1 to \(4, 4\)"),
        ({"method": "feature-ablation", "rows": 33}, "at most 32 rows"),
        ({"method": "integrated-gradients", "steps": 0}, "steps as a whole number of at least 1, got 0"),
        ({"method": "integrated-gradients", "baseline": "black"}, "baseline: expected one of zero, partner"),
        ({"method": "layer-gradcam", "layer": "trunk"}, "at the map that it pools"),
    ]
    for options, message in cases:
        with unchanged(model), pytest.raises(ValueError, match=message):
            explain(model, query, gallery, **options)


def test_bad_models(pair):
    model, query, gallery = pair
    with pytest.raises(ValueError, match=r"a network .* got a str"):
        explain("model", query, gallery)
    assert explain(model, query.float(), gallery.float()).query.dtype == torch.float64  # images follow the model
    for name in ("trunk.stem.1.running_mean", "pair_head.0.weight"):
        broken = dict(model.state_dict())[name]
        kept = broken.clone()
        broken.view(-1)[1] = float("nan")
        for method in ("siamese", "layer-gradcam", "occlusion"):
            with pytest.raises(ValueError, match=f"NaN or infinite: the weight '{name}' holds NaN"):
                explain(model, query, gallery, method, **FAST.get(method, {}))
        broken.copy_(kept)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("method", METHODS)
def test_gpu_agrees_with_cpu(pair, method):
    model, query, gallery = pair
    options = {"noise": 0.0, "samples": 2} if method == "smoothgrad" else FAST.get(method, {})
    expected = explain(model, query, gallery, method, **options)
    random = torch.cuda.get_rng_state()
    found = explain(model.cuda(), query, gallery, method, **options)
    assert torch.equal(torch.cuda.get_rng_state(), random)
    assert found.query.is_cuda
    for name in ("query", "gallery", "scores"):
        torch.testing.assert_close(getattr(found.cpu(), name), getattr(expected, name), rtol=1e-4, atol=1e-7)


class Embedding(nn.Module):
    """Two convolutions, an in-place ReLU behind the feature map's layer, mean pooling, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.ReLU()
        self.second, self.last = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(inplace=True)
        self.unused = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(12, 6, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.last(self.second(self.act(self.first(images)))).mean((2, 3)))


class Twice(Embedding):
    """Calls its layer for either half of the batch: the natural Siamese mistake."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([Embedding.forward(self, half) for half in images.chunk(2)])


@pytest.fixture
def other(make_images: Callable[..., Tensor]) -> tuple[Embedding, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Embedding().double().eval()
    return net, make_images(2), make_images(2, seed=7)


@pytest.mark.parametrize("layer", ["last", "second", "first"])
def test_gradcam_is_manual_autograd(other, layer):
    """Also at a layer whose output an in-place ReLU overwrites later."""
    net, query, gallery = other
    stages = {"first": net.first, "act": net.act, "second": net.second, "last": F.relu}
    cut = list(stages).index(layer) + 1
    leaves, features = [], []
    for x in (query, gallery):
        below = reduce(lambda x, stage: stage(x), list(stages.values())[:cut], x)
        leaves.append(below.detach().requires_grad_())
        above = reduce(lambda x, stage: stage(x), list(stages.values())[cut:], leaves[-1])
        features.append(net.head(above.mean((2, 3))))
    score = F.cosine_similarity(*features)
    gradients = torch.autograd.grad(score.sum(), leaves)
    signed = [(g.mean((2, 3), keepdim=True) * a).sum(1).detach() for g, a in zip(gradients, leaves, strict=True)]
    for sign, target in ((1, "same"), (-1, "different")):
        for where in (layer, getattr(net, layer)):
            found = explain(net, query, gallery, "layer-gradcam", target, layer=where)
            torch.testing.assert_close(found.scores, sign * score.detach())
            for one, other in zip((found.query, found.gallery), signed, strict=True):
                torch.testing.assert_close(one, (sign * other).clamp_min(0))


@pytest.mark.parametrize("kind", ["similarity", "correlation"])
def test_similarity_adds_up(other, kind):
    """Behind a linear head the decomposition is exact, at a layer before a ReLU it is not, and delta says so."""
    net, query, gallery = other
    assert explain(net, query, gallery, kind, layer="last").delta.abs().max() < 1e-12
    with torch.no_grad():
        net.second.bias += 0.1
    loose = explain(net, query, gallery, kind, layer="first")
    total = loose.query.sum((1, 2)) + loose.gallery.sum((1, 2))
    torch.testing.assert_close(total - 2 * loose.scores, loose.delta)
    assert loose.delta.abs().max() > 1e-4


@pytest.mark.parametrize("method", GENERAL)
def test_every_general_method_runs(other, method):
    net, query, gallery = other
    found = explain(net, query, gallery, method, layer="last", **FAST.get(method, {}))
    assert found.query.shape in ((2, 32, 16), (2, 8, 4))
    assert found.query.any()
    features = [net(x).detach() for x in (query, gallery)]
    if method == "correlation":
        features = [f - f.mean(1, keepdim=True) for f in features]
    torch.testing.assert_close(found.scores, F.cosine_similarity(*features))
    swapped = explain(net, gallery, query, method, layer="last", **FAST.get(method, {}))
    if method != "smoothgrad":
        torch.testing.assert_close(swapped.gallery, found.query)  # cosine is symmetric, so are its explanations
        assert not torch.allclose(swapped.query, found.query)
    if found.query.shape == (2, 32, 16) and method != "guided-gradcam":  # pixel methods need no layer
        again = explain(net, query, gallery, method, **FAST.get(method, {}))
        torch.testing.assert_close(again.query, found.query)
    else:
        twice = Twice().double().eval()
        with pytest.raises(ValueError, match="name the layer"):
            explain(net, query, gallery, method)
        with pytest.raises(ValueError, match=r"'last' to be called once, .* it is called 2 times"):
            explain(twice, query, gallery, method, layer="last")
        assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in twice.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "unused"}, "'unused' to be called once, .* it is called 0 times"),
        ({"layer": "head"}, r"'head' .* feature maps \(4, C, h, w\), it is called 1 times, for \[\(4, 6\)\]"),
        ({"layer": "layer4"}, "expected a layer out of first, act, second, .* got 'layer4'"),
        ({"layer": nn.ReLU()}, r"or a module, got ReLU\(\)"),
        ({"method": "siamese", "layer": "last"}, r"'siamese' .* needs the classifiers of a CASN; a Embedding"),
        ({"method": "saliency", "target": "log-odds"}, "target 'log-odds' needs the classifiers"),
    ],
)
def test_bad_layers_and_questions_of_a_network(other, options, message):
    with pytest.raises(ValueError, match=message):
        explain(*other, **({"method": "layer-gradcam"} | options))
    with pytest.raises(ValueError, match=r"an embedding \(4, D\), got \(4, 8, 16, 8\)"):
        explain(other[0].first, *other[1:], "saliency")
