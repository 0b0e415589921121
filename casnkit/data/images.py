"""Facade of casnkit.data.images."""

# facade: to be replaced
_FACADE = {
    "load_images": "casnkit.data.loading",
    "denormalise": "casnkit.data.augment",
    "normalise": "casnkit.data.augment",
    "ImageSource": "casnkit.data.feeding",
    "open_images": "casnkit.data.feeding",
    "Augmentation": "casnkit.data.augment",
    "augment": "casnkit.data.augment",
    "IMAGENET_MEAN": "casnkit.data.augment",
    "IMAGENET_STD": "casnkit.data.augment",
    "iterate_batches": "casnkit.data.loading",
    "load_masks": "casnkit.data.loading",
    "load_parts": "casnkit.data.loading",
    "memory_needed": "casnkit.data.loading",
    "flip": "casnkit.data.augment",
    "pad_crop": "casnkit.data.augment",
    "random_erase": "casnkit.data.augment",
}
_FACADE_MODULES = ["casnkit.data.feeding"]


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
