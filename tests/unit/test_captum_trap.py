"""captum's LayerGradCam on a layer that is called twice: it answers for the second image only, and says nothing.

Should captum ever change, these tests tell: the advice in the documentation would then need another word.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from casnkit.models import CASN

attr = pytest.importorskip("captum.attr")


class CalledTwice(nn.Module):
    """The natural way to write a Siamese network, and the trap."""

    def __init__(self, model: CASN) -> None:
        super().__init__()
        self.model, self.trunk = model, model.trunk

    def forward(self, images_1: Tensor, images_2: Tensor) -> Tensor:
        f_1, f_2 = (self.model.pool(self.trunk(x)) for x in (images_1, images_2))
        return self.model.pair_scores(f_1 - f_2)


@pytest.fixture
def pair(make_model, make_images) -> tuple[CASN, Tensor, Tensor, list[Tensor]]:
    """A model, two images, and the Grad-CAM of z_1 for each by plain autograd."""
    model = make_model(pair_activation="leaky_relu")
    images_1, images_2 = make_images(1), make_images(1, seed=7)
    leaves = [model.trunk(x).detach().requires_grad_() for x in (images_1, images_2)]
    model.pair_scores(model.pool(leaves[0]) - model.pool(leaves[1]))[0, 1].backward()
    expected = [(x.grad.mean((2, 3), keepdim=True) * x.detach()).sum(1).clamp_min(0) for x in leaves]
    assert not torch.allclose(*expected)
    assert all(e.any() for e in expected)
    return model, images_1, images_2, expected


def test_captum_returns_the_second_image_only(pair):
    model, images_1, images_2, expected = pair
    wrapper = CalledTwice(model).eval()
    found = attr.LayerGradCam(wrapper, wrapper.trunk).attribute((images_1, images_2), target=1, relu_attributions=True)
    assert isinstance(found, Tensor)
    assert found.shape == (1, 1, 4, 2)  # one map for two images
    torch.testing.assert_close(found[:, 0].detach(), expected[1], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(found[:, 0], expected[0])


def test_one_call_on_the_concatenated_pair_is_right(pair):
    model, images_1, images_2, expected = pair
    calls = []
    handle = model.trunk.register_forward_hook(lambda *_: calls.append(1))
    ours = model.siamese_attention(images_1, images_2, mode="gradcam")
    handle.remove()
    assert len(calls) == 1
    for m, e in zip(ours, expected, strict=True):
        torch.testing.assert_close(m.detach(), e, rtol=1e-9, atol=1e-12)
