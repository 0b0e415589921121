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
# Each exercise of [notebook 04](../04_siamese_attention.ipynb) with an answer, the reason, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
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
# same for all pictures.

# %% tags=["exercise"]
my_prediction = "same"

# %% tags=["check"]
of_itself = model.pair_gradient(f_2 - f_2) > 0
if my_prediction is not None:
    print(f"{of_itself[0].sum()} of {of_itself.shape[1]} channels are on")
reasons = {
    "same": "the classifier sees zero for every picture; the maps still differ, because the channels do",
    "differs": "alpha depends on the picture only through the difference: what does the classifier see of it here?",
}
exercises.check_choice(my_prediction, "same" if (of_itself == of_itself[0]).all() else "differs", reasons)

# %% [markdown]
# ## 2 · Predict
#
# It depends on the network, so the solution *measures* it, as the checking cell below does. A sum of many non-negative
# channels with weights zero or one is bright where many channels are active, for any random half of them.

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
if my_guess is not None:
    print(f"median correlation {alike:.3f}")
reason = "sums of many channels with equal weights share most of what they show: the places where the trunk is active"
reasons = dict.fromkeys(("below 0.5", "0.5 to 0.8", "above 0.8"), reason)
turned_out = "below 0.5" if alike < 0.5 else "0.5 to 0.8" if alike <= 0.8 else "above 0.8"
exercises.check_choice(my_guess, turned_out, reasons)

# %% [markdown]
# ## 3 · Equation 5
#
# The steps of the hint in order. Rows between the first and the last stay, even if one of them is low.


# %% tags=["exercise"]
def my_distance(profile_1, profile_2, t):
    """Equation 5's distance of two row profiles: (h,), (h,) -> a single number."""
    stars = []
    for profile in (profile_1, profile_2):
        profile = profile / profile.max()
        above = (profile > t).nonzero()
        rows = profile[above.min() : above.max() + 1]
        stars.append(torch.nn.functional.interpolate(rows[None, None], len(profile), mode="linear")[0, 0])
    return (stars[0] - stars[1]).norm()


# %% tags=["check"]
def reference(p, q, t, **how):
    stars = [attention.align_rows(profile[None], t, **how) for profile in (p, q)]
    return (stars[0] - stars[1]).norm()


def with_rows(choose):
    def distance(p, q, t):
        rows = [choose(profile / profile.max(), t)[None, None] for profile in (p, q)]
        first, second = (torch.nn.functional.interpolate(kept, len(p), mode="linear") for kept in rows)
        return (first - second).norm()

    return distance


one, two = torch.tensor([0.1, 0.2, 0.9, 0.8, 0.6, 0.1]), torch.tensor([0.3, 1.0, 0.1, 0.2, 0.7, 0.2])
cases = {
    "two persons' rows": (one, two, 0.5),
    "larger maxima": (3 * one, 2 * two, 0.5),
    "a lower t": (2 * two, one, 0.15),
}
mistakes = {
    "divide each profile by its own maximum first": lambda *given: reference(*given, scale="raw"),
    "the rows are not cropped": lambda p, q, t: reference(p, q, 0.0),
    "that is the squared distance": lambda *given: reference(*given) ** 2,
    "rows between the first and the last stay, also low ones": with_rows(lambda p, t: p[p > t]),
    "the last row above t belongs to the crop": with_rows(
        lambda p, t: p[(p > t).nonzero().min() : (p > t).nonzero().max()]
    ),
}
exercises.check_function(my_distance, reference, cases, mistakes)
