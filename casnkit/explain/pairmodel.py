"""A pair's score as one function of both images, with a place at which each branch's feature map can be held.

The trunk of a Siamese network belongs to both branches. A hook on it sees two calls, and attribution tools then answer
for one image only, silently (captum for the second one). Here the trunk runs once, on the concatenated pair, and hands the
two halves through one :class:`PairTap`: a hook on the tap gets both maps, in order, and none that belongs to the other.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from casnkit.models import CASN

from .targets import Target


class PairTap(nn.Module):
    """Hands on the feature maps of both branches, (P, C, h, w) each, as they are."""

    def forward(self, query: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
        return query, gallery


class PairModel(nn.Module):
    """(query images, gallery images, *labels) -> (P,) score of the target.

    Args:
        model: a CASN, or any network that makes an embedding (B, D) of images.
        target: what is scored.
        layer: whose output is the feature map; None: CASN's own map, and no map for another network.
        images: the pair itself; its score is kept when it comes by, so that it need not be computed twice.
    """

    def __init__(
        self, model: nn.Module, target: Target, layer: nn.Module | None, images: tuple[Tensor, Tensor]
    ) -> None:
        super().__init__()
        self.model, self.target, self.taps = model, target, PairTap()
        self.layer = [layer]  # in a list: not a submodule a second time
        self.query, self.gallery = images
        self.labels = target.labels
        self.scores: Tensor | None = None

    def forward(self, query: Tensor, gallery: Tensor, *labels: Tensor) -> Tensor:
        scores = self.target.score(*self.features(query, gallery), *labels)
        if query is self.query and gallery is self.gallery:
            self.scores = scores.detach()
        return scores

    def features(self, query: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
        """Both embeddings, (P, D) each; the feature maps pass through ``taps`` where there are any."""
        images = torch.cat([query, gallery])
        layer = self.layer[0]
        if layer is None and isinstance(self.model, CASN):
            maps = self.taps(*self.model.feature_map(images).chunk(2))
            return tuple(self.model.pool(m) for m in maps)
        if layer is None:
            return self.embed(images).chunk(2)
        with self._tapped(layer, len(images)):
            return self.embed(images).chunk(2)

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), each image by itself."""
        if isinstance(self.model, CASN):
            return self.model.pool(self.model.feature_map(images))
        found = self.model(images)
        if not isinstance(found, Tensor):
            raise ValueError(f"expected the network to give an embedding (B, D), got a {type(found).__name__}")
        if found.dim() < 2 or len(found) != len(images) or any(n > 1 for n in found.shape[2:]):
            raise ValueError(f"expected the network to give an embedding ({len(images)}, D), got {tuple(found.shape)}")
        return found.flatten(1)

    def leaves(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Both feature maps as leaves of a graph, and both embeddings as functions of them. Nothing below the maps.

        Raises:
            ValueError: a network other than CASN without a layer.
        """
        self.need_layer()
        kept: list[tuple[Tensor, Tensor]] = []

        def cut(_: nn.Module, __: object, maps: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            kept.append(tuple(m.detach().requires_grad_() for m in maps))
            return kept[-1]

        handle = self.taps.register_forward_hook(cut)
        try:
            features = self.features(self.query, self.gallery)
        finally:
            handle.remove()
        self.scores = self.target.score(*features, *self._settle(*features)).detach()
        return kept[0], features

    def settled_labels(self) -> tuple[Tensor, ...] | None:
        """Both (P,) labels for target ``identity``, those with the highest score unless some were given; else None.

        They are fixed for the pair as it is: what the network would call a noisy or an occluded copy does not count.
        """
        if self.target.name == "identity" and not self.labels:
            with torch.no_grad():
                self._settle(*self.features(self.query, self.gallery))
        return self.labels or None

    def _settle(self, query: Tensor, gallery: Tensor) -> tuple[Tensor, ...]:
        if self.target.name == "identity" and not self.labels:
            with torch.no_grad():
                self.labels = tuple(self.model.id_scores(f).argmax(1) for f in (query, gallery))
        return self.labels

    def need_layer(self) -> None:
        """Raise ValueError where no feature map is named."""
        if self.layer[0] is None and not isinstance(self.model, CASN):
            raise ValueError(
                "this method needs a feature map: name the layer that makes it, layer='layer4' or layer=model.layer4"
            )

    @contextlib.contextmanager
    def _tapped(self, layer: nn.Module, count: int) -> Iterator[None]:
        """Inside the block the layer's output goes through the tap."""
        name = next(name for name, m in self.model.named_modules() if m is layer)
        calls: list[object] = []
        fits: list[bool] = []

        def tap(_: nn.Module, __: object, output: object) -> Tensor | None:
            calls.append(tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}")
            if len(calls) > 1:
                raise ValueError(
                    f"the layer {name!r} is called more than once in one pass, so a map could belong to either call: choose "
                    "a layer that is called once, or put an nn.Identity behind the call that you mean"
                )
            if not isinstance(output, Tensor) or output.dim() != 4 or len(output) != count:
                return None  # judged at the end: a second call would be the better reason
            fits.append(True)
            return torch.cat(self.taps(*output.chunk(2)))  # a copy: a later in-place ReLU cannot change what was seen

        handle = layer.register_forward_hook(tap)
        try:
            yield
        finally:
            handle.remove()
        if not calls:
            raise ValueError(f"the layer {name!r} is not called when the network runs: choose one that is")
        if not fits:
            raise ValueError(f"expected the layer {name!r} to give feature maps ({count}, C, h, w), got {calls[0]}")


def find_layer(model: nn.Module, layer: nn.Module | str | None) -> nn.Module | None:
    """A submodule by its dotted name, or itself.

    Raises:
        ValueError: the model has no such layer.
    """
    modules = dict(model.named_modules())
    if layer is None or any(layer is m for m in modules.values()):
        return layer
    if isinstance(layer, str) and layer in modules and layer:
        return modules[layer]
    names = [name for name in modules if name]
    if not isinstance(layer, str):
        raise ValueError(
            f"expected a layer of the model or its name, got a {type(layer).__name__} that it does not have"
        )
    close = difflib.get_close_matches(layer, names, 5, 0.4) or names[:5]
    raise ValueError(f"the model has no layer {layer!r}; it has {len(names)}, among them {', '.join(close)}")
