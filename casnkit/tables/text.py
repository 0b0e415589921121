"""A table for a terminal and in Markdown, and its three files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from casnkit.data.files import write_json, write_text
from casnkit.evaluation import table

DASH = "-"
COLUMNS = {
    "name": "system",
    "ranked_by": "ranked by",
    "seeds": "seeds",
    "rank_1": "rank-1",
    "rank_5": "rank-5",
    "rank_10": "rank-10",
    "mean_ap": "mAP",
    "published_rank_1": "published rank-1",
    "published_mean_ap": "mAP",
    "difference_rank_1": "difference rank-1",
    "difference_mean_ap": "mAP",
}
SPREAD = {"spread_rank_1": "range rank-1", "spread_mean_ap": "mAP"}
_ALONE = {f"{what}_mean_ap": f"{what} mAP" for what in ("published", "difference")} | {"spread_mean_ap": "range mAP"}


def to_text(result: dict[str, Any]) -> str:
    """The whole table with what is missing, for a terminal."""
    parts = [_head(result)]
    for benchmark in result["benchmarks"]:
        records = [r for r in result["records"] if r["benchmark"] == benchmark]
        columns = columns_of(records)
        rows = [{key: _aligned(key, columns, cell) for key, cell in cells(r).items()} for r in records]
        parts.append(f"{benchmark}\n{table(rows, columns)}")
    return "\n\n".join([*parts, "\n".join(remarks(result))])


def to_markdown(result: dict[str, Any]) -> str:
    """The same in Markdown."""
    parts = [f"**{_head(result)}**"]
    for benchmark in result["benchmarks"]:
        records = [r for r in result["records"] if r["benchmark"] == benchmark]
        columns = {key: _ALONE.get(key, heading) for key, heading in columns_of(records).items()}
        lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * 3 + "---:|" * (len(columns) - 3)]
        for record in records:
            own = cells(record)
            lines.append("| " + " | ".join(own[key] for key in columns) + " |")
        parts.append(f"{benchmark}\n\n" + "\n".join(lines))
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in remarks(result))])


def columns_of(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Headings by key; where a row was trained with several seeds also how far they spread (largest minus smallest)."""
    several = any(r["spread"] for r in records)
    return {**COLUMNS, **(SPREAD if several else {})}


def cells(record: dict[str, Any]) -> dict[str, str]:
    """A record's cells as text; a dash where there is nothing to say."""
    unsure = record["published"] is not None and not record["published"]["confirmed"]
    own = {"name": record["name"], "ranked_by": (record["ranked_by"] or DASH) if record["measured"] else DASH}
    own["seeds"] = ",".join(map(str, record["seeds"])) or DASH
    for key in ("rank_1", "rank_5", "rank_10", "mean_ap"):
        own[key] = _number((record["measured"] or {}).get(key))
    for key in ("rank_1", "mean_ap"):
        own[f"published_{key}"] = _number((record["published"] or {}).get(key), "?" if unsure else "")
        own[f"difference_{key}"] = _number((record["difference"] or {}).get(key), signed=True)
        own[f"spread_{key}"] = _number((record["spread"] or {}).get(key))
    return own


def remarks(result: dict[str, Any]) -> Iterator[str]:
    """What a reader of the numbers must know, and what is missing."""
    yield "percent; difference: measured minus published. The paper ranks by the sum wherever there is Siamese attention."
    yield "mAP: mean of the precision at each hit; the paper names no definition, the trapezoid's value is in the JSON"
    yield from _without_published(result)
    if result["unconfirmed_shown"]:
        yield "? marks a published number that no second text bears out"
    seeds = {len(r["seeds"]) for r in result["records"] if r["measured"]}
    if seeds and max(seeds) == 1:
        yield "one seed: the baseline alone moves by points from seed to seed (--seeds 3 goes on from here)"
    yield from result["notes"]
    for reason in result["missing"].values():
        yield f"missing: {reason}"
    for name, reason in result["failed"].items():
        yield f"failed: {name}: {reason}"
    yield from _pending(result)


def _without_published(result: dict[str, Any]) -> Iterator[str]:
    for benchmark in result["benchmarks"]:
        rows = [r for r in result["records"] if r["benchmark"] == benchmark and r["row"] and not r["published"]]
        if rows:
            names = ", ".join(dict.fromkeys(r["name"] for r in rows))
            yield f"{benchmark}: published but not confirmed, or not published, and so a dash: {names}"


def write_table(result: dict[str, Any], out: str | Path) -> list[Path]:
    """Write ``table<number>.json``, ``.md`` and ``.txt``. Returns their paths."""
    stem = Path(out) / f"table{result['table']}"
    files = [stem.with_suffix(suffix) for suffix in (".json", ".md", ".txt")]
    write_json(files[0], result)
    write_text(files[1], to_markdown(result) + "\n")
    write_text(files[2], to_text(result) + "\n")
    return files


def _head(result: dict[str, Any]) -> str:
    return f"Table {result['table']}: {result['title']}, profile {result['profile']}, runs in {result['folder']}"


def _pending(result: dict[str, Any]) -> Iterator[str]:
    """Rows without numbers, those that were never started in one line for each benchmark."""
    never: dict[str, list[str]] = {}
    for record in result["records"]:
        if record["benchmark"] in result["missing"]:
            continue
        for reason in record["pending"]:
            if reason == "not trained yet":
                never.setdefault(record["benchmark"], []).append(record["name"])
            elif record["ranked_by"] == record["paper_ranks_by"]:
                yield f"{record['benchmark']}, {record['name']}: {reason}"
    for benchmark, names in never.items():
        own = {r["name"] for r in result["records"] if r["row"] and r["benchmark"] == benchmark}
        which = "every row" if own == set(names) else ", ".join(names)
        yield f"{benchmark}: not trained yet: {which}"


def _number(value: float | None, mark: str = "", signed: bool = False) -> str:
    if value is None:
        return DASH
    return (f"{value:+.1f}" if signed else f"{value:.1f}") + mark


def _aligned(key: str, columns: dict[str, str], cell: str) -> str:
    """Numbers stand at the right of their column."""
    words = key in ("name", "ranked_by", "seeds")
    return cell if words else cell.rjust(max(5, len(columns.get(key, ""))))
