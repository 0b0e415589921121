"""The upper half of the screen: which query, and its ranked gallery a page at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import filters, tiles
from ..slices import Pending
from ..state import TILES, step, toggle_pin, turn
from ..views import camera, thumbnail
from .binding import WRAPPED, Part, clip, picture, put, safe, set_image, widgets

PAGES = (("first", "«", "first page"), ("previous", "◀", "previous page"),
         ("next", "▶", "next page"), ("last", "»", "last page"))  # fmt: skip
ANY = "any"  # None would be shown as an empty list
WAYS = {"features": "features", "attention": "attention", "sum": "both"}
MARKS = (
    "Legend: solid blue with a check, same person; dashed orange with a cross, another person; dotted with a ring, "
    "distractor; grey, junk; grey dashed, same person and camera; dotted with an exclamation mark, unreadable. The last "
    "three take no rank. Dark ground: chosen; diamond: pinned."
)


class Heading(Part):
    """Which network, which other one, and by what it ranks."""

    def build(self) -> Any:
        w = widgets()
        names = self.desk.library.names
        title = w.HTML('<span class="casnkit-title">Pair inspector</span>', layout={"width": "150px"})
        self.data = w.HTML(f'<span class="casnkit-note">{safe(self._data())}</span>', layout={"flex": "1 1 auto"})
        narrow = {"description_width": "initial"}
        self.model = self.binds(
            w.Dropdown(options=names, value=self.state.model, description="model", style=narrow,
                       tooltip="which checkpoint ranks and explains", layout={"width": "196px"}), "model")  # fmt: skip
        options = [("none", ""), *((name, name) for name in names)]
        self.other = self.binds(
            w.Dropdown(options=options, value="", description="compare with", style=narrow,
                       tooltip="a second checkpoint, side by side", layout={"width": "226px"}), "other")  # fmt: skip
        return w.HBox(
            [title, self.data, self.model, self.other],
            layout=WRAPPED,
        )

    def _data(self) -> str:
        data = self.desk.dataset
        return f"{data.name}: {len(data.query)} queries, {len(data.gallery)} gallery images"

    def key(self) -> object:
        return self.state.model, self.state.ranked_by

    def draw(self) -> None:
        """What one must know all the time: models and pictures that are missing, ways of ranking that there are not."""
        notes = list(self.desk.hints)
        if self.state.ranked_by not in self.desk.ways():
            notes.append(
                f"{self.state.model}: the pair classifier was not trained, so it ranks by features alone; "
                f"“{WAYS[self.state.ranked_by]}” comes back with a model that can"
            )
        lines = [f'<div class="casnkit-note">note: {safe(clip(note, 400))}</div>' for note in notes]
        self.panel.notes.value = "".join(lines)

    def sync(self) -> None:
        put(self.model, self.state.model)
        put(self.other, self.state.other)


class Query(Part):
    """The query's picture and card, and how to get to another one."""

    def build(self) -> Any:
        w = widgets()
        q = self.desk.dataset.query
        small = {"width": "34px"}
        self.previous, self.next, self.random = (
            self.click(w.Button(description=text, tooltip=tip, layout=small), function)
            for text, tip, function in (
                ("◀", "previous query of the list", lambda: self._step(-1)),
                ("▶", "next query of the list", lambda: self._step(1)),
                ("⤨", "a random query of the list", self._random),
            )
        )
        self.index = self.on(
            w.BoundedIntText(min=0, max=len(q) - 1, value=0, tooltip="index of the query",
                             layout={"width": "74px"}), lambda v: self.desk.set(query=int(v)))  # fmt: skip
        self.pid = self._list("person", [("any", ANY), *((str(p), int(p)) for p in np.unique(q.pids))], "pid", 138)
        cameras = [("any", ANY), *((camera(int(c)).removeprefix("camera "), int(c)) for c in np.unique(q.camids))]
        self.camid = self._list("camera", cameras, "camid", 132)
        names = [(f.label.replace("{x}", "x"), name) for name, f in filters.FILTERS.items()]
        self.filter = self._list("show", names, "filter", 236)
        self.place = w.HTML(layout={"flex": "1 1 160px"})
        self.image = picture("query", layout={"width": "118px", "height": "auto", "margin": "0 auto"})
        self.text = w.HTML()
        label = w.HTML("<b>Query</b>", layout={"width": "54px"})
        self.bar = w.HBox(
            [label, self.previous, self.index, self.next, self.random, self.pid, self.camid, self.filter, self.place],
            layout=WRAPPED,
        )
        card = w.VBox([self.image, self.text], layout={"width": "146px", "flex": "0 0 146px"})
        card.add_class("casnkit-card")
        return card

    def _list(self, name: str, options: list, field: str, width: int) -> Any:
        style, tip = (
            {"description_width": "initial"},
            "which queries" if name == "show" else f"only queries of this {name}",
        )
        made = widgets().Dropdown(
            options=options, description=name, style=style, layout={"width": f"{width}px"}, tooltip=tip
        )
        return self.on(made, lambda value: self._choose(**{field: None if value == ANY else value}))

    def _choose(self, **changes: Any) -> None:
        """Change which queries are listed; go to the first that fits, if this one does not."""
        self.panel.work.give_way()
        if "filter" in changes and "filter_value" not in changes:
            default = filters.FILTERS[changes["filter"]].value
            changes["filter_value"] = 0.5 if default is None else default
        before = self.state
        self.desk.set(**changes)
        try:
            found = self.desk.candidates()
        except BaseException:
            self.desk.current = before
            raise
        if not found:
            self.panel.warn("no query fits: the list is empty")
        elif self.state.query not in found:
            self.desk.set(query=found[0])

    def _choose_value(self, value: float) -> None:
        self._choose(filter_value=float(value))

    def _step(self, by: int) -> None:
        self.desk.set(query=step(self.desk.candidates(), self.state.query, by))

    def _random(self) -> None:
        found = [i for i in self.desk.candidates() if i != self.state.query] or self.desk.candidates()
        step(found, self.state.query, 1)  # says so where the list is empty
        self.desk.set(query=int(self.panel.rng.choice(found)))

    def key(self) -> object:
        s = self.state
        return s.query, s.pid, s.camid, s.filter, s.filter_value, s.order, s.model, s.other, s.ranked_by

    def draw(self) -> None:
        q, i = self.desk.dataset.query, self.state.query
        pictures = self.desk.library.query
        pixels = pictures.array(i)
        name, who = pictures.name(i), f"person {q.pids[i]}, {camera(int(q.camids[i]))}"
        drawn = tiles.plain(pixels, 118, min(210, 116 * pixels.shape[0] / pixels.shape[1]))
        set_image(self.image, drawn, f"query {i}: {who}, file {clip(name, 200)}")
        lines = [f"<b>person {q.pids[i]}</b>", f"{safe(camera(int(q.camids[i])))}, {safe(q.name)}",
                 f'<span title="{safe(clip(name, 300))}" style="font-size:12px">{safe(clip(name, 17))}</span>']  # fmt: skip
        if i in pictures.errors:
            lines.append("<b>⚠ unreadable</b>")
        self.text.value = f'<div class="casnkit-centre">{"<br>".join(lines)}</div>'
        try:
            place = self.desk.place()
        except Pending:
            self.place.value = '<span class="casnkit-note">…</span>'
            raise
        self.place.value = f'<span class="casnkit-note">{safe(place)}</span>'

    def without(self, job: Pending) -> None:
        """The place in the list is not known."""
        self.place.value = '<span class="casnkit-note">place unknown: stopped</span>'

    def sync(self) -> None:
        s = self.state
        put(self.index, s.query)
        put(self.filter, s.filter)
        for control, value in ((self.pid, s.pid), (self.camid, s.camid)):
            put(control, ANY if value is None else value)


class Gallery(Part):
    """A page of the ranked gallery: tiles with a button each, the protocol in words, the legend."""

    def build(self) -> Any:
        w = widgets()
        self.images, self.buttons, self.captions, self.tiles = [], [], [], []
        for place in range(TILES):
            image = picture("", layout={"width": "100%", "margin": "0"})
            button = w.Button(layout={"width": "auto", "margin": "2px 0", "padding": "0 1px"})
            self.click(button, lambda place=place: self._open(place))
            caption = w.HTML(layout={"margin": "0"})
            tile = w.VBox([image, button, caption], layout={"flex": "1 1 0", "min_width": "0", "margin": "0 3px"})
            tile.add_class("casnkit-tile")
            for group, part in zip((self.images, self.buttons, self.captions, self.tiles),
                                   (image, button, caption, tile), strict=True):  # fmt: skip
                group.append(part)
        row = w.HBox(self.tiles, layout={"flex": "1 1 auto", "min_width": "0"})
        self.turns = [
            self.click(w.Button(description=text, tooltip=tip, layout={"width": "34px"}), lambda to=to: self._turn(to))
            for to, text, tip in PAGES
        ]
        self.page = w.HTML(layout={"width": "100px"})
        self.ignored = self.binds(
            w.Checkbox(description="show left-out", indent=False, layout={"width": "118px"},
                       tooltip="also those that do not count"), "show_ignored")  # fmt: skip
        self.pin = self.click(w.Button(layout={"width": "176px"}, tooltip="keep the chosen image to compare with others"),
                              self._pin)  # fmt: skip
        self.by = self.binds(
            w.ToggleButtons(options=[(text, way) for way, text in WAYS.items()], value=self.state.ranked_by,
                            tooltips=["by feature distance alone", "by attention distance alone",
                                      "by the sum of both (paper 4)"],
                            style={"button_width": "80px"}, layout={"width": "262px"}), "ranked_by")  # fmt: skip
        label = w.HTML(
            '<span class="casnkit-note">rank by</span>', layout={"margin": "2px 4px 0 10px", "width": "56px"}
        )
        self.alone = w.HTML('<span class="casnkit-note">alone: this model has no other way</span>')
        name = w.HTML("<b>Gallery</b>", layout={"width": "54px"})
        self.bar = w.HBox([name, *self.turns[:2], self.page, *self.turns[2:], label, self.by, self.alone, self.ignored,
                           self.pin], layout=WRAPPED)  # fmt: skip
        self.protocol = w.HTML()
        self.legend = picture(MARKS, value=tiles.legend(), layout={"width": "1120px", "max_width": "100%"})
        self.row = row
        return w.VBox([self.protocol, self.legend])

    def _open(self, place: int) -> None:
        shown = self.desk.page_tiles()
        if place < len(shown):
            self.desk.set(gallery=shown[place].gallery)
            self.panel.show("pair")

    def _turn(self, to: str) -> None:
        self.desk.current = turn(self.state, to, len(self.desk.ranking().order(self.state.show_ignored)))

    def _pin(self) -> None:
        self.desk.current = toggle_pin(self.state, self.desk.gallery)

    def key(self) -> object:
        s = self.state
        return s.query, s.model, s.ranked_by, s.page, s.show_ignored, s.gallery, s.pinned

    def draw(self) -> None:
        ranking, state = self.desk.ranking(), self.state
        last = ranking.num_pages(state.show_ignored) - 1
        if state.page > last:
            self._turn("last")
            state = self.state
        found = self.desk.page_tiles()
        pixels = [self.desk.library.gallery.array(t.gallery) for t in found]
        tall = tiles.thumbnail_height(float(np.median([p.shape[0] / p.shape[1] for p in pixels])) if pixels else 2.0)
        for place in range(TILES):
            self._draw_tile(place, found[place] if place < len(found) else None, tall)
        for (to, _, _), button in zip(PAGES, self.turns, strict=True):
            button.disabled = state.page == (0 if to in ("first", "previous") else last)
        self.page.value = f'<div style="text-align:center">page {state.page + 1} of {last + 1}</div>'
        self.pin.description = "unpin" if state.pinned == self.desk.gallery else "pin chosen image"
        if state.pinned is not None and state.pinned != self.desk.gallery:
            self.pin.description = "pin this instead"
        digits, scores = safe(ranking.digits()), safe(ranking.scores())
        self.protocol.value = (f'<span class="casnkit-score" title="{digits}">{scores}</span> &nbsp; '
                               f'<span class="casnkit-note">{safe(ranking.protocol())}</span>')  # fmt: skip

    def _draw_tile(self, place: int, tile: Any, tall: float) -> None:
        image, button, caption = self.images[place], self.buttons[place], self.captions[place]
        self.tiles[place].layout.visibility = "visible" if tile else "hidden"
        if tile is None:
            return
        chosen = tile.gallery == self.desk.gallery
        words = f"{tile.words}; {self.desk.library.gallery.name(tile.gallery)}"
        set_image(image, thumbnail(self.desk, tile, tall), clip(words + ("; chosen" if chosen else ""), 400))
        button.description = f"{tile.label} · {tile.distance:.3f}"
        button.button_style = "primary" if chosen else ""
        button.tooltip = clip(f"{words}. Open this pair", 400)
        who = "junk" if tile.pid == -1 else f"person {tile.pid}"
        caption.value = (f'<div style="text-align:center;line-height:1.25;font-size:12px">{who}<br>'
                         f"{safe(camera(tile.camid))}</div>")  # fmt: skip

    def sync(self) -> None:
        put(self.ignored, self.state.show_ignored)
        ways = self.desk.ways()  # the state keeps what was chosen: it comes back with a network that can
        put(self.by, self.desk.ranked_by(), [(WAYS[way], way) for way in ways])
        self.by.layout.width = "262px" if len(ways) > 1 else "88px"
        self.alone.layout.display = "none" if len(ways) > 1 else None
