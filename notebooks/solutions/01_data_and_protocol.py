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
# # Solutions to 01 · Data and protocol
#
# Each exercise of [notebook 01](../01_data_and_protocol.ipynb) with an answer, the reason, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import exercises

session = ck.notebook.start(profile, data)

# %% [markdown]
# What the exercises start from: distances between stripes of colour, as in section 4.

# %%
query, gallery = session.dataset.query, session.dataset.gallery
images = [session.images(name, np.arange(len(part))) for name, part in (("query", query), ("gallery", gallery))]
colours = [torch.nn.functional.adaptive_avg_pool2d(part, (6, 1)).flatten(1).cpu() for part in images]
distances = torch.cdist(*colours).numpy()
sides = (query.pids, query.camids, gallery.pids, gallery.camids)
result = ck.evaluate_ranking(distances, *sides)
chance = ck.evaluate_ranking(np.random.default_rng(0).random(distances.shape), *sides)

# %% [markdown]
# ## 1 · By hand
#
# Without the junk the list is *right, wrong, right, wrong, right*: the hits stand at ranks 1, 3 and 5.

# %% tags=["exercise"]
my_average_precision = (1 / 1 + 2 / 3 + 3 / 5) / 3

# %% tags=["check"]
listed = [5, 7, -1, 5, 8, 5]  # pids; the query's is 5
right = ck.ranking.rank_gallery(np.arange(6.0), 5, 1, listed, [2] * 6).average_precision
mistakes = {
    "junk takes no place in the list: remove it before you count ranks": (1 + 2 / 4 + 3 / 6) / 3,
    "take the mean over the hits, not over all places": (1 + 2 / 3 + 3 / 5) / 5,
    "that is the share of right pictures; AP asks for it at each hit": 3 / 5,
}
exercises.check_number(my_average_precision, right, mistakes, tolerance=6e-3)

# %% [markdown]
# ## 2 · Predict
#
# Precision is computed only at hits. No hit stands below the new pictures, so every precision stays the same. A distractor
# costs something only where it stands *before* a hit.

# %% tags=["exercise"]
my_prediction = "stays"

# %% tags=["check"]
far = np.hstack([distances, distances.max() + np.random.default_rng(0).random((len(query), 1000))])
more = [np.append(values, [filler] * 1000) for values, filler in ((gallery.pids, 0), (gallery.camids, 1))]
change = ck.evaluate_ranking(far, *sides[:2], *more).mean_ap - result.mean_ap
reasons = {
    "rises": "wrong answers never help: look at where they stand",
    "falls": "they are wrong answers, but AP reads the list only down to the last hit, and they stand below it",
    "stays": "AP reads the list only down to the last hit, and the new pictures stand below it",
}
exercises.check_choice(my_prediction, "stays" if abs(change) < 1e-12 else "falls", reasons)

# %% [markdown]
# ## 3 · Write it


# %% tags=["exercise"]
def inverse_negative_penalty(hits):
    """Number of hits over the rank (counted from 1) of the last hit; nan without a hit."""
    places = np.flatnonzero(hits)
    return len(places) / (places[-1] + 1) if len(places) else np.nan


# %% tags=["check"]
def reference(hits):
    n = len(hits)
    found = ck.ranking.rank_gallery(np.arange(float(n)), 1, 1, np.where(hits, 1, 2), np.full(n, 2))
    last = found.position[np.asarray(hits)].max() if any(hits) else np.nan
    return np.sum(hits) / last


cases = {"one hit in front": [[1, 0, 0]], "three hits": [[0, 1, 1, 0, 1]], "all hits": [[1, 1]], "no hit": [[0, 0]]}
cases = {name: [np.array(hits, dtype=bool)] for name, (hits,) in cases.items()}
mistakes = {
    "ranks are counted from 1, places from 0": lambda hits: np.sum(hits) / max(np.flatnonzero(hits), default=np.nan)
}
exercises.check_function(inverse_negative_penalty, reference, cases, mistakes)

# %% [markdown]
# ## 4 · Cheat
#
# Pictures of the same camera get the distance 1, all others 0. This looks useless, because it says nothing about people. But
# by the rules a match always comes from *another* camera, while wrong answers come from all cameras. So "closer if the
# cameras differ" moves only wrong answers to the end. The checking cell prints what this is worth here. A network that
# learns to *recognise cameras* can profit in the same way.

# %% tags=["exercise"]
my_distances = (query.camids[:, None] == gallery.camids).astype(float)


# %% tags=["check"]
def by_camera(d):
    return ck.evaluate_ranking(np.asarray(d) + 1e-3 * np.random.default_rng(0).random(distances.shape), *sides).mean_ap


same_camera = (query.camids[:, None] == gallery.camids).astype(float)
got, scores = None, {"chance": chance.mean_ap, "six stripes": result.mean_ap}
if my_distances is not None:
    got = scores["your distances"] = by_camera(my_distances)
    print({name: round(score, 4) for name, score in scores.items()})
exercises.check_number(
    got, by_camera(same_camera), {"the sign: lower must mean closer": by_camera(-same_camera)}, tolerance=5e-3
)
