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
# # 11 · Captum comparison
#
# So far every attention map came from one equation. There are many other ways to ask a network *where* its answer comes from,
# and their answers differ. **Which of them can you believe, and is the paper's map among them?**
#
# ![A right match, a wrong one and a look-alike with the maps of six methods over both images](../figures/explanations.webp)
#
# **You will learn** to ask many methods the same question (half of them come from the library captum), to check that they
# compute what they promise, and to judge a map by three tests that do not depend on taste. Does it lie on the person? Do the
# pixels that it marks matter? Does it change when the thing that it should explain changes?
#
# **You need** `04_siamese_attention`; it helps to have seen `10_failures_and_rank_changes`.
# **Runtime** under a minute at `smoke`; at `quick` two or three minutes on two cores if the networks that come with the kit
# fit your data, otherwise five more for one training; at `paper` hours on a GPU for the training, or minutes if it is done.
# **Hardware** a laptop; only `paper` needs a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures
if "google.colab" in str(get_ipython()):  # docs/elsewhere.md
    get_ipython().run_line_magic("pip", "install -q casnkit-*.whl")

# %%
import numpy as np
import pandas as pd
import seaborn
import torch

import casnkit as ck
from casnkit import attention, evaluation, exercises, explain, figures, report

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · Pairs of three kinds
#
# Which pairs do we use? If we pick them by hand, we pick the ones that look nice. So a rule picks them. It draws queries at
# random, and each query gives one pair: a **right** match (its nearest picture of the same person), a **wrong** match (the
# first picture of its ranking, if that shows somebody else) or, for drawn people, a **look-alike** (the person who differs in
# one piece of clothing only).

# %%
from casnkit.explain.league import choose_pairs

casn = session.run("casn")
model, config = casn.model.requires_grad_(False).eval(), casn.info.config
retrieval = casn.result
pairs = choose_pairs(retrieval, 12 if session.profile == "smoke" else 36)
print(pairs.counts(), *pairs.notes)

# %%
queries, galleries = (retrieval.images(side, pairs.pairs[:, k]) for k, side in enumerate(("query", "gallery")))
first = [int(np.flatnonzero(pairs.kinds == kind)[0]) for kind in dict.fromkeys(pairs.kinds.tolist())]
few = queries[first], galleries[first]  # one pair of each kind
splits = session.dataset.query, session.dataset.gallery
pictures = [tuple(s.image(j) for s, j in zip(splits, pairs.pairs[p], strict=True)) for p in first]
outlines = [tuple(s.mask(j) for s, j in zip(splits, pairs.pairs[p], strict=True)) for p in first]

# %% [markdown]
# ## 2 · One question, six answers
#
# **Idea.** The question is always the same: which places in these two pictures does the score $z_1$ for *the same person*
# come from? These six methods answer it in different ways. Read the table before you look at any picture.
#
# | method | what it computes | cost |
# |---|---|---|
# | `plain-mean` | the mean of all channels of one picture; it uses neither the partner nor a classifier | one forward pass |
# | `siamese` | equation 4: the sum of the channels in which $z_1$ rises with $f^-$; only the sign counts | one forward pass |
# | `siamese-gradcam` | Grad-CAM of $z_1$: channels weighted by the derivative, with its size and sign | one forward pass |
# | `evidence` | our own: what both pictures have in common in the channels to which $z_1$ reacts most | one forward pass |
# | `correspondence` | the similarity of the features, divided over *pairs of places* of the two pictures | one forward pass |
# | `integrated-gradients` | the gradient at each pixel, averaged on the way from grey to the picture | tens of passes |
#
# The plain mean explains nothing, so every other map has to do better. Only the correspondence also shows which place of
# one picture goes with which place of the other.
#
# One function computes them all, except the correspondence, which is not a pair of maps:

# %%
found = explain.explain(model, *few, "siamese")
p_same = model.pair_scores(model.pool(model.feature_map(few[0])) - model.pool(model.feature_map(few[1]))).softmax(1)
print(f"explains {found.target!r}; a map for each image: {tuple(found.query.shape)} and {tuple(found.gallery.shape)}")
labels = [f"{pairs.kinds[p]}, p(same) {p_same[n, 1]:.2f}" for n, p in enumerate(first)]

# %% [markdown]
# **Formula.** On the maps $A_j$ of a trunk with average pooling, the four closed forms differ only in the weights $w_{jk}$
# of $M_j = \mathrm{ReLU}\big(\sum_k w_{jk} A_{jk}\big)$. With $g_k = \partial z_1 / \partial f^-_k$ they are, up to a
# constant: $1$ for the plain mean, $[g_k > 0]$ for equation 4, $g_k$ (picture 1) and $-g_k$ (picture 2) for Grad-CAM, and
# for the evidence $\big(|g_k| - \text{mean}\,|g|\big) \cdot \min(f_{1k}, f_{2k}) / f_{jk}$, with $g$ averaged on the way
# from $f^- = 0$.

# %%
five = ["plain-mean", "siamese", "siamese-gradcam", "evidence", "integrated-gradients"]
cheap = {"integrated-gradients": {"steps": 10}, "smoothgrad": {"samples": 4}, "occlusion": {"window": (16, 16)}}
asked = {name: explain.explain(model, *few, name, **cheap.get(name, {})).cpu() for name in five}
gallery_of = {name: list(zip(m.query, m.gallery, strict=True)) for name, m in asked.items()}
figures.show_gallery_of_methods(pictures, gallery_of, labels, outlines, "Five answers")

# %% [markdown]
# **Look.** Cover the headings. Can you tell which row is the *wrong* match, where the map should show the reason for an
# error? If you found a good story for one column, look at the next column: it tells another one, and that sounds just as
# good.
#
# The sixth method answers a question that two separate maps cannot: *which place goes with which?* With average pooling, the
# inner product of two features is a sum over all pairs of cells, without remainder. Divided by both lengths it is the cosine:
#
# $$\cos(f_1, f_2) = \sum_{i, j} M_{ij}, \qquad
# M_{ij} = \frac{\langle A_{1i}, A_{2j} \rangle}{h_1 w_1 h_2 w_2\, |f_1|\, |f_2|}.$$
#
# Point at a place of one picture below: the other picture shows the places that are similar to it. The lines join cells that
# are each other's best partner.

# %%
matrix = explain.correspondence(model, few[0][:1], few[1][:1])[0].cpu()
f_1, f_2 = (model.pool(model.feature_map(x[:1])) for x in few)
cosine = torch.nn.functional.cosine_similarity(f_1, f_2).item()
print(f"{len(matrix)} times {len(matrix.T)} pairs of cells add up to {matrix.sum():.4f}; the cosine is {cosine:.4f}")
assert abs(matrix.sum().item() - cosine) < 1e-4
width = asked["siamese"].query.shape[2]
for *cells, value in explain.mutual_best(matrix[None])[0][:3]:
    one, two = (f"row {cell // width + 1}, column {cell % width + 1}" for cell in cells)
    print(f"query {one} with gallery picture {two}: {value / cosine:.2%} of the similarity")
sides = asked["siamese"].query[0], asked["siamese"].gallery[0]
ck.notebook.show(pictures[0], sides, matrix=matrix, title="Siamese attention, and which places are similar")

# %% [markdown]
# **More methods.** First one more of our own: $z_1$ divided over the places of both pictures. Then captum's. They use
# **gradients** down to the feature map or the pixels (Grad-CAM, guided Grad-CAM, saliency, SmoothGrad), or they **hide**
# one window after the other and watch the score (occlusion).

# %%
others = ["score-decomposition", "layer-gradcam", "guided-gradcam", "saliency", "smoothgrad", "occlusion"]
asked |= {name: explain.explain(model, *few, name, **cheap.get(name, {})).cpu() for name in others}
gallery_of = {name: list(zip(asked[name].query, asked[name].gallery, strict=True)) for name in others}
figures.show_gallery_of_methods(pictures, gallery_of, labels, outlines, "Six more")

# %% [markdown]
# **Guided Grad-CAM can be empty, and this is not an error of the picture.** Guided backpropagation lets only positive
# gradients pass each ReLU, also the ReLU inside the pair classifier. In a well trained pair classifier, almost all weights
# from the hidden layer to $z_1$ are negative. Then nothing passes, and the map is zero everywhere. After a short training
# some weights are still positive. In our network:

# %%
guided = asked["guided-gradcam"]
empty = sum(not (one.any() or two.any()) for one, two in zip(guided.query, guided.gallery, strict=True))
last = [layer for layer in model.pair_head.modules() if isinstance(layer, torch.nn.Linear)][-1]
print(f"guided Grad-CAM is zero everywhere for {empty} of {len(first)} pairs")
print(
    f"weights from the hidden layer to z_1 that are above zero: {(last.weight[1] > 0).sum()} of {last.weight.shape[1]}"
)

# %% [markdown]
# A method can work on one network and return nothing on another. So look at the raw numbers before you interpret a picture.
#
# Do the methods agree with each other? We correlate the maps of every two methods, on the coarsest grid of all:

# %%
matrix = pd.DataFrame(explain.agreement(asked), list(asked), list(asked))
with figures.figure_style():
    figure = figures.style.new_figure(8, 7, "Which methods say the same? 1 the same up to scale, 0 nothing in common")
    look = {"annot": True, "fmt": ".1f", "vmin": -1, "vmax": 1, "cmap": "RdBu", "cbar": False, "square": True}
    seaborn.heatmap(matrix, ax=figure.subplots(), **look)
figure

# %% [markdown]
# Find the blue blocks: the methods inside a block give nearly the same map under different names. Then look which methods are
# close to the plain mean, which explains nothing. (A row of zeros is a method whose maps have no pattern here.)
#
# The methods also differ in cost:

# %% tags=["timing"]
print(f"{len(first)} pairs at once on {session.device}")
costs = {name: 1000 * asked[name].seconds / len(first) for name in asked}
evaluation.table([{"method": name, "ms a pair": costs[name]} for name in sorted(costs, key=costs.get)])

# %% [markdown]
# ## 3 · Do they compute what they promise?
#
# Before we ask whether an answer is *good*, we check that it really is the answer of the method it is named after. Here are
# three checks, and each uses a second way to get the same result.
#
# **Grad-CAM.** We compute it with captum and by hand: differentiate $z_1$ with respect to both feature maps, average the
# gradient over places, and use it to weigh the channels.

# %%
A = [model.feature_map(x).requires_grad_() for x in few]
z_1 = model.pair_scores(model.pool(A[0]) - model.pool(A[1]))[:, 1]
gradients = torch.autograd.grad(z_1.sum(), A)
by_hand = [(g.mean((2, 3), keepdim=True) * a).sum(1).clamp_min(0).cpu() for g, a in zip(gradients, A, strict=True)]
for name in ("layer-gradcam", "siamese-gradcam"):
    both = zip((asked[name].query, asked[name].gallery), by_hand, strict=True)
    apart = [(m - h).abs().max() / h.max().clamp_min(1e-9) for m, h in both]  # a map can be zero everywhere
    print(f"{name:16} differs from the hand-made map by {max(apart).item():.1e} of its maximum, at most")
    assert max(apart) < 1e-4

# %% [markdown]
# One map comes from captum and needs a backward pass. The other is a closed form and needs none. They are the same map.
#
# **Siamese attention.** Equation 4 is also a Grad-CAM, but of the score $s_j = \langle \alpha, f_j \rangle$. So if we give
# captum this score, it must find the closed form:

# %%
from captum.attr import LayerGradCam

f = [model.pool(a.detach()) for a in A]
alpha, _ = attention.siamese_weights(model.pair_gradient(f[0] - f[1]), f[0] - f[1], "paper")


def score(images):
    return (alpha * model.pool(model.trunk(images))).sum(1)


for image, closed in zip(few, (found.query, found.gallery), strict=True):
    by_captum = LayerGradCam(score, model.trunk).attribute(image, relu_attributions=True)[:, 0]
    print(f"captum and the closed form: {(by_captum - closed).abs().max() / closed.max():.1e} of the maximum")
    assert torch.allclose(by_captum, closed, atol=1e-4 * closed.max().item())

# %% [markdown]
# **Integrated gradients** promise a sum. Both pictures change step by step from grey to what they are, and the gradients on
# the way are added up. All pixels of *both* maps together must add up to the change of the score,
# $z_1(q, g) - z_1(\text{grey}, \text{grey})$. With a finite number of steps the sum is a little wrong, and more steps make it
# better.

# %%
grey = explain.explain(model, *map(torch.zeros_like, few), "plain-mean").scores
missed = {}
for steps in (2, 8, 32):
    m = explain.explain(model, *few, "integrated-gradients", steps=steps)
    total, gained = m.query.sum((1, 2)) + m.gallery.sum((1, 2)), m.scores - grey
    assert torch.allclose(total - gained, m.delta, atol=1e-3), "delta is what the sum misses"
    missed[steps] = (m.delta.abs() / gained.abs().clamp_min(1e-6)).max().item()
    print(f"{steps:3} steps: the maps add up to {total[0]:+.3f}, the score changed by {gained[0]:+.3f}", end="; ")
    print(f"largest error {missed[steps]:.1%}")
print("More steps, a smaller error." if missed[32] < missed[2] else "More steps did not help here.")

# %% [markdown]
# ## 4 · A trap: the shared trunk
#
# A Siamese network uses *the same* trunk for both pictures. The natural way to write this is to call the trunk twice. Now ask
# captum for the Grad-CAM of the trunk:


# %%
class CalledTwice(torch.nn.Module):
    """The natural way to write a Siamese network."""

    def __init__(self, model):
        super().__init__()
        self.model, self.trunk = model, model.trunk

    def forward(self, query, gallery):
        f_q, f_g = (self.model.pool(self.trunk(x)) for x in (query, gallery))
        return self.model.pair_scores(f_q - f_g)[:, 1]


# %%
twice = CalledTwice(model)
answer = LayerGradCam(twice, twice.trunk).attribute(few, relu_attributions=True)
assert isinstance(answer, torch.Tensor), "two pictures, one map"
for side, right in zip(("query", "gallery image"), by_hand, strict=True):
    apart = (answer[:, 0].cpu() - right).abs().max() / max(answer.max().item(), right.max().item(), 1e-9)
    print(f"captum's only map against the {side}'s: off by {apart:.2%} of the maximum")

assert torch.allclose(answer[:, 0].cpu(), by_hand[1], atol=1e-4 * by_hand[1].max().item() + 1e-9)

# %% [markdown]
# Two pictures went in and one map came out, without a warning. **It belongs to the second picture**, because captum's second
# record of the trunk replaced the first. Laid over the query, the map would look plausible and be wrong. `explain` runs the
# trunk *once*, on both pictures together, and separates the two halves. If a layer is called twice in one pass, `explain`
# refuses. Here is such a network, and quite a common one: it uses the picture and its mirror image.


# %%
class WithMirror(torch.nn.Module):
    """An embedding that is the mean over a picture and its mirror image."""

    def __init__(self, model):
        super().__init__()
        self.trunk, self.pool = model.trunk, model.pool

    def forward(self, images):
        return (self.pool(self.trunk(images)) + self.pool(self.trunk(images.flip(3)))) / 2


try:
    explain.explain(WithMirror(model).eval(), *few, "layer-gradcam", layer="trunk")
except ValueError as refusal:
    ck.notebook.say(str(refusal))
else:
    raise AssertionError("a map came back, and it is not known to which picture it belongs")

# %% [markdown]
# ## 5 · First test: does it lie on the person?
#
# **Idea.** The wall behind a person cannot tell us who the person is. The share of a map that lies on the person is called
# its **energy** there.
#
# **Formula.** With $M \ge 0$ (negative values count as zero) and the person's mask $P$: $E = \sum_{x \in P} M(x) \big/
# \sum_x M(x)$.
#
# The number alone means little, because people stand in the middle of their pictures. So we compare it with *chance*, which
# is the same map moved to a random place, and with the plain mean.

# %%
judged = ["plain-mean", "siamese", "siamese-gradcam", "evidence", "saliency", "integrated-gradients"]
maps = {}
for name in judged:
    m = explain.explain(model, queries, galleries, name, **cheap.get(name, {})).cpu()
    maps[name] = m.query.float(), m.gallery.float()
energy = {name: pairs.localisation(m).get("energy") for name, m in maps.items()}

# %%
from casnkit.explain.league import bootstrap

rows, rng = [], np.random.default_rng(session.seed)
for name, e in energy.items() if pairs.masks is not None else ():
    mean, low, high, _ = (100 * x for x in bootstrap(e["found"], rng))
    over = [100 * x for x in bootstrap(e["found"] - energy["plain-mean"]["found"], rng)[:3]]
    verdict = "more" if over[1] > 0 else "less" if over[2] < 0 else "as much, as far as one can tell"
    rows.append(
        {
            "method": name,
            "energy": f"{mean:.0f} ({low:.0f} to {high:.0f})",
            "chance": 100 * float(np.nanmean(e["chance"])) if np.isfinite(e["chance"]).any() else float("nan"),
        }
    )
    rows[-1]["than the plain mean"] = verdict if name != "plain-mean" else ""
evaluation.table(rows) if rows else print("This data set has no person masks: this cannot be measured here.")

# %% [markdown]
# **What this test cannot say.** A map may lie on the person and still be a wrong explanation. And a map may lie beside the
# person and be right: if a network recognises people by the wall behind them, an honest map shows the wall. So the next test
# asks the network itself. Exercises 3 and 4 build a network that looks only at the background.

# %% [markdown]
# ## 6 · Second test: do the pixels matter?
#
# **Idea.** Suppose a map marks what matters. If we hide its strongest pixels first (**deletion**), the probability of "same"
# must fall early. If we show nothing but its strongest pixels (**insertion**), it must rise early. But hiding a third of a
# picture hurts *wherever* that third is. So we compare each map with itself, moved to a random place.
#
# We use the right matches, and change the query in every other pair and the gallery picture in the rest. The last curve
# repeats the test for equation 4 with a blurred picture in the hidden places instead of the mean colour.

# %%
from casnkit.explain.faithfulness import faithfulness

chosen = torch.from_numpy(pairs.kinds == "right")
runners, how = ("siamese", "siamese-gradcam", "plain-mean"), {"where": "alternate", "steps": 6}
curves = {
    name: faithfulness(retrieval, pairs.pairs[chosen], *(m[chosen] for m in maps[name]), **how) for name in runners
}
blurred = faithfulness(retrieval, pairs.pairs[chosen], *(m[chosen] for m in maps["siamese"]), fill="blur", **how)
curves["siamese, blurred"] = blurred

# %%
with figures.figure_style():
    figure = figures.style.new_figure(
        9, 4.2, "Mean p(same) while pixels go or come; dotted: random masks of the same area"
    )
    axes = figure.subplots(1, 2, sharey=True)
    for k, (name, c) in enumerate(curves.items()):
        for ax, kind in zip(axes, ("deletion", "insertion"), strict=True):
            ax.plot(c.shares, c.curves[kind]["probability"].mean(0), color=f"C{k}", label=name)
            ax.plot(c.shares, c.curves[f"random_{kind}"]["probability"].mean(0), ":", color=f"C{k}")
            ax.set(title=kind, xlabel="share of the pixels", ylabel="p(same)")
    axes[1].legend()
figure

# %%
for name, c in curves.items():
    for kind, sign in (("deletion", -1), ("insertion", 1)):
        mean, low, high, count = bootstrap(100 * sign * c.gain(kind), rng)
        verdict = "better than random masks" if low > 0 else "worse than random masks" if high < 0 else "undecided"
        print(f"{name:16} {kind:9} {sign * mean:+6.1f} points, {verdict} ({count} pairs)")

# %% [markdown]
# > **What the paper leaves open: what a hidden pixel shows.** Its masked images are zero after normalisation, which is the
# > mean colour of the data. The network has never seen a hole of one colour in training. It has not seen a blurred or noisy
# > region either. *Our choice:* `fill="mean"`, as in equation 2. *The evidence:* the lines for `siamese` and
# > `siamese, blurred` above. If the two verdicts differ, the test depends on the filling. *To switch:*
# > `faithfulness(..., fill="blur")`, or `"black"`, `"noise"`.
#
# Compare the plain mean with equation 4 here, too. If the plain mean's pixels matter as much, then this test only shows that
# the *person* matters. It does not show that equation 4 explains the decision.

# %% [markdown]
# ## 7 · Third test: does it notice a change?
#
# **Idea.** A map that explains a decision must change when we replace *the part that decides*. So we make the network random
# piece by piece: first the pair classifier, then the ID classifier, then the trunk, stage by stage. We also show the same
# picture beside another partner.

# %%
from casnkit.explain.sanity import sanity_checks

some = slice(0, 4 if session.profile == "smoke" else 12)
distinct = np.sort(np.unique(pairs.pairs[:, 0], return_index=True)[1])[some]
reports = {name: sanity_checks(name, model, queries[distinct], galleries[distinct]) for name in runners}
kept = {
    name: {
        "trained": 1.0,
        **{step: found.value for step, found in r.steps.items()},
        "another partner": r["partner"].value,
    }
    for name, r in reports.items()
}
with figures.figure_style():
    figure = figures.style.new_figure(9, 4.6, "Correlation with the map of the trained network")
    ax = figure.subplots()
    for name, values in kept.items():
        ax.plot(list(values), list(values.values()), "o-", label=name)
    ax.axhline(0.5, color="grey", linestyle="--", label="limit for the pair classifier")
    ax.tick_params(axis="x", rotation=15)
    ax.legend()
figure

# %% [markdown]
# Look at the second place from the left. There, a *random* pair classifier decides. If a map is still the same, it did not
# explain the trained classifier's decision, however well it lies on the person. Here are the results for equation 4 in words:

# %%
reports["siamese"].table()

# %% [markdown]
# A test that cannot fail proves nothing. So here is an "explanation" that must fail: it always marks *the middle of the
# picture*.

# %%
rows, columns = (torch.linspace(-1, 1, n) for n in found.query.shape[1:])
middle = torch.exp(-2 * (rows[:, None] ** 2 + columns**2))


def always(model, query, gallery):
    return (middle.expand(len(query), -1, -1),) * 2


constant = sanity_checks(always, model, queries[distinct], galleries[distinct], every_step=False)
assert not constant.passed
constant.table()

# %% [markdown]
# ## 8 · What if it were hidden?
#
# The last test is one that you can see. We take the right match with the best rank, hide the rows that equation 4 attends to
# in the query (at most half of all rows), and rank the gallery again. As a control we hide *the same number of rows somewhere
# else*.

# %%
from casnkit.data.images import denormalise
from casnkit.explain import masks as masking
from casnkit.explain.pair import counterfactual

right = np.flatnonzero(pairs.kinds == "right")
p = min(right, key=lambda p: retrieval.rank(pairs.pairs[p, 0], retrieval.row(pairs.pairs[p, 0])).first_hit)
i, j = pairs.pairs[p].tolist()
of_query = maps["siamese"][0][p][None]
middle_row = (attention.row_profile(of_query).median() / of_query.max()).item()
mask = masking.row_mask(of_query, max(0.7, middle_row), tuple(queries.shape[2:]))
elsewhere = masking.random_like(mask, torch.Generator().manual_seed(session.seed))
what_ifs = {
    name: counterfactual(retrieval, i, m.to(session.device), gallery_index=j)
    for name, m in {"attended rows hidden": mask, "others hidden": elsewhere}.items()
}

# %%
rows = [report.ranking_row(session.dataset, retrieval.row(i)[None].repeat(i + 1, 0), i, "as it is")]
for name, w in what_ifs.items():
    row = report.ranking_row(session.dataset, w.distances_after[None].repeat(i + 1, 0), i, name)
    rows.append(row | {"query_image": denormalise(w.image[None])[0]})
figures.show_rankings(rows, "One query, ranked anew")

# %%
falls = {}
for name, w in what_ifs.items():
    (before, after), (place, place_after) = w.probability, w.position
    precision = [100 * ranking.average_precision for ranking in (w.before, w.after)]
    falls[name] = before - after, precision[0] - precision[1]
    print(f"{name} ({w.hidden:.0%} of the picture): p(same) {before:.2f} to {after:.2f}, ", end="")
    print(f"AP {precision[0]:.0f} to {precision[1]:.0f} %, the match from rank {place} to {place_after}")
for number, of in enumerate(("p(same)", "AP")):
    more = falls["attended rows hidden"][number] > falls["others hidden"][number]
    print(f"{of} falls {'more' if more else 'NO more'} when the attended rows are hidden than when the others are")

# %% [markdown]
# **If the control hurts as much or more**, this pair speaks against the map: the network depends on rows that the map does
# not mark, and it would be wrong to say "these rows are why the match ranks first". Does that contradict section 6, where
# the marked pixels may matter more than random ones? Not necessarily:
#
# - Section 6 is a mean over many pairs, and this is one query.
# - Here whole rows are hidden, with the background in them. The other rows may show more of the person.
# - p(same) is about this pair, and the pair classifier computes it. AP is about the whole ranking, and it comes from the
#   distances of the features. Equation 4's map is made for the first, so the two can also disagree with each other.
#
# So say which test you used whenever you report that "the attended region matters". What you see here and not in section 6 is
# *which* pictures took the places.

# %% [markdown]
# ## 9 · The league
#
# `casnkit league` runs all these tests for all methods on many more pairs. It was run on our drawn people, whatever data
# you chose above, and the kit contains its table (`figures/results/league.csv`). `explain.METHODS[name].label` says in
# words what a method is that you have not met.

# %%
from casnkit.explain.league import findings, league_head, league_tables, read_league

league = read_league()
print(league_head(league))
league_tables(league)["maps"]

# %% [markdown]
# *Energy*, *pointing*, *IoU*: percent on the person, ± half of the 95 % interval over pairs; in brackets the same map moved
# to a random place. *Cue*: in how many look-alikes does the part in which they differ get more weight than the rest?
# *Deletion* and *insertion* (of the probability $p$, and of the average precision AP): points against random masks of the
# same shape. Deletion is good below 0, insertion is good above 0. A dash means that there is nothing to measure, as for a
# map that is zero everywhere (guided Grad-CAM, section 2).

# %%
league_tables(league)["sanity"]

# %% [markdown]
# *Pair cls*, *untrained*, *partner*: the correlation of the map with the map under a random pair classifier, of an
# untrained network, and beside another partner. A star marks a value that is too high. *Sane*: all sanity checks passed.
# The same as one picture:

# %%
figures.show_league(league)

# %% [markdown]
# Read a *row*: a method that is blue everywhere and has a check mark would be a good explanation. Read a *column*: where
# intervals overlap, the order of the methods is not certain, even if their means differ.
#
# ## 10 · What follows
#
# We did not write these sentences by hand. A rule makes them from the numbers:

# %%
ck.notebook.say(*findings(league))
faithful = [name for name in league.methods() if league.row(name, "insertion_probability").low > 0]
trusted = [name for name in faithful if name in league.sane()]
ck.notebook.say(f"Pixels that matter more than random ones (insertion): {', '.join(faithful) or 'those of no method'}.")
ck.notebook.say(f"These also pass all sanity checks: {', '.join(trusted) or 'no method'}.")
if "siamese" not in league.sane():
    print("So show equation 4's map as a picture of where the trunk is active, not as the reason for a decision.")
if "plain-mean" in faithful:
    print("The plain mean's pixels matter, too, and it explains nothing: pixels on the person matter to any network.")

# %% [markdown]
# These results do not judge *training* with attention. A map can be a poor explanation of the pair classifier and still be a
# useful training signal for the trunk; notebooks 06 and 07 measure that. The results say that you should not point at a map
# and say *because*.

# %% [markdown]
# ## A question for the next notebook
#
# We ran the league on drawn people, where we know the truth. The paper's claims are about three benchmarks of real
# photographs. **What do its tables say, and what would yours say?** Notebook `12_paper_tables` puts them side by side.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second cell checks it. Solutions:
# [solutions/11_captum_comparison](solutions/11_captum_comparison.ipynb).
#
# **1. Predict.** Two of the sanity checks of the *plain mean* must give a correlation of exactly 1, whatever the network.
# Which: `"pair classifier and partner"`, `"pair classifier and everything"` or `"partner and everything"`?
#
# <details><summary>Hint</summary>
#
# The plain mean is $\frac{1}{C} \sum_k A_k$. Which of the three changes $A$?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "pair classifier and partner", ...

# %% tags=["check"]
lines = {name: reports["plain-mean"][name].value for name in ("pair classifier", "partner", "everything")}
random_trunk = f"'everything' also makes the trunk random, and the trunk makes A ({lines['everything']:.2f} here)"
reasons = {
    "pair classifier and partner": "the map uses one picture's feature map only: neither the partner nor the classifier",
    "pair classifier and everything": random_trunk,
    "partner and everything": random_trunk,
}
turned_out = " and ".join(name for name, value in lines.items() if value > 1 - 1e-4)
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# **2. Count.** With `baseline="partner"` and `of="pair"`, integrated gradients change each picture into the *other* one: the
# way leads from $(g, q)$ to $(q, g)$. What do both maps of the first pair add up to? Find it *without* integrated gradients.
#
# <details><summary>Hint</summary>
#
# The sum is the change of the score on the way. `explain.explain(model, x, y).scores` is $z_1(x, y)$. Notebook 04 explains
# why the order of a pair matters. `few` holds the queries and the gallery pictures.
#
# </details>

# %% tags=["exercise"]
my_sum = None  # a number

# %% tags=["check"]
swapped = explain.explain(
    model, few[0][:1], few[1][:1], "integrated-gradients", baseline="partner", of="pair", steps=64
)
added = (swapped.query.sum((1, 2)) + swapped.gallery.sum((1, 2)))[0].item()
there, back = (explain.explain(model, *both).scores[0].item() for both in (few, few[::-1]))
assert abs(added - (there - back)) < abs(swapped.delta[0].item()) + 2e-3, "the maps add up to this difference"
mistakes = {
    "from (g, q) to (q, g), not the other way round": back - there,
    "that is where the way ends; where does it begin?": there,
    "grey is not on the way": there - grey[0].item(),
}
exercises.check_number(my_sum, there - back, mistakes, tolerance=2e-3 * (1 + abs(there - back)))

# %% [markdown]
# **3. Write it.** We want to break our tests with a network that looks only at the *background*. It gets pictures without
# their middle, where the person stands. Write this step: return a copy of the pictures in which the middle is 0, that is,
# rows $H/4$ to $3H/4$ and columns $W/4$ to $3W/4$ (each without the last; $H$ and $W$ can be divided by four).
#
# <details><summary>Hint</summary>
#
# `images.clone()` makes a copy. `images[:, :, 2:6, 1:3] = 0` sets rows 2 to 5 and columns 1 and 2 of all pictures to 0.
#
# </details>


# %% tags=["exercise"]
def without_middle(images):
    """A copy of the pictures (B, 3, H, W) in which the middle half of the rows and of the columns is 0."""


# %% tags=["check"]
def reference(images):
    images, (height, width) = images.clone(), images.shape[2:]
    images[:, :, height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 0
    return images


def rows_only(images):
    return torch.cat([part * (n in (0, 3)) for n, part in enumerate(images.chunk(4, 2))], 2)


def tried(function):
    """Of a function: its result, and what it did to the pictures that it was given."""

    def both(images):
        given = images.clone()
        return None if (found := function(given)) is None else (found, given - images)

    return both


noise = torch.rand(2, 3, 16, 8, generator=torch.Generator().manual_seed(0))
cases = {"two tall pictures": (noise,), "two wide ones": (noise.transpose(2, 3),)}
mistakes = {
    "the middle has to go, and the border has to stay": tried(lambda x: x - reference(x)),
    "only the middle columns of these rows, not the whole rows": tried(rows_only),
    "make a copy first: the caller's pictures were changed": tried(lambda x: x.copy_(reference(x))),
}
exercises.check_function(tried(without_middle), tried(reference), cases, mistakes)

# %% [markdown]
# **4. Find the test.** A network embeds `without_middle(images)` with our trunk, so it recognises people by what is around
# them. You get it as a black box. Which observation proves that it ignores the middle?
#
# - `"map"`: its Grad-CAM map has little weight in the middle.
# - `"similarity"`: right pairs are no more similar than wrong ones.
# - `"hiding"`: if you hide the middle of a picture, the similarity does not change at all.
#
# <details><summary>Hint</summary>
#
# A cell of the feature map sees far more of the picture than the place where it is drawn. And a background can help to tell
# people apart.
#
# </details>

# %% tags=["exercise"]
my_test = None  # "map", "similarity" or "hiding"


# %% tags=["check"]
class Background(torch.nn.Module):
    """An embedding that sees only the border of a picture."""

    def __init__(self, model):
        super().__init__()
        self.trunk, self.pool = model.trunk, model.pool

    def forward(self, images):
        return self.pool(self.trunk(reference(images)))


blind, alike = Background(model).eval(), torch.nn.functional.cosine_similarity
m = explain.explain(blind, *few, "layer-gradcam", layer="trunk").query
middle = (m - reference(m[:, None])[:, 0]).sum() / m.sum().clamp_min(1e-9)
with torch.no_grad():
    f_q, f_g, hidden = (blind(images) for images in (queries, galleries, reference(queries)))
similar, moved = alike(f_q, f_g).cpu(), (alike(hidden, f_g) - alike(f_q, f_g)).abs().max().item()
gap = (similar[torch.from_numpy(pairs.kinds == "right")].mean() - similar.mean()).item()
told = f"the middle holds {middle:.0%} of its Grad-CAM map, although the network never sees it; right pairs are {gap:+.3f} "
told += (
    f"more similar than the mean; hiding the middle changes the similarity by {moved:.0e}: only hiding asks the network"
)
exercises.check_choice(my_test, "hiding", dict.fromkeys(("map", "similarity", "hiding"), told))

# %% [markdown]
# **5. Explain.** A company shows you a heat map over a face and says: "Our network recognised the person *because* of the
# eyes." Write five or six sentences: which three tests do you ask for, what would each of them show, and what would still be
# open?
#
# <details><summary>What a good answer says</summary>
#
# - *Hiding*: hide the eyes, and as a control another part of the same size. The score must fall more for the eyes. (1 point)
# - *Sanity*: the map must change if the classifier is random, or if the partner is another person. (1 point)
# - *Comparison*: a map that explains nothing (the plain mean) must do worse in the same tests. (1 point)
# - It says that a map on the right object is no proof: it may only show where the trunk is active. (1 point)
# - It names what stays open: many pairs instead of one, and the filling of the hidden part. (1 point)
#
# </details>
#
# **To go on.** You can explain any embedding network, not only CASN: `explain.explain(network, query, gallery,
# "layer-gradcam", layer="layer4")` on a torchvision ResNet shows where the similarity of two pictures comes from.
#
# ## Recap
#
# 1. Why is the plain mean part of every comparison?
#
# <details><summary>Answer</summary>It explains nothing. A map that does no better shows only where the trunk is
# active.</details>
#
# 2. A map stays the same under a random pair classifier. What follows?
#
# <details><summary>Answer</summary>It does not explain the decision of the trained pair classifier.</details>
#
# 3. What can the correspondence show that two maps cannot?
#
# <details><summary>Answer</summary>Which place of one picture goes with which place of the other.</details>
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - N. Kokhlikyan et al.: *Captum: A unified and generic model interpretability library for PyTorch*, arXiv:2009.07896.
# - M. Sundararajan, A. Taly, Q. Yan: *Axiomatic Attribution for Deep Networks* (integrated gradients), ICML 2017.
# - V. Petsiuk, A. Das, K. Saenko: *RISE: Randomized Input Sampling for Explanation of Black-box Models* (deletion and
#   insertion), BMVC 2018.
# - J. Adebayo et al.: *Sanity Checks for Saliency Maps*, NeurIPS 2018.
