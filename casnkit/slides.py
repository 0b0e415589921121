"""``casnkit slides``: a lecture made from the notebooks, pictures first.

A notebook's code cell that is tagged ``slide`` becomes one slide: its title is the cell's own (in the paired script
``# %% Where do they look? tags=["slide"]``), its content the pictures that the cell draws, and the text before it the
speaker's notes. Each notebook opens with its title, its picture and the question that it asks. Nothing is written twice:
change the notebook, run the command again.

The page needs no network, as lecture halls have none: pictures, style and the few lines that turn slides lie inside it.
The slides are written as a notebook too, which ``jupyter nbconvert --to slides`` turns into a reveal.js page.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from casnkit.data.files import write_text

from ._optional import require
from .config import PROFILES

MINUTES = 20
SHOWN = 30  # slides that fit into the time, title slides included
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>casnkit</title><style>
html, body {{ margin: 0; height: 100%; font-family: "DejaVu Sans", Verdana, sans-serif; color: #222; background: #fff; }}
section {{ display: none; box-sizing: border-box; height: 100vh; padding: 3vh 4vw; flex-direction: column; }}
section.now {{ display: flex; }}
section > div {{ flex: 1; min-height: 0; display: flex; flex-direction: column; align-items: center; }}
h1, h2 {{ margin: 0 0 2vh; font-size: 4.4vh; }} h1 {{ font-size: 6vh; }} a.anchor-link {{ display: none; }}
p {{ margin: 0 0 2vh; font-size: 3.2vh; text-align: center; }}
.picture {{ flex: 1 1 0; min-height: 0; width: 100%; position: relative; }}
img {{ position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }}
aside {{ display: none; max-height: 30vh; overflow: auto; border-top: 1px solid #999; font-size: 2vh; }}
aside p {{ font-size: 2vh; text-align: left; }} body.notes section.now aside {{ display: block; }}
footer {{ position: fixed; right: 1vw; bottom: 1vh; font-size: 1.8vh; color: #555; }}
@media print {{ section {{ display: flex; break-after: page; }} footer {{ display: none; }} }}
</style></head><body>
{slides}
<footer></footer><script>
const slides = [...document.querySelectorAll("section")];
let now = Math.max(0, Math.min(slides.length, parseInt(location.hash.slice(1)) || 1) - 1);
const show = () => {{
  slides.forEach((slide, i) => slide.classList.toggle("now", i === now));
  document.querySelector("footer").textContent = `${{now + 1}} / ${{slides.length}}`;
  history.replaceState(null, "", "#" + (now + 1));
}};
const turn = (step) => {{ now = Math.max(0, Math.min(slides.length - 1, now + step)); show(); }};
addEventListener("keydown", (event) => {{
  if (["ArrowRight", "PageDown", " "].includes(event.key)) turn(1);
  if (["ArrowLeft", "PageUp"].includes(event.key)) turn(-1);
  if (event.key === "Home") turn(-slides.length);
  if (event.key === "End") turn(slides.length);
  if (event.key === "s") document.body.classList.toggle("notes");
}});
addEventListener("click", () => turn(1));
show();
</script></body></html>
"""


def add_parser(group: Any) -> None:
    """Add ``slides`` to the command line's sub-commands."""
    slides = group.add_parser("slides", help="make a lecture of the notebooks' pictures")
    slides.add_argument("--out", type=Path, default=Path("slides/lecture.html"), help="the HTML file to write")
    slides.add_argument("--notebooks", type=Path, default=Path("notebooks"), help="folder of the notebooks")
    slides.add_argument(
        "--only", nargs="*", metavar="NN", help="numbers of the notebooks to use, e.g. 00 03; default: all"
    )
    slides.add_argument("--profile", choices=PROFILES, default="quick", help="at which the notebooks are run")
    slides.set_defaults(command=run)


def run(options: argparse.Namespace) -> None:
    """Execute the notebooks, choose their slides and write the lecture."""
    chosen = choose(options.notebooks, options.only)
    books = []
    for path in chosen:
        print(f"running {path.name} at {options.profile}", flush=True)
        books.append((path, execute(path, options.profile)))
    deck = lecture(books)
    count = sum(cell.metadata["slideshow"]["slide_type"] == "slide" for cell in deck.cells)
    write_text(options.out, to_html(deck))
    book = options.out.with_suffix(".ipynb")
    write_text(book, require("nbformat", "making slides").writes(deck))
    print(f"{count} slides for {MINUTES} minutes: {options.out} (arrow keys turn them, S shows the notes), {book}")
    if count > SHOWN:
        warnings.warn(f"{count} slides are many for {MINUTES} minutes: take fewer notebooks with --only", stacklevel=2)


def choose(folder: Path, only: Iterable[str] | None = None) -> list[Path]:
    """Notebooks of a folder in order, or those whose numbers are given.

    Raises:
        ValueError: there are none.
    """
    paths = sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))
    wanted = None if only is None else {number.zfill(2) for number in only}
    chosen = [path for path in paths if wanted is None or path.name[:2] in wanted]
    if not chosen:
        found = ", ".join(path.name[:2] for path in paths) or "none"
        raise ValueError(f"expected notebooks to make slides of in {folder}, found {found}: see --notebooks and --only")
    return chosen


def execute(path: Path, profile: str) -> Any:
    """The notebook, run from first to last at a profile; the file itself stays as it is."""
    book = require("nbformat", "making slides").read(path, as_version=4)
    client = require("nbclient", "making slides").NotebookClient
    before = os.environ.get("CASNKIT_PROFILE")
    os.environ["CASNKIT_PROFILE"] = profile  # kernels inherit it
    try:
        client(book, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    finally:
        if before is None:
            del os.environ["CASNKIT_PROFILE"]
        else:
            os.environ["CASNKIT_PROFILE"] = before
    return book


def lecture(books: Iterable[tuple[Path, Any]]) -> Any:
    """One notebook of slides from executed ones: title slides, pictures under their titles, notes for the speaker.

    Raises:
        ValueError: no cell is tagged.
    """
    v4 = require("nbformat.v4", "making slides")
    cells = [cell for path, book in books for cell in _slides(v4, path, book)]
    if not any(cell.metadata["slideshow"]["slide_type"] == "slide" for cell in cells):
        raise ValueError("expected code cells tagged 'slide' in the notebooks, found none")
    return v4.new_notebook(cells=cells, metadata={"title": "casnkit"})


def _slides(v4: Any, path: Path, book: Any) -> Iterator[Any]:
    tagged = [i for i, cell in enumerate(book.cells) if _is_slide(cell)]
    if not tagged:
        return
    yield from _opening(v4, path, book.cells[0].source)
    for i in tagged:
        pictures = [_picture(o.data["image/png"]) for o in book.cells[i].outputs if "image/png" in o.get("data", {})]
        if not pictures:  # the data has nothing to show here, such as no masks
            continue
        title = book.cells[i].metadata.get("title", "").strip() or _heading_before(book.cells, i)
        yield _markdown(v4, f"## {title}\n\n" + "\n\n".join(pictures), "slide")
        notes = [cell.source for cell in book.cells[max(0, i - 1) : i + 2] if cell.cell_type == "markdown"]
        if notes:
            yield _markdown(v4, "\n\n".join(_IMAGE.sub("", text) for text in notes), "notes")


def _is_slide(cell: Any) -> bool:
    return cell.cell_type == "code" and "slide" in cell.metadata.get("tags", [])


def _opening(v4: Any, path: Path, source: str) -> Iterator[Any]:
    """The title slide: heading, question, picture."""
    heading, _, rest = source.partition("\n")
    question = " ".join(re.findall(r"\*\*([^*]+\?)\*\*", rest.replace("\n", " "))[:1])
    picture = _IMAGE.search(rest)
    shown = ""
    if picture and (file := path.parent / picture.group(2)).is_file():
        shown = _picture(base64.b64encode(file.read_bytes()).decode(), picture.group(1))
    yield _markdown(v4, "\n\n".join(filter(None, (heading, question, shown))), "slide")
    yield _markdown(v4, _IMAGE.sub("", rest).strip(), "notes")


def _picture(png: str, alt: str = "") -> str:
    return f'<div class="picture"><img alt="{alt}" src="data:image/png;base64,{"".join(png.split())}"></div>'


def _heading_before(cells: list[Any], i: int) -> str:
    """The last heading above a cell, without its number."""
    headings = [
        h for cell in cells[:i] if cell.cell_type == "markdown" for h in re.findall(r"(?m)^#+ (.+)$", cell.source)
    ]
    return re.sub(r"^\d+ · ", "", headings[-1]) if headings else ""


def _markdown(v4: Any, source: str, kind: str) -> Any:
    return v4.new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}})


def to_html(deck: Any) -> str:
    """The deck as one HTML page with everything inside."""
    to_markup = require("nbconvert.filters", "making slides").markdown2html
    sections: list[str] = []
    for cell in deck.cells:
        markup = to_markup(cell.source)
        if cell.metadata["slideshow"]["slide_type"] == "notes":
            sections[-1] = sections[-1].replace("</section>", f"<aside>{markup}</aside></section>")
        else:
            sections.append(f"<section><div>{markup}</div></section>")
    return _PAGE.format(slides="\n".join(sections))
