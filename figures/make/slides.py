"""The lecture: ``python figures/make/slides.py`` makes ``site/lecture.html``, one file, and ``site/lecture.pdf``.

The text is ``docs/lecture.md``: slides between rules (``---``), and after ``???`` what the speaker says. Formulas become
MathML and pictures lie in the file, so it needs no network. Arrows turn the slides; N shows the notes.
"""

from __future__ import annotations

import argparse
import base64
import mimetypes
import re
from pathlib import Path

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

ROOT = Path(__file__).parents[2]
TEXT = ROOT / "docs" / "lecture.md"
FORMULAS = TEXT.with_name("site.css")
STYLE = """
@page { size: 1280px 720px; margin: 0; }
* { box-sizing: border-box; } body { margin: 0; background: #fff; color: #1b1b1b; font: 28px/1.45 system-ui, sans-serif; }
section { width: 1280px; height: 720px; padding: 40px 64px; overflow: hidden; display: flex; flex-direction: column;
  break-after: page; margin: 0 auto; }
h1 { font-size: 44px; margin: 0 0 18px; } h2 { font-size: 30px; font-weight: 400; margin: 0 0 18px; color: #444; }
p, ul, ol, blockquote { margin: 0 0 16px; } li { margin: 0 0 8px; }
blockquote { padding: 4px 0 4px 24px; border-left: 6px solid #0072b2; font-size: 32px; }
p:has(> img) { flex: 1; min-height: 0; display: flex; justify-content: center; margin: 0; }
img { max-width: 100%; max-height: 100%; object-fit: contain; } img[title=top] { width: 100%; object-fit: cover;
  object-position: top; }
math { font-size: 36px; } math[display=block] { margin-bottom: 28px; } p math { font-size: 32px; }
code { font-size: 30px; }
a { color: #0072b2; } aside { display: none; }
@media screen {
  section { display: none; } section.now { display: flex; }
  .told section.now { height: 560px; padding-bottom: 0; } .told section.now + aside { display: block; width: 1280px;
    margin: 0 auto; padding: 12px 64px; background: #f2f2f2; font-size: 22px; }
}
"""
SCRIPT = """
const slides = [...document.querySelectorAll("section")];
const show = (n) => { const at = Math.max(0, Math.min(slides.length - 1, n)); location.hash = at + 1;
  slides.forEach((slide, k) => slide.classList.toggle("now", k === at)); };
const now = () => (parseInt(location.hash.slice(1)) || 1) - 1;
addEventListener("keydown", ({ key }) => {
  if (["ArrowRight", "PageDown", " "].includes(key)) show(now() + 1);
  if (["ArrowLeft", "PageUp"].includes(key)) show(now() - 1);
  if (key === "n") document.body.classList.toggle("told"); });
addEventListener("hashchange", () => show(now())); show(now());
"""


def lecture(text: str, folder: Path) -> str:
    """The page of a lecture's text; pictures are looked for from ``folder``, and one that is missing is an error."""
    markdown = MarkdownIt().use(dollarmath_plugin, renderer=_math)
    parts = []
    for slide in re.split(r"(?m)^---\n", text):
        shown, _, told = slide.partition("???\n")
        parts.append(f"<section>\n{markdown.render(shown)}</section>\n<aside>{markdown.render(told)}</aside>")
    body = re.sub(r'src="([^"]+)"', lambda found: f'src="{_data(folder / found[1])}"', "\n".join(parts))
    title = re.findall(r"(?m)^# (.+)$", text)[0]
    head = f'<meta charset="utf-8"><title>{title}</title><style>{FORMULAS.read_text("utf-8")}{STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n<script>{SCRIPT}</script></body></html>\n'
    )


def _math(formula: str, options: dict[str, bool]) -> str:
    return convert(formula, display="block" if options["display_mode"] else "inline")


def _data(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "image/webp"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def write_pdf(page: Path) -> None:
    """The page as a PDF beside it, a slide a page, by Debian's chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(page.resolve().as_uri())
        tab.pdf(path=page.with_suffix(".pdf"), prefer_css_page_size=True, print_background=True)
        browser.close()


def main() -> None:
    """Write the lecture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "site" / "lecture.html")
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(lecture(TEXT.read_text(encoding="utf-8"), TEXT.parent), encoding="utf-8")
    write_pdf(out)
    print(out, out.with_suffix(".pdf"))


if __name__ == "__main__":
    main()
