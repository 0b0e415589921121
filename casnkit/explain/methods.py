"""The methods, and the one function that calls them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from casnkit.models import CASN

from .._optional import require
from . import closed, gradients, perturbation
from .checks import check_finite, check_images, check_model, check_options
from .pairmaps import PairMaps
from .pairmodel import PairModel, find_layer
from .state import undisturbed
from .targets import PAIR_TARGETS, TARGETS, find_target, target_name


@dataclass(frozen=True)
class Method:
    """What is known of a method.

    Attributes:
        label: in words, for legends and menus.
        work: from a :class:`casnkit.explain.pairmodel.PairModel` to its maps.
        signed: maps have values below zero, that speak against the target.
        level: ``map`` (the feature map's size) or ``pixel`` (the image's).
        needs_pair: an image's map depends on its partner.
        cost: ``forward`` (one pass through the trunk), ``backward`` (one there and back) or ``many`` (tens of passes).
        pair_classifier: works only with CASN's pair classifier.
        source: ``paper``, ``captum``, ``known`` (from the literature, computed here) or ``ours``.
        targets: that it can explain; the first one stands in where ``same`` is asked and is not among them.
        similarity: the kind that it always explains; None: the one that is asked for.
    """

    label: str
    work: Callable[..., closed.Found]
    signed: bool
    level: str
    needs_pair: bool
    cost: str
    pair_classifier: bool = False
    source: str = "captum"
    targets: tuple[str, ...] = TARGETS
    similarity: str | None = None


def _siamese(label: str, mode: str, source: str = "paper") -> Method:
    def work(pair: PairModel, *, order: str = "given", per_stripe: bool = False) -> closed.Found:
        return closed.siamese(pair, mode, order, per_stripe)

    return Method(label, work, False, "map", True, "forward", True, source, PAIR_TARGETS)


def _ours(label: str, work: Callable[..., closed.Found], signed: bool) -> Method:
    return Method(label, work, signed, "map", True, "forward", True, "ours", PAIR_TARGETS)


METHODS: dict[str, Method] = {
    "siamese": _siamese("Siamese attention (equation 4)", "paper"),
    "siamese-signed": _siamese("Siamese attention, sign turned for the gallery image", "signed", "ours"),
    "siamese-gradcam": _siamese("Siamese attention, the derivative itself (Grad-CAM of the pair score)", "gradcam", "ours"),
    "siamese-v1": _siamese("Siamese attention, earlier version of the paper", "v1"),
    "identification": Method(
        "Identification attention", closed.identification, False, "map", False, "forward", False, "paper", ("identity",)
    ),
    "plain-mean": Method("Plain mean of the channels", closed.plain_mean, False, "map", False, "forward", False, "known"),
    "similarity": Method(
        "Similarity of the features, place by place", closed.similarity, True, "map", True, "forward", False, "known",
        ("similarity",),
    ),
    "correlation": Method(
        "Correlation of the features, place by place", closed.similarity, True, "map", True, "forward", False, "known",
        ("similarity",), "correlation",
    ),
    "siamese-centred": _ours("Siamese attention without the plain mean's share", closed.siamese_centred, False),
    "score-decomposition": _ours("Pair score, place by place", closed.decomposition, True),
    "evidence": _ours("Shared evidence in the channels that the pair score listens to", closed.evidence, False),
    "layer-gradcam": Method("Grad-CAM", gradients.layer_gradcam, False, "map", True, "forward"),
    "guided-gradcam": Method("Guided Grad-CAM", gradients.guided_gradcam, True, "pixel", True, "backward"),
    "saliency": Method("Saliency", gradients.saliency, False, "pixel", True, "backward"),
    "input-x-gradient": Method("Input x gradient", gradients.input_x_gradient, True, "pixel", True, "backward"),
    "integrated-gradients": Method(
        "Integrated gradients", gradients.integrated_gradients, True, "pixel", True, "many"
    ),
    "smoothgrad": Method("SmoothGrad", gradients.smoothgrad, False, "pixel", True, "many"),
    "occlusion": Method("Occlusion", perturbation.occlusion, True, "pixel", True, "many"),
    "feature-ablation": Method("Stripe ablation", perturbation.feature_ablation, True, "pixel", True, "many"),
}  # fmt: skip
_ANY_LAYER = ("plain-mean", "layer-gradcam", "guided-gradcam")  # on CASN; the others belong to the map that is pooled


def explain(
    model: nn.Module,
    query_images: Tensor,
    gallery_images: Tensor,
    method: str = "siamese",
    target: str | int = "same",
    *,
    layer: nn.Module | str | None = None,
    similarity: str = "cosine",
    labels: Tensor | Sequence[Tensor] | None = None,
    **options: Any,
) -> PairMaps:
    """Where in each image of a pair the evidence for a score lies.

    The model is used in eval mode and left as it was found, also after an error: mode, hooks, ``requires_grad``,
    gradients, random state.

    Args:
        model: a CASN, or any network that gives an embedding (B, D) for images: then ``same`` is the similarity.
        query_images, gallery_images: (P, 3, H, W) or (3, H, W) float, normalised; moved to the model's device.
        method: one of :data:`METHODS`.
        target: ``same`` (z_1), ``different`` (z_0), ``log-odds`` (z_1 - z_0), ``identity`` (sum of both images' label
            scores), ``agreement`` (log of the probability that the ID classifier gives both the same label),
            ``similarity`` (of the embeddings), or the pair classifier's output 1 or 0. ``identification`` always
            explains ``identity``, and ``similarity`` and ``correlation`` always ``similarity``.
        layer: the feature map's layer, or its dotted name. CASN knows its own; another network needs it for maps.
        similarity: ``cosine``, ``euclidean`` (minus the distance) or ``correlation``.
        labels: for ``identity``: (P,) class labels for both images, or two of them; default: each image's best label.
        **options: of the method; its function's docstring says which.

    Returns:
        both maps, (P, h, w), not normalised.

    Raises:
        ValueError: bad input; the message says what was expected.
        ImportError: captum is missing, for a method that needs it.
    """
    check_model(model)
    found = METHODS.get(method)
    if found is None:
        raise ValueError(f"expected a method out of {', '.join(METHODS)}, got {method!r}")
    images = check_images(model, query_images, gallery_images)
    check_options(method, found.work, options)
    target = _target(method, found, target)
    layer = _layer(model, method, found, layer)
    scored = find_target(model, target, found.similarity or similarity, labels, len(images[0]), images[0].device)
    if found.source == "captum":
        require("captum.attr", f"the method {method!r}")  # importing it takes a second, which is not the method's
    _wait(images[0])
    clock = time.perf_counter()
    with undisturbed(model):
        pair = PairModel(model, scored, layer, images)
        maps = found.work(pair, **options)
        if pair.scores is None:
            with torch.no_grad():
                pair(*images, *(pair.settled_labels() or ()))
    _wait(images[0])
    seconds = time.perf_counter() - clock
    query, gallery, delta = (m.detach() for m in maps) if len(maps) == 3 else (*(m.detach() for m in maps), None)
    check_finite(model, {"the score": pair.scores, "the query's map": query, "the gallery image's map": gallery})
    return PairMaps(query, gallery, method, scored.name, pair.scores, seconds, delta)


def _target(method: str, found: Method, target: str | int) -> str:
    name = target_name(target)
    if name in found.targets:
        return name
    if name == "same":
        return found.targets[0]
    raise ValueError(f"method {method!r} explains {' or '.join(found.targets)}, got target {target!r}")


def _layer(model: nn.Module, method: str, found: Method, layer: nn.Module | str | None) -> nn.Module | None:
    if not isinstance(model, CASN):
        if found.pair_classifier or found.targets == ("identity",):
            raise ValueError(
                f"method {method!r} needs the classifiers of a casnkit.CASN; a {type(model).__name__} can be explained by "
                + ", ".join(name for name, m in METHODS.items() if not m.pair_classifier and "same" in m.targets)
                + " and similarity"
            )
    elif layer is not None and method not in _ANY_LAYER:
        raise ValueError(f"method {method!r} belongs to the map that CASN pools: leave out layer={layer!r}")
    return find_layer(model, layer)


def _wait(images: Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
