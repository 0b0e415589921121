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
# For each exercise of [notebook 10](../10_failures_and_rank_changes.ipynb): an answer, the reason, and the same checking
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
# The exercises start from this: the distances of both networks, and the rank of every true match under each.

# %%
casn, ide = session.run("casn"), session.run("ide")
sides = (*(getattr(session.dataset.query, k) for k in ("pids", "camids")),)
sides += (*(getattr(session.dataset.gallery, k) for k in ("pids", "camids")),)
before, after = ide.result.distances["features"], casn.result.distances["sum"]
changes = ranking.rank_changes(before, after, *sides)

# %% [markdown]
# ## 1 · Predict
#
# A query is in the worst fifth because it is hard, and because this network had bad luck with it. The luck does not repeat
# itself under another network. So the chosen queries look better there, in *both* directions, whichever network is better.
# This is called regression to the mean. (We compute the answer here: with very few queries, or with perfect lists, it can
# come out differently.)

# %% tags=["exercise"]
precision = [
    100 * ide.result.rankings["features"].average_precision,
    100 * casn.result.rankings["sum"].average_precision,
]
rises = []
for chosen_by, seen_by in (precision, precision[::-1]):
    worst_fifth = np.argsort(chosen_by)[: max(1, np.isfinite(chosen_by).sum() // 5)]
    rises.append((seen_by - chosen_by)[worst_fifth].mean() > 0)
my_prediction = {(1, 1): "both", (1, 0): "IDE to CASN", (0, 1): "CASN to IDE", (0, 0): "neither"}[
    tuple(map(int, rises))
]

# %% tags=["check"]
precision = [
    100 * ide.result.rankings["features"].average_precision,
    100 * casn.result.rankings["sum"].average_precision,
]
rises = []
for chosen_by, seen_by in (precision, precision[::-1]):
    worst_fifth = np.argsort(chosen_by)[: max(1, np.isfinite(chosen_by).sum() // 5)]
    rises.append(float((seen_by - chosen_by)[worst_fifth].mean()))
turned_out = {(True, True): "both", (True, False): "IDE to CASN", (False, True): "CASN to IDE"}
told = "IDE to CASN {:+.1f} points, CASN to IDE {:+.1f}: what was chosen as the worst was partly bad luck,".format(
    *rises
)
reasons = dict.fromkeys(("IDE to CASN", "CASN to IDE", "both", "neither"), f"{told} and luck does not repeat itself")
exercises.check_choice(my_prediction, turned_out.get((rises[0] > 0, rises[1] > 0), "neither"), reasons)

# %% [markdown]
# ## 2 · Count
#
# Rank-1 is the share of queries whose first picture is a true match. It changes by the queries that gained this minus the
# queries that lost it.

# %% tags=["exercise"]
won, lost = len(changes.rank_1_gained()), len(changes.rank_1_lost())
my_points = 100 * (won - lost) / len(np.unique(changes.query))

# %% tags=["check"]
rank_1 = [run.result.rankings[by].cmc[0] for run, by in ((casn, "sum"), (ide, "features"))]
won, lost, queries = len(changes.rank_1_gained()), len(changes.rank_1_lost()), len(np.unique(changes.query))
mistakes = {
    "the lost ones count, too": 100 * won / queries,
    "that is a share; points are percent": rank_1[0] - rank_1[1],
    "rank-1 is a share of queries, not of true matches": 100 * (won - lost) / len(changes),
    "from IDE to CASN: the sign is turned": 100 * (rank_1[1] - rank_1[0]),
}
exercises.check_number(my_points, 100 * (rank_1[0] - rank_1[1]), mistakes, tolerance=6e-3)

# %% [markdown]
# ## 3 · Write it
#
# Each map has its own maximum. The unit of a map is arbitrary, so $t$ must be a share of that maximum.


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
