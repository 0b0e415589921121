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
# # 08 · Re-ranking and verification
#
# So far each gallery picture was judged by itself, and every query got a list. Two habits of the field change that. **What
# does it bring to ask a picture's neighbours, and from which distance on may one say "the same person"?**
#
# ![Ranked galleries of some queries: right matches in a solid frame, wrong ones dashed](../figures/rankings.webp)
#
# **You will learn** what re-ranking by mutual neighbours does, alone and *together* with attention, how a threshold is chosen
# that keeps its promise, and why a sum that ranks well can be useless for a decision.
#
# **You need** `07_ranking_with_attention`: the same network, trained without the validation people.
# **Runtime** under a minute at `smoke`; at `quick` about a minute on two cores after notebook 07, else one training more; at
# `paper` hours on a GPU. **Hardware** a laptop; only `paper` asks for a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
from dataclasses import replace

import numpy as np

import casnkit as ck
from casnkit import evaluation, exercises, figures, ranking, report
from casnkit.data.records import hold_out

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · The network and the people
#
# As in notebook 07: one group of people to train on, one to choose on, one to report on.

# %%
dataset = session.dataset
training, validation = hold_out(dataset, max(2, len(dataset.train.identities) // 4))
training = replace(training, name=f"{dataset.name}-without-validation")
casn = replace(session, dataset=training, folder=session.folder / "held-out").run("casn")
model, config, test = casn.model, casn.info.config, casn.result
chosen_on = evaluation.evaluate(model, validation, config, device=session.device, progress=False)

# %%
people = (validation.query.pids, validation.query.camids, validation.gallery.pids, validation.gallery.camids)
both = {name: chosen_on.distances[name] for name in ("features", "attention")}
best = ranking.choose_weight(*both.values(), *people)
print(f"share of attention, chosen on the validation people: {best.best}")

# %% [markdown]
# ## 2 · Re-ranking: ask the neighbours
#
# **Idea.** If $g$ is close to $q$, then the pictures *around* $g$ should be the pictures around $q$. Zhong et al. call two
# pictures **k-reciprocal** neighbours if each is among the other's $k$ nearest. A picture that is close to everybody (grey
# clothes, bad light) has few such neighbours.

# %% [markdown]
# **Formula.** Each picture $p$ gets a vector $V_p$ with $e^{-d(p, g)}$ for its reciprocal neighbours $g$ and $0$ elsewhere.
# How far apart are two such vectors?
#
# $$d_J(q, g) = 1 - \frac{\sum_i \min(V_{q,i}, V_{g,i})}{\sum_i \max(V_{q,i}, V_{g,i})}, \qquad
# d^* = (1 - \lambda)\, d_J + \lambda\, d.$$
#
# It needs the distances of *all* pictures among each other, so we make them for features and for attention.

# %%
query, gallery, parts = dataset.query, dataset.gallery, (test.query, test.gallery)
options = (config.ranking.siamese_mode, config.ranking.pair_order, config.ranking.threshold)
of_features = [ranking.feature_distances(part.features, part.features) for part in parts]
of_attention = [ranking.attention_distances(model, part, part, *options).distances for part in parts]
features = ranking.Blocks(test.distances["features"], *of_features)
attentive = ranking.Blocks(test.distances["attention"], *of_attention)

# %% [markdown]
# Who are a query's reciprocal neighbours? We look at one that the features solve neither well nor badly: its ten nearest
# pictures. A ✓ marks those that have the query among *their* ten nearest, too.

# %%
hard_to_easy = report.spread_queries(test.rankings["features"].average_precision, 3)
i = hard_to_easy[len(hard_to_easy) // 2]
nearest = features.query_gallery[i].argsort(kind="stable")[:10]
to_them = np.concatenate([features.query_gallery[:, nearest], features.gallery_gallery[:, nearest]])
returned = (to_them < features.query_gallery[i, nearest]).sum(0) <= 10
captions = [f"{'✓' if r else '–'} pid {gallery.pids[j]}" for j, r in zip(nearest, returned, strict=True)]
pictures = [query.image(i), *(gallery.image(j) for j in nearest)]
figures.show_batch(pictures, [f"pid {query.pids[i]}", *captions], columns=11)

# %% [markdown]
# Now all ways together: attention before re-ranking (in the distance that is re-ranked), after it, or not at all.

# %%
sides = (query.pids, query.camids, gallery.pids, gallery.camids)
again = ranking.rerank_with_attention(features, attentive, best.best)
reranked = {name: evaluation.rank(distances, dataset) for name, distances in again.items()}
evaluation.table([{"ranked by": name, **evaluation.headline(result)} for name, result in reranked.items()])


# %%
def change(after, before):
    """Mean over people of the change in average precision, and half the width of its 95 % interval, in points."""
    difference = 100 * (reranked[after].average_precision - reranked[before].average_precision)
    means = np.array([np.nanmean(difference[query.pids == pid]) for pid in query.identities])
    means = means[np.isfinite(means)]
    return means.mean(), 1.96 * means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else np.inf


compared = {f"re-ranked {name}": name for name in ("features", "attention", "sum")}
compared |= {"re-ranked sum ": "re-ranked features", "re-ranked features + attention": "re-ranked features"}
for after, before in compared.items():
    mean, margin = change(after.strip(), before)
    print(f"{after:31} against {before:18} {mean:+6.1f} ± {margin:.1f} points of average precision")

# %% [markdown]
# **Look at the ranks that moved.** The query whose average precision rose most, before and after:

# %%
risen = reranked["re-ranked features"].average_precision - reranked["features"].average_precision
i = int(np.nanargmax(risen))
both_rows = [report.ranking_row(dataset, again[name], i, name) for name in ("features", "re-ranked features")]
figures.show_rankings(both_rows, "One query, before and after re-ranking")

# %%
moved = ranking.rank_changes(again["features"], again["re-ranked features"], *sides).summary()
ck.notebook.say(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in moved.items()))

# %% [markdown]
# **Two warnings.** Re-ranking reads the *whole* gallery and all *other queries* before it answers one: compare it only with
# results that were allowed the same. And its size of neighbourhood ($k_1 = 20$ in the paper by Zhong et al.) was chosen for
# galleries with some twenty pictures of each person; here it is:

# %%
of_people = (gallery.pids > 0).sum()
print(f"pictures of a person in the gallery: {of_people / len(gallery.identities):.1f} on average")

# %% [markdown]
# ## 3 · Two pictures: the same person?
#
# **Idea.** A ranking has a first place even if the person is not there at all. A door, or an archive, needs a *decision*:
# from which distance on do we say "the same"? There are two ways to be wrong. A **false accept** calls two people one, a
# **false reject** calls one person two. One can be had for the other, and only for the other.

# %%
before = {name: ranking.pair_distances(chosen_on.distances[name], *people) for name in ("features", "attention")}
rates = sorted({max(rate, 1 / len(before["features"].different)) for rate in (0.01, 0.1)})  # of one pair at least
thresholds = {name: ranking.choose_thresholds(pairs, rates) for name, pairs in before.items()}
lines = {f"{rate:.0%} false accepts": d.threshold for rate, d in thresholds["features"].items()}
pairs = before["features"]
figures.show_distance_histograms(pairs.same, pairs.different, lines, "Features, validation people")

# %% [markdown]
# The thresholds were chosen there: each accepts at most the promised share of pairs of two people *on these people*. On the
# test people the promise is put to the test.

# %%
after = {name: ranking.pair_distances(test.distances[name], *sides) for name in before}
rows = []
for name, chosen in thresholds.items():
    for rate, decision in chosen.items():
        found = ranking.error_rates(after[name], decision.threshold)
        numbers = {"promised": 100 * rate, "false accepts": 100 * found.false_accept}
        rows.append(
            {
                "by": name,
                **numbers,
                "false rejects": 100 * found.false_reject,
                "right if accepted": 100 * found.precision,
            }
        )
evaluation.table(rows)

# %% [markdown]
# The last column depends on how often the question is asked about the same person at all; in a gallery of many people it
# is rare, and even a small rate of false accepts adds up. The whole trade, for every threshold; the rings are the
# thresholds above, where they landed on the test people:

# %%
judged = {name: ranking.verify(pairs) for name, pairs in after.items()}
curves = {name: (v.false_accept, v.true_accept) for name, v in judged.items()}
landed = {name: [ranking.error_rates(after[name], d.threshold) for d in thresholds[name].values()] for name in after}
rings = {name: ([d.false_accept for d in found], [1 - d.false_reject for d in found]) for name, found in landed.items()}
figures.show_roc(curves, rings, "Same person? Test people")

# %%
for name, v in judged.items():
    print(f"{name}: area {v.auc:.3f}, equal error rate {v.equal_error_rate:.1%}, {v.num_same} pairs of one person")
session.expect(judged["features"].auc > 0.5, "the features decide no better than a coin")

# %% [markdown]
# **Why not the sum?** Scaled query by query, each query's closest picture is at distance 0, *whoever it shows*. That is
# harmless in a ranking and fatal for a threshold:

# %%
scaled = {"as it is": test.distances["features"]} | {
    f"minmax per {per}": ranking.normalise_distances(test.distances["features"], "minmax", per)
    for per in ("query", "matrix")
}
for name, distances in scaled.items():
    mean_ap, v = evaluation.rank(distances, dataset).mean_ap, ranking.verify(ranking.pair_distances(distances, *sides))
    print(f"{name:17} mAP {100 * mean_ap:.1f} %, area under the curve of decisions {v.auc:.4f}")

# %% [markdown]
# ## A question for the next notebook
#
# Means over thousands of pairs say how often. They do not say *why this one*. **What would you see if you could take any
# pair, turn every knob and watch both maps move?** Notebook `09_pair_inspector` lets you.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/08_reranking_and_verification](solutions/08_reranking_and_verification.ipynb).
#
# **1. Predict.** All distances are *squared*. What changes in verification: `"the threshold"`, `"the area"` (under the curve
# of decisions) or `"both"`?
#
# <details><summary>Hint</summary>
#
# Does squaring change the order of the pairs, from the closest to the farthest?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "the threshold", "the area" or "both"

# %% tags=["check"]
pairs = {power: ranking.pair_distances(test.distances["features"] ** power, *sides) for power in (1, 2)}
areas = [ranking.verify(pairs[power]).auc for power in (1, 2)]
points = [ranking.choose_thresholds(pairs[power], [0.1])[0.1].threshold for power in (1, 2)]
changed = [not np.isclose(*values, atol=1e-6) for values in (points, areas)]
turned_out = {(True, False): "the threshold", (False, True): "the area", (True, True): "both"}[tuple(changed)]
reason = "the order of the pairs stays, so every share of them can still be accepted, from another number on"
reasons = dict.fromkeys(("the threshold", "the area", "both"), reason)
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# **2. Count.** A threshold has a false accept rate of 1 %. A guard holds one picture against an archive of 5,000 pictures
# of other people. How many of them are called the same person, on average?
#
# <details><summary>Hint</summary>
#
# The rate is a share of the pairs of two people. How many such pairs are there?
#
# </details>

# %% tags=["exercise"]
my_alarms = None  # a number

# %% tags=["check"]
mistakes = {"1 % is a hundredth": 0.001 * 5000, "the rate is per pair, not per search": 0.01, "of 5,000": 0.01 * 500}
exercises.check_number(my_alarms, 0.01 * 5000, mistakes, tolerance=0.5)

# %% [markdown]
# **3. Write it.** From a square matrix of distances (N, N) with zeros on the diagonal and no ties: which pictures are
# k-reciprocal neighbours? Return a boolean (N, N) matrix; a picture is the first of its own k nearest.
#
# <details><summary>Hint</summary>
#
# `d.argsort(1).argsort(1)` is the rank of every picture in every row. When is $j$ among the $k$ nearest of $i$, and when
# the other way round?
#
# </details>


# %% tags=["exercise"]
def reciprocal(d, k):
    """True where each is among the other's k nearest."""


# %% tags=["check"]
def reference(d, k):
    near = d.argsort(1).argsort(1) < k
    return near & near.T


places = np.random.default_rng(0).random((2, 12, 3))
cases = {f"k = {k}": (np.linalg.norm(p[:, None] - p, axis=2), k) for k, p in zip((2, 5), places, strict=True)}
mistakes = {
    "that is one-sided: j may not return it": lambda d, k: d.argsort(1).argsort(1) < k,
    "both have to be near, not one of them": lambda d, k: (near := d.argsort(1).argsort(1) < k) | near.T,
    "a picture is the first of its own k nearest": lambda d, k: (near := d.argsort(1).argsort(1) <= k) & near.T,
}
exercises.check_function(reciprocal, reference, cases, mistakes)

# %% [markdown]
# **To go on.** Choose $k_1$, $k_2$ and $\lambda$ of re-ranking on the validation people, too. Does the paper's choice hold up
# here?
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - Z. Zhong, L. Zheng, D. Cao, S. Li: *Re-ranking Person Re-identification with k-reciprocal Encoding*, CVPR 2017.
