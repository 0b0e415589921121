"""Every method on the same test pairs, in one table: localisation, faithfulness, sanity, speed (``casnkit league``).

The published league lies in ``figures/results``. A row of the table is a ``measure`` of a ``method``: ``value`` with its
95 % interval ``low``, ``high`` over ``count`` pairs, and ``chance``, what the same map gets when it is moved at random
(faithfulness: the random masks' area). ``than``: empty, or the method from which the row gives this one's difference.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from casnkit.config import Config, check_choice
from casnkit.data.files import atomic_path, read_json, results_path, write_json
from casnkit.data.images import load_masks, load_parts
from casnkit.data.people import PARTS, lookalike_pairs
from casnkit.data.records import ReidDataset
from casnkit.evaluation import SIDES, Evaluation
from casnkit.explain.faithfulness import AXES, WAYS, faithfulness
from casnkit.explain.localisation import MEASURES, bootstrap, chance, right_cue
from casnkit.explain.methods import METHODS, explain
from casnkit.explain.sanity import CHECKS, passes, sanity_checks
from casnkit.models import CASN
from casnkit.runs import versions

KINDS = ("right", "wrong", "look-alike")
RIVALS = ("plain-mean", "siamese")  # each method's localisation is compared with theirs
OPTIONS: dict[str, dict[str, Any]] = {  # coarser than the methods' own defaults, so that 200 pairs take minutes
    "integrated-gradients": {"steps": 20},
    "smoothgrad": {"samples": 8},
    "occlusion": {"window": (16, 16), "stride": (16, 16)},
}
WORDS = read_json(Path(__file__).with_name("league.json"))  # headings of both tables, and what they mean
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

    def verdicts(self) -> dict[str, str]:
        """In words, whether each method passed the sanity checks, and its energy on the person."""
        sane, said = self.sane(), {}
        for method in self.methods():
            energy = self.row(method, "energy")
            said[method] = "passed all sanity checks" if method in sane else "failed a sanity check"
            said[method] += f", {energy.value:.0%} of its energy on the person" if energy else ""
        return said

    def row(self, method: str, measure: str, than: str = "") -> Any:
        """One row as a named tuple; None where this was not measured."""
        rows = self.table.query("method == @method and measure == @measure and than == @than")
        return next(rows.itertuples(), None)


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

    def localisation(self, maps: tuple[Tensor, Tensor], seed: int = 0) -> dict[str, pd.DataFrame]:
        """By measure, a row per pair (the mean of its two images; the cue: of the look-alikes): ``found`` and ``chance``."""
        cases = {}
        if self.masks is not None:
            cases = {name: (partial(_mean_of_sides, measure), maps, self.masks) for name, measure in MEASURES.items()}
        if self.parts is not None:
            alike = torch.from_numpy(self.kinds == "look-alike")
            cases["cue"] = right_cue, [m[alike] for m in maps], self.parts, self.differs_in
        found = {}
        for name, (measure, *given) in cases.items():
            moved = chance(measure, *given, generator=torch.Generator().manual_seed(seed))
            found[name] = pd.DataFrame({"found": measure(*given), "chance": moved})
        return found


def _mean_of_sides(measure: Callable[..., Tensor], *sides: Sequence[Tensor]) -> Tensor:
    return torch.stack([measure(*side) for side in zip(*sides, strict=True)]).nanmean(0)


def choose_pairs(retrieval: Evaluation, count: int = 200, seed: int = 0) -> LeaguePairs:
    """Pairs of three kinds in equal parts as far as there are so many, queries drawn by ``seed``, ranked by features.

    ``right``: a query and its nearest match. ``wrong``: a query and the first of its ranking, where that is another
    person. ``look-alike`` (drawn people only): a query and the nearest image of the person who differs in one part.
    """
    alike, gallery, found = lookalikes_of(retrieval.dataset), retrieval.dataset.gallery, []
    partners = {me: (other, PARTS.index(part)) for a, b, part in alike for me, other in ((a, b), (b, a))}
    for i in np.random.default_rng(seed).permutation(len(retrieval.query)).tolist():
        distances = retrieval.row(i)
        ranking = retrieval.rank(i, distances)
        if ranking.first_hit >= 0:
            found.append(("right", i, ranking.kept[ranking.first_hit], -1))
        if len(ranking.kept) and ranking.first_hit != 0:
            found.append(("wrong", i, ranking.kept[0], -1))
        other, part = partners.get(int(retrieval.dataset.query.pids[i]), (None, -1))
        images = np.flatnonzero(gallery.pids == other) if other is not None else ()
        if len(images):
            found.append(("look-alike", i, images[np.argmin(distances[images])], part))
    table = pd.DataFrame(found, columns=["kind", *SIDES, "part"]).astype({"kind": pd.CategoricalDtype(KINDS)})
    table = in_turns(table).head(count).sort_values(["kind", "turn"])
    pairs, kinds, size = np.array(table[list(SIDES)], np.int64), table.kind.to_numpy(str), retrieval.config.data
    if len(pairs) < 2:
        raise ValueError(f"expected at least two pairs to compare, found {len(pairs)}: are there queries with matches?")

    def truth(load: Callable[..., Tensor | None], rows: np.ndarray) -> tuple[Tensor, Tensor] | None:
        splits = [retrieval.split(side).subset(rows[:, k]) for k, side in enumerate(SIDES)]
        loaded = tuple(load(split, (size.height, size.width)) for split in splits)
        return None if any(one is None for one in loaded) else loaded

    alike = kinds == "look-alike"
    notes = () if len(pairs) == count else (f"{len(pairs)} pairs of {count}: the test set has no more of these kinds",)
    masks, parts = truth(load_masks, pairs), truth(load_parts, pairs[alike])
    return LeaguePairs(pairs, kinds, masks, parts, table.part.to_numpy(np.int64)[alike], notes)


def in_turns(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of each ``kind`` in turn, those of one kind in their order; where a kind has too few, the others fill up."""
    return table.assign(turn=table.groupby("kind", observed=False).cumcount()).sort_values(["turn", "kind"])


def lookalikes_of(dataset: ReidDataset) -> list[tuple[int, int, str]]:
    """Pairs of pids in the test that differ in one part, and that part; none but for drawn people."""
    if "attributes" not in dataset.tables:
        return []
    there = set(dataset.query.pids.tolist()) | set(dataset.gallery.pids.tolist())
    return [pair for pair in lookalike_pairs(dataset.tables["attributes"].parent) if {*pair[:2]} <= there]


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
        check_choice("methods", name, METHODS)
    if not config.loss.siamese_attention:
        raise ValueError(f"the pair classifier of {config.variant!r} was never trained: use variant ide+sa or casn")
    retrieval = Evaluation.of(model, dataset, config, keep_maps=False)
    chosen = choose_pairs(retrieval, pairs, seed)
    images = tuple(retrieval.images(side, chosen.pairs[:, k]) for k, side in enumerate(SIDES))
    settings = {"pairs": pairs, "seed": seed, "steps": steps}
    tensors = *model.state_dict().values(), *images
    key = joblib.hash([settings, chosen.pairs, *(t.cpu().contiguous().numpy() for t in tensors)])
    memory = joblib.Memory(Path(out) / "measured" if out else None, verbose=0)
    measure, found = memory.cache(_measure, ignore=["case"]), {}
    for name in tqdm(names, desc="methods", unit="method", leave=False):
        found[name] = measure(key, name, seed, steps, OPTIONS.get(name, {}), (retrieval, chosen, images))
    about = {"data": dataset.name, "variant": config.variant, "pooling": config.model.pooling, "settings": settings}
    about |= {"profile": config.profile, "options": {name: OPTIONS[name] for name in names if name in OPTIONS}}
    about |= {"pairs": chosen.counts(), "notes": list(chosen.notes), "device": images[0].device.type}
    league = League(_table(found, seed), about | {"threads": torch.get_num_threads(), "versions": versions()})
    if out:
        league.write(out)
    return league


def _measure(
    key: str, name: str, seed: int, steps: int, options: Mapping[str, Any], case: tuple[Any, ...]
) -> pd.DataFrame:
    """A row per pair and measure of one method. ``key`` is a digest of the ``case``, which the cache ignores."""
    retrieval, chosen, images = case
    model, count, ask = retrieval.model, len(chosen.pairs), partial(explain, method=name, **options)
    ask(model, *(x[:2] for x in images))  # warms up, so that it is not timed
    asked = [ask(model, *both).cpu() for both in zip(*(x.split(_BATCH) for x in images), strict=True)]
    maps = [torch.cat([getattr(a, side) for a in asked]).float() for side in SIDES]
    place = chosen.localisation(maps, seed).items()
    found = {("localisation", measure): (v.found, v.chance) for measure, v in place}
    curves = faithfulness(retrieval, chosen.pairs, *maps, where="alternate", steps=steps, seed=seed)
    for kind, axis in itertools.product(WAYS, AXES):
        found["faithfulness", f"{kind}_{axis}"] = curves.gain(kind, axis), curves.area(f"random_{kind}", axis)
    first = np.sort(np.unique(chosen.pairs[:, 0], return_index=True)[1])  # different query images
    some = first[np.linspace(0, len(first) - 1, min(len(first), _SANITY_PAIRS)).round().astype(int)]
    checks = sanity_checks(ask, model, *(x[some] for x in images), every_step=False, seed=seed).values
    found |= {("sanity", name): (values, np.nan) for name, values in checks.items()}
    found["speed", "seconds_per_pair"] = np.full(count, sum(a.seconds for a in asked) / count), np.nan
    tables = {key: pd.DataFrame({"value": value, "chance": by_chance}) for key, (value, by_chance) in found.items()}
    return pd.concat(tables, names=["test", "measure", "pair"]).reset_index()


def _table(found: Mapping[str, pd.DataFrame], seed: int) -> pd.DataFrame:
    """Means and intervals over pairs of what all methods got, and of their paired differences from the rivals."""
    values, rng, rows = pd.concat(found, names=["method"]).reset_index("method"), np.random.default_rng(seed), []
    parts, of_place = [values.assign(than="")], values[values.test == "localisation"]
    wide = of_place.pivot(index=["test", "measure", "pair"], columns="method", values="value")
    for rival in [name for name in RIVALS if name in wide]:
        ahead = wide.drop(columns=rival).sub(wide[rival], axis=0)
        parts.append(ahead.melt(ignore_index=False).reset_index().assign(than=rival))
    keys = ["method", "test", "measure", "than"]
    for names, group in pd.concat(parts).groupby(keys, sort=False):
        row = dict(zip(keys, names, strict=True)) | bootstrap(group.value, rng)._asdict()
        row |= {"chance": group.chance.mean(), "limit": np.nan, "passed": None}
        if row["test"] == "sanity":
            row |= {"limit": CHECKS[row["measure"]][0], "passed": passes(row["measure"], row["value"])}
        rows.append(row)
    table = pd.DataFrame(rows).astype({"limit": float, "passed": "boolean"})
    table.loc[table.test == "speed", ["low", "high"]] = np.nan  # timed together, not pair by pair
    return table


def league_tables(league: League) -> dict[str, pd.DataFrame]:
    """The league as two tables of a page: ``maps`` (where they lie, what their pixels are worth) and ``sanity``."""
    own = league.table[league.table.than == ""]
    cells = own.assign(cell=[_cell(row) for row in own.itertuples()])
    wide = cells.pivot(index="method", columns="measure", values="cell").reindex(league.methods()).fillna("-")
    wide["sane"] = ["yes" if name in league.sane() else "no" for name in wide.index]
    wide = wide.loc[:, (wide != "-").any()].rename_axis(index=None, columns="method")
    parts = WORDS["headings"].items()
    return {name: wide[[m for m in part if m in wide]].rename(columns=part) for name, part in parts}


def _cell(row: Any) -> str:
    value, width = 100 * row.value, 50 * (row.high - row.low)
    if row.test == "speed":
        return f"{10 * value:.1f}"
    if row.test == "sanity":
        return ("-" if np.isnan(value) else f"{row.value:.2f}") + "*" * bool(pd.notna(row.passed) and not row.passed)
    if np.isnan(value):
        return "-"
    if row.test == "faithfulness":
        return f"{value:+.1f} ±{width:.1f}"
    return f"{value:.0f} ±{width:.0f}" + ("" if np.isnan(row.chance) else f" ({100 * row.chance:.0f})")


def league_table(league: League) -> str:
    """The league as text: a line per method, and what the columns mean."""
    table = pd.concat(league_tables(league).values(), axis=1).rename_axis(columns="method").to_string()
    return "\n".join([league_head(league), table, *WORDS["legend"], *(f"note: {n}" for n in league.settings["notes"])])


def league_head(league: League) -> str:
    """Which network, which pairs, and where it was computed, in a line."""
    about = league.settings
    counts = ", ".join(f"{number} {kind}" for kind, number in about["pairs"].items())
    total, threads = sum(about["pairs"].values()), about["threads"]
    place = about["device"] if about["device"] != "cpu" else f"cpu ({threads} thread{'s' * (threads != 1)})"
    return f"{about['variant']} ({about['pooling']}) on {about['data']}: {total} test pairs ({counts}), {place}"


def findings(league: League) -> list[str]:
    """What the table says of equation 4's map, beside the plain mean, and which methods do better; from numbers alone."""
    sane, names, said = league.sane(), league.methods(), []
    pair, partner = (league.row("siamese", check) for check in ("pair classifier", "partner"))
    if pair is not None:
        how = "depends on" if pair.passed else "depends only in part on" if pair.value <= 0.8 else "hardly depends on"
        correlations = f"with a random one it correlates {pair.value:.2f}; beside another partner {partner.value:.2f}"
        said.append(f"Equation 4's map {how} the pair classifier: {correlations}.")
    over = league.row("siamese", "energy", "plain-mean")
    if over is not None:
        points, low, high = (f"{100 * number:+.1f}" for number in (over.value, over.low, over.high))
        what = f"lies on the person as much as the plain mean, as far as these pairs can tell ({points} points)"
        if over.low > 0 or over.high < 0:
            more = "more" if over.low > 0 else "less"
            what = f"has {more} of its energy on the person than the plain mean: {points} points [{low}, {high}]"
        said.append(f"Equation 4's map {what}.")
    passed = f"All sanity checks are passed by {_listed(sane)} ({len(sane)} of {len(names)} methods)."
    said.append(passed if sane else f"None of {len(names)} methods passes all sanity checks.")
    rows = [league.row(name, "energy", "siamese") for name in sane if "siamese" not in sane]
    better = [row for row in rows if row is not None and row.low > 0]
    if better:
        gains = _listed([f"{row.method} (+{100 * row.value:.1f} points)" for row in better])
        quick = [row.method for row in better if METHODS[row.method].cost == "forward"]
        cost = f"of these {_listed(quick)} cost no more than equation 4" if quick else "all of them cost more"
        said.append(f"Better than equation 4 in both sanity and energy on the person: {gains}; {cost}.")
    elif over is not None:
        said.append("No method is better than equation 4 in both sanity and energy on the person.")
    return said


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


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
