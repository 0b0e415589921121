"""Facade of casnkit.experiments.shipped."""

# facade: to be replaced
_FACADE = {
    "load_shipped": "casnkit.shipped",
    "FOLDER": "casnkit.shipped",
    "LIMIT": "casnkit.shipped",
    "fits": "casnkit.shipped",
    "list_shipped": "casnkit.shipped",
    "put": "casnkit.shipped",
    "shipped_name": "casnkit.shipped",
    "shipped_results": "casnkit.shipped",
}
_FACADE_MODULES = ["casnkit.shipped"]


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
