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
# A network ranks a stranger first. **Why?** A table cannot tell you. You need to see the two pictures with their maps, and
# you need to open **any** pair, change every setting, and watch what happens. This lesson introduces the tool for that, the
# pair inspector, and takes you through it once.
#
# ![The inspector in JupyterLab: the tabs, the strip with the ranked gallery, and below it a query and a wrong first match
# with contours, row profiles, lines between similar cells, and the pair's numbers](../figures/inspector.webp)
#
# **You will learn** to read a ranked list by the rules of the protocol, to ask what made a wrong match look right, to see the
# consistency loss (equation 5) for a single pair, and to test an explanation by hiding what it points at.
#
# **You need** `04_siamese_attention`; it helps to have met average precision in `01_data_and_protocol` and the sum of two
# distances in `07_ranking_with_attention`.
# **Runtime** under a minute at `smoke`; at `quick` a minute if the networks that come with the kit fit your data, otherwise
# about five minutes on two cores; at `paper` hours on a GPU for two trainings, or minutes if they are done. **Hardware** a
# laptop; only `paper` needs a GPU.

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
from casnkit import attention, exercises, figures, report
from casnkit.inspector import Inspector
from casnkit.ranking import ignored_mask

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · The inspector
#
# We use two networks. The baseline **IDE** learned to name the people in the training set. **CASN** learned that too, and was
# also trained with both kinds of attention. The next cell opens both in the inspector.

# %%
casn, ide = session.run("casn"), session.run("ide")
networks, kept = {"casn": casn, "ide": ide}, session.folder / "inspector"
Inspector(networks, session.dataset, out=kept, notes=kept / "notes.json")

# %% [markdown]
# **Try this, in this order.** Everything can also be done with the keyboard; the button `?` lists the keys.
#
# 1. *Choose another query:* use `‹` and `›` beside **Query**, or open the tab **Failures** and choose "first image wrong" in
#    the list **Queries**.
# 2. *Look at its ranked gallery,* the strip of pictures; `‹` and `›` at its ends turn the page. A solid blue frame and ✓ mean
#    the same person, a dashed orange frame and ✗ another person. The line above the strip says how many pictures the protocol
#    leaves out for this query, and why. **Show left-out** lists them, too.
# 3. *Click a wrong picture* that stands before a right one. In the tab **Pair** you now see both pictures with their maps.
#    Beside each map stands its row profile ("rows"), and at the right both profiles after cropping and resizing ("M*").
# 4. *Move the slider* **Threshold t.** The contour and the crop lines move at once. How does the distance of the profiles
#    change?
# 5. *Point at a place in one picture.* With **Like with like** on, you see which places of the other picture are similar to
#    it. Without pointing, the lines join the cells that are each other's best partner.
# 6. Open the tab **Compare** and choose the other network in the list **Compare with**.
# 7. *Drag a rectangle* over what the map marks as important. The tab **What if** opens and shows the pair and the ranking
#    with this part hidden. Does the stranger lose its first place? Compare with the *control* beside it.
#
# The tab **Notes and export** saves notes and files. If you do not see the inspector (on a code-hosting site or on paper),
# simply read on: one line of code draws each view as a still picture. We now do the same steps in code. For this we use a
# second inspector without a screen, so that yours stays as you leave it.

# %% [markdown]
# ## 2 · A query that goes wrong
#
# **Idea.** We do not pick an example that suits us. A rule chooses it, and we state the rule. *Rule:* of all queries whose
# first picture is wrong, take the one with the **lowest average precision**. If no query goes wrong, take the hardest one.

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
# **Look.** This is its ranked gallery, the first page of ten. Which of the wrong pictures would you have mistaken for the
# person, too?

# %%
inspector.figure("ranking")

# %% [markdown]
# The inspector says in words how the protocol treats this query. The average precision here is computed for this one query
# alone. It must be *the same number* that `evaluate_ranking` finds when it ranks all queries together.

# %%
ranking = inspector.desk.ranking()
print(ranking.protocol())
print(ranking.scores())
on_screen, in_table = ranking.ranking.average_precision, casn.result.rankings["sum"].average_precision[query]
assert on_screen == in_table, "the screen and the library disagree"

# %% [markdown]
# ## 3 · Why did the stranger come first?
#
# **Idea.** We show the stranger, and below it the true match that should have come first. The paper's figure 8 (a) compares
# the same two pictures: (a) the nearest stranger, and (b) the nearest true match.

# %%
for status in ("wrong", "correct"):
    inspector.set(gallery=ranking.first_of(status))  # None: the first of the list
    display(inspector.figure("pair"))

# %% [markdown]
# **Look at (a).** Compare three things: *where* the map is bright in each picture, *which rows* lie between the two crop
# lines, and the shaded area between the two aligned profiles. A small area means that the network attends to the same rows
# in both pictures. It does not mean that they show the same person.
#
# The network gives three numbers for each pair. Do they agree?

# %%
stranger, match = ranking.first_of("wrong"), ranking.first_of("correct")
for name, j in (("stranger", stranger), ("true match", match)):
    pair = inspector.desk.pair(j)
    distances = f"features {pair.feature:.3f}, attention {pair.attention:.3f}, sum {pair.fused:.3f}"
    print(f"{name:10} rank {ranking.tile(j).position:>3}: p(same) {pair.probability:.3f}, distance by {distances}")

# %% [markdown]
# A lower distance means a closer pair. If the stranger is closer by one distance and farther by the other, you know *which*
# part of the network makes the mistake.
#
# ## 4 · The consistency loss of one pair
#
# **Formula (equation 5).** Take the maximum of each row, crop from the first to the last row above $t$, resize, and compute
# the l2 distance $\lVert M^*_1 - M^*_2\rVert_2$. Here are these steps for the stranger, at $t = 0.5$. (If all rows are
# above $t$, nothing is cropped.)

# %%
inspector.set(gallery=stranger, threshold=0.5)
pictures = session.dataset.query.image(query), session.dataset.gallery.image(inspector.desk.gallery)
maps = inspector.desk.maps(query, inspector.desk.gallery)
figures.show_alignment(pictures, maps, 0.5, ("query", "the stranger"))

# %% [markdown]
# **What happens with another $t$?** The slider in the inspector shows it at once. Here are the numbers for several positions
# of the slider:

# %%
both = [torch.from_numpy(m)[None] for m in maps]


def rows_kept(t):
    """How many rows of each map lie between the first and the last one above t."""
    bounds = [attention.crop_bounds(attention.row_profile(m), t) for m in both]
    return [int(last - first) + 1 for first, last in bounds]


for t in (0.1, 0.3, 0.5, 0.7, 0.9):
    kept, distance = rows_kept(t), attention.attention_distance(*both, t).item()
    print(f"t = {t:.1f}: {kept[0]} and {kept[1]} of {len(maps[0])} rows are kept, distance {distance:.3f}")

# %% [markdown]
# > **What the paper leaves open: the threshold.** Equation 5 crops from the first to the last element "larger than a certain
# > threshold t". The paper gives no value, and it does not say whether $t$ is relative to anything. *Our choice:* a share of
# > each map's own maximum. The value is printed below, and every run records it. *The evidence:* the table above, which gives
# > the distance of the same pair under several $t$. *To switch:* `session.run("casn", loss={"threshold": 0.3})` for training,
# > `ranking={"threshold": 0.3}` for the test.

# %%
inspector.set(threshold=options.threshold)
print(f"threshold {options.threshold}, mode {options.siamese_mode!r}, order of the pair {options.pair_order!r}")

# %% [markdown]
# ## 5 · Two networks, one query
#
# **Idea.** Does the *other* network rank the true matches higher? Each line below is one true match: its rank under IDE on
# the left and under CASN on the right. Rank 1 is at the top. Solid blue lines rise, dashed orange lines fall.

# %%
inspector.set(other="ide")
before, after = inspector.desk.sides()
ranks = [side.ranking.position[after.matches] for side in (before, after)]
figures.show_ranks(*ranks, [before.label, after.label], f"query {query}: ranks of the true matches")

# %% [markdown]
# The ranks alone do not show which pictures moved. Here are the two lists, one below the other:

# %%
inspector.figure("compare")

# %% [markdown]
# And here is the same pair as each network sees it. IDE's pair classifier was never trained. Its Siamese map only shows where
# the *trunk* is active, so do not read it as a reason.

# %%
inspector.figure("pair")

# %% [markdown]
# ## 6 · What if it could not see that?
#
# A map makes a claim: *this part makes the network say "same"*. We can test the claim. We **hide** the part that the map
# points at, show the picture to the network again, and rank again. If the map is right, the probability must fall, and it
# must fall more than when we hide *another* part of the same size.

# %%
inspector.set(other="", gallery=stranger, hide="attended", share=0.25)
inspector.figure("what_if")

# %% [markdown]
# The control hides the *least* attended quarter instead. Only the difference between the two supports the map.

# %%
for kind in ("attended", "unattended"):
    inspector.set(hide=kind, share=0.25)
    found = inspector.desk.outcome().found
    (before, after), (old, new) = found.probability, found.position
    print(f"{kind:10} quarter hidden: p(same) {before:.3f} -> {after:.3f}, rank of the stranger {old} -> {new}")

# %% [markdown]
# Read the two lines together. If p(same) falls as much in the second line as in the first, then this pair does not support
# the map, however convincing it looks. The control is also a mild one: the least attended quarter is often background.
# Notebook 10 uses a stricter one, a region of the same shape at a random place.
#
# One pair proves nothing, and a hidden part looks like nothing that the network has seen in training. The next notebook
# repeats this test with many pairs.
#
# ## 7 · The same map with random weights
#
# This is the hardest test for a map: would it look the same if the network *had learned nothing*? The second pair below uses
# the same network with random weights.

# %%
inspector.set(random_weights=True)
inspector.figure("pair")

# %% [markdown]
# ## 8 · A view is one line
#
# What you see on the screen is described by a few plain values. You can save them, send them to a colleague, or print them in
# the appendix of a paper, and they bring the same view back. This is the whole state of the inspector above:

# %%
inspector.set(random_weights=False)
state = inspector.state()
inspector.set(query=0, threshold=0.1)
inspector.set(**state)
assert inspector.state() == state
ck.notebook.say(str(state))

# %% [markdown]
# ## 9 · Without the inspector
#
# If you do not like widgets, you only need functions: you pass in arrays and get a figure back. These lines also work with
# your own models.

# %%
row = report.ranking_row(session.dataset, casn.result.distances["sum"], query, f"query {query}")
figures.show_rankings([row], "The same list from plain arrays")

# %%
report.pair_figure(casn.model, session.dataset, casn.info.config, casn.result, query, match)

# %% [markdown]
# ## A question for the next notebook
#
# You have seen *one* query go wrong, and you probably have a story that explains it. It is easy to find a good story for one
# picture. **How many failures are of this kind, and which other kinds are there?** Notebook `10_failures_and_rank_changes`
# looks at all of them.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second cell checks it. Solutions:
# [solutions/09_pair_inspector](solutions/09_pair_inspector.ipynb).
#
# **1. Predict.** You raise the threshold $t$. Can the number of rows that are *kept* for a picture grow: `"never"`,
# `"sometimes"` or `"always"`?
#
# <details><summary>Hint</summary>
#
# Every row above the larger $t$ is also above the smaller one. What does this tell you about the *first* such row?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "never", "sometimes" or "always"

# %% tags=["check"]
steps = np.diff([rows_kept(float(t)) for t in np.linspace(0, 0.95, 20)], axis=0)
turned_out = "never" if (steps <= 0).all() else "always" if (steps > 0).all() else "sometimes"
reasons = {
    "never": "a row above the larger t is above the smaller one, so the first row can only move down, the last one up",
    "sometimes": "can a row be above the larger t and not above the smaller one?",
    "always": "try t = 0.95 in the inspector",
}
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# **2. Count.** Take the query of section 2 and its list by `sum`. At which ranks do its true matches stand? Compute its
# average precision from these ranks (in [0, 1], four digits).
#
# <details><summary>Hint</summary>
#
# `ranking.ranking.position[ranking.matches]` gives the ranks. At the $k$-th match (by rank) the precision is $k$ divided by
# its rank. Average precision is the mean of these values.
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
    "that is in percent": 100 * on_screen,
}
exercises.check_number(my_ap, on_screen, mistakes, tolerance=2e-4)

# %% [markdown]
# **3. Write it.** Which gallery pictures does the protocol leave out for one query? Return a boolean array (G,). It is true
# where a picture does *not* count: junk (`pid` -1), and pictures of the query's own person from the query's own camera.
#
# <details><summary>Hint</summary>
#
# Join the two conditions with `|`; the second one itself needs `&`. Distractors (`pid` 0) count.
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
    "pictures of the person from other cameras count": lambda p, c, pids, camids: (pids == p) | (pids == -1),
    "other people seen by this camera count": lambda p, c, pids, camids: (camids == c) | (pids == -1),
    "junk never counts": lambda p, c, pids, camids: (pids == p) & (camids == c),
}
exercises.check_function(left_out, reference, cases, mistakes)

# %% [markdown]
# **4. Explain.** Find a wrong first match in the inspector. Write five or six sentences: what does the map point at, how
# would you explain the mistake, and does the tab **What if** support your explanation?
#
# <details><summary>What a good answer says</summary>
#
# - It says by which rule the query was chosen, so that others can find it again. (1 point)
# - It describes what the map shows, separately from what it is supposed to mean. (1 point)
# - It makes a prediction before hiding: which part is hidden, and which number will fall. (1 point)
# - It compares with the control, and not only with the picture as it is. (1 point)
# - It says what one pair cannot show, and names a test with many pairs. (1 point)
#
# </details>
#
# **To go on.** Find a wrong first match that becomes right when you *hide the background* with a rectangle. Which method in
# the list **Map** would have told you to look there?
#
# ## Recap
#
# 1. The profiles of two maps agree well. What does this say about the people in the pictures?
#
# <details><summary>Answer</summary>Only that the network attends to the same rows. They can be two different
# people.</details>
#
# 2. You hide what a map points at, and p(same) falls. What else do you need before you believe the map?
#
# <details><summary>Answer</summary>A control: another part of the same size is hidden, and p(same) falls less.</details>
#
# 3. Why may the Siamese map of IDE not be read as a reason?
#
# <details><summary>Answer</summary>Its pair classifier was never trained, so there is no judgement to explain.</details>
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - J. Adebayo et al.: *Sanity Checks for Saliency Maps*, NeurIPS 2018.
# - L. Zheng et al.: *Scalable Person Re-identification: A Benchmark*, ICCV 2015 (the protocol).
