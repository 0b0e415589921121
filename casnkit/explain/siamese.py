"""What the Siamese branch says: what alpha of equation 4 selects, and how well maps agree.

In a trained pair classifier z_1 is close to a bias minus a norm of f^-, so dz_1/df^- points along -f^- and alpha is about
[f^- < 0]: the channels in which image 1 is *weaker* than image 2. :func:`alpha_facts` measures how far that holds.
:func:`agreement` judges maps of pairs by the distance between images of one person and by the area under the ROC curve; a
pair classifier trained on the frozen network (:func:`frozen_pair_head`) tells what the head alone does.
"""

import copy
from collections.abc import Mapping

import numpy as np
import scipy
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from casnkit import attention
from casnkit.config import Config
from casnkit.data.pairs import PairSampler
from casnkit.data.records import Split
from casnkit.losses import pair_loss
from casnkit.models import CASN, PairHead, eval_view, seeded


def alpha_facts(model: CASN, features_1: Tensor, features_2: Tensor) -> dict[str, float]:
    """What alpha of equation 4 selects for P pairs, from their pooled features, (P, D) each.

    - ``positive_weights``: share of the hidden units that raise z_1, in [0, 1]; with none, z_1 is a bias minus a norm;
    - ``weaker``: share of alpha's components that equal [f^-_i < 0], where f^-_i is not 0; a random classifier: 0.5;
    - ``weaker_weighted``: the same, each component counted by abs(f^-_i);
    - ``swap_overlap``: Jaccard index of alpha(1, 2) and alpha(2, 1): 0 for a complement; ``swap_chance``: what random sets
      of the same sizes share;
    - ``norm_rank_correlation``: Spearman's, of p(same) and -||f^-||;
    - ``p_at_zero``: p(same) of an image with itself; ``p_largest``: the largest among the pairs; ``p_bound``: what it
      cannot exceed, 1 where any hidden unit raises z_1 - z_0.
    """
    difference = (features_1 - features_2).to(next(model.parameters()))
    model = eval_view(model)
    with torch.no_grad():
        alpha, turned = (model.pair_gradient(d) > 0 for d in (difference, -difference))
        same = model.pair_scores(difference).softmax(1)[:, 1]
        at_zero = model.pair_scores(torch.zeros_like(difference[:1])).softmax(1)[0, 1]
        _, bend, last = model.pair_head.layers()
        raises = last.weight[1] - last.weight[0]
    counted, sizes = difference != 0, difference.abs()
    weaker = (alpha == (difference < 0)) & counted
    both, either = (alpha & turned).sum(1), (alpha | turned).sum(1)
    share, turned_share = alpha.float().mean(1), turned.float().mean(1)
    expected = share * turned_share
    bounded = bool((raises <= 0).all()) and bool((bend(torch.linspace(-9, 9, 99).to(raises)) >= 0).all())
    return {
        "positive_weights": float((last.weight[1] > 0).float().mean()),
        "weaker": float(weaker.sum() / counted.sum()),
        "weaker_weighted": float((weaker * sizes).sum() / sizes.sum()),
        "swap_overlap": float((both / either.clamp_min(1)).mean()),
        "swap_chance": float((expected / (share + turned_share - expected).clamp_min(1e-9)).mean()),
        "norm_rank_correlation": float(scipy.stats.spearmanr(same.cpu(), -difference.norm(dim=1).cpu()).statistic),
        "p_at_zero": float(at_zero),
        "p_largest": float(same.max()),
        "p_bound": float(torch.sigmoid(last.bias[1] - last.bias[0]).detach()) if bounded else 1.0,
    }


def frozen_pair_head(model: CASN, features: Tensor, split: Split, config: Config) -> CASN:
    """A copy of a network whose pair classifier was trained anew, by equation 3 alone, on the features of a frozen trunk.

    ``features`` (N, D) are those of ``split``, the training images. Pairs, rate and epochs are those of ``config``; the loss
    has the weight 1 and the classifier a decay of 5e-4, as in the small profiles. What such a head finds was in the
    features before any Siamese training.
    """
    network, data, train = copy.deepcopy(model), config.data, config.train
    features = features.to(next(network.parameters()))
    with seeded(train.seed, 7):
        network.pair_head = PairHead(network.feature_size, network.config).to(features)
    sampler = PairSampler(
        split.pids, split.camids, data.batch_size, data.positive_share, data.across_cameras, train.seed
    )
    optimiser = torch.optim.SGD(
        network.pair_head.parameters(), lr=train.learning_rate, momentum=train.momentum, weight_decay=5e-4
    )
    milestones = [round(share * train.epochs) for share in train.milestones]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, train.decay)
    network.pair_head.train()
    for epoch in range(train.epochs):
        for pairs in sampler.epoch(epoch):
            first, second = (features[torch.from_numpy(pairs[:, k]).to(features.device)] for k in (0, 1))
            same = torch.from_numpy(sampler.is_positive(pairs)).to(features.device)
            optimiser.zero_grad()
            pair_loss(network.pair_scores(first - second), same).backward()
            optimiser.step()
        scheduler.step()
    return network.eval()


def agreement(
    maps: Mapping[str, tuple[Tensor, Tensor]], same: np.ndarray, threshold: float = 0.5, scale: str = "max"
) -> dict[str, float]:
    """How well the maps of P pairs agree, by the distance of equation 5, for each kind of map by name, (P, h, w) twice.

    ``same`` (P,) bool. ``distance_same_KIND`` and ``distance_different_KIND``: means, lower is closer; ``auc_KIND``: the
    distance as a matcher, in percent, chance 50. A method that makes maps of one person agree lowers the first; one that
    only moves different people apart raises the AUC all the same: look at both.
    """
    found = {}
    for kind, pair in maps.items():
        distance = attention.attention_distance(*pair, threshold, scale).double().numpy()
        found[f"distance_same_{kind}"] = float(distance[same].mean())
        found[f"distance_different_{kind}"] = float(distance[~same].mean())
        found[f"auc_{kind}"] = 100 * float(roc_auc_score(same, -distance))
    return found
