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
# # 02 · Baselines
#
# To judge what attention adds, we first have to know what a network does *without* it. CASN is built on two simple and strong
# baselines. **IDE** learns to name the training people. **PCB** does the same six times, once for each horizontal stripe of
# the picture. **Why does learning some people's names help to find other people?**
#
# ![Training people and where two networks look to name them, beside their plain mean maps](../figures/attention.webp)
#
# **You will learn** what one training step does (the paper's equation 1), why a classifier of people is trained and then
# thrown away, what stripes add (section 3.1.1), where the baselines look, and how much a result changes with the seed alone.
#
# **You need** `00_start_here` and `01_data_and_protocol`.
# **Runtime** under a minute at `smoke`, and at `quick` with the networks that come with the kit (on pictures of your own,
# some minutes for two trainings); at `paper` hours on a GPU. **Hardware** a laptop; only `paper` asks for a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures
if "google.colab" in str(get_ipython()):  # docs/elsewhere.md
    get_ipython().run_line_magic("pip", "install -q casnkit-*.whl")

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import attention, evaluation, exercises, figures, losses, ranking, report, training
from casnkit.experiments import ablation

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · Learning names
#
# **Idea.** Each training person has a number. We train a network to say the number of the person in a picture, like any
# classifier of cats and dogs. To tell hundreds of people apart, it has to find out how people differ.

# %% [markdown]
# **Formula (equation 1).** The *trunk* of the network, a stack of convolutions, turns a picture into a feature map $A$. The
# mean over all places gives the feature $f = \mathrm{GAP}(A)$, and a small classifier gives one score for each person,
# $y = g(f)$. The loss is the cross entropy of the softmax, where $c$ is the right person:
#
# $$L_{ide} = -\log \frac{e^{y_c}}{\sum_k e^{y_k}}.$$
#
# **Code.** We start from random weights and take one picture each of a few people. A *label* is a person's place in the
# sorted list of pids.

# %%
train, config = session.dataset.train, session.config("ide", weights=None)
labels, pid_of_label = ck.data.labels_of(train.pids)
few = report.training_examples(train, 16)
images, few_labels = session.images("train", few), torch.tensor(labels[few], device=session.device)
torch.manual_seed(session.seed)
network = ck.CASN.from_config(len(pid_of_label), config.model).to(session.device)
optimiser = training.make_optimiser(network, config.train)

# %% [markdown]
# One training step has four parts: compute the loss, compute its gradient for every weight (`backward`), move every weight a
# little against its gradient (`step`), and forget the gradient before the next step (`zero_grad`).

# %%
history = []
for _ in range(20):
    _, _, scores = network(images)  # the feature map, the feature and the scores
    loss = losses.identification_loss(scores, few_labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    history.append(loss.item())
print(*(f"step {k + 1}: loss {history[k]:.2f}" for k in range(0, 20, 3)), sep="\n")
assert history[-1] < history[0], "the loss does not fall"

# %% [markdown]
# **Look.** The loss falls fast, because every step shows the same few pictures: the network learns them by heart. A real
# training draws other pictures in every step and runs through the whole training set several times (the *epochs*). The kit
# comes with a network trained in this way. Here is its log. (*Total* is the sum of all losses; IDE has only this one.)

# %%
ide = session.run("ide")
ide.model.requires_grad_(False)
figures.show_losses(ide.log, title="IDE learns to name the training people") if ide.log else None

# %% [markdown]
# Does it know the training people? We take a sample of training pictures and ask for the probability of the right name.

# %%
sample = np.linspace(0, len(train) - 1, min(300, len(train))).round().astype(int)
own = torch.tensor(labels[sample], device=session.device)
A = ide.model.feature_map(session.images("train", sample))
p = ide.model.id_scores(ide.model.pool(A)).softmax(1)
named = p.gather(1, own[:, None])[:, 0]
figures.show_distributions({"right name": named.cpu()}, "probability", "IDE on training pictures", limits=(0, 1))

# %%
print(f"right name first: {(p.argmax(1) == own).float().mean():.0%} of the pictures, chance {1 / p.shape[1]:.1%}")
session.expect((p.argmax(1) == own).float().mean() > 1 / p.shape[1], "the network has learned no names")

# %% [markdown]
# ## 2 · Throwing the names away
#
# **Idea.** The people in the test are not in this list of names. But before the network names a person, it computes the
# feature $f$. Two pictures of one *new* person should still have similar features. So we drop the classifier and compare
# pictures by the angle between their features.

# %%
query, gallery = session.dataset.query, session.dataset.gallery
sides = (query.pids, query.camids, gallery.pids, gallery.camids)
by_features = ide.result.distances["features"]
same = ranking.matches_mask(*sides)
different = ~same & ~ranking.ignored_mask(*sides)
rows = {"one person": by_features[same], "two people": by_features[different]}
figures.show_distributions(rows, "distance of features, lower is closer", "People never seen before")

# %% [markdown]
# Do we lose something useful with the classifier? Its scores say *how similar a new person is to each training person*, and
# that is a description too. We rank by three layers of the same network: the feature $f$, the scores $y$, and the
# probabilities. All numbers are in percent. *mINP* is the mean of the inverse negative penalty of notebook 01 (exercise 3):
# it asks how far down the *last* true match stands.


# %%
def distances_of(layer):
    """(Q, G) distances between what ``layer`` makes of the features of both sides."""
    return ranking.feature_distances(
        *(layer(part.features.to(session.device)).cpu() for part in (ide.result.query, ide.result.gallery))
    )


layers = {
    "feature f": lambda f: f,
    "scores y": ide.model.id_scores,
    "probabilities": lambda f: ide.model.id_scores(f).softmax(1),
}
ranked = {name: evaluation.rank(distances_of(layer), session.dataset) for name, layer in layers.items()}
ranked["chance"] = ide.result.chance
evaluation.table([{"ranked by": name, **evaluation.headline(result)} for name, result in ranked.items()])

# %%
best = max(layers, key=lambda name: ranked[name].mean_ap)
print(f"The best layer here: {best}. The last step, to probabilities, changes mAP by", end=" ")
print(f"{100 * (ranked['probabilities'].mean_ap - ranked['scores y'].mean_ap):+.1f} points.")
session.expect(ranked["feature f"].mean_ap > ranked["chance"].mean_ap, "the features rank no better than chance")

# %% [markdown]
# **What softmax training does.** It asks for *enough* evidence to name a person, not for *all* the evidence. If a red bag is
# enough, the loss is nearly zero, and nothing makes the network look at the shoes. The probabilities show this most clearly:
# they keep the most likely name and lose the rest.
#
# ## 3 · Six stripes instead of one
#
# **Idea (PCB).** We cut the feature map into six horizontal stripes and pool each one separately. Each stripe gets a
# classifier of its own, which has to name the person from *this stripe alone*. The classifier of the lowest stripe sees only
# the feet, so now the shoes matter.

# %% [markdown]
# **Formula.** $f = (f_1, \dots, f_6)$ with $f_p = \mathrm{GAP}(\text{stripe } p)$, and $L_{ide}$ is the sum of six cross
# entropies. In the test the six features are joined into one long feature.

# %%
pcb = session.run("ide", pooling="stripes")
pcb.model.requires_grad_(False)
rows = [{"baseline": name, **run.result.rows()[0]} for name, run in {"IDE": ide, "PCB": pcb}.items()]
evaluation.table(rows)

# %% [markdown]
# How useful is each stripe? We rank by one stripe alone, and by all of them together.

# %%
stripes = pcb.model.stripes
parts = [part.features.unflatten(1, (stripes, -1)) for part in (pcb.result.query, pcb.result.gallery)]
alone = [ranking.feature_distances(*(part[:, k] for part in parts)) for k in range(stripes)]
scores = [evaluation.rank(distances, session.dataset) for distances in alone]
rows = [{"stripe": f"{k + 1} from the top", **evaluation.headline(result)} for k, result in enumerate(scores)]
evaluation.table(rows)

# %%
together, order = pcb.result.rankings["features"], np.argsort([result.mean_ap for result in scores])
curves = {f"stripe {k + 1}": scores[k].cmc for k in (order[-1], order[0])}
gain = 100 * (together.mean_ap - scores[order[-1]].mean_ap)
print(f"all stripes together against the best one alone: {gain:+.1f} points of mAP")
figures.show_cmc({"all stripes": together.cmc, **curves}, title="All stripes, the best one, the worst one")

# %% [markdown]
# **Look.** Which part of a person is in the best stripe, and which in the worst? The lowest stripe sees feet and pavement,
# and the pavement belongs to the camera. *Rule:* we show the query for which the best and the worst stripe differ most.

# %%
i = int(np.nanargmax(scores[order[-1]].average_precision - scores[order[0]].average_precision))
heads = {"all stripes": pcb.result.distances["features"]} | {f"stripe {k + 1}": alone[k] for k in (order[-1], order[0])}
figures.show_rankings(
    [report.ranking_row(session.dataset, d, i, name) for name, d in heads.items()], "One query, three rankings"
)

# %% [markdown]
# ## 4 · Where do the baselines look?
#
# Identification attention shows which places speak for the right name; notebook 03 explains how. Beside it stands the plain
# mean of the feature map over its channels, which uses no name at all. The outline, if the data has one, is the true person.

# %%
report.where_they_look({"IDE": tuple(ide), "PCB": tuple(pcb)}, train)

# %% [markdown]
# Our people are drawn, so we can measure this. (Photographs need a person who outlines the people.) We ask two questions. How
# much of the map lies on the person? And how much of the person gets at least half of the map's maximum? For comparison we
# use a map that is the same everywhere.


# %%
def on_person(maps, person):
    """Share of each map's sum inside the person, and share of the person above half the map's maximum: (B,) twice."""
    maps = attention.normalise_map(
        torch.nn.functional.interpolate(maps[:, None], person.shape[1:], mode="bilinear")[:, 0]
    )
    inside = (maps * person).sum((1, 2))
    return inside / maps.sum((1, 2)).clamp_min(1e-9), ((maps > 0.5) * person).sum((1, 2)) / person.sum((1, 2))


# %%
some = [k for k in sample[:: max(1, len(sample) // 100)] if report.has_mask(train, k)]
held, reached = {}, {}
for name, run in {"IDE": ide, "PCB": pcb}.items() if some else ():
    size = (run.info.config.data.height, run.info.config.data.width)
    pixels = ck.data.images.load_images(train.subset(some), size, progress=False)
    A = run.model.feature_map(ck.data.images.normalise(pixels).to(session.device))
    person = ck.data.images.load_masks(train.subset(some), size).float().to(session.device)
    own = torch.tensor(labels[some], device=session.device)
    seen = {"attention": run.model.identification_attention_of(A, own), "plain mean": attention.mean_map(A)}
    for kind, maps in seen.items():
        held[f"{name}: {kind}"], reached[f"{name}: {kind}"] = (v.cpu() for v in on_person(maps, person))
if held:
    held["the same everywhere"], _ = (v.cpu() for v in on_person(torch.ones_like(maps), person))

# %%
figures.show_distributions(held, "share of the map on the person", "On the person", limits=(0, 1)) if held else None

# %%
label = "share of the person above half the maximum"
figures.show_distributions(reached, label, "How much of the person is reached", limits=(0, 1)) if reached else None

# %%
for name in ("IDE", "PCB") if reached else ():
    print(f"{name}: attention reaches {reached[f'{name}: attention'].mean():.0%} of the person,", end=" ")
    print(f"the plain mean {reached[f'{name}: plain mean'].mean():.0%}")
if not reached:
    print("This data set has no person masks: this cannot be counted here.")

# %% [markdown]
# The parts of the person that attention does *not* reach are evidence that the loss never needed. The paper wants to close
# this gap. But a large map is not yet a good map: look at how much of the person the plain mean reaches, which uses no name
# at all.

# %% [markdown]
# ## 5 · The same network, another seed
#
# A training starts from random weights and shows the pictures in a random order. Both depend on the *seed*. Before we compare
# two methods, we have to know how much the result of *one* method varies from seed to seed. `casnkit ablate` trained both
# baselines with several seeds on our drawn people (`quick`), whatever data you have chosen above. We read the file that it
# wrote. All numbers are in percent; *deviation* is the standard deviation over the seeds.

# %%
study = ablation.published("variants")
groups = [group for group in study["groups"] if group["variant"] == "ide"] if study else []
rows = []
for group in groups:
    row = {"baseline": {"gap": "IDE", "stripes": "PCB"}[group["pooling"]], "seeds": len(group["seeds"])}
    for key, short in {"rank_1": "rank-1", "mean_ap": "mAP"}.items():
        found = group["numbers"][key]
        row |= {short: found.mean, f"deviation of {short}": found.deviation}
    rows.append(row)
evaluation.table(rows) if rows else print(ablation.HOW_TO["variants"])

# %% [markdown]
# Keep these numbers in mind for the rest of the course: *a difference between two single trainings that is not clearly larger
# than this says nothing.* There is a second source of chance, the choice of the people we search for:

# %%
result = ide.result.rankings["features"]
people = [result.average_precision[query.pids == pid] for pid in query.identities]
means = np.array([np.nanmean(own) for own in people if np.isfinite(own).any()])
margin = 196 * means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else float("inf")
print(f"mAP of IDE {100 * result.mean_ap:.1f}; 95 % interval for other {len(means)} people: \u00b1{margin:.1f} points")

# %% [markdown]
# > **What the paper leaves open: the baselines.** It asks for two fully connected layers. It does not say how wide they are,
# > what stands between them, and which weight decay, crops and flips were used. These choices can change the result by more
# > points than a new method does. *Our choice:* the values printed below; every run records its own. *The evidence:* what we
# > tried is printed after the values. Each line changes one value and gives the change of mAP in points; the brackets name
# > the other settings of that study, which later lessons explain. *To switch:*
# > `session.run("ide", id_activation="none", id_dropout=0.5, weight_decay=0.0)`.

# %%
fields = {
    "model": ("id_hidden", "id_activation", "id_norm", "id_dropout", "shared_reduction"),
    "train": ("learning_rate", "trunk_rate", "weight_decay", "epochs"),
    "data": ("height", "width", "flip", "padding", "erase"),
}
for group, names in fields.items():
    chosen = getattr(ide.info.config, group)
    print(f"{group}:", ", ".join(f"{name} {getattr(chosen, name)}" for name in names))

# %%
ck.notebook.say(*ablation.evidence("weight_decay", "learning_rate"))

# %% [markdown]
# ## A question for the next notebook
#
# We have looked at maps without saying where they come from. **Which places of a picture make a network choose a name, and
# how can we find out?** Notebook `03_identification_attention` takes the map apart.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/02_baselines](solutions/02_baselines.ipynb).
#
# **1. Write it.** `loss.backward()` starts with the gradient of equation 1 by the scores. Write it yourself, without
# autograd: scores $y$ are (B, n), labels are (B,), the loss is the mean over the batch, and the result $\partial L_{ide} /
# \partial y$ is (B, n).
#
# <details><summary>Hint</summary>
#
# Write the loss of one picture as $-y_c + \log \sum_k e^{y_k}$ and differentiate both terms. The second one gives a softmax.
# `torch.nn.functional.one_hot` marks the label's column.
#
# </details>


# %% tags=["exercise"]
def loss_gradient(scores, labels):
    """Gradient of the mean of equation 1 by the scores: (B, n), (B,) -> (B, n)."""


# %% tags=["check"]
def by_autograd(scores, labels):
    leaf = scores.clone().requires_grad_()
    return torch.autograd.grad(losses.identification_loss(leaf[:, None], labels), leaf)[0]


noise = torch.Generator().manual_seed(0)
cases = {
    f"{b} pictures of {n} people": (torch.randn(b, n, generator=noise), torch.arange(b)) for b, n in ((2, 3), (5, 7))
}
mistakes = {
    "the label's own column gets one less": lambda y, c: y.softmax(1) / len(y),
    "the loss is a mean over the batch: divide by its size": lambda y, c: len(y) * by_autograd(y, c),
    "the sign: a higher score of the label lowers the loss": lambda y, c: -by_autograd(y, c),
    "the other columns have a gradient too": lambda y, c: by_autograd(y, c) * (torch.arange(y.shape[1]) == c[:, None]),
}
exercises.check_function(loss_gradient, by_autograd, cases, mistakes)

# %% [markdown]
# **2. Work it out.** A network without any information gives each of $n$ people the same probability. How large is $L_{ide}$
# for the number of training people here?
#
# <details><summary>Hint</summary>
#
# $-\log(1/n)$, with the natural logarithm; $n$ is `ide.model.num_ids`. Compare it with the first step of section 1.
#
# </details>

# %% tags=["exercise"]
my_loss = None  # a number

# %% tags=["check"]
n = ide.model.num_ids
mistakes = {
    "the natural logarithm, not that of base 2": np.log2(n),
    "the natural logarithm, not that of base 10": np.log10(n),
    "a loss is positive": -np.log(n),
    "the logarithm is missing": 1 / n,
}
exercises.check_number(my_loss, np.log(n), mistakes, tolerance=0.01)

# %% [markdown]
# **3. Write it.** Pool a feature map into stripes: $A$ is (B, C, h, w), `stripes` divides $h$, and the result is
# (B, stripes, C). Each entry is the mean of one channel over one stripe.
#
# <details><summary>Hint</summary>
#
# `A.unflatten(2, (stripes, -1))` has the shape (B, C, stripes, rows of a stripe, w). Which axes do you average, and which two
# do you exchange?
#
# </details>


# %% tags=["exercise"]
def pool_stripes(A, stripes):
    """Means over horizontal stripes: (B, C, h, w) -> (B, stripes, C)."""


# %% tags=["check"]
def reference(A, stripes):
    return A.unflatten(2, (stripes, -1)).mean((3, 4)).transpose(1, 2)


generator = torch.Generator().manual_seed(0)
cases = {f"{k} stripes": (torch.rand(2, 3, 12, 4, generator=generator), k) for k in (1, 3, 6)}
mistakes = {
    "the last two axes are exchanged: (B, stripes, C)": lambda A, k: reference(A, k).transpose(1, 2),
    "stripes are horizontal: cut h, not w": lambda A, k: reference(A.transpose(2, 3), k),
    "take the mean, not the maximum": lambda A, k: A.unflatten(2, (k, -1)).amax((3, 4)).transpose(1, 2),
}
exercises.check_function(pool_stripes, reference, cases, mistakes)

# %% [markdown]
# **To go on.**
#
# - Watch a whole training: `session.run("ide", live=True)` draws the losses and the maps after every epoch.
# - Train `session.run("ide", id_activation="none")`, a linear head. Is the change larger than the deviation of section 5?
# - Rank by the *five* best stripes. Does the worst stripe help or harm?
#
# ## Recap
#
# Answer each question in your head, then open it.
#
# <details><summary>1. What do <code>backward</code>, <code>step</code> and <code>zero_grad</code> do?</summary>
#
# `backward` computes the gradient of the loss for every weight, `step` moves every weight a little against its gradient, and
# `zero_grad` clears the gradients, which would otherwise add up from step to step.
#
# </details>
#
# <details><summary>2. The classifier is thrown away after training. Why was it trained?</summary>
#
# To name people, the trunk has to compute features that tell people apart. These features also work for new people; the
# list of names does not.
#
# </details>
#
# <details><summary>3. Method B has one point more mAP than method A, each trained once. What can you conclude?</summary>
#
# Nothing yet. Compare the point with the deviation over seeds and with the interval over people in section 5.
#
# </details>
#
# ## Essay question
#
# "PCB is better than IDE because it looks at more of the person." Write half a page: which results of this lesson support
# this sentence, which do not, and what would you measure next to decide?
#
# <details><summary>Rubric (10 points)</summary>
#
# - 2: separates the two claims: PCB ranks better, and PCB looks at more of the person.
# - 2: uses the table of both baselines and the deviation over seeds for the first claim.
# - 2: uses the measured share of the person, with the plain mean beside it, for the second.
# - 2: says that both facts together do not show that one causes the other; IDE and PCB also differ in picture shape, in
#   the length of the feature and in the number of losses.
# - 2: proposes an experiment that changes one of these at a time.
#
# </details>
#
# ## References
#
# - L. Zheng, Y. Yang, A. G. Hauptmann: *Person Re-identification: Past, Present and Future*, 2016 (IDE).
# - Y. Sun, L. Zheng, Y. Yang, Q. Tian, S. Wang: *Beyond Part Models: Person Retrieval with Refined Part Pooling*, ECCV 2018
#   (PCB).
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
