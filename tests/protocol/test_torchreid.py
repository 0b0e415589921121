"""Parity with torchreid's evaluator and re-ranking, where it is installed (extra ``test``) and does not crash."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from slow_protocol import blocks_of, people, random_problem, slow_query

from casnkit.ranking import Blocks, evaluate_ranking, rerank

pytestmark = pytest.mark.filterwarnings("ignore")


def load(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """One of torchreid's files alone: importing the package would need its many dependencies."""
    spec = importlib.util.find_spec("torchreid")
    if spec is None or spec.origin is None:
        pytest.skip('torchreid is not installed: pip install "torchreid==0.2.5"')
    path = next(Path(spec.origin).parent.glob(f"**/{name}"))
    monkeypatch.setitem(sys.modules, "torchreid", None)  # its optional compiled part then counts as absent
    file = importlib.util.spec_from_file_location("torchreid_file", path)
    module = importlib.util.module_from_spec(file)
    file.loader.exec_module(module)
    return module


def test_random_problems_equal_torchreid(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, compared = load(monkeypatch, "metrics/rank.py").eval_market1501, 0
    for seed in range(200):
        # torchreid sorts ties unpredictably, and takes 0 and -1 for people: its loaders drop them, so does this test.
        problem, max_rank = random_problem(seed, ties=False, plain=True), 1 + seed % 25
        if all(slow_query(problem, q) is None for q in range(len(problem.query_pids))):
            continue
        result = evaluate_ranking(*problem.arguments, max_rank=max_rank)
        sides = problem.query_pids, problem.gallery_pids, problem.query_camids, problem.gallery_camids
        try:
            cmc, mean_ap = theirs(problem.distances, *sides, max_rank)
        except ValueError as error:
            if "inhomogeneous" not in str(error):  # its known crash: fewer kept images than max_rank, unequal lengths
                raise
            continue
        assert result.mean_ap == pytest.approx(mean_ap, rel=0, abs=1e-12)
        np.testing.assert_allclose(result.cmc[: len(cmc)], cmc, rtol=0, atol=1e-6)  # torchreid's CMC is float32
        assert (result.cmc[len(cmc) :] == result.cmc[-1]).all()
        compared += 1
    assert compared >= 120


def test_distractors_equal_torchreid(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pids, cameras = ([rng.integers(low, high, n) for low, n in ((1, 40), (0, 400))] for high in (20, 6))
    distances = rng.permutation(40 * 400).reshape(40, 400).astype(np.float32)
    theirs = load(monkeypatch, "metrics/rank.py").eval_market1501
    cmc, mean_ap = theirs(distances, *pids, *cameras, 50)
    result = evaluate_ranking(distances, pids[0], cameras[0], pids[1], cameras[1])
    assert result.mean_ap == pytest.approx(mean_ap, rel=0, abs=1e-12)
    np.testing.assert_allclose(result.cmc, cmc, rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", [(20, 6, 0.3), (10, 1, 0.3), (7, 9, 0.0), (15, 3, 0.8)])
def test_re_ranking_equals_torchreid(monkeypatch: pytest.MonkeyPatch, settings: tuple[int, int, float]) -> None:
    theirs = load(monkeypatch, "utils/rerank.py").re_ranking
    for seed in range(3):
        blocks = blocks_of(*people(seed, 30, 200))
        np.testing.assert_allclose(rerank(Blocks(*blocks), *settings), theirs(*blocks, *settings), rtol=0, atol=1e-5)
