"""``casnkit doctor``: is everything there, and what would run how long on this machine.

Each look is a function that returns findings; nothing is written. How long a training would take is measured: one step of
each profile's network is timed and multiplied by the number of steps that its configuration and data make.
"""

import argparse
import contextlib
import importlib.metadata
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from packaging.requirements import Requirement
from torch.utils.benchmark import Timer

import casnkit
from casnkit.config import PROFILES, Config, profile
from casnkit.data.people import SIZES
from casnkit.data.readers import recognise
from casnkit.losses import CASNLoss
from casnkit.models import CASN, seeded
from casnkit.notebook import PEOPLE_SIZES, default_folder
from casnkit.runs import pick_device
from casnkit.training import make_optimiser

WIDGETS = ("ipywidgets==8.*", "jupyterlab_widgets==3.*", "jupyterlab>=4", "ipykernel")  # these belong together
ROOM = 2.0  # GiB: the people of size quick, two runs of it, and their pictures


class Finding(NamedTuple):
    """One line of the report; ``state`` is ok, note (nothing essential needs it) or missing; ``advice``: what to do."""

    topic: str
    state: str
    text: str
    advice: str = ""


def add_parser(group: Any) -> None:
    """Add ``doctor`` to the command line."""
    doctor = group.add_parser("doctor", help="what is installed and found, and what would run how long here")
    doctor.add_argument("--data", type=Path, nargs="*", default=[], help="folders in which to look for benchmarks")
    doctor.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    doctor.add_argument("--no-speed", action="store_true", help="leave out the measurement, which takes some seconds")
    doctor.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    """Look at everything and print it. Returns 1 where something essential is missing."""
    kit = Finding("python", "ok", f"{platform.python_version()}, casnkit {casnkit.__version__}")
    try:
        packages = find_packages("packages", importlib.metadata.requires("casnkit") or ())
    except importlib.metadata.PackageNotFoundError:
        packages = [Finding("packages", "missing", "casnkit is not installed", "pip install -e . in its folder")]
    findings = [kit, *packages, *find_packages("widgets", WIDGETS), find_device(options.device)]
    findings += [*find_data(options.data), *find_folders()]
    findings += [] if options.no_speed else find_times(options.device)
    print(to_text(findings))
    return int(any(finding.state == "missing" for finding in findings))


def to_text(findings: list[Finding]) -> str:
    """The report: a line for each finding, advice below it, the verdict last."""
    width = max(len(finding.topic) for finding in findings)
    marks, lines = {"ok": "ok", "note": "--", "missing": "!!"}, []
    for finding in findings:
        lines.append(f"{marks[finding.state]}  {finding.topic:{width}}  {finding.text}")
        if finding.advice:
            lines.append(f"{'':{width + 6}}do: {finding.advice}")
    missing = dict.fromkeys(finding.topic for finding in findings if finding.state == "missing")
    verdict = f"not ready: {', '.join(missing)}" if missing else "ready: everything essential is there"
    return "\n".join([*lines, verdict])


def find_packages(topic: str, requirements: Iterable[str]) -> list[Finding]:
    """Which packages are there, and one finding for each that is absent or of a wrong version; extras are left out."""
    found, wrong = [], []
    for wanted in map(Requirement, requirements):
        if wanted.marker is not None:  # an optional extra
            continue
        try:
            version = importlib.metadata.version(wanted.name)
            found.append(f"{wanted.name} {version}")
            fits = wanted.specifier.contains(version, prereleases=True)
        except importlib.metadata.PackageNotFoundError:
            version, fits = "is not installed", False
        if not fits:
            text = f"{wanted.name} {version}, expected {wanted.specifier or 'any version'}"
            wrong.append(Finding(topic, "missing", text, f'pip install --upgrade "{wanted}"'))
    return [Finding(topic, "ok", ", ".join(found) or "none"), *wrong]


def find_device(device: str | None = None) -> Finding:
    """What would compute: name and memory of the GPU and whether it has bfloat16, or the processor's threads."""
    place = pick_device(device)
    text = f"{place.type}, {torch.get_num_threads()} threads of {os.cpu_count()} processors, no GPU in use"
    if place.type == "cuda":
        facts, bf16 = torch.cuda.get_device_properties(place), "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        text = f"{torch.cuda.device_count()} x {facts.name}, {facts.total_memory / 2**30:.0f} GiB, {bf16}"
    return Finding("device", "ok", text)


def data_folder() -> Path:
    """``$CASNKIT_DATA``, else the cache in which the drawn people lie."""
    return Path(os.environ.get("CASNKIT_DATA") or Path.home() / ".cache" / "casnkit").expanduser().absolute()


def find_data(roots: Iterable[Path] = ()) -> list[Finding]:
    """What is recognised in the data folder and the given ones, or one level below; nothing is opened or extracted."""
    wanted = {Path(root).expanduser().absolute(): "missing" for root in roots}  # a folder that was named must be there
    wanted.setdefault(data_folder(), "note")
    advice, findings = "name a benchmark's folder with --data or CASNKIT_DATA; people are drawn when first used", []
    for root, state in wanted.items():
        sets = {}
        for folder in (root, *sorted(root.glob("*/"))):
            with contextlib.suppress(ValueError):  # none there, or several
                name, place = recognise(folder)
                sets[place] = name
        findings += [Finding(f"data: {name}", "ok", str(place)) for place, name in sets.items()]
        if not sets:
            text = "no data set recognised" if root.is_dir() else "no such folder"
            findings.append(Finding("data", state, f"{root}: {text}", advice))
    return findings


def find_folders() -> list[Finding]:
    """Whether one can write where data and runs go, how much room is there, and what was trained."""
    runs, findings = default_folder().absolute(), []
    trained = len([*runs.glob("*/model.safetensors"), *runs.glob("*/*/model.safetensors")])
    for topic, folder in (("folder of data", data_folder()), (f"folder of runs, {trained} finished", runs)):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                free = shutil.disk_usage(there).free / 2**30
            state, text = "ok" if free >= ROOM else "missing", f"{folder}: {free:.1f} GiB free"
        except OSError as error:
            state, text = "missing", f"{folder}: cannot be written ({error.strerror})"
        advice = f"set CASNKIT_{topic[10:14].upper()} to a folder with {ROOM:.0f} GiB that can be written to"
        findings.append(Finding(topic, state, text, advice if state == "missing" else ""))
    return findings


def find_times(device: str | None = None, profiles: Iterable[str] = PROFILES) -> list[Finding]:
    """What training and test of ``ide`` and ``casn`` (twice the work) would take here, at each profile.

    The test is the forward pass alone; what attention of all pairs adds depends on the gallery.
    """
    place, findings = pick_device(device), []
    for name in profiles:
        size = SIZES[PEOPLE_SIZES[name].removeprefix("people:")]
        for variant in ("ide", "casn"):
            config = profile(name, variant=variant, weights=None)
            steps, (step, image) = count_steps(config, size.train_images), probe(config, size.train_ids, place)
            training = timedelta(seconds=round(steps * step))
            test = timedelta(seconds=round(image * (size.images - size.train_images)))
            text = f"training about {training} ({steps:,} steps of {1000 * step:.0f} ms), features for the test {test}"
            findings.append(Finding(f"{name}, {variant}", "ok", text))
    if place.type == "cpu":
        findings.append(Finding("paper", "note", "on a processor: take smoke and quick here, and a GPU for paper"))
    return findings


def count_steps(config: Config, train_images: int) -> int:
    """Steps of a whole training: in an epoch every training image is once the first of a pair."""
    return config.train.epochs * math.ceil(train_images / config.data.batch_size)


def probe(config: Config, num_ids: int, device: torch.device) -> tuple[float, float]:
    """Seconds of a training step at the configuration's batch size, and of one image's forward pass.

    On a processor a batch of large images is timed with two pairs and scaled up. Torch's random state is put back.
    """
    large = config.data.height * config.data.width > 128 * 64 and device.type == "cpu"
    pairs = min(2, config.data.batch_size) if large else config.data.batch_size
    with seeded(0, 0):
        model = CASN.from_config(num_ids, config.model).to(device, memory_format=torch.channels_last)
        images = torch.randn(2 * pairs, 3, config.data.height, config.data.width).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(pairs, device=device) % num_ids
    partners = torch.where(labels % 2 == 0, labels, (labels + 1) % num_ids)
    optimiser, loss = make_optimiser(model, config.train), CASNLoss(config.loss)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss(model, *images.chunk(2), labels, partners)["total"].backward()
        optimiser.step()

    @torch.no_grad()
    def forward() -> None:
        model.pool(model.feature_map(images))

    def seconds(task: Callable[[], None]) -> float:
        timer = Timer(
            "task()", globals={"task": task}, num_threads=torch.get_num_threads()
        )  # warms up, waits for a GPU
        return timer.timeit(1 if large else 3).mean

    step_seconds = seconds(step) * config.data.batch_size / pairs
    model.eval()
    return step_seconds, seconds(forward) / len(images)
