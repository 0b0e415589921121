"""Does correspondence join like with like? ``python figures/make/correspondence.py --ablation runs/ablation``.

    figures/results/correspondence.csv   a row for each network, seed and matrix
    figures/correspondence.png           two pairs with their matches

The networks are those of ``casnkit ablate`` (studies variants and misaligned), as many as are finished, untrained ones, and
those that come with the kit; what is in the table already is not measured again. All see the test of the drawn people, and
the same pairs of one person: an interval over seeds says what another training changes, not what other people would.

- ``same_part``: :func:`same_part`, a mean over parts, then over pairs; ``best_partner``: the
  same, where every cell gives all of its weight to its best partner.
- ``auc_SCORE``: of a score in ``PLAUSIBILITY``, right against wrong pairs of equal similarity (``twins`` of each), out of
  each query's nearest pictures of its person and of others, all by another camera; ``auc_similarity``: what is left of it;
  ``auc_second_network``: of the similarity by one other network, a baseline that knows nothing of cells.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm.auto import tqdm

import casnkit as ck
from casnkit import ranking
from casnkit.config import Config
from casnkit.data.files import atomic_path, read_json
from casnkit.data.images import load_parts
from casnkit.data.people import PARTS
from casnkit.evaluation import Evaluation, table
from casnkit.experiments import FOLDER, list_shipped, load_run
from casnkit.experiments.ablation import open_people
from casnkit.experiments.report import estimate, holm, pooled_deviation
from casnkit.explain.correspondence import Match, correspondence_of, mutual, mutual_best
from casnkit.figures import save_figure
from casnkit.figures.style import BLUE, DASHED, ORANGE, PAGE_WIDTH, figure_style, frame, new_figure
from casnkit.models import seeded

FIGURES = Path(__file__).parents[1]
WORLDS = {"variants": "people:quick", "misaligned": "people:quick:misaligned"}
PAIRS, NEAREST, BATCH = 500, 3, 16
SECOND = "stripes-ide"  # of the kit
KEYS = ["study", "variant", "pooling", "seed"]  # of a network
BASELINES = ("two maps", "position", "chance", "truth")


def matrices(
    model: ck.CASN, map_1: Tensor, map_2: Tensor, areas_1: Tensor, areas_2: Tensor, trained: bool
) -> dict[str, Tensor]:
    """All that is compared, (P, n_1, n_2) each; ``trained``: the pair classifier, which the weights of equation 4 ask.

    Baselines: what two separate maps tell, the same place, every partner alike, and what joins equal parts with each other.
    """
    cosine = correspondence_of(model, map_1, map_2)
    found = {"cosine": cosine, "excess": excess(cosine), "cells": cell_cosine(map_1, map_2)}
    if trained:
        found |= {weight: correspondence_of(model, map_1, map_2, weight) for weight in ("alpha", "gradient")}
    place, truth = torch.eye(*cosine.shape[1:]).expand_as(cosine), areas_1[:, 1:].mT @ areas_2[:, 1:]
    return found | dict(zip(BASELINES, (separate(cosine), place, torch.ones_like(cosine), truth), strict=True))


def cell_cosine(map_1: Tensor, map_2: Tensor) -> Tensor:
    """The cosine of every two cells, (P, h1 * w1, h2 * w2) in [-1, 1], 0 beside a cell of zeros. It adds up to no score."""
    cells_1, cells_2 = (F.normalize(m.flatten(2), dim=1) for m in (map_1, map_2))
    return cells_1.transpose(1, 2) @ cells_2


def excess(matrix: Tensor) -> Tensor:
    """What two separate maps cannot tell: the matrix less :func:`separate`. Each row and each column adds up to zero."""
    return matrix - separate(matrix)


def separate(matrix: Tensor) -> Tensor:
    """What two separate maps tell of a matrix >= 0: the product of row and column sums, scaled to the same total."""
    total = matrix.sum((1, 2), True)
    return matrix.sum(2, True) * matrix.sum(1, True) / torch.where(total == 0, 1, total)


def part_areas(parts: Tensor, size: tuple[int, int]) -> Tensor:
    """Background's and each body part's share of every cell: (B, H, W) part maps -> (B, 1 + len(PARTS), h * w) in [0, 1]."""
    shares = [F.adaptive_avg_pool2d((parts == p).float(), size) for p in range(len(PARTS) + 1)]
    return torch.stack(shares, 1).flatten(2)


def same_part(matrix: Tensor, areas_1: Tensor, areas_2: Tensor) -> Tensor:
    """Of each part's weight in picture 1, the share that lands on this part in picture 2: (P, len(PARTS)) in [0, 1].

    Weight is what is positive in the matrix. Cells count for a part by their :func:`part_areas`; as they hold several parts,
    no matrix reaches 1. NaN where a picture does not show the part, or it has no weight.
    """
    areas_1, areas_2 = areas_1[:, 1:], areas_2[:, 1:]  # without the background
    weight = areas_1 @ matrix.clamp_min(0)  # (P, parts, n_2)
    landed, whole = (weight * areas_2).sum(2), weight.sum(2)
    there = (areas_1.amax(2) > 0) & (areas_2.amax(2) > 0) & (whole > 0)
    return torch.where(there, landed / whole, torch.nan)


def _share(matrix: Tensor, chosen: Tensor) -> Tensor:
    matrix = matrix.clamp_min(0)
    return (matrix * chosen).sum((1, 2)) / matrix.sum((1, 2)).clamp_min(torch.finfo(matrix.dtype).tiny)


# How much a pair looks like a true match, (P,), higher is more: from the matrix, and areas_1, areas_2 where parts are known.
PLAUSIBILITY: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mutual_cells": lambda m, *_: mutual(m).sum((1, 2)) / min(m.shape[1:]),  # share of the cells in mutual matches
    "mutual_weight": lambda m, *_: _share(m, mutual(m)),  # and of the positive weight
    "same_place": lambda m, *_: _share(m, torch.eye(*m.shape[1:]).to(m)),  # weight on equal places; maps of one size
    "on_person": lambda m, a, b: _share(m, (1 - a[:, 0])[:, :, None] * (1 - b[:, 0])[:, None]),
    "same_parts": lambda m, a, b: _share(m, a[:, 1:].transpose(1, 2) @ b[:, 1:]),
}


def equal_similarity(similarity: np.ndarray, right: np.ndarray, caliper: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong pairs of equal similarity: the indices of K right ones and, in the same order, of their wrong twins.

    Twins differ by at most ``caliper`` standard deviations of the similarity, (P,); ``right``, (P,) bool. Of all ways to join
    twins this has the most of them, and of these the smallest differences (Hungarian method).
    """
    rights, wrongs = np.flatnonzero(right), np.flatnonzero(~right)
    gap, limit = np.abs(similarity[rights][:, None] - similarity[wrongs]), caliper * similarity.std()
    rows, columns = linear_sum_assignment(np.where(gap <= limit, gap, (limit + 1) * len(similarity)))
    near = gap[rows, columns] <= limit
    return rights[rows[near]], wrongs[columns[near]]


LOOKS = {"color": BLUE}, {"color": ORANGE, "linestyle": DASHED}  # right, wrong
SCORES = [f"auc_{name}" for name in PLAUSIBILITY]


@dataclass(frozen=True)
class People:
    """The people of a world, and pairs of one person seen by two cameras."""

    dataset: ck.ReidDataset

    @cached_property
    def same(self) -> np.ndarray:
        """(P, 2) query and gallery indices, the same for every network."""
        found = np.argwhere(self.right)
        return found[np.sort(np.random.default_rng(0).permutation(len(found))[:PAIRS])]

    @cached_property
    def right(self) -> np.ndarray:
        """(Q, G) bool: the matches."""
        q, g = self.dataset.query, self.dataset.gallery
        return ranking.matches_mask(q.pids, q.camids, g.pids, g.camids)

    @cached_property
    def wrong(self) -> np.ndarray:
        """(Q, G) bool: other people by other cameras, as the matches are; no distractors, which may show nobody."""
        q, g = self.dataset.query, self.dataset.gallery
        return (q.pids[:, None] != g.pids) & (g.pids > 0) & (q.camids[:, None] != g.camids)

    @cached_property
    def parts(self) -> list[Tensor]:
        """Part maps of queries and gallery."""
        return [load_parts(split, (128, 64)) for split in (self.dataset.query, self.dataset.gallery)]

    @cached_property
    def second(self) -> np.ndarray:
        """(Q, G) similarities by another network: a second opinion without any correspondence."""
        model, info = load_run(SECOND)
        seen = Evaluation.of(model, self.dataset, info.config, keep_maps=False)
        return -seen.between(seen.query, seen.gallery, "features").astype(float)

    def nearest(self, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(P, 2) query and gallery indices, and (P,) whether they are right."""
        found = []
        for mask in (self.right, self.wrong):
            far = np.where(mask, distances, np.inf)
            columns = np.argsort(far, 1, kind="stable")[:, :NEAREST]
            rows = np.repeat(np.arange(len(far)), columns.shape[1])
            pairs = np.stack([rows, columns.ravel()], 1)
            found.append(pairs[np.isfinite(far[rows, columns.ravel()])])
        return np.concatenate(found), np.arange(sum(map(len, found))) < len(found[0])


def measure(model: ck.CASN, config: Config, people: People) -> list[dict[str, Any]]:
    """All numbers of one network, a row for each matrix."""
    seen = Evaluation.of(model, people.dataset, config)
    areas = [part_areas(parts, seen.query.feature_maps.shape[2:]) for parts in people.parts]
    distances, trained = seen.between(seen.query, seen.gallery, "features"), config.loss.siamese_attention
    nearest, right = people.nearest(distances)
    similarity = -distances[tuple(nearest.T)].astype(float)  # in the same order as the cosine
    twins = np.concatenate(equal_similarity(similarity, right))
    known = {"pairs": len(people.same), "twins": len(twins) // 2, "auc_similarity": _auc(similarity[twins])}
    known["auc_second_network"] = _auc(people.second[tuple(nearest[twins].T)])
    found: dict[tuple[str, str], list[Tensor]] = {}
    for every, own in _batches(model, seen, people.same, areas, trained):
        for name, matrix in every.items():
            best = (matrix == matrix.amax(2, keepdim=True)).to(matrix)  # where several are best, each a share
            best = best / best.sum(2, keepdim=True)
            for measured, values in {"same_part": matrix, "best_partner": best}.items():
                found.setdefault((name, measured), []).append(same_part(values, *own).nanmean(1))
    for every, own in _batches(model, seen, nearest[twins], areas, trained):
        for (name, matrix), (score, of) in itertools.product(every.items(), PLAUSIBILITY.items()):
            found.setdefault((name, f"auc_{score}"), []).append(of(matrix, *own))
    rows: dict[str, dict[str, Any]] = {}
    for (name, measured), parts in found.items():
        values = torch.cat(parts)
        value = _auc(values.numpy()) if measured.startswith("auc") else float(values.nanmean())
        rows.setdefault(name, {"matrix": name, **known})[measured] = value
    return list(rows.values())


@torch.no_grad()
def _batches(
    model: ck.CASN, seen: Evaluation, pairs: np.ndarray, areas: list[Tensor], trained: bool
) -> Iterator[tuple[dict[str, Tensor], list[Tensor]]]:
    for index in torch.from_numpy(pairs.T).split(BATCH, 1):
        maps = (side.feature_maps[rows] for side, rows in zip((seen.query, seen.gallery), index, strict=True))
        own = [area[rows] for area, rows in zip(areas, index, strict=True)]
        yield matrices(model, *maps, *own, trained), own


def _auc(values: np.ndarray) -> float:
    """Of the right pairs, the first half, against their wrong twins."""
    return float(roc_auc_score(np.arange(len(values)) < len(values) // 2, values))


def networks(folder: Path) -> Iterator[tuple[dict[str, Any], Callable[[], tuple[ck.CASN, Config]]]]:
    """What there is: every finished network of ``casnkit ablate``, an untrained one for each seed, and those of the kit;
    what it is, and how to get it with its configuration."""

    def load(run: str | Path, trained: bool = True) -> tuple[ck.CASN, Config]:
        model, info = load_run(run)
        if not trained:
            with seeded(info.config.train.seed, 0):
                model = ck.CASN.from_config(model.num_ids, info.config.model).eval()
        return model, info.config

    rows = [read_json(path) for path in sorted(folder.glob("rows/*.json"))]
    rows = [row for row in rows if row["study"] in WORLDS and row["split"] == "test"]
    for row in sorted(rows, key=lambda row: (list(WORLDS).index(row["study"]), row["seed"])):
        run = folder / "runs" / row["trial"]
        if run.is_dir():
            own = {name: row[name] for name in KEYS}
            yield own, partial(load, run)
            if row["variant"] == "ide":
                yield own | {"variant": "untrained"}, partial(load, run, trained=False)
    for name in list_shipped():
        config = ck.runs.read_run(FOLDER / name).config
        own = "shipped", config.variant, config.model.pooling, config.train.seed
        yield dict(zip(KEYS, own, strict=True)), partial(load, name)


def summary(rows: pd.DataFrame, pooling: str = "gap") -> dict[str, pd.DataFrame]:
    """Tables over seeds, in percent: ``parts``, ``consistency`` (paired by seed) and ``plausibility`` (against a coin).

    The intervals and p of the last two are by Student's t, the deviation pooled over the arms; p_holm is Holm's.
    """
    rows = rows[(rows["pooling"] == pooling) & rows["study"].isin(WORLDS)]
    return {"parts": _parts(rows), "consistency": _consistency(rows), "plausibility": _plausible(rows)}


def _parts(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each arm, a column for each matrix, means with half of their intervals."""
    lines = []
    for name in ("same_part", "best_partner"):
        for (study, arm), own in rows.groupby(["study", "variant"], sort=False):
            found = {matrix: f"{estimate(100 * group[name])}" for matrix, group in own.groupby("matrix", sort=False)}
            lines.append({"study": study, "measure": name, "arm": arm, "seeds": own["seed"].nunique()} | found)
    return pd.DataFrame(lines).fillna("")


def _consistency(rows: pd.DataFrame) -> pd.DataFrame:
    """What each loss changes in the share that lands on the same part."""
    lines = []
    for (study, matrix), own in rows[rows["matrix"].isin(["cosine", "excess"])].groupby(
        ["study", "matrix"], sort=False
    ):
        values = own.pivot(index="seed", columns="variant", values="same_part") * 100
        bases = {"bce": "ide", "ide+sa": "bce", "ide+sa, margin": "bce", "ide+ia": "ide", "casn": "ide+ia"}
        changes = {a: (values[a] - values[b]).dropna() for a, b in bases.items() if {a, b} <= set(values)}
        pooled = pooled_deviation(list(changes.values()))
        for arm, change in changes.items():
            found = {"study": study, "matrix": matrix, "arm": arm, "than": bases[arm]}
            lines.append(found | _line(change, pooled))
    return _corrected(lines)


def _plausible(rows: pd.DataFrame) -> pd.DataFrame:
    """How well each score tells right from wrong pairs of equal similarity: AUC less 50."""
    lines = []
    for (study, matrix), own in rows[~rows["matrix"].isin(BASELINES)].groupby(["study", "matrix"], sort=False):
        for score in SCORES:
            by_arm = {arm: 100 * group[score] - 50 for arm, group in own.groupby("variant", sort=False)}
            pooled = pooled_deviation(list(by_arm.values()))
            lines += [
                {"study": study, "matrix": matrix, "score": score, "arm": arm} | _line(values, pooled)
                for arm, values in by_arm.items()
            ]
    return _corrected(lines)


def _line(values: pd.Series, pooled: tuple[float, int]) -> dict[str, float]:
    found = estimate(values, pooled)
    return {"mean": found.mean, "low": found.low, "high": found.high, "seeds": found.count, "p": found.p}


def _corrected(lines: list[dict[str, Any]]) -> pd.DataFrame:
    found = pd.DataFrame(lines)
    return found.assign(p_holm=holm(found["p"])) if len(found) else found


@figure_style()
def show_matches(
    images: list[list[Any]], matches: list[list[Match]], size: tuple[int, int], titles: list[str]
) -> Figure:
    """Pairs of images with lines between the cells of their matches, the thicker the larger the value; ``size``: (h, w)."""
    note = "The thicker a line, the more its two cells add to the similarity beyond what two separate maps can tell."
    figure = new_figure(PAGE_WIDTH, 4.9, "Cells that are each other's best partner", note)
    axes, (height, width) = figure.subplots(1, 2 * len(images)), size
    for k, (pair, found) in enumerate(zip(images, matches, strict=True)):
        sides = axes[2 * k : 2 * k + 2]
        for ax, image in zip(sides, pair, strict=True):
            ax.imshow(image, extent=(0, width, height, 0))
            frame(ax)
        sides[0].set_title(titles[k])
        for match in found:
            ends = [(cell % width + 0.5, cell // width + 0.5) for cell in match[:2]]
            look = {"linewidth": 0.5 + 3 * match.value / found[0].value, **LOOKS[k % 2]}
            figure.add_artist(ConnectionPatch(*ends, "data", "data", axesA=sides[0], axesB=sides[1], **look))
    return figure


def picture(people: People, name: str = "gap-casn", count: int = 12) -> Figure:
    """A right and a wrong pair of equal similarity with the strongest matches of each."""
    model, info = load_run(name)
    seen = Evaluation.of(model, people.dataset, info.config)
    distances = seen.between(seen.query, seen.gallery, "features")
    pairs, right = people.nearest(distances)
    twins = equal_similarity(-distances[tuple(pairs.T)].astype(float), right)
    chosen, images, titles = pairs[[side[len(side) // 2] for side in twins]], [], []
    for kind, (i, j) in zip(("\u2713 one person", "\u2717 two people"), chosen, strict=True):
        sides = (people.dataset.query, i), (people.dataset.gallery, j)
        images.append([np.asarray(split.image(k)) for split, k in sides])
        titles.append(f"{kind}, distance {distances[i, j]:.3f}")
    maps = seen.query.feature_maps[chosen[:, 0]], seen.gallery.feature_maps[chosen[:, 1]]
    matches = [found[:count] for found in mutual_best(excess(correspondence_of(model, *maps)))]
    return show_matches(images, matches, tuple(maps[0].shape[2:]), titles)


def main() -> None:
    """Measure every network, write the table and the picture, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ablation", type=Path, default=Path("runs/ablation"), help="folder of `casnkit ablate`")
    parser.add_argument("--out", type=Path, default=FIGURES / "results" / "correspondence.csv")
    parser.add_argument("--people", type=int, default=0, help="seed of the drawn people; 1: those of validation")
    options = parser.parse_args()
    people = {study: People(open_people(name, options.people)) for study, name in WORLDS.items()}
    people["shipped"] = people["variants"]
    found = pd.read_csv(options.out) if options.out.is_file() else pd.DataFrame(columns=KEYS)
    there = set(found[KEYS].itertuples(index=False, name=None))
    made = {"people": options.people, "device": "cpu", "casnkit": ck.__version__, "torch": torch.__version__}
    for own, load in tqdm(list(networks(options.ablation)), "networks"):
        if tuple(own.values()) not in there:
            rows = measure(*load(), people[own["study"]])
            new = pd.DataFrame([own | row | made for row in rows]).round(4)
            found = pd.concat([found, new]) if len(found) else new
            with atomic_path(options.out) as temporary:
                found.to_csv(temporary, index=False)
    for name, lines in summary(found).items():
        print(f"\n{name}", table(lines.round(3).to_dict("records")), sep="\n")
    alt = "Two pairs of drawn people, one person and two people, with lines between the places that go together"
    print(save_figure(picture(people["variants"]), FIGURES / "correspondence.png", alt))


if __name__ == "__main__":
    main()
