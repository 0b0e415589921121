"""Facade of casnkit.data.files."""

# facade: to be replaced
_FACADE = {
    "write_text": "casnkit.files",
    "write_json": "casnkit.files",
    "read_json": "casnkit.files",
    "atomic_path": "casnkit.files",
    "DiskFullError": "casnkit.files",
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
