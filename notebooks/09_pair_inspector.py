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
# # 09 · The pair inspector
#
# A network has put a stranger first. **Why?** Tables cannot say it; two pictures and two maps can, if one may take **any**
# pair, turn every knob, and watch. This notebook is one instrument, and a short walk with it.
#
# ![A query and a page of its ranked gallery; below, a pair with its maps and row profiles](../figures/inspector.webp)
#
# **You will learn** to read a ranked list by the protocol's rules, to ask of a wrong match what spoke for it, to see the
# consistency loss (equation 5) in a single pair, and to test an explanation by hiding what it points at.
#
# **You need** `04_siamese_attention`; it helps to have met average precision in `01_data_and_protocol` and the sum of two
# distances in `07_ranking_with_attention`.
# **Runtime** under a minute at `smoke`; at `quick` a minute where the networks that come with the kit fit, else about five
# minutes on two cores; at `paper` hours on a GPU for two trainings, or minutes where they are done. **Hardware** a laptop;
# only `paper` asks for a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np

import casnkit as ck
from casnkit import exercises, figures, report
from casnkit.inspector import Inspector, pairs
from casnkit.ranking import ignored_mask

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · The instrument
#
# Two networks are at hand: the baseline **IDE**, which learned names, and **CASN**, which was trained with both kinds of
# attention besides. The next cell is all it takes.

# %%
casn, ide = session.run("casn"), session.run("ide")
networks, kept = {"casn": casn, "ide": ide}, session.folder / "inspector"
Inspector(networks, session.dataset, out=kept, notes=kept / "notes.json")

# %% [markdown]
# **Try this, in this order** (everything can also be reached with Tab, arrows and Enter):
#
# 1. *Another query:* the arrows beside its number, or a filter such as "first image wrong".
# 2. *Page* through its ranked gallery. A solid blue frame and a check is the same person, a dashed orange one and a cross
#    another; the line below says how many pictures the protocol leaves out for this query, and why.
# 3. *Click a wrong one* that stands before a right one. Below, both pictures open with their maps.
# 4. *Move the threshold t.* The contour and the two crop lines move; below which t does the match fall apart?
# 5. Open **Compare**, and *compare with* the other network.
# 6. *Drag a rectangle* over what the map likes: **What if** that were hidden? Does the stranger fall?
#
# Pictures, lists and states that you export lie beside the runs. Where widgets do not show, on a code-hosting site or on
# paper, go on: every view has a static twin, made by one line. We shall now take the same walk in such lines, with a second
# instrument that has no screen, so that yours stays as you leave it.

# %% [markdown]
# ## 2 · A query that goes wrong
#
# **Idea.** We do not pick an example that suits us; we say by which rule it is chosen. *Rule:* of all queries whose first
# picture is wrong, the one with the **lowest average precision**. Where no query goes wrong, the hardest.

# %%
inspector = Inspector(networks, session.dataset)
options = casn.info.config.ranking
inspector.set(threshold=options.threshold)
wrong = report.choose_pairs(session.dataset, casn.result.distances["sum"]).get("wrong")
inspector.set(network="casn", ranked_by="sum", filter="rank-1 wrong" if wrong else "all", order="AP")
query = inspector.desk.candidates()[0]
inspector.set(query=query)
print("shown:", inspector.desk.place())

# %% [markdown]
# **Look.** First its ranked gallery, a page of ten. Which of the wrong ones would have fooled you, too?

# %%
inspector.figure("ranking")

# %% [markdown]
# What the protocol does with this query is said in words, on screen and here. The average precision is computed for this
# one query alone; it has to be *the same number* that `evaluate_ranking` finds when it ranks all of them.

# %%
ranking = inspector.desk.ranking()
print(ranking.protocol())
print(ranking.scores())
on_screen, in_table = ranking.ranking.average_precision, casn.result.rankings["sum"].average_precision[query]
assert on_screen == in_table, "the screen and the library disagree"

# %% [markdown]
# ## 3 · Why did the stranger come first?
#
# **Idea.** Take the stranger, and beside it the true match that should have been there. The paper's figure 8 does the same:
# in its part (a): the wrong first match, and the true one.

# %%
inspector.figure("figure 8")

# %% [markdown]
# **Look at (a).** Compare three things: *where* the map is warm in either picture, *which rows* lie between the two crop
# lines, and the shaded area between the two aligned profiles. A small area says that both pictures are looked at in the
# same way. It does not say that they show the same person.
#
# The network has three numbers for each pair. Do they agree?

# %%
stranger, match = ranking.first_of("wrong"), ranking.first_of("correct")
for name, j in (("stranger", stranger), ("true match", match)):
    pair = inspector.desk.pair(j)
    distances = f"features {pair.feature:.3f}, attention {pair.attention:.3f}, sum {pair.fused:.3f}"
    print(f"{name:10} rank {ranking.tile(j).position:>3}: p(same) {pair.probability:.3f}, distance by {distances}")

# %% [markdown]
# A lower distance is closer. Where the stranger is ahead by one of them and behind by another, you have found *which* part
# of the network is fooled.
#
# ## 4 · The consistency loss, made visible
#
# **Formula (equation 5).** Row-wise maximum, cut from the first to the last row above $t$, resized, then the l2 distance
# $\lVert M^*_1 - M^*_2\rVert_2$. Here are the steps, for the stranger, with a $t$ larger than ours. (Where all
# rows exceed it, nothing is cut.)

# %% Equation 5, for the picture that came first tags=["slide"]
inspector.set(gallery=stranger, threshold=0.5)
inspector.figure("alignment")

# %% [markdown]
# **And at another $t$?** The slider in the instrument shows it at once. In numbers, for several positions of the slider:

# %%
maps = inspector.desk.maps(query, stranger)
for t in (0.1, 0.3, 0.5, 0.7, 0.9):
    rows = pairs.rows_of(maps, t)
    kept = [last - first + 1 for first, last in rows.bounds]
    print(f"t = {t:.1f}: {kept[0]} and {kept[1]} of {len(rows.aligned[0])} rows are kept, distance {rows.distance:.3f}")

# %% [markdown]
# > **What the paper leaves open: the threshold.** Equation 5 cuts "from the first to the last entry larger than $t$", and
# > the paper names no $t$, nor what it is relative to. *Our choice:* a share of each map's own maximum; its value is printed
# > below, and every run records it. *The evidence:* the table above, the distance of one and the same pair under several
# > $t$. *To switch:* `session.run("casn", loss={"threshold": 0.3})` for training, `ranking={"threshold": 0.3}` for the test.

# %%
inspector.set(threshold=options.threshold)
print(f"threshold {options.threshold}, mode {options.siamese_mode!r}, order of the pair {options.pair_order!r}")

# %% [markdown]
# ## 5 · Two networks, one query
#
# **Idea.** Does the *other* network put the true matches higher? Each line below is one true match: its rank under IDE on
# the left, under CASN on the right, rank 1 on top. Solid blue rises, dashed orange falls.

# %%
inspector.set(other="ide")
inspector.figure("ranks")

# %% [markdown]
# Ranks alone hide the pictures. The two lists, one under the other:

# %%
inspector.figure("compare")

# %% [markdown]
# And the same pair as each network sees it. IDE's pair classifier was never trained: its Siamese map shows what the *trunk*
# finds active, and must not be read as a reason.

# %%
inspector.figure("pair")

# %% [markdown]
# ## 6 · What if it could not see that?
#
# A map is a claim: *this is what speaks for "same"*. A claim can be tested. **Hide** what the map points at, show the
# picture to the network again, and rank again. If the map is right, the probability must fall, and fall by more than when
# something *else* of the same size is hidden.

# %%
inspector.set(other="", gallery=stranger, hide="attended", share=0.25)
inspector.figure("what_if")

# %% [markdown]
# The control: the *least* attended quarter. Only the difference between the two speaks for the map.

# %%
for kind in ("attended", "unattended"):
    inspector.set(hide=kind, share=0.25)
    found = inspector.desk.outcome().found
    (before, after), (old, new) = found.probability, found.position
    print(f"{kind:10} quarter hidden: p(same) {before:.3f} -> {after:.3f}, rank of the stranger {old} -> {new}")

# %% [markdown]
# One pair proves nothing, and a hole in a picture is itself something that the network has never seen. The next notebook
# asks the same of many pairs.
#
# ## 7 · The same map, with random weights
#
# The hardest question to a map is whether it would look the same if the network *had learned nothing*.

# %%
inspector.set(random_weights=True)
inspector.figure("pair")

# %% [markdown]
# ## 8 · A view is one line
#
# What is on screen is a handful of plain values. Saved, sent or printed in a paper's appendix, they bring the same view
# back. This is the whole state of the instrument above:

# %%
inspector.set(random_weights=False)
state = inspector.state()
inspector.set(query=0, threshold=0.1)
inspector.load_state(state)
assert inspector.state() == state
ck.notebook.say(str(state))

# %% [markdown]
# ## 9 · Without the instrument
#
# Whoever dislikes widgets needs only functions: arrays in, a figure out. These few lines work with any model of your own.

# %%
row = report.ranking_row(session.dataset, casn.result.distances["sum"], query, f"query {query}")
figures.show_rankings([row], "The same list from plain arrays")

# %%
report.pair_figure(casn.model, session.dataset, casn.info.config, casn.result, query, match)

# %% [markdown]
# ## A question for the next notebook
#
# You have seen *one* query go wrong, and you have a story about it. A good story about one picture is easy to find.
# **How many failures are of this kind, and which kinds are there?** Notebook `10_failures_and_rank_changes` goes through
# all of them.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/09_pair_inspector](solutions/09_pair_inspector.ipynb).
#
# **1. Predict.** You raise the threshold $t$. Can the number of rows that are *kept* for a picture grow: `"never"`,
# `"sometimes"` or `"always"`?
#
# <details><summary>Hint</summary>
#
# Every row above the larger $t$ is above the smaller one, too. What does this say about the *first* such row?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "never", "sometimes" or "always"

# %% tags=["check"]
bounds = np.array([pairs.rows_of(maps, float(t)).bounds for t in np.linspace(0, 0.95, 20)])
steps = np.diff(bounds[..., 1] - bounds[..., 0] + 1, axis=0)
turned_out = "never" if (steps <= 0).all() else "always" if (steps > 0).all() else "sometimes"
reasons = {
    "never": "what exceeds the larger t exceeds the smaller one, so the first row can only move down, the last one up",
    "sometimes": "can a row exceed the larger t and not the smaller one?",
    "always": "try t = 0.95 in the instrument",
}
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# **2. Count.** Take the query of section 2 and its list by `sum`. At which ranks do its true matches stand, and what is its
# average precision (in [0, 1], four digits) computed by hand from these ranks?
#
# <details><summary>Hint</summary>
#
# `ranking.ranking.position[ranking.matches]` are the ranks. At the $k$-th match (by rank) the precision is $k$ divided by
# its rank; the mean over the matches is what you need.
#
# </details>

# %% tags=["exercise"]
my_ap = None  # a number

# %% tags=["check"]
ranks = np.sort(ranking.ranking.position[ranking.matches])
precision, places = np.arange(1, len(ranks) + 1) / ranks, np.arange(1, len(ranks) + 1)
mistakes = {
    "that is the precision at the first match alone": precision[0],
    "that is the mean of 1/rank; at the k-th match, k pictures are right": (1 / ranks).mean(),
    "ranks count from 1": (places / (ranks + 1)).mean(),
}
exercises.check_number(my_ap, on_screen, mistakes, tolerance=2e-4)

# %% [markdown]
# **3. Write it.** Which gallery pictures does the protocol leave out for one query? Return a boolean array (G,), true where
# a picture does *not* count: junk (`pid` -1), and pictures of the query's own person by the query's own camera.
#
# <details><summary>Hint</summary>
#
# Two conditions joined with `|`; the second one is itself joined with `&`. Distractors (`pid` 0) count.
#
# </details>


# %% tags=["exercise"]
def left_out(query_pid, query_camid, gallery_pids, gallery_camids):
    """True where a gallery picture does not count for the query, (G,)."""


# %% tags=["check"]
def reference(pid, camid, pids, camids):
    return ignored_mask(np.array([pid]), np.array([camid]), pids, camids)[0]


people, cameras = np.array([5, 5, 0, -1, 7, 5, 7]), np.array([1, 2, 1, 1, 1, 1, 2])
cases = {"person 5, camera 1": (5, 1, people, cameras), "person 7, camera 2": (7, 2, people, cameras)}
mistakes = {
    "distractors (pid 0) count": lambda p, c, pids, camids: reference(p, c, pids, camids) | (pids == 0),
    "another camera's pictures of the person count": lambda p, c, pids, camids: (pids == p) | (pids == -1),
    "other people seen by this camera count": lambda p, c, pids, camids: (camids == c) | (pids == -1),
    "junk never counts": lambda p, c, pids, camids: (pids == p) & (camids == c),
}
exercises.check_function(left_out, reference, cases, mistakes)

# %% [markdown]
# **To go on.** In the instrument, search for a wrong first picture that *hiding the background* puts right. Which method
# (the list above the pair) would have told you to look there?
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - J. Adebayo et al.: *Sanity Checks for Saliency Maps*, NeurIPS 2018.
# - L. Zheng et al.: *Scalable Person Re-identification: A Benchmark*, ICCV 2015 (the protocol).
