"""evaluate_ranking and rank_gallery against a slow loop, worked examples, scikit-learn, and what must not matter."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from slow_protocol import Problem, random_problem, slow_evaluation, slow_query

from casnkit.ranking import (
    RankingResult,
    RankingWarning,
    evaluate_ranking,
    ignored_mask,
    matches_mask,
    protocol,
    rank_gallery,
)

MEANS = {"step": "mean_ap", "trapezoid": "mean_ap_trapezoid", "inp": "mean_inp"}


def quiet(problem: Problem, max_rank: int = 50) -> RankingResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankingWarning)
        return evaluate_ranking(*problem.arguments, max_rank=max_rank)


def test_200_random_problems_equal_the_slow_loop() -> None:
    seen = {"evaluated": 0, "no valid query": 0, "short gallery": 0, "unmatched": 0, "tied match": 0}
    for seed in range(200):
        problem, max_rank = random_problem(seed, ties=seed % 4 != 0), 1 + seed % 60
        expected = slow_evaluation(problem, max_rank)
        if expected is None:
            with pytest.raises(ValueError, match="at least one query with a match"):
                quiet(problem, max_rank)
            seen["no valid query"] += 1
            continue
        result = quiet(problem, max_rank)
        np.testing.assert_allclose(result.cmc, expected["cmc"], rtol=0, atol=1e-12)
        for slow, name in MEANS.items():
            assert getattr(result, name) == pytest.approx(expected[slow], rel=0, abs=1e-12)
        assert (result.num_valid, result.num_queries) == (expected["num_valid"], len(problem.query_pids))
        for q in range(result.num_queries):
            check_query(result, problem, q)
        seen["evaluated"] += 1
        seen["short gallery"] += len(problem.gallery_pids) < max_rank
        seen["unmatched"] += result.num_valid < result.num_queries
        matches, ignored = matches_mask(*problem.arguments[1:]), ignored_mask(*problem.arguments[1:])
        rows = zip(problem.distances, matches, ignored, strict=True)  # tied: the index decides
        seen["tied match"] += any(set(row[right]) & set(row[~right & ~drop]) for row, right, drop in rows)
    assert min(seen.values()) >= 5, f"the random problems miss a case: {seen}"


def check_query(result: RankingResult, problem: Problem, q: int) -> None:
    """Against the slow loop: the result's entries, the masks, and the query's own ranking."""
    expected, sides = slow_query(problem, q), problem.arguments[1:]
    ranking = rank_gallery(problem.distances[q], sides[0][q], sides[1][q], *sides[2:])
    assert np.flatnonzero(ranking.position).tolist() == sorted(ranking.kept.tolist())
    if expected is None:
        assert np.isnan([result.average_precision[q], ranking.average_precision]).all()
        assert (result.first_hit[q], ranking.first_hit, result.num_matches[q]) == (-1, -1, 0)
        assert "correct" not in ranking.status
        return
    assert result.average_precision[q] == pytest.approx(expected["step"], rel=0, abs=1e-12)
    assert ranking.average_precision == result.average_precision[q]
    assert result.first_hit[q] == ranking.first_hit == expected["positions"][0]
    assert (result.num_matches[q], result.num_ignored[q]) == (len(expected["matches"]), expected["ignored"])
    assert ranking.kept.tolist() == expected["kept"]
    for found in (matches_mask(*sides)[q], ranking.status == "correct"):
        assert np.flatnonzero(found).tolist() == sorted(expected["matches"])
    assert np.flatnonzero(~ignored_mask(*sides)[q]).tolist() == sorted(expected["kept"])


def test_worked_example() -> None:
    """One query, person 7 on camera 1, and the gallery by distance: what each image is, and its position."""
    rows = (
        (0.1, 7, 1, "same_camera", 0),
        (0.2, 7, 2, "correct", 1),
        (0.3, 0, 2, "distractor", 2),
        (0.4, -1, 3, "junk", 0),
        (0.5, 5, 1, "wrong", 3),
        (0.6, 7, 3, "correct", 4),
        (0.7, 7, -1, "correct", 5),  # camera unknown
        (0.8, 5, 4, "wrong", 6),
    )
    shuffle = np.array([5, 2, 7, 0, 3, 6, 1, 4])
    distances, pids, camids, statuses, positions = (np.array(one)[shuffle] for one in zip(*rows, strict=True))
    result = evaluate_ranking(distances[None], [7], [1], pids, camids, max_rank=10)
    # Hits at positions 1, 4, 5. Precision there 1/1, 2/4, 3/5; just above 1, 1/3, 2/4.
    assert result.mean_ap == pytest.approx((1 + 1 / 2 + 3 / 5) / 3, abs=1e-15)
    trapezoid = ((1 + 1) / 2 + (1 / 3 + 1 / 2) / 2 + (1 / 2 + 3 / 5) / 2) / 3
    assert result.mean_ap_trapezoid == pytest.approx(trapezoid, abs=1e-15)
    assert result.mean_inp == pytest.approx(3 / 5, abs=1e-15)
    assert result.cmc.tolist() == [1.0] * 10
    assert [result.rank(k) for k in (1, 10)] == [1, 1]
    for k in (0, 11):
        with pytest.raises(ValueError, match=r"at least 1, got 0|rank from 1 to max_rank = 10"):
            result.rank(k)
    ranking = rank_gallery(distances, 7, 1, pids, camids)
    assert shuffle[ranking.order].tolist() == list(range(8))
    assert shuffle[ranking.kept].tolist() == [1, 2, 4, 5, 6, 7]
    assert ranking.status.tolist() == statuses.tolist()
    assert ranking.position.tolist() == positions.tolist()
    with pytest.raises(ValueError, match=r"shape \(1, 3\).*found \(1, 1, 3\)"):
        rank_gallery(np.zeros((1, 3)), 1, 1, [1, 2, 3], [1, 2, 3])


def test_equals_scikit_learn_without_ties() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    compared = 0
    for seed in range(60):
        problem = random_problem(seed, ties=False)
        if slow_evaluation(problem) is None:
            continue
        result = quiet(problem)
        matches, ignored = matches_mask(*problem.arguments[1:]), ignored_mask(*problem.arguments[1:])
        for q in np.flatnonzero(result.num_matches):
            keep = ~ignored[q]
            expected = metrics.average_precision_score(matches[q, keep], -problem.distances[q, keep])
            assert result.average_precision[q] == pytest.approx(expected, rel=0, abs=1e-12)
            compared += 1
    assert compared > 50


def same_numbers(a: RankingResult, b: RankingResult) -> None:
    assert a.cmc.tolist() == b.cmc.tolist()
    for name in (*MEANS.values(), "num_valid"):
        assert getattr(a, name) == getattr(b, name), name
    np.testing.assert_array_equal(a.average_precision, b.average_precision)


def big_problem(seed: int) -> Problem:
    """Without ties, always with a valid query."""
    rng = np.random.default_rng(seed)
    sides = (rng.integers(0, 6, 12), rng.integers(1, 5, 12), rng.integers(0, 6, 90), rng.integers(1, 5, 90))
    return Problem(rng.permutation(12 * 90).reshape(12, 90).astype(np.float32), *sides)


def with_extra(problem: Problem, pid: int, distances: np.ndarray) -> Problem:
    """``problem`` with (Q, n) more gallery images of ``pid`` on camera 2, put in front (in front wins a tie)."""
    return Problem(
        np.concatenate([distances, problem.distances], axis=1),
        problem.query_pids,
        problem.query_camids,
        np.concatenate([np.full(distances.shape[1], pid), problem.gallery_pids]),
        np.concatenate([np.full(distances.shape[1], 2), problem.gallery_camids]),
    )


@pytest.mark.parametrize("seed", range(10))
def test_order_junk_and_chunks_change_nothing_and_a_distractor_only_lowers(seed: int, monkeypatch) -> None:
    problem, rng = big_problem(seed), np.random.default_rng(seed)
    with monkeypatch.context() as changed:
        changed.setattr(protocol, "CHUNK_VALUES", 200)
        in_chunks = quiet(problem)
    same_numbers(in_chunks, quiet(problem))
    order = rng.permutation(len(problem.gallery_pids))
    sides = problem.query_pids, problem.query_camids, problem.gallery_pids[order], problem.gallery_camids[order]
    same_numbers(quiet(problem), quiet(Problem(problem.distances[:, order], *sides)))
    junk = rng.uniform(-10, 1200, (12, 30)).astype(np.float32)
    same_numbers(quiet(problem), quiet(with_extra(problem, -1, junk)))
    extra = rng.uniform(0, 1080, (12, 5)).astype(np.float32)
    before, after = quiet(problem), quiet(with_extra(problem, 0, extra))
    assert (after.cmc <= before.cmc).all()
    assert all(getattr(after, name) < getattr(before, name) for name in MEANS.values())
    assert after.num_valid == before.num_valid


def test_unknown_cameras_switch_the_same_camera_rule_off() -> None:
    with pytest.raises(ValueError, match="another camera"):
        evaluate_ranking(np.array([[0.1, 0.2]]), [3], [2], [3, 4], [2, 2])
    for query_camid, gallery_camid in ((-1, 2), (2, -1), (-1, -1)):
        assert evaluate_ranking(np.array([[0.1, 0.2]]), [3], [query_camid], [3, 4], [gallery_camid, 2]).mean_ap == 1


@pytest.mark.parametrize("num_gallery", [12, 700])
def test_collapse_is_told_from_a_few_ties(num_gallery: int) -> None:
    rng = np.random.default_rng(0)
    pids, camids = rng.integers(1, 4, num_gallery), np.full(num_gallery, 2)
    distances = np.repeat(np.arange(num_gallery / 2), 2)[None] + np.zeros((3, 1))
    assert evaluate_ranking(distances, [1, 2, 3], [1, 1, 1], pids, camids).notes == ()
    distances[1, rng.permutation(num_gallery)[: int(0.7 * num_gallery)]] = 5
    with pytest.warns(RankingWarning, match="1 of 3 queries have more than half"):
        evaluate_ranking(distances, [1, 2, 3], [1, 1, 1], pids, camids)


def test_queries_left_out_are_counted_aloud() -> None:
    distances = np.tile([0.1, 0.2], (4, 1))
    with pytest.warns(RankingWarning) as caught:
        result = evaluate_ranking(distances, [1, 2, 0, -1], [1, 1, 1, 1], [1, 0], [2, 2])
    assert [str(one.message) for one in caught] == list(result.notes)
    assert "1 of 4 queries have pid -1" in result.notes[0]
    assert "2 of 4 queries have no match" in result.notes[1]
    assert (result.num_valid, result.num_queries, result.mean_ap) == (1, 4, 1.0)


EMPTY = np.ones(0, dtype=int)
KINDS = [np.float16, np.float32, np.float64, np.int64, torch.float16, torch.bfloat16, torch.float32, torch.int32]


@pytest.mark.parametrize("dtype", KINDS, ids=str)
def test_every_dtype_and_library_gives_the_same(dtype: np.dtype | torch.dtype) -> None:
    problem = random_problem(5, ties=True)
    problem.distances[np.isinf(problem.distances)] = 200
    distances, others = problem.distances, problem.arguments[1:]
    if isinstance(dtype, torch.dtype):
        others = [torch.from_numpy(values) for values in others]
        given = torch.from_numpy(distances).to("cuda" if torch.cuda.is_available() else "cpu", dtype)
    else:
        given = distances.astype(dtype)
    same_numbers(quiet(Problem(given, *others)), quiet(problem))
    np.testing.assert_array_equal(given.cpu().double() if torch.is_tensor(given) else given, distances)  # left alone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distances": np.zeros((2, 3)).T}, r"expected shape \(2, 3\).*found \(3, 2\)"),
        ({"distances": np.zeros(6)}, r"expected shape \(2, 3\).*found \(6,\)"),
        ({"distances": [[0.0] * 3] * 2}, "found list"),
        ({"distances": np.zeros((2, 3), complex)}, "real numbers"),
        ({"query_camids": [1]}, r"query_camids: .* shape \(2,\).*found int64 of shape \(1,\)"),
        ({"gallery_camids": [1, 1]}, r"gallery_camids: .* shape \(3,\).*found .*\(2,\)"),
        ({"gallery_pids": [[1, 2, 3]]}, r"gallery_pids: .*found .*\(1, 3\)"),
        ({"query_pids": [1.0, 2.0]}, "query_pids: expected integers.* found float64"),
        ({"query_pids": [1, -2]}, "query_pids: expected -1 .* found -2"),
        ({"max_rank": 0}, "max_rank as a whole number of at least 1, got 0"),
        ({"distances": np.array([[0, 1, 2], [0, np.nan, np.nan]])}, "2 NaN, the first for query 1 and gallery image 1"),
        (
            {"distances": np.zeros((0, 3)), "query_pids": EMPTY, "query_camids": EMPTY},
            "at least one query with a match",
        ),
        ({"distances": np.zeros((2, 0)), "gallery_pids": EMPTY, "gallery_camids": EMPTY}, "one query with a match"),
    ],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    names = ("query_pids", "query_camids", "gallery_pids", "gallery_camids")
    good = dict(zip(names, ([1, 2], [1, 1], [1, 2, 3], [2, 2, 2]), strict=True))
    good["distances"] = np.arange(6.0).reshape(2, 3)
    assert evaluate_ranking(**good).num_valid == 2
    with pytest.raises(ValueError, match=message):
        evaluate_ranking(**(good | change))
