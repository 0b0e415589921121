"""Which queries fail and how: a filter with its number, an order, a list, and the paper's figure 8 for each."""

from __future__ import annotations

import math
from typing import Any

from .. import filters, render
from ..slices import Pending
from ..views import described, figure_8, look
from .binding import WRAPPED, Part, hidden, picture, put, safe, set_image, widgets

LISTED = 300


class FailuresView(Part):
    """Filter, order and presets above; the list of queries beside figure 8."""

    def build(self) -> Any:
        w = widgets()
        style = {"description_width": "initial"}
        names = [(f.label.replace("{x}", "x"), name) for name, f in filters.FILTERS.items()]
        self.filter = self.on(
            w.Dropdown(options=names, description="show", style=style, layout={"width": "258px"}),
            lambda value: self.panel.query._choose(filter=value))  # fmt: skip
        self.value = self.on(
            w.BoundedFloatText(min=-1e9, max=1e9, step=0.05, description="x =", style=style, layout={"width": "104px"}),
            lambda value: self.panel.query._choose_value(value))  # fmt: skip
        orders = [(order.label, name) for name, order in filters.ORDERS.items()]
        self.order = self.on(
            w.Dropdown(options=orders, description="order", style=style, layout={"width": "266px"}),
            lambda value: self.panel.query._choose(order=value))  # fmt: skip
        self.preset = self.on(
            w.Dropdown(options=[("presets", "")], layout={"width": "104px"}, tooltip="saved choices of queries"),
            self._take,
        )
        self.name = w.Text(placeholder="name", layout={"width": "88px"})
        self.save = self.click(w.Button(description="save", layout={"width": "56px"},
                                        tooltip="keep filter, number and order under this name"), self._save)  # fmt: skip
        bar = w.HBox([self.filter, self.value, self.order, self.preset, self.name, self.save],
                     layout=WRAPPED)  # fmt: skip
        self.words = w.HTML()
        self.again = self.click(
            w.Button(description="rank all queries", layout={"width": "160px", "display": "none"},
                     tooltip="rank the gallery for every query: the list needs it"), self.desk.table)  # fmt: skip
        self.queries = self.on(w.Select(options=[], value=None, rows=28, layout={"width": "auto"}), self._open)
        self.title = w.HTML()
        self.image = picture("figure 8", layout={"width": "100%"})
        self.image.add_class("casnkit-wide")
        left = w.VBox([w.HTML(hidden("queries of the list:")), self.queries], layout={"flex": "0 0 328px"})
        right = w.VBox([self.title, self.image], layout={"flex": "1 1 auto", "min_width": "0", "margin": "0 0 0 10px"})
        said = w.HBox([self.words, self.again], layout=WRAPPED)
        return w.VBox([bar, said, w.HBox([left, right])])

    def _open(self, query: int | None) -> None:
        if query is not None:
            self.desk.set(query=query)

    def _save(self) -> None:
        s = self.state
        notes = self.panel.inspector.notes
        notes.put_preset(self.name.value, {"filter": s.filter, "filter_value": s.filter_value, "order": s.order})
        self.name.value = ""

    def _take(self, name: str) -> None:
        if name:
            self.panel.query._choose(**self.panel.inspector.notes.presets[name])

    def key(self) -> object:
        s, notes = self.state, self.panel.inspector.notes
        return (s.query, s.pid, s.camid, s.filter, s.filter_value, s.order, s.model, s.other, s.ranked_by, s.method, s.target,
                s.normalisation, s.colours, s.opacity, s.threshold, tuple(notes.presets), tuple(notes.notes))  # fmt: skip

    def draw(self) -> None:
        try:
            self._draw_pairs()  # these are there at once
        finally:
            self._draw_list()

    def without(self, job: Pending) -> None:
        """The list is empty, and a button computes it after all."""
        self.words.value = "<span class='casnkit-note'>the list needs every query’s ranking, which was stopped</span>"
        self.again.layout.display = None

    def _draw_list(self) -> None:
        state, self.again.layout.display = self.state, "none"
        try:
            found, table = self.desk.candidates(), self.desk.table()
        except Pending:
            self.words.value = "<span class='casnkit-note'>the list needs every query’s ranking: being computed</span>"
            put(self.queries, None, [])
            raise
        why = filters.FILTERS[state.filter].why
        cut = f" (the first {LISTED} are listed)" if len(found) > LISTED else ""
        way = "both" if self.desk.ranked_by() == "sum" else self.desk.ranked_by()
        said = "; ".join(filter(None, [why, f"ranked by {way}, {state.model}"]))
        self.words.value = f"<b>{safe(self.desk.place())}</b>{cut} <span class='casnkit-note'>· {safe(said)}</span>"
        options = [(self._line(table, i), i) for i in found[:LISTED]]
        put(self.queries, state.query if state.query in found[:LISTED] else None, options)

    def _draw_pairs(self) -> None:
        ranking = self.desk.ranking()
        self.title.value = f"<b>Query {self.state.query}</b>: {safe(ranking.scores())}"
        rows = [row for row, _ in figure_8(self.desk)]
        drawn = render.draw_pairs(rows, look(self.desk), 800.0, brief=True)
        set_image(self.image, drawn, "; ".join(map(described, rows)))

    def _line(self, table: Any, i: int) -> str:
        ap, hit = table.average_precision[i], int(table.first_hit[i])
        name = self.desk.library.query.name(i)
        noted = " ✎" if self.panel.inspector.notes.get(name) else ""
        if math.isnan(ap):
            return f"{i:>5}  no true match{noted}"
        mark = "✓" if table.top_right[i] else "✗"
        return f"{i:>5}  AP {ap:.3f}  hit {hit:>4}  {mark} p {table.confidence[i]:.2f}{noted}"

    def sync(self) -> None:
        s, record = self.state, filters.FILTERS[self.state.filter]
        put(self.filter, s.filter)
        put(self.order, s.order)
        self.value.disabled = record.value is None
        if record.value is not None:
            self.value.step = record.limits[2]
            put(self.value, s.filter_value)
        presets = [("presets", ""), *((name, name) for name in self.panel.inspector.notes.presets)]
        chosen = {"filter": s.filter, "filter_value": s.filter_value, "order": s.order}
        named = [name for name, values in self.panel.inspector.notes.presets.items() if values == chosen]
        put(self.preset, named[0] if named else "", presets)
