"""A pair's score as one function of both images, and the same pair with a part of one image hidden.

The trunk of a Siamese network belongs to both branches. A hook on it sees two calls, and attribution tools then answer for
one image only, silently (captum: for the second). Here the trunk runs once, on the concatenated pair, and both halves pass
through one :class:`PairTap`: a hook on the tap gets both maps, in order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casnkit.explain.masks import apply_mask, check_mask
from casnkit.explain.retrieval import RANKED_BY, SIDES, Retrieval, pair_probability
from casnkit.models import CASN, evaluating, fork_random
from casnkit.ranking import Extracted, RankChanges, Ranking, extract, rank_changes

SIMILARITIES = ("cosine", "euclidean", "correlation")
PAIR_TARGETS = ("same", "different", "log-odds")
TARGETS = (*PAIR_TARGETS, "identity", "agreement", "similarity")


@dataclass(frozen=True)
class PairMaps:
    """Where in each image the evidence for a score lies, for P pairs.

    Attributes:
        query, gallery: (P, h, w), not normalised, without a graph, on the model's device, at the feature map's size or the
            image's, by method. A signed method's values below zero speak against the target.
        method: its name in :data:`casnkit.explain.METHODS`.
        target: what was explained, one of :data:`TARGETS`.
        scores: (P,) the target's score of the pairs as they are.
        seconds: of all P pairs together.
        delta: (P,) by how much both maps together exceed the sum that the method promises; None where none is promised.
    """

    query: Tensor
    gallery: Tensor
    method: str
    target: str
    scores: Tensor
    seconds: float
    delta: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def cpu(self) -> PairMaps:
        """The same in main memory."""
        moved = {name: value.cpu() for name, value in vars(self).items() if isinstance(value, Tensor)}
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True)
class Target:
    """A score of a pair as a function of its two embeddings.

    Attributes:
        name: one of :data:`TARGETS`.
        score: (f_query (P, D), f_gallery (P, D), *labels) -> (P,); pairs do not influence each other.
        of_difference: (P, D) of f_query - f_gallery -> (P,), for the pair classifier's targets.
        labels: two (P,) tensors of class labels for ``identity``, where they were given.
        similarity: cosine, euclidean (minus the distance) or correlation (cosine of features less their own mean).
    """

    name: str
    score: Callable[..., Tensor]
    of_difference: Callable[[Tensor], Tensor] | None = None
    labels: tuple[Tensor, ...] = ()
    similarity: str = "cosine"


def find_target(
    model: nn.Module, target: str | int, similarity: str, labels: Tensor | Sequence[Tensor] | None, images: Tensor
) -> Target:
    """The target by its name. Without a pair classifier ``same`` is the similarity and ``different`` its negative.

    Raises:
        ValueError: an unknown target or similarity, or one that the model does not have.
    """
    check_choice("a similarity", similarity, SIMILARITIES)
    name, casn = target_name(target), isinstance(model, CASN)
    if labels is not None and name != "identity":
        raise ValueError(f"labels belong to target 'identity', the target is {name!r}")
    if name == "similarity" or (not casn and name in ("same", "different")):
        sign = -1 if name == "different" else 1
        return Target(name, lambda q, g: sign * similarity_score(q, g, similarity), similarity=similarity)
    if not casn:
        raise ValueError(
            f"target {name!r} needs the classifiers of a casnkit.CASN; for a {type(model).__name__} there are "
            "same, different and similarity"
        )
    if name == "identity":
        return Target(name, partial(_label_scores, model), labels=_labels(model, labels, images))
    if name == "agreement":
        return Target(name, partial(_agreement, model))
    head = partial(_pair_score, model, name)
    return Target(name, lambda q, g: head(q - g), head)


def target_name(target: str | int) -> str:
    """A target's name; 1 and 0, the pair classifier's outputs, stand for ``same`` and ``different``.

    Raises:
        ValueError: an unknown target.
    """
    if isinstance(target, int) and not isinstance(target, bool):
        if target not in (0, 1):
            raise ValueError(f"the pair classifier has the outputs 0 (different) and 1 (same), got target={target}")
        return ("different", "same")[target]
    check_choice("a target", target, TARGETS)
    return target


def similarity_score(query: Tensor, gallery: Tensor, kind: str = "cosine") -> Tensor:
    """(P, D) twice -> (P,), higher is closer."""
    if kind == "euclidean":
        return -torch.linalg.vector_norm(query - gallery, dim=1)
    if kind == "correlation":
        query, gallery = (f - f.mean(1, keepdim=True) for f in (query, gallery))
    return F.cosine_similarity(query, gallery)


def _pair_score(model: CASN, name: str, difference: Tensor) -> Tensor:
    different, same = model.pair_scores(difference).unbind(1)
    return {"same": same, "different": different, "log-odds": same - different}[name]


def _label_scores(model: CASN, query: Tensor, gallery: Tensor, *labels: Tensor) -> Tensor:
    first, second = (
        model.id_scores(f).gather(1, label[:, None])[:, 0] for f, label in zip((query, gallery), labels, strict=True)
    )
    return first + second


def _agreement(model: CASN, query: Tensor, gallery: Tensor) -> Tensor:
    return (model.id_scores(query).log_softmax(1) + model.id_scores(gallery).log_softmax(1)).logsumexp(1)


def _labels(model: CASN, labels: Tensor | Sequence[Tensor] | None, images: Tensor) -> tuple[Tensor, ...]:
    if labels is None:
        return ()
    pair = (labels, labels) if isinstance(labels, Tensor) else tuple(labels)
    if len(pair) != 2 or not all(isinstance(one, Tensor) for one in pair):
        raise ValueError("expected labels as a tensor (P,), or as two of them, for the query and the gallery images")
    for one in pair:
        model.check_labels(one, len(images))
    return tuple(one.to(images.device) for one in pair)


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
        images, layer = torch.cat([query, gallery]), self.layer[0]
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
        """Both feature maps as leaves of a graph, and both embeddings as functions of them. Nothing below the maps."""
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
        self.scores = self.target.score(*features, *self.settled_labels(features)).detach()
        return kept[0], features

    def settled_labels(self, features: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, ...]:
        """Both (P,) labels for target ``identity``, those with the highest score unless some were given; else nothing.

        They are fixed for the pair as it is: what the network would call a noisy or an occluded copy does not count.
        """
        if self.target.name == "identity" and not self.labels:
            with torch.no_grad():
                features = features or self.features(self.query, self.gallery)
                self.labels = tuple(self.model.id_scores(f).argmax(1) for f in features)
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
        calls: list[str] = []
        fits: list[bool] = []

        def tap(_: nn.Module, __: object, output: object) -> Tensor | None:
            calls.append(str(tuple(output.shape)) if isinstance(output, Tensor) else f"a {type(output).__name__}")
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
    """A submodule by its dotted name, or itself. Raises ValueError where the model does not have it."""
    modules = dict(model.named_modules())
    if layer is None or any(layer is m for m in modules.values()):
        return layer
    if not isinstance(layer, str):
        raise ValueError(
            f"expected a layer of the model or its name, got a {type(layer).__name__} that it does not have"
        )
    if layer and layer in modules:
        return modules[layer]
    names = [name for name in modules if name]
    close = difflib.get_close_matches(layer, names, 5, 0.4) or names[:5]
    raise ValueError(f"the model has no layer {layer!r}; it has {len(names)}, among them {', '.join(close)}")


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode, weights that need no gradient, gradients on; afterwards everything is put back, also after an exception.

    Put back are each submodule's mode and hooks, each parameter's ``requires_grad`` and ``.grad``, and torch's random
    state on the CPU and on every GPU. Weights without ``requires_grad`` let the graph begin where it is needed, at the
    feature map or at the pixels.
    """
    hooks = [
        (own, own.copy())  # the dictionary itself must stay: removable handles refer to it
        for module in model.modules()
        for name, own in vars(module).items()
        if "_hooks" in name and isinstance(own, dict)
    ]
    kinds = {m: m._is_full_backward_hook for m in model.modules()}
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    try:
        with fork_random(), evaluating(model), torch.enable_grad():
            for parameter, _, _ in parameters:
                parameter.requires_grad_(False)
            yield
    finally:
        for parameter, flag, gradient in parameters:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
        for own, kept in hooks:
            own.clear()
            own.update(kept)
        for module, kind in kinds.items():
            module._is_full_backward_hook = kind


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"expected {name} out of {', '.join(choices)}, got {value!r}")


def check_count(name: str, value: object, low: int = 1) -> int:
    """A whole number of at least ``low``, or ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"expected {name} as a whole number of at least {low}, got {value!r}")
    return value


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """What a change of one image did to one query's ranking.

    Attributes:
        where: the image that was changed, ``query`` or ``gallery``.
        query_index, gallery_index: the pair that is looked at.
        ranked_by: ``features``, ``attention`` or ``sum``.
        image: (3, H, W) float on the CPU, normalised: the changed picture.
        hidden: share of the picture that was hidden, in [0, 1].
        probability: of "same person" for the pair, before and after, in [0, 1].
        distances_before, distances_after: (G,), lower is closer.
        before, after: the rankings.
        changes: every true match's rank before and after; None where the query has no match.
    """

    where: str
    query_index: int
    gallery_index: int
    ranked_by: str
    image: Tensor
    hidden: float
    probability: tuple[float, float]
    distances_before: np.ndarray
    distances_after: np.ndarray
    before: Ranking
    after: Ranking
    changes: RankChanges | None

    @property
    def distance(self) -> tuple[float, float]:
        """Of the pair, before and after; lower is closer."""
        return float(self.distances_before[self.gallery_index]), float(self.distances_after[self.gallery_index])

    @property
    def position(self) -> tuple[int, int]:
        """1-based rank of the pair's gallery image, before and after; 0 where the protocol ignores it."""
        return int(self.before.position[self.gallery_index]), int(self.after.position[self.gallery_index])

    def moved(self, count: int = 10) -> list[dict[str, Any]]:
        """The gallery images (at most ``count``) whose rank changed most: index, status, rank before and after, places."""
        before, after = self.before.position, self.after.position
        gain = before - after
        order = [int(j) for j in np.argsort(-np.abs(gain), kind="stable")[:count] if gain[j]]
        names = ("gallery", "status", "before", "after", "gain")
        return [
            dict(zip(names, (j, str(self.before.status[j]), int(before[j]), int(after[j]), int(gain[j])), strict=True))
            for j in order
        ]


def counterfactual(
    retrieval: Retrieval,
    query_index: int,
    mask: Tensor,
    *,
    where: str = "query",
    gallery_index: int | None = None,
    keep: bool = False,
    fill: str = "mean",
    ranked_by: str = "features",
    generator: torch.Generator | None = None,
    image: Tensor | None = None,
) -> Counterfactual:
    """Hide (or keep nothing but) a region of one image and rank the gallery again.

    A changed query costs one image through the trunk and one row of distances, a changed gallery image one distance.

    Args:
        query_index: the query whose ranking is looked at.
        mask: (H, W) or (1, 1, H, W) in [0, 1] at the image's size, 1 = hidden; see :mod:`casnkit.explain.masks`.
        where: change the query, or the gallery image ``gallery_index``.
        gallery_index: the other image of the pair; None (for a changed query): the first of the ranking.
        keep: hide everything but the mask.
        fill: ``mean``, ``black``, ``blur`` or ``noise`` (with a ``generator``).
        ranked_by: ``features``, ``attention`` or ``sum`` (both).
        image: (3, H, W) normalised, in place of reading the file again.

    Raises:
        ValueError: indices out of range, an unknown name, a mask that does not fit, an unreadable image.
    """
    _check_question(retrieval, query_index, gallery_index, where, ranked_by)
    row_before = retrieval.row(query_index, ranked_by)
    before = retrieval.rank(query_index, row_before)
    if gallery_index is None:
        gallery_index = int((before.kept if len(before.kept) else before.order)[0])
    index = query_index if where == "query" else gallery_index
    given = retrieval.images(where, [index]) if image is None else image[None].to(next(retrieval.model.parameters()))
    share = float(check_mask(given, mask).mean())
    hidden = 1 - share if keep else share
    changed = apply_mask(given, mask, fill, generator, keep)
    seen = {
        side: getattr(retrieval, side).subset([k]) for side, k in zip(SIDES, (query_index, gallery_index), strict=True)
    }
    new = extract(retrieval.model, [changed], keep_maps=ranked_by != "features") if hidden else seen[where]
    row_after = row_before
    if hidden and where == "query":
        row_after = retrieval.rows(new, query_index, ranked_by)
    elif hidden:
        row_after = _with_entry(retrieval, query_index, gallery_index, new, ranked_by)
    both = [seen, seen | {where: new}]
    features = [torch.cat([pair[side].features for pair in both]) for side in SIDES]
    changes = None
    if before.first_hit >= 0:
        q, g = retrieval.dataset.query.subset([query_index]), retrieval.dataset.gallery
        found = rank_changes(row_before[None], row_after[None], q.pids, q.camids, g.pids, g.camids)
        changes = dataclasses.replace(found, query=np.full_like(found.query, query_index))
    return Counterfactual(
        where,
        int(query_index),
        gallery_index,
        ranked_by,
        changed[0].detach().cpu(),
        hidden,
        tuple(pair_probability(retrieval.model, *features).tolist()),
        row_before,
        row_after,
        before,
        retrieval.rank(query_index, row_after),
        changes,
    )


def _check_question(
    retrieval: Retrieval, query_index: int, gallery_index: int | None, where: str, ranked_by: str
) -> None:
    check_choice("where", where, SIDES)
    check_choice("ranked_by", ranked_by, RANKED_BY)
    if where == "gallery" and gallery_index is None:
        raise ValueError('where="gallery" needs gallery_index: which gallery image is to be changed?')
    sizes = {
        "query_index": (query_index, len(retrieval.query)),
        "gallery_index": (gallery_index, len(retrieval.gallery)),
    }
    for name, (value, count) in sizes.items():
        if value is not None and not 0 <= value < count:
            raise ValueError(f"{name}: expected 0 .. {count - 1}, got {value}")


def _with_entry(retrieval: Retrieval, i: int, j: int, new: Extracted, ranked_by: str) -> np.ndarray:
    """Row i of the distances with gallery image j replaced by ``new``."""
    own, rows = retrieval.query.subset([i]), []
    for kind in RANKED_BY[:2] if ranked_by == "sum" else [ranked_by]:
        row = np.array(retrieval.row(i, kind))
        row[j] = retrieval.between(own, new, kind)[0, 0]
        rows.append(row)
    return retrieval.fused(i, *rows) if ranked_by == "sum" else rows[0]
