"""What is installed: Python, packages, the device, widgets and a browser, each as a :class:`Finding`."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from casnkit.runs import pick_device

from . import __version__

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "firefox")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        topic: what was looked at.
        state: ``ok``, ``note`` (absent, and nothing essential needs it) or ``missing`` (something will not work).
        text: what was found.
        advice: what to do; empty where nothing is to be done.
    """

    topic: str
    state: str
    text: str
    advice: str = ""


def find_python() -> Finding:
    """This Python and this kit."""
    version = ".".join(map(str, sys.version_info[:3]))
    text = f"{version}, casnkit {__version__}"
    return Finding("python", "ok", text)


def find_packages(requirements: Iterable[str] | None = None) -> list[Finding]:
    """Every package that the kit declares: there or not, and new enough.

    Args:
        requirements: lines such as ``"torch>=2.6"``; default: those of the installed kit.
    """
    if requirements is None:
        try:
            requirements = importlib.metadata.requires("casnkit") or ()
        except importlib.metadata.PackageNotFoundError:
            return [Finding("packages", "missing", "casnkit is not installed", "pip install -e . in the kit's folder")]
    wanted = [_parts(line) for line in requirements if ";" not in line]  # behind a semicolon: optional extras
    found, findings = [], []
    for name, lowest in wanted:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            advice = f'pip install "{name}>={lowest}"' if lowest else f"pip install {name}"
            findings.append(Finding(name, "missing", "not installed", advice))
            continue
        found.append(f"{name} {version}")
        if _numbers(version) < _numbers(lowest):
            text = f"{version}, at least {lowest} is needed"
            findings.append(Finding(name, "missing", text, f'pip install --upgrade "{name}>={lowest}"'))
    return [Finding("packages", "ok", ", ".join(found) or "none"), *findings]


def _parts(requirement: str) -> tuple[str, str]:
    """Name and lowest version of a requirement; the version is empty where none is asked for."""
    name = re.split(r"[\s<>=!~\[;(]", requirement.strip(), maxsplit=1)[0]
    lowest = re.search(r">=\s*([\w.]+)", requirement)
    return name, lowest.group(1) if lowest else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def find_device(device: str | None = None) -> Finding:
    """What would compute: name and memory of the GPU and whether it has bfloat16, or the processor's threads."""
    place = pick_device(device)
    if place.type == "cuda":
        facts = torch.cuda.get_device_properties(place)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        count = torch.cuda.device_count()
        return Finding("device", "ok", f"{count} x {facts.name}, {facts.total_memory / 2**30:.0f} GiB, {bf16}")
    text = f"{place.type}, {torch.get_num_threads()} threads of {os.cpu_count()} processors, no GPU in use"
    return Finding("device", "ok", text)


def find_widgets() -> Finding:
    """Would sliders show? The kernel's side, the browser's side, and JupyterLab, of versions that belong together."""
    versions = {name: _version(name) for name in ("ipywidgets", "jupyterlab_widgets", "jupyterlab", "ipykernel")}
    text = ", ".join(f"{name} {version or 'absent'}" for name, version in versions.items())
    absent = [name for name, version in versions.items() if not version]
    if absent:
        return Finding("widgets", "missing", text, f"pip install {' '.join(absent)}")
    majors = tuple(_numbers(versions[name] or "0")[0] for name in ("ipywidgets", "jupyterlab_widgets", "jupyterlab"))
    fits = majors[0] == 8 and majors[1] == 3 and majors[2] >= 4
    if not fits:
        advice = "pip install --upgrade ipywidgets jupyterlab_widgets jupyterlab, then start JupyterLab anew"
        return Finding("widgets", "missing", f"{text}: these do not belong together, sliders would not show", advice)
    return Finding("widgets", "ok", f"{text}: sliders will show")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def find_browser() -> Finding:
    """A browser on this machine; only the tests of the widgets need one here, JupyterLab opens in any."""
    places = [path for name in _BROWSERS if (path := shutil.which(name))]
    if places:
        return Finding("browser", "ok", places[0])
    return Finding("browser", "note", "none on this machine: open JupyterLab's address in one elsewhere")
