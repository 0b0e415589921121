"""The inspector without a browser: what the sections say is what the protocol, the networks and slow loops say."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import casnkit as ck
from casnkit.attention import attention_distance
from casnkit.data.images import load_images, normalise
from casnkit.data.people import PARTS
from casnkit.evaluation import evaluate
from casnkit.figures import style
from casnkit.inspector import Inspector, State, core, filters, networks, pairs, views, whatif
from casnkit.inspector.core import REQUESTS


def ask(inspector: Inspector, name: str, /, **fields: Any) -> str:
    """What a browser sends; returns the words of an error."""
    inspector.viewer  # noqa: B018 - the screen is open
    inspector.ask({"ask": name, **fields})
    return inspector.viewer.error.get("text", "")


# State

CHANGED = {
    "query": 3, "gallery": 5, "network": "ide", "ranked_by": "sum", "opacity": 0.25, "threshold": 0.3, "contour": True,
    "rectangle": {"side": "gallery", "x0": 0.8, "y0": 0.1, "x1": 0.2, "y1": 0.6}, "ranges": {"AP": [0.7, 0.2]},
}  # fmt: skip


def test_a_state_goes_through_json_and_back() -> None:
    state = State.from_dict(json.loads(json.dumps(CHANGED)))
    assert state.rectangle == {"side": "gallery", "x0": 0.2, "y0": 0.1, "x1": 0.8, "y1": 0.6}
    assert state.ranges == {"AP": [0.2, 0.7]}
    assert State.from_dict(json.loads(json.dumps(state.to_dict()))) == state


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("query", -1), ("query", True), ("query", "3"), ("page", 1.5), ("opacity", 1.1), ("threshold", float("nan")),
        ("threshold", 1), ("colours", "jet"), ("contour", "yes"), ("network", 3), ("gallery", -1), ("unknown", 1),
        ("ranked_by", "luck"), ("rectangle", {"side": "query"}), ("ranges", {"AP": 3}), ("fill", "../x"),
        ("rectangle", {"side": "left", "x0": 0, "y0": 0, "x1": 1, "y1": 1}),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        State.from_dict({field: value})


@pytest.mark.parametrize(
    "changes",
    [{"query": 54}, {"gallery": 10**6}, {"network": "none"}, {"method": "x"}, {"target": "identity"}, {"filter": "x"},
     {"hide": "x"}, {"tab": "x"}, {"order": "x"}, {"ranges": {"x": (0, 1)}}],
)  # fmt: skip
def test_what_data_and_networks_do_not_know_changes_nothing(inspector: Inspector, changes: dict[str, Any]) -> None:
    before = inspector.state()
    with pytest.raises(ValueError, match=next(iter(changes))):
        inspector.set(**changes)
    assert ask(inspector, "set", changes=changes)
    assert inspector.state() == before


def test_another_query_is_a_new_look(inspector: Inspector) -> None:
    inspector.set(gallery=5, pinned=6, rectangle=CHANGED["rectangle"], threshold=0.3)
    state = inspector.set(query=2, method="identification")  # explains no pair
    assert state.target == "identity"
    assert (state.gallery, state.pinned, state.page, state.rectangle, state.threshold) == (None, None, 0, None, 0.3)


# What is shown is what the library says


@pytest.mark.parametrize("by", ["features", "attention", "sum"])
def test_rankings_are_those_of_the_evaluation(inspector: Inspector, by: str) -> None:
    network = inspector.desk.network("stripes")  # has not been evaluated
    found = evaluate(network.model, inspector.desk.dataset, network.config, progress=False)
    for i in (0, 17):
        inspector.set(network="stripes", query=i, ranked_by=by)
        shown = inspector.desk.ranking()
        np.testing.assert_allclose(shown.distances, found.distances[by][i], atol=1e-5)
        assert shown.ranking.average_precision == pytest.approx(found.rankings[by].average_precision[i], nan_ok=True)
        tiles = views.view_of(inspector.desk)["strip"]["tiles"]
        assert [tile["gallery"] for tile in tiles] == shown.ranking.kept[:10].tolist()
        assert [tile["rank"] for tile in tiles] == list(range(1, 11))


def test_nothing_is_computed_twice(
    inspector_data: ck.ReidDataset, inspector_sources: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    look = "pictures are shown to the network again"
    monkeypatch.setattr(networks.Network, "of", lambda *_, **__: pytest.fail(look))
    data, sources = inspector_data, inspector_sources
    inspector = Inspector(sources, data, out=tmp_path)
    inspector.set(other="ide", tab="compare")
    assert inspector.desk.network().distances["sum"] is sources["casn"][1].distances["sum"]
    compared = inspector.viewer.compare
    assert [len(compared[side]["tiles"]) for side in ("left", "right")] == [10, 10]
    assert "ide judges nothing" in compared["note"]
    inspector.set(network="ide", tab="pair")  # no feature maps were kept: the map is that of the two pictures
    model, images = sources["ide"][0], [getattr(data, side).subset([j]) for side, j in
                                        (("query", 0), ("gallery", inspector.desk.gallery))]  # fmt: skip
    pixels = [normalise(load_images(s, (32, 16), progress=False)) for s in images]
    expected = model.siamese_attention(*pixels)[0][0].detach().numpy()
    np.testing.assert_allclose(inspector.desk.maps(0, inspector.desk.gallery)[0], expected, atol=1e-5)


def test_a_pair_says_what_the_network_says(inspector: Inspector) -> None:
    inspector.set(query=4, ranked_by="sum")
    network, j, pair = inspector.desk.network(), inspector.desk.gallery, inspector.desk.pair()
    f = network.query.features[4] - network.gallery.features[j]
    assert pair.probability == pytest.approx(
        float(network.model.pair_scores(f[None]).detach().softmax(1)[0, 1]), abs=1e-5
    )
    assert pair.fused == pytest.approx(float(network.row(4, "sum")[j]), abs=1e-5)
    shown = inspector.viewer.pair
    cosine = torch.cosine_similarity(network.query.features[4], network.gallery.features[j], 0)
    assert shown["correspondence"]["score"] == pytest.approx(float(cosine), abs=1e-4)
    grid, numbers = shown["methods"][0]["grid"][0], shown["methods"][0]["maps"][0]
    np.testing.assert_allclose(np.reshape(numbers, grid), inspector.desk.maps(4, j)[0], rtol=1e-3)


def test_a_network_that_judges_nothing_says_so_everywhere(inspector: Inspector) -> None:
    inspector.set(network="ide", ranked_by="sum")
    shown = inspector.viewer.pair
    assert not shown["judges"]
    assert "not trained" in shown["verdict"]
    assert "p(same)" not in [number["name"] for number in shown["numbers"]]
    assert inspector.viewer.state["ranked_by"] == "features"
    svg = inspector.export("svg").read_text(encoding="utf-8")
    assert "judges nothing" in " ".join(svg.split())
    assert "p(same)" not in svg
    inspector.set(tab="what_if", hide="upper third")
    assert "p(same)" not in str(inspector.viewer.what_if["numbers"])


# Tables, filters, brushes


def test_a_table_is_what_a_loop_over_queries_finds(inspector: Inspector) -> None:
    table, network = inspector.desk.table(), inspector.desk.network()
    for i in range(0, len(table.top), 7):
        found = inspector.desk.ranking(i)
        right, wrong = found.first_of("correct"), found.first_of("wrong")
        assert (table.nearest_right[i], table.nearest_wrong[i]) == (-1 if right is None else right, wrong)
        assert table.top[i] == found.ranking.kept[0]
        assert table.num_matches[i] == len(found.matches)
        if right is not None:
            near, far = found.distances[right], found.distances[wrong]
            assert table.margin[i] == pytest.approx((far - near) / max(far, near), abs=1e-5)
            maps = [torch.from_numpy(m)[None] for m in inspector.desk.maps(i, right)]
            distance = attention_distance(*maps, network.config.ranking.threshold)
            assert table.consistency[i] == pytest.approx(float(distance), abs=1e-4)


@pytest.mark.parametrize("name", filters.FILTERS)
def test_filters_keep_what_they_say(inspector: Inspector, name: str) -> None:
    inspector.set(other="ide", filter=name, filter_value=0.4, order="AP")
    ap = {n: inspector.desk.table(n).average_precision for n in ("casn", "ide")}
    ranks = [np.sort(r.ranking.position[r.matches]) for r in map(inspector.desk.ranking, range(len(ap["casn"])))]
    slow = {
        "all": lambda i: True, "rank-1 wrong": lambda i: len(ranks[i]) and ranks[i][0] > 1,
        "AP below": lambda i: ap["casn"][i] < 0.4, "better": lambda i: ap["ide"][i] - ap["casn"][i] > 0.4,
        "worse": lambda i: ap["casn"][i] - ap["ide"][i] > 0.4, "no match": lambda i: not len(ranks[i]),
        "deep match": lambda i: len(ranks[i]) and ranks[i][-1] > 0.4,
    }.get(name)  # fmt: skip
    found = inspector.desk.candidates()
    if slow is not None:
        assert sorted(found) == [i for i in range(len(ranks)) if slow(i)]
    values = ap["casn"][found]
    assert np.all(np.diff(values[np.isfinite(values)]) >= 0)


def test_brushing_a_histogram_filters(inspector: Inspector) -> None:
    inspector.set(tab="failures")
    histogram = inspector.viewer.failures["histograms"][0]
    ap = inspector.desk.table().average_precision
    assert sum(histogram["counts"]) == np.isfinite(ap).sum()
    assert not ask(inspector, "set", changes={"ranges": {"AP": [0.0, 0.3]}})
    tiles = inspector.viewer.failures["tiles"]
    assert [tile["query"] for tile in tiles] == np.flatnonzero(ap <= 0.3).tolist()[: views.MOST_FAILURES]
    (clear,) = (control for control in inspector.viewer.controls["failures"] if control["name"] == "clear")
    ask(inspector, "set", changes=clear["value"])
    assert inspector.desk.candidates() == list(range(len(ap)))


# What if


def test_hiding_shows_the_new_first_ten_and_a_control_of_the_same_size(inspector: Inspector) -> None:
    inspector.set(query=4)
    drawn = {"side": "query", "x0": 0.25, "y0": 0.5, "x1": 0.75, "y1": 1}
    assert not ask(inspector, "set", changes={"rectangle": drawn, "hide": "rectangle", "tab": "what_if"})
    shown, outcome = inspector.viewer.what_if, inspector.desk.outcome()
    network = inspector.desk.network()
    image = network.images("query", [4])
    image[:, :, 16:, 4:12] = 0  # the data's mean
    feature = network.model.pool(network.model.feature_map(image)).detach()
    seen = networks.Extracted(feature, network.model.feature_map(image).detach())
    both = [network.between(seen, network.gallery, kind)[0] for kind in ("features", "attention")]
    expected = network.rank(4, network.fused(4, *both)).kept[:10].tolist()
    assert [tile["gallery"] for tile in shown["after"]["tiles"]] == expected
    assert outcome.control.hidden == pytest.approx(outcome.found.hidden)
    assert shown["control"]["numbers"]
    assert shown["pair"]["query"]["src"] != inspector.viewer.pair.get("query", {}).get("src")


def test_hides(inspector: Inspector) -> None:
    for name in whatif.hides_of(inspector.desk.network(), "query"):
        inspector.set(hide=name, rectangle=CHANGED["rectangle"], share=0.3)
        hidden = inspector.desk.outcome().found.hidden
        assert 0 < hidden < 1
        if "attended" in name:
            assert hidden == pytest.approx(0.3, abs=0.01)
    assert not any(f"part: {part}" in whatif.hides_of(inspector.desk.network(), "query") for part in PARTS)
    inspector.set(rectangle=None, hide="rectangle", tab="what_if")
    assert "Drag" in inspector.viewer.what_if["note"]


# Requests


@pytest.mark.parametrize(
    "message",
    [None, 3, {}, {"ask": "eval"}, {"ask": ["set"]}, {"ask": "set"},
     {"ask": "set", "changes": {"method": [], "filter": {}}}, {"ask": "set", "changes": 3},
     {"ask": "export", "kind": "exe"}, {"ask": "export", "kind": "png", "path": "/tmp/x"},
     {"ask": "set", "changes": {"page": "x"}},
     {"ask": "step", "by": 0.5}, {"ask": "note", "text": 3}, {"ask": "set", "changes": {"ranges": {"x": [0, 1]}}},
     {"ask": "note", "text": "x", "tags": 3},
     {"ask": "set", "changes": {"rectangle": {"side": "query", "x0": -1, "y0": 0, "x1": 1, "y1": 1}}}],
)  # fmt: skip
def test_a_visitor_gets_words_and_writes_nothing(inspector: Inspector, message: Any, tmp_path: Path) -> None:
    before = inspector.viewer.state, sorted(tmp_path.rglob("*"))
    inspector.ask(message)
    assert inspector.viewer.error["text"]
    assert (inspector.viewer.state, sorted(tmp_path.rglob("*"))) == before


def test_walking(inspector: Inspector) -> None:
    order = inspector.desk.ranking().ranking.kept.tolist()
    ask(inspector, "step", by=1)
    assert inspector.desk.gallery == order[1]
    ask(inspector, "set", changes={"page": 1})
    assert [tile["gallery"] for tile in inspector.viewer.strip["tiles"]] == order[10:20]
    ask(inspector, "set", changes={"page": 10**9})
    assert inspector.desk.current.page == inspector.desk.ranking().pages() - 1
    inspector.set(query=1, gallery=int(inspector.desk.ranking(1).ranking.kept[25]))
    assert inspector.desk.current.page == 2
    inspector.set(query=0)
    assert inspector.desk.current.page == 0
    ask(inspector, "previous")
    assert inspector.desk.current.query == len(inspector.desk.dataset.query) - 1
    ask(inspector, "next")
    assert inspector.desk.current.query == 0
    (pin,) = (control for control in inspector.viewer.controls["pair"] if control["name"] == "pinned")
    ask(inspector, "set", changes={"pinned": pin["value"]})
    assert inspector.desk.current.pinned == inspector.desk.gallery
    assert set(REQUESTS) >= {"set", "step", "note", "export", "cancel"}


def test_an_export_travels_to_the_browser_and_no_path_does(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent: list[tuple] = []
    monkeypatch.setattr(inspector.viewer, "send", lambda *message: sent.append(message))
    assert not ask(inspector, "export", kind="csv")
    ((content, (data,)),) = sent
    assert content["download"]["mime"] == "text/csv"
    assert len(data.decode().splitlines()) == 1 + len(inspector.desk.dataset.gallery)
    assert list(tmp_path.rglob("*")) == []


# Long work


def test_long_work_goes_on_in_slices_and_can_be_cancelled(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "CHUNK", 4)
    viewer, lines, line, heard = inspector.viewer, [], filters._line, threading.Event()

    def slow(found: pairs.QueryRanking) -> dict[str, Any]:
        lines.append(found.query)
        assert len(lines) <= 8 or heard.wait(60)
        return line(found)

    monkeypatch.setattr(filters, "_line", slow)

    async def until(done: Callable[[], bool]) -> None:
        for _ in range(1000):
            if done():
                return
            await asyncio.sleep(0.005)
        pytest.fail("it never came")

    async def session() -> None:
        inspector.ask({"ask": "set", "changes": {"tab": "failures"}})
        assert viewer.busy["can_cancel"]
        await until(lambda: viewer.busy.get("done", 0) >= 8)
        inspector.ask({"ask": "set", "changes": {"opacity": 0.9}})  # the page is heard meanwhile
        assert viewer.state["opacity"] == 0.9
        inspector.ask({"ask": "cancel"})
        assert viewer.busy == {}
        assert viewer.state["tab"] == "pair"
        heard.set()
        inspector.ask({"ask": "set", "changes": {"other": "stripes", "tab": "compare"}})  # a network to be opened
        await until(lambda: bool(viewer.compare))
        assert viewer.state["other"] == "stripes"
        assert len(lines) <= 12  # what was cancelled went no further than its slice
        inspector.ask({"ask": "set", "changes": {"tab": "failures"}})
        await until(lambda: bool(viewer.failures))
        assert viewer.busy == {}

    asyncio.run(session())
    np.testing.assert_array_equal(
        inspector.desk.table().top, [r.first() for r in map(inspector.desk.ranking, range(54))]
    )


# Other people's pictures


def test_odd_galleries(inspector_sources: dict[str, Any], write_picture: Callable[..., Path], tmp_path: Path) -> None:
    root = tmp_path / "<script>alert(1)</script> \u202e"
    people = ["Zo\u00eb & Co", "Zo\u00eb & Co", "=1+1", "=1+1", "lone", "n" * 200]
    names = [f"{who}/{k}.jpg" for k, who in enumerate(people)]
    for k, name in enumerate(names):
        write_picture(root / "query" / name, (40 * k, 90, 60))
    write_picture(root / "gallery" / names[0], (1, 2, 3))
    (root / "gallery" / "Zo\u00eb & Co" / "broken.jpg").write_text("no picture")
    data = ck.open_dataset("folder", root)
    model, _, config = inspector_sources["casn"]
    inspector = Inspector({"casn": (model, config)}, data, out=tmp_path / "out")
    assert "1 unreadable in gallery" in inspector.viewer.pair["note"]
    whose = {inspector.desk.library.query.who(i) for i in range(len(data.query))}
    assert {"Zo\u00eb & Co", "=1+1", "lone"} <= whose
    for i in range(len(data.query)):
        for tab in views.TABS:
            inspector.set(query=i, tab=tab, show_ignored=True, hide="upper third")
            assert inspector.viewer.error == {} or "nothing to compare" in inspector.viewer.error["text"]
            json.dumps(inspector.viewer.get_state(["strip", "pair", "compare", "failures", "what_if", "notes"]))
    inspector.set(query=0, tab="pair")
    broken = next(t for t in inspector.viewer.strip["tiles"] if "unreadable" in t["caption"])
    inspector.set(gallery=broken["gallery"])
    assert inspector.viewer.pair["gallery"]["error"]
    lonely = next(i for i in range(len(data.query)) if inspector.desk.library.query.who(i) == "lone")
    inspector.set(query=lonely)
    assert "No true match" in inspector.viewer.strip["note"]


def test_a_network_that_cannot_be_opened_says_why(inspector: Inspector, tmp_path: Path) -> None:
    data, good = inspector.desk.dataset, inspector.desk.library.sources["casn"]
    inspector = Inspector({"gone": tmp_path / "gone", "casn": good}, data, out=tmp_path)
    assert inspector.desk.current.network == "casn"
    assert "network gone" in ask(inspector, "set", changes={"network": "gone"})
    with pytest.raises(ValueError, match="none of the networks"):
        Inspector({"gone": tmp_path / "gone"}, data, out=tmp_path)


def test_a_picture_twin_stands_behind_the_screen(inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[Any, dict[str, Any]]] = []
    for module in (core, style):
        monkeypatch.setattr(module, "display", lambda what, **how: shown.append((what, how)))
    inspector._ipython_display_()
    (screen, _), (bundle, how) = shown
    assert screen is inspector.viewer
    assert bundle["image/png"].startswith("iVBOR")
    assert how["metadata"]["image/png"]["alt"].startswith("Twin of the inspector")


def test_closing_lets_all_go(inspector: Inspector) -> None:
    closed, network = inspector.viewer, weakref.ref(inspector.desk.network())
    inspector.close()
    gc.collect()
    assert closed.comm is None
    assert network() is None
    assert inspector.viewer.strip["tiles"]  # asked again, it is there again
