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
# # 06 · Ranking with attention
#
# At test time the paper does not rank by features alone: it adds the distance between two pictures' attention. **Does
# that help, how much attention is right, and who may decide it?** And when there is no list to rank, only two pictures and
# a question: *from which distance on do we say "the same person"?*
#
# ![Ranked galleries of some queries: right matches in a solid frame, wrong ones dashed](../figures/rankings.webp)
#
# **You will learn** how two distances are put on one scale and added (the paper's section 4), how to choose a setting
# without looking at the test, what re-ranking by mutual neighbours does and what it does *together* with attention, how to
# break a result down by cameras, and how to choose a threshold that keeps its promise.
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
from casnkit import attention, evaluation, exercises, figures, ranking, report
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
# ## 6 · Re-ranking: ask the neighbours
#
# **Idea.** So far each gallery picture was judged by itself. But if $g$ is close to $q$, then the pictures *around* $g$
# should be the pictures around $q$. Zhong et al. call two pictures **k-reciprocal** neighbours if each is among the other's
# $k$ nearest: a courtesy returned. Pictures that are close to everybody (grey clothes, bad light) return few.

# %% [markdown]
# **Formula.** Each picture $p$ gets a vector $V_p$ with $e^{-d(p, g)}$ for its reciprocal neighbours $g$ and $0$ elsewhere.
# How far apart are two such vectors?
#
# $$d_J(q, g) = 1 - \frac{\sum_i \min(V_{q,i}, V_{g,i})}{\sum_i \max(V_{q,i}, V_{g,i})}, \qquad
# d^* = (1 - \lambda)\, d_J + \lambda\, d.$$
#
# It needs the distances of *all* pictures among each other, so we make them for features and for attention.

# %%
options = (config.ranking.siamese_mode, config.ranking.pair_order, config.ranking.threshold)
parts = (test.query, test.gallery)
of_features = [ranking.feature_distances(part.features, part.features) for part in parts]
of_attention = [ranking.attention_distances(model, part, part, *options).distances for part in parts]
features = ranking.Blocks(ways["features"], *of_features)
attentive = ranking.Blocks(ways["attention"], *of_attention)

# %% [markdown]
# Who are a query's reciprocal neighbours? We look at one that the features solve neither well nor badly: its ten nearest
# pictures, and which of these return the courtesy (✓: the query is among *their* ten nearest, too).

# %%
hard_to_easy = report.spread_queries(results["features"].average_precision, 3)
i = hard_to_easy[len(hard_to_easy) // 2]
nearest = features.query_gallery[i].argsort(kind="stable")[:10]
to_them = np.concatenate([features.query_gallery[:, nearest], features.gallery_gallery[:, nearest]])
returned = (to_them < features.query_gallery[i, nearest]).sum(0) <= 10
captions = [f"{'✓' if r else '–'} pid {gallery.pids[j]}" for j, r in zip(nearest, returned, strict=True)]
pictures = [query.image(i), *(gallery.image(j) for j in nearest)]
figures.show_batch(pictures, [f"pid {query.pids[i]}", *captions], columns=11)

# %% [markdown]
# Now all ways together: attention before re-ranking (in the distance that is re-ranked), after it, or not at all; and the
# plain mean of section 4 in its place.

# %%
again = ranking.rerank_with_attention(features, attentive, best.best, **settings)
of_plain = [plain_distances(*two) for two in ((parts[0], parts[1]), (parts[0], parts[0]), (parts[1], parts[1]))]
rival = ranking.rerank_with_attention(features, ranking.Blocks(*of_plain), plain.best, **settings)
again["re-ranked with the plain mean"] = rival["re-ranked sum"]
reranked = {name: evaluation.rank(distances, dataset) for name, distances in again.items()}
evaluation.table([line(*item) for item in reranked.items()])

# %%
pairs = {name: f"re-ranked {name}" for name in ("features", "attention", "sum")}
for before, after in pairs.items():
    mean, margin = change(reranked[after], reranked[before], query.pids)
    print(f"re-ranking {before:10} {mean:+6.1f} ± {margin:.1f} points of average precision")
for name in ("re-ranked sum", "re-ranked features + attention", "re-ranked with the plain mean"):
    mean, margin = change(reranked[name], reranked["re-ranked features"], query.pids)
    print(f"{name} against re-ranked features: {mean:+.1f} ± {margin:.1f} points")
mean, margin = change(reranked["re-ranked sum"], reranked["re-ranked with the plain mean"], query.pids)
print(f"attention against the plain mean, both in the re-ranked sum: {mean:+.1f} ± {margin:.1f} points")

# %% [markdown]
# **Look at the ranks that moved.** The query whose average precision rose most, before and after:

# %%
risen = reranked["re-ranked features"].average_precision - reranked["features"].average_precision
i = int(np.nanargmax(risen))
both_rows = [report.ranking_row(dataset, again[name], i, name) for name in ("features", "re-ranked features")]
figures.show_rankings(both_rows, "One query, before and after re-ranking")

# %%
sides = (query.pids, query.camids, gallery.pids, gallery.camids)
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
# ## 7 · Camera by camera
#
# One number for all cameras hides where it fails. Each cell below ranks the queries of one camera against the pictures of
# one other camera alone. On the diagonal there is nothing to find: pictures of the query's own camera do not count. (Where
# nobody knows the cameras, there is one cell, and all pictures stand in it.)

# %%
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
# ## 8 · Two pictures: the same person?
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
scaled = {"as it is": ways["features"]} | {
    f"minmax per {per}": ranking.normalise_distances(ways["features"], "minmax", per) for per in ("query", "matrix")
}
for name, distances in scaled.items():
    mean_ap, v = evaluation.rank(distances, dataset).mean_ap, ranking.verify(ranking.pair_distances(distances, *sides))
    print(f"{name:17} mAP {100 * mean_ap:.1f} %, area under the curve of decisions {v.auc:.4f}")

# %% [markdown]
# ## A question for the next notebook
#
# Means over thousands of pairs say how often. They do not say *why this one*. **What would you see if you could take any
# pair, turn every knob and watch both maps move?** Notebook `07_pair_inspector` lets you.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/06_ranking_with_attention](solutions/06_ranking_with_attention.ipynb).
#
# **1. Predict.** Features alone, scaled by `minmax` *per query*. Does their ranking change against the distances as they
# come: `"same"` or `"changes"`?
#
# <details><summary>Hint</summary>
#
# What does subtracting a constant and dividing by a positive one do to the order of a row?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "same" or "changes"

# %% tags=["check"]
plain_ap, scaled_ap = (evaluation.rank(scaled[name], dataset).mean_ap for name in ("as it is", "minmax per query"))
reasons = {
    "same": "every row keeps its order; only where rows are compared with each other, as by a threshold, it matters",
    "changes": "a row is shifted and stretched: can that make a larger distance smaller than another of that row?",
}
exercises.check_choice(my_prediction, "same" if np.isclose(plain_ap, scaled_ap) else "changes", reasons)

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
# **To go on.**
#
# - Choose $k_1$, $k_2$ and $\lambda$ of re-ranking on the validation people too. Does the paper's choice hold up here?
# - Weigh each *camera pair* differently: where is attention worth more than average?
#   `ranking.camera_pairs(ways["attention"], *sides)` is a start.
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - Z. Zhong, L. Zheng, D. Cao, S. Li: *Re-ranking Person Re-identification with k-reciprocal Encoding*, CVPR 2017.
# - L. Zheng, L. Shen, L. Tian, S. Wang, J. Wang, Q. Tian: *Scalable Person Re-identification: A Benchmark*, ICCV 2015.
