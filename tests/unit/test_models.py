"""Networks: shapes, non-negative maps, pooling and heads by hand, and an error for every wrong way to ask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from casnkit import attention
from casnkit.config import ModelConfig
from casnkit.models import CASN, TRUNKS, IdentityHead, PairHead, StripeLinear, build_trunk, evaluating, map_size

# (C, h, w) at 288x144, stride 2 in the last stage (gap), and at 384x128, stride 1 (stripes). resnet50's are the
# paper's and PCB's; densenet121 and vgg16 halve five times and round down; squeezenet1_1 four times, without padding.
SIZES = {
    "resnet50": ((2048, 9, 5), (2048, 24, 8)),
    "resnet18": ((512, 9, 5), (512, 24, 8)),
    "densenet121": ((1024, 9, 4), (1024, 24, 8)),
    "vgg16": ((512, 9, 4), (512, 24, 8)),
    "squeezenet1_1": ((512, 17, 8), (512, 47, 15)),
    "small": ((128, 18, 9), (128, 48, 16)),
}


def test_every_trunk_is_tested():
    assert set(SIZES) == set(TRUNKS)


@pytest.mark.parametrize("pooling", ["gap", "stripes"])
@pytest.mark.parametrize("backbone", SIZES)
def test_shapes_at_the_papers_sizes(backbone, pooling):
    height, width = (288, 144) if pooling == "gap" else (384, 128)
    with torch.device("meta"):  # shapes only, no arithmetic
        model = CASN(11, backbone=backbone, pooling=pooling)
        A, f, scores = model(torch.empty(2, 3, height, width))
        z = model.pair_scores(f[:1] - f[1:])
    expected = SIZES[backbone][pooling == "stripes"]
    stripes = 6 if pooling == "stripes" else 1
    assert A.shape == (2, *expected)
    assert (model.channels, model.feature_size) == (expected[0], stripes * expected[0])
    assert f.shape == (2, stripes * expected[0])
    assert scores.shape == (2, stripes, 11)
    assert z.shape == (1, 2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("backbone", [b for b in SIZES if b != "vgg16"])
def test_maps_are_not_negative_and_attention_runs(backbone, stride):
    model = CASN(3, backbone=backbone, last_stride=stride, id_hidden=8, pair_hidden=8).eval()
    images = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        A = model.feature_map(images)
        M = model.identification_attention(images, torch.tensor([0, 2]))
        pair = model.siamese_attention(images[:1], images[1:])
    assert A.min() >= 0
    assert A.max() > 0
    size = A.shape[2:]
    assert M.shape == (2, *size)
    assert [m.shape for m in pair] == [(1, *size)] * 2
    assert map_size(model, 64, 32) == tuple(size)
    expected = {"small": 4, "squeezenet1_1": 3}.get(backbone, 2) * (2 if stride == 1 else 1)
    assert size[0] == (7 if (backbone, stride) == ("squeezenet1_1", 1) else expected)


def test_vgg16_maps_are_not_negative():
    with torch.device("meta"):
        trunk = build_trunk("vgg16", 2)
    layers = list(trunk.modules())
    # Proof by reading: the last convolution is followed by BatchNorm, ReLU, max pooling, in that order.
    kinds = [type(m).__name__ for m in layers if not list(m.children())]
    assert kinds[-4:] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]


@pytest.mark.parametrize("backbone", SIZES)
def test_the_smallest_image_works_and_a_smaller_one_is_refused(backbone):
    smallest = TRUNKS[backbone].smallest
    with torch.device("meta"):
        model = CASN(3, backbone=backbone, last_stride=2).eval()
        assert min(model.feature_map(torch.empty(1, 3, smallest, smallest)).shape) >= 1
        for size in ((smallest - 1, smallest), (smallest, smallest - 1)):
            message = f"images of {size[0]}x{size[1]} .height x width. are too small.*{backbone}.*at least {smallest}"
            with pytest.raises(ValueError, match=message):
                model.feature_map(torch.empty(1, 3, *size))


# ---- pooling and heads by hand ------------------------------------------------------------------------------------


def test_pooling_by_hand(make_model):
    A = torch.arange(2 * 128 * 4 * 2, dtype=torch.float64).view(2, 128, 4, 2)
    gap = make_model().pool(A)
    assert gap.tolist() == [[float(np.mean(A[b, c].numpy())) for c in range(128)] for b in range(2)]
    striped = make_model(pooling="stripes", stripes=2).pool(A)
    expected = [[float(np.mean(A[b, c, r : r + 2].numpy())) for r in (0, 2) for c in range(128)] for b in range(2)]
    assert striped.tolist() == expected  # top stripe's channels first


@pytest.mark.parametrize("shared", [False, True])
def test_stripe_linear_is_a_linear_layer_per_stripe(shared):
    layer = StripeLinear(3, 4, 5, 1.0, shared)
    x = torch.randn(7, 3, 4)
    for p in range(3):
        index = 0 if shared else p
        expected = nn.functional.linear(x[:, p], layer.weight[index], layer.bias[index])
        torch.testing.assert_close(layer(x)[:, p], expected)
    assert len(layer.weight) == (1 if shared else 3)


@pytest.mark.parametrize("training", [False, True])
def test_the_id_classifier_is_two_layers_with_batchnorm_per_stripe(training):
    head = IdentityHead(4, 3, 6, 2, act="leaky_relu").train(training)
    x = torch.randn(9, 2, 4)
    with torch.no_grad():
        head.norm.running_mean.normal_()
        head.norm.running_var.uniform_(0.5, 2)
        head.norm.weight.normal_()
    statistics = head.norm.running_mean.clone().view(2, 6), head.norm.running_var.clone().view(2, 6)
    ours = head.classify(head.reduce(x))
    for p in range(2):
        y = x[:, p] @ head.first.weight[p].T + head.first.bias[p]
        mean, var = (y.mean(0), y.var(0, unbiased=False)) if training else (statistics[0][p], statistics[1][p])
        y = (y - mean) / (var + head.norm.eps).sqrt() * head.norm.weight.view(2, 6)[p]
        y = torch.where(y > 0, y, 0.01 * y) @ head.second.weight[p].T + head.second.bias[p]
        torch.testing.assert_close(ours[:, p], y, rtol=1e-4, atol=1e-5)


def test_the_score_of_stripes_is_the_mean_of_their_classifiers(make_model, make_images):
    model = make_model(pooling="stripes", stripes=2)
    f = model.pool(model.feature_map(make_images(3)))
    scores = model.stripe_scores(f)
    torch.testing.assert_close(model.id_scores(f), (scores[:, 0] + scores[:, 1]) / 2)


def test_a_reduced_feature_is_what_the_second_layer_sees(make_model, make_images):
    model = make_model(pooling="stripes", stripes=2, feature="reduced", id_activation="relu")
    A, f, scores = model(make_images(3))
    assert f.shape == (3, 2 * 16)
    assert model.feature_size == 32
    torch.testing.assert_close(model.identity_head.classify(f.view(3, 2, 16)), scores)
    torch.testing.assert_close(model.stripe_scores(f), scores)
    pooled = torch.stack([A[:, :, :2].mean((2, 3)), A[:, :, 2:].mean((2, 3))], 1)
    torch.testing.assert_close(f.view(3, 2, 16), model.identity_head.reduce(pooled))


@pytest.mark.parametrize("act", ["none", "relu", "leaky_relu"])
def test_activations_and_linearity(act):
    head = PairHead(4, 3, act=act)
    x, y = torch.randn(2, 4), torch.randn(2, 4)
    additive = torch.allclose(head(x + y), head(x) + head(y), atol=1e-7)  # biases start at zero
    assert head.is_linear == additive == (act == "none")


def test_both_orders_of_a_pair_are_scored_apart(make_model, make_images):
    model = make_model()
    f = model.pool(model.feature_map(make_images(2)))
    assert not torch.allclose(model.pair_scores(f[:1] - f[1:]), model.pair_scores(f[1:] - f[:1]))


def test_the_trunk_sees_people_upright(make_model):
    # A bright patch at the head must light the top of the map, at the right side the right: axes are not swapped.
    model = make_model()
    blank, head, right = (torch.zeros(1, 3, 96, 32, dtype=torch.float64) for _ in range(3))
    head[:, :, :12], right[:, :, :, 24:] = 5, 5
    with torch.no_grad():
        base = model.feature_map(blank)
        by_row = (model.feature_map(head) - base).abs().sum((0, 1, 3))
        by_column = (model.feature_map(right) - base).abs().sum((0, 1, 2))
    assert base.shape[2:] == (12, 4)
    assert by_row[:4].sum() > 5 * by_row[6:].sum()
    assert by_column[2:].sum() > 2 * by_column[:2].sum()


# ---- making one ---------------------------------------------------------------------------------------------------


def test_from_config_is_the_same_network():
    config = ModelConfig(backbone="small", pooling="stripes", stripes=3, id_hidden=7, pair_hidden=9, feature="reduced")
    model = CASN.from_config(4, config)
    assert model.config == config
    by_hand = CASN(4, "small", "stripes", stripes=3, id_hidden=7, pair_hidden=9, feature="reduced")
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (model, by_hand)]
    assert shapes[0] == shapes[1]


def test_a_model_needs_no_network_and_no_files_for_random_weights(monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a model with random weights must not ask for any")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    CASN(2, backbone="resnet18")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0,), {}, "at least one identity, got num_ids=0"),
        (
            (2, "resnet51"),
            {},
            "resnet50, resnet18, densenet121, vgg16, squeezenet1_1, small, got 'resnet51'",
        ),
        ((2, "small", "max"), {}, "pooling out of gap, stripes, got 'max'"),
        ((2, "small"), {"last_stride": 3}, "last_stride: expected one of None, 1, 2, got 3"),
        ((2, "small"), {"last_stride": 0}, "last_stride.*0"),
        ((2, "small"), {"id_activation": "gelu"}, "none, relu, leaky_relu.*'gelu'"),
        ((2, "small"), {"pair_activation": "gelu"}, "none, relu, leaky_relu.*'gelu'"),
        ((2, "small"), {"widht": 3}, "unknown model options widht; known are backbone"),
        ((2, "small"), {"feature": "poold"}, "feature.*'poold'"),
        ((2, "small"), {"id_hidden": 0}, "id_hidden.*0"),
        ((2, "small"), {"pair_hidden": 0}, "pair_hidden.*0"),
        ((2, "small", "stripes"), {"stripes": 0}, "stripes.*0"),
        ((2, "small"), {"id_dropout": 2.0}, "dropout.*2"),
    ],
    ids=str,
)
def test_a_wrong_order_is_a_clear_error(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        CASN(*arguments, **options)


# ---- using one wrongly --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 3, 64, 32, dtype=torch.uint8), "normalised float images.*torch.uint8"),
        (torch.zeros(3, 64, 32), r"shape \(B, 3, H, W\).*\(3, 64, 32\)"),
        (torch.zeros(1, 1, 64, 32), r"\(1, 1, 64, 32\)"),
        (torch.zeros(1, 64, 32, 3), r"\(1, 64, 32, 3\)"),
        (np.zeros((1, 3, 64, 32), np.float32), "expected.*images"),
    ],
    ids=["uint8", "one image", "grey", "channels last", "numpy"],
)
def test_wrong_images_are_clear_errors(images, message, make_model):
    with pytest.raises(ValueError, match=message):
        make_model(dtype=torch.float32).feature_map(images)


def test_too_few_rows_for_the_stripes_are_a_clear_error():
    model = CASN(2, "small", "stripes")
    with pytest.raises(ValueError, match="images of height 32 give a feature map of 4 rows, too few for 6 stripes"):
        model.feature_map(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    "labels",
    [[0, 5], [-1, 0], [0], [0, 1, 2], [[0, 1]], [0.0, 1.0]],
    ids=["too large", "negative", "too few", "too many", "two-dimensional", "floats"],
)
def test_wrong_labels_are_clear_errors(labels, make_model, make_images):
    with pytest.raises(ValueError, match="labels"):
        make_model().identification_attention(make_images(2), torch.tensor(labels))


def test_int32_labels_are_welcome_or_clearly_refused(make_model, make_images):
    model, labels = make_model(), torch.tensor([0, 1])
    try:
        ours = model.identification_attention(make_images(2), labels.int())
    except ValueError:
        return
    assert torch.equal(ours, model.identification_attention(make_images(2), labels))


@pytest.mark.parametrize("counts", [(2, 3), (1, 3)])
def test_images_that_make_no_pairs_are_a_clear_error(counts, make_model, make_images):
    with pytest.raises(ValueError, match="pair"):
        make_model().siamese_attention(make_images(counts[0]), make_images(counts[1]))


def test_map_size_leaves_the_model_alone(make_model):
    model = make_model().train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    assert map_size(model, 64, 32) == (8, 4)
    assert model.training
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_evaluating_yields_the_module(make_model):
    model = make_model().train()
    with evaluating(model) as inside:
        assert inside is model
        assert not model.identity_head.norm.training


def test_the_modes_are_the_documented_ones():
    assert attention.SIAMESE_MODES == ("paper", "signed", "gradcam", "v1")
