"""From runs to networks that the inspector can switch between: opened when they are first looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from casnkit.data.files import DiskFullError
from casnkit.ranking import Extracted, extract

from .. import runs
from ..config import Config
from ..data.records import ReidDataset
from ..models import CASN
from . import kept
from .networks import Network, network_of
from .pictures import Pictures, batches

Progress = Callable[[str, int, int], None]
Source = Any  # a folder, (model, config), (model, result, info), or what Session.run returns


class Library:
    """Networks by name. Each is loaded, and shown every picture once, when it is first asked for.

    Args:
        sources: by name, or a list of run folders (named by variant and pooling). A source is a folder, a pair
            ``(model, config)``, or a trained run of a notebook, whose features are then taken over.
        dataset: the data set that is looked at.
        device: where the networks compute; None: where they are.
        cache: a folder for features and maps, which are read from there the next time; None: those of a large gallery
            are kept below the run's own folder, where the source is one and there is room, the rest in memory.
        progress: called with what is being done, how much is done, and of how much.
    """

    def __init__(
        self,
        sources: Mapping[str, Source] | Sequence[str | Path] | str | Path,
        dataset: ReidDataset,
        device: str | torch.device | None = None,
        cache: str | Path | None = None,
        progress: Progress = lambda what, done, total: None,
    ) -> None:
        self.sources, self.dataset = named_sources(sources), dataset
        self.query, self.gallery = Pictures(dataset.query), Pictures(dataset.gallery)
        self.device, self.cache, self.progress = device, None if cache is None else Path(cache), progress
        self._networks: dict[str, Network] = {}
        self._errors: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """Of the networks, in the order given."""
        return list(self.sources)

    def is_ready(self, name: str) -> bool:
        """Whether the network has seen all pictures already."""
        return name in self._networks

    def get(self, name: str) -> Network:
        """The network of that name.

        Raises:
            ValueError: no such name, or its weights are missing or damaged; asked again, the same.
        """
        if name not in self.sources:
            raise ValueError(f"there is no model {name!r}; known are {', '.join(self.sources)}")
        if name in self._errors:
            raise ValueError(self._errors[name])
        if name not in self._networks:
            try:
                self._networks[name] = self._open(name, self.sources[name])
            except ValueError as error:
                self._errors[name] = f"model {name}: {error}"
                raise ValueError(self._errors[name]) from error
        return self._networks[name]

    def first_working(self) -> tuple[str, list[str]]:
        """The first name that loads, and why those before it did not. Raises ValueError where none does."""
        reasons = []
        for name in self.names:
            try:
                self.get(name)
            except ValueError as error:
                reasons.append(str(error))
            else:
                return name, reasons
        raise ValueError("none of the models could be loaded:\n" + "\n".join(reasons))

    def _open(self, name: str, source: Source) -> Network:
        model, config, result = _parts(source, self.device)
        if result is not None and isinstance(result.gallery.feature_maps, torch.Tensor):  # not streamed anew each time
            query, gallery, distances = result.query, result.gallery, result.distances
            _check_counts(query, gallery, self.query, self.gallery)
        else:
            query, gallery = (self._extract(name, model, config, s) for s in (self.query, self.gallery))
            distances = None
        return network_of(name, model, self.readable(), config, (query, gallery), distances, tuple(self.gallery.errors))

    def readable(self) -> ReidDataset:
        """The data set with unreadable pictures as junk."""
        return replace(self.dataset, query=self.query.readable(), gallery=self.gallery.readable())

    def _extract(self, name: str, model: CASN, config: Config, pictures: Pictures) -> Extracted:
        """Features and maps of a split: those that were kept, or by looking at every picture."""
        if not len(pictures.split):
            raise ValueError(f"the split {pictures.split.name!r} has no image")
        size = config.data.height, config.data.width
        folder = self._place(name, model, size, pictures)
        if folder is not None:
            key = kept.key_of(model, pictures.split, size)
            try:
                if kept.read(folder, key) is None:
                    kept.write(folder, key, self._seen(name, model, size, pictures), pictures.errors)
                found = kept.read(folder, key)
            except (OSError, DiskFullError):
                if self.cache is not None:  # it was asked for
                    raise
                found = None
            if found is not None:
                pictures.errors.update(found[1])
                return found[0]
        return _collected(self._seen(name, model, size, pictures), len(pictures.split))

    def _place(self, name: str, model: CASN, size: tuple[int, int], pictures: Pictures) -> Path | None:
        one = next(self._seen(name, model, size, Pictures(pictures.split.subset([0])), quiet=True))
        numbers = one.features.numel() + one.feature_maps.numel()
        return kept.place_of(self.sources[name], self.cache, name, pictures.split, 4 * numbers * len(pictures.split))

    def _seen(
        self, name: str, model: CASN, size: tuple[int, int], pictures: Pictures, quiet: bool = False
    ) -> Iterator[Extracted]:
        total, what = len(pictures.split), f"{name}: {pictures.split.name} images"
        say = (lambda done: None) if quiet else (lambda done: self.progress(what, done, total))
        for batch in batches(pictures, size, say):
            yield extract(model, [batch], device=self.device)


def _collected(outputs: Iterator[Extracted], total: int) -> Extracted:
    """All batches in memory, without holding them twice."""
    features, maps, start = None, None, 0
    for part in outputs:
        if features is None:
            features = torch.empty((total, *part.features.shape[1:]))
            maps = torch.empty((total, *part.feature_maps.shape[1:]))
        features[start : start + len(part)] = part.features
        maps[start : start + len(part)] = part.feature_maps
        start += len(part)
    return Extracted(features, maps)


def named_sources(sources: Mapping[str, Source] | Sequence[str | Path] | str | Path) -> dict[str, Source]:
    """Sources by name; run folders are named by variant and pooling, by the folder where that is not known or taken."""
    if isinstance(sources, (str, Path)):
        sources = [sources]
    if isinstance(sources, Mapping):
        found = {str(name): source for name, source in sources.items()}
    else:
        found = {}
        for folder in sources:
            name = _run_name(Path(folder))
            found[name if name not in found else f"{name} ({Path(folder).name})"] = folder
    if not found:
        raise ValueError("expected at least one trained run (a folder, or a model with its configuration), got none")
    return found


def _run_name(folder: Path) -> str:
    try:
        config = runs.read_run(folder).config
    except ValueError:
        return folder.name or str(folder)
    return f"{config.variant}, {config.model.pooling}"


def _parts(source: Source, device: str | torch.device | None) -> tuple[CASN, Config, Any]:
    """Model, configuration and, where the source has one, the evaluation."""
    if isinstance(source, (str, Path)):
        model, info = runs.load_model(source, device or "cpu")
        return model, info.config, None
    entries = list(source)
    if len(entries) == 3:
        return entries[0], entries[2].config, entries[1]
    if len(entries) == 2:
        return entries[0], getattr(entries[1], "config", entries[1]), None
    raise ValueError(
        f"expected a run's folder, (model, config) or (model, result, info), got {type(source).__name__} of {len(entries)}"
    )


def _check_counts(query: Extracted, gallery: Extracted, queries: Pictures, images: Pictures) -> None:
    if (len(query), len(gallery)) != (len(queries.split), len(images.split)):
        raise ValueError(
            f"the evaluation is of {len(query)} queries and {len(gallery)} gallery images, the data set has "
            f"{len(queries.split)} and {len(images.split)}: pass (model, config) instead"
        )


def unreadable_notes(library: Library) -> list[str]:
    """A sentence for each split with pictures that cannot be read."""
    notes: list[str] = []
    for pictures in (library.query, library.gallery):
        if pictures.errors:
            names = ", ".join(pictures.name(i) for i in list(pictures.errors)[:5])
            more = ", …" if len(pictures.errors) > 5 else ""
            notes.append(f"{len(pictures.errors)} unreadable in {pictures.split.name}, not counted: {names}{more}")
    return notes
