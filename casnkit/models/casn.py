"""The Consistent Attentive Siamese Network: one trunk, two classifiers, and the attention that they imply (paper 3).

    image -> trunk -> A (B, C, h, w) -> pool -> f (B, D) -> ID classifier -> y     (identification, equation 1)
                                         f_1 - f_2       -> pair classifier -> z   (verification, equation 3)

Both branches of the Siamese network share every weight. The trunk is called once for both images of a pair: hooks on a
layer that is called twice see only one image, silently.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import attention
from ..config import ModelConfig
from .heads import IdentityHead, PairHead
from .trunks import TRUNKS, build_trunk, load_trunk_weights

POOLINGS = ("gap", "stripes")


class CASN(nn.Module):
    """Trunk, pooling and the two classifiers. Starts from random weights unless ``weights`` names some.

    Args:
        num_ids: training identities.
        backbone: resnet50, resnet18, densenet121, vgg16, squeezenet1_1 or small.
        pooling: ``gap`` (the paper's IDE) or ``stripes`` (PCB).
        weights: None (random), ``"imagenet"`` (torchvision's cached file) or the path of a file for the trunk.
        **options: any other field of :class:`casnkit.config.ModelConfig`.

    Raises:
        ValueError: an unknown name or an option out of range; weights missing or of another network.
    """

    def __init__(
        self,
        num_ids: int,
        backbone: str = "resnet50",
        pooling: str = "gap",
        *,
        weights: str | Path | None = None,
        **options: object,
    ) -> None:
        super().__init__()
        if int(num_ids) < 1:
            raise ValueError(f"expected at least one identity, got num_ids={num_ids}")
        if pooling not in POOLINGS:
            raise ValueError(f"expected a pooling out of {', '.join(POOLINGS)}, got {pooling!r}")
        unknown = set(options) - set(ModelConfig.__dataclass_fields__)
        if unknown:
            known = ", ".join(ModelConfig.__dataclass_fields__)
            raise ValueError(f"unknown model options {', '.join(sorted(unknown))}; known are {known}")
        weights = None if weights is None else str(weights)
        self.config = config = ModelConfig(backbone=backbone, pooling=pooling, weights=weights, **options)
        self.num_ids = int(num_ids)
        self.precision = torch.float32  # of the trunk (torch.bfloat16: autocast); classifiers and maps stay in float32
        self.stripes = config.stripes if pooling == "stripes" else 1
        stride = (1 if pooling == "stripes" else 2) if config.last_stride is None else config.last_stride
        self.trunk = build_trunk(backbone, stride)
        self.channels = TRUNKS[backbone].channels
        hidden = (256 if pooling == "stripes" else 512) if config.id_hidden is None else config.id_hidden
        self.identity_head = IdentityHead(
            self.channels,
            self.num_ids,
            hidden,
            self.stripes,
            shared_reduction=config.shared_reduction,
            act=config.id_activation,
            norm=config.id_norm,
            dropout=config.id_dropout,
        )
        self.feature_size = self.stripes * (hidden if config.feature == "reduced" else self.channels)
        self.pair_head = PairHead(
            self.feature_size, config.pair_hidden, act=config.pair_activation, dropout=config.pair_dropout
        )
        if weights is not None:
            load_trunk_weights(self.trunk, backbone, weights)

    @classmethod
    def from_config(cls, num_ids: int, config: ModelConfig) -> CASN:
        """The model that a configuration describes."""
        options = {name: getattr(config, name) for name in ModelConfig.__dataclass_fields__}
        return cls(num_ids, **options)

    @property
    def has_closed_form(self) -> bool:
        """True where f is a mean over pixels, so that maps need no backward pass (see :mod:`casnkit.attention`)."""
        return self.config.feature == "pooled"

    def feature_map(self, images: Tensor) -> Tensor:
        """A, (B, C, h, w), after the trunk's last ReLU.

        Args:
            images: (B, 3, H, W) float, normalised.

        Raises:
            ValueError: another shape or type, or images smaller than the trunk or the stripes allow.
        """
        smallest = TRUNKS[self.config.backbone].smallest
        tensor = isinstance(images, Tensor)
        if not tensor or images.dim() != 4 or images.shape[1] != 3 or not images.is_floating_point():
            found = f"{images.dtype} of shape {tuple(images.shape)}" if tensor else f"a {type(images).__name__}"
            raise ValueError(
                "expected normalised float images as a tensor of shape (B, 3, H, W), "
                f"got {found} (see casnkit.data.augment.normalise)"
            )
        if min(images.shape[2:]) < smallest:
            raise ValueError(
                f"images of {images.shape[2]}x{images.shape[3]} (height x width) are too small for the backbone "
                f"{self.config.backbone!r}: it needs at least {smallest}x{smallest}"
            )
        if self.precision == torch.float32:
            feature_map = self.trunk(images)
        else:
            with torch.autocast(images.device.type, self.precision):
                feature_map = self.trunk(images).float()
        if feature_map.shape[2] < self.stripes:
            raise ValueError(
                f"images of height {images.shape[2]} give a feature map of {feature_map.shape[2]} rows, too few for "
                f"{self.stripes} stripes: use taller images, fewer stripes, or last_stride=1"
            )
        return feature_map

    def pool(self, feature_map: Tensor) -> Tensor:
        """f, (B, D): mean over the map (gap) or over each stripe (stripes, concatenated top to bottom).

        D is stripes * C, or stripes * hidden where ``feature="reduced"``.
        """
        pooled = self._pool_stripes(feature_map)  # (B, P, C)
        if self.config.feature == "reduced":
            pooled = self.identity_head.reduce(pooled)
        return pooled.flatten(1)

    def stripe_scores(self, feature: Tensor) -> Tensor:
        """ID logits of every stripe's classifier, (B, P, num_ids); P = 1 for gap."""
        parts = feature.unflatten(1, (self.stripes, -1))
        reduced = parts if self.config.feature == "reduced" else self.identity_head.reduce(parts)
        return self.identity_head.classify(reduced)

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

        Args:
            images: (B, 3, H, W) float, normalised.
            labels: (B,) int64 in 0 .. num_ids - 1 (labels of classes, not pids).
        """
        with evaluating(self):
            return self.identification_attention_of(self.feature_map(images), labels)

    def siamese_attention(
        self, images_1: Tensor, images_2: Tensor, mode: str = "paper", order: str = "given", per_stripe: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Equation 4: the two maps of each pair, (P, h, w) each, not normalised.

        Args:
            images_1, images_2: (P, 3, H, W) float, normalised.
            mode: see :func:`casnkit.attention.siamese_weights`.
            order: ``given`` uses z(1, 2); ``both`` averages the maps of z(1, 2) and z(2, 1).
            per_stripe: keep the stripes apart (a variant; see :func:`casnkit.attention.striped_map`).
        """
        if len(images_1) != len(images_2):
            raise ValueError(
                f"expected a pair for each image, got {len(images_1)} first and {len(images_2)} second images"
            )
        with evaluating(self):
            if images_1.shape == images_2.shape:
                maps = self.feature_map(torch.cat([images_1, images_2])).chunk(2)
            else:
                maps = self.feature_map(images_1), self.feature_map(images_2)
            return self.siamese_attention_of(*maps, mode=mode, order=order, per_stripe=per_stripe)

    def identification_attention_of(self, feature_map: Tensor, labels: Tensor, create_graph: bool = False) -> Tensor:
        """Identification attention from a feature map: (B, C, h, w), (B,) -> (B, h, w). Closed form where there is one."""
        self.check_labels(labels, len(feature_map))
        if not self.has_closed_form:
            if create_graph:
                raise ValueError('weight_gradient="second" needs feature="pooled": only then have maps a closed form')
            with evaluating(self.identity_head):
                return attention.autograd_map(feature_map, lambda a: self._label_score(self.pool(a), labels))
        gradient = self.label_gradient(self.pool(feature_map), labels, create_graph)
        return attention.identification_map(feature_map, gradient)

    def siamese_attention_of(
        self, map_1: Tensor, map_2: Tensor, mode: str = "paper", order: str = "given", per_stripe: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Siamese attention from two feature maps, (P, C, h, w) each -> (P, h, w) each. See :meth:`siamese_attention`."""
        if order not in ("given", "both"):
            raise ValueError(f"expected a pair order 'given' or 'both', got {order!r}")
        if len(map_1) != len(map_2):
            raise ValueError(f"expected a pair for each map, got {len(map_1)} first and {len(map_2)} second maps")
        with evaluating(
            self.identity_head
        ):  # a reduced feature runs through its BatchNorm, which would mix the samples
            feature_1, feature_2 = self.pool(map_1), self.pool(map_2)
        difference = feature_1 - feature_2
        weights_1, weights_2 = attention.siamese_weights(self.pair_gradient(difference), difference, mode)
        maps = self._siamese_map(map_1, weights_1, per_stripe), self._siamese_map(map_2, weights_2, per_stripe)
        if order == "both":
            weights_2, weights_1 = attention.siamese_weights(self.pair_gradient(-difference), -difference, mode)
            turned = self._siamese_map(map_1, weights_1, per_stripe), self._siamese_map(map_2, weights_2, per_stripe)
            maps = (maps[0] + turned[0]) / 2, (maps[1] + turned[1]) / 2
        return maps

    def label_gradient(self, feature: Tensor, labels: Tensor, create_graph: bool = False) -> Tensor:
        """dy_c/df of the label's logit, (B, D), with the ID classifier in eval mode: BatchNorm would mix the samples."""
        if not create_graph:
            with evaluating(self.identity_head):
                return attention.score_gradient(lambda f: self._label_score(f, labels), feature)
        # a later pass may change the running statistics in place, under a graph that still needs these
        head = {name: b.clone() for name, b in self.identity_head.named_buffers()}
        with evaluating(self.identity_head):
            return attention.score_gradient(lambda f: self._label_score(f, labels, head), feature, create_graph=True)

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

    def pair_gradient(self, difference: Tensor) -> Tensor:
        """dz_1/df^-, (P, D): the derivative of the "same person" logit (equation 4)."""
        with evaluating(self.pair_head):
            return attention.score_gradient(lambda d: self.pair_scores(d)[:, 1], difference)

    def _label_score(self, feature: Tensor, labels: Tensor, buffers: dict[str, Tensor] | None = None) -> Tensor:
        if buffers is None:
            scores = self.id_scores(feature)
        else:
            parts = feature.unflatten(1, (self.stripes, -1))
            scores = torch.func.functional_call(self.identity_head, buffers, (parts,)).mean(1)
        if labels.is_inference():
            labels = labels.clone()  # differentiation cannot keep a tensor that was made in inference mode
        return scores.gather(1, labels[:, None])[:, 0]

    def _siamese_map(self, feature_map: Tensor, weights: Tensor, per_stripe: bool) -> Tensor:
        if self.has_closed_form:
            return attention.siamese_map(feature_map, weights, per_stripe)
        if per_stripe:
            raise ValueError('per-stripe maps need feature="pooled": a reduced feature is no mean over pixels')
        with evaluating(self.identity_head), torch.inference_mode(False):
            constant = weights.detach().clone()
            return attention.autograd_map(feature_map, lambda a: (constant * self.pool(a)).sum(1))

    def _pool_stripes(self, feature_map: Tensor) -> Tensor:
        rows = attention.stripe_matrix(feature_map.shape[2], self.stripes, feature_map)
        return torch.einsum("bch,ph->bpc", feature_map.mean(3), rows)


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


def map_size(model: CASN, height: int, width: int) -> tuple[int, int]:
    """(h, w) of the feature map for images of height x width, found by running one blank image."""
    parameter = next(model.parameters())
    blank = torch.zeros(1, 3, height, width, device=parameter.device, dtype=parameter.dtype)
    with evaluating(model), torch.no_grad():
        return tuple(model.feature_map(blank).shape[2:])
