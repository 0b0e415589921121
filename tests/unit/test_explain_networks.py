"""Networks that are not CASN: any module with a feature map and an embedding."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casnkit.explain import METHODS, explain

pytest.importorskip("captum.attr")
GENERAL = [name for name, m in METHODS.items() if not m.pair_classifier and name != "identification"]
FAST = {"occlusion": {"window": (16, 8)}, "integrated-gradients": {"steps": 2}, "smoothgrad": {"samples": 2}}


class Embedding(nn.Module):
    """Two convolutions, an in-place ReLU behind the feature map's layer, mean pooling, a linear layer."""

    def __init__(self, linear: bool = True) -> None:
        super().__init__()
        self.first, self.act = nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.ReLU()
        self.second, self.last = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(inplace=True)
        self.unused = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(12, 6, bias=False) if linear else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.last(self.second(self.act(self.first(images)))).mean((2, 3)))


class Twice(Embedding):
    """Calls its layer for either half of the batch: the natural Siamese mistake."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([Embedding.forward(self, half) for half in images.chunk(2)])


@pytest.fixture
def pair(make_images: Callable[..., Tensor]) -> tuple[Embedding, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Embedding().double().eval()
    return net, make_images(2), make_images(2, seed=7)


def similarity(f_q: Tensor, f_g: Tensor, kind: str) -> Tensor:
    if kind == "euclidean":
        return -((f_q - f_g) ** 2).sum(1).sqrt()
    return (f_q * f_g).sum(1) / (f_q.norm(dim=1) * f_g.norm(dim=1))


@pytest.mark.parametrize("layer", ["last", "second", "first"])
@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_gradcam_is_manual_autograd(pair, kind, layer):
    """Also at a layer whose output an in-place ReLU overwrites later."""
    net, query, gallery = pair
    stages = {"first": net.first, "act": net.act, "second": net.second, "last": F.relu}
    cut = list(stages).index(layer) + 1
    leaves, features = [], []
    for x in (query, gallery):
        below = reduce(lambda x, stage: stage(x), list(stages.values())[:cut], x)
        leaves.append(below.detach().requires_grad_())
        above = reduce(lambda x, stage: stage(x), list(stages.values())[cut:], leaves[-1])
        features.append(net.head(above.mean((2, 3))))
    score = similarity(*features, kind)
    gradients = torch.autograd.grad(score.sum(), leaves)
    expected = [(g.mean((2, 3), keepdim=True) * a).sum(1).detach() for g, a in zip(gradients, leaves, strict=True)]
    assert not torch.allclose(*expected)
    for where in (layer, getattr(net, layer)):
        found = explain(net, query, gallery, "layer-gradcam", layer=where, similarity=kind, relu=False)
        torch.testing.assert_close(found.scores, score.detach())
        for one, other in zip((found.query, found.gallery), expected, strict=True):
            torch.testing.assert_close(one, other)
    turned = explain(net, query, gallery, "layer-gradcam", "different", layer=layer, similarity=kind, relu=False)
    torch.testing.assert_close(turned.query, -expected[0])
    torch.testing.assert_close(turned.scores, -score.detach())


@pytest.mark.parametrize("kind", ["cosine", "euclidean", "correlation"])
def test_similarity_adds_up(pair, kind):
    """Behind a linear head the decomposition is exact, at a layer before a ReLU it is not, and delta says so."""
    net, query, gallery = pair
    found = explain(net, query, gallery, "similarity", layer="last", similarity=kind)
    sums = [m.sum((1, 2)) for m in (found.query, found.gallery)]
    if kind == "euclidean":
        torch.testing.assert_close(sums[0] + sums[1], found.scores)
    else:
        for one in sums:
            torch.testing.assert_close(one, found.scores)
    assert found.delta.abs().max() < 1e-12
    with torch.no_grad():
        net.second.bias += 0.1
    loose = explain(net, query, gallery, "similarity", layer="first", similarity=kind)
    total = loose.query.sum((1, 2)) + loose.gallery.sum((1, 2))
    expected = loose.scores if kind == "euclidean" else 2 * loose.scores
    torch.testing.assert_close(total - expected, loose.delta)
    assert loose.delta.abs().max() > 1e-4


@pytest.mark.parametrize("method", GENERAL)
def test_every_general_method_runs(pair, method):
    net, query, gallery = pair
    found = explain(net, query, gallery, method, layer="last", **FAST.get(method, {}))
    assert found.query.shape == ((2, 32, 16) if METHODS[method].level == "pixel" else (2, 8, 4))
    assert found.query.any()
    features = [net(x).detach() for x in (query, gallery)]
    if method == "correlation":
        features = [f - f.mean(1, keepdim=True) for f in features]
    torch.testing.assert_close(found.scores, F.cosine_similarity(*features))
    swapped = explain(net, gallery, query, method, layer="last", **FAST.get(method, {}))
    if method != "smoothgrad":
        torch.testing.assert_close(swapped.gallery, found.query)  # cosine is symmetric, so are its explanations
        assert not torch.allclose(swapped.query, found.query)


@pytest.mark.parametrize("method", GENERAL)
def test_pixel_methods_need_no_layer(pair, method):
    net, query, gallery = pair
    if METHODS[method].level == "map" or method == "guided-gradcam":
        with pytest.raises(ValueError, match="name the layer"):
            explain(net, query, gallery, method)
    else:
        with_layer = explain(net, query, gallery, method, layer="last", **FAST.get(method, {}))
        torch.testing.assert_close(explain(net, query, gallery, method, **FAST.get(method, {})).query, with_layer.query)


def test_a_layer_that_is_called_twice_is_refused(pair):
    _, query, gallery = pair
    net = Twice().double().eval()
    for method in ("layer-gradcam", "similarity", "plain-mean", "guided-gradcam"):
        with pytest.raises(ValueError, match="'last' is called more than once"):
            explain(net, query, gallery, method, layer="last")
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())


def test_bad_networks(pair):
    net, query, gallery = pair
    with pytest.raises(ValueError, match="'unused' is not called"):
        explain(net, query, gallery, "layer-gradcam", layer="unused")
    with pytest.raises(ValueError, match=r"'head' to give feature maps \(4, C, h, w\), got \(4, 6\)"):
        explain(net, query, gallery, "layer-gradcam", layer="head")
    with pytest.raises(ValueError, match=r"an embedding \(4, D\), got \(4, 8, 16, 8\)"):
        explain(net.first, query, gallery, "saliency")
    with pytest.raises(ValueError, match=r"'siamese' needs the classifiers of a casnkit.CASN; a Embedding"):
        explain(net, query, gallery, "siamese", layer="last")
    with pytest.raises(ValueError, match=r"target 'log-odds' needs the classifiers"):
        explain(net, query, gallery, "saliency", "log-odds")

    class Many(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    with pytest.raises(ValueError, match=r"an embedding \(B, D\), got a tuple"):
        explain(Many().eval(), query, gallery, "saliency")


def test_a_network_without_relu_modules_is_warned_of(pair):
    _, query, gallery = pair
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1)).double().eval()  # gives (B, 4, 1, 1)
    with pytest.warns(UserWarning, match="this network has none"):
        explain(net, query, gallery, "guided-gradcam", layer="1")
