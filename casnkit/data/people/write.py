"""Drawing *people* and writing them in Market-1501's layout, by any number of processes; what was interrupted is completed.

Everything is drawn in the coordinates of the detector's box, so image, mask and part map line up by construction. What
comes after (colour response, blur, noise, JPEG) moves no pixel.
"""

import csv
import os
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from tqdm.auto import tqdm

from casnkit.data.files import atomic_path, read_json, write_json
from casnkit.data.people import look
from casnkit.data.people.body import draw_figure
from casnkit.data.people.look import Difficulty, Job, Rng
from casnkit.data.people.paint import SUPERSAMPLING, Layer, Point, View
from casnkit.data.people.scene import CAMERAS, COLUMNS, FOOT_ROWS, ROWS, SCENE_WIDTH, background, draw_thing, photograph

TABLE = "attributes.csv"
_MARKER, _PARTIAL, _UNFINISHED = "people.json", "people.part.json", ".*.part*"
_BATCH = 32  # images that a process draws at a time
_ALONE = 400  # images that one process draws sooner than a second one starts
_CENTRES = (slice(1, None, SUPERSAMPLING),) * 2  # the canvas pixel that stands for an image pixel

# bad crops that Market-1501 calls junk (above, below, beside, much too small, much too large): how far the box moves down
# and aside, in the person's heights, and how it grows
_JUNK_CROPS = ((-0.62, 0.0, 1.0), (0.6, 0.0, 1.0), (0.0, 0.3, 1.0), (0.0, 0.0, 0.34), (0.0, 0.0, 1.75))


def draw(job: Job, seed: int, difficulty: Difficulty) -> tuple[Image.Image, np.ndarray, int]:
    """The image of a job, RGB (64, 128); part map (128, 64) uint8, 0 where no person is visible; JPEG quality."""
    camera, person = CAMERAS[job.camid], job.person
    # what stays alike while a person crosses a camera's view: direction, place and sunlight
    stream = look.PASSAGES if job.pid else look.STRANGERS
    rng = np.random.default_rng([seed, look.PASSAGES, stream, job.identity, job.camid])
    way = (0.0, np.pi, rng.uniform(0, 2 * np.pi))[rng.choice(3, p=(0.66, 0.22, 0.12))]  # habitual, back, across
    turn = camera.turn + way + 0.6 * difficulty.view * rng.standard_normal()
    x, foot, sun = rng.uniform(110, SCENE_WIDTH - 110), rng.uniform(*FOOT_ROWS), camera.sun * rng.uniform(0.4, 1.15)
    rng = np.random.default_rng([seed, look.IMAGES, job.identity, job.number])  # the rest changes from image to image
    x += 14 * rng.standard_normal()
    foot = float(np.clip(foot + 5 * rng.standard_normal(), *FOOT_ROWS))
    near = (foot - FOOT_ROWS[0]) / (FOOT_ROWS[1] - FOOT_ROWS[0])
    grown = look.LOOKS["heights"][person.attributes["height"]] if person else 1.0
    tall = camera.height * (0.82 + 0.18 * near) * grown
    centre, middle, height = _detect(rng, job, x, foot, tall, difficulty)
    left, top, zoom = centre - height / 4, middle - height / 2, look.HEIGHT / height
    light = (difficulty.light * sun, camera.light + 0.15 * float(rng.standard_normal()), 0.75)
    turn += 0.4 * difficulty.view * float(rng.standard_normal())
    view = View(turn, camera.pitch, tall * zoom, (x - left) * zoom, (foot - top) * zoom, light)
    pixels, parts = background(job.camid, left, top, height), np.zeros((look.HEIGHT, look.WIDTH), np.uint8)
    if person is not None:
        rgb, large = draw_figure(person, view, rng, difficulty)
        pixels, parts = _over(_shadow(pixels, view), rgb, large > 0), large[_CENTRES]
    if rng.random() < difficulty.occluder and person is not None:
        rgb, covered = _occluder(job, seed, view, rng, difficulty)
        pixels, parts = _over(pixels, rgb, covered), np.where(covered[_CENTRES], 0, parts).astype(np.uint8)
    image, quality = photograph(pixels, camera, rng, difficulty)
    return image, parts, quality


def _detect(rng: Rng, job: Job, x: float, foot: float, tall: float, difficulty: Difficulty) -> Point:
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
    elif bad and kind < 2:  # the feet are cut off; much sky
        up, grow = ((0.2, -0.08), (0.1, 0.22))[kind]
        middle, height = middle - up * size * tall, height * (1 + grow * size)
    elif bad and kind == 2:  # off-centre
        centre += tall * 0.13 * size * (1 if rng.random() < 0.5 else -1)
    elif bad:  # too wide or too tight
        height *= 1 + (0.3 if rng.random() < 0.5 else -0.12) * size
    return centre, middle, height


def _over(pixels: np.ndarray, rgb: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """A layer of the canvas (black where not covered) over an image, (H, W, 3) float32."""
    layer = np.asarray(Image.fromarray(rgb).reduce(SUPERSAMPLING), np.float32)
    alpha = np.asarray(Image.fromarray(covered.view(np.uint8) * 255).reduce(SUPERSAMPLING), np.float32) / 255
    return pixels * (1 - alpha[..., None]) + layer


def _shadow(ground: np.ndarray, view: View) -> np.ndarray:
    """Darken the ground: a pool under the feet, and away from the sun."""
    dy = (ROWS - view.y) / (0.028 * view.scale)
    dx = (COLUMNS - view.x) / (0.15 * view.scale)
    cast = (COLUMNS - view.x + view.light[1] * 0.24 * view.scale) / (0.3 * view.scale)
    dark = 0.5 * np.exp(-dx * dx - dy * dy) + 0.32 * view.light[0] * np.exp(-cast * cast - dy * dy)
    return (ground * (1 - dark.clip(0, 0.75))[..., None]).astype(np.float32)


def _occluder(job: Job, seed: int, view: View, rng: Rng, difficulty: Difficulty) -> Layer:
    """A pole, a bush, a bicycle or another person in front: RGB of the canvas, and where it covers."""
    kind, side = int(rng.integers(4)), 1 if rng.random() < 0.5 else -1
    if kind < 3:
        return draw_thing(kind, view, side, rng)
    x, y = view.x + side * view.scale * rng.uniform(0.2, 0.32), view.y + 0.04 * view.scale
    other = view._replace(turn=rng.uniform(0, 2 * np.pi), scale=view.scale * 1.06, x=x, y=y)
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
    """Make the synthetic pedestrians of a size ("tiny", "quick", "market") in ``root``, or complete them; return it.

    The same size, seed and difficulty give the same bytes, by any number of ``processes`` (None: one a core, at most 8).
    In the end ``root`` holds the folders of Market-1501, masks/, parts/, attributes.csv and people.json.

    Raises:
        ValueError: unknown size, negative seed, or a folder that holds something else.
        DiskFullError: no room left; run again with room and the rest is made.
    """
    root = Path(root)
    if size not in look.SIZES:
        raise ValueError(f"expected a size among {', '.join(look.SIZES)}, got {size!r}")
    if seed < 0 or (processes is not None and processes < 1):
        raise ValueError(f"expected seed >= 0 and processes >= 1, got seed {seed} and processes {processes}")
    data = {"version": look.PEOPLE_VERSION, "size": size, "seed": int(seed), "difficulty": asdict(difficulty)}
    finished = _inspect(root, data)
    jobs, rows = look.make_plan(look.SIZES[size], seed, difficulty)
    missing = _missing(root, jobs)
    if finished and not missing:
        return root
    write_json(root / _PARTIAL, data)
    (root / _MARKER).unlink(missing_ok=True)
    _make_all(partial(_make, root.resolve(), int(seed), difficulty), root, missing, processes, progress)
    with atomic_path(root / TABLE) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    data["counts"] = dict(Counter(job.folder for job in jobs))
    write_json(root / _MARKER, {**data, "parts": list(look.PARTS), "cameras": len(CAMERAS), "finished": True})
    (root / _PARTIAL).unlink(missing_ok=True)
    return root


def _inspect(root: Path, wanted: dict[str, object]) -> bool:
    """Whether a whole data set of the wanted kind is there; refuses folders that hold anything else."""
    for marker in filter(Path.exists, (root / _MARKER, root / _PARTIAL)):
        found = read_json(marker)
        for key, value in wanted.items():
            if found.get(key) != value:
                difference = f"another {key}: expected {value}, found {found.get(key)}"
                raise ValueError(f"{root} holds people of {difference}; delete that folder or choose another one")
        return marker.name == _MARKER
    names = ["a file"] if root.is_file() else [path.name for path in root.glob("*") if not path.match(_UNFINISHED)]
    if names:
        found = ", ".join(sorted(names)[:5])
        raise ValueError(f"expected {root} to be empty or to hold synthetic people, found {found}; choose another one")
    return False


def _files(job: Job) -> tuple[str, str, str]:
    """The part map, the mask and the image; it comes last, so that no image ever lacks its mask."""
    return f"parts/{job.name}.png", f"masks/{job.name}.png", f"{job.folder}/{job.name}.jpg"


def _missing(root: Path, jobs: list[Job]) -> list[Job]:
    """Jobs without all three files; removes the unfinished files of an interrupted run."""
    for path in root.glob(f"*/{_UNFINISHED}"):
        path.unlink(missing_ok=True)
    present = {f"{path.parent.name}/{path.name}" for path in root.glob("*/*")}
    return [job for job in jobs if not present.issuperset(_files(job))]


def _make_all(make: Callable, root: Path, jobs: list[Job], processes: int | None, progress: bool) -> None:
    """Make the jobs, in this process or in several; where those die, in this one. Ctrl-C ends them all.

    joblib's workers import no main module, so they start from notebooks and from scripts without a guard.
    """
    if processes is None:
        processes = 1 if len(jobs) < _ALONE else min(os.cpu_count() or 1, 8)
    processes = max(1, min(processes, len(jobs) // _BATCH))
    workers = Parallel(processes, "loky", return_as="generator_unordered", batch_size=_BATCH, idle_worker_timeout=20)
    try:
        with closing(workers(delayed(make)(job) for job in jobs)) as made:
            for _ in tqdm(made, "people", len(jobs), unit="image", disable=not progress):
                pass
    except BrokenProcessPool as error:
        warnings.warn(f"{error}; drawing the remaining people in this process", RuntimeWarning, stacklevel=3)
        _make_all(make, root, _missing(root, jobs), 1, progress)


def _make(root: Path, seed: int, difficulty: Difficulty, job: Job) -> None:
    image, parts, quality = draw(job, seed, difficulty)
    mask = Image.fromarray((parts > 0).view(np.uint8) * 255)
    for file, name in zip((Image.fromarray(parts), mask, image), _files(job), strict=True):
        _save(file, root / name, quality)


def _save(image: Image.Image, path: Path, quality: int) -> None:
    try:
        with atomic_path(path) as temporary:
            image.save(temporary, quality=quality, compress_level=1)  # of a JPEG, of a PNG
    except FileNotFoundError:  # tidied away by somebody who completes the same data set at the same time
        _save(image, path, quality)


def read_attributes(root: str | os.PathLike) -> dict[int, dict[str, str]]:
    """``attributes.csv`` as ``{pid: {column: value}}``, an empty value for none; ValueError where there is no such table."""
    path = Path(root) / TABLE
    if not path.is_file():
        raise ValueError(f"expected {TABLE} in {root}, found none; make the data set with `casnkit data synthesize`")
    with path.open(encoding="utf-8", newline="") as file:
        return {int(row.pop("pid")): row for row in csv.DictReader(file)}


def lookalike_pairs(root: str | os.PathLike) -> list[tuple[int, int, str]]:
    """Pairs of look-alikes, each once: (smaller pid, larger pid, the one part that differs), sorted."""
    pairs = [(pid, int(row["lookalike_pid"] or 0), row["differs_in"]) for pid, row in read_attributes(root).items()]
    return sorted(pair for pair in pairs if pair[0] < pair[1])
