# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 00 · Start here
#
# Each exercise of [notebook 00](../00_start_here.ipynb), with an answer,
# why it is one, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # of no importance here; "smoke", "quick" or "paper" in the notebooks that train
data = "people:tiny"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np

import casnkit as ck
from casnkit import exercises

session = ck.notebook.start(profile, data)
dataset = session.dataset

# %% [markdown]
# What the exercises start from: CASN and a pair.

# %%
model, info = ck.load_shipped("casn", device=session.device)
casn = ck.evaluation.evaluate(model, dataset, info.config, device=session.device, progress=False)
features = casn.rankings["features"]
A_1, A_2 = (side.feature_maps[[0]].to(session.device) for side in (casn.query, casn.gallery))

# %% [markdown]
# ## 1 · Predict
#
# The classifier sees $f_1 - f_2$. With the pictures exchanged it sees the same numbers with the other sign; other hidden
# units open behind the ReLU, the gradient is another one, and so is $\alpha$. Nothing in the loss asks for symmetry.

# %% tags=["exercise"]
my_prediction = "changes"

# %% tags=["check"]
as_first, as_second = model.siamese_attention_of(A_1, A_2)[0], model.siamese_attention_of(A_2, A_1)[1]
apart = ((as_first - as_second).abs().max() / as_first.max()).item()
reasons = {
    "same": "the pair classifier sees the difference of the features, and its sign turns with the order",
    "changes": "the pair classifier sees f_1 - f_2; its sign turns, other hidden units open, and so the map changes",
}
exercises.check_choice(my_prediction, "same" if apart < 1e-6 else "changes", reasons)

# %% [markdown]
# ## 2 · How coarse is a percent?
#
# One query of `num_valid`. On a small set a difference of a few points is a handful of pictures: remember it before you
# praise a method.

# %% tags=["exercise"]
my_points = 100 / features.num_valid

# %% tags=["check"]
mistakes = {
    "that is a share; points are percent": 1 / features.num_valid,
    "rank-1 is a share of the queries, not of the gallery": 100 / len(dataset.gallery),
}
exercises.check_number(my_points, 100 / features.num_valid, mistakes, tolerance=6e-3)

# %% [markdown]
# ## 3 · Write it


# %% tags=["exercise"]
def share_on_person(attention, mask):
    """Share of the map's sum that lies inside the mask."""
    total = attention.sum()
    return (attention * mask).sum() / total if total > 0 else 0.0


# %% tags=["check"]
def reference(attention, mask):
    return attention[mask].sum() / attention.sum() if attention.sum() > 0 else 0.0


rng, mask = np.random.default_rng(0), np.zeros((8, 4), dtype=bool)
mask[2:7, 1:3] = True
cases = {"a map everywhere": (np.ones((8, 4)), mask), "a random map": (rng.random((8, 4)), mask)}
cases["a map of zeros"] = (np.zeros((8, 4)), mask)
mistakes = {"divide by the map's sum, not by the size of the person": lambda a, m: a[m].sum() / m.sum()}
exercises.check_function(share_on_person, reference, cases, mistakes)
