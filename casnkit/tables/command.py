"""``casnkit table 1|2|3``: train what is missing, set measured beside published numbers, write the table's files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from casnkit.config import PROFILES

from .plan import ROWS, TABLES, make_plan

_ABOUT = (
    "Train and test every row of one of the paper's tables, or go on where an earlier call stopped, and print measured "
    "beside published numbers. Several GPUs: accelerate launch -m casnkit table 3 --root PATH (pip install "
    '"casnkit[scale]").'
)


def add_parser(group: Any) -> None:
    """Add ``table`` to the command line."""
    table = group.add_parser("table", help="a table of the paper: measured beside published", description=_ABOUT)
    numbers = "; ".join(f"{number} = {title}" for number, (title, _) in TABLES.items())
    table.add_argument("number", type=int, choices=tuple(TABLES), help=numbers)
    table.add_argument("--root", type=Path, help="folder at or above the benchmarks; default: $CASNKIT_DATA")
    table.add_argument("--profile", choices=PROFILES, default="paper", help="default: paper (ImageNet weights, a GPU)")
    table.add_argument(
        "--out", type=Path, default=Path("runs/tables"), help="for runs and tables; default: runs/tables"
    )
    table.add_argument("--rows", nargs="+", metavar="ROW", help=f"some of {', '.join(ROWS)}; default: all")
    sets = ", ".join(name for _, names in TABLES.values() for name in names)
    table.add_argument("--benchmarks", nargs="+", metavar="NAME", help=f"some of the table's ({sets}); default: all")
    table.add_argument("--seeds", type=int, help="trainings of each row; default: 1; with --read-only: all there are")
    table.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="for all rows: any setting")
    table.add_argument("--read-only", action="store_true", help="train nothing: read the finished runs below --out")
    table.add_argument("--unconfirmed", action="store_true", help="also show published numbers that are not confirmed")
    table.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    table.set_defaults(command=make_table)


def make_table(options: argparse.Namespace) -> int:
    """One table from its options to its last printed line. Returns 1 where nothing could be measured."""
    from casnkit.commands import assignments
    from casnkit.training import find_processes

    from .read import read_table
    from .run import measure
    from .text import to_text, write_table

    seeds = options.seeds if options.seeds is not None else (None if options.read_only else 1)
    changes = assignments(options.set)
    plan = make_plan(options.number, options.out, options.profile, options.rows, options.benchmarks, seeds, changes)
    problems = None if options.read_only else measure(plan, options.root, options.device, _say)
    if not find_processes(options.device).is_main:
        return 0
    result = read_table(plan, problems, options.unconfirmed)
    files = write_table(result, plan.out)
    print(f"\n{to_text(result)}")
    print("\n".join(f"written: {file}" for file in files))
    nothing = not any(record["measured"] for record in result["records"])
    return int(nothing and not options.read_only)


def _say(line: str) -> None:
    print(line, flush=True)
