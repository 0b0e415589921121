"""Facade of casnkit.experiments.tables."""

# facade: to be replaced
_FACADE = {
    "count_note": "casnkit.tables.benchmarks",
    "open_benchmark": "casnkit.tables.benchmarks",
    "PUBLISHED": "casnkit.tables",
    "ROWS": "casnkit.tables",
    "TABLES": "casnkit.tables",
    "make_plan": "casnkit.tables",
    "measure": "casnkit.tables",
    "other_systems": "casnkit.tables",
    "read_table": "casnkit.tables",
    "show_table": "casnkit.tables",
    "to_markdown": "casnkit.tables",
    "to_text": "casnkit.tables",
}
_FACADE_MODULES = ["casnkit.tables", "casnkit.tables.command", "casnkit.tables.published", "casnkit.tables.run"]


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
