"""A model is explained as it is and left as it was: mode, hooks, gradients, flags and random state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from casnkit.models import evaluating, fork_random

_HOOKS = tuple(
    name
    for name in (
        "_forward_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_backward_hooks",
        "_backward_pre_hooks",
    )
    if hasattr(nn.Identity(), name)
)


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode, weights that need no gradient, gradients on; afterwards everything is put back, also after an exception.

    Put back are: each submodule's mode and hooks, each parameter's ``requires_grad`` and ``.grad``, and torch's random
    state on the CPU and on every GPU. Buffers need no care: in eval mode BatchNorm does not count along.

    Weights without ``requires_grad`` let the graph begin where it is needed, at the feature map or at the pixels.
    """
    hooks = {m: {name: getattr(m, name).copy() for name in _HOOKS} for m in model.modules()}
    kind = {m: m._is_full_backward_hook for m in model.modules()}
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    try:
        with fork_random(), evaluating(model), torch.enable_grad():
            for parameter, _, _ in parameters:
                parameter.requires_grad_(False)
            yield
    finally:
        for parameter, flag, gradient in parameters:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
        for module, kept in hooks.items():
            for name, entries in kept.items():
                own = getattr(module, name)  # the dictionary itself must stay: removable handles refer to it
                own.clear()
                own.update(entries)
            module._is_full_backward_hook = kind[module]
