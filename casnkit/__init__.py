"""casnkit: see why a network thinks two pictures show the same person.

Consistent Attentive Siamese Networks (Zheng, Karanam, Wu, Radke, CVPR 2019) as a thin library for notebooks. Six modules
are the method itself: attention, config, models, losses, training, runs. Around them stand

    data         pictures of people, real and drawn       ranking      the protocol, attention of all pairs
    evaluation   one network on one data set              explain      other explanations, and how good they are
    figures      every picture                            inspector    query, gallery, two maps, sliders
    experiments  what is true of attention                notebook     what lessons call

Names load on first use (scientific Python's SPEC 1), so that ``import casnkit`` costs next to nothing.
"""

import os

import lazy_loader

# Threads of OpenMP that wait for others spin, and beside a browser training collapses: they give up spinning soon, unless
# the user chose otherwise. It has to be said before torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        *("attention", "config", "models", "losses", "training", "runs"),
        *("data", "ranking", "evaluation", "explain", "figures", "inspector", "experiments", "notebook"),
    ],
    submod_attrs={
        "config": ["Config", "paper_literal", "profile"],
        "data": ["ReidDataset", "Split", "open_dataset"],
        "experiments": ["load_shipped"],
        "inspector": ["Inspector"],
        "losses": ["CASNLoss"],
        "models": ["CASN"],
        "notebook": ["exercises", "report"],
        "ranking": ["evaluate_ranking"],
    },
)
