"""Two people who differ in one part of the body: does a map of their pictures find it?

A network that names the right part has a reason to be believed; one whose maps like legs is right about all the pairs
that differ in their legs. Therefore the same pictures are paired with their own person too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from casnkit.claims.measures import with_chance
from casnkit.claims.pictures import BATCH, Pictures, difference_maps, maps_of, siamese_maps, some_of, take
from casnkit.config import Config
from casnkit.data.people import PARTS, lookalike_pairs
from casnkit.data.records import ReidDataset, Split
from casnkit.explain.localisation import Cue, mean_of, right_cue_pairs
from casnkit.models import CASN
from casnkit.ranking import Extracted


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
        for pair in some_of(np.stack(np.meshgrid(places[a], places[b]), -1).reshape(-1, 2), each, rng):
            others = [places[pid][places[pid] != k] for pid, k in zip((a, b), pair, strict=True)]
            if all(map(len, others)):
                pairs.append(pair)
                parts.append(PARTS.index(part))
                partners.append([rng.choice(other) for other in others])
    splits = [query.subset(chosen[chosen < len(query)]), gallery.subset(chosen[chosen >= len(query)] - len(query))]
    return splits, *(np.array(values, dtype=np.int64) for values in (pairs, parts, partners))


def cues(
    model: CASN,
    dataset: ReidDataset,
    config: Config,
    device: str | torch.device | None,
    count: int,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> dict[str, float]:
    """The ``cue_`` numbers of :func:`casnkit.claims.measure_claims`; nothing where the test has no look-alikes."""
    splits, pairs, part, partners = draw_lookalikes(dataset, count, rng)
    if not len(pairs):
        return {}
    pictures = take(model, splits, config, device)
    people = np.unique(pictures.pids[pairs], axis=0, return_inverse=True)[1].reshape(-1)
    results: dict[str, float] = {"lookalike_people": int(people.max()) + 1, "lookalike_pairs": len(pairs)}
    maps = maps_of(model, pictures.found, pairs, config)
    own = {"siamese": _beside_own_person(siamese_maps, model, pictures.found, pairs, partners, config)}
    if model.has_closed_form:
        maps["different"] = torch.cat(difference_maps(model, pictures.found, pairs))
        own["different"] = _beside_own_person(difference_maps, model, pictures.found, pairs, partners)
    for kind, these in (maps | {"uniform": torch.ones_like(maps["plain"])}).items():
        for ending, drawn in with_chance(these, generator) if kind != "uniform" else [("", these)]:
            cue = _cue_of(drawn, pictures, pairs, part)
            results[f"cue_pairs_{kind}{ending}"] = 100 * mean_of(cue.hit).value
            results[f"cue_energy_{kind}{ending}"] = 100 * mean_of(cue.energy).value
            if not ending and kind != "uniform":
                results[f"cue_error_{kind}"] = 100 * clustered_error(cue.hit.numpy(), people)
            if not ending and kind in own:
                gain = cue.energy - _cue_of(own[kind], pictures, pairs, part).energy
                results[f"cue_gain_{kind}"] = 100 * mean_of(gain).value
                results[f"cue_gain_error_{kind}"] = 100 * clustered_error(gain.numpy(), people)
    return results


def clustered_error(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard error of a mean over groups: pairs of the same two people say nearly the same. NaN for one group."""
    groups, values = groups[~np.isnan(values)], values[~np.isnan(values)]
    means = np.array([values[groups == group].mean() for group in np.unique(groups)])
    return float(means.std(ddof=1) / len(means) ** 0.5) if len(means) > 1 else float("nan")


def _beside_own_person(
    maps: Callable[..., tuple[Tensor, Tensor]],
    model: CASN,
    found: Extracted,
    pairs: np.ndarray,
    partners: np.ndarray,
    *options: Config,
) -> Tensor:
    """Maps of each pair's images, each in its place of the pair, beside another image of the same person: (2P, h, w)."""
    first, second = np.stack([pairs[:, 0], partners[:, 0]], 1), np.stack([partners[:, 1], pairs[:, 1]], 1)
    return torch.cat([maps(model, found, first, *options)[0], maps(model, found, second, *options)[1]])


def _cue_of(maps: Tensor, pictures: Pictures, pairs: np.ndarray, part: np.ndarray) -> Cue:
    """:func:`right_cue_pairs` for maps (2P, h, w), some pairs at a time."""
    sides, found = maps.chunk(2), []
    for i in range(0, len(pairs), BATCH):
        some = slice(i, i + BATCH)
        truth = tuple(pictures.parts[torch.from_numpy(pairs[some, k])] for k in (0, 1))
        found.append(right_cue_pairs((sides[0][some], sides[1][some]), truth, part[some], len(PARTS)))
    return Cue(*(torch.cat(values) for values in zip(*found, strict=True)))
