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
# So far we compared a query with each gallery picture separately, and every query got a ranked list. This lesson adds two
# common steps. **What do we gain when we also compare the neighbours of two pictures? And below which distance may we say
# "the same person"?**
#
# ![Ranked galleries of three queries: right matches in a solid frame, wrong ones in a dashed frame](../figures/rankings.webp)
#
# **You will learn** what re-ranking by mutual neighbours does, alone and *together* with attention, how to choose a threshold
# and test whether it keeps its promise, and why a sum that ranks well can be useless for a decision.
#
# **You need** `07_ranking_with_attention`: this lesson uses the same network, trained without the validation people.
# **Runtime** under a minute at `smoke`; at `quick` about a minute on two cores after notebook 07, otherwise one more
# training; at `paper` hours on a GPU. **Hardware** a laptop; only `paper` needs a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures
if "google.colab" in str(get_ipython()):  # docs/elsewhere.md
    get_ipython().run_line_magic("pip", "install -q casnkit-*.whl")

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
# As in notebook 07, we train on one group of people, choose settings on another, and report on a third.

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
# ## 2 · Re-ranking: compare the neighbours
#
# **Idea.** If $q$ and $g$ show the same person, then the pictures that are close to $g$ should also be close to $q$. Zhong et
# al. call two pictures **k-reciprocal** neighbours if each is among the $k$ nearest of the other. A picture that is close to
# many different people (grey clothes, bad light) has few such neighbours.

# %% [markdown]
# **Formula.** Each picture $p$ gets a vector $V_p$. Its entry for picture $g$ is $e^{-d(p, g)}$ if $g$ is a reciprocal
# neighbour of $p$, and $0$ otherwise. The Jaccard distance $d_J$ compares two such vectors, and the final distance $d^*$ is a
# weighted sum of both distances:
#
# $$d_J(q, g) = 1 - \frac{\sum_i \min(V_{q,i}, V_{g,i})}{\sum_i \max(V_{q,i}, V_{g,i})}, \qquad
# d^* = (1 - \lambda)\, d_J + \lambda\, d.$$
#
# This needs the distances between *all* pictures, so we compute them for features and for attention.

# %%
query, gallery, parts = dataset.query, dataset.gallery, (test.query, test.gallery)
options = (config.ranking.siamese_mode, config.ranking.pair_order, config.ranking.threshold)
of_features = [ranking.feature_distances(part.features, part.features) for part in parts]
of_attention = [ranking.attention_distances(model, part, part, *options).distances for part in parts]
features = ranking.Blocks(test.distances["features"], *of_features)
attentive = ranking.Blocks(test.distances["attention"], *of_attention)

# %% [markdown]
# Which pictures are reciprocal neighbours of a query? We take a query of medium difficulty and show its ten nearest pictures.
# A ✓ marks the pictures that have the query among *their* ten nearest, too.

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
# Now we compare several ways: attention is added before re-ranking (to the distance that is re-ranked), after it, or not at
# all.

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
# **Look at the ranks that moved.** Here is the query whose average precision rose most, before and after:

# %%
risen = reranked["re-ranked features"].average_precision - reranked["features"].average_precision
i = int(np.nanargmax(risen))
both_rows = [report.ranking_row(dataset, again[name], i, name) for name in ("features", "re-ranked features")]
figures.show_rankings(both_rows, "One query, before and after re-ranking")

# %%
moved = ranking.rank_changes(again["features"], again["re-ranked features"], *sides).summary()
ck.notebook.say(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in moved.items()))

# %% [markdown]
# **Two warnings.** Re-ranking uses the *whole* gallery and all *other queries* to answer one query, so compare it only with
# methods that may do the same. Also, the size of the neighbourhood ($k_1 = 20$ in the paper by Zhong et al.) was chosen for
# galleries with about twenty pictures of each person. In our gallery:

# %%
of_people = (gallery.pids > 0).sum()
print(f"pictures of a person in the gallery: {of_people / len(gallery.identities):.1f} on average")

# %% [markdown]
# ## 3 · Two pictures: the same person?
#
# **Idea.** A ranked list always has a first place, even if the person is not in the gallery. An access control system needs
# a *decision*: below which distance do we say "the same"? Two errors are possible. A **false accept** calls two people one
# person. A **false reject** calls one person two people. If you move the threshold, one error becomes rarer and the other
# becomes more frequent.

# %%
before = {name: ranking.pair_distances(chosen_on.distances[name], *people) for name in ("features", "attention")}
rates = sorted({max(rate, 1 / len(before["features"].different)) for rate in (0.01, 0.1)})  # of one pair at least
thresholds = {name: ranking.choose_thresholds(pairs, rates) for name, pairs in before.items()}
lines = {f"{rate:.0%} false accepts": d.threshold for rate, d in thresholds["features"].items()}
pairs = before["features"]
samples = {"pairs of one person": pairs.same, "pairs of two people": pairs.different}
figures.show_distributions(samples, "distance, lower is closer", "Features, validation people", marks=lines)

# %% [markdown]
# We chose these thresholds on the validation people. On *these* people, each threshold accepts at most the promised share of
# pairs of two different people. Do they keep this promise on the test people?

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
# The last column depends on how many of the pairs show one person. In a large gallery that share is small, and even a low
# rate of false accepts produces many errors. The curve shows both rates for every threshold. The rings mark the thresholds
# from above, with the rates that they have on the test people.

# %%
judged = {name: ranking.verify(pairs) for name, pairs in after.items()}
with figures.figure_style():
    figure = figures.style.new_figure(6.4, 4.2, "Same person? Test people")
    ax = figure.subplots()
    for k, (name, v) in enumerate(judged.items()):
        ax.plot(100 * v.false_accept, 100 * v.true_accept, color=f"C{k}", label=f"{name}: area {v.auc:.3f}")
        landed = [ranking.error_rates(after[name], d.threshold) for d in thresholds[name].values()]
        x, y = [100 * d.false_accept for d in landed], [100 - 100 * d.false_reject for d in landed]
        ax.plot(x, y, "o", color=f"C{k}", markersize=10, markerfacecolor="none")
    chance = np.geomspace(0.01, 100)
    ax.plot(chance, chance, ":", color="grey", label="by chance")
    ax.set(xscale="log", xlim=(0.01, 100), xlabel="false accepts: pairs of two people called one (%)")
    ax.set(ylabel="pairs of one person called one (%)")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend()
figure

# %%
for name, v in judged.items():
    print(f"{name}: area {v.auc:.3f}, equal error rate {v.equal_error_rate:.1%}, {v.num_same} pairs of one person")
session.expect(judged["features"].auc > 0.5, "the features decide no better than chance")

# %% [markdown]
# **Why not use the sum?** If we scale query by query, the closest picture of every query has the distance 0, *even if it
# shows another person*. That does no harm in a ranking. The area under the curve hardly notices it, because these are few
# among very many pairs. But they are the pairs that matter: no threshold can reject them.

# %%
scaled = {"as it is": test.distances["features"]} | {
    f"minmax per {per}": ranking.normalise_distances(test.distances["features"], "minmax", per)
    for per in ("query", "matrix")
}
for name, distances in scaled.items():
    mean_ap, v = evaluation.rank(distances, dataset).mean_ap, ranking.verify(ranking.pair_distances(distances, *sides))
    print(f"{name:17} mAP {100 * mean_ap:.1f} %, area under the curve of decisions {v.auc:.4f}")
strangers = (test.rankings["features"].first_hit > 0).sum()
print(f"queries whose closest picture shows another person, which 'minmax per query' puts at distance 0: {strangers}")

# %% [markdown]
# ## A question for the next notebook
#
# Averages over thousands of pairs tell you how often the network is wrong. They do not tell you *why* it is wrong for one
# pair. **What would you see if you could open any pair, change every setting, and watch both maps change?** Notebook
# `09_pair_inspector` lets you do that.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second cell checks it. Solutions:
# [solutions/08_reranking_and_verification](solutions/08_reranking_and_verification.ipynb).
#
# **1. Predict.** You *square* all distances. What changes in verification: `"the threshold"`, `"the area"` (under the ROC
# curve) or `"both"`?
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
reason = "the order of the pairs stays the same, so the area does too; a threshold is a distance, so it is squared"
reasons = dict.fromkeys(("the threshold", "the area", "both"), reason)
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# **2. Count.** A threshold has a false accept rate of 1 % and a false reject rate of 20 %. An archive has 5,000 pictures of
# other people and 10 pictures of the person you look for. You compare one picture of this person with the whole archive. What
# *share* of the accepted pictures shows the right person, on average (in [0, 1])?
#
# <details><summary>Hint</summary>
#
# How many of the 5,000 are accepted? How many of the 10? The share is the second number divided by their sum.
#
# </details>

# %% tags=["exercise"]
my_share = None  # a number in [0, 1]

# %% tags=["check"]
wrong, right = 0.01 * 5000, (1 - 0.2) * 10
mistakes = {
    "that is the share of the wrong ones": wrong / (wrong + right),
    "a fifth of the person's pictures is rejected": 10 / (wrong + 10),
    "20 % are rejected, so 80 % are accepted": 2 / (wrong + 2),
    "divide by all accepted pictures, right and wrong": right / wrong,
    "divide by the accepted pictures, not by the archive": right / 5010,
}
exercises.check_number(my_share, right / (wrong + right), mistakes, tolerance=2e-3)

# %% [markdown]
# **3. Write it.** You get a square matrix of distances (N, N), with zeros on the diagonal and no ties. Which pictures are
# k-reciprocal neighbours? Return a boolean (N, N) matrix. Every picture counts as the first of its own k nearest.
#
# <details><summary>Hint</summary>
#
# `d.argsort(1).argsort(1)` is the rank of every picture in every row. When is $j$ among the $k$ nearest of $i$, and when is
# $i$ among the $k$ nearest of $j$?
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
    "that is one-sided: i may not be among the nearest of j": lambda d, k: d.argsort(1).argsort(1) < k,
    "both have to be near, not just one of them": lambda d, k: (near := d.argsort(1).argsort(1) < k) | near.T,
    "a picture is the first of its own k nearest": lambda d, k: (near := d.argsort(1).argsort(1) <= k) & near.T,
}
exercises.check_function(reciprocal, reference, cases, mistakes)

# %% [markdown]
# **4. Explain.** A company wants to open a door when a camera recognises a member of staff. It asks for "the method with the
# best mAP". Explain in five or six sentences why mAP is the wrong number here, and what you would measure instead.
#
# <details><summary>What a good answer says</summary>
#
# - mAP judges the order of a list. A door needs a decision about one picture, and the person may not be in the list. (1
#   point)
# - The decision needs a threshold. It is chosen on other people and then tested. (1 point)
# - Both errors have to be reported: false accepts (a stranger gets in) and false rejects (staff stay outside). Which one
#   matters more is a question for the company. (1 point)
# - How many of the accepted people are staff depends on how many strangers pass: see exercise 2. (1 point)
# - A distance that is scaled query by query, such as the paper's sum, ranks well and is useless with a threshold. (1 point)
#
# </details>
#
# **To go on.** Choose $k_1$, $k_2$ and $\lambda$ of re-ranking on the validation people, too. Are the values of Zhong et al.
# still the best ones here?
#
# ## Recap
#
# 1. When are two pictures k-reciprocal neighbours?
#
# <details><summary>Answer</summary>When each of them is among the k nearest pictures of the other.</details>
#
# 2. Why may a re-ranked result not be compared with one that was not re-ranked?
#
# <details><summary>Answer</summary>Re-ranking uses the whole gallery and all other queries to answer a single
# query.</details>
#
# 3. You lower the threshold on the distance. Which error becomes rarer, and which becomes more frequent?
#
# <details><summary>Answer</summary>False accepts become rarer, false rejects become more frequent.</details>
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - Z. Zhong, L. Zheng, D. Cao, S. Li: *Re-ranking Person Re-identification with k-reciprocal Encoding*, CVPR 2017.
