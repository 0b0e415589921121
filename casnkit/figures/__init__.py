"""Every picture of the kit: functions of plain arrays and PIL images that return a matplotlib ``Figure``.

No model, no pyplot state, nothing shown: a notebook displays what a function returns, a command passes it to
:func:`save_figure`. matplotlib is imported when the first picture is drawn.
"""

from __future__ import annotations

from .ablation import show_differences
from .agreement import show_agreement
from .breakdown import show_camera_pairs, show_weight_curve
from .curves import show_cmc, show_losses
from .difference import show_difference
from .equations import show_channels, show_distributions, show_indicators, show_weights
from .film import show_film, show_progress
from .league import show_gallery_of_methods, show_league
from .maps import overlay, show_identification, show_maps
from .pairs import show_pair
from .precision import show_precision
from .rankings import STATUSES, show_ranking, show_rankings
from .saving import figure_png, save_animation, save_figure
from .scrutiny import show_curves, show_sanity
from .sheets import show_batch
from .steps import show_alignment, show_thresholds
from .style import figure_style
from .tour import show_step
from .verification import show_distance_histograms, show_roc

__all__ = [
    "STATUSES",
    "figure_png",
    "figure_style",
    "overlay",
    "save_animation",
    "save_figure",
    "show_agreement",
    "show_alignment",
    "show_batch",
    "show_camera_pairs",
    "show_channels",
    "show_cmc",
    "show_curves",
    "show_difference",
    "show_differences",
    "show_distance_histograms",
    "show_distributions",
    "show_film",
    "show_gallery_of_methods",
    "show_identification",
    "show_indicators",
    "show_league",
    "show_losses",
    "show_maps",
    "show_pair",
    "show_precision",
    "show_progress",
    "show_ranking",
    "show_rankings",
    "show_roc",
    "show_sanity",
    "show_step",
    "show_thresholds",
    "show_weight_curve",
    "show_weights",
]


# facade: to be replaced
_FACADE = {
    "show_film": "casnkit.figures.film",
    "show_progress": "casnkit.figures.film",
    "upsample": "casnkit.figures.inputs",
    "map_limits": "casnkit.figures.difference",
    "show_gallery_of_methods": "casnkit.figures.league",
    "show_league": "casnkit.figures.league",
    "show_differences": "casnkit.figures.ablation",
    "show_distance_histograms": "casnkit.figures.verification",
    "show_roc": "casnkit.figures.verification",
    "show_camera_pairs": "casnkit.figures.breakdown",
    "show_weight_curve": "casnkit.figures.breakdown",
    "show_curves": "casnkit.figures.scrutiny",
    "show_sanity": "casnkit.figures.scrutiny",
    "overlay": "casnkit.figures.maps",
    "as_image": "casnkit.figures.inputs",
    "as_mask": "casnkit.figures.inputs",
    "spread_evenly": "casnkit.figures.film",
    "show_precision": "casnkit.figures.precision",
}
_FACADE_MODULES = []


def __getattr__(name):
    from importlib import import_module

    if name in _FACADE:
        return getattr(import_module(_FACADE[name]), name)
    if not name.startswith("__"):
        for module in _FACADE_MODULES:
            if module != __name__:
                found = import_module(module)
                if hasattr(found, name):
                    return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
