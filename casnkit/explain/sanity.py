"""Sanity checks: would the map look the same if the network knew nothing, or if it were asked something else?

After Adebayo et al., *Sanity Checks for Saliency Maps* (NeurIPS 2018), carried over to pairs. Maps are compared by
Pearson's correlation over places, mean over pairs and both images. A map that keeps its looks when the pair classifier is
replaced by a random one does not explain its score. A low correlation alone proves nothing: noise has it too, and a flat
map correlates with nothing. So a method must first say something, say it twice, and say other things of other images.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import update_bn

from casnkit.attention import map_correlation, normalise_map
from casnkit.explain.localisation import Interval, bootstrap
from casnkit.explain.methods import explain
from casnkit.models import CASN, seeded, unwrapped

Maps = tuple[Tensor, Tensor]
Explainer = Callable[[CASN, Tensor, Tensor], Any]
CHECKS = {  # name: (limit, what it means); "repeat" must reach its limit, the others must not exceed theirs
    "flat": (0.5, "share of maps that are the same everywhere"),
    "repeat": (0.95, "the same question asked twice"),
    "image": (0.9, "against the map of another image"),
    "pair classifier": (0.5, "against a random pair classifier: does the map depend on who gives the score?"),
    "everything": (0.5, "against a network that was never trained: does the map depend on what was learned?"),
    "partner": (0.95, "an image's map beside another partner: is it the pair that is explained?"),
    "order": (None, "against the pair asked the other way round; reported only"),
}
_BATCH = 32  # pairs at a time
_STAGES = 4  # at most so many steps through a trunk


@dataclass(frozen=True, eq=False)
class SanityReport:
    """All checks of one method: correlations, and a share for ``flat``."""

    checks: Mapping[str, Interval]  # by name, see CHECKS
    steps: Mapping[str, Interval]  # of the cascade
    values: Mapping[str, np.ndarray]  # (P,) that a check is the mean of

    @property
    def passed(self) -> bool:
        """No check failed."""
        return all(passes(name, found.value) is not False for name, found in self.checks.items())

    def __getitem__(self, name: str) -> Any:
        """A check by its name."""
        return self.checks[name]

    def table(self) -> pd.DataFrame:
        """A row for each check: its mark, the correlation with its interval, what it means."""
        marks, rows = {True: "\u2713 passed", False: "\u2717 failed", None: "\u2013"}, {}
        for name, (limit, why) in CHECKS.items():
            mean, low, high, _ = self.checks[name]
            why += "" if limit is None else f" (at {'least' if name == 'repeat' else 'most'} {limit:g})"
            rows[name] = marks[passes(name, mean)], f"{mean:.2f} ({low:.2f} to {high:.2f})", why
        columns = ["", "correlation", "what it means"]
        return pd.DataFrame.from_dict(rows, "index", columns=columns).rename_axis("check")


def compute_maps(explainer: str | Explainer, model: CASN, query: Tensor, gallery: Tensor) -> Maps:
    """Both maps of each pair, (P, h, w) float32 on the CPU, a few pairs at a time.

    ``explainer``: a method by name, or a function (model, query images, gallery images) that returns the two maps, or
    something that has them as ``query`` and ``gallery``.
    """
    ask, found = explainer if callable(explainer) else partial(explain, method=explainer), []
    for images in zip(query.split(_BATCH), gallery.split(_BATCH), strict=True):
        maps = ask(model, *images)
        maps = (maps.query, maps.gallery) if hasattr(maps, "query") else maps
        found.append([m.detach().float().cpu() for m in maps])
    return tuple(torch.cat(side) for side in zip(*found, strict=True))


def correlation(maps: Maps, others: Maps) -> np.ndarray:
    """(P,) correlation of two explanations of the same pairs, mean of both images; beside a flat map 0, of two NaN."""
    sides = zip(maps, others, strict=True)
    found = [map_correlation(a, b).masked_fill(flat(a) & flat(b), torch.nan) for a, b in sides]
    return torch.stack(found).nanmean(0).detach().cpu().numpy()


def flat(maps: Tensor) -> Tensor:
    """(B,) bool: maps that are the same everywhere, and so say nothing."""
    return normalise_map(maps, "minmax").amax((1, 2)) == 0


def agreement(found: Mapping[str, Any]) -> np.ndarray:
    """Do methods say the same? Mean over images of the correlation of every two methods' maps, on the coarsest grid of all.

    ``found``: by method, something with ``query`` and ``gallery`` maps, each (P, h, w), of the same P pairs. Values below
    zero count as zero. Returns (n, n) in [-1, 1]; a map without a pattern agrees with none (0).
    """
    maps = [torch.cat([m.query, m.gallery]).detach().float().cpu().clamp_min(0) for m in found.values()]
    grid = tuple(min(m.shape[axis] for m in maps) for axis in (1, 2))
    coarse = [F.adaptive_avg_pool2d(m[:, None], grid)[:, 0] for m in maps]
    return np.array([[map_correlation(a, b).mean().item() for b in coarse] for a in coarse])


def sanity_checks(
    explainer: str | Explainer, model: CASN, query: Tensor, gallery: Tensor, *, every_step: bool = True, seed: int = 0
) -> SanityReport:
    """All checks of one method (see :func:`compute_maps`); the model is left as it is.

    The images are (P, 3, H, W), normalised: at least two pairs, all query images different. ``every_step``: take the trunk
    away stage by stage; False: in one step, which is cheaper and gives the same checks.
    """
    if len(query) < 2:
        raise ValueError(f"expected at least two pairs, whose partners can be exchanged, got {len(query)}")
    ask, images = partial(compute_maps, explainer), torch.cat([query, gallery])
    maps = ask(model, query, gallery)
    once = {"pair classifier": ("pair_head.",), "everything": ("identity_head.", "trunk.")}
    cascaded, taken = {}, ()
    for name, prefixes in (cascade(model) if every_step else once).items():
        taken += prefixes
        cascaded[name] = correlation(maps, ask(randomised(model, taken, seed, images), query, gallery))
    exchanged = ask(model, query, gallery.roll(1, 0))
    values = {
        "flat": torch.stack([flat(m) for m in maps]).float().mean(0).numpy(),
        "repeat": correlation(maps, ask(model, query, gallery)),
        "image": correlation(maps, tuple(m.roll(1, 0) for m in maps)),
        "pair classifier": cascaded["pair classifier"],
        "everything": list(cascaded.values())[-1],
        "partner": correlation(maps, (exchanged[0], exchanged[1].roll(-1, 0))),
        "order": correlation(maps, ask(model, gallery, query)[::-1]),
    }
    rng = np.random.default_rng(seed)
    checks = {name: bootstrap(values[name], rng) for name in CHECKS}
    return SanityReport(checks, {name: bootstrap(step, rng) for name, step in cascaded.items()}, values)


def passes(name: str, mean: float) -> bool | None:
    """Whether a check's mean keeps to its limit: NaN does not. None for what is only reported."""
    limit, _ = CHECKS[name]
    return None if limit is None else bool(mean >= limit if name == "repeat" else mean <= limit)


def cascade(model: CASN) -> dict[str, tuple[str, ...]]:
    """Prefixes of the tensors of each part, from the score downwards: both classifiers, the trunk from last to first."""
    paths = [name.split(".")[:-1] for name in model.state_dict() if name.startswith("trunk.")]
    for depth in (2, 3, 4):  # the first at which the trunk has several parts
        units = list(dict.fromkeys(".".join(path[:depth]) + "." for path in paths))
        if len(units) > 2:
            break
    stages = np.array_split(units, min(len(units), _STAGES))
    trunk = {f"trunk {k} of {len(stages)}": tuple(stages[k - 1].tolist()) for k in range(len(stages), 0, -1)}
    return {"pair classifier": ("pair_head.",), "ID classifier": ("identity_head.",)} | trunk


def randomised(model: CASN, prefixes: Sequence[str], seed: int = 0, images: Tensor | None = None) -> CASN:
    """A copy in eval mode in which all tensors whose names begin with one of ``prefixes`` are those of a new network.

    A trunk that forgot then measures BatchNorm's statistics anew on ``images`` (B, 3, H, W): without that maps would be
    flat, and every explanation would pass for the wrong reason.
    """
    model = unwrapped(model, CASN)
    with seeded(seed, 0):
        fresh = CASN.from_config(model.num_ids, dataclasses.replace(model.config, weights=None)).state_dict()
    changed, prefixes = copy.deepcopy(model).requires_grad_(False).eval(), tuple(prefixes)
    changed.load_state_dict({k: v for k, v in fresh.items() if k.startswith(prefixes)}, strict=False)
    if images is not None and any(prefix.startswith("trunk") for prefix in prefixes):
        with seeded(None, 0):
            update_bn([images.to(next(changed.parameters()))], changed)
    return changed
