"""Networks: shapes, non-negative maps, pooling and heads by hand, weights by name, and errors for wrong calls."""

import os
import pickle
import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn
from torchvision import models as zoo

from casnkit import models
from casnkit.config import ModelConfig, profile
from casnkit.data.weights import read_tensors
from casnkit.evaluation import evaluate
from casnkit.explain import explain
from casnkit.losses import CASNLoss
from casnkit.models import CASN, TRUNKS, IdentityHead, Trunk, load_trunk_weights

# (C, h, w) at 288x144, stride 2 in the last stage (gap), and at 384x128, stride 1 (stripes). resnet50's are the
# paper's and PCB's; densenet121 and vgg16 halve five times and round down; squeezenet1_1 four times, without padding.
SIZES = {
    "resnet50": ((2048, 9, 5), (2048, 24, 8)),
    "resnet101": ((2048, 9, 5), (2048, 24, 8)),
    "resnet34": ((512, 9, 5), (512, 24, 8)),
    "resnet18": ((512, 9, 5), (512, 24, 8)),
    "densenet121": ((1024, 9, 4), (1024, 24, 8)),
    "densenet201": ((1920, 9, 4), (1920, 24, 8)),
    "mobilenet_v2": ((1280, 9, 5), (1280, 24, 8)),
    "efficientnet_b0": ((1280, 9, 5), (1280, 24, 8)),
    "vgg16": ((512, 9, 4), (512, 24, 8)),
    "squeezenet1_1": ((512, 17, 8), (512, 47, 15)),
    "small": ((128, 18, 9), (128, 48, 16)),
}
FILES = ["resnet50-0676ba61.pth", "resnet18-f37072fd.pth", "densenet121-a639ec97.pth"]  # as torchvision documents them
FILES += ["vgg16_bn-6c64b313.pth", "squeezenet1_1-b8a52dc0.pth", "resnet101-63fe2227.pth", "resnet34-b627a593.pth"]
FILES += ["densenet201-c1103571.pth", "mobilenet_v2-b0353104.pth", "efficientnet_b0_rwightman-7f5810bc.pth"]


@pytest.mark.parametrize("pooling", ["gap", "stripes"])
@pytest.mark.parametrize("backbone", TRUNKS)
def test_shapes_at_the_papers_sizes_and_at_the_smallest(backbone, pooling):
    striped, smallest = pooling == "stripes", TRUNKS[backbone].smallest
    with torch.device("meta"):  # shapes only, no arithmetic
        model = CASN(11, backbone=backbone, pooling=pooling).eval()
        A, f, scores = model(torch.empty(2, 3, *((384, 128) if striped else (288, 144))))
        z = model.pair_scores(f[:1] - f[1:])
        if not striped:
            assert min(model.feature_map(torch.empty(1, 3, smallest, smallest)).shape) >= 1
        for size in ((smallest - 1, smallest), (smallest, smallest - 1)):
            message = f"images of {size[0]}x{size[1]} .height x width. are too small.*{backbone}.*at least {smallest}"
            with pytest.raises(ValueError, match=message):
                model.feature_map(torch.empty(1, 3, *size))
    stripes = 6 if striped else 1
    expected = SIZES[backbone][striped] if backbone in SIZES else tuple(A.shape[1:])  # a trunk that is new
    assert A.shape == (2, *expected)
    assert (model.channels, model.feature_size) == (expected[0], stripes * expected[0])
    assert (f.shape, scores.shape, z.shape) == ((2, stripes * expected[0]), (2, stripes, 11), (1, 2))


def test_a_trunk_is_one_entry(monkeypatch):
    build = partial(models._resnet, zoo.resnet152)
    monkeypatch.setitem(TRUNKS, "resnet152", Trunk(build, zoo.ResNet152_Weights.IMAGENET1K_V1))
    with torch.device("meta"):
        model = CASN.from_config(3, ModelConfig(backbone="resnet152", pooling="stripes"))
        assert model(torch.empty(2, 3, 384, 128))[0].shape == (2, 2048, 24, 8)
    with pytest.raises(ValueError, match=r"resnet152-394f9c45\.pth"):
        load_trunk_weights(model.trunk, "resnet152", "imagenet")


def test_a_module_is_a_trunk_too(make_images):
    trunk = nn.Sequential(nn.Conv2d(3, 7, 3, stride=4), nn.ReLU())
    model, images = CASN(4, trunk, "stripes", stripes=2).eval(), make_images(2, dtype=torch.float32)
    A, f, scores = model(images)
    assert torch.equal(A, trunk(images))
    assert (f.shape, scores.shape, model.config.backbone) == ((2, 14), (2, 2, 4), "Sequential")
    with pytest.raises(ValueError, match=r"backbone: expected one of resnet50, .*, got 'Sequential'"):
        CASN.from_config(4, model.config)


class Tokens(nn.Module):
    """A vision transformer's output in miniature: 1 + 8 x 4 tokens."""

    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images, 16).flatten(2).transpose(1, 2)


class Timm(nn.Module):
    """A network in timm's manner: ``forward`` classifies, ``forward_features`` gives the map."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Sequential(nn.Conv2d(3, 9, 3, stride=8, padding=1), nn.ReLU()), nn.Linear(9, 4)

    def forward_features(self, images):
        return self.stem(images)

    def forward(self, images):
        return self.head(self.forward_features(images).mean((2, 3)))


class Features(nn.Module):
    """What the error for such a network advises."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network.forward_features(images)


def test_a_network_in_timms_manner_trains_ranks_and_explains(dataset, tmp_path):
    model, config = CASN(len(dataset.train.identities), Features(Timm())), profile("smoke", height=64, width=32)
    images = torch.randn(4, 3, 64, 32)
    optimiser, labels = torch.optim.SGD(model.parameters(), lr=0.01), torch.tensor([0, 1])
    before = model.trunk.network.stem[0].weight.clone()
    CASNLoss()(model, images[:2], images[2:], labels, labels)["total"].backward()
    optimiser.step()
    assert not torch.equal(before, model.trunk.network.stem[0].weight)
    found = evaluate(model.eval(), dataset, config, device="cpu", progress=False)
    assert {"features", "attention", "sum"} == set(found.rankings)
    assert explain(model, images[:2], images[2:], "siamese").query.shape == (2, 8, 4)


def test_torchvisions_own_networks_are_trunks_where_they_give_a_map(make_images):
    images = torch.randn(2, 3, 128, 64)
    resnet = nn.Sequential(*list(zoo.resnet18().children())[:-2])
    swin = zoo.swin_t().features
    turned = nn.Sequential(swin, torchvision.ops.Permute([0, 3, 1, 2]))
    with pytest.raises(ValueError, match=r"\(1, 4, 2, 768\), its channels last: .*Permute"):
        CASN(3, swin)
    with pytest.warns(UserWarning, match="values below zero, down to -"):
        turned = CASN(3, turned)
    for model in (turned, CASN(3, resnet, "stripes", stripes=4)):
        loss = CASNLoss()(model, images[:1], images[1:], torch.tensor([0]), torch.tensor([0]))["total"]
        loss.backward()
        assert all(p.grad is not None for p in model.trunk.parameters())
        maps = model.siamese_attention(images[:1], images[1:])
        assert [m.shape for m in maps] == [(1, 4, 2)] * 2


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (zoo.resnet18(), r"expected a feature map \(B, C, h, w\), got \(1, 1000\); give a module that ends before"),
        (Timm(), r"got \(1, 4\); its forward_features may give one"),
        (Tokens(), r"got \(1, 32, 3\); reshape its tokens"),
        (nn.Linear(3, 4), "failed on blank images of 128x64, 256x128, 224x224"),
    ],
    ids=["classifier", "timm", "tokens", "no images"],
)
def test_a_module_that_gives_no_map_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        CASN(3, module)


def test_pooling_by_hand(make_model):
    A = torch.arange(2 * 128 * 4 * 2, dtype=torch.float64).view(2, 128, 4, 2)
    torch.testing.assert_close(make_model().pool(A), A.mean((2, 3)))
    striped = make_model(pooling="stripes", stripes=2)
    f = striped.pool(A)
    assert torch.equal(f, torch.cat([A[:, :, :2].mean((2, 3)), A[:, :, 2:].mean((2, 3))], 1))  # top stripe first
    torch.testing.assert_close(striped.id_scores(f), striped.stripe_scores(f).sum(1) / 2)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_id_classifier_is_two_layers_with_batchnorm_per_stripe(training, shared):
    config = ModelConfig(id_hidden=6, id_activation="leaky_relu", shared_reduction=shared)
    head, x = IdentityHead(4, 3, 2, config).train(training), torch.randn(9, 2, 4)
    with torch.no_grad():
        head.norm.running_mean.normal_()
        head.norm.running_var.uniform_(0.5, 2)
        head.norm.weight.normal_()
    assert (len(head.first.weight), len(head.second.weight)) == (1 if shared else 2, 2)
    statistics = head.norm.running_mean.clone().view(2, 6), head.norm.running_var.clone().view(2, 6)
    ours = head(x)
    for p in range(2):
        y = x[:, p] @ head.first.weight[0 if shared else p].T + head.first.bias[0 if shared else p]
        mean, var = (y.mean(0), y.var(0, unbiased=False)) if training else (statistics[0][p], statistics[1][p])
        y = (y - mean) / (var + head.norm.eps).sqrt() * head.norm.weight.view(2, 6)[p]
        y = torch.where(y > 0, y, 0.01 * y) @ head.second.weight[p].T + head.second.bias[p]
        torch.testing.assert_close(ours[:, p], y, rtol=1e-4, atol=1e-5)


def test_a_pair_classifier_with_batchnorm_is_two_layers_in_eval_mode():
    model = CASN(2, "small", pair_norm=True, pair_hidden=7)
    norm, d = model.pair_head[1][0], torch.randn(5, 128)
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.normal_()
    first, bend, last = model.eval().pair_head.layers()
    torch.testing.assert_close(last(bend(first(d))), model.pair_scores(d))


STRIPED = CASN(2, "small", "stripes")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CASN(0), "num_ids as a whole number of at least 1, got 0"),
        (lambda: CASN(2, "resnet51"), "resnet50, .*, small, got 'resnet51'"),
        (lambda: CASN(2, "small", "max"), "pooling: expected one of gap, stripes, got 'max'"),
        (lambda: CASN(2, "small", pair_hiden=3), "no setting model.pair_hiden; did you mean 'pair_hidden'"),
        (lambda: CASN(2, "small", weights="imagenet"), "'small' has no ImageNet weights"),
        (lambda: STRIPED(torch.zeros(1, 3, 64, 32, dtype=torch.uint8)), "normalised float images.*torch.uint8"),
        (lambda: STRIPED(torch.zeros(3, 64, 32)), r"\(B, 3, H, W\).*\(3, 64, 32\)"),
        (lambda: STRIPED(torch.zeros(1, 64, 32, 3)), r"\(1, 64, 32, 3\)"),
        (lambda: STRIPED(np.zeros((1, 3, 64, 32), np.float32)), "expected.*images.*ndarray"),
        (lambda: STRIPED(torch.zeros(1, 3, 32, 32)), "got 4 rows of the feature map for 6 stripes: use taller images"),
    ],
)
def test_wrong_orders_and_images_are_clear_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_halves_of_pairs_are_as_many(make_model, make_images):
    with pytest.raises(ValueError, match=r"expected pairs.*2 and 3"):
        make_model().siamese_attention(make_images(2), make_images(3))


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name, trunk in TRUNKS.items() if trunk.weights])
def test_the_cached_file_of_every_trunk_gives_torchvisions_own_features(name, tmp_path, monkeypatch):
    network = models._vgg16() if name == "vgg16" else getattr(zoo, name)()  # vgg16 without 120 million weights
    own = nn.Sequential(*list(network.children())[:-2]) if name.startswith("resnet") else network.features
    generator = torch.Generator().manual_seed(3)
    for module in own.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    state = {f"features.{k}": v for k, v in own.state_dict().items()} if name == "vgg16" else network.state_dict()
    state |= {"classifier.0.weight": torch.zeros(2, 3)}  # must be ignored
    image = torch.randn(1, 3, 64, 64, generator=generator)
    expected = own.eval()(image).relu()
    # An empty cache of torchvision's; any attempt to download is a failure.
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    begins = "vgg16_bn" if name == "vgg16" else name
    documented = [f for f in FILES if f.startswith(f"{begins}-")] or [Path(TRUNKS[name].weights.url).name]
    file = tmp_path / "hub" / "checkpoints" / documented[0]
    trunk = TRUNKS[name].build(2).eval()
    with pytest.raises(ValueError, match=re.escape(str(file))):
        load_trunk_weights(trunk, name, "imagenet")
    assert not list(tmp_path.iterdir()), "nothing is created on the way"
    file.parent.mkdir(parents=True)
    # torchvision's published DenseNet files still say ``norm.1`` where the network says ``norm1``.
    torch.save({re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", k): v for k, v in state.items()}, file)
    # The same state as a file, as DataParallel names it, nested as trainers save it.
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "trained.pth")
    for weights in ("imagenet", tmp_path / "trained.pth"):
        trunk = TRUNKS[name].build(2).eval()
        assert not torch.allclose(trunk(image), expected)
        load_trunk_weights(trunk, name, weights)
        torch.testing.assert_close(trunk(image), expected)


@pytest.mark.parametrize("prefix", ["", "module.", "trunk.", "backbone.", "base.", "module.encoder_q."])
@pytest.mark.parametrize("nesting", [None, (), ("state_dict",), ("model",), ("model", "state_dict")], ids=str)
def test_files_by_whatever_name(prefix, nesting, make_model, tmp_path):
    small = make_model(dtype=torch.float32)
    state = {prefix + k: v for k, v in small.trunk.state_dict().items()}
    path = tmp_path / ("weights.safetensors" if nesting is None else "weights.pth")
    if nesting is None:
        safetensors.torch.save_file(state, path)
    else:
        for key in nesting:
            state = {key: state, "epoch": 7}
        torch.save(small.state_dict() if prefix == "trunk." and not nesting else state, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing was ignored
        model = CASN(9, backbone="small", last_stride=1, weights=path)
    assert all(torch.equal(model.trunk.state_dict()[key], value) for key, value in small.trunk.state_dict().items())
    assert model.config.weights == str(path)


def test_what_a_file_holds_besides_is_said(make_model, tmp_path):
    trunk = make_model(dtype=torch.float32).trunk
    state = {f"backbone.{key}": value for key, value in trunk.state_dict().items() if "num_batches" not in key}
    torch.save(
        {"model": {"pixel_mean": torch.zeros(3), "heads.weight": torch.zeros(2, 3), **state}}, tmp_path / "f.pth"
    )
    with pytest.warns(UserWarning, match=r"fill the trunk 'small'; ignored: pixel_mean, heads\.weight$"):
        model = CASN(9, backbone="small", last_stride=1, weights=tmp_path / "f.pth")
    assert torch.equal(model.trunk.stem[0].weight, trunk.stem[0].weight)


class Malicious:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle", "among tensors"])
def test_a_malicious_pickle_is_refused_and_not_run(how, make_model, tmp_path):
    path, trace = tmp_path / "evil.pth", tmp_path / "it ran"
    evil = Malicious(trace)
    if how == "pickle":
        path.write_bytes(pickle.dumps({"stem.0.weight": evil}))
    elif how == "among tensors":
        torch.save({**make_model().trunk.state_dict(), "extra": evil}, path)
    else:
        torch.save({"state_dict": evil}, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(ValueError, match=r"evil\.pth.*can run code"):
        CASN(2, backbone="small", weights=path)
    assert not trace.exists()
    os.mkdir(trace)  # the trap itself works: unpickling it now would fail, since the folder exists
    with pytest.raises(FileExistsError):
        pickle.loads(pickle.dumps(evil))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git-lfs pointer"),
        (b"\n<!DOCTYPE html><html>404</html>", "a web page"),
        (b"\x80\x02", "or it is truncated"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_weights_at_all_is_named(content, says, suffix, tmp_path):
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=says):
        read_tensors(tmp_path / f"w{suffix}")


def test_tensors_without_plain_values_are_refused(tmp_path):
    for name, odd in (("sparse", torch.eye(3).to_sparse()), ("meta", torch.empty(3, device="meta"))):
        torch.save({"a": torch.ones(2), "b": odd}, tmp_path / f"{name}.pth")
        with pytest.raises(ValueError, match=rf"dense tensors in .*{name}.pth, b is sparse or has no values"):
            read_tensors(tmp_path / f"{name}.pth")
    loop = {"state_dict": {}, "a": torch.ones(2)}
    loop["state_dict"]["state_dict"] = loop
    torch.save(loop, tmp_path / "loop.pth")
    assert set(read_tensors(tmp_path / "loop.pth")) <= {"a"}


# resnet34 holds every tensor of resnet18 in the right shape: still another network
OTHERS = [("resnet18", "resnet34"), ("resnet50", "wide_resnet50_2"), ("squeezenet1_1", "squeezenet1_0")]


@pytest.mark.parametrize(("name", "other"), [*OTHERS, ("small", "resnet18")])
def test_weights_of_another_network_are_refused(name, other, tmp_path):
    with torch.device("meta"):
        shapes = {k: (v.shape, v.dtype) for k, v in getattr(zoo, other)(weights=None).state_dict().items()}
    torch.save({k: torch.zeros((), dtype=d).expand(s) for k, (s, d) in shapes.items()}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth belong to another network"):
        CASN(2, name, weights=tmp_path / "other.pth")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing", "a folder"])
def test_damaged_files_are_clear_errors(suffix, damage, tmp_path):
    whole, path = tmp_path / "whole", tmp_path / f"damaged{suffix}"
    (torch.save if suffix == ".pth" else safetensors.torch.save_file)(TRUNKS["small"].build(1).state_dict(), whole)
    content = whole.read_bytes()
    if damage == "a folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "text": b"hello?\n"}[damage])
    with pytest.raises(ValueError, match=re.escape(path.name)):
        CASN(2, backbone="small", weights=path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], torch.zeros(3), {0: torch.zeros(1)}], ids=str)
def test_files_that_hold_other_things_are_clear_errors(content, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"expected tensors by name in .*other\.pth"):
        read_tensors(tmp_path / "other.pth")
