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
# At test time the paper does not rank by features alone. It adds a second distance: how much the attention of two pictures
# differs. **Does that help, how much attention should be added, and on which people may we choose that?**
#
# ![Ranked galleries of three queries: right matches in a solid frame, wrong ones in a dashed frame](../figures/rankings.webp)
#
# **You will learn** how to put two distances on one scale and add them (the paper's section 4), how to choose a setting
# without looking at the test, how to tell a real gain from chance, and how to break a result down by camera.
#
# **You need** `04_siamese_attention`; it helps to have met mAP in `01_data_and_protocol`. If you use your own pictures, they
# must show at least four people in training: we set two of them aside to choose on.
# **Runtime** under a minute at `smoke`; at `quick` two or three minutes on two cores the first time, most of it one training
# without the validation people; at `paper` hours on a GPU. **Hardware** a laptop; only `paper` needs a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures
if "google.colab" in str(get_ipython()):  # docs/elsewhere.md
    get_ipython().run_line_magic("pip", "install -q casnkit-*.whl")

# %%
from dataclasses import replace

import numpy as np
import torch

import casnkit as ck
from casnkit import attention, evaluation, exercises, figures, ranking
from casnkit.data.records import hold_out
from casnkit.experiments import ablation, report

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · Three groups of people
#
# **Idea.** If we choose a setting because it gives a good result on some people, that result is no longer a fair test. So we
# divide the people into three groups. We *train* the network on the first, we *choose* settings on the second, and we
# *report* on the third, once. No person is in two groups.

# %%
dataset = session.dataset
training, validation = hold_out(dataset, max(2, len(dataset.train.identities) // 4))
training = replace(training, name=f"{dataset.name}-without-validation")
groups = {"training": training.train, "validation": validation.gallery, "test": dataset.gallery}
for name, split in groups.items():
    print(f"{name:10} {len(split.identities):5} people, {len(split):6} pictures")
assert not set(training.train.identities) & set(validation.gallery.identities)

# %% [markdown]
# This network therefore sees fewer people in training than the one in the other notebooks. A fair choice has this price.

# %%
apart = replace(session, dataset=training, folder=session.folder / "held-out")
casn = apart.run("casn")
model, config, test = casn.model, casn.info.config, casn.result
chosen_on = evaluation.evaluate(model, validation, config, device=session.device, progress=False)
evaluation.table(chosen_on.rows())

# %% [markdown]
# This table shows the *validation* people, in percent. `sum` adds both distances, with the share of attention that the run
# was configured with (section 2 prints it). Which row would you use on the test people? Write it down before you read on.

# %% [markdown]
# ## 2 · Two distances, one scale
#
# **Idea.** Features and attention are both compared by an $l_2$ distance, but the two distances have different units: the
# vectors have different lengths and the values spread differently. If we add them as they are, the distance that spreads
# more decides the ranking.

# %%
both = {name: chosen_on.distances[name] for name in ("features", "attention")}
figures.show_distributions(both, "distance, lower is closer", "Before scaling")

# %% [markdown]
# **Formula.** We scale each distance and then add the two:
#
# $$d(q, g) = (1 - w)\, N\big(d_f(q, g)\big) + w\, N\big(d_a(q, g)\big).$$
#
# $N$ maps the distances to $[0, 1]$ (`minmax`), or to mean 0 and standard deviation 1 (`zscore`). It does so either for each
# query's row or for the whole matrix. $w = 0.5$ is the paper's sum divided by two, and that does not change any ranking.

# %%
scaled = {
    f"{name}, {kind}": ranking.normalise_distances(both[name], kind) for kind in ("minmax", "zscore") for name in both
}
figures.show_distributions(scaled, "scaled distance", "Scaled query by query", limits=(-3, 3))

# %% [markdown]
# **Look** at the width of the two distributions after each scaling. At the *same* weight, a narrow distance has less
# influence on the sum. So the normalisation and the weight have to be chosen together.

# %% [markdown]
# > **What the paper leaves open: the sum.** "Normalized and summed" does not say which normalisation is meant, what it runs
# > over, or why both distances should count the same. *Our choice:* the values printed below. With `minmax` per query, the
# > ranking of one query does not depend on the other queries. *The evidence:* section 3 chooses on validation people, and
# > section 5 tests that choice, also over several seeds. *To switch:*
# > `session.run("casn", ranking={"normalisation": "zscore", "normalise_per": "matrix", "attention_weight": 0.5})`.

# %%
print({name: getattr(config.ranking, name) for name in ("normalisation", "normalise_per", "attention_weight")})

# %% [markdown]
# ## 3 · Choosing the weight
#
# We try four normalisations, and for each of them the weights in steps of a twentieth, on the validation people.
# `choose_weight` takes the weight with the highest mAP. If two are equal, it takes the smaller one, because features alone
# are cheaper.

# %%
people = (validation.query.pids, validation.query.camids, validation.gallery.pids, validation.gallery.camids)
choices = [(kind, per) for kind in ("minmax", "zscore") for per in ("query", "matrix")]
sweeps = {f"{k} per {p}": ranking.choose_weight(*both.values(), *people, normalisation=k, per=p) for k, p in choices}
with figures.figure_style():
    figure = figures.style.new_figure(6.4, 4.2, "How much should attention count?")
    ax = figure.subplots()
    for name, sweep in sweeps.items():
        ax.plot(sweep.weights, 100 * sweep.mean_ap, label=f"{name}: best at {sweep.best:g}")
    ax.axvline(0.5, color="grey", linestyle=":", label="the paper's sum")
    ax.set(xlabel="share of attention: 0 features alone, 1 attention alone", ylabel="mAP on validation people (%)")
    ax.legend()
figure

# %%
best = max(sweeps.values(), key=lambda sweep: sweep.mean_ap.max())
gain = 100 * (best.mean_ap.max() - best.mean_ap[0])
print(f"chosen: {best.normalisation} per {best.per}, share of attention {best.best}")
print(f"on validation people {gain:+.1f} points of mAP against features alone")
assert np.isclose(best.mean_ap[0], chosen_on.rankings["features"].mean_ap), "weight 0 is features alone"

# %% [markdown]
# This gain cannot be negative: the weight zero was among the choices. *The best of many choices always looks good on the data
# that it was chosen on.* Only other people can show what it is worth.
#
# ## 4 · A rival that never sees the pair
#
# Notebook 04 found that the paper's map is close to the plain mean of all channels. So the row profile of the plain mean
# might help the sum just as much, at a fraction of the cost. We give it the same chance: its own weight, chosen on the same
# people.


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
# All settings are chosen. Now we use the test people for the first time.

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
# **Could a difference be chance?** With other people in the test set, every number would be different. Queries of one
# person rise and fall together, so we take each *person's* mean change against features alone. From the spread over people we
# compute a 95 % interval for the mean. It covers the choice of people. It does *not* cover the randomness of training: for
# that we need networks with several seeds.


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
# Read the rows in this order.
#
# - *Attention alone* is a handful of numbers for a whole picture. Nobody expects it to find people by itself.
# - *The paper's sum* gives these few numbers half of the weight.
# - *The weighted sum* gives them the weight that was best on the validation people.
# - *With the plain mean*: if this row is as good, the help came from where the person stands in the picture, not from the
#   pair.
#
# One network is not enough to decide. Here is what `casnkit ablate` measured with several seeds on our drawn people
# (`quick`), whatever data you chose above: mAP in percent, with the 95 % interval over seeds in brackets.

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
# The control belongs beside it: the same sum with the plain mean, its weight chosen on validation people for each network.
# If a network *without* attention gains as much from the plain mean, then the gain is not due to Siamese attention.

# %%
trainings = report.read_results("ablation")
controls = []
for (pooling, variant), group in trainings.groupby(["pooling", "variant"]) if trainings is not None else ():
    group = group[group["study"] == "variants"]
    if column := report.best_sum(group, "plain_"):
        means = {"features": group["mean_ap"].mean(), "with the plain mean": group[column].mean()}
        controls.append(
            {"network": f"{variant} ({pooling})", "share": column.removeprefix("plain_" + report.CURVE), **means}
        )
evaluation.table(controls) if controls else print("This control has not been published yet.")

# %% [markdown]
# ## 6 · Camera by camera
#
# A single number for all cameras hides where the ranking fails. Each cell below ranks the queries of one camera against the
# pictures of one other camera. On the diagonal there is nothing to find: pictures from the query's own camera do not count.
# (If the cameras are unknown, there is one cell, and it holds all pictures.)

# %%
import seaborn

sides = (query.pids, query.camids, gallery.pids, gallery.camids)
cells = ranking.camera_pairs(ways["features"], *sides)
grid = {"index": "query camera", "columns": "gallery camera"}
shares, counts = (cells.pivot(**grid, values=values) for values in ("rank_1", "queries"))
words = shares.map("{:.0f}\n".format) + counts.astype(int).astype(str)
with figures.figure_style():
    figure = figures.style.new_figure(7, 4.6, "By features: rank-1 (%), below it the queries")
    seaborn.heatmap(shares, ax=figure.subplots(), annot=words, fmt="", cmap="cividis", cbar=False, linewidths=1)
figure

# %%
known = cells[cells["queries"] > 0]
for name, k in {"hardest": known["mean_ap"].idxmin(), "easiest": known["mean_ap"].idxmax()}.items():
    row = known.loc[k]
    of, among = (ck.data.camera_text(int(row[f"{side} camera"])) for side in ("query", "gallery"))
    print(f"{name}: {of} in {among}, mAP {row['mean_ap']:.1f} % (queries: {row['queries']:.0f})")
mean_ap = cells.pivot(**grid, values="mean_ap")
if len(known) > 1 and mean_ap.index.equals(mean_ap.columns):
    print(f"there and back differ by up to {np.nanmax(np.abs(mean_ap - mean_ap.T), initial=0):.0f} points")

# %% [markdown]
# Before you explain a dark cell by light or viewpoint, look at the small number in it. With twenty queries, a single query
# changes the result by five points.

# %% [markdown]
# ## A question for the next notebook
#
# Two more steps are common in this field: to compare the neighbours of two pictures before ranking, and to choose a
# threshold between "the same" and "not the same". **What do they gain, and what do they cost?** Notebook
# `08_reranking_and_verification` measures both.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second cell checks it. Solutions:
# [solutions/07_ranking_with_attention](solutions/07_ranking_with_attention.ipynb).
#
# **1. Predict.** You scale the features' distances by `minmax` *per query* and rank by them alone. Does the ranking change:
# `"same"` or `"changes"`?
#
# <details><summary>Hint</summary>
#
# What happens to the order of a row when you subtract a constant from it and divide it by a positive number?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "same" or "changes"

# %% tags=["check"]
per_query = ranking.normalise_distances(ways["features"], "minmax", "query")
plain_ap, scaled_ap = (evaluation.rank(d, dataset).mean_ap for d in (ways["features"], per_query))
reasons = {
    "same": "every row keeps its order; only a comparison between rows, such as a threshold, is affected",
    "changes": "a row is shifted and stretched: can that make a larger distance smaller than another one in that row?",
}
exercises.check_choice(my_prediction, "same" if np.isclose(plain_ap, scaled_ap) else "changes", reasons)

# %% [markdown]
# **2. Work it out.** Three gallery pictures of one query have the scaled distances 0, 0.5 and 1 by features, and 1, 0.2 and 0
# by attention. The share of attention $w$ rises from 0. At which $w$ do the first and the *second* picture have the same
# distance?
#
# <details><summary>Hint</summary>
#
# Write $(1 - w)\,d_f + w\,d_a$ for both pictures and set the two equal.
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
    "there the third picture is level with the first": shares[(sums[:, 2] <= sums[:, 0]).argmax(), 0],
    "features have the share 1 - w, not w": 1 - level,
    "when attention counts more, features count less": 0.5 / 0.8,
}
exercises.check_number(my_weight, level, mistakes, tolerance=2e-3)


# %% [markdown]
# **3. Write it.** The weighted sum of two matrices of distances (Q, G). First scale each matrix by `minmax` per query, so
# that every row runs from 0 to 1. $w$ is the share of the second matrix. You may assume that no row has all values equal.
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
# **4. Explain.** A colleague tries twenty weights on the test people, reports the best one, and writes: "Attention improves
# mAP." Explain in five or six sentences what is wrong, and which experiments you would ask for.
#
# <details><summary>What a good answer says</summary>
#
# - The weight was fitted to the test people. Weight zero is among the choices, so the reported gain cannot be negative, even
#   if attention is pure noise. (1 point)
# - The weight has to be chosen on other people and used once on the test people. (1 point)
# - The change needs an interval over people, because queries of one person are not independent. (1 point)
# - Several seeds are needed, because one network can be lucky. (1 point)
# - A control is needed: the plain mean with a weight of its own. If it gains as much, the gain does not come from the pair's
#   attention. (1 point)
#
# </details>
#
# **To go on.** Weigh each *pair of cameras* differently. Where does attention help more than average?
# `ranking.camera_pairs(ways["attention"], *sides)` is a start.
#
# ## Recap
#
# 1. Why must both distances be scaled before they are added?
#
# <details><summary>Answer</summary>They have different units. Without scaling, the one with the larger spread
# decides.</details>
#
# 2. Which group of people chooses the weight, and why not the test people?
#
# <details><summary>Answer</summary>The validation people. A result on the people that chose the weight is too good.</details>
#
# 3. The sum is better than features alone. What else has to be shown before the pair's attention gets the credit?
#
# <details><summary>Answer</summary>That the plain mean, with a weight of its own, gains less; over people and over
# seeds.</details>
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - L. Zheng, L. Shen, L. Tian, S. Wang, J. Wang, Q. Tian: *Scalable Person Re-identification: A Benchmark*, ICCV 2015.
