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
# Notebook 03 explained one picture by the name of its person. The people we search for have no name yet. The network can only
# say whether **two pictures** show the same person, and this is what we now ask it to explain: **which parts of both pictures
# does the paper's attention select, and do they speak for "the same"?**
#
# ![Two pictures of one person, the network's attention in each, and how its rows line up](../figures/pair-right.webp)
#
# **You will learn** how one gradient gives two maps (the paper's section 3.2 and equation 4), which channels it selects and
# why, which choices are hidden in it, how two maps are compared row by row (equation 5), and how much such a map really
# says about a pair.
#
# **You need** `03_identification_attention`.
# **Runtime** under a minute at `smoke`, and at `quick` with the network that comes with the kit (on pictures of your own,
# some minutes for one training); at `paper` hours on a GPU for one training, or minutes where it is done. **Hardware** a
# laptop; only `paper` asks for a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures
if "google.colab" in str(get_ipython()):  # docs/elsewhere.md
    get_ipython().run_line_magic("pip", "install -q casnkit-*.whl")

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
# We take a query that the features solve well. Its partners are the three closest gallery pictures of the same person from
# other cameras (fewer, if there are not so many) and the three closest pictures of *other* people. None of these people was
# seen in training.

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
# **Idea.** Both pictures go through *the same* network. The pair classifier sees only the difference of their features.

# %% [markdown]
# **Formula.** $f^- = f_1 - f_2$, then two layers: $z = b(f^-)$ with two scores, $z_0$ for *different* and $z_1$ for *same*.
#
# Below we repeat the query, so that row $p$ of every array belongs to pair $p$: the query and its $p$-th partner.

# %%
A_1 = result.query.feature_maps[[i] * len(partners)].to(session.device)
A_2 = result.gallery.feature_maps[partners].to(session.device)
f_1, f_2 = model.pool(A_1), model.pool(A_2)
difference = f_1 - f_2
figures.show_weights(difference[0], title=f"f\u207b for the pair (query, {names[0]})", label="f\u207b")

# %% [markdown]
# What does the classifier say about these pairs?

# %%
z = model.pair_scores(difference)
for name, scores, probability in zip(names, z, z.softmax(1)[:, 1], strict=True):
    print(f"{name:16} z_1 = {scores[1]:+.2f}, p(same) = {probability:.3f}")

# %% [markdown]
# A few pairs say little. Here are all queries with all gallery pictures (300 queries, if the set is large):

# %%
f_g, asked = result.gallery.features.to(session.device), np.arange(len(query))[:: max(1, len(query) // 300)]
f_q = result.query.features[asked].to(session.device)
p_of_pairs = np.stack([model.pair_scores(f - f_g).softmax(1)[:, 1].cpu().numpy() for f in f_q])
judged = {"one person": p_of_pairs[same[asked]], "two people": p_of_pairs[different[asked]]}
figures.show_distributions(judged, "p(same person)", "What the pair classifier says", limits=(0, 1))

# %% [markdown]
# > **What the paper leaves open: how the pair classifier learns.** In equation 6 its loss has a weight of only 0.05. With
# > one learning rate for all parts it hardly changes in a short training: both histograms above become one narrow peak,
# > and every map explains a judgement that does not exist. *Our choice:* at `smoke` and `quick` the pair classifier has
# > its own learning rate and weight decay. It learns as if its loss had the weight 1, while the trunk still gets the
# > weight 0.05. At `paper` there is one rate for all. *The evidence:* the picture above, and the change of mAP, printed
# > below. *To switch:* `session.run("casn", pair_rate=1.0, pair_weight_decay=None)`.

# %%
ck.notebook.say(*ablation.evidence("pair_rate"))

# %% [markdown]
# ## 3 · The gradient of $z_1$
#
# **Idea.** Which components of the difference would raise "same" if they grew a little?

# %% [markdown]
# **Formula.** $\partial z_1 / \partial f^-$. The classifier is two matrices with a ReLU between them, $z =
# W_2\,\mathrm{ReLU}(W_1 f^- + b_1) + b_2$. So we can write the gradient down: the ReLU lets some hidden units through
# and stops the others. *Which* units are open depends on the pair; section 6 comes back to this.

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
# **Formula (equation 4).** $\alpha_k = 1$ where $\partial z_1/\partial f^-_k > 0$, else $0$. Only the sign of the gradient is
# kept, its size is dropped. What remains is a list of channels that are *on*.

# %%
alpha, _ = attention.siamese_weights(gradient, difference, "paper")
figures.show_indicators(alpha.cpu(), names, "\u03b1 for one query and its partners")

# %% [markdown]
# **Look.** Long columns are channels that are on *for every partner*. How different are these lists? We count the channels
# that switch. We also compare each list with the first one: the *overlap* is the number of channels on in both, divided by
# the number on in at least one.

# %%
on = alpha > 0
switching = (on.any(0) & ~on.all(0)).sum()
overlap = (on & on[0]).sum(1) / (on | on[0]).sum(1)
print(f"{switching} of {on.shape[1]} channels switch among these pairs, {on.all(0).sum()} are on in all")
for name, value in zip(names[1:], overlap[1:], strict=True):
    print(f"overlap of the first pair with ({name}): {value:.0%}")

# %% [markdown]
# **Which channels does $\alpha$ select?** We can derive this. Write $z_1$ as a sum over the hidden units $u$:
#
# $$z_1 = b + \sum_u v_u\,\mathrm{ReLU}(w_u \cdot f^- + b_u).$$
#
# *Step 1.* The classifier has to give a high $z_1$ to small differences and a low $z_1$ to large ones. Training reaches
# this by making nearly all $v_u$ negative. Then $z_1$ is a constant minus a sum of ReLUs. The sum is small near $f^- =
# 0$ and grows in every direction: it behaves like a norm.
#
# *Step 2.* Take the simplest case, $z_1 = b - \lVert f^- \rVert$. Its gradient points back to zero:
#
# $$\frac{\partial z_1}{\partial f^-} = -\frac{f^-}{\lVert f^- \rVert}, \qquad\text{so}\qquad
# \alpha_k = [f^-_k < 0] = [f_{1k} < f_{2k}].$$
#
# So $\alpha$ selects **the channels in which picture 1 is weaker than picture 2**. It does not select what both pictures
# share, and it says nothing about the person.
#
# *Step 3.* Exchange the two pictures. Then $f^-$ changes its sign, and $\alpha$ becomes its complement $1 - \alpha$.
#
# The real sum of ReLUs is not exactly a norm. How well does this description fit? We measure it on many pairs.

# %%
everybody = np.argwhere(same | different)
drawn = everybody[np.random.default_rng(0).permutation(len(everybody))[:1000]]
sides = result.query.features[drawn[:, 0]], result.gallery.features[drawn[:, 1]]
facts, f_minus = siamese.alpha_facts(model, *sides), (sides[0] - sides[1]).to(session.device)
back = (model.pair_gradient(f_minus) * f_minus).sum(1) < 0
print(f"hidden units with a positive v_u: {facts['positive_weights']:.0%}")
print(f"pairs whose gradient points back to zero: {back.float().mean():.0%}")
print(f"alpha is [f- < 0] in {facts['weaker']:.0%} of the channels (by chance 50 %),", end=" ")
print(f"in {facts['weaker_weighted']:.0%} if each counts by the size of f-")
print(f"overlap of alpha in both orders: {facts['swap_overlap']:.0%} (by chance {facts['swap_chance']:.0%})")
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
# As in notebook 03, the mean over places gives the weights without a backward pass: $\alpha_k / hw$.
#
# What happens to the maps if we exchange the pictures? By step 3, $\alpha$ becomes about $1 - \alpha$. The two maps of one
# picture, one for each order, then add up to
#
# $$M_j + M_j^{\text{exchanged}} \approx \frac{1}{hw}\sum_k \big(\alpha_k + 1 - \alpha_k\big) A_{jk}
# = \frac{1}{hw}\sum_k A_{jk}.$$
#
# Up to a factor, this is the **plain mean** of all channels. So the average over both orders says almost nothing about the
# pair.

# %%
M_1, M_2 = (attention.siamese_map(A, alpha) for A in (A_1, A_2))
for ours, kit in zip((M_1, M_2), model.siamese_attention_of(A_1, A_2), strict=True):
    assert torch.allclose(ours, kit)
by_autograd = attention.autograd_map(A_1, lambda a: (alpha * model.pool(a)).sum(1))
print(f"closed form against autograd: {(M_1 - by_autograd).abs().max() / M_1.max():.1e} of the maximum")
assert torch.allclose(M_1, by_autograd, atol=1e-5 * M_1.max().item())

# %% [markdown]
# Here is the first pair, and below it the same pair with the gallery picture first. **Move the threshold $t$** and point at
# rows and cells. The two dashed lines keep the rows from the first to the last above $t$; section 9 needs them. Then compare
# the two maps of one picture: which places change with the order?

# %%
t, p_same = casn.info.config.ranking.threshold, z.softmax(1)[0, 1]
exchanged = model.siamese_attention_of(A_2[:1], A_1[:1])[::-1]  # shown as query, gallery again
p_exchanged = model.pair_scores(-difference[:1]).softmax(1)[0, 1]
title = f"The query first: p(same) {p_same:.2f} ({names[0]})"
ck.notebook.show(pictures[:2], (M_1[0], M_2[0]), title=title, threshold=t)
title = f"The gallery picture first: p(same) {p_exchanged:.2f}"
ck.notebook.show(pictures[:2], [m[0] for m in exchanged], title=title, threshold=t)

# %% [markdown]
# Now all partners in the order of section 1, with the Siamese attention of each pair. The query's map is drawn once for each
# partner.

# %%
seen = [(pictures[0], picture) for picture in pictures[1:]]
pair_maps = {"Siamese attention": (M_1, M_2), "plain mean": [attention.mean_map(A) for A in (A_1, A_2)]}
pair_maps = {name: list(zip(*both, strict=True)) for name, both in pair_maps.items()}
labels = [f"{name}, p(same) {p:.2f}" for name, p in zip(names, z.softmax(1)[:, 1], strict=True)]
figures.show_gallery_of_methods(seen, pair_maps, labels, title="A query and its gallery")

# %% [markdown]
# **The map adds up to the score.** Since $A \geq 0$ and $\alpha \geq 0$, the ReLU changes nothing, and
# $\sum_{ij} M_j = \langle \alpha, f_j \rangle = s_j$ exactly. The map spreads the score over the picture.

# %%
s_1, s_2 = (alpha * f_1).sum(1), (alpha * f_2).sum(1)
assert torch.allclose(M_1.sum((1, 2)), s_1, rtol=1e-4)
assert torch.allclose(M_2.sum((1, 2)), s_2, rtol=1e-4)
for name, total, score in zip(names, M_2.sum((1, 2)), s_2, strict=True):
    print(f"{name:16} sum of M_2 = {total:.5f}, s_2 = {score:.5f}")

# %% [markdown]
# ## 6 · What if there is no activation between the two layers?
#
# **Idea.** Without an activation, $z = W_2 W_1 f^- + \dots$ is linear. The gradient of a linear function is the same
# everywhere, so *all* pairs have one $\alpha$. The map of a picture then cannot depend on its partner.

# %% [markdown]
# We put an untrained linear classifier on the trained trunk. Training it would change which channels are on, but they would
# still be the same for all pairs. We also compare the query's maps, once with the linear classifier and once with ours.

# %%
torch.manual_seed(0)
linear = ck.CASN.from_config(model.num_ids, session.config("casn", pair_activation="none").model)
linear.trunk.load_state_dict(model.trunk.state_dict())
linear = linear.to(session.device).eval().requires_grad_(False)
alpha_linear = (linear.pair_gradient(difference) > 0).float()
assert (alpha_linear == alpha_linear[0]).all()
for name, network in {"linear": linear, "with ReLU": model}.items():
    of_query, _ = network.siamese_attention_of(A_1, A_2)
    change = (of_query - of_query[0]).abs().amax((1, 2)) / of_query[0].max()
    print(f"{name:9} the query's map changes with the partner by {100 * change.max():.2f} % of its maximum, at most")
    assert name != "linear" or change.max() < 1e-6
    session.expect(name == "linear" or change.max() > 1e-6, "no partner opens or closes a hidden unit")
figures.show_indicators(alpha_linear.cpu(), names, "\u03b1 with a linear pair classifier")

# %% [markdown]
# > **What the paper leaves open: the activation.** It asks for two fully connected layers and names no activation. The
# > public head that is used most has none. *Our choice:* ReLU, because otherwise the map cannot depend on the partner. *The
# > evidence:* the percentages above, and networks trained with and without, printed below. *To switch:*
# > `session.run("casn", pair_activation="none")`. The kit notices a linear head, and then computes one map for each picture
# > instead of one for each pair.

# %%
ck.notebook.say(*ablation.evidence("pair_activation"))

# %% [markdown]
# ## 7 · Four readings of one equation
#
# The text uses one $\alpha$ for both pictures. But $\partial z_1/\partial f_2 = -\,\partial z_1/\partial f^-$: for the
# second picture the sign is the opposite. So there are several reasonable readings:
#
# | mode | weights of picture 1 | of picture 2 |
# |---|---|---|
# | `paper` | $[\partial z_1/\partial f^- > 0]$ | the same |
# | `v1` (an earlier version of the paper) | $[f^- > 0]$ | the same |
# | `signed` | $[\partial z_1/\partial f^- > 0]$ | $[\partial z_1/\partial f^- < 0]$ |
# | `gradcam` | $\partial z_1/\partial f^-$ | $-\,\partial z_1/\partial f^-$ |

# %%
modes = ("paper", "v1", "signed", "gradcam")
maps = {mode: [m[0] for m in model.siamese_attention_of(A_1[:1], A_2[:1], mode=mode)] for mode in modes}
maps["plain mean"] = [attention.mean_map(A)[0] for A in (A_1, A_2)]
outlines = [query.mask(i), gallery.mask(partners[0])]
figures.show_maps(pictures[:2], maps, outlines, ["query", names[0]], "Four modes and the plain mean")

# %% [markdown]
# **Look.** Which of the five could you tell apart without the headings? The plain mean uses neither the pair nor the
# classifier. Section 11 measures how far the others are from it.
#
# > **What the paper leaves open: the sign for picture 2.** *Our choice:* `paper`, the text's one $\alpha$. *The evidence:*
# > networks trained with each reading, printed below. Section 11 and notebook 11 ask how good the maps themselves are. *To
# > switch:* `session.run("casn", loss={"siamese_mode": "signed"}, ranking={"siamese_mode": "signed"})`.

# %%
ck.notebook.say(*ablation.evidence("siamese_mode"))

# %% [markdown]
# ## 8 · Which picture comes first?
#
# $f_1 - f_2$ is not $f_2 - f_1$. Nothing makes the classifier treat $(q, g)$ and $(g, q)$ alike, so the probability, $\alpha$
# and the map may all depend on the order. Here are the numbers for our partners.

# %%
turned = model.pair_scores(-difference).softmax(1)[:, 1]
alpha_turned = model.pair_gradient(-difference) > 0
overlap = (on & alpha_turned).sum(1) / (on | alpha_turned).sum(1)
for name, there, back, share in zip(names, z.softmax(1)[:, 1], turned, overlap, strict=True):
    print(f"{name:16} p(same): (q, g) {there:.3f}, (g, q) {back:.3f}; overlap of the two \u03b1: {share:.0%}")

# %% [markdown]
# If the two $\alpha$ were exact complements, the average of both orders would be the plain mean (section 5). How close is it?

# %%
both = model.siamese_attention_of(A_1, A_2, order="both")
for side, maps_of_both, maps_of_one, A in zip(("query", "gallery"), both, (M_1, M_2), (A_1, A_2), strict=True):
    near = [attention.map_correlation(m, attention.mean_map(A)).mean() for m in (maps_of_both, maps_of_one)]
    print(f"{side:7} correlation with the plain mean: both orders {near[0]:.3f}, the given order {near[1]:.3f}")

# %% [markdown]
# > **What the paper leaves open: the order.** *Our choice:* as given, the query first. *The evidence:* the numbers above,
# > and networks trained with both orders averaged, printed below. *To switch:*
# > `session.run("casn", loss={"pair_order": "both"}, ranking={"pair_order": "both"})`.

# %%
ck.notebook.say(*ablation.evidence("pair_order"))

# %% [markdown]
# ## 9 · Comparing two maps (equation 5)
#
# **Idea.** Two pictures of one person differ in pose and view, and a detector crops them differently. But heads stay above
# shoulders. So we can compare *rows*, once the person's rows are aligned.

# %% [markdown]
# **Formula.** Take the maximum of each row. Keep the rows from the first to the last that exceed the threshold $t$, and
# resize them to the full number of rows. The result is $M^*$. The distance of two maps is $\lVert M^*_1 - M^*_2
# \rVert_2$.
#
# In most pairs all rows exceed $t$, and nothing is cut. *Rule:* of all queries with their closest true match (at most
# 300), we show the pair that keeps the fewest rows. This is our counterpart to the paper's figure 6.

# %%
near = np.where(same, by_features, np.inf)
with_match = np.flatnonzero(np.isfinite(near.min(1)))[:300]
closest = near[with_match].argmin(1)
chosen = (result.query, with_match), (result.gallery, closest)
close = model.siamese_attention_of(*(part.feature_maps[index].to(session.device) for part, index in chosen))
bounds = [attention.crop_bounds(attention.row_profile(m), t) for m in close]
fewest = int(sum(last - first + 1 for first, last in bounds).argmin())
cropped, maps_5 = [query.image(with_match[fewest]), gallery.image(closest[fewest])], [m[[fewest]] for m in close]
figures.show_alignment(cropped, [m[0] for m in maps_5], t, ("query", "its closest true match"))

# %% [markdown]
# The number under the last panel is `attention.attention_distance`. Here is the same by hand, one step a line:

# %%
profiles = [attention.normalise_map(attention.row_profile(M)) for M in maps_5]
bounds = [attention.crop_bounds(profile, t) for profile in profiles]
stars = [attention.resize_rows(profile, *bound) for profile, bound in zip(profiles, bounds, strict=True)]
distance = (stars[0] - stars[1]).norm()
assert torch.isclose(distance, attention.attention_distance(*maps_5, t)[0], atol=1e-6)
kept = [f"{first.item() + 1} to {last.item() + 1}" for first, last in bounds]
print(f"rows kept of {profiles[0].shape[1]}: {kept[0]} in the query, {kept[1]} in the match; distance {distance:.4f}")

# %% [markdown]
# **What does $t$ do?** A low threshold keeps nearly all rows. A high one keeps only the peak and stretches it. The distance
# changes too, so distances with different $t$ cannot be compared. Move $t$ in the viewer and watch the rows; below it are
# the distances for three fixed values.

# %%
ck.notebook.show(cropped, [m[0] for m in maps_5], title="Equation 5: move the threshold", threshold=t)

# %%
for value in (0.25, 0.5, 0.75):
    print(f"t = {value}: distance {attention.attention_distance(*maps_5, value).item():.3f}")

# %% [markdown]
# > **What the paper leaves open: the threshold.** It names neither its value nor what it is relative to. *Our choice:* a
# > share of the profile's own maximum; the value is printed below. *The evidence:* networks trained with another $t$,
# > printed below. *To switch:* `session.run("casn", loss={"threshold": 0.3}, ranking={"threshold": 0.3})`.

# %%
print(f"here t = {t}")
ck.notebook.say(*ablation.evidence("threshold"))

# %% [markdown]
# ## 10 · Do maps of one person agree more?
#
# Training asks for a small distance in pairs of one person, and only in those. Does this carry over to new people? One pair
# proves nothing, so we look at *every* query and gallery picture. For comparison we take the same row profiles of the **plain
# mean**, and of an **untrained** pair classifier on the same trunk.

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
# **Look at the overlap** within each kind of map. (The kinds have different scales, so do not compare their medians.)
# Where the two histograms overlap, the distance cannot decide. We turn this into one number: draw a pair of one person
# and a pair of two people at random. How often is the first pair closer? One half means chance. (This is the area under
# the ROC curve.)


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
session.expect(closer["features"] > 0.5, "the features rank no better than chance")
best = max((name for name in distances), key=closer.get)
gain = closer["trained attention"] - closer["untrained classifier"]
lead = closer["features"] - closer[best]
print(f"Of the three maps, '{best}' separates best.")
print(f"Training the pair classifier changed what its attention separates by {100 * gain:+.1f} points.")
print(f"Features against the best map: {100 * lead:+.1f} points.")

# %% [markdown]
# A profile is a *rough* description: a few numbers for a whole picture. It is not expected to find a person alone. Whether
# profiles *add* something to the features is another question; notebook 07 asks it.

# %% [markdown]
# ## 11 · How much of the map is about the pair?
#
# Every explanation needs this check: does it change when the thing that it claims to explain changes? We draw pairs of both
# kinds and correlate the two maps of each mode with the plain means of the same feature maps.

# %%
rng = np.random.default_rng(session.seed)
drawn = np.concatenate([rng.choice(np.flatnonzero(kind), 200) for kind in (same, different)])
q, g = np.unravel_index(drawn, same.shape)
A_q, A_g = (part.feature_maps[k].to(session.device) for part, k in ((result.query, q), (result.gallery, g)))
means = attention.mean_map(torch.cat([A_q, A_g]))
of_mode = {mode: torch.cat(model.siamese_attention_of(A_q, A_g, mode=mode)) for mode in modes}
with_mean = {mode: attention.map_correlation(m, means) for mode, m in of_mode.items()}
label = "correlation of a Siamese map with the plain mean of its picture"
figures.show_distributions(with_mean, label, "How close to a map without pair and classifier", limits=(-1, 1))

# %% [markdown]
# Now the same map with an untrained classifier instead of the trained one. A map that explains the judgement of *this
# classifier* should change completely.

# %%
with_untrained = attention.map_correlation(of_mode["paper"], torch.cat(untrained.siamese_attention_of(A_q, A_g)))
paper, random = with_mean["paper"].median().item(), with_untrained.median().item()
print(f"the paper's map and the plain mean:            median correlation {paper:.3f}")
print(f"the paper's map, trained and untrained head:   median correlation {random:.3f}")
verdict = "hardly depends" if min(paper, random) > 0.8 else "depends in part" if max(paper, random) > 0.5 else "depends"
farthest = min(modes, key=lambda mode: with_mean[mode].median())
print(f"So the paper's map {verdict} on the pair classifier. Farthest from the plain mean is mode '{farthest}'.")

# %% [markdown]
# Part of this similarity is built in, and section 5 shows how. $\alpha$ is zero or one, so the channels that are on are added
# with equal weight. Such a sum shares many terms with the sum of *all* channels, and both are bright where the trunk is
# active. So the paper's map shows well *where the trunk found something*, and less well *why this pair was judged the same*.
# Weights that keep their size and sign can differ more from the mean. Whether they show something truer is a question for
# notebook 11. Until then: **read a Siamese map only beside the plain mean.**

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
# **1. Predict.** Compare each picture with **itself**: $f^- = 0$. Is $\alpha$ the same list of channels for all pictures
# (`"same"`), or does it differ from picture to picture (`"differs"`)?
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
if my_prediction is not None:
    print(f"{of_itself[0].sum()} of {of_itself.shape[1]} channels are on")
reasons = {
    "same": "the classifier sees zero for every picture; the maps still differ, because the channels do",
    "differs": "alpha depends on the picture only through the difference: what does the classifier see of it here?",
}
exercises.check_choice(my_prediction, "same" if (of_itself == of_itself[0]).all() else "differs", reasons)

# %% [markdown]
# **2. Predict.** Keep half of the channels **at random** instead of $\alpha$. How similar (median correlation) are that map
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
if my_guess is not None:
    print(f"median correlation {alike:.3f}")
reason = "sums of many channels with equal weights share most of what they show: the places where the trunk is active"
reasons = dict.fromkeys(("below 0.5", "0.5 to 0.8", "above 0.8"), reason)
turned_out = "below 0.5" if alike < 0.5 else "0.5 to 0.8" if alike <= 0.8 else "above 0.8"
exercises.check_choice(my_guess, turned_out, reasons)

# %% [markdown]
# **3. Write it.** Implement the distance of equation 5. Given are two row profiles, tensors (h,) of positive numbers,
# and $t$, a share of each profile's own maximum. Use PyTorch alone.
#
# <details><summary>Hint</summary>
#
# For each profile: divide it by its maximum; `(profile > t).nonzero()` gives the rows above $t$; keep *all* rows from
# the first to the last of them; stretch with `torch.nn.functional.interpolate(rows[None, None], h, mode="linear")[0,
# 0]`. At the end: the length of the difference.
#
# </details>


# %% tags=["exercise"]
def my_distance(profile_1, profile_2, t):
    """Equation 5's distance of two row profiles: (h,), (h,) -> a single number."""


# %% tags=["check"]
def reference(p, q, t, **how):
    stars = [attention.align_rows(profile[None], t, **how) for profile in (p, q)]
    return (stars[0] - stars[1]).norm()


def with_rows(choose):
    def distance(p, q, t):
        rows = [choose(profile / profile.max(), t)[None, None] for profile in (p, q)]
        first, second = (torch.nn.functional.interpolate(kept, len(p), mode="linear") for kept in rows)
        return (first - second).norm()

    return distance


one, two = torch.tensor([0.1, 0.2, 0.9, 0.8, 0.6, 0.1]), torch.tensor([0.3, 1.0, 0.1, 0.2, 0.7, 0.2])
cases = {
    "two persons' rows": (one, two, 0.5),
    "larger maxima": (3 * one, 2 * two, 0.5),
    "a lower t": (2 * two, one, 0.15),
}
mistakes = {
    "divide each profile by its own maximum first": lambda *given: reference(*given, scale="raw"),
    "the rows are not cropped": lambda p, q, t: reference(p, q, 0.0),
    "that is the squared distance": lambda *given: reference(*given) ** 2,
    "rows between the first and the last stay, also low ones": with_rows(lambda p, t: p[p > t]),
    "the last row above t belongs to the crop": with_rows(
        lambda p, t: p[(p > t).nonzero().min() : (p > t).nonzero().max()]
    ),
}
exercises.check_function(my_distance, reference, cases, mistakes)

# %% [markdown]
# **To go on.** Does `order="both"` tell people apart better than the given order?
# `attention_distances(model, result.query, result.gallery, order="both").distances`, then `how_often_closer`.
#
# ## Recap
#
# Answer each question in your head, then open it.
#
# <details><summary>1. Which channels does α select in a trained network, and why?</summary>
#
# Mostly those in which picture 1 is weaker than picture 2. The score $z_1$ falls with the size of the difference, so its
# gradient points along $-f^-$, and it is positive where $f^-$ is negative.
#
# </details>
#
# <details><summary>2. Why does averaging both orders give nearly the plain mean?</summary>
#
# Exchanging the pictures turns $\alpha$ into nearly $1 - \alpha$. In the average every channel is on about once.
#
# </details>
#
# <details><summary>3. Two maps of one person have a distance of zero by equation 5. Must the maps be equal?</summary>
#
# No. Equation 5 compares only the maximum of each row, after cropping and stretching. Where in a row the maximum stands does
# not matter, nor does the scale of the map.
#
# </details>
#
# ## Essay question
#
# The paper says that $\alpha$ finds "the features that have a positive influence on the final prediction". Write a page for a
# reader who knows gradients: is this sentence right, what does $\alpha$ select in a trained network, and what does this mean
# for the pictures of Siamese attention in a paper?
#
# <details><summary>Rubric (10 points)</summary>
#
# - 2: says what is right: a positive derivative means that a small *growth* of this component of $f^-$ raises $z_1$.
# - 3: derives $\alpha_k \approx [f_{1k} < f_{2k}]$ from a constant minus a norm, and says where the derivation is only
#   approximate.
# - 2: explains the complement when the pictures are exchanged, and the plain mean of both orders.
# - 2: uses measured numbers of this lesson (agreement, overlap, correlation with the plain mean).
# - 1: asks for the plain mean beside every published map.
#
# </details>
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019;
#   an earlier version is arXiv:1811.07487v1.
# - R. R. Selvaraju et al.: *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization*, ICCV 2017.
# - J. Adebayo et al.: *Sanity Checks for Saliency Maps*, NeurIPS 2018.
