"""Facade of casnkit.experiments.ablation."""

# facade: to be replaced
_FACADE = {
    "Trial": "casnkit.ablation",
    "run_trials": "casnkit.ablation",
    "variants": "casnkit.ablation",
    "Setting": "casnkit.ablation",
    "_distances": "casnkit.ablation.testtime",
    "_datasets": "casnkit.ablation.trials",
    "summarise": "casnkit.ablation.testtime",
    "summary": "casnkit.ablation.summary",
    "markdown": "casnkit.ablation.report",
    "model_name": "casnkit.ablation.report",
    "to_text": "casnkit.ablation.report",
    "OPEN_POINTS": "casnkit.ablation",
    "compare": "casnkit.ablation",
    "estimate": "casnkit.ablation",
    "open_points": "casnkit.ablation",
    "pooled_deviation": "casnkit.ablation",
    "read_rows": "casnkit.ablation",
    "seeds_needed": "casnkit.ablation",
    "smallest_difference": "casnkit.ablation",
}
_FACADE_MODULES = [
    "casnkit.ablation",
    "casnkit.ablation.evidence",
    "casnkit.ablation.report",
    "casnkit.ablation.testtime",
]


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
