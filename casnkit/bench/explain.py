"""``casnkit bench explain``: what each explanation of a pair costs, beside captum's own call and pytorch-grad-cam.

Captum's own call is what its documentation suggests for a network of two inputs: a module that calls the trunk for either
image, a tap behind each branch, one call for each tap where the method belongs to a layer. pytorch-grad-cam is measured
where it is installed; it explains one batch of images, so both images of a pair go in as one batch.

All take turns in one process, so that a machine whose speed drifts slows all of them alike; ratios are medians of the
ratios within a round. That both sides do the same thing is measured too: how far the maps differ, up to scale.
"""

from __future__ import annotations

import importlib.util
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casnkit.data.files import write_json
from casnkit.models import evaluating

from .._optional import require
from ..attention import normalise_map
from ..explain import METHODS, explain
from ..models import CASN
from ..runs import versions
from .attention import _device_name, _peak, _timed

OPTIONS: dict[str, dict[str, Any]] = {
    "integrated-gradients": {"steps": 10},
    "smoothgrad": {"samples": 4},
    "guided-gradcam": {"interpolate": "nearest"},  # as captum does
}
FORWARD = "plain forward pass"
_Work = Callable[[], Any]


def run(
    device: str = "cpu",
    quick: bool = False,
    out: Path | None = None,
    repeats: int = 5,
    methods: tuple[str, ...] = tuple(METHODS),
) -> dict[str, Any]:
    """Time every method on the same pairs, and its rivals.

    Args:
        device: cpu or cuda.
        quick: the small trunk at 128x64, two pairs; else ResNet50 at 288x144, one pair (eight on a GPU).
        out: a JSON file for the result.
        repeats: rounds, after one that warms up.
        methods: those to be measured.

    Returns:
        settings, versions, and ``rows``: milliseconds for each pair, the ratio to a plain forward pass of both images, peak
        memory in MiB (None where it cannot be read), for a rival also how much longer it takes than ours and the
        largest difference of the maps, each divided by its maximum.
    """
    place = torch.device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CASN(10, "small" if quick else "resnet50", pair_hidden=128 if quick else 512).to(place).eval()
    count = 2 if quick else 1 if place.type == "cpu" else 8
    height, width = (128, 64) if quick else (288, 144)
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(count, 3, height, width, generator=generator).to(place) for _ in range(2)]
    window = {name: [height // 4, width // 2] for name in ("window", "stride")}
    options = OPTIONS | {"occlusion": window}
    work = {name: partial(explain, model, *images, name, **options.get(name, {})) for name in methods}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*required_grads has been set|Setting backward hooks")
        others = {name: one for name, one in _rivals(model, *images, options).items() if name.split(":")[0] in work}
        times = _race({FORWARD: partial(_forward, model, *images)} | work | others, repeats)
        rows = [_row(name, one, times, model, count) for name, one in (work | others).items()]
    maps = {row["method"]: row.pop("maps") for row in rows if not row["rival"]}
    for row in rows:
        if row["rival"]:
            theirs = row.pop("maps")
            row["difference"] = None if row["method"] == "smoothgrad" else _difference(maps[row["method"]], theirs)
    result: dict[str, Any] = {"bench": "explain", "device": device, "device_name": _device_name(device)}
    result |= {"threads": torch.get_num_threads(), "repeats": repeats, "pairs": count, "size": [height, width]}
    result |= {"backbone": model.config.backbone, "forward_ms": 1000 * statistics.median(times[FORWARD]) / count}
    result |= {"options": {name: dict(value) for name, value in options.items()}, "rows": rows, "versions": versions()}
    if out:
        write_json(out, result)
    return result


def to_text(result: dict[str, Any]) -> str:
    """The rows as a table, each rival below the method that it stands beside."""
    height, width = result["size"]
    lines = [
        f"{result['backbone']}, {height}x{width}, {result['pairs']} pairs, {result['device_name']}, "
        f"{result['threads']} threads, median of {result['repeats']}; a plain forward pass of both images takes "
        f"{result['forward_ms']:.1f} ms per pair",
        f"{'':38}{'ms/pair':>10}{'forwards':>10}{'MiB':>8}{'over ours':>11}{'difference':>12}",
    ]
    for row in sorted(result["rows"], key=lambda r: list(METHODS).index(r["method"])):
        memory = "" if row["memory_mib"] is None else f"{row['memory_mib']:.0f}"
        text = f"{row['ms_per_pair']:10.1f}{row['over_forward']:10.2f}{memory:>8}"
        if row["rival"]:
            difference = "random" if row["difference"] is None else f"{row['difference']:.1e}"
            lines.append(f"{'    ' + row['rival']:38}{text}{row['over_ours']:11.2f}{difference:>12}")
        else:
            lines.append(f"{row['method']:38}{text}")
    return "\n".join(lines)


class Siamese(nn.Module):
    """The pair's two scores as one would write them for captum: trunk called for either image, a tap behind each."""

    def __init__(self, model: CASN) -> None:
        super().__init__()
        self.model, self.taps = model, nn.ModuleList([nn.Identity(), nn.Identity()])

    def forward(self, query: Tensor, gallery: Tensor) -> Tensor:
        images = zip(self.taps, (query, gallery), strict=True)
        f_q, f_g = (self.model.pool(tap(self.model.feature_map(x))) for tap, x in images)
        return self.model.pair_scores(f_q - f_g)


class OneBatch(nn.Module):
    """The pair's scores from one batch with the queries first: each pair's row stands twice, at half its value."""

    def __init__(self, model: CASN) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        f_q, f_g = self.model.pool(self.model.feature_map(images)).chunk(2)
        return self.model.pair_scores(f_q - f_g).repeat(2, 1) / 2


def _rivals(model: CASN, query: Tensor, gallery: Tensor, options: dict[str, dict[str, Any]]) -> dict[str, _Work]:
    """``method: rival`` -> a call that gives both maps, (P, h, w) each."""
    attr = require("captum.attr", "bench explain")
    siamese, given = Siamese(model).eval(), (query.clone(), gallery.clone())
    ask = {"target": 1}

    def pixels(method: Any, reduce: Callable[[Tensor], Tensor], **more: Any) -> _Work:
        return lambda: [reduce(m.detach()) for m in method.attribute(given, **ask, **more)]

    def grad_cam() -> list[Tensor]:
        methods = [attr.LayerGradCam(siamese, tap) for tap in siamese.taps]
        return [m.attribute(given, **ask, relu_attributions=True)[:, 0].detach() for m in methods]

    def guided() -> list[Tensor]:
        methods = [attr.GuidedGradCam(siamese, tap) for tap in siamese.taps]
        return [m.attribute(given, **ask)[i].sum(1).detach() for i, m in enumerate(methods)]

    def integrated() -> list[Tensor]:
        method, more = attr.IntegratedGradients(siamese), {"n_steps": 10, "return_convergence_delta": True}
        return [m.sum(1).detach() for m in method.attribute(given, **ask, **more)[0]]

    colours, largest = partial(torch.sum, dim=1), partial(torch.amax, dim=1)
    windows = {name: ((3, *options["occlusion"][name]),) * 2 for name in ("window", "stride")}
    stripes = (torch.arange(query.shape[2], device=query.device) * 8 // query.shape[2])[None, None, :, None]
    masks = tuple((stripes + 8 * i).expand(1, *query.shape[1:]) for i in range(2))
    found = {
        "layer-gradcam": grad_cam,
        "guided-gradcam": guided,
        "saliency": pixels(attr.Saliency(siamese), largest),
        "input-x-gradient": pixels(attr.InputXGradient(siamese), colours),
        "integrated-gradients": integrated,
        "smoothgrad": pixels(attr.NoiseTunnel(attr.Saliency(siamese)), largest, nt_samples=4, stdevs=0.3, abs=False),
        "occlusion": pixels(
            attr.Occlusion(siamese),
            lambda m: m[:, 0],
            sliding_window_shapes=windows["window"],
            strides=windows["stride"],
        ),
        "feature-ablation": pixels(attr.FeatureAblation(siamese), lambda m: m[:, 0], feature_mask=masks),
    }
    named = {f"{name}: captum's own call": work for name, work in found.items()}
    if importlib.util.find_spec("pytorch_grad_cam"):
        named["layer-gradcam: pytorch-grad-cam"] = _pytorch_grad_cam(model, query, gallery)
    return named


def _pytorch_grad_cam(model: CASN, query: Tensor, gallery: Tensor) -> _Work:
    """It needs weights that are trained on, gives maps at the image's size, each from 0 to 1, as numpy arrays."""
    package = require("pytorch_grad_cam", "bench explain")
    both, network = torch.cat([query, gallery]), OneBatch(model).eval()
    targets = [lambda scores: scores[1]] * len(both)

    def both_maps() -> tuple[Tensor, ...]:
        with package.GradCAM(network, [model.trunk]) as method:
            maps = torch.from_numpy(method(both, targets))
        model.zero_grad(set_to_none=True)
        return maps.chunk(2)

    return both_maps


def _forward(model: CASN, query: Tensor, gallery: Tensor) -> None:
    with evaluating(model), torch.no_grad():
        f_q, f_g = model.pool(model.feature_map(torch.cat([query, gallery]))).chunk(2)
        model.pair_scores(f_q - f_g)


def _race(work: dict[str, _Work], repeats: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats + 1):
        for name, one in work.items():
            seconds = _timed(one)
            if turn:
                times[name].append(seconds)
    return times


def _row(name: str, work: _Work, times: dict[str, list[float]], model: CASN, count: int) -> dict[str, Any]:
    method, _, rival = name.partition(": ")
    found, peak = _peak(work, model)
    row = {"method": method, "rival": rival or None, "ms_per_pair": 1000 * statistics.median(times[name]) / count}
    row |= {"over_forward": _ratio(times[name], times[FORWARD]), "memory_mib": None if peak is None else peak / 2**20}
    row["over_ours"] = _ratio(times[name], times[method]) if rival else None
    return row | {"maps": [m.cpu() for m in ((found.query, found.gallery) if not rival else found)]}


def _difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Largest difference of the maps, divided by our largest value; of maps from 0 to 1 where the sizes differ."""
    worst = 0.0
    for one, other in zip(ours, theirs, strict=True):
        if one.shape != other.shape:
            one = normalise_map(F.interpolate(one[:, None], size=other.shape[1:], mode="bilinear")[:, 0], "minmax")
            other = normalise_map(other, "minmax")
        largest = max(float(one.abs().max()), torch.finfo(one.dtype).tiny)
        worst = max(worst, float((one - other).abs().max()) / largest)
    return worst


def _ratio(numerator: list[float], denominator: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))
