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
# cover them up, does it still know?
#
# ![People, where the network looks to name them, the soft mask, and what it leaves](../figures/identification.webp)
#
# **You will learn** how a map of attention grows out of channels and their weights, why it costs almost nothing, how CASN
# turns it into a loss (the paper's section 3.1.2 and equation 2), and how to measure whether a map covers a person.
#
# **You need** `00_start_here`, and the words *gradient* and *convolution*.
# **Runtime** under a minute at `smoke`, and at `quick` with the networks that come with the kit (on pictures of your own,
# some minutes for two trainings); at `paper` hours on a GPU for its two trainings, or seconds where they are done.
# **Hardware** a laptop; only `paper` asks for a GPU.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

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
# Two networks, as in notebook 00: the baseline **ide** has only learned to name the training people; **casn** has learned
# with both kinds of attention. They come with the kit, or are trained once and then loaded.

# %%
baseline, casn = session.run("ide"), session.run("casn")
for network in (baseline.model, casn.model):
    network.requires_grad_(False)  # nothing is trained below: gradients go by f and A, never by weights
model = casn.model

# %% [markdown]
# We take one training picture. Identification attention explains the score of a *class*, so it needs somebody who has
# one: the people of the training part. A class is a person's place in the sorted list of `pid`s.

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
# **Idea.** Before it decides anything, the trunk turns the picture into $C$ small pictures, its *channels*. Each one is
# bright where the trunk found what that channel responds to. After the last ReLU nothing is negative.

# %% [markdown]
# **Formula.** $A \in \mathbb{R}_{\geq 0}^{C \times h \times w}$.

# %% What the network sees: channels tags=["slide"]
A = model.feature_map(x)
assert A.min() >= 0
strongest = A.mean((2, 3))[0].argsort(descending=True)[:15].tolist()
print("A has the shape (B, C, h, w) =", tuple(A.shape))
figures.show_channels(image, A[0, strongest], [f"channel {k}" for k in strongest], title="The strongest channels of A")

# %% [markdown]
# **Look.** No channel has a name, and few of them mean one thing only. Some light up on clothes, some on edges, some on
# the background. *Which of these does the network use to name this person?* Brightness does not tell: a bright channel
# may count for nothing, or even speak against.

# %% [markdown]
# ## 3 · From $A$ to the score $y_c$
#
# **Formula.** Global average pooling turns each channel into one number, $f_k = \frac{1}{hw}\sum_{ij} A_{kij}$, and a
# small classifier $g$ of two layers turns these into one score for each person: $y = g(f)$.

# %%
f = A.mean((2, 3))
assert torch.allclose(f, model.pool(A), atol=1e-5)
y = model.id_scores(f)
p = y.softmax(1)[0]
print(f"f: {tuple(f.shape)}, y: {tuple(y.shape)}")
print(f"score of the own class {y[0, label].item():.2f}, p = {p[label].item():.3f} (chance: {1 / model.num_ids:.3f})")

# %% [markdown]
# ## 4 · What each channel counts: the weights $w_k$
#
# **Idea.** Turn one channel up a little, everywhere. Does the score of *this* person rise or fall, and how fast?

# %% [markdown]
# **Formula.** $w_k = \mathrm{GAP}\left(\partial y_c / \partial A_k\right)$. Since $f_k$ is the mean of $A_k$, each of the
# $hw$ places has the same derivative, and $w_k = \frac{1}{hw}\,\partial y_c / \partial f_k$. Only the small classifier
# has to be differentiated.

# %%
gradient = model.label_gradient(f, label)  # dy_c / df
w = attention.channel_weights(gradient, *A.shape[1:])
figures.show_weights(w[0], title="Weights w_k", label="weight")

# %% [markdown]
# **Look.** Evidence *for* and evidence *against* this person: here are the channels at both ends of that row.

# %%
order = w[0].argsort(descending=True).tolist()
ends = [*order[:4], *order[-3:]]
figures.show_channels(image, A[0, ends], [f"{k}: {w[0, k]:+.4f}" for k in ends], title="Channel: weight")

# %% [markdown]
# ## 5 · The sum grows, channel by channel
#
# **Formula.** $\sum_k w_k A_k$. We add the channels in the order in which they contribute, $|w_k f_k|$, and watch.
# Red speaks for the person, blue against.

# %% Attention grows, channel by channel tags=["slide"]
parts = w[0, :, None, None] * A[0]
order = parts.sum((1, 2)).abs().argsort(descending=True)
steps = [4**k for k in range(6) if 4**k < len(order)] + [len(order)]
sums = [parts[order[:n]].sum(0) for n in steps]
figures.show_channels(image, sums, [f"first {n}" for n in steps], signed=True, title="Sum of the first channels")

# %% [markdown]
# Nothing is lost on the way: added up over all places, the finished sum is $\langle \partial y_c/\partial f,\ f\rangle$,
# the part of the score that follows the feature.

# %%
total, inner = sums[-1].sum().item(), (gradient * f).sum().item()
assert abs(total - inner) < 1e-3 * (abs(inner) + 1)
print(f"sum over all places {total:.4f}, gradient times feature {inner:.4f}, score {y[0, label].item():.4f}")

# %% [markdown]
# What is missing between the second and the third number is the classifier's constants: they are the same at every
# place and in every picture that switches the same units on.

# %% [markdown]
# ## 6 · ReLU: only what speaks *for* the person
#
# **Formula.** $M = \mathrm{ReLU}\left(\sum_k w_k A_k\right)$. That is the identification attention of the paper's
# section 3.1.2, and it is Grad-CAM of the class score.

# %%
before = sums[-1]
M = before.clamp_min(0)
silent = before < 0
share = before[silent].abs().sum() / before.abs().sum()
print(f"ReLU silences {silent.float().mean():.0%} of the places and {share:.0%} of the evidence by size")
figures.show_channels(image, [before, M], ["before ReLU", "after"], signed=True, title="ReLU")

# %% [markdown]
# Keep those two numbers in mind when you read such a map: it tells what speaks for the answer and is *silent about what
# speaks against it*.

# %% [markdown]
# ## 7 · The closed form is the real thing
#
# The definition differentiates the score by every entry of $A$ and takes means. We differentiated by $f$ and divided by
# $hw$. Both must give the same map; here is the difference, over several pictures.

# %%
some = report.training_examples(train, 16)
A_some, own = model.feature_map(session.images("train", some)), torch.tensor(labels[some], device=session.device)
by_definition = attention.autograd_map(A_some, lambda a: model.id_scores(model.pool(a)).gather(1, own[:, None])[:, 0])
closed_form = model.identification_attention_of(A_some, own)
difference = (by_definition - closed_form).abs().max() / closed_form.abs().max()
print(f"largest difference, as a share of the largest value: {difference.item():.1e}")
assert difference < 1e-5

# %% [markdown]
# **Why is no backward pass through the trunk needed?** The map asks how $y_c$ depends on $A$. The trunk lies *before* $A$:
# it says how $A$ depends on the picture, which nobody asked. What has to be differentiated is this small:

# %%
trunk, head = (sum(p.numel() for p in part.parameters()) for part in (model.trunk, model.identity_head))
print(f"weights in the trunk {trunk:,}, in the classifier {head:,}")
print(f"numbers to differentiate by: {A[0].numel():,} in A by definition, {f[0].numel():,} in f in the closed form")

# %% [markdown]
# In training that is the difference between two forward and backward passes and three. In a test it makes maps for
# thousands of pictures a matter of matrix products.

# %% [markdown]
# ## 8 · Another label, another map?
#
# The same picture, the same $A$; only the question changes: *what speaks for being person $c'$?* We ask for the own
# class, for the three that the network finds most likely besides, and for the least likely one.

# %%
ranked = [k for k in p.argsort(descending=True).tolist() if k != label.item()]
asked = [label.item(), *ranked[:3], ranked[-1]]
maps = model.identification_attention_of(A.expand(len(asked), -1, -1, -1), torch.tensor(asked, device=session.device))
captions = [f"pid {pid_of_label[k]}: {p[k]:.2f}" for k in asked]
figures.show_channels(image, maps, captions, title="Who was asked for: probability")

# %% [markdown]
# One picture proves nothing. Over a sample of training pictures we ask how alike (Pearson's correlation, 1 = the same up
# to scale) the map of the own class is to two others: the map of the *runner-up*, the likeliest wrong class, and the
# **plain mean** of all channels, which knows no label and no classifier at all.

# %%
sample = np.linspace(0, len(train) - 1, min(300, len(train))).round().astype(int)
images, own = session.images("train", sample), torch.tensor(labels[sample], device=session.device)
A_sample = model.feature_map(images)
scores = model.id_scores(model.pool(A_sample))
runner_up = scores.scatter(1, own[:, None], -torch.inf).argmax(1)
M_own, M_other = (model.identification_attention_of(A_sample, k) for k in (own, runner_up))

# %%
alike = {
    "own class and runner-up": attention.map_correlation(M_own, M_other),
    "own class and plain mean": attention.map_correlation(M_own, attention.mean_map(A_sample)),
}
figures.show_distributions(
    alike, "correlation of two maps of one picture", "What does the label change?", limits=(-1, 1)
)

# %%
runner, mean = (values.median().item() for values in alike.values())
closer, other = ("plain mean", "runner-up") if mean > runner else ("runner-up", "plain mean")
print(f"on the median, the map of the own class is more like that of the {closer} ({max(runner, mean):.2f})")
print(f"than like that of the {other} ({min(runner, mean):.2f})")

# %% [markdown]
# The closer these come to 1, the less a map says about *this* person and the more about where the trunk is active at all.
# That is why the plain mean stands beside every map of this course. (A dark map in the row above is no error: nothing in
# the picture speaks for that class.)

# %% [markdown]
# ## 9 · The soft mask
#
# **Idea.** Cover what attention found; a smooth cover, so that gradients pass through it.

# %% [markdown]
# **Formula.** $S(M) = \sigma\left(a\,(M - b)\right)$, with $M$ scaled to $[0, 1]$ and enlarged to the picture's size. What
# remains is $I \cdot (1 - S(M))$. The slope $a$ says how sharp the edge is, the centre $b$ how much of the map counts.

# %%
settings = [(a, b) for a in (4, 10, 40) for b in (0.25, 0.5, 0.75)]
masks = [attention.image_mask(M[None], x.shape[2:], a, b) for a, b in settings]
remains = [ck.data.images.denormalise(attention.hide(x, mask)[0].cpu()) for mask in masks]
shades = [(255 * mask[0, 0].cpu().numpy()).astype(np.uint8) for mask in masks]
captions = [f"a {a}, b {b}" for a, b in settings]
figures.show_batch([*shades, *remains], captions + [f"hides {mask.mean():.0%}" for mask in masks], columns=9)

# %% [markdown]
# **Look.** Upper row: the mask, white where it hides. A gentle slope hides a little of everything, even where attention is
# zero; a steep one cuts a hole. A low centre hides more. The paper names neither $a$ nor $b$.

# %% [markdown]
# > **What the paper leaves open: the mask.** Slope, centre, and what hidden pixels show. *Our choice:* an edge of medium
# > slope in the middle of the map's range (the values stand at the end of section 10), each map scaled by its own minimum
# > and maximum, hidden pixels replaced by the mean colour. *The evidence:* what was tried, printed below. *To switch:*
# > `session.run("casn", loss={"mask_slope": 40.0, "mask_centre": 0.25, "mask_fill": "blur"})`.

# %%
print(*ablation.evidence("mask_slope", "mask_centre", "mask_fill"), sep="\n")

# %% [markdown]
# ## 10 · Does the network still know?
#
# Picture, attention, mask, and what the mask leaves:

# %% Cover what attention found tags=["slide"]
report.identification_figure(model, train, casn.info, name="casn")

# %% [markdown]
# **Formula (equation 2).** $L_{ia}$ is the label's score on the masked picture, run through the same network again. If it
# is still high, attention has missed a part by which the person can be known. Training makes it small, so attention has
# to *spread until nothing telling is left*.


# %%
def remaining(network, mask, images, labels):
    """Probability of the label on what the mask leaves (equation 2, before the mean)."""
    left = attention.hide(images, mask)
    return network.id_scores(network.pool(network.feature_map(left))).softmax(1).gather(1, labels[:, None])[:, 0]


# %% [markdown]
# A fair question needs a control: hiding *any* part of a picture hurts. So we hide the same amount once more in another
# place, the mask shifted by half the picture's height.

# %%
options = casn.info.config.loss
left_over, hidden = {}, {}
for name, network in {"ide": baseline.model, "casn": model}.items():
    mask = attention.image_mask(
        network.identification_attention(images, own), images.shape[2:], options.mask_slope, options.mask_centre
    )
    hidden[name], shifted = mask, mask.roll(images.shape[2] // 2, 2)
    for what, m in {"whole": 0 * mask, "attention hidden": mask, "control, shifted": shifted}.items():
        left_over[f"{name}: {what}"] = remaining(network, m, images, own)
figures.show_distributions(left_over, "probability of the own class", "What is still recognised", limits=(0, 1))

# %%
for name in hidden:
    after, control = (left_over[f"{name}: {what}"].mean() for what in ("attention hidden", "control, shifted"))
    print(f"{name}: {hidden[name].mean():.0%} of the picture hidden; mean p = {after:.2f}, control {control:.2f}:")
    print(f"  attention {'hides' if after < control else 'does not hide'} more of what matters than the shifted mask")

# %% [markdown]
# Look at the control first, and at the control of *both* networks. Where it is low too, the network is disturbed by any
# grey patch, and a low probability behind its own mask says less about attention.

# %% [markdown]
# The mean of the row *casn: attention hidden* is what training makes small. Written as the loss, with all three scores:

# %%
masked_scores = model.id_scores(model.pool(model.feature_map(attention.hide(images, hidden["casn"]))))
L_ia = {score: losses.attention_loss(masked_scores, own, score).item() for score in ("probability", "sigmoid", "logit")}
assert abs(L_ia["probability"] - left_over["casn: attention hidden"].mean().item()) < 1e-5
print({name: round(value, 3) for name, value in L_ia.items()})

# %% [markdown]
# > **What the paper leaves open: the score.** "The label's score" can be the *logit* (the literal reading; it has no
# > lower bound, so a network can always win by pushing it down further), the *probability* or the *sigmoid*.
# > *Our choice:* the probability; it is satisfied once the person is unknown. *The evidence:* networks trained with each
# > score, printed below. *To switch:* `session.run("casn", loss={"ia_score": "logit"})`, or all literal readings at once:
# > `ck.paper_literal(config)`.

# %%
print(*ablation.evidence("ia_score"), sep="\n")

# %% [markdown]
# One more open point hides in the second pass. Masked pictures have other statistics than whole ones, and BatchNorm
# measures statistics while it trains. How much does it matter by which of them a batch is normalised?

# %%
by_statistics = {"of whole pictures": L_ia["probability"]}
model.train()
_, _, scores = losses.masked_pass(model, attention.hide(images, hidden["casn"]), "batch")
model.eval()
by_statistics["of the masked batch"] = losses.attention_loss(scores[:, 0], own).item()
print("L_ia by the statistics", {name: round(value, 3) for name, value in by_statistics.items()})

# %% [markdown]
# > **What the paper leaves open: BatchNorm in the masked pass.** It can count masked batches like any others
# > (`update`), normalise them by themselves and forget (`batch`), or use what it knows of whole pictures (`running`).
# > *Our choice:* `batch`: the running statistics, which the test uses, stay those of whole pictures. *The evidence:* the two
# > numbers above, and networks trained with each, printed below. *To switch:*
# > `session.run("casn", loss={"masked_batchnorm": "update"})`.

# %%
print(*ablation.evidence("masked_batchnorm"), sep="\n")

# %% [markdown]
# Every run records its choices:

# %%
open_points = ("ia_score", "mask_slope", "mask_centre", "mask_fill", "masked_batchnorm")
print({name: getattr(options, name) for name in open_points})

# %% [markdown]
# ## 11 · Do they look at different things?
#
# The paper's claim (see its figure 4): a baseline finds *something* by which a person can be told, a stripe or a bag, while
# attention trained by equation 2 covers *the person*. First the pictures, our counterpart to that figure: the identification
# loss alone, and with attention learning (`ide+ia`), each with its plain mean beside it. The outline, where the data knows
# it, is the true person.

# %%
report.where_they_look({"ide": tuple(baseline), "ide+ia": tuple(session.run("ide+ia"))}, train)

# %% [markdown]
# Pictures invite stories. Our people were drawn, so we know which pixel is person and can *measure* (photographs need
# somebody who outlined the people). Two numbers, because each alone can be had for nothing: a mask over the whole picture
# covers everybody, an empty one hides no background.


# %%
def coverage(mask, person):
    """Share of the person that the mask hides, and share of what it hides that is no person: (B, H, W) twice -> (B,)."""
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
# Read coverage and spill together: more coverage *bought with spill* is only a larger mask. Read the last two lines before
# you praise attention: they say what it adds to a map that knows no label. And all of it is one training of each network
# with one seed; notebook 06 repeats it before it concludes anything.

# %% [markdown]
# ## 12 · One person, several pictures
#
# Is at least the *same* part looked at when the same person comes again? Nothing in equation 2 asks for it; equation 5, by
# which `casn` was trained as well, does. Our counterpart to the paper's figure 1: one person under several cameras,
# through the eyes of the baseline and of CASN.

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
# Everything here hung on a *label*. But the people whom we search for are never among the training people: they have no
# class, so there is no $y_c$ to explain. All that the network says about them is how alike **two pictures** are.
#
# **How can two pictures be explained together, without a name?** Notebook `04_siamese_attention` answers it.

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
# **2. Count.** With $a = 10$ and $b = 0.5$: how much does the soft mask hide of a place to which *no* attention is paid,
# $M = 0$? A number in [0, 1].
#
# <details><summary>Hint</summary>
#
# $\sigma(x) = 1 / (1 + e^{-x})$ at $x = a\,(0 - b)$. Section 9 shows what a gentle slope does.
#
# </details>

# %% tags=["exercise"]
my_share = None  # a number in [0, 1]

# %% tags=["check"]
at_zero, at_one = (attention.soft_mask(torch.tensor(m), 10, 0.5).item() for m in (0.0, 1.0))
mistakes = {"that is what is hidden where attention is strongest": at_one, "the sigmoid is never quite zero": 0.0}
exercises.check_number(my_share, at_zero, mistakes, tolerance=3e-4)

# %% [markdown]
# **3. Write it.** The map of section 6 for a batch: $A$ is (B, C, h, w), the weights are (B, C), the map is (B, h, w).
#
# <details><summary>Hint</summary>
#
# `w[:, :, None, None]` has the shape (B, C, 1, 1). First the sum over the channels, then the ReLU.
#
# </details>


# %% tags=["exercise"]
def my_map(A, w):
    """ReLU of the weighted sum of the channels: (B, C, h, w), (B, C) -> (B, h, w)."""


# %% tags=["check"]
generator = torch.Generator().manual_seed(0)
sizes = {"one picture": (1, 4, 3, 2), "three pictures": (3, 5, 2, 4)}
cases = {n: (torch.rand(s, generator=generator), torch.randn(s[:2], generator=generator)) for n, s in sizes.items()}
mistakes = {
    "the ReLU is missing": lambda A, w: (w[:, :, None, None] * A).sum(1),
    "first the sum, then the ReLU": lambda A, w: (w[:, :, None, None] * A).clamp_min(0).sum(1),
    "a sum over the channels, not a mean": lambda A, w: (w[:, :, None, None] * A).mean(1).clamp_min(0),
}
exercises.check_function(my_map, attention.weighted_map, cases, mistakes)

# %% [markdown]
# **To go on.**
#
# - Hide **everything but** what attention found. How much is still recognised, and is that the better question?
#   `remaining(model, 1 - hidden["casn"], images, own)`; the control is `1 - hidden["casn"].roll(...)`.
# - Equation 2 alone: add `session.run("ide+ia")` to the networks of section 11. Does attention spread? Then try
#   `loss={"ia_weight": 2.0}`, and look at rank-1 too.

# %% [markdown]
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - R. R. Selvaraju et al.: *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization*, ICCV 2017.
# - K. Li, Z. Wu, K.-C. Peng, J. Ernst, Y. Fu: *Tell Me Where to Look: Guided Attention Inference Network*, CVPR 2018.
# - J. Adebayo et al.: *Sanity Checks for Saliency Maps*, NeurIPS 2018.
