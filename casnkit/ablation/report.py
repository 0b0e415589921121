"""A study's result as text, Markdown and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casnkit import evaluation
from casnkit.data.files import read_json

from .summary import SHOWN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    "paper_sum_mean_ap": "mAP, the paper's sum",
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


def tables(result: Mapping[str, Any]) -> dict[str, evaluation.Table]:
    """The study as tables of a page: ``ranking`` and, where attention was measured, ``one image`` and ``pairs``."""
    claims = _claim_cells(result)
    of_pairs = {heading(name) for name in CLAIMS if name.startswith(("auc", "cue"))}
    rows = {
        "ranking": _cells(result),
        "one image": [{key: text for key, text in row.items() if key not in of_pairs} for row in claims],
        "pairs": [{key: text for key, text in row.items() if key in {"model", *of_pairs}} for row in claims],
    }
    return {name: evaluation.table(lines) for name, lines in rows.items() if lines}


def _markdown_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return lines + ["| " + " | ".join(row.values()) + " |" for row in rows]


def caption(result: Mapping[str, Any]) -> str:
    """What was measured on what, in a sentence."""
    data, common = result["data"], result["groups"][0]["setting"].partition(" [")[2].rstrip("]")
    return (
        f"{data['data']}, profile {data['profile']}, {data['split']}: {data['queries']} queries of {data['identities']} "
        f"people, {data['gallery']} gallery images{'; ' + common if common else ''}. Percent; mean ± half of the 95 % "
        "interval over seeds; differences paired by seed"
        + (", their deviation pooled over all settings" if result["pooled"] else "")
        + "; marked where the interval leaves zero out."
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
    extra = ("attention_mean_ap", "paper_sum_mean_ap", "weighted_mean_ap")
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
    return {"model": model_name(entry)} | (
        {} if result["study"] == "variants" else {"setting": short(entry["setting"])}
    )


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
        "of the 95 % interval over seeds, gains paired by seed, marked where the interval leaves zero out. "
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
    mean = round(value["mean"], 1) + 0.0  # no minus before a zero
    text = f"{mean:+.1f}" if sign else f"{mean:.1f}"
    if value["low"] is not None:
        text += f" ± {(value['high'] - value['low']) / 2:.1f}"
        mark |= sign and (value["low"] > 0 or value["high"] < 0)
    return f"**{text}**" if mark else text


def picture(result: Mapping[str, Any]) -> Figure:
    """Every setting's difference to its default, with intervals: rank-1, mAP and the two claims on attention.

    Raises:
        ValueError: no setting has a difference yet.
    """
    from casnkit.figures import show_differences

    entries = [entry for entry in result["groups"] if entry.get("differences")]
    if not entries:
        raise ValueError("expected settings beside the default with a seed in common, found none: run more of them")
    wanted = (*SHOWN, "coverage_ia_train", "auc_siamese")
    numbers = [n for n in wanted if any(n in entry["differences"] for entry in entries)]
    names = [_entry_name(entry, result["study"]) for entry in entries]
    panels = {heading(n): [entry["differences"].get(n) for entry in entries] for n in numbers}
    base = "network without attention" if result["study"] == "variants" else "default"
    return show_differences(names, panels, title=f"Difference to the {base}, {result['on']} people, paired by seed")


def draw(result: Mapping[str, Any], out: Path) -> list[Path]:
    """The study's picture, written to ``out``; none where nothing can be compared yet."""
    from casnkit.figures import save_figure

    if not any(entry.get("differences") for entry in result["groups"]):
        return []
    path = out / f"ablation-{result['study']}-{result['on']}.png"
    save_figure(picture(result), path, alt=f"Differences with 95 % intervals. {' '.join(power_lines(result))}")
    return [path]


def _entry_name(entry: Mapping[str, Any], study: str) -> str:
    return model_name(entry) if study == "variants" else f"{model_name(entry)}: {short(entry['setting'])}"


def short(setting: str) -> str:
    """A setting without what held for the whole study."""
    return setting.partition(" [")[0]


HOW_TO = {
    "variants": "figures/ablation.json is not there yet: `casnkit ablate --publish` makes it",
    "open-points": "figures/open-points.json is not there yet: `casnkit ablate --study open-points --publish` makes it",
    "test-time": "figures/test-time.json is not there yet: `casnkit ablate --study test-time --publish` makes it",
}
_FILES = {"variants": "ablation.json", "open-points": "open-points.json", "test-time": "test-time.json"}


def published(study: str, folder: Path | None = None) -> dict[str, Any] | None:
    """The result that ``casnkit ablate --publish`` wrote, None where there is none yet.

    Args:
        study: variants, open-points or test-time.
        folder: default: ``figures`` here, or beside the folder of the notebooks.

    Raises:
        ValueError: an unknown study.
    """
    if study not in _FILES:
        raise ValueError(f"expected a study out of {', '.join(_FILES)}, got {study!r}")
    found = [place / _FILES[study] for place in places(folder) if (place / _FILES[study]).is_file()]
    return read_json(found[0]) if found else None


def places(folder: Path | None = None) -> list[Path]:
    """Where published results may lie, seen from the project's folder, the notebooks' and that of their solutions."""
    return [folder] if folder else [Path("figures"), Path("../figures"), Path("../../figures")]


def verdicts(result: Mapping[str, Any]) -> list[str]:
    """The paper's claims, each with what the study's intervals say of it, written by rule."""
    claims = {
        "ide+ia": ("IA makes attention cover more of the person", "coverage_ia_train"),
        "ide+sa": ("SA makes attention agree across images", "auc_siamese"),
    }
    lines = []
    for entry in result["groups"]:
        found = entry.get("differences", {})
        checks = [claims[entry["variant"]]] if entry["variant"] in claims else list(claims.values())
        checks += [("finds people better", name) for name in SHOWN]
        for claim, name in checks if found else []:
            if name in found:
                lines.append(f"{model_name(entry):11} {claim} ({heading(name)}): {_judged(found[name])}")
    return lines


def _judged(value: Mapping[str, Any]) -> str:
    numbers = f"{cell(value, sign=True).strip('*')} over {value['count']} seeds"
    if value["low"] is None:
        return f"one seed, {numbers}: nothing to say"
    if value["low"] > 0:
        return f"yes, {numbers}"
    return f"no, the contrary: {numbers}" if value["high"] < 0 else f"not decided, {numbers}"
