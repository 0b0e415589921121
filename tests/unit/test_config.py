"""Configuration: what goes in comes out, and nothing misspelt or ill-typed gets in."""

import dataclasses
import json

import pytest

from casnkit.config import (
    PROFILES,
    VARIANTS,
    Config,
    LossConfig,
    ModelConfig,
    assignments,
    paper_literal,
    pcb_recipe,
    profile,
)


def test_pcbs_recipe():
    striped = pcb_recipe(profile("paper"))
    assert (striped.model.pooling, striped.data.height, striped.data.width) == ("stripes", 384, 128)
    assert [share * striped.train.epochs for share in striped.train.milestones] == [40]


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("pooling", ["gap", "stripes"])
def test_a_round_trip_through_json(name, pooling):
    config = profile(name, pooling=pooling, milestones=(0.5, 0.8), clip_norm=1.5, id_hidden=None)
    values = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    again = Config.from_dict(values)
    assert again == config
    assert again.train.milestones == (0.5, 0.8)
    assert hash(again) == hash(config)
    values["model"]["feature"] = "pooled"  # a setting of an earlier version, at its default
    assert Config.from_dict(values) == config


def test_the_papers_values():
    # Paper 4, copied from the paper rather than from the code.
    config = profile("paper")
    assert (config.model.backbone, config.model.weights) == ("resnet50", "imagenet")
    assert (config.data.height, config.data.width, config.data.batch_size) == (288, 144, 16)
    assert (config.loss.consistency_weight, config.loss.ia_weight, config.loss.sa_weight) == (0.2, 0.5, 0.05)
    train = config.train
    assert (train.epochs, train.learning_rate, train.momentum, train.decay) == (40, 0.03, 0.9, 0.1)
    assert [share * train.epochs for share in train.milestones] == [30]
    striped = profile("paper", pooling="stripes")
    assert (striped.data.height, striped.data.width, striped.model.stripes) == (384, 128, 6)


@pytest.mark.parametrize("changes", [{"pooling": "stripes"}, {"model": {"pooling": "stripes"}}])
def test_the_image_size_follows_the_pooling_unless_it_is_given(changes):
    for given, size in (({}, (144, 48)), ({"height": 192, "width": 64}, (192, 64))):
        config = profile("quick", **changes, **given)
        assert (config.data.height, config.data.width) == size
    assert config.model == dataclasses.replace(profile("quick").model, pooling="stripes")


@pytest.mark.parametrize(("variant", "terms"), VARIANTS.items())
def test_a_variant_is_a_name_for_three_fields(variant, terms):
    config = profile("quick", variant=variant)
    assert config == profile("quick", loss=terms)
    assert config.variant == variant
    sa = terms["siamese_attention"]
    assert config.train.pair_rate == (20 if sa else 1), "only the pair classifier needs another rate"
    assert profile("quick", variant=variant, pair_rate=3.0).train.pair_rate == 3
    again = profile("quick", variant="bce").replace(variant=variant)
    assert again.variant == variant
    assert again.loss.consistency_weight == (0 if variant == "bce" else 0.2)


def test_a_weight_of_ones_own_survives_another_variant():
    assert profile("quick", consistency_weight=3.0).replace(variant="ide+sa").loss.consistency_weight == 3.0
    assert profile("quick", consistency_weight=0.0, variant="ide+ia").variant == "ide+ia"


def test_paper_literal_moves_every_open_point_and_nothing_else():
    config = profile("quick", variant="casn", ia_start=0.3, epochs=5, erase=0.5)
    literal = paper_literal(config)
    assert (literal.loss.ia_score, literal.loss.masked_batchnorm, literal.loss.ia_start) == ("logit", "update", 0.0)
    assert (literal.loss.reduction, literal.ranking.profile_scale, literal.loss.profile_scale) == (
        "sum",
        *2 * ("absolute",),
    )
    assert (literal.train.pair_rate, literal.train.pair_weight_decay) == (1.0, None)
    assert (literal.data.flip, literal.data.erase, literal.data.anchor_share) == (0, 0, 0.5)
    assert literal.model.pair_norm
    assert (literal.train.epochs, literal.model.backbone, literal.variant) == (5, "small", "casn")
    assert paper_literal(literal) == literal


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "no setting 'epoch'; did you mean 'epochs'"),
        ({"qqqq": 3}, "no setting 'qqqq'; known are .*backbone"),
        ({"loss": {"treshold": 0.3}}, "no setting loss.treshold; did you mean 'threshold'"),
        ({"threshold": 0.3}, "'threshold' stands in the groups loss and ranking"),
        ({"variant": "ide+sia"}, r"variant: expected one of ide, bce, ide\+ia, ide\+sa, casn, got 'ide\+sia'"),
        ({"loss": {"siamese_mode": "papre"}}, "loss.siamese_mode: expected one of paper, .* v1, got 'papre'"),
        ({"learning_rate": float("nan")}, "train.learning_rate: expected a number, got nan"),
        ({"id_norm": 1}, "model.id_norm: expected true or false, got 1"),
        ({"epochs": -1}, "train.epochs: expected at least 1, got -1"),
        ({"positive_share": 1.5}, "data.positive_share: expected 0 to 1, got 1.5"),
        ({"milestones": 0.5}, "train.milestones: expected a list of numbers, got 0.5"),
        ({"model": {"feature": "reduced"}}, "model.feature: this setting went away, only 'pooled'"),
        *(({name: "3"}, name) for name in ("epochs", "id_hidden", "last_stride", "clip_norm")),
        *(({name: True}, name) for name in ("epochs", "last_stride", "weights", "mask_fill")),
        *(({name: 0}, name) for name in ("batch_size", "height", "stripes", "last_stride", "id_hidden", "max_rank")),
        *(({name: -0.1}, name) for name in ("flip", "momentum", "learning_rate", "pair_dropout")),
    ],
    ids=str,
)
def test_bad_changes_are_clear_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        profile("smoke", **changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LossConfig(ia_gradient="masks"), "ia_gradient.*'masks'"),
        (lambda: ModelConfig(stripes=2.5), "stripes.*2.5"),
        (lambda: Config.from_dict({"modle": {}}), "modle"),
        (lambda: Config.from_dict({"train": {"epochs": "many"}}), "epochs"),
        (lambda: Config.from_dict({"loss": []}), "loss"),
        (lambda: profile("quik"), "smoke, quick, paper, got 'quik'"),
        (lambda: assignments(["epochs"]), "--set expects NAME=VALUE, got 'epochs'"),
    ],
)
def test_every_other_way_in_is_checked_too(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_assignments_of_a_command_line():
    given = ["epochs = 3", "loss.threshold=0.3", "loss.ia_score=logit", "weights=none", "pair_activation=none"]
    given += ["milestones=(0.5, 0.8)", "id_norm=false", "warmup=1e-1"]
    config = profile("smoke", **assignments(given))
    assert (config.train.epochs, config.train.milestones, config.train.warmup) == (3, (0.5, 0.8), 0.1)
    assert (config.loss.threshold, config.loss.ia_score) == (0.3, "logit")
    assert (config.model.weights, config.model.pair_activation, config.model.id_norm) == (None, "none", False)
