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
# # 03 · Identification attention
#
# A network looks at a picture and says: *this is person 12*. **Which places of the picture made it say so?** And if we
# cover these places, does it still recognise the person?
#
# ![People, where the network looks to name them, the soft mask, and what it leaves](../figures/identification.webp)
#
# **You will learn** how an attention map is built from channels and their weights, why it costs almost nothing, how CASN
# turns it into a loss (the paper's section 3.1.2 and equation 2), and how to measure whether a map covers a person.
#
# **You need** `00_start_here`, and the words *gradient* and *convolution*.
# **Runtime** under a minute at `smoke`, and at `quick` with the networks that come with the kit (on pictures of your own,
# some minutes for two trainings); at `paper` hours on a GPU for its two trainings, or seconds where they are done.
# **Hardware** a laptop; only `paper` asks for a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures
if "google.colab" in str(get_ipython()):  # docs/elsewhere.md
    get_ipython().run_line_magic("pip", "install -q casnkit-*.whl")

# %%
import numpy as np
import torch

import casnkit as ck
from casnkit import attention, exercises, figures, losses, report
from casnkit.experiments import ablation

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · One picture, one answer
#
# We use two networks, as in notebook 00. The baseline **ide** has only learned to name the training people; **casn** was
# trained with both kinds of attention. They come with the kit, or are trained once and then loaded.

# %%
baseline, casn = session.run("ide"), session.run("casn")
for network in (baseline.model, casn.model):
    network.requires_grad_(False)  # nothing is trained below: we differentiate by f and A, never by weights
model = casn.model

# %% [markdown]
# We take one training picture. Identification attention explains the score of a *class*, so the person must have one, and
# only training people do. A class is a person's place in the sorted list of `pid`s.

# %%
train = session.dataset.train
labels, pid_of_label = ck.data.labels_of(train.pids)
i = report.training_examples(train, 3)[1]
image, x = train.image(i), session.images("train", [i])
label = torch.tensor(labels[[i]], device=session.device)
print(f"pid {train.pids[i]} is class {label.item()} of {model.num_ids}")

# %% [markdown]
# ## 2 · What the network sees: the feature map $A$
#
# **Idea.** The trunk of the network turns the picture into $C$ small pictures, its *channels*. Each channel is bright where
# the trunk found what this channel responds to. After the last ReLU no value is negative.

# %% [markdown]
# **Formula.** $A \in \mathbb{R}_{\geq 0}^{C \times h \times w}$.

# %%
A = model.feature_map(x)
assert A.min() >= 0
strongest = A.mean((2, 3))[0].argsort(descending=True)[:15].tolist()
print("A has the shape (B, C, h, w) =", tuple(A.shape))
figures.show_channels(image, A[0, strongest], [f"channel {k}" for k in strongest], title="The strongest channels of A")

# %% [markdown]
# **Look.** Channels have no names, and few of them stand for one thing only. Some respond to clothes, some to edges, some to
# the background. *Which of them does the network use to name this person?* Brightness does not tell us: a bright channel may
# have no effect on the score, or even lower it.

# %% [markdown]
# ## 3 · From $A$ to the score $y_c$
#
# **Formula.** Global average pooling (GAP) turns each channel into one number, $f_k = \frac{1}{hw}\sum_{ij} A_{kij}$. A small
# classifier $g$ of two layers turns these numbers into one score for each person: $y = g(f)$.

# %%
f = A.mean((2, 3))
assert torch.allclose(f, model.pool(A), atol=1e-5)
y = model.id_scores(f)
p = y.softmax(1)[0]
print(f"f: {tuple(f.shape)}, y: {tuple(y.shape)}")
print(f"score of the own class {y[0, label].item():.2f}, p = {p[label].item():.3f} (chance: {1 / model.num_ids:.3f})")

# %% [markdown]
# ## 4 · How much each channel counts: the weights $w_k$
#
# **Idea.** Make one channel slightly brighter everywhere. Does the score of *this* person rise or fall, and how fast?

# %% [markdown]
# **Formula.** $w_k = \mathrm{GAP}\left(\partial y_c / \partial A_k\right)$. Since $f_k$ is the mean of $A_k$, each of the
# $hw$ places has the same derivative, so $w_k = \frac{1}{hw}\,\partial y_c / \partial f_k$. We only have to differentiate the
# small classifier.

# %%
gradient = model.label_gradient(f, label)  # dy_c / df
w = attention.channel_weights(gradient, *A.shape[1:])
figures.show_weights(w[0], title="Weights w_k", label="weight")

# %% [markdown]
# **Look.** Some channels are evidence *for* this person and some *against*. Here are the channels with the largest and the
# smallest weights.

# %%
order = w[0].argsort(descending=True).tolist()
ends = [*order[:4], *order[-3:]]
figures.show_channels(image, A[0, ends], [f"{k}: {w[0, k]:+.4f}" for k in ends], title="Channel: weight")

# %% [markdown]
# ## 5 · The sum grows, channel by channel
#
# **Formula.** $\sum_k w_k A_k$. We add the channels one after another, the largest contributions $|w_k f_k|$ first. Red
# raises the person's score, blue lowers it. Nothing is lost on the way: summed over all places, the finished map gives
# $\langle \partial y_c/\partial f,\ f\rangle$, gradient times feature.

# %%
parts = w[0, :, None, None] * A[0]
order = parts.sum((1, 2)).abs().argsort(descending=True)
steps = [4**k for k in range(6) if 4**k < len(order)] + [len(order)]
sums = [parts[order[:n]].sum(0) for n in steps]
total, inner = sums[-1].sum().item(), (gradient * f).sum().item()
assert abs(total - inner) < 1e-3 * (abs(inner) + 1)
print(f"sum over all places {total:.4f}, gradient times feature {inner:.4f}, score {y[0, label].item():.4f}")
figures.show_channels(image, sums, [f"first {n}" for n in steps], signed=True, title="Sum of the first channels")

# %% [markdown]
# The score itself differs from the sum by the classifier's constant terms. They are the same at every place, and the same for
# all pictures that activate the same hidden units.

# %% [markdown]
# ## 6 · ReLU: only what speaks *for* the person
#
# **Formula.** $M = \mathrm{ReLU}\left(\sum_k w_k A_k\right)$. This is the identification attention of the paper's
# section 3.1.2. It is the same as Grad-CAM of the class score.

# %%
before = sums[-1]
M = before.clamp_min(0)
silent = before < 0
share = before[silent].abs().sum() / before.abs().sum()
print(f"ReLU sets {silent.float().mean():.0%} of the places to zero; they hold {share:.0%} of the evidence by size")
figures.show_channels(image, [before, M], ["before ReLU", "after"], signed=True, title="ReLU")

# %% [markdown]
# Remember these two numbers when you read such a map: it shows what speaks for the answer and *hides what speaks against it*.

# %% [markdown]
# ## 7 · The short formula gives the same map
#
# The definition differentiates the score by every entry of $A$ and then takes means. We differentiated by $f$ and divided by
# $hw$. Both must give the same map. We check this on several pictures.

# %%
some = report.training_examples(train, 16)
A_some, own = model.feature_map(session.images("train", some)), torch.tensor(labels[some], device=session.device)
by_definition = attention.autograd_map(A_some, lambda a: model.id_scores(model.pool(a)).gather(1, own[:, None])[:, 0])
closed_form = model.identification_attention_of(A_some, own)
difference = (by_definition - closed_form).abs().max() / closed_form.abs().max()
print(f"largest difference, as a share of the largest value: {difference.item():.1e}")
assert difference < 1e-5

# %% [markdown]
# **Why do we need no backward pass through the trunk?** The map asks how $y_c$ depends on $A$. The trunk lies *before* $A$:
# it decides how $A$ depends on the picture, and that is another question. Only the small classifier has to be differentiated:

# %%
trunk, head = (sum(p.numel() for p in part.parameters()) for part in (model.trunk, model.identity_head))
print(f"weights in the trunk {trunk:,}, in the classifier {head:,}")
print(f"numbers to differentiate by: {A[0].numel():,} in A by definition, {f[0].numel():,} in f in the closed form")

# %% [markdown]
# So a training step with this attention needs two forward and backward passes instead of three. In the test, the maps of
# thousands of pictures are a few matrix products.

# %% [markdown]
# ## 8 · Another label, another map?
#
# We keep the picture and $A$ and change the question: *what speaks for being person $c'$?* We ask for the right class, for
# the three most likely wrong classes, and for the least likely one.

# %%
ranked = [k for k in p.argsort(descending=True).tolist() if k != label.item()]
asked = [label.item(), *ranked[:3], ranked[-1]]
maps = model.identification_attention_of(A.expand(len(asked), -1, -1, -1), torch.tensor(asked, device=session.device))
captions = [f"pid {pid_of_label[k]}: {p[k]:.2f}" for k in asked]
figures.show_channels(image, maps, captions, title="The class asked for, and its probability")

# %% [markdown]
# One picture proves nothing, so we take a sample of training pictures. How similar is the map of the right class to two other
# maps? The first is the map of the *runner-up*, the most likely wrong class. The second is the **plain mean** of all
# channels, which uses no label and no classifier. We measure similarity by Pearson's correlation (1 = the same up to scale).

# %%
sample = np.linspace(0, len(train) - 1, min(300, len(train))).round().astype(int)
images, own = session.images("train", sample), torch.tensor(labels[sample], device=session.device)
A_sample = model.feature_map(images)
scores = model.id_scores(model.pool(A_sample))
runner_up = scores.scatter(1, own[:, None], -torch.inf).argmax(1)
M_own, M_other = (model.identification_attention_of(A_sample, k) for k in (own, runner_up))
alike = {
    "right class and runner-up": attention.map_correlation(M_own, M_other),
    "right class and plain mean": attention.map_correlation(M_own, attention.mean_map(A_sample)),
}
figures.show_distributions(
    alike, "correlation of two maps of one picture", "What does the label change?", limits=(-1, 1)
)

# %%
runner, mean = (values.median().item() for values in alike.values())
closer, other = ("plain mean", "runner-up") if mean > runner else ("runner-up", "plain mean")
print(f"in the median, the map of the right class is more similar to the {closer} ({max(runner, mean):.2f})")
print(f"than to the {other} ({min(runner, mean):.2f})")

# %% [markdown]
# The closer these numbers are to 1, the less a map says about *this* person, and the more it only shows where the trunk is
# active at all. That is why the plain mean stands beside every map of this course. (A dark map in the row above is not an
# error: nothing in the picture speaks for that class.)

# %% [markdown]
# ## 9 · The soft mask
#
# **Idea.** We cover what attention found. The cover has soft edges, so that gradients can pass through it.

# %% [markdown]
# **Formula.** $S(M) = \sigma\left(a\,(M - b)\right)$, where $M$ is scaled to $[0, 1]$ and enlarged to the picture's size.
# What remains is $I \cdot (1 - S(M))$. The slope $a$ sets how sharp the edge is, the centre $b$ how much of the map counts.

# %%
settings = [(a, b) for a in (4, 10, 40) for b in (0.25, 0.5, 0.75)]
masks = [attention.image_mask(M[None], x.shape[2:], a, b) for a, b in settings]
remains = [ck.data.images.denormalise(attention.hide(x, mask)[0].cpu()) for mask in masks]
shades = [(255 * mask[0, 0].cpu().numpy()).astype(np.uint8) for mask in masks]
captions = [f"a {a}, b {b}" for a, b in settings]
figures.show_batch([*shades, *remains], captions + [f"hides {mask.mean():.0%}" for mask in masks], columns=9)

# %% [markdown]
# **Look.** The upper row shows the masks, white where they hide. A small slope hides a little everywhere, even where
# attention is zero; a large one cuts a hole. A low centre hides more. The paper gives no value for $a$ or $b$.

# %% [markdown]
# > **What the paper leaves open: the mask.** Slope, centre, and what hidden pixels show. *Our choice:* an edge of medium
# > slope in the middle of the map's range (the values are printed at the end of section 10). Each map is scaled by its own
# > minimum and maximum, and hidden pixels get the mean colour. *The evidence:* what was tried, printed below. *To switch:*
# > `session.run("casn", loss={"mask_slope": 40.0, "mask_centre": 0.25, "mask_fill": "blur"})`.

# %%
ck.notebook.say(*ablation.evidence("mask_slope", "mask_centre", "mask_fill"))

# %% [markdown]
# ## 10 · Is the person still recognised?
#
# The picture, its attention, the mask, and what the mask leaves:

# %%
report.identification_figure(model, train, casn.info, name="casn")

# %% [markdown]
# **Formula (equation 2).** $L_{ia}$ is the label's score on the masked picture, which goes through the same network again. If
# this score is still high, attention has missed a part by which the person can be recognised. Training makes the score
# small, so attention has to *spread until no telling part is left*.


# %%
def remaining(network, mask, images, labels):
    """Probability of the label on what the mask leaves (equation 2, before the mean)."""
    left = attention.hide(images, mask)
    return network.id_scores(network.pool(network.feature_map(left))).softmax(1).gather(1, labels[:, None])[:, 0]


# %% [markdown]
# This test needs a control, because hiding *any* part of a picture does harm. We use two. The first shifts the mask by half
# the picture's height; it then covers more background. The second takes the mask of *another picture*: it covers a person's
# usual place, but it was not made for this picture.

# %%
options = casn.info.config.loss
left_over, hidden = {}, {}
for name, network in {"ide": baseline.model, "casn": model}.items():
    mask = attention.image_mask(
        network.identification_attention(images, own), images.shape[2:], options.mask_slope, options.mask_centre
    )
    hidden[name] = mask
    masks = {"whole": 0 * mask, "attention hidden": mask}
    masks |= {"shifted mask": mask.roll(images.shape[2] // 2, 2), "another's mask": mask.roll(len(mask) // 2, 0)}
    left_over |= {f"{name}: {what}": remaining(network, m, images, own) for what, m in masks.items()}
    after, *controls = (left_over[f"{name}: {what}"].mean() for what in list(masks)[1:])
    print(
        f"{name}: {mask.mean():.0%} hidden; mean p {after:.3f}, shifted {controls[0]:.3f}, another's {controls[1]:.3f}:"
    )
    print(
        f"  attention {'hides' if after < min(controls) else 'does not hide'} more of what matters than both controls"
    )
figures.show_distributions(left_over, "probability of the right class", "What is still recognised", limits=(0, 1))

# %% [markdown]
# Look at the controls of *both* networks first. If they are low too, any grey patch disturbs the network, and a low
# probability behind its own mask says less about attention. Another picture's mask is the stricter control: if it hides
# almost as much, the mask mostly says "people stand in the middle".

# %% [markdown]
# Training makes the mean of *casn: attention hidden* small. Here is this mean as the library's loss, with three possible
# scores:

# %%
masked_scores = model.id_scores(model.pool(model.feature_map(attention.hide(images, hidden["casn"]))))
L_ia = {score: losses.attention_loss(masked_scores, own, score).item() for score in ("probability", "sigmoid", "logit")}
assert abs(L_ia["probability"] - left_over["casn: attention hidden"].mean().item()) < 1e-5
print({name: round(value, 3) for name, value in L_ia.items()})

# %% [markdown]
# > **What the paper leaves open: the score.** "The label's score" can be the *logit*, the *probability* or the *sigmoid*. The
# > logit is the literal reading, but it has no lower bound: the network can lower this loss for ever. *Our choice:* the
# > probability; it has done its work when the person is no longer recognised. *The evidence:* networks trained with each
# > score, printed below. *To switch:* `session.run("casn", loss={"ia_score": "logit"})`, or all literal readings at once:
# > `ck.paper_literal(config)`.

# %%
ck.notebook.say(*ablation.evidence("ia_score"))

# %% [markdown]
# There is one more open point in the second pass. Masked pictures have other statistics than whole ones, and BatchNorm
# measures statistics during training. How much does it matter which statistics we use?

# %%
by_statistics = {"of whole pictures": L_ia["probability"]}
model.train()
_, _, scores = losses.masked_pass(model, attention.hide(images, hidden["casn"]), "batch")
model.eval()
by_statistics["of the masked batch"] = losses.attention_loss(scores[:, 0], own).item()
print("L_ia by the statistics", {name: round(value, 3) for name, value in by_statistics.items()})

# %% [markdown]
# > **What the paper leaves open: BatchNorm in the masked pass.** It can count masked batches like any others
# > (`update`), normalise each by its own statistics and not keep them (`batch`), or use the statistics of whole pictures
# > (`running`). *Our choice:* `batch`, so that the running statistics, which the test uses, stay those of whole pictures.
# > *The evidence:* the two numbers above, and networks trained with each, printed below. Every run records its choices; the
# > last line prints those of this one. *To switch:* `session.run("casn", loss={"masked_batchnorm": "update"})`.

# %%
ck.notebook.say(*ablation.evidence("masked_batchnorm"))
open_points = ("ia_score", "mask_slope", "mask_centre", "mask_fill", "masked_batchnorm")
print({name: getattr(options, name) for name in open_points})

# %% [markdown]
# ## 11 · Do the networks look at different things?
#
# The paper's claim (its figure 4): a baseline finds *something* that tells a person apart, perhaps a stripe or a bag, while
# attention trained by equation 2 covers *the whole person*. First the pictures, our counterpart to that figure: the
# identification loss alone, and with attention learning (`ide+ia`). Each has its plain mean beside it. The outline, if the
# data has one, is the true person.

# %%
report.where_they_look({"ide": tuple(baseline), "ide+ia": tuple(session.run("ide+ia"))}, train)

# %% [markdown]
# A few pictures can support any story, so we measure. Our people are drawn, and we know which pixels belong to the person.
# (For photographs somebody has to outline the people.) We need two numbers, because each alone is easy to reach: a mask over
# the whole picture covers everybody, and a nearly empty one hides no background.


# %%
def coverage(mask, person):
    """Share of the person that the mask hides; share of the mask that lies beside the person: (B, H, W) twice -> (B,)."""
    inside, beside = (mask * person).sum((1, 2)), (mask * (1 - person)).sum((1, 2))
    return inside / person.sum((1, 2)), beside / (inside + beside)


# %%
known = [n for n, k in enumerate(sample) if report.has_mask(train, k)]
covered, spilled = {}, {}
for name, network in {"ide": baseline.model, "casn": model}.items() if known else ():
    person = ck.data.images.load_masks(train.subset(sample[known]), images.shape[2:]).float().to(session.device)
    A_all = network.feature_map(images[known])
    seen = {
        "attention": network.identification_attention_of(A_all, own[known]),
        "plain mean": attention.mean_map(A_all),
    }
    for kind, maps in seen.items():
        mask = attention.image_mask(maps, person.shape[1:], options.mask_slope, options.mask_centre)[:, 0]
        covered[f"{name}: {kind}"], spilled[f"{name}: {kind}"] = coverage(mask, person)
figures.show_distributions(
    covered, "share of the person covered", "Coverage, more is better", limits=(0, 1)
) if covered else None

# %%
figures.show_distributions(
    spilled, "share of the mask beside the person", "Spill, less is better", limits=(0, 1)
) if spilled else None

# %%
if covered:
    gain = covered["casn: attention"] - covered["ide: attention"]
    spill = spilled["casn: attention"] - spilled["ide: attention"]
    print(f"casn covers more of the person than ide in {(gain > 0).float().mean():.0%} of {len(gain)} pictures,")
    print(f"by {100 * gain.mean():+.1f} points on average, with {100 * spill.mean():+.1f} points of spill")
    for name in ("ide", "casn"):
        gain, spill = (m[f"{name}: attention"] - m[f"{name}: plain mean"] for m in (covered, spilled))
        print(f"{name}, attention against its own plain mean: {100 * gain.mean():+.1f} points of coverage,", end=" ")
        print(f"{100 * spill.mean():+.1f} points of spill")
else:
    print("This data set has no person masks: coverage cannot be measured here.")

# %% [markdown]
# Read coverage and spill together: more coverage *with more spill* may be nothing but a larger mask. The last two lines say
# what attention adds to a map that uses no label. And all this is one training of each network with one seed; notebook 06
# repeats the trainings before it concludes anything.

# %% [markdown]
# ## 12 · One person, several pictures
#
# Does the network at least look at the *same* part when the same person comes again? Equation 2 does not ask for this.
# Equation 5 does, and `casn` was trained with it. Here is our counterpart to the paper's figure 1: one person under several
# cameras, with the maps of the baseline and of CASN.

# %%
own_pictures = np.flatnonzero(train.pids == train.pids[i])
of_cameras = np.unique(train.camids[own_pictures], return_index=True)[1]  # the first picture of each camera
again, where = own_pictures[of_cameras if len(of_cameras) > 1 else slice(None)][:4], {}
for name, network in {"ide": baseline.model, "casn": model}.items():
    A_again = network.feature_map(session.images("train", again))
    where[name] = network.identification_attention_of(A_again, torch.tensor(labels[again], device=session.device))
outlines, cameras = [train.mask(k) for k in again], [ck.data.camera_text(train.camids[k]) for k in again]
figures.show_maps([train.image(k) for k in again], where, outlines, cameras, "One person, again")

# %% [markdown]
# ## A question for the next notebook
#
# Every map here needed a *label*. But the people we search for are not training people. They have no class, so there is no
# $y_c$ to explain. The network can only say how similar **two pictures** are.
#
# **How can we explain two pictures together, without a name?** Notebook `04_siamese_attention` answers this.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/03_identification_attention](solutions/03_identification_attention.ipynb).
#
# **1. Predict.** Double every weight $w_k$. What happens to the map $M$, and what to the soft mask? `"both change"`,
# `"only the map"`, `"only the mask"` or `"neither"`?
#
# <details><summary>Hint</summary>
#
# `attention.weighted_map(A, 2 * w)`, then `attention.image_mask`. Which step divides the factor out again?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "both change", "only the map", "only the mask" or "neither"

# %% tags=["check"]
once, twice = (attention.weighted_map(A, factor * w) for factor in (1, 2))
mask_once, mask_twice = (attention.image_mask(m, x.shape[2:], 10, 0.5) for m in (once, twice))
changed = (not torch.allclose(once, twice), not torch.allclose(mask_once, mask_twice, atol=1e-4))
turned_out = {(1, 1): "both change", (1, 0): "only the map", (0, 1): "only the mask", (0, 0): "neither"}[changed]
reasons = {
    "both change": "one of them is scaled to [0, 1] before it is used",
    "only the map": "M is linear in the weights; the mask is made of M scaled to [0, 1], which divides the factor out",
    "only the mask": "the map is a sum of weight times channel: what does a factor in every term do?",
    "neither": "the map is a sum of weight times channel: what does a factor in every term do?",
}
exercises.check_choice(my_prediction, turned_out, reasons)

# %% [markdown]
# **2. Work it out.** With $a = 10$ and $b = 0.5$: how much does the soft mask hide at a place that gets *no* attention,
# $M = 0$? A number in [0, 1].
#
# <details><summary>Hint</summary>
#
# $\sigma(x) = 1 / (1 + e^{-x})$ at $x = a\,(0 - b)$. Section 9 shows what a small slope does.
#
# </details>

# %% tags=["exercise"]
my_share = None  # a number in [0, 1]

# %% tags=["check"]
at_zero, at_one = (attention.soft_mask(torch.tensor(m), 10, 0.5).item() for m in (0.0, 1.0))
mistakes = {"that is what is hidden where attention is strongest": at_one, "the sigmoid is never quite zero": 0.0}
exercises.check_number(my_share, at_zero, mistakes, tolerance=3e-4)

# %% [markdown]
# **3. Write it.** Implement $L_{ia}$ (equation 2) with PyTorch alone, from the maps to the loss. Given are pictures
# (B, 3, H, W), their raw maps (B, h, w) and labels (B,). Use $a = 10$, $b = 0.5$, the probability as the score, and zero (the
# mean colour) for hidden pixels. For the second pass use `model.feature_map`, `model.pool` and `model.id_scores`.
#
# <details><summary>Hint</summary>
#
# Five steps: scale each map to $[0, 1]$ by its own minimum and maximum; enlarge it with
# `torch.nn.functional.interpolate(scaled[:, None], images.shape[2:], mode="bilinear")`; apply the sigmoid; multiply the
# picture by one minus the mask; take the mean probability of the labels.
#
# </details>


# %% tags=["exercise"]
def my_attention_loss(images, maps, labels):
    """Mean probability of the labels on what the soft mask leaves: (B, 3, H, W), (B, h, w), (B,) -> a single number."""


# %% tags=["check"]
def reference(images, maps, labels, cover=lambda mask: mask, score="probability"):
    masked = attention.hide(images, cover(attention.image_mask(maps, images.shape[2:], 10, 0.5)))
    return losses.attention_loss(model.id_scores(model.pool(model.feature_map(masked))), labels, score)


def unscaled(images, maps, labels):
    large = torch.nn.functional.interpolate(maps[:, None], images.shape[2:], mode="bilinear")
    return reference(images, maps, labels, lambda _: attention.soft_mask(large, 10, 0.5))


not_flat = (M_own.amax((1, 2)) > M_own.amin((1, 2))).nonzero()[:6, 0]
cases = {"one picture": not_flat[:1], "some pictures": not_flat}
cases = {name: (images[few], M_own[few], own[few]) for name, few in cases.items()}
mistakes = {
    "scale each map to [0, 1] before the sigmoid": unscaled,
    "that hides everything but the attention: use 1 - S": lambda *given: reference(*given, lambda mask: 1 - mask),
    "that is the score of the whole pictures: the mask is missing": lambda *given: reference(*given, lambda m: 0 * m),
    "that is the logit; the probability comes after a softmax": lambda *given: reference(*given, score="logit"),
    "take the mean over the pictures, not the sum": lambda *given: len(given[0]) * reference(*given),
}
exercises.check_function(my_attention_loss, reference, cases, mistakes)

# %% [markdown]
# **4. Cheat.** Write a function that makes a map (h, w) whose soft mask has a coverage of nearly 1, whatever the picture
# shows. It gets only the size of the map. Careful: each map is scaled to $[0, 1]$ by its own minimum and maximum first.
#
# <details><summary>Hint</summary>
#
# A map that is the same everywhere becomes zero when it is scaled. What is the smallest change that prevents this?
#
# </details>


# %% tags=["exercise"]
def cheating_map(h, w):
    """A map (h, w) that covers every person."""


# %% tags=["check"]
persons = torch.zeros(3, 64, 32)
for person, (top, bottom, left, right) in zip(persons, ((8, 60, 9, 23), (16, 63, 2, 12), (4, 40, 14, 29)), strict=True):
    person[top:bottom, left:right] = 1
got, made = None, cheating_map(16, 8)
if made is not None and made is not ...:
    made = torch.as_tensor(made, dtype=torch.float32).reshape(1, 16, 8)
    covered_by_it, spilled_by_it = coverage(attention.image_mask(made, (64, 32))[:, 0].expand(3, -1, -1), persons)
    got = covered_by_it.min().item()
    print("persons of three sizes: coverage", covered_by_it.numpy().round(3), "spill", spilled_by_it.numpy().round(3))
constant = (
    coverage(attention.image_mask(torch.ones(1, 16, 8), (64, 32))[:, 0].expand(3, -1, -1), persons)[0].min().item()
)
mistakes = {"a constant map is scaled to zero, and its mask hides almost nothing": constant}
exercises.check_number(got, 1.0, mistakes, tolerance=0.02)

# %% [markdown]
# **5. Work it out.** Coverage does not catch the cheat. Does spill? A person fills 30 % of a picture. What is the spill of
# your map from exercise 4, if its mask is the same everywhere?
#
# <details><summary>Hint</summary>
#
# Spill is the share of the mask that lies beside the person.
#
# </details>

# %% tags=["exercise"]
my_spill = None  # a number in [0, 1]

# %% tags=["check"]
everywhere, three_tenths = torch.ones(1, 10, 10), torch.zeros(1, 10, 10)
three_tenths[:, :3] = 1
mistakes = {
    "that is the share of the mask on the person; spill is the rest": 0.3,
    "that is the coverage": 1.0,
    "the mask also lies on the background": 0.0,
}
exercises.check_number(my_spill, coverage(everywhere, three_tenths)[1].item(), mistakes, tolerance=0.02)

# %% [markdown]
# **To go on.**
#
# - Hide **everything but** what attention found. How much is still recognised, and is that the better question?
#   `remaining(model, 1 - hidden["casn"], images, own)`; the control is `1 - hidden["casn"].roll(...)`.
# - Equation 2 alone: add `session.run("ide+ia")` to the networks of section 11. Does attention spread? Then try
#   `loss={"ia_weight": 2.0}`, and look at rank-1 too.
#
# ## Recap
#
# Answer each question in your head, then open it.
#
# <details><summary>1. Why is the weight of a channel the same at all its places?</summary>
#
# The score depends on channel $k$ only through its mean $f_k$, and every place has the same share in the mean. So the
# derivative is $\frac{1}{hw}\,\partial y_c / \partial f_k$ everywhere.
#
# </details>
#
# <details><summary>2. What does equation 2 make small, and what should this do to the map?</summary>
#
# The score of the right person on the masked picture. If a telling part stays visible, the score stays high, so the map has
# to grow until it covers all such parts.
#
# </details>
#
# <details><summary>3. A map covers 95 % of the person. Why is this not yet good news?</summary>
#
# A mask over the whole picture covers everybody. Look at the spill, compare it with the share of the background in the
# picture, and compare both numbers with those of the plain mean.
#
# </details>
#
# ## Essay question
#
# The paper shows two maps (its figure 4) and concludes that attention learning covers more of the person. Write half a page:
# which measurements, controls and repetitions would you ask for before you accept this conclusion?
#
# <details><summary>Rubric (10 points)</summary>
#
# - 2: asks for many pictures, chosen by a rule, instead of one.
# - 2: asks for coverage *and* spill, and explains how each alone can be cheated.
# - 2: asks for a baseline map that uses no label (the plain mean).
# - 2: asks for controls of the masking test (a shifted mask, another picture's mask).
# - 2: asks for several trainings with different seeds, and for the cost in rank-1 or mAP.
#
# </details>

# %% [markdown]
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - R. R. Selvaraju et al.: *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization*, ICCV 2017.
# - K. Li, Z. Wu, K.-C. Peng, J. Ernst, Y. Fu: *Tell Me Where to Look: Guided Attention Inference Network*, CVPR 2018.
# - J. Adebayo et al.: *Sanity Checks for Saliency Maps*, NeurIPS 2018.
