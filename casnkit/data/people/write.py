"""Drawing *people* and writing them in Market-1501's layout, by any number of processes; what was interrupted is completed.

A detector's box moves person, mask, part map and background together: everything is drawn in the box's coordinates, so
they line up by construction. What comes after (colour response, blur, noise, JPEG) moves no pixel.
"""

import csv
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from tqdm.auto import tqdm

from casnkit.data.files import atomic_path, read_json, write_json
from casnkit.data.people import look
from casnkit.data.people.body import FIGURE_HEIGHTS, draw_figure
from casnkit.data.people.look import Difficulty, Job
from casnkit.data.people.paint import SUPERSAMPLING, Layer, View
from casnkit.data.people.scene import CAMERAS, COLUMNS, FOOT_ROWS, ROWS, SCENE_WIDTH, background, draw_thing, photograph

TABLE = "attributes.csv"
_FOLDERS = ("bounding_box_train", "query", "bounding_box_test", "masks", "parts")
_MARKER, _PARTIAL = "people.json", "people.part.json"
_CHUNK = 32  # images
_ALONE = 400  # images that one process draws sooner than a second one starts
_GAP = 2  # pixels between the images of a contact sheet

# bad crops that Market-1501 calls junk (above, below, beside, much too small, much too large): how far the box moves down
# and aside, in the person's heights, and how it grows
_JUNK_CROPS = ((-0.62, 0.0, 1.0), (0.6, 0.0, 1.0), (0.0, 0.3, 1.0), (0.0, 0.0, 0.34), (0.0, 0.0, 1.75))


def draw(job: Job, seed: int, difficulty: Difficulty) -> tuple[Image.Image, np.ndarray, int]:
    """Draw the image that a job describes.

    Returns:
        RGB image of (64, 128) pixels; part map (128, 64) uint8, the index of the visible body part and 0 elsewhere, so that
        the person's mask is where it is not 0; JPEG quality.
    """
    camera, person = CAMERAS[job.camid], job.person
    turn, x, foot, sun = _passage(job, seed, difficulty)
    rng = np.random.default_rng([seed, look.IMAGES, job.identity, job.number])
    x += 14 * rng.standard_normal()
    foot = float(np.clip(foot + 5 * rng.standard_normal(), *FOOT_ROWS))
    near = (foot - FOOT_ROWS[0]) / (FOOT_ROWS[1] - FOOT_ROWS[0])
    tall = camera.height * (0.82 + 0.18 * near) * (FIGURE_HEIGHTS[person["height"]] if person else 1.0)
    centre, middle, height = _detect(rng, job, x, foot, tall, difficulty)
    left, top, zoom = centre - height / 4, middle - height / 2, look.HEIGHT / height
    light = (difficulty.light * sun, camera.light + 0.15 * float(rng.standard_normal()), 0.75)
    turn += 0.4 * difficulty.view * float(rng.standard_normal())
    view = View(turn, camera.pitch, tall * zoom, (x - left) * zoom, (foot - top) * zoom, light)
    pixels, parts = background(job.camid, left, top, height), np.zeros((look.HEIGHT, look.WIDTH), np.uint8)
    if person is not None:
        rgb, large = draw_figure(person, view, rng, difficulty)
        pixels, parts = _over(_shadow(pixels, view), rgb, large > 0), _reduce(large)
    if rng.random() < difficulty.occluder and person is not None:
        rgb, covered = _occluder(job, seed, view, rng, difficulty)
        pixels, parts = _over(pixels, rgb, covered), np.where(_reduce(covered), 0, parts).astype(np.uint8)
    image, quality = photograph(pixels, camera, rng, difficulty)
    return image, parts, quality


def _passage(job: Job, seed: int, difficulty: Difficulty) -> tuple[float, float, float, float]:
    """What stays alike while a person crosses a camera's view: direction, column and row of the place, and sunlight.

    Mostly in the camera's habitual direction, sometimes back, sometimes across.
    """
    camera = CAMERAS[job.camid]
    stream = look.PASSAGES if job.pid else look.STRANGERS
    rng = np.random.default_rng([seed, look.PASSAGES, stream, job.identity, job.camid])
    way = (0.0, np.pi, rng.uniform(0, 2 * np.pi))[int(rng.choice(3, p=(0.66, 0.22, 0.12)))]
    turn = float(camera.turn + way + 0.6 * difficulty.view * rng.standard_normal())
    place = rng.uniform(110, SCENE_WIDTH - 110), rng.uniform(*FOOT_ROWS)
    return turn, *place, float(camera.sun * rng.uniform(0.4, 1.15))


def _detect(
    rng: np.random.Generator, job: Job, x: float, foot: float, tall: float, difficulty: Difficulty
) -> tuple[float, float, float]:
    """A detector's box in the scene: centre, middle row and height; its width is half its height."""
    shift_x, shift_y, grow = (difficulty.crop * rng.standard_normal(3)).clip(-0.1, 0.1)
    height, middle, centre = tall * (1.1 + grow), foot - 0.49 * tall + shift_y * tall, x + shift_x * tall
    bad = rng.random() < difficulty.bad_crop
    kind, size = int(rng.integers(4)), rng.uniform(0.5, 1.0)
    if job.pid < 0:
        down, aside, factor = _JUNK_CROPS[int(rng.integers(len(_JUNK_CROPS)))]
        middle += down * tall * (0.9 + 0.2 * size)
        if aside:
            centre += tall * (aside if rng.random() < 0.5 else -aside) * (0.9 + 0.3 * size)
        height *= factor
    elif job.person is None:
        height, middle = height * rng.uniform(0.4, 1.2), middle - rng.uniform(-0.2, 0.5) * tall
    elif bad and kind == 0:  # the feet are cut off
        middle -= 0.2 * size * tall
        height *= 1 - 0.08 * size
    elif bad and kind == 1:  # much sky
        middle -= 0.1 * size * tall
        height *= 1 + 0.22 * size
    elif bad and kind == 2:  # off-centre
        centre += tall * 0.13 * size * (1 if rng.random() < 0.5 else -1)
    elif bad:  # too wide or too tight
        height *= 1 + (0.3 * size if rng.random() < 0.5 else -0.12 * size)
    return centre, middle, height


def _reduce(layer: np.ndarray) -> np.ndarray:
    return layer[1::SUPERSAMPLING, 1::SUPERSAMPLING]


def _over(pixels: np.ndarray, rgb: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """A layer of the canvas (black where not covered) over an image, (H, W, 3) float32."""
    layer = np.asarray(Image.fromarray(rgb).reduce(SUPERSAMPLING), np.float32)
    alpha = np.asarray(Image.fromarray(covered.view(np.uint8) * 255).reduce(SUPERSAMPLING), np.float32) / 255
    return pixels * (1 - alpha[..., None]) + layer


def _shadow(ground: np.ndarray, view: View) -> np.ndarray:
    """Darken the ground: a pool under the feet, and away from the sun."""
    first = max(0, int(view.y - 0.16 * view.scale))
    rows, columns = ROWS[first:], COLUMNS[first:]
    dy = (rows - view.y) / (0.028 * view.scale)
    dx = (columns - view.x) / (0.15 * view.scale)
    cast = (columns - view.x + view.light[1] * 0.24 * view.scale) / (0.3 * view.scale)
    dark = 0.5 * np.exp(-dx * dx - dy * dy) + 0.32 * view.light[0] * np.exp(-cast * cast - dy * dy)
    shaded = ground.copy()
    shaded[first:] *= (1 - dark.clip(0, 0.75))[..., None]
    return shaded


def _occluder(job: Job, seed: int, view: View, rng: np.random.Generator, difficulty: Difficulty) -> Layer:
    """A pole, a bush, a bicycle or another person in front: RGB of the canvas, and where it covers."""
    kind, side = int(rng.integers(4)), 1 if rng.random() < 0.5 else -1
    if kind < 3:
        return draw_thing(kind, view, side, rng)
    x = view.x + side * view.scale * rng.uniform(0.2, 0.32)
    turn, y = rng.uniform(0, 2 * np.pi), view.y + 0.04 * view.scale
    other = replace(view, turn=turn, scale=view.scale * 1.06, x=x, y=y)
    stranger = look.draw_person(np.random.default_rng([seed, look.STRANGERS, 10**7 + job.number]), difficulty)
    rgb, parts = draw_figure(stranger, other, rng, difficulty)
    return rgb, parts > 0


def synthesize(
    root: str | os.PathLike,
    size: str = "quick",
    seed: int = 0,
    processes: int | None = None,
    progress: bool = True,
    difficulty: Difficulty = look.DIFFICULTY,
) -> Path:
    """Make the synthetic pedestrians in ``root``, or complete them, and return it; at once where they are whole.

    Args:
        root: folder; created. It must be empty or hold the same data set, whole or in part. In the end it holds
            bounding_box_train/, query/, bounding_box_test/, masks/, parts/, attributes.csv and people.json.
        size: "tiny", "quick" or "market".
        seed: non-negative; the same seed gives the same bytes.
        processes: None: as many as there are cores, at most eight; 1 draws in this process.
        progress: show a bar.
        difficulty: how hard; part of the data set's identity, like seed and version.

    Raises:
        ValueError: unknown size, negative seed, or a folder that holds something else.
        DiskFullError: no room left; run again with room and the rest is made.
    """
    root = Path(root)
    if size not in look.SIZES:
        raise ValueError(f"expected a size among {', '.join(look.SIZES)}, got {size!r}")
    if seed < 0 or (processes is not None and processes < 1):
        raise ValueError(f"expected seed >= 0 and processes >= 1, got seed {seed} and processes {processes}")
    wanted = {"version": look.PEOPLE_VERSION, "size": size, "seed": int(seed), "difficulty": asdict(difficulty)}
    whole = _inspect(root, wanted)
    jobs, table = look.make_plan(look.SIZES[size], seed, difficulty)
    missing = _missing(root, jobs)
    if whole and not missing:
        return root
    if not (root / _PARTIAL).exists():
        write_json(root / _PARTIAL, {**wanted, "finished": False})
    (root / _MARKER).unlink(missing_ok=True)
    for folder in _FOLDERS:
        (root / folder).mkdir(exist_ok=True)
    make = partial(_make, root.resolve(), seed=int(seed), difficulty=difficulty)
    try:
        _make_all(make, missing, processes, progress)
    except BrokenProcessPool as error:
        warnings.warn(f"{error}; drawing the remaining people in this process", RuntimeWarning, stacklevel=2)
        _make_all(make, _missing(root, jobs), 1, progress)
    _write_table(root / TABLE, table)
    counts = {folder: sum(job.folder == folder for job in jobs) for folder in _FOLDERS[:3]}
    whole = {**wanted, "counts": counts, "parts": list(look.PARTS), "cameras": len(CAMERAS), "finished": True}
    write_json(root / _MARKER, whole)
    (root / _PARTIAL).unlink(missing_ok=True)
    return root


def _inspect(root: Path, wanted: dict[str, object]) -> bool:
    """Whether a whole data set of the wanted kind is there; refuses folders that hold anything else."""
    if root.is_file():
        raise ValueError(f"expected a folder at {root}, found a file; choose another folder")
    for name in (_MARKER, _PARTIAL):
        if not (root / name).exists():
            continue
        found = read_json(root / name)
        found = found if isinstance(found, dict) else {}
        for key, value in wanted.items():
            if found.get(key) != value:
                raise ValueError(
                    f"{root} holds synthetic people of another {key}: expected {value}, found {found.get(key)}; "
                    "delete that folder or choose another one"
                )
        return name == _MARKER
    strangers = sorted(path.name for path in root.iterdir() if not _leftover(path.name)) if root.exists() else []
    if strangers:
        raise ValueError(
            f"expected {root} to be empty or to hold synthetic people, found {', '.join(strangers[:5])}"
            f"{' ...' if len(strangers) > 5 else ''}; choose another folder"
        )
    return False


def _leftover(name: str) -> bool:
    return name.startswith(".") and ".part" in name


def _missing(root: Path, jobs: list[Job]) -> list[Job]:
    """Jobs without all three files; removes the unfinished files of an interrupted run."""
    present: dict[str, set[str]] = {}
    for folder in _FOLDERS:
        present[folder] = set(os.listdir(root / folder)) if (root / folder).is_dir() else set()
        for name in filter(_leftover, present[folder]):
            (root / folder / name).unlink(missing_ok=True)
    return [job for job in jobs if any(f"{job.name}{end}" not in present[place] for place, end in _places(job))]


def _places(job: Job) -> tuple[tuple[str, str], ...]:
    """Folder and suffix of a job's files, the image last, so that none ever lacks its mask."""
    return ("parts", ".png"), ("masks", ".png"), (job.folder, ".jpg")


def _make_all(make: Callable[[list[Job]], int], jobs: list[Job], processes: int | None, progress: bool) -> None:
    """Make the jobs in chunks, in this process or in several.

    joblib's workers import no main module, so they start from notebooks and from scripts without a guard. An error or
    Ctrl-C ends them.
    """
    if processes is None:
        processes = 1 if len(jobs) < _ALONE else min(os.cpu_count() or 1, 8)
    chunks = [jobs[i : i + _CHUNK] for i in range(0, len(jobs), _CHUNK)]
    processes = max(1, min(processes, len(chunks)))
    workers = Parallel(processes, backend="loky", return_as="generator_unordered", idle_worker_timeout=20)
    bar = tqdm(total=len(jobs), desc="people", unit="image", disable=not progress)
    with bar, closing(workers(delayed(make)(chunk) for chunk in chunks)) as finished:
        for made in finished:
            bar.update(made)


def _make(root: Path, jobs: list[Job], seed: int, difficulty: Difficulty) -> int:
    for job in jobs:
        image, parts, quality = draw(job, seed, difficulty)
        mask = Image.fromarray((parts > 0).view(np.uint8) * 255)
        files = (Image.fromarray(parts), mask, image)
        for file, (folder, end) in zip(files, _places(job), strict=True):
            _save(file, root / folder / f"{job.name}{end}", quality)
    return len(jobs)


def _save(image: Image.Image, path: Path, quality: int) -> None:
    options = {"quality": quality} if path.suffix == ".jpg" else {"compress_level": 1}
    for last_try in (False, True):
        try:
            with atomic_path(path) as temporary:
                image.save(temporary, **options)
            return
        except FileNotFoundError:  # tidied away by somebody who completes the same data set at the same time
            if last_try:
                raise


def _write_table(path: Path, rows: list[list]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        header = ["pid", "split", *look.ATTRIBUTE_PART, "lookalike_pid", "differs_in"]
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def read_attributes(root: str | os.PathLike) -> dict[int, dict[str, str]]:
    """``attributes.csv`` as ``{pid: {column: value}}``: attributes, split, lookalike_pid and differs_in (empty: none).

    Raises:
        ValueError: there is no such table.
    """
    path = Path(root) / TABLE
    if not path.is_file():
        raise ValueError(f"expected {TABLE} in {root}, found none; make the data set with `casnkit data synthesize`")
    with path.open(encoding="utf-8", newline="") as file:
        return {int(row.pop("pid")): row for row in csv.DictReader(file)}


def lookalike_pairs(root: str | os.PathLike) -> list[tuple[int, int, str]]:
    """Pairs of look-alikes, each once: (smaller pid, larger pid, the one part that differs), sorted."""
    table = read_attributes(root)
    pairs = [(pid, int(row["lookalike_pid"]), row["differs_in"]) for pid, row in table.items() if row["lookalike_pid"]]
    return sorted(pair for pair in pairs if pair[0] < pair[1])


def contact_sheet(
    root: str | os.PathLike, identities: Sequence[int], cameras: Sequence[int] = (1, 2, 3, 4, 5, 6), zoom: int = 1
) -> Image.Image:
    """One row for each identity (pids, of training or test) and one column for each camera.

    A place is empty where the camera did not see the person; ``zoom`` enlarges the whole.
    """
    root, step_x, step_y = Path(root), look.WIDTH + _GAP, look.HEIGHT + _GAP
    sheet = Image.new("RGB", (len(cameras) * step_x - _GAP, len(identities) * step_y - _GAP), (255, 255, 255))
    for row, pid in enumerate(identities):
        for column, camid in enumerate(cameras):
            found = sorted(root.glob(f"bounding_box_t*/{pid:04d}_c{camid}s*.jpg"))
            if found:
                with Image.open(found[0]) as image:
                    sheet.paste(image, (column * step_x, row * step_y))
    return sheet.resize((sheet.width * zoom, sheet.height * zoom), Image.Resampling.LANCZOS) if zoom > 1 else sheet
