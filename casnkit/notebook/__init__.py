"""What every notebook does first, in one line: settings, data, and trained runs that are made once and then reused.

    session = ck.notebook.start(profile="quick", data="people")
    model, result, info = session.run("casn")

The environment variables ``CASNKIT_PROFILE`` and ``CASNKIT_DATASET`` override the parameter cell, so that one command
runs all notebooks at another size or on other data; ``CASNKIT_RUNS`` names the folder of the runs.
"""

import contextlib
import hashlib
import json
import os
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from IPython import get_ipython
from IPython.display import DisplayHandle, display

from casnkit import evaluation, runs
from casnkit.config import PROFILES, Config
from casnkit.config import profile as profile_of
from casnkit.data import ReidDataset, open_dataset
from casnkit.data.check import not_whole
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

        ``live`` shows curves and a film strip of attention maps while it trains, and takes nothing from the kit; the
        changes are those of :meth:`casnkit.config.Config.replace`.
        """
        config = self.config(variant, **changes)
        folder = self._folder(config)
        shipped = None if live or (folder / "run.json").is_file() else fits(config)
        if shipped is not None and trained_on(shipped, self.dataset):
            model, info = load_shipped(variant, config.model.pooling, self.device)
            print(f"{variant} ({config.model.pooling}): trained before, from {shipped.name} in the package")
            folder = shipped
        else:
            self._train(config, folder, live)
            model, info = runs.load_model(folder, self.device)
        result = evaluation.evaluate(model, self.dataset, config, device=self.device, progress=False)
        return Trained(model, result, info, folder)

    def images(self, split: str, index: Sequence[int]) -> torch.Tensor:
        """Images of a split as the network takes them: normalised float (B, 3, H, W) on the device."""
        return report.load_inputs(getattr(self.dataset, split), index, self.config(), self.device)

    def expect(self, holds: bool, otherwise: str) -> None:
        """What has to come out on the drawn people; on other pictures, which may be few or hard, it is a finding.

        Raises:
            ValueError: it did not hold on the drawn people; the message is ``otherwise``, what that means.
        """
        if not holds and self.dataset.name == "people":
            raise ValueError(otherwise)
        if not holds:
            say(
                f"Look out: {otherwise}. With few people, or after a short training, this can happen; read on with care."
            )

    def _train(self, config: Config, folder: Path, live: bool) -> None:
        show: Callable[..., None] | None = None
        if live and not (folder / "model.safetensors").is_file():
            show = LiveView(self.dataset, config, runs.read_log(folder))
            display(show.widget)
        elif get_ipython() is not None:
            show = _line_of_progress(config)
        train(self.dataset, config, folder, device=self.device, progress=show is None, on_epoch=show)

    def _folder(self, config: Config) -> Path:
        """Of the demonstration if it fits, else by the settings' names; where that holds another run, one beside it."""
        demo, people = self.folder / "demo" / config.variant, self.dataset.train.identities.tolist()
        parts = [self.dataset.name, self.profile, config.variant.replace("+", "_"), config.model.pooling]
        usual = self.folder / "-".join([*parts, f"seed{self.seed}"])
        for place in (demo, usual):
            with contextlib.suppress(ValueError):  # no run there, or one of an older kit
                info, root = runs.read_run(place), str(self.dataset.root)
                if (info.config, info.data["root"], info.pid_of_label.tolist()) == (config, root, people):
                    return place
        if not (usual / "run.json").is_file():
            return usual
        choices = json.dumps([config.to_dict(), str(self.dataset.root), people], sort_keys=True)
        return usual.with_name(f"{usual.name}-{hashlib.sha256(choices.encode()).hexdigest()[:8]}")


def start(profile: str = "quick", data: str = "people", seed: int = 0, folder: str | Path | None = None) -> Session:
    """Open the data and print versions, device, profile (smoke, quick or paper) and seed.

    ``data`` is ``people``, another name that :func:`casnkit.open_dataset` knows, or a folder; ``folder`` keeps the runs.

    Raises:
        ValueError: an unknown profile, or data that cannot be opened.
    """
    profile, data = os.environ.get("CASNKIT_PROFILE", profile), os.environ.get("CASNKIT_DATASET", data)
    if profile not in PROFILES:
        raise ValueError(f"expected a profile out of {', '.join(PROFILES)}, got {profile!r}")
    dataset, device = open_dataset(PEOPLE_SIZES[profile] if data == "people" else data), runs.pick_device()
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
    usual = "../runs" if Path.cwd().name in ("notebooks", "solutions") else "runs"
    return Path(os.environ.get("CASNKIT_RUNS", usual))


def _say_warnings() -> None:
    """From here on, what the kit warns of is printed as a sentence, once; all other warnings are left as they are."""
    usual, told = warnings.showwarning, set()

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any, **more: Any) -> None:
        ours = Path(__file__).parents[1] in Path(filename).parents and category is UserWarning
        if not ours and not issubclass(category, RankingWarning):
            usual(message, category, filename, *rest, **more)
        elif str(message) not in told:
            told.add(str(message))
            say(f"note: {message}")

    if usual.__qualname__ != show.__qualname__:  # else a second start in one notebook
        warnings.showwarning = show


def _line_of_progress(config: Config) -> Callable[[int, CASN, Mapping[str, Any]], None]:
    """One line on the page, renewed after every epoch: a saved page would show a bar in red, with gaps below it."""
    line, shown = DisplayHandle(), []

    def tell(epoch: int, _: CASN, row: Mapping[str, Any]) -> None:
        name = f"{config.variant} ({config.model.pooling})"
        text = {"text/plain": f"{name}: epoch {epoch} of {config.train.epochs}, loss {row['total']:.3f}"}
        (line.update if shown else line.display)(text, raw=True)
        shown.append(epoch)

    return tell
