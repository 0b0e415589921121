"""environment.yml and pyproject.toml ask for the same: packages, lowest versions, Python."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"torch": "pytorch"}  # where conda-forge calls it otherwise
ONLY_CONDA = {"pip"}


def environment() -> list[str]:
    """Dependencies of environment.yml, the pip section last as one indented line each."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    return re.findall(r"^ +- (.+?)\s*$", text.partition("dependencies:")[2], re.MULTILINE)


def project(table: str) -> str:
    """A list of pyproject.toml as text; tomllib is not in Python 3.10."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(rf"^{table} = \[$(.*?)^\]$", text, re.MULTILINE | re.DOTALL)[1]


def bounds(requirements: list[str]) -> dict[str, str]:
    return dict(re.fullmatch(r"([\w-]+)(.*)", line.replace(" ", "")).groups() for line in requirements)


def test_same_packages_and_bounds() -> None:
    wanted = bounds(re.findall(r'^\s+"([^"]+)"', project("dependencies"), re.MULTILINE))
    assert len(wanted) >= 12
    listed = bounds([line for line in environment() if not line.startswith(("pip:", "-e", "python>"))])
    assert {CONDA_NAMES.get(name, name): bound for name, bound in wanted.items()} == {
        name: bound for name, bound in listed.items() if name not in ONLY_CONDA
    }


def test_same_python() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lowest = re.search(r'requires-python = ">=([\d.]+)"', text)[1]
    (python,) = [line for line in environment() if line.startswith("python>")]
    assert python.startswith(f"python>={lowest},<")


def test_one_channel_and_the_kit_itself() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    channels = re.findall(r"- (\S+)", text.partition("channels:")[2].partition("dependencies:")[0])
    assert channels == ["conda-forge", "nodefaults"], "numeric packages of two channels bring two OpenMP runtimes"
    pip = text.partition("- pip:")[2]
    assert re.findall(r"- (.+)", pip) == ["-e ."], "pip would bring its own torch"


def test_every_extra_that_the_library_names_exists() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(re.findall(r"^(\w+) = \[", text.partition("[project.optional-dependencies]")[2], re.MULTILINE))
    named = set()
    for path in (ROOT / "casnkit").rglob("*.py"):
        named |= set(re.findall(r"casnkit\[(\w+)\]", path.read_text(encoding="utf-8")))
        named |= set(re.findall(r'require\(\s*"[^"]+",\s*f?"[^"]+",\s*"(\w+)"', path.read_text(encoding="utf-8")))
    assert named, "the pattern finds nothing"
    assert named <= extras


@pytest.mark.parametrize("line", ["numpy>=1.26", "torch >= 2.6"])
def test_bounds_reads_requirements(line: str) -> None:
    assert len(bounds([line])) == 1
    assert next(iter(bounds([line]).values())).startswith(">=")
