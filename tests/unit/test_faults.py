"""Training survives what happens to long runs: kill -9 anywhere, too little memory, several processes."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import torch
from test_training import same_weights

import casnkit as ck
from casnkit import runs, training
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
train(data, config, sys.argv[2], device="cpu", progress=False)
"""


def start(market, run, **changes):
    command = [sys.executable, "-c", CHILD.format(config={**CONFIG, **changes}), str(market), str(run)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes)
    assert child.stdout.readline().strip() == "ready", child.stderr.read()
    return child


def test_kill_nine_anywhere_changes_nothing(market, tmp_path):
    """An epoch is a few milliseconds here, so that kills fall into the writing of states too."""
    whole, began = start(market, tmp_path / "whole"), time.monotonic()
    assert whole.wait(timeout=300) == 0, whole.stderr.read()
    length, rng, kills = time.monotonic() - began, random.Random(0), 0
    while True:
        child = start(market, tmp_path / "run")
        try:
            code = child.wait(timeout=rng.uniform(0.02, length / KILLS) if kills < KILLS else 300)
            break
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            kills += 1
    assert code == 0, child.stderr.read()
    assert kills, "no kill fell into the training"
    assert same_weights(tmp_path / "whole", tmp_path / "run")
    logs = [[(row["epoch"], row["total"]) for row in runs.read_log(tmp_path / name)] for name in ("whole", "run")]
    assert logs[0] == logs[1]
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


def test_out_of_memory_names_the_knob(market, tmp_path, monkeypatch):
    data, config = ck.open_dataset(str(market)), ck.profile("smoke", **{**CONFIG, "accumulate": 2})
    known = r"4 pairs of 32x16.*accumulate=4.*precision=bf16.*batch-size"
    full, other = torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("something else")
    for error, kind, message in ((full, ValueError, known), (other, RuntimeError, "something else")):
        monkeypatch.setattr(training, "train_step", mock.Mock(side_effect=error))
        with pytest.raises(kind, match=message):
            train(data, config, tmp_path, device="cpu", progress=False)


NO_BATCHNORM = {"backbone": "squeezenet1_1", "id_norm": False, "id_hidden": 32, "pair_hidden": 32}
MANY = """
import json, sys, torch
torch.set_num_threads(1)
import casnkit as ck
from casnkit import runs, training
seen = []
real = training.train_step
def watched(run, *given):
    terms = real(run, *given)
    seen.append([float(run.accelerator.reduce(terms[k], "mean")) for k in ("ide", "ia", "bce", "consistency", "total")])
    return terms
training.train_step = watched
if __name__ == "__main__":
    data = ck.open_dataset(sys.argv[1])
    config = ck.profile("smoke", **{config!r})
    model = training.train(data, config, sys.argv[2], device="cpu", progress=False)
    accelerator = training.make_accelerator("cpu")
    result = ck.evaluation.evaluate(model, data, config, accelerator=accelerator, progress=False)
    found = [len(result.gallery.features), *(float(r.mean_ap) for r in result.rankings.values())]
    if accelerator.is_main_process:
        json.dump([seen, found], open(sys.argv[3], "w"))
"""


def test_two_processes_train_like_one(market, tmp_path):
    """Same losses to 1e-4 over 20 steps at the same global batch; a trunk without BatchNorm, which CPUs cannot synchronise.

    The learning rate is small: crop bounds are steps (equation 5), and once rounding moves one, the losses part for good.
    """
    base = {"height": 64, "width": 32, "batch_size": 8, "epochs": 10, "learning_rate": 0.002, "erase": 0.5}
    losses, weights, ranked = {}, {}, {}
    for name, world, accumulate in (("one", 1, 1), ("two", 2, 1), ("parts", 1, 2)):
        script, result = tmp_path / f"{name}.py", tmp_path / f"{name}.json"
        script.write_text(MANY.format(config={**base, "accumulate": accumulate, "model": NO_BATCHNORM}))
        launch = ["-m", "torch.distributed.run", f"--nproc-per-node={world}", "--master-port=0", "--standalone"]
        command = [sys.executable, *(launch if world > 1 else []), str(script), market, tmp_path / name, result]
        path = os.pathsep.join([str(Path(ck.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": path}
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        seen, ranked[name] = json.loads(result.read_text())
        losses[name] = torch.tensor(seen)[:20]
        weights[name] = runs.read_tensors(tmp_path / name / "model.safetensors")["trunk.0.0.weight"]
    assert ranked["two"] == pytest.approx(ranked["one"], abs=0.05), "the gallery was not put together again"
    assert len(losses["one"]) == 20
    for name in ("two", "parts"):
        assert (losses["one"] - losses[name]).abs().max() < 1e-4
        assert (weights["one"] - weights[name]).abs().max() < 1e-3
