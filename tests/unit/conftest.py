"""The inspector on a small world whose networks have seen everything already; ``stripes`` has not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspector_world import make_data, make_networks

import casnkit as ck


@pytest.fixture(scope="session")
def inspector_data(tmp_path_factory: pytest.TempPathFactory) -> ck.ReidDataset:
    return make_data(tmp_path_factory.mktemp("inspector"))


@pytest.fixture(scope="session")
def inspector_sources(inspector_data: ck.ReidDataset, make_model: Callable[..., Any]) -> dict[str, Any]:
    made = make_networks(make_model)
    for name in ("casn", "ide"):
        model, config = made[name]
        made[name] = model, ck.evaluation.evaluate(model, inspector_data, config, progress=False), config
    return made


@pytest.fixture
def inspector(inspector_data: ck.ReidDataset, inspector_sources: dict[str, Any], tmp_path: Path) -> ck.Inspector:
    return ck.Inspector(inspector_sources, inspector_data, out=tmp_path / "out")
