"""Two networks, or two ways of ranking, for one query and for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import slopes, tiles
from ..changes import SORTS, all_moves_steps, summary_text
from ..rankings import MARKS
from .binding import Part, hidden, picture, put, safe, set_image, widgets

LISTED = 20  # top gains, and as many top losses


class ModelsView(Part):
    """Both lists of the query, every true match's rank under each, and the largest moves of all queries."""

    def build(self) -> Any:
        w = widgets()
        self.title = w.HTML()
        self.lists = picture("both lists", layout={"width": "1120px", "max_width": "100%"})
        self.slopes = picture("ranks", layout={"width": f"{slopes.WIDTH:g}px", "max_width": "100%"})
        for image in (self.lists, self.slopes):
            image.add_class("casnkit-wide")
        self.sort = w.Dropdown(options=[(words, name) for name, words in SORTS.items()], description="true matches",
                               style={"description_width": "initial"}, layout={"width": "300px"})  # fmt: skip
        self.on(self.sort, lambda value: None)
        self.matches = self._chooser("8", lambda j: self._open(self.state.query, j))
        self.summary = w.HTML()
        self.compute = self.click(
            w.Button(description="compare all queries", layout={"width": "190px"},
                     tooltip="rank the gallery for every query under both"), self._compare_all)  # fmt: skip
        self.gains = self._chooser("9", lambda pair: self._open(*pair))
        self.losses = self._chooser("9", lambda pair: self._open(*pair))
        self._all: dict[Any, Any] = {}
        one = w.HBox([self.slopes, w.VBox([self.sort, self.matches], layout={"flex": "1 1 300px"})],
                     layout={"margin": "6px 0"})  # fmt: skip
        many = w.HBox([_titled("Top gains", self.gains), _titled("Top losses", self.losses)])
        head = w.HBox([w.HTML("<b>All queries</b>", layout={"width": "96px"}), self.compute, self.summary],
                      layout={"align_items": "center"})  # fmt: skip
        return w.VBox([self.title, self.lists, one, head, many])

    def _chooser(self, rows: str, function: Any) -> Any:
        made = widgets().Select(options=[], value=None, rows=int(rows), layout={"width": "auto"})
        return self.on(made, lambda value: None if value is None else function(value))

    def _open(self, query: int, gallery: int) -> None:
        self.desk.set(query=query)
        self.desk.choose_gallery(gallery)

    def _compare_all(self) -> None:
        before, after = self.desk.sides()
        key = before.label, after.label

        def keep(found: Any) -> None:
            self._all = {key: found}

        if key not in self._all:
            self.desk.work(f"{before.label} → {after.label}: ranking", all_moves_steps(before, after), keep)

    def key(self) -> object:
        s = self.state
        return (s.query, s.model, s.other, s.ranked_by, s.show_ignored, s.gallery, self.sort.value,
                tuple(map(id, self._all.values())))  # fmt: skip

    def draw(self) -> None:
        before, after = self.desk.sides()
        names = f"<b>{safe(before.label)}</b> → <b>{safe(after.label)}</b>"
        more = "" if self.state.other else " · choose “compare with” above for another model"
        self.title.value = f"From {names}<span class='casnkit-note'>{more}; ▲ places up, ▼ places down</span>"
        rows = []
        for side in (before, after):
            found = self.desk.ranking(model=side.network.name, by=side.ranked_by)
            shown = [(t, self.desk.library.gallery.array(t.gallery)) for t in found.page(0)]
            rows.append((side.label, found.scores(), shown))
        set_image(self.lists, tiles.strips(rows), "; ".join(_said(*row) for row in rows))
        moves = self.desk.moves(self.sort.value)
        labels = before.label, after.label
        said = f"ranks of the true matches, {labels[0]} → {labels[1]}: {', '.join(m.text for m in moves) or 'none'}"
        set_image(self.slopes, slopes.draw_slopes(moves, labels, self.desk.gallery), " ".join(said.split()))
        pids = self.desk.dataset.gallery.camids
        listed = [(f"{m.text}   camera {pids[m.gallery]}, gallery {m.gallery}", m.gallery) for m in moves]
        chosen = self.desk.gallery if any(m.gallery == self.desk.gallery for m in moves) else None
        put(self.matches, chosen, listed)
        self._draw_all(self._all.get((before.label, after.label)))

    def _draw_all(self, changes: Any) -> None:
        self.summary.value = safe(summary_text(changes)) if changes else (
            "<span class='casnkit-note'>not computed yet: ranks the gallery for every query under both</span>")  # fmt: skip
        for chooser, places in ((self.gains, "top_gains"), (self.losses, "top_losses")):
            index = getattr(changes, places)(LISTED) if changes else np.zeros(0, int)
            listed = [_entry(changes, int(k)) for k in index]
            pair = (self.state.query, self.desk.gallery)
            put(chooser, pair if any(value == pair for _, value in listed) else None, listed)


def _entry(changes: Any, k: int) -> tuple[str, tuple[int, int]]:
    before, after = int(changes.before[k]), int(changes.after[k])
    arrow = "▲" if after < before else "▼"
    i, j = int(changes.query[k]), int(changes.gallery[k])
    return f"{arrow} {abs(before - after):>5}   query {i:>5}   rank {before:>5} → {after:<5} gallery {j}", (i, j)


def _said(name: str, scores: str, shown: list[Any]) -> str:
    marks = ", ".join(f"{tile.position} {MARKS[tile.status][1]}" for tile, _ in shown)
    return f"{name}: {scores}; first images: {marks}"


def _titled(title: str, content: Any) -> Any:
    w = widgets()
    return w.VBox(
        [w.HTML(f"<b>{title}</b>{hidden(': choose one to open its pair')}"), content], layout={"flex": "1 1 0"}
    )
