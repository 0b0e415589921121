"""What lies on the table: a state, the networks, and everything that follows from the two, remembered for a while."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from casnkit.config import check_choice
from casnkit.data.records import ReidDataset
from casnkit.evaluation import RANKED_BY
from casnkit.explain import METHODS
from casnkit.inspector import filters, pairs, payload
from casnkit.inspector.networks import NO_TRUTH, Library, Network, Source, Steps
from casnkit.inspector.rankings import TILES, QueryRanking
from casnkit.inspector.state import State
from casnkit.inspector.tables import Table, table_steps
from casnkit.inspector.whatif import HIDES, Outcome, try_hiding

LARGE_GALLERY = 4000  # images above which attention is not computed for a whole row unless it is asked for
TARGETS = {name: method.targets for name, method in METHODS.items()}
FRESH = {"gallery": None, "pinned": None, "page": 0, "rectangle": None}  # what another query begins with


class Pending(Exception):  # noqa: N818 - nothing went wrong: it is only not there yet
    """Something was asked for that takes long, where nobody should be kept waiting."""

    def __init__(self, what: str, steps: Steps, keep: Callable[[Any], object]) -> None:
        super().__init__(what)
        self.what, self.steps, self.keep = what, steps, keep  # the same words mean the same work


class Side(NamedTuple):
    """A network and by what it ranks."""

    network: Network
    ranked_by: str

    @property
    def label(self) -> str:
        """As one reads it."""
        return f"{self.network.name} by {self.ranked_by}"


class Desk:
    """State and networks without a screen. For arguments and errors see :class:`casnkit.inspector.Inspector`."""

    def __init__(self, sources: Mapping[str, Source] | Sequence[Any] | str | Path, dataset: ReidDataset,
                 device: str | torch.device | None = None,
                 progress: Callable[[str, int, int], object] = lambda what, done, total: None) -> None:  # fmt: skip
        for split in (dataset.query, dataset.gallery):
            if not len(split):
                raise ValueError(f"{dataset.name}: expected at least one image in {split.name!r}, found none")
        self.dataset, self.library, self.progress = dataset, Library(sources, dataset, device), progress
        self.patient = True  # whether one waits for long work; a screen does not, and does it in slices
        self.current, self._tables = State(), {}
        self._ranking, self._pair = lru_cache(64)(self._rank), lru_cache(64)(self._tell)
        self._maps, self._outcome = lru_cache(128)(self._map), lru_cache(16)(self._try)
        self.thumbnail = lru_cache(512)(self._thumbnail)  # (side, i) -> the picture as a tile draws it
        self.hints: list[str] = []  # what must be said of networks and pictures
        for name in self.library.sources:
            try:
                trained = self.network(name).pair_trained
                break
            except ValueError as error:
                self.hints.append(str(error))
        else:
            raise ValueError("none of the networks could be opened:\n" + "\n".join(self.hints))
        self.hints += self.library.unreadable()
        by = "sum" if trained and len(dataset.gallery) <= LARGE_GALLERY else "features"
        self.current = State(network=name, ranked_by=by)

    def network(self, name: str = "") -> Network:
        """The network of that name, or the chosen one; opened when it is first asked for."""
        name = name or self.current.network
        if not self.library.is_ready(name):
            self.work(f"{name}: looking at all pictures", self.library.open_steps(name), lambda _: None)
        return self.library.get(name)

    def set(self, **changes: Any) -> State:
        """Change fields of the state, checked against data and networks; another query starts a new look.

        Raises ValueError for what does not fit; nothing is changed then.
        """
        turn, targets = "gallery" in changes and "page" not in changes, TARGETS.get(str(changes.get("method")), ())
        if changes.get("query", self.current.query) != self.current.query:
            changes = FRESH | changes
        if targets and "target" not in changes and self.current.target not in targets:  # what it explains first
            changes = changes | {"target": targets[0]}
        record = filters.FILTERS.get(str(changes.get("filter")))
        if record is not None and record.value is not None:
            changes = {"filter_value": record.value} | changes
        self.load(self.current.changed(changes))
        if turn and self.current.gallery is not None:  # to the page on which it stands
            (place,) = np.nonzero(self.ranking().order(self.current.show_ignored) == self.gallery)
            self.current = self.current.changed({"page": int(place[0]) // TILES} if len(place) else {})
        return self.current

    def load(self, state: State) -> None:
        """Take over a whole state. Raises ValueError where it does not fit; nothing is changed then."""
        queries, images = len(self.dataset.query), len(self.dataset.gallery)
        for name, count in (("query", queries), ("gallery", images), ("pinned", images)):
            if (value := getattr(state, name)) is not None and value >= count:
                raise ValueError(f"{name}: expected an index in 0 .. {count - 1}, got {value}")
        state = state if state.network else state.changed({"network": self.current.network})
        for name in filter(None, (state.network, state.other)):
            check_choice("network", name, self.library.sources)
            self.network(name)
        filters.needs(state.filter, state.order, state.ranges)
        check_choice("hide", state.hide, HIDES)
        check_choice("method", state.method, TARGETS)
        check_choice(f"target of {state.method}", state.target, TARGETS[state.method])
        self.current = state

    def ways(self, network: str = "") -> tuple[str, ...]:
        """By what a network can rank: by features alone where its pair classifier was never trained."""
        return RANKED_BY if self.network(network).pair_trained else RANKED_BY[:1]

    def ranked_by(self, network: str = "") -> str:
        """By what a network ranks in this state."""
        return self.current.ranked_by if self.current.ranked_by in self.ways(network) else "features"

    def ranking(self, query: int | None = None, network: str = "", by: str = "") -> QueryRanking:
        """A query's ranking; default: the one that the state shows."""
        name = self.network(network).name
        return self._ranking(self.current.query if query is None else query, name, by or self.ranked_by(network))

    def _rank(self, i: int, name: str, by: str) -> QueryRanking:
        return self.ranked(i, self.network(name).row(i, by), self.network(name))

    def ranked(self, i: int, distances: np.ndarray, network: Network) -> QueryRanking:
        """A query's gallery in the order of any distances."""
        pid, truth = int(network.dataset.query.pids[i]), self.dataset.name != NO_TRUTH
        return QueryRanking(i, pid, distances, network.rank(i, distances), network.unreadable, truth)

    @property
    def gallery(self) -> int:
        """The gallery image that is looked at."""
        return self.ranking().first() if self.current.gallery is None else self.current.gallery

    def maps(
        self, i: int, j: int, network: str = "", method: str = "", target: str = "", random: bool = False
    ) -> pairs.Maps:
        """The two maps of a pair, not normalised, by a method (default: the state's)."""
        method, target = (method, target) if method else (self.current.method, self.current.target)
        return self._maps(i, j, self.network(network).name, method, target, random)

    def _map(self, i: int, j: int, name: str, *how: Any) -> pairs.Maps:
        return pairs.maps_of(self.network(name), i, j, *how)

    def pair(self, j: int | None = None, network: str = "") -> pairs.Pair:
        """The query and a gallery image (default: the chosen one) under a network: every number that is said of them."""
        whole = len(self.dataset.gallery) <= LARGE_GALLERY or self.ranked_by(network) != "features"
        j, name = self.gallery if j is None else j, self.network(network).name
        return self._pair(self.current.query, j, name, self.ranked_by(network), whole)

    def _tell(self, i: int, j: int, name: str, by: str, whole: bool) -> pairs.Pair:
        return pairs.pair_of(self.network(name), self.ranking(i, name, by), j, whole)

    def sides(self) -> tuple[Side, Side]:
        """What is compared: from the other network to the chosen one; without another, from features to the sum."""
        state, by = self.current, self.ranked_by()
        if state.other and state.other != state.network:
            return Side(self.network(state.other), self.ranked_by(state.other)), Side(self.network(), by)
        if len(self.ways()) == 1:
            raise ValueError("choose a network to compare with: this one ranks by features alone")
        return Side(self.network(), "features"), Side(self.network(), by if by != "features" else "sum")

    def sided(self) -> tuple[QueryRanking, QueryRanking]:
        """The query's ranking under both sides."""
        return tuple(self.ranking(network=side.network.name, by=side.ranked_by) for side in self.sides())

    def outcome(self) -> Outcome:
        """What hiding does to the pair. Raises ValueError where nothing is hidden."""
        names = ("query", "method", "target", "hide", "hide_in", "rectangle", "share", "fill")
        asked = json.dumps([getattr(self.current, name) for name in names])
        return self._outcome(asked, self.gallery, self.network().name, self.ranked_by())

    def _try(self, asked: str, j: int, name: str, by: str) -> Outcome:
        return try_hiding(self.network(name), self.current, j, self.maps(self.current.query, j), by)

    def table(self, network: str = "") -> Table:
        """One line per query for a network, by what it ranks; made when it is first asked for."""
        key = self.network(network).name, self.ranked_by(network)
        if key not in self._tables:
            steps = table_steps(self.network(network), key[1])
            self.work(f"{key[0]}: all queries by {key[1]}", steps, lambda table: self._tables.update({key: table}))
        return self._tables[key]

    def work(self, what: str, steps: Steps, keep: Callable[[Any], object]) -> None:
        """Do long work, of which ``keep`` takes the result. Raises Pending where nobody waits for it."""
        if not self.patient:
            raise Pending(what, steps, keep)
        while True:
            try:
                self.progress(what, *next(steps))
            except StopIteration as end:
                return keep(end.value)

    def candidates(self) -> list[int]:
        """The queries that filter and brushed histograms leave, in the state's order."""
        state = self.current
        if not filters.needs(state.filter, state.order, state.ranges)[0]:
            return list(range(len(self.dataset.query)))
        second = self.table(state.other) if state.other else None
        return filters.choose(self.table(), second, state.filter, state.filter_value, state.order, state.ranges)

    def words(self) -> str:
        """The filter, the brushed ranges and the order, in words."""
        state = self.current
        brushed = [f"{name} from {low:g} to {high:g}" for name, (low, high) in state.ranges.items()]
        words = filters.FILTERS[state.filter].text(state.filter_value), *brushed, filters.ORDERS[state.order][0]
        return " \u00b7 ".join(words)

    def place(self) -> str:
        """``3 of 57``, with the filter and the order in words."""
        found, query = self.candidates(), self.current.query
        at = f"{found.index(query) + 1} of {len(found)}" if query in found else f"outside these {len(found)} queries"
        return f"{at} \u00b7 {self.words()}"

    def _thumbnail(self, side: str, i: int) -> dict[str, Any]:
        return payload.tile(getattr(self.library, side).shown(i), "junk")

    def forget(self) -> None:
        """Let all go that was computed; asked again, it is computed again."""
        for kept in (self._ranking, self._pair, self._maps, self._outcome, self.thumbnail):
            kept.cache_clear()
        self._tables.clear()
        self.library.forget()
