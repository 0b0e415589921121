"""Localisation by body part: which parts a map covers, and whether it finds the one part in which two people differ.

Part maps (B, H, W) hold 0 for background and ``p + 1`` for part ``p`` (:data:`casnkit.data.people.PARTS`). The rules for
signed, dead and empty maps are those of :mod:`casnkit.explain.localisation`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from casnkit.explain.localisation import TIE, _fraction, _share, _tensor, resized_maps


class Cue(NamedTuple):
    """Of each map or pair of maps, (B,): whether it favours the part, its energy there, and the part's area.

    Attributes:
        hit: 1 where the part has more weight per pixel than the rest of the person, 0 where less, 0.5 where equal.
        energy: share of the map's sum over the person that lies on the part.
        area: share of the person's pixels that are the part: what a uniform map's ``energy`` is.
    """

    hit: Tensor
    energy: Tensor
    area: Tensor


def part_coverage(maps: Tensor | np.ndarray, parts: Tensor | np.ndarray, count: int, threshold: float = 0.5) -> Tensor:
    """Share of each part's pixels where the map is above ``threshold`` times its maximum: (B, count) in [0, 1].

    NaN where a part cannot be seen.
    """
    maps, parts = _pair(maps, parts, count)
    area = _sums(torch.ones_like(maps), parts, count)
    return _share(_sums((maps > _fraction(threshold)).to(maps.dtype), parts, count), area, area > 0)


def part_energy(maps: Tensor | np.ndarray, parts: Tensor | np.ndarray, count: int) -> Tensor:
    """Share of a map's sum over the person that lies on each part: (B, count), each row's sum is 1.

    NaN where a part cannot be seen, or where the map has nothing on the whole person. A uniform map gets
    :func:`part_area`.
    """
    maps, parts = _pair(maps, parts, count)
    energy = _sums(maps, parts, count)
    return _share(energy, energy.sum(1, keepdim=True).expand_as(energy), _sums(torch.ones_like(maps), parts, count) > 0)


def part_area(parts: Tensor | np.ndarray, count: int) -> Tensor:
    """Share of the person's pixels that each part takes: (B, count); NaN where it cannot be seen."""
    parts = _tensor(parts)
    return part_energy(torch.ones_like(parts, dtype=torch.float32), parts, count)


def right_cue(maps: Tensor | np.ndarray, parts: Tensor | np.ndarray, part: Tensor | np.ndarray, count: int) -> Cue:
    """Does a map put more weight per pixel on one given part than on the rest of the person?

    Args:
        maps: (B, h, w).
        parts: (B, H, W) part maps.
        part: (B,) whole numbers in 0 .. count - 1, the part in question in each picture.
        count: number of parts.

    Returns:
        NaN where the part cannot be seen, or nothing else can, or the map has nothing on the person.
    """
    return _judged(*_shares(maps, parts, part, count))


def right_cue_pairs(
    maps: tuple[Tensor, Tensor], parts: tuple[Tensor, Tensor], part: Tensor | np.ndarray, count: int
) -> Cue:
    """:func:`right_cue` of pairs that differ in one part: shares are means over the images that show it (a bag may be
    in one alone). ``maps``: two (P, h, w); ``parts``: two (P, H, W); ``part``: (P,)."""
    both = [_shares(m, p, part, count) for m, p in zip(maps, parts, strict=True)]
    return _judged(*(torch.stack(values).nanmean(0) for values in zip(*both, strict=True)))


def _shares(
    maps: Tensor | np.ndarray, parts: Tensor | np.ndarray, part: Tensor | np.ndarray, count: int
) -> tuple[Tensor, Tensor]:
    """The part's shares of the map's sum over the person and of the person's area; both NaN where either is undefined."""
    maps, parts = _pair(maps, parts, count)
    person, here = parts > 0, parts == _indices(part, len(maps), count).to(parts.device)[:, None, None] + 1
    sums = [((maps * where).sum((1, 2)), where.sum((1, 2)).to(maps.dtype)) for where in (here, person)]
    (energy, area), (whole, whole_area) = sums
    defined = (area > 0) & (area < whole_area) & (whole > 0)  # else there is no part, or no rest to compare with
    return _share(energy, whole, defined), _share(area, whole_area, defined)


def _judged(energy: Tensor, area: Tensor) -> Cue:
    """More energy than area is more weight per pixel than on the rest."""
    hit = torch.where((energy - area).abs() <= TIE * area, 0.5, (energy > area).to(energy.dtype))
    return Cue(torch.where(energy.isnan(), torch.nan, hit), energy, area)


def _sums(values: Tensor, parts: Tensor, count: int) -> Tensor:
    """Sum of (B, H, W) values over each part, (B, count), without the background."""
    sums = values.new_zeros(len(values), count + 1)
    return sums.scatter_add_(1, parts.flatten(1), values.flatten(1))[:, 1:]


def _indices(part: Tensor | np.ndarray, length: int, count: int) -> Tensor:
    part = _tensor(part)
    if part.shape != (length,) or part.is_floating_point() or (length and not 0 <= part.min() <= part.max() < count):
        raise ValueError(f"part: expected one whole number in 0 .. {count - 1} for each of {length} maps, got {part}")
    return part.long()


def _pair(maps: Tensor | np.ndarray, parts: Tensor | np.ndarray, count: int) -> tuple[Tensor, Tensor]:
    parts = _tensor(parts)
    if parts.dim() != 3 or len(parts) != len(maps):
        raise ValueError(
            f"expected one part map (H, W) for each of {len(maps)} maps, got part maps of shape {tuple(parts.shape)}"
        )
    if parts.is_floating_point() or parts.dtype == torch.bool:
        raise ValueError(f"expected part maps of whole numbers (0 background, 1 .. {count} parts), got {parts.dtype}")
    parts = parts.long()
    if parts.numel() and not 0 <= int(parts.min()) <= int(parts.max()) <= count:
        raise ValueError(f"expected parts 0 .. {count}, got {int(parts.min())} .. {int(parts.max())}")
    return resized_maps(maps, tuple(parts.shape[1:])), parts


__all__ = ["Cue", "part_area", "part_coverage", "part_energy", "right_cue", "right_cue_pairs"]
