"""Sanity checks: would the map look the same if the network knew nothing, or if it were asked something else?

After Adebayo et al., *Sanity Checks for Saliency Maps* (NeurIPS 2018), carried over to pairs. Maps are compared by
Pearson's correlation over places (:func:`casnkit.attention.map_correlation`), mean over pairs and both images. A map that
keeps its looks when the pair classifier is replaced by a random one does not explain the pair classifier's score.

A low correlation alone proves nothing either: noise has it too, and a flat map has no correlation with anything. So a
method must first say something, say it twice, and say other things of other images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from casnkit.models import CASN, evaluating

from ..attention import map_correlation, normalise_map
from .intervals import Interval, bootstrap
from .randomised import HEADS, cascade, randomised

if TYPE_CHECKING:
    from ..evaluation import Table

Maps = tuple[Tensor, Tensor]
Explainer = Callable[[CASN, Tensor, Tensor], Any]


@dataclass(frozen=True)
class Limits:
    """Where a line is passed; all are open to argument, so all are arguments. Correlations in [-1, 1]."""

    flat: float = 0.5  # at most this share of maps may be flat: more, and the rest is no sample of the pairs
    repeat: float = 0.95  # at least: the same question twice
    image: float = 0.9  # at most: maps of different images
    pair_classifier: float = 0.5  # at most: against a random pair classifier; half-way between blind and free
    everything: float = 0.5  # at most: against a network that was never trained
    partner: float = 0.95  # at most: an image's map beside another partner
    labels: float = 0.5  # at most: against a network trained on shuffled labels


REASONS = {
    "flat": "share of maps that are the same everywhere",
    "repeat": "the same question asked twice",
    "image": "against the map of another image",
    "pair classifier": "against a random pair classifier: does the map depend on who gives the score?",
    "everything": "against a network that was never trained: does the map depend on what was learned?",
    "partner": "an image's map beside another partner: is it the pair that is explained?",
    "order": "against the pair asked the other way round",
    "labels": "against a network trained on shuffled labels",
}


@dataclass(frozen=True)
class Line:
    """One check: what was measured, the limit, and why it is there. ``passed`` is None for what is only reported."""

    name: str
    value: float
    low: float
    high: float
    limit: float | None
    passed: bool | None
    why: str


@dataclass(frozen=True)
class SanityReport:
    """All lines of one method, and its correlation at each step of the cascade."""

    lines: tuple[Line, ...]
    steps: tuple[tuple[str, Interval], ...]

    @property
    def passed(self) -> bool:
        """No line failed."""
        return all(line.passed is not False for line in self.lines)

    def __getitem__(self, name: str) -> Line:
        """A line by its name."""
        for line in self.lines:
            if line.name == name:
                return line
        raise ValueError(f"expected a check out of {', '.join(line.name for line in self.lines)}, got {name!r}")

    def table(self) -> Table:
        """The same as a table of a notebook's page."""
        from ..evaluation import table

        mark = {True: "\u2713 passed", False: "\u2717 failed", None: "\u2013"}
        return table(
            [
                {
                    "check": line.name,
                    "": mark[line.passed],
                    "correlation": f"{line.value:.2f} ({line.low:.2f} to {line.high:.2f})",
                    "what it means": line.why,
                }
                for line in self.lines
            ]
        )

    def to_text(self) -> str:
        """A line for each check: pass, FAIL or a dash, the number with its interval, the limit, the reason."""
        mark = {True: "pass", False: "FAIL", None: "  - "}
        return "\n".join(
            f"{mark[line.passed]}  {line.name:16s} {line.value:6.2f} [{line.low:5.2f}, {line.high:5.2f}]  {line.why}"
            for line in self.lines
        )


def as_explainer(method: str | Explainer, **options: Any) -> Explainer:
    """A method of :func:`casnkit.explain.explain` by name, or any function (model, query images, gallery images) that
    returns something with ``query`` and ``gallery`` maps, or the two maps."""
    if callable(method):
        return partial(method, **options) if options else method
    from . import explain

    return partial(explain, method=method, **options)


def compute_maps(
    explainer: str | Explainer, model: CASN, query_images: Tensor, gallery_images: Tensor, batch_size: int = 32
) -> Maps:
    """Both maps of each pair, (P, h, w) float32 on the CPU, a few pairs at a time."""
    explainer, found = as_explainer(explainer), []
    for query, gallery in zip(query_images.split(batch_size), gallery_images.split(batch_size), strict=True):
        maps = explainer(model, query, gallery)
        maps = (maps.query, maps.gallery) if hasattr(maps, "query") else maps
        found.append([m.detach().float().cpu() for m in maps])
    return tuple(torch.cat(side) for side in zip(*found, strict=True))


def correlation(maps: Maps, others: Maps) -> np.ndarray:
    """(P,) correlation of two explanations of the same pairs, the mean of both images'.

    A flat map has no pattern: beside one that has, that is 0; beside another flat one it is no comparison, NaN.
    """
    found = [
        map_correlation(*both).masked_fill(flat(both[0]) & flat(both[1]), torch.nan)
        for both in zip(maps, others, strict=True)
    ]
    return torch.stack(found).nanmean(0).detach().cpu().numpy()


def flat(maps: Tensor) -> Tensor:
    """(B,) bool: maps that are the same everywhere, and so say nothing."""
    return normalise_map(maps, "minmax").amax((1, 2)) == 0


def randomisation(
    explainer: str | Explainer,
    model: CASN,
    query_images: Tensor,
    gallery_images: Tensor,
    *,
    maps: Maps | None = None,
    parts: dict[str, tuple[str, ...]] | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> dict[str, np.ndarray]:
    """Cascading randomisation: (P,) correlations with the trained network's maps after each part was made random too.

    Args:
        maps: those of the trained network, where they are known.
        parts: names and prefixes of tensors in the order in which they are taken away; default: all of
            :func:`casnkit.explain.randomised.cascade`. Each step keeps the earlier parts random.
    """
    maps = compute_maps(explainer, model, query_images, gallery_images, batch_size) if maps is None else maps
    images, taken, found = torch.cat([query_images, gallery_images]), (), {}
    for name, prefixes in (cascade(model) if parts is None else parts).items():
        taken += prefixes
        other = randomised(model, taken, seed, images)
        found[name] = correlation(maps, compute_maps(explainer, other, query_images, gallery_images, batch_size))
    return found


def sanity_checks(
    explainer: str | Explainer,
    model: CASN,
    query_images: Tensor,
    gallery_images: Tensor,
    *,
    limits: Limits | None = None,
    every_step: bool = True,
    shuffled_model: CASN | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> SanityReport:
    """All checks of one method on P pairs; the model is left as it is.

    Args:
        query_images, gallery_images: (P, 3, H, W) normalised, at least two pairs; all query images different.
        every_step: take the trunk away stage by stage; False: in one step, which is cheaper and gives the same lines.
        shuffled_model: a network trained on shuffled labels, to be compared too.

    Raises:
        ValueError: fewer than two pairs.
    """
    if len(query_images) < 2 or len(query_images) != len(gallery_images):
        raise ValueError(
            f"expected at least two pairs, as many query as gallery images, got {len(query_images)} and "
            f"{len(gallery_images)}: partners are exchanged between pairs"
        )
    ask = partial(compute_maps, explainer, batch_size=batch_size)
    maps = ask(model, query_images, gallery_images)
    parts = (
        None
        if every_step
        else {"pair classifier": HEADS["pair classifier"], "everything": ("identity_head.", "trunk.")}
    )
    cascaded = randomisation(
        explainer, model, query_images, gallery_images, maps=maps, parts=parts, seed=seed, batch_size=batch_size
    )
    measured = {
        "flat": torch.stack([flat(m) for m in maps]).float().mean(0).numpy(),
        "repeat": correlation(maps, ask(model, query_images, gallery_images)),
        "image": correlation(maps, tuple(m.roll(1, 0) for m in maps)),
        "pair classifier": cascaded["pair classifier"],
        "everything": list(cascaded.values())[-1],
        "partner": partner_shuffling(explainer, model, query_images, gallery_images, maps, batch_size),
        "order": correlation(maps, ask(model, gallery_images, query_images)[::-1]),
    }
    if shuffled_model is not None:
        measured["labels"] = correlation(maps, ask(shuffled_model, query_images, gallery_images))
    limits, rng = limits or Limits(), np.random.default_rng(seed)
    lines = tuple(_line(name, bootstrap(values, rng), limits) for name, values in measured.items())
    return SanityReport(lines, tuple((name, bootstrap(values, rng)) for name, values in cascaded.items()))


def partner_shuffling(
    explainer: str | Explainer,
    model: CASN,
    query_images: Tensor,
    gallery_images: Tensor,
    maps: Maps | None = None,
    batch_size: int = 32,
) -> np.ndarray:
    """(P,) correlation of each image's map with its map beside another pair's partner; 1 = the partner has no say."""
    maps = compute_maps(explainer, model, query_images, gallery_images, batch_size) if maps is None else maps
    other = compute_maps(explainer, model, query_images, gallery_images.roll(1, 0), batch_size)
    return correlation(maps, (other[0], other[1].roll(-1, 0)))


def label_shuffling(model: CASN, images: Tensor, seed: int = 0) -> np.ndarray:
    """(B,) correlation of identification attention for an image's best label with that for another, random label."""
    if model.num_ids < 2:
        raise ValueError("expected a network of at least two identities: there is no other label to ask for")
    with evaluating(model), torch.no_grad():
        maps = model.feature_map(images)
        labels = model.id_scores(model.pool(maps)).argmax(1)
        steps = torch.randint(1, model.num_ids, (len(images),), generator=torch.Generator().manual_seed(seed))
        other = (labels + steps.to(labels)) % model.num_ids
        found = [model.identification_attention_of(maps, chosen).float().cpu() for chosen in (labels, other)]
    return map_correlation(*found).numpy()


def _line(name: str, found: Interval, limits: Limits) -> Line:
    limit = getattr(limits, name.replace(" ", "_"), None)
    if limit is None:
        return Line(name, *found[:3], None, None, f"{REASONS[name]}; reported only")
    kind, passed = ("least", found.mean >= limit) if name == "repeat" else ("most", found.mean <= limit)
    return Line(name, *found[:3], limit, passed, f"{REASONS[name]} (at {kind} {limit:g})")  # NaN passes nothing


# facade: to be replaced
_FACADE = {"cascade": "casnkit.explain.randomised", "randomised": "casnkit.explain.randomised"}
_FACADE_MODULES = ["casnkit.explain.agreement"]


def __getattr__(name):
    from importlib import import_module

    if name in _FACADE:
        return getattr(import_module(_FACADE[name]), name)
    if not name.startswith("__"):
        for module in _FACADE_MODULES:
            if module != __name__:
                found = import_module(module)
                if hasattr(found, name):
                    return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
