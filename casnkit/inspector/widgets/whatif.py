"""Hide something in one of the two images and see at once what becomes of the pair and of the ranking."""

from __future__ import annotations

import dataclasses
from typing import Any

from .. import render, views, whatif
from ..state import FILLS
from .binding import WRAPPED, Part, picture, put, safe, set_image, widgets

KINDS = {
    "none": "nothing",
    "rows": "rows",
    "rectangle": "a rectangle",
    "part": "a part",
    "attended": "the attended area",
    "unattended": "the unattended area",
    "soft mask": "the paper’s soft mask",
}
NEEDS = {
    "rows": ("rows",),
    "rectangle": ("rows", "columns"),
    "part": ("part",),
    "attended": ("share",),
    "unattended": ("share",),
    "soft mask": ("slope", "centre"),
    "none": (),
}


class WhatIfView(Part):
    """Controls of the edit, the pair before and after, and what moved."""

    def build(self) -> Any:
        w = widgets()
        style = {"description_width": "initial"}

        def control(kind: Any, field: str, name: str, width: int, **options: Any) -> Any:
            made = kind(description=name, style=style, layout={"width": f"{width}px"}, **options)
            return self.on(made, lambda value: self._edit(**{field: value}))

        kinds = [(words, name) for name, words in KINDS.items()]
        percent = {"min": 0.0, "max": 1.0, "step": 0.02, "readout_format": ".0%"}
        self.controls = {
            "kind": control(w.Dropdown, "kind", "hide", 220, options=kinds),
            "side": control(
                w.Dropdown, "side", "in the", 190, options=[("query", "query"), ("gallery image", "gallery")]
            ),
            "fill": control(w.Dropdown, "fill", "fill with", 160, options=list(FILLS)),
            "rows": control(w.FloatRangeSlider, "rows", "height", 330, **percent),
            "columns": control(w.FloatRangeSlider, "columns", "width", 330, **percent),
            "part": control(w.Dropdown, "part", "part", 190, options=whatif.PARTS),
            "share": control(w.FloatSlider, "share", "share of pixels", 330, **percent),
            "slope": control(
                w.FloatSlider, "slope", "a (slope)", 300, min=0.0, max=100.0, step=1.0, readout_format=".0f"
            ),
            "centre": control(w.FloatSlider, "centre", "b (centre)", 300, min=0.0, max=1.0, step=0.02),
        }
        first = w.HBox(
            [self.controls[n] for n in ("kind", "side", "fill")],
            layout=WRAPPED,
        )
        rest = [c for name, c in self.controls.items() if name not in ("kind", "side", "fill")]
        second = w.HBox(rest, layout=WRAPPED)
        self.numbers = w.HTML(layout={"margin": "4px 0"})
        self.image = picture("the pair", layout={"width": f"{render.PAGE:g}px", "max_width": "100%"})
        self.image.add_class("casnkit-wide")
        self.moved = w.HTML()
        return w.VBox([first, second, self.numbers, self.image, self.moved])

    def _edit(self, **changes: Any) -> None:
        edit = self.state.edit
        if changes.get("kind") == "part" or (edit.kind == "part" and "side" in changes):
            names = whatif.part_names(self.desk.network(), changes.get("side", edit.side))
            if edit.part not in names:
                changes["part"] = names[len(names) // 3]
        self.desk.set(edit=dataclasses.replace(edit, **changes))

    def key(self) -> object:
        s = self.state
        return (s.query, s.gallery, s.model, s.ranked_by, s.method, s.target, s.normalisation, s.colours, s.opacity,
                s.threshold, s.edit)  # fmt: skip

    def draw(self) -> None:
        rows = [dataclasses.replace(views.picture(self.desk), heading="before")]
        if self.state.edit.kind == "none":
            self.numbers.value = "<span class='casnkit-note'>Choose what to hide.</span>"
            self.moved.value = ""
        else:
            outcome = self.desk.outcome()
            rows.append(views.edited_picture(self.desk))
            self.numbers.value = _numbers(outcome, self.state.edit.fill)
            self.moved.value = _moved(outcome)
        drawn = render.draw_pairs(rows, views.look(self.desk))
        set_image(self.image, drawn, "; ".join(map(views.described, rows)))

    def sync(self) -> None:
        edit, needed = self.state.edit, NEEDS[self.state.edit.kind]
        for name, control in self.controls.items():
            if name not in ("kind", "side", "fill"):
                control.layout.display = None if name in needed else "none"
        names = whatif.part_names(self.desk.network(), edit.side)
        put(self.controls["part"], edit.part if edit.part in names else names[0], names)
        for name in ("kind", "side", "fill", "rows", "columns", "share", "slope", "centre"):
            put(self.controls[name], getattr(edit, name))


def _numbers(outcome: Any, fill: str) -> str:
    found = outcome.found
    (p, q), (rank, new) = found.probability, found.position
    arrow = "▲" if q > p else "▼" if q < p else "="
    moved = f"rank <b>{rank} → {new}</b>" if rank else "not counted by the protocol"
    distance = f"distance {found.distance[0]:.4f} → {found.distance[1]:.4f}"
    where = "query" if found.where == "query" else "gallery image"
    return (
        f"<span class='casnkit-score'>p(same) {p:.2f} → {q:.2f} {arrow} {abs(q - p):.2f}</span> · {moved} · {distance} "
        f"({safe(found.ranked_by)})<br><span class='casnkit-note'>hidden in the {where}: {safe(outcome.note)}, filled with "
        f"{safe(fill)}; {found.hidden:.0%} of the picture</span>"
    )


def _moved(outcome: Any) -> str:
    found = outcome.found
    moves = found.moved(8)
    if not moves:
        return "<b>What moved</b>: nothing; the ranking is the same."
    lines = [
        f"{'▲' if m['gain'] > 0 else '▼'} {abs(m['gain'])}: gallery {m['gallery']} ({safe(m['status'])}), "
        f"rank {m['before']} → {m['after']}"
        for m in moves
    ]
    text = ""
    if found.changes is not None:
        s = found.changes.summary()
        text = f" · true matches: {s['improved']} up, {s['worsened']} down, {s['unchanged']} unchanged"
    return f"<b>What moved most</b>{text}<div style='columns:2'>{'<br>'.join(lines)}</div>"
