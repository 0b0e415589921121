"""What an explanation is: two maps, one for each image of a pair, with the score that they explain."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PairMaps:
    """Where in each image the evidence for a score lies, for P pairs.

    Attributes:
        query, gallery: (P, h, w), not normalised, without a graph, on the model's device; h, w is the feature map's size
            or the image's, by method. A method's sign says: above zero speaks for the target, below zero against it.
        method: its name in :data:`casnkit.explain.METHODS`.
        target: what was explained: ``same``, ``different``, ``log-odds``, ``identity``, ``agreement`` or
            ``similarity``.
        scores: (P,) the target's score of the pairs as they are.
        seconds: of all P pairs together.
        delta: (P,) by how much the two maps together add up to more than they should, for the methods that promise a
            sum (integrated gradients, decompositions); None for all others.
    """

    query: torch.Tensor
    gallery: torch.Tensor
    method: str
    target: str
    scores: torch.Tensor
    seconds: float
    delta: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def cpu(self) -> PairMaps:
        """The same in main memory."""
        delta = None if self.delta is None else self.delta.cpu()
        tensors = self.query.cpu(), self.gallery.cpu()
        return PairMaps(*tensors, self.method, self.target, self.scores.cpu(), self.seconds, delta)
