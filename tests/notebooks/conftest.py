"""Notebooks in tests: small, and with data and runs in a temporary folder that all of them share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def notebook_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture
def smoke_environment(notebook_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASNKIT_PROFILE", "smoke")
    monkeypatch.setenv("CASNKIT_DATA", str(notebook_folder / "data"))
    monkeypatch.setenv("CASNKIT_RUNS", str(notebook_folder / "runs"))
