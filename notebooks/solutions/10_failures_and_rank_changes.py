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
# # Solutions to 10 · Failures and rank changes
#
# Each exercise of [notebook 10](../10_failures_and_rank_changes.ipynb), with an answer,
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
# What the exercises start from: both networks' distances, and every true match's rank under each.

# %%
casn, ide = session.run("casn"), session.run("ide")
sides = (*(getattr(session.dataset.query, k) for k in ("pids", "camids")),)
sides += (*(getattr(session.dataset.gallery, k) for k in ("pids", "camids")),)
before, after = ide.result.distances["features"], casn.result.distances["sum"]
changes = ranking.rank_changes(before, after, *sides)

# %% [markdown]
# ## 1 · Predict
#
# Exchange the two rankings and every gain becomes a loss. Both are drawn alike, so neither direction can be more frequent:
# about half move up. A list of "top gains" can be made of pure noise.

# %% tags=["exercise"]
my_prediction = "about half"

# %% tags=["check"]
again = np.random.default_rng(1)
shares = []
for _ in range(10):
    noise = ranking.rank_changes(again.random(before.shape), again.random(before.shape), *sides)
    shares.append((noise.gain > 0).mean())
up = float(np.mean(shares))
print(f"{up:.3f} move up on average")
because = "both rankings are drawn alike, so gains and losses are equally likely; a few stay where they are"
reasons = dict.fromkeys(("under a third", "about half", "over two thirds"), because)
exercises.check_choice(
    my_prediction, "under a third" if up < 1 / 3 else "about half" if up <= 2 / 3 else "over two thirds", reasons
)

# %% [markdown]
# ## 2 · Count
#
# Rank-1 is the share of queries whose first picture is a true match. It changes by those that won it minus those that lost
# it.

# %% tags=["exercise"]
won, lost = len(changes.rank_1_gained()), len(changes.rank_1_lost())
my_points = 100 * (won - lost) / len(np.unique(changes.query))

# %% tags=["check"]
rank_1 = [run.result.rankings[by].cmc[0] for run, by in ((casn, "sum"), (ide, "features"))]
won, lost, queries = len(changes.rank_1_gained()), len(changes.rank_1_lost()), len(np.unique(changes.query))
mistakes = {
    "what was lost counts, too": 100 * won / queries,
    "that is a share; points are percent": rank_1[0] - rank_1[1],
    "rank-1 is a share of queries, not of true matches": 100 * (won - lost) / len(changes),
    "from IDE to CASN: the sign is turned": 100 * (rank_1[1] - rank_1[0]),
}
exercises.check_number(my_points, 100 * (rank_1[0] - rank_1[1]), mistakes, tolerance=6e-3)

# %% [markdown]
# ## 3 · Write it
#
# Each map has its own maximum: the unit of a map is arbitrary, so $t$ must be a share of it.


# %% tags=["exercise"]
def overlap(first, second, t):
    a, b = first > t * first.max(), second > t * second.max()
    union = (a | b).sum()
    return (a & b).sum() / union if union else 0.0


# %% tags=["check"]
def reference(first, second, t):
    a, b = first > t * first.max(), second > t * second.max()
    return (a & b).sum() / max(1, (a | b).sum())


one, two = (np.random.default_rng(k).random((8, 4)) for k in (0, 1))
cases = {"two maps": (one, two, 0.5), "one five times as bright": (one, 5 * two, 0.5)}
cases["maps of zeros"] = (np.zeros((8, 4)), np.zeros((8, 4)), 0.5)
mistakes = {
    "each map has its own maximum": lambda a, b, t: ((a > t) & (b > t)).sum() / max(1, ((a > t) | (b > t)).sum()),
    "divide by the union": lambda a, b, t: (
        ((a > t * a.max()) & (b > t * b.max())).sum() / max(1, (a > t * a.max()).sum())
    ),
}
exercises.check_function(overlap, reference, cases, mistakes)
