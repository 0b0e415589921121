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
    find_layer,
    find_target,
    target_name,
    undisturbed,
)
from casnkit.models import CASN


@dataclass(frozen=True)
class Method:
    """What is known of a method.

    Attributes:
        label: in words, for legends and menus.
        work: from a :class:`casnkit.explain.pair.PairModel` to its maps; its keyword-only arguments are the options.
        signed: maps have values below zero, which speak against the target.
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


def _of_pair(label: str, work: Callable[..., closed.Found], signed: bool = False, source: str = "ours") -> Method:
    return Method(label, work, signed, "map", True, "forward", True, source, PAIR_TARGETS)


def _of_similarity(label: str, similarity: str | None = None) -> Method:
    work = closed.similarity
    return Method(label, work, True, "map", True, "forward", False, "known", ("similarity",), similarity)


class _OfModes(Mapping[str, Method]):
    """A method for each mode of equation 4, also for one that is added to ``attention.MODES`` later."""

    LABELS = {
        "paper": "Siamese attention (equation 4)",
        "signed": "Siamese attention, sign turned for the gallery image",
        "gradcam": "Siamese attention, the derivative itself (Grad-CAM of the pair score)",
        "v1": "Siamese attention, earlier version of the paper",
    }

    def _modes(self) -> dict[str, str]:
        modes = getattr(attention, "MODES", None) or self.LABELS
        return {"siamese" if mode == "paper" else f"siamese-{mode}": mode for mode in modes}

    def __getitem__(self, name: str) -> Method:
        mode = self._modes()[name]
        source = "paper" if mode in ("paper", "v1") else "ours"
        label = self.LABELS.get(mode, f"Siamese attention, mode {mode!r}")
        return _of_pair(label, lambda pair, *, order="given": closed.siamese(pair, mode, order), source=source)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modes())

    def __len__(self) -> int:
        return len(self._modes())


_TABLE: dict[str, Method] = {
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
    _TABLE, _OfModes()
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
    """
    _check_model(model)
    if method not in METHODS:
        raise ValueError(f"expected a method out of {', '.join(METHODS)}, got {method!r}")
    found, images = METHODS[method], _checked_images(model, query_images, gallery_images)
    _check_options(method, found, options)
    name, layer = _target(method, found, target), _layer(model, method, found, layer)
    scored = find_target(model, name, found.similarity or similarity, labels, images[0])
    _wait(images[0])
    clock = time.perf_counter()
    with undisturbed(model):
        pair = PairModel(model, scored, layer, images)
        maps = found.work(pair, **options)
        if pair.scores is None:
            with torch.no_grad():
                pair(*images, *pair.settled_labels())
    _wait(images[0])
    seconds = time.perf_counter() - clock
    query, gallery, *delta = (m.detach() for m in maps)
    _check_finite(model, {"the score": pair.scores, "the query's map": query, "the gallery image's map": gallery})
    return PairMaps(query, gallery, method, name, pair.scores, seconds, *delta)


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"expected a network (torch.nn.Module), got a {type(model).__name__}")
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "torch.inference_mode() is on, and an explanation needs gradients: call explain outside of it "
            "(torch.no_grad() around it does no harm)"
        )
    frozen = next((name for name, p in model.named_parameters() if p.is_inference()), None)
    if frozen:
        raise ValueError(
            f"the weight {frozen!r} was made inside torch.inference_mode() and cannot be differentiated: build or load the "
            "model outside of it"
        )
    if model.training:
        warnings.warn(
            "the model is in train mode: it is explained in eval mode and put back; call model.eval() first to say so",
            stacklevel=3,
        )


def _checked_images(model: nn.Module, query: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """Both images as (P, 3, H, W) on the model's device and in its precision, cut off from any graph."""
    query, gallery = _one_side("query", query), _one_side("gallery", gallery)
    if len(query) != len(gallery):
        raise ValueError(f"expected a gallery image for each query image, got {len(query)} and {len(gallery)}")
    if query.shape != gallery.shape:
        sizes = " and ".join(
            f"{x.shape[2]}x{x.shape[3]} ({side})" for x, side in ((query, "query"), (gallery, "gallery"))
        )
        raise ValueError(
            f"expected images of one size, got {sizes}, height x width: resize them (casnkit.data.images.load_images does)"
        )
    like = next((p for p in model.parameters() if p.is_floating_point()), query)
    with torch.no_grad():
        # copies: flags that are set on them, and in-place layers, cannot reach the caller's tensors
        return tuple(images.to(like.device, like.dtype, copy=True) for images in (query, gallery))


def _one_side(name: str, images: Tensor) -> Tensor:
    if not isinstance(images, Tensor):
        raise ValueError(f"expected {name} images as a tensor (P, 3, H, W), got a {type(images).__name__}")
    images = images[None] if images.dim() == 3 else images
    if images.dim() != 4 or not len(images):
        raise ValueError(f"expected {name} images as (P, 3, H, W) or (3, H, W), got {tuple(images.shape)}")
    if images.shape[1] != 3:
        hint = "; repeat the channel of a grey image: images.expand(-1, 3, -1, -1)" if images.shape[1] == 1 else ""
        raise ValueError(f"expected {name} images with 3 channels, got {images.shape[1]}{hint}")
    if not images.is_floating_point():
        raise ValueError(
            f"expected {name} images as normalised floats (casnkit.data.images.normalise), got {images.dtype}"
        )
    if not images.isfinite().all():
        raise ValueError(f"the {name} images hold values that are not finite (NaN or infinity)")
    return images


def _check_options(method: str, found: Method, options: dict[str, Any]) -> None:
    own = inspect.signature(found.work).parameters.values()
    known = [p.name for p in own if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"method {method!r} has no option {', '.join(unknown)}; it has: {', '.join(known) or 'none'}")


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
            others = [name for name, m in METHODS.items() if not m.pair_classifier and m.targets != ("identity",)]
            raise ValueError(
                f"method {method!r} needs the classifiers of a casnkit.CASN; a {type(model).__name__} can be explained by "
                + ", ".join(others)
            )
    elif layer is not None and method not in _ANY_LAYER:
        raise ValueError(f"method {method!r} belongs to the map that CASN pools: leave out layer={layer!r}")
    return find_layer(model, layer)


def _check_finite(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Raise ValueError if a score or a map is not finite, and look for the reason in the weights."""
    wrong = [name for name, value in tensors.items() if not value.isfinite().all()]
    if not wrong:
        return
    state = [(name, v) for name, v in model.state_dict().items() if isinstance(v, Tensor) and v.is_floating_point()]
    bad = next((name for name, v in state if not v.isfinite().all()), None)
    reason = f"the weight {bad!r} holds NaN or infinity" if bad else "the weights are finite, so something overflowed"
    raise ValueError(f"{' and '.join(wrong)} came out NaN or infinite: {reason}; load or train the model again")


def _wait(images: Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
