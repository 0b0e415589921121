"""The network: trunk -> feature map A; pooling A -> f; the two classifiers; CASN."""

from .casn import CASN, evaluating, map_size
from .trunks import TRUNKS

__all__ = ["CASN", "TRUNKS", "evaluating", "map_size"]
