"""Training: resumable to the bit, refuses what it must, keeps the last good state."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import casnkit as ck
from casnkit import runs, training
from casnkit import runs as checkpoints
from casnkit import training as batches
from casnkit import training as schedule
from casnkit.config import VARIANTS, TrainConfig
from casnkit.data.files import DiskFullError, atomic_path, read_json, write_json
from casnkit.data.imitate import imitate
from casnkit.training import DivergenceError, learning_rate, train

SMALL = {"height": 32, "width": 16, "batch_size": 4, "padding": 1}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ck.ReidDataset:
    return ck.open_dataset(str(imitate("market1501", tmp_path_factory.mktemp("market"))))


def config(**changes: object) -> ck.Config:
    return ck.profile("smoke", **{**SMALL, "epochs": 3, "model": {"id_dropout": 0.3}, **changes})


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoints.read_tensors(run / "model.safetensors")


class StopError(Exception):
    """Raised in the middle of a run, as a person's Ctrl-C would be."""


def stop_after(epochs: int) -> object:
    def on_epoch(epoch: int, *_: object) -> None:
        if epoch == epochs:
            raise StopError

    return on_epoch


@pytest.mark.parametrize("pooling", ["gap", "stripes"])
def test_stopped_and_resumed_equals_uninterrupted(dataset: ck.ReidDataset, tmp_path: Path, pooling: str) -> None:
    settings = config(pooling=pooling, height=64)
    train(dataset, settings, tmp_path / "whole", device="cpu", progress=False)
    for epochs in (1, 2):
        with pytest.raises(StopError):
            train(dataset, settings, tmp_path / "parts", device="cpu", progress=False, on_epoch=stop_after(epochs))
        torch.rand(7)  # whatever the caller's random state does in between
    train(dataset, settings, tmp_path / "parts", device="cpu", progress=False)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    logs = [
        [{k: row[k] for k in ("epoch", "ide", "total")} for row in runs.read_log(tmp_path / n)]
        for n in ("whole", "parts")
    ]
    assert logs[0] == logs[1]
    assert [row["epoch"] for row in logs[0]] == [1, 2, 3]


def test_training_leaves_the_random_state_alone_and_seeds_matter(dataset: ck.ReidDataset, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(dataset, config(epochs=1, seed=seed), tmp_path / name, device="cpu", progress=False)
    assert torch.equal(before, torch.random.get_rng_state())
    a, b, c = (weights(tmp_path / name)["pair_head.0.weight"] for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_and_logs_its_terms(dataset: ck.ReidDataset, tmp_path: Path, variant: str) -> None:
    train(dataset, config(variant=variant, epochs=6, model={"id_dropout": 0.0}), tmp_path, device="cpu", progress=False)
    log = runs.read_log(tmp_path)
    expected = {"ide"} | ({"ia"} if variant in ("ide+ia", "casn") else set())
    expected |= {"bce", "consistency"} if variant in ("ide+sa", "casn") else set()
    assert {"ide", "ia", "bce", "consistency"} & set(log[0]) == expected
    assert log[-1]["ide"] < log[0]["ide"]
    for name in ("learning_rate", "images_per_second", "memory_mib", "seconds"):
        assert name in log[0]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(dataset: ck.ReidDataset, tmp_path: Path) -> None:
    settings = config(epochs=4)
    with pytest.raises(StopError):
        train(dataset, settings, tmp_path, device="cpu", progress=False, on_epoch=stop_after(1))
    checkpoint = read_json(tmp_path / "checkpoints" / "last.json")

    def poison(self: object, *_: object, **__: object) -> dict[str, torch.Tensor]:
        return {"total": torch.tensor(float("nan"), requires_grad=True)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.CASNLoss, "__call__", poison)
        with pytest.raises(DivergenceError, match=r"loss total is not finite in epoch 2.*the last good state is kept"):
            train(dataset, settings, tmp_path, device="cpu", progress=False)
    assert read_json(tmp_path / "checkpoints" / "last.json") == checkpoint
    state, record = checkpoints.load_checkpoint(tmp_path)
    assert record["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())


def test_diverging_for_real_is_noticed(dataset: ck.ReidDataset, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match="--learning-rate"):
        train(dataset, config(learning_rate=1e12), tmp_path, device="cpu", progress=False)


def test_weights_that_are_not_finite_are_never_kept(dataset: ck.ReidDataset, tmp_path: Path) -> None:
    """A finite loss with an infinite gradient in the last step of an epoch: the next look at the loss would be too late."""
    settings, real = config(epochs=3), training.train_step

    def explode(run: object, plan: list, epoch: int, step: int, feed: object) -> dict[str, torch.Tensor]:
        terms = real(run, plan, epoch, step, feed)
        if (epoch, step) == (1, len(plan) - 1):
            with torch.no_grad():
                run.model.pair_head[0].weight[0, 0] = float("inf")
        return terms

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_step", explode)
        with pytest.raises(DivergenceError, match=r"1 of the network's tensors .* pair_head.0.weight"):
            train(dataset, settings, tmp_path, device="cpu", progress=False)
    assert checkpoints.load_checkpoint(tmp_path)[1]["epoch"] == 1
    train(dataset, settings, tmp_path, device="cpu", progress=False)
    assert runs.read_log(tmp_path)[-1]["epoch"] == 3


def test_another_run_in_the_folder_is_refused(dataset: ck.ReidDataset, tmp_path: Path) -> None:
    train(dataset, config(epochs=1), tmp_path / "run", device="cpu", progress=False)
    with pytest.raises(ValueError, match=r"holds another run.*loss.threshold is 0.2 there, 0.3 here"):
        train(dataset, config(epochs=1, loss={"threshold": 0.3}), tmp_path / "run", device="cpu", progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="not empty and holds no run"):
        train(dataset, config(), tmp_path / "mine", device="cpu", progress=False)
    assert sorted(p.name for p in (tmp_path / "mine").iterdir() if p.name != ".lock") == ["thesis.txt"]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(dataset: ck.ReidDataset, tmp_path: Path) -> None:
    settings = config()
    with pytest.raises(StopError):
        train(dataset, settings, tmp_path / "run", device="cpu", progress=False, on_epoch=stop_after(2))
    newest = tmp_path / "run" / "checkpoints" / "epoch-0002-step-000000.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"epoch-0002-step-000000.safetensors is damaged.*trying the state before"):
        train(dataset, settings, tmp_path / "run", device="cpu", progress=False)
    train(dataset, settings, tmp_path / "whole", device="cpu", progress=False)
    mended, whole = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(torch.equal(mended[key], whole[key]) for key in whole)


def test_a_full_disk_loses_the_new_checkpoint_not_the_old(dataset: ck.ReidDataset, tmp_path: Path) -> None:
    settings = config()
    with pytest.raises(StopError):
        train(dataset, settings, tmp_path, device="cpu", progress=False, on_epoch=stop_after(1))
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        real(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(DiskFullError, match="no space left on the disk while writing"):
            train(dataset, settings, tmp_path, device="cpu", progress=False)
    assert checkpoints.load_checkpoint(tmp_path)[1]["epoch"] == 1
    assert not [p for p in tmp_path.rglob("*.part*")]
    train(dataset, settings, tmp_path, device="cpu", progress=False)
    assert runs.read_log(tmp_path)[-1]["epoch"] == 3


def test_a_model_of_another_architecture_is_refused(dataset: ck.ReidDataset, tmp_path: Path) -> None:
    train(dataset, config(epochs=1), tmp_path, device="cpu", progress=False)
    values = read_json(tmp_path / "run.json")
    values["config"]["model"]["pair_hidden"] = 64
    write_json(tmp_path / "run.json", values)
    with pytest.raises(ValueError, match=r"belong to another network: \d+ of \d+ tensors differ; pair_head"):
        runs.load_model(tmp_path)
    with pytest.raises(ValueError, match=r"expected a run .* at .*nowhere, found no such folder"):
        runs.load_model(tmp_path / "nowhere")


def test_load_model_gives_what_was_trained(dataset: ck.ReidDataset, tmp_path: Path) -> None:
    trained = train(dataset, config(epochs=1), tmp_path, device="cpu", progress=False)
    loaded, info = runs.load_model(tmp_path)
    images = torch.randn(3, 3, 32, 16)
    assert torch.equal(trained.pool(trained.feature_map(images)), loaded.pool(loaded.feature_map(images)))
    assert not loaded.training
    assert info.config == config(epochs=1)
    assert info.pid_of_label.tolist() == sorted(set(dataset.train.pids.tolist()))
    assert info.versions["torch"] == torch.__version__


def test_unfinished_run_loads_with_a_warning(dataset: ck.ReidDataset, tmp_path: Path) -> None:
    with pytest.raises(StopError):
        train(dataset, config(), tmp_path, device="cpu", progress=False, on_epoch=stop_after(2))
    with pytest.warns(UserWarning, match="using its state after epoch 2"):
        runs.load_model(tmp_path)


def test_learning_rate_follows_the_papers_schedule() -> None:
    paper = TrainConfig()
    assert [learning_rate(paper, epoch) for epoch in (0, 29.99, 30, 39)] == pytest.approx([0.03, 0.03, 0.003, 0.003])
    warm = TrainConfig(warmup=0.5)
    assert learning_rate(warm, 0) < learning_rate(warm, 10) < learning_rate(warm, 20) == 0.03
    assert learning_rate(warm, 10) == pytest.approx(0.015, rel=0.01)


def test_trunk_and_heads_have_their_own_rates() -> None:
    model = ck.CASN(3, "small")
    settings = TrainConfig(trunk_rate=0.1)
    optimiser = schedule.make_optimiser(model, settings)
    schedule.set_learning_rate(optimiser, settings, 0)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    assert rates[id(next(model.trunk.parameters()))] == pytest.approx(0.003)
    assert rates[id(next(model.pair_head.parameters()))] == pytest.approx(0.03)


def test_pair_classifier_has_its_own_rate_and_decay() -> None:
    """One plain step: with a rate of 20 it goes twenty times as far, and its decay is its own."""
    moved = {}
    for rate in (1.0, 20.0):
        torch.manual_seed(0)
        model = ck.CASN(3, "small")
        before = [p.detach().clone() for p in model.parameters()]
        settings = TrainConfig(momentum=0.0, weight_decay=0.1, pair_rate=rate, pair_weight_decay=0.0)
        optimiser = schedule.make_optimiser(model, settings)
        schedule.set_learning_rate(optimiser, settings, 0)
        sum((p**2).sum() for p in model.parameters()).backward()
        optimiser.step()
        assert len({id(p) for g in optimiser.param_groups for p in g["params"]}) == len(before)
        pair = {id(p) for p in model.pair_head.parameters()}
        steps = [(id(p) in pair, (b - p).norm() / b.norm()) for p, b in zip(model.parameters(), before, strict=True)]
        moved[rate] = {own: [s for inside, s in steps if inside is own and torch.isfinite(s)] for own in (True, False)}
    assert torch.allclose(torch.stack(moved[20.0][True]), 20 * torch.stack(moved[1.0][True]), rtol=1e-3)
    assert torch.allclose(torch.stack(moved[20.0][False]), torch.stack(moved[1.0][False]))
    assert moved[1.0][True][0].item() == pytest.approx(0.03 * 2, rel=1e-3), "no decay"
    assert moved[1.0][False][0].item() == pytest.approx(0.03 * 2.1, rel=1e-3), "gradient 2 p and decay 0.1 p"


def test_only_networks_with_siamese_attention_have_a_rate_for_it() -> None:
    assert ck.profile("quick", variant="casn").train.pair_rate == 20
    assert ck.profile("quick", variant="ide+ia").train.pair_rate == 1
    assert ck.profile("paper").train.pair_rate == 1
    assert ck.profile("quick", variant="casn", pair_rate=3.0).train.pair_rate == 3


def test_people_with_one_image_cannot_make_pairs(tmp_path: Path) -> None:
    root = imitate("market1501", tmp_path)
    seen = set()
    for path in sorted((root / "bounding_box_train").glob("*.*")):
        pid = path.name.split("_")[0]
        if pid in seen:
            path.unlink()
        seen.add(pid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = ck.open_dataset(str(root))
    with pytest.raises(ValueError, match="two images"):
        train(data, config(), tmp_path / "run", device="cpu", progress=False)


def test_gpu_that_is_not_there() -> None:
    if torch.cuda.is_available():
        assert training.pick_device("cuda").type == "cuda"
    else:
        with pytest.raises(ValueError, match="no GPU here: use --device cpu"):
            training.pick_device("cuda")


def test_atomic_path_keeps_the_old_file_on_any_error(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "result.json"
    write_json(target, {"a": 1})

    def interrupted_write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        interrupted_write()
    assert read_json(target) == {"a": 1}
    assert os.listdir(target.parent) == ["result.json"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(target, {"a": float("nan")})
    assert read_json(target) == {"a": 1}
    target.write_text("{")
    with pytest.raises(ValueError, match=r"expected JSON in .*result.json"):
        read_json(target)


def test_same_pairs_whatever_the_variant(dataset: ck.ReidDataset) -> None:
    plans = [batches.pair_sampler(dataset, config(variant=v)).epoch(1) for v in ("ide", "casn")]
    assert np.array_equal(*plans)
