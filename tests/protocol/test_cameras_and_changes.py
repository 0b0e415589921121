"""Camera pairs and rank changes, each against the slow protocol."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from slow_protocol import Problem, random_problem, slow_evaluation, slow_query

from casnkit.ranking import RankChanges, camera_pairs, rank_changes


def slow_changes(before: Problem, after: Problem) -> list[tuple[int, int, int, int]]:
    both = [(q, slow_query(before, q), slow_query(after, q)) for q in range(len(before.query_pids))]
    return [
        (q, g, old["kept"].index(g) + 1, new["kept"].index(g) + 1)
        for q, old, new in both
        for g in sorted(old["matches"] if old else ())
    ]


def test_random_problems_equal_the_slow_loop() -> None:
    compared = 0
    for seed in range(100):
        before = random_problem(seed)
        shuffled = np.random.default_rng(seed).permuted(before.distances, axis=1)
        after = Problem(shuffled, *before.arguments[1:])
        expected = slow_changes(before, after)
        if not expected:
            with pytest.raises(ValueError, match="at least one query with a match"):
                rank_changes(before.distances, *after.arguments)
            continue
        changes = rank_changes(before.distances, *after.arguments)
        rows = list(zip(changes.query, changes.gallery, changes.before, changes.after, strict=True))
        assert rows == expected
        check_lists(changes)
        compared += len(rows)
    assert compared > 500


def check_lists(changes: RankChanges) -> None:
    gains = [old - new for old, new in zip(changes.before, changes.after, strict=True)]
    up = sorted((i for i, gain in enumerate(gains) if gain > 0), key=lambda i: (-gains[i], i))
    down = sorted((i for i, gain in enumerate(gains) if gain < 0), key=lambda i: (gains[i], i))
    assert changes.top_gains(5).tolist() == up[:5]
    assert changes.top_losses(5).tolist() == down[:5]
    summary = changes.summary()
    assert (summary["improved"], summary["worsened"]) == (len(up), len(down))
    assert summary["unchanged"] == len(changes) - len(up) - len(down)
    first_before = {int(q) for q, rank in zip(changes.query, changes.before, strict=True) if rank == 1}
    first_after = {int(q) for q, rank in zip(changes.query, changes.after, strict=True) if rank == 1}
    assert changes.rank_1_gained().tolist() == sorted(first_after - first_before)
    assert changes.rank_1_lost().tolist() == sorted(first_before - first_after)


def test_worked_example() -> None:
    # Person 3 is in gallery images 1 and 4; image 0 is junk, image 2 has the query's camera. Those that are kept stand
    # in line as 1, 3, 5, 4 before and as 4, 5, 3, 1 after.
    pids, camids = [-1, 3, 3, 8, 3, 0], [2, 2, 1, 1, 3, 4]
    distances = np.array([[0.0, 0.1, 0.2, 0.3, 0.9, 0.5]]), np.array([[0.0, 0.9, 0.2, 0.6, 0.1, 0.5]])
    changes = rank_changes(*distances, [3], [1], pids, camids)
    for name, values in (("gallery", [1, 4]), ("before", [1, 4]), ("after", [4, 1]), ("gain", [-3, 3])):
        assert getattr(changes, name).tolist() == values
    counts = {"num_matches": 2, "num_queries": 1, "improved": 1, "worsened": 1, "unchanged": 0}
    means = {"mean_rank_before": 2.5, "mean_rank_after": 2.5}
    assert changes.summary() == {**counts, **means, "rank_1_gained": 0, "rank_1_lost": 0}
    with pytest.raises(ValueError, match=r"expected shape \(1, 6\).*found \(1, 5\)"):
        rank_changes(distances[0], distances[1][:, 1:], [3], [1], pids, camids)


@pytest.mark.filterwarnings("error")
def test_every_pair_of_cameras_equals_the_protocol_on_its_own_images() -> None:
    seen = {True: 0, False: 0}
    for seed in range(40):
        problem = random_problem(seed)
        found = camera_pairs(torch.from_numpy(problem.distances), *problem.arguments[1:])
        pairs = [(q, g) for q in np.unique(problem.query_camids) for g in np.unique(problem.gallery_camids)]
        assert list(zip(found["query camera"], found["gallery camera"], strict=True)) == pairs
        for row in found.to_dict("records"):
            rows = problem.query_camids == row["query camera"]
            columns = problem.gallery_camids == row["gallery camera"]
            labels = problem.query_pids[rows], problem.query_camids[rows], problem.gallery_pids[columns]
            part = Problem(problem.distances[rows][:, columns], *labels, problem.gallery_camids[columns])
            expected = slow_evaluation(part)
            seen[expected is None] += 1
            assert row["gallery"] == len(part.gallery_pids)
            assert row["queries"] == (expected["num_valid"] if expected else 0)
            for name, key in (("mean_ap", "step"), *((f"rank_{k}", k - 1) for k in (1, 5, 10, 20))):
                wanted = np.nan if expected is None else (expected[key] if key == "step" else expected["cmc"][key])
                assert row[name] == pytest.approx(100 * wanted, nan_ok=True)
    assert min(seen.values()) > 50
    with pytest.raises(ValueError, match="expected shape"):
        camera_pairs(problem.distances[:, :-1], *problem.arguments[1:])
