"""The methods, and the one function that calls them."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from casnkit import attention
from casnkit.evaluation import SIDES
from casnkit.explain import captum, closed
from casnkit.explain.pair import (
    PAIR_TARGETS,
    TARGETS,
    PairMaps,
    PairModel,
    check_choice,
    undisturbed,
)
from casnkit.models import CASN


@dataclass(frozen=True)
class Method:
    """What is known of a method."""

    label: str  # in words, for legends and menus
    work: Callable[..., closed.Found]  # from a PairModel to its maps; its keyword-only arguments are the options
    signed: bool = False  # maps have values below zero, which speak against the target
    cost: str = "forward"  # one pass through the trunk; or "backward" (one there and back) or "many" (tens of passes)
    targets: tuple[str, ...] = TARGETS  # the first stands in where "same" is asked and is not among them

    @property
    def needs_casn(self) -> bool:
        """It works only with CASN's classifiers."""
        return "similarity" not in self.targets


_LABELS = {
    "paper": "Siamese attention (equation 4)",
    "signed": "Siamese attention, sign turned for the gallery image",
    "gradcam": "Siamese attention, the derivative itself (Grad-CAM of the pair score)",
    "v1": "Siamese attention, earlier version of the paper",
}
_PAIR, _LIKE = {"targets": PAIR_TARGETS}, {"targets": ("similarity",)}


def _of_mode(mode: str) -> Method:
    def work(pair: PairModel, *, order: str = "given") -> closed.Found:
        return closed.siamese(pair, mode, order)

    return Method(_LABELS.get(mode, f"Siamese attention, mode {mode!r}"), work, **_PAIR)


METHODS = {"siamese" if mode == "paper" else f"siamese-{mode}": _of_mode(mode) for mode in attention.MODES}
METHODS |= {  # a new method is one entry here: METHODS["mine"] = Method(...)
    "identification": Method("Identification attention", closed.identification, targets=("identity",)),
    "plain-mean": Method("Plain mean of the channels", closed.plain_mean),
    "similarity": Method("Similarity of the features, place by place", closed.similarity, True, **_LIKE),
    "correlation": Method("Correlation of the features, place by place", closed.correlation, True, **_LIKE),
    "siamese-centred": Method("Siamese attention without the plain mean's share", closed.siamese_centred, **_PAIR),
    "score-decomposition": Method("Pair score, place by place", closed.decomposition, True, **_PAIR),
    "evidence": Method("Shared evidence in the channels that the pair score listens to", closed.evidence, **_PAIR),
    "layer-gradcam": Method("Grad-CAM", captum.layer_gradcam),
    "guided-gradcam": Method("Guided Grad-CAM", captum.guided_gradcam, True, "backward"),
    "saliency": Method("Saliency", captum.saliency, False, "backward"),
    "input-x-gradient": Method("Input x gradient", captum.input_x_gradient, True, "backward"),
    "integrated-gradients": Method("Integrated gradients", captum.integrated_gradients, True, "many"),
    "smoothgrad": Method("SmoothGrad", captum.smoothgrad, False, "many"),
    "occlusion": Method("Occlusion", captum.occlusion, True, "many"),
    "feature-ablation": Method("Stripe ablation", captum.feature_ablation, True, "many"),
}


def explain(
    model: nn.Module,
    query_images: Tensor,
    gallery_images: Tensor,
    method: str = "siamese",
    target: str | int = "same",
    *,
    layer: nn.Module | str | None = None,
    labels: Tensor | Sequence[Tensor] | None = None,
    **options: Any,
) -> PairMaps:
    """Where in each image of a pair the evidence for a score lies. The model is left as it was found.

    Args:
        model: a CASN, or any network that gives an embedding (B, D) for images: then ``same`` is the similarity.
        query_images, gallery_images: (P, 3, H, W) or (3, H, W) float, normalised; moved to the model's device.
        method: one of :data:`METHODS`, or ``siamese-MODE`` with a mode that was added to ``attention.MODES``.
        target: ``same`` (z_1), ``different`` (z_0), ``log-odds`` (z_1 - z_0), ``identity`` (sum of both images' label
            scores), ``agreement`` (log of the probability that the ID classifier gives both the same label),
            ``similarity`` (cosine of the embeddings), or the pair classifier's output 1 or 0.
        layer: the feature map's layer, or its dotted name, for maps of a network other than CASN, which knows its own.
        labels: for ``identity``: (P,) class labels for both images, or two of them; default: each image's best label.
        **options: of the method; its function's docstring says which.
    """
    _check_model(model)
    found, images = _find(method, options), _checked_images(model, query_images, gallery_images)
    target = _checked_target(model, method, found, target)
    if isinstance(model, CASN) and layer is not None:
        raise ValueError(f"a CASN is explained at the map that it pools: leave out layer={layer!r}")
    pair = PairModel(model, images, target, _checked_labels(model, target, labels, images[0]), layer)
    clock = _clock(images[0])
    with undisturbed(model):
        maps = found.work(pair, **options)
        if pair.scores is None:
            with torch.no_grad():
                pair(*images, *pair.settled_labels())
    seconds = _clock(images[0]) - clock
    query, gallery, *delta = (m.detach() for m in maps)
    _check_finite(model, (pair.scores, query, gallery))
    return PairMaps(query, gallery, method, target, pair.scores, seconds, *delta)


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"expected a network (torch.nn.Module), got a {type(model).__name__}")
    if torch.is_inference_mode_enabled() or any(p.is_inference() for p in model.parameters()):
        raise ValueError("torch.inference_mode() is on, or was when the model was made: use torch.no_grad() instead")
    if model.training:
        warnings.warn("the model is in train mode: it is explained in eval mode and put back", stacklevel=3)


def _find(method: str, options: dict[str, Any]) -> Method:
    mode = str(method).removeprefix("siamese-")
    if method not in METHODS and mode != method and mode in attention.MODES:  # a mode that was added since
        return _of_mode(mode)
    check_choice("a method", method, list(METHODS))
    parameters = inspect.signature(METHODS[method].work).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    if not set(options) <= set(known):
        raise ValueError(f"method {method!r} has the options {', '.join(known) or 'none'}, got {', '.join(options)}")
    return METHODS[method]


def _checked_images(model: nn.Module, query: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """Both images as (P, 3, H, W) on the model's device and in its precision, cut off from any graph."""
    both = [x[None] if isinstance(x, Tensor) and x.dim() == 3 else x for x in (query, gallery)]
    for side, x in zip(SIDES, both, strict=True):
        tensor = isinstance(x, Tensor)
        if not tensor or x.dim() != 4 or x.shape[1] != 3 or not len(x) or not x.is_floating_point():
            found = f"{x.dtype} of {tuple(x.shape)}" if tensor else f"a {type(x).__name__}"
            raise ValueError(f"expected {side} images as normalised floats (P, 3, H, W) or (3, H, W), got {found}")
        if not x.isfinite().all():
            raise ValueError(f"the {side} images hold values that are not finite (NaN or infinity)")
    if both[0].shape != both[1].shape:
        found = " and ".join(str(tuple(x.shape)) for x in both)
        raise ValueError(f"expected as many query as gallery images, of one size, got {found}: resize or repeat them")
    like = next((p for p in model.parameters() if p.is_floating_point()), both[0])
    with torch.no_grad():
        # copies: flags that are set on them, and in-place layers, cannot reach the caller's tensors
        return tuple(x.to(like.device, like.dtype, copy=True) for x in both)


def _checked_target(model: nn.Module, method: str, found: Method, target: str | int) -> str:
    name = ("different", "same")[target] if type(target) is int and target in (0, 1) else target
    check_choice("a target", name, TARGETS)
    name = found.targets[0] if name == "same" and name not in found.targets else name
    if name not in found.targets:
        raise ValueError(f"method {method!r} explains {' or '.join(found.targets)}, got target {target!r}")
    if not isinstance(model, CASN) and (found.needs_casn or name not in ("same", "different", "similarity")):
        others = ", ".join(key for key, m in METHODS.items() if not m.needs_casn)
        needs = f"method {method!r} with target {name!r} needs the classifiers of a CASN; a {type(model).__name__}"
        raise ValueError(f"{needs} can be explained by {others}, with the targets same, different and similarity")
    return name


def _checked_labels(
    model: nn.Module, target: str, labels: Tensor | Sequence[Tensor] | None, images: Tensor
) -> tuple[Tensor, ...]:
    if labels is None:
        return ()
    pair = (labels, labels) if isinstance(labels, Tensor) else tuple(labels)
    if target != "identity" or len(pair) != 2 or not all(isinstance(one, Tensor) for one in pair):
        expected = "expected labels as a tensor (P,), or one for each image, and only for target 'identity'"
        raise ValueError(f"{expected}, got a {type(labels).__name__} for target {target!r}")
    for one in pair:
        model.check_labels(one, len(images))
    return tuple(one.to(images.device) for one in pair)


def _check_finite(model: nn.Module, tensors: Sequence[Tensor]) -> None:
    """Raise ValueError if a score or a map is not finite, and look for the reason in the weights."""
    if not all(value.isfinite().all() for value in tensors):
        bad = [name for name, v in model.state_dict().items() if isinstance(v, Tensor) and not v.isfinite().all()]
        reason = f"the weight {bad[0]!r} holds NaN or infinity" if bad else "all weights are finite, a sum overflowed"
        raise ValueError(f"the explanation came out NaN or infinite: {reason}; load or train the model again")


def _clock(images: Tensor) -> float:
    """The time in seconds, when the device has finished what it was asked."""
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter()
