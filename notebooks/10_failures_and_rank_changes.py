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
# Notebook 09 looked at *one* failure and found a story that explains it. Here we look at all failures. **Which queries
# fail, in which ways, and are the stories still true when we count?**
#
# ![Ranked galleries of three queries: right matches in a solid frame, wrong ones in a dashed frame](../figures/rankings.webp)
#
# **You will learn** to sort failures by what can be measured, to compare two rankings without being misled by a list of the
# best examples, and to test a kind of failure by hiding parts of the pictures.
#
# **You need** `09_pair_inspector`.
# **Runtime** under a minute at `smoke`; at `quick` a minute or two if the networks that come with the kit fit your data,
# otherwise about five minutes on two cores; at `paper` hours on a GPU for two trainings, or minutes if they are done.
# **Hardware** a laptop; only `paper` needs a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures
if "google.colab" in str(get_ipython()):  # docs/elsewhere.md
    get_ipython().run_line_magic("pip", "install -q casnkit-*.whl")

# %%
import numpy as np
import torch
from IPython.display import display

import casnkit as ck
from casnkit import exercises, figures, ranking
from casnkit.explain import masks, pair
from casnkit.inspector import Inspector, filters

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · What a mean hides
#
# Two networks, and a few numbers for each. Every number is a mean over queries. In this lesson we look at the queries one by
# one.

# %%
casn, ide = session.run("casn"), session.run("ide")
rows = [{"model": "ide", **row} for row in ide.result.rows()[:1]]
rows += [{"model": "casn", **row} for row in casn.result.rows()]
ck.evaluation.table(rows)

# %% [markdown]
# Each bar is one query, hardest first. A moderate mean can come from a few very bad lists and many perfect ones, or from many
# mediocre lists. Which of the two is it here?

# %%
kept = session.folder / "inspector"
inspector = Inspector({"casn": casn, "ide": ide}, session.dataset, out=kept, notes=kept / "notes.json")
inspector.set(other="ide", ranked_by="sum", order="AP", threshold=casn.info.config.ranking.threshold)
inspector.figure("failures")

# %% [markdown]
# ## 2 · Kinds of failure
#
# **Idea.** A kind of failure must be something that we can *measure* for every query. It must not be something that we only
# notice in a picture after we know that the query failed. The inspector's filters are such kinds (the list **Queries** in its
# tab **Failures**). One of them asks for a high p(same). What counts as high depends on the network, so we use the value that
# only a fifth of its first pictures exceed. A share such as 0.1 means a tenth of the queries:

# %%
table = inspector.desk.table()
high = round(float(np.nanquantile(table.confidence, 0.8)), 3)
for name, record in filters.FILTERS.items():
    value = high if name == "confidently wrong" else 0.5 if record.value is None else record.value
    inspector.set(filter=name, filter_value=value)
    print(f"{len(inspector.desk.candidates()):>5}  {record.text(value)}")

# %% [markdown]
# One query can be of several kinds. "Better" and "worse" compare with the second network, here IDE. Always read both lines
# together.
#
# > **What the paper leaves open: which examples.** It shows pictures of pairs and gives no rule for how they were chosen.
# > *Our choice:* each picture is the first of a list, and we print the list's filter and order. *The evidence:* the counts
# > above: every network has great successes and bad failures to show. *To switch:*
# > `inspector.set(filter="rank-1 wrong", order="confidence")`, or any other pair out of `filters.FILTERS` and
# > `filters.ORDERS`.
#
# ## 3 · Which matches moved? From IDE to CASN
#
# **Idea.** For each query and *each* of its true matches we compare two ranks: the rank under IDE (by features) and the rank
# under CASN (by the sum of features and attention). `rank_changes` does this for any two distance matrices.

# %%
sides = (*(getattr(session.dataset.query, k) for k in ("pids", "camids")),)
sides += (*(getattr(session.dataset.gallery, k) for k in ("pids", "camids")),)
before, after = ide.result.distances["features"], casn.result.distances["sum"]
changes = ranking.rank_changes(before, after, *sides)
ck.notebook.say(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in changes.summary().items()))

# %% [markdown]
# The picture shows gains (to the right) and losses (to the left), one for each true match. Below them, for comparison, are
# two *random* rankings: there, too, true matches move by many places.

# %%
rng = np.random.default_rng(0)
by_chance = ranking.rank_changes(rng.random(before.shape), rng.random(before.shape), *sides)
moves = {"ide to casn": changes.gain, "random to random": by_chance.gain}
figures.show_distributions(moves, "places gained", "Where the true matches went", bins=41)

# %% [markdown]
# **The trap.** Sort the changes between any two rankings by gain, and the top of the list looks like a success story with
# pictures. If you show the largest gains, show the largest losses as well:

# %%
for title, entries in (("gains", changes.top_gains(3)), ("losses", changes.top_losses(3))):
    for k in entries:
        i, j = changes.query[k], changes.gallery[k]
        print(f"{title:6} query {i:>4}, gallery image {j:>5}: rank {changes.before[k]:>4} -> {changes.after[k]:>4}")

# %% [markdown]
# Now without pictures. Are there more gains than losses? By chance, about half of all moves would be gains. (The true matches
# of one query move together. So count queries, not pairs, before you call a difference certain.)

# %%
net = np.array([np.sign(changes.gain[changes.query == i].sum()) for i in np.unique(changes.query)])
print(f"queries that gained places {(net > 0).sum()}, lost {(net < 0).sum()}, neither {(net == 0).sum()}")
print(f"first hit won by {len(changes.rank_1_gained())} queries, lost by {len(changes.rank_1_lost())}")

# %% [markdown]
# Here are the largest gain and the largest loss as pictures: first the ranks of all true matches of that query, then its two
# lists. The first of them corresponds to the paper's figure 8 (b), which shows a query, its true match, and the rank of this
# match without and with Siamese attention. The paper shows only gains, so look at the loss as well.

# %%
gain = changes.top_gains(1)
i, j = (int(side[gain[0]]) if len(gain) else 0 for side in (changes.query, changes.gallery))
inspector.set(filter="all", query=i, gallery=j)
lists = inspector.desk.sides()
ranks = [side.ranking.position[lists[1].matches] for side in lists]
figures.show_ranks(*ranks, [side.label for side in lists], f"query {i}: ranks of the true matches")

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
# **Idea.** We compare a wrong match with the true one, for one query: (a) the nearest stranger, (b) the nearest true match,
# both with Siamese attention. *Rule here:* the query that lost most under CASN, if any did.

# %%
for status in ("wrong", "correct"):
    inspector.set(gallery=inspector.desk.ranking().first_of(status))  # None: the first of the list
    display(inspector.figure("pair"))

# %% [markdown]
# **Look.** Do the maps of (b) agree more than those of (a)? Compare the two l2 distances *before* you look at the colours.
# For a single query it may go either way; section 7 counts all queries.
#
# ## 5 · Sure, and wrong
#
# **Idea.** A system is useful if it knows when it may be wrong. So we ask: are wrong first pictures the *unsure* ones? We
# compare two ways to measure how sure the network is about a first picture.
#
# - *p(same)*, the pair classifier's probability for the query and its first picture.
# - *The lead*, which needs no pair classifier: how much farther away is the nearest picture of the *next* person? With the
#   distances $d_1$ of the first picture and $d_2$ of the next person, it is $1 - d_1 / d_2$. It is 0 for a tie.

# %%
known = table.num_matches > 0
right, wrong = known & table.top_right, known & ~table.top_right
groups = {"first picture right": right, "first picture wrong": wrong}
sure = {name: table.confidence[chosen] for name, chosen in groups.items() if chosen.any()}
figures.show_distributions(sure, "p(same) of the query and its first picture", "How sure?")

# %% [markdown]
# Look at the horizontal axis: how close do the values come to 1? There is a limit, and a reason for it. Notebook 04 showed
# that $z_1$ is close to a bias minus a norm of $f^-$. So it is largest near $f^- = 0$, and hardly any pair can get more
# than a picture that is compared with *itself*:

# %%
f = casn.result.query.features[:1]
print(f"p(same) of a picture with itself: {ck.evaluation.pair_probability(casn.model, f, f).item():.3f}")

# %% [markdown]
# A fixed limit such as "sure means $p \ge 0.9$" may therefore select nothing at all. We use a scale that exists for every
# network: its own quantiles. The *surest fifth* are the queries in the top fifth of a measure. The table shows how many of
# them are wrong, beside the share among all queries. The last column is the area under the ROC curve: the chance that a right
# first picture is surer than a wrong one (0.5 is no better than guessing).

# %%
gallery = session.dataset.gallery
counted = np.where(ranking.ignored_mask(*sides), np.inf, after)
first = counted[np.arange(len(counted)), table.top]
next_person = np.where(gallery.pids == gallery.pids[table.top][:, None], np.inf, counted).min(1)
measures = {"p(same)": table.confidence, "lead": 1 - first / np.maximum(next_person, 1e-12)}
rows = []
for name, value in measures.items():
    surest = known & (value >= np.quantile(value[known], 0.8))
    area = (value[right][:, None] > value[wrong]).mean() if right.any() and wrong.any() else None
    low, middle, high = np.quantile(value[known], (0, 0.5, 1))
    row = {"sure by": name, "lowest, median, highest": f"{low:.2f}, {middle:.2f}, {high:.2f}"}
    shares = {"all": wrong[known].mean(), "surest fifth": wrong[surest].mean()}
    row |= {f"wrong of {name}, %": 100 * share for name, share in shares.items()}
    rows.append(row | {"area": "-" if area is None else f"{area:.2f}"})
ck.evaluation.table(rows)

# %% [markdown]
# If a measure knew when the network is wrong, the surest fifth would contain almost no wrong query, and the area would be
# near 1. An area near 0.5 means that this measure gives no warning at all, and below 0.5 it misleads. This is the wrong
# first picture (if there is none: the right one) with the highest p(same):

# %%
i = int(np.argmax(np.where(wrong if wrong.any() else right, table.confidence, -np.inf)))
inspector.set(query=i, gallery=int(table.top[i]))
inspector.figure("pair")

# %% [markdown]
# ## 6 · Look-alikes
#
# **Idea.** Some strangers really *do* look like the person. For the synthetic people we know who does: some of them differ
# from another person in exactly one part. Of the wrong first pictures, how many show the query's own look-alike?

# %%
from casnkit.experiments.claims import lookalikes_of

twin = {a: b for one, two, _ in lookalikes_of(session.dataset) for a, b in ((one, two), (two, one))}
q, g, people = session.dataset.query, session.dataset.gallery, len(session.dataset.gallery.identities)
has_twin = [i for i in np.flatnonzero(wrong) if int(q.pids[i]) in twin]
fooled = [i for i in has_twin if twin[int(q.pids[i])] == g.pids[table.top[i]]]
chance = f"{len(has_twin) / max(1, people - 1):.1f} if strangers came first at random"
print(
    f"wrong queries with a look-alike: {len(has_twin)}; the look-alike came first: {len(fooled)} ({chance})"
    if twin
    else "For this data it is not known who looks like whom."
)

# %% [markdown]
# The *margin* measures closeness without knowing any look-alikes: how much nearer is the first true match than the first
# stranger, as a share of the larger distance? Below zero the stranger is ahead. Near zero a tiny change decides.

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
# **Idea.** Equation 5 asks that the maps of one person's pictures agree. If this matters, then queries whose attention
# *disagrees* with their nearest true match should fail more often. Do they?

# %%
consistency = {name: table.consistency[chosen] for name, chosen in groups.items() if chosen.any()}
figures.show_distributions(
    consistency, "attention distance to the nearest true match", "Does attention disagree in failures?"
)

# %% [markdown]
# The rank correlation between this distance and average precision gives one number: -1 if more disagreement always means a
# lower precision, 0 if the two are unrelated. Be careful: this list was ranked by a sum that *contains* the distance, so some
# correlation is built in. A ranking by features alone does not have this problem, and it comes first below.


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
        f"ranked by {by:8}: rank correlation {found:+.2f}" if np.isfinite(found) else f"by {by}, all queries are equal"
    )

# %% [markdown]
# Here is the query that disagrees most, with the steps of equation 5:

# %%
worst = int(np.nanargmax(table.consistency))
inspector.set(query=worst, gallery=int(table.nearest_right[worst]))
pictures = session.dataset.query.image(worst), session.dataset.gallery.image(inspector.desk.gallery)
figures.show_alignment(pictures, inspector.desk.maps(worst, inspector.desk.gallery), titles=("query", "its true match"))

# %% [markdown]
# ## 8 · What if? For many pairs
#
# **Idea.** Notebook 09 hid what one map pointed at. We now do the same for many queries that go wrong (if none does, for
# right ones), each with its nearest stranger. We hide the most attended quarter of the query and, *as a control*, a region
# of the same shape at a random place.

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
# Only the *difference* between the two lines supports the map. If it is not clearly above zero, the map may point at the
# person and still say nothing about the decision.
#
# Now a different question: which third of a person decides a *true* match? We hide the upper, the middle and the lower
# third, all of the same size. The two tests can disagree. The first one hides what the *map* marks, the second one hides a
# part that *we* chose. If a fixed third makes p fall more than the attended quarter does, the map may have missed
# something. But compare with care: a third is larger than a quarter, and these pairs are true matches, not strangers.

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
# One of these queries, with pictures and new ranks:

# %%
inspector.set(hide="middle third")
inspector.figure("what_if")

# %% [markdown]
# ## 9 · Keep what you found
#
# Notes and tags are kept in one small file, by the path of the query inside the data set. The next inspector on the same
# data finds them again.

# %%
name = inspector.desk.library.query.key(worst)
inspector.notes.put(name, "least consistent attention", tags="attention, to discuss")
print(inspector.notes.path.name, inspector.notes.tags())

# %% [markdown]
# ## A question for the next notebook
#
# So far we have used only one kind of map, the paper's. There are many others. **Would another method have pointed elsewhere,
# and which methods can you trust?** Notebook `11_captum_comparison` compares them.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second cell checks it. Solutions:
# [solutions/10_failures_and_rank_changes](solutions/10_failures_and_rank_changes.ipynb).
#
# **1. Predict.** Take the fifth of the queries with the lowest average precision under IDE, and look at the *same* queries
# under CASN. Then do it the other way round: the worst fifth under CASN, seen under IDE. In which direction does the mean
# average precision of the chosen queries rise: `"IDE to CASN"`, `"CASN to IDE"`, `"both"` or `"neither"`?
#
# <details><summary>Hint</summary>
#
# A query can be in the worst fifth because it is hard, and because this network had bad luck with it. What happens to the
# second part when another network ranks it?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "IDE to CASN", "CASN to IDE", "both" or "neither"

# %% tags=["check"]
precision = [
    100 * ide.result.rankings["features"].average_precision,
    100 * casn.result.rankings["sum"].average_precision,
]
rises = []
for chosen_by, seen_by in (precision, precision[::-1]):
    worst_fifth = np.argsort(chosen_by)[: max(1, np.isfinite(chosen_by).sum() // 5)]
    rises.append(float((seen_by - chosen_by)[worst_fifth].mean()))
turned_out = {(True, True): "both", (True, False): "IDE to CASN", (False, True): "CASN to IDE"}
told = "IDE to CASN {:+.1f} points, CASN to IDE {:+.1f}: what was chosen as the worst was partly bad luck,".format(
    *rises
)
reasons = dict.fromkeys(("IDE to CASN", "CASN to IDE", "both", "neither"), f"{told} and luck does not repeat itself")
exercises.check_choice(my_prediction, turned_out.get((rises[0] > 0, rises[1] > 0), "neither"), reasons)

# %% [markdown]
# **2. Count.** Some queries now have a true match at rank 1 and did not before. Others have lost it. By how many *points*
# (percent of the queries that have a match) does rank-1 change from IDE by features to CASN by the sum? Use only `changes`.
#
# <details><summary>Hint</summary>
#
# You need `changes.rank_1_gained()`, `changes.rank_1_lost()`, and the number of different values in `changes.query`.
#
# </details>

# %% tags=["exercise"]
my_points = None  # a number

# %% tags=["check"]
rank_1 = [run.result.rankings[by].cmc[0] for run, by in ((casn, "sum"), (ide, "features"))]
won, lost, queries = len(changes.rank_1_gained()), len(changes.rank_1_lost()), len(np.unique(changes.query))
mistakes = {
    "the lost ones count, too": 100 * won / queries,
    "that is a share; points are percent": rank_1[0] - rank_1[1],
    "rank-1 is a share of queries, not of true matches": 100 * (won - lost) / len(changes),
    "from IDE to CASN: the sign is turned": 100 * (rank_1[1] - rank_1[0]),
}
exercises.check_number(my_points, 100 * (rank_1[0] - rank_1[1]), mistakes, tolerance=6e-3)

# %% [markdown]
# **3. Write it.** How much do two maps overlap? Return intersection over union of the places *above* $t$ times each map's
# **own** maximum. If both sets are empty, return 0.
#
# <details><summary>Hint</summary>
#
# `first > t * first.max()` is a boolean array. `&` and `|` join two boolean arrays, and a boolean array can be summed.
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
# **4. Explain.** A paper shows its six largest rank gains as pictures and writes: "Attention corrects these failures." You
# review it. Write five or six sentences: what do these pictures not show, and which numbers do you ask for?
#
# <details><summary>What a good answer says</summary>
#
# - Any two rankings have large gains; even two random ones do. (1 point)
# - It asks for the largest losses, chosen by the same rule. (1 point)
# - It asks for the number of queries that gain and lose, over all queries, with an interval over people. (1 point)
# - It names regression to the mean: queries that were chosen because they failed look better under any other network. (1
#   point)
# - It asks for a comparison in which only the attention differs, such as the same network by features and by the sum. (1
#   point)
#
# </details>
#
# **To go on.** Compare CASN *by features* with CASN *by the sum* instead of two networks. Then only the attention differs.
# Which queries does it help, and do they have something in common?
#
# ## Recap
#
# 1. Why is a list of the largest gains no evidence?
#
# <details><summary>Answer</summary>Any two rankings have one, even two random ones. Count all gains and all losses
# instead.</details>
#
# 2. Why can "p(same) of at least 0.9" select nothing?
#
# <details><summary>Answer</summary>p is largest at f⁻ = 0, and even there it can be far below 0.9. Quantiles always
# exist.</details>
#
# 3. Why does the test of section 8 need a region of the same shape at a random place?
#
# <details><summary>Answer</summary>Hiding any part hurts. Only the difference to the random region supports the
# map.</details>
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - D. Hoiem, Y. Chodpathumwan, Q. Dai: *Diagnosing Error in Object Detectors*, ECCV 2012 (sort the errors, then count).
