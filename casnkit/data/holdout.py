"""Validation people taken out of the training split, for looking at a run's progress without touching its test.

The protocol is the benchmarks' own (single query, gallery images of the same person *and* camera do not count). The
held-out people's gallery holds all their images, the queries' too: a query's own image is of its own person and camera
and so never counts for it, while it is a match for that person's queries from other cameras. Thus everybody whom two
cameras saw has a query with a match in each of them, even with one image per camera.
"""

from __future__ import annotations

import operator
from dataclasses import replace

import numpy as np

from casnkit.data.records import UNKNOWN_CAMERA, ReidDataset, Split


def hold_out(dataset: ReidDataset, identities: int, seed: int = 0) -> tuple[ReidDataset, ReidDataset]:
    """Take people out of the training split and make a validation set of them.

    The people are drawn uniformly by ``seed``; of two numbers with one seed, the smaller's people are among the
    larger's. Of each person, the first image (in the split's order) from each camera is a query. People seen by one
    camera have no query, for none of their images could match it: they stay in the gallery as negatives.

    Images of an unknown camera (-1) match all others, so such a query would find itself: of a person's images without
    a camera the first is a query and left out of the gallery, if there are at least two of them.

    Args:
        dataset: its ``train`` split is divided.
        identities: people to hold out, at least 1; at least 2 have to remain.
        seed: 0 or more.

    Returns:
        ``(training, validation)``: the data set with the smaller ``train``, its test as before; and one with the same
        smaller ``train`` whose ``query`` and ``gallery`` show the held-out people.

    Raises:
        ValueError: too many or too few identities asked for, or nobody among them can be searched for.
    """
    train, wanted = dataset.train, _checked_number(identities, dataset)
    people = np.random.default_rng(seed).permutation(train.identities)[:wanted]
    held = np.isin(train.pids, people)
    images = train.subset(held)
    is_query, in_gallery = _queries(images.pids, images.camids)
    if not is_query.any():
        raise ValueError(
            f"none of the {wanted} held-out identities was seen by two cameras, so no query would have a match: "
            "hold out more identities, or choose another seed"
        )
    searched = len(np.unique(images.pids[is_query]))
    note = f"{wanted} training identities held out for validation (seed {seed})"
    smaller = replace(dataset, train=train.subset(~held), notes=(*dataset.notes, note))
    if searched < wanted:
        note += f"; {wanted - searched} of them cannot be searched for and only stand in the gallery"
    validation = replace(
        smaller,
        name=f"{dataset.name}-validation",
        query=_renamed(images.subset(is_query), "query"),
        gallery=_renamed(images.subset(in_gallery), "gallery"),
        notes=(*dataset.notes, note),
    )
    return smaller, validation


def _queries(pids: np.ndarray, camids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the held-out images are queries and which stand in the gallery, two (N,) bool arrays."""
    _, first = np.unique(np.stack([pids, camids]), axis=1, return_index=True)
    is_query, in_gallery = np.zeros(len(pids), bool), np.ones(len(pids), bool)
    for i in first:
        own = camids[pids == pids[i]]
        if camids[i] == UNKNOWN_CAMERA:
            is_query[i] = np.count_nonzero(own == UNKNOWN_CAMERA) > 1
            in_gallery[i] = not is_query[i]
        else:
            is_query[i] = (own != camids[i]).any()
    return is_query, in_gallery


def _checked_number(identities: int, dataset: ReidDataset) -> int:
    there = len(dataset.train.identities)
    try:
        wanted = operator.index(identities)
    except TypeError:
        wanted = 0
    if wanted < 1:
        raise ValueError(f"expected a number of identities to hold out of at least 1, got {identities!r}")
    if wanted > there - 2:
        raise ValueError(
            f"expected to hold out at most {max(there - 2, 0)} of the {there} training identities of {dataset.name!r}, "
            f"so that 2 remain to train on, got {wanted}: hold out fewer"
        )
    return wanted


def _renamed(split: Split, name: str) -> Split:
    return replace(split, name=name)


__all__ = ["hold_out"]
