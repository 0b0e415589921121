"""Training survives what happens to long runs: kill -9 anywhere, Ctrl-C, a second process, several processes."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import casnkit as ck
from casnkit import runs, training
from casnkit import runs as checkpoints
from casnkit import training as guards
from casnkit.data import images as feeding
from casnkit.data.imitate import imitate
from casnkit.training import train

KILLS = int(os.environ.get("CASNKIT_KILLS", "4"))
CONFIG = {"height": 32, "width": 16, "batch_size": 4, "padding": 1, "epochs": 30, "model": {"id_dropout": 0.3}}

CHILD = """
import sys, torch
torch.set_num_threads(1)
import casnkit as ck
from casnkit.training import train
data = ck.open_dataset(sys.argv[1])
config = ck.profile("smoke", **{config!r})
print("ready", flush=True)
train(data, config, sys.argv[2], device="cpu", progress=False, checkpoint_minutes={minutes})
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imitate("market1501", tmp_path_factory.mktemp("market"))


def start(market: Path, run: Path, minutes: float = 0.0, config: dict | None = None) -> subprocess.Popen:
    code = CHILD.format(config=config or CONFIG, minutes=minutes)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(market), str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert child.stdout.readline().strip() == "ready", child.stderr.read()
    return child


def test_kill_nine_anywhere_changes_nothing(market: Path, tmp_path: Path) -> None:
    """The state is written after every step here, so that kills fall into the writing of checkpoints too."""
    whole = start(market, tmp_path / "whole")
    began = time.monotonic()
    assert whole.wait(timeout=300) == 0, whole.stderr.read()
    length, rng, kills = time.monotonic() - began, random.Random(0), 0
    for _ in range(50 * KILLS):
        child = start(market, tmp_path / "run")
        if kills == KILLS:
            break
        try:
            child.wait(timeout=rng.uniform(0.02, length / KILLS))
            break  # it finished before the kill
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            kills += 1
    assert child.wait(timeout=300) == 0, child.stderr.read()
    assert kills == KILLS
    expected = checkpoints.read_tensors(tmp_path / "whole" / "model.safetensors")
    found = checkpoints.read_tensors(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    terms = ("epoch", "ide", "ia", "bce", "consistency", "total")
    logs = [[{k: row[k] for k in terms} for row in runs.read_log(tmp_path / name)] for name in ("whole", "run")]
    assert logs[0] == logs[1]
    leftovers = [p.name for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.startswith(".")]
    assert len(leftovers) <= 1, leftovers


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a child")
def test_ctrl_c_ends_the_step_saves_and_goes_on(market: Path, tmp_path: Path) -> None:
    long = {**CONFIG, "epochs": 2000}
    child = start(market, tmp_path, minutes=60, config=long)
    while not (tmp_path / "log.jsonl").is_file():
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=60) != 0
    assert "KeyboardInterrupt" in child.stderr.read()
    _, record = checkpoints.load_checkpoint(tmp_path)
    assert record["epoch"] >= 1
    values = json.loads((tmp_path / "run.json").read_text())
    assert values["config"]["train"]["epochs"] == 2000


def test_a_second_process_in_the_folder_is_refused(market: Path, tmp_path: Path) -> None:
    child = start(market, tmp_path, config={**CONFIG, "epochs": 2000})
    try:
        while not (tmp_path / "log.jsonl").is_file():
            time.sleep(0.05)
        second = start(market, tmp_path, config={**CONFIG, "epochs": 2000})
        assert second.wait(timeout=60) != 0
        assert "another process is training" in second.stderr.read()
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_interrupted_in_the_middle_of_an_epoch_goes_on_there(market: Path, tmp_path: Path) -> None:
    data, config = ck.open_dataset(str(market)), ck.profile("smoke", **{**CONFIG, "epochs": 3})
    real, steps = training.train_step, []

    def interrupted(run: object, plan: list, epoch: int, step: int, feed: object) -> dict:
        steps.append((epoch, step))
        if (epoch, step) == (1, 1) and len(plan) > 2 and steps.count((1, 1)) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return real(run, plan, epoch, step, feed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(data, config, tmp_path / "run", device="cpu", progress=False)
        _, record = checkpoints.load_checkpoint(tmp_path / "run")
        assert (record["epoch"], record["step"]) == (1, 2)
        train(data, config, tmp_path / "run", device="cpu", progress=False)
    assert steps == sorted(set(steps)), "a step was done twice or left out"
    train(data, config, tmp_path / "whole", device="cpu", progress=False)
    a, b = (checkpoints.read_tensors(tmp_path / name / "model.safetensors") for name in ("run", "whole"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_interrupted_in_the_last_step_of_an_epoch(market: Path, tmp_path: Path) -> None:
    data, config = ck.open_dataset(str(market)), ck.profile("smoke", **{**CONFIG, "epochs": 2})
    real = training.train_step

    def interrupted(run: object, plan: list, epoch: int, step: int, feed: object) -> dict:
        if (epoch, step) == (0, len(plan) - 1):
            os.kill(os.getpid(), signal.SIGINT)
        return real(run, plan, epoch, step, feed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(data, config, tmp_path / "run", device="cpu", progress=False)
    train(data, config, tmp_path / "run", device="cpu", progress=False)
    train(data, config, tmp_path / "whole", device="cpu", progress=False)
    a, b = (checkpoints.read_tensors(tmp_path / name / "model.safetensors") for name in ("run", "whole"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    first, other = (runs.read_log(tmp_path / name)[0] for name in ("run", "whole"))
    assert first["total"] == other["total"]
    assert first["seconds"] > 0.001, "the time before the interruption was lost"


def test_out_of_memory_names_the_knob() -> None:
    config = ck.profile("smoke", accumulate=2)
    knobs = r"16 pairs of 64x32.*accumulate=4.*precision=bf16.*batch-size"
    with pytest.raises(guards.OutOfMemoryError, match=knobs), guards.explain_out_of_memory(config):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="something else"), guards.explain_out_of_memory(config):
        raise RuntimeError("something else")


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_where_the_images_live_changes_nothing(market: Path, tmp_path: Path, place: str) -> None:
    data, config = ck.open_dataset(str(market)), ck.profile("smoke", **{**CONFIG, "epochs": 2})
    for name, options in (("a", {"place": place, "workers": 1}), ("b", {})):
        train(data, config, tmp_path / name, device="cpu", progress=False, **options)
    a, b = (checkpoints.read_tensors(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_what_reads_from_disk_can_be_sent_to_a_spawned_process(market: Path) -> None:
    split = ck.open_dataset(str(market)).train
    source = feeding.open_images(split, (32, 16), torch.device("cpu"), place="disk", workers=0)
    plan = [np.array([3, 0, 2]), np.array([1])]
    here = list(source.batches(plan))
    sent = pickle.loads(pickle.dumps(feeding._Files(split, (32, 16), plan)))
    assert all(torch.equal(batch, sent[step]) for step, batch in enumerate(here))
    whole = feeding.load_images(split, (32, 16), progress=False)
    assert all(torch.equal(batch, whole[index]) for batch, index in zip(here, plan, strict=True))


NO_BATCHNORM = {"backbone": "squeezenet1_1", "id_norm": False, "id_hidden": 32, "pair_hidden": 32}
MANY = """
import sys, torch
torch.set_num_threads(1)
import casnkit as ck
from casnkit import runs, training
seen = []
real = training.train_step
def watched(run, plan, epoch, step, feed):
    terms = real(run, plan, epoch, step, feed)
    seen.append([float(run.processes.mean(terms[k])) for k in ("ide", "ia", "bce", "consistency", "total")])
    return terms
training.train_step = watched
if __name__ == "__main__":
    data = ck.open_dataset(sys.argv[1])
    config = ck.profile("smoke", **{config!r})
    model = training.train(data, config, sys.argv[2], device="cpu", progress=False)
    import os, json
    from casnkit.evaluation import evaluate
    from casnkit.processes import find_processes
    result = evaluate(model, data, config, processes=find_processes("cpu"), progress=False)
    seen.append([float(r.mean_ap) for r in result.rankings.values()] + [len(result.gallery.features), 0.0])
    if os.environ.get("RANK", "0") == "0":
        json.dump(seen, open(sys.argv[3], "w"))
"""


def test_two_processes_train_like_one(market: Path, tmp_path: Path) -> None:
    """Same losses to 1e-4 over 20 steps at the same global batch; a trunk without BatchNorm, which CPUs cannot synchronise.

    The learning rate is small: crop bounds are steps (equation 5), and once rounding moves one, the losses part for good.
    """
    pytest.importorskip("accelerate", reason="pip install accelerate to test several processes")
    base = {"height": 64, "width": 32, "batch_size": 8, "epochs": 10, "learning_rate": 0.002, "erase": 0.5}
    losses = {}
    for name, world, accumulate in (("one", 1, 1), ("two", 2, 1), ("parts", 1, 2)):
        config = {**base, "accumulate": accumulate, "model": NO_BATCHNORM}
        script = tmp_path / f"{name}.py"
        script.write_text(MANY.format(config=config))
        launch = ["-m", "torch.distributed.run", f"--nproc-per-node={world}", "--master-port=0", "--standalone"]
        command = [sys.executable, *(launch if world > 1 else []), str(script)]
        arguments = [str(market), str(tmp_path / name), str(tmp_path / f"{name}.json")]
        path = os.pathsep.join([str(Path(ck.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": path}
        done = subprocess.run(
            command + arguments, capture_output=True, text=True, env=environment, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        losses[name] = torch.tensor(json.loads((tmp_path / f"{name}.json").read_text()))
    assert len(losses["one"]) >= 21
    ranked = {name: rows[-1] for name, rows in losses.items()}
    assert ranked["one"][3] == ranked["two"][3], "the gallery was not put together again"
    assert (ranked["one"] - ranked["two"]).abs().max() < 0.05
    losses = {name: rows[:-1] for name, rows in losses.items()}
    assert (losses["one"][:20] - losses["two"][:20]).abs().max() < 1e-4
    assert (losses["one"][:20] - losses["parts"][:20]).abs().max() < 1e-4
    weights = [checkpoints.read_tensors(tmp_path / name / "model.safetensors")["trunk.0.0.weight"] for name in losses]
    assert (weights[0] - weights[1]).abs().max() < 1e-3
    assert (weights[0] - weights[2]).abs().max() < 1e-3
