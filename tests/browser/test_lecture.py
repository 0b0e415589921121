"""The lecture as a page: no picture covers a heading or leaves the slide, keys turn slides, S shows the notes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from casnkit import slides
from casnkit.figures import figure_png, show_batch

BOXES = """() => [...document.querySelectorAll('section.now h1, section.now h2, section.now p, section.now img')]
  .filter(e => !e.closest('aside')).map(e => [e.tagName, e.getBoundingClientRect().toJSON()])"""


def book(path: Path) -> tuple[Path, object]:
    """A notebook with a tall picture, a wide one and two on one slide."""
    tall, wide = ([np.full((shape[0], shape[1], 3), 90, np.uint8)] * shape[2] for shape in ((96, 32, 2), (32, 32, 9)))
    pngs = [base64.b64encode(figure_png(show_batch(images))).decode() for images in (tall, wide)]
    drawn = [new_output("display_data", data={"image/png": png}) for png in pngs]
    cells = [new_markdown_cell("# 07 · A name\n\n**What is asked?**"), new_markdown_cell("Words for the speaker.")]
    for title, outputs in (("Tall", drawn[:1]), ("Wide", drawn[1:]), ("Both", drawn)):
        cells.append(new_code_cell("draw()", metadata={"tags": ["slide"], "title": title}, outputs=outputs))
    return path / "07_name.ipynb", new_notebook(cells=cells)


def test_nothing_overlaps_on_any_slide(tmp_path: Path, browser: Any) -> None:
    page_file = tmp_path / "lecture.html"
    page_file.write_text(slides.to_html(slides.lecture([book(tmp_path)])), encoding="utf-8")
    page = browser.new_page(viewport={"width": 960, "height": 540})
    page.goto(page_file.as_uri())
    seen = []
    for _ in range(4):
        boxes = page.evaluate(BOXES)
        seen.append([tag for tag, _ in boxes])
        for i, (tag, a) in enumerate(boxes):
            assert a["top"] >= 0, tag
            assert a["bottom"] <= 540, tag
            assert a["width"] > 20, tag
            for other, b in boxes[i + 1 :]:
                apart = a["bottom"] <= b["top"] + 1 or b["bottom"] <= a["top"] + 1
                assert apart, f"{tag} and {other} overlap: {a} {b}"
        page.keyboard.press("ArrowRight")
    assert seen[1:] == [["H2", "IMG"], ["H2", "IMG"], ["H2", "IMG", "IMG"]]
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("s")
    assert "Words for the speaker." in page.inner_text("section.now aside")
    page.close()
