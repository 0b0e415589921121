"""The methods of explanation, and the one function that calls them.

A method takes a :class:`casnkit.explain.pair.PairModel` and gives (map of the queries, map of the gallery images) and, where
the maps promise a sum, by how much they miss it; its keyword-only arguments are its options. The first ones need one
forward pass. The others are captum's (Kokhlikyan et al. 2020), which sees one function of two images: gradients at pixels
are summed over the three colour channels, except for the gradient's size, where the largest counts.
"""

import inspect
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import lazy_loader
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casnkit import attention
from casnkit.config import check_choice, check_count
from casnkit.explain.pair import PAIR_TARGETS, TARGETS, PairMaps, PairModel, checked_images
from casnkit.models import CASN, seeded, unwrapped

captum = lazy_loader.load("captum")  # a second to import, and most methods do without
Found = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]
_COPIES_AT_ONCE = 32  # pairs in one pass of a gradient method that makes many copies
_WINDOWS_AT_ONCE = 64  # pairs in one pass of a method that hides windows


def plain_mean(pair: PairModel) -> Found:
    """Mean over channels: blind to the partner and to every classifier. What any map must beat."""
    return tuple(attention.mean_map(m) for m in pair.leaves()[0])


def identification(pair: PairModel) -> Found:
    """Identification attention (paper 3.1.2) of each image's label with the highest score."""
    maps, attend = pair.leaves()[0], pair.model.identification_attention_of
    return tuple(attend(m.detach(), label) for m, label in zip(maps, pair.labels, strict=True))


def siamese(mode: str, pair: PairModel) -> Found:
    """Equation 4 in one of its modes, for the pair target's score (the paper: z_1)."""
    maps, features = pair.leaves()
    weights = _weights(pair, features, mode)
    return tuple(attention.siamese_map(m.detach(), w) for m, w in zip(maps, weights, strict=True))


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
    with torch.no_grad():
        return *found, _sum(found) - pair.of_difference(difference) + pair.of_difference(torch.zeros_like(difference))


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


def _weights(pair: PairModel, features: tuple[Tensor, Tensor], mode: str) -> tuple[Tensor, Tensor]:
    difference = (features[0] - features[1]).detach()
    return attention.siamese_weights(attention.score_gradient(pair.of_difference, difference), difference, mode)


def _path_gradient(pair: PairModel, difference: Tensor, steps: int) -> Tensor:
    """Mean of the pair classifier's gradient at the midpoints of ``steps`` equal parts of the way from 0: (P, D)."""
    ways = [(step + 0.5) / steps for step in range(check_count("steps", steps))]
    return sum(attention.score_gradient(pair.of_difference, difference * way) for way in ways) / steps


def _spread(maps: tuple[Tensor, Tensor], features: tuple[Tensor, Tensor], weights: Sequence[Tensor]) -> Found:
    """<w_j, f_j> laid out over the places of A_j: sum_k (d<w_j, f_j> / dA_jk(x)) A_jk(x), exact for a linear pooling."""
    score = sum((w * f).sum() for w, f in zip(weights, features, strict=True))
    gradients = torch.autograd.grad(score, maps)
    return tuple((g * m.detach()).sum(1) for g, m in zip(gradients, maps, strict=True))


def _sum(maps: tuple[Tensor, Tensor]) -> Tensor:
    return sum(m.sum((1, 2)) for m in maps)


def layer_gradcam(pair: PairModel) -> Found:
    """Grad-CAM of the score at both branches' feature maps (Selvaraju et al. 2017); captum leaves out the ReLU by default."""
    pair.leaves()  # raises for a layer that is called more often, or gives no map
    layer = pair.model.trunk if pair.is_casn else pair.layer[0]
    options = {"additional_forward_args": pair.settled_labels() or None, "relu_attributions": True}
    found = captum.attr.LayerGradCam(pair, layer).attribute((pair.query, pair.gallery), **options)
    return found[:, 0].chunk(2)


def guided_gradcam(pair: PairModel, *, interpolate: str = "bilinear") -> Found:
    """Guided backpropagation times Grad-CAM (grown to the image; captum: ``nearest``), summed over colours; signed."""
    if not any(isinstance(m, nn.ReLU) for m in pair.modules()):
        warnings.warn("guided backpropagation changes nn.ReLU modules, and this network has none", stacklevel=3)
    coarse = [F.interpolate(m[:, None], pair.query.shape[2:], mode=interpolate) for m in layer_gradcam(pair)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
        fine = _attribute(captum.attr.GuidedBackprop(pair), pair)
    return tuple((g * m).sum(1) for g, m in zip(fine, coarse, strict=True))


def saliency(pair: PairModel) -> Found:
    """|d score / d pixel|, the largest of the three colours (Simonyan et al. 2014)."""
    return tuple(g.amax(1) for g in _attribute(captum.attr.Saliency(pair), pair))


def input_x_gradient(pair: PairModel) -> Found:
    """Pixel times gradient, summed over colours; signed. A pixel of the mean colour gets nothing."""
    return tuple(g.sum(1) for g in _attribute(captum.attr.InputXGradient(pair), pair))


def smoothgrad(pair: PairModel, *, samples: int = 16, noise: float = 0.3, seed: int = 0) -> Found:
    """Size of the gradient averaged over noisy copies (Smilkov et al. 2017); a normalised image's deviation is about 1."""
    options = {"nt_type": "smoothgrad", "nt_samples": check_count("samples", samples), "stdevs": float(noise)}
    options["nt_samples_batch_size"] = min(samples, max(1, _COPIES_AT_ONCE // len(pair.query)))
    with seeded(None, 0):  # captum draws from torch's own random state
        torch.manual_seed(check_count("seed", seed, 0))
        found = _attribute(captum.attr.NoiseTunnel(captum.attr.Saliency(pair)), pair, abs=False, **options)
    return tuple(g.abs().amax(1) for g in found)


def integrated_gradients(pair: PairModel, *, baseline: str = "zero", steps: int = 50, of: str | None = None) -> Found:
    """Integrated gradients (Sundararajan et al. 2017), summed over colours; signed, with captum's convergence delta.

    Args:
        baseline: where the way begins: ``zero`` (the data's mean colour) or ``partner`` (the other image).
        of: ``pair``: both images go together, and both maps add up to z(q, g) - z(baselines). ``each`` (default for the
            partner): one image goes while the other stays, and each map adds up to its own difference.
    """
    images = pair.query.detach(), pair.gallery.detach()
    starts = {"zero": tuple(map(torch.zeros_like, images)), "partner": images[::-1]}
    check_choice("baseline", baseline, starts)
    of = of or ("each" if baseline == "partner" else "pair")
    check_choice("of", of, ("pair", "each"))
    options = {"n_steps": check_count("steps", steps), "return_convergence_delta": True}
    options["internal_batch_size"] = max(_COPIES_AT_ONCE, len(pair.query))
    ask = partial(_attribute, captum.attr.IntegratedGradients(pair), pair, **options)
    first, second = starts[baseline]
    if of == "pair":
        found, delta = ask(baselines=(first, second))
    else:
        (of_query, _), delta_1 = ask(baselines=(first, pair.gallery))
        (_, of_gallery), delta_2 = ask(baselines=(pair.query, second))
        found, delta = (of_query, of_gallery), delta_1 + delta_2
    return *(g.sum(1) for g in found), delta.to(pair.query.dtype)


@torch.no_grad()
def occlusion(pair: PairModel, *, window: Sequence[int] | None = None, stride: Sequence[int] | None = None) -> Found:
    """A sliding grey window (Zeiler and Fergus 2014) in one image while the other stays whole; signed.

    Each place gets the mean loss of score over the windows that hid it. ``window`` (default: an eighth of the height, a
    quarter of the width) and ``stride`` (default: half the window) are (height, width) in pixels.
    """
    height, width = pair.query.shape[2:]
    window = _size("window", window or (max(1, height // 8), max(1, width // 4)), (height, width))
    stride = _size("stride", stride or [max(1, n // 2) for n in window], window)
    labels, score, embed = pair.settled_labels(), pair.score, pair.embed
    query, gallery = embed(torch.cat([pair.query, pair.gallery])).chunk(2)  # once, not once for every window
    pair.scores = score(query, gallery, *labels)
    options = {"sliding_window_shapes": (3, *window), "strides": (3, *stride)}
    options["perturbations_per_eval"] = max(1, _WINDOWS_AT_ONCE // len(query))

    def ask(forward: Callable[..., Tensor], images: Tensor, other: Tensor) -> Tensor:
        found = captum.attr.Occlusion(forward).attribute(images, additional_forward_args=(other, *labels), **options)
        return found[:, 0].to(images.dtype)  # all colours are equal; captum answers in float32

    first = ask(lambda images, other, *y: score(embed(images), other, *y), pair.query, gallery)
    return first, ask(lambda images, other, *y: score(other, embed(images), *y), pair.gallery, query)


def feature_ablation(pair: PairModel, *, rows: int = 8) -> Found:
    """Hide ``rows`` horizontal stripes, one after the other: (P, H, W), signed, constant over a stripe.

    Where ``rows`` does not divide the height, stripes are a pixel higher and the last one is what remains.
    """
    height, width = pair.query.shape[2:]
    if (rows := check_count("rows", rows)) > height:
        raise ValueError(f"expected at most {height} rows for images of that height, got {rows}")
    return occlusion(pair, window=(-(-height // rows), width), stride=(-(-height // rows), width))


def _attribute(method: Any, pair: PairModel, **options: Any) -> Any:
    images = pair.query.requires_grad_(), pair.gallery.requires_grad_()
    return method.attribute(images, additional_forward_args=pair.settled_labels() or None, **options)


def _size(name: str, value: Sequence[int], largest: Sequence[int]) -> tuple[int, int]:
    good = isinstance(value, (tuple, list)) and len(value) == 2
    if not good or not all(check_count(name, n) <= m for n, m in zip(value, largest, strict=True)):
        raise ValueError(f"expected {name} as (height, width) of 1 to {tuple(largest)} pixels, got {value!r}")
    return tuple(value)


@dataclass(frozen=True)
class Method:
    """What is known of a method."""

    label: str  # in words, for legends and menus
    work: Callable[..., Found]  # from a PairModel to its maps; its keyword-only arguments are the options
    signed: bool = False  # maps have values below zero, which speak against the target
    cost: str = "forward"  # one pass through the trunk; or "backward" (one there and back) or "many" (tens of passes)
    # the first stands in where "same" is asked and is not among them; without "similarity" it needs CASN's classifiers
    targets: tuple[str, ...] = TARGETS


_LABELS = {
    "paper": " (equation 4)",
    "signed": ", sign turned for the gallery image",
    "gradcam": ", the derivative itself (Grad-CAM of the pair score)",
    "v1": ", earlier version of the paper",
}
_PAIR, _LIKE = {"targets": PAIR_TARGETS}, {"targets": ("similarity",)}


def _of_mode(mode: str) -> Method:
    return Method("Siamese attention" + _LABELS.get(mode, f", mode {mode!r}"), partial(siamese, mode), **_PAIR)


METHODS = {"siamese" if mode == "paper" else f"siamese-{mode}": _of_mode(mode) for mode in attention.MODES}
METHODS |= {  # a new method is one entry here: METHODS["mine"] = Method(...)
    "identification": Method("Identification attention", identification, targets=("identity",)),
    "plain-mean": Method("Plain mean of the channels", plain_mean),
    "similarity": Method("Similarity of the features, place by place", similarity, True, **_LIKE),
    "correlation": Method("Correlation of the features, place by place", correlation, True, **_LIKE),
    "siamese-centred": Method("Siamese attention without the plain mean's share", siamese_centred, **_PAIR),
    "score-decomposition": Method("Pair score, place by place", decomposition, True, **_PAIR),
    "evidence": Method("Shared evidence in the channels that the pair score listens to", evidence, **_PAIR),
    "layer-gradcam": Method("Grad-CAM", layer_gradcam),
    "guided-gradcam": Method("Guided Grad-CAM", guided_gradcam, True, "backward"),
    "saliency": Method("Saliency", saliency, False, "backward"),
    "input-x-gradient": Method("Input x gradient", input_x_gradient, True, "backward"),
    "integrated-gradients": Method("Integrated gradients", integrated_gradients, True, "many"),
    "smoothgrad": Method("SmoothGrad", smoothgrad, False, "many"),
    "occlusion": Method("Occlusion", occlusion, True, "many"),
    "feature-ablation": Method("Stripe ablation", feature_ablation, True, "many"),
}


def explain(
    model: nn.Module,
    query_images: Tensor,
    gallery_images: Tensor,
    method: str = "siamese",
    target: str = "same",
    *,
    layer: nn.Module | str | None = None,
    **options: Any,
) -> PairMaps:
    """Where in each image of a pair the evidence for a score lies. The model is left as it was found.

    Args:
        model: a CASN, or any network that gives an embedding (B, D) for images: then ``same`` is the similarity.
        query_images, gallery_images: (P, 3, H, W) or (3, H, W) float, normalised; moved to the model's device.
        method: one of :data:`METHODS`, or ``siamese-MODE`` with a mode that was added to ``attention.MODES``.
        target: ``same`` (z_1), ``different`` (z_0), ``log-odds`` (z_1 - z_0), ``identity`` (sum of both images' highest
            label scores), ``agreement`` (log of the probability that the ID classifier gives both the same label), or
            ``similarity`` (cosine of the embeddings).
        layer: the feature map's layer, or its dotted name, for maps of a network other than CASN, which knows its own.
        **options: of the method; its function's docstring says which.
    """
    model, found = unwrapped(model), _find(method, options)
    if model.training:
        warnings.warn("the model is in train mode: it is explained in eval mode", stacklevel=2)
    images = checked_images(model, query_images, gallery_images)
    target = _checked_target(model, method, found, target)
    if isinstance(model, CASN) and layer is not None:
        raise ValueError(f"a CASN is explained at the map that it pools: leave out layer={layer!r}")
    pair = PairModel(model, images, target, layer)
    start = time.perf_counter()
    with torch.inference_mode(False), torch.enable_grad():
        maps = found.work(pair, **options)
        if pair.scores is None:
            with torch.no_grad():
                pair(*images, *pair.settled_labels())
    _check_finite(model, (pair.scores, *maps[:2]))  # waits for the device, too
    seconds = time.perf_counter() - start
    query, gallery, *delta = (m.detach() for m in maps)
    return PairMaps(query, gallery, method, target, pair.scores, seconds, *delta)


def _check_finite(model: nn.Module, tensors: Sequence[Tensor]) -> None:
    if not all(value.isfinite().all() for value in tensors):
        bad = [name for name, v in model.state_dict().items() if isinstance(v, Tensor) and not v.isfinite().all()]
        reason = f"the weight {bad[0]!r} holds NaN or infinity" if bad else "all weights are finite, a sum overflowed"
        raise ValueError(f"the explanation came out NaN or infinite: {reason}; load or train the model again")


def _find(method: str, options: dict[str, Any]) -> Method:
    mode = str(method).removeprefix("siamese-")
    if method not in METHODS and mode != method and mode in attention.MODES:  # a mode that was added since
        return _of_mode(mode)
    check_choice("method", method, METHODS)
    parameters = inspect.signature(METHODS[method].work).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    if not set(options) <= set(known):
        raise ValueError(f"method {method!r} has the options {', '.join(known) or 'none'}, got {', '.join(options)}")
    return METHODS[method]


def _checked_target(model: nn.Module, method: str, found: Method, target: str) -> str:
    check_choice("target", target, TARGETS)
    name = found.targets[0] if target == "same" and target not in found.targets else target
    if name not in found.targets:
        raise ValueError(f"method {method!r} explains {' or '.join(found.targets)}, got target {target!r}")
    general = [key for key, m in METHODS.items() if "similarity" in m.targets]
    if not isinstance(model, CASN) and (method not in general or name not in ("same", "different", "similarity")):
        needs = f"method {method!r} with target {name!r} needs the classifiers of a CASN; a {type(model).__name__}"
        raise ValueError(
            f"{needs} can be explained by {', '.join(general)}, with the targets same, different and similarity"
        )
    return name
