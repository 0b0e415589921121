"""Methods that need one forward pass: attention in closed form, decompositions of a score, and the plain mean.

Each takes a :class:`casnkit.explain.pair.PairModel` and gives (map of the queries, map of the gallery images) and, where
the maps promise a sum, by how much they miss it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from casnkit import attention
from casnkit.explain.pair import PairModel, check_choice, check_count

Found = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]


def plain_mean(pair: PairModel) -> Found:
    """Mean over channels: blind to the partner and to every classifier. What any map must beat."""
    maps, _ = pair.leaves()
    return tuple(attention.mean_map(m) for m in maps)


def identification(pair: PairModel) -> Found:
    """Identification attention (paper 3.1) of each image's label: the given one, or the one with the highest score."""
    maps, _ = pair.leaves()
    attend = pair.model.identification_attention_of
    return tuple(attend(m.detach(), label) for m, label in zip(maps, pair.labels, strict=True))


def siamese(pair: PairModel, mode: str = "paper", order: str = "given") -> Found:
    """Equation 4 in one of its modes, for the pair target's score (the paper: z_1).

    ``order``: ``given``, or ``both``: mean of the maps of (query, gallery) and (gallery, query).
    """
    check_choice("order", order, ("given", "both"))
    maps, features = pair.leaves()
    found = [_weights(pair, features, mode)]
    if order == "both":
        found.append(_weights(pair, features[::-1], mode)[::-1])
    return tuple(
        sum(attention.siamese_map(m.detach(), w) for w in weights) / len(weights)
        for m, weights in zip(maps, zip(*found, strict=True), strict=True)
    )


def siamese_centred(pair: PairModel) -> Found:
    """Equation 4 with alpha less its mean over the channels: its map without its share of the plain mean.

    Half of the channels pass any indicator, a random one too, and their sum looks like the mean of all. Not in the paper.
    """
    maps, features = pair.leaves()
    weights = [w - w.mean(1, keepdim=True) for w in _weights(pair, features, "paper")]
    return tuple(m.clamp_min(0) for m in _spread(maps, features, weights))


def similarity(pair: PairModel) -> Found:
    """The cosine of the two embeddings, laid out over the places of each feature map. Signed.

    Where f is a mean over places (also a mean over stripes), it is a sum over them, exactly: place x of the query's map
    gets <A_q(x), f_g> / (h w |f_q| |f_g|) (Stylianou et al. 2019), and each of the two maps adds up to the similarity.
    ``delta`` says by how much both maps of another pooling miss their sums.
    """
    maps, features = pair.leaves()
    f_q, f_g = (f.detach() - pair.centred * f.detach().mean(1, keepdim=True) for f in features)
    lengths = (f_q.norm(dim=1) * f_g.norm(dim=1)).clamp_min(torch.finfo(f_q.dtype).tiny)[:, None]
    found = _spread(maps, features, (f_g / lengths, f_q / lengths))
    return *found, _sum(found) - 2 * pair.scores


def correlation(pair: PairModel) -> Found:
    """:func:`similarity` for the correlation of the embeddings: the cosine of f less its mean over the channels."""
    pair.centred = True
    return similarity(pair)


def decomposition(pair: PairModel, *, steps: int = 32) -> Found:
    """How much each place moved the score away from that of two equal features, z(f_q - f_g) - z(0). Signed, complete.

    The gradient at f^- is averaged along the straight line from 0 to f^- (integrated gradients of the pair classifier
    alone, ``steps`` midpoints). Both maps together add up to z(f^-) - z(0), up to ``delta``. Not in the paper.
    """
    maps, features = pair.leaves()
    difference = (features[0] - features[1]).detach()
    gradient = _path_gradient(pair, difference, steps)
    found = _spread(maps, features, (gradient, -gradient))
    score = pair.of_difference
    with torch.no_grad():
        return *found, _sum(found) - (score(difference) - score(torch.zeros_like(difference)))


def evidence(pair: PairModel, *, steps: int = 32) -> Found:
    """What both images have (target ``different``: only this one), in the channels that the score listens to most. >= 0.

    Not in the paper. A channel holds min(f_qk, f_gk) of evidence, or max(0, f_jk - f_ik) for image j and its partner i. It
    counts as much as the score listens to it, |g_k| with g the gradient averaged as in :func:`decomposition`, less the
    mean of |g| over the channels: without that the map is nearly the plain mean.
    """
    maps, features = pair.leaves()
    f_q, f_g = (f.detach().clamp_min(0) for f in features)
    listens = _path_gradient(pair, (features[0] - features[1]).detach(), steps).abs()
    listens = listens - listens.mean(1, keepdim=True)
    amounts = (torch.minimum(f_q, f_g),) * 2
    if pair.target == "different":
        amounts = (f_q - f_g).clamp_min(0), (f_g - f_q).clamp_min(0)
    weights = [listens * torch.where(f > 0, a / f, 0) for a, f in zip(amounts, (f_q, f_g), strict=True)]
    return tuple(m.clamp_min(0) for m in _spread(maps, features, weights))


def _weights(pair: PairModel, features: tuple[Tensor, Tensor], mode: str) -> attention.Weights:
    difference = (features[0] - features[1]).detach()
    return attention.siamese_weights(attention.score_gradient(pair.of_difference, difference), difference, mode)


def _path_gradient(pair: PairModel, difference: Tensor, steps: int) -> Tensor:
    """Mean of the pair classifier's gradient at the midpoints of ``steps`` equal parts of the way from 0: (P, D)."""
    total = torch.zeros_like(difference)
    for step in range(check_count("steps", steps)):
        total += attention.score_gradient(pair.of_difference, difference * (step + 0.5) / steps)
    return total / steps


def _spread(
    maps: tuple[Tensor, Tensor], features: tuple[Tensor, Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """<w_j, f_j> laid out over the places of A_j: sum_k (d<w_j, f_j> / dA_jk(x)) A_jk(x), exact for a linear pooling."""
    score = sum((w * f).sum() for w, f in zip(weights, features, strict=True))
    gradients = torch.autograd.grad(score, maps)
    return tuple((g * m.detach()).sum(1) for g, m in zip(gradients, maps, strict=True))


def _sum(maps: tuple[Tensor, Tensor]) -> Tensor:
    return sum(m.sum((1, 2)) for m in maps)
