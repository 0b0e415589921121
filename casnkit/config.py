"""Every choice of a run, in frozen dataclasses: the paper's value and where it stands, or why we chose what it leaves open.

"Paper" is Zheng, Karanam, Wu, Radke: Re-Identification with Consistent Attentive Siamese Networks, CVPR 2019. A field
marked *open* is one that the paper does not settle; its variants are named on the line, and each run records its choice.

    config = profile("quick", epochs=5, loss={"ia_score": "logit"})
    config == Config.from_dict(config.to_dict())
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from ._checks import check_fields

VARIANTS = ("ide", "ide+ia", "ide+sa", "casn")  # with pooling="stripes" these are the paper's PCB rows
PROFILES = ("smoke", "quick", "paper")


@dataclass(frozen=True)
class ModelConfig:
    """The network: trunk, pooling, and two classifiers of two fully connected layers each (paper 3.1, 3.2)."""

    backbone: str = "resnet50"  # paper 4.1; also resnet18, densenet121, vgg16, squeezenet1_1, and small for CPUs
    pooling: str = "gap"  # gap = IDE baseline, stripes = PCB baseline (paper 3.3)
    last_stride: int | None = None  # stride of the last stage; None: 2 for gap (9x5 map), 1 for stripes (24x8 map)
    stripes: int = 6  # PCB (Sun et al. 2018)
    feature: str = "pooled"  # open: what f is: pooled vectors, or "reduced" = after the ID classifier's first layer
    shared_reduction: bool = False  # open: one first layer for all stripes; independent ones did better in public PCBs
    id_hidden: int | None = None  # open: width of the ID classifier's first layer; None: 512 for gap, 256 per stripe
    id_activation: str = "relu"  # open: none (the most used public head), relu (better on people), leaky_relu
    id_norm: bool = True  # open: BatchNorm between the ID classifier's layers
    id_dropout: float = 0.0  # open: public heads use 0.5 from ImageNet weights; from scratch it only slows training
    pair_hidden: int = 512  # open: width of the pair classifier's first layer
    pair_activation: str = "relu"  # open; with none, the Siamese attention no longer depends on the partner
    pair_dropout: float = 0.0  # open
    weights: str | None = None  # None: random; "imagenet": torchvision's cached file (paper 4.1); or a file's path

    def __post_init__(self) -> None:
        check_fields("model", self)


@dataclass(frozen=True)
class LossConfig:
    """Equations 1 to 6: which terms, their weights, and how attention is turned into a loss."""

    identification_attention: bool = True  # IA: equation 2
    siamese_attention: bool = True  # SA: equations 3 to 5
    ia_weight: float = 0.5  # equation 6, paper 4.1: lambda_1
    sa_weight: float = 0.05  # equation 6, paper 4.1: lambda_2
    consistency_weight: float = 0.2  # equation 5, paper 4.1: alpha
    ia_score: str = "probability"  # open: logit (literal, unbounded below), probability (softmax), sigmoid
    mask_slope: float = 10.0  # open: a of the soft mask; public relatives use 8 to 100
    mask_centre: float = 0.5  # open: b of the soft mask; public relatives use 0.25 to 0.7
    mask_fill: str = "mean"  # open: what replaces masked pixels: mean (zero after normalisation), black, blur
    masked_batchnorm: str = "batch"  # open: update, batch (statistics of the masked batch, not kept), running
    ia_gradient: str = "network"  # open: network, or mask (the network frozen in the masked pass)
    weight_gradient: str = "first"  # open: channel weights as constants (first) or differentiated too (second)
    siamese_mode: str = "paper"  # open: paper, signed, gradcam, v1 (see attention.siamese_weights)
    pair_order: str = "given"  # open: maps of (1, 2) as given, or "both" orders averaged
    threshold: float = 0.5  # open: t, as a fraction of the map's own maximum
    ia_start: float = (
        0.0  # open: share of the epochs before IA sets in; the paper starts at once, from ImageNet weights
    )
    sa_start: float = 0.0  # open: the same for the consistency term of SA

    def __post_init__(self) -> None:
        check_fields("loss", self)


@dataclass(frozen=True)
class DataConfig:
    """Images, their augmentation, and how pairs are drawn."""

    height: int = 288  # paper 4.1 (384 for PCB)
    width: int = 144  # paper 4.1 (128 for PCB)
    flip: float = 0.5  # probability of a horizontal flip; the paper names no augmentation
    padding: int = 0  # pixels of padding before a random crop back to size
    erase: float = 0.0  # probability of erasing a rectangle
    batch_size: int = 16  # paper 4.1: 16; read here as 16 pairs (open: images or pairs)
    positive_share: float = 0.5  # open: share of same-identity pairs in a batch
    across_cameras: bool = True  # open: positives from two cameras where the person was seen by two

    def __post_init__(self) -> None:
        check_fields("data", self)


@dataclass(frozen=True)
class TrainConfig:
    """The schedule."""

    epochs: int = 40  # paper 4.1; one epoch = every training image is once the first of a pair
    learning_rate: float = 0.03  # paper 4.1
    trunk_rate: float = 1.0  # open: the trunk's share of the learning rate; PCB uses 0.1 from ImageNet weights
    milestones: tuple[float, ...] = (0.75,)  # paper 4.1: divided by 10 after epoch 30 of 40; as shares of the epochs
    decay: float = 0.1  # paper 4.1
    warmup: float = 0.0  # share of the epochs with a linearly rising rate; the paper has none
    momentum: float = 0.9  # paper 4.1
    weight_decay: float = 5e-4  # open: the paper names none; PCB uses 5e-4
    pair_rate: float = 1.0  # open: the pair classifier's share of the learning rate; its loss has a weight of 0.05
    pair_weight_decay: float | None = None  # open: of the pair classifier; None: as all
    clip_norm: float | None = None  # open: gradient norm at which to clip; None: never
    accumulate: int = 1  # parts into which a batch is cut where it does not fit; BatchNorm sees the parts
    precision: str = "float32"  # of the trunk: float32, or bf16 (classifiers, maps and losses stay in float32)
    compile: bool = False  # torch.compile the trunk: pays on a GPU after some minutes
    sync_batchnorm: bool = False  # BatchNorm over all processes' images; GPUs only
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields("train", self)


@dataclass(frozen=True)
class RankingConfig:
    """The test: distances and their fusion (paper 3.2.3)."""

    normalise_features: bool = True  # open: l2 between features of unit length, or as they are
    siamese_mode: str = "paper"  # open: as in LossConfig
    pair_order: str = "given"  # open: z(q, g) differs from z(g, q); "both" averages the maps
    threshold: float = 0.5  # open: t
    normalisation: str = "minmax"  # open: how the two distances are made comparable: minmax, zscore
    normalise_per: str = "query"  # open: query (a row) or matrix
    attention_weight: float = 0.5  # paper 3.2.3 sums the two; 0.5 is that sum up to scale
    max_rank: int = 50

    def __post_init__(self) -> None:
        check_fields("ranking", self)


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

        ``config.replace(epochs=3, loss={"threshold": 0.3}, variant="ide+ia")``

        Raises:
            ValueError: an unknown name (the closest is suggested), or one that stands in two groups.
        """
        groups: dict[str, dict[str, Any]] = {name: {} for name in _GROUPS}
        top: dict[str, Any] = {}
        for name, value in changes.items():
            if name == "variant":
                groups["loss"].update(_variant_switches(value))
            elif name == "profile":
                top[name] = value
            elif name in _GROUPS:
                groups[name].update(_settings(name, value))
            else:
                groups[_group_of(name)][name] = value
        for name, values in groups.items():
            if values:
                top[name] = _build(_GROUPS[name], {**dataclasses.asdict(getattr(self, name)), **values}, name)
        return dataclasses.replace(self, **top)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON."""
        values = dataclasses.asdict(self)
        values["train"]["milestones"] = list(values["train"]["milestones"])
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The inverse of :meth:`to_dict`; unknown or ill-typed fields are a ValueError."""
        values = dict(values)
        groups = {name: _build(kind, values.pop(name, {}), name) for name, kind in _GROUPS.items()}
        name = str(values.pop("profile", "paper"))
        if values:
            raise ValueError(
                f"there is no group of settings {', '.join(map(repr, values))}; known are {', '.join(_GROUPS)}"
            )
        return cls(profile=name, **groups)


_GROUPS: dict[str, type] = {
    "model": ModelConfig,
    "loss": LossConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "ranking": RankingConfig,
}


def _variant_switches(variant: str) -> dict[str, bool]:
    if variant not in VARIANTS:
        raise ValueError(f"expected a variant out of {', '.join(VARIANTS)}, got {variant!r}")
    number = VARIANTS.index(variant)
    return {"identification_attention": bool(number & 1), "siamese_attention": bool(number & 2)}


def _settings(group: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, _GROUPS[group]):
        return dataclasses.asdict(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"{group}: expected settings by name or a {_GROUPS[group].__name__}, got {value!r}")
    return value


def _group_of(name: str) -> str:
    owners = [group for group, kind in _GROUPS.items() if name in kind.__dataclass_fields__]
    if len(owners) == 1:
        return owners[0]
    if owners:
        raise ValueError(f"{name!r} stands in the groups {' and '.join(owners)}: write {owners[0]}={{{name!r}: ...}}")
    known = sorted({f for kind in _GROUPS.values() for f in kind.__dataclass_fields__})
    close = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
    raise ValueError(f"there is no setting {name!r}{hint}")


def _build(kind: type, values: Any, group: str) -> Any:
    fields = kind.__dataclass_fields__
    if not isinstance(values, Mapping):
        raise ValueError(f"{group}: expected settings by name, got {values!r}")
    for name in values:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, 1)
            raise ValueError(f"there is no setting {group}.{name}" + (f"; did you mean {close[0]!r}?" if close else ""))
    return kind(**values)


def profile(name: str = "quick", **changes: Any) -> Config:
    """A named set of choices: ``smoke`` (seconds), ``quick`` (minutes on two cores), ``paper`` (section 4.1, a GPU).

    ``changes`` are passed to :meth:`Config.replace`. With ``pooling="stripes"`` the image size becomes PCB's shape
    (3 : 1) unless it is given.
    """
    if name not in PROFILES:
        raise ValueError(f"expected a profile out of {', '.join(PROFILES)}, got {name!r}")
    config = Config(profile=name).replace(**_PROFILE_CHANGES[name])
    if config.replace(**changes).model.pooling == "stripes":
        config = config.replace(**_STRIPES_SIZE[name])
    if config.replace(**changes).loss.siamese_attention:
        config = config.replace(**_PAIR_CHANGES.get(name, {}))
    return config.replace(**changes)


def paper_literal(config: Config) -> Config:
    """The same run with every open point at its most literal reading: the label's logit as L_ia, attention from the
    first step, statistics updated by the masked pass, one learning rate, both distances with the same weight."""
    literal = {"ia_score": "logit", "masked_batchnorm": "update", "ia_start": 0.0, "sa_start": 0.0}
    return config.replace(
        loss=literal, ranking={"attention_weight": 0.5}, train={"pair_rate": 1.0, "pair_weight_decay": None}
    )


_SMALL = {"backbone": "small", "last_stride": 1, "id_hidden": 128, "pair_hidden": 128}
# For training from random weights, chosen on people that neither training nor test knows (casnkit ablate, notebook 05);
# the weight of attention in the sum is the paper's 0.5 again in ``paper_literal``.
_FROM_SCRATCH: dict[str, Any] = {
    "weight_decay": 0.01,
    "loss": {"threshold": 0.2},
    "ranking": {"threshold": 0.2, "attention_weight": 0.1},
}
_PROFILE_CHANGES: dict[str, dict[str, Any]] = {
    "smoke": {
        "model": _SMALL,
        "data": {"height": 64, "width": 32, "padding": 2, "positive_share": 0.25},
        "epochs": 12,
        **_FROM_SCRATCH,
    },
    "quick": {
        "model": _SMALL,
        "data": {"height": 128, "width": 64, "padding": 4, "positive_share": 0.25},
        "epochs": 7,
        **_FROM_SCRATCH,
    },
    "paper": {"weights": "imagenet"},
}
# At its weight of 0.05 the pair classifier's loss hardly moves it in so few epochs: p(same) stays the same for all pairs.
# A twentyfold rate lets it learn as if its weight were 1, and the trunk's share stays the paper's (notebook 04).
_PAIR: dict[str, Any] = {"pair_rate": 20.0, "pair_weight_decay": 5e-4}
_PAIR_CHANGES = {"smoke": _PAIR, "quick": _PAIR}
_STRIPES_SIZE = {
    "smoke": {"height": 96, "width": 32},
    "quick": {"height": 144, "width": 48},
    "paper": {"height": 384, "width": 128},
}


def assignments(given: Iterable[str]) -> dict[str, Any]:
    """``NAME=VALUE`` or ``GROUP.NAME=VALUE``, as a command line has them, as changes for :meth:`Config.replace`.

    ``none`` is None where the setting may be None, and a choice elsewhere, such as no activation.

    Raises:
        ValueError: an assignment without ``=``.
    """
    changes: dict[str, Any] = {}
    for assignment in given:
        name, equals, text = map(str.strip, assignment.partition("="))
        if not equals:
            raise ValueError(f"--set expects NAME=VALUE, got {assignment!r}")
        group, dot, field = name.rpartition(".")
        (changes.setdefault(group, {}) if dot else changes)[field] = _value(field, text)
    return changes


def _value(field: str, text: str) -> Any:
    hints = {name: hint for kind in _GROUPS.values() for name, hint in get_type_hints(kind).items()}
    words = {"true": True, "false": False, "none": None if type(None) in get_args(hints.get(field)) else "none"}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
