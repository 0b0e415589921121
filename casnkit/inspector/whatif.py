"""What if a part of one image were hidden? The mask that a state describes, and what the network then says.

The work is that of :mod:`casnkit.explain.counterfactual`; this module turns sliders into a mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from casnkit.data.images import denormalise
from casnkit.explain import masks as masking
from casnkit.explain.pair import Counterfactual, counterfactual

from .. import attention
from .networks import Network
from .pairs import explained, images_of
from .state import PARTS, Edit

SEED = 0  # of the fill "noise"
THIRDS = {name: (k / 3, (k + 1) / 3) for k, name in enumerate(PARTS)}


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of hiding.

    Attributes:
        found: probabilities, rankings and what moved, before and after.
        image: (H, W, 3) uint8, the changed picture as the network saw it.
        maps: of the pair, with the changed picture in its place, not normalised.
        note: how the mask was made, in words.
    """

    found: Counterfactual
    image: np.ndarray
    maps: tuple[np.ndarray, np.ndarray]
    note: str


def part_names(network: Network, side: str = "query") -> tuple[str, ...]:
    """The parts that can be hidden: those of the data set's part maps, or else thirds of the image's height."""
    if getattr(network.dataset, side).part_folder is None:
        return PARTS
    from casnkit.data import people as settings

    return settings.PARTS


def try_edit(
    network: Network, i: int, j: int, edit: Edit, maps: tuple[np.ndarray, np.ndarray], ranked_by: str, method: str,
    target: str,
) -> Outcome:  # fmt: skip
    """Hide what ``edit`` says in the pair (query i, gallery image j).

    Args:
        maps: of the pair as it is; the attended area is taken from them.
        ranked_by: what the ranks before and after are of.
        method, target: of the maps after.

    Raises:
        ValueError: nothing to hide, an image that cannot be read, or a part that the data set does not know.
    """
    index = i if edit.side == "query" else j
    image = images_of(network, edit.side, index)
    mask, note = mask_of(network, edit, index, maps[0 if edit.side == "query" else 1], tuple(image.shape[2:]))
    generator = torch.Generator().manual_seed(SEED) if edit.fill == "noise" else None
    found = counterfactual(
        network, i, mask, where=edit.side, gallery_index=j, fill=edit.fill, ranked_by=ranked_by, generator=generator,
        image=image[0],
    )  # fmt: skip
    changed = found.image[None].to(image)
    other = images_of(network, "gallery" if edit.side == "query" else "query", j if edit.side == "query" else i)
    both = (changed, other) if edit.side == "query" else (other, changed)
    pixels = denormalise(found.image).permute(1, 2, 0).numpy()
    return Outcome(found, pixels, explained(network.model, *both, method, target, network.config), note)


def mask_of(
    network: Network, edit: Edit, index: int, attended: np.ndarray, size: tuple[int, int]
) -> tuple[Tensor, str]:
    """The mask (1, 1, H, W) in [0, 1], 1 = hidden, and how it was made."""
    maps = torch.from_numpy(np.ascontiguousarray(np.maximum(attended, 0), np.float32))[None]
    (top, bottom), (left, right) = edit.rows, edit.columns
    if edit.kind == "rows":
        return masking.rectangle_mask((top, 0, bottom, 1), size), f"rows from {top:.0%} to {bottom:.0%} of the height"
    if edit.kind == "rectangle":
        words = f"a rectangle, {top:.0%} to {bottom:.0%} of the height and {left:.0%} to {right:.0%} of the width"
        return masking.rectangle_mask((top, left, bottom, right), size), words
    if edit.kind == "part":
        return _part_mask(network, edit, index, size)
    if edit.kind in ("attended", "unattended"):
        top_first = edit.kind == "attended"
        words = f"the {'most' if top_first else 'least'} attended {edit.share:.0%} of the pixels"
        return masking.area_mask(maps, edit.share, size, top=top_first), words
    if edit.kind == "soft mask":
        mask = attention.image_mask(maps, size, edit.slope, edit.centre)
        return mask, f"the paper’s soft mask, sigmoid(a (M − b)) with a = {edit.slope:g} and b = {edit.centre:g}"
    raise ValueError("nothing is hidden: choose what to hide")


def _part_mask(network: Network, edit: Edit, index: int, size: tuple[int, int]) -> tuple[Tensor, str]:
    names = part_names(network, edit.side)
    if edit.part not in names:
        raise ValueError(f"part: expected one of {', '.join(names)}, got {edit.part!r}")
    labels = getattr(network.dataset, edit.side).parts(index)
    if labels is None:
        if edit.part not in THIRDS:
            raise ValueError("there is no part map for this image: hide rows or a rectangle instead")
        first, last = THIRDS[edit.part]
        return masking.rectangle_mask((first, 0, last, 1), size), f"the {edit.part} of the image"
    mask = masking.part_mask(torch.from_numpy(labels.astype(np.int64))[None], names.index(edit.part) + 1, size)
    if not mask.any():
        raise ValueError(f"this image shows no {edit.part}")
    return mask, f"{edit.part}, by the part map"
