"""Pictures: what was rendered is read back, as pixels and as text boxes; numbers are recomputed with plain loops."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from casnkit import figures
from casnkit.figures import as_image, as_mask, upsample
from casnkit.figures.style import BLUE, ORANGE, fit, text_width, wrap

pytestmark = pytest.mark.filterwarnings("error")
PETS = Path(__file__).parents[3] / "shared" / "data" / "pets-small"
HEIGHT, WIDTH = 96, 40  # taller than wide: a swapped axis shows
HOSTILE = "a $very$ long_name \\frac{ of a file 地図\n" * 6 + ".jpg"


def person(value: int = 120, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def peak(row: int, column: int, height: int = 12, width: int = 5, value: float = 1.0) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return value * np.exp(-((rows - row) ** 2) / 4 - (columns - column) ** 2 / 2)


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(figures.figure_png(figure))).convert("RGB")).astype(int)


def region(figure: Figure, ax: matplotlib.axes.Axes) -> np.ndarray:
    """The rendered pixels inside ``ax``, without its frame; row 0 at the top."""
    canvas, box = pixels(figure), ax.get_position()
    height, width = canvas.shape[:2]
    rows = slice(round((1 - box.y1) * height) + 2, round((1 - box.y0) * height) - 2)
    return canvas[rows, round(box.x0 * width) + 2 : round(box.x1 * width) - 2]


def glow(shown: np.ndarray) -> np.ndarray:
    """Brightness of inferno's warm end; the white lines over a map, which are blue too, count nothing."""
    return np.where(shown[:, :, 2] > 170, 0, shown[:, :, 0] + shown[:, :, 1])


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts if text.get_text()]


def check_layout(figure: Figure) -> None:
    """No text leaves the figure, touches another or is smaller than 12 px where the figure is 900 px wide."""
    figure.draw_without_rendering()
    boxes, undrawn = [], set()
    for ax in figure.axes:
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
            undrawn |= {label for where, label in ticks if not (ax.axison and low <= where <= high)}
    for text in figure.findobj(matplotlib.text.Text):
        if text in undrawn:
            continue
        if text.get_visible() and text.get_text().strip() and text.get_window_extent().width > 0:
            boxes.append((text.get_text(), text.get_window_extent()))
            shown = text.get_size() / 72 * 900 / max(figure.get_size_inches()[0], 9)
            assert shown >= 12, f"{text.get_text()!r} is {shown:.1f} px"
    width, height = figure.get_size_inches() * figure.dpi
    for name, box in boxes:
        assert box.x0 >= 0, name
        assert box.y0 >= 0, name
        assert box.x1 <= width, f"{name!r} is cut at the right"
        assert box.y1 <= height, f"{name!r} is cut at the top"
    for (name, box), (other, second) in itertools.combinations(boxes, 2):
        across = min(box.x1, second.x1) - max(box.x0, second.x0)
        down = min(box.y1, second.y1) - max(box.y0, second.y0)
        assert min(across, down) < 2, f"{name!r} lies over {other!r}"
    assert figure.get_size_inches()[0] <= 9.0001


def ranking(statuses: list[str], **changes: object) -> dict[str, object]:
    count = len(statuses)
    row = {
        "query_image": person(60),
        "gallery_images": [person(100 + i) for i in range(count)],
        "statuses": statuses,
        "distances": [0.125 * (i + 1) for i in range(count)],
        "pids": list(range(1, count + 1)),
        "camids": [1 + i % 6 for i in range(count)],
        "query_pid": 7,
        "query_camid": 3,
    }
    return {**row, **changes}


class TestInputs:
    def test_tensors_are_channels_first_arrays_channels_last(self):
        image = person()
        image[:5, :3] = (255, 0, 0)
        tensor = torch.from_numpy(image).permute(2, 0, 1)
        for other in (tensor, Image.fromarray(image)):
            np.testing.assert_array_equal(as_image(other), image)

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (np.zeros((4, 4, 3), np.float32), "uint8"),
            (np.zeros((3, 8, 4), np.uint8), r"\(H, W, 3\)"),
            (np.zeros((2, 8, 4, 3), np.uint8), "got shape"),
            (np.zeros((0, 4, 3), np.uint8), "got shape"),
        ],
    )
    def test_wrong_images_are_refused(self, bad, message):
        with pytest.raises(ValueError, match=message):
            as_image(bad)

    def test_swapped_mask_is_named(self):
        with pytest.raises(ValueError, match="swapped"):
            as_mask(np.zeros((WIDTH, HEIGHT)), person())

    def test_upsampling_is_that_of_pillow(self):
        attention = np.random.default_rng(0).random((9, 5))
        picture = Image.fromarray(attention.astype(np.float32)).resize((40, 96), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(upsample(attention, 96, 40), np.asarray(picture), atol=1e-5)


class TestOverlay:
    def test_a_peak_at_the_top_left_is_bright_at_the_top_left(self):
        shown = figures.overlay(person(), peak(1, 0)).astype(int).sum(2)
        assert shown.shape == (HEIGHT, WIDTH)
        quarters = [shown[r : r + 32, c : c + 20].mean() for r in (0, 64) for c in (0, 20)]
        assert np.argmax(quarters) == 0
        row, column = np.unravel_index(shown.argmax(), shown.shape)
        assert row // (HEIGHT // 12) == 1
        assert column // (WIDTH // 5) == 0

    def test_every_pixel_against_a_loop(self):
        rng = np.random.default_rng(1)
        image, attention = rng.integers(0, 256, (6, 3, 3)).astype(np.uint8), rng.random((6, 3))
        expected = np.zeros_like(image)
        for row, column in np.ndindex(6, 3):
            value = attention[row, column] / attention.max()
            share = min(1.0, 0.4 * (2 / 3 + 5 / 6 * value))
            colour = np.array(matplotlib.colormaps["cividis"](value)[:3]) * 255
            expected[row, column] = np.round((1 - share) * image[row, column] + share * colour)
        np.testing.assert_array_equal(figures.overlay(image, attention, 0.4, "cividis"), expected)

    def test_opacity_zero_shows_the_image_alone(self):
        np.testing.assert_array_equal(figures.overlay(person(), peak(3, 3), opacity=0), person())

    def test_vmax_makes_maps_comparable(self):
        bright, dim = (figures.overlay(person(), peak(5, 2, value=v), vmax=1.0).max() for v in (1.0, 0.3))
        assert dim < bright
        alone = figures.overlay(person(), peak(5, 2, value=0.3))
        np.testing.assert_array_equal(alone, figures.overlay(person(), peak(5, 2)))

    def test_zero_map_is_dark_and_even(self):
        shown = figures.overlay(person(), np.zeros((9, 5)))
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 1
        assert shown.max() < 120

    @pytest.mark.parametrize("bad", [np.full((9, 5), np.nan), np.zeros((2, 9, 5)), np.zeros(9), np.zeros((0, 5))])
    def test_wrong_maps_are_refused(self, bad):
        with pytest.raises(ValueError, match="attention: expected"):
            figures.overlay(person(), bad)

    def test_wrong_opacity_is_refused(self):
        with pytest.raises(ValueError, match="opacity"):
            figures.overlay(person(), peak(1, 1), opacity=55)

    def test_tensor_with_a_graph_is_taken(self):
        attention = torch.tensor(peak(1, 0), requires_grad=True)
        np.testing.assert_array_equal(figures.overlay(person(), attention), figures.overlay(person(), peak(1, 0)))


def slow_aligned(attention: np.ndarray, threshold: float, rows: int) -> list[float]:
    """Equation 5's M*, one number at a time: row maximum, crop, linear resize with pixel centres."""
    profile = [max(row) for row in attention.tolist()]
    if max(profile) == 0:
        return [0.0] * rows
    profile = [value / max(profile) for value in profile]
    above = [i for i, value in enumerate(profile) if value > threshold]
    kept = profile[above[0] : above[-1] + 1]
    out = []
    for i in range(rows):
        position = min(max((i + 0.5) * len(kept) / rows - 0.5, 0), len(kept) - 1)
        low = int(position)
        high = min(low + 1, len(kept) - 1)
        out.append(kept[low] * (1 - position + low) + kept[high] * (position - low))
    return out


class TestPair:
    IMAGE_1, OVERLAY_1, BAR_1, PROFILE_1, IMAGE_2, OVERLAY_2, BAR_2, PROFILE_2, ALIGNED = range(9)

    def test_rows_of_profile_and_picture_line_up(self):
        figure = figures.show_pair(person(), person(), peak(2, 0), peak(9, 4))
        axes = figure.axes
        for image, shown, profile, row, column in (
            (self.IMAGE_1, self.OVERLAY_1, self.PROFILE_1, 2, 0),
            (self.IMAGE_2, self.OVERLAY_2, self.PROFILE_2, 9, 4),
        ):
            edges = {(round(axes[i].get_position().y0, 6), round(axes[i].get_position().y1, 6)) for i in
                     (image, shown, profile)}  # fmt: skip
            assert len(edges) == 1
            bars = region(figure, axes[profile])
            coloured = (bars.max(2) - bars.min(2) > 60).sum(1)  # coloured pixels in each line of pixels
            longest = np.flatnonzero(coloured == coloured.max()).mean() / len(coloured)
            assert abs(longest - (row + 0.5) / 12) < 0.03
            over = region(figure, axes[shown])
            down, right = np.unravel_index(glow(over).argmax(), over.shape[:2])
            assert abs(down / len(over) - (row + 0.5) / 12) < 0.06
            assert abs(right / over.shape[1] - (column + 0.5) / 5) < 0.12

    def test_cut_lines_enclose_the_rows_above_the_threshold(self):
        attention = np.zeros((12, 5))
        attention[[3, 4, 7], 2] = 0.8, 1.0, 0.6
        figure = figures.show_pair(person(), person(), attention, peak(9, 4), threshold=0.5)
        lines = [line.get_ydata()[0] for line in figure.axes[self.OVERLAY_1].lines]
        assert lines == [3 * HEIGHT / 12, 8 * HEIGHT / 12]

    @pytest.mark.parametrize(("height_1", "height_2", "threshold"), [(12, 12, 0.5), (9, 9, 0.2), (24, 9, 0.4)])
    def test_distance_against_a_loop(self, height_1, height_2, threshold):
        rng = np.random.default_rng(height_1)
        maps = [(0.5 + rng.random((h, 5))) * np.linspace(0.02, 1, h)[:, None] for h in (height_1, height_2)]
        profiles = [slow_aligned(attention, threshold, max(height_1, height_2)) for attention in maps]
        expected = sum((a - b) ** 2 for a, b in zip(*profiles, strict=True)) ** 0.5
        figure = figures.show_pair(person(), person(), *maps, threshold=threshold)
        assert f"\u2113\u2082 distance {expected:.3f}" in texts(figure)
        drawn = [line.get_xdata() for line in figure.axes[self.ALIGNED].lines]
        np.testing.assert_allclose(drawn, profiles, atol=1e-12)

    @pytest.mark.parametrize(
        ("same", "probability", "mark", "colour"),
        [(True, 0.9, "\u2713", BLUE), (False, 0.9, "\u2717", ORANGE), (True, 0.1, "\u2717", ORANGE),
         (False, 0.1, "\u2713", BLUE)],
    )  # fmt: skip
    def test_verdict_has_mark_and_colour(self, same, probability, mark, colour):
        figure = figures.show_pair(
            person(), person(), peak(2, 2), peak(3, 2), same=same, probability=probability, distance=0.5
        )
        (found,) = [text for text in figure.texts if text.get_text() in "\u2713\u2717"]
        assert (found.get_text(), found.get_color()) == (mark, colour)
        assert any("feature distance 0.500" in text for text in texts(figure))

    def test_shared_scale_dims_the_weaker_map(self):
        maps = peak(5, 2), peak(5, 2, value=0.2)
        own = figures.show_pair(person(), person(), *maps)
        shared = figures.show_pair(person(), person(), *maps, normalisation="shared")
        brightness = [glow(region(f, f.axes[self.OVERLAY_2])).max() for f in (own, shared)]
        assert brightness[1] < brightness[0] - 100
        assert "own maximum" in texts(own)[0]
        assert "larger maximum" in texts(shared)[0]
        assert shared.axes[self.PROFILE_2].patches[5].get_width() == pytest.approx(0.2)

    def test_zero_map_says_so(self):
        figure = figures.show_pair(person(), person(), np.zeros((12, 5)), peak(3, 2))
        assert "map is zero" in [text.get_text() for text in figure.axes[self.PROFILE_1].texts]
        check_layout(figure)

    @pytest.mark.parametrize(
        ("change", "message"),
        [({"threshold": 1.0}, "threshold"), ({"probability": 3.0}, "probability"), ({"normalisation": "max"}, "shared"),
         ({"map_1": np.full((9, 5), np.nan)}, "map 1.*NaN"), ({"image_2": np.zeros((3, 9, 5))}, "image 2")],
    )  # fmt: skip
    def test_wrong_arguments_are_refused(self, change, message):
        good = {"image_1": person(), "image_2": person(), "map_1": peak(1, 1), "map_2": peak(1, 1)}
        with pytest.raises(ValueError, match=message):
            figures.show_pair(**{**good, **change})


class TestRanking:
    def test_only_counted_images_take_a_rank(self):
        figure = figures.show_ranking(**ranking(["same_camera", "correct", "junk", "wrong", "distractor"]))
        heads = [text for text in texts(figure) if text[-1] in "\u2713\u2717\u25cb\u2013=" and len(text) <= 3]
        assert heads[:5] == ["=", "1 \u2713", "\u2013", "2 \u2717", "3 \u25cb"]

    def test_frames_differ_in_colour_and_line(self):
        figure = figures.show_ranking(**ranking(list(figures.STATUSES)))
        frames = [
            p
            for p in figure.findobj(matplotlib.patches.Rectangle)
            if p.get_figure() and p.axes is None and p.get_facecolor()[3] == 0
        ]
        looks = {(to_hex(p.get_edgecolor()), str(p._unscaled_dash_pattern)) for p in frames[1:6]}
        assert len(looks) == 5
        assert to_hex(frames[1].get_edgecolor()) == BLUE.lower()

    def test_frame_is_seen_around_its_own_tile_only(self):
        figure = figures.show_ranking(**ranking(["correct", "wrong"]))
        canvas, width = pixels(figure), figure.get_size_inches()[0] * 100
        blue, orange = (np.abs(canvas - np.array(to_rgb(c)) * 255).sum(2) < 12 for c in (BLUE, ORANGE))
        first, second = (figure.axes[i].get_position() for i in (1, 2))
        middle = slice(round(100 * (figure.get_size_inches()[1] * (1 - first.y1))), None)
        between = round((first.x1 + second.x0) / 2 * width)
        legend = round(100 * figure.get_size_inches()[1] * (1 - first.y0)) + 20
        body = slice(middle.start, legend)
        assert blue[body, :between].sum() > 100
        assert blue[body, between:].sum() == 0
        assert orange[body, :between].sum() == 0
        assert orange[body, between:].sum() > 60

    def test_legend_names_what_is_shown_and_nothing_else(self):
        figure = figures.show_ranking(**ranking(["correct", "distractor"]))
        assert "same person" in texts(figure)
        assert not any("junk" in text or text == "another person" for text in texts(figure))

    def test_images_stand_in_order_and_wrap(self):
        figure = figures.show_ranking(**ranking(["wrong"] * 7), columns=3)
        images = [ax for ax in figure.axes if ax.images]
        assert [round(ax.images[0].get_array().mean()) for ax in images] == [60, *range(100, 107)]
        lefts = [round(ax.get_position().x0, 4) for ax in images[1:]]
        assert lefts[0] == lefts[3] == lefts[6] < lefts[1] == lefts[4] < lefts[2]

    def test_captions_give_distance_person_and_camera(self):
        figure = figures.show_ranking(**ranking(["wrong", "correct"], camids=[-1, 5]))
        assert {"0.125", "id 1", "cam ?", "0.250", "id 2", "cam 5", "id 7", "cam 3"} <= set(texts(figure))

    def test_excluded_images_are_pale(self):
        figure = figures.show_ranking(**ranking(["wrong", "junk"], gallery_images=[person(0), person(0)]))
        wrong, junk = (region(figure, figure.axes[i]).mean() for i in (1, 2))
        assert wrong < 1
        assert 120 < junk < 160

    def test_empty_gallery_and_gallery_of_one(self):
        empty = figures.show_ranking(**ranking([]))
        assert "no gallery image to rank" in texts(empty)
        check_layout(empty)
        check_layout(figures.show_ranking(**ranking(["correct"]), title=HOSTILE))

    @pytest.mark.parametrize(
        ("change", "message"),
        [({"statuses": ["right"]}, "status"), ({"pids": []}, "one entry per image"),
         ({"distances": [np.nan]}, "NaN"), ({"gallery_images": [np.zeros((9, 5, 3))]}, "gallery image 0")],
    )  # fmt: skip
    def test_wrong_rows_are_refused(self, change, message):
        with pytest.raises(ValueError, match=message):
            figures.show_ranking(**{**ranking(["wrong"]), **change})

    def test_incomplete_and_missing_rows_are_refused(self):
        with pytest.raises(ValueError, match="query_image"):
            figures.show_rankings([{key: [] for key in ("gallery_images", "statuses", "distances", "pids", "camids")}])
        with pytest.raises(ValueError, match="at least one query"):
            figures.show_rankings([])


class TestMaps:
    def test_identification_shows_mask_and_masked_image(self):
        mask = np.zeros((HEIGHT, WIDTH))
        mask[:48, :20] = 1.0
        masked = person(200)
        masked[:48, :20] = 0
        figure = figures.show_identification(person(200), peak(1, 0), mask, masked, "id 12")
        _, _, soft, left = (region(figure, figure.axes[i]).sum(2) for i in range(4))
        rows, columns = soft.shape[0] // 2 - 6, soft.shape[1] // 2 - 6
        assert soft[:rows, :columns].min() > soft[rows + 12 :].max()
        assert soft[:rows, :columns].min() > soft[:, columns + 12 :].max()
        assert left[:rows, :columns].max() < 30
        assert left[rows + 12 :].min() > 560

    def test_identification_refuses_unequal_rows_and_swapped_masks(self):
        good = [person(), peak(1, 1), np.zeros((HEIGHT, WIDTH)), person()]
        with pytest.raises(ValueError, match="one entry per image"):
            figures.show_identification([person()] * 2, *([item] for item in good[1:]), ["a", "b"])
        with pytest.raises(ValueError, match="swapped"):
            figures.show_identification(person(), peak(1, 1), np.zeros((WIDTH, HEIGHT)), person())

    def test_scales(self):
        maps = {"strong": [peak(2, 2)], "weak": [peak(2, 2, value=0.1)]}
        for shared, equal in ((True, False), (False, True), ("method", True)):
            figure = figures.show_maps([person()], maps, shared=shared)
            strong, weak = (region(figure, figure.axes[i]).sum(2).max() for i in (1, 2))
            assert (abs(strong - weak) < 3) == equal, shared
        with pytest.raises(ValueError, match="shared"):
            figures.show_maps([person()], maps, shared="row")

    def test_outline_follows_the_mask(self):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[10:50, 5:20] = True
        figure = figures.show_maps([person(80)], {"zero": [np.zeros((9, 5))]}, masks=[mask])
        plain = region(figure, figure.axes[0])
        rows, columns = np.nonzero(plain.min(2) > 200)
        scale = plain.shape[0] / HEIGHT
        found = np.array([rows.min(), rows.max(), columns.min(), columns.max()]) / scale
        np.testing.assert_allclose(found, [10, 50, 5, 20], atol=1.5)

    @pytest.mark.parametrize("mask", [np.zeros((HEIGHT, WIDTH), bool), np.ones((HEIGHT, WIDTH), bool), None])
    def test_masks_without_an_edge_are_left_out(self, mask):
        figure = figures.show_maps([person(80)], {"zero": [np.zeros((9, 5))]}, masks=[mask])
        assert not figure.axes[0].collections

    def test_arrays_serve_where_lists_do(self):
        masks = np.zeros((2, HEIGHT, WIDTH), bool)
        masks[:, 20:60, 10:30] = True
        images = np.stack([person(80)] * 2)
        figure = figures.show_maps(images, {"a": np.stack([peak(1, 1)] * 2)}, masks=masks, labels=np.array(["x", "y"]))
        assert all(len(ax.collections) == 2 for ax in figure.axes[:4])

    def test_wrong_numbers_are_refused(self):
        with pytest.raises(ValueError, match="1 maps of a"):
            figures.show_maps([person()] * 2, {"a": [peak(1, 1)]})
        with pytest.raises(ValueError, match="0 methods"):
            figures.show_maps([person()], {})

    def test_difference_is_symmetric_around_white(self):
        first, second = peak(2, 1), peak(8, 3)
        figure = figures.show_difference(first, second)
        image = figure.axes[4].images[0]
        low, high = image.get_clim()
        assert low == -high == -np.abs(first / first.max() - second / second.max()).max()
        shown = region(figure, figure.axes[4])
        depth, warm = 765 - shown.sum(2), shown[:, :, 0] > shown[:, :, 2]
        red, blue = (np.argmax(depth * side) // shown.shape[1] / len(shown) for side in (warm, ~warm))
        assert abs(red - 2.5 / 12) < 0.05
        assert abs(blue - 8.5 / 12) < 0.05

    def test_difference_of_equal_and_unequal_shapes(self):
        ax = Figure().add_subplot()
        assert figures.show_difference(peak(1, 1), peak(1, 1), ax=ax) is ax.figure
        assert ax.images[0].get_clim() == (-1, 1)
        with pytest.raises(ValueError, match="one shape"):
            figures.show_difference(np.ones((9, 5)), np.ones((5, 9)))


def log(epochs: int, **changes: object) -> list[dict[str, object]]:
    terms = {"ide": 2.0, "ia": 0.3, "bce": 0.6, "consistency": 1.0, "total": 3.0, "learning_rate": 0.03,
             "images_per_second": 250.0}  # fmt: skip
    return [{"epoch": e + 1, **{k: v / (e + 1) for k, v in terms.items()}, **changes} for e in range(epochs)]


class TestCurves:
    def test_every_term_is_drawn_with_its_values(self):
        figure = figures.show_losses(log(5))
        curves = [ax.lines[0] for ax in figure.axes]
        np.testing.assert_allclose([c.get_ydata()[0] for c in curves], [3, 2, 0.3, 0.6, 1, 0.03, 250])
        assert all(list(c.get_xdata()) == [1, 2, 3, 4, 5] for c in curves)

    def test_terms_that_no_run_has_leave_no_panel(self):
        figure = figures.show_losses(log(4, ia=None, consistency=float("nan")))
        assert len(figure.axes) == 5
        assert not any("attention" in text or "consistency" in text for text in texts(figure))

    def test_runs_share_panels_and_differ_without_colour(self):
        figure = figures.show_losses({f"run {i}": log(3) for i in range(6)})
        panel = next(ax for ax in figure.axes if ax.axison)
        assert len(panel.lines) == 6
        assert len({(line.get_linestyle(), line.get_marker()) for line in panel.lines}) == 6

    @pytest.mark.parametrize("bad", [[], {}, {"a": []}, [{"ide": 1.0}], [{"epoch": 1}], [{"epoch": 1, "ide": None}]])
    def test_wrong_logs_are_refused(self, bad):
        with pytest.raises(ValueError, match="expected"):
            figures.show_losses(bad)

    def test_cmc_shows_percent_and_rank_1(self):
        figure = figures.show_cmc({"CASN": np.array([0.713, 0.8, 0.9])})
        (line,) = figure.axes[0].lines
        np.testing.assert_allclose(line.get_ydata(), [71.3, 80, 90])
        assert list(line.get_xdata()) == [1, 2, 3]
        assert "71.3 %" in figure.axes[0].get_legend().get_texts()[0].get_text()

    @pytest.mark.parametrize("bad", [[], [[0.1, 0.2]], [0.5, 0.4], [50.0, 60.0], [0.1, np.nan]])
    def test_wrong_curves_are_refused(self, bad):
        with pytest.raises(ValueError, match="x: expected"):
            figures.show_cmc({"x": bad})


def gallery_of_figures() -> dict[str, Figure]:
    images = [person(), person(90, 128, 64), person(70, 384, 128)]
    masks = [np.tile(np.linspace(0, 1, image.shape[1]), (image.shape[0], 1)) for image in images]
    maps = [peak(3, 2), peak(2, 2, 9, 5), peak(11, 3, 24, 8)]
    statuses = [figures.STATUSES[i % 5] for i in range(13)]
    row = ranking(statuses, pids=[1501] * 13, distances=np.linspace(0, 123.456, 13))
    return {
        "ranking": figures.show_ranking(**row, title=HOSTILE),
        "rankings": figures.show_rankings([{**row, "title": HOSTILE}, ranking(["wrong"] * 3)], title="Two"),
        "pair": figures.show_pair(
            images[0], images[2], maps[0], maps[2], titles=(HOSTILE, HOSTILE), same=True, probability=0.5, title=HOSTILE
        ),
        "pair of wide pictures": figures.show_pair(person(9, 50, 90), images[2], maps[0], maps[2], 0.0),
        "identification": figures.show_identification(images, maps, masks, images, [HOSTILE, "", "id 3"], HOSTILE),
        "maps": figures.show_maps(images, {HOSTILE: maps, "b": maps, "Siamese attention": maps}, labels=["a"] * 3),
        "many maps": figures.show_maps(images, {f"method number {i}": maps for i in range(6)}, title=HOSTILE),
        "difference": figures.show_difference(maps[0], 0 * maps[0], (HOSTILE, HOSTILE), HOSTILE),
        "losses": figures.show_losses({HOSTILE + str(i): log(40) for i in range(9)}, HOSTILE),
        "one epoch": figures.show_losses(log(1)),
        "cmc": figures.show_cmc({HOSTILE: np.linspace(0.3, 1, 50), "b": np.linspace(0.5, 1, 50)}, title=HOSTILE),
        "batch": figures.show_batch(images * 4, [HOSTILE, "b", ""] * 4),
    }


def test_nothing_is_cut_overlaps_or_is_too_small():
    for name, figure in gallery_of_figures().items():
        try:
            check_layout(figure)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


def test_batch_reads_like_a_page():
    images = torch.stack([torch.full((3, 16, 8), 10 * i, dtype=torch.uint8) for i in range(5)])
    figure = figures.show_batch(images, columns=2)
    corners = [(round(1 - ax.get_position().y1, 3), round(ax.get_position().x0, 3)) for ax in figure.axes]
    assert corners == sorted(corners)
    assert [round(region(figure, ax).mean()) for ax in figure.axes] == [0, 10, 20, 30, 40]
    with pytest.raises(ValueError, match="1 captions"):
        figures.show_batch(images, ["a"])
    with pytest.raises(ValueError, match="at least one image"):
        figures.show_batch([])


class TestText:
    def test_long_text_keeps_both_ends_and_fits(self):
        short = fit("0001_c1s1_000126_00_" * 9 + ".jpg", 1.5)
        assert short.startswith("0001")
        assert short.endswith(".jpg")
        assert "\u2026" in short
        assert text_width(short) <= 1.5
        assert fit("short", 1.5) == "short"

    def test_dollars_and_unknown_letters(self):
        assert fit("$x_1$\t\n地", 3) == "$x_1$ \u25a1"

    def test_wrap_keeps_every_word_that_fits(self):
        assert wrap("Siamese attention (paper)", text_width("Siamese attention") + 0.01) == [
            "Siamese attention",
            "(paper)",
        ]
        assert len(wrap("word " * 50, 1.0, 3)) == 3


class TestSaving:
    @pytest.fixture
    def figure(self) -> Figure:
        return figures.show_batch([person()], ["id $1$"])

    def test_png_carries_its_description_and_no_time(self, figure, tmp_path):
        path = figures.save_figure(figure, tmp_path / "new" / "a.png", "A person — id 1.")
        with Image.open(path) as image:
            assert image.info["Description"] == "A person — id 1."
            assert set(image.info) <= {"Description", "dpi"}
        again = figures.save_figure(figures.show_batch([person()], ["id $1$"]), tmp_path / "b.png", "A person — id 1.")
        assert path.read_bytes() == again.read_bytes()
        assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["b.png"]

    @pytest.mark.parametrize("kind", ["svg", "pdf"])
    def test_vector_files_are_the_same_twice_and_described(self, figure, tmp_path, kind):
        first, second = (figures.save_figure(figure, tmp_path / f"{i}.{kind}", "Tom & <Eva>") for i in range(2))
        assert first.read_bytes() == second.read_bytes()
        if kind == "svg":
            assert "<desc>Tom &amp; &lt;Eva&gt;</desc>" in first.read_text()

    @pytest.mark.parametrize("alt", ["", "  \n", None])
    def test_alternative_text_is_required(self, figure, tmp_path, alt):
        with pytest.raises(ValueError, match="alternative text"):
            figures.save_figure(figure, tmp_path / "a.png", alt)
        assert not list(tmp_path.iterdir())

    def test_other_kinds_are_refused(self, figure, tmp_path):
        with pytest.raises(ValueError, match=r"\.png, \.svg or \.pdf"):
            figures.save_figure(figure, tmp_path / "a.jpg", "x")

    def test_notebook_shows_sharp_png_at_its_size(self, figure):
        data, size = figure._repr_png_()
        with Image.open(io.BytesIO(data)) as image:
            assert image.size[0] == pytest.approx(2 * size["width"], abs=2)


def test_the_readers_own_settings_change_nothing_and_survive():
    expected = figures.figure_png(figures.show_cmc({"a": [0.1, 0.5]}))
    with matplotlib.rc_context({"font.size": 40, "axes.grid": True, "text.color": "red", "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert figures.figure_png(figures.show_cmc({"a": [0.1, 0.5]})) == expected
        assert dict(matplotlib.rcParams) == before


def test_matplotlib_waits_for_the_first_picture_and_pyplot_is_never_touched():
    script = (
        "import sys, casnkit.figures as f; assert 'matplotlib' not in sys.modules; "
        "f.figure_png(f.show_cmc({'a': [0.1, 0.5]})); assert 'matplotlib.pyplot' not in sys.modules"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_real_people_are_upright_and_masks_line_up():
    if not PETS.is_dir():
        pytest.skip(f"needs the images in {PETS}")
    paths = sorted((PETS / "query").glob("*.jpg"))[:2]
    images = [Image.open(path).convert("RGB") for path in paths]
    masks = [np.asarray(Image.open(PETS / "masks" / f"{path.stem}.png")) > 0 for path in paths]
    figure = figures.show_maps(images, {"mask": [mask.astype(float) for mask in masks]}, masks=masks)
    for i, image in enumerate(images):
        shown, pure = region(figure, figure.axes[2 * i]), np.asarray(image).astype(int)
        assert shown.shape[0] > 1.8 * shown.shape[1]
        small = np.asarray(Image.fromarray(shown.astype(np.uint8)).resize((8, 16), Image.Resampling.BOX)).astype(int)
        wanted = np.asarray(Image.fromarray(pure.astype(np.uint8)).resize((8, 16), Image.Resampling.BOX)).astype(int)
        agreement = np.corrcoef(small.ravel(), wanted.ravel())[0, 1]
        upside_down = np.corrcoef(small[::-1].ravel(), wanted.ravel())[0, 1]
        assert agreement > 0.95 > upside_down


def _row(statuses: list[str]) -> dict:
    return {
        "query_image": person(), "query_pid": 1, "query_camid": 1,
        "gallery_images": [person(20 * (i + 1)) for i in range(len(statuses))], "statuses": statuses,
        "distances": [0.1 * i for i in range(len(statuses))], "pids": [1] * len(statuses), "camids": [2] * len(statuses),
    }  # fmt: skip


def test_step_shows_the_partner_that_was_asked_for() -> None:
    row = _row(["correct", "wrong", "distractor"])
    step = figures.show_step(row, 1, peak(2, 2), peak(9, 2), threshold=0.2)
    check_layout(step)
    assert any("number 2" in text and "another person" in text for text in texts(step))
    query, map_1, partner, map_2 = (region(step, ax) for ax in step.axes[:4])
    assert abs(np.median(partner) - 40) <= 1
    assert abs(np.median(query) - 120) <= 1
    rows = [glow(shown).sum(1).argmax() / len(shown) for shown in (map_1, map_2)]
    assert rows[0] < 0.35 < 0.65 < rows[1], "the query's map peaks above, the partner's below"
    with pytest.raises(ValueError, match="0 to 2"):
        figures.show_step(row, 3, peak(2, 2), peak(9, 2))


def test_animation_keeps_frames_their_time_and_their_words(tmp_path: Path) -> None:
    row = _row(["correct", "wrong"])
    steps = [figures.show_step(row, k, peak(2 + 3 * k, 2), peak(9, 2)) for k in range(2)]
    path = figures.save_animation(steps, tmp_path / "a.webp", "two  partners", milliseconds=700)
    frames = []
    with Image.open(path) as moving:
        assert moving.getexif()[270] == "two partners"
        assert (moving.n_frames, moving.info["loop"]) == (2, 0)
        for k in range(2):
            moving.seek(k)
            frames.append(np.asarray(moving.convert("RGB")).astype(int))
            assert moving.info["duration"] == 700
    for frame, step in zip(frames, steps, strict=True):
        assert np.abs(frame - pixels(step)).mean() < 2, "colours are kept"
    assert np.abs(frames[0] - frames[1]).max() > 60
    for bad in ({"figures": [], "path": tmp_path / "b.webp"}, {"figures": steps, "path": tmp_path / "b.gif"}):
        with pytest.raises(ValueError, match="expected"):
            figures.save_animation(**bad, alt="x")
    assert list(tmp_path.iterdir()) == [path]
