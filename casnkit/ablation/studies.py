"""What is tried: the paper's eight rows, and the points that it leaves open, one at a time from the default."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from casnkit.config import VARIANTS, Config, profile

POOLINGS = ("gap", "stripes")
STUDIES = ("variants", "open-points", "test-time")


@dataclass(frozen=True)
class Setting:
    """One column of the laboratory's table: a variant, and what was changed from the default.

    Attributes:
        variant: ide, ide+ia, ide+sa or casn.
        pooling: gap (IDE) or stripes (PCB).
        changes: fields of :mod:`casnkit.config` by name.
        point: the open point that it belongs to; empty for the default.
    """

    variant: str
    pooling: str = "gap"
    changes: Mapping[str, Any] = field(default_factory=dict)
    point: str = ""

    @property
    def label(self) -> str:
        """What was changed, as ``name=value``; ``default`` where nothing was."""
        if self.point in TWO_GROUPS:  # the same field in the loss and in the ranking
            return f"{self.point}={self.changes['loss'][self.point]}"
        return ", ".join(f"{name}={value}" for name, value in self.changes.items()) or "default"

    def config(self, profile_name: str, seed: int, **changes: Any) -> Config:
        """The configuration of one training; ``changes`` hold for the whole study and give way to the setting's own."""
        given = {**changes}
        for name, value in self.changes.items():  # a group of settings adds to what the study changed in it
            known = given.get(name)
            given[name] = {**known, **value} if isinstance(known, Mapping) and isinstance(value, Mapping) else value
        return profile(profile_name, variant=self.variant, pooling=self.pooling, seed=seed, **given)


# By open point of the design: the variants on which it acts, and its values; the default among them is skipped.
OPEN_POINTS: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    "masked_batchnorm": (("ide+ia",), ("update", "batch", "running")),
    "ia_score": (("ide+ia",), ("logit", "probability", "sigmoid")),
    "ia_gradient": (("ide+ia",), ("network", "mask")),
    "ia_weight": (("ide+ia",), (0.1, 0.5, 1.0)),
    "ia_start": (("ide+ia",), (0.0, 0.3, 0.6)),
    "mask_slope": (("ide+ia",), (5.0, 10.0, 20.0)),
    "mask_centre": (("ide+ia",), (0.3, 0.5, 0.7)),
    "mask_fill": (("ide+ia",), ("mean", "black", "blur")),
    "weight_gradient": (("ide+ia",), ("first", "second")),
    "sa_weight": (("ide+sa",), (0.05, 0.5)),
    "consistency_weight": (("ide+sa",), (0.2, 5.0)),
    "sa_start": (("ide+sa",), (0.0, 0.5)),
    "positive_share": (("ide", "ide+sa"), (0.25, 0.5, 0.75)),
    "across_cameras": (("ide+sa",), (True, False)),
    "pair_activation": (("ide+sa",), ("relu", "none")),
    "siamese_mode": (("ide+sa",), ("paper", "signed", "gradcam", "v1")),
    "pair_rate": (("ide+sa",), (1.0, 5.0, 20.0, 50.0)),
    "pair_weight_decay": (("ide+sa",), (None, 5e-4, 0.0)),
    "pair_order": (("ide+sa",), ("given", "both")),
    "threshold": (("ide+sa",), (0.2, 0.5)),
    "id_activation": (("ide",), ("relu", "none")),
    "id_dropout": (("ide",), (0.0, 0.5)),
    "learning_rate": (("ide",), (0.01, 0.03, 0.06)),
    "trunk_rate": (("ide",), (1.0, 0.3)),
    "weight_decay": (("ide",), (5e-4, 2e-3, 5e-3, 1e-2, 2e-2)),
    "erase": (("ide",), (0.0, 0.5)),
}
TWO_GROUPS = {"siamese_mode", "pair_order", "threshold"}  # fields that stand in the loss and in the ranking


def variants(poolings: Iterable[str] = POOLINGS) -> list[Setting]:
    """The paper's ablation: four variants for each pooling."""
    return [Setting(variant, pooling) for pooling in poolings for variant in VARIANTS]


def open_points(
    profile_name: str, points: Iterable[str] | None = None, pooling: str = "gap", **changes: Any
) -> list[Setting]:
    """Each open point on its own, on the variants on which it acts, after those variants' defaults.

    Args:
        points: names out of ``OPEN_POINTS``; default: all of them.
        changes: what holds for the whole study; a value that equals the study's own default is left out.

    Raises:
        ValueError: an unknown point; the closest is suggested.
    """
    chosen = list(OPEN_POINTS if points is None else points)
    for point in chosen:
        if point not in OPEN_POINTS:
            close = difflib.get_close_matches(point, OPEN_POINTS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(OPEN_POINTS)}"
            raise ValueError(f"there is no open point {point!r}: {hint}")
    acting = [variant for variant in VARIANTS if any(variant in OPEN_POINTS[point][0] for point in chosen)]
    settings = [Setting(variant, pooling) for variant in acting]
    for point in chosen:
        for variant in OPEN_POINTS[point][0]:
            default = Setting(variant, pooling).config(profile_name, 0, **changes)
            for value in OPEN_POINTS[point][1]:
                setting = Setting(variant, pooling, _fields(point, value), point)
                if setting.config(profile_name, 0, **changes) != default:
                    settings.append(setting)
    return settings


def _fields(point: str, value: Any) -> dict[str, Any]:
    return {"loss": {point: value}, "ranking": {point: value}} if point in TWO_GROUPS else {point: value}
