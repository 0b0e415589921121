"""What the tests of figures draw: people as even grey, maps with one peak, results of explanations, hostile names."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from casnkit import figures as f
from casnkit.explain.faithfulness import Curves, Faithfulness
from casnkit.explain.localisation import Interval
from casnkit.explain.sanity import CHECKS, Line, SanityReport

HEIGHT, WIDTH = 96, 40  # taller than wide: a swapped axis shows
HOSTILE = "a $very$ long_name \\frac{ of a file 地図\n" * 6 + ".jpg"


def person(value: int = 120, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def peak(row: int, column: int, height: int = 12, width: int = 5, value: float = 1.0) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return value * np.exp(-((rows - row) ** 2) / 4 - (columns - column) ** 2 / 2)


def ranking(statuses: list[str], **changes: object) -> dict[str, object]:
    count = len(statuses)
    row = {"query_image": person(60), "query_pid": 7, "query_camid": 3, "statuses": statuses}
    row["gallery_images"] = [person(100 + i) for i in range(count)]
    row["distances"] = [0.125 * (i + 1) for i in range(count)]
    return row | {"pids": list(range(1, count + 1)), "camids": [1 + i % 6 for i in range(count)]} | changes


def log(epochs: int, **changes: object) -> list[dict[str, object]]:
    terms = {"total": 3.0, "ide": 2.0, "ia": 0.3, "bce": 0.6, "consistency": 1.0, "learning_rate": 0.03}
    terms["images_per_second"] = 250.0
    return [{"epoch": e + 1, **{k: v / (e + 1) for k, v in terms.items()}, **changes} for e in range(epochs)]


def faithfulness(level: float, pairs: int = 4) -> Faithfulness:
    """Deletion falls in a straight line from ``level`` to 0, insertion rises to it; random masks: half of that."""

    def line(start: float, end: float) -> Curves:
        values = np.linspace(start, end, 5)[None].repeat(pairs, 0)
        return Curves(np.linspace(0, 1, 5), values, values, values)

    both = np.zeros((pairs, 2), int), np.ones(pairs, bool)
    return Faithfulness(*both, line(level, 0), line(0, level), line(level / 2, 0), line(0, level / 2))


def report(values: tuple[float, ...] = (0.9, 0.5, 0.1, -0.3), partner: float = 0.3) -> SanityReport:
    names = ("pair classifier", "ID classifier", "trunk 2 of 2", "trunk 1 of 2")
    lines = tuple(Line(name, partner, partner - 0.1, partner + 0.1, None, None, "") for name in CHECKS)
    steps = tuple((n, Interval(v, v - 0.05, v + 0.05, 9)) for n, v in zip(names, values, strict=True))
    return SanityReport(lines, steps)


def entry(name: str, energy: float, over: tuple[float, float], correlation: float, passed: bool) -> list[dict]:
    def row(measure: str, value: float, low: float, high: float, **more: object) -> dict:
        numbers = {"value": value, "low": low, "high": high, "chance": 0.25, "limit": np.nan, "than": ""}
        return {"method": name, "measure": measure, **numbers, **more}

    better = [row("energy", sum(over) / 2, *over, than="plain-mean")]
    return [
        row("energy", energy, energy - 0.05, energy + 0.05),
        row("deletion_probability", -0.1, -0.2, -0.02),
        row("insertion_probability", -0.1, -0.2, -0.02),
        row("pair classifier", correlation, correlation, correlation, limit=0.5, passed=passed),
        *(better if name != "plain-mean" else []),
    ]


def league(masks: bool = True) -> SimpleNamespace:
    rows = [
        *entry("plain-mean", 0.5, (0, 0), 1.0, False),
        *entry("better", 0.7, (0.1, 0.3), 0.1, True),
        *entry("worse", 0.4, (-0.2, -0.1), 0.2, True),
        *entry("a-method-with-a-long-name", 0.6, (-0.1, 0.2), 0.9, False),
    ]
    table = pd.DataFrame(rows).astype({"passed": "boolean"})
    settings = {"data": "people", "pairs": {"right": 5, "wrong": 4}}
    return SimpleNamespace(table=table if masks else table[table.measure != "energy"], settings=settings)


def estimate(mean: float, half: float | None) -> dict[str, float | None]:
    return {"mean": mean, "low": None if half is None else mean - half, "high": None if half is None else mean + half}


IMAGES = [person(), person(90, 128, 64), person(70, 384, 128)]
MASKS = [np.tile(np.linspace(0, 1, image.shape[1]), (image.shape[0], 1)) for image in IMAGES]
MAPS = [peak(3, 2), peak(2, 2, 9, 5), peak(11, 3, 24, 8)]
RANDOM = np.random.default_rng(0).random((11, 12, 5))
MIXED = ranking([f.STATUSES[i % 5] for i in range(13)], pids=[1501] * 13, distances=np.linspace(0, 123.456, 13))
RATES = np.array([0, 0.001, 0.01, 0.1, 1]), np.array([0, 0.2, 0.5, 0.9, 1])
SHARES, COUNTS = np.array([[np.nan, 0.31, 0.95], [0.52, np.nan, 0.1]]), np.array([[0, 12, 345], [1234, 0, 7]])
WEIGHTS = np.linspace(0, 1, 11)
SAME, DIFFERENT = np.random.default_rng(1).normal(1, 0.2, 400), np.random.default_rng(2).normal(1.6, 0.2, 3000)
ESTIMATES = [estimate(0.5, None), estimate(1.0, 0.4), estimate(-64.0, 2.0), estimate(-0.3, 0.5), None]
MANY = {f"a-method-of-name-{i}": i for i in range(4)}

DRAWN: dict[str, Callable[[], Figure]] = {
    "rankings": lambda: f.show_rankings([{**MIXED, "title": HOSTILE}, ranking(["wrong"] * 3)], HOSTILE),
    "no gallery image": lambda: f.show_rankings([ranking([])]),
    "pair": lambda: f.show_pair(*IMAGES[::2], *MAPS[::2], 0.5, (HOSTILE, HOSTILE), True, 0.5, 2.0, title=HOSTILE),
    "alignment": lambda: f.show_alignment(IMAGES[:2], MAPS[:2], titles=("query", HOSTILE)),
    "one threshold": lambda: f.show_thresholds((0 * MAPS[0], MAPS[1]), [0.0]),
    "difference": lambda: f.show_difference(MAPS[0], 0 * MAPS[0], (HOSTILE, HOSTILE), HOSTILE),
    "identification": lambda: f.show_identification(IMAGES, MAPS, MASKS, IMAGES, [HOSTILE, "", "id 3"], HOSTILE),
    "maps": lambda: f.show_maps(IMAGES, {HOSTILE: MAPS, "Siamese attention": MAPS}, labels=["a"] * 3),
    "methods": lambda: f.show_gallery_of_methods(
        [IMAGES[:2]] * 2, dict.fromkeys(MANY, [MAPS[:2]] * 2), ["right", HOSTILE]
    ),
    "channels": lambda: f.show_channels(IMAGES[0], RANDOM, [f"channel {2000 + i}" for i in range(11)], columns=6),
    "signed": lambda: f.show_channels(IMAGES[0], RANDOM - 0.5, [HOSTILE] * 11, signed=True),
    "film": lambda: f.show_film(IMAGES * 2, [MAPS * 2] * 40, range(960, 1000), "A title", ["pid 123456 camera 12"] * 6),
    "losses": lambda: f.show_losses({HOSTILE + str(i): log(40) for i in range(9)}, HOSTILE),
    "progress": lambda: f.show_progress(log(9, validation_mean_ap=50.0, validation_rank_1=60.5), 40),
    "cmc": lambda: f.show_cmc({HOSTILE: np.linspace(0.3, 1, 50), "b": np.linspace(0.5, 1, 50)}, title=HOSTILE),
    "roc": lambda: f.show_roc({"features": RATES, HOSTILE: RATES}, {"features": ([0.01], [0.5])}, HOSTILE),
    "weights of the sum": lambda: f.show_weight_curve(
        {HOSTILE: (WEIGHTS, WEIGHTS / 2), "b": ([0.5], [0.5])}, {HOSTILE: 0.3, "b": 0.5}
    ),
    "precision": lambda: f.show_precision([1, 0, 1, 1, 0]),
    "weights": lambda: f.show_weights(np.random.default_rng(0).normal(size=2048)),
    "distributions": lambda: f.show_distributions({HOSTILE: RANDOM, "b": [1.0, np.nan]}, "x" * 30),
    "histograms": lambda: f.show_distance_histograms(SAME, DIFFERENT, {"0.1 %": 1.0, "1 %": 1.01, "10 %": 2.2, "x": 9}),
    "cameras": lambda: f.show_camera_pairs(
        SHARES, COUNTS, [1, 2], ["north gate, floor", 2, 3], "By features", "rank-1 (%)"
    ),
    "many cameras": lambda: f.show_camera_pairs(
        RANDOM[:, :, 0], 1234 * np.ones((11, 12), int), range(11), range(12), "By features", "rank-1 (%)"
    ),
    "agreement": lambda: f.show_agreement([HOSTILE, "b"], [[1, -0.26], [-0.26, 1]]),
    "curves": lambda: f.show_curves({name: faithfulness(0.9) for name in MANY}),
    "sanity": lambda: f.show_sanity({name: report() for name in MANY}),
    "league": lambda: f.show_league(league()),
    "differences": lambda: f.show_differences([HOSTILE, *"bcde"], {"rank-1": ESTIMATES, "mAP": ESTIMATES}),
}
