"""A notebook server, a browser and a page for the tests of this folder; skipped, aloud, where one of them is missing."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
APP = ROOT / "notebooks" / "app" / "pair_inspector.ipynb"
WAIT = 240.0  # seconds, on busy cores


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    token: str  # to be given as ``?token=``
    folder: Path  # the notebooks


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"the browser tests need one of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        found = playwright.chromium.launch(executable_path=program, args=options)
        yield found
        found.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the app notebook, and all that servers and kernels write."""
    place = tmp_path_factory.mktemp("browser")
    (place / "notebooks").mkdir()
    shutil.copy(APP, place / "notebooks")
    path = place / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    path.parent.mkdir(parents=True)
    path.write_text('{"fetchNews": "false", "checkForUpdates": false}')  # no question about news, nothing fetched
    return place


@pytest.fixture(scope="module")
def environment(place: Path) -> dict[str, str]:
    """Nothing of the user's own settings is read or written."""
    own = ("config", "data", "runtime", "settings", "workspaces", "ipython")
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
             "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")  # fmt: skip
    changed = {name: str(place / folder) for name, folder in zip(names, own, strict=True)}
    changed["CASNKIT_DATA"] = os.environ.get("CASNKIT_DATA", str(place / "people"))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **changed, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def lab(browser: Any, place: Path, environment: dict[str, str]) -> Iterator[Server]:
    """JupyterLab in the folder of the notebooks."""
    port, token = _free_port(), secrets.token_hex(16)
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0, "ServerApp.root_dir": place,
        "IdentityProvider.token": token, "ServerApp.open_browser": False, "ServerApp.allow_root": True,
        "LabApp.expose_app_in_browser": True,
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    yield from _serving(command, f"http://127.0.0.1:{port}", token, f"api/status?token={token}", place, environment)


@pytest.fixture(scope="module")
def voila(browser: Any, place: Path, environment: dict[str, str]) -> Iterator[Server]:
    """The app notebook as a page, by voila."""
    pytest.importorskip("voila", reason="the test of the inspector as a page needs voila")
    port = _free_port()
    command = [sys.executable, "-m", "voila", APP.name, f"--port={port}", "--Voila.ip=127.0.0.1", "--no-browser"]
    yield from _serving(command, f"http://127.0.0.1:{port}", "", "voila/static/voila.js", place, environment)


def _serving(
    command: list[str], url: str, token: str, ready: str, place: Path, environment: dict[str, str]
) -> Iterator[Server]:
    log = place / f"{command[2]}.log"
    with log.open("w") as file, contextlib.ExitStack() as stack:
        process = subprocess.Popen(command, env=environment, cwd=place / "notebooks", stdout=file, stderr=file)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        _wait_for(f"{url}/{ready}", process, log)
        yield Server(url, token, place / "notebooks")


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"the server stopped with {process.returncode}:\n{log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"no answer from {url} within {WAIT:g} seconds:\n{log.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
