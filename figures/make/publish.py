"""Publish the last study of ``casnkit ablate``: ``python figures/make/publish.py [FOLDER]``, by default ``runs/ablation``.

Its rows go into ``figures/results``, in the place of the same trainings' former ones; rows of the same study with another
base compare with nothing and go. The picture of a whole study goes to ``figures``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd

from casnkit.data.files import atomic_path
from casnkit.experiments import report

FIGURES = Path(__file__).parents[1]


def publish(out: Path, figures: Path = FIGURES) -> None:
    """Put what ``out`` holds of the last study into ``figures``."""
    rows, keys = report.read_results("table", out), {*report.IDENTITY, *report.HEADINGS}
    if rows is None:
        raise ValueError(f"expected {out / 'table.csv'}, found none: run `casnkit ablate --out {out}`")
    study, common, split = rows[["study", "common", "split"]].iloc[0]
    rows = rows[[name for name in rows if name in keys or report.CURVE in name]]
    name = report.STUDIES.get(study, "open-points")
    known = report.read_results(name, figures / "results")
    if known is not None:
        known = known[(known["study"] != study) | (known["common"] == common)]
    rows = pd.concat([known, rows]).drop_duplicates(report.IDENTITY, keep="last")
    with atomic_path(figures / "results" / f"{name}.csv") as temporary:
        rows.round(6).to_csv(temporary, index=False)
    image = out / f"ablation-{study}-{split}.png"  # of a study of a few points there is none of that name
    if image.is_file():
        with atomic_path(figures / image.name) as temporary:
            shutil.copyfile(image, temporary)


if __name__ == "__main__":
    publish(Path(*sys.argv[1:] or ["runs/ablation"]))
