"""What is on the screen: for each tab its controls, and the function that fills its sections from a desk."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from casnkit.explain import METHODS
from casnkit.explain.correspondence import correspondence_of
from casnkit.explain.league import read_league
from casnkit.explain.masks import FILLS
from casnkit.explain.pair import Counterfactual
from casnkit.inspector import filters, payload
from casnkit.inspector.desk import Desk
from casnkit.inspector.networks import Network
from casnkit.inspector.notes import Notes
from casnkit.inspector.pairs import Pair, labels
from casnkit.inspector.rankings import MARKS, TILES, QueryRanking, Tile
from casnkit.inspector.whatif import hides_of

Section = dict[str, Any]
MOST_OPTIONS = 400  # of a list to choose from; beyond, a number is typed
MOST_FAILURES = 40  # tiles of the grid
TARGETS = {"same": "same person", "different": "different people", "log-odds": "log-odds of same",
           "identity": "the identities", "agreement": "one identity", "similarity": "feature similarity"}  # fmt: skip
BESIDE = {  # more maps of the same pair: words, methods
    "nothing": ("this map alone", ()),
    "plain mean": ("the plain mean of the channels", ("plain-mean",)),
    "fast": ("five methods", ("siamese", "plain-mean", "similarity", "layer-gradcam", "identification")),
}
EXPORTS = (("pdf", "PDF"), ("svg", "SVG"), ("png", "PNG"), ("csv", "ranking as CSV"), ("json", "state as JSON"))


@functools.cache
def league_verdicts() -> dict[str, str]:
    """For each method of the published league: whether it passed the sanity checks, and its energy on the person."""
    try:
        league = read_league()
    except (OSError, ValueError):
        return {}
    sane, said = league.sane(), {}
    for method in league.methods():
        energy = league.row(method, "energy")
        share = f", {energy.value:.0%} of its energy on the person" if energy is not None else ""
        said[method] = f"{'passed all' if method in sane else 'failed a'} sanity check{'s' * (method in sane)}{share}"
    return said


def top_controls(desk: Desk) -> list[Section]:
    """Those above all tabs: what is looked at."""
    state, found, people = desk.current, desk.candidates(), desk.library.query
    queries = [[i, f"{i}: {people.who(i)}", people.name(i)] for i in found[:MOST_OPTIONS]]
    if state.query not in found[:MOST_OPTIONS]:
        queries = [[state.query, f"{state.query}: {people.who(state.query)}", people.name(state.query)], *queries]
    hint = desk.place()
    if len(found) <= MOST_OPTIONS:
        choose = payload.control("query", "select", "Query", options=queries, hint=hint)
    else:
        last = len(people.split) - 1
        choose = payload.control("query", "number", "Query", min=0, max=last, step=1, hint=hint)
    networks = [[name, name] for name in desk.library.sources]
    ways = {"features": "features", "attention": "attention", "sum": "features and attention"}
    return [
        payload.control("previous", "button", "\u2039", hint="the query before, in this order"),
        choose,
        payload.control("next", "button", "\u203a", hint="the next query, in this order"),
        payload.control("network", "select", "Network", options=networks),
        payload.control("ranked_by", "select", "Ranked by", options=[[name, ways[name]] for name in desk.ways()]),
        payload.control("show_ignored", "check", "Show what the protocol leaves out"),
    ]


def pair_controls(desk: Desk) -> list[Section]:
    """The explanation, and how it is drawn."""
    methods = [[name, record.label, league_verdicts().get(name, "")] for name, record in METHODS.items()]
    targets = [[name, TARGETS[name]] for name in METHODS[desk.current.method].targets]
    return [
        payload.control("method", "select", "Map", options=methods),
        payload.control("target", "select", "Of", options=targets, disabled=len(targets) == 1),
        payload.control("beside", "select", "Beside", options=[[name, words] for name, (words, _) in BESIDE.items()]),
        payload.control("random_weights", "check", "Random weights beside"),
        payload.control("pin", "button", "Pin" if desk.current.pinned is None else "Unpin", hint="keep it to compare"),
        *payload.LOOK,
    ]


def compare_controls(desk: Desk) -> list[Section]:
    """The other side."""
    names = [name for name in desk.library.sources if name != desk.current.network]
    options = [["", "features alone, of this network"], *([name, name] for name in names)]
    return [payload.control("other", "select", "Compare with", options=options)]


def failure_controls(desk: Desk) -> list[Section]:
    """Which queries, in which order."""
    state, record = desk.current, filters.FILTERS[desk.current.filter]
    both = bool(state.other)
    kinds = [[n, f.label.format(x="x"), f.why] for n, f in filters.FILTERS.items() if both or not f.other]
    orders = [[n, o.label] for n, o in filters.ORDERS.items() if both or not o.other]
    found = [payload.control("filter", "select", "Queries", options=kinds)]
    if record.value is not None:
        low, high, step = record.limits
        limits = {"min": low, "max": high, "step": step}
        found.append(payload.control("filter_value", "number", "x", **limits, hint=record.text(state.filter_value)))
    return [
        *found,
        payload.control("order", "select", "Order", options=orders),
        payload.control("clear", "button", "All queries", hint="no filter, no brushed range"),
    ]


def hide_controls(desk: Desk) -> list[Section]:
    """What is hidden, and what is put there."""
    sides = [["query", "query"], ["gallery", "gallery picture"]]
    hides = [[name, name] for name in hides_of(desk.network(), desk.current.hide_in)]
    return [
        payload.control("hide", "select", "Hide", options=hides, hint="or drag a rectangle over a picture"),
        payload.control("hide_in", "select", "In", options=sides),
        payload.control("share", "range", "Share of the pixels", min=0.05, max=0.95, step=0.05),
        payload.control("fill", "select", "Fill with", options=[[name, name] for name in FILLS]),
    ]


def note_controls(desk: Desk) -> list[Section]:
    """Files to take away: a download each."""
    return [payload.control("export", "button", words, message={"kind": kind}) for kind, words in EXPORTS]


def tile_of(desk: Desk, tile: Tile, **fields: Any) -> Section:
    """An entry of a strip."""
    pictures, (status, words) = desk.library.gallery, MARKS[tile.status]
    about = {"gallery": tile.gallery, "rank": tile.position or None, "distance": f"{tile.distance:.3f}"}
    caption = f"{pictures.who(tile.gallery)}: {words}"
    return {**small(desk, "gallery", tile.gallery), "status": status, "caption": caption, **about,
            "name": pictures.name(tile.gallery), "chosen": tile.gallery == desk.gallery,
            "pinned": tile.gallery == desk.current.pinned, **fields}  # fmt: skip


def small(desk: Desk, side: str, i: int) -> Section:
    """A picture as a tile draws it; the last few hundred are kept."""
    pictures = getattr(desk.library, side)
    return desk.thumbnails.get((side, i), lambda: payload.tile(pictures.shown(i), "junk"))


def strip_of(desk: Desk, ranking: QueryRanking, title: str, page: int = 0) -> Section:
    """A page of a ranking."""
    ignored = desk.current.show_ignored
    tiles = [tile_of(desk, tile) for tile in ranking.page(page, ignored)]
    return payload.strip(f"{title} \u00b7 {ranking.scores()}", tiles, page, ranking.pages(ignored), ranking.protocol())


def picture_of(desk: Desk, side: str, i: int, image: Image.Image | None = None) -> Section:
    """One of the pair's two pictures, or another one in its place."""
    pictures = getattr(desk.library, side)
    about = {"title": f"{'query' if side == 'query' else 'gallery'} {i}: {pictures.who(i)}", "name": pictures.name(i)}
    image = image or pictures.shown(i)
    return payload.picture(image, error=pictures.errors.get(i, ""), **about)


def method_of(desk: Desk, i: int, j: int, method: str, target: str, network: Network, randomised: bool = False,
              maps: Any = None) -> Section:  # fmt: skip
    """The two maps of a pair by one method, with what must be said of them."""
    maps = desk.maps(i, j, network.name, method, target, randomised) if maps is None else maps
    judges = network.pair_trained or method not in METHODS or target not in ("same", "different", "log-odds")
    note = "" if judges else "its pair classifier was not trained: the map shows what the trunk finds active, no reason"
    if method.startswith("siamese") and target == "log-odds":
        note = "equation 4's map of the log-odds is that of 'same'"
    if randomised:
        note = "the same network with random weights: what a map shows that knows nothing"
    title = labels(method) + (", random weights" if randomised else "")
    title += f" \u00b7 {network.name}" * (network.name != desk.current.network)
    about = {"target": TARGETS[target], "signed": METHODS[method].signed, "judges": judges and not randomised}
    league = "" if randomised else league_verdicts().get(method, "")
    return payload.method(method, title, maps, league=league, note=note, **about)


def methods_of(desk: Desk, j: int) -> list[Section]:
    """The chosen map, and those that are shown beside it."""
    state, network, query = desk.current, desk.network(), desk.current.query
    shown = [method_of(desk, query, j, state.method, state.target, network)]
    for method in BESIDE.get(state.beside, ("", ()))[1]:
        targets = METHODS[method].targets
        target = state.target if state.target in targets else targets[0]
        if (method, target) != (state.method, state.target):
            shown.append(method_of(desk, query, j, method, target, network))
    if state.random_weights:
        shown.append(method_of(desk, query, j, state.method, state.target, network, randomised=True))
    return shown


def numbers_of(pair: Pair, ranking: QueryRanking) -> list[Section]:
    """Every number that is said of a pair; the fused score spelled out."""
    tile, terms = ranking.tile(pair.gallery), pair.terms
    found = [("rank", str(tile.position) if tile.position else "not counted", MARKS[tile.status][1])]
    if pair.judges:
        found.append(("p(same)", f"{pair.probability:.3f}", "the pair classifier's probability of one person"))
    found.append(("feature distance", f"{pair.feature:.3f}", "lower is closer"))
    if pair.judges:
        found.append(("attention distance", f"{pair.attention:.3f}", "equation 5, lower is closer"))
    if terms:
        spelled = " + ".join(f"{weight:g} \u00b7 {value:.3f} ({name})" for name, (value, weight) in terms.items())
        found.append(("sum", f"{pair.fused:.3f} = {spelled}", "both distances on one scale, weighed"))
    return [payload.number(*entry) for entry in found]


def pair_of(desk: Desk, j: int | None = None) -> Section:
    """The query beside a gallery image."""
    j, ranking = desk.gallery if j is None else j, desk.ranking()
    pair, tile, query = desk.pair(j), ranking.tile(j), desk.current.query
    pictures = picture_of(desk, "query", query), picture_of(desk, "gallery", j)
    failed = [picture for picture in pictures if picture["error"]]
    heading = f"query {query} and gallery picture {j}: {MARKS[tile.status][1]}"
    if failed:
        return payload.pair(*pictures, MARKS[tile.status][0], [], heading=heading, note=failed[0]["error"])
    about = {"judges": pair.judges, "verdict": pair.verdict[0], "numbers": numbers_of(pair, ranking)}
    note = " ".join(desk.hints) if pair.judges else " ".join([pair.verdict[0] + ".", *desk.hints])
    about |= {"correspondence": matched(desk, j), "heading": heading, "note": note}
    return payload.pair(*pictures, MARKS[tile.status][0], methods_of(desk, j), **about)


def matched(desk: Desk, j: int) -> Section:
    """The similarity of the features, spread over pairs of cells."""
    network = desk.network()
    maps = [network.one(side, i).feature_maps for side, i in (("query", desk.current.query), ("gallery", j))]
    with torch.no_grad():
        like = next(network.model.parameters())
        matrix = correspondence_of(network.model, *(m.to(like) for m in maps))[0].float().cpu().numpy()
    return payload.correspondence(matrix, [m.shape[2:] for m in maps], float(matrix.sum()))


def fill_pair(desk: Desk, notes: Notes) -> dict[str, Section]:
    """The pair, large."""
    return {"pair": pair_of(desk)}


def fill_compare(desk: Desk, notes: Notes) -> dict[str, Section]:
    """The first page under both sides, and where the same picture went."""
    (left, right), (before, after) = desk.sides(), desk.sided()
    strips = [strip_of(desk, found, side.label) for found, side in ((before, left), (after, right))]
    places = [{tile["gallery"]: k for k, tile in enumerate(strip["tiles"])} for strip in strips]
    lines = [
        {"gallery": j, "from": places[0].get(j), "to": places[1].get(j), "status": MARKS[after.tile(j).status][0]}
        for j in dict.fromkeys([*places[0], *places[1]])
    ]
    rows = [["true match", f"rank: {left.label}", f"rank: {right.label}", "places"]]
    for j in after.matches[:MOST_FAILURES]:
        ranks = int(before.ranking.position[j]), int(after.ranking.position[j])
        gain = ranks[0] - ranks[1]
        moved = f"\u25b2 {gain}" if gain > 0 else f"\u25bc {-gain}" if gain else "= 0"
        rows.append([desk.library.gallery.name(int(j)), *map(str, ranks), moved])
    untrained = [s.network.name for s in (left, right) if not s.network.pair_trained]
    note = " ".join(f"{name} judges nothing: it ranks by features alone." for name in dict.fromkeys(untrained))
    title = f"query {desk.current.query}: {len(after.matches)} true matches under two rankings"
    return {"compare": {"title": title, "left": strips[0], "right": strips[1], "lines": lines, "table": rows, "note": note}}


def fill_failures(desk: Desk, notes: Notes) -> dict[str, Section]:
    """The queries that filter and brush leave, each beside its first picture; histograms of all queries."""
    table, found, tiles, histograms = desk.table(), desk.candidates(), [], []
    for i in found[:MOST_FAILURES]:
        tile = desk.ranking(i).tile(int(table.top[i])) if table.top[i] >= 0 else None
        ap = table.average_precision[i]
        words = "no true match" if ap != ap else f"AP {100 * ap:.0f} %"
        own = {"query": i, "query_src": small(desk, "query", i)["src"], "chosen": False}
        caption = f"query {i}: {words}"
        if tile is None:
            tiles.append(payload.tile(None, "junk", f"{caption}, nothing to rank", **own))
        else:
            tiles.append(tile_of(desk, tile, **own) | {"caption": caption})
    for name, (label, values, _) in filters.HISTOGRAMS.items():
        if (values(table) == values(table)).any():  # not all NaN
            edges, counts = filters.histogram(table, name)
            chosen = desk.current.ranges.get(name)
            about = {"edges": edges.tolist(), "counts": counts.tolist(), "range": list(chosen) if chosen else None}
            histograms.append({"name": name, "label": label, **about})
    shown = f", the first {MOST_FAILURES} are shown" * (len(found) > MOST_FAILURES)
    note = f"{len(found)} of {len(table.top)} queries: {desk.words()}{shown}." if found else "No query fits."
    return {"failures": {"tiles": tiles, "histograms": histograms, "note": note}}


def fill_what_if(desk: Desk, notes: Notes) -> dict[str, Section]:
    """The first ten before and after hiding, and the same numbers for a region of the same size elsewhere."""
    state, j, before = desk.current, desk.gallery, desk.ranking()
    hint = "Drag a rectangle over one of the two pictures, or choose above what to hide."
    if state.hide == "rectangle" and state.rectangle is None:
        return {"what_if": {"pair": pair_of(desk), "before": strip_of(desk, before, "as it is"), "note": hint}}
    outcome, network = desk.outcome(), desk.network()
    after = desk.ranked(state.query, outcome.found.distances_after, network)
    shown = {"query": state.query, "gallery": j}
    pictures = [
        picture_of(desk, side, i, outcome.picture if side == state.hide_in else None) for side, i in shown.items()
    ]
    method = method_of(desk, state.query, j, state.method, state.target, network, maps=outcome.maps)
    status, heading = MARKS[before.tile(j).status][0], f"hidden: {outcome.note}"
    pair = payload.pair(*pictures, status, [method], judges=network.pair_trained, heading=heading)
    strips = {"before": strip_of(desk, before, "as it is"), "after": strip_of(desk, after, "after hiding")}
    control = {"title": f"Control: {outcome.control_note}", "numbers": effects(outcome.control, network)}
    note = "Only the difference between what was hidden and the control speaks for the map."
    return {"what_if": {"pair": pair, **strips, "control": control, "numbers": effects(outcome.found, network),
                        "note": note}}  # fmt: skip


def effects(found: Counterfactual, network: Network) -> list[Section]:
    """What hiding changed, in numbers."""
    (old, new), (near, far) = found.position, found.distance
    same, moved = found.before.kept[:TILES], set(found.after.kept[:TILES].tolist())
    numbers = [("rank of the gallery picture", f"{old} \u2192 {new}" if old else "not counted")]
    if network.pair_trained:
        numbers.append(("p(same)", "{:.3f} \u2192 {:.3f}".format(*found.probability)))
    numbers.append((f"distance by {found.ranked_by}", f"{near:.3f} \u2192 {far:.3f}"))
    numbers.append(("of the first ten stay", f"{sum(int(j) in moved for j in same)} of {len(same)}"))
    before, after = found.before.average_precision, found.after.average_precision
    if before == before:
        numbers.append(("AP", f"{100 * before:.1f} \u2192 {100 * after:.1f} %"))
    return [payload.number(*entry) for entry in [*numbers, ("hidden", f"{found.hidden:.0%} of the picture")]]


def fill_notes(desk: Desk, notes: Notes) -> dict[str, Section]:
    """The note on the query, all notes, and what can be taken away."""
    notes.read()
    pictures, state = desk.library.query, desk.current
    note, number = notes.get(pictures.key(state.query)), {pictures.key(i): i for i in range(len(pictures.split))}
    listed = [
        {"query": number.get(key), "gallery": None, "network": "", "name": key, "text": n.text, "tags": list(n.tags)}
        for key, n in notes.notes.items()
    ]
    found = {"text": note.text, "tags": list(note.tags), "saved": f"on {pictures.name(state.query)}", "list": listed}
    return {"notes": found | {"exports": [list(entry) for entry in EXPORTS], "presets": sorted(notes.presets)}}


@dataclass(frozen=True)
class Tab:
    """A tab: its name on the screen, its controls, and what fills its sections."""

    title: str
    controls: Callable[[Desk], list[Section]]
    fill: Callable[[Desk, Notes], dict[str, Section]]


TABS = {  # an extension is one entry here
    "pair": Tab("Pair", pair_controls, fill_pair),
    "compare": Tab("Compare", compare_controls, fill_compare),
    "failures": Tab("Failures", failure_controls, fill_failures),
    "what_if": Tab("What if", hide_controls, fill_what_if),
    "notes": Tab("Notes", note_controls, fill_notes),
}


def view_of(desk: Desk, notes: Notes) -> dict[str, Section]:
    """All sections of the open tab; those of other tabs are empty."""
    tab, found = TABS[desk.current.tab], {name: {} for name in payload.SECTIONS}
    found["state"] = desk.current.to_dict() | {"ranked_by": desk.ranked_by(), "gallery": desk.gallery}
    opened = {name: entry.controls(desk) if name == desk.current.tab else [] for name, entry in TABS.items()}
    found["controls"] = {"": top_controls(desk), **opened}
    if desk.current.tab in ("pair", "notes"):
        title = f"{desk.network().name} by {desk.ranked_by()}"
        found["strip"] = strip_of(desk, desk.ranking(), title, desk.current.page)
    return found | tab.fill(desk, notes)
