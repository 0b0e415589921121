"""What lies on the table: a state, the networks, and everything that follows from the two, remembered for a while."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from casnkit.config import check_choice
from casnkit.data.files import printable
from casnkit.data.records import ReidDataset
from casnkit.evaluation import RANKED_BY
from casnkit.explain import METHODS
from casnkit.inspector import filters, pairs, payload
from casnkit.inspector.networks import Library, Network, Progress, Source
from casnkit.inspector.notes import Notes
from casnkit.inspector.pairs import LARGE_GALLERY, TILES, QueryRanking
from casnkit.inspector.state import State
from casnkit.inspector.whatif import HIDES, Outcome, try_hiding

MOST_OPTIONS = 400  # of a list of queries to choose from; beyond, a number is typed
FRESH = {"gallery": None, "pinned": None, "page": 0, "rectangle": None}  # what another query begins with
HIDDEN = ("query", "method", "target", "hide", "hide_in", "rectangle", "share", "fill")  # what an outcome depends on


class Pending(Exception):  # noqa: N818 - nothing went wrong: it is only not there yet
    """Something was asked for that takes long, where nobody should be kept waiting."""

    def __init__(self, what: str, function: Callable[[Progress], object]) -> None:
        super().__init__(what)
        self.what, self.function = what, function  # the same words mean the same work


class Desk:
    """State and networks without a screen. For arguments and errors see :class:`casnkit.inspector.Inspector`."""

    def __init__(self, sources: Mapping[str, Source] | Sequence[Any] | str | Path, dataset: ReidDataset,
                 device: str | torch.device | None = None,
                 progress: Callable[[str, int, int], object] = lambda what, done, total: None) -> None:  # fmt: skip
        for split in (dataset.query, dataset.gallery):
            if not len(split):
                raise ValueError(f"{dataset.name}: expected at least one image in {split.name!r}, found none")
        self.dataset, self.library, self.progress = dataset, Library(sources, dataset, device), progress
        self.notes: Notes | None = None  # of the screen's user
        self.patient = True  # whether one waits for long work; a screen does not
        self.current = State()
        self.forget()
        self.hints: list[str] = []  # what must be said of networks and pictures
        for name in self.library.sources:
            try:
                trained = self.network(name).pair_trained
                break
            except ValueError as error:
                self.hints.append(str(error))
        else:
            raise ValueError("none of the networks could be opened:\n" + "\n".join(self.hints))
        for pictures in (self.library.query, self.library.gallery):
            if len(bad := pictures.unreadable()):
                told = ", ".join(printable(pictures.key(i)) for i in bad[:5]) + ", ..." * (len(bad) > 5)
                self.hints.append(f"{len(bad)} unreadable in {pictures.name}, not counted: {told}")
        by = "sum" if trained and len(dataset.gallery) <= LARGE_GALLERY else "features"
        self.current = State(network=name, ranked_by=by)

    def network(self, name: str = "") -> Network:
        """The network of that name, or the chosen one; opened when it is first asked for. Raises ValueError, each time, for
        one that cannot be."""
        name = name or self.current.network
        check_choice("network", name, self.library.sources)
        if name not in self.library.opened:
            self.work(f"{name}: looking at all pictures", partial(self.library.open, name))
        if isinstance(found := self.library.opened[name], str):
            raise ValueError(found)
        return found

    def set(self, **changes: Any) -> State:
        """Change fields of the state, checked against data and networks; another query starts a new look.

        Raises ValueError for what does not fit; nothing is changed then.
        """
        turn, method = "gallery" in changes and "page" not in changes, METHODS.get(str(changes.get("method")))
        if changes.get("query", self.current.query) != self.current.query:
            changes = FRESH | changes
        if method and self.current.target not in method.targets:  # what it explains first
            changes = {"target": method.targets[0]} | changes
        record = filters.FILTERS.get(str(changes.get("filter")))
        if record is not None and record.value is not None:
            changes = {"filter_value": record.value} | changes
        self.current = self._checked(self.current.changed(changes))
        page, ignored = self.current.page, self.current.show_ignored
        if turn and self.current.gallery is not None:  # to the page on which it stands
            (place,) = np.nonzero(self.ranking().order(ignored) == self.gallery)
            page = int(place[0]) // TILES if len(place) else page
        if page:
            page = min(page, self.ranking().pages(ignored) - 1)
        self.current = self.current.changed({"page": page})
        return self.current

    def _checked(self, state: State) -> State:
        queries, images = len(self.dataset.query), len(self.dataset.gallery)
        for name, count in (("query", queries), ("gallery", images), ("pinned", images)):
            if (getattr(state, name) or 0) >= count:
                raise ValueError(f"{name}: expected an index in 0 .. {count - 1}, got {getattr(state, name)}")
        state = state if state.network else state.changed({"network": self.current.network})
        for name in filter(None, (state.network, state.other)):
            self.network(name)
        filters.needs(state)
        check_choice("hide", state.hide, HIDES)
        check_choice("method", state.method, METHODS)
        check_choice(f"target of {state.method}", state.target, METHODS[state.method].targets)
        return state

    def ways(self, network: str = "") -> tuple[str, ...]:
        """By what a network can rank: by features alone where its pair classifier was never trained."""
        return RANKED_BY if self.network(network).pair_trained else RANKED_BY[:1]

    def ranked_by(self, network: str = "") -> str:
        """By what a network ranks in this state."""
        return self.current.ranked_by if self.current.ranked_by in self.ways(network) else "features"

    def ranking(self, query: int | None = None, network: str = "", by: str = "") -> QueryRanking:
        """A query's ranking; default: the one that the state shows."""
        query = self.current.query if query is None else query
        return self._ranking(self.network(network), query, by or self.ranked_by(network))

    @property
    def gallery(self) -> int:
        """The gallery image that is looked at."""
        return self.ranking().first() if self.current.gallery is None else self.current.gallery

    @property
    def key(self) -> str:
        """The query's path below the data set, under which notes of it are kept."""
        return self.library.query.key(self.current.query)

    def step(self, by: int) -> None:
        """To another gallery image, so many places on in the ranking."""
        order = self.ranking().order(self.current.show_ignored).tolist()
        place = order.index(self.gallery) + by if self.gallery in order else 0
        self.set(gallery=order[min(max(place, 0), len(order) - 1)] if order else self.gallery)

    def turn(self, by: int) -> None:
        """To another query, so many places on in the list, round and round."""
        found, query = self.candidates(), self.current.query
        if not found:
            raise ValueError("no query fits the filter: choose another filter, or all queries")
        place = found.index(query) + by if query in found else min(by, 0)
        self.set(query=found[place % len(found)])

    def maps(self, i: int, j: int, method: str = "", target: str = "", random: bool = False) -> pairs.Maps:
        """The two maps of a pair, not normalised, by a method (default: the state's)."""
        method, target = (method, target) if method else (self.current.method, self.current.target)
        return self._maps(self.network(), i, j, method, target, random)

    def pair(self, j: int | None = None) -> pairs.Pair:
        """The query and a gallery image (default: the chosen one): every number that is said of them."""
        return self._pair(self.ranking(), self.gallery if j is None else j)

    def sides(self) -> tuple[QueryRanking, QueryRanking]:
        """The query's rankings that are compared: of the other network and of the chosen one; without another, by features
        and by the sum."""
        other, by = self.current.other, self.ranked_by()
        if other and other != self.current.network:
            return self.ranking(network=other), self.ranking()
        if len(self.ways()) == 1:
            raise ValueError("choose a network to compare with: this one ranks by features alone")
        return self.ranking(by="features"), self.ranking(by=by if by != "features" else "sum")

    def outcome(self) -> Outcome:
        """What hiding does to the pair. Raises ValueError where nothing is hidden."""
        j, network, by = self.gallery, self.network(), self.ranked_by()
        asked = [j, network, by, *(getattr(self.current, name) for name in HIDDEN)]
        if self._outcome[0] != asked:
            maps = self.maps(self.current.query, j)
            self._outcome = asked, try_hiding(network, self.current, j, maps, by)
        return self._outcome[1]

    def table(self, network: str = "") -> np.recarray:
        """One line per query for a network, by what it ranks; made when it is first asked for."""
        network, by = self.network(network), self.ranked_by(network)
        key = network.name, by

        def make(progress: Progress) -> None:
            self._tables[key] = filters.table_of(network, by, progress)

        if key not in self._tables:
            self.work(f"{network.name}: all queries by {by}", make)
        return self._tables[key]

    def work(self, what: str, function: Callable[[Progress], object]) -> None:
        """Do long work. Raises Pending where nobody waits for it."""
        if not self.patient:
            raise Pending(what, function)
        function(partial(self.progress, what))

    def candidates(self) -> list[int]:
        """The queries that filter and brushed histograms leave, in the state's order."""
        if not filters.needs(self.current)[0]:
            return list(range(len(self.dataset.query)))
        second = self.table(self.current.other) if self.current.other else None
        return filters.choose(self.table(), second, self.current)

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

    def _thumbnail(self, side: str, i: int) -> str:
        pictures = getattr(self.library, side)
        image = pictures.image(i)
        return "" if pictures.error(i) else payload.jpeg(image, rows=96, quality=80)

    def forget(self) -> None:
        """Let all go that was computed; asked again, it is computed again."""
        self._tables, self._outcome = {}, ((), None)
        self._ranking = lru_cache(64)(lambda network, i, by: QueryRanking(network, i, by, network.row(i, by)))
        self._maps, self._pair = lru_cache(128)(pairs.maps_of), lru_cache(64)(QueryRanking.pair)
        self.whose = lru_cache(MOST_OPTIONS)(self.library.query.who)
        self.thumbnail = lru_cache(512)(self._thumbnail)  # (side, i) -> the picture as a tile draws it
        self.library.opened.clear()
