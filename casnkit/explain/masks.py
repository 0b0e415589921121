"""Which pixels to hide, and what to put there: pure functions of tensors.

A mask is (B, 1, H, W) in [0, 1] at the image's size, 1 = hidden, as :func:`casnkit.attention.hide` takes it. The paper's
soft mask is :func:`casnkit.attention.image_mask`. What a mask says of an explanation can only be judged beside a random
mask of the same area and shape (:func:`random_like`): hiding a third of a picture hurts wherever it lies.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from casnkit import attention
from casnkit.losses import fill_of

FILLS = ("mean", "black", "blur", "noise")


def apply_mask(images: Tensor, mask: Tensor, fill: str = "mean", generator: torch.Generator | None = None) -> Tensor:
    """The images with a mask hidden: a new (B, 3, H, W), equal to ``images`` to the last bit where nothing is hidden.

    Args:
        images: (B, 3, H, W) float, normalised.
        mask: (B, 1, H, W), (1, 1, H, W), (B, H, W) or (H, W) in [0, 1].
        fill: ``mean`` (zero: the data's mean), ``black``, ``blur`` (a Gaussian of sigma H / 16) or ``noise`` (normal, of
            mean 0 and deviation 1, as the data after normalisation, from a ``generator`` on the CPU).
    """
    mask = check_mask(images, mask).to(images)
    if fill not in FILLS:
        raise ValueError(f"expected a fill out of {', '.join(FILLS)}, got {fill!r}")
    if fill != "noise":
        shown = fill_of(images, fill)
    elif generator is None:
        raise ValueError('fill="noise" needs a generator: torch.Generator().manual_seed(0)')
    else:
        shown = torch.randn(images.shape, generator=generator).to(images)
    return torch.where(mask == 0, images, attention.hide(images, mask, shown))


def check_mask(images: Tensor, mask: Tensor) -> Tensor:
    """``mask`` as (B or 1, 1, H, W), checked against ``images``. Raises ValueError where it does not fit."""
    shaped = mask[None, None] if mask.dim() == 2 else mask[:, None] if mask.dim() == 3 else mask
    fits = shaped.dim() == 4 and shaped.shape[0] in (1, len(images)) and shaped.shape[1] == 1
    if not fits or shaped.shape[2:] != images.shape[2:]:
        found = f"for images {tuple(images.shape)}, got {tuple(mask.shape)}"
        raise ValueError(f"expected a mask (B, 1, H, W) {found}: bring a map to the image's size first (area_mask)")
    if not 0 <= float(shaped.min()) <= float(shaped.max()) <= 1:
        raise ValueError(f"expected mask values in [0, 1], got {float(shaped.min()):g} to {float(shaped.max()):g}")
    return shaped


def pixel_ranks(maps: Tensor, size: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Each pixel's place in the order of the bilinearly enlarged map, 0 = strongest: (B, h, w) -> (B, H, W) int64.

    Equal pixels stand in an order drawn by ``generator`` (None: in reading order, so a constant map goes top to bottom).
    """
    if maps.shape[1:] != tuple(size):
        maps = F.interpolate(maps[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
    flat = maps.flatten(1)
    if not flat.isfinite().all():
        raise ValueError("expected finite maps, found NaN or infinite values: the model may have diverged")
    if generator is None:
        order = flat.argsort(dim=1, descending=True, stable=True)
    else:
        shuffled = torch.rand(flat.shape, generator=generator).to(flat.device).argsort(1)
        order = shuffled.gather(1, flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))
    return order.argsort(1).unflatten(1, tuple(size))


def area_mask(maps: Tensor, share: float, size: tuple[int, int], top: bool = True) -> Tensor:
    """The strongest (or weakest, ``top=False``) ``share`` of the image's pixels: (B, h, w) -> (B, 1, H, W) of 0 and 1.

    Exactly round(share * H * W) pixels are hidden in every image.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share of the area in [0, 1], got {share}")
    ranks, total = pixel_ranks(maps, size), size[0] * size[1]
    count = round(share * total)
    hidden = ranks < count if top else ranks >= total - count
    return hidden[:, None].float()


def row_mask(maps: Tensor, threshold: float, size: tuple[int, int]) -> Tensor:
    """The attended rows: those whose maximum exceeds ``threshold`` times the map's own (paper 3.2.2).

    (B, h, w) -> (B, 1, H, W) of 0 and 1; a map's row covers its even share of the image's rows.
    """
    profile = attention.row_profile(maps)
    chosen = profile > threshold * profile.amax(1, keepdim=True)
    rows = torch.arange(size[0], device=maps.device) * profile.shape[1] // size[0]
    return chosen[:, rows][:, None, :, None].float().expand(-1, 1, *size).contiguous()


def part_mask(parts: Tensor, labels: int | Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
    """Pixels of certain body parts: part maps (B, H, W) of whole numbers, 0 = background -> (B, 1, H, W) of 0 and 1.

    ``size``: bring the part maps to this size, by the nearest pixel.
    """
    if parts.dim() != 3 or parts.is_floating_point():
        raise ValueError(f"expected part maps (B, H, W) of whole numbers, got {parts.dtype} of {tuple(parts.shape)}")
    wanted = torch.tensor([labels] if isinstance(labels, int) else list(labels), device=parts.device)
    hidden = torch.isin(parts.long(), wanted)[:, None].float()
    return hidden if size is None else F.interpolate(hidden, size=size, mode="nearest-exact")


def rectangle_mask(box: Sequence[float], size: tuple[int, int]) -> Tensor:
    """A rectangle, (1, 1, H, W) of 0 and 1.

    ``box``: (top, left, bottom, right) as shares of height and width; what lies outside the image is cut off. Raises
    ValueError for a box that is empty or upside down.
    """
    height, width = size
    top, left, bottom, right = (round(float(edge) * n) for edge, n in zip(box, (height, width) * 2, strict=True))
    top, left, bottom, right = max(0, top), max(0, left), min(height, bottom), min(width, right)
    if top >= bottom or left >= right:
        raise ValueError(f"expected a box that covers at least one pixel of {height}x{width}, got {box}")
    mask = torch.zeros(1, 1, height, width)
    mask[..., top:bottom, left:right] = 1
    return mask


def random_like(values: Tensor, generator: torch.Generator, kind: str = "shift") -> Tensor:
    """A random mask (or map) of the same shape in another place: each is moved around the edges by a random offset.

    (B, 1, H, W) or (B, h, w) -> the same shape, with the same values. ``kind``: only ``shift``.
    """
    if kind != "shift":
        raise ValueError(f"expected the kind of random mask 'shift', got {kind!r}")
    count, height, width = values.flatten(0, -3).shape
    offsets = torch.randint(1, height * width, (count,), generator=generator).tolist()
    shifts = [(offset // width, offset % width) for offset in offsets]
    moved = [m.roll(shift, (0, 1)) for m, shift in zip(values.flatten(0, -3), shifts, strict=True)]
    return torch.stack(moved).view_as(values)
