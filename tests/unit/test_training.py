"""Training: the paper's schedule, resumable to the bit, refuses what it must, keeps the last good state."""

import errno
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import casnkit as ck
from casnkit import runs, training
from casnkit.config import VARIANTS, TrainConfig
from casnkit.data.files import DiskFullError, read_json, write_json
from casnkit.training import DivergenceError, make_accelerator, make_optimiser, make_scheduler, train

SMALL = {"height": 32, "width": 16, "batch_size": 4, "padding": 1}


def config(**changes):
    return ck.profile("smoke", **{**SMALL, "epochs": 3, "model": {"id_dropout": 0.3}, **changes})


def go(dataset, settings, out, **options):
    return train(dataset, settings, out, device="cpu", progress=False, **options)


def same_weights(run, other):
    a, b = (runs.read_tensors(folder / "model.safetensors") for folder in (run, other))
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def go_until(epochs, dataset, settings, out, **options):
    def stop(epoch, *_):
        if epoch == epochs:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        go(dataset, settings, out, on_epoch=stop, **options)


@pytest.mark.parametrize("pooling", ["gap", "stripes"])
def test_stopped_and_resumed_equals_uninterrupted(dataset, tmp_path, pooling):
    settings = config(pooling=pooling, height=64, warmup=0.7, milestones=(0.5,))
    go(dataset, settings, tmp_path / "whole")
    for epochs in (1, 2):
        go_until(epochs, dataset, settings, tmp_path / "parts")
        torch.rand(7)  # whatever the caller's random state does in between
    with pytest.warns(UserWarning, match="using its state after epoch 2"):
        runs.load_model(tmp_path / "parts")
    go(dataset, settings, tmp_path / "parts")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    names = ("epoch", "ide", "total", "learning_rate")
    logs = [[[row[k] for k in names] for row in runs.read_log(tmp_path / n)] for n in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert [row[0] for row in logs[0]] == [1, 2, 3]


def test_interrupted_within_an_epoch_goes_on_from_the_last_finished_one(dataset, tmp_path, monkeypatch):
    real, interrupted = training.train_step, []

    def step(run: object, pairs: object, epoch: int, step: int) -> dict:
        if (epoch, step) == (1, 1) and not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return real(run, pairs, epoch, step)

    monkeypatch.setattr(training, "train_step", step)
    state = torch.random.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        go(dataset, config(), tmp_path / "run")
    assert torch.equal(state, torch.random.get_rng_state())
    assert runs.load_checkpoint(tmp_path / "run")[1] == len(runs.read_log(tmp_path / "run")) == 1
    assert not list(tmp_path.rglob("*.part*"))
    for name, seed in (("run", 0), ("whole", 0), ("other", 1)):
        go(dataset, config(seed=seed), tmp_path / name)
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert not same_weights(tmp_path / "run", tmp_path / "other")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_from_the_same_pairs(dataset, tmp_path, variant):
    go(dataset, config(variant=variant, epochs=6, model={"id_dropout": 0.0}), tmp_path)
    log = runs.read_log(tmp_path)
    assert log[-1]["ide"] < log[0]["ide"]
    plans = [training.pair_sampler(dataset, config(variant=v)).epoch(1) for v in ("ide", variant)]
    assert np.array_equal(*plans)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(dataset, tmp_path, monkeypatch):
    go_until(1, dataset, config(), tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    nan = {"total": torch.tensor(float("nan"), requires_grad=True)}
    monkeypatch.setattr(training.CASNLoss, "__call__", lambda *_, **__: nan)
    with pytest.raises(DivergenceError, match=r"not finite in epoch 2.*: total; the last good .*--learning-rate"):
        go(dataset, config(), tmp_path)
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    monkeypatch.undo()
    with pytest.raises(DivergenceError):
        go(dataset, config(learning_rate=1e12), tmp_path / "for real")


def test_weights_that_are_not_finite_are_never_kept(dataset, tmp_path, monkeypatch):
    """A finite loss with an infinite gradient in the last step of an epoch: the next look at the loss would be too late."""
    real = training.train_step

    def explode(run: training.Run, pairs: object, epoch: int, step: int) -> dict:
        terms = real(run, pairs, epoch, step)
        if (epoch, step) == (1, len(run.sampler) - 1):
            with torch.no_grad():
                run.model.pair_head[0].weight[0, 0] = float("inf")
        return terms

    monkeypatch.setattr(training, "train_step", explode)
    with pytest.raises(DivergenceError, match=r"not finite after epoch 2: pair_head\.0\.weight"):
        go(dataset, config(), tmp_path)
    assert runs.load_checkpoint(tmp_path)[1] == len(runs.read_log(tmp_path)) == 1


def test_another_run_in_the_folder_is_refused(dataset, tmp_path):
    go(dataset, config(epochs=1), tmp_path / "run")
    with pytest.raises(ValueError, match=r"holds another run.*loss\.threshold is 0\.2 there, 0\.3 here"):
        go(dataset, config(epochs=1, loss={"threshold": 0.3}), tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="not empty and holds no run"):
        go(dataset, config(), tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with runs.locked(tmp_path / "busy"), pytest.raises(ValueError, match=r"another process is training in .*busy"):
        go(dataset, config(), tmp_path / "busy")
    with pytest.raises(ValueError, match="too small for the backbone"):
        go(dataset, config(height=8), tmp_path / "small")
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("epochs", [1, 2], ids=["stopped", "finished"])
def test_other_pictures_under_the_same_names_are_refused(tmp_path, epochs):
    sets = {}
    for name, seed in (("one", 0), ("two", 1)):
        rng, folder = np.random.default_rng(seed), tmp_path / name
        for pid, k in np.ndindex(4, 4):
            path = folder / f"p{pid}" / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (64, 32, 3), dtype=np.uint8)).save(path)
        sets[name] = ck.open_dataset(str(folder))
    settings = ck.profile("smoke", height=32, width=16, batch_size=4, epochs=2, padding=1)
    go_until(epochs, sets["one"], settings, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    message = (
        r"other pictures of these identities: \d+ training images of folder in .*one there, \d+ of folder in .*two here"
    )
    with pytest.raises(ValueError, match=message):
        go(sets["two"], settings, tmp_path / "run")
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    go(sets["one"], settings, tmp_path / "run")
    with pytest.warns(UserWarning, match=r"run is already finished \(2 epochs\): nothing is trained"):
        go(sets["one"], settings, tmp_path / "run")


EDITS = {
    "without its configuration": lambda run: run.pop("config"),
    "without identities": lambda run: run.update(pid_of_label=[]),
    "identities that are text": lambda run: run.update(pid_of_label=["a"]),
    "an endless number": lambda run: run.update(pid_of_label=[10**400]),
    "a list of nothing": lambda run: run.update(pid_of_label=None),
    "no data": lambda run: run.update(data=[]),
    "no root": lambda run: run["data"].pop("root"),
    "counts that are text": lambda run: run["data"].update(images={"train": "many", "query": 1, "gallery": 1}),
    "versions that are a number": lambda run: run.update(versions=3),
    "a field of another type": lambda run: run["config"]["model"].update(id_hidden="wide"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_run_json_is_one_sentence(dataset, tmp_path, edit):
    go(dataset, config(epochs=1), tmp_path)
    values = read_json(tmp_path / "run.json")
    EDITS[edit](values)
    (tmp_path / "run.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"run\.json: expected config, pid_of_label, data"):
        runs.read_run(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", '{"loss": 1}', "[1]", '{"epoch": "two"}'], ids=range(5))
def test_a_damaged_log_is_one_sentence(tmp_path, text):
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"log\.jsonl: expected a JSON object with its epoch"):
        runs.read_log(tmp_path)
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"log\.jsonl: expected"):
        runs.read_log(tmp_path)


@pytest.mark.parametrize(("lost", "told"), [("the end", "could not be read"), ("momentum.", "has lost .*momentum")])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(dataset, tmp_path, lost, told):
    go_until(2, dataset, config(), tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "epoch-000002.safetensors"
    kept = {name: value for name, value in runs.read_tensors(newest).items() if not name.startswith(lost)}
    runs.save_tensors(newest, kept)
    if lost == "the end":
        newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=rf"epoch-000002\.safetensors {told}.*trying the state before"):
        go(dataset, config(), tmp_path / "run")
    go(dataset, config(), tmp_path / "whole")
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    kept = sorted(file.name for file in newest.parent.iterdir())
    assert kept == ["epoch-000002.safetensors", "epoch-000003.safetensors"]


def test_a_full_disk_loses_the_new_checkpoint_not_the_old(dataset, tmp_path, monkeypatch):
    go_until(1, dataset, config(), tmp_path)
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        real(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError, match="no space left on the disk while writing"):
        go(dataset, config(), tmp_path)
    monkeypatch.undo()
    assert runs.load_checkpoint(tmp_path)[1] == 1
    assert not list(tmp_path.rglob("*.part*"))
    go(dataset, config(), tmp_path)
    assert runs.read_log(tmp_path)[-1]["epoch"] == 3


def test_load_model_gives_what_was_trained_and_refuses_other_networks(dataset, tmp_path):
    trained = go(dataset, config(epochs=1), tmp_path)
    loaded, info = runs.load_model(tmp_path)
    images = torch.randn(3, 3, 32, 16)
    assert torch.equal(trained.pool(trained.feature_map(images)), loaded.pool(loaded.feature_map(images)))
    assert not loaded.training
    assert info.config == config(epochs=1)
    assert info.pid_of_label.tolist() == sorted(set(dataset.train.pids.tolist()))
    assert info.versions["torch"] == torch.__version__
    values = read_json(tmp_path / "run.json")
    values["config"]["model"]["pair_hidden"] = 64
    write_json(tmp_path / "run.json", values)
    with pytest.raises(ValueError, match="belong to another network or other identities: size mismatch for pair_head"):
        runs.load_model(tmp_path)
    with pytest.raises(ValueError, match=r"expected a run at .*nowhere, found no such folder"):
        runs.load_model(tmp_path / "nowhere")
    write_json(tmp_path / "run.json", {"format": 7})
    with pytest.raises(ValueError, match="expected format 1, found 7"):
        runs.read_run(tmp_path)


@pytest.mark.parametrize("finished", [0, 3])
def test_learning_rates_follow_the_papers_schedule(finished):
    settings = TrainConfig(epochs=8, milestones=(0.5, 0.75), warmup=0.3, trunk_rate=0.1, pair_rate=20.0)
    optimiser = make_optimiser(ck.CASN(3, "small"), settings)
    scheduler = make_scheduler(optimiser, settings, 5, finished)
    for step in range(5 * finished, 40):
        share = step / 40  # divided by ten after epochs 4 and 6, after a rise over the first 2.4
        rate = 0.03 * (0.01 if step >= 30 else 0.1 if step >= 20 else 1) * min(1, (share + 1e-3) / 0.3)
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.1 * rate, rate, 20 * rate])
        optimiser.step()
        scheduler.step()


def test_pair_classifier_has_its_own_rate_and_decay():
    model = ck.CASN(3, "small")
    before = [p.detach().clone() for p in model.parameters()]
    optimiser = make_optimiser(model, TrainConfig(momentum=0, weight_decay=0.1, pair_rate=20, pair_weight_decay=0))
    sum((p**2).sum() for p in model.parameters()).backward()
    optimiser.step()
    for (name, after), old in zip(model.named_parameters(), before, strict=True):
        gradient, own = (2.0, 20) if name.startswith("pair_head") else (2.1, 1)  # 2 p, and decay 0.1 p
        torch.testing.assert_close(after.detach(), old * (1 - 0.03 * own * gradient), rtol=1e-4, atol=1e-6)


def test_the_best_validation_is_kept(dataset, tmp_path):
    scores, seen = iter([20.0, 70.0, 50.0]), []

    def validate(model: ck.CASN) -> dict[str, float]:
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return {"validation_mean_ap": next(scores)}

    go(dataset, config(), tmp_path, validate=validate)
    best = runs.read_tensors(tmp_path / "best.safetensors")
    assert all(torch.equal(best[key], value) for key, value in seen[1].items())
    assert [row["validation_mean_ap"] for row in runs.read_log(tmp_path)] == [20.0, 70.0, 50.0]


def test_accelerators_of_one_process_do_not_share_their_state(dataset, tmp_path):
    first = make_accelerator("cpu", gradient_accumulation_steps=2)
    first.state.device = torch.device("meta")  # as if a GPU had been asked for before
    second = make_accelerator("cpu")
    assert (first.device.type, second.device.type) == ("meta", "cpu")
    assert (first.gradient_accumulation_steps, second.gradient_accumulation_steps) == (2, 1)
    assert (second.process_index, second.num_processes, second.is_main_process) == (0, 1, True)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no GPU here: use --device cpu"):
            make_accelerator("cuda")
    with pytest.raises(ValueError, match="expected a device such as"):
        make_accelerator("gpu")
    settings = config(epochs=2, model={"id_dropout": 0.0}, accumulate=2)  # dropout draws from the process's generator
    thread = threading.Thread(target=train, args=(dataset, settings, tmp_path / "thread"), kwargs={"progress": False})
    thread.start()
    make_accelerator("cpu")
    thread.join()
    go(dataset, settings, tmp_path / "main")
    assert same_weights(tmp_path / "thread", tmp_path / "main")
