"""Data: records of pictures, readers of benchmarks, a generator of people, pair sampling, augmentation and loading.

Only what is cheap to import is named here; ``data`` knows no model.
"""

from __future__ import annotations

from casnkit.data.benchmarks import open_dataset
from casnkit.data.records import ReidDataset, Split, camera_text, labels_of, read_image

__all__ = ["ReidDataset", "Split", "camera_text", "labels_of", "open_dataset", "read_image"]
