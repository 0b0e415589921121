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
# # 04 · Siamese attention
#
# Notebook 03 explained one picture by the name of its person. The people whom we search for have no name yet. What the
# network can say about them is whether **two pictures** show the same person, and this is what we now ask it to explain:
# **which parts of both pictures speak for "the same"?**
#
# ![Two pictures of one person, the network's attention in each, and how its rows line up](../figures/pair-right.webp)
#
# **You will learn** how one gradient gives two maps (the paper's section 3.2 and equation 4), which choices hide in it,
# how two maps are compared row by row (equation 5), and how much such a map really says about a pair.
#
# **You need** `03_identification_attention`.
# **Runtime** under a minute at `smoke`, and at `quick` with the network that comes with the kit (on pictures of your own,
# some minutes for one training); at `paper` hours on a GPU for one training, or minutes where it is done. **Hardware** a
# laptop; only `paper` asks for a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import attention, exercises, figures, report
from casnkit.experiments import ablation
from casnkit.explain import siamese
from casnkit.ranking import attention_distances, ignored_mask, matches_mask

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · A query and some partners
#
# We take a query that the features solve well, its closest gallery pictures of the same person from other cameras (three,
# if there are as many), and its three closest of *other* people. None of these people was seen in training.

# %%
casn = session.run("casn")
model, result = casn.model.requires_grad_(False), casn.result
query, gallery, by_features = session.dataset.query, session.dataset.gallery, result.distances["features"]
same = matches_mask(query.pids, query.camids, gallery.pids, gallery.camids)
different = ~same & ~ignored_mask(query.pids, query.camids, gallery.pids, gallery.camids)

# %%
i = report.spread_queries(result.rankings["features"].average_precision, 4)[-1]
order = by_features[i].argsort(kind="stable")
partners = [*order[same[i, order]][:3].tolist(), *order[different[i, order]][:3].tolist()]
names = [f"{'same' if same[i, j] else 'other'}, {ck.data.camera_text(gallery.camids[j])}" for j in partners]
pictures = [query.image(i), *(gallery.image(j) for j in partners)]
figures.show_batch(pictures, ["query", *names], columns=7)

# %% [markdown]
# ## 2 · The difference $f^- = f_1 - f_2$
#
# **Idea.** Both pictures go through *the same* network. What differs between their features is all that the pair
# classifier gets to see.

# %% [markdown]
# **Formula.** $f^- = f_1 - f_2$, then two layers: $z = b(f^-)$ with two scores, $z_0$ for *different*, $z_1$ for *same*.
#
# Below, the query is repeated, so that row $p$ of every array belongs to pair $p$: the query and its $p$-th partner.

# %%
A_1 = result.query.feature_maps[[i] * len(partners)].to(session.device)
A_2 = result.gallery.feature_maps[partners].to(session.device)
f_1, f_2 = model.pool(A_1), model.pool(A_2)
difference = f_1 - f_2
figures.show_weights(difference[0], title=f"f\u207b for the pair (query, {names[0]})", label="f\u207b")

# %% [markdown]
# What does the classifier make of it?

# %%
z = model.pair_scores(difference)
for name, scores, probability in zip(names, z, z.softmax(1)[:, 1], strict=True):
    print(f"{name:16} z_1 = {scores[1]:+.2f}, p(same) = {probability:.3f}")

# %% [markdown]
# A handful of pairs says little. Here are all gallery pictures, beside every query (of a large set, beside 300):

# %%
f_g, asked = result.gallery.features.to(session.device), np.arange(len(query))[:: max(1, len(query) // 300)]
f_q = result.query.features[asked].to(session.device)
p_of_pairs = np.stack([model.pair_scores(f - f_g).softmax(1)[:, 1].cpu().numpy() for f in f_q])
judged = {"one person": p_of_pairs[same[asked]], "two people": p_of_pairs[different[asked]]}
figures.show_distributions(judged, "p(same person)", "What the pair classifier says", limits=(0, 1))

# %% [markdown]
# > **What the paper leaves open: how the pair classifier learns.** In equation 6 its loss counts a twentieth, and with one
# > learning rate for all it hardly moves in a short training: both histograms above become one narrow line, and every map
# > explains a judgement that is no judgement. *Our choice:* at `smoke` and `quick` a learning rate and a weight decay of its
# > own, so that it learns as if its loss counted in full, while the trunk still hears a twentieth; at `paper` one rate for
# > all. *The evidence:* the picture above, and mAP, printed below. *To switch:*
# > `session.run("casn", pair_rate=1.0, pair_weight_decay=None)`.

# %%
print(*ablation.evidence("pair_rate"), sep="\n")

# %% [markdown]
# ## 3 · The gradient of $z_1$
#
# **Idea.** Which differences, if they grew a little, would make "same" more likely?

# %% [markdown]
# **Formula.** $\partial z_1 / \partial f^-$. The classifier is two matrices with a ReLU between them,
# $z = W_2\,\mathrm{ReLU}(W_1 f^- + b_1) + b_2$, so the gradient can be written down: the ReLU lets some rows of $W_1$
# through and stops the others. *Which* rows depends on the pair; keep that in mind for section 6.

# %%
first, _, _, second = model.pair_head
open_units = (first(difference) > 0).float()
by_hand = (second.weight[1] * open_units) @ first.weight
gradient = model.pair_gradient(difference)
assert torch.allclose(by_hand, gradient, atol=1e-5)
print(f"hidden units open: {open_units.sum(1).int().tolist()} of {open_units.shape[1]}")
figures.show_weights(gradient[0], title="\u2202z_1 / \u2202f\u207b", label="gradient")

# %% [markdown]
# ## 4 · The indicator $\alpha$
#
# **Formula (equation 4).** $\alpha_k = 1$ where $\partial z_1/\partial f^-_k > 0$, else $0$. The size of the gradient is
# thrown away; what remains is a list of channels that are *on*.

# %% Which channels are on? tags=["slide"]
alpha, _ = attention.siamese_weights(gradient, difference, "paper")
figures.show_indicators(alpha.cpu(), names, "\u03b1 for one query and its partners")

# %% [markdown]
# **Look.** Long columns are channels that are on *whoever the partner is*. How different are these lists? We count the
# channels that switch, and measure the overlap of each list with the first one: channels on in both, divided by channels
# on in at least one.

# %%
on = alpha > 0
switching = (on.any(0) & ~on.all(0)).sum()
overlap = (on & on[0]).sum(1) / (on | on[0]).sum(1)
print(f"{switching} of {on.shape[1]} channels switch among these pairs, {on.all(0).sum()} are on in all")
for name, value in zip(names[1:], overlap[1:], strict=True):
    print(f"overlap of the first pair with ({name}): {value:.0%}")

# %% [markdown]
# **What does $\alpha$ select?** The classifier has to call small differences "same" and large ones "different". So, in a
# trained network, nearly every hidden unit speaks *against* "same": $z_1$ is a bias minus something like a norm of $f^-$.
# The gradient of minus a norm points back to zero, along $-f^-$. Where is it positive? Where $f^-$ is *negative*:
#
# $$\alpha_k \approx [f^-_k < 0] = [f_{1k} < f_{2k}],$$
#
# the channels in which picture 1 is **weaker** than picture 2. Not "what both share", and nothing about the person:

# %%
everybody = np.argwhere(same | different)
drawn = everybody[np.random.default_rng(0).permutation(len(everybody))[:1000]]
facts = siamese.alpha_facts(model, result.query.features[drawn[:, 0]], result.gallery.features[drawn[:, 1]])
print(f"hidden units that raise z_1: {facts['positive_weights']:.0%}")
print(f"alpha is [f- < 0] in {facts['weaker']:.0%} of the channels (a coin: 50 %),", end=" ")
print(f"in {facts['weaker_weighted']:.0%} counted by the size of f-")
print(f"rank correlation of p(same) with minus the norm of f-: {facts['norm_rank_correlation']:.2f}")
print(f"p(same) of a picture with itself: {facts['p_at_zero']:.2f}; the largest of all pairs: {facts['p_largest']:.2f}")

# %% [markdown]
# ## 5 · Two scores, two maps
#
# **Formula (equation 4).** The channels that are on are added up, in the features and in the feature maps:
#
# $$s_j = \langle \alpha, f_j \rangle, \qquad M_j = \mathrm{ReLU}\Big(\sum_k \mathrm{GAP}\big(\partial s_j/\partial
# A_{jk}\big)\, A_{jk}\Big) = \frac{1}{hw}\sum_k \alpha_k A_{jk}, \qquad j = 1, 2.$$
#
# As in notebook 03 the mean over places makes the weights known beforehand: $\alpha_k / hw$. No backward pass at all.

# %%
M_1, M_2 = (attention.siamese_map(A, alpha) for A in (A_1, A_2))
for ours, kit in zip((M_1, M_2), model.siamese_attention_of(A_1, A_2), strict=True):
    assert torch.allclose(ours, kit)
by_autograd = attention.autograd_map(A_1, lambda a: (alpha * model.pool(a)).sum(1))
print(f"closed form against autograd: {(M_1 - by_autograd).abs().max() / M_1.max():.1e} of the maximum")
assert torch.allclose(M_1, by_autograd, atol=1e-5 * M_1.max().item())

# %%
p_same, truth = z.softmax(1)[0, 1].item(), bool(same[i, partners[0]])
t = casn.info.config.ranking.threshold
figures.show_pair(*pictures[:2], M_1[0], M_2[0], t, titles=("query", names[0]), same=truth, probability=p_same)

# %% [markdown]
# And all partners, in the order of section 1: a query and its gallery with the Siamese attention of each pair. The query's
# map is drawn once for each partner.

# %%
seen = [(pictures[0], picture) for picture in pictures[1:]]
pair_maps = {"Siamese attention": (M_1, M_2), "plain mean": [attention.mean_map(A) for A in (A_1, A_2)]}
pair_maps = {name: list(zip(*both, strict=True)) for name, both in pair_maps.items()}
labels = [f"{name}, p(same) {p:.2f}" for name, p in zip(names, z.softmax(1)[:, 1], strict=True)]
figures.show_gallery_of_methods(seen, pair_maps, labels, title="A query and its gallery")

# %% [markdown]
# **The map adds up to the score.** $A \geq 0$ and $\alpha \geq 0$, so the ReLU has nothing to cut off, and
# $\sum_{ij} M_j = \langle \alpha, f_j \rangle = s_j$ exactly. The map is the score, spread out over the picture.

# %%
s_1, s_2 = (alpha * f_1).sum(1), (alpha * f_2).sum(1)
assert torch.allclose(M_1.sum((1, 2)), s_1, rtol=1e-4)
assert torch.allclose(M_2.sum((1, 2)), s_2, rtol=1e-4)
for name, total, score in zip(names, M_2.sum((1, 2)), s_2, strict=True):
    print(f"{name:16} sum of M_2 = {total:.5f}, s_2 = {score:.5f}")

# %% [markdown]
# ## 6 · What if nothing bends between the two layers?
#
# **Idea.** Without an activation, $z = W_2 W_1 f^- + \dots$ is linear, and the gradient of a linear function is the same
# everywhere: one $\alpha$ for *all* pairs. The map of a picture then cannot depend on its partner.

# %% [markdown]
# We put an untrained linear classifier on the trained trunk. What follows is algebra, so training would change which
# channels are on, but not that they are the same for all.

# %%
torch.manual_seed(0)
linear = ck.CASN.from_config(model.num_ids, session.config("casn", pair_activation="none").model)
linear.trunk.load_state_dict(model.trunk.state_dict())
linear = linear.to(session.device).eval().requires_grad_(False)
alpha_linear = (linear.pair_gradient(difference) > 0).float()
assert (alpha_linear == alpha_linear[0]).all()
figures.show_indicators(alpha_linear.cpu(), names, "\u03b1 with a linear pair classifier")

# %% [markdown]
# All rows are equal. So are all maps of the query, and with the bending classifier they are not:

# %%
for name, network in {"linear": linear, "with ReLU": model}.items():
    of_query, _ = network.siamese_attention_of(A_1, A_2)
    change = (of_query - of_query[0]).abs().amax((1, 2)) / of_query[0].max()
    print(f"{name:9} the query's map changes with the partner by {100 * change.max():.2f} % of its maximum, at most")
    assert name != "linear" or change.max() < 1e-6
    session.expect(name == "linear" or change.max() > 1e-6, "no partner opens or closes a hidden unit")

# %% [markdown]
# > **What the paper leaves open: the activation.** It asks for two fully connected layers and names no activation. The
# > most used public head has none. *Our choice:* ReLU, or the map could not depend on the partner. *The evidence:* the
# > percents above, and networks trained with and without, printed below. *To switch:*
# > `session.run("casn", pair_activation="none")`. The engine for all pairs notices a linear head, and its work falls from
# > pairs to pictures.

# %%
print(*ablation.evidence("pair_activation"), sep="\n")

# %% [markdown]
# ## 7 · Four readings of one equation
#
# The text speaks of one $\alpha$ for both pictures. But $\partial z_1/\partial f_2 = -\,\partial z_1/\partial f^-$: for the
# second picture the sign turns. So there are several honest readings:
#
# | mode | weights of picture 1 | of picture 2 |
# |---|---|---|
# | `paper` | $[\partial z_1/\partial f^- > 0]$ | the same |
# | `v1` (an earlier version of the paper) | $[f^- > 0]$ | the same |
# | `signed` | $[\partial z_1/\partial f^- > 0]$ | $[\partial z_1/\partial f^- < 0]$ |
# | `gradcam` | $\partial z_1/\partial f^-$ | $-\,\partial z_1/\partial f^-$ |

# %% Four readings of one equation tags=["slide"]
modes = ("paper", "v1", "signed", "gradcam")
maps = {mode: [m[0] for m in model.siamese_attention_of(A_1[:1], A_2[:1], mode=mode)] for mode in modes}
maps["plain mean"] = [attention.mean_map(A)[0] for A in (A_1, A_2)]
outlines = [query.mask(i), gallery.mask(partners[0])]
figures.show_maps(pictures[:2], maps, outlines, ["query", names[0]], "Four modes and the plain mean")

# %% [markdown]
# **Look.** Which of the five could you tell apart without the headings? The plain mean knows neither the pair nor the
# classifier. Section 11 measures how far the others are from it.
#
# > **What the paper leaves open: the sign for picture 2.** *Our choice:* `paper`, the text's one $\alpha$. *The evidence:*
# > networks trained with each reading, printed below; what the maps themselves are worth is asked in section 11 and in
# > notebook 11. *To switch:* `session.run("casn", loss={"siamese_mode": "signed"}, ranking={"siamese_mode": "signed"})`.

# %%
print(*ablation.evidence("siamese_mode"), sep="\n")

# %% [markdown]
# ## 8 · Who comes first?
#
# $f_1 - f_2$ is not $f_2 - f_1$. Nothing forces the classifier to judge $(q, g)$ as it judges $(g, q)$, and so neither
# the probability nor $\alpha$ nor the map need be the same.

# %%
turned = model.pair_scores(-difference).softmax(1)[:, 1]
alpha_turned = model.pair_gradient(-difference) > 0
overlap = (on & alpha_turned).sum(1) / (on | alpha_turned).sum(1)
for name, there, back, share in zip(names, z.softmax(1)[:, 1], turned, overlap, strict=True):
    print(f"{name:16} p(same): (q, g) {there:.3f}, (g, q) {back:.3f}; overlap of the two \u03b1: {share:.0%}")

# %% [markdown]
# That follows from section 4: with the pictures exchanged, $f^-$ changes its sign, and "weaker in picture 1" becomes
# "stronger". The two $\alpha$ are nearly complements, so the *mean* of both orders selects every channel about once: it is
# close to the plain mean of $A$, which knows neither partner nor classifier.

# %%
both = model.siamese_attention_of(A_1, A_2, order="both")
near = [
    attention.map_correlation(m, attention.mean_map(A)).mean().item() for m, A in zip(both, (A_1, A_2), strict=True)
]
print(f"overlap of the two \u03b1 over many pairs {facts['swap_overlap']:.0%} (chance {facts['swap_chance']:.0%})")
print(f"correlation of both orders' mean with the plain mean: {near[0]:.3f} and {near[1]:.3f}")
_, as_second = model.siamese_attention_of(A_2[:1], A_1[:1])
ratio, heads = pictures[0].height / pictures[0].width, ("query first", "query second")
figures.show_difference(M_1[0], as_second[0], heads, "The query's map in both orders", ratio)

# %% [markdown]
# > **What the paper leaves open: the order.** *Our choice:* as given, the query first. *The evidence:* the picture above,
# > and networks trained with both orders averaged, printed below. *To switch:*
# > `session.run("casn", loss={"pair_order": "both"}, ranking={"pair_order": "both"})`.

# %%
print(*ablation.evidence("pair_order"), sep="\n")

# %% [markdown]
# ## 9 · Comparing two maps (equation 5)
#
# **Idea.** Two pictures of one person differ in pose and view, and a detector cuts them differently. But heads stay above
# shoulders: *rows* can be compared, once the person's rows are aligned.

# %% [markdown]
# **Formula.** Take each row's maximum. Keep the rows from the first to the last that exceed the threshold $t$; resize them
# to the full number of rows. This is $M^*$. The distance of two maps is $\lVert M^*_1 - M^*_2 \rVert_2$. The paper's figure
# 6, on our pair:

# %%
figures.show_alignment(pictures[:2], (M_1[0], M_2[0]), t, ("query", names[0]))

# %% [markdown]
# (Where all rows exceed $t$, nothing is cut, and $M^*$ is the row profile itself.) The number under the last panel is
# `attention.attention_distance`. The same by hand, one step a line:

# %%
profiles = [attention.normalise_map(attention.row_profile(M[:1])) for M in (M_1, M_2)]
bounds = [attention.crop_bounds(profile, t) for profile in profiles]
stars = [attention.resize_rows(profile, *bound) for profile, bound in zip(profiles, bounds, strict=True)]
distance = (stars[0] - stars[1]).norm()
assert torch.isclose(distance, attention.attention_distance(M_1[:1], M_2[:1], t)[0], atol=1e-6)
print(f"rows kept: {[(first.item() + 1, last.item() + 1) for first, last in bounds]}, distance {distance:.4f}")

# %% [markdown]
# **What does $t$ do?** A low threshold keeps nearly all rows, a high one keeps the peak and stretches it. The distance
# changes with it, so distances with different $t$ cannot be compared.

# %%
figures.show_thresholds((M_1[0], M_2[0]), (0.25, 0.5, 0.75), pictures[0].height)

# %% [markdown]
# > **What the paper leaves open: the threshold.** Neither its value nor what it is relative to is named. *Our choice:* a
# > fraction of the profile's own maximum; its value stands in the equation 5 picture above. *The evidence:* networks
# > trained with another $t$, printed below. *To switch:*
# > `session.run("casn", loss={"threshold": 0.3}, ranking={"threshold": 0.3})`.

# %%
print(f"here t = {t}")
print(*ablation.evidence("threshold"), sep="\n")

# %% [markdown]
# ## 10 · Do maps of one person agree more?
#
# Training asks for a small distance in pairs of one person, and only in those. Do people never seen show it? One pair would
# be an anecdote, so we look at *every* query and gallery picture, and at two rivals: the same row profiles of the
# **plain mean**, and of an **untrained** pair classifier on the same trunk.

# %%
torch.manual_seed(1)
untrained = ck.CASN.from_config(model.num_ids, casn.info.config.model)
untrained.trunk.load_state_dict(model.trunk.state_dict())
untrained = untrained.to(session.device).eval().requires_grad_(False)
plain = [attention.aligned_profile(attention.mean_map(part.feature_maps), t) for part in (result.query, result.gallery)]
distances = {
    "trained attention": result.distances["attention"],
    "untrained classifier": attention_distances(untrained, result.query, result.gallery, threshold=t).distances,
    "plain mean": torch.cdist(*plain).numpy(),
}

# %%
rows = {}
for name, matrix in distances.items():
    rows |= {f"{name}, one person": matrix[same], f"{name}, two people": matrix[different]}
figures.show_distributions(rows, "distance of the aligned profiles, lower is closer", "Agreement over all pairs")

# %% [markdown]
# **Look at the overlap**, within each kind of map (the kinds have different scales, so their medians say nothing about
# each other). Where the two histograms overlap, the distance decides nothing. Put as one number: draw a pair of one person
# and a pair of two people at random. How often is the first one closer? One half is a coin. (This is the area under the
# ROC curve.)


# %%
def how_often_closer(matrix):
    """Share of (one person, two people) draws in which the one person's pair has the smaller distance, ties half."""
    others = np.sort(matrix[different])
    below = (np.searchsorted(others, matrix[same], "left") + np.searchsorted(others, matrix[same], "right")) / 2
    return 1 - below.mean() / len(others)


# %%
closer = {name: how_often_closer(matrix) for name, matrix in {**distances, "features": by_features}.items()}
for name, share in closer.items():
    print(f"{name:21} one person's pair is closer in {share:.1%} of the draws")
session.expect(closer["features"] > 0.5, "the features rank no better than a coin")
best = max((name for name in distances), key=closer.get)
gain = closer["trained attention"] - closer["untrained classifier"]
lead = closer["features"] - closer[best]
print(f"Of the three maps, '{best}' separates best.")
print(f"Training the pair classifier changed what its attention separates by {100 * gain:+.1f} points.")
print(f"Features against the best map: {100 * lead:+.1f} points.")

# %% [markdown]
# A profile is a *coarse* description: a few numbers for a whole picture. Do not expect it to find a person by itself.
# Whether they *add* something to the features is another question; notebook 07 asks it.

# %% [markdown]
# ## 11 · How much of the map is about the pair?
#
# The sanity check that belongs to every explanation: does it change when what it claims to explain changes? We draw pairs
# of both kinds and correlate each mode's two maps with the plain means of the same feature maps.

# %% How much of the map is about the pair? tags=["slide"]
rng = np.random.default_rng(session.seed)
drawn = np.concatenate([rng.choice(np.flatnonzero(kind), 200) for kind in (same, different)])
q, g = np.unravel_index(drawn, same.shape)
A_q, A_g = (part.feature_maps[k].to(session.device) for part, k in ((result.query, q), (result.gallery, g)))
means = attention.mean_map(torch.cat([A_q, A_g]))
of_mode = {mode: torch.cat(model.siamese_attention_of(A_q, A_g, mode=mode)) for mode in modes}
with_mean = {mode: attention.map_correlation(m, means) for mode, m in of_mode.items()}
label = "correlation of a Siamese map with the plain mean of its picture"
figures.show_distributions(with_mean, label, "How close to a map that knows nothing", limits=(-1, 1))

# %% [markdown]
# And the same map with an untrained classifier instead of the trained one. A map that explains *this classifier's*
# judgement should change beyond recognition.

# %%
with_untrained = attention.map_correlation(of_mode["paper"], torch.cat(untrained.siamese_attention_of(A_q, A_g)))
paper, random = with_mean["paper"].median().item(), with_untrained.median().item()
print(f"the paper's map and the plain mean:            median correlation {paper:.3f}")
print(f"the paper's map, trained and untrained head:   median correlation {random:.3f}")
verdict = "hardly depends" if min(paper, random) > 0.8 else "depends in part" if max(paper, random) > 0.5 else "depends"
farthest = min(modes, key=lambda mode: with_mean[mode].median())
print(f"So the paper's map {verdict} on the pair classifier. Farthest from the plain mean is mode '{farthest}'.")

# %% [markdown]
# Part of that resemblance is built in, and section 5 shows how: $\alpha$ is zero or one, so the channels that are on are
# added with equal weight. Such a sum shares its terms with the sum of *all* channels, and its places are bright where the
# trunk is active anyway. So the paper's map shows well *where the trunk found something*, and less well *why this pair*.
# Weights that keep their size and their sign are free to leave the mean; whether what they show is truer is a question
# for notebook 11. Until then: **read a Siamese map only beside the plain mean.**

# %% [markdown]
# ## A question for the next notebook
#
# You have seen every equation of the paper. **Could you build all of it yourself?** Notebook `05_casn_in_a_hundred_lines`
# does: the network, the four losses and the training loop, in one notebook.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/04_siamese_attention](solutions/04_siamese_attention.ipynb).
#
# **1. Predict.** Compare each picture with **itself**: $f^- = 0$. Is the list of open channels $\alpha$ the same for all
# pictures (`"same"`), or does it differ from picture to picture (`"differs"`)?
#
# <details><summary>Hint</summary>
#
# `model.pair_gradient(torch.zeros_like(difference))`: which hidden units are open if only $b_1$ decides?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "same" or "differs"

# %% tags=["check"]
of_itself = model.pair_gradient(f_2 - f_2) > 0
print(f"{of_itself[0].sum()} of {of_itself.shape[1]} channels are on")
reasons = {
    "same": "the classifier sees zero whatever the picture is; the maps still differ, because the channels do",
    "differs": "alpha depends on the picture only through the difference: what does the classifier see of it here?",
}
exercises.check_choice(my_prediction, "same" if (of_itself == of_itself[0]).all() else "differs", reasons)

# %% [markdown]
# **2. Predict.** Keep half of the channels **at random** instead of $\alpha$. How alike (median correlation) are that map
# and the paper's: `"below 0.5"`, `"0.5 to 0.8"` or `"above 0.8"`?
#
# <details><summary>Hint</summary>
#
# `attention.siamese_map(A_q, chosen)` and `attention.map_correlation`. Think of section 11: which terms do two sums share?
#
# </details>

# %% tags=["exercise"]
my_guess = None  # "below 0.5", "0.5 to 0.8" or "above 0.8"

# %% tags=["check"]
generator = torch.Generator().manual_seed(0)
chosen = (torch.rand(len(A_q), A_q.shape[1], generator=generator) < 0.5).to(A_q)
paper_maps = of_mode["paper"][: len(A_q)]
alike = attention.map_correlation(attention.siamese_map(A_q, chosen), paper_maps).median().item()
print(f"median correlation {alike:.3f}")
reason = "sums of many channels with equal weights share most of what they show: the places where the trunk is active"
reasons = dict.fromkeys(("below 0.5", "0.5 to 0.8", "above 0.8"), reason)
turned_out = "below 0.5" if alike < 0.5 else "0.5 to 0.8" if alike <= 0.8 else "above 0.8"
exercises.check_choice(my_guess, turned_out, reasons)

# %% [markdown]
# **3. Write it.** The crop of section 9: from a profile (a list of numbers, one per row) keep the rows *from the first to
# the last* that exceed $t$ times the profile's maximum.
#
# <details><summary>Hint</summary>
#
# `np.flatnonzero(profile > ...)` gives the places; the last one belongs to the crop.
#
# </details>


# %% tags=["exercise"]
def crop(profile, t):
    """The values of a profile (h,) from the first to the last row above t times its maximum."""


# %% tags=["check"]
def reference(profile, t):
    first, last = attention.crop_bounds(attention.normalise_map(torch.tensor(profile)[None]), t)
    return profile[first.item() : last.item() + 1]


cases = {
    "one peak": (np.array([0.1, 0.2, 0.9, 0.8, 0.1]), 0.5),
    "a dip in the middle": (np.eye(6)[1] + np.eye(6)[4], 0.5),
}
cases["a maximum other than one"] = (np.array([1.0, 1.5, 4.0, 3.0, 0.5]), 0.3)
mistakes = {
    "rows between the first and the last stay, also low ones": lambda p, t: p[p > t * p.max()],
    "the last row belongs to the crop": lambda p, t: reference(p, t)[:-1],
}
exercises.check_function(crop, reference, cases, mistakes)

# %% [markdown]
# **To go on.** Is `order="both"` better at telling people apart than the given order?
# `attention_distances(model, result.query, result.gallery, order="both").distances`, then `how_often_closer`.
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019;
#   an earlier version is arXiv:1811.07487v1.
# - R. R. Selvaraju et al.: *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization*, ICCV 2017.
# - J. Adebayo et al.: *Sanity Checks for Saliency Maps*, NeurIPS 2018.
