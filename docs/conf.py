"""The course as a site: ``python figures/make/site_of_course.py``. Notebooks are shown as they are kept, nothing is run."""

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
html_extra_path = ["../figures/page.html"]
nb_execution_mode = "off"
nb_number_source_lines = False
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]  # the viewer is shown by the picture that is kept beside it
