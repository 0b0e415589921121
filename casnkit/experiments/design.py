"""What is compared in the ablation: arms, the worlds that they are trained in, the open points, and how each is chosen."""

import itertools
from collections import namedtuple
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from casnkit import attention
from casnkit.config import VARIANTS, Config, check_choice, profile
from casnkit.data.files import results_path

POOLINGS = ("gap", "stripes")
_MARGIN = {"consistency_weight": 1.0, "consistency_margin": 0.5}
# a variant, what is moved from its defaults, and its own strength: the field of which as many values are tried for each arm
# on other people, the default first; see :func:`chosen`
Arm = namedtuple("Arm", "variant moved strength values")
ARMS = {
    "ide": Arm("ide", {}, "learning_rate", (0.03, 0.02, 0.045)),
    "ide, erased": Arm("ide", {"erase": 0.5}, "erase", (0.5, 0.25, 0.75)),  # in the place of attention
    "bce": Arm("bce", {}, "sa_weight", (0.05, 0.2, 0.5)),
    "ide+sa": Arm("ide+sa", {}, "consistency_weight", (0.2, 1.0, 5.0)),
    "ide+sa, margin": Arm("ide+sa", _MARGIN, "consistency_margin", (0.5, 1.0, 1.5)),
    "ide+ia": Arm("ide+ia", {}, "ia_weight", (0.5, 0.1, 1.0)),
    "ide+ia, mask": Arm("ide+ia", {"ia_gradient": "mask"}, "ia_weight", (0.5, 0.1, 1.0)),
    "casn": Arm("casn", {}, "ia_weight", (0.5, 0.1, 1.0)),
}
WORLDS = {"": {}, "misaligned": {"crop": 0.06, "bad_crop": 0.3, "occluder": 0.3}}  # of the people's difficulty
# By open point of the design: the variants on which it acts, and its values; the default among them is skipped.
OPEN_POINTS: dict[str, tuple[tuple[str, ...], Iterable[Any]]] = {
    "masked_batchnorm": (("ide+ia",), ("update", "batch", "running")),
    "ia_score": (("ide+ia",), ("logit", "probability", "sigmoid", "log")),
    "map_statistics": (("ide+ia",), ("running", "batch")),
    "ia_gradient": (("ide+ia",), ("network", "mask")),
    "ia_weight": (("ide+ia",), (0.1, 0.5, 1.0)),
    "ia_start": (("ide+ia",), (0.0, 0.3, 0.6)),
    "mask_slope": (("ide+ia",), (5.0, 10.0, 20.0)),
    "mask_centre": (("ide+ia",), (0.3, 0.5, 0.7)),
    "mask_fill": (("ide+ia",), ("mean", "black", "blur")),
    "weight_gradient": (("ide+ia",), ("first", "second")),
    "sa_weight": (("ide+sa",), (0.05, 0.5)),
    "consistency_weight": (("ide+sa",), (0.2, 5.0)),
    "consistency_margin": (("ide+sa",), (None, 1.0)),
    "profile_scale": (("ide+sa",), attention.SCALES),
    "sa_start": (("ide+sa",), (0.0, 0.5)),
    "positive_share": (("ide", "ide+sa"), (0.25, 0.5, 0.75)),
    "across_cameras": (("ide+sa",), (True, False)),
    "anchor_share": (("ide",), (1.0, 0.5)),
    "reduction": (("ide",), ("mean", "sum")),
    "pair_activation": (("ide+sa",), ("relu", "none")),
    "pair_norm": (("ide+sa",), (False, True)),
    "siamese_mode": (("ide+sa",), attention.MODES),
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
TWO_GROUPS = {"siamese_mode", "pair_order", "threshold", "profile_scale"}  # fields of the loss and of the ranking


@dataclass(frozen=True)
class Setting:
    """One line of a study's table: an arm with a pooling and what was chosen for it, and the open point that was moved."""

    variant: str  # a name in ARMS, which has all of the paper's variants
    pooling: str = "gap"
    point: str = ""
    value: Any = None
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def config(self, profile_name: str, seed: int, **changes: Any) -> Config:
        """The configuration of one training; ``changes`` hold for the whole study and give way to the setting's own."""
        arm = ARMS[self.variant]
        changes = {**changes, **arm.moved, **self.chosen}
        if self.point in TWO_GROUPS:
            for group in ("loss", "ranking"):
                changes[group] = {**changes.get(group, {}), self.point: self.value}
        elif self.point:
            changes[self.point] = self.value
        return profile(profile_name, variant=arm.variant, pooling=self.pooling, seed=seed, **changes)


def chosen(arm: str) -> dict[str, Any]:
    """What the published study ``tries`` chose for an arm, by feature mAP on other people; the default without one."""
    path, (*_, name, values) = results_path("tries.csv"), ARMS[arm]
    if not path.is_file():
        return {name: values[0]}
    own = pd.read_csv(path).query("variant == @arm").set_index("setting")["mean_ap"]
    return {name: max(values, key=lambda value: own[f"{name}={value}"])}


def arms(poolings: Iterable[str] = POOLINGS) -> list[Setting]:
    """All arms for each pooling, with what was chosen for them."""
    return [Setting(arm, pooling, chosen=chosen(arm)) for pooling in poolings for arm in ARMS]


def tries() -> list[Setting]:
    """Every arm with every value of its strength."""
    return [Setting(name, "gap", arm.strength, value) for name, arm in ARMS.items() for value in arm.values]


def open_points(profile_name: str, points: Iterable[str] = (), pooling: str = "gap", **changes: Any) -> list[Setting]:
    """Each open point on its own, on the variants on which it acts, after those variants' defaults; default: all points.
    ``changes`` hold for the whole study; a value that equals the study's own default is left out."""
    chosen = list(points or OPEN_POINTS)
    for point in chosen:
        check_choice("open point", point, OPEN_POINTS)
    settings = [Setting(v, pooling) for v in VARIANTS if any(v in OPEN_POINTS[point][0] for point in chosen)]
    for point in chosen:
        for variant, value in itertools.product(*OPEN_POINTS[point]):
            setting, default = Setting(variant, pooling, point, value), Setting(variant, pooling)
            if setting.config(profile_name, 0, **changes) != default.config(profile_name, 0, **changes):
                settings.append(setting)
    return settings
