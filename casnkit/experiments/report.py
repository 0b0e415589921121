"""What a study found: means over seeds with 95 % intervals, tables, a picture and sentences."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import t as student

from casnkit import evaluation, figures
from casnkit.data.files import results_path
from casnkit.experiments.design import ARMS, STUDY

# the CSV that holds each
STUDIES = {"variants": "ablation", "misaligned": "ablation", "tries": "tries", "open-points": "open-points"}
HOW_TO = {name: f"nothing is published yet: `casnkit ablate --study {name}` measures it" for name in STUDIES}
SETTING = ["pooling", "variant", "setting"]
SHOWN = ("rank_1", "mean_ap")  # with their differences
# A trained pair classifier is held against one that equation 3 alone trained on the frozen network without attention.
FAIR = {f"{measure}_siamese": f"{measure}_frozen" for measure in ("distance_same", "auc")}
HEADINGS = {name: heading for table in STUDY["measures"].values() for name, heading in table.items()}
IDENTITY = ["study", "common", "profile", "split", "data", "identities", "queries", "gallery", "device"]
IDENTITY += ["casnkit", "python", "torch", "point", "setting", "variant", "pooling", "seed"]
CURVE = "mean_ap_at_weight."  # columns, also after "validation_"; a weight of attention follows
CLAIMS_CAPTION = " ".join(STUDY["caption"])


class Estimate(NamedTuple):
    """A mean over ``count`` seeds, the bounds of its 95 % interval (Student's t), the standard deviation, and p of a t test
    against zero; all but the mean are NaN for a single seed. Within a study p is corrected, see :func:`summary`.
    ``f"{estimate}"`` has half of the interval, ``f"{estimate:+}"`` a sign too."""

    mean: float
    low: float
    high: float
    deviation: float
    count: int
    p: float = math.nan

    @property
    def is_clear(self) -> bool:
        """True where p is below 0.05: without a correction, where the interval leaves zero out."""
        return self.p < 0.05

    def __format__(self, sign: str) -> str:
        text = f"{round(self.mean, 1) + 0.0:{sign}.1f}"  # + 0.0: no minus before a zero
        return text if math.isnan(self.low) else f"{text} ± {(self.high - self.low) / 2:.1f}"


def estimate(values: Sequence[float], pooled: tuple[float, int] | None = None) -> Estimate:
    """Mean of independent values, one per seed, with its interval. ``pooled``: deviation and degrees of freedom to use
    instead of the values' own: many settings with few seeds each say more together."""
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"expected finite numbers, one per seed, got {list(values)}")
    mean, own = numbers.mean(), numbers.std(ddof=1) if len(numbers) > 1 else math.nan
    deviation, freedom = pooled or (own, len(numbers) - 1)
    error = deviation / math.sqrt(len(numbers)) if freedom else math.nan
    margin, size = student.ppf(0.975, freedom) * error, abs(mean) / error if error else math.inf
    p = 2 * student.sf(size, freedom) if mean else 1.0
    return Estimate(*map(float, (mean, mean - margin, mean + margin, own)), len(numbers), float(p))


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's correction of p values for their number; NaN stays NaN and is not counted."""
    p = pd.Series(p, dtype=float)
    ordered = p.dropna().sort_values(kind="stable")
    corrected = (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1)
    return corrected.reindex(p.index).to_numpy()


def pooled_deviation(samples: Sequence[Sequence[float]]) -> tuple[float, int]:
    """One deviation of several samples, with its degrees of freedom; (NaN, 0) where all are of single seeds."""
    freedom = sum(len(values) - 1 for values in samples)
    squares = sum(len(values) * np.var(values) for values in samples)
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def smallest_difference(deviation: float, seeds: int, freedom: int) -> float:
    """The difference that ``seeds`` paired seeds would show with a probability of 80 %; their differences' ``deviation`` is
    known with so many degrees of ``freedom``."""
    return float(student.ppf([0.975, 0.8], freedom).sum()) * deviation / math.sqrt(seeds)


def paired(rows: pd.DataFrame) -> pd.DataFrame:
    """Every training's numbers less those of the same seed, which draws the same pairs and images: of the default, or, for
    a default, of the network without attention."""
    rows = rows.set_index([*SETTING, "seed"])
    if rows.index.duplicated().any():
        raise ValueError(f"expected one row per seed, found two of {rows.index[rows.index.duplicated()][0]}")
    bases = [(p, "ide" if s == "default" else v, "default", seed) for p, v, s, seed in rows.index]
    names = [name for name in HEADINGS if name in rows and FAIR.get(name, name) in rows]
    changes = rows[names] - rows[[FAIR.get(name, name) for name in names]].reindex(bases).to_numpy()
    return changes[[own != base for own, base in zip(rows.index, bases, strict=True)]].dropna(how="all")


def summary(rows: pd.DataFrame) -> dict[str, Any]:
    """Everything that tables, figures and notebooks show of a study, from one row for each training.

    ``groups``: one entry per setting with ``numbers`` (name -> :class:`Estimate`) and ``differences``, the same of
    :func:`paired`, with p by Holm's correction for all differences of the study together; ``deviation``: of each number's
    differences in all settings together, with its degrees of freedom, by which their intervals are; ``data``: what it was
    measured on; ``moved``: whether it has settings beside defaults.
    """
    changes = {key: change.dropna(axis=1) for key, change in paired(rows).groupby(SETTING, sort=False)}
    samples = {name: [change[name] for change in changes.values() if name in change] for name in HEADINGS}
    pooled, entries = {name: pooled_deviation(values) for name, values in samples.items()}, []
    for key, group in rows.groupby(SETTING, sort=False):
        numbers, weight = _with_sums(group)
        change = changes.get(key, pd.DataFrame())
        entry = group.iloc[0][["point", *SETTING]].to_dict() | {"seeds": group["seed"].tolist(), "weight": weight}
        entry["numbers"] = {name: estimate(numbers[name]) for name in numbers}
        entry["differences"] = {name: estimate(change[name], pooled[name]) for name in change}
        entries.append(entry)
    every = [(entry["differences"], name) for entry in entries for name in entry["differences"]]
    for (found, name), p in zip(every, holm([found[name].p for found, name in every]), strict=True):
        found[name] = found[name]._replace(p=float(p))
    order = list(ARMS)
    entries.sort(key=lambda entry: (entry["pooling"], order.index(entry["variant"]), bool(entry["differences"])))
    facts = {"data": rows.iloc[0][IDENTITY].to_dict(), "moved": rows["setting"].ne("default").any()}
    return {**facts, "deviation": pooled, "groups": entries}


def _with_sums(group: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """A setting's numbers with the paper's sum and the best one; the best one's weight."""
    best = best_sum(group)
    if best:
        group = group.assign(paper_sum_mean_ap=group[f"{CURVE}0.5"], weighted_mean_ap=group[best])
    return group[[name for name in HEADINGS if name in group]].dropna(axis=1), best.removeprefix(CURVE)


def best_sum(group: pd.DataFrame, way: str = "") -> str:
    """The column of the sum by the weight which is best, over seeds, on validation people; empty where there is none."""
    curve = group.filter(regex=f"^validation_{way}{CURVE}").mean(skipna=False)
    return curve.idxmax().removeprefix("validation_") if len(curve) and curve.notna().all() else ""


def published(study: str, folder: Path | None = None) -> dict[str, Any] | None:
    """The :func:`summary` of a published study (variants, open-points, or open-points-POINT-POINT for some of them); None
    where there is none yet. ``folder``: of the CSV files; default: those of the kit."""
    rows = read_results(STUDIES.get(study, "open-points"), folder)
    return None if rows is None or study not in set(rows["study"]) else summary(rows[rows["study"] == study])


def read_results(name: str, folder: Path | None = None) -> pd.DataFrame | None:
    """The rows of ``NAME.csv``; None where there is none."""
    path = Path(folder) / f"{name}.csv" if folder else results_path(f"{name}.csv")
    texts = {"common": "", "point": ""}
    return pd.read_csv(path, dtype=dict.fromkeys(texts, object)).fillna(texts) if path.is_file() else None


def verdicts(result: Mapping[str, Any]) -> list[str]:
    """The paper's claims, each with what the study's intervals say of it, written by rule."""
    lines = []
    for entry, (name, paper) in itertools.product(result["groups"], STUDY["claims"].items()):
        change = entry["differences"].get(name)
        if change and entry["variant"] in paper.get("arms", ARMS):
            texts = ["yes, {}", "no, the contrary: {}"][:: -1 if name.startswith("distance") else 1]  # lower is closer
            text = verdict(change, *texts, "not decided, {}", "one seed, {}: nothing to say")
            numbers = f"{change:+} over {change.count} seeds"
            lines.append(f"{model_name(entry):11} {paper['claim']} ({HEADINGS[name]}): {text.format(numbers)}")
    return lines


def verdict(change: Estimate, above: str, below: str, undecided: str, single: str) -> str:
    """One of four texts: the interval lies above zero, below, on both sides, or there is none."""
    if change.is_clear:
        return above if change.mean > 0 else below
    return single if math.isnan(change.low) else undecided


def caption(result: Mapping[str, Any]) -> str:
    """What was measured on what, in a sentence."""
    data, pooled = result["data"], ", their deviation pooled over all settings" * (len(result["groups"]) > 2)
    common = f"; {data['common']}" if data["common"] else ""
    return (
        f"{data['data']}, profile {data['profile']}, {data['split']}: {data['queries']} queries of {data['identities']} "
        f"people, {data['gallery']} gallery images{common}. Percent; mean ± half of the 95 % interval over seeds; "
        f"differences paired by seed{pooled}; marked where p < 0.05 after Holm's correction for all of them."
    )


def power_lines(result: Mapping[str, Any]) -> list[str]:
    """What the study can and cannot see, a sentence per number."""
    lines = []
    for name in SHOWN:
        counts = [entry["differences"][name].count for entry in result["groups"] if name in entry["differences"]]
        seeds, (deviation, freedom) = min((n for n in counts if n > 1), default=0), result["deviation"][name]
        if seeds:
            seen = smallest_difference(deviation, seeds, freedom)
            needed = (n for n in range(2, 1001) if smallest_difference(deviation, n, n - 1) <= 2)
            lines.append(
                f"{HEADINGS[name]}: differences paired by seed spread by {deviation:.1f} (standard deviation); {seeds} seeds "
                f"show {seen:.1f} points with a probability of 80 %; two points would need "
                f"{next(needed, 'more than 1000')} seeds."
            )
    return lines


def model_name(entry: Mapping[str, Any]) -> str:
    """The paper's name of a row: IDE, IDE+IA, ..., BCE (IDE), CASN (PCB)."""
    base = "PCB" if entry["pooling"] == "stripes" else "IDE"
    arm, comma, note = entry["variant"].partition(", ")
    name = arm.upper().replace("IDE", base)
    return f"{name if base in name else f'{name} ({base})'}{comma}{note}"


def cell(change: Estimate | None) -> str:
    """A difference, between asterisks where it is clear; empty where there is none."""
    text = f"{change:+}" if change else ""
    return f"**{text}**" if change and change.is_clear else text


def tables(result: Mapping[str, Any], table: Callable[[list], Any] = evaluation.table) -> dict[str, Any]:
    """The study as tables, a line for each setting: ``ranking`` and, with attention measured, ``one image`` and ``pairs``."""
    entries, found = result["groups"], {}
    for title, headings in STUDY["measures"].items():
        known, rows = [name for name in headings if any(name in entry["numbers"] for entry in entries)], []
        for entry in entries:
            numbers, changes = entry["numbers"], entry["differences"]
            row = {"model": model_name(entry)} | ({"setting": entry["setting"]} if result["moved"] else {})
            texts = {name: f"{numbers[name]}" if name in numbers else "" for name in known}
            if title == "ranking":
                row |= {"seeds": str(len(entry["seeds"]))} | {headings[name]: text for name, text in texts.items()}
                row |= {"weight": entry["weight"]} if any(each["weight"] for each in entries) else {}
                row |= {f"Δ {headings[name]}": cell(changes.get(name)) for name in SHOWN}
            else:
                clear = {name for name, change in changes.items() if change.is_clear}
                row |= {headings[name]: f"**{text}**" if name in clear else text for name, text in texts.items()}
            rows.append(row)
        found |= {title: table(rows)} if known else {}
    return found


def to_text(result: Mapping[str, Any], table: Callable[[list], Any] = evaluation.table) -> str:
    """The study as text: its tables, and what it could have seen."""
    ranking, *claims = tables(result, table).values()
    parts = [ranking, caption(result), "\n".join(power_lines(result)), *claims, CLAIMS_CAPTION if claims else ""]
    return "\n\n".join(filter(None, map(str, parts)))


def markdown_table(rows: Sequence[Mapping[str, Any]], words: int = 99) -> str:
    """Rows with the same keys as a Markdown table; columns after the first ``words`` hold numbers, to the right."""
    rules = ["---" if number < words else "---:" for number in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (rows[0], *(row.values() for row in rows))]
    return "\n".join([lines[0], "|" + "|".join(rules) + "|", *lines[1:]])


def picture(result: Mapping[str, Any]) -> Figure:
    """Every setting's difference to its default, with intervals: rank-1, mAP and the two claims on attention."""
    entries, panels = [entry for entry in result["groups"] if entry["differences"]], {}
    if not entries:
        raise ValueError("expected settings beside the default with a seed in common, found none: run more of them")
    names = [model_name(entry) + f": {entry['setting']}" * bool(result["moved"]) for entry in entries]
    for name in (*SHOWN, "coverage_ia_train", "auc_siamese"):
        changes = [entry["differences"].get(name) for entry in entries]
        if any(changes):
            panels[HEADINGS[name]] = [c and {**c._asdict(), "clear": c.is_clear} for c in changes]
    base = "default" if result["moved"] else "network without attention"
    title = f"Difference to the {base}, {result['data']['split']} people, paired by seed"
    return figures.show_differences(names, panels, title=title)
