"""Every method on the same test pairs, in one table: localisation, faithfulness, sanity, speed.

A league is a tidy table, one row for each method and measure, and the settings under which it was measured. The one that
was published lies in ``figures/results/league.csv`` and ``league.settings.json``.

    casnkit league --run RUN --data people --out OUT
"""

from __future__ import annotations

import argparse
import importlib.resources
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from casnkit.config import Config
from casnkit.data import open_dataset
from casnkit.data.files import atomic_path, read_json, write_json
from casnkit.data.images import load_masks, load_parts
from casnkit.data.people import PARTS, TABLE, lookalike_pairs
from casnkit.data.records import ReidDataset
from casnkit.explain.faithfulness import faithfulness
from casnkit.explain.localisation import (
    bootstrap,
    chance,
    energy_inside,
    iou,
    pointing_game,
    right_cue,
    right_cue_pairs,
)
from casnkit.explain.methods import METHODS, explain
from casnkit.explain.retrieval import SIDES, Retrieval
from casnkit.explain.sanity import sanity_checks
from casnkit.models import CASN
from casnkit.ranking import fingerprint
from casnkit.runs import load_model, pick_device, versions

KINDS = ("right", "wrong", "look-alike")
RIVALS = ("plain-mean", "siamese")  # each method's localisation is compared with theirs, pair by pair
OPTIONS: dict[str, dict[str, Any]] = {  # coarser than the methods' own defaults, so that 200 pairs take minutes
    "integrated-gradients": {"steps": 20},
    "smoothgrad": {"samples": 8},
    "occlusion": {"window": (16, 16), "stride": (16, 16)},
}
SHOWN = ("siamese", "siamese-gradcam", "plain-mean", "evidence", "integrated-gradients", "occlusion")
_BATCH = 32  # pairs at a time


class League(NamedTuple):
    """The result of a comparison.

    Attributes:
        table: columns ``method``, ``test`` (localisation, faithfulness, sanity, speed), ``measure``, ``than`` (empty, or the
            method that this one is compared with, pair by pair), ``value`` with its 95 % interval ``low``, ``high`` over
            ``count`` pairs, ``chance`` (the same map moved at random), and for sanity ``limit`` and ``passed``.
            Faithfulness: the area under the curve less that of random masks, whose own is ``chance``.
        settings: the network, the data, counts of pairs, notes, the machine, versions.
    """

    table: pd.DataFrame
    settings: dict[str, Any]

    def write(self, folder: str | Path) -> Path:
        """Write ``league.csv`` and ``league.settings.json``; returns the table's path."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "league.csv") as path:
            self.table.to_csv(path, index=False, lineterminator="\n")
        write_json(folder / "league.settings.json", self.settings)
        return folder / "league.csv"

    def sane(self) -> list[str]:
        """The methods that passed all sanity checks."""
        failed = self.table.method[self.table.passed.eq(False).fillna(False)]
        return [name for name in self.table.method.unique() if name not in set(failed)]

    def rows(self) -> pd.DataFrame:
        """The table by (method, measure, than)."""
        return self.table.set_index(["method", "measure", "than"]).sort_index()


def read_league(folder: str | Path | None = None) -> League:
    """A league that was written; default: the published one. Raises OSError where there is none."""
    find = _results if folder is None else Path(folder).joinpath
    table = pd.read_csv(find("league.csv"), float_precision="round_trip", dtype={"passed": "boolean"})
    return League(table.fillna({"than": ""}), read_json(find("league.settings.json")))


def _results(name: str) -> Path:
    """A published result: of the installed package, or of the checkout."""
    if importlib.util.find_spec("casnkit.results") is not None:
        return Path(str(importlib.resources.files("casnkit.results") / name))
    return Path(__file__).parents[2] / "figures" / "results" / name


@dataclass(frozen=True, eq=False)
class LeaguePairs:
    """P pairs and the truth about their images.

    Attributes:
        pairs: (P, 2) query index and gallery index.
        kinds: (P,) out of :data:`KINDS`.
        masks: two (P, H, W) bool, the persons (queries, gallery images); None where the set has no masks.
        parts: two (P, H, W) part maps of the look-alikes alone; None where there are none.
        differs_in: (number of look-alikes,) the part in which each pair of them differs.
        notes: what a reader must know.
    """

    pairs: np.ndarray
    kinds: np.ndarray
    masks: tuple[Tensor, Tensor] | None
    parts: tuple[Tensor, Tensor] | None
    differs_in: np.ndarray
    notes: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """How many pairs of each kind."""
        return {kind: int((self.kinds == kind).sum()) for kind in KINDS}

    def localisation(self, maps: tuple[Tensor, Tensor], seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
        """Per pair (the mean of its two images; the right cue: of the look-alikes): ``found`` and ``chance``.

        Chance is the same map moved by a random step: as large and as smooth, in a place that means nothing. The right
        cue's is a share of hits too.
        """
        result = {}
        if self.masks is not None:
            for name, measure in (("energy", energy_inside), ("pointing", pointing_game), ("iou", iou)):
                sides = list(zip(maps, self.masks, strict=True))
                moved = [chance(measure, m, t, generator=torch.Generator().manual_seed(seed)) for m, t in sides]
                found = [measure(m, t) for m, t in sides]
                result[name] = {"found": _mean_of_sides(found), "chance": _mean_of_sides(moved)}
        if self.parts is not None:
            alike, generator = torch.from_numpy(self.kinds == "look-alike"), torch.Generator().manual_seed(seed)
            sides, truth = [m[alike] for m in maps], (self.differs_in, len(PARTS))
            moved = [
                chance(right_cue, m, p, *truth, generator=generator).hit for m, p in zip(sides, self.parts, strict=True)
            ]
            hit = right_cue_pairs(tuple(sides), self.parts, *truth).hit
            result["cue"] = {"found": hit.numpy(), "chance": _mean_of_sides(moved)}
        return result


def choose_pairs(retrieval: Retrieval, count: int = 200, seed: int = 0) -> LeaguePairs:
    """Pairs of three kinds in equal parts as far as there are so many, queries drawn by ``seed``, ranked by features.

    ``right``: a query and its nearest match. ``wrong``: a query and the first of its ranking, where that is another
    person. ``look-alike`` (drawn people only): a query and the nearest image of the person who differs in one part.

    Raises:
        ValueError: fewer than two pairs could be made.
    """
    partners = _partners(retrieval)
    found: dict[str, list[tuple[int, int, int]]] = {kind: [] for kind in KINDS}
    gallery, order = retrieval.dataset.gallery, np.random.default_rng(seed).permutation(len(retrieval.query))
    for i in order.tolist():
        distances = retrieval.row(i)
        ranking = retrieval.rank(i, distances)
        if ranking.first_hit >= 0:
            found["right"].append((i, int(ranking.kept[ranking.first_hit]), -1))
        if len(ranking.kept) and ranking.first_hit != 0:
            found["wrong"].append((i, int(ranking.kept[0]), -1))
        other, part = partners.get(int(retrieval.dataset.query.pids[i]), (None, -1))
        images = np.flatnonzero(gallery.pids == other) if other is not None else ()
        if len(images):
            found["look-alike"].append((i, int(images[np.argmin(distances[images])]), part))
    quota = _quota({kind: len(rows) for kind, rows in found.items()}, count)
    rows = [(kind, *row) for kind in KINDS for row in found[kind][: quota[kind]]]
    if len(rows) < 2:
        raise ValueError(
            f"expected at least two pairs for a comparison, found {len(rows)}: are there queries with matches?"
        )
    notes = [] if len(rows) == count else [f"{len(rows)} pairs of {count}: the test set has no more of these kinds"]
    kinds, pairs = np.array([row[0] for row in rows]), np.array([row[1:3] for row in rows])
    masks = _truth(retrieval, pairs, load_masks, notes)
    parts = _truth(retrieval, pairs[kinds == "look-alike"], load_parts, notes) if quota["look-alike"] else None
    differs_in = np.array([row[3] for row in rows if row[0] == "look-alike"], dtype=np.int64)
    return LeaguePairs(pairs, kinds, masks, parts, differs_in, tuple(notes))


def _mean_of_sides(values: Sequence[Tensor]) -> np.ndarray:
    return torch.stack(list(values)).nanmean(0).numpy()


def _quota(available: Mapping[str, int], count: int) -> dict[str, int]:
    """A share for each kind, one after the other; what one kind lacks the others fill up."""
    quota = dict.fromkeys(available, 0)
    for _ in range(count):
        open_kinds = [kind for kind in available if quota[kind] < available[kind]]
        if open_kinds:
            quota[min(open_kinds, key=quota.get)] += 1
    return quota


def _partners(retrieval: Retrieval) -> dict[int, tuple[int, int]]:
    """Who looks like whom, and in which part they differ, by pid; empty for other sets than drawn people."""
    root = retrieval.dataset.root
    if "attributes" not in retrieval.dataset.tables or not (root / TABLE).is_file():
        return {}
    both = [((a, b), (b, a), PARTS.index(part)) for a, b, part in lookalike_pairs(root) if part in PARTS]
    return {a: (b, part) for *sides, part in both for a, b in sides}


def _truth(
    retrieval: Retrieval, pairs: np.ndarray, load: Callable[..., Tensor | None], notes: list[str]
) -> tuple[Tensor, Tensor] | None:
    size = retrieval.config.data.height, retrieval.config.data.width
    try:
        found = [load(retrieval.split(side).subset(pairs[:, k]), size) for k, side in enumerate(SIDES)]
    except ValueError as error:
        notes.append(str(error).split("\n")[0])
        return None
    return None if any(f is None for f in found) else tuple(found)


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
    retrieval: Retrieval | None = None,
) -> League:
    """Measure methods on one trained network.

    Args:
        model: its pair classifier must have been trained (variants ``ide+sa`` and ``casn``).
        methods: names of :data:`casnkit.explain.METHODS`; default: all. ``plain-mean`` is always among them.
        pairs: right matches, wrong first matches and look-alikes in equal parts.
        out: folder for the result and for what was measured so far: methods that are there already, of the same network,
            pairs and settings, are not measured again, so a run that was stopped can be resumed.
        steps: of deletion and insertion, in the query of every other pair and in the gallery image of the rest.
        sanity_pairs: how many of the pairs the sanity checks use.
        fill: what hidden pixels show.
        retrieval: features that are there already; default: all images are looked at.

    Raises:
        ValueError: an unknown method, or a network whose pair classifier was never trained.
    """
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
    images = tuple(retrieval.images(side, chosen.pairs[:, k]) for k, side in enumerate(SIDES))
    settings = {"pairs": pairs, "seed": seed, "steps": steps, "sanity_pairs": sanity_pairs, "fill": fill}
    key = fingerprint(settings, *model.state_dict().values(), *images, torch.from_numpy(chosen.pairs))
    memory = joblib.Memory(Path(out) / "measured" if out else None, verbose=0)
    measure = memory.cache(_measure, ignore=["retrieval", "chosen", "images"])
    bar = tqdm(names, desc="methods", unit="method", leave=False, disable=not progress)
    found = {name: measure(key, name, settings, OPTIONS.get(name, {}), retrieval, chosen, images) for name in bar}
    about = {
        "data": dataset.name,
        "variant": config.variant,
        "pooling": config.model.pooling,
        "profile": config.profile,
        "settings": settings,
        "options": {name: OPTIONS[name] for name in names if name in OPTIONS},
        "pairs": chosen.counts(),
        "notes": list(chosen.notes),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }
    league = League(_table(found, seed), about)
    if out:
        league.write(out)
    return league


def _measure(
    key: str,
    name: str,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    retrieval: Retrieval,
    chosen: LeaguePairs,
    images: tuple[Tensor, Tensor],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """One method's rows, and its localisation pair by pair. ``key`` is a digest of the ignored arguments."""
    model, seed = retrieval.model, settings["seed"]
    explain(model, *(x[:2] for x in images), name, **options)  # warms up, so that it is not timed
    found = [
        explain(model, q, g, name, **options).cpu() for q, g in zip(*(x.split(_BATCH) for x in images), strict=True)
    ]
    maps = tuple(torch.cat([getattr(f, side) for f in found]).float() for side in SIDES)
    rng, rows = np.random.default_rng(seed), []
    places = chosen.localisation(maps, seed)
    for measure, values in places.items():
        by_chance = bootstrap(values["chance"], rng).mean
        rows.append(_row("localisation", measure, bootstrap(values["found"], rng), chance=by_chance))
    curves = faithfulness(
        retrieval, chosen.pairs, *maps, where="alternate", steps=settings["steps"], fill=settings["fill"], seed=seed
    )
    for row in curves.table(rng).itertuples():
        rows.append(_row("faithfulness", f"{row.curve}_{row.axis}", row[3:7], chance=row.chance))
    _, first = np.unique(chosen.pairs[:, 0], return_index=True)  # different query images
    count = min(len(first), max(2, settings["sanity_pairs"]))
    some = torch.from_numpy(np.sort(first)[np.linspace(0, len(first) - 1, count).round().astype(int)])
    sane = sanity_checks(
        lambda model, q, g: explain(model, q, g, name, **options),
        model,
        *(x[some] for x in images),
        every_step=False,
        seed=seed,
        batch_size=_BATCH,
    )
    rows += [
        _row("sanity", line.name, (*line[1:4], count), limit=line.limit, passed=line.passed) for line in sane.lines
    ]
    seconds = sum(f.seconds for f in found) / len(chosen.pairs)
    rows.append(_row("speed", "seconds_per_pair", (seconds, np.nan, np.nan, len(chosen.pairs))))
    return rows, {measure: values["found"] for measure, values in places.items()}


def _row(test: str, measure: str, found: Sequence[float], than: str = "", **more: Any) -> dict[str, Any]:
    numbers = dict(zip(("value", "low", "high", "count"), found, strict=True))
    return {"test": test, "measure": measure, "than": than, **numbers, "chance": np.nan, "limit": np.nan, **more}


def _table(found: Mapping[str, tuple[list[dict[str, Any]], dict[str, np.ndarray]]], seed: int) -> pd.DataFrame:
    """All methods' rows, and their paired differences from the rivals."""
    rng, rows = np.random.default_rng(seed), []
    for name, (own, values) in found.items():
        rows += [{"method": name, **row} for row in own]
        for rival in RIVALS:
            if rival in found and rival != name:
                for measure, mine in values.items():
                    difference = bootstrap(mine - found[rival][1][measure], rng)
                    rows.append({"method": name, **_row("localisation", measure, difference, rival)})
    return pd.DataFrame(rows).astype({"count": int, "limit": float, "passed": "boolean"})


def league_examples(retrieval: Retrieval, league: League, shown: Sequence[str] = SHOWN) -> dict[str, Any]:
    """The first pair of each kind, chosen as in the league, with the maps of some methods.

    Returns:
        arguments of :func:`casnkit.figures.show_gallery_of_methods`: pairs, maps_by_method, labels, masks. Methods that the
        league did not measure are left out.
    """
    measured = league.table.method.unique()
    names = [name for name in shown if name in measured] or list(measured[: len(shown)])
    chosen = choose_pairs(retrieval, league.settings["settings"]["pairs"], league.settings["settings"]["seed"])
    first = [int(np.flatnonzero(chosen.kinds == kind)[0]) for kind in dict.fromkeys(chosen.kinds.tolist())]
    splits = [retrieval.split(side) for side in SIDES]
    images = [retrieval.images(side, chosen.pairs[first, k]) for k, side in enumerate(SIDES)]
    found = {name: explain(retrieval.model, *images, name).cpu() for name in names}
    pictures, masks = (
        [tuple(getattr(split, what)(j) for split, j in zip(splits, chosen.pairs[p], strict=True)) for p in first]
        for what in ("image", "mask")
    )
    return {
        "pairs": pictures,
        "maps_by_method": {name: list(zip(m.query, m.gallery, strict=True)) for name, m in found.items()},
        "labels": [str(chosen.kinds[p]) + " match" * (chosen.kinds[p] != "look-alike") for p in first],
        "masks": masks,
    }


LEGEND = """\
energy, pointing, IoU: percent on the person, +- half the 95 % interval over pairs, (the same map moved at random).
cue: look-alikes, percent of pairs with more weight on the part in which the two differ than on the rest.
deletion, insertion: area under the curve of the probability p and of the average precision AP while the strongest pixels
  of one image go or come first, minus that of random masks of the same area and shape, in points: deletion is good
  below 0, insertion above 0; AP on right matches alone.
pair cls, untrained, partner: correlation of the map with that beside a random pair classifier, of an untrained network,
  beside another partner; * fails its limit. sane: all sanity checks passed."""
_PLACES = {"energy": "energy", "pointing": "pointing", "iou": "IoU", "cue": "cue"}
_CURVES = {f"{kind}_{axis}": f"{kind} {short}" for axis, short in (("probability", "p"), ("average_precision", "AP"))
           for kind in ("deletion", "insertion")}  # fmt: skip
_CHECKS = {"pair classifier": "pair cls", "everything": "untrained", "partner": "partner"}


def league_tables(league: League) -> dict[str, pd.DataFrame]:
    """The league as two tables of a page: ``maps`` (where they lie, what their pixels are worth) and ``sanity``."""
    rows, sane = league.rows(), league.sane()
    tables = {"maps": {}, "sanity": {}}
    for name in league.table.method.unique():
        own = rows.loc[name].xs("", level="than")
        places = {title: _place(own.loc[key]) for key, title in _PLACES.items() if key in own.index}
        curves = {title: _points(own.loc[key]) for key, title in _CURVES.items() if key in own.index}
        tables["maps"][name] = places | curves
        checks = {title: _two(own.value[key]) + "*" * (not own.passed[key]) for key, title in _CHECKS.items()}
        checks["sane"] = "yes" if name in sane else "no"
        tables["sanity"][name] = checks | {"ms/pair": f"{1000 * own.value['seconds_per_pair']:.1f}"}
    found = {key: pd.DataFrame.from_dict(table, orient="index").fillna("-") for key, table in tables.items()}
    return {key: table.loc[:, (table != "-").any()].rename_axis(columns="method") for key, table in found.items()}


def league_table(league: League) -> str:
    """The result of :func:`run_league` as text: a line per method, and what the columns mean."""
    notes = [f"note: {note}" for note in league.settings["notes"]]
    table = pd.concat(league_tables(league).values(), axis=1).rename_axis(columns="method")
    return "\n".join([league_head(league), table.to_string(), LEGEND, *notes])


def league_head(league: League) -> str:
    """Which network, which pairs, and where it was computed, in a line."""
    about = league.settings
    counts = ", ".join(f"{number} {kind}" for kind, number in about["pairs"].items())
    total, threads = sum(about["pairs"].values()), about["threads"]
    place = about["device"] if about["device"] != "cpu" else f"cpu ({threads} thread{'s' * (threads != 1)})"
    return f"{about['variant']} ({about['pooling']}) on {about['data']}: {total} test pairs ({counts}), {place}"


def findings(league: League) -> list[str]:
    """What the table says of equation 4's map, beside the plain mean, and which methods do better; from numbers alone."""
    rows, sane, names = league.rows(), league.sane(), list(league.table.method.unique())
    sentences = []
    if "siamese" in names:
        sentences.append(_about_equation_4(rows.loc["siamese"].xs("", level="than")))
        if ("siamese", "energy", "plain-mean") in rows.index:
            sentences.append(_beside(rows.loc["siamese", "energy", "plain-mean"]))
    sentences.append(
        f"All sanity checks are passed by {_listed(sane)} ({len(sane)} of {len(names)} methods)."
        if sane
        else f"None of {len(names)} methods passes all sanity checks."
    )
    if ("siamese", "energy", "") in rows.index:
        others = [name for name in sane if (name, "energy", "siamese") in rows.index]
        over = {name: rows.loc[name, "energy", "siamese"] for name in others}
        better = {name: 100 * row.value for name, row in over.items() if row.low > 0}
        if better and "siamese" not in sane:
            gain = _listed([f"{name} (+{points:.1f} points)" for name, points in better.items()])
            quick = [name for name in better if METHODS[name].cost == "forward"]
            cost = (
                f"of these {_listed(quick)} cost no more than equation 4"
                if quick
                else "all of them cost more to compute"
            )
            sentences.append(f"Better than equation 4 in both sanity and energy on the person: {gain}; {cost}.")
        else:
            sentences.append("No method is better than equation 4 in both sanity and energy on the person.")
    return sentences


def _about_equation_4(own: pd.DataFrame) -> str:
    pair, partner = own.loc["pair classifier"], own.loc["partner"]
    blind = "depends only in part on" if pair.value <= 0.8 else "hardly depends on"
    verdict = "depends on" if pair.passed else blind
    return (
        f"Equation 4's map {verdict} the pair classifier: with a random one it correlates "
        f"{_two(pair.value)}; beside another partner {_two(partner.value)}."
    )


def _beside(row: pd.Series) -> str:
    points, low, high = 100 * row.value, 100 * row.low, 100 * row.high
    if low > 0 or high < 0:
        verdict, interval = "more" if low > 0 else "less", f"[{low:+.1f}, {high:+.1f}]"
        return f"Equation 4's map has {verdict} of its energy on the person than the plain mean: {points:+.1f} points {interval}."
    return (
        "Equation 4's map lies on the person as much as the plain mean, as far as these pairs can tell "
        f"({points:+.1f} points)."
    )


def _place(row: pd.Series) -> str:
    if np.isnan(row.value):
        return "-"
    by_chance = "" if np.isnan(row.chance) else f" ({100 * row.chance:.0f})"
    return f"{100 * row.value:.0f} ±{50 * (row.high - row.low):.0f}{by_chance}"


def _points(row: pd.Series) -> str:
    return "-" if np.isnan(row.value) else f"{100 * row.value:+.1f} ±{50 * (row.high - row.low):.1f}"


def _two(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def add_parser(group: Any) -> None:
    """``casnkit league`` for the command line."""
    league = group.add_parser("league", help="compare all explanations: localisation, faithfulness, sanity, speed")
    league.add_argument("--run", type=Path, help="the run's folder; default: the newest below runs/")
    league.add_argument("--data", help="the data set; default: what the run was trained on")
    league.add_argument("--out", type=Path, help="folder for the results; default: RUN/league")
    league.add_argument("--pairs", type=int, default=200, help="test pairs; default: 200")
    league.add_argument("--methods", nargs="+", metavar="NAME", help="default: all")
    league.add_argument("--steps", type=int, default=6, help="of deletion and insertion; default: 6")
    league.add_argument("--seed", type=int, default=0)
    league.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    league.set_defaults(command=run_command)


def run_command(options: argparse.Namespace) -> None:
    """Measure, print the table and what it says."""
    model, info = load_model(options.run, pick_device(options.device))
    dataset = open_dataset(options.data or info.data["root"])
    out = options.out or Path(options.run) / "league"
    league = run_league(
        model, dataset, info.config, options.methods, options.pairs, options.seed, out=out, steps=options.steps
    )
    print(league_table(league), *findings(league), f"results: {out / 'league.csv'}", sep="\n")
