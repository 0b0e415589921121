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
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casnkit.evaluation import RANKED_BY, SIDES, Evaluation, pair_probability
from casnkit.explain.masks import apply_mask, check_mask
from casnkit.models import CASN, evaluating, fork_random
from casnkit.ranking import Extracted, RankChanges, Ranking, extract, rank_changes

SIMILARITIES = ("cosine", "euclidean", "correlation")
PAIR_TARGETS = ("same", "different", "log-odds")
TARGETS = (*PAIR_TARGETS, "identity", "agreement", "similarity")


@dataclass(frozen=True)
class PairMaps:
    """Where in each image the evidence for a score lies, for P pairs."""

    query: Tensor  # (P, h, w), not normalised, without a graph, at the feature map's size or the image's
    gallery: Tensor  # (P, h, w); a signed method's values below zero speak against the target
    method: str  # a key of METHODS
    target: str  # what was explained, one of TARGETS
    scores: Tensor  # (P,) the target's score of the pairs as they are
    seconds: float  # of all P pairs together
    delta: Tensor | None = None  # (P,) by how much both maps together exceed the sum that the method promises

    def __len__(self) -> int:
        return len(self.scores)

    def cpu(self) -> PairMaps:
        """The same in main memory."""
        return dataclasses.replace(self, **{k: v.cpu() for k, v in vars(self).items() if isinstance(v, Tensor)})


@dataclass(frozen=True)
class Target:
    """A score of a pair as a function of its two embeddings."""

    name: str  # one of TARGETS
    score: Callable[..., Tensor]  # (f_query (P, D), f_gallery (P, D), *labels) -> (P,), each pair by itself
    of_difference: Callable[[Tensor], Tensor] | None = None  # f_query - f_gallery -> (P,), of the pair classifier
    labels: tuple[Tensor, ...] = ()  # two (P,) tensors of class labels for "identity", where they were given
    similarity: str = "cosine"  # one of SIMILARITIES; euclidean: minus the distance, correlation: centred cosine


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
        there_are = f"for a {type(model).__name__} there are same, different and similarity"
        raise ValueError(f"target {name!r} needs the classifiers of a casnkit.CASN; {there_are}")

    def of_difference(difference: Tensor) -> Tensor:
        different, same = model.pair_scores(difference).unbind(1)
        return {"same": same, "different": different, "log-odds": same - different}[name]

    def label_scores(query: Tensor, gallery: Tensor, *labels: Tensor) -> Tensor:
        both = [model.id_scores(f).gather(1, y[:, None]) for f, y in zip((query, gallery), labels, strict=True)]
        return sum(both)[:, 0]

    def agreement(query: Tensor, gallery: Tensor) -> Tensor:
        return (model.id_scores(query).log_softmax(1) + model.id_scores(gallery).log_softmax(1)).logsumexp(1)

    if name == "identity":
        return Target(name, label_scores, labels=_labels(model, labels, images))
    if name == "agreement":
        return Target(name, agreement)
    return Target(name, lambda q, g: of_difference(q - g), of_difference)


def target_name(target: str | int) -> str:
    """A target's name; 1 and 0, the pair classifier's outputs, stand for ``same`` and ``different``."""
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

    ``layer``: whose output is the feature map; None: CASN's own map, and no map for another network. The score of the
    ``images`` themselves is kept when it comes by, so that it need not be computed twice.
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
        with contextlib.nullcontext() if layer is None else self._tapped(layer, len(images)):
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

        with _hooked(self.taps, cut):
            features = self.features(self.query, self.gallery)
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
            raise ValueError("this method needs a feature map: name the layer that makes it, such as layer='layer4'")

    @contextlib.contextmanager
    def _tapped(self, layer: nn.Module, count: int) -> Iterator[None]:
        """Inside the block the layer's output goes through the tap."""
        name = next(name for name, m in self.model.named_modules() if m is layer)
        outputs: list[object] = []

        def fits(output: object) -> bool:
            return isinstance(output, Tensor) and output.dim() == 4 and len(output) == count

        def tap(_: nn.Module, __: object, output: object) -> Tensor | None:
            outputs.append(output)
            if len(outputs) > 1:
                advice = "choose another layer, or put an nn.Identity behind the call that you mean"
                raise ValueError(f"the layer {name!r} is called more than once: {advice}")
            # a copy: a later in-place ReLU cannot change what was seen. What does not fit is judged at the end
            return torch.cat(self.taps(*output.chunk(2))) if fits(output) else None

        with _hooked(layer, tap):
            yield
        if not outputs:
            raise ValueError(f"the layer {name!r} is not called when the network runs: choose one that is")
        if not fits(outputs[0]):
            found = tuple(outputs[0].shape) if isinstance(outputs[0], Tensor) else f"a {type(outputs[0]).__name__}"
            raise ValueError(f"expected the layer {name!r} to give feature maps ({count}, C, h, w), got {found}")


@contextlib.contextmanager
def _hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def find_layer(model: nn.Module, layer: nn.Module | str | None) -> nn.Module | None:
    """A submodule by its dotted name, or itself. Raises ValueError where the model does not have it."""
    modules = {name: module for name, module in model.named_modules() if name}
    if layer is None or any(layer is module for module in model.modules()):
        return layer
    if not isinstance(layer, str):
        raise ValueError(f"expected a layer of the model or its name, got a {type(layer).__name__} that is not in it")
    if layer not in modules:
        close = difflib.get_close_matches(layer, modules, 5, 0.4) or list(modules)[:5]
        raise ValueError(f"the model has no layer {layer!r}; it has {len(modules)}, among them {', '.join(close)}")
    return modules[layer]


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode, weights that need no gradient, gradients on; afterwards everything is put back, also after an exception.

    Put back are each submodule's mode and hooks, each parameter's ``requires_grad`` and ``.grad``, and torch's random
    state on every device. Weights without ``requires_grad`` let the graph begin where it is needed.
    """
    own = [vars(module) for module in model.modules()]
    hooks = [(v, v.copy()) for state in own for k, v in state.items() if "_hooks" in k and isinstance(v, dict)]
    kinds = [(state, state["_is_full_backward_hook"]) for state in own]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    try:
        with fork_random(), evaluating(model), torch.enable_grad():
            model.requires_grad_(False)
            yield
    finally:
        for parameter, flag, gradient in parameters:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
        for registered, kept in hooks:  # the dictionary itself must stay: removable handles refer to it
            registered.clear()
            registered.update(kept)
        for state, kind in kinds:
            state["_is_full_backward_hook"] = kind


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
    """What a change of one image did to one query's ranking."""

    where: str  # the image that was changed, "query" or "gallery"
    query_index: int  # of the pair that is looked at
    gallery_index: int
    ranked_by: str  # "features", "attention" or "sum"
    image: Tensor  # (3, H, W) float on the CPU, normalised: the changed picture
    hidden: float  # share of the picture that was hidden, in [0, 1]
    probability: tuple[float, float]  # of "same person" for the pair, before and after, in [0, 1]
    distances_before: np.ndarray  # (G,), lower is closer
    distances_after: np.ndarray
    before: Ranking
    after: Ranking
    changes: RankChanges | None  # every true match's rank before and after; None where the query has no match

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
        moves = []
        gain = self.before.position - self.after.position
        for j in np.argsort(-np.abs(gain), kind="stable")[:count].tolist():
            ranks = {"before": int(self.before.position[j]), "after": int(self.after.position[j]), "gain": int(gain[j])}
            moves += [{"gallery": j, "status": str(self.before.status[j])} | ranks] if gain[j] else []
        return moves


def counterfactual(
    retrieval: Evaluation,
    query_index: int,
    mask: Tensor,
    *,
    where: str = "query",
    gallery_index: int | None = None,
    fill: str = "mean",
    ranked_by: str = "features",
    generator: torch.Generator | None = None,
    image: Tensor | None = None,
) -> Counterfactual:
    """Hide a region of one image and rank the gallery again.

    Args:
        query_index: the query whose ranking is looked at.
        mask: (H, W) or (1, 1, H, W) in [0, 1] at the image's size, 1 = hidden; see :mod:`casnkit.explain.masks`.
        where: change the ``query``, or the ``gallery`` image ``gallery_index``.
        gallery_index: the other image of the pair; None (for a changed query): the first of the ranking.
        fill, generator: see :func:`casnkit.explain.masks.apply_mask`.
        ranked_by: ``features``, ``attention`` or ``sum`` (both).
        image: (3, H, W) normalised, in place of reading the file again.
    """
    check_choice("where", where, SIDES)
    check_choice("ranked_by", ranked_by, RANKED_BY)
    if where == "gallery" and gallery_index is None:
        raise ValueError('where="gallery" needs gallery_index: which gallery image is to be changed?')
    for side, value in zip(SIDES, (query_index, gallery_index), strict=True):
        if value is not None and not 0 <= value < len(getattr(retrieval, side)):
            raise ValueError(f"{side}_index: expected 0 .. {len(getattr(retrieval, side)) - 1}, got {value}")
    row_before = row_after = retrieval.row(query_index, ranked_by)
    before = retrieval.rank(query_index, row_before)
    if gallery_index is None:
        gallery_index = int((before.kept if len(before.kept) else before.order)[0])
    pair = dict(zip(SIDES, (query_index, gallery_index), strict=True))
    given = retrieval.images(where, [pair[where]]) if image is None else image[None]
    hidden, changed = float(check_mask(given, mask).mean()), apply_mask(given, mask, fill, generator)
    old = {side: getattr(retrieval, side).subset([index]) for side, index in pair.items()}
    new = dict(old)
    if hidden:
        new[where] = extract(retrieval.model, [changed], keep_maps=ranked_by != "features")
        row_after = _row_after(retrieval, pair, where, new, ranked_by)
    features = [torch.cat([seen[side].features for seen in (old, new)]) for side in SIDES]
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


def _row_after(
    retrieval: Evaluation, pair: dict[str, int], where: str, seen: dict[str, Extracted], ranked_by: str
) -> np.ndarray:
    """The query's distances with one image of the pair seen anew; of a changed gallery image only one distance."""
    i, j = pair.values()
    if where == "query":
        return retrieval.row_of(seen["query"], i, ranked_by)
    rows = []
    for kind in RANKED_BY[:2] if ranked_by == "sum" else [ranked_by]:
        row = np.array(retrieval.row(i, kind))
        row[j] = retrieval.between(seen["query"], seen["gallery"], kind)[0, 0]
        rows.append(row)
    return retrieval.fused(i, *rows) if ranked_by == "sum" else rows[0]
