"""What a study found: its rows as means with intervals, tables, a picture and sentences.

The rows of published studies lie in ``figures/results`` and come with the kit; :func:`published` reads them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from casnkit import evaluation, figures
from casnkit.config import VARIANTS
from casnkit.data.files import results_path
from casnkit.experiments import statistics
from casnkit.experiments.statistics import Estimate, estimate

STUDIES = {"variants": "ablation", "open-points": "open-points", "test-time": "test-time"}  # -> its CSV file
HOW_TO = {name: f"nothing is published yet: `casnkit ablate --study {name} --publish` does it" for name in STUDIES}
SHOWN = ("rank_1", "mean_ap")  # with their differences
RANKING = {
    "rank_1": "rank-1",
    "mean_ap": "mAP",
    "attention_mean_ap": "mAP, attention alone",
    "paper_sum_mean_ap": "mAP, the paper's sum",
    "weighted_mean_ap": "mAP, weighted sum",
}
ONE_IMAGE = {  # what the paper says of attention, each beside the plain mean of the feature map
    "coverage_ia_train": "IA covers, train",
    "coverage_ia": "IA covers",
    "spill_ia": "IA spills",
    "energy_inside_ia": "IA inside",
    "coverage_plain": "plain covers",
    "spill_plain": "plain spills",
    "energy_inside_plain": "plain inside",
    "energy_inside_uniform": "chance inside",
}
PAIRS = {
    "auc_siamese": "SA agrees (AUC)",
    "auc_plain": "plain agrees (AUC)",
    "cue_pairs_siamese": "SA right cue",
    "cue_pairs_different": "not-same right cue",
    "cue_pairs_plain": "plain right cue",
    "cue_pairs_plain_chance": "chance right cue",
}
HEADINGS = RANKING | ONE_IMAGE | PAIRS
IDENTITY = ["study", "common", "profile", "split", "data", "identities", "queries", "gallery", "device"]
IDENTITY += ["casnkit", "python", "torch", "point", "setting", "variant", "pooling", "seed"]
READING = ["mode", "threshold", "normalisation", "per"]  # of attention at test time
CURVE, VALIDATION_CURVE = (
    "mean_ap_at_weight.",
    "validation_mean_ap_at_weight.",
)  # columns; a weight of attention follows
CLAIMS_CAPTION = (
    "Covers: share of the person above half of the map's maximum (train: of training images, explained by their true "
    "identity). Spills: share of that area beside the person. Inside: share of the map that lies on the person. "
    "Agrees: the distance of equation 5 alone as a matcher, area under its ROC curve, chance 50. Right cue: share of "
    "look-alike pairs with more weight per pixel on the one part that differs; not-same: Grad-CAM of -z_1. "
    "Between asterisks where the difference to the network without attention leaves zero out."
)
TEST_TIME_CAPTION = (
    "mAP in percent on the test people; t, normalisation and attention's weight chosen on other people; mean ± half "
    "of the 95 % interval over seeds, gains paired by seed, marked where the interval leaves zero out. "
    "plain: row profiles of the plain mean map instead of Siamese attention. The paper's sum: weight 0.5."
)
CLAIMS = {
    "ide+ia": [("IA makes attention cover more of the person", "coverage_ia_train")],
    "ide+sa": [("SA makes attention agree across images", "auc_siamese")],
}
CLAIMS["casn"] = CLAIMS["ide+ia"] + CLAIMS["ide+sa"]


def summary(rows: pd.DataFrame) -> dict[str, Any]:
    """Everything that tables, figures and notebooks show of a study, in plain values.

    Args:
        rows: one for each training, as :func:`casnkit.experiments.ablation.run_trials` gives them.

    Returns:
        ``groups``: one entry per setting with ``numbers`` (name -> mean, low, high, deviation, count) and
        ``differences``, the same for the difference to the default, or of a default to the network without attention,
        paired by seed; ``power``: what rank-1 and mAP could have shown; ``data``: what it was measured on.
    """
    groups = {key: _weighed(g) for key, g in rows.groupby(["pooling", "variant", "setting"], sort=False)}
    names = ["seed", *(name for name in HEADINGS if name in rows)]
    changes = {}
    for pooling, variant, setting in groups:
        base = pooling, "ide" if setting == "default" else variant, "default"
        if base in groups and base != (pooling, variant, setting):
            changes[pooling, variant, setting] = statistics.paired(
                groups[pooling, variant, setting][names], groups[base][names]
            )
    own = {key: {name: estimate(change[name]) for name in change} for key, change in changes.items() if len(change)}
    pooled = {name: statistics.pooled_deviation(c[name] for c in own.values() if name in c) for name in names}
    entries = []
    for key, group in groups.items():
        known = group[[name for name in HEADINGS if name in group]].dropna(axis=1)
        entry = group.iloc[0][["study", "point", "setting", "variant", "pooling", "weight"]].to_dict()
        entry |= {"seeds": group["seed"].tolist(), "numbers": {n: estimate(known[n]).plain() for n in known}}
        if key in own:
            entry["differences"] = {n: estimate(changes[key][n], pooled[n]).plain() for n in changes[key]}
        entries.append(entry)
    entries.sort(key=lambda entry: (entry["pooling"], VARIANTS.index(entry["variant"]), "differences" in entry))
    data = json.loads(rows.iloc[0][IDENTITY[:-5]].to_json())
    head = {"study": data["study"], "on": data["split"], "data": data, "pooled": len(groups) > 2}
    return {**head, "groups": entries, "power": _power(own.values())}


def _weighed(group: pd.DataFrame) -> pd.DataFrame:
    """A setting's rows with the paper's sum and the sum by the weight which is best, over seeds, on validation people."""
    curve = group.filter(regex=f"^{VALIDATION_CURVE}").mean(skipna=False)
    if curve.empty or curve.isna().any():
        return group.assign(weight="")
    best = curve.idxmax().removeprefix(VALIDATION_CURVE)
    sums = {"paper_sum_mean_ap": group[f"{CURVE}0.5"], "weighted_mean_ap": group[CURVE + best]}
    return group.assign(weight=best, **sums)


def _power(changes: Iterable[Mapping[str, Estimate]]) -> dict[str, Any]:
    """By number: the spread of paired differences, and what so many seeds can show."""
    found: dict[str, Any] = {}
    for name in SHOWN:
        pairs = [change[name] for change in changes if name in change]
        deviation, freedom = statistics.pooled_deviation(pairs)
        if freedom:
            seeds = min(pair.count for pair in pairs if pair.count > 1)
            found[name] = {
                "deviation_of_differences": deviation,
                "seeds": seeds,
                "smallest_difference_seen": statistics.smallest_difference(deviation, seeds, freedom),
                "seeds_for_two_points": statistics.seeds_needed(deviation, 2.0),
            }
    return found


def summarise(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The study of test time: for each network and reading the weight chosen on validation, and what it gives on the test.

    Returns:
        dicts with the reading, ``chosen`` (weight), ``validation``, ``validation_gain`` and, as estimates over seeds on
        the test, ``test``, ``features`` (alone), ``gain`` (paired by seed) and ``paper_sum`` (weight 0.5); the best on
        validation first.
    """
    keys = ["pooling", "variant", *READING]
    weights, found = [name for name in rows if name[0].isdigit()], []
    for key, group in rows.groupby(keys, sort=False):
        validation = group.loc[group["split"] == "validation", weights].mean()
        test, best = group[group["split"] == "test"], validation.idxmax()
        sums = {"test": test[best], "features": test["0.0"], "paper_sum": test["0.5"], "gain": test[best] - test["0.0"]}
        entry = dict(zip(keys, key, strict=True)) | {"chosen": best, "validation": float(validation[best])}
        entry["validation_gain"] = float(validation[best] - validation["0.0"])
        found.append(entry | {name: estimate(values).plain() for name, values in sums.items()})
    return sorted(found, key=lambda entry: (entry["pooling"], entry["variant"], -entry["validation"]))


def published(study: str, folder: Path | None = None) -> dict[str, Any] | None:
    """The :func:`summary` of a published study; None where there is none yet.

    Args:
        study: variants, open-points, or open-points-POINT-POINT for some of them; test-time has ``readings`` instead.
        folder: of the CSV files; default: those of the kit.

    Raises:
        ValueError: an unknown study.
    """
    kind = "open-points" if study.startswith("open-points") else study
    if kind not in STUDIES:
        raise ValueError(f"expected a study out of {', '.join(STUDIES)}, got {study!r}")
    rows = read_results(STUDIES[kind], folder)
    if rows is None or study not in set(rows["study"]):
        return None
    rows = rows[rows["study"] == study]
    if study != "test-time":
        return summary(rows)
    readings: list[dict[str, Any]] = []
    for row in rows.replace({np.nan: None}).to_dict("records"):
        readings.append({name: value for name, value in row.items() if "." not in name})
        for name, number in (name.split(".") for name in row if "." in name):  # such as gain.mean
            readings[-1].setdefault(name, {})[number] = row[f"{name}.{number}"]
    return {"study": study, "readings": readings}


def read_results(name: str, folder: Path | None = None) -> pd.DataFrame | None:
    """The rows of ``NAME.csv``; None where there is none."""
    path = Path(folder) / f"{name}.csv" if folder else results_path(f"{name}.csv")
    if not path.is_file():
        return None
    rows = pd.read_csv(path)
    texts = [column for column in ("common", "point") if column in rows]  # empty ones are empty texts
    return rows.assign(**{column: rows[column].astype(object).fillna("") for column in texts})


def verdicts(result: Mapping[str, Any]) -> list[str]:
    """The paper's claims, each with what the study's intervals say of it, written by rule."""
    lines = []
    for entry in result["groups"]:
        for claim, name in [*CLAIMS.get(entry["variant"], []), *(("finds people better", name) for name in SHOWN)]:
            change = entry.get("differences", {}).get(name)
            if change is None:
                continue
            numbers = f"{cell(change, True).strip('*')} over {change['count']} seeds"
            text = f"not decided, {numbers}"
            if change["low"] is None:
                text = f"one seed, {numbers}: nothing to say"
            elif is_clear(change):
                text = f"yes, {numbers}" if change["low"] > 0 else f"no, the contrary: {numbers}"
            lines.append(f"{model_name(entry):11} {claim} ({HEADINGS[name]}): {text}")
    return lines


def caption(result: Mapping[str, Any]) -> str:
    """What was measured on what, in a sentence."""
    data = result["data"]
    common = f"; {data['common']}" if data["common"] else ""
    pooled = ", their deviation pooled over all settings" if result["pooled"] else ""
    return (
        f"{data['data']}, profile {data['profile']}, {data['split']}: {data['queries']} queries of {data['identities']} "
        f"people, {data['gallery']} gallery images{common}. Percent; mean ± half of the 95 % interval over seeds; "
        f"differences paired by seed{pooled}; marked where the interval leaves zero out."
    )


def power_lines(result: Mapping[str, Any]) -> list[str]:
    """What the study can and cannot see, a sentence per number."""
    return [
        f"{HEADINGS[name]}: differences paired by seed spread by {power['deviation_of_differences']:.1f} (standard "
        f"deviation); {power['seeds']} seeds show {power['smallest_difference_seen']:.1f} points with a probability "
        f"of 80 %; two points would need {power['seeds_for_two_points'] or 'more than 1000'} seeds."
        for name, power in result["power"].items()
    ]


def model_name(entry: Mapping[str, Any]) -> str:
    """The paper's name of a row: IDE, IDE+IA, ..., CASN (PCB)."""
    base = "PCB" if entry["pooling"] == "stripes" else "IDE"
    return f"CASN ({base})" if entry["variant"] == "casn" else entry["variant"].upper().replace("IDE", base)


def is_clear(value: Mapping[str, Any]) -> bool:
    """True where the interval leaves zero out."""
    return value["low"] is not None and (value["low"] > 0 or value["high"] < 0)


def cell(value: Mapping[str, Any] | None, sign: bool = False, mark: bool = False) -> str:
    """Mean and half of the interval; a difference whose interval leaves zero out is marked, and what ``mark`` says."""
    if value is None:
        return ""
    text = f"{round(value['mean'], 1) + 0.0:{'+' if sign else ''}.1f}"  # + 0.0: no minus before a zero
    if value["low"] is not None:
        text += f" ± {(value['high'] - value['low']) / 2:.1f}"
    return f"**{text}**" if mark or (sign and is_clear(value)) else text


def _cells(result: Mapping[str, Any], headings: Mapping[str, str]) -> list[dict[str, str]]:
    """One line of text cells for each setting; empty where none of the numbers was measured."""
    known = {n: text for n, text in headings.items() if any(n in entry["numbers"] for entry in result["groups"])}
    weights, cells = any(entry["weight"] for entry in result["groups"]), []
    for entry in result["groups"] if known else ():
        numbers, changes = entry["numbers"], entry.get("differences", {})
        row = {"model": model_name(entry)} | ({} if result["study"] == "variants" else {"setting": entry["setting"]})
        if headings is RANKING:
            row |= {"seeds": str(len(entry["seeds"]))} | {text: cell(numbers.get(n)) for n, text in known.items()}
            row |= {"weight": entry["weight"]} if weights else {}
            row |= {f"Δ {HEADINGS[n]}": cell(changes.get(n), sign=True) for n in SHOWN}
        else:
            clear = {n: n in changes and is_clear(changes[n]) for n in known}
            row |= {text: cell(numbers.get(n), mark=clear[n]) for n, text in known.items()}
        cells.append(row)
    return cells


def tables(result: Mapping[str, Any]) -> dict[str, Any]:
    """The study as tables of a page: ``ranking`` and, where attention was measured, ``one image`` and ``pairs``."""
    found = {"ranking": RANKING, "one image": ONE_IMAGE, "pairs": PAIRS}
    cells = {name: _cells(result, headings) for name, headings in found.items()}
    return {name: evaluation.table(rows) for name, rows in cells.items() if rows}


def to_text(result: Mapping[str, Any], table: Callable[[list[dict[str, str]]], Any] = evaluation.table) -> str:
    """The study as text: one line per setting, and what it could have seen."""
    lines = [str(table(_cells(result, RANKING))), "", caption(result), "", *power_lines(result)]
    claims = _cells(result, ONE_IMAGE | PAIRS)
    return "\n".join([*lines, *(["", str(table(claims)), "", CLAIMS_CAPTION] if claims else [])])


def markdown(result: Mapping[str, Any]) -> str:
    """The same in Markdown."""
    return to_text(result, markdown_table)


def markdown_table(rows: Sequence[Mapping[str, Any]], words: int = 99) -> str:
    """Rows with the same keys as a Markdown table; columns after the first ``words`` hold numbers, to the right."""
    rules = ["---" if number < words else "---:" for number in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (rows[0], *(row.values() for row in rows))]
    return "\n".join([lines[0], "|" + "|".join(rules) + "|", *lines[1:]])


def picture(result: Mapping[str, Any]) -> Figure:
    """Every setting's difference to its default, with intervals: rank-1, mAP and the two claims on attention.

    Raises:
        ValueError: no setting has a difference yet.
    """
    entries = [entry for entry in result["groups"] if entry.get("differences")]
    if not entries:
        raise ValueError("expected settings beside the default with a seed in common, found none: run more of them")
    base, names = "network without attention", [model_name(entry) for entry in entries]
    if result["study"] != "variants":
        base, names = "default", [f"{model_name(entry)}: {entry['setting']}" for entry in entries]
    wanted = (*SHOWN, "coverage_ia_train", "auc_siamese")
    panels = {HEADINGS[n]: [e["differences"].get(n) for e in entries] for n in wanted}
    panels = {heading: values for heading, values in panels.items() if any(values)}
    title = f"Difference to the {base}, {result['on']} people, paired by seed"
    return figures.show_differences(names, panels, title=title)


def best_per_mode(readings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each pooling, variant and mode the reading that was best on validation."""
    first: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for entry in readings:
        first.setdefault((entry["pooling"], entry["variant"], entry["mode"]), entry)
    return list(first.values())


def test_time_text(readings: Sequence[Mapping[str, Any]]) -> str:
    """Readings of the sum of features and attention, one line each."""
    rows = [
        {
            "model": model_name(entry),
            "attention": f"{entry['mode']}, t {entry['threshold']}",
            "normalised": f"{entry['normalisation']} per {entry['per']}",
            "weight": str(entry["chosen"]),
            "features alone": cell(entry["features"]),
            "with attention": cell(entry["test"]),
            "gain": cell(entry["gain"], sign=True),
            "the paper's sum": cell(entry["paper_sum"]),
        }
        for entry in readings
    ]
    return f"{TEST_TIME_CAPTION}\n{evaluation.table(rows)}"
