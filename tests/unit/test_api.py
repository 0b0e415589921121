"""Public calls: what they accept, what they refuse in a sentence, what they leave alone, also under threads."""

from __future__ import annotations

import copy
import json
import random
import sys
import threading

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_attention import slow_aligned
from torch import nn
from torchvision.ops import Permute

from casnkit import attention
from casnkit.config import check_count, profile
from casnkit.data.records import Split, whole_numbers
from casnkit.explain import METHODS, explain
from casnkit.losses import CASNLoss
from casnkit.models import CASN
from casnkit.ranking import attention_distances, extract

WHOLE = torch.tensor([1, 2])
PIXELS = torch.randint(0, 256, (4, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FAST = {"integrated-gradients": {"steps": 2}, "smoothgrad": {"samples": 2}}
ASKS = {  # (network, first images, second images) -> something that was seen
    "identification": lambda m, x, y: m.identification_attention(x, WHOLE),
    "siamese": lambda m, x, y: m.siamese_attention(x, y)[1],
    "layer-gradcam": lambda m, x, y: explain(m, x, y, "layer-gradcam").gallery,
    "extract": lambda m, x, y: extract(m, [x]).features,
}


@pytest.fixture
def net(make_model):
    return make_model(dtype=torch.float32)


@pytest.fixture
def images(make_images):
    return make_images(2, dtype=torch.float32), make_images(2, dtype=torch.float32, seed=7)


@pytest.mark.parametrize("kind", [list, np.array, np.uint8, torch.uint8, torch.uint16], ids=str)
def test_labels_of_every_whole_kind(kind, net, images):
    labels = WHOLE.to(kind) if isinstance(kind, torch.dtype) else kind([1, 2])
    assert torch.equal(net.identification_attention(images[0], labels), net.identification_attention(images[0], WHOLE))
    assert torch.equal(*(CASNLoss()(net, *images, each, each)["total"] for each in (labels, WHOLE)))


ODD = [1.0, 2.0], ["1", "2"], [[1], [1, 2]], WHOLE.to_sparse(), WHOLE.to("meta"), WHOLE > 1


@pytest.mark.parametrize("labels", [*ODD, [0, 5], [-1, 0], [0], [[0, 1]]])
def test_other_labels_are_refused(labels, net, images):
    with pytest.raises(ValueError, match=r"expected 2 whole numbers in 0 \.\. 4 as labels"):
        net.identification_attention(images[0], labels)


@pytest.mark.parametrize("call", ASKS.values(), ids=ASKS)
def test_other_images_are_refused(call, net, images):
    for change in (torch.Tensor.to_sparse, lambda x: x.to("meta"), torch.Tensor.tolist, torch.Tensor.long):
        with pytest.raises(ValueError, match=r"expected .*normalised float"):
            call(net, *map(change, images))


@pytest.mark.parametrize(("dtype", "close"), [(torch.float16, 0.03), (torch.bfloat16, 0.2), (torch.float64, 1e-5)])
def test_a_model_of_any_precision_takes_float32_images(dtype, close, net, images):
    other = copy.deepcopy(net).to(dtype)
    for ask in ASKS.values():
        torch.testing.assert_close(*(ask(m, *images).float() for m in (other, net)), rtol=close, atol=close / 3)
    found = extract(other, PIXELS)
    assert attention_distances(other, found, found).distances.shape == (4, 4)


@pytest.mark.parametrize("method", METHODS)
def test_inference_mode_and_another_default_dtype(method, net, images):
    options = FAST.get(method, {})
    expected = explain(net, *images, method, **options).query
    with torch.inference_mode():
        made = CASN.from_config(net.num_ids, net.config)
        made.load_state_dict(net.state_dict())
        inside = explain(net, *(x.clone() for x in images), method, **options).query
    for found in (inside, explain(made.eval(), *images, method, **options).query):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(made.siamese_attention(*images), net.siamese_attention(*images))
    torch.set_default_dtype(torch.float64)
    try:
        assert (
            explain(net.double(), *images, method, **options).query.dtype == torch.get_default_dtype() == torch.float64
        )
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_new_network_leaves_the_random_states_alone():
    torch.manual_seed(3)
    before = str(torch.get_rng_state().tolist()), str(np.random.get_state()), random.getstate()
    first, second, other = (CASN(3, "small", seed=seed).pair_head[0].weight for seed in (None, None, 1))
    assert before == (str(torch.get_rng_state().tolist()), str(np.random.get_state()), random.getstate())
    assert (torch.equal(first, second), torch.equal(first, other)) == (True, False)


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_four_threads_beside_a_training(ask, net, images):
    """One network in train mode: the maps are those of eval mode, the losses those of a training without them."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0  # statistics stay, so maps can be compared; the mode decides whether they are used
    expected, alone, done, right = ask(net, *images).detach(), copy.deepcopy(net).train(), [], []
    optimiser = torch.optim.SGD(net.train().parameters(), lr=0.0)

    def look() -> None:
        for _ in range(40):
            done.append(ask(net, *images).detach())
            right.append(torch.allclose(done[-1], expected, rtol=1e-3, atol=1e-6))

    def loss(model: CASN) -> torch.Tensor:
        return CASNLoss()(model, *images, WHOLE, WHOLE.flip(0))["total"]

    threads, losses, interval = [threading.Thread(target=look) for _ in range(4)], set(), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            optimiser.zero_grad()
            value = loss(net)
            value.backward()
            optimiser.step()
            losses.add(value.item())
    finally:
        sys.setswitchinterval(interval)
    assert (len(done), sum(right)) == (160, 160)
    assert all(module.training for module in net.modules())
    assert losses == {loss(alone).item()}


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda m: torch.compile(nn.DataParallel(m))])
def test_wrapped_networks_are_unwrapped(wrap, net, images):
    seen = extract(net, PIXELS)
    assert torch.equal(extract(wrap(net), PIXELS).features, seen.features)
    assert torch.equal(explain(wrap(net), *images).query, explain(net, *images).query)
    assert np.array_equal(*(attention_distances(m, seen, seen).distances for m in (wrap(net), net)))
    with pytest.raises(ValueError, match=r"expected a network \(CASN\), got a Linear"):
        extract(nn.Linear(1, 1), PIXELS)


def test_a_map_whose_channels_stand_last_is_refused(images):
    stages = nn.Conv2d(3, 40, 8, 4), Permute([0, 2, 3, 1]), nn.LayerNorm(40), Permute([0, 3, 1, 2]), nn.Flatten()
    network = nn.Sequential(*stages).eval()
    for method in ("layer-gradcam", "plain-mean"):
        with pytest.raises(ValueError, match=r"layer '2'.*Permute.* where channels stand last"):
            explain(network, *images, method, layer="2")
        assert explain(network, *images, method, layer="3").query.shape == (2, 7, 3)


def test_a_count_is_a_whole_number(net):
    assert [check_count("n", kind(3)) for kind in (int, np.int64, np.uint8, torch.tensor)] == [3] * 4
    for value in (2.7, "5", True, 0, None, np.float64(3), torch.tensor(2.5), [3]):
        for call in (lambda n: CASN(n, "small"), lambda n: extract(net, PIXELS, batch_size=n)):
            with pytest.raises(ValueError, match="as a whole number of at least 1, got"):
                call(value)


@given(st.lists(st.integers(-(2**70), 2**70) | st.floats() | st.booleans() | st.text(max_size=2) | st.none()))
def test_pids_of_a_table(values):
    """Whole numbers come out as they went in; anything else is a ValueError, never another number."""
    plain = all(isinstance(v, int | float) for v in values) and not (
        values and all(isinstance(v, bool) for v in values)
    )
    most = 2**53 if any(isinstance(v, float) for v in values) else 2**63
    if plain and all(abs(v) < most and v == int(v) for v in values):
        assert whole_numbers("pids", values).tolist() == values
        return
    with pytest.raises(ValueError, match="pids: expected whole numbers"):
        Split(values, values, values)


SIDES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)


@settings(deadline=None)
@given(arrays.arrays(np.float64, SIDES, elements=st.floats(0, 1e6, width=32)), st.floats(0, 1))
def test_profiles_are_those_of_a_slow_loop(values, threshold):
    maps = torch.from_numpy(np.where(values < 1e-30, 0, values))
    ours = attention.aligned_profile(maps[None], threshold)[0]
    torch.testing.assert_close(ours, slow_aligned(maps, threshold, len(values)), rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 1, width=32), st.floats(1e-6, 10), st.lists(st.floats(0.01, 1), max_size=3))
def test_a_configuration_survives_json(epochs, share, rate, milestones):
    given = {"epochs": np.int64(epochs), "positive_share": np.float32(share), "learning_rate": rate}
    config = profile("smoke", milestones=milestones, **given)
    assert (config.train.epochs, config.data.positive_share, config.train.learning_rate) == (epochs, share, rate)
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_maps_near_the_largest_number():
    values = torch.tensor([[[-1.0, 0.0], [0.5, 1.0]]])
    found = attention.normalise_map(values * torch.finfo(torch.float32).max, "minmax")
    torch.testing.assert_close(found, (values + 1) / 2)
