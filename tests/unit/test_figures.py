"""Pictures: nothing is cut or overlaps; what is drawn is read back and compared with values worked out by hand."""

import io
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from casnkit import figures
from casnkit.figures import as_image, upsample
from casnkit.figures.style import BLUE, GREY, ORANGE, SERIES

pytestmark = pytest.mark.filterwarnings("error", "ignore::DeprecationWarning:seaborn")
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


def league() -> SimpleNamespace:
    """Methods with energy, the interval of energy over the plain mean, correlation after randomisation, verdict."""
    better, worse = ("better", 0.7, 0.1, 0.3, 0.1, True), ("worse", 0.4, -0.2, -0.1, 0.2, True)
    unclear, rows = ("a-method-with-a-long-name", 0.6, -0.1, 0.2, 0.9, False), []
    for name, energy, low, high, correlation, passed in (("plain-mean", 0.5, 0, 0, 1.0, False), better, worse, unclear):
        row = {"method": name, "chance": 0.25, "limit": np.nan, "than": ""}
        rows.append(row | {"measure": "energy", "value": energy, "low": energy - 0.05, "high": energy + 0.05})
        for measure in ("deletion_probability", "insertion_probability"):
            rows.append(row | {"measure": measure, "value": -0.1, "low": -0.2, "high": -0.02})
        own = dict.fromkeys(("value", "low", "high"), correlation)
        rows.append(row | own | {"measure": "pair classifier", "limit": 0.5, "passed": passed})
        if name != "plain-mean":
            rows.append(row | {"measure": "energy", "value": 0.0, "low": low, "high": high, "than": "plain-mean"})
    settings = {"data": "people", "pairs": {"right": 5, "wrong": 4}}
    return SimpleNamespace(table=pd.DataFrame(rows).astype({"passed": "boolean"}), settings=settings)


IMAGES = [person(), person(90, 128, 64), person(70, 384, 128)]
MASKS = [np.tile(np.linspace(0, 1, image.shape[1]), (image.shape[0], 1)) for image in IMAGES]
MAPS = [peak(3, 2), peak(2, 2, 9, 5), peak(11, 3, 24, 8)]
RANDOM = np.random.default_rng(0).random((11, 12, 5))
MIXED = ranking([figures.STATUSES[i % 5] for i in range(13)], pids=[1501] * 13, distances=np.linspace(0, 123.456, 13))
SAME, DIFFERENT = np.random.default_rng(1).normal(1, 0.2, 400), np.random.default_rng(2).normal(1.6, 0.2, 3000)
FOUND = (0.5, None, None), (1.0, 0.6, 1.4), (-64.0, -66.0, -62.0), (-0.3, -0.8, 0.2)
ESTIMATES = [*({**dict(zip(("mean", "low", "high"), v, strict=True)), "clear": (v[1] or -1) > 0} for v in FOUND), None]
MANY = {f"a-method-of-name-{i}": i for i in range(4)}

DRAWN: dict[str, Callable[[], Figure]] = {
    "rankings": lambda: figures.show_rankings([{**MIXED, "title": HOSTILE}, ranking(["wrong"] * 3)], HOSTILE),
    "pair": lambda: figures.show_pair(*IMAGES[::2], *MAPS[::2], 0.5, (HOSTILE, HOSTILE), True, 0.5, 2.0, title=HOSTILE),
    "pairs": lambda: figures.show_pairs(
        [(IMAGES[:2], MAPS[:2], f"{HOSTILE} " * 4)] * 2, title=HOSTILE, note=HOSTILE * 3
    ),
    "alignment": lambda: figures.show_alignment(IMAGES[:2], MAPS[:2], titles=("query", HOSTILE)),
    "identification": lambda: figures.show_identification(IMAGES, MAPS, MASKS, IMAGES, [HOSTILE, "", "id 3"], HOSTILE),
    "maps": lambda: figures.show_maps(IMAGES, {HOSTILE: MAPS, "Siamese attention": MAPS}, labels=["a"] * 3),
    "methods": lambda: figures.show_gallery_of_methods([IMAGES[:2]], {name: [MAPS[:2]] for name in MANY}, [HOSTILE]),
    "channels": lambda: figures.show_channels(IMAGES[0], RANDOM, [f"channel {2000 + i}" for i in range(11)]),
    "film": lambda: figures.show_film(IMAGES, [MAPS] * 40, range(960, 1000), "A title", ["pid 123456 camera 12"] * 3),
    "losses": lambda: figures.show_losses({HOSTILE + str(i): log(40) for i in range(9)}, HOSTILE),
    "progress": lambda: figures.show_losses(log(9, validation_mean_ap=50.0, validation_rank_1=60.5), epochs=40),
    "cmc": lambda: figures.show_cmc({HOSTILE: np.linspace(0.3, 1, 50), "b": np.linspace(0.5, 1, 50)}, title=HOSTILE),
    "histograms": lambda: figures.show_distributions({"one": SAME, "two": DIFFERENT}, "x", marks={"1 %": 1, "x": 9}),
    "weights": lambda: figures.show_weights(np.random.default_rng(0).normal(size=2048)),
    "distributions": lambda: figures.show_distributions({HOSTILE: RANDOM, "b": [1.0, np.nan]}, "x" * 30),
    "league": lambda: figures.show_league(league()),
    "differences": lambda: figures.show_differences([HOSTILE, *"bcde"], {"rank-1": ESTIMATES, "mAP": ESTIMATES}),
}


def region(figure: Figure, ax: matplotlib.axes.Axes) -> np.ndarray:
    canvas = np.asarray(Image.open(io.BytesIO(figures.figure_png(figure))).convert("RGB")).astype(int)
    box, height = ax.get_window_extent(), len(canvas)
    rows = slice(round(height - box.y1) + 2, round(height - box.y0) - 2)
    return canvas[rows, round(box.x0) + 2 : round(box.x1) - 2]


def drawn_texts(figure: Figure) -> list[matplotlib.text.Text]:
    """Every text that is drawn: matplotlib keeps tick labels outside the limits, and those of axes that are off."""
    undrawn = set()
    for ax in figure.findobj(matplotlib.axes.Axes):
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            undrawn |= set() if ax.axison else {axis.label, *axis.get_ticklabels(), *axis.get_ticklabels(minor=True)}
            ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=False)
            undrawn |= {label for where, label in ticks if not low - 1e-9 <= where <= high + 1e-9}
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in texts if text not in undrawn and text.get_window_extent().width > 0]


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_cut_overlaps_or_is_too_small(name: str) -> None:
    figure = DRAWN[name]()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    assert width <= 901
    boxes = []
    for text in drawn_texts(figure):
        assert text.get_size() >= 8.64, f"{text.get_text()!r} is below 12 px where the figure is 900 px wide"
        box = text.get_window_extent()
        assert -1 <= box.x0 <= box.x1 <= width + 1, f"{text.get_text()!r} is cut at the side"
        assert -1 <= box.y0 <= box.y1 <= height + 1, f"{text.get_text()!r} is cut above or below"
        boxes += [(text.get_text(), box)] if not text.get_rotation() else []
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(across, down) < 3, f"{first!r} lies over {second!r}"


def test_images_and_upsampled_maps_are_those_of_pillow():
    image = person()
    image[:5, :3] = (255, 0, 0)
    for other in (torch.from_numpy(image).permute(2, 0, 1), Image.fromarray(image)):
        np.testing.assert_array_equal(as_image(other), image)
    attention = np.random.default_rng(0).random((9, 5))
    picture = Image.fromarray(attention.astype(np.float32)).resize((40, 96), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(upsample(attention, 96, 40), np.asarray(picture), atol=1e-5)


def test_every_pixel_of_an_overlay_against_a_loop():
    rng = np.random.default_rng(1)
    image, attention = rng.integers(0, 256, (6, 3, 3)).astype(np.uint8), rng.random((6, 3))
    expected = np.zeros_like(image)
    for row, column in np.ndindex(6, 3):
        value = attention[row, column] / attention.max()
        share = min(1.0, 0.4 * (2 / 3 + 5 / 6 * value))
        colour = np.array(matplotlib.colormaps["cividis"](value)[:3]) * 255
        expected[row, column] = np.round((1 - share) * image[row, column] + share * colour)
    np.testing.assert_array_equal(figures.overlay(image, attention, 0.4, "cividis"), expected)
    np.testing.assert_array_equal(figures.overlay(image, attention, opacity=0), image)
    assert len(np.unique(figures.overlay(person(), np.zeros((9, 5))).reshape(-1, 3), axis=0)) == 1
    graph = torch.tensor(peak(1, 0), requires_grad=True)
    np.testing.assert_array_equal(figures.overlay(person(), graph), figures.overlay(person(), 0.3 * peak(1, 0)))


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (50, 90)])
def test_rows_of_profile_and_picture_of_a_pair_line_up(shape):
    figure = figures.show_pair(person(120, *shape), person(), peak(2, 0), peak(9, 4))
    figure.draw_without_rendering()
    for (image, shown, profile), row, column in ((figure.axes[:3], 2, 0), (figure.axes[3:6], 9, 4)):
        edges = [ax.get_window_extent().get_points()[:, 1].round() for ax in (image, shown, profile)]
        assert np.ptp(edges, 0).max() <= 1
        bars = region(figure, profile)
        coloured = (bars.max(2) - bars.min(2) > 60).sum(1)  # coloured pixels in each line of pixels
        longest = np.flatnonzero(coloured == coloured.max()).mean() / len(coloured)
        assert abs(longest - (row + 0.5) / 12) < 0.03
        over = region(figure, shown)  # the warm end of inferno; not the white lines, which are blue too
        brightest = np.where(over[:, :, 2] > 170, 0, over[:, :, 0] + over[:, :, 1]).argmax()
        down, right = np.unravel_index(brightest, over.shape[:2])
        assert abs(down / len(over) - (row + 0.5) / 12) < 0.06
        assert abs(right / over.shape[1] - (column + 0.5) / 5) < 0.12


def test_verdict_and_shared_scale_of_a_pair():
    right, wrong = ("✓", BLUE), ("✗", ORANGE)
    for same, probability, verdict in ((True, 0.9, right), (False, 0.9, wrong), (True, 0.1, wrong)):
        figure = figures.show_pair(person(), person(), peak(2, 2), peak(3, 2), 0.5, ("a", "b"), same, probability)
        heading = figure.subfigs[0].texts[0]
        assert (heading.get_text()[0], heading.get_color()) == verdict
    maps, hows = (peak(5, 2), peak(5, 2, value=0.2)), ("own maximum", "shared")
    row = (person(), person()), maps, "a pair"
    own, shared = (figures.show_pairs([row], normalisation=how) for how in hows)
    assert [figure.axes[5].patches[5].get_width() for figure in (own, shared)] == pytest.approx([1, 0.2])


def test_only_counted_images_take_a_rank_and_statuses_differ_without_colour():
    (ax,) = figures.show_rankings([ranking(["same_camera", "correct", "junk", "wrong", "distractor"])]).axes
    heads = [text.get_text() for text in ax.texts if text.get_weight() == "bold"]
    assert heads == ["query", "=", "1 ✓", "–", "2 ✗", "3 ○"]
    frames = figures.show_rankings([ranking(list(figures.STATUSES))]).axes[0].patches[1:]
    assert len({(to_hex(p.get_edgecolor()), str(p._unscaled_dash_pattern)) for p in frames}) == 6


def test_an_outline_follows_its_mask_and_a_pair_has_one_scale():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:50, 5:20] = True
    ax = figures.show_maps([person(), person()], {"m": [peak(1, 1)] * 2}, [mask, None]).axes[0]
    edge = mask & ~np.pad(mask[11:49, 6:19], ((11, HEIGHT - 49), (6, WIDTH - 19)))
    np.testing.assert_array_equal(ax.images[0].get_array()[:, :, 0] == 255, edge)
    first, second = np.full((3, 2), 4.0), np.full((3, 2), -1.0)
    figure = figures.show_gallery_of_methods([(person(), person()[:48, :20])], {"m": [(first, second)]})
    shown = figure.axes[0].images[1].get_array()
    assert shown.shape == (HEIGHT, 2 * WIDTH + 4, 3), "the other takes the height of the first; a seam of four"
    np.testing.assert_array_equal(shown[:, :WIDTH], figures.overlay(person(), first, vmax=4))
    np.testing.assert_array_equal(shown[:, WIDTH + 4 :], figures.overlay(person(), 0 * second, vmax=4))


def test_signed_channels_are_symmetric_around_white():
    signs = np.array([[1.0, 0.0], [-1.0, 0.5]])
    shown = figures.show_channels(person(), [signs], ["a"], signed=True).axes[0].images[1].get_array()
    expected = matplotlib.colormaps["RdBu_r"]([[1.0, 0.5], [0.0, 0.75]])[..., :3] * 255
    np.testing.assert_allclose(shown.reshape(2, HEIGHT // 2, 2, WIDTH // 2, 3)[:, 10, :, 10], expected, atol=1)


def test_files_are_the_same_twice_and_described(tmp_path):
    paths = [tmp_path / "new" / f"{name}.png" for name in "ab"]
    for path in paths:
        figures.save_figure(figures.show_batch([person()], ["id $1$"]), path, "Tom & <Eva>")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(paths[0].parent.iterdir()) == paths
    with Image.open(paths[0]) as image:
        assert (image.info["Description"], set(image.info)) == ("Tom & <Eva>", {"Description", "dpi"})
    for name, alt in (("c.png", "  \n"), ("c.jpg", "x")):
        with pytest.raises(ValueError, match="alternative text"):
            figures.save_figure(Figure(), tmp_path / name, alt)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_notebook_shows_a_picture_with_its_words_whatever_the_readers_settings():
    bundle, _ = figures.show_cmc({"a <network>": [0.5, 1.0]})._repr_mimebundle_(include=None, exclude=None)
    assert "a &lt;network&gt;" in bundle["text/html"]
    expected = figures.figure_png(figures.show_cmc({"a": [0.1, 0.5]}))
    with matplotlib.rc_context({"font.size": 40, "axes.grid": True, "text.color": "red", "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert figures.figure_png(figures.show_cmc({"a": [0.1, 0.5]})) == expected
        assert dict(matplotlib.rcParams) == before


def test_matplotlib_waits_for_the_first_picture_and_pyplot_shows_nothing():
    script = (
        "import sys, casnkit.figures as f; assert 'matplotlib' not in sys.modules; "
        "f.figure_png(f.show_weights([1.0])); from matplotlib import pyplot; assert not pyplot.get_fignums()"
    )
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=True)


def titles(figure: Figure) -> list[str]:
    return [ax.get_title(loc) for ax in figure.axes for loc in ("left", "center")]


def bars(ax: Axes, colour: str) -> list:
    return [p for p in ax.patches if hasattr(p, "get_width") and to_hex(p.get_facecolor()) == colour.lower()]


def slow_star(attention: np.ndarray, threshold: float, rows: int) -> tuple[int, int, np.ndarray]:
    """Equation 5's M*, one number at a time: row maximum, crop, linear resize."""
    profile = [max(row) / attention.max() for row in attention]
    above = [i for i, value in enumerate(profile) if value > threshold]
    kept = torch.tensor(profile[above[0] : above[-1] + 1])[None, None]
    return above[0], above[-1], F.interpolate(kept, size=rows, mode="linear")[0, 0].numpy()


@pytest.mark.parametrize(("maps", "t"), [((peak(3, 2), 5 * peak(7, 1)), 0.5), ((MAPS[0], MAPS[2]), 0.2)])
def test_equation_5_step_by_step(maps, t):
    expected = [slow_star(m, t, max(map(len, maps))) for m in maps]
    heading = f"aligned rows\nℓ₂ distance {np.linalg.norm(expected[0][2] - expected[1][2]):.3f}"
    alignment = figures.show_alignment((person(), person()), maps, t)
    for i, (first, last, star) in enumerate(expected):
        cropped, resized = (bars(ax, SERIES[i][0]) for ax in alignment.axes[5 * i + 3 : 5 * i + 5])
        assert [round(bar.get_y() + bar.get_height() / 2) for bar in cropped] == list(range(first + 1, last + 2))
        np.testing.assert_allclose([bar.get_width() for bar in resized], star, atol=1e-6)
    pair = figures.show_pair(person(), person(), *maps, t)
    for figure in (alignment, pair):
        assert heading in titles(figure)
        ax = figure.axes[6 if figure is pair else -1]
        drawn = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) > 2]
        np.testing.assert_allclose(drawn, [star for *_, star in expected], atol=1e-6)


def test_losses_and_cmc_by_hand():
    axes = figures.show_losses(log(5)).axes
    np.testing.assert_allclose([ax.lines[0].get_ydata()[0] for ax in axes], [3, 2, 0.3, 0.6, 1, 0.03, 250])
    assert len(figures.show_losses(log(4, ia=None, consistency=float("nan"))).axes) == 5
    rows = [row | {"validation_mean_ap": v} for row, v in zip(log(3), (25, np.nan, 50), strict=True)]
    assert figures.show_losses(rows, epochs=40).axes[-1].lines[0].get_xydata().tolist() == [[1, 25], [3, 50]]
    (ax,) = figures.show_cmc({"CASN": np.array([0.713, 0.8, 0.9])}).axes
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[1, 71.3], [2, 80], [3, 90]])


def test_weights_distributions_and_indicators_by_hand():
    (ax,) = figures.show_weights(np.array([0.5, -3, 2, 0, -1, 4])).axes
    heights = [[bar.get_height() for bar in bars(ax, SERIES[i][0])] for i in (0, 1)]
    assert heights == [[4, 2, 0.5], [-1, -3]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["5", "2", "0", "4", "1"]
    (ax,) = figures.show_distributions({"a": [0.0, 1, 1, 2, 10, float("nan")]}, "value", bins=10).axes
    assert ax.texts[0].get_text() == "median 1.00\nn = 5, 1 undefined"
    assert [bar.get_height() for bar in ax.patches] == [1, 2, 1, *6 * [0], 1]
    figure = figures.show_indicators(torch.tensor([[0, 1, 1, 0], [0, 0, 1, 0], [1, 0, 1, 0]]), ["a", "b", "c"])
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_array(), [[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]])


def points(ax: Axes) -> list[tuple[str, float]]:
    """Colour and value of every estimate, from top to bottom."""
    drawn = [line for line in ax.lines if line.get_marker() in ("o", "s")]
    found = [(y, to_hex(line.get_color()).upper(), x) for line in drawn for x, y in line.get_xydata()]
    return [(colour, x) for _, colour, x in sorted(found)]


def test_league_is_ordered_and_coloured_and_far_off_differences_are_arrows():
    axes = figures.show_league(league()).axes
    names = ["✓ better", "✗ a-method-with-a-long-name", "✗ plain-mean", "✓ worse"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == names
    assert [value for _, value in points(axes[0])] == pytest.approx([70, 60, 50, 40])
    colours = [[colour for colour, _ in points(ax)] for ax in axes]
    energy, deletion, insertion = [BLUE, GREY, GREY, ORANGE], [BLUE] * 4, [ORANGE] * 4  # below random: bad for the last
    assert colours == [energy, deletion, insertion, [BLUE, ORANGE, ORANGE, BLUE]]
    assert axes[0].lines[0].get_xdata()[0] == 50, "the line is the plain mean"
    (ax,) = figures.show_differences(list("abcde"), {"mAP": ESTIMATES}).axes
    low, high = ax.get_xlim()
    assert -10 < low < -0.8 < 1.4 < high < 10, "one far-off value must not squeeze all others"
    assert [text.get_text() for text in ax.texts] == ["◀ -64.0"]
    assert [colour for colour, _ in points(ax)] == [GREY, BLUE, GREY]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.as_image(np.zeros((4, 4, 3), np.float32)), "uint8"),
        (lambda: figures.as_image(np.zeros((3, 8, 4), np.uint8)), r"\(H, W, 3\)"),
        (lambda: figures.as_mask(np.zeros((40, 96)), person()), "swapped"),
        (lambda: figures.overlay(person(), np.full((9, 5), np.nan)), "attention: expected finite values"),
        (lambda: figures.overlay(person(), MAPS[0], opacity=55), "opacity"),
        (lambda: figures.show_pair(person(), person(), *MAPS[:2], 1.0), "threshold"),
        (lambda: figures.show_batch([person()] * 5, ["a"] * 6), "longer"),
        (lambda: figures.show_rankings([ranking(["right"])]), "status"),
        (lambda: figures.show_cmc({"a": [50, 60]}), r"shares in \[0, 1\]"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
