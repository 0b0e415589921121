"""What alpha selects, by heads built by hand; agreement by worked numbers; a head on frozen features."""

import copy

import numpy as np
import pytest
import torch
from siamese import gradient_norms

import casnkit as ck
from casnkit.explain.siamese import agreement, alpha_facts, frozen_pair_head
from casnkit.models import CASN
from casnkit.ranking import extract


def head(size: int, sign: float) -> CASN:
    """A pair classifier that knows |f^-| exactly: hidden units relu(d_i) and relu(-d_i), z_1 = sign * their sum."""
    model = CASN(2, "small", pair_hidden=2 * size)
    model.channels = model.feature_size = size
    first, _, _, last = model.pair_head
    eye = torch.eye(size)
    first.weight, first.bias = torch.nn.Parameter(torch.cat([eye, -eye])), torch.nn.Parameter(torch.zeros(2 * size))
    last.weight = torch.nn.Parameter(torch.stack([torch.zeros(2 * size), sign * torch.ones(2 * size)]))
    last.bias = torch.nn.Parameter(torch.tensor([0.0, 0.5]))
    return model.eval()


def test_a_bias_minus_a_norm_selects_the_weaker_channels():
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 50, 12, generator=generator)
    facts = alpha_facts(head(12, sign=-1.0), *features)
    assert (facts["positive_weights"], facts["weaker"], facts["weaker_weighted"], facts["swap_overlap"]) == (0, 1, 1, 0)
    assert facts["norm_rank_correlation"] > 0.9  # the l1 norm against the l2 norm
    assert facts["p_at_zero"] == facts["p_bound"] == pytest.approx(torch.tensor(0.5).sigmoid().item())
    assert facts["p_largest"] < facts["p_bound"]
    facts = alpha_facts(head(12, sign=1.0), *features)
    assert (facts["positive_weights"], facts["weaker"], facts["p_bound"]) == (1, 0, 1)


def test_a_random_head_selects_half(make_model, make_images):
    model = make_model(dtype=torch.float32, pair_hidden=64)
    seen = extract(model, [make_images(40, dtype=torch.float32)])
    facts = alpha_facts(model, seen.features[:20], seen.features[20:])
    assert 0.35 < facts["weaker"] < 0.65
    d, weaker = seen.features[:20] - seen.features[20:], []
    for row, gradient in zip(d, model.pair_gradient(d), strict=True):  # one by one
        weaker += [(g > 0) == (x < 0) for g, x in zip(gradient.tolist(), row.tolist(), strict=True) if x != 0]
    assert facts["weaker"] == pytest.approx(np.mean(weaker))


def test_agreement_by_hand():
    # Row profiles (1, 0) and (0, 1) after their maxima; with t = 0 nothing is cropped but rows of zero.
    up, down = torch.tensor([[1.0], [0.5]]), torch.tensor([[0.5], [1.0]])
    first, second = torch.stack([up, up, up, up]), torch.stack([up, down, down, down])
    found = agreement({"siamese": (first, second)}, np.array([True, True, False, False]), threshold=0.0)
    assert found["distance_same_siamese"] == pytest.approx(0.5**0.5 / 2)
    assert found["distance_different_siamese"] == pytest.approx(0.5**0.5)
    assert found["auc_siamese"] == 75.0  # one of two same pairs lies below both others, one is tied


def test_a_head_on_frozen_features_learns_and_leaves_the_network_alone(dataset, tmp_path):
    config = ck.profile("smoke", batch_size=4, epochs=20, height=64, width=32)
    model = CASN.from_config(len(dataset.train.identities), config.model).eval()
    images = ck.data.images.load_images(dataset.train, (64, 32), progress=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = extract(model, images)
    network = frozen_pair_head(model, seen.features, dataset.train, config)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p, before[f"trunk.{name}"]) for name, p in network.trunk.named_parameters())
    pids = torch.from_numpy(dataset.train.pids)
    same = pids[:, None] == pids
    difference = seen.features[:, None] - seen.features
    with torch.no_grad():
        loss = {
            name: ck.losses.pair_loss(net.pair_scores(difference.flatten(0, 1)), same.flatten())
            for name, net in (("random", model), ("trained", network))
        }
    assert loss["trained"] < loss["random"]


SILENT = {"ia_weight": 0.0, "sa_weight": 0.0}


@pytest.mark.parametrize("variant", ["ide", "casn"])
def test_gradient_norms_add_up_to_the_whole_gradient(variant, make_model, make_images):
    model, config = make_model(), ck.profile("smoke", variant=variant)
    images = make_images(4), make_images(4, seed=1)
    labels = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 4, 2, 1])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = gradient_norms(model, *images, *labels, config)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert list(found.index) == (["ide"] if variant == "ide" else ["ide", "ia", "bce", "consistency"])
    assert (found.loc["ide", "relative"], found.loc["ide", "cosine"]) == (1, pytest.approx(1))

    def gradient(**changes):
        """Of the whole loss in the trunk, by a backward pass."""
        network, loss = copy.deepcopy(model).train(), ck.losses.CASNLoss(config.replace(**changes).loss)
        loss(network, *images, *labels)["total"].backward()
        return torch.cat([p.grad.flatten() for p in network.trunk.parameters()])

    whole = gradient()
    assert found["norm"].iloc[0] == pytest.approx((whole if variant == "ide" else gradient(**SILENT)).norm().item())
    if variant == "casn":  # a term's share is what is missing without it
        assert found.loc["ia", "norm"] == pytest.approx((whole - gradient(ia_weight=0.0)).norm().item(), rel=1e-6)
        without = whole - gradient(consistency_weight=0.0)
        assert found.loc["consistency", "norm"] == pytest.approx(without.norm().item(), rel=1e-6)
        siamese = gradient(ia_weight=0.0, consistency_weight=0.0) - gradient(**SILENT)
        assert found.loc["bce", "norm"] == pytest.approx(siamese.norm().item(), rel=1e-6)
