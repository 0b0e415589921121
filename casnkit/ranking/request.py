"""What is asked of the engines, checked once; and which engine a model allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from casnkit import attention
from casnkit.ranking.extraction import Extracted

if TYPE_CHECKING:
    from casnkit.models import CASN

PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.bfloat16, "tf32": torch.float32}


def choose_engine(model: CASN, mode: str = "paper") -> str:
    """The fastest engine that is exact for this model and mode: ``linear``, ``closed_form`` or ``autograd``."""
    if not model.has_closed_form:
        return "autograd"
    if mode == "v1":
        return "closed_form"  # asks the features alone
    head = list(model.pair_head.children())
    kinds = (nn.Linear, (nn.Identity, nn.ReLU, nn.LeakyReLU), nn.Dropout, nn.Linear)
    if len(head) != 4 or not all(isinstance(layer, kind) for layer, kind in zip(head, kinds, strict=True)):
        return "autograd"
    return "linear" if isinstance(head[1], nn.Identity) else "closed_form"


@dataclass(frozen=True)
class Request:
    """What is asked for, checked."""

    model: CASN
    query: Extracted
    gallery: Extracted
    mode: str
    order: str
    threshold: float
    device: torch.device
    precision: str

    @classmethod
    def of(
        cls,
        model: CASN,
        query: Extracted,
        gallery: Extracted,
        mode: str,
        order: str,
        threshold: float,
        device: torch.device | str | None,
        precision: str,
    ) -> Request:
        """Raises ValueError for everything that does not fit."""
        for name, value, known in (
            ("mode", mode, attention.SIAMESE_MODES),
            ("order", order, ("given", "both")),
            ("precision", precision, tuple(PRECISIONS)),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold: expected a fraction of the maximum in [0, 1), got {threshold!r}")
        for name, images in (("query", query), ("gallery", gallery)):
            _check_images(model, name, images)
        device = torch.device(device) if device is not None else next(model.parameters()).device
        return cls(model, query, gallery, mode, order, threshold, device, precision)

    def settings(self) -> dict[str, Any]:
        """What must be the same for two runs to share their results, apart from the tensors."""
        names = ("mode", "order", "threshold", "precision")
        return {name: getattr(self, name) for name in names}

    def tensors(self) -> list[Tensor]:
        """Weights, features, and a sample of the maps (the features follow from them)."""
        tensors = list(self.model.state_dict().values())
        for images in (self.query, self.gallery):
            sample = torch.linspace(0, max(len(images) - 1, 0), min(16, len(images))).long()
            tensors += [images.features, images.feature_maps[sample]]
        return tensors


def _check_images(model: CASN, name: str, images: Extracted) -> None:
    maps = images.feature_maps
    if maps is None:
        raise ValueError(f"{name}: attention needs feature maps; extract with keep_maps=True")
    if maps.dim() != 4 or maps.shape[1] != model.channels or len(maps) != len(images.features) or not len(maps):
        raise ValueError(
            f"{name}: expected at least one feature map (N, {model.channels}, h, w) and as many features, got maps "
            f"{tuple(maps.shape)} and features {tuple(images.features.shape)}"
        )
    if images.features.shape[1:] != (model.feature_size,):
        raise ValueError(
            f"{name}: expected features of length {model.feature_size}, got {tuple(images.features.shape)}: were they "
            "extracted with another model?"
        )
    for kind, values in (("features", images.features), ("feature maps", maps)):
        sums = torch.cat([part.flatten(1).sum(1) for part in values.split(256)])  # NaN and infinity survive a sum
        bad = (~sums.isfinite()).nonzero()[:, 0].tolist()
        if bad:
            raise ValueError(
                f"{name}: {kind} of {len(bad)} of {len(maps)} images are NaN or infinite (images "
                f"{', '.join(map(str, bad[:10]))}{', ...' if len(bad) > 10 else ''}): the model has diverged or its "
                "weights are damaged"
            )
