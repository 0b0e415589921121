"""Localisation: does a map lie on the person, and on the one part in which two people differ?

Maps (B, h, w) are brought to the masks' (B, H, W) as equation 2 does it: divided by their maximum, then bilinear. Part maps
(B, H, W) hold 0 for background and ``p + 1`` for part ``p`` of :data:`casnkit.data.people.PARTS`. Only a map's positive part
counts. A map without one, or with NaN, is *dead*: its coverage and IoU are 0; 0 / 0 is NaN, as is all of a picture without
a person. People stand in the middle of their pictures: hold every number against :func:`chance`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from torch import Tensor

from casnkit import attention
from casnkit.explain.masks import random_like

TIE = 1e-5  # relative: values closer than rounding in float32 leaves them count as equal
Array = Tensor | np.ndarray


class Interval(NamedTuple):
    """A mean over pairs with its bootstrap interval; ``count`` pairs had a value, the others (NaN) are left out."""

    value: float
    low: float
    high: float
    count: int


def bootstrap(values: np.ndarray, rng: np.random.Generator) -> Interval:
    """Mean of (P,) values and its 95 % percentile interval over resampled pairs; NaN values are left out."""
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    mean = float(values.mean()) if len(values) else float("nan")
    if len(values) < 2:
        return Interval(mean, mean, mean, len(values))
    found = scipy.stats.bootstrap((values,), np.mean, n_resamples=1000, method="percentile", random_state=rng)
    return Interval(mean, *map(float, found.confidence_interval), len(values))


def resized_maps(maps: Array, size: tuple[int, int]) -> Tensor:
    """Positive part of each map, divided by its maximum, at ``size = (H, W)``: (B, h, w) -> (B, H, W) in [0, 1].

    Dead maps (nothing positive, or not finite) become zero.
    """
    maps = torch.as_tensor(maps).detach()
    if maps.dim() != 3 or 0 in maps.shape[1:]:
        raise ValueError(f"expected maps (B, h, w), got shape {tuple(maps.shape)}; a single map is map[None]")
    maps = maps if maps.dtype == torch.float64 else maps.float()
    finite = maps.isfinite().flatten(1).all(1)[:, None, None]
    scaled = attention.normalise_map(torch.where(finite, maps, 0.0).clamp_min(0))
    shrinks = maps.shape[1] > size[0] or maps.shape[2] > size[1]  # then pixels are averaged, none is skipped
    resized = F.interpolate(scaled[:, None], size=size, mode="bilinear", align_corners=False, antialias=shrinks)
    return resized[:, 0].clamp(0, 1)


def energy_inside(maps: Array, masks: Array) -> Tensor:
    """Share of a map's sum that lies on the person: (B, h, w), (B, H, W) bool -> (B,) in [0, 1]."""
    maps, masks = _on_masks(maps, masks)
    return _share(maps * masks, maps, masks)


def coverage(maps: Array, masks: Array, threshold: float = 0.5) -> tuple[Tensor, Tensor]:
    """The area above ``threshold`` times a map's maximum: its share of the person, (B,), and its share beside the person."""
    maps, masks = _on_masks(maps, masks)
    area = (maps > threshold).to(maps)
    return _share(area * masks, masks, masks), _share(area * (1 - masks), area, masks)


def iou(maps: Array, masks: Array, threshold: float = 0.5) -> Tensor:
    """Intersection over union of the person and the area above ``threshold`` times the map's maximum, (B,) in [0, 1]."""
    maps, masks = _on_masks(maps, masks)
    area = (maps > threshold).to(maps)
    return _share(area * masks, torch.maximum(area, masks), masks)


def pointing_game(maps: Array, masks: Array) -> Tensor:
    """1 where the map's highest point lies on the person, else 0; where several share the maximum, their share that hits."""
    maps, masks = _on_masks(maps, masks)
    highest = maps.amax((1, 2), keepdim=True)
    top = ((maps >= highest * (1 - TIE)) & (highest > 0)).to(maps)
    return _share(top * masks, top, masks)


MEASURES = {"energy": energy_inside, "pointing": pointing_game, "iou": iou}  # of the league


def right_cue(maps: Sequence[Tensor], parts: Sequence[Tensor], part: Array) -> Tensor:
    """Do maps of pairs put more weight per pixel on the part in which they differ than on the rest of the person?

    ``maps`` (P, h, w) and ``parts`` (P, H, W) for each image of the pairs, ``part`` (P,) from 0. Returns (P,): 1 where they
    do, 0 where not, 0.5 where equal; NaN where the part cannot be seen, or nothing else can, or the maps have nothing on
    the person. Shares are means over the images that show the part (a bag may be in one alone).
    """
    sides, parts, part = len(maps), torch.cat(tuple(parts)), torch.as_tensor(part).repeat(len(maps))
    maps = resized_maps(torch.cat(tuple(maps)), tuple(parts.shape[1:]))
    person, here = (parts > 0).to(maps), (parts == part.to(parts)[:, None, None] + 1).to(maps)
    seen = here.amax((1, 2), keepdim=True) * (person - here)  # nothing where there is no part, or no rest
    energy, area = _share(maps * here, maps * person, seen), _share(here, person, seen)
    area = torch.where(energy.isnan(), torch.nan, area)
    energy, area = (shares.view(sides, -1).nanmean(0) for shares in (energy, area))
    hit = torch.where((energy - area).abs() <= TIE * area, 0.5, (energy > area).to(energy.dtype))
    return torch.where(energy.isnan(), torch.nan, hit)


def chance(measure: Callable[..., Tensor], maps: Sequence[Array], *truth: Any, generator: torch.Generator) -> Tensor:
    """What the maps of pairs get where they are moved at random (:func:`random_like`), a mean over four draws.

    A moved map is as smooth as before, in a place that means nothing. ``measure(maps, *truth)`` gives (P,) numbers.
    """
    draws = [[random_like(torch.as_tensor(m), generator) for m in maps] for _ in range(4)]
    return torch.stack([measure(moved, *truth) for moved in draws]).mean(0)


def _share(part: Tensor, whole: Tensor, seen: Tensor) -> Tensor:
    """Sum of part / sum of whole, each (B, H, W) -> (B,); NaN where nothing is ``seen``, and for 0 / 0."""
    part, whole = part.sum((1, 2)), whole.sum((1, 2))
    return torch.where((seen.amax((1, 2)) > 0) & (whole > 0), part / whole, torch.nan)


def _on_masks(maps: Array, masks: Array) -> tuple[Tensor, Tensor]:
    masks = torch.as_tensor(masks)
    if masks.dim() != 3 or len(masks) != len(maps) or masks.is_floating_point():
        raise ValueError(f"expected {len(maps)} masks (H, W) of bools, got {masks.dtype} of {tuple(masks.shape)}")
    maps = resized_maps(maps, tuple(masks.shape[1:]))
    return maps, masks.bool().to(maps)
