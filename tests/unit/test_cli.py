"""The command line on small data, and the house's rules: what is imported where."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import casnkit
from casnkit.cli import main, parser
from casnkit.commands import train_config
from casnkit.data.imitate import imitate

PACKAGE = Path(casnkit.__file__).parent
PETS = Path(__file__).parents[3] / "shared" / "data" / "pets-small"
FAST = ["--set", "height=32", "width=16", "batch_size=4", "padding=1", "--epochs", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imitate("market1501", tmp_path_factory.mktemp("market"))


def test_train_evaluate_and_pictures(
    market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", str(market), "--profile", "smoke", *FAST]) == 0
    out = capsys.readouterr().out
    assert "epoch   2" in out
    assert "runs/market1501-smoke-gap-casn-0" in out
    assert main(["evaluate", "--data", str(market), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    results = json.loads((tmp_path / "runs/market1501-smoke-gap-casn-0/results.json").read_text())
    rows = {row["ranked by"]: row for row in results["rows"]}
    assert set(rows) == {"features", "attention", "sum", "chance"}
    assert f"{rows['features']['mean_ap']:.1f}" in out
    assert 0 < rows["features"]["mean_ap_trapezoid"] <= rows["features"]["mean_ap"] <= 100
    for path in (line.removeprefix("picture: ") for line in out.splitlines() if line.startswith("picture: ")):
        assert (tmp_path / path).stat().st_size > 5000


def test_baseline_is_ranked_by_features_only(market: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    arguments = ["train", "--data", str(market), "--profile", "smoke", "--variant", "ide", "--pooling", "stripes"]
    assert main([*arguments, "--out", run, *FAST, "--set", "height=64", "width=32"]) == 0
    assert main(["evaluate", "--run", run, "--data", str(market), "--pictures", "0", "--device", "cpu"]) == 0
    assert "attention" not in capsys.readouterr().out.split("ranked by")[1]


@pytest.mark.skipif(not PETS.is_dir(), reason=f"no real pictures at {PETS}")
def test_real_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", str(PETS), "--profile", "smoke", "--epochs", "2", "--device", "cpu"]) == 0
    assert main(["evaluate", "--data", str(PETS), "--device", "cpu"]) == 0
    assert len(list(tmp_path.glob("runs/*/pictures/*.png"))) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "/no/such/folder"], "/no/such/folder"),
        (["train", "--set", "treshold=0.2"], "did you mean 'threshold'"),
        (["train", "--set", "threshold"], "NAME=VALUE"),
        (["train", "--set", "pooling=rows"], "expected one of gap, stripes, got 'rows'"),
        (["train", "--set", "epochs=two"], "expected a whole number, got 'two'"),
        (["evaluate", "--run", "/no/such/run"], "expected a run"),
        (["evaluate"], "found no trained run"),
        (["data", "check", "/no/such/folder"], "/no/such/folder"),
        (["data", "synthesize", "--out", "x", "--size", "huge"], "huge"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("casnkit: ")
    assert message in error
    assert "Traceback" not in error
    assert not [p for p in tmp_path.iterdir() if p.name != "x" or any(p.iterdir())], "something was left behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "resnet5"], "resnet50"),
        (["--weights", "no.pth"], "no.pth"),
        (["--weights", "imagenet", "--backbone", "resnet18"], "resnet18-f37072fd.pth"),
        (["--set", "height=8", "width=8"], "too small"),
        (["--pooling", "stripes", "--set", "height=32", "width=16"], "stripes"),
        (["--device", "cuda:99"], "cuda"),
    ],
)
def test_networks_that_cannot_be_built(
    market: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    run = ["train", "--data", str(market), "--profile", "smoke", "--out", str(tmp_path / "run"), "--epochs", "1"]
    assert main([*run, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists(), "a run that never began left a folder behind"


def test_options_become_the_configuration() -> None:
    options = parser().parse_args(
        [
            "train",
            "--profile",
            "quick",
            "--variant",
            "ide+ia",
            "--pooling",
            "stripes",
            "--epochs",
            "3",
            "--weights",
            "none",
            "--set",
            "loss.threshold=0.3",
            "flip=0",
        ]
    )
    config = train_config(options)
    assert (config.variant, config.model.pooling, config.train.epochs, config.model.weights) == (
        "ide+ia",
        "stripes",
        3,
        None,
    )
    assert (config.loss.threshold, config.data.flip, config.data.height, config.data.width) == (0.3, 0.0, 144, 48)


def test_none_is_nothing_or_a_choice_as_the_setting_has_it() -> None:
    command = "train --weights none --set weights=none clip_norm=none pair_activation=none id_norm=false"
    config = train_config(parser().parse_args(command.split()))
    assert (config.model.weights, config.train.clip_norm, config.model.pair_activation) == (None, None, "none")
    assert config.model.id_norm is False


def test_data_commands(tmp_path: Path, market: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "people"
    assert main(["data", "synthesize", "--out", str(folder), "--size", "tiny", "--processes", "1"]) == 0
    assert main(["data", "check", str(folder)]) == 0
    broken = sorted((folder / "query").glob("*.jpg"))[0]
    broken.write_bytes(broken.read_bytes()[:200])
    assert main(["data", "check", str(folder)]) == 1
    assert broken.name in capsys.readouterr().out


def test_import_needs_only_four_packages() -> None:
    """Every module of the package imports while everything but torch, torchvision, numpy and pillow is blocked."""
    blocked = [
        "captum",
        "ipywidgets",
        "seaborn",
        "matplotlib",
        "sklearn",
        "tqdm",
        "safetensors",
        "accelerate",
        "pandas",
        "h5py",
        "IPython",
        "jupyterlab",
    ]
    names = [
        ".".join(("casnkit", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for p in sorted(PACKAGE.rglob("*.py"))
        if p.name != "__main__.py"
    ]
    code = f"""
import importlib, sys
import numpy, PIL.Image, torch, torchvision.transforms.v2  # these look around for optional packages themselves
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Block())
for name in {names!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def _imports(path: Path) -> set[str]:
    """First-level parts of the package that a module imports when it is loaded or used."""
    package = ("casnkit", *path.relative_to(PACKAGE).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            whole = [*base, *(node.module.split(".") if node.module else [])]
            names = [[*whole, alias.name] for alias in node.names] if len(whole) == 1 else [whole]
            found |= {name[1] for name in names if name[0] == "casnkit" and len(name) > 1}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("casnkit.")}
    return found


TOP = {"training", "evaluation", "report", "claims", "ablation", "inspector", "notebook", "tables"}
FORBIDDEN = {
    "attention.py": {"*"},
    "data": {"models", "losses", "ranking", "figures", "attention", "explain", *TOP},
    "models": {"losses", "ranking", "figures", "data", "explain", *TOP},
    "losses.py": {"ranking", "figures", "explain", *TOP},
    "ranking": {"figures", "losses", "explain", *TOP},
    "figures": {"models", "losses", "ranking", "data", "explain", *TOP},
    "explain": {"training", "inspector", "notebook", "ablation", "tables"},
    "inspector": {"training", "evaluation", "report", "notebook", "ablation", "tables"},
}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_arrows_point_down(room: str) -> None:
    place = PACKAGE / room
    for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
        imported = _imports(path)
        wrong = imported if FORBIDDEN[room] == {"*"} else imported & FORBIDDEN[room]
        assert not wrong, f"{path.name} imports {wrong}"
