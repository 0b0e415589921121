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

from casnkit.data import open_dataset
from casnkit.data.files import atomic_path, read_text
from casnkit.inspector import payload
from casnkit.inspector.desk import Desk
from casnkit.inspector.views import pair_of, tile_of

FOLDER, FILES = Path(__file__).parent, ("page.html", "viewer.js", "page.css", "viewer.css")
MOST, COUNT = 50, 24  # pairs of a page, and those that are chosen by the rule
KINDS = ("right", "wrong", "look-alike")
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
    whole = {"controls": {"pair": payload.LOOK}, **view}
    data = json.dumps(whole, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Template(skeleton).substitute(hashes, script=script, style=style, data=data, about=html.escape(about))


def telling_pairs(desk: Desk, count: int = COUNT) -> list[tuple[int, int]]:
    """(query, gallery image) by :data:`RULE`: right ones, wrong ones and look-alikes, in that order."""
    found: dict[str, list[tuple[float, int, int]]] = {kind: [] for kind in KINDS}
    for i in range(len(desk.dataset.query)):
        ranking = desk.ranking(i)
        stranger, hit = ranking.first_of("wrong"), ranking.ranking.first_hit
        if hit < 0:
            continue
        candidates = {"wrong" if hit else "right": ranking.first()} | ({} if hit else {"look-alike": stranger})
        for kind, j in candidates.items():
            if j is not None:
                found[kind].append((float(ranking.distances[j]), i, j))
    return _chosen({kind: sorted(pairs) for kind, pairs in found.items()}, count)


def _chosen(found: Mapping[str, list], count: int) -> list[tuple[int, int]]:
    """The closest of each kind in turn, a query only once, until there are enough; then kind by kind."""
    queues, taken, used = {kind: iter(pairs) for kind, pairs in found.items()}, {kind: [] for kind in found}, set()
    while queues and len(used) < count:
        for kind in list(queues):
            pair = next(((i, j) for _, i, j in queues[kind] if i not in used), None)
            if pair is None:
                del queues[kind]
            elif len(used) < count:
                taken[kind].append(pair)
                used.add(pair[0])
    return [pair for pairs in taken.values() for pair in pairs]


def add_parser(group: Any) -> None:
    """The command's options."""
    page = group.add_parser("page", help="write pairs of pictures as one HTML file that explains them without a kernel")
    run = "a run's folder or a network of the kit; default: gap-casn"
    page.add_argument("run", nargs="?", default="gap-casn", help=run)
    data = "a data set, or drawn people; default: people:tiny"
    page.add_argument("data", nargs="?", default="people:tiny", help=data)
    page.add_argument("--pairs", nargs="+", metavar="QUERY:GALLERY", help=f"1 to {MOST}; default: telling ones")
    page.add_argument("--count", type=int, default=COUNT, help=f"how many telling pairs; default: {COUNT}")
    page.add_argument("--out", type=Path, required=True, help="the file, NAME.html")
    page.set_defaults(command=_command)


def _command(options: argparse.Namespace) -> None:
    pairs = [_parsed(text) for text in options.pairs or ()]
    check_page(options.out, len(pairs) or options.count)
    dataset, name = open_dataset(options.data), Path(options.run).name
    print(dataset, flush=True)

    def say(what: str, done: int, total: int) -> None:
        print(f"\r{what}: {done} of {total}", end="\n" * (done == total), flush=True)

    desk = Desk({name: options.run}, dataset, options.device, say)
    chosen = pairs or telling_pairs(desk, options.count)
    about = f"Network {name}, data {dataset.name}, {len(chosen)} pairs. {RULE * (not pairs)}"
    path = write_page(options.out, desk, chosen, about)
    print(f"{len(chosen)} pairs, {path.stat().st_size / 2**20:.2f} MiB: {path}")


def _parsed(text: str) -> tuple[int, int]:
    query, _, gallery = text.partition(":")
    if not (query.isdecimal() and gallery.isdecimal()):
        raise ValueError(f"--pairs: expected QUERY:GALLERY as in 12:345, got {text!r}")
    return int(query), int(gallery)
