"""The inspector in a real browser: every step changes the picture, and nothing goes wrong in page or kernel.

With ``CASNKIT_SCREENSHOTS=FOLDER`` the pictures that are taken on the way are kept there. The README's picture, of the
networks that come with the kit, is ``FOLDER/picture_of_the_readme/inspector.png`` after

    CASNKIT_SCREENSHOTS=FOLDER pytest tests/browser -k readme
"""

from __future__ import annotations

import csv
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BOX = ".casnkit-inspector"
STEP = 60_000.0  # milliseconds for one step, on busy cores
RUN = 300_000.0  # for the whole notebook
STEPS = 20  # presses of an arrow key
README = """
import casnkit as ck
from casnkit.inspector import Inspector
networks = {name: ck.load_shipped(name) for name in ("casn", "ide")}
networks = {name: (model, info.config) for name, (model, info) in networks.items()}
inspector = Inspector(networks, ck.open_dataset("people:quick"))
inspector.set(query=148, threshold=0.5)  # a stranger in the same clothes comes first; the cap tells them apart
inspector
"""
# One query to a slice, and slow: what takes minutes on a large gallery, on a small one.
SLOWLY = """
import time
from casnkit.inspector import tables
from casnkit.inspector.networks import Network
tables.MOST = 1
Network.plain_part = getattr(Network, "plain_part", Network.part)
def part(self, *rest):
    time.sleep({seconds})
    return self.plain_part(*rest)
Network.part = part
"""

# The bytes of every visible picture that fits, as one short string; "" while one of them is being replaced.
PICTURES = """async (selector) => {
    const shown = [...document.querySelectorAll(selector)].filter(e => e.offsetParent && e.src);
    try {
        const parts = await Promise.all(shown.map(async e => {
            const bytes = new Uint8Array(await (await fetch(e.src)).arrayBuffer());
            let sum = bytes.length;
            for (let k = 0; k < bytes.length; k++) sum = (Math.imul(sum, 31) + bytes[k]) | 0;
            return `${bytes.length}:${sum}`;
        }));
        return shown.every(e => e.complete && e.naturalWidth) ? parts.join(' ') : '';
    } catch (error) { return ''; }
}"""
# What the cells of the open notebook have printed that they should not have.
OUTPUTS = """() => {
    const wrong = [];
    for (const cell of jupyterapp.shell.currentWidget.content.widgets) {
        const outputs = cell.model.type === 'code' ? cell.model.outputs.toJSON() : [];
        for (const o of outputs)
            if (o.output_type === 'error' || o.name === 'stderr') wrong.push(o.evalue || [].concat(o.text).join(''));
    }
    return wrong;
}"""


# Runs code in the kernel of the open notebook, where no cell shows it.
EXECUTE = """async (code) => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    return (await kernel.requestExecute({code, silent: true, store_history: false}).done).content.status;
}"""


class Screen:
    """The inspector on a page, by what a reader sees of it."""

    query = f"{BOX} .casnkit-card img"
    tiles = f"{BOX} .casnkit-tile img"
    picture = f"{BOX} img.casnkit-wide"

    def __init__(self, page: Any, folder: Path) -> None:
        self.page, self.folder, self.shots = page, folder, 0
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(f"page: {error}"))
        page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def until(self, holds: Callable[[], Any], what: str, seconds: float = STEP / 1000) -> Any:
        """Ask again and again; ``Page.wait_for_function`` takes the promise of an answer for a yes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = holds()
            if found:
                return found
            self.page.wait_for_timeout(100)
        raise AssertionError(f"not within {seconds:g} seconds: {what}")

    def shown(self, selector: str) -> str:
        return str(self.page.evaluate(PICTURES, selector))

    def pictures(self, selector: str) -> str:
        return str(self.until(lambda: self.shown(selector), f"pictures {selector}"))

    def settles(self) -> None:
        """Nothing is being computed, and no picture has changed for a moment."""
        seen = [""] * 4

        def quiet() -> bool:
            busy = "computing …" in self.page.inner_text(BOX)
            seen.append("" if busy else self.shown(f"{BOX} img"))
            del seen[0]
            return bool(seen[0]) and len(set(seen)) == 1

        self.until(quiet, "the screen comes to rest")

    def changes(self, *selectors: str, seconds: float = STEP / 1000) -> Any:
        return _Changes(self, selectors, seconds)

    def button(self, title: str) -> Any:
        return self.page.locator(f'{BOX} button[title^="{title}"]:visible').first

    def list(self, label: str) -> Any:
        boxes = self.page.locator(f"{BOX} .widget-dropdown:visible")
        return boxes.filter(has=self.page.get_by_text(label, exact=True)).first.locator("select")

    def slider(self, label: str) -> Any:
        boxes = self.page.locator(f"{BOX} .widget-slider:visible")
        return boxes.filter(has=self.page.get_by_text(label, exact=True)).first

    def open_tab(self, title: str, says: str) -> None:
        """Open a tab and wait until it says something that only it says, and shows its pictures."""
        self.page.locator(f"{BOX} .lm-TabBar-tab", has_text=title).first.click()
        self.says(says)
        self.settles()

    def names(self, words: str) -> None:
        """A picture of that name is seen, by those who cannot see it."""
        found = self.page.locator(BOX).get_by_role("img", name=re.compile(f"^{words}"))
        found.locator("visible=true").first.wait_for(timeout=STEP)

    def presses(self, label: str, key: str, count: int, pause: float = 0.0) -> None:
        """Press a key on a slider, again and again, without waiting for any answer."""
        self.slider(label).locator(".noUi-handle").first.focus()
        for _ in range(count):
            self.page.keyboard.press(key)
            self.page.wait_for_timeout(pause) if pause else None

    def says(self, text: str) -> None:
        self.page.locator(BOX).get_by_text(text).locator("visible=true").first.wait_for(timeout=STEP)

    def is_well(self, step: str) -> None:
        """No error in the page's console or in the status line; a screenshot."""
        self.settles()
        warnings = self.page.locator(f"{BOX} .casnkit-warn").all_inner_texts()
        assert self.errors + warnings == [], step
        self.shots += 1
        self.page.locator(BOX).screenshot(path=self.folder / f"{self.shots:02}-{step.replace(' ', '-')}.png")


class _Changes:
    """``with screen.changes(selector): act`` returns once the pictures have other bytes than before."""

    def __init__(self, screen: Screen, selectors: tuple[str, ...], seconds: float) -> None:
        self.screen, self.selectors, self.seconds = screen, selectors, seconds

    def __enter__(self) -> None:
        self.before = [self.screen.pictures(selector) for selector in self.selectors]

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            for selector, before in zip(self.selectors, self.before, strict=True):
                self.screen.until(
                    lambda s=selector, b=before: self.screen.shown(s) not in ("", b),
                    f"{selector} changes",
                    self.seconds,
                )


@pytest.fixture
def page(browser: Any, screenshots: Path) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1400, "height": 1800})
    page.set_default_timeout(STEP)
    # nothing is fetched from elsewhere: voila's page asks a network of the world for icons and for mathematics
    page.route(lambda url: "//127.0.0.1" not in url, lambda route: route.fulfill(status=200, body=""))
    yield page
    page.screenshot(path=screenshots / "last.png")
    page.close()


@pytest.fixture
def screenshots(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = Path(os.environ.get("CASNKIT_SCREENSHOTS") or tmp_path) / request.node.name.removeprefix("test_")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def look_around(screen: Screen) -> None:
    """The steps that a reader takes first; the same in every front end."""
    page = screen.page
    screen.pictures(screen.tiles)
    screen.is_well("start")

    number = page.locator(f"{BOX} .widget-text input[type=number]:visible").first
    with screen.changes(screen.query, screen.tiles, screen.picture):
        screen.button("next query").click()
    assert number.input_value() == "1"
    for wanted in ("3", "5"):  # typed while another query is still being drawn: the last event wins
        screen.button("next query").click()
        page.wait_for_timeout(50)
        with screen.changes(screen.query, screen.picture):
            number.click(click_count=3)
            page.keyboard.type(wanted)
            number.press("Enter")
        screen.names(f"query {wanted}: person ")
        screen.settles()
        assert number.input_value() == wanted
    screen.is_well("another query")

    with screen.changes(screen.tiles):
        screen.button("next page").press("Enter")  # by keyboard
    screen.says("page 2 of")
    screen.is_well("second page")

    tile = page.locator(f"{BOX} .casnkit-tile button").nth(3)
    with screen.changes(screen.picture):
        tile.click()
    page.wait_for_function("e => e.classList.contains('mod-primary')", arg=tile.element_handle())
    screen.is_well("a tile")

    readout = screen.slider("threshold t").locator(".widget-readout")
    start = float(readout.inner_text())
    for key, pause, end in (("ArrowRight", 0, start + 0.2), ("ArrowLeft", 20, start), ("ArrowRight", 60, start + 0.2)):
        with screen.changes(screen.picture):
            screen.presses("threshold t", key, STEPS, pause)
        screen.says(f"cut at t = {end:.2f}")  # twenty presses are twenty steps, in the kernel
        screen.settles()
        assert readout.inner_text() == f"{end:.2f}"  # and on the page, to stay
    screen.is_well("threshold")


def test_in_jupyterlab(lab: Any, page: Any, screenshots: Path) -> None:
    screen = Screen(page, screenshots)
    open_notebook(page, lab, "07_pair_inspector.ipynb")
    look_around(screen)

    with screen.changes(screen.tiles, screen.picture):
        screen.list("model").select_option("ide")
    ways = page.locator(f"{BOX} .widget-toggle-buttons:visible button")
    assert ways.all_inner_texts() == ["features"]  # its pair classifier was not trained
    screen.is_well("another model")

    screen.list("compare with").select_option("casn")
    screen.open_tab("Models", "places up")
    screen.is_well("two models")
    screen.open_tab("Failures", "Query 5")
    screen.is_well("failures")

    with screen.changes(screen.tiles):
        screen.list("model").select_option("casn")
    assert ways.all_inner_texts() == ["features", "attention", "both"]
    assert page.locator(f"{BOX} .widget-toggle-buttons button.mod-active").all_inner_texts() == ["both"]
    stop_ranking(screen)
    screen.open_tab("What if", "Choose what to hide")
    with screen.changes(screen.picture):
        screen.list("hide").select_option("a part")
    screen.says("What moved")
    screen.is_well("a part hidden")

    screen.open_tab("Notes and export", "picture (PNG)")
    written = _export(screen, lab.runs)
    assert written[".png"].read_bytes().startswith(b"\x89PNG")
    assert json.loads(written[".json"].read_text())["query"] == 5
    with written[".csv"].open(newline="") as file:
        assert len(list(csv.DictReader(file))) > 10
    screen.is_well("exported")

    assert page.evaluate(OUTPUTS) == []
    assert "Traceback" not in lab.log.read_text()


def test_in_voila(voila: Any, page: Any, screenshots: Path) -> None:
    screen = Screen(page, screenshots)
    answer = page.goto(voila.url, timeout=RUN)
    assert answer.ok, voila.log.read_text()[-2000:]
    page.locator(BOX).wait_for(timeout=RUN)
    screen.pictures(screen.tiles)
    screen.errors.clear()  # voila's page complains of its own bundles while it starts
    look_around(screen)
    assert "Traceback" not in page.inner_text("body")
    assert "Traceback" not in voila.log.read_text()


@pytest.mark.skipif(
    "CASNKIT_SCREENSHOTS" not in os.environ, reason="takes the README's picture: CASNKIT_SCREENSHOTS=FOLDER"
)
def test_picture_of_the_readme(lab: Any, browser: Any, screenshots: Path) -> None:
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None, "source": README}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (lab.folder / "readme.ipynb").write_text(json.dumps(notebook))
    page = browser.new_page(viewport={"width": 1400, "height": 1800}, device_scale_factor=1.5)  # as the pictures in it
    page.set_default_timeout(RUN)
    screen = Screen(page, screenshots)
    open_notebook(page, lab, "readme.ipynb")
    screen.pictures(screen.tiles)
    screen.settles()
    assert page.evaluate(OUTPUTS) == []
    page.mouse.move(0, 0)
    page.locator(BOX).screenshot(path=screenshots / "inspector.png")
    page.close()


def stop_ranking(screen: Screen) -> None:
    """While all queries are ranked, the rest goes on; it can be stopped, and begun again."""
    page = screen.page
    # long enough for a busy machine to press Cancel before all 24 queries are ranked
    assert page.evaluate(EXECUTE, SLOWLY.format(seconds=1.0)) == "ok"
    page.locator(f"{BOX} .widget-toggle-buttons:visible button", has_text="attention").click()
    cancel = page.locator(f"{BOX} button:visible", has_text="Cancel")
    cancel.wait_for(timeout=STEP)
    screen.says("casn: ranking by attention")  # what was being ranked before has given way
    with screen.changes(screen.query):
        screen.button("next query").click()
    cancel.click()
    screen.says("stopped: casn: ranking by attention")
    assert cancel.count() == 0
    screen.settles()
    again = page.locator(f"{BOX} button:visible", has_text="rank all queries")
    with screen.changes(screen.query):
        screen.button("previous query").click()
    assert cancel.count() == 0
    assert page.evaluate(EXECUTE, SLOWLY.format(seconds=0.2)) == "ok"
    again.click()
    cancel.wait_for(timeout=STEP)
    screen.says("6 of 24")
    screen.settles()
    page.locator(f"{BOX} .widget-toggle-buttons:visible button", has_text="both").click()
    screen.settles()
    screen.is_well("stopped and ranked")


def open_notebook(page: Any, lab: Any, name: str) -> None:
    """Open a notebook in JupyterLab, run all of it, and look at its inspector."""
    page.goto(f"{lab.url}/lab/tree/notebooks/{name}?token={lab.token}")
    page.wait_for_function("() => globalThis.jupyterapp?.shell.currentWidget?.content?.widgets?.length", timeout=STEP)
    page.wait_for_function("() => jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status == 'idle'")
    page.set_default_timeout(RUN)
    finished = page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.set_default_timeout(STEP)
    assert page.evaluate(OUTPUTS) == []
    assert finished is not False
    page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    _bring_into_view(page)


def _bring_into_view(page: Any) -> None:
    """JupyterLab draws only the cells near the window: go to the cell, then to the inspector in it."""
    page.evaluate("""async () => {
        const notebook = jupyterapp.shell.currentWidget.content;
        const place = notebook.widgets.findIndex(cell => /Inspector\\(/.test(cell.model.sharedModel.getSource()));
        notebook.activeCellIndex = place;
        await notebook.scrollToItem(place, 'start');
    }""")
    page.locator(BOX).wait_for(timeout=STEP)
    page.locator(BOX).evaluate("e => e.scrollIntoView()")


def _export(screen: Screen, runs: Path) -> dict[str, Path]:
    """Press three of the buttons and wait for their files."""
    found = {}
    for words, ending in (("picture (PNG)", ".png"), ("ranking (CSV)", ".csv"), ("state (JSON)", ".json")):
        screen.page.get_by_role("button", name=words).click()
        place = screen.page.locator(BOX).get_by_text("written:").filter(has_text=ending)
        place.wait_for(timeout=STEP)
        found[ending] = Path(place.inner_text().removeprefix("written:").strip())
        assert runs in found[ending].parents
    return found
