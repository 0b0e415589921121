"""What the tests of figures draw: people as even grey, maps with one peak, results of explanations, hostile names."""

from collections import namedtuple
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from casnkit import figures as f
from casnkit.explain.faithfulness import Curves, Faithfulness

HEIGHT, WIDTH = 96, 40  # taller than wide: a swapped axis shows
HOSTILE = "a $very$ long_name \\frac{ of a file 地図\n" * 6 + ".jpg"
Interval = namedtuple("Interval", "mean low high count")


def person(value: int = 120, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def peak(row: int, column: int, height: int = 12, width: int = 5, value: float = 1.0) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return value * np.exp(-((rows - row) ** 2) / 4 - (columns - column) ** 2 / 2)


def titles(figure: Figure) -> list[str]:
    return [ax.get_title(loc) for ax in figure.axes for loc in ("left", "center")]


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
        return Curves(np.linspace(0, 1, 5), values, values, np.where(np.arange(pairs)[:, None] == 0, np.nan, values))

    both = np.zeros((pairs, 2), int), np.ones(pairs, bool)
    return Faithfulness(*both, line(level, 0), line(0, level), line(level / 2, 0), line(0, level / 2))


class Report(SimpleNamespace):
    def __getitem__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(value=self.partner, low=self.partner - 0.1, high=self.partner + 0.1)


def report(values: tuple[float, ...] = (0.9, 0.5, 0.1, -0.3), partner: float = 0.3) -> Report:
    names = ("pair classifier", "ID classifier", "trunk 2 of 2", "trunk 1 of 2")
    steps = tuple((n, Interval(v, v - 0.05, v + 0.05, 9)) for n, v in zip(names, values, strict=True))
    return Report(steps=steps, partner=partner)


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
    bounds = (None, None) if half is None else (mean - half, mean + half)
    return dict(zip(("mean", "low", "high"), (mean, *bounds), strict=True))


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
    "one gallery image": lambda: f.show_rankings([ranking(["correct"])], HOSTILE),
    "no gallery image": lambda: f.show_rankings([ranking([])]),
    "pair": lambda: f.show_pair(*IMAGES[::2], *MAPS[::2], 0.5, (HOSTILE, HOSTILE), True, 0.5, 2.0, title=HOSTILE),
    "pair, wide and empty": lambda: f.show_pair(person(9, 50, 90), IMAGES[2], MAPS[0], 0 * MAPS[2], 0.0),
    "step": lambda: f.show_step({**MIXED, "title": HOSTILE}, 3, MAPS[0], MAPS[1]),
    "alignment": lambda: f.show_alignment(IMAGES[:2], MAPS[:2], titles=("query", HOSTILE)),
    "alignment, empty": lambda: f.show_alignment(IMAGES[:2], (0 * MAPS[0], MAPS[1])),
    "thresholds": lambda: f.show_thresholds(MAPS[:2]),
    "one threshold": lambda: f.show_thresholds((0 * MAPS[0], MAPS[1]), [0.0]),
    "difference": lambda: f.show_difference(MAPS[0], 0 * MAPS[0], (HOSTILE, HOSTILE), HOSTILE),
    "identification": lambda: f.show_identification(IMAGES, MAPS, MASKS, IMAGES, [HOSTILE, "", "id 3"], HOSTILE),
    "maps": lambda: f.show_maps(IMAGES, {HOSTILE: MAPS, "Siamese attention": MAPS}, labels=["a"] * 3),
    "many maps": lambda: f.show_maps(IMAGES, {f"method number {i}": MAPS for i in range(6)}, title=HOSTILE),
    "methods": lambda: f.show_gallery_of_methods(
        [IMAGES[:2]] * 2, dict.fromkeys(MANY, [MAPS[:2]] * 2), ["right", HOSTILE]
    ),
    "channels": lambda: f.show_channels(IMAGES[0], RANDOM, [f"channel {2000 + i}" for i in range(11)], columns=6),
    "signed": lambda: f.show_channels(IMAGES[0], RANDOM - 0.5, [HOSTILE] * 11, signed=True),
    "film": lambda: f.show_film(IMAGES * 2, [MAPS * 2] * 40, range(960, 1000), "A title", ["pid 123456 camera 12"] * 6),
    "film without epochs": lambda: f.show_film(IMAGES, [], [], room=10),
    "batch": lambda: f.show_batch(IMAGES * 4, [HOSTILE, "b", ""] * 4),
    "one image": lambda: f.show_batch(IMAGES[:1]),
    "losses": lambda: f.show_losses({HOSTILE + str(i): log(40) for i in range(9)}, HOSTILE),
    "one epoch": lambda: f.show_losses(log(1)),
    "progress": lambda: f.show_progress(log(9, validation_mean_ap=50.0, validation_rank_1=60.5), 40),
    "cmc": lambda: f.show_cmc({HOSTILE: np.linspace(0.3, 1, 50), "b": np.linspace(0.5, 1, 50)}, title=HOSTILE),
    "roc": lambda: f.show_roc({"features": RATES, HOSTILE: RATES}, {"features": ([0.01], [0.5])}, HOSTILE),
    "roc, all right": lambda: f.show_roc({"features": ([0, 0, 1], [0, 1, 1])}),
    "weights of the sum": lambda: f.show_weight_curve({HOSTILE: (WEIGHTS, WEIGHTS / 2), "b": ([0.5], [0.5])}),
    "precision": lambda: f.show_precision([1, 0, 1, 1, 0]),
    "weights": lambda: f.show_weights(np.random.default_rng(0).normal(size=2048)),
    "weights of one sign": lambda: f.show_weights([1.0, 2.0]),
    "distributions": lambda: f.show_distributions({HOSTILE: RANDOM, "b": [1.0, np.nan]}, "x" * 30),
    "histograms": lambda: f.show_distance_histograms(SAME, DIFFERENT, {"0.1 %": 1.0, "1 %": 1.01, "10 %": 2.2, "x": 9}),
    "equal distances": lambda: f.show_distance_histograms(np.ones(3), np.ones(4)),
    "indicators": lambda: f.show_indicators(RANDOM.reshape(11, -1) > 0.5, [HOSTILE] * 11),
    "cameras": lambda: f.show_camera_pairs(SHARES, COUNTS, [1, 2], ["north gate, upper floor", 2, 3]),
    "many cameras": lambda: f.show_camera_pairs(RANDOM[:, :, 0], np.full((11, 12), 1234), range(11), range(12)),
    "agreement": lambda: f.show_agreement([HOSTILE, "b"], [[1, -0.26], [-0.26, 1]]),
    "curves": lambda: f.show_curves({name: faithfulness(0.9) for name in MANY}),
    "one curve": lambda: f.show_curves({"siamese": faithfulness(0.9)}, "average_precision"),
    "sanity": lambda: f.show_sanity({name: report() for name in MANY}),
    "league": lambda: f.show_league(league()),
    "league without masks": lambda: f.show_league(league(masks=False)),
    "differences": lambda: f.show_differences([HOSTILE, *"bcde"], {"rank-1": ESTIMATES, "mAP": ESTIMATES}),
}
