"""The live view: what it shows is recomputed pair by pair, and what it must never do is tried."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import casnkit as ck
from casnkit import figures
from casnkit import runs as checkpoints
from casnkit.data.images import normalise
from casnkit.data.imitate import imitate
from casnkit.figures import show_film, show_progress, spread_evenly
from casnkit.notebook import live
from casnkit.notebook.live import LiveView, callbacks, choose_pairs
from casnkit.training import TensorBoardLog, train

SMALL = {"height": 32, "width": 16, "batch_size": 4, "padding": 1, "epochs": 3}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ck.ReidDataset:
    return ck.open_dataset(str(imitate("market1501", tmp_path_factory.mktemp("market"))))


def config(variant: str = "casn", **changes: object) -> ck.Config:
    return ck.profile("smoke", variant=variant, **{**SMALL, **changes})


def row(epoch: int, **changes: object) -> dict[str, Any]:
    values = {"epoch": epoch, "total": 2.0 / epoch, "ide": 1.0 / epoch, "learning_rate": 0.03, "seconds": 1.0}
    return {**values, "images_per_second": 100.0, "memory_mib": None, **changes}


def split(pids: list[int], camids: list[int]) -> ck.Split:
    return ck.Split([f"{i}.png" for i in range(len(pids))], pids, camids, "gallery")


class TestPairs:
    @pytest.mark.parametrize("seed", range(20))
    def test_same_person_two_cameras_one_pair_each(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        part = split(rng.integers(-1, 9, 60).tolist(), rng.choice([-1, 1, 2, 3], 60).tolist())
        chosen = choose_pairs(part, 3, seed)
        assert chosen.tolist() == choose_pairs(part, 3, seed).tolist()
        people = [int(part.pids[i]) for i, _ in chosen]
        assert people == sorted(set(people))
        assert len(people) == 3
        for i, j in chosen:
            assert part.pids[i] == part.pids[j] > 0
            assert i != j
            assert part.camids[i] != part.camids[j] or -1 in (part.camids[i], part.camids[j])

    def test_people_of_one_camera_only_where_others_are_too_few(self) -> None:
        part = split([1, 1, 2, 2, 3, 3, 4], [1, 1, 2, 2, 1, 2, 5])
        for seed in range(10):
            assert set(choose_pairs(part, 1, seed)[0]) == {4, 5}
        assert {frozenset(pair) for pair in choose_pairs(part, 9).tolist()} == {
            frozenset({0, 1}),
            frozenset({2, 3}),
            frozenset({4, 5}),
        }
        assert (
            len({tuple(choose_pairs(split([*range(1, 30)] * 2, [1] * 29 + [2] * 29), 1, s)[0]) for s in range(9)}) > 4
        )

    def test_an_unknown_camera_is_not_another_camera(self) -> None:
        part = split([1, 1, 2, 2, 3, 3], [1, -1, -1, -1, 4, 2])
        for seed in range(10):
            assert set(choose_pairs(part, 1, seed)[0]) == {4, 5}

    def test_nobody_to_look_at(self) -> None:
        with pytest.raises(ValueError, match="nobody in the split 'gallery' \\(3 images\\) has two images"):
            choose_pairs(split([1, 2, 0], [1, 1, 1]))
        with pytest.raises(ValueError, match="at least one pair"):
            choose_pairs(split([1, 1], [1, 2]), 0)


class TestMaps:
    @pytest.mark.parametrize("mode", ["paper", "gradcam"])
    def test_siamese_maps_equal_single_pairs(
        self, dataset: ck.ReidDataset, make_model: Any, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        monkeypatch.setattr(live, "BATCH", 2)  # three pairs: a whole batch and a smaller one
        view = LiveView(dataset, config(loss={"siamese_mode": mode}), split="gallery")
        model = make_model()
        view(1, model, row(1))
        for k, (i, j) in enumerate(view.pairs):
            inputs = []
            for n in (i, j):
                image = dataset.gallery.image(n).resize((16, 32), Image.Resampling.BILINEAR)
                inputs.append(normalise(torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())[None]).double())
            pair = model.siamese_attention(*inputs, mode=mode)
            for found, wanted in zip(view.maps[1][2 * k : 2 * k + 2], pair, strict=True):
                np.testing.assert_allclose(found, wanted[0].detach(), atol=1e-6)
        assert view.maps[1].max() > 0

    @pytest.mark.parametrize("where", ["train", "gallery"])
    def test_identification_maps_of_own_or_highest_score(
        self, dataset: ck.ReidDataset, make_model: Any, where: str
    ) -> None:
        view = LiveView(dataset, config("ide"), split=where)
        people = sorted(set(dataset.train.pids.tolist()))
        model = make_model(num_ids=len(people))
        view(1, model, row(1))
        part = getattr(dataset, where)
        for place, i in enumerate(view.pairs.reshape(-1)):
            image = normalise(view.images[place : place + 1]).double()
            scores = model.id_scores(model.pool(model.feature_map(image)))[0].tolist()
            label = people.index(int(part.pids[i])) if where == "train" else scores.index(max(scores))
            wanted = model.identification_attention(image, torch.tensor([label]))[0]
            np.testing.assert_allclose(view.maps[1][place], wanted.detach(), atol=1e-6)
        title = view.film().texts[0].get_text()
        assert ("own score" if where == "train" else "highest score") in title

    def test_looking_changes_nothing(self, dataset: ck.ReidDataset, tmp_path: Path) -> None:
        """A run that was looked at ends in the same bits as one that was not, and keeps its modes."""
        settings = config(model={"id_dropout": 0.3})
        view = LiveView(dataset, settings)
        assert type(view.widget).__name__ == "VBox"
        modes = []

        def look(epoch: int, model: ck.CASN, log_row: dict[str, float]) -> None:
            model.train()
            model.pair_head.eval()
            before = [m.training for m in model.modules()], torch.random.get_rng_state()
            view(epoch, model, log_row)
            modes.append([m.training for m in model.modules()] == before[0])
            modes.append(torch.equal(torch.random.get_rng_state(), before[1]))
            assert all(p.grad is None or not p.grad.isnan().any() for p in model.parameters())

        for name, call in (("seen", look), ("unseen", None)):
            train(dataset, settings, tmp_path / name, device="cpu", progress=False, on_epoch=call)
        assert modes == [True] * 6
        seen, unseen = (checkpoints.read_tensors(tmp_path / n / "model.safetensors") for n in ("seen", "unseen"))
        assert all(torch.equal(seen[key], unseen[key]) for key in unseen)
        assert [r["epoch"] for r in view.rows] == [1, 2, 3]
        assert sorted(view.maps) == [1, 2, 3]
        assert "epoch 3 of 3" in view._parts["status"].value


def png(widget: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(widget.value)).convert("RGB")).astype(int)


class TestWidgets:
    def test_the_same_widgets_get_new_bytes(self, dataset: ck.ReidDataset, make_model: Any) -> None:
        widgets = pytest.importorskip("ipywidgets")
        view, model = LiveView(dataset, config()), make_model()
        box = view.widget
        status, curves, film = box.children
        assert [type(w) for w in box.children] == [widgets.HTML, widgets.Image, widgets.Image]
        assert curves.layout.display == "none"  # an empty image would show as a broken one
        shapes = [png(film).shape]
        for epoch in (1, 2, 3):
            view._drawn_at = -1e9
            before = film.value
            view(epoch, model, row(epoch))
            assert film.value != before
            shapes.append(png(film).shape)
        assert curves.layout.display is None
        assert png(curves).std() > 5
        assert len(set(shapes)) == 1  # the page does not jump
        assert view.widget is box
        assert box.children == (status, curves, film)
        assert "epoch 3 of 3" in status.value
        assert "vnd.jupyter.widget-view" in str(view._repr_mimebundle_())

    def test_an_error_is_shown_escaped_warned_of_once_and_goes_no_further(
        self, dataset: ck.ReidDataset, make_model: Any
    ) -> None:
        view = LiveView(dataset, config(epochs=5))
        status, curves, _ = view.widget.children
        broken, model = make_model(), make_model()

        def refuse(*_: object, **__: object) -> None:
            raise RuntimeError("<script>no</script> & out of memory")

        broken.siamese_attention = refuse
        with pytest.warns(UserWarning, match="out of memory"):
            view(1, broken, row(1))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            view(2, broken, row(2))
        assert not seen
        assert "&lt;script&gt;" in status.value
        assert "<script>" not in status.value
        assert curves.value  # the curves need no maps
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            view(3, model, row(3))
        assert "script" not in status.value
        assert sorted(view.maps) == [3]
        assert [r["epoch"] for r in view.rows] == [1, 2, 3]

    def test_warnings_as_errors_and_bad_rows_do_not_stop_it_either(
        self, dataset: ck.ReidDataset, make_model: Any
    ) -> None:
        view = LiveView(dataset, config())
        view.widget  # noqa: B018
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            view(1, None, None)
            view(2, make_model(), {"epoch": 2, "total": "much"})
            view(3, make_model(), {})
        assert "not drawn" in view._parts["status"].value
        with pytest.raises(KeyboardInterrupt):  # Ctrl-C is no error of drawing
            view(3, type("M", (), {"parameters": lambda self: (_ for _ in ()).throw(KeyboardInterrupt)})(), row(3))

    def test_drawing_takes_a_twentieth_of_the_time(
        self, dataset: ck.ReidDataset, make_model: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Epochs of 10 s, drawings of 1.2 s: after each drawing 24 s must pass, that is three epochs."""
        view, model, now, drawn = LiveView(dataset, config(epochs=12)), make_model(), [0.0], []
        monkeypatch.setattr(live, "perf_counter", lambda: now[0])
        view.widget  # noqa: B018

        def draw(value: object) -> bytes:
            now[0] += 0.6
            drawn.append(len(view.rows))
            return b""

        monkeypatch.setattr(view, "curves", lambda: None)
        monkeypatch.setattr(view, "film", lambda pixels: None)
        monkeypatch.setattr(figures, "figure_png", lambda figure, dpi: draw(figure))
        for epoch in range(1, 13):
            now[0] += 10
            view(epoch, model, row(epoch))
        assert sorted(set(drawn)) == [1, 4, 7, 10, 12]  # the last epoch always
        assert len(view.maps) == 12

    def test_without_ipywidgets_the_figures_remain(
        self, dataset: ck.ReidDataset, make_model: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
        view = LiveView(dataset, config(), history=[row(1)])
        with pytest.raises(ImportError, match=r"the live view needs the package 'ipywidgets'.*pip install ipywidgets"):
            view.widget  # noqa: B018
        view(2, make_model(), row(2))
        assert len(view.rows) == 2
        assert view.curves().axes
        assert [t.get_text() for t in view.film().texts if t.get_text() in "123"] == ["2"]

    def test_a_repeated_epoch_replaces_what_came_after_it(self, dataset: ck.ReidDataset, make_model: Any) -> None:
        view, model = LiveView(dataset, config(), history=[row(1), row(2), row(3)]), make_model()
        view(2, model, row(2, total=9.0))
        assert [(r["epoch"], r["total"]) for r in view.rows] == [(1, 2.0), (2, 9.0)]
        view(3, model, row(3))
        view(1, model, row(1))
        assert sorted(view.maps) == [1]

    def test_wrong_arguments(self, dataset: ck.ReidDataset) -> None:
        with pytest.raises(ValueError, match="'gallery' or 'train', got 'query'"):
            LiveView(dataset, config(), split="query")
        with pytest.raises(ValueError, match="'epoch'"):
            LiveView(dataset, config()).curves()


class TestFilm:
    def test_each_map_stands_over_its_image_in_its_column(self) -> None:
        """Bright spots at known places of grey images are found there in the rendered picture."""
        images = [np.full((40, 20, 3), 60 + 10 * i, np.uint8) for i in range(4)]
        spots = {(i, e): ((i + e) % 4, (i * e) % 2) for i in range(4) for e in range(3)}
        maps = []
        for e in range(3):
            maps.append([np.zeros((4, 2)) for _ in range(4)])
            for i in range(4):
                maps[e][i][spots[i, e]] = 1 + i
        figure = show_film(images, maps, [1, 2, 5])
        strip = figure.axes[0].images[0].get_array().astype(int)
        solid = (strip < 250).any(2)
        rows, columns = _blocks(solid.any(1)), _blocks(solid.any(0))
        assert (len(rows), len(columns)) == (4, 4)
        gaps = np.diff([edge for block in rows for edge in block])[1::2]
        assert gaps[1] > 2 * gaps[0] == 2 * gaps[2]  # pairs stand apart
        for i, (top, bottom) in enumerate(rows):
            first = strip[top:bottom, slice(*columns[0])]
            assert (first == 60 + 10 * i).all()
            for e, (left, right) in enumerate(columns[1:]):
                glow = strip[top:bottom, left:right, :2].sum(2)
                y, x = np.unravel_index(glow.argmax(), glow.shape)
                assert (y * 4 // (bottom - top), x * 2 // (right - left)) == spots[i, e]
        assert [t.get_text() for t in figure.texts][-1] == "share of maximum"
        assert "own maximum" in figure.texts[0].get_text()

    def test_images_of_other_shapes_are_fitted_whole(self) -> None:
        images = [np.full(shape, 50, np.uint8) for shape in ((40, 20, 3), (40, 40, 3), (60, 20, 3))]
        strip = show_film(images, [], [], group=1).axes[0].images[0].get_array().astype(int)
        for (height, width, _), (top, bottom) in zip(
            [image.shape for image in images], _blocks((strip < 250).any((1, 2))), strict=True
        ):
            ((left, right),) = _blocks((strip[top:bottom] < 250).any((0, 2)))
            assert (bottom - top) / (right - left) == pytest.approx(height / width, rel=0.03)

    def test_at_most_so_many_epochs_evenly_spread(self) -> None:
        for count in range(1, 60):
            for most in range(2, 12):
                places = spread_evenly(count, most)
                assert len(places) == min(count, most)
                assert (places[0], places[-1]) == (0, count - 1) or count == 1
                steps = np.diff(places)
                assert not len(steps) or (steps.min() >= 1 and steps.max() - steps.min() <= 1)
        assert spread_evenly(0, 5) == []
        assert spread_evenly(7, 1) == [6]

    def test_texts_fit_and_the_size_is_kept(self) -> None:
        image = np.zeros((96, 32, 3), np.uint8)
        sizes = set()
        for count in (0, 1, 3, 40):
            maps = [[np.ones((12, 4))] * 6] * count
            labels = ["pid 123456 camera 12", "pid 1 camera unknown"] * 3
            figure = show_film([image] * 6, maps, range(960, 960 + count), "A title", labels, room=10)
            sizes.add(tuple(figure.get_size_inches()))
            figure.draw_without_rendering()
            boxes = [(t.get_text(), t.get_window_extent()) for t in figure.texts]
            width, height = figure.get_size_inches() * figure.dpi
            for n, (text, box) in enumerate(boxes):
                assert box.x0 >= 0, text
                assert box.y0 >= 0, text
                assert box.x1 <= width, text
                assert box.y1 <= height, text
                for other, second in boxes[:n]:
                    assert not box.overlaps(second), f"{text!r} lies over {other!r}"
        assert len(sizes) == 1
        assert max(next(iter(sizes))) <= 10
        assert next(iter(sizes))[0] <= 9

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"images": []}, "expected images"),
            ({"maps_by_epoch": [[np.ones((2, 2))]]}, "1 maps of epoch 4"),
            ({"epochs": [4, 5]}, "2 epochs"),
            ({"labels": ["a"]}, "1 labels"),
            ({"maps_by_epoch": [[np.full((2, 2), np.nan)] * 2]}, "NaN"),
        ],
    )
    def test_bad_input_is_named(self, changes: dict[str, Any], message: str) -> None:
        arguments = {"images": [np.zeros((8, 4, 3), np.uint8)] * 2, "maps_by_epoch": [[np.ones((2, 2))] * 2]}
        with pytest.raises(ValueError, match=message):
            show_film(**{**arguments, "epochs": [4], **changes})


def _blocks(solid: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.r_[False, solid, False]))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


class TestProgress:
    def test_points_are_the_rows_and_axes_reach_to_the_end(self) -> None:
        rows = [row(e, ia=None if e < 3 else 0.1 * e) for e in range(1, 7)]
        for e, values in ((2, (25, 50.5)), (4, (50, 75)), (6, (float("nan"), 87.5))):
            rows[e - 1] |= {"validation_mean_ap": values[0], "validation_rank_1": values[1]}
        figure = show_progress(rows, epochs=40)
        heads = [t.get_text() for t in figure.texts[1:]]
        panels = dict(zip(heads, figure.axes, strict=True))
        assert heads == [
            "total (eq. 6)",
            "identity (eq. 1)",
            "attention (eq. 2)",
            "learning rate",
            "images per second",
            "validation (%)",
        ]
        total = panels["total (eq. 6)"].lines[0]
        assert list(zip(*total.get_data(), strict=True)) == [(e, 2.0 / e) for e in range(1, 7)]
        assert panels["attention (eq. 2)"].lines[0].get_xdata().tolist() == [3, 4, 5, 6]
        validation = {line.get_label(): line.get_xydata().tolist() for line in panels["validation (%)"].lines}
        assert validation == {"mAP": [[2, 25], [4, 50]], "rank-1": [[2, 50.5], [4, 75], [6, 87.5]]}
        assert all(ax.get_xlim()[0] < 1 and 40 < ax.get_xlim()[1] < 45 for ax in figure.axes)
        assert figure.get_size_inches()[0] <= 9

    def test_nothing_to_show(self) -> None:
        for rows in ([], [{"epoch": 1, "note": 3}], [{"total": 1.0}]):
            with pytest.raises(ValueError, match="'epoch' and some of total"):
                show_progress(rows)


class TestTensorBoard:
    def test_what_was_written_is_read_back(self, tmp_path: Path) -> None:
        pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        def read() -> dict[str, list[tuple[int, float]]]:
            events = EventAccumulator(str(tmp_path / "log"))
            events.Reload()
            return {tag: [(s.step, s.value) for s in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

        log = TensorBoardLog(tmp_path / "log")
        assert not (tmp_path / "log").exists()
        for epoch in (1, 2, 3):
            log(epoch, None, row(epoch, validation_mean_ap=0.5))
        assert read()["loss/ide"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]  # before it is closed
        log.close()
        log.close()
        log(4, None, row(4))
        with TensorBoardLog(tmp_path / "log") as resumed:  # from the checkpoint after epoch 1
            resumed(2, None, row(2, total=7.0))
        found = read()
        assert found["loss/total"] == [(1, 2.0), (2, 7.0)]
        assert set(found) == {
            "loss/total",
            "loss/ide",
            "learning_rate",
            "speed/seconds",
            "speed/images_per_second",
            "validation/mean_ap",
        }

    def test_a_full_disk_ends_the_log_not_the_training(self, tmp_path: Path) -> None:
        pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
        log = TensorBoardLog(tmp_path)
        log(1, None, row(1))

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        log._writer.add_scalar = full
        with pytest.warns(UserWarning, match="No space left"):
            log(2, None, row(2))
        log(3, None, row(3))

    def test_without_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorboard", None)
        with pytest.raises(ImportError, match=r"TensorBoard logs needs the package 'tensorboard'.*pip install tensorb"):
            TensorBoardLog(tmp_path)


def test_callbacks_are_called_in_order() -> None:
    calls: list[tuple[str, int]] = []
    both = callbacks(lambda e, m, r: calls.append(("a", e)), None, lambda e, m, r: calls.append(("b", r["epoch"])))
    both(3, None, {"epoch": 3})
    callbacks()(1, None, {})
    assert calls == [("a", 3), ("b", 3)]


def test_importing_it_needs_neither_matplotlib_nor_widgets() -> None:
    code = "import sys, casnkit.live, casnkit.tensorboard, casnkit.data.holdout\n"
    code += "print([m for m in ('matplotlib', 'ipywidgets', 'tensorboard', 'IPython') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
