"""Camera pairs and the choice of a weight, each against the slow protocol on the very pictures that count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from slow_protocol import Problem, random_problem, slow_evaluation

from casnkit.ranking import RANKS, WEIGHTS, camera_pairs, choose_weight, evaluate_ranking, fuse


def only(problem: Problem, query_camera: int, gallery_camera: int) -> Problem:
    rows, columns = problem.query_camids == query_camera, problem.gallery_camids == gallery_camera
    sides = problem.query_pids[rows], problem.query_camids[rows]
    return Problem(
        problem.distances[rows][:, columns], *sides, problem.gallery_pids[columns], problem.gallery_camids[columns]
    )


@pytest.mark.filterwarnings("error")
def test_every_cell_equals_the_protocol_on_its_own_images() -> None:
    cells = empty = 0
    for seed in range(40):
        problem = random_problem(seed)
        found = camera_pairs(*problem.arguments)
        assert found.query_cameras.tolist() == sorted(set(problem.query_camids.tolist()))
        assert found.num_queries.sum() == len(problem.query_pids)
        assert found.num_gallery.sum() == len(problem.gallery_pids)
        for i, j in np.ndindex(found.mean_ap.shape):
            expected = slow_evaluation(only(problem, found.query_cameras[i], found.gallery_cameras[j]))
            if expected is None:
                assert np.isnan(found.mean_ap[i, j])
                assert np.isnan(found.cmc[i, j]).all()
                assert found.num_valid[i, j] == 0
                empty += 1
                continue
            assert found.mean_ap[i, j] == pytest.approx(expected["step"])
            assert found.num_valid[i, j] == expected["num_valid"]
            assert [found.rank(k)[i, j] for k in RANKS] == pytest.approx([expected["cmc"][k - 1] for k in RANKS])
            cells += 1
    assert min(cells, empty) > 50


def test_the_diagonal_is_empty_and_rows_tell_the_rest() -> None:
    problem = random_problem(11, plain=True)
    found = camera_pairs(torch.from_numpy(problem.distances), *problem.arguments[1:])
    same = found.query_cameras[:, None] == found.gallery_cameras
    assert np.isnan(found.rank_1[same]).all()
    rows = found.rows()
    assert len(rows) == (found.num_valid > 0).sum() > 0
    for row in rows:
        i = found.query_cameras.tolist().index(row["query camera"])
        j = found.gallery_cameras.tolist().index(row["gallery camera"])
        assert row["rank_5"] == 100 * found.rank(5)[i, j]
        assert row["gallery"] == (problem.gallery_camids == row["gallery camera"]).sum()
    with pytest.raises(ValueError, match="1, 5, 10, 20, got 3"):
        found.rank(3)


def test_shapes_are_compared() -> None:
    problem = random_problem(3)
    with pytest.raises(ValueError, match="expected shape"):
        camera_pairs(problem.distances.T, *problem.arguments[1:])


def validation(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Features and attention that each see half of what tells people apart."""
    rng = np.random.default_rng(seed)
    centres, pids = rng.normal(size=(20, 8)), [np.repeat(np.arange(20), n) for n in (2, 6)]
    halves = []
    for part, noise in ((slice(0, 4), 0.8), (slice(4, 8), 1.2)):
        sides = [centres[p, part] + noise * rng.normal(size=(len(p), 4)) for p in pids]
        halves.append(np.sqrt(((sides[0][:, None] - sides[1]) ** 2).sum(2)))
    labels = pids[0] + 1, np.zeros(40, int), pids[1] + 1, np.ones(120, int)
    return *halves, labels


@pytest.mark.parametrize(("normalisation", "per"), [("minmax", "query"), ("zscore", "matrix")])
def test_the_best_weight_is_the_best_of_all_that_were_tried(normalisation: str, per: str) -> None:
    features, attention, labels = validation(0)
    curve = choose_weight(features, attention, *labels, normalisation=normalisation, per=per)
    assert curve.weights.tolist() == list(WEIGHTS)
    for weight, mean_ap, rank_1 in zip(curve.weights, curve.mean_ap, curve.rank_1, strict=True):
        result = evaluate_ranking(fuse(features, attention, weight, normalisation, per), *labels)
        assert mean_ap == pytest.approx(result.mean_ap, abs=1e-12)
        assert rank_1 == result.rank(1)
    assert curve.mean_ap[list(curve.weights).index(curve.best)] == curve.mean_ap.max()
    assert 0 < curve.best < 1
    assert curve.mean_ap.max() > max(curve.mean_ap[0], curve.mean_ap[-1])


def test_of_equal_weights_the_smallest_and_in_any_order() -> None:
    features, _, labels = validation(1)
    assert choose_weight(features, features, *labels, weights=[0.9, 0.2, 0.5]).best == 0.2
    noise = np.random.default_rng(0).random(features.shape)
    assert choose_weight(features, noise, *labels).best < 0.2
    assert choose_weight(noise, features, *labels).best > 0.8


def test_no_weight_is_refused() -> None:
    features, attention, labels = validation(2)
    with pytest.raises(ValueError, match="at least one weight"):
        choose_weight(features, attention, *labels, weights=[])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        choose_weight(features, attention, *labels, weights=[0.5, 2])
