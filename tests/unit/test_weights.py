"""Weights from torchvision's cache and from files: the right ones load exactly, others are refused, none runs code."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from casnkit.models import CASN, TRUNKS, build_trunk, load_trunk_weights, read_state

FILES = {  # names as torchvision's documentation gives them, not read from the code under test
    "resnet50": "resnet50-0676ba61.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "densenet121": "densenet121-a639ec97.pth",
    "vgg16": "vgg16_bn-6c64b313.pth",
    "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
}


def reference(name: str) -> tuple[dict[str, Tensor], nn.Module]:
    """A torchvision network's random state (its classifier must be ignored) and its own features in eval mode."""
    if name == "vgg16":  # without the 120 million weights of its classifier
        features = models.vgg.make_layers(models.vgg.cfgs["D"], batch_norm=True)
        network = nn.Module()
        network.features, network.classifier = features, nn.Sequential(nn.Linear(3, 2))
        own = features
    else:
        network = getattr(models, name)(weights=None)
        if name.startswith("resnet"):
            own = nn.Sequential(*list(network.children())[:-2])
        else:
            own = network.features
            own = nn.Sequential(own, nn.ReLU()) if name == "densenet121" else own
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return {k: v.clone() for k, v in network.state_dict().items()}, own.eval()


def old_densenet_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's published DenseNet files still say ``norm.1`` where the network says ``norm1``."""
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value for key, value in state.items()}


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty torchvision cache; any attempt to download is a failure."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("tried to download")

    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("name", FILES)
def test_the_cached_file_of_every_trunk_gives_torchvisions_own_features(name, hub, image, tmp_path):
    state, network = reference(name)
    hub.mkdir(parents=True)
    torch.save(old_densenet_names(state) if name == "densenet121" else state, hub / FILES[name])
    expected = network(image)
    trunk = build_trunk(name).eval()
    assert not torch.allclose(trunk(image), expected)
    load_trunk_weights(trunk, name, "imagenet")
    torch.testing.assert_close(trunk(image), expected)
    # The same state as a file, as DataParallel names it, nested as trainers save it.
    file = tmp_path / "trained.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, file)
    trunk = build_trunk(name).eval()
    load_trunk_weights(trunk, name, file)
    torch.testing.assert_close(trunk(image), expected)


def test_missing_imagenet_weights_name_the_file_and_the_folder(hub):
    for name, file in FILES.items():
        with torch.device("meta"):
            trunk = build_trunk(name)
        with pytest.raises(ValueError, match=re.escape(file)) as error:
            load_trunk_weights(trunk, name, "imagenet")
        assert str(hub) in str(error.value)
        assert "--weights" in str(error.value)
    assert not hub.exists(), "nothing is created on the way"


def test_the_small_trunk_has_no_imagenet_weights(hub):
    with pytest.raises(ValueError, match="'small' has no ImageNet weights"):
        CASN(2, backbone="small", weights="imagenet")


@pytest.mark.parametrize("content", [b"", b"not a file of weights", None], ids=["empty", "text", "truncated"])
def test_a_damaged_cached_file_is_a_clear_error(content, hub):
    hub.mkdir(parents=True)
    path = hub / FILES["squeezenet1_1"]
    torch.save(models.squeezenet1_1(weights=None).state_dict(), path)
    path.write_bytes(path.read_bytes()[:100_000] if content is None else content)
    with pytest.raises(ValueError, match=re.escape(path.name)):
        load_trunk_weights(build_trunk("squeezenet1_1"), "squeezenet1_1", "imagenet")


@pytest.fixture
def small(make_model) -> CASN:
    return make_model(dtype=torch.float32)


@pytest.mark.parametrize("prefix", ["", "module.", "trunk.", "backbone."])
@pytest.mark.parametrize(
    ("suffix", "nesting"),  # safetensors files are flat
    [
        (".safetensors", ()),
        (".pth", ()),
        (".pth", ("state_dict",)),
        (".pth", ("model",)),
        (".pth", ("model", "state_dict")),
    ],
    ids=str,
)
def test_files_by_whatever_name(prefix, suffix, nesting, small, tmp_path):
    state = {prefix + k: v for k, v in small.trunk.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    else:
        for key in nesting:
            state = {key: state, "epoch": 7}
        torch.save(state, path)
    model = CASN(9, backbone="small", last_stride=1, weights=path)
    for key, value in small.trunk.state_dict().items():
        assert torch.equal(model.trunk.state_dict()[key], value)


def test_a_checkpoint_of_a_whole_model_gives_its_trunk(small, tmp_path):
    torch.save(small.state_dict(), tmp_path / "model.pth")
    model = CASN(9, backbone="small", weights=str(tmp_path / "model.pth"))
    assert all(torch.equal(a, b) for a, b in zip(model.trunk.parameters(), small.trunk.parameters(), strict=True))
    assert model.config.weights == str(tmp_path / "model.pth")


class Malicious:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle", "among tensors"])
def test_a_malicious_pickle_is_refused_and_not_run(how, small, tmp_path):
    path, trace = tmp_path / "evil.pth", tmp_path / "it ran"
    evil = Malicious(trace)
    if how == "pickle":
        path.write_bytes(pickle.dumps({"stem.0.weight": evil}))
    elif how == "among tensors":
        torch.save({**small.trunk.state_dict(), "extra": evil}, path)
    else:
        torch.save({"state_dict": evil}, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(ValueError, match=r"evil\.pth.*can run code"):
        CASN(2, backbone="small", weights=path)
    assert not trace.exists()
    os.mkdir(trace)  # the trap itself works: unpickling it now would fail, since the folder exists
    with pytest.raises(FileExistsError):
        pickle.loads(pickle.dumps(evil))


def test_a_malicious_file_in_the_cache_is_refused_and_not_run(hub, tmp_path):
    hub.mkdir(parents=True)
    torch.save({"x": Malicious(tmp_path / "it ran")}, hub / FILES["squeezenet1_1"])
    with pytest.raises(ValueError, match="squeezenet1_1"):
        load_trunk_weights(build_trunk("squeezenet1_1"), "squeezenet1_1", "imagenet")
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("resnet18", "resnet50"),
        ("resnet50", "resnet18"),
        ("resnet18", "resnet34"),
        ("resnet50", "resnet101"),
        ("resnet50", "wide_resnet50_2"),
        ("densenet121", "densenet169"),
        ("squeezenet1_1", "squeezenet1_0"),
        ("small", "resnet18"),
    ],
)
def test_weights_of_another_network_are_refused(name, other, tmp_path):
    # resnet34 holds every tensor of resnet18 in the right shape, resnet101 those of resnet50: still another network.
    with torch.device("meta"):
        shapes = {k: (v.shape, v.dtype) for k, v in getattr(models, other)(weights=None).state_dict().items()}
    torch.save({k: torch.zeros((), dtype=d).expand(s) for k, (s, d) in shapes.items()}, tmp_path / "other.pth")
    trunk = build_trunk(name)
    before = {k: v.clone() for k, v in trunk.state_dict().items()}
    with pytest.raises(ValueError, match=f"other.pth.*do not fit.*{name}"):
        load_trunk_weights(trunk, name, tmp_path / "other.pth")
    assert all(torch.equal(v, before[k]) for k, v in trunk.state_dict().items()), "nothing half-loaded"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_damaged_files_are_clear_errors(suffix, damage, small, tmp_path):
    path = tmp_path / f"damaged{suffix}"
    if suffix == ".pth":
        torch.save(small.trunk.state_dict(), path)
    else:
        pytest.importorskip("safetensors.torch").save_file(small.trunk.state_dict(), path)
    content = path.read_bytes()
    path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "text": b"hello, weights?\n"}[damage])
    with pytest.raises(ValueError, match=re.escape(path.name)):
        CASN(2, backbone="small", weights=path)


@pytest.mark.parametrize(
    "content",
    [{}, {"epoch": 3}, [1, 2], torch.zeros(3), {0: torch.zeros(1)}, {"state_dict": {"epoch": 3}}, "text"],
    ids=str,
)
def test_files_that_hold_other_things_are_clear_errors(content, tmp_path):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"other\.pth"):
        CASN(2, backbone="small", weights=path)


def test_missing_files_and_folders_are_clear_errors(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(ValueError, match="expected a file of weights at"):
            read_state(path)


def test_every_torchvision_trunk_is_tested():
    assert set(FILES) == {name for name, facts in TRUNKS.items() if facts.weights}
