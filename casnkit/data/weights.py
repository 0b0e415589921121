"""Networks and weights of others: tensors from files, never running code that a file may hold, and modules as trunks."""

import codecs
import itertools
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn


def feature_channels(trunk: nn.Module, name: str) -> int:
    """C of the feature map that a trunk makes of a blank image; a warning where the map has values below zero.

    Raises ValueError for a module that gives anything but a feature map (B, C, h, w).
    """
    sizes, failure = ((128, 64), (256, 128), (224, 224)), ""
    parameter = next(trunk.parameters(), torch.zeros(()))
    for height, width in sizes:
        blank = torch.linspace(-2, 2, 3 * height * width).view(1, 3, height, width).to(parameter)
        try:
            with torch.no_grad():
                found = trunk(blank)
            break
        except (RuntimeError, AssertionError, ValueError) as error:
            failure = failure or str(error).splitlines()[0][:200]
    else:
        tried = ", ".join(f"{height}x{width}" for height, width in sizes)
        raise ValueError(f"the backbone {name!r} failed on blank images of {tried}: {failure}")
    advice = "give a module that ends before pooling and classifier, such as nn.Sequential(*children[:-2])"
    if hasattr(trunk, "forward_features"):  # as timm's networks have it
        advice = "its forward_features may give one: wrap that method in a module"
    if not isinstance(found, Tensor) or found.dim() != 4:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        if isinstance(found, Tensor) and found.dim() == 3:
            advice = "reshape its tokens (B, N, C) to a grid, without the class token"
        raise ValueError(f"the backbone {name!r}: expected a feature map (B, C, h, w), got {shape}; {advice}")
    _, channels, rows, columns = found.shape
    if abs(channels * width - rows * height) < abs(rows * width - columns * height):  # the shape of the image
        turned = "end it with torchvision.ops.Permute([0, 3, 1, 2])"
        raise ValueError(f"the backbone {name!r} gives {tuple(found.shape)}, its channels last: {turned}")
    if not found.is_meta and (least := float(found.min())) < 0:
        told = f"the feature map of {name!r} has values below zero, down to {least:.3g}"
        warnings.warn(f"{told}: the ReLU of a map cuts them, end it with nn.ReLU() for maps that sum up", stacklevel=3)
    return channels


def fill(network: nn.Module, weights: str | Path, title: str, quiet: bool = False) -> None:
    """Fill a network with the tensors of a file.

    Names as in torchvision with any prefix in front (``module.``, ``backbone.``, ...), or those of this kit's runs. What
    the file holds besides, such as classifiers, is ignored with a warning that calls the network by its ``title``, unless
    ``quiet``. Raises ValueError for the weights of another network.
    """
    # torchvision's oldest DenseNet files write norm.1 for norm1
    dense = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
    given = {dense.sub(r"\1\2.", key): value for key, value in read_tensors(weights).items()}
    own = network.state_dict()
    levels = zip(*(key.split(".") for key in own), strict=False)
    wrapper = "".join(f"{names[0]}." for names in itertools.takewhile(lambda names: len(set(names)) == 1, levels))
    bare = {key.removeprefix(wrapper): key for key in own}
    tails = ((key, ".".join(key.split(".")[start:])) for key in given for start in range(key.count(".") + 1))
    prefixes = Counter(key.removesuffix(tail) for key, tail in tails if tail in bare)
    prefix = max(prefixes, key=lambda each: (prefixes[each], -len(each)), default="")
    known = {key: key.removeprefix(prefix) for key in given if key.startswith(prefix)}
    stages = {tail.partition(".")[0] for tail in bare}  # a tensor of the same stage that does not fit: another network
    known = {key: tail for key, tail in known.items() if tail.partition(".")[0] in stages}
    state = {bare.get(tail, tail): given[key] for key, tail in known.items()}
    counters = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}  # old files have none
    load_state(network, counters | state, weights)
    ignored = [key for key in given if key not in known and not key.startswith(("identity_head.", "pair_head."))]
    if ignored and not quiet:
        told = f"{len(known)} of {len(given)} tensors of {weights} fill {title}"
        warnings.warn(f"{told}; ignored: {', '.join(ignored[:4])}{', ...' * (len(ignored) > 4)}", stacklevel=4)


def load_state(network: nn.Module, state: dict[str, Tensor], source: str | Path, assign: bool = False) -> None:
    """Fill a network with the tensors of ``source``, or ``assign`` these to one that has shapes alone. Raises ValueError
    where a name, a shape or the kind of number differs, and for numbers that are not finite."""
    own = network.state_dict()
    for name, value in state.items():
        if name in own and value.is_floating_point() != own[name].is_floating_point():
            raise ValueError(f"the weights {source}: expected {own[name].dtype} in {name}, found {value.dtype}")
        if not value.is_meta and not value.isfinite().all():
            raise ValueError(f"the weights {source} are damaged: {name} holds numbers that are not finite")
    try:
        network.load_state_dict(state, assign=assign)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()[:200]
        raise ValueError(f"the weights {source} belong to another network or other identities: {reason}") from None


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name from a ``.safetensors`` or ``.pth`` file, never running code that a file may hold.

    Raises ValueError for a file that is missing, damaged, holds other things, or would have to run code to load.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"expected a file of weights at {path}, found none: put it there, nothing is downloaded")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(path.read_bytes())
        with torch.serialization.safe_globals(_NUMBERS):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise many types, some of them not public
        told = f"{path} could not be read as plain tensors ({type(error).__name__})"
        raise ValueError(f"{told}: {_advice(path)}") from error
    for _ in range(4):  # as trainers nest them; one may hold itself
        items = state.items() if isinstance(state, Mapping) else ()
        inner = {key: value for key, value in items if isinstance(value, Mapping)}
        known = [key for key in ("state_dict", "model", "net") if key in inner]
        if not known and inner and not _tensors(state):
            known = [max(inner, key=lambda key: len(_tensors(inner[key])))]
        state = inner[known[0]] if known else state
    tensors = _tensors(state)
    if not tensors:
        found = [*state][:5] if isinstance(state, Mapping) else [type(state).__name__]
        raise ValueError(f"expected tensors by name in {path}, found {', '.join(map(str, found)) or 'nothing'}")
    odd = [key for key, value in tensors.items() if value.is_meta or value.layout != torch.strided]
    if odd:
        told = f"expected dense tensors in {path}, {odd[0]} is sparse or has no values"
        raise ValueError(f"{told}: save them with to_dense()")
    return tensors


def _tensors(state: object) -> dict[str, Tensor]:
    items = state.items() if isinstance(state, Mapping) else ()
    return {key: value for key, value in items if isinstance(key, str) and isinstance(value, Tensor)}


# Trainers note scores as numpy's numbers; nothing else of numpy is loaded, by its old module's name or the new one.
_SCALAR = np.float64(0).__reduce__()[0]
_NUMBERS = [(_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")] + [np.dtype, codecs.encode]
_NUMBERS += [type(np.dtype(kind)) for kind in "?bhilBHILefd"]


def _advice(path: Path) -> str:
    """What to do about a file that holds no tensors, by how it begins."""
    with path.open("rb") as file:
        head = file.read(200).removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        return "it is a git-lfs pointer, not the file: fetch that (git lfs pull)"
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b'{"message')):
        return "it is a web page or a server's answer: fetch the file itself"
    if not head or (head.startswith(b"pk") and not zipfile.is_zipfile(path)):
        return "it is empty or truncated: fetch it again"
    return "save the tensors alone (state_dict, safetensors), a pickle of other things can run code; or it is truncated"
