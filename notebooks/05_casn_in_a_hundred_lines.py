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
# # 05 · CASN in a hundred lines
#
# You have seen both kinds of attention and every equation of the paper. **Could you build all of it yourself?** In this
# lesson you do: a trunk, two classifiers, equations 1 to 6, the pairs and the training loop. Nothing is hidden in a library.
# Then you train the network, and check every number against the kit.
#
# ![A pair of one person with the maps of both pictures and their row profiles](../figures/pair-right.webp)
#
# **You will learn** how each equation of the paper becomes a few lines of PyTorch, what one step of training does, and where
# to find the same lines in the kit.
#
# **You need** `03_identification_attention` and `04_siamese_attention`, and to have seen a PyTorch module before.
# **Runtime** under a minute at `smoke`; at `quick` about two minutes on two cores; at `paper` the same small network on
# larger data. **Hardware** a laptop.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures
if "google.colab" in str(get_ipython()):  # docs/elsewhere.md
    get_ipython().run_line_magic("pip", "install -q casnkit-*.whl")

# %%
import numpy as np
import torch
import torch.nn.functional as F

import casnkit as ck
from casnkit import exercises, figures, losses
from casnkit.data.images import load_images, normalise

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · The pictures
#
# All training pictures fit into one tensor. A *label* is the number of the person's class: 0, 1, 2, ...

# %%
settings = session.config()
size, device, split = (settings.data.height, settings.data.width), session.device, session.dataset.train
images = normalise(load_images(split, size, progress=False)).to(device)
pids, labels = np.unique(split.pids, return_inverse=True)
labels = torch.from_numpy(labels).to(device)
print(f"{len(images)} pictures of {len(pids)} people, each {tuple(images.shape[1:])}")

# %% [markdown]
# ## 2 · One trunk, two classifiers
#
# **The trunk** turns a picture into a feature map $A$ of 128 channels. It has four convolutions, each with BatchNorm and
# ReLU. The first three halve the picture. The last keeps its size, so that the map has enough cells to show where something
# is.


# %% tags=["casn"]
def layer(before, after, stride):
    convolution = torch.nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    return torch.nn.Sequential(convolution, torch.nn.BatchNorm2d(after), torch.nn.ReLU())


torch.manual_seed(session.seed)
trunk = torch.nn.Sequential(layer(3, 24, 2), layer(24, 48, 2), layer(48, 96, 2), layer(96, 128, 1)).to(device)

# %% [markdown]
# **The feature** $f$ is the mean of the map over all places. **The ID classifier** $g$ names the person, $y = g(f)$. **The
# pair classifier** $b$ gets the difference of two features and says whether they show one person: $z = b(f_1 - f_2)$, where
# $z_1$ is the score of "the same".


# %% tags=["casn"]
def look(pictures):
    A = trunk(pictures)  # (B, 128, h, w)
    return A, A.mean((2, 3))  # f: (B, 128)


hidden = torch.nn.Linear(128, 512), torch.nn.BatchNorm1d(512), torch.nn.ReLU()
identity_head = torch.nn.Sequential(*hidden, torch.nn.Linear(512, len(pids))).to(device)
pair_head = torch.nn.Sequential(torch.nn.Linear(128, 512), torch.nn.ReLU(), torch.nn.Linear(512, 2)).to(device)

# %%
A, f = look(images[:4])
shown = {"A": A, "f": f, "y": identity_head(f), "z": pair_head(f[:2] - f[2:])}
print(*(f"{name}: {tuple(value.shape)}" for name, value in shown.items()), sep="   ")

# %% [markdown]
# ## 3 · Equations 1 and 2: name the person, and look at all of it
#
# **Equation 1** is the usual loss of a classifier, the cross entropy of $y$. **Equation 2** needs the map first: each
# channel is weighted by the derivative of the label's score, $M = \mathrm{ReLU}\bigl(\sum_k \frac{\partial y_c}{\partial
# f_k} A_k\bigr)$. We differentiate the classifier, not the trunk. BatchNorm must be in eval mode here, because in training
# mode it mixes the pictures of a batch.


# %% tags=["casn"]
def identification_map(A, f, labels):
    point = f.detach().requires_grad_()
    score = identity_head.eval()(point).gather(1, labels[:, None]).sum()
    (weights,) = torch.autograd.grad(score, point)
    identity_head.train()
    return torch.einsum("bchw,bc->bhw", A, weights).relu()  # (B, h, w)


# %% [markdown]
# The map is scaled to $[0, 1]$ and enlarged to the picture's size. A sigmoid turns it into a mask. The mask hides what the
# map found; zero stands for the mean colour. Then the network sees what remains. **Equation 2** makes the probability of the
# person in this remaining picture small.


# %% tags=["casn"]
def hide(pictures, maps):
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(1e-12)
    large = F.interpolate(scaled[:, None], pictures.shape[2:], mode="bilinear")
    return pictures * (1 - torch.sigmoid(10 * (large - 0.5)))


def attention_loss(pictures, A, f, labels):
    _, rest = look(hide(pictures, identification_map(A, f, labels)))
    return identity_head(rest).softmax(1).gather(1, labels[:, None]).mean()


# %% [markdown]
# ## 4 · Equations 3 to 5: compare two pictures, and look at both alike
#
# **Equation 3** is the cross entropy of $z$. **Equation 4** asks which channels of the difference raise "the same",
# $\alpha = [\partial z_1 / \partial f^- > 0]$, and adds up these channels in both pictures.


# %% tags=["casn"]
def siamese_maps(A_1, A_2, difference):
    point = difference.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(pair_head(point)[:, 1].sum(), point)
    alpha = (gradient > 0).float()
    return [torch.einsum("pchw,pc->phw", A, alpha).relu() for A in (A_1, A_2)]


# %% [markdown]
# **Equation 5** compares two maps row by row. The value of a row is its maximum. The rows above and below the person are cut
# off: all rows before the first value above $t$, and all rows after the last one. The remaining rows are stretched to full
# height.


# %% tags=["casn"]
def align(maps, t=0.5):
    profiles = maps.amax(2)
    profiles = profiles / profiles.amax(1, keepdim=True).clamp_min(1e-12)
    kept = [profile[first : last + 1] for profile in profiles for first, last in [ends(profile > t)]]
    return torch.stack([F.interpolate(rows[None, None], maps.shape[1], mode="linear")[0, 0] for rows in kept])


def ends(above):
    rows = above.nonzero()
    return (rows.min(), rows.max()) if len(rows) else (0, len(above) - 1)


# %% [markdown]
# ## 5 · Equation 6: one number
#
# A batch holds the first pictures of all pairs, then the second ones. Equation 5 uses only the pairs of one person.


# %% tags=["casn"]
def casn_loss(pictures, labels):
    A, f = look(pictures)
    ide = F.cross_entropy(identity_head(f), labels)  # equation 1
    ia = attention_loss(pictures, A, f, labels)  # equation 2
    (A_1, A_2), (f_1, f_2), (label_1, label_2) = A.chunk(2), f.chunk(2), labels.chunk(2)
    same = label_1 == label_2
    bce = F.cross_entropy(pair_head(f_1 - f_2), same.long())  # equation 3
    M_1, M_2 = siamese_maps(A_1, A_2, f_1 - f_2)  # equation 4
    distance = torch.linalg.vector_norm(align(M_1) - align(M_2), dim=1)  # equation 5
    consistency = distance[same].mean()
    total = ide + 0.5 * ia + 0.05 * (bce + 0.2 * consistency)  # equation 6
    return {"total": total, "ide": ide, "ia": ia, "bce": bce, "consistency": consistency}


# %% [markdown]
# ## 6 · Is it right?
#
# The kit computes the same loss. It accepts any trunk, so we give it ours and copy the weights of both classifiers. Every
# term must agree, and so must the gradient that reaches the first convolution.

# %%
library = ck.CASN(len(pids), backbone=trunk).to(device).train()
for ours, theirs in ((identity_head, library.identity_head), (pair_head, library.pair_head)):
    for value, its in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        its.copy_(value.view_as(its))
order = np.argsort(split.pids, kind="stable")[:16]  # neighbours show one person
batch = np.concatenate([order[::2], order[1::2]])
mine = casn_loss(images[batch], labels[batch])
theirs = losses.CASNLoss()(library, *images[batch].chunk(2), *labels[batch].chunk(2))
for name, value in mine.items():
    print(f"{name:12} here {value:.6f}   kit {theirs[name]:.6f}")
first = trunk[0][0].weight
here, kit = (torch.autograd.grad(terms["total"], first)[0] for terms in (mine, theirs))
print(f"gradients differ by {(here - kit).abs().max() / kit.abs().max():.1e} of the largest")
assert all(torch.allclose(mine[name], theirs[name], atol=1e-5) for name in mine)
assert torch.allclose(here, kit, atol=1e-4 * kit.abs().max().item())

# %% [markdown]
# ## 7 · Pairs
#
# Each picture gets a partner. Every fourth partner is another picture of the same person, the others show somebody else.

# %% tags=["casn"]
random, people = np.random.default_rng(session.seed), labels.cpu().numpy()


def partner(i, same):
    others = np.flatnonzero((people == people[i]) == same)
    others = others[others != i]
    return random.choice(others) if len(others) else i


def draw_pairs(first):
    second = [partner(i, same=k % 4 == 0) for k, i in enumerate(first)]
    return np.concatenate([first, second])  # (2P,)


# %%
pairs = draw_pairs(random.permutation(len(images))[:8])
names = [f"person {split.pids[i]}" for i in pairs]
figures.show_batch([split.image(i) for i in pairs], names, title="Eight pairs: below each picture, its partner")

# %% [markdown]
# ## 8 · The loop
#
# One step: draw pairs, mirror half of the pictures, compute the loss, and move every weight a little against its gradient.
# We use stochastic gradient descent with momentum, as in the paper. In the last quarter of the training the learning rate
# falls to a tenth. A large weight decay suits a network that starts from random weights (notebook 02).
#
# The cell after the next one trains: some seconds at `smoke`, a minute or two at `quick`. It prints nothing until it is done.

# %% tags=["casn"]
modules = torch.nn.ModuleList([trunk, identity_head, pair_head])
rate, epochs, batch_size = 0.03, settings.train.epochs, 16
optimiser = torch.optim.SGD(modules.parameters(), rate, momentum=0.9, weight_decay=0.01)
schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [int(0.75 * epochs)], gamma=0.1)


def train_step(pairs):
    pictures = images[pairs]
    mirrored = torch.from_numpy(random.random(len(pairs)) < 0.5).to(device)
    pictures = torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)
    terms = casn_loss(pictures, labels[pairs])
    optimiser.zero_grad()
    terms["total"].backward()
    optimiser.step()
    return {name: value.item() for name, value in terms.items()}


def train_epoch():
    modules.train()
    batches = random.permutation(len(images))[: len(images) // batch_size * batch_size].reshape(-1, batch_size)
    terms = [train_step(draw_pairs(first)) for first in batches]
    schedule.step()
    return {name: np.mean([step[name] for step in terms]) for name in terms[0]}


# %%
log = [{"epoch": epoch, **train_epoch()} for epoch in range(1, epochs + 1)]
figures.show_losses(log, "Trained in this notebook")

# %% [markdown]
# **Look.** `ide` falls most: the network learns to name the people. `bce` changes little, because its weight is only a
# twentieth. Does `consistency` fall? Look at the curve; notebook 06 measures it over several trainings.
#
# ## 9 · The test
#
# The people of the test are new to the network. Each query is compared with every gallery picture by the distance of their
# features.


# %% tags=["casn"]
@torch.no_grad()
def features(split):
    trunk.eval()
    pictures = normalise(load_images(split, size, progress=False)).split(64)
    return F.normalize(torch.cat([look(part.to(device))[1] for part in pictures]))


def test():
    query, gallery = session.dataset.query, session.dataset.gallery
    distances = torch.cdist(features(query), features(gallery)).cpu().numpy()
    return ck.evaluate_ranking(distances, query.pids, query.camids, gallery.pids, gallery.camids)


# %% [markdown]
# Three results side by side: this notebook's network, the kit's network (it has a slightly deeper trunk and shifts the
# pictures at random), and chance.

# %%
ours, kits = test(), session.run("casn").result
for name, found in {"here": ours, "the kit's": kits.rankings["features"], "chance": kits.chance}.items():
    print(f"{name:10} rank-1 {100 * found.cmc[0]:5.1f}   mAP {100 * found.mean_ap:5.1f}")
session.expect(ours.mean_ap > 1.5 * kits.chance.mean_ap, "the network is hardly better than chance")

# %% [markdown]
# Where does the network look? Two training pictures of one person, with the maps of equation 4:

# %%
pair = [next(i for i in range(len(people)) if (people == people[i]).sum() > 1)]
pair.append(partner(pair[0], same=True))
with torch.no_grad():
    A, f = look(images[pair])
M_1, M_2 = siamese_maps(A[:1], A[1:], f[:1] - f[1:])
figures.show_pair(*(split.image(i) for i in pair), M_1[0], M_2[0], same=True, title="Trained in this notebook")

# %% [markdown]
# ## 10 · The same lines in the kit
#
# | here | in the kit | what the kit adds |
# |---|---|---|
# | `trunk`, `identity_head`, `pair_head`, `look` | `casnkit/models.py` | trunks by name, stripes (PCB), weights from files |
# | `identification_map`, `hide`, `siamese_maps`, `align` | `casnkit/attention.py` | variants of equation 4, no loop |
# | `attention_loss`, `casn_loss` | `casnkit/losses.py` | every open point as an option |
# | the numbers 0.03, 0.5, 16, ... | `casnkit/config.py` | each with its source or reason, recorded with the run |
# | `train_step`, `train_epoch` | `casnkit/training.py` | several GPUs, half precision, resuming after a stop |
# | nothing | `casnkit/runs.py` | a run as a folder: weights, log, checkpoints |
#
# Two of the kit's functions. You will recognise the important lines:

# %%
import inspect

print(inspect.getsource(losses.pair_loss), inspect.getsource(losses.CASNLoss.total), sep="\n")

# %% [markdown]
# ## A question for the next notebook
#
# Your network is trained with four losses at once. **Which of them improves it, and how many trainings do we need to tell?**
# Notebook `06_casn_and_ablation` answers this.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second one checks it. Solutions:
# [solutions/05_casn_in_a_hundred_lines](solutions/05_casn_in_a_hundred_lines.ipynb).
#
# **1. Predict.** A batch has pairs of one person and pairs of two people. Which pairs' *maps* does the consistency term of
# equation 5 change: `"all"`, `"same"` (pairs of one person) or `"different"`?
#
# <details><summary>Hint</summary>
#
# Look at the line with `distance[same]`.
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "all", "same" or "different"


# %% tags=["check"]
def reached():
    maps = torch.rand(2, 4, 6, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    same = torch.tensor([True, False, True, False])
    losses.consistency_loss(*maps, same).backward()
    heard = maps.grad.abs().sum((0, 2, 3)) > 0
    return "all" if heard.all() else "same" if heard[same].all() else "different"


reasons = {
    "all": "pairs of two people are left out of the mean: nothing asks their maps to differ",
    "same": "only pairs of one person are asked to look alike; nothing asks the others to differ",
    "different": "it is the other way round: only pairs of one person are asked to look alike",
}
exercises.check_choice(my_prediction, reached() if my_prediction else "same", reasons)

# %% [markdown]
# **2. Write it.** Implement $L_{bce}$, equation 3, without `F.cross_entropy`. Given are scores `z` (P, 2), where column 1
# stands for "the same", and `same` (P,), true for pairs of one person. Return the mean loss, a single number.
#
# <details><summary>Hint</summary>
#
# The loss of a pair is $-\log p$ of the right answer; `z.log_softmax(1)` gives the logarithms of both probabilities.
#
# </details>


# %% tags=["exercise"]
def my_pair_loss(z, same):
    """Mean over pairs of -log p(right answer): (P, 2) and (P,) bool -> a single number."""


# %% tags=["check"]
noise = torch.Generator().manual_seed(0)
cases = {
    "eight pairs": (torch.randn(8, 2, generator=noise), torch.arange(8) % 3 == 0),
    "no pair of one person": (torch.randn(5, 2, generator=noise), torch.zeros(5, dtype=torch.bool)),
}
mistakes = {
    "column 1 stands for the same person, column 0 for different ones": lambda z, same: losses.pair_loss(z, ~same),
    "that is the sum over pairs, not the mean": lambda z, same: len(z) * losses.pair_loss(z, same),
    "that is the mean probability; the loss is -log p": lambda z, same: (
        z.softmax(1).gather(1, same.long()[:, None]).mean()
    ),
}
exercises.check_function(my_pair_loss, losses.pair_loss, cases, mistakes)

# %% [markdown]
# **3. Write it.** While the probability in equation 2 is close to one, its gradient is weak. Write the loss as $-\log(1 - p)$
# instead, where $p$ is the label's probability: scores (B, classes) and labels (B,) give the mean over pictures.
#
# <details><summary>Hint</summary>
#
# $1 - p$ is the sum of the probabilities of all other classes. For large scores the direct formula gives infinity; the
# difference of two `logsumexp` does not. The check accepts both for the scores that it tries.
#
# </details>


# %% tags=["exercise"]
def my_attention_loss(scores, labels):
    """Mean over pictures of -log(1 - p): (B, classes) and (B,) -> a single number."""


# %% tags=["check"]
cases = {
    "six pictures": (torch.randn(6, 5, generator=noise), torch.tensor([0, 1, 2, 3, 4, 0])),
    "sure of the label": (5 * F.one_hot(torch.arange(3), 4).float(), torch.arange(3)),
}


def wanted(scores, labels):
    return losses.attention_loss(scores, labels, "log")


mistakes = {
    "that is the mean of p itself": losses.attention_loss,
    "that is -log p: it asks the network to find the person in the rest": F.cross_entropy,
    "that is the sum over pictures, not the mean": lambda scores, labels: len(scores) * wanted(scores, labels),
}
exercises.check_function(my_attention_loss, wanted, cases, mistakes)

# %% [markdown]
# ## Recap
#
# Answer each question in your head, then open it.
#
# <details><summary>1. Why is only the small classifier differentiated to make a map, and not the trunk?</summary>
#
# The map asks how the score depends on $A$. The trunk lies before $A$, and $f$ is a mean of $A$, so the derivative by $f$ is
# enough.
#
# </details>
#
# <details><summary>2. The loss contains a second pass through the network. Which equation needs it, and why?</summary>
#
# Equation 2. It asks whether the person is still recognised in the masked picture, and only a second forward pass can answer
# that.
#
# </details>
#
# <details><summary>3. How could you make equation 5 zero for all pairs, without any use for the search?</summary>
#
# With one fixed row profile for everybody. The term only asks pairs of one person to agree; it never asks two people to
# differ. Notebook 06 shows that this happens if the weight is large.
#
# </details>
#
# ## Essay question
#
# You found a public implementation of a paper. Its losses fall and its mAP looks reasonable. Write half a page: why is this
# not enough to show that it implements the equations, and how would you test it? Use section 6 as an example.
#
# <details><summary>Rubric (10 points)</summary>
#
# - 2: says that a network can learn well with a wrong or missing term, above all if the term's weight is small.
# - 3: compares values *and* gradients of every term with an independent implementation on the same weights and data.
# - 2: names details that such a test finds (BatchNorm mode, a mean or a sum, which pairs count, scaling of maps).
# - 2: proposes small cases with results that can be computed by hand.
# - 1: mentions what the test cannot find: choices that both implementations share.
#
# </details>
#
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019;
#   equations 1 to 6 in section 3, the training in section 4.
# - The kit's core: `casnkit/attention.py`, `config.py`, `models.py`, `losses.py`, `training.py`, `runs.py`.
