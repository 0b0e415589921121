"""Attention maps against hand-worked numbers, autograd by definition, captum, and slow loops."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from imitations import imitate
from torch import Tensor, nn

import casnkit as ck
from casnkit import attention
from casnkit.config import LossConfig, ModelConfig
from casnkit.losses import CASNLoss
from casnkit.models import CASN, PairHead
from casnkit.training import train

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
POOLINGS = {
    "gap": {"pooling": "gap"},
    "2 of 4 rows": {"pooling": "stripes", "stripes": 2},
    "3 of 4 rows, overlapping": {"pooling": "stripes", "stripes": 3},
}


def relative(ours: Tensor, oracle: Tensor) -> float:
    """Largest difference over the largest value of the batch: a map that nearly cancels has no digits of its own."""
    assert ours.shape == oracle.shape
    assert torch.isfinite(oracle).all()
    assert (oracle > 0).double().mean() > 0.02, "an oracle of zeros would prove nothing"
    return ((ours - oracle).abs().max() / oracle.max()).item()


# f_1 = (12/4, 4/4) = (3, 1) and f_2 = (4/4, 8/4) = (1, 2), so f^- = (2, -1).
HAND_1 = torch.tensor([[[[4.0, 8.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]], dtype=torch.float64)
HAND_2 = torch.tensor([[[[0.0, 0.0], [0.0, 4.0]], [[2.0, 2.0], [2.0, 2.0]]]], dtype=torch.float64)

# z_1 = 3 relu(d_0 - d_1) - relu(2 d_0 + d_1), both hidden units are on (3 and 3): dz_1/df^- = 3 (1, -1) - (2, 1) = (1, -4).
#   paper    alpha = (1, 0) twice:   M_1 = A_1,0 / 4,  M_2 = A_2,0 / 4          (s_1 = 3, s_2 = 1: the sums of the maps)
#   signed   alpha_2 = (0, 1):       M_2 = A_2,1 / 4 = 1/2 everywhere           (s_2 = 2)
#   gradcam  (1, -4) and (-1, 4):    M_1 = relu(A_1,0 - 4 A_1,1) / 4 = relu([[0, 4], [-4, -4]]) / 4
#                                    M_2 = relu(-A_2,0 + 4 A_2,1) / 4 = [[8, 8], [8, 4]] / 4
#   v1       [f^- > 0] = (1, 0):     as paper, here
HAND_MAPS = {
    "paper": ([[1.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]),
    "signed": ([[1.0, 2.0], [0.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]),
    "gradcam": ([[0.0, 1.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 1.0]]),
    "v1": ([[1.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]),
}


def hand_model() -> CASN:
    """A pair classifier small enough for paper: z_1 = 3 relu(d_0 - d_1) - relu(2 d_0 + d_1)."""
    model = CASN(2, backbone="small").double().eval()
    model.pair_head = PairHead(2, ModelConfig(pair_hidden=2)).double()
    with torch.no_grad():
        model.pair_head[0].weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 1.0]]))
        model.pair_head[3].weight.copy_(torch.tensor([[0.0, 0.0], [3.0, -1.0]]))
    return model


@pytest.mark.parametrize("mode", HAND_MAPS)
def test_equation_4_by_hand(mode):
    maps = hand_model().siamese_attention_of(HAND_1, HAND_2, mode=mode)
    for ours, expected in zip(maps, HAND_MAPS[mode], strict=True):
        torch.testing.assert_close(ours[0], torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_equation_4_by_hand_in_the_other_order():
    # z(2, 1) sees (-2, 1): both hidden units are off (-3, -3), the gradient is zero, no channel is chosen by "paper".
    model = hand_model()
    assert all(not m.any() for m in model.siamese_attention_of(HAND_2, HAND_1))
    # "v1" chooses by f^- itself: channel 1, hence A_,1 / 4.
    of_2, of_1 = model.siamese_attention_of(HAND_2, HAND_1, mode="v1")
    assert torch.equal(of_2, HAND_2[:, 1] / 4)
    assert torch.equal(of_1, HAND_1[:, 1] / 4)
    # Both orders: the mean of the two, for each image with itself.
    both = model.siamese_attention_of(HAND_1, HAND_2, order="both")
    assert torch.equal(both[0][0], torch.tensor([[0.5, 1.0], [0.0, 0.0]], dtype=torch.float64))
    assert torch.equal(both[1][0], torch.tensor([[0.0, 0.0], [0.0, 0.5]], dtype=torch.float64))


def test_maps_of_gradients_and_of_stripes_by_hand():
    # g = dy_c/df = (3, -1), so w = (3, -1) / 4:  M = relu(3 A_0 - A_1) / 4 = relu([[11, 23], [-1, -1]]) / 4.
    ours = attention.identification_map(HAND_1, torch.tensor([[3.0, -1.0]], dtype=torch.float64))
    assert torch.equal(ours[0], torch.tensor([[2.75, 5.75], [0.0, 0.0]], dtype=torch.float64))
    # Two stripes of one row, alpha = (1, 0 | 0, 1): weights count stripes, whichever, (1 + 0, 0 + 1) / 4.
    ours = attention.siamese_map(HAND_1, torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64))
    assert torch.equal(ours[0], torch.tensor([[1.25, 2.25], [0.25, 0.25]], dtype=torch.float64))
    assert torch.equal(attention.mean_map(HAND_1)[0], torch.tensor([[2.5, 4.5], [0.5, 0.5]], dtype=torch.float64))


def test_equation_5_by_hand():
    # Row maxima of M_1: 0 2 4 1, over 4: 0 1/2 1 1/4. Above t = 0.4: rows 1..2, i.e. (1/2, 1). Four rows from two,
    # pixel centres at (i + 1/2) / 2 - 1/2 = -1/4, 1/4, 3/4, 5/4, clamped to 0..1: 1/2, 5/8, 7/8, 1.
    map_1 = torch.tensor([[[0.0, 0.0], [2.0, 1.0], [4.0, 3.0], [0.0, 1.0]]], dtype=torch.float64)
    # M_2: 3 3 0 0 over 3, rows 0..1, resized: 1 1 1 1.
    map_2 = torch.tensor([[[3.0, 0.0], [1.0, 3.0], [0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    expected = torch.tensor([[0.5, 0.625, 0.875, 1.0]], dtype=torch.float64)
    assert torch.equal(attention.aligned_profile(map_1, 0.4), expected)
    assert torch.equal(attention.aligned_profile(map_2, 0.4), torch.ones(1, 4, dtype=torch.float64))
    # (1/2)^2 + (3/8)^2 + (1/8)^2 + 0 = 0.40625, root 0.637377...
    assert attention.attention_distance(map_1, map_2, 0.4).item() == pytest.approx(0.6373774, abs=1e-7)


def by_definition(model: CASN, map_1: Tensor, map_2: Tensor, mode: str) -> list[Tensor]:
    """Equation 4 with nothing known in closed form: two backward passes, from z_1 to f^- and from s_j to A_j."""
    difference = (model.pool(map_1) - model.pool(map_2)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.pair_scores(difference)[:, 1].sum(), difference)
    alphas = {
        "paper": [gradient > 0, gradient > 0],
        "signed": [gradient > 0, -gradient > 0],
        "gradcam": [gradient, -gradient],
        "v1": [difference > 0, difference > 0],
    }[mode]
    maps = []
    for feature_map, alpha in zip((map_1, map_2), alphas, strict=True):
        leaf = feature_map.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad((alpha.to(leaf.dtype).detach() * model.pool(leaf)).sum(), leaf)
        maps.append((slope.mean((2, 3), keepdim=True) * feature_map).sum(1).relu())
    return maps


def check_against_autograd(model: CASN, maps: tuple[Tensor, Tensor], tolerance: float) -> None:
    for mode in HAND_MAPS:  # a mode that is new has no oracle here
        found = model.siamese_attention_of(*maps, mode=mode)
        for ours, oracle in zip(found, by_definition(model, *maps, mode), strict=True):
            assert relative(ours, oracle) < tolerance, mode


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("act", ["none", "relu", "leaky_relu"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_closed_form_is_the_definition(pooling, act, dtype, make_model, make_images):
    model = make_model(dtype=dtype, pair_activation=act, id_activation=act, **POOLINGS[pooling])
    images, labels = make_images(48, dtype=dtype), torch.arange(48)[:, None] % 5
    A = model.feature_map(images).detach().requires_grad_()
    model.id_scores(model.pool(A)).gather(1, labels).sum().backward()
    oracle = (A.grad.mean((2, 3), keepdim=True) * A.detach()).sum(1).relu()
    assert relative(model.identification_attention(images, labels[:, 0]).detach(), oracle) < TOLERANCE[dtype]
    by_autograd = attention.autograd_map(A, lambda a: model.id_scores(model.pool(a)).gather(1, labels)[:, 0])
    assert relative(by_autograd.detach(), oracle) < TOLERANCE[dtype]
    maps = A.detach().chunk(2)
    check_against_autograd(model, maps, TOLERANCE[dtype])
    features = [model.pool(m) for m in maps]
    difference = features[0] - features[1]
    weights = attention.siamese_weights(model.pair_gradient(difference), difference)
    if model.stripes == 1:  # sum(M) = s
        for ours, alpha, f in zip(model.siamese_attention_of(*maps), weights, features, strict=True):
            scores = (alpha * f).sum(1)
            torch.testing.assert_close(ours.sum((1, 2)), scores, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    # A linear pair classifier chooses the same channels for every pair.
    assert (act == "none") == bool((weights[0] == weights[0][0]).all())
    assert 0 < weights[0].mean() < 1


class Above(nn.Module):
    """Everything above the two feature maps, with a tap for each, as captum wants it: z_1, or s_1 + s_2 of equation 4."""

    def __init__(self, model: CASN, alpha: Tensor | None = None) -> None:
        super().__init__()
        self.model, self.alpha, self.taps = model, alpha, nn.ModuleList([nn.Identity(), nn.Identity()])

    def forward(self, map_1: Tensor, map_2: Tensor) -> Tensor:
        f_1, f_2 = (self.model.pool(tap(m)) for tap, m in zip(self.taps, (map_1, map_2), strict=True))
        return self.model.pair_scores(f_1 - f_2)[:, 1] if self.alpha is None else (self.alpha * (f_1 + f_2)).sum(1)


def check_against_captum(model: CASN, maps: tuple[Tensor, Tensor], tolerance: float) -> None:
    difference = model.pool(maps[0]) - model.pool(maps[1])
    alpha = (model.pair_gradient(difference) > 0).to(difference)
    for mode, above in {"gradcam": Above(model), "paper": Above(model, alpha)}.items():
        for j, ours in enumerate(model.siamese_attention_of(*maps, mode=mode)):
            inputs = tuple(m.detach().clone().requires_grad_() for m in maps)
            oracle = LayerGradCam(above, above.taps[j]).attribute(inputs, relu_attributions=True)[:, 0].detach()
            assert relative(ours, oracle) < tolerance, mode


@pytest.mark.parametrize("pooling", ["gap", "stripes"])
def test_a_trained_networks_maps_are_autograds_and_captums_for_1000_pairs(pooling, tmp_path):
    data = ck.open_dataset(str(imitate("market1501", tmp_path / "data")))
    settings = {"height": 64, "width": 32, "batch_size": 4, "epochs": 4, "pooling": pooling}
    trained = train(data, ck.profile("smoke", **settings), tmp_path / "run", device="cpu", progress=False)
    images = torch.randn(1001, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    for dtype, tolerance in TOLERANCE.items():
        model = copy.deepcopy(trained).requires_grad_(False).to(dtype)
        maps = torch.cat([model.feature_map(part.to(dtype)) for part in images.split(100)])
        check_against_autograd(model, (maps[:-1], maps[1:]), tolerance)
        check_against_captum(model, (maps[:-1], maps[1:]), tolerance)


def test_a_mode_is_one_entry(make_model, make_images, monkeypatch):
    with pytest.raises(ValueError, match="'mine'"):
        LossConfig(siamese_mode="mine")
    swapped = lambda gradient, difference: attention.MODES["gradcam"](gradient, difference)[::-1]  # noqa: E731
    monkeypatch.setitem(attention.MODES, "mine", swapped)
    model, images, labels = make_model(), make_images(4), torch.tensor([0, 0])
    ours, gradcam = (model.siamese_attention(*images.chunk(2), mode=m) for m in ("mine", "gradcam"))
    f = model.pool(model.feature_map(images))
    weights = model.pair_gradient(f[:2] - f[2:])
    assert relative(ours[0], attention.siamese_map(model.feature_map(images[:2]), -weights)) < 1e-9
    assert not torch.allclose(ours[0], gradcam[0])
    terms = CASNLoss(ck.profile("smoke", loss={"siamese_mode": "mine"}).loss)(model, *images.chunk(2), labels, labels)
    expected = attention.attention_distance(*ours, ck.profile("smoke").loss.threshold).mean()
    assert terms["consistency"].item() == pytest.approx(expected.item(), rel=1e-9)


def test_maps_of_a_pair_do_not_depend_on_the_batch_and_may_differ_in_size(make_model, make_images):
    model, (images_1, images_2) = make_model(), make_images(12).chunk(2)
    together = model.siamese_attention(images_1, images_2)
    for alone, all_ in zip(model.siamese_attention(images_1[3:4], images_2[3:4]), together, strict=True):
        torch.testing.assert_close(alone[0], all_[3], rtol=1e-9, atol=1e-12)
    maps = model.siamese_attention(make_images(3), make_images(3, 64, 32))
    assert [tuple(m.shape) for m in maps] == [(3, 4, 2), (3, 8, 4)]
    assert torch.isfinite(attention.attention_distance(*maps)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: attention.siamese_weights(g, g, "sign"), "paper, signed, gradcam, .*'sign'"),
        (lambda g: attention.normalise_map(g, "l2"), "'max' or 'minmax'.*'l2'"),
        (lambda _: hand_model().siamese_attention_of(HAND_1, HAND_2, order="forward"), "given, both, got 'forward'"),
        (lambda g: attention.channel_weights(g, 4, 3, 3), "multiple of 4"),
        (lambda g: attention.map_correlation(g.view(1, 3, 2), g.view(1, 6, 1)), r"got \(1, 3, 2\) and \(1, 6, 1\)"),
        (lambda g: attention.stripe_matrix(9, 0, g), "9 rows of the feature map for 0 stripes"),
        (lambda g: attention.stripe_matrix(9, 10, g), "9 rows of the feature map for 10 stripes"),
    ],
)
def test_unknown_names_and_shapes_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(1, 6))


@pytest.mark.parametrize(("height", "stripes"), [(9, 1), (24, 6), (9, 6), (8, 3), (5, 5), (7, 2)])
def test_stripes_are_adaptive_average_pooling(height, stripes):
    A = torch.rand(2, 3, height, 4, dtype=torch.float64)
    ours = torch.einsum("bch,ph->bpc", A.mean(-1), attention.stripe_matrix(height, stripes, A))
    torch.testing.assert_close(ours.mT[..., None], F.adaptive_avg_pool2d(A, (stripes, 1)), rtol=1e-12, atol=1e-14)


def slow_aligned(map_: Tensor, threshold: float, rows: int) -> Tensor:
    profile = [max(row) for row in map_.tolist()]
    above = [i for i, value in enumerate(profile) if value > threshold * max(profile)] or range(len(profile))
    kept = torch.tensor(profile[above[0] : above[-1] + 1], dtype=map_.dtype)
    return F.interpolate(kept[None, None] / (max(profile) or 1), rows, mode="linear", align_corners=False)[0, 0]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_rows_against_slow_loops(threshold):
    generator = torch.Generator().manual_seed(3)
    for height, width in [(9, 5), (24, 8), (4, 2), (1, 3), (18, 9)]:
        maps = torch.rand(40, height, width, generator=generator, dtype=torch.float64)
        maps *= torch.rand(40, height, 1, generator=generator, dtype=torch.float64) > 0.4  # empty rows, empty maps
        maps[0] = 0
        ours = attention.aligned_profile(maps, threshold)
        slow = torch.stack([slow_aligned(m, threshold, height) for m in maps])
        torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-12)
        other = torch.rand(40, 12, width, generator=generator, dtype=torch.float64)  # they meet at the taller height
        rows = max(height, 12)
        sides = [torch.stack([slow_aligned(m, threshold, rows) for m in side]) for side in (maps, other)]
        distance = attention.attention_distance(maps, other, threshold)
        torch.testing.assert_close(distance, (sides[0] - sides[1]).square().sum(1).sqrt(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows", [None, 1, 5, 9, 31])
def test_resize_rows_is_interpolate_slice_by_slice(rows):
    profile = torch.rand(45, 9, dtype=torch.float64)
    first, last = torch.triu_indices(9, 9)  # all 45 slices
    ours = attention.resize_rows(profile, first, last, rows)
    for i, (a, b) in enumerate(zip(first, last, strict=True)):
        slow = F.interpolate(profile[i, None, None, a : b + 1], rows or 9, mode="linear")[0, 0]
        torch.testing.assert_close(ours[i], slow, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", ["max", "minmax"])
def test_normalised_maps_lie_in_0_1_and_forget_their_scale(kind):
    maps = torch.rand(5, 9, 4, dtype=torch.float64) + 0.2
    ours = attention.normalise_map(maps, kind)
    for m, n in zip(maps, ours, strict=True):
        low = m.min() if kind == "minmax" else 0
        torch.testing.assert_close(n, (m - low) / (m.max() - low), rtol=1e-12, atol=1e-14)
    for scale in (1e-12, 1e-6, 1e6, 1e30):
        torch.testing.assert_close(attention.normalise_map(maps * scale, kind), ours, rtol=1e-9, atol=1e-9)
    # Identification maps carry dy/df / (h w): a few thousandths is an ordinary maximum, also in half precision.
    for dtype, scale in ((torch.float32, 1e-9), (torch.bfloat16, 2**-10), (torch.float16, 2**-11)):
        faint = torch.tensor([[[1.0, 0.5], [0.25, 0.0]]], dtype=dtype)
        assert torch.equal(attention.normalise_map(faint * scale, kind), faint)
    maps[0, 1, 1] = math.nan
    assert attention.normalise_map(maps, kind).isnan().any((1, 2)).tolist() == [True, False, False, False, False]


def test_soft_mask_and_hidden_image_by_hand():
    # M in [0, 1]; S = sigmoid(10 (M - 1/2)): sigmoid(-5) = 0.0066929, sigmoid(0) = 0.5, sigmoid(5) = 0.9933071.
    S = attention.soft_mask(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert S.tolist() == pytest.approx([0.0066929, 0.5, 0.9933071], abs=1e-7)
    # 8 (1 - 1/4) + 2 * 1/4 = 6.5
    assert attention.hide(torch.tensor(8.0), torch.tensor(0.25), 2.0).item() == 6.5
    maps = torch.rand(3, 6, 2, dtype=torch.float64) + 3
    maps[:, 0] = 9  # the head: the mask must not be transposed
    ours = attention.image_mask(maps, (48, 16), 8.0, 0.4)
    assert ours.shape == (3, 1, 48, 16)
    assert ours[:, :, :6].min() > 0.9 > 0.4 > ours[:, :, 24:].max()
    for m, mask in zip(maps, ours, strict=True):
        scaled = (m - m.min()) / (m.max() - m.min())
        large = F.interpolate(scaled[None, None], size=(48, 16), mode="bilinear")[0]
        torch.testing.assert_close(mask, 1 / (1 + torch.exp(-8 * (large - 0.4))), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12], ids=["as drawn", "tiny", "huge"])
def test_map_correlation_equals_numpy(scale):
    first, second = torch.rand(2, 6, 7, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    second = second + torch.linspace(-2, 2, 6)[:, None, None] * first
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    assert min(expected) < -0.5 < 0.5 < max(expected)
    for dtype, tolerance in TOLERANCE.items():
        found = attention.map_correlation((scale * first).to(dtype), second.to(dtype))
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])  # the mean of many 0.1 is not 0.1
def test_map_correlation_of_a_constant_map_is_zero(value):
    maps = [torch.full((2, 9, 5), value, requires_grad=True), torch.rand(2, 9, 5).requires_grad_()]
    found = attention.map_correlation(*maps)
    assert found.tolist() == [0.0, 0.0]
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(found.sum(), maps))


def every_map(model: CASN, images: Tensor) -> list[Tensor]:
    labels = torch.arange(len(images)) % 5
    return [model.identification_attention(images, labels), *model.siamese_attention(*images.chunk(2))]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_maps_without_gradient_tracking(context, make_model, make_images):
    model = make_model()
    expected = every_map(model, make_images(6))
    with context():
        found = every_map(model, make_images(6))  # inference tensors, as a loader's may be
    for ours, same in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.clone(), same.detach(), rtol=1e-10, atol=1e-12)


def test_attention_leaves_modes_statistics_gradients_and_random_numbers_alone(make_model, make_images):
    model = make_model(id_dropout=0.5, pair_dropout=0.5)
    quiet = every_map(model, make_images(4))
    model.train()
    model.trunk.stages[1].eval()
    modes, rng = [m.training for m in model.modules()], torch.get_rng_state()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    for a, b in zip(every_map(model, make_images(4)), quiet, strict=True):  # no dropout, no batch statistics
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="labels"):
        model.identification_attention(make_images(1), torch.tensor([99]))
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_map_carries_the_graph_of_the_feature_map_only(make_model, make_images):
    # dM/dA with the channel weights held fixed is w_k where the map is positive.
    model, labels = make_model(), torch.tensor([0, 3])
    A = model.feature_map(make_images(2)).detach().requires_grad_()
    M = model.identification_attention_of(A, labels)
    (gradient,) = torch.autograd.grad(M.sum(), A)
    label_gradient = model.label_gradient(model.pool(A), labels)
    assert not label_gradient.requires_grad
    assert model.label_gradient(model.pool(A), labels, create_graph=True).requires_grad
    w = attention.channel_weights(label_gradient, *A.shape[1:])
    torch.testing.assert_close(gradient, w[:, :, None, None] * (M.detach() > 0)[:, None], rtol=1e-12, atol=1e-14)


RANDOM = torch.rand(3, 9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
FIRST_ROW = torch.zeros(3, 9, 5, dtype=torch.float64).index_fill_(1, torch.tensor([0]), 1.0)
ZERO, ONES = torch.zeros_like(RANDOM), torch.ones_like(RANDOM)
EDGES = {  # maps, threshold, whether their distance is zero
    "zero and random": (ZERO, RANDOM, 0.5, False),
    "zero and zero": (ZERO, ZERO, 0.5, True),
    "identical": (RANDOM, RANDOM.clone(), 0.5, True),
    "all below t": (RANDOM, RANDOM.flip(1), 1.0, False),
    "maximum in the first row": (FIRST_ROW, RANDOM, 0.5, False),
    "single row": (RANDOM[:, :1], RANDOM[:, 1:2], 0.5, True),
    "constant": (3 * ONES, 0.1 * ONES, 0.5, True),
    "subnormal": (RANDOM * 1e-42, RANDOM.flip(1), 0.5, False),
    "very large": (RANDOM * 1e30, RANDOM.flip(1) * 1e30, 0.5, False),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", EDGES)
def test_distance_mask_and_gradient_are_finite(case, dtype):
    *maps, threshold, equal = EDGES[case]
    map_1, map_2 = (m.to(dtype).clone().requires_grad_() for m in maps)
    distance = attention.attention_distance(map_1, map_2, threshold)
    mask = attention.image_mask(map_1, (18, 10))
    (distance.sum() + mask.sum()).backward()
    for tensor in (distance, mask, map_1.grad, map_2.grad):
        assert torch.isfinite(tensor).all()
    assert bool(distance.any()) != equal
    if case == "identical":
        (gradient,) = torch.autograd.grad(attention.attention_distance(map_1, map_2).sum(), map_1)
        assert not gradient.any()
