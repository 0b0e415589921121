"""A pair's score as one function of both images, and the same pair with a part of one image hidden.

The trunk of a Siamese network belongs to both branches. A hook on it sees two calls, and attribution tools then answer for
one image only, silently (captum: for the second). Here the trunk runs once, on the concatenated pair.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casnkit.config import check_choice
from casnkit.data.images import is_dense
from casnkit.evaluation import RANKED_BY, SIDES, Evaluation, pair_probability
from casnkit.explain.masks import apply_mask
from casnkit.models import CASN, eval_view
from casnkit.ranking import Extracted, Ranking, extract

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

    def cpu(self) -> "PairMaps":
        """The same in main memory."""
        return dataclasses.replace(self, **{k: v.cpu() for k, v in vars(self).items() if isinstance(v, Tensor)})


def checked_images(network: nn.Module, *sides: Any, one_size: bool = True) -> tuple[Tensor, ...]:
    """Both sides' images as (P, 3, H, W) on the network's device and in its precision, cut off from any graph.

    Raises ValueError for what is no normalised float, not finite, or does not make pairs (``one_size``: of one size).
    """
    both = [x[None] if isinstance(x, Tensor) and x.dim() == 3 else x for x in sides]
    for side, x in zip(SIDES, both, strict=True):
        if not is_dense(x) or not x.is_floating_point() or x.dim() != 4 or x.shape[1] != 3 or not len(x):
            found = f"a {type(x).__name__}"
            if isinstance(x, Tensor):
                found = f"{x.layout} {x.dtype} of {tuple(x.shape)} on {x.device}"
            raise ValueError(f"expected {side} images as normalised floats (P, 3, H, W) or (3, H, W), got {found}")
        if not x.isfinite().all():
            raise ValueError(f"the {side} images hold values that are not finite (NaN or infinity)")
    shapes = [tuple(x.shape) for x in both]
    if len(both[0]) != len(both[1]) or (one_size and shapes[0] != shapes[1]):
        found = f"{' of one size' * one_size}, got {shapes[0]} and {shapes[1]}: resize or repeat them"
        raise ValueError(f"expected as many query as gallery images,{found}")
    like = next((p for p in network.parameters() if p.is_floating_point()), both[0])
    with torch.inference_mode(False), torch.no_grad():
        # copies: flags that are set on them, and in-place layers, cannot reach the caller's tensors
        return tuple(x.to(like.device, like.dtype, copy=True) for x in both)


class PairModel(nn.Module):
    """(query images, gallery images, *labels) -> (P,) score of the target.

    ``target``: one of TARGETS; without CASN's classifiers ``same`` is the similarity and ``different`` its negative.
    ``layer``: whose output is the feature map; None: CASN's own map, and no map for another network. The score of the
    ``images`` themselves is kept when it comes by, so that it need not be computed twice.
    """

    def __init__(self, model: nn.Module, images: tuple[Tensor, Tensor], target: str, layer: Any) -> None:
        super().__init__()
        self.model, self.is_casn = eval_view(model, frozen=True), isinstance(model, CASN)  # hooks stay in here
        (self.query, self.gallery), self.target, self.labels = images, target, ()
        self.centred = False  # the similarity is the correlation of the embeddings, not the cosine
        names = [name for name, module in model.named_modules() if layer is module or layer == name]
        if layer is not None and not names:
            known = ", ".join([name for name, _ in model.named_modules()][1:9])
            raise ValueError(f"expected a layer out of {known}, ..., or a module, got {layer!r}")
        self.layer = [self.model.get_submodule(names[0]) if names else None]  # in a list: not a submodule twice
        self.scores: Tensor | None = None

    def forward(self, query: Tensor, gallery: Tensor, *labels: Tensor) -> Tensor:
        scores = self.score(*self.embed(torch.cat([query, gallery])).chunk(2), *labels)
        if query is self.query and gallery is self.gallery:
            self.scores = scores.detach()
        return scores

    def score(self, query: Tensor, gallery: Tensor, *labels: Tensor) -> Tensor:
        """The target's score of embeddings, (P, D) twice -> (P,)."""
        if self.target == "similarity" or not self.is_casn:
            query, gallery = (f - self.centred * f.mean(1, keepdim=True) for f in (query, gallery))
            return (-1 if self.target == "different" else 1) * F.cosine_similarity(query, gallery)
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

    def leaves(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Both feature maps as leaves of a graph, and both embeddings as functions of them. Nothing below the maps."""
        images, layer, outputs, kept = torch.cat([self.query, self.gallery]), self.layer[0], [], []

        def cut(output: Tensor) -> Tensor | None:
            outputs.append(output)
            if output.dim() != 4 or len(output) != len(images):
                return None
            (rows, columns), (height, width) = output.shape[2:], images.shape[2:]
            if abs(output.shape[1] * width - rows * height) < abs(rows * width - columns * height):
                return None  # its channels stand last: rows and columns would be those of nothing
            kept[:] = [m.detach().requires_grad_() for m in output.chunk(2)]
            return torch.cat(kept)  # a copy: a later in-place ReLU cannot change what was seen

        if self.is_casn:
            features = self.model.pool(cut(self.model.feature_map(images))).chunk(2)
        elif layer is None:
            raise ValueError("this method needs a feature map: name the layer that makes it, such as layer='layer4'")
        else:
            with layer.register_forward_hook(lambda _, __, output: cut(output)):
                features = self.embed(images).chunk(2)
        if len(outputs) != 1 or not kept:
            name = next(name for name, module in self.model.named_modules() if module is layer)
            raise ValueError(
                f"expected the layer {name!r} to be called once, with feature maps ({len(images)}, C, h, w), it is called "
                f"{len(outputs)} times, for {[tuple(x.shape) for x in outputs]}: choose another layer, put an nn.Identity "
                "behind the call, or a torchvision.ops.Permute([0, 3, 1, 2]) where channels stand last"
            )
        self.scores = self.score(*features, *self.settled_labels(features)).detach()
        return tuple(kept), features

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), each image by itself."""
        if self.is_casn:
            return self.model.pool(self.model.feature_map(images))
        found = self.model(images)
        shape = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        if not isinstance(found, Tensor) or shape[:1] != (len(images),) or found.numel() != np.prod(shape[:2]):
            raise ValueError(f"expected the network to give an embedding ({len(images)}, D), got {shape}")
        return found.flatten(1)

    def settled_labels(self, features: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, ...]:
        """Both (P,) labels for target ``identity``: those with the highest score for the images as they are."""
        if self.target == "identity" and not self.labels:
            with torch.no_grad():
                features = features or [self.embed(x) for x in (self.query, self.gallery)]
                self.labels = tuple(self.model.id_scores(f).argmax(1) for f in features)
        return self.labels


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """What a change of one image did to one query's ranking; pairs of numbers are before and after."""

    where: str  # the image that was changed, "query" or "gallery"
    gallery_index: int  # the gallery image of the pair that is looked at
    ranked_by: str  # "features", "attention" or "sum"
    image: Tensor  # (3, H, W) float on the CPU, normalised: the changed picture
    hidden: float  # share of the picture that was hidden, in [0, 1]
    probability: tuple[float, float]  # of "same person" for the pair, in [0, 1]
    distances_before: np.ndarray  # (G,), lower is closer
    distances_after: np.ndarray
    before: Ranking
    after: Ranking

    @property
    def position(self) -> tuple[int, int]:
        """1-based rank of the pair's gallery image; 0 where the protocol ignores it."""
        return tuple(int(ranking.position[self.gallery_index]) for ranking in (self.before, self.after))

    @property
    def distance(self) -> tuple[float, float]:
        """The pair's distance."""
        return tuple(float(row[self.gallery_index]) for row in (self.distances_before, self.distances_after))

    def moved(self, count: int = 10) -> list[dict[str, Any]]:
        """The gallery images (at most ``count``) whose rank changed most: index, status, rank before and after, places."""
        before, after = self.before.position, self.after.position
        table = pd.DataFrame({"status": self.before.status, "before": before, "after": after})
        table["gain"] = table.before - table.after
        table = table[table.gain != 0].sort_values("gain", key=lambda gain: -gain.abs(), kind="stable").head(count)
        return table.rename_axis("gallery").reset_index().to_dict("records")


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
        mask: (H, W) or (1, 1, H, W) in [0, 1] at the image's size, 1 = hidden; see :mod:`casnkit.explain.masks`.
        where: change the ``query``, or the ``gallery`` image ``gallery_index``.
        gallery_index: the other image of the pair; None (for a changed query): the first of the ranking.
        fill, generator: see :func:`casnkit.explain.masks.apply_mask`.
        ranked_by: ``features``, ``attention`` or ``sum`` (both).
        image: (3, H, W) normalised, in place of reading the file again.
    """
    _check_question(retrieval, query_index, gallery_index, where, ranked_by)
    i, rows = int(query_index), [retrieval.row(query_index, ranked_by)] * 2
    before = retrieval.rank(i, rows[0])
    j = int(np.concatenate([before.kept, before.order])[0]) if gallery_index is None else int(gallery_index)
    given = retrieval.images(where, [i if where == "query" else j]) if image is None else image[None]
    changed, hidden = apply_mask(given, mask, fill, generator), float(mask.double().mean())
    old = {"query": retrieval.query.subset([i]), "gallery": retrieval.gallery.subset([j])}
    new = dict(old)
    if hidden:
        new[where] = extract(retrieval.model, [changed], keep_maps=ranked_by != "features")
        rows[1] = _row_after(retrieval, i, j, where, new, ranked_by)
    features = [torch.cat([old[side].features, new[side].features]) for side in SIDES]
    probability = tuple(pair_probability(retrieval.model, *features).tolist())
    shown, after = changed[0].detach().cpu(), retrieval.rank(i, rows[1])
    return Counterfactual(where, j, ranked_by, shown, hidden, probability, *rows, before, after)


def _check_question(retrieval: Evaluation, query: int, gallery: int | None, where: str, ranked_by: str) -> None:
    check_choice("where", where, SIDES)
    check_choice("ranked_by", ranked_by, RANKED_BY)
    if where == "gallery" and gallery is None:
        raise ValueError('where="gallery" needs gallery_index: which gallery image is to be changed?')
    for side, index, images in (("query", query, retrieval.query), ("gallery", gallery or 0, retrieval.gallery)):
        if not 0 <= index < len(images):
            raise ValueError(f"{side}_index: expected 0 .. {len(images) - 1}, got {index}")


def _row_after(retrieval: Evaluation, i: int, j: int, where: str, seen: dict[str, Extracted], by: str) -> np.ndarray:
    """Query i's distances with one image of the pair seen anew; of a changed gallery image only one distance."""
    if where == "query":
        return retrieval.row_of(seen["query"], i, by)
    if by == "sum":
        return retrieval.fused(i, *(_row_after(retrieval, i, j, where, seen, kind) for kind in RANKED_BY[:2]))
    row = np.array(retrieval.row(i, by))
    row[j] = retrieval.between(seen["query"], seen["gallery"], by)[0, 0]
    return row
