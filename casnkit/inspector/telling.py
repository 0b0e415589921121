"""``casnkit page``: pairs of a network and a data set, chosen by hand or by a rule, as one page."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from casnkit.data import open_dataset
from casnkit.inspector.core import Inspector
from casnkit.inspector.page import MOST, check_pairs
from casnkit.inspector.rankings import QueryRanking

COUNT = 24  # pairs that are chosen by the rule
KINDS = ("right", "wrong", "look-alike")
RULE = (
    "How the pairs were chosen. Right: the nearest true match of a query for which it ranks first. Wrong: what ranks first "
    "and is another person. Look-alike: the nearest other person of a query for which a true match ranks first. Of each "
    "kind the closest pairs, no query twice; where a kind has too few, the others fill up."
)


def telling_pairs(inspector: Inspector, count: int = COUNT) -> list[tuple[int, int]]:
    """(query, gallery image) by :data:`RULE`: right ones, wrong ones and look-alikes, in that order."""
    found: dict[str, list[tuple[float, int, int]]] = {kind: [] for kind in KINDS}
    for i in range(len(inspector.desk.dataset.query)):
        ranking = inspector.desk.ranking(i)
        for kind, j in _candidates(ranking):
            found[kind].append((float(ranking.distances[j]), i, j))
    return [(i, j) for _, i, j in _chosen({kind: sorted(pairs) for kind, pairs in found.items()}, count)]


def _candidates(ranking: QueryRanking) -> Iterator[tuple[str, int]]:
    kept, status = ranking.ranking.kept, ranking.ranking.status
    if ranking.ranking.first_hit < 0:
        return
    yield "wrong" if ranking.ranking.first_hit else "right", int(kept[0])
    others = kept[status[kept] != "correct"]
    if ranking.ranking.first_hit == 0 and len(others):
        yield "look-alike", int(others[0])


def _chosen(found: Mapping[str, list], count: int) -> list[tuple[float, int, int]]:
    """The closest of each kind in turn, a query only once, until there are enough; then kind by kind."""
    queues, taken, used = {kind: iter(pairs) for kind, pairs in found.items()}, {kind: [] for kind in found}, set()
    while queues and len(used) < count:
        for kind in list(queues):
            pair = next((pair for pair in queues[kind] if pair[1] not in used), None)
            if pair is None:
                del queues[kind]
            elif len(used) < count:
                taken[kind].append(pair)
                used.add(pair[1])
    return [pair for pairs in taken.values() for pair in pairs]


def add_parser(group: Any) -> None:
    """The command's options."""
    page = group.add_parser("page", help="write pairs of pictures as one HTML file that explains them without a kernel")
    page.add_argument(
        "run", nargs="?", default="gap-casn", help="a run's folder or a network of the kit; default: gap-casn"
    )
    page.add_argument(
        "data", nargs="?", default="people:tiny", help="a data set, or drawn people; default: people:tiny"
    )
    page.add_argument("--pairs", nargs="+", metavar="QUERY:GALLERY", help=f"1 to {MOST}; default: telling ones")
    page.add_argument("--count", type=int, default=COUNT, help=f"how many telling pairs; default: {COUNT}")
    page.add_argument("--out", type=Path, required=True, help="the file, NAME.html")
    page.set_defaults(command=_command)


def _command(options: argparse.Namespace) -> None:
    pairs = [_parsed(text) for text in options.pairs or ()]
    check_pairs(options.out, len(pairs) or options.count)
    dataset = open_dataset(options.data)
    print(dataset, flush=True)
    say = lambda what, done, total: print(f"\r{what}: {done} of {total}", end="\n" * (done == total), flush=True)  # noqa: E731
    inspector = Inspector({Path(options.run).name: options.run}, dataset, device=options.device, progress=say)
    chosen = pairs or telling_pairs(inspector, options.count)
    about = f"Network {Path(options.run).name}, data {dataset.name}, {len(chosen)} pairs. {RULE * (not pairs)}"
    path = inspector.page(options.out, chosen, about=about)
    print(f"{len(chosen)} pairs, {path.stat().st_size / 2**20:.2f} MiB: {path}")


def _parsed(text: str) -> tuple[int, int]:
    parts = text.split(":")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"--pairs: expected QUERY:GALLERY as in 12:345, got {text!r}")
    return int(parts[0]), int(parts[1])
