"""attributes.csv: who looks how, and who looks like whom."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from .attributes import ATTRIBUTE_PART
from .plan import Plan

TABLE = "attributes.csv"


def format_table(plan: Plan) -> str:
    """The table of a plan's people as CSV text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["pid", "split", *ATTRIBUTE_PART, "lookalike_pid", "differs_in"])
    for pid, (person, split) in sorted(plan.people.items()):
        partner, part = plan.partners.get(pid, ("", ""))
        writer.writerow([pid, split, *person.attributes.values(), partner, part])
    return buffer.getvalue()


def read_attributes(root: str | os.PathLike) -> dict[int, dict[str, str]]:
    """``attributes.csv`` as ``{pid: {column: value}}``: attributes, split, lookalike_pid and differs_in (empty: none).

    Raises:
        ValueError: there is no such table.
    """
    path = Path(root) / TABLE
    if not path.is_file():
        raise ValueError(f"expected {TABLE} in {root}, found none; make the data set with `casnkit data synthesize`")
    with path.open(encoding="utf-8", newline="") as file:
        return {int(row.pop("pid")): row for row in csv.DictReader(file)}


def lookalike_pairs(root: str | os.PathLike) -> list[tuple[int, int, str]]:
    """Pairs of look-alikes, each once: (smaller pid, larger pid, the one part that differs), sorted."""
    table = read_attributes(root)
    pairs = [(pid, int(row["lookalike_pid"]), row["differs_in"]) for pid, row in table.items() if row["lookalike_pid"]]
    return sorted(pair for pair in pairs if pair[0] < pair[1])
