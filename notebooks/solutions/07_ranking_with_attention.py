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
# # Solutions to 07 · Ranking with attention
#
# For each exercise of [notebook 07](../07_ranking_with_attention.ipynb): an answer, the reason, and the same checking cell.
# (What a good answer to the essay question says stands in the notebook.)

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np

import casnkit as ck
from casnkit import evaluation, exercises, ranking

session = ck.notebook.start(profile, data)

# %% [markdown]
# The exercises start from this.

# %%
dataset = session.dataset
ways = session.run("casn").result.distances

# %% [markdown]
# ## 1 · Scaled per query
#
# Each row is shifted by a constant and divided by a positive number, so its order stays the same. Only a comparison between
# rows changes.

# %% tags=["exercise"]
my_prediction = "same"

# %% tags=["check"]
per_query = ranking.normalise_distances(ways["features"], "minmax", "query")
plain_ap, scaled_ap = (evaluation.rank(d, dataset).mean_ap for d in (ways["features"], per_query))
reasons = {
    "same": "every row keeps its order; only a comparison between rows, such as a threshold, is affected",
    "changes": "a row is shifted and stretched: can that make a larger distance smaller than another one in that row?",
}
exercises.check_choice(my_prediction, "same" if np.isclose(plain_ap, scaled_ap) else "changes", reasons)

# %% [markdown]
# ## 2 · When are two pictures level?
#
# $(1 - w) \cdot 0 + w \cdot 1 = (1 - w) \cdot 0.5 + w \cdot 0.2$, so $w = 0.5 - 0.3\,w$ and $w = 0.5 / 1.3$.

# %% tags=["exercise"]
my_weight = 0.5 / 1.3

# %% tags=["check"]
features, attentive = np.array([0, 0.5, 1]), np.array([1, 0.2, 0])
shares = np.linspace(0, 1, 100_001)[:, None]
sums = (1 - shares) * features + shares * attentive
level = shares[(sums[:, 1] <= sums[:, 0]).argmax(), 0]
mistakes = {
    "there the third picture is level with the first": shares[(sums[:, 2] <= sums[:, 0]).argmax(), 0],
    "features have the share 1 - w, not w": 1 - level,
    "when attention counts more, features count less": 0.5 / 0.8,
}
exercises.check_number(my_weight, level, mistakes, tolerance=2e-3)


# %% [markdown]
# ## 3 · The weighted sum
#
# Each row has its own minimum and maximum. We keep them as columns, so that they can be subtracted from the rows.


# %% tags=["exercise"]
def weighted_sum(first, second, w):
    """(1 - w) times the first and w times the second matrix, each scaled to [0, 1] row by row: (Q, G)."""
    low_1, low_2 = (d.min(1, keepdims=True) for d in (first, second))
    scaled_1 = (first - low_1) / (first.max(1, keepdims=True) - low_1)
    scaled_2 = (second - low_2) / (second.max(1, keepdims=True) - low_2)
    return (1 - w) * scaled_1 + w * scaled_2


# %% tags=["check"]
def row_scaled(d):
    return (d - d.min(1, keepdims=True)) / (d.max(1, keepdims=True) - d.min(1, keepdims=True))


def reference(first, second, w):
    return (1 - w) * row_scaled(first) + w * row_scaled(second)


matrices = np.random.default_rng(0).random((2, 4, 6)) * np.array([1, 30])[:, None, None] + 2
cases = {f"w = {w}": (*matrices, w) for w in (0.0, 0.3, 1.0)}
mistakes = {
    "scale both before you add them": lambda a, b, w: (1 - w) * a + w * b,
    "w is the share of the second matrix": lambda a, b, w: reference(a, b, 1 - w),
    "each row has its own minimum and maximum": lambda a, b, w: (
        (1 - w) * (a - a.min()) / np.ptp(a) + w * (b - b.min()) / np.ptp(b)
    ),
}
exercises.check_function(weighted_sum, reference, cases, mistakes)
