"""A network whose knowledge is taken away bit by bit: copies with parts as they were before any training.

A part gets the random weights that a new network of the same configuration would start with. A trunk that forgot then
measures BatchNorm's statistics anew on images: without that its activations would shrink from layer to layer, maps would
be flat, and every explanation would pass for the wrong reason.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from casnkit.models import CASN, fork_random, seeded

HEADS = {"pair classifier": ("pair_head.",), "ID classifier": ("identity_head.",)}
_STAGES = 6  # at most so many steps through a trunk


def cascade(model: CASN) -> dict[str, tuple[str, ...]]:
    """The parts from the score downwards: pair classifier, ID classifier, the trunk's stages from last to first.

    Each name comes with the prefixes of its tensors in the state dict.
    """
    stages = trunk_stages(model.trunk)
    named = {
        f"trunk {number} of {len(stages)}": tuple(f"trunk.{name}." for name in names)
        for number, names in reversed(list(enumerate(stages, 1)))
    }
    return HEADS | named


def trunk_stages(trunk: nn.Module) -> list[list[str]]:
    """A trunk's layers in order, as at most six stages: lists of module names."""
    units, deeper = [("", trunk)], True
    while deeper and len(units) < 3:
        deeper, opened = False, []
        for name, module in units:
            inner = [(n, m) for n, m in module.named_children() if any(True for _ in m.parameters())]
            if inner and (len(units) == 1 or not all(_is_leaf(m) for _, m in inner)):
                opened += [(f"{name}.{n}" if name else n, m) for n, m in inner]
                deeper = True
            else:
                opened.append((name, module))
        units = opened
    count = min(len(units), _STAGES)
    ends = [round(len(units) * k / count) for k in range(count + 1)]
    return [[name for name, _ in units[a:b]] for a, b in itertools.pairwise(ends)]


def randomised(model: CASN, prefixes: Sequence[str], seed: int = 0, images: Tensor | None = None) -> CASN:
    """A copy in eval mode in which all tensors that begin with one of ``prefixes`` are those of a new network.

    Args:
        prefixes: of names in the state dict, such as ``"pair_head."`` or ``"trunk."``.
        seed: of the new weights; the global random state is left alone.
        images: (B, 3, H, W) normalised, at least two, on which BatchNorm's statistics are measured anew where the trunk
            was touched. None: they stay as they are (or 0 and 1 where new).

    Raises:
        ValueError: no CASN, or a prefix without tensors.
    """
    if not isinstance(model, CASN):
        raise ValueError(
            f"expected a casnkit.CASN, got a {type(model).__name__}: how another network begins is not known here; compare "
            "it with a new one of yours by casnkit.explain.sanity.correlation"
        )
    state = model.state_dict()
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in state):
            raise ValueError(f"expected the beginning of a tensor's name, such as 'pair_head.', got {prefix!r}")
    with seeded(seed, 0):
        fresh = CASN.from_config(model.num_ids, dataclasses.replace(model.config, weights=None)).state_dict()
    changed = copy.deepcopy(model).requires_grad_(False).eval()
    changed.load_state_dict({k: fresh[k] if k.startswith(tuple(prefixes)) else v for k, v in state.items()})
    if images is not None and any(prefix.startswith("trunk") for prefix in prefixes):
        _measure_statistics(changed, images)
    return changed


def _measure_statistics(model: CASN, images: Tensor) -> None:
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches
    with fork_random(), torch.no_grad():
        model.train()
        model(images.to(next(model.parameters())))
    model.eval()
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def _is_leaf(module: nn.Module) -> bool:
    return not any(True for _ in module.children())
