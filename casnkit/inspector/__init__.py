"""The pair inspector: state (plain values) -> pictures (pixels) -> widgets (binding only).

The modules below need matplotlib for colours and letters, and ipywidgets only where a screen is asked for.
"""

from __future__ import annotations

from .core import Inspector
from .state import Edit, State

__all__ = ["Edit", "Inspector", "State"]
