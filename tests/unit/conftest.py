"""The inspector on a small world whose networks have seen everything already; ``stripes`` has not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from imitations import Shape, imitate
from PIL import Image

import casnkit as ck


@pytest.fixture(scope="session")
def write_picture() -> Callable[..., Path]:
    """``write_picture(path, colour)``."""

    def write(path: Path, colour: tuple[int, int, int] = (90, 120, 60)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 32), colour).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def inspector_data(tmp_path_factory: pytest.TempPathFactory) -> ck.ReidDataset:
    """54 queries, 62 gallery images with junk and distractors, three cameras."""
    folder = tmp_path_factory.mktemp("inspector")
    return ck.open_dataset(str(imitate("market1501", folder, shape=Shape(num_test=18, num_cameras=3))))


@pytest.fixture(scope="session")
def inspector_sources(inspector_data: ck.ReidDataset, make_model: Callable[..., Any]) -> dict[str, Any]:
    """``casn`` ranks three ways; ``ide`` by features alone; ``stripes`` has another head and another map size."""
    variants = {"casn": "casn", "ide": "ide", "stripes": "ide+sa"}
    how = {name: ck.profile("smoke", variant=variant, height=32, width=16) for name, variant in variants.items()}
    made = {name: (make_model(dtype=torch.float32, seed=k), how[name]) for k, name in enumerate(("casn", "ide"), 1)}
    for name, (model, config) in made.items():
        made[name] = model, ck.evaluation.evaluate(model, inspector_data, config, progress=False), config
    return made | {"stripes": (make_model(dtype=torch.float32, seed=3, pooling="stripes", stripes=2), how["stripes"])}


@pytest.fixture
def inspector(inspector_data: ck.ReidDataset, inspector_sources: dict[str, Any], tmp_path: Path) -> ck.Inspector:
    return ck.Inspector(inspector_sources, inspector_data, out=tmp_path / "out")
