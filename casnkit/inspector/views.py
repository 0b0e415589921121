"""What is on the screen: for each tab its controls, and the function that fills its sections from a desk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from casnkit.explain import METHODS
from casnkit.explain.correspondence import correspondence_of
from casnkit.explain.league import read_league
from casnkit.explain.masks import FILLS
from casnkit.explain.pair import Counterfactual
from casnkit.inspector import filters, payload
from casnkit.inspector.desk import Desk
from casnkit.inspector.networks import Network, printable
from casnkit.inspector.notes import Note, Notes
from casnkit.inspector.pairs import Pair
from casnkit.inspector.rankings import MARKS, TILES, QueryRanking, Tile
from casnkit.inspector.whatif import hides_of

Section = dict[str, Any]
MOST_OPTIONS = 400  # of a list to choose from; beyond, a number is typed
MOST_FAILURES = 40  # tiles of the grid
TARGETS = {"same": "same person", "different": "different people", "log-odds": "log-odds of same",
           "identity": "the identities", "agreement": "one identity", "similarity": "feature similarity"}  # fmt: skip
WAYS = {"features": "features", "attention": "attention", "sum": "features and attention"}
BESIDE = {  # more maps of the same pair: words, methods
    "nothing": ("this map alone", ()),
    "plain mean": ("the plain mean of the channels", ("plain-mean",)),
    "fast": ("five methods", ("siamese", "plain-mean", "similarity", "layer-gradcam", "identification")),
}
EXPORTS = (("pdf", "PDF"), ("svg", "SVG"), ("png", "PNG"), ("csv", "ranking as CSV"), ("json", "state as JSON"))
button = partial(payload.control, kind="button")
check = partial(payload.control, kind="check")


def select(name: str, label: str, options: Iterable[Sequence[Any]], **fields: Any) -> Section:
    """A list to choose from: (value, words) or (value, words, hint) each."""
    return payload.control(name, "select", label, options=[list(option) for option in options], **fields)


@cache
def league_verdicts() -> dict[str, str]:
    """For each method of the published league: whether it passed the sanity checks, and its energy on the person."""
    try:
        league = read_league()
    except (OSError, ValueError):
        return {}
    sane, energy = league.sane(), {method: league.row(method, "energy") for method in league.methods()}
    passed = {m: "passed all sanity checks" if m in sane else "failed a sanity check" for m in energy}
    return {
        m: passed[m] + (f", {row.value:.0%} of its energy on the person" if row else "") for m, row in energy.items()
    }


def _top_controls(desk: Desk) -> list[Section]:
    """Those above all tabs: what is looked at."""
    found, people, query, hint = desk.candidates(), desk.library.query, desk.current.query, desk.place()
    if len(found) <= MOST_OPTIONS:
        listed = found if query in found else [query, *found]
        choose = select("query", "Query", [(i, f"{i}: {people.who(i)}") for i in listed], hint=hint)
    else:
        limits = {"min": 0, "max": len(people.split) - 1, "step": 1}
        choose = payload.control("query", "number", "Query", hint=hint, **limits)
    return [
        button("previous", label="\u2039", hint="the query before, in this order"), choose,
        button("next", label="\u203a", hint="the next query, in this order"),
        select("network", "Network", [(name, name) for name in desk.library.sources]),
        select("ranked_by", "Ranked by", [(name, WAYS[name]) for name in desk.ways()]),
        check("show_ignored", label="Show left-out", hint="what the protocol does not count"),
    ]  # fmt: skip


def _pair_controls(desk: Desk) -> list[Section]:
    """The explanation, and how it is drawn."""
    methods = [(name, record.label, league_verdicts().get(name, "")) for name, record in METHODS.items()]
    return [
        select("method", "Map", methods),
        select("target", "Of", [(name, TARGETS[name]) for name in METHODS[desk.current.method].targets]),
        select("beside", "Beside", [(name, words) for name, (words, _) in BESIDE.items()]),
        check("random_weights", label="Random weights"),
        button(
            "pin", label="Pin" if desk.current.pinned is None else "Unpin", hint="keep the gallery picture to compare"
        ),
        *payload.LOOK,
    ]


def _compare_controls(desk: Desk) -> list[Section]:
    """The other side."""
    names = [(name, name) for name in desk.library.sources if name != desk.current.network]
    return [select("other", "Compare with", [("", "features alone, of this network"), *names])]


def _failure_controls(desk: Desk) -> list[Section]:
    """Which queries, in which order."""
    state, record, both = desk.current, filters.FILTERS[desk.current.filter], bool(desk.current.other)
    found = [select("filter", "Queries", [(name, f.label.format(x="x"), f.why) for name, f in filters.FILTERS.items()
                                          if both or not f.other])]  # fmt: skip
    if record.value is not None:
        limits = dict(zip(("min", "max", "step"), record.limits, strict=True))
        found.append(payload.control("filter_value", "number", "x", **limits, hint=record.text(state.filter_value)))
    orders = [(name, label) for name, (label, _, other) in filters.ORDERS.items() if both or not other]
    return [*found, select("order", "Order", orders), button("clear", label="All queries", hint="no filter, no range")]


def _hide_controls(desk: Desk) -> list[Section]:
    """What is hidden, and what is put there."""
    hides = [(name, name) for name in hides_of(desk.network(), desk.current.hide_in)]
    return [
        select("hide", "Hide", hides, hint="or drag a rectangle over a picture"),
        select("hide_in", "In", [("query", "query"), ("gallery", "gallery picture")]),
        payload.control("share", "range", "Share of the pixels", min=0.05, max=0.95, step=0.05),
        select("fill", "Fill with", [(name, name) for name in FILLS]),
    ]


def tile_of(desk: Desk, tile: Tile, **fields: Any) -> Section:
    """An entry of a strip."""
    j, pictures, (status, words) = tile.gallery, desk.library.gallery, MARKS[tile.status]
    about = {"gallery": j, "rank": tile.position or None, "distance": f"{tile.distance:.3f}", "status": status}
    about |= {"caption": f"{pictures.who(j)}: {words}", "name": printable(pictures.key(j))}
    chosen = {"chosen": j == desk.gallery, "pinned": j == desk.current.pinned}
    return {**desk.thumbnail("gallery", j), **about, **chosen, **fields}


def strip_of(desk: Desk, ranking: QueryRanking, title: str, page: int = 0) -> Section:
    """A page of a ranking."""
    ignored = desk.current.show_ignored
    tiles = [tile_of(desk, tile) for tile in ranking.page(page, ignored)]
    return payload.strip(f"{title} \u00b7 {ranking.scores()}", tiles, page, ranking.pages(ignored), ranking.protocol())


def picture_of(desk: Desk, side: str, i: int, image: Image.Image | None = None) -> Section:
    """One of the pair's two pictures, or another one in its place."""
    pictures = getattr(desk.library, side)
    image, error = image or pictures.shown(i), printable(pictures.errors.get(i, ""))
    return payload.picture(image, f"{side} {i}: {pictures.who(i)}", printable(pictures.key(i)), error)


def method_of(desk: Desk, j: int, method: str, target: str, random: bool = False, maps: Any = None) -> Section:
    """The two maps of the query and a gallery image by one method, with what must be said of them."""
    network, record = desk.network(), METHODS[method]
    maps = desk.maps(desk.current.query, j, "", method, target, random) if maps is None else maps
    judges, note = network.pair_trained or target not in ("same", "different", "log-odds"), ""
    if random:
        note = "the same network with random weights: what a map shows that knows nothing"
    elif not judges:
        note = "the pair classifier was not trained: the map shows what the trunk finds active, and is no reason"
    elif method.startswith("siamese") and target == "log-odds":
        note = "equation 4's map of the log-odds is that of 'same person'"
    league = "" if random else league_verdicts().get(method, "")
    about = {"target": TARGETS[target], "signed": record.signed, "judges": judges and not random, "league": league}
    return payload.method(method, record.label + ", random weights" * random, maps, note=note, **about)


def methods_of(desk: Desk, j: int) -> list[Section]:
    """The chosen map, and those that are shown beside it."""
    state, shown = desk.current, [(desk.current.method, desk.current.target)]
    for method in BESIDE.get(state.beside, ("", ()))[1]:
        targets = METHODS[method].targets
        shown.append((method, state.target if state.target in targets else targets[0]))
    found = [method_of(desk, j, *how) for how in dict.fromkeys(shown)]
    return found + ([method_of(desk, j, *shown[0], random=True)] if state.random_weights else [])


def numbers_of(pair: Pair, ranking: QueryRanking, j: int) -> list[Section]:
    """Every number that is said of a pair; the fused score spelled out."""
    tile = ranking.tile(j)
    found = [("rank", str(tile.position) if tile.position else "not counted", MARKS[tile.status][1])]
    found.append(("feature distance", f"{pair.feature:.3f}", "lower is closer"))
    if pair.judges:
        found.insert(1, ("p(same)", f"{pair.probability:.3f}", "the pair classifier's probability of one person"))
        found.append(("attention distance", f"{pair.attention:.3f}", "equation 5, lower is closer"))
    if pair.terms:
        spelled = " + ".join(f"{weight:g} \u00b7 {value:.3f} ({name})" for name, (value, weight) in pair.terms.items())
        found.append(("sum", f"{pair.fused:.3f} = {spelled}", "both distances on one scale, weighed"))
    return [payload.number(*entry) for entry in found]


def pair_of(desk: Desk, j: int | None = None) -> Section:
    """The query beside a gallery image."""
    j = desk.gallery if j is None else j
    ranking, pair, query, network = desk.ranking(), desk.pair(j), desk.current.query, desk.network()
    pictures, (status, words) = (
        [picture_of(desk, "query", query), picture_of(desk, "gallery", j)],
        MARKS[ranking.tile(j).status],
    )
    heading = f"query {query} and gallery picture {j}: {words}"
    if any(picture["error"] for picture in pictures):
        return payload.pair(*pictures, status, [], heading=heading, note=" ".join(p["error"] for p in pictures))
    maps = [network.one(side, i).feature_maps for side, i in (("query", query), ("gallery", j))]
    with torch.no_grad():
        like = next(network.model.parameters())
        matrix = correspondence_of(network.model, *(m.to(like) for m in maps))[0].float().cpu().numpy()
    matched = payload.correspondence(matrix, [m.shape[2:] for m in maps], float(matrix.sum()))
    about = {
        "judges": pair.judges,
        "verdict": pair.verdict,
        "numbers": numbers_of(pair, ranking, j),
        "heading": heading,
    }
    about |= {"correspondence": matched, "note": printable(" ".join(desk.hints))}
    return payload.pair(*pictures, status, methods_of(desk, j), **about)


def _fill_pair(desk: Desk, notes: Notes) -> dict[str, Section]:
    """The pair, large."""
    return {"pair": pair_of(desk)}


def _fill_compare(desk: Desk, notes: Notes) -> dict[str, Section]:
    sides, found, names = desk.sides(), desk.sided(), desk.library.gallery
    left, right = (strip_of(desk, ranking, side.label) for ranking, side in zip(found, sides, strict=True))
    places = [{tile["gallery"]: k for k, tile in enumerate(strip["tiles"])} for strip in (left, right)]
    lines = [
        {"gallery": j, "from": places[0].get(j), "to": places[1].get(j), "status": MARKS[found[1].tile(j).status][0]}
        for j in dict.fromkeys([*places[0], *places[1]])
    ]
    rows = [["true match", *(f"rank: {side.label}" for side in sides), "places"]]
    for j in found[1].matches[:MOST_FAILURES].tolist():
        before, after = (int(ranking.ranking.position[j]) for ranking in found)
        glyph = "\u25b2" if after < before else "\u25bc" if after > before else "="
        rows.append([printable(names.key(j)), str(before), str(after), f"{glyph} {abs(before - after)}"])
    untrained = dict.fromkeys(side.network.name for side in sides if not side.network.pair_trained)
    note = " ".join(f"{name} judges nothing: it ranks by features alone." for name in untrained)
    title = f"query {desk.current.query}: {len(found[1].matches)} true matches under two rankings"
    return {"compare": {"title": title, "left": left, "right": right, "lines": lines, "table": rows, "note": note}}


def _fill_failures(desk: Desk, notes: Notes) -> dict[str, Section]:
    table, found, tiles, bars = desk.table(), desk.candidates(), [], []
    for i in found[:MOST_FAILURES]:
        ap = "no true match" if not table.num_matches[i] else f"AP {100 * table.average_precision[i]:.0f} %"
        own = {"query": i, "query_src": desk.thumbnail("query", i)["src"], "chosen": i == desk.current.query}
        own |= {"caption": f"query {i}: {ap}"}
        tiles.append(tile_of(desk, desk.ranking(i).tile(desk.ranking(i).first()), **own))
    for name, (label, *_) in filters.HISTOGRAMS.items():
        counts, edges = filters.histogram(table, name)
        if counts.any():
            about = {
                "edges": edges.tolist(),
                "counts": counts.tolist(),
                "range": desk.current.to_dict()["ranges"].get(name),
            }
            bars.append({"name": name, "label": label, **about})
    shown = f", the first {MOST_FAILURES} are shown" * (len(found) > MOST_FAILURES)
    note = f"{len(found)} of {len(table.top)} queries: {desk.words()}{shown}." if found else "No query fits."
    return {"failures": {"tiles": tiles, "histograms": bars, "note": note}}


def _fill_what_if(desk: Desk, notes: Notes) -> dict[str, Section]:
    state, j, before, network = desk.current, desk.gallery, desk.ranking(), desk.network()
    found = {"before": strip_of(desk, before, "as it is")}
    if state.hide == "rectangle" and state.rectangle is None:
        hint = "Drag a rectangle over one of the two pictures, or choose above what to hide."
        return {"what_if": found | {"pair": pair_of(desk), "note": hint}}
    outcome = desk.outcome()
    after = desk.ranked(state.query, outcome.found.distances_after, network)
    changed = {state.hide_in: outcome.picture}
    pictures = [picture_of(desk, side, i, changed.get(side)) for side, i in (("query", state.query), ("gallery", j))]
    maps, heading = [method_of(desk, j, state.method, state.target, maps=outcome.maps)], f"hidden: {outcome.note}"
    pair = payload.pair(*pictures, MARKS[before.tile(j).status][0], maps, judges=network.pair_trained, heading=heading)
    control = {"title": f"Control: {outcome.control_note}", "numbers": effects(outcome.control, network)}
    note = "Only the difference between what was hidden and the control speaks for the map."
    found |= {"pair": pair, "after": strip_of(desk, after, "after hiding"), "control": control, "note": note}
    return {"what_if": found | {"numbers": effects(outcome.found, network)}}


def effects(found: Counterfactual, network: Network) -> list[Section]:
    """What hiding changed, in numbers."""
    ranks, stay = found.position, np.isin(found.before.kept[:TILES], found.after.kept[:TILES])
    numbers = [("rank", "{} \u2192 {}".format(*ranks) if ranks[0] else "not counted")]
    numbers += [("p(same)", "{:.3f} \u2192 {:.3f}".format(*found.probability))] if network.pair_trained else []
    numbers.append(("distance", "{:.3f} \u2192 {:.3f}".format(*found.distance)))
    numbers.append(("first ten kept", f"{stay.sum()} of {len(stay)}"))
    if found.before.first_hit >= 0:
        ap = (100 * ranking.average_precision for ranking in (found.before, found.after))
        numbers.append(("AP", "{:.1f} \u2192 {:.1f} %".format(*ap)))
    return [payload.number(*entry) for entry in [*numbers, ("hidden", f"{found.hidden:.0%} of the picture")]]


def _fill_notes(desk: Desk, notes: Notes) -> dict[str, Section]:
    notes.read()
    pictures, query = desk.library.query, desk.current.query
    number = {pictures.key(i): i for i in range(len(pictures.split))}
    note = notes.notes.get(pictures.key(query), Note())
    listed = [{"query": number.get(key), "name": printable(key), "text": n.text, "tags": n.tags}
              for key, n in notes.notes.items()]  # fmt: skip
    found = {"text": note.text, "tags": note.tags, "saved": f"on {printable(pictures.key(query))}", "list": listed}
    return {"notes": found | {"exports": EXPORTS, "presets": sorted(notes.presets)}}


class Tab(NamedTuple):
    """A tab: its controls, and what fills its sections."""

    controls: Callable[[Desk], list[Section]]
    fill: Callable[[Desk, Notes], dict[str, Section]]


TABS = {  # an extension is one entry here
    "pair": Tab(_pair_controls, _fill_pair),
    "compare": Tab(_compare_controls, _fill_compare),
    "failures": Tab(_failure_controls, _fill_failures),
    "what_if": Tab(_hide_controls, _fill_what_if),
    "notes": Tab(lambda desk: [], _fill_notes),
}


def view_of(desk: Desk, notes: Notes) -> dict[str, Section]:
    """All sections of the open tab; those of other tabs are empty."""
    tab, found = desk.current.tab, {name: {} for name in payload.SECTIONS}
    found["state"] = desk.current.to_dict() | {"ranked_by": desk.ranked_by(), "gallery": desk.gallery}
    opened = {name: entry.controls(desk) if name == tab else [] for name, entry in TABS.items()}
    found["controls"] = {"": _top_controls(desk), **opened}
    if tab in ("pair", "notes"):
        found["strip"] = strip_of(
            desk, desk.ranking(), f"{desk.network().name} by {desk.ranked_by()}", desk.current.page
        )
    return found | TABS[tab].fill(desk, notes)
