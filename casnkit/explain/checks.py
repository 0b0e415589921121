"""Bad input is refused before anything is computed, in words that say what to do."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def check_model(model: nn.Module) -> None:
    """Raise ValueError for what is no module, for inference mode, and for weights that were made in it.

    A model in train mode is explained in eval mode, with a warning: there BatchNorm would mix the pairs of a batch.
    """
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


def check_images(model: nn.Module, query: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """Both images as (P, 3, H, W) on the model's device and in its precision, cut off from any graph.

    Raises:
        ValueError: no normalised float images with three channels, or images of different number or size.
    """
    found = [_one_side(name, images) for name, images in (("query", query), ("gallery", gallery))]
    shapes = [tuple(images.shape) for images in found]
    if shapes[0][0] != shapes[1][0]:
        raise ValueError(f"expected a gallery image for each query image, got {shapes[0][0]} and {shapes[1][0]}")
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"expected images of one size, got {shapes[0][2]}x{shapes[0][3]} (query) and {shapes[1][2]}x{shapes[1][3]} "
            "(gallery), height x width: resize them (casnkit.data.loading.load_images does)"
        )
    place = next((p for p in model.parameters() if p.is_floating_point()), None)
    if place is None:
        place = found[0]
    with torch.no_grad():
        # clones: flags that are set on them, and in-place layers, cannot reach the caller's tensors
        return tuple(images.to(place.device, place.dtype, copy=True) for images in found)


def _one_side(name: str, images: Tensor) -> Tensor:
    if not isinstance(images, Tensor):
        raise ValueError(f"expected {name} images as a tensor (P, 3, H, W), got a {type(images).__name__}")
    if images.dim() == 3:
        images = images[None]
    if images.dim() != 4 or not len(images):
        raise ValueError(f"expected {name} images as (P, 3, H, W) or (3, H, W), got {tuple(images.shape)}")
    if images.shape[1] != 3:
        hint = "; repeat the channel of a grey image: images.expand(-1, 3, -1, -1)" if images.shape[1] == 1 else ""
        raise ValueError(f"expected {name} images with 3 channels, got {images.shape[1]}{hint}")
    if not images.is_floating_point():
        raise ValueError(
            f"expected {name} images as normalised floats (casnkit.data.augment.normalise), got {images.dtype}"
        )
    if not images.isfinite().all():
        raise ValueError(f"the {name} images hold values that are not finite (NaN or infinity)")
    return images


def check_options(method: str, work: Callable[..., Any], options: dict[str, Any]) -> None:
    """Raise ValueError for an option that the method does not have."""
    known = [name for name, p in inspect.signature(work).parameters.items() if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"method {method!r} has no option {', '.join(unknown)}; it has: {', '.join(known) or 'none'}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"expected {name} out of {', '.join(choices)}, got {value!r}")


def check_count(name: str, value: object, low: int = 1) -> int:
    """A whole number of at least ``low``.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"expected {name} as a whole number of at least {low}, got {value!r}")
    return value


def check_finite(model: nn.Module, tensors: dict[str, Tensor | None]) -> None:
    """Raise ValueError if a score or a map is not finite, and look for the reason in the weights."""
    wrong = [name for name, value in tensors.items() if value is not None and not value.isfinite().all()]
    if not wrong:
        return
    state = model.state_dict().items()
    bad = next(
        (n for n, v in state if isinstance(v, Tensor) and v.is_floating_point() and not v.isfinite().all()), None
    )
    reason = f"the weight {bad!r} holds NaN or infinity" if bad else "the weights are finite, so something overflowed"
    raise ValueError(f"{' and '.join(wrong)} came out NaN or infinite: {reason}; load or train the model again")
