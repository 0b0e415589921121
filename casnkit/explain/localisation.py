"""Localisation: does a map lie on the person? Measured where masks say which pixel is person.

Maps (B, h, w) of any resolution are brought to the masks' (B, H, W) as equation 2 does it: divided by their own maximum,
then bilinear. Three rules hold for all measures:

- **Only the positive part of a map counts**: a signed map's negative values speak against the score that it explains.
- A map without any positive value, or with NaN or infinity, is *dead*. It covers nothing (coverage and IoU are 0) and
  has no energy to share out and no highest point: what would be 0 / 0 is NaN.
- A picture without a single person pixel has no right answer: NaN.

:func:`mean_of` averages what is not NaN and says how much was left out. No number means anything alone: a map over the
whole picture covers everybody, and people stand in the middle of their pictures. :func:`chance` gives what a uniform map,
the same map in another place, and another picture's map get.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from casnkit import attention

CHANCES = ("uniform", "rolled", "shuffled")
TIE = 1e-5  # relative: values closer than rounding in float32 leaves them count as equal


class Coverage(NamedTuple):
    """Of each picture, (B,): share of the person that the map covers, and share of the covered area beside the person."""

    inside: Tensor
    spill: Tensor


class Mean(NamedTuple):
    """A mean over what is defined, how many values it is of, and how many were left out (NaN)."""

    value: float
    used: int
    excluded: int


def resized_maps(maps: Tensor | np.ndarray, size: tuple[int, int]) -> Tensor:
    """Positive part of each map, divided by its maximum, at ``size = (H, W)``: (B, h, w) -> (B, H, W) in [0, 1].

    Dead maps (nothing positive, or not finite) become zero.

    Raises:
        ValueError: not a batch of maps.
    """
    maps = _tensor(maps)
    if maps.dim() != 3 or 0 in maps.shape[1:]:
        raise ValueError(f"expected maps (B, h, w), got shape {tuple(maps.shape)}; a single map is map[None]")
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32)) if maps.is_floating_point() else maps.float()
    finite = maps.isfinite().all(2).all(1)[:, None, None]
    scaled = attention.normalise_map(torch.where(finite, maps, 0.0).clamp_min(0))
    if tuple(scaled.shape[1:]) == tuple(size):
        return scaled
    shrinks = scaled.shape[1] > size[0] or scaled.shape[2] > size[1]  # then pixels are averaged, none is skipped
    resized = F.interpolate(scaled[:, None], size=size, mode="bilinear", align_corners=False, antialias=shrinks)
    return resized[:, 0].clamp(0, 1)


def dead_maps(maps: Tensor | np.ndarray) -> Tensor:
    """(B,) bool: maps that say nothing, for want of a positive or because of a non-finite value."""
    return resized_maps(maps, tuple(maps.shape[1:])).amax((1, 2)) == 0


def energy_inside(maps: Tensor | np.ndarray, masks: Tensor | np.ndarray) -> Tensor:
    """Share of a map's sum that lies on the person, in [0, 1]; a uniform map gets the person's share of the picture.

    (B, h, w), (B, H, W) bool -> (B,).
    """
    maps, masks = _pair(maps, masks)
    energy, person = maps.sum((1, 2)), masks.any(2).any(1)
    inside = (maps * masks).sum((1, 2))
    return _share(inside, energy, person)


def coverage(maps: Tensor | np.ndarray, masks: Tensor | np.ndarray, threshold: float = 0.5) -> Coverage:
    """The area in which a map is above ``threshold`` times its maximum: its share of the person, and what it spills.

    Both in [0, 1]. A uniform map covers every person and spills the share of the picture that is no person.
    """
    maps, masks = _pair(maps, masks)
    return _covered((maps > _fraction(threshold)).to(maps.dtype), masks)


def soft_coverage(
    maps: Tensor | np.ndarray, masks: Tensor | np.ndarray, slope: float = 10.0, centre: float = 0.5
) -> Coverage:
    """As :func:`coverage`, by equation 2's soft mask: share of the person that it hides, share that it wastes beside.

    Maps are scaled from minimum to maximum as :func:`casnkit.attention.image_mask` does it: a uniform map hides next to
    nothing, everywhere.
    """
    _, masks = _pair(maps, masks)
    maps = resized_maps(maps, tuple(maps.shape[1:]))  # the positive part
    return _covered(attention.image_mask(maps, tuple(masks.shape[1:]), slope, centre)[:, 0], masks)


def iou(maps: Tensor | np.ndarray, masks: Tensor | np.ndarray, threshold: float = 0.5) -> Tensor:
    """Intersection over union of the person and the area above ``threshold`` times the map's maximum, (B,) in [0, 1]."""
    maps, masks = _pair(maps, masks)
    area = maps > _fraction(threshold)
    both, either = ((values).sum((1, 2)).to(maps.dtype) for values in (area & masks, area | masks))
    return _share(both, either, masks.any(2).any(1))


def pointing_game(maps: Tensor | np.ndarray, masks: Tensor | np.ndarray, tolerance: int = 0) -> Tensor:
    """1 where the map's highest point lies on the person, else 0; (B,).

    Where several pixels share the maximum, the share of them that hit: a uniform map gets the person's share of the
    picture, not the luck of the first pixel.

    Args:
        tolerance: pixels (of the mask) by which the point may miss, horizontally and vertically.
    """
    maps, masks = _pair(maps, masks)
    if tolerance < 0:
        raise ValueError(f"tolerance: expected 0 pixels or more, got {tolerance}")
    highest = maps.amax((1, 2), keepdim=True)
    top = (maps >= highest * (1 - TIE)) & (highest > 0)
    wide = masks
    if tolerance:
        wide = F.max_pool2d(masks[:, None].float(), 2 * tolerance + 1, 1, tolerance)[:, 0] > 0
    hits, tops = ((values).sum((1, 2)).to(maps.dtype) for values in (top & wide, top))
    return _share(hits, tops, masks.any(2).any(1))


def random_maps(maps: Tensor | np.ndarray, kind: str = "rolled", generator: torch.Generator | None = None) -> Tensor:
    """Maps that know nothing of the picture that they are held against, (B, h, w) -> (B, h, w).

    Args:
        kind: ``uniform``: one value everywhere. ``rolled``: each map moved by a random step in both directions, around
            the edges: the same values, as smooth as before, in a place that means nothing. ``shuffled``: each picture
            gets another picture's map, so what all maps share (people stand in the middle) stays.
        generator: of random numbers; None starts one at 0.
    """
    maps, generator = _tensor(maps), generator or torch.Generator().manual_seed(0)
    count, height, width = maps.shape
    if kind == "uniform":
        return torch.ones_like(maps)
    if kind == "rolled":
        down, right = (torch.randint(n, (count, 1), generator=generator) for n in (height, width))
        rows = ((torch.arange(height) - down) % height)[:, :, None]
        columns = ((torch.arange(width) - right) % width)[:, None, :]
        return maps[torch.arange(count)[:, None, None], rows, columns]
    if kind == "shuffled":
        order = torch.randperm(count, generator=generator)
        other = torch.empty_like(order)
        other[order] = order.roll(1)  # one cycle through all: nobody keeps their own
        return maps[other]
    raise ValueError(f"expected a kind of chance out of {', '.join(CHANCES)}, got {kind!r}")


def chance(
    measure: Callable[..., Any],
    maps: Tensor | np.ndarray,
    *truth: Any,
    kind: str = "rolled",
    repeats: int = 4,
    generator: torch.Generator | None = None,
    **options: Any,
) -> Any:
    """What maps of :func:`random_maps` get in a measure of this module or of :mod:`casnkit.explain.parts`.

    ``chance(coverage, maps, masks, threshold=0.3)`` has the type of ``coverage(maps, masks, threshold=0.3)``: each value
    is a mean over ``repeats`` draws (one, where nothing is drawn).
    """
    generator = generator or torch.Generator().manual_seed(0)
    draws = [
        measure(random_maps(maps, kind, generator), *truth, **options)
        for _ in range(1 if kind == "uniform" else repeats)
    ]
    if isinstance(draws[0], Tensor):
        return torch.stack(draws).mean(0)
    return type(draws[0])(*(torch.stack(values).mean(0) for values in zip(*draws, strict=True)))


def mean_of(values: Tensor) -> Mean:
    """Mean over what is not NaN (NaN where nothing is left), with counts."""
    defined = values[~values.isnan()]
    value = float(defined.double().mean()) if len(defined) else float("nan")
    return Mean(value, len(defined), values.numel() - len(defined))


def _covered(hidden: Tensor, masks: Tensor) -> Coverage:
    """Shares of a hiding mask in [0, 1] and of the person, (B, H, W) twice."""
    person = masks.sum((1, 2)).to(hidden.dtype)
    inside, area = (hidden * masks).sum((1, 2)), hidden.sum((1, 2))
    return Coverage(_share(inside, person, person > 0), _share(area - inside, area, person > 0))


def _share(part: Tensor, whole: Tensor, defined: Tensor) -> Tensor:
    """part / whole, NaN where it is not defined or 0 / 0."""
    return torch.where(defined & (whole > 0), part / whole, torch.nan)


def _pair(maps: Tensor | np.ndarray, masks: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
    masks = _tensor(masks)
    if masks.dim() != 3 or len(masks) != len(maps):
        raise ValueError(
            f"expected one mask (H, W) for each of {len(maps)} maps, got masks of shape {tuple(masks.shape)}"
        )
    if masks.is_floating_point():
        raise ValueError(f"expected masks of truth values, got {masks.dtype}: write masks > 0.5, or what is meant")
    return resized_maps(maps, tuple(masks.shape[1:])), masks.bool()


def _fraction(threshold: float) -> float:
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold: expected a fraction of the map's maximum in [0, 1), got {threshold!r}")
    return threshold


def _tensor(values: Tensor | np.ndarray) -> Tensor:
    return values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))


__all__ = [
    "CHANCES",
    "Coverage",
    "Mean",
    "chance",
    "coverage",
    "dead_maps",
    "energy_inside",
    "iou",
    "mean_of",
    "pointing_game",
    "random_maps",
    "resized_maps",
    "soft_coverage",
]


# facade: to be replaced
_FACADE = {
    "part_coverage": "casnkit.explain.parts",
    "part_energy": "casnkit.explain.parts",
    "Cue": "casnkit.explain.parts",
    "right_cue_pairs": "casnkit.explain.parts",
}
_FACADE_MODULES = ["casnkit.explain.parts"]


def __getattr__(name):
    from importlib import import_module

    if name in _FACADE:
        return getattr(import_module(_FACADE[name]), name)
    if not name.startswith("__"):
        for module in _FACADE_MODULES:
            if module != __name__:
                found = import_module(module)
                if hasattr(found, name):
                    return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
