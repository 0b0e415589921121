"""Networks that come with the kit: what is stored is what was trained, small, and readable without pickle."""

from pathlib import Path

import pandas as pd
import pytest
import ship
import torch

from casnkit import experiments, runs
from casnkit.data import files, open_dataset
from casnkit.experiments import FOLDER, fits, list_shipped, load_run, load_shipped, shipped_name
from casnkit.experiments.ablation import Trial, run_trials
from casnkit.experiments.design import Setting

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("shipped")
    for setting in (Setting("ide"), Setting("casn")):
        trial = Trial("variants", setting, setting.config("smoke", 0, epochs=1), "people:tiny")
        run_trials([trial], out)
        ship.put(out / "runs" / trial.name, out / "weights")
    return out / "weights", out / "runs" / trial.name


@pytest.fixture
def run(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run of a CASN; it and a baseline stand in the place of the kit's networks."""
    monkeypatch.setattr(experiments, "FOLDER", made[0])
    return made[1]


def test_half_precision_loses_little(run: Path) -> None:
    model, info = load_shipped("casn")
    original, _ = runs.load_model(run)
    images = torch.rand(2, 3, info.config.data.height, info.config.data.width)
    with torch.no_grad():
        ours, theirs = model.feature_map(images), original.feature_map(images)
    assert (ours - theirs).abs().max() < 5e-3 * theirs.abs().max()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, original.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_untrained_pair_classifier_is_drawn_anew_and_leaves_the_random_state(run: Path) -> None:
    before = torch.get_rng_state()
    first, _ = load_shipped("ide")
    assert torch.equal(torch.get_rng_state(), before)
    second, _ = load_shipped("ide")
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_fits_the_same_choices_at_any_precision(run: Path) -> None:
    config, data = Setting("casn").config("smoke", 0, epochs=1), open_dataset("people:tiny")
    assert fits(config, data) == experiments.FOLDER / "gap-casn"
    assert fits(config.replace(precision="bf16"), data) is not None
    for other in (config.replace(epochs=2), config.replace(seed=1), Setting("ide+ia").config("smoke", 0, epochs=1)):
        assert fits(other, data) is None
    with pytest.raises(ValueError, match="expected one of gap-ide, gap-casn, got 'stripes-casn'"):
        load_shipped("casn", "stripes")


def test_the_weights_are_those_that_are_listed() -> None:
    pd.testing.assert_frame_equal(ship.networks(FOLDER), pd.read_csv(FOLDER / "networks.csv"))


@pytest.mark.parametrize("name", list_shipped())
def test_all_come_with_the_kit_and_answer_to_their_name(name: str) -> None:
    model, info = load_run(name)
    assert shipped_name(info.config.variant, info.config.model.pooling) == name
    assert not model.training
    assert "/" not in str(info.data), "no path of a machine"
    assert {shipped_name(s.variant, s.pooling) for s in ship.SHIPPED} >= set(list_shipped())
    assert len(list_shipped()) >= 8
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= ship.LIMIT


def test_the_wheel_holds_every_package_and_the_published_results() -> None:
    settings = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "casnkit").rglob("__init__.py")}
    assert set(settings["packages"]) == found | {"casnkit.experiments.weights", "casnkit.results"}
    assert settings["package-dir"]["casnkit.results"] == "figures/results"
    patterns = [
        (ROOT.joinpath(*name.split(".")), each) for name, own in settings["package-data"].items() for each in own
    ]
    packed = {file for folder, pattern in patterns for file in folder.glob(pattern)}
    assert {file for file in (ROOT / "casnkit").rglob("*.*") if file.suffix not in (".py", ".pyc")} <= packed
    assert files.results_path("ablation.csv").is_file()
