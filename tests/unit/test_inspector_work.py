"""Long work on the inspector's screen: in slices, with other events in between, and with a button that stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspector_world import make_data, make_networks

import casnkit as ck
from casnkit.inspector import Inspector, tables
from casnkit.inspector.slices import finish
from casnkit.models import CASN

pytest.importorskip("ipywidgets")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ck.ReidDataset:
    return make_data(tmp_path_factory.mktemp("market"))


@pytest.fixture
def inspector(make_model: Callable[..., CASN], data: ck.ReidDataset, tmp_path: Path) -> Inspector:
    return Inspector(make_networks(make_model), data, notes=tmp_path / "notes.json", out=tmp_path / "out")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One query to a slice."""
    monkeypatch.setattr(tables, "MOST", 1)


async def until(holds: Callable[[], Any], seconds: float = 20) -> None:
    for _ in range(int(seconds / 0.005)):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came")


class TestSlices:
    def test_in_slices_as_at_once(self, inspector: Inspector, slow: None) -> None:
        network = inspector.desk.network()
        at_once, told = tables.build_table(network, "attention"), []
        found = finish(tables.table_steps(network, "attention"), lambda done, total: told.append((done, total)))
        assert told[:54] == [(k + 1, 54) for k in range(54)]
        for field in ("average_precision", "first_hit", "top", "margin", "consistency"):
            np.testing.assert_array_equal(getattr(found, field), getattr(at_once, field))


class TestScreen:
    def test_other_events_are_heard_in_between(self, inspector: Inspector, slow: None) -> None:
        panel = inspector.panel

        async def work() -> None:
            panel.tab.selected_index = 2
            part = panel.tabs["failures"]
            await until(lambda: panel.work.running)
            assert part.image.value  # figure 8 needs no list
            assert "computing …" in panel.status.value
            assert panel.work.button.layout.display is None
            panel.query.next.click()
            await until(lambda: "query 1" in panel.query.image.tooltip)
            assert panel.work.running
            assert part.queries.options == ()
            await until(lambda: not panel.work.running)
            await until(lambda: len(part.queries.options) == 54)
            assert part.queries.value == 1
            assert panel.work.button.layout.display == "none"
            assert "computing" not in panel.status.value

        asyncio.run(work())

    def test_it_can_be_stopped_and_begun_again(self, inspector: Inspector, slow: None) -> None:
        panel = inspector.panel
        part = panel.tabs["failures"]

        async def work() -> None:
            panel.tab.selected_index = 2
            await until(lambda: " of 54" in panel.status.value)
            panel.work.button.click()
            assert not panel.work.running
            assert "stopped: casn: ranking by sum" in panel.status.value
            await asyncio.sleep(0.2)
            panel.query.next.click()
            await until(lambda: "query 1" in panel.query.image.tooltip)
            assert not panel.work.running  # not begun again unasked
            assert "which was stopped" in part.words.value
            assert part.again.layout.display is None
            part.again.click()
            await until(lambda: len(part.queries.options) == 54)
            assert part.again.layout.display == "none"

        asyncio.run(work())

    def test_a_filter_that_is_computed_for_keeps_its_control(self, inspector: Inspector, slow: None) -> None:
        panel = inspector.panel

        async def work() -> None:
            panel.query.filter.value = "rank-1 wrong"
            assert panel.work.running
            panel.work.button.click()
            await asyncio.sleep(0.2)
            assert panel.query.filter.value == inspector.desk.current.filter == "all"  # stopped, it is taken back
            panel.query.filter.value = "AP below"
            assert panel.work.running
            assert inspector.desk.current.filter == "all"
            panel.query.next.click()
            assert panel.query.filter.value == "AP below"  # not set back while it is computed for
            await until(lambda: inspector.desk.current.filter == "AP below")
            await until(lambda: "AP below 0.5" in panel.query.place.value)
            assert inspector.desk.current.query in inspector.desk.candidates()

        asyncio.run(work())

    def test_all_rank_changes(self, inspector: Inspector) -> None:
        inspector.set(view="models", other="ide")
        panel = inspector.panel
        part = panel.tabs["models"]

        async def work() -> None:
            part.compute.click()
            assert panel.work.running
            assert "not computed" in part.summary.value
            await until(lambda: "moved up" in part.summary.value)
            assert part.gains.options

        asyncio.run(work())

    def test_what_fails_is_said_once(self, inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> None:
        panel = inspector.panel
        network = inspector.desk.network()
        monkeypatch.setattr(type(network), "part", lambda *_: 1 / 0)

        async def work() -> None:
            panel.tab.selected_index = 2
            await until(lambda: "ZeroDivisionError" in panel.error)
            await asyncio.sleep(0.2)
            assert not panel.work.running
            assert "which was stopped" in panel.tabs["failures"].words.value

        asyncio.run(work())
