"""One network on one data set: what it saw, distances by features, by attention and by their sum, rankings (paper 4).

The attention of a pair classifier that was never trained (variants ``ide``, ``ide+ia``) says nothing: features alone rank.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from torch import Tensor

from casnkit import ranking, runs
from casnkit.config import Config
from casnkit.data.files import write_json
from casnkit.data.images import load_images, normalise
from casnkit.data.records import JUNK_PID, UNKNOWN_CAMERA, ReidDataset, Split, unfit
from casnkit.models import CASN, eval_view, unwrapped
from casnkit.ranking import Extracted, Ranking, RankingResult, StreamedMaps
from casnkit.ranking.protocol import chunks, new_matrix

SIDES = ("query", "gallery")
RANKED_BY = ("features", "attention", "sum")
CANDIDATES = "These are candidates, not identifications: somebody is always nearest, also to a person who is not there."
READ_AT_ONCE, BATCH = 2048, 64  # images that are decoded together, and those that the network sees together
LARGE = 50_000  # a gallery of more images is searched by faiss
HEADINGS = {f"rank_{k}": f"rank-{k}" for k in (1, 5, 10, 20)}
HEADINGS |= {"mean_ap": "mAP", "mean_ap_trapezoid": "mAP (trapezoid)", "mean_inp": "mINP"}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A network, a data set and what the network saw of it, from which rankings are asked again after a change."""

    model: CASN
    dataset: ReidDataset
    config: Config  # its image size and its ranking group are used
    query: Extracted  # features and, to rank by attention, feature maps of all images
    gallery: Extracted
    distances: Mapping[str, np.ndarray] = field(default_factory=dict)  # (Q, G) by name, see RANKED_BY; lower is closer
    rankings: Mapping[str, RankingResult] = field(default_factory=dict)  # the protocol's numbers for each of them
    chance: RankingResult | None = None  # the protocol's numbers for random distances

    @classmethod
    def of(
        cls,
        model: CASN,
        dataset: ReidDataset,
        config: Config,
        device: torch.device | str | None = None,
        keep_maps: bool = True,
        accelerator: Any = None,
        progress: bool | Callable[[int, int], object] = False,
    ) -> Evaluation:
        """By looking at all images; distances then follow row by row.

        ``progress``: whether to show a bar, or what is called with (images seen, images) after each batch.
        Feature maps that would take more than half of the free memory are computed again where they are needed.
        """
        model, (first, world) = unwrapped(model, CASN), _share(accelerator)
        size, sides, memory = (config.data.height, config.data.width), [], psutil.virtual_memory()
        # what the first layers give too
        together = 3 * math.prod(size) * (min(READ_AT_ONCE, len(dataset.gallery)) + 3 * 4 * BATCH)
        if together > memory.total:
            needs = f"at least {together / 2**30:,.0f} GiB of memory, this machine has {memory.total / 2**30:,.0f}"
            raise ValueError(f"images of {size[0]}x{size[1]} (height x width) need {needs}: choose smaller ones")
        shape = ranking.extract(model, [torch.zeros(1, 3, *size)], device=device).feature_maps.shape[1:]
        needed = 4 * math.prod(shape) * (len(dataset.query) + len(dataset.gallery)) * world
        free = memory.available if world == 1 else memory.total  # all processes must decide alike
        streamed = keep_maps and needed > free // 2
        count = len(dataset.query) + len(dataset.gallery)
        for split, before in ((dataset.query, 0), (dataset.gallery, len(dataset.query))):
            read = partial(_batches, split, size)
            mine, keep = np.arange(first, len(split), world), keep_maps and not streamed
            how = {"keep_maps": keep, "progress": progress is True, "count": len(mine)}
            tell = (lambda done, before=before: progress(before + done, count)) if callable(progress) else None
            found = ranking.extract(model, read(mine, progress is True, tell), device=device, **how)
            features, maps = (_gathered(values, len(split), accelerator) for values in vars(found).values())
            maps = StreamedMaps(model, read, np.arange(len(split)), *shape) if streamed else maps
            sides.append(Extracted(features, maps))
        return cls(model, dataset, config, *sides)

    def rows(self) -> list[dict[str, Any]]:
        """For each way of ranking, and for chance: name and headline numbers in percent."""
        return [{"ranked by": n, **headline(r)} for n, r in {**self.rankings, "chance": self.chance}.items()]

    def split(self, side: str) -> Split:
        """The data set's queries or gallery."""
        return getattr(self.dataset, side)

    def images(self, side: str, index: Sequence[int] | np.ndarray) -> Tensor:
        """Images as the network takes them, on its device: (B, 3, H, W) float, normalised."""
        size = self.config.data.height, self.config.data.width
        pixels = load_images(self.split(side).subset(np.asarray(index, np.int64)), size, progress=False)
        return normalise(pixels).to(next(self.model.parameters()).device)

    def row(self, query_index: int, ranked_by: str = "features") -> np.ndarray:
        """One query's distances to the gallery, (G,), lower is closer."""
        if ranked_by in self.distances:
            return np.asarray(self.distances[ranked_by][query_index])
        return self.row_of(self.query.subset([query_index]), query_index, ranked_by)

    def row_of(self, query: Extracted, query_index: int, ranked_by: str = "features") -> np.ndarray:
        """The distances, (G,), of one image that takes the place of query ``query_index``."""
        if ranked_by != "sum":
            return self.between(query, self.gallery, ranked_by)[0]
        return self.fused(query_index, *(self.between(query, self.gallery, kind)[0] for kind in RANKED_BY[:2]))

    def between(self, query: Extracted, gallery: Extracted, kind: str, **how: Any) -> np.ndarray:
        """Distances by features or by attention between any images, (q, g) float32, as the configuration has them; ``how``:
        progress and listed pairs of :func:`casnkit.ranking.attention_distances`."""
        options = self.config.ranking
        if kind == "features":
            return ranking.feature_distances(query.features, gallery.features, options.normalise_features)
        given = options.siamese_mode, options.pair_order, options.threshold, options.profile_scale
        return ranking.attention_distances(self.model, query, gallery, *given, **how).distances

    def fused(self, query_index: int, features: np.ndarray, attention: np.ndarray) -> np.ndarray:
        """The sum of both distances for one query, (G,), normalised and weighed as the configuration has it."""
        if self.config.ranking.normalise_per == "query":
            return _fuse(features[None], attention[None], self.config)[0]
        if not {"features", "attention"} <= set(self.distances):
            raise ValueError('ranking.normalise_per="matrix" needs all distances: see casnkit.evaluation.evaluate')
        whole = [np.array(self.distances[kind]) for kind in RANKED_BY[:2]]
        whole[0][query_index], whole[1][query_index] = features, attention
        return _fuse(*whole, self.config)[query_index]

    def rank(self, query_index: int, distances: np.ndarray) -> Ranking:
        """The gallery in order of ``distances`` (G,), by the protocol."""
        q, g = self.dataset.query, self.dataset.gallery
        return ranking.rank_gallery(distances, q.pids[query_index], q.camids[query_index], g.pids, g.camids)


def evaluate(
    model: CASN,
    dataset: ReidDataset,
    config: Config,
    *,
    device: str | torch.device | None = None,
    progress: bool = True,
    attention: bool | None = None,
    accelerator: Any = None,
    shortlist: int | None = None,
    rerank: bool = False,
) -> Evaluation:
    """Rank the gallery for every query, as ``config.ranking`` has it; the model keeps its mode.

    ``attention``: rank by it too; by default where the configuration trained the pair classifier. ``shortlist``: only of that
    many images, each query's closest by features, which the sum then ranks anew ahead of all others; without it, all pairs.
    ``rerank``: also by k-reciprocal neighbours (see :func:`casnkit.ranking.rerank`). The processes of an
    ``accelerate.Accelerator`` share images and pairs, and each gets the whole result.
    """
    if why := unfit(dataset):
        raise ValueError(why)
    device = accelerator.device if accelerator else runs.pick_device(device)
    attention = config.loss.siamese_attention if attention is None else attention
    if shortlist is not None and (not attention or shortlist < 1):
        raise ValueError(f"expected a shortlist of 1 or more and attention to rank it, got {shortlist} and {attention}")
    progress, max_rank = progress and not _share(accelerator)[0], config.ranking.max_rank
    seen = Evaluation.of(model, dataset, config, device, attention, accelerator, progress)
    distances = {"features": seen.between(seen.query, seen.gallery, "features")}
    if attention:
        distances |= _by_attention(seen, distances["features"], shortlist, progress, accelerator)
    if rerank:
        sides = (seen.query, seen.query), (seen.gallery, seen.gallery)
        blocks = ranking.Blocks(distances["features"], *(seen.between(*side, "features") for side in sides))
        distances["re-ranked features"] = ranking.rerank(blocks)
    rankings = {name: rank(matrix, dataset, max_rank) for name, matrix in distances.items()}
    drawn = np.random.default_rng(0).random(out=new_matrix(*distances["features"].shape, dtype=np.float64))
    chance = rank(drawn, dataset, max_rank)
    return replace(seen, distances=distances, rankings=rankings, chance=chance)


def _by_attention(
    seen: Evaluation, features: np.ndarray, count: int | None, progress: bool = False, accelerator: Any = None
) -> dict[str, np.ndarray]:
    """Distances by attention and by the sum; of the ``count`` closest by the sum alone, in which they stay ahead of all."""
    near, values = _closest(features, count) if count else (None, features)
    mine = slice(_share(accelerator)[0], None, _share(accelerator)[1])
    how = {"progress": progress, "listed": None if near is None else near[mine]}
    found = seen.between(seen.query.subset(mine), seen.gallery, "attention", **how)
    found = _gathered(torch.from_numpy(found), len(features), accelerator).numpy()
    summed = _fuse(values, found, seen.config)
    if near is None:
        return {"attention": found, "sum": summed}
    whole = new_matrix(*features.shape)
    whole[:] = features
    np.put_along_axis(whole, near, ranking.normalise_distances(summed) * values.max(1, keepdims=True), 1)
    return {"sum": whole}


def who_is(
    model: CASN,
    pictures: Sequence[str | Path],
    dataset: ReidDataset,
    config: Config,
    count: int = 10,
    attention: bool | None = None,
    shortlist: int = 100,
    **how: Any,
) -> pd.DataFrame:
    """The ``count`` nearest gallery images of pictures whose person nobody knows: candidates, not identifications.

    Rows, nearest first: ``picture``, ``rank``, ``distance``, ``pid``, ``camid``, ``path``. Attention, by default where the
    configuration trained the pair classifier, re-ranks the ``shortlist`` by features by the sum of both; the distance stays
    that of features, which compares pictures with each other. More than :data:`LARGE` images need faiss. ``how``: device,
    progress.
    """
    unknown = Split(pictures, np.full(len(pictures), JUNK_PID), np.full(len(pictures), UNKNOWN_CAMERA), "query")
    gallery, wanted = dataset.gallery.subset(dataset.gallery.pids != JUNK_PID), max(count, shortlist)
    if not len(unknown) or not len(gallery) or min(count, shortlist) < 1:
        raise ValueError(f"expected pictures, a gallery and a count, got {len(unknown)}, {len(gallery)} and {count}")
    attention = config.loss.siamese_attention if attention is None else attention
    seen = Evaluation.of(model, replace(dataset, query=unknown, gallery=gallery), config, keep_maps=attention, **how)
    if len(gallery) > LARGE:
        sides = seen.query.features, seen.gallery.features
        near, distances = ranking.shortlist(*sides, wanted, config.ranking.normalise_features)
    else:
        near, distances = _closest(seen.between(seen.query, seen.gallery, "features"), wanted)
    order = distances
    if attention:
        order = _fuse(distances, seen.between(seen.query, seen.gallery, "attention", listed=near), config)
    order = np.argsort(order, axis=1, kind="stable")[:, :count]
    near, distances = (np.take_along_axis(values, order, 1) for values in (near, distances))
    shown, found = gallery.subset(near.ravel()), near.shape[1]
    columns = {"picture": np.repeat(unknown.paths, found), "rank": np.tile(np.arange(1, found + 1), len(near))}
    columns |= {"distance": distances.ravel(), "pid": shown.pids}
    return pd.DataFrame(columns | {"camid": shown.camids, "path": shown.paths})


def rank(distances: np.ndarray, dataset: ReidDataset, max_rank: int = 50) -> RankingResult:
    """The protocol's numbers for a matrix of distances between a data set's queries and gallery."""
    q, g = dataset.query, dataset.gallery
    return ranking.evaluate_ranking(distances, q.pids, q.camids, g.pids, g.camids, max_rank)


def headline(result: RankingResult) -> dict[str, float]:
    """Rank-1, 5, 10, 20, both mean average precisions and mINP, in percent."""
    ranks = {f"rank_{k}": 100 * result.rank(min(k, len(result.cmc))) for k in (1, 5, 10, 20)}
    return ranks | {name: 100 * getattr(result, name) for name in ("mean_ap", "mean_ap_trapezoid", "mean_inp")}


def pair_probability(model: CASN, features_1: Tensor, features_2: Tensor) -> Tensor:
    """Probability that both show one person, softmax of z: (P, D), (P, D) -> (P,) in [0, 1], on the CPU."""
    head = eval_view(unwrapped(model, CASN).pair_head)
    parameter = next(head.parameters())
    with torch.no_grad():
        return head(features_1.to(parameter) - features_2.to(parameter)).softmax(1)[:, 1].float().cpu()


def save_results(run: str | Path, evaluation: Evaluation, info: runs.RunInfo, **facts: Any) -> Path:
    """Write ``RUN/results.json``: the table with everything that it depends on, and ``facts``. Returns the path."""
    path, config, dataset = Path(run) / "results.json", info.config, evaluation.dataset
    result = {"variant": config.variant, "pooling": config.model.pooling, "seed": config.train.seed}
    result |= {"profile": config.profile, "rows": evaluation.rows()}
    result["data"] = {"name": dataset.name, "query": len(dataset.query), "gallery": len(dataset.gallery)}
    result["queries_with_a_match"] = evaluation.rankings["features"].num_valid
    result |= facts | {"device": next(evaluation.model.parameters()).device.type, "versions": runs.versions()}
    write_json(path, result)
    return path


class Table(pd.DataFrame):
    """A data frame that shows numbers with one decimal and no index; ``**bold**`` on a notebook's page."""

    _constructor = property(lambda self: Table)

    def __repr__(self) -> str:
        texts = self._texts()
        for k, kind in enumerate(self.dtypes):
            if not pd.api.types.is_numeric_dtype(kind) and len(texts):  # words stand at the left
                texts.isetitem(k, texts.iloc[:, k].str.ljust(texts.iloc[:, k].str.len().max()))
        return texts.to_string(index=False, justify="left")

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            page = self._texts().to_html(index=False, border=0)
        return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", page)

    def _texts(self) -> pd.DataFrame:
        return pd.DataFrame(self).map(lambda v: "-" if pd.isna(v) else f"{v:.1f}" if isinstance(v, float) else str(v))


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None = None) -> Table:
    """Rows (dicts) as a data frame to show; ``columns`` are headings by key, in order (default: all, as usually named)."""
    found = Table(rows, columns=None if columns is None else list(columns))
    return found.set_axis([(columns or HEADINGS).get(key, key) for key in found], axis=1)


def _fuse(features: np.ndarray, attention: np.ndarray, config: Config) -> np.ndarray:
    options = config.ranking
    how = options.attention_weight, options.normalisation, options.normalise_per
    if options.normalise_per == "matrix":
        return ranking.fuse(features, attention, *how)
    result = new_matrix(*features.shape)
    for rows in chunks(*features.shape):
        result[rows] = ranking.fuse(features[rows], attention[rows], *how)
    return result


def _closest(distances: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of the ``count`` smallest distances of each row, in no order."""
    found = torch.from_numpy(distances).topk(min(count, distances.shape[1]), largest=False, sorted=False)
    return found.indices.numpy(), found.values.numpy()


def _batches(
    split: Split, size: tuple[int, int], index: np.ndarray, progress: bool = False, tell: Any = None
) -> Iterator[Tensor]:
    """Normalised images, a batch at a time; as many are decoded together as memory holds easily, or, where ``tell`` is
    called with how many were seen, a batch."""
    for part in chunks(len(index), 1, BATCH if tell else READ_AT_ONCE):
        yield from map(normalise, load_images(split.subset(index[part]), size, progress=progress).split(BATCH))
        if tell:
            tell(part.stop)


def _share(accelerator: Any) -> tuple[int, int]:
    """This process's number, and how many there are."""
    return (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)


def _gathered(mine: Tensor | None, total: int, accelerator: Any) -> Tensor | None:
    """Rows ``index::processes`` of all processes, put together in order, on the CPU."""
    if accelerator is None or mine is None:
        return mine
    padded = accelerator.pad_across_processes(mine.to(accelerator.device).contiguous())
    every = accelerator.gather(padded).unflatten(0, (accelerator.num_processes, -1))
    return every.transpose(0, 1).flatten(0, 1)[:total].cpu()
