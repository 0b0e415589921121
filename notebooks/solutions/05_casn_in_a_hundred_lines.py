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
# # Solutions to 05 · CASN in a hundred lines
#
# Each exercise of [notebook 05](../05_casn_in_a_hundred_lines.ipynb) with an answer, the reason, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import torch
import torch.nn.functional as F

import casnkit as ck
from casnkit import exercises, losses

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · Predict
#
# `distance[same]` leaves pairs of two people out of the mean, so no gradient reaches their maps. This also means that one
# constant profile for everybody would be a perfect answer: nothing asks the maps of two people to differ.

# %% tags=["exercise"]
my_prediction = "same"


# %% tags=["check"]
def reached():
    maps = torch.rand(2, 4, 6, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    same = torch.tensor([True, False, True, False])
    losses.consistency_loss(*maps, same).backward()
    heard = maps.grad.abs().sum((0, 2, 3)) > 0
    return "all" if heard.all() else "same" if heard[same].all() else "different"


reasons = {
    "all": "pairs of two people are left out of the mean: nothing asks their maps to differ",
    "same": "only pairs of one person are asked to look alike; nothing asks the others to differ",
    "different": "it is the other way round: only pairs of one person are asked to look alike",
}
exercises.check_choice(my_prediction, reached() if my_prediction else "same", reasons)

# %% [markdown]
# ## 2 · Equation 3
#
# `log_softmax` turns both scores into logarithms of probabilities. The right answer is column 1 if the pair shows one person,
# and column 0 if not: `same.long()` is the number of that column.


# %% tags=["exercise"]
def my_pair_loss(z, same):
    return -z.log_softmax(1).gather(1, same.long()[:, None]).mean()


# %% tags=["check"]
noise = torch.Generator().manual_seed(0)
cases = {
    "eight pairs": (torch.randn(8, 2, generator=noise), torch.arange(8) % 3 == 0),
    "no pair of one person": (torch.randn(5, 2, generator=noise), torch.zeros(5, dtype=torch.bool)),
}
mistakes = {
    "column 1 stands for the same person, column 0 for different ones": lambda z, same: losses.pair_loss(z, ~same),
    "that is the sum over pairs, not the mean": lambda z, same: len(z) * losses.pair_loss(z, same),
    "that is the mean probability; the loss is -log p": lambda z, same: (
        z.softmax(1).gather(1, same.long()[:, None]).mean()
    ),
}
exercises.check_function(my_pair_loss, losses.pair_loss, cases, mistakes)

# %% [markdown]
# ## 3 · Another form of equation 2
#
# $1 - p$ belongs to the other classes: the sum of their exponentials divided by the sum of all. Its logarithm is a difference
# of two `logsumexp`, which stays finite even if $p$ is rounded to one.


# %% tags=["exercise"]
def my_attention_loss(scores, labels):
    others = scores.masked_fill(F.one_hot(labels, scores.shape[1]).bool(), -torch.inf)
    return (scores.logsumexp(1) - others.logsumexp(1)).mean()


# %% tags=["check"]
cases = {
    "six pictures": (torch.randn(6, 5, generator=noise), torch.tensor([0, 1, 2, 3, 4, 0])),
    "sure of the label": (5 * F.one_hot(torch.arange(3), 4).float(), torch.arange(3)),
}


def wanted(scores, labels):
    return losses.attention_loss(scores, labels, "log")


mistakes = {
    "that is the mean of p itself": losses.attention_loss,
    "that is -log p: it asks the network to find the person in the rest": F.cross_entropy,
    "that is the sum over pictures, not the mean": lambda scores, labels: len(scores) * wanted(scores, labels),
}
exercises.check_function(my_attention_loss, wanted, cases, mistakes)
