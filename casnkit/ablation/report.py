"""A study's rows as one result: means with intervals, paired differences, power; as text, Markdown and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from casnkit import evaluation
from casnkit.config import VARIANTS

from .statistics import Estimate, compare, estimate, pooled_deviation, seeds_needed, smallest_difference

Row = Mapping[str, Any]
TWO_POINTS = 2.0  # the difference that a study should be able to see
HEADINGS = {
    "rank_1": "rank-1",
    "rank_5": "rank-5",
    "rank_10": "rank-10",
    "rank_20": "rank-20",
    "mean_ap": "mAP",
    "mean_ap_trapezoid": "mAP (trapezoid)",
    "mean_inp": "mINP",
    "attention_mean_ap": "mAP, attention alone",
    "sum_mean_ap": "mAP, sum",
}
SHOWN = ("rank_1", "mean_ap")
_IDENTITY = ("study", "point", "setting", "variant", "pooling")
_NOT_MEASURED = {"seed", "seconds", "training_seconds", "threads", "identities", "queries", "gallery"}


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Everything that tables, figures and notebooks show, in plain values.

    Returns:
        ``groups``: one entry per setting with ``numbers`` (name -> estimate) and ``differences`` (name -> estimate of
        the difference to ``against``, paired by seed); ``power``: what rank-1 and mAP could have shown;
        ``data``: what it was measured on.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["pooling"], row["variant"], row["setting"]), []).append(row)
    pooled = _pooled(groups) if any(row["point"] for row in rows) else {}
    entries = []
    for members in groups.values():
        baseline = _baseline(members[0], groups)
        entry = {name: members[0][name] for name in _IDENTITY}
        entry["seeds"] = sorted(row["seed"] for row in members)
        entry["numbers"] = {name: _plain(estimate(values)) for name, values in _numbers(members).items()}
        if baseline is not None and baseline is not members:
            entry["against"] = f"{baseline[0]['variant']}, {baseline[0]['setting']}"
            entry["differences"] = {n: _plain(e) for n, e in _differences(members, baseline, pooled).items()}
        entry["seconds"] = sum(row["seconds"] for row in members) / len(members)
        entries.append(entry)
    entries.sort(key=lambda entry: (entry["pooling"], VARIANTS.index(entry["variant"]), "against" in entry))
    first = rows[0]
    data = {name: first[name] for name in ("data", "split", "identities", "queries", "gallery", "profile", "device")}
    return {"groups": entries, "power": _power(entries), "pooled": bool(pooled), "data": data}


Groups = Mapping[tuple[str, str, str], list[Row]]


def _pooled(groups: Groups) -> dict[str, tuple[float, int]]:
    """Deviations of paired differences over all settings of a sweep, in which each has few seeds."""
    pairs = [(members, _baseline(members[0], groups)) for members in groups.values()]
    found = [_differences(ours, theirs, {}) for ours, theirs in pairs if theirs is not None and theirs is not ours]
    names = {name for differences in found for name in differences}
    return {name: pooled_deviation(d[name] for d in found if name in d) for name in names}


def _baseline(row: Row, groups: Groups) -> list[Row] | None:
    """The paper's rows stand against the plain network of their pooling; an open point against its own default."""
    suffix = row["setting"].partition(" [")[1] + row["setting"].partition(" [")[2]
    variant = "ide" if row["setting"] == "default" + suffix else row["variant"]
    return groups.get((row["pooling"], variant, "default" + suffix))


def _numbers(rows: Sequence[Row]) -> dict[str, list[float]]:
    def is_number(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

    names = [name for name, value in rows[0].items() if is_number(value) and name not in _NOT_MEASURED]
    return {name: [row[name] for row in rows] for name in names if all(is_number(row.get(name)) for row in rows)}


def _differences(
    ours: Sequence[Row], theirs: Sequence[Row], pooled: Mapping[str, tuple[float, int]]
) -> dict[str, Estimate]:
    if not {row["seed"] for row in ours} & {row["seed"] for row in theirs}:
        return {}
    names = _numbers(ours).keys() & _numbers(theirs).keys()
    return {name: compare(ours, theirs, name, pooled=pooled.get(name)) for name in sorted(names)}


def _power(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By number: the spread of the baseline and of paired differences, and what so many seeds can show."""
    found: dict[str, Any] = {}
    for name in SHOWN:
        pairs = [_estimate(e["differences"][name]) for e in entries if name in e.get("differences", {})]
        deviation, freedom = pooled_deviation(pairs)
        if not freedom:
            continue
        seeds = min(pair.count for pair in pairs if pair.count > 1)
        found[name] = {
            "deviation_of_differences": deviation,
            "seeds": seeds,
            "smallest_difference_seen": smallest_difference(deviation, seeds, freedom=freedom),
            "seeds_for_two_points": seeds_needed(deviation, TWO_POINTS),
        }
        baselines = [e["numbers"][name]["deviation"] for e in entries if e["variant"] == "ide" and "against" not in e]
        if any(baselines):
            found[name]["deviation_of_baseline"] = max(value for value in baselines if value)
    return found


def _estimate(value: Mapping[str, Any]) -> Estimate:
    return Estimate(**{name: math.nan if v is None else v for name, v in value.items()})


def _plain(value: Estimate) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in asdict(value).items()}


def to_text(result: Mapping[str, Any]) -> str:
    """The study as text: one line per setting, and what it could have seen."""
    lines = [caption(result), evaluation.table(_cells(result)), *power_lines(result)]
    return "\n".join(lines)


def markdown(result: Mapping[str, Any]) -> str:
    """The study as a Markdown table."""
    rows = _cells(result)
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    return "\n".join([*lines, "", caption(result), "", *power_lines(result)])


def caption(result: Mapping[str, Any]) -> str:
    """What was measured on what, in a sentence."""
    data = result["data"]
    return (
        f"{data['data']}, profile {data['profile']}, {data['split']}: {data['queries']} queries of {data['identities']} "
        f"people, {data['gallery']} gallery images. Percent; mean ± half of the 95 % interval over seeds; "
        "differences paired by seed"
        + (", their deviation pooled over all settings" if result["pooled"] else "")
        + "; in bold between asterisks where the interval leaves zero out."
    )


def power_lines(result: Mapping[str, Any]) -> list[str]:
    """What the study can and cannot see, a sentence per number."""
    lines = []
    for name, power in result["power"].items():
        needed = power["seeds_for_two_points"]
        lines.append(
            f"{HEADINGS[name]}: differences paired by seed spread by {power['deviation_of_differences']:.1f} (standard "
            f"deviation); {power['seeds']} seeds show {power['smallest_difference_seen']:.1f} points with a probability "
            f"of 80 %; two points would need {needed if needed else 'more than 1000'} seeds."
        )
    return lines


def _cells(result: Mapping[str, Any]) -> list[dict[str, str]]:
    several = len({entry["pooling"] for entry in result["groups"]}) > 1
    numbers = [n for n in _shown(result) if any(n in entry["numbers"] for entry in result["groups"])]
    cells = []
    for entry in result["groups"]:
        row = {"model": model_name(entry)}
        if result["study"] != "variants" or not several:
            row["setting"] = entry["setting"]
        row["seeds"] = str(len(entry["seeds"]))
        for name in numbers:
            row[heading(name)] = cell(entry["numbers"].get(name))
        for name in SHOWN:
            row[f"Δ {heading(name)}"] = cell(entry.get("differences", {}).get(name), sign=True)
        cells.append(row)
    return cells


def _shown(result: Mapping[str, Any]) -> list[str]:
    claims = [n for n in CLAIMS if any(n in entry["numbers"] for entry in result["groups"])]
    return [*SHOWN, "attention_mean_ap", "sum_mean_ap", *claims]


CLAIMS: dict[str, str] = {}


def heading(name: str) -> str:
    """A number's name in a table."""
    return HEADINGS.get(name) or CLAIMS.get(name) or name.replace("_", " ")


def model_name(entry: Mapping[str, Any]) -> str:
    """The paper's name of a row: IDE, IDE+IA, ..., CASN (PCB)."""
    base = "PCB" if entry["pooling"] == "stripes" else "IDE"
    return f"CASN ({base})" if entry["variant"] == "casn" else entry["variant"].upper().replace("IDE", base)


def cell(value: Mapping[str, Any] | None, sign: bool = False) -> str:
    """Mean and half of the interval; a clear difference is marked."""
    if value is None:
        return ""
    mean = f"{value['mean']:+.1f}" if sign else f"{value['mean']:.1f}"
    if value["low"] is None:
        return mean
    text = f"{mean} ± {(value['high'] - value['low']) / 2:.1f}"
    return f"**{text}**" if sign and (value["low"] > 0 or value["high"] < 0) else text


def draw(result: Mapping[str, Any], rows: Sequence[Row], out: Path) -> list[Path]:
    """The study's pictures, written to ``out``."""
    from casnkit.figures import save_figure
    from casnkit.figures.ablation import show_differences

    entries = [entry for entry in result["groups"] if entry.get("differences")]
    if not entries:
        return []
    numbers = [n for n in _shown(result) if any(n in entry["differences"] for entry in entries)][:4]
    names = [_entry_name(entry, result["study"]) for entry in entries]
    panels = {heading(n): [entry["differences"].get(n) for entry in entries] for n in numbers}
    figure = show_differences(names, panels, title=f"Difference to the default, {result['on']} people, by seed")
    path = out / f"ablation-{result['study']}-{result['on']}.png"
    save_figure(figure, path, alt=f"Differences with 95 % intervals. {' '.join(power_lines(result))}")
    return [path]


def _entry_name(entry: Mapping[str, Any], study: str) -> str:
    return model_name(entry) if study == "variants" else f"{model_name(entry)}: {entry['setting']}"
