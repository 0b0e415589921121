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
# Two cameras, two pictures: the same person? A network that answers this question can be asked a second one: **what in the
# two pictures made you think so?**
#
# ![Two pictures of one person, the network's attention in each, and how its rows line up](../figures/pair-right.webp)
#
# **You will learn** to look at a pair of pictures through the eyes of a network, what a query and a gallery are, and what
# rank-1 and mAP count.
#
# **You need** nothing but this kit: it draws the people itself, and two trained networks come with it.
# **Runtime** under half a minute at `smoke`, `quick` and `paper` alike: nothing is trained here. **Hardware** a laptop.

# %% tags=["parameters"]
profile = "quick"  # of no importance here; "smoke", "quick" or "paper" in the notebooks that train
data = "people:tiny"  # or the folder of a benchmark, or of your own pictures
if "google.colab" in str(get_ipython()):  # docs/elsewhere.md
    get_ipython().run_line_magic("pip", "install -q casnkit-*.whl")

# %%
import numpy as np

import casnkit as ck
from casnkit import attention, exercises, figures, report
from casnkit.inspector.page import telling_pairs

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · The same person?
#
# Two networks come with the kit. **IDE** is the baseline: it learned to name the people in its training pictures. **CASN**,
# the *Consistent Attentive Siamese Network* of this course, was also trained to pay attention to a person as a whole, and
# to look at two pictures of one person in the same way.
#
# A rule chose the pair below: of all people whom CASN finds, the one whose picture lies closest to a picture of somebody
# else. **Decide for yourself first: one person or two?** Then read the line above the pictures.

# %%
dataset = session.dataset
networks = {"casn": "gap-casn", "ide": "gap-ide"}
inspector = ck.Inspector(networks, dataset, out=session.folder / "inspector")
query, gallery = telling_pairs(inspector.desk, 3)[-1]
inspector.set(query=query, gallery=gallery)
inspector

# %% [markdown]
# **Try this**, with the mouse or with Tab, arrows and Enter:
#
# 1. **Point at a cell** of one picture. The lines lead to the cells of the other picture that are most like it.
# 2. **Click another picture** in the strip on top. A blue frame and a check is the same person, a dashed orange frame and a
#    cross is another.
# 3. **Move the threshold** $t$. The network compares both pictures row by row. It starts at the first row that is brighter
#    than $t$ (a share of the map's maximum) and ends at the last one; two dashed lines mark them.
# 4. **Drag a rectangle** over what you would look at yourself, and open *What if*: does the network still think the same?
# 5. Choose another network or another method, and look at the same pair again.
#
# Where you see a still picture in place of the instrument, run the notebook in JupyterLab, or start `casnkit inspect` in a
# terminal.

# %% [markdown]
# ## 2 · Queries and a gallery
#
# The network does not judge one pair alone. A picture is searched for: the **query**. The **gallery** is searched, and all
# its pictures are sorted by their distance from the query. Here is the list of the query above, the closest picture first.
# Below each picture stand its distance (without a unit, lower is closer), the person's number (*id*) and the camera's
# (*cam*). **AP**, the average precision, says how good the whole list is: 100 % if all right pictures come first.

# %%
inspector.figure("ranking")

# %% [markdown]
# In code, the two numbers are called `pid` and `camid`. Nobody in these pictures was seen in training:
# the network has to compare people whom it has never met. All pictures of one of them:

# %%
pid = dataset.query.pids[query]
own = np.flatnonzero(dataset.gallery.pids == pid)[:16]
captions = [ck.data.camera_text(dataset.gallery.camids[i]) for i in own]
figures.show_batch([dataset.gallery.image(i) for i in own], captions, columns=8)

# %% [markdown]
# One person, several cameras: colours shift, poses differ, and each background stays with its camera. A network may be
# tempted to compare backgrounds.

# %% [markdown]
# ## 3 · How often is it right?
#
# **Rank-1** is the share of queries whose closest gallery picture shows the right person; for **rank-5**, one of the five
# closest is enough. **mAP** is the mean of AP over all queries, so it looks at whole lists.
# CASN can rank by its features, by its attention, or by the sum of both. *Chance* is the same count with random distances.
# All in percent.

# %%
rows, seen = [], {}
for variant in ("ide", "casn"):
    model, info = ck.load_shipped(variant, device=session.device)
    seen[variant] = ck.evaluation.evaluate(model, dataset, info.config, device=session.device, progress=False)
    rows += [{"network": variant, **row} for row in seen[variant].rows()]
names = {"network": "network", "ranked by": "ranked by", "rank_1": "rank-1", "rank_5": "rank-5", "mean_ap": "mAP"}
ck.evaluation.table(rows, names)

# %%
casn = seen["casn"]
features, by_features = casn.rankings["features"], casn.distances["features"]
session.expect(features.mean_ap > casn.chance.mean_ap, "the network ranks no better than chance")
hard_to_easy = report.spread_queries(features.average_precision, 3)
figures.show_rankings([report.ranking_row(dataset, by_features, i, f"query {i}") for i in hard_to_easy])

# %% [markdown]
# A hard query, a medium one and an easy one. **Do not conclude from the table which network is better.** Each was trained
# once, and the baseline alone moves by several points when only the random seed changes. What you can trust is the distance
# from chance.

# %% [markdown]
# ## 4 · Two kinds of attention
#
# **Siamese attention** belongs to a *pair*: where in each picture are the channels that matter for "the same"?
# **Identification attention** belongs to *one* picture: which parts speak for the name that the network would give it?
#
# Inside the network a picture is a stack of small pictures, the *channels*. Each is bright where the network found
# something. A map of attention is a weighted sum of them. Beside it stands the **plain mean** of all channels, which uses
# neither a pair nor a name. An explanation that looks
# like the plain mean explains little.

# %%
pair, model, maps = (query, gallery), casn.model, {}
A_1, A_2 = (side.feature_maps[[i]].to(session.device) for side, i in zip((casn.query, casn.gallery), pair, strict=True))
labels = [model.id_scores(model.pool(A)).argmax(1) for A in (A_1, A_2)]
maps["Siamese"] = [m[0] for m in model.siamese_attention_of(A_1, A_2)]
maps["identification"] = [
    model.identification_attention_of(A, label)[0] for A, label in zip((A_1, A_2), labels, strict=True)
]
maps["plain mean"] = [attention.mean_map(A)[0] for A in (A_1, A_2)]
splits = dataset.query, dataset.gallery
images, outlines = (
    [get(s)(i) for s, i in zip(splits, pair, strict=True)] for get in (lambda s: s.image, lambda s: s.mask)
)
figures.show_maps(images, maps, outlines, ["query", "gallery"], "The pair of section 1")

# %% [markdown]
# The outline is the true person, which the kit knows because it drew the picture. Which of the three columns could you tell
# apart without the headings? Notebooks 03 and 04 take both kinds of attention apart, and notebook 11 asks which maps can be
# believed at all.

# %% [markdown]
# ## 5 · The paper's figures, made here
#
# Each figure of the paper has a counterpart in this course, made by our code on our people.
#
# | the paper's | what it is about | our counterpart |
# |---|---|---|
# | figure 1 | two pictures of one person should be looked at in the same way | notebook 03, section 12 |
# | figure 4 | identification loss alone, and with attention learning | notebook 03, section 11 |
# | figure 5 | maps of a pair classifier, for pairs of one person and of two | notebook 06, section 6 |
# | figure 6 | two maps, row by row: maximum, crop, alignment | notebook 04, section 9; notebook 09, section 4 |
# | figure 7 | the same pair without and with the consistency loss; first matches | notebook 06, section 6; notebook 09 |
# | figure 8 | a wrong first match beside the true one; a true match without and with SA | notebook 10, 3 and 4 |

# %% [markdown]
# ## A question for the next notebook
#
# Rank-1, mAP and chance sum up a network in a few numbers. **Who counts, and by which rules?** Notebook
# `01_data_and_protocol` answers this without any network.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/00_start_here](solutions/00_start_here.ipynb).
#
# **1. Predict.** Exchange the two pictures of the pair. Is the Siamese map of the query the same when it comes second:
# `"same"` or `"changes"`?
#
# <details><summary>Hint</summary>
#
# The pair classifier sees $f_1 - f_2$. What does it see after the exchange?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "same" or "changes"

# %% tags=["check"]
as_first, as_second = model.siamese_attention_of(A_1, A_2)[0], model.siamese_attention_of(A_2, A_1)[1]
apart = ((as_first - as_second).abs().max() / as_first.max()).item()
reasons = {
    "same": "the pair classifier sees the difference of the features, and its sign turns with the order",
    "changes": "the pair classifier sees f_1 - f_2; its sign turns, other hidden units open, and so the map changes",
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
# **To go on.** Open the instrument on two pictures of your own: `casnkit inspect A.jpg B.jpg`. What does the network look at
# when nobody is in the pictures?
#
# ## Recap
#
# Answer each question in your head, then open it.
#
# <details><summary>1. What is the difference between a query and a gallery picture?</summary>
#
# The query is searched for; the gallery is searched. Each query gets its own sorted list of the whole gallery.
#
# </details>
#
# <details><summary>2. A network has a rank-1 of 80 %. What can you say about its second places?</summary>
#
# Nothing: rank-1 counts the first picture alone. mAP looks at the places of all true matches.
#
# </details>
#
# <details><summary>3. Why does the plain mean stand beside each attention map?</summary>
#
# It knows neither the pair nor the person. If a map looks like it, the map shows where the network is active, and not why it
# decided as it did.
#
# </details>
#
# ## Essay question
#
# Take a pair that the network gets wrong. Describe in half a page what the maps show, what a reader could conclude from
# them, and what you would have to test before you believe this conclusion.
#
# <details><summary>Rubric (10 points)</summary>
#
# - 2: describes both maps without a story, with the places that are strong and weak.
# - 3: names at least one conclusion that a reader could draw, and an alternative that fits the same maps.
# - 3: proposes a test: hide the part, compare with the plain mean, or look at more pairs that a rule has chosen.
# - 2: says that one pair is an example and proves nothing.
#
# </details>
#
# ## References
#
# M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
