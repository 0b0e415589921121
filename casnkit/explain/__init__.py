"""Explanations of a pair, and how good they are."""

from casnkit.explain.correspondence import correspondence, mutual_best
from casnkit.explain.methods import METHODS, Method, explain
from casnkit.explain.pair import PairMaps
from casnkit.explain.sanity import agreement

__all__ = ["METHODS", "Method", "PairMaps", "agreement", "correspondence", "explain", "mutual_best"]
