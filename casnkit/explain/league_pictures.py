"""The league in pictures: every method's numbers, and what some of them see in one pair of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .league_pairs import choose_pairs
from .retrieval import SIDES, Retrieval

SHOWN = ("siamese", "siamese-gradcam", "plain-mean", "evidence", "integrated-gradients", "occlusion")


def draw_league(
    folder: Path, result: Mapping[str, Any], retrieval: Retrieval, shown: Sequence[str] = SHOWN
) -> list[Path]:
    """Draw ``league.png`` and ``explanations.png`` into ``folder`` and return their paths.

    Args:
        result: of :func:`casnkit.explain.league.run_league` on the same network and data.
        retrieval: the network and what it saw; pairs are chosen as in the league.
        shown: methods of the second picture; those that the league did not measure are left out.
    """
    from casnkit.figures import show_league

    from ..figures import save_figure

    alt = "Points with 95 % intervals for each explanation: energy on the person, deletion, insertion, sanity."
    table = save_figure(show_league(result), Path(folder) / "league.png", alt)
    measured = {entry["method"] for entry in result["methods"]}
    names = [name for name in shown if name in measured] or sorted(measured)[: len(SHOWN)]
    alt = f"A right match, a wrong one and a look-alike, each with maps by {', '.join(names)}, laid over both images."
    seen = explanations_figure(retrieval, names, result["settings"]["pairs"], result["settings"]["seed"])
    return [table, save_figure(seen, Path(folder) / "explanations.png", alt)]


def explanations_figure(retrieval: Retrieval, methods: Sequence[str], pairs: int = 200, seed: int = 0) -> Any:
    """The first pair of each kind, chosen as in the league, with the maps of some methods."""
    from casnkit.figures import show_gallery_of_methods

    from . import explain

    chosen = choose_pairs(retrieval, pairs, seed)
    first = [int(np.flatnonzero(chosen.kinds == kind)[0]) for kind in dict.fromkeys(chosen.kinds.tolist())]
    splits = [retrieval.split(side) for side in SIDES]
    images = [retrieval.images(side, chosen.pairs[first, k]) for k, side in enumerate(SIDES)]
    found = {name: explain(retrieval.model, *images, name).cpu() for name in methods}
    pictures, masks = (
        [tuple(getattr(split, what)(j) for split, j in zip(splits, chosen.pairs[p], strict=True)) for p in first]
        for what in ("image", "mask")
    )
    maps = {name: list(zip(m.query, m.gallery, strict=True)) for name, m in found.items()}
    labels = [f"{chosen.kinds[p]} match" if chosen.kinds[p] != "look-alike" else "look-alike" for p in first]
    return show_gallery_of_methods(pictures, maps, labels, masks, "Why the same person?")


__all__ = ["SHOWN", "draw_league", "explanations_figure"]
