"""Pictures of the protocol: what stands in the axes is compared with counts by plain loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from test_figures import check_layout

from casnkit.figures import show_camera_pairs, show_distance_histograms, show_roc, show_weight_curve
from casnkit.figures.style import BLUE, ORANGE

pytestmark = pytest.mark.filterwarnings("error")
RNG = np.random.default_rng(0)
SAME, DIFFERENT = RNG.normal(1, 0.2, 400), RNG.normal(1.6, 0.2, 3000)
RATES = np.array([0, 0.001, 0.01, 0.1, 1]), np.array([0, 0.2, 0.5, 0.9, 1])
SHARES = np.array([[np.nan, 0.31, 0.95], [0.52, np.nan, 0.1]])
COUNTS = np.array([[0, 12, 345], [1234, 0, 7]])
WEIGHTS = np.linspace(0, 1, 11)


def cameras(count: int) -> Figure:
    shares = RNG.random((count, count))
    return show_camera_pairs(shares, np.full((count, count), 1234), range(1, count + 1), range(1, count + 1))


DRAWN: dict[str, Callable[[], Figure]] = {
    "roc": lambda: show_roc({"features": RATES, "attention": RATES}, {"features": ([0.01], [0.5])}),
    "roc, linear": lambda: show_roc({"features": RATES}, logarithmic=False, title="a $long_ title " * 9),
    "roc, all right": lambda: show_roc({"features": ([0, 0, 1], [0, 1, 1])}),
    "histograms": lambda: show_distance_histograms(SAME, DIFFERENT, {"0.1 %": 1.0, "1 %": 1.01, "10 %": 2.2}),
    "histograms, bare": lambda: show_distance_histograms(torch.ones(3), torch.ones(4)),
    "histograms, far": lambda: show_distance_histograms(SAME, DIFFERENT, {"beyond": 99.0}),
    "cameras": lambda: show_camera_pairs(SHARES, COUNTS, [1, 2], [1, 2, 3]),
    "cameras, many": lambda: cameras(15),
    "cameras, one": lambda: show_camera_pairs([[0.5]], [[3]], ["north gate, upper floor"], ["south"]),
    "weights": lambda: show_weight_curve({"a": (WEIGHTS, WEIGHTS / 2), "b": (WEIGHTS, 1 - WEIGHTS)}, {"b": 0.0}),
    "weights, one": lambda: show_weight_curve({"a": ([0.5], [0.5])}, mark=None),
}


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_cut_or_small(name: str) -> None:
    figure = DRAWN[name]()
    assert isinstance(figure, Figure)
    check_layout(figure)


def test_roc_draws_the_curve_its_area_and_its_points() -> None:
    figure = show_roc({"features": RATES}, {"features": ([0.01, 0.1], [0.5, 0.9])})
    (ax,) = figure.axes
    curve, rings, _chance = ax.lines
    np.testing.assert_allclose(curve.get_ydata(), 100 * RATES[1])
    np.testing.assert_allclose(curve.get_xdata()[1:], 100 * RATES[0][1:])
    assert curve.get_xdata()[0] == pytest.approx(ax.get_xlim()[0])  # zero lies at the left edge of a logarithmic axis
    np.testing.assert_allclose(rings.get_xdata(), [1, 10])
    area = sum(
        (b - a) * (s + t) / 2 for a, b, s, t in zip(RATES[0], RATES[0][1:], RATES[1], RATES[1][1:], strict=False)
    )
    assert ax.get_legend().get_texts()[0].get_text() == f"features: area {area:.3f}"


def test_histograms_are_shares_of_their_own_kind() -> None:
    figure = show_distance_histograms(SAME, DIFFERENT, {"10 %": 1.3}, bins=20)
    (ax,) = figure.axes
    outlines = [patch for patch in ax.patches if not patch.get_fill()]
    for patch, values, colour in zip(outlines, (SAME, DIFFERENT), (BLUE, ORANGE), strict=True):
        shares, edges, _ = patch.get_data()
        counted = [np.sum((values >= low) & (values < high)) for low, high in itertools.pairwise(edges)]
        counted[-1] += np.sum(values == edges[-1])
        np.testing.assert_allclose(shares, 100 * np.array(counted) / len(values))
        assert to_hex(patch.get_edgecolor()) == colour.lower()
    assert ax.lines[0].get_xdata()[0] == 1.3
    assert ax.get_ylim()[1] > max(patch.get_data()[0].max() for patch in outlines)


def test_a_threshold_outside_is_left_out() -> None:
    assert not DRAWN["histograms, far"]().axes[0].lines


def test_cells_carry_their_number_and_their_queries() -> None:
    figure = show_camera_pairs(SHARES, COUNTS, [1, 2], [4, 5, 6])
    ax = figure.axes[0]
    written = [
        [t.get_text() for t in ax.texts if t.get_position()[0] == j and round(t.get_position()[1]) == i]
        for i in (0, 1)
        for j in (0, 1, 2)
    ]
    assert written == [["–"], ["31", "12"], ["95", "345"], ["52", "1234"], ["–"], ["10", "7"]]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["4", "5", "6"]
    assert ax.images[0].get_clim() == (10, 100)
    np.testing.assert_array_equal(ax.images[0].get_array().mask, np.isnan(SHARES))


def test_the_chosen_weight_has_a_ring_on_its_curve() -> None:
    figure = show_weight_curve({"minmax": (WEIGHTS, WEIGHTS**2)}, {"minmax": 0.3})
    _paper, curve, ring = figure.axes[0].lines
    np.testing.assert_allclose(curve.get_ydata(), 100 * WEIGHTS**2)
    assert (float(ring.get_xdata()[0]), float(ring.get_ydata()[0])) == pytest.approx((0.3, 9))
    assert "best at 0.3" in figure.axes[0].get_legend().get_texts()[1].get_text()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: show_roc({}), "at least one curve"),
        (lambda: show_roc({"a": RATES}, {"b": ([0], [0])}), "of the methods a, got some of b"),
        (lambda: show_roc({"a": (RATES[0][::-1], RATES[1])}), "a: expected rates .* never fall"),
        (lambda: show_roc({"a": ([0, 1], [0, 0.5, 1])}), "two vectors of one length"),
        (lambda: show_distance_histograms([], [1.0]), "one person: expected finite distances"),
        (lambda: show_distance_histograms([1.0], [np.nan]), "two people: expected finite distances"),
        (lambda: show_camera_pairs(SHARES.T, COUNTS, [1, 2], [1, 2, 3]), r"shape \(2, 3\), .* got \(3, 2\)"),
        (lambda: show_camera_pairs([[np.nan]], [[0]], [1], [1]), "at least one pair of cameras"),
        (lambda: show_weight_curve({}), "at least one curve"),
        (lambda: show_weight_curve({"a": (WEIGHTS, WEIGHTS)}, {"a": 0.33}), "one it tried, got a: 0.33"),
        (lambda: show_weight_curve({"a": (WEIGHTS, 100 * WEIGHTS)}), r"values in \[0, 1\]"),
    ],
)
def test_bad_input_is_named(call: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_differences_of_single_seeds_and_far_off_ones() -> None:
    from casnkit.figures import show_differences

    def estimate(mean: float, half: float | None) -> dict:
        return {
            "mean": mean,
            "low": None if half is None else mean - half,
            "high": None if half is None else mean + half,
        }

    values = [estimate(0.5, None), estimate(1.0, 0.4), estimate(-64.0, 2.0), estimate(-0.3, 0.5), None]
    figure = show_differences(list("abcde"), {"mAP": values})
    low, high = figure.axes[0].get_xlim()
    assert 1.4 <= high < 10, "one far-off value must not squeeze all others"
    assert "-64.0" in [text.get_text() for text in figure.axes[0].texts]
    assert low == -high
    with pytest.raises(ValueError, match="5 estimates each"):
        show_differences(list("abcde"), {"mAP": values[:2]})
