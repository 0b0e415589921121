"""Which pixels to hide, and what to put there: pure functions of tensors.

A mask is (B, 1, H, W) in [0, 1] at the image's size, 1 = hidden, as :func:`casnkit.attention.hide` takes it. The paper's
soft mask is :func:`casnkit.attention.image_mask`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from casnkit import attention
from casnkit.losses import fill_of

FILLS = ("mean", "black", "blur", "noise")


def apply_mask(images: Tensor, mask: Tensor, fill: str = "mean", generator: torch.Generator | None = None) -> Tensor:
    """Normalised images (B, 3, H, W) with a mask hidden; equal to ``images`` to the last bit where nothing is hidden.

    The mask is (B, 1, H, W), (1, 1, H, W), (B, H, W) or (H, W) in [0, 1]. ``fill``: ``mean`` (zero: the data's mean),
    ``black``, ``blur`` (a Gaussian of sigma H / 16) or ``noise`` (standard normal, by a ``generator`` on the CPU).
    """
    shaped = mask[None, None] if mask.dim() == 2 else mask[:, None] if mask.dim() == 3 else mask
    fits = shaped.dim() == 4 and shaped.shape[0] in (1, len(images)) and shaped.shape[1] == 1
    if not fits or shaped.shape[2:] != images.shape[2:] or not 0 <= float(shaped.min()) <= float(shaped.max()) <= 1:
        found = f"got {tuple(mask.shape)} with values {float(mask.min()):g} to {float(mask.max()):g}"
        raise ValueError(f"expected a mask (B, 1, H, W) in [0, 1] at the size of images {tuple(images.shape)}, {found}")
    if fill not in FILLS or (fill == "noise" and generator is None):
        raise ValueError(f"expected a fill out of {', '.join(FILLS)}, 'noise' with a generator, got {fill!r}")
    mask, noise = shaped.to(images), fill == "noise"
    shown = torch.randn(images.shape, generator=generator).to(images) if noise else fill_of(images, fill)
    return torch.where(mask == 0, images, attention.hide(images, mask, shown))


def pixel_ranks(maps: Tensor, size: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Each pixel's place in the order of the bilinearly enlarged map, 0 = strongest: (B, h, w) -> (B, H, W) int64.

    Equal pixels stand in an order drawn by ``generator`` (None: in reading order, so a constant map goes top to bottom).
    """
    flat = F.interpolate(maps[:, None].float(), size=size, mode="bilinear", align_corners=False).flatten(1)
    if not flat.isfinite().all():
        raise ValueError("expected finite maps, found NaN or infinite values: the model may have diverged")
    shuffled = torch.arange(flat.shape[1]).expand(flat.shape)
    if generator is not None:
        shuffled = torch.rand(flat.shape, generator=generator).argsort(1)
    shuffled = shuffled.to(flat.device)
    order = shuffled.gather(1, flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))
    return order.argsort(1).unflatten(1, tuple(size))


def area_mask(maps: Tensor, share: float, size: tuple[int, int], top: bool = True) -> Tensor:
    """The strongest (or weakest, ``top=False``) round(share * H * W) pixels: (B, h, w) -> (B, 1, H, W) of 0 and 1."""
    total = size[0] * size[1]
    count, ranks = round(share * total), pixel_ranks(maps, size)[:, None]
    return (ranks < count if top else ranks >= total - count).float()


def row_mask(maps: Tensor, threshold: float, size: tuple[int, int]) -> Tensor:
    """The rows whose maximum exceeds ``threshold`` times the map's own (paper 3.2.2): (B, h, w) -> (B, 1, H, W)."""
    profile = attention.row_profile(maps)
    chosen = profile > threshold * profile.amax(1, keepdim=True)
    return F.interpolate(chosen[:, None, :, None].float().expand(-1, 1, -1, size[1]), size)


def part_mask(parts: Tensor, labels: int | Sequence[int], size: tuple[int, int]) -> Tensor:
    """Pixels of certain body parts: part maps (B, h, w) of whole numbers, 0 = background -> (B, 1, H, W) of 0 and 1."""
    wanted = torch.tensor([labels] if isinstance(labels, int) else list(labels), device=parts.device)
    hidden = torch.isin(parts.long(), wanted)[:, None].float()
    return F.interpolate(hidden, size=size, mode="nearest-exact")


def rectangle_mask(box: Sequence[float], size: tuple[int, int]) -> Tensor:
    """A rectangle, (1, 1, H, W) of 0 and 1: ``box`` is (top, left, bottom, right) as shares of height and width."""
    top, left, bottom, right = (round(max(0, edge) * n) for edge, n in zip(box, (*size, *size), strict=True))
    mask = torch.zeros(1, 1, *size)
    mask[..., top:bottom, left:right] = 1
    if not mask.any():
        raise ValueError(f"expected a box that covers at least one pixel of {size[0]}x{size[1]}, got {box}")
    return mask


def random_like(values: Tensor, generator: torch.Generator) -> Tensor:
    """Each mask (B, 1, H, W) or map (B, h, w) moved around the edges by a random offset."""
    flat, (height, width) = values.flatten(0, -3), values.shape[-2:]
    offsets = torch.randint(1, height * width, (len(flat),), generator=generator).tolist()
    moved = [m.roll(divmod(offset, width), (0, 1)) for m, offset in zip(flat, offsets, strict=True)]
    return torch.stack(moved).view_as(values)
