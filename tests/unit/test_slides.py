"""Slides: which cells become slides, in what order, and that the page needs nothing from outside."""

from __future__ import annotations

import argparse
import base64
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from casnkit import slides
from casnkit.figures import figure_png, show_batch

PNG = base64.b64encode(figure_png(show_batch([np.zeros((4, 2, 3), np.uint8)]))).decode()


def picture_cell(title: str = "", tag: str = "slide") -> nbformat.NotebookNode:
    output = new_output("display_data", data={"image/png": PNG})
    return new_code_cell("draw()", metadata={"tags": [tag], "title": title}, outputs=[output])


def book() -> nbformat.NotebookNode:
    cells = [
        new_markdown_cell(
            "# 07 · A name\n\n**What is asked?**\n\n![A picture](../figures/x.png)\n\n**You need** time."
        ),
        picture_cell("not a slide", tag="parameters"),
        new_markdown_cell("## 1 · A heading\n\nSome words for the speaker."),
        picture_cell("Its own title"),
        new_markdown_cell("**Look.** More words."),
        picture_cell(),
        new_code_cell("print(1)", metadata={"tags": ["slide"]}),
    ]
    return new_notebook(cells=cells)


def test_slides_are_the_tagged_pictures(tmp_path: Path) -> None:
    deck = slides.lecture([(tmp_path / "07_name.ipynb", book())])
    kinds = [cell.metadata["slideshow"]["slide_type"] for cell in deck.cells]
    assert kinds == ["slide", "notes"] * 3
    titles = [re.search(r"^#+ (.+)$", cell.source, re.MULTILINE)[1] for cell in deck.cells[::2]]
    assert titles == ["07 · A name", "Its own title", "A heading"]
    assert "What is asked?" in deck.cells[0].source
    assert all(PNG[:40] in cell.source for cell in deck.cells[2::2])
    assert "Some words for the speaker." in deck.cells[3].source
    assert "More words." in deck.cells[3].source
    assert "not a slide" not in str(deck)


def test_notebooks_without_tags_give_nothing(tmp_path: Path) -> None:
    plain = new_notebook(cells=[new_markdown_cell("# 01 · A"), picture_cell(tag="other")])
    with pytest.raises(ValueError, match="tagged 'slide'"):
        slides.lecture([(tmp_path / "01_a.ipynb", plain)])


def test_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    page = slides.to_html(slides.lecture([(tmp_path / "07_name.ipynb", book())]))
    assert page.count("<section>") == 3
    assert page.count("<aside>") == 3
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)


def test_notebooks_are_chosen_by_number(tmp_path: Path) -> None:
    for name in ("00_a", "03_b", "draft"):
        nbformat.write(new_notebook(), tmp_path / f"{name}.ipynb")
    assert [p.stem for p in slides.choose(tmp_path)] == ["00_a", "03_b"]
    assert [p.stem for p in slides.choose(tmp_path, ["3"])] == ["03_b"]
    with pytest.raises(ValueError, match="found 00, 03"):
        slides.choose(tmp_path, ["7"])


def test_command_runs_notebooks_and_leaves_them_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "import os, base64",
        "from IPython.display import Image",
        "assert os.environ['CASNKIT_PROFILE'] == 'smoke'",
    ]
    code = "\n".join([*lines, f"Image(base64.b64decode({PNG!r}))"])
    cells = [new_markdown_cell("# 01 · A name"), new_code_cell(code, metadata={"tags": ["slide"], "title": "Seen"})]
    path = tmp_path / "01_name.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    before = path.read_bytes()
    top = argparse.ArgumentParser()
    slides.add_parser(top.add_subparsers())
    out = tmp_path / "out" / "lecture.html"
    command = ["slides", "--notebooks", str(tmp_path), "--profile", "smoke", "--out", str(out)]
    options = top.parse_args(command)
    options.command(options)
    assert "Seen" in out.read_text(encoding="utf-8")
    assert nbformat.read(out.with_suffix(".ipynb"), as_version=4).cells[2].source.startswith("## Seen")
    assert path.read_bytes() == before
    assert "2 slides" in capsys.readouterr().out


def test_the_course_has_slides() -> None:
    folder = Path(__file__).parents[2] / "notebooks"
    tagged = {
        path.stem: sum(slides._is_slide(cell) for cell in nbformat.read(path, as_version=4).cells)
        for path in slides.choose(folder)
    }
    assert sum(tagged.values()) >= 10
    assert sum(tagged.values()) + sum(count > 0 for count in tagged.values()) <= slides.SHOWN
