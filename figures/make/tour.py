"""The frames of README's moving picture: one query beside each of its first gallery images."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from casnkit import figures
from casnkit.config import Config
from casnkit.data.records import ReidDataset
from casnkit.evaluation import Evaluation
from casnkit.models import CASN, evaluating
from casnkit.notebook.report import load_inputs, ranking_row, spread_queries
from casnkit.ranking import rank_gallery


def tour(model: CASN, dataset: ReidDataset, config: Config, result: Evaluation, shown: int = 10) -> list[Figure]:
    """Both pictures of each pair, where Siamese attention looks in them, and the row profiles of both maps.

    The query is the middle one, by average precision, of those whose first images are of both kinds (at least two right
    and two wrong, the first one right); where there is none, the middle one of all.
    """
    query, gallery, options = dataset.query, dataset.gallery, config.ranking
    distances, device = result.distances["features"], next(model.parameters()).device
    ordered = spread_queries(result.rankings["features"].average_precision, len(query))
    nearest, mixed = {}, []
    for i in ordered:
        ranking = rank_gallery(distances[i], query.pids[i], query.camids[i], gallery.pids, gallery.camids)
        nearest[i] = ranking.kept[:shown]
        seen = ranking.status[nearest[i]].tolist()
        if seen[0] == "correct" and min(seen.count("correct"), seen.count("wrong")) >= 2:
            mixed.append(i)
    candidates = mixed or ordered
    i = candidates[len(candidates) // 2]
    row = ranking_row(dataset, distances, i, shown=shown)
    with torch.no_grad(), evaluating(model):
        A_2 = model.feature_map(load_inputs(gallery, nearest[i], config, device))
        A_1 = model.feature_map(load_inputs(query, [i], config, device)).expand_as(A_2)
        maps = model.siamese_attention_of(A_1, A_2, mode=options.siamese_mode, order=options.pair_order)
    return [figures.show_step(row, k, *(m[k].cpu() for m in maps), options.threshold) for k in range(len(A_2))]
