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
# # Solutions to 09 · The pair inspector
#
# For each exercise of [notebook 09](../09_pair_inspector.ipynb): an answer, the reason, and the same checking cell. (What a
# good answer to the essay question says stands in the notebook.)

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import attention, exercises
from casnkit.inspector import Inspector
from casnkit.ranking import ignored_mask

session = ck.notebook.start(profile, data)

# %% [markdown]
# The exercises start from this: the query of section 2, its list by the sum, and the maps of the query and the stranger.

# %%
inspector = Inspector({"casn": session.run("casn")}, session.dataset)
inspector.set(ranked_by="sum", filter="rank-1 wrong", order="AP")
candidates = inspector.desk.candidates()
if not candidates:
    inspector.set(filter="all")
    candidates = inspector.desk.candidates()
inspector.set(query=candidates[0])
ranking = inspector.desk.ranking()
both = [torch.from_numpy(m)[None] for m in inspector.desk.maps(candidates[0], ranking.first_of("wrong"))]
on_screen = ranking.ranking.average_precision


def rows_kept(t):
    """How many rows of each map lie between the first and the last one above t."""
    bounds = [attention.crop_bounds(attention.row_profile(m), t) for m in both]
    return [int(last - first) + 1 for first, last in bounds]


# %% [markdown]
# ## 1 · Predict
#
# A row above the larger $t$ is also above the smaller one. So when $t$ grows, the *first* row above $t$ can only move down
# and the *last* one can only move up. The number of rows between them cannot grow.

# %% tags=["exercise"]
my_prediction = "never"

# %% tags=["check"]
steps = np.diff([rows_kept(float(t)) for t in np.linspace(0, 0.95, 20)], axis=0)
turned_out = "never" if (steps <= 0).all() else "always" if (steps > 0).all() else "sometimes"
reasons = {
    "never": "a row above the larger t is above the smaller one, so the first row can only move down, the last one up",
    "sometimes": "can a row be above the larger t and not above the smaller one?",
    "always": "try t = 0.95 in the inspector",
}
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# ## 2 · Count
#
# At the $k$-th true match, $k$ of the pictures up to this rank are right. Average precision is the mean of these shares, one
# for each match.

# %% tags=["exercise"]
ranks = np.sort(ranking.ranking.position[ranking.matches])
my_ap = np.mean([k / rank for k, rank in enumerate(ranks, start=1)])

# %% tags=["check"]
ranks = np.sort(ranking.ranking.position[ranking.matches])
precision, places = np.arange(1, len(ranks) + 1) / ranks, np.arange(1, len(ranks) + 1)
mistakes = {
    "that is the precision at the first match alone": precision[0],
    "that is the mean of 1/rank; at the k-th match, k pictures are right": (1 / ranks).mean(),
    "ranks count from 1": (places / (ranks + 1)).mean(),
    "that is in percent": 100 * on_screen,
}
exercises.check_number(my_ap, on_screen, mistakes, tolerance=2e-4)

# %% [markdown]
# ## 3 · Write it
#
# Junk shows no known person, so it can be neither right nor wrong. A picture of the same person from the same camera is
# almost a copy, and finding it is too easy. Everything else counts, distractors too.


# %% tags=["exercise"]
def left_out(query_pid, query_camid, gallery_pids, gallery_camids):
    own_camera = (gallery_pids == query_pid) & (gallery_camids == query_camid)
    return own_camera | (gallery_pids == -1)


# %% tags=["check"]
def reference(pid, camid, pids, camids):
    return ignored_mask(np.array([pid]), np.array([camid]), pids, camids)[0]


people, cameras = np.array([5, 5, 0, -1, 7, 5, 7]), np.array([1, 2, 1, 1, 1, 1, 2])
cases = {"person 5, camera 1": (5, 1, people, cameras), "person 7, camera 2": (7, 2, people, cameras)}
mistakes = {
    "distractors (pid 0) count": lambda p, c, pids, camids: reference(p, c, pids, camids) | (pids == 0),
    "pictures of the person from other cameras count": lambda p, c, pids, camids: (pids == p) | (pids == -1),
    "other people seen by this camera count": lambda p, c, pids, camids: (camids == c) | (pids == -1),
    "junk never counts": lambda p, c, pids, camids: (pids == p) & (camids == c),
}
exercises.check_function(left_out, reference, cases, mistakes)
