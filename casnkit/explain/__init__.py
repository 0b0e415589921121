"""Explanations of a pair, and how good they are."""

from .agreement import agreement
from .methods import METHODS, Method, explain
from .pairmaps import PairMaps

__all__ = ["METHODS", "Method", "PairMaps", "agreement", "explain"]
