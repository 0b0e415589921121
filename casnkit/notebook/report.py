"""The pictures of a trained run: which queries it solves, where it looked, how it learned. Chosen by rule, not by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from casnkit import attention, figures, losses, runs
from casnkit.config import Config
from casnkit.data.files import write_json
from casnkit.data.images import denormalise, load_images, normalise
from casnkit.data.records import ReidDataset, Split, camera_text, read_image
from casnkit.evaluation import Evaluation, pair_probability
from casnkit.figures.style import describe
from casnkit.models import CASN, eval_view
from casnkit.ranking import Ranking, pair_maps, rank_gallery


def draw_report(
    run: Path, result: Evaluation, info: runs.RunInfo, queries: int = 3, out: Path | None = None
) -> list[Path]:
    """Draw a run's pictures into ``pictures`` in ``out`` (default: the run) and return their paths: losses, ranked lists, a
    right and a wrong pair with their Siamese maps (where there are any), identification attention with its soft mask."""
    model, dataset, config, drawn = result.model, result.dataset, info.config, {}
    name, by = f"{config.variant} ({config.model.pooling})", "sum" if "sum" in result.distances else "features"
    if log := runs.read_log(run):
        drawn["losses"] = figures.show_losses(log, title=f"{name}: loss terms")
    chosen = spread_queries(result.rankings[by].average_precision, queries)
    rows = [ranking_row(dataset, result.distances[by], i, f"query {i}") for i in chosen]
    title = f"{name}, ranked by {by}: from the hardest query to the easiest"
    drawn["rankings"] = figures.show_rankings(rows, title)
    pairs = choose_pairs(dataset, result.distances[by]) if by == "sum" and config.loss.siamese_attention else {}
    drawn |= {f"pair-{kind}": pair_figure(model, dataset, config, result, *pair) for kind, pair in pairs.items()}
    drawn["identification"] = identification_figure(model, dataset.train or dataset.query, info, name=name)
    return _save(out or run, drawn)


def draw_comparison(out: Path, trained: dict[str, tuple], dataset: ReidDataset) -> list[Path]:
    """Runs, (model, result, info) each, side by side: CMC, and where each looks, with the plain mean map beside."""
    curves = {f"{v} by {name}": r.cmc for v, (_, result, _) in trained.items() for name, r in result.rankings.items()}
    return _save(out, {"cmc": figures.show_cmc(curves), "attention": where_they_look(trained, dataset.train)})


def save_candidates(out: Path, found: pd.DataFrame) -> list[Path]:
    """Write what :func:`casnkit.evaluation.who_is` found as ``candidates.json`` and a picture in ``out``, and return both."""
    rows = []
    for picture, near in found.groupby("picture", sort=False):
        row = {"query_image": read_image(picture), "query_pid": "?", "query_camid": "?", "title": Path(picture).name}
        row |= {"gallery_images": list(map(read_image, near.path)), "statuses": ["candidate"] * len(near)}
        columns = {"distances": "distance", "pids": "pid", "camids": "camid"}
        rows.append(row | {name: near[column].tolist() for name, column in columns.items()})
    write_json(Path(out) / "candidates.json", found.to_dict("records"))
    title = "The nearest people of the gallery: candidates, not identifications"
    return [Path(out) / "candidates.json", *_save(out, {"candidates": figures.show_rankings(rows, title)})]


def _save(out: Path, drawn: dict[str, Figure]) -> list[Path]:
    place = Path(out) / "pictures"
    return [figures.save_figure(picture, place / f"{name}.png", describe(picture)) for name, picture in drawn.items()]


def spread_queries(average_precision: np.ndarray, count: int) -> list[int]:
    """Queries at evenly spaced places of the order by average precision, hardest first; those without a match left out."""
    order = np.argsort(average_precision, kind="stable")[: np.isfinite(average_precision).sum()]  # NaN stands last
    return _spread(order, count).tolist()


def ranking_row(dataset: ReidDataset, distances: np.ndarray, i: int, title: str = "", shown: int = 10) -> dict:
    """One query's closest gallery images, ignored ones left out, as :func:`casnkit.figures.show_rankings` takes them."""
    query, gallery, ranking = dataset.query, dataset.gallery, _rank(dataset, distances, i)
    top, precision = ranking.kept[:shown], 100 * ranking.average_precision
    row = {"query_image": query.image(i), "query_pid": int(query.pids[i]), "query_camid": int(query.camids[i])}
    row |= {"gallery_images": [gallery.image(j) for j in top], "title": f"{title}, average precision {precision:.0f} %"}
    columns = {"statuses": ranking.status, "distances": distances[i], "pids": gallery.pids, "camids": gallery.camids}
    return row | {name: values[top].tolist() for name, values in columns.items()}


def choose_pairs(dataset: ReidDataset, distances: np.ndarray) -> dict[str, tuple[int, int]]:
    """A right and a wrong first match as (query, gallery image): of all queries that have a match, the closest ones."""
    found = {}
    for i in range(len(dataset.query)):
        ranking = _rank(dataset, distances, i)
        if ranking.first_hit >= 0:
            j, kind = int(ranking.kept[0]), "wrong" if ranking.first_hit else "right"
            found.setdefault(kind, []).append((float(distances[i, j]), i, j))
    return {kind: min(pairs)[1:] for kind, pairs in found.items()}


def pair_figure(model: CASN, dataset: ReidDataset, config: Config, result: Evaluation, i: int, j: int) -> Figure:
    """The pair (query i, gallery image j) with its two Siamese maps and row profiles."""
    options, pair = config.ranking, ((dataset.query, i), (dataset.gallery, j))
    maps = pair_maps(model, result.query, result.gallery, [(i, j)], options.siamese_mode, options.pair_order)
    return figures.show_pair(
        *(split.image(k) for split, k in pair),
        *(m[0] for m in maps),
        options.threshold,
        titles=tuple(f"{split.name}, pid {split.pids[k]}, {camera_text(split.camids[k])}" for split, k in pair),
        same=bool(dataset.query.pids[i] == dataset.gallery.pids[j]),
        probability=pair_probability(model, result.query.features[[i]], result.gallery.features[[j]]).item(),
        distance=float(result.distances["features"][i, j]),
        title=f"Siamese attention, mode {options.siamese_mode}",
    )


def identification_figure(model: CASN, split: Split, info: runs.RunInfo, name: str = "") -> Figure:
    """Training images with the map of their own identity's score, the soft mask, and the masked image (equation 2); of
    people whom the network did not learn, the map of the identity that it finds most likely."""
    config, own = info.config.loss, runs.trained_on(info, split)
    own = np.flatnonzero(own if own.any() else ~own)
    index = own[training_examples(split.subset(own), 3)]
    images, captions, _, maps = _look(model, split, info, index)
    with torch.no_grad():
        mask = attention.image_mask(maps, images.shape[2:], config.mask_slope, config.mask_centre)
        masked = attention.hide(images, mask, losses.fill_of(images, config.mask_fill))
    pictures = denormalise(images.cpu()), maps.cpu(), mask[:, 0].cpu(), denormalise(masked.cpu())
    return figures.show_identification(*map(list, pictures), captions, f"{name}: identification attention")


def where_they_look(trained: dict[str, tuple], split: Split) -> Figure:
    """Identification attention and plain mean map of several runs, (model, result, info) each, on the same images."""
    maps, index = {}, training_examples(split, 3)
    for name, (model, _, info) in trained.items():
        *_, feature_map, found = _look(model, split, info, index)
        maps[f"{name}: attention"] = list(found.cpu())
        maps[f"{name}: plain mean"] = list(attention.mean_map(feature_map).cpu())
    images, masks = [split.image(i) for i in index], [split.mask(i) for i in index]
    captions = [f"pid {split.pids[i]}" for i in index]
    return figures.show_maps(images, maps, masks, captions, "Where the models look")


def has_mask(split: Split, i: int) -> bool:
    """Whether the set knows where the person of image ``i`` is: a mask, and somebody in it."""
    mask = split.mask(i)
    return mask is not None and bool(mask.any())


def training_examples(split: Split, count: int) -> list[int]:
    """One image each of people spread evenly over the training identities, of the n-th person the n-th image."""
    images = [np.flatnonzero(split.pids == pid) for pid in _spread(split.identities, count)]
    return [int(own[2 * n % len(own)]) for n, own in enumerate(images)]


def _spread(values: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of the values, evenly spread, the first and the last among them."""
    return values[np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)]


def _rank(dataset: ReidDataset, distances: np.ndarray, i: int) -> Ranking:
    query, gallery = dataset.query, dataset.gallery
    return rank_gallery(distances[i], query.pids[i], query.camids[i], gallery.pids, gallery.camids)


def _look(model: CASN, split: Split, info: runs.RunInfo, index: Any) -> tuple[Tensor, list[str], Tensor, Tensor]:
    """These images as the network takes them, captions, feature maps, attention of a label: the person's own if the network
    learned it, else the most likely one, for the pids of strangers say nothing about its labels."""
    size, known = (info.config.data.height, info.config.data.width), runs.trained_on(info, split)[index]
    images = normalise(load_images(split.subset(index), size, progress=False)).to(next(model.parameters()))
    model = eval_view(model)
    with torch.no_grad():
        feature_map = model.feature_map(images)
        shares = model.id_scores(model.pool(feature_map)).softmax(1).cpu()
        labels = np.where(known, np.searchsorted(info.pid_of_label, split.pids[index]), shares.argmax(1))
        maps = model.identification_attention_of(feature_map, torch.from_numpy(labels).to(images.device))
    captions = []
    for i, own, label, share in zip(index, known, labels, shares, strict=True):
        name = f"pid {split.pids[i]}" if own else f"not learned,\nmost like {info.pid_of_label[label]}"
        captions.append(f"{name}, p={share[label]:.2f}")
    return images, captions, feature_map, maps
