"""What every notebook does first, in one line: settings, data, and trained runs that are made once and then reused.

``session = ck.notebook.start("quick", "people")``, and then ``model, result, info = session.run("casn")``.
"""

import functools
import hashlib
import json
import os
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython import get_ipython
from IPython.display import display
from ipywidgets import Image, VBox
from PIL import Image as Picture

import casnkit as ck
from casnkit import evaluation, figures, runs
from casnkit.config import Config
from casnkit.data import ReidDataset, Split, camera_text, open_dataset
from casnkit.data.check import not_whole
from casnkit.data.images import load_images, normalise
from casnkit.data.records import SPLITS, unfit
from casnkit.experiments import PEOPLE, fits
from casnkit.figures.images import as_images, as_map
from casnkit.inspector import State, payload
from casnkit.inspector.core import Viewer
from casnkit.models import CASN, eval_view
from casnkit.notebook import exercises, report
from casnkit.training import train

__all__ = ["LiveView", "Session", "Trained", "default_folder", "exercises", "report", "say", "show", "start"]


def start(
    profile: str = "quick", data: str = "people", seed: int = 0, folder: str | Path | None = None, **opening: Any
) -> "Session":
    """Open the data and print versions, device, profile (smoke, quick or paper) and seed; warnings become sentences.

    ``data`` is ``people``, another name that :func:`casnkit.open_dataset` knows, or a folder; ``folder`` keeps the runs;
    ``opening``: ``name_pattern`` and what else that function takes.
    ``CASNKIT_PROFILE`` and ``CASNKIT_DATASET`` override a notebook's parameter cell: one command runs all at another size.
    """
    profile, data = os.environ.get("CASNKIT_PROFILE", profile), os.environ.get("CASNKIT_DATASET", data)
    ck.profile(profile)  # an unknown one is refused
    dataset, device = open_dataset(PEOPLE[profile] if data == "people" else data, **opening), runs.pick_device()
    if why := unfit(dataset, to_train=True):
        raise ValueError(why)
    for facts in (runs.versions(), {"device": device, "profile": profile, "seed": seed}):
        print(" | ".join(f"{name} {value}" for name, value in facts.items()))
    print(dataset)
    if note := not_whole(dataset.name, {split: len(getattr(dataset, split)) for split in SPLITS}):
        say(f"  note: {note}")
    once = functools.cache(say)
    warnings.showwarning = lambda message, *_, **__: once(f"note: {message}")  # without a file and its line
    return Session(profile, dataset, device, seed, Path(folder or default_folder()))


def say(*lines: str) -> None:
    """Print sentences, broken between words: a notebook's page breaks a long line in the middle of one."""
    for line in lines:
        print(textwrap.fill(line, 115, subsequent_indent="  "))


def show(images: Sequence, maps: Sequence, matrix: Any = None, title: str = "Siamese attention", **look: Any) -> None:
    """One pair in the viewer: live where there is a kernel, a picture behind it for a page without one.

    Two images as ``figures.show_pair`` takes them, with their ``maps`` (h, w) and, where it is known, the ``matrix``
    (h1 * w1, h2 * w2) of ``explain.correspondence``. ``look``: fields of ``inspector.State``, such as ``threshold``.
    """
    state, names, values = State.from_dict(look), ("image 1", "image 2"), [as_map(one) for one in maps]
    pictures = [Picture.fromarray(image) for image in as_images(images)]
    like = {} if matrix is None else payload.correspondence(matrix, [m.shape for m in values])
    method = payload.method("map", title, values)
    sides = map(payload.picture, pictures, names)
    pair = payload.pair(*sides, "unknown", [method], heading=title, correspondence=like)
    display(Viewer(state=state.to_dict(), pair=pair))
    twin = figures.show_pair(*pictures, *values, state.threshold, names, title=title)
    figures.show_twin(f"Twin of the viewer: {title}", figures.figure_png(twin, dpi=120))


def default_folder() -> Path:
    """``$CASNKIT_RUNS``, else ``runs`` beside the notebooks' folder, where the command line puts runs too."""
    usual = "../runs" if Path.cwd().name in ("notebooks", "solutions") else "runs"
    return Path(os.environ.get("CASNKIT_RUNS", usual))


@dataclass(frozen=True)
class Trained:
    """A trained network with its test. Unpacks as ``model, result, info``."""

    model: CASN
    result: evaluation.Evaluation
    info: runs.RunInfo
    log: list[dict[str, Any]]  # one row per epoch

    def __iter__(self) -> Iterator[Any]:
        return iter((self.model, self.result, self.info))


@dataclass(frozen=True)
class Session:
    """Settings of one notebook; runs are kept in ``folder``."""

    profile: str
    dataset: ReidDataset
    device: torch.device
    seed: int
    folder: Path

    def config(self, variant: str = "casn", **changes: Any) -> Config:
        """The configuration of a variant at this notebook's profile."""
        return ck.profile(self.profile, variant=variant, seed=self.seed, **changes)

    def run(self, variant: str = "casn", live: bool = False, **changes: Any) -> Trained:
        """Train a variant (ide, ide+ia, ide+sa, casn), or load it if it was trained before or comes with the kit; test it.

        ``live`` shows curves and attention maps while it trains, and takes nothing from the kit; ``changes``: see
        :meth:`casnkit.config.Config.replace`.
        """
        config = self.config(variant, **changes)
        folder = self._folder(config)
        shipped = None if live or (folder / "run.json").is_file() else fits(config, self.dataset)
        if shipped:
            print(f"{variant} ({config.model.pooling}): trained before, from {shipped.name} in the package")
        elif not (folder / "model.safetensors").is_file():
            self._train(config, folder, live)
        folder = shipped or folder
        model, info = runs.load_model(folder, self.device)
        result = evaluation.evaluate(model, self.dataset, config, device=self.device, progress=False)
        return Trained(model, result, info, runs.read_log(folder))

    def images(self, split: str, index: Sequence[int]) -> torch.Tensor:
        """Images of a split as the network takes them: normalised float (B, 3, H, W) on the device."""
        size = self.config().data.height, self.config().data.width
        pixels = load_images(getattr(self.dataset, split).subset(index), size, progress=False)
        return normalise(pixels).to(self.device)

    def expect(self, holds: bool, otherwise: str) -> None:
        """What must come out on the drawn people, else ValueError(``otherwise``); on other pictures it is a finding."""
        if not holds and self.dataset.name == "people":
            raise ValueError(otherwise)
        if not holds:
            say(f"Look out: {otherwise}. With few people, or a short training, this can happen; read on with care.")

    def _train(self, config: Config, folder: Path, live: bool) -> None:
        show, name = None, f"{config.variant} ({config.model.pooling})"
        if live:
            show = LiveView(self.dataset, config, runs.read_log(folder))
            display(show.widget)
        elif get_ipython() is not None:
            line = display({"text/plain": name}, raw=True, display_id=True)

            def show(epoch: int, _: CASN, row: Mapping[str, Any]) -> None:  # a bar would be red on a saved page
                text = f"{name}: epoch {epoch} of {config.train.epochs}, loss {row['total']:.3f}"
                line.update({"text/plain": text}, raw=True)

        train(self.dataset, config, folder, device=self.device, progress=show is None, on_epoch=show)

    def _folder(self, config: Config) -> Path:
        """For these settings on these people."""
        wanted = [config.to_dict(), str(self.dataset.root), self.dataset.train.identities.tolist()]
        wanted += [self.dataset.opening] if self.dataset.opening else []
        choices = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:8]
        parts = [self.dataset.name, self.profile, config.variant.replace("+", "_"), config.model.pooling]
        return self.folder / "-".join([*parts, f"seed{self.seed}", choices])


class LiveView:
    """A run seen while it trains: curves, and for three pairs the attention maps epoch by epoch as a film strip.

    Show its ``widget`` and pass it as ``on_epoch`` of :func:`casnkit.training.train`. Looking never changes a run, and an
    error in drawing is printed, never raised. The maps are Siamese ones (equation 4) where the run trains the pair
    classifier, else identification attention of the highest score. ``history``: log rows of a run that is resumed.
    """

    def __init__(self, dataset: ReidDataset, config: Config, history: Sequence[Mapping[str, Any]] = ()) -> None:
        split = dataset.gallery if len(pairs_to_watch(dataset.gallery)) else dataset.train
        self.pairs = pairs_to_watch(split)
        if not len(self.pairs):
            raise ValueError("expected somebody with two images, found nobody: train without the live view")
        shown = split.subset(self.pairs.ravel())
        self.images = load_images(shown, (config.data.height, config.data.width), progress=False)
        self.captions = [f"pid {p} {camera_text(c, short=True)}" for p, c in zip(shown.pids, shown.camids, strict=True)]
        self.config, self.rows, self.maps = config, list(history), {}  # maps: epoch -> (2 * pairs, h, w), as the images
        layout = {"max_width": "100%", "align_self": "flex-start", "display": "none"}  # never larger than drawn
        self.curves, self.film = (Image(format="png", layout=layout) for _ in range(2))
        self.widget = VBox([self.curves, self.film])
        self._draw()

    def __call__(self, epoch: int, model: CASN, row: Mapping[str, Any]) -> None:
        """Take in one epoch; never raises an ``Exception``."""
        try:
            self.rows = [r for r in self.rows if r["epoch"] < epoch] + [{**row, "epoch": epoch}]
            self.maps = {e: maps for e, maps in self.maps.items() if e < epoch}  # a resumed run repeats epochs
            self.maps[epoch] = self._look(model)
            self._draw()
        except Exception as error:  # whatever happens here, training goes on
            print(f"live view not drawn: {type(error).__name__}: {error}")

    @torch.no_grad()
    def _look(self, model: CASN) -> np.ndarray:
        loss, model = self.config.loss, eval_view(model)
        A = model.feature_map(normalise(self.images).to(next(model.parameters())))
        if loss.siamese_attention:
            both = model.siamese_attention_of(A[::2], A[1::2], mode=loss.siamese_mode, order=loss.pair_order)
            maps = torch.stack(both, 1).flatten(0, 1)
        else:
            maps = model.identification_attention_of(A, model.id_scores(model.pool(A)).argmax(1))
        return maps.float().cpu().numpy()

    def _draw(self) -> None:
        """Give the two pictures new bytes in place, so that nothing flickers."""
        name, epochs = f"{self.config.variant} ({self.config.model.pooling})", self.config.train.epochs
        kind = "Siamese attention" if self.config.loss.siamese_attention else "attention of the highest score"
        strip = list(self.maps.values()), list(self.maps), f"{name}: {kind}", self.captions
        drawn = {self.film: figures.show_film(self.images, *strip, room=min(10, epochs))}
        if self.rows:
            title = f"{name}: epoch {self.rows[-1]['epoch']} of {epochs}"
            drawn[self.curves] = figures.show_losses(self.rows, title, epochs)
        for picture, figure in drawn.items():
            picture.value, picture.layout.display = figures.figure_png(figure), None


def pairs_to_watch(split: Split) -> np.ndarray:
    """Two images each of three people, (P, 2) indices: of two cameras, or of one where too few people were in two."""
    images = pd.DataFrame({"pid": split.pids, "camid": split.camids}).sort_values("camid", kind="stable").reset_index()
    ends = {"first": ("index", "first"), "last": ("index", "last"), "cameras": ("camid", "nunique")}
    people = images[images.pid > 0].groupby("pid").agg(**ends).query("first != last")
    return people.sort_values("cameras", key=lambda n: n == 1, kind="stable")[["first", "last"]].to_numpy()[:3]
