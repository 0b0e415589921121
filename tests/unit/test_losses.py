"""Equations 1 to 6: hand-worked numbers, slow loops, finite differences, and what a masked pass may touch."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from test_attention import by_definition, slow_aligned
from torch import Tensor, nn

from casnkit import attention
from casnkit.config import LossConfig
from casnkit.losses import (
    CASNLoss,
    attention_loss,
    consistency_loss,
    fill_of,
    identification_loss,
    masked_pass,
    pair_loss,
)
from casnkit.models import CASN

LABELS_1, LABELS_2 = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 4, 2, 1])  # same, different, same, different


def log(*odds: float) -> list[float]:
    return [math.log(o) for o in odds]


def test_equation_1_by_hand():
    # Probabilities 1/8, 2/8, 5/8 and 3/5, 1/5, 1/5. -log 5/8 = 0.4700036, -log 1/5 = 1.6094379, mean 1.0397208.
    logits = torch.tensor([[log(1, 2, 5)], [log(3, 1, 1)]], dtype=torch.float64)
    labels = torch.tensor([2, 1])
    assert identification_loss(logits, labels).item() == pytest.approx(1.0397208, abs=1e-7)
    # Two stripes: the sum over stripes, the mean over images. Image 1: label 0 in both, 1/8 and 3/5.
    logits = torch.tensor([[log(1, 2, 5), log(3, 1, 1)], [log(1, 1, 2), log(1, 1, 2)]], dtype=torch.float64)
    # -log 1/8 - log 3/5 = 2.5902672; image 2, label 2: -2 log 1/2 = 1.3862944.
    assert identification_loss(logits, torch.tensor([0, 2])).item() == pytest.approx(1.9882808, abs=1e-7)


def test_equation_2_by_hand():
    # What the masked images still score for their own labels: 5/8 and 1/5, mean 0.4125; as logits (log 5 + log 1) / 2.
    logits = torch.tensor([log(1, 2, 5), log(3, 1, 1)], dtype=torch.float64)
    labels = torch.tensor([2, 1])
    assert attention_loss(logits, labels, "probability").item() == pytest.approx(0.4125, abs=1e-15)
    assert attention_loss(logits, labels, "logit").item() == pytest.approx(math.log(5) / 2, abs=1e-15)
    # sigmoid(log o) = o / (o + 1): 5/6 and 1/2, mean 2/3.
    assert attention_loss(logits, labels, "sigmoid").item() == pytest.approx(2 / 3, abs=1e-15)
    # -log(1 - p): -log 3/8 = 0.9808293 and -log 4/5 = 0.2231436, mean 0.6019864.
    assert attention_loss(logits, labels, "log").item() == pytest.approx(0.6019864, abs=1e-7)


def test_the_logarithm_keeps_its_gradient_where_the_probability_loses_it():
    logits = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
    gradients = {}
    for score in ("probability", "log"):
        (gradients[score],) = torch.autograd.grad(attention_loss(logits, torch.tensor([0]), score), logits)
    assert gradients["probability"].abs().max() < 1e-15
    torch.testing.assert_close(gradients["log"], torch.tensor([[1.0, -0.5, -0.5]]))


def test_equations_3_5_and_6_by_hand():
    # Equation 3: p(same) = 3/4, -log 3/4 = 0.2876821; p(different) = 4/5, -log 4/5 = 0.2231436.
    z, same = torch.tensor([log(1, 3), log(4, 1)], dtype=torch.float64), torch.tensor([True, False])
    L_bce = pair_loss(z, same)
    assert L_bce.item() == pytest.approx((0.2876821 + 0.2231436) / 2, abs=1e-7)
    # Equation 5: the maps of the first pair are those worked out in test_attention, at a distance of
    # sqrt(0.40625) = 0.6373774; the second pair is negative, its maps must not matter.
    one = torch.tensor([[0.0, 0.0], [2.0, 1.0], [4.0, 3.0], [0.0, 1.0]], dtype=torch.float64)
    two = torch.tensor([[3.0, 0.0], [1.0, 3.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    spatial = consistency_loss(torch.stack([one, one]), torch.stack([two, one.flip(0)]), same, 0.4)
    assert spatial.item() == pytest.approx(0.6373774, abs=1e-7)
    L_sa = L_bce + 0.2 * spatial
    assert L_sa.item() == pytest.approx(0.3828883, abs=1e-7)  # 0.2554128 + 0.1274755
    # Two positive pairs: the mean, (0.6373774 + 0) / 2.
    spatial = consistency_loss(torch.stack([one, one]), torch.stack([two, one]), same | True, 0.4)
    assert spatial.item() == pytest.approx(0.3186887, abs=1e-7)
    # A margin of 0.8 for the negative pair: with its maps at a distance d, max(0, 0.8 - d) more.
    two_of_one = torch.stack([one, one]), torch.stack([two, two])
    d = attention.attention_distance(one[None], two[None], 0.4).item()
    with_margin = consistency_loss(*two_of_one, same, 0.4, margin=0.8)
    assert with_margin.item() == pytest.approx(d + 0.8 - d, abs=1e-12)
    assert consistency_loss(*two_of_one, same, 0.4, margin=0.5).item() == pytest.approx(d, abs=1e-12), (
        "far enough apart"
    )
    # Without positive pairs: zero, with a finite gradient.
    maps = torch.rand(2, 3, 9, 5, requires_grad=True)
    loss = consistency_loss(maps[0], maps[1], torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert loss == maps.grad.abs().max() == 0


@pytest.mark.parametrize(("scale", "threshold"), [("raw", 0.4), ("absolute", 1.5)])
def test_profiles_as_they_are(scale, threshold):
    # The maps worked out in test_attention: row maxima 0 2 4 1 and 3 3 0 0. Raw, 0.4 of the maximum keeps rows 1, 2 and
    # rows 0, 1, as does an absolute 1.5: (2, 4) and (3, 3), resized to four rows 2 2.5 3.5 4 and 3 3 3 3.
    one = torch.tensor([[[0.0, 0.0], [2.0, 1.0], [4.0, 3.0], [0.0, 1.0]]], dtype=torch.float64)
    two = torch.tensor([[[3.0, 0.0], [1.0, 3.0], [0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    assert attention.attention_distance(one, two, threshold, scale).item() == pytest.approx(2.5**0.5, abs=1e-12)
    whole = attention.attention_distance(one, two, 9.0, "absolute").item()  # no row above: nothing is cropped
    assert whole == pytest.approx((9 + 1 + 16 + 1) ** 0.5, abs=1e-12)
    with pytest.raises(ValueError, match="max, raw, absolute, got 'maximum'"):
        attention.attention_distance(one, two, 0.5, "maximum")


def test_sums_count_images_and_pairs(make_model, make_images):
    model, images = make_model(pooling="stripes", stripes=2), (make_images(4), make_images(4, seed=1))
    mean = CASNLoss(LossConfig(ia_stripes="sum"))(model, *images, LABELS_1, LABELS_2)
    total = CASNLoss(LossConfig(ia_stripes="sum", reduction="sum"))(model, *images, LABELS_1, LABELS_2)["total"]
    siamese = mean["bce"] + 0.2 * mean["consistency"]
    torch.testing.assert_close(total, 8 * (mean["ide"] + 0.5 * mean["ia"]) + 4 * 0.05 * siamese)


def test_l_ia_of_each_stripe(make_model, make_images):
    model, images = make_model(pooling="stripes", stripes=2), (make_images(4), make_images(4, seed=1))
    parts, whole = [], CASNLoss(LossConfig(ia_stripes="sum"))(model, *images, LABELS_1, LABELS_2)["ia"]
    for stripe in range(2):
        A, f, _ = model(torch.cat(images))
        M = attention.identification_map(A, model.label_gradient(f, torch.cat([LABELS_1, LABELS_2])))
        masked = attention.hide(torch.cat(images), attention.image_mask(M, images[0].shape[2:]))
        scores = model(masked)[2][:, stripe]
        parts.append(attention_loss(scores, torch.cat([LABELS_1, LABELS_2])))
    torch.testing.assert_close(whole, sum(parts))


def test_the_gradient_of_a_training_batch_mixes_its_samples(make_model):
    model, labels = make_model(id_norm=True).train(), torch.tensor([0, 1, 2])
    f = torch.rand(3, model.feature_size, dtype=torch.float64, requires_grad=True)
    before = {k: v.clone() for k, v in model.identity_head.named_buffers()}
    ours = model.label_gradient(f, labels, batch_statistics=True)
    expected = torch.autograd.grad(model.id_scores(f).gather(1, labels[:, None]).sum(), f)[0]
    assert not torch.allclose(ours, model.label_gradient(f, labels))
    torch.testing.assert_close(ours, expected)
    fresh = make_model(id_norm=True).train()
    fresh.label_gradient(f, labels, batch_statistics=True)
    assert all(torch.equal(v, before[k]) for k, v in fresh.identity_head.named_buffers()), "no statistics are counted"


def slow_loss(model: CASN, images_1: Tensor, images_2: Tensor, config: LossConfig) -> dict[str, float]:
    """Equations 1 to 6 image by image and pair by pair, by autograd through the pooling; model in eval mode."""
    ide = ia = bce = consistency = 0.0
    pairs, positives = len(images_1), 0
    for image, label in zip(torch.cat([images_1, images_2]), torch.cat([LABELS_1, LABELS_2]), strict=True):
        A = model.feature_map(image[None]).detach().requires_grad_()
        scores = model.stripe_scores(model.pool(A))[0]
        ide -= sum(s.log_softmax(0)[label].item() for s in scores.detach())
        scores.mean(0)[label].backward()
        M = (A.grad.mean((2, 3), keepdim=True) * A.detach()).sum(1)[0].clamp_min(0)
        M = (M - M.min()) / (M.max() - M.min())
        M = F.interpolate(M[None, None], image.shape[1:], mode="bilinear")[0, 0]
        S = 1 / (1 + torch.exp(-config.mask_slope * (M - config.mask_centre)))
        y = model.stripe_scores(model.pool(model.feature_map((image * (1 - S))[None])))[0].mean(0).detach()
        ia += {"probability": y[label].exp() / y.exp().sum(), "logit": y[label]}[config.ia_score].item()
    for x_1, x_2, same in zip(images_1, images_2, LABELS_1 == LABELS_2, strict=True):
        A_1, A_2 = model.feature_map(x_1[None]), model.feature_map(x_2[None])
        z = model.pair_scores(model.pool(A_1) - model.pool(A_2))[0]
        bce -= z.log_softmax(0)[int(same)].item()
        if same:
            positives += 1
            maps = by_definition(model, A_1, A_2, "paper")
            profiles = [slow_aligned(M[0], config.threshold, M.shape[1]) for M in maps]
            consistency += (profiles[0] - profiles[1]).square().sum().sqrt().item()
    terms = {"ide": ide / (2 * pairs), "ia": ia / (2 * pairs), "bce": bce / pairs}
    terms["consistency"] = consistency / positives
    total = terms["ide"] + config.ia_weight * terms["ia"]
    total += config.sa_weight * (terms["bce"] + config.consistency_weight * terms["consistency"])
    return terms | {"total": total}


@pytest.mark.parametrize("score", ["probability", "logit"])
@pytest.mark.parametrize("options", [{}, {"pooling": "stripes", "stripes": 2}], ids=["gap", "stripes"])
@pytest.mark.parametrize("pair_activation", ["relu", "none"])
def test_the_loss_is_the_slow_one(score, options, pair_activation, make_model, make_images):
    model = make_model(pair_activation=pair_activation, **options)
    images = make_images(4), make_images(4, seed=1)
    config = LossConfig(ia_score=score, mask_slope=8.0, mask_centre=0.4, threshold=0.6, consistency_weight=0.3)
    ours = CASNLoss(config)(model, *images, LABELS_1, LABELS_2)
    slow = slow_loss(model, *images, config)
    assert slow["consistency"] > 0.01
    assert {k: v.item() for k, v in ours.items()} == pytest.approx(slow, rel=1e-9)


@pytest.mark.parametrize("sa", [False, True])
@pytest.mark.parametrize("ia", [False, True])
def test_each_variant_has_its_terms_and_the_total_is_their_weighted_sum(ia, sa, make_model, make_images):
    weights = {"ia_weight": 0.7, "sa_weight": 0.3, "consistency_weight": 0.4, "ia_start": 0.25, "sa_start": 0.5}
    config = LossConfig(identification_attention=ia, siamese_attention=sa, **weights)
    model = make_model(dtype=torch.float32).train()
    images = make_images(4, dtype=torch.float32), make_images(4, dtype=torch.float32, seed=1)
    weights = {"ide": 1, "ia": 0.7, "bce": 0.3, "consistency": 0.3 * 0.4}
    for progress in (0.0, 0.2499, 0.25, 0.4999, 0.5, 1.0):  # terms set in when they are asked to
        terms = CASNLoss(config)(model, *images, LABELS_1, LABELS_2, progress)
        names = {"ide"} | ({"ia"} if ia and progress >= 0.25 else set()) | ({"bce"} if sa else set())
        names |= {"consistency"} if sa and progress >= 0.5 else set()
        assert set(terms) == names | {"total"}
        assert all(t.dim() == 0 and torch.isfinite(t) for t in terms.values())
        assert terms["total"].item() == pytest.approx(sum(weights[n] * terms[n].item() for n in names), rel=1e-6)
    terms["total"].backward()
    with_gradient = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert with_gradient == {"trunk", "identity_head"} | ({"pair_head"} if sa else set())


@pytest.mark.parametrize("mode", attention.MODES)
@pytest.mark.parametrize("case", ["other images", "same images", "dead trunk"])
def test_hard_batches_give_finite_losses_and_gradients(mode, case, make_model, make_images):
    model, images = make_model(dtype=torch.float32).train(), make_images(4, dtype=torch.float32)
    other = images.clone() if case == "same images" else make_images(4, dtype=torch.float32, seed=1)
    if case == "dead trunk":
        for module in model.trunk.stages[-1].modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.zeros_(module.weight)
                nn.init.constant_(module.bias, -1.0)  # the last ReLU is never on: A = 0
        assert not model.feature_map(images).any()
    for labels_2 in (LABELS_1.clone(), LABELS_1.roll(1)):
        model.zero_grad()
        terms = CASNLoss(LossConfig(siamese_mode=mode))(model, images, other, LABELS_1, labels_2)
        terms["total"].backward()
        assert all(torch.isfinite(t) for t in terms.values())
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_batchnorm_sees_the_images_once_a_step(make_model, make_images):
    # One forward pass for the images, none of the maps may count; the masked pass ("batch") does not either.
    model, images = make_model().train(), make_images(8)
    reference = copy.deepcopy(model)
    CASNLoss()(model, *images.chunk(2), LABELS_1, LABELS_2)
    reference(images)
    for (name, ours), expected in zip(model.named_buffers(), reference.buffers(), strict=True):
        assert torch.equal(ours, expected), name


def smooth_model(pooling: str = "gap") -> CASN:
    """Three layers without a kink (Softplus, Tanh), so that finite differences mean something; 4 channels."""
    generator = torch.Generator().manual_seed(8)
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.BatchNorm2d(4), nn.Softplus())
    model = CASN(3, trunk, pooling, stripes=2, id_hidden=5, pair_hidden=6)
    model.identity_head.activation = model.pair_head[1] = nn.Tanh()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.7)
    return model.double().eval()


@pytest.mark.parametrize("pooling", ["gap", "stripes"])
@pytest.mark.parametrize("score", ["logit", "probability", "sigmoid"])
def test_gradcheck_through_the_whole_of_equation_2(pooling, score):
    model = smooth_model(pooling)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 16, 16, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 2])

    def ia(x: Tensor, order: str = "second") -> Tensor:
        options = {"ia_score": score, "masked_batchnorm": "running", "siamese_attention": False}
        config = LossConfig(weight_gradient=order, **options)
        return CASNLoss(config)(model, x[:2], x[2:], labels, labels)["ia"]

    assert torch.autograd.gradcheck(ia, (images,), eps=1e-7, atol=1e-6, fast_mode=True)
    # With first-order weights the value is the same and the derivative is another: weights are constants.
    assert ia(images).item() == ia(images, "first").item()
    second, first = (torch.autograd.grad(ia(images, order), images)[0] for order in ("second", "first"))
    assert (second - first).norm() > 1e-3 * second.norm()
    # And for every weight of the network, along a random direction.
    for name, p in model.named_parameters():
        if name.startswith("pair_head"):
            continue
        (gradient,) = torch.autograd.grad(ia(images.detach()), p)
        direction, values = torch.randn(p.shape, generator=generator, dtype=torch.float64), []
        for step in (1e-6, -2e-6, 1e-6):
            with torch.no_grad():
                p += step * direction
            values.append(ia(images.detach()).item())
        expected = (values[0] - values[1]) / 2e-6
        assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("pooling", ["gap", "stripes"])
@pytest.mark.parametrize("mode", ["paper", "signed", "v1"])
def test_gradcheck_through_equation_5(pooling, mode):
    # alpha is a step: its derivative is zero, so the closed form is the whole derivative.
    model = smooth_model(pooling)
    if pooling == "gap":
        model.pair_head[3].weight.data.neg_()  # as drawn, no channel has a positive derivative: alpha would be zero
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(6, 3, 24, 16, generator=generator, dtype=torch.float64).requires_grad_()
    labels_1, labels_2 = torch.tensor([0, 2, 1]), torch.tensor([0, 2, 0])

    def terms(x: Tensor) -> dict[str, Tensor]:
        config = LossConfig(identification_attention=False, siamese_mode=mode)
        return CASNLoss(config)(model, x[:3], x[3:], labels_1, labels_2)

    def sa(x: Tensor) -> Tensor:
        return terms(x)["bce"] + 0.2 * terms(x)["consistency"]

    assert torch.autograd.gradcheck(sa, (images,), eps=1e-7, atol=1e-6, fast_mode=True)
    assert torch.autograd.grad(terms(images)["consistency"], images)[0].abs().max() > 1e-4


def buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: b.clone() for name, b in model.named_buffers()}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("batchnorm", ["batch", "running", "update"])
def test_what_a_masked_pass_normalises_by_and_leaves_behind(batchnorm, frozen, make_model, make_images):
    model, images = make_model(dtype=torch.float32).train(), make_images(6, dtype=torch.float32).requires_grad_()
    model.trunk.stages[1].eval()  # a layer that the caller holds still
    before, modes = buffers(model), [m.training for m in model.modules()]
    oracle = copy.deepcopy(model)
    _, _, scores = masked_pass(model, images, batchnorm, frozen)
    after = buffers(model)
    assert [m.training for m in model.modules()] == modes
    assert all(p.requires_grad for p in model.parameters())
    still = {name for name in before if name.startswith("trunk.stages.1.")}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == (set(before) - still if batchnorm == "update" else set())
    # What it was normalised by: the batch's own statistics, or the running ones.
    if batchnorm == "running":
        oracle.eval()
    torch.testing.assert_close(scores, oracle(images)[2], rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(scores.sum(), [images, *model.trunk.parameters()], allow_unused=True)
    assert gradients[0].any()
    assert all((g is None) == frozen for g in gradients[1:])
    # And afterwards the layers count again.
    model(images)
    assert all(not torch.equal(b, after[name]) for name, b in buffers(model).items() if name not in still)


@pytest.mark.parametrize("batchnorm", ["batch", "running", "update"])
def test_a_masked_pass_in_eval_mode_and_after_an_exception(batchnorm, make_model, make_images):
    model = make_model()
    before, expected = buffers(model), model(make_images(3))[2]
    assert torch.equal(masked_pass(model, make_images(3), batchnorm)[2], expected)
    with pytest.raises(ValueError, match="normalised float images"):
        masked_pass(model.train(), make_images(3)[0], batchnorm, frozen=True)
    assert all(torch.equal(b, before[name]) for name, b in buffers(model).items())
    assert all(m.training for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def by_twin(model: CASN, images: Tensor, labels: Tensor) -> Tensor:
    """Equation 2 with the masked images sent through a copy, so that the original is reached by the mask alone."""
    twin = copy.deepcopy(model).requires_grad_(False)
    A, f, _ = model(images)
    M = attention.identification_map(A, model.label_gradient(f, labels, create_graph=model.training))
    masked = attention.hide(images, attention.image_mask(M, images.shape[2:]))
    return attention_loss(twin(masked)[2].mean(1), labels)


def test_frozen_means_that_only_the_mask_learns(make_model, make_images):
    model, images, labels = make_model(), make_images(4), torch.tensor([0, 1, 2, 3])
    parameters = dict(model.named_parameters())

    def gradients(term: Tensor) -> dict[str, Tensor]:
        found = torch.autograd.grad(term, parameters.values(), allow_unused=True, materialize_grads=True)
        return dict(zip(parameters, found, strict=True))

    ours = {}
    for choice in ("mask", "network"):
        config = LossConfig(siamese_attention=False, masked_batchnorm="running", ia_gradient=choice)
        ours[choice] = gradients(CASNLoss(config)(model, *images.chunk(2), *labels.chunk(2))["ia"])
    for name, gradient in gradients(by_twin(model, images, labels)).items():
        torch.testing.assert_close(ours["mask"][name], gradient, rtol=1e-9, atol=1e-12)
        assert bool(gradient.any()) == name.startswith("trunk") or "bias" in name
    assert ours["network"]["identity_head.second.weight"].any()
    assert not torch.allclose(ours["network"]["trunk.stem.0.weight"], ours["mask"]["trunk.stem.0.weight"])


@pytest.mark.parametrize("batchnorm", ["batch", "update"])
def test_second_order_weights_are_not_disturbed_by_the_masked_pass(batchnorm, make_model, make_images):
    # The label's gradient was taken with the running statistics of its moment. A masked pass that updates them must not
    # change what backward sees.
    model, images, labels = make_model(id_activation="leaky_relu").train(), make_images(4), torch.tensor([0, 1, 2, 3])
    model.identity_head.norm.momentum = 0.9
    reference = copy.deepcopy(model)
    options = {"weight_gradient": "second", "masked_batchnorm": batchnorm, "ia_gradient": "mask"}
    term = CASNLoss(LossConfig(siamese_attention=False, **options))(model, *images.chunk(2), *labels.chunk(2))["ia"]
    term.backward()
    by_twin(reference, images, labels).backward()
    for layer in ("first", "norm"):
        ours, expected = (getattr(m.identity_head, layer).weight.grad for m in (model, reference))
        assert expected.any()
        torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-12)


def test_unknown_names_and_labels_are_refused(make_model, make_images):
    with pytest.raises(ValueError, match="logit, probability, sigmoid, log, got 'prob'"):
        attention_loss(torch.zeros(1, 2), torch.tensor([0]), "prob")
    with pytest.raises(ValueError, match="mean, black, blur, got 'grey'"):
        fill_of(torch.zeros(1, 3, 8, 8), "grey")
    with pytest.raises(ValueError, match="update, batch, running, got 'eval'"):
        masked_pass(make_model(), make_images(1), "eval")
    for bad in (5, -1):
        with pytest.raises(ValueError, match=r"whole numbers in 0 \.\. 4 as labels"):
            CASNLoss()(make_model(), make_images(1), make_images(1), torch.tensor([bad]), torch.tensor([0]))


@pytest.mark.parametrize("fill", ["mean", "black", "blur"])
def test_the_fill_is_used(fill, make_model, make_images):
    model, images, seen = make_model(), make_images(4), []
    model.trunk.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    config = LossConfig(siamese_attention=False, mask_fill=fill, mask_slope=0.0)  # S = 1/2 everywhere
    CASNLoss(config)(model, *images.chunk(2), LABELS_1[:2], LABELS_1[2:])
    assert len(seen) == 2, "two forward passes: the images and the masked images"
    filled = fill_of(images, fill)
    torch.testing.assert_close(seen[1], (images + filled) / 2)
    if fill == "black":  # as ToTensor and ImageNet's normalisation would give it: (0 - 0.485) / 0.229 = -2.1179...
        assert filled.flatten().tolist() == pytest.approx([-2.1179039, -2.0357143, -1.8044444], abs=1e-6)
    elif fill == "blur":
        assert filled.diff().std() < 0.5 * images.diff().std()
        flat = torch.full((1, 3, 64, 32), 0.7)
        torch.testing.assert_close(fill_of(flat, "blur"), flat)
    else:
        assert filled == 0.0
