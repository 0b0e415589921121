"""environment.yml and pyproject.toml ask for the same: packages, lowest versions, Python."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"torch": "pytorch"}  # where conda-forge calls it otherwise
ENVIRONMENT, PROJECT = ((ROOT / name).read_text(encoding="utf-8") for name in ("environment.yml", "pyproject.toml"))
DEPENDENCIES = re.findall(r"^ +- (.+?)\s*$", ENVIRONMENT.partition("dependencies:")[2], re.MULTILINE)


def bounds(requirements: list[str]) -> dict[str, str]:
    return dict(re.fullmatch(r"([\w-]+)(.*)", line.replace(" ", "")).groups() for line in requirements)


def test_same_packages_bounds_and_python() -> None:
    table = re.search(r"^dependencies = \[$(.*?)^\]$", PROJECT, re.MULTILINE | re.DOTALL)[1]  # 3.10 has no tomllib
    wanted = bounds(re.findall(r'^\s+"([^"]+)"', table, re.MULTILINE))
    assert len(wanted) >= 12
    listed = bounds([line for line in DEPENDENCIES if not line.startswith(("pip:", "-e", "python>"))])
    listed.pop("pip", None)
    assert {CONDA_NAMES.get(name, name): bound for name, bound in wanted.items()} == listed
    lowest = re.search(r'requires-python = ">=([\d.]+)"', PROJECT)[1]
    (python,) = [line for line in DEPENDENCIES if line.startswith("python>")]
    assert python.startswith(f"python>={lowest},<")


def test_one_channel_and_the_kit_itself() -> None:
    channels = re.findall(r"- (\S+)", ENVIRONMENT.partition("channels:")[2].partition("dependencies:")[0])
    assert channels == ["conda-forge", "nodefaults"], "numeric packages of two channels bring two OpenMP runtimes"
    assert re.findall(r"- (.+)", ENVIRONMENT.partition("- pip:")[2]) == ["-e ."], "pip would bring its own torch"


def test_every_extra_that_the_library_names_exists() -> None:
    extras = set(re.findall(r"^(\w+) = \[", PROJECT.partition("[project.optional-dependencies]")[2], re.MULTILINE))
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "casnkit").rglob("*.py")]
    named = set(re.findall(r"casnkit\[(\w+)\]", "\n".join(sources)))
    assert named, "the pattern finds nothing"
    assert named <= extras
