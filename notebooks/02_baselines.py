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
# Before attention earns any praise, we have to know what a network does *without* it. CASN is built on two baselines that
# are as plain as they are strong: **IDE**, which learns to name people, and **PCB**, which does so six times, once for each
# stripe of the picture. **What does learning names teach about people who have none?**
#
# ![Training people and where two networks look to name them, beside their plain mean maps](../figures/attention.webp)
#
# **You will learn** why a classifier of people is trained and then thrown away (the paper's equation 1), what stripes add
# (section 3.1.1), where the baselines look, and how far a result moves when nothing but the seed changes.
#
# **You need** `00_start_here` and `01_data_and_protocol`.
# **Runtime** under a minute at `smoke`, and at `quick` with the networks that come with the kit (on pictures of your own,
# some minutes for two trainings); at `paper` hours on a GPU. **Hardware** a laptop; only `paper` asks for a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import attention, evaluation, exercises, figures, ranking, report
from casnkit.experiments import ablation

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · Learning names
#
# **Idea.** We have training people with numbers. Let a network learn to name each picture's person, like any classifier of
# cats and dogs. To tell hundreds of people apart it has to find out what people differ in.

# %% [markdown]
# **Formula (equation 1).** $f = \mathrm{GAP}(A)$, scores $y = g(f)$, and the cross entropy of the softmax
#
# $$L_{ide} = -\log \frac{e^{y_c}}{\sum_k e^{y_k}}.$$

# %%
ide = session.run("ide")
ide.model.requires_grad_(False)
figures.show_losses(ide.log, title="IDE learns to name the training people") if ide.log else None

# %% [markdown]
# Does it know them? We ask for the probability
# of the own name on a sample of training pictures.

# %%
train = session.dataset.train
labels, pid_of_label = ck.data.labels_of(train.pids)
sample = np.linspace(0, len(train) - 1, min(300, len(train))).round().astype(int)
own = torch.tensor(labels[sample], device=session.device)
A = ide.model.feature_map(session.images("train", sample))
p = ide.model.id_scores(ide.model.pool(A)).softmax(1)
named = p.gather(1, own[:, None])[:, 0]
figures.show_distributions({"own name": named.cpu()}, "probability", "IDE on training pictures", limits=(0, 1))

# %%
print(f"right name first: {(p.argmax(1) == own).float().mean():.0%} of the pictures, chance {1 / p.shape[1]:.1%}")
session.expect((p.argmax(1) == own).float().mean() > 1 / p.shape[1], "the network has learned no names")

# %% [markdown]
# ## 2 · Throwing the names away
#
# **Idea.** The people to be searched for have no name among these. But on its way to the names the network makes the
# feature $f$, and two pictures of one *new* person should still lie close together there. So the classifier goes, and
# pictures are compared by the angle between their features.

# %%
query, gallery = session.dataset.query, session.dataset.gallery
sides = (query.pids, query.camids, gallery.pids, gallery.camids)
by_features = ide.result.distances["features"]
same = ranking.matches_mask(*sides)
different = ~same & ~ranking.ignored_mask(*sides)
rows = {"one person": by_features[same], "two people": by_features[different]}
figures.show_distributions(rows, "distance of features, lower is closer", "People never seen before")

# %% [markdown]
# Is it a pity about the classifier? Its scores say *how much a new person is like each of the known ones*, which is a
# description as well. We rank by three layers of the same network: $f$, the scores $y$, and the probabilities.


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
# **What softmax training gives, and what not.** The softmax asks for *enough* evidence to name a person, and not for *all*
# of it. Once a red bag settles the matter, the loss is nearly zero and nothing asks for the shoes any more. Probabilities
# push this furthest: they keep the winner and drop the rest.
#
# ## 3 · Six stripes instead of one
#
# **Idea (PCB).** Cut the feature map into six horizontal stripes, pool each for itself, and let a classifier of its own name
# the person from *each stripe alone*. Now shoes have to be looked at, for one classifier sees nothing else.

# %% [markdown]
# **Formula.** $f = (f_1, \dots, f_6)$ with $f_p = \mathrm{GAP}(\text{stripe } p)$, and $L_{ide}$ is the sum of six cross
# entropies. At test time the six features are laid side by side.

# %%
pcb = session.run("ide", pooling="stripes")
pcb.model.requires_grad_(False)
rows = [{"baseline": name, **run.result.rows()[0]} for name, run in {"IDE": ide, "PCB": pcb}.items()]
evaluation.table(rows)

# %% [markdown]
# What is each stripe worth? We rank by one stripe alone, and by all of them together.

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
print(
    f"all stripes together gain {100 * (together.mean_ap - scores[order[-1]].mean_ap):+.1f} points of mAP on the best"
)
figures.show_cmc({"all stripes": together.cmc, **curves}, title="All stripes, the best one, the poorest one")

# %% [markdown]
# **Look.** Which part of a person is in the best stripe, and which in the poorest? The bottom one sees feet and pavement,
# and the pavement belongs to the camera. *Rule:* the query on which the best and the poorest stripe differ most.

# %%
i = int(np.nanargmax(scores[order[-1]].average_precision - scores[order[0]].average_precision))
heads = {"all stripes": pcb.result.distances["features"]} | {f"stripe {k + 1}": alone[k] for k in (order[-1], order[0])}
figures.show_rankings(
    [report.ranking_row(session.dataset, d, i, name) for name, d in heads.items()], "One query, three rankings"
)

# %% [markdown]
# ## 4 · Where do the baselines look?
#
# Identification attention, which notebook 03 takes apart, shows which places speak for the own name. Beside it the plain
# mean of the feature map, that knows no name. The outline, where the data knows it, is the true person.

# %%
report.where_they_look({"IDE": tuple(ide), "PCB": tuple(pcb)}, train)

# %% [markdown]
# Our people are drawn, so it can be counted (in photographs, where somebody has outlined the people): how much of the map
# lies on the person, and how much of the person is reached by at least half of the map's maximum? The control is a map that
# is the same everywhere.


# %%
def on_person(maps, person):
    """Share of each map's sum inside the person, and share of the person above half the map's maximum: (B,) twice."""
    maps = attention.normalise_map(
        torch.nn.functional.interpolate(maps[:, None], person.shape[1:], mode="bilinear")[:, 0]
    )
    inside = (maps * person).sum((1, 2))
    return inside / maps.sum((1, 2)).clamp_min(1e-9), ((maps > 0.5) * person).sum((1, 2)) / person.sum((1, 2))


# %%
few = [k for k in sample[:: max(1, len(sample) // 100)] if report.has_mask(train, k)]
held, reached = {}, {}
for name, run in {"IDE": ide, "PCB": pcb}.items() if few else ():
    size = (run.info.config.data.height, run.info.config.data.width)
    pixels = ck.data.images.load_images(train.subset(few), size, progress=False)
    A = run.model.feature_map(ck.data.images.normalise(pixels).to(session.device))
    person = ck.data.images.load_masks(train.subset(few), size).float().to(session.device)
    own = torch.tensor(labels[few], device=session.device)
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
# What attention does *not* reach is evidence that nobody asked for, and the gap that the paper sets out to close. But
# reaching much is no art in itself: the plain mean, which knows no name, shows how far one gets without any.

# %% [markdown]
# ## 5 · The same network, another seed
#
# One training is one throw of the dice: other starting weights, another order of pictures. Before two methods are compared,
# we have to know how far *one* method scatters. `casnkit ablate` trained both baselines with several seeds, on our drawn
# people (`quick`) whatever data you have chosen above; the file that it wrote is read here, in percent. *Deviation* is the
# standard deviation over the seeds.

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
# Keep these numbers in mind for the rest of the course: *a difference between two single trainings that is smaller than this
# says nothing.* And a second kind of chance adds to it, the choice of people to be searched for:

# %%
result = ide.result.rankings["features"]
people = [result.average_precision[query.pids == pid] for pid in query.identities]
means = np.array([np.nanmean(own) for own in people if np.isfinite(own).any()])
margin = 196 * means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else float("inf")
print(
    f"mAP of IDE {100 * result.mean_ap:.1f}; with other {len(means)} people it could be off by {margin:.1f} points (95 %)"
)

# %% [markdown]
# > **What the paper leaves open: the baselines.** Two fully connected layers, and no word on their width, on what stands
# > between them, on weight decay, on crops and flips. These decide more points than many a method gains. *Our choice:* the
# > values printed below; every run records its own. *The evidence:* what was tried of them stands below the values.
# > *To switch:*
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
print(*ablation.evidence("weight_decay", "learning_rate"), sep="\n")

# %% [markdown]
# ## A question for the next notebook
#
# A map has stood beside each picture, and nobody has said how it came about. **Which places of a picture make a network say
# a name, and how can one know?** Notebook `03_identification_attention` takes the map apart.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/02_baselines](solutions/02_baselines.ipynb).
#
# **1. Predict.** We multiply *all* features by ten, queries' and gallery's. Does the ranking by angle change: `"same"` or
# `"changes"`?
#
# <details><summary>Hint</summary>
#
# `ranking.feature_distances` scales every feature to length one first.
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "same" or "changes"

# %% tags=["check"]
larger = evaluation.rank(distances_of(lambda f: 10 * f), session.dataset).mean_ap
reasons = {
    "same": "only directions are compared; a longer feature points the same way",
    "changes": "what is left of a feature's length once it is scaled to one?",
}
exercises.check_choice(my_prediction, "same" if np.isclose(larger, result.mean_ap, atol=1e-4) else "changes", reasons)

# %% [markdown]
# **2. Count.** A network that knows *nothing* gives each of $n$ people the same probability. How large is $L_{ide}$ for the
# number of training people here?
#
# <details><summary>Hint</summary>
#
# $-\log(1/n)$, the natural logarithm; $n$ is `ide.model.num_ids`. Where does the first curve of section 1 start?
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
# **3. Write it.** Pool a feature map into stripes: $A$ is (B, C, h, w), `stripes` divides $h$, the result is
# (B, stripes, C), each entry the mean of one channel over one stripe.
#
# <details><summary>Hint</summary>
#
# `A.unflatten(2, (stripes, -1))` has the shape (B, C, stripes, rows of a stripe, w). Which axes are averaged, and which two
# exchanged?
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
    "people are taller than wide: stripes run across, so h is cut": lambda A, k: reference(A.transpose(2, 3), k),
    "a mean, not a maximum": lambda A, k: A.unflatten(2, (k, -1)).amax((3, 4)).transpose(1, 2),
}
exercises.check_function(pool_stripes, reference, cases, mistakes)

# %% [markdown]
# **To go on.**
#
# - Train `session.run("ide", id_activation="none")`: a linear head. Is the change larger than the scatter of section 5?
# - Rank by the *five* best stripes. Is a poor stripe better than none?
#
# ## References
#
# - L. Zheng, Y. Yang, A. G. Hauptmann: *Person Re-identification: Past, Present and Future*, 2016 (IDE).
# - Y. Sun, L. Zheng, Y. Yang, Q. Tian, S. Wang: *Beyond Part Models: Person Retrieval with Refined Part Pooling*, ECCV 2018
#   (PCB).
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
