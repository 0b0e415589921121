"""The paper's distance at test time: feature distance and attention distance, each normalised, summed.

Section 3.4 takes, for a query and a gallery image, the l2 distance of their attention and the l2 distance of their
features, normalises each and adds them. It says neither how to normalise nor over what, so both are arguments here:
``"minmax"`` to [0, 1] or ``"zscore"`` to mean 0 and standard deviation 1, per query (a row, the default: a query's
ranking then depends on no other query) or over the whole matrix. The weighted mean that :func:`fuse` returns is half
the paper's sum at ``weight=0.5``: the same ranking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from casnkit.ranking.matching import is_tensor

if TYPE_CHECKING:
    import torch

Matrix = TypeVar("Matrix", np.ndarray, "torch.Tensor")

NORMALISATIONS = ("minmax", "zscore", "none")
SCOPES = ("query", "matrix")


def normalise_distances(distances: Matrix, kind: str = "minmax", per: str = "query") -> Matrix:
    """Bring distances to a common scale without changing any query's order.

    Args:
        distances: (Q, G), NumPy or torch, finite; float32 and float64 are kept, half precision is raised to float32 and
            integers to float64. Not changed in place.
        kind: ``"minmax"`` to [0, 1]; ``"zscore"`` to mean 0 and (population) standard deviation 1; ``"none"``.
        per: ``"query"`` (each row for itself) or ``"matrix"``.

    Returns:
        (Q, G) of the same kind and device; where all distances are equal, zeros (with "none": the distances).

    Raises:
        ValueError: an unknown kind or scope, another shape, or distances that are not finite.
    """
    if kind not in NORMALISATIONS:
        raise ValueError(f"expected a normalisation among {', '.join(NORMALISATIONS)}, found {kind!r}")
    if per not in SCOPES:
        raise ValueError(f"expected per to be one of {', '.join(SCOPES)}, found {per!r}")
    values = _floats(distances, "distances")
    if kind == "none" or 0 in values.shape:
        return values
    low, high = _extrema(values, per)
    offset, scale = (low, high - low) if kind == "minmax" else _moments(values, per)
    # Rounding leaves a constant row a tiny deviation that is not zero: compare its extrema, not the scale, with zero.
    constant = (low == high) | (scale == 0)
    scale[constant] = 1
    values -= offset
    values /= scale
    values *= ~constant
    return values


def fuse(
    feature_distances: Matrix,
    attention_distances: Matrix,
    weight: float = 0.5,
    normalisation: str = "minmax",
    per: str = "query",
) -> Matrix:
    """Section 3.4: the two distances, each normalised, added.

    Args:
        feature_distances: (Q, G) l2 distances of features, lower is closer.
        attention_distances: (Q, G) l2 distances of attention, lower is closer; the same kind of array.
        weight: share of the attention distance, in [0, 1]: 0 is features alone, 0.5 the paper's sum (halved), 1
            attention alone.
        normalisation: see :func:`normalise_distances`.
        per: see :func:`normalise_distances`.

    Returns:
        (Q, G) ``(1 - weight) * features + weight * attention``, both normalised.

    Raises:
        ValueError: shapes or kinds of array that differ, a weight outside [0, 1], or as normalise_distances.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"expected a weight in [0, 1], the share of the attention distance, found {weight}")
    if is_tensor(feature_distances) != is_tensor(attention_distances):
        raise ValueError(
            "expected both distances as NumPy arrays or both as torch tensors, found "
            f"{type(feature_distances).__name__} and {type(attention_distances).__name__}"
        )
    if np.shape(feature_distances) != np.shape(attention_distances):
        raise ValueError(
            "expected feature and attention distances of one shape (Q, G), found "
            f"{tuple(np.shape(feature_distances))} and {tuple(np.shape(attention_distances))}"
        )
    features = normalise_distances(feature_distances, normalisation, per)
    attention = normalise_distances(attention_distances, normalisation, per)
    weight = float(weight)  # a NumPy scalar would raise float32 to float64
    return (1 - weight) * features + weight * attention


def _floats(distances: Matrix, name: str) -> Matrix:
    """A fresh floating copy, checked to be (Q, G) and finite."""
    if not isinstance(distances, np.ndarray) and not is_tensor(distances):
        raise ValueError(f"{name}: expected a NumPy array or a torch tensor, found {type(distances).__name__}")
    if distances.ndim != 2:
        raise ValueError(f"{name}: expected shape (Q, G), found {tuple(distances.shape)}")
    if is_tensor(distances):
        if not distances.is_floating_point():
            values = distances.double()
        else:
            values = distances.detach().float() if distances.dtype.itemsize < 4 else distances.detach().clone()
        num_bad = int((~values.isfinite()).sum())
    else:
        if distances.dtype.kind not in "fiub":
            raise ValueError(f"{name}: expected real numbers, found dtype {distances.dtype}")
        kept = distances.dtype in (np.float32, np.float64)
        values = distances.astype(
            distances.dtype if kept else np.float32 if distances.dtype == np.float16 else np.float64
        )
        num_bad = int(np.count_nonzero(~np.isfinite(values)))
    if num_bad:
        raise ValueError(
            f"{name}: expected finite distances, found {num_bad} NaN or infinite in shape {tuple(values.shape)}: "
            "they cannot be put on a common scale; look at the features or attention of these images"
        )
    return values


def _extrema(values: Matrix, per: str) -> tuple[Matrix, Matrix]:
    """Lowest and highest distance, (Q, 1) per query or (1, 1) over the matrix."""
    if is_tensor(values):
        axes = (1,) if per == "query" else (0, 1)
        return values.amin(axes, keepdim=True), values.amax(axes, keepdim=True)
    axis = 1 if per == "query" else None
    return values.min(axis=axis, keepdims=True), values.max(axis=axis, keepdims=True)


def _moments(values: Matrix, per: str) -> tuple[Matrix, Matrix]:
    """Mean and population standard deviation, shaped as in _extrema."""
    if is_tensor(values):
        axes = (1,) if per == "query" else (0, 1)
        return values.mean(axes, keepdim=True), values.std(axes, correction=0, keepdim=True)
    axis = 1 if per == "query" else None
    return values.mean(axis=axis, keepdims=True), values.std(axis=axis, keepdims=True)


__all__ = ["NORMALISATIONS", "SCOPES", "fuse", "normalise_distances"]
