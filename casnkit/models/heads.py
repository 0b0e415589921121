"""The two classifiers, each of two fully connected layers (paper 3.1 and 3.2).

The ID classifier of the striped model is one such pair of layers per stripe; its first layer is PCB's 1x1 reduction.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


def activation(name: str) -> nn.Module:
    """An activation by name. Raises ValueError for an unknown one."""
    if name not in ACTIVATIONS:
        raise ValueError(f"expected an activation out of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]()


class StripeLinear(nn.Module):
    """One linear layer per stripe (or one that all stripes share): (B, P, in) -> (B, P, out)."""

    def __init__(self, stripes: int, features_in: int, features_out: int, std: float, shared: bool = False) -> None:
        super().__init__()
        count = 1 if shared else stripes
        self.weight = nn.Parameter(torch.randn(count, features_out, features_in) * std)
        self.bias = nn.Parameter(torch.zeros(count, features_out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bpi,poi->bpo", x, self.weight.expand(x.shape[1], -1, -1)) + self.bias


class IdentityHead(nn.Module):
    """ID classifier g: first layer, optional BatchNorm, activation, dropout, second layer, for each stripe."""

    def __init__(
        self,
        channels: int,
        num_ids: int,
        hidden: int,
        stripes: int = 1,
        *,
        shared_reduction: bool = False,
        act: str = "none",
        norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = StripeLinear(stripes, channels, hidden, math.sqrt(2 / channels), shared_reduction)
        self.norm = nn.BatchNorm1d(stripes * hidden) if norm else nn.Identity()
        self.activation = activation(act)
        self.dropout = nn.Dropout(dropout)
        self.second = StripeLinear(stripes, hidden, num_ids, 0.01)

    def reduce(self, pooled: Tensor) -> Tensor:
        """Everything before the second layer: (B, P, C) -> (B, P, hidden)."""
        x = self.first(pooled)
        x = self.norm(x.flatten(1)).view_as(x)
        return self.activation(x)

    def classify(self, reduced: Tensor) -> Tensor:
        """The second layer, on what :meth:`reduce` returned: (B, P, hidden) -> (B, P, num_ids)."""
        return self.second(self.dropout(reduced))

    def forward(self, pooled: Tensor) -> Tensor:
        return self.classify(self.reduce(pooled))


class PairHead(nn.Sequential):
    """Pair classifier b: (P, D) difference of features -> (P, 2) logits, index 1 = same identity (equation 3)."""

    def __init__(self, features: int, hidden: int, *, act: str = "relu", dropout: float = 0.0) -> None:
        super().__init__(nn.Linear(features, hidden), activation(act), nn.Dropout(dropout), nn.Linear(hidden, 2))
        nn.init.kaiming_normal_(self[0].weight, nonlinearity="relu")
        nn.init.zeros_(self[0].bias)
        nn.init.normal_(self[3].weight, std=0.01)
        nn.init.zeros_(self[3].bias)

    @property
    def is_linear(self) -> bool:
        """True where nothing bends between the two layers: then dz_1/df^- is the same for every pair."""
        return isinstance(self[1], nn.Identity)
