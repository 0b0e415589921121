"""Every picture of the kit: functions of plain arrays and PIL images that return a matplotlib ``Figure``.

No model, no pyplot state, nothing shown: a notebook displays what a function returns, a command passes it to
:func:`save_figure`. matplotlib is imported when the first picture is drawn.
"""

from __future__ import annotations

from .curves import show_cmc, show_losses
from .difference import show_difference
from .equations import show_channels, show_distributions, show_indicators, show_weights
from .film import show_film, show_progress
from .maps import overlay, show_identification, show_maps
from .pairs import show_pair
from .rankings import STATUSES, show_ranking, show_rankings
from .saving import figure_png, save_figure
from .sheets import show_batch
from .steps import show_alignment, show_thresholds
from .style import figure_style

__all__ = [
    "STATUSES",
    "figure_png",
    "figure_style",
    "overlay",
    "save_figure",
    "show_alignment",
    "show_batch",
    "show_channels",
    "show_cmc",
    "show_difference",
    "show_distributions",
    "show_film",
    "show_identification",
    "show_indicators",
    "show_losses",
    "show_maps",
    "show_pair",
    "show_progress",
    "show_ranking",
    "show_rankings",
    "show_thresholds",
    "show_weights",
]
