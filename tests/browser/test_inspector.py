"""The inspector in a real browser, with real mouse and keys, in JupyterLab and as a page of voila.

With ``CASNKIT_SCREENSHOTS=FOLDER`` pictures at several widths are kept there; README's is
``FOLDER/in_jupyterlab/pair-1366.png``, put into its place by ``figures/make/pictures.py``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

STEP, OPEN = 60_000.0, 300_000.0  # milliseconds for one step, and for kernel and first picture, on busy cores
TWENTY = "[...document.querySelectorAll('.casnkit [data-tile]')].filter(e => e.offsetParent).length === 20"
PICTURES = "[data-picture=query]", "[data-picture=gallery]"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that keeps what went wrong in it; it has to stay empty."""
    found, wrong = browser.new_page(viewport={"width": 1366, "height": 768}), []
    found.set_default_timeout(STEP)
    found.on("pageerror", lambda error: wrong.append(str(error)))
    yield found
    assert wrong == []


@pytest.fixture
def shots(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where pictures go."""
    folder = Path(os.environ.get("CASNKIT_SCREENSHOTS", tmp_path)) / request.node.name.removeprefix("test_")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def control(page: Any, name: str) -> Any:
    return page.locator(f".casnkit [data-control={name}]:is(select, input, button)").first


def changes(page: Any, act: Callable[[], Any], of: str) -> None:
    """Do something, and wait until a part of the screen is another one."""
    look = "of => document.querySelector('.casnkit ' + of)?.outerHTML ?? ''"
    before = page.evaluate(look, of)
    act()
    page.wait_for_function("([of, before]) => (document.querySelector('.casnkit ' + of)?.outerHTML ?? '') !== before",
                           arg=[of, before])  # fmt: skip


def place_of(page: Any, selector: str) -> dict[str, float]:
    """Where an element stands once it is drawn; it may just be drawn anew."""
    for _ in range(100):
        found = page.locator(f".casnkit {selector}").first
        with contextlib.suppress(Exception):
            found.scroll_into_view_if_needed(timeout=1000)
        if box := found.bounding_box():
            return box
        page.wait_for_timeout(100)
    pytest.fail(f"{selector} is not drawn")


def tab(page: Any, name: str) -> None:
    page.locator(f".casnkit [data-control=tab-{name}]").click()
    page.wait_for_selector(f".casnkit[data-tab={name}]")


def look_around(page: Any, shots: Path) -> None:
    """What a person does with the inspector: click, hover, drag, arrows, type-ahead, all tabs."""
    tiles = page.locator(".casnkit [data-tile]")
    assert tiles.count() == 10
    changes(page, lambda: tiles.nth(3).click(), PICTURES[1])
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.casnkit [data-picture=gallery]')")
    box = place_of(page, PICTURES[0])
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("/row|cell/.test(document.querySelector('.casnkit').dataset.status)")
    for name, value in (("threshold", "0.7"), ("opacity", "0.2")):  # no kernel is asked
        control(page, name).fill(value)
    query = control(page, "query")
    query.focus()
    shown = "value => document.querySelector('.casnkit select[data-control=query]').value === value"
    page.keyboard.type("5")  # type-ahead
    page.wait_for_function(shown, arg="5")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("m")  # JupyterLab would make it Markdown
    page.wait_for_function(shown, arg="6")
    assert page.locator(".casnkit").count() == 1
    tab(page, "compare")
    page.wait_for_function(TWENTY)
    changes(page, lambda: control(page, "other").select_option("ide"), "table")
    page.screenshot(path=shots / "compare.png")
    tab(page, "failures")
    page.wait_for_selector(".casnkit .ck-histogram")
    page.screenshot(path=shots / "failures.png")
    control(page, "filter").select_option("rank-1 wrong")
    page.wait_for_function("/queries: first image wrong/.test(document.querySelector('.casnkit').innerText)")
    page.locator(".casnkit [data-tile]:visible").first.click()
    page.wait_for_selector(".casnkit[data-tab=pair]")
    box = place_of(page, PICTURES[0])
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.6, steps=5)
    page.mouse.up()
    page.wait_for_selector(".casnkit[data-tab=what_if]")
    page.wait_for_function(TWENTY)  # the old ten and the new
    assert "Control" in page.locator(".casnkit").inner_text()
    page.screenshot(path=shots / "what_if.png")
    tab(page, "notes")
    page.locator(".casnkit textarea").fill(f"<script>alert(1)</script> = \u202e {shots.name}")
    changes(page, lambda: page.get_by_text("Save the note").click(), "")
    with page.expect_download() as download:
        page.get_by_text("ranking as CSV").click()
    assert re.fullmatch(r"ranking-query\d+-gallery\d+-casn-by_sum-.*\.csv", download.value.suggested_filename)
    assert download.value.path().read_text().startswith("rank,mark,distance")
    tab(page, "pair")


def at_all_widths(page: Any, shots: Path, least: int = 600) -> None:
    """Nothing is cut: the box is never wider than the page; pair and strip fit on a small screen."""
    for width, height in ((600, 900), (900, 700), (1366, 768), (1900, 1000)):
        if width < least:
            continue
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(800)
        page.screenshot(path=shots / f"pair-{width}.png")
        assert (
            page.evaluate(
                "() => { const b = document.querySelector('.casnkit'); return b.scrollWidth - b.clientWidth }"
            )
            <= 4  # the outline of a chosen tile
        )
        if width == 1366:
            top, bottom = (place_of(page, of) for of in ("[data-tile]", PICTURES[0]))
            assert bottom["y"] + bottom["height"] - top["y"] <= 650


def open_in_lab(page: Any, lab: Any, name: str) -> None:
    page.goto(f"{lab.url}/lab/tree/notebooks/{name}?token={lab.token}&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=OPEN)
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.isReady", timeout=OPEN)
    page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector(f".casnkit {PICTURES[0]}", timeout=OPEN)


def test_in_jupyterlab(lab: Any, page: Any, shots: Path) -> None:
    open_in_lab(page, lab, "pair_inspector.ipynb")
    look_around(page, shots)
    at_all_widths(page, shots, least=1366)  # JupyterLab's own columns take 430 pixels
    cells = page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.type)")
    assert cells == ["code"], "no key of the inspector reached the notebook"


def test_as_a_page_of_voila(voila: Any, page: Any, shots: Path) -> None:
    page.goto(voila.url, timeout=OPEN)
    page.wait_for_selector(f".casnkit {PICTURES[0]}", timeout=OPEN)
    look_around(page, shots)
    at_all_widths(page, shots)
    assert [path.name for path in voila.folder.rglob("*.json")] == ["notes.json"], "a visitor wrote a note and no more"
