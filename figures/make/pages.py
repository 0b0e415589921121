"""Fill README.md and docs/results.md from ``figures/results``: ``python figures/make/pages.py``.

What stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is made of a table that a command wrote; :data:`BLOCKS` says
how. A test holds pages and tables together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lessons
import pandas as pd
import readings

from casnkit.data.files import write_text
from casnkit.experiments import report
from casnkit.explain.league import findings, league_table, read_league

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/results.md")


def renew(root: Path = ROOT) -> list[Path]:
    """Fill every block of both pages. Returns the pages that changed."""
    changed = []
    for page in (root / name for name in PAGES):
        text = before = page.read_text(encoding="utf-8")
        for name in BLOCKS:
            if f"<!-- {name} -->" in text:
                text = with_block(text, name, BLOCKS[name]())
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


def listed(sentences: list[str]) -> str:
    """Sentences as a Markdown list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def study(name: str) -> str:
    """A published study in Markdown."""
    return report.to_text(report.published(name), report.markdown_table)


def ablation_in_short() -> str:
    """The paper's rows with what matters most: accuracy, its difference, and what the attention does."""
    variants = report.published("variants")
    columns = {"rank_1": "rank-1", "mean_ap": "mAP", "coverage_ia_train": "covers", "auc_siamese": "agrees"}
    rows = []
    for entry in variants["groups"]:
        row = {"network": report.model_name(entry)}
        row |= {short: f"{entry['numbers'][name].mean:.1f}" for name, short in columns.items()}
        changes = {short: entry["differences"].get(name) for name, short in columns.items() if name != "rank_1"}
        rows.append(row | {f"Δ {short}": report.cell(change) for short, change in changes.items()})
    data, seeds = variants["data"], min(len(entry["seeds"]) for entry in variants["groups"])
    note = (
        f"{data['data']}, profile {data['profile']}: {data['queries']} queries of {data['identities']} people, "
        f"{data['gallery']} gallery images; percent, means of {seeds} seeds. Δ: to the network without attention, paired "
        "by seed, ± half of the 95 % interval, bold where it leaves zero out. Covers: share of the person above half of "
        "the identification map's maximum, training images. Agrees: equation 5's distance alone as a matcher, area "
        "under the ROC curve, chance 50."
    )
    return f"{report.markdown_table(rows)}\n\n{note}"


def league() -> str:
    """The league's table and what it says."""
    found = read_league()
    return f"{fenced(league_table(found))}\n\n{listed(findings(found))}"


def speed(bench: str) -> pd.DataFrame:
    """One bench's figures: a row for each subject, a column for each measure."""
    rows = pd.read_csv(lessons.TIMES.with_name("speed.csv"))
    rows = rows[rows["bench"] == bench]
    table = rows.pivot(index="subject", columns="measure", values="value")
    return table.loc[rows["subject"].unique(), rows["measure"].unique()]


def speed_table(bench: str) -> str:
    """One bench in Markdown, with the machine that it ran on."""
    table = speed(bench).map(
        lambda value: "" if pd.isna(value) else f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"
    )
    rows = pd.read_csv(lessons.TIMES.with_name("speed.csv")).query("bench == @bench")
    place = f"{rows['device'].iloc[0]}, {rows['threads'].iloc[0]} threads, torch {rows['torch'].iloc[0]}"
    return f"{report.markdown_table(table.reset_index().to_dict('records'), words=1)}\n\nMedians; {place}."


def speed_in_short() -> str:
    """One line a bench, as ratios where there is something to compare with."""
    pairs, work, rank = speed("attention"), speed("train"), speed("ranking")["seconds"]
    lines: dict[str, Any] = {}
    for precision in ("float32", "bf16"):
        row = pairs.loc[f"engine, {precision}"]
        lines[f"Siamese attention of all pairs, {precision}"] = (
            f"{row['pairs per second']:,.0f} pairs/s: {row['times autograd']:.0f} times autograd in batches, "
            f"{row['times captum']:.0f} times captum pair by pair; {row['time over its floor']:.2f} times the time of its "
            "bare matrix products"
        )
    theirs = speed("explain")["times ours"].dropna()
    lines["the same explanation by captum"] = (
        f"captum's own call takes {theirs.min():.2f} to {theirs.max():.2f} times as long, by method"
    )
    steps = work.loc[work.index.str.endswith(", casn"), "times ide"]
    lines["a training step of CASN"] = f"{steps.min():.2f} to {steps.max():.2f} times the baseline's"
    size = speed("ranking").loc["matrix"]
    lines[f"the protocol, {size['queries']:,.0f} × {size['gallery']:,.0f}"] = (
        f"{rank['evaluate_ranking']:.2f} s; numpy's sort of the same matrix {rank['numpy sort']:.2f} s"
    )
    screen = speed("inspector")
    answers = ", ".join(f"{name} {screen.loc[name, 'median ms']:.0f} ms" for name in ("page", "first map", "slider"))
    lines[f"the inspector, gallery of {screen.loc['gallery', 'images']:,.0f}"] = f"{answers}, medians"
    return report.markdown_table([{"what": what, "measured": text} for what, text in lines.items()])


BLOCKS: dict[str, Callable[[], str]] = {
    "notebooks": lessons.markdown,
    "ablation in short": ablation_in_short,
    "ablation": lambda: study("variants"),
    "test time": lambda: fenced(readings.to_text(report.read_results("test-time"))),
    "open points": lambda: study("open-points"),
    "siamese points": lambda: study("open-points-pair_rate-siamese_mode-pair_activation-pair_order"),
    "league in short": lambda: listed(findings(read_league())),
    "league": league,
    "speed in short": speed_in_short,
    "bench attention": lambda: speed_table("attention"),
    "bench train": lambda: speed_table("train"),
    "bench ranking": lambda: speed_table("ranking"),
    "bench explain": lambda: speed_table("explain"),
    "bench inspector": lambda: speed_table("inspector"),
}

if __name__ == "__main__":
    print(*renew(), sep="\n")
