"""A study's rows as one result in plain values: means with intervals, paired differences, power, the chosen fusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from casnkit.config import VARIANTS

from .statistics import Estimate, compare, estimate, pooled_deviation, seeds_needed, smallest_difference

Row = Mapping[str, Any]
TWO_POINTS = 2.0  # the difference that a study should be able to see
SHOWN = ("rank_1", "mean_ap")
PAPER_WEIGHT = "0.5"  # of attention in the paper's sum of two normalised distances
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
    pooled = _pooled(groups)
    entries = []
    for members in groups.values():
        baseline = _baseline(members[0], groups)
        entry = {name: members[0][name] for name in _IDENTITY}
        entry["seeds"] = sorted(row["seed"] for row in members)
        entry["numbers"] = {name: _plain(estimate(values)) for name, values in _numbers(members).items()}
        if baseline is not None and baseline is not members:
            entry["against"] = f"{baseline[0]['variant']}, {baseline[0]['setting']}"
            entry["differences"] = {n: _plain(e) for n, e in _differences(members, baseline, pooled).items()}
        if all(row.get("validation_mean_ap_at_weight") for row in members):
            entry["fusion"] = _fusion(members)
            entry["numbers"]["weighted_mean_ap"] = entry["fusion"]["test"][entry["fusion"]["chosen"]]
            entry["numbers"]["paper_sum_mean_ap"] = entry["fusion"]["test"][PAPER_WEIGHT]
        entry["seconds"] = sum(row["seconds"] for row in members) / len(members)
        entries.append(entry)
    entries.sort(key=lambda entry: (entry["pooling"], VARIANTS.index(entry["variant"]), "against" in entry))
    first = rows[0]
    data = {name: first[name] for name in ("data", "split", "identities", "queries", "gallery", "profile", "device")}
    return {"groups": entries, "power": _power(entries), "pooled": len(groups) > 2, "data": data}


def _fusion(rows: Sequence[Row]) -> dict[str, Any]:
    """Attention's weight in the sum: chosen by the mean over seeds on validation people, reported on the test's."""

    def means(name: str) -> dict[str, Any]:
        return {weight: _plain(estimate([row[name][weight] for row in rows])) for weight in rows[0][name]}

    validation = means("validation_mean_ap_at_weight")
    chosen = max(validation, key=lambda weight: validation[weight]["mean"])
    return {
        "chosen": chosen,
        "chosen_on": rows[0]["chosen_on"],
        "validation": validation,
        "test": means("mean_ap_at_weight"),
    }


Groups = Mapping[tuple[str, str, str], list[Row]]


def _pooled(groups: Groups) -> dict[str, tuple[float, int]]:
    """Deviations of paired differences over all settings of a study, in which each has few seeds."""
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
