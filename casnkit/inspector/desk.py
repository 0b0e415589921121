"""What lies on the table: a state, the networks, and everything that follows from the two, remembered for a while."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from casnkit.config import check_choice
from casnkit.data.records import ReidDataset
from casnkit.evaluation import RANKED_BY
from casnkit.inspector import filters, pairs
from casnkit.inspector.networks import NO_TRUTH, Library, Network, Recent, Source, Steps
from casnkit.inspector.rankings import QueryRanking
from casnkit.inspector.state import State
from casnkit.inspector.tables import Table, table_steps
from casnkit.inspector.whatif import HIDES, Outcome, try_hiding

LARGE_GALLERY = 4000  # images above which attention is not computed for a whole row unless it is asked for


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
    """State and networks without a screen. For the arguments see :class:`casnkit.inspector.Inspector`.

    Raises ValueError where there is no query, no gallery image, or no network that can be opened.
    """

    def __init__(self, sources: Mapping[str, Source] | Sequence[Any] | str | Path, dataset: ReidDataset,
                 device: str | torch.device | None = None,
                 progress: Callable[[str, int, int], object] = lambda what, done, total: None) -> None:  # fmt: skip
        for split in (dataset.query, dataset.gallery):
            if not len(split):
                raise ValueError(f"{dataset.name}: expected at least one image in {split.name!r}, found none")
        self.dataset, self.library, self.progress = dataset, Library(sources, dataset, device), progress
        self._rankings, self._pairs, self._tables = Recent(64), Recent(256), Recent(12)
        self.thumbnails = Recent(512)  # of the screen
        self.patient = True  # whether one waits for long work; a screen does not, and does it in slices
        self.hints: list[str] = []  # what must be said of networks and pictures
        name = self._first_working()
        self.hints += self.library.unreadable()
        by = "sum" if self.network(name).pair_trained and not self.is_large else "features"
        self.current = State(network=name, ranked_by=by)

    def _first_working(self) -> str:
        for name in self.library.sources:
            try:
                return self.network(name).name
            except ValueError as error:
                self.hints.append(str(error))
        raise ValueError("none of the networks could be opened:\n" + "\n".join(self.hints))

    @property
    def is_large(self) -> bool:
        """Whether the gallery is too large to rank everything by attention unasked."""
        return len(self.dataset.gallery) > LARGE_GALLERY

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
        fresh = {"gallery": None, "pinned": None, "page": 0, "rectangle": None}
        if changes.get("query", self.current.query) != self.current.query:
            changes = fresh | changes
        self.current = self._checked(self.current.changed(changes))
        if "gallery" in changes and "page" not in changes:  # turn to the page on which it stands
            page = self.ranking().page_of(self.gallery, self.current.show_ignored)
            self.current = self.current.changed({"page": self.current.page if page is None else page})
        return self.current

    def load(self, state: State) -> None:
        """Take over a whole state. Raises ValueError where it does not fit; nothing is changed then."""
        self.current = self._checked(state if state.network else state.changed({"network": self.current.network}))

    def ways(self, network: str = "") -> tuple[str, ...]:
        """By what a network can rank: by features alone where its pair classifier was never trained."""
        return RANKED_BY if self.network(network).pair_trained else RANKED_BY[:1]

    def ranked_by(self, network: str = "") -> str:
        """By what a network ranks in this state."""
        return self.current.ranked_by if self.current.ranked_by in self.ways(network) else "features"

    def ranking(self, query: int | None = None, network: str = "", by: str = "") -> QueryRanking:
        """A query's ranking; default: the one that the state shows."""
        i = self.current.query if query is None else query
        found = self.network(network)
        by = by or self.ranked_by(network)
        return self._rankings.get((i, found.name, by), lambda: self.ranked(i, found.row(i, by), found))

    def ranked(self, i: int, distances: np.ndarray, network: Network) -> QueryRanking:
        """A query's gallery in the order of any distances."""
        q, g, truth = network.dataset.query, network.dataset.gallery, self.dataset.name != NO_TRUTH
        about = int(q.pids[i]), int(q.camids[i]), distances, network.rank(i, distances), g, network.unreadable, truth
        return QueryRanking(i, *about)

    @property
    def gallery(self) -> int:
        """The gallery image that is looked at."""
        return self.ranking().first() if self.current.gallery is None else self.current.gallery

    def maps(self, i: int, j: int, network: str = "", method: str = "", target: str = "",
             randomised: bool = False) -> pairs.Maps:  # fmt: skip
        """The two maps of a pair, not normalised, by a method (default: the state's)."""
        found = self.network(network)
        method, target = (method, target) if method else (self.current.method, self.current.target)

        def make() -> pairs.Maps:
            if not randomised:
                return pairs.maps_of(found, i, j, method, target)
            images = found.images("query", [i]), found.images("gallery", [j])
            return pairs.explained(found.random_twin(), *images, method, target, found.config)

        return self._pairs.get(("maps", i, j, found.name, method, target, randomised), make)

    def pair(self, j: int | None = None, network: str = "") -> pairs.Pair:
        """The query and a gallery image (default: the chosen one) under a network: every number that is said of them."""
        found, j = self.network(network), self.gallery if j is None else j
        whole = not self.is_large or self.ranked_by(network) != "features"
        key = "pair", self.current.query, j, found.name, whole
        return self._pairs.get(key, lambda: pairs.pair_of(found, self.ranking(network=network), j, whole))

    def sides(self) -> tuple[Side, Side]:
        """What is compared: from the other network to the chosen one; without another, from features to the sum."""
        state, network = self.current, self.network()
        if state.other and state.other != state.network:
            return Side(self.network(state.other), self.ranked_by(state.other)), Side(network, self.ranked_by())
        if len(self.ways()) == 1:
            raise ValueError("choose a network to compare with: this one ranks by features alone")
        return Side(network, "features"), Side(network, self.ranked_by() if self.ranked_by() != "features" else "sum")

    def sided(self) -> tuple[QueryRanking, QueryRanking]:
        """The query's ranking under both sides."""
        return tuple(self.ranking(network=side.network.name, by=side.ranked_by) for side in self.sides())

    def outcome(self) -> Outcome:
        """What hiding does to the pair. Raises ValueError where nothing is hidden."""
        state, j, network, by = self.current, self.gallery, self.network(), self.ranked_by()
        names = "query method target hide hide_in rectangle share fill".split()
        key = "outcome", j, network.name, by, json.dumps([getattr(state, name) for name in names])
        maps = self.maps(state.query, j)
        return self._pairs.get(key, lambda: try_hiding(network, state, j, maps, by))

    def table(self, network: str = "") -> Table:
        """One line per query for a network, by what it ranks; made when it is first asked for."""
        found, by = self.network(network), self.ranked_by(network)

        def keep(table: Table) -> None:
            self._tables.get((found.name, by), lambda: table)

        if (found.name, by) not in self._tables:
            self.work(f"{found.name}: all queries by {by}", table_steps(found, by), keep)
        return self._tables.get((found.name, by), lambda: None)

    def work(self, what: str, steps: Steps, keep: Callable[[Any], object]) -> None:
        """Do long work, of which ``keep`` takes the result. Raises Pending where nobody waits for it."""
        if not self.patient:
            raise Pending(what, steps, keep)
        while True:
            try:
                self.progress(what, *next(steps))
            except StopIteration as end:
                keep(end.value)
                return

    def candidates(self) -> list[int]:
        """The queries that filter and brushed histograms leave, in the state's order."""
        state = self.current
        needed, other = filters.needs(state.filter, state.order, state.ranges)
        if not needed:
            return list(range(len(self.dataset.query)))
        second = self.table(state.other) if other and state.other else None
        return filters.choose(self.table(), second, state.filter, state.filter_value, state.order, state.ranges)

    def words(self) -> str:
        """The filter, the brushed ranges and the order, in words."""
        state = self.current
        brushed = [f"{name} from {low:g} to {high:g}" for name, (low, high) in state.ranges.items()]
        words = [filters.FILTERS[state.filter].text(state.filter_value), *brushed, filters.ORDERS[state.order].label]
        return " · ".join(words)

    def place(self) -> str:
        """``3 of 57``, with the filter and the order in words."""
        found, query = self.candidates(), self.current.query
        at = f"{found.index(query) + 1} of {len(found)}" if query in found else f"outside these {len(found)} queries"
        return f"{at} · {self.words()}"

    def forget(self) -> None:
        """Let all go that was computed; asked again, it is computed again."""
        for kept in (self._rankings, self._pairs, self._tables, self.thumbnails):
            kept.clear()
        self.library.forget()

    def _checked(self, state: State) -> State:
        counts = {"query": len(self.dataset.query), "gallery": len(self.dataset.gallery)}
        for name in ("query", "gallery", "pinned"):
            count, value = counts.get(name, counts["gallery"]), getattr(state, name)
            if value is not None and value >= count:
                raise ValueError(f"{name}: expected an index in 0 .. {count - 1}, got {value}")
        for name in filter(None, (state.network, state.other)):
            check_choice("network", name, self.library.sources)
            self.network(name)
        filters.needs(state.filter, state.order, state.ranges)
        check_choice("hide", state.hide, HIDES)
        pairs.check_method(state.method, state.target)
        return state
