"""Facade of casnkit.explain.pair."""

# facade: to be replaced
_FACADE = {
    "pair_probability": "casnkit.explain.retrieval",
    "Retrieval": "casnkit.explain.retrieval",
    "Counterfactual": "casnkit.explain.counterfactual",
    "counterfactual": "casnkit.explain.counterfactual",
    "undisturbed": "casnkit.explain.state",
}
_FACADE_MODULES = ["casnkit.explain.counterfactual"]


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
