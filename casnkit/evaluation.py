"""Test a trained network: distances between queries and gallery by features, by attention and by their sum (paper 3.2.3).

The Siamese attention of a network whose pair classifier was never trained (variants ``ide`` and ``ide+ia``) says nothing,
so for those only features are ranked.
"""

from __future__ import annotations

import html
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from casnkit.data.files import write_json
from casnkit.data.images import load_images
from casnkit.ranking import Extracted, attention_distances, extract, feature_distances
from casnkit.runs import pick_device
from casnkit.training import Processes

from . import runs
from .config import Config
from .data.records import ReidDataset, Split
from .models import CASN
from .ranking import RankingResult, evaluate_ranking, fuse

HEADLINES = ("rank_1", "rank_5", "rank_10", "rank_20", "mean_ap", "mean_ap_trapezoid", "mean_inp")
HEADINGS = dict(
    zip(HEADLINES, ("rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mAP (trapezoid)", "mINP"), strict=True)
)
_WHOLE = 40  # letters: a number and its interval stay on one line, a sentence may be broken
_BOLD = re.compile(r"\*\*(.+?)\*\*")


@dataclass(frozen=True)
class Evaluation:
    """One network on one data set.

    Attributes:
        distances: (Q, G) matrices by name: ``features``, and where the pair classifier was trained ``attention`` and
            ``sum``; lower is closer.
        rankings: the protocol's numbers for each of them.
        chance: the protocol's numbers for random distances.
        query, gallery: features and feature maps.
        seconds: how long extraction, features' and attention's distances took.
    """

    distances: dict[str, np.ndarray]
    rankings: dict[str, RankingResult]
    chance: RankingResult
    query: Extracted
    gallery: Extracted
    seconds: dict[str, float]

    def rows(self) -> list[dict[str, Any]]:
        """One row per way of ranking: name and headline numbers in percent."""
        named = {**self.rankings, "chance": self.chance}
        return [{"ranked by": name, **headline(result)} for name, result in named.items()]


def headline(result: RankingResult) -> dict[str, float]:
    """Rank-1, 5, 10, 20, both mean average precisions and mINP, in percent."""
    ranks = {f"rank_{k}": result.rank(min(k, len(result.cmc))) for k in (1, 5, 10, 20)}
    means = {name: getattr(result, name) for name in HEADLINES[4:]}
    return {name: 100 * float(value) for name, value in {**ranks, **means}.items()}


def evaluate(
    model: CASN,
    dataset: ReidDataset,
    config: Config,
    *,
    device: str | torch.device | None = None,
    progress: bool = True,
    attention: bool | None = None,
    processes: Processes | None = None,
) -> Evaluation:
    """Rank the gallery for every query.

    Args:
        model: left in the mode that it was in.
        config: its ``ranking`` group and the image size are used.
        attention: rank by attention too; default: where the configuration trained the pair classifier.
        processes: share images and pairs with other processes; each gets the whole result.
    """
    options, seconds, processes = config.ranking, {}, processes or Processes(device=pick_device(device))
    clock = time.perf_counter()
    attention = config.loss.siamese_attention if attention is None else attention
    query, gallery = (
        _extract(model, split, config, attention, progress, processes) for split in (dataset.query, dataset.gallery)
    )
    seconds["extraction"] = time.perf_counter() - clock
    clock = time.perf_counter()
    features = feature_distances(query.features, gallery.features, normalise=options.normalise_features)
    distances = {"features": np.asarray(features)}
    seconds["features"] = time.perf_counter() - clock
    if attention:
        clock = time.perf_counter()
        mine = attention_distances(
            model,
            query.subset(np.arange(processes.rank, len(query), processes.world)),
            gallery,
            options.siamese_mode,
            options.pair_order,
            options.threshold,
            device=processes.device,
            progress=progress and processes.is_main,
        )
        distances["attention"] = processes.gather_rows(torch.from_numpy(np.asarray(mine.distances)), len(query)).numpy()
        seconds["attention"] = time.perf_counter() - clock
        distances["sum"] = fuse(
            distances["features"],
            distances["attention"],
            options.attention_weight,
            options.normalisation,
            options.normalise_per,
        )
    rankings = {name: rank(matrix, dataset, options.max_rank) for name, matrix in distances.items()}
    chance = rank(np.random.default_rng(0).random(distances["features"].shape), dataset, options.max_rank)
    return Evaluation(distances, rankings, chance, query, gallery, seconds)


def rank(distances: np.ndarray, dataset: ReidDataset, max_rank: int = 50) -> RankingResult:
    """The protocol's numbers for a matrix of distances between a data set's queries and gallery."""
    q, g = dataset.query, dataset.gallery
    return evaluate_ranking(distances, q.pids, q.camids, g.pids, g.camids, max_rank)


def _extract(
    model: CASN, split: Split, config: Config, keep_maps: bool, progress: bool, processes: Processes
) -> Extracted:
    mine, progress = np.arange(processes.rank, len(split), processes.world), progress and processes.is_main
    images = load_images(split.subset(mine), (config.data.height, config.data.width), progress=progress)
    found = extract(model, images, device=processes.device, keep_maps=keep_maps, progress=progress)
    if processes.world == 1:
        return found
    maps = None if found.feature_maps is None else processes.gather_rows(found.feature_maps, len(split))
    return Extracted(processes.gather_rows(found.features, len(split)), maps)


def save_results(run: str | Path, evaluation: Evaluation, dataset: ReidDataset, info: runs.RunInfo) -> Path:
    """Write ``RUN/results.json``: the table with everything that it depends on. Returns the path."""
    path = Path(run) / "results.json"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    write_json(
        path,
        {
            "variant": info.config.variant,
            "pooling": info.config.model.pooling,
            "seed": info.config.train.seed,
            "profile": info.config.profile,
            "data": {"name": dataset.name, "query": len(dataset.query), "gallery": len(dataset.gallery)},
            "rows": evaluation.rows(),
            "queries_with_a_match": evaluation.rankings["features"].num_valid,
            "seconds": evaluation.seconds,
            "device": device,
            "versions": runs.versions(),
        },
    )
    return path


class Table(str):
    """A table as aligned text; a notebook shows the same as a table of its page, which breaks no line."""

    markup: str

    def __new__(cls, text: str, markup: str) -> Table:
        """Text, and the HTML that a notebook shows in its place."""
        made = super().__new__(cls, text)
        made.markup = markup
        return made

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.markup


def table(rows: list[dict[str, Any]], columns: dict[str, str] | None = None) -> Table:
    """Rows as aligned text, and in a notebook as a table of the page; numbers with one decimal.

    Args:
        rows: dicts with the same keys.
        columns: heading by key, in order; default: the keys themselves, the protocol's numbers by their usual names.
    """
    columns = columns or {key: HEADINGS.get(key, key) for key in rows[0]}
    cells = [list(columns.values())] + [[_cell(row.get(key, "")) for key in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    numeric = [isinstance(rows[0].get(key), float) for key in columns]

    def line(values: list[str]) -> str:
        pairs = zip(values, widths, numeric, strict=True)
        return "  ".join(value.rjust(width) if right else value.ljust(width) for value, width, right in pairs).rstrip()

    text = "\n".join([line(cells[0]), "  ".join("-" * width for width in widths), *map(line, cells[1:])])
    return Table(text, _markup(cells, numeric))


def _wrapped(tag: str, value: str) -> str:
    return "nowrap" if tag == "td" and len(value) <= _WHOLE else "normal"


def _bold(text: str) -> str:
    return _BOLD.sub(r"<b>\1</b>", text)


def _markup(cells: list[list[str]], numeric: list[bool]) -> str:
    """The same cells in HTML, the first line as heading; what stands between double asterisks is bold."""
    lines = []
    for tag, values in zip(["th"] + ["td"] * len(cells), cells, strict=False):
        sides = ("right" if right else "left" for right in numeric)
        inside = "".join(
            f'<{tag} style="text-align: {side}; white-space: {_wrapped(tag, value)}">{_bold(html.escape(value))}</{tag}>'
            for side, value in zip(sides, values, strict=True)
        )
        lines.append(f"<tr>{inside}</tr>")
    return f"<table><thead>{lines[0]}</thead><tbody>{''.join(lines[1:])}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:.1f}"
    return str(value)
