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
# # Solutions to 02 · Baselines
#
# Each exercise of [notebook 02](../02_baselines.ipynb), with an answer,
# why it is one, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import evaluation, exercises, ranking

session = ck.notebook.start(profile, data)

# %% [markdown]
# What the exercises start from.

# %%
ide = session.run("ide")
ide.model.requires_grad_(False)
result = ide.result.rankings["features"]


def distances_of(layer):
    """(Q, G) distances between what ``layer`` makes of the features of both sides."""
    sides = (ide.result.query, ide.result.gallery)
    return ranking.feature_distances(*(layer(part.features.to(session.device)).cpu() for part in sides))


# %% [markdown]
# ## 1 · Features ten times as long
#
# Every feature is scaled to length one before it is compared; a factor cancels.

# %% tags=["exercise"]
my_prediction = "same"

# %% tags=["check"]
larger = evaluation.rank(distances_of(lambda f: 10 * f), session.dataset).mean_ap
reasons = {
    "same": "only directions are compared; a longer feature points the same way",
    "changes": "what is left of a feature's length once it is scaled to one?",
}
exercises.check_choice(my_prediction, "same" if np.isclose(larger, result.mean_ap, atol=1e-4) else "changes", reasons)

# %% [markdown]
# ## 2 · A loss that knows nothing
#
# Each probability is $1/n$, so the loss is $-\log(1/n) = \log n$, the natural logarithm.

# %% tags=["exercise"]
my_loss = np.log(ide.model.num_ids)

# %% tags=["check"]
n = ide.model.num_ids
mistakes = {
    "the natural logarithm, not that of base 2": np.log2(n),
    "the natural logarithm, not that of base 10": np.log10(n),
    "a loss is positive": -np.log(n),
    "the logarithm is missing": 1 / n,
}
exercises.check_number(my_loss, np.log(n), mistakes, tolerance=0.01)

# %% [markdown]
# ## 3 · Pooling stripes
#
# Cut $h$ into stripes, average over each stripe's rows and columns, then put the stripes before the channels.


# %% tags=["exercise"]
def pool_stripes(A, stripes):
    """Means over horizontal stripes: (B, C, h, w) -> (B, stripes, C)."""
    return A.unflatten(2, (stripes, -1)).mean((3, 4)).transpose(1, 2)


# %% tags=["check"]
def reference(A, stripes):
    return A.unflatten(2, (stripes, -1)).mean((3, 4)).transpose(1, 2)


generator = torch.Generator().manual_seed(0)
cases = {f"{k} stripes": (torch.rand(2, 3, 12, 4, generator=generator), k) for k in (1, 3, 6)}
mistakes = {
    "the last two axes are exchanged: (B, stripes, C)": lambda A, k: reference(A, k).transpose(1, 2),
    "people are taller than wide: stripes run across, so h is cut": lambda A, k: reference(A.transpose(2, 3), k),
    "a mean, not a maximum": lambda A, k: A.unflatten(2, (k, -1)).amax((3, 4)).transpose(1, 2),
}
exercises.check_function(pool_stripes, reference, cases, mistakes)
