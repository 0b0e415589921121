"""Shared by all tests: few threads, and tiny models whose every number is random but reproducible."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from casnkit.models import CASN
from casnkit.models.heads import StripeLinear

torch.set_num_threads(2)


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give BatchNorm non-trivial statistics and affine weights, and the classifiers weights of order one, with biases."""
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
                weight = normal(module.weight, module.weight.shape[-1] ** -0.5)
                # Rows of sum zero: else the common mean of all channels decides the sign of whole Grad-CAM maps.
                module.weight.copy_(weight - weight.mean(-1, keepdim=True))
                module.bias.copy_(normal(module.bias, 0.3))
    return model


@pytest.fixture
def make_model() -> Callable[..., CASN]:
    """``make_model(num_ids=5, dtype=torch.float64, seed=0, **options)``: a random CASN in eval mode, backbone small."""

    def make(num_ids: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0, **options: object) -> CASN:
        chosen = {"backbone": "small", "last_stride": 1, "id_hidden": 16, "pair_hidden": 16} | options
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = CASN(num_ids, **chosen)
        return randomise(model.to(dtype), seed).eval()

    return make


@pytest.fixture
def make_images() -> Callable[..., Tensor]:
    """``make_images(count, height=32, width=16, dtype=torch.float64, seed=0)``: random normalised images."""

    def make(
        count: int, height: int = 32, width: int = 16, dtype: torch.dtype = torch.float64, seed: int = 0
    ) -> Tensor:
        generator = torch.Generator().manual_seed(1000 + seed)
        return torch.randn(count, 3, height, width, generator=generator, dtype=torch.float64).to(dtype)

    return make
