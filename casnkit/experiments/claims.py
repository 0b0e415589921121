"""The paper's claims as numbers: does attention cover the person, does it agree across images, does it find the cue?

Every number stands beside chance and beside the plain mean of the feature map, which has seen no classifier. One ruler
measures all networks, whatever they were trained with; the Siamese mode, the order of pairs and equation 5's t are those
of ``config.ranking``, as in the test. The people of the test have no class: identification attention explains the
training identity that the network takes them for. The keys with ``_train`` explain the true one, on training images.
"""

import warnings

import numpy as np
import torch
from torch import Tensor

from casnkit import attention
from casnkit.config import Config
from casnkit.data.images import load_images, load_masks, load_parts
from casnkit.data.people import PARTS
from casnkit.data.records import UNKNOWN_CAMERA, ReidDataset, Split, labels_of
from casnkit.explain import localisation, siamese
from casnkit.explain.league import lookalikes_of
from casnkit.explain.masks import random_like
from casnkit.models import CASN, eval_view
from casnkit.ranking import Extracted, extract, matches_mask, pair_maps
from casnkit.runs import RunInfo

BATCH = 128  # maps at a time in the network's head


def measure_claims(
    model: CASN,
    dataset: ReidDataset,
    config: Config,
    trained: RunInfo | None = None,
    images: int = 400,
    pairs: int = 500,
) -> dict[str, float]:
    """Coverage, agreement and right cue of a network's attention on a data set's test, as named numbers in percent.

    ``coverage_MAP``, ``spill_MAP``, ``energy_inside_MAP``, ``auc_MAP``, ``distance_same_MAP`` and ``cue_pairs_MAP`` are what
    :data:`casnkit.experiments.report.CLAIMS_CAPTION` says. MAP is ``ia`` (identification attention of the predicted
    identity; ``ia_train`` and ``plain_train``: of the true one, training images), ``siamese`` (equation 4, of a query and one
    of its matches; that of a random pair classifier for ide and ide+ia), ``plain`` (mean over channels); for agreement also
    ``frozen`` (equation 4 with a pair classifier trained on the frozen network by equation 3 alone), for cues also
    ``different`` (Grad-CAM of "not the same", -z_1, the question that it answers); ``MAP_chance``: the same maps rolled to a
    random place; ``uniform``: one value everywhere.

    What a data set cannot tell is left out with a warning; what needs training images (``_train``, ``frozen``) is left out
    unless ``trained``, the run, says that they are this data set's. ``images`` of the test, half of them queries with a
    match, and half as many of the training; ``pairs`` of one person, of two people, and of look-alikes, each.
    """
    rng = np.random.default_rng(0)
    splits, matched, same, different = draw_pairs(dataset, images // 2, pairs, rng)
    found, masks, parts = _take(model, splits, config)
    results = _localised(maps_of(model, found, matched, config), masks, matched.T.reshape(-1))
    results |= agreement(model, found, same, different, config)
    labels, pids = labels_of(dataset.train.pids)
    if trained and (str(dataset.root), pids.tolist()) == (trained.data["root"], trained.pid_of_label.tolist()):
        chosen = np.sort(rng.permutation(len(labels))[: max(images // 2, 1)])
        own, own_masks, _ = _take(model, [dataset.train.subset(chosen)], config)
        maps = {"ia_train": identification_maps(model, own, torch.from_numpy(labels[chosen]))}
        maps["plain_train"] = attention.mean_map(own.feature_maps)
        results = _localised(maps, own_masks, np.arange(len(chosen))) | results  # "uniform" is the test's
        features = _take(model, [dataset.train], config)[0].features
        frozen = siamese.frozen_pair_head(model, features, dataset.train, config)
        measured = agreement(frozen, found, same, different, config).items()
        results |= {name.replace("siamese", "frozen"): value for name, value in measured if "siamese" in name}
    truth = {"person masks": masks is not None, "body-part maps": parts is not None}
    truth["look-alikes in its test"] = bool(lookalikes_of(dataset))
    if lacking := ", ".join(name for name, there in truth.items() if not there):
        warnings.warn(f"{dataset.name} has no {lacking}: not all claims on attention are measured", stacklevel=2)
    else:
        results |= measure_cues(model, dataset, config, pairs, rng)
    return {key: value for key, value in results.items() if np.isfinite(value)}


def draw_pairs(
    dataset: ReidDataset, queries: int, pairs: int, rng: np.random.Generator
) -> tuple[list[Split], np.ndarray, np.ndarray, np.ndarray]:
    """Queries with matches as two splits, and pairs (P, 2) of indices into both together: each query with its drawn
    matches, all pairs of one person, pairs of two people; all pairs seen by two cameras, as in the test."""
    query, gallery = dataset.query, dataset.gallery
    right = matches_mask(query.pids, query.camids, gallery.pids, gallery.camids)
    able = np.flatnonzero(right.any(1))
    if not len(able):
        raise ValueError(f"expected queries with a match in the gallery of {dataset.name}, found none")
    first = np.sort(rng.permutation(able)[: max(queries, 1)])
    each = max(1, queries // len(first))
    drawn = np.array([(k, j) for k, i in enumerate(first) for j in rng.permutation(np.flatnonzero(right[i]))[:each]])
    second, column = np.unique(drawn[:, 1], return_inverse=True)
    behind = np.array([0, len(first)])  # gallery images stand behind the queries
    matched = np.stack([drawn[:, 0], column], 1) + behind
    query, gallery = query.subset(first), gallery.subset(second)
    two_people = (query.camids[:, None] != gallery.camids) | (gallery.camids == UNKNOWN_CAMERA)
    two_people &= query.pids[:, None] != gallery.pids
    truths = right[np.ix_(first, second)], two_people
    same, different = (_some_of(np.argwhere(truth) + behind, pairs, rng) for truth in truths)
    return [query, gallery], matched, same, different


def _some_of(pairs: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return pairs[np.sort(rng.permutation(len(pairs))[:count])]


def _take(model: CASN, splits: list[Split], config: Config) -> tuple[Extracted, Tensor | None, Tensor | None]:
    """What the network makes of all images of some splits, one after the other; their masks, (N, H, W) bool, and part maps,
    (N, H, W) uint8, at its input size, None where the set has none."""
    splits, size = [s for s in splits if len(s)], (config.data.height, config.data.width)
    images = torch.cat([load_images(s, size, progress=False) for s in splits])
    truth = [[load(s, size) for s in splits] for load in (load_masks, load_parts)]
    return extract(model, images), *(None if any(t is None for t in each) else torch.cat(each) for each in truth)


def maps_of(model: CASN, found: Extracted, pairs: np.ndarray, config: Config) -> dict[str, Tensor]:
    """Every kind of map of the pairs' first images, then of the second ones: (2P, h, w) each."""
    rows, how = torch.from_numpy(pairs.T.reshape(-1)), (config.ranking.siamese_mode, config.ranking.pair_order)
    return {
        "ia": identification_maps(model, found)[rows],
        "siamese": torch.cat(pair_maps(model, found, found, pairs, *how)),
        "plain": attention.mean_map(found.feature_maps)[rows],
    }


def identification_maps(model: CASN, found: Extracted, labels: Tensor | None = None) -> Tensor:
    """Maps of all images for given labels, or for the identity that the network finds most likely."""
    model, parameter = eval_view(model), next(model.parameters())
    with torch.no_grad():
        own = model.id_scores(found.features.to(parameter)).argmax(1) if labels is None else labels.to(parameter.device)
        pieces = zip(found.feature_maps.split(BATCH), own.split(BATCH), strict=True)
        return torch.cat([model.identification_attention_of(maps.to(parameter), its).cpu() for maps, its in pieces])


def difference_maps(model: CASN, found: Extracted, pairs: np.ndarray) -> Tensor:
    """Grad-CAM of -z_1 for the pairs' first images, then for the second ones: (2P, h, w)."""
    model, parameter, sides = eval_view(model), next(model.parameters()), []
    with torch.no_grad():
        for rows in torch.from_numpy(pairs.T).split(BATCH, 1):
            first, second = (found.feature_maps[row].to(parameter) for row in rows)
            gradient = model.pair_gradient(model.pool(first) - model.pool(second))
            maps = attention.siamese_map(first, -gradient), attention.siamese_map(second, gradient)
            sides.append(torch.stack(maps).cpu())
    return torch.cat(sides, 1).flatten(0, 1)


def _beside_chance(maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every kind of map and what it is held against."""
    moved = {f"{kind}_chance": random_like(these, torch.Generator().manual_seed(0)) for kind, these in maps.items()}
    return maps | moved | {"uniform": torch.ones_like(next(iter(maps.values())))}


def _localised(maps: dict[str, Tensor], masks: Tensor | None, rows: np.ndarray) -> dict[str, float]:
    """All measures of all maps against masks; ``rows`` names each map's picture."""
    results = {}
    for name, drawn in _beside_chance(maps).items() if masks is not None else ():
        truth = masks[torch.from_numpy(rows)]
        coverage, spill = localisation.coverage(drawn, truth)
        found = {"coverage": coverage, "spill": spill, "energy_inside": localisation.energy_inside(drawn, truth)}
        results |= {f"{measure}_{name}": 100 * float(of.double().nanmean()) for measure, of in found.items()}
    return results


def agreement(
    model: CASN, found: Extracted, same: np.ndarray, different: np.ndarray, config: Config
) -> dict[str, float]:
    """:func:`casnkit.explain.siamese.agreement` of every kind of map, with t and scale of the test."""
    if not len(same) or not len(different):
        return {}
    pairs, options = np.concatenate([same, different]), config.ranking
    maps = {kind: both.chunk(2) for kind, both in maps_of(model, found, pairs, config).items()}
    found = siamese.agreement(maps, np.arange(len(pairs)) < len(same), options.threshold, options.profile_scale)
    return {name: value if name.startswith("auc") else 100 * value for name, value in found.items()}


def draw_lookalikes(
    dataset: ReidDataset, count: int, rng: np.random.Generator
) -> tuple[list[Split], np.ndarray, np.ndarray]:
    """Pictures of look-alikes as two splits; pairs (P, 2) of indices into both together, as many for each two people;
    the part (P,) that differs."""
    query, gallery, people = dataset.query, dataset.gallery, lookalikes_of(dataset)
    people = [people[k] for k in np.sort(rng.permutation(len(people))[:count])]
    each = max(1, count // len(people))
    pictures = max(2, int(np.ceil(each**0.5)))
    everybody = np.concatenate([query.pids, gallery.pids])
    images = {pid: rng.permutation(np.flatnonzero(everybody == pid))[:pictures] for a, b, _ in people for pid in (a, b)}
    chosen = np.sort(np.concatenate([*images.values()]))
    places = {pid: np.searchsorted(chosen, own) for pid, own in images.items()}
    every = [np.stack(np.meshgrid(places[a], places[b]), -1).reshape(-1, 2) for a, b, _ in people]
    drawn = [_some_of(pairs, each, rng) for pairs in every]
    parts = np.repeat([PARTS.index(part) for *_, part in people], [len(pairs) for pairs in drawn])
    splits = [query.subset(chosen[chosen < len(query)]), gallery.subset(chosen[chosen >= len(query)] - len(query))]
    return splits, np.concatenate(drawn), parts


def measure_cues(
    model: CASN, dataset: ReidDataset, config: Config, count: int, rng: np.random.Generator
) -> dict[str, float]:
    """The ``cue_pairs_`` numbers of :func:`measure_claims`."""
    splits, pairs, part = draw_lookalikes(dataset, count, rng)
    (found, _, parts), results = _take(model, splits, config), {}
    truth = [parts[torch.from_numpy(side)] for side in pairs.T]
    maps = maps_of(model, found, pairs, config) | {"different": difference_maps(model, found, pairs)}
    for name, drawn in _beside_chance(maps).items():
        hits = localisation.right_cue(drawn.chunk(2), truth, part)
        results[f"cue_pairs_{name}"] = 100 * float(hits.double().nanmean())
    return results
