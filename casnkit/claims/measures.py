"""Coverage and its relatives against masks and parts, and agreement of row profiles, as named means."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from casnkit import attention
from casnkit._optional import require
from casnkit.claims.pictures import BATCH, Pictures, identification_maps, maps_of, take
from casnkit.config import Config
from casnkit.data.people import PARTS
from casnkit.data.records import ReidDataset, labels_of
from casnkit.explain import localisation
from casnkit.explain.localisation import part_coverage, part_energy
from casnkit.models import CASN
from casnkit.ranking import Extracted, feature_distances


def with_chance(maps: Tensor, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """A kind of map and what it is held against, each with the ending of its keys."""
    yield "", maps
    yield "_chance", localisation.random_maps(maps, "rolled", generator)
    yield "_shuffled", localisation.random_maps(maps, "shuffled", generator)


def localised(
    maps: dict[str, Tensor], pictures: Pictures, rows: np.ndarray, generator: torch.Generator, suffix: str = ""
) -> dict[str, float]:
    """All measures of all maps against masks and parts; ``rows`` names each map's picture."""
    results: dict[str, float] = {}
    for kind, these in maps.items():
        results[f"dead_{kind}{suffix}"] = int(localisation.dead_maps(these).sum())
        if pictures.masks is not None:
            for ending, drawn in with_chance(these, generator):
                results |= _mean_measures(drawn, pictures, rows, f"{kind}{suffix}{ending}")
    if pictures.masks is not None:
        uniform = torch.ones_like(next(iter(maps.values())))
        results |= _mean_measures(uniform, pictures, rows, f"uniform{suffix}")
    return results


def _mean_measures(maps: Tensor, pictures: Pictures, rows: np.ndarray, name: str) -> dict[str, float]:
    parts = []
    for i in range(0, len(maps), BATCH):
        index = torch.from_numpy(rows[i : i + BATCH])
        truth = None if pictures.parts is None else pictures.parts[index]
        parts.append(_measures(maps[i : i + BATCH], pictures.masks[index], truth))
    means = {key: 100 * localisation.mean_of(torch.cat([part[key] for part in parts])).value for key in parts[0]}
    covered = [means[f"part_coverage_{part}"] for part in PARTS if f"part_coverage_{part}" in means]
    if covered:
        means["part_coverage"] = float(np.nanmean(covered))
    return {f"{key}_{name}": value for key, value in means.items()}


def _measures(maps: Tensor, masks: Tensor, parts: Tensor | None) -> dict[str, Tensor]:
    found = {"energy_inside": localisation.energy_inside(maps, masks), "iou": localisation.iou(maps, masks)}
    found["pointing"] = localisation.pointing_game(maps, masks)
    found["coverage"], found["spill"] = localisation.coverage(maps, masks)
    found["soft_coverage"], found["soft_spill"] = localisation.soft_coverage(maps, masks)
    if parts is not None:
        covered, energy = part_coverage(maps, parts, len(PARTS)), part_energy(maps, parts, len(PARTS))
        found |= {f"part_coverage_{part}": covered[:, p] for p, part in enumerate(PARTS)}
        found |= {f"part_energy_{part}": energy[:, p] for p, part in enumerate(PARTS)}
    return found


def on_training_images(
    model: CASN,
    dataset: ReidDataset,
    config: Config,
    device: str | torch.device | None,
    count: int,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> dict[str, float]:
    """Identification attention of the true identity; nothing where the network was trained on other people."""
    labels, pids = labels_of(dataset.train.pids)
    if len(pids) != model.num_ids:
        return {}
    chosen = np.sort(rng.permutation(len(labels))[: max(count, 1)])
    pictures = take(model, [dataset.train.subset(chosen)], config, device)
    maps = {
        "ia": identification_maps(model, pictures.found, torch.from_numpy(labels[chosen])),
        "plain": attention.mean_map(pictures.found.feature_maps),
    }
    return localised(maps, pictures, np.arange(len(chosen)), generator, "_train")


def agreement(
    model: CASN, found: Extracted, same: np.ndarray, different: np.ndarray, config: Config
) -> dict[str, float]:
    """Distances of equation 5 for pairs of one person and of two, and how well they tell these apart."""
    results: dict[str, float] = {"pairs_same": len(same), "pairs_different": len(different)}
    if not len(same) or not len(different):
        return results
    metrics = require("sklearn.metrics", "measuring agreement as a matcher")
    pairs = np.concatenate([same, different])
    truth = np.arange(len(pairs)) < len(same)
    for kind, maps in maps_of(model, found, pairs, config).items():
        distances = attention.attention_distance(*maps.chunk(2), config.ranking.threshold).double().numpy()
        results[f"distance_same_{kind}"] = float(distances[truth].mean())
        results[f"distance_different_{kind}"] = float(distances[~truth].mean())
        results[f"auc_{kind}"] = 100 * float(metrics.roc_auc_score(truth, -distances))
    features = feature_distances(found.features, found.features, config.ranking.normalise_features)
    results["auc_features"] = 100 * float(metrics.roc_auc_score(truth, -features[pairs[:, 0], pairs[:, 1]]))
    return results | {"auc_chance": 50.0}
