"""Every picture of the kit: functions of plain arrays and PIL images that return a matplotlib ``Figure``.

No model, nothing shown: a notebook displays what a function returns, a command passes it to :func:`save_figure`.
"""

import lazy_loader

_NAMES = {
    "style": "figure_png figure_style save_figure show_twin",
    "images": "as_image as_mask overlay upsample show_batch show_channels show_film "
    "show_gallery_of_methods show_identification show_maps",
    "pairs": "show_alignment show_pair show_pairs",
    "curves": "show_cmc show_distributions show_losses show_ranks show_weights",
    "grids": "STATUSES show_differences show_indicators show_league show_rankings",
}
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=list(_NAMES), submod_attrs={module: names.split() for module, names in _NAMES.items()}
)
