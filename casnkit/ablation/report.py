"""A study's result as text, Markdown and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from casnkit import evaluation

from .summary import SHOWN, Row

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
    "weighted_mean_ap": "mAP, weighted sum",
}
CLAIMS = {  # what the paper says of attention, each beside the plain mean of the feature map
    "coverage_ia_train": "IA covers, train",
    "coverage_ia": "IA covers",
    "spill_ia": "IA spills",
    "energy_inside_ia": "IA inside",
    "coverage_plain": "plain covers",
    "spill_plain": "plain spills",
    "energy_inside_plain": "plain inside",
    "energy_inside_uniform": "chance inside",
    "auc_siamese": "SA agrees (AUC)",
    "auc_plain": "plain agrees (AUC)",
    "cue_pairs_siamese": "SA right cue",
    "cue_pairs_different": "not-same right cue",
    "cue_pairs_plain": "plain right cue",
    "cue_pairs_plain_chance": "chance right cue",
}


def to_text(result: Mapping[str, Any]) -> str:
    """The study as text: one line per setting, and what it could have seen."""
    lines = [caption(result), evaluation.table(_cells(result)), *power_lines(result)]
    claims = _claim_cells(result)
    return "\n".join([*lines, *(["", CLAIMS_CAPTION, evaluation.table(claims)] if claims else [])])


def markdown(result: Mapping[str, Any]) -> str:
    """The study as a Markdown table."""
    lines = [*_markdown_table(_cells(result)), "", caption(result), "", *power_lines(result)]
    claims = _claim_cells(result)
    return "\n".join([*lines, *(["", *_markdown_table(claims), "", CLAIMS_CAPTION] if claims else [])])


def _markdown_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return lines + ["| " + " | ".join(row.values()) + " |" for row in rows]


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


CLAIMS_CAPTION = (
    "Covers: share of the person above half of the map's maximum (train: of training images, explained by their true "
    "identity). Spills: share of that area beside the person. Inside: share of the map that lies on the person. "
    "Agrees: the distance of equation 5 alone as a matcher, area under its ROC curve, chance 50. Right cue: share of "
    "look-alike pairs with more weight per pixel on the one part that differs; not-same: Grad-CAM of -z_1. "
    "Between asterisks where the difference "
    "to the network without attention leaves zero out."
)


def _cells(result: Mapping[str, Any]) -> list[dict[str, str]]:
    extra = ("attention_mean_ap", "sum_mean_ap", "weighted_mean_ap")
    numbers = [n for n in (*SHOWN, *extra) if any(n in entry["numbers"] for entry in result["groups"])]
    cells = []
    for entry in result["groups"]:
        row = _names(entry, result) | {"seeds": str(len(entry["seeds"]))}
        row |= {heading(name): cell(entry["numbers"].get(name)) for name in numbers}
        if any("fusion" in other for other in result["groups"]):
            row["weight"] = entry.get("fusion", {}).get("chosen", "")
        row |= {f"Δ {heading(name)}": cell(entry.get("differences", {}).get(name), sign=True) for name in SHOWN}
        cells.append(row)
    return cells


def _claim_cells(result: Mapping[str, Any]) -> list[dict[str, str]]:
    known = [name for name in CLAIMS if any(name in entry["numbers"] for entry in result["groups"])]
    if not known:
        return []
    return [
        _names(entry, result) | {heading(n): cell(entry["numbers"].get(n), mark=_is_clear(entry, n)) for n in known}
        for entry in result["groups"]
    ]


def _names(entry: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, str]:
    return {"model": model_name(entry)} | ({} if result["study"] == "variants" else {"setting": entry["setting"]})


def _is_clear(entry: Mapping[str, Any], name: str) -> bool:
    value = entry.get("differences", {}).get(name)
    return value is not None and value["low"] is not None and (value["low"] > 0 or value["high"] < 0)


def test_time_text(entries: Sequence[Mapping[str, Any]]) -> str:
    """Readings of the sum of features and attention, one line each."""
    rows = [
        {
            "model": model_name(entry),
            "attention": f"{entry['mode']}, t {entry['threshold']}",
            "normalised": f"{entry['normalisation']} per {entry['per']}",
            "weight": entry["chosen"],
            "features alone": cell(entry["features"]),
            "with attention": cell(entry["test"]),
            "gain": cell(entry["gain"], sign=True),
            "the paper's sum": cell(entry["paper_sum"]),
        }
        for entry in entries
    ]
    caption = (
        "mAP in percent on the test people; t, normalisation and attention's weight chosen on other people; mean ± half "
        "of the 95 % interval over seeds, gains paired by seed, between asterisks where the interval leaves zero out. "
        "plain: row profiles of the plain mean map instead of Siamese attention. The paper's sum: weight 0.5."
    )
    return f"{caption}\n{evaluation.table(rows)}"


def heading(name: str) -> str:
    """A number's name in a table."""
    return HEADINGS.get(name) or CLAIMS.get(name) or name.replace("_", " ")


def model_name(entry: Mapping[str, Any]) -> str:
    """The paper's name of a row: IDE, IDE+IA, ..., CASN (PCB)."""
    base = "PCB" if entry["pooling"] == "stripes" else "IDE"
    return f"CASN ({base})" if entry["variant"] == "casn" else entry["variant"].upper().replace("IDE", base)


def cell(value: Mapping[str, Any] | None, sign: bool = False, mark: bool = False) -> str:
    """Mean and half of the interval; a difference whose interval leaves zero out is marked, and what ``mark`` says."""
    if value is None:
        return ""
    text = f"{value['mean']:+.1f}" if sign else f"{value['mean']:.1f}"
    if value["low"] is not None:
        text += f" ± {(value['high'] - value['low']) / 2:.1f}"
        mark |= sign and (value["low"] > 0 or value["high"] < 0)
    return f"**{text}**" if mark else text


def draw(result: Mapping[str, Any], rows: Sequence[Row], out: Path) -> list[Path]:
    """The study's pictures, written to ``out``."""
    from casnkit.figures import save_figure
    from casnkit.figures.ablation import show_differences

    entries = [entry for entry in result["groups"] if entry.get("differences")]
    if not entries:
        return []
    wanted = (*SHOWN, "coverage_ia_train", "auc_siamese")
    numbers = [n for n in wanted if any(n in entry["differences"] for entry in entries)]
    names = [_entry_name(entry, result["study"]) for entry in entries]
    panels = {heading(n): [entry["differences"].get(n) for entry in entries] for n in numbers}
    figure = show_differences(names, panels, title=f"Difference to the default, {result['on']} people, by seed")
    path = out / f"ablation-{result['study']}-{result['on']}.png"
    save_figure(figure, path, alt=f"Differences with 95 % intervals. {' '.join(power_lines(result))}")
    return [path]


def _entry_name(entry: Mapping[str, Any], study: str) -> str:
    return model_name(entry) if study == "variants" else f"{model_name(entry)}: {entry['setting']}"
