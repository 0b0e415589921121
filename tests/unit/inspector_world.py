"""A small world for the inspector's tests: pictures on disk and two networks whose every weight is random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import casnkit as ck
from casnkit.data.imitate import Shape, imitate
from casnkit.models import CASN


def config(variant: str = "casn", **changes: Any) -> ck.Config:
    return ck.profile("smoke", variant=variant, height=32, width=16, **changes)


def make_data(folder: Path, people: int = 18) -> ck.ReidDataset:
    """54 queries, 62 gallery images with junk and distractors, three cameras."""
    return ck.open_dataset(str(imitate("market1501", folder, shape=Shape(num_test=people, num_cameras=3))))


def make_networks(make_model: Callable[..., CASN]) -> dict[str, tuple[CASN, ck.Config]]:
    """``casn`` ranks three ways; ``ide`` by features alone; ``stripes`` has another head and another map size."""
    return {
        "casn": (make_model(dtype=torch.float32, seed=1), config()),
        "ide": (make_model(dtype=torch.float32, seed=2), config("ide")),
        "stripes": (make_model(dtype=torch.float32, seed=3, pooling="stripes", stripes=2), config("ide+sa")),
    }


def write_picture(path: Path, colour: tuple[int, int, int] = (90, 120, 60)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 32), colour).save(path)
    return path
