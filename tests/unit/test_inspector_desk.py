"""The inspector without a screen: its numbers are the library's, its state survives JSON, bad data does not stop it."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inspector_world import make_data, make_networks
from matplotlib.figure import Figure
from PIL import Image

import casnkit as ck
from casnkit import attention
from casnkit.evaluation import evaluate
from casnkit.inspector import Edit, State, filters, pairs, tiles, views
from casnkit.inspector.changes import all_moves
from casnkit.inspector.desk import Desk
from casnkit.inspector.notes import Notes
from casnkit.inspector.state import EDITS, pages, step, toggle_pin, turn, with_query
from casnkit.inspector.twins import FIGURES
from casnkit.models import CASN
from casnkit.ranking import evaluate_ranking, rank_changes


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ck.ReidDataset:
    return make_data(tmp_path_factory.mktemp("market"))


@pytest.fixture
def networks(make_model: Callable[..., CASN]) -> dict[str, Any]:
    return make_networks(make_model)


@pytest.fixture
def desk(networks: dict[str, Any], data: ck.ReidDataset) -> Desk:
    return Desk(networks, data)


class TestNumbers:
    def test_a_finished_evaluation_is_taken_over(self, networks: dict[str, Any], data: ck.ReidDataset) -> None:
        model, settings = networks["casn"]
        result = evaluate(model, data, settings, device="cpu", progress=False)
        info = ck.runs.RunInfo(settings, np.arange(5), {}, {})
        desk = Desk({"casn": (model, result, info)}, data)
        assert desk.network().gallery is result.gallery
        assert desk.ranking(5).ranking.average_precision == result.rankings["sum"].average_precision[5]

    def test_tiles_against_a_slow_sort(self, desk: Desk, data: ck.ReidDataset) -> None:
        g, i = data.gallery, 7
        row, pid, camid = desk.network().row(i, "sum"), data.query.pids[i], data.query.camids[i]
        kept = [j for j in range(len(g)) if g.pids[j] != -1 and not (g.pids[j] == pid and g.camids[j] == camid)]
        order = sorted(kept, key=lambda j: (row[j], j))
        ranking = desk.ranking(i)
        listed = [tile for page in range(ranking.num_pages()) for tile in ranking.page(page)]
        assert [tile.gallery for tile in listed] == order
        assert [tile.position for tile in listed] == list(range(1, len(order) + 1))
        for tile in listed:
            expected = "correct" if tile.pid == pid else "distractor" if tile.pid == 0 else "wrong"
            assert tile.status == expected
            assert tile.distance == row[tile.gallery]
        everything = [tile for page in range(ranking.num_pages(True)) for tile in ranking.page(page, True)]
        assert sorted(tile.gallery for tile in everything) == list(range(len(g)))
        assert {t.label for t in everything if t.status in ("junk", "same_camera")} == {"–", "="}

    def test_pair_numbers_by_hand(self, desk: Desk, networks: dict[str, Any]) -> None:
        desk.set(query=4, gallery=11)
        network, pair, model = desk.network(), desk.pair(), networks["casn"][0]
        difference = network.query.features[4:5] - network.gallery.features[11:12]
        with torch.no_grad():
            assert pair.probability == pytest.approx(model.pair_scores(difference).softmax(1)[0, 1].item(), abs=1e-6)
            maps = model.siamese_attention_of(network.query.feature_maps[4:5], network.gallery.feature_maps[11:12])
        for shown, expected in zip(pair.maps, maps, strict=True):
            np.testing.assert_allclose(shown, expected[0].numpy(), rtol=1e-5, atol=1e-7)
        assert pair.attention == pytest.approx(attention.attention_distance(*maps, 0.5).item(), abs=1e-5)
        unit = [
            torch.nn.functional.normalize(f, dim=1).double() for f in (network.query.features, network.gallery.features)
        ]
        assert pair.feature == pytest.approx((unit[0][4] - unit[1][11]).norm().item(), abs=1e-6)
        assert pair.fused == pytest.approx(float(network.row(4, "sum")[11]), abs=1e-6)

    def test_random_weights_leave_the_random_state_alone(self, desk: Desk) -> None:
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        desk.set(random_weights=True)
        rows = views.pictures(desk)
        assert torch.equal(torch.rand(3), expected)
        assert "random weights" in rows[-1][0].heading
        assert np.abs(rows[0][0].maps[0] - rows[-1][0].maps[0]).max() > 0

    def test_normalised_over_the_matrix(self, networks: dict[str, Any], data: ck.ReidDataset) -> None:
        model, settings = networks["casn"]
        settings = settings.replace(ranking={"normalise_per": "matrix"})
        expected = evaluate(model, data, settings, device="cpu", progress=False)
        desk = Desk({"casn": (model, settings)}, data)
        for i in (0, 9):
            np.testing.assert_allclose(desk.ranking(i).distances, expected.distances["sum"][i], atol=1e-6)


class TestTables:
    def test_every_column_by_a_loop(self, desk: Desk, data: ck.ReidDataset) -> None:
        table = desk.table()
        for i in range(0, len(data.query), 5):
            ranking = desk.ranking(i)
            kept, status = ranking.ranking.kept, ranking.ranking.status
            hits = [k + 1 for k, j in enumerate(kept) if status[j] == "correct"]
            assert table.average_precision[i] == ranking.ranking.average_precision
            assert (table.first_hit[i], table.last_hit[i], table.num_matches[i]) == (hits[0], hits[-1], len(hits))
            assert table.top[i] == kept[0]
            assert table.top_right[i] == (hits[0] == 1)
            desk.set(query=i, gallery=int(kept[0]))
            assert table.confidence[i] == pytest.approx(desk.pair().probability, abs=1e-6)
            right = int(kept[hits[0] - 1])
            assert table.nearest_right[i] == right
            assert table.consistency[i] == pytest.approx(float(desk.network().row(i, "attention")[right]), abs=1e-5)
            wrong = next(int(j) for j in kept if status[j] != "correct")
            a, b = ranking.distances[wrong], ranking.distances[right]
            assert table.margin[i] == pytest.approx((a - b) / max(a, b), rel=1e-5)

    def test_filters_and_orders_by_a_loop(self, desk: Desk, data: ck.ReidDataset) -> None:
        desk.set(other="ide", filter="worse", filter_value=0.0, order="change")
        found = desk.candidates()
        ours, others = desk.table().average_precision, desk.table("ide").average_precision
        expected = [i for i in range(len(data.query)) if ours[i] - others[i] > 0]
        assert found == sorted(expected, key=lambda i: -abs(ours[i] - others[i]))
        assert found
        desk.set(filter="AP below", filter_value=0.3, order="AP")
        found = desk.candidates()
        assert found == sorted((i for i in range(len(ours)) if ours[i] < 0.3), key=lambda i: ours[i])
        desk.set(query=found[2])
        assert desk.place() == f"3 of {len(found)} · AP below 0.3 · lowest AP first"
        desk.set(pid=int(data.query.pids[5]), camid=int(data.query.camids[5]), filter="all", order="data")
        assert desk.candidates() == [5]

    @pytest.mark.parametrize("name", list(filters.FILTERS))
    def test_every_filter_takes_some_and_says_so(self, desk: Desk, name: str) -> None:
        value = filters.FILTERS[name].value
        desk.set(other="ide", filter=name, filter_value=0.5 if value is None else value)
        found = desk.candidates()
        assert len(set(found)) == len(found) <= 54
        assert "{" not in desk.place()
        assert (name == "no match") == (not found) or name in ("deep match", "confidently wrong")

    def test_a_second_model_is_asked_for(self, desk: Desk) -> None:
        desk.set(filter="better")
        with pytest.raises(ValueError, match="choose one to compare with"):
            desk.candidates()

    def test_all_moves_equal_one_call(self, desk: Desk, data: ck.ReidDataset) -> None:
        desk.set(other="ide")
        before, after = desk.sides()
        matrices = [np.stack([s.network.row(i, s.ranked_by) for i in range(len(data.query))]) for s in (before, after)]
        q, g = data.query, data.gallery
        expected = rank_changes(*matrices, q.pids, q.camids, g.pids, g.camids)
        found = all_moves(before, after)
        for field in ("query", "gallery", "before", "after"):
            np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
        mine = {m.gallery: (m.before, m.after) for m in desk.moves()}
        here = np.flatnonzero(expected.query == 0)
        assert mine == {int(expected.gallery[k]): (int(expected.before[k]), int(expected.after[k])) for k in here}
        gains = [abs(m.gain) for m in desk.moves("change")]
        assert gains == sorted(gains, reverse=True)

    def test_without_another_model_the_ways_are_compared(self, desk: Desk) -> None:
        assert [side.ranked_by for side in desk.sides()] == ["features", "sum"]
        desk.set(model="ide")
        with pytest.raises(ValueError, match="compare with"):
            desk.sides()


class TestState:
    def test_through_json(self, desk: Desk) -> None:
        rng = np.random.default_rng(3)
        for _ in range(30):
            rows = sorted(rng.random(2).round(3).tolist())
            edit = Edit(kind=str(rng.choice(EDITS)), rows=tuple(rows), share=float(rng.random()))
            state = State(query=int(rng.integers(54)), gallery=int(rng.integers(62)), model="casn", edit=edit,
                          threshold=float(rng.random() * 0.9), opacity=float(rng.random()))  # fmt: skip
            again = State.from_dict(json.loads(json.dumps(state.to_dict())))
            assert again == state
            desk.load(again)
            assert desk.current == state

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"query": 54}, "0 .. 53"),
            ({"query": -1}, "from 0"),
            ({"gallery": 62}, "0 .. 61"),
            ({"threshold": 1.0}, "from 0 to"),
            ({"threshold": float("nan")}, "from 0 to"),
            ({"opacity": "much"}, "number"),
            ({"ranked_by": "luck"}, "features"),
            ({"method": "tea leaves"}, "siamese"),
            ({"method": "identification", "target": "same"}, "explains"),
            ({"filter": "nice"}, "filter"),
            ({"model": "none"}, "no model"),
            ({"colour": "red"}, "known are"),
            ({"edit": {"kind": "cut"}}, "none"),
            ({"view": 3}, "pair"),
        ],
    )
    def test_what_does_not_fit_changes_nothing(self, desk: Desk, changes: dict[str, Any], words: str) -> None:
        before = desk.current
        with pytest.raises(ValueError, match=words):
            desk.set(**changes)
        assert desk.current == before

    def test_steps_and_pages(self) -> None:
        assert [step([3, 5, 9], 5, by) for by in (1, -1, 2)] == [9, 3, 3]
        assert step([3, 5, 9], 4, 1) == 3
        assert step([3, 5, 9], 4, -1) == 9
        with pytest.raises(ValueError, match="no query fits"):
            step([], 4, 1)
        assert [pages(n) for n in (0, 1, 10, 11)] == [1, 1, 1, 2]
        state = State()
        walked = [
            (state := turn(state, to, 31)).page for to in ("next", "last", "next", "previous", "first", "previous", 99)
        ]
        assert walked == [1, 3, 3, 2, 0, 0, 3]

    def test_another_query_starts_a_new_look(self) -> None:
        state = State(gallery=4, pinned=9, page=3, edit=Edit(kind="rows", share=0.7), threshold=0.2)
        new = with_query(state, 8)
        assert (new.gallery, new.pinned, new.page, new.edit.kind) == (None, None, 0, "none")
        assert (new.threshold, new.edit.share) == (0.2, 0.7)
        assert with_query(state, 0) == state
        assert toggle_pin(toggle_pin(state, 5), 5).pinned is None


class TestWhatIf:
    @pytest.mark.parametrize("side", ["query", "gallery"])
    def test_hidden_rows_by_hand(self, desk: Desk, networks: dict[str, Any], side: str) -> None:
        i, j, model = 3, 20, networks["casn"][0]
        desk.set(query=i, gallery=j, ranked_by="features", edit=Edit("rows", side, rows=(0.25, 0.75)))
        found, network = desk.outcome().found, desk.network()
        images = {name: pairs.images_of(network, name, k) for name, k in (("query", i), ("gallery", j))}
        images[side] = images[side].clone()
        images[side][:, :, 8:24] = 0
        with torch.no_grad():
            features = {name: model.pool(model.feature_map(image)) for name, image in images.items()}
            expected = model.pair_scores(features["query"] - features["gallery"]).softmax(1)[0, 1].item()
        assert found.probability[1] == pytest.approx(expected, abs=1e-5)
        gallery = network.gallery.features.clone()
        if side == "gallery":
            gallery[j] = features["gallery"][0]
        row = ck.ranking.feature_distances(features["query"], gallery)[0]
        assert found.position[1] == int(network.rank(i, row).position[j])
        assert found.hidden == 0.5
        shown = views.edited_picture(desk)
        first, rank = found.position
        assert first != rank
        assert f"rank {first} ·" in views.picture(desk).titles[1]
        assert f"rank {first} → {rank} ·" in shown.titles[1]
        place = 0 if side == "query" else 1
        assert (shown.images[place][8:24] == shown.images[place][8, 0]).all()

    @pytest.mark.parametrize("kind", [k for k in EDITS if k != "none"])
    def test_every_edit_hides_something_and_says_what(self, desk: Desk, kind: str) -> None:
        desk.set(edit=Edit(kind, columns=(0.2, 0.8), share=0.25))
        outcome = desk.outcome()
        assert 0 < outcome.found.hidden < 1
        assert outcome.note
        assert len(outcome.found.moved(5)) <= 5

    def test_attended_and_unattended_are_apart(self, desk: Desk) -> None:
        from casnkit.inspector.whatif import mask_of

        maps = desk.pair().maps[0]
        both = [
            mask_of(desk.network(), Edit(kind, share=0.3), 0, maps, (32, 16))[0] for kind in ("attended", "unattended")
        ]
        assert not (both[0] * both[1]).any()
        assert [round(float(m.mean()), 2) for m in both] == [0.3, 0.3]

    def test_nothing_hidden_is_said(self, desk: Desk) -> None:
        with pytest.raises(ValueError, match="choose what to hide"):
            desk.outcome()


class TestPictures:
    def test_rows_and_agreement_by_hand(self) -> None:
        first = np.array([[0.0, 0.0], [1.0, 0.2], [0.4, 0.6], [0.0, 0.1]])
        second = np.array([[0.0, 0.0], [0.0, 0.0], [2.0, 0.0], [0.0, 1.2]])
        rows = pairs.rows_of((first, second), 0.5)
        assert rows.bounds == ((1, 2), (2, 3))
        np.testing.assert_allclose(rows.profiles[1], [0, 0, 1, 0.6])
        found = pairs.agreement((first, second), 0.5)
        assert found.iou == 0  # (1, 0) and (2, 1) against (2, 0) and (3, 1)
        assert found.correlation == pytest.approx(np.corrcoef(first.ravel(), second.ravel())[0, 1])
        np.testing.assert_allclose(found.difference[2], [0.4 - 1, 0.6])
        assert pairs.agreement((first, second[:3]), 0.5) is None

    def test_marks_differ_without_colour(self) -> None:
        grey = np.full((64, 32, 3), 128, np.uint8)
        drawn = {}
        for status in tiles.LINES:
            data = tiles.thumbnail(grey, status, 190)
            drawn[status] = np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(int)
        for one, other in itertools.combinations(drawn, 2):
            glyph = np.abs(drawn[one][10:32, 10:32] - drawn[other][10:32, 10:32]) > 60
            assert glyph.sum() > 10, (one, other)

    def test_the_twin_says_every_rank_and_no_two_touch(self, desk: Desk) -> None:
        desk.set(query=4, other="ide")
        moves = desk.moves()
        figure = FIGURES["models"](desk)
        texts = figure.axes[0].texts
        for column, ranks in ((0, {m.before for m in moves}), (1, {m.after for m in moves})):
            side = [t for t in texts if (t.get_position()[0] > 0.5) == bool(column)]
            assert [int(t.get_text()) for t in side] == sorted(ranks)
            boxes = [t.get_window_extent() for t in side]
            assert all(a.y0 >= b.y1 for a, b in itertools.pairwise(boxes))
            axes = figure.axes[0].get_window_extent()
            assert all(axes.x0 < box.x0 and box.x1 < axes.x1 and axes.y0 <= box.y0 + 1 for box in boxes)
        assert len(moves) > 1

    @pytest.mark.parametrize("view", list(FIGURES))
    def test_every_view_has_a_static_twin(self, desk: Desk, view: str) -> None:
        desk.set(other="ide", pinned=5, edit=Edit("rows"))
        figure = FIGURES[view](desk)
        assert isinstance(figure, Figure)
        assert min(figure.get_size_inches()) > 1


class TestTrouble:
    def test_unreadable_pictures_are_junk(self, networks: dict[str, Any], tmp_path: Path) -> None:
        data = make_data(tmp_path)
        clean = Desk(networks, data)
        expected = {}
        broken = Path(data.gallery.paths[30])
        away = np.arange(len(data.gallery)) != 30
        without = dataclasses.replace(data, gallery=data.gallery.subset(away))
        for i in range(0, 54, 6):
            row, g = clean.network().row(i, "features")[away], without.gallery
            q = data.query
            one = evaluate_ranking(row[None], q.pids[[i]], q.camids[[i]], g.pids, g.camids)
            expected[i] = float(one.average_precision[0]), int(one.first_hit[0])
        broken.write_bytes(b"no picture")
        Path(data.query.paths[2]).write_bytes(b"")
        desk = Desk(networks, data)
        assert broken.name in " ".join(desk.hints)
        for i, (precision, first) in expected.items():
            found = desk.ranking(i, by="features")
            assert (found.ranking.average_precision, found.ranking.first_hit) == (precision, first)
            assert found.tile(30).status == "unreadable"
            assert "1 unreadable" in found.protocol()
            assert found.page_of(30) is None
            assert found.page_of(30, show_ignored=True) == found.num_pages(True) - 1 or i
        desk.set(query=2)
        assert "left out of every mean" in desk.ranking().protocol()
        desk.set(query=0, gallery=30)
        assert views.picture(desk).images[1].shape == (128, 64, 3)

    def test_a_missing_checkpoint_stays_in_the_list(self, networks: dict[str, Any], data: ck.ReidDataset) -> None:
        desk = Desk({"gone": "/no/such/run", **networks}, data)
        assert desk.current.model == "casn"
        assert "/no/such/run" in desk.hints[0]
        for field in ("model", "other"):
            with pytest.raises(ValueError, match="no such folder"):
                desk.set(**{field: "gone"})
        with pytest.raises(ValueError, match="none of the models could be loaded"):
            Desk(["/no/such/run"], data)
        with pytest.raises(ValueError, match="at least one trained run"):
            Desk([], data)

    def test_no_match_and_a_gallery_of_one(self, networks: dict[str, Any], data: ck.ReidDataset) -> None:
        one = dataclasses.replace(data, gallery=data.gallery.subset([40]))
        desk = Desk(networks, one)
        for i in range(0, 54, 9):
            desk.set(query=i)
            ranking = desk.ranking()
            assert len(ranking.page(0, True)) == 1
            assert views.pictures(desk)
            if not len(ranking.matches):
                assert "No true match" in ranking.protocol()
                assert "AP undefined" in ranking.scores()
        assert np.isnan(desk.table().average_precision).any()
        empty = dataclasses.replace(data, gallery=data.gallery.subset(np.zeros(0, np.int64)))
        with pytest.raises(ValueError, match="at least one image"):
            Desk(networks, empty)

    def test_notes_that_are_damaged_are_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.json"
        for text in ("{", "[]", '{"format": 1, "notes": {"a": 3}, "presets": {}}'):
            path.write_text(text)
            with pytest.raises(ValueError, match="notes"):
                Notes(path)
            assert path.read_text() == text
        path.unlink()
        notes = Notes(path)
        notes.put("a", "text")
        notes.put_preset("mine", {"filter": "AP below", "filter_value": 0.2, "order": "AP"})
        notes.put("a", "")
        assert Notes(path).notes == {}
        assert Notes(path).presets == {"mine": {"filter": "AP below", "filter_value": 0.2, "order": "AP"}}
        with pytest.raises(ValueError, match="name"):
            notes.put_preset(" ", {})
