"""Doors: what lies in a run's folder, weights of others, places, requests that cannot be: one sentence, nothing lost."""

import os
import shlex
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from test_training import config, go, go_until

import casnkit as ck
from casnkit import experiments, runs
from casnkit.__main__ import main
from casnkit.data.files import check_place, read_json, write_json
from casnkit.data.weights import read_tensors
from casnkit.experiments import tables
from casnkit.experiments.ablation import Trial, finished_rows
from casnkit.experiments.design import Setting

SETTINGS = config(epochs=2, milestones=(0.5,))


@pytest.fixture(scope="module")
def base(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("base") / "run"
    go(dataset, SETTINGS, out)
    return out


@pytest.fixture
def run(base, tmp_path):
    """A finished run of two epochs."""
    return Path(shutil.copytree(base, tmp_path / "run"))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_goes_on_to_more_epochs_by_their_schedule(dataset, run):
    with pytest.warns(UserWarning, match=r"after 2 epochs and goes on to 5.* was 0\.003 .* and is 0\.03 in the next"):
        go_until(3, dataset, SETTINGS.replace(epochs=5), run)
    assert runs.read_run(run).extended == (2,)
    with pytest.warns(UserWarning, match="not finished: using its state after epoch 3"):
        runs.load_model(run)
    go(dataset, SETTINGS.replace(epochs=5), run)
    log = runs.read_log(run)
    assert [row["epoch"] for row in log] == [1, 2, 3, 4, 5]
    assert [row["learning_rate"] for row in log] == pytest.approx([0.03, 0.003, 0.03, 0.003, 0.003])


@pytest.mark.parametrize("missing", ["checkpoints/epoch-000002.safetensors", "checkpoints"])
def test_only_a_finished_run_with_its_states_goes_on(dataset, run, missing):
    shutil.rmtree(run / missing) if missing == "checkpoints" else (run / missing).unlink()
    before = contents(run)
    with pytest.raises(ValueError, match=r"train\.epochs is 2 there, 3 here; only a finished run with its checkpoints"):
        go(dataset, SETTINGS.replace(epochs=3), run)
    if missing == "checkpoints":
        with pytest.warns(UserWarning, match="already finished"):
            go(dataset, SETTINGS, run)
    assert contents(run) == before


def test_nothing_is_deleted_that_the_run_did_not_write(dataset, run):
    states = run / "checkpoints"
    names = ["mine.safetensors", "epoch-000000.safetensors", "epoch-000777.safetensors", "notes.txt"]
    for name in names:
        shutil.copy(states / "epoch-000002.safetensors", states / name)
    (states / ".epoch-000002.0a1b2c3d.part.safetensors").touch()  # of a killed run
    with pytest.warns(UserWarning, match=r"epoch-000777\.safetensors is no state of this run, whose log ends with"):
        go(dataset, SETTINGS.replace(epochs=5), run)
    assert {path.name for path in states.iterdir()} == {*names, "epoch-000004.safetensors", "epoch-000005.safetensors"}
    other = Path(shutil.move(states, run.parent / "elsewhere"))
    states.symlink_to(other)
    with pytest.raises(ValueError, match="checkpoints is a link"):
        go(dataset, SETTINGS.replace(epochs=6), run)


@pytest.mark.parametrize("name", ["run.json", "log.jsonl"])
def test_a_pipe_in_a_files_place_is_never_waited_for(run, name):
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(ValueError, match=r"no run\.json in it|no regular file"):
        (runs.read_run if name == "run.json" else runs.read_log)(run)


def test_a_run_that_fails_at_once_leaves_nothing_and_blocks_nothing(dataset, tmp_path):
    with pytest.raises(ck.training.DivergenceError):
        go(dataset, config(learning_rate=1e30), tmp_path / "new" / "run")
    assert not list(tmp_path.iterdir())
    (tmp_path / "run").mkdir()
    shutil.copy(experiments.FOLDER / "gap-ide" / "run.json", tmp_path / "run")  # as if killed in its first epoch
    go(dataset, config(epochs=1), tmp_path / "run")
    assert runs.read_run(tmp_path / "run").config == config(epochs=1)


def test_what_cannot_fit_is_refused_with_the_estimate(dataset, monkeypatch):
    settings = config(variant="ide", batch_size=10)
    weights = sum(p.numel() for p in ck.CASN.from_config(5, settings.model).parameters())
    for total, images in ((4 * weights, 0), (12 * weights + 1000, 0)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda total=total: SimpleNamespace(total=total))
        assert runs.blueprint(settings, 5, "cpu", images).num_ids == 5
    with pytest.raises(ValueError, match=r"training on 10 pairs of 32x16 needs at least 0 GiB of memory"):
        runs.blueprint(settings, 5, "cpu", images=20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=4 * weights - 1))
    with pytest.raises(ValueError, match="the network needs at least"):
        runs.blueprint(settings, 5)
    monkeypatch.undo()
    for changes in ({"height": 10**7}, {"batch_size": 10**9}, {"id_hidden": 10**12}, {"pair_hidden": 2**62}):
        with pytest.raises(
            ValueError, match=r"needs at least [\d,]+ GiB of memory, this machine has|no network has such"
        ):
            runs.blueprint(config(**changes), 5, "cpu", images=2 * changes.get("batch_size", 4))
    with pytest.raises(
        ValueError, match=r"images of 10000000x16 \(height x width\) need at least [\d,]+ GiB of memory"
    ):
        ck.evaluation.evaluate(ck.CASN(5, "small"), dataset, config(height=10**7), progress=False)


def test_the_best_weights_are_loaded_and_no_random_number_is_taken(dataset, run):
    state, (last, _) = torch.get_rng_state(), runs.load_model(run)
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match=r"has no best\.safetensors: train it with --validate"):
        runs.load_model(run, which="best")
    weights = dict(last.named_parameters())
    for factor in (0.5, torch.nan):
        changed = {key: weights[key] * factor if key in weights else value for key, value in last.state_dict().items()}
        runs.save_tensors(run / f"best.{factor}", changed)
    (run / "best.0.5").rename(run / "best.safetensors")
    best, _ = experiments.load_run(run, which="best")
    assert all(torch.equal(2 * half, whole) for half, whole in zip(best.parameters(), last.parameters(), strict=True))
    (run / "best.nan").replace(run / "best.safetensors")
    with pytest.raises(ValueError, match=r"best\.safetensors are damaged: .* not finite"):
        runs.load_model(run, which="best")


WRAPPED = {
    "in module alone": lambda state: {"module": state},
    "beside a mean": lambda state: {"state_dict": state, "pixel_mean": torch.ones(3)},
    "beside numpy's numbers": lambda state: {
        "state_dict": OrderedDict(state),
        "rank1": np.float64(0.9),
        "n": np.int32(3),
    },
    "in two levels": lambda state: {"epoch": 3, "student": {"params": state, "rank": 1}},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_weights_as_trainers_wrap_them(how, tmp_path):
    state = {"a": torch.rand(3), "b": torch.rand(2, 2)}
    torch.save(WRAPPED[how](state), tmp_path / "w.pth")
    found = read_tensors(tmp_path / "w.pth")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize("kind", [torch.complex64, torch.bool, torch.int64])
def test_weights_of_another_kind_of_number_are_refused(kind, tmp_path):
    state = ck.CASN(2, "small").trunk.state_dict()
    torch.save({key: value.to(kind) for key, value in state.items()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: expected torch\.float32 in .*, found"):
        ck.CASN(2, "small", weights=tmp_path / "w.pth")


def test_a_network_of_the_kit_is_a_run_by_its_folder_too(market, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shipped = experiments.FOLDER / "gap-ide_ia"
    before = contents(experiments.FOLDER)
    assert main(["evaluate", "--run", str(shipped), "--data", str(market), "--pictures", "1", "--device", "cpu"]) == 0
    (results,) = Path("runs/gap-ide_ia").glob("on-*/results.json")
    assert read_json(results)["variant"] == "ide+ia"
    assert main(["train", "--data", str(market), "--out", str(shipped), "--profile", "quick", "--device", "cpu"]) == 2
    assert "it lies in the package; choose another folder" in capsys.readouterr().err
    assert contents(experiments.FOLDER) == before


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300, "a\0b"])
def test_places_that_cannot_be_written_are_refused_before_work(name, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write to .*; choose another folder"):
        check_place(tmp_path / name)
    check_place(tmp_path / "new" / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("device", ["mps", "meta", "xpu", "cuda:99"])
def test_devices_that_cannot_compute_are_refused(device):
    if device in ("mps", "xpu") and getattr(torch, device).is_available():
        pytest.skip(f"{device} is there")
    with pytest.raises(ValueError, match="use --device cpu"):
        runs.pick_device(device)


def test_the_next_command_can_be_pasted(market, tmp_path, capsys):
    out = tmp_path / "a 'b\" $c"
    fast = ["--profile", "smoke", "--epochs", "1", "--set", "height=32", "width=16"]
    assert main(["train", "--data", str(market), "--out", str(out), "--device", "cpu", *fast]) == 0
    line = capsys.readouterr().out.splitlines()[-1].removeprefix("next: casnkit ")
    assert shlex.split(line) == ["evaluate", "--run", str(out), "--data", str(market)]
    assert main(["evaluate", "--run", str(out), "--data", str(market), "--pictures", "-1"]) == 2


@pytest.mark.parametrize(("stdout", "status"), [("/dev/full", 2), ("&-", 0)], ids=["full", "closed"])
def test_words_that_cannot_be_written_are_no_traceback(stdout, status):
    shell = f"{shlex.quote(sys.executable)} -m casnkit table 1 --published >{stdout}"
    done = subprocess.run(["bash", "-c", shell], cwd=Path(ck.__file__).parents[1], capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (status, bool(status))


def test_damaged_results_are_one_sentence(run, tmp_path):
    trial = Trial("variants", Setting("ide"), SETTINGS, "people:tiny")
    write_json(trial.row_file(tmp_path), {"mean_ap": "x"})
    with pytest.raises(ValueError, match=r"rows.*\.json: expected a trial's row with its mean_ap: delete it"):
        finished_rows([trial], tmp_path)
    write_json(run / "results.json", {"rows": [{"rank_1": 3}]})
    with pytest.raises(ValueError, match=r"results\.json: expected rows with rank_1, .*: evaluate the run again"):
        tables.is_finished(run, SETTINGS, None)
