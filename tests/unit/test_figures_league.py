"""Pictures of explanations compared: what stands in the axes is compared with numbers worked out by hand."""

from __future__ import annotations

import itertools
from collections import namedtuple
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from casnkit.explain.faithfulness import Curves, Faithfulness
from casnkit.figures import overlay, show_curves, show_gallery_of_methods, show_league, show_sanity
from casnkit.figures.style import BLUE, GREY, ORANGE

pytestmark = pytest.mark.filterwarnings("error")
PERSON = np.full((96, 40, 3), 120, np.uint8)  # taller than wide: a swapped axis shows
OTHER = np.full((96, 48, 3), 60, np.uint8)
Interval = namedtuple("Interval", "mean low high count")


def maps(scale: float = 1.0, rows: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    return scale * rng.random((rows, 5)), scale * rng.random((rows, 6)) - 0.5


def curves(level: float, pairs: int = 4) -> Faithfulness:
    """Deletion falls in a straight line from ``level`` to 0, insertion rises to it; random masks: half of that."""

    def line(start: float, end: float) -> Curves:
        values = np.linspace(start, end, 5)[None].repeat(pairs, 0)
        return Curves(np.linspace(0, 1, 5), values, values, np.where(np.arange(pairs)[:, None] == 0, np.nan, values))

    both = np.zeros((pairs, 2), int), np.ones(pairs, bool)
    return Faithfulness(*both, line(level, 0), line(0, level), line(level / 2, 0), line(0, level / 2))


def report(values: tuple[float, ...], partner: float = 0.3) -> SimpleNamespace:
    class Report(SimpleNamespace):
        def __getitem__(self, name: str) -> SimpleNamespace:
            return SimpleNamespace(value=partner, low=partner - 0.1, high=partner + 0.1)

    names = ("pair classifier", "ID classifier", "trunk 2 of 2", "trunk 1 of 2")
    return Report(steps=tuple((n, Interval(v, v - 0.05, v + 0.05, 9)) for n, v in zip(names, values, strict=True)))


def entry(name: str, energy: float | None, over: tuple[float, float], correlation: float, passed: bool) -> dict:
    def interval(mean: float, half: float = 0.05) -> dict:
        return {"mean": mean, "low": mean - half, "high": mean + half, "count": 9}

    places = {} if energy is None else {"energy": interval(energy) | {"chance": 0.25}}
    row = {"axis": "probability", "difference": -0.1, "low": -0.2, "high": -0.02}
    rows = [row | {"curve": "deletion"}, row | {"curve": "insertion"}]
    line = {"name": "pair classifier", "value": correlation, "low": correlation, "high": correlation, "limit": 0.5}
    difference = {"energy": {"mean": sum(over) / 2, "low": over[0], "high": over[1], "count": 9}}
    return {
        "method": name,
        "localisation": places,
        "faithfulness": rows,
        "sanity": {"passed": passed, "lines": [line]},
        "over": {} if name == "plain-mean" else {"plain-mean": difference},
    }


def league(**changes: object) -> dict:
    methods = [
        entry("plain-mean", 0.5, (0, 0), 1.0, False),
        entry("better", 0.7, (0.1, 0.3), 0.1, True),
        entry("worse", 0.4, (-0.2, -0.1), 0.2, True),
        entry("a-method-with-a-long-name", 0.6, (-0.1, 0.2), 0.9, False),
    ]
    return {"data": "people", "pairs": {"right": 5, "wrong": 4}, "methods": methods} | changes


def without_masks() -> dict:
    return league(methods=[entry(n, None, (0, 0), 0.1, True) for n in ("plain-mean", "other")])


DRAWN = {
    "gallery": lambda: show_gallery_of_methods(
        [(PERSON, OTHER)] * 2, {f"method number {i}": [maps(), maps(9, 24)] for i in range(6)}, ["right", "look-alike"]
    ),
    "one method": lambda: show_gallery_of_methods([(PERSON, OTHER)], {"m": [maps()]}),
    "curves": lambda: show_curves({f"a-method-of-name-{i}": curves(0.9) for i in range(4)}),
    "one curve": lambda: show_curves({"siamese": curves(0.9)}, "average_precision"),
    "sanity": lambda: show_sanity({f"a-method-of-name-{i}": report((0.9, 0.5, 0.1, -0.3)) for i in range(4)}),
    "league": lambda: show_league(league()),
    "league without masks": lambda: show_league(without_masks()),
}


def tick_labels(ax: matplotlib.axes.Axes) -> list[matplotlib.text.Text]:
    """Those within the axis; matplotlib keeps more, which it does not draw."""
    found = []
    for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        low, high = sorted(limits)
        found += [t.label1 for t in axis.get_major_ticks() if low - 1e-9 <= t.get_loc() <= high + 1e-9]
    return found


@pytest.mark.parametrize("name", DRAWN)
def test_text_stays_inside_apart_and_legible(name: str) -> None:
    figure = DRAWN[name]()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    assert width <= 901
    labels = [ax.xaxis.label for ax in figure.axes] + [t for ax in figure.axes for t in tick_labels(ax)]
    labels += [t for ax in figure.axes if ax.get_legend() for t in ax.get_legend().get_texts()]
    boxes = []
    for text in [*figure.texts, *(t for t in labels if t.get_text() and t.get_visible())]:
        box = text.get_window_extent()
        assert text.get_size() >= 9, text.get_text()
        assert -1 <= box.x0 <= box.x1 <= width + 1, text.get_text()
        assert -1 <= box.y0 <= box.y1 <= height + 1, text.get_text()
        if text.get_rotation() == 0:
            boxes.append((text.get_text(), box))
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(across, down) < 2, f"{first!r} lies over {second!r}"


class TestGallery:
    def test_both_images_share_a_scale_that_stands_in_the_title(self):
        first, second = np.full((3, 2), 4.0), np.full((3, 2), 1.0)
        figure = show_gallery_of_methods([(PERSON, PERSON)], {"m": [(first, second)]})
        shown = figure.axes[1].images[0].get_array()
        assert shown.shape == (96, 84, 3)  # two images of 40 columns and a seam of four
        np.testing.assert_array_equal(shown[:, :40], overlay(PERSON, first, vmax=4))
        np.testing.assert_array_equal(shown[:, 44:], overlay(PERSON, second, vmax=4))
        assert "one scale per pair and method" in figure.texts[0].get_text()

    def test_one_bright_pixel_does_not_darken_the_rest_and_negatives_are_zero(self):
        values = np.full((96, 40), 1.0)
        values[0, 0] = 1000
        values[50:] = -5
        shown = show_gallery_of_methods([(PERSON, PERSON)], {"m": [(values, values)]}).axes[1].images[0].get_array()
        np.testing.assert_array_equal(shown[20, 20], overlay(PERSON, np.ones((96, 40)))[20, 20])
        np.testing.assert_array_equal(shown[70, 20], overlay(PERSON, np.zeros((96, 40)))[70, 20])

    def test_the_other_image_takes_the_height_of_the_first(self):
        figure = show_gallery_of_methods([(PERSON, PERSON[:48, :20])], {"m": [maps()]})
        assert figure.axes[0].images[0].get_array().shape == (96, 84, 3)

    def test_zero_maps_tensors_and_outlines_are_drawn(self):
        zero = torch.zeros(4, 2, requires_grad=True)
        mask = np.zeros((96, 40), bool)
        mask[20:80, 10:30] = True
        plain, outlined = (
            show_gallery_of_methods([(PERSON, PERSON)], {"m": [(zero, zero)]}, None, masks)
            for masks in (None, [(mask, mask)])
        )
        assert not plain.axes[0].collections
        assert outlined.axes[0].collections

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([], {"m": []}), "0 pairs"),
            (([(PERSON, PERSON)], {}), "0 methods"),
            (([(PERSON, PERSON)], {"m": []}), "0 maps of m"),
            (([(PERSON, PERSON)], {"m": [(np.full((2, 2), np.nan), np.ones((2, 2)))]}), "map of m, pair 0"),
            (([(PERSON, PERSON)], {"m": [maps()]}, ["a", "b"]), "2 labels"),
        ],
    )
    def test_wrong_input_is_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            show_gallery_of_methods(*arguments)


class TestCurves:
    def test_lines_and_areas(self):
        figure = show_curves({"m": curves(0.8)})
        deletion, insertion = figure.axes
        assert [line.get_ydata().tolist() for line in deletion.lines] == [
            pytest.approx([0.8, 0.6, 0.4, 0.2, 0]),
            pytest.approx([0.4, 0.3, 0.2, 0.1, 0]),
        ]
        assert insertion.lines[0].get_ydata()[-1] == pytest.approx(0.8)
        said = [t.get_text() for t in figure.texts]
        assert "deletion: +20.0 points of area" in said  # triangles: 0.8 / 2 - 0.4 / 2
        assert "mean of 4 pairs" in said[0]

    def test_pairs_without_a_value_are_left_out(self):
        figure = show_curves({"m": curves(0.8)}, "average_precision")
        assert figure.axes[0].lines[0].get_ydata()[0] == pytest.approx(0.8)

    def test_wrong_input_is_named(self):
        with pytest.raises(ValueError, match="none"):
            show_curves({})
        with pytest.raises(ValueError, match="accuracy"):
            show_curves({"m": curves(0.5)}, "accuracy")


class TestSanity:
    def test_the_way_begins_at_one_and_goes_on_in_order(self):
        figure = show_sanity({"m": report((0.9, 0.5, 0.1, -0.3), partner=0.7)})
        ways, other = figure.axes
        assert ways.lines[0].get_ydata().tolist() == pytest.approx([1, 0.9, 0.5, 0.1, -0.3])
        assert [t.get_text() for t in ways.get_xticklabels()][:2] == ["trained", "pair classifier"]
        assert other.lines[0].get_ydata().tolist() == pytest.approx([0.7, 0.7])
        assert ways.get_ylim()[0] < -0.35, "the lowest interval is inside"

    def test_nan_is_left_out(self):
        nan = float("nan")
        figure = show_sanity({"flat": report((nan, nan, nan, nan), nan), "m": report((0.9, 0.5, 0.1, 0.0))})
        assert np.isfinite(figure.axes[0].get_ylim()).all()

    def test_wrong_input_is_named(self):
        other = SimpleNamespace(steps=(("everything", Interval(0, 0, 0, 1)),))
        with pytest.raises(ValueError, match="none"):
            show_sanity({})
        with pytest.raises(ValueError, match="everything"):
            show_sanity({"a": report((1, 1, 1, 1)), "b": other})


class TestLeague:
    def colours(self, ax: matplotlib.axes.Axes) -> list[str]:
        return [to_hex(line.get_color()).upper() for line in ax.lines if line.get_marker() in ("o", "s")]

    def test_ordered_by_energy_and_coloured_by_the_paired_difference(self):
        figure = show_league(league())
        said = [t.get_text() for t in figure.texts]
        names = ["\u2713 better", "\u2717 a-method-with-a-long-name", "\u2717 plain-mean", "\u2713 worse"]
        assert [text for text in said if text[:2] in ("\u2713 ", "\u2717 ") and "passed" not in text] == names
        energy, deletion, insertion, randomised = figure.axes
        points = [line.get_xdata()[0] for line in energy.lines if line.get_marker() in ("o", "s")]
        assert points == pytest.approx([70, 60, 50, 40])
        assert self.colours(energy) == [BLUE, GREY, GREY, ORANGE]
        assert energy.lines[0].get_xdata()[0] == 50, "the line is the plain mean"
        assert self.colours(deletion) == [BLUE] * 4
        assert self.colours(insertion) == [ORANGE] * 4, "below random masks is bad for insertion"
        assert self.colours(randomised) == [BLUE, ORANGE, ORANGE, BLUE]
        assert "people, 9 test pairs" in said[0]

    def test_what_was_not_measured_is_left_out(self):
        figure = show_league(without_masks())
        assert len(figure.axes) == 3
        assert [t.get_text() for t in figure.texts][1:3] == ["\u2713 plain-mean", "\u2713 other"]

    def test_nothing_measured_is_refused(self):
        with pytest.raises(ValueError, match="at least one"):
            show_league(league(methods=[]))
