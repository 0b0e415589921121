"""Checks of configuration fields: type, choice and range, each with an error that names the field."""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

CHOICES = {
    "pooling": ("gap", "stripes"),
    "feature": ("pooled", "reduced"),
    "id_activation": ("none", "relu", "leaky_relu"),
    "pair_activation": ("none", "relu", "leaky_relu"),
    "last_stride": (None, 1, 2),
    "ia_score": ("logit", "probability", "sigmoid"),
    "mask_fill": ("mean", "black", "blur"),
    "masked_batchnorm": ("update", "batch", "running"),
    "ia_gradient": ("network", "mask"),
    "weight_gradient": ("first", "second"),
    "siamese_mode": ("paper", "signed", "gradcam", "v1"),
    "pair_order": ("given", "both"),
    "precision": ("float32", "bf16"),
    "normalisation": ("minmax", "zscore", "none"),
    "normalise_per": ("query", "matrix"),
}

_SHARE, _COUNT, _POSITIVE = (0, 1), (1, math.inf), (0, math.inf)
RANGES = {
    **dict.fromkeys(
        ("stripes", "id_hidden", "pair_hidden", "height", "width", "batch_size", "epochs", "max_rank", "accumulate"),
        _COUNT,
    ),
    **dict.fromkeys(("id_dropout", "pair_dropout", "flip", "erase", "positive_share", "threshold"), _SHARE),
    **dict.fromkeys(("ia_start", "sa_start", "warmup", "momentum", "attention_weight", "trunk_rate", "decay"), _SHARE),
    **dict.fromkeys(("ia_weight", "sa_weight", "consistency_weight", "padding", "learning_rate"), _POSITIVE),
    **dict.fromkeys(
        ("weight_decay", "pair_weight_decay", "pair_rate", "clip_norm", "mask_slope", "seed", "milestones"), _POSITIVE
    ),
}


def check_fields(group: str, settings: Any) -> None:
    """Check every field of a frozen dataclass and put whole floats into int fields and lists into tuples.

    Raises:
        ValueError: ``group.field: expected ..., got ...`` for the first field that is wrong.
    """
    hints = get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = _checked(f"{group}.{field.name}", getattr(settings, field.name), hints[field.name])
        object.__setattr__(settings, field.name, value)


def _checked(name: str, value: Any, hint: Any) -> Any:
    field = name.split(".")[-1]
    choices = CHOICES.get(field)
    if choices and (value not in choices or isinstance(value, bool)):
        raise ValueError(f"{name}: expected one of {', '.join(map(str, choices))}, got {value!r}")
    value = _typed(name, value, hint)
    low, high = RANGES.get(field, (-math.inf, math.inf))
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not isinstance(number, bool) and not low <= number <= high:
            bounds = f"{low} to {high}" if high < math.inf else f"at least {low}"
            raise ValueError(f"{name}: expected {bounds}, got {value!r}")
    return value


def _typed(name: str, value: Any, hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name}: expected a list of numbers, got {value!r}")
        return tuple(_typed(name, item, get_args(hint)[0]) for item in value)
    if hint is bool and not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, got {value!r}")
    if hint is str and not isinstance(value, str):
        raise ValueError(f"{name}: expected a name, got {value!r}")
    if hint in (int, float):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or (hint is int and value != int(value)):
            raise ValueError(f"{name}: expected {'a whole' if hint is int else 'a'} number, got {value!r}")
        return hint(value)
    return value
