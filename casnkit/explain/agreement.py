"""Do two methods say the same? The correlation of their maps, method by method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..attention import map_correlation


def agreement(found: Mapping[str, Any]) -> np.ndarray:
    """Mean over images of Pearson's correlation between every two methods' maps, on the coarsest grid of all.

    Args:
        found: by method, something with ``query`` and ``gallery``, each (P, h, w), of the same P pairs; such as what
            :func:`explain` returns. Values below zero, which speak against the score, count as zero.

    Returns:
        (n, n) symmetric, in [-1, 1], in the order of ``found``; a map without a pattern agrees with none (0).

    Raises:
        ValueError: no methods, or different numbers of pairs.
    """
    maps = {name: torch.cat([m.query, m.gallery]).detach().float().cpu().clamp_min(0) for name, m in found.items()}
    if len({len(m) for m in maps.values()}) != 1:
        counts = ", ".join(f"{name}: {len(m) // 2}" for name, m in maps.items()) or "nothing"
        raise ValueError(f"expected maps of the same pairs by at least one method, found {counts}")
    grid = tuple(min(m.shape[axis] for m in maps.values()) for axis in (1, 2))
    coarse = [_on_grid(m, grid) for m in maps.values()]
    rows = [[map_correlation(a, b).mean().item() for b in coarse] for a in coarse]
    return np.array(rows)


def _on_grid(maps: Tensor, grid: tuple[int, ...]) -> Tensor:
    return F.adaptive_avg_pool2d(maps[:, None], grid)[:, 0]
