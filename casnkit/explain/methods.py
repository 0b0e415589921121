"""The methods, and the one function that calls them."""

from __future__ import annotations

import inspect
import time
import warnings
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from casnkit import attention
from casnkit.explain import captum, closed
from casnkit.explain.pair import (
    PAIR_TARGETS,
    TARGETS,
    PairMaps,
    PairModel,
    check_choice,
    find_layer,
    find_target,
    target_name,
    undisturbed,
)
from casnkit.models import CASN


@dataclass(frozen=True)
class Method:
    """What is known of a method."""

    label: str  # in words, for legends and menus
    work: Callable[..., closed.Found]  # from a PairModel to its maps; its keyword-only arguments are the options
    signed: bool  # maps have values below zero, which speak against the target
    level: str  # "map" (the feature map's size) or "pixel" (the image's)
    needs_pair: bool  # an image's map depends on its partner
    cost: str  # "forward" (one pass through the trunk), "backward" (one there and back) or "many" (tens of passes)
    pair_classifier: bool = False  # works only with CASN's pair classifier
    source: str = "captum"  # or "paper", "known" (from the literature, computed here), "ours"
    targets: tuple[str, ...] = TARGETS  # the first stands in where "same" is asked and is not among them
    similarity: str | None = None  # the kind that it always explains; None: the one that is asked for


def _of_pair(label: str, work: Callable[..., closed.Found], signed: bool = False, source: str = "ours") -> Method:
    return Method(label, work, signed, "map", True, "forward", True, source, PAIR_TARGETS)


def _of_similarity(label: str, similarity: str | None = None) -> Method:
    work = closed.similarity
    return Method(label, work, True, "map", True, "forward", False, "known", ("similarity",), similarity)


_MODES = {
    "paper": "Siamese attention (equation 4)",
    "signed": "Siamese attention, sign turned for the gallery image",
    "gradcam": "Siamese attention, the derivative itself (Grad-CAM of the pair score)",
    "v1": "Siamese attention, earlier version of the paper",
}


class _OfModes(Mapping[str, Method]):
    """A method for each mode of equation 4, also for one that is added to ``attention.MODES`` later."""

    def __getitem__(self, name: str) -> Method:
        mode = self._by_name()[name]
        source = "paper" if mode in ("paper", "v1") else "ours"
        label = _MODES.get(mode, f"Siamese attention, mode {mode!r}")
        return _of_pair(label, lambda pair, *, order="given": closed.siamese(pair, mode, order), source=source)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name())

    def __len__(self) -> int:
        return len(self._by_name())

    def _by_name(self) -> dict[str, str]:
        return {"siamese" if mode == "paper" else f"siamese-{mode}": mode for mode in attention.MODES}


_OTHERS: dict[str, Method] = {
    "identification": Method(
        "Identification attention", closed.identification, False, "map", False, "forward", False, "paper", ("identity",)
    ),
    "plain-mean": Method(
        "Plain mean of the channels", closed.plain_mean, False, "map", False, "forward", source="known"
    ),
    "similarity": _of_similarity("Similarity of the features, place by place"),
    "correlation": _of_similarity("Correlation of the features, place by place", "correlation"),
    "siamese-centred": _of_pair("Siamese attention without the plain mean's share", closed.siamese_centred),
    "score-decomposition": _of_pair("Pair score, place by place", closed.decomposition, True),
    "evidence": _of_pair("Shared evidence in the channels that the pair score listens to", closed.evidence),
    "layer-gradcam": Method("Grad-CAM", captum.layer_gradcam, False, "map", True, "forward"),
    "guided-gradcam": Method("Guided Grad-CAM", captum.guided_gradcam, True, "pixel", True, "backward"),
    "saliency": Method("Saliency", captum.saliency, False, "pixel", True, "backward"),
    "input-x-gradient": Method("Input x gradient", captum.input_x_gradient, True, "pixel", True, "backward"),
    "integrated-gradients": Method("Integrated gradients", captum.integrated_gradients, True, "pixel", True, "many"),
    "smoothgrad": Method("SmoothGrad", captum.smoothgrad, False, "pixel", True, "many"),
    "occlusion": Method("Occlusion", captum.occlusion, True, "pixel", True, "many"),
    "feature-ablation": Method("Stripe ablation", captum.feature_ablation, True, "pixel", True, "many"),
}
METHODS: ChainMap[str, Method] = ChainMap(
    _OTHERS, _OfModes()
)  # a new method is one entry: METHODS["mine"] = Method(...)
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
            ``similarity`` (of the embeddings), or the pair classifier's output 1 or 0.
        layer: the feature map's layer, or its dotted name. CASN knows its own; another network needs it for maps.
        similarity: ``cosine``, ``euclidean`` (minus the distance) or ``correlation``.
        labels: for ``identity``: (P,) class labels for both images, or two of them; default: each image's best label.
        **options: of the method; its function's docstring says which.

    """
    _check_model(model)
    check_choice("a method", method, list(METHODS))
    found, images = METHODS[method], _checked_images(model, query_images, gallery_images)
    known = [p.name for p in inspect.signature(found.work).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"method {method!r} has no option {', '.join(unknown)}; it has: {', '.join(known) or 'none'}")
    name = target_name(target)
    name = found.targets[0] if name == "same" and name not in found.targets else name
    if name not in found.targets:
        raise ValueError(f"method {method!r} explains {' or '.join(found.targets)}, got target {target!r}")
    layer = _checked_layer(model, method, found, layer)
    scored = find_target(model, name, found.similarity or similarity, labels, images[0])
    clock = _clock(images[0])
    with undisturbed(model):
        pair = PairModel(model, scored, layer, images)
        maps = found.work(pair, **options)
        if pair.scores is None:
            with torch.no_grad():
                pair(*images, *pair.settled_labels())
    seconds = _clock(images[0]) - clock
    query, gallery, *delta = (m.detach() for m in maps)
    _check_finite(model, {"the score": pair.scores, "the query's map": query, "the gallery image's map": gallery})
    return PairMaps(query, gallery, method, name, pair.scores, seconds, *delta)


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"expected a network (torch.nn.Module), got a {type(model).__name__}")
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "torch.inference_mode() is on, and an explanation needs gradients: use torch.no_grad() instead"
        )
    frozen = next((name for name, p in model.named_parameters() if p.is_inference()), None)
    if frozen:
        raise ValueError(f"the weight {frozen!r} was made inside torch.inference_mode(): load the model outside of it")
    if model.training:
        warnings.warn("the model is in train mode: it is explained in eval mode and put back", stacklevel=3)


def _checked_images(model: nn.Module, query: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """Both images as (P, 3, H, W) on the model's device and in its precision, cut off from any graph."""
    both = []
    for side, images in (("query", query), ("gallery", gallery)):
        tensor = isinstance(images, Tensor)
        images = images[None] if tensor and images.dim() == 3 else images
        if not tensor or images.dim() != 4 or images.shape[1] != 3 or not len(images) or not images.is_floating_point():
            found = f"{images.dtype} of {tuple(images.shape)}" if tensor else f"a {type(images).__name__}"
            raise ValueError(f"expected {side} images as normalised floats (P, 3, H, W) or (3, H, W), got {found}")
        if not images.isfinite().all():
            raise ValueError(f"the {side} images hold values that are not finite (NaN or infinity)")
        both.append(images)
    if both[0].shape != both[1].shape:
        found = " and ".join(str(tuple(images.shape)) for images in both)
        raise ValueError(f"expected as many query as gallery images, of one size, got {found}: resize or repeat them")
    like = next((p for p in model.parameters() if p.is_floating_point()), both[0])
    with torch.no_grad():
        # copies: flags that are set on them, and in-place layers, cannot reach the caller's tensors
        return tuple(images.to(like.device, like.dtype, copy=True) for images in both)


def _checked_layer(model: nn.Module, method: str, found: Method, layer: nn.Module | str | None) -> nn.Module | None:
    if isinstance(model, CASN):
        if layer is not None and method not in _ANY_LAYER:
            raise ValueError(f"method {method!r} belongs to the map that CASN pools: leave out layer={layer!r}")
    elif found.pair_classifier or found.targets == ("identity",):
        others = ", ".join(name for name, m in METHODS.items() if not m.pair_classifier and m.targets != ("identity",))
        name = type(model).__name__
        raise ValueError(
            f"method {method!r} needs the classifiers of a casnkit.CASN; a {name} can be explained by {others}"
        )
    return find_layer(model, layer)


def _check_finite(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Raise ValueError if a score or a map is not finite, and look for the reason in the weights."""
    wrong = [name for name, value in tensors.items() if not value.isfinite().all()]
    if wrong:
        bad = [name for name, v in model.state_dict().items() if isinstance(v, Tensor) and not v.isfinite().all()]
        reason = f"the weight {bad[0]!r} holds NaN or infinity" if bad else "all weights are finite, a sum overflowed"
        raise ValueError(f"{' and '.join(wrong)} came out NaN or infinite: {reason}; load or train the model again")


def _clock(images: Tensor) -> float:
    """The time in seconds, when the device has finished what it was asked."""
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter()
