"""Equations 1, 2, 3, 5 and 6: each term a function, and :class:`CASNLoss` that runs the forward passes they need.

A training step costs two forward-backward passes at most, one for the images and one for the masked images; all maps come
from the classifiers' gradients alone (see :mod:`casnkit.attention`). Every term is returned by name, unweighted.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from casnkit import attention
from casnkit.config import LossConfig, check_choice
from casnkit.data.images import normalise
from casnkit.models import CASN, eval_view


def identification_loss(stripe_scores: Tensor, labels: Tensor) -> Tensor:
    """Equation 1, L_ide: cross entropy over ID logits, summed over the stripes' classifiers, mean over images.

    (B, P, num_ids) logits, P = 1 for global pooling, and (B,) int64 -> scalar.
    """
    stripes = stripe_scores.shape[1]
    return stripes * F.cross_entropy(stripe_scores.flatten(0, 1), labels.long().repeat_interleave(stripes))


def attention_loss(masked_scores: Tensor, labels: Tensor, score: str = "probability") -> Tensor:
    """Equation 2, L_ia: the label's score on the masked image, mean over images; small when nothing was left to see.

    (B, num_ids) logits; ``score``: ``logit`` (literal; has no lower bound), ``probability`` p (softmax), ``sigmoid``, or
    ``log``: -log(1 - p), whose gradient does not fade while p is near one.
    """
    check_choice("score of L_ia", score, ("logit", "probability", "sigmoid", "log"))
    own = labels.long()[:, None]
    if score == "log":
        others = masked_scores.scatter(1, own, -torch.inf).logsumexp(1)
        return (masked_scores.logsumexp(1) - others).mean()
    reading = {"logit": nn.Identity(), "probability": nn.Softmax(1), "sigmoid": nn.Sigmoid()}[score]
    return reading(masked_scores).gather(1, own).mean()


def pair_loss(pair_scores: Tensor, same: Tensor) -> Tensor:
    """Equation 3, L_bce: two-way cross entropy. (P, 2) logits, (P,) bool -> scalar."""
    return F.cross_entropy(pair_scores, same.long())


def consistency_loss(
    map_1: Tensor,
    map_2: Tensor,
    same: Tensor,
    threshold: float = 0.5,
    positives: float | None = None,
    scale: str = "max",
    margin: float | None = None,
) -> Tensor:
    """The spatial term of equation 5: mean distance of aligned row profiles over the positive pairs; 0 without any.

    With ``margin`` m the negative pairs add the mean of max(0, m - distance): without it one profile for everybody is the
    optimum. Two raw Siamese maps (P, h, w) and (P,) bool -> scalar. ``positives``: what to divide by; None: the positive
    pairs here. (The mean over a batch's parts is the whole batch's only if all divide by the same number.)
    """
    distance = attention.attention_distance(map_1, map_2, threshold, scale)
    same = same.to(distance.dtype)
    count = same.sum() if positives is None else torch.as_tensor(float(positives))
    loss = (distance * same).sum() / count.clamp_min(1 if positives is None else 1e-9)
    if margin is None:
        return loss
    short = (margin - distance).clamp_min(0) * (1 - same)
    return loss + short.sum() / (len(same) - count).clamp_min(1e-9)


class CASNLoss:
    """All terms for one batch of pairs.

    ``loss(model, images_1, images_2, labels_1, labels_2)`` returns a dict of scalars: ``ide``, ``ia``, ``bce``,
    ``consistency`` (those that are on), and ``total``:

        L = L_ide + ia_weight * L_ia + sa_weight * (L_bce + consistency_weight * || M*_1 - M*_2 ||)      (equations 5, 6)
    """

    def __init__(self, config: LossConfig | None = None) -> None:
        self.config = config or LossConfig()

    def __call__(
        self,
        model: CASN,
        images_1: Tensor,
        images_2: Tensor,
        labels_1: Tensor,
        labels_2: Tensor,
        progress: float = 1.0,
        positives: float | None = None,
    ) -> dict[str, Tensor]:
        """Images (P, 3, H, W), normalised, and labels (P,), integers. ``progress``: share of the training that is over; terms
        with a later start are left out before it. ``positives``: see :func:`consistency_loss`.
        """
        config = self.config
        labels_1, labels_2 = (  # on a GPU a look at the labels would make it wait in every step
            labels.long() if getattr(labels, "is_cuda", False) else model.check_labels(labels, images)
            for labels, images in ((labels_1, images_1), (labels_2, images_2))
        )
        images, labels, same = torch.cat([images_1, images_2]), torch.cat([labels_1, labels_2]), labels_1 == labels_2
        feature_map, feature, scores = model(images)
        terms = {"ide": identification_loss(scores, labels)}
        if config.identification_attention and progress >= config.ia_start:
            terms["ia"] = self.masked_score(model, images, labels, feature_map, feature)
        if config.siamese_attention:
            terms["bce"] = pair_loss(model.pair_scores(torch.sub(*feature.chunk(2))), same)
            if config.consistency_weight and progress >= config.sa_start:
                modes = config.siamese_mode, config.pair_order
                maps = model.siamese_attention_of(*feature_map.chunk(2), *modes)
                how = config.profile_scale, config.consistency_margin
                terms["consistency"] = consistency_loss(*maps, same, config.threshold, positives, *how)
        return terms | {"total": self.total(terms, pairs=len(same))}

    def masked_score(self, model: CASN, images: Tensor, labels: Tensor, feature_map: Tensor, feature: Tensor) -> Tensor:
        """L_ia of a batch (equation 2): attention, mask, and the same network on what the mask leaves."""
        config = self.config
        second, batch = config.weight_gradient == "second", config.map_statistics == "batch"
        gradient = model.label_gradient(feature, labels, create_graph=second, batch_statistics=batch)
        maps = attention.identification_map(feature_map, gradient)
        mask = attention.image_mask(maps, images.shape[2:], config.mask_slope, config.mask_centre)
        masked = attention.hide(images, mask, fill_of(images, config.mask_fill))
        _, _, scores = masked_pass(model, masked, config.masked_batchnorm, frozen=config.ia_gradient == "mask")
        if config.ia_stripes == "mean":
            return attention_loss(scores.mean(1), labels, config.ia_score)
        stripes = scores.shape[1]
        return stripes * attention_loss(scores.flatten(0, 1), labels.repeat_interleave(stripes), config.ia_score)

    def total(self, terms: dict[str, Tensor], pairs: int) -> Tensor:
        """Equations 5 and 6 from the unweighted terms, which are means; as sums they count each image and each pair."""
        config = self.config
        image, pair = (2 * pairs, pairs) if config.reduction == "sum" else (1, 1)
        total = image * terms["ide"]
        if "ia" in terms:
            total = total + image * config.ia_weight * terms["ia"]
        if "bce" in terms:
            siamese = terms["bce"] + config.consistency_weight * terms.get("consistency", 0)
            total = total + pair * config.sa_weight * siamese
        return total


def fill_of(images: Tensor, fill: str) -> Tensor | float:
    """What stands where the mask hides: ``mean`` (zero of normalised images), ``black`` or ``blur`` (sigma = H / 16)."""
    check_choice("mask fill", fill, ("mean", "black", "blur"))
    if fill == "mean":
        return 0.0
    if fill == "black":
        return normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8)).to(images)
    sigma = images.shape[2] / 16
    size = 2 * min(int(2 * sigma), min(images.shape[2:]) - 1) + 1
    return gaussian_blur(images.detach(), [size, size], [sigma, sigma])


def masked_pass(model: CASN, images: Tensor, batchnorm: str = "batch", frozen: bool = False) -> tuple[Tensor, ...]:
    """``model(images)`` for masked images, whose statistics differ from those of whole ones.

    Args:
        batchnorm: ``update``: like any training batch. ``batch``: normalised by the masked batch's statistics, which are
            not kept. ``running``: normalised by the running statistics of whole images.
        frozen: the weights get no gradient from this pass, only the mask does.
    """
    check_choice("masked_batchnorm", batchnorm, ("update", "batch", "running"))
    state = {name: parameter.detach() for name, parameter in model.named_parameters() if frozen}
    if batchnorm == "batch":  # statistics are counted on copies
        state |= {name: buffer.clone() for name, buffer in model.named_buffers()}
    if batchnorm == "running":
        model = eval_view(model).train(model.training)
        for layer in (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
            layer.eval()
    return torch.func.functional_call(model, state, (images,))
