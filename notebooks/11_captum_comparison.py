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
# Every picture of attention so far came from one equation. There are many other ways to ask a network *where* its answer
# comes from, and they do not agree. **Which of them may be believed, and is the paper's map among them?**
#
# ![A right match, a wrong one and a look-alike with the maps of six methods over both images](../figures/explanations.webp)
#
# **You will learn** to ask many methods the same question (half of them by the library captum), to check that they compute
# what they promise, and to judge a map by three tests that have nothing to do with taste: does it lie on the person, do the
# pixels that it names matter, and does it change when what it claims to explain changes?
#
# **You need** `04_siamese_attention`; it helps to have seen `10_failures_and_rank_changes`.
# **Runtime** under a minute at `smoke`; at `quick` two or three minutes on two cores where the networks that come with the
# kit fit, else five more for one training; at `paper` hours on a GPU for the training, or minutes where it is done.
# **Hardware** a laptop; only `paper` asks for a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import attention, evaluation, exercises, explain, figures, report

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · Pairs of three kinds
#
# Which pairs? If we pick them by hand, we pick the pretty ones. So a rule picks: queries are drawn, and each gives a
# **right** match (its nearest picture of the same person), a **wrong** one (the first of its ranking, where that is
# somebody else) or, among drawn people, a **look-alike** (the person who differs in one piece of clothing alone).

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
# ## 2 · One question, many answers
#
# **Idea.** The question is always the same: where in these two pictures does the score $z_1$, *the same person*, come from?
# One function asks it, whatever the method:

# %%
found = explain.explain(model, *few, "siamese")
p_same = model.pair_scores(model.pool(model.feature_map(few[0])) - model.pool(model.feature_map(few[1]))).softmax(1)
print(f"explains {found.target!r}; a map for each image: {tuple(found.query.shape)} and {tuple(found.gallery.shape)}")
labels = [f"{pairs.kinds[p]}, p(same) {p_same[n, 1]:.2f}" for n, p in enumerate(first)]

# %% [markdown]
# First the methods that need **one forward pass**. Equation 4; the same with the derivative's size and sign (Grad-CAM of
# $z_1$); the plain mean that knows neither pair nor classifier; and three of our own making: equation 4 without its share
# of the plain mean, the score laid out place by place, and what both pictures have in the channels that the score hears.

# %% Many answers in one forward pass tags=["slide"]
quick = ["siamese", "siamese-gradcam", "plain-mean", "siamese-centred", "score-decomposition", "evidence"]
asked = {name: explain.explain(model, *few, name).cpu() for name in quick}
gallery_of = {name: list(zip(m.query, m.gallery, strict=True)) for name, m in asked.items()}
figures.show_gallery_of_methods(pictures, gallery_of, labels, outlines, "One forward pass")

# %% [markdown]
# Then those that captum computes: by **gradients** down to the pixels (saliency, SmoothGrad, integrated gradients, guided
# Grad-CAM), or by **hiding** one window after the other and watching the score (occlusion).

# %% Many answers, by captum tags=["slide"]
cheap = {"integrated-gradients": {"steps": 10}, "smoothgrad": {"samples": 4}, "occlusion": {"window": (16, 16)}}
slow = ["layer-gradcam", "guided-gradcam", "saliency", "smoothgrad", "integrated-gradients", "occlusion"]
asked |= {name: explain.explain(model, *few, name, **cheap.get(name, {})).cpu() for name in slow}
gallery_of = {name: list(zip(asked[name].query, asked[name].gallery, strict=True)) for name in slow}
figures.show_gallery_of_methods(pictures, gallery_of, labels, outlines, "By captum")

# %% [markdown]
# **Look.** Cover the headings. Could you say which map belongs to the *wrong* match, and so should speak of an error? If
# you found a story for one of the columns: the next column would have given you another story, just as good.
#
# Do they at least tell *one* story? We correlate the maps of every two methods, on the coarsest grid of all:

# %% Which methods say the same? tags=["slide"]
figures.show_agreement(list(asked), explain.agreement(asked))

# %% [markdown]
# Find the blue blocks: methods within one are nearly the same map under several names. Then look in which block the plain
# mean stands, which explains nothing. (A row of zeros is a method whose maps have no pattern here.)
#
# What each costs is not the same either:

# %%
print(f"{len(first)} pairs at once on {session.device}")
costs = {name: 1000 * asked[name].seconds / len(first) for name in asked}
evaluation.table([{"method": name, "ms a pair": costs[name]} for name in sorted(costs, key=costs.get)])

# %% [markdown]
# ## 3 · Do they compute what they promise?
#
# Before we ask whether an answer is *good*, we ask whether it is the answer of the method it is named after. Three checks,
# each by another route.
#
# **Grad-CAM.** By captum, and by hand: differentiate $z_1$ by both feature maps, average over places, weigh the channels.

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
# One by captum, through a backward pass; one in closed form, without any. They are one and the same map.
#
# **Siamese attention.** Equation 4 is Grad-CAM too, of the score $s_j = \langle \alpha, f_j \rangle$. So captum must find
# the closed form if it is handed that score:

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
# **Integrated gradients** promise a sum. Both pictures fade in from grey, the gradients on the way are added up, and all
# pixels of *both* maps together must add up to what the score gained: $z_1(q, g) - z_1(\text{grey}, \text{grey})$. The way
# is walked in steps, so the sum misses a little, and less with more steps.

# %%
grey = explain.explain(model, *map(torch.zeros_like, few), "plain-mean").scores
missed = {}
for steps in (2, 8, 32):
    m = explain.explain(model, *few, "integrated-gradients", steps=steps)
    total, gained = m.query.sum((1, 2)) + m.gallery.sum((1, 2)), m.scores - grey
    assert torch.allclose(total - gained, m.delta, atol=1e-3), "delta is what the sum misses"
    missed[steps] = (m.delta.abs() / gained.abs().clamp_min(1e-6)).max().item()
    print(f"{steps:3} steps: the maps add up to {total[0]:+.3f}, the score gained {gained[0]:+.3f}", end="; ")
    print(f"off by {missed[steps]:.1%} at most")
print("More steps, a smaller error." if missed[32] < missed[2] else "More steps did not help: the network bends a lot.")

# %% [markdown]
# ## 4 · A trap: the shared trunk
#
# A Siamese network uses *the same* trunk for both pictures. The natural way to write that is to call it twice. Now ask
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
# Two pictures went in and one map came out, without a warning. **It belongs to the second picture**; the trunk's first call
# was overwritten. Laid over the query it would look plausible and be somebody else's. `explain` runs the trunk *once*, on
# both pictures together, and taps the two halves; and where a layer is called twice in one pass, it refuses. Here is such a
# network, a quite common one: it looks at the picture and at its mirror image.


# %%
class WithMirror(torch.nn.Module):
    """An embedding that is the mean over a picture and its mirror image."""

    def __init__(self, model):
        super().__init__()
        self.trunk, self.pool = model.trunk, model.pool

    def forward(self, images):
        return (self.pool(self.trunk(images)) + self.pool(self.trunk(images.flip(3)))) / 2


# %%
try:
    explain.explain(WithMirror(model).eval(), *few, "layer-gradcam", layer="trunk")
except ValueError as refusal:
    ck.notebook.say(str(refusal))
else:
    raise AssertionError("a map came back, and nobody can say whose")

# %% [markdown]
# ## 5 · First test: does it lie on the person?
#
# **Idea.** Light that falls on the wall behind a person cannot tell who it is. The share of a map that lies on the person
# is its **energy** there.
#
# **Formula.** With $M \ge 0$ (what is negative counts as zero) and the person's mask $P$: $E = \sum_{x \in P} M(x) \big/
# \sum_x M(x)$.
#
# The number alone means nothing, for people stand in the middle of their pictures. Beside it stand *chance*, the same map
# moved to a random place, and the plain mean.

# %%
judged = ["plain-mean", "siamese", "siamese-gradcam", "siamese-centred", "evidence", "guided-gradcam", "saliency"]
maps = {}
for name in judged:
    m = explain.explain(model, queries, galleries, name).cpu()
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
# **What this test cannot say.** A map may lie on the person and be wrong, or beside the person and be right: if a network
# does recognise people by the wall behind them, an honest map shows the wall. So the next test asks the network itself.

# %% [markdown]
# ## 6 · Second test: do the pixels matter?
#
# **Idea.** If a map names what matters, then hiding its strongest pixels first (**deletion**) must make the probability of
# "same" fall soon, and showing nothing but them (**insertion**) must make it rise soon. Hiding a third of a picture hurts
# *wherever* it lies, so each map runs against itself, moved to a random place.
#
# We do it for the right matches, in the query of every other pair and in the gallery image of the rest.

# %%
from casnkit.explain.faithfulness import faithfulness

chosen = torch.from_numpy(pairs.kinds == "right")
runners = ("siamese", "siamese-gradcam", "plain-mean")
curves = {
    name: faithfulness(retrieval, pairs.pairs[chosen], *(m[chosen] for m in maps[name]), where="alternate", steps=6)
    for name in runners
}

# %% Deletion and insertion tags=["slide"]
figures.show_curves(curves)

# %%
for name, c in curves.items():
    for kind, sign in (("deletion", -1), ("insertion", 1)):
        mean, low, high, count = bootstrap(100 * sign * c.gain(kind), rng)
        verdict = "better than random masks" if low > 0 else "worse than random masks" if high < 0 else "undecided"
        print(f"{name:16} {kind:9} {sign * mean:+6.1f} points, {verdict} ({count} pairs)")

# %% [markdown]
# > **What the paper leaves open: what a hidden pixel shows.** Its masked images are zero after normalisation, the data's
# > mean colour. A hole of one colour is something that the network has never seen, and a blurred or noisy one is *another*
# > such thing. *Our choice:* `fill="mean"`, as in equation 2. *The evidence:* exercise 4 below lets you see whether the
# > verdict survives another filling. *To switch:* `faithfulness(..., fill="blur")`, or `"black"`, `"noise"`.

# %% [markdown]
# ## 7 · Third test: would it notice?
#
# **Idea.** A map that explains a judgement must change when *the judge* is replaced. So we take the network's knowledge away
# bit by bit: first the pair classifier becomes a random one, then the ID classifier, then the trunk, stage by stage. And we
# ask something else: the same picture beside another partner.

# %%
from casnkit.explain.sanity import sanity_checks

some = slice(0, 4 if session.profile == "smoke" else 12)
distinct = np.sort(np.unique(pairs.pairs[:, 0], return_index=True)[1])[some]
reports = {name: sanity_checks(name, model, queries[distinct], galleries[distinct]) for name in runners}
figures.show_sanity(reports)

# %% [markdown]
# Read the second place from the left: there, a *random* pair classifier judges. A map that is still the same did not
# explain the trained one's judgement, however well it lies on the person. In words, for equation 4:

# %%
reports["siamese"].table()

# %% [markdown]
# A check that nothing can fail proves nothing. An "explanation" that says *the middle of the picture*, always:

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
# The last test one can see. Take the right match with the best rank, hide the rows that equation 4 attends to in the query
# (half of all rows at most), and rank the gallery anew; then hide *as many rows somewhere else*.

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
for name, w in what_ifs.items():
    (before, after), (place, place_after) = w.probability, w.position
    print(f"{name} ({w.hidden:.0%} of the picture): p(same) {before:.2f} to {after:.2f}", end=", ")
    print(f"the match from place {place} to {place_after}")
    print("   moved most:", ", ".join(f"{m['status']} {m['before']} to {m['after']}" for m in w.moved(4)) or "nothing")

# %% [markdown]
# One query is an anecdote; section 6 is its average. But here you see *which* pictures took the places.

# %% [markdown]
# ## 9 · The league
#
# All of this, for all methods and on many more pairs: `casnkit league` measured it on our drawn people, whatever data you
# have chosen above, and its table comes with the kit (`figures/results/league.csv`).

# %%
from casnkit.explain.league import findings, league_head, league_tables, read_league

league = read_league()
print(league_head(league))
league_tables(league)["maps"]

# %% [markdown]
# *Energy*, *pointing*, *IoU*: percent on the person, ± half of the 95 % interval over pairs; in brackets the same map moved
# at random. *Cue*: in how many look-alikes has the part in which they differ more weight than the rest? *Deletion* and
# *insertion* (of the probability $p$, and of the average precision AP): points against random masks of the same shape;
# deletion is good below 0, insertion above 0.

# %%
league_tables(league)["sanity"]

# %% [markdown]
# *Pair cls*, *untrained*, *partner*: correlation of the map with the one beside a random pair classifier, of an untrained
# network, beside another partner; a star marks one that is too high. *Sane*: all sanity checks passed. And all of it as one
# picture:

# %% The league tags=["slide"]
figures.show_league(league)

# %% [markdown]
# Read a *row*: a method that is blue everywhere and has a check would be a good explanation. Read a *column*: the methods
# between which the intervals do not decide have not been ranked, even if their means have an order.
#
# ## 10 · What follows
#
# These sentences are not ours. A rule makes them of the numbers, whatever they turn out to be:

# %%
ck.notebook.say(*findings(league))

# %%
faithful = [name for name in league.methods() if league.row(name, "insertion_probability").low > 0]
trusted = [name for name in faithful if name in league.sane()]
ck.notebook.say(f"Pixels that matter more than random ones (insertion): {', '.join(faithful) or 'those of no method'}.")
ck.notebook.say(f"These and all sanity checks passed: {', '.join(trusted) or 'no method'}.")
if "siamese" not in league.sane():
    print("So show equation 4's map as a picture of where the trunk found something, not as the reason of a judgement.")
if "plain-mean" in faithful:
    print("The plain mean's pixels matter, too, and it explains nothing: pixels on the person matter to any network.")

# %% [markdown]
# That is no verdict on *training* with attention: a map that is a poor witness of the pair classifier can still be a good
# teacher of the trunk, and notebooks 06 and 07 measured that. It is a verdict on pointing at a map and saying *because*.

# %% [markdown]
# ## A question for the next notebook
#
# The league was played on drawn people, where we know the truth. The paper's claims are about three benchmarks of real ones.
# **What do its tables say, and what would yours?** Notebook `12_paper_tables` puts them side by side.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/11_captum_comparison](solutions/11_captum_comparison.ipynb).
#
# **1. Predict.** Two of the sanity checks of the *plain mean* must come out as a correlation of exactly 1, whatever the
# network. Which: `"pair classifier and partner"`, `"pair classifier and everything"` or `"partner and everything"`?
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
print({name: round(value, 3) for name, value in lines.items()})
reasons = {
    "pair classifier and partner": "it is made of one picture's feature map: neither partner nor classifier takes part in it",
    "pair classifier and everything": "'everything' makes the trunk random too, and the trunk makes A",
    "partner and everything": "'everything' makes the trunk random too, and the trunk makes A",
}
turned_out = " and ".join(name for name, value in lines.items() if value > 1 - 1e-4)
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# **2. Count.** Integrated gradients with `baseline="partner"` and `of="pair"` fade each picture into the *other* one: the
# way leads from $(g, q)$ to $(q, g)$. What do both maps of the first pair add up to? Find it *without* integrated gradients.
#
# <details><summary>Hint</summary>
#
# The sum is what the score gained on the way. `explain.explain(model, x, y).scores` is $z_1(x, y)$; section 8 of notebook 04
# said why the order matters. `few` holds the queries and the gallery images.
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
print(f"the maps add up to {added:+.4f}, give or take {abs(swapped.delta[0].item()):.4f}")
mistakes = {
    "from (g, q) to (q, g), not the other way round": back - there,
    "that is where the way ends; where does it begin?": there,
    "grey is not on the way": there - grey[0].item(),
}
exercises.check_number(my_sum, there - back, mistakes, tolerance=2e-3 * (1 + abs(there - back)))

# %% [markdown]
# **3. Write it.** The energy of section 5, for one map and one mask of the same size.
#
# <details><summary>Hint</summary>
#
# `np.maximum(values, 0)` first. A share is a sum divided by a sum.
#
# </details>


# %% tags=["exercise"]
def energy_inside(values, person):
    """Share of the positive part of a map (H, W) that lies where person (H, W) is true, in [0, 1]."""


# %% tags=["check"]
from casnkit.explain import localisation


def reference(values, person):
    return localisation.energy_inside(values[None], person[None])[0]


person = np.zeros((8, 4), bool)
person[1:7, 1:3] = True
noise = np.random.default_rng(0)
cases = {"a map above zero": (noise.random((8, 4)), person), "a signed map": (noise.normal(size=(8, 4)), person)}
cases["a large map, all on the person"] = (40.0 * person, person)
mistakes = {
    "values below zero speak against the score: they have no energy": lambda v, p: v[p].sum() / v.sum(),
    "the sizes of negative values do not count either": lambda v, p: np.abs(v)[p].sum() / np.abs(v).sum(),
    "divide by the map's sum, not by the person's area": lambda v, p: np.maximum(v, 0)[p].mean(),
}
exercises.check_function(energy_inside, reference, cases, mistakes)

# %% [markdown]
# **4. Look closer.** Run section 6 for `"siamese"` again with `fill="blur"` (as `blurred`). Deletion: on average over the
# pairs, does the map do *better* against random masks than it did with the mean colour, i.e. is its mean
# `blurred.gain("deletion")` lower? Answer `True` or `False`.
#
# <details><summary>Hint</summary>
#
# The call stands in section 6; leave out the loop and add `fill="blur"`. Compare `.gain("deletion").mean()` of both.
#
# </details>

# %% tags=["exercise"]
my_answer = None  # True or False

# %% tags=["check"]
right_maps = [m[chosen] for m in maps["siamese"]]
again = faithfulness(retrieval, pairs.pairs[chosen], *right_maps, where="alternate", steps=6, fill="blur")
gains = {"mean": curves["siamese"].gain("deletion"), "blur": again.gain("deletion")}
print({fill: f"{100 * gain.mean():+.1f} points" for fill, gain in gains.items()})
because = "what is hidden and what it is hidden with are one question; a verdict should survive both fillings"
lower = str(bool(gains["blur"].mean() < gains["mean"].mean()))
exercises.check_choice(None if my_answer is None else str(my_answer), lower, {"True": because, "False": because})

# %% [markdown]
# **To go on.** Any embedding network can be explained, not only CASN: `explain.explain(network, query, gallery,
# "layer-gradcam", layer="layer4")` on a torchvision ResNet shows where the similarity of two pictures comes from.
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - N. Kokhlikyan et al.: *Captum: A unified and generic model interpretability library for PyTorch*, arXiv:2009.07896.
# - M. Sundararajan, A. Taly, Q. Yan: *Axiomatic Attribution for Deep Networks* (integrated gradients), ICML 2017.
# - V. Petsiuk, A. Das, K. Saenko: *RISE: Randomized Input Sampling for Explanation of Black-box Models* (deletion and
#   insertion), BMVC 2018.
# - J. Adebayo et al.: *Sanity Checks for Saliency Maps*, NeurIPS 2018.
