"""Trunks: image (B, 3, H, W) -> feature map A (B, C, h, w) after the network's last ReLU, so A >= 0.

torchvision's networks with their heads cut off, and one small network of ours that trains from scratch on a laptop. Every
trunk comes with last-stage stride 2 (coarse map) or 1 (a map with twice the rows and columns, PCB's choice).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision import models

from .._optional import require


@dataclass(frozen=True)
class TrunkFacts:
    """What the rest of the kit must know of a trunk."""

    channels: int  # of the feature map
    smallest: int  # least height and width of an image
    weights: str | None  # torchvision's enumeration of ImageNet weights


TRUNKS = {
    "resnet50": TrunkFacts(2048, 32, "ResNet50_Weights"),
    "resnet18": TrunkFacts(512, 32, "ResNet18_Weights"),
    "densenet121": TrunkFacts(1024, 32, "DenseNet121_Weights"),
    "vgg16": TrunkFacts(512, 32, "VGG16_BN_Weights"),
    "squeezenet1_1": TrunkFacts(512, 32, "SqueezeNet1_1_Weights"),
    "small": TrunkFacts(128, 16, None),
}


class SmallTrunk(nn.Module):
    """A narrow residual network for CPUs: 128x64 pixels -> (128, 16, 8) at last stride 1, about 0.7 million weights."""

    def __init__(self, last_stride: int = 1, widths: tuple[int, ...] = (24, 48, 96, 128)) -> None:
        super().__init__()
        self.stem = _convolution(3, widths[0], stride=2)
        strides = (2, 2, last_stride)
        self.stages = nn.Sequential(
            *(
                ResidualBlock(before, after, stride)
                for before, after, stride in zip(widths, widths[1:], strides, strict=False)
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(self.stem(images))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, ReLU last."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(channels_in, channels_out, stride)
        self.second = _convolution(channels_out, channels_out, 1, activate=False)
        self.shortcut = _convolution(channels_in, channels_out, stride, kernel=1, activate=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.first(x)) + self.shortcut(x))


def _convolution(
    channels_in: int, channels_out: int, stride: int, kernel: int = 3, activate: bool = True
) -> nn.Sequential:
    layers = [
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
    ]
    return nn.Sequential(*layers, *([nn.ReLU()] if activate else []))


def build_trunk(name: str, last_stride: int = 2) -> nn.Module:
    """A trunk with random weights.

    Raises:
        ValueError: an unknown name, or a last stride other than 1 or 2.
    """
    if name not in TRUNKS:
        raise ValueError(f"expected a backbone out of {', '.join(TRUNKS)}, got {name!r}")
    if last_stride not in (1, 2):
        raise ValueError(f"expected last_stride 1 or 2, got {last_stride!r}")
    if name == "small":
        return SmallTrunk(last_stride)
    return _TORCHVISION[name.rstrip("0123456789_")](name, last_stride)


def _resnet(name: str, last_stride: int) -> nn.Module:
    network = getattr(models, name)(weights=None)
    if last_stride == 1:
        block = network.layer4[0]
        for module in (block.conv1, block.conv2, block.downsample[0]):
            module.stride = (1, 1)
    network.avgpool, network.fc = nn.Identity(), nn.Identity()
    return _ResNetTrunk(network)


class _ResNetTrunk(nn.Module):
    def __init__(self, network: models.ResNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        net = self.network
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        return net.layer4(net.layer3(net.layer2(net.layer1(x))))


def _densenet(name: str, last_stride: int) -> nn.Module:
    features = getattr(models, name)(weights=None).features
    if last_stride == 1:
        features.transition3.pool = nn.Identity()
    return nn.Sequential(features, nn.ReLU())


def _vgg(name: str, last_stride: int) -> nn.Module:
    features = models.vgg.make_layers(models.vgg.cfgs["D"], batch_norm=True)  # vgg16 without its large classifier
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(features if last_stride == 2 else features[:-1])  # the last layer is a max pooling


def _squeezenet(name: str, last_stride: int) -> nn.Module:
    features = getattr(models, name)(weights=None).features
    if last_stride == 1:
        pools = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
        features[pools[-1]] = nn.Identity()
    return nn.Sequential(features)


_TORCHVISION = {"resnet": _resnet, "densenet": _densenet, "vgg": _vgg, "squeezenet": _squeezenet}


def load_trunk_weights(trunk: nn.Module, name: str, weights: str | Path) -> None:
    """Fill a trunk with ImageNet weights from torchvision's cache (``"imagenet"``) or with those of a file.

    A file is a ``.safetensors`` or a ``.pth`` of tensors only (never unpickled as code); names as in torchvision, with
    or without ``module.``, ``network.`` or ``features.`` in front; classifiers in it are ignored. A checkpoint of this
    kit gives its trunk. Nothing is ever downloaded.

    Raises:
        ValueError: no such file (the message says which one and where it goes), or one of another network.
    """
    state = imagenet_state(name) if str(weights) == "imagenet" else read_state(weights)
    if any(key.startswith("trunk.") for key in state):
        state = {key.removeprefix("trunk."): value for key, value in state.items() if key.startswith("trunk.")}
    own, bare = trunk.state_dict(), {_bare(key): value for key, value in state.items()}
    matched = {key: bare[_bare(key)] for key in own if _bare(key) in bare and bare[_bare(key)].shape == own[key].shape}
    missing = [key for key in own if key not in matched and not key.endswith("num_batches_tracked")]
    known = {_bare(key) for key in own}
    foreign = [key for key in bare if key not in known and not key.startswith(_CLASSIFIERS)]
    if missing or foreign:
        raise ValueError(
            f"the weights {weights} do not fit the backbone {name!r}: of its {len(own)} tensors {len(missing)} are missing "
            f"or of another shape, and {len(foreign)} more are there that it does not have "
            f"(first: {(missing or foreign)[0]}). Give weights of {name!r}, or choose the backbone that they belong to"
        )
    trunk.load_state_dict({**own, **matched})


_WRAPPERS = ("module", "network", "features", "backbone")
_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked", "squeeze", "expand1x1", "expand3x3")
_CLASSIFIERS = ("fc.", "classifier.", "identity_head.", "pair_head.", "head.", "bottleneck.")


def _bare(key: str) -> str:
    """A tensor's name without the wrappers that different files put in front; torchvision's oldest DenseNet names mended."""
    parts = key.split(".")
    while parts[0] in _WRAPPERS or (parts[0] == "0" and parts[1:] and parts[1] not in _LEAVES):
        parts = parts[1:]  # a leading 0 is the place in a Sequential, unless it numbers a layer
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", ".".join(parts))


def imagenet_state(name: str) -> Mapping[str, Tensor]:
    """torchvision's ImageNet weights of a trunk, from its cache only.

    Raises:
        ValueError: the file is not in the cache, or the trunk has no ImageNet weights.
    """
    enumeration = TRUNKS[name].weights
    if enumeration is None:
        raise ValueError(f"the backbone {name!r} has no ImageNet weights; train it from scratch or choose another one")
    entry = getattr(models, enumeration).DEFAULT if name != "resnet50" else models.ResNet50_Weights.IMAGENET1K_V1
    file = Path(urlparse(entry.url).path).name
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not (folder / file).is_file():
        raise ValueError(
            f"ImageNet weights for {name!r} were expected at {folder / file}, found no such file. This kit downloads "
            f"nothing by itself: put the file {file} (torchvision's {entry}) into {folder}, name a file with --weights, "
            "or start from random weights (weights=None)"
        )
    return read_state(folder / file)


def read_state(path: str | Path) -> Mapping[str, Tensor]:
    """Tensors by name from a ``.safetensors`` or ``.pth`` file, never running code that a file may hold.

    Raises:
        ValueError: the file is missing, damaged, holds other things than tensors, or would have to run code to load.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"expected a file of weights at {path}, found none")
    if path.suffix == ".safetensors":
        load_file = require("safetensors.torch", "loading weights").load_file
        try:
            return load_file(path)
        except Exception as error:  # safetensors raises its own type, which is not public in every version
            raise ValueError(f"{path} is no readable safetensors file ({error}); it may be truncated") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling errors come in many types
        raise ValueError(
            f"{path} could not be read as plain tensors and is not loaded in any other way, since a pickle can run code: "
            f"{type(error).__name__}. Save the tensors alone (state_dict) or convert the file to safetensors"
        ) from error
    while isinstance(state, Mapping) and not any(isinstance(value, Tensor) for value in state.values()):
        inner = next(
            (state[key] for key in ("state_dict", "model", "net") if isinstance(state.get(key), Mapping)), None
        )
        if inner is None:
            raise ValueError(
                f"expected tensors by name in {path}, found the keys {', '.join(map(str, list(state)[:5]))}"
            )
        state = inner
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise ValueError(f"expected tensors by name in {path}, found a {type(state).__name__}")
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}
