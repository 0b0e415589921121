"""``casnkit doctor``: is everything there, and what would run how long on this machine. Nothing is written."""

import argparse
import contextlib
import importlib.metadata
import math
import os
import platform
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from packaging.requirements import Requirement

import casnkit
from casnkit.config import Config, profile
from casnkit.data.people import SIZES
from casnkit.data.readers import recognise
from casnkit.experiments import PEOPLE
from casnkit.losses import CASNLoss
from casnkit.models import CASN, seeded
from casnkit.runs import pick_device
from casnkit.training import make_optimiser

Finding = tuple[str, str, str, str]  # topic; ok, note or missing; text; what to do about it


def add_parser(group: Any) -> None:
    """Add ``doctor`` to the command line."""
    doctor = group.add_parser("doctor", help="what is installed and found, and what would run how long here")
    doctor.add_argument("--data", type=Path, nargs="*", default=[], help="folders in which to look for benchmarks")
    doctor.add_argument("--no-speed", action="store_true", help="leave out the measurement, which takes some seconds")
    doctor.set_defaults(command=examine)


def examine(options: argparse.Namespace) -> int:
    """Look at everything and print it. Returns 1 where something essential is missing."""
    device, usual = pick_device(options.device), Path(os.environ.get("CASNKIT_DATA") or "~/.cache/casnkit")
    waits = ", ".join(f"{n}={os.environ[n]}" for n in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if n in os.environ)
    computes = f"cpu, {torch.get_num_threads()} threads of {os.cpu_count()} processors, waiting threads: {waits}"
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        computes = f"{torch.cuda.device_count()} x {facts.name}, {facts.total_memory / 2**30:.0f} GiB"
    together = "ipywidgets==8.*", "jupyterlab_widgets==3.*", "jupyterlab>=4", "ipykernel"
    findings = [("python", "ok", f"{platform.python_version()}, casnkit {casnkit.__version__}", "")]
    findings += [find_packages("packages", importlib.metadata.requires("casnkit") or ())]
    findings += [find_packages("widgets", together), ("device", "ok", computes, ""), *find_data(usual, "note")]
    findings += [found for root in options.data for found in find_data(root, "missing")]
    for name, people in PEOPLE.items() if not options.no_speed else ():
        config, size = profile(name, weights=None), SIZES[people.removeprefix("people:")]
        steps = config.train.epochs * math.ceil(size.train_images / config.data.batch_size)
        step = step_seconds(config, size.train_ids, device)
        text = f"training about {timedelta(seconds=round(steps * step))} ({steps:,} steps of {1000 * step:.0f} ms)"
        findings.append((f"profile {name}", "ok", text, ""))
    width = max(len(topic) for topic, *_ in findings)
    for topic, state, text, advice in findings:
        print(f"{state:7}  {topic:{width}}  {text}" + (f"\n{'':{width + 11}}do: {advice}" if advice else ""))
    missing = [topic for topic, state, *_ in findings if state == "missing"]
    print(f"not ready: {', '.join(missing)}" if missing else "ready: everything essential is there")
    return int(bool(missing))


def find_packages(topic: str, requirements: Iterable[str]) -> Finding:
    """Which packages are there, and how to get those that are absent or of a wrong version; extras are left out."""
    found, wrong = [], []
    for wanted in (each for each in map(Requirement, requirements) if each.marker is None):
        try:
            version = importlib.metadata.version(wanted.name)
            fits = wanted.specifier.contains(version, prereleases=True)
        except importlib.metadata.PackageNotFoundError:
            version, fits = "is missing", False
        found.append(f"{wanted.name} {version}")
        wrong += [] if fits else [f'"{wanted}"']
    advice = f"pip install --upgrade {' '.join(wrong)}" if wrong else ""
    return topic, "missing" if wrong else "ok", ", ".join(found), advice


def find_data(root: Path, otherwise: str) -> list[Finding]:
    """What is recognised in a folder and one level below; ``otherwise``: the state where nothing is."""
    root, sets = root.expanduser().absolute(), {}
    for folder in (root, *sorted(root.glob("*/"))):
        with contextlib.suppress(ValueError):  # none there, or several
            name, place = recognise(folder)
            sets[place] = name
    advice = "name a benchmark's folder with --data or CASNKIT_DATA; people are drawn when first used"
    found = [(f"data: {name}", "ok", str(place), "") for place, name in sets.items()]
    return found or [("data", otherwise, f"{root}: no data set found", advice)]


def step_seconds(config: Config, num_ids: int, device: torch.device) -> float:
    """Seconds of CASN's training step (``ide`` takes half); on a CPU large images are timed with two pairs, and scaled."""
    data = config.data
    pairs = 2 if device.type == "cpu" and data.height > 128 else data.batch_size
    with seeded(0, 0):
        model = CASN.from_config(num_ids, config.model).to(device, memory_format=torch.channels_last)
        images = torch.randn(2 * pairs, 3, data.height, data.width).to(device, memory_format=torch.channels_last)
    labels = torch.arange(pairs, device=device) % num_ids
    partners = torch.where(labels % 2 == 0, labels, (labels + 1) % num_ids)  # every second pair of one person
    optimiser, loss = make_optimiser(model, config.train), CASNLoss(config.loss)
    for _ in range(3):  # the first ones warm up
        started = time.perf_counter()
        optimiser.zero_grad()
        loss(model, *images.chunk(2), labels, partners)["total"].backward()
        optimiser.step()
        next(model.parameters()).sum().item()  # waits for a GPU
    return (time.perf_counter() - started) * data.batch_size / pairs
