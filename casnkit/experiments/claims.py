"""The paper's claims as numbers: does attention cover the person, does it agree across images, does it find the cue?

Every number stands beside chance and beside the plain mean of the feature map, which has seen no classifier. One ruler
measures all networks, whatever they were trained with; the Siamese mode, the order of pairs and equation 5's t are those
of ``config.ranking``, as in the test.

The people of the test have no class: identification attention explains the training identity that the network takes
them for. The keys with ``_train`` explain the true identity, on training images. A network that names the right part of
two look-alikes has a reason to be believed; one whose maps like legs is right about all the pairs that differ in their
legs. Therefore the same pictures are paired with their own person too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from casnkit import attention
from casnkit.config import Config
from casnkit.data.images import load_images, load_masks, load_parts
from casnkit.data.people import PARTS, lookalike_pairs
from casnkit.data.records import UNKNOWN_CAMERA, ReidDataset, Split, labels_of
from casnkit.explain import localisation
from casnkit.explain.localisation import mean_of, right_cue_pairs
from casnkit.models import CASN, evaluating
from casnkit.ranking import Extracted, extract, feature_distances, matches_mask, pair_maps

MAPS = ("ia", "siamese", "plain")
BATCH = 128  # maps at a time, in the network's head and at the size of pictures


class Pictures(NamedTuple):
    """N images, what the network made of them, and the truth: pids (N,), masks (N, H, W) bool and parts (N, H, W) uint8
    with 0 = background, both at the network's input size and None where the set has none."""

    pids: np.ndarray
    found: Extracted
    masks: Tensor | None
    parts: Tensor | None


def missing_truth(dataset: ReidDataset) -> list[str]:
    """What a data set lacks for some of the claims to be measured, as sentences; empty where nothing is missing."""
    split, notes = dataset.query, []
    if not len(split) or split.mask(0) is None:
        notes.append(f"{dataset.name} has no person masks: coverage and energy inside the person are not measured")
    if not len(split) or split.parts(0) is None:
        notes.append(f"{dataset.name} has no body-part maps: coverage of parts and the right cue are not measured")
    elif not lookalikes_of(dataset):
        notes.append(f"{dataset.name} has no look-alikes among the people of its test: the right cue is not measured")
    return notes


def measure_claims(
    model: CASN,
    dataset: ReidDataset,
    config: Config,
    *,
    max_images: int = 400,
    max_pairs: int = 500,
    seed: int = 0,
) -> dict[str, float]:
    """Coverage, agreement and right cue of a network's attention on a data set's test, as named numbers.

    Shares are in percent. MAP is ``ia`` (identification attention of the predicted identity), ``siamese`` (equation 4,
    of a query and one of its matches) or ``plain`` (mean over channels). For chance, ``_chance`` behind MAP: the same
    maps rolled to a random place; ``_shuffled``: another picture's map; and MAP ``uniform``: one value everywhere.

    - ``siamese_trained``: False for ide and ide+ia, whose Siamese numbers are those of a random pair classifier;
    - ``images``, ``pairs_same``, ``pairs_different``, ``lookalike_people``, ``lookalike_pairs``: how many were measured;
    - ``dead_MAP``: maps that are zero or not finite; they cover nothing, and no share of energy counts them;
    - ``coverage_MAP``, ``spill_MAP``: of the area above half of a map's maximum, the share of the person that it covers
      and the share of it that lies beside; ``energy_inside_MAP``: share of the map's sum that lies on the person;
      all three for ``ia_train`` and ``plain_train`` too: training images, explained by their true identity;
    - ``distance_same_MAP``, ``distance_different_MAP``: mean distance of equation 5 of two images of one person, of two
      people (lower agrees more; not percent); ``auc_MAP``: that distance as a matcher, beside ``auc_features``;
    - ``cue_pairs_MAP``: share of look-alike pairs with more weight per pixel on the one part that differs than on the
      rest of the person; ``cue_energy_MAP``: share of the person's energy on that part; ``cue_gain_MAP``: points of it
      that the same pictures lose when they are paired with their own person: what the map says of the partner, free of
      any taste for certain parts; ``cue_error_MAP``, ``cue_gain_error_MAP``: standard errors over the people;
      all for MAP ``different`` too: Grad-CAM of "not the same" (of -z_1), the question that the part answers.

    What a data set cannot tell (:func:`missing_truth`) is left out with a warning, and so is a number that nothing
    defines.

    Args:
        model: left in the mode that it was in.
        max_images: test images: half of them queries, each with a match; and half as many training images.
        max_pairs: of one person, of two people, and of look-alikes, each.
        seed: of drawing pictures, pairs and chance.

    Raises:
        ValueError: no query has a match, or the network's outputs are not finite.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    for note in missing_truth(dataset):
        warnings.warn(note, stacklevel=2)
    splits, matched, same, different = draw_pairs(dataset, max_images // 2, max_pairs, rng)
    pictures = _take(model, splits, config)
    results: dict[str, float] = {"siamese_trained": config.loss.siamese_attention, "images": len(pictures.pids)}
    results |= _localised(maps_of(model, pictures.found, matched, config), pictures, matched.T.reshape(-1), generator)
    labels, pids = labels_of(dataset.train.pids)
    if len(pids) == model.num_ids:  # else it was trained on other people
        chosen = np.sort(rng.permutation(len(labels))[: max(max_images // 2, 1)])
        seen = _take(model, [dataset.train.subset(chosen)], config)
        maps = {"ia_train": identification_maps(model, seen.found, torch.from_numpy(labels[chosen]))}
        maps["plain_train"] = attention.mean_map(seen.found.feature_maps)
        results |= _localised(maps, seen, np.arange(len(chosen)), generator, "_train")
    results |= agreement(model, pictures.found, same, different, config)
    if pictures.parts is not None:
        results |= _cues(model, dataset, config, max_pairs, rng, generator)
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
    drawn = [(i, j) for i in first for j in rng.permutation(np.flatnonzero(right[i]))[:each]]
    second = np.unique([j for _, j in drawn])
    matched = np.array([[np.searchsorted(first, i), len(first) + np.searchsorted(second, j)] for i, j in drawn])
    cameras = query.camids[first][:, None] != gallery.camids[second]
    cameras |= gallery.camids[second] == UNKNOWN_CAMERA
    two_people = cameras & (query.pids[first][:, None] != gallery.pids[second])
    offset = np.array([0, len(first)])  # gallery images stand behind the queries
    truths = right[np.ix_(first, second)], two_people
    same, different = (_some_of(np.argwhere(truth) + offset, pairs, rng) for truth in truths)
    return [query.subset(first), gallery.subset(second)], matched, same, different


def _some_of(pairs: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return pairs[np.sort(rng.permutation(len(pairs))[:count])]


def _take(model: CASN, splits: list[Split], config: Config) -> Pictures:
    """All images of some splits, one after the other, at the network's input size."""
    splits, size = [s for s in splits if len(s)], (config.data.height, config.data.width)
    images = torch.cat([load_images(s, size, progress=False) for s in splits])
    truth = [[load(s, size) for s in splits] for load in (load_masks, load_parts)]
    masks, parts = (None if any(part is None for part in found) else torch.cat(found) for found in truth)
    return Pictures(np.concatenate([s.pids for s in splits]), extract(model, images), masks, parts)


def maps_of(model: CASN, found: Extracted, pairs: np.ndarray, config: Config) -> dict[str, Tensor]:
    """Every kind of map of the pairs' first images, then of the second ones: (2P, h, w) each."""
    rows = torch.from_numpy(pairs.T.reshape(-1))
    return {
        "ia": identification_maps(model, found)[rows],
        "siamese": torch.cat(siamese_maps(model, found, pairs, config)),
        "plain": attention.mean_map(found.feature_maps)[rows],
    }


def siamese_maps(model: CASN, found: Extracted, pairs: np.ndarray, config: Config) -> tuple[Tensor, Tensor]:
    """Equation 4 in the test's mode and order, (P, h, w) twice."""
    return pair_maps(model, found, found, pairs, config.ranking.siamese_mode, config.ranking.pair_order)


def identification_maps(model: CASN, found: Extracted, labels: Tensor | None = None) -> Tensor:
    """Maps of all images for given labels, or for the identity that the network finds most likely."""
    parameter, maps = next(model.parameters()), []
    with evaluating(model), torch.no_grad():
        for i in range(0, len(found), BATCH):
            batch = found.subset(slice(i, i + BATCH))
            own = model.id_scores(batch.features.to(parameter)).argmax(1) if labels is None else labels[i : i + BATCH]
            maps.append(model.identification_attention_of(batch.feature_maps.to(parameter), own.to(parameter.device)))
    return torch.cat(maps).cpu()


def difference_maps(model: CASN, found: Extracted, pairs: np.ndarray, config: Config) -> tuple[Tensor, Tensor]:
    """Grad-CAM of -z_1 for the images of each pair, (P, h, w) twice."""
    parameter, sides = next(model.parameters()), []
    with evaluating(model), torch.no_grad():
        for part in torch.from_numpy(pairs).split(BATCH):
            first, second = (found.feature_maps[part[:, k]].to(parameter) for k in (0, 1))
            gradient = model.pair_gradient(model.pool(first) - model.pool(second))
            sides.append([attention.siamese_map(m, g).cpu() for m, g in ((first, -gradient), (second, gradient))])
    return tuple(torch.cat(side) for side in zip(*sides, strict=True))


def _beside_chance(
    maps: dict[str, Tensor], generator: torch.Generator, suffix: str = ""
) -> Iterator[tuple[str, Tensor]]:
    """Every kind of map and what it is held against, each with the ending of its keys."""
    for kind, these in maps.items():
        yield kind, these
        yield f"{kind}_chance", localisation.random_maps(these, "rolled", generator)
        yield f"{kind}_shuffled", localisation.random_maps(these, "shuffled", generator)
    yield f"uniform{suffix}", torch.ones_like(these)


def _localised(
    maps: dict[str, Tensor], pictures: Pictures, rows: np.ndarray, generator: torch.Generator, suffix: str = ""
) -> dict[str, float]:
    """All measures of all maps against masks and parts; ``rows`` names each map's picture."""
    results = {f"dead_{kind}": int(localisation.dead_maps(these).sum()) for kind, these in maps.items()}
    if pictures.masks is None:
        return results
    for name, drawn in _beside_chance(maps, generator, suffix):
        found = []
        for some, index in zip(drawn.split(BATCH), torch.from_numpy(rows).split(BATCH), strict=True):
            masks = pictures.masks[index]
            found.append([*localisation.coverage(some, masks), localisation.energy_inside(some, masks)])
        for measure, values in zip(("coverage", "spill", "energy_inside"), zip(*found, strict=True), strict=True):
            results[f"{measure}_{name}"] = 100 * mean_of(torch.cat(values)).value
    return results


def agreement(
    model: CASN, found: Extracted, same: np.ndarray, different: np.ndarray, config: Config
) -> dict[str, float]:
    """Distances of equation 5 for pairs of one person and of two, and how well they tell these apart."""
    results: dict[str, float] = {"pairs_same": len(same), "pairs_different": len(different)}
    if not len(same) or not len(different):
        return results
    pairs = np.concatenate([same, different])
    truth = np.arange(len(pairs)) < len(same)
    for kind, maps in maps_of(model, found, pairs, config).items():
        distances = attention.attention_distance(*maps.chunk(2), config.ranking.threshold).double().numpy()
        results[f"distance_same_{kind}"] = float(distances[truth].mean())
        results[f"distance_different_{kind}"] = float(distances[~truth].mean())
        results[f"auc_{kind}"] = 100 * float(roc_auc_score(truth, -distances))
    features = np.asarray(feature_distances(found.features, found.features, config.ranking.normalise_features))
    results["auc_features"] = 100 * float(roc_auc_score(truth, -features[pairs[:, 0], pairs[:, 1]]))
    return results | {"auc_chance": 50.0}


def lookalikes_of(dataset: ReidDataset) -> list[tuple[int, int, str]]:
    """Pairs of pids that differ in one part, both in the test."""
    if "attributes" not in dataset.tables:
        return []
    there = set(dataset.query.pids.tolist()) | set(dataset.gallery.pids.tolist())
    return [pair for pair in lookalike_pairs(dataset.tables["attributes"].parent) if {*pair[:2]} <= there]


def draw_lookalikes(
    dataset: ReidDataset, count: int, rng: np.random.Generator
) -> tuple[list[Split], np.ndarray, np.ndarray, np.ndarray]:
    """Pictures of look-alikes as two splits; pairs (P, 2) of indices into both together, as many for each two people;
    the part (P,) that differs; and beside each picture of a pair another one of the same person, (P, 2)."""
    query, gallery, people = dataset.query, dataset.gallery, lookalikes_of(dataset)
    people = [people[k] for k in np.sort(rng.permutation(len(people))[:count])]
    each = max(1, count // max(1, len(people)))
    pictures = max(2, int(np.ceil(each**0.5)))
    everybody = np.concatenate([query.pids, gallery.pids])
    images = {pid: rng.permutation(np.flatnonzero(everybody == pid))[:pictures] for a, b, _ in people for pid in (a, b)}
    chosen = np.sort(np.concatenate([*images.values(), np.zeros(0, int)])).astype(int)
    places = {pid: np.searchsorted(chosen, own) for pid, own in images.items()}
    pairs, parts, partners = [], [], []
    for a, b, part in people:
        for pair in _some_of(np.stack(np.meshgrid(places[a], places[b]), -1).reshape(-1, 2), each, rng):
            others = [places[pid][places[pid] != k] for pid, k in zip((a, b), pair, strict=True)]
            if all(map(len, others)):
                pairs.append(pair)
                parts.append(PARTS.index(part))
                partners.append([rng.choice(other) for other in others])
    splits = [query.subset(chosen[chosen < len(query)]), gallery.subset(chosen[chosen >= len(query)] - len(query))]
    return splits, *(np.array(values, dtype=np.int64) for values in (pairs, parts, partners))


def _cues(
    model: CASN,
    dataset: ReidDataset,
    config: Config,
    count: int,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> dict[str, float]:
    """The ``cue_`` numbers of :func:`measure_claims`; nothing where the test has no look-alikes."""
    splits, pairs, part, partners = draw_lookalikes(dataset, count, rng)
    if not len(pairs):
        return {}
    pictures = _take(model, splits, config)
    people = np.unique(pictures.pids[pairs], axis=0, return_inverse=True)[1].reshape(-1)
    results: dict[str, float] = {"lookalike_people": int(people.max()) + 1, "lookalike_pairs": len(pairs)}
    maps, drawers = (
        maps_of(model, pictures.found, pairs, config),
        {"siamese": siamese_maps, "different": difference_maps},
    )
    maps["different"] = torch.cat(difference_maps(model, pictures.found, pairs, config))
    for name, drawn in _beside_chance(maps, generator):
        hits, energy = _cue_of(drawn, pictures, pairs, part)
        results |= {f"cue_pairs_{name}": 100 * mean_of(hits).value, f"cue_energy_{name}": 100 * mean_of(energy).value}
        if name in maps:
            results[f"cue_error_{name}"] = 100 * clustered_error(hits.numpy(), people)
        if name in drawers:
            own = beside_own_person(drawers[name], model, pictures.found, pairs, partners, config)
            gain = energy - _cue_of(own, pictures, pairs, part)[1]
            results[f"cue_gain_{name}"] = 100 * mean_of(gain).value
            results[f"cue_gain_error_{name}"] = 100 * clustered_error(gain.numpy(), people)
    return results


def clustered_error(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard error of a mean over groups: pairs of the same two people say nearly the same. NaN for one group."""
    groups, values = groups[~np.isnan(values)], values[~np.isnan(values)]
    means = np.array([values[groups == group].mean() for group in np.unique(groups)])
    return float(means.std(ddof=1) / len(means) ** 0.5) if len(means) > 1 else float("nan")


def beside_own_person(
    maps: Callable[..., tuple[Tensor, Tensor]],
    model: CASN,
    found: Extracted,
    pairs: np.ndarray,
    partners: np.ndarray,
    config: Config,
) -> Tensor:
    """Maps of each pair's images, each in its place of the pair, beside another image of the same person: (2P, h, w)."""
    first, second = np.stack([pairs[:, 0], partners[:, 0]], 1), np.stack([partners[:, 1], pairs[:, 1]], 1)
    return torch.cat([maps(model, found, first, config)[0], maps(model, found, second, config)[1]])


def _cue_of(maps: Tensor, pictures: Pictures, pairs: np.ndarray, part: np.ndarray) -> tuple[Tensor, Tensor]:
    """Hits and energy of :func:`casnkit.explain.localisation.right_cue_pairs` for maps (2P, h, w)."""
    sides, found = maps.chunk(2), []
    for some in np.array_split(np.arange(len(pairs)), -(-len(pairs) // BATCH)):
        truth = tuple(pictures.parts[torch.from_numpy(pairs[some, k])] for k in (0, 1))
        cue = right_cue_pairs((sides[0][some], sides[1][some]), truth, part[some], len(PARTS))
        found.append((cue.hit, cue.energy))
    return tuple(torch.cat(values) for values in zip(*found, strict=True))
