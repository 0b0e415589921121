"""How fast it is, as ratios measured side by side: ``python figures/make/bench.py [attention train ranking ...]``.

The contestants of a bench take turns in one process, so that a machine whose speed drifts slows all of them alike; a
figure is the median over the rounds, a ratio the median of the ratios within a round. Rows go to
``figures/results/speed.csv``, one for each figure: bench, subject, measure, value, device, threads, torch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from captum.attr import (
    FeatureAblation,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn

import casnkit as ck
from casnkit import attention
from casnkit.config import VARIANTS
from casnkit.explain import METHODS, explain
from casnkit.ranking import Extracted, attention_distances
from casnkit.training import make_optimiser

SPEED = Path(__file__).parents[1] / "results" / "speed.csv"
MARKET = (3368, 19732)
Times = dict[str, list[float]]
Figures = list[tuple[str, str, float]]  # subject, measure, value


def take_turns(tasks: dict[str, Callable[[], object]], rounds: int) -> Times:
    """Seconds of each task, round by round; one round more, the first, warms up."""
    times: Times = {name: [] for name in tasks}
    for turn in range(rounds + 1):
        for name, task in tasks.items():
            _wait()
            started = time.perf_counter()
            task()
            _wait()
            if turn:
                times[name].append(time.perf_counter() - started)
    return times


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median of the ratios within a round."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def random_model(ids: int, quick: bool, device: str) -> ck.CASN:
    """The small trunk with 128 hidden units, or ResNet50 with 512, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ck.CASN(ids, "small" if quick else "resnet50", pair_hidden=128 if quick else 512)
    return model.to(device).eval()


# All-pairs attention


def bench_attention(device: str, quick: bool, rounds: int) -> Figures:
    """Pairs per second: the all-pairs engine, its bare matrix products, autograd in batches, captum pair by pair."""
    model, size = random_model(2, quick, device), (16, 8) if quick else (9, 5)
    counts = (512, 4096) if device.startswith("cuda") else (128, 192)
    query, gallery = (random_maps(model, count, size, seed) for seed, count in enumerate(counts))
    maps = [images.feature_maps[:64].to(device) for images in (query, gallery)]
    tasks: dict[str, Callable[[], object]] = {}
    pairs: dict[str, int] = {}
    for precision in ("float32", "bf16"):
        tasks[f"engine, {precision}"] = partial(attention_distances, model, query, gallery, precision=precision)
        tasks[f"bare products, {precision}"] = bare_products(model, size, device, precision)
        pairs |= {f"engine, {precision}": counts[0] * counts[1], f"bare products, {precision}": 32 * 64}
    tasks["autograd, batches of 64"] = partial(by_autograd, model, *maps)
    tasks["captum, pair by pair"] = captum_pair(model, *(m[:1] for m in maps))
    pairs |= {"autograd, batches of 64": 64, "captum, pair by pair": 1}
    times = take_turns(tasks, rounds)
    per_pair = {name: [value / pairs[name] for value in own] for name, own in times.items()}
    figures: Figures = []
    for name, own in per_pair.items():
        figures.append((name, "pairs per second", 1 / statistics.median(own)))
        figures.append((name, "times autograd", ratio(per_pair["autograd, batches of 64"], own)))
        figures.append((name, "times captum", ratio(per_pair["captum, pair by pair"], own)))
        if name.startswith("engine"):
            figures.append((name, "time over its floor", ratio(own, per_pair[name.replace("engine", "bare products")])))
    return [*figures, *_map_over_forward(model, quick, device, rounds)]


def random_maps(model: ck.CASN, count: int, size: tuple[int, int], seed: int) -> Extracted:
    """Maps as after a ReLU: half of the entries are zero. Rows differ in brightness, so that crops do something."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, model.channels, *size, generator=generator).clamp_min_(0)
    maps *= torch.rand(count, 1, size[0], 1, generator=generator)
    return Extracted(maps.mean((2, 3)), maps)


def bare_products(model: ck.CASN, size: tuple[int, int], device: str, precision: str) -> Callable[[], None]:
    """The matrix products that 32 x 64 pairs need, on ready-made operands, with nothing between them."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    channels, hidden, cells = model.channels, model.pair_head[0].out_features, size[0] * size[1]

    def random(*shape: int) -> Tensor:
        return (torch.rand(shape, device=device) > 0.5).to(dtype)

    active, matrix, alpha = random(32 * 64, hidden), random(hidden, channels), random(32, 64, channels)
    swapped = alpha.transpose(0, 1).contiguous()
    maps_1, maps_2 = random(32, channels, cells), random(64, channels, cells)

    def products() -> None:
        _ = active @ matrix
        _ = alpha @ maps_1
        _ = swapped @ maps_2

    return products


def by_autograd(model: ck.CASN, map_1: Tensor, map_2: Tensor) -> Tensor:
    """Equations 4 and 5 of a batch of pairs by differentiation, as one would write it: (P, C, h, w) twice -> (P,)."""
    with torch.enable_grad():
        leaves = [m.detach().requires_grad_() for m in (map_1, map_2)]
        f_1, f_2 = (model.pool(leaf) for leaf in leaves)
        difference = f_1 - f_2
        (gradient,) = torch.autograd.grad(model.pair_scores(difference)[:, 1].sum(), difference, retain_graph=True)
        alpha = (gradient > 0).to(gradient.dtype)
        gradients = torch.autograd.grad((alpha * f_1).sum() + (alpha * f_2).sum(), leaves)
    with torch.no_grad():
        pairs = zip(leaves, gradients, strict=True)
        return attention.attention_distance(*(attention.weighted_map(m, g.mean((2, 3))) for m, g in pairs))


class TappedMaps(nn.Module):
    """s_1 + s_2 of one pair from its feature maps, with an Identity behind each branch for captum to hold on to."""

    def __init__(self, model: ck.CASN) -> None:
        super().__init__()
        self.model, self.taps = model, nn.ModuleList([nn.Identity(), nn.Identity()])

    def forward(self, map_1: Tensor, map_2: Tensor) -> Tensor:
        """(P, C, h, w) twice -> (P,)."""
        f_1, f_2 = (self.model.pool(tap(m)) for tap, m in zip(self.taps, (map_1, map_2), strict=True))
        alpha, _ = attention.siamese_weights(self.model.pair_gradient(f_1 - f_2), f_1)
        return (alpha * (f_1 + f_2)).sum(1)


def captum_pair(model: ck.CASN, map_1: Tensor, map_2: Tensor) -> Callable[[], Tensor]:
    """A function that computes one pair's attention distance, with both maps from captum."""
    tapped = TappedMaps(model).eval()
    methods = [LayerGradCam(tapped, tap) for tap in tapped.taps]
    given = tuple(m.clone().requires_grad_() for m in (map_1, map_2))

    def one_pair() -> Tensor:
        maps = [method.attribute(given, relu_attributions=True)[:, 0].detach() for method in methods]
        return attention.attention_distance(*maps)

    return one_pair


def _map_over_forward(model: ck.CASN, quick: bool, device: str, rounds: int) -> Figures:
    images = torch.randn(4, 3, *((128, 64) if quick else (288, 144))).to(device)
    labels = torch.zeros(4, dtype=torch.long, device=device)
    with torch.no_grad():
        times = take_turns(
            {
                "forward": lambda: model.pool(model.feature_map(images)),
                "map": lambda: model.identification_attention(images, labels),
            },
            rounds,
        )
    return [("identification map", "times a forward pass", ratio(times["map"], times["forward"]))]


# Training


def bench_train(device: str, quick: bool, rounds: int) -> Figures:
    """A training step of every variant, as a ratio to the baseline's step on the same batch."""
    name, pairs, ids = ("quick", 16, 150) if quick else ("paper", 16 if device.startswith("cuda") else 4, 751)
    figures: Figures = []
    for precision in ("float32", "bf16"):
        for pooling in ("gap", "stripes"):
            config = ck.profile(name, pooling=pooling, weights=None, precision=precision)
            times = take_turns(training_steps(config, pairs, ids, device), rounds)
            network = f"{config.model.backbone} {pooling} {config.data.height}x{config.data.width} {precision}"
            for variant, own in times.items():
                figures.append((f"{network}, {variant}", "ms per step", 1000 * statistics.median(own)))
                figures.append((f"{network}, {variant}", "times ide", ratio(own, times["ide"])))
    return figures


def training_steps(config: ck.Config, pairs: int, ids: int, device: str) -> dict[str, Callable[[], None]]:
    """One function for each variant: forward, backward and update on the same random batch."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, ids, (pairs,), generator=generator).to(device)
    partners = torch.where(torch.arange(pairs, device=device) % 2 == 0, labels, (labels + 1) % ids)
    model = ck.CASN.from_config(ids, config.model).to(device, memory_format=torch.channels_last).train()
    model.precision = torch.bfloat16 if config.train.precision == "bf16" else torch.float32
    optimiser = make_optimiser(model, config.train)
    images = torch.randn(2 * pairs, 3, config.data.height, config.data.width, generator=generator)
    images = images.to(device, memory_format=torch.channels_last)

    def step(variant: str) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss = ck.CASNLoss(config.replace(variant=variant).loss)
        loss(model, *images.chunk(2), labels, partners)["total"].backward()
        optimiser.step()

    return {variant: partial(step, variant) for variant in VARIANTS}


# The protocol


def bench_ranking(device: str, quick: bool, rounds: int) -> Figures:
    """The protocol at Market-1501's size beside numpy's sort and argsort of the same matrix: seconds and peak memory."""
    queries, gallery = (count // 4 for count in MARKET) if quick else MARKET
    rng = np.random.default_rng(0)
    distances = rng.random((queries, gallery), dtype=np.float32)
    sides = [rng.integers(0, limit, count) for count in (queries, gallery) for limit in (751, 6)]
    tasks: dict[str, Callable[[], object]] = {
        "evaluate_ranking": lambda: ck.evaluate_ranking(distances, *sides),
        "numpy sort": lambda: np.sort(distances, axis=1),
        "numpy argsort": lambda: np.argsort(distances, axis=1),
    }
    times = take_turns(tasks, min(rounds, 3))
    figures: Figures = [("matrix", "queries", queries), ("matrix", "gallery", gallery)]
    for name, task in tasks.items():
        tracemalloc.start()
        task()
        figures.append((name, "seconds", statistics.median(times[name])))
        figures.append((name, "peak MiB", tracemalloc.get_traced_memory()[1] / 2**20))
        tracemalloc.stop()
    return figures


# Explanations


class Siamese(nn.Module):
    """The pair's two scores as one would write them for captum: trunk called for either image, a tap behind each."""

    def __init__(self, model: ck.CASN) -> None:
        super().__init__()
        self.model, self.taps = model, nn.ModuleList([nn.Identity(), nn.Identity()])

    def forward(self, query: Tensor, gallery: Tensor) -> Tensor:
        """(P, 3, H, W) twice -> (P, 2)."""
        images = zip(self.taps, (query, gallery), strict=True)
        f_q, f_g = (self.model.pool(tap(self.model.feature_map(x))) for tap, x in images)
        return self.model.pair_scores(f_q - f_g)


def bench_explain(device: str, quick: bool, rounds: int) -> Figures:
    """Milliseconds of every explanation of a pair, and of captum's own call where the method is captum's."""
    model, count = random_model(10, quick, device), 2 if quick else 1
    height, width = (128, 64) if quick else (288, 144)
    images = [torch.randn(count, 3, height, width).to(device) for _ in range(2)]
    window = [height // 4, width // 2]
    options = {
        "integrated-gradients": {"steps": 10},
        "smoothgrad": {"samples": 4},
        "guided-gradcam": {"interpolate": "nearest"},  # as captum does
        "occlusion": {"window": window, "stride": window},
    }
    tasks = {name: partial(explain, model, *images, name, **options.get(name, {})) for name in METHODS}
    theirs = captum_calls(model, *images, window)
    tasks |= {f"{name}, captum": call for name, call in theirs.items()}

    def forward() -> None:
        with torch.no_grad():
            model.pool(model.feature_map(torch.cat(images)))

    times = take_turns({"forward": forward, **tasks}, rounds)
    figures = [(name, "ms per pair", 1000 * statistics.median(own) / count) for name, own in times.items()]
    figures += [(name, "times a forward pass", ratio(own, times["forward"])) for name, own in times.items()]
    return figures + [
        (f"{name}, captum", "times ours", ratio(times[f"{name}, captum"], times[name])) for name in theirs
    ]


def captum_calls(model: ck.CASN, query: Tensor, gallery: Tensor, window: list[int]) -> dict[str, Callable[[], object]]:
    """What captum's documentation suggests for a network of two inputs."""
    siamese, given = Siamese(model).eval(), (query.clone(), gallery.clone())
    stripes = (torch.arange(query.shape[2], device=query.device) * 8 // query.shape[2])[None, None, :, None]
    masks = tuple((stripes + 8 * i).expand(1, *query.shape[1:]) for i in range(2))
    cam = [LayerGradCam(siamese, tap) for tap in siamese.taps]
    guided = [GuidedGradCam(siamese, tap) for tap in siamese.taps]
    noisy = NoiseTunnel(Saliency(siamese))
    windows = {"sliding_window_shapes": ((3, *window),) * 2, "strides": ((3, *window),) * 2}
    return {
        "layer-gradcam": lambda: [one.attribute(given, target=1, relu_attributions=True) for one in cam],
        "guided-gradcam": lambda: [one.attribute(given, target=1) for one in guided],
        "saliency": lambda: Saliency(siamese).attribute(given, target=1),
        "input-x-gradient": lambda: InputXGradient(siamese).attribute(given, target=1),
        "integrated-gradients": lambda: IntegratedGradients(siamese).attribute(given, target=1, n_steps=10),
        "smoothgrad": lambda: noisy.attribute(given, target=1, nt_samples=4, stdevs=0.3),
        "occlusion": lambda: Occlusion(siamese).attribute(given, target=1, **windows),
        "feature-ablation": lambda: FeatureAblation(siamese).attribute(given, target=1, feature_mask=masks),
    }


# The inspector


def bench_inspector(device: str, quick: bool, rounds: int) -> Figures:
    """From a person's event to the bytes of the new picture, on a gallery of 2,000 (200 at ``--quick``)."""
    people, size = ck.open_dataset("people:tiny" if quick else "people:quick"), 200 if quick else 2000
    repeated = people.gallery.subset(np.resize(np.arange(len(people.gallery)), size))
    model, info = ck.load_shipped("casn", device=device)
    with tempfile.TemporaryDirectory() as folder:
        data = replace(people, gallery=repeated)
        inspector = ck.Inspector({"casn": (model, info.config)}, data, notes=Path(folder) / "notes.json")
        times = inspector_times(inspector, 8 if quick else 40)
    figures: Figures = [("gallery", "images", size)]
    for name, seconds in times.items():
        figures.append((name, "median ms", 1000 * float(np.median(seconds))))
        figures.append((name, "95 % ms", 1000 * float(np.quantile(seconds, 0.95))))
    return figures


def inspector_times(inspector: ck.Inspector, rounds: int) -> Times:
    """Seconds from a browser's message to the new sections: queries, pages, first maps of a tile, other methods."""
    viewer, times = inspector.viewer, {name: [] for name in ("another query", "page", "first map", "another method")}

    def clock(name: str, **message: Any) -> None:
        started = time.perf_counter()
        inspector.ask(message)
        times[name].append(time.perf_counter() - started)

    for k, query in enumerate(np.random.default_rng(0).permutation(len(inspector.desk.dataset.query))[:rounds]):
        clock("another query", ask="set", changes={"query": int(query)})
        clock("page", ask="set", changes={"page": 1})
        clock("first map", ask="set", changes={"gallery": viewer.strip["tiles"][1 + k % 9]["gallery"]})
        clock("another method", ask="set", changes={"method": ("plain-mean", "siamese")[k % 2]})
    return times


BENCHES = {
    "attention": bench_attention,
    "train": bench_train,
    "ranking": bench_ranking,
    "explain": bench_explain,
    "inspector": bench_inspector,
}


def measure(name: str, device: str = "cpu", quick: bool = False, rounds: int = 5) -> pd.DataFrame:
    """Run one bench: its rows of ``speed.csv``."""
    rows = pd.DataFrame(BENCHES[name](device, quick, rounds), columns=["subject", "measure", "value"])
    rows.insert(0, "bench", name)
    return rows.assign(device=device, threads=torch.get_num_threads(), torch=torch.__version__.split("+")[0])


def main() -> None:
    """Run benches, print them, and put their rows in place of the older ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benches", nargs="*", help=f"out of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="small networks; nothing is written")
    options = parser.parse_args()
    for name in options.benches or BENCHES:
        rows = measure(name, options.device, options.quick)
        print(rows.to_string(index=False), flush=True)
        if not options.quick:
            kept = pd.read_csv(SPEED)
            kept = kept[(kept["bench"] != name) | (kept["device"] != options.device)]
            pd.concat([kept, rows]).to_csv(SPEED, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
