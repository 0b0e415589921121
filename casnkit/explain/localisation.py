"""Localisation: does a map lie on the person, and on the one part in which two people differ?

Maps (B, h, w) of any resolution are brought to the masks' (B, H, W) as equation 2 does it: divided by their own maximum,
then bilinear. Part maps (B, H, W) hold 0 for background and ``p + 1`` for part ``p`` of :data:`casnkit.data.people.PARTS`.
Three rules hold for all measures:

- **Only the positive part of a map counts**: a signed map's negative values speak against the score that it explains.
- A map without any positive value, or with NaN or infinity, is *dead*. It covers nothing (coverage and IoU are 0) and
  has no energy to share out and no highest point: what would be 0 / 0 is NaN.
- A picture without a single person pixel has no right answer: NaN.

No number means anything alone: a map over the whole picture covers everybody, and people stand in the middle of their
pictures. :func:`chance` gives what a uniform map, the same map in another place, and another picture's map get.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor

from casnkit import attention

TIE = 1e-5  # relative: values closer than rounding in float32 leaves them count as equal
Array = Tensor | np.ndarray


class Coverage(NamedTuple):
    """Of each picture, (B,): share of the person that the map covers, and share of the covered area beside the person."""

    inside: Tensor
    spill: Tensor


class Cue(NamedTuple):
    """Of each map or pair of maps, (B,): 1 where the part has more weight per pixel than the rest of the person (0.5 where
    equal), the share of the map's sum over the person that lies on the part, and the part's share of the person's area."""

    hit: Tensor
    energy: Tensor
    area: Tensor


class Mean(NamedTuple):
    """A mean over what is defined, how many values it is of, and how many were left out (NaN)."""

    value: float
    used: int
    excluded: int


class Interval(NamedTuple):
    """A mean over pairs with its bootstrap interval; ``count`` pairs had a value, the others (NaN) are left out."""

    mean: float
    low: float
    high: float
    count: int


def mean_of(values: Tensor) -> Mean:
    """Mean over what is not NaN (NaN where nothing is left), with counts."""
    return Mean(float(values.double().nanmean()), int((~values.isnan()).sum()), int(values.isnan().sum()))


def bootstrap(values: np.ndarray, rng: np.random.Generator, repeats: int = 1000, level: float = 0.95) -> Interval:
    """Mean of (P,) values and its percentile interval over resampled pairs; NaN values are left out."""
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    mean = float(values.mean()) if len(values) else float("nan")
    if len(values) < 2:
        return Interval(mean, mean, mean, len(values))
    options = {"n_resamples": repeats, "confidence_level": level, "method": "percentile", "random_state": rng}
    low, high = scipy.stats.bootstrap((values,), np.mean, **options).confidence_interval
    return Interval(mean, float(low), float(high), len(values))


def resized_maps(maps: Array, size: tuple[int, int]) -> Tensor:
    """Positive part of each map, divided by its maximum, at ``size = (H, W)``: (B, h, w) -> (B, H, W) in [0, 1].

    Dead maps (nothing positive, or not finite) become zero.
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


def dead_maps(maps: Array) -> Tensor:
    """(B,) bool: maps that say nothing, for want of a positive or because of a non-finite value."""
    return resized_maps(maps, tuple(maps.shape[1:])).amax((1, 2)) == 0


def energy_inside(maps: Array, masks: Array) -> Tensor:
    """Share of a map's sum that lies on the person: (B, h, w), (B, H, W) bool -> (B,) in [0, 1]."""
    maps, masks = _on_masks(maps, masks)
    return _share((maps * masks).sum((1, 2)), maps.sum((1, 2)), masks.any(2).any(1))


def coverage(maps: Array, masks: Array, threshold: float = 0.5) -> Coverage:
    """The area in which a map is above ``threshold`` times its maximum: its share of the person, and what it spills."""
    maps, masks = _on_masks(maps, masks)
    return _covered(_above(maps, threshold).to(maps.dtype), masks)


def soft_coverage(maps: Array, masks: Array, slope: float = 10.0, centre: float = 0.5) -> Coverage:
    """As :func:`coverage`, by equation 2's soft mask: a uniform map hides next to nothing, everywhere."""
    _, masks = _on_masks(maps, masks)
    positive = resized_maps(maps, tuple(maps.shape[1:]))
    return _covered(attention.image_mask(positive, tuple(masks.shape[1:]), slope, centre)[:, 0], masks)


def iou(maps: Array, masks: Array, threshold: float = 0.5) -> Tensor:
    """Intersection over union of the person and the area above ``threshold`` times the map's maximum, (B,) in [0, 1]."""
    maps, masks = _on_masks(maps, masks)
    area = _above(maps, threshold)
    both, either = (values.sum((1, 2)).to(maps.dtype) for values in (area & masks, area | masks))
    return _share(both, either, masks.any(2).any(1))


def pointing_game(maps: Array, masks: Array) -> Tensor:
    """1 where the map's highest point lies on the person, else 0; where several share the maximum, their share that hits."""
    maps, masks = _on_masks(maps, masks)
    highest = maps.amax((1, 2), keepdim=True)
    top = (maps >= highest * (1 - TIE)) & (highest > 0)
    hits, tops = (values.sum((1, 2)).to(maps.dtype) for values in (top & masks, top))
    return _share(hits, tops, masks.any(2).any(1))


def part_coverage(maps: Array, parts: Array, count: int, threshold: float = 0.5) -> Tensor:
    """Share of each part's pixels above ``threshold`` times the map's maximum: (B, count); NaN where it cannot be seen."""
    maps, parts = _on_parts(maps, parts, count)
    area = _sums(torch.ones_like(maps), parts, count)
    return _share(_sums(_above(maps, threshold).to(maps.dtype), parts, count), area, area > 0)


def part_energy(maps: Array, parts: Array, count: int) -> Tensor:
    """Share of a map's sum over the person that lies on each part: (B, count); NaN where it cannot be seen."""
    maps, parts = _on_parts(maps, parts, count)
    energy = _sums(maps, parts, count)
    return _share(energy, energy.sum(1, keepdim=True).expand_as(energy), _sums(torch.ones_like(maps), parts, count) > 0)


def right_cue(maps: Array, parts: Array, part: Array, count: int) -> Cue:
    """Does a map put more weight per pixel on one given part (B,) in 0 .. count - 1 than on the rest of the person?

    NaN where the part cannot be seen, or nothing else can, or the map has nothing on the person.
    """
    return right_cue_pairs((maps,), (parts,), part, count)


def right_cue_pairs(maps: tuple[Array, ...], parts: tuple[Array, ...], part: Array, count: int) -> Cue:
    """:func:`right_cue` of pairs that differ in one part: shares are means over the images that show it (a bag may be
    in one alone). ``maps``: two (P, h, w); ``parts``: two (P, H, W); ``part``: (P,)."""
    both = [_part_shares(m, p, part, count) for m, p in zip(maps, parts, strict=True)]
    energy, area = (torch.stack(values).nanmean(0) for values in zip(*both, strict=True))
    hit = torch.where((energy - area).abs() <= TIE * area, 0.5, (energy > area).to(energy.dtype))
    return Cue(torch.where(energy.isnan(), torch.nan, hit), energy, area)


def random_maps(maps: Array, kind: str = "rolled", generator: torch.Generator | None = None) -> Tensor:
    """Maps that know nothing of the picture that they are held against, (B, h, w) -> (B, h, w).

    ``uniform``: one value everywhere. ``rolled``: each map moved by a random step in both directions, around the edges: the
    same values, as smooth as before, in a place that means nothing. ``shuffled``: each picture gets another picture's map,
    so what all maps share (people stand in the middle) stays. Without a ``generator`` one starts at 0.
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
        other[order] = order.roll(1)  # one cycle through all: no picture keeps its own map
        return maps[other]
    raise ValueError(f"expected a kind of chance out of uniform, rolled, shuffled, got {kind!r}")


def chance(
    measure: Callable[..., Any],
    maps: Array,
    *truth: Any,
    kind: str = "rolled",
    repeats: int = 4,
    generator: torch.Generator | None = None,
    **options: Any,
) -> Any:
    """What :func:`random_maps` get in a measure: a mean over draws, of the type of ``measure(maps, *truth, **options)``."""
    generator = generator or torch.Generator().manual_seed(0)
    times = 1 if kind == "uniform" else repeats
    draws = [measure(random_maps(maps, kind, generator), *truth, **options) for _ in range(times)]
    if isinstance(draws[0], Tensor):
        return torch.stack(draws).mean(0)
    return type(draws[0])(*(torch.stack(values).mean(0) for values in zip(*draws, strict=True)))


def _covered(hidden: Tensor, masks: Tensor) -> Coverage:
    """Shares of a hiding mask in [0, 1] and of the person, (B, H, W) twice."""
    person = masks.sum((1, 2)).to(hidden.dtype)
    inside, area = (hidden * masks).sum((1, 2)), hidden.sum((1, 2))
    return Coverage(_share(inside, person, person > 0), _share(area - inside, area, person > 0))


def _part_shares(maps: Array, parts: Array, part: Array, count: int) -> tuple[Tensor, Tensor]:
    """The part's shares of the map's sum over the person and of the person's area; both NaN where either is undefined."""
    maps, parts = _on_parts(maps, parts, count)
    part = _tensor(part)
    good = part.shape == (len(maps),) and not part.is_floating_point()
    if not good or (len(part) and not 0 <= part.min() <= part.max() < count):
        raise ValueError(f"part: expected a whole number in 0 .. {count - 1} for each of {len(maps)} maps, got {part}")
    person, here = parts > 0, parts == part.to(parts)[:, None, None] + 1
    energy, whole = ((maps * where).sum((1, 2)) for where in (here, person))
    area, whole_area = (where.sum((1, 2)).to(maps.dtype) for where in (here, person))
    defined = (area > 0) & (area < whole_area) & (whole > 0)  # else there is no part, or no rest to compare with
    return _share(energy, whole, defined), _share(area, whole_area, defined)


def _sums(values: Tensor, parts: Tensor, count: int) -> Tensor:
    """Sum of (B, H, W) values over each part, (B, count), without the background."""
    sums = values.new_zeros(len(values), count + 1)
    return sums.scatter_add_(1, parts.flatten(1), values.flatten(1))[:, 1:]


def _share(part: Tensor, whole: Tensor, defined: Tensor) -> Tensor:
    """part / whole, NaN where it is not defined or 0 / 0."""
    return torch.where(defined & (whole > 0), part / whole, torch.nan)


def _above(maps: Tensor, threshold: float) -> Tensor:
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold: expected a fraction of the map's maximum in [0, 1), got {threshold!r}")
    return maps > threshold


def _on_masks(maps: Array, masks: Array) -> tuple[Tensor, Tensor]:
    masks = _tensor(masks)
    if masks.dim() != 3 or len(masks) != len(maps) or masks.is_floating_point():
        found = f"{masks.dtype} of {tuple(masks.shape)}"
        raise ValueError(f"expected one mask (H, W) of truth values for each of {len(maps)} maps, got {found}")
    return resized_maps(maps, tuple(masks.shape[1:])), masks.bool()


def _on_parts(maps: Array, parts: Array, count: int) -> tuple[Tensor, Tensor]:
    parts = _tensor(parts)
    whole = not parts.is_floating_point() and parts.dtype != torch.bool
    if parts.dim() != 3 or len(parts) != len(maps) or not whole:
        found = f"{parts.dtype} of {tuple(parts.shape)}"
        raise ValueError(f"expected one part map (H, W) of whole numbers for each of {len(maps)} maps, got {found}")
    if parts.numel() and not 0 <= int(parts.min()) <= int(parts.max()) <= count:
        raise ValueError(f"expected parts 0 .. {count}, got {int(parts.min())} .. {int(parts.max())}")
    return resized_maps(maps, tuple(parts.shape[1:])), parts.long()


def _tensor(values: Array) -> Tensor:
    return values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))
