"""The pair inspector: state (plain values) -> sections of plain JSON -> one viewer in the browser that draws them."""

from casnkit.inspector.core import Inspector
from casnkit.inspector.state import State

__all__ = ["Inspector", "State"]
