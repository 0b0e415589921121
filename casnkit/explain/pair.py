"""A pair's score as one function of both images, and the same pair with a part of one image hidden.

The trunk of a Siamese network belongs to both branches. A hook on it sees two calls, and attribution tools then answer for
one image only, silently (captum: for the second). Here the trunk runs once, on the concatenated pair, and both halves pass
through one :class:`PairTap`: a hook on the tap gets both maps, in order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Iterator, Sequence
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


class PairTap(nn.Module):
    """Hands on the feature maps of both branches, (P, C, h, w) each, as they are."""

    def forward(self, query: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
        return query, gallery


class PairModel(nn.Module):
    """(query images, gallery images, *labels) -> (P,) score of the target.

    ``target``: one of TARGETS; without CASN's classifiers ``same`` is the similarity and ``different`` its negative.
    ``layer``: whose output is the feature map; None: CASN's own map, and no map for another network. The score of the
    ``images`` themselves is kept when it comes by, so that it need not be computed twice.
    """

    def __init__(
        self,
        model: nn.Module,
        target: str,
        similarity: str,
        labels: tuple[Tensor, ...],
        layer: nn.Module | None,
        images: tuple[Tensor, Tensor],
    ) -> None:
        super().__init__()
        self.model, self.taps, self.is_casn = model, PairTap(), isinstance(model, CASN)
        self.target, self.similarity, self.labels = target, similarity, labels
        self.layer = [layer]  # in a list: not a submodule a second time
        self.query, self.gallery = images
        self.scores: Tensor | None = None

    def forward(self, query: Tensor, gallery: Tensor, *labels: Tensor) -> Tensor:
        scores = self.score(*self.features(query, gallery), *labels)
        if query is self.query and gallery is self.gallery:
            self.scores = scores.detach()
        return scores

    def score(self, query: Tensor, gallery: Tensor, *labels: Tensor) -> Tensor:
        """The target's score of embeddings, (P, D) twice -> (P,)."""
        if self.target == "similarity" or not self.is_casn:
            return (-1 if self.target == "different" else 1) * self._similarity(query, gallery)
        if self.target in PAIR_TARGETS:
            return self.of_difference(query - gallery)
        logits = [self.model.id_scores(f) for f in (query, gallery)]
        if self.target == "agreement":
            return sum(y.log_softmax(1) for y in logits).logsumexp(1)
        return sum(y.gather(1, label[:, None])[:, 0] for y, label in zip(logits, labels, strict=True))

    def of_difference(self, difference: Tensor) -> Tensor:
        """The pair classifier's score of f_query - f_gallery, (P, D) -> (P,)."""
        different, same = self.model.pair_scores(difference).unbind(1)
        return {"same": same, "different": different, "log-odds": same - different}[self.target]

    def _similarity(self, query: Tensor, gallery: Tensor) -> Tensor:
        if self.similarity == "euclidean":
            return -torch.linalg.vector_norm(query - gallery, dim=1)
        if self.similarity == "correlation":
            query, gallery = (f - f.mean(1, keepdim=True) for f in (query, gallery))
        return F.cosine_similarity(query, gallery)

    def features(self, query: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
        """Both embeddings, (P, D) each; the feature maps pass through ``taps`` where there are any."""
        images, layer = torch.cat([query, gallery]), self.layer[0]
        if layer is None and self.is_casn:
            return tuple(self.model.pool(m) for m in self.taps(*self.model.feature_map(images).chunk(2)))
        if layer is None:
            return self.embed(images).chunk(2)
        outputs: list[object] = []

        def tap(_: nn.Module, __: object, output: object) -> Tensor | None:
            outputs.append(output)
            # a copy: a later in-place ReLU cannot change what was seen
            return torch.cat(self.taps(*output.chunk(2))) if _is_map(output, len(images)) else None

        with layer.register_forward_hook(tap):
            features = self.embed(images).chunk(2)
        if len(outputs) != 1 or not _is_map(outputs[0], len(images)):
            name = next(name for name, module in self.model.named_modules() if module is layer)
            raise ValueError(
                f"expected the layer {name!r} to be called once and to give feature maps ({len(images)}, C, h, w), it was "
                f"called {len(outputs)} times{_shape_in_words(outputs)}: choose another layer, or put an nn.Identity behind "
                "the call that you mean"
            )
        return features

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), each image by itself."""
        if self.is_casn:
            return self.model.pool(self.model.feature_map(images))
        found = self.model(images)
        fits = isinstance(found, Tensor) and found.dim() > 1 and len(found) == len(images)
        if not fits or any(n > 1 for n in found.shape[2:]):
            raise ValueError(
                f"expected the network to give an embedding ({len(images)}, D){_shape_in_words([found])} instead"
            )
        return found.flatten(1)

    def leaves(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Both feature maps as leaves of a graph, and both embeddings as functions of them. Nothing below the maps."""
        self.need_layer()
        kept: list[Tensor] = []

        def cut(_: nn.Module, __: object, maps: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            kept[:] = [m.detach().requires_grad_() for m in maps]
            return tuple(kept)

        with self.taps.register_forward_hook(cut):
            features = self.features(self.query, self.gallery)
        self.scores = self.score(*features, *self.settled_labels(features)).detach()
        return tuple(kept), features

    def settled_labels(self, features: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, ...]:
        """Both (P,) labels for target ``identity``, those with the highest score unless some were given; else nothing.

        They are fixed for the pair as it is: what the network would call a noisy or an occluded copy does not count.
        """
        if self.target == "identity" and not self.labels:
            with torch.no_grad():
                features = features or self.features(self.query, self.gallery)
                self.labels = tuple(self.model.id_scores(f).argmax(1) for f in features)
        return self.labels

    def need_layer(self) -> None:
        """Raise ValueError where no feature map is named."""
        if self.layer[0] is None and not self.is_casn:
            raise ValueError("this method needs a feature map: name the layer that makes it, such as layer='layer4'")


def _is_map(output: object, count: int) -> bool:
    return isinstance(output, Tensor) and output.dim() == 4 and len(output) == count


def _shape_in_words(outputs: Sequence[object]) -> str:
    shapes = [str(tuple(x.shape)) if isinstance(x, Tensor) else f"a {type(x).__name__}" for x in outputs]
    return f", got {' and '.join(shapes)}" if shapes else ""


def find_layer(model: nn.Module, layer: nn.Module | str | None) -> nn.Module | None:
    """A submodule by its dotted name, or itself. Raises ValueError where the model does not have it."""
    modules = dict(model.named_modules())
    if layer is None or any(layer is module for module in modules.values()):
        return layer
    if not isinstance(layer, str) or not modules.get(layer):
        close = difflib.get_close_matches(str(layer), modules, 5, 0.4) or list(modules)[1:6]
        raise ValueError(f"expected a layer of the model or its name, such as {', '.join(close)}, got {layer!r}")
    return modules[layer]


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode, weights that need no gradient, gradients on; afterwards everything is put back, also after an exception.

    Put back are each submodule's mode, each parameter's ``requires_grad``, and torch's random state on every device.
    Weights without ``requires_grad`` let the graph begin where it is needed, and gather no gradients.
    """
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        with fork_random(), evaluating(model), torch.enable_grad():
            model.requires_grad_(False)
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


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
    """What a change of one image did to one query's ranking; pairs of numbers are before and after."""

    where: str  # the image that was changed, "query" or "gallery"
    gallery_index: int  # the other image of the pair that is looked at
    ranked_by: str  # "features", "attention" or "sum"
    image: Tensor  # (3, H, W) float on the CPU, normalised: the changed picture
    hidden: float  # share of the picture that was hidden, in [0, 1]
    probability: tuple[float, float]  # of "same person" for the pair, in [0, 1]
    distances_before: np.ndarray  # (G,), lower is closer
    distances_after: np.ndarray
    before: Ranking
    after: Ranking
    changes: RankChanges | None  # every true match's rank; None where the query has no match

    @property
    def distance(self) -> tuple[float, float]:
        """Of the pair, before and after; lower is closer."""
        return float(self.distances_before[self.gallery_index]), float(self.distances_after[self.gallery_index])

    @property
    def position(self) -> tuple[int, int]:
        """1-based rank of the pair's gallery image; 0 where the protocol ignores it."""
        return int(self.before.position[self.gallery_index]), int(self.after.position[self.gallery_index])

    @property
    def distance(self) -> tuple[float, float]:
        """The pair's distance."""
        return float(self.distances_before[self.gallery_index]), float(self.distances_after[self.gallery_index])

    def moved(self, count: int = 10) -> list[dict[str, Any]]:
        """The gallery images (at most ``count``) whose rank changed most: index, status, rank before and after, places."""
        before, after, status = self.before.position, self.after.position, self.before.status
        order = np.argsort(-np.abs(before - after), kind="stable")[:count]
        rows = [(int(j), str(status[j]), int(before[j]), int(after[j]), int(before[j] - after[j])) for j in order]
        return [
            dict(zip(("gallery", "status", "before", "after", "gain"), row, strict=True)) for row in rows if row[-1]
        ]


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
    i, j = int(query_index), gallery_index
    for name, index, seen in (("query", i, retrieval.query), ("gallery", j or 0, retrieval.gallery)):
        if not 0 <= index < len(seen):
            raise ValueError(f"{name}_index: expected 0 .. {len(seen) - 1}, got {index}")
    row_before = row_after = retrieval.row(i, ranked_by)
    before = retrieval.rank(i, row_before)
    j = int((before.kept if len(before.kept) else before.order)[0]) if j is None else int(j)
    given = retrieval.images(where, [i if where == "query" else j]) if image is None else image[None]
    hidden, changed = float(check_mask(given, mask).mean()), apply_mask(given, mask, fill, generator)
    old = {"query": retrieval.query.subset([i]), "gallery": retrieval.gallery.subset([j])}
    new = dict(old)
    if hidden:
        new[where] = extract(retrieval.model, [changed], keep_maps=ranked_by != "features")
        row_after = _row_after(retrieval, i, j, where, new, ranked_by)
    features = [torch.cat([old[side].features, new[side].features]) for side in SIDES]
    probability = tuple(pair_probability(retrieval.model, *features).tolist())
    changes, q, g = None, retrieval.dataset.query.subset([i]), retrieval.dataset.gallery
    if before.first_hit >= 0:
        changes = rank_changes(row_before[None], row_after[None], q.pids, q.camids, g.pids, g.camids)
    rankings, shown = (before, retrieval.rank(i, row_after)), changed[0].detach().cpu()
    return Counterfactual(
        where, j, ranked_by, shown, hidden, probability, row_before, row_after, *rankings, changes=changes
    )


def _row_after(
    retrieval: Evaluation, i: int, j: int, where: str, seen: dict[str, Extracted], ranked_by: str
) -> np.ndarray:
    """Query i's distances with one image of the pair seen anew; of a changed gallery image only one distance."""
    if where == "query":
        return retrieval.row_of(seen["query"], i, ranked_by)
    rows = []
    for kind in RANKED_BY[:2] if ranked_by == "sum" else [ranked_by]:
        row = np.array(retrieval.row(i, kind))
        row[j] = retrieval.between(seen["query"], seen["gallery"], kind)[0, 0]
        rows.append(row)
    return retrieval.fused(i, *rows) if ranked_by == "sum" else rows[0]
