"""The pair inspector: state (plain values) -> sections of plain JSON -> one viewer in the browser that draws them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"core": ["Inspector"], "state": ["State"]})
