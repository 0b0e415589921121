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
# # Solutions to 04 · Siamese attention
#
# Each exercise of [notebook 04](../04_siamese_attention.ipynb), with an answer,
# why it is one, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import attention, exercises

session = ck.notebook.start(profile, data)

# %% [markdown]
# What the exercises start from: some queries, a gallery picture for each, and the paper's maps of these pairs.

# %%
casn = session.run("casn")
model, result = casn.model.requires_grad_(False), casn.result
g = result.distances["features"].argmin(1)[:200]
A_q, A_g = (part.feature_maps[: len(g)] for part in (result.query, result.gallery.subset(g)))
A_q, A_g = A_q.to(session.device), A_g.to(session.device)
f_2 = model.pool(A_g)
of_mode = {"paper": torch.cat(model.siamese_attention_of(A_q, A_g))}

# %% [markdown]
# ## 1 · Predict
#
# $f_1 - f_2$ is zero for every picture with itself. The classifier sees only its own constants, so $z$ and $\alpha$ are the
# same for all: a list of channels that has nothing to do with the picture.

# %% tags=["exercise"]
my_prediction = "same"

# %% tags=["check"]
of_itself = model.pair_gradient(f_2 - f_2) > 0
print(f"{of_itself[0].sum()} of {of_itself.shape[1]} channels are on")
reasons = {
    "same": "the classifier sees zero whatever the picture is; the maps still differ, because the channels do",
    "differs": "alpha depends on the picture only through the difference: what does the classifier see of it here?",
}
exercises.check_choice(my_prediction, "same" if (of_itself == of_itself[0]).all() else "differs", reasons)

# %% [markdown]
# ## 2 · Predict
#
# It depends on the network, so here the solution is to *measure*: the first line of the checking cell below, by hand. A sum
# of many non-negative channels with weights zero or one is bright where many channels are active, whichever half is drawn.

# %% tags=["exercise"]
generator = torch.Generator().manual_seed(0)
half = (torch.rand(len(A_q), A_q.shape[1], generator=generator) < 0.5).to(A_q)
median = attention.map_correlation(attention.siamese_map(A_q, half), of_mode["paper"][: len(A_q)]).median()
my_guess = "below 0.5" if median < 0.5 else "0.5 to 0.8" if median <= 0.8 else "above 0.8"

# %% tags=["check"]
generator = torch.Generator().manual_seed(0)
chosen = (torch.rand(len(A_q), A_q.shape[1], generator=generator) < 0.5).to(A_q)
paper_maps = of_mode["paper"][: len(A_q)]
alike = attention.map_correlation(attention.siamese_map(A_q, chosen), paper_maps).median().item()
print(f"median correlation {alike:.3f}")
reason = "sums of many channels with equal weights share most of what they show: the places where the trunk is active"
reasons = dict.fromkeys(("below 0.5", "0.5 to 0.8", "above 0.8"), reason)
turned_out = "below 0.5" if alike < 0.5 else "0.5 to 0.8" if alike <= 0.8 else "above 0.8"
exercises.check_choice(my_guess, turned_out, reasons)

# %% [markdown]
# ## 3 · Write it


# %% tags=["exercise"]
def crop(profile, t):
    """The values of a profile (h,) from the first to the last row above t times its maximum."""
    above = np.flatnonzero(profile > t * profile.max())
    return profile[above[0] : above[-1] + 1]


# %% tags=["check"]
def reference(profile, t):
    first, last = attention.crop_bounds(attention.normalise_map(torch.tensor(profile)[None]), t)
    return profile[first.item() : last.item() + 1]


cases = {
    "one peak": (np.array([0.1, 0.2, 0.9, 0.8, 0.1]), 0.5),
    "a dip in the middle": (np.eye(6)[1] + np.eye(6)[4], 0.5),
}
cases["a maximum other than one"] = (np.array([1.0, 1.5, 4.0, 3.0, 0.5]), 0.3)
mistakes = {
    "rows between the first and the last stay, also low ones": lambda p, t: p[p > t * p.max()],
    "the last row belongs to the crop": lambda p, t: reference(p, t)[:-1],
}
exercises.check_function(crop, reference, cases, mistakes)
