"""The pair: one picture, its controls, and its numbers in words."""

from __future__ import annotations

from typing import Any

from .. import render
from ..methods import method_options, method_words, target_options
from ..state import COLOURS, NORMALISATIONS
from ..views import described, look, numbers_line, pictures
from .binding import WRAPPED, Part, picture, put, safe, set_image, widgets

SCALES = {"own maximum": "each map by itself", "shared": "one for both"}


class PairView(Part):
    """Map and threshold controls above the picture, numbers below."""

    def build(self) -> Any:
        w = widgets()
        style = {"description_width": "initial"}

        def choice(name: str, field: str, options: Any, width: int, tip: str) -> Any:
            made = w.Dropdown(
                options=options, description=name, style=style, layout={"width": f"{width}px"}, tooltip=tip
            )
            return self.binds(made, field)

        def slider(name: str, field: str, high: float, tip: str) -> Any:
            made = w.FloatSlider(min=0, max=high, step=0.01, description=name, style=style, tooltip=tip,
                                 readout_format=".2f", layout={"width": "272px"})  # fmt: skip
            return self.binds(made, field)

        self.method = self.on(
            w.Dropdown(options=method_options(), description="map", style=style, layout={"width": "330px"},
                       tooltip="how the maps are made"), self._choose_method)  # fmt: skip
        self.target = choice("of", "target", target_options("siamese"), 170, "the score that is explained")
        self.colours = choice("colours", "colours", list(COLOURS), 160, "colour map")
        scales = [(text, name) for name, text in SCALES.items()]
        self.scale = choice("scale", "normalisation", scales, 190, "what is the brightest colour")
        self.opacity = slider("opacity", "opacity", 1.0, "of the map over the image")
        self.threshold = slider("threshold t", "threshold", 0.95, "share of the maximum: contour, rows, IoU")
        self.random = self.binds(
            w.ToggleButton(description="random weights", tooltip="the same map of the same network with random weights",
                           layout={"width": "132px"}), "random_weights")  # fmt: skip
        first = w.HBox(
            [self.method, self.target, self.colours, self.scale],
            layout=WRAPPED,
        )
        second = w.HBox([self.opacity, self.threshold, self.random],
                        layout=WRAPPED)  # fmt: skip
        layout = {"width": f"{render.PAGE:g}px", "max_width": "100%", "margin": "6px 0 0"}
        self.image = picture("the pair", layout=layout)
        self.image.add_class("casnkit-wide")
        self.words = w.HTML()
        return w.VBox([first, second, self.image, self.words])

    def _choose_method(self, method: str) -> None:
        targets = [value for _, value in target_options(method)]
        target = self.state.target if self.state.target in targets else targets[0]
        self.desk.set(method=method, target=target)

    def key(self) -> object:
        s = self.state
        fields = ("query", "gallery", "pinned", "model", "other", "ranked_by", "method", "target", "normalisation",
                  "colours", "opacity", "threshold", "random_weights")  # fmt: skip
        return tuple(getattr(s, field) for field in fields)

    def draw(self) -> None:
        rows, state = [row for row, _ in pictures(self.desk)], self.state
        set_image(self.image, render.draw_pairs(rows, look(self.desk)), "; ".join(map(described, rows)))
        scale = "each map divided by its own maximum" if state.normalisation == NORMALISATIONS[0] else (
            "both maps divided by the larger maximum")  # fmt: skip
        lines = [
            safe(numbers_line(self.desk.pair())),
            f'<span class="casnkit-note">map: {safe(method_words(state.method))}, of {safe(state.target)}; '
            f"{scale}; contour and cut at t = {state.threshold:.2f} of each map’s maximum</span>",
        ]
        self.words.value = "<br>".join(lines)

    def sync(self) -> None:
        s = self.state
        put(self.method, s.method)
        put(self.target, s.target, target_options(s.method))
        for control, value in ((self.colours, s.colours), (self.scale, s.normalisation), (self.opacity, s.opacity),
                               (self.threshold, min(s.threshold, 0.95)), (self.random, s.random_weights)):  # fmt: skip
            put(control, value)
