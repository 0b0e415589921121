"""What the all-pairs engine is measured against: its bare matrix products, autograd in batches, and captum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from casnkit.models import evaluating
from casnkit.ranking import PRECISIONS, ClosedFormEngine, Extracted, Request, weighted_sums

from .. import attention
from .._optional import require
from ..models import CASN

Contestant = tuple[Callable[[], object], int]  # what is timed, and how many pairs it treats


def bare_products(
    model: CASN, query: Extracted, gallery: Extracted, device: torch.device, precision: str
) -> Contestant:
    """The three products of one chunk of the engine, on ready-made operands, with nothing between them."""
    request = Request.of(model, query, gallery, "paper", "given", 0.5, device, precision)
    with torch.no_grad():
        q, g = ClosedFormEngine(request, 2**30).chunk
    dtype, (channels, hidden) = PRECISIONS[precision], (model.channels, model.pair_head[0].out_features)

    def random(*size: int) -> Tensor:
        return (torch.rand(size, device=device) > 0.5).to(dtype)

    active, matrix, alpha = random(q * g, hidden), random(hidden, channels), random(q, g, channels)
    maps = [images.feature_maps[:n].flatten(2).to(device, dtype) for images, n in ((query, q), (gallery, g))]

    def products() -> None:
        _ = active @ matrix
        _ = weighted_sums(maps[0], alpha)
        _ = weighted_sums(maps[1], alpha.transpose(0, 1))

    return products, q * g


def by_autograd(model: CASN, map_1: Tensor, map_2: Tensor, threshold: float = 0.5) -> Tensor:
    """Equations 4 and 5 of a batch of pairs by differentiation, as one would write it: (P, C, h, w) twice -> (P,)."""
    with evaluating(model), torch.enable_grad():
        leaves = [m.detach().requires_grad_() for m in (map_1, map_2)]
        features = [model.pool(leaf) for leaf in leaves]
        difference = features[0] - features[1]
        score = model.pair_scores(difference)[:, 1].sum()
        (gradient,) = torch.autograd.grad(score, difference, retain_graph=True)
        alpha = (gradient > 0).to(gradient.dtype)
        similarity = sum((alpha * feature).sum() for feature in features)
        gradients = torch.autograd.grad(similarity, leaves)
    with torch.no_grad():
        maps = [
            attention.weighted_map(leaf, gradient.mean((2, 3)))
            for leaf, gradient in zip(leaves, gradients, strict=True)
        ]
        return attention.attention_distance(*maps, threshold)


class _Tapped(nn.Module):
    """s_1 + s_2 of one pair from its feature maps, with an Identity behind each branch for captum to hold on to."""

    def __init__(self, model: CASN) -> None:
        super().__init__()
        self.model, self.tap_1, self.tap_2 = model, nn.Identity(), nn.Identity()

    def forward(self, map_1: Tensor, map_2: Tensor) -> Tensor:
        features = self.model.pool(self.tap_1(map_1)), self.model.pool(self.tap_2(map_2))
        alpha, _ = attention.siamese_weights(self.model.pair_gradient(features[0] - features[1]), features[0])
        return (alpha * (features[0] + features[1])).sum(1)


def captum_pair(model: CASN, map_1: Tensor, map_2: Tensor) -> Callable[[], Tensor]:
    """A function that computes one pair's attention distance, with both maps from captum."""
    grad_cam = require("captum.attr", "the comparison with captum").LayerGradCam
    tapped = _Tapped(model).eval()
    methods = [grad_cam(tapped, tap) for tap in (tapped.tap_1, tapped.tap_2)]
    given = tuple(m.clone().requires_grad_() for m in (map_1, map_2))

    def one_pair() -> Tensor:
        maps = [method.attribute(given, relu_attributions=True)[:, 0].detach() for method in methods]
        return attention.attention_distance(*maps)

    return one_pair
