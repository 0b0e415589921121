"""The numbers of README.md and docs/results.md: each block between two markers is made of a file that a command wrote.

``<!-- league -->`` ... ``<!-- /league -->`` comes from ``figures/league.json``, and so on; :data:`BLOCKS` says how. A test
holds pages and files together. Commands with ``--publish`` write their file, and the pages follow.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from casnkit.data.files import read_json, write_json, write_text

PAGES = ("README.md", "docs/results.md")
BENCHES = ("attention", "train", "ranking", "explain", "inspector")
FIGURES = Path("figures")
SIAMESE_POINTS = "open-points-pair_rate-siamese_mode-pair_activation-pair_order"


def publish(name: str, result: Mapping[str, Any]) -> None:
    """Write ``figures/NAME.json`` in the project's folder."""
    write_json(FIGURES / f"{name}.json", dict(result))


def renew_pages(root: Path) -> list[Path]:
    """Fill every block of every page below ``root`` whose file is there. Returns the pages that changed."""
    changed = []
    for page in (root / name for name in PAGES):
        if not page.is_file():
            continue
        before = text = page.read_text(encoding="utf-8")
        for name in [name for name in BLOCKS if f"<!-- {name} -->" in text]:
            content = BLOCKS[name](root / FIGURES)
            text = with_block(text, name, content) if content else text
        if text != before:
            write_text(page, text)
            changed.append(page)
    return changed


def with_block(text: str, name: str, content: str) -> str:
    """``text`` with what stands between the markers of ``name`` replaced by ``content``.

    Raises:
        ValueError: the markers are not both there.
    """
    before, begin, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not begin or not end:
        raise ValueError(f"expected the markers <!-- {name} --> and <!-- /{name} --> in the text, found not both")
    return f"{before}{begin}{content.rstrip()}\n{end}{after}"


def fenced(text: str) -> str:
    """Text as a Markdown code block."""
    return f"```text\n{text.rstrip()}\n```"


def _read(figures: Path, name: str) -> dict[str, Any] | None:
    path = figures / f"{name}.json"
    return read_json(path) if path.is_file() else None


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row.values())) + " |" for row in rows)])


def _study(figures: Path, name: str) -> str:
    from casnkit.experiments import ablation as report

    result = _read(figures, name)
    return report.markdown(result) if result else ""


def _test_time(figures: Path) -> str:
    from casnkit.experiments import ablation as report
    from casnkit.experiments import ablation as testtime

    result = _read(figures, "test-time")
    return fenced(report.test_time_text(testtime.best_per_mode(result["readings"]))) if result else ""


def _ablation_in_short(figures: Path) -> str:
    """The paper's rows with what matters most: accuracy, its difference, and what the attention does."""
    from casnkit.experiments import ablation as report

    result = _read(figures, "ablation")
    if not result:
        return ""
    columns = {"rank_1": "rank-1", "mean_ap": "mAP", "coverage_ia_train": "covers", "auc_siamese": "agrees"}
    rows = []
    for entry in result["groups"]:
        row = {"network": report.model_name(entry)}
        row |= {short: f"{entry['numbers'][name]['mean']:.1f}" for name, short in columns.items()}
        row |= {
            f"Δ {short}": report.cell(entry.get("differences", {}).get(name), sign=True)
            for name, short in columns.items()
            if name != "rank_1"
        }
        rows.append(row)
    data, seeds = result["data"], min(len(entry["seeds"]) for entry in result["groups"])
    note = (
        f"{data['data']}, profile {data['profile']}: {data['queries']} queries of {data['identities']} people, "
        f"{data['gallery']} gallery images; percent, means of {seeds} seeds. Δ: to the network without attention, paired "
        "by seed, ± half of the 95 % interval, bold where it leaves zero out. Covers: share of the person above half of "
        "the identification map's maximum, training images. Agrees: equation 5's distance alone as a matcher, area "
        "under the ROC curve, chance 50."
    )
    return f"{_table(rows)}\n\n{note}"


def _league(figures: Path) -> str:
    from .explain.league import findings, league_table

    result = _read(figures, "league")
    return f"{fenced(league_table(result))}\n\n{_listed(findings(result))}" if result else ""


def _league_in_short(figures: Path) -> str:
    from .explain.league import findings

    result = _read(figures, "league")
    return _listed(findings(result)) if result else ""


def _listed(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _bench(name: str) -> Callable[[Path], str]:
    def content(figures: Path) -> str:
        result = _read(figures, f"bench-{name}")
        return fenced(importlib.import_module(f"casnkit.bench.{name}").to_text(result)) if result else ""

    return content


def _speed_in_short(figures: Path) -> str:
    """One line a bench, as ratios where there is something to compare with."""
    found = {name: _read(figures, f"bench-{name}") for name in BENCHES}
    if not all(found.values()):
        return ""
    benches = {name: result for name, result in found.items() if result}
    return _table([*_speed_of_maps(benches), *_speed_of_work(benches)])


def _speed_of_maps(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = {row["name"]: row for row in found["attention"]["rows"]}
    lines = []
    for precision in ("float32", "bf16"):
        row = rows[f"engine, {precision}"]
        text = (
            f"{row['pairs_per_second']:,.0f} pairs/s: {row['speed_over_autograd']:.0f} times autograd in batches, "
            f"{row['speed_over_captum']:.0f} times captum pair by pair; {row['time_over_floor']:.2f} times the time of "
            "its bare matrix products"
        )
        lines.append({"what": f"Siamese attention of all pairs, {precision}", "measured": text})
    ratios = [row["over_ours"] for row in found["explain"]["rows"] if "captum" in str(row["rival"])]
    text = f"captum's own call takes {min(ratios):.2f} to {max(ratios):.2f} times as long, by method"
    return [*lines, {"what": "the same explanation by captum", "measured": text}]


def _speed_of_work(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    ratios = {(r["network"], r["precision"]): r["ratio to ide"] for r in found["train"]["rows"] if r["step"] == "casn"}
    values = sorted(map(float, ratios.values()))
    rank, seconds = found["ranking"], found["ranking"]["seconds"]
    ms = found["inspector"]["milliseconds"]
    answers = {
        "a training step of CASN": f"{values[0]:.2f} to {values[-1]:.2f} times the baseline's",
        f"the protocol, {rank['queries']:,} × {rank['gallery']:,}": (
            f"{seconds['evaluate_ranking']:.2f} s; numpy's sort of the same matrix {seconds['numpy sort']:.2f} s"
        ),
        f"the inspector, gallery of {found['inspector']['gallery']:,}": (
            f"page {ms['page change']['median']:.0f} ms, first map {ms['map, first time']['median']:.0f} ms, slider "
            f"{ms['slider']['median']:.0f} ms, medians"
        ),
    }
    return [{"what": what, "measured": text} for what, text in answers.items()]


def _notebook_times(figures: Path) -> str:
    from . import course

    return course.table(figures)


BLOCKS: dict[str, Callable[[Path], str]] = {
    "notebooks": _notebook_times,
    "ablation in short": _ablation_in_short,
    "ablation": lambda figures: _study(figures, "ablation"),
    "test time": _test_time,
    "open points": lambda figures: _study(figures, "open-points"),
    "siamese points": lambda figures: _study(figures, SIAMESE_POINTS),
    "league in short": _league_in_short,
    "league": _league,
    "speed in short": _speed_in_short,
    **{f"bench {name}": _bench(name) for name in BENCHES},
}
