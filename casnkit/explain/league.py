"""Every method on the same test pairs, in one table: localisation, faithfulness, sanity, speed.

Each method's numbers go into a file of their own, with a digest of all that they depend on, so a run that was stopped
goes on where it was.

    casnkit league --run RUN --data people --out OUT
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from casnkit.data.files import read_json, write_json
from casnkit.models import CASN
from casnkit.ranking import fingerprint

from .._optional import require
from ..config import Config
from ..data.records import ReidDataset
from .faithfulness import faithfulness
from .intervals import Interval, bootstrap
from .league_command import add_parser
from .league_pairs import LeaguePairs, choose_pairs
from .league_report import findings, league_table
from .retrieval import Retrieval
from .sanity import Limits, sanity_checks

OPTIONS: dict[str, dict[str, Any]] = {  # coarser than the methods' own defaults, so that 200 pairs take minutes
    "integrated-gradients": {"steps": 20},
    "smoothgrad": {"samples": 8},
    "occlusion": {"window": (16, 16), "stride": (16, 16)},
}
_BATCH = 32  # pairs at a time


def run_league(
    model: CASN,
    dataset: ReidDataset,
    config: Config,
    methods: Sequence[str] | None = None,
    pairs: int = 200,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
    out: str | Path | None = None,
    *,
    steps: int = 6,
    sanity_pairs: int = 20,
    fill: str = "mean",
    limits: Limits | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    retrieval: Retrieval | None = None,
) -> dict[str, Any]:
    """Measure methods on one trained network.

    Args:
        model: its pair classifier must have been trained (variants ``ide+sa`` and ``casn``).
        methods: names of :data:`casnkit.explain.METHODS`; default: all. ``plain-mean`` is always among them.
        pairs: right matches, wrong first matches and look-alikes in equal parts.
        out: folder for one JSON file per method and ``league.json``; methods that are there already, of the same network,
            pairs and settings, are not measured again.
        steps: of deletion and insertion, in the query of every other pair and in the gallery image of the rest.
        sanity_pairs: how many of the pairs the sanity checks use.
        fill: what hidden pixels show.
        options: of single methods by name, over :data:`OPTIONS`.
        retrieval: features that are there already; default: all images are looked at.

    Returns:
        settings, counts of pairs, notes, and one entry for each method, ready for JSON (None where not defined).

    Raises:
        ValueError: an unknown method, or a network whose pair classifier was never trained.
    """
    from . import METHODS

    names = list(METHODS) if methods is None else list(dict.fromkeys(["plain-mean", *methods]))
    for name in names:
        if name not in METHODS:
            raise ValueError(f"expected methods out of {', '.join(METHODS)}, got {name!r}")
    if not config.loss.siamese_attention:
        raise ValueError(
            f"a {config.variant!r} network's pair classifier was never trained, so there is no pair score to explain: use "
            "one of variant ide+sa or casn"
        )
    device = torch.device(device) if device is not None else next(model.parameters()).device
    retrieval = retrieval or Retrieval.of(model.to(device), dataset, config, device=device, keep_maps=False)
    chosen = choose_pairs(retrieval, pairs, seed)
    settings = {"pairs": pairs, "seed": seed, "steps": steps, "sanity_pairs": sanity_pairs, "fill": fill}
    settings |= {"limits": vars(limits or Limits())}
    measured = _Measured(retrieval, chosen, settings, limits or Limits())
    entries, notes = [], list(chosen.notes)
    for name in _bar(names, progress):
        given = {**OPTIONS.get(name, {}), **((options or {}).get(name, {}))}
        try:
            entries.append(_remembered(measured, name, given, Path(out) / f"{name}.json" if out else None))
        except ImportError as error:
            notes.append(f"{name} is left out: {error}")
    result = _result(entries, chosen, dataset, config, settings, notes, device)
    if out:
        write_json(Path(out) / "league.json", result)
    return result


class _Measured:
    """What all methods share: images, pairs, settings."""

    def __init__(self, retrieval: Retrieval, pairs: LeaguePairs, settings: dict[str, Any], limits: Limits) -> None:
        self.retrieval, self.pairs, self.settings, self.limits = retrieval, pairs, settings, limits
        self.images = [retrieval.images(side, pairs.pairs[:, k]) for k, side in enumerate(("query", "gallery"))]
        _, first = np.unique(pairs.pairs[:, 0], return_index=True)  # different query images
        count = min(len(first), max(2, settings["sanity_pairs"]))
        self.for_sanity = torch.from_numpy(np.sort(first)[np.linspace(0, len(first) - 1, count).round().astype(int)])
        tensors = [*retrieval.model.state_dict().values(), *self.images, torch.from_numpy(pairs.pairs)]
        self.key = fingerprint(settings, *tensors)

    def measure(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """One method's entry, with per-pair ``values`` for paired comparisons."""
        from . import METHODS, explain

        model, seed = self.retrieval.model, self.settings["seed"]
        explain(model, *(x[:2] for x in self.images), name, **options)  # warms up, so that it is not timed
        found = [
            explain(model, q, g, name, **options).cpu()
            for q, g in zip(*(x.split(_BATCH) for x in self.images), strict=True)
        ]
        maps = tuple(torch.cat([getattr(f, side) for f in found]).float() for side in ("query", "gallery"))
        rng = np.random.default_rng(seed)
        places = self.pairs.localisation(maps, seed)
        curves = faithfulness(
            self.retrieval,
            self.pairs.pairs,
            *maps,
            where="alternate",
            steps=self.settings["steps"],
            fill=self.settings["fill"],
            seed=seed,
        )
        sane = sanity_checks(
            lambda model, q, g: explain(model, q, g, name, **options),
            model,
            *(x[self.for_sanity] for x in self.images),
            limits=self.limits,
            every_step=False,
            seed=seed,
            batch_size=_BATCH,
        )
        return {
            "method": name,
            "label": METHODS[name].label,
            "cost": METHODS[name].cost,
            "target": found[0].target,
            "options": {key: list(v) if isinstance(v, tuple) else v for key, v in options.items()},
            "seconds_per_pair": sum(f.seconds for f in found) / len(self.pairs.pairs),
            "localisation": {
                key: _interval(bootstrap(v["found"], rng)) | {"chance": _number(bootstrap(v["chance"], rng).mean)}
                for key, v in places.items()
            },
            "faithfulness": [{k: _number(v) for k, v in row.items()} for row in curves.rows(rng)],
            "sanity": {
                "passed": sane.passed,
                "lines": [{k: _number(v) for k, v in vars(line).items()} for line in sane.lines],
            },
            "values": {key: [_number(round(float(x), 5)) for x in v["found"]] for key, v in places.items()},
        }


def _remembered(measured: _Measured, name: str, options: Mapping[str, Any], file: Path | None) -> dict[str, Any]:
    key = f"{measured.key}-{name}-{sorted(options.items())}"
    if file is not None and file.is_file():
        with contextlib.suppress(ValueError):  # a damaged file is measured anew
            kept = read_json(file)
            if isinstance(kept, dict) and kept.get("key") == key:
                return kept["entry"]
    entry = measured.measure(name, options)
    if file is not None:
        write_json(file, {"key": key, "entry": entry})
    return entry


def _result(
    entries: list[dict[str, Any]],
    pairs: LeaguePairs,
    dataset: ReidDataset,
    config: Config,
    settings: dict[str, Any],
    notes: list[str],
    device: torch.device,
) -> dict[str, Any]:
    """Entries with each method's paired difference to the plain mean and to equation 4's map, without per-pair values."""
    from ..runs import versions

    rng, rivals = np.random.default_rng(settings["seed"]), ("plain-mean", "siamese")
    values = {e["method"]: {k: np.array(v, dtype=np.float64) for k, v in e["values"].items()} for e in entries}
    shown = []
    for entry in entries:
        mine = values[entry["method"]]
        over = {
            rival: {key: _interval(bootstrap(mine[key] - values[rival][key], rng)) for key in mine}
            for rival in rivals
            if rival in values and rival != entry["method"]
        }
        shown.append({k: v for k, v in entry.items() if k != "values"} | {"over": over})
    return {
        "data": dataset.name,
        "variant": config.variant,
        "pooling": config.model.pooling,
        "profile": config.profile,
        "settings": settings,
        "pairs": pairs.counts(),
        "notes": notes,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "methods": shown,
        "versions": versions(),
    }


def _interval(found: Interval) -> dict[str, Any]:
    return {key: _number(value) for key, value in found._asdict().items()}


def _number(value: Any) -> Any:
    """A plain value for JSON: no NaN."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _bar(names: Iterable[str], wanted: bool) -> Iterator[str]:
    if wanted:
        with contextlib.suppress(ImportError):
            names = require("tqdm.auto", "showing progress").tqdm(names, desc="methods", unit="method", leave=False)
    return iter(names)


__all__ = ["OPTIONS", "add_parser", "findings", "league_table", "run_league"]


# facade: to be replaced
_FACADE = {
    "choose_pairs": "casnkit.explain.league_pairs",
    "bootstrap": "casnkit.explain.intervals",
    "league_head": "casnkit.explain.league_report",
    "league_tables": "casnkit.explain.league_report",
}
_FACADE_MODULES = ["casnkit.explain.league_pairs"]


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
