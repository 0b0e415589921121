"""A trained network, 1,000 pairs: the closed form is autograd by definition, and captum through a tap behind each branch."""

from __future__ import annotations

import copy

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

import casnkit as ck
from casnkit.data.imitate import imitate
from casnkit.training import train

PAIRS = 1000


TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture(scope="module", params=["gap", "stripes"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ck.CASN:
    folder = tmp_path_factory.mktemp(request.param)
    data = ck.open_dataset(str(imitate("market1501", folder / "data")))
    settings = {"height": 64, "width": 32, "batch_size": 4, "epochs": 4, "pooling": request.param}
    return train(data, ck.profile("smoke", **settings), folder / "run", device="cpu", progress=False).requires_grad_(
        False
    )


@pytest.fixture(scope="module", params=list(TOLERANCE), ids=str)
def case(request: pytest.FixtureRequest, trained: ck.CASN) -> tuple[ck.CASN, Tensor]:
    """A trained network in one precision, with the feature maps of PAIRS + 1 images."""
    model = copy.deepcopy(trained).to(request.param)
    images = torch.randn(PAIRS + 1, 3, 64, 32, generator=torch.Generator().manual_seed(0)).to(request.param)
    with torch.no_grad():
        return model, torch.cat([model.feature_map(part) for part in images.split(100)])


class Above(nn.Module):
    """Everything above the two feature maps, with a tap for each, as captum wants it."""

    def __init__(self, model: ck.CASN) -> None:
        super().__init__()
        self.model, self.tap_1, self.tap_2 = model, nn.Identity(), nn.Identity()

    def forward(self, map_1: Tensor, map_2: Tensor) -> Tensor:
        return self.model.pair_scores(self.model.pool(self.tap_1(map_1)) - self.model.pool(self.tap_2(map_2)))


@pytest.mark.parametrize("mode", ck.attention.SIAMESE_MODES)
def test_closed_form_is_autograd_and_captum(case: tuple[ck.CASN, Tensor], mode: str) -> None:
    model, maps = case
    tolerance = TOLERANCE[maps.dtype]
    map_1, map_2 = maps[:-1], maps[1:]
    found = model.siamese_attention_of(map_1, map_2, mode=mode)
    expected = by_definition(model, map_1, map_2, mode)
    for mine, other in zip(found, expected, strict=True):
        assert (mine - other).abs().max() <= tolerance * other.abs().max()
    if mode == "gradcam":
        above = Above(model)
        for mine, tap in zip(found, (above.tap_1, above.tap_2), strict=True):
            inputs = (map_1.clone().requires_grad_(), map_2.clone().requires_grad_())
            captum = LayerGradCam(above, tap).attribute(inputs, target=1, relu_attributions=True)[:, 0].detach()
            assert captum.abs().max() > 0
            assert (mine - captum).abs().max() <= tolerance * captum.abs().max()


def by_definition(model: ck.CASN, map_1: Tensor, map_2: Tensor, mode: str) -> list[Tensor]:
    """Equation 4 with nothing known in closed form: two backward passes, from z_1 to f^- and from s_j to A_j."""
    difference = (model.pool(map_1) - model.pool(map_2)).requires_grad_()
    (gradient,) = torch.autograd.grad(model.pair_scores(difference)[:, 1].sum(), difference)
    alphas = {
        "paper": [gradient > 0, gradient > 0],
        "signed": [gradient > 0, -gradient > 0],
        "gradcam": [gradient, -gradient],
        "v1": [difference > 0, difference > 0],
    }[mode]
    maps = []
    for feature_map, alpha in zip((map_1, map_2), alphas, strict=True):
        leaf = feature_map.clone().requires_grad_()
        (slope,) = torch.autograd.grad((alpha.to(leaf.dtype).detach() * model.pool(leaf)).sum(), leaf)
        maps.append((slope.mean((2, 3), keepdim=True) * feature_map).sum(1).relu())
    return maps
