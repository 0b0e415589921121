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
# # Solutions to 11 · Captum comparison
#
# Each exercise of [notebook 11](../11_captum_comparison.ipynb), with an answer, why it is one, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import exercises, explain

session = ck.notebook.start(profile, data)

# %% [markdown]
# What the exercises start from: the pairs of section 1, equation 4's maps, their curves, and the plain mean's sanity checks.

# %%
from casnkit.explain.faithfulness import faithfulness
from casnkit.explain.league import choose_pairs
from casnkit.explain.sanity import sanity_checks

casn = session.run("casn")
model = casn.model.requires_grad_(False).eval()
retrieval = casn.result
pairs = choose_pairs(retrieval, 12 if session.profile == "smoke" else 36)
queries, galleries = (retrieval.images(side, pairs.pairs[:, k]) for k, side in enumerate(("query", "gallery")))

# %%
first = [int(np.flatnonzero(pairs.kinds == kind)[0]) for kind in dict.fromkeys(pairs.kinds.tolist())]
few = queries[first], galleries[first]
grey = explain.explain(model, *map(torch.zeros_like, few), "plain-mean").scores
distinct = np.sort(np.unique(pairs.pairs[:, 0], return_index=True)[1])[:4]
reports = {"plain-mean": sanity_checks("plain-mean", model, queries[distinct], galleries[distinct], every_step=False)}
chosen, found = torch.from_numpy(pairs.kinds == "right"), explain.explain(model, queries, galleries, "siamese").cpu()
maps = {"siamese": (found.query, found.gallery)}
right_maps = [m[chosen] for m in maps["siamese"]]
curves = {"siamese": faithfulness(retrieval, pairs.pairs[chosen], *right_maps, where="alternate", steps=6)}

# %% [markdown]
# ## 1 · Predict
#
# The plain mean is made of one picture's feature map alone. Another partner or another classifier does not change it, so
# both correlations are 1, and a map that passes as an explanation must not have that. Only the trunk can change it.

# %% tags=["exercise"]
my_prediction = "pair classifier and partner"

# %% tags=["check"]
lines = {name: reports["plain-mean"][name].value for name in ("pair classifier", "partner", "everything")}
print({name: round(value, 3) for name, value in lines.items()})
reasons = {
    "pair classifier and partner": "it is made of one picture's feature map: neither partner nor classifier takes part in it",
    "pair classifier and everything": "'everything' makes the trunk random too, and the trunk makes A",
    "partner and everything": "'everything' makes the trunk random too, and the trunk makes A",
}
turned_out = " and ".join(name for name, value in lines.items() if value > 1 - 1e-4)
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# ## 2 · Count
#
# Whatever lies between, the gradients of a way add up to the difference between its ends: $z_1(q, g) - z_1(g, q)$. That it
# is not zero is the order of section 8 in notebook 04.

# %% tags=["exercise"]
my_sum = (explain.explain(model, *few).scores - explain.explain(model, *few[::-1]).scores)[0].item()

# %% tags=["check"]
swapped = explain.explain(
    model, few[0][:1], few[1][:1], "integrated-gradients", baseline="partner", of="pair", steps=64
)
added = (swapped.query.sum((1, 2)) + swapped.gallery.sum((1, 2)))[0].item()
there, back = (explain.explain(model, *both).scores[0].item() for both in (few, few[::-1]))
print(f"the maps add up to {added:+.4f}, give or take {abs(swapped.delta[0].item()):.4f}")
mistakes = {
    "from (g, q) to (q, g), not the other way round": back - there,
    "that is where the way ends; where does it begin?": there,
    "grey is not on the way": there - grey[0].item(),
}
exercises.check_number(my_sum, there - back, mistakes, tolerance=2e-3 * (1 + abs(there - back)))

# %% [markdown]
# ## 3 · Write it


# %% tags=["exercise"]
def energy_inside(values, person):
    """Share of the positive part of a map (H, W) that lies where person (H, W) is true, in [0, 1]."""
    positive = np.maximum(values, 0)
    return positive[person].sum() / positive.sum()


# %% tags=["check"]
from casnkit.explain import localisation


def reference(values, person):
    return localisation.energy_inside(values[None], person[None])[0]


person = np.zeros((8, 4), bool)
person[1:7, 1:3] = True
noise = np.random.default_rng(0)
cases = {"a map above zero": (noise.random((8, 4)), person), "a signed map": (noise.normal(size=(8, 4)), person)}
cases["a large map, all on the person"] = (40.0 * person, person)
mistakes = {
    "values below zero speak against the score: they have no energy": lambda v, p: v[p].sum() / v.sum(),
    "the sizes of negative values do not count either": lambda v, p: np.abs(v)[p].sum() / np.abs(v).sum(),
    "divide by the map's sum, not by the person's area": lambda v, p: np.maximum(v, 0)[p].mean(),
}
exercises.check_function(energy_inside, reference, cases, mistakes)

# %% [markdown]
# ## 4 · Look closer
#
# The answer depends on the network, so it is computed here.

# %% tags=["exercise"]
blurred = faithfulness(retrieval, pairs.pairs[chosen], *right_maps, where="alternate", steps=6, fill="blur")
my_answer = bool(blurred.gain("deletion").mean() < curves["siamese"].gain("deletion").mean())

# %% tags=["check"]
right_maps = [m[chosen] for m in maps["siamese"]]
again = faithfulness(retrieval, pairs.pairs[chosen], *right_maps, where="alternate", steps=6, fill="blur")
gains = {"mean": curves["siamese"].gain("deletion"), "blur": again.gain("deletion")}
print({fill: f"{100 * gain.mean():+.1f} points" for fill, gain in gains.items()})
because = "what is hidden and what it is hidden with are one question; a verdict should survive both fillings"
lower = str(bool(gains["blur"].mean() < gains["mean"].mean()))
exercises.check_choice(None if my_answer is None else str(my_answer), lower, {"True": because, "False": because})
