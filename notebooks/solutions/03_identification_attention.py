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
# # Solutions to 03 · Identification attention
#
# Each exercise of [notebook 03](../03_identification_attention.ipynb), with an answer,
# why it is one, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import torch

import casnkit as ck
from casnkit import attention, exercises, report

session = ck.notebook.start(profile, data)

# %% [markdown]
# What the exercises start from: one training picture, its feature map and the weights of its own class.

# %%
model, train = session.run("casn").model.requires_grad_(False), session.dataset.train
labels, _ = ck.data.labels_of(train.pids)
i = report.training_examples(train, 3)[1]
x, label = session.images("train", [i]), torch.tensor(labels[[i]], device=session.device)
A = model.feature_map(x)
w = attention.channel_weights(model.label_gradient(model.pool(A), label), *A.shape[1:])

# %% [markdown]
# ## 1 · Predict
#
# $M$ is a ReLU of a sum that is linear in the weights, so a positive factor comes out in front: the map doubles. The mask
# is made of $M$ scaled to $[0, 1]$ by its own extremes, and there the factor cancels.

# %% tags=["exercise"]
my_prediction = "only the map"

# %% tags=["check"]
once, twice = (attention.weighted_map(A, factor * w) for factor in (1, 2))
mask_once, mask_twice = (attention.image_mask(m, x.shape[2:], 10, 0.5) for m in (once, twice))
changed = (not torch.allclose(once, twice), not torch.allclose(mask_once, mask_twice, atol=1e-4))
turned_out = {(1, 1): "both change", (1, 0): "only the map", (0, 1): "only the mask", (0, 0): "neither"}[changed]
reasons = {
    "both change": "one of them is scaled to [0, 1] before it is used",
    "only the map": "M is linear in the weights; the mask is made of M scaled to [0, 1], which divides the factor out",
    "only the mask": "the map is a sum of weight times channel: what does a factor in every term do?",
    "neither": "the map is a sum of weight times channel: what does a factor in every term do?",
}
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# ## 2 · Count
#
# A little is hidden everywhere; that is the price of a smooth mask.

# %% tags=["exercise"]
my_share = 1 / (1 + 2.718281828**5)

# %% tags=["check"]
at_zero, at_one = (attention.soft_mask(torch.tensor(m), 10, 0.5).item() for m in (0.0, 1.0))
mistakes = {"that is what is hidden where attention is strongest": at_one, "the sigmoid is never quite zero": 0.0}
exercises.check_number(my_share, at_zero, mistakes, tolerance=3e-4)

# %% [markdown]
# ## 3 · Write it


# %% tags=["exercise"]
def my_map(A, w):
    """ReLU of the weighted sum of the channels: (B, C, h, w), (B, C) -> (B, h, w)."""
    return (w[:, :, None, None] * A).sum(1).clamp_min(0)


# %% tags=["check"]
generator = torch.Generator().manual_seed(0)
sizes = {"one picture": (1, 4, 3, 2), "three pictures": (3, 5, 2, 4)}
cases = {n: (torch.rand(s, generator=generator), torch.randn(s[:2], generator=generator)) for n, s in sizes.items()}
mistakes = {
    "the ReLU is missing": lambda A, w: (w[:, :, None, None] * A).sum(1),
    "first the sum, then the ReLU": lambda A, w: (w[:, :, None, None] * A).clamp_min(0).sum(1),
    "a sum over the channels, not a mean": lambda A, w: (w[:, :, None, None] * A).mean(1).clamp_min(0),
}
exercises.check_function(my_map, attention.weighted_map, cases, mistakes)
