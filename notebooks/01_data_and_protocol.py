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
# Notebook 00 ended with numbers: *rank-1*, *mAP*. **Who counts the points, and by which rules?** A ranking is a list of
# pictures; before a network comes into it, we score one by hand.
#
# ![Ranked galleries of some queries: right matches in a solid frame, wrong ones dashed](../figures/rankings.webp)
#
# **You will learn** what the pictures of a benchmark are (queries, gallery, junk, distractors), how a ranked list becomes
# an average precision, why there are two of them, what CMC is, and how ties and small print move a result by more than a
# new method does.
#
# **You need** `00_start_here`. No network is trained here.
# **Runtime** seconds at `smoke` and at `quick`; at `paper` (pictures as many as in Market-1501, drawn once) some minutes
# the first time. **Hardware** any; no GPU is used.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import warnings

import numpy as np
import torch

import casnkit as ck
from casnkit import exercises, figures, report
from casnkit.figures import show_precision

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · Who is in the pictures?
#
# Three parts. **Training** people teach a network. **Query** and **gallery** show other people: for each query picture
# the gallery is searched for the same person. `open_dataset` refuses a set in which somebody is on both sides.

# %% The same people, six cameras tags=["slide"]
dataset = session.dataset
query, gallery = dataset.query, dataset.gallery
people = dataset.train.identities[:4]
seen = [np.flatnonzero(dataset.train.pids == pid)[:4] for pid in people]
cameras = [ck.data.camera_text(camid, short=True) for camid in dataset.train.camids]
captions = [f"{dataset.train.pids[i]}, {cameras[i]}" for i in np.concatenate(seen)]
figures.show_batch([dataset.train.image(i) for i in np.concatenate(seen)], captions, columns=8)

# %% [markdown]
# **Look.** A caption is the person's number (`pid`) and the camera's (`camid`). One person stays the same in clothes and
# build; light, colours, pose and background do not. *The background belongs to the camera*: whoever compares backgrounds
# finds the camera again, not the person. Keep this in mind for section 4.

# %%
both = np.intersect1d(dataset.train.identities, np.union1d(query.identities, gallery.identities))
assert len(both) == 0
for split in (dataset.train, query, gallery):
    cameras = len(set(split.camids[split.camids > 0])) or "unknown"
    print(f"{split.name:8} {len(split):6} pictures of {len(split.identities):4} people, cameras: {cameras}")

# %% [markdown]
# ## 2 · What a drawn person knows about itself
#
# Our people are drawn, so there is a truth that no photograph has: which pixel is person, which body part it belongs to,
# and what the person wears. (Benchmarks of photographs have none of it; the cells then say so and go on.)

# %%
i = report.training_examples(dataset.train, 3)[1]
known = {"picture": dataset.train.image(i)}
mask, parts = dataset.train.mask(i), dataset.train.parts(i)
known |= {"person": (255 * mask).astype(np.uint8)} if mask is not None else {}
known |= {"parts": (parts * (255 // 7)).astype(np.uint8)} if parts is not None else {}
missing = [name for name in ("person", "parts") if name not in known]
if missing:
    print(f"This set does not know of its pictures: {', '.join(missing)}.")
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
# (Names of colours are those of the dye. Light, camera and noise then do to them what they do on a street.)
#
# **Look-alikes.** Some people come in pairs that differ in *one part alone*: shoes, a bag, hair. They make the set hard, and
# they will be useful: a good explanation of "these two are *not* the same" has to point at that part.

# %% Two people, one difference tags=["slide"]
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
# ## 3 · Guests in the gallery: junk and distractors
#
# Pictures come from a detector, and detectors err. The gallery says so in its pids:
#
# | pid | name | what it is | what the protocol does with it |
# |---|---|---|---|
# | > 0 | | a person | right or wrong |
# | 0 | *distractor* | somebody who is no query, or a false alarm | stays, **as a wrong answer** |
# | -1 | *junk* | a bad crop of somebody, too poor to judge | **never counts**, neither right nor wrong |

# %%
guests = {"junk": np.flatnonzero(gallery.pids == -1)[:6], "distractor": np.flatnonzero(gallery.pids == 0)[:6]}
images = [gallery.image(j) for part in guests.values() for j in part]
captions = [name for name, part in guests.items() for _ in part]
print({name: int((gallery.pids == pid).sum()) for name, pid in (("junk", -1), ("distractors", 0))})
figures.show_batch(images, captions, columns=6) if images else None

# %% [markdown]
# ## 4 · A distance without a network
#
# To rank, we need a distance. Here is the poorest that works at all: cut the picture into six horizontal stripes, take the
# mean colour of each, and compare these 18 numbers.


# %%
def stripe_colours(split):
    """Mean colour of six horizontal stripes: (N, 18)."""
    images = session.images(split, np.arange(len(getattr(dataset, split))))
    return torch.nn.functional.adaptive_avg_pool2d(images, (6, 1)).flatten(1).cpu()


distances = torch.cdist(stripe_colours("query"), stripe_colours("gallery")).numpy()
print("distances, one row for each query and one column for each gallery picture:", distances.shape)

# %% [markdown]
# From this matrix on, nothing depends on *how* the distances were made: the same rules score six stripes and a network.

# %% [markdown]
# ## 5 · One ranking, by hand
#
# A small gallery, so that we can count: some pictures of the query's person, some of others, and one guest of each kind.

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
# We take a query that the stripes solve halfway, so that there is something to count.


# %%
def score(q):
    sides = query.pids[q], query.camids[q], gallery.pids[small_gallery(q)], gallery.camids[small_gallery(q)]
    return ck.ranking.rank_gallery(distances[q, small_gallery(q)], *sides).average_precision


rich = np.minimum(matches.sum(1), 3) + own_camera.any(1)  # queries on which all rules can be seen
candidates = np.flatnonzero(rich == rich.max())[:50]
q = min(candidates, key=lambda q: abs(score(q) - 0.6))
few = small_gallery(q)

# %% [markdown]
# **Step 1: sort by distance. Step 2: strike out what does not count.** Two kinds of pictures are struck out: junk, and
# pictures of the query's person *from the query's own camera*. The latter would be too easy (the same minute, the same
# light), and finding them proves nothing.

# %% One ranking, by hand tags=["slide"]
small = gallery.subset(few)
ranking = ck.ranking.rank_gallery(distances[q, few], query.pids[q], query.camids[q], small.pids, small.camids)
order = ranking.order
shown = {"distances": distances[q, few][order], "pids": small.pids[order], "camids": small.camids[order]}
shown |= {"gallery_images": [small.image(j) for j in order], "statuses": [str(ranking.status[j]) for j in order]}
own = {"query_image": query.image(q), "query_pid": int(query.pids[q]), "query_camid": int(query.camids[q])}
figures.show_rankings([{**own, **shown}], "One query and a small gallery", columns=12)

# %% [markdown]
# **Step 3: at each hit, what share of the list so far is right?** That is the *precision* at the hit. **Step 4: average
# precision (AP) is the mean of these.**

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
# And the kit's own answer for the same list, as a test of both:

# %%
by_kit = ck.evaluate_ranking(distances[[q]][:, few], query.pids[[q]], query.camids[[q]], small.pids, small.camids)
assert abs(by_kit.mean_ap - by_hand) < 1e-12
print(f"evaluate_ranking: {by_kit.mean_ap:.4f} from {by_kit.num_matches[0]} matches, {by_kit.num_ignored[0]} ignored")

# %% [markdown]
# ## 6 · Two average precisions
#
# AP is an area: precision over recall. Today's habit draws it in **steps**. Market-1501's official script joins the
# precision just *above* a hit with the precision *at* it: **trapezoids**. The same list gets two numbers.

# %%
show_precision(hits)

# %%
ranks = np.flatnonzero(hits)
above = np.where(ranks > 0, np.arange(len(ranks)) / np.maximum(ranks, 1), 1.0)
trapezoid = ((above + precisions) / 2).mean()
assert abs(by_kit.mean_ap_trapezoid - trapezoid) < 1e-12
print(f"steps {by_hand:.4f}, trapezoids {trapezoid:.4f}")

# %% [markdown]
# > **What the paper leaves open: which average precision.** It reports mAP and does not say by which script. *Our choice:*
# > steps as the headline, as most results since; trapezoids stand beside them everywhere. *The evidence:* the last line
# > above, and the table below: the two differ by as much as many a published improvement. *To switch:* read
# > `result.mean_ap_trapezoid`.

# %% [markdown]
# ## 7 · The whole set: mAP, CMC, and what small print is worth
#
# **mAP** is the mean of AP over all queries. **CMC** at rank $k$ is the share of queries that have a hit among the first $k$.

# %%
sides = (query.pids, query.camids, gallery.pids, gallery.camids)
result = ck.evaluate_ranking(distances, *sides)
chance = ck.evaluate_ranking(np.random.default_rng(0).random(distances.shape), *sides)
by_count = [np.mean(result.first_hit[result.num_matches > 0] < k) for k in range(1, 51)]
assert np.allclose(by_count, result.cmc)
session.expect(result.mean_ap > chance.mean_ap, "the colours rank no better than chance")
figures.show_cmc({"six stripes of colour": result.cmc, "chance": chance.cmc})

# %% [markdown]
# Now we break the rules, one at a time, with the same distances.

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
# None of these is a better *method*. They are other rules, and whoever compares numbers of two papers has to know which
# rules stood behind each. That is why the kit prints what it did not count.

# %% [markdown]
# ## 8 · Ties
#
# What if two pictures have the same distance? The order is then nobody's judgement, but AP depends on it. Take the extreme: a
# network that has *collapsed* and finds every picture equally far. We show its ranking three times; only the order in
# which the gallery lies on the disk differs.

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
# The same "network" scores nearly nothing or everything. Less extreme, and more common: distances that are *rounded*, by
# half precision or by a coarse code (here to steps of so many standard deviations). The truth lies between the kindest and
# the unkindest order of the ties.

# %%
scale = distances.std()
rows = []
for step in (0.001, 0.1, 0.5, 1.0):
    rounded = np.round(distances / scale / step) * step
    bounds = [rounded, rounded + 1e-6 * matches, rounded - 1e-6 * matches]
    with warnings.catch_warnings(record=True):  # the kit warns of so many ties
        means = [100 * ck.evaluate_ranking(d, *sides).mean_ap for d in bounds]
    assert means[1] - 1e-9 <= means[0] <= means[2] + 1e-9
    names = ("mAP, ties by file", "unkindest", "kindest")
    rows.append({"rounded to": f"{step:.3f}", **dict(zip(names, means, strict=True))})
ck.evaluation.table(rows)

# %% [markdown]
# The kit ranks ties by their place in the sorted list of files, always, and *warns* where many distances are equal: an honest
# zero-information network should not look good by luck.

# %% [markdown]
# ## 9 · A query that nobody can answer
#
# Sometimes the gallery holds no picture of the query's person from another camera. Such a query cannot be scored: it has no
# AP, and the protocol leaves it out of every mean, *aloud*. We take a query's matches away and look.

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
# Eighteen numbers of mean colour found some people again. They cannot know what a person is: they compare whatever fills
# the picture, background and all. **What does a network learn that colours cannot tell, and how strong must a simple
# network be before "attention helps" means anything?** Notebook `02_baselines` answers it.

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
# Strike out the junk first; the ranks behind it move up. Then one precision for each hit.
#
# </details>

# %% tags=["exercise"]
my_average_precision = None  # a number

# %% tags=["check"]
listed = [5, 7, -1, 5, 8, 5]  # pids; the query's is 5
right = ck.ranking.rank_gallery(np.arange(6.0), 5, 1, listed, [2] * 6).average_precision
mistakes = {
    "junk takes no place in the list: strike it out before you count ranks": (1 + 2 / 4 + 3 / 6) / 3,
    "the mean runs over the hits, not over all places": (1 + 2 / 3 + 3 / 5) / 5,
    "that is the share of right pictures; AP asks for it at each hit": 3 / 5,
}
exercises.check_number(my_average_precision, right, mistakes, tolerance=6e-3)

# %% [markdown]
# **2. Predict.** A gallery gets a thousand more distractors that are *farther* from every query than all pictures in it.
# What happens to mAP: `"rises"`, `"falls"` or `"stays"`?
#
# <details><summary>Hint</summary>
#
# At which ranks do they stand, and which precisions are computed there?
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
    "falls": "they are wrong answers, but AP looks at the list only down to the last hit, and they stand below it",
    "stays": "AP looks at the list only down to the last hit, and the new ones stand below it",
}
exercises.check_choice(my_prediction, "stays" if abs(change) < 1e-12 else "falls", reasons)

# %% [markdown]
# **3. Write it.** The **inverse negative penalty** asks how far down the *last* match stands: number of matches divided by
# the rank of the last one. Write it for a list of true (hit) and false, ignored pictures already struck out; `nan` where
# there is no hit.
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
# **4. Cheat.** Build distances that know nothing of the pictures' content, only the *camera* of each: closer if the cameras
# differ. Does it beat chance? (Is it cheating? The protocol strikes out your own camera for your own person only.)
#
# <details><summary>Hint</summary>
#
# `query.camids[:, None] == gallery.camids` is a matrix of true and false; as numbers it is a distance. It has many ties:
# add a little random noise, or believe the warning.
#
# </details>

# %% tags=["exercise"]
my_distances = None  # (number of queries, number of gallery pictures), lower is closer


# %% tags=["check"]
def by_camera(d):
    return ck.evaluate_ranking(np.asarray(d) + 1e-3 * np.random.default_rng(0).random(distances.shape), *sides).mean_ap


same_camera = (query.camids[:, None] == gallery.camids).astype(float)
got = None if my_distances is None else by_camera(my_distances)
print(f"chance {chance.mean_ap:.4f}, the cameras alone {by_camera(same_camera):.4f}, six stripes {result.mean_ap:.4f}")
exercises.check_number(got, by_camera(same_camera), {"the sign: lower must mean closer": by_camera(-same_camera)})

# %% [markdown]
# **To go on.** Which stripe is worth most? Rank by the three numbers of one stripe at a time: `stripe_colours` gives them in
# the order red, green, blue, six stripes each.
#
# ## References
#
# - L. Zheng, L. Shen, L. Tian, S. Wang, J. Wang, Q. Tian: *Scalable Person Re-identification: A Benchmark*, ICCV 2015
#   (Market-1501, its protocol, junk and distractors).
# - M. Ye, J. Shen, G. Lin, T. Xiang, L. Shao, S. C. H. Hoi: *Deep Learning for Person Re-identification: A Survey and
#   Outlook*, TPAMI 2022 (inverse negative penalty).
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
