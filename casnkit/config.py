"""Every choice of a run, in frozen dataclasses: the paper's value and where it stands, or why we chose what it leaves open.

"Paper" is Zheng, Karanam, Wu, Radke: Re-Identification with Consistent Attentive Siamese Networks, CVPR 2019. A field
marked *open* is one that the paper does not settle; each run records its choice. What a field may hold stands beside its
default. ``profile("quick", epochs=5, loss={"ia_score": "logit"})`` makes a configuration.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import math
import types
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin, get_type_hints

from torch import nn

from casnkit import attention

VARIANTS = ("ide", "ide+ia", "ide+sa", "casn")  # with pooling="stripes" these are the paper's PCB rows
ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


def one_of(default: Any, choices: Collection) -> Any:
    """A field that holds one of ``choices``, which are looked at when a value is checked."""
    return field(default=default, metadata={"choices": choices})


def within(default: Any, low: float, high: float = math.inf) -> Any:
    """A field that holds a number from ``low`` to ``high``, or several."""
    return field(default=default, metadata={"bounds": (low, high)})


class _Settings:
    """A group of settings, checked when it is made: ValueError ``group.field: expected ..., got ...`` for a wrong one."""

    def __post_init__(self) -> None:
        group, hints = type(self).__name__.removesuffix("Config").lower(), get_type_hints(type(self))
        for setting in dataclasses.fields(self):
            name, value, facts = f"{group}.{setting.name}", getattr(self, setting.name), setting.metadata
            if "choices" in facts and (value not in tuple(facts["choices"]) or isinstance(value, bool)):
                raise ValueError(f"{name}: expected one of {', '.join(map(str, facts['choices']))}, got {value!r}")
            value = _typed(name, value, hints[setting.name])
            numbers = value if isinstance(value, tuple) else (value,)
            low, high = facts.get("bounds", (-math.inf, math.inf))
            if value is not None and "bounds" in facts and not all(low <= number <= high for number in numbers):
                bounds = f"{low} to {high}" if high < math.inf else f"at least {low}"
                raise ValueError(f"{name}: expected {bounds}, got {value!r}")
            object.__setattr__(self, setting.name, value)


def _typed(name: str, value: Any, hint: Any) -> Any:
    if isinstance(hint, types.UnionType):  # "or None"
        return None if value is None else _typed(name, value, get_args(hint)[0])
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name}: expected a list of numbers, got {value!r}")
        return tuple(_typed(name, item, get_args(hint)[0]) for item in value)
    if hint in (int, float):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or (hint is int and value != int(value)):
            raise ValueError(f"{name}: expected {'a whole' if hint is int else 'a'} number, got {value!r}")
        return hint(value)
    if not isinstance(value, hint):
        raise ValueError(f"{name}: expected {'true or false' if hint is bool else 'a name'}, got {value!r}")
    return value


@dataclass(frozen=True)
class ModelConfig(_Settings):
    """The network: trunk, pooling, and two classifiers of two fully connected layers each (paper 3.1, 3.2)."""

    backbone: str = "resnet50"  # paper 4.1; a name in models.TRUNKS ("small" is for CPUs)
    pooling: str = one_of("gap", ("gap", "stripes"))  # gap = IDE baseline, stripes = PCB baseline (paper 3.3)
    last_stride: int | None = one_of(None, (None, 1, 2))  # None: 2 for gap (9x5 map), 1 for stripes (24x8 map)
    stripes: int = within(6, 1)  # PCB (Sun et al. 2018)
    shared_reduction: bool = False  # open: one first layer for all stripes; independent ones did better in public PCBs
    id_hidden: int | None = within(None, 1)  # open: width of the first layer; None: 512 for gap, 256 per stripe
    id_activation: str = one_of("relu", ACTIVATIONS)  # open: none is the most used public head, relu better on people
    id_norm: bool = True  # open: BatchNorm between the ID classifier's layers
    id_dropout: float = within(0.0, 0, 1)  # open: public heads use 0.5 from ImageNet; from scratch it slows training
    pair_hidden: int = within(512, 1)  # open: width of the pair classifier's first layer
    pair_activation: str = one_of("relu", ACTIVATIONS)  # open; with none, maps no longer depend on the partner
    pair_dropout: float = within(0.0, 0, 1)  # open
    weights: str | None = None  # None: random; "imagenet": torchvision's cached file (paper 4.1); or a file's path


@dataclass(frozen=True)
class LossConfig(_Settings):
    """Equations 1 to 6: which terms, their weights, and how attention is turned into a loss."""

    identification_attention: bool = True  # IA: equation 2
    siamese_attention: bool = True  # SA: equations 3 to 5
    ia_weight: float = within(0.5, 0)  # equation 6, paper 4.1: lambda_1
    sa_weight: float = within(0.05, 0)  # equation 6, paper 4.1: lambda_2
    consistency_weight: float = within(0.2, 0)  # equation 5, paper 4.1: alpha
    ia_score: str = one_of("probability", ("logit", "probability", "sigmoid"))  # open: logit: literal, unbounded below
    mask_slope: float = within(10.0, 0)  # open: a of the soft mask; public relatives use 8 to 100
    mask_centre: float = 0.5  # open: b of the soft mask; public relatives use 0.25 to 0.7
    mask_fill: str = one_of("mean", ("mean", "black", "blur"))  # open: what replaces masked pixels; mean: zero
    masked_batchnorm: str = one_of("batch", ("update", "batch", "running"))  # open: see losses.masked_pass
    ia_gradient: str = one_of("network", ("network", "mask"))  # open: mask: the network frozen in the masked pass
    weight_gradient: str = one_of("first", ("first", "second"))  # open: second: channel weights differentiated too
    siamese_mode: str = one_of("paper", attention.MODES)  # open: how equation 4 weighs, see attention.MODES
    pair_order: str = one_of("given", ("given", "both"))  # open: maps of (1, 2) as given, or both orders averaged
    threshold: float = within(0.5, 0, 1)  # open: t, as a fraction of the map's own maximum
    ia_start: float = within(0.0, 0, 1)  # open: share of the epochs before IA; the paper starts at once, from ImageNet
    sa_start: float = within(0.0, 0, 1)  # open: the same for the consistency term of SA


@dataclass(frozen=True)
class DataConfig(_Settings):
    """Images, their augmentation, and how pairs are drawn."""

    height: int = within(288, 1)  # paper 4.1 (384 for PCB)
    width: int = within(144, 1)  # paper 4.1 (128 for PCB)
    flip: float = within(0.5, 0, 1)  # probability of a horizontal flip; the paper names no augmentation
    padding: int = within(0, 0)  # pixels of padding before a random crop back to size
    erase: float = within(0.0, 0, 1)  # probability of erasing a rectangle
    batch_size: int = within(16, 1)  # paper 4.1: 16; read here as 16 pairs (open: images or pairs)
    positive_share: float = within(0.5, 0, 1)  # open: share of same-identity pairs in a batch
    across_cameras: bool = True  # open: positives from two cameras where the person was seen by two


@dataclass(frozen=True)
class TrainConfig(_Settings):
    """The schedule."""

    epochs: int = within(40, 1)  # paper 4.1; one epoch = every training image is once the first of a pair
    learning_rate: float = within(0.03, 0)  # paper 4.1
    trunk_rate: float = within(1.0, 0, 1)  # open: the trunk's share of the learning rate; PCB uses 0.1, from ImageNet
    milestones: tuple[float, ...] = within(
        (0.75,), 0
    )  # paper 4.1: divided by 10 after epoch 30 of 40; shares of epochs
    decay: float = within(0.1, 0, 1)  # paper 4.1
    warmup: float = within(0.0, 0, 1)  # share of the epochs with a linearly rising rate; the paper has none
    momentum: float = within(0.9, 0, 1)  # paper 4.1
    weight_decay: float = within(5e-4, 0)  # open: the paper names none; PCB uses 5e-4
    pair_rate: float = within(1.0, 0)  # open: the pair classifier's share of the rate; its loss has a weight of 0.05
    pair_weight_decay: float | None = within(None, 0)  # open: of the pair classifier; None: as all
    clip_norm: float | None = within(None, 0)  # open: gradient norm at which to clip; None: never
    accumulate: int = within(1, 1)  # parts into which a batch is cut where it does not fit; BatchNorm sees the parts
    precision: str = one_of("float32", ("float32", "bf16"))  # of the trunk; classifiers, maps, losses stay in float32
    compile: bool = False  # torch.compile the trunk: pays on a GPU after some minutes
    sync_batchnorm: bool = False  # BatchNorm over all processes' images; GPUs only
    seed: int = within(0, 0)


@dataclass(frozen=True)
class RankingConfig(_Settings):
    """The test: distances and their fusion (paper 3.2.3)."""

    normalise_features: bool = True  # open: l2 between features of unit length, or as they are
    siamese_mode: str = one_of("paper", attention.MODES)  # open: as in LossConfig
    pair_order: str = one_of("given", ("given", "both"))  # open: z(q, g) differs from z(g, q); both: averaged maps
    threshold: float = within(0.5, 0, 1)  # open: t
    normalisation: str = one_of("minmax", ("minmax", "zscore", "none"))  # open: how the distances become comparable
    normalise_per: str = one_of("query", ("query", "matrix"))  # open: query (a row) or matrix
    attention_weight: float = within(0.5, 0, 1)  # paper 3.2.3 sums the two; 0.5 is that sum up to scale
    max_rank: int = within(50, 1)


@dataclass(frozen=True)
class Config:
    """All choices of one run; saved with every checkpoint."""

    profile: str = "paper"
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)

    @property
    def variant(self) -> str:
        """The row of the paper's ablation: ide, ide+ia, ide+sa or casn."""
        return VARIANTS[self.loss.identification_attention + 2 * self.loss.siamese_attention]

    def replace(self, **changes: Any) -> Config:
        """A copy with fields changed: whole groups by mapping, single fields by their own name where it is unambiguous.

        ``config.replace(epochs=3, loss={"threshold": 0.3}, variant="ide+ia")``. Raises ValueError for an unknown name (the
        closest is suggested), one that stands in two groups, and a wrong value.
        """
        values = self.to_dict()
        for name, value in changes.items():
            if name == "profile":
                values[name] = value
            elif name == "variant":
                if value not in VARIANTS:
                    raise ValueError(f"expected a variant out of {', '.join(VARIANTS)}, got {value!r}")
                switches = {"identification_attention": VARIANTS.index(value) % 2 == 1}
                values["loss"] |= switches | {"siamese_attention": VARIANTS.index(value) >= 2}
            elif name in _GROUPS:
                values[name] |= _by_name(name, value)
            else:
                values[_group_of(name)][name] = value
        return Config.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON."""
        values = dataclasses.asdict(self)
        values["train"]["milestones"] = list(values["train"]["milestones"])
        return values

    def settings(self) -> dict[str, Any]:
        """All settings as one level: ``{"model.backbone": "resnet50", ...}``."""
        groups = {name: vars(getattr(self, name)) for name in _GROUPS}
        return {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The inverse of :meth:`to_dict`; unknown or ill-typed fields are a ValueError."""
        unknown = values.keys() - _GROUPS.keys() - {"profile"}
        if unknown:
            raise ValueError(f"there is no group of settings {', '.join(unknown)}; known are {', '.join(_GROUPS)}")
        groups = {name: make_settings(name, values.get(name, {})) for name in _GROUPS}
        return cls(profile=str(values.get("profile", "paper")), **groups)


_GROUPS = {"model": ModelConfig, "loss": LossConfig, "data": DataConfig, "train": TrainConfig, "ranking": RankingConfig}
# Settings of earlier versions, each with the only value that still means something.
_REMOVED = {("model", "feature"): "pooled"}


def make_settings(group: str, values: Mapping[str, Any]) -> Any:
    """A group's dataclass from settings by name, as ``run.json`` holds them. ValueError for unknown ones, wrong values."""
    values, kind = dict(_by_name(group, values)), _GROUPS[group]
    for (removed_group, name), kept in _REMOVED.items():
        if removed_group == group and values.pop(name, kept) != kept:
            raise ValueError(f"{group}.{name}: this setting went away, only {kept!r} can still be read; train again")
    for name in values:
        if name not in kind.__dataclass_fields__:
            raise ValueError(f"there is no setting {group}.{name}{_closest(name, kind.__dataclass_fields__)}")
    return kind(**values)


def _by_name(group: str, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, (Mapping, _GROUPS[group])):
        raise ValueError(f"{group}: expected settings by name or a {_GROUPS[group].__name__}, got {values!r}")
    return values if isinstance(values, Mapping) else vars(values)


def _group_of(name: str) -> str:
    owners = [group for group, kind in _GROUPS.items() if name in kind.__dataclass_fields__]
    if len(owners) > 1:
        raise ValueError(f"{name!r} stands in the groups {' and '.join(owners)}: write {owners[0]}={{{name!r}: ...}}")
    if not owners:
        known = {setting for kind in _GROUPS.values() for setting in kind.__dataclass_fields__}
        raise ValueError(f"there is no setting {name!r}{_closest(name, known)}")
    return owners[0]


def _closest(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"


# For training from random weights, chosen on people that neither training nor test knows (casnkit ablate, notebook 05);
# the weight of attention in the sum is the paper's 0.5 again in ``paper_literal``.
_FROM_SCRATCH = {
    "model": {"backbone": "small", "last_stride": 1, "id_hidden": 128, "pair_hidden": 128},
    "weight_decay": 0.01,
    "loss": {"threshold": 0.2},
    "ranking": {"threshold": 0.2, "attention_weight": 0.1},
}
# At its weight of 0.05 the pair classifier's loss hardly moves it in so few epochs: p(same) stays the same for all pairs.
# A twentyfold rate lets it learn as if its weight were 1, and the trunk's share stays the paper's (notebook 04).
_PAIR = {"pair_rate": 20.0, "pair_weight_decay": 5e-4}
# What each profile changes: always, where the pooling is stripes (PCB's shape, 3 : 1), and with Siamese attention.
_PROFILES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "smoke": (
        {"data": {"height": 64, "width": 32, "padding": 2, "positive_share": 0.25}, "epochs": 12, **_FROM_SCRATCH},
        {"height": 96, "width": 32},
        _PAIR,
    ),
    "quick": (
        {"data": {"height": 128, "width": 64, "padding": 4, "positive_share": 0.25}, "epochs": 7, **_FROM_SCRATCH},
        {"height": 144, "width": 48},
        _PAIR,
    ),
    "paper": ({"weights": "imagenet"}, {"height": 384, "width": 128}, {}),
}
PROFILES = tuple(_PROFILES)


def profile(name: str = "quick", **changes: Any) -> Config:
    """A named set of choices: ``smoke`` (seconds), ``quick`` (minutes on two cores), ``paper`` (section 4.1, a GPU).

    ``changes`` are passed to :meth:`Config.replace`. With ``pooling="stripes"`` the image size becomes PCB's shape
    (3 : 1) unless it is given.
    """
    if name not in _PROFILES:
        raise ValueError(f"expected a profile out of {', '.join(PROFILES)}, got {name!r}")
    always, stripes, siamese = _PROFILES[name]
    config = Config(profile=name).replace(**always)
    wanted = config.replace(**changes)
    config = config.replace(**(stripes if wanted.model.pooling == "stripes" else {}))
    config = config.replace(**(siamese if wanted.loss.siamese_attention else {}))
    return config.replace(**changes)


def paper_literal(config: Config) -> Config:
    """The same run with every open point at its most literal reading: the label's logit as L_ia, attention from the
    first step, statistics updated by the masked pass, one learning rate, both distances with the same weight."""
    literal = {"ia_score": "logit", "masked_batchnorm": "update", "ia_start": 0.0, "sa_start": 0.0}
    return config.replace(
        loss=literal, ranking={"attention_weight": 0.5}, train={"pair_rate": 1.0, "pair_weight_decay": None}
    )


def assignments(given: Iterable[str]) -> dict[str, Any]:
    """``NAME=VALUE`` or ``GROUP.NAME=VALUE``, as a command line has them, as changes for :meth:`Config.replace`.

    ``none`` is None where the setting may be None, and a choice elsewhere, such as no activation.
    """
    changes: dict[str, Any] = {}
    hints = {name: hint for kind in _GROUPS.values() for name, hint in get_type_hints(kind).items()}
    for assignment in given:
        name, equals, text = map(str.strip, assignment.partition("="))
        if not equals:
            raise ValueError(f"--set expects NAME=VALUE, got {assignment!r}")
        group, dot, setting = name.rpartition(".")
        value = {"true": True, "false": False, "none": None}.get(text.lower(), text)
        if value is None and type(None) not in get_args(hints.get(setting)):
            value = "none"
        elif value is text:
            with contextlib.suppress(ValueError, SyntaxError):
                value = ast.literal_eval(text)
        (changes.setdefault(group, {}) if dot else changes)[setting] = value
    return changes
