"""The viewer in a real browser: a page of its own opened from a file, and the module with somebody who answers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from casnkit import attention
from casnkit.inspector import State, page, payload

GRIDS = [(6, 3), (5, 4)]
HOSTILE = f'<script>window.hacked = 1</script> "quoted" \u202eright to left\u202c {"x" * 300}.jpg'
RNG = np.random.default_rng(0)
MATRIX = RNG.random((18, 20)) + 0.1
MAPS = [RNG.random(grid) for grid in GRIDS]


def until(tab: Any, script: str, arg: Any = None) -> None:
    """Wait from here: a page's policy forbids the waiting code that Playwright would put into it."""
    for _ in range(600):
        if tab.evaluate(script, arg):
            return
        tab.wait_for_timeout(100)
    raise TimeoutError(script)


def picture(**fields: Any) -> dict[str, Any]:
    return payload.picture(Image.fromarray(RNG.integers(0, 255, (128, 64, 3), dtype=np.uint8)), **fields)


def pair(
    status: str = "right", name: str = "a.jpg", maps: Any = MAPS, like: bool = True, **fields: Any
) -> dict[str, Any]:
    found = payload.correspondence(MATRIX, GRIDS) if like else {}
    methods = [payload.method("siamese", "Siamese attention", maps)] if maps is not None else []
    sides = picture(title="query 1", name=name), picture(title="gallery 2", name=name)
    return payload.pair(
        *sides, status, methods, correspondence=found, numbers=[{"name": "rank", "text": "1"}], **fields
    )


@pytest.fixture(scope="module")
def shown() -> list[dict[str, Any]]:
    """Pairs of a page: an ordinary one; hostile names; a picture that cannot be read; an untrained pair classifier."""
    unreadable = pair(maps=None, like=False, heading="not to be shown")
    unreadable["gallery"] = payload.picture(None, title="gallery 3", error="expected an image, could not read it")
    pairs = [
        pair(),
        pair("wrong", HOSTILE, heading=HOSTILE),
        unreadable,
        pair("unknown", judges=False, verdict="it judges nothing"),
    ]
    pairs += [pair("junk", like=False, maps=[MAPS[0], np.zeros(GRIDS[1])])] * 8
    return [
        {"status": one["status"], "rank": 1, "caption": one["heading"], "name": HOSTILE, "pair": one} for one in pairs
    ]


@pytest.fixture(scope="module")
def file(shown: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page.page_of({"pairs": shown, "state": State(network="net").to_dict()}, about=HOSTILE))
    return path


@pytest.fixture
def tab(browser: Any) -> Any:
    context = browser.new_context(viewport={"width": 1366, "height": 768}, offline=True, accept_downloads=True)
    found = context.new_page()
    found.said, found.asked = [], []
    found.on("pageerror", lambda error: found.said.append(str(error)))
    found.on("console", lambda message: message.type == "error" and found.said.append(message.text))
    found.on("request", lambda request: request.url.startswith("data:") or found.asked.append(request.url))
    yield found
    assert found.said == []
    context.close()


@pytest.fixture
def opened(tab: Any, file: Path) -> Any:
    tab.goto(file.as_uri())
    tab.wait_for_selector("[data-picture=gallery]")
    return tab


def point(tab: Any, side: int, cell: int) -> str:
    """Move the mouse to a cell's middle; what the viewer says of it."""
    box = tab.locator("canvas[data-picture]").nth(side).bounding_box()
    (rows, columns), (row, column) = GRIDS[side], divmod(cell, GRIDS[side][1])
    tab.mouse.move(box["x"] + (column + 0.5) / columns * box["width"], box["y"] + (row + 0.5) / rows * box["height"])
    until(
        tab,
        "side => document.querySelector('.casnkit').dataset.status.startsWith(side)",
        arg=("query", "gallery")[side],
    )
    tab.wait_for_timeout(60)
    return tab.locator(".casnkit").get_attribute("data-status")


def words(side: int, cell: int) -> str:
    row, column = divmod(cell, GRIDS[side][1])
    return f"{('query', 'gallery')[side]} cell row {row + 1}, column {column + 1}"


@pytest.mark.parametrize("side", [0, 1])
def test_hover_is_exact_to_the_matrix_and_nothing_is_requested(opened: Any, side: int) -> None:
    values = MATRIX if side == 0 else MATRIX.T
    for cell in range(0, len(values), 5):
        best = int(values[cell].argmax())
        share = f"{100 * values[cell, best] / MATRIX.sum():.2f} % of the similarity"
        assert point(opened, side, cell).startswith(
            f"{words(side, cell)}; best partner: {words(1 - side, best)}, {share}"
        )
    assert [url for url in opened.asked if not url.startswith("file:")] == []


@pytest.mark.parametrize("t", [0.0, 0.35, 0.8])
def test_the_distance_is_that_of_equation_5(opened: Any, t: float) -> None:
    maps = [
        torch.tensor(payload.method("m", "", MAPS)["maps"][k], dtype=torch.float64).view(1, *GRIDS[k]) for k in (0, 1)
    ]
    expected = float(attention.attention_distance(*maps, threshold=t))
    move = "(slider, t) => { slider.value = t; slider.dispatchEvent(new Event('input')); }"
    opened.locator("[data-control=threshold]").evaluate(move, t)
    until(opened, "t => document.querySelector('[data-distance]').textContent.includes(`t = ${t} `)", arg=t)
    assert float(opened.locator("[data-distance]").get_attribute("data-distance")) == pytest.approx(expected, abs=1e-6)


def test_a_rectangle_says_its_share_and_escape_takes_it_away(opened: Any) -> None:
    box = opened.locator("[data-picture=query]").bounding_box()
    opened.mouse.move(box["x"] + 1, box["y"] + 1)
    opened.mouse.down()
    opened.mouse.move(box["x"] + box["width"] - 0.01, box["y"] + box["height"] / 2, steps=4)
    opened.mouse.up()
    until(opened, "document.querySelector('.casnkit').dataset.status.startsWith('Rectangle')")
    said = opened.locator(".casnkit").get_attribute("data-status")
    share = float(said.split(" and ")[1].split(" %")[0])
    assert share == pytest.approx(
        100 * MATRIX[:9].sum() / MATRIX.sum(), abs=1.5
    )  # the upper three of six rows of cells
    opened.keyboard.press("Escape")
    until(opened, "document.querySelector('.casnkit').dataset.status === ''")


def test_keys_walk_through_pairs_and_cells(opened: Any) -> None:
    opened.locator("[data-tile='0']").click()
    opened.keyboard.press("ArrowRight")
    opened.wait_for_selector("[data-tile='1'][aria-current=true]")
    until(opened, "document.activeElement.dataset.tile === '1'")
    opened.keyboard.press("ArrowLeft")
    opened.wait_for_selector("[data-tile='0'][aria-current=true]")
    opened.wait_for_selector("header[data-status=right]")
    opened.locator("[data-picture=query]").focus()
    opened.keyboard.press("ArrowDown")  # the first key shows the cursor, the second moves it
    opened.keyboard.press("ArrowDown")
    until(opened, "s => document.querySelector('.casnkit').dataset.status.startsWith(s)", arg=words(0, 4 * 3 + 1))
    assert words(0, 4 * 3 + 1) in opened.locator("[aria-live]").text_content()  # read out: it came from the keyboard
    opened.keyboard.press("?")
    assert opened.locator("dialog").is_visible()


def test_hostile_names_are_text(opened: Any) -> None:
    opened.locator("[data-tile='1']").click()
    opened.wait_for_selector("header[data-status=wrong]")
    assert opened.evaluate("window.hacked") is None
    name = opened.locator("bdi").first.text_content()
    assert name.startswith("<script>window.hacked = 1</script>")
    assert "\u202e" not in opened.locator(".casnkit").inner_text()
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")


MISSING = {(2, "right"): "could not read it", (3, "unknown"): "it judges nothing", (4, "junk"): "is 0 everywhere"}


@pytest.mark.parametrize(("number", "status"), MISSING)
def test_what_is_missing_is_said(opened: Any, number: int, status: str) -> None:
    opened.locator(f"[data-tile='{number}']").click()
    opened.locator(".ck-tab", has_text=MISSING[number, status]).wait_for()
    assert opened.locator("header[data-status]").get_attribute("data-status") == status


@pytest.mark.parametrize("width", [600, 900, 1366, 1900])
def test_fluid(opened: Any, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 768})
    opened.wait_for_timeout(300)
    box = opened.locator(".casnkit").bounding_box()
    rims = [opened.locator(f"[data-picture={side}]").bounding_box() for side in ("query", "gallery")]
    assert all(rim["x"] >= 0 and rim["x"] + rim["width"] <= width for rim in rims)
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if width == 1366:
        assert max(rim["y"] + rim["height"] for rim in rims) - box["y"] <= 650


def test_the_picture_is_saved_at_twice_its_size(opened: Any) -> None:
    with opened.expect_download() as found:
        opened.locator("[data-control=png]").click()
    assert found.value.suggested_filename == "casnkit-net-query-1-gallery-2-siamese.png"
    image, box = Image.open(found.value.path()).convert("RGB"), opened.locator(".ck-tab").bounding_box()
    assert image.size == pytest.approx((2 * box["width"], 2 * box["height"]), abs=2)
    screen = Image.open(io.BytesIO(opened.locator(".ck-stage").screenshot())).convert("RGB")
    at = opened.locator(".ck-stage").bounding_box()
    left, top = round(2 * (at["x"] - box["x"])), round(2 * (at["y"] - box["y"]))
    same = image.crop((left, top, left + 2 * screen.width, top + 2 * screen.height)).resize(screen.size)
    assert np.abs(np.asarray(same, float) - np.asarray(screen, float)).mean() < 8


ANSWERED = """view => {
  window.sent = []; window.leaked = 0;
  document.addEventListener("keydown", () => window.leaked++);
  window.heard = {};
  window.model = { get: (name) => view[name], send: (message) => window.sent.push(message), off() {},
    on: (event, answer) => { window.heard[event] = answer; } };
  window.tell = (name, value) => { view[name] = value; window.heard[`change:${name}`](); };
  window.close = window.anywidget.render({ model: window.model, el: document.body });
}"""


@pytest.fixture
def answered(tab: Any) -> Any:
    """The module as a notebook has it, with everything that is asked of Python in ``sent``."""
    about = {"src": "", "status": "right", "name": HOSTILE}
    tiles = [{"gallery": k, "rank": k + 1, "query": k, **about} for k in range(3)]
    strip = {"title": "first ten", "tiles": tiles, "page": 0, "pages": 3}
    histogram = {"name": "ap", "label": "AP", "edges": [0, 0.5, 1], "counts": [1, 3], "range": None}
    view = {
        "state": State().to_dict(), "strip": strip, "pair": pair(),
        "controls": {"": [{"name": "query", "kind": "select", "label": "Query", "options": [[7, "seven"], [8, "eight"]]}],
                     "notes": []},
        "compare": {"left": strip, "right": strip},
        "failures": {"tiles": tiles, "histograms": [histogram]},
        "what_if": {"pair": pair(), "before": strip, "after": strip, "numbers": [{"name": "AP", "text": "1"}]},
        "notes": {"text": HOSTILE, "tags": ["a"], "list": [{"query": 1, "gallery": 2, "text": HOSTILE}]},
    }  # fmt: skip
    script = (page.FOLDER / "viewer.js").read_text().replace("export default {", "window.anywidget = {")
    tab.set_content("<body></body>")
    tab.add_style_tag(path=page.FOLDER / "viewer.css")
    tab.add_script_tag(content=script, type="module")
    until(tab, "window.anywidget")
    tab.evaluate(ANSWERED, view)
    tab.wait_for_selector("[data-picture=query]")
    return tab


def test_what_is_asked_of_python(answered: Any) -> None:
    tab, sent = answered, lambda: answered.evaluate("window.sent")
    tab.locator(".ck-strip [data-tile='2']").click()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("PageDown")
    tab.locator("[data-control=query]").select_option("8")
    assert sent() == [
        {"ask": "set", "changes": {"gallery": 2}}, {"ask": "step", "by": 1}, {"ask": "set", "changes": {"page": 1}},
        {"ask": "set", "changes": {"query": 8}},
    ]  # fmt: skip
    assert tab.evaluate("window.leaked") == 0
    tab.locator("[data-control=contour]").click()
    until(tab, "window.sent.length === 5")
    assert sent()[-1] == {"ask": "set", "changes": {"contour": False}}
    tab.evaluate(
        "window.tell('error', {text: '<b>no</b>'}); window.tell('busy', {what: 'ranking', total: 5, can_cancel: true})"
    )
    tab.get_by_text("Cancel").click()
    assert sent()[-1] == {"ask": "cancel"}
    assert tab.locator("[role=alert]").text_content() == "<b>no</b>"


def test_every_tab_is_drawn_and_asks(answered: Any) -> None:
    tab = answered
    drawn = {"compare": ".ck-slopes", "failures": ".ck-histogram", "what_if": "canvas", "notes": "textarea"}
    for name, element in drawn.items():
        tab.locator(f"[data-control=tab-{name}]").click()
        until(tab, f"document.querySelector('.casnkit').dataset.tab === '{name}'")
        tab.wait_for_selector(element)
    tab.get_by_text("Save the note").click()
    assert tab.evaluate("window.sent.at(-1)") == {"ask": "note", "text": HOSTILE, "tags": ["a"]}
    tab.locator("[data-control=tab-failures]").click()
    box = tab.locator(".ck-histogram").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 4, box["y"] + 9)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 3 / 4, box["y"] + 9, steps=3)
    tab.mouse.up()
    asked = tab.evaluate("window.sent.at(-1)")
    assert asked["ask"] == "set"
    (limits,) = asked["changes"]["ranges"].values()
    assert limits == pytest.approx([0.25, 0.75], abs=0.01)
    tab.evaluate("window.close()")
    assert tab.locator(".casnkit").count() == 0


def test_what_was_shown_before_is_let_go(answered: Any) -> None:
    turn = """async n => { for (let k = 0; k < n; k++) {
      for (const name of ["strip", "pair", "controls", "state"]) tell(name, structuredClone(model.get(name)));
      tell("strip", { ...model.get("strip"), tiles: model.get("strip").tiles.map(t => ({ ...t, gallery: t.gallery + 3 })) });
      await new Promise(requestAnimationFrame); } }"""
    session, found = answered.context.new_cdp_session(answered), []
    session.send("Performance.enable")
    for _ in range(2):
        answered.evaluate(turn, 60)
        answered.wait_for_timeout(300)
        session.send("HeapProfiler.collectGarbage")
        measured = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        found.append([measured["Nodes"], measured["JSEventListeners"]])
    np.testing.assert_allclose(*found, rtol=0.05)
