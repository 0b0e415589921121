"""Data: records, readers of benchmarks, drawn people, pairs, images. Knows no model; names and modules load on first use."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["check", "files", "images", "pairs", "people", "readers", "records"],
    submod_attrs={
        "readers": ["open_dataset"],
        "records": ["ReidDataset", "Split", "camera_text", "hold_out", "labels_of", "read_image"],
    },
)
