"""What every notebook does first, in one line: settings, data, and trained runs that are made once and then reused.

    session = ck.notebook.start(profile="quick", data="people")
    model, result, info = session.run("casn")

The environment variables ``CASNKIT_PROFILE`` and ``CASNKIT_DATASET`` override the parameter cell, so that one command
runs all notebooks at another size or on other data; ``CASNKIT_RUNS`` names the folder of the runs.
"""

import hashlib
import json
import os
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from IPython import get_ipython
from IPython.display import display

from casnkit import evaluation, runs
from casnkit.config import PROFILES, Config
from casnkit.config import profile as profile_of
from casnkit.data import ReidDataset, open_dataset
from casnkit.data.check import not_whole
from casnkit.data.images import load_images, normalise
from casnkit.experiments.shipped import fits, load_shipped, trained_on
from casnkit.models import CASN
from casnkit.notebook import exercises, report
from casnkit.notebook.live import LiveView
from casnkit.ranking import RankingWarning
from casnkit.training import train

__all__ = ["PEOPLE_SIZES", "Session", "Trained", "default_folder", "exercises", "report", "say", "start"]

PEOPLE_SIZES = {"smoke": "people:tiny", "quick": "people:quick", "paper": "people:market"}


@dataclass(frozen=True)
class Trained:
    """A trained network with its test. Unpacks as ``model, result, info``."""

    model: CASN
    result: evaluation.Evaluation
    info: runs.RunInfo
    folder: Path

    def __iter__(self) -> Iterator[Any]:
        return iter((self.model, self.result, self.info))

    @property
    def log(self) -> list[dict[str, Any]]:
        """One row per epoch."""
        return runs.read_log(self.folder)


@dataclass(frozen=True)
class Session:
    """Settings of one notebook.

    Attributes:
        profile: smoke, quick or paper.
        dataset: the opened data set.
        folder: where runs are kept; those of ``casnkit demo`` are reused where they fit.
    """

    profile: str
    dataset: ReidDataset
    device: torch.device
    seed: int
    folder: Path

    def config(self, variant: str = "casn", **changes: Any) -> Config:
        """The configuration of a variant at this notebook's profile."""
        return profile_of(self.profile, variant=variant, seed=self.seed, **changes)

    def run(self, variant: str = "casn", live: bool = False, **changes: Any) -> Trained:
        """Train a variant, or load it if it was trained before or comes with the kit, and test it.

        Args:
            variant: ide, ide+ia, ide+sa or casn.
            live: show curves and a film strip of attention maps while it trains; nothing that comes with the kit is
                used then.
            **changes: as in :meth:`casnkit.config.Config.replace`.
        """
        config = self.config(variant, **changes)
        folder = self._folder(config)
        shipped = None if live or (folder / "run.json").is_file() else self._shipped(config)
        if shipped is not None:
            folder = shipped
            model, info = load_shipped(variant, config.model.pooling, self.device)
            print(f"{variant} ({config.model.pooling}): trained before, from {shipped.name} in the package")
        else:
            self._train(config, folder, live)
            model, info = runs.load_model(folder, self.device)
        result = evaluation.evaluate(model, self.dataset, config, device=self.device, progress=False)
        return Trained(model, result, info, folder)

    def images(self, split: str, index: Sequence[int]) -> torch.Tensor:
        """Images of a split as the network takes them: normalised float (B, 3, H, W) on the device."""
        size = self.config().data.height, self.config().data.width
        part = getattr(self.dataset, split).subset(index)
        return normalise(load_images(part, size, progress=False)).to(self.device)

    def expect(self, holds: bool, otherwise: str) -> None:
        """What has to come out on the drawn people; on other pictures, which may be few or hard, it is a finding.

        Args:
            holds: whether it did.
            otherwise: what it means where it did not.

        Raises:
            ValueError: it did not hold on the drawn people.
        """
        if holds:
            return
        if self.dataset.name == "people":
            raise ValueError(otherwise)
        say(f"Look out: {otherwise}. With few people, or after a short training, this can happen; read on with care.")

    def _shipped(self, config: Config) -> Path | None:
        """The network that comes with the kit, where it is of this configuration and was trained on these very people."""
        place = fits(config)
        return place if place is not None and trained_on(place, self.dataset) else None

    def _train(self, config: Config, folder: Path, live: bool) -> None:
        watch: Callable[..., None] | None = None
        if live and not (folder / "model.safetensors").is_file():
            watch = LiveView(self.dataset, config, history=runs.read_log(folder))
            display(watch.widget)
        elif get_ipython() is not None:
            watch = _line_of_progress(config)
        train(self.dataset, config, folder, device=self.device, progress=watch is None, on_epoch=watch)

    def _folder(self, config: Config) -> Path:
        demo = self.folder / "demo" / config.variant
        if (demo / "model.safetensors").is_file() and self._fits(demo, config):
            return demo
        parts = [self.dataset.name, self.profile, config.variant.replace("+", "_"), config.model.pooling]
        usual = self.folder / "-".join([*parts, f"seed{self.seed}"])
        if not (usual / "run.json").is_file() or self._fits(usual, config):
            return usual
        # trained with other settings, by an older kit or on other data: kept, and this one is put beside it
        people = self.dataset.train.identities.tolist()
        choices = json.dumps([config.to_dict(), str(self.dataset.root), people], sort_keys=True)
        return usual.with_name(f"{usual.name}-{hashlib.sha256(choices.encode()).hexdigest()[:8]}")

    def _fits(self, there: Path, config: Config) -> bool:
        try:
            info = runs.read_run(there)
        except ValueError:
            return False
        same_people = np.array_equal(info.pid_of_label, self.dataset.train.identities)
        return info.config == config and info.data["root"] == str(self.dataset.root) and same_people


def start(profile: str = "quick", data: str = "people", seed: int = 0, folder: str | Path | None = None) -> Session:
    """Open the data and print versions, device, profile and seed.

    Args:
        profile: smoke, quick or paper.
        data: ``people``, another name that :func:`casnkit.open_dataset` knows, or a folder.
        seed: of training.
        folder: for runs; default: ``runs`` in the project's folder.

    Raises:
        ValueError: an unknown profile, or data that cannot be opened.
    """
    profile = os.environ.get("CASNKIT_PROFILE", profile)
    data = os.environ.get("CASNKIT_DATASET", data)
    if profile not in PROFILES:
        raise ValueError(f"expected a profile out of {', '.join(PROFILES)}, got {profile!r}")
    dataset = open_dataset(PEOPLE_SIZES[profile] if data == "people" else data)
    device = runs.pick_device()
    for facts in (runs.versions(), {"device": device, "profile": profile, "seed": seed}):
        print(" | ".join(f"{name} {value}" for name, value in facts.items()))
    print(dataset)
    if note := not_whole(dataset):
        say(f"  note: {note}")
    _say_warnings()
    return Session(profile, dataset, device, seed, Path(folder or default_folder()))


def say(*lines: str, width: int = 115) -> None:
    """Print sentences, broken between words: a notebook's page breaks a long line in the middle of one."""
    for line in lines:
        print(textwrap.fill(line, width, subsequent_indent="  "))


def default_folder() -> Path:
    """``$CASNKIT_RUNS``, else ``runs`` beside the notebooks' folder, where the command line puts runs too."""
    if "CASNKIT_RUNS" in os.environ:
        return Path(os.environ["CASNKIT_RUNS"])
    return Path("../runs" if Path.cwd().name in ("notebooks", "solutions") else "runs")


def _say_warnings() -> None:
    """From here on, what the kit warns of is printed as a sentence, once; all other warnings are left as they are."""
    usual, told = warnings.showwarning, set()
    if getattr(usual, "of_the_kit", False):
        return

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any, **more: Any) -> None:
        ours = Path(__file__).parents[1] in Path(filename).parents and category is UserWarning
        if not (ours or issubclass(category, RankingWarning)):
            usual(message, category, filename, *rest, **more)
        elif str(message) not in told:
            told.add(str(message))
            say(f"note: {message}")

    show.of_the_kit = True
    warnings.showwarning = show


def _line_of_progress(config: Config) -> Callable[[int, CASN, Mapping[str, Any]], None]:
    """One line on the page, renewed after every epoch: a saved page would show a bar in red, with gaps below it."""
    shown: list[Any] = []

    def tell(epoch: int, _: CASN, row: Mapping[str, Any]) -> None:
        name = f"{config.variant} ({config.model.pooling})"
        text = {"text/plain": f"{name}: epoch {epoch} of {config.train.epochs}, loss {row['total']:.3f}"}
        if shown:
            shown[0].update(text, raw=True)
        else:
            shown.append(display(text, raw=True, display_id=True))

    return tell
