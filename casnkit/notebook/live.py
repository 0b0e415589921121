"""A run seen while it trains: curves, and for a few fixed pairs the attention maps epoch by epoch as a film strip.

    view = LiveView(dataset, config)
    display(view.widget)
    train(dataset, config, out, on_epoch=view)

The two pictures get new bytes in place, so nothing flickers. Looking never changes a run: the model's modes and the
random state stay as they were, and an error in drawing is shown, never raised.
"""

import contextlib
import html
import warnings
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from casnkit import figures
from casnkit.config import Config
from casnkit.data.images import load_images, normalise
from casnkit.data.records import UNKNOWN_CAMERA, ReidDataset, Split, camera_text
from casnkit.models import CASN, evaluating

BATCH = 8  # images whose maps are computed at a time: no more memory than a training step takes
COLUMNS = 10  # epochs in the film strip
SCREEN = 100  # pixels per inch of the live pictures


class LiveView:
    """Curves and film strip of one run; pass an instance as ``on_epoch`` of :func:`casnkit.training.train`.

    The maps are Siamese ones (equation 4, ``config.loss.siamese_mode``) where the run trains the pair classifier, else
    identification attention of the highest score. They are computed after every epoch; the pictures are renewed where
    that takes at most a twentieth of the time since the last drawing, and after the last epoch.

    Three pairs are taken from the data set's gallery, or from training where nobody in the gallery has two images;
    ``history`` holds the log rows of earlier epochs of a run that is resumed.

    Raises:
        ValueError: nobody has two images.
    """

    def __init__(self, dataset: ReidDataset, config: Config, history: Sequence[Mapping[str, Any]] = ()) -> None:
        self.config, self.name = config, f"{config.variant} ({config.model.pooling})"
        self.split = dataset.gallery if len(choose_pairs(dataset.gallery)) else dataset.train
        self.pairs = choose_pairs(self.split)
        if not len(self.pairs):
            raise ValueError("expected somebody with two images, found nobody: train without the live view")
        shown = self.split.subset(self.pairs.reshape(-1))
        self.images = load_images(shown, (config.data.height, config.data.width), progress=False)
        self.captions = [f"pid {p} {camera_text(c, short=True)}" for p, c in zip(shown.pids, shown.camids, strict=True)]
        self.rows = [dict(row) for row in history]
        self.maps: dict[int, np.ndarray] = {}  # epoch -> (2 * pairs, h, w)
        layout = {"max_width": "100%", "align_self": "flex-start", "display": "none"}  # never larger than drawn
        self.pictures = {name: widgets.Image(format="png", layout=layout) for name in ("curves", "film")}
        self.error = widgets.HTML()
        self.widget = widgets.VBox([*self.pictures.values(), self.error])
        self._draw()
        self._drawn_at, self._cost = perf_counter(), 0.0  # the first drawing loads fonts and is not counted

    def __call__(self, epoch: int, model: CASN, row: Mapping[str, Any]) -> None:
        """Take in one epoch; never raises an ``Exception``."""
        self.error.value = ""
        with self._guarded():
            self.rows = [r for r in self.rows if r["epoch"] < epoch] + [{**row, "epoch": epoch}]
            self.maps = {e: maps for e, maps in self.maps.items() if e < epoch}  # a resumed run repeats epochs
        with self._guarded():
            self.maps[epoch] = self._attention(model)
        started = perf_counter()
        if epoch >= self.config.train.epochs or 20 * self._cost <= started - self._drawn_at:
            self._draw()
            self._drawn_at = perf_counter()
            self._cost = self._drawn_at - started

    def curves(self) -> Figure:
        """Loss terms, learning rate, speed and validation so far. Raises ValueError before the first epoch."""
        title = f"{self.name}: epoch {self.rows[-1]['epoch']} of {self.config.train.epochs}" if self.rows else ""
        return figures.show_progress(self.rows, self.config.train.epochs, title)

    def film(self, pixels: int = 200) -> Figure:
        """The fixed pairs' maps at up to ten epochs of those so far; ``pixels`` per inch."""
        kind = "Siamese attention" if self.config.loss.siamese_attention else "attention of the highest score"
        maps, title, room = list(self.maps.values()), f"{self.name}: {kind}", min(COLUMNS, self.config.train.epochs)
        return figures.show_film(self.images, maps, list(self.maps), title, self.captions, COLUMNS, room, pixels=pixels)

    @torch.no_grad()
    def _attention(self, model: CASN) -> np.ndarray:
        """The maps of all images, (2 * pairs, h, w) float32; image 2k and 2k + 1 are pair k."""
        parameter, loss, found = next(model.parameters()), self.config.loss, []
        with evaluating(model):
            for images in self.images.split(BATCH):
                A = model.feature_map(normalise(images).to(parameter))
                if loss.siamese_attention:
                    both = model.siamese_attention_of(A[::2], A[1::2], mode=loss.siamese_mode, order=loss.pair_order)
                    maps = torch.stack(both, 1).flatten(0, 1)
                else:
                    maps = model.identification_attention_of(A, model.id_scores(model.pool(A)).argmax(1))
                found.append(maps.float().cpu().numpy())
        return np.concatenate(found)

    def _draw(self) -> None:
        """Give the pictures new bytes; each keeps its old ones where drawing fails."""
        drawings = {"curves": self.curves} if self.rows else {}
        for name, draw in {**drawings, "film": lambda: self.film(SCREEN)}.items():
            with self._guarded():
                self.pictures[name].value = figures.figure_png(draw(), SCREEN)
                self.pictures[name].layout.display = None

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """An error inside the block is shown below the pictures and warned of; training goes on."""
        try:
            yield
        except Exception as error:
            text = f"not drawn: {type(error).__name__}: {error}"
            self.error.value = f"<b>&#9888;</b> {html.escape(text)}"
            with contextlib.suppress(UserWarning):  # where warnings are errors, training still goes on
                warnings.warn(f"live view {text}", UserWarning, stacklevel=4)


def choose_pairs(split: Split, pairs: int = 3, seed: int = 0) -> np.ndarray:
    """Same-person pairs for looking at: (P, 2) indices, one pair per person, drawn by ``seed``, ordered by pid.

    People seen by two cameras come first: then the two images are from two cameras. Only where there are too few of
    them, others with two images follow.
    """
    rng, found = np.random.default_rng(seed), []
    for pid in rng.permutation(split.identities):
        own = rng.permutation(np.flatnonzero(split.pids == pid))
        known = own[split.camids[own] != UNKNOWN_CAMERA]
        elsewhere = known[split.camids[known] != split.camids[known[:1]]]
        if len(elsewhere):
            found.append((0, pid, known[0], elsewhere[0]))
        elif len(own) > 1:
            found.append((1, pid, own[0], own[1]))
    chosen = sorted(sorted(found, key=lambda one: one[0])[:pairs], key=lambda one: one[1])
    return np.array([one[2:] for one in chosen], dtype=np.int64).reshape(-1, 2)
