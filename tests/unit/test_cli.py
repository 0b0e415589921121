"""The command line on small data, its doctor and its demonstration: what is written, and what bad input looks like."""

import importlib.metadata
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from imitations import Shape, imitate
from PIL import Image, ImageOps

import casnkit as ck
from casnkit import __main__ as cli
from casnkit import experiments
from casnkit.__main__ import main
from casnkit.config import profile
from casnkit.data import open_dataset
from casnkit.data.images import load_images, normalise
from casnkit.data.people import synthesize
from casnkit.notebook import doctor, report
from casnkit.training import pair_sampler

PETS = Path(__file__).parents[3] / "shared" / "data" / "pets-small"
FAST = ["--set", "height=32", "width=16", "batch_size=4", "padding=1", "--epochs", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imitate("market1501", tmp_path_factory.mktemp("market"))


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "pets", [False, pytest.param(True, marks=pytest.mark.skipif(not PETS.is_dir(), reason=str(PETS)))]
)
def test_train_evaluate_and_pictures(market: Path, pets: bool, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(PETS if pets else market)
    assert main(["train", "--data", data, "--profile", "smoke", *FAST]) == 0
    assert "epoch   2" in capsys.readouterr().out
    assert main(["evaluate", "--data", data, "--device", "cpu"]) == 0
    out, (run,) = capsys.readouterr().out, Path("runs").glob("*-smoke-gap-casn-0")
    rows = {row["ranked by"]: row["mean_ap"] for row in json.loads((run / "results.json").read_text())["rows"]}
    assert set(rows) == {"features", "attention", "sum", "chance"}
    assert f"{rows['features']:.1f}" in out
    pictures = [line.removeprefix("picture: ") for line in out.splitlines() if line.startswith("picture: ")]
    assert len([path for path in pictures if Path(path).stat().st_size > 5000]) >= 4


def test_baseline_with_validation_is_ranked_by_features_only(market: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--data", str(market), "--profile", "smoke", "--variant", "ide", "--pooling", "stripes"]
    assert main([*arguments, "--out", "run", *FAST, "--set", "height=64", "width=32", "--validate", "1"]) == 0
    log = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert all(0 <= row["validation_mean_ap"] <= 100 for row in log)
    assert Path("run/best.safetensors").is_file()
    assert main(["evaluate", "--run", "run", "--data", str(market), "--pictures", "0", "--device", "cpu"]) == 0
    assert "attention" not in capsys.readouterr().out.split("ranked by")[1]
    before = sorted((experiments.FOLDER / "gap-ide").iterdir())
    assert main(["evaluate", "--run", "gap-ide", "--data", str(market), "--pictures", "0", "--device", "cpu"]) == 0
    assert len(list(Path("runs/gap-ide").glob("on-market*/results.json"))) == 1, "networks of the kit are runs too"
    assert sorted((experiments.FOLDER / "gap-ide").iterdir()) == before, "nothing goes into the package"


def test_another_data_set_its_own_place_and_no_names_for_strangers(market: Path, tmp_path: Path, capsys) -> None:
    other = imitate("market1501", tmp_path / "other", shape=Shape(num_train=5))  # the same pids, and one more
    for path in (other / "bounding_box_train").glob("*.jpg"):  # of other people
        ImageOps.invert(Image.open(path).convert("RGB")).save(path)
    train = ["train", "--data", str(market), "--profile", "smoke", "--out", "run", "--validate", "2"]
    assert main([*train, *FAST]) == 0
    test = ["evaluate", "--run", "run", "--device", "cpu", "--pictures", "2", "--data"]
    assert main([*test, str(market)]) == 0
    own = Path("run/results.json").read_bytes()
    assert main([*test, str(other), "--weights", "best", "--shortlist", "4", "--rerank"]) == 0
    (place,) = Path("run").glob("on-other-*")
    assert (place / "pictures" / "identification.png").is_file()
    facts = json.loads((place / "results.json").read_text())
    assert (facts["weights"], facts["shortlist"]) == ("best", 4)
    assert [row["ranked by"] for row in facts["rows"]] == ["features", "sum", "re-ranked features", "chance"]
    assert main([*test, str(other), "--no-attention", "--out", "mine"]) == 0
    assert len(json.loads(Path("mine/results.json").read_text())["rows"]) == 2
    assert Path("run/results.json").read_bytes() == own
    model, info = ck.runs.load_model("run")
    theirs, ours = (ck.open_dataset(str(root)).train for root in (other, market))
    for split, known in ((theirs, False), (ours, True)):
        index = [int(np.flatnonzero(split.pids == pid)[0]) for pid in ours.identities]
        _, captions, _, maps = report._look(model, split, info, index)
        learned = known & np.isin(split.pids[index], info.pid_of_label)  # of their own set one person was held out
        assert ["not learned" not in caption for caption in captions] == learned.tolist()
        with torch.no_grad():
            pixels = normalise(load_images(split.subset(index), (32, 16), progress=False))
            likely = model.id_scores(model.pool(model.feature_map(pixels))).argmax(1)
        places = {pid: k for k, pid in enumerate(info.pid_of_label.tolist())}
        labels = [
            places[p] if own else k for p, own, k in zip(split.pids[index], learned, likely.tolist(), strict=True)
        ]
        torch.testing.assert_close(maps, model.identification_attention(pixels, torch.tensor(labels)))
    train[train.index("run")] = "plain"
    assert main([*train[:-2], *FAST]) == 0
    assert main(["evaluate", "--run", "plain", "--weights", "best"]) == 2
    assert "--validate" in capsys.readouterr().err


def test_who_is_this_by_command(market: Path, capsys) -> None:
    picture = str(next((market / "bounding_box_test").glob("00*.jpg")))
    who = ["evaluate", "--run", "gap-casn", "--data", str(market), "--device", "cpu", "--query", picture]
    assert main(who) == 0
    assert "candidates, not identifications" in capsys.readouterr().out
    (file,) = Path("runs/gap-casn").glob("on-*/candidates.json")
    first = json.loads(file.read_text())[0]
    assert (first["path"], first["rank"]) == (picture, 1)
    assert (file.parent / "pictures" / "candidates.png").is_file()
    assert main([*who, "no.jpg"]) == 2
    assert "no.jpg" in capsys.readouterr().err


TRAIN = ["train", "--data", "MARKET", "--profile", "smoke", "--out", "x/run", "--epochs", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "/no/such/folder"], "/no/such/folder"),
        (["train", "--set", "treshold=0.2"], "did you mean 'threshold'"),
        (["train", "--epochs", "two"], "expected a whole number, got 'two'"),
        (["evaluate", "--run", "/no/such/run"], "expected a run"),
        (["evaluate"], "found no trained run"),
        (["demo", "--seeds", "0"], "at least one seed"),
        (["data", "synthesize", "--out", "x", "--size", "huge"], "huge"),
        ([*TRAIN, "--weights", "no.pth"], "no.pth"),
        ([*TRAIN, "--device", "cuda:99"], "cuda"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments: list[str], message: str, market: Path, capsys) -> None:
    assert main([str(market) if word == "MARKET" else word for word in arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("casnkit: ")
    assert message in error
    assert not [p for p in Path().iterdir() if p.name != "x" or any(p.iterdir())], "something was left behind"


def test_interruptions_and_unwritable_files(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    errors = [KeyboardInterrupt(), PermissionError(13, "Permission denied", "/etc/x")]
    monkeypatch.setattr(cli, "_check_data", lambda options: (_ for _ in errors).throw(errors.pop(0)))
    assert [main(["data", "check", "."]) for _ in range(2)] == [130, 2]
    assert "casnkit: [Errno 13] Permission denied: '/etc/x'" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_error() -> None:
    code = "import casnkit.__main__ as c, sys; c._check_data = lambda o: print('x' * 9999999); sys.exit(c.main())"
    command = [sys.executable, "-c", code, "data", "check", "."]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=Path(cli.__file__).parents[1], text=True, **pipes) as child:
        child.stdout.read(1)
        child.stdout.close()
        assert (child.stderr.read(), child.wait(timeout=60)) == ("", 1)


def test_data_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "synthesize", "--out", "people", "--size", "tiny", "--processes", "1"]) == 0
    assert main(["data", "check", "people"]) == 0
    broken = next(Path("people/query").glob("*.jpg"))
    broken.write_bytes(broken.read_bytes()[:200])
    assert main(["data", "check", "people"]) == 1
    assert broken.name in capsys.readouterr().out


def test_doctor_writes_nothing_and_names_missing_data(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("CASNKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["torch>=2.6", "captum>=0.9"])
    assert main(["doctor", "--no-speed", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("ready")
    assert list(tmp_path.iterdir()) == [], "the doctor wrote something"
    assert main(["doctor", "--no-speed", "--data", str(tmp_path / "nowhere")]) == 1
    assert f"{tmp_path / 'nowhere'}: no data set found" in capsys.readouterr().out


@pytest.mark.parametrize("requirement", ["no-such-package-of-ours>=2.1", "numpy>=99", "numpy==0.*"])
def test_packages_that_are_missing_or_of_another_version(requirement: str) -> None:
    topic, state, text, advice = doctor.find_packages("packages", [requirement, "pytest>=1", "extra>=2; extra == 'x'"])
    assert (topic, state, advice) == ("packages", "missing", f'pip install --upgrade "{requirement}"')
    assert f"pytest {importlib.metadata.version('pytest')}" in text


def test_data_that_is_there(tmp_path: Path) -> None:
    market, msmt = imitate("market1501", tmp_path / "Market-1501"), imitate("msmt17", tmp_path / "MSMT17")
    assert doctor.find_data(market, "missing") == [("data: market1501", "ok", str(market), "")]
    found = {topic: text for topic, _, text, _ in doctor.find_data(tmp_path, "missing")}
    assert found == {"data: market1501": str(market), "data: msmt17": str(msmt)}


def test_times_are_the_samplers_steps_times_a_step(tmp_path: Path, monkeypatch, capsys) -> None:
    dataset = open_dataset("people", synthesize(tmp_path, "tiny", processes=1, progress=False))
    config = profile("smoke")
    before = torch.get_rng_state()
    assert 0 < doctor.step_seconds(config, 12, torch.device("cpu")) < 60
    assert torch.equal(before, torch.get_rng_state())
    monkeypatch.setattr(doctor, "step_seconds", lambda *_: 2.0)
    assert main(["doctor", "--device", "cpu"]) == 0
    steps = config.train.epochs * len(pair_sampler(dataset, config).epoch(0))
    assert f"about {timedelta(seconds=2 * steps)} ({steps} steps of 2000 ms)" in capsys.readouterr().out


def test_demo_resumes_and_draws(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CASNKIT_DATA", str(tmp_path / "data"))
    out = tmp_path / "demo"
    command = ["demo", "--out", str(out), "--profile", "smoke"]
    with monkeypatch.context() as stopped:
        stopped.setattr(report, "draw_report", mock.Mock(side_effect=KeyboardInterrupt))
        assert main(command) == 130
    assert [path.parent.name for path in out.rglob("model.safetensors")] == ["ide"]
    assert (out / "first-look.png").is_file()
    trained = (out / "ide" / "log.jsonl").read_text()
    assert main(command) == 0
    assert (out / "ide" / "log.jsonl").read_text() == trained, "the log holds each epoch's speed"
    rows = json.loads((out / "results.json").read_text())["rows"]
    ways = [("ide", "features"), ("casn", "features"), ("casn", "attention"), ("casn", "sum"), ("chance", "chance")]
    assert [(row["variant"], row["ranked by"]) for row in rows] == ways
    pictures = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    assert {"pictures/cmc.png", "pictures/attention.png", "casn/pictures/rankings.png"} <= pictures


def test_means_and_range_over_seeds() -> None:
    seeds = pd.DataFrame({"seed": [0, 1, 2], "rank_1": [70.0, 76.0, 73.0], "mean_ap": [60.0, 61.0, 65.0]})
    seeds = seeds.assign(variant="ide", rank_5=1.0, mean_ap_trapezoid=1.0, **{"ranked by": "features"})
    (row,) = cli.over_seeds(seeds.to_dict("records")).to_dict("records")
    assert (row["rank_1"], row["mean_ap"], row["seeds"]) == (73.0, 62.0, 3)
    assert (row["range of rank-1"], row["range of mAP"]) == (6.0, 5.0)


def test_an_ascii_terminal_shows_other_letters_as_escapes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "casnkit", "data", "check", str(tmp_path / "Läufer")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parents[2])}
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.returncode == 2
    assert "L\\xe4ufer" in found.stderr
    assert "Traceback" not in found.stderr
