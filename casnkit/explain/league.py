"""Every method on the same test pairs, in one table: localisation, faithfulness, sanity, speed.

    casnkit league --run RUN --data people --out OUT

The published league lies in ``figures/results/league.csv`` and ``league.settings.json``. The table is tidy, with the columns

- ``method``, ``test`` (localisation, faithfulness, sanity, speed), ``measure``;
- ``than``: empty, or the method from which the row gives this one's difference, pair by pair;
- ``value`` with its 95 % interval ``low``, ``high`` over ``count`` pairs; for faithfulness the area under the curve less
  that of random masks;
- ``chance``: what the same map gets when it is moved at random; for faithfulness the random masks' area;
- ``limit`` and ``passed``, for sanity.
"""

from __future__ import annotations

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
from casnkit.data.files import atomic_path, read_json, results_path, write_json
from casnkit.data.images import load_masks, load_parts
from casnkit.data.people import PARTS, TABLE, lookalike_pairs
from casnkit.data.records import ReidDataset
from casnkit.evaluation import SIDES, Evaluation
from casnkit.explain.faithfulness import faithfulness
from casnkit.explain.localisation import MEASURES, bootstrap, chance, right_cue_pairs
from casnkit.explain.methods import METHODS, explain
from casnkit.explain.pair import check_choice
from casnkit.explain.sanity import sanity_checks
from casnkit.models import CASN
from casnkit.ranking import fingerprint
from casnkit.runs import versions

KINDS = ("right", "wrong", "look-alike")
RIVALS = ("plain-mean", "siamese")  # each method's localisation is compared with theirs
OPTIONS: dict[str, dict[str, Any]] = {  # coarser than the methods' own defaults, so that 200 pairs take minutes
    "integrated-gradients": {"steps": 20},
    "smoothgrad": {"samples": 8},
    "occlusion": {"window": (16, 16), "stride": (16, 16)},
}
HEADINGS = {  # of the measures that a page shows; those of sanity and speed stand in a table of their own
    "energy": "energy",
    "pointing": "pointing",
    "iou": "IoU",
    "cue": "cue",
    "deletion_probability": "deletion p",
    "insertion_probability": "insertion p",
    "deletion_average_precision": "deletion AP",
    "insertion_average_precision": "insertion AP",
    "pair classifier": "pair cls",
    "everything": "untrained",
    "partner": "partner",
    "sane": "sane",
    "seconds_per_pair": "ms/pair",
}
LEGEND = """\
energy, pointing, IoU: percent on the person, +- half the 95 % interval over pairs, (the same map moved at random).
cue: look-alikes, percent of pairs with more weight on the part in which the two differ than on the rest.
deletion, insertion: area under the curve of the probability p and of the average precision AP while the strongest pixels
  of one image go or come first, minus that of random masks of the same area and shape, in points: deletion is good
  below 0, insertion above 0; AP on right matches alone.
pair cls, untrained, partner: correlation of the map with that beside a random pair classifier, of an untrained network,
  beside another partner; * fails its limit. sane: all sanity checks passed."""
SHOWN = ("siamese", "siamese-gradcam", "plain-mean", "evidence", "integrated-gradients", "occlusion")
_BATCH, _SANITY_PAIRS = 32, 20  # pairs at a time, and at most so many pairs for the sanity checks


class League(NamedTuple):
    """The result of a comparison."""

    table: pd.DataFrame  # see the module's own text
    settings: dict[str, Any]  # the network, the data, counts of pairs, notes, the machine, versions

    def write(self, folder: str | Path) -> None:
        """Write ``league.csv`` and ``league.settings.json`` into a folder."""
        with atomic_path(Path(folder) / "league.csv") as path:
            self.table.to_csv(path, index=False, lineterminator="\n")
        write_json(Path(folder) / "league.settings.json", self.settings)

    def methods(self) -> list[str]:
        """The measured methods, in order."""
        return self.table.method.unique().tolist()

    def sane(self) -> list[str]:
        """The methods that passed all sanity checks."""
        failed = set(self.table.method[self.table.passed.eq(False).fillna(False)])
        return [name for name in self.methods() if name not in failed]

    def row(self, method: str, measure: str, than: str = "") -> Any:
        """One row as a named tuple; None where this was not measured."""
        wanted = (self.table.method == method) & (self.table.measure == measure) & (self.table.than == than)
        return next(self.table[wanted].itertuples(), None)


def read_league(folder: str | Path | None = None) -> League:
    """A league that was written; default: the published one. Raises OSError where there is none."""
    find = results_path if folder is None else Path(folder).joinpath
    table = pd.read_csv(find("league.csv"), dtype={"passed": "boolean"})
    return League(table.fillna({"than": ""}), read_json(find("league.settings.json")))


@dataclass(frozen=True, eq=False)
class LeaguePairs:
    """P pairs and the truth about their images."""

    pairs: np.ndarray  # (P, 2) query index and gallery index
    kinds: np.ndarray  # (P,) out of KINDS
    masks: tuple[Tensor, Tensor] | None  # two (P, H, W) bool, the persons; None where the set has no masks
    parts: tuple[Tensor, Tensor] | None  # two (P, H, W) part maps of the look-alikes alone; None where there are none
    differs_in: np.ndarray  # (number of look-alikes,) the part in which each pair of them differs
    notes: tuple[str, ...]  # what a reader must know

    def counts(self) -> dict[str, int]:
        """How many pairs of each kind."""
        return {kind: int((self.kinds == kind).sum()) for kind in KINDS}

    def localisation(self, maps: tuple[Tensor, Tensor], seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
        """Per pair (the mean of its two images; the right cue: of the look-alikes): ``found`` and ``chance``.

        Chance is the same map moved by a random step: as large and as smooth, in a place that means nothing. The right
        cue's is a share of hits too.
        """
        result, found = {}, {}
        for name, measure in MEASURES.items() if self.masks is not None else ():
            sides = list(zip(maps, self.masks, strict=True))
            moved = [chance(measure, m, t, generator=torch.Generator().manual_seed(seed)) for m, t in sides]
            found[name] = [measure(m, t) for m, t in sides], moved
        if self.parts is not None:
            sides, truth = (
                [m[torch.from_numpy(self.kinds == "look-alike")] for m in maps],
                (self.differs_in, len(PARTS)),
            )

            def hits(m: Tensor, p: Tensor) -> Tensor:
                return right_cue_pairs((m,), (p,), *truth).hit

            generator = torch.Generator().manual_seed(seed)
            moved = [chance(hits, m, p, generator=generator) for m, p in zip(sides, self.parts, strict=True)]
            found["cue"] = [right_cue_pairs(tuple(sides), self.parts, *truth).hit], moved
        for name, both in found.items():
            values = [torch.stack(sides).nanmean(0).numpy() for sides in both]
            result[name] = dict(zip(("found", "chance"), values, strict=True))
        return result


def choose_pairs(retrieval: Evaluation, count: int = 200, seed: int = 0) -> LeaguePairs:
    """Pairs of three kinds in equal parts as far as there are so many, queries drawn by ``seed``, ranked by features.

    ``right``: a query and its nearest match. ``wrong``: a query and the first of its ranking, where that is another
    person. ``look-alike`` (drawn people only): a query and the nearest image of the person who differs in one part.
    """
    partners, gallery, found = _partners(retrieval), retrieval.dataset.gallery, []
    for i in np.random.default_rng(seed).permutation(len(retrieval.query)).tolist():
        distances = retrieval.row(i)
        ranking = retrieval.rank(i, distances)
        if ranking.first_hit >= 0:
            found.append(("right", i, int(ranking.kept[ranking.first_hit])))
        if len(ranking.kept) and ranking.first_hit != 0:
            found.append(("wrong", i, int(ranking.kept[0])))
        other, _ = partners.get(int(retrieval.dataset.query.pids[i]), (None, None))
        images = np.flatnonzero(gallery.pids == other) if other is not None else ()
        if len(images):
            found.append(("look-alike", i, int(images[np.argmin(distances[images])])))
    table = pd.DataFrame(found, columns=["kind", *SIDES]).astype({"kind": pd.CategoricalDtype(KINDS)})
    table["turn"] = table.groupby(
        "kind", observed=False
    ).cumcount()  # the kinds take turns; what one lacks others fill up
    table = table.sort_values(["turn", "kind"]).head(count).sort_values(["kind", "turn"])
    pairs, kinds = table[list(SIDES)].to_numpy(np.int64), table.kind.to_numpy(str)
    if len(pairs) < 2:
        raise ValueError(f"expected at least two pairs to compare, found {len(pairs)}: are there queries with matches?")
    notes = [] if len(pairs) == count else [f"{len(pairs)} pairs of {count}: the test set has no more of these kinds"]
    masks, alike = _truth(retrieval, pairs, load_masks, notes), pairs[kinds == "look-alike"]
    parts = _truth(retrieval, alike, load_parts, notes) if len(alike) else None
    differs_in = np.array([partners[int(pid)][1] for pid in retrieval.dataset.query.pids[alike[:, 0]]], dtype=np.int64)
    return LeaguePairs(pairs, kinds, masks, parts, differs_in, tuple(notes))


def _partners(retrieval: Evaluation) -> dict[int, tuple[int, int]]:
    """Who looks like whom, and in which part they differ, by pid; empty for other sets than drawn people."""
    root = retrieval.dataset.root
    if "attributes" not in retrieval.dataset.tables or not (root / TABLE).is_file():
        return {}
    alike = [(a, b, PARTS.index(part)) for a, b, part in lookalike_pairs(root) if part in PARTS]
    return {a: (b, part) for a, b, part in alike} | {b: (a, part) for a, b, part in alike}


def _truth(
    retrieval: Evaluation, pairs: np.ndarray, load: Callable[..., Tensor | None], notes: list[str]
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
    *,
    out: str | Path | None = None,
    steps: int = 6,
) -> League:
    """Measure methods on one trained network, whose pair classifier must have been trained (``ide+sa`` or ``casn``).

    Args:
        methods: names of :data:`casnkit.explain.METHODS`; default: all. ``plain-mean`` is always among them.
        pairs: right matches, wrong first matches and look-alikes in equal parts.
        out: folder for the result and for what was measured so far: rerun to resume a run that was stopped.
        steps: of deletion and insertion, in the query of every other pair and in the gallery image of the rest.
    """
    names = list(METHODS) if methods is None else list(dict.fromkeys(["plain-mean", *methods]))
    for name in names:
        check_choice("methods", name, list(METHODS))
    if not config.loss.siamese_attention:
        raise ValueError(f"the pair classifier of {config.variant!r} was never trained: use variant ide+sa or casn")
    retrieval = Evaluation.of(model, dataset, config, keep_maps=False)
    chosen = choose_pairs(retrieval, pairs, seed)
    images = tuple(retrieval.images(side, chosen.pairs[:, k]) for k, side in enumerate(SIDES))
    settings = {"pairs": pairs, "seed": seed, "steps": steps}
    key = fingerprint(settings, *model.state_dict().values(), *images, torch.from_numpy(chosen.pairs))
    memory = joblib.Memory(Path(out) / "measured" if out else None, verbose=0)
    measure, found = memory.cache(_measure, ignore=["retrieval", "chosen", "images"]), {}
    for name in tqdm(names, desc="methods", unit="method", leave=False):
        found[name] = measure(key, name, settings, OPTIONS.get(name, {}), retrieval, chosen, images)
    about = {"data": dataset.name, "profile": config.profile, "variant": config.variant}
    about |= {"pooling": config.model.pooling, "settings": settings}
    about |= {"options": {name: OPTIONS[name] for name in names if name in OPTIONS}}
    about |= {"pairs": chosen.counts(), "notes": list(chosen.notes), "device": images[0].device.type}
    league = League(_table(found, seed), about | {"threads": torch.get_num_threads(), "versions": versions()})
    if out:
        league.write(out)
    return league


def _measure(
    key: str,
    name: str,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    retrieval: Evaluation,
    chosen: LeaguePairs,
    images: tuple[Tensor, Tensor],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """One method's rows, and its localisation pair by pair. ``key`` is a digest of what the cache ignores."""

    def ask(model: CASN, query: Tensor, gallery: Tensor) -> Any:
        return explain(model, query, gallery, name, **options)

    model, seed = retrieval.model, settings["seed"]
    ask(model, *(x[:2] for x in images))  # warms up, so that it is not timed
    found = [ask(model, *both).cpu() for both in zip(*(x.split(_BATCH) for x in images), strict=True)]
    maps = tuple(torch.cat([getattr(f, side) for f in found]).float() for side in SIDES)
    rng, rows, places = np.random.default_rng(seed), [], chosen.localisation(maps, seed)
    for measure, values in places.items():
        interval, by_chance = (bootstrap(values[kind], rng) for kind in ("found", "chance"))
        rows.append(_row("localisation", measure, interval, chance=by_chance.mean))
    curves = faithfulness(retrieval, chosen.pairs, *maps, where="alternate", steps=settings["steps"], seed=seed)
    for row in curves.table(rng).itertuples(index=False):
        rows.append(_row("faithfulness", f"{row.curve}_{row.axis}", row[2:6], chance=row.chance))
    _, first = np.unique(chosen.pairs[:, 0], return_index=True)  # different query images
    count = min(len(first), _SANITY_PAIRS)
    some = torch.from_numpy(np.sort(first)[np.linspace(0, len(first) - 1, count).round().astype(int)])
    for line in sanity_checks(ask, model, *(x[some] for x in images), every_step=False, seed=seed).lines:
        rows.append(_row("sanity", line.name, (*line[1:4], count), limit=line.limit, passed=line.passed))
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
        for rival in [rival for rival in RIVALS if rival in found and rival != name]:
            for measure, mine in values.items():
                difference = bootstrap(mine - found[rival][1][measure], rng)
                rows.append({"method": name, **_row("localisation", measure, difference, rival)})
    return pd.DataFrame(rows).astype({"count": int, "limit": float, "passed": "boolean"})


def league_tables(league: League) -> dict[str, pd.DataFrame]:
    """The league as two tables of a page: ``maps`` (where they lie, what their pixels are worth) and ``sanity``."""
    own = league.table[league.table.than == ""]
    cells = own.assign(cell=[_cell(row) for row in own.itertuples()])
    wide = cells.pivot(index="method", columns="measure", values="cell").reindex(league.methods()).fillna("-")
    wide["sane"] = ["yes" if name in league.sane() else "no" for name in wide.index]
    shown = wide[[measure for measure in HEADINGS if measure in wide and (wide[measure] != "-").any()]]
    shown = shown.rename(columns=HEADINGS).rename_axis(index=None, columns="method")
    split = shown.columns.get_loc(HEADINGS["pair classifier"])
    return {"maps": shown.iloc[:, :split], "sanity": shown.iloc[:, split:]}


def _cell(row: Any) -> str:
    value, width = 100 * row.value, 50 * (row.high - row.low)
    if row.test == "speed":
        return f"{10 * value:.1f}"
    if np.isnan(value):
        return "-"
    if row.test == "sanity":
        return f"{row.value:.2f}" + "*" * (not pd.isna(row.passed) and not row.passed)
    if row.test == "faithfulness":
        return f"{value:+.1f} ±{width:.1f}"
    return f"{value:.0f} ±{width:.0f}" + ("" if np.isnan(row.chance) else f" ({100 * row.chance:.0f})")


def league_table(league: League) -> str:
    """The league as text: a line per method, and what the columns mean."""
    table = pd.concat(league_tables(league).values(), axis=1).rename_axis(columns="method").to_string()
    return "\n".join([league_head(league), table, LEGEND, *(f"note: {n}" for n in league.settings["notes"])])


def league_head(league: League) -> str:
    """Which network, which pairs, and where it was computed, in a line."""
    about = league.settings
    counts = ", ".join(f"{number} {kind}" for kind, number in about["pairs"].items())
    total, threads = sum(about["pairs"].values()), about["threads"]
    place = about["device"] if about["device"] != "cpu" else f"cpu ({threads} thread{'s' * (threads != 1)})"
    return f"{about['variant']} ({about['pooling']}) on {about['data']}: {total} test pairs ({counts}), {place}"


def findings(league: League) -> list[str]:
    """What the table says of equation 4's map, beside the plain mean, and which methods do better; from numbers alone."""
    sane, names, sentences = league.sane(), league.methods(), []
    pair, partner = (league.row("siamese", check) for check in ("pair classifier", "partner"))
    if pair is not None:
        how = "depends on" if pair.passed else "depends only in part on" if pair.value <= 0.8 else "hardly depends on"
        sentences.append(
            f"Equation 4's map {how} the pair classifier: with a random one it correlates {pair.value:.2f}; beside another "
            f"partner {partner.value:.2f}."
        )
    over = league.row("siamese", "energy", "plain-mean")
    if over is not None:
        points, low, high = (100 * number for number in (over.value, over.low, over.high))
        more = f"has {'more' if low > 0 else 'less'} of its energy on the person than the plain mean"
        sentences.append(
            f"Equation 4's map {more}: {points:+.1f} points [{low:+.1f}, {high:+.1f}]."
            if low > 0 or high < 0
            else "Equation 4's map lies on the person as much as the plain mean, as far as these pairs can tell "
            f"({points:+.1f} points)."
        )
    passed = f"All sanity checks are passed by {_listed(sane)} ({len(sane)} of {len(names)} methods)."
    sentences.append(passed if sane else f"None of {len(names)} methods passes all sanity checks.")
    rows = [league.row(name, "energy", "siamese") for name in sane if "siamese" not in sane]
    better = [row for row in rows if row is not None and row.low > 0]
    quick = [row.method for row in better if METHODS[row.method].cost == "forward"]
    cost = f"of these {_listed(quick)} cost no more than equation 4" if quick else "all of them cost more"
    gains = _listed([f"{row.method} (+{100 * row.value:.1f} points)" for row in better])
    if better:
        sentences.append(f"Better than equation 4 in both sanity and energy on the person: {gains}; {cost}.")
    elif over is not None:
        sentences.append("No method is better than equation 4 in both sanity and energy on the person.")
    return sentences


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def league_examples(retrieval: Evaluation, league: League, shown: Sequence[str] = SHOWN) -> dict[str, Any]:
    """The first pair of each kind, chosen as in the league, with the maps of some of its methods.

    Returns the arguments of :func:`casnkit.figures.show_gallery_of_methods`: pairs, maps_by_method, labels, masks.
    """
    names = [name for name in shown if name in league.methods()] or league.methods()[: len(shown)]
    chosen = choose_pairs(retrieval, league.settings["settings"]["pairs"], league.settings["settings"]["seed"])
    first = [int(np.flatnonzero(chosen.kinds == kind)[0]) for kind in dict.fromkeys(chosen.kinds.tolist())]
    images = [retrieval.images(side, chosen.pairs[first, k]) for k, side in enumerate(SIDES)]
    found = {name: explain(retrieval.model, *images, name).cpu() for name in names}
    splits = [retrieval.split(side).subset(chosen.pairs[first, k]) for k, side in enumerate(SIDES)]
    return {
        "pairs": [tuple(split.image(p) for split in splits) for p in range(len(first))],
        "maps_by_method": {name: list(zip(m.query, m.gallery, strict=True)) for name, m in found.items()},
        "labels": [str(kind) + " match" * (kind != "look-alike") for kind in chosen.kinds[first]],
        "masks": [tuple(split.mask(p) for split in splits) for p in range(len(first))],
    }


def add_parser(group: Any) -> None:
    """The options of ``casnkit league``; the command line says what it does."""
    league = group.add_parser("league", help="compare all explanations: localisation, faithfulness, sanity, speed")
    league.add_argument("--run", type=Path, help="the run's folder; default: the newest below runs/")
    league.add_argument("--data", help="the data set; default: what the run was trained on")
    league.add_argument("--out", type=Path, help="folder for the results; default: RUN/league")
    league.add_argument("--pairs", type=int, default=200, help="test pairs; default: 200")
    league.add_argument("--methods", nargs="+", metavar="NAME", help="default: all")
    league.add_argument("--steps", type=int, default=6, help="of deletion and insertion; default: 6")
    league.add_argument("--seed", type=int, default=0)
    league.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
