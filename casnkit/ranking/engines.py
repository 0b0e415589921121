"""The three ways to the attention of pairs, behind one method: ``block(rows, images) -> distances``.

- :class:`ClosedFormEngine`: f is a mean over pixels and the pair classifier has two layers.
- :class:`LinearEngine`: moreover nothing bends between the two layers, so alpha is the same for every pair. A map then
  depends on its own image alone, and the cost falls from pairs to images.
- :class:`AutogradEngine`: anything else, by differentiating, some hundred times slower.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from casnkit import attention
from casnkit.ranking import tiles
from casnkit.ranking.request import PRECISIONS, Request

_CHUNK_BYTES = {"cpu": 2**25, "cuda": 2**30}  # intermediate values at a time: near the caches; enough to fill a GPU


def _refuse(least: float, budget: int, in_memory: int) -> None:
    hint = "" if not in_memory else f" (of these {in_memory} hold the result; a folder `resume` keeps it on disk)"
    raise ValueError(f"memory_budget: {budget} bytes are too few for this problem, {int(least)} would do{hint}")


class ClosedFormEngine:
    """A chain of matrix products for each tile; see :mod:`casnkit.ranking.tiles`."""

    name = "closed_form"

    def __init__(self, request: Request, budget: int, in_memory: int = 0, single: bool = False) -> None:
        self.request, self.precision = request, request.precision
        self.dtype = PRECISIONS[request.precision]
        self.wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        self._plan(budget, in_memory, single)
        head = None
        vectors = [request.query.features.to(self.wide), request.gallery.features.to(self.wide)]
        if request.mode != "v1":
            head = tiles.head_of(request.model, request.device, self.dtype)
            centre = vectors[1].mean(0, dtype=torch.float64)
            vectors = [tiles.first_layer(request.model, v, centre, self.wide) for v in vectors]
        self.vectors = [v.to(request.device) for v in vectors]
        self.form = tiles.ClosedForm(head, request.mode, request.order, request.model.channels)
        self._rows, self._query = None, None

    def block(self, rows: slice, images: slice | np.ndarray) -> np.ndarray:
        """Distances of all pairs of these queries and these gallery images, (q, g) float32."""
        if self._rows != rows:  # gallery tiles follow each other under the same queries
            self._query = None
            self._rows, self._query = rows, self._side(0, rows)
        gallery = self._side(1, images)
        count = len(gallery.maps)
        result = torch.empty(len(self._query.maps), count, dtype=torch.float32, device=self.request.device)
        for top in range(0, len(result), self.chunk[0]):
            query = self._query[top : top + self.chunk[0]]
            for left in range(0, count, self.chunk[1]):
                columns = slice(left, min(left + self.chunk[1], count))
                profiles = self.form.profiles(query, gallery[columns])
                distances = tiles.profile_distances(*profiles, self.request.threshold)
                result[top : top + self.chunk[0], columns] = distances
        return result.cpu().numpy()

    def _side(self, side: int, index: slice | np.ndarray) -> tiles.Side:
        maps = (self.request.query, self.request.gallery)[side].feature_maps
        if not isinstance(index, slice):
            index = torch.from_numpy(index)
        size = tuple(maps.shape[2:])
        here = maps[index].flatten(2).to(self.request.device)
        here = tiles.split_mean(here) if self.dtype == torch.bfloat16 else here.to(self.dtype)
        return tiles.Side(here, self.vectors[side][index], size)

    def _plan(self, budget: int, in_memory: int, single: bool) -> None:
        """Sizes of a tile (maps on the device) and of a chunk (intermediate values) from bytes."""
        request, item, wide = self.request, self.dtype.itemsize, self.wide.itemsize
        query, gallery = request.query.feature_maps, request.gallery.feature_maps
        hidden = 0 if request.mode == "v1" else request.model.pair_head[0].out_features
        depth, channels = request.model.feature_size, request.model.channels
        pixels = query.shape[2] * query.shape[3] + gallery.shape[2] * gallery.shape[3]
        rows = max(query.shape[2], gallery.shape[2])
        fixed = in_memory + (len(query) + len(gallery)) * (hidden or depth) * wide
        fixed += hidden * depth * (item + 24) + tiles.FLOAT64_ROWS * (2 * depth + hidden) * 8 * bool(hidden)
        per_image = [m[0].numel() * (item + m.element_size()) * 9 // 8 for m in (query, gallery)]
        two_weights = request.mode in ("signed", "gradcam")
        per_pair = (hidden or depth) * (1 + item) + depth * (item * bool(hidden) + (1 + item) * two_weights)
        per_pair += 2 * channels * item * (depth != channels)  # sums over stripes
        per_pair += pixels * (item + 4) * (1 + (request.order == "both")) + rows * 130 * wide // 4
        least = fixed + sum(per_image) + per_pair + 4
        if budget < least:
            _refuse(least, budget, in_memory)
        free = budget - fixed
        for_chunk = min(_CHUNK_BYTES.get(request.device.type, 2**28), free / 2, free - sum(per_image) - 4)
        pairs = max(1, int(for_chunk // per_pair))
        side = 1 if single else min(len(query), _round_down(int(pairs**0.5)))
        self.chunk = side, min(len(gallery), _round_down(pairs // side))
        for_maps = free - self.chunk[0] * self.chunk[1] * per_pair
        columns = int(min(self.chunk[1], max(1, for_maps / 2 // per_image[1])))
        queries = int((for_maps - columns * per_image[1]) // (per_image[0] + 4 * columns))
        self.tile = (1 if single else max(1, min(len(query), queries))), columns


def _round_down(count: int) -> int:
    """To a multiple of 32 where there are as many: batched products of odd shapes are slower."""
    return count // 32 * 32 if count >= 32 else max(1, count)


class LinearEngine:
    """Alpha is one constant vector: one profile for each image, and l2 between profiles."""

    name = "linear"

    def __init__(self, request: Request, budget: int, in_memory: int = 0, single: bool = False) -> None:
        self.request = request
        self.precision = "float64" if request.precision == "float64" else "float32"  # cheap enough for no less
        self.dtype = PRECISIONS[self.precision]
        query, gallery = request.query.feature_maps, request.gallery.feature_maps
        rows = max(query.shape[2], gallery.shape[2])
        per_image = max(m[0].numel() * (m.element_size() + self.dtype.itemsize) for m in (query, gallery))
        fixed = in_memory + (len(query) + len(gallery)) * rows * self.dtype.itemsize
        fixed += request.model.pair_head[0].weight.numel() * 24
        if budget < fixed + per_image + rows * 130:
            _refuse(fixed + per_image + rows * 130, budget, in_memory)
        free = budget - fixed
        queries = 1 if single else max(1, free // (8 * self.dtype.itemsize * len(gallery)))
        self.tile = min(len(query), queries), len(gallery)
        head = tiles.head_of(request.model, request.device, self.dtype)
        weights = tiles.branch_weights(head.constant.clone(), request.mode)
        batch = max(1, min(1024, free // (per_image + rows * 260)))
        self.profiles = [
            self._profiles(m, w, batch, rows) for m, w in zip((query, gallery), (weights, weights[::-1]), strict=True)
        ]

    def block(self, rows: slice, images: slice | np.ndarray) -> np.ndarray:
        """Distances of all pairs of these queries and these gallery images, (q, g) float32."""
        images = images if isinstance(images, slice) else torch.from_numpy(images)
        query, gallery = self.profiles[0][rows], self.profiles[1][images]
        # the other way to compute it goes through |a|^2 + |b|^2 - 2ab, which cancels for like profiles
        distances = torch.cdist(query, gallery, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.float().cpu().numpy()

    def _profiles(self, maps: Tensor, weights: tuple[Tensor, Tensor], batch: int, rows: int) -> Tensor:
        """Aligned profiles; ``weights`` are those of the image as first of its pair and as second."""
        channels, size = maps.shape[1], tuple(maps.shape[2:])
        own, turned = (w.unflatten(0, (-1, channels)).sum(0) for w in weights)
        profiles = []
        for part in maps.split(batch):
            part = part.flatten(2).to(self.request.device).to(self.dtype)
            attention_map = (own @ part).clamp_min_(0)
            if self.request.order == "both":
                attention_map = attention_map.add_((turned @ part).clamp_min_(0)).mul_(0.5)
            profile = tiles.row_maxima(attention_map[..., None], size)[..., 0]
            profiles.append(tiles.aligned(profile, self.request.threshold, rows))
        return torch.cat(profiles)


class AutogradEngine:
    """Pair by pair through pooling and classifier, in batches."""

    name = "autograd"

    def __init__(self, request: Request, budget: int, in_memory: int = 0, single: bool = False) -> None:
        self.request = request
        parameter = next(request.model.parameters())
        self.precision = str(parameter.dtype).removeprefix("torch.")
        maps = request.query.feature_maps, request.gallery.feature_maps
        per_pair = sum(m[0].numel() for m in maps) * 8 * parameter.element_size()
        if budget < in_memory + per_pair:
            _refuse(in_memory + per_pair, budget, in_memory)
        self.batch = int(min(256, (budget - in_memory) // per_pair))
        self.tile = (1 if single else min(len(maps[0]), 16)), min(len(maps[1]), max(1, self.batch))

    def block(self, rows: slice, images: slice | np.ndarray) -> np.ndarray:
        """Distances of all pairs of these queries and these gallery images, (q, g) float32."""
        query, gallery = self.request.query.feature_maps, self.request.gallery.feature_maps
        i = torch.arange(len(query))[rows]
        j = torch.arange(len(gallery))[images]
        pairs = torch.cartesian_prod(i, j).view(-1, 2)
        parameter = next(self.request.model.parameters())
        distances = []
        for part in pairs.split(self.batch):
            maps = self.request.model.siamese_attention_of(
                query[part[:, 0]].to(parameter),
                gallery[part[:, 1]].to(parameter),
                mode=self.request.mode,
                order=self.request.order,
            )
            distances.append(attention.attention_distance(*maps, self.request.threshold).float().cpu())
        return torch.cat(distances).view(len(i), len(j)).numpy()


ENGINES = {engine.name: engine for engine in (LinearEngine, ClosedFormEngine, AutogradEngine)}
