"""``casnkit doctor``: is everything there, and what would run how long on this machine.

Each look is a function that returns findings; nothing is written, and nothing is printed but by :func:`run`. How long a
training would take is not typed here: one step of each profile's network is timed and multiplied by the number of steps
that its configuration and data make.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from casnkit.data.readers import MARKET_FOLDERS, recognise
from casnkit.data.readers import find_folders as folders_with
from casnkit.runs import pick_device

from .data import open_dataset
from .data.check import not_whole
from .data.people import PEOPLE_VERSION, SIZES
from .estimate import estimate, spoken
from .installed import Finding, find_browser, find_device, find_packages, find_python, find_widgets
from .notebook import default_folder

_MARKS = {"ok": "ok", "note": "--", "missing": "!!"}
_ROOM = 2.0  # GiB: the people of size quick, two runs of it, and their pictures


def add_parser(group: Any) -> None:
    """Add ``doctor`` to the command line's sub-commands."""
    doctor = group.add_parser("doctor", help="what is installed and found, and what would run how long here")
    doctor.add_argument("--data", type=Path, nargs="*", default=[], help="folders in which to look for benchmarks")
    doctor.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    doctor.add_argument("--no-speed", action="store_true", help="leave out the measurement, which takes some seconds")
    doctor.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print the report. Returns 1 where something essential is missing."""
    findings = examine(options.data, options.device, speed=not options.no_speed)
    print(to_text(findings))
    return int(any(finding.state == "missing" for finding in findings))


def examine(roots: Iterable[Path] = (), device: str | None = None, speed: bool = True) -> list[Finding]:
    """Look at everything.

    Args:
        roots: folders to search for benchmarks, besides ``$CASNKIT_DATA``.
        device: as for training.
        speed: time a step of each profile.
    """
    findings = [find_python(), *find_packages(), find_device(device), find_widgets(), find_browser()]
    findings += [*find_people(), *find_benchmarks(roots), find_runs(), *find_folders()]
    return findings + (find_times(device) if speed else [])


def to_text(findings: list[Finding]) -> str:
    """The report: a line for each finding, advice below it, the verdict last."""
    width = max(len(finding.topic) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.state]}  {finding.topic:{width}}  {finding.text}")
        if finding.advice:
            lines.append(f"{'':{width + 6}}do: {finding.advice}")
    missing = dict.fromkeys(finding.topic for finding in findings if finding.state == "missing")
    verdict = f"not ready: {', '.join(missing)}" if missing else "ready: everything essential is there"
    return "\n".join([*lines, verdict])


def find_people() -> list[Finding]:
    """Which sizes of the drawn people lie in the cache."""
    findings = []
    for size, counts in SIZES.items():
        folder = _data_folder() / f"people-{size}-{PEOPLE_VERSION}"
        if (folder / "people.json").is_file():
            findings.append(Finding(f"people:{size}", "ok", f"{counts.images:,} images in {folder}"))
        else:
            text = f"{counts.images:,} images, not drawn yet; drawn when first used"
            findings.append(Finding(f"people:{size}", "note", text))
    return findings


def _data_folder() -> Path:
    return Path(os.environ.get("CASNKIT_DATA") or Path.home() / ".cache" / "casnkit").expanduser()


def find_benchmarks(roots: Iterable[Path] = ()) -> list[Finding]:
    """What is recognised in ``$CASNKIT_DATA`` and in the given folders, one level deep; nothing is extracted."""
    given = [Path(root).expanduser().absolute() for root in roots]
    base = [_data_folder()] if os.environ.get("CASNKIT_DATA") else []
    findings = []
    for root in (*given, *base):
        if not root.is_dir():
            state = "missing" if root in given else "note"
            findings.append(Finding("data", state, f"no folder {root}", "check the path" if root in given else ""))
            continue
        place, found = _recognised(root)
        if place != root:  # else the set begins right here, and the folders inside are its own
            inside = sorted(entry for entry in root.iterdir() if entry.is_dir())
            found = [each for folder in inside for each in _recognised(folder)[1]]
        nothing = f"{root}: no data set recognised"
        advice = f"casnkit data check {root}"
        findings += found or [Finding("data", "missing" if root in given else "note", nothing, advice)]
    if not findings:
        text = "no benchmark folder given; the drawn people need none (--data FOLDER or CASNKIT_DATA)"
        findings.append(Finding("data", "note", text))
    return findings


def _recognised(folder: Path) -> tuple[Path | None, list[Finding]]:
    """The one set at or below ``folder``: where it begins, and what to say of it; None and nothing if there is none."""
    if folder.name.startswith("people-"):  # the cache, listed by itself
        return None, []
    try:
        name, place = recognise(folder)
        if name.startswith("cuhk03-np") and not folders_with(place, MARKET_FOLDERS):
            text = f"{folder}: cuhk-03.mat, as it was handed out; its pictures are extracted when it is first opened"
            return place, [Finding(f"data: {name}", "ok", text)]
        dataset = open_dataset(name, place, require_train=False, progress=False)
    except (ValueError, ImportError):
        return None, []
    counts = f"{len(dataset.train):,} / {len(dataset.query):,} / {len(dataset.gallery):,} images"
    like = "; laid out like it, but not the benchmark itself" if not_whole(dataset) else ""
    text = f"{folder}: {counts} (training / query / gallery){like}"
    return dataset.root, [Finding(f"data: {dataset.name}", "ok", text)]


def find_runs(folder: Path | None = None) -> Finding:
    """Trained and unfinished runs in the folder that notebooks and commands use."""
    folder = folder or default_folder()
    files = sorted([*folder.glob("*/run.json"), *folder.glob("*/*/run.json")])
    finished = sum((file.parent / "model.safetensors").is_file() for file in files)
    if not files:
        return Finding("runs", "note", f"none in {folder.absolute()}: notebooks train what they need, once")
    return Finding("runs", "ok", f"{finished} finished, {len(files) - finished} unfinished in {folder.absolute()}")


def find_folders() -> list[Finding]:
    """Whether one can write where data and runs go, and how much room is there."""
    findings = []
    for topic, folder in (("folder of data", _data_folder()), ("folder of runs", default_folder())):
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            name = "CASNKIT_DATA" if topic.endswith("data") else "CASNKIT_RUNS"
            advice = f"set {name} to a folder that can be written to"
            findings.append(Finding(topic, "missing", f"{folder}: cannot be written ({error.strerror})", advice))
            continue
        free = shutil.disk_usage(there).free / 2**30
        short = free < _ROOM
        advice = f"free some room: at least {_ROOM:.0f} GiB" if short else ""
        findings.append(Finding(topic, "missing" if short else "ok", f"{folder}: {free:.1f} GiB free", advice))
    return findings


def find_times(device: str | None = None) -> list[Finding]:
    """What training and test of each profile would take here."""
    findings = []
    for row in estimate(pick_device(device)):
        text = (
            f"training about {spoken(row.train_seconds)} ({row.steps:,} steps of {1000 * row.step_seconds:.0f} ms), "
            f"features for the test {spoken(row.test_seconds)}"
        )
        findings.append(Finding(f"{row.profile}, {row.variant}", "ok", text))
    slow = pick_device(device).type == "cpu"
    if slow:
        findings.append(Finding("paper", "note", "on a processor: take smoke and quick here, and a GPU for paper"))
    return findings
