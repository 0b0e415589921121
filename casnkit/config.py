"""Every choice of a run, in frozen dataclasses: the paper's value and where it stands, or why we chose what it leaves open.

"Paper" is Zheng, Karanam, Wu, Radke: Re-Identification with Consistent Attentive Siamese Networks, CVPR 2019. A field
marked *open* is one that the paper does not settle; each run records its choice. What a field may hold stands beside its
default. ``profile("quick", epochs=5, loss={"ia_score": "logit"})`` makes a configuration.
"""

import ast
import contextlib
import dataclasses
import difflib
import math
import operator
import types
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, get_args, get_origin, get_type_hints

from torch import nn

from casnkit import attention

# What each variant trains, as fields of LossConfig; with pooling="stripes" these are the paper's PCB rows. ``bce`` is the
# pair classifier without equation 5's spatial term, the paper's figure 7a.
_CONSISTENCY = 0.2  # equation 5, paper 4: alpha
VARIANTS: dict[str, dict[str, Any]] = {
    "ide": {"identification_attention": False, "siamese_attention": False, "consistency_weight": _CONSISTENCY},
    "bce": {"identification_attention": False, "siamese_attention": True, "consistency_weight": 0.0},
    "ide+ia": {"identification_attention": True, "siamese_attention": False, "consistency_weight": _CONSISTENCY},
    "ide+sa": {"identification_attention": False, "siamese_attention": True, "consistency_weight": _CONSISTENCY},
    "casn": {"identification_attention": True, "siamese_attention": True, "consistency_weight": _CONSISTENCY},
}
ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


def check_choice(name: str, value: Any, choices: Collection) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in tuple(choices) or isinstance(value, bool):
        raise ValueError(f"{name}: expected one of {', '.join(map(str, choices))}, got {value!r}")


def check_count(name: str, value: Any, least: int = 1) -> int:
    """A whole number, NumPy's too, of at least ``least`` as an int; ValueError for anything else, True and 2.0 too."""
    with contextlib.suppress(TypeError):
        if not isinstance(value, bool) and operator.index(value) >= least:
            return operator.index(value)
    raise ValueError(f"expected {name} as a whole number of at least {least}, got {value!r}")


def one_of(default: Any, choices: Collection) -> Any:
    """A field with one of ``choices``, which are looked at when a value is checked."""
    return field(default=default, metadata={"choices": choices})


def within(default: Any, low: float, high: float = math.inf) -> Any:
    """A field with a number, or several, between two bounds."""
    return field(default=default, metadata={"bounds": (low, high)})


class Settings:
    """A group of settings, checked when it is made: ValueError ``group.field: expected ..., got ...`` for a wrong one."""

    def __post_init__(self) -> None:
        group, hints = type(self).__name__.removesuffix("Config").lower(), get_type_hints(type(self))
        for setting in dataclasses.fields(self):
            name, value, facts = f"{group}.{setting.name}", getattr(self, setting.name), setting.metadata
            if "choices" in facts:
                check_choice(name, value, facts["choices"])
            value = _typed(name, value, hints[setting.name])
            low, high = facts.get("bounds", (-math.inf, math.inf))
            numbers = value if isinstance(value, tuple) else (value,)
            if "bounds" in facts and not all(number is None or low <= number <= high for number in numbers):
                bounds = f"{low} to {high}" if high < math.inf else f"at least {low}"
                raise ValueError(f"{name}: expected {bounds}, got {value!r}")
            object.__setattr__(self, setting.name, value)


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a name", tuple: "a list of numbers"}


def _typed(name: str, value: Any, hint: Any) -> Any:
    if isinstance(hint, types.UnionType):  # "or None"
        return None if value is None else _typed(name, value, get_args(hint)[0])
    kind = get_origin(hint) or hint
    fits = isinstance(value, {float: Real, int: Real, tuple: (list, tuple)}.get(kind, kind))
    if kind in (int, float):
        most = 2**63 if kind is int else 1e308
        fits = fits and not isinstance(value, bool) and abs(value) < most and kind(value) == value
    if not fits:
        raise ValueError(f"{name}: expected {_KINDS[kind]}, got {value!r}")
    return tuple(_typed(name, item, float) for item in value) if kind is tuple else kind(value)


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The network: trunk, pooling, and two classifiers of two fully connected layers each (paper 3.1, 3.2)."""

    backbone: str = "resnet50"  # paper 3.1.1; a name in models.TRUNKS ("small" is for CPUs)
    pooling: str = one_of("gap", ("gap", "stripes"))  # gap = IDE baseline, stripes = PCB baseline (paper 3.1.1)
    last_stride: int | None = one_of(None, (None, 1, 2))  # None: 2 for gap (9x5 map), 1 for stripes (24x8 map)
    stripes: int = within(6, 1)  # PCB (Sun et al. 2018)
    shared_reduction: bool = False  # open: one first layer for all stripes; independent ones did better in public PCBs
    id_hidden: int | None = within(None, 1)  # open: width of the first layer; None: 512 for gap, 256 per stripe
    id_activation: str = one_of("relu", ACTIVATIONS)  # open: none is the most used public head, relu better on people
    id_norm: bool = True  # open: BatchNorm between the ID classifier's layers
    id_dropout: float = within(0.0, 0, 1)  # open: public heads use 0.5 from ImageNet; from scratch it slows training
    pair_hidden: int = within(512, 1)  # open: width of the pair classifier's first layer
    pair_activation: str = one_of("relu", ACTIVATIONS)  # open; with none, maps no longer depend on the partner
    pair_norm: bool = False  # open: BatchNorm as in the ID classifier ("structurally similar", paper 3.2.1)
    pair_dropout: float = within(0.0, 0, 1)  # open
    weights: str | None = None  # None: random; "imagenet": torchvision's cached file (paper 3.1.1); or a file's path


@dataclass(frozen=True)
class LossConfig(Settings):
    """Equations 1 to 6: which terms, their weights, and how attention is turned into a loss."""

    identification_attention: bool = True  # IA: equation 2
    siamese_attention: bool = True  # SA: equations 3 to 5
    ia_weight: float = within(0.5, 0)  # equation 6, paper 4: lambda_1
    sa_weight: float = within(0.05, 0)  # equation 6, paper 4: lambda_2
    consistency_weight: float = within(_CONSISTENCY, 0)  # equation 5, paper 4: alpha; 0: no spatial term
    ia_score: str = one_of("probability", ("logit", "probability", "sigmoid", "log"))  # open: losses.attention_loss
    ia_stripes: str = one_of("mean", ("mean", "sum"))  # open: of mean logits, or summed over stripes as L_ide is
    mask_slope: float = within(10.0, 0)  # open: a of the soft mask; public relatives use 8 to 100
    mask_centre: float = 0.5  # open: b of the soft mask; public relatives use 0.25 to 0.7
    mask_fill: str = one_of("mean", ("mean", "black", "blur"))  # open: what replaces masked pixels; mean: zero
    masked_batchnorm: str = one_of("batch", ("update", "batch", "running"))  # open: see losses.masked_pass
    ia_gradient: str = one_of("network", ("network", "mask"))  # open: mask: the network frozen in the masked pass
    weight_gradient: str = one_of("first", ("first", "second"))  # open: second: channel weights differentiated too
    siamese_mode: str = one_of("paper", attention.MODES)  # open: how equation 4 weighs, see attention.MODES
    pair_order: str = one_of("given", ("given", "both"))  # open: maps of (1, 2) as given, or both orders averaged
    threshold: float = within(0.5, 0, 0.999)  # open: t of equation 5
    profile_scale: str = one_of("max", attention.SCALES)  # open: what t and the distance refer to, see align_rows
    consistency_margin: float | None = within(None, 0)  # open: least distance of negative pairs; None: they are free
    map_statistics: str = one_of("running", ("running", "batch"))  # open: of BatchNorm in dy_c/df
    reduction: str = one_of("mean", ("mean", "sum"))  # open: equations 1 and 3 sum over the batch; mean suits any size
    ia_start: float = within(0.0, 0, 1)  # open: share of the epochs before IA; the paper starts at once, from ImageNet
    sa_start: float = within(0.0, 0, 1)  # open: the same for the consistency term of SA


@dataclass(frozen=True)
class DataConfig(Settings):
    """Images, their augmentation, and how pairs are drawn."""

    height: int = within(288, 1)  # paper 4 (384 for PCB)
    width: int = within(144, 1)  # paper 4 (128 for PCB)
    flip: float = within(0.5, 0, 1)  # probability of a horizontal flip; the paper names no augmentation
    padding: int = within(0, 0)  # pixels of padding before a random crop back to size
    erase: float = within(0.0, 0, 1)  # probability of erasing a rectangle
    batch_size: int = within(16, 1)  # paper 4: 16; read here as 16 pairs (open: images or pairs)
    positive_share: float = within(0.5, 0, 1)  # open: share of same-identity pairs in a batch
    across_cameras: bool = True  # open: positives from two cameras where the person was seen by two
    anchor_share: float = within(1.0, 0, 1)  # open: of images first in a pair each epoch; 0.5 shows N images


@dataclass(frozen=True)
class TrainConfig(Settings):
    """The schedule."""

    epochs: int = within(40, 1)  # paper 4; in each, every training image is once the first of a pair: anchor_share
    learning_rate: float = within(0.03, 0)  # paper 4
    trunk_rate: float = within(1.0, 0, 1)  # open: the trunk's share of the learning rate; PCB uses 0.1, from ImageNet
    milestones: tuple[float, ...] = within((0.75,), 0)  # paper 4: after epoch 30 of 40; shares of epochs
    decay: float = within(0.1, 0, 1)  # paper 4
    warmup: float = within(0.0, 0, 1)  # share of the epochs with a linearly rising rate; the paper has none
    momentum: float = within(0.9, 0, 1)  # paper 4
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
class RankingConfig(Settings):
    """The test: distances and their fusion (paper 4)."""

    normalise_features: bool = True  # open: l2 between features of unit length, or as they are
    siamese_mode: str = one_of("paper", attention.MODES)  # open: as in LossConfig
    pair_order: str = one_of("given", ("given", "both"))  # open: z(q, g) differs from z(g, q); both: averaged maps
    threshold: float = within(0.5, 0, 0.999)  # open: t
    profile_scale: str = one_of("max", attention.SCALES)  # open: as in LossConfig
    normalisation: str = one_of("minmax", ("minmax", "zscore", "none"))  # open: how the distances become comparable
    normalise_per: str = one_of("query", ("query", "matrix"))  # open: query (a row) or matrix
    attention_weight: float = within(0.5, 0, 1)  # paper 4 sums the two; 0.5 is that sum up to scale
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
        """What is trained: a name in :data:`VARIANTS`, or ``bce+ia`` where a casn has no spatial term."""
        siamese = "ide+sa" if self.loss.consistency_weight else "bce"
        name = siamese if self.loss.siamese_attention else "ide"
        name += "+ia" * self.loss.identification_attention
        return "casn" if name == "ide+sa+ia" else name

    def replace(self, **changes: Any) -> "Config":
        """A copy with other fields: groups by mapping, fields by their name, ``replace(epochs=3, loss={"threshold": 0.3})``.

        Raises ValueError for an unknown name (the closest is suggested), one of two groups, and a wrong value.
        """
        values = self.to_dict()
        for name, value in changes.items():
            owners = [group for group in GROUPS if name in values[group]]
            if name == "variant":
                check_choice(name, value, VARIANTS)
                terms = dict(VARIANTS[value])
                if terms["consistency_weight"] and values["loss"]["consistency_weight"]:
                    del terms["consistency_weight"]  # a weight of one's own stays
                values["loss"] |= terms
            elif name in GROUPS:
                values[name] = values[name] | value if isinstance(value, Mapping) else value
            elif len(owners) == 1:
                values[owners[0]][name] = value
            elif owners:
                groups, example = " and ".join(owners), f"{owners[0]}={{{name!r}: ...}}"
                raise ValueError(f"{name!r} stands in the groups {groups}: write {example}")
            else:
                raise _unknown(repr(name), name, [setting for group in GROUPS for setting in values[group]])
        return Config.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """The inverse of :meth:`to_dict`; unknown or ill-typed fields are a ValueError."""
        for group in values.keys() - {"profile"}:
            check_choice("group of settings", group, GROUPS)
        groups = {name: make_settings(name, values.get(name, {})) for name in GROUPS}
        check_choice("profile", values.get("profile", "paper"), PROFILES)
        return cls(profile=values.get("profile", "paper"), **groups)


GROUPS = {"model": ModelConfig, "loss": LossConfig, "data": DataConfig, "train": TrainConfig, "ranking": RankingConfig}


def make_settings(group: str, values: Mapping[str, Any]) -> Any:
    """A group's dataclass from settings by name, as ``run.json`` holds them. ValueError for unknown ones, wrong values."""
    known = GROUPS[group].__dataclass_fields__
    if not isinstance(values, Mapping):
        raise ValueError(f"{group}: expected settings by name, got {values!r}")
    values = dict(values)
    if group == "model" and values.pop("feature", "pooled") != "pooled":
        raise ValueError("model.feature: this setting went away, only 'pooled' can still be read; train again")
    for name in values.keys() - known:
        raise _unknown(f"{group}.{name}", name, known)
    return GROUPS[group](**values)


def _unknown(title: str, name: str, known: Collection[str]) -> ValueError:
    close = difflib.get_close_matches(name, known, 1)
    advice = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"
    return ValueError(f"there is no setting {title}; {advice}")


# For training from random weights, chosen on people that neither training nor test knows (casnkit ablate, notebook 06);
# the weight of attention in the sum is the paper's 0.5 again in ``paper_literal``.
_FROM_SCRATCH = {"weight_decay": 0.01, "loss": {"threshold": 0.2}}
_FROM_SCRATCH["model"] = {"backbone": "small", "last_stride": 1, "id_hidden": 128, "pair_hidden": 128}
_FROM_SCRATCH["ranking"] = {"threshold": 0.2, "attention_weight": 0.1}
# At its weight of 0.05 the pair classifier's loss hardly moves it in so few epochs: p(same) stays the same for all pairs.
# A twentyfold rate lets it learn as if its weight were 1, and the trunk's share stays the paper's (notebook 04).
_PAIR = {"pair_rate": 20.0, "pair_weight_decay": 5e-4}
_PROFILES = {
    "smoke": _FROM_SCRATCH | {"height": 64, "width": 32, "padding": 2, "positive_share": 0.25, "epochs": 12},
    "quick": _FROM_SCRATCH | {"height": 128, "width": 64, "padding": 4, "positive_share": 0.25, "epochs": 7},
    "paper": {"weights": "imagenet"},
}
_STRIPES = {"smoke": (96, 32), "quick": (144, 48), "paper": (384, 128)}  # height, width for stripes: PCB's shape, 3 : 1
PROFILES = tuple(_PROFILES)


def profile(name: str = "quick", **changes: Any) -> Config:
    """A named set of choices: ``smoke`` (seconds), ``quick`` (minutes on two cores), ``paper`` (section 4, a GPU).

    ``changes`` as in :meth:`Config.replace`. With ``pooling="stripes"`` images get PCB's shape unless a size is given.
    """
    check_choice("profile", name, PROFILES)
    wanted, own = Config().replace(**changes), dict(_PROFILES[name])
    if wanted.model.pooling == "stripes":
        own |= zip(("height", "width"), _STRIPES[name], strict=True)
    if wanted.loss.siamese_attention and name != "paper":
        own |= _PAIR
    return Config(profile=name).replace(**own).replace(**changes)


def paper_literal(config: Config) -> Config:
    """The same run with every open point at its most literal reading, the pair classifier built like the ID classifier.

    A logit has no lower bound and a sum multiplies the rate by the size of a batch: expect such a run to diverge from
    random weights.
    """
    loss = {"ia_score": "logit", "ia_stripes": "sum", "masked_batchnorm": "update", "map_statistics": "batch"}
    loss |= {"reduction": "sum", "ia_start": 0.0, "sa_start": 0.0, "profile_scale": "absolute"}
    train = {"pair_rate": 1.0, "pair_weight_decay": None, "trunk_rate": 1.0, "warmup": 0.0, "clip_norm": None}
    data = {"flip": 0.0, "padding": 0, "erase": 0.0, "anchor_share": 0.5}
    ranking = {"attention_weight": 0.5, "profile_scale": "absolute"}
    model = {"pair_norm": config.model.id_norm, "pair_activation": config.model.id_activation}
    return config.replace(loss=loss, train=train, data=data, ranking=ranking, model=model)


def pcb_recipe(config: Config) -> Config:
    """PCB's own protocol (Sun et al. 2018), which the paper says it follows for the PCB baseline: 60 epochs from 0.1, a
    tenth of that for the trunk, divided by ten after 40; dropout of one half."""
    train = {"epochs": 60, "learning_rate": 0.1, "trunk_rate": 0.1, "milestones": (2 / 3,)}
    return config.replace(model={"pooling": "stripes", "id_dropout": 0.5}, train=train, height=384, width=128)


def assignments(given: Iterable[str]) -> dict[str, Any]:
    """``NAME=VALUE`` or ``GROUP.NAME=VALUE`` of a command line, as changes for :meth:`Config.replace`."""
    changes: dict[str, Any] = {}
    hints = {name: hint for kind in GROUPS.values() for name, hint in get_type_hints(kind).items()}
    for assignment in given:
        name, equals, value = map(str.strip, assignment.partition("="))
        if not equals:
            raise ValueError(f"--set expects NAME=VALUE, got {assignment!r}")
        group, dot, setting = name.rpartition(".")
        if value.lower() in ("true", "false"):
            value = value.lower() == "true"
        elif value.lower() == "none":
            value = None if type(None) in get_args(hints.get(setting)) else "none"  # or a choice: no activation
        else:
            with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                value = ast.literal_eval(value)
        (changes.setdefault(group, {}) if dot else changes)[setting] = value
    return changes
