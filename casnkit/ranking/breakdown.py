"""The protocol camera by camera: how well are people found again from one particular camera in another?

A cell takes the queries of one camera and of the gallery the images of one camera alone. It is easier than the whole
test (fewer wrong answers) and harder (fewer right ones), so cells are to be compared with each other and not with the
headline. On the diagonal nothing is left to find, for a person's images from the query's own camera do not count.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from casnkit.ranking.matching import matches_mask, to_numpy, whole_numbers
from casnkit.ranking.protocol import evaluate_ranking
from casnkit.ranking.results import RankingWarning

if TYPE_CHECKING:
    import torch

RANKS = (1, 5, 10, 20)


@dataclass(frozen=True, eq=False)
class CameraPairs:
    """The protocol's numbers of every pair of cameras. Matrices are (A, B), query camera by gallery camera.

    Attributes:
        query_cameras: (A,) camera numbers of the queries, ascending; -1 stands for unknown.
        gallery_cameras: (B,) camera numbers of the gallery.
        cmc: (A, B, 4) shares in [0, 1] at ranks 1, 5, 10, 20; NaN where no query has a match.
        mean_ap: (A, B) mean step average precision in [0, 1]; NaN where no query has a match.
        num_valid: (A, B) queries with a match, over which the means run.
        num_queries: (A,) all queries of the camera.
        num_gallery: (B,) all gallery images of the camera, junk among them.
    """

    query_cameras: np.ndarray
    gallery_cameras: np.ndarray
    cmc: np.ndarray
    mean_ap: np.ndarray
    num_valid: np.ndarray
    num_queries: np.ndarray
    num_gallery: np.ndarray

    def rank(self, k: int) -> np.ndarray:
        """(A, B) CMC at rank 1, 5, 10 or 20, in [0, 1]. Raises ValueError for other ranks."""
        if k not in RANKS:
            raise ValueError(f"expected a rank out of {', '.join(map(str, RANKS))}, got {k!r}")
        return self.cmc[:, :, RANKS.index(k)]

    @property
    def rank_1(self) -> np.ndarray:
        """(A, B) share of queries whose closest image in that camera is right."""
        return self.rank(1)

    def rows(self) -> list[dict[str, float | int]]:
        """One row for each pair of cameras with a match, in percent, as :func:`casnkit.evaluation.table` takes them."""
        rows = []
        for i, j in np.argwhere(self.num_valid > 0).tolist():
            row = {"query camera": int(self.query_cameras[i]), "gallery camera": int(self.gallery_cameras[j])}
            row |= {f"rank_{k}": 100 * float(self.rank(k)[i, j]) for k in RANKS}
            row |= {"mean_ap": 100 * float(self.mean_ap[i, j]), "queries": int(self.num_valid[i, j])}
            rows.append(row | {"gallery": int(self.num_gallery[j])})
        return rows


def camera_pairs(
    distances: np.ndarray | torch.Tensor,
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
) -> CameraPairs:
    """Rank each camera's queries in each camera's gallery alone; distances (Q, G), lower is closer.

    Raises:
        ValueError: as :func:`casnkit.ranking.evaluate_ranking`; a pair of cameras without a match is no error.
    """
    pids = [whole_numbers(v, n) for v, n in ((query_pids, "query_pids"), (gallery_pids, "gallery_pids"))]
    cams = [
        whole_numbers(query_camids, "query_camids", len(pids[0])),
        whole_numbers(gallery_camids, "gallery_camids", len(pids[1])),
    ]
    if tuple(distances.shape) != (len(pids[0]), len(pids[1])):
        raise ValueError(f"distances: expected shape {(len(pids[0]), len(pids[1]))}, found {tuple(distances.shape)}")
    (queries, num_queries), (gallery, num_gallery) = (np.unique(c, return_counts=True) for c in cams)
    cmc = np.full((len(queries), len(gallery), len(RANKS)), np.nan)
    mean_ap, num_valid = cmc[:, :, 0].copy(), np.zeros(cmc.shape[:2], np.int64)
    for i, query_camera in enumerate(queries):
        rows = np.flatnonzero(cams[0] == query_camera)
        band = to_numpy(distances[rows])
        for j, gallery_camera in enumerate(gallery):
            columns = np.flatnonzero(cams[1] == gallery_camera)
            labels = pids[0][rows], cams[0][rows], pids[1][columns], cams[1][columns]
            if not matches_mask(*labels).any():
                continue
            with warnings.catch_warnings():  # that a query has no match in *this* camera is what the counts say
                warnings.simplefilter("ignore", RankingWarning)
                result = evaluate_ranking(band[:, columns], *labels, max_rank=max(RANKS))
            cmc[i, j] = [result.rank(k) for k in RANKS]
            mean_ap[i, j], num_valid[i, j] = result.mean_ap, result.num_valid
    return CameraPairs(queries, gallery, cmc, mean_ap, num_valid, num_queries, num_gallery)


__all__ = ["RANKS", "CameraPairs", "camera_pairs"]
