"""A lecture of the pictures that are kept in the lessons, by nbconvert: ``python figures/make/slides.py``.

A code cell tagged ``slide`` becomes a slide: its title is the cell's own (in the paired script ``# %% Where do they look?
tags=["slide"]``), its content what the cell shows, the text before it the speaker's notes. Each lesson opens with its
title. The page is reveal.js; ``--reveal FOLDER`` takes an unpacked copy of it for a room without a network.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import lessons
import nbformat
from nbconvert import SlidesExporter
from nbformat.v4 import new_markdown_cell, new_notebook

PICTURE = re.compile(r"!\[[^\]]*\]\([^)]+\)")


def lecture(books: Iterable[nbformat.NotebookNode]) -> nbformat.NotebookNode:
    """One notebook of slides from executed lessons.

    Raises:
        ValueError: no cell is tagged ``slide``.
    """
    cells = [cell for book in books for cell in slides_of(book)]
    if not cells:
        raise ValueError("expected code cells tagged 'slide' in the notebooks, found none")
    return new_notebook(cells=cells)


def slides_of(book: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """The slides of one lesson: its opening, then title, pictures and notes of each tagged cell."""
    tagged = [i for i, cell in enumerate(book.cells) if "slide" in cell.metadata.get("tags", [])]
    if not tagged:
        return
    heading, _, rest = book.cells[0].source.partition("\n")
    question = re.findall(r"\*\*([^*]+\?)\*\*", rest.replace("\n", " "))[:1]
    yield _text("\n\n".join([heading, *question]), "slide")
    for i in tagged:
        title = book.cells[i].metadata.get("title") or _heading_before(book.cells[:i])
        yield _text(f"## {title}", "slide")
        yield book.cells[i]
        notes = book.cells[i - 1]
        if notes.cell_type == "markdown":
            yield _text(PICTURE.sub("", notes.source), "notes")


def _text(source: str, kind: str) -> nbformat.NotebookNode:
    return new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}})


def _heading_before(cells: list[nbformat.NotebookNode]) -> str:
    """The last heading above, without its number."""
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"^\d+ · ", "", re.findall(r"(?m)^#+ (.+)$", text)[-1])


def main() -> None:
    """Choose the lessons' slides and write the lecture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", metavar="NN", help="numbers of the lessons, such as 00 03; default: all")
    parser.add_argument("--reveal", default=SlidesExporter().reveal_url_prefix, help="address or folder of reveal.js")
    parser.add_argument("--out", type=Path, default=Path("slides/lecture.html"))
    options = parser.parse_args()
    names = [name for name in lessons.LESSONS["name"] if options.only is None or name[:2] in options.only]
    books = [nbformat.read(lessons.ROOT / "notebooks" / f"{name}.ipynb", as_version=4) for name in names]
    exporter = SlidesExporter(exclude_input=True, reveal_url_prefix=options.reveal)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(exporter.from_notebook_node(lecture(books))[0], encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
