"""The command line on small data: what is trained, tested and written, and what bad input looks like."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from casnkit import __main__ as cli
from casnkit.__main__ import main, parser, train_config
from casnkit.data.imitate import imitate
from casnkit.experiments import shipped

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
    assert len(pictures) >= 4
    assert all(Path(path).stat().st_size > 5000 for path in pictures)


def test_baseline_with_validation_is_ranked_by_features_only(market: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--data", str(market), "--profile", "smoke", "--variant", "ide", "--pooling", "stripes"]
    assert main([*arguments, "--out", "run", *FAST, "--set", "height=64", "width=32", "--validate", "1"]) == 0
    log = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert all(0 <= row["validation_mean_ap"] <= 100 for row in log)
    assert Path("run/best.safetensors").is_file()
    assert main(["evaluate", "--run", "run", "--data", str(market), "--pictures", "0", "--device", "cpu"]) == 0
    assert "attention" not in capsys.readouterr().out.split("ranked by")[1]
    before = sorted((shipped.FOLDER / "gap-ide").iterdir())
    assert main(["evaluate", "--run", "gap-ide", "--data", str(market), "--pictures", "0", "--device", "cpu"]) == 0
    assert Path("runs/gap-ide/results.json").is_file(), "networks of the kit are runs too"
    assert sorted((shipped.FOLDER / "gap-ide").iterdir()) == before, "nothing goes into the package"


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
    monkeypatch.setattr(cli, "check_data", lambda options: (_ for _ in errors).throw(errors.pop(0)))
    assert [main(["data", "check", "."]) for _ in range(2)] == [130, 2]
    said = capsys.readouterr().err
    assert "rerun the command" in said
    assert "casnkit: [Errno 13] Permission denied: '/etc/x'" in said


def test_a_reader_that_has_gone_is_no_error() -> None:
    code = "import casnkit.__main__ as c, sys; c.check_data = lambda o: print('x' * 9999999); sys.exit(c.main())"
    command = [sys.executable, "-c", code, "data", "check", "."]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=Path(cli.__file__).parents[1], text=True, **pipes) as child:
        child.stdout.read(1)
        child.stdout.close()
        assert (child.stderr.read(), child.wait(timeout=60)) == ("", 1)


def test_options_become_the_configuration() -> None:
    command = "train --variant ide+ia --pooling stripes --epochs 3 --weights none --set loss.threshold=0.3 flip=0"
    config = train_config(parser("train").parse_args(command.split()))
    assert (config.variant, config.model.pooling, config.train.epochs) == ("ide+ia", "stripes", 3)
    assert (config.model.weights, config.loss.threshold, config.data.flip) == (None, 0.3, 0.0)


def test_data_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "synthesize", "--out", "people", "--size", "tiny", "--processes", "1"]) == 0
    assert main(["data", "check", "people"]) == 0
    broken = next(Path("people/query").glob("*.jpg"))
    broken.write_bytes(broken.read_bytes()[:200])
    assert main(["data", "check", "people"]) == 1
    assert broken.name in capsys.readouterr().out
