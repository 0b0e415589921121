"""The course as a site, with the reference beside it: ``python figures/make/site_of_course.py`` writes ``site/index.html``.

Lessons are shown with the outputs that are kept in them. Sphinx checks every link between pages, and pdoc makes the reference
of the docstrings; both come with the extra ``docs``. The lecture and a page of pairs lie beside them. It all works offline.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import slides

ROOT = Path(__file__).parents[2]
BUILD = ["--builder", "dirhtml", "--fail-on-warning", "--keep-going", "--quiet", "--conf-dir", "docs", "."]


def main() -> None:
    """Write the site; a link that leads nowhere is an error."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "site")
    out = parser.parse_args().out.resolve()
    reference, page = out / "reference", out / "page.html"
    commands = [
        ["sphinx", *BUILD, out],
        ["pdoc", "casnkit", "--output-directory", reference],
        ["casnkit", "page", "--out", page],
    ]
    for command in commands:
        subprocess.run([sys.executable, "-m", *map(str, command)], cwd=ROOT, check=True)
    (out / "lecture.html").write_text(slides.lecture(slides.TEXT.read_text("utf-8"), slides.TEXT.parent), "utf-8")
    (out / "index.html").write_text('<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">\n')
    print(out / "index.html")


if __name__ == "__main__":
    main()
