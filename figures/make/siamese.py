"""What the Siamese branch says, in numbers and three pictures: ``python figures/make/siamese.py [--processes 2]``.

    figures/results/alpha.csv       what alpha of equation 4 selects in every network that comes with the kit
    figures/results/gradients.csv   how much of each loss reaches the trunk, at the start and after training
    figures/results/collapse.csv    what equation 5 does when it is heard, without and with a margin for negative pairs

What is trained for the last one stays below ``runs/ablation``.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
import torch
from matplotlib.figure import Figure
from torch import Tensor

import casnkit as ck
from casnkit.config import Config
from casnkit.data.files import atomic_path
from casnkit.data.images import load_images, normalise
from casnkit.experiments import list_shipped, load_run
from casnkit.experiments.ablation import Trial, run_trials
from casnkit.experiments.claims import draw_pairs
from casnkit.experiments.design import Setting
from casnkit.explain.siamese import alpha_facts
from casnkit.figures import save_figure
from casnkit.figures.style import GREY, PAGE_WIDTH, SERIES, figure_style, new_figure
from casnkit.losses import CASNLoss
from casnkit.models import CASN, seeded
from casnkit.ranking import extract

FIGURES = Path(__file__).parents[1]
PAIRS, BATCHES = 1000, 8
COLOURS = {"palette": [colour for colour, _, _ in SERIES[:2]]}
HEARD = {"without a margin": {}, "with a margin of 1": {"consistency_margin": 1.0}}
WEIGHTS = (0.2, 1.0, 5.0, 20.0)  # of equation 5's spatial term; with lambda_2 = 0.05 the last one counts in full


def alpha(dataset: ck.ReidDataset) -> pd.DataFrame:
    """:func:`casnkit.explain.siamese.alpha_facts` of all networks, on pairs of the test: half of one person."""
    (query, gallery), _, same, different = draw_pairs(dataset, len(dataset.query), PAIRS // 2, np.random.default_rng(0))
    pairs, rows = np.concatenate([same, different]), []
    for name in list_shipped():
        model, info = load_run(name)
        size = info.config.data.height, info.config.data.width
        images = torch.cat([load_images(split, size, progress=False) for split in (query, gallery)])
        features = extract(model, images, keep_maps=False).features
        trained = "trained" if info.config.loss.siamese_attention else "random"
        facts = alpha_facts(model, *(features[pairs[:, k]] for k in (0, 1)))
        rows.append({"network": name, "pair_classifier": trained, "pairs": len(pairs), **facts})
    return pd.DataFrame(rows)


def gradient_norms(
    model: CASN, images_1: Tensor, images_2: Tensor, labels_1: Tensor, labels_2: Tensor, config: Config
) -> pd.DataFrame:
    """How loud each term of equations 5 and 6 is in the trunk, for one batch of P pairs of normalised images.

    One row for each term (``ide``, ``ia``, ``bce``, ``consistency``), as weighted in the sum: ``norm`` of its gradient with
    respect to the trunk's weights, ``relative`` to that of L_ide, and ``cosine`` with it: below zero they pull apart. The
    network is in training mode for the batch; nothing of it changes.
    """
    loss, network = CASNLoss(config.loss), copy.deepcopy(model).train()
    terms = loss(network, images_1, images_2, labels_1, labels_2)
    parameters, gradients = list(network.trunk.parameters()), {}
    silent = {name: torch.zeros(()).to(images_1) for name in ("ide", "bce")}
    for name in [name for name in terms if name != "total"]:
        weighted = loss.total(silent | {name: terms[name]}, pairs=len(images_1))
        found = torch.autograd.grad(weighted, parameters, retain_graph=True, allow_unused=True)
        gradients[name] = torch.cat([g.flatten() for g in found if g is not None])
    reference = gradients["ide"]
    rows = [
        {"term": name, "norm": float(g.norm()), "relative": float(g.norm() / reference.norm())}
        | {"cosine": float(torch.cosine_similarity(g, reference, dim=0))}
        for name, g in gradients.items()
    ]
    return pd.DataFrame(rows).set_index("term")


def gradients(dataset: ck.ReidDataset) -> pd.DataFrame:
    """:func:`gradient_norms`, means over batches, for CASN of both poolings, before and after."""
    rows, labels = [], torch.from_numpy(ck.data.labels_of(dataset.train.pids)[0])
    for name in ("gap-casn", "stripes-casn"):
        trained, info = load_run(name)
        with seeded(0, 0):
            start = ck.CASN.from_config(trained.num_ids, info.config.model)
        config, sampler = info.config, ck.training.pair_sampler(dataset, info.config)
        size = config.data.height, config.data.width
        for when, model in (("start", start), ("trained", trained)):
            for pairs in sampler.epoch(0)[:BATCHES]:
                sides = [pairs[:, k] for k in (0, 1)]
                images = [normalise(load_images(dataset.train.subset(rows), size, progress=False)) for rows in sides]
                found = gradient_norms(model, *images, *(labels[torch.from_numpy(rows)] for rows in sides), config)
                rows.append(found.reset_index().assign(network=name, when=when))
    table = pd.concat(rows).groupby(["network", "when", "term"], sort=False)[["norm", "relative", "cosine"]].mean()
    return table.reset_index().assign(batches=BATCHES)


def collapse(processes: int) -> pd.DataFrame:
    """Train ``ide+sa`` with the spatial term ever louder, and measure agreement and ranking on the test."""
    trials, asked = [], []
    for margin, changes in HEARD.items():
        for weight in WEIGHTS:
            setting = Setting("ide+sa", "gap", "consistency_weight", weight)
            config = setting.config("quick", 0, precision="bf16", **changes)
            trials.append(Trial("collapse", setting, config, "people:quick", margin))
            asked.append({"margin": margin, "consistency_weight": weight})
    rows = run_trials(trials, Path("runs/ablation"), processes)
    names = [
        "mean_ap",
        "attention_mean_ap",
        "distance_same_siamese",
        "distance_different_siamese",
        "auc_siamese",
        "seed",
    ]
    return pd.concat([pd.DataFrame(asked), rows[names]], axis=1)


@figure_style()
def show_alpha(table: pd.DataFrame) -> Figure:
    """How far alpha is [f^- < 0], and how little both orders share."""
    panels = {
        "weaker": "share of channels where α is [f⁻ < 0]; a coin: 0.5",
        "swap_overlap": "overlap of α in both orders; marks: chance",
    }
    figure = new_figure(PAGE_WIDTH, 3.4, "α selects the channels in which picture 1 is weaker")
    for ax, (name, title) in zip(figure.subplots(1, 2, sharey=True), panels.items(), strict=True):
        named = table.rename(columns={"pair_classifier": "pair classifier"})
        own = COLOURS | {"hue": "pair classifier", "dodge": False, "legend": name == "weaker"}
        seaborn.barplot(named, x=name, y="network", ax=ax, **own)
        if name == "weaker":
            ax.axvline(0.5, color=GREY, linestyle="--")
        else:
            ax.plot(table["swap_chance"], table["network"], "k|", markersize=12)
        ax.set(title=title, xlabel="", ylabel="", xlim=(0, 1))
    return figure


@figure_style()
def show_gradients(table: pd.DataFrame) -> Figure:
    """Norms of the weighted terms' gradients in the trunk, relative to the identification loss."""
    figure = new_figure(PAGE_WIDTH, 3.4, "How loud each loss is in the trunk, relative to the identification loss")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (network, rows) in zip(axes, table.groupby("network", sort=False), strict=True):
        seaborn.barplot(rows, x="term", y="relative", hue="when", ax=ax, legend=ax is axes[0], **COLOURS)
        ax.set(title=network, xlabel="", ylabel="norm of the gradient / that of ide", yscale="log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.grid(axis="y")
    return figure


@figure_style()
def show_collapse(table: pd.DataFrame) -> Figure:
    """Distances of equation 5, the distance as a matcher, and ranking, over the weight of the spatial term."""
    figure = new_figure(
        PAGE_WIDTH, 3.6, "Equation 5 heard: one profile for everybody, unless negative pairs keep apart"
    )
    kinds = {"distance_same_siamese": "one person", "distance_different_siamese": "two people"}
    distances = table.rename(columns=kinds).melt(
        ["margin", "consistency_weight"], list(kinds.values()), "pairs of", "value"
    )
    axes = figure.subplots(1, 3)
    own = COLOURS | {"x": "consistency_weight", "hue": "margin"}
    seaborn.lineplot(distances, y="value", style="pairs of", markers=True, ax=axes[0], **own)
    axes[0].set(title="100 × distance of two maps", ylabel="")
    for ax, name, title in ((axes[1], "auc_siamese", "distance as matcher, AUC"), (axes[2], "mean_ap", "feature mAP")):
        seaborn.lineplot(table, y=name, marker="o", ax=ax, legend=False, **own)
        ax.set(title=title, ylabel="")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].get_legend().remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    for ax in axes:
        ax.set(xscale="log", xlabel="weight of the spatial term")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.grid()
    return figure


PICTURES = {
    "alpha": (
        show_alpha,
        "For each network: how often alpha equals f minus below zero, and how much both orders share",
    ),
    "gradients": (show_gradients, "Bars: size of each loss's gradient in the trunk, at the start and after training"),
    "collapse": (show_collapse, "Distances, AUC and mAP as the weight of equation 5 grows, with and without a margin"),
}


def main() -> None:
    """Measure, write three tables, draw three pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=PICTURES, default=list(PICTURES))
    options = parser.parse_args()
    dataset = ck.open_dataset("people:quick", progress=False)
    make = {"alpha": lambda: alpha(dataset), "gradients": lambda: gradients(dataset)}
    make["collapse"] = lambda: collapse(options.processes)
    for name in options.only:
        table = make[name]().assign(casnkit=ck.__version__, torch=torch.__version__, device="cpu")
        with atomic_path(FIGURES / "results" / f"{name}.csv") as temporary:
            table.round(4).to_csv(temporary, index=False)
        draw, alt = PICTURES[name]
        print(table.to_string(), save_figure(draw(table), FIGURES / f"{name}.png", alt), sep="\n", flush=True)


if __name__ == "__main__":
    main()
