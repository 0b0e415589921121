"""Pictures: nothing is cut, overlaps or is too small; images, maps and rankings are read back from what was rendered."""

import io
import itertools
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from figure_world import DRAWN, HEIGHT, WIDTH, peak, person, ranking
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from casnkit import figures
from casnkit.figures import as_image, style, upsample

pytestmark = pytest.mark.filterwarnings("error", "ignore::DeprecationWarning:seaborn")


def region(figure: Figure, ax: matplotlib.axes.Axes) -> np.ndarray:
    canvas = np.asarray(Image.open(io.BytesIO(figures.figure_png(figure))).convert("RGB")).astype(int)
    box, height = ax.get_window_extent(), len(canvas)
    rows = slice(round(height - box.y1) + 2, round(height - box.y0) - 2)
    return canvas[rows, round(box.x0) + 2 : round(box.x1) - 2]


def glow(shown: np.ndarray) -> np.ndarray:
    """Brightness of inferno's warm end; the white lines over a map, which are blue too, count nothing."""
    return np.where(shown[:, :, 2] > 170, 0, shown[:, :, 0] + shown[:, :, 1])


def drawn_texts(figure: Figure) -> list[matplotlib.text.Text]:
    """Every text that is drawn: matplotlib keeps tick labels outside the limits, and those of axes that are off."""
    undrawn = set()
    for ax in figure.findobj(matplotlib.axes.Axes):
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            undrawn |= set() if ax.axison else {axis.label, *axis.get_ticklabels(), *axis.get_ticklabels(minor=True)}
            ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=False)
            undrawn |= {label for where, label in ticks if not low - 1e-9 <= where <= high + 1e-9}
    texts = figure.findobj(lambda a: isinstance(a, matplotlib.text.Text) and a.get_visible() and a.get_text().strip())
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
        if text.get_text().endswith("\n "):  # room that is kept for another text
            box = box.from_extents(box.x0, box.y0 + box.height / (1 + text.get_text().count("\n")), box.x1, box.y1)
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
        over = region(figure, shown)
        down, right = np.unravel_index(glow(over).argmax(), over.shape[:2])
        assert abs(down / len(over) - (row + 0.5) / 12) < 0.06
        assert abs(right / over.shape[1] - (column + 0.5) / 5) < 0.12


def test_verdict_and_shared_scale_of_a_pair():
    for same, probability, mark, colour in (
        (1, 0.9, "✓", style.BLUE),
        (0, 0.9, "✗", style.ORANGE),
        (1, 0.1, "✗", None),
    ):
        figure = figures.show_pair(person(), person(), peak(2, 2), peak(3, 2), 0.5, ("a", "b"), bool(same), probability)
        (found,) = figure.artists
        assert (found.get_text()[0], found.get_color()) == (mark, colour or style.ORANGE)
    maps, hows = (peak(5, 2), peak(5, 2, value=0.2)), ("own maximum", "shared")
    own, shared = (figures.show_pair(person(), person(), *maps, normalisation=how) for how in hows)
    assert glow(region(shared, shared.axes[4])).max() < glow(region(own, own.axes[4])).max() - 100
    assert shared.axes[5].patches[5].get_width() == pytest.approx(0.2)


def test_only_counted_images_take_a_rank_and_statuses_differ_without_colour():
    (ax,) = figures.show_rankings([ranking(["same_camera", "correct", "junk", "wrong", "distractor"])]).axes
    heads = [text.get_text() for text in ax.texts if text.get_weight() == "bold"]
    assert heads == ["query", "=", "1 ✓", "–", "2 ✗", "3 ○"]
    frames = figures.show_rankings([ranking(list(figures.STATUSES))]).axes[0].patches[1:]
    assert len({(to_hex(p.get_edgecolor()), str(p._unscaled_dash_pattern)) for p in frames}) == 5


def test_ranked_images_stand_in_order_wrap_and_are_pale_where_they_do_not_count():
    axes = figures.show_rankings([ranking(["wrong"] * 6 + ["junk"])], columns=3).axes
    shown = [round(image.get_array().mean()) for ax in axes for image in ax.images]
    assert shown == [60, *range(100, 106), 187]
    lefts = [[image.get_extent()[0] for image in ax.images] for ax in axes]
    assert lefts[0][1:] == lefts[1]


def test_identification_shows_mask_and_masked_image_and_an_outline_follows_its_mask():
    mask = np.zeros((HEIGHT, WIDTH))
    mask[10:50, 5:20] = 1.0
    figure = figures.show_identification([person(200)], [peak(1, 0)], [mask], [person(90)], ["id 12"], "IA")
    soft, left = (image.get_array().astype(int).sum(2) for image in figure.axes[0].images[2:])
    assert soft[12:48, 7:18].min() > soft[52:].max()
    assert (left == 3 * 90).all()
    ax = figures.show_maps([person(), person()], {"m": [peak(1, 1)] * 2}, [mask > 0, None]).axes[0]
    edge = (mask > 0) & ~np.pad(mask[11:49, 6:19] > 0, ((11, HEIGHT - 49), (6, WIDTH - 19)))
    np.testing.assert_array_equal(ax.images[0].get_array()[:, :, 0] == 255, edge)


def test_gallery_of_methods_has_one_scale_per_pair_and_method():
    first, second = np.full((3, 2), 4.0), np.full((3, 2), -1.0)
    figure = figures.show_gallery_of_methods([(person(), person()[:48, :20])], {"m": [(first, second)]})
    shown = figure.axes[0].images[1].get_array()
    assert shown.shape == (HEIGHT, 2 * WIDTH + 4, 3), "the other takes the height of the first; a seam of four"
    np.testing.assert_array_equal(shown[:, :WIDTH], figures.overlay(person(), first, vmax=4))
    np.testing.assert_array_equal(shown[:, WIDTH + 4 :], figures.overlay(person(), 0 * second, vmax=4))


def test_signed_channels_and_differences_are_symmetric_around_white():
    signs = np.array([[1.0, 0.0], [-1.0, 0.5]])
    shown = figures.show_channels(person(), [signs], ["a"], signed=True).axes[0].images[1].get_array()
    expected = matplotlib.colormaps["RdBu_r"]([[1.0, 0.5], [0.0, 0.75]])[..., :3] * 255
    np.testing.assert_allclose(shown.reshape(2, HEIGHT // 2, 2, WIDTH // 2, 3)[:, 10, :, 10], expected, atol=1)
    first, second = peak(2, 1), peak(8, 3)
    image = figures.show_difference(first, second).axes[2].images[0]
    expected = first / first.max() - second / second.max()
    np.testing.assert_allclose(image.get_array(), expected)
    assert image.get_clim() == (-np.abs(expected).max(), np.abs(expected).max())


def test_film_puts_each_map_over_its_image_in_its_column_and_keeps_its_size():
    images = [person(60 + 10 * i, 40, 20) for i in range(4)]
    maps = [[peak(i, e % 5) for i in range(4)] for e in range(7)]
    figure = figures.show_film(images, maps, range(1, 8), columns=3)
    for i, ax in enumerate(figure.axes[:4]):
        wanted = [images[i], *(figures.overlay(images[i], maps[e][i]) for e in (0, 3, 6))]
        for image, expected in zip(ax.images, wanted, strict=True):
            np.testing.assert_array_equal(image.get_array(), expected)
    sizes = {tuple(figures.show_film(images, m, range(len(m)), room=7).get_size_inches()) for m in ([], maps)}
    assert len(sizes) == 1


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_files_are_the_same_twice_and_described(tmp_path, kind):
    paths = [tmp_path / "new" / f"{name}.{kind}" for name in "ab"]
    for path in paths:
        figures.save_figure(figures.show_batch([person()], ["id $1$"]), path, "Tom & <Eva>")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(paths[0].parent.iterdir()) == paths
    if kind == "svg":
        assert "<desc>Tom &amp; &lt;Eva&gt;</desc>" in paths[0].read_text()
    if kind == "png":
        with Image.open(paths[0]) as image:
            assert (image.info["Description"], set(image.info)) == ("Tom & <Eva>", {"Description", "dpi"})
    for name, alt in ((f"c.{kind}", "  \n"), ("c.jpg", "x")):
        with pytest.raises(ValueError, match="alternative text"):
            figures.save_figure(Figure(), tmp_path / name, alt)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_notebook_shows_a_picture_with_its_words_whatever_the_readers_settings():
    figure = figures.show_cmc({"a <network>": [0.5, 0.75, 1.0]}, title='Who is "first"?')
    bundle, metadata = figure._repr_mimebundle_(include=None, exclude=None)
    assert "a &lt;network&gt;" in bundle["text/html"]
    assert metadata["image/png"]["alt"].startswith('Diagram: Who is "first"?; ')
    expected = figures.figure_png(figures.show_cmc({"a": [0.1, 0.5]}))
    with matplotlib.rc_context({"font.size": 40, "axes.grid": True, "text.color": "red", "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert figures.figure_png(figures.show_cmc({"a": [0.1, 0.5]})) == expected
        assert dict(matplotlib.rcParams) == before


def test_matplotlib_waits_for_the_first_picture_and_pyplot_shows_nothing():
    script = (
        "import sys, casnkit.figures as f; assert 'matplotlib' not in sys.modules; "
        "f.figure_png(f.show_agreement(['a'], [[1.0]])); from matplotlib import pyplot; assert not pyplot.get_fignums()"
    )
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=True)
