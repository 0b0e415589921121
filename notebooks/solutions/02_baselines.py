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
# Each exercise of [notebook 02](../02_baselines.ipynb) with an answer, the reason, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import exercises, losses

session = ck.notebook.start(profile, data)

# %% [markdown]
# What the exercises start from.

# %%
ide = session.run("ide")

# %% [markdown]
# ## 1 · The gradient of equation 1
#
# The loss of one picture is $-y_c + \log \sum_k e^{y_k}$. The second term has the derivative $e^{y_j} / \sum_k e^{y_k}$, the
# softmax; the first takes one away in the label's column. So every wrong name is pushed down by its probability, and the
# right one is pulled up by what it lacks. The mean over the batch divides everything by B.


# %% tags=["exercise"]
def loss_gradient(scores, labels):
    """Gradient of the mean of equation 1 by the scores: (B, n), (B,) -> (B, n)."""
    wanted = torch.nn.functional.one_hot(labels, scores.shape[1])
    return (scores.softmax(1) - wanted) / len(scores)


# %% tags=["check"]
def by_autograd(scores, labels):
    leaf = scores.clone().requires_grad_()
    return torch.autograd.grad(losses.identification_loss(leaf[:, None], labels), leaf)[0]


noise = torch.Generator().manual_seed(0)
cases = {
    f"{b} pictures of {n} people": (torch.randn(b, n, generator=noise), torch.arange(b)) for b, n in ((2, 3), (5, 7))
}
mistakes = {
    "the label's own column gets one less": lambda y, c: y.softmax(1) / len(y),
    "the loss is a mean over the batch: divide by its size": lambda y, c: len(y) * by_autograd(y, c),
    "the sign: a higher score of the label lowers the loss": lambda y, c: -by_autograd(y, c),
    "the other columns have a gradient too": lambda y, c: by_autograd(y, c) * (torch.arange(y.shape[1]) == c[:, None]),
}
exercises.check_function(loss_gradient, by_autograd, cases, mistakes)

# %% [markdown]
# ## 2 · A loss without information
#
# Each probability is $1/n$, so the loss is $-\log(1/n) = \log n$, with the natural logarithm. A training from random weights
# starts near this value.

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
# Cut $h$ into stripes, average over each stripe's rows and columns, then move the stripes before the channels.


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
    "stripes are horizontal: cut h, not w": lambda A, k: reference(A.transpose(2, 3), k),
    "take the mean, not the maximum": lambda A, k: A.unflatten(2, (k, -1)).amax((3, 4)).transpose(1, 2),
}
exercises.check_function(pool_stripes, reference, cases, mistakes)
