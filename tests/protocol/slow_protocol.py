"""The protocol as a person would check it by hand: one query, one gallery image at a time. The tests' oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Problem:
    """A small retrieval: distances (Q, G) and the numbers of both sides."""

    distances: np.ndarray
    query_pids: np.ndarray
    query_camids: np.ndarray
    gallery_pids: np.ndarray
    gallery_camids: np.ndarray

    @property
    def arguments(self) -> tuple[np.ndarray, ...]:
        return self.distances, self.query_pids, self.query_camids, self.gallery_pids, self.gallery_camids


def random_problem(seed: int, ties: bool = True, plain: bool = False) -> Problem:
    """A problem with junk, distractors, unknown cameras and (``ties``) few distinct distances; ``plain`` has none."""
    rng = np.random.default_rng(seed)
    num_queries, num_gallery = int(rng.integers(1, 9)), int(rng.integers(1, 70))
    lowest_pid, lowest_camid = (1, 1) if plain else (-1, -1)
    highest_pid = int(rng.integers(2, 9))
    distances = rng.random((num_queries, num_gallery))
    if ties:
        distances = np.round(distances * rng.integers(1, 30))
        distances[rng.random(distances.shape) < 0.05] = np.inf
    return Problem(
        distances,
        rng.integers(lowest_pid, highest_pid + 1, num_queries),
        rng.integers(lowest_camid, 5, num_queries),
        rng.integers(lowest_pid, highest_pid + 1, num_gallery),
        rng.integers(lowest_camid, 5, num_gallery),
    )


def slow_query(problem: Problem, q: int) -> dict | None:
    """Everything about query ``q``, or None where it has no match; ``kept`` is by distance, then gallery index."""
    pid, camid = problem.query_pids[q], problem.query_camids[q]
    kept = []
    for g in range(len(problem.gallery_pids)):
        if problem.gallery_pids[g] == -1:
            continue
        same_camera = problem.gallery_camids[g] == camid and camid != -1
        if problem.gallery_pids[g] == pid and pid > 0 and same_camera:
            continue
        kept.append(g)
    kept.sort(key=lambda g: (problem.distances[q, g], g))
    hits, step, trapezoid, old_precision, matches, positions = 0, 0.0, 0.0, 1.0, [], []
    for position, g in enumerate(kept):
        correct = problem.gallery_pids[g] == pid and pid > 0
        hits += correct
        precision = hits / (position + 1)
        if correct:
            matches.append(g)
            positions.append(position)
            step += precision
            trapezoid += (old_precision + precision) / 2
        old_precision = precision
    if not matches:
        return None
    return {
        "kept": kept,
        "matches": matches,
        "positions": positions,
        "step": step / hits,
        "trapezoid": trapezoid / hits,
        "inp": hits / (positions[-1] + 1),
        "ignored": len(problem.gallery_pids) - len(kept),
    }


def slow_evaluation(problem: Problem, max_rank: int = 50) -> dict | None:
    """The means over the queries that have a match, or None where none has."""
    found = [one for q in range(len(problem.query_pids)) if (one := slow_query(problem, q)) is not None]
    if not found:
        return None
    cmc = []
    for k in range(1, max_rank + 1):
        cmc.append(sum(one["positions"][0] < k for one in found) / len(found))
    means = {key: sum(one[key] for one in found) / len(found) for key in ("step", "trapezoid", "inp")}
    return {"cmc": cmc, "num_valid": len(found), **means}


def people(seed: int, queries: int = 7, gallery: int = 40, spread: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Features of images around a few centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, 5))
    return tuple(centres[rng.integers(0, 6, n)] + spread * rng.normal(size=(n, 5)) for n in (queries, gallery))


def blocks_of(query: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, ...]:
    """Distances (Q, G), (Q, Q) and (G, G)."""
    pairs = (query, gallery), (query, query), (gallery, gallery)
    return tuple(np.sqrt(((a[:, None] - b) ** 2).sum(2)).astype(np.float32) for a, b in pairs)
