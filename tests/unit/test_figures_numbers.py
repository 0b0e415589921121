"""Curves, tables and intervals: what stands in the axes is compared with values worked out by hand or by plain loops."""

import itertools
from types import SimpleNamespace

import figure_world as w
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from figure_world import peak, person, ranking
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from casnkit import figures
from casnkit.figures.style import BLUE, GREY, ORANGE, SERIES

pytestmark = pytest.mark.filterwarnings("error", "ignore::DeprecationWarning:seaborn")


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


@pytest.mark.parametrize(("maps", "t"), [((peak(3, 2), 5 * peak(7, 1)), 0.5), ((w.MAPS[0], w.MAPS[2]), 0.2)])
def test_equation_5_step_by_step(maps, t):
    expected = [slow_star(m, t, max(map(len, maps))) for m in maps]
    heading = f"aligned rows\nℓ₂ distance {np.linalg.norm(expected[0][2] - expected[1][2]):.3f}"
    alignment = figures.show_alignment((person(), person()), maps, t)
    for i, (first, last, star) in enumerate(expected):
        cropped, resized = (bars(ax, SERIES[i][0]) for ax in alignment.axes[5 * i + 3 : 5 * i + 5])
        assert [round(bar.get_y() + bar.get_height() / 2) for bar in cropped] == list(range(first + 1, last + 2))
        np.testing.assert_allclose([bar.get_width() for bar in resized], star, atol=1e-6)
    pair = figures.show_pair(person(), person(), *maps, t)
    for figure in (alignment, pair, figures.show_thresholds(maps, [t])):
        assert heading in titles(figure)
        drawn = [line.get_xdata() for line in figure.axes[-1].lines if len(line.get_xdata()) > 2]
        if figure is pair:
            drawn = [line.get_xdata() for line in figure.axes[6].lines]
        np.testing.assert_allclose(drawn, [star for *_, star in expected], atol=1e-6)


def test_losses_and_progress():
    axes = figures.show_losses(w.log(5)).axes
    np.testing.assert_allclose([ax.lines[0].get_ydata()[0] for ax in axes], [3, 2, 0.3, 0.6, 1, 0.03, 250])
    assert len(figures.show_losses(w.log(4, ia=None, consistency=float("nan"))).axes) == 5
    rows = w.log(6)
    for epoch, value in ((2, 25), (4, 50), (6, float("nan"))):
        rows[epoch - 1]["validation_mean_ap"] = value
    figure = figures.show_progress(rows, epochs=40)
    assert figure.axes[-1].lines[0].get_xydata().tolist() == [[2, 25], [4, 50]]
    assert all(ax.get_xlim()[0] < 1 and 40 < ax.get_xlim()[1] < 45 for ax in figure.axes)


def test_cmc_and_the_weight_of_the_sum():
    (ax,) = figures.show_cmc({"CASN": np.array([0.713, 0.8, 0.9])}).axes
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[1, 71.3], [2, 80], [3, 90]])
    (ax,) = figures.show_weight_curve({"minmax": (w.WEIGHTS, w.WEIGHTS**2)}, {"minmax": 0.3}).axes
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 100 * w.WEIGHTS**2)
    np.testing.assert_allclose(ax.lines[1].get_xydata(), [[0.3, 9]])


def test_roc_draws_the_curve_its_area_and_its_points():
    (ax,) = figures.show_roc({"features": w.RATES}, {"features": ([0.01, 0.1], [0.5, 0.9])}).axes
    curve, rings, _chance = ax.lines
    np.testing.assert_allclose(curve.get_ydata(), 100 * w.RATES[1])
    np.testing.assert_allclose(curve.get_xdata()[1:], 100 * w.RATES[0][1:])
    assert curve.get_xdata()[0] == pytest.approx(ax.get_xlim()[0])  # zero lies at the left edge of a logarithmic axis
    np.testing.assert_allclose(rings.get_xdata(), [1, 10])
    steps = zip(*(pair for rate in w.RATES for pair in (rate, rate[1:])), strict=False)
    area = sum((b - a) * (s + t) / 2 for a, b, s, t in steps)
    assert ax.get_legend().get_texts()[0].get_text() == f"features: area {area:.3f}"


def test_both_average_precisions_by_hand():
    found = titles(figures.show_precision([True, False, True]))
    assert "steps: AP = 0.833" in found  # (1 + 2/3) / 2
    assert "trapezoids: AP = 0.792" in found  # ((1 + 1) / 2 + (1/2 + 2/3) / 2) / 2


def test_weights_distributions_and_indicators_by_hand():
    (ax,) = figures.show_weights(np.array([0.5, -3, 2, 0, -1, 4])).axes
    heights = [[bar.get_height() for bar in bars(ax, SERIES[i][0])] for i in (0, 1)]
    assert heights == [[4, 2, 0.5], [-1, -3]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["5", "2", "0", "4", "1"]
    (ax,) = figures.show_distributions({"a": [0.0, 1, 1, 2, 10, float("nan")]}, "value", bins=10).axes
    assert ax.texts[0].get_text() == "median 1.00\nn = 5, 1 undefined"
    np.testing.assert_allclose(ax.patches[0].get_data().values, np.array([1, 2, 1, *6 * [0], 1]) / 2)
    figure = figures.show_indicators(torch.tensor([[0, 1, 1, 0], [0, 0, 1, 0], [1, 0, 1, 0]]), ["a", "b", "c"])
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), [[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]])


def test_thresholds_cross_both_histograms_of_distances():
    figure = figures.show_distance_histograms(w.SAME, w.DIFFERENT, {"10 %": 1.3})
    for ax, values in zip(figure.axes, (w.SAME, w.DIFFERENT), strict=True):
        counts, edges, _ = ax.patches[0].get_data()
        counted = [np.sum((values >= low) & (values < high)) for low, high in itertools.pairwise(edges)]
        counted[-1] += np.sum(values == edges[-1])
        np.testing.assert_allclose(counts, np.array(counted) / max(counted))
        assert 1.3 in [line.get_xdata()[0] for line in ax.lines]


def test_cells_of_cameras_carry_their_number_and_their_queries():
    ax = figures.show_camera_pairs(w.SHARES, w.COUNTS, [1, 2], [4, 5, 6], "By features", "rank-1").axes[0]
    found = {tuple(t.get_position()): t.get_text().split("\n") for t in ax.texts}
    right, low = {(1.5, 0.5): ["31", "12"], (2.5, 0.5): ["95", "345"]}, {(0.5, 1.5): ["52", "1234"]}
    assert found == right | low | {(2.5, 1.5): ["10", "7"]}


def test_curves_and_sanity():
    deletion, insertion = figures.show_curves({"m": w.faithfulness(0.8)}).axes
    drawn = [line.get_ydata() for line in deletion.lines]
    np.testing.assert_allclose(drawn, [[0.8, 0.6, 0.4, 0.2, 0], [0.4, 0.3, 0.2, 0.1, 0]], atol=1e-12)
    assert insertion.lines[0].get_ydata()[-1] == pytest.approx(0.8)
    assert deletion.get_title("left") == "m\ndeletion: +20.0 points"  # triangles: 0.8 / 2 - 0.4 / 2
    (ax,) = figures.show_sanity({"m": w.report(partner=0.7), "flat": w.report((np.nan,) * 4, np.nan)}).axes
    assert ax.lines[0].get_ydata().tolist() == pytest.approx([1, 0.9, 0.5, 0.1, -0.3])
    assert ax.lines[1].get_ydata().tolist() == pytest.approx([0.7, 0.7])
    assert -1 < ax.get_ylim()[0] < -0.35, "the lowest interval is inside"


def points(ax: Axes) -> list[tuple[str, float]]:
    """Colour and value of every estimate."""
    drawn = [line for line in ax.lines if line.get_marker() in ("o", "s")]
    return [(to_hex(line.get_color()).upper(), line.get_xdata()[0]) for line in drawn]


def test_league_is_ordered_by_energy_and_coloured_by_the_paired_difference():
    axes = figures.show_league(w.league()).axes
    names = ["✓ better", "✗ a-method-with-a-long-name", "✗ plain-mean", "✓ worse"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == names
    assert [value for _, value in points(axes[0])] == pytest.approx([70, 60, 50, 40])
    colours = [[colour for colour, _ in points(ax)] for ax in axes]
    energy, deletion, insertion = [BLUE, GREY, GREY, ORANGE], [BLUE] * 4, [ORANGE] * 4  # below random: bad for the last
    assert colours == [energy, deletion, insertion, [BLUE, ORANGE, ORANGE, BLUE]]
    assert axes[0].lines[0].get_xdata()[0] == 50, "the line is the plain mean"


def test_differences_of_single_seeds_and_far_off_ones():
    (ax,) = figures.show_differences(list("abcde"), {"mAP": w.ESTIMATES}).axes
    low, high = ax.get_xlim()
    assert -10 < low < -0.8 < 1.4 < high < 10, "one far-off value must not squeeze all others"
    assert [text.get_text() for text in ax.texts] == ["◀ -64.0"]
    assert [colour for colour, _ in points(ax)] == [GREY, BLUE, GREY]


def cameras(shares: np.ndarray) -> Figure:
    return figures.show_camera_pairs(shares, w.COUNTS, [1, 2], [1, 2, 3], "", "")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.as_image(np.zeros((4, 4, 3), np.float32)), "uint8"),
        (lambda: figures.as_image(np.zeros((3, 8, 4), np.uint8)), r"\(H, W, 3\)"),
        (lambda: figures.as_mask(np.zeros((40, 96)), person()), "swapped"),
        (lambda: figures.overlay(person(), np.full((9, 5), np.nan)), "attention: expected finite values"),
        (lambda: figures.overlay(person(), w.MAPS[0], opacity=55), "opacity"),
        (lambda: figures.show_batch([person()] * 5, ["a"]), "1 captions"),
        (lambda: figures.show_maps([person()] * 2, {"a": [w.MAPS[0]]}), "1 maps of a"),
        (lambda: figures.show_film([person()] * 2, [w.MAPS[:1]], [4]), "1 maps of epoch 4"),
        (lambda: figures.show_pair(person(), person(), *w.MAPS[:2], 1.0), "threshold"),
        (lambda: figures.show_pair(person(), person(), *w.MAPS[:2], normalisation="max"), "shared"),
        (lambda: figures.show_thresholds(w.MAPS[:2], []), "one to three thresholds"),
        (lambda: figures.show_difference(np.ones((9, 5)), np.ones((5, 9))), "one shape"),
        (lambda: figures.show_rankings([]), "0 queries"),
        (lambda: figures.show_rankings([ranking(["right"])]), "status"),
        (lambda: figures.show_rankings([ranking(["wrong"], pids=[])]), "one entry per image"),
        (lambda: figures.show_rankings([ranking(["wrong"], distances=[np.nan])]), "NaN"),
        (lambda: figures.show_losses({"a": []}), "'epoch' and some of total"),
        (lambda: figures.show_cmc({"x": [0.5, 0.4]}), "x: expected .* never fall"),
        (lambda: figures.show_roc({"a": ([0, 1], [0, 0.5, 1])}), "vectors of one length"),
        (lambda: figures.show_weights([1, float("nan")]), "finite"),
        (lambda: figures.show_indicators(np.ones((2, 3)), ["a"]), "1 labels"),
        (lambda: figures.show_precision([0, 0]), "0 hits"),
        (lambda: figures.show_distance_histograms([1.0], [np.nan]), "none in pairs of two people"),
        (lambda: cameras(w.SHARES.T), r"shape \(2, 3\), got \(3, 2\)"),
        (lambda: figures.show_weight_curve({"a": (w.WEIGHTS, 100 * w.WEIGHTS)}, {"a": 1}), r"values in \[0, 1\]"),
        (lambda: figures.show_identification([person()], [w.MAPS[0]], [], [person()], ["a"], ""), "0 masks"),
        (lambda: figures.show_sanity({}), "none"),
        (lambda: figures.show_curves({}), "0 methods"),
        (lambda: figures.show_league(SimpleNamespace(table=w.league().table[:0], settings={})), "0 measured methods"),
        (lambda: figures.show_differences(list("abc"), {"mAP": w.ESTIMATES}), "3 names, 5 estimates"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
