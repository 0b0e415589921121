"""``casnkit page``: pairs of a network and a data set as one HTML file that needs neither kernel nor server nor network.

The file holds the module, the style sheet and the data, and a content security policy that allows these by their hashes and
nothing else: no request can leave the page. Data enters as JSON in which ``<`` is escaped; the viewer makes text nodes of it.
"""

import argparse
import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from casnkit.data import open_dataset
from casnkit.data.files import atomic_path, read_text
from casnkit.explain.league import KINDS, in_turns
from casnkit.inspector.desk import Desk
from casnkit.inspector.views import pair_of, tile_of

FOLDER, FILES = Path(__file__).parent, ("page.html", "viewer.js", "page.css", "viewer.css")
MOST, COUNT = 50, 24  # pairs of a page, and those that are chosen by the rule
RULE = (
    "How the pairs were chosen. Right: the nearest true match of a query for which it ranks first. Wrong: what ranks first "
    "and is another person. Look-alike: the nearest other person of a query for which a true match ranks first. Of each "
    "kind the closest pairs, no query twice; where a kind has too few, the others fill up."
)
_START = 'mount(document.getElementById("viewer"), JSON.parse(document.getElementById("view").textContent), null);\n'


def write_page(path: str | Path, desk: Desk, pairs: Sequence[tuple[int, int]] | None = None, about: str = "") -> Path:
    """Write pairs, (query, gallery image) each, atomically, and return the path; see ``Inspector.page``."""
    kept, found = desk.current, []
    chosen = pairs or [(kept.query, j) for j in desk.ranking().page(kept.page, kept.show_ignored)]
    check_page(path, len(chosen))
    try:
        for i, j in chosen:
            desk.set(query=int(i), gallery=int(j))
            tile = tile_of(desk, desk.ranking(), int(j), query=int(i), pair=pair_of(desk))
            del tile["src"]  # the page shows the pair's own pictures, small
            found.append(tile)
    finally:
        desk.current = kept
    text = page_of({"state": kept.changed({"tab": "pair", "page": 0}).to_dict(), "pairs": found}, about)
    with atomic_path(Path(path).expanduser()) as temporary:
        temporary.write_bytes(text.encode(errors="replace"))
    return Path(path).expanduser()


def check_page(path: str | Path, count: int) -> None:
    """Raise ValueError for a number of pairs or a name that cannot be, before any work for the page begins."""
    if not 1 <= count <= MOST:
        raise ValueError(f"a page holds 1 to {MOST} pairs, got {count}: choose fewer, or write several pages")
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"expected a file that ends in .html, got {Path(path).name!r}")


def page_of(view: Mapping[str, Any], about: str = "") -> str:
    """A view with its ``pairs`` as HTML; ``about``, what is shown and how it was chosen, is text."""
    skeleton, script, *styles = map(read_text, (FOLDER / name for name in FILES))
    script, style = script + _START, "".join(styles)
    digests = {"script_hash": hashlib.sha256(script.encode()), "style_hash": hashlib.sha256(style.encode())}
    hashes = {name: f"sha256-{base64.b64encode(digest.digest()).decode()}" for name, digest in digests.items()}
    data = json.dumps(view, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Template(skeleton).substitute(hashes, script=script, style=style, data=data, about=html.escape(about))


def telling_pairs(desk: Desk, count: int = COUNT) -> list[tuple[int, int]]:
    """(query, gallery image) by :data:`RULE`: right ones, wrong ones and look-alikes, in that order."""
    table = pd.DataFrame(desk.table()).rename_axis("query").reset_index().query("num_matches > 0")
    near = {side: table.assign(gallery=table[f"nearest_{side}"], distance=table[side]) for side in ("right", "wrong")}
    parts = near["right"][table.top_right], near["wrong"][~table.top_right], near["wrong"][table.top_right]
    found = pd.concat(dict(zip(KINDS, parts, strict=True)), names=["kind"]).reset_index("kind").query("gallery >= 0")
    found = found.sort_values(["distance", "query"]).astype({"kind": pd.CategoricalDtype(KINDS)})
    chosen = in_turns(in_turns(found).drop_duplicates("query")).head(count).sort_values(["kind", "turn"])
    return list(chosen[["query", "gallery"]].itertuples(index=False, name=None))


def add_parser(group: Any) -> None:
    """The command's options."""
    page = group.add_parser("page", help="write pairs of pictures as one HTML file that explains them without a kernel")
    run = "a run's folder or a network of the kit; default: gap-casn"
    page.add_argument("run", nargs="?", default="gap-casn", help=run)
    data = "a data set, or drawn people; default: people:tiny"
    page.add_argument("data", nargs="?", default="people:tiny", help=data)
    page.add_argument("--pairs", nargs="+", metavar="QUERY:GALLERY", help=f"1 to {MOST}; default: telling ones")
    page.add_argument("--out", type=Path, required=True, help="the file, NAME.html")
    page.set_defaults(command=_command)


def _command(options: argparse.Namespace) -> None:
    pairs = [_parsed(text) for text in options.pairs or ()]
    check_page(options.out, len(pairs) or COUNT)
    dataset, name = open_dataset(options.data), Path(options.run).name
    print(dataset, flush=True)

    def say(what: str, done: int, total: int) -> None:
        print(f"\r{what}: {done} of {total}", end="\n" * (done == total), flush=True)

    desk = Desk({name: options.run}, dataset, options.device, say)
    chosen = pairs or telling_pairs(desk)
    about = f"Network {name}, data {dataset.name}, {len(chosen)} pairs. {RULE * (not pairs)}"
    path = write_page(options.out, desk, chosen, about)
    print(f"{len(chosen)} pairs, {path.stat().st_size / 2**20:.2f} MiB: {path}")


def _parsed(text: str) -> tuple[int, int]:
    query, _, gallery = text.partition(":")
    if not (query.isdecimal() and gallery.isdecimal()):
        raise ValueError(f"--pairs: expected QUERY:GALLERY as in 12:345, got {text!r}")
    return int(query), int(gallery)
