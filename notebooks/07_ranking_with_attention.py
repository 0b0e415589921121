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
# # 07 · Ranking with attention
#
# At test time the paper does not rank by features alone: it adds the distance between two pictures' attention. **Does
# that help, how much attention is right, and who may decide it?**
#
# ![Ranked galleries of some queries: right matches in a solid frame, wrong ones dashed](../figures/rankings.webp)
#
# **You will learn** how two distances are put on one scale and added (the paper's section 4), how to choose a setting
# without looking at the test, how to tell a gain from luck, and how to break a result down by cameras.
#
# **You need** `04_siamese_attention`; it helps to have met mAP in `01_data_and_protocol`. Pictures of your own need at least
# four people in training: two of them are taken out to choose on.
# **Runtime** under a minute at `smoke`; at `quick` two or three minutes on two cores the first time, most of it one training
# without the validation people; at `paper` hours on a GPU. **Hardware** a laptop; only `paper` asks for a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
from dataclasses import replace

import numpy as np
import torch

import casnkit as ck
from casnkit import attention, evaluation, exercises, figures, ranking
from casnkit.data.records import hold_out
from casnkit.experiments import ablation

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · Three groups of people
#
# **Idea.** Whatever we choose by looking at a result, we fit to that result. So the people are divided in three: on some
# the network is *trained*, on others we *choose*, and on the rest we *report*, once. Nobody is in two groups.

# %%
dataset = session.dataset
training, validation = hold_out(dataset, max(2, len(dataset.train.identities) // 4))
training = replace(training, name=f"{dataset.name}-without-validation")
groups = {"training": training.train, "validation": validation.gallery, "test": dataset.gallery}
for name, split in groups.items():
    print(f"{name:10} {len(split.identities):5} people, {len(split):6} pictures")
assert not set(training.train.identities) & set(validation.gallery.identities)

# %% [markdown]
# So this network has seen fewer people than the one of the other notebooks. That is the price of a fair choice.

# %%
apart = replace(session, dataset=training, folder=session.folder / "held-out")
casn = apart.run("casn")
model, config, test = casn.model, casn.info.config, casn.result
chosen_on = evaluation.evaluate(model, validation, config, device=session.device, progress=False)
evaluation.table(chosen_on.rows())

# %% [markdown]
# This table is of the *validation* people, in percent; `sum` adds both distances, with the share of attention that the run
# was configured with (section 2 prints it). Which row would you take to the test? Write it down before you read on.

# %% [markdown]
# ## 2 · Two distances, one scale
#
# **Idea.** Features and attention are both compared by an $l_2$ distance, but their numbers have nothing to do with each
# other: other lengths, other spreads. Added as they are, the one that spreads more decides.

# %%
both = {name: chosen_on.distances[name] for name in ("features", "attention")}
figures.show_distributions(both, "distance, lower is closer", "As they come")

# %% [markdown]
# **Formula.** Each distance is scaled before the two are added,
#
# $$d(q, g) = (1 - w)\, N\big(d_f(q, g)\big) + w\, N\big(d_a(q, g)\big).$$
#
# $N$ maps to $[0, 1]$ (`minmax`) or to mean 0 and standard deviation 1 (`zscore`), either for each query's row or over the
# whole matrix. $w = 0.5$ is the paper's sum, up to a factor that no ranking notices.

# %%
scaled = {
    f"{name}, {kind}": ranking.normalise_distances(both[name], kind) for kind in ("minmax", "zscore") for name in both
}
figures.show_distributions(scaled, "scaled distance", "On one scale, query by query", limits=(-3, 3))

# %% [markdown]
# **Look** at how wide features and attention are after each scaling. A narrow distance is a quiet voice in the sum, at the
# *same* weight. So normalisation and weight are one question, not two.

# %% [markdown]
# > **What the paper leaves open: the sum.** "Normalised and added" names neither the normalisation, nor what it runs over,
# > nor why both should count the same. *Our choice:* the values printed below; `minmax` per query makes a query's ranking
# > depend on no other query. *The evidence:* section 3 chooses on validation people, section 5 tests the choice, also over
# > several seeds. *To switch:*
# > `session.run("casn", ranking={"normalisation": "zscore", "normalise_per": "matrix", "attention_weight": 0.5})`.

# %%
print({name: getattr(config.ranking, name) for name in ("normalisation", "normalise_per", "attention_weight")})

# %% [markdown]
# ## 3 · Choosing the weight
#
# Four normalisations, each weight in steps of a twentieth, on the validation people. `choose_weight` takes the highest
# mAP, and of equal ones the smallest weight: features alone are cheaper.

# %%
people = (validation.query.pids, validation.query.camids, validation.gallery.pids, validation.gallery.camids)
choices = [(kind, per) for kind in ("minmax", "zscore") for per in ("query", "matrix")]
sweeps = {f"{k} per {p}": ranking.choose_weight(*both.values(), *people, normalisation=k, per=p) for k, p in choices}
curves = {name: (sweep.weights, sweep.mean_ap) for name, sweep in sweeps.items()}
figures.show_weight_curve(curves, {name: sweep.best for name, sweep in sweeps.items()})

# %%
best = max(sweeps.values(), key=lambda sweep: sweep.mean_ap.max())
gain = 100 * (best.mean_ap.max() - best.mean_ap[0])
print(f"chosen: {best.normalisation} per {best.per}, share of attention {best.best}")
print(f"on validation people {gain:+.1f} points of mAP against features alone")
assert np.isclose(best.mean_ap[0], chosen_on.rankings["features"].mean_ap), "weight 0 is features alone"

# %% [markdown]
# That gain can only be zero or more: a weight of zero was among the choices. *The best of many always looks good on the
# set that chose it.* What it is worth, only other people can say.
#
# ## 4 · A rival that knows no pair
#
# Notebook 04 found the paper's map close to the plain mean of all channels. Then the plain mean's row profile might do as
# well in the sum, at a fraction of the cost. It gets the same chance: a weight of its own, chosen on the same people.


# %%
def plain_distances(query, gallery):
    """l2 between the aligned row profiles of the plain mean maps, (Q, G)."""
    maps = [attention.mean_map(part.feature_maps) for part in (query, gallery)]
    return torch.cdist(*(attention.aligned_profile(m, config.ranking.threshold) for m in maps)).numpy()


# %%
settings = {"normalisation": best.normalisation, "per": best.per}
plain = ranking.choose_weight(
    both["features"], plain_distances(chosen_on.query, chosen_on.gallery), *people, **settings
)
print(f"share of the plain mean: {plain.best}, {100 * (plain.mean_ap.max() - plain.mean_ap[0]):+.1f} points of mAP")

# %% [markdown]
# ## 5 · The test, once
#
# Everything is chosen. Now the people whom nobody has looked at.

# %%
ways = {name: test.distances[name] for name in ("features", "attention")}
ways["the paper's sum"] = ranking.fuse(ways["features"], ways["attention"], 0.5)
ways["weighted sum"] = ranking.fuse(ways["features"], ways["attention"], best.best, **settings)
ways["with the plain mean"] = ranking.fuse(
    ways["features"], plain_distances(test.query, test.gallery), plain.best, **settings
)
results = {name: evaluation.rank(distances, dataset) for name, distances in ways.items()}
ranks = (1, 5, 10, 20)


# %%
def line(name, result):
    """One row of a table, in percent."""
    numbers = {f"rank-{k}": 100 * result.rank(k) for k in ranks} | {"mAP": 100 * result.mean_ap}
    return {"ranked by": name, **numbers, "mINP": 100 * result.mean_inp}


session.expect(results["features"].mean_ap > test.chance.mean_ap, "the features rank no better than chance")
evaluation.table([line(*item) for item in {**results, "chance": test.chance}.items()])

# %% [markdown]
# **Is a difference more than luck of the draw?** Had other people walked past the cameras, every number would be another.
# Queries of one person rise and fall together, so we take each *person's* mean change against features alone and ask how
# far the mean over people could be off (95 %). This covers the choice of people, *not* the luck of training: for that,
# networks with several seeds are needed.


# %%
def change(result, baseline, pids):
    """Mean over people of the change in average precision, and half the width of its 95 % interval, in points."""
    difference = 100 * (result.average_precision - baseline.average_precision)
    people = [difference[pids == pid] for pid in np.unique(pids)]
    means = np.array([np.nanmean(own) for own in people if np.isfinite(own).any()])
    return means.mean(), 1.96 * means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else np.inf


# %%
query, gallery = dataset.query, dataset.gallery
for name in list(ways)[1:]:
    mean, margin = change(results[name], results["features"], query.pids)
    verdict = "undecided" if abs(mean) <= margin else "better" if mean > 0 else "worse"
    print(f"{name:20} {mean:+6.1f} ± {margin:.1f} points against features alone: {verdict}")

# %% [markdown]
# Read it in this order. *Attention alone* is a few numbers for a whole picture; it was never meant to find anybody by
# itself. *The paper's sum* gives these few numbers half of the vote. *The weighted sum* gives them what they earned on other
# people. And if *the plain mean* does as well, what helped is where the person stands in the picture, not the pair.
#
# Several seeds tell more than one notebook can. What `casnkit ablate` measured on our drawn people (`quick`), whatever data
# you have chosen above: mAP in percent, in brackets the 95 % interval over seeds.

# %%
study = ablation.published("variants")
names = {"mean_ap": "features", "attention_mean_ap": "attention"}
names |= {"paper_sum_mean_ap": "the paper's sum", "weighted_mean_ap": "weighted sum"}
groups = [group for group in study["groups"] if "weighted_mean_ap" in group["numbers"]] if study else []
rows = []
for group in groups:
    found = {short: group["numbers"][key] for key, short in names.items() if key in group["numbers"]}
    means = {short: f"{v.mean:.1f} ({v.low:.1f} to {v.high:.1f})" for short, v in found.items()}
    rows.append({"network": f"{group['variant']} ({group['pooling']})", "seeds": len(group["seeds"]), **means})
evaluation.table(rows) if rows else print(ablation.HOW_TO["variants"])

# %% [markdown]
# ## 6 · Camera by camera
#
# One number for all cameras hides where it fails. Each cell below ranks the queries of one camera against the pictures of
# one other camera alone. On the diagonal there is nothing to find: pictures of the query's own camera do not count. (Where
# nobody knows the cameras, there is one cell, and all pictures stand in it.)

# %%
sides = (query.pids, query.camids, gallery.pids, gallery.camids)
cells = ranking.camera_pairs(ways["features"], *sides)
grid = {"index": "query camera", "columns": "gallery camera"}
shares, counts = (cells.pivot(**grid, values=values) for values in ("rank_1", "queries"))
cameras = [["?" if camid < 0 else camid for camid in side] for side in (shares.index, shares.columns)]
figures.show_camera_pairs(shares.to_numpy() / 100, counts.to_numpy(), *cameras, "By features", "rank-1 (%)")

# %%
known = cells[cells["queries"] > 0]
for name, k in {"hardest": known["mean_ap"].idxmin(), "easiest": known["mean_ap"].idxmax()}.items():
    row = known.loc[k]
    of, among = (ck.data.camera_text(int(row[f"{side} camera"])) for side in ("query", "gallery"))
    print(f"{name}: {of} in {among}, mAP {row['mean_ap']:.1f} % with {row['queries']:.0f} queries")
mean_ap = cells.pivot(**grid, values="mean_ap")
if len(known) > 1 and mean_ap.index.equals(mean_ap.columns):
    print(f"there and back differ by up to {np.nanmax(np.abs(mean_ap - mean_ap.T), initial=0):.0f} points")

# %% [markdown]
# Before you explain a dark cell by light or viewpoint, look at the small number in it: with twenty queries, one query more
# or less is five points.

# %% [markdown]
# ## A question for the next notebook
#
# Two habits of the field remain: asking a picture's neighbours before ranking it, and drawing a line between "the same" and
# "not the same". **What do they bring, and what do they cost?** Notebook `08_reranking_and_verification` measures both.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/07_ranking_with_attention](solutions/07_ranking_with_attention.ipynb).
#
# **1. Predict.** Features alone, scaled by `minmax` *per query*. Does their ranking change: `"same"` or `"changes"`?
#
# <details><summary>Hint</summary>
#
# What does subtracting a constant and dividing by a positive one do to the order of a row?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "same" or "changes"

# %% tags=["check"]
per_query = ranking.normalise_distances(ways["features"], "minmax", "query")
plain_ap, scaled_ap = (evaluation.rank(d, dataset).mean_ap for d in (ways["features"], per_query))
reasons = {
    "same": "every row keeps its order; only a comparison between rows, as by a threshold, notices the difference",
    "changes": "a row is shifted and stretched: can that make a larger distance smaller than another of that row?",
}
exercises.check_choice(my_prediction, "same" if np.isclose(plain_ap, scaled_ap) else "changes", reasons)

# %% [markdown]
# **2. Work it out.** Three gallery pictures of one query have the scaled distances 0, 0.5 and 1 by features, and 1, 0.2 and 0
# by attention. The share of attention $w$ rises from 0. At which $w$ does the *second* picture draw level with the first?
#
# <details><summary>Hint</summary>
#
# Write $(1 - w)\,d_f + w\,d_a$ for both pictures and set them equal.
#
# </details>

# %% tags=["exercise"]
my_weight = None  # a number in [0, 1]

# %% tags=["check"]
features, attentive = np.array([0, 0.5, 1]), np.array([1, 0.2, 0])
shares = np.linspace(0, 1, 100_001)[:, None]
sums = (1 - shares) * features + shares * attentive
level = shares[(sums[:, 1] <= sums[:, 0]).argmax(), 0]
mistakes = {
    "there the third picture draws level with the first": shares[(sums[:, 2] <= sums[:, 0]).argmax(), 0],
    "features have the share 1 - w, not w": 1 - level,
    "features count less, too, when attention counts more": 0.5 / 0.8,
}
exercises.check_number(my_weight, level, mistakes, tolerance=2e-3)


# %% [markdown]
# **3. Write it.** The weighted sum of two matrices of distances (Q, G), each scaled by `minmax` per query first: every row
# runs from 0 to 1. $w$ is the share of the second matrix. No row has all values equal.
#
# <details><summary>Hint</summary>
#
# `d.min(1, keepdims=True)` has the shape (Q, 1), so it can be subtracted from every row.
#
# </details>


# %% tags=["exercise"]
def weighted_sum(first, second, w):
    """(1 - w) times the first and w times the second matrix, each scaled to [0, 1] row by row: (Q, G)."""


# %% tags=["check"]
def row_scaled(d):
    return (d - d.min(1, keepdims=True)) / (d.max(1, keepdims=True) - d.min(1, keepdims=True))


def reference(first, second, w):
    return (1 - w) * row_scaled(first) + w * row_scaled(second)


matrices = np.random.default_rng(0).random((2, 4, 6)) * np.array([1, 30])[:, None, None] + 2
cases = {f"w = {w}": (*matrices, w) for w in (0.0, 0.3, 1.0)}
mistakes = {
    "scale both before you add them": lambda a, b, w: (1 - w) * a + w * b,
    "w is the share of the second matrix": lambda a, b, w: reference(a, b, 1 - w),
    "each row has its own minimum and maximum": lambda a, b, w: (
        (1 - w) * (a - a.min()) / np.ptp(a) + w * (b - b.min()) / np.ptp(b)
    ),
}
exercises.check_function(weighted_sum, reference, cases, mistakes)

# %% [markdown]
# **To go on.** Weigh each *camera pair* differently: where is attention worth more than average?
# `ranking.camera_pairs(ways["attention"], *sides)` is a start.
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - L. Zheng, L. Shen, L. Tian, S. Wang, J. Wang, Q. Tian: *Scalable Person Re-identification: A Benchmark*, ICCV 2015.
