"""What lies on the table: a state, the networks, and everything that follows from the two, remembered for a while."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.records import ReidDataset
from . import filters, pairs
from .caches import Recent
from .changes import Move, Side, query_moves
from .loading import Library, Progress, Source, unreadable_notes
from .methods import check_method
from .networks import Network
from .pairs import Pair
from .rankings import QueryRanking, Tile
from .slices import Pending, Steps, finish
from .state import State, with_query
from .tables import Table, table_steps
from .whatif import Outcome, try_edit

LARGE_GALLERY = 4000  # images above which attention is not computed for a whole row unless it is asked for


class Desk:
    """State and networks without a screen.

    Args:
        sources: see :class:`casnkit.inspector.loading.Library`.
        dataset: its queries and gallery.
        device, cache, progress: as there.

    Raises:
        ValueError: no query, no gallery image, or no network that can be loaded.
    """

    def __init__(
        self,
        sources: Mapping[str, Source] | Sequence[str | Path] | str | Path,
        dataset: ReidDataset,
        device: str | torch.device | None = None,
        cache: str | Path | None = None,
        progress: Progress = lambda what, done, total: None,
    ) -> None:
        for split in (dataset.query, dataset.gallery):
            if not len(split):
                raise ValueError(f"{dataset.name}: expected at least one image in {split.name!r}, found none")
        self.dataset = dataset
        self.library = Library(sources, dataset, device, cache, progress)
        self._rankings, self._pairs, self._maps = Recent(64), Recent(128), Recent(128)
        self._tables, self._outcomes, self.images = Recent(12), Recent(32), Recent(256)
        self.patient = True  # whether one waits for long work; a screen does not, and does it in slices
        name, self.hints = self.library.first_working()
        self.hints += unreadable_notes(self.library)
        by = "sum" if self.network(name).pair_trained and not self.is_large else "features"
        self.current = State(model=name, ranked_by=by)

    @property
    def is_large(self) -> bool:
        """Whether the gallery is too large to rank everything by attention at once."""
        return len(self.dataset.gallery) > LARGE_GALLERY

    def network(self, name: str = "") -> Network:
        """The network of that name, or the chosen one."""
        return self.library.get(name or self.current.model)

    def set(self, **changes: Any) -> State:
        """Change fields of the state, checked against data and networks; another query starts a new look.

        Raises:
            ValueError: a value out of range; nothing is changed then.
        """
        state = self.current
        unknown = [name for name in changes if name not in State.__dataclass_fields__]
        if unknown:
            known = ", ".join(State.__dataclass_fields__)
            raise ValueError(f"the state has no {', '.join(map(repr, unknown))}; known are {known}")
        if changes.get("query", state.query) != state.query:
            state = with_query(state, changes["query"])
        self.current = self._checked(dataclasses.replace(state, **changes))
        return self.current

    def load(self, state: State) -> None:
        """Take over a whole state. Raises ValueError where it does not fit; nothing is changed then."""
        if not state.model:
            state = dataclasses.replace(state, model=self.current.model)
        self.current = self._checked(state)

    def choose_gallery(self, j: int) -> State:
        """Look at a gallery image, and turn to the page on which it stands."""
        self.set(gallery=j)
        page = self.ranking().page_of(j, self.current.show_ignored)
        return self.current if page is None else self.set(page=page)

    def ways(self, model: str = "") -> tuple[str, ...]:
        """By what a network can rank: by features alone where its pair classifier was never trained."""
        return ("features", "attention", "sum") if self.network(model).pair_trained else ("features",)

    def ranked_by(self, model: str = "") -> str:
        """By what a network ranks in this state."""
        return self.current.ranked_by if self.current.ranked_by in self.ways(model) else "features"

    def ranking(self, query: int | None = None, model: str = "", by: str = "") -> QueryRanking:
        """A query's ranking; default: the one that the state shows."""
        i = self.current.query if query is None else query
        network = self.network(model)
        by = by or self.ranked_by(model)
        return self._rankings.get((i, network.name, by), lambda: _rank(network, i, network.row(i, by)))

    @property
    def gallery(self) -> int:
        """The gallery image that is looked at."""
        return self.ranking().first() if self.current.gallery is None else self.current.gallery

    def page_tiles(self) -> list[Tile]:
        """The tiles of the page that is open."""
        return self.ranking().page(self.current.page, self.current.show_ignored)

    def maps(self, i: int, j: int, model: str = "", randomised: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The two maps of a pair by the method of the state, not normalised."""
        network, state = self.network(model), self.current
        key = (i, j, network.name, state.method, state.target, randomised)

        def make() -> tuple[np.ndarray, np.ndarray]:
            if not randomised:
                return pairs.maps_of(network, i, j, state.method, state.target)
            images = pairs.images_of(network, "query", i), pairs.images_of(network, "gallery", j)
            return pairs.explained(network.random_twin(), *images, state.method, state.target, network.config)

        return self._maps.get(key, make)

    def pair(self, j: int | None = None, model: str = "") -> Pair:
        """The query and a gallery image (default: the chosen one) under a network: maps and numbers."""
        state, network = self.current, self.network(model)
        j = self.gallery if j is None else j
        whole = not self.is_large or self.ranked_by(model) != "features"
        key = (state.query, j, network.name, state.method, state.target, whole)

        def make() -> Pair:
            numbers = pairs.numbers_of(network, self.ranking(model=model), j, whole)
            maps = self.maps(state.query, j, model)
            return Pair(state.query, j, network.name, maps, state.method, state.target, **numbers)

        return self._pairs.get(key, make)

    def sides(self) -> tuple[Side, Side]:
        """What is compared: from the other network to the chosen one; without another, from features to the sum."""
        state, network = self.current, self.network()
        if state.other and state.other != state.model:
            return Side(self.network(state.other), self.ranked_by(state.other)), Side(network, self.ranked_by())
        if len(self.ways()) == 1:
            raise ValueError("choose a model to compare with: this one ranks by features alone")
        return Side(network, "features"), Side(network, self.ranked_by() if self.ranked_by() != "features" else "sum")

    def moves(self, sort: str = "change") -> list[Move]:
        """The true matches of the query under both sides."""
        rankings = [self.ranking(model=side.network.name, by=side.ranked_by) for side in self.sides()]
        return query_moves(*rankings, sort)

    def outcome(self) -> Outcome:
        """What the edit of the state does to the pair. Raises ValueError where nothing is hidden."""
        state, j, network, by = self.current, self.gallery, self.network(), self.ranked_by()
        key = state.query, j, network.name, by, state.method, state.target, state.edit
        maps = self.maps(state.query, j)

        def make() -> Outcome:
            return try_edit(network, state.query, j, state.edit, maps, by, state.method, state.target)

        return self._outcomes.get(key, make)

    def table(self, model: str = "", progress: Callable[[int, int], object] | None = None) -> Table:
        """One line per query for a network, by what it ranks; made when it is first asked for.

        Raises:
            Pending: it is not there yet, and nobody waits for it (:attr:`patient` is False).
        """
        network, by = self.network(model), self.ranked_by(model)
        key = network.name, by

        def keep(table: Table) -> None:
            self._rankings.clear()
            self._tables.get(key, lambda: table)

        if key not in self._tables:
            self.work(f"{network.name}: ranking by {by}", table_steps(network, by), keep, progress)
        return self._tables.get(key, lambda: None)

    def work(
        self,
        what: str,
        steps: Steps[Any],
        keep: Callable[[Any], object],
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Do long work, of which ``keep`` takes the result. Raises Pending where nobody waits for it."""
        if not self.patient:
            raise Pending(what, steps, keep)
        keep(finish(steps, progress or (lambda done, total: self.library.progress(what, done, total))))

    def candidates(self) -> list[int]:
        """The queries that person, camera and filter of the state leave, in its order."""
        state, q = self.current, self.dataset.query
        needed, other = filters.needs(state.filter, state.order)
        if needed:
            second = self.table(state.other) if other and state.other else None
            found = filters.choose(self.table(), second, state.filter, state.filter_value, state.order)
        else:
            found = range(len(q))
        return [i for i in found if state.pid in (None, int(q.pids[i])) and state.camid in (None, int(q.camids[i]))]

    def place(self) -> str:
        """``3 of 57``, with the filter and the order in words."""
        found, state = self.candidates(), self.current
        at = f"{found.index(state.query) + 1} of {len(found)}" if state.query in found else f"not among {len(found)}"
        words = filters.FILTERS[state.filter].text(state.filter_value)
        return f"{at} · {words} · {filters.ORDERS[state.order].label}"

    def _checked(self, state: State) -> State:
        queries, images = len(self.dataset.query), len(self.dataset.gallery)
        for name, value, count in (
            ("query", state.query, queries),
            ("gallery", state.gallery, images),
            ("pinned", state.pinned, images),
        ):
            if value is not None and not 0 <= value < count:
                raise ValueError(f"{name}: expected an index in 0 .. {count - 1}, got {value}")
        for name in (state.model, state.other):
            if name:
                self.network(name)
        filters.needs(state.filter, state.order)
        check_method(state.method, state.target)
        return state


def _rank(network: Network, i: int, row: np.ndarray) -> QueryRanking:
    q, g = network.dataset.query, network.dataset.gallery
    found = network.rank(i, row)
    return QueryRanking(i, int(q.pids[i]), int(q.camids[i]), row, found, g, network.unreadable)
