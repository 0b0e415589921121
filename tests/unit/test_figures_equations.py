"""Pictures of the equations: what stands in the axes is compared with values worked out by plain loops."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from casnkit import figures
from casnkit.figures.style import SERIES

pytestmark = pytest.mark.filterwarnings("error")
PERSON = np.full((96, 40, 3), 120, np.uint8)  # taller than wide: a swapped axis shows


def peak(row: float, spread: float = 3.0) -> np.ndarray:
    rows, columns = np.mgrid[:12, :5]
    return np.exp(-(((rows - row) / spread) ** 2) - (columns - 2) ** 2 / 2)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def bars(ax: matplotlib.axes.Axes, colour: str) -> list:
    return [
        p
        for p in ax.patches
        if isinstance(p, matplotlib.patches.Rectangle) and to_hex(p.get_facecolor()) == colour.lower()
    ]


MAPS = np.random.default_rng(0).random((11, 12, 5))
DRAWN = {
    "channels": lambda: figures.show_channels(PERSON, MAPS, [f"channel {2000 + i}" for i in range(11)], columns=6),
    "signed": lambda: figures.show_channels(PERSON, MAPS - 0.5, ["a very long caption for one map"] * 11, signed=True),
    "weights": lambda: figures.show_weights(np.random.default_rng(0).normal(size=2048)),
    "distributions": lambda: figures.show_distributions({"a name too long for one line": MAPS, "b": MAPS}, "x" * 30),
    "indicators": lambda: figures.show_indicators(
        MAPS.reshape(11, -1) > 0.5, [f"other, camera {i}" for i in range(11)]
    ),
    "alignment": lambda: figures.show_alignment((PERSON,) * 2, (peak(3), peak(7, 2)), titles=("query", "a" * 80)),
    "thresholds": lambda: figures.show_thresholds((peak(3), peak(7, 2))),
    "one threshold": lambda: figures.show_thresholds((peak(3), peak(7, 2)), [0.0]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_text_stays_inside_apart_and_legible(name: str) -> None:
    figure = DRAWN[name]()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    assert width <= 901
    boxes = []
    for text in figure.texts:
        box = text.get_window_extent()
        assert text.get_size() >= 9, text.get_text()
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= width, text.get_text()
        assert 0 <= box.y0 <= box.y1 <= height, text.get_text()
        boxes.append((text.get_text(), box))
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(across, down) < 2, f"{first!r} lies over {second!r}"


class TestChannels:
    def test_signed_maps_share_symmetric_limits(self):
        figure = figures.show_channels(PERSON, [peak(3), -2 * peak(8)], ["one", "two"], signed=True)
        shown = [ax.images[0] for ax in figure.axes if ax.images and ax.images[0].get_array().shape == (12, 5)]
        assert len(shown) == 2
        assert {image.get_clim() for image in shown} == {(-2.0, 2.0)}
        np.testing.assert_array_equal(shown[1].get_array(), -2 * peak(8))

    def test_unsigned_maps_share_one_scale(self):
        figure = figures.show_channels(PERSON, [peak(3), peak(3) / 4], ["strong", "weak"])
        strong, weak = (ax.images[0].get_array().astype(int).sum(2) for ax in figure.axes[1:3])
        assert strong.max() > 1.5 * weak.max()
        assert "one scale for all maps" in texts(figure)[0]

    def test_a_tensor_with_a_graph_and_zero_maps_are_drawn(self):
        figures.show_channels(PERSON, torch.zeros(2, 12, 5, requires_grad=True), ["a", "b"])

    @pytest.mark.parametrize(
        ("maps", "captions", "message"), [([], [], "at least one"), ([peak(1)], ["a", "b"], "2 captions")]
    )
    def test_wrong_input_is_named(self, maps, captions, message):
        with pytest.raises(ValueError, match=message):
            figures.show_channels(PERSON, maps, captions)


class TestWeights:
    def test_both_ends_in_order(self):
        weights = np.array([0.5, -3, 2, 0, -1, 4])
        figure = figures.show_weights(weights, count=2)
        (ax,) = figure.axes
        assert [bar.get_height() for bar in bars(ax, SERIES[0][0])] == [4, 2]
        assert [bar.get_height() for bar in bars(ax, SERIES[1][0])] == [-1, -3]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["5", "2", "4", "1"]
        assert "3 of 6 channels above zero, 2 below" in texts(figure)[0]

    def test_one_sign_only(self):
        (ax,) = figures.show_weights([1.0, 2.0]).axes
        assert not bars(ax, SERIES[1][0])

    def test_nan_and_matrices_are_refused(self):
        with pytest.raises(ValueError, match="finite"):
            figures.show_weights([1, float("nan")])
        with pytest.raises(ValueError, match=r"\(2, 2\)"):
            figures.show_weights(np.ones((2, 2)))


class TestDistributions:
    def test_median_count_and_shares(self):
        values = [0.0, 1, 1, 2, 10, float("nan")]
        figure = figures.show_distributions({"a": values}, "value", bins=10)
        assert "n = 5, 1 undefined" in texts(figure)
        assert "median 1.00" in texts(figure)
        heights = figure.axes[0].patches[0].get_data().values
        np.testing.assert_allclose(heights, np.array([1, 2, 1, 0, 0, 0, 0, 0, 0, 1]) / 2)

    def test_constant_samples_and_shared_limits(self):
        figure = figures.show_distributions({"a": [1.0, 1.0], "b": [1.0]}, "value")
        assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim() == (1, 2)

    def test_nothing_to_draw_is_named(self):
        with pytest.raises(ValueError, match="none for b"):
            figures.show_distributions({"a": [1.0], "b": [float("nan")]}, "value")


class TestIndicators:
    def test_columns_are_sorted_by_how_often_they_are_on(self):
        alpha = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 0], [1, 0, 1, 0]])
        figure = figures.show_indicators(alpha, ["a", "b", "c"])
        shown = np.asarray(figure.axes[0].images[0].get_array(), int)
        np.testing.assert_array_equal(shown, [[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
        assert [t for t in texts(figure) if t.endswith(" on")] == ["2 on", "1 on", "2 on"]

    def test_labels_must_fit(self):
        with pytest.raises(ValueError, match="1 labels"):
            figures.show_indicators(np.ones((2, 3)), ["a"])


class TestAlignment:
    def slow_star(self, attention: np.ndarray, threshold: float) -> tuple[int, int, np.ndarray]:
        profile = [max(row) / attention.max() for row in attention]
        above = [i for i, value in enumerate(profile) if value > threshold]
        kept = torch.tensor(profile[above[0] : above[-1] + 1])[None, None]
        return above[0], above[-1], F.interpolate(kept, size=len(profile), mode="linear")[0, 0].numpy()

    def test_steps_and_distance(self):
        maps = (peak(3), 5 * peak(7, 2))
        figure = figures.show_alignment((PERSON, PERSON), maps, 0.5)
        expected = [self.slow_star(m, 0.5) for m in maps]
        for i, (first, last, star) in enumerate(expected):
            cropped, resized = (bars(ax, SERIES[i][0]) for ax in figure.axes[5 * i + 3 : 5 * i + 5])
            assert [round(bar.get_y() + bar.get_height() / 2) for bar in cropped] == list(range(first + 1, last + 2))
            np.testing.assert_allclose([bar.get_width() for bar in resized], star, atol=1e-6)
        distance = np.linalg.norm(expected[0][2] - expected[1][2])
        assert f"\u2113\u2082 distance {distance:.3f}" in texts(figure)

    def test_thresholds_each_have_their_distance(self):
        maps = (peak(3), peak(7, 2))
        figure = figures.show_thresholds(maps, (0.2, 0.7))
        for t in (0.2, 0.7):
            first, second = (self.slow_star(m, t)[2] for m in maps)
            assert f"t = {t:g}: distance {np.linalg.norm(first - second):.3f}" in texts(figure)
        assert len(figure.axes) == 6

    def test_zero_maps_are_drawn(self):
        zero = np.zeros((12, 5))
        figures.show_alignment((PERSON, PERSON), (zero, peak(3)))
        figures.show_thresholds((zero, zero))

    @pytest.mark.parametrize("thresholds", [[], [0.1, 0.2, 0.3, 0.4], [1.0], [-0.1]])
    def test_wrong_thresholds_are_refused(self, thresholds):
        with pytest.raises(ValueError, match="threshold"):
            figures.show_thresholds((peak(3), peak(5)), thresholds)
