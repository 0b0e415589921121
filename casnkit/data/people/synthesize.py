"""Writing *people* to disk in Market-1501's layout, by any number of processes, and completing what was interrupted.

Every image is drawn from its own random numbers, [seed, stream, identity, image], so that neither the number of
processes nor an interruption changes a byte. ``people.part.json`` is written first and says what is being made;
``people.json`` is written last and says that it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from casnkit.data.files import DiskFullError, read_json, write_json, write_text

from ..._optional import require
from .attributes import Person, draw_person
from .cameras import CAMERAS
from .plan import IMAGES, PASSAGES, STRANGERS, Job, Plan, make_plan
from .render import Picture, draw_passage, render
from .settings import DIFFICULTY, PARTS, PEOPLE_VERSION, SIZES, Difficulty
from .table import TABLE, format_table
from .worker import WorkerError, run_workers

_FOLDERS = ("bounding_box_train", "query", "bounding_box_test", "masks", "parts")
_MARKER, _PARTIAL = "people.json", "people.part.json"
_CHUNK = 32
_ALONE = 400  # images that one process draws sooner than a second one starts


def synthesize(
    root: str | os.PathLike,
    size: str = "quick",
    seed: int = 0,
    processes: int | None = None,
    progress: bool = True,
    difficulty: Difficulty = DIFFICULTY,
) -> Path:
    """Make the synthetic pedestrians in ``root``, or complete them, or return at once if they are there.

    Args:
        root: folder; created. It must be empty or hold the same data set, whole or in part.
        size: "tiny", "quick" or "market".
        seed: non-negative; the same seed gives the same bytes.
        processes: None: as many as there are cores, at most eight; 1 draws in this process.
        progress: show a bar.
        difficulty: how hard; part of the data set's identity, like seed and version.

    Returns:
        ``root``, which then holds bounding_box_train/, query/, bounding_box_test/, masks/, parts/, attributes.csv and
        people.json.

    Raises:
        ValueError: unknown size, negative seed, or a folder that holds something else.
        DiskFullError: no room left; run again with room and the rest is made.
    """
    root = Path(root)
    if size not in SIZES:
        raise ValueError(f"expected a size among {', '.join(SIZES)}, got {size!r}")
    if seed < 0 or (processes is not None and processes < 1):
        raise ValueError(f"expected seed >= 0 and processes >= 1, got seed {seed} and processes {processes}")
    wanted = {"version": PEOPLE_VERSION, "size": size, "seed": int(seed), "difficulty": asdict(difficulty)}
    whole = _inspect(root, wanted)
    plan = make_plan(SIZES[size], seed, difficulty)
    missing = _missing(root, plan)
    if whole and not missing:
        return root
    if not (root / _PARTIAL).exists():
        write_json(root / _PARTIAL, {**wanted, "finished": False})
    (root / _MARKER).unlink(missing_ok=True)
    for folder in _FOLDERS:
        (root / folder).mkdir(exist_ok=True)
    _make(missing, {**wanted, "root": str(root.resolve())}, plan, processes, progress)
    write_text(root / TABLE, format_table(plan))
    counts = {folder: sum(job.folder == folder for job in plan.jobs) for folder in _FOLDERS[:3]}
    write_json(
        root / _MARKER, {**wanted, "counts": counts, "parts": list(PARTS), "cameras": len(CAMERAS), "finished": True}
    )
    (root / _PARTIAL).unlink(missing_ok=True)
    return root


def _inspect(root: Path, wanted: dict[str, Any]) -> bool:
    """Whether a whole data set of the wanted kind is there; refuses folders that hold anything else."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise ValueError(f"expected a folder at {root}, found a file; choose another folder")
    for name in (_MARKER, _PARTIAL):
        if not (root / name).exists():
            continue
        found = read_json(root / name)
        for key, value in wanted.items():
            if not isinstance(found, dict) or found.get(key) != value:
                there = found.get(key) if isinstance(found, dict) else None
                raise ValueError(
                    f"{root} holds synthetic people of another {key}: expected {value}, found {there}; "
                    "delete that folder or choose another one"
                )
        return name == _MARKER
    strangers = sorted(path.name for path in root.iterdir() if not _leftover(path.name))
    if strangers:
        raise ValueError(
            f"expected {root} to be empty or to hold synthetic people, found {', '.join(strangers[:5])}"
            f"{' ...' if len(strangers) > 5 else ''}; choose another folder"
        )
    return False


def _leftover(name: str) -> bool:
    return name.startswith(".") and ".part" in name


def _missing(root: Path, plan: Plan) -> list[Job]:
    """Jobs without all three files; removes the unfinished files of an interrupted run."""
    present: dict[str, set[str]] = {}
    for folder in _FOLDERS:
        names = os.listdir(root / folder) if (root / folder).is_dir() else []
        for name in filter(_leftover, names):
            (root / folder / name).unlink(missing_ok=True)
        present[folder] = set(names)
    return [
        job
        for job in plan.jobs
        if f"{job.name}.jpg" not in present[job.folder]
        or f"{job.name}.png" not in present["masks"]
        or f"{job.name}.png" not in present["parts"]
    ]


def _make(missing: list[Job], order: dict[str, Any], plan: Plan, processes: int | None, progress: bool) -> None:
    tqdm = require("tqdm.auto", "the progress bar").tqdm
    if processes is None:
        processes = 1 if len(missing) < _ALONE else min(os.cpu_count() or 1, 8)
    processes = min(processes, max(1, len(missing) // _CHUNK))
    with tqdm(total=len(missing), desc="people", unit="image", disable=not progress) as bar:
        if processes > 1:
            numbers = [job.number for job in missing]
            try:
                with contextlib.closing(run_workers(order, numbers, processes)) as workers:
                    for made in workers:
                        bar.update(made)
                return
            except WorkerError as error:
                if error.full:
                    raise DiskFullError(str(error)) from None
                warnings.warn(f"{error}; drawing the remaining people in this process", RuntimeWarning, stacklevel=3)
                missing = _missing(Path(order["root"]), plan)
        for made in _draw(missing, order):
            bar.update(made)


def carry_out(order: dict[str, Any]) -> Iterator[int]:
    """A worker's share: make the jobs whose numbers the order lists; yields the number of images after each chunk."""
    plan = make_plan(SIZES[order["size"]], order["seed"], Difficulty(**order["difficulty"]))
    yield from _draw([plan.jobs[number] for number in order["numbers"]], order)


def _draw(jobs: list[Job], order: dict[str, Any]) -> Iterator[int]:
    root, difficulty = Path(order["root"]), Difficulty(**order["difficulty"])
    for i in range(0, len(jobs), _CHUNK):
        for job in jobs[i : i + _CHUNK]:
            write_picture(root, job, draw_job(job, order["seed"], difficulty))
        yield len(jobs[i : i + _CHUNK])


def write_picture(root: Path, job: Job, picture: Picture) -> None:
    """Write part map, mask and image; the image last, so that none ever lacks its mask."""
    _write_png(root / "parts" / f"{job.name}.png", Image.fromarray(picture.parts))
    _write_png(root / "masks" / f"{job.name}.png", Image.fromarray((picture.parts > 0).view(np.uint8) * 255))
    buffer = io.BytesIO()
    picture.image.save(buffer, "JPEG", quality=picture.quality)
    _write(root / job.folder / f"{job.name}.jpg", buffer.getvalue())


def draw_job(job: Job, seed: int, difficulty: Difficulty) -> Picture:
    """Render the image that a job describes."""
    camera = CAMERAS[job.camid]
    passage = draw_passage(
        np.random.default_rng([seed, PASSAGES, job.stream, job.identity, job.camid]), camera, difficulty
    )
    rng = np.random.default_rng([seed, IMAGES, job.identity, job.number])

    def stranger() -> Person:
        return draw_person(np.random.default_rng([seed, STRANGERS, 10**7 + job.number]), difficulty)

    return render(job.person, job.camid, passage, rng, difficulty, job.kind == "junk", stranger)


def _write_png(path: Path, image: Image.Image) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    _write(path, buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    temporary = f"{path.parent}/.{path.stem}.{os.getpid()}.part"
    try:
        for last_try in (False, True):
            with open(temporary, "wb") as file:
                file.write(content)
            try:
                os.replace(temporary, path)
                return
            except FileNotFoundError:  # tidied away by somebody who completes the same data set at the same time
                if last_try:
                    raise
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no space left on the disk while writing {path}; what is finished was kept. "
                "Free some space, then run the same command again: it makes only what is missing."
            ) from error
        raise
