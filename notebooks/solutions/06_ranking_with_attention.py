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
# # Solutions to 06 · Ranking with attention
#
# Each exercise of [notebook 06](../06_ranking_with_attention.ipynb), with an answer,
# why it is one, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np

import casnkit as ck
from casnkit import evaluation, exercises, ranking

session = ck.notebook.start(profile, data)

# %% [markdown]
# What the exercises start from.

# %%
dataset = session.dataset
distances = session.run("casn").result.distances["features"]
scaled = {"as it is": distances, "minmax per query": ranking.normalise_distances(distances, "minmax", "query")}


# %% [markdown]
# ## 1 · Scaled per query
#
# A row is shifted and stretched by positive numbers: its order stays. Only rows among each other are changed.

# %% tags=["exercise"]
my_prediction = "same"

# %% tags=["check"]
plain_ap, scaled_ap = (evaluation.rank(scaled[name], dataset).mean_ap for name in ("as it is", "minmax per query"))
reasons = {
    "same": "every row keeps its order; only where rows are compared with each other, as by a threshold, it matters",
    "changes": "a row is shifted and stretched: can that make a larger distance smaller than another of that row?",
}
exercises.check_choice(my_prediction, "same" if np.isclose(plain_ap, scaled_ap) else "changes", reasons)

# %% [markdown]
# ## 2 · One picture against an archive
#
# Each of the 5,000 pairs is one of two people, and one in a hundred of such pairs is accepted.

# %% tags=["exercise"]
my_alarms = 0.01 * 5000

# %% tags=["check"]
mistakes = {"1 % is a hundredth": 0.001 * 5000, "the rate is per pair, not per search": 0.01, "of 5,000": 0.01 * 500}
exercises.check_number(my_alarms, 0.01 * 5000, mistakes, tolerance=0.5)

# %% [markdown]
# ## 3 · Returned courtesy
#
# $j$ is near $i$ where its rank in row $i$ is below $k$; the same matrix transposed says it the other way round.


# %% tags=["exercise"]
def reciprocal(d, k):
    """True where each is among the other's k nearest."""
    near = d.argsort(1).argsort(1) < k
    return near & near.T


# %% tags=["check"]
def reference(d, k):
    near = d.argsort(1).argsort(1) < k
    return near & near.T


places = np.random.default_rng(0).random((2, 12, 3))
cases = {f"k = {k}": (np.linalg.norm(p[:, None] - p, axis=2), k) for k, p in zip((2, 5), places, strict=True)}
mistakes = {
    "that is one-sided: j may not return it": lambda d, k: d.argsort(1).argsort(1) < k,
    "both have to be near, not one of them": lambda d, k: (near := d.argsort(1).argsort(1) < k) | near.T,
    "a picture is the first of its own k nearest": lambda d, k: (near := d.argsort(1).argsort(1) <= k) & near.T,
}
exercises.check_function(reciprocal, reference, cases, mistakes)
