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
# # 10 · Failures and rank changes
#
# Notebook 09 looked at *one* failure and found a story. Here we look at all of them. **Which queries fail, in which ways,
# and do the stories survive when they are counted?**
#
# ![Ranked galleries of some queries: right matches in a solid frame, wrong ones dashed](../figures/rankings.webp)
#
# **You will learn** to sort failures by what can be measured of them, to read gains and losses between two rankings without
# being fooled by a list of the best ones, and to test a kind of failure by hiding parts of the pictures.
#
# **You need** `09_pair_inspector`.
# **Runtime** under a minute at `smoke`; at `quick` a minute or two where the networks that come with the kit fit, else about
# five minutes on two cores; at `paper` hours on a GPU for two trainings, or minutes where they are done. **Hardware** a
# laptop; only `paper` asks for a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import exercises, figures, ranking
from casnkit.experiments.claims import lookalikes_of
from casnkit.explain import masks, pair
from casnkit.inspector import Inspector, filters

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · What a mean hides
#
# Two networks, a few numbers each. Every number is a mean over queries; from here on we keep the queries apart.

# %%
casn, ide = session.run("casn"), session.run("ide")
rows = [{"model": "ide", **row} for row in ide.result.rows()[:1]]
rows += [{"model": "casn", **row} for row in casn.result.rows()]
ck.evaluation.table(rows)

# %% [markdown]
# Each bar is one query, hardest first. A mean in the middle can be made of a few disasters and many perfect lists, or of
# mediocre ones throughout. Which is it here?

# %%
kept = session.folder / "inspector"
inspector = Inspector({"casn": casn, "ide": ide}, session.dataset, out=kept, notes=kept / "notes.json")
inspector.set(other="ide", ranked_by="sum", order="AP", threshold=casn.info.config.ranking.threshold)
inspector.figure("failures")

# %% [markdown]
# ## 2 · Kinds of failure
#
# **Idea.** A kind is something that can be *measured* of a query, not something that we see in a picture once we know that
# it went wrong. The inspector's filters are such kinds (in its tab **Failures**, with presets of your own):

# %% The kinds of failure, counted tags=["slide"]
for name, record in filters.FILTERS.items():
    value = 0.5 if record.value is None else record.value
    inspector.set(filter=name, filter_value=value)
    print(f"{len(inspector.desk.candidates()):>5}  {record.text(value)}")

# %% [markdown]
# One query can be of several kinds. "Better" and "worse" compare with the network that is named second, here IDE: read
# both lines together, or neither.
#
# > **What the paper leaves open: which examples.** It shows pictures of pairs and names no rule by which they were picked.
# > *Our choice:* a picture is always the first of a list whose filter and order are printed. *The evidence:* the counts
# > above; every network has both triumphs and disasters to show. *To switch:*
# > `inspector.set(filter="rank-1 wrong", order="confidence")`, or any other pair out of `filters.FILTERS` and
# > `filters.ORDERS`.
#
# ## 3 · Who moved? From IDE to CASN
#
# **Idea.** For each query and *each* of its true matches we note the rank under IDE (by features) and under CASN (by the sum
# of features and attention). `rank_changes` does it for any two distance matrices.

# %%
sides = (*(getattr(session.dataset.query, k) for k in ("pids", "camids")),)
sides += (*(getattr(session.dataset.gallery, k) for k in ("pids", "camids")),)
before, after = ide.result.distances["features"], casn.result.distances["sum"]
changes = ranking.rank_changes(before, after, *sides)
ck.notebook.say(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in changes.summary().items()))

# %% [markdown]
# Gains (to the right) and losses (to the left), for each true match. Below them, as a yardstick, what happens between two
# rankings *at random*: there, too, thousands of places are won and lost.

# %%
rng = np.random.default_rng(0)
by_chance = ranking.rank_changes(rng.random(before.shape), rng.random(before.shape), *sides)
moves = {"ide to casn": changes.gain, "random to random": by_chance.gain}
figures.show_distributions(moves, "places gained", "Where the true matches went", bins=41)

# %% [markdown]
# **The trap.** Sort any two rankings by gain, and the top of the list will look like a success story, with pictures.
# Whoever shows the top gains owes the top losses:

# %%
for title, entries in (("gains", changes.top_gains(3)), ("losses", changes.top_losses(3))):
    for k in entries:
        i, j = changes.query[k], changes.gallery[k]
        print(f"{title:6} query {i:>4}, gallery image {j:>5}: rank {changes.before[k]:>4} -> {changes.after[k]:>4}")

# %% [markdown]
# And the same without the pictures' charm. Do gains outweigh losses? Half of all moves would go up by chance. (True matches
# of one query move together, so count queries, not pairs, before you call a difference certain.)

# %%
net = np.array([np.sign(changes.gain[changes.query == i].sum()) for i in np.unique(changes.query)])
print(f"queries that gained places {(net > 0).sum()}, lost {(net < 0).sum()}, neither {(net == 0).sum()}")
print(f"first hit won by {len(changes.rank_1_gained())} queries, lost by {len(changes.rank_1_lost())}")

# %% [markdown]
# The largest gain and the largest loss, as pictures: first the ranks of all true matches of that query, then its two lists.
# The first of them is our counterpart to the paper's figure 8 (b): a query, its true match, and the rank of that match
# without and with Siamese attention. The paper shows gains alone; look at the loss as well.

# %%
gain = changes.top_gains(1)
i, j = (int(side[gain[0]]) if len(gain) else 0 for side in (changes.query, changes.gallery))
inspector.set(filter="all", query=i, gallery=j)
inspector.figure("ranks")

# %%
inspector.figure("compare")

# %%
loss = changes.top_losses(1)
i, j = (int(side[loss[0]]) if len(loss) else 0 for side in (changes.query, changes.gallery))
inspector.set(query=i, gallery=j)
inspector.figure("compare")

# %% [markdown]
# ## 4 · The paper's figure 8 (a), for any query
#
# **Idea.** A wrong first match beside the true one. For one query: (a) the stranger that comes first among the strangers,
# (b) the nearest true match, with Siamese attention in all four pictures. *Rule here:* the query that lost most under
# CASN, if any did.

# %%
inspector.figure("figure 8")

# %% [markdown]
# **Look.** Do the maps of (b) agree more than those of (a)? Compare the two l2 distances *before* you look at the colours.
# In one query it may go either way; section 7 counts.
#
# ## 5 · Sure, and wrong
#
# **Idea.** The pair classifier gives a probability. A mistake that it makes with confidence cannot be caught by asking it
# again. How sure is it of the first picture, where that is right and where it is wrong?

# %%
table = inspector.desk.table()
known = table.num_matches > 0
right, wrong = known & table.top_right, known & ~table.top_right
groups = {"first image right": right, "first image wrong": wrong}
sure = {name: table.confidence[chosen] for name, chosen in groups.items() if chosen.any()}
figures.show_distributions(sure, "p(same person) of the query and its first image", "How sure?", limits=(0, 1))

# %% [markdown]
# Where the two histograms overlap, no threshold on $p$ separates right from wrong. The area under the ROC curve says how
# well it would do: the chance that a right first image has the higher $p$ of the two (0.5: no better than a coin).

# %%
if right.any() and wrong.any():
    ahead = table.confidence[right][:, None] > table.confidence[wrong]
    print(f"a right first image has the higher p in {ahead.mean():.2f} of all such pairs")

# %% [markdown]
# ## 6 · Look-alikes
#
# **Idea.** Some strangers *are* alike. The synthetic people come with the truth: a few of them differ from another person
# in exactly one part. Of the first images that are wrong, how many are the query's own look-alike?

# %%
twin = {a: b for one, two, _ in lookalikes_of(session.dataset) for a, b in ((one, two), (two, one))}
q, g, people = session.dataset.query, session.dataset.gallery, len(session.dataset.gallery.identities)
has_twin = [i for i in np.flatnonzero(wrong) if int(q.pids[i]) in twin]
fooled = [i for i in has_twin if twin[int(q.pids[i])] == g.pids[table.top[i]]]
chance = f"{len(has_twin) / max(1, people - 1):.1f} if strangers came first at random"
print(
    f"{len(has_twin)} wrong queries have a look-alike; for {len(fooled)} it is the look-alike that came first ({chance})"
    if twin
    else "Nobody knows who looks like whom in this data."
)

# %% [markdown]
# A *margin* says it without knowing any twins: how much nearer is the first true match than the first stranger, as a share
# of the larger distance? Below zero the stranger is ahead; near zero a breath decides.

# %%
margins = {name: table.margin[chosen] for name, chosen in groups.items() if chosen.any()}
figures.show_distributions(margins, "(nearest stranger - nearest true match) / the larger", "By how much?")

# %%
asked = "wrong" if wrong.any() else "right"
close = np.argsort(np.where(wrong if wrong.any() else right, np.abs(table.margin), np.inf))[0]
inspector.set(query=int(close), gallery=int(table.nearest_wrong[close]))
print(f"query {close}: the {asked} answer with the smallest margin, {table.margin[close]:.3f}")
inspector.figure("pair")

# %% [markdown]
# ## 7 · Inconsistent attention
#
# **Idea.** Equation 5 asks that the maps of one person's pictures agree. If that matters, queries whose
# attention *disagrees* with their nearest true match should fail more often. Do they?

# %%
consistency = {name: table.consistency[chosen] for name, chosen in groups.items() if chosen.any()}
figures.show_distributions(consistency, "attention distance to the nearest true match", "Do the failures disagree?")

# %% [markdown]
# The rank correlation between this distance and average precision says it in one number: -1 if disagreement always goes
# with failure, 0 if it has nothing to do with it. Careful: this list was ranked by a sum that *contains* the distance, so
# some correlation is built in. A ranking by features alone is free of that, and comes first below.


# %%
def rank_correlation(x, y):
    both = np.isfinite(x) & np.isfinite(y)
    ranks = [
        np.searchsorted(np.sort(v), v, "left") + np.searchsorted(np.sort(v), v, "right") for v in (x[both], y[both])
    ]
    return np.corrcoef(*ranks)[0, 1] if all(np.ptp(r) for r in ranks) else np.nan  # equal values share a rank


for by in ("features", "sum"):
    inspector.set(ranked_by=by)
    of = inspector.desk.table()
    found = rank_correlation(of.consistency, of.average_precision)
    print(
        f"ranked by {by:8}: rank correlation {found:+.2f}" if np.isfinite(found) else f"by {by}, all queries are alike"
    )

# %% [markdown]
# The query that disagrees most, in equation 5's steps:

# %%
worst = int(np.nanargmax(table.consistency))
inspector.set(query=worst, gallery=int(table.nearest_right[worst]))
inspector.figure("alignment")

# %% [markdown]
# ## 8 · What if? For many pairs
#
# **Idea.** Notebook 09 hid what one map pointed at. Now the same for many queries that go wrong (where none does, for right
# ones), each with its nearest stranger: the most attended quarter of the query is hidden, and *as a control* a region of the
# very same shape at a random place.

# %%
network, generator = inspector.desk.network(), torch.Generator().manual_seed(0)
size, fell = network.size, {"attended": [], "random": []}
for i in np.flatnonzero((wrong if wrong.any() else right) & (table.nearest_wrong >= 0))[:12]:
    stranger = int(table.nearest_wrong[i])
    attended, _ = inspector.desk.maps(int(i), stranger)
    mask = masks.area_mask(torch.from_numpy(attended)[None], 0.25, size)
    for name, hidden in (("attended", mask), ("random", masks.random_like(mask, generator))):
        p = pair.counterfactual(network, int(i), hidden, gallery_index=stranger).probability
        fell[name].append(p[0] - p[1])

# %%
for name, drops in fell.items():
    error = np.std(drops, ddof=1) / len(drops) ** 0.5 if len(drops) > 1 else np.inf
    print(f"{name:8} quarter hidden: p(same) falls by {np.mean(drops):+.3f} on average (standard error {error:.3f})")
difference = np.subtract(fell["attended"], fell["random"])
print(f"the attended one matters more in {(difference > 0).sum()} of {len(difference)} queries")

# %% [markdown]
# Only the *difference* between the two lines speaks for the map. If it is not clear of zero, the map may be right about
# the picture and still say nothing about the decision.
#
# And which third of a person carries the decision for a *true* match? Upper, middle, lower, all of one size:

# %%
thirds = {"upper": (0, 0, 1 / 3, 1), "middle": (1 / 3, 0, 2 / 3, 1), "lower": (2 / 3, 0, 1, 1)}
for name, box in thirds.items():
    hidden = masks.rectangle_mask(box, size)
    found = [
        pair.counterfactual(network, int(i), hidden, gallery_index=int(table.nearest_right[i]))
        for i in np.flatnonzero(known)[:12]
    ]
    drops = [f.probability[0] - f.probability[1] for f in found]
    print(f"{name:6} third hidden: p(same) of the true match falls by {np.mean(drops):+.3f}")

# %% [markdown]
# One of these, with pictures and new ranks:

# %%
inspector.set(hide="middle third")
inspector.figure("what_if")

# %% [markdown]
# ## 9 · Keep what you found
#
# Notes, tags and presets are kept in one small file, by the query's path below the data set. The next inspector on this data
# finds them.

# %%
name = inspector.desk.library.query.key(worst)
inspector.notes.put(name, "least consistent attention", tags="attention, to discuss")
inspector.notes.put_preset(
    "sure and wrong", {"filter": "confidently wrong", "filter_value": 0.9, "order": "confidence"}
)
print(inspector.notes.path.name, inspector.notes.tags(), list(inspector.notes.presets))

# %% [markdown]
# ## A question for the next notebook
#
# All along, one kind of map has been asked: the paper's. It is one of many. **Would another method have pointed elsewhere,
# and which of them may be trusted?** Notebook `11_captum_comparison` lets them compete.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/10_failures_and_rank_changes](solutions/10_failures_and_rank_changes.ipynb).
#
# **1. Predict.** Between two rankings *at random*, which share of the true matches moves up: `"under a third"`,
# `"about half"` or `"over two thirds"`?
#
# <details><summary>Hint</summary>
#
# Exchange the two rankings: what happens to every gain?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "under a third", "about half" or "over two thirds"

# %% tags=["check"]
again = np.random.default_rng(1)
shares = []
for _ in range(10):
    noise = ranking.rank_changes(again.random(before.shape), again.random(before.shape), *sides)
    shares.append((noise.gain > 0).mean())
up = float(np.mean(shares))
print(f"{up:.3f} move up on average")
because = "both rankings are drawn alike, so gains and losses are equally likely; a few stay where they are"
reasons = dict.fromkeys(("under a third", "about half", "over two thirds"), because)
exercises.check_choice(
    my_prediction, "under a third" if up < 1 / 3 else "about half" if up <= 2 / 3 else "over two thirds", reasons
)

# %% [markdown]
# **2. Count.** Some queries win their first hit, others lose it. By how many *points* (percent of the queries that have a
# match) does rank-1 change from IDE by features to CASN by the sum? Use only `changes`.
#
# <details><summary>Hint</summary>
#
# `changes.rank_1_gained()`, `changes.rank_1_lost()`, and the number of different values in `changes.query`.
#
# </details>

# %% tags=["exercise"]
my_points = None  # a number

# %% tags=["check"]
rank_1 = [run.result.rankings[by].cmc[0] for run, by in ((casn, "sum"), (ide, "features"))]
won, lost, queries = len(changes.rank_1_gained()), len(changes.rank_1_lost()), len(np.unique(changes.query))
mistakes = {
    "what was lost counts, too": 100 * won / queries,
    "that is a share; points are percent": rank_1[0] - rank_1[1],
    "rank-1 is a share of queries, not of true matches": 100 * (won - lost) / len(changes),
    "from IDE to CASN: the sign is turned": 100 * (rank_1[1] - rank_1[0]),
}
exercises.check_number(my_points, 100 * (rank_1[0] - rank_1[1]), mistakes, tolerance=6e-3)

# %% [markdown]
# **3. Write it.** How much do two maps overlap? Return intersection over union of the places *above* $t$ times each map's
# **own** maximum; 0 where both sets are empty.
#
# <details><summary>Hint</summary>
#
# `first > t * first.max()` is a boolean array; `&` and `|` join two of them; a boolean array can be summed.
#
# </details>


# %% tags=["exercise"]
def overlap(first, second, t):
    """Intersection over union of two maps (h, w) cut at t times their own maximum, in [0, 1]."""


# %% tags=["check"]
def reference(first, second, t):
    a, b = first > t * first.max(), second > t * second.max()
    return (a & b).sum() / max(1, (a | b).sum())


one, two = (np.random.default_rng(k).random((8, 4)) for k in (0, 1))
cases = {"two maps": (one, two, 0.5), "one five times as bright": (one, 5 * two, 0.5)}
cases["maps of zeros"] = (np.zeros((8, 4)), np.zeros((8, 4)), 0.5)
mistakes = {
    "each map has its own maximum": lambda a, b, t: ((a > t) & (b > t)).sum() / max(1, ((a > t) | (b > t)).sum()),
    "divide by the union": lambda a, b, t: (
        ((a > t * a.max()) & (b > t * b.max())).sum() / max(1, (a > t * a.max()).sum())
    ),
}
exercises.check_function(overlap, reference, cases, mistakes)

# %% [markdown]
# **To go on.** Compare CASN *by features* with CASN *by the sum* instead of two networks: then only the attention differs.
# Which queries does it help, and is there a kind among them?
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - D. Hoiem, Y. Chodpathumwan, Q. Dai: *Diagnosing Error in Object Detectors*, ECCV 2012 (sort the errors, then count).
