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
# # Solutions to 08 · Re-ranking and verification
#
# Each exercise of [notebook 08](../08_reranking_and_verification.ipynb), with an answer,
# why it is one, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np

import casnkit as ck
from casnkit import exercises, ranking

session = ck.notebook.start(profile, data)

# %% [markdown]
# What the exercises start from.

# %%
query, gallery = session.dataset.query, session.dataset.gallery
sides = (query.pids, query.camids, gallery.pids, gallery.camids)
test = session.run("casn").result

# %% [markdown]
# ## 1 · Squared distances
#
# Squaring keeps the order of distances, which are never negative. The area under the curve depends on the order alone; the
# threshold is a distance, so it is squared as well.

# %% tags=["exercise"]
my_prediction = "the threshold"

# %% tags=["check"]
pairs = {power: ranking.pair_distances(test.distances["features"] ** power, *sides) for power in (1, 2)}
areas = [ranking.verify(pairs[power]).auc for power in (1, 2)]
points = [ranking.choose_thresholds(pairs[power], [0.1])[0.1].threshold for power in (1, 2)]
changed = [not np.isclose(*values, atol=1e-6) for values in (points, areas)]
turned_out = {(True, False): "the threshold", (False, True): "the area", (True, True): "both"}[tuple(changed)]
reason = "the order of the pairs stays, so every share of them can still be accepted, from another number on"
reasons = dict.fromkeys(("the threshold", "the area", "both"), reason)
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# ## 2 · One picture against an archive
#
# Each of the 5,000 pairs shows two people, and one in a hundred of such pairs is accepted.

# %% tags=["exercise"]
my_alarms = 0.01 * 5000

# %% tags=["check"]
mistakes = {"1 % is a hundredth": 0.001 * 5000, "the rate is per pair, not per search": 0.01, "of 5,000": 0.01 * 500}
exercises.check_number(my_alarms, 0.01 * 5000, mistakes, tolerance=0.5)

# %% [markdown]
# ## 3 · Mutual neighbours
#
# $j$ is near $i$ where its rank in row $i$ is below $k$. The transposed matrix says it the other way round.


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
