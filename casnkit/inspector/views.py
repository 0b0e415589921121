"""What is on the screen: for each tab its controls, and the function that fills its section from a desk."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from casnkit.data.files import printable
from casnkit.explain import METHODS
from casnkit.explain.correspondence import correspondence_of
from casnkit.explain.league import read_league
from casnkit.explain.masks import FILLS
from casnkit.explain.pair import Counterfactual
from casnkit.inspector import filters, payload
from casnkit.inspector.desk import MOST_OPTIONS, Desk
from casnkit.inspector.notes import Note
from casnkit.inspector.pairs import MARKS, TILES, QueryRanking
from casnkit.inspector.state import SCREEN
from casnkit.inspector.whatif import hides_of

Section = dict[str, Any]
MOST_FAILURES = 40  # tiles of the grid
TARGETS, BESIDE = SCREEN["targets"], SCREEN["beside"]  # BESIDE: methods whose maps of the same pair are shown too


@cache
def _verdicts() -> dict[str, str]:
    """What the published league says of each method."""
    try:
        return read_league().verdicts()
    except (OSError, ValueError):
        return {}


def _top(desk: Desk) -> Section:
    found, query = desk.candidates(), desk.current.query
    if len(found) <= MOST_OPTIONS:
        listed = found if query in found else [query, *found]
        choose = {"options": [[i, f"{i}: {desk.whose(i)}"] for i in listed]}
    else:
        choose = {"kind": "number", "min": 0, "max": len(desk.library.query) - 1, "step": 1}
    return {
        "query": choose | {"hint": desk.place()},
        "network": {"options": _plain(desk.library.sources)},
        "ranked_by": {"options": [[name, SCREEN["ways"][name]] for name in desk.ways()]},
    }


def _map(desk: Desk) -> Section:
    pin = ("Pin", desk.gallery) if desk.current.pinned is None else ("Unpin", None)
    return {
        "method": {"options": [[name, m.label, _verdicts().get(name, "")] for name, m in METHODS.items()]},
        "target": {"options": [[name, TARGETS[name]] for name in METHODS[desk.current.method].targets]},
        "pinned": dict(zip(("label", "value"), pin, strict=True)),
    }


def _other(desk: Desk) -> Section:
    names = [name for name in desk.library.sources if name != desk.current.network]
    return {"other": {"options": [["", "features alone, of this network"], *_plain(names)]}}


def _filter(desk: Desk) -> Section:
    state, record, both = desk.current, filters.FILTERS[desk.current.filter], bool(desk.current.other)
    listed = [[name, f.label.format(x="x"), f.why] for name, f in filters.FILTERS.items() if both or not f.other]
    limits = dict(zip(("min", "max", "step"), record.limits, strict=True)) | {"hint": record.text(state.filter_value)}
    return {
        "filter": {"options": listed},
        "filter_value": None if record.value is None else limits,
        "order": {"options": [[name, label] for name, (label, _, two) in filters.ORDERS.items() if both or not two]},
    }


def _hide(desk: Desk) -> Section:
    hides = hides_of(desk.network(), desk.current.hide_in)
    return {"hide": {"options": _plain(hides)}, "fill": {"options": _plain(FILLS)}}


def _plain(names: Iterable[str]) -> list[list[str]]:
    return [[name, name] for name in names]


def tile_of(desk: Desk, ranking: QueryRanking, j: int, **fields: Any) -> Section:
    """An entry of a strip."""
    tile, pictures = ranking.tile(j), desk.library.gallery
    status, words = MARKS[tile.status]
    about = {"gallery": j, "rank": tile.position or None, "distance": f"{tile.distance:.3f}", "status": status}
    about |= {"caption": f"{pictures.who(j)}: {words}", "name": printable(pictures.key(j))}
    chosen = {"chosen": j == desk.gallery, "pinned": j == desk.current.pinned}
    return {"src": desk.thumbnail("gallery", j), **about, **chosen, **fields}


def _strip_of(desk: Desk, ranking: QueryRanking, title: str, page: int = 0) -> Section:
    ignored, title = desk.current.show_ignored, f"{title} \u00b7 {ranking.scores()}"
    tiles = [tile_of(desk, ranking, j) for j in ranking.page(page, ignored)]
    place = {"page": page, "pages": ranking.pages(ignored)}
    return {"title": title, **place, "note": ranking.protocol(), "tiles": tiles}


def _pictures_of(desk: Desk, j: int, changed: Image.Image | None = None) -> list[Section]:
    """The query and a gallery image, one of them maybe ``changed``: the one in which something is hidden."""
    found = []
    for side, i in (("query", desk.current.query), ("gallery", j)):
        pictures = getattr(desk.library, side)
        image, error = pictures.image(i), pictures.error(i)
        shown = changed if changed and side == desk.current.hide_in else None if error else image
        found.append(payload.picture(shown, f"{side} {i}: {pictures.who(i)}", printable(pictures.key(i)), error))
    return found


def _method_of(desk: Desk, j: int, method: str, target: str, random: bool = False, maps: Any = None) -> Section:
    """The two maps of the query and a gallery image by one method, with what must be said of them."""
    record, judges = METHODS[method], desk.network().pair_trained or target not in ("same", "different", "log-odds")
    maps, note = desk.maps(desk.current.query, j, method, target, random) if maps is None else maps, ""
    if random:
        note = "the same network with random weights: what a map shows that knows nothing"
    elif not judges:
        note = "the pair classifier was not trained: the map shows what the trunk finds active, and is no reason"
    elif method.startswith("siamese") and target == "log-odds":
        note = "equation 4's map of the log-odds is that of 'same person'"
    league = "" if random else _verdicts().get(method, "")
    about = {"target": TARGETS[target], "signed": record.signed, "judges": judges and not random, "league": league}
    return payload.method(method, record.label + ", random weights" * random, maps, note=note, **about)


def methods_of(desk: Desk, j: int) -> list[Section]:
    """The chosen map, and those that are shown beside it."""
    state, shown = desk.current, [(desk.current.method, desk.current.target)]
    for method in BESIDE.get(state.beside, ()):
        targets = METHODS[method].targets
        shown.append((method, state.target if state.target in targets else targets[0]))
    found = [_method_of(desk, j, *how) for how in dict.fromkeys(shown)]
    return found + ([_method_of(desk, j, *shown[0], random=True)] if state.random_weights else [])


def _numbers(*entries: tuple[str, ...]) -> list[Section]:
    """What is said in numbers: name, text and maybe a hint each."""
    return [dict(zip(("name", "text", "hint"), entry, strict=False)) for entry in entries]


def numbers_of(desk: Desk, j: int) -> list[Section]:
    """Every number that is said of a pair; the fused score spelled out."""
    pair, tile = desk.pair(j), desk.ranking().tile(j)
    found = [("rank", str(tile.position) if tile.position else "not counted", MARKS[tile.status][1])]
    found.append(("feature distance", f"{pair.feature:.3f}", "lower is closer"))
    if pair.network.pair_trained:
        found.insert(1, ("p(same)", f"{pair.probability:.3f}", "the pair classifier's probability of one person"))
        found.append(("attention distance", f"{pair.attention:.3f}", "equation 5, lower is closer"))
    if pair.terms:
        spelled = " + ".join(f"{weight:g} \u00b7 {value:.3f} ({name})" for name, (value, weight) in pair.terms.items())
        found.append(("sum", f"{pair.fused:.3f} = {spelled}", "both distances on one scale, weighed"))
    return _numbers(*found)


def pair_of(desk: Desk, j: int | None = None) -> Section:
    """The query beside a gallery image."""
    j, query, network = desk.gallery if j is None else j, desk.current.query, desk.network()
    pictures, (status, words) = _pictures_of(desk, j), MARKS[desk.ranking().tile(j).status]
    heading = f"query {query} and gallery picture {j}: {words}"
    if errors := [picture["error"] for picture in pictures if picture["error"]]:
        return payload.pair(*pictures, status, [], heading, note=" ".join(errors))
    maps = [network.one(side, i).feature_maps for side, i in (("query", query), ("gallery", j))]
    with torch.no_grad():
        like = next(network.model.parameters())
        matrix = correspondence_of(network.model, *(m.to(like) for m in maps))[0].float().cpu().numpy()
    about = {"judges": network.pair_trained, "verdict": desk.pair(j).verdict, "numbers": numbers_of(desk, j)}
    about["correspondence"] = payload.correspondence(matrix, [m.shape[2:] for m in maps])
    about["note"] = printable(" ".join(desk.hints))
    return payload.pair(*pictures, status, methods_of(desk, j), heading, **about)


def _compared(desk: Desk) -> Section:
    sides, names = desk.sides(), desk.library.gallery
    left, right = (_strip_of(desk, ranking, ranking.label) for ranking in sides)
    rows = [["true match", *(f"rank: {side.label}" for side in sides), "places"]]
    for j in sides[1].matches[:MOST_FAILURES].tolist():
        before, after = (side.tile(j).position for side in sides)
        glyph = "\u25b2" if after < before else "\u25bc" if after > before else "="
        rows.append([printable(names.key(j)), str(before), str(after), f"{glyph} {abs(before - after)}"])
    untrained = dict.fromkeys(side.network.name for side in sides if not side.network.pair_trained)
    note = " ".join(f"{name} judges nothing: it ranks by features alone." for name in untrained)
    title = f"query {desk.current.query}: {len(sides[1].matches)} true matches under two rankings"
    return {"title": title, "left": left, "right": right, "table": rows, "note": note}


def _failed(desk: Desk) -> Section:
    table, found, tiles, bars = desk.table(), desk.candidates(), [], []
    for i in found[:MOST_FAILURES]:
        ap = "no true match" if not table.num_matches[i] else f"AP {100 * table.average_precision[i]:.0f} %"
        own = {"query": i, "query_src": desk.thumbnail("query", i), "chosen": i == desk.current.query}
        tiles.append(tile_of(desk, desk.ranking(i), desk.ranking(i).first(), **own, caption=f"query {i}: {ap}"))
    for name, (label, *_) in filters.HISTOGRAMS.items():
        counts, edges = filters.histogram(table, name)
        if counts.any():
            about = {"name": name, "label": label, "range": desk.current.ranges.get(name)}
            bars.append({**about, "edges": edges.tolist(), "counts": counts.tolist()})
    shown = f", the first {MOST_FAILURES} are shown" * (len(found) > MOST_FAILURES)
    note = f"{len(found)} of {len(table.top)} queries: {desk.words()}{shown}." if found else "No query fits."
    return {"tiles": tiles, "histograms": bars, "note": note}


def _tried(desk: Desk) -> Section:
    state, j, before, network = desk.current, desk.gallery, desk.ranking(), desk.network()
    found = {"before": _strip_of(desk, before, "as it is")}
    if state.hide == "rectangle" and state.rectangle is None:
        hint = "Drag a rectangle over one of the two pictures, or choose above what to hide."
        return found | {"pair": pair_of(desk), "note": hint}
    outcome, status = desk.outcome(), MARKS[before.tile(j).status][0]
    after = QueryRanking(network, state.query, before.ranked_by, outcome.found.distances_after)
    maps = [_method_of(desk, j, state.method, state.target, maps=outcome.maps)]
    pictures, about = _pictures_of(desk, j, outcome.picture), {"judges": network.pair_trained}
    found["pair"] = payload.pair(*pictures, status, maps, f"hidden: {outcome.note}", **about)
    found["control"] = {"title": f"Control: {outcome.control_note}", "numbers": effects(desk, outcome.control)}
    note = "Only the difference between what was hidden and the control speaks for the map."
    after = _strip_of(desk, after, "after hiding")
    return found | {"after": after, "numbers": effects(desk, outcome.found), "note": note}


def effects(desk: Desk, found: Counterfactual) -> list[Section]:
    """What hiding changed, in numbers."""
    ranks, stay = found.position, np.isin(found.before.kept[:TILES], found.after.kept[:TILES])
    said = [("rank", "{} \u2192 {}".format(*ranks) if ranks[0] else "not counted")]
    said += [("p(same)", "{:.3f} \u2192 {:.3f}".format(*found.probability))] if desk.network().pair_trained else []
    said.append(("distance", "{:.3f} \u2192 {:.3f}".format(*found.distance)))
    said.append(("first ten kept", f"{stay.sum()} of {len(stay)}"))
    if found.before.first_hit >= 0:
        ap = (100 * ranking.average_precision for ranking in (found.before, found.after))
        said.append(("AP", "{:.1f} \u2192 {:.1f} %".format(*ap)))
    return _numbers(*said, ("hidden", f"{found.hidden:.0%} of the picture"))


def _noted(desk: Desk) -> Section:
    desk.notes.read()
    pictures, kept = desk.library.query, desk.notes.notes
    number = {pictures.key(i): i for i in range(len(pictures))}
    listed = [{"query": number.get(key), **note._asdict()} for key, note in kept.items()]
    found = {**kept.get(desk.key, Note())._asdict(), "saved": f"on {printable(desk.key)}", "list": listed}
    return found | {"exports": list(SCREEN["exports"].items())}


# For each tab, what its controls in screen.json leave to the desk (None: such a control is not shown), and its section.
TABS: dict[str, tuple[Callable[[Desk], Section], Callable[[Desk], Section]]] = {
    "pair": (_map, pair_of),
    "compare": (_other, _compared),
    "failures": (_filter, _failed),
    "what_if": (_hide, _tried),
    "notes": (lambda desk: {}, _noted),
}


def _controls(known: list[Section], own: Section) -> list[Section]:
    listed = [(control, own.get(control["name"], {})) for control in known]
    return [control | found for control, found in listed if found is not None]


def view_of(desk: Desk) -> dict[str, Section]:
    """All sections of the open tab; those of other tabs are empty."""
    tab, ranking, found = desk.current.tab, desk.ranking(), {name: {} for name in ("strip", *TABS)}
    found["state"] = desk.current.to_dict() | {"ranked_by": desk.ranked_by(), "gallery": desk.gallery}
    own, section = TABS[tab]
    shown = {"": _controls(SCREEN["top"], _top(desk)), tab: _controls(SCREEN["controls"][tab], own(desk))}
    found["controls"] = {name: [] for name in TABS} | shown
    if tab in ("pair", "notes"):
        found["strip"] = _strip_of(desk, ranking, ranking.label, desk.current.page)
    return found | {tab: section(desk)}
