"""Fill README.md and docs/results.md from ``figures/results``: ``python figures/make/pages.py``.

What stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is made of a table that a command wrote; :data:`BLOCKS` says
how. A test holds pages and tables together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import correspondence
import lessons
import pandas as pd
import readings

from casnkit.config import profile
from casnkit.data.files import write_text
from casnkit.experiments import report
from casnkit.experiments.design import ARMS, chosen
from casnkit.explain.league import findings, league_table, read_league

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/results.md", "docs/using.md")


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


UNFINISHED = (
    "The designed study is not finished. What stands here are the rows of the ablation before it: default strengths, "
    "people as is, three seeds."
)
WORLDS = {"variants": "people as is", "misaligned": "misaligned people"}


def results(name: str) -> pd.DataFrame | None:
    """A table of ``figures/results``; None where it was not made yet."""
    return report.read_results(name)


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """The primary comparisons of the ablation, with global pooling, from the rows of its worlds: a line for each.

    ``mAP``: of the features, against ``ide``; ``fused mAP``: of the sum whose weight is best on other people, for arms with
    a trained pair classifier, against ``ide`` with the profile of its plain mean. ``difference`` paired by seed, ``low`` and
    ``high`` of its 95 % interval, ``p`` of a t test (deviation pooled over the arms of a world), ``p_holm`` after Holm's
    correction over all lines; below 0.05 is significant.
    """
    lines = []
    for (world, measure), changes in changes_of(rows):
        pooled = report.pooled_deviation(list(changes.values()))
        for arm, values in changes.items():
            found = report.estimate(values, pooled)
            line = {"world": world, "measure": measure, "arm": arm, "difference": found.mean, "low": found.low}
            lines.append(line | {"high": found.high, "seeds": found.count, "p": found.p})
    table = pd.DataFrame(lines)
    return table.assign(p_holm=report.holm(table["p"])).sort_values("p", kind="stable", ignore_index=True)


def changes_of(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str], dict[str, pd.Series]]]:
    """World and measure, and by arm the paired differences, a value for each seed."""
    for world, own in rows[rows["pooling"] == "gap"].groupby("study", sort=False):
        arms = {arm: group.set_index("seed") for arm, group in own.groupby("variant", sort=False)}
        base, others = arms["ide"], {arm: arms[arm] for arm in ARMS if arm in arms and arm != "ide"}
        yield (world, "mAP"), {arm: (group["mean_ap"] - base["mean_ap"]).dropna() for arm, group in others.items()}
        sums = {arm: group[best] for arm, group in others.items() if (best := report.best_sum(group))}
        if plain := report.best_sum(base, "plain_"):
            yield (world, "fused mAP"), {arm: (values - base[plain]).dropna() for arm, values in sums.items()}


def comparisons() -> pd.DataFrame:
    """The primary comparisons of the ablation, in words."""
    table = compared(results("ablation").query("study in @WORLDS"))
    table["world"] = table["world"].map(WORLDS)
    table["arm"] = [report.model_name({"variant": arm, "pooling": "gap"}) for arm in table["arm"]]
    return table


def primary() -> str:
    """The primary comparisons in Markdown, the smallest p first."""
    rows = [
        {"world": row.world, "measure": row.measure, "arm": row.arm, "seeds": row.seeds}
        | {"difference": f"{row.difference:+.1f}", "95 %": f"{row.low:+.1f} to {row.high:+.1f}"}
        | {"p": f"{row.p:.3g}", "p after Holm": f"{row.p_holm:.3g}"}
        for row in comparisons().itertuples()
    ]
    unfinished = "" if finished() else f"{UNFINISHED}\n\n"
    count = int((comparisons()["p_holm"] < 0.05).sum())
    told = f"{count} of {len(rows)} are significant after the correction. The prediction was none, but for erasing."
    return f"{unfinished}{report.markdown_table(rows, 3)}\n\n{told}"


def finished() -> bool:
    """Whether the rows of the designed ablation are there: every arm in both worlds, five seeds."""
    rows = results("ablation").query("study in @WORLDS and pooling == 'gap'")
    counts = rows.groupby(["study", "variant"]).size()
    return len(counts) == len(WORLDS) * len(ARMS) and counts.min() >= 5


def told(rows: pd.DataFrame) -> str:
    """Which arms differ after the correction, and within what span all of them lie."""
    sure = [f"{r.arm} {r.difference:+.1f} (p {r.p_holm:.2g})" for r in rows.itertuples() if r.p_holm < 0.05]
    says = f"significant after the correction: {', '.join(sure)}" if sure else "no arm differs after the correction"
    return f"{says} (all from {rows['difference'].min():+.1f} to {rows['difference'].max():+.1f})"


def controlled() -> pd.DataFrame | None:
    """The arms' feature mAP against IDE at its default learning rate, as :func:`compared`; None where it was not trained."""
    base = results("control")
    if base is None:
        return None
    rows = results("ablation").query("study in @WORLDS and pooling == 'gap'")
    table = compared(pd.concat([rows.query("variant != 'ide'"), base])).query("measure == 'mAP'")
    table["p_holm"] = report.holm(table["p"])
    table["world"] = table["world"].map(WORLDS)
    table["arm"] = [report.model_name({"variant": arm, "pooling": "gap"}) for arm in table["arm"]]
    return table


def control() -> str:
    """The control in Markdown."""
    table = controlled()
    if table is None:
        return "Not measured yet: `python figures/make/control.py` does it."
    base = results("control").groupby("study", sort=False)["mean_ap"]
    levels = "; ".join(f"{WORLDS[study]} {values.mean():.1f}" for study, values in base)
    rows = [
        {"world": r.world, "arm": r.arm, "seeds": r.seeds, "difference": f"{r.difference:+.1f}"}
        | {"95 %": f"{r.low:+.1f} to {r.high:+.1f}", "p after Holm": f"{r.p_holm:.3g}"}
        for r in table.itertuples()
    ]
    return f"mAP of IDE at its default learning rate: {levels}.\n\n{report.markdown_table(rows, 2)}"


def cell_by_cell() -> str:
    """What the correspondence of pairs is worth: its tables, in percent."""
    tables = correspondence.summary(results("correspondence"))
    parts = tables["parts"].query("study == 'variants'").drop(columns="study")
    changes, scores = tables["consistency"], tables["plausibility"].query("study == 'variants'")
    scores = scores.query("score in ('auc_mutual_weight', 'auc_same_place') and matrix in ('cosine', 'excess')")
    texts = [report.markdown_table(parts.to_dict("records"), 2)]
    for table, columns in ((changes, ["study", "matrix", "arm", "than"]), (scores, ["matrix", "score", "arm"])):
        rows = [
            {name: line[name] for name in columns}
            | {"seeds": line["seeds"], "difference": f"{line['mean']:+.1f}"}
            | {"95 %": f"{line['low']:+.1f} to {line['high']:+.1f}", "p after Holm": f"{line['p_holm']:.2g}"}
            for line in table.query("seeds > 1").to_dict("records")
        ]
        texts.append(report.markdown_table(rows, len(columns)))
    return "\n\n".join(texts)


def named(rows: pd.DataFrame) -> str:
    """World by world, the arms that differ after the correction, with their points of mAP."""
    parts = []
    for world, own in sorted(rows.groupby("world"), key=lambda pair: pair[0], reverse=True):
        arms = ", ".join(f"{r.arm} {r.difference:+.1f}" for r in own.itertuples() if r.p_holm < 0.05)
        parts.append(f"{world}: {arms or 'none differs'}")
    return "; ".join(parts)


def found() -> list[str]:
    """What was found, in five sentences that are made of the tables."""
    table, lines = comparisons(), [] if finished() else [UNFINISHED]
    by_measure = {measure: named(own) for measure, own in table.groupby("measure")}
    better = (
        f"**Do these networks find people better?** By features, against IDE, in points of mAP, over {table['seeds'].min()} "
        f"seeds and after a correction for {len(table)} comparisons: {by_measure['mAP']}."
    )
    if (against := controlled()) is not None:
        better += (
            f" Much of that is the learning rate: the tries chose {chosen('ide')['learning_rate']} for IDE, all others kept "
            f"{profile('quick').train.learning_rate}; against IDE at that rate: {named(against)}."
        )
    lines.append(better)
    lines.append(
        "**Does attention help in the test?** By the sum of both distances, against IDE with the row profile of its "
        f"channels' plain mean: {by_measure['fused mAP']}."
    )
    study = {(e["pooling"], e["variant"]): e for e in report.published("variants")["groups"]}
    covers = study["gap", "casn"]["differences"]["coverage_ia_train"]
    lines.append(
        f"**Identification attention covers more of the person**: CASN {covers:+} points of the person above half of the "
        "map's maximum, on training images."
    )
    rows = results("alpha").query("pair_classifier == 'trained'")
    weaker, swap = 100 * rows["weaker"], 100 * rows["swap_overlap"]
    lines.append(
        "**Siamese attention does not show what both pictures share.** Equation 4's alpha picks the channels in which "
        f"picture 1 is weaker ({weaker.min():.0f} to {weaker.max():.0f} % of them); exchanging the pictures keeps "
        f"{swap.min():.0f} to {swap.max():.0f} % of alpha. And equation 5, with a larger weight, collapses to one profile "
        "for everybody."
    )
    rows = results("correspondence").query("study == 'variants' and variant == 'casn'")
    same = 100 * rows.groupby("matrix")["same_part"].mean()
    lines.append(
        f"**Cell by cell, the similarity joins equal parts of the body** in {same['cosine']:.0f} % of its weight, and in "
        f"{same['excess']:.0f} % of what two separate maps cannot tell (CASN, {rows['seed'].nunique()} seeds); chance is "
        f"{same['chance']:.0f} %, plain position {same['position']:.0f} %."
    )
    return lines


def found_in_detail() -> list[str]:
    """What was found, in sentences that are made of the tables."""
    table, lines = comparisons(), [] if finished() else [UNFINISHED]
    for (world, measure), rows in table.groupby(["world", "measure"], sort=False):
        what = "feature mAP against IDE" if measure == "mAP" else "fused mAP against IDE with its plain mean's profile"
        lines.append(f"**{world.capitalize()}, {what}** ({rows['seeds'].min()} seeds or more): {told(rows)}.")
    study = report.published("variants")
    covers = [(report.model_name(e), e["differences"].get("coverage_ia_train")) for e in study["groups"]]
    covers = [f"{name} {change:+}" for name, change in covers if change and change.low > 5]
    lines.append(
        f"**Identification attention covers more of the person** ({'; '.join(covers)} points, training images)."
    )
    for entry in study["groups"]:
        change, auc = (entry["differences"].get(f"{name}_siamese") for name in ("distance_same", "auc"))
        if change and auc and entry["variant"] in ("ide+sa", "casn"):
            name = report.model_name(entry)
            says = report.verdict(
                change, "lie further apart than", "lie closer than", "lie as far apart as", "(one seed)"
            )
            lines.append(
                f"**{name}: maps of one person {says}** those of a pair classifier trained on the frozen network "
                f"without attention (100 × distance {change:+}); as a matcher they are {auc:+} points of AUC from it."
            )
    alpha = results("alpha")
    for kind, says in {"trained": "a trained pair classifier", "random": "a random one"}.items():
        rows = alpha[alpha["pair_classifier"] == kind]
        same, swap = (100 * rows[name] for name in ("weaker", "swap_overlap"))
        lines.append(
            f"**Alpha of {says}** equals [f⁻ < 0] (picture 1 is weaker) in {same.min():.0f} to {same.max():.0f} % of the "
            f"channels; exchanging the pictures keeps {swap.min():.0f} to {swap.max():.0f} % of it (chance "
            f"{100 * rows['swap_chance'].mean():.0f} %)."
        )
    loud = results("gradients").set_index(["network", "when", "term"])["relative"].loc["gap-casn"] * 100
    parts = [f"{n} {loud['start', n]:.1f} and {loud['trained', n]:.1f} %" for n in ("ia", "bce", "consistency")]
    lines.append(
        f"**The attention losses are quiet**: of the identification loss's gradient in the trunk, {', '.join(parts)} at the "
        "start and after training."
    )
    collapse = results("collapse")
    if collapse is not None:
        for margin, rows in collapse.groupby("margin", sort=False):
            soft, full = (
                rows.loc[rows["consistency_weight"].map(pick(rows["consistency_weight"]))].iloc[0] for pick in PICKS
            )
            same, different, auc, ranked = (
                f"{soft[name]:.0f} → {full[name]:.0f}" for name in (*DISTANCES, "auc_siamese", "mean_ap")
            )
            lines.append(
                f"**Equation 5, {margin}, its weight {soft['consistency_weight']:g} → {full['consistency_weight']:g}**: "
                f"100 × distance of one person's maps {same}, of two people's {different}; AUC {auc}, mAP {ranked} (one "
                "seed)."
            )
    return lines


DISTANCES = ("distance_same_siamese", "distance_different_siamese")
PICKS = (lambda weights: weights.min().__eq__, lambda weights: weights.max().__eq__)  # the quietest, the loudest


def table_of(name: str) -> str:
    """A small table as it stands in its file."""
    rows = results(name)
    if rows is None:
        return "Not measured yet."
    texts = rows.drop(columns=["casnkit", "torch", "device"]).map(lambda v: f"{v:.3g}" if isinstance(v, float) else v)
    return report.markdown_table(texts.to_dict("records"), 2)


def photographs() -> str:
    """The rows on photographs."""
    rows = results("photographs")
    if rows is None:
        return "Not measured yet: `python figures/make/photographs.py FOLDER WEIGHTS` does it."
    parts = []
    for _, own in rows.groupby("data", sort=False):
        frozen, chance = own.iloc[0][["frozen_mean_ap", "chance_mean_ap"]]
        level = f"mAP of the trunk's features before any training {frozen:.1f}, of a random order {chance:.1f}."
        parts += [report.to_text(report.summary(own), report.markdown_table), level]
    return "\n\n".join(parts)


def tries() -> str:
    """What was tried for each arm on other people."""
    rows = results("tries")
    if rows is None:
        return "Not measured yet."
    lines = []
    for arm, own in rows.groupby("variant", sort=False):
        values = own["setting"].str.partition("=")[2]
        texts = [f"{value} ({score:.1f})" for value, score in zip(values, own["mean_ap"], strict=True)]
        line = {"arm": arm, "field": own["point"].iloc[0], "tried (feature mAP)": ", ".join(texts)}
        lines.append(line | {"chosen": values[own["mean_ap"].idxmax()]})
    return report.markdown_table(lines)


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
    return report.markdown_table([{"what": what, "measured": text} for what, text in lines.items()])


BLOCKS: dict[str, Callable[[], str]] = {
    "notebooks": lessons.markdown,
    "found": lambda: listed(found()),
    "found in detail": lambda: listed(found_in_detail()),
    "control": control,
    "correspondence": cell_by_cell,
    "primary": primary,
    "tries": tries,
    "ablation": lambda: study("variants"),
    "misaligned": lambda: study("misaligned") if report.published("misaligned") else "Not measured yet.",
    "alpha": lambda: table_of("alpha"),
    "gradients": lambda: table_of("gradients"),
    "collapse": lambda: table_of("collapse"),
    "photographs": photographs,
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
