"""The Consistent Attentive Siamese Network: one trunk, two classifiers, and the attention that they imply (paper 3).

    image -> trunk -> A (B, C, h, w) -> pool -> f (B, D) -> ID classifier -> y     (identification, equation 1)
                                         f_1 - f_2       -> pair classifier -> z   (verification, equation 3)

Both branches of the Siamese network share every weight. The trunk is called once for both images of a pair: hooks on a
layer that is called twice see only one image, silently. Weights come from files; nothing is ever downloaded.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn
from torchvision import models as zoo

from casnkit import attention
from casnkit.config import ACTIVATIONS, ModelConfig, make_settings


def _convolution(before: int, after: int, stride: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, ReLU last."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(before, after, stride).append(nn.ReLU())
        self.second = _convolution(after, after, 1)
        self.shortcut = _convolution(before, after, stride, kernel=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.first(x)) + self.shortcut(x))


class SmallTrunk(nn.Sequential):
    """A narrow residual network for CPUs: 128x64 pixels -> (128, 16, 8) at last stride 1, about 0.7 million weights."""

    def __init__(self, last_stride: int = 1) -> None:
        super().__init__()
        self.stem = _convolution(3, 24, stride=2).append(nn.ReLU())
        blocks = ResidualBlock(24, 48, 2), ResidualBlock(48, 96, 2), ResidualBlock(96, 128, last_stride)
        self.stages = nn.Sequential(*blocks)


def _resnet(network: zoo.ResNet, last_stride: int) -> nn.Module:
    for module in network.layer4[0].modules():
        if last_stride == 1 and isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    stages = list(network.named_children())[:-2]  # without pooling and classifier
    return nn.Sequential(OrderedDict(network=nn.Sequential(OrderedDict(stages))))


def _halving(network: nn.Module, last_stride: int) -> nn.Module:
    """Networks whose last halving is a pooling layer; DenseNet lacks its last ReLU, the others do not mind another."""
    features = network.features
    if last_stride == 1:
        pools = [name for name, m in features.named_modules() if isinstance(m, (nn.MaxPool2d, nn.AvgPool2d))]
        features.set_submodule(pools[-1], nn.Identity())
    return nn.Sequential(features, nn.ReLU())


def _vgg16() -> nn.Module:
    network = nn.Module()  # without its classifier of 120 million weights
    network.features = zoo.vgg.make_layers(zoo.vgg.cfgs["D"], batch_norm=True)
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return network


@dataclass(frozen=True)
class Trunk:
    """What the kit must know of a trunk: image (B, 3, H, W) -> A (B, C, h, w) after the network's last ReLU, so A >= 0."""

    build: Callable[[int], nn.Module]  # from the stride of its last stage, 2 or 1
    channels: int  # of the feature map
    weights: torchvision.models.WeightsEnum | None  # torchvision's ImageNet weights
    smallest: int = 32  # least height and width of an image


TRUNKS = {  # a trunk is one entry here
    "resnet50": Trunk(lambda s: _resnet(zoo.resnet50(), s), 2048, zoo.ResNet50_Weights.IMAGENET1K_V1),
    "resnet18": Trunk(lambda s: _resnet(zoo.resnet18(), s), 512, zoo.ResNet18_Weights.IMAGENET1K_V1),
    "densenet121": Trunk(lambda s: _halving(zoo.densenet121(), s), 1024, zoo.DenseNet121_Weights.IMAGENET1K_V1),
    "vgg16": Trunk(lambda s: _halving(_vgg16(), s), 512, zoo.VGG16_BN_Weights.IMAGENET1K_V1),
    "squeezenet1_1": Trunk(lambda s: _halving(zoo.squeezenet1_1(), s), 512, zoo.SqueezeNet1_1_Weights.IMAGENET1K_V1),
    "small": Trunk(SmallTrunk, 128, None, smallest=16),
}


def build_trunk(name: str, last_stride: int = 2) -> nn.Module:
    """A trunk with random weights. Raises ValueError for an unknown name."""
    if name not in TRUNKS:
        raise ValueError(f"expected a backbone out of {', '.join(TRUNKS)}, got {name!r}")
    return TRUNKS[name].build(last_stride)


class StripeLinear(nn.Module):
    """One linear layer per stripe (or one that all stripes share): (B, P, in) -> (B, P, out)."""

    def __init__(self, stripes: int, features_in: int, features_out: int, std: float, shared: bool = False) -> None:
        super().__init__()
        count = 1 if shared else stripes
        self.weight = nn.Parameter(torch.randn(count, features_out, features_in) * std)
        self.bias = nn.Parameter(torch.zeros(count, features_out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bpi,poi->bpo", x, self.weight.expand(x.shape[1], -1, -1)) + self.bias


class IdentityHead(nn.Module):
    """ID classifier g: first layer (with stripes PCB's 1x1 reduction), BatchNorm, activation, dropout, second layer.

    (B, P, C) pooled features -> (B, P, num_ids) logits, for each stripe.
    """

    def __init__(self, channels: int, num_ids: int, stripes: int, config: ModelConfig) -> None:
        super().__init__()
        hidden = config.id_hidden or (256 if config.pooling == "stripes" else 512)
        self.first = StripeLinear(stripes, channels, hidden, math.sqrt(2 / channels), config.shared_reduction)
        self.norm = nn.BatchNorm1d(stripes * hidden) if config.id_norm else nn.Identity()
        self.activation = ACTIVATIONS[config.id_activation]()
        self.dropout = nn.Dropout(config.id_dropout)
        self.second = StripeLinear(stripes, hidden, num_ids, 0.01)

    def forward(self, pooled: Tensor) -> Tensor:
        x = self.first(pooled)
        x = self.norm(x.flatten(1)).view_as(x)
        return self.second(self.dropout(self.activation(x)))


class PairHead(nn.Sequential):
    """Pair classifier b: (P, D) difference of features -> (P, 2) logits, index 1 = same identity (equation 3)."""

    def __init__(self, features: int, config: ModelConfig) -> None:
        bend, dropout = ACTIVATIONS[config.pair_activation](), nn.Dropout(config.pair_dropout)
        super().__init__(nn.Linear(features, config.pair_hidden), bend, dropout, nn.Linear(config.pair_hidden, 2))
        nn.init.kaiming_normal_(self[0].weight, nonlinearity="relu")
        nn.init.zeros_(self[0].bias)
        nn.init.normal_(self[3].weight, std=0.01)
        nn.init.zeros_(self[3].bias)

    @property
    def is_linear(self) -> bool:
        """True where nothing bends between the two layers: then dz_1/df^- is the same for every pair."""
        return isinstance(self[1], nn.Identity)


class CASN(nn.Module):
    """Trunk, pooling and the two classifiers. Starts from random weights unless ``weights`` names some.

    Args:
        backbone: a name in :data:`TRUNKS`, or a module that maps (B, 3, H, W) to a feature map (B, C, h, w) >= 0.
        **options: fields of :class:`casnkit.config.ModelConfig`, such as ``weights``: None (random), ``"imagenet"``
            (torchvision's cached file) or a file's path, for the trunk.

    Raises:
        ValueError: an unknown name or an option out of range; weights missing or of another network.
    """

    has_closed_form = True  # f is a mean over places, so maps need no backward pass (see casnkit.attention)

    def __init__(
        self, num_ids: int, backbone: str | nn.Module = "resnet50", pooling: str = "gap", **options: Any
    ) -> None:
        super().__init__()
        if int(num_ids) < 1:
            raise ValueError(f"expected at least one identity, got num_ids={num_ids}")
        given = isinstance(backbone, nn.Module)
        name, weights = type(backbone).__name__ if given else backbone, options.pop("weights", None)
        options |= {"backbone": name, "pooling": pooling, "weights": None if weights is None else str(weights)}
        self.config = config = make_settings("model", options)
        self.num_ids, self.stripes = int(num_ids), config.stripes if pooling == "stripes" else 1
        self.precision = torch.float32  # of the trunk (torch.bfloat16: autocast); classifiers and maps stay in float32
        self.trunk = backbone if given else build_trunk(name, config.last_stride or (1 if pooling == "stripes" else 2))
        self.smallest = 1 if given else TRUNKS[name].smallest  # height and width of an image
        self.channels = _channels(backbone) if given else TRUNKS[name].channels
        self.feature_size = self.stripes * self.channels
        self.identity_head = IdentityHead(self.channels, self.num_ids, self.stripes, config)
        self.pair_head = PairHead(self.feature_size, config)
        if weights is not None:
            load_trunk_weights(self.trunk, name, weights)

    @classmethod
    def from_config(cls, num_ids: int, config: ModelConfig) -> CASN:
        """The model that a configuration describes."""
        return cls(num_ids, **vars(config))

    def feature_map(self, images: Tensor) -> Tensor:
        """A, (B, C, h, w), after the trunk's last ReLU, from normalised float images (B, 3, H, W).

        Raises ValueError for another shape or type, and for images smaller than the trunk or the stripes allow.
        """
        tensor = isinstance(images, Tensor)
        if not tensor or images.dim() != 4 or images.shape[1] != 3 or not images.is_floating_point():
            found = f"{images.dtype} of shape {tuple(images.shape)}" if tensor else f"a {type(images).__name__}"
            raise ValueError(
                "expected normalised float images as a tensor of shape (B, 3, H, W), "
                f"got {found} (see casnkit.data.images.normalise)"
            )
        height, width = images.shape[2:]
        if min(height, width) < self.smallest:
            raise ValueError(
                f"images of {height}x{width} (height x width) are too small for the backbone {self.config.backbone!r}: it "
                f"needs at least {self.smallest}x{self.smallest}"
            )
        if self.precision == torch.float32:
            feature_map = self.trunk(images)
        else:
            with torch.autocast(images.device.type, self.precision):
                feature_map = self.trunk(images).float()
        if feature_map.shape[2] < self.stripes:
            raise ValueError(
                f"images of height {height} give a feature map of {feature_map.shape[2]} rows, too few for "
                f"{self.stripes} stripes: use taller images, fewer stripes, or last_stride=1"
            )
        return feature_map

    def pool(self, feature_map: Tensor) -> Tensor:
        """f, (B, D): mean over the map (gap) or over each stripe (stripes, concatenated top to bottom), D = stripes * C."""
        rows = attention.stripe_matrix(feature_map.shape[2], self.stripes, feature_map)
        return torch.einsum("bch,ph->bpc", feature_map.mean(3), rows).flatten(1)

    def stripe_scores(self, feature: Tensor) -> Tensor:
        """ID logits of every stripe's classifier, (B, P, num_ids); P = 1 for gap."""
        return self.identity_head(feature.unflatten(1, (self.stripes, -1)))

    def id_scores(self, feature: Tensor) -> Tensor:
        """y, (B, num_ids) logits; with stripes the mean over the classifiers."""
        return self.stripe_scores(feature).mean(1)

    def pair_scores(self, difference: Tensor) -> Tensor:
        """z = b(f_1 - f_2), (P, 2) logits, index 1 = same identity."""
        return self.pair_head(difference)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A (B, C, h, w), f (B, D) and the stripes' ID logits (B, P, num_ids) in one call, for training."""
        feature_map = self.feature_map(images)
        feature = self.pool(feature_map)
        return feature_map, feature, self.stripe_scores(feature)

    def identification_attention(self, images: Tensor, labels: Tensor) -> Tensor:
        """M = ReLU(sum_k w_k A_k) for the label's score (paper 3.1): (B, h, w), >= 0, not normalised.

        Normalised images (B, 3, H, W); ``labels`` (B,) int64 in 0 .. num_ids - 1 count classes, they are not pids.
        """
        with evaluating(self):
            return self.identification_attention_of(self.feature_map(images), labels)

    def siamese_attention(
        self, images_1: Tensor, images_2: Tensor, mode: str = "paper", order: str = "given"
    ) -> tuple[Tensor, Tensor]:
        """Equation 4: the two maps of each pair of normalised images, (P, h, w) each, not normalised.

        ``mode``: a key of :data:`casnkit.attention.MODES`. ``order``: ``given`` uses z(1, 2); ``both`` averages the maps of
        z(1, 2) and z(2, 1).
        """
        with evaluating(self):
            if images_1.shape == images_2.shape:
                maps = self.feature_map(torch.cat([images_1, images_2])).chunk(2)
            else:
                maps = self.feature_map(images_1), self.feature_map(images_2)
            return self.siamese_attention_of(*maps, mode=mode, order=order)

    def identification_attention_of(self, feature_map: Tensor, labels: Tensor, create_graph: bool = False) -> Tensor:
        """Identification attention from a feature map: (B, C, h, w), (B,) -> (B, h, w)."""
        self.check_labels(labels, len(feature_map))
        gradient = self.label_gradient(self.pool(feature_map), labels, create_graph)
        return attention.identification_map(feature_map, gradient)

    def siamese_attention_of(
        self, map_1: Tensor, map_2: Tensor, mode: str = "paper", order: str = "given"
    ) -> tuple[Tensor, Tensor]:
        """Siamese attention from two feature maps, (P, C, h, w) each -> (P, h, w) each. See :meth:`siamese_attention`."""
        if order not in ("given", "both"):
            raise ValueError(f"expected a pair order 'given' or 'both', got {order!r}")
        if len(map_1) != len(map_2):
            raise ValueError(f"expected pairs, one second image for each first one, got {len(map_1)} and {len(map_2)}")
        difference = self.pool(map_1) - self.pool(map_2)
        weights_1, weights_2 = attention.siamese_weights(self.pair_gradient(difference), difference, mode)
        maps = attention.siamese_map(map_1, weights_1), attention.siamese_map(map_2, weights_2)
        if order == "given":
            return maps
        turned_2, turned_1 = self.siamese_attention_of(map_2, map_1, mode)
        return (maps[0] + turned_1) / 2, (maps[1] + turned_2) / 2

    def label_gradient(self, feature: Tensor, labels: Tensor, create_graph: bool = False) -> Tensor:
        """dy_c/df of the label's logit, (B, D), with the ID classifier in eval mode: BatchNorm would mix the samples."""
        with evaluating(self.identity_head):
            return attention.score_gradient(lambda f: self._label_score(f, labels), feature, create_graph)

    def pair_gradient(self, difference: Tensor) -> Tensor:
        """dz_1/df^-, (P, D): the derivative of the "same person" logit (equation 4)."""
        with evaluating(self.pair_head):
            return attention.score_gradient(lambda d: self.pair_scores(d)[:, 1], difference)

    def check_labels(self, labels: Tensor, count: int) -> None:
        """Raise ValueError unless ``labels`` are ``count`` whole numbers in 0 .. num_ids - 1."""
        if labels.shape != (count,) or labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(
                f"expected labels as whole numbers of shape ({count},), got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        if count and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_ids:
            raise ValueError(
                f"expected labels in 0 .. {self.num_ids - 1}, got {int(labels.min())} .. {int(labels.max())}: labels "
                "count the training identities (casnkit.data.labels_of), they are not pids"
            )

    def _label_score(self, feature: Tensor, labels: Tensor) -> Tensor:
        # on copies: a later pass may change running statistics in place, under a graph that needs these, and
        # differentiation cannot keep labels that were made in inference mode
        buffers = {name: buffer.clone() for name, buffer in self.identity_head.named_buffers()}
        parts = feature.unflatten(1, (self.stripes, -1))
        scores = torch.func.functional_call(self.identity_head, buffers, (parts,)).mean(1)
        return scores.gather(1, labels.clone()[:, None])[:, 0]


def _channels(trunk: nn.Module) -> int:
    with evaluating(trunk), torch.no_grad():
        return trunk(torch.zeros(1, 3, 256, 128)).shape[1]


def map_size(model: CASN, height: int, width: int) -> tuple[int, int]:
    """(h, w) of the feature map for images of height x width, found by running one blank image."""
    parameter = next(model.parameters())
    blank = torch.zeros(1, 3, height, width, device=parameter.device, dtype=parameter.dtype)
    with evaluating(model), torch.no_grad():
        return tuple(model.feature_map(blank).shape[2:])


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[nn.Module]:
    """Eval mode inside the block; every submodule gets back the mode that it had, also after an exception."""
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield module
    finally:
        for m, training in modes.items():
            m.training = training


@contextlib.contextmanager
def fork_random() -> Iterator[None]:
    """torch's random state is put back after the block, on the CPU and on every GPU."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


@contextlib.contextmanager
def seeded(seed: int, stream: int) -> Iterator[None]:
    """torch's random state set from (seed, stream) inside the block and put back after it."""
    with fork_random():
        torch.manual_seed(int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1)))
        yield


def load_trunk_weights(trunk: nn.Module, name: str, weights: str | Path) -> None:
    """Fill a trunk with ImageNet weights from torchvision's cache (``"imagenet"``) or with those of a file.

    Names as in torchvision, also with ``module.``, ``network.`` or ``features.`` in front, or those of this kit's runs;
    classifiers are ignored. Raises ValueError for a missing file (where it goes) and for one of another network.
    """
    state = read_tensors(_imagenet_file(name) if str(weights) == "imagenet" else weights)
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


_WRAPPERS = ("module", "network", "features", "backbone", "trunk")
_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked", "squeeze", "expand1x1", "expand3x3")
_CLASSIFIERS = ("fc.", "classifier.", "identity_head.", "pair_head.", "head.", "bottleneck.")


def _bare(key: str) -> str:
    """A tensor's name without the wrappers that different files put in front; torchvision's oldest DenseNet names mended."""
    parts = key.split(".")
    while parts[0] in _WRAPPERS or (parts[0] == "0" and parts[1:] and parts[1] not in _LEAVES):
        parts = parts[1:]  # a leading 0 is the place in a Sequential, unless it numbers a layer
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", ".".join(parts))


def _imagenet_file(name: str) -> Path:
    entry = TRUNKS[name].weights if name in TRUNKS else None
    if entry is None:
        raise ValueError(f"the backbone {name!r} has no ImageNet weights; train it from scratch or choose another one")
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(entry.url).path).name
    if not file.is_file():
        raise ValueError(
            f"ImageNet weights for {name!r} were expected at {file}, found no such file. This kit downloads nothing by "
            f"itself: put the file {file.name} (torchvision's {entry}) there, name a file with --weights, or start from "
            "random weights (weights=None)"
        )
    return file


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name from a ``.safetensors`` or ``.pth`` file, never running code that a file may hold.

    Raises ValueError for a file that is missing, damaged, holds other things, or would have to run code to load.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"expected a file of weights at {path}, found none")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(path.read_bytes())
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise many types, some of them not public
        raise ValueError(
            f"{path} could not be read as plain tensors ({type(error).__name__}). It may be truncated; a pickle "
            "of other things is not loaded, since it can run code: save the tensors alone (state_dict, safetensors)"
        ) from error
    state = state if isinstance(state, Mapping) else {type(state).__name__: None}
    while inner := [state[key] for key in ("state_dict", "model", "net") if isinstance(state.get(key), Mapping)]:
        state = inner[0]  # as trainers nest them
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(
            f"expected tensors by name in {path}, found {', '.join(map(str, list(state)[:5])) or 'nothing'}"
        )
    return tensors
