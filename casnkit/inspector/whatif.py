"""What if a part of one image were hidden? Masks by name, and what the network then says, beside a matched control."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from casnkit import attention
from casnkit.data.images import denormalise
from casnkit.data.people import PARTS
from casnkit.explain import masks as masking
from casnkit.explain.pair import Counterfactual, counterfactual
from casnkit.inspector.networks import Network
from casnkit.inspector.pairs import Maps, explained
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


class Scene(NamedTuple):
    """What a mask is made of."""

    network: Network
    state: State
    index: int  # of the image
    attended: Tensor  # (1, h, w) its map, not below 0


def _rectangle(scene: Scene) -> tuple[Tensor, str]:
    if scene.state.rectangle is None:
        raise ValueError("nothing is hidden: drag a rectangle over a picture, or choose what to hide")
    left, top, right, bottom = (scene.state.rectangle[name] for name in CORNERS)
    words = f"a rectangle, {top:.0%} to {bottom:.0%} of the height and {left:.0%} to {right:.0%} of the width"
    return masking.rectangle_mask((top, left, bottom, right), scene.network.size), words


def _area(top: bool, scene: Scene) -> tuple[Tensor, str]:
    words = f"the {'most' if top else 'least'} attended {scene.state.share:.0%} of the pixels"
    return masking.area_mask(scene.attended, scene.state.share, scene.network.size, top=top), words


def _third(number: int, scene: Scene) -> tuple[Tensor, str]:
    words = f"the {('upper', 'middle', 'lower')[number]} third of the image"
    return masking.rectangle_mask((number / 3, 0, (number + 1) / 3, 1), scene.network.size), words


def _soft(scene: Scene) -> tuple[Tensor, str]:
    how = scene.network.config.loss.mask_slope, scene.network.config.loss.mask_centre
    words = "the paper's soft mask, sigmoid(a (M - b)) with a = {:g} and b = {:g}".format(*how)
    return attention.image_mask(scene.attended, scene.network.size, *how), words


def _part(number: int, scene: Scene) -> tuple[Tensor, str]:
    labels = scene.network.split(scene.state.hide_in).parts(scene.index)
    mask = None if labels is None else torch.from_numpy(labels.astype(np.int64))[None]
    mask = None if mask is None else masking.part_mask(mask, number, scene.network.size)
    if mask is None or not mask.any():
        raise ValueError(f"this image shows no {PARTS[number - 1]} (by its part map): hide a rectangle instead")
    return mask, f"{PARTS[number - 1]}, by the part map"


HIDES: dict[str, Callable[[Scene], tuple[Tensor, str]]] = {
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
    side, pair = state.hide_in, {"query": state.query, "gallery": j}
    images = {name: network.images(name, [i]) for name, i in pair.items()}
    attended = torch.from_numpy(np.maximum(maps[side == "gallery"], 0).astype(np.float32))[None]
    scene = Scene(network, state, pair[side], attended)
    mask, note = HIDES[state.hide](scene)
    if state.hide in ("attended", "unattended"):
        control, control_note = _area(state.hide == "unattended", scene)
    else:
        control = masking.random_like(mask, torch.Generator().manual_seed(SEED))
        control_note = "a region of the same size and shape, moved at random"

    def hide(mask: Tensor) -> Counterfactual:
        generator = torch.Generator().manual_seed(SEED) if state.fill == "noise" else None
        how = {"where": side, "gallery_index": j, "fill": state.fill, "ranked_by": ranked_by, "generator": generator}
        return counterfactual(network, state.query, mask, image=images[side][0], **how)

    found, compared = hide(mask), hide(control)
    images[side] = found.image[None].to(images[side])
    picture = Image.fromarray(denormalise(found.image).permute(1, 2, 0).numpy())
    after = explained(network.model, *images.values(), state.method, state.target, network.config)
    return Outcome(found, compared, picture, after, note, control_note)
