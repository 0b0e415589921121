"""The paper's claims as numbers: does attention cover the person, does it agree across images, does it find the cue?

Every number stands beside chance and beside the plain mean of the feature map, which knows no classifier. One ruler
measures all networks (t = 0.5, soft mask 10 and 0.5), whatever they were trained with; the Siamese mode, the order of
pairs and equation 5's t are those of ``config.ranking``, as in the test.

The people of the test have no class: identification attention explains the training identity that the network takes
them for. The keys with ``_train`` explain the true identity, on training images.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch

from casnkit.claims.lookalikes import cues, lookalikes_of
from casnkit.claims.measures import agreement, localised, on_training_images
from casnkit.claims.pictures import MAPS, draw_pairs, maps_of, take
from casnkit.claims.table import HEADLINES, claims_sheet, claims_table
from casnkit.config import Config
from casnkit.data.records import ReidDataset
from casnkit.models import CASN


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
    device: str | torch.device | None = None,
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
      and the share of it that lies beside; ``soft_coverage_MAP``, ``soft_spill_MAP``: the same of equation 2's soft mask;
    - ``energy_inside_MAP``, ``iou_MAP``, ``pointing_MAP``: see :mod:`casnkit.explain.localisation`;
    - ``part_coverage_MAP``: mean of ``part_coverage_PART_MAP``, the share of a part that is covered, over the parts;
      ``part_energy_PART_MAP``: share of the person's energy that lies on a part (``part_energy_PART_uniform``: its area);
    - all of these for ``ia_train`` and ``plain_train``: training images, explained by their true identity;
    - ``distance_same_MAP``, ``distance_different_MAP``: mean distance of equation 5 between the aligned row profiles of
      two images of one person, of two people (lower agrees more; not percent);
    - ``auc_MAP``: that distance alone as a matcher, beside ``auc_features`` and ``auc_chance`` (50);
    - ``cue_pairs_MAP``: share of look-alike pairs with more weight per pixel on the one part that differs than on the
      rest of the person; ``cue_energy_MAP``: share of the person's energy on that part (``cue_energy_uniform``: area);
    - ``cue_gain_siamese``: points of ``cue_energy`` that the same pictures lose when they are paired with their own
      person instead: what the map knows of the partner, free of any taste for certain parts;
    - ``cue_error_MAP``, ``cue_gain_error_siamese``: standard errors of ``cue_pairs`` and ``cue_gain`` over the people;
    - all cue numbers for MAP ``different``: Grad-CAM of "not the same" (of -z_1), the question that the part answers.

    What a data set cannot tell (:func:`missing_truth`) is left out with a warning, and so is a number that nothing
    defines.

    Args:
        model: left in the mode that it was in; moved to ``device`` if one is given.
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
    pictures = take(model, splits, config, device)
    results: dict[str, float] = {"siamese_trained": config.loss.siamese_attention, "images": len(pictures.pids)}
    maps = maps_of(model, pictures.found, matched, config)
    results |= localised(maps, pictures, matched.T.reshape(-1), generator)
    results |= on_training_images(model, dataset, config, device, max_images // 2, rng, generator)
    results |= agreement(model, pictures.found, same, different, config)
    if pictures.parts is not None:
        results |= cues(model, dataset, config, device, max_pairs, rng, generator)
    return {key: value for key, value in results.items() if np.isfinite(value)}


__all__ = ["HEADLINES", "MAPS", "claims_sheet", "claims_table", "measure_claims", "missing_truth"]
