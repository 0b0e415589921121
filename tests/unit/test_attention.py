"""Attention maps against hand-worked numbers, autograd by definition, captum, and slow loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casnkit import attention
from casnkit.models import CASN, PairHead, evaluating

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
    return float((ours - oracle).abs().max() / oracle.max())


# ---- hand-worked --------------------------------------------------------------------------------------------------


def hand_model() -> CASN:
    """A pair classifier small enough for paper: z_1 = 3 relu(d_0 - d_1) - relu(2 d_0 + d_1)."""
    model = CASN(2, backbone="small").double().eval()
    model.pair_head = PairHead(2, 2).double()
    with torch.no_grad():
        model.pair_head[0].weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 1.0]]))
        model.pair_head[3].weight.copy_(torch.tensor([[0.0, 0.0], [3.0, -1.0]]))
    return model


# f_1 = (12/4, 4/4) = (3, 1) and f_2 = (4/4, 8/4) = (1, 2), so f^- = (2, -1).
HAND_1 = torch.tensor([[[[4.0, 8.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]], dtype=torch.float64)
HAND_2 = torch.tensor([[[[0.0, 0.0], [0.0, 4.0]], [[2.0, 2.0], [2.0, 2.0]]]], dtype=torch.float64)

# Both hidden units are on (2 + 1 = 3 and 4 - 1 = 3): dz_1/df^- = 3 (1, -1) - (2, 1) = (1, -4).
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


@pytest.mark.parametrize("mode", HAND_MAPS)
def test_equation_4_by_hand(mode):
    maps = hand_model().siamese_attention_of(HAND_1, HAND_2, mode=mode)
    for ours, expected in zip(maps, HAND_MAPS[mode], strict=True):
        torch.testing.assert_close(ours[0], torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_equation_4_by_hand_in_the_other_order():
    # z(2, 1) sees (-2, 1): both hidden units are off (-3, -3), the gradient is zero, no channel is chosen by "paper".
    model = hand_model()
    turned = model.siamese_attention_of(HAND_2, HAND_1)
    assert all(not m.any() for m in turned)
    # "v1" chooses by f^- itself: channel 1, hence A_,1 / 4.
    of_2, of_1 = model.siamese_attention_of(HAND_2, HAND_1, mode="v1")
    assert torch.equal(of_2, HAND_2[:, 1] / 4)
    assert torch.equal(of_1, HAND_1[:, 1] / 4)
    # Both orders: the mean of the two, for each image with itself.
    both = model.siamese_attention_of(HAND_1, HAND_2, order="both")
    assert torch.equal(both[0][0], torch.tensor([[0.5, 1.0], [0.0, 0.0]], dtype=torch.float64))
    assert torch.equal(both[1][0], torch.tensor([[0.0, 0.0], [0.0, 0.5]], dtype=torch.float64))


def test_identification_map_by_hand():
    # g = dy_c/df = (3, -1), so w = (3, -1) / 4:  M = relu(3 A_0 - A_1) / 4 = relu([[11, 23], [-1, -1]]) / 4.
    ours = attention.identification_map(HAND_1, torch.tensor([[3.0, -1.0]], dtype=torch.float64))
    assert torch.equal(ours[0], torch.tensor([[2.75, 5.75], [0.0, 0.0]], dtype=torch.float64))


def test_striped_maps_by_hand():
    # Two stripes of one row. alpha = (1, 0 | 0, 1): the top stripe uses channel 0, the bottom one channel 1.
    alpha = torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    # The paper's weights count stripes, whichever: (1 + 0, 0 + 1) / 4, so M = (A_0 + A_1) / 4 = [[5, 9], [1, 1]] / 4.
    ours = attention.siamese_map(HAND_1, alpha)
    assert torch.equal(ours[0], torch.tensor([[1.25, 2.25], [0.25, 0.25]], dtype=torch.float64))
    # Per stripe, a row of 2 pixels averages: top = [4, 8] / 2, bottom = [1, 1] / 2; sum 7 = <alpha, f> = 6 + 1.
    ours = attention.siamese_map(HAND_1, alpha, per_stripe=True)
    assert torch.equal(ours[0], torch.tensor([[2.0, 4.0], [0.5, 0.5]], dtype=torch.float64))


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
    distance = attention.attention_distance(map_1, map_2, 0.4)
    assert distance.item() == pytest.approx(math.sqrt(0.40625), rel=1e-14)
    assert distance.item() == pytest.approx(0.6373774, abs=1e-7)


# ---- closed form = definition = captum ----------------------------------------------------------------------------


def by_definition(
    model: CASN, map_1: Tensor, map_2: Tensor, mode: str, per_stripe: bool = False
) -> tuple[Tensor, Tensor, list[tuple[float, float]]]:
    """Grad-CAM pair by pair with ``backward`` and ``retain_grad``, as the paper writes it; also the scores s_j."""
    out_1, out_2, scores = [], [], []
    for i in range(len(map_1)):
        leaves = [m[i : i + 1].detach().clone().requires_grad_() for m in (map_1, map_2)]
        features = [model.pool(leaf) for leaf in leaves]
        difference = features[0] - features[1]
        difference.retain_grad()
        model.pair_scores(difference)[0, 1].backward(retain_graph=True)
        g = difference.grad.detach()
        if mode == "gradcam":  # the score is z_1 itself
            gradients = [leaf.grad for leaf in leaves]
            scores.append((0.0, 0.0))
        else:
            one = torch.ones_like(g)
            alpha_1 = {"paper": one * (g > 0), "signed": one * (g > 0), "v1": one * (difference.detach() > 0)}[mode]
            alpha_2 = one * (g < 0) if mode == "signed" else alpha_1
            gradients = []
            s = [(a * f).sum() for a, f in zip((alpha_1, alpha_2), features, strict=True)]
            for leaf, score in zip(leaves, s, strict=True):
                leaf.grad = None
                score.backward(retain_graph=True)
                gradients.append(leaf.grad)
            scores.append((s[0].item(), s[1].item()))
        for leaf, gradient, out in zip(leaves, gradients, (out_1, out_2), strict=True):
            weight = gradient if per_stripe else gradient.mean((2, 3), keepdim=True)
            out.append((weight * leaf.detach()).sum(1).clamp_min(0))
    return torch.cat(out_1), torch.cat(out_2), scores


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("act", ["none", "relu", "leaky_relu"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_closed_form_is_the_definition(pooling, act, dtype, make_model, make_images):
    model = make_model(dtype=dtype, pair_activation=act, id_activation=act, **POOLINGS[pooling])
    pairs = 24
    maps = model.feature_map(make_images(2 * pairs, dtype=dtype)).detach().chunk(2)
    for mode in attention.SIAMESE_MODES:
        for per_stripe in (False, True):
            ours = model.siamese_attention_of(*maps, mode=mode, per_stripe=per_stripe)
            *oracle, scores = by_definition(model, *maps, mode, per_stripe)
            for image in (0, 1):
                assert relative(ours[image], oracle[image]) < TOLERANCE[dtype], (mode, per_stripe)
            if mode != "gradcam" and (per_stripe or model.stripes == 1):  # sum(M) = s
                s = torch.tensor(scores, dtype=dtype).T
                for image in (0, 1):
                    torch.testing.assert_close(
                        ours[image].sum((1, 2)), s[image], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
                    )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("act", ["none", "relu", "leaky_relu"])
@pytest.mark.parametrize("options", [*POOLINGS.values(), {"pooling": "stripes", "stripes": 2, "feature": "reduced"}])
def test_identification_map_is_the_definition(options, act, dtype, make_model, make_images):
    model = make_model(dtype=dtype, id_activation=act, **options)
    images, labels = make_images(20, dtype=dtype), torch.arange(20) % 5
    ours = model.identification_attention(images, labels).detach()
    oracle = []
    for image, label in zip(images, labels, strict=True):
        A = model.feature_map(image[None]).detach().requires_grad_()
        model.id_scores(model.pool(A))[0, label].backward()
        oracle.append((A.grad.mean((2, 3), keepdim=True) * A.detach()).sum(1).clamp_min(0))
    # One batch of 20 and 20 batches of one differ in the trunk's last bits, amplified where a map nearly cancels.
    assert relative(ours, torch.cat(oracle)) < 20 * TOLERANCE[dtype]


class Tapped(nn.Module):
    """Both branches with an ``nn.Identity`` tap of their own, which is what captum can hook. Returns z_1 or s_j."""

    def __init__(self, model: CASN, score: str) -> None:
        super().__init__()
        self.model, self.score = model, score
        self.taps = nn.ModuleList([nn.Identity(), nn.Identity()])

    def forward(self, images_1: Tensor, images_2: Tensor) -> Tensor:
        maps = [tap(self.model.feature_map(x)) for tap, x in zip(self.taps, (images_1, images_2), strict=True)]
        f_1, f_2 = (self.model.pool(m) for m in maps)
        if self.score == "z":
            return self.model.pair_scores(f_1 - f_2)[:, 1]
        difference = (f_1 - f_2).detach().requires_grad_()
        (g,) = torch.autograd.grad(self.model.pair_scores(difference)[:, 1].sum(), difference)
        return ((g > 0).to(g) * (f_1 if self.score == "s_1" else f_2)).sum(1)


def captum_map(model: CASN, score: str, image: int, images: tuple[Tensor, Tensor]) -> Tensor:
    layer_gradcam = pytest.importorskip("captum.attr").LayerGradCam
    wrapper = Tapped(model, score).eval()
    return layer_gradcam(wrapper, wrapper.taps[image]).attribute(images, relu_attributions=True)[:, 0].detach()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("act", ["none", "relu", "leaky_relu"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_closed_form_is_captum(pooling, act, dtype, make_model, make_images):
    model = make_model(dtype=dtype, pair_activation=act, seed=1, **POOLINGS[pooling])
    images = make_images(48, dtype=dtype, seed=1).chunk(2)
    check_against_captum(model, images, 20 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
def test_closed_form_is_captum_for_resnet18(dtype, make_model, make_images):
    model = make_model(dtype=dtype, backbone="resnet18")
    check_against_captum(model, make_images(6, 64, 32, dtype).chunk(2), 20 * TOLERANCE[dtype])


def check_against_captum(model: CASN, images: tuple[Tensor, Tensor], tolerance: float) -> None:
    for mode, scores in {"gradcam": ("z", "z"), "paper": ("s_1", "s_2")}.items():
        ours = model.siamese_attention(*images, mode=mode)
        for j in (0, 1):
            oracle = captum_map(model, scores[j], j, images)
            assert relative(ours[j].detach(), oracle) < tolerance, mode


def test_a_reduced_feature_goes_through_autograd_and_is_the_definition(make_model, make_images):
    model = make_model(pooling="stripes", stripes=2, feature="reduced", id_activation="leaky_relu")
    assert not model.has_closed_form
    maps = model.feature_map(make_images(20)).detach().chunk(2)
    for mode in attention.SIAMESE_MODES:
        ours = model.siamese_attention_of(*maps, mode=mode)
        *oracle, _ = by_definition(model, *maps, mode)
        for image in (0, 1):
            assert relative(ours[image], oracle[image]) < 1e-10
    with pytest.raises(ValueError, match="per-stripe"):
        model.siamese_attention_of(*maps, per_stripe=True)


@pytest.mark.parametrize("act", ["none", "relu"])
def test_a_linear_pair_classifier_chooses_the_same_channels_for_every_pair(act, make_model, make_images):
    model = make_model(pair_activation=act)
    f = model.pool(model.feature_map(make_images(24)))
    alpha, _ = attention.siamese_weights(model.pair_gradient(f[:12] - f[12:]), f[:12] - f[12:])
    assert 0 < alpha.mean() < 1
    assert model.pair_head.is_linear == (act == "none")
    assert bool((alpha == alpha[0]).all()) == (act == "none")


def test_maps_of_a_pair_do_not_depend_on_the_batch(make_model, make_images):
    model = make_model()
    images_1, images_2 = make_images(12).chunk(2)
    together = model.siamese_attention(images_1, images_2)
    for i in range(6):
        alone = model.siamese_attention(images_1[i : i + 1], images_2[i : i + 1])
        for j in (0, 1):
            torch.testing.assert_close(alone[j][0], together[j][i], rtol=1e-9, atol=1e-12)


def test_images_of_two_sizes_make_a_pair(make_model, make_images):
    model = make_model()
    maps = model.siamese_attention(make_images(3), make_images(3, 64, 32))
    assert [tuple(m.shape) for m in maps] == [(3, 4, 2), (3, 8, 4)]
    assert torch.isfinite(attention.attention_distance(*maps)).all()


def test_mean_map_is_the_plain_mean(make_images):
    A = make_images(2).abs()
    assert torch.allclose(attention.mean_map(A), (A[:, 0] + A[:, 1] + A[:, 2]) / 3)


def test_unknown_names_are_refused_with_the_list(make_model):
    g = torch.ones(1, 2)
    with pytest.raises(ValueError, match=r"paper, signed, gradcam, v1.*'sign'"):
        attention.siamese_weights(g, g, "sign")
    with pytest.raises(ValueError, match=r"'max' or 'minmax'.*'l2'"):
        attention.normalise_map(g, "l2")
    with pytest.raises(ValueError, match="'given' or 'both'"):
        make_model().siamese_attention_of(HAND_1, HAND_2, order="forward")
    with pytest.raises(ValueError, match="multiple of 4"):
        attention.channel_weights(torch.ones(1, 6), 4, 3, 3)


# ---- stripes, rows, masks: slow loops -----------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "stripes"), [(9, 1), (24, 6), (9, 6), (8, 3), (5, 5), (7, 2)])
def test_stripes_are_adaptive_average_pooling(height, stripes):
    A = torch.rand(2, 3, height, 4, dtype=torch.float64)
    ours = torch.einsum("bch,ph->bpc", A.mean(-1), attention.stripe_matrix(height, stripes, A))
    torch.testing.assert_close(ours.mT[..., None], F.adaptive_avg_pool2d(A, (stripes, 1)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("stripes", [0, 10])
def test_more_stripes_than_rows_are_refused(stripes):
    with pytest.raises(ValueError, match=f"{stripes} stripes, got 9"):
        attention.stripe_matrix(9, stripes, torch.zeros(1))


def slow_bounds(profile: list[float], threshold: float) -> tuple[int, int]:
    above = [i for i, value in enumerate(profile) if value > threshold * max(profile)]
    return (above[0], above[-1]) if above else (0, len(profile) - 1)


def slow_aligned(map_: Tensor, threshold: float, rows: int) -> Tensor:
    profile = [max(row) for row in map_.tolist()]
    top = max(profile)
    profile = [value / top if top > 0 else 0.0 for value in profile]
    first, last = slow_bounds(profile, threshold)
    kept = torch.tensor(profile[first : last + 1], dtype=map_.dtype)
    return F.interpolate(kept[None, None], rows, mode="linear", align_corners=False)[0, 0]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_rows_against_slow_loops(threshold):
    generator = torch.Generator().manual_seed(3)
    for height, width in [(9, 5), (24, 8), (4, 2), (1, 3), (18, 9)]:
        maps = torch.rand(40, height, width, generator=generator, dtype=torch.float64)
        maps *= torch.rand(40, height, 1, generator=generator, dtype=torch.float64) > 0.4  # empty rows, empty maps
        maps[0] = 0
        profile = attention.row_profile(maps)
        assert profile.tolist() == [[max(row) for row in m] for m in maps.tolist()]
        first, last = attention.crop_bounds(profile, threshold)
        expected = [slow_bounds(p, threshold) for p in profile.tolist()]
        assert list(zip(first.tolist(), last.tolist(), strict=True)) == expected
        ours = attention.aligned_profile(maps, threshold)
        slow = torch.stack([slow_aligned(m, threshold, height) for m in maps])
        torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-12)
        distance = attention.attention_distance(maps[:20], maps[20:], threshold)
        torch.testing.assert_close(distance, (slow[:20] - slow[20:]).square().sum(1).sqrt(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows", [None, 1, 5, 9, 18, 31])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resize_rows_is_interpolate_slice_by_slice(rows, dtype):
    generator = torch.Generator().manual_seed(0)
    profile = torch.rand(45, 9, generator=generator, dtype=torch.float64).to(dtype)
    bounds = [(a, b) for a in range(9) for b in range(a, 9)]  # all 45 of them
    first, last = (torch.tensor(x) for x in zip(*bounds, strict=True))
    ours = attention.resize_rows(profile, first, last, rows)
    for i, (a, b) in enumerate(bounds):
        slow = F.interpolate(profile[i, None, None, a : b + 1], rows or 9, mode="linear", align_corners=False)[0, 0]
        torch.testing.assert_close(ours[i], slow, rtol=1e-6, atol=1e-6 if dtype is torch.float32 else 1e-13)


def test_maps_of_two_heights_meet_at_the_taller_one():
    maps = torch.rand(6, 9, 4, dtype=torch.float64), torch.rand(6, 24, 8, dtype=torch.float64)
    slow = [torch.stack([slow_aligned(m, 0.5, 24) for m in ms]) for ms in maps]
    expected = (slow[0] - slow[1]).square().sum(1).sqrt()
    torch.testing.assert_close(attention.attention_distance(*maps), expected, rtol=1e-10, atol=1e-12)


def test_distance_is_blind_to_scale_and_vertical_shift():
    figure = torch.tensor([0.6, 1.0, 0.7], dtype=torch.float64)[:, None] * torch.ones(3, 2, dtype=torch.float64)
    high, low = torch.zeros(1, 9, 2, dtype=torch.float64), torch.zeros(1, 9, 2, dtype=torch.float64)
    high[0, 1:4], low[0, 5:8] = figure, 7 * figure
    assert attention.attention_distance(high, low).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", ["max", "minmax"])
def test_normalised_maps_lie_in_0_1_and_forget_their_scale(kind):
    maps = torch.rand(5, 9, 4, dtype=torch.float64) + 0.2
    ours = attention.normalise_map(maps, kind)
    for m, n in zip(maps, ours, strict=True):
        low = m.min() if kind == "minmax" else 0
        torch.testing.assert_close(n, (m - low) / (m.max() - low), rtol=1e-12, atol=1e-14)
    for scale in (1e-12, 1e-6, 1e6, 1e30):
        torch.testing.assert_close(attention.normalise_map(maps * scale, kind), ours, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["max", "minmax"])
@pytest.mark.parametrize(("dtype", "scale"), [(torch.float32, 1e-9), (torch.bfloat16, 2**-10), (torch.float16, 2**-11)])
def test_a_faint_map_is_not_taken_for_an_empty_one(kind, dtype, scale):
    # Identification maps carry dy/df / (h w): a few thousandths is an ordinary maximum, also in half precision.
    maps = torch.tensor([[[1.0, 0.5], [0.25, 0.0]]], dtype=dtype)
    assert torch.equal(attention.normalise_map(maps * scale, kind), maps)


def test_not_a_number_is_not_hidden():
    maps = torch.ones(2, 3, 3)
    maps[0, 1, 1] = math.nan
    for kind in ("max", "minmax"):
        assert attention.normalise_map(maps, kind)[0].isnan().any()
        assert not attention.normalise_map(maps, kind)[1].isnan().any()


def test_soft_mask_and_hidden_image_by_hand():
    # M in [0, 1]; S = sigmoid(10 (M - 1/2)): sigmoid(-5) = 0.0066929, sigmoid(0) = 0.5, sigmoid(5) = 0.9933071.
    S = attention.soft_mask(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    expected = [1 / (1 + math.exp(5)), 0.5, 1 / (1 + math.exp(-5))]
    assert S.tolist() == pytest.approx(expected, rel=1e-14)
    assert S.tolist() == pytest.approx([0.0066929, 0.5, 0.9933071], abs=1e-7)
    assert attention.soft_mask(torch.tensor(0.25), 4, 0.5).item() == pytest.approx(1 / (1 + math.e))
    # 8 (1 - 1/4) + 2 * 1/4 = 6.5
    assert attention.hide(torch.tensor(8.0), torch.tensor(0.25), 2.0).item() == 6.5


def test_image_mask_is_minmax_upsample_sigmoid():
    maps = torch.rand(3, 4, 2, dtype=torch.float64) * 7 + 3
    ours = attention.image_mask(maps, (32, 16), 8.0, 0.4)
    assert ours.shape == (3, 1, 32, 16)
    for m, mask in zip(maps, ours, strict=True):
        scaled = (m - m.min()) / (m.max() - m.min())
        large = F.interpolate(scaled[None, None], size=(32, 16), mode="bilinear")[0]
        torch.testing.assert_close(mask, 1 / (1 + torch.exp(-8 * (large - 0.4))), rtol=1e-12, atol=1e-14)


def test_the_mask_is_not_transposed():
    maps = torch.zeros(1, 6, 2)
    maps[0, 0] = 1  # the head
    mask = attention.image_mask(maps, (48, 16))[0, 0]
    assert mask[:6].min() > 0.9
    assert mask[24:].max() < 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_precision_is_kept(dtype):
    A, g = torch.rand(2, 3, 6, 2).to(dtype), torch.randn(2, 3).to(dtype)
    maps = attention.identification_map(A, g)
    outputs = [
        maps,
        attention.mean_map(A),
        attention.striped_map(A, torch.cat([g, g], 1)),
        *attention.siamese_weights(g, g),
        attention.normalise_map(maps),
        attention.image_mask(maps, (24, 8)),
        attention.aligned_profile(maps),
        attention.attention_distance(maps, maps.flip(1)),
        attention.hide(A, attention.soft_mask(A)),
    ]
    assert {t.dtype for t in outputs} == {dtype}
    assert all(torch.isfinite(t).all() for t in outputs)


@pytest.mark.parametrize("rows", [9, 18, 24])
def test_resizing_in_half_precision_costs_no_more_than_half_precision(rows):
    generator = torch.Generator().manual_seed(0)
    profile = torch.rand(50, rows, generator=generator).bfloat16()
    first = torch.zeros(50, dtype=torch.int64)
    whole = attention.resize_rows(profile, first, first + rows - 1)
    assert torch.equal(whole, profile), "a profile that needs no resizing must come back as it is"
    last = torch.arange(50) % (rows - 1) + 1
    ours = attention.resize_rows(profile, first, last).double()
    exact = attention.resize_rows(profile.double(), first, last)
    assert (ours - exact).abs().max() < 0.02  # bfloat16 has 8 bits: one or two units in the last place


# ---- correlation of maps: NumPy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12], ids=["as drawn", "tiny", "huge"])
def test_map_correlation_equals_numpy(scale):
    generator = torch.Generator().manual_seed(3)
    first = torch.rand(6, 7, 3, generator=generator, dtype=torch.float64)
    second = (
        torch.rand(6, 7, 3, generator=generator, dtype=torch.float64) + torch.linspace(-2, 2, 6)[:, None, None] * first
    )
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    assert min(expected) < -0.5
    assert max(expected) > 0.5
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        found = attention.map_correlation((scale * first).to(dtype), second.to(dtype))
        assert found.dtype == dtype
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance)


def test_map_correlation_ignores_scale_and_offset():
    first = torch.rand(4, 9, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    ones = torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(attention.map_correlation(first, 3 * first + 2), ones)
    torch.testing.assert_close(attention.map_correlation(first, 2 - 3 * first), -ones)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])  # the mean of many 0.1 is not 0.1
def test_map_correlation_of_a_constant_map_is_zero(value):
    varied = torch.rand(2, 9, 5, generator=torch.Generator().manual_seed(5)).requires_grad_()
    constant = torch.full((2, 9, 5), value, requires_grad=True)
    found = attention.map_correlation(constant, varied)
    assert found.tolist() == [0.0, 0.0]
    assert attention.map_correlation(constant, constant).tolist() == [0.0, 0.0]
    for gradient in torch.autograd.grad(found.sum(), [constant, varied]):
        assert torch.isfinite(gradient).all()


def test_map_correlation_refuses_maps_of_other_shapes():
    with pytest.raises(ValueError, match=r"one shape \(B, h, w\), got \(1, 3, 4\) and \(1, 6, 2\)"):
        attention.map_correlation(torch.rand(1, 3, 4), torch.rand(1, 6, 2))


# ---- modes, gradients, random numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("feature", ["pooled", "reduced"])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_maps_without_gradient_tracking(context, feature, make_model, make_images):
    model = make_model(feature=feature)
    images = make_images(6)
    expected = model.identification_attention(images, torch.arange(6) % 5).detach()
    expected_pair = [m.detach() for m in model.siamese_attention(*images.chunk(2))]
    with context():
        images = make_images(6)  # made inside: under inference_mode these are inference tensors, as a loader's may be
        labels = torch.arange(6) % 5
        ours = model.identification_attention(images, labels)
        pair = model.siamese_attention(*images.chunk(2))
    assert not ours.requires_grad
    torch.testing.assert_close(ours.clone(), expected, rtol=1e-10, atol=1e-12)
    for a, b in zip(pair, expected_pair, strict=True):
        torch.testing.assert_close(a.clone(), b, rtol=1e-10, atol=1e-12)


def modes(model: nn.Module) -> list[bool]:
    return [m.training for m in model.modules()]


def test_attention_leaves_modes_statistics_gradients_and_random_numbers_alone(make_model, make_images):
    model = make_model(id_dropout=0.5, pair_dropout=0.5)
    quiet = [model.identification_attention(make_images(4), torch.arange(4)).detach()]
    quiet += [m.detach() for m in model.siamese_attention(*make_images(4).chunk(2))]
    model.train()
    model.trunk.stages[1].eval()
    before, state, rng = modes(model), {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    loud = [model.identification_attention(make_images(4), torch.arange(4)).detach()]
    loud += [m.detach() for m in model.siamese_attention(*make_images(4).chunk(2))]
    assert modes(model) == before
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    for a, b in zip(loud, quiet, strict=True):  # dropout and batch statistics play no part
        assert torch.equal(a, b)


def test_modes_come_back_after_an_exception(make_model, make_images):
    model = make_model().train()
    model.trunk.stem.eval()
    before = modes(model)
    inside = []

    def stop() -> None:
        inside.extend(modes(model))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), evaluating(model):
        stop()
    assert not any(inside)
    assert modes(model) == before
    with pytest.raises(ValueError, match="labels"):
        model.identification_attention(make_images(1), torch.tensor([99]))
    assert modes(model) == before


@pytest.mark.parametrize("feature", ["pooled", "reduced"])
def test_batchnorm_does_not_leak_between_samples(feature, make_model, make_images):
    model = make_model(feature=feature, id_activation="relu", id_dropout=0.5)
    with torch.no_grad():
        A = model.feature_map(make_images(5))
    model.train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    other = A.clone()
    other[1:] = other[1:] * 3 + 1
    labels = torch.arange(5)
    maps = [model.identification_attention_of(x, labels)[0] for x in (A, other)]
    assert torch.equal(*maps)
    if feature == "pooled":
        f, f_other = model.pool(A), model.pool(other)
        assert torch.equal(model.label_gradient(f, labels)[0], model.label_gradient(f_other, labels)[0])
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items()), "a map must not train BatchNorm"


@pytest.mark.parametrize("second", [False, True])
def test_the_label_gradient_has_a_graph_only_on_request(second, make_model, make_images):
    model = make_model()
    f = model.pool(model.feature_map(make_images(3)))
    assert model.label_gradient(f, torch.arange(3), create_graph=second).requires_grad == second


def test_the_map_carries_the_graph_of_the_feature_map_only(make_model, make_images):
    # dM/dA with the channel weights held fixed is w_k where the map is positive.
    model = make_model()
    A = model.feature_map(make_images(2)).detach().requires_grad_()
    labels = torch.tensor([0, 3])
    M = model.identification_attention_of(A, labels)
    (gradient,) = torch.autograd.grad(M.sum(), A)
    w = attention.channel_weights(model.label_gradient(model.pool(A), labels), *A.shape[1:])
    torch.testing.assert_close(gradient, w[:, :, None, None] * (M.detach() > 0)[:, None], rtol=1e-12, atol=1e-14)


def edge_maps(dtype: torch.dtype) -> dict[str, tuple[Tensor, Tensor, float]]:
    random = torch.rand(3, 9, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    first_row = torch.zeros(3, 9, 5, dtype=dtype)
    first_row[:, 0, 2] = 1
    one_pixel_pair = torch.rand(3, 1, 1).to(dtype), torch.rand(3, 1, 1).to(dtype)
    return {
        "zero and random": (torch.zeros(3, 9, 5, dtype=dtype), random, 0.5),
        "zero and zero": (torch.zeros(3, 9, 5, dtype=dtype), torch.zeros(3, 9, 5, dtype=dtype), 0.5),
        "identical": (random, random.clone(), 0.5),
        "all below t": (random, random.flip(1), 1.0),
        "above one": (random, random.flip(1), 2.0),
        "maximum in the first row": (first_row, random, 0.5),
        "single row": (random[:, :1], random[:, 1:2], 0.5),
        "one pixel": (*one_pixel_pair, 0.5),
        "constant": (torch.full_like(random, 3), torch.full_like(random, 0.1), 0.5),
        "very small": (random * 1e-30, random.flip(1) * 1e-30, 0.5),
        "subnormal": (random * 1e-42, random.flip(1), 0.5),
        "very large": (random * 1e30, random.flip(1) * 1e30, 0.5),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", edge_maps(torch.float32))
def test_distance_mask_and_gradient_are_finite(case, dtype):
    map_1, map_2, threshold = edge_maps(dtype)[case]
    map_1, map_2 = map_1.clone().requires_grad_(), map_2.clone().requires_grad_()
    distance = attention.attention_distance(map_1, map_2, threshold)
    mask = attention.image_mask(map_1, (18, 10))
    (distance.sum() + mask.sum()).backward()
    for tensor in (distance, mask, map_1.grad, map_2.grad):
        assert torch.isfinite(tensor).all()
    if case in ("zero and zero", "identical", "one pixel", "constant"):
        assert not distance.any()
    if case == "identical":
        (gradient,) = torch.autograd.grad(attention.attention_distance(map_1, map_2).sum(), map_1)
        assert not gradient.any()
