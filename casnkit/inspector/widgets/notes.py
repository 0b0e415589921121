"""Notes and tags of a query; the view as files; the state as text."""

from __future__ import annotations

import json
from typing import Any

from ..twins import FIGURES
from .binding import Part, put, safe, widgets

KINDS = {"png": "picture (PNG)", "svg": "picture (SVG)", "csv": "ranking (CSV)", "json": "state (JSON)"}


class NotesView(Part):
    """Left: what one wants to remember of this query. Right: what one wants to take away."""

    def build(self) -> Any:
        w = widgets()
        wide = {"width": "auto"}
        self.title = w.HTML()
        self.text = w.Textarea(placeholder="what is to be remembered of this query", rows=6, layout=wide)
        self.tags = w.Text(placeholder="tags, with commas between", layout=wide)
        self.save = self.click(w.Button(description="save note", layout={"width": "110px"}), self._save)
        self.saved = w.HTML()
        self.noted = self.on(w.Select(options=[], value=None, rows=6, layout=wide), self._open)
        left = [
            self.title,
            self.text,
            self.tags,
            w.HBox([self.save, self.saved]),
            w.HTML("<b>Queries with a note</b>"),
            self.noted,
        ]
        self.folder = w.Text(value=str(self.panel.inspector.out), description="folder", layout=wide)
        self.view = w.Dropdown(options=list(FIGURES), value="pair", description="view", layout={"width": "260px"})
        buttons = [
            self.click(w.Button(description=words, layout={"width": "118px"}), lambda kind=kind: self._export(kind))
            for kind, words in KINDS.items()
        ]
        self.buttons = dict(zip(KINDS, buttons, strict=True))
        self.written = w.HTML()
        self.json = w.Textarea(rows=9, layout=wide)
        self.load = self.click(w.Button(description="load this state", layout={"width": "140px"}), self._load)
        row = w.HBox(buttons, layout={"flex_flow": "row wrap"})
        right = [w.HTML("<b>Export</b>"), self.folder, self.view, row, self.written,
                 w.HTML("<b>State</b> <span class='casnkit-note'>inspector.load_state({…}) shows this view again</span>"),
                 self.json, self.load]  # fmt: skip
        half = {"flex": "1 1 0", "min_width": "0", "margin": "0 12px 0 0"}
        return w.HBox([w.VBox(left, layout=half), w.VBox(right, layout=half)])

    def _name(self) -> str:
        return self.desk.library.query.name(self.state.query)

    def _save(self) -> None:
        notes = self.panel.inspector.notes
        notes.put(self._name(), self.text.value, self.tags.value)
        self.saved.value = f"<span class='casnkit-note'>saved in {safe(notes.path)}</span>"

    def _export(self, kind: str) -> None:
        path = self.panel.inspector.export(kind, self.view.value, self.folder.value)
        self.written.value = f"written: {safe(path)}"

    def _load(self) -> None:
        try:
            values = json.loads(self.json.value)
        except json.JSONDecodeError as error:
            raise ValueError(f"state: expected JSON, found something else ({error})") from None
        self.panel.inspector.load_state(values)

    def _open(self, query: int | None) -> None:
        if query is not None:
            self.desk.set(query=query)

    def key(self) -> object:
        return self.state, tuple(self.panel.inspector.notes.notes.items())

    def draw(self) -> None:
        notes, name = self.panel.inspector.notes, self._name()
        note = notes.get(name)
        self.title.value = (
            f"<b>Note on query {self.state.query}</b> <span class='casnkit-note'>{safe(name[:80])}</span>"
        )
        self.text.value, self.tags.value = note.text, ", ".join(note.tags)
        place = {self.desk.library.query.name(i): i for i in range(len(self.desk.dataset.query))}
        options = [(_entry(place[key], n), place[key]) for key, n in notes.notes.items() if key in place]
        put(self.noted, self.state.query if note else None, options)
        self.json.value = json.dumps(self.state.to_dict(), indent=1)


def _entry(query: int, note: Any) -> str:
    tags = f"[{', '.join(note.tags)}] " if note.tags else ""
    return f"{query:>5}  {tags}{' '.join(note.text.split())[:60]}"
