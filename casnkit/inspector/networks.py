"""Networks to switch between on one data set: opened when first looked at, asked again and again, a query at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from casnkit.config import Config
from casnkit.data.files import printable
from casnkit.data.images import MEAN_COLOUR
from casnkit.data.records import JUNK_PID, NO_TRUTH, SPLITS, ReidDataset, Split, camera_text
from casnkit.evaluation import RANKED_BY, SIDES, Evaluation
from casnkit.experiments import load_run
from casnkit.explain.sanity import randomised
from casnkit.models import CASN
from casnkit.ranking import Extracted, extract

Source = Any  # a folder, the name of a network of the kit, (model, config), or what Session.run returns
Progress = Callable[[int, int], object]  # what long work calls with (done, total); it may raise, and ends the work


@dataclass(frozen=True)
class Pictures(Split):
    """A split with names for its pictures; one that cannot be read is grey, and ``errors`` says why, by its path."""

    root: Path = Path()
    kind: str = ""  # the data set's name
    errors: dict[str, str] = field(default_factory=dict)

    def image(self, i: int) -> Image.Image:
        """Picture ``i``."""
        try:
            return super().image(i)
        except ValueError as error:
            self.errors[self.paths[i]] = str(error)
            return Image.new("RGB", (64, 128), tuple(MEAN_COLOUR))  # it says least to a network

    def error(self, i: int) -> str:
        """Why picture ``i`` cannot be read, or nothing."""
        return printable(self.errors.get(self.paths[i], ""))

    def key(self, i: int) -> str:
        """The path below the data set, which no other picture has."""
        path = Path(self.paths[i])
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()

    def who(self, i: int) -> str:
        """The person and the camera, in words; of own pictures the name of the folder, of plain ones that of the file."""
        pid, camid, folders = int(self.pids[i]), int(self.camids[i]), self.key(i).split("/")
        if self.kind == NO_TRUTH:
            return printable(folders[-1])
        own = [name for name in folders[:-1] if name not in SPLITS][:1] if self.kind == "folder" else []
        person = own[0] if own else {JUNK_PID: "junk", 0: "distractor"}.get(pid, f"person {pid}")
        return printable(person) + (f", {camera_text(camid)}" if camid >= 0 or not own else "")

    def unreadable(self) -> np.ndarray:
        """Indices of the pictures that cannot be read."""
        return np.flatnonzero(np.isin(self.paths, list(self.errors)))

    def readable(self) -> "Pictures":
        """The split with unreadable pictures as junk: the protocol leaves them out, and their places stay."""
        pids = self.pids.copy()
        pids[self.unreadable()] = JUNK_PID
        return replace(self, pids=pids)


@dataclass(frozen=True, eq=False)
class Network(Evaluation):
    """A :class:`casnkit.evaluation.Evaluation` with a name and a memory; distances follow a query at a time."""

    name: str = ""

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

    def row(self, query_index: int, ranked_by: str = "features") -> np.ndarray:
        """One query's distances to the gallery, (G,), lower is closer."""
        return self.part(np.array([query_index]), ranked_by)[0]

    def part(self, queries: np.ndarray, ranked_by: str) -> np.ndarray:
        """Distances of several queries, (n, G)."""
        if ranked_by == "sum" and self.config.ranking.normalise_per == "matrix":
            for kind in set(RANKED_BY[:2]) - set(self.distances):
                self.distances[kind] = self.between(self.query, self.gallery, kind)
        if ranked_by in self.distances:
            return np.asarray(self.distances[ranked_by][queries])
        if ranked_by != "sum":
            return self.between(self.query.subset(queries), self.gallery, ranked_by)
        one = int(queries[0]) if len(queries) == 1 else None  # whose rows are remembered
        both = [self.part(queries, kind) if one is None else self.row(one, kind)[None] for kind in RANKED_BY[:2]]
        return np.stack([self.fused(int(i), *rows) for i, *rows in zip(queries, *both, strict=True)])

    def one(self, side: str, i: int) -> Extracted:
        """Features and feature map of one image, seen again where the maps were not kept."""
        found = getattr(self, side).subset([i])
        return found if found.feature_maps is not None else extract(self.model, [self.images(side, [i])])

    @cached_property
    def random_twin(self) -> CASN:
        """The same architecture with random weights."""
        parts, some = ("trunk.", "pair_head.", "identity_head."), range(min(16, len(self.gallery)))
        return randomised(self.model, parts, images=self.images("gallery", some))


class Library:
    """Networks by name; each is loaded, and shown every picture once, when it is first asked for."""

    def __init__(self, sources: Mapping[str, Source] | Sequence[Any] | str | Path, dataset: ReidDataset,
                 device: str | torch.device | None = None) -> None:  # fmt: skip
        about = {"root": dataset.root, "kind": dataset.name}
        self.query, self.gallery = (Pictures(**vars(getattr(dataset, side)) | about) for side in SIDES)
        if not isinstance(sources, Mapping):  # a folder's name, or the whole path where two have the same
            folders = [sources] if isinstance(sources, (str, Path)) else list(sources)
            names = [Path(folder).name for folder in folders]
            sources = {n if names.count(n) == 1 else str(f): f for n, f in zip(names, folders, strict=True)}
        if not sources:
            raise ValueError("expected a network (a run's folder, or a model with its configuration), got none")
        self.sources = {str(name): source for name, source in sources.items()}
        self.dataset, self.device = dataset, device
        self.opened: dict[str, Network | str] = {}  # or why it cannot be

    def open(self, name: str, progress: Progress) -> None:
        """Open a network: load it, and look at all pictures, unless its source has done so."""
        try:
            model, config, result = _parts(self.sources[name], self.device)
            if result is None or (config.loss.siamese_attention and result.gallery.feature_maps is None):
                data = replace(self.dataset, query=self.query, gallery=self.gallery)
                result = Evaluation.of(model, data, config, self.device, progress=progress)
            elif not all(np.array_equal(result.split(s).paths, getattr(self, s).paths) for s in SIDES):
                raise ValueError("its evaluation is of other pictures: pass (model, config) instead")
        except ValueError as error:
            self.opened[name] = f"network {name}: {error}"
            return
        data = replace(self.dataset, query=self.query.readable(), gallery=self.gallery.readable())
        kept = result.query, result.gallery, dict(result.distances)
        self.opened[name] = Network(model, data, config, *kept, name=name)


def _parts(source: Source, device: str | torch.device | None) -> tuple[CASN, Config, Any]:
    """Model, configuration and, where the source has one, the evaluation."""
    if isinstance(source, (str, Path)):
        model, info = load_run(source, device or "cpu")
        return model, info.config, None
    source = tuple(source)
    if len(source) not in (2, 3):
        raise ValueError(f"expected a run, (model, config) or (model, result, info), got {len(source)} entries")
    model, *result, last = source
    return model, getattr(last, "config", last), result[0] if result else None
