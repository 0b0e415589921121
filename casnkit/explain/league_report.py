"""A league in words: the table, and sentences that follow from its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..evaluation import Table

COLUMNS = {
    "method": "method",
    "energy": "energy",
    "pointing": "pointing",
    "iou": "IoU",
    "cue": "cue",
    "deletion": "deletion p",
    "insertion": "insertion p",
    "deletion_ap": "deletion AP",
    "insertion_ap": "insertion AP",
    "pair": "pair cls",
    "untrained": "untrained",
    "partner": "partner",
    "sane": "sane",
    "speed": "ms/pair",
}
SANITY = ("method", "pair", "untrained", "partner", "sane", "speed")  # the second table of a page
LEGEND = """\
energy, pointing, IoU: percent on the person, +- half the 95 % interval over pairs, (the same map moved at random).
cue: look-alikes, percent of pairs with more weight on the part in which the two differ than on the rest.
deletion, insertion: area under the curve of the probability p and of the average precision AP while the strongest pixels
  of one image go or come first, minus that of random masks of the same area and shape, in points: deletion is good
  below 0, insertion above 0; AP on right matches alone.
pair cls, untrained, partner: correlation of the map with that beside a random pair classifier, of an untrained network,
  beside another partner; * fails its limit. sane: all sanity checks passed."""


def league_table(result: dict[str, Any]) -> str:
    """The result of :func:`casnkit.explain.league.run_league` as text: a line per method, and what the columns mean."""
    from ..evaluation import table

    notes = [f"note: {note}" for note in result["notes"]]
    return "\n".join([league_head(result), table(*_cells(result)), LEGEND, *notes])


def league_head(result: dict[str, Any]) -> str:
    """Which network, which pairs, and where it was computed, in a line."""
    counts = ", ".join(f"{number} {kind}" for kind, number in result["pairs"].items())
    total, threads = sum(result["pairs"].values()), result["threads"]
    place = result["device"] if result["device"] != "cpu" else f"cpu ({threads} thread{'s' * (threads != 1)})"
    return f"{result['variant']} ({result['pooling']}) on {result['data']}: {total} test pairs ({counts}), {place}"


def league_tables(result: dict[str, Any]) -> dict[str, Table]:
    """The league as two tables of a page: ``maps`` (where they lie, what their pixels are worth) and ``sanity``."""
    from ..evaluation import table

    rows, columns = _cells(result)
    maps = {key: name for key, name in columns.items() if key == "method" or key not in SANITY}
    return {"maps": table(rows, maps), "sanity": table(rows, {key: columns[key] for key in SANITY if key in columns})}


def _cells(result: dict[str, Any]) -> tuple[list[dict[str, str]], dict[str, str]]:
    """A row per method, and the headings of the columns in which anything was measured."""
    rows = [_row(entry) for entry in result["methods"]]
    return rows, {key: name for key, name in COLUMNS.items() if any(row[key] != "-" for row in rows)}


def findings(result: dict[str, Any]) -> list[str]:
    """What the table says of equation 4's map, beside the plain mean, and which methods do better; from numbers alone."""
    entries = {entry["method"]: entry for entry in result["methods"]}
    sentences = []
    paper = entries.get("siamese")
    if paper is not None:
        sentences.append(_about_equation_4(paper))
        if "plain-mean" in paper["over"] and "energy" in paper["localisation"]:
            sentences.append(_beside(paper["over"]["plain-mean"]["energy"], "Equation 4's map", "the plain mean"))
    sane = [name for name, entry in entries.items() if entry["sanity"]["passed"]]
    sentences.append(
        f"All sanity checks are passed by {_listed(sane)} ({len(sane)} of {len(entries)} methods)."
        if sane
        else f"None of {len(entries)} methods passes all sanity checks."
    )
    if paper is not None and "energy" in paper["localisation"]:
        better = [
            name for name in sane if name != "siamese" and entries[name]["over"]["siamese"]["energy"]["low"] is not None
        ]
        better = [name for name in better if entries[name]["over"]["siamese"]["energy"]["low"] > 0]
        gain = [f"{name} (+{100 * entries[name]['over']['siamese']['energy']['mean']:.1f} points)" for name in better]
        if better and not paper["sanity"]["passed"]:
            quick = [name for name in better if entries[name]["cost"] == "forward"]
            closed = (
                f"of these {_listed(quick)} cost no more than equation 4"
                if quick
                else "all of them cost more to compute"
            )
            sentences.append(
                f"Better than equation 4 in both sanity and energy on the person: {_listed(gain)}; {closed}."
            )
        else:
            sentences.append("No method is better than equation 4 in both sanity and energy on the person.")
    return sentences


def _about_equation_4(entry: dict[str, Any]) -> str:
    lines = {line["name"]: line for line in entry["sanity"]["lines"]}
    pair, partner = lines["pair classifier"], lines["partner"]
    blind = pair["value"] is None or pair["value"] > 0.8
    verdict = "depends on" if pair["passed"] else "hardly depends on" if blind else "depends only in part on"
    return (
        f"Equation 4's map {verdict} the pair classifier: with a random one it correlates "
        f"{_two(pair['value'])}; beside another partner {_two(partner['value'])}."
    )


def _beside(difference: dict[str, Any], name: str, other: str) -> str:
    points = [100 * difference[key] for key in ("mean", "low", "high")]
    if points[1] > 0:
        verdict = "more"
    elif points[2] < 0:
        verdict = "less"
    else:
        return (
            f"{name} lies on the person as much as {other}, as far as these pairs can tell ({points[0]:+.1f} points)."
        )
    interval = f"[{points[1]:+.1f}, {points[2]:+.1f}]"
    return f"{name} has {verdict} of its energy on the person than {other}: {points[0]:+.1f} points {interval}."


def _row(entry: dict[str, Any]) -> dict[str, str]:
    lines = {line["name"]: line for line in entry["sanity"]["lines"]}
    curves = {(row["curve"], row["axis"]): row for row in entry["faithfulness"]}
    places = {key: _place(entry["localisation"].get(key)) for key in ("energy", "pointing", "iou", "cue")}
    return {
        "method": entry["method"],
        **places,
        "deletion": _points(curves.get(("deletion", "probability"))),
        "insertion": _points(curves.get(("insertion", "probability"))),
        "deletion_ap": _points(curves.get(("deletion", "average_precision"))),
        "insertion_ap": _points(curves.get(("insertion", "average_precision"))),
        "pair": _correlation(lines["pair classifier"]),
        "untrained": _correlation(lines["everything"]),
        "partner": _correlation(lines["partner"]),
        "sane": "yes" if entry["sanity"]["passed"] else "no",
        "speed": f"{1000 * entry['seconds_per_pair']:.1f}",
    }


def _place(found: dict[str, Any] | None) -> str:
    if found is None or found["mean"] is None:
        return "-"
    chance = "" if found["chance"] is None else f" ({100 * found['chance']:.0f})"
    return f"{100 * found['mean']:.0f} ±{50 * (found['high'] - found['low']):.0f}{chance}"


def _points(row: dict[str, Any] | None) -> str:
    if row is None or row["difference"] is None:
        return "-"
    return f"{100 * row['difference']:+.1f} ±{50 * (row['high'] - row['low']):.1f}"


def _correlation(line: dict[str, Any]) -> str:
    return _two(line["value"]) + ("" if line["passed"] else "*")


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


__all__ = ["COLUMNS", "LEGEND", "findings", "league_head", "league_table", "league_tables"]
