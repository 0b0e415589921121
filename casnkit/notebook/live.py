"""A run seen while it trains: curves, and for a few fixed pairs the attention maps epoch by epoch as a film strip.

    view = LiveView(dataset, config)
    display(view.widget)
    train(dataset, config, out, on_epoch=view)

Looking never changes a run, and an error in drawing is printed, never raised.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch

from casnkit import figures
from casnkit.config import Config
from casnkit.data.images import load_images, normalise
from casnkit.data.records import ReidDataset, Split, camera_text
from casnkit.models import CASN, evaluating

SCREEN = 100  # pixels per inch of the live pictures


class LiveView:
    """Curves and film strip of one run; pass an instance as ``on_epoch`` of :func:`casnkit.training.train`.

    The maps are Siamese ones (equation 4) where the run trains the pair classifier, else identification attention of the
    highest score. Three pairs are taken from the gallery, or from training where nobody in the gallery has two images;
    ValueError where nobody has. ``history``: the log rows of earlier epochs of a run that is resumed.
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
        self.rows, self.maps = list(history), {}  # maps: epoch -> (2 * pairs, h, w)
        layout = {"max_width": "100%", "align_self": "flex-start", "display": "none"}  # never larger than drawn
        self.curves, self.film = (widgets.Image(format="png", layout=layout) for _ in range(2))
        self.widget = widgets.VBox([self.curves, self.film])
        self._draw()

    def __call__(self, epoch: int, model: CASN, row: Mapping[str, Any]) -> None:
        """Take in one epoch; never raises an ``Exception``."""
        try:
            self.rows = [r for r in self.rows if r["epoch"] < epoch] + [{**row, "epoch": epoch}]
            self.maps = {e: maps for e, maps in self.maps.items() if e < epoch}  # a resumed run repeats epochs
            self.maps[epoch] = self.attention(model)
            self._draw()
        except Exception as error:  # whatever happens here, training goes on
            print(f"live view not drawn: {type(error).__name__}: {error}")

    @torch.no_grad()
    def attention(self, model: CASN) -> np.ndarray:
        """The maps of all images, (2 * pairs, h, w) float32; image 2k and 2k + 1 are pair k."""
        loss = self.config.loss
        with evaluating(model):
            A = model.feature_map(normalise(self.images).to(next(model.parameters())))
            if loss.siamese_attention:
                both = model.siamese_attention_of(A[::2], A[1::2], mode=loss.siamese_mode, order=loss.pair_order)
                maps = torch.stack(both, 1).flatten(0, 1)
            else:
                maps = model.identification_attention_of(A, model.id_scores(model.pool(A)).argmax(1))
        return maps.float().cpu().numpy()

    def _draw(self) -> None:
        """Give the two pictures new bytes in place, so that nothing flickers."""
        epochs, drawn = self.config.train.epochs, {}
        if self.rows:
            title = f"{self.name}: epoch {self.rows[-1]['epoch']} of {epochs}"
            drawn[self.curves] = figures.show_losses(self.rows, title, epochs)
        kind = "Siamese attention" if self.config.loss.siamese_attention else "attention of the highest score"
        strip = list(self.maps.values()), list(self.maps), f"{self.name}: {kind}", self.captions
        drawn[self.film] = figures.show_film(self.images, *strip, room=min(10, epochs))
        for picture, figure in drawn.items():
            picture.value, picture.layout.display = figures.figure_png(figure, SCREEN), None


def choose_pairs(split: Split) -> np.ndarray:
    """Two images each of three people, (P, 2) indices: of two cameras, or of one where too few people were in two."""
    found = []
    for pid in np.random.default_rng(0).permutation(split.identities):
        own = np.flatnonzero(split.pids == pid)
        own = own[np.argsort(split.camids[own], kind="stable")]
        found += [own[[0, -1]]] if len(own) > 1 else []
    found.sort(key=lambda pair: split.camids[pair[0]] == split.camids[pair[1]])
    return np.array(found[:3], dtype=np.int64).reshape(-1, 2)
