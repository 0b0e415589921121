"""The Consistent Attentive Siamese Network: one trunk, two classifiers, and the attention that they imply (paper 3).

    image -> trunk -> A (B, C, h, w) -> pool -> f (B, D) -> ID classifier -> y     (identification, equation 1)
                                         f_1 - f_2       -> pair classifier -> z   (verification, equation 3)

Both branches of the Siamese network share every weight. The trunk is called once for both images of a pair: hooks on a
layer that is called twice see only one image, silently. Weights come from files; nothing is ever downloaded.
"""

import contextlib
import copy
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.ops import Conv2dNormActivation

from casnkit import attention
from casnkit.config import ACTIVATIONS, ModelConfig, check_choice, check_count, make_settings
from casnkit.data.images import is_dense
from casnkit.data.weights import feature_channels, fill

Maps = tuple[Tensor, Tensor]  # (P, h, w) each: of the first and of the second images of pairs


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, ReLU last."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = Conv2dNormActivation(before, after, 3, stride, inplace=False)
        self.second = Conv2dNormActivation(after, after, 3, activation_layer=None)
        self.shortcut = Conv2dNormActivation(before, after, 1, stride, activation_layer=None)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.first(x)) + self.shortcut(x))


class SmallTrunk(nn.Sequential):
    """A narrow residual network for CPUs: 128x64 pixels -> (128, 16, 8) at last stride 1, about 0.7 million weights."""

    def __init__(self, last_stride: int = 1) -> None:
        super().__init__()
        self.stem = Conv2dNormActivation(3, 24, 3, stride=2, inplace=False)
        blocks = ResidualBlock(24, 48, 2), ResidualBlock(48, 96, 2), ResidualBlock(96, 128, last_stride)
        self.stages = nn.Sequential(*blocks)


def _resnet(make: Callable[[], zoo.ResNet], last_stride: int) -> nn.Module:
    network = make()
    for module in network.layer4[0].modules():
        if last_stride == 1 and isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    stages = list(network.named_children())[:-2]  # without pooling and classifier
    return nn.Sequential(OrderedDict(network=nn.Sequential(OrderedDict(stages))))


def _features(make: Callable[[], nn.Module], last_stride: int) -> nn.Module:
    """Networks whose last halving is a pooling layer or a convolution. DenseNet lacks its last ReLU, EfficientNet ends with
    a SiLU, and the others do not mind another ReLU."""
    features = make().features
    kinds = nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d
    layers = [(name, m) for name, m in features.named_modules() if isinstance(m, kinds) and m.stride in (2, (2, 2))]
    name, last = layers[-1]
    if last_stride == 1 and isinstance(last, nn.Conv2d):
        last.stride = (1, 1)
    elif last_stride == 1:
        features.set_submodule(name, nn.Identity())
    return nn.Sequential(features, nn.ReLU())


def _vgg16() -> SimpleNamespace:
    layers = zoo.vgg.make_layers(zoo.vgg.cfgs["D"], batch_norm=True)
    return SimpleNamespace(features=layers)  # without a classifier of 120 million weights


class Trunk(NamedTuple):
    """A trunk: image (B, 3, H, W) -> A (B, C, h, w) after the network's last ReLU, so A >= 0."""

    build: Callable[[int], nn.Module]  # from the stride of its last stage, 2 or 1
    weights: torchvision.models.WeightsEnum | None  # torchvision's ImageNet weights
    smallest: int = 32  # least height and width of an image


TRUNKS = {  # a trunk is one entry here
    "resnet50": Trunk(partial(_resnet, zoo.resnet50), zoo.ResNet50_Weights.IMAGENET1K_V1),
    "resnet101": Trunk(partial(_resnet, zoo.resnet101), zoo.ResNet101_Weights.IMAGENET1K_V1),
    "resnet34": Trunk(partial(_resnet, zoo.resnet34), zoo.ResNet34_Weights.IMAGENET1K_V1),
    "resnet18": Trunk(partial(_resnet, zoo.resnet18), zoo.ResNet18_Weights.IMAGENET1K_V1),
    "densenet121": Trunk(partial(_features, zoo.densenet121), zoo.DenseNet121_Weights.IMAGENET1K_V1),
    "densenet201": Trunk(partial(_features, zoo.densenet201), zoo.DenseNet201_Weights.IMAGENET1K_V1),
    "mobilenet_v2": Trunk(partial(_features, zoo.mobilenet_v2), zoo.MobileNet_V2_Weights.IMAGENET1K_V1),
    "efficientnet_b0": Trunk(partial(_features, zoo.efficientnet_b0), zoo.EfficientNet_B0_Weights.IMAGENET1K_V1),
    "vgg16": Trunk(partial(_features, _vgg16), zoo.VGG16_BN_Weights.IMAGENET1K_V1),
    "squeezenet1_1": Trunk(partial(_features, zoo.squeezenet1_1), zoo.SqueezeNet1_1_Weights.IMAGENET1K_V1),
    "small": Trunk(SmallTrunk, None, smallest=16),
}


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
        if config.pair_norm:
            bend = nn.Sequential(nn.BatchNorm1d(config.pair_hidden), bend)
        super().__init__(nn.Linear(features, config.pair_hidden), bend, dropout, nn.Linear(config.pair_hidden, 2))
        nn.init.kaiming_normal_(self[0].weight, nonlinearity="relu")
        nn.init.zeros_(self[0].bias)
        nn.init.normal_(self[3].weight, std=0.01)
        nn.init.zeros_(self[3].bias)

    def layers(self) -> tuple[nn.Linear, nn.Module, nn.Linear]:
        """The same classifier in eval mode as linear layer, activation, linear layer: BatchNorm becomes part of the first."""
        first, bend, _, last = self
        if isinstance(bend, nn.Sequential):
            norm, bend = bend
            first = torch.nn.utils.fusion.fuse_linear_bn_eval(copy.deepcopy(first).eval(), norm)
        return first, bend, last


class CASN(nn.Module):
    """Trunk, pooling and the two classifiers. Starts from random weights unless ``weights`` names some.

    Args:
        backbone: a name in :data:`TRUNKS`, or a module that maps (B, 3, H, W) to a feature map (B, C, h, w) >= 0.
        **options: fields of :class:`casnkit.config.ModelConfig`, such as ``weights``: None (random), ``"imagenet"``
            (torchvision's cached file) or a file's path, for the trunk. And ``seed`` of the random weights; None: torch's
            random state as it is. That is never moved on, so networks made in a row start alike unless seeds differ.

    Raises ValueError for an unknown name or an option out of range, and weights missing or of another network.
    """

    def __init__(
        self, num_ids: int, backbone: str | nn.Module = "resnet50", pooling: str = "gap", **options: Any
    ) -> None:
        super().__init__()
        given, seed = isinstance(backbone, nn.Module), options.pop("seed", None)
        name, weights = type(backbone).__name__ if given else backbone, options.pop("weights", None)
        options |= {"backbone": name, "pooling": pooling, "weights": None if weights is None else str(weights)}
        self.config = config = make_settings("model", options)
        self.num_ids, self.stripes = check_count("num_ids", num_ids), config.stripes if pooling == "stripes" else 1
        self.precision = torch.float32  # of the trunk (torch.bfloat16: autocast); classifiers and maps stay in float32
        if not given:
            check_choice("backbone", name, TRUNKS)
        with seeded(seed, 0):
            self.trunk = backbone if given else TRUNKS[name].build(config.last_stride or (1, 2)[pooling == "gap"])
            self.channels = feature_channels(eval_view(self.trunk), name)
            self.feature_size = self.stripes * self.channels
            self.identity_head = IdentityHead(self.channels, self.num_ids, self.stripes, config)
            self.pair_head = PairHead(self.feature_size, config)
        if weights is not None:
            load_trunk_weights(self.trunk, name, weights)

    @classmethod
    def from_config(cls, num_ids: int, config: ModelConfig) -> "CASN":
        """The model that a configuration describes."""
        return cls(num_ids, **vars(config))

    def feature_map(self, images: Tensor) -> Tensor:
        """A, (B, C, h, w), after the trunk's last ReLU, from normalised float images (B, 3, H, W) that are large enough, on
        any device."""
        like = next(self.trunk.parameters(), images)
        dense = is_dense(images, getattr(like, "is_meta", False)) and images.dim() == 4 and images.is_floating_point()
        if not dense or images.shape[1] != 3:
            kind = f"{images.layout} {images.dtype} {images.device}" if isinstance(images, Tensor) else type(images)
            found = f"{kind} of shape {tuple(getattr(images, 'shape', ()))}"
            raise ValueError(f"expected normalised float images (data.images.normalise) (B, 3, H, W), got {found}")
        name, (height, width) = self.config.backbone, images.shape[2:]
        if name in TRUNKS and min(height, width) < (least := TRUNKS[name].smallest):
            found = f"images of {height}x{width} (height x width) are too small for the backbone {name!r}"
            raise ValueError(f"{found}: it needs at least {least}x{least}")
        images = images.to(like.device, like.dtype, non_blocking=True)
        if self.precision == torch.float32:
            return self.trunk(images)
        with torch.autocast(images.device.type, self.precision):
            return self.trunk(images).float()

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
        """M for the label's score (paper 3.1.2): normalised images and (B,) classes, no pids -> (B, h, w), not normalised."""
        network = eval_view(self)
        return network.identification_attention_of(network.feature_map(images), labels)

    def siamese_attention(self, images_1: Tensor, images_2: Tensor, mode: str = "paper", order: str = "given") -> Maps:
        """Equation 4: the two maps of each pair of normalised images, (P, h, w) each, not normalised.

        ``mode``: a key of :data:`casnkit.attention.MODES`. ``order``: ``given`` uses z(1, 2); ``both`` averages the maps of
        z(1, 2) and z(2, 1).
        """
        network, images = eval_view(self), (images_1, images_2)
        alike = is_dense(images_1) and is_dense(images_2) and images_1.shape == images_2.shape
        maps = network.feature_map(torch.cat(images)).chunk(2) if alike else map(network.feature_map, images)
        return network.siamese_attention_of(*maps, mode=mode, order=order)

    def identification_attention_of(self, feature_map: Tensor, labels: Tensor) -> Tensor:
        """Identification attention from a feature map: (B, C, h, w), (B,) -> (B, h, w)."""
        gradient = self.label_gradient(self.pool(feature_map), self.check_labels(labels, feature_map))
        return attention.identification_map(feature_map, gradient)

    def siamese_attention_of(self, map_1: Tensor, map_2: Tensor, mode: str = "paper", order: str = "given") -> Maps:
        """Siamese attention from two feature maps, (P, C, h, w) each -> (P, h, w) each. See :meth:`siamese_attention`."""
        check_choice("pair order", order, ("given", "both"))
        if len(map_1) != len(map_2):
            raise ValueError(f"expected pairs, one second image for each first one, got {len(map_1)} and {len(map_2)}")
        difference = self.pool(map_1) - self.pool(map_2)
        weights_1, weights_2 = attention.siamese_weights(self.pair_gradient(difference), difference, mode)
        maps = attention.siamese_map(map_1, weights_1), attention.siamese_map(map_2, weights_2)
        if order == "both":
            turned = reversed(self.siamese_attention_of(map_2, map_1, mode))
            maps = tuple((given + other) / 2 for given, other in zip(maps, turned, strict=True))
        return maps

    def label_gradient(
        self, feature: Tensor, labels: Tensor, create_graph: bool = False, batch_statistics: bool = False
    ) -> Tensor:
        """dy_c/df of the label's logit, (B, D), with the ID classifier in eval mode: BatchNorm would mix the samples.

        ``batch_statistics``: in the mode that the classifier is in, as a plain backward pass of a training batch would.
        """
        head = eval_view(self.identity_head, frozen=not create_graph)
        head.train(batch_statistics and self.identity_head.training)

        def score(feature: Tensor) -> Tensor:
            scores = head(feature.unflatten(1, (self.stripes, -1))).mean(1)
            return scores.gather(1, labels.clone()[:, None])[:, 0]  # a copy: labels may come from inference mode

        return attention.score_gradient(score, feature, create_graph)

    def pair_gradient(self, difference: Tensor) -> Tensor:
        """dz_1/df^-, (P, D): the derivative of the "same person" logit (equation 4)."""
        head = eval_view(self.pair_head, frozen=True)
        return attention.score_gradient(lambda d: head(d)[:, 1], difference)

    def check_labels(self, labels: Any, images: Tensor) -> Tensor:
        """Labels of (B, ...) images as (B,) int64 beside them. ValueError unless they are integers in 0 .. num_ids - 1."""
        with contextlib.suppress(TypeError, ValueError, RuntimeError):  # ragged, sparse, without values
            array = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
            inside = array.dtype.kind in "iu" and 0 <= array.min(initial=0) <= array.max(initial=0) < self.num_ids
            if inside and array.shape == (len(images),):
                return torch.from_numpy(array.astype(np.int64)).to(images.device)
        wanted = f"{len(images)} whole numbers in 0 .. {self.num_ids - 1} as labels, from data.labels_of"
        raise ValueError(f"expected {wanted}, got {labels!s:.99}")


_INSIDE = (nn.Module, Tensor, dict, list, tuple, MethodType, partial)  # what may hold modules or weights


def eval_view(module: nn.Module, frozen: bool = False) -> nn.Module:
    """The module in eval mode for one call: modes, hooks and running statistics are its own, the weights are shared.

    The module itself is not touched, so other threads may use and train it meanwhile. ``frozen``: no gradient for weights.
    """
    memo: dict[int, Any] = {}
    with torch.inference_mode(False):
        for part in module.modules():
            for name, value in (*vars(part).items(), *part._parameters.items(), *part._buffers.items()):
                if "hooks" in name and isinstance(value, dict):
                    memo[id(value)] = value.copy()
                elif isinstance(value, Tensor):  # in inference mode no graph could keep it
                    shared = value.data if frozen or value.is_inference() else value
                    memo[id(value)] = shared.clone() if name in part._buffers or value.is_inference() else shared
                elif not isinstance(value, _INSIDE):
                    memo[id(value)] = value
        return copy.deepcopy(module, memo).eval()


def unwrapped(model: nn.Module, kind: type[nn.Module] = nn.Module) -> Any:
    """The network inside ``DataParallel``, ``DistributedDataParallel`` or ``torch.compile``; ValueError unless of a kind."""
    while isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)) or hasattr(model, "_orig_mod"):
        model = model._orig_mod if hasattr(model, "_orig_mod") else model.module
    if not isinstance(model, kind):
        raise ValueError(f"expected a network ({kind.__name__}), got a {type(model).__name__}")
    return model


@contextlib.contextmanager
def fork_random() -> Iterator[None]:
    """torch's random state is put back after the block, on the CPU and on every GPU."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


_DICE = threading.RLock()  # torch has one random state: who borrows it for a moment does so alone


@contextlib.contextmanager
def seeded(seed: int | None, stream: int) -> Iterator[None]:
    """torch's random state set from (seed, stream), or kept for None, inside the block and put back after it."""
    with _DICE, fork_random():
        if seed is not None:
            numbers = np.random.SeedSequence([check_count("seed", seed, 0), stream]).generate_state(1, np.uint64)
            torch.manual_seed(int(numbers[0]) >> 1)
        yield


def load_trunk_weights(trunk: nn.Module, name: str, weights: str | Path) -> None:
    """Fill a trunk with ImageNet weights from torchvision's cache (``"imagenet"``) or with those of a file, see
    :func:`casnkit.data.weights.fill`."""
    if str(weights) != "imagenet":
        return fill(trunk, weights, f"the trunk {name!r}")
    if name not in TRUNKS or not TRUNKS[name].weights:
        raise ValueError(f"the backbone {name!r} has no ImageNet weights: train it from scratch, or choose another")
    file = TRUNKS[name].weights.url.rpartition("/")[2]
    return fill(trunk, Path(torch.hub.get_dir(), "checkpoints", file), f"the trunk {name!r}", quiet=True)
