"""A run seen while it trains: curves, and for a few fixed pairs the attention maps epoch by epoch as a film strip.

    view = LiveView(dataset, config)
    display(view.widget)
    train(dataset, config, out, on_epoch=view)

Two image widgets get new bytes, so nothing is redrawn by the page and nothing flickers. Without a notebook the same
object collects what :meth:`LiveView.curves` and :meth:`LiveView.film` draw afterwards. Looking never changes a run: the
model's modes and the random state are left as they were, and an error in drawing is shown, never raised.
"""

from __future__ import annotations

import contextlib
import html
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from casnkit.data.images import load_images, normalise
from casnkit.figures import show_film, show_progress
from casnkit.models import evaluating

from . import figures
from ._optional import require
from .config import Config
from .data.records import UNKNOWN_CAMERA, ReidDataset, Split, camera_text, labels_of
from .models import CASN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EpochCall = Callable[[int, CASN, Mapping[str, Any]], object]

BATCH = 4  # pairs whose maps are computed at a time: no more memory than a training step takes
COLUMNS = 10  # epochs in the film strip
SCREEN = 100  # pixels per inch of the live pictures
DRAWING_SHARE = 0.05  # of the time, at most


class LiveView:
    """Curves and film strip of one run; pass an instance as ``on_epoch`` of :func:`casnkit.training.train`.

    The maps are Siamese ones (equation 4, ``config.loss.siamese_mode``) where the run trains the pair classifier, else
    identification attention: of the person's own score on training images, of the highest score on others. They are
    computed after every epoch; the pictures are renewed where that takes at most a twentieth of the time since the last
    drawing, and after the last epoch.

    Args:
        dataset: where the pairs are taken from; for held-out people pass that data set (the labels are ``train``'s).
        config: the run's configuration.
        pairs: same-person pairs, from two cameras where there are two; fewer if fewer people have them.
        split: "gallery" or "train".
        seed: which pairs.
        history: log rows of earlier epochs, for a run that is resumed.

    Raises:
        ValueError: an unknown split, or one in which nobody has two images.
    """

    def __init__(
        self,
        dataset: ReidDataset,
        config: Config,
        pairs: int = 3,
        split: str = "gallery",
        seed: int = 0,
        history: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        if split not in ("gallery", "train"):
            raise ValueError(f"expected the split 'gallery' or 'train', got {split!r}")
        self.config, self.split = config, split
        part: Split = getattr(dataset, split)
        self.pairs = choose_pairs(part, pairs, seed)
        part = part.subset(self.pairs.reshape(-1))
        self.images = load_images(part, (config.data.height, config.data.width), progress=False)
        self.labels = None
        if split == "train":
            self.labels = torch.from_numpy(np.searchsorted(labels_of(dataset.train.pids)[1], part.pids))
        self.captions = [_caption(pid, camid) for pid, camid in zip(part.pids, part.camids, strict=True)]
        self.rows = [dict(row) for row in history]
        self.maps: dict[int, np.ndarray] = {}  # epoch -> (2 * pairs, h, w)
        self._parts: dict[str, Any] = {}
        self._drawn_at, self._cost, self._error, self._warned = 0.0, 0.0, "", False

    def __call__(self, epoch: int, model: CASN, row: Mapping[str, Any]) -> None:
        """Take in one epoch; never raises an ``Exception``."""
        self._error = ""
        with self._guarded():
            self.rows = [r for r in self.rows if r["epoch"] < epoch] + [{**row, "epoch": epoch}]
            self.maps = {e: maps for e, maps in self.maps.items() if e < epoch}  # a resumed run repeats epochs
        with self._guarded():
            self.maps[epoch] = self._attention(model)
        if self._parts:
            if epoch >= self.config.train.epochs or self._cost <= DRAWING_SHARE * (perf_counter() - self._drawn_at):
                self._draw()
            with self._guarded():
                self._parts["status"].value = self._status()

    @property
    def widget(self) -> Any:
        """Status line, curves and film strip as an ipywidgets ``VBox``, made when it is first asked for.

        Raises:
            ImportError: ipywidgets is not installed; ``curves`` and ``film`` do without.
        """
        if not self._parts:
            widgets = require("ipywidgets", "the live view")
            wide = {"max_width": "100%", "align_self": "flex-start"}  # never larger than drawn
            status = widgets.HTML(self._status())
            images = [widgets.Image(format="png", layout={**wide, "display": "none"}) for _ in range(2)]
            box = widgets.VBox([status, *images])
            self._parts = {"status": status, "curves": images[0], "film": images[1], "box": box}
            self._draw()
            self._cost = 0.0  # the first drawing loads matplotlib, and training had not begun
        return self._parts["box"]

    def curves(self) -> Figure:
        """Loss terms, learning rate, speed and validation so far. Raises ValueError before the first epoch."""
        return show_progress(self.rows, self.config.train.epochs, f"{self._name()}: epoch by epoch")

    def film(self, pixels: int = 200) -> Figure:
        """The fixed pairs' maps, at most ten epochs of those so far; ``pixels`` per inch."""
        epochs = sorted(self.maps)
        if self.config.loss.siamese_attention:
            kind = "Siamese attention"
        else:
            kind = "attention of the " + ("person's own score" if self.split == "train" else "highest score")
        room = min(COLUMNS, self.config.train.epochs)
        maps = [self.maps[epoch] for epoch in epochs]
        title = f"{self._name()}: {kind}"
        return show_film(self.images, maps, epochs, title, self.captions, COLUMNS, room, pixels=pixels)

    def _name(self) -> str:
        return f"{self.config.variant} ({self.config.model.pooling})"

    @torch.no_grad()
    def _attention(self, model: CASN) -> np.ndarray:
        """The maps of all images, (2 * pairs, h, w) float32; image 2k and 2k + 1 are pair k."""
        parameter, found = next(model.parameters()), []
        for start in range(0, len(self.images), 2 * BATCH):
            images = normalise(self.images[start : start + 2 * BATCH]).to(parameter)
            if self.config.loss.siamese_attention:
                options = {"mode": self.config.loss.siamese_mode, "order": self.config.loss.pair_order}
                maps = torch.stack(model.siamese_attention(images[::2], images[1::2], **options), 1).flatten(0, 1)
            else:
                labels = self._labels(model, images, start).to(images.device)
                maps = model.identification_attention(images, labels)
            found.append(maps.float().cpu().numpy())
        return np.concatenate(found)

    def _labels(self, model: CASN, images: torch.Tensor, start: int) -> torch.Tensor:
        if self.labels is not None:
            return self.labels[start : start + len(images)]
        with evaluating(model):
            return model.id_scores(model.pool(model.feature_map(images))).argmax(1)

    def _draw(self) -> None:
        """Give the image widgets new bytes; each keeps its old ones where drawing fails."""
        started = perf_counter()
        for name, draw in {"curves": self.curves, "film": lambda: self.film(SCREEN)}.items():
            if name == "film" or self.rows:
                with self._guarded():
                    self._parts[name].value = figures.figure_png(draw(), SCREEN)
                    self._parts[name].layout.display = None
        self._drawn_at = perf_counter()
        self._cost = self._drawn_at - started

    def _status(self) -> str:
        if not self.rows:
            text = f"{self._name()}: the first of {self.config.train.epochs} epochs has not ended yet"
        else:
            row, parts = (
                self.rows[-1],
                [f"{self._name()}: epoch {self.rows[-1]['epoch']} of {self.config.train.epochs}"],
            )
            for name, unit in (
                ("total", "loss"),
                ("learning_rate", "learning rate"),
                ("images_per_second", "images/s"),
            ):
                if row.get(name) is not None:
                    parts.append(f"{unit} {row[name]:.4g}")
            text = " · ".join(parts)
        text = html.escape(text)
        return f"{text}<br><b>&#9888; not drawn:</b> {html.escape(self._error)}" if self._error else text

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """An error inside the block goes to the status line and is warned of once; training goes on."""
        try:
            yield
        except Exception as error:
            self._error = f"{type(error).__name__}: {error}"
            if not self._warned:
                self._warned = True
                with contextlib.suppress(UserWarning):  # where warnings are errors, training still goes on
                    warnings.warn(f"the live view could not be drawn: {self._error}", UserWarning, stacklevel=4)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.widget._repr_mimebundle_(**kwargs)


def choose_pairs(split: Split, pairs: int = 3, seed: int = 0) -> np.ndarray:
    """Same-person pairs for looking at: (P, 2) indices, one pair per person, drawn by ``seed``, ordered by pid.

    People seen by two cameras come first: then the two images are from two cameras. Only where there are too few of
    them, others with two images follow.

    Raises:
        ValueError: no pair asked for, or nobody in the split has two images.
    """
    if pairs < 1:
        raise ValueError(f"expected at least one pair, got {pairs}")
    rng = np.random.default_rng(seed)
    across, within = [], []
    for pid in rng.permutation(split.identities):
        own = rng.permutation(np.flatnonzero(split.pids == pid))
        others = own[(split.camids[own] != split.camids[own[0]]) & (split.camids[own] != UNKNOWN_CAMERA)]
        if len(others) and split.camids[own[0]] != UNKNOWN_CAMERA:
            across.append((own[0], others[0]))
        elif len(own) > 1:
            within.append((own[0], own[1]))
    chosen = (across + within)[:pairs]
    if not chosen:
        raise ValueError(
            f"nobody in the split {split.name!r} ({len(split)} images) has two images, so there is no pair to look at: "
            "choose the other split"
        )
    return np.array(sorted(chosen, key=lambda pair: split.pids[pair[0]]), dtype=np.int64)


def callbacks(*calls: EpochCall | None) -> EpochCall:
    """One ``on_epoch`` out of several, called in the given order; None entries are left out."""
    wanted = [call for call in calls if call is not None]

    def on_epoch(epoch: int, model: CASN, row: Mapping[str, Any]) -> None:
        for call in wanted:
            call(epoch, model, row)

    return on_epoch


def _caption(pid: int, camid: int) -> str:
    return f"pid {pid} {camera_text(camid)}"


__all__ = ["LiveView", "callbacks", "choose_pairs"]
