"""What every notebook does first, in one line: settings, data, and trained runs that are made once and then reused.

    session = ck.notebook.start(profile="quick", data="people")
    model, result, info = session.run("casn")

The environment variables ``CASNKIT_PROFILE`` and ``CASNKIT_DATASET`` override the parameter cell, so that one command
runs all notebooks at another size or on other data; ``CASNKIT_RUNS`` names the folder of the runs.
"""

import contextlib
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

import torch
from IPython import get_ipython
from IPython.display import display

from casnkit import evaluation, runs
from casnkit.config import Config
from casnkit.config import profile as profile_of
from casnkit.data import ReidDataset, open_dataset
from casnkit.data.check import not_whole
from casnkit.experiments import fits, load_shipped
from casnkit.models import CASN
from casnkit.notebook import exercises, report
from casnkit.notebook.live import LiveView
from casnkit.training import train

__all__ = ["PEOPLE_SIZES", "Session", "Trained", "default_folder", "exercises", "report", "say", "start"]

PEOPLE_SIZES = {"smoke": "people:tiny", "quick": "people:quick", "paper": "people:market"}


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
    """Settings of one notebook; runs are kept in ``folder``, and those of ``casnkit demo`` are reused where they fit."""

    profile: str
    dataset: ReidDataset
    device: torch.device
    seed: int
    folder: Path

    def config(self, variant: str = "casn", **changes: Any) -> Config:
        """The configuration of a variant at this notebook's profile."""
        return profile_of(self.profile, variant=variant, seed=self.seed, **changes)

    def run(self, variant: str = "casn", live: bool = False, **changes: Any) -> Trained:
        """Train a variant (ide, ide+ia, ide+sa, casn), or load it if it was trained before or comes with the kit; test it.

        ``live`` shows curves and attention maps while it trains, and takes nothing from the kit; ``changes``: see
        :meth:`casnkit.config.Config.replace`.
        """
        config = self.config(variant, **changes)
        folder = self._folder(config)
        shipped = None if live or (folder / "run.json").is_file() else fits(config, self.dataset)
        if shipped:
            folder, (model, info) = shipped, load_shipped(variant, config.model.pooling, self.device)
            print(f"{variant} ({config.model.pooling}): trained before, from {shipped.name} in the package")
        else:
            self._train(config, folder, live)
            model, info = runs.load_model(folder, self.device)
        result = evaluation.evaluate(model, self.dataset, config, device=self.device, progress=False)
        return Trained(model, result, info, runs.read_log(folder))

    def images(self, split: str, index: Sequence[int]) -> torch.Tensor:
        """Images of a split as the network takes them: normalised float (B, 3, H, W) on the device."""
        return report.load_inputs(getattr(self.dataset, split), index, self.config(), self.device)

    def expect(self, holds: bool, otherwise: str) -> None:
        """What must come out on the drawn people, else ValueError(``otherwise``); on other pictures it is a finding."""
        if holds:
            return
        if self.dataset.name == "people":
            raise ValueError(otherwise)
        say(f"Look out: {otherwise}. With few people, or a short training, this can happen; read on with care.")

    def _train(self, config: Config, folder: Path, live: bool) -> None:
        if (folder / "model.safetensors").is_file():
            return
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
        """Of the demonstration if it fits, else one for these settings on these people."""
        wanted = [config.to_dict(), str(self.dataset.root), self.dataset.train.identities.tolist()]
        with contextlib.suppress(ValueError):  # no run there, or one of an older kit
            demo = runs.read_run(self.folder / "demo" / config.variant)
            if [demo.config.to_dict(), demo.data["root"], demo.pid_of_label.tolist()] == wanted:
                return self.folder / "demo" / config.variant
        choices = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:8]
        parts = [self.dataset.name, self.profile, config.variant.replace("+", "_"), config.model.pooling]
        return self.folder / "-".join([*parts, f"seed{self.seed}", choices])


def start(profile: str = "quick", data: str = "people", seed: int = 0, folder: str | Path | None = None) -> Session:
    """Open the data and print versions, device, profile (smoke, quick or paper) and seed; warnings become sentences.

    ``data`` is ``people``, another name that :func:`casnkit.open_dataset` knows, or a folder; ``folder`` keeps the runs.
    """
    profile, data = os.environ.get("CASNKIT_PROFILE", profile), os.environ.get("CASNKIT_DATASET", data)
    profile_of(profile)  # an unknown one is refused
    dataset, device = open_dataset(PEOPLE_SIZES[profile] if data == "people" else data), runs.pick_device()
    for facts in (runs.versions(), {"device": device, "profile": profile, "seed": seed}):
        print(" | ".join(f"{name} {value}" for name, value in facts.items()))
    print(dataset)
    counts = {split: len(getattr(dataset, split)) for split in ("train", "query", "gallery")}
    if note := not_whole(dataset.name, counts):
        say(f"  note: {note}")
    warnings.showwarning = lambda message, *_, **__: _say_once(f"note: {message}")  # without a file and its line
    return Session(profile, dataset, device, seed, Path(folder or default_folder()))


def say(*lines: str) -> None:
    """Print sentences, broken between words: a notebook's page breaks a long line in the middle of one."""
    for line in lines:
        print(textwrap.fill(line, 115, subsequent_indent="  "))


def default_folder() -> Path:
    """``$CASNKIT_RUNS``, else ``runs`` beside the notebooks' folder, where the command line puts runs too."""
    usual = "../runs" if Path.cwd().name in ("notebooks", "solutions") else "runs"
    return Path(os.environ.get("CASNKIT_RUNS", usual))


_say_once = functools.cache(say)
