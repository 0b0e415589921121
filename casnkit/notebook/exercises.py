"""Facade of casnkit.notebook.exercises."""

# facade: to be replaced
_FACADE = {
    "Verdict": "casnkit.exercises",
    "check_choice": "casnkit.exercises",
    "check_function": "casnkit.exercises",
    "check_number": "casnkit.exercises",
}
_FACADE_MODULES = ["casnkit.exercises"]


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
