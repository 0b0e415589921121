"""What is compared in the ablation (``study.json``): arms, the worlds that they are trained in, open points, measures."""

import itertools
from collections import namedtuple
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from casnkit.config import GROUPS, VARIANTS, Config, check_choice, profile
from casnkit.data.files import read_json, results_path

POOLINGS = ("gap", "stripes")
STUDY = read_json(Path(__file__).with_name("study.json"))  # and the measures, the paper's claims on them, a caption
# a variant, what is moved from its defaults, and its own strength: the field of which as many values are tried for each arm
# on other people, the default first; see :func:`chosen`
Arm = namedtuple("Arm", "variant moved strength values")
ARMS = {name: Arm(**arm) for name, arm in STUDY["arms"].items()}
WORLDS = {"": {}, "misaligned": {"crop": 0.06, "bad_crop": 0.3, "occluder": 0.3}}  # of the people's difficulty
_FIELDS = {setting.name: setting for group in GROUPS.values() for setting in fields(group)}
# By open point of the design: the variants on which it acts, and its values (by default all that the configuration allows);
# the default among them is skipped.
OPEN_POINTS: dict[str, tuple[Iterable[str], Iterable[Any]]] = {
    name: (point["on"], point.get("values") or _FIELDS[name].metadata["choices"])
    for name, point in STUDY["open points"].items()
}


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
        changes.pop(self.point, None)
        for group in (name for name, kind in GROUPS.items() if self.point in kind.__dataclass_fields__):
            changes[group] = {**changes.get(group, {}), self.point: self.value}  # in both that have one of that name
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
