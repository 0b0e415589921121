"""Networks to switch between on one data set: opened when first looked at, asked again and again, a query at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from casnkit.config import Config
from casnkit.data.images import MEAN_COLOUR, load_images, normalise
from casnkit.data.records import JUNK_PID, SPLITS, ReidDataset, Split, camera_text
from casnkit.evaluation import SIDES, Evaluation
from casnkit.experiments import load_run
from casnkit.explain.sanity import randomised
from casnkit.models import CASN, eval_view
from casnkit.ranking import Extracted, extract

Source = Any  # a folder, the name of a network of the kit, (model, config), or what Session.run returns
Steps = Generator[tuple[int, int], None, Any]  # long work in slices: yields (done, total), returns the result
NO_TRUTH = "pictures"  # the name of a data set of which nobody knows who is who
WHOLE = 20_000_000  # distances that are kept as one matrix
IN_MEMORY = 2 * 2**30  # bytes of feature maps; more of them go into a temporary file
CHUNK = 32  # pictures or queries between two breaths


def printable(text: object) -> str:
    """Text of a stranger for the screen: control and bidirectional signs, and bytes that are no letters, as boxes."""
    return "".join(c if c.isprintable() else "\u25a1" for c in str(text))


class Pictures:
    """A split's pictures and their names; one that cannot be read is grey, and ``errors`` says why, by index."""

    def __init__(self, dataset: ReidDataset, side: str) -> None:
        self.side, self.split = side, getattr(dataset, side)
        self.root, self.kind = dataset.root, dataset.name
        self.errors: dict[int, str] = {}
        self.image = lru_cache(64)(self._read)  # picture i

    def shown(self, i: int) -> Image.Image | None:
        """Picture ``i``, or None where it cannot be read."""
        image = self.image(i)
        return None if i in self.errors else image

    def key(self, i: int) -> str:
        """The path below the data set, which no other picture has."""
        path = Path(self.split.paths[i])
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()

    def who(self, i: int) -> str:
        """The person and the camera, in words; of own pictures the name of the folder, of plain ones that of the file."""
        pid, camid, folders = int(self.split.pids[i]), int(self.split.camids[i]), self.key(i).split("/")
        if self.kind == NO_TRUTH:
            return printable(folders[-1])
        own = [name for name in folders[:-1] if name not in SPLITS][:1] if self.kind == "folder" else []
        person = own[0] if own else {JUNK_PID: "junk", 0: "distractor"}.get(pid, f"person {pid}")
        return printable(person) + (f", {camera_text(camid)}" if camid >= 0 or not own else "")

    def readable(self) -> Split:
        """The split with unreadable pictures as junk: the protocol leaves them out, and their places stay."""
        pids = self.split.pids.copy()
        pids[list(self.errors)] = JUNK_PID
        return replace(self.split, pids=pids)

    def batch(self, index: np.ndarray, size: tuple[int, int]) -> Tensor:
        """Pictures as a network takes them, (b, 3, H, W) normalised; those that cannot be read are the data's mean."""
        try:
            return normalise(load_images(self.split.subset(index), size, progress=False))
        except ValueError:
            pixels = [np.asarray(self._read(int(i)).resize(size[::-1], Image.Resampling.BILINEAR)) for i in index]
            return normalise(torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2).copy()))

    def _read(self, i: int) -> Image.Image:
        try:
            return self.split.image(i)
        except ValueError as error:
            self.errors[i] = str(error)
            return Image.new("RGB", (64, 128), tuple(MEAN_COLOUR))  # it says least to a network


@dataclass(frozen=True, eq=False)
class Network(Evaluation):
    """A :class:`casnkit.evaluation.Evaluation` with a name and a memory; distances follow a query at a time."""

    name: str = ""
    unreadable: tuple[int, ...] = ()  # gallery indices without a picture; they count as junk

    def __post_init__(self) -> None:
        for name in ("row", "one"):  # the last ones are remembered
            object.__setattr__(self, name, lru_cache(64)(getattr(self, name)))

    @property
    def pair_trained(self) -> bool:
        """Whether the pair classifier was trained; if not, it judges nothing, and its attention ranks nothing."""
        return self.config.loss.siamese_attention

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images that the network sees."""
        return self.config.data.height, self.config.data.width

    @property
    def is_small(self) -> bool:
        """Whether the distances of all queries are kept as one matrix."""
        return len(self.query) * len(self.gallery) <= WHOLE

    def row(self, query_index: int, ranked_by: str = "features") -> np.ndarray:
        """One query's distances to the gallery, (G,), lower is closer."""
        if ranked_by == "features" and ranked_by not in self.distances and self.is_small:
            self.distances["features"] = self.between(self.query, self.gallery, "features")
        return self.part(np.array([query_index]), ranked_by)[0]

    def part(self, queries: np.ndarray, ranked_by: str) -> np.ndarray:
        """Distances of several queries, (n, G)."""
        if ranked_by == "sum" and self.config.ranking.normalise_per == "matrix":
            for kind in {"features", "attention"} - set(self.distances):
                self.distances[kind] = self.between(self.query, self.gallery, kind)
        if ranked_by in self.distances:
            return np.asarray(self.distances[ranked_by][queries])
        if ranked_by != "sum":
            return self.between(self.query.subset(queries), self.gallery, ranked_by)
        both = [self.part(queries, kind) for kind in ("features", "attention")]
        return np.stack([self.fused(int(i), *rows) for i, *rows in zip(queries, *both, strict=True)])

    def one(self, side: str, i: int) -> Extracted:
        """Features and feature map of one image, seen again where the maps were not kept."""
        found = getattr(self, side).subset([i])
        return found if found.feature_maps is not None else Extracted(found.features, self.seen(self.images(side, [i])))

    def seen(self, images: Tensor) -> Tensor:
        """Feature maps of normalised images, on the CPU."""
        with torch.no_grad():
            return eval_view(self.model).feature_map(images).float().cpu()

    @cached_property
    def random_twin(self) -> CASN:
        """The same architecture with random weights."""
        parts, some = ("trunk.", "pair_head.", "identity_head."), range(min(16, len(self.gallery)))
        return randomised(self.model, parts, images=self.images("gallery", some))


class Library:
    """Networks by name; each is loaded, and shown every picture once, when it is first asked for."""

    def __init__(self, sources: Mapping[str, Source] | Sequence[Any] | str | Path, dataset: ReidDataset,
                 device: str | torch.device | None = None) -> None:  # fmt: skip
        self.sources, self.dataset, self.device = named_sources(sources), dataset, device
        self.query, self.gallery = (Pictures(dataset, side) for side in SIDES)
        self._networks: dict[str, Network] = {}
        self._errors: dict[str, str] = {}

    def is_ready(self, name: str) -> bool:
        """Whether there is nothing to wait for: the network has seen all pictures, or cannot be opened."""
        return name in self._networks or name in self._errors or name not in self.sources

    def get(self, name: str) -> Network:
        """A network that is ready. Raises ValueError for an unknown one, or one that cannot be opened; why, each time."""
        if name not in self._networks:
            known = f"there is no network {name!r}; known are {', '.join(self.sources)}"
            raise ValueError(self._errors.get(name, known))
        return self._networks[name]

    def forget(self) -> None:
        """Let all networks go; they are opened again when they are asked for."""
        self._networks.clear()

    def open_steps(self, name: str) -> Steps:
        """Open a network: load it, and look at all pictures, unless its source has done so."""
        sides = self.query, self.gallery
        try:
            model, config, result = _parts(self.sources[name], self.device)
            if result is None or (config.loss.siamese_attention and result.gallery.feature_maps is None):
                seen, distances = (yield from self._look(model, config, sides)), {}
            else:  # nothing is computed twice
                seen, distances = (result.query, result.gallery), dict(result.distances)
                if not all(np.array_equal(result.split(s.side).paths, s.split.paths) for s in sides):
                    raise ValueError("its evaluation is of other pictures: pass (model, config) instead")
        except ValueError as error:
            self._errors[name] = f"network {name}: {error}"
            return
        data = replace(self.dataset, query=self.query.readable(), gallery=self.gallery.readable())
        about = {"name": name, "unreadable": tuple(self.gallery.errors)}
        self._networks[name] = Network(model, data, config, *seen, distances, **about)

    def _look(self, model: CASN, config: Config, sides: Sequence[Pictures]) -> Steps:
        """Features and feature maps of all pictures."""
        size, done, found = (config.data.height, config.data.width), 0, []
        for pictures in sides:
            count, kept = len(pictures.split), None
            for index in np.array_split(np.arange(count), -(-count // CHUNK)):
                part = extract(model, [pictures.batch(index, size)], device=self.device)
                kept = kept or Extracted(*(_room(count, values) for values in (part.features, part.feature_maps)))
                kept.features[index], kept.feature_maps[index] = part.features, part.feature_maps
                done += len(index)
                yield done, sum(len(side.split) for side in sides)
            found.append(kept)
        return found

    def unreadable(self) -> list[str]:
        """A sentence for each split with pictures that cannot be read."""
        said = []
        for pictures in (self.query, self.gallery):
            names = [printable(pictures.key(i)) for i in pictures.errors]
            told = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
            said += [f"{len(names)} unreadable in {pictures.split.name}, not counted: {told}"] if names else []
        return said


def _room(count: int, like: Tensor) -> Tensor:
    """Room for ``count`` results, in a temporary file where there are too many."""
    shape = (count, *like.shape[1:])
    if 4 * np.prod(shape, dtype=np.int64) <= IN_MEMORY:
        return torch.empty(shape)
    return torch.from_numpy(np.memmap(tempfile.TemporaryFile(), np.float32, shape=shape))


def named_sources(sources: Mapping[str, Source] | Sequence[Any] | str | Path) -> dict[str, Source]:
    """Sources by name; run folders by the folder's name, or the whole path where that is taken."""
    if not isinstance(sources, Mapping):
        folders, sources = [sources] if isinstance(sources, (str, Path)) else list(sources), {}
        for folder in folders:
            name = Path(folder).name or str(folder)
            sources[str(folder) if name in sources else name] = folder
    if not sources:
        raise ValueError("expected at least one network (a run's folder, or a model with its configuration), got none")
    return {str(name): source for name, source in sources.items()}


def _parts(source: Source, device: str | torch.device | None) -> tuple[CASN, Config, Any]:
    """Model, configuration and, where the source has one, the evaluation."""
    if isinstance(source, (str, Path)):
        model, info = load_run(source, device or "cpu")
        return model, info.config, None
    model, *rest = source
    if len(rest) not in (1, 2):
        raise ValueError(
            f"expected a run's folder, (model, config) or (model, result, info), got {len(rest) + 1} entries"
        )
    return model, getattr(rest[-1], "config", rest[-1]), rest[0] if len(rest) == 2 else None
