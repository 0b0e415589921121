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
# For each exercise of [notebook 11](../11_captum_comparison.ipynb): an answer, the reason, and the same checking cell.
# (What a good answer to the essay question says stands in the notebook.)

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
# The exercises start from this: the pairs of section 1, and the sanity checks of the plain mean.

# %%
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

# %% [markdown]
# ## 1 · Predict
#
# The plain mean uses one picture's feature map only. Another partner or another classifier does not change it, so both
# correlations are 1. An explanation must not have this property. Only another trunk changes the plain mean.

# %% tags=["exercise"]
my_prediction = "pair classifier and partner"

# %% tags=["check"]
lines = {name: reports["plain-mean"][name].value for name in ("pair classifier", "partner", "everything")}
random_trunk = f"'everything' also makes the trunk random, and the trunk makes A ({lines['everything']:.2f} here)"
reasons = {
    "pair classifier and partner": "the map uses one picture's feature map only: neither the partner nor the classifier",
    "pair classifier and everything": random_trunk,
    "partner and everything": random_trunk,
}
turned_out = " and ".join(name for name, value in lines.items() if value > 1 - 1e-4)
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# ## 2 · Count
#
# Whatever lies on the way, the gradients add up to the difference between its two ends: $z_1(q, g) - z_1(g, q)$. It is not
# zero, because $z_1$ depends on the order of the pair (notebook 04).

# %% tags=["exercise"]
my_sum = (explain.explain(model, *few).scores - explain.explain(model, *few[::-1]).scores)[0].item()

# %% tags=["check"]
swapped = explain.explain(
    model, few[0][:1], few[1][:1], "integrated-gradients", baseline="partner", of="pair", steps=64
)
added = (swapped.query.sum((1, 2)) + swapped.gallery.sum((1, 2)))[0].item()
there, back = (explain.explain(model, *both).scores[0].item() for both in (few, few[::-1]))
assert abs(added - (there - back)) < abs(swapped.delta[0].item()) + 2e-3, "the maps add up to this difference"
mistakes = {
    "from (g, q) to (q, g), not the other way round": back - there,
    "that is where the way ends; where does it begin?": there,
    "grey is not on the way": there - grey[0].item(),
}
exercises.check_number(my_sum, there - back, mistakes, tolerance=2e-3 * (1 + abs(there - back)))

# %% [markdown]
# ## 3 · Write it
#
# We copy the pictures first, so that the caller's pictures stay as they are.


# %% tags=["exercise"]
def without_middle(images):
    """A copy of the pictures (B, 3, H, W) in which the middle half of the rows and of the columns is 0."""
    height, width = images.shape[2:]
    changed = images.clone()
    changed[:, :, height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 0
    return changed


# %% tags=["check"]
def reference(images):
    images, (height, width) = images.clone(), images.shape[2:]
    images[:, :, height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 0
    return images


def rows_only(images):
    return torch.cat([part * (n in (0, 3)) for n, part in enumerate(images.chunk(4, 2))], 2)


def tried(function):
    """Of a function: its result, and what it did to the pictures that it was given."""

    def both(images):
        given = images.clone()
        return None if (found := function(given)) is None else (found, given - images)

    return both


noise = torch.rand(2, 3, 16, 8, generator=torch.Generator().manual_seed(0))
cases = {"two tall pictures": (noise,), "two wide ones": (noise.transpose(2, 3),)}
mistakes = {
    "the middle has to go, and the border has to stay": tried(lambda x: x - reference(x)),
    "only the middle columns of these rows, not the whole rows": tried(rows_only),
    "make a copy first: the caller's pictures were changed": tried(lambda x: x.copy_(reference(x))),
}
exercises.check_function(tried(without_middle), tried(reference), cases, mistakes)

# %% [markdown]
# ## 4 · Find the test
#
# The map can have weight in the middle, because the cells there also see the border. The similarity can be high for right
# pairs, because a background helps: pictures of one person are often taken at the same places. Only hiding asks the network
# itself: what it never sees cannot change its answer.

# %% tags=["exercise"]
my_test = "hiding"


# %% tags=["check"]
class Background(torch.nn.Module):
    """An embedding that sees only the border of a picture."""

    def __init__(self, model):
        super().__init__()
        self.trunk, self.pool = model.trunk, model.pool

    def forward(self, images):
        return self.pool(self.trunk(reference(images)))


blind, alike = Background(model).eval(), torch.nn.functional.cosine_similarity
m = explain.explain(blind, *few, "layer-gradcam", layer="trunk").query
middle = (m - reference(m[:, None])[:, 0]).sum() / m.sum().clamp_min(1e-9)
with torch.no_grad():
    f_q, f_g, hidden = (blind(images) for images in (queries, galleries, reference(queries)))
similar, moved = alike(f_q, f_g).cpu(), (alike(hidden, f_g) - alike(f_q, f_g)).abs().max().item()
gap = (similar[torch.from_numpy(pairs.kinds == "right")].mean() - similar.mean()).item()
told = f"the middle holds {middle:.0%} of its Grad-CAM map, although the network never sees it; right pairs are {gap:+.3f} "
told += (
    f"more similar than the mean; hiding the middle changes the similarity by {moved:.0e}: only hiding asks the network"
)
exercises.check_choice(my_test, "hiding", dict.fromkeys(("map", "similarity", "hiding"), told))
