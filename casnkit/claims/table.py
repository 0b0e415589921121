"""Claims of several networks, or of one, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from casnkit import evaluation
from casnkit.claims.pictures import MAPS

HEADLINES = {
    "coverage_ia": "IA covers %",
    "coverage_ia_chance": "(chance)",
    "coverage_siamese": "SA covers %",
    "coverage_plain": "mean covers %",
    "spill_ia": "IA spills %",
    "coverage_ia_train": "IA covers % (train)",
    "energy_inside_ia": "IA inside %",
    "energy_inside_plain": "mean inside %",
    "energy_inside_uniform": "(chance)",
    "auc_siamese": "SA agrees AUC",
    "auc_plain": "mean agrees AUC",
    "cue_pairs_siamese": "SA right cue %",
    "cue_pairs_plain": "mean right cue %",
}
"""Columns of :func:`claims_table`: heading by key."""

UNTRAINED = "* by a pair classifier that was never trained"


def claims_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None = None) -> str:
    """One line per network as aligned text.

    Args:
        rows: results of :func:`casnkit.claims.measure_claims`, each with whatever names it in front (variant, ...).
        columns: heading by key; default: what names the rows, then :data:`HEADLINES`. Keys that no row has are left out.
    """
    if not rows:
        raise ValueError("expected at least one row of claims, got none")
    if columns is None:
        columns = {key: key for row in rows for key, value in row.items() if isinstance(value, str)} | HEADLINES
    columns = {key: heading for key, heading in columns.items() if any(key in row for row in rows)}
    lines = [{key: _cell(key, row.get(key), row.get("siamese_trained", True)) for key in columns} for row in rows]
    text = _aligned(lines, columns)
    return f"{text}\n{UNTRAINED}" if "*" in text else text


def claims_sheet(row: Mapping[str, Any], parts: bool = False) -> str:
    """Everything about one network: a line per measure, a column per map, chance beside it.

    Args:
        row: a result of :func:`casnkit.claims.measure_claims`.
        parts: a line for every body part too.
    """
    maps = [name + ending for name in MAPS for ending in ("", "_chance", "_shuffled")] + ["uniform"]
    maps += ["different", "different_chance", "ia_train", "plain_train"]
    keys = [key for key in row if not key.startswith("pairs_")]  # those count pairs
    of_map = {key: max((m for m in maps if key.endswith(f"_{m}")), key=len, default="") for key in keys}
    measures = {key: key.removesuffix(f"_{name}") for key, name in of_map.items() if name}
    shown = {name: name.replace("_", " ") for name in maps if name in of_map.values()}
    trained, lines = row.get("siamese_trained", True), []
    for measure in dict.fromkeys(measures.values()):
        if parts or not measure.startswith(("part_coverage_", "part_energy_")):
            cells = {name: _cell(name, row.get(f"{measure}_{name}"), trained) for name in shown}
            lines.append({"measure": measure.replace("_", " ")} | cells)
    text = _aligned(lines, {"measure": "measure"} | shown)
    return f"{text}\n{UNTRAINED}" if "*" in text else text


def _cell(key: str, value: Any, siamese_trained: bool) -> str:
    if value is None:
        return "-"
    text = f"{value:.3g}" if isinstance(value, float) and abs(value) < 2 else evaluation.table([{"": value}])
    return text.splitlines()[-1] + ("*" if not siamese_trained and ("siamese" in key or "different" in key) else "")


def _aligned(lines: list[dict[str, str]], columns: Mapping[str, str]) -> str:
    """Numbers (all but the first column and names) at the right edge."""
    for key in list(columns)[1:]:
        width = max(len(columns[key]), *(len(line[key]) for line in lines))
        for line in lines:
            line[key] = line[key].rjust(width) if line[key][:1] in "-0123456789" else line[key]
    return evaluation.table(lines, dict(columns))
