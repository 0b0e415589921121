"""README's pictures, by the networks that come with the kit: ``python figures/make/pictures.py``.

The inspector's screenshot is its browser test's (``CASNKIT_SCREENSHOTS=shots pytest tests/browser -k jupyterlab``), kept as
``inspector.webp`` by ``python figures/make/pictures.py shots/.../inspector.png``; lesson 09 has a copy beside it, for voila.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import casnkit as ck
from casnkit.evaluation import SIDES, Evaluation
from casnkit.explain import explain
from casnkit.explain.league import League, choose_pairs, read_league
from casnkit.figures import save_figure, show_gallery_of_methods, show_league
from casnkit.notebook import report

FIGURES = Path(__file__).parents[1]
SHOWN = {
    "casn/pictures/pair-right.png": "pair-right.webp",
    "casn/pictures/rankings.png": "rankings.webp",
    "casn/pictures/identification.png": "identification.webp",
    "pictures/attention.png": "attention.webp",
}
LEAGUE = "Points with 95 % intervals for each explanation: energy on the person, deletion, insertion, sanity"
EXPLAINED = ("siamese", "siamese-gradcam", "plain-mean", "evidence", "integrated-gradients", "occlusion")
EXAMPLES = "A right match, a wrong one and a look-alike, each with maps by several methods, laid over both images"


def keep(picture: Path, name: str) -> None:
    """Put a picture into ``figures/`` as WebP, a fifth of the PNG's size."""
    Image.open(picture).convert("RGB").save(FIGURES / name, quality=72, method=6)


def league_examples(retrieval: Evaluation, league: League) -> dict[str, Any]:
    """The first pair of each kind, chosen as in the league, with the maps of some of its methods.

    Returns the arguments of :func:`casnkit.figures.show_gallery_of_methods`: pairs, maps_by_method, labels, masks.
    """
    chosen = choose_pairs(retrieval, league.settings["settings"]["pairs"], league.settings["settings"]["seed"])
    first = np.sort(np.unique(chosen.kinds, return_index=True)[1])
    images = [retrieval.images(side, chosen.pairs[first, k]) for k, side in enumerate(SIDES)]
    splits = [retrieval.split(side).subset(chosen.pairs[first, k]) for k, side in enumerate(SIDES)]
    found = {name: explain(retrieval.model, *images, name).cpu() for name in EXPLAINED if name in league.methods()}
    return {
        "pairs": [tuple(split.image(p) for split in splits) for p in range(len(first))],
        "maps_by_method": {name: list(zip(m.query, m.gallery, strict=True)) for name, m in found.items()},
        "labels": [str(kind) + " match" * (kind != "look-alike") for kind in chosen.kinds[first]],
        "masks": [tuple(split.mask(p) for split in splits) for p in range(len(first))],
    }


def main() -> None:
    """Draw the reports of the baseline and CASN, and keep what the README shows."""
    dataset, tested = ck.open_dataset("people:quick"), {}
    with tempfile.TemporaryDirectory() as folder:
        for variant in ("ide", "casn"):
            model, info = ck.load_shipped(variant)
            result = ck.evaluation.evaluate(model, dataset, info.config, progress=False)
            tested[variant] = model, result, info
            report.draw_report(Path(folder) / variant, result, info)
        report.draw_comparison(Path(folder), tested, dataset)
        for source, name in SHOWN.items():
            keep(Path(folder) / source, name)
    model, result, info = tested["casn"]
    league = read_league()
    save_figure(show_league(league), FIGURES / "league.png", LEAGUE)
    examples = show_gallery_of_methods(**league_examples(result, league), title="Why the same person?")
    with tempfile.TemporaryDirectory() as folder:
        keep(save_figure(examples, Path(folder) / "explanations.png", EXAMPLES), "explanations.webp")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        keep(Path(sys.argv[1]), "inspector.webp")
    else:
        main()
