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
# Each exercise of [notebook 03](../03_identification_attention.ipynb) with an answer, the reason, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import torch

import casnkit as ck
from casnkit import attention, exercises, losses, report

session = ck.notebook.start(profile, data)

# %% [markdown]
# What the exercises start from: one training picture, its feature map and the weights of its own class; a few pictures with
# their maps; and the two numbers of section 11.

# %%
model, train = session.run("casn").model.requires_grad_(False), session.dataset.train
labels, _ = ck.data.labels_of(train.pids)
some = report.training_examples(train, 6)
images, own = session.images("train", some), torch.tensor(labels[some], device=session.device)
M_own = model.identification_attention(images, own)
x, label = images[:1], own[:1]
A = model.feature_map(x)
w = attention.channel_weights(model.label_gradient(model.pool(A), label), *A.shape[1:])


def coverage(mask, person):
    """Share of the person that the mask hides; share of the mask that lies beside the person: (B, H, W) twice -> (B,)."""
    inside, beside = (mask * person).sum((1, 2)), (mask * (1 - person)).sum((1, 2))
    return inside / person.sum((1, 2)), beside / (inside + beside)


# %% [markdown]
# ## 1 · Predict
#
# $M$ is a ReLU of a sum that is linear in the weights, so a positive factor stays a factor: the map doubles. The mask is made
# from $M$ scaled to $[0, 1]$ by its own extremes, and this cancels the factor.

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
# ## 2 · Work it out
#
# A soft mask hides a little everywhere. This is the price of soft edges.

# %% tags=["exercise"]
my_share = 1 / (1 + 2.718281828**5)

# %% tags=["check"]
at_zero, at_one = (attention.soft_mask(torch.tensor(m), 10, 0.5).item() for m in (0.0, 1.0))
mistakes = {"that is what is hidden where attention is strongest": at_one, "the sigmoid is never quite zero": 0.0}
exercises.check_number(my_share, at_zero, mistakes, tolerance=3e-4)

# %% [markdown]
# ## 3 · Equation 2
#
# The five steps of the hint, one a line. The gradient of this loss reaches the network in two ways: through the second pass,
# and through the mask, because the map depends on $A$.


# %% tags=["exercise"]
def my_attention_loss(images, maps, labels):
    """Mean probability of the labels on what the soft mask leaves: (B, 3, H, W), (B, h, w), (B,) -> a single number."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(1e-12)
    large = torch.nn.functional.interpolate(scaled[:, None], images.shape[2:], mode="bilinear")
    rest = images * (1 - torch.sigmoid(10 * (large - 0.5)))
    scores = model.id_scores(model.pool(model.feature_map(rest)))
    return scores.softmax(1).gather(1, labels[:, None]).mean()


# %% tags=["check"]
def reference(images, maps, labels, cover=lambda mask: mask, score="probability"):
    masked = attention.hide(images, cover(attention.image_mask(maps, images.shape[2:], 10, 0.5)))
    return losses.attention_loss(model.id_scores(model.pool(model.feature_map(masked))), labels, score)


def unscaled(images, maps, labels):
    large = torch.nn.functional.interpolate(maps[:, None], images.shape[2:], mode="bilinear")
    return reference(images, maps, labels, lambda _: attention.soft_mask(large, 10, 0.5))


not_flat = (M_own.amax((1, 2)) > M_own.amin((1, 2))).nonzero()[:6, 0]
cases = {"one picture": not_flat[:1], "some pictures": not_flat}
cases = {name: (images[few], M_own[few], own[few]) for name, few in cases.items()}
mistakes = {
    "scale each map to [0, 1] before the sigmoid": unscaled,
    "that hides everything but the attention: use 1 - S": lambda *given: reference(*given, lambda mask: 1 - mask),
    "that is the score of the whole pictures: the mask is missing": lambda *given: reference(*given, lambda m: 0 * m),
    "that is the logit; the probability comes after a softmax": lambda *given: reference(*given, score="logit"),
    "take the mean over the pictures, not the sum": lambda *given: len(given[0]) * reference(*given),
}
exercises.check_function(my_attention_loss, reference, cases, mistakes)

# %% [markdown]
# ## 4 · Cheat
#
# One single place that is lower than the rest is enough: after scaling, the rest is one and the corner is zero.


# %% tags=["exercise"]
def cheating_map(h, w):
    """A map (h, w) that covers every person."""
    made = torch.ones(h, w)
    made[0, 0] = 0
    return made


# %% tags=["check"]
persons = torch.zeros(3, 64, 32)
for person, (top, bottom, left, right) in zip(persons, ((8, 60, 9, 23), (16, 63, 2, 12), (4, 40, 14, 29)), strict=True):
    person[top:bottom, left:right] = 1
got, made = None, cheating_map(16, 8)
if made is not None and made is not ...:
    made = torch.as_tensor(made, dtype=torch.float32).reshape(1, 16, 8)
    covered_by_it, spilled_by_it = coverage(attention.image_mask(made, (64, 32))[:, 0].expand(3, -1, -1), persons)
    got = covered_by_it.min().item()
    print("persons of three sizes: coverage", covered_by_it.numpy().round(3), "spill", spilled_by_it.numpy().round(3))
constant = (
    coverage(attention.image_mask(torch.ones(1, 16, 8), (64, 32))[:, 0].expand(3, -1, -1), persons)[0].min().item()
)
mistakes = {"a constant map is scaled to zero, and its mask hides almost nothing": constant}
exercises.check_number(got, 1.0, mistakes, tolerance=0.02)

# %% [markdown]
# ## 5 · What spill reveals
#
# A mask that is the same everywhere lies beside the person as often as the picture is background: its spill is the share
# of the background, 0.7. So the cheat is caught if you compare: a map that knows where the person is has a spill well below
# the share of the background, a cheating map has exactly that share.

# %% tags=["exercise"]
my_spill = 1 - 0.3

# %% tags=["check"]
everywhere, three_tenths = torch.ones(1, 10, 10), torch.zeros(1, 10, 10)
three_tenths[:, :3] = 1
mistakes = {
    "that is the share of the mask on the person; spill is the rest": 0.3,
    "that is the coverage": 1.0,
    "the mask also lies on the background": 0.0,
}
exercises.check_number(my_spill, coverage(everywhere, three_tenths)[1].item(), mistakes, tolerance=0.02)
