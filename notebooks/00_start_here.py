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
# # 00 · Start here
#
# Two cameras, two pictures: the same person? A network that learned to answer can be asked a second question: **what in
# the two pictures made you think so?**
#
# ![Two pictures of one person, the network's attention in each, and how its rows line up](../figures/pair-right.webp)
#
# **You will learn** what a query and a gallery are, what the *Consistent Attentive Siamese Network* (CASN) adds to a plain
# baseline, and how to look at its two kinds of attention.
#
# **You need** nothing but this kit: the people are drawn by it, so that we know what is where.
# **Runtime** under a minute at `smoke`; at `quick` about five minutes on two cores, in which you watch two networks learn, or
# seconds if `casnkit demo` has trained them before; at `paper` hours on a GPU, for the two trainings. **Hardware** a laptop;
# only `paper` asks for a GPU. What this machine would take, `casnkit doctor` says.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np

import casnkit as ck
from casnkit import exercises, report
from casnkit.figures import show_batch, show_cmc, show_losses, show_rankings

session = ck.notebook.start(profile, data)
dataset = session.dataset

# %% [markdown]
# ## 1 · The data
#
# Every picture carries a person's number (`pid`) and a camera's (`camid`). People of the training part never appear in
# the test part: the network has to compare people that it has never seen.

# %%
pid = np.intersect1d(dataset.query.pids, dataset.gallery.identities)[0]
mine = int(np.flatnonzero(dataset.query.pids == pid)[0])
seen = np.flatnonzero(dataset.gallery.pids == pid)
seen = seen[np.linspace(0, len(seen) - 1, min(16, len(seen))).round().astype(int)]  # at most two lines of pictures
captions = [ck.data.camera_text(dataset.gallery.camids[i]) for i in seen]
show_batch([dataset.gallery.image(i) for i in seen], captions, columns=8)

# %% [markdown]
# One person, several cameras: colours shift, poses differ, backgrounds stay with their camera. A network may be tempted
# to compare backgrounds; watch for it below.
#
# ## 2 · A baseline and CASN
#
# Both share one trunk. The baseline (**IDE**) learns to name the training people. **CASN** adds two demands: attention
# must cover *all* of what gives a person away (identification attention, `ia`), and two pictures of one person must be
# looked at in the *same way* (Siamese attention: `bce` and `consistency`).

# %%
baseline = session.run("ide", live=True)
casn = session.run("casn", live=True)
show_losses({"ide": baseline.log, "casn": casn.log}, title="What was learned, epoch by epoch")

# %% [markdown]
# Each panel is one term of the loss, unweighted; below, how fast it learned. A rising curve is no accident: while a network
# knows nobody, a masked picture gives nobody away, so the attention term begins near zero.
#
# ## 3 · Who stands where in the ranking?
#
# For each query picture the gallery is sorted by distance. **Rank-1** is the share of queries whose closest gallery
# picture shows the right person, **mAP** looks at the whole list. CASN can rank by its features, by its attention, or by
# both (`sum`). *Chance* is the same protocol with random distances. All in percent.

# %%
rows = [{"model": "ide", **row} for row in baseline.result.rows()[:1]]
rows += [{"model": "casn", **row} for row in casn.result.rows()]
columns = {"model": "network", "ranked by": "ranked by", "rank_1": "rank-1", "rank_5": "rank-5", "mean_ap": "mAP"}
ck.evaluation.table(rows, columns)

# %%
curves = {f"casn by {name}": result.cmc for name, result in casn.result.rankings.items()}
show_cmc({"ide by features": baseline.result.rankings["features"].cmc, **curves})

# %% [markdown]
# One training with one seed. **Do not conclude from it which model is better**: the baseline alone moves by several
# points when only the seed changes. What can be trusted at once is the distance from chance.

# %% Who stands where in the ranking? tags=["slide"]
features = casn.result.rankings["features"]
session.expect(features.mean_ap > casn.result.chance.mean_ap, "the network ranks no better than chance")
queries = report.spread_queries(features.average_precision, 3)
show_rankings([report.ranking_row(dataset, casn.result.distances["features"], i, f"query {i}") for i in queries])

# %% [markdown]
# ## 4 · Why these two?
#
# **Siamese attention** picks channels by the gradient of "same person" and shows where each picture responds in them. (In a
# trained network these are mostly the channels in which the first picture is *weaker* than the second; notebook 04 shows
# why. So do not read the map as "the parts that speak for the same person".) Beside each picture stand the largest values
# of each row, cropped to the rows above the threshold $t$ and resized. CASN's consistency loss asks these two profiles to
# agree for pictures of one person; notebook 05 measures whether they do. The line on top is the judgement of the pair
# classifier, ✓ where it is right. It is *not* the ranking: it learned with a small weight, and may call a pair different
# that the distances put first.

# %%
pairs = report.choose_pairs(dataset, casn.result.distances["sum"])
kind, pair = next(iter(pairs.items()))
print(f"a {kind} first match")
report.pair_figure(casn.model, dataset, casn.info.config, casn.result, *pair)

# %%
kind, pair = list(pairs.items())[-1]
print(f"a {kind} first match" if len(pairs) > 1 else f"every first match is {kind} here: the same pair again")
report.pair_figure(casn.model, dataset, casn.info.config, casn.result, *pair)

# %% [markdown]
# ## 5 · Where do they look?
#
# **Identification attention** asks: which parts of *one* picture speak for its person? It belongs to the training people.
# The plain mean of the feature map stands beside each map: an explanation that does not differ from it explains little.
# The outline is the true person.

# %% Where do they look? tags=["slide"]
trained = {"ide": tuple(baseline), "casn": tuple(casn)}
report.where_they_look(trained, dataset.train)

# %% [markdown]
# The soft mask hides what attention found. Whatever the network still recognises in the masked picture is a part that
# attention missed; CASN's `ia` term trains that away. Beside each person stands the probability $p$ of the own name, before
# anything is hidden.

# %%
report.identification_figure(casn.model, dataset.train, casn.info, name="casn")

# %% [markdown]
# A small certainty to end with. With global average pooling the Siamese map *sums to the score that it explains*,
# $\sum_{ij} M_{ij} = s = \langle\alpha, f\rangle$: nothing of the evidence is lost on the way to the picture.

# %%
first, second = session.images("query", [mine]), session.images("gallery", [seen[-1]])
map_1, _ = casn.model.siamese_attention(first, second)
f_1, f_2 = (casn.model.pool(casn.model.feature_map(image)) for image in (first, second))
alpha = casn.model.pair_gradient(f_1 - f_2) > 0
score = f_1[alpha].sum()
assert abs(map_1.sum() - score) < 1e-3 * score.abs() + 1e-6
print(f"sum of the map {map_1.sum():.4f}, score {score:.4f}")

# %% [markdown]
# ## 6 · The paper's figures, made here
#
# The paper explains itself by figures. Each has a counterpart in this course, made by our code on our people; figure 6 and
# figure 8 are drawn for any pair that you choose.
#
# | the paper's | what it is about | our counterpart |
# |---|---|---|
# | figure 1 | two pictures of one person should be looked at in the same way | notebook 03, section 12 |
# | figure 4 | identification loss alone, and with attention learning | notebook 03, section 11 |
# | figure 5 | maps of a pair classifier, for pairs of one person and of two | notebook 05, section 6 |
# | figure 6 | two maps, row by row: maximum, crop, alignment | notebook 04, section 9; notebook 07, section 4 |
# | figure 7 | the same pair without and with the consistency loss; first matches | notebook 05, section 6; notebook 07 |
# | figure 8 | a wrong first match beside the true one; a true match without and with SA | notebook 08, 3 and 4 |

# %% [markdown]
# ## A question for the next notebook
#
# *Rank-1*, *mAP*, *chance*: a few numbers have just passed judgement on two networks. **Who counts the points, and by
# which rules?** Notebook `01_data_and_protocol` answers it, without any network.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/00_start_here](solutions/00_start_here.ipynb).
#
# **1. Predict.** Exchange `first` and `second` in the last cell of section 5. Is the map of a picture the same when it comes
# second: `"same"` or `"changes"`?
#
# <details><summary>Hint</summary>
#
# `casn.model.siamese_attention(second, first)` returns the maps in the new order. Is $b(f_1 - f_2)$ an even function?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "same" or "changes"

# %% tags=["check"]
_, as_second = casn.model.siamese_attention(second, first)
apart = ((map_1 - as_second).abs().max() / map_1.max()).item()
print(f"largest change, as a share of the map's maximum: {apart:.3f}")
reasons = {
    "same": "the pair classifier sees the difference of the features, and its sign turns with the order",
    "changes": "the pair classifier sees f_1 - f_2; its sign turns, other hidden units open, and so alpha changes",
}
exercises.check_choice(my_prediction, "same" if apart < 1e-6 else "changes", reasons)

# %% [markdown]
# **2. How coarse is a percent?** One query more is answered rightly. By how many *points* (percent) does rank-1 rise?
#
# <details><summary>Hint</summary>
#
# `features.num_valid` queries have a match; rank-1 is a share of them.
#
# </details>

# %% tags=["exercise"]
my_points = None  # a number

# %% tags=["check"]
mistakes = {
    "that is a share; points are percent": 1 / features.num_valid,
    "rank-1 is a share of the queries, not of the gallery": 100 / len(dataset.gallery),
}
exercises.check_number(my_points, 100 / features.num_valid, mistakes, tolerance=6e-3)

# %% [markdown]
# **3. Write it.** How much of a map lies on the person? Return the share of the map's sum inside the mask, in [0, 1]; both
# are arrays (H, W), the mask true on the person. A map of zeros has the share 0.
#
# <details><summary>Hint</summary>
#
# `(attention * mask).sum()`, divided by what?
#
# </details>


# %% tags=["exercise"]
def share_on_person(attention, mask):
    """Share of the map's sum that lies inside the mask."""


# %% tags=["check"]
def reference(attention, mask):
    return attention[mask].sum() / attention.sum() if attention.sum() > 0 else 0.0


rng, mask = np.random.default_rng(0), np.zeros((8, 4), dtype=bool)
mask[2:7, 1:3] = True
cases = {"a map everywhere": (np.ones((8, 4)), mask), "a random map": (rng.random((8, 4)), mask)}
cases["a map of zeros"] = (np.zeros((8, 4)), mask)
mistakes = {"divide by the map's sum, not by the size of the person": lambda a, m: a[m].sum() / m.sum()}
exercises.check_function(share_on_person, reference, cases, mistakes)

# %% [markdown]
# **To go on.** Train with another seed, `ck.notebook.start(profile, data, seed=1)`: how far do rank-1 and mAP move? Then
# compare that with the difference between the two networks.
#
# ## References
#
# M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
