"""Methods that captum computes (Kokhlikyan et al. 2020): by gradients through the trunk, or by hiding parts of the images.

The score is a :class:`casnkit.explain.pair.PairModel`: captum sees one function of two images, so one call gives both maps.
Gradients at pixels are summed over the three colour channels, except for the gradient's size, where the largest counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from captum import attr
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from casnkit.explain.closed import Found
from casnkit.explain.pair import PairModel, check_choice, check_count

BASELINES = ("zero", "mean", "blurred", "partner")
OF = ("each", "jointly")
_COPIES_AT_ONCE = 32  # pairs in one pass of a gradient method that makes many copies
_WINDOWS_AT_ONCE = 64  # pairs in one pass of a method that hides windows


def layer_gradcam(pair: PairModel, *, relu: bool = True) -> Found:
    """Grad-CAM of the score at both branches' feature maps (Selvaraju et al. 2017); captum itself leaves out the ReLU."""
    pair.need_layer()
    options = {"additional_forward_args": pair.settled_labels() or None, "relu_attributions": relu}
    return tuple(m[:, 0] for m in attr.LayerGradCam(pair, pair.taps).attribute((pair.query, pair.gallery), **options))


def guided_gradcam(pair: PairModel, *, interpolate: str = "bilinear") -> Found:
    """Guided backpropagation times Grad-CAM, summed over colours: (P, H, W), signed (Selvaraju et al. 2017).

    ``interpolate``: how Grad-CAM grows to the image: ``bilinear``, or ``nearest`` as captum does.
    """
    check_choice("interpolate", interpolate, ("bilinear", "nearest"))
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
    """Size of the gradient averaged over noisy copies of both images (Smilkov et al. 2017).

    ``noise`` is a standard deviation, in units of the normalised image (whose own is about 1).
    """
    check_count("samples", samples)
    if isinstance(noise, bool) or not isinstance(noise, (int, float)) or not 0 <= noise < float("inf"):
        raise ValueError(f"expected noise as a number of at least 0, got {noise!r}")
    torch.manual_seed(check_count("seed", seed, 0))  # the caller's random state is kept by explain
    options = {"nt_type": "smoothgrad", "nt_samples": samples, "stdevs": float(noise), "abs": False}
    options["nt_samples_batch_size"] = min(samples, max(1, _COPIES_AT_ONCE // len(pair.query)))
    return tuple(g.abs().amax(1) for g in _attribute(attr.NoiseTunnel(attr.Saliency(pair)), pair, **options))


def integrated_gradients(
    pair: PairModel, *, baseline: str = "zero", steps: int = 50, of: str | None = None, blur: float = 8.0
) -> Found:
    """Integrated gradients (Sundararajan et al. 2017), summed over colours; signed, with captum's convergence delta.

    Args:
        baseline: where the way begins: ``zero`` (the data's mean colour), ``mean`` (the image's own mean colour),
            ``blurred`` (with a standard deviation of ``blur`` pixels), or ``partner`` (the other image of the pair).
        steps: points of the Gauss-Legendre rule.
        of: ``pair``: both images go together, and both maps add up to z(q, g) - z(baselines). ``each``: one image goes
            while the other stays, so that each map adds up to its own difference. Default: ``each`` for the partner,
            where it says what tells the image from its partner (from z(g, g) to z(q, g)); else ``pair``.
    """
    of = of or ("each" if baseline == "partner" else "pair")
    check_choice("of", of, ("pair", "each"))
    starts, method = _baselines(pair, baseline, blur), attr.IntegratedGradients(pair)
    options = {"n_steps": check_count("steps", steps), "return_convergence_delta": True}
    options["internal_batch_size"] = max(_COPIES_AT_ONCE, len(pair.query))
    if of == "pair":
        found, delta = _attribute(method, pair, baselines=starts, **options)
    else:
        first, delta_1 = _attribute(method, pair, baselines=(starts[0], pair.gallery), **options)
        second, delta_2 = _attribute(method, pair, baselines=(pair.query, starts[1]), **options)
        found, delta = (first[0], second[1]), delta_1 + delta_2
    return *(g.sum(1) for g in found), delta.to(found[0].dtype)


def occlusion(
    pair: PairModel,
    *,
    window: tuple[int, int] | None = None,
    stride: tuple[int, int] | None = None,
    of: str = "each",
    baseline: str = "zero",
    blur: float = 8.0,
) -> Found:
    """A sliding window (Zeiler and Fergus 2014): each place's mean loss of score over the windows that hid it. Signed.

    Args:
        window: height and width in pixels. Default: an eighth of the height, and a quarter of the width; the whole width
            where both images are hidden jointly.
        stride: in pixels; default: half the window.
        of: ``each``: hide in one image while the other stays whole, then the other way round; ``jointly``: the same place
            in both at once, one map for both.
        baseline, blur: what is shown instead; see :func:`integrated_gradients`.
    """
    height, width = pair.query.shape[2:]
    if window is None:
        window = max(1, height // 8), width if of == "jointly" else max(1, width // 4)
    window = _size("window", window, (height, width))
    stride = _size("stride", stride or tuple(max(1, n // 2) for n in window), window)
    if of == "jointly" and window[1] == width:
        stride = stride[0], width

    def attribute(forward: Callable[..., Tensor], images: Tensor, **options: Any) -> Tensor:
        channels = images.shape[1]
        return attr.Occlusion(forward).attribute(images, (channels, *window), strides=(channels, *stride), **options)

    return _hidden(pair, attribute, of, _baselines(pair, baseline, blur))


def feature_ablation(
    pair: PairModel, *, rows: int = 8, columns: int = 1, of: str = "each", baseline: str = "zero", blur: float = 8.0
) -> Found:
    """Hide the stripes of a grid of ``rows`` x ``columns`` one after the other: (P, H, W), signed, constant over a stripe.

    ``of``, ``baseline`` and ``blur`` as for :func:`occlusion`.
    """
    height, width = pair.query.shape[2:]
    if check_count("rows", rows) > height or check_count("columns", columns) > width:
        raise ValueError(f"expected a grid of at most {height}x{width} for images of that size, got {rows}x{columns}")
    down = torch.arange(height, device=pair.query.device) * rows // height
    across = torch.arange(width, device=pair.query.device) * columns // width
    mask = (down[:, None] * columns + across)[None, None]

    def attribute(forward: Callable[..., Tensor], images: Tensor, **options: Any) -> Tensor:
        shown = mask.expand(1, *images.shape[1:])
        return attr.FeatureAblation(forward).attribute(images, feature_mask=shown, **options)

    return _hidden(pair, attribute, of, _baselines(pair, baseline, blur))


def _attribute(method: Any, pair: PairModel, **options: Any) -> Any:
    """captum's answer for both images."""
    images = pair.query.requires_grad_(), pair.gallery.requires_grad_()
    return method.attribute(images, additional_forward_args=pair.settled_labels() or None, **options)


@torch.no_grad()
def _hidden(pair: PairModel, attribute: Callable[..., Tensor], of: str, blank: tuple[Tensor, Tensor]) -> Found:
    """captum's attribution of either image with the other one whole, which is embedded once, not once for every window."""
    check_choice("of", of, OF)
    labels, at_once = pair.settled_labels(), max(1, _WINDOWS_AT_ONCE // len(pair.query))
    score, embed = pair.target.score, pair.embed

    def ask(forward: Callable[..., Tensor], images: Tensor, shown: Tensor, *given: Tensor) -> Tensor:
        options = {"additional_forward_args": given, "perturbations_per_eval": at_once}
        return attribute(forward, images, baselines=shown, **options).to(images.dtype)  # Occlusion answers in float32

    if of == "jointly":
        both, shown = torch.cat([pair.query, pair.gallery], 1), torch.cat(blank, 1)
        found = ask(lambda images, *labels: pair(*images.chunk(2, 1), *labels), both, shown, *labels)
        return found[:, 0], found[:, 3]  # all channels of an image are equal
    query, gallery = pair.features(pair.query, pair.gallery)
    pair.scores = score(query, gallery, *labels)
    first = ask(lambda x, f, *labels: score(embed(x), f, *labels), pair.query, blank[0], gallery, *labels)
    second = ask(lambda x, f, *labels: score(f, embed(x), *labels), pair.gallery, blank[1], query, *labels)
    return first[:, 0], second[:, 0]


def _baselines(pair: PairModel, kind: str, blur: float) -> tuple[Tensor, Tensor]:
    """What stands for "nothing to see" in each image: (P, 3, H, W) twice."""
    check_choice("baseline", kind, BASELINES)
    images = pair.query.detach(), pair.gallery.detach()
    if kind == "partner":
        return images[::-1]
    if kind == "mean":
        return tuple(x.mean((2, 3), keepdim=True).expand_as(x).contiguous() for x in images)
    if kind == "zero":
        return tuple(torch.zeros_like(x) for x in images)
    if not isinstance(blur, (int, float)) or not 0 < blur < float("inf"):
        raise ValueError(f"expected blur as a standard deviation in pixels above 0, got {blur!r}")
    # width first; the mirrored edge has to be shorter than the image
    reach = [min(int(3 * blur), n - 1) for n in pair.query.shape[:1:-1]]
    return tuple(gaussian_blur(x, [2 * r + 1 for r in reach], [float(blur)] * 2) for x in images)


def _size(name: str, value: object, largest: tuple[int, int]) -> tuple[int, int]:
    good = isinstance(value, (tuple, list)) and len(value) == 2
    if not good or not all(isinstance(n, int) and 1 <= n <= m for n, m in zip(value, largest, strict=True)):
        raise ValueError(f"expected {name} as (height, width) of 1 to {largest} pixels, got {value!r}")
    return tuple(value)
