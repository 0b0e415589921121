"""A view as one HTML file that needs neither kernel nor server nor network.

The file holds the module, the style sheet and the data, and a content security policy that allows these by their hashes and
nothing else: no request can leave the page. Data enters as JSON in which ``<`` is escaped; the viewer makes text nodes of it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from casnkit.data.files import atomic_path
from casnkit.inspector import payload

FOLDER = Path(__file__).parent
MOST = 50  # pairs of a page
_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; script-src '$script_hash'; \
style-src '$style_hash'; base-uri 'none'; form-action 'none'">
<title>$title</title><style>$style</style></head>
<body><h1><bdi>$title</bdi></h1><div id="viewer"></div><noscript>This page draws with JavaScript, which is off.</noscript>
<footer><bdi>$about</bdi></footer><script type="application/json" id="view">$data</script>
<script type="module">$script</script></body></html>
""")
_STYLE = """
html { color-scheme: light dark; } body { margin: 0 auto; max-width: 2000px; font-family: system-ui, sans-serif; }
body:has(.casnkit[data-theme="dark"]) { background: #17181a; color: #e8e8e8; }
body:has(.casnkit[data-theme="light"]) { background: #fff; color: #222; }
h1 { font-size: 17px; margin: 6px 44px 2px 8px; } footer { font-size: 12px; padding: 6px 8px; }
h1, footer { overflow-wrap: anywhere; }
"""
_START = 'mount(document.getElementById("viewer"), JSON.parse(document.getElementById("view").textContent), null);\n'


def write_page(
    path: str | Path, view: Mapping[str, Any], title: str = "Why do these two match?", about: str = ""
) -> Path:
    """Write a view with 1 to 50 ``pairs`` as one HTML file, atomically, and return its path.

    ``title`` and ``about`` (what is shown, and how it was chosen) are text. Raises ValueError for another number of pairs,
    or another kind of file.
    """
    path = check_pairs(path, len(view.get("pairs", ())))
    with atomic_path(path) as temporary:
        temporary.write_bytes(_page(view, title, about).encode(errors="replace"))
    return path


def check_pairs(path: str | Path, count: int) -> Path:
    """The path of a page, before any work for it begins. Raises ValueError for a number of pairs or a name that cannot be."""
    if not 1 <= count <= MOST:
        raise ValueError(f"a page holds 1 to {MOST} pairs, got {count}: choose fewer, or write several pages")
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"expected a file that ends in .html, got {Path(path).name!r}")
    return Path(path).expanduser()


def _page(view: Mapping[str, Any], title: str, about: str) -> str:
    script = (FOLDER / "viewer.js").read_text(encoding="utf-8") + _START
    style = _STYLE + (FOLDER / "viewer.css").read_text(encoding="utf-8")
    digests = {"script_hash": hashlib.sha256(script.encode()), "style_hash": hashlib.sha256(style.encode())}
    hashes = {name: f"sha256-{base64.b64encode(digest.digest()).decode()}" for name, digest in digests.items()}
    whole = {"state": payload.STATE, "controls": {"pair": payload.LOOK}, **view}
    data = json.dumps(whole, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    text = {"title": html.escape(title), "about": html.escape(about)}
    return _PAGE.substitute(hashes, script=script, style=style, data=data, **text)
