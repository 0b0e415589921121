"""The course as a site: ``python figures/make/site_of_course.py``. Notebooks are shown as they are kept, nothing is run.

Formulas become MathML when the site is built, in headings too: pages ask no other host for anything.
"""

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

from casnkit import __version__ as release  # noqa: F401

project = "casnkit"
copyright = "the casnkit contributors"
extensions = ["myst_nb"]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/*.md",
    "notebooks/*.ipynb",
    "notebooks/solutions/*.ipynb",
]
exclude_patterns = ["docs/lecture.md"]  # slides
html_theme = "furo"
html_title = "casnkit"
html_math_renderer = "mathml"
html_static_path = html_css_files = ["site.css"]
nb_execution_mode = "off"
nb_number_source_lines = False
nb_render_markdown_format = "gfm"  # tables that a cell shows
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]  # the viewer is shown by the picture that is kept beside it


def write_formula(page: nodes.NodeVisitor, node: nodes.Element) -> None:
    """A formula of the text as MathML, which browsers draw by themselves."""
    block = isinstance(node, nodes.math_block)
    formula = convert(node.astext(), display="block" if block else "inline")
    page.body.append(f'<div style="overflow-x: auto">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
