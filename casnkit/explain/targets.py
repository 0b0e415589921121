"""What is explained: a score of a pair as a function of its two embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casnkit.models import CASN

SIMILARITIES = ("cosine", "euclidean", "correlation")
PAIR_TARGETS = ("same", "different", "log-odds")
TARGETS = (*PAIR_TARGETS, "identity", "agreement", "similarity")


@dataclass(frozen=True)
class Target:
    """A score and how to compute it.

    Attributes:
        name: one of :data:`TARGETS`.
        score: (f_query (P, D), f_gallery (P, D), *labels) -> (P,); pairs do not influence each other.
        of_difference: (P, D) of f_query - f_gallery -> (P,), for the pair classifier's targets.
        labels: two (P,) tensors of class labels for ``identity``, else none.
        similarity: cosine, euclidean (minus the distance) or correlation (cosine of features less their own mean).
    """

    name: str
    score: Callable[..., Tensor]
    of_difference: Callable[[Tensor], Tensor] | None = None
    labels: tuple[Tensor, ...] = ()
    similarity: str = "cosine"


def similarity_score(query: Tensor, gallery: Tensor, kind: str = "cosine") -> Tensor:
    """(P, D) twice -> (P,), higher is closer."""
    if kind == "euclidean":
        return -torch.linalg.vector_norm(query - gallery, dim=1)
    if kind == "correlation":
        query, gallery = (f - f.mean(1, keepdim=True) for f in (query, gallery))
    return F.cosine_similarity(query, gallery)


def find_target(
    model: nn.Module,
    target: str | int,
    similarity: str,
    labels: Tensor | Sequence[Tensor] | None,
    count: int,
    device: torch.device,
) -> Target:
    """The target by its name; 1 and 0, the pair classifier's outputs, stand for ``same`` and ``different``.

    For a network without a pair classifier ``same`` is the similarity and ``different`` its negative.

    Raises:
        ValueError: an unknown target or similarity, or one that the model has not.
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"expected a similarity out of {', '.join(SIMILARITIES)}, got {similarity!r}")
    name = target_name(target)
    if labels is not None and name != "identity":
        raise ValueError(f"labels belong to target 'identity', the target is {name!r}")
    if name == "similarity" or (not isinstance(model, CASN) and name in ("same", "different")):
        sign = -1 if name == "different" else 1
        return Target(name, lambda q, g: sign * similarity_score(q, g, similarity), similarity=similarity)
    if not isinstance(model, CASN):
        raise ValueError(
            f"target {name!r} needs the classifiers of a casnkit.CASN; for a {type(model).__name__} there are "
            "same, different and similarity"
        )
    if name == "identity":
        return Target(name, _label_scores(model), labels=_labels(model, labels, count, device))
    if name == "agreement":
        return Target(name, _agreement(model))
    head = _pair_score(model, name)
    return Target(name, lambda q, g: head(q - g), head)


def target_name(target: str | int) -> str:
    """A target's name; the pair classifier's outputs 0 and 1 have one too.

    Raises:
        ValueError: an unknown target.
    """
    if isinstance(target, int) and not isinstance(target, bool):
        if target not in (0, 1):
            raise ValueError(f"the pair classifier has the outputs 0 (different) and 1 (same), got target={target}")
        return ("different", "same")[target]
    if not isinstance(target, str) or target not in TARGETS:
        raise ValueError(f"expected a target out of {', '.join(TARGETS)}, got {target!r}")
    return target


def _pair_score(model: CASN, name: str) -> Callable[[Tensor], Tensor]:
    def score(difference: Tensor) -> Tensor:
        different, same = model.pair_scores(difference).unbind(1)
        return {"same": same, "different": different, "log-odds": same - different}[name]

    return score


def _label_scores(model: CASN) -> Callable[..., Tensor]:
    def score(query: Tensor, gallery: Tensor, *labels: Tensor) -> Tensor:
        logits = [model.id_scores(f) for f in (query, gallery)]
        return sum(y.gather(1, label[:, None])[:, 0] for y, label in zip(logits, labels, strict=True))

    return score


def _agreement(model: CASN) -> Callable[[Tensor, Tensor], Tensor]:
    def score(query: Tensor, gallery: Tensor) -> Tensor:
        both = (model.id_scores(f).log_softmax(1) for f in (query, gallery))
        return sum(both).logsumexp(1)

    return score


def _labels(
    model: CASN, labels: Tensor | Sequence[Tensor] | None, count: int, device: torch.device
) -> tuple[Tensor, ...]:
    if labels is None:
        return ()
    pair = (labels, labels) if isinstance(labels, Tensor) else tuple(labels)
    if len(pair) != 2 or not all(isinstance(one, Tensor) for one in pair):
        raise ValueError("expected labels as a tensor (P,), or as two of them, for the query and the gallery images")
    for one in pair:
        model.check_labels(one, count)
    return tuple(one.to(device) for one in pair)
