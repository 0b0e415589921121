"""Shared by all tests: few threads, and tiny models whose every number is random but reproducible."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from imitations import imitate
from torch import Tensor, nn

import casnkit as ck
from casnkit.models import CASN, StripeLinear

torch.set_num_threads(1)  # the models are tiny; two threads that share busy cores wait for each other


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give BatchNorm non-trivial statistics and affine weights, the classifiers weights of order one and biases."""
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor, scale: float) -> Tensor:
        return (torch.randn(like.shape, generator=generator, dtype=torch.float64) * scale).to(like)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        return (torch.rand(like.shape, generator=generator, dtype=torch.float64) * (high - low) + low).to(like)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.copy_(normal(module.running_mean, 0.3))
                module.running_var.copy_(uniform(module.running_var, 0.5, 2.0))
                module.weight.copy_(uniform(module.weight, 0.5, 1.5))
                module.bias.copy_(normal(module.bias, 0.3))
            elif isinstance(module, (StripeLinear, nn.Linear)):
                module.weight.copy_(normal(module.weight, module.weight.shape[-1] ** -0.5))
                module.bias.copy_(normal(module.bias, 0.05))
    return model


def spread(model: CASN, images: Tensor) -> CASN:
    """Make the classifiers look at how images differ rather than at what all of them share.

    An untrained trunk's features point in nearly one direction; left alone it decides the sign of whole Grad-CAM maps,
    switches the same hidden units for every pair, and comparisons of maps become comparisons of zeros.
    """
    with torch.no_grad():
        pixels = model.feature_map(images).mean((0, 2, 3))
        direction = pixels / pixels.norm()
        for weight in (model.identity_head.first.weight, model.pair_head[0].weight):
            parts = weight.unflatten(-1, (-1, len(direction)))
            parts -= (parts @ direction)[..., None] * direction
            weight *= 3 / (pixels.norm() * weight.norm(dim=-1).mean())
    return model


@pytest.fixture(scope="session")
def make_model(make_images: Callable[..., Tensor]) -> Callable[..., CASN]:
    """``make_model(num_ids=5, dtype=torch.float64, seed=0, **options)``: a random CASN in eval mode, backbone small."""

    def make(num_ids: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0, **options: object) -> CASN:
        chosen = {"backbone": "small", "last_stride": 1, "id_hidden": 16, "pair_hidden": 16} | options
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = CASN(num_ids, **chosen)
        return spread(randomise(model.to(dtype), seed).eval(), make_images(32, 64, 32, dtype, seed=99))

    return make


@pytest.fixture(scope="session")
def make_images() -> Callable[..., Tensor]:
    """``make_images(count, height=32, width=16, dtype=torch.float64, seed=0)``: coarse random blocks and noise."""

    def make(count: int, height: int = 32, width: int = 16, dtype=torch.float64, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(1000 + seed)
        blocks = torch.randn(count, 3, 4, 2, generator=generator, dtype=torch.float64)
        noise = torch.randn(count, 3, height, width, generator=generator, dtype=torch.float64)
        blocks = nn.functional.interpolate(blocks, size=(height, width))  # pure noise looks all alike
        return (1.5 * blocks + 0.5 * noise).to(dtype)

    return make


@pytest.fixture(scope="session")
def market(tmp_path_factory):
    return imitate("market1501", tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="session")
def dataset(market):
    return ck.open_dataset(str(market))
