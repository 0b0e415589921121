"""Explanations of a pair, and how good they are."""

from .methods import METHODS, Method, explain
from .pairmaps import PairMaps

__all__ = ["METHODS", "Method", "PairMaps", "explain"]
