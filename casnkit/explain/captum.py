"""Methods that captum computes (Kokhlikyan et al. 2020): by gradients through the trunk, or by hiding parts of the images.

The score is a :class:`casnkit.explain.pair.PairModel`: captum sees one function of two images, so one call gives both maps.
Gradients at pixels are summed over the three colour channels, except for the gradient's size, where the largest counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from captum import attr
from torch import Tensor, nn

from casnkit.explain.closed import Found
from casnkit.explain.pair import PairModel, check_choice, check_count

_COPIES_AT_ONCE = 32  # pairs in one pass of a gradient method that makes many copies
_WINDOWS_AT_ONCE = 64  # pairs in one pass of a method that hides windows


def layer_gradcam(pair: PairModel) -> Found:
    """Grad-CAM of the score at both branches' feature maps (Selvaraju et al. 2017); captum itself leaves out the ReLU."""
    pair.need_layer()
    options = {"additional_forward_args": pair.settled_labels() or None, "relu_attributions": True}
    return tuple(m[:, 0] for m in attr.LayerGradCam(pair, pair.taps).attribute((pair.query, pair.gallery), **options))


def guided_gradcam(pair: PairModel, *, interpolate: str = "bilinear") -> Found:
    """Guided backpropagation times Grad-CAM (grown to the image; captum: ``nearest``), summed over colours; signed."""
    if not any(isinstance(m, nn.ReLU) for m in pair.modules()):
        warnings.warn("guided backpropagation changes nn.ReLU modules, and this network has none", stacklevel=4)
    coarse = [F.interpolate(m[:, None], pair.query.shape[2:], mode=interpolate) for m in layer_gradcam(pair)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
        fine = _attribute(attr.GuidedBackprop(pair), pair)
    return tuple((g * m).sum(1) for g, m in zip(fine, coarse, strict=True))


def saliency(pair: PairModel) -> Found:
    """|d score / d pixel|, the largest of the three colours (Simonyan et al. 2014)."""
    return tuple(g.amax(1) for g in _attribute(attr.Saliency(pair), pair, abs=True))


def input_x_gradient(pair: PairModel) -> Found:
    """Pixel times gradient, summed over colours; signed. A pixel of the mean colour gets nothing."""
    return tuple(g.sum(1) for g in _attribute(attr.InputXGradient(pair), pair))


def smoothgrad(pair: PairModel, *, samples: int = 16, noise: float = 0.3, seed: int = 0) -> Found:
    """Size of the gradient averaged over noisy copies (Smilkov et al. 2017); a normalised image's deviation is about 1."""
    torch.manual_seed(seed)  # the caller's random state is kept by explain
    options = {"nt_type": "smoothgrad", "nt_samples": check_count("samples", samples), "stdevs": float(noise)}
    options["nt_samples_batch_size"] = min(samples, max(1, _COPIES_AT_ONCE // len(pair.query)))
    return tuple(g.abs().amax(1) for g in _attribute(attr.NoiseTunnel(attr.Saliency(pair)), pair, abs=False, **options))


def integrated_gradients(pair: PairModel, *, baseline: str = "zero", steps: int = 50, of: str | None = None) -> Found:
    """Integrated gradients (Sundararajan et al. 2017), summed over colours; signed, with captum's convergence delta.

    Args:
        baseline: where the way begins: ``zero`` (the data's mean colour) or ``partner`` (the other image).
        of: ``pair``: both images go together, and both maps add up to z(q, g) - z(baselines). ``each`` (default for the
            partner): one image goes while the other stays, and each map adds up to its own difference.
    """
    query, gallery = pair.query.detach(), pair.gallery.detach()
    starts = {"zero": (torch.zeros_like(query), torch.zeros_like(gallery)), "partner": (gallery, query)}
    check_choice("baseline", baseline, list(starts))
    of = of or ("each" if baseline == "partner" else "pair")
    check_choice("of", of, ("pair", "each"))
    options = {"n_steps": check_count("steps", steps), "return_convergence_delta": True}
    options["internal_batch_size"] = max(_COPIES_AT_ONCE, len(query))
    ask = partial(_attribute, attr.IntegratedGradients(pair), pair, **options)
    if of == "pair":
        found, delta = ask(baselines=starts[baseline])
    else:
        (first, _), delta_1 = ask(baselines=(starts[baseline][0], pair.gallery))
        (_, second), delta_2 = ask(baselines=(pair.query, starts[baseline][1]))
        found, delta = (first, second), delta_1 + delta_2
    return *(g.sum(1) for g in found), delta.to(query.dtype)


def occlusion(pair: PairModel, *, window: Sequence[int] | None = None, stride: Sequence[int] | None = None) -> Found:
    """A sliding grey window (Zeiler and Fergus 2014) in one image while the other stays whole; signed.

    Each place gets the mean loss of score over the windows that hid it. ``window`` (default: an eighth of the height, a
    quarter of the width) and ``stride`` (default: half the window) are (height, width) in pixels.
    """
    height, width = pair.query.shape[2:]
    window = _size("window", window or (max(1, height // 8), max(1, width // 4)), (height, width))
    stride = _size("stride", stride or [max(1, n // 2) for n in window], window)
    return _hidden(pair, attr.Occlusion, sliding_window_shapes=(3, *window), strides=(3, *stride))


def feature_ablation(pair: PairModel, *, rows: int = 8) -> Found:
    """Hide ``rows`` horizontal stripes of equal height, one after the other: (P, H, W), signed, constant over a stripe."""
    height = pair.query.shape[2]
    if check_count("rows", rows) > height:
        raise ValueError(f"expected at most {height} rows for images of that height, got {rows}")
    stripes = torch.arange(height, device=pair.query.device) * rows // height
    return _hidden(pair, attr.FeatureAblation, feature_mask=stripes[:, None].expand(1, *pair.query.shape[1:]))


def _attribute(method: Any, pair: PairModel, **options: Any) -> Any:
    """captum's answer for both images."""
    images = pair.query.requires_grad_(), pair.gallery.requires_grad_()
    return method.attribute(images, additional_forward_args=pair.settled_labels() or None, **options)


@torch.no_grad()
def _hidden(pair: PairModel, method: Callable[..., Any], **options: Any) -> Found:
    """captum's attribution of either image with the other one whole, which is embedded once, not once for every window."""
    labels, score, embed = pair.settled_labels(), pair.score, pair.embed
    query, gallery = pair.features(pair.query, pair.gallery)
    pair.scores = score(query, gallery, *labels)
    options["perturbations_per_eval"] = max(1, _WINDOWS_AT_ONCE // len(query))

    def ask(forward: Callable[..., Tensor], images: Tensor, other: Tensor) -> Tensor:
        found = method(forward).attribute(images, additional_forward_args=(other, *labels), **options)
        return found[:, 0].to(images.dtype)  # all colours are equal; Occlusion answers in float32

    first = ask(lambda images, other, *y: score(embed(images), other, *y), pair.query, gallery)
    return first, ask(lambda images, other, *y: score(other, embed(images), *y), pair.gallery, query)


def _size(name: str, value: Sequence[int], largest: Sequence[int]) -> tuple[int, int]:
    good = isinstance(value, (tuple, list)) and len(value) == 2
    if not good or not all(isinstance(n, int) and 1 <= n <= m for n, m in zip(value, largest, strict=True)):
        raise ValueError(f"expected {name} as (height, width) of 1 to {tuple(largest)} pixels, got {value!r}")
    return tuple(value)
