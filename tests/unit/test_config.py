"""Configuration: what goes in comes out, and nothing misspelt or ill-typed gets in."""

from __future__ import annotations

import dataclasses
import json

import pytest

from casnkit.config import (
    PROFILES,
    VARIANTS,
    Config,
    DataConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
    assignments,
    paper_literal,
    profile,
)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("pooling", ["gap", "stripes"])
def test_a_round_trip_through_json(name, pooling):
    config = profile(name, pooling=pooling, milestones=(0.5, 0.8), clip_norm=1.5, id_hidden=None)
    again = Config.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False)))
    assert again == config
    assert again.train.milestones == (0.5, 0.8)
    assert hash(again) == hash(config)


def test_the_papers_values():
    # Paper 4.1, copied from the paper rather than from the code.
    config = profile("paper")
    assert (config.model.backbone, config.model.weights) == ("resnet50", "imagenet")
    assert (config.data.height, config.data.width, config.data.batch_size) == (288, 144, 16)
    assert (config.loss.consistency_weight, config.loss.ia_weight, config.loss.sa_weight) == (0.2, 0.5, 0.05)
    train = config.train
    assert (train.epochs, train.learning_rate, train.momentum, train.decay) == (40, 0.03, 0.9, 0.1)
    assert [share * train.epochs for share in train.milestones] == [30]
    striped = profile("paper", pooling="stripes")
    assert (striped.data.height, striped.data.width, striped.model.stripes) == (384, 128, 6)


def test_an_image_size_that_is_given_wins_over_the_profile():
    config = profile("quick", pooling="stripes", height=192, width=64)
    assert (config.data.height, config.data.width) == (192, 64)


def test_a_group_may_be_a_dataclass_a_mapping_or_single_fields():
    wanted = dataclasses.replace(profile("smoke").model, pooling="stripes", stripes=3)
    for changes in (
        {"pooling": "stripes", "stripes": 3},
        {"model": {"pooling": "stripes", "stripes": 3}},
        {"model": wanted},
    ):
        config = profile("smoke", **changes)
        assert config.model == wanted
        assert (config.data.height, config.data.width) == (96, 32), "the shape of images follows the pooling"


@pytest.mark.parametrize(
    ("variant", "ia", "sa"),
    [("ide", False, False), ("ide+ia", True, False), ("ide+sa", False, True), ("casn", True, True)],
)
def test_variant_is_a_name_for_two_switches(variant, ia, sa):
    config = profile("smoke", variant=variant)
    assert (config.loss.identification_attention, config.loss.siamese_attention) == (ia, sa)
    assert config.variant == variant
    assert variant in VARIANTS
    loss = {"identification_attention": ia, "siamese_attention": sa}
    assert profile("smoke", loss=loss).variant == variant


def test_replace_leaves_the_original_alone():
    config = profile("smoke")
    other = config.replace(epochs=7, loss={"threshold": 0.3})
    assert (other.train.epochs, other.loss.threshold) == (7, 0.3)
    assert config == profile("smoke")
    assert config.train.epochs != 7
    assert config.loss.threshold != 0.3
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.epochs = 3


def test_paper_literal():
    config = profile("paper", ia_start=0.3, epochs=5)
    literal = paper_literal(config)
    assert (literal.loss.ia_score, literal.loss.masked_batchnorm, literal.loss.ia_start) == ("logit", "update", 0.0)
    assert dataclasses.replace(literal, loss=config.loss) == config
    train = paper_literal(profile("quick", variant="casn")).train
    assert (train.pair_rate, train.pair_weight_decay) == (1.0, None)


def test_only_networks_with_siamese_attention_have_a_rate_for_it():
    assert profile("quick", variant="casn").train.pair_rate == 20
    assert profile("quick", variant="ide+ia").train.pair_rate == 1
    assert profile("paper").train.pair_rate == 1
    assert profile("quick", variant="casn", pair_rate=3.0).train.pair_rate == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "no setting 'epoch'; did you mean 'epochs'"),
        ({"qqqq": 3}, "no setting 'qqqq'; known are .*backbone"),
        ({"loss": {"treshold": 0.3}}, "no setting loss.treshold; did you mean 'threshold'"),
        ({"threshold": 0.3}, "'threshold' stands in the groups loss and ranking"),
        ({"variant": "ide+sia"}, r"variant out of ide, ide\+ia, ide\+sa, casn, got 'ide\+sia'"),
        ({"pooling": "max"}, "model.pooling: expected one of gap, stripes, got 'max'"),
        ({"masked_batchnorm": "eval"}, "expected one of update, batch, running, got 'eval'"),
        (
            {"loss": {"siamese_mode": "papre"}},
            "loss.siamese_mode: expected one of paper, signed, gradcam, v1, got 'papre'",
        ),
        ({"epochs": 2.5}, "train.epochs: expected a whole number, got 2.5"),
        ({"epochs": "3"}, "train.epochs: expected a whole number, got '3'"),
        ({"epochs": True}, "train.epochs: expected a whole number, got True"),
        ({"epochs": float("inf")}, "train.epochs: expected a whole number, got inf"),
        ({"learning_rate": None}, "train.learning_rate: expected a number, got None"),
        ({"learning_rate": float("nan")}, "train.learning_rate: expected a number, got nan"),
        ({"id_norm": 1}, "model.id_norm: expected true or false, got 1"),
        ({"epochs": -1}, "train.epochs: expected at least 1, got -1"),
        ({"positive_share": 1.5}, "data.positive_share: expected 0 to 1, got 1.5"),
        ({"milestones": [0.5, -1]}, "train.milestones: expected at least 0"),
    ],
)
def test_bad_changes_are_clear_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        profile("smoke", **changes)


WRONG = {
    "ill-typed": {"id_hidden": "wide", "last_stride": "1", "clip_norm": "none", "milestones": 0.5, "weights": 3}
    | {"backbone": 50, "model": 5, "loss": None, "mask_fill": ["mean"]},
    "out of range": {"batch_size": 0, "height": 0, "flip": -0.1, "stripes": 0, "pair_hidden": 0, "pair_dropout": 1.5}
    | {"last_stride": 0, "id_hidden": 0, "momentum": -1.0, "learning_rate": -0.1, "max_rank": 0, "last_stride ": True},
}


@pytest.mark.parametrize(("name", "value"), [pair for wrong in WRONG.values() for pair in wrong.items()])
def test_wrong_values_name_their_setting(name, value):
    with pytest.raises(ValueError, match=name.strip()):
        profile("smoke", **{name.strip(): value})


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (LossConfig, {"ia_gradient": "masks"}),
        (ModelConfig, {"id_activation": "gelu"}),
        (DataConfig, {"batch_size": "16"}),
        (TrainConfig, {"epochs": 2.5}),
    ],
    ids=str,
)
def test_a_dataclass_made_by_hand_is_checked_too(kind, values):
    name, value = next(iter(values.items()))
    with pytest.raises(ValueError, match=f"{name}.*{value!r}"):
        kind(**values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"bakbone": "small"}}, "model.bakbone; did you mean 'backbone'"),
        ({"modle": {"backbone": "small"}}, "modle"),
        ({"train": {"epochs": "many"}}, "train.epochs"),
        ({"loss": []}, "loss"),
        ({"model": {"feature": "reduced"}}, "model.feature: this setting went away, only 'pooled'"),
    ],
    ids=str,
)
def test_a_saved_configuration_with_a_fault_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Config.from_dict(profile("smoke").to_dict() | changes)


def test_configurations_of_earlier_versions_are_read():
    values = profile("quick").to_dict()
    values["model"]["feature"] = "pooled"  # a setting that went away, at its default
    assert Config.from_dict(values) == profile("quick")


def test_an_unknown_profile_is_refused_with_the_list():
    with pytest.raises(ValueError, match="smoke, quick, paper, got 'quik'"):
        profile("quik")


def test_assignments_of_a_command_line():
    given = ["epochs = 3", "loss.threshold=0.3", "loss.ia_score=logit", "weights=none", "pair_activation=none"]
    given += ["milestones=(0.5, 0.8)", "id_norm=false", "warmup=1e-1"]
    config = profile("smoke", **assignments(given))
    assert (config.train.epochs, config.train.milestones, config.train.warmup) == (3, (0.5, 0.8), 0.1)
    assert (config.loss.threshold, config.loss.ia_score) == (0.3, "logit")
    assert (config.model.weights, config.model.pair_activation, config.model.id_norm) == (None, "none", False)
    with pytest.raises(ValueError, match=r"--set expects NAME=VALUE, got 'epochs'"):
        assignments(["epochs"])
