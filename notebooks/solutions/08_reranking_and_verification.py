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
# For each exercise of [notebook 08](../08_reranking_and_verification.ipynb): an answer, the reason, and the same checking
# cell. (What a good answer to the essay question says stands in the notebook.)

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np

import casnkit as ck
from casnkit import exercises, ranking

session = ck.notebook.start(profile, data)

# %% [markdown]
# The exercises start from this.

# %%
query, gallery = session.dataset.query, session.dataset.gallery
sides = (query.pids, query.camids, gallery.pids, gallery.camids)
test = session.run("casn").result

# %% [markdown]
# ## 1 · Squared distances
#
# Distances are never negative, so squaring keeps their order. The area under the curve depends only on the order. The
# threshold is itself a distance, so it is squared as well.

# %% tags=["exercise"]
my_prediction = "the threshold"

# %% tags=["check"]
pairs = {power: ranking.pair_distances(test.distances["features"] ** power, *sides) for power in (1, 2)}
areas = [ranking.verify(pairs[power]).auc for power in (1, 2)]
points = [ranking.choose_thresholds(pairs[power], [0.1])[0.1].threshold for power in (1, 2)]
changed = [not np.isclose(*values, atol=1e-6) for values in (points, areas)]
turned_out = {(True, False): "the threshold", (False, True): "the area", (True, True): "both"}[tuple(changed)]
reason = "the order of the pairs stays the same, so the area does too; a threshold is a distance, so it is squared"
reasons = dict.fromkeys(("the threshold", "the area", "both"), reason)
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# ## 2 · One picture against an archive
#
# One in a hundred of the 5,000 pictures of other people is accepted: 50 pictures. Of the person's own 10 pictures, 8 are
# accepted. So most of what the threshold accepts is wrong, although its false accept rate is low.

# %% tags=["exercise"]
my_share = 8 / (50 + 8)

# %% tags=["check"]
wrong, right = 0.01 * 5000, (1 - 0.2) * 10
mistakes = {
    "that is the share of the wrong ones": wrong / (wrong + right),
    "a fifth of the person's pictures is rejected": 10 / (wrong + 10),
    "20 % are rejected, so 80 % are accepted": 2 / (wrong + 2),
    "divide by all accepted pictures, right and wrong": right / wrong,
    "divide by the accepted pictures, not by the archive": right / 5010,
}
exercises.check_number(my_share, right / (wrong + right), mistakes, tolerance=2e-3)

# %% [markdown]
# ## 3 · Mutual neighbours
#
# $j$ is near $i$ where its rank in row $i$ is below $k$. The transposed matrix answers the same question the other way round.


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
    "that is one-sided: i may not be among the nearest of j": lambda d, k: d.argsort(1).argsort(1) < k,
    "both have to be near, not just one of them": lambda d, k: (near := d.argsort(1).argsort(1) < k) | near.T,
    "a picture is the first of its own k nearest": lambda d, k: (near := d.argsort(1).argsort(1) <= k) & near.T,
}
exercises.check_function(reciprocal, reference, cases, mistakes)
