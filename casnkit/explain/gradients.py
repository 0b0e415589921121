"""Methods that differentiate a pair's score through the trunk, all by captum (Kokhlikyan et al. 2020).

The score is a :class:`casnkit.explain.pairmodel.PairModel`: captum sees one function of two images, so one call gives both
maps. Maps of pixels are summed over the three colour channels, except for the gradient's size, where the largest counts.
"""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from .._optional import require
from .checks import check_choice, check_count
from .closed import Found
from .pairmodel import PairModel

BASELINES = ("zero", "mean", "blurred", "partner")
_IMAGES_AT_ONCE = 32  # pairs in one pass of a method that makes many copies


def layer_gradcam(pair: PairModel, *, relu: bool = True) -> Found:
    """Grad-CAM of the score at both branches' feature maps (Selvaraju et al. 2017); captum itself leaves out the ReLU."""
    pair.need_layer()
    found = _captum().LayerGradCam(pair, pair.taps).attribute(
        (pair.query, pair.gallery), additional_forward_args=pair.settled_labels(), relu_attributions=relu
    )  # fmt: skip
    return tuple(m[:, 0] for m in found)


def guided_gradcam(pair: PairModel, *, interpolate: str = "bilinear") -> Found:
    """Guided backpropagation times Grad-CAM, summed over colours: (P, H, W), signed (Selvaraju et al. 2017).

    Args:
        interpolate: how Grad-CAM grows to the image: ``bilinear``, or ``nearest`` as captum does.
    """
    check_choice("interpolate", interpolate, ("bilinear", "nearest"))
    if not any(isinstance(m, nn.ReLU) for m in pair.modules()):
        warnings.warn("guided backpropagation changes nn.ReLU modules, and this network has none", stacklevel=4)
    coarse = layer_gradcam(pair)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
        fine = _captum().GuidedBackprop(pair).attribute(_differentiable(pair), **_arguments(pair))
    size = {"size": pair.query.shape[2:], "mode": interpolate}
    size |= {} if interpolate == "nearest" else {"align_corners": False}
    return tuple((g * F.interpolate(m[:, None], **size)).sum(1) for g, m in zip(fine, coarse, strict=True))


def saliency(pair: PairModel) -> Found:
    """|d score / d pixel|, the largest of the three colours (Simonyan et al. 2014)."""
    found = _captum().Saliency(pair).attribute(_differentiable(pair), abs=True, **_arguments(pair))
    return tuple(g.amax(1) for g in found)


def input_x_gradient(pair: PairModel) -> Found:
    """Pixel times gradient, summed over colours; signed. A pixel of the mean colour gets nothing."""
    found = _captum().InputXGradient(pair).attribute(_differentiable(pair), **_arguments(pair))
    return tuple(g.sum(1) for g in found)


def smoothgrad(pair: PairModel, *, samples: int = 16, noise: float = 0.3, seed: int = 0) -> Found:
    """Size of the gradient averaged over noisy copies of both images (Smilkov et al. 2017).

    Args:
        samples: copies.
        noise: standard deviation, in units of the normalised image (whose own is about 1).
        seed: of the noise, which also depends on how many pairs there are.
    """
    check_count("samples", samples)
    if isinstance(noise, bool) or not isinstance(noise, (int, float)) or not 0 <= noise < float("inf"):
        raise ValueError(f"expected noise as a number of at least 0, got {noise!r}")
    torch.manual_seed(check_count("seed", seed, 0))  # the caller's random state is kept by explain
    captum = _captum()
    found = captum.NoiseTunnel(captum.Saliency(pair)).attribute(
        _differentiable(pair),
        nt_type="smoothgrad",
        nt_samples=samples,
        nt_samples_batch_size=min(samples, max(1, _IMAGES_AT_ONCE // len(pair.query))),
        stdevs=float(noise),
        abs=False,
        **_arguments(pair),
    )
    return tuple(g.abs().amax(1) for g in found)


def integrated_gradients(
    pair: PairModel, *, baseline: str = "zero", steps: int = 50, of: str | None = None, blur: float = 8.0
) -> Found:
    """Integrated gradients (Sundararajan et al. 2017), summed over colours; signed, with captum's convergence delta.

    Args:
        baseline: where the way begins: ``zero`` (the data's mean colour), ``mean`` (the image's own mean colour),
            ``blurred``, or ``partner`` (the other image of the pair).
        steps: points of the Gauss-Legendre rule.
        of: ``pair``: both images go together, and both maps add up to z(q, g) - z(baselines). ``each``: one image goes
            while the other stays, so that each map adds up to its own difference. Default: ``each`` for the partner,
            where it says what tells the image from its partner (from z(g, g) to z(q, g)); else ``pair``.
        blur: standard deviation in pixels, for ``blurred``.
    """
    of = of or ("each" if baseline == "partner" else "pair")
    check_choice("of", of, ("pair", "each"))
    starts = baselines(pair, baseline, blur)
    ends = pair.query, pair.gallery
    options = {"n_steps": check_count("steps", steps), "return_convergence_delta": True}
    options |= {"internal_batch_size": max(_IMAGES_AT_ONCE, len(pair.query)), **_arguments(pair)}
    method = _captum().IntegratedGradients(pair)
    if of == "pair":
        found, delta = method.attribute(ends, baselines=starts, **options)
    else:
        first, delta_1 = method.attribute(ends, baselines=(starts[0], ends[1]), **options)
        second, delta_2 = method.attribute(ends, baselines=(ends[0], starts[1]), **options)
        found, delta = (first[0], second[1]), delta_1 + delta_2
    return *(g.sum(1) for g in found), delta.to(found[0].dtype)


def baselines(pair: PairModel, kind: str, blur: float = 8.0) -> tuple[Tensor, Tensor]:
    """What stands for "nothing to see" in each image: (P, 3, H, W) twice.

    Raises:
        ValueError: an unknown kind, or a blur that is not positive.
    """
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


def _captum() -> ModuleType:
    return require("captum.attr", "a gradient method")


def _differentiable(pair: PairModel) -> tuple[Tensor, Tensor]:
    return pair.query.requires_grad_(), pair.gallery.requires_grad_()


def _arguments(pair: PairModel) -> dict[str, Any]:
    return {"additional_forward_args": pair.settled_labels()}
