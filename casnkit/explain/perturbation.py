"""Methods that hide parts of the images and watch the score, by captum.

A place's value is the mean loss of score over the windows that hid it: above zero, what is there speaks for the target.
An image that stays whole is embedded once, not once for every window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._optional import require
from .checks import check_choice, check_count
from .closed import Found
from .gradients import baselines
from .pairmodel import PairModel

OF = ("each", "query", "gallery", "jointly")
_IMAGES_AT_ONCE = 64
_Attribute = Callable[..., Tensor]


def occlusion(
    pair: PairModel,
    *,
    window: tuple[int, int] | None = None,
    stride: tuple[int, int] | None = None,
    of: str = "each",
    baseline: str = "zero",
    blur: float = 8.0,
) -> Found:
    """A sliding window (Zeiler and Fergus 2014): (P, H, W), signed.

    Args:
        window: height and width in pixels. Default: an eighth of the height, and a quarter of the width; the whole width
            where both images are hidden jointly.
        stride: in pixels; default: half the window.
        of: ``each``: hide in one image while the other stays whole, then the other way round; ``query`` or ``gallery``:
            only one of these (the other map is zero); ``jointly``: the same place in both at once, one map for both.
        baseline, blur: what is shown instead; see :func:`casnkit.explain.gradients.integrated_gradients`.
    """
    check_choice("of", of, OF)
    height, width = pair.query.shape[2:]
    if window is None:
        window = max(1, height // 8), width if of == "jointly" else max(1, width // 4)
    window = _size("window", window, (height, width))
    stride = _size("stride", stride or tuple(max(1, n // 2) for n in window), window)
    if of == "jointly" and window[1] == width:
        stride = stride[0], width

    def attribute(forward: Callable[..., Tensor], images: Tensor, **options: Any) -> Tensor:
        channels = images.shape[1]
        method = require("captum.attr", "the method 'occlusion'").Occlusion(forward)
        return method.attribute(images, (channels, *window), strides=(channels, *stride), **options)

    return _hidden(pair, attribute, of, baselines(pair, baseline, blur))


def feature_ablation(
    pair: PairModel,
    *,
    rows: int = 8,
    columns: int = 1,
    of: str = "each",
    baseline: str = "zero",
    blur: float = 8.0,
) -> Found:
    """Hide the stripes of a grid one after the other: (P, H, W), signed, constant over each stripe.

    Args:
        rows, columns: of the grid; the default is eight stripes from head to foot.
        of, baseline, blur: as for :func:`occlusion`.
    """
    check_choice("of", of, OF)
    height, width = pair.query.shape[2:]
    if check_count("rows", rows) > height or check_count("columns", columns) > width:
        raise ValueError(f"expected a grid of at most {height}x{width} for images of that size, got {rows}x{columns}")
    down = torch.arange(height, device=pair.query.device) * rows // height
    across = torch.arange(width, device=pair.query.device) * columns // width
    mask = (down[:, None] * columns + across)[None, None]

    def attribute(forward: Callable[..., Tensor], images: Tensor, **options: Any) -> Tensor:
        method = require("captum.attr", "the method 'feature-ablation'").FeatureAblation(forward)
        return method.attribute(images, feature_mask=mask.expand(1, *images.shape[1:]), **options)

    return _hidden(pair, attribute, of, baselines(pair, baseline, blur))


def _hidden(pair: PairModel, attribute: _Attribute, of: str, blank: tuple[Tensor, Tensor]) -> Found:
    """captum's attribution of the query with the gallery image whole, and so on. All channels of a place are equal."""
    labels = pair.settled_labels() or ()
    at_once = {"perturbations_per_eval": max(1, _IMAGES_AT_ONCE // len(pair.query))}
    with torch.no_grad():
        if of == "jointly":
            forward = lambda images, *labels: pair(*images.chunk(2, 1), *labels)  # noqa: E731
            both = torch.cat([pair.query, pair.gallery], 1)
            found = attribute(forward, both, baselines=torch.cat(blank, 1), additional_forward_args=labels, **at_once)
            return found[:, 0].to(both.dtype), found[:, 3].to(both.dtype)
        features = pair.features(pair.query, pair.gallery)
        pair.scores = pair.target.score(*features, *labels)
        score, embed = pair.target.score, pair.embed
        sides = {
            "query": (lambda x, other, *labels: score(embed(x), other, *labels), pair.query, features[1], blank[0]),
            "gallery": (lambda x, other, *labels: score(other, embed(x), *labels), pair.gallery, features[0], blank[1]),
        }
        maps = []
        for side, (forward, images, other, hide_with) in sides.items():
            if of not in ("each", side):
                maps.append(torch.zeros_like(images[:, 0]))
                continue
            given = {"baselines": hide_with, "additional_forward_args": (other, *labels)}
            found = attribute(forward, images, **given, **at_once)
            maps.append(found[:, 0].to(images.dtype))  # all channels are equal; captum's Occlusion answers in float32
        return tuple(maps)


def _size(name: str, value: object, largest: tuple[int, int]) -> tuple[int, int]:
    good = isinstance(value, (tuple, list)) and len(value) == 2
    good = good and all(isinstance(n, int) and 1 <= n <= m for n, m in zip(value, largest, strict=True))
    if not good:
        raise ValueError(f"expected {name} as (height, width) of 1 to {largest} pixels, got {value!r}")
    return tuple(value)
