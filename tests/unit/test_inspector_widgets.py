"""The inspector's screen without a browser: every control is used as a person would, and what is shown is looked at."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inspector_world import config, make_data, make_networks, write_picture
from PIL import Image

import casnkit as ck
from casnkit.evaluation import evaluate
from casnkit.inspector import Inspector
from casnkit.inspector.notes import Notes
from casnkit.inspector.widgets.binding import quiet
from casnkit.inspector.widgets.panel import TABS
from casnkit.models import CASN

pytest.importorskip("ipywidgets")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ck.ReidDataset:
    return make_data(tmp_path_factory.mktemp("market"))


@pytest.fixture
def inspector(make_model: Callable[..., CASN], data: ck.ReidDataset, tmp_path: Path) -> Inspector:
    networks = {**make_networks(make_model), "gone": "/no/such/run"}
    return Inspector(networks, data, notes=tmp_path / "notes.json", out=tmp_path / "out")


def walk(box: Any) -> Iterator[Any]:
    yield box
    for child in getattr(box, "children", ()):
        yield from walk(child)


def words(box: Any) -> str:
    """All text on the screen, tags taken off."""
    found = [w.value for w in walk(box) if type(w).__name__ == "HTML"]
    found += [f"{w.description} {w.tooltip}" for w in walk(box) if type(w).__name__ == "Button"]
    return html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", " ".join(found), flags=re.S))


def shown(inspector: Inspector, tab: str = "pair") -> bytes:
    panel = inspector.panel
    return b"".join(bytes(image.value) for image in panel.gallery.images) + bytes(panel.tabs[tab].image.value)


class TestScreen:
    def test_core_widgets_alone_and_no_output(self, inspector: Inspector) -> None:
        for widget in walk(inspector.widget):
            module = widget._model_module
            assert module in ("@jupyter-widgets/controls", "@jupyter-widgets/base"), widget
            assert type(widget).__name__ != "Output"
        assert list(inspector.panel.tabs) == list(TABS)

    def test_every_picture_has_words(self, inspector: Inspector) -> None:
        inspector.set(query=5, other="stripes", edit={"kind": "rows"})
        panel = inspector.panel
        for view in panel.tabs:
            inspector.set(view=view)
        images = [widget for widget in walk(panel.box) if widget._model_name == "ImageModel"]
        assert len(images) == 17
        for image in images:
            assert len(image.tooltip) > 20
            # ipywidgets' view of a tooltip takes the length of a description, which its own images do not have
            assert image.get_state()["description"] == ""
        rank = inspector.desk.ranking().tile(inspector.desk.gallery).position
        assert panel.query.image.tooltip.startswith("query 5: person ")
        assert f"rank {rank}: " in panel.gallery.images[rank - 1].tooltip
        assert panel.gallery.images[rank - 1].tooltip.endswith("; chosen")
        before = panel.tabs["pair"].image.tooltip
        assert f"{inspector.desk.pair().probability:.2f}, so judged" in before
        assert "stripes: query 5" in before
        inspector.set(view="pair", query=6)
        assert panel.tabs["pair"].image.tooltip != before
        inspector.set(query=5, edit={"kind": "rows"}, view="what if")
        first, rank = inspector.desk.outcome().found.position
        assert f"rank {first} → {rank} ·" in panel.tabs["what if"].image.tooltip

    def test_a_way_that_a_model_has_not_is_not_shown_as_chosen(self, inspector: Inspector) -> None:
        panel = inspector.panel
        by = panel.gallery.by
        assert ([value for _, value in by.options], by.value) == (["features", "attention", "sum"], "sum")
        panel.heading.model.value = "ide"
        assert ([value for _, value in by.options], by.value) == (["features"], "features")
        assert panel.gallery.alone.layout.display is None
        assert "“both” comes back" in words(panel.box)
        assert inspector.desk.ranked_by() == "features"
        panel.query.next.click()
        panel.heading.model.value = "casn"
        assert (by.value, inspector.desk.current.ranked_by, inspector.desk.ranked_by()) == ("sum", "sum", "sum")
        assert panel.gallery.alone.layout.display == "none"
        panel.gallery.by.value = "attention"
        panel.heading.model.value = "ide"
        panel.heading.model.value = "casn"
        assert by.value == "attention"

    def test_fifty_queries_on_screen(self, inspector: Inspector, data: ck.ReidDataset) -> None:
        sources = {name: inspector.desk.library.sources[name] for name in ("casn", "ide", "stripes")}
        results = {n: evaluate(m, data, c, device="cpu", progress=False) for n, (m, c) in sources.items()}
        panel, rng = inspector.panel, np.random.default_rng(1)
        inspector.set(view="notes")  # the pair is not drawn then: it is looked at elsewhere
        for _ in range(50):
            model, result = list(results.items())[rng.integers(3)]
            i, by = int(rng.integers(len(data.query))), str(rng.choice(list(result.distances)))
            panel.heading.model.value, panel.query.index.value, panel.gallery.by.value = model, i, by
            text, expected = words(panel.gallery.box), result.rankings[by]
            title = re.search(r'title="average precision ([^,]+),', panel.gallery.protocol.value)
            assert float(title[1]) == expected.average_precision[i]
            assert f"first hit at rank {expected.first_hit[i] + 1} " in text
            assert f"{expected.num_ignored[i]} left out" in text
            assert f"True matches: {expected.num_matches[i]}." in text
            first = panel.gallery.buttons[0].description
            kept = inspector.desk.ranking().ranking.kept
            assert first.endswith(f"1 · {result.distances[by][i, kept[0]]:.3f}")
            assert panel.error == ""

    def test_each_control_changes_the_picture(self, inspector: Inspector) -> None:
        panel = inspector.panel
        pair = panel.tabs["pair"]
        actions: list[Callable[[], Any]] = [
            panel.query.next.click,
            panel.gallery.turns[2].click,
            panel.gallery.buttons[3].click,
            lambda: setattr(pair.threshold, "value", 0.31),
            lambda: setattr(pair.opacity, "value", 0.9),
            lambda: setattr(pair.colours, "value", "cividis"),
            lambda: setattr(pair.scale, "value", "shared"),
            lambda: setattr(pair.method, "value", "layer-gradcam"),
            lambda: setattr(pair.target, "value", "different"),
            lambda: setattr(pair.random, "value", True),
            panel.gallery.pin.click,
            panel.gallery.buttons[5].click,
            lambda: setattr(panel.heading.other, "value", "stripes"),
            lambda: setattr(panel.heading.model, "value", "ide"),
            lambda: setattr(panel.gallery.ignored, "value", True),
            panel.query.random.click,
            lambda: setattr(panel.query.pid, "value", 22),
        ]
        for k, action in enumerate(actions):
            before = shown(inspector)
            action()
            assert panel.error == "", k
            assert shown(inspector) != before, k
        for data_ in [bytes(i.value) for i in panel.gallery.images] + [bytes(pair.image.value)]:
            assert Image.open(io.BytesIO(data_)).format == "PNG"

    def test_hiding_changes_the_picture_at_once(self, inspector: Inspector) -> None:
        inspector.set(view="what if")
        part = inspector.panel.tabs["what if"]
        before = bytes(part.image.value)
        steps = [("kind", "rows"), ("rows", (0.1, 0.4)), ("fill", "black"), ("side", "gallery"), ("kind", "part")]
        steps += [("kind", "rectangle"), ("columns", (0.5, 1.0)), ("kind", "attended"), ("share", 0.5)]
        steps += [("kind", "soft mask"), ("slope", 40.0), ("centre", 0.2), ("kind", "unattended")]
        for name, value in steps:
            part.controls[name].value = value
            assert inspector.panel.error == ""
            assert bytes(part.image.value) != before, name
            before = bytes(part.image.value)
            found = inspector.desk.outcome().found
            assert f"{found.probability[0]:.2f} → {found.probability[1]:.2f}" in words(part.box)
            assert f"{found.position[0]} → {found.position[1]}" in words(part.box)
        visible = [name for name, c in part.controls.items() if c.layout.display != "none"]
        assert visible == ["kind", "side", "fill", "share"]

    def test_a_row_of_the_models_tab_opens_the_pair(self, inspector: Inspector) -> None:
        inspector.set(view="models", other="ide")
        panel = inspector.panel
        part = panel.tabs["models"]
        target = part.matches.options[-1][1]
        part.matches.value = target
        assert inspector.desk.gallery == target
        assert any(b.button_style == "primary" for b in panel.gallery.buttons)
        part.compute.click()
        assert panel.error == ""
        assert "moved up" in part.summary.value
        chosen = part.losses.options[0][1]
        part.losses.value = chosen
        assert (inspector.desk.current.query, inspector.desk.gallery) == chosen
        inspector.set(other="")
        assert "not computed" in part.summary.value

    def test_failures_filter_list_and_presets(self, inspector: Inspector) -> None:
        inspector.set(view="failures")
        panel = inspector.panel
        part = panel.tabs["failures"]
        part.filter.value, part.order.value = "AP below", "AP"
        part.value.value = 0.6
        found = inspector.desk.candidates()
        assert [value for _, value in part.queries.options] == found
        assert f" of {len(found)} · AP below 0.6 · lowest AP first" in words(part.box)
        part.queries.value = found[1]
        assert inspector.desk.current.query == found[1]
        part.name.value = "hard ones"
        part.save.click()
        part.filter.value = "all"
        part.preset.value = "hard ones"
        assert inspector.desk.candidates() == found
        part.filter.value = "better"
        assert "choose one to compare with" in panel.error
        assert part.filter.value == "AP below"
        before = bytes(part.image.value)
        panel.query.next.click()
        assert bytes(part.image.value) != before

    def test_notes_export_and_state(self, inspector: Inspector, tmp_path: Path) -> None:
        inspector.set(view="notes", query=6)
        part = inspector.panel.tabs["notes"]
        part.text.value, part.tags.value = "odd", "bag, hat"
        part.save.click()
        inspector.set(query=7)
        assert part.text.value == ""
        part.noted.value = 6
        assert (inspector.desk.current.query, part.text.value, part.tags.value) == (6, "odd", "bag, hat")
        for kind in ("png", "svg", "csv", "json"):
            part.buttons[kind].click()
            assert inspector.panel.error == ""
        assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".csv", ".json", ".png", ".svg"]
        saved = inspector.set(threshold=0.2, query=3, view="notes") and inspector.state()
        picture = bytes(inspector.panel.gallery.images[0].value)
        inspector.set(query=9, threshold=0.7)
        inspector.panel.tabs["notes"].json.value = json.dumps(saved)
        part.load.click()
        assert inspector.state() == saved
        assert bytes(inspector.panel.gallery.images[0].value) == picture
        part.json.value = "{"
        part.load.click()
        assert "expected JSON" in inspector.panel.error
        assert inspector.state() == saved

    def test_state_before_the_screen_is_the_same_view(self, inspector: Inspector) -> None:
        inspector.set(query=8, page=2, gallery=5, threshold=0.3, show_ignored=True)
        panel = inspector.panel
        assert panel.query.index.value == 8
        assert panel.gallery.ignored.value is True
        assert panel.tabs["pair"].threshold.value == 0.3
        assert "page 3 of" in words(panel.gallery.bar)


class TestTrouble:
    def test_errors_are_seen_and_go_away(self, inspector: Inspector) -> None:
        panel = inspector.panel
        assert "/no/such/run" not in panel.error  # it was not asked for
        panel.heading.model.value = "gone"
        assert "no such folder" in words(panel.box)
        assert 'role="alert"' in panel.status.value
        assert panel.heading.model.value == "casn"
        panel.query.next.click()
        assert panel.error == ""
        assert "no such folder" not in words(panel.box)

    def test_a_fault_of_ours_is_seen_too(self, inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> None:
        panel = inspector.panel
        monkeypatch.setattr(type(inspector.desk), "pair", lambda *_: 1 / 0)
        panel.query.next.click()
        assert "ZeroDivisionError" in words(panel.box)
        assert inspector.desk.current.query == 1
        monkeypatch.undo()
        panel.query.next.click()
        assert panel.error == ""

    def test_an_empty_filter(self, inspector: Inspector) -> None:
        panel = inspector.panel
        panel.query.filter.value = "no match"
        assert "no query fits" in panel.error
        panel.query.next.click()
        assert "no query fits" in panel.error
        panel.query.filter.value = "all"
        panel.query.next.click()
        assert panel.error == ""

    def test_hostile_names_are_text(self, make_model: Callable[..., CASN], tmp_path: Path) -> None:
        names = ["<img src=x onerror=alert(1)>.png", '"><script>alert(2)<.png', "a' onclick='alert(3).png", "$x^2$.png"]
        names += ["日本語 é.png", "a,b;c\tand\ttabs.png", "n" * 200 + ".png", "%s {0} {x}.png"]
        for k, name in enumerate(names):
            for red, split in enumerate(("train", "query", "gallery")):
                person = f"t{k}" if split == "train" else f"p{k}"
                write_picture(tmp_path / "data" / split / person / name, (30 * k + red, 90, 200 - 20 * k))
        (tmp_path / "data" / "gallery" / "p9").mkdir()
        (tmp_path / "data" / "gallery" / "p9" / "<b>broken<b>.png").write_bytes(b"x")
        data = ck.open_dataset(str(tmp_path / "data"))
        inspector = Inspector(
            {"<i>model</i>": (make_model(dtype=torch.float32), config())},
            data,
            notes=tmp_path / "n.json",
            out=tmp_path / "out",
        )
        panel, seen = inspector.panel, ""
        assert "unreadable" in panel.notes.value
        for view in panel.tabs:
            for i in range(len(data.query)):
                inspector.set(query=i, view=view, show_ignored=True)
                inspector.notes.put(panel.query.desk.library.query.name(i), "<u>note</u>", "<s>")
                panel.redraw()
                assert view == "models" or panel.error == ""
                raw = "".join(w.value for w in walk(panel.box) if type(w).__name__ == "HTML")
                for bad in ("<img", "<script", "<u>", "<i>", "<s>", "<b>broken", "$", "onclick='"):
                    assert bad not in raw, (view, bad)
                seen += raw
        assert "&lt;img" in seen
        assert "＄x^2＄" in seen
        rows = list(csv.reader(inspector.export("csv").read_text(encoding="utf-8").splitlines()))
        assert {row[-1] for row in rows[1:]} == {*names, "<b>broken<b>.png"}
        assert Notes(tmp_path / "n.json").get(names[0]).text == "<u>note</u>"


class TestEvents:
    def test_a_control_that_is_being_moved_is_left_alone(self, inspector: Inspector) -> None:
        panel = inspector.panel
        slider, number = panel.tabs["pair"].threshold, panel.query.index
        with quiet(panel):  # moved, and the event is on the way
            slider.value, number.value = 0.61, 7
        panel.redraw()
        assert (slider.value, number.value) == (0.61, 7)
        assert inspector.desk.current.threshold == 0.5
        inspector.set(threshold=0.3, query=2)  # the state did change
        assert (slider.value, number.value) == (0.3, 2)

    def test_rounding_does_not_move_a_slider(self, inspector: Inspector) -> None:
        inspector.set(view="what if", edit={"kind": "rows"})
        rows, threshold = inspector.panel.tabs["what if"].controls["rows"], inspector.panel.tabs["pair"].threshold
        rows.value = (0.30000000000000004, 0.6000000000000001)
        assert rows.value == (0.30000000000000004, 0.6000000000000001)
        assert inspector.desk.current.edit.rows == (0.3, 0.6)
        inspector.set(view="pair")
        for moved in (0.5700000000000001, 0.6900000000000001, 0.6999999999999998):  # as arrow keys make them
            threshold.value = moved
            assert threshold.value == moved
            assert inspector.desk.current.threshold == round(moved, 4)

    def test_an_event_on_another_thread_is_not_lost(
        self, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Kernels with subshells answer a page on another thread than the one that draws."""
        panel, drawing, typed = inspector.panel, threading.Event(), threading.Event()
        query = panel.query
        monkeypatch.setattr(query, "draw", lambda draw=query.draw: (drawing.set(), typed.wait(5), draw()))
        drawer = threading.Thread(target=panel.query.next.click)
        drawer.start()
        assert drawing.wait(10)

        def type_number() -> None:
            threading.Timer(0.2, typed.set).start()
            query.index.value = 5

        typist = threading.Thread(target=type_number)
        typist.start()
        typist.join(20)
        drawer.join(20)
        assert (inspector.desk.current.query, query.index.value) == (5, 5)
        assert "query 5" in query.image.tooltip

    def test_memory_stays_flat(self, inspector: Inspector) -> None:
        panel, rng = inspector.panel, np.random.default_rng(0)

        def click(count: int) -> None:
            for _ in range(count):
                panel.query.index.value = int(rng.integers(54))
                panel.gallery.turns[int(rng.integers(4))].click()
                panel.gallery.buttons[int(rng.integers(10))].click()

        click(12)
        tracemalloc.start()
        click(2)
        first = tracemalloc.get_traced_memory()[0]
        click(10)
        grown = tracemalloc.get_traced_memory()[0] - first
        tracemalloc.stop()
        caches = [v for v in vars(inspector.desk).values() if type(v).__name__ == "Recent"]
        assert all(len(cache) <= cache.size for cache in caches)
        assert grown < 12e6
