"""The pictures of a trained run: which queries it solves, where it looked, how it learned. Chosen by rule, not by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from casnkit.data.images import denormalise, load_images, normalise

from . import attention, figures, losses, runs
from .config import Config
from .data.records import ReidDataset, Split, camera_text
from .evaluation import Evaluation
from .models import CASN, evaluating
from .ranking import rank_gallery

SHOWN = 10  # gallery images in a ranked list


def draw_report(
    run: Path, model: CASN, dataset: ReidDataset, result: Evaluation, info: runs.RunInfo, queries: int = 3
) -> list[Path]:
    """Draw a run's pictures into ``RUN/pictures`` and return their paths: losses, ranked lists, a right and a wrong pair
    with their Siamese maps (where the pair classifier was trained), identification attention with its soft mask."""
    folder, name = Path(run) / "pictures", f"{info.config.variant} ({info.config.model.pooling})"
    ranked_by = "sum" if "sum" in result.distances else "features"
    paths = []
    log = runs.read_log(run)
    if log:
        alt = f"Loss terms of {name} over {len(log)} epochs."
        paths.append(
            figures.save_figure(figures.show_losses(log, title=f"{name}: loss terms"), folder / "losses.png", alt)
        )
    chosen = spread_queries(result.rankings[ranked_by].average_precision, queries)
    rows = [ranking_row(dataset, result.distances[ranked_by], i, f"query {i}") for i in chosen]
    alt = f"Ranked gallery images of {len(chosen)} queries, from the worst to the best average precision."
    figure = figures.show_rankings(rows, f"{name}, ranked by {ranked_by}: from the hardest query to the easiest")
    paths.append(figures.save_figure(figure, folder / "rankings.png", alt))
    if info.config.loss.siamese_attention:
        for kind, pair in choose_pairs(dataset, result.distances[ranked_by]).items():
            alt = f"Siamese attention of {name} for a query and a {kind} match: maps, row profiles, aligned profiles."
            figure = pair_figure(model, dataset, info.config, result, *pair)
            paths.append(figures.save_figure(figure, folder / f"pair-{kind}.png", alt))
    alt = "Training images, their identification attention, the soft mask, and what the mask leaves."
    figure = identification_figure(model, dataset.train, info, name=name)
    return [*paths, figures.save_figure(figure, folder / "identification.png", alt)]


def spread_queries(average_precision: np.ndarray, count: int) -> list[int]:
    """Queries at evenly spaced places of the order by average precision, hardest first; those without a match left out."""
    order = np.argsort(average_precision, kind="stable")
    order = order[np.isfinite(average_precision[order])]
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return order[places].tolist()


def ranking_row(
    dataset: ReidDataset, distances: np.ndarray, i: int, title: str = "", shown: int = SHOWN
) -> dict[str, Any]:
    """One query's closest gallery images, ignored ones left out, as :func:`casnkit.figures.show_rankings` takes them."""
    query, gallery = dataset.query, dataset.gallery
    ranking = rank_gallery(distances[i], query.pids[i], query.camids[i], gallery.pids, gallery.camids)
    top = ranking.kept[:shown]
    return {
        "query_image": query.image(i),
        "query_pid": int(query.pids[i]),
        "query_camid": int(query.camids[i]),
        "gallery_images": [gallery.image(j) for j in top],
        "statuses": [str(ranking.status[j]) for j in top],
        "distances": distances[i][top].tolist(),
        "pids": gallery.pids[top].tolist(),
        "camids": gallery.camids[top].tolist(),
        "title": f"{title}, average precision {100 * ranking.average_precision:.0f} %",
    }


def choose_pairs(dataset: ReidDataset, distances: np.ndarray) -> dict[str, tuple[int, int]]:
    """A right and a wrong first match as (query, gallery image): of all queries the ones with the smallest distance.

    Queries without a match are left out: nobody could put the right picture first.
    """
    query, gallery = dataset.query, dataset.gallery
    best: dict[str, tuple[float, int, int]] = {}
    for i in range(len(query)):
        ranking = rank_gallery(distances[i], query.pids[i], query.camids[i], gallery.pids, gallery.camids)
        if ranking.first_hit < 0:
            continue
        j = int(ranking.kept[0])
        kind = "right" if ranking.status[j] == "correct" else "wrong"
        if kind not in best or distances[i, j] < best[kind][0]:
            best[kind] = float(distances[i, j]), i, j
    return {kind: (i, j) for kind, (_, i, j) in sorted(best.items())}


def pair_figure(model: CASN, dataset: ReidDataset, config: Config, result: Evaluation, i: int, j: int) -> Any:
    """The pair (query i, gallery image j) with its two Siamese maps and row profiles."""
    query, gallery, options = dataset.query, dataset.gallery, config.ranking
    images = torch.cat([_inputs(query, [i], config), _inputs(gallery, [j], config)]).to(_device(model))
    with torch.no_grad(), evaluating(model):
        maps = model.feature_map(images).chunk(2)
        map_1, map_2 = model.siamese_attention_of(*maps, mode=options.siamese_mode, order=options.pair_order)
        probability = model.pair_scores(model.pool(maps[0]) - model.pool(maps[1])).softmax(1)[0, 1].item()
    return figures.show_pair(
        query.image(i),
        gallery.image(j),
        map_1[0].cpu(),
        map_2[0].cpu(),
        options.threshold,
        titles=tuple(f"{s.name}, pid {s.pids[k]}, {camera_text(s.camids[k])}" for s, k in ((query, i), (gallery, j))),
        same=bool(query.pids[i] == gallery.pids[j]),
        probability=probability,
        distance=float(result.distances["features"][i, j]),
        title=f"Siamese attention, mode {options.siamese_mode}",
    )


def tour(model: CASN, dataset: ReidDataset, config: Config, result: Evaluation, shown: int = 10) -> list[Any]:
    """One query beside each of its first gallery images: the frames of the README's moving picture.

    The query is the middle one, by average precision, of those whose first images are of both kinds (at least two right
    and two wrong, the first one right); where there is none, the middle one of all.
    """
    options, distances = config.ranking, result.distances["features"]
    ordered = spread_queries(result.rankings["features"].average_precision, len(dataset.query))
    rows = {i: ranking_row(dataset, distances, i, shown=shown) for i in ordered}
    seen = {i: row["statuses"] for i, row in rows.items()}
    mixed = [i for i in ordered if seen[i][0] == "correct" and min(map(seen[i].count, ("correct", "wrong"))) >= 2]
    mixed = mixed or ordered
    i = mixed[len(mixed) // 2]
    query, gallery = dataset.query, dataset.gallery
    ranking = rank_gallery(distances[i], query.pids[i], query.camids[i], gallery.pids, gallery.camids)
    with torch.no_grad(), evaluating(model):
        A_2 = model.feature_map(_inputs(gallery, ranking.kept[:shown].tolist(), config).to(_device(model)))
        A_1 = model.feature_map(_inputs(query, [i], config).to(_device(model))).expand_as(A_2)
        maps = model.siamese_attention_of(A_1, A_2, mode=options.siamese_mode, order=options.pair_order)
    return [figures.show_step(rows[i], k, *(m[k].cpu() for m in maps), options.threshold) for k in range(len(A_2))]


def identification_figure(model: CASN, split: Split, info: runs.RunInfo, count: int = 3, name: str = "") -> Any:
    """Training images with the map of their own identity's score, the soft mask, and the masked image (equation 2)."""
    index = training_examples(split, count)
    images = _inputs(split, index, info.config).to(_device(model))
    labels = torch.from_numpy(np.searchsorted(info.pid_of_label, split.pids[index])).to(images.device)
    config = info.config.loss
    with torch.no_grad():
        maps = model.identification_attention(images, labels)
        mask = attention.image_mask(maps, images.shape[2:], config.mask_slope, config.mask_centre)
        masked = attention.hide(images, mask, losses.fill_of(images, config.mask_fill))
        with evaluating(model):
            share = model.id_scores(model.pool(model.feature_map(images))).softmax(1).gather(1, labels[:, None])[:, 0]
    return figures.show_identification(
        list(denormalise(images.cpu())),
        list(maps.cpu()),
        list(mask[:, 0].cpu()),
        list(denormalise(masked.cpu())),
        [f"pid {split.pids[i]}, p={p:.2f}" for i, p in zip(index, share.tolist(), strict=True)],
        f"{name}: identification attention",
    )


def draw_comparison(
    out: Path, trained: dict[str, tuple[CASN, Evaluation, runs.RunInfo]], dataset: ReidDataset
) -> list[Path]:
    """Runs side by side: loss curves, CMC, and where each looks in the same images, with the plain mean map beside."""
    folder, paths = Path(out) / "pictures", []
    logs = {name: runs.read_log(Path(out) / name) for name in trained}
    logs = {name: log for name, log in logs.items() if log}
    if logs:
        figure = figures.show_losses(logs, title="Loss terms: " + " and ".join(logs))
        paths.append(figures.save_figure(figure, folder / "losses.png", f"Loss curves of {', '.join(logs)}."))
    curves = {f"{v} by {name}": r.cmc for v, (_, result, _) in trained.items() for name, r in result.rankings.items()}
    alt = "Cumulative matching characteristic of every model and way of ranking."
    paths.append(figures.save_figure(figures.show_cmc(curves), folder / "cmc.png", alt))
    alt = (
        "Training images with the identification attention of each model and its plain mean map; outlines: the person."
    )
    return [*paths, figures.save_figure(where_they_look(trained, dataset.train), folder / "attention.png", alt)]


def where_they_look(trained: dict[str, tuple[CASN, Any, runs.RunInfo]], split: Split, count: int = 3) -> Any:
    """Identification attention and plain mean map of several models on the same training images."""
    index, maps = training_examples(split, count), {}
    for name, (model, _, info) in trained.items():
        images = _inputs(split, index, info.config).to(_device(model))
        labels = torch.from_numpy(np.searchsorted(info.pid_of_label, split.pids[index])).to(images.device)
        with torch.no_grad(), evaluating(model):
            feature_map = model.feature_map(images)
            maps[f"{name}: attention"] = list(model.identification_attention_of(feature_map, labels).cpu())
            maps[f"{name}: plain mean"] = list(attention.mean_map(feature_map).cpu())
    masks = [split.mask(i) for i in index]
    return figures.show_maps(
        [split.image(i) for i in index],
        maps,
        False,
        masks,
        [f"pid {split.pids[i]}" for i in index],
        "Where the models look",
    )


def has_mask(split: Split, i: int) -> bool:
    """Whether the set knows where the person of image ``i`` is: a mask, and somebody in it."""
    mask = split.mask(i)
    return mask is not None and bool(mask.any())


def training_examples(split: Split, count: int) -> list[int]:
    """One image each of people spread evenly over the training identities, of the n-th person the n-th image."""
    people = split.identities
    chosen = people[np.linspace(0, len(people) - 1, min(count, len(people))).round().astype(int)]
    images = [np.flatnonzero(split.pids == pid) for pid in chosen]
    return [int(own[(2 * n) % len(own)]) for n, own in enumerate(images)]


def _inputs(split: Split, index: list[int], config: Config) -> Tensor:
    return normalise(load_images(split.subset(index), (config.data.height, config.data.width), progress=False))


def _device(model: CASN) -> torch.device:
    return next(model.parameters()).device
