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
from casnkit.config import LossConfig, check_count, profile
from casnkit.data.records import Split, whole_numbers
from casnkit.explain import METHODS, explain
from casnkit.losses import CASNLoss
from casnkit.models import CASN
from casnkit.ranking import attention_distances, extract

WHOLE = torch.tensor([1, 2])
PIXELS = torch.randint(0, 256, (4, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FAST = {"integrated-gradients": {"steps": 2}, "smoothgrad": {"samples": 2}}


@pytest.fixture
def net(make_model):
    return make_model(dtype=torch.float32)


@pytest.fixture
def images(make_images):
    return make_images(2, dtype=torch.float32), make_images(2, dtype=torch.float32, seed=7)


@pytest.mark.parametrize("kind", [list, tuple, np.array, np.uint8, torch.uint8, torch.int32, torch.uint16], ids=str)
def test_labels_of_every_whole_kind(kind, net, images):
    labels = WHOLE.to(kind) if isinstance(kind, torch.dtype) else kind([1, 2])
    assert torch.equal(net.identification_attention(images[0], labels), net.identification_attention(images[0], WHOLE))
    found = explain(net, *images, "identification", labels=labels).query
    torch.testing.assert_close(found, explain(net, *images, "identification", labels=[WHOLE, WHOLE]).query)
    loss = CASNLoss(LossConfig())
    assert torch.equal(loss(net, *images, labels, labels)["total"], loss(net, *images, WHOLE, WHOLE)["total"])


@pytest.mark.parametrize(
    "labels", [[1.0, 2.0], ["1", "2"], [[1], [1, 2]], WHOLE.to_sparse(), WHOLE.to("meta"), WHOLE > 1, None]
)
def test_other_labels_are_refused(labels, net, images):
    with pytest.raises(ValueError, match=r"expected 2 whole numbers in 0 \.\. 4 as labels"):
        net.identification_attention(images[0], labels)


@pytest.mark.parametrize(
    "change", [torch.Tensor.to_sparse, lambda x: x.to("meta"), torch.Tensor.tolist, torch.Tensor.long]
)
def test_other_images_are_refused(change, net, images):
    for call in (
        net.feature_map,
        lambda x: net.siamese_attention(x, x),
        lambda x: explain(net, x, x),
        lambda x: extract(net, [x]),
    ):
        with pytest.raises(ValueError, match=r"expected .*normalised float"):
            call(change(images[0]))


@pytest.mark.parametrize(("dtype", "close"), [(torch.float16, 0.03), (torch.bfloat16, 0.2), (torch.float64, 1e-5)])
def test_a_model_of_any_precision_takes_float32_images(dtype, close, net, images):
    other, seen = copy.deepcopy(net).to(dtype), extract(net, PIXELS)
    for name, options in (("identification_attention", (WHOLE,)), ("siamese_attention", (images[1],))):
        both = (torch.cat([*getattr(m, name)(images[0], *options)]).float() for m in (other, net))
        torch.testing.assert_close(*both, rtol=close, atol=close / 10)
    found = extract(other, PIXELS)
    torch.testing.assert_close(found.features, seen.features, rtol=close, atol=close)
    assert attention_distances(other, found, found).distances.shape == (4, 4)


@pytest.mark.parametrize("method", METHODS)
def test_inference_mode_and_another_default_dtype(method, net, images):
    expected = explain(net, *images, method, **FAST.get(method, {}))
    with torch.inference_mode():
        made = CASN.from_config(net.num_ids, net.config)
        made.load_state_dict(net.state_dict())
        inside = explain(net, *(x.clone() for x in images), method, **FAST.get(method, {}))
    for found in (inside, explain(made.eval(), *images, method, **FAST.get(method, {}))):
        torch.testing.assert_close(found.query, expected.query)
    torch.testing.assert_close(made.siamese_attention(*images), net.siamese_attention(*images))
    torch.set_default_dtype(torch.float64)
    try:
        assert explain(net.double(), *images, method, **FAST.get(method, {})).query.dtype == torch.float64
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_new_network_leaves_the_random_states_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    first, second, other = (CASN(3, "small", seed=seed).pair_head[0].weight for seed in (None, None, 1))
    after = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("call", ["identification", "siamese", "layer-gradcam", "extract"])
def test_four_threads_beside_a_training(call, net, images):
    """One network in train mode: the maps are those of a copy in eval mode, the losses those without anybody beside."""
    asks = {
        "identification": lambda m: m.identification_attention(images[0], WHOLE),
        "siamese": lambda m: m.siamese_attention(*images)[1],
        "layer-gradcam": lambda m: explain(m, *images, "layer-gradcam").gallery,
        "extract": lambda m: extract(m, PIXELS).features,
    }
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0  # maps stay comparable; the mode still decides what normalises
    expected, wrong, alone, ask = asks[call](net).detach(), [], copy.deepcopy(net).train(), asks[call]

    def look() -> None:
        for _ in range(40):
            found = ask(net).detach()
            wrong.extend([] if torch.allclose(found, expected, rtol=1e-3, atol=1e-6) else [found])
            done.append(found)

    def train(model: CASN, enough) -> list[float]:
        optimiser, losses = torch.optim.SGD(model.parameters(), lr=0.0), []
        while not losses or not enough():
            optimiser.zero_grad()
            losses.append(CASNLoss()(model, *images, WHOLE, WHOLE.flip(0))["total"])
            losses[-1].backward()
            optimiser.step()
        return [float(loss.detach()) for loss in losses]

    net.train()
    done, threads = [], [threading.Thread(target=look) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        losses = train(net, lambda: not any(thread.is_alive() for thread in threads))
    finally:
        sys.setswitchinterval(interval)
    assert (len(done), len(wrong)) == (160, 0)
    assert all(module.training for module in net.modules())
    assert set(losses) == set(train(alone, lambda: True))


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda m: torch.compile(nn.DataParallel(m))])
def test_wrapped_networks_are_unwrapped(wrap, net, images):
    seen = extract(net, PIXELS)
    assert torch.equal(extract(wrap(net), PIXELS).features, seen.features)
    assert torch.equal(explain(wrap(net), *images).query, explain(net, *images).query)
    assert np.array_equal(*(attention_distances(m, seen, seen).distances for m in (wrap(net), net)))
    with pytest.raises(ValueError, match=r"expected a network \(CASN\), got a Linear"):
        extract(nn.Linear(1, 1), PIXELS)


def test_a_map_whose_channels_stand_last_is_refused(images):
    stages = (
        nn.Conv2d(3, 40, 8, 4),
        Permute([0, 2, 3, 1]),
        nn.LayerNorm(40),
        Permute([0, 3, 1, 2]),
        nn.AdaptiveAvgPool2d(1),
    )
    network = nn.Sequential(*stages).eval()
    for method in ("layer-gradcam", "plain-mean"):
        with pytest.raises(ValueError, match=r"layer '2' .* Permute.* where channels stand last"):
            explain(network, *images, method, layer="2")
        assert explain(network, *images, method, layer="3").query.shape == (2, 7, 3)


@pytest.mark.parametrize(
    "value", [2.7, "5", True, 0, None, np.float64(3), torch.tensor(2.5), [3], float("nan")], ids=str
)
def test_a_count_is_a_whole_number(value, net):
    assert [check_count("n", kind(3)) for kind in (int, np.int64, np.uint8, torch.tensor)] == [3] * 4
    for call in (lambda n: CASN(n, "small"), lambda n: extract(net, PIXELS, batch_size=n)):
        with pytest.raises(ValueError, match="as a whole number of at least 1, got"):
            call(value)


@given(st.lists(st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.text(max_size=2), st.none())))
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


@settings(deadline=None)
@given(
    arrays.arrays(
        np.float64, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(0, 1e6, width=32)
    ),
    st.floats(0, 1),
)
def test_profiles_are_those_of_a_slow_loop(values, threshold):
    values[values < 1e-30] = 0
    ours = attention.aligned_profile(torch.from_numpy(values)[None], threshold)[0]
    torch.testing.assert_close(
        ours, slow_aligned(torch.from_numpy(values), threshold, len(values)), rtol=1e-9, atol=1e-9
    )


@settings(deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(1e-6, 10), st.lists(st.floats(0.01, 1), max_size=3))
def test_a_configuration_survives_json(epochs, share, rate, milestones):
    config = profile(
        "smoke", epochs=np.int64(epochs), positive_share=np.float32(share), learning_rate=rate, milestones=milestones
    )
    assert config.train.epochs == epochs
    assert type(config)(**vars(type(config).from_dict(json.loads(json.dumps(config.to_dict()))))) == config


@pytest.mark.parametrize("kind", ["max", "minmax"])
def test_maps_near_the_largest_number(kind):
    most = torch.finfo(torch.float32).max
    values = torch.tensor([[[0.0, 0.25], [0.5, 1.0]]])
    torch.testing.assert_close(attention.normalise_map(values * most, kind), values)
    wide = torch.tensor([[[-1.0, 0.0], [0.5, 1.0]]])
    torch.testing.assert_close(attention.normalise_map(wide * most, "minmax"), (wide + 1) / 2)
