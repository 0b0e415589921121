"""README's pictures, by the networks that come with the kit: ``python figures/make/pictures.py``.

The inspector's screenshot is its browser test's (``CASNKIT_SCREENSHOTS=shots pytest tests/browser -k readme``), kept as
``inspector.webp`` by ``python figures/make/pictures.py shots/.../inspector.png``; lesson 07 has a copy beside it, for voila.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from tour import save_animation, tour

import casnkit as ck
from casnkit.explain.league import league_examples, read_league
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
EXAMPLES = "A right match, a wrong one and a look-alike, each with maps by several methods, laid over both images"
TOUR = (
    "One query and its first ten gallery images, one after the other: both pictures, where Siamese attention looks in each, "
    "and the row profiles of both maps"
)


def keep(picture: Path, name: str) -> None:
    """Put a picture into ``figures/`` as WebP, a fifth of the PNG's size."""
    Image.open(picture).convert("RGB").save(FIGURES / name, quality=90, method=6)


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
    save_animation(tour(model, dataset, info.config, result), FIGURES / "tour.webp", TOUR)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        keep(Path(sys.argv[1]), "inspector.webp")
        keep(Path(sys.argv[1]), "../notebooks/07_pair_inspector.webp")
    else:
        main()
