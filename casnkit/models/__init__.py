"""The network: trunk -> feature map A; pooling A -> f; the two classifiers; CASN."""

from .casn import CASN, evaluating, map_size
from .trunks import TRUNKS

__all__ = ["CASN", "TRUNKS", "evaluating", "map_size"]


# facade: to be replaced
_FACADE = {
    "seeded": "casnkit.randomness",
    "evaluating": "casnkit.models.casn",
    "CASN": "casnkit.models.casn",
    "fork_random": "casnkit.randomness",
    "StripeLinear": "casnkit.models.heads",
    "TRUNKS": "casnkit.models.trunks",
    "build_trunk": "casnkit.models.trunks",
    "load_trunk_weights": "casnkit.models.trunks",
    "read_state": "casnkit.models.trunks",
    "PairHead": "casnkit.models.heads",
    "IdentityHead": "casnkit.models.heads",
}
_FACADE_MODULES = []


def __getattr__(name):
    from importlib import import_module

    if name in _FACADE:
        return getattr(import_module(_FACADE[name]), name)
    if not name.startswith("__"):
        for module in _FACADE_MODULES:
            if module != __name__:
                found = import_module(module)
                if hasattr(found, name):
                    return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
