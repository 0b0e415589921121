"""Attention distances for every query-gallery pair, or for a shortlist (paper 3.2.3, equation 5).

Equal to ``attention_distance(*model.siamese_attention_of(A_q, A_g))`` for each pair, but no two feature maps are ever
put side by side: a tile of queries meets a tile of gallery images in matrix products (:mod:`casnkit.ranking.tiles`).
Which engine does it (:mod:`casnkit.ranking.engines`) follows from the model, and the result says which.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from casnkit.data.files import atomic_path, read_json, write_json
from casnkit.models import evaluating
from casnkit.ranking.engines import ENGINES
from casnkit.ranking.extraction import Extracted, fingerprint
from casnkit.ranking.pairs import nearest_gallery, pair_maps, row_profiles
from casnkit.ranking.request import Request, choose_engine

if TYPE_CHECKING:
    from casnkit.models import CASN


@dataclass(frozen=True)
class PairwiseResult:
    """All distances, and how they came about.

    Attributes:
        distances: (Q, G) float32, or (Q, K) for a shortlist; lower is closer. Memory-mapped where ``resume`` was given.
        engine: ``linear``, ``closed_form`` or ``autograd``.
        precision: of the matrix products.
        seconds: wall clock of this call.
        pairs_computed: by this call; fewer than all where an interrupted run was resumed.
        tile: queries and gallery images per tile.
    """

    distances: np.ndarray
    engine: str
    precision: str
    seconds: float
    pairs_computed: int
    tile: tuple[int, int]

    @property
    def pairs_per_second(self) -> float:
        """Pairs measured in a second."""
        return self.pairs_computed / max(self.seconds, 1e-9)


def attention_distances(
    model: CASN,
    query: Extracted,
    gallery: Extracted,
    mode: str = "paper",
    order: str = "given",
    threshold: float = 0.5,
    *,
    memory_budget: int | None = None,
    device: torch.device | str | None = None,
    precision: str = "float32",
    progress: bool = False,
    resume: str | Path | None = None,
    shortlist: np.ndarray | Tensor | None = None,
) -> PairwiseResult:
    """l2 between the aligned Siamese attention of every query-gallery pair (equation 5), lower is closer.

    Args:
        model: gives the pair classifier; its weights are those that ``query`` and ``gallery`` were extracted with.
        query, gallery: from :func:`casnkit.ranking.extract.extract`, with maps. The maps may differ in size.
        mode, order: see ``CASN.siamese_attention_of``.
        threshold: t of the crop, as a fraction of a profile's own maximum.
        memory_budget: bytes for tiles, intermediate values and, without ``resume``, the result; what ``query`` and
            ``gallery`` hold comes on top. None: 1 GiB and the result.
        device: where to compute; None is where the model is.
        precision: of the matrix products: float32, float64, bf16 or tf32 (on a GPU; on a CPU the same as float32).
        progress: show a bar, where tqdm is installed.
        resume: a folder for the distances. An interrupted call with the same inputs goes on where it stopped.
        shortlist: (Q, K) gallery indices: only these pairs.

    Returns:
        see :class:`PairwiseResult`; ``distances`` is (Q, G), or (Q, K) for a shortlist. An image whose map is zero has
        a zero profile, so its distance is the norm of the other's profile.

    Raises:
        ValueError: maps missing or not finite, shapes that do not fit the model, an unknown mode, order or precision, a
            budget that is too small (with the least that would do), or a ``resume`` folder of another run.
    """
    started = time.perf_counter()
    request = Request.of(model, query, gallery, mode, order, threshold, device, precision)
    listed = None if shortlist is None else _checked_shortlist(shortlist, len(query), len(gallery))
    shape = (len(query), len(gallery)) if listed is None else listed.shape
    in_memory = 0 if resume is not None else 4 * shape[0] * shape[1]
    memory_budget = 2**30 + in_memory if memory_budget is None else int(memory_budget)
    computed = 0
    with _quiet(model, request), _bar(shape, progress) as advance:
        engine = ENGINES[choose_engine(model, mode)](request, memory_budget, in_memory, listed is not None)
        with _output(shape, resume, request, listed) as distances:
            for rows, columns, images in _blocks(shape, engine.tile, listed):
                if resume is None or np.isnan(distances[rows, columns]).any():
                    distances[rows, columns] = block = engine.block(rows, images)
                    computed += block.size
                advance((rows.stop - rows.start) * (columns.stop - columns.start))
    seconds = time.perf_counter() - started
    return PairwiseResult(distances, engine.name, engine.precision, seconds, computed, engine.tile)


def _blocks(
    shape: tuple[int, int], tile: tuple[int, int], listed: np.ndarray | None
) -> Iterator[tuple[slice, slice, slice | np.ndarray]]:
    """Rows and columns of the result, tile by tile, and the gallery images that stand in these columns."""
    for top in range(0, shape[0], tile[0]):
        rows = slice(top, min(top + tile[0], shape[0]))
        for left in range(0, shape[1], tile[1]):
            columns = slice(left, min(left + tile[1], shape[1]))
            yield rows, columns, columns if listed is None else listed[top, columns]


def _checked_shortlist(shortlist: np.ndarray | Tensor, queries: int, images: int) -> np.ndarray:
    listed = np.asarray(shortlist)
    if listed.ndim != 2 or len(listed) != queries or listed.dtype.kind not in "iu":
        raise ValueError(
            f"expected a shortlist of gallery indices ({queries}, K), got {listed.dtype} of {listed.shape}"
        )
    if listed.size and not 0 <= listed.min() <= listed.max() < images:
        raise ValueError(f"expected gallery indices in 0 .. {images - 1}, got {listed.min()} .. {listed.max()}")
    return listed.astype(np.int64)


@contextlib.contextmanager
def _quiet(model: CASN, request: Request) -> Iterator[None]:
    """Eval mode, no gradients, and matrix products in the precision that was asked for; all as before afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if request.precision == "tf32" else "highest")
    try:
        with evaluating(model), torch.no_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def _output(
    shape: tuple[int, int], resume: str | Path | None, request: Request, listed: np.ndarray | None
) -> Iterator[np.ndarray]:
    """The array for the distances. On disk NaN marks what is still to do, so an interruption can do no harm."""
    if resume is None:
        yield np.empty(shape, np.float32)
        return
    folder = Path(resume)
    settings = {**request.settings(), "shape": list(shape), "shortlist": listed is not None}
    extra = () if listed is None else (torch.from_numpy(listed),)
    settings["fingerprint"] = fingerprint({}, *request.tensors(), *extra)
    if (folder / "pairs.json").is_file():
        _same_run(read_json(folder / "pairs.json"), settings, folder)
    else:
        _write_nan(folder / "distances.npy", shape)
        write_json(folder / "pairs.json", settings)
    distances = np.load(folder / "distances.npy", mmap_mode="r+")
    try:
        yield distances
    finally:
        distances.flush()


def _same_run(found: dict, expected: dict, folder: Path) -> None:
    different = [name for name, value in expected.items() if found.get(name) != value]
    if different:
        changes = ", ".join(f"{name} is {expected[name]}, there {found.get(name)}" for name in different)
        raise ValueError(
            f"{folder} holds distances of another run ({changes}; fingerprint stands for weights, features and maps): "
            "name another folder, or delete this one"
        )


def _write_nan(path: Path, shape: tuple[int, int]) -> None:
    """Plain writes, not a memory map: a full disk is then an error with a message instead of a crash."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(file, header)
        row = np.full(shape[1], np.nan, "<f4")
        for _ in range(shape[0]):
            row.tofile(file)


@contextlib.contextmanager
def _bar(shape: tuple[int, int], wanted: bool) -> Iterator[Callable[[int], object]]:
    tqdm = None
    if wanted:
        with contextlib.suppress(ImportError):
            from tqdm import tqdm
    if tqdm is None:
        yield lambda pairs: None
        return
    with tqdm(total=shape[0] * shape[1], desc="attention of pairs", unit="pair", unit_scale=True, leave=False) as bar:
        yield bar.update


__all__ = [
    "PairwiseResult",
    "attention_distances",
    "choose_engine",
    "nearest_gallery",
    "pair_maps",
    "row_profiles",
]
