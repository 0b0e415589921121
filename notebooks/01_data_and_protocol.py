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
# # 01 · Data and protocol
#
# Notebook 00 ended with two numbers, *rank-1* and *mAP*. **How are they counted, and by which rules?** A ranking is a list of
# pictures. Before any network comes into it, we score one such list by hand.
#
# ![Ranked galleries of some queries: right matches in a solid frame, wrong ones dashed](../figures/rankings.webp)
#
# **You will learn** what the pictures of a benchmark are (queries, gallery, junk, distractors), how a ranked list becomes
# an average precision, why there are two versions of it, what CMC is, and how ties and small rules can change a result by
# more than a new method does.
#
# **You need** `00_start_here`. No network is trained here.
# **Runtime** seconds at `smoke` and at `quick`. At `paper` the kit draws as many pictures as Market-1501 has, which takes
# some minutes the first time. **Hardware** any; no GPU is used.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures
if "google.colab" in str(get_ipython()):  # docs/elsewhere.md
    get_ipython().run_line_magic("pip", "install -q casnkit-*.whl")

# %%
import warnings

import numpy as np
import torch

import casnkit as ck
from casnkit import exercises, figures, report

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · Who is in the pictures?
#
# A data set has three parts. A network learns from the **training** people. The **query** and **gallery** parts show other
# people: for each query picture we search the gallery for the same person. `open_dataset` refuses a set in which a person is
# in the training part and in the test part.

# %%
dataset = session.dataset
query, gallery = dataset.query, dataset.gallery
people = dataset.train.identities[:4]
seen = [np.flatnonzero(dataset.train.pids == pid)[:4] for pid in people]
cameras = [ck.data.camera_text(camid, short=True) for camid in dataset.train.camids]
captions = [f"{dataset.train.pids[i]}, {cameras[i]}" for i in np.concatenate(seen)]
figures.show_batch([dataset.train.image(i) for i in np.concatenate(seen)], captions, columns=8)

# %% [markdown]
# **Look.** Each caption gives the person's number (`pid`) and the camera's (`camid`). A person keeps the same clothes and
# build. Light, colours, pose and background change. *Each camera has its own background*: if you compare backgrounds, you
# find the camera again and not the person. Exercise 4 comes back to this.

# %%
both = np.intersect1d(dataset.train.identities, np.union1d(query.identities, gallery.identities))
assert len(both) == 0
for split in (dataset.train, query, gallery):
    cameras = len(set(split.camids[split.camids > 0])) or "unknown"
    print(f"{split.name:8} {len(split):6} pictures of {len(split.identities):4} people, cameras: {cameras}")

# %% [markdown]
# ## 2 · What we know about a drawn person
#
# Our people are drawn by a program, so we know things that no photograph tells us: which pixels belong to the person, which
# body part each of them shows, and what the person wears. Benchmarks of photographs have none of this. On such data the cells
# below say so and go on.

# %%
i = report.training_examples(dataset.train, 3)[1]
known = {"picture": dataset.train.image(i)}
mask, parts = dataset.train.mask(i), dataset.train.parts(i)
known |= {"person": (255 * mask).astype(np.uint8)} if mask is not None else {}
known |= {"parts": (parts * (255 // 7)).astype(np.uint8)} if parts is not None else {}
missing = [name for name in ("person", "parts") if name not in known]
if missing:
    print(f"This set does not come with: {', '.join(missing)}.")
figures.show_batch(list(known.values()), list(known), columns=6)

# %%
if "attributes" in dataset.tables:
    from casnkit.data.people import ATTRIBUTE_PART, lookalike_pairs, read_attributes

    attributes = read_attributes(dataset.root)
    row = attributes[int(dataset.train.pids[i])]
    ck.notebook.say(", ".join(f"{name}: {row[name]}" for name in ATTRIBUTE_PART if row[name] != "none"))
else:
    print("What a person wears is not written down in this set.")

# %% [markdown]
# (The colour names are those of the cloth. Light, camera and noise then change the colours, as in real pictures.)
#
# **Look-alikes.** Some people come in pairs that differ in *one part only*: shoes, a bag, hair. They make the set hard. They
# are also useful: a good explanation of "these two are *not* the same" has to point at that part. Each caption gives the
# person's number and the part in which the pair differs.

# %%
test = set(np.union1d(query.identities, gallery.identities).tolist())
twins = lookalike_pairs(dataset.root) if dataset.tables else []
twins = sorted(twins, key=lambda pair: pair[0] not in test)[:3]
images, captions = [], []
for one, other, part in twins:
    side = gallery if one in test else dataset.train
    shown = [np.flatnonzero(side.pids == pid)[:2] for pid in (one, other)]
    images += [side.image(j) for j in np.concatenate(shown)]
    captions += [f"{side.pids[j]}, {part}" for j in np.concatenate(shown)]
figures.show_batch(images, captions, columns=8) if images else print("This set has no table of look-alikes.")

# %% [markdown]
# ## 3 · Other pictures in the gallery: junk and distractors
#
# The pictures of a benchmark are cut out by a person detector, and detectors make mistakes. The pid tells us how to treat
# such a picture:
#
# | pid | name | what it is | what the protocol does with it |
# |---|---|---|---|
# | > 0 | | a person | it is right or wrong |
# | 0 | *distractor* | a person who is not a query, or a false alarm | it stays, **as a wrong answer** |
# | -1 | *junk* | a crop that is too bad to judge | it **never counts**, neither as right nor as wrong |

# %%
guests = {"junk": np.flatnonzero(gallery.pids == -1)[:6], "distractor": np.flatnonzero(gallery.pids == 0)[:6]}
images = [gallery.image(j) for part in guests.values() for j in part]
captions = [name for name, part in guests.items() for _ in part]
print({name: int((gallery.pids == pid).sum()) for name, pid in (("junk", -1), ("distractors", 0))})
figures.show_batch(images, captions, columns=6) if images else None

# %% [markdown]
# ## 4 · A distance without a network
#
# To rank pictures we need a distance. Here is a very simple one. We cut the picture into six horizontal stripes, take the
# mean colour of each stripe, and compare the resulting 18 numbers.


# %%
def stripe_colours(split):
    """Mean colour of six horizontal stripes: (N, 18)."""
    images = session.images(split, np.arange(len(getattr(dataset, split))))
    return torch.nn.functional.adaptive_avg_pool2d(images, (6, 1)).flatten(1).cpu()


distances = torch.cdist(stripe_colours("query"), stripe_colours("gallery")).numpy()
print("distances, one row for each query and one column for each gallery picture:", distances.shape)

# %% [markdown]
# The rest of this lesson only uses this matrix. The rules are the same whether the distances come from six stripes or from a
# network.

# %% [markdown]
# ## 5 · One ranking, by hand
#
# We take a small gallery, so that we can count: some pictures of the query's person, some of other people, one piece of junk
# and one distractor.

# %%
ignored = ck.ranking.ignored_mask(query.pids, query.camids, gallery.pids, gallery.camids)
matches = ck.ranking.matches_mask(query.pids, query.camids, gallery.pids, gallery.camids)
own_camera = ignored & (gallery.pids > 0)


def small_gallery(q):
    """Some pictures of each kind, of each the closest to query q."""
    others = ~matches[q] & ~ignored[q] & (gallery.pids > 0)
    kinds = [(matches[q], 3), (own_camera[q], 1), (gallery.pids == -1, 1), (gallery.pids == 0, 1), (others, 6)]
    closest = distances[q].argsort(kind="stable")
    return np.concatenate([closest[kind[closest]][:count] for kind, count in kinds])


# %% [markdown]
# We choose a query that the stripes solve about half, so that there is something to count.


# %%
def score(q):
    sides = query.pids[q], query.camids[q], gallery.pids[small_gallery(q)], gallery.camids[small_gallery(q)]
    return ck.ranking.rank_gallery(distances[q, small_gallery(q)], *sides).average_precision


rich = np.minimum(matches.sum(1), 3) + own_camera.any(1)  # queries on which all rules can be seen
candidates = np.flatnonzero(rich == rich.max())[:50]
q = min(candidates, key=lambda q: abs(score(q) - 0.6))
few = small_gallery(q)

# %% [markdown]
# **Step 1: sort by distance. Step 2: remove what does not count.** Two kinds of pictures are removed: junk, and pictures of
# the query's person *from the query's own camera*. Those were taken in the same minute and in the same light. They are easy
# to find, and finding them proves nothing.

# %%
small = gallery.subset(few)
ranking = ck.ranking.rank_gallery(distances[q, few], query.pids[q], query.camids[q], small.pids, small.camids)
order = ranking.order
shown = {"distances": distances[q, few][order], "pids": small.pids[order], "camids": small.camids[order]}
shown |= {"gallery_images": [small.image(j) for j in order], "statuses": [str(ranking.status[j]) for j in order]}
own = {"query_image": query.image(q), "query_pid": int(query.pids[q]), "query_camid": int(query.camids[q])}
figures.show_rankings([{**own, **shown}], "One query and a small gallery", columns=12)

# %% [markdown]
# **Step 3: at each hit, what share of the list so far is right?** This share is the *precision* at the hit. **Step 4: the
# average precision (AP) is the mean of these precisions.**

# %%
hits = ranking.status[ranking.kept] == "correct"
precisions = []
for rank, hit in enumerate(hits, start=1):
    if hit:
        precisions.append((len(precisions) + 1) / rank)
        print(
            f"rank {rank:2}: hit number {len(precisions)}, precision {len(precisions)} / {rank} = {precisions[-1]:.3f}"
        )
by_hand = sum(precisions) / len(precisions)
print(f"AP = {by_hand:.4f}")

# %% [markdown]
# Now the kit's own answer for the same list. Both must agree:

# %%
by_kit = ck.evaluate_ranking(distances[[q]][:, few], query.pids[[q]], query.camids[[q]], small.pids, small.camids)
assert abs(by_kit.mean_ap - by_hand) < 1e-12
print(f"evaluate_ranking: {by_kit.mean_ap:.4f} from {by_kit.num_matches[0]} matches, {by_kit.num_ignored[0]} ignored")

# %% [markdown]
# ## 6 · Two average precisions
#
# AP is an area under a curve: precision over recall (the share of the right pictures found so far). Today most people draw
# the curve in **steps**. Market-1501's official script draws **trapezoids**: it joins the precision just *before* a hit with
# the precision *at* the hit. The same list then gets two different numbers.

# %%
ranks = np.flatnonzero(hits)
above = np.where(ranks > 0, np.arange(len(ranks)) / np.maximum(ranks, 1), 1.0)  # the precision just before each hit
recall = np.repeat(np.arange(len(ranks) + 1) / len(ranks), 2)[1:-1]
with figures.figure_style():
    figure = figures.style.new_figure(9, 3.8, "Two average precisions of one list")
    for ax, name, start in zip(figure.subplots(1, 2), ("steps", "trapezoids"), (precisions, above), strict=True):
        heights = np.column_stack([start, precisions]).ravel()
        ax.plot(recall, heights, "o-")
        ax.fill_between(recall, heights, alpha=0.3)
        ax.set(title=f"{name}: AP = {(start + np.array(precisions)).mean() / 2:.3f}", ylim=(0, 1.05))
        ax.set(xlabel="recall: share of the matches found", ylabel="precision")
figure

# %%
trapezoid = ((above + precisions) / 2).mean()
assert abs(by_kit.mean_ap_trapezoid - trapezoid) < 1e-12
print(f"steps {by_hand:.4f}, trapezoids {trapezoid:.4f}")

# %% [markdown]
# > **What the paper leaves open: which average precision.** It reports mAP and does not say which script computed it. *Our
# > choice:* steps are the headline, as in most results since; trapezoids stand beside them everywhere. *The evidence:* the
# > last line above and the table below. The two differ by as much as many published improvements. *To switch:* read
# > `result.mean_ap_trapezoid`.

# %% [markdown]
# ## 7 · The whole set: mAP, CMC, and the rules
#
# **mAP** is the mean of AP over all queries. **CMC** at rank $k$ is the share of queries with at least one hit among the
# first $k$ pictures.

# %%
sides = (query.pids, query.camids, gallery.pids, gallery.camids)
result = ck.evaluate_ranking(distances, *sides)
chance = ck.evaluate_ranking(np.random.default_rng(0).random(distances.shape), *sides)
by_count = [np.mean(result.first_hit[result.num_matches > 0] < k) for k in range(1, 51)]
assert np.allclose(by_count, result.cmc)
session.expect(result.mean_ap > chance.mean_ap, "the colours rank no better than chance")
figures.show_cmc({"six stripes of colour": result.cmc, "chance": chance.cmc})

# %% [markdown]
# Now we break the rules, one at a time. The distances stay the same. All numbers are in percent.

# %%
kept = gallery.pids != 0
as_wrong = np.where(gallery.pids == -1, 0, gallery.pids)
cameras = (np.full_like(query.camids, -1), np.full_like(gallery.camids, -1))  # -1: camera unknown, the rule is off
variants = {
    "the protocol": result,
    "distractors dropped": ck.evaluate_ranking(
        distances[:, kept], *sides[:2], gallery.pids[kept], gallery.camids[kept]
    ),
    "junk counted as wrong": ck.evaluate_ranking(distances, *sides[:2], as_wrong, gallery.camids),
    "own camera counted": ck.evaluate_ranking(distances, query.pids, cameras[0], gallery.pids, cameras[1]),
}
rows = [{"rule": name, **ck.evaluation.headline(r)} for name, r in variants.items()]
columns = {"rule": "rule", "rank_1": "rank-1", "mean_ap": "mAP", "mean_ap_trapezoid": "mAP (trapezoid)"}
ck.evaluation.table(rows, columns)

# %%
changes = {name: 100 * (r.mean_ap - result.mean_ap) for name, r in variants.items() if r is not result}
largest = max(changes, key=lambda name: abs(changes[name]))
found = f"The largest change of mAP, {changes[largest]:+.1f} points, comes from: {largest}."
print(found if abs(changes[largest]) >= 0.05 else "None of them changes mAP here.")
there = {"distractors": gallery.pids == 0, "junk": gallery.pids == -1, "known cameras": gallery.camids > 0}
if absent := [name for name, has in there.items() if not has.any()]:
    print(f"(This gallery has no {', no '.join(absent)}: a rule about them changes nothing.)")
assert changes["distractors dropped"] >= 0, "without wrong answers a list cannot get worse"

# %% [markdown]
# None of these is a better *method*. Only the rules have changed. When you compare the numbers of two papers, you first have
# to know which rules each of them used. This is why the kit prints what it did not count.

# %% [markdown]
# ## 8 · Ties
#
# What if two pictures have the same distance? Then nothing decides their order, but AP depends on it. Take the extreme case:
# a network that has *collapsed* and gives every picture the same distance. We score its ranking three times. Only the order
# of the gallery changes.

# %%
flat = np.zeros(len(gallery))
orders = {
    "as the files are sorted": np.arange(len(gallery)),
    "matches first": np.argsort(~matches[q], kind="stable"),
    "matches last": np.argsort(matches[q], kind="stable"),
}
for name, order in orders.items():
    one = ck.ranking.rank_gallery(flat, query.pids[q], query.camids[q], gallery.pids[order], gallery.camids[order])
    print(f"{name:24} AP = {one.average_precision:.3f}")

# %% [markdown]
# The same "network" gets almost the lowest or the highest possible score. A milder case is more common: distances that were
# *rounded*, for example by half precision. Below we round to steps of so many standard deviations. The true score lies
# between the best and the worst order of the ties.

# %%
scale = distances.std()
rows = []
for step in (0.001, 0.1, 0.5, 1.0):
    rounded = np.round(distances / scale / step) * step
    bounds = [rounded, rounded + 1e-6 * matches, rounded - 1e-6 * matches]
    with warnings.catch_warnings(record=True):  # the kit warns of so many ties
        means = [100 * ck.evaluate_ranking(d, *sides).mean_ap for d in bounds]
    assert means[1] - 1e-9 <= means[0] <= means[2] + 1e-9
    names = ("mAP, ties by file", "worst order", "best order")
    rows.append({"rounded to": f"{step:.3f}", **dict(zip(names, means, strict=True))})
ck.evaluation.table(rows)

# %% [markdown]
# The kit always ranks ties by their place in the sorted list of files, and it *warns* when many distances are equal. A
# network without any information must not get a good score by luck.

# %% [markdown]
# ## 9 · A query without a match
#
# Sometimes the gallery holds no picture of the query's person from another camera. Such a query has no AP. The protocol
# leaves it out of every mean and reports how many were left out. We remove the matches of one query and look.

# %%
left = ~matches[q]
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    fewer = ck.evaluate_ranking(distances[:, left], *sides[:2], gallery.pids[left], gallery.camids[left])
print(f"AP of query {q}: {fewer.average_precision[q]}; means run over {fewer.num_valid} of {fewer.num_queries} queries")
ck.notebook.say(f"the kit says: {said[0].message}")
as_zero = np.nan_to_num(fewer.average_precision).mean()
print(f"mAP {100 * fewer.mean_ap:.2f}; counted as zero instead it would be {100 * as_zero:.2f}")

# %% [markdown]
# ## A question for the next notebook
#
# Eighteen numbers of mean colour found some people again. They compare everything in the picture, including the background.
# **What does a network learn that colours cannot tell? And how good must a simple network be before "attention helps" means
# anything?** Notebook `02_baselines` answers this.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/01_data_and_protocol](solutions/01_data_and_protocol.ipynb).
#
# **1. By hand.** A ranked list, closest first: *right, wrong, junk, right, wrong, right*. What is its (step) average
# precision?
#
# <details><summary>Hint</summary>
#
# Remove the junk first; the pictures behind it move up by one rank. Then compute one precision for each hit.
#
# </details>

# %% tags=["exercise"]
my_average_precision = None  # a number

# %% tags=["check"]
listed = [5, 7, -1, 5, 8, 5]  # pids; the query's is 5
right = ck.ranking.rank_gallery(np.arange(6.0), 5, 1, listed, [2] * 6).average_precision
mistakes = {
    "junk takes no place in the list: remove it before you count ranks": (1 + 2 / 4 + 3 / 6) / 3,
    "take the mean over the hits, not over all places": (1 + 2 / 3 + 3 / 5) / 5,
    "that is the share of right pictures; AP asks for it at each hit": 3 / 5,
}
exercises.check_number(my_average_precision, right, mistakes, tolerance=6e-3)

# %% [markdown]
# **2. Predict.** We add a thousand distractors to a gallery. All of them are *farther* from every query than the pictures
# already there. What happens to mAP: `"rises"`, `"falls"` or `"stays"`?
#
# <details><summary>Hint</summary>
#
# At which ranks do they stand, and at which ranks do we compute a precision?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "rises", "falls" or "stays"

# %% tags=["check"]
far = np.hstack([distances, distances.max() + np.random.default_rng(0).random((len(query), 1000))])
more = [np.append(values, [filler] * 1000) for values, filler in ((gallery.pids, 0), (gallery.camids, 1))]
change = ck.evaluate_ranking(far, *sides[:2], *more).mean_ap - result.mean_ap
reasons = {
    "rises": "wrong answers never help: look at where they stand",
    "falls": "they are wrong answers, but AP reads the list only down to the last hit, and they stand below it",
    "stays": "AP reads the list only down to the last hit, and the new pictures stand below it",
}
exercises.check_choice(my_prediction, "stays" if abs(change) < 1e-12 else "falls", reasons)

# %% [markdown]
# **3. Write it.** The **inverse negative penalty** asks how far down the *last* match stands: it is the number of matches
# divided by the rank of the last one. Write it for a list of true (hit) and false values. Ignored pictures are already
# removed. Return `nan` if there is no hit.
#
# <details><summary>Hint</summary>
#
# `np.flatnonzero(hits)` gives the places of the hits, counted from 0.
#
# </details>


# %% tags=["exercise"]
def inverse_negative_penalty(hits):
    """Number of hits over the rank (counted from 1) of the last hit; nan without a hit."""


# %% tags=["check"]
def reference(hits):
    n = len(hits)
    found = ck.ranking.rank_gallery(np.arange(float(n)), 1, 1, np.where(hits, 1, 2), np.full(n, 2))
    last = found.position[np.asarray(hits)].max() if any(hits) else np.nan
    return np.sum(hits) / last


cases = {"one hit in front": [[1, 0, 0]], "three hits": [[0, 1, 1, 0, 1]], "all hits": [[1, 1]], "no hit": [[0, 0]]}
cases = {name: [np.array(hits, dtype=bool)] for name, (hits,) in cases.items()}
mistakes = {
    "ranks are counted from 1, places from 0": lambda hits: np.sum(hits) / max(np.flatnonzero(hits), default=np.nan)
}
exercises.check_function(inverse_negative_penalty, reference, cases, mistakes)

# %% [markdown]
# **4. Cheat.** Build distances that only use the *camera* of each picture, not its content: pictures are closer if their
# cameras differ. Does this beat chance? If it does, why? (The protocol removes your own camera only for your own person.)
#
# <details><summary>Hint</summary>
#
# `query.camids[:, None] == gallery.camids` is a matrix of true and false. Read as numbers, it is a distance. It has many
# ties, so add a little random noise or expect the warning.
#
# </details>

# %% tags=["exercise"]
my_distances = None  # (number of queries, number of gallery pictures), lower is closer


# %% tags=["check"]
def by_camera(d):
    return ck.evaluate_ranking(np.asarray(d) + 1e-3 * np.random.default_rng(0).random(distances.shape), *sides).mean_ap


same_camera = (query.camids[:, None] == gallery.camids).astype(float)
got, scores = None, {"chance": chance.mean_ap, "six stripes": result.mean_ap}
if my_distances is not None:
    got = scores["your distances"] = by_camera(my_distances)
    print({name: round(score, 4) for name, score in scores.items()})
exercises.check_number(
    got, by_camera(same_camera), {"the sign: lower must mean closer": by_camera(-same_camera)}, tolerance=5e-3
)

# %% [markdown]
# **To go on.** Which stripe helps most? Rank by the three numbers of one stripe at a time. `stripe_colours` returns all red
# means first, then green, then blue, six stripes each.
#
# ## Recap
#
# Answer each question in your head, then open it.
#
# <details><summary>1. A gallery picture has pid -1, another has pid 0. Which of them can lower the AP of a query?</summary>
#
# Only the one with pid 0. A distractor is a wrong answer; it lowers AP if it stands before a hit. Junk is removed before
# ranks are counted.
#
# </details>
#
# <details><summary>2. Why are the query person's pictures from the query's own camera removed?</summary>
#
# They show the same background, light and moment, so they are easy to find. A search across cameras is what we want to
# measure.
#
# </details>
#
# <details><summary>3. Two papers report mAP on one data set; one value is a point higher. What do you check first?</summary>
#
# Whether both count by the same rules: step or trapezoid AP, distractors kept, junk removed, own camera removed, and how
# ties are ordered.
#
# </details>
#
# ## Essay question
#
# A colleague reports a mAP that is two points better than yours and sends you only that number. Write half a page: what do
# you ask, which of the answers could explain the two points without a better method, and how would you test it?
#
# <details><summary>Rubric (10 points)</summary>
#
# - 3: names at least three rules that move mAP (kind of AP, distractors, junk, own camera, ties, queries without a match).
# - 2: says for each of them in which direction it moves the number, and refers to the table of section 7.
# - 2: proposes a test that changes one rule at a time on the same distances.
# - 2: mentions chance: another seed or other test people could also explain two points.
# - 1: keeps rules and methods apart in the conclusion.
#
# </details>
#
# ## References
#
# - L. Zheng, L. Shen, L. Tian, S. Wang, J. Wang, Q. Tian: *Scalable Person Re-identification: A Benchmark*, ICCV 2015
#   (Market-1501, its protocol, junk and distractors).
# - M. Ye, J. Shen, G. Lin, T. Xiang, L. Shao, S. C. H. Hoi: *Deep Learning for Person Re-identification: A Survey and
#   Outlook*, TPAMI 2022 (inverse negative penalty).
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
