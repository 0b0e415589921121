"""What if a part of one image were hidden? Masks by name, and what the network then says, beside a matched control."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from casnkit import attention
from casnkit.config import LossConfig
from casnkit.data.images import denormalise
from casnkit.data.people import PARTS
from casnkit.explain import masks as masking
from casnkit.explain.pair import Counterfactual, counterfactual
from casnkit.inspector.networks import Network
from casnkit.inspector.pairs import Maps, maps_of
from casnkit.inspector.state import CORNERS, State

SEED = 0  # of the control's place and of the fill "noise"


class Outcome(NamedTuple):
    """What came of hiding a region, and a region of the same size elsewhere."""

    found: Counterfactual  # probabilities, rankings and what moved, before and after
    control: Counterfactual
    picture: Image.Image  # the changed image as the network saw it
    maps: Maps  # of the pair with the changed image in its place, not normalised
    note: str  # what was hidden, in words
    control_note: str


def _rectangle(state: State, size: tuple[int, int], **_: Any) -> tuple[Tensor, str]:
    if state.rectangle is None:
        raise ValueError("nothing is hidden: drag a rectangle over a picture, or choose what to hide")
    left, top, right, bottom = (state.rectangle[name] for name in CORNERS)
    words = f"a rectangle, {top:.0%} to {bottom:.0%} of the height and {left:.0%} to {right:.0%} of the width"
    return masking.rectangle_mask((top, left, bottom, right), size), words


def _area(top: bool, state: State, size: tuple[int, int], attended: Tensor, **_: Any) -> tuple[Tensor, str]:
    words = f"the {'most' if top else 'least'} attended {state.share:.0%} of the pixels"
    return masking.area_mask(attended, state.share, size, top=top), words


def _third(number: int, size: tuple[int, int], **_: Any) -> tuple[Tensor, str]:
    words = f"the {('upper', 'middle', 'lower')[number]} third of the image"
    return masking.rectangle_mask((number / 3, 0, (number + 1) / 3, 1), size), words


def _soft(loss: LossConfig, size: tuple[int, int], attended: Tensor, **_: Any) -> tuple[Tensor, str]:
    how = loss.mask_slope, loss.mask_centre
    words = "the paper's soft mask, sigmoid(a (M - b)) with a = {:g} and b = {:g}".format(*how)
    return attention.image_mask(attended, size, *how), words


def _part(number: int, parts: np.ndarray | None, size: tuple[int, int], **_: Any) -> tuple[Tensor, str]:
    name, parts = PARTS[number - 1], torch.zeros(1, 1) if parts is None else torch.from_numpy(parts)
    mask = masking.part_mask(parts[None], number, size)
    if not mask.any():
        raise ValueError(f"this image shows no {name} (by its part map): hide a rectangle instead")
    return mask, f"{name}, by the part map"


# Each makes a mask at the network's ``size``, and words: from the ``state``, the image's map ``attended`` (1, h, w) in which
# nothing is below 0, its body ``parts`` (H, W), or the ``loss`` of the network's configuration.
HIDES: dict[str, Callable[..., tuple[Tensor, str]]] = {
    "rectangle": _rectangle,
    "attended": partial(_area, True),
    "unattended": partial(_area, False),
    "upper third": partial(_third, 0),
    "middle third": partial(_third, 1),
    "lower third": partial(_third, 2),
    "soft mask": _soft,
    **{f"part: {name}": partial(_part, number) for number, name in enumerate(PARTS, 1)},
}


def hides_of(network: Network, side: str) -> list[str]:
    """What can be hidden; body parts only where the data set knows them."""
    known = network.split(side).part_folder is not None
    return [name for name in HIDES if known or not name.startswith("part: ")]


def try_hiding(network: Network, state: State, j: int, maps: Maps, ranked_by: str) -> Outcome:
    """Hide what the state says in the pair (its query, gallery image ``j``) whose maps are given.

    Raises ValueError for nothing to hide, an image that cannot be read, or a part that it does not show.
    """
    side, pair, images = state.hide_in, {"query": state.query, "gallery": j}, {}
    for name, i in pair.items():
        images[name] = network.images(name, [i])
        if why := network.split(name).error(i):
            raise ValueError(why)
    attended = torch.from_numpy(np.maximum(maps[side == "gallery"], 0).astype(np.float32))[None]
    scene = {"state": state, "size": network.size, "attended": attended, "loss": network.config.loss}
    mask, note = HIDES[state.hide](**scene, parts=network.split(side).parts(pair[side]))
    if state.hide in ("attended", "unattended"):
        control, control_note = _area(state.hide == "unattended", **scene)
    else:
        control = masking.random_like(mask, torch.Generator().manual_seed(SEED))
        control_note = "a region of the same size and shape, moved at random"
    how = {"where": side, "gallery_index": j, "fill": state.fill, "ranked_by": ranked_by, "image": images[side][0]}
    found, compared = (
        counterfactual(network, state.query, hidden, generator=torch.Generator().manual_seed(SEED), **how)
        for hidden in (mask, control)
    )
    images[side] = found.image[None].to(images[side])
    picture = Image.fromarray(denormalise(found.image).permute(1, 2, 0).numpy())
    after = maps_of(network, state.query, j, state.method, state.target, images=tuple(images.values()))
    return Outcome(found, compared, picture, after, note, control_note)
